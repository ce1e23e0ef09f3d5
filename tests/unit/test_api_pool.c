/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_pool.c - pools in files: made, refused, lost while they are open, opened read-only.
 */
#include "api_common.h"

#include "../os.h"
#ifndef _WIN32
#include <sys/stat.h>
#endif

/* ---- Files as pools -------------------------------------------------------------------------- */

static int cancel_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    ++*(int *)ctx;
    return 1;
}

static char last_line[512];
static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(last_line, sizeof(last_line), "%s", text);
}

#ifndef _WIN32 /* it says of some that there is no such file */
/* A name that no file system takes, and a path that no system takes: the log says so. */
static void expect_long_refused(const cm_create_options *create)
{
    static char name[10000];
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    o.log = keep_line;
    for (size_t n = 300; n < sizeof(name); n += 9000) {
        CASE("length %zu", n);
        memset(name, 'a', n);
        CHECK_EQ(cm_create(name, create), CM_EINVAL);
        CHECK(strncmp(last_line, "the path of the pool is too long", 32) == 0);
        last_line[0] = 0;
        CHECK_EQ(cm_open(name, &o, &c), CM_EINVAL);
        CHECK(strncmp(last_line, "the path of the pool is too long", 32) == 0);
    }
    last_line[0] = 0;
}
#endif

/* Links that lead in a circle: the create says it as the open does. */
static void test_circle_of_links(void)
{
#ifdef _WIN32
    SKIP("links of POSIX");
#else
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    create.size = MIB;
    create.log = o.log = keep_line;
    char link[600], pool[610];
    (void)snprintf(link, sizeof(link), "%s", path_of("circle"));
    (void)snprintf(pool, sizeof(pool), "%s/pool", link);
    REQUIRE(symlink("circle", link) == 0);
    last_line[0] = 0;
    CHECK_EQ(cm_create(pool, &create), CM_ENOENT);
    CHECK(strstr(last_line, "cannot be made: its path has too many symbolic links") != NULL);
    last_line[0] = 0;
    CHECK_EQ(cm_open(pool, &o, &c), CM_ENOENT);
    CHECK(strstr(last_line, ": its path has too many symbolic links") != NULL);
    CHECK_EQ(unlink(link), 0);
#endif
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
    o.log = keep_line;
    CHECK_EQ(cm_create(path, &o), CM_EEXIST);
    CHECK_EQ(last_line[0], 0);      /* many programs make the pool only if it is not there */
    CHECK_EQ(try_open(path, 0), 0); /* the pool there did not change */
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(cm_create(path_of("no/such/dir"), &o), CM_ENOENT);
    CHECK(strstr(last_line, "no/such/dir: a pool of 1048576 bytes cannot be made: ") != NULL);
#ifndef _WIN32
    CALL(expect_long_refused(&o));
#endif
    o.size = MIB + 1;
    CHECK_EQ(cm_create(path, &o), CM_EPOOLSIZE);
    CHECK(strncmp(last_line, path, strlen(path)) == 0);
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
    CHECK_EQ(cm_create(path, &o), CM_ECANCELED);
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

/* All calls that open a pool must give the same reason. */
static void expect_refused(const char *path, int code)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    CHECK_EQ(try_open(path, 0), code);
    CHECK_EQ(try_open(path, CM_OPEN_READONLY), code);
    CHECK_EQ(cm_pool_info(path, &info), code);
    CHECK_EQ(cm_pool_stats(path, &stats), code);
}

