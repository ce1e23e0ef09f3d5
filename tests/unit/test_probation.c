/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_probation.c - the probation buffer: first-time blocks cost no write to the pool. They go to
 * the pool when they are wanted again or when it has room. All promises for blocks in the pool hold
 * for them, too.
 */
#include "probation_common.h"

#include "protocol/fill_buffered.h"

/* Blocks that were stored together have slots one behind the other, in their order, when they have
 * left the buffer: so a long read copies them together. */
static void test_order(void)
{
    struct pool p;
    pool_make(&p, 8 * MIB, 0);
    p.o.probation_bytes = 4 * CM_BATCH_MAX * BLK; /* entries are claimed in batches then */
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    static uint8_t data[2 * CM_BATCH_MAX * BLK];
    for (unsigned i = 0; i < 2 * CM_BATCH_MAX; i++)
        content(5, i, data + i * BLK);
    cm_miss m = miss_of(f, 0, sizeof(data));
    CHECK_EQ(cm_fill(f, &m, data, sizeof(data), 0), 0);
    (void)put_all(f, 100000, 8 * CM_BATCH_MAX, 5); /* others push them out */
    for (unsigned i = 0; i < 2 * CM_BATCH_MAX; i++) {
        CASE("block %u", i);
        REQUIRE(in_pool(f, i));
        if (i % CM_BATCH_MAX != 0) /* a batch for itself */
            CHECK_EQ(slot_of(f, i), slot_of(f, i - 1) + 1);
    }
    pool_end(&p);
}

/* A cell has a tag of its block's hash. An empty cell looks as one with the tag zero. */
static void test_tag_zero(void)
{
    struct pool p;
    (void)set_up(&p, MIB);
    const struct cm_key k = { .incarnation = 1, .block = 1, .place.hash = 0 };
    uint64_t version;
    CHECK_EQ(cm_probation_find(&p.c->probation, &k, &version), CM_NO_ENTRY);
    pool_end(&p);
}

/* Another block that has the same hash is another block, and so is that of another file. */
static void test_same_hash(void)
{
    struct pool p;
    uint64_t version;
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(put(f, 3, 5), 0);
    struct cm_key k = key_of(f, 3);
    CHECK(cm_probation_find(&p.c->probation, &k, &version) != CM_NO_ENTRY);
    k.block++;
    CHECK_EQ(cm_probation_find(&p.c->probation, &k, &version), CM_NO_ENTRY);
    k.block--;
    k.incarnation++;
    CHECK_EQ(cm_probation_find(&p.c->probation, &k, &version), CM_NO_ENTRY);
    pool_end(&p);
}

