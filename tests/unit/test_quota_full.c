/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_quota_full.c - how many blocks a full group gives: about as many as it gets.
 */
#include "quota_common.h"

#include "state/quota.h"

/* Blocks that come together evict as many of their group. */
static void test_together(void)
{
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    pool_seed(&p, 7);
    (void)pool_up(&p);
    set_quota(&p, G1, 8);
    cm_file *f = attach_in(&p, 1, 100, G1);
    cm_quota_complete(p.c);
    CHECK_EQ(put_all(f, 0, 8, 1), 8);
    CHECK_EQ(used(&p, G1), 8);
    cm_miss m = miss_of(f, 20 * BLK, sizeof(buf));
    CHECK_EQ(m.len, sizeof(buf));
    for (uint64_t b = 0; b < 4; b++)
        content(1, 20 + b, buf + b * BLK);
    CHECK_EQ(cm_fill(f, &m, buf, sizeof(buf), 0), 0);
    CHECK_EQ(STAT(p.c, evicted), 4);
    CHECK_EQ(hits(f, 20, 4, 1), 4);
    CHECK_EQ(hits(f, 0, 8, 1), 4);
    CHECK_EQ(used(&p, G1), 8);
    pool_end(&p);
}

/* A fill takes no more slots than it needs: in a full pool none is free after it. */
static void test_takes_as_many(void)
{
    struct pool p;
    pool_make(&p, 2 * MIB, 0);
    pool_seed(&p, 7);
    (void)pool_up(&p);
    set_quota(&p, G1, 8);
    cm_quota_complete(p.c);
    cm_file *f = attach(&p, 1, 100000 * BLK, 1, CM_SOLE_WRITER); /* in no group */
    const struct cm_ring *r = &p.c->policy.ring;
    for (uint64_t b = 0; b < 2 * r->slots; b++)
        (void)put(f, b, 1);
    CHECK_EQ((int64_t)r->frontier, (int64_t)r->slots);
    CHECK_EQ((int64_t)r->free_count, 0);
    pool_end(&p);
}

/* A full group of 16 blocks, all hot, in a large pool that is not full. */
static cm_file *few_in_many(struct pool *p)
{
    pool_make(p, 80 * MIB, 0);
    pool_seed(p, 7);
    (void)pool_up(p);
    CHECK(p->c->media.geo.slots >= 16384);
    set_quota(p, G1, 16);
    cm_file *const f = attach_in(p, 1, 100, G1);
    CHECK_EQ(put_all(f, 0, 16, 1), 16);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(hits(f, 0, 16, 1), 16);
    CHECK_EQ(used(p, G1), 16);
    return f;
}

/* One block more takes the place of one, or of two: they are not evicted in such numbers as those
 * of the pool are. */
static void test_few(void)
{
    struct pool p;
    cm_file *const f = few_in_many(&p);
    CHECK_EQ(put(f, 16, 1), 0);
    CHECK(hits(f, 0, 16, 1) >= 14);
    CHECK_EQ(hits(f, 16, 1, 1), 1);
    pool_end(&p);
}

/* Nor if it has one more than it may have, however many slots others want together. */
static void test_few_over(void)
{
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *const f = few_in_many(&p), *const others = attach(&p, 9, 8 * BLK, 1, 0);
    set_quota(&p, G1, 15);
    const cm_miss m = miss_of(others, 0, sizeof(buf));
    for (uint64_t b = 0; b < 8; b++)
        content(9, b, buf + b * BLK);
    CHECK_EQ(cm_fill(others, &m, buf, sizeof(buf), 0), 0);
    CHECK_EQ(hits(others, 0, 8, 9), 8);
    CHECK(hits(f, 0, 16, 1) >= 14);
    CHECK(used(&p, G1) <= 15);
    pool_end(&p);
}

const struct harness_test quota_full_tests[] = {
    TEST(together), TEST(takes_as_many), TEST(few), TEST(few_over), TEST_END,
};
