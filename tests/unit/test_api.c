/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api.c - the public interface with callers that use it wrongly: codes, handles, arguments,
 * sizes of structs, brackets, closing.
 */
#include "api_common.h"

#include <inttypes.h>

#include "../os.h"
#ifndef _WIN32
#include "child.h"
#endif

/* ---- Codes ----------------------------------------------------------------------------------- */

struct code {
    int value;
    const char *name;
};

/* Part of the ABI: this table only grows. */
static const struct code codes[] = {
    { -1, "CM_EINVAL" },      { -2, "CM_ENOMEM" },      { -3, "CM_EIO" },
    { -4, "CM_ENOENT" },      { -5, "CM_EEXIST" },      { -6, "CM_EACCES" },
    { -7, "CM_ENOSPC" },      { -8, "CM_ENOTFILE" },    { -9, "CM_ENOTPOOL" },
    { -10, "CM_ETRUNCATED" }, { -11, "CM_EOVERSIZE" },  { -12, "CM_EVERSION" },
    { -13, "CM_EINCOMPAT" },  { -14, "CM_EBYTEORDER" }, { -15, "CM_EDAMAGED" },
    { -16, "CM_EOWNED" },     { -17, "CM_EPOOLSIZE" },  { -18, "CM_ERANGE" },
    { -19, "CM_EHANDLE" },    { -20, "CM_ETICKET" },    { -21, "CM_EFOREIGN" },
    { -22, "CM_EBRACKET" },   { -23, "CM_EBUSY" },      { -24, "CM_EFORKED" },
    { -25, "CM_ECALLBACK" },  { -26, "CM_EFORGET" },    { -27, "CM_EREADONLY" },
    { -28, "CM_ENOTDAX" },    { -29, "CM_ENOTSUP" },    { -30, "CM_EABSENT" },
    { -31, "CM_EUNTRUSTED" }, { -32, "CM_ECLONE" },
};
#define CODES ((int)(sizeof(codes) / sizeof(codes[0])))

static void test_codes(void)
{
    static const struct code map[] = {
#define CM_X(name, value, text) { value, #name },
        CM_ERROR_MAP(CM_X)
#undef CM_X
    };
    CHECK((int)(sizeof(map) / sizeof(map[0])) >= CODES);
    for (int i = 0; i < CODES; i++) {
        CASE("i %d", i);
        CHECK_EQ(map[i].value, codes[i].value);
        CHECK(strcmp(cm_errname(codes[i].value), codes[i].name) == 0);
        CHECK(strlen(cm_strerror(codes[i].value)) > 3);
        CHECK(strcmp(cm_strerror(codes[i].value), "unknown error") != 0);
        for (int k = 0; k < i; k++) {
            CASE("k %d", k);
            CHECK(strcmp(cm_strerror(codes[i].value), cm_strerror(codes[k].value)) != 0);
        }
    }
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
        CASE("i %zu", i);
        CHECK(map[i].value >= -1000 && map[i].value < 0); /* below: errors of a caller's origin */
    }
    const int unknown[] = { 76, 77, -1000, INT32_MIN, INT32_MAX };
    for (int i = 0; i < 5; i++) {
        CASE("i %d", i);
        CHECK(strcmp(cm_errname(unknown[i]), "CM_?") == 0);
        CHECK(strcmp(cm_strerror(unknown[i]), "unknown error") == 0);
    }
    CHECK(strstr(cm_strerror(CM_NOT_STORED_MODE), "pool grows") != NULL);
    CHECK(strstr(cm_strerror(CM_NOT_STORED_ROOM), "no room") != NULL); /* also of a large object */
    static const struct code results[] = {
#define CM_X(name, value, text) { value, #name },
        CM_RESULT_MAP(CM_X)
#undef CM_X
    };
    for (int i = 0; i < (int)(sizeof(results) / sizeof(results[0])); i++) {
        CASE("result %d", i);
        CHECK_EQ(results[i].value, i); /* no gaps: a new one comes last */
        CHECK(strcmp(cm_errname(i), results[i].name) == 0);
        CHECK(strlen(cm_strerror(i)) > 3 && strcmp(cm_strerror(i), "unknown error") != 0);
    }
    CHECK_EQ(CM_EHANDLE, -19);
}

