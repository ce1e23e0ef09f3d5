/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_memo.c - the policy's data survives a clean close and no crash, is loaded when it is needed,
 * and may be any bytes.
 */
#include "fixture.h"

#include <inttypes.h>

#include "../os.h"

#define HERE (UINT64_C(0xabcdef) << 32) /* hashes of the ghost: this and a number */

static struct cm_memo_page *memo_page(const struct pool *p, uint64_t number)
{
    struct cm_geometry g;
    CHECK_EQ(cm_format_geometry(super_at(p, 0), &g), 0);
    CHECK(number < g.memo_pages);
    return (struct cm_memo_page *)(void *)(p->base + g.memo_offset + number * BLK);
}

/* The key of a closed pool. */
static uint64_t key_now(const struct pool *p)
{
    return cm_format_check_key(super_at(p, 0)->uuid, super_at(p, 0)->epoch);
}

/* The count and KNOWN of slot i that the tests set. */
static uint8_t state_of(uint64_t i)
{
    static const uint8_t known[] = { 0, CM_REF_KNOWN };
    return (uint8_t)(mix(i) % 4 | known[mix(i) / 4 % 2]);
}

static uint64_t ghost_hash(uint64_t i)
{
    return mix(HERE + i);
}

#define DEPARTED 200u

/* A pool of two ring pages. All slots have been used, and have counts; there are a hand and
 * departures. */
static void make(struct pool *p)
{
    REQUIRE(pool_new(p, 64 * MIB) == 0);
    CHECK(p->c->media.geo.memo_ring_pages == 2);
    p->c->policy.ring.frontier = p->c->policy.ring.slots;
    for (uint64_t i = 0; i < p->c->policy.ring.slots; i++)
        cm_ring_set(&p->c->policy.ring, i, state_of(i));
    p->c->policy.ring.hand = 3 * p->c->policy.ring.slots + 1234;
    for (uint64_t i = 0; i < DEPARTED; i++)
        cm_ghost_add(&p->c->policy.ghost, ghost_hash(i));
}

/* How many slots of page `number` are as the tests set them, after the hand has reached it. */
static uint64_t right_slots(struct pool *p, uint64_t number)
{
    struct cm_ring *r = &p->c->policy.ring;
    uint64_t n = 0;
    r->reach(r->reach_ctx, number * CM_MEMO_SLOTS);
    for (uint64_t i = 0; i < CM_MEMO_SLOTS && number * CM_MEMO_SLOTS + i < r->slots; i++)
        n += r->ref[number * CM_MEMO_SLOTS + i] == state_of(number * CM_MEMO_SLOTS + i);
    return n;
}

static uint64_t known_departed(struct pool *p)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < DEPARTED; i++)
        n += cm_ghost_take(&p->c->policy.ghost, ghost_hash(i));
    return n;
}

/* Checks that nothing was kept. If all slots are zero, one in eight is as the tests set it. */
static void check_nothing(struct pool *p)
{
    CHECK(right_slots(p, 0) < CM_MEMO_SLOTS / 4);
    CHECK(right_slots(p, 1) < CM_MEMO_SLOTS / 4);
    CHECK_EQ(known_departed(p), 0);
}

static void test_clean(void)
{
    struct pool p;
    CALL(make(&p));
    uint64_t rest = p.c->policy.ring.slots - CM_MEMO_SLOTS;
    pool_again(&p);
    CHECK_EQ(p.c->policy.ring.hand, 1234);
    CHECK_EQ(p.c->policy.ghost.time, DEPARTED);
    /* Not yet. */
    CHECK_EQ(p.c->policy.ring.ref[0] + p.c->policy.ring.ref[1] + p.c->policy.ring.ref[5000], 0);
    CHECK_EQ(right_slots(&p, 0), CM_MEMO_SLOTS);
    CHECK(known_departed(&p) >= DEPARTED - 2);
    CHECK_EQ(known_departed(&p), 0);
    pool_again(&p); /* page 1 was not loaded, and is kept */
    CHECK_EQ(right_slots(&p, 0), CM_MEMO_SLOTS);
    CHECK_EQ(right_slots(&p, 1), rest);
    CHECK_EQ(known_departed(&p), 0);
    pool_end(&p);
}

/* Departures that a session never loads are there in the next session. */
static void test_unseen(void)
{
    struct pool p;
    CALL(make(&p));
    for (int i = 0; i < 3; i++)
        pool_again(&p);
    CHECK_EQ(right_slots(&p, 0), CM_MEMO_SLOTS);
    CHECK(known_departed(&p) >= DEPARTED - 2);
    pool_end(&p);
}

