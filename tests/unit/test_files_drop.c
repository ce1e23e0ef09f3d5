/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files_drop.c - dropping cached blocks to make room.
 */
#include "files_common.h"

static uint64_t cached(cm_file *f)
{
    cm_range r[64];
    uint64_t bytes = 0;
    const int64_t n = cm_file_ranges(f, 0, r, 64);
    CHECK(n >= 0 && n < 64);
    for (int64_t i = 0; i < n; i++)
        bytes += r[i].len;
    return bytes;
}

/* Blocks that hold a byte of the range go, and no others; their slots are free. */
static void test_drop(void)
{
    for (unsigned wide = 0; wide < 2; wide++)
        for (unsigned buffer = 0; buffer < 2; buffer++) {
            CASE("wide %u, buffer %u", wide, buffer);
            struct pool p;
            cm_file *f = files_begin(&p, wide, buffer, 100 * BLK + 96);
            cm_file *other = attach(&p, 2, 200 * BLK, 7, 0);
            CHECK_EQ(put_all(f, 0, 40, 1), 40);
            CHECK_EQ(put_all(other, 0, 9, 2), 9);
            if (!wide)
                CHECK_EQ(put_tail(f, 100, 96, 1), 0);
            CHECK_EQ(cm_drop(f, BLK + 7, BLK), 2 * (int64_t)BLK);
            CHECK_EQ(hits(f, 0, 40, 1), 38);
            CHECK_EQ(look(f, 1, 1) + look(f, 2, 1), 2 * MISS);
            CHECK_EQ(cm_drop(f, BLK, 2 * BLK), 0);
            CHECK_EQ(cm_drop(f, 10 * BLK, 0), 0);
            CHECK_EQ(cm_drop(f, 10 * BLK, 10 * BLK), 10 * (int64_t)BLK);
            CHECK_EQ(hits(f, 0, 40, 1), 28);
            CHECK_EQ(cached(f), 28 * BLK + (wide ? 0 : 96));
            CHECK_EQ(cm_drop(f, 30 * BLK, CM_ALL), 10 * (int64_t)BLK + (wide ? 0 : 96));
            CHECK_EQ(cached(f), 18 * BLK);
            CHECK_EQ(STAT(p.c, dropped), 22 + !wide);
            CHECK_EQ(hits(other, 0, 9, 2), 9);
            CHECK_EQ(slots_astray(p.c), 0);
            CHECK_EQ(put_all(f, 0, 40, 1), 22);
            CHECK_EQ(hits(f, 0, 40, 1), 40);
            const uint64_t evicted = (uint64_t)STAT(p.c, evicted);
            CHECK_EQ(evicted, 0);
            pool_end(&p);
        }
}

/* What was dropped from a full pool makes room: as many blocks come in and evict nothing. */
static void test_makes_room(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    pool_seed(&p, 1); /* with some seeds a block finds its buckets full before the pool is */
    REQUIRE(pool_up(&p) == 0);
    const uint64_t slots = pool_info(p.c).slots;
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0), *g = attach(&p, 2, 1000 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, slots / 2, 1), slots / 2);
    CHECK_EQ(put_all(g, 0, slots - slots / 2, 2), slots - slots / 2);
    const int64_t evicted = STAT(p.c, evicted);
    CHECK_EQ(cm_drop(f, 0, CM_ALL), (int64_t)(slots / 2 * BLK));
    CHECK_EQ(cached(f), 0);
    CHECK_EQ(put_all(g, 500, slots / 2, 2), slots / 2);
    CHECK_EQ(STAT(p.c, evicted), evicted);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Pinned bytes stay as they are; the slot is free after the last pin. */
static void test_drop_pinned(void)
{
    struct pool p;
    cm_iovec iov[1];
    cm_pins pins;
    int n;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    CHECK_EQ(cm_pin_range(f, BLK, BLK, iov, 1, &n, &pins, NULL), (int64_t)BLK);
    const uint64_t slot = slot_of(f, 1);
    CHECK_EQ(cm_drop(f, 0, CM_ALL), 3 * (int64_t)BLK);
    CHECK_EQ(cached(f), 0);
    CHECK_EQ(put_all(f, 100, pool_info(p.c).slots, 1), pool_info(p.c).slots);
    CHECK(is_content(1, 1, iov[0].base, BLK));
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A block that another thread is evicting or filling is left alone. */
static void test_drop_owned(void)
{
    struct pool p;
#ifdef CM_CHECKS_FULL
    SKIP("a slot that is owned by no call is out of order");
#endif
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    CHECK(cm_ring_own(&p.c->policy.ring, slot_of(f, 1)));
    CHECK_EQ(cm_drop(f, 0, CM_ALL), 2 * (int64_t)BLK);
    CHECK_EQ(look(f, 1, 1), RIGHT);
    cm_ring_disown(&p.c->policy.ring, slot_of(f, 1));
    CHECK_EQ(cm_drop(f, 0, CM_ALL), (int64_t)BLK);
    pool_end(&p);
}

static void test_drop_refused(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0);
    CHECK_EQ(put(f, 0, 1), 0);
    CHECK_EQ(cm_drop(NULL, 0, 1), CM_EHANDLE);
    CHECK_EQ(cm_drop(f, CM_ALL, 1), CM_ERANGE);
    CHECK_EQ(cm_drop(f, 1, CM_ALL - 1), CM_ERANGE);
    CHECK_EQ(cm_drop(f, 1000 * BLK, CM_ALL), 0);
    const cm_file_id id = id_of(1);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(cm_drop(f, 0, CM_ALL), 0);
    pool_end(&p);
}

const struct harness_test files_drop_tests[] = {
    TEST(drop), TEST(makes_room), TEST(drop_pinned), TEST(drop_owned), TEST(drop_refused), TEST_END,
};
