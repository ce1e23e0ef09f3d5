/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_regions.c - regions of files: what a crash takes, and what is recorded of them.
 */
#include "file_common.h"

#include "protocol/steps.h"
#include "state/attach.h"
#include "state/file_record.h"
#include "state/region.h"

#define REGION 256u /* blocks, in a file of this size */
#define REGION_SIZE (60 * MIB)

/* Puts two blocks in each of the regions 0 to 2. */
static cm_file *three_regions(struct pool *p, const cm_validator *v, uint32_t flags)
{
    cm_file *f = attach_v(p, 1, v, flags);
    CHECK_EQ(UINT64_C(1) << cm_object_of(f)->regions.shift, REGION);
    for (unsigned r = 0; r < 3; r++)
        CHECK_EQ(put_all(f, r * REGION, 2, 1), 2);
    return f;
}

/* A bit for each of the three regions whose blocks hit. */
static unsigned regions_hit(cm_file *f)
{
    unsigned hit = 0;
    for (unsigned r = 0; r < 3; r++)
        hit |= (unsigned)(hits(f, r * REGION, 2, 1) == 2) << r;
    return hit;
}

/* A power cut takes the regions that were written since the last sync, and nothing else. */
static void test_region_lost(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7), v2 = val(REGION_SIZE, 8);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
    v2 = fresh(v2);
    CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    CHECK_EQ(regions_hit(f), 7);
    crash_and_boot(&p);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).dirty, 0);
    CHECK_EQ(regions_hit(f), 5);
    detach(f);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 5);
    CHECK_EQ(put_all(f, REGION, 2, 1), 2); /* it is used again ... */
    CHECK_EQ(regions_hit(f), 7);
    detach(f);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 7);
    crash_and_boot(&p); /* ... and lost again: its intent stands until a sync */
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 5);
    CHECK_EQ(put_all(f, REGION, 2, 1), 2);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
    crash_and_boot(&p);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 7);
    detach(f);
    pool_end(&p);
}

/* Blocks of two regions whose slots are neighbours were judged. Then the second region begins anew:
 * none of its blocks is served, alone or together with those of the first. */
static void test_region_border(void)
{
    static uint8_t buf[4 * CM_BLOCK_SIZE], none[2 * CM_BLOCK_SIZE];
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7);
    CHECK_EQ(pool_new(&p, MIB), 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    struct cm_object *o = cm_object_of(f);
    CHECK_EQ(put_all(f, REGION - 2, 4, 1), 4);
    CHECK_EQ(hits(f, REGION - 2, 4, 1), 4);
    for (uint64_t i = 1; i < 4; i++)
        CHECK_EQ(slot_of(f, REGION - 2 + i), slot_of(f, REGION - 2) + i);
    CHECK_EQ(cm_read(f, (REGION - 2) * BLK, buf, sizeof(buf), NULL), 4 * BLK);
    out_of_order(p.c);
    at_store_relaxed(&o->regions.since[1], (uint8_t)3);
    at_store_relaxed(&o->raised, 1u);
    CHECK_EQ(cm_read(f, (REGION - 2) * BLK, buf, sizeof(buf), NULL), 2 * BLK);
    CHECK(memcmp(buf + 2 * BLK, none, sizeof(none)) == 0);
    CHECK_EQ(look(f, REGION, 1), MISS);
    CHECK_EQ(look(f, REGION - 1, 1), RIGHT);
    pool_end(&p);
}

/* The library makes regions of 256 blocks and more. A record may say less: also then each block of
 * a long read has the "since" of its own region. */