/* Reads by the short way: what is held, and what is not. */
static void test_short_way(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_miss m;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    const int64_t hits = STAT(p.c, hit_blocks), bytes = STAT(p.c, hit_bytes);
    const int64_t held = STAT(p.c, probation_hits), missed = STAT(p.c, miss_absent);
    uint8_t whole[CM_BLOCK_SIZE];
    CHECK_EQ(cm_read(f, 3 * BLK + 7, buf, 100, &m), 100);
    content(5, 3, whole);
    CHECK(memcmp(buf, whole + 7, 100) == 0);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(m.offset, 3 * BLK + 107);
    CHECK_EQ(STAT(p.c, hit_blocks), hits + 1);
    CHECK_EQ(STAT(p.c, hit_bytes), bytes + 100);
    CHECK_EQ(STAT(p.c, probation_hits), held + 1);
    CHECK_EQ(cm_read(f, 50 * BLK + 7, buf, 100, &m), 0);
    CHECK_EQ(m.flags, 0);
    CHECK_EQ(m.offset, 50 * BLK);
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(STAT(p.c, miss_absent), missed + 1);
    cm_bracket w = begin_write(f, 51 * BLK, BLK); /* of its stripe */
    CHECK_EQ(cm_read(f, 50 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.flags, CM_MISS_NOFILL);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(cm_read(f, 50 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.flags, CM_MISS_NOFILL);
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_read(f, 50 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.flags, 0);
    pool_end(&p);
}

/* An entry that was found, and has another block since then, or a shorter one: nothing of it is
 * read, and nothing is left in the buffer. */
static void test_short_way_changed(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE], whole[CM_BLOCK_SIZE];
    const struct cm_part part = { 0, sizeof(buf), buf };
    uint64_t version = 0;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put(f, 3, 5), 0);
    const struct cm_key k = key_of(f, 3);
    const uint64_t hash = k.place.hash;
    const uint64_t slot = cm_lookup_entry(p.c, k.incarnation, 3, hash, &version);
    REQUIRE(slot != CM_NO_SLOT);
    memset(buf, 0xee, sizeof(buf));
    CHECK(cm_lookup_copy_entry(p.c, k.incarnation, 3, hash, slot, version, &part));
    CHECK(is_content(5, 3, buf, sizeof(buf)));
    CHECK_EQ(cm_read(f, 3 * BLK + 7, buf, 1, NULL), 1);
    content(5, 3, whole);
    CHECK_EQ(buf[0], whole[7]);
    uint32_t got = 1;
    CHECK_EQ(cm_probation_copy(&p.c->probation, (uint32_t)(slot - CM_ENTRY_FIRST), version - 2,
                               &part, &got),
             CM_SLOT_CHANGED);
    CHECK_EQ(got, 0);
    CHECK(!cm_lookup_copy_entry(p.c, k.incarnation, 3, hash, slot, version - 2, &part));
    for (unsigned i = 0; i < sizeof(buf); i++)
        CHECK_EQ(buf[i], 0);
    CHECK_EQ(put_tail(f, 7, 100, 5), 0);
    const struct cm_key tail = key_of(f, 7);
    const uint64_t other = cm_lookup_entry(p.c, tail.incarnation, 7, tail.place.hash, &version);
    REQUIRE(other != CM_NO_SLOT);
    memset(buf, 0xee, sizeof(buf));
    CHECK(!cm_lookup_copy_entry(p.c, tail.incarnation, 7, tail.place.hash, other, version, &part));
    for (unsigned i = 0; i < sizeof(buf); i++)
        CHECK_EQ(buf[i], 0);
    pool_end(&p);
}

/* The last block of a file that ends in it: its miss ends there, too. */
static void test_short_way_end(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_miss m;
    (void)set_up(&p, MIB);
    cm_file *f = attach(&p, 2, 10 * BLK + 100, 1, 0);
    CHECK_EQ(cm_read(f, 10 * BLK, buf, 100, &m), 0);
    CHECK_EQ(m.len, 100);
    CHECK_EQ(m.flags, 0);
    CHECK_EQ(cm_read(f, 9 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.len, BLK);
    pool_end(&p);
}

/* ---- What it is for -------------------------------------------------------------------------- */

static void test_no_write(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    int64_t written = STAT(p.c, pool_bytes), filled = STAT(p.c, fill_blocks);
    int64_t held = STAT(p.c, buffered), hits_before = STAT(p.c, hit_blocks);
    uint8_t *image = malloc((size_t)p.bytes);
    memcpy(image, p.base, (size_t)p.bytes);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    /* Except for the page of statistics no byte has changed. */
    size_t from = CM_STATS_OFFSET + CM_STATS_BYTES;
    CHECK(memcmp(image, p.base, CM_STATS_OFFSET) == 0);
    CHECK(memcmp(image + from, p.base + from, (size_t)p.bytes - from) == 0);
    CHECK_EQ(hits(f, 0, HELD, 5), HELD);
    CHECK_EQ(STAT(p.c, pool_bytes), written);
    CHECK_EQ(STAT(p.c, fill_blocks), filled);
    CHECK_EQ(STAT(p.c, buffered), held + HELD);
    CHECK_EQ(STAT(p.c, probation_hits), HELD);
    CHECK_EQ(STAT(p.c, hit_blocks), hits_before + HELD);
    free(image);
    pool_end(&p);
}

/* First in, first out. A block that was wanted twice goes to the pool, the rest to the ghost. A
 * block that the ghost knows starts in the pool when it comes back. */
static void test_turns(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, 3, 5), RIGHT);
    }
    CHECK_EQ(look_anew(f, 4, 5), RIGHT); /* once is not enough */
    CHECK_EQ(put_all(f, 1000, HELD, 5), HELD);
    CHECK_EQ(look(f, 3, 5), RIGHT);
    CHECK(in_pool(f, 3));
    /* That is only for blocks that left the buffer. */
    CHECK(!cm_ghost_has(&p.c->policy.ghost, key_of(f, 3).place.hash));
    CHECK(cm_ghost_has(&p.c->policy.ghost, key_of(f, 4).place.hash));
    CHECK_EQ(hits(f, 0, HELD, 5), 1);
    CHECK_EQ(put(f, 7, 5), 0);
    CHECK(in_pool(f, 7));
    CHECK_EQ(look(f, 7, 5), RIGHT);
    pool_end(&p);
}

