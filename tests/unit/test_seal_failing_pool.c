/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal_failing_pool.c - callbacks of a seal that fail for a moment, where a pool's superblock,
 * size, ends, objects and readers depend on them.
 */
#include "objects/container.h"
#include "seal_scene.h"

/* ---- Superblocks and sizes ------------------------------------------------------------------- */

static void test_failing_epoch(void)
{
    struct scene t;
    begin(&t, true);
    NEEDS_CHECKPOINTS(&t);
    t.s.key.fails = 1;
    CHECK_EQ(bump_epoch(t.s.p.c), CM_ESEAL);
    CHECK(!cm_super_lost(&t.s.p.c->super));
    CHECK_EQ(hits(t.f[0], 0, MANY, 7), 0); /* what cannot be forgotten is not served */
    CHECK_EQ(cm_checkpoint(t.s.p.c), 0);   /* forgets it */
    CHECK_EQ(put_all(t.f[0], 0, MANY, 7), MANY);
    t.cold[1] = true;
    judge(&t);
}

static void test_failing_fsync(void)
{
    struct scene t;
    begin(&t, false);
    cm_cache *c = t.s.p.c;
    const struct cm_super *copy = (const void *)c->media.base;
    t.s.key.fails = 1;
    CHECK_EQ(cm_super_sync_failed(&c->super, true), CM_ESEAL);
    CHECK(cm_super_failed(&c->super).any); /* this session knows it */
    CHECK(copy->failed_boot != copy->boot_number);
    CHECK_EQ(cm_super_sync_failed(&c->super, true), 0);
    CHECK_EQ(copy->failed_boot, copy->boot_number);
    judge(&t);
}

static void test_failing_grow(void)
{
    struct scene t;
    begin(&t, false);
    t.s.key.fails = 1;
    CHECK_EQ(cm_super_growing(&t.s.p.c->super, MIB), CM_ESEAL);
    CHECK(!cm_super_is_growing(&t.s.p.c->super));
    judge(&t);
}

/* What could not be forgotten for such a callback does not come back after the close. */
static void test_failing_epoch_at_close(void)
{
    struct sealed s;
    sealed_make(&s, MIB, 0);
    s.p.o.memory_durability = CM_DURABILITY_DAX;
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, MANY, 7), MANY);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(bump_epoch(s.p.c), CM_ESEAL);
    detach(f);
    CHECK_EQ(cm_close(s.p.c), CM_EIO);
    s.p.c = NULL;
    s.key.fails = 0;
    CHECK_EQ(cm_open_memory(s.p.base, s.p.bytes, &s.p.o, &s.p.c), CM_ENOTPOOL);
    sealed_end(&s);
}

/* To forget one file says nothing of the failed fsync of another one. */
static void test_failing_fsync_beside(void)
{
    struct scene t;
    cm_sync sync;
    begin(&t, false);
    const cm_file_id other = id_of(2);
    CHECK_EQ(cm_sync_begin(t.f[0], &sync), 0);
    CHECK_EQ(cm_sync_end(t.f[0], &sync, 0, NULL), 0);
    CHECK(!cm_super_failed(&t.s.p.c->super).unnamed);
    detach_all(&t);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_forget(t.s.p.c, &other), 0);
    t.s.key.fails = 0;
    CHECK(!cm_super_failed(&t.s.p.c->super).unnamed);
    t.cold[0] = t.cold[1] = true;
    judge(&t);
}

static int growing(struct scene *t)
{
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.p.o.grow_max = 2 * SIZE;
    up(t);
    t->s.key = fails;
    const int e = cm_grow(t->s.p.c, 2 * SIZE, NULL);
    t->s.key.fails = 0;
    CHECK(e == CM_ESEAL || e == 0);
    CHECK_EQ((int64_t)pool_stats(t->s.p.c).escalations, 0);
    return e;
}

/* A growth that cannot be sealed leaves the pool as it is. */
static void test_failing_growth(void)
{
#ifdef _WIN32
    SKIP("there no pool grows");
#endif
    try_all(growing);
}