/* The hand loads the slots that it judges before it judges them. */
static void test_hand(void)
{
    struct pool p;
    struct cm_victim v[2];
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    struct cm_ring *r = &p.c->policy.ring;
    r->frontier = r->slots;
    for (uint64_t i = 0; i < r->slots; i++)
        cm_ring_set(r, i, i % 64 == 40 ? CM_REF_KNOWN : 2);
    r->hand = CM_MEMO_SLOTS - 40;
    pool_again(&p);
    r = &p.c->policy.ring;
    r->probation = 0;
    CHECK_EQ(cm_ring_victims(r, v, 2), 2);
    CHECK(v[0].slot == 8040 && !v[0].remember);
    CHECK(v[1].slot == 8104 && !v[1].remember);
    pool_end(&p);
}

/* Hits that came before the hand are merged: the higher count wins, also if the page is never
 * loaded. */
static void test_joined(void)
{
    struct pool p;
    for (int reached = 0; reached < 2; reached++) {
        CASE("reached %d", reached);
        REQUIRE(pool_new(&p, 64 * MIB) == 0);
        p.c->policy.ring.frontier = 8;
        cm_ring_set(&p.c->policy.ring, 0, 1);
        cm_ring_set(&p.c->policy.ring, 1, 3 | CM_REF_KNOWN);
        cm_ring_set(&p.c->policy.ring, 2, 2);
        cm_ring_set(&p.c->policy.ring, 5, 3);
        pool_again(&p);
        struct cm_ring *r = &p.c->policy.ring;
        const uint64_t slot = 4;
        for (uint64_t i = 0; i < 4; i++) { /* counts 2, 2, 2, 2 */
            cm_ring_touch(r, i);
            cm_ring_touch(r, i);
        }
        cm_ring_begin_probation(r, &slot, 1, 0);
        cm_ring_set(r, 5, CM_REF_EMPTY);
        if (reached) {
            r->reach(r->reach_ctx, 0);
            CHECK_EQ(r->ref[5], CM_REF_EMPTY);
            CHECK(r->ref[4] & CM_REF_PROBATION);
        }
        pool_again(&p);
        r = &p.c->policy.ring;
        r->reach(r->reach_ctx, 0);
        CHECK_EQ(r->ref[0], 2);
        CHECK_EQ(r->ref[1], 3 | CM_REF_KNOWN);
        CHECK_EQ(r->ref[2], 2);
        CHECK_EQ(r->ref[3], 2);
        CHECK_EQ(r->ref[4], 0); /* its probation has ended */
        pool_end(&p);
    }
}

static void test_crash(void)
{
    struct pool p;
    CALL(make(&p));
    pool_crash(&p); /* never closed */
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(p.c->policy.ring.hand, 0);
    CALL(check_nothing(&p));
    pool_end(&p);

    CALL(make(&p));
    pool_again(&p); /* closed, opened, and then a crash */
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(super_at(&p, 0)->memo.generation, 0);
    CHECK_EQ(p.c->policy.ring.hand, 0);
    CHECK_EQ(p.c->policy.ghost.time, 0);
    CALL(check_nothing(&p));
    pool_end(&p);
}

/* The pages of a close that ended before CLEAN do not count, not even if a later close names its
 * own pages and does not overwrite the others. */
static void test_generation(void)
{
    struct pool p;
    struct cm_super_memo unused;
    CALL(make(&p));
    CHECK_EQ(cm_memo_write(&p.c->memo, cm_super_generation(&p.c->super), &unused), 0);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    p.c->policy.ring.frontier = 8;
    cm_ring_set(&p.c->policy.ring, 3, 3);
    pool_again(&p);                               /* writes page 0 */
    CHECK(super_at(&p, 0)->memo.generation == 0); /* open */
    p.c->policy.ring.reach(p.c->policy.ring.reach_ctx, 0);
    CHECK_EQ(p.c->policy.ring.ref[3], 3);
    CALL(check_nothing(&p));
    pool_end(&p);
}

