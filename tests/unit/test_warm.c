/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_warm.c - cm_warm(): what it reads, what it skips, how it counts, and at which rate.
 */
#include "warm_common.h"

#include <pthread.h>

#include "api/flight.h"

/* ---- What it reads --------------------------------------------------------------------------- */

/* All of a file with a tail; what it reads counts neither as a hit nor as a miss. */
static void test_cold(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK + 777);
    struct told w = { 0 };
    const cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(r.cached, o.size);
    CHECK_EQ(r.stored, o.size);
    CHECK_EQ(r.read, o.size);
    CHECK(w.ordered && w.done == o.size && w.total == o.size);
    CHECK_EQ(STAT(p.c, hit_blocks), 0);
    CHECK_EQ(STAT(p.c, miss_blocks), 0);
    CHECK_EQ(STAT(p.c, fill_blocks), 101);
    CHECK_EQ(STAT(p.c, prefetch_blocks), 101);
    CHECK_EQ(STAT(p.c, origin_bytes), o.size);
    CHECK_EQ(STAT(p.c, origin_reads), o.calls);
    CHECK_EQ(info_of(f).misses, 0);
    CHECK_EQ(info_of(f).fills, 101);
    CHECK_EQ(p.c->live, 0);
    const uint32_t calls = o.calls;
    CHECK_EQ(hits(f, 0, 100, o.tag), 100);
    CHECK_EQ(look(f, 100, o.tag), TOO_SHORT);
    CHECK_EQ(cm_warm(f, 0, CM_ALL, NULL, origin_read, &o, NULL), 0); /* defaults, no report */
    CHECK_EQ(o.calls, calls);
    CHECK_EQ(STAT(p.c, evicted), 0);
    pool_end(&p);
}

/* What is cached is not read, and the policy hears nothing of it. */
static void test_skips(void)
{
    struct pool p;
    struct origin o = make_origin(60 * BLK);
    cm_warm_report r;
    uint8_t ref[4 * MIB / BLK];
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const uint64_t slots = p.c->media.geo.slots;
    for (uint64_t b = 1; b < 60; b += 3) {
        CHECK_EQ(put(f, b, o.tag), 0);
        CHECK_EQ(look(f, b, o.tag), RIGHT);
    }
    const int64_t was = STAT(p.c, hit_blocks), missed = STAT(p.c, miss_blocks);
    const unsigned counts = count_of(f, 1) + count_of(f, 58);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.cached, 60 * BLK);
    CHECK_EQ(r.stored, 40 * BLK);
    CHECK_EQ(r.read, 40 * BLK);
    CHECK_EQ(STAT(p.c, refused_present), 0);
    CHECK_EQ(count_of(f, 1) + count_of(f, 58), counts);
    CHECK_EQ(count_of(f, 0), 0);
    REQUIRE(slots <= sizeof(ref));
    memcpy(ref, p.c->policy.ring.ref, (size_t)slots);
    const uint32_t calls = o.calls;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.cached, 60 * BLK);
    CHECK_EQ(r.stored | r.read, 0);
    CHECK_EQ(o.calls, calls);
    CHECK_EQ(memcmp(ref, p.c->policy.ring.ref, (size_t)slots), 0);
    CHECK_EQ(STAT(p.c, hit_blocks), was);
    CHECK_EQ(STAT(p.c, miss_blocks), missed);
    CHECK_EQ(hits(f, 0, 60, o.tag), 60);
    pool_end(&p);
}

/* Whole blocks around a range, and nothing beside them. */
static void test_ranges(void)
{
    static const struct {
        uint64_t offset, len, first, n, end;
    } v[] = {
        { 10 * BLK, 4 * BLK, 10, 4, 14 * BLK },
        { 10 * BLK + 1, 1, 10, 1, 10 * BLK + 2 },
        { 10 * BLK - 1, 2, 9, 2, 10 * BLK + 1 },
        { 10 * BLK + 5, 0, 10, 0, 10 * BLK + 5 },
        { 49 * BLK + 3, 8 * BLK, 49, 2, 50 * BLK + 100 },
        { 49 * BLK + 3, CM_ALL, 49, 2, 50 * BLK + 100 },
        { 50 * BLK + 100, CM_ALL, 50, 0, 50 * BLK + 100 },
        { 70 * BLK, 3, 70, 0, 70 * BLK },
        { 70 * BLK, CM_ALL, 70, 0, 70 * BLK },
    };
    for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("%u", i);
        struct pool p;
        struct origin o = make_origin(50 * BLK + 100);
        struct told w = { 0 };
        const cm_warm_options opts = options(&w);
        cm_warm_report r;
        cm_file *f = open_both(&p, MIB, o.size);
        CHECK_EQ(warm(f, v[i].offset, v[i].len, &opts, &o, &r), 0);
        CHECK_EQ(STAT(p.c, fill_blocks), (int64_t)v[i].n);
        CHECK_EQ(in_pool(f, v[i].first, v[i].n), v[i].n);
        CHECK_EQ(r.end, v[i].end);
        CHECK(w.calls == 0 || (w.ordered && w.done == w.total));
        pool_end(&p);
    }
}

