/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_checkpoint_failing.c - checkpoints: other volumes, torn blocks, syncs that fail, threads.
 */
#include "checkpoint_common.h"

/* ---- Volumes --------------------------------------------------------------------------------- */

/* The volume was pulled out and put back in the same boot. */
static void test_other_mount(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    write_in(f, REGION);
    t.mount = 2;
    const uint32_t boot = t.p.c->super.now.boot_number;
    crash(SYNCED, false);
    CHECK_EQ(pool_info(t.p.c).emptied, 0);
    CHECK_EQ(t.p.c->super.now.boot_number, boot + 1);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

static void test_other_volume(void)
{
    for (unsigned clean = 0; clean < 2; clean++) {
        CASE("clean %u", clean);
        checkpointed_pool();
        detach(three_regions(CM_SOLE_WRITER));
        t.lasts = false;
        if (clean) {
            CHECK_EQ(cm_close(t.p.c), 0);
            pool_other_boot(&t.p);
            REQUIRE(file_up() == 0);
        } else {
            power_cut(STORED);
        }
        CHECK_EQ(pool_info(t.p.c).emptied, !clean);
        CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_PAGECACHE);
        file_end();
    }
}

/* A crash may have torn a payload. It is tested, also after a clean close, and is no damage. */
static void test_torn(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    payload_of(t.p.c, slot_of(f, REGION))[2000] ^= 1;
    t.p.o.verify = CM_VERIFY_NEVER;
    power_cut(STORED);
    cm_check_report r = CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(t.p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.torn, 1);
    CHECK_EQ(r.bad_payload, 0);
    CHECK_EQ(cm_close(t.p.c), 0);
    REQUIRE(file_up() == 0);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(look(f, REGION, 1), MISS);
    CHECK_EQ(look(f, REGION + 1, 1), RIGHT);
    CHECK(strstr(t.said, "wrong checksum") == NULL);
    file_end();
}

/* ---- Syncs that fail ------------------------------------------------------------------------- */

static void test_page_fails(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    const uint64_t epoch = pool_info(t.p.c).epoch;
    const int64_t synced = page_syncs();
    t.fail = 1;
    write_in(f, REGION);
    CHECK_EQ(page_syncs(), synced);
    CHECK_EQ(pool_info(t.p.c).epoch, epoch + 1);
    CHECK_EQ(regions_hit(f), 0);
    CHECK(strstr(t.said, "emptied") != NULL);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 0);
    file_end();
}

static void test_checkpoint_fails(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    t.fail = 1;
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
    CHECK_EQ(regions_hit(f), 0);
    detach(f);
    detach(three_regions(CM_SOLE_WRITER));
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 7);
    file_end();
}

/* The first checkpoint: the pool, then both superblocks. */
static void test_first_fails(void)
{
    for (unsigned n = 1; n <= 3; n++) {
        CASE("sync %u", n);
        file_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        t.fail = n;
        CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
        CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_PAGECACHE);
        CHECK_EQ(STAT(t.p.c, escalations), 1);
        detach(f);
        detach(three_regions(CM_SOLE_WRITER));
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_CHECKPOINT);
        power_cut(SYNCED);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), 7);
        file_end();
    }
}

