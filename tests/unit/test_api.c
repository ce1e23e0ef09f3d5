/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api.c - the public interface against callers who get it wrong, and what it says about
 * itself: codes, handles, arguments, sizes of structs, ownership, forks, callbacks, modes, limits,
 * counters, memory and the time an open takes.
 */
#include "fixture.h"

#include <unistd.h>

#include "../os.h"
#ifndef _WIN32
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#endif

#define OFFSET_LIMIT ((CM_BLOCK_MAX + 1) * BLK) /* one past the last byte a file may have */

#ifdef _WIN32
#define BEST_PLACE NULL
#else
#define BEST_PLACE "/dev/shm"
#endif

/* Wine reserves memory for what it maps, so pools end where the machine's memory does; a user-mode
 * emulator (CM_TEST_EMULATED=1) keeps a list of all pages; and the thread sanitizer leaves no
 * terabyte of addresses in one piece. */
static uint64_t large_pool(void)
{
#if defined(_WIN32) || defined(CM_TSAN)
    return 8 * GIB;
#else
    return getenv("CM_TEST_EMULATED") ? 8 * GIB : 1024 * GIB;
#endif
}

/* ---- Files and children ---------------------------------------------------------------------- */

static char dir[256];

static const char *path_of(const char *name)
{
    static char path[4][512];
    static unsigned next;
    char *p = path[next++ % 4];
    (void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static const char *make_pool(const char *name, uint64_t size, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const char *path = path_of(name);
    (void)unlink(path);
    o.size = size;
    o.flags = flags;
    CHECK_EQ(cm_create(path, &o), 0);
    return path;
}

static cm_cache *open_pool(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = 0;
    cm_cache *c = NULL;
    o.flags = flags;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    return c;
}

static int try_open(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = 0;
    cm_cache *c = NULL;
    o.flags = flags;
    int e = cm_open(path, &o, &c);
    CHECK((e == 0) == (c != NULL));
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return e;
}

/* Runs body in a child; its CHECKs count. Without fork(): only what the table of children names,
 * and `arg` is a string. */
#ifdef _WIN32
static const char *child_name(void (*body)(void *));
static void in_child(void (*body)(void *), void *arg)
{
    CHECK_EQ(os_run_self(child_name(body), arg), 0);
}
#else
static void in_child(void (*body)(void *), void *arg)
{
    int status = -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        harness_failures = 0;
        (void)alarm(60);
        body(arg);
        fflush(stdout);
        _exit(harness_failures != 0);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
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
        CHECK_EQ(map[i].value, codes[i].value);
        CHECK(strcmp(cm_errname(codes[i].value), codes[i].name) == 0);
        CHECK(strlen(cm_strerror(codes[i].value)) > 3);
        CHECK(strcmp(cm_strerror(codes[i].value), "unknown error") != 0);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(cm_strerror(codes[i].value), cm_strerror(codes[k].value)) != 0);
    }
    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
        CHECK(map[i].value >= -1000 && map[i].value < 0); /* below: errors of a caller's origin */
    const int unknown[] = { 1, 77, -1000, INT32_MIN, INT32_MAX };
    for (int i = 0; i < 5; i++) {
        CHECK(strcmp(cm_errname(unknown[i]), "CM_?") == 0);
        CHECK(strcmp(cm_strerror(unknown[i]), "unknown error") == 0);
    }
    CHECK(cm_strerror(0) && cm_errname(0));
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
    CHECK(CM_MISS_EOF == 1 && CM_MISS_NOFILL == 2 && CM_WANT_VALIDATOR == 1 && CM_IGNORED == 2);
    CHECK(CM_NOT_STORED_STALE == 1 && CM_NOT_STORED_PRESENT == 2 && CM_NOT_STORED_BUSY == 3 &&
          CM_NOT_STORED_FULL == 4 && CM_NOT_STORED_MODE == 5 && CM_NOT_STORED_POLICY == 6 &&
          CM_NOT_STORED_MEDIA == 7);
    CHECK_EQ(offsetof(cm_options, struct_size), 0);
    CHECK_EQ(sizeof(cm_options), 96);
    CHECK_EQ(sizeof(cm_create_options), 88);
    CHECK_EQ(sizeof(cm_validator), 48);
    CHECK_EQ(sizeof(cm_miss), 112);
    CHECK_EQ(sizeof(cm_pins), 536);
    char version[32];
    (void)snprintf(version, sizeof(version), "%d.%d.%d", CM_VERSION_MAJOR, CM_VERSION_MINOR,
                   CM_VERSION_PATCH);
    CHECK(strcmp(cm_version(), version) == 0);
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
        int64_t code = codes_of_origin[i];
        CHECK_EQ(cm_read_through(f, 0, buf, BLK, origin_fails, &code), code);
    }
    CHECK_EQ(cm_file_close(f), 0);
    pool_end(&p);
}

/* Every call that takes a file: all must answer `code`. */
static void check_file_calls(cm_file *f, int code)
{
    uint8_t buf[16];
    cm_miss m = { 0 };
    cm_iovec v;
    cm_pins pins;
    cm_bracket w = { 1 };
    cm_sync s = { { 0 } };
    cm_validator val_ = val(1, 1);
    cm_file_info info;
    cm_read_vec rv = { .offset = 0, .buf = buf, .len = 1 };
    int n;
    CHECK_EQ(cm_file_revalidate(f, &val_), code);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), code);
    CHECK_EQ(cm_file_get_info(f, &info), code);
    CHECK_EQ(cm_file_abort(f), code);
    CHECK_EQ(cm_file_close(f), code);
    CHECK_EQ(cm_read(f, 0, buf, 1, &m), code);
    CHECK_EQ(cm_read_many(f, &rv, 1), code);
    CHECK_EQ(cm_read_whole(f, 0, buf, 1), code);
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

static void check_cache_calls(cm_cache *c, int code)
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
    check_file_calls(NULL, CM_EHANDLE);
    check_cache_calls(NULL, CM_EHANDLE);
}

static void test_closed_file(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    detach(f);
    check_file_calls(f, CM_EHANDLE);
    pool_end(&p);
}

/* The same when other files have been opened since, and in the memory of the closed one. */
static void test_closed_long_ago(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *old = attach(&p, 1, 10 * BLK, 1, 0);
    struct cm_object *object = cm_object_of(old);
    unsigned reused = 0;
    detach(old);
    for (uint64_t i = 2; i < 400; i++) {
        cm_file *f = attach(&p, i, 10 * BLK, 1, 0);
        reused += cm_object_of(f) == object;
        CHECK_EQ(put(f, 0, i), 0);
        check_file_calls(old, CM_EHANDLE);
        CHECK_EQ(hits(f, 0, 1, i), 1);
        detach(f);
    }
    CHECK(reused > 1);
    pool_end(&p);
}