static int64_t give(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i += CM_BLOCK_SIZE)
        content(7, (offset + i) / CM_BLOCK_SIZE, (uint8_t *)buf + i);
    return (int64_t)len;
}

static int comparing(struct scene *t)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    o.flags = CM_WARM_VERIFY;
    const int e = cm_warm(t->f[0], 0, MANY * BLK, &o, give, NULL, &r);
    t->s.key.fails = 0;
    CHECK_EQ(r.differed | r.undecided, 0);
    CHECK_EQ((int64_t)pool_stats(t->s.p.c).forgotten, 0);
    return e;
}

/* What cannot be compared with the origin is not forgotten for it. */
static void test_failing_comparison(void)
{
    try_all(comparing);
}

static void test_failing_size(void)
{
    struct scene t;
    struct cm_record r;
    bool whole;
    begin(&t, false);
    const struct cm_media *m = &t.s.p.c->media;
    const uint64_t place = cm_object_of(t.f[0])->place;
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK_EQ((int64_t)cm_record_size(m, place, &r), (int64_t)(20 * BLK));
    r.size = 3;
    t.s.key.fails = 1;
    t.s.key.right = 1;
    CHECK_EQ(cm_record_write_size(m, place, &r), 0);
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK(whole && cm_record_size(m, place, &r) == CM_SIZE_UNKNOWN);
    judge(&t);
}

/* ---- Objects --------------------------------------------------------------------------------- */

#define VALUE 10000u

static int get_value(cm_objects *o)
{
    static uint8_t value[VALUE], want[VALUE];
    memset(want, 'a', sizeof(want));
    const int64_t n = cm_objects_get(o, "old", 3, value, sizeof(value), NULL);
    return n == VALUE && memcmp(value, want, VALUE) == 0;
}

/* A container is opened, and another large value is put into it. */
static bool objects_opened(unsigned after, unsigned fails)
{
    static uint8_t value[VALUE];
    struct scene t;
    cm_objects *o;
    begin(&t, false);
    CHECK_EQ(cm_objects_open(t.s.p.c, "things", NULL, &o), 0);
    memset(value, 'a', sizeof(value));
    CHECK_EQ(cm_objects_put(o, "old", 3, value, VALUE, 0), 0);
    CHECK_EQ(cm_objects_close(o), 0);
    detach_all(&t);
    t.s.key.after = after;
    t.s.key.fails = fails;
    const int e = cm_objects_open(t.s.p.c, "things", NULL, &o);
    const bool failed = t.s.key.failed > 0;
    t.s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    if (e)
        CHECK_EQ(cm_objects_open(t.s.p.c, "things", NULL, &o), 0);
    CHECK_EQ(cm_objects_put(o, "new", 3, value, VALUE, 0), 0);
    CHECK(get_value(o));
    CHECK_EQ(cm_objects_close(o), 0);
    CHECK_EQ(cm_close(t.s.p.c), 0);
    return failed;
}

static bool has(cm_objects *o, const char *key)
{
    uint8_t value[8];
    return cm_objects_get(o, key, strlen(key), value, sizeof(value), NULL) == 5 &&
           memcmp(value, "value", 5) == 0;
}

/* One call fails while a bucket is changed: the other objects there stay. */
static bool bucket_changed(unsigned after, bool put)
{
    struct scene t;
    cm_objects *o;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    opts.objects = 1;
    begin(&t, false);
    CHECK_EQ(cm_objects_open(t.s.p.c, "things", &opts, &o), 0);
    CHECK_EQ(cm_objects_put(o, "old", 3, "value", 5, 0), 0);
    CHECK_EQ(cm_objects_put(o, "gone", 4, "value", 5, 0), 0);
    t.s.key.after = after;
    t.s.key.fails = 1;
    const int e =
        put ? cm_objects_put(o, "new", 3, "value", 5, 0) : cm_objects_delete(o, "gone", 4);
    const bool failed = t.s.key.failed > 0;
    t.s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    CHECK(has(o, "old"));
    CHECK(e || has(o, "new") == put);
    CHECK(e || has(o, "gone") == put);
    CHECK_EQ(cm_objects_close(o), 0);
    detach_all(&t);
    CHECK_EQ(cm_close(t.s.p.c), 0);
    return failed;
}