/* Under a rule that refuses nothing (CM_POLICY_AUTO may choose one), one hit can be enough, and a
 * block without a hit goes on probation in the pool. */
static void test_passes(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    struct cm_ring *r = &p.c->policy.ring;
    cm_ring_rule(r, r->slots / 2, 1, false);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    CHECK_EQ(look_anew(f, 4, 5), RIGHT);
    int64_t filled = STAT(p.c, fill_blocks), evicted = STAT(p.c, evicted);
    uint64_t before = r->on_probation;
    CHECK_EQ(put_all(f, 1000, HELD, 5), HELD);
    CHECK_EQ(STAT(p.c, fill_blocks), filled + HELD);
    CHECK(STAT(p.c, evicted) > evicted);
    CHECK_EQ(r->on_probation, before + HELD - 1); /* but for what has earned it */
    for (unsigned b = 0; b < HELD; b++) {
        CASE("b %u", b);
        CHECK(in_pool(f, b));
    }
    CHECK_EQ(hits(f, 0, HELD, 5), HELD);
    pool_end(&p);
}

/* For a reader in small steps no block counts as wanted again. */
static void test_small_steps(void)
{
    struct pool p;
    uint8_t buf[512];
    cm_file *f = set_up_full(&p);
    for (uint64_t b = 0; b < HELD; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(put(f, b, 5), 0);
        for (uint64_t at = 0; at < BLK; at += sizeof(buf)) {
            CASE("at %" PRIu64, at);
            CHECK_EQ(cm_read(f, b * BLK + at, buf, sizeof(buf), NULL), (int64_t)sizeof(buf));
        }
    }
    CHECK_EQ(put_all(f, 1000, HELD, 5), HELD);
    CHECK_EQ(hits(f, 0, HELD, 5), 0);
    pool_end(&p);
}

/* While the pool has room every block gets into it in the end. */
static void test_room(void)
{
    struct pool p;
    cm_file *f = set_up(&p, MIB);
    uint64_t n = p.c->media.geo.slots / 2;
    CHECK_EQ(put_all(f, 0, n, 5), n);
    CHECK_EQ(hits(f, 0, n, 5), n);
    CHECK_EQ(STAT(p.c, fill_blocks), n - HELD);
    CHECK(in_pool(f, 0) && !in_pool(f, n - 1));
    pool_end(&p);
}

/* A clean close moves waiting blocks to slots. A crash loses them, and nothing else. */
static void test_close_and_crash(void)
{
    struct pool p;
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2 * HELD, 5), 2 * HELD);
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(hits(f, 0, 2 * HELD, 5), 2 * HELD);
    CHECK_EQ(put_all(f, 100, 10, 5), 10);
    pool_crash(&p);
    CHECK_EQ(pool_up(&p), 0);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(hits(f, 0, 2 * HELD, 5), 2 * HELD);
    CHECK_EQ(hits(f, 100, 10, 5), 0);
    pool_end(&p);
}

