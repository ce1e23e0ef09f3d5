/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_super_boots.c - boots that have a pool, one after the other or in turns: since when the
 * system has not booted, and in which of them an fsync failed.
 */
#include "super_common.h"

/* If the system does not say which boot it is, it may be the same one. */
static void test_first_boot(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 0));
    CALL(expect_failed(&p, false, false)); /* it says nothing of an fsync */
    pair_end(&p);
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, false, false));
    CHECK_EQ(p.s.now.boot_number, 1);
    CHECK_EQ(p.s.now.boot_first, 0); /* a new pool names no boot */
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CHECK_EQ(p.s.now.boot_first, 2);
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 3));
    CHECK_EQ(p.s.now.boot_number, 5);
    CHECK_EQ(p.s.now.boot_first, 2);
    CALL(open_in_boot(&p, 4));
    CHECK_EQ(p.s.now.boot_first, 6);
    p.s.now.boot_number = 0x7fffffff; /* they go around */
    CALL(open_in_boot(&p, 5));
    CHECK_EQ(p.s.now.boot_number, 0);
    CHECK_EQ(p.s.now.boot_first, 0);
    pair_end(&p);
}

/* The pool was used in other boots meanwhile: the system of this one has not booted. */
static void test_boot_again(void)
{
    for (unsigned others = 1; others <= 3; others++) {
        struct pair p;
        CASE("%u others", others);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, 1));
        CALL(open_in_boot(&p, 1));
        const uint32_t wrote = p.s.now.boot_number;
        for (unsigned i = 0; i < others; i++)
            CALL(open_in_boot(&p, 2 + i));
        CHECK(cm_super_booted_since(&p.s, wrote));
        CALL(open_in_boot(&p, 1));
        CHECK_EQ(p.s.now.boot_number, wrote + others + 1);
        CALL(expect_failed(&p, false, false));
        CHECK_EQ(cm_super_booted_since(&p.s, wrote), others > 2); /* it remembers two */
        CALL(open_in_boot(&p, 9));
        CHECK(cm_super_booted_since(&p.s, wrote));
        pair_end(&p);
    }
}

/* The same if two others have it in turns: they are two, however often they come. */
static void test_boot_again_in_turns(void)
{
    for (unsigned turns = 2; turns <= 5; turns++) {
        struct pair p;
        CASE("%u turns", turns);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, 1));
        const uint32_t wrote = p.s.now.boot_number;
        for (unsigned i = 0; i < turns; i++)
            CALL(open_in_boot(&p, 2 + i % 2));
        CALL(open_in_boot(&p, 1));
        CHECK(!cm_super_booted_since(&p.s, wrote));
        pair_end(&p);
    }
}

/* The same with a boot that nobody knows in between. */
static void test_boot_again_unknown(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    const uint32_t wrote = p.s.now.boot_number;
    CALL(open_in_boot(&p, 2));
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 3));
    CALL(open_in_boot(&p, 1));
    CHECK(!cm_super_booted_since(&p.s, wrote));
    pair_end(&p);
}

/* An fsync failed in each of two boots. The one that had the pool last is remembered for longer. */
static void test_boot_again_failed(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    for (unsigned other = 3; other < 6; other++) {
        CALL(open_in_boot(&p, other));
        CALL(expect_failed(&p, false, false));
    }
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    pair_end(&p);
}

/* An fsync failed in a boot before this one had the pool: nothing of this one can have failed. */
static void test_boot_again_failed_before(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    for (unsigned other = 2; other < 6; other++)
        CALL(open_in_boot(&p, other));
    CALL(open_in_boot(&p, 6));
    CALL(open_in_boot(&p, 7));
    CALL(open_in_boot(&p, 6));
    CALL(expect_failed(&p, false, false));
    pair_end(&p);
}

/* It failed in a boot that nobody knows. That may hide a failure of this one. */
static void test_boot_again_failed_unknown(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 2));
    CALL(open_in_boot(&p, 0));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 3));
    memset(p.s.now.failed_boot_id, 0, sizeof(p.s.now.failed_boot_id)); /* by an older library */
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    pair_end(&p);
}

/* The volume of a checkpointed pool is put back while it is open: in the same boot, or in another.
 */
static void put_back_in_boot(struct pair *p, unsigned boot)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .syncs = true, .pid = 1 };
    bool emptied;
    memset(o.boot_id, (int)boot, sizeof(o.boot_id));
    memset(o.mount_id, 1 + (int)p->s.now.boot_number % 100, sizeof(o.mount_id));
    p->s.now.durability = CM_DURABILITY_CHECKPOINT;
    CHECK_EQ(cm_super_open(&p->s, &o, &emptied), 0);
    CHECK(!emptied);
}

/* An fsync may have failed in the boot that has the pool, though its id is not the last one that
 * was noted. That stays so if the volume is put back in this boot. */
static void test_put_back_failed(void)
{
    for (unsigned first = 0; first < 2; first++) {
        struct pair p;
        CASE("first %u", first);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, first));
        CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
        if (first == 1) {
            CALL(open_in_boot(&p, 2));
            CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
        }
        CALL(open_in_boot(&p, 1));
        CALL(expect_failed(&p, true, true));
        const uint32_t boot = p.s.now.boot_number;
        CALL(put_back_in_boot(&p, 1));
        CHECK_EQ(p.s.now.boot_number, boot + 1);
        CALL(expect_failed(&p, true, true));
        CALL(open_in_boot(&p, 3));
        CALL(expect_failed(&p, false, false));
        pair_end(&p);
    }
}

/* That an fsync failed is remembered for longer than a boot. So is that boot, then. */
static void test_boot_again_by_failure(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    const uint32_t wrote = p.s.now.boot_number;
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    for (unsigned other = 2; other < 6; other++)
        CALL(open_in_boot(&p, other));
    CHECK(cm_super_booted_since(&p.s, wrote));
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    CHECK(!cm_super_booted_since(&p.s, wrote));
    pair_end(&p);
}

/* Records say less of a failed fsync if other boots had the pool since. Boots that nobody knows may
 * all be one. */
static void test_failed_all(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0);
    CHECK(!cm_super_failed(&p.s).all);
    CALL(open_in_boot(&p, 2));
    CHECK(!cm_super_failed(&p.s).all);
    CALL(open_in_boot(&p, 1));
    CHECK(cm_super_failed(&p.s).all);
    CALL(put_back_in_boot(&p, 1));
    CHECK(cm_super_failed(&p.s).all);
    pair_end(&p);
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 0));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0);
    for (unsigned i = 0; i < 300; i++)
        CALL(open_in_boot(&p, 0));
    CALL(expect_failed(&p, true, true));
    CHECK(!cm_super_failed(&p.s).all);
    pair_end(&p);
}

const struct harness_test super_boots_tests[] = {
    TEST(first_boot),
    TEST(boot_again),
    TEST(boot_again_in_turns),
    TEST(boot_again_unknown),
    TEST(boot_again_failed),
    TEST(boot_again_failed_before),
    TEST(boot_again_failed_unknown),
    TEST(put_back_failed),
    TEST(boot_again_by_failure),
    TEST(failed_all),
    TEST_END,
};