static void test_failing_bucket(void)
{
    for (unsigned put = 0; put < 2; put++) {
        unsigned n = 0;
        while (n < 100 && bucket_changed(n, put) && harness_failures == 0) {
            n++;
            CASE("call %u, %s", n, put ? "put" : "delete");
        }
        CHECK(n > 0 && n < 100);
    }
}

static bool knows(cm_cache *c, char part)
{
    cm_file_id id;
    cm_objects_id(&id, "things", part, 0);
    return cm_file_lookup(c, &id, NULL, NULL) != CM_EABSENT;
}

/* A container is forgotten. If some of it could not be, the call says so, and another one does it.
 */
static bool objects_forgotten(unsigned after, unsigned fails)
{
    static const uint8_t value[VALUE];
    struct scene t;
    cm_objects *o;
    begin(&t, false);
    cm_cache *const c = t.s.p.c;
    CHECK_EQ(cm_objects_open(c, "things", NULL, &o), 0);
    CHECK_EQ(cm_objects_put(o, "old", 3, value, VALUE, 0), 0);
    CHECK_EQ(cm_objects_close(o), 0);
    CHECK(knows(c, 'b') && knows(c, 'd'));
    detach_all(&t);
    t.s.key.after = after;
    t.s.key.fails = fails;
    const int e = cm_objects_forget(c, "things");
    const bool failed = t.s.key.failed > 0;
    t.s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    if (e)
        CHECK_EQ(cm_objects_forget(c, "things"), 0);
    CHECK(!knows(c, 'b') && !knows(c, 'd'));
    CHECK_EQ(cm_close(c), 0);
    return failed;
}

/* Each call of a callback that fn() makes fails in turn: once, and from there on. There are fewer
 * than `most` of them. */
static void fail_each(bool (*fn)(unsigned after, unsigned fails), unsigned most)
{
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        unsigned n = 0;
        while (n < most && fn(n, lasting ? UINT32_MAX : 1) && harness_failures == 0) {
            n++;
            CASE("call %u, lasting %u", n, lasting);
        }
        CHECK(n > 0 && n < most);
    }
}

static void test_failing_objects(void)
{
    fail_each(objects_opened, CALLS_MOST);
    fail_each(objects_forgotten, CALLS_MOST);
}

/* ---- The end of a file ----------------------------------------------------------------------- */

/* Attaches file 9, whose content only its size tells apart. Some calls of callbacks may fail. */
static int open_sized(struct scene *t, uint64_t size, unsigned after, unsigned fails, cm_file **f)
{
    const cm_file_id id = id_of(9);
    cm_validator v = val(size, 3);
    v.taken_at = later();
    t->s.key.after = after;
    t->s.key.fails = fails;
    t->s.key.failed = 0;
    const int e = cm_file_open(t->s.p.c, &id, &v, CM_EXCLUSIVE, f);
    t->s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    return e;
}

static void reopen(struct scene *t)
{
    detach_all(t);
    CHECK_EQ(cm_close(t->s.p.c), 0);
    REQUIRE(cm_open(t->path, &t->s.p.o, &t->s.p.c) == 0);
}

/* A file whose end was learned becomes longer, after an attach that could not judge its size. */
static bool end_moves(unsigned after, unsigned fails)
{
    struct scene t;
    cm_file *f;
    cm_miss m = CM_MISS_INIT;
    cm_bracket w;
    cm_sync sync;
    uint8_t block[CM_BLOCK_SIZE];
    begin(&t, false);
    CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK_EQ(cm_read(f, 0, block, BLK, &m), 0);
    content(8, 0, block);
    CHECK_EQ(cm_fill(f, &m, block, 100, CM_FILL_EOF), 0);
    CHECK_EQ((int64_t)info_of(f).size, 100);
    detach(f);
    reopen(&t);
    const int e = open_sized(&t, CM_SIZE_UNKNOWN, after, fails, &f);
    const bool failed = t.s.key.failed > 0;
    if (e)
        CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, BLK, &w), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_sync_begin(f, &sync), 0);
    CHECK(cm_sync_end(f, &sync, 1, NULL) >= 0);
    detach(f);
    reopen(&t);
    CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK(info_of(f).size == CM_SIZE_UNKNOWN); /* not the old end */
    detach(f);
    judge(&t);
    return failed;
}

