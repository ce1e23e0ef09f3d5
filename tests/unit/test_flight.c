/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_flight.c - reading through: one origin read for many readers, aligned origin reads for every
 * offset and length, the end of the file, read-ahead, and trouble that never becomes an error of
 * the reader.
 */
#include "fixture.h"

#include <pthread.h>
#include <unistd.h>

#include "../os.h"

#include "api/cache.h"
#include "api/read_through.h"

/* ---- An origin ------------------------------------------------------------------------------- */

struct origin {
    uint64_t tag, size;
    uint32_t calls;
    uint32_t misaligned;       /* calls an O_DIRECT descriptor would have refused */
    uint64_t first, end;       /* range of the last call */
    uint64_t most;             /* longest call */
    uint64_t bad_block;        /* reads that touch it fail; 0: none */
    int64_t fail;              /* code to fail all calls with */
    uint32_t rest;             /* closed gate for all calls but the first */
    uint32_t gate, waiting;    /* closed gate: callers wait in the call */
    void (*during)(void *ctx); /* runs in the middle of a call */
    void *during_ctx;
};

static void origin_bytes(const struct origin *o, uint64_t offset, uint8_t *p, uint64_t n)
{
    uint8_t whole[CM_BLOCK_SIZE];
    for (uint64_t i = 0; i < n; i += BLK) {
        content(o->tag, (offset + i) / BLK, whole);
        memcpy(p + i, whole, (size_t)(n - i < BLK ? n - i : BLK));
    }
}

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct origin *o = ctx;
    const uint32_t *gate = at_add_relaxed(&o->calls, 1u) == 0 ? &o->gate : &o->rest;
    if (offset % BLK || len % BLK || (uintptr_t)buf % BLK || len == 0)
        at_add_relaxed(&o->misaligned, 1u);
    at_store_relaxed(&o->first, offset);
    at_store_relaxed(&o->end, offset + len);
    if (len > at_load_relaxed(&o->most))
        at_store_relaxed(&o->most, len);
    at_add_relaxed(&o->waiting, 1u);
    while (at_load_acquire(&o->gate) || at_load_acquire(gate))
        sleep_ms(1);
    at_sub_acq_rel(&o->waiting, 1u);
    if (o->during)
        o->during(o->during_ctx);
    if (o->fail)
        return o->fail;
    if (o->bad_block && offset <= o->bad_block * BLK && o->bad_block * BLK < offset + len)
        return -1234;
    uint64_t n = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    memset(buf, 0xee, len);
    origin_bytes(o, offset, buf, n);
    return (int64_t)n;
}

static struct origin make_origin(uint64_t size)
{
    return (struct origin){ .tag = 5, .size = size };
}

static cm_file *open_both(struct pool *p, uint64_t bytes, uint64_t size)
{
    (void)pool_new(p, bytes);
    return attach(p, 1, size, 1, CM_SOLE_WRITER);
}

/* Are these the bytes [offset, offset+n) of the origin? */
static bool is_range(const struct origin *o, uint64_t offset, const uint8_t *p, uint64_t n)
{
    uint8_t whole[CM_BLOCK_SIZE];
    for (uint64_t at = offset; at < offset + n;) {
        uint64_t k = BLK - at % BLK < offset + n - at ? BLK - at % BLK : offset + n - at;
        content(o->tag, at / BLK, whole);
        if (memcmp(whole + at % BLK, p + (at - offset), (size_t)k))
            return false;
        at += k;
    }
    return true;
}

/* Reads through and checks every byte and the count. */
static void check_read(cm_file *f, struct origin *o, uint64_t offset, uint8_t *buf, size_t len)
{
    uint64_t want = offset >= o->size ? 0 : o->size - offset < len ? o->size - offset : len;
    memset(buf, 0xdd, len);
    int64_t n = cm_read_through(f, offset, buf, len, origin_read, o);
    if (n != (int64_t)want || !is_range(o, offset, buf, want)) {
        printf("# read of [%llu, +%zu) of %llu bytes: %lld\n", (unsigned long long)offset, len,
               (unsigned long long)o->size, (long long)n);
        FAIL("right bytes");
    }
}

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
                    check_read(f, &o, 4096, room, 4096); /* one block is there already */
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
        for (unsigned known = 0; known < 2; known++)
            check_all_ranges(sizes[s], known);
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

