/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_copy_choice.c - the routine that hits copy with: measured, chosen, told; and never at the
 * cost of a long call.
 */
#include "fixture.h"

#include "state/copy_choice.h"

#define WARM 64u /* blocks */

/* Routines that copy right, and take long. */
static uint64_t slow_ns;
static unsigned slow_calls;

static int slow(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                uint64_t w2)
{
    const uint64_t end = cm_plat_now_ns() + slow_ns;
    slow_calls++;
    while (cm_plat_now_ns() < end)
        ;
    return cm_guard_take_choose()(header, src, dst, n, w1, w2);
}

/* A full pool whose slots count as hit, and these candidates: the first takes `ns` longer than the
 * second. */
static cm_file *two_candidates(struct pool *p, uint64_t ns)
{
    CHECK_EQ(pool_new(p, MIB), 0);
    cm_file *f = attach(p, 1, 10000 * BLK, 1, 0);
    (void)put_all(f, 1000, 2 * p->c->media.geo.slots, 5); /* each slot is in memory */
    struct cm_copy_choice *o = p->c->copy;
    for (uint64_t s = 0; s < p->c->media.geo.slots; s++) /* each slot that is tried will do */
        p->c->policy.ring.ref[s] |= CM_REF_VERIFIED;
    o->candidate[0].name = "slow";
    o->candidate[0].take = slow;
    o->candidate[1].name = "fast";
    o->candidate[1].take = cm_guard_take_choose();
    o->n = 2;
    o->over = 0;
    o->turns = o->tries = 0;
    o->candidate[0].ns = o->candidate[1].ns = 0;
    p->c->media.take = slow;
    slow_ns = ns;
    slow_calls = 0;
    return f;
}

static void read_on(cm_file *f, const struct pool *p, unsigned most)
{
    for (unsigned i = 0; i < most && !cm_copy_choice_is_over(p->c); i++) {
        CASE("i %u", i);
        CHECK_EQ(look(f, i % WARM, 5), RIGHT);
    }
}

/* Hits are enough: after some thousands the choice is made, and told. */
static void test_measured(void)
{
    struct pool p;
    if (!cm_guard_take_variant(1, NULL))
        SKIP("here is one routine at most");
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, WARM, 5), WARM);
    CHECK(!cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    CHECK(pool_info(p.c).hit_copy[0] != 0);
    read_on(f, &p, 1000000);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK(pool_info(p.c).hit_copy[0] != 0);
    CHECK_EQ(hits(f, 0, WARM, 5), WARM);
    pool_end(&p);
}

/* The slower one is not chosen, also if it is the start value. */
static void test_fastest(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    cm_file *f = two_candidates(&p, 1000);
    for (unsigned i = 0; i < 100000 && !cm_copy_choice_is_over(p.c); i++)
        cm_copy_choice_measure(p.c);
    CHECK(cm_copy_choice_is_over(p.c));
    /* On a machine that is too busy nothing is measured; then the start value stays. */
    if (pool_info(p.c).hit_copy_measured) {
        CHECK(strcmp(pool_info(p.c).hit_copy, "fast") == 0);
        CHECK(p.c->media.take == cm_guard_take_choose());
    } else {
        CHECK(strcmp(pool_info(p.c).hit_copy, "slow") == 0);
    }
    CHECK(hits(f, 1000, 2 * p.c->media.geo.slots, 5) > 0);
    pool_end(&p);
}

/* A turn that takes too long ends, and counts for nothing. At last the start value stays. */
static void test_too_long(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    cm_file *f = two_candidates(&p, 20000);
    struct cm_copy_choice *o = p.c->copy;
    cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 3);
    CHECK_EQ(o->turns, 0);
    CHECK_EQ(o->candidate[0].ns + o->candidate[1].ns, 0);
    o->tries = 2047;
    cm_copy_choice_measure(p.c);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    CHECK(p.c->media.take == slow);
    CHECK(hits(f, 1000, 2 * p.c->media.geo.slots, 5) > 0);
    pool_end(&p);
}

/* Slots that were never hit are not touched: their pages may be on a slow volume. */
static void test_only_what_was_hit(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        p.c->policy.ring.ref[s] &= (uint8_t)~CM_REF_VERIFIED;
    for (unsigned i = 0; i < 100; i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 0);
    CHECK_EQ(p.c->copy->turns, 0);
    pool_end(&p);
}

/* One thread measures; others go on. */
static void test_one_at_a_time(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    p.c->copy->busy = 1;
    cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 0);
    CHECK_EQ(p.c->copy->busy, 1);
    p.c->copy->busy = 0;
    cm_copy_choice_measure(p.c);
    CHECK(slow_calls > 0);
    CHECK_EQ(p.c->copy->busy, 0);
    pool_end(&p);
}

/* CM_OPEN_NO_TUNING, and a read-only pool. */
static void test_not_measured(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.flags = CM_OPEN_NO_TUNING;
    REQUIRE(pool_up(&p) == 0);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK(p.c->media.take == cm_guard_take_choose());
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    pool_down(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy[0], 0); /* it serves no hits */
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(measured),          TEST(fastest),       TEST(too_long),
    TEST(only_what_was_hit), TEST(one_at_a_time), TEST(not_measured),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