/* A page counts only if everything in it is right. */
static void test_page_checks(void)
{
    struct pool p;
    struct cm_memo_page was;
    CALL(make(&p));
    pool_down(&p);
    struct cm_memo_page *page = memo_page(&p, 0);
    uint8_t *image = malloc(p.bytes);
    if (!image)
        exit(1);
    memcpy(image, p.base, p.bytes);
    was = *page;
    CHECK_EQ(was.generation, super_at(&p, 0)->memo.generation);
    CHECK_EQ(memo_page(&p, 1)->generation, was.generation);
    CHECK(was.number == 0 && memo_page(&p, 1)->number == 1);
    CHECK_EQ(was.xxh3, cm_format_memo_sum(key_now(&p), &was));
    for (int i = 0; i < 6; i++) {
        CASE("i %d", i);
        memcpy(p.base, image, p.bytes);
        switch (i) {
        case 0: /* one bit of the body, which the sum detects */
            page->body[100] ^= 1;
            break;
        case 1: /* one bit of the sum */
            page->xxh3 ^= 1;
            break;
        case 2: /* another generation, with a right sum */
            page->generation--;
            page->xxh3 = cm_format_memo_sum(key_now(&p), page);
            break;
        case 3: /* another place */
            *page = *memo_page(&p, 1);
            break;
        case 4: /* another epoch */
            page->xxh3 = cm_format_memo_sum(key_now(&p) + 1, page);
            break;
        default: /* nothing is wrong: the page counts */
            break;
        }
        REQUIRE(pool_up(&p) == 0);
        uint64_t right = right_slots(&p, 0), set = 0;
        for (uint64_t slot = 0; slot < CM_MEMO_SLOTS; slot++)
            set += p.c->policy.ring.ref[slot] != 0;
        if (i < 5)
            CHECK_EQ(set, 0);
        else
            CHECK_EQ(right, CM_MEMO_SLOTS);
        CHECK_EQ(right_slots(&p, 1), p.c->policy.ring.slots - CM_MEMO_SLOTS);
        pool_down(&p);
    }
    free(image);
    pool_end(&p);
}

/* A superblock in the state OPEN names no pages, whatever its fields say. */
static void test_open_names_nothing(void)
{
    struct pool p;
    CALL(make(&p));
    pool_down(&p);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(&p, i)->state = CM_SUPER_OPEN;
        super_seal(super_at(&p, i));
    }
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(p.c->policy.ring.hand, 0);
    CALL(check_nothing(&p));
    pool_end(&p);
}

/* Pages with any bytes and a right sum: blocks are still stored, found and evicted. */
static void test_garbage(void)
{
    struct pool p;
    uint64_t rng = 5;
    REQUIRE(pool_new(&p, 2 * MIB) == 0);
    const uint64_t blocks = p.c->policy.ring.slots * 3;
    cm_file *f = attach(&p, 1, blocks * BLK, 1, 0);
    (void)put_all(f, 0, blocks, 1);
    detach(f);
    for (int round = 0; round < 20; round++) {
        CASE("round %d", round);
        pool_down(&p);
        for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
            super_at(&p, i)->memo.generation = 77;
            super_at(&p, i)->memo.hand = round % 2 ? UINT64_MAX - 40 : next_random(&rng);
            super_at(&p, i)->memo.departures = next_random(&rng);
            super_seal(super_at(&p, i));
        }
        for (unsigned n = 0; n < 2; n++) {
            CASE("n %u", n);
            struct cm_memo_page *page = memo_page(&p, n);
            for (unsigned i = 0; i < sizeof(page->body); i++)
                page->body[i] = round < 2 ? 0xff : (uint8_t)next_random(&rng);
            page->generation = 77;
            page->number = n;
            page->xxh3 = cm_format_memo_sum(key_now(&p), page);
        }
        REQUIRE(pool_up(&p) == 0);
        f = attach(&p, 1, blocks * BLK, 1, 0);
        (void)put_all(f, 0, blocks, 1);
        CHECK(hits(f, 0, blocks, 1) >= p.c->policy.ring.slots * 3 / 4);
        CHECK(p.c->policy.ring.on_probation <= p.c->policy.ring.slots);
        detach(f);
    }
    pool_end(&p);
}

/* Each of many pages is loaded once: when its first slot is reached. No pool is so large here: the
 * pages alone are. */
