/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_run.c - platform.h on Linux: process, clocks, memory, threads, CPU.
 *
 * Owns the process, clocks, memory, threads and what only the system can say about the CPU. It has
 * two pieces of process-wide state: the thread numbers, and what /proc says of the clocks.
 * posix_fork.c has the forks.
 *
 * How: each thread has its own data in thread-local memory. The thread's first call prepares that
 * data. If the fault guard is installed later, the thread's next call prepares it once more
 * (cm_plat_ready, posix_guard.c).
 *
 * Who: api/, objects/, protocol/, state/, media/, policy/, platform/. Only cm_plat_call calls back:
 * the functions that it is given.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "platform/atomic.h"
#include "platform/posix.h"

/* Alignments that cm_plat_alloc promises. */
#define POSIX_LINE 64u
#define POSIX_PAGE 4096u

/* ---- Process ------------------------------------------------------------------------------- */

uint32_t cm_plat_pid(void)
{
    return (uint32_t)getpid();
}

/* The call has failed, for a reason that is not its own. */
static bool is_refused(void)
{
    return errno == EPERM || errno == EACCES || errno == ENOSYS;
}

/* None of them does anything. (Without a byte to fetch, glibc 2.41 does not call the system.) */
void cm_plat_refuses(char why[PLAT_WHY])
{
    POSIX_NO_CANCEL;
    struct sigaction is;
    const char *name = NULL;
    char byte;

    if (getrandom(&byte, 1, 0) < 0 && is_refused()) {
        name = "getrandom()";
    } else if (madvise(NULL, 0, MADV_DONTFORK) < 0 && is_refused()) {
        name = "madvise()";
    } else if (msync(NULL, 0, MS_SYNC) < 0 && is_refused()) {
        name = "msync()";
    } else if (sigaction(SIGBUS, NULL, &is) < 0 && is_refused()) {
        name = "sigaction()";
    } else if (fcntl(-1, F_GETFD) < 0 && is_refused()) {
        name = "fcntl()";
    }
    why[0] = '\0';
    if (name != NULL) {
        (void)snprintf(
            why, PLAT_WHY,
            ": the system refuses %s to this process: is there a filter of system calls?", name);
    }
}

int cm_plat_random(void *buf, size_t n)
{
    POSIX_NO_CANCEL;
    uint8_t *to = buf;

    while (n > 0) {
        const ssize_t got = getrandom(to, n, 0);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return CM_EIO;
        }
        to += got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- Clocks -------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t = { 0, 0 };
    const int rc = clock_gettime(clock, &t);

    assert(rc == 0);
    (void)rc;
    return timespec_ns(t);
}

uint64_t cm_plat_now_ns(void)
{
    return (uint64_t)clock_ns(CLOCK_MONOTONIC);
}

int64_t cm_plat_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void cm_plat_sleep(uint64_t ns)
{
    POSIX_NO_CANCEL;
    struct timespec left = { .tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u) };

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* The boot was not later than *latest; INT64_MIN: nobody knows. False: look again the next time. */
static bool look_at_proc(int64_t *latest)
{
    char text[256];
    long long seconds = 0, ns = 0;
    struct stat proc;
    const ssize_t n = cm_posix_read_text("/proc/self/timens_offsets", text, sizeof text);
    const bool none = n < 0 && errno == ENOENT; /* a kernel without time namespaces */
    const char *const line = n > 0 ? strstr(text, "boottime") : NULL;

    /* In a time namespace the clock does not show how long ago the system booted. */
    if (!none && (line == NULL || sscanf(line, "boottime %lld %lld", &seconds, &ns) != 2 ||
                  seconds != 0 || ns != 0)) {
        *latest = INT64_MIN;
        return n > 0;
    }
    /* The wall clock may have been set forward since the boot, or may have gone on while a virtual
     * machine stood still. /proc is mounted early in a boot and keeps that time. */
    *latest = stat("/proc", &proc) == 0 ? timespec_ns(proc.st_ctim) : INT64_MAX;
    return !none || stat("/proc/self", &proc) == 0; /* else it is not mounted yet */
}

int64_t cm_plat_boot_wall_ns(void)
{
    POSIX_NO_CANCEL;
    /* What /proc says, and the boot by the clocks when it was read. Another time namespace, in this
     * process or after a fork, has clocks that show another boot. So it is read again if that moved
     * by a second, as it also does if somebody sets the wall clock. */
    static int64_t latest, read_at = INT64_MIN;
    struct timespec up;
    int64_t boot, at, most;

    /* CLOCK_BOOTTIME goes on while the system sleeps, CLOCK_MONOTONIC does not. */
    if (clock_gettime(CLOCK_BOOTTIME, &up) != 0) {
        return INT64_MIN;
    }
    boot = cm_plat_wall_ns() - timespec_ns(up);
    at = at_load_acquire(&read_at); /* acquire: pairs with the release below */
    if (at != INT64_MIN && boot >= at - NS_PER_S && boot <= at + NS_PER_S) {
        most = at_load_relaxed(&latest); /* relaxed: it is at least as new as read_at */
    } else if (look_at_proc(&most)) {
        at_store_relaxed(&latest, most);
        at_store_release(&read_at, boot); /* release: who sees it sees `latest` */
    }
    return boot < most ? boot : most;
}

/* ---- Memory -------------------------------------------------------------------------------- */

#define POSIX_SMALL                                                                                \
    (64u << 10) /* below: from malloc, cleared at once; above: mapped, lazily zero */