static void test_region_small(void)
{
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7);
    CHECK_EQ(pool_new(&p, MIB), 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    struct cm_object *o = cm_object_of(f);
    CHECK_EQ(put_all(f, 0, 8, 1), 8);
    CHECK_EQ(hits(f, 0, 8, 1), 8);
    out_of_order(p.c);
    o->regions.shift = 1;
    at_store_relaxed(&o->regions.since[1], (uint8_t)3);
    at_store_relaxed(&o->raised, 1u);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 2 * BLK);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, 4 * BLK, NULL), 4 * BLK);
    CHECK_EQ(look(f, 2, 1), MISS);
    pool_end(&p);
}

/* A crash of the process takes nothing, in whatever boot the blocks were stored. What is stored
 * after a region began anew is forgotten as anything else. */
static void test_region_killed(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7);
    REQUIRE(dax_pool(&p) == 0);
    (void)three_regions(&p, &v, CM_SOLE_WRITER);
    crash_and_boot(&p);
    for (unsigned round = 0; round < 2; round++) {
        CASE("round %u", round);
        v = fresh(v);
        cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(regions_hit(f), 7);
        cm_bracket w = begin_write(f, (REGION + 1) * BLK, BLK);
        CHECK_EQ(look(f, REGION + 1, 1), MISS);
        CHECK(cm_write_end(f, &w, &v) >= 0);
        CHECK_EQ(put(f, REGION + 1, 1), 0);
        if (round == 0) {
            pool_crash(&p);
            (void)pool_up(&p);
        } else {
            crash_and_boot(&p);
        }
    }
    v = fresh(v);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 5);
    cm_bracket w = begin_write(f, 100 * BLK, BLK); /* the record is of this boot now */
    v = fresh(v);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    detach(f);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 5);
    CHECK_EQ(put_all(f, REGION, 2, 1), 2);
    w = begin_write(f, REGION * BLK, BLK);
    CHECK_EQ(look(f, REGION, 1), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, REGION, 1), MISS);
    detach(f);
    pool_end(&p);
}