/* The size of the file is not known: the call finds the end, and the file knows it from then on. */
static void test_unknown_size(void)
{
    for (unsigned tail = 0; tail < 2; tail++) {
        CASE("tail %u", tail);
        struct pool p;
        struct told w = { .cancel_at = 1 };
        const cm_warm_options opts = options(&w);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, CM_SIZE_UNKNOWN);
        const uint64_t n = 3 * (p.c->media.geo.slots / 32); /* whole pieces */
        struct origin o = make_origin(n * BLK + tail * 9);
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
        CHECK(w.total == CM_SIZE_UNKNOWN && w.done == r.end && r.end > 0);
        w = (struct told){ 0 };
        CHECK_EQ(warm(f, r.end, CM_ALL, &opts, &o, &r), 0);
        CHECK_EQ(r.end, o.size);
        CHECK_EQ(info_of(f).size, o.size);
        CHECK_EQ(in_pool(f, 0, n + tail), n + tail);
        const uint32_t calls = o.calls;
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
        CHECK_EQ(o.calls, calls); /* there is nothing to look for */
        CHECK_EQ(r.cached, o.size);
        pool_end(&p);
    }
}

/* A tail that has grown is short: it is read again and replaces the old one. */
static void test_grown_tail(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK + 100);
    cm_warm_report r;
    cm_bracket b;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    b = begin_write(f, CM_APPEND, 50);
    o.size += 50;
    cm_validator v = val(o.size, 2);
    v.taken_at = later();
    CHECK_EQ(cm_write_end(f, &b, &v), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.read, 150);
    CHECK_EQ(r.stored, 150);
    CHECK_EQ(r.cached, o.size);
    pool_end(&p);
}

/* Pieces are as long as the origin's reads may be, and no longer than a part of the pool. */
static void test_pieces(void)
{
    static const struct {
        uint64_t pool, most, piece;
    } v[] = { { 64 * MIB, 0, MIB }, { 256 * MIB, 8 * MIB, 4 * MIB }, { 4 * MIB, 0, 0 } };
    for (unsigned i = 0; i < 3; i++) {
        CASE("%u", i);
        struct pool p;
        struct origin o = make_origin(4 * MIB);
        cm_warm_report r;
        pool_make(&p, v[i].pool, 0);
        p.o.read_size_max = v[i].most;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        const int e = warm(f, 0, CM_ALL, NULL, &o, &r);
        CHECK_EQ(e, v[i].piece ? 0 : CM_NOT_STORED_ROOM);
        const uint64_t part = p.c->media.geo.slots / 32 * BLK;
        CHECK_EQ(o.most, v[i].piece ? v[i].piece : part);
        CHECK(p.c->flights->top == 0);
        pool_end(&p);
    }
}

/* Without memory it reads block by block. */
static void test_no_memory(void)
{
    struct pool p;
    struct origin o = make_origin(40 * BLK + 5);
    cm_warm_report r;
    pool_make(&p, 4 * MIB, 0);
    make_poor(&p);
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    CHECK_EQ(put(f, 7, o.tag), 0);
    no_memory = 1;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    no_memory = 0;
    CHECK_EQ(o.most, BLK);
    CHECK_EQ(r.cached, o.size);
    CHECK_EQ(r.stored, o.size - BLK);
    CHECK_EQ(in_pool(f, 0, 41), 41);
    pool_end(&p);
}

/* ---- How new blocks come in ------------------------------------------------------------------ */

#define HELD 16u

/* A pool with a probation buffer of so many blocks (0: none), which has no slot that was never
 * used. */
static cm_file *set_up_full_with(struct pool *p, struct origin *o, uint64_t held)
{
    *o = make_origin(1000 * BLK);
    pool_make(p, MIB, 0);
    pool_seed(p, 1); /* a fixed seed, because fingerprints collide */
    p->o.probation_bytes = held ? held * BLK : CM_PROBATION_NONE;
    (void)pool_up(p);
    cm_file *f = attach(p, 1, o->size, 1, 0);
    (void)put_all(f, 100, p->c->media.geo.slots + 2 * held, o->tag);
    CHECK_EQ(p->c->policy.ring.frontier, p->c->media.geo.slots);
    return f;
}

static cm_file *set_up_full(struct pool *p, struct origin *o)
{
    return set_up_full_with(p, o, HELD);
}