static void test_open_refused(void)
{
    static uint8_t garbage[128 * 1024];
    cm_info info = CM_INFO_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    const char *path = path_of("refused");
    CALL(expect_refused(path_of("absent"), CM_ENOENT));
    CALL(expect_refused(dir, CM_ENOTFILE));
    o.log = keep_line;
    CALL(write_file(path, "", 0));
    CALL(expect_refused(path, CM_ENOTPOOL));
    CHECK_EQ(cm_open(path, &o, &c), CM_ENOTPOOL);
    CHECK(strstr(last_line, "is empty (0 bytes)") &&
          strstr(last_line, "delete it and make it anew"));
    CALL(write_file(path, "short", 5));
    CALL(expect_refused(path, CM_ENOTPOOL));
    memset(garbage, 0x77, sizeof(garbage));
    CALL(write_file(path, garbage, sizeof(garbage)));
    CALL(expect_refused(path, CM_ENOTPOOL));
    memset(garbage, 0, 8192); /* so a kill leaves a pool that was given up */
    for (unsigned zeros = 0; zeros < 2; zeros++) {
        garbage[8191] = zeros ? 0 : 1;
        CALL(write_file(path, garbage, sizeof(garbage)));
        CALL(expect_refused(path, CM_ENOTPOOL));
        CHECK_EQ(cm_open(path, &o, &c), CM_ENOTPOOL);
        CHECK((strstr(last_line, "begins with zeros") != NULL) == (zeros == 1));
        CHECK((strstr(last_line, "delete it and make it anew") != NULL) == (zeros == 1));
    }
    path = make_pool("refused", MIB, 0);
    CHECK_EQ(os_resize(path, MIB + 4096), 0);
    CALL(expect_refused(path, CM_EOVERSIZE));
    CHECK_EQ(cm_pool_info(path, &info), CM_EOVERSIZE);
    CHECK_EQ(info.size, MIB);
    CHECK_EQ(cm_open(path, &o, &c), CM_EOVERSIZE);
    CHECK(strstr(last_line, "cut it to that length, or delete it and make it anew") != NULL);
    CHECK_EQ(os_resize(path, MIB - 4096), 0);
    CALL(expect_refused(path, CM_ETRUNCATED));
    CHECK_EQ(cm_open(path, &o, &c), CM_ETRUNCATED);
    CHECK(strstr(last_line, "put the whole file back, or delete it and make it anew") != NULL);
    CHECK_EQ(os_resize(path, 65536), 0);
    CALL(expect_refused(path, CM_ETRUNCATED));
    CHECK_EQ(os_resize(path, 5000), 0);
    CALL(expect_refused(path, CM_ETRUNCATED));
    CHECK_EQ(os_resize(path, 100), 0);
    CALL(expect_refused(path, CM_ETRUNCATED));
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
    o.probation_bytes = CM_PROBATION_NONE;
    o.log = log_lost;
    o.log_ctx = &said;
    memset(&said, 0, sizeof(said));
    memset(p, 0, sizeof(*p));
    CHECK_EQ(cm_open(path, &o, &p->c), 0);
    return p->c ? attach(p, 1, 100 * BLK, 1, 0) : NULL;
}
#endif

/* The file is cut off while it is open. Then reads are misses, no process dies, the cache reports
 * it at once, and the close does not mark the pool clean. */
static void test_cut_off_while_open(void)
{
#ifdef _WIN32
    SKIP("the system lets nobody cut a mapped file (test_platform: cut_refused)");
#else
    static const uint64_t left[] = { 0, 65536, MIB / 4 };
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        const char *path = make_pool("cut", MIB, 0);
        struct pool p;
        cm_file *f = open_to_lose(path, &p);
        REQUIRE(f != NULL);
        CHECK_EQ(put_all(f, 0, 100, 5), 100);
        CHECK_EQ(os_resize(path, left[i]), 0);
        CHECK(hits(f, 0, 100, 5) < 60);
        CHECK_EQ(said.cut, 1);
        /* The rest may be cut off next, so it does not hit either. */
        CHECK_EQ(hits(f, 0, 100, 5), 0);
        CHECK_EQ(put_all(f, 50, 50, 5), 0);
        cm_bracket w;
        int e = cm_write_begin(f, 0, 10 * BLK, &w);
        CHECK(e == 0 || e == CM_EFORGET);
        if (e == 0)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
        CHECK_EQ(said.cut, 1);
        CALL(expect_refused(path, left[i] ? CM_ETRUNCATED : CM_ENOTPOOL));
        (void)unlink(path);
    }
#endif
}

/* Between the cut and the close no call touched the lost part or asked for the pool's state. */
#ifndef _WIN32
static void cut_off_unnoticed(unsigned ask)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_check_report report = CM_CHECK_REPORT_INIT;
    const char *path = make_pool("cut", MIB, 0);
    struct pool p;
    cm_file *f = open_to_lose(path, &p);
    REQUIRE(f != NULL);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    CHECK_EQ(os_resize(path, MIB - BLK), 0);
    if (ask > 0) {
        if (ask == 1)
            CHECK_EQ(cm_get_info(p.c, &info), 0);
        CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &report), CM_ETRUNCATED);
        CHECK_EQ(said.cut, 1);
        CHECK_EQ(hits(f, 0, 50, 5), 0);
    }
    CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    CHECK_EQ(said.cut, 1);
    /* Extended to its length again it is a pool, but an empty one. */
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
    for (unsigned ask = 0; ask < 3; ask++)
        CALL(cut_off_unnoticed(ask));
