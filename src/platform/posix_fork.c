/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_fork.c - platform.h on Linux: what a child of fork() must not keep.
 *
 * Owns the handlers of a fork, and a list of the descriptors of all pool files that this process
 * has open. posix_ours.c has the count of forks.
 *
 * Why: a child shares the open files of its parent. The lock of a pool belongs to the open file. So
 * a child would hold the pool when the parent is gone, though it can do nothing with it. Therefore
 * the child closes these descriptors at once, in a handler of pthread_atfork().
 *
 * How: the list has a mutex. A thread holds it while it opens, maps or closes a pool file, so that
 * a descriptor is open exactly while it is in the list, and so that no mapping is on its way. A
 * fork takes the mutex before and gives it back after, in parent and child. So the list that the
 * child walks is whole. The child forgets the list. Its copies of struct cm_plat_file have another
 * count of forks; file_fd() gives -1 for them, and nothing closes their numbers again.
 *
 * A child that is made without these handlers (_Fork(), a raw clone()) keeps the descriptors, and
 * has another count all the same (posix_ours.c).
 *
 * When the handlers run, and why nothing is allocated under the mutex: POSIX_AT_FORKS (posix.h).
 *
 * Who: api/, platform/. Nothing here calls back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/posix.h"

#include <sys/mman.h>
#include <unistd.h>

#include "platform/atomic.h"

static uint32_t fork_watched; /* atomic; fork_register() ran: read on every hit */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

#define FORK_STEP 1024u /* entries by which the list grows: whole pages */

static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER;
struct fork_entry {
    int fd;
    int64_t mark;
};
static struct {
    struct fork_entry *entry;
    size_t count, room;
} fork_list; /* protected by fork_mutex */

/* ---- Forks --------------------------------------------------------------------------------- */

static void fork_before(void)
{
    (void)pthread_mutex_lock(&fork_mutex);
}

static void fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&fork_mutex);
}

/* The program may have closed the descriptor. Then its number is not ours. */
static void close_ours(const struct fork_entry *e)
{
    if (cm_posix_is_marked(e->fd, e->mark)) {
        (void)close(e->fd);
    }
}

static void fork_in_child(void)
{
    cm_posix_fork_counted();
    for (size_t i = 0; i < fork_list.count; i++) {
        close_ours(&fork_list.entry[i]);
    }
    fork_list.count = 0;
    (void)pthread_mutex_unlock(&fork_mutex);
}

static void fork_register(void)
{
    cm_posix_count_forks();
    (void)pthread_atfork(fork_before, fork_in_parent, fork_in_child);
    at_store_release(&fork_watched, 1u); /* release: pairs with cm_plat_fork_count */
}

POSIX_AT_FORKS static void fork_register_early(void)
{
    (void)pthread_once(&fork_once, fork_register);
}

/* Another constructor may call the library before this one has run. */
uint32_t cm_plat_fork_count(void)
{
    if (at_load_acquire(&fork_watched) == 0) {
        (void)pthread_once(&fork_once, fork_register);
    }
    return cm_plat_fork_count_now();
}

/* ---- Memory -------------------------------------------------------------------------------- */

void *cm_posix_remap(void *p, size_t was, size_t bytes)
{
    void *const more =
        p != NULL ? mremap(p, was, bytes, MREMAP_MAYMOVE)
                  : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return more == MAP_FAILED ? NULL : more;
}

void cm_posix_unmap(void *p, size_t bytes)
{
    if (p != NULL) {
        (void)munmap(p, bytes);
    }
}

/* ---- The list ------------------------------------------------------------------------------ */

void cm_posix_no_fork(void)
{
    (void)cm_plat_fork_count(); /* first: the handlers exist before the first descriptor does */
    (void)pthread_mutex_lock(&fork_mutex);
}

void cm_posix_fork_again(const bool *held)
{
    (void)held;
    (void)pthread_mutex_unlock(&fork_mutex);
}

int cm_posix_fork_list(int fd, int64_t mark)
{
    assert(fd >= 0);
    if (fork_list.count == fork_list.room) {
        const size_t was = fork_list.room * sizeof(struct fork_entry);
        struct fork_entry *const more =
            cm_posix_remap(fork_list.entry, was, was + FORK_STEP * sizeof(struct fork_entry));

        if (more == NULL) {
            (void)close(fd);
            return CM_ENOMEM;
        }
        fork_list.entry = more;
        fork_list.room += FORK_STEP;
    }
    fork_list.entry[fork_list.count++] = (struct fork_entry){ fd, mark };
    return 0;
}

static bool is_entry(const struct fork_entry *e, int fd, int64_t mark)
{
    return e->fd == fd && e->mark == mark;
}

void cm_posix_fork_close(int fd, int64_t mark)
{
    POSIX_NO_FORK;
    const struct fork_entry mine = { fd, mark };
    size_t i = 0;

    while (i < fork_list.count && !is_entry(&fork_list.entry[i], fd, mark)) {
        i++;
    }
    if (i < fork_list.count) {
        fork_list.entry[i] = fork_list.entry[--fork_list.count];
    }
    close_ours(&mine);
    if (fork_list.count == 0) {
        cm_posix_unmap(fork_list.entry, fork_list.room * sizeof(struct fork_entry));
        fork_list.entry = NULL;
        fork_list.room = 0;
    }
}
