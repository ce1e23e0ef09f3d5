/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32.c - threads, locks, the clock and names on Windows.
 *
 * Who: all files of this directory, by os.h.
 */
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "platform/win32_path.h"

/* ---- Locks -----------------------------------------------------------------------------------
 *
 * A lock is a word that changes by one instruction as long as nobody waits. The system's own locks
 * have no wait with a limit. So who has to wait stands in a queue. Whoever unlocks wakes the first
 * one, which may find that another was faster; but who has waited for long gets the lock from hand
 * to hand. So every wait ends after some time, and a lock that is often wanted does not cost a
 * switch of threads each time.
 */

_Static_assert(sizeof(void *) == sizeof(SRWLOCK), "os_mutex.guard, os_cond.guard");
_Static_assert(sizeof(void *) == sizeof(CONDITION_VARIABLE), "os_cond.word");

enum { HELD = 1, AWAITED = 2 /* the queue is not empty */ };

#define LONG_NS UINT64_C(1000000)
#define FOR_EVER UINT64_MAX

struct os_waiter {
    struct os_waiter *next;
    CONDITION_VARIABLE woken;
    uint64_t since;
    bool given; /* it holds the lock and is not in the queue any more */
};

void os_mutex_begin(os_mutex *m)
{
    *m = (os_mutex){ 0 };
}

void os_mutex_end(os_mutex *m)
{
    assert(m->state == 0);
    (void)m; /* it holds nothing */
}

bool os_try_lock(os_mutex *m)
{
    unsigned state = atomic_load(&m->state);

    while (!(state & HELD))
        if (atomic_compare_exchange_weak(&m->state, &state, state | HELD))
            return true;
    return false;
}

/* Most locks are held for less time than a switch of threads takes. */
static bool lock_soon(os_mutex *m)
{
    for (unsigned tries = 0; tries < 100; tries++) {
        if (os_try_lock(m))
            return true;
        YieldProcessor();
    }
    return false;
}

/* The guard is held. */
static void leave_queue(os_mutex *m, const struct os_waiter *w)
{
    struct os_waiter **at = &m->first, *before = NULL;

    for (; *at != w; at = &(*at)->next)
        before = *at;
    *at = w->next;
    if (m->last == w)
        m->last = before;
    if (!m->first)
        atomic_fetch_and(&m->state, ~(unsigned)AWAITED);
}

static void wait_in_queue(os_mutex *m)
{
    struct os_waiter me = { .since = os_now_ns() };
    SRWLOCK *const guard = (SRWLOCK *)&m->guard;

    AcquireSRWLockExclusive(guard);
    if (m->first)
        m->last->next = &me;
    else
        m->first = &me;
    m->last = &me;
    /* From here on, whoever unlocks looks into the queue: after the guard is free. */
    atomic_fetch_or(&m->state, AWAITED);
    while (!me.given && !os_try_lock(m))
        (void)SleepConditionVariableSRW(&me.woken, guard, INFINITE, 0);
    if (!me.given)
        leave_queue(m, &me);
    ReleaseSRWLockExclusive(guard);
}

void os_lock(os_mutex *m)
{
    if (!lock_soon(m))
        wait_in_queue(m);
}

/* Once another can have the lock, it may free it: then only the guard is looked at, and the first
 * one of the queue waits for that. */
void os_unlock(os_mutex *m)
{
    SRWLOCK *const guard = (SRWLOCK *)&m->guard;
    unsigned alone = HELD;
    struct os_waiter *w;

    if (atomic_compare_exchange_strong(&m->state, &alone, 0))
        return;
    assert(alone == (HELD | AWAITED));
    AcquireSRWLockExclusive(guard);
    w = m->first; /* it waits, because the lock is held */
    assert(w);
    if (os_now_ns() - w->since >= LONG_NS) {
        w->given = true;
        leave_queue(m, w);
    } else {
        atomic_fetch_and(&m->state, ~(unsigned)HELD);
    }
    WakeConditionVariable(&w->woken);
    ReleaseSRWLockExclusive(guard);
}

/* ---- Conditions ------------------------------------------------------------------------------ */

void os_cond_begin(os_cond *c)
{
    *c = (os_cond){ 0 };
}

void os_cond_end(os_cond *c)
{
    (void)c; /* it holds nothing */
}

static DWORD ms_until(uint64_t until, uint64_t now)
{
    const uint64_t ms = until > now ? (until - now + 999999) / 1000000 : 0;

    return until == FOR_EVER ? INFINITE : ms < INFINITE ? (DWORD)ms : INFINITE - 1;
}

