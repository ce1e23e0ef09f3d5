/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file.c - attached files: what keeps their blocks at attach and what does not, dirty marks
 * over crashes, which validators are believed, syncs, sizes, aborting, forgetting.
 */
#include "fixture.h"

#include <pthread.h>

#include "../os.h"

/* A pool whose stores the CPU flushes: kept over a crash of the system, dirty files excepted. */
static int dax_pool(struct pool *p)
{
    pool_make(p, MIB, 0);
    p->o.memory_durability = CM_DURABILITY_DAX;
    return pool_up(p);
}

#define NEED_DAX                                                                                   \
    if (!cpu_flushes())                                                                            \
    SKIP("no flush instruction in this build")

static void crash_and_boot(struct pool *p)
{
    pool_crash(p);
    pool_other_boot(p);
    (void)pool_up(p);
}

/* Attaches with a validator that may keep it; checks that it did, or did not, and detaches. */
static void expect_kept(struct pool *p, uint64_t id, const cm_validator *v, bool kept)
{
    cm_file *f = attach_v(p, id, v, 0);
    CHECK_EQ(info_of(f).kept, kept);
    CHECK_EQ(hits(f, 0, 10, id), kept ? 10 : 0);
    detach(f);
}

static cm_file *warm(struct pool *p, uint64_t id, const cm_validator *v, uint32_t flags)
{
    cm_file *f = attach_v(p, id, v, flags);
    CHECK_EQ(put_all(f, 0, 10, id), 10);
    return f;
}

static cm_validator fresh(cm_validator v)
{
    v.taken_at = later();
    return v;
}

/* ---- Attach: keep or new --------------------------------------------------------------------- */

static void test_keep(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(STAT(p.c, attach_new), 1);
    uint64_t inc = info_of(f).incarnation;
    detach(f);
    f = attach_v(&p, 1, &v, 0); /* in the same session */
    CHECK_EQ(info_of(f).incarnation, inc);
    CHECK_EQ(STAT(p.c, attach_kept), 1);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    pool_again(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, true);
    pool_crash(&p);
    (void)pool_up(&p);
    expect_kept(&p, 1, &v, true);
    pool_end(&p);
}

/* Each field alone tells a changed file. */
/* A superblock that sums right, with an older mark of incarnations: `mark` of both copies. */
static void set_mark(struct pool *p, uint64_t mark)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(p, i)->inc_mark = mark;
        super_seal(super_at(p, i));
    }
}

/* Fills a pool with file 1, and closes it; returns the mark before that file had a number. */
static uint64_t pool_of_one(struct pool *p, uint64_t bytes, uint64_t blocks)
{
    pool_make(p, bytes, 1); /* all records in one bucket */
    (void)pool_up(p);
    uint64_t mark = p->c->super.next_incarnation;
    cm_file *f = attach(p, 1, blocks * BLK, 1, 0);
    CHECK(put_all(f, 0, blocks, 1) > 0);
    detach(f);
    pool_down(p);
    return mark;
}

/* A mark below a number in use is not believed: that number would be given to another file, and the
 * old one's blocks are still there. */
static void test_mark_too_old(void)
{
    struct pool p;
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    (void)pool_up(&p);
    uint64_t epoch = pool_info(p.c).epoch;
    cm_file *f = attach(&p, 2, 32 * BLK, 1, 0); /* its record would lie beside the first one's */
    CHECK_EQ(hits(f, 0, 32, 2), 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK_EQ(put(f, 0, 2), 0);
    CHECK_EQ(look(f, 0, 2), RIGHT);
    cm_file *g = attach(&p, 1, 32 * BLK, 1, 0);
    CHECK_EQ(hits(g, 0, 32, 1), 0); /* forgotten, durably */
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    detach(g);
    detach(f);
    pool_again(&p);
    f = attach(&p, 2, 32 * BLK, 1, 0);
    CHECK_EQ(look(f, 0, 2), RIGHT);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    detach(f);
    pool_end(&p);
}

/* The same where no record shows it: not the number of a new file, which begins somewhere else. */
static void test_mark_too_old_unseen(void)
{
    struct pool p;
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    (void)pool_up(&p);
    memset(record_of(p.c, 0), 0,
           (size_t)(p.c->media.geo.record_buckets * CM_RECORD_WAYS) * sizeof(struct cm_record));
    cm_file *f = attach(&p, 2, 32 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 32, 2), 0);
    detach(f);
    pool_end(&p);
}

/* ... and where only the slots show it, when they are used again. */
static void test_mark_too_old_evicted(void)
{
    struct pool p;
    pool_make(&p, cm_pool_size_min(), 0);
    (void)pool_up(&p);
    uint64_t mark = p.c->super.next_incarnation;
    cm_file *f = attach(&p, 1, 200 * BLK, 1, 0);
    (void)put_all(f, 0, 200, 1);
    detach(f);
    pool_down(&p);
    set_mark(&p, mark);
    (void)pool_up(&p);
    memset(record_of(p.c, 0), 0,
           (size_t)(p.c->media.geo.record_buckets * CM_RECORD_WAYS) * sizeof(struct cm_record));
    uint64_t epoch = pool_info(p.c).epoch;
    f = attach(&p, 2, 200 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 2), 200);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK(hits(f, 0, 200, 2) > 0);
    detach(f);
    pool_end(&p);
}

/* cm_check sees it, too. */
static void test_mark_too_old_checked(void)
{
    struct pool p;
    cm_check_report r = { .struct_size = sizeof(r) };
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    p.o.flags = CM_OPEN_READONLY;
    (void)pool_up(&p);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.would_empty, 1);
    pool_down(&p);
    p.o.flags = 0;
    (void)pool_up(&p);
    uint64_t epoch = pool_info(p.c).epoch;
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.valid, 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    pool_end(&p);
}

static void test_changed_validator(void)
{
    for (unsigned field = 0; field < 4; field++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        detach(warm(&p, 1, &v, 0));
        pool_again(&p);
        v = fresh(v);
        v.size += field == 0;
        v.mtime_ns -= field == 1;
        v.ctime_ns -= field == 2;
        v.change += field == 3;
        expect_kept(&p, 1, &v, false);
        v = val(100 * BLK, 7); /* and the old one does not bring it back */
        expect_kept(&p, 1, &v, false);
        pool_end(&p);
    }
}

/* A racy validator never matches: not the recorded one, not the presented one. */
static void test_racy(void)
{
    for (unsigned which = 1; which < 4; which++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        v.racy = which & 1;
        cm_file *f = warm(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).racy, which & 1);
        detach(f);
        v = fresh(v);
        v.racy = which >> 1;
        expect_kept(&p, 1, &v, false);
        pool_end(&p);
    }
}

/* Presented again when it is not racy any more: from then on it counts. */
static void test_racy_settles(void)
{
    for (unsigned sole = 0; sole < 2; sole++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        v.racy = 1;
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = val(100 * BLK, 7);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(info_of(f).racy, 0);
        /* With other writers a second change may hide behind the racy one: it began anew. */
        CHECK_EQ(hits(f, 0, 10, 1), sole ? 10 : 0);
        CHECK_EQ(put_all(f, 0, 10, 1), sole ? 0 : 10);
        detach(f);
        pool_again(&p);
        v = fresh(v);
        expect_kept(&p, 1, &v, true);
        pool_end(&p);
    }
}

/* Not racy when it was recorded, racy now: somebody may be writing behind the same timestamps. */
static void test_racy_later(void)
{
    for (unsigned sole = 0; sole < 2; sole++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = fresh(v);
        v.racy = 1;
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), sole ? 10 : 0);
        CHECK_EQ(info_of(f).racy, sole ? 0 : 1);
        detach(f);
        pool_end(&p);
    }
}

static void test_no_validator(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, NULL, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(f).racy, 1);
    detach(f);
    expect_kept(&p, 1, NULL, false);
    detach(warm(&p, 1, &v, 0));
    expect_kept(&p, 1, NULL, false); /* even if one was recorded */
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* cachemax.h: a validator of unknown size says "I have none": the file starts cold. */
static void test_unknown_size(void)
{
    struct pool p;
    cm_validator v = val(CM_SIZE_UNKNOWN, 0);
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), 0);
    if (f) {
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        CHECK_EQ(put_all(f, 0, 10, 1), 10);
        detach(f);
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), 0);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
    }
    pool_end(&p);
}

/* ---- Dirty marks ----------------------------------------------------------------------------- */

