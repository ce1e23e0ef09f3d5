/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_ttl.c - files with a time to live.
 */
#include "file_common.h"
#include "flight_common.h"

#include "api/read_range.h"
#include "media/file_table.h"

#define HOUR (UINT64_C(3600) * 1000000000)

/* As if the file's time were over. */
static void outlive(cm_file *f)
{
    at_store_relaxed(&cm_object_of(f)->expires_ns, cm_plat_wall_ns() - 1);
}

static bool served_many(cm_file *f, uint64_t block)
{
    uint8_t buf[CM_BLOCK_SIZE];
    cm_read_vec v = { .offset = block * BLK, .buf = buf, .len = BLK };
    return cm_read_many(f, &v, 1) == 1;
}

static bool pinned(cm_file *f, uint64_t block)
{
    cm_iovec iov;
    cm_pins pins;
    int n;
    int64_t got = cm_pin_range(f, block * BLK, BLK, &iov, 1, &n, &pins, NULL);
    if (got > 0)
        CHECK_EQ(cm_unpin(&pins), 0);
    return got > 0;
}

static void expect_served(cm_file *f, bool served)
{
    uint8_t buf[CM_BLOCK_SIZE];
    CHECK_EQ(hits(f, 0, 10, 1), served ? 10 : 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, 0), served ? (int64_t)BLK : CM_EABSENT);
    CHECK_EQ(served_many(f, 3), served);
    CHECK_EQ(pinned(f, 3), served);
    if (!served) {
        CHECK(miss_of(f, 0, BLK).flags & CM_MISS_NOFILL);
        CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_STALE);
    }
}
#define expect_served(...) CALL(expect_served(__VA_ARGS__)) /* its checks say who called */

static bool before_1970; /* says the clock */
static int64_t set_back; /* by so much */
int64_t __real_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void)
{
    return before_1970 ? -5 : __real_cm_plat_wall_ns() - set_back;
}

/* A time that does not fit ends never, by any clock. */
static void test_longest_ttl(void)
{
    for (unsigned early = 0; early < 2; early++) {
        CASE("early %u", early);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        before_1970 = early;
        CHECK_EQ(cm_file_set_ttl(f, UINT64_MAX), 0);
        CHECK_EQ(info_of(f).expires_ns, INT64_MAX);
        CHECK_EQ(cm_file_set_ttl(f, (uint64_t)INT64_MAX + 4), 0);
        CHECK_EQ(info_of(f).expires_ns, INT64_MAX);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
        before_1970 = false;
        pool_end(&p);
    }
}

/* What outlived its time is not served and not stored until a validator is accepted. */
static void test_ttl(void)
{
    for (unsigned how = 0; how < 4; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).expires_ns, 0);
        const int64_t before = cm_plat_wall_ns();
        CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
        const int64_t expires = info_of(f).expires_ns;
        CHECK(expires >= before + (int64_t)HOUR && expires <= cm_plat_wall_ns() + (int64_t)HOUR);
        expect_served(f, true);
        outlive(f);
        expect_served(f, false);
        cm_bracket w;
        v = val(100 * BLK, how == 1 ? 8 : 7);
        if (how < 2)
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
        if (how == 2)
            detach(attach_v(&p, 1, &v, CM_SOLE_WRITER));
        if (how == 3) {
            w = begin_write(f, 20 * BLK, BLK);
            v = val(100 * BLK, 8);
            CHECK_EQ(cm_write_end(f, &w, &v), 0);
        }
        CHECK(info_of(f).expires_ns >= expires); /* the time begins again */
        if (how == 1)
            CHECK_EQ(put_all(f, 0, 10, 1), 10); /* another version: nothing of the old one */
        expect_served(f, true);
        outlive(f);
        CHECK_EQ(cm_file_set_ttl(f, 0), 0);
        expect_served(f, true);
        CHECK_EQ(info_of(f).expires_ns, 0);
        pool_end(&p);
    }
}

/* The shortest and the longest times. */
static void test_ttl_bounds(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    while (cm_plat_wall_ns() < info_of(f).expires_ns)
        ;
    expect_served(f, false);
    CHECK_EQ(cm_file_set_ttl(f, UINT64_MAX), 0);
    CHECK_EQ(info_of(f).expires_ns, INT64_MAX);
    expect_served(f, true);
    CHECK_EQ(cm_file_set_ttl(NULL, 1), CM_EHANDLE);
    pool_end(&p);
}