/* New blocks do not wait in the buffer. */
static void test_past_buffer(void)
{
    struct pool p;
    struct origin o;
    cm_warm_report r;
    cm_file *f = set_up_full(&p, &o);
    const int64_t held = STAT(p.c, buffered);
    CHECK_EQ(warm(f, 0, 40 * BLK, NULL, &o, &r), 0);
    CHECK_EQ(r.stored, 40 * BLK);
    CHECK_EQ(STAT(p.c, buffered), held);
    CHECK_EQ(in_pool(f, 0, 40), 40);
    pool_end(&p);
}

static int checkpoint(struct pool *p)
{
    return cm_checkpoint(p->c) == CM_ENOTSUP ? 0 : -1; /* the pool is in memory */
}

#define WARMED (HELD / 4)
#define HOT (HELD / 4 + 1) /* not warmed, and due at the next checkpoint if the buffer is small */

/* Blocks wait in the buffer. */
static void wait_there(struct pool *p, cm_file *f, const struct origin *o)
{
    CHECK_EQ(put_all(f, 0, HELD / 2, o->tag), HELD / 2);
    CHECK_EQ(checkpoint(p), 0);
    for (unsigned i = 0; i < 5; i++) {
        struct cm_plat_thread *t = cm_plat_thread();
        memset(t->recent, 0, sizeof(t->recent)); /* each read counts */
        CHECK_EQ(look(f, HOT, o->tag), RIGHT);
    }
    CHECK_EQ(in_pool(f, 0, HELD / 2), 0);
}

/* What waits in the buffer is not read again, and is stored in the pool at the end of the call: a
 * kill does not lose it. A large buffer, which keeps the others, and a group that has all its slots
 * are no reasons. */
static void test_out_of_buffer(void)
{
    static const uint64_t held[3] = { HELD, 3 * HELD, HELD };
    for (unsigned i = 0; i < 3; i++) {
        CASE("case %u", i);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        uint64_t used, most;
        cm_file *f = set_up_full_with(&p, &o, held[i]);
        CHECK_EQ(cm_probation_is_large(&p.c->probation, p.c->media.geo.slots), i == 1);
        if (i == 2) {
            detach(f);
            CHECK_EQ(cm_group_set_quota(p.c, 7, BLK), 0);
            f = attach(&p, 1, o.size, 1, 0);
            CHECK_EQ(cm_file_set_group(f, 7), 0);
            CHECK_EQ(cm_group_usage(p.c, 7, &used, &most), 0);
            CHECK_EQ(cm_group_set_quota(p.c, 7, used), 0);
        }
        CALL(wait_there(&p, f, &o));
        CHECK_EQ(warm(f, 0, WARMED * BLK, NULL, &o, &r), 0);
        CHECK_EQ(r.cached, WARMED * BLK);
        CHECK_EQ(o.calls, 0);
        CHECK_EQ(in_pool(f, 0, HELD / 2), WARMED);
        CHECK_EQ(in_pool(f, 0, WARMED), WARMED);
        CHECK_EQ(count_of(f, 0), 0);
        CHECK_EQ(hits(f, WARMED, HELD / 2 - WARMED, o.tag), HELD / 2 - WARMED); /* they wait */
        const int64_t bytes = STAT(p.c, pool_bytes);
        CHECK_EQ(warm(f, 0, WARMED * BLK, NULL, &o, &r), 0);
        CHECK_EQ(STAT(p.c, pool_bytes), bytes);
        pool_crash(&p);
        CHECK_EQ(pool_up(&p), 0);
        f = attach(&p, 1, o.size, 1, 0);
        CHECK_EQ(hits(f, 0, WARMED, o.tag), WARMED);
        pool_end(&p);
    }
}

/* What waits takes places of other blocks, which may be some of the same range: these are read once
 * more. All of it is there when the call says so, wherever the hand of the pool stands. */
static void test_out_of_buffer_whole(void)
{
    unsigned whole = 0;
    for (unsigned at = 0; at < 40; at++) {
        CASE("hand %u", at);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        cm_file *f = set_up_full(&p, &o);
        const uint64_t most = p.c->media.geo.slots / 2;
        CHECK_EQ(warm(f, 0, most * BLK, NULL, &o, &r), 0);
        (void)warm(f, 500 * BLK, (most - 20 + at) * BLK, NULL, &o, &r);
        CHECK_EQ(put_all(f, most, HELD / 2, o.tag), HELD / 2);
        if (warm(f, 0, (most + HELD / 2) * BLK, NULL, &o, &r) == 0) {
            CHECK_EQ(in_pool(f, 0, most + HELD / 2), most + HELD / 2);
            CHECK_EQ(r.cached, (most + HELD / 2) * BLK);
            CHECK_EQ(r.end, r.cached);
            whole++;
        }
        pool_end(&p);
    }
    CHECK(whole > 20);
}