/* Written and not synced: a crash of the process keeps the file, a crash of the system drops it. */
static void check_unsynced(bool other_boot)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2 = val(100 * BLK, 8);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    detach(warm(&p, 2, &v, 0)); /* a neighbour that nobody writes */
    CHECK_EQ(info_of(f).dirty, 0);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    CHECK_EQ(info_of(f).dirty, 1);
    v2 = fresh(v2);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    if (other_boot)
        crash_and_boot(&p);
    else {
        pool_crash(&p);
        (void)pool_up(&p);
    }
    v = fresh(v);
    v2 = fresh(v2);
    expect_kept(&p, 1, &v2, !other_boot);
    expect_kept(&p, 2, &v, true);
    pool_end(&p);
}

static void test_unsynced(void)
{
    NEED_DAX;
    check_unsynced(false);
    check_unsynced(true);
}

/* Unsynced, closed cleanly, then the system crashes: the origin lost the write all the same. */
static void test_unsynced_clean_close(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    pool_down(&p);
    pool_other_boot(&p);
    (void)pool_up(&p);
    v2 = fresh(v2);
    expect_kept(&p, 1, &v2, false);
    pool_end(&p);
}

/* A mark that a session before this one set, and a second session found, still counts. */
static void test_mark_over_sessions(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    pool_crash(&p);
    (void)pool_up(&p);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).dirty, 1);
    detach(f);
    crash_and_boot(&p);
    expect_kept(&p, 1, &v2, false);
    pool_end(&p);
}

/* The mark is on the media before write_begin returns; attribute brackets need none. */
static void test_which_brackets_mark(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    for (unsigned kind = 0; kind < 5; kind++) {
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = warm(&p, 1, &v, 0);
        if (kind == 0)
            CHECK_EQ(cm_write_begin(f, 5 * BLK, 0, &w), 0);
        else if (kind == 1)
            CHECK_EQ(cm_write_begin(f, 50 * BLK, 1, &w), 0);
        else if (kind == 2)
            CHECK_EQ(cm_truncate_begin(f, 99 * BLK, &w), 0);
        else if (kind == 3)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 10, &w), 0);
        else
            CHECK_EQ(cm_invalidate(f, 50 * BLK, BLK), 0);
        CHECK_EQ(info_of(f).dirty, kind > 0);
        crash_and_boot(&p);
        v = fresh(v);
        expect_kept(&p, 1, &v, kind == 0);
        pool_end(&p);
    }
}

/* An origin whose power can fail alone: dirty is lost even in the same boot. */
static void test_origin_volatile(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        cm_file *f = warm(&p, 1 + dirty, &v, CM_SOLE_WRITER | CM_ORIGIN_VOLATILE);
        v2 = val(100 * BLK, 7);
        if (dirty) {
            cm_bracket w = begin_write(f, 20 * BLK, BLK);
            v2 = val(100 * BLK, 8);
            CHECK_EQ(cm_write_end(f, &w, &v2), 0);
        }
        detach(f);
        v2 = fresh(v2);
        f = attach_v(&p, 1 + dirty, &v2, CM_ORIGIN_VOLATILE);
        CHECK_EQ(info_of(f).kept, !dirty);
        detach(f);
    }
    pool_end(&p);
}

/* Changed after the boot and never synced in our sight: born dirty. */
static void test_born_dirty(void)
{
    NEED_DAX;
    struct pool p;
    REQUIRE(dax_pool(&p) == 0);
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    cm_validator v = val(100 * BLK, 7);
    for (unsigned field = 0; field < 3; field++) {
        v = val(100 * BLK, 7);
        if (field == 1)
            v.mtime_ns = t.tv_sec * INT64_C(1000000000);
        if (field == 2)
            v.ctime_ns = t.tv_sec * INT64_C(1000000000);
        cm_file *f = warm(&p, 1 + field, &v, 0);
        CHECK_EQ(info_of(f).dirty, field > 0);
        detach(f);
    }
    detach(warm(&p, 4, &v, 0)); /* ... and proved clean by a sync */
    v = fresh(v);
    cm_file *f = attach_v(&p, 4, &v, 0);
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 0);
    crash_and_boot(&p);
    cm_validator old = val(100 * BLK, 7), recent = fresh(v);
    expect_kept(&p, 1, &old, true);
    expect_kept(&p, 3, &recent, false);
    expect_kept(&p, 4, &recent, true);
    pool_end(&p);
}

static void test_damaged_mark(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    struct cm_record *r = record_of(p.c, cm_object_of(f)->place);
    detach(f);
    r->state ^= 2; /* the check of a clean mark */
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* ---- Sync ------------------------------------------------------------------------------------ */

static cm_sync sync_begin(cm_file *f)
{
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    return s;
}

static void write_and_end(cm_file *f)
{
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
}

/* A sync proves the file clean only if no write was open when it began and none has begun since. */
static void test_sync_rules(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    write_and_end(f);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 0);

    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    s = sync_begin(f); /* open at its begin */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 1);

    s = sync_begin(f);
    write_and_end(f); /* begun and ended since */
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 1);

    s = sync_begin(f);
    w = begin_write(f, 20 * BLK, BLK); /* begun since and open */
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 1);
    CHECK(cm_write_end(f, &w, NULL) >= 0);

    s = sync_begin(f); /* an attribute bracket is no write */
    CHECK_EQ(cm_write_begin(f, 0, 0, &w), 0);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* What the sync proved survives; what it did not prove does not. */
static void test_sync_survives(void)
{
    NEED_DAX;
    for (unsigned proved = 0; proved < 2; proved++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7), v2;
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_bracket w = begin_write(f, 20 * BLK, BLK);
        cm_sync s = sync_begin(f);
        v2 = val(100 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v2), 0);
        if (proved)
            s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
        crash_and_boot(&p);
        v2 = fresh(v2);
        expect_kept(&p, 1, &v2, proved);
        pool_end(&p);
    }
}

/* A new write after a sync sets the mark again. */
static void test_sync_then_write(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    write_and_end(f);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    crash_and_boot(&p);
    v2 = fresh(v2);
    expect_kept(&p, 1, &v2, false);
    pool_end(&p);
}

/* Another one's change, found while a sync ran, may be later than what the sync wrote. */
static void test_sync_then_change(void)
{
    struct pool p;
    cm_sync s;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    cm_validator v = val(100 * BLK, 8);
    v.mtime_ns = v.ctime_ns = cm_plat_wall_ns();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK(info_of(f).dirty);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK(info_of(f).dirty);
    detach(f);
    pool_end(&p);
}

static void test_failed_sync(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    write_and_end(f);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    CHECK_EQ(info_of(f).dirty, 1);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK(STAT(p.c, miss_mode) >= 10);
    cm_miss m = miss_of(f, 50 * BLK, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_MODE);
    /* The system reports a lost page once, and keeps it as if it were written: a sync that then
     * succeeds, on whatever descriptor, has written nothing of it. What is read now may be newer
     * than what the device has, and must be neither cached nor proved. */
    s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_MODE);
    CHECK_EQ(hits(f, 0, 100, 1), 0);
    pool_end(&p);
}

/* The bypass lasts to the end of the boot: opening the file or the pool again does not end it, and
 * no sync does. What was cached before the failure may be what the origin lost. */
static void test_failed_sync_reattach(void)
{
    for (unsigned again = 0; again < 3; again++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7), v2;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_bracket w = begin_write(f, 20 * BLK, BLK);
        v2 = val(100 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v2), 0);
        CHECK_EQ(put(f, 20, 2), 0); /* the new bytes, which the failing fsync then loses */
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        if (again == 1)
            pool_again(&p);
        if (again == 2) {
            pool_crash(&p);
            (void)pool_up(&p);
        }
        v2 = fresh(v2);
        f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
        CHECK_EQ(look(f, 20, 2), MISS);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
        CHECK_EQ(look(f, 20, 2), MISS); /* what was cached before the failure never comes back */
        CHECK_EQ(put(f, 20, 3), CM_NOT_STORED_MODE);
        detach(f);
        v2 = fresh(v2);
        f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        detach(f);
        pool_down(&p);
        pool_other_boot(&p);
        (void)pool_up(&p);
        v2 = fresh(v2);
        f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 0);
        CHECK_EQ(look(f, 20, 2), MISS);
        CHECK_EQ(put(f, 20, 3), 0);
        CHECK_EQ(look(f, 20, 3), RIGHT);
        pool_end(&p);
    }
}

/* A failure counts in its own boot: the page cache is gone with that, and a mark of an earlier boot
 * does not stand for it. */
