/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fltmgr_kernel.c - what the driver uses of the kernel, emulated (fltmgr.h): threads and their
 * IRQL, locks, memory, work items, clocks, text.
 *
 * Owns: the state of each thread, the threads that run work items, and their queue.
 *
 * Who: the driver's shell, as the kernel; the other files of the emulation.
 */
#include "fltmgr_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 4u
#define POOL_MAGIC UINT64_C(0x6c6f6f7066696c74)
#define PATIENCE_MS 20000u

struct fm fm;

/* ---- Faults ---------------------------------------------------------------------------------- */

void fm_lock_it(void)
{
    os_lock(&fm.lock);
}

void fm_unlock_it(void)
{
    os_unlock(&fm.lock);
}

void fm_fault(const char *what, const char *where)
{
    fm_lock_it();
    if (!fm.quiet && fm.faults < 20)
        printf("fltmgr: %s: %s\n", where, what);
    fm.faults++;
    fm_unlock_it();
}

unsigned fm_faults(void)
{
    unsigned n;

    fm_lock_it();
    n = fm.faults;
    fm_unlock_it();
    return n;
}

void fm_forgive(bool quiet)
{
    fm_lock_it();
    fm.faults = 0;
    fm.quiet = quiet;
    fm_unlock_it();
}

void fm_wait_zero(const unsigned *n, const char *what)
{
    unsigned ms = 0;

    for (; *n > 0 && ms < PATIENCE_MS; ms++) {
        fm_unlock_it();
        os_sleep_ms(ms >= 50); /* mostly it is a matter of microseconds */
        fm_lock_it();
    }
    if (*n == 0)
        return;
    fm_unlock_it();
    fm_fault("they are not given back", what);
    fm_lock_it();
}

/* ---- Threads --------------------------------------------------------------------------------- */

struct fm_thread *fm_me(void)
{
    static _Thread_local struct fm_thread me;

    if (!me.process)
        me.process = FM_PROGRAM;
    return &me;
}

uint64_t fm_moment(void)
{
    return ++fm.moments;
}

void fm_at_most(KIRQL irql, const char *call)
{
    if (fm_me()->irql > irql)
        fm_fault("the IRQL is too high", call);
}

void fm_may_wait(const char *call)
{
    const struct fm_thread *const t = fm_me();

    fm_at_most(PASSIVE_LEVEL, call);
    if (t->locks > 0)
        fm_fault("a lock is held", call);
    if (t->paging)
        fm_fault("in a callback for paging I/O", call);
    if (t->top)
        fm_fault("inside another operation of the file system", call);
    if (t->apcs_disabled)
        fm_fault("with APCs off", call);
    if (t->connecting)
        fm_fault("the service waits to be connected", call);
    if (t->process == FM_SERVICE)
        fm_fault("the service would wait for itself", call);
}

KIRQL NTAPI KeGetCurrentIrql(void)
{
    return fm_me()->irql;
}

BOOLEAN NTAPI KeAreAllApcsDisabled(void)
{
    return fm_me()->apcs_disabled || fm_me()->irql >= APC_LEVEL;
}

PIRP NTAPI IoGetTopLevelIrp(void)
{
    return fm_me()->top;
}

PETHREAD NTAPI PsGetCurrentThread(void)
{
    return (PETHREAD)fm_me();
}

BOOLEAN NTAPI PsIsThreadTerminating(PETHREAD t)
{
    return ((const struct fm_thread *)t)->terminating;
}

HANDLE NTAPI PsGetCurrentProcessId(void)
{
    return fm_me()->process;
}

/* ---- Locks ----------------------------------------------------------------------------------- */

struct mutex {
    os_mutex lock;
    _Atomic(struct fm_thread *) owner;
    KIRQL before;
};
_Static_assert(sizeof(struct mutex) <= sizeof(FAST_MUTEX), "room");

VOID NTAPI ExInitializeFastMutex(PFAST_MUTEX m)
{
    struct mutex *const x = (struct mutex *)m;

    memset(m, 0, sizeof(*m));
    os_mutex_begin(&x->lock);
}

