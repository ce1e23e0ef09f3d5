/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_probation_promote.c - blocks go from the probation buffer to the pool: those that newcomers
 * push out, and those that have earned their place when cm_checkpoint() comes.
 */
#include "probation_common.h"

#include "../os.h"
#include "state/ended.h"

/* A bracket that begins after a promotion has looked at the block and before it publishes. */
static cm_file *other_file;
static const struct cm_persist_ops *whole_ops;
static bool meddled;

static int copy_meddling(void *ctx, void *dst, const void *src, size_t n)
{
    int e = whole_ops->copy(ctx, dst, src, n);
    if (!meddled) {
        meddled = true;
        CHECK_EQ(cm_invalidate(other_file, 2 * BLK, BLK), 0);
    }
    return e;
}

/* A pin that comes between the claim of an entry and its use. */
static cm_iovec late_iov;
static cm_pins late_pins;

static int copy_pinning(void *ctx, void *dst, const void *src, size_t n)
{
    int pieces;
    if (!meddled) {
        meddled = true;
        CHECK_EQ(cm_pin_range(other_file, 2 * BLK, BLK, &late_iov, 1, &pieces, &late_pins, NULL),
                 BLK);
    }
    return whole_ops->copy(ctx, dst, src, n);
}

static int copy_failing(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx, (void)dst, (void)src, (void)n;
    meddled = true;
    return -1;
}

/* From now on payloads are copied to the pool with `copy`. */
static void meddle_with(cm_file *f, int (*copy)(void *, void *, const void *, size_t))
{
    static struct cm_persist_ops ops;
    struct cm_media *m = &cm_object_of(f)->cache->media;
    whole_ops = m->ops;
    other_file = f;
    meddled = false;
    ops = *m->ops;
    ops.copy = copy;
    m->ops = &ops;
    at_store_relaxed(&cm_object_of(f)->cache->fill.over, 1u); /* else other routines may copy */
    m->fill = NULL;
}

static void meddle_no_more(cm_file *f)
{
    cm_object_of(f)->cache->media.ops = whole_ops;
    CHECK(meddled);
}

/* Block 2 has earned its place and leaves the buffer; `copy` runs in between. Returns how many of
 * the blocks that pushed it out were stored. */
static uint64_t promote_with(cm_file *f, int (*copy)(void *, void *, const void *, size_t))
{
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, 2, 5), RIGHT);
    }
    meddle_with(f, copy);
    uint64_t stored = put_all(f, 1000, 2 * HELD, 6);
    meddle_no_more(f);
    return stored;
}

static void test_promotion_beside_pin(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    (void)promote_with(f, copy_pinning);
    CHECK(is_content(5, 2, late_iov.base, BLK));
    CHECK_EQ(look(f, 2, 5), RIGHT); /* from the pool */
    CHECK_EQ(cm_unpin(&late_pins), 0);
    for (unsigned e = 0; e < HELD; e++) {
        CASE("e %u", e);
        CHECK_EQ(p.c->probation.entry[e].busy, 0); /* nobody kept one */
    }
    pool_end(&p);
}

static void test_promotion_beside_write(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p);
    CHECK(promote_with(f, copy_meddling) >= 2 * HELD - 1); /* the promoted one is stale */
    CHECK_EQ(look(f, 2, 5), MISS);
    pool_end(&p);
}

/* ---- By a checkpoint ------------------------------------------------------------------------- */

#define HOT 2u  /* the block that is wanted all the time */
#define ONCE 3u /* read once */
#define WAS 4u  /* wanted all the time before the first checkpoint, and not since */

static void checkpoint(struct cm_cache *c)
{
    CHECK_EQ(cm_checkpoint(c), CM_ENOTSUP); /* it is in memory, and so are the slots */
    for (unsigned e = 0; e < HELD; e++) {
        CASE("entry %u", e);
        CHECK_EQ(c->probation.entry[e].busy, 0); /* nobody kept one */
    }
}

/* The pool is full, and the buffer holds 16 blocks. A checkpoint has found them there. */
static cm_file *set_up_hot(struct pool *p)
{
    cm_file *f = set_up_full(p);
    const int64_t promoted = STAT(p->c, promoted);
    CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
        CHECK_EQ(look_anew(f, WAS, 5), RIGHT);
    }
    CHECK_EQ(look_anew(f, ONCE, 5), RIGHT);
    CALL(checkpoint(p->c));
    CHECK_EQ(STAT(p->c, promoted), promoted); /* what is written again soon costs nothing */
    CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
    return f;
}

