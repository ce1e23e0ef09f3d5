/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_check.c - verifying a pool: every kind of damage is found and named, a check alone changes
 * no byte, a repair drops wrong entries and nothing else, and what still hits is right.
 */
#include "fixture.h"

#include <pthread.h>

#include "../os.h"
#include "count_ops.h"
#include "protocol/lookup.h"

#define BLOCKS 100u

static cm_check_report check(cm_cache *c, uint32_t flags, int expected)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    int e = cm_check(c, flags, NULL, NULL, &r);
    if (e != expected)
        printf("# check said %d: headers %llu payload %llu cells %llu records %llu\n", e,
               (unsigned long long)r.bad_headers, (unsigned long long)r.bad_payload,
               (unsigned long long)r.bad_cells, (unsigned long long)r.torn_records);
    CHECK_EQ(e, expected);
    return r;
}

/* All that counts as damage. */
static uint64_t damage(const cm_check_report *r)
{
    return r->bad_headers + r->bad_payload + r->unreadable + r->bad_cells + r->duplicates;
}

/* A pool with BLOCKS blocks of file 1 (tag 5) and one of file 2, all right. */
static cm_file *make(struct pool *p)
{
    (void)pool_new(p, MIB);
    cm_file *g = attach(p, 2, 1000 * BLK, 1, 0);
    CHECK_EQ(put(g, 0, 6), 0);
    cm_file *f = attach(p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, BLOCKS, 5), BLOCKS);
    return f;
}

/* Closes the pool, checks it read-only in memory that cannot be written, and opens it again. */
static cm_check_report look_only(struct pool *p, uint32_t flags, int expected)
{
    uint8_t *before = map_bytes(p->bytes);
    pool_down(p);
    memcpy(before, p->base, (size_t)p->bytes);
    os_protect(p->base, (size_t)p->bytes, OS_READ);
    p->o.flags = CM_OPEN_READONLY;
    (void)pool_up(p);
    cm_check_report r = check(p->c, flags, expected);
    CHECK_EQ(STAT(p->c, quarantined), 0);
    pool_down(p);
    CHECK(memcmp(before, p->base, (size_t)p->bytes) == 0);
    os_protect(p->base, (size_t)p->bytes, OS_WRITE);
    p->o.flags = 0;
    (void)pool_up(p);
    unmap_bytes(before, p->bytes);
    return r;
}

/* ---- Sound pools ----------------------------------------------------------------------------- */

static void test_empty(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.slots, p.c->media.geo.slots);
    CHECK_EQ(r.valid + r.orphaned + r.records + r.stale_cells + damage(&r), 0);
    pool_end(&p);
}

static void test_sound(void)
{
    struct pool p;
    (void)make(&p);
    cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.slots, p.c->media.geo.slots);
    CHECK_EQ(r.valid, BLOCKS + 1);
    CHECK_EQ(r.records, 2);
    CHECK_EQ(r.orphaned + r.stale_cells + r.dropped + damage(&r), 0);
    r = look_only(&p, 0, 0);
    CHECK_EQ(r.valid, BLOCKS + 1);
    CHECK_EQ(r.records, 2);
    pool_end(&p);
}

/* Is the block found, but by no cell of the first bucket of its key? */
static bool only_in_second(cm_file *f, uint64_t block)
{
    const struct cm_media *m = &cm_object_of(f)->cache->media;
    struct cm_key key = cm_key_of(m, cm_object_of(f)->incarnation, block);
    uint64_t cell[CM_BUCKET_CELLS];
    struct cm_header h;
    if (cm_lookup_cached(cm_object_of(f)->cache, &key) == 0)
        return false;
    CHECK_EQ(cm_index_load_bucket(m, key.place.bucket[0], cell), 0);
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++)
        if (cm_index_match(m, &key, cell[i]) &&
            cm_slot_header(m, cm_cell_slot(cell[i]), &h) == CM_SLOT_HIT && cm_slot_is(&h, &key))
            return false;
    return true;
}

static void test_second_bucket(void)
{
    struct pool p;
    uint64_t expected = 0;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    /* Blocks far apart, because neighbours fill the buckets more evenly. */
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    for (uint64_t i = 0; i < p.c->media.geo.slots; i++)
        (void)put(f, i * 1001, 5);
    for (uint64_t i = 0; i < p.c->media.geo.slots; i++)
        expected += only_in_second(f, i * 1001);
    CHECK(expected > 5); /* about 33 */
    cm_check_report r = check(p.c, CM_CHECK_METADATA, 0);
    CHECK_EQ(r.second_bucket, expected);
    pool_end(&p);
}