static void test_constants(void)
{
    CHECK_EQ(CM_BLOCK_SIZE, 4096);
    CHECK(CM_DURABILITY_VOLATILE == 1 && CM_DURABILITY_PAGECACHE == 2 && CM_DURABILITY_DAX == 3);
    CHECK(CM_NORMAL == 0 && CM_FREEZE == 1 && CM_BYPASS == 2);
    CHECK(CM_VERIFY_FIRST_HIT == 0 && CM_VERIFY_ALWAYS == 1 && CM_VERIFY_NEVER == 2);
    CHECK(CM_CREATE_SPARSE == 1 && CM_OPEN_READONLY == 1 && CM_OPEN_REQUIRE_DAX == 2 &&
          CM_OPEN_NO_GUARD == 4 && CM_OPEN_ANY_OWNER == 8);
    CHECK(CM_SOLE_WRITER == 1 && CM_ORIGIN_VOLATILE == 2 && CM_FILL_EOF == 1);
    CHECK(CM_MISS_EOF == 1 && CM_MISS_NOFILL == 2);
    CHECK(CM_OK == 0 && CM_IGNORED == 1 && CM_WANT_VALIDATOR == 2 && CM_NOT_STORED_STALE == 3 &&
          CM_NOT_STORED_PRESENT == 4 && CM_NOT_STORED_BUSY == 5 && CM_NOT_STORED_FULL == 6 &&
          CM_NOT_STORED_MODE == 7 && CM_NOT_STORED_POLICY == 8 && CM_NOT_STORED_MEDIA == 9 &&
          CM_DAMAGED == 10);
    CHECK_EQ(offsetof(cm_options, struct_size), 0);
    CHECK_EQ(sizeof(cm_options), 144);
    CHECK_EQ(sizeof(cm_request), 904);
    CHECK_EQ(sizeof(cm_piece), 32);
    CHECK_EQ(sizeof(cm_create_options), 88);
    CHECK_EQ(sizeof(cm_validator), 64);
    CHECK_EQ(sizeof(cm_miss), 160);
    CHECK_EQ(sizeof(cm_read_vec), 56);
    CHECK_EQ(sizeof(cm_pins), 536);
    char version[32];
    (void)snprintf(version, sizeof(version), "%d.%d.%d", CM_VERSION_MAJOR, CM_VERSION_MINOR,
                   CM_VERSION_PATCH);
    CHECK(strcmp(cm_version(), version) == 0);
    CHECK_EQ(cm_version_number(), CM_VERSION);
    CHECK(cm_now() > 0);
}

/* ---- Handles --------------------------------------------------------------------------------- */

static int64_t no_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset, (void)buf, (void)len;
    FAIL("the origin must not be asked");
    return -1;
}

static int64_t origin_fails(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)offset, (void)buf, (void)len;
    return *(const int64_t *)ctx;
}

static void test_origin_error(void)
{
    static const int64_t codes_of_origin[] = { -1, -1001, INT32_MIN, INT64_MIN };
    struct pool p;
    uint8_t buf[BLK];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    for (int i = 0; i < 4; i++) {
        CASE("i %d", i);
        int64_t code = codes_of_origin[i];
        CHECK_EQ(cm_read_through(f, 0, buf, BLK, origin_fails, &code), code);
    }
    CHECK_EQ(cm_file_close(f), 0);
    pool_end(&p);
}