/* A request that takes several looks, because staging is shorter, counts each block once. */
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

/* A tail is cached as far as it goes, and served. */
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

/* The file grew behind an adopted size: the size that was adopted holds until it is told. */
static void test_growing(void)
{
    struct pool p;
    struct origin o = make_origin(BLK + 100);
    uint8_t buf[4 * CM_BLOCK_SIZE];
    cm_validator v;
    cm_file *f = open_both(&p, MIB, o.size);
    check_read(f, &o, 0, buf, sizeof(buf));
    cm_bracket w;
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 5000, &w), 0);
    o.size += 5000;
    check_read(f, &o, 0, buf, sizeof(buf)); /* inside the bracket already */
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

/* A cached tail is not joined with the rest of a block that was rewritten since. */
static void test_tail_rewritten(void)
{
    struct pool p;
    struct origin o = make_origin(BLK + 100);
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    const uint64_t offsets[] = { BLK, BLK + 50, 0 };
    for (unsigned i = 0; i < 3; i++) {
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
    /* The last two: more than was asked for, so what is in the buffer is anybody's guess. */
    const int64_t codes[] = { -1, -5, -4711, INT64_MIN, INT64_MAX, 65 * MIB };
    cm_file *f = open_both(&p, MIB, o.size);
    for (unsigned i = 0; i < 6; i++) {
        o.fail = codes[i];
        int64_t want = codes[i] < 0 ? codes[i] : CM_EINVAL;
        CHECK(cm_read_through(f, 3 * BLK + 5, buf, BLK, origin_read, &o) == want);
        CHECK_EQ(look(f, 3, 5), MISS);
    }
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    o.fail = 0;
    check_read(f, &o, 3 * BLK + 5, buf, BLK);
    o.fail = -5; /* what is cached needs no origin */
    CHECK_EQ(cm_read_through(f, 3 * BLK + 5, buf, 100, origin_read, &o), 100);
    for (unsigned i = 0; i < 4; i++) /* a cached beginning does not make up for the rest */
        if ((o.fail = codes[i]) < -1)
            CHECK_EQ(cm_read_through(f, 4 * BLK, buf, 2 * BLK, origin_read, &o), codes[i]);
    pool_end(&p);
}

/* Read-ahead is the cache's idea: a bad block that nobody asked for must not fail the reader. */
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

/* No memory for anything: the read succeeds all the same. */
static uint32_t no_memory;
static void *poor_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return at_load_relaxed(&no_memory) ? NULL : map_bytes(bytes);
}
static void poor_free(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    unmap_bytes(at, bytes);
}

static void test_no_memory(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK + 50);
    static uint8_t buf[128 * 1024];
    cm_bracket w, beside;
    pool_make(&p, MIB, 0);
    p.o.alloc = poor_alloc;
    p.o.free = poor_free;
    no_memory = 0;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    no_memory = 1;
    check_read(f, &o, 3 * BLK + 7, buf + 1, 100000);
    check_read(f, &o, 3 * BLK + 7, buf + 1, 100000);
    check_read(f, &o, 99 * BLK, buf + 1, 100000);
    CHECK_EQ(o.misaligned, 0);
    CHECK(STAT(p.c, fill_blocks) > 20);
    CHECK_EQ(cm_write_begin(f, 0, 1, &w), 0); /* for one there always is */
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
    p.o.alloc = poor_alloc;
    p.o.free = poor_free;
    no_memory = 1;
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &c), CM_ENOMEM);
    CHECK(c == NULL);
    no_memory = 0;
    CHECK_EQ(super_at(&p, 0)->state, CM_SUPER_CLEAN); /* nothing was taken */
    REQUIRE(pool_up(&p) == 0);
    pool_end(&p);
}