/* When an object had its last generation, nothing is attached there again. */
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
        cm_file *f = attach(&p, i, 10 * BLK, 1, 0);
        reused += cm_object_of(f) == object;
        CHECK(f != old);
        detach(f);
        check_file_calls(f, CM_EHANDLE);
    }
    CHECK_EQ(reused, 2);
    pool_end(&p);
}

/* Memory above the addresses that leave room for a generation is given back. */
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

/* A closed cache is found out where its memory is still there. */
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
    check_cache_calls(c, CM_EHANDLE);
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
    CHECK_EQ(cm_read_whole(f, 0, NULL, 1), CM_EINVAL);
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
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, NULL), CM_EINVAL);
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
    cm_validator v;
    CHECK_EQ(cm_identify(0, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(0, &id, NULL), CM_EINVAL);
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
}

static void test_flags(void)
{
    struct pool p;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    cm_cache *c = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_check_report r = { .struct_size = sizeof(r) };
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 4, &f), CM_EINVAL);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0x80000000u, &f), CM_EINVAL);
    CHECK_EQ(cm_check(p.c, 4, NULL, NULL, &r), CM_EINVAL);
    CHECK_EQ(cm_set_mode(p.c, 3), CM_EINVAL);
    CHECK_EQ(cm_set_mode(p.c, -1), CM_EINVAL);
    pool_down(&p);
    for (unsigned i = 0; i < 10; i++) {
        cm_options o = CM_OPTIONS_INIT;
        o.probation_bytes = 0;
        o.flags = i == 0 ? 16 : i == 1 ? 0x80000000u : 0;
        o.verify = i == 2 ? 3 : 0;
        o.memory_durability = i == 3 ? 4 : 0;
        o.reserved[0] = i == 4;
        o.reserved[sizeof(o.reserved) / sizeof(o.reserved[0]) - 1] = i == 5;
        o.policy = i == 8 ? CM_POLICY_S3R + 1 : CM_POLICY_AUTO;
        o.wear_weight = i == 9 ? 1001 : 1000;
        o.alloc = i == 6 ? keep_alloc : NULL;
        o.free = i == 7 ? keep_free : NULL;
        CHECK_EQ(cm_open_memory(p.base, p.bytes, &o, &c), CM_EINVAL);
        CHECK(c == NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        cm_create_options o = CM_CREATE_OPTIONS_INIT;
        o.flags = i == 0 ? 2 : 0;
        o.reserved[1] = i == 1;
        o.size = i == 2 ? 2 * MIB : 0; /* another size than the memory has */
        CHECK_EQ(cm_format_memory(p.base, p.bytes, &o), CM_EINVAL);
    }
    REQUIRE(pool_up(&p) == 0); /* refused formats left the pool alone */
    pool_end(&p);
}

static void test_validators(void)
{
    struct pool p;
    cm_file_id id = id_of(1);
    cm_file *f = NULL, *g;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned i = 0; i < 3; i++) {
        cm_validator v = val(100, 1);
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), 0);
        v = val(100, 1);
        v.reserved = i == 0;
        v.taken_at = i == 1 ? 0 : v.taken_at;
        v.size = i == 2 ? OFFSET_LIMIT : 100;
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &g), CM_EINVAL);
        CHECK_EQ(cm_file_revalidate(f, &v), CM_EINVAL);
        w = begin_write(f, 0, 1);
        CHECK_EQ(cm_write_end(f, &w, &v), CM_EINVAL);
        CHECK_EQ(info_of(f).brackets, 1); /* a refused end ends nothing */
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        detach(f);
        CHECK_EQ(cm_file_close(f), CM_EHANDLE);
    }
    pool_end(&p);
}

