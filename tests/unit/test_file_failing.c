/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_failing.c - media that cannot be written: what is then forgotten, and how much.
 */
#include "file_failing.h"

#include "state/file_record.h"

/* ---- Failing media --------------------------------------------------------------------------- */

/* Headers cannot be written: the whole file is forgotten instead, and the call still succeeds. */
static void test_escalate_to_file(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    break_range(&p, p.c->media.geo.header_offset, p.c->media.geo.slot_offset);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->media.ops = &real;
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(look(f, 3, 1), MISS);
    pool_end(&p);
}

/* All places have records, of files that are closed. */
static void fill_table(struct pool *p, const cm_validator *v)
{
    for (uint64_t n = 1; STAT(p->c, records_evicted) == 0; n++) {
        CHECK_EQ(p->c->crowded, CM_SAY_NOTHING);
        detach(attach_v(p, n, v, 0));
    }
    CHECK(p->c->crowded != CM_SAY_NOTHING); /* the log says that there are too many */
}

/* A new file's place holds the record of another file and cannot be written. Nothing of the new
 * file can come back, so nothing else must be forgotten. */
static void test_place_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    fill_table(&p, &v);
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    v = fresh(v);
    cm_file *f = attach_v(&p, 10000, &v, 0);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK_EQ(STAT(p.c, escalations), 0);
    CHECK_EQ(STAT(p.c, unrecorded), 1);
    unsigned open = 0; /* no other file gets the place */
    for (uint64_t at = 0; at < p.c->media.geo.record_buckets * CM_RECORD_WAYS; at++)
        open += cm_file_place_is_open(p.c, at);
    CHECK_EQ(open, 1);
    p.c->media.ops = &real;
    pool_end(&p);
}

/* A file that has no record writes none, and nothing in front of the table of records. */
static void test_no_record_written(void)
{
    enum { IN_FRONT = 4 * sizeof(struct cm_record) };
    uint8_t before[IN_FRONT];
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    fill_table(&p, &v);
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    v = fresh(v);
    cm_file *f = attach_v(&p, 10000, &v, CM_SOLE_WRITER);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    p.c->media.ops = &real;
    memcpy(before, p.base + p.c->media.geo.record_offset - IN_FRONT, IN_FRONT);
    write_and_end(f);
    cm_sync s = sync_begin(f);
    CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
    CHECK_EQ(cm_object_of(f)->regions.intents, 0);
    CHECK(memcmp(before, p.base + p.c->media.geo.record_offset - IN_FRONT, IN_FRONT) == 0);
    pool_end(&p);
}

/* The record cannot be written when the file gets a group, or becomes kept. The old one is not true
 * any more, so the file goes on without one. */
static void test_flags_unwritable(void)
{
    for (unsigned keep = 0; keep < 2; keep++) {
        CASE("keep %u", keep);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file *f = warm_pool(&p, &v, 0);
        CHECK(cm_object_of(f)->place != CM_NO_PLACE);
        break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
        CHECK_EQ(keep ? cm_file_set_keep(f, 1) : cm_file_set_group(f, 5), CM_EIO);
        CHECK_EQ(STAT(p.c, escalations), 1);
        CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
        p.c->media.ops = &real;
        pool_end(&p);
    }
}

static int bad_flush(void *ctx, const void *p, size_t n)
{
    const uint8_t *at = p;
    return at < bad_to && at + n > bad_from ? CM_EIO : real.flush(ctx, p, n);
}

/* The superblock cannot say that there are kept files, or not durably. So none is. */
static void test_keep_unsaid(void)
{
    for (unsigned flush = 0; flush < 2; flush++) {
        CASE("flush %u", flush);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file *f = warm_pool(&p, &v, 0);
        break_range(&p, 0, (uint64_t)CM_SUPER_COPIES * CM_SUPER_STRIDE);
        if (flush) {
            ops = real;
            ops.flush = bad_flush;
        }
        CHECK_EQ(cm_file_set_keep(f, 1), CM_EIO);
        CHECK_EQ(info_of(f).keep, 0);
        p.c->media.ops = &real;
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        CHECK_EQ(info_of(f).keep, 1);
        pool_end(&p);
    }
}

/* The record that this session wrote reads as damaged and cannot be dropped. The media may hold it
 * whole, or may hold the record before it. */
static void test_own_record_damaged(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    cm_file *f = warm_pool(&p, &v, 0);
    record_of(p.c, cm_object_of(f)->place)->proof[0] ^= 1;
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    p.c->media.ops = &real;
    pool_end(&p);
}

/* The pool was emptied while the file was open, and its record cannot be written again when it is
 * closed. Nothing can come back, so nothing else must be forgotten. */
