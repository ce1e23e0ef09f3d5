/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_media.c - flushes that fail, locks, and memory that cannot be read or written.
 */
#include "block_common.h"

#include <inttypes.h>

#include "../os.h"
#include "../plat_create.h"
#include "protocol/lookup.h"

/* ---- Flushes that fail ----------------------------------------------------------------------- */

static const struct cm_persist_ops *whole_ops;
static const struct cm_media *flushed_media;

static int flush_no_cell(void *ctx, const void *p, size_t n)
{
    const uint8_t *index = flushed_media->base + flushed_media->geo.index_offset;
    const uint8_t *headers = flushed_media->base + flushed_media->geo.header_offset;
    const bool is_cell = (const uint8_t *)p >= index && (const uint8_t *)p < headers;
    return is_cell ? CM_EIO : whole_ops->flush(ctx, p, n);
}

/* The number of flushes of each header. */
static unsigned header_flushes[4096];

static int flush_counted(void *ctx, const void *p, size_t n)
{
    const uint8_t *headers = flushed_media->base + flushed_media->geo.header_offset;
    for (uint64_t s = 0; s < flushed_media->geo.slots; s++) {
        const uint8_t *h = headers + s * sizeof(struct cm_header);
        header_flushes[s] += h >= (const uint8_t *)p && h < (const uint8_t *)p + n;
    }
    return whole_ops->flush(ctx, p, n);
}

/* Blocks are stored together. Every header is flushed with its key words, and again with VALID. The
 * headers of the victims are flushed once before. */
static void test_neighbours_flushed(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    const uint64_t slots = p.c->media.geo.slots;
    whole_ops = p.c->media.ops;
    flushed_media = &p.c->media;
    ops.flush = flush_counted;
    CHECK(slots <= sizeof(header_flushes) / sizeof(header_flushes[0]));
    for (uint64_t b = 0; b < 2 * slots; b += 16) { /* a turn without victims, and one with */
        CASE("b %" PRIu64, b);
        memset(header_flushes, 0, sizeof(header_flushes));
        p.c->media.ops = &ops;
        cm_miss m = miss_of(f, b * BLK, 16 * BLK);
        CHECK_EQ(fill(f, &m, 5, m.len, 0), 0);
        p.c->media.ops = whole_ops;
        for (uint64_t i = b; i < b + 16; i++)
            if (look(f, i, 5) == RIGHT)
                CHECK(header_flushes[slot_of(f, i)] >= 2);
    }
    pool_end(&p);
}

/* Headers that are apart are flushed one by one, neighbours together, and nothing between them. */
static void test_only_those_flushed(void)
{
    static const uint64_t slots[] = { 1, 100, 101, 102, 7, 6, 40, 42 };
    struct pool p;
    (void)open_pool_and_file(&p, 4 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    unsigned all = 0;
    whole_ops = p.c->media.ops;
    flushed_media = &p.c->media;
    ops.flush = flush_counted;
    memset(header_flushes, 0, sizeof(header_flushes));
    p.c->media.ops = &ops;
    CHECK_EQ(cm_slot_flush_all(&p.c->media, slots, 8), 0);
    p.c->media.ops = whole_ops;
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        all += header_flushes[s];
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        CHECK_EQ(header_flushes[slots[i]], 1);
    }
    CHECK_EQ(all, 8);
    pool_end(&p);
}