/* A writer forgets blocks, or they are dropped. */
struct loss {
    struct told told;
    cm_file *f;
    uint64_t first, n;
    unsigned times;
    bool drops;
    struct origin *breaks; /* and the origin fails there from then on */
};

static void *lose(void *arg)
{
    const struct loss *l = arg;
    if (l->drops) {
        CHECK_EQ(cm_drop(l->f, l->first * BLK, l->n * BLK), l->n * BLK);
        return NULL;
    }
    cm_bracket b = begin_write(l->f, l->first * BLK, l->n * BLK);
    CHECK(cm_write_end(l->f, &b, NULL) >= 0);
    return NULL;
}

static void lose_beside(void *arg)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, lose, arg); /* a callback may not call into its cache */
    (void)pthread_join(t, NULL);
}

static int tell_and_lose(void *ctx, uint64_t done, uint64_t total)
{
    struct loss *l = ctx;
    if (done == total) {
        lose_beside(l);
        l->times++;
        if (l->breaks)
            l->breaks->bad_block = l->first;
    }
    return tell(&l->told, done, total);
}

/* What a writer takes away meanwhile is no lack of room: each block was there at its moment. */
static void test_writer_between_rounds(void)
{
    struct pool p;
    struct origin o;
    cm_warm_report r;
    cm_file *f = set_up_full(&p, &o);
    struct loss l = { .f = f, .first = 20, .n = 1 };
    cm_warm_options opts = options(&l.told);
    opts.progress = tell_and_lose;
    opts.progress_ctx = &l;
    CALL(wait_there(&p, f, &o));
    CHECK_EQ(warm(f, 0, 40 * BLK, &opts, &o, &r), 0);
    CHECK_EQ(r.end, 40 * BLK);
    CHECK_EQ(r.cached, 40 * BLK);
    CHECK(l.times > 1 && l.told.ordered);
    CHECK(r.stored >= 41 * BLK - HELD / 2 * BLK); /* what was lost came back */
    CHECK(in_pool(f, 0, 40) >= 39);
    pool_end(&p);
}

/* A later round that is cut short takes nothing back of what was done. */
static void test_round_cut_short(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("verify %u", i);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        cm_file *f = set_up_full(&p, &o);
        struct loss l = { .f = f, .first = 20, .n = 1, .breaks = &o };
        cm_warm_options opts = options(&l.told);
        opts.progress = tell_and_lose;
        opts.progress_ctx = &l;
        opts.flags = i ? CM_WARM_VERIFY : 0;
        CALL(wait_there(&p, f, &o));
        CHECK_EQ(warm(f, 0, 40 * BLK, &opts, &o, &r), -1234);
        CHECK_EQ(r.end, 40 * BLK);
        CHECK_EQ(r.cached, 40 * BLK);
        CHECK(l.told.ordered);
        pool_end(&p);
    }
}

/* Ten blocks are dropped when the first pass is done: the second one may store so many, and no
 * more. Then one more is dropped in its middle. */
static int tell_and_drop(void *ctx, uint64_t done, uint64_t total)
{
    struct loss *l = ctx;
    const bool whole = done == 40 * BLK;
    if (l->times == 1 || (l->times == 0 && whole)) {
        l->first = l->times ? 16 : 0;
        l->n = l->times ? 1 : 10;
        lose_beside(l);
    }
    l->times += l->times > 0 || whole;
    return tell(&l->told, done, total);
}

/* A later pass that ends for lack of room takes nothing back of what was done, also if only the
 * comparison goes on, and does not know where the file ends. */
static void test_later_pass_stops(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("verify %u, size known %u", i % 2, i / 2);
        struct pool p;
        struct origin o = make_origin(100 * BLK);
        cm_warm_report r;
        cm_file *f = open_both(&p, MIB, i / 2 ? o.size : CM_SIZE_UNKNOWN);
        struct loss l = { .f = f, .drops = true };
        cm_warm_options opts = options(&l.told);
        opts.flags = i % 2 ? CM_WARM_VERIFY : 0;
        opts.progress = tell_and_drop;
        opts.progress_ctx = &l;
        CHECK_EQ(warm(f, 0, 40 * BLK, &opts, &o, &r), 0);
        CHECK(l.times > 2);
        CHECK_EQ(r.stored, 50 * BLK);
        CHECK_EQ(r.end, 40 * BLK);
        pool_end(&p);
    }
}

/* A pool that has room evicts nothing: what is gone there was written, or dropped. In a full pool,
 * too, what was written comes back. Also in a later pass. */
