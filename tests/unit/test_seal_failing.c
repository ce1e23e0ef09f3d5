/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal_failing.c - callbacks of a seal that fail for a moment, while a pool is opened,
 * checkpointed and closed, and while files are attached, kept and forgotten.
 */
#include "seal_scene.h"

#include "../os.h"
#include "state/file_record.h"

/* No test looks at what a crash of the system leaves, and syncs of a disk take long. */
static int sync_fails;       /* the next one; the system says it once */
static uint64_t page_synced; /* offset of the last one */
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    (void)f;
    if (len == CM_BLOCK_SIZE)
        page_synced = offset;
    const int e = sync_fails ? CM_EIO : 0;
    sync_fails = 0;
    return e;
}
/* ---- Acts ------------------------------------------------------------------------------------ */

static int opening(struct scene *t)
{
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.key = fails;
    const int e = cm_open(t->path, &t->s.p.o, &t->s.p.c);
    if (e) {
        t->s.p.c = NULL;
        return e;
    }
    struct cm_super sb;
    uint32_t damaged = 1;
    t->s.key.fails = 0;
    CHECK(cm_super_read_sealed(t->s.p.c->media.base, &t->s.p.c->sealing, &sb, &damaged) >= 0);
    CHECK_EQ(damaged, 0); /* both copies are right */
    return 0;
}

static void test_failing_open(void)
{
    try_all(opening);
}

/* The volume has lost what a crashed owner wrote, and no new epoch can be sealed. Then the pool is
 * void: the loss counts, and not the seal. */
static void test_failing_open_lost(void)
{
    struct scene t;
    begin(&t, false);
    const bool syncs = t.s.p.c->super.sync;
    down(&t);
    if (!syncs)
        SKIP("this volume is not synced");
    t.s.p.o.log = sealed_log;
    t.s.p.o.log_ctx = &t.s;
    sync_fails = 1;
    t.s.key.after = 4; /* both superblocks are judged */
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_open(t.path, &t.s.p.o, &t.s.p.c), CM_EIO);
    CHECK(strstr(t.s.said, "the pool is void") != NULL);
    t.s.key.fails = 0;
    CHECK_EQ(cm_open(t.path, &t.s.p.o, &t.s.p.c), CM_ENOTPOOL);
#ifndef _WIN32 /* a file that is mapped cannot be cut */
    CHECK(strstr(t.s.said, "is empty (0 bytes)") != NULL);
#endif
    t.s.p.c = NULL;
}

/* The same at a close. */
static void test_failing_close_lost(void)
{
    struct scene t;
    begin(&t, false);
    const bool syncs = t.s.p.c->super.sync;
    down(&t);
    if (!syncs)
        SKIP("this volume is not synced");
    t.s.p.o.log = sealed_log;
    t.s.p.o.log_ctx = &t.s;
    REQUIRE(cm_open(t.path, &t.s.p.o, &t.s.p.c) == 0);
    sync_fails = 1;
    t.s.key.after = 0;
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_close(t.s.p.c), CM_EIO);
    CHECK(strstr(t.s.said, "the pool is void") != NULL);
    t.s.key.fails = 0;
    CHECK_EQ(cm_open(t.path, &t.s.p.o, &t.s.p.c), CM_ENOTPOOL);
    t.s.p.c = NULL;
}

static int closing(struct scene *t)
{
    detach_all(t);
    const int e = cm_close(t->s.p.c);
    t->s.p.c = NULL;
    return e;
}

static void test_failing_close(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not say which mount it is: a pool that was not closed is emptied");
    try_all(closing);
}

static int checkpoint(struct scene *t)
{
    return cm_checkpoint(t->s.p.c);
}

/* Twice: the second one may have to say what the first could not. */
static int checkpoints(struct scene *t)
{
    const int e = cm_checkpoint(t->s.p.c);
    return e && e != CM_ESEAL ? e : cm_checkpoint(t->s.p.c);
}