void check_file_calls(cm_file *f, int code)
{
    uint8_t buf[16];
    cm_miss m = { 0 };
    cm_iovec v;
    cm_pins pins;
    cm_bracket w = { 1 };
    cm_sync s = { { 0 } };
    cm_validator val_ = val(1, 1);
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_read_vec rv = { .offset = 0, .buf = buf, .len = 1 };
    int n;
    CHECK_EQ(cm_file_revalidate(f, &val_), code);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), code);
    CHECK_EQ(cm_file_get_info(f, &info), code);
    CHECK_EQ(cm_file_abort(f), code);
    CHECK_EQ(cm_file_close(f), code);
    CHECK_EQ(cm_read(f, 0, buf, 1, &m), code);
    CHECK_EQ(cm_read_many(f, &rv, 1), code);
    CHECK_EQ(cm_read_whole(f, 0, buf, 1, 0), code);
    CHECK_EQ(cm_fill(f, &m, buf, 0, 0), code);
    CHECK_EQ(cm_read_through(f, 0, buf, 1, no_origin, NULL), code);
    CHECK_EQ(cm_pin_range(f, 0, 1, &v, 1, &n, &pins, &m), code);
    CHECK_EQ(cm_write_begin(f, 0, 1, &w), code);
    CHECK_EQ(cm_truncate_begin(f, 0, &w), code);
    CHECK_EQ(cm_write_end(f, &w, NULL), code);
    CHECK_EQ(cm_sync_begin(f, &s), code);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), code);
    CHECK_EQ(cm_invalidate(f, 0, 1), code);
}

void check_cache_calls(cm_cache *c, int code)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    cm_check_report report = { .struct_size = sizeof(report) };
    cm_file_id id = id_of(77);
    cm_file *f = NULL;
    CHECK_EQ(cm_set_mode(c, CM_NORMAL), code);
    CHECK_EQ(cm_get_info(c, &info), code);
    CHECK_EQ(cm_stats(c, &stats), code);
    CHECK_EQ(cm_check(c, 0, NULL, NULL, &report), code);
    CHECK_EQ(cm_forget(c, &id), code);
    CHECK_EQ(cm_file_open(c, &id, NULL, 0, &f), code);
    CHECK(f == NULL);
    CHECK_EQ(cm_close(c), code);
}

static void test_null_handles(void)
{
    CALL(check_file_calls(NULL, CM_EHANDLE));
    CALL(check_cache_calls(NULL, CM_EHANDLE));
}

static void test_closed_file(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    detach(f);
    CALL(check_file_calls(f, CM_EHANDLE));
    pool_end(&p);
}

/* The same if other files were opened since, also in the memory of the closed one. */
static void test_closed_long_ago(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *old = attach(&p, 1, 10 * BLK, 1, 0);
    struct cm_object *object = cm_object_of(old);
    unsigned reused = 0;
    detach(old);
    for (uint64_t i = 2; i < 400; i++) {
        CASE("i %" PRIu64, i);
        cm_file *f = attach(&p, i, 10 * BLK, 1, 0);
        reused += cm_object_of(f) == object;
        CHECK_EQ(put(f, 0, i), 0);
        CALL(check_file_calls(old, CM_EHANDLE));
        CHECK_EQ(hits(f, 0, 1, i), 1);
        detach(f);
    }
    CHECK(reused > 1);
    pool_end(&p);
}

/* After an object has had its last generation, no file is attached there again. */
static void test_last_generation(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *old = attach(&p, 1, 10 * BLK, 1, 0);
    struct cm_object *object = cm_object_of(old);
    detach(old);
    object->generation = UINT16_MAX - 2;
    unsigned reused = 0;
    for (uint64_t i = 2; i < 400; i++) {
        CASE("i %" PRIu64, i);
        cm_file *f = attach(&p, i, 10 * BLK, 1, 0);
        reused += cm_object_of(f) == object;
        CHECK(f != old);
        detach(f);
        CALL(check_file_calls(f, CM_EHANDLE));
    }
    CHECK_EQ(reused, 2);
    pool_end(&p);
}

/* Addresses that are too high leave no room for a generation. Such memory is given back. */
static void *high, *high_freed;
static void *high_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return high ? high : map_bytes(bytes);
}
static void high_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    if (p == high)
        high_freed = p;
    else
        unmap_bytes(p, bytes);
}

static void test_high_memory(void)
{
    struct pool p;
    cm_file_id id = id_of(1);
    cm_file *f;
    pool_make(&p, MIB, 0);
    p.o.alloc = high_alloc;
    p.o.free = high_free;
    REQUIRE(pool_up(&p) == 0);
    high = (void *)(uintptr_t)(UINT64_C(1) << 52);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), CM_ENOMEM);
    CHECK(high_freed == high);
    high = NULL;
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), 0);
    detach(f);
    pool_end(&p);
}