static void test_many_pages(void)
{
    enum { PAGES = 130 };
    struct pool p;
    struct cm_memo o = { .done = 0 };
    struct cm_policy_state policy;
    struct cm_memo_page page;
    const struct cm_super_memo kept = { .generation = 5 };
    REQUIRE(pool_new(&p, MIB) == 0);
    struct cm_media m = p.c->media;
    m.base = map_bytes(PAGES * BLK);
    m.geo.memo_offset = 0;
    m.geo.memo_pages = m.geo.memo_ring_pages = PAGES;
    CHECK_EQ(cm_memo_bytes(&m.geo), 24);
    o.reached = calloc(1, (size_t)cm_memo_bytes(&m.geo));
    o.page = &page;
    memset(&policy, 0, sizeof(policy));
    policy.ring.slots = PAGES * CM_MEMO_SLOTS;
    policy.ring.ref = calloc(PAGES, CM_MEMO_SLOTS);
    if (!o.reached || !policy.ring.ref)
        exit(1);
    for (uint64_t i = 0; i < PAGES; i++) {
        struct cm_memo_page written = { .body = { (uint8_t)(1 + i % 3) } };
        CHECK_EQ(cm_memo_store(&m, 5, i, &written), 0);
    }
    cm_memo_begin(&o, &m, &policy, &kept);
    for (uint64_t i = 0; i < PAGES; i++) {
        CASE("page %" PRIu64, i);
        uint8_t *const ref = &policy.ring.ref[i * CM_MEMO_SLOTS];
        CHECK_EQ(*ref, 0);
        policy.ring.reach(policy.ring.reach_ctx, i * CM_MEMO_SLOTS + 1);
        CHECK_EQ(*ref, 1 + i % 3);
        CHECK_EQ(o.reached[i / 64], i % 64 == 63 ? UINT64_MAX : (UINT64_C(2) << i % 64) - 1);
        *ref = 0;
        policy.ring.reach(policy.ring.reach_ctx, i * CM_MEMO_SLOTS);
        CHECK_EQ(*ref, 0);
    }
    free(o.reached);
    free(policy.ring.ref);
    unmap_bytes(m.base, PAGES * BLK);
    pool_end(&p);
}

/* Pages that a growth added are not loaded: what is there was never written. */
static void test_grown(void)
{
    struct pool p;
    CALL(make(&p));
    pool_again(&p);
    p.c->memo.pages = 1; /* as if the other page of the ring had not been there at the open */
    CHECK(right_slots(&p, 1) < CM_MEMO_SLOTS / 4);
    CHECK_EQ(p.c->memo.reached[0] & 2, 0);
    CHECK_EQ(right_slots(&p, 0), CM_MEMO_SLOTS);
    CHECK_EQ(p.c->memo.reached[0] & 3, 1);
    pool_end(&p);
}

/* A page that cannot be read or written costs only its own content. */
static void test_unreadable(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    CALL(make(&p));
    pool_down(&p);
    struct cm_memo_page *page = memo_page(&p, 0);
    REQUIRE(pool_up(&p) == 0);
    os_protect(page, BLK, OS_NOTHING);
    CHECK(right_slots(&p, 0) < CM_MEMO_SLOTS / 4);
    CHECK_EQ(right_slots(&p, 1), p.c->policy.ring.slots - CM_MEMO_SLOTS);
    cm_check_report report = { .struct_size = sizeof(report) };
    CHECK_EQ(cm_check(p.c, CM_CHECK_METADATA, NULL, NULL, &report), CM_DAMAGED);
    CHECK_EQ(report.unreadable, 1);
    cm_ring_set(&p.c->policy.ring, 3, 3);
    CHECK_EQ(cm_close(p.c), 0); /* no error: it is a hint */
    os_protect(page, BLK, OS_WRITE);
    CHECK_EQ(super_at(&p, 0)->state, CM_SUPER_CLEAN);
    CHECK_EQ(super_at(&p, 0)->memo.generation, 0);
    REQUIRE(pool_up(&p) == 0);
    CALL(check_nothing(&p));
    pool_end(&p);
}

/* A read-only open changes nothing and loads nothing. */
static void test_readonly(void)
{
    struct pool p;
    CALL(make(&p));
    pool_down(&p);
    uint8_t *image = malloc(p.bytes);
    if (!image)
        exit(1);
    memcpy(image, p.base, p.bytes);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK(p.c->policy.ring.ref == NULL && p.c->memo.reached == NULL);
    pool_down(&p);
    CHECK(memcmp(image, p.base, p.bytes) == 0);
    p.o.flags = 0;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(right_slots(&p, 0), CM_MEMO_SLOTS);
    pool_end(&p);
    free(image);
}

/* Pages of slots that were never used are not written. */
static void test_little_to_say(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 100, 1), 100);
    for (uint64_t b = 0; b < 100; b++) { /* eight others come between: it is news */
        CASE("b %" PRIu64, b);
        CHECK_EQ(look(f, b, 1), RIGHT);
    }
    detach(f);
    uint64_t pages = p.c->media.geo.memo_pages, written = 0;
    pool_down(&p);
    for (uint64_t i = 0; i < pages; i++)
        written += memo_page(&p, i)->generation != 0;
    CHECK_EQ(written, 1);
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(clean),   TEST(unseen),     TEST(hand),        TEST(joined),
    TEST(crash),   TEST(generation), TEST(page_checks), TEST(open_names_nothing),
    TEST(garbage), TEST(unreadable), TEST(readonly),    TEST(little_to_say),
    TEST(grown),   TEST(many_pages),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