static void check_range(cm_file *f, uint64_t offset, uint64_t len, int code)
{
    cm_iovec v;
    cm_pins pins;
    cm_bracket w = { 0 };
    uint8_t buf[1];
    int n;
    if (code) { /* a right range of such a length would touch the buffer */
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
    check_range(f, OFFSET_LIMIT, 1, CM_ERANGE);
    check_range(f, 1, OFFSET_LIMIT, CM_ERANGE);
    check_range(f, OFFSET_LIMIT - 1, 2, CM_ERANGE);
    check_range(f, UINT64_MAX - 1, 1, CM_ERANGE);
    check_range(f, UINT64_MAX - 1, UINT64_MAX - 1, CM_ERANGE);
    check_range(f, UINT64_C(1) << 63, UINT64_C(1) << 63, CM_ERANGE);
    check_range(f, 0, UINT64_MAX - 1, CM_ERANGE);
    check_range(f, OFFSET_LIMIT - 2, 1, 0);
    check_range(f, 0, OFFSET_LIMIT - 1, 0);
    CHECK_EQ(cm_truncate_begin(f, OFFSET_LIMIT, &w), CM_ERANGE);
    CHECK_EQ(cm_truncate_begin(f, UINT64_MAX, &w), CM_ERANGE);
    CHECK_EQ(cm_truncate_begin(f, OFFSET_LIMIT - 1, &w), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_invalidate(f, UINT64_MAX - 1, CM_ALL), CM_ERANGE);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(cm_invalidate(f, OFFSET_LIMIT - 1, CM_ALL), 0);
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

/* ---- Structs of other versions --------------------------------------------------------------- */

static int open_sized(struct pool *p, uint32_t size, size_t nonzero)
{
    uint8_t o[256] = { 0 };
    cm_cache *c = NULL;
    memcpy(o, &size, sizeof(size));
    if (nonzero)
        o[nonzero] = 1;
    int e = cm_open_memory(p->base, p->bytes, (const cm_options *)(const void *)o, &c);
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return e;
}

static void test_option_sizes(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    for (uint32_t size = 0; size < 8; size++)
        CHECK_EQ(open_sized(&p, size, 0), CM_EINVAL);
    for (uint32_t size = 8; size <= 256; size += 8)
        CHECK_EQ(open_sized(&p, size, 0), 0); /* older and newer callers */
    for (uint32_t at = sizeof(cm_options); at < 200; at++) {
        CHECK_EQ(open_sized(&p, 200, at), CM_EINVAL);        /* an option we do not know */
        CHECK_EQ(open_sized(&p, sizeof(cm_options), at), 0); /* not part of the struct */
    }
    /* What lies beyond a short struct is not read. */
    CHECK_EQ(open_sized(&p, 8, 8), 0);
    pool_end(&p);
}

static void test_create_option_sizes(void)
{
    uint8_t o[256] = { 0 };
    void *base = map_bytes(MIB);
    for (uint32_t size = 0; size <= 200; size += 4) {
        memcpy(o, &size, sizeof(size));
        int e = cm_format_memory(base, MIB, (const cm_create_options *)(const void *)o);
        CHECK_EQ(e, size < 8 ? CM_EINVAL : 0);
    }
    o[199] = 1;
    CHECK_EQ(cm_format_memory(base, MIB, (const cm_create_options *)(const void *)o), CM_EINVAL);
    unmap_bytes(base, MIB);
}

enum { INFO, STATS, REPORT };

static int result_into(struct pool *p, unsigned which, uint8_t *to)
{
    if (which == INFO)
        return cm_get_info(p->c, (cm_info *)(void *)to);
    if (which == STATS)
        return cm_stats(p->c, (cm_stats_data *)(void *)to);
    return cm_check(p->c, 0, NULL, NULL, (cm_check_report *)(void *)to);
}

/* Results: nothing is written beyond the caller's size; a larger struct is fine. */
static void test_result_sizes(void)
{
    struct pool p;
    static _Alignas(16) uint8_t r[2048];
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned which = INFO; which <= REPORT; which++)
        for (uint32_t size = 0; size <= 2000; size += 4) {
            uint32_t kept;
            memset(r, 0xa5, sizeof(r));
            memcpy(r, &size, sizeof(size));
            CHECK_EQ(result_into(&p, which, r), size < 8 ? CM_EINVAL : 0);
            memcpy(&kept, r, sizeof(kept));
            CHECK_EQ(kept, size);
            for (size_t i = size < 4 ? 4 : size; i < size + 40; i++)
                CHECK(r[i] == 0xa5);
            if (size >= 64)
                CHECK(r[16] != 0xa5 || r[17] != 0xa5 || which != INFO);
        }
    pool_end(&p);
}

/* ---- Brackets, closing ----------------------------------------------------------------------- */

static void test_bracket_misuse(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0), *g = attach(&p, 2, 10 * BLK, 1, 0);
    cm_bracket w = begin_write(f, 0, 1), bad = { w.id + 1000 };
    CHECK_EQ(cm_write_end(g, &w, NULL), CM_EBRACKET); /* another file's */
    CHECK_EQ(cm_write_end(f, &bad, NULL), CM_EBRACKET);
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

/* Formatting again is a new pool: nothing of the old one is left. */
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

/* ---- Fork ------------------------------------------------------------------------------------ */

#ifndef _WIN32
static void forked_body(void *arg)
{
    struct pool *p = arg;
    struct cm_object *f = NULL;
    check_cache_calls(p->c, CM_EFORKED);
    for (unsigned i = 0; i < CM_FILE_HASH && !f; i++)
        f = p->c->file_hash[i];
    CHECK(f != NULL);
    check_file_calls((cm_file *)(uintptr_t)f->handle, CM_EFORKED);
}

static void test_fork(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    in_child(forked_body, &p);
    CHECK_EQ(look(f, 0, 5), RIGHT); /* the parent goes on */
    CHECK_EQ(put(f, 1, 5), 0);
    pool_end(&p);
}

static void forked_read_body(void *arg)
{
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    cm_file *f = arg;
    cm_read_vec v = { .offset = 0, .buf = buf, .len = BLK };
    CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), CM_EFORKED);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), CM_EFORKED);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK), CM_EFORKED);
    CHECK_EQ(cm_read_many(f, &v, 1), CM_EFORKED);
}

/* A child has no part of the pool in its memory: not even to look up a block. */
static void test_fork_without_guard(void)
{
    const char *path = make_pool("fork-read", MIB, 0);
    struct pool p = { .c = open_pool(path, CM_OPEN_NO_GUARD) };
    REQUIRE(p.c != NULL);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    in_child(forked_read_body, f);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    (void)unlink(path);
}

static void forked_file_body(void *arg)
{
    const char *path = arg;
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* the parent's lock is not the child's */
}

static void test_fork_file(void)
{
    const char *path = make_pool("fork", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    in_child(forked_file_body, (void *)(uintptr_t)path);
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* and the child's end did not drop it */
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

#endif
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
    cb.armed = false; /* a check inside a check would not end */
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
    expect_called("origin_read");
    CHECK_EQ(cm_check(p.c, 0, cb_progress, NULL, &r), 0);
    expect_called("progress");
    cm_bracket w = begin_write(cb.file, 0, 1);
    CHECK_EQ(cb.calls, 0); /* one at a time has room in the file */
    cm_bracket beside = begin_write(cb.file, 0, 1);
    expect_called("alloc");
    CHECK(cm_write_end(cb.file, &beside, NULL) >= 0);
    expect_called("free");
    CHECK(cm_write_end(cb.file, &w, NULL) >= 0);
    for (unsigned i = 0; i < 100; i++) /* more objects than are at hand */
        (void)attach(&p, 100 + i, BLK, 1, 0);
    expect_called("alloc for files");
    p.c->failing = 1; /* too many media errors: the next call says so */
    CHECK(cm_read(cb.file, 0, buf, 1, NULL) >= 0);
    expect_called("log");
    cb.armed = false;
    pool_end(&p);
}

/* Another cache may be used in there, and the way back is still refused. */
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
    CHECK(cm_read(cb.file, 0, buf, 1, NULL) >= 0); /* outside again */
    pool_end(&p);
    pool_end(&q);
}

/* ---- Owners ---------------------------------------------------------------------------------- */

static void owner_body(void *arg)
{
    CHECK_EQ(try_open(arg, 0), CM_EOWNED);
    CHECK_EQ(try_open(arg, CM_OPEN_READONLY), CM_EOWNED);
    cm_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(cm_pool_info(arg, &info), 0);
    CHECK_EQ(info.owned, 1);
    CHECK_EQ(info.owner_pid, atoi(getenv("CM_TEST_OWNER")));
}

static void dying_owner_body(void *arg)
{
    cm_cache *c = open_pool(arg, 0);
    cm_file_id id = id_of(1);
    cm_validator v = val(100 * BLK, 1);
    cm_file *f = NULL;
    CHECK(c != NULL);
    CHECK_EQ(cm_file_open(c, &id, &v, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, 30, 5), 30); /* ... and dies without a word */
}