/* In a full pool only blocks that were wanted again get a slot, also at the close. */
static void test_close_full(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, 9, 5), RIGHT);
    }
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 9, 5), RIGHT);
    CHECK_EQ(hits(f, 0, HELD, 5), 1);
    pool_end(&p);
}

static void test_sizes(void)
{
    struct pool p;
    pool_make(&p, 64 * MIB, 0);
    p.o.probation_bytes = 0;
    (void)pool_up(&p);
    CHECK_EQ(p.c->probation.entries, p.c->media.geo.slots / 100);
    pool_down(&p);
    p.o.probation_bytes = BLK - 1; /* less than a block: none */
    (void)pool_up(&p);
    CHECK_EQ(p.c->probation.entries, 0);
    pool_down(&p);
    p.o.probation_bytes = 0;
    p.o.flags = CM_OPEN_READONLY;
    (void)pool_up(&p);
    CHECK_EQ(p.c->probation.entries, 0);
    pool_down(&p);
    CHECK_EQ(cm_open_memory(p.base, p.bytes, NULL, &p.c), 0);
    CHECK(p.c->probation.entries > 0);
    pool_end(&p);
}

/* Refused offers remove no block from the buffer. */
static void test_refused_early(void)
{
    struct pool p;
    uint8_t data[CM_BLOCK_SIZE];
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD - 1, 5), HELD - 1);
    cm_miss m = miss_of(f, 500 * BLK, BLK), stale = miss_of(f, 600 * BLK, BLK);
    CHECK_EQ(cm_invalidate(f, 600 * BLK, BLK), 0);
    m = miss_of(f, 500 * BLK, BLK);
    content(5, 500, data);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), 0);
    for (unsigned i = 0; i < 2 * HELD; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_PRESENT);
        CHECK_EQ(cm_fill(f, &stale, data, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(STAT(p.c, refused_present), i + 1);
        CHECK_EQ(STAT(p.c, refused_stale), i + 1);
    }
    CHECK_EQ(hits(f, 0, HELD - 1, 5), HELD - 1);
    pool_end(&p);
}

/* Blocks for which the buffer's index has no room go to the pool at once. */
static void test_no_cell(void)
{
    struct pool p;
    cm_file *f = set_up(&p, MIB);
    struct cm_probation *b = &p.c->probation;
    out_of_order(p.c);
    for (uint64_t i = 0; i < b->buckets * CM_PROBATION_WAYS; i++)
        b->cell[i] = 1;
    CHECK_EQ(put_all(f, 0, 40, 5), 40);
    CHECK_EQ(hits(f, 0, 40, 5), 40);
    CHECK_EQ(STAT(p.c, fill_blocks), 40);
    CHECK_EQ(STAT(p.c, buffered), 0);
    memset(b->cell, 0, b->buckets * CM_PROBATION_WAYS * sizeof(*b->cell));
    pool_end(&p);
}

/* The same for several blocks that come together, each with its own bytes. */
static void test_no_cell_together(void)
{
    struct pool p;
    static uint8_t data[64 * CM_BLOCK_SIZE];
    const uint64_t n = sizeof(data) / BLK; /* two full batches */
    cm_file *f = set_up(&p, 8 * MIB);
    struct cm_probation *b = &p.c->probation;
    out_of_order(p.c);
    for (uint64_t i = 0; i < b->buckets * CM_PROBATION_WAYS; i++)
        b->cell[i] = 1;
    cm_miss m = miss_of(f, 0, sizeof(data));
    for (uint64_t i = 0; i < n; i++)
        content(5, i, data + i * BLK);
    CHECK_EQ(cm_fill(f, &m, data, sizeof(data), 0), 0);
    CHECK_EQ(hits(f, 0, n, 5), n);
    CHECK_EQ(STAT(p.c, fill_blocks), n);
    CHECK_EQ(STAT(p.c, buffered), 0);
    memset(b->cell, 0, b->buckets * CM_PROBATION_WAYS * sizeof(*b->cell));
    pool_end(&p);
}