static void test_writer_behind(void)
{
    for (unsigned i = 0; i < 5; i++) {
        const bool full = i % 2, later = i / 2 == 1, drops = i == 4;
        CASE("full %d, later %d, drops %d", full, later, drops);
        struct pool p;
        struct origin o = make_origin(300 * BLK), others = make_origin(1000 * BLK);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        if (full)
            (void)warm(attach(&p, 2, others.size, 1, 0), 0, CM_ALL, NULL, &others, &r);
        struct loss l = { .f = f, .first = 0, .n = 200, .drops = drops };
        struct told w = { .act = lose_beside, .act_at = 9, .act_again = later ? 14 : 0, .f = &l };
        const cm_warm_options opts = options(&w);
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
        CHECK_EQ(r.end, o.size);
        CHECK_EQ(r.cached, o.size);
        CHECK(in_pool(f, 0, 300) >= 298); /* they came back */
        CHECK(r.stored <= (later ? 800 : 600) * BLK);
        CHECK(w.ordered);
        pool_end(&p);
    }
}

/* Without a buffer, too, what the call stores takes places of blocks that it has passed. These are
 * read once more. */
static void test_whole(void)
{
    for (uint32_t seed = 1; seed <= 40; seed++) {
        CASE("seed %u", seed);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        cm_file *f = set_up_full_with(&p, &o, 0);
        const uint64_t half = p.c->media.geo.slots / 2;
        uint32_t x = seed;
        for (unsigned i = 0; i < 3000; i++) { /* some of the range is read, and much else */
            x = x * 1664525u + 1013904223u;
            const uint64_t b = x >> 30 ? 500 + (x >> 8) % (4 * half) : (x >> 8) % half;
            if (look(f, b, o.tag) != RIGHT)
                (void)put(f, b, o.tag);
        }
        CHECK_EQ(warm(f, 0, half * BLK, NULL, &o, &r), 0);
        CHECK_EQ(in_pool(f, 0, half), half);
        CHECK_EQ(r.cached, half * BLK);
        pool_end(&p);
    }
}

/* ---- No room --------------------------------------------------------------------------------- */

/* It has read and stored a quarter more than the range at most. */
static void check_cost(struct pool *p, const cm_warm_report *r, uint64_t range, int64_t before)
{
    CHECK(r->read <= range + range / 4 + BLK);
    CHECK_EQ(STAT(p->c, fill_bytes) - before, (int64_t)r->stored);
}

/* A group may have so many slots: they hold the beginning of a file that is longer, and nothing was
 * read behind it. */
static void test_no_room_quota(void)
{
    static const unsigned percent[] = { 100, 103, 125, 200, 230 };
    for (unsigned i = 0; i < 2 * sizeof(percent) / sizeof(*percent); i++) {
        CASE("%u %%, the size %s", percent[i / 2], i % 2 ? "is not known" : "is known");
        struct pool p;
        const uint64_t quota = 400;
        struct origin o = make_origin(quota * percent[i / 2] / 100 * BLK);
        cm_warm_report r;
        pool_make(&p, 16 * MIB, 0);
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(cm_group_set_quota(p.c, 7, quota * BLK), 0);
        cm_file *f = attach(&p, 1, i % 2 ? CM_SIZE_UNKNOWN : o.size, 1, 0);
        CHECK_EQ(cm_file_set_group(f, 7), 0);
        CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), i == 0 ? 0 : CM_NOT_STORED_ROOM);
        CHECK_EQ(r.end, quota * BLK);
        CHECK_EQ(r.cached, r.end);
        CHECK_EQ(r.read, r.end);
        CHECK_EQ(in_pool(f, 0, quota), quota);
        CHECK_EQ(STAT(p.c, evicted), 0);
        CALL(check_cost(&p, &r, quota * BLK, 0));
        pool_end(&p);
    }
}

/* After a restart nobody knows what the group has, and nothing of it can be stored. The call
 * completes that first. It may be canceled meanwhile, and reads nothing then. */
