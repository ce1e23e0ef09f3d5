/* SPDX-License-Identifier: BSD-2-Clause
 *
 * budget.c - the operations of the library, again and again, for budget.sh to count instructions
 * of.
 *
 *   budget SIZE_MIB POLICY BUFFER      for instance: budget 64 S3R none
 *   budget compiler                    says which one made it
 *
 * For each operation it sets up a pool in memory, whose random numbers are the same in every run,
 * and calls measured(), which does nothing but the operation. Prints a line for each: its name, how
 * many units of work were done, and the nanoseconds of one. BUFFER: none, or buffer for the
 * probation buffer of the default size.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachemax.h"
#include "media/checksum.h"
#include "persist/persist.h"

#define WARM 2048u      /* blocks of the file that are cached */
#define MANY 16u        /* pieces of a read_many */
#define RUN 32u         /* blocks of a long read or fill */
#define ROUNDS 4096u    /* units of work that are measured */
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
    uint64_t bytes; /* of the pool */
    uint32_t policy;
    uint64_t probation_bytes;
    cm_cache *cache;
    cm_file *file;
    void *base;
    uint8_t buf[RUN * CM_BLOCK_SIZE];
    uint32_t order[ROUNDS]; /* blocks, in no order */
    cm_miss miss[ROUNDS];
};
static struct bench b;

static void must(int64_t code, const char *what)
{
    if (code < 0) {
        fprintf(stderr, "budget: %s: %s\n", what, cm_strerror((int)code));
        exit(1);
    }
}

static void put(uint64_t block, unsigned blocks)
{
    cm_miss miss;
    const size_t len = blocks * (size_t)CM_BLOCK_SIZE;
    int64_t r = cm_read(b.file, block * CM_BLOCK_SIZE, b.buf, len, &miss);
    must(r, "read");
    if (r == 0)
        must(cm_fill(b.file, &miss, b.buf, miss.len, 0), "fill");
}

static void set_up(void)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    const cm_file_id id = { 1, 2 };
    random_state = 1;
    b.base = aligned_alloc(CM_BLOCK_SIZE, b.bytes); /* fresh pages: all zero */
    must(b.base ? 0 : CM_ENOMEM, "memory");
    o.probation_bytes = b.probation_bytes;
    o.policy = b.policy;
    o.memory_durability = CM_DURABILITY_DAX;
    o.flags = CM_OPEN_NO_TUNING; /* else some hits would also measure */
    must(cm_format_memory(b.base, b.bytes, &c), "format");
    must(cm_open_memory(b.base, b.bytes, &o, &b.cache), "open");
    must(cm_file_open(b.cache, &id, NULL, CM_SOLE_WRITER, &b.file), "open file");
    memset(b.buf, 'x', sizeof(b.buf));
}

static void end(void)
{
    must(cm_file_close(b.file), "close file");
    must(cm_close(b.cache), "close");
    free(b.base);
}

/* Reads and fills until each block was judged, and its hits are counted no more. `full`: more
 * blocks than the pool has slots are stored before. */
static void warm_up(bool full)
{
    if (full)
        for (uint64_t block = 2 * COLD; block < 2 * COLD + b.bytes / CM_BLOCK_SIZE; block += RUN)
            put(block, RUN);
    for (unsigned pass = 0; pass < 5; pass++)
        for (uint64_t block = 0; block < WARM; block++)
            put(block, 1);
}

static void shuffle(uint32_t below)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t r;
        (void)__wrap_cm_plat_random(&r, sizeof(r));
        b.order[i] = r % below;
    }
}

/* ---- What does not count: a copy out of the pool, a store to it, a sum ----------------------- */

static uint8_t *in_pool(unsigned i)
{
    return (uint8_t *)b.base + b.bytes / 2 + (i % WARM) * (size_t)CM_BLOCK_SIZE;
}

static void copy(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_guard_copy(b.buf, in_pool(i), CM_BLOCK_SIZE);
}

static void store(void)
{
    const struct cm_persist_ops *ops = cm_persist_choose(CM_FLUSH_LINES);
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)ops->copy(NULL, in_pool(i), b.buf, CM_BLOCK_SIZE);
}

static void sum(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_checksum(b.buf, CM_BLOCK_SIZE);
}

/* ---- The operations: each does ROUNDS units of work ------------------------------------------ */