/* The system tells a loss once: it may tell it to a sync of a superblock, or of a page. */
static void fail_beside(uint64_t len)
{
    if (len != 0 || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    t.fail = 1;
    write_in(f, REGION);
}

static void test_told_once(void)
{
    for (unsigned who = 0; who < 3; who++) {
        CASE("who %u", who);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        const uint64_t epoch = pool_info(t.p.c).epoch;
        if (who == 1) {
            changing = f;
            t.after_sync = fail_beside; /* a page, while the checkpoint syncs */
        } else {
            t.fail = 1;
            CHECK(cm_super_sync_failed(&t.p.c->super, false) != 0); /* a superblock */
        }
        if (who == 2)
            CHECK(cm_super_sync_failed(&t.p.c->super, true) == 0); /* and the next one succeeds */
        CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
        t.after_sync = NULL;
        CHECK_EQ(pool_info(t.p.c).epoch, epoch + 1);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        file_end();
    }
}

/* The loss is told to the sync of a page that began before the checkpoint, and ends after the
 * checkpoint's own sync. The checkpoint waits for it. */
static void drain_at_sync(uint64_t len)
{
    if (len == BLK && at_load_seq_cst(&meet.step) == 0) {
        reach(1);
        wait_for(2);
        sleep_ms(50); /* the checkpoint is over before, if it does not wait */
        t.fail = 1;
    }
}
static void drain_after_sync(uint64_t len)
{
    if (len == 0 && at_load_seq_cst(&meet.step) == 1)
        reach(2);
}
static void *drain_writer(void *arg)
{
    (void)arg;
    write_in(meet.f, REGION);
    return NULL;
}

static void test_drains(void)
{
    pthread_t writer;
    checkpointed_pool();
    meet.f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    at_store_seq_cst(&meet.step, 0u);
    t.at_sync = drain_at_sync;
    t.after_sync = drain_after_sync;
    REQUIRE(pthread_create(&writer, NULL, drain_writer, NULL) == 0);
    wait_for(1);
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
    REQUIRE(pthread_join(writer, NULL) == 0);
    file_end();
}

/* A close does not say CLEAN after a loss that a superblock was told of, checkpointed or not. */
static void test_close_told_once(void)
{
    for (unsigned checkpoints = 0; checkpoints < 2; checkpoints++) {
        CASE("checkpoints %u", checkpoints);
        file_pool();
        detach(three_regions(CM_SOLE_WRITER));
        if (checkpoints)
            CHECK_EQ(cm_checkpoint(t.p.c), 0);
        t.fail = 1;
        CHECK(cm_super_sync_failed(&t.p.c->super, false) != 0);
        CHECK_EQ(cm_super_sync_failed(&t.p.c->super, true), 0);
        CHECK_EQ(cm_close(t.p.c), CM_EIO);
        REQUIRE(file_up() == 0);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), 0);
        file_end();
    }
}

/* Nothing can be synced any more, so nothing can be forgotten, and each call says so. */
static int by_write(cm_file *f, const cm_validator *v)
{
    cm_bracket w;
    (void)v;
    return cm_write_begin(f, REGION * BLK, BLK, &w);
}
static int by_version(cm_file *f, const cm_validator *v)
{
    return cm_file_revalidate(f, v);
}
static int by_second_open(cm_file *f, const cm_validator *v)
{
    const cm_file_id id = id_of(1);
    cm_file *again = NULL;
    (void)f;
    const int e = cm_file_open(t.p.c, &id, v, CM_SOLE_WRITER, &again);
    CHECK(again == NULL);
    return e;
}
static int by_attach(cm_file *f, const cm_validator *v)
{
    detach(f);
    return by_second_open(NULL, v);
}
static int by_part(cm_file *f, const cm_validator *v)
{
    (void)f;
    (void)v;
    return cm_settle_part(t.p.c, 0, BLK);
}

static void test_nothing_syncs(void)
{
    int (*const calls[])(cm_file * f, const cm_validator *v) = { by_write, by_version,
                                                                 by_second_open, by_attach,
                                                                 by_part };
    for (unsigned i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        CASE("call %u", i);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        cm_validator other = val(SIZE, 8);
        other.taken_at = later();
        t.dead = true;
        CHECK_EQ(calls[i](f, &other), CM_EFORGET);
        if (calls[i] != by_part)                              /* which logs nothing itself */
            CHECK(strstr(t.said, "delete the pool") != NULL); /* and not that it was emptied */
        CHECK_EQ(pool_info(t.p.c).mode, CM_BYPASS);
        CHECK_EQ(cm_checkpoint(t.p.c), CM_EFORGET);
        t.dead = false;
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        file_end();
    }
}

/* A part of the pool cannot be synced: it may be lost, so all is. */
static void test_part_fails(void)
{
    checkpointed_pool();
    const uint64_t epoch = pool_info(t.p.c).epoch;
    t.fail = 1;
    CHECK_EQ(cm_settle_part(t.p.c, 0, BLK), CM_EIO);
    CHECK_EQ(pool_info(t.p.c).epoch, epoch + 1);
    CHECK_EQ(cm_settle_part(t.p.c, 0, BLK), 0);
    CHECK_EQ(pool_info(t.p.c).epoch, epoch + 1);
    file_end();
}

