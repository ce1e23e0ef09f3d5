/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_owner.c - callbacks, and the owner of a pool.
 */
#include "api_common.h"

#include "platform/callback.h"

/* ---- Callbacks ------------------------------------------------------------------------------- */

static struct {
    cm_cache *cache, *other;
    cm_file *file, *other_file;
    unsigned calls;
    bool armed;
} cb;

static void callback_body(void)
{
    if (!cb.armed)
        return;
    cb.armed = false; /* else a check inside a check would call it without end */
    cb.calls++;
    check_cache_calls(cb.cache, CM_ECALLBACK);
    check_file_calls(cb.file, CM_ECALLBACK);
    cb.armed = true;
}

static int64_t cb_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset;
    callback_body();
    memset(buf, 0, len);
    return (int64_t)len;
}

static int cb_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    CHECK(done <= total);
    callback_body();
    return 0;
}

static void cb_log(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    CHECK(strlen(text) > 0 && !strchr(text, '\n'));
    callback_body();
}

static void *cb_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    callback_body();
    return map_bytes(bytes);
}

static void cb_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    callback_body();
    unmap_bytes(p, bytes);
}

static void expect_called(const char *what)
{
    if (cb.calls == 0)
        printf("# no callback: %s\n", what);
    CHECK(cb.calls > 0);
    cb.calls = 0;
}

static void test_callbacks(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_check_report r = { .struct_size = sizeof(r) };
    pool_make(&p, MIB, 0);
    p.o.alloc = cb_alloc;
    p.o.free = cb_free;
    p.o.log = cb_log;
    memset(&cb, 0, sizeof(cb));
    REQUIRE(pool_up(&p) == 0);
    cb.cache = p.c;
    cb.file = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    cb.armed = true;
    CHECK_EQ(cm_read_through(cb.file, 0, buf, BLK, cb_origin, NULL), BLK);
    CALL(expect_called("origin_read"));
    CHECK_EQ(cm_check(p.c, 0, cb_progress, NULL, &r), 0);
    CALL(expect_called("progress"));
    cm_bracket w = begin_write(cb.file, 0, 1);
    CHECK_EQ(cb.calls, 0); /* the file has room for one bracket */
    cm_bracket beside = begin_write(cb.file, 0, 1);
    CALL(expect_called("alloc"));
    CHECK(cm_write_end(cb.file, &beside, NULL) >= 0);
    CALL(expect_called("free"));
    CHECK(cm_write_end(cb.file, &w, NULL) >= 0);
    for (unsigned i = 0; i < 100; i++) /* more objects than one allocation has */
        (void)attach(&p, 100 + i, BLK, 1, 0);
    CALL(expect_called("alloc for files"));
    p.c->failing = 1; /* too many media errors: the next call says so */
    CHECK(cm_read(cb.file, 0, buf, 1, NULL) >= 0);
    CALL(expect_called("log"));
    cb.armed = false;
    pool_end(&p);
}

/* The callback may use another cache, but a call back into its own cache is still refused. */
static int64_t cb_inner(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset;
    cb.calls++;
    CHECK_EQ(cm_read(cb.file, 0, buf, 1, NULL), CM_ECALLBACK);
    memset(buf, 0, len);
    return (int64_t)len;
}

static int64_t cb_outer(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    int64_t n = cm_read_through(cb.other_file, offset, buf, len, cb_inner, NULL);
    CHECK_EQ(n, len);
    CHECK_EQ(cm_read(cb.file, 0, buf, 1, NULL), CM_ECALLBACK);
    return n;
}

static void test_nested_callbacks(void)
{
    struct pool p, q;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    REQUIRE(pool_new(&q, MIB) == 0);
    memset(&cb, 0, sizeof(cb));
    cb.file = attach(&p, 1, 10 * BLK, 1, 0);
    cb.other_file = attach(&q, 1, 10 * BLK, 1, 0);
    CHECK_EQ(cm_read_through(cb.file, 5 * BLK, buf, BLK, cb_outer, NULL), BLK);
    CHECK_EQ(cb.calls, 1);
    CHECK(cm_read(cb.file, 0, buf, 1, NULL) >= 0); /* outside the callback */
    pool_end(&p);
    pool_end(&q);
}

/* Callbacks that coroutines of one thread began, each of another cache, end in any order. A frame
 * that has ended is on a stack that may be gone: nothing leads to it. */
