/* SPDX-License-Identifier: BSD-2-Clause
 *
 * budget.c - one operation of the library, again and again, for budget.sh to count instructions of.
 *
 *   budget OPERATION
 *
 * Sets up a pool in memory, whose random numbers are the same in every run, and calls measured(),
 * which does nothing but the operation. Prints how many operations these were and the nanoseconds
 * each took.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax.h"

#define POOL_BYTES (UINT64_C(24) << 20)
#define WARM 2048u      /* blocks of the file that are cached */
#define MANY 16u        /* pieces of a read_many */
#define ROUNDS 8192u    /* operations that are measured */
#define COLD (1u << 20) /* first block that is not cached */

static uint64_t random_state;

/* In place of the system's (linked with --wrap): placement and sample are the same in every run. */
int __wrap_cm_plat_random(void *buf, size_t n);
int __wrap_cm_plat_random(void *buf, size_t n)
{
    uint8_t *p = buf;
    for (size_t i = 0; i < n; i++) {
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p[i] = (uint8_t)(random_state >> 56);
    }
    return 0;
}

struct bench {
    cm_cache *cache;
    cm_file *file;
    void *base;
    uint8_t buf[MANY * CM_BLOCK_SIZE];
    uint32_t order[ROUNDS]; /* blocks, in no order */
    cm_miss miss[ROUNDS];
};
static struct bench b;

static void fail(const char *what, int64_t code)
{
    fprintf(stderr, "budget: %s: %s\n", what, cm_strerror((int)code));
    exit(1);
}

static void put(uint64_t block)
{
    cm_miss miss;
    int64_t r = cm_read(b.file, block * CM_BLOCK_SIZE, b.buf, CM_BLOCK_SIZE, &miss);
    if (r == 0)
        r = cm_fill(b.file, &miss, b.buf, CM_BLOCK_SIZE, 0);
    if (r < 0)
        fail("fill", r);
}

static void set_up(uint64_t probation_bytes)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    const cm_file_id id = { 1, 2 };
    int e;
    b.base = aligned_alloc(CM_BLOCK_SIZE, POOL_BYTES);
    if (!b.base)
        fail("memory", CM_ENOMEM);
    memset(b.base, 0, POOL_BYTES);
    o.probation_bytes = probation_bytes;
    o.memory_durability = CM_DURABILITY_DAX;
    if ((e = cm_format_memory(b.base, POOL_BYTES, &c)) != 0)
        fail("format", e);
    if ((e = cm_open_memory(b.base, POOL_BYTES, &o, &b.cache)) != 0)
        fail("open", e);
    if ((e = cm_file_open(b.cache, &id, NULL, CM_SOLE_WRITER, &b.file)) != 0)
        fail("open file", e);
    memset(b.buf, 'x', sizeof(b.buf));
}

/* Twice: seen once and seen again, and each slot judged. */
static void warm_up(void)
{
    for (unsigned pass = 0; pass < 3; pass++)
        for (uint64_t block = 0; block < WARM; block++)
            put(block);
}

static void shuffle(uint32_t below)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t r;
        (void)__wrap_cm_plat_random(&r, sizeof(r));
        b.order[i] = r % below;
    }
}

/* ---- The operations -------------------------------------------------------------------------- */

static void hit(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_read(b.file, (uint64_t)b.order[i] * CM_BLOCK_SIZE, b.buf, CM_BLOCK_SIZE, NULL);
}

static void read_many(void)
{
    cm_read_vec v[MANY];
    for (unsigned i = 0; i < ROUNDS; i += MANY) {
        for (unsigned k = 0; k < MANY; k++)
            v[k] = (cm_read_vec){ .offset = (uint64_t)b.order[i + k] * CM_BLOCK_SIZE,
                                  .buf = b.buf + k * CM_BLOCK_SIZE,
                                  .len = CM_BLOCK_SIZE };
        (void)cm_read_many(b.file, v, MANY);
    }
}

static void run(void) /* sequential hits of 64 KiB, counted per block */
{
    for (unsigned i = 0; i < ROUNDS; i += MANY)
        (void)cm_read(b.file, (uint64_t)(i % WARM) * CM_BLOCK_SIZE, b.buf, MANY * CM_BLOCK_SIZE,
                      NULL);
}

static void miss(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_read(b.file, (uint64_t)(COLD + i) * CM_BLOCK_SIZE, b.buf, CM_BLOCK_SIZE,
                      &b.miss[i]);
}

static void fill(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_fill(b.file, &b.miss[i], b.buf, CM_BLOCK_SIZE, 0);
}

static void bracket(void)
{
    cm_bracket w;
    for (unsigned i = 0; i < ROUNDS; i++)
        if (cm_write_begin(b.file, (uint64_t)(i % WARM) * CM_BLOCK_SIZE, CM_BLOCK_SIZE, &w) == 0)
            (void)cm_write_end(b.file, &w, NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
    uint64_t probation_bytes;
    bool missed; /* the tickets of ROUNDS misses are taken before */
} operations[] = {
    { "hit", hit, 0, false },
    { "read_many", read_many, 0, false },
    { "run", run, 0, false },
    { "miss", miss, 0, false },
    { "fill", fill, CM_PROBATION_NONE, true },
    { "fill_buffered", fill, 0, true },
    { "bracket", bracket, 0, false },
};

/* Not inlined: budget.sh counts what runs below it. */
__attribute__((noinline)) void measured(void (*operation)(void));
__attribute__((noinline)) void measured(void (*operation)(void))
{
    operation();
    __asm__ volatile(""); /* no tail call: the count ends when this returns */
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(argv[1], operations[i].name) != 0)
            continue;
        set_up(operations[i].probation_bytes);
        warm_up();
        shuffle(WARM);
        if (operations[i].missed)
            miss();
        uint64_t began = cm_now();
        measured(operations[i].run);
        printf("%u %llu\n", ROUNDS, (unsigned long long)(cm_now() - began) / ROUNDS);
        return 0;
    }
    fprintf(stderr, "usage: budget OPERATION, which is one of:");
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        fprintf(stderr, " %s", operations[i].name);
    fprintf(stderr, "\n");
    return 2;
}
