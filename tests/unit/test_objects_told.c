/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_told.c - containers of objects: what the log is told, who gets one of several that
 * open it, their share of the table of files, and the limits and sizes that the header and
 * docs/objects.md tell.
 */
#include "objects_common.h"

/* Another thread is about to open it, and has not got it. */
static void test_rival(void)
{
    struct pool p;
    cm_file_id id;
    cm_file *f = NULL;
    cm_bracket w;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects_id(&id, "a", 'o', 0);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), 0);
    CHECK_EQ(cm_write_begin(f, 0, 0, &w), 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    detach(f);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    objects_down(o);
    pool_end(&p);
}

/* The pool was in another boot, where an fsync of a file failed. It may hide one that failed in
 * this boot before. Of files that counts for each record, but an object is no file's, and is not
 * synced.
 */
static void test_failed_elsewhere(void)
{
    struct cm_super_owner other = { .durability = CM_DURABILITY_VOLATILE, .syncs = true };
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    CHECK_EQ(put_value(o, 1, 1, 9000, 0), 0);
    objects_down(o);
    detach(attach(&p, 7, 10 * BLK, 1, 0));
    pool_down(&p);
    memset(other.boot_id, 0x11, sizeof(other.boot_id));
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super *sb = super_at(&p, i);
        cm_super_count_boot(sb, &other);
        memcpy(sb->boot_id, other.boot_id, sizeof(sb->boot_id));
        memcpy(sb->failed_boot_id, other.boot_id, sizeof(sb->boot_id));
        sb->failed_boot = sb->boot_number;
        super_seal(sb);
    }
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 7, 10 * BLK, 1, 0);
    cm_file_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(cm_file_get_info(f, &info), 0);
    CHECK_EQ(info.bypassed, 1);
    detach(f);
    o = objects_up(p.c, "a", 0);
    CHECK_EQ(get_value(o, 1, 1, 9000), RIGHT);
    CHECK_EQ(put_value(o, 2, 1, 100, 0), 0);
    CHECK_EQ(get_value(o, 2, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
}

/* A key of no bytes is a key, as the header says. */
static void test_empty_key(void)
{
    struct pool p;
    uint8_t buf[8];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    CHECK_EQ(cm_objects_get(o, NULL, 0, buf, 8, NULL), CM_EABSENT);
    CHECK_EQ(cm_objects_put(o, NULL, 0, "v", 1, 0), 0);
    CHECK_EQ(cm_objects_get(o, "", 0, buf, 8, NULL), 1);
    CHECK_EQ(cm_objects_put(o, "", 0, NULL, 0, 0), 0);
    CHECK_EQ(cm_objects_get(o, NULL, 0, NULL, 0, NULL), 0);
    CHECK_EQ(cm_objects_delete(o, NULL, 0), 0);
    CHECK_EQ(cm_objects_delete(o, "", 0), CM_EABSENT);
    objects_down(o);
    pool_end(&p);
}

/* The longest value has an eighth of the slots. */
static void test_longest(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, cm_pool_size_min()) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    const size_t most = 64 / 8 * BLK;
    CHECK_EQ(put_value(o, 1, 1, most, 0), 0);
    CHECK_EQ(get_value(o, 1, 1, most), RIGHT);
    CHECK_EQ(put_value(o, 1, 2, most + 1, 0), CM_NOT_STORED_ROOM);
    CHECK_EQ(get_value(o, 1, 1, most), MISS);
    objects_down(o);
    pool_end(&p);
}

static char said[300];
static unsigned lines;
static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level == CM_LOG_INFO) { /* the table of files is full, as a test wants it */
        CHECK(strstr(text, "max_files") != NULL);
        return;
    }
    CHECK_EQ(level, CM_LOG_WARNING);
    (void)snprintf(said, sizeof(said), "%s", text);
    lines++;
}

