/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_many.c - cm_read_many: results, elements of other versions, a file that changes. And
 * many brackets that are open together.
 */
#include "api_common.h"
#include "../os.h"
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

/* ---- Many brackets --------------------------------------------------------------------------- */

#define OPEN 9u

/* Each bracket has pages of its own, but for the first one, which has room in the file. */
static void *paged_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return map_bytes(bytes);
}
static void paged_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    unmap_bytes(p, bytes);
}

/* So brackets that are neither of the two newest ones nor of the two oldest cannot be touched. */
static void hide_middle(cm_file *f, enum os_access access)
{
    struct cm_object *const o = cm_object_of(f);
    struct cm_open_bracket *middle[OPEN];
    unsigned n = 0;
    static struct cm_open_bracket *hidden[OPEN];
    static unsigned all;
    for (unsigned i = 0; i < all; i++)
        os_protect(hidden[i], sizeof(*hidden[i]), OS_WRITE);
    all = 0;
    for (struct cm_open_bracket *b = o->brackets; b; b = b->next)
        middle[n++] = b;
    for (unsigned i = 2; i + 2 < n && access == OS_NOTHING; i++)
        hidden[all++] = middle[i];
    for (unsigned i = 0; i < all; i++)
        os_protect(hidden[i], sizeof(*hidden[i]), OS_NOTHING);
}

/* To end the newest bracket or the oldest one, or to sync a file with brackets of one region, takes
 * no look at the others. Those between end, too. */
static void test_brackets_in_order(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = paged_alloc;
    p.o.free = paged_free;
    REQUIRE(pool_up(&p) == 0);
    out_of_order(p.c); /* a check would look at all of them */
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    for (unsigned order = 0; order < 4; order++) {
        cm_bracket w[OPEN], none = { UINT64_MAX };
        CASE("order %u", order);
        for (unsigned i = 0; i < OPEN; i++)
            w[i] = begin_write(f, 0, 1);
        for (unsigned i = 0; i < OPEN; i++) {
            cm_sync s;
            /* The oldest, the newest, both in turn, or from the middle to both sides. */
            const unsigned k = order == 0   ? i
                               : order == 1 ? OPEN - 1 - i
                               : order == 2
                                   ? (i % 2 ? OPEN - 1 - i / 2 : i / 2)
                                   : (OPEN / 2 + (i % 2 ? i / 2 + 1 : OPEN - i / 2)) % OPEN;
            hide_middle(f, order < 3 ? OS_NOTHING : OS_WRITE);
            CHECK_EQ(cm_sync_begin(f, &s), 0);
            CHECK(cm_write_end(f, &w[k], NULL) >= 0);
            hide_middle(f, OS_WRITE);
            CHECK_EQ(cm_write_end(f, &w[k], NULL), CM_EBRACKET);
            CHECK_EQ(cm_write_end(f, &none, NULL), CM_EBRACKET);
            CHECK_EQ(cm_object_of(f)->open_brackets, OPEN - 1 - i);
        }
    }
    pool_end(&p);
}

const struct harness_test api_many_tests[] = {
    TEST(read_many),        TEST(read_many_longer),  TEST(read_many_changed),
    TEST(read_many_bypass), TEST(brackets_in_order), TEST_END,
};
