/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_flight.c - reading through: aligned origin reads for every offset and length, the end of the
 * file, read-ahead, and errors that never reach the reader.
 */
#include "flight_common.h"

#include <inttypes.h>

#include "../os.h"

#include "api/cache.h"
#include "api/flight.h"

/* ---- Offsets, lengths, ends ------------------------------------------------------------------ */

static const uint64_t edges[] = { 0, 1, 511, 4095, 4096, 4097, 8191, 8192, 8193, 20000 };
#define EDGES (sizeof(edges) / sizeof(edges[0]))

/* Cold, warm and half warm; into aligned and odd buffers; with the size known and unknown. */
static void check_all_ranges(uint64_t size, bool known)
{
    struct pool p;
    struct origin o = make_origin(size);
    static uint8_t room[64 * 1024] __attribute__((aligned(4096)));
    (void)pool_new(&p, 2 * MIB);
    uint64_t id = 1;
    for (unsigned a = 0; a < EDGES; a++)
        for (unsigned l = 0; l < EDGES; l++)
            for (unsigned odd = 0; odd < 2; odd++) {
                cm_validator v = val(size, 1);
                cm_file *f = attach_v(&p, id++, known ? &v : NULL, 0);
                if (odd)
                    check_read(f, &o, 4096, room, 4096); /* one block is already cached */
                check_read(f, &o, edges[a], room + odd * 13, (size_t)edges[l]);
                check_read(f, &o, edges[a], room + odd * 13, (size_t)edges[l]);
                detach(f);
            }
    CHECK_EQ(o.misaligned, 0);
    CHECK((o.calls > 0) == (size > 0 || !known));
    pool_end(&p);
}

static void test_all_ranges(void)
{
    const uint64_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 40000 };
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (unsigned known = 0; known < 2; known++) {
            CASE("known %u", known);
            CALL(check_all_ranges(sizes[s], known));
        }
}

/* Long reads, longer than any staging buffer. */
static void test_long(void)
{
    struct pool p;
    struct origin o = make_origin(3 * MIB + 777);
    cm_file *f = open_both(&p, 16 * MIB, o.size);
    uint8_t *buf = map_bytes(4 * MIB);
    check_read(f, &o, 0, buf, 4 * MIB);
    uint32_t calls = o.calls;
    check_read(f, &o, 5, buf + 1, 4 * MIB - 6);
    CHECK_EQ(o.calls, calls); /* all of it was stored */
    CHECK_EQ(o.misaligned, 0);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    check_read(f, &o, 4096, buf + 3, 4 * MIB - 5000); /* through staging */
    CHECK_EQ(o.misaligned, 0);
    unmap_bytes(buf, 4 * MIB);
    pool_end(&p);
}

/* A request that takes several lookups, because the staging buffer is shorter, counts each block
 * once. */
static void test_counted_once(void)
{
    struct pool p;
    struct origin o = make_origin(3 * MIB);
    cm_file *f = open_both(&p, 16 * MIB, o.size);
    uint8_t *buf = map_bytes(2 * MIB);
    check_read(f, &o, 0, buf + 1, MIB);
    CHECK_EQ(STAT(p.c, miss_blocks), MIB / BLK);
    CHECK_EQ(STAT(p.c, miss_absent), MIB / BLK);
    CHECK_EQ(STAT(p.c, hit_blocks), 0);
    check_read(f, &o, 2 * MIB + 512, buf, 512 * 1024);
    CHECK_EQ(STAT(p.c, miss_blocks), MIB / BLK + 512 * 1024 / BLK + 1);
    check_read(f, &o, 0, buf + 1, MIB);
    CHECK_EQ(STAT(p.c, miss_blocks), MIB / BLK + 512 * 1024 / BLK + 1);
    CHECK_EQ(STAT(p.c, hit_blocks), MIB / BLK);
    CHECK_EQ(o.misaligned, 0);
    unmap_bytes(buf, 2 * MIB);
    pool_end(&p);
}

