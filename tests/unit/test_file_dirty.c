/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_dirty.c - what is not synced yet, over crashes and syncs, and the adopted validators.
 */
#include "file_common.h"

#include "protocol/bracket.h"

/* ---- Unsynced writes ------------------------------------------------------------------------- */

/* A file is written and not synced: a crash of the process keeps it, a crash of the system drops
 * it. */
static void check_unsynced(bool other_boot)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2 = val(100 * BLK, 8);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    detach(warm(&p, 2, &v, 0)); /* a file beside it, which is not written */
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
    CALL(check_unsynced(false));
    CALL(check_unsynced(true));
}

/* Unsynced, closed cleanly, then the system crashes: the origin has lost the write in this case,
 * too. */
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

/* A mark that one session set, and a second session found, still counts in a third. */
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

/* The mark is on the media before write_begin returns. Attribute brackets need no mark. */
static void test_which_brackets_mark(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    for (unsigned kind = 0; kind < 6; kind++) {
        CASE("kind %u", kind);
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = warm(&p, 1, &v, 0);
        if (kind == 0)
            CHECK_EQ(cm_write_begin(f, 5 * BLK, 0, &w), 0);
        else if (kind == 1) /* how much is not known */
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 0, &w), 0);
        else if (kind == 2)
            CHECK_EQ(cm_write_begin(f, 50 * BLK, 1, &w), 0);
        else if (kind == 3)
            CHECK_EQ(cm_truncate_begin(f, 99 * BLK, &w), 0);
        else if (kind == 4)
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

/* Attributes of a file whose size nobody knows: its content stays, wherever it ends. */
static void test_attributes_mark_nothing(void)
{
    struct pool p;
    cm_validator v = val(CM_SIZE_UNKNOWN, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(info_of(f).dirty, 0);
    cm_bracket w = begin_write(f, 5 * BLK, 0);
    CHECK_EQ(info_of(f).dirty, 0);
    CHECK_EQ(info_of(f).dirty_regions, 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* The origin's power may fail alone: then a dirty file is lost even in the same boot. */
static void test_origin_volatile(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        CASE("dirty %u", dirty);
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

/* A file that changed after the boot, with no sync that the cache has seen, is born dirty. */
static void test_born_dirty(void)
{
    NEED_DAX;
    struct pool p;
    REQUIRE(dax_pool(&p) == 0);
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    cm_validator v = val(100 * BLK, 7);
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        v = val(100 * BLK, 7);
        if (how == 1)
            v.changed_ns = t.tv_sec * INT64_C(1000000000);
        if (how == 2)
            v.changed_ns = 0; /* not known */
        cm_file *f = warm(&p, 1 + how, &v, 0);
        CHECK_EQ(info_of(f).dirty, how > 0);
        detach(f);
    }
    detach(warm(&p, 4, &v, 0)); /* ... and a sync proves it clean */
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

/* The same for a file that is found changed while it is open. */
static void test_born_dirty_again(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7), next = val(100 * BLK, 8);
    REQUIRE(dax_pool(&p) == 0);
    next.changed_ns = 0; /* not known */
    cm_file *f = warm(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).dirty, 0);
    next = fresh(next);
    CHECK_EQ(cm_file_revalidate(f, &next), 0);
    CHECK_EQ(info_of(f).dirty, 1);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    crash_and_boot(&p);
    next = fresh(next);
    expect_kept(&p, 1, &next, false);
    pool_end(&p);
}

/* A file is written, not synced, and closed. Then somebody else has changed it. Its times look
 * older than the boot, but the write is still not synced. */
static void test_unsynced_then_changed(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), next = val(100 * BLK, 8);
    cm_file *f = warm_pool(&p, &v, 0);
    write_and_end(f);
    detach(f);
    f = attach_v(&p, 1, &next, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(info_of(f).dirty, 1);
    detach(f);
    pool_end(&p);
}

/* The owner of a bracket was lost. The next validator begins a new version, and from then on own
 * writes are known again. */
static void test_owned_again(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    (void)begin_write(f, 20 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK(!cm_file_may_adopt(cm_object_of(f)));
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK(cm_file_may_adopt(cm_object_of(f)));
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    pool_end(&p);
}

/* ---- Sync ------------------------------------------------------------------------------------ */

/* A sync proves the file clean only if no write was open when it began and none has begun since. */
static void test_sync_rules(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    write_and_end(f);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 0);

    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    s = sync_begin(f); /* the write is open when the sync begins */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 1);

    s = sync_begin(f);
    write_and_end(f); /* it began and ended during the sync */
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).dirty, 1);

    s = sync_begin(f);
    w = begin_write(f, 20 * BLK, BLK); /* it began during the sync and is open */
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

