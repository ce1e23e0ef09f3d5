/* SPDX-License-Identifier: BSD-2-Clause
 *
 * writes.c - fills and forgetting, compared with the least work they need: for a fill a copy past
 * the CPU's caches, a checksum and a fence; for forgetting a line written back and a fence. And
 * opening a large pool, compared with a small one.
 *
 * Owns: no state. Fills go to a full pool, so each one evicts. The run fails if they did not.
 *
 * Who: cmd_bench.c, figures.c, threads.c.
 */
#include "tool/bench/bench.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES 32u /* stored blocks come from so many places, in turn */

/* ---- The rivals ---------------------------------------------------------------------------- */

/* The plainest of the library's routines, whichever ones the library itself uses. Compared with its
 * own choice, a bad choice would not show. */
const struct cm_persist_ops *bench_plain(void)
{
    const struct cm_persist_ops *first = cm_persist_variant(0), *last = first, *ops;

    for (size_t i = 1; (ops = cm_persist_variant(i)) != NULL; i++) {
        if (ops->flush == first->flush)
            last = ops; /* the best flush, with the copy routine that every CPU has */
    }
    return last;
}

void bench_nt_fence(const struct bench *b, void *dst, const void *src)
{
    bench_must(b->plain->copy(NULL, dst, src, BENCH_BLOCK), "copy");
    b->plain->fence(NULL);
}

static const uint8_t *source(const struct bench *b, uint64_t i)
{
    return b->data + i % SOURCES * BENCH_BLOCK;
}

void bench_store(struct bench *b, unsigned n)
{
    uint64_t sum = 0;

    while (n--) {
        const uint8_t *from = source(b, b->scratch_at / BENCH_BLOCK);
        sum += XXH3_64bits(from, BENCH_BLOCK);
        bench_nt_fence(b, b->scratch + b->scratch_at, from);
        b->scratch_at += BENCH_BLOCK;
        if (b->scratch_at + BENCH_BLOCK > b->bytes)
            b->scratch_at = 0;
    }
    b->buffer[0] = (uint8_t)sum; /* used, so the compiler must compute it */
}

void bench_write_back(struct bench *b, unsigned n)
{
    while (n--) {
        volatile uint8_t *line = b->scratch + (uint64_t)b->order[bench_next(b)] * BENCH_BLOCK;
        *line = (uint8_t)(*line + 1);
        bench_must(b->plain->flush(NULL, (void *)(uintptr_t)line, 1), "flush");
        b->plain->fence(NULL);
    }
}

/* ---- Fills --------------------------------------------------------------------------------- */

static void fill(struct bench *b, size_t blocks)
{
    cm_miss miss;
    int e;

    bench_must(
        cm_read(b->endless, b->next_block * BENCH_BLOCK, b->buffer, blocks * BENCH_BLOCK, &miss),
        "cm_read");
    e = cm_fill(b->endless, &miss, blocks == 1 ? source(b, b->next_block) : b->data, miss.len, 0);
    bench_must(e, "cm_fill");
    b->next_block += blocks;
    b->fills += blocks;
    b->refused += e > 0;
}

void bench_fill_one(struct bench *b, unsigned n)
{
    while (n--)
        fill(b, 1);
}

/* The ratios of fills do not time the lookups before them. Those are made earlier. */
static cm_miss known[BENCH_KNOWN];

static void look_up(struct bench *b, unsigned n, size_t blocks)
{
    for (unsigned i = 0; i < n; i++)
        bench_must(cm_read(b->endless, (b->next_block + i * blocks) * BENCH_BLOCK, b->buffer,
                           blocks * BENCH_BLOCK, &known[i]),
                   "cm_read");
}

static void fill_known(struct bench *b, unsigned n, size_t blocks)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *from = blocks == 1 ? source(b, b->next_block) : b->data;
        int e = cm_fill(b->endless, &known[i], from, known[i].len, 0);
        bench_must(e, "cm_fill");
        b->next_block += blocks;
        b->fills += blocks;
        b->refused += e > 0;
    }
}

static void fill_one_known(struct bench *b, unsigned n)
{
    fill_known(b, n, 1);
}

static void look_up_one(struct bench *b, unsigned n)
{
    (void)n;
    look_up(b, BENCH_KNOWN, 1);
}