/* Use of a closed cache is detected if its memory is still there. */
static void *keep_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return map_bytes(bytes);
}
static void keep_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx, (void)p, (void)bytes;
}

static void test_closed_cache(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = keep_alloc;
    p.o.free = keep_free;
    REQUIRE(pool_up(&p) == 0);
    cm_cache *c = p.c;
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    pool_down(&p);
    CALL(check_cache_calls(c, CM_EHANDLE));
    CHECK_EQ(cm_file_close(f), CM_EHANDLE);
    pool_end(&p);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static void test_null_arguments(void)
{
    struct pool p;
    uint8_t buf[16];
    cm_miss m;
    cm_iovec v;
    cm_pins pins;
    cm_bracket w;
    cm_file *g;
    int n;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    cm_file_id id = id_of(1), zero = { 0, 0 };
    m = miss_of(f, 0, BLK);
    CHECK_EQ(cm_read(f, 0, NULL, 1, NULL), CM_EINVAL);
    CHECK_EQ(cm_read(f, 0, NULL, 0, NULL), 0);
    CHECK_EQ(cm_read_many(f, NULL, 1), CM_EINVAL);
    CHECK_EQ(cm_read_whole(f, 0, NULL, 1, 0), CM_EINVAL);
    CHECK_EQ(cm_read_many(f, NULL, 0), 0);
    CHECK_EQ(cm_read_through(f, 0, NULL, 1, no_origin, NULL), CM_EINVAL);
    CHECK_EQ(cm_read_through(f, 0, buf, 1, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_read_through(f, 0, NULL, 0, no_origin, NULL), 0);
    CHECK_EQ(cm_fill(f, NULL, buf, 0, 0), CM_EINVAL);
    CHECK_EQ(cm_fill(f, &m, NULL, BLK, 0), CM_EINVAL);
    CHECK_EQ(cm_pin_range(f, 0, 1, NULL, 1, &n, &pins, NULL), CM_EINVAL);
    CHECK_EQ(cm_pin_range(f, 0, 1, &v, 0, &n, &pins, NULL), CM_EINVAL);
    CHECK_EQ(cm_pin_range(f, 0, 1, &v, -1, &n, &pins, NULL), CM_EINVAL);
    CHECK_EQ(cm_pin_range(f, 0, 1, &v, 1, NULL, &pins, NULL), CM_EINVAL);
    CHECK_EQ(cm_pin_range(f, 0, 1, &v, 1, &n, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_write_begin(f, 0, 1, NULL), CM_EINVAL);
    CHECK_EQ(cm_truncate_begin(f, 0, NULL), CM_EINVAL);
    CHECK_EQ(cm_write_end(f, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_sync_begin(f, NULL), CM_EINVAL);
    CHECK_EQ(cm_sync_end(f, NULL, 1, NULL), CM_EINVAL);
    CHECK_EQ(cm_file_revalidate(f, NULL), CM_EINVAL);
    CHECK_EQ(cm_file_get_info(f, NULL), CM_EINVAL);
    CHECK_EQ(cm_get_info(p.c, NULL), CM_EINVAL);
    CHECK_EQ(cm_stats(p.c, NULL), CM_EINVAL);
    CHECK_EQ(cm_check(p.c, 4, NULL, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_forget(p.c, NULL), CM_EINVAL);
    CHECK_EQ(cm_forget(p.c, &zero), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, NULL, NULL, 0, &g), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, NULL), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, &zero, NULL, 0, &g), CM_EINVAL);
    CHECK_EQ(cm_invalidate(f, 5, 0), 0);
    w.id = 0;
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_EBRACKET);
    CHECK_EQ(cm_unpin(NULL), CM_EINVAL);
    CHECK_EQ(STAT(p.c, brackets), 0);
    pool_end(&p);
}

static void test_null_paths(void)
{
    cm_cache *c;
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    o.size = MIB;
    CHECK_EQ(cm_create(NULL, &o), CM_EINVAL);
    CHECK_EQ(cm_create(path_of("x"), NULL), CM_EINVAL);
    CHECK_EQ(cm_open(NULL, NULL, &c), CM_EINVAL);
    CHECK_EQ(cm_open(path_of("x"), NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_pool_info(NULL, &info), CM_EINVAL);
    CHECK_EQ(cm_pool_info(path_of("x"), NULL), CM_EINVAL);
    CHECK_EQ(cm_pool_stats(NULL, &stats), CM_EINVAL);
    CHECK_EQ(cm_pool_stats(path_of("x"), NULL), CM_EINVAL);
    CHECK_EQ(cm_open_memory(NULL, MIB, NULL, &c), CM_EINVAL);
    CHECK_EQ(cm_format_memory(NULL, MIB, NULL), CM_EINVAL);
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    CHECK_EQ(cm_identify(0, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0, &id, NULL), CM_EINVAL);
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
}

static void keep_text(void *ctx, int level, const char *t)
{
    (void)level;
    (void)snprintf(ctx, 200, "%s", t);
}

static void test_flags(void)
{
    struct pool p;
    char text[200];
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    cm_cache *c = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_check_report r = { .struct_size = sizeof(r) };
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 8, &f), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0x80000000u, &f), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, CM_EXCLUSIVE, &f), CM_EINVAL); /* no version */
    CHECK_EQ(cm_check(p.c, 4, NULL, NULL, &r), CM_EINVAL);
    CHECK_EQ(cm_set_mode(p.c, 3), CM_EINVAL);
    CHECK_EQ(cm_set_mode(p.c, -1), CM_EINVAL);
    pool_down(&p);
    for (unsigned i = 0; i < 10; i++) {
        cm_options o = CM_OPTIONS_INIT;
        CASE("option %u", i);
        o.probation_bytes = CM_PROBATION_NONE;
        o.flags = i == 0 ? 256 : i == 1 ? 0x80000000u : 0;
        o.verify = i == 2 ? 3 : 0;
        o.memory_durability = i == 3 ? 4 : 0;
        o.reserved[0] = i == 4 || i == 5;
        o.policy = i == 8 ? 1000 : CM_POLICY_AUTO;
        o.wear_weight = i == 9 ? 1001 : 1000;
        o.alloc = i == 6 ? keep_alloc : NULL;
        o.free = i == 7 ? keep_free : NULL;
        o.log = keep_text;
        o.log_ctx = text;
        text[0] = '\0';
        CHECK_EQ(cm_open_memory(p.base, p.bytes, &o, &c), CM_EINVAL);
        CHECK(c == NULL);
        CHECK(strstr(text, "cm_options") != NULL); /* the message names it */
        CHECK(i != 3 || strstr(text, ": 4 is not CM_DURABILITY_VOLATILE, _PAGECACHE or _DAX"));
    }
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        cm_create_options o = CM_CREATE_OPTIONS_INIT;
        o.flags = i == 0 ? 4 : 0;
        o.reserved[1] = i == 1;
        o.size = i == 2 ? 2 * MIB : 0; /* a size that differs from that of the memory */
        o.log = keep_text;
        o.log_ctx = text;
        text[0] = '\0';
        CHECK_EQ(cm_format_memory(p.base, p.bytes, &o), CM_EINVAL);
        CHECK(strstr(text, "cm_create_options") != NULL);
    }
    REQUIRE(pool_up(&p) == 0); /* refused formats did not change the pool */
    pool_end(&p);
}