/* The caller has written with a sync each time: all is safe but what an open bracket may change. */
static void test_synced_at_once(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    for (unsigned i = 0; i < 3; i++) {
        CASE("write %u", i);
        cm_bracket w = begin_write(f, 20 * BLK, BLK);
        cm_bracket_synced(cm_object_of(f));
        CHECK_EQ(info_of(f).dirty, 1);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(info_of(f).dirty, 1);
        cm_bracket_synced(cm_object_of(f));
        CHECK_EQ(info_of(f).dirty, 0);
    }
    pool_end(&p);
}

/* A file is forgotten while its own write waits for a validator. The next one is another file's. */
static void test_forgotten_wants_none(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    write_and_end(f);
    CHECK_EQ(info_of(f).want_validator, 1);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK_EQ(cm_file_lookup(p.c, &id, &v, NULL), 0);
    CHECK(!cm_file_has_proof(&v) && v.racy != 0); /* what it had proves nothing */
    detach(f);
    CHECK_EQ(cm_file_lookup(p.c, &id, &v, NULL), 0);
    CHECK_EQ(v.size, CM_SIZE_UNKNOWN); /* and was another file's size, perhaps */
    pool_end(&p);
}

/* The content that the sync proved survives; other content does not. */
static void test_sync_survives(void)
{
    NEED_DAX;
    for (unsigned proved = 0; proved < 2; proved++) {
        CASE("proved %u", proved);
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

/* A foreign change that is found while a sync runs may be later than the data of the sync. */
static void test_sync_then_change(void)
{
    struct pool p;
    cm_sync s;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    cm_validator v = val(100 * BLK, 8);
    v.changed_ns = cm_plat_wall_ns();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK(info_of(f).dirty);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK(info_of(f).dirty);
    detach(f);
    pool_end(&p);
}

/* ---- A clock that is set --------------------------------------------------------------------- */

static int64_t clock_set_by;   /* the wall clock, and so the boot as it seems */
static const int64_t *boot_at; /* instead of all that */
static unsigned boot_asked;
int64_t __real_cm_plat_boot_wall_ns(void);
int64_t __wrap_cm_plat_boot_wall_ns(void);
int64_t __wrap_cm_plat_boot_wall_ns(void)
{
    boot_asked++;
    return boot_at ? *boot_at : __real_cm_plat_boot_wall_ns() + clock_set_by;
}

#define YEAR_NS (INT64_C(365) * 24 * 3600 * 1000000000)

/* A file that was changed while the clock was set back looks older than the boot. It is dirty if
 * any call has seen the clock then, also after it was set forward again. */
static void test_clock_set_back(void)
{
    struct pool p;
    if (__real_cm_plat_boot_wall_ns() == INT64_MIN)
        SKIP("nobody knows when this system booted");
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_validator v = val(100 * BLK, 7);
    v.changed_ns = __real_cm_plat_boot_wall_ns() - YEAR_NS / 2; /* by the clock of then */
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).dirty, 0); /* nobody could know */
    detach(f);
    clock_set_by = -YEAR_NS;
    f = attach_v(&p, 2, &v, 0);
    CHECK_EQ(info_of(f).dirty, 1);
    detach(f);
    clock_set_by = 0;
    f = attach_v(&p, 3, &v, 0);
    CHECK_EQ(info_of(f).dirty, 1);
    detach(f);
    clock_set_by = YEAR_NS; /* set forward: no file of this boot looks older than it */
    v.changed_ns = __real_cm_plat_boot_wall_ns() + 1;
    f = attach_v(&p, 4, &v, 0);
    CHECK_EQ(info_of(f).dirty, 1);
    detach(f);
    clock_set_by = 0;
    pool_end(&p);
}

/* What changed long ago is clean whatever the clocks say: if nobody knows the boot, and on a board
 * whose clock begins in 1970. A time that such a clock showed is none of long ago. */
static void test_long_ago(void)
{
    static const int64_t boots[] = { INT64_MIN, -YEAR_NS, 0, INT64_C(100) * 1000000000 };
    NEED_DAX;
    for (unsigned i = 0; i < 4; i++) {
        CASE("boot %u", i);
        struct pool p;
        cm_validator v = val(100 * BLK, 7), shown;
        cm_plat_validator(&shown, 100 * BLK, -2, -1, 0);
        boot_at = &boots[i];
        REQUIRE(dax_pool(&p) == 0);
        boot_asked = 0;
        cm_file *f = warm(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).dirty, 0);
        CHECK_EQ(boot_asked, 0); /* it takes system calls */
        detach(f);
        shown = fresh(shown);
        f = warm(&p, 2, &shown, 0);
        CHECK_EQ(info_of(f).dirty, 1);
        detach(f);
        crash_and_boot(&p);
        v = fresh(v);
        shown = fresh(shown);
        expect_kept(&p, 1, &v, true);
        expect_kept(&p, 2, &shown, false);
        boot_at = NULL;
        pool_end(&p);
    }
}

