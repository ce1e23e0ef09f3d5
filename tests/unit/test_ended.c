/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ended.c - blocks of incarnations that have ended go before all others: the ends that are
 * noted, the search for their slots, and what may not suffer from it. tests/policy/test_ended.c has
 * what it gains.
 */
#include "fixture.h"

#include "protocol/evict.h"
#include "protocol/fill_buffered.h"
#include "state/ended.h"

#define SEED 7u
#define OLD 200u /* blocks of the version that ends; a pool of 4 MiB has some thousand slots */

static bool buffered; /* pools have a probation buffer */

/* If `finds` is not 0, these slots are found, whatever they hold. */
static unsigned finds;
static uint64_t found_slots[CM_BATCH_MAX];

unsigned __real_cm_ended_find(struct cm_cache *c, uint64_t *slot, unsigned n);
unsigned __wrap_cm_ended_find(struct cm_cache *c, uint64_t *slot, unsigned n);
unsigned __wrap_cm_ended_find(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    if (finds == 0)
        return __real_cm_ended_find(c, slot, n);
    memcpy(slot, found_slots, finds * sizeof(*slot));
    return finds;
}

static void begin(struct pool *p)
{
    pool_make(p, 4 * MIB, 16);
    pool_seed(p, SEED);
    if (buffered)
        p->o.probation_bytes = 16 * BLK;
    (void)pool_up(p);
}

static uint64_t incarnation_of(cm_file *f)
{
    return cm_object_of(f)->incarnation;
}

static void revalidate(cm_file *f, uint64_t size, uint64_t version)
{
    cm_validator v = val(size, version);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
}

/* ---- The table ------------------------------------------------------------------------------- */

static void test_table(void)
{
    struct pool p;
    begin(&p);
    cm_cache *c = p.c;
    CHECK(!cm_ended_has(c, 77));
    cm_ended_note(c, 77, BLK);
    CHECK(!cm_ended_has(c, 0));
    CHECK(cm_ended_has(c, 77));
    CHECK(cm_ended_has(c, UINT64_C(3) << CM_SINCE_SHIFT | 77)); /* what a header says */
    CHECK(!cm_ended_has(c, 78));
    cm_ended_note(c, 0, BLK); /* a file that had none */
    cm_ended_note(c, 78, 0);  /* one that had no blocks */
    CHECK(!cm_ended_has(c, 78));
    CHECK_EQ(c->ended.noted, 1);
    for (uint64_t i = 1000; i < 1000 + 20 * CM_ENDED; i++) {
        cm_ended_note(c, i, BLK);
        CHECK(cm_ended_has(c, i));
    }
    CHECK(!cm_ended_has(c, 77)); /* forgotten */
    uint64_t known = 0;
    for (uint64_t i = 1000; i < 1000 + 20 * CM_ENDED; i++)
        known += cm_ended_has(c, i);
    CHECK(known <= CM_ENDED && known > CM_ENDED * 9 / 10);
    pool_end(&p);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

/* Did the incarnation end with the last call, and no other one? */
static void ended(cm_cache *c, uint64_t incarnation, uint64_t *noted)
{
    CHECK(cm_ended_has(c, incarnation));
    CHECK_EQ(c->ended.noted, *noted + 1);
    *noted = c->ended.noted;
}
#define ended(...) CALL(ended(__VA_ARGS__)) /* its checks say who called */

static void test_open_file(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    uint64_t noted = 0;
    begin(&p);
    cm_file *f = attach(&p, 1, OLD * BLK, 1, 0);
    uint64_t was = incarnation_of(f);
    revalidate(f, OLD * BLK, 2); /* it has no blocks, so nothing has to be found */
    CHECK_EQ(p.c->ended.noted, 0);
    was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 2), 0);
    revalidate(f, OLD * BLK, 2); /* the same */
    CHECK_EQ(p.c->ended.noted, 0);
    revalidate(f, OLD * BLK, 3);
    ended(p.c, was, &noted);
    CHECK(!cm_ended_has(p.c, incarnation_of(f)));
    was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 3), 0);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    ended(p.c, was, &noted);
    was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 3), 0);
    CHECK_EQ(cm_invalidate(f, 0, UINT64_MAX), 0); /* block by block: no incarnation ends */
    CHECK_EQ(p.c->ended.noted, noted);
    detach(f); /* nor now: its record leads to it */
    CHECK_EQ(p.c->ended.noted, noted);
    pool_end(&p);
}

