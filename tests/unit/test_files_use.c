/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files_use.c - how much each file is used, and when it was used last.
 */
#include "files_common.h"

static void expect_about(uint64_t got, uint64_t want)
{
    if (got < want - want / 8 || got > want + want / 8)
        printf("# %llu, not about %llu\n", (unsigned long long)got, (unsigned long long)want);
    CHECK(got >= want - want / 8 && got <= want + want / 8);
}
#define expect_about(...) CALL(expect_about(__VA_ARGS__)) /* its checks say who called */

/* Misses and fills are exact. */
static void test_exact(void)
{
    for (unsigned buffer = 0; buffer < 2; buffer++) {
        CASE("buffer %u", buffer);
        struct pool p;
        uint8_t data[4 * CM_BLOCK_SIZE];
        pool_make(&p, MIB, 0);
        if (buffer)
            p.o.probation_bytes = 64 * BLK;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, 100 * BLK, 7, 0), *g = attach(&p, 2, 100 * BLK, 7, 0);
        CHECK_EQ(put_all(f, 0, 10, 1), 10);
        CHECK_EQ(info_of(f).misses, 10);
        CHECK_EQ(info_of(f).fills, 10);
        cm_miss m;
        CHECK_EQ(cm_read(f, 8 * BLK, data, sizeof(data), &m), 2 * (int64_t)BLK);
        CHECK_EQ(info_of(f).misses, 12);
        const cm_miss old = m;
        CHECK_EQ(cm_fill(f, &m, data, 2 * BLK, 0), 0);
        CHECK_EQ(cm_fill(f, &old, data, 2 * BLK, 0), CM_NOT_STORED_PRESENT);
        CHECK_EQ(info_of(f).fills, 12);
        CHECK_EQ(info_of(g).misses + info_of(g).fills + info_of(g).hits, 0);
        pool_end(&p);
    }
}

/* A read that finds nothing uses the file, too. */
static void test_used_by_misses(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    uint64_t *used = &cm_object_of(f)->used_ns;
    for (unsigned long_read = 0; long_read < 2; long_read++) {
        CASE("long %u", long_read);
        at_store_relaxed(used, 1u);
        (void)miss_of(f, 0, long_read ? 3 * BLK : BLK);
        CHECK(at_load_relaxed(used) > 1);
    }
    pool_end(&p);
}

#define ROUNDS 30000u

static int64_t no_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset, (void)buf, (void)len;
    FAIL("the origin was read");
    return -1001;
}

/* Hits are estimated, whichever call serves them, also for files that are read in turns. */
static void test_hits(void)
{
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f[7];
    for (uint64_t i = 0; i < 7; i++) {
        f[i] = attach(&p, i, 4 * BLK, 7, 0);
        CHECK_EQ(put_all(f[i], 0, 4, i), 4);
        at_store_relaxed(&cm_object_of(f[i])->used_ns, 1u);
    }
    for (unsigned n = 0; n < ROUNDS; n++) {
        cm_read_vec v[2] = { { .offset = 0, .buf = buf, .len = BLK },
                             { .offset = 2 * BLK, .buf = buf, .len = 2 * BLK } };
        cm_iovec iov[4];
        cm_pins pins;
        cm_piece piece;
        cm_request r = CM_REQUEST_INIT;
        int count;
        r.buf = buf;
        r.len = 3 * BLK;
        CHECK_EQ(cm_read(f[0], 100, buf, 100, NULL), 100);
        CHECK_EQ(cm_read_whole(f[1], 0, buf, sizeof(buf), 0), (int64_t)sizeof(buf));
        CHECK_EQ(cm_read_many(f[2], v, 2), 2);
        CHECK_EQ(cm_read_through(f[3], BLK, buf, 2 * BLK, no_origin, NULL), 2 * (int64_t)BLK);
        CHECK(cm_pin_range(f[4], 0, BLK, iov, 4, &count, &pins, NULL) > 0);
        CHECK_EQ(cm_unpin(&pins), 0);
        CHECK_EQ(cm_request_begin(f[5], &r), 0);
        CHECK_EQ(cm_request_step(&r, &piece), 0);
        CHECK_EQ(cm_request_step(&r, &piece), 0); /* still done; it counts once */
        CHECK_EQ(cm_request_end(&r), 3 * BLK);
        CHECK_EQ(cm_read_whole(f[6], 0, buf, 2 * BLK, CM_READ_RESIDENT), 2 * BLK);
    }
    static const unsigned blocks[7] = { 1, 4, 3, 2, 1, 3, 2 };
    for (unsigned i = 0; i < 7; i++) {
        CASE("call %u", i);
        expect_about(info_of(f[i]).hits, (uint64_t)ROUNDS * blocks[i]);
        CHECK_EQ(info_of(f[i]).misses, 4);
        CHECK(at_load_relaxed(&cm_object_of(f[i])->used_ns) > 1);
    }
    pool_end(&p);
}