/* What is wanted all the time survives a kill from the second checkpoint on; all else costs no
 * write. */
static void test_checkpoint_promotes(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    const int64_t promoted = STAT(p.c, promoted);
    CHECK(!in_pool(f, HOT));
    checkpoint(p.c);
    CHECK(in_pool(f, HOT));
    CHECK_EQ(STAT(p.c, promoted), promoted + 1);
    const int64_t bytes = STAT(p.c, pool_bytes);
    checkpoint(p.c); /* finds nothing to do */
    CHECK_EQ(STAT(p.c, promoted), promoted + 1);
    CHECK_EQ(STAT(p.c, pool_bytes), bytes);
    CHECK_EQ(hits(f, 0, HELD, 5), HELD); /* and the others still wait */
    pool_crash(&p);
    CHECK_EQ(pool_up(&p), 0);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, HOT, 5), RIGHT);
    CHECK_EQ(hits(f, 0, HELD, 5), 1);
    pool_end(&p);
}

/* A block that comes into an entry begins anew there. */
static void test_checkpoint_of_another_life(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    (void)put_all(f, 1000, 2 * HELD, 6); /* all entries are used again */
    const int64_t promoted = STAT(p.c, promoted);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQ(look_anew(f, 1000 + 2 * HELD - 1, 6), RIGHT);
    checkpoint(p.c);
    CHECK_EQ(STAT(p.c, promoted), promoted);
    pool_end(&p);
}

/* A buffer that is more than twice as large as by default is a cache of its own. */
static void test_checkpoint_large(void)
{
    struct pool p;
    pool_make(&p, 16 * MIB, 0);
    for (unsigned large = 0; large < 2; large++) {
        CASE("large %u", large);
        p.o.probation_bytes = (80 + large) * BLK; /* 80 is 2 % of 4000 slots */
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(p.c->media.geo.slots / 50, 80);
        cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
        (void)put_all(f, 100000, p.c->media.geo.slots + 200, 5);
        CHECK_EQ(put(f, HOT, 5), 0);
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned j = 0; j < 5; j++)
                CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
            CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
        }
        CHECK_EQ(in_pool(f, HOT), !large);
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        pool_down(&p);
    }
    pool_end(&p);
}

/* A group that has all its slots would lose another block. */
static void test_checkpoint_quota(void)
{
    struct pool p;
    uint64_t used, most;
    cm_file *f = set_up_hot(&p);
    detach(f);
    CHECK_EQ(cm_group_set_quota(p.c, 7, BLK), 0);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(cm_file_set_group(f, 7), 0);
    CHECK_EQ(cm_group_usage(p.c, 7, &used, &most), 0);
    CHECK_EQ(cm_group_set_quota(p.c, 7, used), 0);
    checkpoint(p.c);
    CHECK(!in_pool(f, HOT));
    CHECK_EQ(look(f, HOT, 5), RIGHT); /* it still waits */
    /* Room for one: the other one waits. Nothing is evicted for them. */
    CHECK_EQ(look_anew(f, WAS, 5), RIGHT);
    CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
    CHECK_EQ(cm_group_set_quota(p.c, 7, used + BLK), 0);
    const int64_t promoted = STAT(p.c, promoted);
    checkpoint(p.c);
    CHECK_EQ(STAT(p.c, promoted), promoted + 1);
    CHECK(in_pool(f, HOT) != in_pool(f, WAS));
    CHECK_EQ(cm_group_set_quota(p.c, 7, 0), 0);
    checkpoint(p.c);
    CHECK(in_pool(f, HOT) && in_pool(f, WAS));
    pool_end(&p);
}

/* While the pool has slots that were never used, all go there, as they do when they are pushed out.
 */
static void test_checkpoint_room(void)
{
    struct pool p;
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(put_all(f, 0, HELD / 2, 5), HELD / 2);
    checkpoint(p.c);
    CHECK_EQ(STAT(p.c, promoted), 0); /* the next one */
    checkpoint(p.c);
    for (unsigned i = 0; i < HELD / 2; i++) {
        CASE("block %u", i);
        CHECK(in_pool(f, i));
    }
    CHECK_EQ(STAT(p.c, promoted), HELD / 2);
    pool_end(&p);
}