static void test_failing_checkpoint(void)
{
    struct scene t;
    begin(&t, false);
    NEEDS_CHECKPOINTS(&t);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(checkpoint(&t), CM_ESEAL);
    t.s.key.fails = 0;
    CHECK_EQ(hits(t.f[0], 0, MANY, 7), MANY); /* nothing was emptied */
    CHECK_EQ(checkpoint(&t), 0);
    CHECK_EQ((int64_t)pool_stats(t.s.p.c).escalations, 0);
    judge(&t);
    try_all(checkpoints);
}

/* One is known, one is new; both may be in the same buckets. */
static int attaching(struct scene *t)
{
    const cm_validator v = valid_now();
    cm_file *f = NULL;
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    detach_all(t);
    t->s.key = fails;
    for (uint64_t id = 1; id <= 3; id += 2) {
        const cm_file_id which = id_of(id);
        const int e = cm_file_open(t->s.p.c, &which, &v, 0, &f);
        if (e < 0)
            return e;
        detach(f);
    }
    return 0;
}

static void test_failing_attach(void)
{
    try_all(attaching);
}

static unsigned records(struct scene *t)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(t->s.p.c, CM_CHECK_METADATA, NULL, NULL, &r), 0);
    return (unsigned)r.records;
}

/* A new file takes the record of another one; if that fails, the other one keeps it. */
static void test_failing_full(void)
{
    struct scene t;
    begin(&t, false);
    unsigned full = 0, now = records(&t);
    for (uint64_t id = 10; now > full || id < 200; id++) {
        full = now;
        detach(attach(&t.s.p, id, BLK, 1, 0));
        now = records(&t);
    }
    for (unsigned n = 0; n < full + 6; n++) {
        const cm_file_id id = id_of(1000 + n);
        const cm_validator v = valid_now();
        cm_file *f = NULL;
        CASE("call %u", n);
        t.s.key.after = n;
        t.s.key.fails = 1;
        const int e = cm_file_open(t.s.p.c, &id, &v, 0, &f);
        CHECK(e == 0 || e == CM_ESEAL);
        if (e == 0)
            detach(f);
        t.s.key.fails = 0;
        CHECK_EQ(records(&t), full);
    }
    detach_all(&t);
    CHECK_EQ(cm_close(t.s.p.c), 0);
}

static int ending(struct scene *t)
{
    return cm_file_set_ttl(t->f[0], UINT64_C(3600) * 1000000000);
}

/* The end of life is known in the next session if the call said so. */
static void test_failing_ttl(void)
{
    for (unsigned n = 0; n < 2; n++) {
        struct scene t;
        const cm_file_id id = id_of(1);
        cm_validator v = CM_VALIDATOR_INIT;
        cm_file_info info = CM_FILE_INFO_INIT;
        begin(&t, false);
        t.s.key.after = n;
        t.s.key.fails = 1;
        CHECK_EQ(ending(&t), 0);
        t.s.key.fails = 0;
        down(&t);
        REQUIRE(cm_open(t.path, &t.s.p.o, &t.s.p.c) == 0);
        CHECK_EQ(cm_file_lookup(t.s.p.c, &id, &v, &info), 0);
        CHECK(info.expires_ns > 0);
        judge(&t);
    }
}

static int looking(struct scene *t)
{
    const cm_file_id id = id_of(1);
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    detach_all(t);
    const int e = cm_file_lookup(t->s.p.c, &id, &v, &info);
    CHECK(e == CM_ESEAL || e == 0);
    if (e == 0) /* then the answer is the right one */
        CHECK(info.size == 20 * BLK && v.size == info.size && info.incarnation != 0);
    return e;
}

static void test_failing_lookup(void)
{
    try_all(looking);
}

static int listing(struct scene *t)
{
    cm_file_iter *iter;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    unsigned n = 0;
    detach_all(t);
    const int e = cm_files_begin(t->s.p.c, 0, &iter);
    if (e)
        return e;
    t->s.key.fails = 0;
    while (cm_files_next(iter, &v, &info) == 0)
        n++;
    cm_files_end(iter);
    CHECK_EQ(n, FILES);
    return 0;
}