/* Who changes what is waited for has the lock, and then wakes under the guard: by then this one
 * sleeps. */
static bool wait_until(os_cond *c, os_mutex *m, uint64_t until)
{
    SRWLOCK *const guard = (SRWLOCK *)&c->guard;
    CONDITION_VARIABLE *const word = (CONDITION_VARIABLE *)&c->word;
    bool woken;

    AcquireSRWLockExclusive(guard);
    os_unlock(m);
    woken = SleepConditionVariableSRW(word, guard, ms_until(until, os_now_ns()), 0);
    ReleaseSRWLockExclusive(guard);
    os_lock(m);
    return woken;
}

void os_cond_wait(os_cond *c, os_mutex *m)
{
    (void)wait_until(c, m, FOR_EVER);
}

bool os_cond_wait_within(os_cond *c, os_mutex *m, uint64_t ns)
{
    const uint64_t now = os_now_ns();

    return wait_until(c, m, ns < FOR_EVER - now ? now + ns : FOR_EVER);
}

void os_cond_wake_all(os_cond *c)
{
    SRWLOCK *const guard = (SRWLOCK *)&c->guard;

    AcquireSRWLockExclusive(guard);
    WakeAllConditionVariable((CONDITION_VARIABLE *)&c->word);
    ReleaseSRWLockExclusive(guard);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static DWORD WINAPI run(void *arg)
{
    struct os_thread *t = arg;

    t->main(t->arg);
    return 0;
}

bool os_thread_begin(struct os_thread *t, void (*main)(void *arg), void *arg)
{
    t->main = main;
    t->arg = arg;
    t->handle = (uint64_t)(uintptr_t)CreateThread(NULL, 0, run, t, 0, NULL);
    return t->handle != 0;
}

void os_thread_join(struct os_thread *t)
{
    const HANDLE thread = (HANDLE)(uintptr_t)t->handle;

    (void)WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

static DWORD WINAPI run_alone(void *arg)
{
    const struct os_thread t = *(struct os_thread *)arg;

    free(arg);
    t.main(t.arg);
    return 0;
}

bool os_thread_begin_alone(void (*main)(void *arg), void *arg)
{
    struct os_thread *t = calloc(1, sizeof(*t));
    HANDLE thread;

    if (!t)
        return false;
    t->main = main;
    t->arg = arg;
    thread = CreateThread(NULL, 0, run_alone, t, 0, NULL);
    if (!thread) {
        free(t);
        return false;
    }
    CloseHandle(thread);
    return true;
}

uint64_t os_now_ns(void)
{
    LARGE_INTEGER per_second, now;
    uint64_t hz;

    QueryPerformanceFrequency(&per_second);
    hz = (uint64_t)per_second.QuadPart;
    QueryPerformanceCounter(&now);
    return (uint64_t)now.QuadPart / hz * UINT64_C(1000000000) +
           (uint64_t)now.QuadPart % hz * UINT64_C(1000000000) / hz;
}

uint64_t os_wall_ns(void)
{
    /* A FILETIME counts 100 ns since 1601. */
    const uint64_t to_1970 = UINT64_C(116444736000000000);
    FILETIME t;

    GetSystemTimeAsFileTime(&t);
    return (((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime) - to_1970) * 100;
}

void os_yield(void)
{
    (void)SwitchToThread();
}

void os_sleep_ms(unsigned ms)
{
    Sleep(ms);
}

unsigned os_processors(void)
{
    SYSTEM_INFO info;

    GetSystemInfo(&info);
    return info.dwNumberOfProcessors > 0 ? info.dwNumberOfProcessors : 1;
}

FILE *os_read_file(const char *path)
{
    wchar_t *name = win32_path(path);
    FILE *f = name ? _wfopen(name, L"rb") : NULL;

    if (!name)
        errno = EINVAL;
    free(name);
    return f;
}

/* Editors of Windows save as "ANSI", too, and a console has a third page. */
const char *os_line_fault(const char *line)
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, line, -1, NULL, 0) > 0
               ? NULL
               : "the line is not UTF-8; save the file as UTF-8";
}

const char *os_path_fault(const char *path)
{
    const char letter = path[0] ? path[0] | 0x20 : 0;
    const bool is_slash[2] = { path[0] == '\\', path[0] && path[1] == '\\' };

    if (is_slash[0] && is_slash[1])
        return NULL; /* \\SERVER\SHARE, \\?\ */
    if (letter >= 'a' && letter <= 'z' && path[1] == ':' && (path[2] == '\\' || path[2] == '/'))
        return NULL;
    return "it must be an absolute path, like C:\\DIRECTORY\\FILE";
}

bool os_place_is_exposed(const char *where)
{
    (void)where;
    return false;
}

bool os_place_is_missing(const char *where)
{
    (void)where;
    return false;
}

bool os_is_beside(const char *where, const char *path)
{
    (void)where;
    (void)path;
    return false;
}

bool os_is_same(const char *one, const char *other)
{
    return _stricmp(one, other) == 0;
}

bool os_is_readonly(const char *path)
{
    (void)path;
    return false;
}

bool os_is_directory(const char *path)
{
    wchar_t *name = win32_path(path);
    const DWORD is = name ? GetFileAttributesW(name) : INVALID_FILE_ATTRIBUTES;

    free(name);
    return is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY);
}