/* A block whose cell cannot be flushed is not stored: it is undone, and no slot is lost. */
static void test_unflushable_cell(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    flushed_media = &p.c->media;
    whole_ops = p.c->media.ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.flush = flush_no_cell;
    p.c->media.ops = &ops;
    for (uint64_t b = 0; b < 100; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(put(f, b, 5), CM_NOT_STORED_MEDIA);
    }
    CHECK_EQ(hits(f, 0, 100, 5), 0);
    CHECK_EQ(STAT(p.c, quarantined), 0);
    p.c->media.ops = whole_ops;
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    CHECK_EQ(hits(f, 0, 100, 5), 100);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static cm_file *pinned_file;
static uint64_t pinned_slot;

/* The fill has published the block. A reader pins it before the cell is flushed. */
static int flush_no_cell_pinned(void *ctx, const void *p, size_t n)
{
    struct cm_cache *c = cm_object_of(pinned_file)->cache;
    const int e = flush_no_cell(ctx, p, n);
    if (e && pinned_slot == CM_NO_SLOT) {
        const struct cm_key k = key_of(pinned_file, 4);
        uint32_t valid;
        bool busy = false;
        CHECK_EQ(cm_lookup_pin(c, &k, &pinned_slot, &valid, &busy), CM_FOUND_HIT);
    }
    return e;
}

/* It is undone, but its bytes stay as long as they are pinned. */
static void test_unflushable_cell_pinned(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    flushed_media = &p.c->media;
    whole_ops = p.c->media.ops;
    ops.flush = flush_no_cell_pinned;
    pinned_file = f;
    pinned_slot = CM_NO_SLOT;
    p.c->media.ops = &ops;
    CHECK_EQ(put(f, 4, 5), CM_NOT_STORED_MEDIA);
    p.c->media.ops = whole_ops;
    CHECK(pinned_slot != CM_NO_SLOT);
    CHECK_EQ(look(f, 4, 5), MISS);
    (void)put_all(f, 10, 2 * p.c->media.geo.slots, 6);
    CHECK(is_content(5, 4, payload_of(p.c, pinned_slot), BLK));
    cm_lookup_unpin(p.c, pinned_slot);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static struct cm_cache *locked_cache;
static uint64_t stores_seen, stores_unlocked, locks_too_many;

static void expect_locked(uint64_t stripe)
{
    unsigned held = 0;
    for (uint64_t s = 0; s < locked_cache->media.geo.stripes; s++)
        held += at_load_relaxed(&cm_stripe_at(locked_cache, s)->lock.word) != 0;
    stores_seen++;
    locks_too_many += held > 1;
    stores_unlocked += at_load_relaxed(&cm_stripe_at(locked_cache, stripe)->lock.word) == 0;
}

/* A cell is stored under the lock of its stripe. A header becomes valid or invalid under the lock
 * of its key's stripe. */
static void expect_lock_for(const uint64_t *p, uint64_t was, uint64_t next)
{
    const struct cm_media *m = &locked_cache->media;
    const uint8_t *at = (const uint8_t *)p, *index = m->base + m->geo.index_offset;
    const uint8_t *headers = m->base + m->geo.header_offset;
    const uint8_t *end = headers + m->geo.slots * sizeof(struct cm_header);
    if (at >= index && at < headers) {
        uint64_t bucket = (uint64_t)(at - index) / sizeof(struct cm_bucket);
        if (bucket < m->geo.stripes * m->geo.stripe_buckets)
            expect_locked(bucket / m->geo.stripe_buckets);
    } else if (at >= headers && at < end && ((was | next) & CM_W0_VALID)) {
        const struct cm_header *h = (const struct cm_header *)(const void *)p; /* w0 is its first */
        expect_locked(cm_key_stripe(m, h->incarnation, cm_header_block(h)));
    }
}

static int store_locked(void *ctx, uint64_t *p, uint64_t v)
{
    expect_lock_for(p, 0, v);
    return whole_ops->store64(ctx, p, v);
}

static int cas_locked(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    expect_lock_for(p, expected, desired);
    return whole_ops->cas64(ctx, p, expected, desired);
}

/* Runs of blocks that end in one stripe and begin in another, and evict others like them. */
static void test_stores_locked(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    const uint64_t slots = p.c->media.geo.slots;
    CHECK(p.c->media.geo.stripes >= 2);
    locked_cache = p.c;
    stores_seen = stores_unlocked = locks_too_many = 0;
    whole_ops = p.c->media.ops;
    ops.store64 = store_locked;
    ops.cas64 = cas_locked;
    p.c->media.ops = &ops;
    for (uint64_t b = 7; b < 3 * slots; b += 32) {
        CASE("b %" PRIu64, b);
        cm_miss m = miss_of(f, b * BLK, 32 * BLK);
        CHECK_EQ(fill(f, &m, 5, m.len, 0), 0);
    }
    for (uint64_t b = 2 * slots; b < 3 * slots; b += 48) {
        CASE("b %" PRIu64, b);
        cm_bracket w = begin_write(f, b * BLK, 48 * BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    p.c->media.ops = whole_ops;
    CHECK(stores_seen > 9 * slots); /* two for each block, and two more for each eviction */
    CHECK_EQ(stores_unlocked, 0);
    CHECK_EQ(locks_too_many, 0);
    pool_end(&p);
}

static int cas_fails(void *ctx, uint64_t *word, uint64_t expected, uint64_t desired)
{
    (void)ctx, (void)word, (void)expected, (void)desired;
    return CM_EIO;
}

/* A shorter tail whose header cannot be written does not make room: it stays. */
static void test_displace_unwritable(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    uint64_t slot = slot_of(f, 4);
    struct cm_media *m = &p.c->media;
    struct cm_persist_ops ops = *m->ops;
    whole_ops = m->ops;
    ops.cas64 = cas_fails;
    cm_miss miss = miss_of(f, 4 * BLK, BLK);
    content(6, 4, buf);
    m->ops = &ops;
    CHECK_EQ(cm_fill(f, &miss, buf, BLK, 0), CM_NOT_STORED_BUSY);
    m->ops = whole_ops;
    CHECK_EQ(slot_of(f, 4), slot);
    CHECK_EQ(STAT(p.c, displaced), 0);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1000);
    CHECK(is_content(5, 4, buf, 1000));
    pool_end(&p);
}

/* A slot that a thread owns is not judged: another thread that finds it wrong or unreadable leaves
 * it to the owner. */
static void test_owned_is_left_alone(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    uint64_t wrong = slot_of(f, 0), lost = slot_of(f, 1);
    CHECK(cm_ring_own(&p.c->policy.ring, wrong) && cm_ring_own(&p.c->policy.ring, lost));
    payload_of(p.c, wrong)[100] ^= 1;
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(slot_of(f, 0), wrong);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, wrong));
    if (cm_guard_available()) {
        os_protect(payload_of(p.c, lost), BLK, OS_NOTHING);
        CHECK_EQ(look(f, 1, 5), MISS);
        os_protect(payload_of(p.c, lost), BLK, OS_WRITE);
        CHECK_EQ(STAT(p.c, quarantined), 0);
        CHECK_EQ(slot_of(f, 1), lost);
    }
    cm_ring_disown(&p.c->policy.ring, wrong);
    cm_ring_disown(&p.c->policy.ring, lost);
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(slot_of(f, 0), CM_NO_SLOT); /* now the reader drops it */
    CHECK_EQ(look(f, 1, 5), RIGHT);
    pool_end(&p);
}

/* ---- Unreadable memory ----------------------------------------------------------------------- */

static void forbid(void *p, bool forbidden)
{
    os_protect(p, BLK, forbidden ? OS_NOTHING : OS_WRITE);
}

/* A payload page that cannot be read: a miss, counted; the slot is out of use. */
static void test_unreadable_payload(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    uint64_t slot = slot_of(f, 2);
    forbid(payload_of(p.c, slot), true);
    CHECK_EQ(look(f, 2, 5), MISS);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(hits(f, 0, 2, 5), 2);
    /* The block can still be written, because its header is readable. */
    cm_bracket w = begin_write(f, 2 * BLK, BLK);
    CHECK(!slot_ok(p.c, slot));
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(payload_of(p.c, slot), false);
    CHECK_EQ(look(f, 2, 5), MISS);
    CHECK_EQ(put(f, 2, 6), 0);
    CHECK(slot_of(f, 2) != slot);
    pool_end(&p);
}

/* One of the payloads that one copy takes cannot be read. What is before it is served. The damage
 * is counted once, and the slots beside it stay in use. */
static void test_unreadable_neighbour(void)
{
    static uint8_t buf[5 * CM_BLOCK_SIZE], none[CM_BLOCK_SIZE];
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    CHECK_EQ(hits(f, 0, 5, 5), 5); /* judged */
    uint64_t slot = slot_of(f, 2);
    memset(buf, 0xee, sizeof(buf));
    forbid(payload_of(p.c, slot), true);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 2 * BLK);
    forbid(payload_of(p.c, slot), false);
    for (uint64_t i = 0; i < 2; i++)
        CHECK(is_content(5, i, buf + i * BLK, BLK));
    CHECK(memcmp(buf + 2 * BLK, none, BLK) == 0);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(look(f, 2, 5), MISS);
    CHECK_EQ(hits(f, 3, 2, 5), 2);
    pool_end(&p);
}

