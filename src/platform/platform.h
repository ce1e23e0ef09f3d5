/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform.h - what the library needs from the operating system.
 *
 * Everything the library asks of an operating system, and nothing else. posix_*.c or win32_*.c
 * implement it; meson chooses. No other file includes an OS header.
 *
 * Errors are negative CM_E* codes. A function that fails leaves nothing behind. Preconditions
 * are asserted by the implementation, not reported.
 */
#ifndef CM_PLATFORM_H
#define CM_PLATFORM_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "platform/atomic.h"
#include "cachemax.h"

/* ---- The pool file ------------------------------------------------------------------------- */

/* One open pool file and its mapping. Filled by cm_plat_file_*; owned by the caller. */
struct cm_plat_file {
    intptr_t handle; /* -1: none */
    uint8_t *base;   /* NULL: not mapped */
    uint64_t size;   /* atomic; of the file when it was opened, or has grown */
    uint64_t mapped; /* atomic; bytes mapped at base */
    uint64_t room;   /* set before cm_plat_file_map: so long may the mapping become; 0: as it is */
    uint64_t held;   /* bytes of address space at base; private to the implementation */
    uint32_t forks;  /* cm_plat_fork_count() at the open: a child must not touch it */
    uint32_t state;  /* private to the implementation */
    bool readonly;
    bool sparse;   /* has less space than its size: some of it may be holes */
    bool map_sync; /* private to the implementation */
    uint8_t pages; /* the same: who says which pages are in memory */
    int64_t mark;  /* private: by it the handle is known again */
};
#define PLAT_VOLUME 64u /* bytes of the name of a kind of volume */
#define PLAT_FILE_INIT                                                                             \
    {                                                                                              \
        .handle = -1                                                                               \
    }

/* Makes a file with mode 0600 that will become `path`, and sets its size. `path` must not exist,
 * and it does not exist before cm_plat_file_link. With `prealloc` all of the file is allocated, in
 * steps. After each step it calls progress (may be NULL; a nonzero return cancels: CM_ECANCELED).
 * It takes the lock of cm_plat_file_lock before anything is written. On error nothing is left. A
 * process that is killed leaves nothing or, if the file system has no files without a name, a file
 * beside `path` that the next call for `path` removes. CM_EEXIST (also: another process makes one
 * there) CM_ENOENT CM_EACCES CM_ENOSPC CM_EPOOLSIZE (more than the file system takes in one file)
 * CM_ENOTFILE CM_EIO CM_ECANCELED. */
int cm_plat_file_create(struct cm_plat_file *f, const char *path, uint64_t size, bool prealloc,
                        int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx);
/* Why `path` could not be made so, in a sentence, if the error `code` says too little; else "". For
 * messages only: it looks at the path, its volume and the process as they are now. */
#define PLAT_WHY 512u
void cm_plat_file_not_made(const char *path, uint64_t size, bool prealloc, int code,
                           char why[PLAT_WHY]);
/* Gives the file its name, durably. The file stays open. CM_EEXIST: the name was taken meanwhile.
 * Other errors as above. */
int cm_plat_file_link(struct cm_plat_file *f, const char *path);
/* `f` is a new file that cm_plat_file_link has given the name `made`. Gives it the name `path` in
 * one step, durably, in place of `old`, whose lock the caller has. It gets the mode, the group and
 * (POSIX) the access list of `old`. Windows cannot replace an open file: there `old` is closed.
 * CM_EMOVED: `path` does not lead to `old` any more. CM_ENOTSUP: it is a mount point. CM_EOWNED:
 * another process has opened `old` meanwhile (Windows). CM_EIO with *replaced: it may not be
 * durable. Other errors as above; then `old` has its name. */
int cm_plat_file_replace(struct cm_plat_file *f, const char *made, struct cm_plat_file *old,
                         const char *path, bool *replaced);
/* The path of an existing file without symbolic links, in `real`. (Windows: as it is.) CM_EINVAL:
 * it is too long. */