/* After any amount of ordinary work a pool is sound, both after a clean close and after a crash. */
static void test_sound_after_churn(void)
{
    struct pool p;
    uint64_t rng = 77;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned round = 0; round < 6; round++) {
        CASE("round %u", round);
        cm_file *f = attach(&p, 1 + round % 3, 10000 * BLK, 1, 0);
        for (unsigned i = 0; i < 2000; i++) {
            CASE("i %u", i);
            uint64_t block = next_random(&rng) % 600, n = next_random(&rng) % 200;
            if (n == 0)
                CHECK_EQ(cm_invalidate(f, block * BLK, 9 * BLK), 0);
            else if (n == 1)
                CHECK_EQ(cm_file_abort(f), 0);
            else if (n < 10)
                (void)put_tail(f, block, (size_t)(1 + next_random(&rng) % BLK), 5);
            else
                (void)put(f, block, 5);
        }
        cm_check_report r = check(p.c, 0, 0);
        CHECK_EQ(damage(&r), 0);
        CHECK(r.valid > 150);
        CHECK_EQ(r.orphaned, 0); /* no valid header ever loses its last cell */
        if (round % 2)
            pool_again(&p);
        else {
            pool_crash(&p);
            (void)pool_up(&p);
        }
        r = check(p.c, 0, 0);
        CHECK_EQ(damage(&r), 0);
    }
    pool_end(&p);
}

/* Entries of an earlier epoch are old, not damaged. */
static void test_sound_after_bump(void)
{
    struct pool p;
    (void)make(&p);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK_EQ(bump_epoch(p.c), 0);
        pool_again(&p);
        cm_check_report r = check(p.c, 0, 0);
        CHECK_EQ(r.valid, 0);
        CHECK_EQ(damage(&r), 0);
        cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 30, 5), 30);
        r = check(p.c, 0, 0);
        CHECK_EQ(r.valid, 30);
        CHECK_EQ(damage(&r), 0);
    }
    pool_end(&p);
}

/* ---- Damage ---------------------------------------------------------------------------------- */

enum kind {
    HEADER_BIT,  /* of a valid header */
    HEADER_JUNK, /* garbage that claims to be valid, in an unused slot */
    PAYLOAD_BIT,
    TAIL_BIT,   /* the last valid byte of a block */
    CELL_FAR,   /* names a slot that does not exist */
    CELL_ZERO,  /* a tag without a slot */
    CELL_STALE, /* harmless */
    CELL_LOST,  /* harmless: an orphan */
    RECORD_BIT,
    RECORD_JUNK,
    TWIN, /* one key in two slots */
    KINDS
};

/* An empty cell of one of the key's buckets. */
static uint64_t *empty_cell(cm_file *f, const struct cm_key *k)
{
    unsigned i = CM_PLACE_CELLS;
    while (i-- > 0) {
        uint64_t *cell = cell_of(cm_object_of(f)->cache, k->place.bucket[i / CM_BUCKET_CELLS],
                                 i % CM_BUCKET_CELLS);
        if (*cell == 0)
            return cell;
    }
    FAIL("room in the buckets");
    return cell_of(cm_object_of(f)->cache, k->place.bucket[1], 0);
}

/* A record that was never used. */
static struct cm_record *empty_record(cm_cache *c)
{
    uint64_t place = 0;
    while (record_of(c, place)->id.hi | record_of(c, place)->id.lo)
        place++;
    CHECK(place < c->media.geo.record_buckets * CM_RECORD_WAYS);
    return record_of(c, place);
}

static void damage_cell(cm_file *f, enum kind kind)
{
    struct cm_key k = key_of(f, 50);
    uint64_t *cell = cell_to(f, 50), *empty = empty_cell(f, &k);
    struct cm_geometry *g = &cm_object_of(f)->cache->media.geo;
    if (kind == CELL_LOST)
        *cell = 0;
    else if (kind == CELL_FAR)
        *empty = cm_cell_make(k.place.tag, 1, g->slots);
    else if (kind == CELL_ZERO)
        *empty = UINT64_C(0x123456) << CM_CELL_SLOT_BITS;
    else
        *empty = cm_cell_make(k.place.tag, 1, g->slots - 1);
}