static void test_failed_sync_boots(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    detach(warm(&p, 1, &v, 0));
    for (unsigned boot = 0; boot < 2; boot++) {
        pool_down(&p);
        pool_other_boot(&p);
        (void)pool_up(&p);
        v = fresh(v);
        cm_file *f = attach_v(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).kept, boot == 0);
        CHECK_EQ(info_of(f).dirty, 0);
        CHECK_EQ(info_of(f).bypassed, 0);
        CHECK_EQ(put(f, 20, 2), 0);
        if (boot == 0) {
            cm_sync s = sync_begin(f);
            CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
            CHECK_EQ(info_of(f).dirty, 1);
            detach(f);
            v = fresh(v);
            f = attach_v(&p, 1, &v, 0);
            CHECK_EQ(info_of(f).bypassed, 1);
        }
        detach(f);
    }
    pool_end(&p);
}

/* No more does one that began before the failed one. */
static void test_failed_sync_overlapped(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    write_and_end(f);
    cm_sync early = sync_begin(f), failing = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &failing, 0, NULL), 0);
    CHECK_EQ(cm_sync_end(f, &early, 1, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    CHECK_EQ(info_of(f).dirty, 1);
    pool_end(&p);
}

static void test_foreign_sync(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0), *g = attach(&p, 2, 100 * BLK, 1, 0);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(g, &s, 1, NULL), CM_EFOREIGN);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    pool_end(&p);
}

/* ---- Adoption -------------------------------------------------------------------------------- */

/* The last end of a sole writer adopts; what it adopted is what the next attach must present. */
static void test_adopt(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(101 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK_EQ(info_of(f).size, 101 * BLK);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    detach(f);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    f = warm(&p, 2, &v, CM_SOLE_WRITER);
    w = begin_write(f, 20 * BLK, BLK);
    v2 = fresh(v2);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    detach(f);
    pool_again(&p);
    v2 = fresh(v2);
    expect_kept(&p, 2, &v2, true);
    pool_end(&p);
}

/* With other writers the end adopts nothing: the next revalidation decides. */
static void test_not_sole(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), CM_WANT_VALIDATOR);
    CHECK_EQ(info_of(f).want_validator, 1);
    CHECK_EQ(hits(f, 0, 10, 1), 10); /* the bracket told what it changed */
    v2 = fresh(v2);
    uint64_t inc = info_of(f).incarnation;
    CHECK_EQ(cm_file_revalidate(f, &v2), 0);
    CHECK(info_of(f).incarnation != inc);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    detach(f);
    v2 = fresh(v2);
    expect_kept(&p, 1, &v2, true);
    pool_end(&p);
}

/* A validator taken while another bracket was open proves nothing. */
static void test_taken_too_early(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), early, late;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket a = begin_write(f, 20 * BLK, BLK), b = begin_write(f, 30 * BLK, BLK);
    early = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &a, &early), 0); /* not the last: no answer needed yet */
    CHECK_EQ(info_of(f).want_validator, 1);
    CHECK_EQ(cm_write_end(f, &b, &early), CM_WANT_VALIDATOR); /* taken while a was open */
    CHECK_EQ(info_of(f).size, 100 * BLK);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    CHECK_EQ(info_of(f).want_validator, 1);
    late = val(100 * BLK, 9);
    CHECK_EQ(cm_file_revalidate(f, &late), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    detach(f);
    late = fresh(late);
    expect_kept(&p, 1, &late, true);
    pool_end(&p);
}

/* The last of several brackets, with a validator from after the others' ends: adopted. */
static void test_last_end_adopts(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), late;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket a = begin_write(f, 20 * BLK, BLK), b = begin_write(f, 30 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &a, NULL), 0);
    late = val(100 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &b, &late), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    detach(f);
    late = fresh(late);
    expect_kept(&p, 1, &late, true);
    pool_end(&p);
}

/* While a bracket is open no validator is believed, at no door. */
static void test_open_bracket_ignores(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_file_id id = id_of(1);
    cm_file *f2 = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    uint64_t inc = info_of(f).incarnation;
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_file_revalidate(f, &v2), CM_IGNORED);
    CHECK(cm_file_open(p.c, &id, &v2, CM_SOLE_WRITER, &f2) >= 0);
    CHECK(f2 == f);
    CHECK_EQ(info_of(f).incarnation, inc);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(cm_file_revalidate(f, &v2), CM_IGNORED); /* still from before the end */
    detach(f2);
    detach(f);
    pool_end(&p);
}

/* An empty bracket may supply what was wanted; it is how chmod and rename are told. */
static void test_empty_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    write_and_end(f);
    CHECK_EQ(info_of(f).want_validator, 1);
    CHECK_EQ(cm_write_begin(f, 0, 0, &w), 0);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    detach(f);
    v2 = fresh(v2);
    expect_kept(&p, 1, &v2, true);
    pool_end(&p);
}

/* SOLE_WRITER is over when anybody opens without it. */
static void test_sole_ends(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    v = fresh(v);
    cm_file *f2 = attach_v(&p, 1, &v, 0);
    CHECK(f2 == f);
    detach(f2);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), CM_WANT_VALIDATOR);
    pool_end(&p);
}

static void test_revalidate_changed(void)
{
    for (unsigned sole = 0; sole < 2; sole++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7), v2 = val(90 * BLK, 8);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = fresh(v);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
        v2 = fresh(v2);
        CHECK_EQ(cm_file_revalidate(f, &v2), 0); /* nobody here wrote: somebody else did */
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        CHECK_EQ(info_of(f).size, 90 * BLK);
        CHECK_EQ(put_all(f, 0, 10, 2), 10);
        detach(f);
        v2 = fresh(v2);
        f = attach_v(&p, 1, &v2, 0);
        CHECK_EQ(hits(f, 0, 10, 2), 10);
        pool_end(&p);
    }
}

/* A racy change that is seen again, unchanged and not racy, may hide a second one. */
static void test_second_open_judges(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2 = val(100 * BLK, 8);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    v2 = fresh(v2);
    cm_file *f2 = attach_v(&p, 1, &v2, 0);
    CHECK(f == f2);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    detach(f);
    CHECK_EQ(put_all(f2, 0, 10, 1), 10); /* the other reference is good */
    detach(f2);
    CHECK_EQ(cm_file_close(f2), CM_EHANDLE);
    pool_end(&p);
}

/* ---- Validators that are older than what they stand for ---------------------------------------
 */

/* Attaches with a validator that must prove nothing: the file starts cold, of unknown size. */
static cm_file *attach_ignored(struct pool *p, uint64_t id, const cm_validator *v)
{
    cm_file *f = NULL;
    cm_file_id fid = id_of(id);
    CHECK_EQ(cm_file_open(p->c, &fid, v, 0, &f), CM_IGNORED);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    return f;
}

/* One thread asks for the attributes; another one opens the file, extends it, fills and closes. The
 * first one's validator equals the recorded one, and its size is the old one. */
static void test_older_than_a_write(void)
{
    struct pool p;
    cm_validator v = val(10 * BLK, 7), early;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = fresh(v);
    detach(warm(&p, 1, &v, 0));
    early = fresh(v);
    v = fresh(v);
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(put(f, 10, 2), 0);
    detach(f);
    f = attach_ignored(&p, 1, &early);
    CHECK_EQ(cm_truncate_begin(f, 5 * BLK, &w), 0); /* cut, and extended with zeros */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 10, 2), MISS);
    detach(f);
    /* The same when all that is left of the write is an aborted bracket. */
    v = val(10 * BLK, 8);
    f = attach_v(&p, 2, &v, 0);
    early = fresh(v);
    (void)begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    detach(f);
    detach(attach_ignored(&p, 2, &early));
    pool_end(&p);
}

/* A validator from before the open costs the blocks of earlier sessions for good: a newer one does
 * not bring them back. */