#define PLAT_PATH 8192u
int cm_plat_real_path(const char *path, char real[PLAT_PATH]);
/* Is something mounted there? Then nothing can take the file's name. false also where the system
 * does not say it (Linux before 5.8). */
bool cm_plat_is_mount_point(const char *path);
/* Use this instead of cm_plat_file_link: closes and removes the file. Safe on PLAT_FILE_INIT. */
void cm_plat_file_abandon(struct cm_plat_file *f, const char *path);
/* CM_ENOENT CM_EACCES CM_ENOTFILE (directory, device, fifo: must not block on one) CM_EIO. */
int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly);
/* The same, for a pool that will be used. Succeeds only if nobody but the effective user and the
 * system's administrator could have written the file or put it there. CM_EUNTRUSTED: `why` says in
 * a sentence what is wrong. CM_EMOVED: the path leads to another file than the one that was judged,
 * because it was replaced meanwhile. Call it again: that judges the other one. Some other errors,
 * whose code says too little, also write a sentence. Else `why` is not written. */
int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                              char why[PLAT_WHY]);
/* May the system make a copy of the file when it is opened for writing for the first time, and
 * leave those that have it open for reading with the old one (overlayfs, fuse-overlayfs)? false
 * where it is known that none will be made any more; but a copy that was made need not be known. */
bool cm_plat_file_is_layered(const struct cm_plat_file *f);
/* May a process reach the file in a way in which it sees neither the lock nor what others store in
 * their mappings: on another host, in a guest, in the directory behind a FUSE file system? `what`
 * names the kind of volume. */
bool cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME]);
/* Takes the lock that makes one process the owner (never waits; the OS drops it when the process
 * dies). CM_EOWNED. Two opens of one pool in the SAME process must also refuse each other. */
int cm_plat_file_lock(struct cm_plat_file *f);
/* 1: another open holds the lock as the owner. 0: none does, but others may still read the pool. */
int cm_plat_file_is_locked(struct cm_plat_file *f);
/* The holder of the lock has judged what the last owner left: from here on others may see that. A
 * hint: if it cannot be said, nobody sees it. Ends with the lock. */
void cm_plat_file_say_taken(struct cm_plat_file *f);
/* Has another open said so? false: nobody has, or it is not known. */
bool cm_plat_file_is_taken(struct cm_plat_file *f);
/* A process that holds the lock, as owner or as reader; 0: unknown. `likely`, if it is not 0, is
 * asked first. For messages only: the holder may be gone already. May read much of /proc. */
uint32_t cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely);
/* Maps the whole file shared at an address that is a multiple of `align` (a power of two).
 * *durability: CM_DURABILITY_DAX when the OS promised synchronous mappings (MAP_SYNC),
 * CM_DURABILITY_VOLATILE on tmpfs and ramfs, else CM_DURABILITY_PAGECACHE. Not inherited by
 * fork. Read-only files are mapped read-only. CM_ENOMEM CM_EIO. */
int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
/* Is there room for the file to become so long? Nothing is changed, and others may take it next.
 * CM_ENOSPC: so many bytes are *missing on its volume; 0: the process may not make such files. What
 * is not known counts as room. */
int cm_plat_file_room(struct cm_plat_file *f, uint64_t size, uint64_t *missing);
/* Makes a mapped file longer, and its mapping, at the same address, up to f->room. What is
 * new is zeros, and allocated unless the file is sparse. On error the file is as it was. CM_ENOSPC
 * (no room on the volume, a quota, a limit of the process) CM_EPOOLSIZE CM_ENOMEM CM_EIO (also:
 * somebody has cut it; it stays short); CM_ENOTSUP: this system cannot, or there was no room for
 * such a mapping. Durable after cm_plat_file_sync(). */
int cm_plat_file_grow(struct cm_plat_file *f, uint64_t size);
/* Makes a mapped file shorter, never longer. Nobody uses what is cut off. CM_EIO (also: somebody
 * has cut it further), CM_ENOTSUP (Windows). */