static void make_twin(cm_file *f)
{
    cm_cache *c = cm_object_of(f)->cache;
    struct cm_key k = key_of(f, 50);
    uint64_t slot = slot_of(f, 50), twin = c->media.geo.slots - 1;
    struct cm_header *h = header_of(c, twin);
    memcpy(payload_of(c, twin), payload_of(c, slot), BLK);
    *h = *header_of(c, slot);
    h->xxh3 = cm_format_payload_sum(c->media.check_key, twin, h->incarnation, 50,
                                    payload_of(c, twin), BLK);
    h->w0 = cm_format_w0(c->media.check_key, twin, h, 3);
    *empty_cell(f, &k) = cm_cell_make(k.place.tag, 0, twin);
}

static void seed_damage(cm_file *f, enum kind kind)
{
    cm_cache *c = cm_object_of(f)->cache;
    uint64_t last = c->media.geo.slots - 1, slot = slot_of(f, 50);
    switch (kind) {
    case HEADER_BIT:
        header_of(c, slot)->incarnation ^= 1;
        break;
    case HEADER_JUNK:
        *header_of(c, last) = (struct cm_header){ UINT64_C(0x1234567880000007), 1, 2, 3 };
        break;
    case PAYLOAD_BIT:
        payload_of(c, slot)[1234] ^= 0x10;
        break;
    case TAIL_BIT:
        payload_of(c, slot)[4095] ^= 1;
        break;
    case RECORD_BIT:
        record_of(c, cm_object_of(f)->place)->proof[0] ^= 1;
        break;
    case RECORD_JUNK:
        memset(empty_record(c), 0x5a, CM_RECORD_BODY_BYTES);
        break;
    case TWIN:
        make_twin(f);
        break;
    default:
        damage_cell(f, kind);
    }
}

/* The count that the report must have for each kind, and the only one. */
static uint64_t named(const cm_check_report *r, enum kind kind)
{
    switch (kind) {
    case HEADER_BIT:
    case HEADER_JUNK:
        return r->bad_headers;
    case PAYLOAD_BIT:
    case TAIL_BIT:
        return r->bad_payload;
    case CELL_FAR:
    case CELL_ZERO:
        return r->bad_cells;
    case CELL_STALE:
        return r->stale_cells;
    case CELL_LOST:
        return r->orphaned;
    case RECORD_BIT:
    case RECORD_JUNK:
        return r->torn_records;
    default:
        return r->duplicates;
    }
}

static bool harmless(enum kind kind)
{
    return kind == CELL_STALE || kind == CELL_LOST || kind == RECORD_BIT || kind == RECORD_JUNK;
}

/* A check finds, names and leaves each kind. A repair drops it; then the pool is sound. */
static void check_kind(enum kind kind)
{
    struct pool p;
    cm_file *f = make(&p);
    int found = harmless(kind) ? 0 : CM_DAMAGED;
    /* A record is judged only while its file is not attached. */
    pool_again(&p);
    f = attach(&p, 1, 1000 * BLK, 1, 0);
    struct cm_object copy = *cm_object_of(f);
    detach(f);
    CALL(seed_damage((cm_file *)&copy, kind)); /* looks at the object only */
    cm_check_report r = look_only(&p, 0, found);
    CHECK_EQ(named(&r, kind), 1);
    CHECK_EQ(damage(&r), found == CM_DAMAGED);
    CHECK_EQ(r.dropped, 0);
    r = check(p.c, 0, found); /* an online check finds the same */
    CHECK_EQ(named(&r, kind), 1);
    r = check(p.c, CM_CHECK_REPAIR, 0);
    CHECK_EQ(r.dropped, kind == CELL_STALE || kind == CELL_LOST ? 0 : 1);
    r = check(p.c, 0, 0);
    CHECK_EQ(damage(&r) + r.torn_records, 0);
    f = attach(&p, 1, 1000 * BLK, 1, 0);
    unsigned kept = hits(f, 0, BLOCKS, 5);
    CHECK(kind == RECORD_BIT ? kept == 0 : kept >= BLOCKS - 1);
    cm_file *g = attach(&p, 2, 1000 * BLK, 1, 0);
    CHECK_EQ(look(g, 0, 6), RIGHT);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_again(&p);
    (void)check(p.c, 0, 0);
    if (harness_failures)
        printf("# damage of kind %d\n", (int)kind);
    pool_end(&p);
}