/* Something could not be forgotten, and still cannot: a checkpoint does not begin. */
static void test_cannot_begin(void)
{
    checkpointed_pool();
    const unsigned syncs = t.syncs;
    const cm_file_id id = id_of(1);
    (void)three_regions(CM_SOLE_WRITER);
    t.fail = 1;
    CHECK(bump_epoch(t.p.c) != 0);
    CHECK(t.syncs > syncs);
    t.fail = 1;
    CHECK_EQ(cm_forget(t.p.c, &id), CM_EFORGET);
    t.fail = 1;
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EFORGET);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    file_end();
}

/* The first one has synced the pool, and from then on nothing can be synced. */
static void die(uint64_t len)
{
    t.dead = len == 0;
}

static void test_cannot_say_so(void)
{
    file_pool();
    (void)three_regions(CM_SOLE_WRITER);
    t.after_sync = die;
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EFORGET);
    t.after_sync = NULL;
    t.dead = false;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    file_end();
}

/* ---- Threads --------------------------------------------------------------------------------- */

static uint32_t stop;

static void *writes(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    while (!at_load_relaxed(&stop)) {
        cm_file_id id = id_of(1 + next_random(&rng) % 3);
        cm_validator v = val(SIZE, 7);
        cm_file *f = NULL;
        v.taken_at = later();
        CHECK(cm_file_open(t.p.c, &id, &v, CM_SOLE_WRITER, &f) >= 0);
        const uint64_t block = next_random(&rng) % (4 * REGION);
        cm_bracket w;
        if (cm_write_begin(f, block * BLK, BLK, &w) == 0)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        cm_sync s;
        CHECK_EQ(cm_sync_begin(f, &s), 0);
        CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
        (void)put(f, block, 1);
        detach(f);
    }
    return NULL;
}

static void *checkpoints(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 200; i++)
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
    at_store_relaxed(&stop, 1u);
    return NULL;
}

static void test_threads(void)
{
    pthread_t thread[4];
    checkpointed_pool();
    t.idle = true; /* a copy of the pool while it changes would be a race of the test */
    at_store_relaxed(&stop, 0u);
    for (unsigned i = 0; i < 2; i++)
        REQUIRE(pthread_create(&thread[i], NULL, writes, (void *)(uintptr_t)(i + 1)) == 0);
    for (unsigned i = 2; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, checkpoints, NULL) == 0);
    for (unsigned i = 0; i < 4; i++)
        REQUIRE(pthread_join(thread[i], NULL) == 0);
    CHECK_EQ(STAT(t.p.c, checkpoints), 401);
    t.idle = false;
    file_end();
}

/* ---- The pool's volume alone is lost, in the same boot --------------------------------------- */

/* The origin is on another volume, and has lost nothing: what was written is still not synced. */
static void test_other_mount_unsynced(void)
{
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t flags = i & 1 ? CM_EXCLUSIVE : CM_SOLE_WRITER;
        CASE("exclusive %u detached %u", i & 1, i >> 1);
        checkpointed_pool();
        cm_file *f = three_regions(flags);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        write_in(f, REGION); /* version 2, not synced */
        t.mount = 2;
        crash(SYNCED, false);
        f = attach(&t.p, 1, SIZE, 7, flags);
        CHECK_EQ(info_of(f).dirty, 1);
        CHECK_EQ(put(f, REGION, 2), 0); /* what the origin's page cache has */
        if (i >> 1)
            detach(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        power_cut(SYNCED); /* the origin loses version 2 */
        f = attach(&t.p, 1, SIZE, 7, flags);
        CHECK_EQ(look(f, REGION, 1), MISS);
        file_end();
    }
}

/* The closed pool is opened in another boot, and closed again. */
static void be_elsewhere(void)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .syncs = true };
    memset(o.boot_id, 0xb0, sizeof(o.boot_id));
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super *sb = super_at(&t.p, i);
        cm_super_count_boot(sb, &o);
        memcpy(sb->boot_id, o.boot_id, sizeof(sb->boot_id));
        super_seal(sb);
    }
}

/* The pool was used in another boot meanwhile (on another machine), and comes back to the boot that
 * has not synced what it wrote. */
