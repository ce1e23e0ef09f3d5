/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix.c - the operating system contract (platform.h) on Linux.
 *
 * Owns every system call of the library and three pieces of process-wide state: the fork counter,
 * the thread numbers, and the fault guard (a table of address ranges and the signal handlers).
 * Any module may call; nothing here calls back.
 *
 * LOCK  The owner holds an open-file-description lock (F_OFD_SETLK) over the whole file. Unlike
 * POSIX record locks it belongs to the open file: a second open in the same process is refused,
 * and closing some other descriptor does not drop it. Unlike flock() it can be asked about
 * (F_OFD_GETLK) without taking it for a moment, which would refuse an owner who opens just then.
 * On NFS it protects against other clients only as far as the mount passes locks on to the
 * server (not with local_lock or nolock). A forked child shares the lock until it execs or exits.
 *
 * FAULT GUARD  SIGBUS and SIGSEGV run guard_handler(). If the program counter lies in the guarded
 * code of persist and the address in a registered range, the handler moves the program counter to
 * the code's landing and returns: the routine then returns CM_EIO. No unwinding, no longjmp, no
 * lock, nothing but reads of a fixed table. Everything else goes to the handler that was there
 * before, as if the kernel had called it. Threads that block the two signals get them unblocked
 * when they first call the library.
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
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "platform/atomic.h"
#include "platform/guard_ranges.h"
#include "platform/posix.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR 4
#define BUS_MCEERR_AO 5
#endif

#define POSIX_PAGE 4096u /* alignment that cm_plat_alloc promises */

/* ---- Errors -------------------------------------------------------------------------------- */

int cm_posix_error(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
        return CM_ENOENT;
    case EEXIST:
        return CM_EEXIST;
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY:
        return CM_EACCES;
    case ENOSPC:
    case EDQUOT:
        return CM_ENOSPC;
    case EFBIG: /* the largest file of this file system */
        return CM_EPOOLSIZE;
    case EISDIR:
    case ENXIO:
    case ENODEV:
        return CM_ENOTFILE;
    case ENOMEM:
        return CM_ENOMEM;
    case EINVAL:
    case ENAMETOOLONG:
        return CM_EINVAL;
    default:
        return CM_EIO;
    }
}

/* ---- The pool file: lock ------------------------------------------------------------------- */

static int file_lock_call(const struct cm_plat_file *f, int cmd, short type, struct flock *range)
{
    *range = (struct flock){ .l_type = type, .l_whence = SEEK_SET };
    return fcntl(file_fd(f), cmd, range);
}

int cm_plat_file_lock(struct cm_plat_file *f)
{
    struct flock range;

    /* A shared lock is all that a descriptor open for reading can hold; it still keeps an owner
     * out, but the readers of this library take none. */
    if (file_lock_call(f, F_OFD_SETLK, f->readonly ? F_RDLCK : F_WRLCK, &range) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? CM_EOWNED : CM_EIO;
}

int cm_plat_file_is_locked(struct cm_plat_file *f)
{
    struct flock range;

    if (file_lock_call(f, F_OFD_GETLK, F_WRLCK, &range) != 0) {
        return CM_EIO;
    }
    return range.l_type == F_WRLCK; /* not F_RDLCK: somebody who only looks */
}

/* ---- The pool file: opening ---------------------------------------------------------------- */

/* Takes over a descriptor. */
static int file_adopt(struct cm_plat_file *f, int fd, bool readonly)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return CM_ENOTFILE;
    }
    *f = (struct cm_plat_file){ .handle = fd,
                                .size = (uint64_t)st.st_size,
                                .pid = cm_plat_pid(),
                                .readonly = readonly,
                                .sparse = (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size };
    return 0;
}

int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly)
{
    POSIX_NO_CANCEL;
    struct stat st;
    int fd;

    assert(f != NULL && f->handle < 0 && path != NULL);
    /* Looked at before the open as well, because opening a device may already do something. */
    if (stat(path, &st) != 0) {
        return cm_posix_error(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        return CM_ENOTFILE;
    }
    fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return cm_posix_error(errno);
    }
    return file_adopt(f, fd, readonly);
}