#endif
}

/* The file is cut and extended to its length again. The lost part is holes, which read as zeros.
 * After the cut was noticed nothing of it is served. */
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

/* The file is deleted. The session goes on, and the close reports that the pool is gone. */
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
        CASE("round %u", round);
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
    os_protect(p.base, (size_t)p.bytes, OS_READ); /* so that a store fails */
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

/* A damaged record is no file, and its blocks are no file's. The files that are attached are not
 * asked for it: there are none. */
static void test_readonly_damaged_record(void)
{
    struct pool p;
    cm_file_iter *list = NULL;
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_check_report r = { .struct_size = sizeof(r) };
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 20, 5), 20);
    const uint64_t place = cm_object_of(f)->place;
    CHECK_EQ(put(attach(&p, 2, 100 * BLK, 1, 0), 0, 5), 0);
    const uint64_t at = p.c->media.geo.record_offset + place * sizeof(struct cm_record);
    pool_down(&p);
    ((struct cm_record *)(void *)(p.base + at))->proof[0] ^= 1;
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.records, 1);
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &list), 0);
    CHECK_EQ(cm_files_next(list, NULL, &info), 0);
    CHECK_EQ(info.id.lo, id_of(2).lo);
    CHECK_EQ(cm_files_next(list, NULL, &info), CM_EABSENT);
    cm_files_end(list);
    pool_end(&p);
}

/* ---- Many pools at once ---------------------------------------------------------------------- */

#define MANY 200u

static void many_stay_right(struct pool *p, cm_file *const *file)
{
    uint8_t *page;
    for (unsigned i = 0; i < MANY; i++) {
        CASE("pool %u", i);
        CHECK_EQ(look(file[i], 0, i), RIGHT);
    }
    if (!cm_guard_available())
        return;
    page = payload_of(p[MANY - 1].c, slot_of(file[MANY - 1], 0));
    os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(look(file[MANY - 1], 0, MANY - 1), MISS); /* a miss, and the process lives */
    os_protect(page, BLK, OS_WRITE);
    CHECK_EQ(STAT(p[MANY - 1].c, miss_media), 1);
}

/* How many pools with a fault guard can be open depends only on memory. */
static void test_many_pools(void)
{
    static struct pool p[MANY];
    static cm_file *file[MANY];
    cm_info info = { .struct_size = sizeof(info) };
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    for (unsigned i = 0; i < MANY; i++) {
        CASE("pool %u", i);
        REQUIRE(pool_new(&p[i], cm_pool_size_min()) == 0);
        file[i] = attach(&p[i], 1, 10 * BLK, 1, 0);
        CHECK_EQ(put(file[i], 0, i), 0);
    }
    const char *path = make_pool("many", MIB, 0);
    CHECK_EQ(cm_pool_info(path, &info), 0);
    CHECK_EQ(cm_pool_stats(path, &stats), 0);
    CHECK_EQ(try_open(path, 0), 0);
    CHECK_EQ(try_open(path, CM_OPEN_READONLY), 0);
    (void)unlink(path);
    many_stay_right(p, file);
    for (unsigned i = 0; i < MANY; i++)
        pool_end(&p[i]);
}

/* The text of CM_ERANGE fits offsets and groups, and the log says which. */
static void test_too_many_groups(void)
{
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    (void)pool_up(&p);
    p.c->opts.log = keep_line;
    for (uint32_t group = 1; group <= CM_GROUPS_MAX; group++)
        CHECK_EQ(cm_group_set_quota(p.c, group, MIB), 0);
    last_line[0] = 0;
    CHECK_EQ(cm_group_set_quota(p.c, CM_GROUPS_MAX + 1, MIB), CM_ERANGE);
    CHECK(strstr(last_line, "16 groups have a quota") != NULL);
    CHECK(strstr(cm_strerror(CM_ERANGE), "groups with a quota (16)") != NULL);
    pool_end(&p);
}

const struct harness_test api_pool_tests[] = {
    TEST(create),
    TEST(circle_of_links),
    TEST(open_refused),
    TEST(cut_off_while_open),
    TEST(cut_off_unnoticed),
    TEST(cut_off_and_back),
    TEST(deleted_while_open),
    TEST(reopen_file),
    TEST(readonly),
    TEST(readonly_damaged_record),
    TEST(many_pools),
    TEST(too_many_groups),
    TEST_END,
};