/* A sync clears the regions in which no write was open, and none has begun since. */
static void test_region_sync(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7), v2 = val(REGION_SIZE, 8);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    for (unsigned r = 0; r < 3; r++) {
        cm_bracket w = begin_write(f, (r * REGION + 100) * BLK, BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    cm_bracket open = begin_write(f, 100 * BLK, BLK);
    cm_sync s = sync_begin(f);
    CHECK(cm_write_end(f, &open, NULL) >= 0);
    cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    v2 = fresh(v2);
    CHECK_EQ(cm_sync_end(f, &s, 1, &v2), 0);
    CHECK_EQ(info_of(f).dirty, 1);
    CHECK_EQ(cm_object_of(f)->regions.intents, 3);
    crash_and_boot(&p);
    v2 = fresh(v2);
    f = attach_v(&p, 1, &v2, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 4);
    detach(f);
    pool_end(&p);
}

/* A sync covers no region in which a write was open when it began, whichever began first. */
static void test_sync_beside_two(void)
{
    for (unsigned first = 0; first < 2; first++) {
        CASE("first %u", first);
        struct pool p;
        cm_validator v = val(REGION_SIZE, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
        cm_bracket w[2];
        w[first] = begin_write(f, (first * REGION + 100) * BLK, BLK);
        w[!first] = begin_write(f, (!first * REGION + 100) * BLK, BLK);
        cm_sync s = sync_begin(f);
        for (unsigned i = 0; i < 2; i++)
            CHECK(cm_write_end(f, &w[i], NULL) >= 0);
        CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
        CHECK_EQ(info_of(f).dirty_regions, 2);
        s = sync_begin(f);
        CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
        CHECK_EQ(info_of(f).dirty_regions, 0);
        detach(f);
        pool_end(&p);
    }
}

/* Which regions a bracket speaks of: those that it writes, and what lies around the end of the file
 * if it may move that. */
static void test_region_masks(void)
{
    struct pool p;
    cm_validator v = val(3 * REGION * BLK + 5, 7);
    const struct {
        uint64_t offset, len, regions;
    } write[] = {
        { 0, 1, 1 },
        { REGION * BLK - 1, 2, 3 },
        { 0, 3 * REGION * BLK, 7 },
        { 3 * REGION * BLK, 5, 8 },               /* up to the end */
        { 3 * REGION * BLK, 6, 12 },              /* one byte more: the end moves */
        { 20 * REGION * BLK, 1, (1u << 21) - 4 }, /* and the hole before it */
        { 3 * REGION * BLK, REGION * BLK, 28 },   /* the new end is in the next region */
        { CM_APPEND, 1, 12 },
        { CM_APPEND, REGION * BLK, 28 },
        { CM_APPEND, 64 * REGION * BLK, UINT64_MAX },
    };
    for (unsigned i = 0; i < sizeof(write) / sizeof(*write); i++) {
        CASE("write %u", i);
        cm_bracket w;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_v(&p, 1, &v, 0);
        cm_object_of(f)->regions.intents = 0;
        CHECK_EQ(cm_region_mask(cm_object_of(f), i, i), 0); /* no block */
        CHECK_EQ(UINT64_C(1) << cm_region_shift(CM_SIZE_UNKNOWN), 16 * MIB / BLK);
        CHECK_EQ(cm_write_begin(f, write[i].offset, write[i].len, &w), 0);
        CHECK_EQ(cm_object_of(f)->regions.unsynced, write[i].regions);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        if (i >= 4) { /* the size is not known now: the next write may be anywhere, too */
            CHECK_EQ(cm_write_begin(f, 0, 1, &w), 0);
            CHECK_EQ(cm_object_of(f)->regions.unsynced, UINT64_MAX);
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        }
        pool_end(&p);
    }
}

/* That a size is not known any more is not made durable. So after a crash of the system the record
 * may have an older one. It counts only if the region where it ends has no intent. */
static void test_older_size(void)
{
    NEED_DAX;
    struct pool p;
    cm_bracket w;
    cm_validator v = val(CM_SIZE_UNKNOWN, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    CHECK_EQ(info_of(f).size, 5 * BLK + 100);
    const uint64_t place = cm_object_of(f)->place;
    const struct cm_record before = *record_of(p.c, place);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
    CHECK(cm_record_size(&p.c->media, place, record_of(p.c, place)) == CM_SIZE_UNKNOWN);
    record_of(p.c, place)->size = before.size;
    record_of(p.c, place)->size_sum = before.size_sum;
    crash_and_boot(&p);
    for (unsigned again = 0; again < 2; again++) {
        CASE("again %u", again);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        w = begin_write(f, 0, 1); /* the record is of this boot now */
        CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        detach(f);
    }
    pool_end(&p);
}

/* What a change makes of the file beyond what it writes. A block of it is cached, the cut takes the
 * change back, and the block must not hit. */
static void check_lost(unsigned how)
{
    struct pool p;
    cm_bracket w;
    cm_validator v = val(how < 5 ? REGION_SIZE : 2 * REGION * BLK + 100, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    if (how < 2) { /* a hole punched up to the end; then a write far behind it */
        CHECK_EQ(cm_truncate_begin(f, 3 * REGION * BLK, &w), 0);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    if (how == 1 || how == 5) {
        w = begin_write(f, 20 * REGION * BLK, BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    } else if (how == 2) { /* foreign changes */
        CHECK_EQ(cm_invalidate(f, 4 * REGION * BLK, 4 * REGION * BLK), 0);
    } else if (how == 3) {
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    } else if (how == 4) {
        CHECK_EQ(cm_invalidate(f, 2 * REGION * BLK, CM_ALL), 0);
    } else if (how == 6) {
        CHECK_EQ(cm_truncate_begin(f, 20 * REGION * BLK, &w), 0);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    CHECK_EQ(put(f, 5 * REGION, 99), 0);
    crash_and_boot(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    if (how >= 5) { /* it grows again, and nothing has to be forgotten for an append */
        cm_validator v2 = val(12 * REGION * BLK + 100, 8);
        w = begin_write(f, CM_APPEND, 10 * REGION * BLK);
        v2 = fresh(v2);
        CHECK_EQ(cm_write_end(f, &w, &v2), 0);
    }
    CHECK_EQ(look(f, 5 * REGION, 99), MISS);
    detach(f);
    pool_end(&p);
}

static void test_lost_around(void)
{
    NEED_DAX;
    for (unsigned how = 0; how < 7; how++) {
        CASE("how %u", how);
        CALL(check_lost(how));
    }
}

/* Where a file of unknown size ends, a foreign change may have left a hole before its range. */
static void test_foreign_hole(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(CM_SIZE_UNKNOWN, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(cm_invalidate(f, UINT64_C(10) << 24, 1 << 24), 0);
    CHECK_EQ(put(f, 3 << 12, 99), 0); /* zeros of the hole */
    crash_and_boot(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(look(f, 3 << 12, 99), MISS);
    detach(f);
    pool_end(&p);
}

/* The list of files counts blocks of a file with a region that began anew: of that region only
 * those that were stored since. Also if the file goes on without a record. */
static void test_counted(void)
{
    NEED_DAX;
    struct pool p;
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_validator v = val(REGION_SIZE, 7);
    cm_file_iter *list;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    (void)begin_write(f, (REGION + 100) * BLK, BLK);
    crash_and_boot(&p);
    for (unsigned recorded = 2; recorded-- > 0;) {
        CASE("recorded %u", recorded);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        if (!recorded) {
            cm_lock_acquire(&cm_object_of(f)->lock);
            CHECK_EQ(cm_file_abandon_record(cm_object_of(f), CM_EIO), 0);
            cm_lock_release(&cm_object_of(f)->lock);
        }
        CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &list), 0);
        CHECK_EQ(cm_files_next(list, NULL, &info), 0);
        CHECK(info.cached_bytes >= 4 * BLK);
        CHECK(!recorded || info.cached_bytes == 4 * BLK);
        cm_files_end(list);
        detach(f);
    }
    pool_end(&p);
}

/* The same of a file that is closed: its record says which of its blocks count. */
static void test_counted_closed(void)
{
    NEED_DAX;
    for (uint64_t region = 0; region < 3; region++) {
        CASE("region %u", (unsigned)region);
        struct pool p;
        cm_file_info info = CM_FILE_INFO_INIT;
        cm_validator v = val(REGION_SIZE, 7);
        cm_file_iter *list;
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
        (void)begin_write(f, (region * REGION + 100) * BLK, BLK);
        crash_and_boot(&p);
        detach(attach_v(&p, 1, &v, CM_SOLE_WRITER));
        CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &list), 0);
        CHECK_EQ(cm_files_next(list, NULL, &info), 0);
        CHECK_EQ(info.attached, 0);
        CHECK_EQ(info.cached_bytes, 4 * BLK);
        cm_files_end(list);
        pool_end(&p);
    }
}

/* A region began anew. The next version of the file has blocks there, which are kept. */
static void test_next_version(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    (void)begin_write(f, (REGION + 100) * BLK, BLK);
    crash_and_boot(&p);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK(cm_object_of(f)->raised);
    v = val(REGION_SIZE, 8);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(put(f, REGION + 100, 1), 0);
    detach(f);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(look(f, REGION + 100, 1), RIGHT);
    pool_end(&p);
}

/* A crash came after a change that may have moved the end of the file. That its size is not known
 * is recorded, and must be durable before the intents go. */
static void test_loose_after_crash(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(REGION_SIZE, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    const uint64_t place = cm_object_of(f)->place;
    struct cm_record was = *record_of(p.c, place);
    (void)begin_write(f, CM_APPEND, 10);
    record_of(p.c, place)->size = was.size; /* the crash lost what was not durable */
    record_of(p.c, place)->size_sum = was.size_sum;
    crash_and_boot(&p);
    v.size = CM_SIZE_UNKNOWN;
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK(cm_object_of(f)->regions.size_loose);
    pool_end(&p);
}

/* The mark of a record is damaged. The file is kept, and the record says of which boot it is. */
static void test_marked_again(void)
{
    struct pool p;
    bool dirty;
    uint32_t boot;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    record_of(p.c, place)->state ^= UINT64_C(1) << 35;
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    const struct cm_record r = *record_of(p.c, place);
    CHECK(cm_format_state_read(cm_media_key(&p.c->media), place, &r, &dirty, &boot));
    CHECK_EQ(boot, p.c->super.now.boot_number);
    CHECK(dirty);
    pool_end(&p);
}

/* A new end at the border of two regions: its size is in the next one. */
static void test_size_at_a_border(void)
{
    NEED_DAX;
    struct pool p;
    cm_bracket w;
    for (unsigned sized = 0; sized < 2; sized++) {
        CASE("sized %u", sized);
        cm_validator v = val(2 * REGION * BLK + 100, 7), v2 = val(3 * REGION * BLK, 7);
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(put(f, 0, 1), 0);
        w = begin_write(f, 2 * REGION * BLK, REGION * BLK);
        v2 = fresh(v2);
        CHECK_EQ(cm_write_end(f, &w, &v2), 0);
        crash_and_boot(&p);
        v = sized ? fresh(v) : val(CM_SIZE_UNKNOWN, 7);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).size, v.size);
        CHECK_EQ(hits(f, 0, 1, 1), 1);
        detach(f);
        pool_end(&p);
    }
}

/* A superblock of an earlier boot was put back, and its number is given out again. */
static void test_older_boot(void)
{
    NEED_DAX;
    struct pool p;
    struct cm_super old[CM_SUPER_COPIES];
    cm_validator v = val(REGION_SIZE, 7);
    REQUIRE(dax_pool(&p) == 0);
    (void)three_regions(&p, &v, CM_SOLE_WRITER);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        old[i] = *super_at(&p, i);
    for (unsigned boot = 0; boot < 2; boot++) {
        crash_and_boot(&p);
        v = fresh(v);
        cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    pool_crash(&p);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        *super_at(&p, i) = old[i];
    pool_other_boot(&p);
    (void)pool_up(&p);
    v = fresh(v);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(regions_hit(f), 0);
    CHECK_EQ(pool_info(p.c).epoch, 2);
    detach(f);
    pool_end(&p);
}

/* The log names the file of a damaged block in a region that began anew. */
static void test_named_in_trouble(void)
{
    NEED_DAX;
    struct pool p;
    cm_file_id id = { 0, 0 };
    cm_validator v = val(REGION_SIZE, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    crash_and_boot(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    const struct cm_key k = cm_region_key(cm_object_of(f), cm_object_of(f)->incarnation, REGION);
    CHECK(k.incarnation != cm_object_of(f)->incarnation);
    cm_step_trouble(p.c, CM_TROUBLE_CHECKSUM, 0, &k);
    CHECK(cm_files_id_of(p.c, p.c->trouble[CM_TROUBLE_CHECKSUM].first.incarnation, &id));
    CHECK_EQ(id.lo, id_of(1).lo);
    detach(f);
    pool_end(&p);
}

/* A record that a file brings from too many boots ago counts no more: the numbers of boots in cells
 * and headers repeat. */
static void test_region_boots(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(dax_pool(&p) == 0);
    detach(warm(&p, 1, &v, 0));
    for (unsigned boot = 1; boot <= CM_BOOTS; boot++) {
        crash_and_boot(&p);
        v = fresh(v);
        if (boot == CM_BOOTS - 1)
            expect_kept(&p, 1, &v, true);
    }
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* A damaged word costs what it speaks of. */
static void check_damaged_word(unsigned word, bool later_boot)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, 0);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    if (later_boot) {
        crash_and_boot(&p);
        v = fresh(v);
        expect_kept(&p, 1, &v, true);
    }
    struct cm_record *r = record_of(p.c, place); /* a crash moves the pool */
    *(word == 0   ? &r->state
      : word < 3  ? &r->intents[word - 1]
      : word == 3 ? &r->since[0]
                  : &r->since[CM_SINCE_WORDS - 1]) ^= 2;
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).dirty, word == 0);
    struct cm_record_regions g;
    cm_record_regions(&p.c->media, place, record_of(p.c, place), &g);
    CHECK(g.known);
    detach(f);
    /* In the boot of the record's birth no region can have begun anew, and no intent is older. */
    expect_kept(&p, 1, &v, (word != 1 && word != 3) || !later_boot);
    crash_and_boot(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, word != 1 && (word != 3 || !later_boot));
    pool_end(&p);
}

static void test_damaged_words(void)
{
    NEED_DAX;
    for (unsigned word = 0; word < 5; word++) {
        CASE("word %u", word);
        CALL(check_damaged_word(word, false));
        CALL(check_damaged_word(word, true));
    }
}

/* ---- Exclusive files ------------------------------------------------------------------------- */

/* A version of the owner's own. */
static cm_validator owners(uint64_t version)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_validator_set_proof(&v, &version, sizeof(version));
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.racy = CM_RACY_TIMES; /* times prove nothing, and need not */
    v.taken_at = later();
    return v;
}

/* A process is killed in the middle of writes. All is kept but what was inside open brackets. */
static void test_exclusive_killed(void)
{
    struct pool p;
    cm_bracket w;
    cm_validator v = owners(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
    CHECK_EQ(put_all(f, 0, 40, 1), 40);
    for (unsigned i = 0; i < 10; i++) {
        w = begin_write(f, i * BLK, BLK);
        CHECK_EQ(cm_write_end(f, &w, NULL), 0); /* no validator is wanted */
        CHECK_EQ(put(f, i, 1), 0);
    }
    CHECK_EQ(info_of(f).want_validator, 0);
    (void)begin_write(f, 20 * BLK, 2 * BLK);
    CHECK_EQ(cm_write_begin(f, 100 * BLK, BLK, &w), 0);
    pool_crash(&p);
    (void)pool_up(&p);
    v = owners(1);
    f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(hits(f, 0, 40, 1), 38);
    CHECK_EQ(look(f, 20, 1), MISS);
    CHECK_EQ(look(f, 21, 1), MISS);
    v = owners(2); /* another content as a whole */
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 40, 1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(f);
    v = owners(1);
    f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 40, 1), 0);
    detach(f);
    pool_end(&p);
}

/* The claim holds as long as all who have the file open make it. */
static void test_exclusive_claim(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned sole = 0; sole < 2; sole++) {
        CASE("sole %u", sole);
        cm_validator v = owners(1);
        cm_file *f = attach_v(&p, 1, &v, CM_EXCLUSIVE), *g = NULL;
        cm_bracket w = begin_write(f, 0, BLK);
        CHECK_EQ(cm_write_end(f, &w, NULL), 0);
        CHECK_EQ(cm_file_open(p.c, &id, NULL, sole ? CM_SOLE_WRITER : 0, &g), 0);
        w = begin_write(f, 0, BLK);
        CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        detach(g);
        detach(f);
    }
    /* To others a racy validator proves nothing. */
    cm_validator v = owners(1);
    cm_file *f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(f);
    v = owners(1);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    detach(f);
    pool_end(&p);
}

/* After a power cut the regions that were written since the last sync are lost. */
static void test_exclusive_cut(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v = owners(1);
    v.size = REGION_SIZE;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = three_regions(&p, &v, CM_EXCLUSIVE);
    cm_sync sync = sync_begin(f); /* until the first sync nothing is known of the file */
    CHECK_EQ(cm_sync_end(f, &sync, 1, NULL), 0);
    cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), 0);
    (void)begin_write(f, (2 * REGION + 100) * BLK, BLK);
    crash_and_boot(&p);
    v = owners(1);
    v.size = REGION_SIZE;
    f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
    CHECK_EQ(regions_hit(f), 1);
    detach(f);
    pool_end(&p);
}