/* A later session can ask for the end; it ends nothing by itself: a validator was accepted. */
static void test_ttl_recorded(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_info i = { .struct_size = sizeof(i) };
    cm_file_id id = id_of(1);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    const int64_t expires = info_of(f).expires_ns;
    const uint64_t place = cm_object_of(f)->place;
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &i), 0);
    CHECK_EQ(i.expires_ns, expires / 1000000000 * 1000000000); /* earlier rather than later */
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).expires_ns, 0);
    expect_served(f, true);
    detach(f);
    record_of(p.c, place)->expires ^= UINT64_C(1) << 40; /* damaged: not known */
    i.struct_size = sizeof(i);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &i), 0);
    CHECK_EQ(i.expires_ns, 0);
    pool_end(&p);
}

static int64_t recorded_end(struct pool *p)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    const cm_file_id id = id_of(1);
    pool_crash(p);
    CHECK_EQ(pool_up(p), 0);
    CHECK_EQ(cm_file_lookup(p->c, &id, NULL, &i), 0);
    return i.expires_ns;
}

/* A recorded end belongs to one version, also if its validator changes. A process that is killed
 * before it gives another version its time leaves none. While the time runs, it follows the file.
 */
static void test_ttl_of_version(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    CHECK(recorded_end(&p) != 0);
    v = val(100 * BLK, 8); /* another version */
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(recorded_end(&p), 0);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    CHECK(recorded_end(&p) != 0);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 0, BLK);
    v = val(100 * BLK, 9); /* an own write; its validator is adopted, and the end stays */
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK(recorded_end(&p) != 0);
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
        if (how == 0) {
            v = val(100 * BLK, 10);
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
        } else if (how == 1) {
            CHECK_EQ(cm_file_abort(f), 0); /* another version, without a validator */
        } else {
            w = begin_write(f, 0, BLK);
            v = val(100 * BLK, 11);
            CHECK_EQ(cm_write_end(f, &w, &v), 0);
        }
        CHECK(recorded_end(&p) != 0);
    }
    pool_end(&p);
}

/* The wall clock is set back: the time is over when it would have been. */
static void test_ttl_set_back(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    set_back = 10 * (int64_t)HOUR;
    expect_served(f, true);
    CHECK(info_of(f).expires_ns <= cm_plat_wall_ns() + (int64_t)HOUR);
    CHECK(info_of(f).expires_ns > cm_plat_wall_ns());
    set_back = 0;
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    set_back = 10 * (int64_t)HOUR;
    for (const uint64_t now = cm_plat_now_ns(); cm_plat_now_ns() <= now + 1;)
        ;
    expect_served(f, false);
    CHECK(info_of(f).expires_ns <= cm_plat_wall_ns());
    CHECK_EQ(cm_file_set_ttl(f, UINT64_MAX), 0); /* never */
    CHECK_EQ(info_of(f).expires_ns, INT64_MAX);
    expect_served(f, true);
    set_back = 0;
    pool_end(&p);
}

/* ... and later sessions know it, too, if the file was closed, the pool was, or was checkpointed,
 * or the file got another version. */
static void test_ttl_set_back_recorded(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_info i = { .struct_size = sizeof(i) };
    const cm_file_id id = id_of(1);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    for (unsigned how = 0; how < 4; how++) {
        CASE("how %u", how);
        CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
        set_back = 10 * (int64_t)HOUR;
        if (how == 0)
            detach(f);
        else if (how == 1)
            CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP); /* it is in memory */
        else if (how == 2)
            CHECK_EQ(cm_file_abort(f), 0);
        if (how < 3)
            pool_crash(&p);
        else
            pool_down(&p);
        CHECK_EQ(pool_up(&p), 0);
        CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &i), 0);
        CHECK(i.expires_ns <= cm_plat_wall_ns() + (int64_t)HOUR);
        CHECK(i.expires_ns > cm_plat_wall_ns());
        set_back = 0;
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    }
    pool_end(&p);
}

/* The clock is right again: so is the end, here and then in the record, although a checkpoint came
 * in between. */
static void test_ttl_set_back_and_right(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    const int64_t end = info_of(f).expires_ns;
    set_back = 10 * (int64_t)HOUR;
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP); /* it is in memory */
    set_back = 0;
    expect_served(f, true);
    CHECK_EQ(info_of(f).expires_ns, end);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    const int64_t recorded = recorded_end(&p);
    CHECK(recorded <= end && recorded > end - 3 * (int64_t)1000000000);
    pool_end(&p);
}

