/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_ttl.c - containers of objects: times to live while the wall clock is wrong.
 */
#include "objects_common.h"

#define HOUR (3600 * SECOND)
#define YEAR (365 * 24 * HOUR)

/* When an object says that it ends. */
static int64_t end_of(cm_objects *o, uint64_t key, int64_t len)
{
    cm_object_info info = CM_OBJECT_INFO_INIT;
    CHECK_EQ(cm_objects_get(o, &key, sizeof(key), NULL, 0, &info), len);
    CHECK_EQ(info.expires_ns % 1000000, 0);
    return info.expires_ns;
}

/* Is it `ttl` after the wall clock as it is now? Less is allowed, by a minute: the test may have to
 * wait for a processor, also between looks at two clocks. More is allowed by a thousandth of the
 * time that has passed, a few hours, and by 0.1 s. */
static bool is_from_now(int64_t end, int64_t ttl)
{
    const int64_t last =
        cm_plat_wall_ns() + ttl + SECOND / 10 + 1000000 + (int64_t)(passed_ns / 1000);
    return end >= last - 60 * SECOND && end <= last;
}

static void quiet(void)
{
    clock_step_ns = 0;
    passed_ns = 0;
}

/* The clock was years ahead for a moment, before the objects were put. They live as long as they
 * shall: in this session, and in the next one, which knows only what is recorded. */