static void test_ignored_forgets(void)
{
    struct pool p;
    cm_validator v = val(10 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    v = fresh(v);
    detach(warm(&p, 1, &v, 0));
    v = fresh(v);
    pool_again(&p);
    cm_file *f = attach_ignored(&p, 1, &v);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(f);
    pool_again(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(hits(f, 0, 10, 1), 1); /* what came after the newer one */
    detach(f);
    pool_end(&p);
}

/* The owner before this one may have written until it closed the pool, or died. */
static void test_older_than_the_open(void)
{
    struct pool p;
    cm_validator v, early;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *f = warm(&p, 1, &v, 0);
    early = fresh(v);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    pool_again(&p);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* Of two validators the one that was taken later counts, whichever comes first. */
static void test_older_than_the_last(void)
{
    struct pool p;
    cm_validator early, late;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    early = val(10 * BLK, 7);
    late = val(20 * BLK, 8);
    CHECK_EQ(cm_file_open(p.c, &id, &late, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    CHECK_EQ(cm_file_revalidate(f, &late), 0); /* the same one again is as good */
    early = val(10 * BLK, 7);
    late = fresh(late);
    CHECK_EQ(cm_file_revalidate(f, &late), 0); /* unchanged, and that is known of a later moment */
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    CHECK_EQ(info_of(f).size, 20 * BLK);
    CHECK_EQ(hits(f, 0, 20, 1), 20);
    detach(f);
    CHECK_EQ(cm_file_open(p.c, &id, &late, 0, &f), 0);
    CHECK_EQ(info_of(f).kept, 1);
    detach(f);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* A forgotten id may stand for another file: nothing that was known of it holds. */
static void test_older_than_forgetting(void)
{
    struct pool p;
    cm_validator v, early;
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *f = warm(&p, 1, &v, 0);
    early = fresh(v);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    detach(f);
    early = val(10 * BLK, 7);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* Not taken yet: another clock than cm_now(), whose validators would always be believed. */
static void test_taken_in_the_future(void)
{
    struct pool p;
    cm_validator v;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *good = attach_v(&p, 1, &v, 0);
    v.taken_at += UINT64_C(3600) * 1000000000;
    CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), CM_EINVAL);
    CHECK_EQ(cm_file_revalidate(good, &v), CM_EINVAL);
    detach(good);
    pool_end(&p);
}

static cm_file *version_of;
static uint64_t version_before, version_size;
static void (*version_fence)(void *ctx);

static void watch_version(void *ctx)
{
    if (cm_object_of(version_of)->incarnation == version_before)
        version_size = cm_object_of(version_of)->size;
    version_fence(ctx);
}

/* While a file gets another incarnation nobody knows its size: a reader must not end the old
 * version where the new one ends, nor the other way round. */
static void test_size_of_a_version(void)
{
    struct pool p;
    cm_validator v;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    version_of = attach_v(&p, 1, &v, 0);
    version_before = cm_object_of(version_of)->incarnation;
    version_size = 1;
    struct cm_persist_ops ops = *p.c->media.ops;
    const struct cm_persist_ops *real = p.c->media.ops;
    version_fence = ops.fence;
    ops.fence = watch_version;
    p.c->media.ops = &ops;
    v = val(20 * BLK, 8);
    CHECK_EQ(cm_file_revalidate(version_of, &v), 0);
    p.c->media.ops = real;
    CHECK_EQ(version_size, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(version_of).size, 20 * BLK);
    CHECK(cm_object_of(version_of)->incarnation != version_before);
    pool_end(&p);
}

/* Without a size a validator still tells whether the file is another one. */
static void test_second_open_without_size(void)
{
    struct pool p;
    cm_validator v;
    cm_file *f, *g;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned sized = 0; sized < 2; sized++) {
        v = val(sized ? 10 * BLK : CM_SIZE_UNKNOWN, 7);
        f = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(put_all(f, 0, 10, 1), 10);
        v = val(CM_SIZE_UNKNOWN, 7);
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK(f == g);
        CHECK_EQ(hits(f, 0, 10, 1), 10); /* the same version */
        detach(g);
        v = val(CM_SIZE_UNKNOWN, 8);
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        CHECK_EQ(put_all(f, 0, 10, 2), 10);
        detach(g);
        v = val(CM_SIZE_UNKNOWN, 8);
        v.racy = 1; /* another version may hide behind the same times */
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(hits(f, 0, 10, 2), 0);
        detach(g);
        detach(f);
        v = val(10 * BLK, 8);
        f = attach_v(&p, 1 + sized, &v, 0); /* what had no size is not kept */
        CHECK_EQ(info_of(f).kept, 0);
        detach(f);
    }
    pool_end(&p);
}

/* ---- Size and the end of the file ------------------------------------------------------------ */

static void expect_eof(cm_file *f, uint64_t offset, bool eof)
{
    cm_miss m = miss_of(f, offset, BLK);
    CHECK_EQ(m.len == 0 && (m.flags & CM_MISS_EOF), eof);
}

static void test_size(void)
{
    struct pool p;
    cm_validator v = val(3 * BLK + 10, 7), v2;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).size, 3 * BLK + 10);
    expect_eof(f, 3 * BLK + 10, true);
    expect_eof(f, 3 * BLK + 9, false);
    cm_miss m = miss_of(f, 2 * BLK, 4 * BLK);
    CHECK_EQ(m.offset, 2 * BLK);
    CHECK_EQ(m.len, BLK + 10); /* cut at the end, and says so */
    CHECK_EQ(m.flags, CM_MISS_EOF);
    w = begin_write(f, BLK, BLK); /* inside: the size stays known */
    CHECK_EQ(info_of(f).size, 3 * BLK + 10);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    w = begin_write(f, 3 * BLK, 11); /* one byte further: unknown from here on */
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    expect_eof(f, 9 * BLK, false);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    expect_eof(f, 9 * BLK, false);
    v2 = val(3 * BLK + 11, 8);
    CHECK_EQ(cm_file_revalidate(f, &v2), 0);
    expect_eof(f, 3 * BLK + 11, true);
    expect_eof(f, 3 * BLK + 10, false);
    pool_end(&p);
}

static void test_size_brackets(void)
{
    struct pool p;
    cm_validator v;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 7, CM_SOLE_WRITER);
    for (unsigned kind = 0; kind < 4; kind++) {
        CHECK_EQ(info_of(f).size, 10 * BLK);
        if (kind == 0)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
        else if (kind == 1)
            CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
        else if (kind == 2)
            CHECK_EQ(cm_write_begin(f, 10 * BLK, 1, &w), 0);
        else
            CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        v = val(10 * BLK, 8 + kind);
        if (kind < 3)
            CHECK_EQ(cm_write_end(f, &w, &v), 0);
        else
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
    }
    CHECK_EQ(info_of(f).size, 10 * BLK);
    CHECK_EQ(cm_write_begin(f, 0, 0, &w), 0);
    CHECK_EQ(info_of(f).size, 10 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Truncating forgets from the new size on, the block it lies in included, and nothing before. */
static void test_truncate(void)
{
    struct pool p;
    cm_validator v;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 20 * BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK_EQ(cm_truncate_begin(f, 5 * BLK + 100, &w), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 15, 1), 0);
    CHECK_EQ(put(f, 30, 1), CM_NOT_STORED_STALE); /* nothing is stored meanwhile */
    v = val(5 * BLK + 100, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0); /* growing again: zeros, not the old bytes */
    v = val(20 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 15, 1), 0);
    CHECK_EQ(cm_truncate_begin(f, 0, &w), 0);
    CHECK_EQ(hits(f, 0, 20, 1), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* The same for blocks that an earlier session cached. */
static void test_truncate_kept(void)
{
    struct pool p;
    cm_validator v = val(20 * BLK - 5, 7);
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 19, 1), 19);
    CHECK_EQ(put_tail(f, 19, BLK - 5, 1), 0);
    pool_again(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(hits(f, 0, 19, 1), 19);
    CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
    v = val(10 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0);
    v = val(20 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(hits(f, 0, 20, 1), 10);
    pool_end(&p);
}

/* Blocks cached while the size was unknown: truncating reaches them, also in a later session. */
static void test_truncate_unknown_size(void)
{
    for (unsigned again = 0; again < 2; again++) {
        struct pool p;
        cm_validator v;
        cm_bracket w;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_v(&p, 1, NULL, CM_SOLE_WRITER);
        CHECK_EQ(put_all(f, 0, 20, 1), 20);
        CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
        v = val(10 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        if (again) {
            pool_again(&p);
            v = fresh(v);
            f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
            CHECK_EQ(info_of(f).kept, 1);
        }
        CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0); /* grows: zeros behind */
        v = val(20 * BLK, 9);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
        CHECK_EQ(hits(f, 10, 10, 1), 0);
        pool_end(&p);
    }
}

/* An append changes no byte that exists: a cached tail still hits, short of the new bytes. */
static void test_append(void)
{
    struct pool p;
    cm_validator v;
    cm_bracket w;
    uint8_t buf[2 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 2 * BLK + 100, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(put_tail(f, 2, 100, 1), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 500, &w), 0);
    CHECK_EQ(hits(f, 0, 2, 1), 2);
    cm_miss m = miss_of(f, 3 * BLK, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    v = val(2 * BLK + 600, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_read(f, 2 * BLK, buf, BLK, &m), 100);
    CHECK(is_content(1, 2, buf, 100));
    CHECK_EQ(m.offset, 2 * BLK);
    CHECK_EQ(m.len, 600);
    CHECK_EQ(STAT(p.c, miss_short), 1);
    pool_end(&p);
}

/* ---- Abort, forget, close -------------------------------------------------------------------- */

static void test_abort(void)
{
    struct pool p;
    cm_bracket a, b, c, d;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    uint64_t inc = info_of(f).incarnation;
    a = begin_write(f, 20 * BLK, BLK);
    CHECK_EQ(cm_truncate_begin(f, 50 * BLK, &b), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &c), 0);
    CHECK_EQ(cm_write_begin(f, 0, 0, &d), 0);
    CHECK_EQ(info_of(f).brackets, 4);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK(info_of(f).incarnation > inc);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(cm_write_end(f, &a, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &c, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &d, NULL), CM_EBRACKET);
    CHECK_EQ(put_all(f, 0, 30, 2), 30); /* nothing is left raised */
    CHECK_EQ(hits(f, 0, 30, 2), 30);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++)
        CHECK_EQ(p.c->stripes[s].intents, 0);
    CHECK_EQ(cm_object_of(f)->stale, 0);
    detach(f);
    pool_end(&p);
}

/* The lost owner may go on writing: a validator taken after the abort does not vouch for what was
 * cached before it, not even for a sole writer. */
static void test_abort_then_validator(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    cm_validator v = val(100 * BLK, 8);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(put_all(f, 0, 10, 2), 10);
    detach(f);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(hits(f, 0, 10, 2), 10);
    pool_end(&p);
}

/* One that was taken before the abort proves nothing: the lost owner may have written since. */
static void test_abort_then_older_validator(void)
{
    struct pool p;
    cm_bracket w;
    uint8_t buf[2 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, BLK, &w), 0);
    cm_validator early = val(BLK, 8); /* and then the owner wrote its block, and died */
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    cm_file_id id = id_of(1);
    cm_file *again = NULL;
    CHECK_EQ(cm_file_open(p.c, &id, &early, CM_SOLE_WRITER, &again), CM_IGNORED);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), (int64_t)sizeof(buf));
    detach(again);
    detach(f);
    pool_end(&p);
}

