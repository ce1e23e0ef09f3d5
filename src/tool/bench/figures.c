/* SPDX-License-Identifier: BSD-2-Clause
 *
 * figures.c - figures without a limit: hits from footprints of all sizes, throughput of more
 * threads, the time of the slowest operations, and the load of the index.
 *
 * Owns: no state. Like a ratio, each figure has a rival's figure beside it, and both took turns.
 *
 * Who: cmd_bench.c.
 */
#include "tool/bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Footprints ---------------------------------------------------------------------------- */

/* The rivals of a footprint: those that need no file of their own come first. */
static const struct {
    const char *name;
    bench_op op;
    unsigned needs;
} footprint_rivals[] = { { "memcpy", bench_memcpy, BENCH_NEEDS_FRESH },
                         { "pread", bench_pread, BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH },
                         { "lmdb", bench_lmdb_get, BENCH_NEEDS_FRESH | BENCH_NEEDS_LMDB } };
#define RIVALS (sizeof(footprint_rivals) / sizeof(footprint_rivals[0]))

/* Nanoseconds of a hit, and of each rival; 0: it is not there. The others than memcpy get a third
 * of the rounds: they are far away. */
static void footprint(struct bench *b, uint32_t blocks, const bool there[RIVALS], double *hit,
                      double ns[RIVALS], struct bench_result *r)
{
    static const struct bench_side ours = { .op = bench_hit };
    const unsigned rounds = b->rounds;

    b->span = blocks;
    for (unsigned i = 0; i < RIVALS; i++) {
        const struct bench_side rival = { .op = footprint_rivals[i].op };
        struct bench_result one = { 0 };
        ns[i] = 0;
        if (!there[i])
            continue;
        b->rounds = i == 0 ? rounds : (rounds + 2) / 3;
        bench_turns(b, &ours, &rival, false, &one);
        ns[i] = one.rival;
        if (i == 0)
            *r = one, *hit = one.ours;
    }
    b->rounds = rounds;
    b->span = b->blocks;
}

static void print_footprint(struct tool_json *j, uint64_t bytes, double hit, const double *ns,
                            const struct bench_result *r)
{
    char key[32], size[TOOL_NUMBER_MAX];

    if (!j) {
        (void)printf("  %-12s %8.1f", tool_bytes(size, bytes), hit);
        for (unsigned i = 0; i < RIVALS; i++)
            if (ns[i] > 0)
                (void)printf(" %8.1f", ns[i]);
            else
                (void)printf(" %8s", "-");
        (void)printf(" %8.3f  (%.3f to %.3f)\n", r->ratio, r->low, r->high);
        return;
    }
    (void)snprintf(key, sizeof(key), "%" PRIu64, bytes);
    json_open(j, key);
    json_decimal(j, "hit_ns", hit, 1);
    for (unsigned i = 0; i < RIVALS; i++) {
        (void)snprintf(key, sizeof(key), "%s_ns", footprint_rivals[i].name);
        if (ns[i] > 0)
            json_decimal(j, key, ns[i], 1);
    }
    json_decimal(j, "ratio", r->ratio, 3);
    json_close(j);
}

/* From a footprint that fits the first cache level upwards, by factors of 8. */
static void footprints(struct bench *b, struct tool_json *j)
{
    bool there[RIVALS];
    char why_not[96];

    for (unsigned i = 0; i < RIVALS; i++)
        there[i] = bench_prepare(b, footprint_rivals[i].needs, why_not);
    if (!j)
        (void)printf("\nrandom 4 KiB reads by footprint, ns\n  %-12s %8s %8s %8s %8s %8s  "
                     "quartiles\n",
                     "", "hit", "memcpy", "pread", "LMDB", "/ memcpy");
    for (uint32_t blocks = 4;; blocks = blocks * 8 < b->blocks ? blocks * 8 : b->blocks) {
        struct bench_result r = { 0 };
        double hit = 0, ns[RIVALS];
        footprint(b, blocks, there, &hit, ns, &r);
        print_footprint(j, blocks * (uint64_t)BENCH_BLOCK, hit, ns, &r);
        if (blocks == b->blocks)
            break;
    }
}

