/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32.c - threads, locks, the clock and names on Windows.
 *
 * Who: all files of this directory, by os.h.
 */
#include "os.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "platform/win32_path.h"

_Static_assert(sizeof(os_mutex) == sizeof(SRWLOCK), "os_mutex");
_Static_assert(sizeof(os_cond) == sizeof(CONDITION_VARIABLE), "os_cond");

void os_mutex_begin(os_mutex *m)
{
    InitializeSRWLock((SRWLOCK *)m);
}

void os_mutex_end(os_mutex *m)
{
    (void)m; /* it holds nothing */
}

void os_lock(os_mutex *m)
{
    AcquireSRWLockExclusive((SRWLOCK *)m);
}

bool os_try_lock(os_mutex *m)
{
    return TryAcquireSRWLockExclusive((SRWLOCK *)m);
}

/* Such a lock has no wait with a limit. */
bool os_lock_within(os_mutex *m, uint64_t ns)
{
    const uint64_t until = os_now_ns() + ns;

    for (unsigned tries = 0; !os_try_lock(m); tries++) {
        if (os_now_ns() >= until)
            return false;
        Sleep(tries < 100 ? 0 : 1);
    }
    return true;
}

void os_unlock(os_mutex *m)
{
    ReleaseSRWLockExclusive((SRWLOCK *)m);
}

void os_cond_begin(os_cond *c)
{
    InitializeConditionVariable((CONDITION_VARIABLE *)c);
}

void os_cond_end(os_cond *c)
{
    (void)c; /* it holds nothing */
}

void os_cond_wait(os_cond *c, os_mutex *m)
{
    (void)SleepConditionVariableSRW((CONDITION_VARIABLE *)c, (SRWLOCK *)m, INFINITE, 0);
}

void os_cond_wake_all(os_cond *c)
{
    WakeAllConditionVariable((CONDITION_VARIABLE *)c);
}

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

FILE *os_replace_begin(struct os_replacement *r, const char *path)
{
    wchar_t *name;

    *r = (struct os_replacement){ .to = NULL };
    if (snprintf(r->path, sizeof(r->path), "%s", path) >= (int)sizeof(r->path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    snprintf(r->beside, sizeof(r->beside), "%s.new", path);
    name = win32_path(r->beside);
    r->to = name ? _wfopen(name, L"wb") : NULL;
    free(name);
    return r->to;
}

bool os_replace_end(struct os_replacement *r, bool ok)
{
    wchar_t *to = win32_path(r->path), *from = win32_path(r->beside);

    ok = fflush(r->to) == 0 && ok;
    ok = fclose(r->to) == 0 && ok && to && from;
    /* ReplaceFile() keeps the access list of the old file, and writes through. */
    ok = ok && ReplaceFileW(to, from, NULL, REPLACEFILE_WRITE_THROUGH, NULL, NULL);
    if (!ok && from)
        DeleteFileW(from);
    if (!ok)
        errno = EACCES;
    free(to);
    free(from);
    return ok;
}