VOID NTAPI ExAcquireFastMutex(PFAST_MUTEX m)
{
    struct mutex *const x = (struct mutex *)m;
    struct fm_thread *const t = fm_me();

    fm_at_most(APC_LEVEL, "ExAcquireFastMutex");
    if (x->owner == t) {
        fm_fault("a thread waits for itself", "ExAcquireFastMutex");
        abort();
    }
    os_lock(&x->lock);
    fm.acquired++;
    x->owner = t;
    x->before = t->irql;
    t->irql = APC_LEVEL;
    t->locks++;
}

VOID NTAPI ExReleaseFastMutex(PFAST_MUTEX m)
{
    struct mutex *const x = (struct mutex *)m;
    struct fm_thread *const t = fm_me();

    if (x->owner != t)
        fm_fault("it is another thread's", "ExReleaseFastMutex");
    x->owner = NULL;
    t->irql = x->before;
    t->locks--;
    os_unlock(&x->lock);
}

/* Shared by readers, or a writer's. */
struct push_lock {
    struct fm_thread *writer; /* fm.lock, as the next */
    unsigned readers;
};
_Static_assert(sizeof(struct push_lock) <= sizeof(EX_PUSH_LOCK), "room");

VOID FLTAPI FltInitializePushLock(PEX_PUSH_LOCK l)
{
    memset(l, 0, sizeof(*l));
}

static void acquire(PEX_PUSH_LOCK l, bool shared, const char *call)
{
    struct push_lock *const x = (struct push_lock *)l;
    struct fm_thread *const t = fm_me();

    fm_at_most(APC_LEVEL, call);
    if (t->pushed) {
        fm_fault("a thread waits for itself, perhaps", call);
        abort();
    }
    fm_lock_it();
    while (x->writer || (!shared && x->readers > 0))
        os_cond_wait(&fm.changed, &fm.lock);
    if (shared)
        x->readers++;
    else
        x->writer = t;
    fm.pushed++;
    fm_unlock_it();
    t->pushed = TRUE;
    t->locks++;
}

VOID FLTAPI FltAcquirePushLockShared(PEX_PUSH_LOCK l)
{
    acquire(l, true, "FltAcquirePushLockShared");
}

VOID FLTAPI FltAcquirePushLockExclusive(PEX_PUSH_LOCK l)
{
    acquire(l, false, "FltAcquirePushLockExclusive");
}

VOID FLTAPI FltReleasePushLock(PEX_PUSH_LOCK l)
{
    struct push_lock *const x = (struct push_lock *)l;
    struct fm_thread *const t = fm_me();

    fm_at_most(APC_LEVEL, "FltReleasePushLock");
    if (!t->pushed)
        fm_fault("it is another thread's", "FltReleasePushLock");
    t->pushed = FALSE;
    t->locks--;
    fm_lock_it();
    if (x->writer == t)
        x->writer = NULL;
    else
        x->readers--;
    os_cond_wake_all(&fm.changed);
    fm_unlock_it();
}

void fm_locks(unsigned *mutexes, unsigned *push_locks)
{
    fm_lock_it();
    *mutexes = fm.acquired;
    *push_locks = fm.pushed;
    fm_unlock_it();
}

struct rundown {
    unsigned users;
    bool down, over;
};

VOID NTAPI ExInitializeRundownProtection(PEX_RUNDOWN_REF r)
{
    memset(r, 0, sizeof(*r));
}

VOID NTAPI ExReInitializeRundownProtection(PEX_RUNDOWN_REF r)
{
    if (!((struct rundown *)r)->over)
        fm_fault("it has not run down", "ExReInitializeRundownProtection");
    memset(r, 0, sizeof(*r));
}

BOOLEAN NTAPI ExAcquireRundownProtection(PEX_RUNDOWN_REF r)
{
    struct rundown *const x = (struct rundown *)r;
    BOOLEAN got;

    fm_lock_it();
    got = !x->down;
    x->users += got;
    fm_unlock_it();
    return got;
}

VOID NTAPI ExReleaseRundownProtection(PEX_RUNDOWN_REF r)
{
    fm_lock_it();
    ((struct rundown *)r)->users--;
    fm_unlock_it();
}