static void expect_text(const char *text, const char *call, const char *field)
{
    CHECK(strstr(text, call) != NULL);
    CHECK(strstr(text, field) != NULL);
}
#define expect_text(...) CALL(expect_text(__VA_ARGS__)) /* its checks say who called */

/* The log says what is wrong with a validator. */
static void test_validators(void)
{
    struct pool p;
    cm_file_id id = id_of(1);
    cm_file *f = NULL, *g;
    cm_bracket w;
    cm_sync s;
    char text[256];
    static const char *const field[] = { "struct_size", "taken_at is 0", "size", "later than now",
                                         "struct_size" };
    pool_make(&p, MIB, 0);
    p.o.log = keep_text;
    p.o.log_ctx = text;
    REQUIRE(pool_up(&p) == 0);
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        cm_validator v = val(100, 1);
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), 0);
        v = val(100, 1);
        v.struct_size = i == 0 ? 7 : i == 4 ? 40 : v.struct_size; /* 40: a part of the proof */
        v.taken_at = i == 1 ? 0 : v.taken_at;
        v.size = i == 2 ? OFFSET_LIMIT : 100;
        v.taken_at += i == 3 ? UINT64_C(3600) * 1000000000 : 0;
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &g), CM_EINVAL);
        expect_text(text, "cm_file_open", field[i]);
        CHECK_EQ(cm_file_revalidate(f, &v), CM_EINVAL);
        expect_text(text, "cm_file_revalidate", field[i]);
        w = begin_write(f, 0, 1);
        CHECK_EQ(cm_write_end(f, &w, &v), CM_EINVAL);
        expect_text(text, "cm_write_end", field[i]);
        CHECK_EQ(cm_sync_begin(f, &s), 0);
        CHECK_EQ(cm_sync_end(f, &s, 1, &v), CM_EINVAL);
        expect_text(text, "cm_sync_end", field[i]);
        CHECK_EQ(info_of(f).brackets, 1); /* a refused end ends nothing */
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        detach(f);
        CHECK_EQ(cm_file_close(f), CM_EHANDLE);
    }
    pool_end(&p);
}