int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, char why[PLAT_WHY])
{
    POSIX_NO_CANCEL;
    int fd;
    int rc;

    assert(f != NULL && f->handle < 0 && path != NULL);
    rc = cm_posix_open_trusted(path, why, &fd);
    if (rc == EROFS) {
        (void)snprintf(why, PLAT_WHY, "its volume is mounted read-only");
    }
    if (rc != 0) {
        return rc < 0 ? rc : cm_posix_error(rc);
    }
    return file_adopt(f, fd, false);
}

void cm_plat_file_close(struct cm_plat_file *f)
{
    POSIX_NO_CANCEL;
    assert(f != NULL);
    if (f->handle < 0) {
        return;
    }
    /* In a forked child the mapping was never there, and the lock is the parent's. In the parent
     * the lock goes by hand: a child that still has the descriptor would keep it otherwise. */
    if (f->pid == cm_plat_pid()) {
        struct flock range;

        if (f->base != NULL) {
            (void)munmap(f->base, f->mapped);
        }
        (void)file_lock_call(f, F_OFD_SETLK, F_UNLCK, &range);
    }
    (void)close(file_fd(f));
    *f = (struct cm_plat_file)PLAT_FILE_INIT;
}

int cm_plat_file_sync_dir(const char *path)
{
    POSIX_NO_CANCEL;
    const int fd = cm_posix_open_dir(path, O_RDONLY);
    int rc = 0;

    if (fd < 0) {
        return cm_posix_error(errno);
    }
    /* EINVAL: this file system has nothing to sync for a directory. */
    if (fsync(fd) != 0 && errno != EINVAL) {
        rc = cm_posix_error(errno);
    }
    (void)close(fd);
    return rc;
}

void cm_plat_file_remove(const char *path)
{
    POSIX_NO_CANCEL;
    assert(path != NULL);
    (void)unlink(path);
    (void)cm_plat_file_sync_dir(path);
}

void cm_plat_file_void(struct cm_plat_file *f)
{
    POSIX_NO_CANCEL;
    if (ftruncate(file_fd(f), 0) == 0) {
        (void)fsync(file_fd(f));
    }
}

int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named)
{
    struct stat st;

    if (fstat(file_fd(f), &st) != 0) {
        return CM_EIO;
    }
    *size = (uint64_t)st.st_size;
    *named = st.st_nlink > 0;
    return 0;
}