VOID NTAPI ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF r)
{
    struct rundown *const x = (struct rundown *)r;

    fm_at_most(APC_LEVEL, "ExWaitForRundownProtectionRelease");
    fm_lock_it();
    x->down = true;
    fm_wait_zero(&x->users, "ExWaitForRundownProtectionRelease");
    x->over = true;
    fm_unlock_it();
}

/* ---- Memory ---------------------------------------------------------------------------------- */

struct block {
    uint64_t magic;
    SIZE_T bytes;
    ULONG tag;
    uint64_t room;
};

bool fm_has_memory(void)
{
    bool has = true;

    fm_lock_it();
    if (fm.starve_skip > 0)
        fm.starve_skip--;
    else if (fm.starve_fail > 0) {
        fm.starve_fail--;
        has = false;
    }
    fm_unlock_it();
    return has;
}

void fm_starve(unsigned skip, unsigned fail)
{
    fm_lock_it();
    fm.starve_skip = skip;
    fm.starve_fail = fail;
    fm_unlock_it();
}

/* The memory has no zeros. */
PVOID NTAPI ExAllocatePoolUninitialized(POOL_TYPE type, SIZE_T bytes, ULONG tag)
{
    struct block *b;

    fm_at_most(DISPATCH_LEVEL, "ExAllocatePoolUninitialized");
    if (type != NonPagedPoolNx || bytes == 0 || tag == 0)
        fm_fault("wrong parameters", "ExAllocatePoolUninitialized");
    b = fm_has_memory() ? malloc(sizeof(*b) + bytes) : NULL;
    if (!b)
        return NULL;
    *b = (struct block){ .magic = POOL_MAGIC, .bytes = bytes, .tag = tag };
    memset(b + 1, 0xcd, bytes);
    fm_lock_it();
    fm.blocks++;
    fm_unlock_it();
    return b + 1;
}

VOID NTAPI ExFreePoolWithTag(PVOID at, ULONG tag)
{
    struct block *const b = (struct block *)at - 1;

    fm_at_most(DISPATCH_LEVEL, "ExFreePoolWithTag");
    if (b->magic != POOL_MAGIC || b->tag != tag) {
        fm_fault("it is no memory of this tag", "ExFreePoolWithTag");
        return;
    }
    memset(b + 1, 0xdd, b->bytes);
    b->magic = 0;
    fm_lock_it();
    fm.blocks--;
    fm_unlock_it();
    free(b);
}

/* ---- Work items ------------------------------------------------------------------------------ */

struct _FLT_GENERIC_WORKITEM {
    PFLT_GENERIC_WORKITEM next;
    PFLT_GENERIC_WORKITEM_ROUTINE run;
    void (*inside)(void *arg); /* instead of `run` */
    PVOID context;
    bool queued;
};
static PFLT_GENERIC_WORKITEM first, *last = &first; /* fm.lock */
static unsigned busy;                               /* fm.lock: items queued or running */
static bool workers_run;

PFLT_GENERIC_WORKITEM FLTAPI FltAllocateGenericWorkItem(void)
{
    PFLT_GENERIC_WORKITEM w;

    fm_at_most(DISPATCH_LEVEL, "FltAllocateGenericWorkItem");
    w = fm_has_memory() ? calloc(1, sizeof(*w)) : NULL;
    if (w) {
        fm_lock_it();
        fm.items++;
        fm_unlock_it();
    }
    return w;
}

VOID FLTAPI FltFreeGenericWorkItem(PFLT_GENERIC_WORKITEM w)
{
    fm_at_most(DISPATCH_LEVEL, "FltFreeGenericWorkItem");
    if (w->queued)
        fm_fault("it is queued", "FltFreeGenericWorkItem");
    fm_lock_it();
    fm.items--;
    fm_unlock_it();
    free(w);
}

/* Locked. */
static void put(PFLT_GENERIC_WORKITEM w)
{
    w->queued = true;
    w->next = NULL;
    *last = w;
    last = &w->next;
    busy++;
    os_cond_wake_all(&fm.changed);
}