/* A slot that cannot be written: the fill is refused, the next one goes elsewhere. */
static void test_unwritable_payload(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    forbid(payload_of(p.c, 0), true);
    forbid(payload_of(p.c, 1), true);
    unsigned stored = put_all(f, 0, 100, 5);
    CHECK_EQ(stored, 98);
    CHECK_EQ(STAT(p.c, refused_media), 2);
    CHECK_EQ(STAT(p.c, quarantined), 2);
    CHECK_EQ(hits(f, 0, 100, 5), 98);
    forbid(payload_of(p.c, 0), false);
    forbid(payload_of(p.c, 1), false);
    pool_end(&p);
}

/* A header page that cannot be read may hold the block, so a write forgets the whole file. */
static void test_unreadable_header(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    uint64_t hidden = 0;
    uint8_t *page = (uint8_t *)header_of(p.c, 0);
    CHECK_EQ((uintptr_t)page % BLK, 0);
    while ((uint8_t *)header_of(p.c, slot_of(f, hidden)) >= page + BLK)
        hidden++;
    uint64_t inc = info_of(f).incarnation;
    forbid(page, true);
    CHECK_EQ(look(f, hidden, 5), MISS);
    CHECK(STAT(p.c, miss_media) >= 1);
    cm_bracket w = begin_write(f, hidden * BLK, BLK);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(page, false);
    CHECK_EQ(hits(f, 0, 200, 5), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    pool_end(&p);
}

/* Of two blocks that a write forgets together only the first one's header cannot be read. */
static void test_unreadable_first_of_two(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(put_all(f, 500, 200, 5), 200);
    CHECK_EQ(put(f, 1, 5), 0);
    uint8_t *page = (uint8_t *)header_of(p.c, 0);
    CHECK((uint8_t *)header_of(p.c, slot_of(f, 0)) < page + BLK);
    CHECK((uint8_t *)header_of(p.c, slot_of(f, 1)) >= page + BLK);
    uint64_t inc = info_of(f).incarnation;
    forbid(page, true);
    cm_bracket w = begin_write(f, 0, 2 * BLK);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(page, false);
    CHECK_EQ(hits(f, 0, 2, 5), 0);
    pool_end(&p);
}

/* A cell leads to a header that cannot be read. The cell is not used again: when the page can be
 * read again the header may be valid, and without its cell no write would find it. */
static void test_cells_of_unreadable_headers(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200); /* the next fill takes a slot of another page */
    out_of_order(p.c);
    struct cm_key k = key_of(f, 500);
    uint64_t cell = cm_cell_make(k.place.tag ^ (UINT64_C(1) << 63), 0, 3);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        *cell_of(p.c, k.place.bucket[i / 8], i % 8) = cell;
    forbid(header_of(p.c, 0), true);
    CHECK_EQ(put(f, 500, 5), CM_NOT_STORED_FULL);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        CASE("i %u", i);
        CHECK(*cell_of(p.c, k.place.bucket[i / 8], i % 8) == cell);
    }
    forbid(header_of(p.c, 0), false);
    pool_end(&p);
}

