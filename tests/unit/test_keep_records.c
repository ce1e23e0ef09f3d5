/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_keep_records.c - kept files have half of the file table, and others are recorded beside
 * them.
 */
#include "keep_common.h"

#include "count_ops.h"
#include "state/file_record.h"

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
        struct cm_record r = { .id = id_of(id), .incarnation = n + 1 };
        cm_record_load(&p->c->media, &r.id, &b);
        for (unsigned i = 0; i < b.n; i++)
            if (!b.whole[i]) {
                CHECK_EQ(put_kept(p->c, cm_record_place(&b, i), &r), 0);
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

/* ---- The word of a record -------------------------------------------------------------------- */

static bool says(struct cm_record_attr attr, bool keep, uint32_t group)
{
    return attr.keep == keep && attr.group == group;
}

/* Of another place, file or pool, or with a wrong bit: it says nothing. */
static void test_attr_flips(void)
{
    const cm_file_id id = { UINT64_C(0x1122334455667788), 99 };
    const uint64_t key = UINT64_C(0xbb7887b621f2f915);
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        const uint32_t groups[] = { 0, 1, UINT32_MAX };
        const struct cm_record_attr attr = { i & 1, groups[i / 2] };
        const uint64_t word = cm_format_attr_word(key, 13, &id, attr);
        CHECK_EQ(word == 0, i == 0);
        CHECK(says(cm_format_attr(key, 13, &id, word), attr.keep, attr.group));
        for (unsigned bit = 0; bit < 64; bit++) {
            CASE("bit %u", bit);
            const uint64_t one = UINT64_C(1) << bit;
            const cm_file_id hi = { id.hi ^ one, id.lo }, lo = { id.hi, id.lo ^ one };
            CHECK(says(cm_format_attr(key, 13, &id, word ^ one), false, 0));
            CHECK(says(cm_format_attr(key ^ one, 13, &id, word), false, 0));
            CHECK(says(cm_format_attr(key, 13 ^ one, &id, word), false, 0));
            CHECK(says(cm_format_attr(key, 13, &hi, word), false, 0));
            CHECK(says(cm_format_attr(key, 13, &lo, word), false, 0));
        }
    }
}

/* The calls write one word of the record, and nothing that a crash could tear. */
static void test_attr_alone(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_file *f = attach(&p, 1, BLK, 1, 0);
    const struct cm_record *r = record_of(p.c, cm_object_of(f)->place);
    const struct cm_record was = *r;
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_file_set_keep(f, i & 1), 0);
        CHECK_EQ(cm_file_set_group(f, i & 2 ? 7 : 0), 0);
        CHECK_EQ(memcmp(r, &was, offsetof(struct cm_record, words[CM_RECORD_ATTR])), 0);
        CHECK_EQ(info_of(f).keep, i & 1);
        CHECK_EQ(info_of(f).group, i & 2 ? 7 : 0);
        CHECK_EQ(r->words[CM_RECORD_ATTR] == 0, i == 0);
    }
    pool_crash(&p);
    (void)pool_up(&p);
    f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(info_of(f).group, 7);
    detach(f);
    pool_end(&p);
}

/* What was said of a file outlives its versions. It is not the next file's, and the word stays
 * until that file says something; and a file that was forgotten has none. */
static void test_attr_belongs(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    const struct cm_media *m = &p.c->media;
    const struct cm_record_attr kept = { true, 5 }, none = { false, 0 }, group = { false, 6 };
    struct cm_record one = { .id = id_of(1), .incarnation = 10 };
    struct cm_record two = { .id = id_of(2), .incarnation = 20 };
    CHECK(says(cm_record_attr(m, 3, NULL), false, 0));
    CHECK_EQ(put_record_attr(p.c, 3, &one, kept), 0);
    const uint64_t word = record_of(p.c, 3)->words[CM_RECORD_ATTR];
    CHECK(says(cm_record_attr(m, 3, record_of(p.c, 3)), true, 5));
    one.incarnation++;
    CHECK_EQ(put_record_attr(p.c, 3, &one, kept), 0);
    CHECK_EQ(record_of(p.c, 3)->words[CM_RECORD_ATTR], word);
    CHECK_EQ(put_record_attr(p.c, 3, &two, none), 0);
    CHECK(says(cm_record_attr(m, 3, record_of(p.c, 3)), false, 0));
    CHECK_EQ(record_of(p.c, 3)->words[CM_RECORD_ATTR], word);
    CHECK_EQ(put_record_attr(p.c, 3, &one, none), 0);
    CHECK_EQ(record_of(p.c, 3)->words[CM_RECORD_ATTR], 0);
    CHECK_EQ(put_record_attr(p.c, 3, &two, group), 0);
    CHECK(says(cm_record_attr(m, 3, record_of(p.c, 3)), false, 6));
    pool_end(&p);
}

/* The word of a file that comes back cannot be written, or not durably: no body is. */
static void test_attr_unwritable(void)
{
    struct pool p;
    const struct cm_record_attr kept = { true, 5 };
    for (unsigned step = 1; step <= 2; step++) {
        CASE("step %u", step);
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        struct cm_record one = { .id = id_of(1), .incarnation = 10 };
        CHECK_EQ(put_record_attr(p.c, 3, &one, kept), 0);
        one.incarnation++;
        count_begin(&p.c->media, step);
        CHECK_EQ(put_record(p.c, 3, &one), CM_EIO);
        CHECK_EQ(count_end(&p.c->media), step);
        CHECK_EQ(record_of(p.c, 3)->incarnation, 10);
        pool_end(&p);
    }
}

/* A new epoch made the record void. It is written again, so that the word counts beside it. */
static void test_attr_emptied(void)
{
    struct pool p;
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        cm_file *f = attach(&p, 1, BLK, 1, 0);
        CHECK_EQ(cm_file_bump_epoch(p.c), 0);
        CHECK_EQ(i ? cm_file_set_keep(f, 1) : cm_file_set_group(f, 7), 0);
        pool_crash(&p);
        (void)pool_up(&p);
        f = attach(&p, 1, BLK, 1, 0);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).keep, i);
        CHECK_EQ(info_of(f).group, i ? 0 : 7);
        detach(f);
        pool_end(&p);
    }
}

const struct harness_test keep_records_tests[] = {
    TEST(records),      TEST(records_over),    TEST(attr_flips),   TEST(attr_alone),
    TEST(attr_belongs), TEST(attr_unwritable), TEST(attr_emptied), TEST_END,
};