/* What the caller's hooks do is their own: they run without the file's lock. */
static cm_file *hooked;
static unsigned freed_unlocked, freed_locked;
static void look_at_locks(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    unmap_bytes(at, bytes);
    if (hooked) {
        freed_locked += at_load_relaxed(&cm_object_of(hooked)->lock.word) != 0;
        freed_unlocked += at_load_relaxed(&cm_object_of(hooked)->lock.word) == 0;
    }
}
static void *plain_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return map_bytes(bytes);
}

static void test_hooks_unlocked(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = plain_alloc;
    p.o.free = look_at_locks;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = hooked = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    freed_locked = freed_unlocked = 0;
    (void)begin_write(f, 3 * BLK, BLK); /* this one has room in the file, the others have not */
    (void)begin_write(f, 5 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    (void)begin_write(f, 3 * BLK, BLK);
    cm_bracket w = begin_write(f, 5 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    hooked = NULL;
    CHECK_EQ(freed_locked, 0);
    CHECK_EQ(freed_unlocked, 2);
    CHECK_EQ(cm_file_abort(f), 0);
    pool_end(&p);
}

/* Nor may the next bracket's validator be adopted while the lost owner may still write. */
static void test_abort_disowns(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    cm_validator v = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), CM_WANT_VALIDATOR);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    detach(f);
    pool_end(&p);
}

static uint32_t stop;

/* It naps, or on a busy machine no begin would ever fall between two aborts. */
static void *aborter(void *arg)
{
    for (unsigned i = 0; !at_load_relaxed(&stop); i++) {
        CHECK_EQ(cm_file_abort(arg), 0);
        if (i % 64 == 0)
            sleep_ms(1);
    }
    return NULL;
}

/* An abort beside brackets: a begin says that it was aborted, an end finds its bracket gone, an
 * invalidation is as good as done, and nothing stays raised. */
static void test_abort_beside(void)
{
    struct pool p;
    pthread_t t;
    cm_bracket w;
    unsigned begun = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, CM_SOLE_WRITER);
    stop = 0;
    CHECK_EQ(pthread_create(&t, NULL, aborter, f), 0);
    for (uint64_t until = cm_now() + 300000000; cm_now() < until || begun == 0;) {
        (void)put(f, 3, 1);
        int e = cm_write_begin(f, 3 * BLK, 100 * BLK, &w);
        CHECK(e == 0 || e == CM_EBRACKET);
        begun += e == 0;
        if (e == 0) {
            e = cm_write_end(f, &w, NULL);
            CHECK(e >= 0 || e == CM_EBRACKET);
        }
    }
    at_store_relaxed(&stop, 1u);
    (void)pthread_join(t, NULL);
    CHECK(begun > 0);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(cm_object_of(f)->stale, 0);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++)
        CHECK_EQ(p.c->stripes[s].intents, 0);
    CHECK_EQ(put(f, 3, 1), 0);
    pool_end(&p);
}

static void test_invalidate_beside_abort(void)
{
    struct pool p;
    pthread_t t;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0);
    stop = 0;
    CHECK_EQ(pthread_create(&t, NULL, aborter, f), 0);
    for (uint64_t until = cm_now() + 300000000; cm_now() < until;) {
        (void)put(f, 3, 1);
        CHECK_EQ(cm_invalidate(f, 3 * BLK, 100 * BLK), 0);
    }
    at_store_relaxed(&stop, 1u);
    (void)pthread_join(t, NULL);
    pool_end(&p);
}

/* The bracket's owner dies with its process: the range was forgotten durably before it wrote. */
static void test_crash_in_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, 2 * BLK);
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 8);
    CHECK_EQ(look(f, 3, 1), MISS);
    CHECK_EQ(look(f, 4, 1), MISS);
    pool_end(&p);
}

static void test_forget(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1), id3 = id_of(3);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    detach(warm(&p, 2, &v, 0));
    cm_miss m = miss_of(f, 50 * BLK, BLK);
    uint8_t data[CM_BLOCK_SIZE] = { 0 };
    CHECK_EQ(cm_forget(p.c, &id), 0); /* while it is open */
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    detach(f);
    CHECK_EQ(cm_forget(p.c, &id), 0);  /* closed */
    CHECK_EQ(cm_forget(p.c, &id3), 0); /* never seen */
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    expect_kept(&p, 2, &v, true);
    pool_end(&p);
}

/* Forgotten with a bracket open: nothing is stored until the bracket ends. */
static void test_forget_in_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK(miss_of(f, 3 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK_EQ(put(f, 3, 1), CM_NOT_STORED_STALE);
    CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put(f, 3, 1), 0);
    pool_end(&p);
}

static void test_close_rules(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, 0);
    v = fresh(v);
    cm_file *f2 = attach_v(&p, 1, &v, 0);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    detach(f2);
    CHECK_EQ(cm_file_close(f), CM_EBUSY);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    detach(f);
    CHECK_EQ(cm_file_close(f), CM_EHANDLE);
    CHECK_EQ(look(f, 0, 1), CM_EHANDLE);
    pool_end(&p);
}

/* Many files: objects are found again, reused only after a while, and never mixed up. */
static void test_many_files(void)
{
    struct pool p;
    cm_file *f[500];
    pool_make(&p, 16 * MIB, 4000); /* room in every bucket */
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t i = 0; i < 500; i++) {
        f[i] = attach(&p, i + 1, 10 * BLK, 7, 0);
        CHECK_EQ(put(f[i], 0, i), 0);
    }
    for (uint64_t i = 0; i < 500; i++)
        CHECK_EQ(look(f[i], 0, i), RIGHT);
    for (uint64_t i = 0; i < 500; i += 2)
        detach(f[i]);
    for (uint64_t i = 0; i < 500; i++)
        CHECK_EQ(look(f[i], 0, i), i % 2 ? RIGHT : CM_EHANDLE);
    for (uint64_t i = 0; i < 500; i++) {
        cm_file *g = attach(&p, i + 1, 10 * BLK, 7, 0);
        CHECK_EQ(g == f[i] || i % 2 == 0, 1);
        CHECK_EQ(look(g, 0, i), RIGHT);
    }
    pool_end(&p);
}

/* ---- Failing media --------------------------------------------------------------------------- */

static struct cm_persist_ops ops, real;
static const uint8_t *bad_from, *bad_to; /* writes that touch [bad_from, bad_to) fail */
static bool bad(const void *p, size_t n)
{
    return (const uint8_t *)p < bad_to && (const uint8_t *)p + n > bad_from;
}
static int bad_write(void *ctx, void *dst, const void *src, size_t n)
{
    return bad(dst, n) ? CM_EIO : real.write(ctx, dst, src, n);
}
static int bad_store(void *ctx, uint64_t *p, uint64_t v)
{
    return bad(p, 8) ? CM_EIO : real.store64(ctx, p, v);
}
static int bad_cas(void *ctx, uint64_t *p, uint64_t e, uint64_t v)
{
    return bad(p, 8) ? CM_EIO : real.cas64(ctx, p, e, v);
}