static void keep_text(void *ctx, int level, const char *text)
{
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(ctx, 200, "%s", text);
}

/* The owner is named, also when it is the caller itself. */
static void check_says(const char *path, uint32_t flags, const char *what)
{
    cm_options o = CM_OPTIONS_INIT;
    char text[200] = "";
    cm_cache *c = NULL;
    o.flags = flags;
    o.log = keep_text;
    o.log_ctx = text;
    CHECK_EQ(cm_open(path, &o, &c), CM_EOWNED);
    CHECK(strstr(text, what) != NULL);
}

static void test_owned(void)
{
    static char owner[40];
    const char *path = make_pool("owned", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    CHECK_EQ(try_open(path, 0), CM_EOWNED);
    check_says(path, 0, "is open in this process already");
    (void)snprintf(owner, sizeof(owner), "CM_TEST_OWNER=%u", cm_plat_pid());
    CHECK_EQ(putenv(owner), 0);
    in_child(owner_body, (void *)(uintptr_t)path);
    CHECK_EQ(cm_close(c), 0);
    c = open_pool(path, CM_OPEN_READONLY);
    CHECK_EQ(try_open(path, 0), CM_EOWNED);
    check_says(path, 0, "is being looked at, in this process or another");
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(try_open(path, 0), 0);
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

/* The owner dies: the pool is free, and warm, because it is the same boot and mount. */
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

/* ---- Files as pools -------------------------------------------------------------------------- */

static int cancel_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    ++*(int *)ctx;
    return 1;
}

static void test_create(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const char *path = path_of("create");
    int calls = 0;
    o.size = MIB;
    CHECK_EQ(cm_create(path, &o), 0);
#ifndef _WIN32
    struct stat st;
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
#endif
    CHECK_EQ(os_size(path), MIB);
    CHECK(os_space(path) >= (int64_t)MIB); /* preallocated */
    CHECK_EQ(cm_create(path, &o), CM_EEXIST);
    CHECK_EQ(try_open(path, 0), 0); /* what was there is untouched */
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(cm_create(path_of("no/such/dir"), &o), CM_ENOENT);
    o.size = MIB + 1;
    CHECK_EQ(cm_create(path, &o), CM_EPOOLSIZE);
    o.size = 0;
    CHECK_EQ(cm_create(path, &o), CM_EPOOLSIZE);
    o.size = cm_pool_size_max() + BLK;
    CHECK_EQ(cm_create(path, &o), CM_EPOOLSIZE);
    o.size = 256 * MIB;
    o.max_files = UINT64_MAX;
    CHECK_EQ(cm_create(path, &o), CM_EINVAL);
    o.max_files = 0;
    o.progress = cancel_at_once;
    o.progress_ctx = &calls;
    CHECK_EQ(cm_create(path, &o), CM_EBUSY);
    CHECK_EQ(calls, 1);
    CHECK_EQ(os_size(path), -1); /* nothing is left behind */
    o.flags = CM_CREATE_SPARSE;
    o.progress = NULL;
    CHECK_EQ(cm_create(path, &o), 0);
    CHECK(os_space(path) >= 0 && os_space(path) < (int64_t)MIB);
    CHECK_EQ(unlink(path), 0);
}

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

/* cm_open and cm_pool_info must give the same reason. */
static void expect_refused(const char *path, int code)
{
    cm_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(try_open(path, 0), code);
    CHECK_EQ(try_open(path, CM_OPEN_READONLY), code);
    CHECK_EQ(cm_pool_info(path, &info), code);
}

static void test_open_refused(void)
{
    static uint8_t garbage[128 * 1024];
    const char *path = path_of("refused");
    expect_refused(path_of("absent"), CM_ENOENT);
    expect_refused(dir, CM_ENOTFILE);
    write_file(path, "", 0);
    expect_refused(path, CM_ENOTPOOL);
    write_file(path, "short", 5);
    expect_refused(path, CM_ENOTPOOL);
    memset(garbage, 0x77, sizeof(garbage));
    write_file(path, garbage, sizeof(garbage));
    expect_refused(path, CM_ENOTPOOL);
    path = make_pool("refused", MIB, 0);
    CHECK_EQ(os_resize(path, MIB + 4096), 0);
    expect_refused(path, CM_EOVERSIZE);
    CHECK_EQ(os_resize(path, MIB - 4096), 0);
    expect_refused(path, CM_ETRUNCATED);
    CHECK_EQ(os_resize(path, 65536), 0);
    expect_refused(path, CM_ETRUNCATED);
    CHECK_EQ(os_resize(path, 5000), 0);
    expect_refused(path, CM_ETRUNCATED);
    CHECK_EQ(os_resize(path, 100), 0);
    expect_refused(path, CM_ETRUNCATED);
    path = make_pool("refused", MIB, 0);
    CHECK_EQ(try_open(path, CM_OPEN_REQUIRE_DAX), CM_ENOTDAX);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

/* ---- A pool file that is lost while it is open ---------------------------------------------- */

#ifndef _WIN32
static struct said {
    unsigned cut, deleted;
} said;

static void log_lost(void *ctx, int level, const char *text)
{
    struct said *s = ctx;
    s->cut += level == CM_LOG_ERROR && strstr(text, "truncated") != NULL;
    s->deleted += level == CM_LOG_WARNING && strstr(text, "deleted") != NULL;
}

static cm_file *open_to_lose(const char *path, struct pool *p)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = 0;
    o.log = log_lost;
    o.log_ctx = &said;
    memset(&said, 0, sizeof(said));
    memset(p, 0, sizeof(*p));
    CHECK_EQ(cm_open(path, &o, &p->c), 0);
    return p->c ? attach(p, 1, 100 * BLK, 1, 0) : NULL;
}
#endif

/* Cut off while it is open: reads are misses, nothing dies, it is said at once, and the close does
 * not call the pool clean. */
static void test_cut_off_while_open(void)
{
#ifdef _WIN32
    SKIP("the system lets nobody cut a mapped file (test_platform: cut_refused)");
#else
    static const uint64_t left[] = { 0, 65536, MIB / 4 };
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned i = 0; i < 3; i++) {
        const char *path = make_pool("cut", MIB, 0);
        struct pool p;
        cm_file *f = open_to_lose(path, &p);
        REQUIRE(f != NULL);
        CHECK_EQ(put_all(f, 0, 100, 5), 100);
        CHECK_EQ(os_resize(path, left[i]), 0);
        CHECK(hits(f, 0, 100, 5) < 60);
        CHECK_EQ(said.cut, 1);
        CHECK_EQ(hits(f, 0, 100, 5), 0); /* what is left may be gone next */
        CHECK_EQ(put_all(f, 50, 50, 5), 0);
        cm_bracket w;
        int e = cm_write_begin(f, 0, 10 * BLK, &w);
        CHECK(e == 0 || e == CM_EFORGET);
        if (e == 0)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
        CHECK_EQ(said.cut, 1);
        expect_refused(path, left[i] ? CM_ETRUNCATED : CM_ENOTPOOL);
        (void)unlink(path);
    }
#endif
}

