/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reads.c - hits, compared with the accesses that no cache can leave out (chain.c), with memcpy of
 * the same blocks out of the pool, and with pread of the same number of blocks out of the page
 * cache.
 *
 * Owns the list of 128 KiB groups. The order of the blocks is random and covers all of the pool
 * before a block comes again, so both sides wait for the same memory. Both take turns in one order,
 * so no side finds data of the other one in the CPU's caches. All is copied to one buffer. Every
 * read also asks for the right to fill missing blocks, like a caller that has an origin.
 *
 * Who: bench/.
 */
#include "tool/bench/bench.h"

#include <stdlib.h>
#include <string.h>

void *(*volatile bench_copy)(void *dst, const void *src, size_t n) = memcpy;

static uint64_t offset_of(const struct bench *b, uint32_t at)
{
    return (uint64_t)b->order[at] * BENCH_BLOCK;
}

static void must_be(int64_t got, int64_t wanted)
{
    if (got != wanted)
        bench_must(got < 0 ? got : CM_EIO, "a block that is cached");
}

void bench_hit(struct bench *b, unsigned n)
{
    cm_miss miss;

    while (n--)
        must_be(cm_read(b->file, offset_of(b, bench_next(b)), b->buffer, BENCH_BLOCK, &miss),
                (int64_t)BENCH_BLOCK);
}

void bench_memcpy(struct bench *b, unsigned n)
{
    while (n--)
        (void)bench_copy(b->buffer, b->where[bench_next(b)], BENCH_BLOCK);
}

void bench_pread(struct bench *b, unsigned n)
{
    int error;

    while (n--)
        if (os_read_at(b->scratch_file, offset_of(b, bench_next(b)), b->buffer, BENCH_BLOCK,
                       &error) != (int64_t)BENCH_BLOCK)
            bench_fail("pread", "a block is missing");
}

static void many(struct bench *b, unsigned n)
{
    cm_read_vec v[BENCH_MANY];
    cm_miss miss[BENCH_MANY];

    while (n--) {
        for (unsigned i = 0; i < BENCH_MANY; i++)
            v[i] = (cm_read_vec){ .offset = offset_of(b, bench_next(b)),
                                  .buf = b->buffer + i * BENCH_BLOCK,
                                  .len = BENCH_BLOCK,
                                  .miss = &miss[i] };
        must_be(cm_read_many(b->file, v, BENCH_MANY), BENCH_MANY);
    }
}

static void many_copies(struct bench *b, unsigned n)
{
    while (n--)
        for (unsigned i = 0; i < BENCH_MANY; i++)
            (void)bench_copy(b->buffer + i * BENCH_BLOCK, b->where[bench_next(b)], BENCH_BLOCK);
}

static void pin(struct bench *b, unsigned n)
{
    const uint64_t hot = offset_of(b, 0);
    cm_iovec iov;
    cm_pins pins;
    int count;

    while (n--) {
        must_be(cm_pin_range(b->file, hot, BENCH_BLOCK, &iov, 1, &count, &pins, NULL),
                (int64_t)BENCH_BLOCK);
        (void)cm_unpin(&pins);
    }
}

/* File 1, for a reader of the pool that is not its owner (CM_OPEN_SHARED). */
static cm_file *shared_file;

static void shared_hit(struct bench *b, unsigned n)
{
    cm_miss miss;

    while (n--)
        must_be(cm_read(shared_file, offset_of(b, bench_next(b)), b->buffer, BENCH_BLOCK, &miss),
                (int64_t)BENCH_BLOCK);
}

static void run_shared(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = shared_hit }, rival = { .op = bench_hit };
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *reader;

    o.flags = CM_OPEN_SHARED;
    bench_must(cm_open_memory(b->base, b->bytes, &o, &reader), "cm_open_memory");
    shared_file = bench_open_file(reader, 1);
    shared_hit(b,
               5 * b->blocks); /* the first hit of a slot verifies it; then as often as the owner */
    bench_turns(b, &ours, &rival, false, r);
    bench_must(cm_close(reader), "cm_close");
}

/* A file in a pool of its own, and the blocks of it that are cached, in random order. */
static cm_file *other_file;
static uint32_t *other, other_count, other_at;

static int64_t other_read(struct bench *b, uint32_t block, cm_miss *miss)
{
    return cm_read(other_file, (uint64_t)block * BENCH_BLOCK, b->buffer, BENCH_BLOCK, miss);
}

static void other_hit(struct bench *b, unsigned n)
{
    cm_miss miss;

    while (n--) {
        other_at = other_at + 1 < other_count ? other_at + 1 : 0;
        must_be(other_read(b, other[other_at], &miss), (int64_t)BENCH_BLOCK);
    }
}

