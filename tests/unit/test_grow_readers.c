/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_grow_readers.c - who reads a pool of another process, or looks at it, beside a growth.
 */
#include "grow_common.h"

#include <pthread.h>

static cm_cache *reader;

static cm_file *reader_up(void)
{
    struct pool as = { 0 };
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_SHARED;
    reader = NULL;
    CHECK_EQ(cm_open(path, &o, &reader), 0);
    as.c = reader;
    return reader ? attach(&as, 1, FILE_BYTES, 1, 0) : NULL;
}

static void reader_down(cm_file *g)
{
    CHECK_EQ(cm_file_close(g), 0);
    CHECK_EQ(cm_close(reader), 0);
}

/* It is opened while the file is longer than its pool. The growth is taken back then. */
static cm_file *early_reader;

static void open_reader(struct pool *p, cm_file *f)
{
    in_the_middle = NULL;
    early_reader = reader_up();
    REQUIRE(early_reader != NULL);
    CHECK_EQ(reader->file.size, 16 * MIB);
    CHECK_EQ(hits(early_reader, 0, 500, 1), 500);
    fail_settle = true;
    (void)p;
    (void)f;
}

static void test_reader_of_longer(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    middle_file = f;
    in_the_middle = open_reader;
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
    fail_settle = false;
    CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
    CHECK_EQ(hits(early_reader, 0, 500, 1), 500);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(early_reader, 10, 1), MISS);
    CHECK_EQ(put(f, 10, 2), 0);
    CHECK_EQ(look(early_reader, 10, 2), RIGHT);
    CHECK_EQ(pool_info(reader).size, 4 * MIB);
    (void)grow_to(&p, 16 * MIB);
    CHECK_EQ(hits(early_reader, 0, 500, 1), 0); /* for it that is another pool */
    reader_down(early_reader);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The file of a pool that grew is cut back to the length before that, by somebody. What is behind
 * it is a miss, and nothing is wrong. */
static void test_reader_of_cut(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    (void)grow_to(&p, 16 * MIB);
    CHECK(put_all(f, 500, 1500, 1) > 1400);
    cm_file *g = reader_up();
    const unsigned all = hits(g, 0, 2000, 1);
    CHECK(all > 1900);
    CHECK_EQ(os_resize(path, 4 * MIB), 0);
    CHECK(hits(g, 0, 2000, 1) < 500);
    cm_validator v = val(FILE_BYTES, 1);
    CHECK(cm_file_revalidate(g, &v) <= 0);
    (void)hits(g, 0, 2000, 1);
    reader_down(g);
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open(path, &o, &reader), CM_ETRUNCATED);
    detach(f);
    CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    CHECK_EQ(unlink(path), 0);
}

/* The pool grows between the look at the file's length and the one at its superblocks. */
static unsigned grows_before_map;

int __real_cm_guard_add(const void *base, size_t len);
int __wrap_cm_guard_add(const void *base, size_t len);
int __wrap_cm_guard_add(const void *base, size_t len)
{
    static const uint64_t size[] = { 32, 16, 9, 6 };
    if (grows_before_map > 0) {
        grows_before_map--;
        (void)grow_to(middle_pool, size[grows_before_map] * MIB);
    }
    return __real_cm_guard_add(base, len);
}

static void test_look_beside(void)
{
    for (unsigned n = 1; n <= 4; n++) {
        struct pool p;
        cm_info info = CM_INFO_INIT;
        cm_stats_data stats = CM_STATS_INIT;
        CASE("%u growths", n);
        make(&p, 4 * MIB, 64 * MIB);
        cm_file *f = fill_file(&p, 1, 500);
        middle_pool = &p;
        grows_before_map = n;
        if (n % 2) {
            CHECK_EQ(cm_pool_info(path, &info), 0);
            CHECK_EQ(info.size, 32 * MIB);
        } else {
            CHECK_EQ(cm_pool_stats(path, &stats), 0);
        }
        CHECK_EQ(grows_before_map, 0);
        detach(f);
        down(&p);
    }
    CHECK_EQ(unlink(path), 0);
}

static void test_open_beside(void)
{
    for (unsigned n = 1; n <= 4; n++) {
        struct pool p;
        CASE("%u growths", n);
        make(&p, 4 * MIB, 64 * MIB);
        cm_file *f = fill_file(&p, 1, 500);
        middle_pool = &p;
        grows_before_map = n;
        said[0] = '\0';
        cm_file *g = reader_up();
        CHECK_EQ(grows_before_map, 0);
        REQUIRE(g != NULL);
        CHECK_EQ(hits(g, 0, 500, 1), hits(f, 0, 500, 1));
        CHECK_EQ(pool_info(reader).size, 32 * MIB);
        reader_down(g);
        detach(f);
        down(&p);
    }
    CHECK_EQ(unlink(path), 0);
}