static void break_range(struct pool *p, uint64_t from, uint64_t to)
{
    ops = real = *p->c->media.ops;
    ops.write = bad_write;
    ops.store64 = bad_store;
    ops.cas64 = bad_cas;
    p->c->media.ops = &ops;
    bad_from = p->base + from;
    bad_to = p->base + to;
}

/* Headers that cannot be written: forgetting goes on to the whole file, and still succeeds. */
static void test_escalate_to_file(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
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

/* A new file's place holds another file's record and cannot be written: nothing of the new file can
 * come back, so nothing else has to go. */
static void test_place_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 1; n <= CM_RECORD_WAYS; n++)
        detach(warm(&p, n, &v, 0));
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    v = fresh(v);
    cm_file *f = attach_v(&p, CM_RECORD_WAYS + 1, &v, 0);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK_EQ(STAT(p.c, escalations), 0);
    p.c->media.ops = &real;
    pool_end(&p);
}

/* The record that this session wrote reads as damaged and cannot be dropped: what is on the media
 * may be whole, or be the one before it. */
static void test_own_record_damaged(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    record_of(p.c, cm_object_of(f)->place)->size ^= 1;
    break_range(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    p.c->media.ops = &real;
    pool_end(&p);
}

/* Records cannot be written either: the whole pool goes. */
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

/* "Not until the pool is deleted": asking a second time must not be answered with yes, because a
 * crash still brings back what could not be forgotten. */
static void test_cannot_forget_twice(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
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
    if (again == 0) /* the caller wrote block 3: its old bytes must never be seen again (P2) */
        CHECK(look(f, 3, 1) != RIGHT);
    pool_end(&p);
}

/* Only the superblocks still fail: the file's stripes could be raised, but its mark was lost with
 * its record, so the answer stays no until the epoch has moved. */
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
    CHECK_EQ(cm_file_open(p.c, &other, &v2, 0, &g), CM_EFORGET); /* nor is one found kept */
    p.c->media.ops = &real;
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), 0);
    CHECK(pool_info(p.c).epoch > epoch);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Writing works again by the time of the close, which then makes up for it. */
static void test_cannot_forget_until_close(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    p.c->media.ops = &real;
    pool_again(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* Only its record cannot be written: forgetting a file then takes the pool with it. */
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

/* The record of a failed fsync outlives a crowd of other files, and being forgotten: the file stays
 * out of the cache. */
static void test_failed_sync_stays(void)
{
    for (unsigned forget = 0; forget < 2; forget++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file_id id = id_of(1);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        if (forget)
            CHECK_EQ(cm_forget(p.c, &id), 0);
        for (uint64_t i = 0; i < 60 * p.c->media.geo.record_buckets; i++)
            detach(attach_v(&p, 100 + i, &v, 0));
        pool_again(&p);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        pool_end(&p);
    }
}

/* The next file goes to the second of its buckets, which lies in another page than the first. */
static void prefer_second(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set s;
    struct cm_record r = { .id = { 77, 77 } };
    CHECK_EQ(cm_super_incarnation(&p->c->super, &r.incarnation), 0);
    cm_record_load(&p->c->media, id, &s);
    CHECK(s.first[0] / CM_RECORD_PLACES != s.first[1] / CM_RECORD_PLACES);
    CHECK_EQ(cm_record_write(&p->c->media, s.first[0], &r), 0);
}

/* While records and superblocks cannot be written something is to be forgotten of a file; then they
 * can again, and what is done with another file makes the pool forget all it has. That reaches
 * neither the buffer nor a ticket: nothing of the file is used any more. */
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
static void heal_elsewhere(struct pool *p)
{
    cm_file *g = attach(p, 9, 10 * BLK, 7, 0);
    cm_bracket w = begin_write(g, 0, BLK);
    CHECK(cm_write_end(g, &w, NULL) >= 0);
    detach(g);
    CHECK_EQ(pool_info(p->c).mode, CM_NORMAL);
}
static void test_forgets_after_healing(void)
{
    for (unsigned i = 0; i < 4 * FORGETS; i++) {
        const enum failing_forget how = (enum failing_forget)(i / 4);
        struct pool p;
        cm_validator v = val(100 * BLK, 8);
        uint8_t old[CM_BLOCK_SIZE];
        pool_make(&p, 16 * MIB, 0);
        p.o.probation_bytes = i & 1 ? CM_PROBATION_DEFAULT : 0;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, 100 * BLK, 7, 0), *h = attach(&p, 8, 10 * BLK, 7, 0);
        CHECK_EQ(put(f, 3, 1), 0);
        const cm_miss ticket = miss_of(f, 4 * BLK, BLK);
        content(1, 4, old);
        break_range(&p, 0, p.c->media.geo.index_offset);
        if (i & 2) /* it is known already that nothing can be forgotten */
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

/* An fsync fails for a file, and no record says so: there was no room for one, the pool forgot all
 * records at once, a second record of the same file turned up, the record cannot be read, or was
 * dropped because a new one could not be written. No file without a record is cached in that boot,
 * in this session or a later one. */
enum unnamed {
    NO_ROOM,
    EPOCH,
    EPOCH_LATER,
    TWICE,
    UNREADABLE,
    FORGOTTEN,
    EPOCH_REUSED,
    UNREADABLE_FORGOTTEN,
    DAMAGED,
    DAMAGED_MARK,
    DAMAGED_FORGOTTEN,
    DAMAGED_CHECKED,
    UNNAMED
};
static struct cm_record *its_record(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set b;
    cm_record_load(&p->c->media, id, &b);
    for (unsigned i = 0; i < b.n; i++)
        if (cm_record_names(&b, i, id))
            return (struct cm_record *)(void *)(p->base + p->c->media.geo.record_offset) +
                   cm_record_place(&b, i);
    CHECK(false);
    return NULL;
}
static uint64_t without_record(struct pool *p, cm_file **owner, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        owner[i] = attach(p, 1000 + i, 100 * BLK, 7, 0);
        if (cm_object_of(owner[i])->place == CM_NO_PLACE)
            return i;
    }
    CHECK(false);
    return 0;
}
static void second_record(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set s;
    struct cm_record r = { 0 };
    unsigned its = CM_RECORD_PLACES;
    cm_record_load(&p->c->media, id, &s);
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, id))
            its = i;
    REQUIRE(its < s.n);
    r = s.record[its];
    CHECK_EQ(cm_record_write(&p->c->media, cm_record_place(&s, its ? 0 : 1), &r), 0);
}
/* The file's record goes. */
/* What could not be read can be when it is written. */
static uint8_t *healed_by_writing;
static int healing_store64(void *ctx, uint64_t *dst, uint64_t v)
{
    os_protect(healed_by_writing, BLK, OS_WRITE);
    return real.store64(ctx, dst, v);
}
static void lose_record(enum unnamed how, struct pool *p, const cm_file_id *id)
{
    if (how == EPOCH_LATER) /* the session that forgets has never seen the file */
        pool_again(p);
    if (how == EPOCH || how == EPOCH_LATER)
        CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0);
    if (how == EPOCH_REUSED) { /* by others */
        CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0);
        memset(p->base + p->c->media.geo.record_offset, 0,
               (size_t)(p->c->media.geo.index_offset - p->c->media.geo.record_offset));
    }
    if (how == UNREADABLE_FORGOTTEN) {
        healed_by_writing = p->base + p->c->media.geo.record_offset / BLK * BLK;
        os_protect(healed_by_writing, BLK, OS_NOTHING);
        ops = real = *p->c->media.ops;
        ops.store64 = healing_store64;
        p->c->media.ops = &ops;
        CHECK_EQ(cm_forget(p->c, id), 0);
        ops.store64 = real.store64;
        p->c->media.ops = &real;
    }
    if (how == TWICE)
        second_record(p, id);
    if (how == DAMAGED || how == DAMAGED_FORGOTTEN || how == DAMAGED_CHECKED)
        its_record(p, id)->mtime_ns ^= 1;
    if (how == DAMAGED_FORGOTTEN)
        CHECK_EQ(cm_forget(p->c, id), 0);
    if (how == DAMAGED_CHECKED) {
        cm_check_report r = { .struct_size = sizeof(r) };
        (void)cm_check(p->c, CM_CHECK_REPAIR, NULL, NULL, &r);
        CHECK_EQ(r.dropped, 1);
    }
    if (how == DAMAGED_MARK)
        its_record(p, id)->state ^= 1;
    if (how == FORGOTTEN) {
        break_range(p, p->c->media.geo.record_offset, p->c->media.geo.index_offset);
        ops.store64 = real.store64;
        CHECK_EQ(cm_forget(p->c, id), 0);
        p->c->media.ops = &real;
    }
}
static void test_failed_sync_unnamed(void)
{
    for (unsigned i = 0; i < UNNAMED * 3; i++) {
        const enum unnamed how = (enum unnamed)(i % UNNAMED);
        if ((how == UNREADABLE || how == UNREADABLE_FORGOTTEN) && !cm_guard_available())
            continue;
        struct pool p;
        cm_file *owner[400] = { 0 };
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        const uint64_t last = how == NO_ROOM ? without_record(&p, owner, 400) : 0;
        const uint64_t n = how == NO_ROOM ? 1000 + last : 1;
        cm_file *f = how == NO_ROOM ? owner[last] : warm(&p, 1, &v, 0);
        const cm_file_id id = id_of(n);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        for (unsigned k = 0; k < 400; k++)
            if (owner[k])
                detach(owner[k]);
        if (how != NO_ROOM)
            detach(f);
        lose_record(how, &p, &id);
        uint8_t *records = p.base + p.c->media.geo.record_offset / BLK * BLK;
        if (how == UNREADABLE) {
            p.c->super.now.durability = CM_DURABILITY_DAX; /* where no epoch is given up for it */
            os_protect(records, BLK, OS_NOTHING);
        }
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        os_protect(records, BLK, OS_WRITE);
        detach(f);
        if (i / UNNAMED == 1)
            pool_again(&p);
        if (i / UNNAMED == 2) {
            pool_crash(&p);
            (void)pool_up(&p);
        }
        v = fresh(v);
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        detach(f);
        pool_down(&p);
        pool_other_boot(&p);
        (void)pool_up(&p);
        v = fresh(v);
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 0);
        CHECK_EQ(put(f, 20, 3), 0);
        pool_end(&p);
    }
}