/* What is unsynced of an exclusive file is unsynced although its record is gone. */
static void test_exclusive_anew(void)
{
    NEED_DAX;
    struct pool p;
    const cm_file_id id = id_of(1);
    for (unsigned how = 0; how < 5; how++) {
        CASE("how %u", how);
        const uint32_t flags = CM_EXCLUSIVE | (how == 3 ? CM_ORIGIN_VOLATILE : 0u);
        cm_validator v = owners(1);
        v.size = REGION_SIZE;
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = attach_v(&p, 1, &v, flags);
        cm_bracket w = begin_write(f, (REGION + 1) * BLK, BLK);
        const uint64_t place = cm_object_of(f)->place;
        if (how == 4) { /* its owner is lost, and writes after the sync */
            CHECK_EQ(cm_file_abort(f), 0);
            cm_sync s = sync_begin(f);
            CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
            v.taken_at = later();
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
        } else {
            CHECK_EQ(cm_write_end(f, &w, NULL), 0);
            detach(f);
            if (how == 0)
                CHECK_EQ(cm_forget(p.c, &id), 0);
            else if (how == 1)
                record_of(p.c, place)->proof[3] ^= 1;
            else if (how == 2)
                detach(attach_v(&p, 1, NULL, CM_SOLE_WRITER)); /* by a program that knows nothing */
            v.taken_at = later();
            f = attach_v(&p, 1, &v, flags);
        }
        CHECK_EQ(put(f, REGION + 1, 99), 0); /* the unsynced bytes */
        if (how == 3)                        /* the origin loses its power alone */
            detach(f);
        else
            crash_and_boot(&p);
        v.taken_at = later();
        f = attach_v(&p, 1, &v, flags);
        CHECK_EQ(look(f, REGION + 1, 99), MISS);
        detach(f);
        pool_end(&p);
    }
}