int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset)
{
    POSIX_NO_CANCEL;
    uint8_t *to = buf;

    assert(buf != NULL || n == 0);
    while (n > 0) {
        const ssize_t got = pread(file_fd(f), to, n, (off_t)offset);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return CM_EIO;
        }
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* ---- The pool file: mapping ---------------------------------------------------------------- */

static bool file_is_volatile(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    return fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == RAMFS_MAGIC ||
           (uint32_t)fs.f_type == HUGETLBFS_MAGIC;
}

/* Whether the file system promises synchronous mappings. Asked with a page of its own: a mapping
 * at a fixed address that fails may already have torn a hole into what was reserved there. */
static bool file_has_map_sync(int fd, int prot)
{
    void *probe = mmap(NULL, POSIX_PAGE, prot, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

    if (probe == MAP_FAILED) {
        return false;
    }
    (void)munmap(probe, POSIX_PAGE);
    return true;
}

#define MAP_TRIES 16

/* An address with room for `size` bytes just now; NULL: there is none. */
static void *find_aligned(size_t size, size_t align)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t slack = align > page ? align : page;
    uint8_t *raw;

    if (size > SIZE_MAX / 2 || align > SIZE_MAX / 4) {
        return NULL;
    }
    raw = mmap(NULL, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED || munmap(raw, size + slack) != 0) {
        return NULL;
    }
    return raw + (-(uintptr_t)raw & (slack - 1));
}

/* Maps a file at an aligned address. The address is a hint: should somebody have taken it
 * meanwhile, the kernel chooses another one and nothing is overwritten. (MAP_FIXED_NOREPLACE says
 * the same, but not together with MAP_SHARED_VALIDATE.) */
static void *map_aligned(int fd, size_t size, size_t align, int prot, int flags)
{
    for (unsigned i = 0; i < MAP_TRIES; i++) {
        void *const hint = find_aligned(size, align);
        void *p;

        if (hint == NULL) {
            break;
        }
        p = mmap(hint, size, prot, flags, fd, 0);
        if (p == MAP_FAILED || ((uintptr_t)p & (align - 1)) == 0) {
            return p;
        }
        (void)munmap(p, size);
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    const int prot = f->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    bool sync;
    uint8_t *base;

    assert(f->base == NULL && durability != NULL);
    assert(align != 0 && (align & (align - 1)) == 0);
    if (f->size == 0) {
        return CM_EIO;
    }
    sync = file_has_map_sync(fd, prot);
    base =
        map_aligned(fd, f->size, align, prot, sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED);
    if (base == MAP_FAILED) {
        return errno == ENOMEM ? CM_ENOMEM : CM_EIO;
    }
    /* Without the first a child's stores would reach the pool. The second is kindness only. */
    if (madvise(base, f->size, MADV_DONTFORK) != 0) {
        (void)munmap(base, f->size);
        return CM_EIO;
    }
    (void)madvise(base, f->size, MADV_DONTDUMP);
    f->base = base;
    f->mapped = f->size;
    if (sync) {
        *durability = CM_DURABILITY_DAX;
    } else {
        *durability = file_is_volatile(fd) ? CM_DURABILITY_VOLATILE : CM_DURABILITY_PAGECACHE;
    }
    return 0;
}

int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);

    if (f->base != NULL) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        const uint64_t start = offset / page * page;
        const uint64_t end = len == 0 ? f->mapped : offset + len;

        assert(offset <= f->mapped && len <= f->mapped - offset);
        if (msync(f->base + start, end - start, MS_SYNC) != 0) {
            return CM_EIO;
        }
    }
    return fsync(fd) == 0 ? 0 : CM_EIO;
}

/* ---- Process ------------------------------------------------------------------------------- */

