/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ring_empties.c - slots that became empty: how they are counted and found.
 */
#include "ring_common.h"

/* Slots that became empty come before all others that were used, also those without a hint, if
 * there are many of them. */
static void test_empties(void)
{
    enum { SLOTS = 4096, EMPTY = 600 };
    struct cm_ring r = make(SLOTS);
    struct cm_victim v;
    set_all(&r, 1);
    for (uint64_t s = 0; s < EMPTY; s++)
        cm_ring_hint(&r, 3000 + s);
    CHECK_EQ(r.hint_count, CM_HINTS);
    CHECK_EQ(r.empties, EMPTY);
    CHECK_EQ(cm_ring_empties(&r), EMPTY);
    uint64_t got = 0;
    for (; cm_ring_empties(&r) > 0 && got < EMPTY; got++) {
        CASE("victim %u", (unsigned)got);
        const uint64_t left = SLOTS / CM_EMPTY_PART + CM_EMPTY_MIN;
        for (unsigned i = 0; i < 4 && (v.slot = victim(&r)) < 3000; i++)
            CHECK(r.hint_count == 0); /* the search has to come there first */
        CHECK(v.slot >= 3000 && v.slot < 3000 + EMPTY);
        cm_ring_set(&r, v.slot, 1); /* it is filled */
        CHECK_EQ(r.empties, EMPTY - 1 - got);
        CHECK(cm_ring_empties(&r) == r.empties || r.empties <= left);
    }
    CHECK_EQ(EMPTY - got, SLOTS / CM_EMPTY_PART + CM_EMPTY_MIN);
    unmake(&r);
}

/* Slots that are filled by others, or begin their probation, are not empty any more. */
static void test_empties_counted(void)
{
    struct cm_ring r = make(100);
    cm_ring_hint(&r, 1);
    cm_ring_hint(&r, 1);
    cm_ring_hint(&r, 2);
    cm_ring_hint(&r, 3);
    CHECK_EQ(r.empties, 3);
    CHECK_EQ(cm_ring_empties(&r), 4); /* few: the hints count, and one stands twice */
    begin(&r, 2);
    cm_ring_set(&r, 3, CM_REF_KNOWN);
    CHECK_EQ(r.empties, 1);
    CHECK(cm_ring_own(&r, 1));
    const uint64_t slot = 1;
    cm_ring_give_free(&r, &slot, 1);
    CHECK_EQ(r.empties, 0);
    unmake(&r);
}

/* The frontier goes back: the slots come in their order once more, but for those that are owned. */
static void test_ring_emptied(void)
{
    struct cm_ring r = make(256);
    struct cm_victim v;
    const uint64_t free[] = { 70, 3, 90 };
    r.frontier = 100;
    set_all(&r, 3);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(cm_ring_own(&r, free[i]));
        cm_ring_give_free(&r, &free[i], 1);
    }
    cm_ring_hint(&r, 80);
    CHECK(cm_ring_own(&r, 5));
    CHECK_EQ(cm_ring_used(&r), 100);
    cm_ring_emptied(&r);
    CHECK_EQ(r.free_count, 0);
    CHECK_EQ(cm_ring_unused(&r), 256);
    CHECK_EQ(cm_ring_used(&r), 100);
    for (uint64_t s = 0; s < 256; s++) {
        CASE("slot %u", (unsigned)s);
        if (s == 5)
            continue;
        CHECK_EQ(cm_ring_victims(&r, &v, 1), 1);
        CHECK_EQ(v.slot, s);
        CHECK_EQ(v.returned, s < 100);
        CHECK_EQ(v.remember, false);
    }
    CHECK_EQ(cm_ring_unused(&r), 0);
    cm_ring_disown(&r, 5);
    CHECK_EQ(cm_ring_victims(&r, &v, 1), 1); /* by the hand */
    CHECK_EQ(v.slot, 5);
    CHECK(!v.returned);
    cm_ring_emptied(&r);
    cm_ring_emptied(&r); /* as another thread may do */
    CHECK_EQ(cm_ring_used(&r), 256);
    CHECK_EQ(cm_ring_victims(&r, &v, 1), 0);
    unmake(&r);
}

const struct harness_test ring_empties_tests[] = { TEST(empties), TEST(empties_counted),
                                                   TEST(ring_emptied), TEST_END };