/* ---- Read-ahead ------------------------------------------------------------------------------ */

static void test_sequential(void)
{
    struct pool p;
    struct origin o = make_origin(4 * MIB);
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_both(&p, 8 * MIB, o.size);
    for (uint64_t b = 0; b < 512; b++)
        check_read(f, &o, b * BLK, buf, BLK);
    CHECK(o.calls < 30); /* 512 without read-ahead */
    CHECK(o.most <= CM_STAGING_BYTES);
    CHECK(STAT(p.c, prefetch_blocks) > 400);
    CHECK_EQ(STAT(p.c, origin_reads), o.calls);
    CHECK_EQ(o.misaligned, 0);
    pool_end(&p);
}

static void test_random_reads_one_block(void)
{
    struct pool p;
    struct origin o = make_origin(400 * MIB);
    uint8_t buf[CM_BLOCK_SIZE];
    uint64_t rng = 5;
    cm_file *f = open_both(&p, 8 * MIB, o.size);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t block = 2 + next_random(&rng) % 100000;
        check_read(f, &o, block * BLK + 10, buf, 100);
        CHECK(o.end - o.first == BLK);
    }
    CHECK_EQ(STAT(p.c, prefetch_blocks), 0);
    pool_end(&p);
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
    CHECK_EQ(look(f, 6, 5), SHORT);
    pool_end(&p);
}

/* Read-ahead is never so long that it evicts what it just brought. */
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

/* How far at most: a share of the pool, or of the buffer where first-time blocks wait. */
static void test_ahead_bound(void)
{
    static const uint64_t held[] = { 0, 1, 6, 10, 16, 64 };
    uint8_t buf[CM_BLOCK_SIZE];
    for (unsigned i = 0; i < 6; i++) {
        struct pool p;
        struct origin o = make_origin(4 * MIB);
        pool_make(&p, MIB, 0);
        p.o.probation_bytes = held[i] * BLK;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        uint64_t share = p.c->media.geo.slots / 32;
        CHECK(share > 3 && share < 8); /* else it bounds nothing here, or the buffer does not */
        if (held[i] > 0 && held[i] / 2 < share)
            share = held[i] > 1 ? held[i] / 2 : 1; /* one: what was asked for */
        CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
        for (uint64_t b = 0; b < 4 * share; b++)
            check_read(f, &o, b * BLK, buf, BLK);
        CHECK_EQ(o.most, share * BLK);
        CHECK_EQ(o.calls, 4); /* and all of it was there when its turn came */
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
    CHECK_EQ(o.end - o.first, CM_STAGING_BYTES); /* at once, anywhere */
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    int64_t stored = STAT(p.c, fill_blocks);
    for (uint64_t b = 0; b < 10; b++) {
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

/* Kept blocks outlive blocks that come again and again; ordinary ones do not. */
static void test_keep_survives(void)
{
    struct pool p;
    cm_file *f = open_both(&p, 8 * MIB, CM_BLOCK_MAX / 2);
    uint64_t slots = p.c->media.geo.slots;
    unsigned kept = 0, others = 0;
    for (uint64_t b = 0; b < 400; b++) {
        CHECK_EQ(cm_file_advise(f, b % 4 ? CM_ADVISE_NORMAL : CM_ADVISE_KEEP), 0);
        CHECK_EQ(put(f, b, 5), 0);
    }
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    (void)put_all(f, 10000, slots + slots / 2, 5); /* a scan, and again: now the ghost knows them */
    (void)put_all(f, 10000, slots + slots / 2, 5);
    for (uint64_t b = 0; b < 400; b++)
        *(b % 4 ? &others : &kept) += look(f, b, 5) == RIGHT;
    CHECK(kept >= 90);
    CHECK_EQ(others, 0);
    pool_end(&p);
}

/* ---- Many readers ---------------------------------------------------------------------------- */

#define READERS 8

struct reader {
    cm_file *f;
    struct origin *o;
    uint64_t offset;
    size_t len;
    int64_t result;
    bool right;
};

static void *read_once(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[4 * CM_BLOCK_SIZE];
    r->result = cm_read_through(r->f, r->offset, buf, r->len, origin_read, r->o);
    r->right = r->result >= 0 && is_range(r->o, r->offset, buf, (uint64_t)r->result);
    return NULL;
}

static void start_readers(pthread_t *t, struct reader *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, read_once, &r[i]), 0);
}

static void join_all(pthread_t *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(t[i], NULL);
}

/* Waits, at most a minute, until *counter is `n` or more. */
static void until(const uint32_t *counter, uint32_t n)
{
    for (int i = 0; i < 60000 && at_load_acquire(counter) < n; i++)
        sleep_ms(1);
    CHECK(at_load_acquire(counter) >= n);
}

static void until_joined(cm_cache *c, int64_t n)
{
    for (int i = 0; i < 60000 && STAT(c, flights_joined) < n; i++)
        sleep_ms(1);
    CHECK_EQ(STAT(c, flights_joined), n);
}

static void test_single_flight(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK + i, 100, 0, false };
    start_readers(t, r, READERS);
    until_joined(p.c, READERS - 1);
    CHECK_EQ(cm_close(p.c), CM_EBUSY); /* reads in flight */
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    CHECK_EQ(o.calls, 1);
    for (unsigned i = 0; i < READERS; i++)
        CHECK(r[i].result == 100 && r[i].right);
    CHECK_EQ(STAT(p.c, origin_reads), 1);
    pool_end(&p);
}