/* A large buffer fills what was never used, and not more. */
static void test_checkpoint_last_slot(void)
{
    enum { N = 300 };
    struct pool p;
    pool_make(&p, 16 * MIB, 0);
    p.o.probation_bytes = 400 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    struct cm_ring *r = &p.c->policy.ring;
    for (uint64_t b = 100000; cm_ring_unused(r) > N + 10; b++)
        CHECK_EQ(put(f, b, 5), 0);
    CHECK_EQ(put_all(f, 0, N, 5), N); /* each pushes an older one out */
    const int64_t promoted = STAT(p.c, promoted), room = (int64_t)cm_ring_unused(r);
    CHECK(room > 0 && room < CM_BATCH_MAX);
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned i = 0; i < 3 * N; i++)
            CHECK_EQ(look_anew(f, i % N, 5), RIGHT);
        CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    }
    /* Slots are evicted three at a time, so the last time may take one or two that were used. */
    CHECK(STAT(p.c, promoted) - promoted >= room && STAT(p.c, promoted) - promoted <= room + 2);
    CHECK(STAT(p.c, evicted) <= 2);
    pool_end(&p);
}

/* A tail keeps its length. */
static void test_checkpoint_tail(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(put_tail(f, HOT, 1000, 5), 0);
    checkpoint(p.c);
    checkpoint(p.c);
    CHECK(in_pool(f, HOT));
    CHECK_EQ(cm_read(f, HOT * BLK, buf, BLK, NULL), 1000);
    CHECK(is_content(5, HOT, buf, 1000));
    pool_end(&p);
}

/* A longer tail comes into the buffer after the checkpoint has looked at the shorter one. */
static int copy_lengthening(void *ctx, void *dst, const void *src, size_t n)
{
    int e = whole_ops->copy(ctx, dst, src, n);
    if (!meddled) {
        meddled = true;
        CHECK_EQ(put_tail(other_file, HOT, 2000, 5), 0);
    }
    return e;
}

static void test_checkpoint_beside_longer(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = set_up(&p, MIB);
    CHECK_EQ(put_tail(f, HOT, 1000, 5), 0);
    checkpoint(p.c);
    meddle_with(f, copy_lengthening);
    checkpoint(p.c);
    meddle_no_more(f);
    CHECK_EQ(cm_read(f, HOT * BLK, buf, BLK, NULL), 2000);
    CHECK(is_content(5, HOT, buf, 2000));
    pool_end(&p);
}

/* One page of the index cannot be read. Its blocks are tried once; the others are stored. */
static void test_checkpoint_unreadable_index(void)
{
    struct pool p;
    enum { N = 600 };
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, 64 * MIB, 0);
    p.o.probation_bytes = N * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, N, 5), N);
    void *const page = cell_of(p.c, key_of(f, 0).place.bucket[0] / 64 * 64, 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    os_protect(page, BLK, OS_WRITE);
    const int64_t promoted = STAT(p.c, promoted);
    CHECK(promoted >= N / 2 && promoted < N);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK_EQ(STAT(p.c, promoted), promoted);
    CHECK_EQ(hits(f, 0, N, 5), N);
    pool_end(&p);
}

/* A close does not take the pool away from a checkpoint. */
static int copy_closing(void *ctx, void *dst, const void *src, size_t n)
{
    meddled = true;
    CHECK_EQ(cm_close(cm_object_of(other_file)->cache), CM_EBUSY);
    return whole_ops->copy(ctx, dst, src, n);
}

static void test_checkpoint_beside_close(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    meddle_with(f, copy_closing);
    checkpoint(p.c);
    meddle_no_more(f);
    CHECK(in_pool(f, HOT));
    pool_end(&p);
}

/* On DAX there is nothing to sync, but the buffer is in DRAM there, too. */
static void test_checkpoint_dax(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("this processor writes no lines back");
    pool_make(&p, MIB, 0);
    p.o.probation_bytes = HELD * BLK;
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(f, HOT, 5), 0);
    CHECK_EQ(cm_checkpoint(p.c), 0);
    CHECK_EQ(cm_checkpoint(p.c), 0);
    CHECK(in_pool(f, HOT));
    pool_end(&p);
}

