/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files_ranges.c - which bytes of a file are cached.
 */
#include "files_common.h"

/* ---- Cached ranges --------------------------------------------------------------------------- */

/* Compares the runs from `offset` on with those of a text: "0+2 5+1" in blocks. */
static void expect_runs(cm_file *f, uint64_t offset, const char *want)
{
    cm_range r[16];
    char text[256] = "";
    int64_t n = cm_file_ranges(f, offset, r, 16);
    CHECK(n >= 0);
    for (int64_t i = 0; i < n; i++) {
        const size_t at = strlen(text);
        CHECK(r[i].len > 0);
        (void)snprintf(text + at, sizeof(text) - at, "%s%g+%g", i ? " " : "",
                       (double)r[i].offset / (double)BLK, (double)r[i].len / (double)BLK);
    }
    if (strcmp(text, want) != 0)
        printf("# '%s', not '%s'\n", text, want);
    CHECK(strcmp(text, want) == 0);
}
#define expect_runs(...) CALL(expect_runs(__VA_ARGS__)) /* its checks say who called */

/* A narrow file is looked up block by block; for a wide one the headers are read. Both find the
 * same. */
static void test_ranges(void)
{
    for (unsigned wide = 0; wide < 2; wide++)
        for (unsigned buffer = 0; buffer < 2; buffer++) {
            CASE("wide %u, buffer %u", wide, buffer);
            struct pool p;
            cm_file *f = files_begin(&p, wide, buffer, 101 * BLK - 96);
            cm_file *other = attach(&p, 2, 200 * BLK, 7, 0);
            expect_runs(f, 0, "");
            CHECK_EQ(put_all(other, 0, 40, 2), 40);
            CHECK_EQ(put_all(f, 3, 2, 1), 2);
            CHECK_EQ(put_all(f, 60, 8, 1), 8);
            CHECK_EQ(put(f, 0, 1), 0);
            CHECK_EQ(put_all(f, 5, 1, 1), 1);
            CHECK_EQ(put_tail(f, 100, 4000, 1), 0);
            CHECK_EQ(put_all(other, 70, 2, 2), 2);
            expect_runs(f, 0, "0+1 3+3 60+8 100+0.976562");
            expect_runs(f, BLK, "3+3 60+8 100+0.976562");
            expect_runs(f, 4 * BLK + BLK / 2, "4.5+1.5 60+8 100+0.976562");
            expect_runs(f, 100 * BLK + 4000, "");
            expect_runs(f, 101 * BLK, "");
            CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 12 * BLK + 4000);
            CHECK_EQ(cm_file_cached(f, 4 * BLK + 5, 57 * BLK), 3 * BLK);
            CHECK_EQ(cm_file_cached(f, 6 * BLK, 54 * BLK), 0);
            CHECK_EQ(cm_file_cached(f, 7, 0), 0);
            CHECK_EQ(cm_file_cached(f, UINT64_MAX, 1), CM_ERANGE);
            cm_range few[2];
            CHECK_EQ(cm_file_ranges(f, 0, few, 2), 2);
            CHECK_EQ(few[1].offset, 3 * BLK);
            CHECK_EQ(few[1].len, 3 * BLK);
            CHECK_EQ(cm_file_ranges(f, 0, NULL, 0), 0);
            cm_bracket w = begin_write(f, 61 * BLK, BLK);
            expect_runs(f, 6 * BLK, "60+1 62+6 100+0.976562");
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
            const cm_file_id id = id_of(1);
            CHECK_EQ(cm_forget(p.c, &id), 0);
            expect_runs(f, 0, "");
            CHECK_EQ(cm_object_of(f)->limit, 0); /* nothing behind it needs to be looked for */
            pool_end(&p);
        }
}

/* In a wide file blocks may be anywhere. */
static void test_ranges_far(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_wide(&p, 1);
    uint64_t random = 5, offset = 0, blocks = 0;
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(put(f, 3 + next_random(&random) % FAR, 1), 0);
    CHECK_EQ(put_all(f, FAR + 50, 2, 1), 2);
    for (int64_t n; (n = cm_file_ranges(f, offset, (cm_range[1]){ { 0, 0 } }, 1)) == 1; blocks++) {
        cm_range r;
        CHECK_EQ(cm_file_ranges(f, offset, &r, 1), 1);
        CHECK(r.offset >= offset && slot_of(f, r.offset / BLK) != CM_NO_SLOT);
        offset = r.offset + r.len;
    }
    CHECK_EQ(blocks, 101);
    CHECK_EQ(offset, (FAR + 52) * BLK);
    pool_end(&p);
}

static void *no_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    return NULL;
}

/* The blocks of a wide file are listed in memory: many of them, with a buffer and without one, or
 * some that are all in the buffer. */
static void test_ranges_no_memory(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        const unsigned n = how < 2 ? 40 : 8; /* 40 are more than are looked at together */
        struct pool p;
        cm_range r[4];
        cm_file *f = files_begin(&p, true, how > 0, 0);
        CHECK_EQ(put_all(f, FAR, n, 1), n);
        void *(*const alloc)(void *, size_t) = p.c->opts.alloc;
        p.c->opts.alloc = no_alloc;
        CHECK_EQ(cm_file_ranges(f, 0, r, 4), CM_ENOMEM);
        p.c->opts.alloc = alloc;
        CHECK_EQ(cm_file_ranges(f, 0, r, 4), 1);
        pool_end(&p);
    }
}

static void test_ranges_refused(void)
{
    struct pool p;
    cm_range r;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    expect_runs(f, 0, "0+3");
    CHECK_EQ(cm_file_ranges(f, 0, NULL, 1), CM_EINVAL);
    CHECK_EQ(cm_file_ranges(f, CM_ALL, &r, 1), CM_ERANGE);
    CHECK_EQ(cm_file_ranges(f, (CM_BLOCK_MAX + 1) * BLK - 1, &r, 1), 0);
    CHECK_EQ(cm_file_ranges(NULL, 0, &r, 1), CM_EHANDLE);
    detach(f);
    CHECK_EQ(cm_file_ranges(f, 0, &r, 1), CM_EHANDLE);
    pool_end(&p);
}

const struct harness_test files_ranges_tests[] = {
    TEST(ranges), TEST(ranges_far), TEST(ranges_no_memory), TEST(ranges_refused), TEST_END,
};