static uint64_t at(unsigned i)
{
    return (uint64_t)b.order[i] * CM_BLOCK_SIZE;
}

static void hit(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_read(b.file, at(i), b.buf, CM_BLOCK_SIZE, NULL);
}

static void read_many(void) /* counted per block */
{
    cm_read_vec v[MANY];
    for (unsigned i = 0; i < ROUNDS; i += MANY) {
        for (unsigned k = 0; k < MANY; k++)
            v[k] = (cm_read_vec){ .offset = at(i + k),
                                  .buf = b.buf + k * CM_BLOCK_SIZE,
                                  .len = CM_BLOCK_SIZE };
        (void)cm_read_many(b.file, v, MANY);
    }
}

static void run(void) /* hits of 128 KiB, counted per block */
{
    for (unsigned i = 0; i < ROUNDS; i += RUN)
        (void)cm_read(b.file, (uint64_t)(i % WARM) * CM_BLOCK_SIZE, b.buf, RUN * CM_BLOCK_SIZE,
                      NULL);
}

static void pin(void) /* and unpin */
{
    cm_iovec iov;
    cm_pins pins;
    int count;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (cm_pin_range(b.file, at(i), CM_BLOCK_SIZE, &iov, 1, &count, &pins, NULL) > 0)
            (void)cm_unpin(&pins);
    }
}

static void absent(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_read(b.file, (uint64_t)(COLD + i) * CM_BLOCK_SIZE, b.buf, CM_BLOCK_SIZE, NULL);
}

static void miss(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_read(b.file, (uint64_t)(COLD + i) * CM_BLOCK_SIZE, b.buf, CM_BLOCK_SIZE,
                      &b.miss[i]);
}

static void miss_run(void)
{
    for (unsigned i = 0; i < ROUNDS; i += RUN)
        (void)cm_read(b.file, (uint64_t)(COLD + i) * CM_BLOCK_SIZE, b.buf, RUN * CM_BLOCK_SIZE,
                      &b.miss[i]);
}

static void fill(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        (void)cm_fill(b.file, &b.miss[i], b.buf, CM_BLOCK_SIZE, 0);
}

static void fill_run(void) /* fills of 128 KiB, counted per block */
{
    for (unsigned i = 0; i < ROUNDS; i += RUN)
        (void)cm_fill(b.file, &b.miss[i], b.buf, RUN * CM_BLOCK_SIZE, 0);
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
    void (*before)(void); /* not measured; or NULL */
    void (*run)(void);
    bool full; /* in a full pool: small ones only */
} operations[] = {
    { "copy", NULL, copy, false },
    { "store", NULL, store, false },
    { "sum", NULL, sum, false },
    { "hit", NULL, hit, false },
    { "read_many", NULL, read_many, false },
    { "run", NULL, run, false },
    { "pin", NULL, pin, false },
    { "absent", NULL, absent, false },
    { "miss", NULL, miss, false },
    { "bracket", NULL, bracket, false },
    { "fill", miss, fill, true },
    { "fill_run", miss_run, fill_run, true },
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
    if (argc == 2 && strcmp(argv[1], "compiler") == 0) {
#ifdef __clang__
        printf("clang %d\n", __clang_major__);
#else
        printf("gcc %d\n", __GNUC__);
#endif
        return 0;
    }
    const uint64_t mib = argc == 4 ? strtoull(argv[1], NULL, 10) : 0;
    if (mib < 64) {
        fprintf(stderr, "usage: budget SIZE_MIB POLICY none|buffer, of 64 MiB or more\n");
        return 2;
    }
    b.bytes = mib << 20;
    b.policy = strcmp(argv[2], "AUTO") == 0 ? CM_POLICY_AUTO : CM_POLICY_S3R;
    b.probation_bytes = strcmp(argv[3], "none") == 0 ? CM_PROBATION_NONE : 0;
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (operations[i].full && mib > 64)
            continue;
        set_up();
        warm_up(operations[i].full);
        shuffle(WARM);
        if (operations[i].before)
            operations[i].before();
        uint64_t began = cm_now();
        measured(operations[i].run);
        printf("%s %u %llu\n", operations[i].name, ROUNDS,
               (unsigned long long)(cm_now() - began) / ROUNDS);
        end();
    }
    return 0;
}