int cm_plat_file_cut(struct cm_plat_file *f, uint64_t size);
/* Writes [offset, offset+len) of the mapping to the device, with the metadata that these bytes
 * need, and waits for it. So it takes no longer if other pages of the file are dirty. len 0: the
 * whole file. CM_EIO: also if the system lost other pages of the file before, and this is the first
 * sync to tell it. */
int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
/* Does what was synced survive a crash of the system? Only volumes of which it is known count. Else
 * `what` says in a few words which volume it is. */
bool cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME]);
/* Unmaps, unlocks, closes; safe on PLAT_FILE_INIT and after itself. Does none of it in a child. */
void cm_plat_file_close(struct cm_plat_file *f);
/* Cuts the file to length 0 if its volume allows it: what the volume holds of the file must never
 * be read again. If the system cannot cut a mapped file, the file stays as it is. */
void cm_plat_file_void(struct cm_plat_file *f);
/* Did a store to the mapping fail at `offset` because the volume has no room to write the page
 * anew? To find out, the same byte is written there once more: nobody else may store to it. */
bool cm_plat_file_has_no_room(const struct cm_plat_file *f, uint64_t offset);
/* Writes bytes that the file has, without the mapping, which shows them from then on; not durably.
 * Other threads may see some of them before the others. CM_ENOTSUP: the mapping may not show them.
 * Or another code. */
int cm_plat_file_write(const struct cm_plat_file *f, const void *bytes, size_t n, uint64_t offset);
/* Makes the first n bytes zeros, durably, without room for new pages. Those who have them mapped
 * read zeros from here on. n: whole pages. CM_EIO: perhaps not durably. CM_ENOTSUP: it is not
 * done. */
int cm_plat_file_zero(const struct cm_plat_file *f, uint64_t n);
/* Removes a file and makes the removal durable. */
void cm_plat_file_remove(const char *path);
/* Makes the directory entry of `path` durable. */
int cm_plat_file_sync_dir(const char *path);
/* The file as it is now: its size, and whether it still has a name. CM_EIO. CM_EHANDLE: the handle
 * is not that of the file any more, because the program has closed it. Then all that needs it fails
 * with CM_EIO, and leaves alone what has its number; the mapping stays as it is. */
int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named);
/* Does `path` lead to the file now? (Windows: always; there nobody replaces an open one.) */
bool cm_plat_file_is_at(const struct cm_plat_file *f, const char *path);
/* Reads `n` bytes at `offset` with plain file I/O; fewer is CM_EIO. */
int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset);

/* ---- Identity ------------------------------------------------------------------------------ */

/* Identity of this boot of the system; all zero if unknown (then it matches nothing). */
void cm_plat_boot_id(uint8_t id[16]);
/* Identity of the file's volume while it is mounted. It changes when the volume is unmounted at all
 * places and mounted again, and the system drops the pages of its files. If only the mount is known
 * and not the volume, it also differs between the volume's mounts. All zero if unknown (then it
 * matches nothing). */
void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
/* Identity and validator of an origin file; see cm_identify_with(). */
int cm_plat_identify(intptr_t os_file, const cm_identify_options *o, cm_file_id *id,
                     cm_validator *v);
/* Fills in a validator of a file of the system: its proof is made of these four numbers. */
static inline void cm_plat_validator(cm_validator *v, uint64_t size, int64_t mtime_ns,
                                     int64_t ctime_ns, uint64_t change)
{
    const uint64_t word[4] = { size, (uint64_t)mtime_ns, (uint64_t)ctime_ns, change };
    const int64_t last = mtime_ns > ctime_ns ? mtime_ns : ctime_ns;
    static_assert(sizeof(word) == CM_PROOF_BYTES, "a proof holds four numbers");
    *v = (cm_validator){ .struct_size = sizeof(*v), .size = size };
    /* Neither 0 (not known) nor CM_CHANGED_LONG_AGO: a clock showed it, perhaps a wrong one. */
    v->changed_ns = last > CM_CHANGED_LONG_AGO ? last : CM_CHANGED_LONG_AGO + 1;
    memcpy(v->proof, word, sizeof(word));
}
uint32_t cm_plat_pid(void);
/* After an error CM_EIO: does the system refuse calls to this process, as a filter does? Then which
 * one, as ": " and a sentence, else "". For messages only. It tries the calls. */