/* An fsync fails for a file that is not used any more because something of it could not be
 * forgotten: the next attach knows. */
static void test_failed_sync_stopped(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *h = attach(&p, 8, 10 * BLK, 7, 0);
    break_range(&p, 0, p.c->media.geo.index_offset);
    CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET); /* loses its record, and f does not */
    CHECK_EQ(cm_invalidate(f, 3 * BLK, BLK), CM_EFORGET);
    p.c->media.ops = &real;
    heal_elsewhere(&p);
    for (unsigned i = 0; i < 2; i++) {
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
    }
    pool_end(&p);
}

/* That an fsync failed counts, whatever else the call is given. */
static void test_failed_sync_wrong_use(void)
{
    const cm_validator nothing = { .size = 0 };
    for (unsigned how = 0; how < 3; how++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        if (how == 1) { /* a token of the file's last time */
            detach(f);
            f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        }
        CHECK_EQ(cm_sync_end(f, how == 2 ? NULL : &s, 0, how == 0 ? &nothing : NULL),
                 how == 1 ? CM_EFOREIGN : CM_EINVAL);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK(look(f, 3, 2) != RIGHT);
        detach(f);
        pool_end(&p);
    }
}

/* The pool forgets all it has between a write and its fsync, which fails; or in the call that says
 * so. */
static void test_failed_sync_bumped(void)
{
    for (unsigned in_call = 0; in_call < 2; in_call++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *h = attach(&p, 8, 10 * BLK, 7, 0);
        cm_bracket w = begin_write(f, 20 * BLK, BLK); /* its mark is set under the old epoch */
        v = val(100 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        break_range(&p, 0, p.c->media.geo.index_offset);
        CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET);
        p.c->media.ops = &real;
        if (!in_call)
            heal_elsewhere(&p);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        detach(f);
        f = attach(&p, 77, 10 * BLK, 7, 0); /* and of the others nothing is known */
        CHECK_EQ(info_of(f).bypassed, 0);
        pool_end(&p);
    }
}

/* The process dies in the middle of writing the record of a file that an fsync failed for. */
static struct pool *dying;
static uint8_t *left_torn;
static int torn_write(void *ctx, void *dst, const void *src, size_t n)
{
    const uint64_t at = (uint64_t)((uint8_t *)dst - dying->base);
    if (!left_torn && at >= dying->c->media.geo.record_offset &&
        at < dying->c->media.geo.index_offset) {
        CHECK_EQ(real.write(ctx, dst, src, n / 16 * 8), 0);
        left_torn = map_bytes(dying->bytes);
        memcpy(left_torn, dying->base, (size_t)dying->bytes);
    }
    return real.write(ctx, dst, src, n);
}
enum rewrite { AT_END, AT_FORGET, AT_REVALIDATE, REWRITES };
static void rewrite_record(enum rewrite how, struct pool *p, cm_file *f, cm_validator *v)
{
    const cm_file_id id = id_of(1);
    if (how == AT_FORGET) {
        detach(f);
        p->c->media.ops = &ops;
        CHECK_EQ(cm_forget(p->c, &id), 0);
        return;
    }
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    *v = val(101 * BLK, 8);
    if (how == AT_REVALIDATE) {
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        *v = fresh(*v);
    }
    p->c->media.ops = &ops;
    CHECK_EQ(how == AT_END ? cm_write_end(f, &w, v) : cm_file_revalidate(f, v), 0);
    p->c->media.ops = &real;
    detach(f);
}
static void test_failed_sync_torn(void)
{
    for (enum rewrite how = AT_END; how < REWRITES; how++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        dying = &p;
        left_torn = NULL;
        ops = real = *p.c->media.ops;
        ops.write = torn_write;
        rewrite_record(how, &p, f, &v);
        p.c->media.ops = &real;
        pool_down(&p);
        uint8_t *whole = p.base;
        p.base = left_torn ? left_torn : whole;
        REQUIRE(pool_up(&p) == 0);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        if (left_torn)
            unmap_bytes(whole, p.bytes);
        pool_end(&p);
    }
}

/* A file that nothing is cached of (an fsync failed, something of it could not be forgotten) is
 * written, its times adopted: in the next boot, or attached anew, it is cached again. */
static void test_cached_again(void)
{
    for (unsigned i = 0; i < 6; i++) {
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

/* The process dies at a fence of an attach of a file that an fsync failed for: it is still known.
 */
static uint8_t *left_at[16];
static unsigned fences;
static void fence_and_copy(void *ctx)
{
    real.fence(ctx);
    if (fences == sizeof(left_at) / sizeof(left_at[0]))
        return;
    left_at[fences] = map_bytes(dying->bytes);
    memcpy(left_at[fences++], dying->base, (size_t)dying->bytes);
}
static void test_failed_sync_killed(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    detach(f);
    v.mtime_ns = v.ctime_ns = cm_plat_wall_ns(); /* it was written before */
    v = fresh(v);
    dying = &p;
    fences = 0;
    ops = real = *p.c->media.ops;
    ops.fence = fence_and_copy;
    p.c->media.ops = &ops;
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 0, 90 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->media.ops = &real;
    detach(f);
    pool_down(&p);
    uint8_t *whole = p.base;
    for (unsigned i = 0; i < fences; i++) {
        p.base = left_at[i];
        REQUIRE(pool_up(&p) == 0);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        detach(f);
        pool_down(&p);
        unmap_bytes(p.base, p.bytes);
    }
    p.base = whole;
    pool_end(&p);
}

/* A record that names no incarnation is none, whoever wrote it. */
static void test_zero_incarnation(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    const cm_file_id id = id_of(1);
    detach(f);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &id, &s);
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, &id)) {
            s.record[i].incarnation = 0;
            CHECK_EQ(cm_record_write(&p.c->media, cm_record_place(&s, i), &s.record[i]), 0);
        }
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(put(f, 3, 2), 0);
    CHECK_EQ(look(f, 3, 2), RIGHT);
    pool_end(&p);
}

/* A record that cannot be read today must not bring its incarnation back tomorrow: where all
 * records are lost, where those of its own bucket are and the other one is at hand. */
