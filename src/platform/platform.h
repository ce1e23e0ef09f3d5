/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform.h - the operating system contract.
 *
 * Everything the library asks of an operating system, and nothing else. posix_*.c implement
 * it, or win32_*.c; meson chooses. Nobody else includes an OS header.
 *
 * Errors are negative CM_E* codes. A function that fails leaves nothing behind. Preconditions
 * are asserted by the implementation, not reported.
 */
#ifndef CM_PLATFORM_H
#define CM_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/atomic.h"
#include "cachemax.h"

/* ---- The pool file ------------------------------------------------------------------------- */

/* One open pool file and its mapping. Filled by cm_plat_file_*; owned by the caller. */
struct cm_plat_file {
    intptr_t handle; /* -1: none */
    uint8_t *base;   /* NULL: not mapped */
    uint64_t size;   /* of the file when it was opened */
    uint64_t mapped; /* bytes mapped at base */
    uint32_t pid;    /* process that opened it: a forked child must not unlock or unmap */
    uint32_t state;  /* the implementation's own */
    bool readonly;
    bool sparse; /* has less space than its size: some of it may be holes */
};
#define PLAT_FILE_INIT                                                                             \
    {                                                                                              \
        .handle = -1                                                                               \
    }

/* Makes a file with mode 0600 that is to be `path`, which must not exist and does not before
 * cm_plat_file_link, and sets its size; with `prealloc` all of it is allocated, in steps,
 * calling progress (may be NULL; nonzero return cancels: CM_EBUSY) after each. The lock of
 * cm_plat_file_lock is taken before anything is written. On error nothing is left. Of a process
 * that is killed nothing is left, or (where the file system has no files without a name) a file
 * beside `path` that the next call for it removes. CM_EEXIST (also: another process makes one
 * there) CM_ENOENT CM_EACCES CM_ENOSPC CM_EPOOLSIZE (more than the file system takes in one file)
 * CM_ENOTFILE CM_EIO CM_EBUSY. */
int cm_plat_file_create(struct cm_plat_file *f, const char *path, uint64_t size, bool prealloc,
                        int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);
/* Gives the file its name, durably. It stays open. CM_EEXIST (taken meanwhile), else as above. */
int cm_plat_file_link(struct cm_plat_file *f, const char *path);
/* Instead of that: closes and removes it. Safe on PLAT_FILE_INIT. */
void cm_plat_file_abandon(struct cm_plat_file *f, const char *path);
/* CM_ENOENT CM_EACCES CM_ENOTFILE (directory, device, fifo: must not block on one) CM_EIO. */
int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly);
/* The same to use it, if nobody but the effective user and the system's administrator could have
 * written the file or put it there. CM_EUNTRUSTED: `why` is a sentence about what it is. Of other
 * errors it may be one, too: of those whose code says too little. Else it is not touched. */
#define PLAT_WHY 512u
int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, char why[PLAT_WHY]);
/* Takes the lock that makes one process the owner (never waits; the OS drops it when the process
 * dies). CM_EOWNED. Two opens of one pool in the SAME process must also refuse each other. */
int cm_plat_file_lock(struct cm_plat_file *f);
/* 1 when another open holds the lock as the owner, 0 when not (others may still look). */
int cm_plat_file_is_locked(struct cm_plat_file *f);
/* Maps the whole file shared at an address that is a multiple of `align` (a power of two).
 * *durability: CM_DURABILITY_DAX when the OS promised synchronous mappings (MAP_SYNC),
 * CM_DURABILITY_VOLATILE on tmpfs and ramfs, else CM_DURABILITY_PAGECACHE. Not inherited by
 * fork. Read-only files are mapped read-only. CM_ENOMEM CM_EIO. */
int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
/* Writes [offset, offset+len) of the mapping and the file's metadata to the device; waits.
 * Whole file: len 0. CM_EIO. */
int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
/* Unmaps, unlocks, closes; safe on PLAT_FILE_INIT and after itself. */
void cm_plat_file_close(struct cm_plat_file *f);
/* Cuts the file to nothing, as far as its volume lets it: what the volume holds of it must never be
 * read again. Where a mapped file cannot be cut it stays. */
void cm_plat_file_void(struct cm_plat_file *f);
/* Removes a file and makes the removal durable. */
void cm_plat_file_remove(const char *path);
/* Makes the directory entry of `path` durable. */
int cm_plat_file_sync_dir(const char *path);
/* The file as it is now: its size, and whether it still has a name. CM_EIO. */
int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named);
/* Reads `n` bytes at `offset` with plain file I/O; fewer is CM_EIO. */
int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset);

/* ---- Identity ------------------------------------------------------------------------------ */

/* Identity of this boot of the system; all zero when unknown (matches nothing). */
void cm_plat_boot_id(uint8_t id[16]);
/* Identity of the mount instance of the volume the file is on: changes when the volume was
 * unmounted and mounted again. All zero when unknown (matches nothing). */