static void test_kinds(void)
{
    for (int kind = 0; kind < KINDS && harness_failures == 0; kind++) {
        CASE("kind %d", kind);
        CALL(check_kind((enum kind)kind));
    }
}

/* The last cell of the index is looked at, too. */
static void test_last_cell(void)
{
    struct pool p;
    (void)make(&p);
    const uint64_t index = cm_media_index(&p.c->media);
    const uint64_t buckets = p.c->media.geo.stripes * cm_index_stripe_buckets(index);
    *cell_of(p.c, cm_index_first(index) + buckets - 1, CM_BUCKET_CELLS - 1) =
        cm_cell_make(1, 0, p.c->media.geo.slots);
    CHECK_EQ(check(p.c, 0, CM_DAMAGED).bad_cells, 1);
    pool_end(&p);
}

/* A cell with the right tag and slot, but of another boot than the block there, leads nowhere. */
static void test_cell_of_other_boot(void)
{
    struct pool p;
    cm_file *f = make(&p);
    const struct cm_key k = key_of(f, 50);
    *empty_cell(f, &k) = cm_cell_make(k.place.tag, 77, slot_of(f, 50));
    const cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.stale_cells, 1);
    CHECK_EQ(r.valid, BLOCKS + 1);
    pool_end(&p);
}

/* The record of an attached file may be in the middle of a rewrite: it is not judged. */
static void test_record_in_use(void)
{
    struct pool p;
    cm_file *f = make(&p);
    out_of_order(p.c);
    CALL(seed_damage(f, RECORD_BIT));
    const cm_check_report r = check(p.c, CM_CHECK_REPAIR, 0);
    CHECK_EQ(r.torn_records, 0);
    CHECK_EQ(r.dropped, 0);
    pool_end(&p);
}

/* A payload that is wrong in a block of an earlier boot, which ended in a crash of the system: that
 * has torn it, so it is no damage. */
static void test_torn_block(void)
{
    struct pool p;
    cm_file *f = make(&p);
    out_of_order(p.c);
    CALL(seed_damage(f, PAYLOAD_BIT));
    p.c->super.now.torn_epoch = p.c->super.now.epoch;
    p.c->super.now.boot_number++;
    const cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.torn, 1);
    CHECK_EQ(r.bad_payload, 0);
    pool_end(&p);
}

/* A block whose header is wrong is gone for the share of its group, too. */
static void test_header_leaves_share(void)
{
    struct pool p;
    uint64_t before = 0, after = 0, quota;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_group_set_quota(p.c, 7, 100 * BLK), 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, 7), 0);
    CHECK_EQ(put_all(f, 0, 60, 5), 60);
    CHECK_EQ(cm_group_usage(p.c, 7, &before, &quota), 0);
    CALL(seed_damage(f, HEADER_BIT));
    CHECK_EQ(check(p.c, CM_CHECK_REPAIR, 0).dropped, 1);
    CHECK_EQ(cm_group_usage(p.c, 7, &after, &quota), 0);
    CHECK_EQ(after, before - BLK);
    pool_end(&p);
}

/* A repair of one kind of damage, whose step `fails` fails. Returns how many steps it had. */
static unsigned repair_failing(enum kind kind, unsigned fails)
{
    struct pool p;
    cm_file *f = make(&p);
    CALL(seed_damage(f, kind));
    count_begin(&p.c->media, fails);
    cm_check_report r = { .struct_size = sizeof(r) };
    const int e = cm_check(p.c, CM_CHECK_REPAIR, NULL, NULL, &r);
    const unsigned steps = count_end(&p.c->media);
    CHECK_EQ(named(&r, kind), 1);
    CHECK_EQ(r.dropped, steps < fails);
    CHECK_EQ(e, steps < fails ? 0 : CM_DAMAGED);
    pool_end(&p);
    return steps;
}

/* What a repair drops is stored and flushed. If a step fails it is not called repaired; so it is
 * with a torn record, which is harmless else. */