/* The write begins after the checkpoint has looked at the block and before it publishes. */
static void test_checkpoint_beside_write(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    meddle_with(f, copy_meddling);
    checkpoint(p.c);
    meddle_no_more(f);
    CHECK_EQ(look(f, HOT, 5), MISS);
    pool_end(&p);
}

/* A pin between the claim and the copy. The pinned bytes stay, whatever comes into the entry. */
static void test_checkpoint_beside_pin(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    meddle_with(f, copy_pinning);
    checkpoint(p.c);
    meddle_no_more(f);
    CHECK(in_pool(f, HOT));
    (void)put_all(f, 1000, 4 * HELD, 6);
    CHECK(is_content(5, HOT, late_iov.base, BLK));
    CHECK_EQ(cm_unpin(&late_pins), 0);
    pool_end(&p);
}

/* A block that was pinned before: as any other. */
static void test_checkpoint_pinned(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int pieces;
    cm_file *f = set_up_hot(&p);
    CHECK_EQ(cm_pin_range(f, HOT * BLK, BLK, &iov, 1, &pieces, &pins, NULL), BLK);
    checkpoint(p.c);
    CHECK(in_pool(f, HOT));
    (void)put_all(f, 1000, 4 * HELD, 6);
    CHECK(is_content(5, HOT, iov.base, BLK));
    CHECK_EQ(cm_unpin(&pins), 0);
    pool_end(&p);
}

/* What cannot be stored stays in the buffer, and the next checkpoint stores it. */
static void test_checkpoint_not_stored(void)
{
    struct pool p;
    cm_file *f = set_up_hot(&p);
    const int64_t promoted = STAT(p.c, promoted);
    meddle_with(f, copy_failing);
    checkpoint(p.c); /* the medium fails */
    meddle_no_more(f);
    CHECK(!in_pool(f, HOT));
    CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
    cm_bracket w = begin_write(f, (HOT + 1) * BLK, BLK);
    checkpoint(p.c); /* a bracket of its stripe is open */
    CHECK(!in_pool(f, HOT));
    CHECK_EQ(look_anew(f, HOT, 5), RIGHT);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    checkpoint(p.c);
    CHECK(!in_pool(f, HOT));
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(STAT(p.c, promoted), promoted);
    checkpoint(p.c);
    CHECK(in_pool(f, HOT));
    CHECK_EQ(STAT(p.c, promoted), promoted + 1);
    pool_end(&p);
}

/* Another thread is about to overwrite the entry, or to store its block. */
static void test_checkpoint_claimed(void)
{
    struct pool p;
    uint64_t version;
    cm_file *f = set_up_hot(&p);
    const struct cm_key k = key_of(f, HOT);
    const uint32_t e = cm_probation_find(&p.c->probation, &k, &version);
    out_of_order(p.c); /* nobody is at work who could have claimed it */
    CHECK(cm_probation_claim_at(&p.c->probation, e));
    CHECK(!cm_probation_claim_at(&p.c->probation, e));
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK(!in_pool(f, HOT));
    CHECK(cm_probation_is_claimed(&p.c->probation, e)); /* by us */
    cm_probation_release(&p.c->probation, e);
    checkpoint(p.c);
    CHECK(in_pool(f, HOT));
    pool_end(&p);
}

/* Read ahead of need, and never asked for: its count is a mark, and not so many hits. */
static void test_checkpoint_read_ahead(void)
{
    struct pool p;
    uint64_t version;
    cm_file *f = set_up_hot(&p);
    const struct cm_key k = key_of(f, HOT);
    const uint32_t e = cm_probation_find(&p.c->probation, &k, &version);
    p.c->probation.entry[e].count = CM_PROBATION_AHEAD;
    checkpoint(p.c);
    CHECK(!in_pool(f, HOT));
    pool_end(&p);
}

/* More blocks than a batch has wait, and a checkpoint has found them. `room`: so many slots were
 * never used then; 0: nearly all. */
