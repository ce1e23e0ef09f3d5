/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_linux.c - the ring's memory and its sleeping, on Linux: memfd and futex.
 *
 * Who: ring.c, connection.c, client_link.c.
 */
#include "ring.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Without them the other side could cut the memory off, and this one would die of SIGBUS. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

uint64_t ring_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

void ring_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t until)
{
    const struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
                                 .tv_nsec = (long)(until % 1000000000) };

    /* A bitset wait takes a moment of the monotonic clock. Not private: two processes use it. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, until == UINT64_MAX ? NULL : &ts, NULL,
                  FUTEX_BITSET_MATCH_ANY);
}

void ring_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static struct ring *map(int fd)
{
    void *at = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

struct ring *ring_make(int *fd)
{
    struct ring *r = NULL;

    *fd = memfd_create("cachemax-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0)
        return NULL;
    if (ftruncate(*fd, sizeof(struct ring)) == 0 && fcntl(*fd, F_ADD_SEALS, SEALS) == 0)
        r = map(*fd);
    if (!r)
        close(*fd);
    return r;
}

struct ring *ring_take(int fd)
{
    struct ring *r = NULL;
    struct stat st;

    if (fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof(struct ring) &&
        (fcntl(fd, F_GET_SEALS) & SEALS) == SEALS)
        r = map(fd);
    close(fd);
    return r;
}

void ring_leave(struct ring *r)
{
    if (r)
        munmap(r, sizeof(*r));
}
