/* SPDX-License-Identifier: BSD-2-Clause
 *
 * foreign.c - another process writes the origin, in single long calls, beside readers that
 * identify, attach, fill and close all the while.
 *
 *   foreign DIR [--kib N] [--rounds N]
 *
 * A kernel sets a file's times when a write begins: a validator taken in the middle of one equals
 * the validator after it. So each round is: the writer overwrites the whole file with one pwrite();
 * until it has ended, the reader takes validators and fills what it reads; then it waits for a
 * validator that is not racy, attaches with it, and compares all that hits with the file. A hit
 * that differs is a failure; so is a file that never stays warm while nobody writes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cachemax.h"
#include "../model/origin.h"
#include "../os.h"

#define BLOCK CM_BLOCK_SIZE
#define LOOKED_AT 256u /* blocks of the file, at most: spread over it */
#define READS 16u      /* of one attachment */
#define SETTLE_MS 5000

static struct {
    char path[600];
    uint64_t bytes, blocks, step; /* every step-th block is read */
    int order[2], done[2];        /* pipes to and from the writer */
    cm_cache *cache;
    struct rng rng;
    uint64_t believed, fills, hits, wrong, kept; /* believed: validators taken during a write */
} t;

static void must(int64_t e, const char *what)
{
    if (e < 0) {
        fprintf(stderr, "FAILED: %s: %s\n", what, cm_errname((int)e));
        exit(1);
    }
}

static void need(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static _Noreturn void writer(void)
{
    uint8_t *data = malloc(t.bytes), version;
    need(data != NULL, "memory");
    while (read(t.order[0], &version, 1) == 1) {
        memset(data, version, t.bytes);
        int fd = open(t.path, O_WRONLY);
        need(fd >= 0 && pwrite(fd, data, t.bytes, 0) == (ssize_t)t.bytes && close(fd) == 0,
             "write of the file");
        need(write(t.done[1], &version, 1) == 1, "pipe");
    }
    exit(0);
}

static bool writer_is_done(void)
{
    uint8_t version;
    return read(t.done[0], &version, 1) == 1; /* does not block */
}

static int64_t origin_read(void *fd, uint64_t offset, void *buf, size_t len)
{
    return pread(*(int *)fd, buf, len, (off_t)offset);
}

/* Attaches with a validator taken now; its racy flag. */
static uint32_t attach(int fd, cm_file **f, cm_file_info *info)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    must(cm_identify(fd, &id, &v), "cm_identify");
    must(cm_file_open(t.cache, &id, &v, 0, f), "cm_file_open");
    must(cm_file_get_info(*f, info), "cm_file_get_info");
    return v.racy;
}

static uint64_t some_block(void)
{
    return rng_below(&t.rng, (t.blocks + t.step - 1) / t.step) * t.step;
}

/* What a reader does that knows nothing of the writer. */
static void visit(int fd)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    cm_file *f;
    cm_file_info info = { .struct_size = sizeof(info) };
    t.believed += attach(fd, &f, &info) == 0;
    for (unsigned i = 0; i < READS; i++) {
        must(cm_read_through(f, some_block() * BLOCK, buf, BLOCK, origin_read, &fd), "read");
        t.fills++;
    }
    must(cm_file_close(f), "cm_file_close");
}