/* Headers of victims cannot be read. They may be valid, so their slots are not used again. */
static void test_unreadable_victims(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    const uint64_t slots = p.c->media.geo.slots;
    uint64_t b = 0;
    while (b < slots || p.c->policy.ring.frontier < slots || p.c->policy.ring.free_count > 0)
        (void)put(f, b++, 5);
    forbid(header_of(p.c, 0), true);
    for (const uint64_t end = b + 3 * slots; b < end && STAT(p.c, quarantined) == 0; b++) {
        const int e = put(f, b, 5);
        CHECK(e == 0 || e == CM_NOT_STORED_BUSY);
    }
    CHECK(STAT(p.c, quarantined) > 0);
    CHECK_EQ(slots_astray(p.c), STAT(p.c, quarantined));
    CHECK_EQ(STAT(p.c, refused_media), 0);
    forbid(header_of(p.c, 0), false);
    pool_end(&p);
}

/* The header that a cell leads to cannot be read: it may be the newcomer's. */
static void test_unreadable_copy(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    const cm_miss again = miss_of(f, 3 * BLK, BLK);
    CHECK_EQ(put_all(f, 0, 200, 5), 200); /* the next fill takes a slot of another page */
    CHECK((uint8_t *)header_of(p.c, slot_of(f, 3)) < (uint8_t *)header_of(p.c, 0) + BLK);
    content(5, 3, data);
    forbid(header_of(p.c, 0), true);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_MEDIA);
    forbid(header_of(p.c, 0), false);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    CHECK_EQ(look(f, 3, 5), RIGHT);
    pool_end(&p);
}