static void test_record_not_restored(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(cm_file_bump_epoch(p.c), 0);
    const uint64_t epoch = pool_info(p.c).epoch;
    const uint64_t place = cm_object_of(f)->place;
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    detach(f);
    CHECK_EQ(pool_info(p.c).epoch, epoch);
    CHECK(!cm_file_place_is_open(p.c, place));
    p.c->media.ops = &real;
    pool_end(&p);
}

/* A second open finds that the file has changed, and nothing can be forgotten. It gives no handle,
 * and leaves nothing open. */
static void test_second_open_fails(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), other = val(100 * BLK, 8);
    const cm_file_id id = id_of(1);
    cm_file *f = warm_pool(&p, &v, 0), *g = NULL;
    break_range(&p, 0, p.c->media.geo.slot_offset);
    other.taken_at = later();
    CHECK_EQ(cm_file_open(p.c, &id, &other, 0, &g), CM_EFORGET);
    CHECK(g == NULL);
    p.c->media.ops = &real;
    detach(f);
    cm_file_info info = CM_FILE_INFO_INIT;
    const int e = cm_file_lookup(p.c, &id, NULL, &info);
    CHECK(e == CM_EABSENT || (e == 0 && !info.attached));
    pool_end(&p);
}

/* Records cannot be written either: the whole pool is forgotten. */
static void test_escalate_to_pool(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0), *g = warm(&p, 2, &v, 0);
    uint64_t epoch = pool_info(p.c).epoch;
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.slot_offset);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 0);
    CHECK(pool_info(p.c).epoch > epoch);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->media.ops = &real;
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    expect_kept(&p, 2, &v, false);
    pool_end(&p);
}

/* Nothing can be written: the caller must not write, and this session serves nothing any more. */
static void test_cannot_forget(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0), *g = warm(&p, 2, &v, 0);
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 0);
    CHECK_EQ(pool_info(p.c).mode, CM_BYPASS);
    CHECK_EQ(cm_invalidate(g, 3 * BLK, BLK), CM_EFORGET);
    CHECK_EQ(cm_close(p.c), CM_EIO);
    p.c = NULL;
    pool_end(&p);
}

/* A sync failed, and that cannot be written down: "do not write" is said, whatever else is wrong.
 */
static void test_cannot_note_failed_sync(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), wrong = v;
    cm_sync s, foreign;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0), *g = warm(&p, 2, &v, 0);
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_begin(g, &foreign), 0);
    break_range(&p, 0, p.bytes);
    wrong.taken_at = 0;
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), CM_EFORGET);
    CHECK_EQ(cm_sync_end(f, &foreign, 0, NULL), CM_EFORGET);
    CHECK_EQ(cm_sync_end(f, NULL, 0, NULL), CM_EFORGET);
    CHECK_EQ(cm_sync_end(f, &s, 0, &wrong), CM_EFORGET);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), CM_EIO); /* readers elsewhere do not hear of it */
    CHECK_EQ(pool_info(p.c).mode, CM_BYPASS);
    CHECK_EQ(cm_close(p.c), CM_EIO);
    p.c = NULL;
    pool_end(&p);
}

/* "Not until the pool is deleted": a second call must not succeed, because a crash still brings
 * back the blocks that could not be forgotten. */
static void test_cannot_forget_twice(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    cm_file *f = warm_pool(&p, &v, 0);
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    int again = cm_write_begin(f, 3 * BLK, BLK, &w);
    CHECK_EQ(again, CM_EFORGET);
    CHECK_EQ(cm_invalidate(f, 3 * BLK, BLK), CM_EFORGET);
    CHECK_EQ(cm_truncate_begin(f, 0, &w), CM_EFORGET);
    CHECK_EQ(cm_file_abort(f), CM_EFORGET);
    p.c->media.ops = &real;
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    if (again == 0) /* the caller wrote block 3: no read may return its old bytes (P2) */
        CHECK(look(f, 3, 1) != RIGHT);
    pool_end(&p);
}

/* Only the superblocks still fail. The file's stripes could be raised, but its mark was lost with
 * its record. So the call keeps failing until the epoch has changed. */
static void test_cannot_forget_yet(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2 = v;
    cm_bracket w;
    cm_file_id other = id_of(2);
    cm_file *g = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    detach(warm(&p, 2, &v2, 0));
    cm_file *f = warm(&p, 1, &v, 0);
    v2 = fresh(v2);
    uint64_t epoch = pool_info(p.c).epoch;
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    p.c->media.ops = &real;
    break_range(&p, 0, CM_SUPER_COPIES * CM_SUPER_STRIDE);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    CHECK_EQ(cm_file_open(p.c, &other, &v2, 0, &g), CM_EFORGET); /* the open keeps no file either */
    p.c->media.ops = &real;
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), 0);
    CHECK(pool_info(p.c).epoch > epoch);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Writing works again at the close, and the close then forgets. */