static void test_failing_list(void)
{
    struct scene t;
    cm_file_iter *iter;
    unsigned n = 0;
    begin(&t, false);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(listing(&t), CM_ESEAL); /* not fewer files */
    t.s.key.fails = 0;
    CHECK_EQ(cm_files_begin(t.s.p.c, 0, &iter), 0);
    for (int e = 0; e == 0 || e == CM_ESEAL; n += e == 0) {
        t.s.key.fails = e ? 0 : 1; /* each file at its first look */
        e = cm_files_next(iter, NULL, NULL);
    }
    t.s.key.fails = 0;
    cm_files_end(iter);
    CHECK_EQ(n, FILES); /* the same file comes again */
    judge(&t);
}

static int keeping(struct scene *t)
{
    const int e = cm_file_set_keep(t->f[0], 1);
    CHECK(e == 0 || e == CM_ESEAL);
    t->s.key.fails = 0;
    CHECK_EQ((int64_t)info_of(t->f[0]).keep, e == 0);
    CHECK_EQ((int64_t)pool_info(t->s.p.c).kept_files, e == 0);
    return e;
}

static int grouping(struct scene *t)
{
    const int e = cm_file_set_group(t->f[0], 3);
    CHECK(e == 0 || e == CM_ESEAL);
    const struct cm_media *const m = &t->s.p.c->media;
    const uint64_t place = cm_object_of(t->f[0])->place;
    CHECK(e != 0 || cm_record_attr(m, place, record_of(t->s.p.c, place)).group == 3);
    return e;
}

static void test_failing_keep(void)
{
    try_all(keeping);
    try_all(grouping);
}

/* A new epoch made the record void, and it cannot be sealed again: the file has none. */
static void test_failing_attr(void)
{
    struct scene t;
    begin(&t, false);
    CHECK_EQ(cm_file_set_keep(t.f[0], 1), 0);
    CHECK_EQ(cm_file_set_keep(t.f[0], 0), 0);
    CHECK_EQ(cm_file_bump_epoch(t.s.p.c), 0);
    t.s.key.fails = UINT32_MAX;
    t.s.key.after = 1; /* that it is void can be seen */
    CHECK_EQ(cm_file_set_keep(t.f[0], 1), CM_NOT_RECORDED);
    t.s.key.fails = 0;
    CHECK_EQ((int64_t)info_of(t.f[0]).keep, 0);
    CHECK_EQ((int64_t)pool_info(t.s.p.c).kept_files, 0);
    CHECK_EQ(cm_object_of(t.f[0])->place, CM_NO_PLACE);
    for (unsigned i = 0; i < FILES; i++)
        t.cold[i] = true;
    judge(&t);
}

static int checking(struct scene *t)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    const int e = cm_check(t->s.p.c, CM_CHECK_REPAIR, NULL, NULL, &r);
    CHECK_EQ((int64_t)r.dropped, 0);
    CHECK_EQ((int64_t)r.unreadable, 0);
    CHECK(e == CM_ESEAL || (e == 0 && r.records == FILES));
    return e;
}

static void test_failing_check(void)
{
    struct scene t;
    begin(&t, false);
    t.s.key.fails = 1;
    t.s.key.after = 4; /* the content of a block */
    CHECK_EQ(checking(&t), CM_ESEAL);
    judge(&t);
    try_all(checking);
}

static int resizing(struct scene *t)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.key = fails;
    o.size = SIZE + MIB / 4;
    o.seal = &t->s.seal;
    const int e = cm_resize(t->path, &o, &r);
    CHECK_EQ((int64_t)os_size(t->path), (int64_t)(e ? SIZE : o.size));
    return e;
}

static void test_failing_resize(void)
{
    try_all(resizing);
}

/* ---- What must be forgotten all the same ----------------------------------------------------- */

static int forgetting(struct scene *t)
{
    const cm_file_id id = id_of(2);
    detach_all(t);
    const int e = cm_forget(t->s.p.c, &id);
    t->cold[1] = e == 0;
    return e;
}

