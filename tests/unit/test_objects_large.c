/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_large.c - what of large values is in the pool: zeros behind the last byte, and
 * nothing after a clear.
 */
#include "objects_common.h"

static cm_file *data_file(const cm_objects *o)
{
    return o->data[o->data_now].file;
}

/* Behind the last byte of a value its last block has zeros, and nothing of the process. */
static void test_zeros_behind(void)
{
    static uint8_t block[BLK];
    struct pool p;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 100);
    CHECK_EQ(put_value(o, 1, 1, 3 * BLK - 1, 0), 0); /* it leaves bytes on the stack */
    CHECK_EQ(put_value(o, 2, 1, 9000, 0), 0);
    CHECK_EQ(cm_read(data_file(o), 5 * BLK, block, BLK, NULL), (int64_t)BLK);
    for (unsigned i = 9000 - 2 * BLK; i < BLK; i++)
        CHECK_EQ(block[i], 0);
    objects_down(o);
    pool_end(&p);
}

/* A clear gives the room of large values back to the pool. */
static void test_clear_gives_room(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 100);
    for (uint64_t key = 0; key < 10; key++)
        CHECK_EQ(put_value(o, key, 1, 25 * BLK, 0), 0);
    CHECK_EQ(cm_file_cached(data_file(o), 0, CM_ALL), (int64_t)(250 * BLK));
    CHECK_EQ(cm_objects_clear(o), 0);
    CHECK_EQ(cm_file_cached(data_file(o), 0, CM_ALL), 0);
    objects_down(o);
    pool_end(&p);
}

const struct harness_test objects_large_tests[] = {
    TEST(zeros_behind),
    TEST(clear_gives_room),
    TEST_END,
};