/* Calls that look for a block by its headers alone find the index unreadable. */
static void test_unreadable_index_found(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    const struct cm_trouble *t = &p.c->trouble[CM_TROUBLE_MEDIA];
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    CHECK_EQ(cm_file_cached(f, 0, 50 * BLK), 50 * (int64_t)BLK);
    CHECK_EQ(at_load_relaxed(&t->count) + at_load_relaxed(&t->said_at), 0);
    forbid(cell_of(p.c, 0, 0), true);
    CHECK_EQ(cm_file_cached(f, 0, 50 * BLK), 0);
    CHECK(at_load_relaxed(&t->count) + at_load_relaxed(&t->said_at) > 0);
    CHECK_EQ(cm_pin_range(f, 3 * BLK, BLK, &iov, 1, &n, &pins, NULL), 0);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    forbid(cell_of(p.c, 0, 0), false);
    CHECK_EQ(cm_file_cached(f, 0, 50 * BLK), 50 * (int64_t)BLK);
    pool_end(&p);
}

/* An index page cannot be read: reads miss, fills are refused, and writes escalate. */
static void test_unreadable_index(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    uint64_t inc = info_of(f).incarnation;
    forbid(cell_of(p.c, 0, 0), true);
    CHECK_EQ(hits(f, 0, 50, 5), 0);
    CHECK_EQ(STAT(p.c, miss_media), 50);
    CHECK_EQ(put(f, 60, 5), CM_NOT_STORED_MEDIA);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(cell_of(p.c, 0, 0), false);
    CHECK_EQ(look(f, 3, 5), MISS);
    pool_end(&p);
}

/* ---- Memory that reads wrong for a moment, without an error ---------------------------------- */

static uint8_t page_was[CM_BLOCK_SIZE];

/* The page at `to` reads as `from` (NULL: zeros) until it is told the truth again. */
static void lie(void *to, const void *from)
{
    memcpy(page_was, to, BLK);
    if (from)
        memmove(to, from, BLK);
    else
        memset(to, 0, BLK);
}

/* Headers that read wrong while a bracket looks: as zeros, as the headers of other slots, and with
 * every bit wrong. Their checks name the slot, so none of them counts. The cell goes, and what was
 * written is never found again. */
static void test_lying_headers(void)
{
    static uint8_t wrong[CM_BLOCK_SIZE];
    for (unsigned how = 0; how < 3; how++) {
        struct pool p;
        CASE("how %u", how);
        cm_file *f = open_pool_and_file(&p, 4 * MIB);
        CHECK_EQ(put_all(f, 0, 300, 5), 300);
        uint8_t *const page = (uint8_t *)header_of(p.c, 0);
        uint64_t b = 0;
        while ((uint8_t *)header_of(p.c, slot_of(f, b)) >= page + BLK)
            b++;
        CHECK_EQ(look(f, b, 5), RIGHT);
        for (unsigned i = 0; i < BLK; i++)
            wrong[i] = (uint8_t)~page[i];
        out_of_order(p.c);
        lie(page, how == 0 ? NULL : how == 1 ? page + BLK : wrong);
        cm_bracket w = begin_write(f, b * BLK, BLK);
        memcpy(page, page_was, BLK);
        CHECK_EQ(look(f, b, 5), MISS);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(look(f, b, 5), MISS);
        pool_again(&p);
        f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
        CHECK_EQ(look(f, b, 5), MISS);
        pool_end(&p);
    }
}

/* Index pages that read wrong while a block is read and stored, as zeros or as another page: reads
 * miss, and a block may be stored twice. A bracket that sees the truth forgets both. */