static struct cm_flight *lead(cm_file *f, uint64_t block, uint64_t blocks)
{
    struct cm_flight *fl = NULL;
    cm_miss m = miss_of(f, block * BLK, (size_t)(blocks * BLK));
    CHECK_EQ(cm_flight_start(cm_object_of(f), &m, NULL, &fl), CM_FLIGHT_LEAD);
    CHECK(fl != NULL);
    return fl;
}

/* Short of memory, a piece of two flights is cut anywhere behind its begin, also exactly where the
 * second one begins: who wants the blocks behind the cut reads them. */
static void test_cut(void)
{
    for (uint64_t cut = 5; cut <= 13; cut++) {
        CASE("cut %u", (unsigned)cut);
        struct pool p;
        cm_file *f = open_both(&p, MIB, 100 * BLK);
        struct cm_flight *first = lead(f, 4, 4), *second = lead(f, 8, 4);
        REQUIRE(first && second);
        first->next = second;
        cm_flight_cut(p.c, first, cut);
        for (uint64_t block = cut; block < 13; block++) {
            struct cm_flight *other = lead(f, block, 1);
            cm_flight_land(p.c, other);
        }
        cm_flight_land(p.c, first);
        pool_end(&p);
    }
}

/* A tail is cached and served up to its length. */
static void test_tail_is_cached(void)
{
    struct pool p;
    struct origin o = make_origin(2 * BLK + 123);
    uint8_t buf[4 * CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, MIB, o.size);
    check_read(f, &o, 0, buf, sizeof(buf));
    uint32_t calls = o.calls;
    check_read(f, &o, 0, buf, sizeof(buf));
    check_read(f, &o, 2 * BLK, buf, 123);
    check_read(f, &o, 2 * BLK + 123, buf, 10);
    CHECK_EQ(o.calls, calls);
    CHECK_EQ(STAT(p.c, fill_bytes), 2 * BLK + 123);
    pool_end(&p);
}

/* The file grew beyond an adopted size. That size counts until the cache is told of the change. */
static void test_growing(void)
{
    struct pool p;
    struct origin o = make_origin(BLK + 100);
    uint8_t buf[4 * CM_BLOCK_SIZE];
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f = open_both(&p, MIB, o.size);
    check_read(f, &o, 0, buf, sizeof(buf));
    cm_bracket w;
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 5000, &w), 0);
    o.size += 5000;
    check_read(f, &o, 0, buf, sizeof(buf)); /* also inside the bracket */
    v = val(o.size, 2);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    check_read(f, &o, 0, buf, sizeof(buf));
    check_read(f, &o, 0, buf, sizeof(buf));
    pool_end(&p);
}

static void rewrite(void *ctx)
{
    struct origin *o = ctx;
    o->tag = 6;
    o->size = 3 * BLK;
}

/* A cached tail is not combined with the rest of a block that was rewritten since. */
static void test_tail_rewritten(void)
{
    struct pool p;
    struct origin o = make_origin(BLK + 100);
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    const uint64_t offsets[] = { BLK, BLK + 50, 0 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        cm_bracket w;
        o = make_origin(BLK + 100);
        cm_file *f = open_both(&p, MIB, o.size);
        check_read(f, &o, 0, buf, sizeof(buf));
        CHECK_EQ(cm_write_begin(f, CM_APPEND, 5000, &w), 0); /* keeps the tail */
        o.during = rewrite;
        o.during_ctx = &o;
        int64_t n = cm_read_through(f, offsets[i], buf, 4 * BLK - offsets[i], origin_read, &o);
        CHECK_EQ(n, 3 * BLK - offsets[i]);
        uint64_t from = offsets[i] < BLK ? BLK : offsets[i]; /* the block before may be older */
        CHECK(is_range(&o, from, buf + (from - offsets[i]), 3 * BLK - from));
        CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        pool_end(&p);
    }
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void test_errors_unchanged(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint8_t buf[2 * CM_BLOCK_SIZE];
    /* The last two are more than was asked for, so the buffer may hold anything. */
    const int64_t codes[] = { -1, -5, -4711, INT64_MIN, INT64_MAX, 65 * MIB };
    cm_file *f = open_both(&p, MIB, o.size);
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        o.fail = codes[i];
        int64_t want = codes[i] < 0 ? codes[i] : CM_EINVAL;
        CHECK(cm_read_through(f, 3 * BLK + 5, buf, BLK, origin_read, &o) == want);
        CHECK_EQ(look(f, 3, 5), MISS);
    }
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    o.fail = 0;
    check_read(f, &o, 3 * BLK + 5, buf, BLK);
    o.fail = -5; /* a cached block needs no origin */
    CHECK_EQ(cm_read_through(f, 3 * BLK + 5, buf, 100, origin_read, &o), 100);
    for (unsigned i = 0; i < 4; i++) /* a cached beginning does not hide the error */
        if ((o.fail = codes[i]) < -1)
            CHECK_EQ(cm_read_through(f, 4 * BLK, buf, 2 * BLK, origin_read, &o), codes[i]);
    pool_end(&p);
}

