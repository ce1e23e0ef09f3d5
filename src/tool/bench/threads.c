/* SPDX-License-Identifier: BSD-2-Clause
 *
 * threads.c - the gain of more threads, compared with their gain for memcpy, because memory and
 * processors that share a core do not scale either.
 *
 * Owns: no state. Threads are started for each slice and end with it. Each goes through the order
 * from a place of its own and copies to a buffer of its own. A slice counts only if no thread
 * waited for a processor that other work had. If there is none, the best of some tries counts.
 *
 * Who: cmd_bench.c, figures.c.
 */
#include "tool/bench/bench.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 32u         /* operations between two looks at the clock */
#define TRIES 3u          /* tries to find the processors free */
#define TRIES_MAX 100u    /* tries if a thread did not run at all */
#define RAN 0.97          /* a slice counts if every thread ran for this share of it */
#define REFILLS_MAX 4096u /* blocks that a reader may miss in a slice */

enum job { HITS, COPIES, HOT_HITS, HOT_COPIES, FILL, STORE, MIXED, BRACKET };
#define MIXED_FILL 20u /* of so many operations of MIXED one is a fill */

struct member {
    enum job job;
    uint8_t *buffer;
    uint32_t at;
    uint64_t next; /* block of the endless file that it fills next: each thread has its own range */
    uint64_t done; /* a read counts only if it hits */
    double ns;
    double share; /* share of the slice in which it ran */
    uint32_t missed[REFILLS_MAX], misses;
};

struct team {
    struct bench *b;
    uint64_t until; /* cm_now() */
    struct member *m[OS_THREADS_MAX];
    double missed; /* share of the first member's reads in the last slice */
};

static void hit(struct bench *b, struct member *m, uint32_t at)
{
    cm_miss miss;

    if (cm_read(b->file, (uint64_t)b->order[at] * BENCH_BLOCK, m->buffer, BENCH_BLOCK, &miss) ==
        (int64_t)BENCH_BLOCK)
        m->done++;
    else if (m->misses < REFILLS_MAX)
        m->missed[m->misses++] = b->order[at];
}

static void fill(struct bench *b, struct member *m)
{
    cm_miss miss;

    bench_must(cm_read(b->endless, m->next++ * BENCH_BLOCK, m->buffer, BENCH_BLOCK, &miss),
               "cm_read");
    bench_must(cm_fill(b->endless, &miss, b->data, miss.len, 0), "cm_fill");
    m->done++;
}

static void store(struct bench *b, struct member *m)
{
    bench_nt_fence(b, b->scratch + b->scratch_at, b->data);
    b->scratch_at = b->scratch_at + 2 * BENCH_BLOCK <= b->bytes ? b->scratch_at + BENCH_BLOCK : 0;
    m->done++;
}

/* Around a block that is not cached: nothing has to be stored again. */
static void bracket(struct bench *b, struct member *m, uint32_t at)
{
    const uint64_t beyond = UINT64_C(1) << 40;
    cm_bracket w;

    bench_must(
        cm_write_begin(b->file, beyond + (uint64_t)b->order[at] * BENCH_BLOCK, BENCH_BLOCK, &w),
        "cm_write_begin");
    bench_must(cm_write_end(b->file, &w, NULL), "cm_write_end");
    m->done++;
}

static void operation(struct bench *b, struct member *m, enum job job, uint32_t at)
{
    switch (job) {
    case HITS:
    case HOT_HITS:
        hit(b, m, at);
        break;
    case COPIES:
    case HOT_COPIES:
        (void)bench_copy(m->buffer, b->where[at], BENCH_BLOCK);
        m->done++;
        break;
    case STORE:
        store(b, m);
        break;
    case BRACKET:
        bracket(b, m, at);
        break;
    default:
        fill(b, m);
    }
}