/* A bracket on a neighbour keeps a block out of the pool, but the ghost remembers the block. */
static void test_bracket_beside(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put(f, 1, 5), 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, 1, 5), RIGHT);
    }
    cm_bracket w = begin_write(f, 40 * BLK, BLK);
    cm_file *g = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
    (void)put_all(g, 0, HELD, 5); /* they are stale, because the pool has one stripe */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    (void)put_all(g, 0, HELD, 5);
    if (look(f, 1, 5) == MISS) {
        CHECK_EQ(put(f, 1, 5), 0);
        CHECK(in_pool(f, 1));
    }
    pool_end(&p);
}

/* Reads past the end of a tail are no hits. A block that could not be promoted is not counted. */
static void test_counts(void)
{
    struct pool p;
    uint8_t buf[20];
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    for (unsigned i = 0; i < 10; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_read(f, 4 * BLK + 2000, buf, sizeof(buf), NULL), 0);
    }
    CHECK_EQ(STAT(p.c, probation_hits), 0);
    int64_t refused = STAT(p.c, refused_present), promoted = STAT(p.c, promoted);
    CHECK_EQ(put_all(f, 100, HELD, 5), HELD);
    CHECK_EQ(STAT(p.c, refused_present), refused);
    CHECK_EQ(STAT(p.c, promoted), promoted);
    pool_end(&p);
}

/* Read-ahead does not push out its own blocks. */
static int64_t read_content(void *ctx, uint64_t offset, void *buf, size_t len)
{
    *(uint64_t *)ctx += len / BLK;
    for (size_t i = 0; i < len; i += BLK)
        content(5, (offset + i) / BLK, (uint8_t *)buf + i);
    return (int64_t)len;
}

static void test_read_ahead(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    uint64_t blocks = 0;
    cm_file *f = set_up(&p, 64 * MIB);
    for (uint64_t b = 0; b < 1000; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_read_through(f, b * BLK, buf, BLK, read_content, &blocks), BLK);
        CHECK(is_content(5, b, buf, BLK));
    }
    CHECK(blocks <= 1000 + HELD);
    pool_end(&p);
}

/* The first reader of a block that was read ahead of need would have missed. So its hit does not
 * earn the block a place, although one hit is enough. The second hit does. */
static void test_read_ahead_once(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    uint64_t blocks = 0;
    cm_file *f = set_up_full(&p);
    cm_ring_rule(&p.c->policy.ring, 0, 1, true);
    int64_t promoted = STAT(p.c, promoted);
    for (uint64_t b = 0; b < 8 * HELD; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_read_through(f, b * BLK, buf, BLK, read_content, &blocks), BLK);
    }
    CHECK(STAT(p.c, prefetch_blocks) > 4 * HELD);
    (void)put_all(f, 1000, HELD, 5);
    CHECK_EQ(STAT(p.c, promoted), promoted);
    CHECK(cm_read_through(f, 2000 * BLK, buf, BLK, read_content, &blocks) == BLK);
    CHECK(cm_read_through(f, 2001 * BLK, buf, BLK, read_content, &blocks) == BLK);
    CHECK_EQ(look_anew(f, 2002, 5), RIGHT);
    CHECK_EQ(look_anew(f, 2002, 5), RIGHT);
    (void)put_all(f, 3000, HELD, 5);
    CHECK_EQ(STAT(p.c, promoted), promoted + 1);
    CHECK(in_pool(f, 2002));
    pool_end(&p);
}

/* A buffer is not larger than the pool, and a close looks only at used entries. */
static void test_huge(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.probation_bytes = UINT64_MAX - 1;
    (void)pool_up(&p);
    CHECK_EQ(p.c->probation.entries, p.c->media.geo.slots);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    CHECK_EQ(p.c->probation.used, 5);
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(hits(f, 0, 5, 5), 5);
    pool_end(&p);
}