/* Nobody touched what is lost between the cut and the close, or asked whether all is well. */
#ifndef _WIN32
static void cut_off_unnoticed(bool ask)
{
    cm_info info = { .struct_size = sizeof(info) };
    const char *path = make_pool("cut", MIB, 0);
    struct pool p;
    cm_file *f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    CHECK_EQ(os_resize(path, MIB - BLK), 0);
    if (ask) {
        CHECK_EQ(cm_get_info(p.c, &info), 0);
        CHECK_EQ(said.cut, 1);
        CHECK_EQ(hits(f, 0, 50, 5), 0);
    }
    CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    CHECK_EQ(said.cut, 1);
    /* Brought to its length again it is a pool, and an empty one. */
    CHECK_EQ(os_resize(path, MIB), 0);
    f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(hits(f, 0, 50, 5), 0);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(said.cut, 0);
    (void)unlink(path);
}
#endif
static void test_cut_off_unnoticed(void)
{
#ifdef _WIN32
    SKIP("the system lets nobody cut a mapped file (test_platform: cut_refused)");
#else
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cut_off_unnoticed(false);
    cut_off_unnoticed(true);
#endif
}

/* Cut and brought to its length again: holes, which read as zeros. Nothing of it is served once the
 * cut was noticed. */
static void test_cut_off_and_back(void)
{
#ifdef _WIN32
    SKIP("the system lets nobody cut a mapped file (test_platform: cut_refused)");
#else
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    const char *path = make_pool("cut", MIB, 0);
    struct pool p;
    cm_file *f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    CHECK_EQ(os_resize(path, MIB / 4), 0);
    CHECK(hits(f, 0, 100, 5) < 60);
    CHECK_EQ(os_resize(path, MIB), 0);
    CHECK_EQ(hits(f, 0, 100, 5), 0);
    CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(hits(f, 0, 100, 5), 0);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    CHECK_EQ(hits(f, 0, 50, 5), 50);
    CHECK_EQ(cm_close(p.c), 0);
    (void)unlink(path);
#endif
}

/* Deleted: it goes on, and the close says that nothing of it is left. */
static void test_deleted_while_open(void)
{
#ifdef _WIN32
    SKIP("the system lets nobody delete a mapped file");
#else
    const char *path = make_pool("deleted", MIB, 0);
    struct pool p;
    cm_file *f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(hits(f, 0, 50, 5), 50);
    CHECK_EQ(said.deleted, 0);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(said.deleted, 1);
    CHECK_EQ(said.cut, 0);
#endif
}

static void test_reopen_file(void)
{
    const char *path = make_pool("reopen", MIB, 0);
    struct pool p = { 0 };
    for (unsigned round = 0; round < 3; round++) {
        p.c = open_pool(path, 0);
        REQUIRE(p.c != NULL);
        cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
        CHECK_EQ(hits(f, 0, 100, 5), 20 * round);
        CHECK_EQ(put_all(f, 20 * round, 20, 5), 20);
        CHECK_EQ(cm_close(p.c), 0);
    }
    (void)unlink(path);
}

/* ---- Read-only ------------------------------------------------------------------------------- */

static void test_readonly(void)
{
    struct pool p;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    cm_check_report r = { .struct_size = sizeof(r) };
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(put_all(attach(&p, 1, 100 * BLK, 1, 0), 0, 20, 5), 20);
    pool_down(&p);
    uint8_t *before = map_bytes(p.bytes);
    memcpy(before, p.base, (size_t)p.bytes);
    os_protect(p.base, (size_t)p.bytes, OS_READ); /* a store would show */
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), CM_EREADONLY);
    CHECK_EQ(cm_forget(p.c, &id), CM_EREADONLY);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), CM_EREADONLY);
    CHECK_EQ(cm_check(p.c, CM_CHECK_REPAIR, NULL, NULL, &r), CM_EREADONLY);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.valid, 20);
    CHECK_EQ(r.records, 1);
    cm_info info = pool_info(p.c);
    CHECK_EQ(info.clean, 1);
    CHECK(info.used_slots >= 20);
    CHECK_EQ(STAT(p.c, fill_blocks), 20); /* of the last session */
    pool_down(&p);
    CHECK(memcmp(before, p.base, (size_t)p.bytes) == 0);
    unmap_bytes(before, p.bytes);
    pool_end(&p);
}

/* ---- Modes and limits ------------------------------------------------------------------------ */