/* Another version: the record is written anew. */
static int changing(struct scene *t)
{
    cm_validator v = val(20 * BLK, 2);
    v.taken_at = later();
    const int e = cm_file_revalidate(t->f[1], &v);
    t->cold[1] = true;
    return e;
}

/* The same of a file that was kept when it was opened: its old record must not come back. */
static void test_failing_kept(void)
{
    struct scene t;
    begin(&t, false);
    down(&t);
    up(&t);
    CHECK_EQ((int64_t)info_of(t.f[1]).kept, 1);
    t.s.key.fails = UINT32_MAX;
    CHECK(changing(&t) >= 0);
    judge(&t);
}

/* The other file stays warm. */
static void test_failing_forget(void)
{
    struct scene t;
    for (unsigned checkpointed = 0; checkpointed < 2; checkpointed++) {
        begin(&t, checkpointed != 0);
        t.s.key.fails = UINT32_MAX;
        CHECK_EQ(forgetting(&t), 0);
        CHECK_EQ((int64_t)pool_stats(t.s.p.c).escalations, 0);
        judge(&t);
    }
    try_all(forgetting);
    try_all(changing);
}

/* Where syncs decide, the end of the record is synced. */
static void test_failing_page(void)
{
    struct scene t;
    begin(&t, true);
    NEEDS_CHECKPOINTS(&t);
    const cm_cache *c = t.s.p.c;
    const uint64_t place = cm_object_of(t.f[1])->place;
    page_synced = 0;
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(changing(&t), 0);
    CHECK_EQ((int64_t)page_synced,
             (int64_t)(c->media.geo.record_offset + place / CM_RECORD_WAYS * CM_BLOCK_SIZE));
    judge(&t);
}

static int64_t reads_nothing(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset, (void)buf, (void)len;
    CHECK(false && "all of it is cached");
    return -1;
}

/* What a warming has passed in the probation buffer, and could not store, the next checkpoint
 * stores. */
static void test_failing_warm(void)
{
    enum { HELD = 16 };
    struct sealed s;
    sealed_make(&s, MIB, 1);
    s.p.o.probation_bytes = HELD * BLK;
    cm_file *f = sealed_up(&s, 1);
    cm_file *other = attach(&s.p, 2, 1000 * BLK, 1, CM_SOLE_WRITER);
    (void)put_all(other, 0, s.p.c->media.geo.slots + 2 * HELD, 7); /* the pool is full */
    CHECK_EQ(put_all(f, 0, HELD / 2, 7), HELD / 2);
    const int64_t promoted = STAT(s.p.c, promoted);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_warm(f, 0, HELD / 2 * BLK, NULL, reads_nothing, NULL, NULL), 0);
    CHECK(s.key.failed > 0);
    CHECK_EQ(cm_checkpoint(s.p.c), CM_ENOTSUP); /* the pool is in memory */
    CHECK_EQ(STAT(s.p.c, promoted), promoted);
    s.key.fails = 0;
    CHECK_EQ(cm_checkpoint(s.p.c), CM_ENOTSUP);
    CHECK_EQ(STAT(s.p.c, promoted), promoted + HELD / 2);
    CHECK_EQ(hits(f, 0, HELD / 2, 7), HELD / 2);
    detach(other);
    sealed_down(&s, f);
    sealed_end(&s);
}

const struct harness_test seal_failing_tests[] = {
    TEST(failing_open),
    TEST(failing_open_lost),
    TEST(failing_close),
    TEST(failing_close_lost),
    TEST(failing_checkpoint),
    TEST(failing_attach),
    TEST(failing_full),
    TEST(failing_ttl),
    TEST(failing_lookup),
    TEST(failing_list),
    TEST(failing_keep),
    TEST(failing_attr),
    TEST(failing_check),
    TEST(failing_resize),
    TEST(failing_forget),
    TEST(failing_kept),
    TEST(failing_page),
    TEST(failing_warm),
    TEST_END,
};