/* And with an id. */
static void test_zero_id(void)
{
    struct pool p;
    const cm_file_id zero = { 0, 0 };
    cm_file *f;
    char text[256];
    pool_make(&p, MIB, 0);
    p.o.log = keep_text;
    p.o.log_ctx = text;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_file_open(p.c, &zero, NULL, 0, &f), CM_EINVAL);
    expect_text(text, "cm_file_open: ", "the id is zero");
    CHECK_EQ(cm_file_lookup(p.c, &zero, NULL, NULL), CM_EINVAL);
    expect_text(text, "cm_file_lookup: ", "the id is zero");
    CHECK_EQ(cm_forget(p.c, &zero), CM_EINVAL);
    expect_text(text, "cm_forget: ", "the id is zero");
    CHECK_EQ(cm_forget_gone(p.c, &zero), CM_EINVAL);
    expect_text(text, "cm_forget_gone: ", "the id is zero");
    pool_end(&p);
}

static void check_range(cm_file *f, uint64_t offset, uint64_t len, int code)
{
    cm_iovec v;
    cm_pins pins;
    cm_bracket w = { 0 };
    uint8_t buf[1];
    int n;
    if (code) { /* a valid range of such a length would need a buffer */
        CHECK_EQ(cm_read(f, offset, buf, (size_t)len, NULL), code);
        CHECK_EQ(cm_read_through(f, offset, buf, (size_t)len, no_origin, NULL), code);
    }
    CHECK_EQ(cm_pin_range(f, offset, (size_t)len, &v, 1, &n, &pins, NULL), code);
    int e = cm_write_begin(f, offset, len, &w);
    CHECK_EQ(e, code);
    if (e == 0)
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_invalidate(f, offset, len), code);
}

static void test_ranges(void)
{
    struct pool p;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CALL(check_range(f, OFFSET_LIMIT, 1, CM_ERANGE));
    CALL(check_range(f, 1, OFFSET_LIMIT, CM_ERANGE));
    CALL(check_range(f, OFFSET_LIMIT - 1, 2, CM_ERANGE));
    CALL(check_range(f, UINT64_MAX - 1, 1, CM_ERANGE));
    CALL(check_range(f, UINT64_MAX - 1, UINT64_MAX - 1, CM_ERANGE));
    CALL(check_range(f, UINT64_C(1) << 63, UINT64_C(1) << 63, CM_ERANGE));
    CALL(check_range(f, 0, UINT64_MAX - 1, CM_ERANGE));
    CALL(check_range(f, OFFSET_LIMIT - 2, 1, 0));
    CHECK_EQ(cm_write_begin(f, 1, CM_ALL, &w), 0); /* the rest of the file */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_write_begin(f, OFFSET_LIMIT, CM_ALL, &w), CM_ERANGE);
    CALL(check_range(f, 0, OFFSET_LIMIT - 1, 0));
    CHECK_EQ(cm_truncate_begin(f, OFFSET_LIMIT, &w), CM_ERANGE);
    CHECK_EQ(cm_truncate_begin(f, UINT64_MAX, &w), CM_ERANGE);
    CHECK_EQ(cm_truncate_begin(f, OFFSET_LIMIT - 1, &w), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_invalidate(f, UINT64_MAX - 1, CM_ALL), CM_ERANGE);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(cm_invalidate(f, OFFSET_LIMIT - 1, CM_ALL), 0);
    pool_end(&p);
}