/* The pool grows after a reader has loaded its superblock, and before it knows its session. */
static bool grows_before_session;
static const uint64_t *failing_word;

/* A growth waits before its part counts: 1 it will, 2 it does, 3 it goes on, 4 it has ended. */
static uint32_t part_waits;

int __real_cm_guard_load64(const uint64_t *p, uint64_t *value);
int __wrap_cm_guard_load64(const uint64_t *p, uint64_t *value);
int __wrap_cm_guard_load64(const uint64_t *p, uint64_t *value)
{
    if (grows_before_session) {
        grows_before_session = false;
        (void)grow_to(middle_pool, 16 * MIB);
    }
    if (at_load_acquire(&part_waits) == 2) { /* the part begins to count now */
        at_store_release(&part_waits, 3u);
        while (at_load_acquire(&part_waits) != 4)
            cm_plat_sleep(1000);
    }
    return p == failing_word ? CM_EIO : __real_cm_guard_load64(p, value);
}

static void test_session_beside(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    grows_before_session = true;
    cm_file *g = reader_up();
    CHECK(!grows_before_session);
    REQUIRE(g != NULL);
    CHECK_EQ(reader->media.geo.pool_size, 16 * MIB);
    CHECK_EQ(reader->file.size, 16 * MIB);
    CHECK_EQ(put(f, 600, 1), 0);
    CHECK_EQ(hits(g, 0, 601, 1), hits(f, 0, 601, 1));
    reader_down(g);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static void wait_before_part(void)
{
    if (at_load_acquire(&part_waits) != 1)
        return;
    at_store_release(&part_waits, 2u);
    while (at_load_acquire(&part_waits) != 3)
        cm_plat_sleep(1000);
}
static void *grow_in_thread(void *p)
{
    (void)grow_to(p, 16 * MIB);
    at_store_release(&part_waits, 4u);
    return NULL;
}

/* The file is long before the open, and the part counts within it. */
static void test_part_beside(void)
{
    struct pool p;
    pthread_t t;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    before_part = wait_before_part;
    part_waits = 1;
    CHECK_EQ(pthread_create(&t, NULL, grow_in_thread, &p), 0);
    while (at_load_acquire(&part_waits) != 2)
        cm_plat_sleep(1000);
    cm_file *g = reader_up();
    CHECK_EQ(pthread_join(t, NULL), 0);
    before_part = NULL;
    REQUIRE(g != NULL);
    CHECK_EQ(reader->media.geo.pool_size, 16 * MIB);
    CHECK_EQ(hits(g, 0, 500, 1), 500);
    reader_down(g);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static unsigned cut_lines;
static void count_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    (void)text;
    cut_lines += level == CM_LOG_ERROR;
}

/* No growth: it is looked at once, and told once. */
static void test_really_cut_off(void)
{
    struct pool p;
    cm_cache *c = NULL;
    make(&p, 4 * MIB, 64 * MIB);
    down(&p);
    CHECK_EQ(truncate(path, 2 * MIB), 0);
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_SHARED | CM_OPEN_ANY_OWNER;
    o.log = count_line;
    CHECK_EQ(cm_open(path, &o, &c), CM_ETRUNCATED);
    CHECK_EQ(cut_lines, 1);
    CHECK_EQ(unlink(path), 0);
}

/* Readers cannot be told that the pool grows: so it does not. */
static void test_untold(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    cm_file *g = reader_up();
    REQUIRE(g != NULL);
    failing_word = cm_super_session_at(&p.c->media);
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
    failing_word = NULL;
    CHECK_EQ(pool_info(p.c).size, 4 * MIB);
    CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(hits(g, 0, 500, 1), 500);
    CHECK_EQ(put(f, 600, 1), 0);
    CHECK_EQ(look(g, 600, 1), RIGHT);
    (void)grow_to(&p, 16 * MIB);
    CHECK_EQ(hits(g, 0, 601, 1), 0);
    reader_down(g);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

const struct harness_test grow_readers_tests[] = {
    TEST(reader_of_longer), TEST(reader_of_cut),  TEST(look_beside),
    TEST(open_beside),      TEST(session_beside), TEST(part_beside),
    TEST(really_cut_off),   TEST(untold),         TEST_END,
};