static void test_failing_repair(void)
{
    static const struct {
        enum kind kind;
        unsigned steps; /* the last one is the flush */
    } repair[] = { { HEADER_BIT, 2 }, { HEADER_JUNK, 2 }, { CELL_FAR, 2 }, { RECORD_JUNK, 3 } };
    for (unsigned i = 0; i < sizeof(repair) / sizeof(repair[0]); i++)
        for (unsigned fails = 1; fails <= repair[i].steps + 1; fails++) {
            CASE("kind %d, step %u", (int)repair[i].kind, fails);
            const unsigned steps = repair_failing(repair[i].kind, fails);
            CHECK_EQ(steps, fails < repair[i].steps ? fails : repair[i].steps);
        }
}

/* Without the payloads the check does not see a wrong payload, but finds all else. */
static void test_metadata_only(void)
{
    struct pool p;
    cm_file *f = make(&p);
    CALL(seed_damage(f, PAYLOAD_BIT));
    cm_check_report r = check(p.c, CM_CHECK_METADATA, 0);
    CHECK_EQ(r.bad_payload, 0);
    CHECK_EQ(r.valid, BLOCKS + 1);
    CALL(seed_damage(f, CELL_FAR));
    r = check(p.c, CM_CHECK_METADATA, CM_DAMAGED);
    CHECK_EQ(r.bad_cells, 1);
    r = check(p.c, CM_CHECK_METADATA | CM_CHECK_REPAIR, 0);
    CHECK_EQ(r.dropped, 1);
    r = check(p.c, 0, CM_DAMAGED);
    CHECK_EQ(r.bad_payload, 1);
    pool_end(&p);
}

/* Much damage at once, everywhere: one repair drops it all, and every hit is right. */
static void test_riot(void)
{
    struct pool p;
    uint64_t rng = 5;
    cm_file *f = make(&p);
    struct cm_geometry *g = &p.c->media.geo;
    out_of_order(p.c);
    for (unsigned i = 0; i < 60; i++) {
        header_of(p.c, next_random(&rng) % g->slots)->xxh3 ^= 1;
        payload_of(p.c, next_random(&rng) % g->slots)[next_random(&rng) % BLK] ^= 4;
        *cell_of(p.c, next_random(&rng) % (g->stripes * g->stripe_buckets),
                 (unsigned)(next_random(&rng) % 8)) = next_random(&rng);
    }
    cm_check_report r = check(p.c, 0, CM_DAMAGED);
    CHECK(r.bad_headers > 5 && r.bad_payload > 5 && r.bad_cells > 20);
    r = check(p.c, CM_CHECK_REPAIR, 0);
    CHECK_EQ(r.dropped, damage(&r));
    r = check(p.c, 0, 0);
    CHECK(hits(f, 0, BLOCKS, 5) < BLOCKS);
    CHECK(put_all(f, 0, BLOCKS, 5) > 0);
    CHECK(hits(f, 0, BLOCKS, 5) >= BLOCKS - 2);
    CHECK_EQ(slots_astray(p.c), 0);
    (void)check(p.c, 0, 0);
    pool_end(&p);
}

/* ---- Superblocks, emptying, media ------------------------------------------------------------ */

static void test_damaged_super(void)
{
    struct pool p;
    (void)make(&p);
    pool_down(&p);
    super_at(&p, 0)->owner_pid ^= 1;
    p.o.flags = CM_OPEN_READONLY;
    (void)pool_up(&p);
    cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.superblocks_damaged, 1);
    pool_down(&p);
    p.o.flags = 0;
    (void)pool_up(&p); /* the open repairs it */
    r = check(p.c, CM_CHECK_REPAIR, 0);
    pool_again(&p);
    r = check(p.c, 0, 0);
    CHECK_EQ(r.superblocks_damaged, 0);
    pool_end(&p);
}

static void test_would_empty(void)
{
    struct pool p;
    (void)make(&p);
    pool_crash(&p);
    p.o.flags = CM_OPEN_READONLY;
    (void)pool_up(&p);
    CHECK_EQ(check(p.c, 0, 0).would_empty, 0);
    pool_down(&p);
    pool_other_boot(&p);
    (void)pool_up(&p);
    CHECK_EQ(check(p.c, 0, 0).would_empty, 1);
    CHECK_EQ(pool_info(p.c).emptied, 0); /* its next owner will empty it */
    pool_down(&p);
    p.o.flags = 0;
    (void)pool_up(&p);
    cm_check_report r = check(p.c, 0, 0);
    CHECK_EQ(r.would_empty, 0);
    CHECK_EQ(r.valid, 0);
    CHECK_EQ(damage(&r), 0);
    pool_end(&p);
}