enum { BLOCKS = 3 * CM_BATCH_MAX };
static cm_file *set_up_many(struct pool *p, uint64_t room)
{
    static uint8_t data[BLOCKS * BLK];
    pool_make(p, 8 * MIB, 0);
    p->o.probation_bytes = 4 * CM_BATCH_MAX * BLK;
    (void)pool_up(p);
    cm_file *f = attach(p, 1, CM_BLOCK_MAX / 2, 1, 0);
    struct cm_ring *r = &p->c->policy.ring;
    /* For each of these blocks another one leaves the buffer. */
    for (uint64_t b = 100000; room > 0 && r->slots - r->frontier > room + BLOCKS; b++)
        CHECK_EQ(put(f, b, 5), 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        content(5, i, data + i * BLK);
    cm_miss m = miss_of(f, 0, sizeof(data));
    CHECK_EQ(cm_fill(f, &m, data, sizeof(data), 0), 0);
    CHECK_EQ(cm_checkpoint(p->c), CM_ENOTSUP);
    return f;
}

/* Those that were stored together stay neighbours. */
static void test_checkpoint_many(void)
{
    struct pool p;
    cm_file *f = set_up_many(&p, 0);
    const int64_t promoted = STAT(p.c, promoted);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    for (unsigned i = 0; i < BLOCKS; i++) {
        CASE("block %u", i);
        REQUIRE(in_pool(f, i));
        if (i % CM_BATCH_MAX != 0)
            CHECK_EQ(slot_of(f, i), slot_of(f, i - 1) + 1);
    }
    CHECK_EQ(STAT(p.c, promoted), promoted + BLOCKS);
    pool_end(&p);
}

/* It stops where the room ends, and with the batch in which the mode changes or the medium fails.
 */
static int copy_freezing(void *ctx, void *dst, const void *src, size_t n)
{
    meddled = true;
    CHECK_EQ(cm_set_mode(cm_object_of(other_file)->cache, CM_FREEZE), 0);
    return whole_ops->copy(ctx, dst, src, n);
}

static int copy_failing_once(void *ctx, void *dst, const void *src, size_t n)
{
    return meddled ? whole_ops->copy(ctx, dst, src, n) : copy_failing(ctx, dst, src, n);
}

static void test_checkpoint_stops(void)
{
    for (unsigned why = 0; why < 3; why++) {
        CASE("why %u", why);
        struct pool p;
        cm_file *f = set_up_many(&p, why == 0 ? 5 : 0);
        const int64_t promoted = STAT(p.c, promoted), bad = STAT(p.c, quarantined);
        if (why > 0)
            meddle_with(f, why == 1 ? copy_freezing : copy_failing_once);
        CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
        if (why > 0)
            meddle_no_more(f);
        CHECK_EQ(STAT(p.c, promoted) - promoted, why == 0 ? 5 : (int64_t)CM_BATCH_MAX - (why == 2));
        CHECK_EQ(STAT(p.c, quarantined) - bad, why == 2);
        CHECK_EQ(hits(f, 0, BLOCKS, 5), BLOCKS); /* the others still wait */
        pool_end(&p);
    }
}

/* ---- Into slots that were used before ---------------------------------------------------------
 */

#define FIRST 100000u /* the blocks that are in the pool before */
#define WAIT 100u     /* as many wait in the buffer, which is large */

static void set_up_room(struct pool *p, cm_file **f, cm_file **other)
{
    pool_make(p, 16 * MIB, 0);
    pool_seed(p, 1);
    p->o.probation_bytes = 2 * WAIT * BLK;
    (void)pool_up(p);
    CHECK(cm_probation_is_large(&p->c->probation, p->c->media.geo.slots));
    CHECK_EQ(cm_group_set_quota(p->c, 7, BLK), 0);
    *f = attach(p, 1, CM_BLOCK_MAX / 2, 1, 0);
    *other = attach(p, 2, CM_BLOCK_MAX / 2, 1, 0);
}

/* Fills slots with blocks of f, which are used often, until so many at most were never used.
 * Returns how many blocks. */
static uint64_t fill_slots(cm_file *f, uint64_t unused, uint64_t tag)
{
    const struct cm_ring *const r = &cm_object_of(f)->cache->policy.ring;
    uint64_t n = 0;
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0); /* to the pool at once */
    for (; cm_ring_unused(r) > unused && n < r->slots; n++)
        CHECK_EQ(put(f, FIRST + n, tag), 0);
    CHECK(cm_ring_unused(r) + CM_BATCH_MAX > unused); /* some are taken ahead */
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    return n;
}

