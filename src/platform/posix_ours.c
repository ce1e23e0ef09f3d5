/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_ours.c - platform.h on Linux: what is still ours when it is used.
 *
 * Owns: the mark of this process, and the question whether a descriptor still leads to the file for
 * which it was taken.
 *
 * Why: a program may close all descriptors (closefrom(3)), also those of the library. The file that
 * it opens next gets such a number, and what was meant for the pool would change that file. And a
 * child may be made without the handlers of pthread_atfork() (_Fork(), a raw clone()). It has the
 * descriptors of its parent, but not the mappings. What it takes for a volume that fails is the
 * live pool of its parent.
 *
 * How: a file is known by its device and its inode. They are looked at before each use of the
 * descriptor: an open, a growth, a sync, a close, never a hit. A process is known by a page that a
 * child gets full of zeros (MADV_WIPEONFORK). Its number would not do: a child in a PID namespace
 * of its own may have the same. And a child that shares the memory (CLONE_VM) shares the pool as a
 * thread does.
 *
 * Who: api/, platform/. Nothing here calls back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/posix.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "platform/posix_calls.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14 */
#endif

/* ---- This process -------------------------------------------------------------------------- */

static pthread_once_t mark_once = PTHREAD_ONCE_INIT;
static uint32_t *mark;       /* atomic; 0: this process has not written it */
static uint32_t mark_pid;    /* instead of it, if the system has no such page */
static uint32_t mark_before; /* cm_plat_forks when the mark was written */

static void write_mark(void)
{
    mark_before = at_load_relaxed(&cm_plat_forks);
    mark_pid = cm_plat_pid();
    if (mark != NULL) {
        at_store_relaxed(mark, 1u); /* relaxed: a new process has one thread */
    }
}

static void make_mark(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)cm_plat_fork_count(); /* the handlers exist from here on */
    if (p != MAP_FAILED && madvise(p, page, MADV_WIPEONFORK) != 0) {
        (void)munmap(p, page);
        p = MAP_FAILED;
    }
    mark = p == MAP_FAILED ? NULL : p;
    write_mark();
}

void cm_plat_fork_look(void)
{
    (void)pthread_once(&mark_once, make_mark);
    if (mark != NULL ? at_load_relaxed(mark) != 0 : mark_pid == cm_plat_pid()) {
        return;
    }
    /* A child. If the handlers ran, they have counted it. */
    if (at_load_relaxed(&cm_plat_forks) == mark_before) {
        at_add_relaxed(&cm_plat_forks, 1u); /* relaxed: the child has one thread */
    }
    write_mark();
}

/* ---- A descriptor -------------------------------------------------------------------------- */

bool cm_posix_place_of(int fd, struct cm_plat_place *place)
{
    struct statx stx;
    struct stat st;

    /* What the system knows of it already. A server is not asked, so this does not wait. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx) == 0) {
        *place =
            (struct cm_plat_place){ makedev(stx.stx_dev_major, stx.stx_dev_minor), stx.stx_ino };
    } else if (fstat(fd, &st) == 0) { /* before Linux 4.11, or in a sandbox */
        *place = (struct cm_plat_place){ (uint64_t)st.st_dev, (uint64_t)st.st_ino };
    } else {
        return false;
    }
    return true;
}

bool cm_posix_is_at(int fd, const struct cm_plat_place *place)
{
    struct cm_plat_place now;

    if (cm_posix_place_of(fd, &now)) {
        return now.dev == place->dev && now.ino == place->ino;
    }
    /* Its volume may not answer. Then the call that follows fails, and says why. */
    return errno != EBADF;
}