uint64_t os_process_space(void)
{
    return 1;
}

const char *os_mount_fault(const char *path)
{
    (void)path; /* there is no mount that may wait for the service */
    return NULL;
}

const char *os_port_fault(const char *where)
{
    return where[0] == '\\' && where[1] && where[1] != '\\' && strlen(where) < 200
               ? NULL
               : "it must be the name of a port, like \\CacheFilterPort";
}

char *os_place_for_good(const char *where)
{
    return strdup(where);
}

/* NAME is the name of a file, too: pipe_files.c. */
const char *os_place_fault(const char *where)
{
    static const char most[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *const name = where + OS_PIPES_LEN;

    if (_strnicmp(where, "\\\\.\\pipe\\", OS_PIPES_LEN) != 0)
        return "it must be a pipe, \\\\.\\pipe\\NAME";
    if (!name[0] || name[strspn(name, most)])
        return "the pipe's name may have letters, digits, \".\", \"-\" and \"_\"";
    return strlen(name) > 200 ? "the pipe's name is too long" : NULL;
}

/* A new file beside it, of a name that no file has. NULL: errno says why. */
static FILE *open_beside(struct os_replacement *r)
{
    wchar_t *name = NULL;
    FILE *f;
    int fd = -1;

    errno = EEXIST;
    for (unsigned i = 0; fd < 0 && errno == EEXIST && i < 100; i++) {
        free(name);
        snprintf(r->beside, sizeof(r->beside), "%s.%lx-%u", r->path, GetCurrentProcessId(), i);
        name = win32_path(r->beside);
        errno = EINVAL;
        if (name)
            fd = _wopen(name, _O_WRONLY | _O_CREAT | _O_EXCL | _O_BINARY, _S_IREAD | _S_IWRITE);
    }
    f = fd < 0 ? NULL : _fdopen(fd, "wb");
    if (fd >= 0 && !f) {
        _close(fd);
        DeleteFileW(name);
    }
    free(name);
    return f;
}

FILE *os_replace_begin(struct os_replacement *r, const char *path)
{
    *r = (struct os_replacement){ .to = NULL };
    if (snprintf(r->path, sizeof(r->path), "%s", path) >= (int)sizeof(r->path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    r->to = open_beside(r);
    return r->to;
}

static bool is_there(const wchar_t *name)
{
    return GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES;
}

/* ReplaceFile() keeps the access list of the old file. It may fail when that has lost its name
 * already (ERROR_UNABLE_TO_MOVE_REPLACEMENT): then the new file is the only copy. */
static bool give_name(struct os_replacement *r, const wchar_t *to, const wchar_t *from)
{
    if (ReplaceFileW(to, from, NULL, 0, NULL, NULL))
        return true;
    if (is_there(to))
        return false;
    r->left = !MoveFileExW(from, to, MOVEFILE_WRITE_THROUGH);
    return !r->left;
}

bool os_replace_end(struct os_replacement *r, bool ok)
{
    wchar_t *to = win32_path(r->path), *from = win32_path(r->beside);

    /* On the disk before it gets the name. */
    ok = ok && fflush(r->to) == 0 && FlushFileBuffers((HANDLE)_get_osfhandle(_fileno(r->to)));
    ok = fclose(r->to) == 0 && ok && to && from;
    ok = ok && give_name(r, to, from);
    if (!ok && from && !r->left)
        DeleteFileW(from);
    if (!ok)
        errno = EACCES;
    free(to);
    free(from);
    return ok;
}