static void batch(struct bench *b, struct member *m)
{
    const bool hot = m->job == HOT_HITS || m->job == HOT_COPIES;

    for (unsigned k = 0; k < BATCH; k++) {
        const uint32_t at = hot ? 0 : m->at;
        m->at = m->at + 1 < b->span ? m->at + 1 : 0;
        operation(b, m, m->job != MIXED ? m->job : m->at % MIXED_FILL == 0 ? FILL : HITS, at);
    }
}

static void work(void *ctx, unsigned i)
{
    struct team *t = ctx;
    struct member *m = t->m[i];
    uint64_t began = cm_now(), ran = os_thread_time(), now = began;

    for (; now < t->until; now = cm_now())
        batch(t->b, m);
    m->ns = now > began ? (double)(now - began) : 1;
    m->share = (double)(os_thread_time() - ran) / BENCH_SLICE_NS;
}

static struct team *new_team(struct bench *b, unsigned n)
{
    struct team *t = bench_alloc(sizeof(*t));

    t->b = b;
    for (unsigned i = 0; i < n; i++) {
        t->m[i] = bench_alloc(sizeof(*t->m[i]));
        memset(t->m[i], 0, sizeof(*t->m[i]));
        t->m[i]->buffer = os_alloc_pages(2 * BENCH_BLOCK);
        if (!t->m[i]->buffer)
            bench_fail("memory", "there is not enough");
        t->m[i]->at = (uint32_t)(b->span * (uint64_t)i / n);
        t->m[i]->next = b->next_block + ((uint64_t)i << 24);
    }
    return t;
}

static void free_team(struct team *t, unsigned n)
{
    t->b->next_block += (uint64_t)n << 24; /* a range that no later team has filled */
    for (unsigned i = 0; i < n; i++) {
        os_free_pages(t->m[i]->buffer);
        free(t->m[i]);
    }
    free(t);
}

/* Runs one slice. Returns the smallest share of it that a member ran. */
static double slice(struct team *t, unsigned n, enum job first, enum job others)
{
    double share = 1;

    for (unsigned i = 0; i < n; i++) {
        t->m[i]->job = i ? others : first;
        t->m[i]->done = 0;
        t->m[i]->misses = 0;
    }
    t->until = cm_now() + (uint64_t)BENCH_SLICE_NS;
    if (os_run_threads(n, work, t))
        bench_fail("threads", "cannot be started");
    bench_stop_if_asked();
    for (unsigned i = 0; i < n; i++) {
        struct member *m = t->m[i];
        share = m->share < share ? m->share : share;
        for (uint32_t k = 0; k < m->misses; k++) /* evicted meanwhile: store it again */
            bench_fill_block(t->b, t->b->file, m->missed[k]);
    }
    return share;
}

/* Operations per second of the first member, or of all n. Of a few slices it takes the one in which
 * the members ran most at the same time. */
static double rate(struct team *t, unsigned n, enum job first, enum job others, bool all)
{
    double best = -1, result = 0;

    for (unsigned i = 0; best < RAN && i < (result > 0 ? TRIES : TRIES_MAX); i++) {
        double share = slice(t, n, first, others), sum = 0;
        if (share <= best)
            continue;
        best = share;
        for (unsigned k = 0; k < (all ? n : 1); k++)
            sum += (double)t->m[k]->done / t->m[k]->ns * 1e9;
        result = sum;
        t->missed = (double)t->m[0]->misses / (double)(t->m[0]->done + t->m[0]->misses + 1);
    }
    if (result <= 0)
        bench_fail("threads", "the machine is too busy to let them run");
    return result;
}

static double rate_of(struct bench *b, unsigned n, enum job job)
{
    struct team *t = new_team(b, n);
    double r;

    for (unsigned i = 0; i < n; i++)
        t->m[i]->at = (uint32_t)(bench_random() % b->span);
    r = rate(t, n, job, job, true);
    free_team(t, n);
    return r;
}

double bench_rate(struct bench *b, unsigned n, bool hits)
{
    return rate_of(b, n, hits ? HITS : COPIES);
}

