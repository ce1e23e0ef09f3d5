/* SPDX-License-Identifier: BSD-2-Clause
 *
 * inject.h - which call fails.
 *
 * A kind is a function of the system or of the platform. Calls of each kind are counted while
 * inject.on is set. One of them fails, or all from that one on.
 */
#ifndef FAULTS_INJECT_H
#define FAULTS_INJECT_H

#include <stdbool.h>
#include <stdint.h>

/* Functions of the C library that the platform calls; functions of the platform (platform.h); loads
 * and stores in the pool (persist.h); and what the program itself gives to the library. */
#define INJECT_KINDS(X)                                                                            \
    X(open)                                                                                        \
    X(openat)                                                                                      \
    X(opendir)                                                                                     \
    X(close)                                                                                       \
    X(stat)                                                                                        \
    X(fstat)                                                                                       \
    X(lstat)                                                                                       \
    X(fstatfs)                                                                                     \
    X(statx)                                                                                       \
    X(read)                                                                                        \
    X(pread)                                                                                       \
    X(pwrite)                                                                                      \
    X(readlink)                                                                                    \
    X(readlinkat)                                                                                  \
    X(realpath)                                                                                    \
    X(fcntl)                                                                                       \
    X(ioctl)                                                                                       \
    X(ftruncate)                                                                                   \
    X(fallocate)                                                                                   \
    X(linkat)                                                                                      \
    X(rename)                                                                                      \
    X(renameat2)                                                                                   \
    X(unlink)                                                                                      \
    X(fchmod)                                                                                      \
    X(fsync)                                                                                       \
    X(msync)                                                                                       \
    X(mmap)                                                                                        \
    X(mremap)                                                                                      \
    X(munmap)                                                                                      \
    X(madvise)                                                                                     \
    X(mlock2)                                                                                      \
    X(mincore)                                                                                     \
    X(malloc)                                                                                      \
    X(realloc)                                                                                     \
    X(aligned_alloc)                                                                               \
    X(strdup)                                                                                      \
    X(getrandom)                                                                                   \
    X(sigaction)                                                                                   \
    X(name_to_handle_at)                                                                           \
    X(plat_alloc)                                                                                  \
    X(plat_create)                                                                                 \
    X(plat_link)                                                                                   \
    X(plat_replace)                                                                                \
    X(plat_open)                                                                                   \
    X(plat_lock)                                                                                   \
    X(plat_map)                                                                                    \
    X(plat_grow)                                                                                   \
    X(plat_cut)                                                                                    \
    X(plat_sync)                                                                                   \
    X(plat_sync_dir)                                                                               \
    X(plat_state)                                                                                  \
    X(plat_random)                                                                                 \
    X(plat_guard_add)                                                                              \
    X(plat_wait)                                                                                   \
    X(clock_now)                                                                                   \
    X(clock_wall_back)                                                                             \
    X(clock_wall_on)                                                                               \
    X(media_load)                                                                                  \
    X(media_store)                                                                                 \
    X(hook_alloc)                                                                                  \
    X(origin)                                                                                      \
    X(progress)

enum inject_kind {
#define X(name) INJECT_##name,
    INJECT_KINDS(X)
#undef X
        INJECT_COUNT,
    INJECT_NONE = INJECT_COUNT
};

extern const char *const inject_name[INJECT_COUNT];

struct inject {
    bool on;
    enum inject_kind kind; /* INJECT_NONE: nothing fails, all is counted */
    uint64_t at;           /* the first call is 1 */
    bool forever;
    uint64_t count[INJECT_COUNT];
    uint64_t failed; /* so many have failed */
};
extern struct inject inject;

/* Counts a call. True: it has to fail. */
bool inject_fails(enum inject_kind kind);

/* What the library has of the system: wrap.c counts it. */
struct held {
    int64_t files, memory, mapped, locked, guarded, hooked;
};
extern struct held held;

#endif