static void test_closed_file(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    uint64_t noted = 0;
    begin(&p);
    cm_file *f = attach(&p, 1, OLD * BLK, 1, 0);
    uint64_t was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 1), 0);
    detach(f);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    ended(p.c, was, &noted);
    f = attach(&p, 1, OLD * BLK, 1, 0);
    was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 1), 0);
    detach(f);
    f = attach(&p, 1, OLD * BLK, 1, 0); /* unchanged */
    CHECK_EQ(incarnation_of(f), was);
    CHECK_EQ(p.c->ended.noted, noted);
    detach(f);
    f = attach(&p, 1, OLD * BLK, 2, 0);
    ended(p.c, was, &noted);
    was = incarnation_of(f);
    CHECK_EQ(put(f, 3, 2), 0);
    detach(f);
    pool_again(&p);
    noted = 0;
    f = attach(&p, 1, OLD * BLK, 3, 0); /* changed while the pool was closed */
    ended(p.c, was, &noted);
    pool_end(&p);
}

/* A file whose record is given to another one, and files that get no record at all. */
static void test_records(void)
{
    struct pool p;
    uint64_t was[500];
    begin(&p);
    for (uint64_t id = 1; id < 500; id++) {
        cm_file *f = attach(&p, id, BLK, 1, 0);
        was[id] = incarnation_of(f);
        detach(f);
    }
    const uint64_t given = (uint64_t)STAT(p.c, records_evicted);
    CHECK(given > 0);
    CHECK_EQ(p.c->ended.noted, given);
    uint64_t there = 0;
    for (uint64_t id = 1; id < 500; id++)
        there += cm_ended_has(p.c, was[id]);
    CHECK_EQ(there, given);
    for (uint64_t at = 0; at < p.c->media.geo.record_buckets * CM_RECORD_WAYS; at++) {
        /* No record is given away from here on. */
        struct cm_record r = { .id = id_of(5000 + at) };
        CHECK_EQ(put_kept(p.c, at, &r), 0);
    }
    uint64_t noted = p.c->ended.noted;
    cm_file *f = attach(&p, 1000, BLK, 1, 0);
    const uint64_t last = incarnation_of(f);
    CHECK_EQ(put(f, 0, 1), 0);
    CHECK_EQ(p.c->ended.noted, noted);
    detach(f);
    ended(p.c, last, &noted);
    pool_end(&p);
}

/* Two records have the id of a file: neither counts. */
static void test_two_records(void)
{
    struct pool p;
    struct cm_record_set s;
    const cm_file_id id = id_of(1);
    begin(&p);
    cm_record_load(&p.c->media, &id, &s);
    for (unsigned i = 0; i < 2; i++) {
        struct cm_record r = { .id = id, .incarnation = 5 + i, .size = BLK };
        CHECK_EQ(put_record(p.c, cm_record_place(&s, i), &r), 0);
    }
    detach(attach(&p, 1, BLK, 1, 0));
    CHECK(cm_ended_has(p.c, 5));
    CHECK(cm_ended_has(p.c, 6));
    pool_end(&p);
}

/* ---- The search ------------------------------------------------------------------------------ */

/* A full pool: `n` blocks of file 1, and all the others of file 2. All were read three times. */
static void fill_pool(struct pool *p, uint64_t n, cm_file **one, cm_file **two)
{
    begin(p);
    const uint64_t slots = p->c->media.geo.slots;
    *one = attach(p, 1, n * BLK, 1, 0);
    *two = attach(p, 2, 2 * slots * BLK, 1, 0);
    CHECK_EQ(put_all(*one, 0, n, 1), n);
    uint64_t block = 0;
    while (cm_ring_unused(&p->c->policy.ring) > 0 && block < 2 * slots)
        (void)put(*two, block++, 2);
    CHECK_EQ(cm_ring_unused(&p->c->policy.ring), 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)hits(*one, 0, n, 1);
        (void)hits(*two, 0, block, 2);
    }
}
#define fill_pool(...) CALL(fill_pool(__VA_ARGS__)) /* its checks say who called */