static void test_failing_end(void)
{
    fail_each(end_moves, 100);
}

/* Another size is another content, also if the tag of the recorded one cannot be computed. */
static bool size_tells(unsigned after, unsigned fails)
{
    struct scene t;
    cm_file *f;
    begin(&t, false);
    CHECK_EQ(open_sized(&t, 20 * BLK, 0, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, MANY, 8), MANY);
    detach(f);
    reopen(&t);
    const int e = open_sized(&t, 30 * BLK, after, fails, &f);
    const bool failed = t.s.key.failed > 0;
    if (e)
        CHECK_EQ(open_sized(&t, 30 * BLK, 0, 0, &f), 0);
    CHECK_EQ(hits(f, 0, MANY, 8), 0);
    detach(f);
    judge(&t);
    return failed;
}

static void test_failing_size_tells(void)
{
    fail_each(size_tells, 100);
}

/* A file that changes in such a moment gives its place of the table back, and says so. */
static void test_failing_places(void)
{
    struct scene t;
    begin(&t, false);
    const unsigned places = (unsigned)t.s.p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (unsigned n = 0; n < 2 * places; n++) {
        cm_file *f = attach(&t.s.p, 1000 + n, 20 * BLK, 1, 0);
        cm_validator v = val(20 * BLK, 2);
        v.taken_at = later();
        t.s.key.fails = UINT32_MAX;
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        t.s.key.fails = 0;
        CHECK(cm_object_of(f)->place == CM_NO_PLACE);
        CHECK_EQ((int64_t)pool_stats(t.s.p.c).unrecorded, n + 1);
        detach(f);
    }
    cm_file *f = attach(&t.s.p, 9, 20 * BLK, 1, 0);
    CHECK(cm_object_of(f)->place != CM_NO_PLACE);
    detach(f);
    detach_all(&t);
    CHECK_EQ(cm_close(t.s.p.c), 0);
}

/* ---- Readers of other processes -------------------------------------------------------------- */

static void test_failing_reader(void)
{
    const cm_file_id id = id_of(1);
    cm_validator v;
    struct scene t;
    struct pool reader;
    cm_file *f = NULL;
    begin(&t, false);
    reader = t.s.p;
    reader.o.flags = CM_OPEN_SHARED;
    REQUIRE(cm_open(t.path, &reader.o, &reader.c) == 0);
    v = valid_now();
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), CM_ESEAL);
    t.s.key.fails = 0;
    CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), 0);
    CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    t.s.key.fails = UINT32_MAX;
    v = valid_now();
    CHECK_EQ(cm_file_revalidate(f, &v), CM_ESEAL);
    CHECK_EQ(hits(f, 0, MANY, 7), 0);
    t.s.key.fails = 0;
    v = valid_now();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    for (unsigned n = 0; n < 12; n++) {
        CASE("call %u", n);
        down(&t);
        up(&t); /* another session: the reader judges the file anew */
        t.s.key.fails = 1;
        t.s.key.after = n;
        (void)look(f, 0, 7);
        t.s.key.fails = 0;
        CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    }
    detach(f);
    CHECK_EQ(cm_close(reader.c), 0);
    judge(&t);
}

/* Another owner cannot open the pool, because a tag of its new superblocks cannot be computed. The
 * pool is as it was, for readers, too: they go on, unless they were served nothing before. */