static void test_quota_after_restart(void)
{
    for (uint32_t cancel = 0; cancel < 2; cancel++) {
        CASE("cancel %u", cancel);
        struct pool p;
        struct origin o = make_origin(200 * BLK);
        struct told w = { .cancel_at = cancel };
        const cm_warm_options opts = options(&w);
        cm_warm_report r;
        uint64_t used, most;
        pool_make(&p, 256 * MIB, 20000); /* the table of files alone takes several steps */
        REQUIRE(pool_up(&p) == 0);
        for (uint64_t id = 1; id <= 2; id++) {
            CHECK_EQ(cm_group_set_quota(p.c, 7, 400 * BLK), 0);
            cm_file *f = attach(&p, id, o.size, 1, 0);
            CHECK_EQ(cm_file_set_group(f, 7), 0);
            o.calls = 0;
            const bool canceled = cancel && id == 2;
            CHECK_EQ(warm(f, 0, CM_ALL, canceled ? &opts : NULL, &o, &r),
                     canceled ? CM_ECANCELED : 0);
            CHECK_EQ(r.cached, canceled ? 0 : o.size);
            CHECK_EQ(r.end, r.cached);
            CHECK_EQ(o.calls == 0, canceled);
            CHECK_EQ(in_pool(f, 0, 200), r.cached / BLK);
            detach(f);
            if (id == 1)
                pool_again(&p);
        }
        CHECK_EQ(STAT(p.c, refused_quota), 0);
        CHECK_EQ(cm_group_usage(p.c, 7, &used, &most), 0);
        CHECK_EQ(used, (cancel ? 1 : 2) * o.size);
        pool_end(&p);
    }
}

struct others {
    struct pool p;
    struct origin o;
    cm_file *f, *other;
    uint64_t slots, n; /* n: blocks of the other file, which has nearly half of the slots */
};

static void set_up_others(struct others *t, bool kept)
{
    t->o = make_origin(20000 * BLK);
    pool_make(&t->p, 16 * MIB, 0);
    pool_seed(&t->p, 1); /* a fixed seed, because fingerprints collide */
    t->p.o.probation_bytes = CM_PROBATION_NONE;
    REQUIRE(pool_up(&t->p) == 0);
    t->slots = t->p.c->media.geo.slots;
    t->n = t->slots * 45 / 100;
    t->f = attach(&t->p, 1, t->o.size, 1, 0);
    t->other = attach(&t->p, 2, t->n * BLK, 1, 0);
    if (kept)
        CHECK_EQ(cm_file_set_keep(t->other, 1), 0);
    cm_warm_report r;
    CHECK_EQ(warm(t->other, 0, CM_ALL, NULL, &t->o, &r), 0);
    CHECK_EQ(in_pool(t->other, 0, t->n), t->n);
}

/* Warms a range of so many blocks. It says so if they have no room, and stops soon: most of the
 * beginning is there then. */
static void warm_beside(struct others *t, uint64_t n)
{
    cm_warm_report r;
    const int64_t before = STAT(t->p.c, fill_bytes);
    const uint64_t room = t->slots - t->n, fits = n < room ? n : room;
    const int e = warm(t->f, 0, n * BLK, NULL, &t->o, &r);
    const uint64_t found = in_pool(t->f, 0, n), begin = in_pool(t->f, 0, fits / 2);
    if (n < room || n > room + t->slots / 32)
        CHECK_EQ(e, n < room ? 0 : CM_NOT_STORED_ROOM);
    if (e == 0)
        CHECK(found + n / 128 + 1 >= n);
    CHECK(found >= fits * 9 / 10);
    CHECK(begin + t->slots / 6 >= fits / 2);
    CHECK(r.end >= fits * BLK && r.end <= n * BLK);
    CHECK(r.end <= (room + t->slots / 5) * BLK);
    CALL(check_cost(&t->p, &r, n * BLK, before));
}

static const unsigned percents[] = { 50, 90, 99, 101, 103, 110, 130, 200, 500 };

/* Another file is read all the time. It keeps its blocks. */
static void test_no_room_hot(void)
{
    for (unsigned i = 0; i < sizeof(percents) / sizeof(*percents); i++) {
        CASE("%u %% of the room", percents[i]);
        struct others t;
        CALL(set_up_others(&t, false));
        t.o.during = use_all;
        t.o.during_ctx = t.other;
        CALL(warm_beside(&t, (t.slots - t.n) * percents[i] / 100));
        CHECK(in_pool(t.other, 0, t.n) >= t.n - t.n / 20);
        pool_end(&t.p);
    }
}

static void test_no_room_kept(void)
{
    for (unsigned i = 0; i < sizeof(percents) / sizeof(*percents); i++) {
        CASE("%u %% of the room", percents[i]);
        struct others t;
        CALL(set_up_others(&t, true));
        CALL(warm_beside(&t, (t.slots - t.n) * percents[i] / 100));
        CHECK_EQ(in_pool(t.other, 0, t.n), t.n);
        pool_end(&t.p);
    }
}

/* Nothing can be stored when the call ends: the next checkpoint stores it, also from a buffer that
 * keeps the others. */