static void test_modes(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    cm_miss before = miss_of(f, 20 * BLK, BLK);
    uint8_t data[CM_BLOCK_SIZE] = { 0 };
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);

    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(pool_info(p.c).mode, CM_FREEZE);
    CHECK_EQ(hits(f, 0, 10, 5), 10);
    CHECK(miss_of(f, 20 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK_EQ(cm_fill(f, &before, data, BLK, 0), CM_NOT_STORED_MODE);
    CHECK_EQ(cm_invalidate(f, 0, BLK), 0); /* forgetting acts in every mode */
    CHECK_EQ(hits(f, 0, 10, 5), 9);

    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(hits(f, 0, 10, 5), 0);
    CHECK_EQ(STAT(p.c, miss_mode), 10);
    CHECK_EQ(cm_fill(f, &before, data, BLK, 0), CM_NOT_STORED_MODE);
    cm_bracket w = begin_write(f, BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    cm_iovec v;
    cm_pins pins;
    int n;
    CHECK_EQ(cm_pin_range(f, 5 * BLK, BLK, &v, 1, &n, &pins, NULL), 0);

    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(hits(f, 0, 10, 5), 8);
    CHECK_EQ(STAT(p.c, refused_mode), 2);
    CHECK_EQ(put(f, 0, 5), 0);
    pool_end(&p);
}

/* About a second's worth comes at once, then no more than the rate. */
static void test_rate_limit(void)
{
    struct pool p;
    pool_make(&p, 8 * MIB, 0);
    p.o.fill_rate_limit = MIB;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    uint64_t start = cm_now();
    unsigned stored = put_all(f, 0, 900, 5);
    uint64_t allowed = 257 + 256 * ((cm_now() - start) / 1000000 + 1) / 1000;
    CHECK(stored >= 256);
    CHECK(stored <= allowed);
    CHECK_EQ(STAT(p.c, refused_policy), 900 - stored);
    CHECK_EQ(hits(f, 0, 900, 5), stored);
    sleep_ms(300); /* some more has become due: about 77 blocks */
    unsigned more = put_all(f, 0, 900, 5);
    CHECK(more >= 60);
    pool_end(&p);
}

/* ---- Reading many ---------------------------------------------------------------------------- */

static void test_read_many(void)
{
    struct pool p;
    static uint8_t buf[5][CM_BLOCK_SIZE];
    cm_miss m[5];
    cm_read_vec v[5];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(put_tail(f, 50, 100, 5), 0);
    const uint64_t at[5] = { 0, 2 * BLK, 50 * BLK, 70 * BLK, OFFSET_LIMIT };
    for (unsigned i = 0; i < 5; i++)
        v[i] = (cm_read_vec){ at[i], buf[i], BLK, 99, i == 1 ? NULL : &m[i] };
    CHECK_EQ(cm_read_many(f, v, 5), 2);
    CHECK(v[0].result == (int64_t)BLK && is_content(5, 0, buf[0], BLK));
    CHECK(v[1].result == (int64_t)BLK && is_content(5, 2, buf[1], BLK));
    CHECK_EQ(v[2].result, 100);
    CHECK_EQ(m[2].offset, 50 * BLK);
    CHECK_EQ(v[3].result, 0);
    CHECK_EQ(m[3].offset, 70 * BLK);
    CHECK_EQ(v[4].result, CM_ERANGE);
    CHECK_EQ(cm_fill(f, &m[3], buf[0], BLK, 0), 0);
    pool_end(&p);
}

/* All or nothing, and what is nothing is not counted. */
static void test_read_whole(void)
{
    struct pool p;
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK + 100, 1, 0);
    cm_file *unknown = attach_v(&p, 2, NULL, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(put_tail(f, 10, 100, 5), 0);
    CHECK_EQ(put_tail(unknown, 0, 100, 5), 0);
    int64_t missed = STAT(p.c, miss_blocks), hit = STAT(p.c, hit_blocks);
    CHECK_EQ(cm_read_whole(f, 0, buf, 3 * BLK), 3 * BLK);
    CHECK(is_content(5, 0, buf, BLK) && is_content(5, 2, buf + 2 * BLK, BLK));
    CHECK_EQ(cm_read_whole(f, BLK + 7, buf, 9), 9);
    CHECK_EQ(cm_read_whole(f, 10 * BLK, buf, BLK), 100); /* the end of the file */
    CHECK_EQ(cm_read_whole(f, 11 * BLK, buf, BLK), 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, 0), 0);
    CHECK_EQ(STAT(p.c, hit_blocks), hit + 5);
    CHECK_EQ(cm_read_whole(f, 2 * BLK, buf, 2 * BLK), CM_EABSENT);
    CHECK_EQ(cm_read_whole(f, 5 * BLK, buf, BLK), CM_EABSENT);
    CHECK_EQ(cm_read_whole(f, 9 * BLK, buf, 8 * BLK), CM_EABSENT);
    CHECK_EQ(cm_read_whole(unknown, 0, buf, BLK), CM_EABSENT); /* may have grown */
    CHECK_EQ(cm_read_whole(unknown, 0, buf, 100), 100);
    CHECK_EQ(cm_read_whole(f, OFFSET_LIMIT, buf, BLK), CM_ERANGE);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK), CM_EABSENT);
    CHECK_EQ(STAT(p.c, hit_blocks), hit + 6);
    CHECK_EQ(STAT(p.c, miss_blocks), missed);
    pool_end(&p);
}

/* ---- Counters -------------------------------------------------------------------------------- */

/* Anybody may write to the page: what cannot be is not known. */
static void test_stats_damaged(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    pool_down(&p);
    struct cm_stats_head *h = (struct cm_stats_head *)(void *)(p.base + CM_STATS_OFFSET);
    const uint64_t words[4] = { 1000001, 1000002, UINT64_MAX, UINT64_C(1) << 63 };
    for (unsigned i = 0; i < 4; i++)
        h->curve_hits[i] = words[i];
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    cm_stats_data s = pool_stats(p.c);
    CHECK_EQ(s.curve_hits[0], 1000000);
    for (unsigned i = 1; i < CM_CURVE_POINTS; i++)
        CHECK(s.curve_hits[i] == CM_CURVE_UNKNOWN);
    pool_end(&p);
}

static void test_stats(void)
{
    struct pool p;
    uint8_t buf[8 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 9000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 4, 5), 4);
    cm_stats_data s = pool_stats(p.c);
    CHECK_EQ(s.fill_blocks, 4);
    CHECK_EQ(s.fill_bytes, 4 * BLK);
    CHECK_EQ(s.miss_blocks, 4);
    CHECK_EQ(s.miss_absent, 4);
    CHECK_EQ(s.attach_new, 1);
    CHECK(s.pool_bytes >= 4 * BLK && s.pool_bytes < 5 * BLK);
    CHECK_EQ(cm_read(f, 0, buf, 4 * BLK, NULL), 4 * BLK);
    CHECK_EQ(cm_read(f, 10, buf, 20, NULL), 20);
    CHECK_EQ(cm_read(f, BLK, buf, 6 * BLK, NULL), 3 * BLK);
    s = pool_stats(p.c);
    CHECK_EQ(s.hit_blocks, 4 + 1 + 3);
    CHECK_EQ(s.hit_bytes, 4 * BLK + 20 + 3 * BLK);
    CHECK_EQ(s.miss_blocks, 4 + 3);
    CHECK_EQ(s.miss_absent, 4 + 3);
    cm_bracket w = begin_write(f, 0, 2 * BLK);
    CHECK_EQ(put(f, 0, 5), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_invalidate(f, 2 * BLK, 1), 0);
    s = pool_stats(p.c);
    CHECK_EQ(s.brackets, 2);
    CHECK_EQ(s.forgotten, 3);
    CHECK_EQ(s.refused_stale, 1);
    uint64_t inc = s.incarnations;
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(pool_stats(p.c).incarnations, inc + 1);
    cm_validator v = val(9000 * BLK, 2);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    (void)put_all(f, 0, 10, 5);
    detach(f);
    f = attach(&p, 1, 9000 * BLK, 2, 0);
    CHECK_EQ(pool_stats(p.c).attach_kept, 1);
    for (unsigned round = 0; round < 4; round++)
        for (uint64_t b = 0; b < 300; b++)
            (void)put(f, b + 1000 * round, 5);
    s = pool_stats(p.c);
    CHECK(s.evicted > 300);
    CHECK_EQ(s.miss_checksum + s.miss_media + s.miss_mode + s.quarantined + s.escalations, 0);
    /* All causes together are all misses. */
    CHECK_EQ(s.miss_blocks, s.miss_absent + s.miss_short + s.miss_conflict + s.miss_checksum +
                                s.miss_media + s.miss_mode);
    pool_end(&p);
}