static void new_version(cm_file *f)
{
    cm_validator v = val(CM_BLOCK_MAX / 2, 2);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
}

/* WAIT blocks were read once. Returns how many of them the second checkpoint stores. */
static int64_t promoted_of(cm_file *f, uint64_t tag)
{
    cm_cache *const c = cm_object_of(f)->cache;
    CHECK_EQ(put_all(f, 0, WAIT, tag), WAIT);
    const int64_t promoted = STAT(c, promoted);
    CHECK_EQ(cm_checkpoint(c), CM_ENOTSUP);
    CHECK_EQ(STAT(c, promoted), promoted);
    CHECK_EQ(cm_checkpoint(c), CM_ENOTSUP);
    CHECK_EQ(hits(f, 0, WAIT, tag), WAIT); /* the others wait */
    return STAT(c, promoted) - promoted;
}

/* Slots that became empty are room, but for the last ones, and no block leaves for it. */
static void test_checkpoint_empties(void)
{
    static const unsigned empty[] = { 60, 300 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("empty %u", empty[i]);
        struct pool p;
        cm_file *f, *other;
        CALL(set_up_room(&p, &f, &other));
        const struct cm_ring *const r = &p.c->policy.ring;
        (void)fill_slots(other, 0, 6);
        const int64_t evicted = STAT(p.c, evicted);
        CHECK_EQ(cm_invalidate(other, FIRST * BLK, empty[i] * BLK), 0);
        const int64_t room = (int64_t)(cm_ring_empties(r) + r->free_count) - CM_BATCH_MAX;
        CHECK(room > 0 && (room > WAIT) == (i == 1));
        CHECK_EQ(promoted_of(f, 5), room < WAIT ? room : WAIT);
        CHECK_EQ(STAT(p.c, evicted), evicted);
        CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP); /* there is no more */
        CHECK_EQ(STAT(p.c, evicted), evicted);
        pool_end(&p);
    }
}

/* So are slots of a version that has ended, also if they lie behind all others. */
static void test_checkpoint_ended(void)
{
    struct pool p;
    cm_file *f, *other;
    CALL(set_up_room(&p, &f, &other));
    const uint64_t n = fill_slots(other, 2 * WAIT, 6);
    (void)fill_slots(f, 0, 5);
    const uint64_t there = hits(other, FIRST, n, 6);
    new_version(f);
    CHECK_EQ(promoted_of(f, 7), WAIT);
    CHECK_EQ(hits(other, FIRST, n, 6), there);
    pool_end(&p);
}

/* Nothing that has ended is in the slots: the search goes on with the next checkpoint. While
 * nothing may be stored, nothing is searched. */
static void test_checkpoint_ended_steps(void)
{
    struct pool p;
    pool_make(&p, 256 * MIB, 0);
    p.o.probation_bytes = WAIT * BLK;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(put(attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0), 0, 5), 0); /* it waits */
    out_of_order(p.c);
    const uint64_t slots = p.c->media.geo.slots;
    p.c->policy.ring.frontier = slots; /* as if it was full */
    cm_ended_note(p.c, 77, CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK(p.c->ended.again);
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    const uint64_t steps = slots - p.c->ended.left;
    CHECK(steps >= 16384 && steps <= 16384 + CM_BATCH_MAX * CM_ENDED_STEPS);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK_EQ(slots - p.c->ended.left, 2 * steps);
    pool_end(&p);
}

/* A group that has all its slots gives those of its ended version, also if they lie behind all
 * others of the group, and no block in use. */
