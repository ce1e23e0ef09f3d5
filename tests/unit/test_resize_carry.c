/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_resize_carry.c - what a resize carries over of single files: that an fsync failed, also if
 * the record that says so is damaged or finds no place, the size, and the use.
 */
#include "resize_common.h"

/* ---- Failed fsyncs --------------------------------------------------------------------------- */

/* Where the record of a file lies in the pool file. */
static uint64_t record_offset(struct pool *p, uint64_t id)
{
    cm_file *f = attach(p, id, 10 * BLK, 1, CM_SOLE_WRITER);
    const uint8_t *at = (uint8_t *)record_of(p->c, cm_object_of(f)->place);
    detach(f);
    return (uint64_t)(at - p->c->media.base);
}

static void fail_sync(struct pool *p, uint64_t id)
{
    cm_sync s;
    cm_file *f = attach(p, id, 10 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(info_of(f).bypassed, 1);
    detach(f);
}
#define fail_sync(...) CALL(fail_sync(__VA_ARGS__))

static bool bypassed(struct pool *p, uint64_t id)
{
    cm_file *f = attach(p, id, 10 * BLK, 1, CM_SOLE_WRITER);
    const bool is = info_of(f).bypassed != 0;
    detach(f);
    return is;
}

/* May each file be one whose fsync failed? */
static bool all_may_have_failed(void)
{
    const struct cm_super sb = super_now();
    CHECK(sb.failed_boot != 0);
    return sb.unnamed_boot == sb.failed_boot;
}

/* Makes a closed pool, in which the fsync of file 1 failed. Returns where its record lies. */
static uint64_t make_failed(struct pool *p)
{
    make(p, 2 * MIB, 0, 0);
    fail_sync(p, 1);
    const uint64_t at = record_offset(p, 1);
    down(p);
    return at;
}

/* A file whose fsync failed bypasses the new pool, too. */
static void test_failed_sync(void)
{
    struct pool p;
    (void)make_failed(&p);
    CHECK_EQ(resize_to(MIB, 0).files_lost, 0);
    CHECK(!all_may_have_failed());
    p.c = up();
    CHECK(bypassed(&p, 1));
    CHECK(!bypassed(&p, 2));
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The record that says so is damaged: which file it was nobody knows, so all bypass the pool. */
static void test_failed_sync_damaged(void)
{
    struct pool p;
    const uint64_t at = make_failed(&p);
    patch(at + offsetof(struct cm_record, proof), "xx", 2);
    (void)resize_to(3 * MIB, 0);
    CHECK(all_may_have_failed());
    CHECK_EQ(unlink(path), 0);
}

static void leave_elsewhere(struct cm_super *sb)
{
    sb->state = CM_SUPER_OPEN;
    sb->durability = CM_DURABILITY_PAGECACHE;
    memset(&sb->memo, 0, sizeof(sb->memo));
    sb->mount_id[3] ^= 0x5a;
}

static void come_back(struct cm_super *sb)
{
    sb->mount_id[3] ^= 0x5a;
}

/* A resize that sees another mount of the volume than owners do empties the pool. The next owner
 * sees the mount of the last one, and finds no record of the file. */
static void test_failed_sync_emptied(void)
{
    struct pool p;
    (void)make_failed(&p);
    change_super(leave_elsewhere);
    CHECK_EQ(resize_to(3 * MIB, 0).emptied, 1);
    CHECK(all_may_have_failed());
    change_super(come_back);
    p.c = up();
    CHECK(bypassed(&p, 1));
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The record's state word is damaged, so it is not believed in the new pool: the file bypasses that
 * all the same. */
static void test_failed_sync_state_damaged(void)
{
    struct pool p;
    const uint64_t at = make_failed(&p);
    patch(at + offsetof(struct cm_record, state), "xxxx", 4);
    (void)resize_to(3 * MIB, 0);
    p.c = up();
    CHECK(bypassed(&p, 1));
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The new table has too few records for all files whose fsync failed: all files bypass the pool. */
static void test_failed_syncs_too_many(void)
{
    struct pool p;
    make(&p, 4 * MIB, 800, 0);
    for (uint64_t id = 1; id <= 400; id++)
        fail_sync(&p, id);
    down(&p);
    CHECK(resize_to(MIB, 0).files_lost > 0);
    CHECK(all_may_have_failed());
    CHECK_EQ(unlink(path), 0);
}

/* The new table has too few records for all files, but those whose fsync failed get one. */
static void test_failed_syncs_come_first(void)
{
    struct pool p;
    make(&p, 4 * MIB, 800, 0);
    for (uint64_t id = 1; id <= 400; id++)
        detach(attach(&p, id, 10 * BLK, 1, CM_SOLE_WRITER));
    for (uint64_t id = 100; id <= 300; id += 20)
        fail_sync(&p, id);
    down(&p);
    CHECK(resize_to(MIB, 0).files_lost > 0);
    CHECK(!all_may_have_failed());
    p.c = up();
    for (uint64_t id = 100; id <= 300; id += 20)
        CHECK(bypassed(&p, id));
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static void mark_all(struct cm_super *sb)
{
    sb->torn_epoch = sb->epoch;
    sb->boot_first = 3;
    sb->boot_before[0] = 11;
    sb->boot_before[1] = 12;
    sb->failed_boot = 5;
    sb->unnamed_boot = 5;
    memset(sb->failed_boot_id, 0x77, sizeof(sb->failed_boot_id));
}

/* What the superblock says of crashes and of failed fsyncs. */
static void test_superblock(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    down(&p);
    change_super(mark_all);
    const struct cm_super was = super_now();
    (void)resize_to(3 * MIB, 0);
    const struct cm_super sb = super_now();
    CHECK_EQ(sb.torn_epoch, was.torn_epoch);
    CHECK_EQ(sb.boot_first, 3);
    CHECK_EQ(sb.boot_before[0], 11);
    CHECK_EQ(sb.boot_before[1], 12);
    CHECK_EQ(sb.failed_boot, 5);
    CHECK_EQ(sb.unnamed_boot, 5);
    CHECK(memcmp(sb.failed_boot_id, was.failed_boot_id, sizeof(sb.failed_boot_id)) == 0);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Size, use ------------------------------------------------------------------------------- */

static cm_file_info known_of(struct pool *p, uint64_t id)
{
    const cm_file_id fid = id_of(id);
    cm_file_info info = CM_FILE_INFO_INIT;
    CHECK_EQ(cm_file_lookup(p->c, &fid, NULL, &info), 0);
    return info;
}

/* A size that is torn stays unknown: its bytes are not carried over as if they were right. */
static void test_size_damaged(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 50);
    const uint64_t at = record_offset(&p, 1);
    down(&p);
    patch(at + offsetof(struct cm_record, size), "\1\2", 2);
    (void)resize_to(3 * MIB, 0);
    p.c = up();
    CHECK_EQ(known_of(&p, 1).size, CM_SIZE_UNKNOWN);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* How often a file was read, and when the last time. */
static void test_use(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 50);
    for (unsigned i = 0; i < 20; i++)
        (void)count_hits(&p, 1, 50);
    down(&p);
    p.c = up();
    const cm_file_info before = known_of(&p, 1);
    down(&p);
    CHECK(before.hits > 0);
    (void)resize_to(3 * MIB, 0);
    p.c = up();
    const cm_file_info after = known_of(&p, 1);
    CHECK_EQ(after.hits, before.hits);
    CHECK_EQ(after.last_used_ns, before.last_used_ns);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

const struct harness_test resize_carry_tests[] = {
    TEST(failed_sync),
    TEST(failed_sync_damaged),
    TEST(failed_sync_emptied),
    TEST(failed_sync_state_damaged),
    TEST(failed_syncs_too_many),
    TEST(failed_syncs_come_first),
    TEST(superblock),
    TEST(size_damaged),
    TEST(use),
    TEST_END,
};