/* ---- Promises -------------------------------------------------------------------------------- */

static void test_write_forgets(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    cm_miss old = miss_of(f, 20 * BLK, BLK);
    cm_bracket w = begin_write(f, 3 * BLK, 2 * BLK);
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK_EQ(look(f, 5, 5), RIGHT);
    CHECK_EQ(put(f, 4, 6), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put(f, 4, 6), 0);
    CHECK_EQ(look(f, 4, 6), RIGHT);
    CHECK_EQ(cm_invalidate(f, 20 * BLK, BLK), 0);
    uint8_t data[CM_BLOCK_SIZE];
    content(5, 20, data);
    CHECK_EQ(cm_fill(f, &old, data, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(hits(f, 0, HELD, 5), 0);
    pool_end(&p);
}

/* A block that was killed while it waited does not reach the pool in another way. */
static void test_killed_is_not_promoted(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, 2, 5), RIGHT);
    }
    CHECK_EQ(cm_invalidate(f, 2 * BLK, BLK), 0);
    CHECK_EQ(put_all(f, 1000, 2 * HELD, 5), 2 * HELD);
    CHECK_EQ(look(f, 2, 5), MISS);
    pool_end(&p);
}

static void test_tails(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE], zero[CM_BLOCK_SIZE] = { 0 };
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1000);
    CHECK(is_content(5, 4, buf, 1000));
    CHECK(memcmp(buf + 1000, zero, sizeof(buf) - 1000) == 0);
    CHECK_EQ(cm_read(f, 4 * BLK + 990, buf, 20, NULL), 10);
    CHECK_EQ(cm_read(f, 4 * BLK + 1000, buf, 20, NULL), 0);
    CHECK_EQ(put_tail(f, 4, 1000, 6), CM_NOT_STORED_PRESENT);
    CHECK_EQ(put_tail(f, 4, 1001, 6), 0);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1001);
    CHECK(is_content(6, 4, buf, 1001));
    CHECK_EQ(put(f, 4, 7), 0);
    CHECK_EQ(look(f, 4, 7), RIGHT);
    pool_end(&p);
}

/* A tail that is in the pool, and no ghost knows it, grows there. */
static void test_tail_in_pool(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0); /* to the pool at once */
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    CHECK(in_pool(f, 4));
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    CHECK_EQ(put_tail(f, 4, 1001, 6), 0);
    CHECK(in_pool(f, 4));
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1001);
    CHECK(is_content(6, 4, buf, 1001));
    pool_end(&p);
}

/* A block is in one place: a fill that goes to the pool takes the copy out of the buffer. A shorter
 * one changes nothing. */
static void test_one_place(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    CHECK(!in_pool(f, 4));
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0); /* to the pool at once */
    CHECK_EQ(put_tail(f, 4, 999, 5), CM_NOT_STORED_PRESENT);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    CHECK(in_pool(f, 4));
    CHECK_EQ(cm_drop(f, 4 * BLK, BLK), 1000);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Long reads, vectors and the first absent run find blocks that wait. */
static void test_ranges(void)
{
    struct pool p;
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    cm_miss m;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, 4, 5), 4);
    CHECK_EQ(put_all(f, 6, 2, 5), 2);
    CHECK_EQ(cm_read(f, 0, buf, 8 * BLK, &m), 4 * BLK);
    CHECK_EQ(m.offset, 4 * BLK);
    CHECK_EQ(m.len, 2 * BLK);
    CHECK_EQ(STAT(p.c, miss_short), 0); /* it is absent, and not a tail */
    cm_read_vec v[2] = { { .offset = 6 * BLK, .buf = buf, .len = 2 * BLK },
                         { .offset = 2 * BLK, .buf = buf + 4 * BLK, .len = BLK } };
    CHECK_EQ(cm_read_many(f, v, 2), 2);
    CHECK(is_content(5, 7, buf + BLK, BLK) && is_content(5, 2, buf + 4 * BLK, BLK));
    pool_end(&p);
}

