/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_grow_index.c - the new index of a pool that grows: what has no place in it, what is not
 * copied, and what cannot be read or written.
 */
#include "grow_common.h"

#include "state/keep.h"

/* ---- Blocks that have no place --------------------------------------------------------------- */

/* Does a block have these buckets in a pool of this shape? */
static bool lives_at(struct pool *p, const struct cm_geometry *g, cm_file *f, uint64_t block,
                     const uint64_t bucket[2])
{
    const struct cm_media *m = &p->c->media;
    const uint64_t inc = cm_object_of(f)->incarnation;
    struct cm_home home =
        cm_place_home(g->stripes, cm_place_index(g), m->hash_seed, inc, block >> CM_GROUP_SHIFT);
    struct cm_place at;
    cm_place_block(block, &home, &at);
    return at.bucket[0] == bucket[0] && at.bucket[1] == bucket[1];
}

enum { CROWD = 40 };

static unsigned crowd_hits(cm_file *f, const uint64_t block[CROWD])
{
    unsigned n = 0;
    for (unsigned i = 0; i < CROWD; i++)
        n += look(f, block[i], 1) == RIGHT;
    return n;
}

/* More blocks have the same two buckets in the new index than these have cells. Returns how many
 * are stored. */
static unsigned make_crowd(struct pool *p, cm_file **f, uint64_t block[CROWD])
{
    struct cm_geometry to;
    uint64_t word, bucket[2], n = 0;
    make(p, 2 * MIB, 64 * MIB);
    CHECK_EQ(cm_format_grow(&p->c->media.geo, 4 * MIB, &to, &word), 0);
    bucket[0] = to.index_first + 77;
    bucket[1] = to.index_first + 20;
    *f = attach(p, 1, CM_SIZE_UNKNOWN, 1, 0);
    for (uint64_t b = 0; n < CROWD && b < 40000000; b++)
        if (lives_at(p, &to, *f, b, bucket))
            block[n++] = b;
    CHECK_EQ(n, CROWD);
    for (unsigned i = 0; i < n; i++)
        (void)put(*f, block[i], 1);
    const unsigned held = crowd_hits(*f, block);
    CHECK(held > CM_PLACE_CELLS); /* the old buckets of some of them differ */
    return held;
}

static const struct cm_persist_ops *whole_ops;
static const uint8_t *first_header, *behind_headers;
static unsigned headers_flushed;

static bool is_header(const void *p)
{
    const uint8_t *at = p;
    return at >= first_header && at < behind_headers;
}
static int header_flush(void *ctx, const void *p, size_t n)
{
    headers_flushed += is_header(p);
    return whole_ops->flush(ctx, p, n);
}
static int header_cas(void *ctx, uint64_t *p, uint64_t e, uint64_t v)
{
    return is_header(p) ? CM_EIO : whole_ops->cas64(ctx, p, e, v);
}

static void watch_headers(struct pool *p, struct cm_persist_ops *ops)
{
    whole_ops = p->c->media.ops;
    *ops = *whole_ops;
    first_header = p->c->media.base + p->c->media.geo.header_offset;
    behind_headers = p->c->media.base + p->c->media.geo.slot_offset;
    p->c->media.ops = ops;
}