/* Each slot of the file that ended is found once, and no other one; a question looks at a few. */
static void test_search(void)
{
    struct pool p;
    cm_file *one, *two;
    uint64_t slot[CM_BATCH_MAX], found = 0, calls = 0;
    unsigned n;
    fill_pool(&p, OLD, &one, &two);
    const uint64_t was = incarnation_of(one);
    const uint64_t slots = p.c->media.geo.slots;
    CHECK_EQ(cm_ended_find(p.c, slot, 4), 0); /* nothing has ended */
    CHECK_EQ(p.c->ended.left, 0);
    revalidate(one, OLD * BLK, 2);
    do {
        const uint64_t left = p.c->ended.left;
        n = cm_ended_find(p.c, slot, 4);
        CHECK(n <= 4);
        CHECK(calls == 0 || left - p.c->ended.left <= 4 * CM_ENDED_STEPS);
        for (unsigned i = 0; i < n; i++)
            CHECK_EQ(cm_incarnation_number(header_of(p.c, slot[i])->incarnation), was);
        found += n;
        calls++;
    } while (p.c->ended.left > 0 && calls < slots);
    CHECK_EQ(found, OLD);
    CHECK_EQ(cm_ended_find(p.c, slot, 4), 0); /* it is over */
    p.c->ended.busy = 1;
    revalidate(one, OLD * BLK, 3); /* it has no block: nothing is due */
    CHECK_EQ(p.c->ended.again, 0);
    cm_ended_note(p.c, was, CM_SIZE_UNKNOWN);
    CHECK_EQ(p.c->ended.again, 1);
    CHECK_EQ(cm_ended_find(p.c, slot, 4), 0); /* another thread searches */
    p.c->ended.busy = 0;
    CHECK_EQ(cm_ended_find(p.c, slot, 4), 4);
    CHECK_EQ(p.c->ended.busy, 0);
    pool_end(&p);
}

/* A few blocks are not worth a search. Many files with a few blocks are. */
static void test_few(void)
{
    struct pool p;
    begin(&p);
    const uint64_t few = p.c->media.geo.slots / 256;
    CHECK(few >= 3);
    for (unsigned i = 0; i < 2; i++) {
        cm_ended_note(p.c, 1000 + i, BLK);
        CHECK_EQ(p.c->ended.again, 0);
    }
    for (uint64_t i = 2; i < few; i++)
        cm_ended_note(p.c, 1000 + i, 1); /* a part of a block is one */
    CHECK_EQ(p.c->ended.again, 1);
    CHECK_EQ(p.c->ended.blocks, 0);
    uint64_t slot;
    CHECK_EQ(cm_ended_find(p.c, &slot, 1), 0); /* there are slots that were never used */
    CHECK_EQ(p.c->ended.again, 1);
    pool_end(&p);
}

/* ---- Who has to go --------------------------------------------------------------------------- */

/* New blocks get the slots of the version that ended. No other block goes. */
static void check_others_stay(void)
{
    struct pool p;
    cm_file *one, *two;
    fill_pool(&p, OLD, &one, &two);
    const uint64_t slots = p.c->media.geo.slots;
    const unsigned there = hits(two, 0, 2 * slots, 2);
    const int64_t dropped = STAT(p.c, dropped), evicted = STAT(p.c, evicted);
    revalidate(one, OLD * BLK, 2);
    cm_file *const three = attach(&p, 3, OLD * BLK, 1, 0);
    const unsigned more = OLD - 32; /* some slots are emptied ahead of their use */
    CHECK_EQ(put_all(three, 0, more, 3), more);
    CHECK_EQ(hits(three, 0, more, 3), more);
    CHECK_EQ(hits(two, 0, 2 * slots, 2), there);
    CHECK_EQ(STAT(p.c, dropped), dropped); /* that counts cm_drop() */
    CHECK(STAT(p.c, evicted) >= evicted + more - 32);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static void test_others_stay(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        buffered = i != 0;
        CALL(check_others_stay());
    }
    buffered = false;
}