/* A pinned entry keeps its bytes, even if the block is forgotten or the entry is wanted for
 * another. */
static void test_pins(void)
{
    struct pool p;
    cm_iovec iov;
    int n;
    cm_pins pins;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    CHECK_EQ(cm_pin_range(f, 5 * BLK, BLK, &iov, 1, &n, &pins, NULL), BLK);
    CHECK(is_content(5, 5, iov.base, BLK));
    CHECK_EQ(cm_invalidate(f, 5 * BLK, BLK), 0);
    CHECK(put_all(f, 1000, 4 * HELD, 6) > 3 * HELD);
    CHECK(is_content(5, 5, iov.base, BLK));
    CHECK_EQ(look(f, 5, 5), MISS);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(put_all(f, 2000, HELD, 5), HELD); /* the entry is used again */
    CHECK_EQ(hits(f, 2000, HELD, 5), HELD);
    pool_end(&p);
}

/* A pin that covers nothing is no hit. */
static void test_pins_of_none(void)
{
    struct pool p;
    cm_iovec v;
    static cm_pins pins[CM_PIN_COUNT + 1];
    int n = 0;
    cm_miss m;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(cm_pin_range(f, 7 * BLK, BLK, &v, 1, &n, &pins[0], &m), 0);
    CHECK_EQ(m.offset, 7 * BLK);
    CHECK_EQ(STAT(p.c, miss_conflict), 0);
    CHECK_EQ(put(f, 7, 5), 0);
    for (unsigned i = 0; i < CM_PIN_COUNT; i++)
        CHECK_EQ(cm_pin_range(f, 7 * BLK, BLK, &v, 1, &n, &pins[i], &m), BLK);
    CHECK_EQ(cm_pin_range(f, 7 * BLK, BLK, &v, 1, &n, &pins[CM_PIN_COUNT], &m), CM_EBUSY);
    for (unsigned i = 0; i < CM_PIN_COUNT; i++)
        CHECK_EQ(cm_unpin(&pins[i]), 0);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

static void test_pins_counted(void)
{
    struct pool p;
    cm_iovec iov;
    int n;
    cm_pins pins;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_tail(f, 0, 100, 5), 0);
    int64_t hits_before = STAT(p.c, hit_blocks), held = STAT(p.c, probation_hits);
    CHECK_EQ(cm_pin_range(f, 200, 50, &iov, 1, &n, &pins, NULL), 0);
    CHECK_EQ(STAT(p.c, probation_hits), held);
    CHECK_EQ(cm_pin_range(f, 50, 100, &iov, 1, &n, &pins, NULL), 50);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(STAT(p.c, probation_hits), held + 1);
    CHECK_EQ(STAT(p.c, hit_blocks), hits_before + 1);
    pool_end(&p);
}

/* A pin is a hit: a block that was pinned twice goes to the pool when it leaves. */
static void test_pins_earn(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 2; i++) {
        struct cm_plat_thread *t = cm_plat_thread();
        memset(t->recent, 0, sizeof(t->recent));
        CHECK_EQ(cm_pin_range(f, 9 * BLK, BLK, &iov, 1, &n, &pins, NULL), BLK);
        CHECK_EQ(cm_unpin(&pins), 0);
    }
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 9, 5), RIGHT);
    CHECK_EQ(hits(f, 0, HELD, 5), 1);
    pool_end(&p);
}

/* All entries are pinned: blocks are not stored, and all else goes on. */
static void test_all_pinned(void)
{
    struct pool p;
    cm_iovec iov[HELD];
    cm_pins pins[HELD];
    int n;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (uint64_t b = 0; b < HELD; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_pin_range(f, b * BLK, BLK, &iov[b], 1, &n, &pins[b], NULL), BLK);
    }
    CHECK_EQ(put(f, 1000, 5), CM_NOT_STORED_BUSY);
    CHECK_EQ(hits(f, 0, HELD, 5), HELD);
    for (uint64_t b = 0; b < HELD; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_unpin(&pins[b]), 0);
    }
    CHECK_EQ(put(f, 1000, 5), 0);
    pool_end(&p);
}