/* ---- Threads ------------------------------------------------------------------------------- */

/* 1, 2, 4 ..., and as many as there are; 0: these were all. */
static unsigned more_threads(const struct bench *b, unsigned n)
{
    return n >= b->threads ? 0 : n * 2 < b->threads ? n * 2 : b->threads;
}

/* Millions a second: medians over the rounds, in turns. */
static void hits_of_threads(struct bench *b, unsigned n, double *hit, double *copy)
{
    double *hits = bench_alloc(2 * b->rounds * sizeof(*hits)), *copies = hits + b->rounds;

    for (unsigned i = 0; i < b->rounds; i++) {
        hits[i] = bench_rate(b, n, true) / 1e6;
        copies[i] = (bench_rate(b, n, false) + bench_rate(b, n, false)) / 2e6;
        hits[i] = (hits[i] + bench_rate(b, n, true) / 1e6) / 2;
    }
    *hit = bench_median(hits, b->rounds);
    *copy = bench_median(copies, b->rounds);
    free(hits);
}

static void changes_of_threads(struct bench *b, unsigned n, double *fills, double *mixed,
                               double *brackets)
{
    const unsigned rounds = (b->rounds + 2) / 3;
    double *f = bench_alloc(3 * rounds * sizeof(*f)), *m = f + rounds, *k = m + rounds;

    for (unsigned i = 0; i < rounds; i++) {
        bench_rate_changes(b, n, &f[i], &m[i], &k[i]);
        f[i] /= 1e6, m[i] /= 1e6, k[i] /= 1e6;
    }
    *fills = bench_median(f, rounds);
    *mixed = bench_median(m, rounds);
    *brackets = bench_median(k, rounds);
    free(f);
}

static void threads(struct bench *b, struct tool_json *j)
{
    struct {
        double hit, copy;
    } *of = bench_alloc((b->threads + 1) * sizeof(*of));

    for (unsigned n = 1; n > 0; n = more_threads(b, n))
        hits_of_threads(b, n, &of[n].hit, &of[n].copy);
    if (!j)
        (void)printf("\n4 KiB operations by threads, millions a second\n  %-8s %8s %8s %8s %8s %8s "
                     "%8s\n",
                     "", "hit", "memcpy", "quotient", "fill", "95/5", "bracket");
    for (unsigned n = 1; n > 0; n = more_threads(b, n)) {
        double fills, mixed, brackets;
        changes_of_threads(b, n, &fills, &mixed, &brackets);
        if (!j) {
            (void)printf("  %-8u %8.3f %8.3f %8.3f %8.3f %8.3f %8.3f\n", n, of[n].hit, of[n].copy,
                         of[n].hit / of[n].copy, fills, mixed, brackets);
            continue;
        }
        char key[16];
        (void)snprintf(key, sizeof(key), "%u", n);
        json_open(j, key);
        json_decimal(j, "hits_per_us", of[n].hit, 6);
        json_decimal(j, "memcpy_per_us", of[n].copy, 6);
        json_decimal(j, "fills_per_us", fills, 6);
        json_decimal(j, "hits_95_fills_5_per_us", mixed, 6);
        json_decimal(j, "brackets_per_us", brackets, 6);
        json_close(j);
    }
    free(of);
}

/* ---- Latency ------------------------------------------------------------------------------- */

#define TURN BENCH_BRACKETS /* operations of one side before the other takes its turn */

static int by_ns(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

    return a < b ? -1 : a > b;
}

static void sample(struct bench *b, const struct bench_side *s, uint32_t *ns)
{
    for (unsigned i = 0; i < TURN; i++) {
        uint64_t began = cm_now(), took;
        s->op(b, 1);
        took = cm_now() - began;
        ns[i] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    }
    if (s->repair)
        s->repair(b, TURN);
    bench_stop_if_asked();
}

static void print_latency(const char *name, uint32_t *ns, unsigned n, struct tool_json *j)
{
    qsort(ns, n, sizeof(*ns), by_ns);
    if (j) {
        json_open(j, name);
        json_number(j, "p50_ns", ns[n / 2]);
        json_number(j, "p99_ns", ns[n - n / 100 - 1]);
        json_number(j, "p999_ns", ns[n - n / 1000 - 1]);
        json_close(j);
    } else {
        (void)printf("  %-24s %8" PRIu32 " %8" PRIu32 " %8" PRIu32 "\n", name, ns[n / 2],
                     ns[n - n / 100 - 1], ns[n - n / 1000 - 1]);
    }
}