/* Unreadable pages are counted. A repair takes them out of use, but does not call them repaired. */
static void test_unreadable(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = make(&p);
    uint8_t *page = payload_of(p.c, slot_of(f, 50));
    os_protect(page, BLK, OS_NOTHING);
    cm_check_report r = check(p.c, 0, CM_DAMAGED);
    CHECK_EQ(r.unreadable, 1);
    r = check(p.c, CM_CHECK_REPAIR, CM_DAMAGED);
    CHECK_EQ(r.unreadable, 1);
    CHECK_EQ(STAT(p.c, quarantined), 1); /* by the repair: nobody has read it since */
    CHECK_EQ(look(f, 50, 5), MISS);
    r = check(p.c, 0, 0);
    os_protect(page, BLK, OS_WRITE);
    CHECK_EQ(put(f, 50, 5), 0);
    CHECK_EQ(hits(f, 0, BLOCKS, 5), BLOCKS);
    pool_end(&p);
}

/* The pages of the policy are looked at: a hint that cannot be read is an unreadable page. */
static void test_unreadable_memo(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    (void)make(&p);
    uint8_t *page = p.c->media.base + p.c->media.geo.memo_offset;
    os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(check(p.c, 0, CM_DAMAGED).unreadable, 1);
    os_protect(page, BLK, OS_WRITE);
    pool_end(&p);
}

/* ---- Progress -------------------------------------------------------------------------------- */

struct progress {
    uint64_t calls, last, total, stop_at;
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *g = ctx;
    CHECK(done >= g->last && done <= total);
    g->last = done;
    g->total = total;
    return ++g->calls == g->stop_at;
}

/* A caller that wants only the result. */
static void test_no_report(void)
{
    struct pool p;
    (void)make(&p);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, NULL), 0);
    payload_of(p.c, 3)[9] ^= 1;
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, NULL), CM_DAMAGED);
    CHECK_EQ(cm_check(p.c, CM_CHECK_REPAIR, NULL, NULL, NULL), 0);
    pool_end(&p);
}

static void test_progress(void)
{
    struct pool p;
    struct progress g = { 0 };
    cm_check_report r = { .struct_size = sizeof(r) };
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    CHECK_EQ(cm_check(p.c, 0, on_progress, &g, &r), 0);
    CHECK_EQ(g.last, p.c->media.geo.slots);
    CHECK_EQ(g.total, p.c->media.geo.slots);
    const uint64_t before_end = g.calls - 1;
    CHECK(before_end >= 3);
    g = (struct progress){ .stop_at = before_end };
    CHECK_EQ(cm_check(p.c, 0, on_progress, &g, &r), CM_ECANCELED);
    CHECK_EQ(g.calls, before_end);
    CHECK(r.slots > 0 && r.slots < p.c->media.geo.slots);
    pool_end(&p);
}

#define STEP 4096u /* records, buckets, pages or slots */

static uint64_t steps(uint64_t n)
{
    return (n + STEP - 1) / STEP;
}

/* The records, the index and the policy are read before the slots. That can be cancelled, too, and
 * meanwhile none of the slots is done. */
static void test_progress_of_metadata(void)
{
    struct pool p;
    struct progress g = { 0 };
    cm_check_report r = CM_CHECK_REPORT_INIT;
    pool_make(&p, 64 * MIB, 3 * STEP);
    REQUIRE(pool_up(&p) == 0);
    const struct cm_geometry *geo = &p.c->media.geo;
    const uint64_t records = steps(geo->record_buckets * CM_RECORD_WAYS);
    const uint64_t buckets =
        steps(geo->stripes * cm_index_stripe_buckets(cm_media_index(&p.c->media)));
    const uint64_t pages = steps(geo->memo_pages);
    CHECK(records >= 3 && buckets >= 1 && pages >= 1);
    *cell_of(p.c, 1, 0) = cm_cell_make(1, 0, geo->slots); /* there is no such slot */
    CHECK_EQ(cm_check(p.c, 0, on_progress, &g, &r), CM_DAMAGED);
    CHECK_EQ(g.calls, records + buckets + pages + steps(geo->slots) + 1);
    for (uint64_t stop_at = 1; stop_at <= records + buckets + pages + 1; stop_at++) {
        CASE("stop at %u", (unsigned)stop_at);
        g = (struct progress){ .stop_at = stop_at };
        CHECK_EQ(cm_check(p.c, 0, on_progress, &g, &r), CM_ECANCELED);
        CHECK_EQ(g.calls, stop_at);
        CHECK_EQ(g.last, 0);
        CHECK_EQ(g.total, geo->slots);
        CHECK_EQ(r.slots, 0);
        CHECK(stop_at > records + 1 || r.bad_cells == 0);
    }
    pool_end(&p);
}