/* A block is allowed into the pool, but the rate limit has nothing left. It may come in later. */
static void test_refused_is_remembered(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    CHECK_EQ(put_all(f, 1000, HELD, 5), HELD); /* now the first ones are in the ghost */
    p.c->rate.limit = 1;
    p.c->rate.clock = cm_now() + UINT64_C(3600000000000);
    CHECK_EQ(put(f, 3, 5), CM_NOT_STORED_POLICY);
    CHECK_EQ(put(f, 3, 5), CM_NOT_STORED_POLICY);
    p.c->rate.limit = 0;
    CHECK_EQ(put(f, 3, 5), 0);
    CHECK(in_pool(f, 3));
    pool_end(&p);
}

/* Advice: a block to keep does not wait, and a block of no use does not come in at all. */
static void test_advice(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
    CHECK_EQ(put(f, 1, 5), 0);
    CHECK(in_pool(f, 1));
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    CHECK_EQ(put(f, 2, 5), CM_NOT_STORED_POLICY);
    pool_end(&p);
}

/* Threads that were stopped within their fills have entries side by side. One that is free is found
 * behind them. Of a small buffer a thread takes a small part at a time. */
static void test_claimed_by_others(void)
{
    struct pool p;
    struct cm_probation *pb;
    struct cm_entries e = { .got = 0 };
    pool_make(&p, 32 * MIB, 0);
    p.o.probation_bytes = 128 * BLK;
    REQUIRE(pool_up(&p) == 0);
    pb = &p.c->probation;
    CHECK_EQ(pb->entries, 128);
    out_of_order(p.c); /* nobody is at work who could have claimed them */
    for (unsigned i = 0; i < 128; i++)
        CHECK(cm_probation_claim(pb) != CM_NO_ENTRY);
    CHECK_EQ(cm_probation_claim(pb), CM_NO_ENTRY);
    cm_probation_release(pb, 100);
    CHECK_EQ(cm_probation_claim(pb), 100);
    for (uint32_t i = 0; i < 128; i++)
        cm_probation_release(pb, i);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    static uint8_t block[BLK];
    struct cm_newcomer n = { .key = key_of(f, 1), .data = block, .valid = (uint32_t)BLK };
    CHECK(cm_stripe_ticket(cm_stripe_at(p.c, n.key.stripe), &n.ticket));
    const struct cm_grant by_ticket = { NULL, NULL };
    cm_fill_buffered(p.c, &by_ticket, &n, CM_BATCH_MAX, &e);
    CHECK_EQ(n.result, 0);
    CHECK_EQ(e.got, 128 / 16 - 1);
    cm_fill_buffered_end(p.c, &e);
    pool_end(&p);
}

static const struct harness_test probation_tests[] = {
    TEST(no_write),
    TEST(order),
    TEST(turns),
    TEST(passes),
    TEST(small_steps),
    TEST(room),
    TEST(claimed_by_others),
    TEST(close_and_crash),
    TEST(close_full),
    TEST(sizes),
    TEST(refused_early),
    TEST(no_cell),
    TEST(no_cell_together),
    TEST(bracket_beside),
    TEST(counts),
    TEST(read_ahead),
    TEST(read_ahead_once),
    TEST(huge),
    TEST(write_forgets),
    TEST(killed_is_not_promoted),
    TEST(tails),
    TEST(one_place),
    TEST(ranges),
    TEST(pins),
    TEST(pins_counted),
    TEST(all_pinned),
    TEST(refused_is_remembered),
    TEST(advice),
    TEST(tag_zero),
    TEST(same_hash),
    TEST(tail_in_pool),
    TEST(pins_of_none),
    TEST(pins_earn),
    TEST(short_way),
    TEST(short_way_end),
    TEST(short_way_changed),
    TEST_END,
};

static const struct harness_test *const tables[] = { probation_tests, promotion_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
