/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_keep_records.c - kept files have half of the file table, and others are recorded beside
 * them.
 */
#include "keep_common.h"

#include <inttypes.h>

static unsigned lines; /* of the log, that tell of the file table */

static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    (void)level;
    lines += strstr(text, "max_files") != NULL;
}

/* Attaches files of one block, and closes them again. Returns how many of them were warm. */
static unsigned visit(struct pool *p, uint64_t id, uint64_t end)
{
    unsigned warm = 0;
    for (; id < end; id++) {
        cm_file *f = attach(p, id, BLK, 1, 0);
        warm += info_of(f).kept != 0;
        detach(f);
    }
    return warm;
}

/* Keeps a file or ends that, and closes it. Returns what the call did. */
static int set(struct pool *p, uint64_t id, uint64_t size, int keep)
{
    cm_file *f = attach(p, id, size, 1, 0);
    const int e = cm_file_set_keep(f, keep);
    CHECK(e != 0 || info_of(f).keep == (uint32_t)keep);
    detach(f);
    return e;
}

/* Kept files have half of the file table, whatever their sizes. The table is full before, so that
 * their records lie as those of others did. Others are still recorded: each visit of some that are
 * fewer than the places takes more places of the old ones, until all have one. */
static void test_records(void)
{
    enum { FILES = 400, OTHERS = 1000, FIRST = 5000 };
    struct pool p;
    uint64_t id = 1, kept = 0;
    pool_make(&p, 16 * MIB, FILES);
    pool_seed(&p, 7);
    REQUIRE(pool_up(&p) == 0);
    (void)visit(&p, FIRST, FIRST + 2 * FILES);
    const uint64_t most = pool_info(p.c).max_files / 2;
    for (; id < 2 * FILES; id++) {
        CASE("id %" PRIu64, id);
        const int e = set(&p, id, id % 3 ? BLK : id % 2 ? 0 : CM_SIZE_UNKNOWN, 1);
        CHECK_EQ(e, kept < most ? 0 : CM_EKEEP);
        kept += e == 0;
    }
    CHECK_EQ(pool_info(p.c).kept_files, most);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        for (unsigned n = 0; n < 12; n++)
            (void)visit(&p, OTHERS, OTHERS + most * 3 / 4);
        pool_again(&p);
        CHECK(visit(&p, OTHERS, OTHERS + most * 3 / 4) > most * 3 / 4 * 9 / 10);
        CHECK_EQ(set(&p, 1, BLK, 1), 0); /* it is kept already */
        CHECK_EQ(set(&p, 2 * FILES, BLK, 1), CM_EKEEP);
        CHECK_EQ(pool_info(p.c).kept_files, most);
        CHECK_EQ(STAT(p.c, unrecorded), 0);
    }
    /* One that is let go, or forgotten, gives its place to another one. */
    CHECK_EQ(set(&p, 1, BLK, 0), 0);
    CHECK_EQ(set(&p, 2 * FILES, BLK, 1), 0);
    CHECK_EQ(set(&p, 1, BLK, 1), CM_EKEEP);
    const cm_file_id two = id_of(2);
    CHECK_EQ(cm_forget(p.c, &two), 0);
    CHECK_EQ(set(&p, 1, BLK, 1), 0);
    CHECK_EQ(set(&p, 2, BLK, 1), CM_EKEEP);
    CHECK_EQ(pool_info(p.c).kept_files, most);
    pool_end(&p);
}

/* Fills all records with those of kept files, as an older library could. */
static void fill_table(struct pool *p, uint64_t places)
{
    const cm_file_id one = id_of(1);
    struct cm_record_set b;
    CHECK_EQ(set(p, 1, BLK, 1), 0); /* the pool says that records may say so */
    CHECK_EQ(cm_forget(p->c, &one), 0);
    for (uint64_t id = 1000, n = 0; n < places && id < 9000; id++) {
        struct cm_record r = { .id = id_of(id), .incarnation = n + 1, .flags = CM_RECORD_KEEP };
        cm_record_load(&p->c->media, &r.id, &b);
        for (unsigned i = 0; i < b.n; i++)
            if (!b.whole[i]) {
                CHECK_EQ(put_record(p->c, cm_record_place(&b, i), &r), 0);
                n++;
                break;
            }
    }
    pool_crash(p);
}

/* There are more than may be kept: they stay. Others are not recorded, and the log says so once,
 * until there is room again. */
static void test_records_over(void)
{
    struct pool p;
    struct cm_record_set b;
    const cm_file_id id = id_of(500);
    pool_make(&p, 4 * MIB, 0);
    pool_seed(&p, 7);
    REQUIRE(pool_up(&p) == 0);
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    CALL(fill_table(&p, places));
    p.o.log = keep_line;
    (void)pool_up(&p);
    CHECK_EQ(pool_info(p.c).kept_files, places);
    lines = 0;
    for (uint64_t n = 500; n < 503; n++) {
        CASE("n %" PRIu64, n);
        CHECK_EQ(set(&p, n, BLK, 1), CM_NOT_RECORDED);
        CHECK_EQ(lines, 1);
    }
    CHECK_EQ(STAT(p.c, unrecorded), 3);
    CHECK_EQ(STAT(p.c, records_evicted), 0);
    CHECK_EQ(pool_info(p.c).kept_files, places);
    /* Of the records that it may have one is given back: it gets that, and is not kept. */
    cm_record_load(&p.c->media, &id, &b);
    const cm_file_id gone = b.record[0].id;
    CHECK_EQ(cm_forget(p.c, &gone), 0);
    CHECK_EQ(set(&p, 500, BLK, 1), CM_EKEEP);
    CHECK_EQ(pool_info(p.c).kept_files, places - 1);
    pool_end(&p);
}

const struct harness_test keep_records_tests[] = {
    TEST(records),
    TEST(records_over),
    TEST_END,
};