/* Whoever takes ttl_ns for seconds is told, once. */
static void test_ttl_unit(void)
{
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    p.o.log = keep_line;
    REQUIRE(pool_up(&p) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    lines = 0;
    CHECK_EQ(put_value(o, 1, 1, 100, 1000000), 0);
    CHECK_EQ(lines, 0);
    CHECK_EQ(put_value(o, 2, 1, 100, 3600), 0);
    CHECK_EQ(lines, 1);
    CHECK(strncmp(said, "pool in memory: objects: a: ", 28) == 0); /* names the pool */
    CHECK(strstr(said, "ttl_ns of 3600") && strstr(said, "nanoseconds"));
    CHECK_EQ(put_value(o, 2, 1, 100, 3600), 0);
    CHECK_EQ(lines, 1);
    CHECK_EQ(get_value(o, 2, 1, 100), MISS);
    objects_down(o);
    pool_end(&p);
}

static void keep_error(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(said, sizeof(said), "%s", text);
    lines++;
}

/* Options that are wrong. */
static void test_options(void)
{
    struct pool p;
    cm_objects *o = NULL;
    pool_make(&p, 4 * MIB, 0);
    p.o.log = keep_error;
    REQUIRE(pool_up(&p) == 0);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
        opts.struct_size = i == 0 ? 5 : opts.struct_size;
        opts.flags = i == 1;
        opts.reserved[3] = i == 2;
        lines = 0;
        CHECK_EQ(cm_objects_open(p.c, "a", &opts, &o), CM_EINVAL);
        CHECK_EQ(lines, 1);
        CHECK(strstr(said, "cm_objects_options: ") && strstr(said, "CM_OBJECTS_OPTIONS_INIT"));
    }
    pool_end(&p);
}

/* So many files are attached that a container's have no place in the table: it says so. */
static void test_no_record(void)
{
    struct pool p;
    static cm_file *f[1000];
    pool_make_as(&p, 16 * MIB, 100, 0);
    p.o.log = keep_line;
    REQUIRE(pool_up(&p) == 0);
    cm_objects *first = objects_up(p.c, "b", 1000);
    lines = 0;
    CHECK_EQ(objects_info(first).unrecorded, 0);
    for (unsigned i = 0; i < 1000; i++)
        f[i] = attach(&p, i + 1, 10 * BLK, 1, 0);
    CHECK_EQ(objects_info(first).unrecorded, 0);
    CHECK_EQ(lines, 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    CHECK_EQ(objects_info(o).unrecorded, 1);
    CHECK_EQ(lines, 1);
    CHECK(strstr(said, "objects: a: ") && strstr(said, "no record"));
    CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
    CHECK_EQ(put_value(o, 2, 1, 10000, 0), 0);
    CHECK_EQ(objects_info(o).unrecorded, 2);
    CHECK_EQ(lines, 1); /* once for a container */
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    objects_down(o);
    objects_down(first);
    for (unsigned i = 0; i < 1000; i++)
        detach(f[i]);
    o = objects_up(p.c, "a", 1000);
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    objects_down(o);
    pool_end(&p);
}

/* What each session stores is warm in the next one, also after many that have stored large values,
 * and beside several containers. And there is room in the table for files. */
static void test_aged(void)
{
    struct pool p;
    cm_objects *o[3];
    char name[] = "a";
    REQUIRE(pool_new(&p, 2 * MIB) == 0);
    for (uint64_t s = 1; s <= 24; s++) {
        for (unsigned i = 0; i < 3; i++) {
            CASE("session %llu, container %u", (unsigned long long)s, i);
            name[0] = (char)('a' + i);
            o[i] = objects_up(p.c, name, 20);
            CHECK_EQ(get_value(o[i], 1, s - 1, 8192), s > 1 ? RIGHT : MISS);
            CHECK_EQ(put_value(o[i], 1, s, 8192, 0), 0);
        }
        cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
        CHECK_EQ(look(f, 1, 1), s > 1 ? RIGHT : MISS);
        if (s == 1)
            CHECK_EQ(put(f, 1, 1), 0);
        detach(f);
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(objects_info(o[i]).unrecorded, 0);
            objects_down(o[i]);
        }
        pool_again(&p);
    }
    pool_end(&p);
}