/* Stores blocks of it: those of `order`, or the first ones in a row. */
static void store_other(struct bench *b, const uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        bench_fill_block(b, other_file, order ? order[i] : i);
    other = bench_alloc(count * sizeof(*other));
    other_count = other_at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t block = order ? order[i] : i;
        if (other_read(b, block, NULL) > 0) /* a few found both buckets full */
            other[other_count++] = block;
    }
    if (other_count < count / 2)
        bench_fail("pool", "most of what was stored is not there");
    bench_shuffle(other, other_count);
    other_hit(b, 4 * other_count); /* as often as the owner's blocks */
}

/* Makes that pool in the rivals' file: only the size of that counts, and where it is. */
static cm_cache *open_other(struct bench *b, uint64_t probation_bytes)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *cache;

    o.probation_bytes = probation_bytes;
    o.policy = CM_POLICY_S3R;
    o.memory_durability = CM_DURABILITY_DAX;
    bench_must(cm_format_memory(b->scratch, b->bytes, NULL), "cm_format_memory");
    bench_must(cm_open_memory(b->scratch, b->bytes, &o, &cache), "cm_open_memory");
    other_file = bench_open_file(cache, 1);
    return cache;
}

static void close_other(cm_cache *cache)
{
    bench_must(cm_close(cache), "cm_close");
    free(other);
}

/* Stored in random order: no hit can guess where its block lies. */
static void run_scattered(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = other_hit }, rival = { .op = bench_hit };
    cm_cache *cache = open_other(b, CM_PROBATION_NONE);

    store_other(b, b->order, b->blocks);
    bench_turns(b, &ours, &rival, false, r);
    close_other(cache);
}

/* Behind the blocks of `other` lie as many that wait in the probation buffer. */
static void buffered_hit(struct bench *b, unsigned n)
{
    cm_miss miss;

    while (n--) {
        other_at = other_at + 1 < other_count ? other_at + 1 : 0;
        must_be(other_read(b, other_count + other[other_at], &miss), (int64_t)BENCH_BLOCK);
    }
}

/* As many blocks as the default buffer holds, but a few; at most 65536 (probation_bytes). */
static void run_buffered(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = buffered_hit }, rival = { .op = other_hit };
    const uint64_t held = b->info.slots / 101;
    cm_stats_data before = CM_STATS_INIT, after = CM_STATS_INIT;
    cm_cache *cache = open_other(b, 0);

    bench_must(cm_file_advise(other_file, CM_ADVISE_KEEP), "cm_file_advise"); /* into the pool */
    store_other(b, NULL, held < 65000 ? (uint32_t)held : 65000);
    bench_must(cm_file_advise(other_file, CM_ADVISE_NORMAL), "cm_file_advise");
    for (uint32_t i = 0; i < other_count; i++)
        bench_fill_block(b, other_file, other_count + i);
    bench_must(cm_stats(cache, &before), "cm_stats");
    buffered_hit(b, 4 * other_count);
    bench_must(cm_stats(cache, &after), "cm_stats");
    if (after.probation_hits - before.probation_hits != 4 * (uint64_t)other_count)
        bench_fail("pool", "blocks do not wait in the probation buffer");
    bench_turns(b, &ours, &rival, false, r);
    close_other(cache);
}

static void absent(struct bench *b, unsigned n)
{
    const uint64_t beyond = UINT64_C(1) << 40;
    cm_miss miss;

    while (n--)
        must_be(
            cm_read(b->file, beyond + offset_of(b, bench_next(b)), b->buffer, BENCH_BLOCK, &miss),
            0);
}

/* ---- 128 KiB ------------------------------------------------------------------------------- */

/* Numbers of the groups that are completely in the pool. */
static uint32_t *groups, group_count, group_at;
static const uint8_t **group_where; /* addresses of a group's blocks, by its number */

static void find_groups(struct bench *b)
{
    uint32_t most = (uint32_t)(b->info.slots / BENCH_GROUP);
    uint8_t *present = calloc(most, 1);

    groups = bench_alloc(most * sizeof(*groups));
    group_where = bench_alloc((size_t)most * BENCH_GROUP * sizeof(*group_where));
    if (!present)
        bench_fail("memory", "there is not enough");
    for (uint32_t i = 0; i < b->blocks; i++) {
        group_where[b->order[i]] = b->where[i];
        present[b->order[i] / BENCH_GROUP]++;
    }
    group_count = 0;
    for (uint32_t i = 0; i < most; i++)
        if (present[i] == BENCH_GROUP)
            groups[group_count++] = i;
    free(present);
    if (group_count == 0)
        bench_fail("pool", "no 128 KiB of the file are whole in it; try a larger --size");
    bench_shuffle(groups, group_count);
}