static void test_lying_index(void)
{
    for (unsigned how = 0; how < 2; how++) {
        struct pool p;
        CASE("how %u", how);
        cm_file *f = open_pool_and_file(&p, 4 * MIB);
        CHECK_EQ(put_all(f, 0, 300, 5), 300);
        out_of_order(p.c);
        const struct cm_key k = key_of(f, 7);
        for (unsigned i = 0; i < 2; i++) {
            uint8_t *const page = (uint8_t *)cell_of(p.c, k.place.bucket[i] / 64 * 64, 0);
            uint8_t *const other = (uint8_t *)cell_of(p.c, 0, 0);
            lie(page, how == 0 || page == other ? NULL : other);
            const int r = look(f, 7, 5);
            CHECK(r == MISS || r == RIGHT);
            const int e = put(f, 7, 5);
            CHECK(e == 0 || e == CM_NOT_STORED_PRESENT || e == CM_NOT_STORED_FULL);
            for (unsigned b = 0; b < BLK / 8; b++) /* what was stored meanwhile stays */
                if (((uint64_t *)(void *)page)[b] == 0)
                    memcpy(page + b * 8, page_was + b * 8, 8);
        }
        CHECK_EQ(look(f, 7, 5), RIGHT);
        cm_bracket w = begin_write(f, 7 * BLK, BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(look(f, 7, 5), MISS);
        pool_again(&p);
        f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
        CHECK_EQ(look(f, 7, 5), MISS);
        pool_end(&p);
    }
}

/* Finds nine blocks with the same first bucket, and second buckets in other pages. Returns the page
 * of the first bucket, in buckets / 64. */
static uint64_t one_bucket(cm_file *f, uint64_t *block)
{
    uint64_t n = 0, bucket = 0;
    for (uint64_t b = 0; n <= CM_BUCKET_CELLS; b++) {
        struct cm_key k = key_of(f, b);
        if (k.place.bucket[1] / 64 == k.place.bucket[0] / 64 ||
            (n > 0 && k.place.bucket[0] != bucket))
            continue;
        bucket = k.place.bucket[0];
        block[n++] = b;
    }
    return bucket / 64;
}

/* If a block's first bucket is full, the block is in its second bucket and is found there. */
static void test_second_bucket(void)
{
    struct pool p;
    uint64_t wanted[CM_BUCKET_CELLS + 1];
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    (void)one_bucket(f, wanted);
    const uint64_t last = wanted[CM_BUCKET_CELLS];
    cm_miss again = miss_of(f, last * BLK, BLK);
    for (unsigned i = 0; i <= CM_BUCKET_CELLS; i++) {
        CASE("i %u", i);
        CHECK_EQ(put(f, wanted[i], 5), 0);
    }
    content(5, last, data);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    payload_of(p.c, slot_of(f, last))[7] ^= 1;
    CHECK_EQ(look(f, last, 5), MISS);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    CHECK_EQ(put(f, last, 5), 0);
    for (unsigned i = 0; i <= CM_BUCKET_CELLS; i++) {
        CASE("i %u", i);
        CHECK_EQ(look(f, wanted[i], 5), RIGHT);
    }
    cm_file_iter *list;
    cm_file_info info = CM_FILE_INFO_INIT;
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &list), 0);
    CHECK_EQ(cm_files_next(list, NULL, &info), 0);
    CHECK_EQ(info.cached_bytes, (CM_BUCKET_CELLS + 1) * BLK);
    cm_files_end(list);
    cm_bracket w = begin_write(f, last * BLK, BLK);
    CHECK_EQ(slot_of(f, last), CM_NO_SLOT);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* A block's first bucket cannot be read, and the second has room. The block may already be in the
 * first. */
static void test_unreadable_first_bucket(void)
{
    struct pool p;
    uint64_t wanted[CM_BUCKET_CELLS + 1];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    const uint64_t page = one_bucket(f, wanted);
    cm_miss again = miss_of(f, wanted[0] * BLK, BLK), m;
    content(5, wanted[0], data);
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
        CASE("i %u", i);
        CHECK_EQ(put(f, wanted[i], 5), 0);
    }
    m = miss_of(f, wanted[CM_BUCKET_CELLS] * BLK, BLK);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    forbid(cell_of(p.c, page * 64, 0), true);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_MEDIA);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_MEDIA);
    CHECK_EQ(STAT(p.c, miss_media), 0);
    CHECK_EQ(look(f, wanted[0], 5), MISS);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    forbid(cell_of(p.c, page * 64, 0), false);
    CHECK_EQ(hits(f, wanted[0], 1, 5), 1);
    pool_end(&p);
}