/* If nobody knows the boot for a moment, files are dirty for that moment. */
static void test_boot_unknown(void)
{
    static const int64_t unknown = INT64_MIN;
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    if (__real_cm_plat_boot_wall_ns() == INT64_MIN)
        SKIP("nobody knows when this system booted");
    v.changed_ns = __real_cm_plat_boot_wall_ns() - YEAR_NS;
    for (unsigned i = 0; i < 2; i++) {
        CASE("unknown %s", i ? "later" : "at the open");
        boot_at = i ? NULL : &unknown;
        REQUIRE(pool_new(&p, MIB) == 0);
        boot_at = &unknown;
        cm_file *f = attach_v(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).dirty, 1);
        detach(f);
        boot_at = NULL;
        f = attach_v(&p, 2, &v, 0);
        CHECK_EQ(info_of(f).dirty, 0);
        detach(f);
        pool_end(&p);
    }
}

static void test_failed_sync(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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
    /* The system reports a lost page once, and then takes it for written. A later sync succeeds, on
     * any descriptor, and has written nothing of that page. So data that is read now may be newer
     * than the device's. It must be neither cached nor proved. */
    s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_MODE);
    CHECK_EQ(hits(f, 0, 100, 1), 0);
    pool_end(&p);
}

/* The bypass lasts to the end of the boot. Opening the file or the pool again does not end it, and
 * no sync does. The origin may have lost what was cached before the failure. */
static void test_failed_sync_reattach(void)
{
    for (unsigned again = 0; again < 3; again++) {
        CASE("again %u", again);
        struct pool p;
        cm_validator v = val(100 * BLK, 7), v2;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_bracket w = begin_write(f, 20 * BLK, BLK);
        v2 = val(100 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v2), 0);
        CHECK_EQ(put(f, 20, 2), 0); /* the new bytes, which the failed fsync then loses */
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

/* A failure counts only in its own boot: the page cache is lost with that boot. A mark of an
 * earlier boot does not count as a failure. */
static void test_failed_sync_boots(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    detach(warm(&p, 1, &v, 0));
    for (unsigned boot = 0; boot < 2; boot++) {
        CASE("boot %u", boot);
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

/* A sync that began before the failed one does not end the bypass either. */
static void test_failed_sync_overlapped(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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

/* The last end of a sole writer adopts a validator. The next attach must present that one. */
static void test_adopt(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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

/* With other writers an end adopts nothing: the next revalidation decides. */
static void test_not_sole(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_file *f = warm_pool(&p, &v, 0);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v2 = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v2), CM_WANT_VALIDATOR);
    CHECK_EQ(info_of(f).want_validator, 1);
    CHECK_EQ(hits(f, 0, 10, 1), 10); /* the bracket forgot only what it changed */
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
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    cm_bracket a = begin_write(f, 20 * BLK, BLK), b = begin_write(f, 30 * BLK, BLK);
    early = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &a, &early), 0); /* not the last end, so no validator is needed yet */
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

/* The last of several brackets ends with a validator from after the other ends: it is adopted. */
static void test_last_end_adopts(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), late;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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

/* While a bracket is open, every call ignores validators. */
static void test_open_bracket_ignores(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_file_id id = id_of(1);
    cm_file *f2 = NULL;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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

/* An empty bracket may supply a validator that is wanted. chmod and rename are reported in this
 * way. */
static void test_empty_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_bracket w;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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

/* SOLE_WRITER ends when a handle is opened without it. */
static void test_sole_ends(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
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
        CASE("sole %u", sole);
        struct pool p;
        cm_validator v = val(100 * BLK, 7), v2 = val(90 * BLK, 8);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = fresh(v);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
        v2 = fresh(v2);
        CHECK_EQ(cm_file_revalidate(f, &v2), 0); /* no own write, so another program wrote */
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

/* A racy change is presented again, unchanged and not racy. It may hide a second change. */
static void test_second_open_judges(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), v2 = val(100 * BLK, 8);
    cm_file *f = warm_pool(&p, &v, 0);
    v2 = fresh(v2);
    cm_file *f2 = attach_v(&p, 1, &v2, 0);
    CHECK(f == f2);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    detach(f);
    CHECK_EQ(put_all(f2, 0, 10, 1), 10); /* the other handle still works */
    detach(f2);
    CHECK_EQ(cm_file_close(f2), CM_EHANDLE);
    pool_end(&p);
}

const struct harness_test file_dirty_tests[] = {
    TEST(sync_then_change),
    TEST(clock_set_back),
    TEST(long_ago),
    TEST(boot_unknown),
    TEST(unsynced),
    TEST(unsynced_clean_close),
    TEST(mark_over_sessions),
    TEST(which_brackets_mark),
    TEST(origin_volatile),
    TEST(born_dirty),
    TEST(born_dirty_again),
    TEST(unsynced_then_changed),
    TEST(synced_at_once),
    TEST(forgotten_wants_none),
    TEST(attributes_mark_nothing),
    TEST(owned_again),
    TEST(sync_rules),
    TEST(sync_survives),
    TEST(sync_then_write),
    TEST(failed_sync),
    TEST(failed_sync_reattach),
    TEST(failed_sync_boots),
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
    TEST_END,
};