#ifndef _WIN32
/* ---- A leader that does not come back ---------------------------------------------------------
 */

static uint32_t exits; /* threads that are still to end in their call */
static void exit_once(void *ctx)
{
    uint32_t one = 1;
    (void)ctx;
    if (at_cas_acq_rel(&exits, &one, 0u))
        pthread_exit(NULL);
}

/* The leader's thread ends in the origin's call, cancelled or by itself: those that wait for it
 * read the origin themselves, and nothing of it is left in the cache. */
static void leader_ends(bool cancelled)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    (void)alarm(5); /* they would wait for ever */
    o.gate = 1;
    exits = cancelled ? 0 : 1;
    o.during = exit_once;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK + i, 100, 0, false };
    start_readers(t, r, 1);
    until(&o.waiting, 1);
    start_readers(t + 1, r + 1, READERS - 1);
    until_joined(p.c, READERS - 1);
    if (cancelled) {
        CHECK_EQ(pthread_cancel(t[0]), 0);
        (void)pthread_join(t[0], NULL);
    }
    at_store_release(&o.gate, 0u);
    join_all(t + (cancelled ? 1 : 0), READERS - (cancelled ? 1 : 0));
    CHECK_EQ(r[0].right, false);
    for (unsigned i = 1; i < READERS; i++)
        CHECK(r[i].result == 100 && r[i].right);
    CHECK(p.c->flights->spares > 0); /* the leader's buffer, too */
    CHECK_EQ(p.c->flights->top, 0);
    CHECK_EQ(p.c->live, 0);
    check_read(f, &o, 50 * BLK, (uint8_t[100]){ 0 }, 100);
    pool_end(&p);
    (void)alarm(0);
}

/* The address sanitizer takes the stack that a thread unwound when it was cancelled for one still
 * in use; the thread sanitizer does not see the locks that it takes while it unwinds. */
#if defined(__SANITIZE_ADDRESS__)
#define NO_ASAN SKIP("the address sanitizer does not follow a thread that ends in a call")
#else
#define NO_ASAN
#endif
#if defined(CM_TSAN)
#define NO_TSAN SKIP("the thread sanitizer does not follow a thread that ends in a call")
#else
#define NO_TSAN
#endif

static void test_leader_cancelled(void)
{
    NO_ASAN;
    NO_TSAN;
    leader_ends(true);
}
static void test_leader_exits(void)
{
    NO_ASAN;
    NO_TSAN;
    leader_ends(false);
}