void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
/* Identity and validator of an origin file, as cm_identify_with() documents. */
int cm_plat_identify(intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
                     cm_validator *v);
uint32_t cm_plat_pid(void);
/* Random bytes from the system. */
int cm_plat_random(void *buf, size_t n);

/* ---- Clocks -------------------------------------------------------------------------------- */

uint64_t cm_plat_now_ns(void);      /* monotonic */
int64_t cm_plat_wall_ns(void);      /* wall clock since 1970 */
int64_t cm_plat_boot_wall_ns(void); /* wall clock time of the boot; INT64_MIN when unknown */

/* ---- Memory -------------------------------------------------------------------------------- */

/* Lazily zeroed memory, aligned to 4096; NULL when there is none. */
void *cm_plat_alloc(size_t bytes);
void cm_plat_free(void *p, size_t bytes);

/* ---- Threads ------------------------------------------------------------------------------- */

/* Sleeps while *word == expected, until woken; may wake for no reason. Same process only. */
void cm_plat_wait(uint32_t *word, uint32_t expected);
void cm_plat_wake_one(uint32_t *word);
void cm_plat_wake_all(uint32_t *word);
#ifdef CM_CHECKS_FULL
/* Says on standard error what is out of order, and aborts. */
_Noreturn void cm_plat_fail(const char *text);
#endif

/* Calls fn(arg). If the thread ends in there (POSIX: cancelled, or pthread_exit) or a C++ exception
 * leaves it, cleanup(cleanup_arg) runs and that goes on. Windows: a function that does not return
 * leaves things as they are. */
void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg);
/* Between the two the thread is not cancelled: around calls that may not end in the middle. Nests;
 * cancel_off gives what cancel_back takes. */
int cm_plat_cancel_off(void);
void cm_plat_cancel_back(int was);

/* One per thread, zeroed at its first use. */
#define PLAT_RECENT 8u
struct cm_plat_thread {
    uint32_t number;      /* 1, 2, 3... in order of first use; never 0 after cm_plat_thread() */
    uint32_t ready;       /* the implementation's own */
    uint32_t sample;      /* counter for sampled measurements */
    const void *callback; /* callbacks of caches running in this thread (struct cm_callback) */
    uint64_t recent[PLAT_RECENT]; /* blocks touched lately, whose hits say nothing (steps.h) */
    uint32_t recent_at;           /* the next to be forgotten */
    uint64_t written; /* bytes that were stored in a pool and are not counted yet (media.h) */
};
#if defined(__linux__) && __STDC_HOSTED__
/* One instruction away: it is asked for in every call. */
extern __thread struct cm_plat_thread cm_plat_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
struct cm_plat_thread *cm_plat_thread_begin(void);
/* What a thread must be at least: 1 begun, 2 ready for guarded faults (since the guard is there).
 */
extern uint32_t cm_plat_ready __attribute__((visibility("hidden"))); /* atomic */
static inline struct cm_plat_thread *cm_plat_thread(void)
{
    /* Relaxed: who has a handle of a pool with a guard got it from the thread that put it there. */
    return cm_plat_self.ready == at_load_relaxed(&cm_plat_ready) ? &cm_plat_self
                                                                 : cm_plat_thread_begin();
}
#else
struct cm_plat_thread *cm_plat_thread(void);
#endif

/* Grows by one in the child of every fork(), from the first call on. */
uint32_t cm_plat_fork_count(void);
/* The same after that. */
#if defined(__linux__) && __STDC_HOSTED__
extern uint32_t cm_plat_forks __attribute__((visibility("hidden")));
static inline uint32_t cm_plat_fork_count_now(void)
{
    return at_load_relaxed(&cm_plat_forks); /* the child has one thread */
}
#else
static inline uint32_t cm_plat_fork_count_now(void)
{
    return cm_plat_fork_count();
}
#endif

/* ---- CPU ----------------------------------------------------------------------------------- */

/* What only the OS can say about the CPU. */
enum {
    PLAT_CPU_DCPOP = 1u << 0 /* arm64: DC CVAP works */
};
uint32_t cm_plat_cpu_flags(void);

/* ---- Fault guard --------------------------------------------------------------------------- */

/* A range of code (the guarded routines of persist.c) in which a fault on a registered address
 * range is not fatal: the handler continues at `landing`. Called once per process. */
struct cm_plat_guard_code {
    uintptr_t begin, end, landing;
};
/* Registers [base, base+len) as guarded and installs the process-wide handler at the first call,
 * chained to the one that was there: faults elsewhere go on to it. CM_ENOMEM when the bounded
 * table of ranges (64) is full. Thread-safe. POSIX: unblocks SIGBUS and SIGSEGV in this thread, and
 * cm_plat_thread() once in every other one: a fault whose signal is blocked ends the process. */
int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code);
void cm_plat_guard_remove(const void *base);

#endif