/* So many records of data files has the container "a". */
static unsigned data_records(cm_cache *c)
{
    cm_file_id id;
    unsigned n = 0;
    for (unsigned i = 0; i < CM_DATA_FILES; i++) {
        cm_objects_id(&id, "a", 'd', i);
        n += cm_file_lookup(c, &id, NULL, NULL) == 0;
    }
    return n;
}

/* A container has more data files than it may have: the pool was larger. An open forgets the
 * oldest.
 */
static void test_too_many(void)
{
    struct pool p;
    cm_info info = CM_INFO_INIT;
    cm_file *f;
    REQUIRE(pool_new(&p, 8 * MIB) == 0);
    CHECK_EQ(cm_get_info(p.c, &info), 0);
    const unsigned most = (unsigned)info.max_files / 8;
    cm_objects *o = objects_up(p.c, "a", 20);
    CHECK_EQ(put_value(o, 1, 1, 8192, 0), 0);
    for (unsigned i = 10; i < 50; i++) {
        CHECK_EQ(cm_objects_file(o, 'd', i, 0, &f), 0);
        detach(f);
    }
    objects_down(o);
    CHECK_EQ(data_records(p.c), 41);
    o = objects_up(p.c, "a", 20);
    CHECK_EQ(data_records(p.c), most);
    CHECK_EQ(get_value(o, 1, 1, 8192), MISS);
    CHECK_EQ(put_value(o, 1, 2, 8192, 0), 0);
    CHECK_EQ(data_records(p.c), most);
    objects_down(o);
    pool_again(&p);
    o = objects_up(p.c, "a", 20);
    CHECK_EQ(get_value(o, 1, 2, 8192), RIGHT);
    objects_down(o);
    pool_end(&p);
}

/* A table that is full of files in use has no place for a new data file. Then the oldest serves. */
static void test_oldest_serves(void)
{
    struct pool p;
    static cm_file *f[1000];
    pool_make_as(&p, 16 * MIB, 100, 0);
    REQUIRE(pool_up(&p) == 0);
    cm_objects *o = objects_up(p.c, "a", 20);
    CHECK_EQ(put_value(o, 1, 1, 8192, 0), 0);
    objects_down(o);
    o = objects_up(p.c, "a", 20);
    for (unsigned i = 0; i < 1000; i++)
        f[i] = attach(&p, i + 1, 10 * BLK, 1, 0);
    CHECK_EQ(put_value(o, 2, 1, 8192, 0), 0);
    CHECK_EQ(get_value(o, 1, 1, 8192), MISS);
    CHECK_EQ(objects_info(o).unrecorded, 0);
    objects_down(o);
    for (unsigned i = 0; i < 1000; i++)
        detach(f[i]);
    o = objects_up(p.c, "a", 20);
    CHECK_EQ(get_value(o, 2, 1, 8192), RIGHT);
    objects_down(o);
    pool_end(&p);
}

/* The table of docs/objects.md: a pool for N objects of up to so many bytes, key and value, has N
 * times `pool` bytes, and EXTRA. */
#define EXTRA UINT64_C(131072)
static const struct {
    uint64_t bytes, pool;
} needs[] = { { 50, 95 },    { 100, 180 },   { 150, 270 },  { 200, 380 },
              { 300, 630 },  { 400, 900 },   { 500, 1250 }, { 650, 1540 },
              { 790, 2050 }, { 1000, 3010 }, { 1032, 5300 } };

/* Puts n objects into a new container, whose values have so many bytes; `inside` bytes of each lie
 * in a bucket. Returns how many are found. */