static void test_out_of_buffer_later(void)
{
    for (unsigned large = 0; large < 2; large++) {
        CASE("large %u", large);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        cm_file *f = set_up_full_with(&p, &o, large ? 3 * HELD : HELD);
        CALL(wait_there(&p, f, &o));
        cm_bracket b = begin_write(f, (HELD - 1) * BLK, BLK); /* in the same group of blocks */
        CHECK_EQ(warm(f, 0, WARMED * BLK, NULL, &o, &r), 0);
        CHECK_EQ(r.cached, WARMED * BLK);
        CHECK_EQ(in_pool(f, 0, HELD), 0);
        CHECK(cm_write_end(f, &b, NULL) >= 0);
        CHECK_EQ(checkpoint(&p), 0);
        CHECK_EQ(in_pool(f, 0, WARMED), WARMED);
        CHECK_EQ(in_pool(f, HOT, 1), !large);
        CHECK_EQ(in_pool(f, 0, HELD / 2), WARMED + !large);
        pool_end(&p);
    }
}

/* Only while their file is open in this version: they would take places of blocks that live. */
static void test_out_of_buffer_dead(void)
{
    for (unsigned again = 0; again < 2; again++) {
        CASE("opened again %u", again);
        struct pool p;
        struct origin o;
        cm_warm_report r;
        cm_file *f = set_up_full(&p, &o);
        CHECK_EQ(put_all(f, 0, WARMED, o.tag), WARMED);
        cm_bracket b = begin_write(f, (HELD - 1) * BLK, BLK);
        CHECK_EQ(warm(f, 0, WARMED * BLK, NULL, &o, &r), 0);
        CHECK(cm_write_end(f, &b, NULL) >= 0);
        CHECK_EQ(in_pool(f, 0, WARMED), 0);
        const int64_t promoted = STAT(p.c, promoted);
        detach(f);
        if (!again) {
            const cm_file_id id = id_of(1);
            CHECK_EQ(cm_forget(p.c, &id), 0);
        }
        CHECK_EQ(checkpoint(&p), 0);
        CHECK_EQ(STAT(p.c, promoted), promoted);
        f = attach(&p, 1, o.size, again ? 1 : 2, 0);
        CHECK_EQ(checkpoint(&p), 0);
        CHECK_EQ(STAT(p.c, promoted), promoted + (again ? (int64_t)WARMED : 0));
        CHECK_EQ(in_pool(f, 0, WARMED), again ? WARMED : 0);
        pool_end(&p);
    }
}

/* Without a checkpoint they go there when they are pushed out. */
static void test_pushed_out_of_buffer(void)
{
    struct pool p;
    struct origin o;
    cm_warm_report r;
    cm_file *f = set_up_full(&p, &o);
    CHECK_EQ(put_all(f, 0, HELD / 2, o.tag), HELD / 2);
    cm_bracket b = begin_write(f, (HELD - 1) * BLK, BLK);
    CHECK_EQ(warm(f, 0, WARMED * BLK, NULL, &o, &r), 0);
    CHECK(cm_write_end(f, &b, NULL) >= 0);
    CHECK_EQ(in_pool(f, 0, HELD / 2), 0);
    CHECK_EQ(put_all(f, 900, 2 * HELD, o.tag), 2 * HELD); /* they push out the older ones */
    CHECK_EQ(in_pool(f, 0, WARMED), WARMED);
    CHECK_EQ(in_pool(f, WARMED, HELD / 2 - WARMED), 0); /* nobody wanted these */
    pool_end(&p);
}