static uint64_t sum_of(const uint64_t *h)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < CM_LATENCY_BUCKETS; i++)
        n += h[i];
    return n;
}

static int64_t slow_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset;
    sleep_ms(3);
    memset(buf, 0, len);
    return (int64_t)len;
}

static void test_latency(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    for (unsigned i = 0; i < 640; i++)
        CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), BLK);
    for (uint64_t b = 50; b > 40; b -= 2)
        CHECK_EQ(cm_read_through(f, b * BLK, buf, BLK, slow_origin, NULL), BLK);
    cm_stats_data s = pool_stats(p.c);
    CHECK_EQ(sum_of(s.hit_latency), 10);   /* one in 64 */
    CHECK_EQ(sum_of(s.origin_latency), 5); /* every one */
    for (unsigned i = 0; i < 21; i++)
        CHECK_EQ(s.origin_latency[i], 0); /* 3 ms are 2^21.5 ns */
    CHECK_EQ(s.origin_reads, 5);
    CHECK_EQ(s.origin_bytes, 5 * BLK);
    pool_end(&p);
}

/* Counters are of the session; the wear is of the pool's life. */
static void test_lifetime(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t wear = 0;
    for (unsigned round = 0; round < 4; round++) {
        cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(STAT(p.c, fill_blocks), 0);
        CHECK_EQ(put_all(f, 30 * round, 30, 5), 30);
        cm_stats_data s = pool_stats(p.c);
        CHECK(s.lifetime_pool_bytes >= wear + 30 * BLK);
        CHECK(s.lifetime_pool_bytes >= wear + s.pool_bytes); /* exactly: test_wear */
        CHECK(s.opened_at_ns > UINT64_C(1500000000) * 1000000000);
        wear = s.lifetime_pool_bytes;
        if (round % 2)
            pool_again(&p);
        else {
            pool_crash(&p);
            (void)pool_up(&p);
        }
    }
    pool_end(&p);
}

static void stats_body(void *arg)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    CHECK_EQ(cm_pool_stats(arg, &s), 0);
    CHECK_EQ(s.fill_blocks, 25);
}

static void test_stats_from_outside(void)
{
    const char *path = make_pool("stats", MIB, 0);
    struct pool p = { 0 };
    p.c = open_pool(path, 0);
    REQUIRE(p.c != NULL);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 25, 5), 25);
    in_child(stats_body, (void *)(uintptr_t)path);
    CHECK_EQ(cm_close(p.c), 0);
    stats_body((void *)(uintptr_t)path); /* and after the owner is gone */
    (void)unlink(path);
}

/* ---- What a pool says about itself ----------------------------------------------------------- */

static void check_info(const cm_info *i, uint64_t size)
{
    struct cm_geometry g;
    CHECK_EQ(cm_format_plan(size, 0, &g), 0);
    CHECK_EQ(i->struct_size, sizeof(*i));
    CHECK_EQ(i->version, CM_FORMAT_VERSION);
    CHECK_EQ(i->size, size);
    CHECK_EQ(i->slots, g.slots);
    CHECK_EQ(i->max_files, g.record_buckets * CM_RECORD_WAYS / 9 * 8);
    CHECK_EQ(i->metadata_bytes, size - g.slots * BLK);
    CHECK_EQ(i->superblocks_damaged, 0);
    CHECK_EQ(i->emptied, 0);
    CHECK_EQ(i->mode, CM_NORMAL);
    CHECK(i->epoch >= 1);
    CHECK(strlen(i->flush) > 0 && strlen(i->copy) > 0);
    CHECK(i->durability == CM_DURABILITY_VOLATILE || i->durability == CM_DURABILITY_PAGECACHE);
    CHECK(strcmp(i->flush, "none") == 0);
}

static void test_info(void)
{
    const char *path = make_pool("info", 3 * MIB, 0);
    struct pool p = { 0 };
    cm_info i = { .struct_size = sizeof(i) }, j;
    CHECK_EQ(cm_pool_info(path, &i), 0);
    check_info(&i, 3 * MIB);
    CHECK(i.clean == 1 && i.owned == 0);
    p.c = open_pool(path, 0);
    REQUIRE(p.c != NULL);
    j = pool_info(p.c);
    check_info(&j, 3 * MIB);
    CHECK(memcmp(i.uuid, j.uuid, 16) == 0);
    CHECK(j.clean == 0 && j.owned == 1);
    CHECK_EQ(j.owner_pid, cm_plat_pid());
    CHECK_EQ(j.used_slots, 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 25, 5), 25);
    CHECK(pool_info(p.c).used_slots >= 25);
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK(i.clean == 0 && i.owned == 1);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK(i.clean == 1 && i.owned == 0);
    CHECK(i.used_slots >= 25);
    (void)unlink(path);
}

static void test_info_dax(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("no flush instruction in this build");
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    p.o.flags = CM_OPEN_REQUIRE_DAX;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).durability, CM_DURABILITY_DAX);
    CHECK(strcmp(pool_info(p.c).flush, "none") != 0);
    pool_end(&p);
}

/* ---- Memory and time ------------------------------------------------------------------------- */

static uint64_t allocated;
static void *counting_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    allocated += bytes;
    return map_bytes(bytes);
}
static void counting_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    allocated -= bytes;
    unmap_bytes(p, bytes);
}

/* At most 12 bytes of DRAM a slot, as it says, and as it allocates. */
static void check_dram(uint64_t size)
{
    const char *path = make_pool("dram", size, CM_CREATE_SPARSE);
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = 0;
    cm_cache *c = NULL;
    cm_info i = { .struct_size = sizeof(i) };
    o.alloc = counting_alloc;
    o.free = counting_free;
    allocated = 0;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    REQUIRE(c != NULL);
    CHECK_EQ(cm_get_info(c, &i), 0);
    CHECK(i.dram_bytes <= 12 * i.slots);
    CHECK(allocated <= i.dram_bytes + 4096 && allocated + 4096 >= i.dram_bytes);
    printf("# %llu MiB: %.2f bytes of DRAM a slot\n", (unsigned long long)(size / MIB),
           (double)i.dram_bytes / (double)i.slots);
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(allocated, 0); /* all of it is given back */
    (void)unlink(path);
}

