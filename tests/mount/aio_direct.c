/* SPDX-License-Identifier: BSD-2-Clause
 *
 * aio_direct.c - asynchronous O_DIRECT writes beside buffered readers (as xfstests generic/451).
 *
 * Usage: aio_direct FILE ROUNDS
 * In every round each block of the file is written once, many at a time, while other threads read
 * the file through the kernel's pages. When a write is done, a buffered read and a read of a
 * mapping must give what was written: nobody writes that block again before the next round. Prints
 * the number of writes; status 1 and a line when one was not seen. The raw system calls need no
 * library.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 16384
#define BLOCKS 32
#define FLIGHT 16
#define READERS 4

static const char *path;
static _Atomic bool stop;
static unsigned char *buf[FLIGHT];
static struct iocb cb[FLIGHT];

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

static void *reader(void *arg)
{
    unsigned char b[BLOCK];
    unsigned seed = (unsigned)(uintptr_t)arg;
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        die(path);
    while (!atomic_load(&stop))
        if (pread(fd, b, sizeof(b), (off_t)((unsigned)rand_r(&seed) % BLOCKS) * BLOCK) < 0)
            die("read");
    close(fd);
    return NULL;
}

static uint64_t pattern(unsigned round, unsigned block)
{
    return ((uint64_t)round << 32 | block) * 0x9E3779B97F4A7C15u + 1;
}

static void fill(unsigned char *b, unsigned round, unsigned block)
{
    uint64_t p = pattern(round, block);

    for (unsigned i = 0; i < BLOCK; i += sizeof(p))
        memcpy(b + i, &p, sizeof(p));
}

static void check(const char *how, const unsigned char *b, unsigned round, unsigned block)
{
    uint64_t p = pattern(round, block);

    for (unsigned i = 0; i < BLOCK; i += sizeof(p))
        if (memcmp(b + i, &p, sizeof(p))) {
            fprintf(stderr, "round %u: %s of block %u does not see the write at byte %u\n", round,
                    how, block, i);
            exit(1);
        }
}

static void submit(aio_context_t ctx, int fd, unsigned slot, unsigned round, unsigned block)
{
    struct iocb *p = &cb[slot];

    fill(buf[slot], round, block);
    *p = (struct iocb){ .aio_data = (uint64_t)block << 32 | slot,
                        .aio_lio_opcode = IOCB_CMD_PWRITE,
                        .aio_fildes = (uint32_t)fd,
                        .aio_buf = (uintptr_t)buf[slot],
                        .aio_nbytes = BLOCK,
                        .aio_offset = (int64_t)block * BLOCK };
    if (syscall(SYS_io_submit, ctx, 1L, &p) != 1)
        die("io_submit");
}

static void one_round(aio_context_t ctx, int direct, int buffered, const unsigned char *map,
                      unsigned round)
{
    unsigned char b[BLOCK];
    unsigned next = 0, done = 0;
    struct io_event e;

    for (; next < FLIGHT; next++)
        submit(ctx, direct, next, round, next);
    while (done < BLOCKS) {
        unsigned slot, block;
        if (syscall(SYS_io_getevents, ctx, 1L, 1L, &e, NULL) != 1)
            die("io_getevents");
        slot = (unsigned)(e.data & 0xffffffff);
        block = (unsigned)(e.data >> 32);
        if (e.res != BLOCK) {
            fprintf(stderr, "a write of %d bytes gave %lld\n", BLOCK, (long long)e.res);
            exit(1);
        }
        if (pread(buffered, b, sizeof(b), (off_t)block * BLOCK) != sizeof(b))
            die("buffered read");
        check("a buffered read", b, round, block);
        if (round % 4 == 0)
            check("a mapping", map + (size_t)block * BLOCK, round, block);
        done++;
        if (next < BLOCKS) {
            submit(ctx, direct, slot, round, next);
            next++;
        }
    }
}

int main(int argc, char **argv)
{
    unsigned rounds = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    pthread_t t[READERS];
    aio_context_t ctx = 0;
    const unsigned char *map;
    int direct, buffered;

    if (!rounds)
        return 2;
    path = argv[1];
    direct = open(path, O_RDWR | O_CREAT | O_DIRECT, 0644);
    buffered = open(path, O_RDONLY);
    if (direct < 0 || buffered < 0 || ftruncate(direct, BLOCKS * BLOCK) < 0)
        die(path);
    map = mmap(NULL, BLOCKS * BLOCK, PROT_READ, MAP_SHARED, buffered, 0);
    if (map == MAP_FAILED || syscall(SYS_io_setup, FLIGHT, &ctx) < 0)
        die("io_setup");
    for (unsigned i = 0; i < FLIGHT; i++)
        if (posix_memalign((void **)&buf[i], 4096, BLOCK))
            die("memory");
    for (uintptr_t i = 0; i < READERS; i++)
        if (pthread_create(&t[i], NULL, reader, (void *)(i + 1)))
            die("thread");
    for (unsigned r = 1; r <= rounds; r++)
        one_round(ctx, direct, buffered, map, r);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    printf("%u writes, each seen by those who read after it\n", rounds * BLOCKS);
    return 0;
}