static void test_overflow(void)
{
    struct pool p;
    struct cm_persist_ops ops;
    cm_file *f;
    uint64_t block[CROWD];
    const unsigned before = make_crowd(&p, &f, block);
    watch_headers(&p, &ops);
    ops.flush = header_flush;
    headers_flushed = 0;
    const cm_grow_report r = grow_to(&p, 4 * MIB);
    p.c->media.ops = whole_ops;
    CHECK_EQ(headers_flushed, before - CM_PLACE_CELLS); /* before their cells are gone */
    const unsigned after = crowd_hits(f, block);
    CHECK_EQ(after, CM_PLACE_CELLS);
    CHECK_EQ(r.dropped, before - after);
    CHECK_EQ(r.blocks, after);
    is_sound(&p);
    CHECK_EQ(slots_astray(p.c), 0);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The same of a kept file, whose slots are marked: no empty slot stays marked. */
static void test_overflow_kept(void)
{
    struct pool p;
    cm_file *f;
    uint64_t block[CROWD], marked = 0;
    const unsigned before = make_crowd(&p, &f, block);
    struct cm_ring *ring = &p.c->policy.ring;
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    cm_lock_acquire(&p.c->keeping.lock);
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        if (slot_ok(p.c, s) && cm_ring_own(ring, s)) {
            marked += cm_ring_keep(ring, s, 1000);
            cm_ring_disown(ring, s);
        }
    cm_lock_release(&p.c->keeping.lock);
    CHECK_EQ(marked, before);
    CHECK_EQ(p.c->keeping.blocks, 0); /* nobody knows how many it may have */
    CHECK_EQ(grow_to(&p, 4 * MIB).dropped, before - CM_PLACE_CELLS);
    CHECK_EQ(ring->kept_count, CM_PLACE_CELLS);
    for (uint64_t s = 0; s < cm_media_slots(&p.c->media); s++)
        CHECK(slot_ok(p.c, s) || !cm_ring_is_kept(ring, s));
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The same, and none of them can be forgotten: the pool stays as it is. */
static void test_overflow_unwritable(void)
{
    struct pool p;
    cm_file *f;
    uint64_t block[CROWD];
    const unsigned before = make_crowd(&p, &f, block);
    struct cm_persist_ops ops;
    watch_headers(&p, &ops);
    ops.cas64 = header_cas;
    CHECK_EQ(cm_grow(p.c, 4 * MIB, NULL), CM_EIO);
    CHECK_EQ(pool_info(p.c).size, 2 * MIB);
    CHECK_EQ(crowd_hits(f, block), before);
    p.c->media.ops = whole_ops;
    CHECK_EQ(grow_to(&p, 4 * MIB).dropped, before - CM_PLACE_CELLS);
    is_sound(&p);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- What is copied -------------------------------------------------------------------------- */

/* Headers that cannot be read may be valid. Without their cells no bracket would find them, so the
 * pool does not grow. */
static void test_unreadable_headers(void)
{
    struct pool p, big;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    in_memory(&p, &big, 16 * MIB);
    cm_file *f = fill_file(&big, 1, 100);
    uint8_t *const page = big.base + big.c->media.geo.header_offset;
    os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(cm_grow(big.c, 8 * MIB, NULL), CM_EIO);
    os_protect(page, BLK, OS_WRITE);
    CHECK_EQ(hits(f, 0, 100, 1), 100);
    CHECK_EQ(cm_grow(big.c, 8 * MIB, NULL), 0);
    CHECK_EQ(hits(f, 0, 100, 1), 100);
    detach(f);
    is_sound(&big);
    pool_end(&big);
    pool_end(&p);
}

static unsigned unfenced; /* copies and flushes since the last fence */
static int noted_copy(void *ctx, void *dst, const void *src, size_t n)
{
    unfenced++;
    return whole_ops->copy(ctx, dst, src, n);
}
static int noted_flush(void *ctx, const void *p, size_t n)
{
    unfenced++;
    return whole_ops->flush(ctx, p, n);
}
static void noted_fence(void *ctx)
{
    whole_ops->fence(ctx);
    unfenced = 0;
}

static unsigned fenced_grows;
static void is_fenced(struct pool *p, cm_file *f)
{
    (void)p, (void)f;
    fenced_grows++;
    CHECK_EQ(unfenced, 0);
}

/* All of the new index is durable before the superblocks begin to say that it counts. */
static void test_fenced(void)
{
    struct pool p;
    make(&p, 4 * MIB, 16 * MIB);
    cm_file *f = fill_file(&p, 1, 100);
    whole_ops = p.c->media.ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.copy = noted_copy;
    ops.flush = noted_flush;
    ops.fence = noted_fence;
    p.c->media.ops = &ops;
    fenced_grows = 0;
    in_the_middle = is_fenced;
    CHECK_EQ(cm_grow(p.c, 8 * MIB, NULL), 0);
    in_the_middle = NULL;
    CHECK(fenced_grows > 0);
    p.c->media.ops = whole_ops;
    CHECK_EQ(hits(f, 0, 100, 1), 100);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Cells that lead nowhere, or to a block whose cell is another one, are not copied. */
static void test_stray_cells(void)
{
    struct pool p, big;
    in_memory(&p, &big, 16 * MIB);
    cm_file *f = fill_file(&big, 1, 100);
    const struct cm_key k = key_of(f, 3);
    uint64_t other = 0;
    while (other == k.place.bucket[0] || other == k.place.bucket[1])
        other++;
    out_of_order(big.c);
    *cell_of(big.c, other, 6) = *cell_to(f, 3);
    *cell_of(big.c, k.place.bucket[1], 7) = /* of another tag, in one of its buckets */
        cm_cell_make(k.place.tag ^ (UINT64_C(1) << 63), big.c->media.boot, slot_of(f, 3));
    *cell_of(big.c, other, 7) =
        cm_cell_make(k.place.tag, big.c->media.boot, big.c->media.geo.slots + 5);
    CHECK_EQ(grow_to(&big, 8 * MIB).blocks, 100);
    CHECK_EQ(hits(f, 0, 100, 1), 100);
    detach(f);
    is_sound(&big);
    pool_end(&big);
    pool_end(&p);
}

static int allocations;
static void *some_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return allocations-- > 0 ? cm_plat_alloc(bytes) : NULL;
}

/* Without memory the pool does not grow. */
static void test_no_memory(void)
{
    struct pool p, big;
    int n = 0, e;
    in_memory(&p, &big, 16 * MIB);
    cm_file *f = fill_file(&big, 1, 100);
    void *(*const alloc)(void *, size_t) = big.c->opts.alloc;
    big.c->opts.alloc = some_alloc;
    do {
        CASE("allocations %d", n);
        allocations = n++;
        e = cm_grow(big.c, 8 * MIB, NULL);
        CHECK(e == 0 || e == CM_ENOMEM);
        CHECK_EQ(pool_info(big.c).size, e ? 4 * MIB : 8 * MIB);
        CHECK_EQ(hits(f, 0, 100, 1), 100);
    } while (e != 0 && n < 100);
    CHECK(n > 1);
    big.c->opts.alloc = alloc;
    detach(f);
    is_sound(&big);
    pool_end(&big);
    pool_end(&p);
}

static const uint8_t *lost_from, *lost_to; /* the next copy of cells to there fails */
static int losing_copy(void *ctx, void *dst, const void *src, size_t n)
{
    const uint8_t *at = dst;
    bool cells = false;
    for (size_t i = 0; i < n; i++)
        cells = cells || ((const uint8_t *)src)[i] != 0;
    if (cells && at >= lost_from && at < lost_to) {
        lost_to = lost_from;
        return CM_EIO;
    }
    return whole_ops->copy(ctx, dst, src, n);
}

/* A part of the new index cannot be written. */
static uint64_t taken; /* bytes of memory */
static void *take_memory(void *ctx, size_t bytes)
{
    (void)ctx;
    taken += bytes;
    return cm_plat_alloc(bytes);
}
static void give_memory(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    taken -= bytes;
    cm_plat_free(p, bytes);
}

static void test_unwritable_index(void)
{
    struct pool p, big;
    struct cm_geometry to;
    uint64_t word;
    in_memory_of(&p, &big, 32 * MIB, 64 * MIB);
    cm_file *f = fill_file(&big, 1, 500);
    whole_ops = big.c->media.ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.copy = losing_copy;
    CHECK_EQ(cm_format_grow(&big.c->media.geo, 48 * MIB, &to, &word), 0);
    CHECK(to.stripes > 1);
    lost_from = big.base + to.index_offset + to.index_first * sizeof(struct cm_bucket);
    lost_to = lost_from + (uint64_t)to.stripes * to.stripe_buckets * sizeof(struct cm_bucket);
    big.c->media.ops = &ops;
    void *(*const alloc)(void *, size_t) = big.c->opts.alloc;
    void (*const give)(void *, void *, size_t) = big.c->opts.free;
    big.c->opts.alloc = take_memory;
    big.c->opts.free = give_memory;
    CHECK_EQ(cm_grow(big.c, 48 * MIB, NULL), CM_EIO);
    CHECK(lost_to == lost_from);
    CHECK_EQ(taken, 0); /* it keeps no memory */
    big.c->opts.alloc = alloc;
    big.c->opts.free = give;
    big.c->media.ops = whole_ops;
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(grow_to(&big, 48 * MIB).blocks, 500);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    detach(f);
    uint64_t cells = 0; /* nothing but the blocks' own */
    for (uint64_t b = 0; b < (uint64_t)to.stripes * to.stripe_buckets; b++)
        for (unsigned c = 0; c < CM_BUCKET_CELLS; c++)
            cells += *cell_of(big.c, to.index_first + b, c) != 0;
    CHECK_EQ(cells, 500);
    is_sound(&big);
    pool_end(&big);
    pool_end(&p);
}

/* A pool with holes finds out that the volume is full when it writes the new index. */
static void test_full_volume(void)
{
    struct pool p;
    struct cm_geometry to;
    uint64_t word;
    make(&p, 32 * MIB, 64 * MIB);
    struct cm_media *const m = &p.c->media;
    p.c->file.sparse = true;
    cm_file *f = fill_file(&p, 1, 500);
    whole_ops = m->ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.copy = losing_copy;
    CHECK_EQ(cm_format_grow(&m->geo, 48 * MIB, &to, &word), 0);
    lost_from = m->base + to.index_offset + to.index_first * sizeof(struct cm_bucket);
    lost_to = lost_from + (uint64_t)to.stripes * to.stripe_buckets * sizeof(struct cm_bucket);
    m->ops = &ops;
    CHECK_EQ(cm_grow(p.c, 48 * MIB, NULL), CM_ENOSPC);
    CHECK(said_level == CM_LOG_WARNING && strstr(said, "cannot grow in its place") &&
          strstr(said, cm_strerror(CM_ENOSPC)));
    m->ops = whole_ops;
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    (void)grow_to(&p, 48 * MIB);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

const struct harness_test grow_index_tests[] = {
    TEST(overflow),
    TEST(overflow_kept),
    TEST(overflow_unwritable),
    TEST(unreadable_headers),
    TEST(fenced),
    TEST(stray_cells),
    TEST(no_memory),
    TEST(unwritable_index),
    TEST(full_volume),
    TEST_END,
};