enum lost { ALL, FIRST, SECOND };
static void transient(bool forget, enum cm_durability durability, enum lost lost)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    pool_make(&p, lost == ALL ? MIB : 16 * MIB, 0);
    pool_seed(&p, 1);
    REQUIRE(pool_up(&p) == 0);
    p.c->super.now.durability = durability;
    if (lost == SECOND)
        prefer_second(&p, &id);
    cm_file *f = warm(&p, 1, &v, 0);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &id, &s);
    if (lost != ALL)
        CHECK_EQ(cm_object_of(f)->place - s.first[lost == SECOND] < CM_RECORD_WAYS, true);
    uint64_t incarnation = info_of(f).incarnation;
    uint64_t at = p.c->media.geo.record_offset + cm_object_of(f)->place * sizeof(struct cm_record);
    uint8_t *page = p.base + at / BLK * BLK;
    detach(f);
    os_protect(page, BLK, OS_NOTHING);
    if (forget) {
        CHECK_EQ(cm_forget(p.c, &id), 0);
    } else {
        f = attach_v(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).kept, 0);
        detach(f);
        f = attach_v(&p, 2, &v, 0); /* perhaps in the same bucket */
        CHECK(put_all(f, 0, 10, 2) > 0);
        detach(f);
    }
    CHECK(pool_stats(p.c).escalations <= 2); /* once for a place, not at every attach */
    os_protect(page, BLK, OS_WRITE);
    for (unsigned i = 0; i < 2; i++) { /* a record that was made meanwhile may be kept */
        f = attach_v(&p, 1, &v, 0);
        CHECK(info_of(f).incarnation != incarnation);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        detach(f);
        pool_crash(&p);
        (void)pool_up(&p);
        v = fresh(v);
    }
    pool_end(&p);
}

static void test_unreadable_record(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (enum lost lost = ALL; lost <= SECOND; lost++) {
        transient(false, CM_DURABILITY_PAGECACHE, lost);
        transient(true, CM_DURABILITY_PAGECACHE, lost);
        transient(false, CM_DURABILITY_VOLATILE, lost);
        transient(true, CM_DURABILITY_DAX, lost); /* forgetting trusts nobody */
    }
}

/* ---- The order of stores to a record --------------------------------------------------------- */

static struct cm_cache *watched;
static char order[64]; /* R body written, M mark, D dropped, f flushed */
static size_t orders;

static void note(const void *p, char body, char word)
{
    const struct cm_geometry *g = &watched->media.geo;
    uint64_t at = (uint64_t)((const uint8_t *)p - watched->media.base) - g->record_offset;
    if (at >= g->record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record) ||
        orders + 1 == sizeof(order))
        return;
    bool state = at % sizeof(struct cm_record) == offsetof(struct cm_record, state);
    order[orders++] = word && state ? word : body;
}
static int noted_write(void *ctx, void *dst, const void *src, size_t n)
{
    note(dst, 'R', 0);
    return real.write(ctx, dst, src, n);
}
static int noted_store(void *ctx, uint64_t *p, uint64_t v)
{
    note(p, 'D', 'M');
    return real.store64(ctx, p, v);
}
static int noted_flush(void *ctx, const void *p, size_t n)
{
    note(p, 'f', 0);
    return real.flush(ctx, p, n);
}

static void watch(struct pool *p)
{
    ops = real = *p->c->media.ops;
    ops.write = noted_write;
    ops.store64 = noted_store;
    ops.flush = noted_flush;
    watched = p->c;
    memset(order, 0, sizeof(order));
    orders = 0;
    p->c->media.ops = &ops;
}

/* What was stored to records since watch() must be `want`. */
static void expect_stores(struct pool *p, const char *want)
{
    p->c->media.ops = &real;
    if (strcmp(order, want) != 0) {
        printf("# stores to records: %s, want %s\n", order, want);
        FAIL("order of stores to a record");
    }
}

/* Attaches file 1 with `v`. */
static void expect_order(struct pool *p, const cm_validator *v, const char *want)
{
    watch(p);
    detach(attach_v(p, 1, v, 0));
    expect_stores(p, want);
}

/* A failed fsync marks before it renews: a record that is new and claims to be clean would keep
 * after a crash of the system what was filled from the page cache after one of the process. */
static void test_failed_sync_order(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    cm_sync s = sync_begin(f);
    watch(&p);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    expect_stores(&p, "MfRf");
    pool_end(&p);
}

static void test_record_order(void)
{
    struct pool p;
    cm_file_id own = id_of(1), other = id_of(2);
    pool_make(&p, MIB, CM_RECORD_WAYS); /* two buckets, of every file */
    pool_seed(&p, 3);
    REQUIRE(pool_up(&p) == 0);
    /* Clean: the record, then its mark is cleared: else the old record loses its own. */
    detach(attach(&p, 2, 100 * BLK, 1, 0));
    cm_validator v = val(100 * BLK, 7);
    expect_order(&p, &v, "fRfMf");
    v = val(100 * BLK, 8);
    expect_order(&p, &v, "RfMf");
    /* Kept: made durable as it was found. */
    expect_order(&p, &v, "f");
    /* Born dirty: the old record goes, then the mark, then the new one. */
    v.mtime_ns = v.ctime_ns = cm_plat_wall_ns();
    expect_order(&p, &v, "DfMfRf");
    /* Torn, and an earlier place is free: the torn one is settled before another is written. */
    CHECK_EQ(cm_forget(p.c, &other), 0);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &own, &s);
    unsigned torn = 0;
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, &own)) {
            record_of(p.c, cm_record_place(&s, i))->size++;
            torn = i;
        }
    CHECK(torn >= CM_RECORD_WAYS); /* in the second bucket; the new one goes to the first */
    v = val(100 * BLK, 9);
    expect_order(&p, &v, "ffRfMf");
    pool_end(&p);
}

static cm_file *filled;
static void filling_fence(void *ctx)
{
    ops.fence = real.fence; /* once */
    CHECK_EQ(put(filled, 50, 2), 0);
    real.fence(ctx);
}

/* What somebody else stores before the fence of a new record belongs to the old incarnation: under
 * the new one it would be lost, "stored" or not, if a crash brought the old record back. */
static void test_stored_before_the_record(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    filled = attach(&p, 1, 100 * BLK, 7, 0);
    uint64_t before = info_of(filled).incarnation;
    ops = real = *p.c->media.ops;
    ops.fence = filling_fence;
    p.c->media.ops = &ops;
    CHECK_EQ(cm_file_abort(filled), 0);
    CHECK(ops.fence == real.fence);
    p.c->media.ops = &real;
    CHECK(info_of(filled).incarnation > before);
    CHECK_EQ(look(filled, 50, 2), MISS);
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(forget_unwritable),
    TEST(failed_sync_stays),
    TEST(unreadable_record),
    TEST(forgets_after_healing),
    TEST(failed_sync_killed),
    TEST(failed_sync_stopped),
    TEST(failed_sync_unnamed),
    TEST(failed_sync_bumped),
    TEST(failed_sync_wrong_use),
    TEST(failed_sync_torn),
    TEST(cached_again),
    TEST(zero_incarnation),
    TEST(stored_before_the_record),
    TEST(record_order),
    TEST(sync_then_change),
    TEST(abort_then_older_validator),
    TEST(hooks_unlocked),
    TEST(abort_disowns),
    TEST(keep),
    TEST(mark_too_old),
    TEST(mark_too_old_unseen),
    TEST(mark_too_old_evicted),
    TEST(mark_too_old_checked),
    TEST(changed_validator),
    TEST(racy),
    TEST(racy_settles),
    TEST(racy_later),
    TEST(no_validator),
    TEST(unknown_size),
    TEST(unsynced),
    TEST(unsynced_clean_close),
    TEST(mark_over_sessions),
    TEST(which_brackets_mark),
    TEST(origin_volatile),
    TEST(born_dirty),
    TEST(damaged_mark),
    TEST(sync_rules),
    TEST(sync_survives),
    TEST(sync_then_write),
    TEST(failed_sync),
    TEST(failed_sync_reattach),
    TEST(failed_sync_boots),
    TEST(failed_sync_order),
    TEST(failed_sync_overlapped),
    TEST(foreign_sync),
    TEST(adopt),
    TEST(not_sole),
    TEST(taken_too_early),
    TEST(last_end_adopts),
    TEST(open_bracket_ignores),
    TEST(empty_bracket),
    TEST(sole_ends),
    TEST(revalidate_changed),
    TEST(second_open_judges),
    TEST(older_than_a_write),
    TEST(ignored_forgets),
    TEST(older_than_the_open),
    TEST(older_than_the_last),
    TEST(older_than_forgetting),
    TEST(taken_in_the_future),
    TEST(second_open_without_size),
    TEST(size_of_a_version),
    TEST(size),
    TEST(size_brackets),
    TEST(truncate),
    TEST(truncate_kept),
    TEST(truncate_unknown_size),
    TEST(append),
    TEST(abort),
    TEST(abort_then_validator),
    TEST(abort_beside),
    TEST(invalidate_beside_abort),
    TEST(crash_in_bracket),
    TEST(forget),
    TEST(forget_in_bracket),
    TEST(close_rules),
    TEST(many_files),
    TEST(escalate_to_file),
    TEST(place_unwritable),
    TEST(own_record_damaged),
    TEST(escalate_to_pool),
    TEST(cannot_forget),
    TEST(cannot_forget_yet),
    TEST(cannot_forget_until_close),
    TEST(cannot_forget_twice),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