/* The reader did not ask for the read-ahead, so a bad block in it must not fail the read. */
static void test_bad_block_ahead(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, MIB, o.size);
    o.bad_block = 10;
    for (uint64_t b = 0; b < 10; b++)
        check_read(f, &o, b * BLK, buf, BLK);
    CHECK_EQ(cm_read_through(f, 10 * BLK, buf, BLK, origin_read, &o), -1234);
    for (uint64_t b = 11; b < 20; b++)
        check_read(f, &o, b * BLK, buf, BLK);
    pool_end(&p);
}

/* Refused fills of every kind are no errors of a read. */
static void test_not_stored(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    check_read(f, &o, 0, buf, BLK);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    check_read(f, &o, 0, buf, BLK);
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    cm_bracket w = begin_write(f, 0, 10 * BLK);
    check_read(f, &o, 0, buf, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    CHECK_EQ(o.calls, 3);
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    check_read(f, &o, 0, buf, BLK);
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    pool_end(&p);
}

/* All allocations fail: the read still succeeds. */
static void test_no_memory(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK + 50);
    static uint8_t buf[128 * 1024];
    cm_bracket w, beside;
    pool_make(&p, MIB, 0);
    make_poor(&p);
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    no_memory = 1;
    check_read(f, &o, 3 * BLK + 7, buf + 1, 100000);
    check_read(f, &o, 3 * BLK + 7, buf + 1, 100000);
    check_read(f, &o, 99 * BLK, buf + 1, 100000);
    CHECK_EQ(o.misaligned, 0);
    CHECK(STAT(p.c, fill_blocks) > 20);
    CHECK_EQ(cm_write_begin(f, 0, 1, &w), 0); /* there is always memory for one */
    CHECK_EQ(cm_write_begin(f, 0, 1, &beside), CM_ENOMEM);
    CHECK_EQ(info_of(f).brackets, 1);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    no_memory = 0;
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK(hits(f, 3, 20, 5) == 20);
    pool_end(&p);
}

static void test_no_memory_at_open(void)
{
    struct pool p;
    cm_cache *c = NULL;
    pool_make(&p, MIB, 0);
    make_poor(&p);
    no_memory = 1;
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &c), CM_ENOMEM);
    CHECK(c == NULL);
    no_memory = 0;
    CHECK_EQ(super_at(&p, 0)->state, CM_SUPER_CLEAN); /* the pool was not taken */
    REQUIRE(pool_up(&p) == 0);
    pool_end(&p);
}

/* ---- Read-ahead ------------------------------------------------------------------------------ */