void cm_plat_refuses(char why[PLAT_WHY]);
/* Random bytes from the system. */
int cm_plat_random(void *buf, size_t n);

/* ---- Clocks -------------------------------------------------------------------------------- */

uint64_t cm_plat_now_ns(void);      /* monotonic */
int64_t cm_plat_wall_ns(void);      /* wall clock since 1970 */
int64_t cm_plat_boot_wall_ns(void); /* wall clock time of the boot; INT64_MIN if unknown */
void cm_plat_sleep(uint64_t ns);    /* or a little longer; the thread is not cancelled in it */

/* ---- Memory -------------------------------------------------------------------------------- */

/* Lazily zeroed memory, aligned to 4096, or to 64 if it is less than 4096 bytes; NULL if there is
 * none. */
void *cm_plat_alloc(size_t bytes);
void cm_plat_free(void *p, size_t bytes);

/* The next four are for mappings of files and for memory of cm_plat_alloc(). Addresses need no
 * alignment: every page that has a byte of [p, p+n) counts. */

/* Are all these pages in memory now? They may leave it in the next moment. False also if the system
 * does not say. Reads none of them. One system call or a few. */
bool cm_plat_is_resident(const void *p, size_t n);
/* The same for p in the mapping of `f`. Linux takes each page of a mapping for one in memory if the
 * process neither owns the file nor may write it. If that was so when the file was mapped, the file
 * itself is asked. Then this begins to read a page that is not in memory, and it is false, too, if
 * the file system cannot answer. */
bool cm_plat_file_is_resident(const struct cm_plat_file *f, const void *p, size_t n);
/* Bytes of a page of a mapped file. If somebody cuts the file, the system fills the page in which
 * the cut lies with zeros from there on, without a fault; the pages behind it fault, and do so
 * before those zeros are written. 0: nobody can cut a file that is mapped. */
size_t cm_plat_cut_page(void);
/* Begins to read these pages, and does not wait. A hint. */
void cm_plat_will_need(void *p, size_t n);
/* Keeps these pages in memory from their next use on, until cm_plat_unlock_pages() or the end of
 * the mapping. A child of fork() does not have the lock. CM_ENOMEM: the system refuses. */
int cm_plat_lock_pages(void *p, size_t n);
void cm_plat_unlock_pages(void *p, size_t n);

/* ---- Threads ------------------------------------------------------------------------------- */

/* Sleeps while *word == expected, until another thread of this process wakes it. It may wake for no
 * reason. */
void cm_plat_wait(uint32_t *word, uint32_t expected);
/* The same, but not after cm_plat_now_ns() has reached deadline_ns: then the result is false,
 * whatever *word is. UINT64_MAX: no deadline. After true look at the word: it may be unchanged. */
bool cm_plat_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
void cm_plat_wake_one(uint32_t *word);
void cm_plat_wake_all(uint32_t *word);
#ifdef CM_CHECKS_FULL
/* Writes to standard error what is out of order, and aborts. */
_Noreturn void cm_plat_fail(const char *text);
#endif

/* Calls fn(arg). If the thread ends in fn (POSIX: cancelled, or pthread_exit), or a C++ exception
 * leaves fn, then cleanup(cleanup_arg) runs before that continues. Windows: if fn does not return,
 * no cleanup runs. */
void cm_plat_call(void (*fn)(void *), void *arg, void (*cleanup)(void *), void *cleanup_arg);
/* Between the two calls the thread is not cancelled. Use them around calls that must not end in the
 * middle. They nest; cancel_back takes what cancel_off returned. */