static void failing_owner(bool odd)
{
    const cm_file_id id = id_of(1);
    cm_validator v;
    struct scene t;
    struct pool reader;
    cm_file *f = NULL;
    unsigned n = 0;
    int e;
    begin(&t, false);
    reader = t.s.p;
    reader.o.flags = CM_OPEN_SHARED;
    REQUIRE(cm_open(t.path, &reader.o, &reader.c) == 0);
    v = valid_now();
    CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), 0);
    if (odd)
        CHECK_EQ(cm_super_shut(&t.s.p.c->super), 0);
    down(&t);
    do {
        CASE("call %u", n);
        t.s.key.fails = 1;
        t.s.key.after = n++;
        e = cm_open(t.path, &t.s.p.o, &t.s.p.c);
        t.s.key.fails = 0;
        CHECK(e == 0 || e == CM_ESEAL);
        CHECK_EQ(hits(f, 0, MANY, 7), e && odd ? 0 : MANY);
    } while (e && n < 100);
    CHECK(n > 4); /* two copies were judged, and two sealed */
    REQUIRE(e == 0);
    detach(f);
    CHECK_EQ(cm_close(reader.c), 0);
    CHECK_EQ(cm_close(t.s.p.c), 0);
    up(&t);
    judge(&t);
}

static void test_failing_owner(void)
{
    CALL(failing_owner(false));
    CALL(failing_owner(true));
}

/* A reader of the pool of file 9, whose content only its size tells apart: as size_tells(). */
static bool size_tells_reader(unsigned after, unsigned fails)
{
    const cm_file_id id = id_of(9);
    cm_validator v = val(30 * BLK, 3);
    struct scene t;
    struct pool reader;
    cm_file *f;
    begin(&t, false);
    CHECK_EQ(open_sized(&t, 20 * BLK, 0, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, MANY, 8), MANY);
    reader = t.s.p;
    reader.o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open(t.path, &reader.o, &reader.c), 0);
    cm_file *g = NULL;
    v.taken_at = later();
    t.s.key.after = after;
    t.s.key.fails = fails;
    t.s.key.failed = 0;
    const int e = cm_file_open(reader.c, &id, &v, CM_EXCLUSIVE, &g);
    const bool failed = t.s.key.failed > 0;
    t.s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    if (e)
        CHECK_EQ(cm_file_open(reader.c, &id, &v, CM_EXCLUSIVE, &g), 0);
    CHECK_EQ(hits(g, 0, MANY, 8), 0);
    detach(g);
    CHECK_EQ(cm_close(reader.c), 0);
    detach(f);
    judge(&t);
    return failed;
}

static void test_failing_reader_size(void)
{
    fail_each(size_tells_reader, 100);
}

/* The owner has emptied the pool. A reader that cannot judge the superblocks, but the records, does
 * not go on with what it knew of them. */
static void test_failing_reader_super(void)
{
    const cm_file_id id = id_of(1);
    for (unsigned fails = 1; fails < 20; fails++) {
        CASE("fails %u", fails);
        struct scene t;
        struct pool reader;
        cm_file *f = NULL;
        begin(&t, false);
        reader = t.s.p;
        reader.o.flags = CM_OPEN_SHARED;
        REQUIRE(cm_open(t.path, &reader.o, &reader.c) == 0);
        cm_validator v = valid_now();
        CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), 0);
        CHECK_EQ(hits(f, 0, MANY, 7), MANY);
        CHECK_EQ(bump_epoch(t.s.p.c), 0);
        t.s.key.after = 0;
        t.s.key.fails = fails;
        CHECK_EQ(hits(f, 0, MANY, 7), 0);
        t.s.key.fails = 0;
        CHECK_EQ(hits(f, 0, MANY, 7), 0);
        detach(f);
        CHECK_EQ(cm_close(reader.c), 0);
        t.cold[0] = t.cold[1] = true;
        judge(&t);
    }
}

const struct harness_test seal_failing_pool_tests[] = {
    TEST(failing_epoch),       TEST(failing_fsync),        TEST(failing_grow),
    TEST(failing_growth),      TEST(failing_fsync_beside), TEST(failing_epoch_at_close),
    TEST(failing_size),        TEST(failing_comparison),   TEST(failing_end),
    TEST(failing_size_tells),  TEST(failing_places),       TEST(failing_objects),
    TEST(failing_owner),       TEST(failing_bucket),       TEST(failing_reader),
    TEST(failing_reader_size), TEST(failing_reader_super), TEST_END,
};