void bench_rate_changes(struct bench *b, unsigned n, double *fills, double *mixed, double *brackets)
{
    const uint32_t span = b->span;

    b->state = BENCH_CHURNED;
    *fills = rate_of(b, n, FILL);
    *brackets = rate_of(b, n, BRACKET);
    b->span = b->blocks / 4; /* used blocks are not evicted */
    for (uint32_t i = 0; i < b->span; i++)
        bench_fill_block(b, b->file, b->order[i]);
    *mixed = rate_of(b, n, MIXED);
    b->span = span;
}

static void scaling(struct bench *b, enum job ours, enum job rival, struct bench_result *r)
{
    double *q = bench_alloc(3 * b->rounds * sizeof(*q)), *o = q + b->rounds, *v = o + b->rounds;
    struct team *t = new_team(b, 2);

    for (unsigned i = 0; i < b->rounds; i++) {
        double one = rate(t, 1, ours, ours, true), two = rate(t, 2, ours, ours, true);
        double rival_two = rate(t, 2, rival, rival, true),
               rival_one = rate(t, 1, rival, rival, true);
        rival_one += rate(t, 1, rival, rival, true);
        rival_two += rate(t, 2, rival, rival, true);
        two += rate(t, 2, ours, ours, true);
        one += rate(t, 1, ours, ours, true);
        o[i] = two / one;
        v[i] = rival_two / rival_one;
        q[i] = o[i] / v[i];
    }
    bench_quartiles(q, b->rounds, r);
    r->ours = bench_median(o, b->rounds);
    r->rival = bench_median(v, b->rounds);
    free_team(t, 2);
    free(q);
}

static void random_hits(struct bench *b, struct bench_result *r)
{
    scaling(b, HITS, COPIES, r);
}

static void hot_hits(struct bench *b, struct bench_result *r)
{
    scaling(b, HOT_HITS, HOT_COPIES, r);
}

/* The rate of the first member. Adds the share of its reads that missed. */
static double reader_rate(struct team *t, enum job other, double *missed)
{
    double r = rate(t, 2, HITS, other, false);

    *missed += t->missed;
    return r;
}

/* The reader reads a quarter of the pool again and again, so that the filler evicts the rest. */
static void beside_filler(struct bench *b, struct bench_result *r)
{
    double *q = bench_alloc(3 * b->rounds * sizeof(*q)), *o = q + b->rounds, *v = o + b->rounds;
    double missed = 0, none = 0;
    struct team *t;

    b->span = b->blocks / 4;
    t = new_team(b, 2);
    for (unsigned pass = 0; pass < 3; pass++) /* used blocks are not evicted */
        bench_hit(b, b->span);
    for (unsigned i = 0; i < b->rounds; i++) {
        o[i] = reader_rate(t, FILL, &missed);
        v[i] = reader_rate(t, STORE, &none) + reader_rate(t, STORE, &none);
        o[i] += reader_rate(t, FILL, &missed);
        q[i] = o[i] / v[i];
        o[i] = 2e9 / o[i];
        v[i] = 2e9 / v[i];
    }
    bench_quartiles(q, b->rounds, r);
    r->ours = bench_median(o, b->rounds);
    r->rival = bench_median(v, b->rounds);
    (void)snprintf(r->note, sizeof(r->note), "%.2f %% of the reads missed, and do not count",
                   100 * missed / (2 * b->rounds));
    b->state = BENCH_CHURNED;
    free_team(t, 2);
    free(q);
}

const struct bench_ratio bench_threads[BENCH_THREADS] = {
    { "two_threads_random",
      "random hits, 2 threads over 1 / memcpy's own",
      "x",
      0.95,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_THREADS,
      { 0 },
      { 0 },
      random_hits },
    { "two_threads_hot",
      "the same with one hot block",
      "x",
      0.95,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_THREADS,
      { 0 },
      { 0 },
      hot_hits },
    { "readers_beside_filler",
      "hits beside a filling thread / beside an NT-copying one",
      "ns",
      0.9,
      true,
      BENCH_NEEDS_FRESH | BENCH_NEEDS_SCRATCH | BENCH_NEEDS_THREADS,
      { 0 },
      { 0 },
      beside_filler },
};
