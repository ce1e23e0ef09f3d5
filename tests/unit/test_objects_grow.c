/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_grow.c - containers of objects in a pool that grows.
 */
#include "objects_common.h"

/* While a pool grows, nothing can be stored in it. So a put or a delete waits before it forgets the
 * bucket: what else is in it stays. */
static void test_growing(void)
{
    static const size_t length[] = { 100, 9000 };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    REQUIRE(objects_info(o).buckets == 1);
    for (unsigned i = 0; i < 2; i++) {
        CASE("length %u", (unsigned)length[i]);
        const uint64_t key = 2;
        CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
        for (unsigned old = 0; old < 2; old++) { /* a new key, and one that is there */
            at_store_release(&p.c->growing, 1u);
            grows = p.c;
            CHECK_EQ(put_value(o, key, 1 + old, length[i], 0), 0);
            CHECK(grows == NULL);
            CHECK_EQ(get_value(o, key, 1 + old, length[i]), RIGHT);
        }
        at_store_release(&p.c->growing, 1u);
        grows = p.c;
        CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), 0);
        CHECK(grows == NULL);
        CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    }
    objects_down(o);
    pool_end(&p);
}

/* It does not wait for ever. Then it forgets the old value. If there is none, it forgets nothing.
 */
static void test_growing_long(void)
{
    static const size_t length[] = { 100, 9000 };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    oversleeps = true;
    for (unsigned i = 0; i < 2; i++) {
        CASE("length %u", (unsigned)length[i]);
        const uint64_t key = 3;
        CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
        CHECK_EQ(put_value(o, 2, 1, length[i], 0), 0);
        at_store_release(&p.c->growing, 1u);
        slept_ns = 0;
        CHECK_EQ(put_value(o, key, 1, length[i], 0), CM_NOT_STORED_MODE);
        CHECK(slept_ns >= CM_OBJECTS_WAIT_NS && slept_ns <= 2 * CM_OBJECTS_WAIT_NS);
        CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), CM_EABSENT);
        CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
        CHECK_EQ(get_value(o, 2, 1, length[i]), RIGHT);
        CHECK_EQ(put_value(o, 2, 2, length[i], 0), CM_NOT_STORED_MODE);
        at_store_release(&p.c->growing, 0u);
        CHECK_EQ(get_value(o, 2, 1, length[i]), MISS);
    }
    CASE("full bucket"); /* nothing leaves for what is not stored */
    CHECK_EQ(put_value(o, 10, 1, 9000, 0), 0);
    for (uint64_t key = 11; key < 14; key++)
        CHECK_EQ(put_value(o, key, 1, 1000, 0), 0);
    at_store_release(&p.c->growing, 1u);
    CHECK_EQ(put_value(o, 14, 1, 1000, 0), CM_NOT_STORED_MODE);
    at_store_release(&p.c->growing, 0u);
    CHECK_EQ(get_value(o, 10, 1, 9000), RIGHT);
    CHECK_EQ(objects_info(o).dropped, 0);
    oversleeps = false;
    objects_down(o);
    pool_end(&p);
}

/* After it has grown, values may be longer. */
static void test_grown(void)
{
#ifdef _WIN32
    SKIP("there no pool grows");
#endif
    struct pool p, big;
    pool_make(&p, 4 * MIB, 0);
    memset(&big, 0, sizeof(big));
    big.bytes = 32 * MIB;
    big.base = map_bytes(big.bytes);
    memcpy(big.base, p.base, (size_t)p.bytes);
    big.o = p.o;
    big.o.grow_max = big.bytes;
    REQUIRE(cm_open_memory(big.base, p.bytes, &big.o, &big.c) == 0);
    cm_objects *o = objects_up(big.c, "a", 100);
    CHECK_EQ(put_value(o, 1, 1, MIB, 0), CM_NOT_STORED_ROOM);
    CHECK_EQ(put_value(o, 2, 1, 100000, 0), 0);
    REQUIRE(cm_grow(big.c, big.bytes, NULL) == 0);
    CHECK_EQ(put_value(o, 1, 1, MIB, 0), 0);
    CHECK_EQ(get_value(o, 1, 1, MIB), RIGHT);
    CHECK_EQ(get_value(o, 2, 1, 100000), RIGHT);
    objects_down(o);
    pool_end(&big);
    pool_end(&p);
}

const struct harness_test objects_grow_tests[] = { TEST(growing), TEST(growing_long), TEST(grown),
                                                   TEST_END };