/* A thread with a cancellation pending is not ended in the library: not by a file operation of the
 * pool that a fill needs, with locks held, and not in a callback but the origin's. */
static void log_sleeps(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level, (void)text;
    sleep_ms(1); /* a cancellation point */
}
static void *work_cancelled(void *arg)
{
    struct pool *p = arg;
    cm_log(p->c, CM_LOG_INFO, "%s", "cancelled?");
    void *memory = cm_cache_alloc(p->c, 100);
    cm_cache_free(p->c, memory, 100);
    CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0); /* stores, syncs, under a lock */
    ((uint32_t *)p->o.log_ctx)[0] = 1;
    pthread_testcancel();
    ((uint32_t *)p->o.log_ctx)[0] = 2;
    return NULL;
}
static uint32_t asked; /* pthread_cancel() has been called */
static void *wait_and_work(void *arg)
{
    int old;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    while (at_load_acquire(&asked) == 0)
        sleep_ms(1);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    return work_cancelled(arg);
}
static void test_cancelled_elsewhere(void)
{
    NO_ASAN;
    char path[300];
    struct pool p = { .o = CM_OPTIONS_INIT };
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    uint32_t reached = 0;
    pthread_t t;
    REQUIRE(os_make_file(path, sizeof(path), "flight"));
    (void)unlink(path);
    o.size = MIB;
    p.o.log = log_sleeps;
    p.o.log_ctx = &reached;
    CHECK_EQ(cm_create(path, &o), 0);
    REQUIRE(cm_open(path, &p.o, &p.c) == 0);
    CHECK_EQ(pthread_create(&t, NULL, wait_and_work, &p), 0);
    CHECK_EQ(pthread_cancel(t), 0);
    at_store_release(&asked, 1u);
    (void)pthread_join(t, NULL);
    CHECK_EQ(reached, 1);
    (void)alarm(5);
    CHECK_EQ(cm_close(p.c), 0);
    (void)alarm(0);
    (void)unlink(path);
}
#endif

/* Different blocks are read side by side, not one after the other. */
static void test_parallel_flights(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, (10 + i * 100) * BLK, BLK, 0, false };
    start_readers(t, r, READERS);
    until(&o.waiting, READERS);
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    CHECK_EQ(o.calls, READERS);
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    for (unsigned i = 0; i < READERS; i++)
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    pool_end(&p);
}

/* A miss that runs into what another is reading ends before it, and waits for the rest. */
static void test_up_to_a_flight(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK), before = make_origin(100 * BLK);
    pthread_t t[2];
    struct reader r[2];
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    o.gate = before.gate = 1;
    r[0] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    start_readers(t, r, 1);
    until(&o.waiting, 1);
    r[1] = (struct reader){ f, &before, 48 * BLK, BLK, 0, false };
    start_readers(t + 1, r + 1, 1);
    until(&before.waiting, 1);
    CHECK_EQ(before.first, 48 * BLK);
    CHECK_EQ(before.end, 50 * BLK);
    at_store_release(&before.gate, 0u);
    at_store_release(&o.gate, 0u);
    join_all(t, 2);
    CHECK(r[0].right && r[1].right);
    pool_end(&p);
}

/* What one reads ends where its miss ends, however far away the next flight is: who wants a block
 * in between waits for neither. */
static void test_between_flights(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    pthread_t t[3];
    struct reader r[3];
    static const uint64_t block[3] = { 100, 50, 60 };
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < 3; i++) {
        r[i] = (struct reader){ f, &o, block[i] * BLK, BLK, 0, false };
        start_readers(t + i, r + i, 1);
        until(&o.waiting, i + 1);
    }
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    at_store_release(&o.gate, 0u);
    join_all(t, 3);
    for (unsigned i = 0; i < 3; i++)
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    pool_end(&p);
}