void *cm_plat_alloc(size_t bytes)
{
    void *p;

    if (bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    if (bytes < POSIX_SMALL) {
        /* What is small gets no page of its own: glibc would give the heap's end back to the system
         * at each free, and take it again. */
        const size_t align = bytes < POSIX_PAGE ? POSIX_LINE : POSIX_PAGE;

        p = aligned_alloc(align, (bytes + align - 1) / align * align);
        return p == NULL ? NULL : memset(p, 0, bytes);
    }
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    return p == MAP_FAILED ? NULL : p;
}

void cm_plat_free(void *p, size_t bytes)
{
    if (p == NULL) {
        return;
    }
    if (bytes < POSIX_SMALL) {
        free(p);
    } else if (munmap(p, bytes) != 0) {
        /* The memory lies in the middle of another mapping, and the process may have no more
         * mappings. Give back the memory; the addresses stay taken. */
        (void)madvise(p, bytes, MADV_DONTNEED);
    }
}

/* The whole pages that have a byte of [p, p+n). */
struct pages {
    uint8_t *start;
    size_t bytes;
    size_t page;
};

static struct pages pages_of(const void *p, size_t n)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)p & ~(uintptr_t)(page - 1);
    const uintptr_t end = ((uintptr_t)p + n + page - 1) & ~(uintptr_t)(page - 1);

    assert(p != NULL && n > 0 && end > start);
    return (struct pages){ (uint8_t *)start, end - start, page };
}

#define RESIDENT_STEP 64u /* pages in one system call */

size_t cm_plat_cut_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

bool cm_plat_is_resident(const void *p, size_t n)
{
    const struct pages all = pages_of(p, n);
    unsigned char in[RESIDENT_STEP];

    for (size_t done = 0; done < all.bytes;) {
        const size_t most = RESIDENT_STEP * all.page, left = all.bytes - done;
        const size_t step = left < most ? left : most;

        if (mincore(all.start + done, step, in) != 0) {
            return false;
        }
        for (size_t i = 0; i < step / all.page; i++) {
            if ((in[i] & 1) == 0) {
                return false;
            }
        }
        done += step;
    }
    return true;
}

void cm_plat_will_need(void *p, size_t n)
{
    const struct pages all = pages_of(p, n);

    (void)madvise(all.start, all.bytes, MADV_WILLNEED);
}

int cm_plat_lock_pages(void *p, size_t n)
{
    const struct pages all = pages_of(p, n);

    /* MLOCK_ONFAULT: mlock() would read the pages itself, and refuse all of them if one is
     * damaged. */
    return mlock2(all.start, all.bytes, MLOCK_ONFAULT) == 0 ? 0 : CM_ENOMEM;
}

void cm_plat_unlock_pages(void *p, size_t n)
{
    const struct pages all = pages_of(p, n);

    (void)munlock(all.start, all.bytes);
}

/* ---- Threads ------------------------------------------------------------------------------- */

int cm_plat_cancel_off(void)
{
    int was = PTHREAD_CANCEL_ENABLE;

    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
    return was;
}

void cm_plat_cancel_back(int was)
{
    int ours;

    (void)pthread_setcancelstate(was, &ours);
}

/* With -fexceptions (meson.build), the C library implements this pair like C++ destructors. Without
 * it, only pthread_exit() and cancellation know of the pair. */
void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg)
{
    pthread_cleanup_push(cleanup, cleanup_arg);
    fn(arg);
    pthread_cleanup_pop(0);
}

void cm_plat_wait(uint32_t *word, uint32_t expected)
{
    assert(word != NULL);
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

bool cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    const struct timespec end = { .tv_sec = (time_t)(deadline_ns / (uint64_t)NS_PER_S),
                                  .tv_nsec = (long)(deadline_ns % (uint64_t)NS_PER_S) };
    const bool endless = deadline_ns == UINT64_MAX;

    assert(word != NULL);
    /* FUTEX_WAIT_BITSET: its time is a moment of CLOCK_MONOTONIC, the clock of cm_plat_now_ns().
     * The time of FUTEX_WAIT is a duration, which would begin anew after each signal. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, endless ? NULL : &end, NULL,
                  FUTEX_BITSET_MATCH_ANY);
    return endless || cm_plat_now_ns() < deadline_ns;
}

void cm_plat_wake_one(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cm_plat_wake_all(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Initial-exec: the address takes one instruction, and costs a few bytes of static TLS. */
__thread struct cm_plat_thread cm_plat_self;

uint32_t cm_plat_ready = THREAD_BEGUN;

struct cm_plat_thread *cm_plat_thread_begin(void)
{
    static uint32_t numbers;
    const uint32_t ready = at_load_acquire(&cm_plat_ready); /* acquire: pairs with guard_install */

    if (ready == THREAD_GUARDED) {
        cm_posix_guard_unblock();
    }
    cm_plat_self.ready = ready;
    while (cm_plat_self.number == 0) {
        /* Relaxed: the number need only be unique. */
        cm_plat_self.number = at_add_relaxed(&numbers, 1u) + 1;
    }
    return &cm_plat_self;
}

/* ---- CPU ----------------------------------------------------------------------------------- */

uint32_t cm_plat_cpu_flags(void)
{
    uint32_t flags = 0;

#if defined(__aarch64__)
#ifndef HWCAP_DCPOP
#define HWCAP_DCPOP (1ul << 16)
#endif
    if ((getauxval(AT_HWCAP) & HWCAP_DCPOP) != 0) {
        flags |= PLAT_CPU_DCPOP;
    }
#endif
    return flags;
}

#ifdef CM_CHECKS_FULL
void cm_plat_fail(const char *text)
{
    (void)fprintf(stderr, "libcachemax: out of order: %s\n", text);
    abort();
}
#endif