static void test_other_boot_unsynced(void)
{
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t flags = i & 1 ? CM_EXCLUSIVE : CM_SOLE_WRITER;
        CASE("exclusive %u detached %u", i & 1, i >> 1);
        checkpointed_pool();
        cm_file *f = three_regions(flags);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        write_in(f, REGION); /* version 2, not synced */
        detach(f);
        CHECK_EQ(cm_close(t.p.c), 0);
        be_elsewhere();
        REQUIRE(file_up() == 0);
        f = attach(&t.p, 1, SIZE, 7, flags);
        CHECK_EQ(put(f, REGION, 2), 0); /* what the origin's page cache has */
        if (i >> 1)
            detach(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        power_cut(SYNCED); /* the origin loses version 2 */
        f = attach(&t.p, 1, SIZE, 7, flags);
        CHECK_EQ(look(f, REGION, 1), MISS);
        file_end();
    }
}

/* The boot that had the pool is another one from here on, in which an fsync failed, and then others
 * had the pool. It is back now. */
static void come_back_failed(void)
{
    uint8_t here[16];
    memcpy(here, super_at(&t.p, 0)->boot_id, sizeof(here));
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(&t.p, i)->failed_boot = 1;
        memset(super_at(&t.p, i)->failed_boot_id, 0xb0, sizeof(here));
    }
    be_elsewhere(); /* in that boot */
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        memcpy(super_at(&t.p, i)->boot_id, here, sizeof(here));
        memset(super_at(&t.p, i)->boot_before, 0, sizeof(super_at(&t.p, i)->boot_before));
        super_seal(super_at(&t.p, i));
    }
}

static unsigned reader_hits(void)
{
    struct pool r = { .o = CM_OPTIONS_INIT };
    r.o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open(t.path, &r.o, &r.c), 0);
    cm_file *f = attach(&r, 1, SIZE, 7, 0);
    const unsigned n = hits(f, 0, 2, 1);
    detach(f);
    CHECK_EQ(cm_close(r.c), 0);
    return n;
}

/* An fsync failed in this boot. Another boot, which need not care, has written the record since. */
static void test_other_boot_failed(void)
{
    const cm_file_id id = id_of(1);
    checkpointed_pool();
    detach(three_regions(CM_SOLE_WRITER));
    CHECK_EQ(cm_close(t.p.c), 0);
    CHECK_EQ(reader_hits(), 2);
    come_back_failed();
    CHECK_EQ(reader_hits(), 0);
    REQUIRE(file_up() == 0);
    CHECK_EQ(cm_file_lookup(t.p.c, &id, NULL, NULL), CM_EABSENT);
    cm_file *f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).bypassed, 1);
    write_in(f, 0); /* which nobody records */
    power_cut(SYNCED);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).bypassed, 0);
    CHECK_EQ(hits(f, 0, 2, 1), 0);
    file_end();
}

/* An fsync failed. The record says so after that, too. */
static void test_other_mount_failed(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    write_in(f, REGION);
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    t.mount = 2;
    crash(SYNCED, false);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).bypassed, 1);
    CHECK(put(f, REGION, 2) != 0);
    file_end();
}

/* The sync of a superblock in another thread is told that the writer's page is lost. */
static void told_superblock(uint64_t len)
{
    if (len != BLK || !changing)
        return;
    changing = NULL;
    t.fail = 1;
    CHECK(cm_super_sync_failed(&t.p.c->super, false) != 0);
    t.skip = 1; /* the page is clean now: its own sync succeeds, and the disk has the old one */
}

static void test_page_told_once(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_EXCLUSIVE);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    changing = f;
    t.at_sync = told_superblock;
    write_in(f, REGION);
    t.at_sync = NULL;
    CHECK(changing == NULL); /* a page was to be synced */
    CHECK_EQ(page_syncs(), 0);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_EXCLUSIVE) & 2, 0);
    file_end();
}

const struct harness_test checkpoint_failing_tests[] = {
    TEST(other_mount),
    TEST(other_volume),
    TEST(torn),
    TEST(page_fails),
    TEST(checkpoint_fails),
    TEST(first_fails),
    TEST(told_once),
    TEST(drains),
    TEST(close_told_once),
    TEST(threads),
    TEST(other_mount_unsynced),
    TEST(other_boot_unsynced),
    TEST(other_boot_failed),
    TEST(other_mount_failed),
    TEST(page_told_once),
    TEST(nothing_syncs),
    TEST(part_fails),
    TEST(cannot_begin),
    TEST(cannot_say_so),
    TEST_END,
};