static void test_sequential(void)
{
    for (unsigned kind = 0; kind < 2; kind++) { /* without a buffer the pool sets no other bound */
        CASE("kind %u", kind);
        struct pool p;
        struct origin o = make_origin(4 * MIB);
        uint8_t buf[CM_BLOCK_SIZE];
        pool_make(&p, kind ? 64 * MIB : 8 * MIB, 0);
        pool_seed(&p, 1);
        p.o.probation_bytes = kind ? CM_PROBATION_NONE : 0;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        for (uint64_t b = 0; b < 512; b++)
            check_read(f, &o, b * BLK, buf, BLK);
        CHECK(o.calls < 30); /* 512 without read-ahead */
        CHECK(kind ? o.most == CM_COPY_MAX : o.most <= CM_COPY_MAX);
        CHECK(STAT(p.c, prefetch_blocks) > 400);
        CHECK_EQ(STAT(p.c, origin_reads), o.calls);
        CHECK_EQ(o.misaligned, 0);
        pool_end(&p);
    }
}

static void test_random_reads_one_block(void)
{
    struct pool p;
    struct origin o = make_origin(400 * MIB);
    uint8_t buf[CM_BLOCK_SIZE];
    uint64_t rng = 5;
    cm_file *f = open_both(&p, 8 * MIB, o.size);
    for (unsigned i = 0; i < 300; i++) {
        CASE("i %u", i);
        uint64_t block = 2 + next_random(&rng) % 100000;
        check_read(f, &o, block * BLK + 10, buf, 100);
        CHECK(o.end - o.first == BLK);
    }
    CHECK_EQ(STAT(p.c, prefetch_blocks), 0);
    pool_end(&p);
}

/* Where nothing can be stored, the origin is not read ahead: each read would read it again. */
static void test_ahead_only_to_store(void)
{
    enum { FREEZE, CHANGE, TRUNCATION, LIMIT, LIMIT_SEQUENTIAL, QUOTA, CASES };
    for (unsigned kind = 0; kind < CASES; kind++) {
        CASE("kind %u", kind);
        struct pool p;
        struct origin o = make_origin(4 * MIB);
        uint8_t buf[CM_BLOCK_SIZE];
        cm_bracket w = { 0 };
        pool_make(&p, 8 * MIB, 0);
        p.o.fill_rate_limit = kind == LIMIT || kind == LIMIT_SEQUENTIAL ? 1 : 0;
        p.o.probation_bytes = CM_PROBATION_NONE;
        REQUIRE(pool_up(&p) == 0);
        if (kind == QUOTA)
            CHECK_EQ(cm_group_set_quota(p.c, 1, BLK), 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        if (kind == FREEZE)
            CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
        else if (kind == CHANGE)
            CHECK_EQ(cm_write_begin(f, 0, o.size, &w), 0);
        else if (kind == TRUNCATION)
            CHECK_EQ(cm_truncate_begin(f, o.size, &w), 0);
        else if (kind == LIMIT_SEQUENTIAL)
            CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
        else if (kind == QUOTA)
            CHECK_EQ(cm_file_set_group(f, 1), 0);
        const uint64_t from = w.id ? 0 : 64;
        for (uint64_t b = from; b < from + 512; b++)
            check_read(f, &o, b * BLK, buf, BLK);
        /* What the limits let through is read ahead; in the quota each second block is stored. */
        const uint64_t read = (uint64_t)STAT(p.c, origin_bytes) / BLK;
        CHECK(kind < LIMIT ? read == 512 : read <= 512 + 512 / 2 + 8);
        if (w.id)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
        CHECK_EQ(cm_set_fill_rate_limit(p.c, 0), 0);
        if (kind == QUOTA)
            CHECK_EQ(cm_group_set_quota(p.c, 1, 8 * MIB), 0);
        o.calls = 0; /* from here on it pays again */
        for (uint64_t b = 576; b < 1000; b++)
            check_read(f, &o, b * BLK, buf, BLK);
        CHECK(o.calls < 30);
        pool_end(&p);
    }
}

/* Read-ahead stops at the end of the file, and at what is cached. */
static void test_ahead_ends(void)
{
    struct pool p;
    struct origin o = make_origin(6 * BLK + 10);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    CHECK_EQ(put(f, 4, 5), 0);
    check_read(f, &o, 0, buf, BLK);
    CHECK_EQ(o.end, 4 * BLK);
    check_read(f, &o, 5 * BLK, buf, BLK);
    CHECK_EQ(o.end, 7 * BLK);
    CHECK_EQ(hits(f, 0, 6, 5), 6);
    CHECK_EQ(look(f, 6, 5), TOO_SHORT);
    pool_end(&p);
}

/* Read-ahead is never so long that it evicts its own blocks. */
static void test_ahead_in_a_small_pool(void)
{
    struct pool p;
    struct origin o = make_origin(MIB);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, cm_pool_size_min(), o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    for (uint64_t b = 0; b < 256; b++)
        check_read(f, &o, b * BLK, buf, BLK);
    CHECK(o.most <= p.c->media.geo.slots / 32 * BLK);
    CHECK(STAT(p.c, origin_bytes) < (int64_t)(MIB + MIB / 8)); /* hardly anything read twice */
    pool_end(&p);
}

/* Its longest length: a share of the pool, or of the buffer where first-time blocks wait. */
static void test_ahead_bound(void)
{
    static const uint64_t held[] = { 0, 1, 6, 10, 16, 64 };
    uint8_t buf[CM_BLOCK_SIZE];
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        struct pool p;
        struct origin o = make_origin(4 * MIB);
        pool_make(&p, MIB, 0);
        p.o.probation_bytes = held[i] > 0 ? held[i] * BLK : CM_PROBATION_NONE;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        uint64_t share = p.c->media.geo.slots / 32;
        CHECK(share > 3 && share < 8); /* so that this bound and that of the buffer both matter */
        if (held[i] > 0 && held[i] / 2 < share)
            share = held[i] > 1 ? held[i] / 2 : 1; /* one: only the requested block */
        CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
        for (uint64_t b = 0; b < 4 * share; b++)
            check_read(f, &o, b * BLK, buf, BLK);
        CHECK_EQ(o.most, share * BLK);
        CHECK_EQ(o.calls, 4); /* and every block was cached when it was read */
        pool_end(&p);
    }
}