static unsigned unfenced; /* flushes since the last fence */
static struct cm_persist_ops counted, below;
static int note_flush(void *ctx, const void *at, size_t n)
{
    unfenced++;
    return below.flush(ctx, at, n);
}
static void note_fence(void *ctx)
{
    unfenced = 0;
    below.fence(ctx);
}

static int stop_when_dropped(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    return *(const uint64_t *)ctx == 0;
}

/* What a repair has dropped before it is cancelled stays dropped. */
static void test_cancelled_repair(void)
{
    struct pool p;
    cm_check_report r = { .struct_size = sizeof(r) };
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t *cell = cell_of(p.c, 1, 0);
    *cell = cm_cell_make(1, 0, p.c->media.geo.slots);
    counted = below = *p.c->media.ops;
    counted.flush = note_flush;
    counted.fence = note_fence;
    p.c->media.ops = &counted;
    CHECK_EQ(cm_check(p.c, CM_CHECK_REPAIR, stop_when_dropped, cell, &r), CM_ECANCELED);
    p.c->media.ops = &below;
    CHECK_EQ(r.dropped, 1);
    CHECK_EQ(unfenced, 0);
    pool_end(&p);
}

/* ---- Online ---------------------------------------------------------------------------------- */

static struct pool shared;
static cm_file *shared_file;
static uint32_t stop;

static void *worker(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg + 1;
    while (!at_load_relaxed(&stop)) {
        uint64_t block = next_random(&rng) % 400, what = next_random(&rng) % 100;
        if (what < 60)
            CHECK(put(shared_file, block, 5) >= 0);
        else if (what < 95)
            CHECK(look(shared_file, block, 5) <= RIGHT);
        else if (what < 99)
            (void)cm_invalidate(shared_file, block * BLK, 3 * BLK);
        else
            CHECK_EQ(cm_file_abort(shared_file), 0);
    }
    return NULL;
}

/* A check during fills, evictions and brackets reports no damage where none is, and drops nothing
 * valid. */
static void test_online(void)
{
    pthread_t t[3];
    REQUIRE(pool_new(&shared, MIB) == 0);
    shared_file = attach(&shared, 1, 1000 * BLK, 1, 0);
    stop = 0;
    for (uintptr_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, worker, (void *)i), 0);
    uint64_t until = cm_now() + UINT64_C(1500000000);
    for (unsigned i = 0; cm_now() < until; i++) {
        CASE("i %u", i);
        cm_check_report r = check(shared.c, i % 2 ? CM_CHECK_REPAIR : 0, 0);
        CHECK_EQ(damage(&r), 0);
        CHECK_EQ(r.dropped, 0);
    }
    at_store_relaxed(&stop, 1u);
    for (unsigned i = 0; i < 3; i++)
        (void)pthread_join(t[i], NULL);
    CHECK_EQ(slots_astray(shared.c), 0);
    cm_check_report r = check(shared.c, 0, 0);
    CHECK_EQ(r.orphaned + damage(&r), 0);
    pool_end(&shared);
}

static const struct harness_test tests[] = {
    TEST(empty),
    TEST(sound),
    TEST(second_bucket),
    TEST(sound_after_churn),
    TEST(sound_after_bump),
    TEST(kinds),
    TEST(last_cell),
    TEST(cell_of_other_boot),
    TEST(record_in_use),
    TEST(torn_block),
    TEST(header_leaves_share),
    TEST(failing_repair),
    TEST(metadata_only),
    TEST(riot),
    TEST(damaged_super),
    TEST(would_empty),
    TEST(unreadable),
    TEST(unreadable_memo),
    TEST(no_report),
    TEST(progress),
    TEST(progress_of_metadata),
    TEST(cancelled_repair),
    TEST(online),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