static void test_ttl_was_ahead(void)
{
    struct pool p;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    clock_step_ns = 10 * YEAR;
    cm_objects *o = objects_up(p.c, "a", 1); /* one bucket: a put looks at the others */
    CHECK_EQ(put_value(o, 9, 1, 100, (uint64_t)HOUR), 0);
    clock_step_ns = 0;
    CHECK(is_from_now(end_of(o, 9, 100), HOUR)); /* it is right, too */
    CHECK_EQ(put_value(o, 1, 1, 100, (uint64_t)HOUR), 0);
    CHECK_EQ(put_value(o, 2, 1, 50000, (uint64_t)HOUR), 0);
    CHECK_EQ(put_value(o, 3, 1, 100, (uint64_t)(2 * HOUR)), 0);
    CHECK_EQ(put_value(o, 4, 1, 100, UINT64_MAX), 0);
    CHECK_EQ(objects_info(o).expired, 0);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    CHECK_EQ(get_value(o, 2, 1, 50000), RIGHT);
    CHECK_EQ(get_value(o, 4, 1, 100), RIGHT);
    CHECK(is_from_now(end_of(o, 1, 100), HOUR));
    CHECK(is_from_now(end_of(o, 3, 100), 2 * HOUR));
    passed_ns = (uint64_t)(HOUR + 5 * SECOND); /* the monotonic clock ends them, too */
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    CHECK_EQ(get_value(o, 9, 1, 100), MISS);
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    CHECK(is_from_now(end_of(o, 3, 100), HOUR - 5 * SECOND));
    passed_ns = 0;
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    objects_down(o);
    pool_again(&p);
    clock_step_ns = HOUR / 2;
    o = objects_up(p.c, "a", 1);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    CHECK_EQ(get_value(o, 2, 1, 50000), RIGHT);
    clock_step_ns = HOUR + SECOND;
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    CHECK_EQ(get_value(o, 2, 1, 50000), MISS);
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    CHECK_EQ(get_value(o, 4, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
    quiet();
}

/* The clock is set back after they were put: the end moves with it. Forward it ends them, also
 * those that were put meanwhile. */
static void test_ttl_back_and_forward(void)
{
    struct pool p;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    CHECK_EQ(put_value(o, 1, 1, 100, (uint64_t)HOUR), 0);
    CHECK(is_from_now(end_of(o, 1, 100), HOUR));
    clock_step_ns = -24 * HOUR;
    CHECK(is_from_now(end_of(o, 1, 100), HOUR));
    CHECK_EQ(put_value(o, 2, 1, 100, (uint64_t)HOUR), 0);
    CHECK(is_from_now(end_of(o, 2, 100), HOUR));
    passed_ns = (uint64_t)(HOUR / 2);
    CHECK(is_from_now(end_of(o, 1, 100), HOUR / 2));
    CHECK(is_from_now(end_of(o, 2, 100), HOUR / 2));
    passed_ns = 0;
    clock_step_ns = -22 * HOUR;
    CHECK_EQ(get_value(o, 2, 1, 100), MISS);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
    quiet();
}

/* A clock that was set back by less than 0.1 s may not be one: no end is remembered then. So
 * nothing ends earlier, also not if the clock is set back further: it lives longer, by 0.1 s at
 * most. */
static void test_ttl_back_a_little(void)
{
    static const struct {
        int64_t back_ms, earlier_ms;
    } of[] = { { 0, 0 },    { 1, 0 },    { 50, 0 },    { 99, 0 },    { 100, 0 },    { 101, 1 },
               { 150, 50 }, { 195, 95 }, { 200, 100 }, { 300, 200 }, { 1100, 1000 } };
    struct pool p;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
        CASE("i %u", i);
        struct cm_object_now now = cm_objects_now(o);
        const struct cm_entry e = { .key = (const uint8_t *)"k",
                                    .key_len = 1,
                                    .check = 5,
                                    .expires_ms = now.wall_ns / 1000000 + 50 };
        now.back_ns = of[i].back_ms * 1000000;
        cm_objects_keep_end(o, &now, &e, 77, (uint64_t)HOUR); /* of another entry */
        CHECK_EQ(cm_objects_end_of(o, &now, &e), (e.expires_ms - of[i].earlier_ms) * 1000000);
    }
    objects_down(o);
    pool_end(&p);
}

/* To remember these ends takes memory, only then. Without it such objects end earlier. */
static void test_ttl_memory(void)
{
    struct counted_memory m = { 0 };
    struct pool p;
    quiet();
    pool_make(&p, 4 * MIB, 0);
    p.o.alloc = counted_alloc;
    p.o.free = counted_free;
    p.o.alloc_ctx = &m;
    REQUIRE(pool_up(&p) == 0);
    clock_step_ns = 10 * YEAR;
    objects_down(objects_up(p.c, "a", 100)); /* its files have memory, from now on */
    const unsigned had = m.kept;
    cm_objects *o = objects_up(p.c, "a", 100);
    const unsigned open = m.kept;
    const uint64_t bytes = objects_info(o).dram_bytes;
    clock_step_ns = 0;
    CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
    CHECK_EQ(m.kept, open);
    m.refuses = true;
    CHECK_EQ(put_value(o, 2, 1, 100, (uint64_t)HOUR), 0);
    CHECK_EQ(get_value(o, 2, 1, 100), MISS);
    m.refuses = false;
    CHECK_EQ(put_value(o, 2, 1, 100, (uint64_t)HOUR), 0);
    CHECK_EQ(get_value(o, 2, 1, 100), RIGHT);
    CHECK_EQ(m.kept, open + 1);
    CHECK(objects_info(o).dram_bytes > bytes);
    objects_down(o);
    CHECK_EQ(m.kept, had);
    pool_down(&p);
    CHECK_EQ(m.kept, 0);
    pool_end(&p);
    quiet();
}

/* The process stands still between its looks at the two clocks, in a get or in a put. No clock was
 * set, so nothing ends too early then or later, and nothing lives longer. */
static void test_ttl_stopped(void)
{
    enum { N = 20 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        struct pool p;
        quiet();
        REQUIRE(pool_new(&p, 16 * MIB) == 0);
        cm_objects *o = objects_up(p.c, "a", 1);
        CHECK_EQ(put_value(o, 0, 1, 100, (uint64_t)(2 * HOUR)), 0);
        CHECK_EQ(put_value(o, 1, 1, 100, (uint64_t)(9 * HOUR)), 0);
        for (uint64_t key = 2; key < N; key++)
            CHECK_EQ(put_value(o, key, 1, 100, (uint64_t)(9 * HOUR)), 0);
        stop_ns = (uint64_t)(5 * HOUR);
        if (i == 0)
            CHECK_EQ(get_value(o, 0, 1, 100), MISS); /* it ended meanwhile */
        else
            CHECK_EQ(put_value(o, N, 1, 100, (uint64_t)(9 * HOUR)), 0);
        CHECK_EQ(stop_ns, 0);
        passed_ns += (uint64_t)(3 * HOUR);
        clock_step_ns += 3 * HOUR;
        for (uint64_t key = 1; key < N; key++)
            CHECK_EQ(get_value(o, key, 1, 100), RIGHT);
        CHECK(is_from_now(end_of(o, 1, 100), HOUR));
        CHECK_EQ(get_value(o, 0, 1, 100), MISS);
        passed_ns += (uint64_t)(HOUR + SECOND);
        clock_step_ns += HOUR + SECOND;
        CHECK_EQ(get_value(o, 1, 1, 100), MISS);
        objects_down(o);
        pool_end(&p);
        quiet();
    }
}

/* The wall clock loses 100 us a second against the other one, for 60 days. Nobody has set it. */
static void test_ttl_slow_clock(void)
{
    struct pool p;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    CHECK_EQ(put_value(o, 1, 1, 100, (uint64_t)(60 * 24 * HOUR + HOUR)), 0);
    for (int day = 0; day < 60; day++) {
        passed_ns += (uint64_t)(24 * HOUR);
        clock_step_ns += 24 * HOUR - 24 * HOUR / 10000;
        CHECK(cm_objects_now(o).back_ns < SECOND / 20);
    }
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    clock_step_ns -= 2 * HOUR; /* somebody sets it */
    CHECK(cm_objects_now(o).back_ns > 2 * HOUR - SECOND);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    passed_ns += (uint64_t)(2 * HOUR);
    clock_step_ns += 2 * HOUR;
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    objects_down(o);
    pool_end(&p);
    quiet();
}

/* Blocks of the pool that hold something. */
static uint64_t blocks_in(cm_cache *c)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_iter *list = NULL;
    uint64_t bytes = 0;
    CHECK_EQ(cm_files_begin(c, CM_FILES_COUNT, &list), 0);
    while (cm_files_next(list, NULL, &info) == 0)
        bytes += info.cached_bytes;
    cm_files_end(list);
    return bytes / BLK;
}

