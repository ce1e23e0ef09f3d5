/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_linux.c - the ring's memory, its bell and its sleeping, on Linux: memfd, eventfd and futex.
 *
 * Who: ring.c, ring_server.c, client_link.c.
 */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Without them the other side could cut the memory off, and this one would die of SIGBUS. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- The bell -------------------------------------------------------------------------------- */

/* A new one, which is waited for with all others; -1: no memory. Each ring of it is an event, so
 * nobody has to read it, and nobody can take the event away. */
static int new_bell(int all)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLET };
    const int bell = eventfd(0, EFD_CLOEXEC);

    if (bell >= 0 && epoll_ctl(all, EPOLL_CTL_ADD, bell, &e) == 0)
        return bell;
    if (bell >= 0)
        close(bell);
    return -1;
}

/* The client may still have it: closing it is not enough. */
static void end_bell(int all, int bell)
{
    (void)epoll_ctl(all, EPOLL_CTL_DEL, bell, NULL);
    close(bell);
}

bool ring_bell_make(struct ring_bell *b)
{
    *b = (struct ring_bell){ .own = -1, .all = epoll_create1(EPOLL_CLOEXEC) };
    if (b->all >= 0)
        b->own = new_bell((int)b->all);
    if (b->own >= 0)
        return true;
    if (b->all >= 0)
        close((int)b->all);
    return false;
}

void ring_bell_free(struct ring_bell *b)
{
    end_bell((int)b->all, (int)b->own);
    close((int)b->all);
}

void ring_bell_ring(intptr_t bell)
{
    const uint64_t one = 1;

    while (write((int)bell, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void ring_bell_wait(const struct ring_bell *b)
{
    struct epoll_event e[16];

    (void)epoll_wait((int)b->all, e, 16, -1);
}

/* ---- The slots ------------------------------------------------------------------------------- */

void ring_sleep(struct ring_side *s, unsigned slot, uint64_t until)
{
    const struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
                                 .tv_nsec = (long)(until % 1000000000) };

    /* A bitset wait takes a moment of the monotonic clock. Not private: two processes use it. */
    (void)syscall(SYS_futex, &s->ring->slot[slot].state, FUTEX_WAIT_BITSET, RING_AWAITED, &ts, NULL,
                  FUTEX_BITSET_MATCH_ANY);
}

void ring_wake(struct ring_side *s, unsigned slot)
{
    (void)syscall(SYS_futex, &s->ring->slot[slot].state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- The memory ------------------------------------------------------------------------------ */

static struct ring *map(int fd)
{
    void *at = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

bool ring_make(struct ring_side *s, const struct ring_bell *b, struct ring_pass *p)
{
    *s = (struct ring_side){ .bell = new_bell((int)b->all), .all = b->all };
    *p = (struct ring_pass)RING_PASS_NONE;
    p->fd[0] = memfd_create("cachemax-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    p->fd[1] = s->bell < 0 ? -1 : fcntl((int)s->bell, F_DUPFD_CLOEXEC, 0);
    if (p->fd[0] >= 0 && p->fd[1] >= 0 && ftruncate(p->fd[0], sizeof(struct ring)) == 0 &&
        fcntl(p->fd[0], F_ADD_SEALS, SEALS) == 0)
        s->ring = map(p->fd[0]);
    if (s->ring)
        return true;
    ring_pass_end(p);
    if (s->bell >= 0)
        end_bell((int)s->all, (int)s->bell);
    s->bell = -1;
    return false;
}

void ring_pass_end(struct ring_pass *p)
{
    for (unsigned i = 0; i < 2; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    *p = (struct ring_pass)RING_PASS_NONE;
}

bool ring_take(struct ring_side *s, struct ring_pass *p)
{
    struct stat st;

    *s = (struct ring_side){ .bell = -1, .all = -1 };
    if (p->fd[0] >= 0 && p->fd[1] >= 0 && fstat(p->fd[0], &st) == 0 &&
        st.st_size == (off_t)sizeof(struct ring) && (fcntl(p->fd[0], F_GET_SEALS) & SEALS) == SEALS)
        s->ring = map(p->fd[0]);
    if (s->ring) {
        s->bell = p->fd[1];
        p->fd[1] = -1;
    }
    ring_pass_end(p);
    return s->ring != NULL;
}

void ring_leave(struct ring_side *s)
{
    if (s->ring)
        munmap(s->ring, sizeof(*s->ring));
    if (s->ring && s->all >= 0)
        end_bell((int)s->all, (int)s->bell);
    else if (s->ring && s->bell >= 0)
        close((int)s->bell);
    *s = (struct ring_side){ .bell = -1, .all = -1 };
}
