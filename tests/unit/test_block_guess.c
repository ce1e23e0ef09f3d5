/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_guess.c - the guess where a block's slot is: learned from hits, and never more than a
 * hint.
 */
#include "block_common.h"

#include "api/read_fast.h"

/* The place of a block as a hit begins with it. */
static struct cm_fast begin(const cm_file *f, uint64_t block, struct cm_spot *at)
{
    struct cm_fast g;
    memset(at, 0xee, sizeof(*at));
    cm_fast_begin(cm_object_of(f), block * BLK + 5, BLK - 5, &g, at);
    return g;
}

/* A wrong guess changes nothing: also where there is no such slot, or where the slot is another
 * block's. */
static void test_guess_wrong(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    struct cm_object *o = cm_object_of(f);
    const uint64_t n = 200, slots = p.c->media.geo.slots;
    CHECK_EQ(put_all(f, 0, n, 5), n);
    CHECK_EQ(hits(f, 0, n, 5), n); /* judged */
    const uint64_t deltas[] = { 0,
                                1,
                                UINT64_MAX,
                                17,
                                slots - 1,
                                slots,
                                slots - n,
                                INT64_MAX,
                                UINT64_MAX - n,
                                (uint64_t)INT64_MAX + 1 };
    for (unsigned d = 0; d < sizeof(deltas) / sizeof(deltas[0]); d++) {
        unsigned wrong = 0;
        for (uint64_t b = 0; b < n; b++) {
            struct cm_spot at;
            at_store_relaxed(&o->slot_delta, deltas[d]);
            const struct cm_fast g = begin(f, b, &at);
            if (g.slot == CM_NO_SLOT)
                continue; /* it is in its second bucket */
            wrong += g.slot != slot_of(f, b) || at.header != header_of(p.c, g.slot) ||
                     at.payload != payload_of(p.c, g.slot);
        }
        CHECK_EQ(wrong, 0);
        at_store_relaxed(&o->slot_delta, deltas[d]);
        CHECK_EQ(hits(f, 0, n, 5), n);
    }
    pool_end(&p);
}

/* Reads until the hint is this, at most so often. */
static bool reads_until(cm_file *f, uint64_t first, uint64_t n, uint64_t delta)
{
    static uint8_t to[4 * CM_BLOCK_SIZE];
    const struct cm_object *o = cm_object_of(f);
    for (unsigned i = 0; i < 100000 && at_load_relaxed(&o->slot_delta) != delta; i++) {
        const uint64_t blocks = i % 2 == 0 ? 1 : 4; /* long reads teach, too */
        CHECK_EQ(cm_read(f, (first + i % (n - 3)) * BLK, to, (size_t)(blocks * BLK), NULL),
                 (int64_t)(blocks * BLK));
    }
    return at_load_relaxed(&o->slot_delta) == delta;
}

/* Blocks that were stored in a row are guessed after some reads; and then others of the file that
 * are farther from their slots. */
static void test_guess_learned(void)
{
    struct pool p;
    cm_file *other, *f = open_pool_and_file(&p, 4 * MIB);
    other = attach(&p, 2, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(other, 0, 30, 6), 30);
    CHECK_EQ(put_all(f, 100, 50, 5), 50);
    const uint64_t delta = slot_of(f, 100) - 100;
    CHECK_EQ(slot_of(f, 149) - 149, delta); /* in a row */
    CHECK(reads_until(f, 100, 50, delta));
    struct cm_spot at;
    CHECK_EQ(begin(f, 149, &at).slot, slot_of(f, 149));
    CHECK_EQ(cm_object_guess(cm_object_of(f), 149), slot_of(f, 149));
    CHECK_EQ(put_all(other, 30, 7, 6), 7);
    CHECK_EQ(put_all(f, 150, 50, 5), 50);
    const uint64_t again = slot_of(f, 150) - 150;
    CHECK(again != delta && slot_of(f, 199) - 199 == again);
    CHECK(reads_until(f, 150, 50, again));
    CHECK_EQ(hits(f, 100, 100, 5), 100);
    pool_end(&p);
}

/* The word that every hit loads is only stored to after two that agree. */
static void test_guess_twice(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 1 * MIB);
    struct cm_object *o = cm_object_of(f);
    o->slot_delta = 7;
    cm_object_learn(o, 10, 30);
    CHECK_EQ(o->slot_delta, 7);
    cm_object_learn(o, 10, 31);
    CHECK_EQ(o->slot_delta, 7);
    cm_object_learn(o, 20, 41);
    CHECK_EQ(o->slot_delta, 21);
    cm_object_learn(o, 50, 3); /* before its block */
    cm_object_learn(o, 51, 4);
    CHECK_EQ(cm_object_guess(o, 60), 13);
    pool_end(&p);
}

const struct harness_test block_guess_tests[] = {
    TEST(guess_wrong),
    TEST(guess_learned),
    TEST(guess_twice),
    TEST_END,
};