NTSTATUS FLTAPI FltQueueGenericWorkItem(PFLT_GENERIC_WORKITEM w, PVOID object,
                                        PFLT_GENERIC_WORKITEM_ROUTINE run, WORK_QUEUE_TYPE q,
                                        PVOID context)
{
    NTSTATUS s = STATUS_SUCCESS;

    fm_at_most(DISPATCH_LEVEL, "FltQueueGenericWorkItem");
    if (object != &fm.filter || q != DelayedWorkQueue)
        fm_fault("wrong parameters", "FltQueueGenericWorkItem");
    if (w->queued) {
        fm_fault("it is queued", "FltQueueGenericWorkItem");
        return STATUS_UNSUCCESSFUL; /* so that the test ends */
    }
    fm_lock_it();
    if (fm.filter.deleting || fm.refused) {
        s = STATUS_FLT_DELETING_OBJECT;
    } else {
        fm.filter.users++;
        w->run = run;
        w->context = context;
        put(w);
    }
    fm_unlock_it();
    return s;
}

void fm_do_later(void (*run)(void *arg), void *arg)
{
    PFLT_GENERIC_WORKITEM w = calloc(1, sizeof(*w));

    if (!w)
        abort();
    w->inside = run;
    w->context = arg;
    fm_lock_it();
    put(w);
    fm_unlock_it();
}

/* Locked. The item is its routine's from the call on. */
static void run_item(PFLT_GENERIC_WORKITEM w)
{
    void (*const inside)(void *) = w->inside;

    w->queued = false;
    fm_unlock_it();
    *fm_me() = (struct fm_thread){ .process = FM_SYSTEM, .since = fm_moment() };
    if (inside) {
        inside(w->context);
        free(w);
    } else {
        w->run(w, &fm.filter, w->context);
        if (fm_me()->irql != PASSIVE_LEVEL || fm_me()->locks > 0)
            fm_fault("a work item has left a lock or an IRQL", "FltQueueGenericWorkItem");
    }
    fm_lock_it();
    if (!inside)
        fm.filter.users--;
    busy--;
}

static void work(void *arg)
{
    (void)arg;
    fm_lock_it();
    for (;;) {
        PFLT_GENERIC_WORKITEM w = first;

        if (!w || fm.held) {
            os_cond_wait(&fm.changed, &fm.lock);
            continue;
        }
        first = w->next;
        if (!first)
            last = &first;
        run_item(w);
        os_cond_wake_all(&fm.changed);
    }
}

void fm_hold(bool held)
{
    fm_lock_it();
    fm.held = held;
    os_cond_wake_all(&fm.changed);
    fm_unlock_it();
}

void fm_refuse(bool refused)
{
    fm_lock_it();
    fm.refused = refused;
    fm_unlock_it();
}

void fm_settle(void)
{
    fm_lock_it();
    fm_wait_zero(&busy, "work items");
    fm_unlock_it();
}

void fm_kernel_begin(void)
{
    if (!workers_run) {
        os_mutex_begin(&fm.lock);
        os_cond_begin(&fm.changed);
        for (unsigned i = 0; i < WORKERS; i++)
            if (!os_thread_begin_alone(work, NULL))
                abort();
    }
    workers_run = true;
}

/* ---- Clocks, text, the rest ------------------------------------------------------------------ */

LARGE_INTEGER NTAPI KeQueryPerformanceCounter(PLARGE_INTEGER frequency)
{
    frequency->QuadPart = 1000000000;
    return (LARGE_INTEGER){ .QuadPart = (LONGLONG)os_now_ns() };
}

static _Atomic int64_t behind; /* 100 ns */

void fm_clock_stands(unsigned ms)
{
    behind = (int64_t)ms * 10000;
}

VOID NTAPI KeQuerySystemTime(PLARGE_INTEGER now)
{
    KeQuerySystemTimePrecise(now);
    now->QuadPart -= behind;
}

VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER now)
{
    now->QuadPart = (LONGLONG)(os_wall_ns() / 100) + INT64_C(116444736000000000);
}

/* The letter at from[*i], of one or two words, which are passed by. A half of two is U+FFFD. */
static ULONG next_letter(const WCHAR *from, ULONG n, ULONG *i)
{
    const ULONG c = from[(*i)++];

    if (c < 0xd800 || c > 0xdfff)
        return c;
    if (c > 0xdbff || *i == n || from[*i] < 0xdc00 || from[*i] > 0xdfff)
        return 0xfffd;
    return 0x10000 + ((c - 0xd800) << 10) + (from[(*i)++] - 0xdc00u);
}