/* A delete or a put of a key whose object is over says that there is none, and rewrites the bucket
 * all the same. What left it is counted, and the blocks of large values leave the pool. */
static void test_ttl_over_leaves(void)
{
    enum { LARGE = 40960, BLOCKS = LARGE / BLK };
    struct pool p;
    uint64_t key = 5;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    CHECK_EQ(put_value(o, 3, 1, 100, 0), 0);
    const uint64_t before = blocks_in(p.c);
    CHECK_EQ(put_value(o, 1, 1, LARGE, (uint64_t)HOUR), 0);
    CHECK_EQ(put_value(o, 2, 1, LARGE, (uint64_t)HOUR), 0);
    CHECK_EQ(blocks_in(p.c), before + 2 * BLOCKS);
    clock_step_ns = 2 * HOUR;
    CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), CM_EABSENT); /* nothing is changed */
    CHECK_EQ(put_value(o, 5, 1, 3 * MIB, 0), CM_NOT_STORED_ROOM);
    CHECK_EQ(blocks_in(p.c), before + 2 * BLOCKS);
    CHECK_EQ(objects_info(o).expired, 0);
    key = 1; /* 2 leaves with it */
    CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), CM_EABSENT);
    CHECK_EQ(blocks_in(p.c), before);
    CHECK_EQ(objects_info(o).expired, 2);
    CHECK_EQ(objects_info(o).deletes, 0);
    CHECK_EQ(put_value(o, 4, 1, LARGE, (uint64_t)HOUR), 0);
    clock_step_ns = 4 * HOUR;
    CHECK_EQ(put_value(o, 4, 2, 3 * MIB, 0), CM_NOT_STORED_ROOM);
    CHECK_EQ(blocks_in(p.c), before);
    CHECK_EQ(objects_info(o).expired, 3);
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
    quiet();
}

/* More large values of one bucket are over than a put remembers to take out of the pool: the first
 * eight leave it, the others by themselves. */
static void test_ttl_many_over(void)
{
    enum { LARGE = 8192, BLOCKS = LARGE / BLK, MANY = 40, REMEMBERED = 8 };
    struct pool p;
    quiet();
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    REQUIRE(objects_info(o).buckets == 1);
    CHECK_EQ(put_value(o, 100, 1, 100, 0), 0);
    const uint64_t before = blocks_in(p.c);
    for (uint64_t key = 0; key < MANY; key++)
        CHECK_EQ(put_value(o, key, 1, LARGE, (uint64_t)HOUR), 0);
    CHECK_EQ(blocks_in(p.c), before + MANY * BLOCKS);
    clock_step_ns = 2 * HOUR;
    CHECK_EQ(put_value(o, 101, 1, 100, 0), 0);
    CHECK_EQ(objects_info(o).expired, MANY);
    CHECK_EQ(blocks_in(p.c), before + (MANY - REMEMBERED) * BLOCKS);
    CHECK_EQ(get_value(o, 100, 1, 100), RIGHT);
    CHECK_EQ(get_value(o, 101, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
    quiet();
}

const struct harness_test objects_ttl_tests[] = {
    TEST(ttl_was_ahead),   TEST(ttl_back_and_forward), TEST(ttl_back_a_little),
    TEST(ttl_memory),      TEST(ttl_stopped),          TEST(ttl_slow_clock),
    TEST(ttl_over_leaves), TEST(ttl_many_over),        TEST_END
};