/* No advice keeps them out. With KEEP they count as used often. */
static void test_advice(void)
{
    struct pool p;
    struct origin o = make_origin(30 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    CHECK_EQ(warm(f, 0, 10 * BLK, NULL, &o, &r), 0);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
    CHECK_EQ(warm(f, 0, 20 * BLK, NULL, &o, &r), 0);
    CHECK_EQ(in_pool(f, 0, 20), 20);
    CHECK_EQ(count_of(f, 5), 0);
    CHECK_EQ(count_of(f, 15), CM_REF_MAX);
    pool_end(&p);
}

/* A fill of a warming that a program does itself. */
static void test_fill_warm(void)
{
    static uint8_t data[2 * BLK];
    struct pool p;
    struct origin o = make_origin(30 * BLK);
    cm_miss miss = CM_MISS_INIT;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    CHECK_EQ(cm_read(f, 0, data, 2 * BLK, &miss), 0);
    CHECK_EQ(cm_fill(f, &miss, data, 2 * BLK, 0), CM_NOT_STORED_POLICY);
    CHECK_EQ(in_pool(f, 0, 2), 0);
    CHECK_EQ(cm_fill(f, &miss, data, 2 * BLK, CM_FILL_WARM << 1), CM_EINVAL);
    CHECK_EQ(cm_fill(f, &miss, data, 2 * BLK, CM_FILL_WARM), 0);
    CHECK_EQ(in_pool(f, 0, 2), 2);
    CHECK_EQ(STAT(p.c, prefetch_blocks), 2);
    CHECK_EQ(cm_fill(f, &miss, data, 2 * BLK, CM_FILL_WARM), 0); /* it is there already */
    CHECK_EQ(STAT(p.c, prefetch_blocks), 2);
    pool_end(&p);
}

/* The rule holds back blocks that come for the first time. Not those of a warming. And the ghost
 * forgets the block, which is there now. */
static void test_past_rule(void)
{
    struct pool p;
    struct origin o = make_origin(2000 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const struct cm_rule rule = { .probation = 100, .earn = 1, .remembered = true };
    (void)put_all(f, 100, p.c->media.geo.slots, o.tag);
    cm_policy_set_rule(&p.c->policy, &rule);
    CHECK_EQ(put(f, 9, o.tag), CM_NOT_STORED_POLICY);
    const struct cm_key k = key_of(f, 9);
    CHECK(cm_ghost_has(&p.c->policy.ghost, k.place.hash));
    CHECK_EQ(warm(f, 0, 20 * BLK, NULL, &o, &r), 0);
    CHECK(r.stored >= 20 * BLK); /* the hand may come by where the first ones are */
    CHECK_EQ(in_pool(f, 0, 20), 20);
    CHECK(!cm_ghost_has(&p.c->policy.ghost, k.place.hash));
    REQUIRE(in_pool(f, 9, 1) == 1);
    CHECK_EQ(p.c->policy.ring.ref[slot_of(f, 9)] & CM_REF_AHEAD, CM_REF_KNOWN);
    pool_end(&p);
}

/* ---- Rates ----------------------------------------------------------------------------------- */

#define MS UINT64_C(1000000)

static void test_rate(void)
{
    struct pool p;
    struct origin o = make_origin(2 * MIB);
    struct told w = { 0 };
    cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 16 * MIB, o.size);
    opts.bytes_per_second = 4 * MIB;
    uint64_t start = cm_now();
    CHECK_EQ(warm(f, 0, MIB, &opts, &o, &r), 0);
    /* A quarter of a second; but the amount of an eighth comes at once. */
    CHECK(cm_now() - start >= 100 * MS);
    CHECK(o.most <= MIB / 2);
    CHECK_EQ(r.stored, MIB);
    opts.bytes_per_second = UINT64_MAX;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
    CHECK_EQ(r.read, MIB);
    start = cm_now();
    opts.bytes_per_second = 1; /* what is cached costs nothing */
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
    CHECK(cm_now() - start < 60000 * MS);
    pool_end(&p);
}

/* A sleep of an hour ends when progress says so. */
static void test_cancel_sleep(void)
{
    struct pool p;
    struct origin o = make_origin(MIB);
    struct told w = { .cancel_at = 3 };
    cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    opts.bytes_per_second = 1;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK_EQ(w.calls, 3);
    CHECK_EQ(r.end, BLK);
    CHECK_EQ(r.stored, BLK);
    CHECK_EQ(p.c->live, 0);
    pool_end(&p);
}

/* It keeps to the limit of fills instead of reading what could not be stored. */
static void test_fill_rate(void)
{
    struct pool p;
    struct origin o = make_origin(3 * MIB);
    cm_warm_report r;
    pool_make(&p, 16 * MIB, 0);
    p.o.fill_rate_limit = 2 * MIB;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    const uint64_t start = cm_now();
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK(cm_now() - start >= 300 * MS); /* a second's amount may come at once */
    CHECK_EQ(r.stored, o.size);
    CHECK_EQ(STAT(p.c, refused_policy), 0);
    pool_end(&p);
}

static const struct harness_test warm_tests[] = {
    TEST(cold),
    TEST(skips),
    TEST(ranges),
    TEST(unknown_size),
    TEST(grown_tail),
    TEST(pieces),
    TEST(no_memory),
    TEST(past_buffer),
    TEST(out_of_buffer),
    TEST(out_of_buffer_whole),
    TEST(writer_between_rounds),
    TEST(round_cut_short),
    TEST(later_pass_stops),
    TEST(writer_behind),
    TEST(whole),
    TEST(no_room_quota),
    TEST(quota_after_restart),
    TEST(no_room_hot),
    TEST(no_room_kept),
    TEST(out_of_buffer_later),
    TEST(out_of_buffer_dead),
    TEST(pushed_out_of_buffer),
    TEST(advice),
    TEST(fill_warm),
    TEST(past_rule),
    TEST(rate),
    TEST(cancel_sleep),
    TEST(fill_rate),
    TEST_END,
};

static const struct harness_test *const tables[] = { warm_tests, warm_stops_tests,
                                                     warm_threads_tests, warm_verify_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