static void test_callbacks_of_coroutines(void)
{
    static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                          { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct pool p[3];
    cm_file *f[3];
    uint8_t buf[CM_BLOCK_SIZE];
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(pool_new(&p[i], MIB) == 0);
        f[i] = attach(&p[i], 1, 10 * BLK, 1, 0);
    }
    for (unsigned k = 0; k < 6; k++) {
        CASE("order %u", k);
        struct cm_callback frame[3];
        bool on[3] = { true, true, true };
        for (unsigned i = 0; i < 3; i++)
            cm_callback_begin(p[i].c, &frame[i]);
        for (unsigned i = 0; i < 3; i++) {
            struct cm_callback *const ended = &frame[orders[k][i]];
            cm_callback_end(ended);
            on[orders[k][i]] = false;
            for (const struct cm_callback *c = cm_plat_thread()->callback; c; c = c->outer)
                REQUIRE(c != ended);
            memset(ended, 0, sizeof(*ended));
            for (unsigned n = 0; n < 3; n++)
                CHECK_EQ(cm_read(f[n], 0, buf, 1, NULL), on[n] ? CM_ECALLBACK : 0);
        }
        CHECK(!cm_plat_thread()->callback);
    }
    for (unsigned i = 0; i < 3; i++)
        pool_end(&p[i]);
}

/* ---- Owners ---------------------------------------------------------------------------------- */

void owner_body(void *arg)
{
    CHECK_EQ(try_open(arg, 0), CM_EOWNED);
    CHECK_EQ(try_open(arg, CM_OPEN_READONLY), CM_EOWNED);
    cm_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(cm_pool_info(arg, &info), 0);
    CHECK_EQ(info.owned, 1);
    CHECK_EQ(info.owner_pid, atoi(getenv("CM_TEST_OWNER")));
}

void dying_owner_body(void *arg)
{
    cm_cache *c = open_pool(arg, 0);
    cm_file_id id = id_of(1);
    cm_validator v = val(100 * BLK, 1);
    cm_file *f = NULL;
    CHECK(c != NULL);
    CHECK_EQ(cm_file_open(c, &id, &v, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, 30, 5), 30); /* ... and dies without a close */
}

static int kept_level;
static void keep_text(void *ctx, int level, const char *text)
{
    kept_level = level;
    (void)snprintf(ctx, 200, "%s", text);
}

/* The message names the owner, also if it is the caller itself. */
static void check_says(const char *path, uint32_t flags, const char *what)
{
    cm_options o = CM_OPTIONS_INIT;
    char text[200] = "";
    cm_cache *c = NULL;
    o.flags = flags;
    o.log = keep_text;
    o.log_ctx = text;
    kept_level = -1;
    CHECK_EQ(cm_open(path, &o, &c), CM_EOWNED);
    CHECK(strstr(text, what) != NULL);
    CHECK_EQ(kept_level, CM_LOG_ERROR);
    /* Whoever tries again and again is told once. */
    text[0] = '\0';
    CHECK_EQ(cm_open(path, &o, &c), CM_EOWNED);
    CHECK(strstr(text, what) != NULL);
    CHECK_EQ(kept_level, CM_LOG_INFO);
}

static void test_owned(void)
{
    static char owner[40];
    const char *path = make_pool("owned", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    CHECK_EQ(try_open(path, 0), CM_EOWNED);
    CALL(check_says(path, 0, "is open in this process already"));
    (void)snprintf(owner, sizeof(owner), "CM_TEST_OWNER=%u", cm_plat_pid());
    CHECK_EQ(putenv(owner), 0);
    in_child(owner_body, (void *)(uintptr_t)path);
    CHECK_EQ(cm_close(c), 0);
    c = open_pool(path, CM_OPEN_READONLY);
    CHECK_EQ(try_open(path, 0), CM_EOWNED);
    /* Not every system says which process it is. */
    CALL(check_says(path, 0, "is being looked at"));
    CHECK_EQ(cm_close(c), 0);
    /* Once it was open it is news again. */
    c = open_pool(path, 0);
    REQUIRE(c != NULL);
    CALL(check_says(path, 0, "is open in this process already"));
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

static bool is_elsewhere; /* the volume is one of those that others reach, too */
bool __real_cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME]);
bool __wrap_cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME]);
bool __wrap_cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    if (!is_elsewhere)
        return __real_cm_plat_file_is_elsewhere(f, what);
    (void)snprintf(what, PLAT_VOLUME, "a strange volume");
    return true;
}

static unsigned warned;

static void count_warnings(void *ctx, int level, const char *text)
{
    warned += level == CM_LOG_WARNING && strstr(text, "a strange volume") && strstr(text, ctx);
}

