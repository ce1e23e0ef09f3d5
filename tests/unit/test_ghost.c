/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_ghost.c - a block that left lately is remembered, once, for a window; nearly no other is.
 */
#include "fixture.h"

#include "policy/ghost.h"

static struct cm_ghost make(uint64_t window)
{
    struct cm_ghost g;
    cm_ghost_begin(&g, window, calloc(1, cm_ghost_bytes(window)));
    return g;
}

/* Distinct hashes. */
static uint64_t hash(uint64_t i)
{
    uint64_t s = i * UINT64_C(0x9e3779b97f4a7c15) + 1;
    return next_random(&s);
}

static void test_once(void)
{
    struct cm_ghost g = make(1000);
    CHECK(!cm_ghost_take(&g, hash(1)));
    cm_ghost_add(&g, hash(1));
    CHECK(!cm_ghost_take(&g, hash(2)));
    CHECK(cm_ghost_has(&g, hash(1)) && !cm_ghost_has(&g, hash(2)));
    CHECK(cm_ghost_take(&g, hash(1)));
    CHECK(!cm_ghost_take(&g, hash(1)));
    free(g.cell);
}

/* All but a few departures within the window are known, and no older ones. */
static void test_window(void)
{
    struct cm_ghost g = make(10000);
    unsigned known = 0;
    for (uint64_t i = 0; i < 50000; i++)
        cm_ghost_add(&g, hash(i));
    for (uint64_t i = 40100; i < 50000; i++)
        known += cm_ghost_take(&g, hash(i));
    CHECK(known >= 9900 * 0.93); /* buckets that overflow */
    known = 0;
    for (uint64_t i = 0; i < 40000; i++)
        known += cm_ghost_take(&g, hash(i));
    CHECK(known <= 40000 / 1000); /* fingerprints that collide */
    free(g.cell);
}

/* The 16-bit clock wraps around. That does not bring back old departures by the thousand. */
static void test_clock_wraps(void)
{
    struct cm_ghost g = make(64);
    unsigned known = 0;
    for (uint64_t i = 0; i < 200000; i++) {
        cm_ghost_add(&g, hash(i));
        if (i >= 10)
            known += cm_ghost_take(&g, hash(i - 10));
    }
    CHECK(known >= 199990 * 0.9);
    CHECK(!cm_ghost_take(&g, hash(1)));
    free(g.cell);
}

/* An empty cell is no block, also where the hash has nothing in its upper bits. */
static void test_empty(void)
{
    struct cm_ghost g = make(1000);
    CHECK(!cm_ghost_has(&g, 5));
    CHECK(!cm_ghost_take(&g, 5));
    cm_ghost_add(&g, 5);
    CHECK(cm_ghost_take(&g, 5));
    free(g.cell);
}

/* What was kept comes into cells that are empty: blocks that left since then stay. */
static void test_load(void)
{
    struct cm_ghost kept = make(1000), g = make(1000);
    uint8_t *bytes = calloc(1, cm_ghost_bytes(1000));
    unsigned known = 0;
    for (uint64_t i = 1000; i < 6000; i++)
        cm_ghost_add(&kept, hash(i));
    cm_ghost_save(&kept, 0, kept.buckets, bytes);
    for (uint64_t i = 0; i < 50; i++)
        cm_ghost_add(&g, hash(i));
    cm_ghost_load(&g, 0, g.buckets, bytes);
    for (uint64_t i = 0; i < 50; i++)
        known += cm_ghost_has(&g, hash(i));
    CHECK_EQ(known, 50);
    free(bytes);
    free(kept.cell);
    free(g.cell);
}

static void test_bytes(void)
{
    CHECK(cm_ghost_bytes(1000000) <= 5 * 1000000 + 64);
}

static const struct harness_test tests[] = { TEST(once),  TEST(window), TEST(clock_wraps),
                                             TEST(empty), TEST(load),   TEST(bytes) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