static void test_checkpoint_ended_quota(void)
{
    for (unsigned full = 0; full < 2; full++) {
        CASE("pool full %u", full);
        struct pool p;
        uint64_t used, most;
        cm_file *f, *other;
        CALL(set_up_room(&p, &f, &other));
        CHECK_EQ(cm_group_set_quota(p.c, 7, 16 * MIB), 0);
        CHECK_EQ(cm_file_set_group(f, 7), 0);
        CHECK_EQ(cm_file_set_group(other, 7), 0);
        const uint64_t n = fill_slots(other, 1500, 6);
        const uint64_t ended = fill_slots(f, full ? 0 : 1500 - WAIT / 2, 5);
        CHECK_EQ(cm_group_usage(p.c, 7, &used, &most), 0);
        CHECK_EQ(cm_group_set_quota(p.c, 7, used), 0);
        const uint64_t there = hits(other, FIRST, n, 6);
        new_version(f);
        CHECK_EQ(promoted_of(f, 7), ended < WAIT ? ended : WAIT);
        CHECK_EQ(hits(other, FIRST, n, 6), there);
        CHECK_EQ(cm_group_usage(p.c, 7, &used, &most), 0);
        CHECK(used <= most);
        CHECK_EQ(ended >= WAIT, full);
        pool_end(&p);
    }
}

/* ---- By a warming ---------------------------------------------------------------------------- */

static int64_t no_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset, (void)buf, (void)len;
    CHECK(false);
    return -1;
}

/* A warming stores what it has passed in the buffer. It knows that its own file is open, so it does
 * not look through all files, and leaves those of other files to their warmings. */
static void test_warming_stores_its_own(void)
{
    struct pool p;
    cm_file *f = set_up_full(&p), *other = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(other, 0, HELD / 4, 6), HELD / 4);
    CHECK_EQ(put_all(f, 0, HELD / 2, 5), HELD / 2);
    cm_bracket b = begin_write(other, (HELD - 1) * BLK, BLK); /* in the same group of blocks */
    CHECK_EQ(cm_warm(other, 0, HELD / 4 * BLK, NULL, no_origin, NULL, NULL), 0);
    CHECK(cm_write_end(other, &b, NULL) >= 0);
    struct cm_object **const files = p.c->file_hash;
#ifndef CM_CHECKS_FULL     /* that build goes over the files after each call */
    p.c->file_hash = NULL; /* no file is found */
#endif
    CHECK_EQ(cm_warm(f, 0, HELD / 4 * BLK, NULL, no_origin, NULL, NULL), 0);
    p.c->file_hash = files;
    for (unsigned i = 0; i < HELD / 2; i++) {
        CASE("block %u", i);
        CHECK_EQ(in_pool(f, i), i < HELD / 4);
        CHECK(!in_pool(other, i));
    }
    checkpoint(p.c);
    for (unsigned i = 0; i < HELD / 4; i++) {
        CASE("block %u", i);
        CHECK(in_pool(other, i));
    }
    CHECK_EQ(cm_probation_next_kept(&p.c->probation, 0), CM_NO_ENTRY);
    pool_end(&p);
}

/* What another thread does while one has just claimed an entry, once; and so many claims that fail,
 * because other threads are at work on the entries. */
static void (*beside_claim)(cm_file *f);
static unsigned refusals, claims;

bool __real_cm_probation_claim_at(struct cm_probation *p, uint32_t e);
bool __wrap_cm_probation_claim_at(struct cm_probation *p, uint32_t e);
bool __wrap_cm_probation_claim_at(struct cm_probation *p, uint32_t e)
{
    void (*const act)(cm_file * f) = beside_claim;
    claims++;
    if (refusals > 0) {
        refusals--;
        return false;
    }
    const bool got = __real_cm_probation_claim_at(p, e);
    beside_claim = NULL;
    if (act)
        act(other_file);
    return got;
}

/* The end of a warming that has passed all blocks of f in the buffer. */
static void end_warming(cm_file *f)
{
    const struct cm_object *const o = cm_object_of(f);
    cm_fill_buffered_promote_warmed(o->cache, o->incarnation);
}

/* Blocks of two files wait that warmings have passed. */
static cm_file *set_up_two(struct pool *p)
{
    cm_file *f = set_up_full(p);
    other_file = attach(p, 2, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(other_file, 0, HELD / 4, 6), HELD / 4);
    CHECK_EQ(put_all(f, 0, HELD / 4, 5), HELD / 4);
    for (uint32_t e = 0; e < HELD; e++)
        if (p->c->probation.entry[e].block_valid >> CM_VALID_BITS < HELD / 4)
            cm_probation_keep(&p->c->probation, e);
    return f;
}

/* Two warmings end at the same time: each finds all of its blocks, because the other one claims
 * none of them. */