/* What is no Unicode becomes U+FFFD, and the status says so: STATUS_SOME_NOT_MAPPED, a success. */
NTSTATUS NTAPI RtlUnicodeToUTF8N(CHAR *to, ULONG room, PULONG n, const WCHAR *from, ULONG bytes)
{
    const ULONG words = bytes / (ULONG)sizeof(WCHAR);
    NTSTATUS s = STATUS_SUCCESS;
    ULONG out = 0;

    fm_at_most(PASSIVE_LEVEL, "RtlUnicodeToUTF8N");
    for (ULONG i = 0; i < words;) {
        const WCHAR first_word = from[i];
        const ULONG c = next_letter(from, words, &i);
        const ULONG more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

        if (out + more + 1 > room)
            return (NTSTATUS)0xC0000023; /* STATUS_BUFFER_TOO_SMALL */
        if (c == 0xfffd && first_word != 0xfffd)
            s = STATUS_SOME_NOT_MAPPED;
        to[out++] = (CHAR)(more == 0 ? c : (0xff00u >> (more + 1) & 0xff) | c >> 6 * more);
        for (ULONG k = more; k > 0; k--)
            to[out++] = (CHAR)(0x80 | (c >> 6 * (k - 1) & 0x3f));
    }
    *n = out;
    return s;
}

/* Letters of Latin, Greek and Cyrillic. The system knows more. */
WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR c)
{
    fm_at_most(APC_LEVEL, "RtlUpcaseUnicodeChar");
    if ((c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) ||
        (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) || (c >= 0x430 && c <= 0x44f))
        return (WCHAR)(c - 0x20);
    if (c >= 0x450 && c <= 0x45f)
        return (WCHAR)(c - 0x50);
    switch (c) {
    case 0xff:
        return 0x178;
    case 0x23f: /* of two bytes in UTF-8; its capital has three */
        return 0x2c7e;
    default:
        return c >= 0x100 && c < 0x130 ? (WCHAR)(c & ~1) : c;
    }
}

/* The letter at from[*i], which is passed by. What is no UTF-8 is U+FFFD. */
static ULONG next_in_bytes(const UCHAR *from, ULONG n, ULONG *i)
{
    static const ULONG least[] = { 0, 0x80, 0x800, 0x10000 };
    const ULONG head = from[(*i)++];
    const ULONG more = head < 0x80 ? 0 : head >> 5 == 6 ? 1 : head >> 4 == 14 ? 2 : 3;
    ULONG c = more == 0 ? head : head & (0x3fu >> more);

    if (more == 3 && head >> 3 != 30)
        return 0xfffd;
    for (ULONG k = 0; k < more; k++) {
        if (*i == n || from[*i] >> 6 != 2)
            return 0xfffd;
        c = c << 6 | (from[(*i)++] & 0x3fu);
    }
    return c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0xfffd : c;
}

NTSTATUS NTAPI RtlUTF8ToUnicodeN(WCHAR *to, ULONG room, PULONG n, const CHAR *from, ULONG bytes)
{
    NTSTATUS s = STATUS_SUCCESS;
    ULONG out = 0;

    fm_at_most(PASSIVE_LEVEL, "RtlUTF8ToUnicodeN");
    for (ULONG i = 0; i < bytes;) {
        const ULONG begin = i;
        const ULONG c = next_in_bytes((const UCHAR *)from, bytes, &i);

        if (c == 0xfffd && (i - begin != 3 || memcmp(from + begin, "\xef\xbf\xbd", 3) != 0))
            s = STATUS_SOME_NOT_MAPPED;
        if ((out + 1 + (c > 0xffff)) * sizeof(WCHAR) > room)
            return (NTSTATUS)0xC0000023; /* STATUS_BUFFER_TOO_SMALL */
        if (c > 0xffff)
            to[out++] = (WCHAR)(0xd800 + ((c - 0x10000) >> 10));
        to[out++] = (WCHAR)(c > 0xffff ? 0xdc00 + (c & 0x3ff) : c);
    }
    *n = out * (ULONG)sizeof(WCHAR);
    return s;
}