static void test_dram(void)
{
    check_dram(GIB);
    check_dram(GIB + 5 * BLK);
    check_dram(large_pool() / 32 + GIB);
    check_dram(large_pool());
}

/* Nothing leaks on the ways out either. */
static void test_no_leaks(void)
{
    struct pool p;
    cm_cache *c = NULL;
    pool_make(&p, MIB, 0);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    struct cm_super sb = *super_at(&p, 0);
    memset(p.base, 0, 8192);
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &c), CM_ENOTPOOL);
    CHECK_EQ(allocated, 0);
    *super_at(&p, 0) = sb;
    REQUIRE(pool_up(&p) == 0);
    for (unsigned i = 0; i < 300; i++) {
        cm_file *f = attach(&p, 1 + i, 100 * BLK, 1, 0);
        cm_bracket w = begin_write(f, 0, 1);
        (void)begin_write(f, 0, 1);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_file_abort(f), 0);
        uint8_t buf[100];
        CHECK_EQ(cm_read_through(f, 1, buf, 100, slow_origin, NULL), 100);
    }
    pool_down(&p);
    CHECK_EQ(allocated, 0);
    pool_end(&p);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

#define OPENS 61

static uint64_t time_open(const char *path)
{
    cm_cache *c = NULL;
    uint64_t start = cm_now();
    int e = cm_open(path, NULL, &c);
    uint64_t took = cm_now() - start;
    CHECK_EQ(e, 0);
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return took;
}

/* Opening a large pool takes what opening 1 GiB takes. */
static void test_open_time(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator takes time for each page that is mapped");
    uint64_t small[OPENS], large[OPENS];
    char small_path[512], large_path[512];
    (void)snprintf(small_path, sizeof(small_path), "%s", make_pool("small", GIB, CM_CREATE_SPARSE));
    (void)snprintf(large_path, sizeof(large_path), "%s",
                   make_pool("large", large_pool(), CM_CREATE_SPARSE));
    for (unsigned i = 0; i < OPENS; i++) {
        small[i] = time_open(small_path);
        large[i] = time_open(large_path);
    }
    qsort(small, OPENS, sizeof(*small), by_value);
    qsort(large, OPENS, sizeof(*large), by_value);
    /* The quick ones: a busy machine makes the others as slow as it likes. */
    double ratio = (double)large[OPENS / 8] / (double)small[OPENS / 8];
    printf("# open: 1 GiB %llu us, %llu GiB %llu us, ratio %.2f\n",
           (unsigned long long)small[OPENS / 8] / 1000, (unsigned long long)(large_pool() / GIB),
           (unsigned long long)large[OPENS / 8] / 1000, ratio);
    CHECK(ratio <= 2.0);
    (void)unlink(small_path);
    (void)unlink(large_path);
}

static void *no_alloc(void *ctx, size_t bytes)
{
    (void)ctx, (void)bytes;
    return NULL;
}

/* Whether a bracket's memory is in the file or not, it may end in any order, by an abort, or not
 * begin at all. */
static void test_bracket_memory(void)
{
    static const unsigned order[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                         { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    uint64_t before = allocated;
    for (unsigned i = 0; i < 6; i++) {
        cm_bracket w[3];
        for (unsigned k = 0; k < 3; k++)
            w[k] = begin_write(f, k * BLK, BLK);
        CHECK(allocated > before);
        for (unsigned k = 0; k < 3; k++) {
            CHECK(cm_write_end(f, &w[order[i][k]], NULL) >= 0);
            CHECK_EQ(cm_write_end(f, &w[order[i][k]], NULL), CM_EBRACKET);
        }
        CHECK_EQ(allocated, before);
    }
    cm_bracket old = begin_write(f, 0, 1);
    (void)begin_write(f, 0, 1);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(allocated, before);
    CHECK_EQ(cm_write_end(f, &old, NULL), CM_EBRACKET);
    cm_bracket w = begin_write(f, 0, 1), none;
    CHECK_EQ(allocated, before); /* the abort gave the room in the file back, too */
    p.c->opts.alloc = no_alloc;
    CHECK_EQ(cm_write_begin(f, 0, 1, &none), CM_ENOMEM);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    w = begin_write(f, 0, 1);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->opts.alloc = counting_alloc;
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(codes),
    TEST(constants),
    TEST(origin_error),
    TEST(null_handles),
    TEST(closed_file),
    TEST(closed_long_ago),
    TEST(last_generation),
    TEST(high_memory),
    TEST(closed_cache),
    TEST(null_arguments),
    TEST(null_paths),
    TEST(flags),
    TEST(validators),
    TEST(ranges),
    TEST(last_block),
    TEST(option_sizes),
    TEST(create_option_sizes),
    TEST(result_sizes),
    TEST(bracket_misuse),
    TEST(close_busy),
    TEST(memory_alignment),
    TEST(format_again),
#ifndef _WIN32
    TEST(fork),
    TEST(fork_without_guard),
    TEST(fork_file),
#endif
    TEST(callbacks),
    TEST(nested_callbacks),
    TEST(owned),
    TEST(owner_dies),
    TEST(create),
    TEST(open_refused),
    TEST(cut_off_while_open),
    TEST(cut_off_unnoticed),
    TEST(cut_off_and_back),
    TEST(deleted_while_open),
    TEST(reopen_file),
    TEST(readonly),
    TEST(modes),
    TEST(rate_limit),
    TEST(read_many),
    TEST(read_whole),
    TEST(stats),
    TEST(stats_damaged),
    TEST(latency),
    TEST(lifetime),
    TEST(stats_from_outside),
    TEST(info),
    TEST(info_dax),
    TEST(dram),
    TEST(no_leaks),
    TEST(bracket_memory),
    TEST(open_time),
};

/* A directory of our own, best where files are memory: sparse pools of a terabyte cost nothing. */
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
#endif

int main(int argc, char **argv)
{
#ifdef _WIN32
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return run_child(argv[2], argv[3]);
#endif
    if (!make_dir())
        return 1;
    int rc = HARNESS_MAIN(tests, argc, argv);
    if (!os_remove_dir(dir)) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
