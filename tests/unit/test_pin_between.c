/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_pin_between.c - what another thread, or the media, can do between two looks of a call at the
 * same header or bucket.
 */
#include "pin_common.h"

#define CELLS_PAGE (BLK / sizeof(struct cm_bucket)) /* buckets in a page */

static cm_file *between_file;

static void invalidate_first(void)
{
    CHECK_EQ(cm_invalidate(between_file, 0, BLK), 0);
}
static void invalidate_later(void)
{
    between = invalidate_first; /* after the next look */
}
static void refill_first(void)
{
    invalidate_first();
    for (uint64_t b = 100; slot_ok(between_cache, between_slot) == false && b < 1000; b++)
        CHECK_EQ(put(between_file, b, 5), 0);
    CHECK(slot_ok(between_cache, between_slot));
}
/* A block is found that is to be dropped. Then another thread is faster, or the header cannot be
 * read any more. */
static void test_dropped_between(void)
{
    static void (*const ways[])(void) = { invalidate_first, invalidate_later, refill_first,
                                          forbid_headers };
    for (unsigned i = 0; i < 4; i++) {
        CASE("way %u", i);
        struct pool p;
        if (i == 3 && !cm_guard_available())
            SKIP("no fault guard in this build");
        REQUIRE(pool_new(&p, MIB) == 0);
        between_cache = p.c;
        cm_file *f = between_file = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(put(f, 0, 5), 0);
        between_slot = slot_of(f, 0);
        between = ways[i];
        CHECK_EQ(cm_drop(f, 0, BLK), 0);
        CHECK(between == NULL);
        CHECK_EQ(STAT(p.c, dropped), 0);
        CHECK_EQ(STAT(p.c, quarantined), i == 3);
        os_protect(header_of(p.c, 0), BLK, OS_WRITE);
        CHECK_EQ(slots_astray(p.c), i == 3);
        CHECK_EQ(slot_ok(p.c, between_slot), i > 1);
        pool_end(&p);
    }
}

static uint64_t between_page; /* of the index */
static void forbid_index(void)
{
    os_protect(cell_of(between_cache, between_page * CELLS_PAGE, 0), BLK, OS_NOTHING);
}
static void allow_index(void)
{
    os_protect(cell_of(between_cache, between_page * CELLS_PAGE, 0), BLK, OS_WRITE);
}

/* Plants a cell in an empty place of one of a block's buckets. It leads to block 0 of file 1. */
static uint64_t *plant(cm_file *f, uint64_t block, unsigned which)
{
    const struct cm_key k = key_of(f, block);
    uint64_t *cell = cell_of(between_cache, k.place.bucket[which], 0);
    for (unsigned i = 0; i < CM_BUCKET_CELLS && *cell != 0; i++)
        cell++;
    *cell = cm_cell_make(k.place.tag, between_cache->media.boot, slot_of(f, 0));
    return cell;
}

/* A bracket looks at two cells that have the block's tag. The first one leads to another block, and
 * then the index cannot be read any more. */
static void test_cells_between(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    between_cache = p.c;
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    uint64_t b = 1; /* its second bucket is in another page */
    while (key_of(f, b).place.bucket[0] / CELLS_PAGE == key_of(f, b).place.bucket[1] / CELLS_PAGE)
        b++;
    between_page = key_of(f, b).place.bucket[0] / CELLS_PAGE;
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(put(f, b, 5), 0);
    between_slot = slot_of(f, 0);
    uint64_t *first = cell_to(f, b), *second = plant(f, b, 0);
    out_of_order(p.c);
    CHECK(second == first + 1);
    const uint64_t cell = *first;
    *first = *second;
    *second = cell;
    between = forbid_index;
    cm_bracket w = begin_write(f, b * BLK, BLK);
    CHECK(between == NULL);
    allow_index();
    CHECK_EQ(STAT(p.c, escalations), 1);
    CHECK_EQ(look(f, b, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* The same while a block is sorted into the probation buffer: it may be in the pool. */
static void test_buffered_between(void)
{
    static uint8_t data[CM_BLOCK_SIZE];
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, MIB, 0);
    p.o.probation_bytes = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    between_cache = p.c;
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0); /* to the pool at once */
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    const cm_miss m = miss_of(f, 500 * BLK, BLK);
    between_slot = slot_of(f, 0);
    between_page = 0;
    out_of_order(p.c);
    (void)plant(f, 500, 1);
    content(5, 500, data);
    between = forbid_index;
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_MEDIA);
    CHECK(between == NULL);
    allow_index();
    CHECK_EQ(look(f, 500, 5), MISS);
    pool_end(&p);
}

/* A survey has counted blocks of a file. Then the file gets another group, before the survey has
 * written how far it came. */
#define FROM UINT32_C(1)
#define TO UINT32_C(2)
static void move_to(void)
{
    CHECK_EQ(cm_file_set_group(between_file, TO), 0);
}
static void move_twice(void)
{
    CHECK_EQ(cm_file_set_group(between_file, 0), 0);
    CHECK_EQ(cm_file_set_group(between_file, TO), 0);
}
static void test_group_between(void)
{
    static void (*const ways[])(void) = { move_to, move_twice };
    for (unsigned i = 0; i < 2; i++) {
        CASE("way %u", i);
        struct pool p;
        uint64_t from, to, most;
        REQUIRE(pool_new(&p, MIB) == 0);
        between_cache = p.c;
        CHECK_EQ(cm_group_set_quota(p.c, FROM, 100 * BLK), 0);
        CHECK_EQ(cm_group_set_quota(p.c, TO, 100 * BLK), 0);
        cm_file *f = between_file = attach(&p, 1, 10 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 10, 5), 10);
        CHECK_EQ(cm_file_set_group(f, FROM), 0);
        between_slot = slot_of(f, 5);
        between = ways[i];
        CHECK_EQ(cm_group_usage(p.c, FROM, &from, &most), 0);
        CHECK(between == NULL);
        CHECK_EQ(cm_group_usage(p.c, TO, &to, &most), 0);
        CHECK_EQ(from, 0);
        CHECK_EQ(to, 10 * BLK);
        pool_end(&p);
    }
}

const struct harness_test pin_between_tests[] = {
    TEST(dropped_between),
    TEST(cells_between),
    TEST(buffered_between),
    TEST(group_between),
    TEST_END,
};