static void fill_group_known(struct bench *b, unsigned n)
{
    fill_known(b, n, BENCH_GROUP);
}

static void look_up_group(struct bench *b, unsigned n)
{
    (void)n;
    look_up(b, BENCH_KNOWN, BENCH_GROUP);
}

static uint64_t evictions(struct bench *b)
{
    cm_stats_data s = { .struct_size = sizeof(s) };

    bench_must(cm_stats(b->cache, &s), "cm_stats");
    return s.evicted + s.displaced;
}

static void fills_beside(struct bench *b, const struct bench_side *ours, bench_op rival,
                         bool at_least, struct bench_result *r)
{
    const struct bench_side other = { .op = rival };
    uint64_t before = evictions(b);

    b->fills = b->refused = 0;
    ours->repair(b, 0);
    bench_turns(b, ours, &other, at_least, r);
    if (b->refused > b->fills / 100)
        bench_fail("fills", "more than one of a hundred was refused");
    if (evictions(b) - before < b->fills - b->fills / 20)
        bench_fail("fills", "they did not evict");
}

static const struct bench_side one_block = { .op = fill_one_known,
                                             .repair = look_up_one,
                                             .most = BENCH_KNOWN };

static void run_fill_one(struct bench *b, struct bench_result *r)
{
    fills_beside(b, &one_block, bench_store, false, r);
}

static void run_fill_group(struct bench *b, struct bench_result *r)
{
    static const struct bench_side group = {
        .op = fill_group_known, .units = BENCH_GROUP, .repair = look_up_group, .most = BENCH_KNOWN
    };
    fills_beside(b, &group, bench_store, false, r);
}

static void run_fill_lmdb(struct bench *b, struct bench_result *r)
{
    fills_beside(b, &one_block, bench_lmdb_put, true, r);
}

const struct bench_ratio bench_writes[BENCH_WRITES] = {
    { "fill_vs_nt",
      "fill of a block that evicts / NT copy, XXH3, fence",
      "ns",
      2.5,
      false,
      BENCH_NEEDS_CHURNED | BENCH_NEEDS_SCRATCH,
      { 0 },
      { 0 },
      run_fill_one },
    { "fill_128k_vs_nt",
      "the same with 128 KiB in one fill, a block",
      "ns",
      1.4,
      false,
      BENCH_NEEDS_CHURNED | BENCH_NEEDS_SCRATCH,
      { 0 },
      { 0 },
      run_fill_group },
    { "fill_speedup_vs_lmdb",
      "LMDB put without sync / fill of a block that evicts",
      "ns",
      8,
      true,
      BENCH_NEEDS_CHURNED | BENCH_NEEDS_LMDB,
      { 0 },
      { 0 },
      run_fill_lmdb },
};

/* ---- Forgetting ---------------------------------------------------------------------------- */

void bench_bracket(struct bench *b, unsigned n)
{
    while (n--) {
        cm_bracket w;
        uint64_t at = (uint64_t)b->order[bench_next(b)] * BENCH_BLOCK;
        bench_must(cm_write_begin(b->file, at, BENCH_BLOCK, &w), "cm_write_begin");
        bench_must(cm_write_end(b->file, &w, NULL), "cm_write_end");
    }
}

/* Stores again what the last n brackets forgot. These blocks come again only after all others. */
void bench_bracket_repair(struct bench *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t at = (b->at + b->span - i % b->span) % b->span;
        bench_fill_block(b, b->file, b->order[at]);
    }
}

static void run_brackets(struct bench *b, struct bench_result *r)
{
    static const struct bench_side ours = { .op = bench_bracket,
                                            .repair = bench_bracket_repair,
                                            .most = BENCH_BRACKETS },
                                   rival = { .op = bench_write_back };
    cm_stats_data s = { .struct_size = sizeof(s) };
    uint64_t forgotten, brackets;

    bench_must(cm_stats(b->cache, &s), "cm_stats");
    forgotten = s.forgotten;
    brackets = s.brackets;
    bench_turns(b, &ours, &rival, false, r);
    bench_must(cm_stats(b->cache, &s), "cm_stats");
    if ((s.forgotten - forgotten) < (s.brackets - brackets) / 20 * 19)
        bench_fail("brackets", "there was nothing to forget");
    b->state = BENCH_CHURNED; /* now the blocks are at other places */
}

