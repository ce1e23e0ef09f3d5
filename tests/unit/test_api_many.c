/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_many.c - cm_read_many: results, elements of other versions, a file that changes.
 */
#include "api_common.h"
#include "api/cache.h"

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
        v[i] = (cm_read_vec){
            .offset = at[i], .buf = buf[i], .len = BLK, .result = 99, .miss = i == 1 ? NULL : &m[i]
        };
    CHECK_EQ(cm_read_many(f, v, 5), 2);
    CHECK(v[0].result == (int64_t)BLK && is_content(5, 0, buf[0], BLK));
    CHECK(v[1].result == (int64_t)BLK && is_content(5, 2, buf[1], BLK));
    CHECK_EQ(v[2].result, 100);
    CHECK_EQ(m[2].offset, 50 * BLK);
    CHECK_EQ(v[3].result, 0);
    CHECK_EQ(m[3].offset, 70 * BLK);
    CHECK_EQ(v[4].result, CM_ERANGE);
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].incarnation, info_of(f).incarnation);
        CHECK(i == 1 || (m[i].incarnation == v[i].incarnation && m[i].struct_size == sizeof(m[i])));
    }
    CHECK_EQ(cm_fill(f, &m[3], buf[0], BLK, 0), 0);
    pool_end(&p);
}

/* The elements of a caller with a newer header are longer. */
static void test_read_many_longer(void)
{
    struct pool p;
    static uint8_t buf[40][CM_BLOCK_SIZE];
    struct {
        cm_read_vec v;
        uint64_t more[3];
    } long_one[40];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 40, 5), 40);
    memset(long_one, 0xee, sizeof(long_one));
    for (unsigned i = 0; i < 40; i++)
        long_one[i].v = (cm_read_vec){
            .struct_size = sizeof(long_one[0]), .offset = i * BLK, .buf = buf[i], .len = BLK
        };
    CHECK_EQ(cm_read_many(f, &long_one[0].v, 40), 40);
    for (unsigned i = 0; i < 40; i++) {
        CASE("i %u", i);
        CHECK(long_one[i].v.result == (int64_t)BLK && is_content(5, i, buf[i], BLK));
        CHECK_EQ(long_one[i].more[0], UINT64_C(0xeeeeeeeeeeeeeeee));
    }
    const uint32_t wrong[] = { 1, 8, sizeof(cm_read_vec) - 8, sizeof(cm_read_vec) + 4, 4104 };
    for (unsigned i = 0; i < 5; i++) {
        CASE("size %u", wrong[i]);
        long_one[0].v.struct_size = wrong[i];
        CHECK_EQ(cm_read_many(f, &long_one[0].v, 1), CM_EINVAL);
    }
    CHECK_EQ(cm_read_many(f, NULL, 0), 0);
    pool_end(&p);
}

/* A routine for hits that changes the file once, between the copies of a call. */
static cm_file *changing;

static int change_and_take(const uint64_t *header, const void *src, void *dst, size_t n,
                           uint64_t w1, uint64_t w2)
{
    if (changing) {
        cm_validator v = val(10 * BLK, 2);
        v.taken_at = later();
        CHECK_EQ(cm_file_revalidate(changing, &v), 0);
    }
    changing = NULL;
    return cm_guard_take_choose()(header, src, dst, n, w1, w2);
}

/* A piece that was copied before the version changed is a miss, and nothing of it is left. */
static void test_read_many_changed(void)
{
    struct pool p;
    uint8_t buf[3 * CM_BLOCK_SIZE];
    cm_read_vec v[3] = { CM_READ_VEC_INIT, CM_READ_VEC_INIT, CM_READ_VEC_INIT };
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(hits(f, 0, 3, 5), 3);
    for (unsigned i = 0; i < 3; i++) {
        v[i].offset = i * BLK;
        v[i].buf = buf + i * BLK;
        v[i].len = BLK;
    }
    memset(buf, 0xee, sizeof(buf));
    p.c->media.take = change_and_take;
    changing = f;
    CHECK_EQ(cm_read_many(f, v, 3), 0);
    CHECK(changing == NULL);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(v[i].result, 0);
    for (size_t i = 0; i < sizeof(buf); i++)
        if (buf[i] != 0 && buf[i] != 0xee) {
            CHECK_EQ(i, SIZE_MAX);
            break;
        }
    pool_end(&p);
}

/* Nothing is served in bypass. */
static void test_read_many_bypass(void)
{
    struct pool p;
    static uint8_t buf[3][CM_BLOCK_SIZE];
    cm_miss m[3];
    cm_read_vec v[3] = { CM_READ_VEC_INIT, CM_READ_VEC_INIT, CM_READ_VEC_INIT };
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(hits(f, 0, 3, 5), 3);
    for (unsigned i = 0; i < 3; i++) {
        v[i].offset = i * BLK;
        v[i].buf = buf[i];
        v[i].len = BLK;
        v[i].miss = &m[i];
    }
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(cm_read_many(f, v, 3), 0);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].result, 0);
        CHECK(m[i].flags & CM_MISS_NOFILL);
        CHECK(buf[i][0] == 0 && memcmp(buf[i], buf[i] + 1, BLK - 1) == 0);
    }
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_read_many(f, v, 3), 3);
    pool_end(&p);
}

const struct harness_test api_many_tests[] = {
    TEST(read_many), TEST(read_many_longer), TEST(read_many_changed), TEST(read_many_bypass),
    TEST_END,
};