/* The same of the second bucket, while the first has room. */
static void test_unreadable_second_bucket(void)
{
    struct pool p;
    uint64_t wanted[CM_BUCKET_CELLS + 1];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    (void)one_bucket(f, wanted);
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        const uint64_t page = key_of(f, wanted[i]).place.bucket[1] / 64;
        CHECK_EQ(put(f, 1000000 + i, 5), 0);
        cm_miss m = miss_of(f, wanted[i] * BLK, BLK);
        content(5, wanted[i], data);
        forbid(cell_of(p.c, page * 64, 0), true);
        CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_MEDIA);
        forbid(cell_of(p.c, page * 64, 0), false);
        CHECK_EQ(look(f, wanted[i], 5), MISS);
    }
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* An unreadable header is found by calls that do not know which block it holds. */
static void test_unreadable_unseen(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    const uint64_t a_page = BLK / sizeof(struct cm_header);
    CHECK_EQ(put_all(f, 0, 3 * a_page, 5), 3 * a_page);
    uint8_t *page = (uint8_t *)((uintptr_t)header_of(p.c, a_page) / BLK * BLK);
    uint64_t b = 0, inc = info_of(f).incarnation;
    while ((uint8_t *)header_of(p.c, slot_of(f, b)) < page ||
           (uint8_t *)header_of(p.c, slot_of(f, b)) >= page + BLK)
        b++;
    uint64_t slot = slot_of(f, b), next = slot_of(f, b + 1);
    forbid(page, true);
    CHECK_EQ(cm_pin_range(f, b * BLK, BLK, &iov, 1, &n, &pins, NULL), 0);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    cm_bracket w = begin_write(f, (b + 1) * BLK, BLK);
    CHECK_EQ(STAT(p.c, quarantined), 1 + ((uint8_t *)header_of(p.c, next) >= page));
    CHECK(info_of(f).incarnation > inc); /* the new incarnation makes its block unreachable */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(page, false);
    pool_end(&p);
}

static uint64_t unflushable; /* the header of this block cannot be flushed when it is VALID */

static int flush_but_one(void *ctx, const void *p, size_t n)
{
    const struct cm_media *m = flushed_media;
    const uint8_t *from = p, *headers = m->base + m->geo.header_offset;
    for (uint64_t s = 0; s < m->geo.slots; s++) {
        const struct cm_header *h = cm_slot_at(m, s);
        const uint8_t *at = headers + s * sizeof(*h);
        if (at >= from && at < from + n && (h->w0 & CM_W0_VALID) &&
            cm_header_block(h) == unflushable)
            return CM_EIO;
    }
    return whole_ops->flush(ctx, p, n);
}

/* Of blocks that come together the header of one cannot be written back. That block is not stored,
 * and no read finds it. The others are stored. */
static void test_unflushable_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    for (uint64_t bad = 0; bad < 4; bad++) {
        CASE("bad %" PRIu64, bad);
        struct cm_persist_ops ops = *p.c->media.ops;
        const uint64_t at = 10 * bad;
        cm_miss m = miss_of(f, at * BLK, 4 * BLK);
        for (unsigned i = 0; i < 4; i++)
            content(5, at + i, data + i * BLK);
        unflushable = at + bad;
        flushed_media = &p.c->media;
        whole_ops = p.c->media.ops;
        ops.flush = flush_but_one;
        p.c->media.ops = &ops;
        const int64_t missed = STAT(p.c, miss_absent), hit = STAT(p.c, hit_blocks);
        CHECK_EQ(cm_fill(f, &m, data, 4 * BLK, 0), CM_NOT_STORED_MEDIA);
        CHECK_EQ(STAT(p.c, hit_blocks), hit); /* only the refused one is counted as refused */
        CHECK_EQ(STAT(p.c, miss_absent), missed);
        p.c->media.ops = whole_ops;
        CHECK_EQ(hits(f, at, 4, 5), 3);
        CHECK_EQ(STAT(p.c, refused_media), (int64_t)bad + 1);
    }
    pool_end(&p);
}