/* More staging buffers at a time than are kept: the others go back. */
static int64_t outstanding; /* atomic */
static void *count_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    (void)at_add_relaxed(&outstanding, (int64_t)bytes);
    return map_bytes(bytes);
}
static void count_free(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    (void)at_add_relaxed(&outstanding, -(int64_t)bytes);
    unmap_bytes(at, bytes);
}

static void test_staging_freed(void)
{
    struct pool p;
    struct origin o = make_origin(4000 * BLK);
    pthread_t t[CM_STAGING_SPARE + 3];
    struct reader r[CM_STAGING_SPARE + 3];
    const unsigned n = CM_STAGING_SPARE + 3;
    pool_make(&p, MIB, 0);
    p.o.alloc = count_alloc;
    p.o.free = count_free;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    o.gate = 1;
    for (unsigned i = 0; i < n; i++)
        r[i] = (struct reader){ f, &o, (10 + i * 100) * BLK + 1, 100, 0, false };
    start_readers(t, r, n);
    until(&o.waiting, n);
    at_store_release(&o.gate, 0u);
    join_all(t, n);
    for (unsigned i = 0; i < n; i++)
        CHECK(r[i].result == 100 && r[i].right);
    pool_end(&p);
    CHECK_EQ(outstanding, 0);
}

/* Fails the first call only, after everybody waits for it. */
static int64_t first_call_fails(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct origin *o = ctx;
    bool first = at_load_relaxed(&o->calls) == 0;
    int64_t n = origin_read(o, offset, buf, len);
    return first ? -77 : n;
}

static void *read_failing(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[CM_BLOCK_SIZE];
    r->result = cm_read_through(r->f, r->offset, buf, r->len, first_call_fails, r->o);
    r->right = r->result >= 0 && is_range(r->o, r->offset, buf, (uint64_t)r->result);
    return NULL;
}

/* The leader's error is the leader's: whoever waited goes to the origin and succeeds. */
static void test_leader_fails(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    unsigned failed = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = o.rest = 1;
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
        CHECK_EQ(pthread_create(&t[i], NULL, read_failing, &r[i]), 0);
    }
    until_joined(p.c, READERS - 1);
    at_store_release(&o.gate, 0u);
    until(&o.waiting, READERS - 1); /* side by side: nobody waits a second time */
    at_store_release(&o.rest, 0u);
    join_all(t, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        failed += r[i].result == -77;
        CHECK(r[i].result == -77 || (r[i].result == (int64_t)BLK && r[i].right));
    }
    CHECK_EQ(failed, 1);
    CHECK_EQ(STAT(p.c, miss_blocks), READERS); /* once each, however often they looked */
    CHECK_EQ(look(f, 50, 5), RIGHT);
    pool_end(&p);
}

/* A write while the leader is at the origin: nobody joins what is stale by now, and what it read
 * is not stored. */
static void test_write_between(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK), newer = make_origin(100 * BLK);
    pthread_t t[2];
    struct reader r[2];
    cm_file *f = open_both(&p, MIB, o.size);
    newer.tag = 6;
    o.gate = 1;
    r[0] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    r[1] = (struct reader){ f, &newer, 50 * BLK, BLK, 0, false };
    start_readers(t, r, 1);
    until(&o.waiting, 1);
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    start_readers(t + 1, r + 1, 1); /* begun after the write: must see it */
    (void)pthread_join(t[1], NULL);
    CHECK(r[1].result == (int64_t)BLK && r[1].right);
    CHECK_EQ(newer.calls, 1);
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    at_store_release(&o.gate, 0u);
    (void)pthread_join(t[0], NULL);
    CHECK(r[0].result == (int64_t)BLK && r[0].right);
    CHECK(look(f, 50, 6) == RIGHT || look(f, 50, 6) == MISS);
    pool_end(&p);
}

/* Somebody else changed the file, and another thread finds out while the origin is being read. */
struct revision {
    cm_file *f;
    struct origin *o;
    uint64_t version;
    bool once;
};