static uint32_t next_group(void)
{
    group_at = group_at + 1 < group_count ? group_at + 1 : 0;
    return groups[group_at];
}

static void large(struct bench *b, unsigned n)
{
    cm_miss miss;

    while (n--)
        must_be(cm_read(b->file, (uint64_t)next_group() * BENCH_GROUP * BENCH_BLOCK, b->buffer,
                        BENCH_GROUP * BENCH_BLOCK, &miss),
                (int64_t)(BENCH_GROUP * BENCH_BLOCK));
}

static void large_copies(struct bench *b, unsigned n)
{
    while (n--) {
        const uint8_t **from = group_where + (size_t)next_group() * BENCH_GROUP;
        for (unsigned i = 0; i < BENCH_GROUP; i++)
            (void)bench_copy(b->buffer + i * BENCH_BLOCK, from[i], BENCH_BLOCK);
    }
}

static void run_large(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = large, .units = BENCH_GROUP },
                                   rival = { .op = large_copies, .units = BENCH_GROUP };

    find_groups(b);
    bench_turns(b, &ours, &rival, false, r);
    free(groups);
    free(group_where);
}

/* A row: key, text, unit, limit (at most), needs, both operations. */
#define AT_MOST(k, t, most, u, o, v)                                                               \
    {                                                                                              \
        .key = (k), .text = (t), .unit = "ns", .limit = (most), .needs = BENCH_NEEDS_FRESH,        \
        .ours = { .op = (o), .units = (u) }, .rival = {                                            \
            .op = (v),                                                                             \
            .units = (u)                                                                           \
        }                                                                                          \
    }

const struct bench_ratio bench_reads[BENCH_READS] = {
    AT_MOST("hit_vs_chain", "random 4 KiB hit / index line, header, copy, header", 1.25, 1,
            bench_hit, bench_chain),
    AT_MOST("read_many_vs_chain16", "16 scattered hits in one call / 16 chains at once, a block",
            1.25, BENCH_MANY, many, bench_chain_many),
    AT_MOST("absent_vs_two_lines", "lookup of an absent block / two index lines", 4, 1, absent,
            bench_two_lines),
    AT_MOST("hit_vs_memcpy", "random 4 KiB hit / memcpy of it", 0, 1, bench_hit, bench_memcpy),
    { "hit_speedup_vs_pread",
      "pread from the page cache / hit",
      "ns",
      1.8,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH,
      { .op = bench_hit },
      { .op = bench_pread },
      NULL },
    { "hit_speedup_vs_lmdb",
      "LMDB get and copy / hit",
      "ns",
      2.0,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_LMDB,
      { .op = bench_hit },
      { .op = bench_lmdb_get },
      NULL },
    { "hit_speedup_vs_sqlite",
      "SQLite get / hit",
      "ns",
      2.5,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SQLITE,
      { 0 },
      { 0 },
      bench_sqlite_run },
    { "scattered_vs_hit",
      "random hit of a file that was stored in random order / in order",
      "ns",
      0,
      false,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH,
      { 0 },
      { 0 },
      run_scattered },
    { "buffered_vs_hit",
      "random hit in the probation buffer / in the pool, of as many blocks",
      "ns",
      0,
      false,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH,
      { 0 },
      { 0 },
      run_buffered },
    AT_MOST("read_many_vs_memcpy", "16 scattered hits in one call / 16 memcpy, a block", 0,
            BENCH_MANY, many, many_copies),
    { "hit_128k_vs_memcpy",
      "128 KiB in one hit / 32 memcpy, a block",
      "ns",
      1.05,
      false,
      BENCH_NEEDS_FRESH,
      { 0 },
      { 0 },
      run_large },
    AT_MOST("pin_vs_hit", "pin and unpin of a hot block / random hit", 0.15, 1, pin, bench_hit),
    { "shared_vs_hit",
      "random hit of a reader in another process / of the owner",
      "ns",
      1.1,
      false,
      BENCH_NEEDS_FRESH,
      { 0 },
      { 0 },
      run_shared },
    { "sealed_vs_hit",
      "hit of a sealed pool (SipHash-2-4) / random hit",
      "ns",
      0,
      false,
      BENCH_NEEDS_FRESH,
      { 0 },
      { 0 },
      bench_run_sealed },
    { "encrypted_vs_hit",
      "hit of an encrypted pool (and AES-256-XTS) / random hit",
      "ns",
      0,
      false,
      BENCH_NEEDS_FRESH,
      { 0 },
      { 0 },
      bench_run_encrypted },
    AT_MOST("absent_vs_hit", "lookup of an absent block / random hit", 0, 1, absent, bench_hit),
};