static void nothing(struct bench *b, unsigned n)
{
    (void)b, (void)n;
}

static void latency(struct bench *b, struct tool_json *j)
{
    static const struct pair {
        const char *name[2];
        struct bench_side side[2];
        unsigned needs;
    } pairs[] = {
        { { "hit", "memcpy" }, { { .op = bench_hit }, { .op = bench_memcpy } }, BENCH_NEEDS_FRESH },
        { { "bracket", "flush_fence" },
          { { .op = bench_bracket, .repair = bench_bracket_repair }, { .op = bench_write_back } },
          BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH | BENCH_NEEDS_FLUSH },
        { { "fill", "nt_xxh3_fence" },
          { { .op = bench_fill_one }, { .op = bench_store } },
          BENCH_NEEDS_CHURNED | BENCH_NEEDS_SCRATCH },
        { { "clock_alone", NULL }, { { .op = nothing }, { .op = nothing } }, 0 },
    };
    unsigned n = 4 * b->rounds * TURN;
    uint32_t *ns[2] = { bench_alloc(n * sizeof(uint32_t)), bench_alloc(n * sizeof(uint32_t)) };
    char why_not[96];

    if (!j)
        (void)printf("\nlatency of 4 KiB operations, ns, clock included\n  %-24s %8s %8s %8s\n", "",
                     "p50", "p99", "p99.9");
    for (const struct pair *p = pairs; p < pairs + sizeof(pairs) / sizeof(pairs[0]); p++) {
        if (!bench_prepare(b, p->needs, why_not))
            continue;
        for (unsigned at = 0; at < n; at += 2 * TURN) {
            sample(b, &p->side[0], ns[0] + at);
            sample(b, &p->side[1], ns[1] + at);
            sample(b, &p->side[1], ns[1] + at + TURN);
            sample(b, &p->side[0], ns[0] + at + TURN);
        }
        for (unsigned i = 0; i < 2 && p->name[i]; i++)
            print_latency(p->name[i], ns[i], n, j);
        if (p->side[0].repair)
            b->state = BENCH_CHURNED; /* now the blocks are at other places */
    }
    free(ns[0]);
    free(ns[1]);
}

/* ---- The index ----------------------------------------------------------------------------- */

/* The load of the index, after the pool was filled anew by evicting. */
static void index_shares(struct bench *b, struct tool_json *j)
{
    cm_check_report c = { .struct_size = sizeof(c) };
    cm_stats_data s = { .struct_size = sizeof(s) };
    double second, full;

    bench_must(cm_check(b->cache, CM_CHECK_METADATA, NULL, NULL, &c), "cm_check");
    bench_must(cm_stats(b->cache, &s), "cm_stats");
    second = c.valid ? (double)c.second_bucket / (double)c.valid : 0;
    full = (double)(s.displaced + s.refused_full) / (double)(s.fill_blocks + s.refused_full);
    if (j) {
        json_number(j, "blocks", c.valid);
        json_number(j, "fills", s.fill_blocks);
        json_decimal(j, "second_bucket_share", second, 5);
        json_decimal(j, "both_full_share", full, 5);
        return;
    }
    (void)printf("\nindex, full pool: %" PRIu64
                 " blocks, %.2f %% of them found in their second bucket;"
                 "\n  %.3f %% of %" PRIu64 " fills found both buckets full\n",
                 c.valid, 100 * second, 100 * full, s.fill_blocks);
}

const struct bench_more bench_more[BENCH_MORE] = {
    { "footprints", footprints, BENCH_NEEDS_FRESH, BENCH_NEEDS_SCRATCH | BENCH_NEEDS_LMDB },
    { "threads", threads, BENCH_NEEDS_FRESH, 0 },
    { "index", index_shares, BENCH_NEEDS_CHURNED, 0 },
    { "latency", latency, BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH, 0 },
};