static unsigned fill_container(struct pool *p, uint64_t n, uint64_t inside, size_t value)
{
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    cm_objects *o = NULL;
    unsigned found = 0;
    opts.objects = n;
    opts.object_bytes = inside;
    CHECK_EQ(cm_objects_open(p->c, "a", &opts, &o), 0);
    if (!o)
        return 0;
    for (uint64_t k = 0; k < n; k++)
        CHECK_EQ(put_value(o, k, 1, value, 0), 0);
    for (uint64_t k = 0; k < n; k++)
        found += get_value(o, k, 1, value) == RIGHT;
    printf("# %u of %llu objects of %llu bytes, in %llu buckets\n", found, (unsigned long long)n,
           (unsigned long long)inside, (unsigned long long)objects_info(o).buckets);
    objects_down(o);
    return found;
}

/* A pool as large as documented has room for the objects, and the log has nothing to say. */
static void test_pool_size(void)
{
#ifdef CM_TSAN
    SKIP("one thread, and ten minutes under this sanitizer");
#endif
    struct pool p;
    const uint64_t n = 20000;
    for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        CASE("%llu bytes", (unsigned long long)needs[i].bytes);
        const uint64_t bytes = n * needs[i].pool + EXTRA;
        pool_make(&p, (bytes + BLK - 1) / BLK * BLK, 0);
        p.o.log = keep_line;
        REQUIRE(pool_up(&p) == 0);
        lines = 0;
        CHECK(fill_container(&p, n, needs[i].bytes, needs[i].bytes - sizeof(n)) >= n * 98 / 100);
        CHECK_EQ(lines, 0);
        pool_end(&p);
    }
}

/* The same of values that have blocks of their own. */
static void test_pool_size_large(void)
{
#ifdef CM_TSAN
    SKIP("as pool_size");
#endif
    struct pool p;
    static const size_t value[] = { 1025, 4096, 10000 };
    const uint64_t n = 4000;
    for (unsigned i = 0; i < 3; i++) {
        CASE("%llu bytes", (unsigned long long)value[i]);
        const uint64_t own = (value[i] + BLK - 1) / BLK * BLK;
        const uint64_t bytes = n * needs[0].pool + n * own * 105 / 100 + EXTRA;
        pool_make(&p, (bytes + BLK - 1) / BLK * BLK, 0);
        p.o.log = keep_line;
        REQUIRE(pool_up(&p) == 0);
        lines = 0;
        CHECK(fill_container(&p, n, sizeof(n) + 24, value[i]) >= n * 98 / 100);
        CHECK_EQ(lines, 0);
        pool_end(&p);
    }
}

/* In a pool that is too small the log says so, when the container is made. */
static void test_few_buckets(void)
{
    struct pool p;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    cm_objects *o = NULL;
    pool_make(&p, 4 * MIB, 0);
    p.o.log = keep_line;
    REQUIRE(pool_up(&p) == 0);
    lines = 0;
    opts.objects = 20000;
    for (unsigned i = 0; i < 3; i++) {
        CASE("open %u", i);
        opts.object_bytes = i == 0 ? 0 : 300; /* of 0 nothing is known: no line */
        REQUIRE(cm_objects_open(p.c, "a", &opts, &o) == 0);
        CHECK_EQ(lines, i > 0);
        objects_down(o);
        if (i == 0)
            CHECK_EQ(cm_objects_forget(p.c, "a"), 0);
    }
    CHECK(strstr(said, "objects: a: 20000 objects of 300 bytes want 2789 buckets"));
    CHECK(strstr(said, "has room for") && strstr(said, "larger"));
    opts.objects = UINT64_MAX; /* no sum overflows */
    CHECK_EQ(cm_objects_forget(p.c, "a"), 0);
    REQUIRE(cm_objects_open(p.c, "a", &opts, &o) == 0);
    CHECK_EQ(lines, 2);
    objects_down(o);
    pool_end(&p);
}

const struct harness_test objects_told_tests[] = {
    TEST(rival),     TEST(failed_elsewhere), TEST(empty_key),   TEST(longest),  TEST(ttl_unit),
    TEST(options),   TEST(no_record),        TEST(aged),        TEST(too_many), TEST(oldest_serves),
    TEST(pool_size), TEST(pool_size_large),  TEST(few_buckets), TEST_END
};