/* All that a miss asks for may end inside a block: at the end of the file, which is known. */
static void test_whole_miss(void)
{
    struct pool p;
    uint8_t data[2 * CM_BLOCK_SIZE], buf[5000];
    cm_miss m;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, sizeof(buf), 1, 0);
    content(5, 0, data);
    content(5, 1, data + BLK);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), &m), 0);
    CHECK_EQ(m.len, sizeof(buf));
    CHECK_EQ(m.flags, 0);
    CHECK_EQ(cm_fill(f, &m, data, sizeof(buf) - 1, 0), CM_EINVAL);
    CHECK_EQ(cm_fill(f, &m, data, sizeof(buf), 0), 0);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), &m), sizeof(buf));
    CHECK(memcmp(buf, data, sizeof(buf)) == 0);
    CHECK_EQ(info_of(f).size, sizeof(buf));
    pool_end(&p);
}

/* The very last block of the largest file can be cached, pinned, written. */
static void test_last_block(void)
{
    struct pool p;
    uint8_t data[CM_BLOCK_SIZE], buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, OFFSET_LIMIT - 1, 1, CM_SOLE_WRITER);
    uint64_t at = CM_BLOCK_MAX * BLK;
    cm_miss m = miss_of(f, at, BLK - 1);
    CHECK_EQ(m.offset, at);
    CHECK_EQ(m.len, BLK - 1);
    content(5, CM_BLOCK_MAX, data);
    CHECK_EQ(cm_fill(f, &m, data, BLK - 1, CM_FILL_EOF), 0);
    CHECK_EQ(cm_read(f, at, buf, BLK - 1, &m), BLK - 1);
    CHECK(memcmp(buf, data, BLK - 1) == 0);
    cm_bracket w = begin_write(f, at, 1);
    CHECK_EQ(cm_read(f, at, buf, BLK - 1, &m), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* ---- Brackets, closing ----------------------------------------------------------------------- */

static void test_bracket_misuse(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0), *g = attach(&p, 2, 10 * BLK, 1, 0);
    cm_bracket w = begin_write(f, 0, 1), bad = { w.id + 1000 }, none = { 0 };
    CHECK_EQ(cm_write_end(g, &w, NULL), CM_EBRACKET); /* the bracket of another file */
    CHECK(strstr(cm_strerror(CM_EBRACKET), "of another file") != NULL);
    CHECK_EQ(cm_write_end(f, &bad, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &none, NULL), CM_EBRACKET); /* one that did not begin */
    CHECK_EQ(info_of(f).brackets, 1);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_EBRACKET);
    CHECK_EQ(info_of(f).brackets, 0);
    pool_end(&p);
}

static void test_close_busy(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    int n;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(cm_pin_range(f, 0, BLK, &v, 1, &n, &pins, NULL), BLK);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(look(f, 0, 5), RIGHT); /* nothing was closed */
    CHECK_EQ(cm_unpin(&pins), 0);
    cm_bracket w = begin_write(f, 5 * BLK, 1);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_again(&p);
    f = attach(&p, 1, 10 * BLK, 1, 0);
    w = begin_write(f, 5 * BLK, 1);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(cm_file_abort(f), 0);
    pool_end(&p);
}