static void test_cannot_forget_until_close(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    cm_file *f = warm_pool(&p, &v, 0);
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    p.c->media.ops = &real;
    pool_again(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* Only the file's record cannot be written: forgetting the file then empties the pool. */
static void test_forget_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    (void)warm(&p, 1, &v, 0);
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    p.c->media.ops = &real;
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* Something of a file is to be forgotten while records and superblocks cannot be written. Later
 * they can, and a call for another file makes the pool forget all. That does not reach the buffer
 * or a ticket. Nothing of the first file may be used any more. */
enum failing_forget { BY_INVALIDATE, BY_VERSION, BY_FORGET, BY_ABORT, FORGETS };
static int forget_by(enum failing_forget how, struct pool *p, cm_file *f, cm_validator *v)
{
    const cm_file_id id = id_of(1);
    *v = fresh(*v);
    switch (how) {
    case BY_INVALIDATE:
        return cm_invalidate(f, 3 * BLK, BLK);
    case BY_VERSION:
        return cm_file_revalidate(f, v);
    case BY_FORGET:
        return cm_forget(p->c, &id);
    default:
        return cm_file_abort(f);
    }
}

static void test_forgets_after_healing(void)
{
    for (unsigned i = 0; i < 4 * FORGETS; i++) {
        CASE("i %u", i);
        const enum failing_forget how = (enum failing_forget)(i / 4);
        struct pool p;
        cm_validator v = val(100 * BLK, 8);
        uint8_t old[CM_BLOCK_SIZE];
        pool_make(&p, 16 * MIB, 0);
        p.o.probation_bytes = i & 1 ? 0 : CM_PROBATION_NONE;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, 100 * BLK, 7, 0), *h = attach(&p, 8, 10 * BLK, 7, 0);
        CHECK_EQ(put(f, 3, 1), 0);
        const cm_miss ticket = miss_of(f, 4 * BLK, BLK);
        content(1, 4, old);
        break_range(&p, 0, p.c->media.geo.index_offset);
        if (i & 2) /* the cache knows already that it cannot forget */
            CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET);
        CHECK_EQ(forget_by(how, &p, f, &v), CM_EFORGET);
        p.c->media.ops = &real;
        heal_elsewhere(&p);
        if (how == BY_VERSION) {
            v = fresh(v);
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
        }
        CHECK(cm_fill(f, &ticket, old, BLK, 0) > 0);
        CHECK_EQ(look(f, 3, 1), MISS);
        CHECK_EQ(look(f, 4, 1), MISS);
        pool_end(&p);
    }
}

/* Nothing is cached of a file, because an fsync failed or something of it could not be forgotten.
 * The file is written, and its times are adopted. In the next boot, or attached anew, it is cached
 * again. */
static void test_cached_again(void)
{
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *h = attach(&p, 8, 10 * BLK, 7, 0);
        cm_sync s = sync_begin(f);
        if (i % 2) {
            CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        } else {
            break_range(&p, 0, p.c->media.geo.index_offset);
            CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET);
            CHECK_EQ(cm_invalidate(f, 3 * BLK, BLK), CM_EFORGET);
            p.c->media.ops = &real;
        }
        cm_bracket w = begin_write(f, 20 * BLK, BLK);
        v = val(101 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
        detach(f);
        if (i / 2 == 1 && i % 2 == 0)
            pool_again(&p);
        if (i / 2 == 2 || i % 2) {
            pool_down(&p);
            pool_other_boot(&p);
            (void)pool_up(&p);
        }
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK(info_of(f).incarnation != 0);
        CHECK_EQ(put(f, 3, 2), 0);
        CHECK_EQ(look(f, 3, 2), RIGHT);
        pool_end(&p);
    }
}

const struct harness_test file_failing_tests[] = {
    TEST(forget_unwritable),   TEST(forgets_after_healing),
    TEST(cached_again),        TEST(escalate_to_file),
    TEST(no_record_written),   TEST(flags_unwritable),
    TEST(keep_unsaid),         TEST(place_unwritable),
    TEST(own_record_damaged),  TEST(record_not_restored),
    TEST(second_open_fails),   TEST(escalate_to_pool),
    TEST(cannot_forget),       TEST(cannot_note_failed_sync),
    TEST(cannot_forget_yet),   TEST(cannot_forget_until_close),
    TEST(cannot_forget_twice), TEST_END,
};