/* What leaves the buffer unread gets only the slots that are free: the rest goes to the ghost. */
static void test_buffer(void)
{
    struct pool p;
    cm_file *one, *two;
    buffered = true;
    fill_pool(&p, OLD, &one, &two);
    buffered = false;
    const unsigned there = hits(two, 0, 2 * p.c->media.geo.slots, 2);
    revalidate(one, OLD * BLK, 2);
    const int64_t before = STAT(p.c, fill_blocks);
    cm_file *const three = attach(&p, 3, 4 * OLD * BLK, 1, 0);
    (void)put_all(three, 0, 4 * OLD, 3);
    const int64_t stored = STAT(p.c, fill_blocks) - before;
    CHECK(stored >= OLD - 32 && stored <= OLD + 16); /* and not all 800 */
    CHECK(hits(two, 0, 2 * p.c->media.geo.slots, 2) + 32 >= there);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* The same if many blocks leave the buffer together, and few slots are found for them. */
static void test_sparse(void)
{
    enum { TOGETHER = CM_BATCH_MAX, EACH = 16, FILLS = 40 };
    static uint8_t data[TOGETHER * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 4 * MIB, 16);
    pool_seed(&p, SEED);
    p.o.probation_bytes = 4 * TOGETHER * BLK; /* entries are claimed in batches then */
    (void)pool_up(&p);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *const one = attach(&p, 1, slots * BLK, 1, 0);
    cm_file *const two = attach(&p, 2, 2 * slots * BLK, 1, 0);
    uint64_t n = 0;
    for (; cm_ring_unused(&p.c->policy.ring) > 0 && n < 2 * slots; n++)
        (void)(n % EACH == 0 ? put(one, n / EACH, 1) : put(two, n, 2));
    for (unsigned i = 0; i < 3; i++) {
        (void)hits(one, 0, n / EACH, 1);
        (void)hits(two, 0, n, 2);
    }
    (void)put_all(two, n, 8 * TOGETHER, 2); /* the last of them leave the buffer */
    const unsigned there = hits(two, 0, n, 2);
    revalidate(one, slots * BLK, 2);
    const int64_t before = STAT(p.c, fill_blocks);
    cm_file *const three = attach(&p, 3, FILLS * sizeof(data), 1, 0);
    for (uint64_t i = 0; i < FILLS; i++) {
        const cm_miss m = miss_of(three, i * sizeof(data), sizeof(data));
        for (uint64_t b = 0; b < TOGETHER; b++)
            content(3, i * TOGETHER + b, data + b * BLK);
        CHECK_EQ(cm_fill(three, &m, data, sizeof(data), 0), 0);
    }
    const int64_t stored = STAT(p.c, fill_blocks) - before, ended_blocks = (int64_t)(n / EACH);
    CHECK(stored > ended_blocks / 2 && stored <= ended_blocks + EACH);
    CHECK_EQ(hits(two, 0, n, 2), there);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Blocks of a version that ended are not stored when they leave the buffer. */
static void test_ended_in_buffer(void)
{
    enum { WAIT = 64 };
    struct pool p;
    pool_make(&p, 4 * MIB, 16);
    pool_seed(&p, SEED);
    p.o.probation_bytes = 2 * WAIT * BLK;
    (void)pool_up(&p);
    cm_file *const one = attach(&p, 1, WAIT * BLK, 1, 0);
    cm_file *const two = attach(&p, 2, 4 * WAIT * BLK, 1, 0);
    CHECK_EQ(put_all(one, 0, WAIT, 1), WAIT);
    for (unsigned i = 0; i < 3; i++) /* some have earned a place */
        CHECK_EQ(hits(one, 0, WAIT / 2, 1), WAIT / 2);
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    revalidate(one, WAIT * BLK, 2);
    cm_fill_buffered_promote(p.c);
    cm_fill_buffered_promote(p.c);
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    CHECK_EQ(put_all(two, 0, 3 * WAIT, 2), 3 * WAIT);
    CHECK_EQ(hits(two, 0, 3 * WAIT, 2), 3 * WAIT);
    CHECK(STAT(p.c, fill_blocks) <= 2 * WAIT); /* the pool is not full: those of file 2 that left */
    cm_fill_buffered_drain(p.c);
    CHECK_EQ(STAT(p.c, fill_blocks), 3 * WAIT);
    pool_end(&p);
}

/* A full pool with a group whose quota is full, of hot blocks of file 4. Most of the pool are hot
 * blocks of file 3, which is in no group. */
static void fill_group(struct pool *p, cm_file **three, cm_file **four)
{
    begin(p);
    const uint64_t slots = p->c->media.geo.slots;
    CHECK_EQ(cm_group_set_quota(p->c, 5, OLD * BLK), 0);
    *three = attach(p, 3, 2 * slots * BLK, 1, 0);
    *four = attach(p, 4, OLD * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(*four, 5), 0);
    CHECK_EQ(put_all(*four, 0, OLD, 4), OLD);
    uint64_t block = 0;
    while (cm_ring_unused(&p->c->policy.ring) > 0 && block < 2 * slots)
        (void)put(*three, block++, 3);
    CHECK_EQ(cm_ring_unused(&p->c->policy.ring), 0);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(hits(*four, 0, OLD, 4), OLD);
        (void)hits(*three, 0, block, 3);
    }
}
#define fill_group(...) CALL(fill_group(__VA_ARGS__)) /* its checks say who called */

/* A scan in such a group: its blocks leave the buffer unread. They take no places of others. */
static void scan_in_group(struct pool *p, cm_file *four)
{
    cm_file *const scan = attach(p, 6, 4 * OLD * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(scan, 5), 0);
    const int64_t before = STAT(p->c, fill_blocks);
    (void)put_all(scan, 0, 4 * OLD, 6);
    CHECK(STAT(p->c, fill_blocks) <= before + 32);
    CHECK(hits(four, 0, OLD, 4) + 32 >= OLD);
    CHECK_EQ(slots_astray(p->c), 0);
}
#define scan_in_group(...) CALL(scan_in_group(__VA_ARGS__)) /* its checks say who called */

/* Such a group cannot use slots of others that ended, or that are empty. */
static void test_full_group(void)
{
    for (unsigned dropped = 0; dropped < 2; dropped++) {
        CASE("dropped %u", dropped);
        struct pool p;
        cm_file *three, *four;
        buffered = true;
        fill_group(&p, &three, &four);
        if (dropped)
            CHECK(cm_drop(three, 0, OLD * BLK) > 0);
        else
            revalidate(three, 2 * p.c->media.geo.slots * BLK, 2);
        scan_in_group(&p, four);
        pool_end(&p);
        buffered = false;
    }
}

/* A pool with slots that were never used is full for such a group, too. What its scans leave in the
 * buffer gets the slots of its own blocks that ended, and no others. */
static void check_full_group_unused(bool ended_last)
{
    enum { ENDED = 40 };
    struct pool p;
    buffered = true;
    begin(&p);
    buffered = false;
    CHECK_EQ(cm_group_set_quota(p.c, 5, (OLD + ENDED) * BLK), 0);
    cm_file *four = attach(&p, 4, OLD * BLK, 1, 0), *five = attach(&p, 5, ENDED * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(four, 5), 0);
    CHECK_EQ(cm_file_set_group(five, 5), 0);
    if (ended_last) {
        CHECK_EQ(put_all(four, 0, OLD, 4), OLD);
        cm_fill_buffered_drain(p.c);
    }
    CHECK_EQ(cm_file_advise(five, CM_ADVISE_KEEP), 0); /* to the pool at once */
    CHECK_EQ(put_all(five, 0, ENDED, 5), ENDED);
    CHECK_EQ(cm_file_advise(five, CM_ADVISE_NORMAL), 0);
    if (!ended_last) {
        CHECK_EQ(put_all(four, 0, OLD, 4), OLD);
        cm_fill_buffered_drain(p.c);
    }
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(hits(four, 0, OLD, 4), OLD);
    scan_in_group(&p, four);
    revalidate(five, ENDED * BLK, 2);
    cm_file *const scan = attach(&p, 7, OLD * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(scan, 5), 0);
    const int64_t before = STAT(p.c, fill_blocks);
    (void)put_all(scan, 0, ENDED, 7); /* the buffer is full: as many leave it */
    CHECK(STAT(p.c, fill_blocks) >= before + ENDED - 1);
    (void)put_all(scan, ENDED, OLD - ENDED, 7);
    CHECK(STAT(p.c, fill_blocks) <= before + ENDED + 16);
    CHECK_EQ(hits(four, 0, OLD, 4), OLD);
    CHECK(cm_ring_unused(&p.c->policy.ring) > OLD);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Wherever in the pool the ended blocks lie. */
static void test_full_group_unused(void)
{
    for (unsigned last = 0; last < 2; last++) {
        CASE("last %u", last);
        CALL(check_full_group_unused(last != 0));
    }
}

/* Blocks that leave the buffer together search once, if nothing is found. */
static void test_group_batch(void)
{
    enum { ALL = 4 * CM_BATCH_MAX * CM_ENDED_SHARE_STEPS };
    static uint8_t data[CM_BATCH_MAX * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 32 * MIB, 16);
    pool_seed(&p, SEED);
    p.o.probation_bytes = 16 * CM_BATCH_MAX * BLK; /* 16 leave it together */
    (void)pool_up(&p);
    CHECK_EQ(cm_group_set_quota(p.c, 5, ALL * BLK), 0);
    cm_file *const four = attach(&p, 4, 2 * ALL * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(four, 5), 0);
    const struct cm_share *const h = &p.c->policy.ring.shares.share[0];
    uint64_t at = put_all(four, 0, ALL + 32 * CM_BATCH_MAX, 4);
    CHECK_EQ(h->used, ALL);
    cm_ended_note(p.c, 77, BLK); /* of another file */
    for (uint64_t i = 0; i < CM_BATCH_MAX; i++)
        content(4, at + i, data + i * BLK);
    const cm_miss m = miss_of(four, at * BLK, sizeof(data));
    CHECK_EQ(cm_fill(four, &m, data, sizeof(data), 0), 0);
    CHECK_EQ(h->ended_left, ALL - CM_BATCH_MAX * CM_ENDED_SHARE_STEPS);
    pool_end(&p);
}

/* Blocks in use that lie before the ended ones stay when the group stores new ones at once. */
static void test_group_ended_last(void)
{
    enum { HOT = 60 * CM_BATCH_MAX, ENDED = 6 * CM_BATCH_MAX };
    static uint8_t data[CM_BATCH_MAX * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 8 * MIB, 16);
    pool_seed(&p, SEED);
    (void)pool_up(&p);
    CHECK_EQ(cm_group_set_quota(p.c, 5, (HOT + ENDED) * BLK), 0);
    cm_file *const four = attach(&p, 4, HOT * BLK, 1, 0), *five = attach(&p, 5, ENDED * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(four, 5), 0);
    CHECK_EQ(cm_file_set_group(five, 5), 0);
    CHECK_EQ(put_all(four, 0, HOT, 4), HOT);
    CHECK_EQ(put_all(five, 0, ENDED, 5), ENDED);
    revalidate(five, ENDED * BLK, 2);
    for (uint64_t i = 0; i < ENDED; i += CM_BATCH_MAX) {
        const cm_miss m = miss_of(five, i * BLK, sizeof(data));
        for (uint64_t b = 0; b < CM_BATCH_MAX; b++)
            content(6, i + b, data + b * BLK);
        CHECK_EQ(cm_fill(five, &m, data, sizeof(data), 0), 0);
    }
    CHECK_EQ(hits(five, 0, ENDED, 6), ENDED);
    CHECK_EQ(hits(four, 0, HOT, 4), HOT);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A group that has as many slots as it may have gives those of a version that ended, before it
 * gives those of others. */
static void test_group(void)
{
    struct pool p;
    cm_file *one, *two;
    fill_pool(&p, 1, &one, &two);
    detach(one);
    detach(two);
    CHECK_EQ(cm_group_set_quota(p.c, 5, (OLD + 20) * BLK), 0);
    one = attach(&p, 3, OLD * BLK, 1, 0);
    two = attach(&p, 4, 20 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(one, 5), 0);
    CHECK_EQ(cm_file_set_group(two, 5), 0);
    CHECK_EQ(cm_file_advise(one, CM_ADVISE_KEEP), 0); /* until it is changed */
    CHECK_EQ(cm_file_advise(two, CM_ADVISE_KEEP), 0);
    CHECK_EQ(put_all(one, 0, OLD, 1), OLD);
    CHECK_EQ(put_all(two, 0, 20, 2), 20);
    CHECK(hits(one, 0, OLD, 1) > OLD - 20);
    CHECK_EQ(hits(two, 0, 20, 2), 20);
    CHECK_EQ(cm_file_advise(one, CM_ADVISE_NORMAL), 0);
    revalidate(one, OLD * BLK, 2);
    CHECK_EQ(put_all(one, 0, OLD - 20, 3), OLD - 20);
    /* Sometimes none is within reach, and the group gives another one. */
    CHECK(hits(one, 0, OLD - 20, 3) > OLD * 2 / 3);
    CHECK_EQ(hits(two, 0, 20, 2), 20);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* The same in a pool with slots that were never used: the search looks at the group's slots only,
 * at each of them once. */
static void test_group_unused(void)
{
    enum { HOT = 6 }; /* fewer than a search for one slot looks at */
    struct pool p;
    begin(&p);
    CHECK_EQ(cm_group_set_quota(p.c, 5, (OLD + HOT) * BLK), 0);
    cm_file *const one = attach(&p, 3, OLD * BLK, 1, 0), *const two =
                                                             attach(&p, 4, HOT * BLK, 1, 0);
    cm_file *const other = attach(&p, 6, OLD * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(one, 5), 0);
    CHECK_EQ(cm_file_set_group(two, 5), 0);
    CHECK_EQ(put_all(other, 0, OLD, 6), OLD);
    CHECK_EQ(put_all(two, 0, HOT, 2), HOT);
    CHECK_EQ(put_all(one, 0, OLD, 1), OLD);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(hits(one, 0, OLD, 1) + hits(two, 0, HOT, 2), OLD + HOT);
    struct cm_share *const h = &p.c->policy.ring.shares.share[0];
    uint64_t slot[CM_BATCH_MAX], found = 0;
    CHECK_EQ(cm_ended_find_share(p.c, h, slot, 4), 0); /* nothing has ended */
    revalidate(other, OLD * BLK, 2);
    revalidate(one, OLD * BLK, 2);
    for (unsigned i = 0; i < 2 * OLD; i++) {
        const uint64_t left = h->ended_left;
        const unsigned n = cm_ended_find_share(p.c, h, slot, 4);
        CHECK(n <= 4 && (i == 0 || left - h->ended_left <= 4 * CM_ENDED_SHARE_STEPS));
        for (unsigned j = 0; j < n; j++)
            CHECK(cm_share_has(h, slot[j]));
        found += n;
    }
    CHECK_EQ(found, OLD);
    CHECK_EQ(h->ended_left, 0);
    revalidate(other, OLD * BLK, 3); /* it has no block */
    cm_ended_note(p.c, 77, BLK);
    CHECK(cm_ring_unused(&p.c->policy.ring) > 0);
    CHECK_EQ(put_all(one, 0, OLD, 3), OLD);
    CHECK_EQ(hits(one, 0, OLD, 3), OLD);
    CHECK_EQ(hits(two, 0, HOT, 2), HOT);
    cm_ended_note(p.c, 78, BLK);
    CHECK_EQ(cm_ended_find_share(p.c, h, slot, 1), 0);
    CHECK_EQ(h->ended_left, h->used - CM_ENDED_SHARE_STEPS);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A pinned block keeps its bytes, whatever ends. */
static void test_pinned(void)
{
    struct pool p;
    cm_file *one, *two;
    cm_iovec v[8];
    cm_pins pins;
    int used;
    fill_pool(&p, OLD, &one, &two);
    CHECK_EQ(cm_pin_range(one, 8 * BLK, 8 * BLK, v, 8, &used, &pins, NULL), 8 * BLK);
    revalidate(one, OLD * BLK, 2);
    cm_file *const three = attach(&p, 3, 4 * OLD * BLK, 1, 0);
    (void)put_all(three, 0, 4 * OLD, 3);
    uint64_t block = 8;
    for (int i = 0; i < used; i++)
        for (size_t at = 0; at < v[i].len; at += BLK)
            CHECK(is_content(1, block++, (const uint8_t *)v[i].base + at, BLK));
    CHECK_EQ(block, 16);
    CHECK_EQ(cm_unpin(&pins), 0);
    (void)put_all(three, 0, 4 * OLD, 3);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Between the search and the eviction a slot may have got a block of a file that goes on, or
 * another thread may have it. */
static void test_filled_since(void)
{
    struct pool p;
    cm_file *one, *two;
    fill_pool(&p, OLD, &one, &two);
    const uint64_t slots = p.c->media.geo.slots;
    const unsigned there = hits(two, 0, 2 * slots, 2);
    uint64_t owned = slot_of(one, 5);
    revalidate(one, OLD * BLK, 2);
    out_of_order(p.c); /* a slot is owned, and nobody is at work who could own it */
    found_slots[0] = slot_of(two, 20);
    found_slots[1] = owned;
    CHECK(cm_ring_own(&p.c->policy.ring, owned));
    finds = 2;
    CHECK_EQ(cm_evict_ended(p.c, 4), 0);
    finds = 0;
    CHECK_EQ(hits(two, 0, 2 * slots, 2), there);
    cm_ring_disown(&p.c->policy.ring, owned);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Slots of blocks that were written or dropped are as good as those of versions that ended: what is
 * read for the first time gets them, and no other block has to leave. Without them it gets none. */
static void test_empty_slots(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_file *one, *two;
        buffered = true;
        fill_pool(&p, OLD, &one, &two);
        cm_fill_buffered_drain(p.c);
        const uint64_t slots = p.c->media.geo.slots;
        const unsigned there = hits(two, 0, 2 * slots, 2);
        CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), 0);
        cm_bracket b;
        if (how == 1) {
            b = begin_write(one, 0, OLD * BLK);
            CHECK(cm_write_end(one, &b, NULL) >= 0);
        } else if (how == 2) {
            CHECK(cm_drop(one, 0, CM_ALL) > 0);
        }
        CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), how > 0 ? CM_BATCH_MAX : 0);
        cm_file *const three = attach(&p, 3, 4 * OLD * BLK, 1, 0);
        (void)put_all(three, 0, OLD * 3 / 4, 3);
        const unsigned stored = hits(three, 0, OLD * 3 / 4, 3);
        CHECK(how > 0 ? stored + 16 >= OLD * 3 / 4 : stored <= 16 + 16);
        CHECK(hits(two, 0, 2 * slots, 2) + 32 >= there); /* some are evicted ahead */
        CHECK_EQ(slots_astray(p.c), 0);
        pool_end(&p);
        buffered = false;
    }
}

/* Also slots in the free stack are empty, but for those that were evicted for the next fills. */
static void test_free_slots(void)
{
    struct pool p;
    cm_file *one, *two;
    fill_pool(&p, OLD, &one, &two);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), 0);
    const uint32_t before = p.c->policy.ring.free_count, room = p.c->policy.ring.free_max - before;
    CHECK(room > CM_BATCH_MAX);
    CHECK_EQ(cm_drop(one, 0, room * BLK), room * BLK);
    CHECK_EQ(cm_ring_empties(&p.c->policy.ring), 0);
    CHECK_EQ(cm_evict_room(p.c, 1), 1);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), before + room - CM_BATCH_MAX);
    pool_end(&p);
}