static void test_advice(void)
{
    struct pool p;
    struct origin o = make_origin(400 * MIB);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, 16 * MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    check_read(f, &o, 5000 * BLK, buf, BLK);
    CHECK_EQ(o.end - o.first, CM_COPY_MAX); /* from the first read on, at any place */
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    int64_t stored = STAT(p.c, fill_blocks);
    for (uint64_t b = 0; b < 10; b++) {
        CASE("b %" PRIu64, b);
        check_read(f, &o, b * BLK, buf, BLK);
        CHECK_EQ(o.end - o.first, BLK);
    }
    CHECK_EQ(STAT(p.c, fill_blocks), stored);
    CHECK_EQ(STAT(p.c, refused_policy), 10);
    CHECK_EQ(look(f, 5000, 5), RIGHT); /* hits are served */
    CHECK_EQ(put(f, 20, 5), CM_NOT_STORED_POLICY);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
    CHECK_EQ(put(f, 20, 5), 0);
    CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot_of(f, 20)), CM_REF_MAX);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    CHECK_EQ(put(f, 21, 5), 0);
    CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot_of(f, 21)), 0);
    CHECK_EQ(cm_file_advise(f, 4), CM_EINVAL);
    CHECK_EQ(cm_file_advise(f, -1), CM_EINVAL);
    pool_end(&p);
}

/* Blocks with KEEP outlive blocks that come again and again. Ordinary blocks do not. */
static void test_keep_survives(void)
{
    struct pool p;
    cm_file *f = open_both(&p, 8 * MIB, CM_BLOCK_MAX / 2);
    uint64_t slots = p.c->media.geo.slots;
    unsigned kept = 0, others = 0;
    for (uint64_t b = 0; b < 400; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_file_advise(f, b % 4 ? CM_ADVISE_NORMAL : CM_ADVISE_KEEP), 0);
        CHECK_EQ(put(f, b, 5), 0);
    }
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    (void)put_all(f, 10000, slots + slots / 2, 5); /* a scan, twice: the ghost knows them */
    (void)put_all(f, 10000, slots + slots / 2, 5);
    for (uint64_t b = 0; b < 400; b++)
        *(b % 4 ? &others : &kept) += look(f, b, 5) == RIGHT;
    CHECK(kept >= 90);
    CHECK_EQ(others, 0);
    pool_end(&p);
}