int cm_plat_cancel_off(void);
void cm_plat_cancel_back(int was);

/* One per thread, zeroed at its first use. */
#define PLAT_RECENT 8u
struct cm_plat_thread {
    uint32_t number; /* 1, 2, 3... in order of first use; never 0 after cm_plat_thread() */
    uint32_t ready;  /* private to the implementation */
    uint32_t sample; /* calls up to the next one that is sampled */
    uint32_t random; /* state of its random numbers; 0: none yet */
    void *callback;  /* callbacks of caches running in this thread (struct cm_callback) */
    uint64_t recent[PLAT_RECENT]; /* blocks touched lately; their hits say nothing (steps.h) */
    uint32_t recent_at;           /* the next one to forget */
    uint32_t left_out;            /* reads that no sample gets (policy_sample.c) */
    uint64_t written;             /* bytes stored in a pool that are not counted yet (media.h) */
};
#if defined(__linux__) && __STDC_HOSTED__
/* Reached by one instruction, because every call needs it. */
extern __thread struct cm_plat_thread cm_plat_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
struct cm_plat_thread *cm_plat_thread_begin(void);
/* The state that a thread must have: 1 begun, 2 ready for guarded faults (once a guard exists). */
extern uint32_t cm_plat_ready __attribute__((visibility("hidden"))); /* atomic */
static inline __attribute__((always_inline)) struct cm_plat_thread *cm_plat_thread(void)
{
    /* Relaxed: a thread that has a handle of a pool with a guard got it from the thread that
     * installed the guard. */
    return cm_plat_self.ready == at_load_relaxed(&cm_plat_ready) ? &cm_plat_self
                                                                 : cm_plat_thread_begin();
}
#else
struct cm_plat_thread *cm_plat_thread(void);
#endif

/* Grows by one in the child of every fork(), from the first call on. In a child that was made
 * without the handlers of pthread_atfork() it is 0 until the first cm_plat_fork_look(). */
uint32_t cm_plat_fork_count(void);
/* The same number, after the first call. */
#if defined(__linux__) && __STDC_HOSTED__
extern uint32_t *cm_plat_forks __attribute__((visibility("hidden"))); /* to an atomic */
static inline uint32_t cm_plat_fork_count_now(void)
{
    return at_load_relaxed(cm_plat_forks); /* the child has one thread */
}
/* Such a child gets a number of its own: before the number is remembered. */
void cm_plat_fork_look(void);
#else
static inline void cm_plat_fork_look(void)
{
}
static inline uint32_t cm_plat_fork_count_now(void)
{
    return cm_plat_fork_count();
}
#endif

/* ---- CPU ----------------------------------------------------------------------------------- */

/* Features of the CPU that only the OS knows. */
enum {
    PLAT_CPU_DCPOP = 1u << 0 /* arm64: DC CVAP works */
};
uint32_t cm_plat_cpu_flags(void);

/* ---- Fault guard --------------------------------------------------------------------------- */

/* The guarded routines of persist.c: a range of code in which a fault on a registered address range
 * is not fatal. The handler continues at `landing`. Given once per process. */
struct cm_plat_guard_code {
    uintptr_t begin, end, landing;
};
/* Registers [base, base+len) as guarded. The first call installs the process-wide handler. Faults
 * elsewhere go on to the handler that was installed before. CM_ENOMEM: no memory for one more
 * range. Thread-safe. POSIX: this call unblocks SIGBUS and SIGSEGV in this thread, and
 * cm_plat_thread() does it once in every other thread, because a fault whose signal is blocked ends
 * the process. */
int cm_plat_guard_add(const void *base, size_t len, const struct cm_plat_guard_code *code);
void cm_plat_guard_remove(const void *base);
/* Is the handler that cm_plat_guard_add() installed still that of the process? False: somebody has
 * installed another one since, which may pass faults on or not. */
bool cm_plat_guard_stands(void);

#endif