/* The log warns where another view of the pool may not show the lock. */
static void test_other_view(void)
{
    static const struct {
        uint32_t flags;
        unsigned lines;
    } of[] = { { 0, 1 }, { CM_OPEN_ANY_OWNER, 1 }, { CM_OPEN_SHARED, 1 }, { CM_OPEN_READONLY, 0 } };
    const char *path = make_pool("view", MIB, 0);
    for (unsigned i = 0; i < 2 * sizeof(of) / sizeof(of[0]); i++) {
        cm_options o = CM_OPTIONS_INIT;
        cm_cache *c = NULL;
        CASE("open %u", i);
        is_elsewhere = i % 2;
        warned = 0;
        o.flags = of[i / 2].flags;
        o.log = count_warnings;
        o.log_ctx = (void *)(uintptr_t)path;
        CHECK_EQ(cm_open(path, &o, &c), 0);
        CHECK_EQ(warned, is_elsewhere ? of[i / 2].lines : 0);
        CHECK_EQ(cm_close(c), 0);
    }
    is_elsewhere = false;
    (void)unlink(path);
}

static bool unknown_holder; /* the system does not say who has a lock */
static cm_cache *ends;      /* this owner ends before anybody looks who it is */
uint32_t __real_cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely);
uint32_t __wrap_cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely);
uint32_t __wrap_cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely)
{
    const bool gone = ends != NULL;
    if (gone)
        CHECK_EQ(cm_close(ends), 0);
    ends = NULL;
    /* Windows says "likely" also of an owner that is gone. */
    return gone || unknown_holder ? 0 : __real_cm_plat_file_holder(f, likely);
}

/* An owner that has the lock, and has not yet written its number. */
static void test_owner_without_number(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const char *path = make_pool("owned", MIB, 0);
    CHECK_EQ(cm_plat_file_open(&f, path, false), 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0);
    unknown_holder = true;
    CALL(check_says(path, 0, "is open, or was just open, in this process or another"));
    unknown_holder = false;
    cm_plat_file_close(&f);
    (void)unlink(path);
}

/* An owner in this process that ends meanwhile. It is in no container, nor a child's. */
static void test_owner_just_ended(void)
{
    const char *path = make_pool("owned", MIB, 0);
    cm_options o = CM_OPTIONS_INIT;
    char text[200] = "";
    cm_cache *c = NULL;
    o.log = keep_text;
    o.log_ctx = text;
    ends = open_pool(path, 0);
    REQUIRE(ends != NULL);
    CHECK_EQ(cm_open(path, &o, &c), CM_EOWNED);
    CHECK(ends == NULL);
    CHECK(strstr(text, "is being looked at, or was just open, in this process or another") != NULL);
    /* Nobody says who it is, and it does not end. */
    c = open_pool(path, 0);
    REQUIRE(c != NULL);
    unknown_holder = true;
    CALL(check_says(path, 0, "is open in a process with this one's number, in another container"));
    unknown_holder = false;
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}

static bool mount_known(const char *path)
{
    static const uint8_t unknown[16];
    struct cm_plat_file f = PLAT_FILE_INIT;
    uint8_t id[16];
    CHECK_EQ(cm_plat_file_open(&f, path, true), 0);
    cm_plat_mount_id(&f, id);
    cm_plat_file_close(&f);
    return memcmp(id, unknown, 16) != 0;
}

/* After the owner has died the pool is free. It is warm, because boot and mount are the same. */
static void test_owner_dies(void)
{
    const char *path = make_pool("dies", MIB, 0);
    struct pool p = { 0 };
    in_child(dying_owner_body, (void *)(uintptr_t)path);
    bool known = mount_known(path);
    p.c = open_pool(path, 0);
    REQUIRE(p.c != NULL);
    CHECK_EQ(pool_info(p.c).emptied, !known);
    if (!known) {
        CHECK_EQ(cm_close(p.c), 0);
        (void)unlink(path);
        SKIP("no mount ids here: the pool of a dead owner empties itself, as it must");
    }
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(hits(f, 0, 30, 5), 30);
    CHECK_EQ(cm_close(p.c), 0);
    (void)unlink(path);
}

const struct harness_test api_owner_tests[] = {
    TEST(callbacks),  TEST(nested_callbacks),     TEST(callbacks_of_coroutines),
    TEST(owned),      TEST(owner_without_number), TEST(owner_just_ended),
    TEST(owner_dies), TEST(other_view),           TEST_END,
};