/* A racy validator stays racy for those who do not make the claim. */
static void test_exclusive_racy(void)
{
    struct pool p;
    for (unsigned closed = 0; closed < 2; closed++) {
        CASE("closed %u", closed);
        cm_validator v = val(100 * BLK, 7), sound = val(100 * BLK, 7);
        v.racy = CM_RACY_TIMES;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_v(&p, 1, &v, CM_EXCLUSIVE);
        CHECK_EQ(info_of(f).racy, 0);
        CHECK_EQ(put(f, 3, 99), 0);
        if (closed)
            detach(f);
        sound = fresh(sound);
        cm_file *g = attach_v(&p, 1, &sound, 0);
        CHECK_EQ(look(g, 3, 99), MISS);
        detach(g);
        if (!closed)
            detach(f);
        pool_end(&p);
    }
}

const struct harness_test file_regions_tests[] = {
    TEST(region_lost),      TEST(region_border),
    TEST(region_small),     TEST(region_killed),
    TEST(region_sync),      TEST(sync_beside_two),
    TEST(region_masks),     TEST(region_boots),
    TEST(older_size),       TEST(lost_around),
    TEST(foreign_hole),     TEST(counted),
    TEST(counted_closed),   TEST(marked_again),
    TEST(next_version),     TEST(loose_after_crash),
    TEST(size_at_a_border), TEST(older_boot),
    TEST(named_in_trouble), TEST(damaged_words),
    TEST(exclusive_killed), TEST(exclusive_claim),
    TEST(exclusive_cut),    TEST(exclusive_anew),
    TEST(exclusive_racy),   TEST_END,
};