/* Nobody writes: everything that hits must be what the file holds. */
static void judge(int fd, bool must_keep)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096))), truth[BLOCK];
    cm_file *f;
    cm_file_info info = { .struct_size = sizeof(info) };
    const struct timespec nap = { .tv_nsec = 5000000 };
    for (unsigned ms = 0; attach(fd, &f, &info) != 0; ms += 5) {
        must(cm_file_close(f), "cm_file_close");
        if (ms > SETTLE_MS) {
            printf("foreign: validators stay racy on this volume\n");
            (void)unlink(t.path);
            exit(77);
        }
        nanosleep(&nap, NULL);
    }
    t.kept += info.kept;
    if (must_keep && !info.kept) {
        fprintf(stderr, "FAILED: nobody wrote, and the file is cold\n");
        exit(1);
    }
    for (uint64_t b = 0; b < t.blocks; b += t.step) {
        if (cm_read(f, b * BLOCK, buf, BLOCK, NULL) != BLOCK)
            continue;
        t.hits++;
        need(pread(fd, truth, BLOCK, (off_t)(b * BLOCK)) == BLOCK, "pread");
        t.wrong += memcmp(buf, truth, BLOCK) != 0;
    }
    for (unsigned i = 0; i < READS; i++)
        must(cm_read_through(f, some_block() * BLOCK, buf, BLOCK, origin_read, &fd), "read");
    must(cm_file_close(f), "cm_file_close");
}

static void round_of(uint8_t version)
{
    int fd = open(t.path, O_RDONLY);
    need(fd >= 0, t.path);
    need(write(t.order[1], &version, 1) == 1, "pipe");
    while (!writer_is_done())
        visit(fd);
    judge(fd, false);
    judge(fd, true);
    need(close(fd) == 0, "close");
}

static void set_up(const char *dir)
{
    const uint64_t bytes = 16u << 20;
    cm_options o = CM_OPTIONS_INIT;
    void *pool = os_aligned(BLOCK, bytes);
    o.probation_bytes = CM_PROBATION_NONE; /* every fill is stored */
    need(pool != NULL, "memory");
    must(cm_format_memory(pool, bytes, NULL), "cm_format_memory");
    must(cm_open_memory(pool, bytes, &o, &t.cache), "cm_open_memory");
    snprintf(t.path, sizeof(t.path), "%s/foreign.%ld", dir, (long)getpid());
    int fd = open(t.path, O_CREAT | O_EXCL | O_RDWR, 0600);
    need(fd >= 0 && ftruncate(fd, (off_t)t.bytes) == 0 && close(fd) == 0, t.path);
    need(fcntl(t.done[0], F_SETFL, O_NONBLOCK) == 0, "pipe");
}

int main(int argc, char **argv)
{
    uint64_t kib = 4, rounds = 20;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--kib") == 0)
            kib = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoull(argv[i + 1], NULL, 10);
    }
    if (argc < 2 || kib < 4 || kib > 2 * 1024 * 1024 - 4) {
        fprintf(stderr, "usage: foreign DIR [--kib N] [--rounds N]\n");
        return 2;
    }
    t.bytes = kib * 1024 / BLOCK * BLOCK;
    t.blocks = t.bytes / BLOCK;
    t.step = (t.blocks + LOOKED_AT - 1) / LOOKED_AT;
    t.rng.s = kib;
    need(pipe(t.order) == 0 && pipe(t.done) == 0, "pipe");
    pid_t child = fork();
    need(child >= 0, "fork");
    snprintf(t.path, sizeof(t.path), "%s/foreign.%ld", argv[1],
             (long)(child == 0 ? getppid() : getpid()));
    if (child == 0) {
        close(t.order[1]);
        writer();
    }
    set_up(argv[1]);
    for (uint64_t r = 0; r < rounds; r++)
        round_of((uint8_t)(r + 1));
    close(t.order[1]);
    need(waitpid(child, NULL, 0) == child, "waitpid");
    need(unlink(t.path) == 0, t.path);
    must(cm_close(t.cache), "cm_close");
    printf("foreign: %s, %llu KiB, %llu rounds: %llu fills during writes, %llu validators of them "
           "believed; %llu hits afterwards, %llu wrong\n",
           argv[1], (unsigned long long)kib, (unsigned long long)rounds,
           (unsigned long long)t.fills, (unsigned long long)t.believed, (unsigned long long)t.hits,
           (unsigned long long)t.wrong);
    if (t.wrong || t.kept == 0 || t.hits == 0)
        return fprintf(stderr, "FAILED: wrong bytes, or nothing was warm\n"), 1;
    return 0;
}