/* A read that is served in part counts what was served. */
static void test_part(void)
{
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    struct pool p;
    cm_miss m;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 4 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    for (unsigned n = 0; n < ROUNDS; n++)
        CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), &m), 3 * (int64_t)BLK);
    expect_about(info_of(f).hits, ROUNDS * 3);
    CHECK_EQ(info_of(f).misses, ROUNDS + 3);
    pool_end(&p);
}

static cm_file_info lookup(struct pool *p, uint64_t n)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    const cm_file_id id = id_of(n);
    CHECK_EQ(cm_file_lookup(p->c, &id, NULL, &i), 0);
    return i;
}

/* Hits and the time of the last use stay known when the file is closed and when the pool is. */
static void test_recorded(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    const int64_t second = 1000000000, begin = cm_plat_wall_ns() / second * second;
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0), *g = attach(&p, 2, 100 * BLK, 7, 0);
    CHECK(info_of(f).last_used_ns >= begin && info_of(f).last_used_ns <= cm_plat_wall_ns());
    CHECK_EQ(put(f, 0, 1) + put(g, 0, 2), 0);
    for (unsigned n = 0; n < 1000; n++)
        CHECK_EQ(look(f, 0, 1) + look(g, 0, 2), 2 * RIGHT);
    const uint64_t f_hits = info_of(f).hits, g_hits = info_of(g).hits;
    CHECK(f_hits > 0 && g_hits > 0);
    detach(f);
    CHECK_EQ(lookup(&p, 1).hits, f_hits);
    CHECK_EQ(lookup(&p, 1).misses, 0);
    CHECK(lookup(&p, 1).last_used_ns >= begin && lookup(&p, 1).last_used_ns <= cm_plat_wall_ns());
    pool_again(&p);
    CHECK_EQ(lookup(&p, 1).hits, f_hits);
    CHECK_EQ(lookup(&p, 2).hits, g_hits);
    CHECK(lookup(&p, 2).last_used_ns >= begin && lookup(&p, 2).last_used_ns <= cm_plat_wall_ns());
    f = attach(&p, 1, 100 * BLK, 8, 0); /* a new version is the same file */
    CHECK_EQ(info_of(f).hits, f_hits);
    detach(f);
    pool_end(&p);
}

/* What a crash tore is not known, and the next file in the same record inherits nothing. */
static void test_torn(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(put(f, 0, 1), 0);
    for (unsigned n = 0; n < 1000; n++)
        CHECK_EQ(look(f, 0, 1), RIGHT);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    struct cm_record *r = record_of(p.c, place), kept = *r;
    for (unsigned word = CM_RECORD_USED; word <= CM_RECORD_HITS; word++) {
        r->words[word] ^= 1;
        CHECK_EQ(lookup(&p, 1).hits, 0);
        CHECK_EQ(lookup(&p, 1).last_used_ns, 0);
        *r = kept;
    }
    CHECK(lookup(&p, 1).hits > 0);
    struct cm_record next = kept;
    next.id = id_of(2);
    CHECK_EQ(cm_record_drop(&p.c->media, place), 0);
    CHECK_EQ(put_record(p.c, place, &next), 0);
    uint32_t seconds = 0;
    uint64_t hits = 0;
    bool whole;
    CHECK_EQ(cm_record_at(&p.c->media, place, &next, &whole), 0);
    CHECK(whole && !cm_record_use(&p.c->media, place, &next, &seconds, &hits));
    CHECK_EQ(seconds + hits, 0);
    pool_end(&p);
}

const struct harness_test files_use_tests[] = {
    TEST(used_by_misses), TEST(exact), TEST(hits), TEST(part), TEST(recorded), TEST(torn), TEST_END,
};