static void *revise(void *arg)
{
    struct revision *r = arg;
    cm_validator v = val(r->o->size, ++r->version);
    r->o->tag++;
    CHECK_EQ(cm_file_revalidate(r->f, &v), 0);
    return NULL;
}

static void revise_beside(void *arg)
{
    struct revision *r = arg;
    pthread_t t;
    (void)pthread_create(&t, NULL, revise, r); /* no call into the cache from its callback */
    (void)pthread_join(t, NULL);
    if (r->once)
        r->o->during = NULL;
}

/* The cached part is of the old version, the rest would be of the new one. */
static void test_one_version(void)
{
    struct pool p;
    static uint8_t buf[8 * CM_BLOCK_SIZE] __attribute__((aligned(4096)));
    for (unsigned endless = 0; endless < 2; endless++) {
        struct origin o = make_origin(100 * BLK);
        (void)pool_new(&p, MIB);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        struct revision r = { f, &o, 1, endless == 0 };
        CHECK_EQ(put_all(f, 0, 3, o.tag), 3);
        o.during = revise_beside;
        o.during_ctx = &r;
        CHECK_EQ(cm_read_through(f, 0, buf, sizeof(buf), origin_read, &o), (int64_t)sizeof(buf));
        CHECK(is_range(&o, 0, buf, sizeof(buf)));
        CHECK(o.calls <= 8); /* bounded, however often the version changes */
        o.during = NULL;
        detach(f);
        pool_end(&p);
    }
}

/* A write while others wait already: they get either version, the cache holds the new or none. */
static void test_write_beside_waiters(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    start_readers(t, r, READERS);
    until_joined(p.c, READERS - 1);
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    for (unsigned i = 0; i < READERS; i++)
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    CHECK_EQ(look(f, 50, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 50, 5), MISS); /* read before or during the write: never stored */
    pool_end(&p);
}

/* Readers in a hurry: everything at once, small pool, all bytes right. */
static uint32_t stop;

static void *hasty_reader(void *arg)
{
    struct reader *r = arg;
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    static _Thread_local uint8_t buf[8 * CM_BLOCK_SIZE];
    while (!at_load_relaxed(&stop)) {
        uint64_t x = next_random(&rng), offset = x % (r->o->size + 100);
        size_t len = x >> 32 & 0x7fff;
        int64_t n = cm_read_through(r->f, offset, buf, len, origin_read, r->o);
        uint64_t left = offset < r->o->size ? r->o->size - offset : 0;
        CHECK_EQ(n, left < len ? left : len);
        CHECK(is_range(r->o, offset, buf, (uint64_t)n));
    }
    return NULL;
}

static void test_hasty_readers(void)
{
    struct pool p;
    struct origin o = make_origin(300 * BLK + 99);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    stop = 0;
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ f, &o, 0, 0, 0, false };
        CHECK_EQ(pthread_create(&t[i], NULL, hasty_reader, &r[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        sleep_ms(20);
        CHECK_EQ(cm_invalidate(f, i * 5 * BLK, 3 * BLK), 0);
        cm_validator v = val(o.size, 100 + i);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
    }
    at_store_relaxed(&stop, 1u);
    join_all(t, READERS);
    CHECK_EQ(o.misaligned, 0);
    CHECK_EQ(slots_astray(p.c), 0);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

static const struct harness_test tests[] = {
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
    TEST(no_memory_at_open),
    TEST(sequential),
    TEST(random_reads_one_block),
    TEST(ahead_ends),
    TEST(ahead_in_a_small_pool),
    TEST(ahead_bound),
    TEST(advice),
    TEST(keep_survives),
    TEST(single_flight),
#ifndef _WIN32
    TEST(leader_cancelled),
    TEST(leader_exits),
    TEST(cancelled_elsewhere),
#endif
    TEST(parallel_flights),
    TEST(up_to_a_flight),
    TEST(between_flights),
    TEST(staging_freed),
    TEST(leader_fails),
    TEST(write_between),
    TEST(one_version),
    TEST(write_beside_waiters),
    TEST(hasty_readers),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