uint32_t cm_plat_pid(void)
{
    return (uint32_t)getpid();
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

/* In a time namespace the clock does not say how long ago the system booted. */
static bool has_own_clock(void)
{
    char text[256];
    const char *line;
    long long seconds = 0, ns = 0;

    if (cm_posix_read_text("/proc/self/timens_offsets", text, sizeof text) <= 0) {
        return false; /* a kernel without them */
    }
    line = strstr(text, "boottime");
    return line == NULL || sscanf(line, "boottime %lld %lld", &seconds, &ns) != 2 || seconds != 0 ||
           ns != 0;
}

int64_t cm_plat_boot_wall_ns(void)
{
    struct timespec up;
    struct stat proc;
    int64_t boot;

    /* CLOCK_BOOTTIME goes on while the system sleeps, CLOCK_MONOTONIC does not. */
    if (clock_gettime(CLOCK_BOOTTIME, &up) != 0 || has_own_clock()) {
        return INT64_MIN;
    }
    boot = cm_plat_wall_ns() - timespec_ns(up);
    /* The wall clock may have been set forward since, or have gone on while a virtual machine stood
     * still. /proc is mounted early in a boot and keeps the time of that. */
    if (stat("/proc", &proc) == 0 && timespec_ns(proc.st_ctim) < boot) {
        boot = timespec_ns(proc.st_ctim);
    }
    return boot;
}

/* ---- Memory -------------------------------------------------------------------------------- */

#define POSIX_SMALL                                                                                \
    (64u << 10) /* below: from malloc, cleared at once; above: mapped, lazily zero */

static size_t round_to_page(size_t bytes)
{
    return (bytes + POSIX_PAGE - 1) / POSIX_PAGE * POSIX_PAGE;
}

void *cm_plat_alloc(size_t bytes)
{
    void *p;

    if (bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    if (bytes < POSIX_SMALL) {
        p = aligned_alloc(POSIX_PAGE, round_to_page(bytes));
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
        /* It lies in the middle of another mapping and the process may have no more of them. The
         * addresses stay taken, the memory does not. */
        (void)madvise(p, bytes, MADV_DONTNEED);
    }
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

/* With -fexceptions (meson.build) the C library makes of this pair what the compiler makes of C++
 * destructors; without it, what pthread_exit() alone knows of. */
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

void cm_plat_wake_one(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cm_plat_wake_all(uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Initial-exec: one instruction to reach, at the price of a few bytes of static TLS. */
__thread struct cm_plat_thread cm_plat_self;

#define THREAD_BEGUN 1u
#define THREAD_GUARDED 2u
uint32_t cm_plat_ready = THREAD_BEGUN;

/* The kernel ends a process that faults while it blocks the signal, handler or not. A thread that
 * blocks them again later is on its own. */
static void guard_unblock(void)
{
    sigset_t faults;

    (void)sigemptyset(&faults);
    (void)sigaddset(&faults, SIGBUS);
    (void)sigaddset(&faults, SIGSEGV);
    (void)pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
}

struct cm_plat_thread *cm_plat_thread_begin(void)
{
    static uint32_t numbers;
    const uint32_t ready = at_load_acquire(&cm_plat_ready); /* pairs with guard_install */

    if (ready == THREAD_GUARDED) {
        guard_unblock();
    }
    cm_plat_self.ready = ready;
    while (cm_plat_self.number == 0) {
        cm_plat_self.number = at_add_relaxed(&numbers, 1u) + 1; /* only uniqueness matters */
    }
    return &cm_plat_self;
}

#if defined(__linux__) && __STDC_HOSTED__
uint32_t cm_plat_forks;
#else
static uint32_t cm_plat_forks;
#endif
static uint32_t fork_watched; /* atomic; fork_register() ran: asked on every hit */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_in_child(void)
{
    at_add_relaxed(&cm_plat_forks, 1u); /* the child has one thread */
}

static void fork_register(void)
{
    (void)pthread_atfork(NULL, NULL, fork_in_child);
    at_store_release(&fork_watched, 1u); /* pairs with cm_plat_fork_count */
}

uint32_t cm_plat_fork_count(void)
{
    if (at_load_acquire(&fork_watched) == 0) {
        (void)pthread_once(&fork_once, fork_register);
    }
    return at_load_relaxed(&cm_plat_forks);
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

/* ---- Fault guard --------------------------------------------------------------------------- */

static pthread_mutex_t guard_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool guard_installed; /* under guard_mutex */
/* Set before the handlers are installed, constant afterwards. */
static struct cm_plat_guard_code guard_code;
static struct sigaction guard_old_bus, guard_old_segv;

static void guard_handler(int sig, siginfo_t *info, void *context);

#if defined(__x86_64__)
#define GUARD_PC(uc) (&(uc)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define GUARD_PC(uc) (&(uc)->uc_mcontext.pc)
#endif

/* True when the fault was the guard's business and execution may go on. */
static bool guard_absorbs(int sig, const siginfo_t *info, void *context)
{
    uintptr_t addr = (uintptr_t)info->si_addr;
    uintptr_t span = 1;

    if (info->si_code <= 0 || info->si_code == SI_KERNEL) {
        return false; /* sent by a process, or no address (x86: not canonical) */
    }
    if (sig == SIGBUS && (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)) {
        /* Machine check: si_addr is the start of a damaged area of 2^lsb bytes. */
        const unsigned lsb = (unsigned)info->si_addr_lsb;

        span = (uintptr_t)1 << (lsb < 40 ? lsb : 12);
        addr &= ~(span - 1);
    }
    if (!guard_covers(addr, span)) {
        return false;
    }
    /* "Action optional": the kernel found damage that nobody has read yet; the program counter is
     * anywhere. Nothing needs doing: who reads that page later gets a synchronous fault. */
    if (sig == SIGBUS && info->si_code == BUS_MCEERR_AO) {
        return true;
    }
#ifdef GUARD_PC
    ucontext_t *uc = context;
    const uintptr_t pc = (uintptr_t)*GUARD_PC(uc);

    if (pc >= guard_code.begin && pc < guard_code.end) {
        *GUARD_PC(uc) = (__typeof__(*GUARD_PC(uc)))guard_code.landing;
        return true;
    }
#else
    (void)context;
#endif
    return false;
}

/* Calls the previous handler with the signals blocked that it asked for; the return from our own
 * handler restores the mask. */
static void guard_call(int sig, siginfo_t *info, void *context, struct sigaction *old)
{
    const struct sigaction wanted = *old;
    sigset_t this_one;

    (void)sigemptyset(&this_one);
    (void)sigaddset(&this_one, sig);
    (void)pthread_sigmask(SIG_BLOCK, &wanted.sa_mask, NULL);
    if ((wanted.sa_flags & SA_NODEFER) != 0 && sigismember(&wanted.sa_mask, sig) == 0) {
        (void)pthread_sigmask(SIG_UNBLOCK, &this_one, NULL);
    }
    if (((unsigned)wanted.sa_flags & (unsigned)SA_RESETHAND) != 0) {
        old->sa_handler = SIG_DFL;
        old->sa_flags = 0;
    }
    if ((wanted.sa_flags & SA_SIGINFO) != 0) {
        wanted.sa_sigaction(sig, info, context);
    } else {
        wanted.sa_handler(sig);
    }
}

/* Does with a signal what the kernel would have done had guard_handler() not been there. */
static void guard_chain(int sig, siginfo_t *info, void *context)
{
    struct sigaction *old = sig == SIGBUS ? &guard_old_bus : &guard_old_segv;
    const bool repeats = info->si_code > 0 && !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);

    if (old->sa_handler == SIG_IGN && !repeats) {
        return;
    }
    if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
        /* On return the instruction faults again and the kernel decides, with a core dump that
         * shows the true place. A signal that will not repeat is sent again (and held back until
         * the return). */
        (void)sigaction(sig, old, NULL);
        if (!repeats) {
            (void)raise(sig);
        }
        return;
    }
    guard_call(sig, info, context, old);
}

static void guard_handler(int sig, siginfo_t *info, void *context)
{
    const int saved_errno = errno;

    if (!guard_absorbs(sig, info, context)) {
        guard_chain(sig, info, context);
    }
    errno = saved_errno;
}

static int guard_install_one(int sig, struct sigaction *old)
{
    struct sigaction ours;

    /* Read first: a fault may arrive the moment the new handler is there. */
    if (sigaction(sig, NULL, old) != 0) {
        return CM_EIO;
    }
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = guard_handler;
    /* On the alternate stack where a thread has one: the previous handler may rely on it. */
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (old->sa_flags & SA_RESTART);
    (void)sigemptyset(&ours.sa_mask);
    return sigaction(sig, &ours, NULL) == 0 ? 0 : CM_EIO;
}

/* Under guard_mutex. */
static int guard_install(const struct cm_plat_guard_code *code)
{
    if (guard_installed) {
        assert(code->begin == guard_code.begin && code->end == guard_code.end);
        return 0;
    }
    guard_code = *code;
    if (guard_install_one(SIGBUS, &guard_old_bus) != 0) {
        return CM_EIO;
    }
    if (guard_install_one(SIGSEGV, &guard_old_segv) != 0) {
        (void)sigaction(SIGBUS, &guard_old_bus, NULL);
        return CM_EIO;
    }
    guard_installed = true;
    at_store_release(&cm_plat_ready, THREAD_GUARDED); /* every thread passes cm_plat_thread_begin */
    return 0;
}

int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code)
{
    int rc;

    assert(base != NULL && len > 0 && code != NULL);
    (void)pthread_mutex_lock(&guard_mutex);
    rc = guard_install(code);
    if (rc == 0) {
        rc = guard_range_add(base, len);
    }
    (void)pthread_mutex_unlock(&guard_mutex);
    guard_unblock(); /* this thread is about to read the pool */
    return rc;
}

void cm_plat_guard_remove(const void *base)
{
    (void)pthread_mutex_lock(&guard_mutex);
    guard_range_remove(base);
    (void)pthread_mutex_unlock(&guard_mutex);
}
