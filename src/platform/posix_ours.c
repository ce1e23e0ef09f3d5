/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_ours.c - platform.h on Linux: what is still ours when it is used.
 *
 * Owns: the count of forks of this process, and the question whether a descriptor still leads to
 * the open file for which it was taken.
 *
 * Why: a program may close all descriptors (closefrom(3)), also those of the library. The file that
 * it opens next gets such a number, and what was meant for the pool would change that file. And a
 * child may be made without the handlers of pthread_atfork() (_Fork(), a raw clone()). It has the
 * descriptors of its parent, but not the mappings: where they were is nothing, or memory of its
 * own.
 *
 * How: an open file is known by its offset, which is set to a random number. Nothing here reads or
 * writes at the offset, and no other open file has that one, not even of the same file. It is
 * looked at before each use of the descriptor: an open, a growth, a sync, a close, never a hit.
 * (The inode would not do: it may change on overlayfs, and the program may open the pool file
 * itself.) The count of forks is never 0. It is on a page that a child gets full of zeros
 * (MADV_WIPEONFORK). So every call sees that a child has another count, until the child has asked
 * for one of its own. The number of the process would not do: a child in a PID namespace of its own
 * may have the same. A child that shares the memory (CLONE_VM) shares the pool as a thread does.
 *
 * Who: api/, objects/, platform/. Nothing here calls back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/posix.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14; without it only fork() is counted */
#endif

/* ---- This process -------------------------------------------------------------------------- */

static uint32_t forks_known = 1; /* atomic; the count, in memory that every child inherits */
uint32_t *cm_plat_forks = &forks_known;

void cm_posix_count_forks(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        return;
    }
    if (madvise(p, page, MADV_WIPEONFORK) != 0) {
        (void)munmap(p, page);
        return;
    }
    at_store_relaxed(p, at_load_relaxed(&forks_known)); /* relaxed: nobody has the page yet */
    cm_plat_forks = p;
}

void cm_posix_fork_counted(void)
{
    at_add_relaxed(&forks_known, 1u); /* relaxed: the child has one thread */
    at_store_relaxed(cm_plat_forks, at_load_relaxed(&forks_known));
}

void cm_plat_fork_look(void)
{
    if (cm_plat_fork_count() == 0) {
        cm_posix_fork_counted();
    }
}

/* ---- A descriptor -------------------------------------------------------------------------- */

#define MARKS ((int64_t)1 << 30) /* every file system takes such an offset */

/* -1: the system refuses it. */
int64_t cm_posix_mark(int fd)
{
    uint64_t random = 0;

    if (cm_plat_random(&random, sizeof random) != 0) {
        return -1;
    }
    return lseek(fd, (off_t)(MARKS + (int64_t)(random % (uint64_t)MARKS)), SEEK_SET);
}

bool cm_posix_is_marked(int fd, int64_t mark)
{
    const off_t at = lseek(fd, 0, SEEK_CUR);

    if (at >= 0) {
        return mark < 0 || at == mark;
    }
    /* Something that has no offset, or is closed. Else a filter of system calls: not known. */
    return errno != EBADF && errno != ESPIPE;
}