/* When the time is over, nobody knows the size, nor which version the origin has. */
static void test_ttl_origin_decides(void)
{
    struct pool p;
    static uint8_t buf[40 * CM_BLOCK_SIZE];
    cm_validator v = val(10000, 7);
    cm_miss m;
    struct origin o = make_origin(25 * BLK + 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, 0);
    const uint64_t before = info_of(f).incarnation;
    CHECK_EQ(cm_read_through(f, 0, buf, sizeof(buf), origin_read, &o), 10000);
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    for (unsigned i = 0; i < 2; i++) { /* from the beginning, and behind the old end */
        const uint64_t at = i * 20 * BLK, len = o.size - at;
        uint64_t version = 0;
        CASE("i %u", i);
        CHECK_EQ(cm_read_through_version(f, at, buf, sizeof(buf), &version, origin_read, &o), len);
        CHECK(is_range(&o, at, buf, len));
        CHECK_EQ(version, 0);
        version = before;
        CHECK_EQ(cm_read_through_version(f, at, buf, BLK, &version, origin_read, &o), CM_EMOVED);
        CHECK_EQ(cm_read(f, at, buf, BLK, &m), 0);
        CHECK(m.len == BLK && m.flags == CM_MISS_NOFILL);
    }
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0); /* the old one is served on, with its size */
    CHECK_EQ(cm_read_through(f, 2 * BLK, buf, sizeof(buf), origin_read, &o), 10000 - 2 * BLK);
    CHECK(cm_drop(f, 0, CM_ALL) >= 10000);
    CHECK_EQ(cm_read_through(f, 0, buf, sizeof(buf), origin_read, &o), 10000);
    /* A miss from before the end may not be filled after it. */
    (void)cm_drop(f, 0, CM_ALL);
    CHECK_EQ(cm_read(f, 0, buf, BLK, &m), 0);
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    CHECK_EQ(cm_fill(f, &m, buf, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(cm_file_set_ttl(f, 0), 0);
    CHECK_EQ(cm_drop(f, 0, CM_ALL), 0);
    pool_end(&p);
}

/* The time ends while the origin is read. */
static void expire(void *f)
{
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
}

static void test_ttl_ends_meanwhile(void)
{
    struct pool p;
    static uint8_t buf[10 * CM_BLOCK_SIZE];
    struct origin o = make_origin(100 * BLK);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, o.size, 7, 0);
    CHECK_EQ(put_all(f, 0, 5, o.tag), 5);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    cm_request r = CM_REQUEST_INIT;
    cm_piece piece;
    r.buf = buf;
    r.len = sizeof(buf);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    expire(f);
    o.tag++; /* another version: the cached part does not belong to it */
    do {
        const int64_t n = origin_read(&o, piece.offset, piece.buf, piece.len);
        CHECK_EQ(cm_request_complete(&r, &piece, n), 0);
    } while (cm_request_step(&r, &piece) == CM_REQUEST_READ);
    CHECK_EQ(cm_request_end(&r), 10 * BLK);
    CHECK(is_range(&o, 0, buf, 10 * BLK));
    CHECK_EQ(r.incarnation, 0);
    pool_end(&p);
}

/* A bypassed file stays bypassed, whatever its time. */
static void test_ttl_bypassed(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(cm_file_set_ttl(f, HOUR), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(cm_file_set_ttl(f, 0), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(put(f, 3, 1), CM_NOT_STORED_MODE);
    pool_end(&p);
}

/* A time that no clock will see. */
static void test_longest(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    for (uint64_t ttl = UINT64_MAX; ttl >= INT64_MAX; ttl -= UINT64_MAX / 8) {
        CHECK_EQ(cm_file_set_ttl(f, ttl), 0);
        CHECK_EQ(info_of(f).expires_ns, INT64_MAX);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
    }
    pool_end(&p);
}

const struct harness_test file_ttl_tests[] = {
    TEST(longest),      TEST(longest_ttl),           TEST(ttl),
    TEST(ttl_bounds),   TEST(ttl_recorded),          TEST(ttl_of_version),
    TEST(ttl_set_back), TEST(ttl_set_back_recorded), TEST(ttl_set_back_and_right),
    TEST(ttl_bypassed), TEST(ttl_origin_decides),    TEST(ttl_ends_meanwhile),
    TEST_END,
};