/* ---- A file to which others append ----------------------------------------------------------- */

static uint64_t seen; /* the size at the last look */

/* As docs/embedding.md does it: before each read, with the first bytes of the file as its proof. */
static cm_file *look_again(struct pool *p, cm_file *f, const struct origin *o)
{
    const uint64_t before = seen;
    cm_bracket w;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, &o->tag, sizeof(o->tag));
    v.taken_at = cm_now();
    if (f)
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
    else
        f = attach_v(p, 1, &v, 0);
    const uint64_t known = info_of(f).size;
    seen = o->size;
    if (o->size < before || (known != CM_SIZE_UNKNOWN && o->size < known)) {
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    } else if (known < o->size) {
        CHECK_EQ(cm_write_begin(f, CM_APPEND, o->size - known, &w), 0);
        CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    }
    return f;
}

/* Reads all of it, and more. From which block on is the origin read? */
static uint64_t read_all(cm_file *f, struct origin *o)
{
    static uint8_t room[64 * 1024] __attribute__((aligned(4096)));
    const uint32_t calls = o->calls;
    check_read(f, o, 0, room, 40000);
    check_read(f, o, 40000, room, 20000);
    o->first = o->calls == calls ? o->size : o->first;
    const uint64_t first = o->first / BLK;
    check_read(f, o, 0, room, 60000);
    return first;
}

static void test_followed(void)
{
    struct pool p;
    struct origin o = make_origin(2 * BLK + 100);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = look_again(&p, NULL, &o);
    CHECK_EQ(read_all(f, &o), 0);
    for (unsigned i = 0; i < 6; i++) { /* what was there is read once */
        CASE("grown %u times", i);
        const uint64_t before = o.size / BLK;
        o.size += (i % 2) * BLK + 700;
        if (i == 2) { /* and while nobody looks */
            detach(f);
            pool_again(&p);
        } else if (i == 4) {
            pool_crash(&p);
            (void)pool_up(&p);
        }
        f = look_again(&p, i == 2 || i == 4 ? NULL : f, &o);
        CHECK_EQ(info_of(f).kept, i >= 2);
        CHECK_EQ(read_all(f, &o), before);
    }
    o.tag = 6; /* it begins anew, and is longer already */
    o.size += 9000;
    f = look_again(&p, f, &o);
    CHECK_EQ(read_all(f, &o), 0);
    o.size = 2 * BLK;
    f = look_again(&p, f, &o);
    CHECK_EQ(read_all(f, &o), 0);
    o.size += 5 * BLK; /* it is cut while its size is not known, and begins as before */
    f = look_again(&p, f, &o);
    uint8_t head[CM_BLOCK_SIZE];
    check_read(f, &o, 0, head, BLK);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    o.size = 700;
    f = look_again(&p, f, &o);
    check_read(f, &o, 0, head, BLK);
    detach(f);
    o.tag = 7; /* another file with the same id */
    f = look_again(&p, NULL, &o);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(read_all(f, &o), 0);
    pool_end(&p);
}

static const struct harness_test flight_tests[] = {
    TEST(all_ranges),
    TEST(long),
    TEST(counted_once),
    TEST(tail_is_cached),
    TEST(growing),
    TEST(tail_rewritten),
    TEST(errors_unchanged),
    TEST(bad_block_ahead),
    TEST(not_stored),
    TEST(no_memory),
    TEST(cut),
    TEST(no_memory_at_open),
    TEST(sequential),
    TEST(random_reads_one_block),
    TEST(ahead_only_to_store),
    TEST(ahead_ends),
    TEST(ahead_in_a_small_pool),
    TEST(ahead_bound),
    TEST(advice),
    TEST(keep_survives),
    TEST(followed),
    TEST_END,
};

static const struct harness_test *const tables[] = { flight_tests, flight_readers_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