/* Slots that a killed session has left empty are room, too, in a pool that is full but for them. */
static void test_left_slots(void)
{
    struct pool p;
    begin(&p);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *one = attach(&p, 1, slots * BLK, 1, CM_SOLE_WRITER);
    uint64_t n = 0;
    for (; p.c->super.covered < slots; n++)
        CHECK_EQ(put(one, n, 1), 0);
    const uint64_t left = slots - n;
    CHECK(left > 2 * CM_BATCH_MAX);
    pool_crash(&p);
    p.o.probation_bytes = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_ring_unused(&p.c->policy.ring), 0);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), CM_BATCH_MAX);
    CHECK_EQ(p.c->holes_end - p.c->hole, left);
    one = attach(&p, 1, slots * BLK, 1, CM_SOLE_WRITER);
    cm_file *const two = attach(&p, 2, 2 * slots * BLK, 1, 0);
    (void)put_all(two, 0, left, 2);
    CHECK_EQ(hits(two, 0, left, 2), left);
    (void)put_all(two, left, 400, 2);
    CHECK(STAT(p.c, fill_blocks) + CM_BATCH_MAX >= (int64_t)left);
    CHECK(STAT(p.c, fill_blocks) <= (int64_t)left);
    CHECK_EQ(hits(one, 0, n, 1), n);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* An empty slot is room once. As long as slots that were evicted ahead are there, it is not used.
 */
static void test_one_empty(void)
{
    struct pool p;
    cm_file *one, *two;
    fill_pool(&p, OLD, &one, &two);
    while (p.c->policy.ring.free_count > 0) {
        uint64_t slot;
        CHECK_EQ(cm_ring_take_free(&p.c->policy.ring, &slot, 1), 1);
        cm_ring_disown(&p.c->policy.ring, slot);
    }
    cm_bracket b = begin_write(one, 0, BLK);
    CHECK(cm_write_end(one, &b, NULL) >= 0);
    CHECK_EQ(cm_ring_empties(&p.c->policy.ring), 1);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), 0);
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(table),
    TEST(open_file),
    TEST(closed_file),
    TEST(records),
    TEST(two_records),
    TEST(search),
    TEST(few),
    TEST(others_stay),
    TEST(buffer),
    TEST(sparse),
    TEST(group),
    TEST(pinned),
    TEST(filled_since),
    TEST(ended_in_buffer),
    TEST(full_group),
    TEST(empty_slots),
    TEST(left_slots),
    TEST(free_slots),
    TEST(one_empty),
    TEST(group_unused),
    TEST(full_group_unused),
    TEST(group_ended_last),
    TEST(group_batch),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