/* If page after page fails, the cache stops filling, reports that once, and serves what it can. */
static void count_lines(void *ctx, int level, const char *text)
{
    (void)text;
    *(int *)ctx += level == CM_LOG_ERROR;
}

/* No payload can be used but those of the file's first n blocks. In rare cases one has no slot. */
static void forbid_others(cm_file *f, uint64_t n, bool forbidden)
{
    cm_cache *const c = cm_object_of(f)->cache;
    os_protect(payload_of(c, 0), c->media.geo.slots * BLK, forbidden ? OS_NOTHING : OS_WRITE);
    for (uint64_t b = 0; b < n; b++)
        if (slot_of(f, b) != CM_NO_SLOT)
            forbid(payload_of(c, slot_of(f, b)), false);
}

static void test_failing_media(void)
{
    struct pool p;
    int lines = 0;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, MIB, 0);
    p.o.log = count_lines, p.o.log_ctx = &lines;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    (void)put_all(f, 1000, p.c->media.geo.slots, 5); /* every slot was in use before */
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    forbid_others(f, 10, true);
    CHECK(put_all(f, 100, 150, 5) <= 20);
    CHECK(pool_info(p.c).mode == CM_FREEZE && lines == 1);
    CHECK_EQ(put(f, 500, 5), CM_NOT_STORED_MODE);
    const unsigned kept = hits(f, 0, 10, 5);
    CHECK(kept >= 8);
    cm_bracket w = begin_write(f, 3 * BLK, BLK); /* forgetting still works */
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid_others(f, 10, false);
    pool_again(&p);
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK(hits(f, 0, 10, 5) >= kept - 1);
    CHECK_EQ(put(f, 500, 5), 0);
    pool_end(&p);
}

/* Slots cannot be written and never were used: the volume is full. The used slots go on in turn,
 * and no block that hits is lost by it. */
static void test_full_volume(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    struct cm_plat_file holes = PLAT_FILE_INIT; /* plain reads find holes there */
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/cachemax-holes.%u", os_temp(), cm_plat_pid());
    REQUIRE(plat_create(&holes, path, 4 * MIB, false, NULL, NULL) == 0);
    p.c->media.file = &holes;
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    uint64_t used = p.c->policy.ring.frontier;
    size_t rest = (size_t)((p.c->media.geo.slots - used) * BLK);
    os_protect(payload_of(p.c, used), rest, OS_NOTHING);
    unsigned stored = put_all(f, 1000, 2000, 5);
    CHECK(stored > 1800);
    CHECK(hits(f, 0, 200, 5) + hits(f, 1000, 2000, 5) > 100);
    CHECK(STAT(p.c, quarantined) < (int64_t)(p.c->media.geo.slots / 8));
    CHECK_EQ(at_load_relaxed(&p.c->media_errors), 0); /* it is no damage */
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    CHECK_EQ(STAT(p.c, escalations), 0);
    os_protect(payload_of(p.c, used), rest, OS_WRITE);
    pool_again(&p); /* now the volume has room */
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK(put_all(f, 5000, 600, 5) > 590);
    CHECK(hits(f, 5000, 600, 5) > 590);
    pool_end(&p);
    cm_plat_file_close(&holes);
    cm_plat_file_remove(path);
}

const struct harness_test block_media_tests[] = {
    TEST(neighbours_flushed),
    TEST(only_those_flushed),
    TEST(stores_locked),
    TEST(unflushable_cell),
    TEST(unflushable_cell_pinned),
    TEST(second_bucket),
    TEST(unreadable_first_bucket),
    TEST(unreadable_second_bucket),
    TEST(unreadable_unseen),
    TEST(unflushable_header),
    TEST(displace_unwritable),
    TEST(owned_is_left_alone),
    TEST(unreadable_payload),
    TEST(unreadable_neighbour),
    TEST(unwritable_payload),
    TEST(unreadable_header),
    TEST(unreadable_first_of_two),
    TEST(cells_of_unreadable_headers),
    TEST(unreadable_index),
    TEST(unreadable_victims),
    TEST(unreadable_copy),
    TEST(unreadable_index_found),
    TEST(lying_headers),
    TEST(lying_index),
    TEST(failing_media),
    TEST(full_volume),
    TEST_END,
};