/* A pool of twice the size, so that at 2 GiB a file of a million blocks fits. */
static void run_invalidate(struct bench *b, struct bench_result *r)
{
    const char *path = bench_path(b, "file");
    uint64_t bytes = 2 * b->bytes, blocks;
    unsigned rounds = b->rounds < 9 ? b->rounds : 9; /* each stores the file anew */
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    double us[9];
    cm_cache *cache;
    cm_file *f;

    c.size = bytes;
    bench_must(cm_create(path, &c), path);
    void *base = bench_map(path, bytes, false);
    bench_remove(path);
    o.probation_bytes = CM_PROBATION_NONE;
    o.memory_durability = CM_DURABILITY_DAX;
    bench_must(cm_open_memory(base, bytes, &o, &cache), "cm_open_memory");
    bench_must(cm_get_info(cache, &info), "cm_get_info");
    blocks = info.slots < 1000000 ? info.slots - info.slots % BENCH_GROUP : 1000000;
    f = bench_open_file(cache, 1);
    for (unsigned i = 0; i < rounds; i++) {
        bench_fill_range(b, f, 0, blocks, "filling a file");
        uint64_t began = cm_now();
        bench_must(cm_invalidate(f, 0, CM_ALL), "cm_invalidate");
        us[i] = (double)(cm_now() - began) / 1000;
        if (cm_read(f, 0, b->buffer, BENCH_BLOCK, NULL) != 0)
            bench_fail("cm_invalidate", "it forgot nothing");
    }
    bench_quartiles(us, rounds, r);
    r->ours = r->ratio;
    r->rival = 0;
    (void)snprintf(r->note, sizeof(r->note), "%" PRIu64 " cached blocks", blocks);
    bench_must(cm_close(cache), "cm_close");
}

/* ---- Opening ------------------------------------------------------------------------------- */

static double time_open(const char *path)
{
    cm_cache *c;
    uint64_t began = cm_now(), ended;

    bench_must(cm_open(path, NULL, &c), path);
    ended = cm_now();
    bench_must(cm_close(c), "cm_close");
    bench_stop_if_asked();
    return (double)(ended - began) / 1000;
}

static void run_open(struct bench *b, struct bench_result *r)
{
    static const uint64_t sizes[2] = { UINT64_C(1) << 40, UINT64_C(1) << 30 };
    const char *path[2] = { bench_path(b, "1tib"), bench_path(b, "1gib") };
    double *large, *small, *ratio;

    for (unsigned i = 0; i < 2; i++) {
        cm_create_options c = CM_CREATE_OPTIONS_INIT;
        c.flags = CM_CREATE_SPARSE;
        c.size = sizes[i];
        int e = cm_create(path[i], &c);
        if (e) {
            (void)snprintf(r->why_not, sizeof(r->why_not), "no pool of 1 TiB there: %.60s",
                           cm_strerror(e));
            return;
        }
        (void)time_open(path[i]);
    }
    large = bench_alloc(3 * b->rounds * sizeof(*large));
    small = large + b->rounds;
    ratio = small + b->rounds;
    for (unsigned i = 0; i < b->rounds; i++) {
        large[i] = time_open(path[0]);
        small[i] = (time_open(path[1]) + time_open(path[1])) / 2;
        large[i] = (large[i] + time_open(path[0])) / 2;
        ratio[i] = large[i] / small[i];
    }
    bench_quartiles(ratio, b->rounds, r);
    r->ours = bench_median(large, b->rounds);
    r->rival = bench_median(small, b->rounds);
    bench_remove(path[0]);
    bench_remove(path[1]);
    free(large);
}

const struct bench_ratio bench_others[BENCH_OTHERS] = {
    { "invalidate_block_fences",
      "durable bracket of a cached block / line written back, and fence",
      "ns",
      3,
      false,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH | BENCH_NEEDS_FLUSH,
      { 0 },
      { 0 },
      run_brackets },
    { "invalidate_file_us",
      "microseconds to forget a whole file",
      "us",
      2,
      false,
      BENCH_NEEDS_ROOM,
      { 0 },
      { 0 },
      run_invalidate },
    { "open_1tib_vs_1gib",
      "open of a sparse 1 TiB pool / of a 1 GiB one",
      "us",
      2,
      false,
      0,
      { 0 },
      { 0 },
      run_open },
};