static void test_warmings_at_once(void)
{
    struct pool p;
    cm_file *f = set_up_two(&p);
    beside_claim = end_warming;
    end_warming(f);
    CHECK(beside_claim == NULL);
    for (unsigned i = 0; i < HELD / 4; i++) {
        CASE("block %u", i);
        CHECK(in_pool(f, i));
        CHECK(in_pool(other_file, i));
    }
    pool_end(&p);
}

/* A checkpoint looks at some entries meanwhile. The warming comes back to these, once. It does not
 * come back to what cannot be stored. */
static void test_warming_beside_others(void)
{
    static const unsigned busy[] = { 0, HELD / 4, HELD };
    for (unsigned i = 0; i < 3; i++) {
        CASE("busy %u", busy[i]);
        struct pool p;
        cm_file *f = set_up_two(&p);
        cm_bracket w = { 0 };
        if (busy[i] == 0)
            w = begin_write(f, (HELD - 1) * BLK, BLK); /* in the same group of blocks */
        refusals = busy[i];
        claims = 0;
        end_warming(f);
        refusals = 0;
        CHECK_EQ(claims, busy[i] ? HELD / 2 : HELD / 4);
        for (unsigned k = 0; k < HELD / 4; k++) {
            CHECK_EQ(in_pool(f, k), i == 1);
            CHECK(!in_pool(other_file, k));
        }
        CHECK(busy[i] || cm_write_end(f, &w, NULL) >= 0);
        pool_end(&p);
    }
}

/* What a warming has passed and could not store waits for room, once its file is closed: as any
 * other block that a checkpoint has found. A group that has all its slots has none. */
static void test_warmed_and_closed(void)
{
    for (unsigned group = 0; group < 2; group++) {
        CASE("group %u", group);
        struct pool p;
        cm_file *f, *other;
        CALL(set_up_room(&p, &f, &other));
        CHECK_EQ(cm_group_set_quota(p.c, 7, 2 * HELD * BLK), 0);
        CHECK_EQ(cm_file_set_group(f, group ? 7 : 0), 0);
        CHECK_EQ(put_all(f, 0, HELD, 5), HELD);
        cm_bracket b = begin_write(f, (CM_GROUP_BLOCKS - 1) * BLK, BLK);
        CHECK_EQ(cm_warm(f, 0, HELD * BLK, NULL, no_origin, NULL, NULL), 0);
        CHECK(cm_write_end(f, &b, NULL) >= 0);
        CHECK_EQ(STAT(p.c, promoted), 0);
        CHECK_EQ(cm_group_set_quota(p.c, 7, BLK), 0);
        detach(f);
        CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
        CHECK_EQ(STAT(p.c, promoted), group ? 1 : HELD);
        f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
        CHECK_EQ(hits(f, 0, HELD, 5), HELD);
        CHECK_EQ(in_pool(f, 0), 1);
        CHECK_EQ(in_pool(f, 1), !group);
        pool_end(&p);
    }
}

const struct harness_test promotion_tests[] = {
    TEST(promotion_beside_write),
    TEST(promotion_beside_pin),
    TEST(checkpoint_promotes),
    TEST(checkpoint_of_another_life),
    TEST(checkpoint_large),
    TEST(checkpoint_quota),
    TEST(checkpoint_room),
    TEST(checkpoint_beside_close),
    TEST(checkpoint_dax),
    TEST(checkpoint_beside_write),
    TEST(checkpoint_beside_pin),
    TEST(checkpoint_pinned),
    TEST(checkpoint_not_stored),
    TEST(checkpoint_claimed),
    TEST(checkpoint_read_ahead),
    TEST(checkpoint_many),
    TEST(checkpoint_stops),
    TEST(checkpoint_last_slot),
    TEST(checkpoint_tail),
    TEST(checkpoint_beside_longer),
    TEST(checkpoint_unreadable_index),
    TEST(checkpoint_empties),
    TEST(checkpoint_ended),
    TEST(checkpoint_ended_steps),
    TEST(checkpoint_ended_quota),
    TEST(warming_stores_its_own),
    TEST(warmed_and_closed),
    TEST(warmings_at_once),
    TEST(warming_beside_others),
    TEST_END,
};