static void test_memory_alignment(void)
{
    cm_cache *c = NULL;
    uint8_t *base = map_bytes(2 * MIB);
    CHECK_EQ(cm_format_memory(base + 64, MIB, NULL), CM_EINVAL);
    CHECK_EQ(cm_format_memory(base, MIB, NULL), 0);
    CHECK_EQ(cm_open_memory(base + 2048, MIB, NULL, &c), CM_EINVAL);
    CHECK_EQ(cm_open_memory(base, 100, NULL, &c), CM_EINVAL);
    CHECK_EQ(cm_open_memory(base, MIB + BLK, NULL, &c), CM_EOVERSIZE);
    CHECK_EQ(cm_open_memory(base, MIB - BLK, NULL, &c), CM_ETRUNCATED);
    CHECK(c == NULL);
    CHECK_EQ(cm_open_memory(base, MIB, NULL, &c), 0);
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(cm_format_memory(base, MIB + 1, NULL), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_memory(base, 4 * BLK, NULL), CM_EPOOLSIZE);
    unmap_bytes(base, 2 * MIB);
}

/* Formatting again makes a new pool: nothing of the old one is left. */
static void test_format_again(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    cm_info before = pool_info(p.c);
    pool_down(&p);
    CHECK_EQ(cm_format_memory(p.base, p.bytes, NULL), 0);
    REQUIRE(pool_up(&p) == 0);
    CHECK(memcmp(before.uuid, pool_info(p.c).uuid, 16) != 0);
    f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 50, 5), 0);
    pool_end(&p);
}

static const struct harness_test api_tests[] = {
    TEST(codes),
    TEST(constants),
    TEST(origin_error),
    TEST(null_handles),
    TEST(closed_file),
    TEST(closed_long_ago),
    TEST(last_generation),
    TEST(high_memory),
    TEST(null_paths),
    TEST(null_arguments),
    TEST(closed_cache),
    TEST(flags),
    TEST(validators),
    TEST(zero_id),
    TEST(ranges),
    TEST(whole_miss),
    TEST(last_block),
    TEST(close_busy),
    TEST(bracket_misuse),
    TEST(format_again),
    TEST(memory_alignment),
    TEST_END,
};

static const struct harness_test *const tables[] = {
    api_tests,         api_fork_tests, api_lost_tests,  api_many_tests,     api_owner_tests,
    api_structs_tests, api_pool_tests, api_stats_tests, api_versions_tests, api_cut_tests
};

/* ---- Files and children ---------------------------------------------------------------------- */

#ifdef _WIN32
#define BEST_PLACE NULL
#else
#define BEST_PLACE "/dev/shm"
#endif

char dir[256];

/* A directory of the test's own, in memory if possible: sparse pools of a terabyte cost nothing
 * there. */
static bool make_dir(void)
{
    if (!getenv("TMPDIR") && os_make_dir(dir, sizeof(dir), BEST_PLACE, "api"))
        return true;
    if (os_make_dir(dir, sizeof(dir), NULL, "api"))
        return true;
    printf("# no directory for temporary files\n");
    return false;
}

#ifdef _WIN32
static const struct {
    const char *name;
    void (*body)(void *);
} children[] = {
    { "owner", owner_body },
    { "dying_owner", dying_owner_body },
    { "stats", stats_body },
};

static const char *child_name(void (*body)(void *))
{
    for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++)
        if (children[i].body == body)
            return children[i].name;
    return "unknown";
}

static int run_child(const char *name, char *arg)
{
    for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++)
        if (strcmp(children[i].name, name) == 0) {
            children[i].body(arg);
            return harness_failures != 0;
        }
    return 1;
}

void in_child(void (*body)(void *), void *arg)
{
    CHECK_EQ(os_run_self(child_name(body), arg), 0);
}
#else
void in_child(void (*body)(void *), void *arg)
{
    int status = child_run(NULL, body, arg);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

int main(int argc, char **argv)
{
#ifdef _WIN32
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return run_child(argv[2], argv[3]);
#endif
    if (!make_dir())
        return 1;
    int rc = HARNESS_TABLES(tables, argc, argv);
    if (!os_remove_dir(dir)) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
