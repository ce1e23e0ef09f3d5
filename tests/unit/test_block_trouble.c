/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_trouble.c - damage is told in the log: the first of each kind at once, later ones as a
 * number, at most once a minute.
 */
#include "block_common.h"

#include "../os.h"
#include "../plat_create.h"

#define LINES 8u

static struct {
    char line[LINES][512];
    unsigned count; /* lines */
    cm_cache *cache;
} told;

static void tell(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_WARNING);
    if (told.count < LINES)
        (void)snprintf(told.line[told.count], sizeof(told.line[0]), "%s", text);
    told.count++;
    CHECK(!cm_lock_is_held(&told.cache->files_lock));
    for (uint64_t i = 0; i < told.cache->media.geo.stripes; i++)
        CHECK(!cm_lock_is_held(&told.cache->stripes[i].lock));
}

/* A pool that a crash of the system does not tear: a wrong checksum is damage, whenever the block
 * was stored. */
static void test_earlier_boot(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("no flush instruction in this build");
    memset(&told, 0, sizeof(told));
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    p.o.log = tell;
    (void)pool_up(&p);
    told.cache = p.c;
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put(f, 3, 5), 0);
    const uint64_t slot = slot_of(f, 3);
    pool_down(&p);
    pool_other_boot(&p);
    (void)pool_up(&p);
    told.cache = p.c;
    f = attach(&p, 1, 100 * BLK, 1, 0);
    payload_of(p.c, slot)[100] ^= 1;
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK_EQ(told.count, 1);
    pool_end(&p);
}

/* A pool with `n` blocks of file 1 in it, of which none was read. */
static cm_file *begin(struct pool *p, unsigned n)
{
    memset(&told, 0, sizeof(told));
    pool_make(p, MIB, 0);
    p->o.log = tell;
    (void)pool_up(p);
    told.cache = p->c;
    cm_file *f = attach(p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, n, 5), n);
    return f;
}

static void spoil(cm_file *f, uint64_t block)
{
    payload_of(told.cache, slot_of(f, block))[100] ^= 1;
    CHECK_EQ(look(f, block, 5), MISS);
}

/* The first line is due at once, also when the clock of the system has just begun. */
static void test_first_line(void)
{
    struct cm_trouble t = { 0 };
    const struct cm_trouble_place there = { .offset = 5, .slot = 7 };
    struct cm_trouble_place at;
    uint64_t count;
    CHECK(!cm_trouble_take(&t, 9, false, &at, &count));
    cm_trouble_note(&t, &there);
    CHECK(cm_trouble_take(&t, 9, false, &at, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(at.slot, 7);
    cm_trouble_note(&t, &there);
    CHECK(!cm_trouble_take(&t, 8 + CM_TROUBLE_PAUSE_NS, false, &at, &count));
    CHECK(cm_trouble_take(&t, 9 + CM_TROUBLE_PAUSE_NS, false, &at, &count));
}

/* As if the last line of each kind had been told more than a minute ago. */
static void a_minute_later(void)
{
    for (unsigned i = 0; i < CM_TROUBLES; i++)
        if (told.cache->trouble[i].said_at != 0)
            told.cache->trouble[i].said_at -= CM_TROUBLE_PAUSE_NS;
}

static bool line_has(unsigned line, const char *text)
{
    return line < LINES && strstr(told.line[line], text) != NULL;
}

/* What a bracket met is told by the next call that tells anything, also if that is one that only
 * looks at the pool. */
static void test_told_by_info(void)
{
    struct pool p;
    cm_check_report r = CM_CHECK_REPORT_INIT;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned check = 0; check < 2; check++) {
        CASE("check %u", check);
        cm_file *f = begin(&p, 4);
        uint8_t *const header = (uint8_t *)header_of(p.c, slot_of(f, 2));
        uint8_t *const page = header - (uintptr_t)header % BLK;
        os_protect(page, BLK, OS_NOTHING);
        cm_bracket w = begin_write(f, 2 * BLK, BLK);
        CHECK_EQ(told.count, 0);
        if (check)
            CHECK(cm_check(p.c, 0, NULL, NULL, &r) >= 0);
        else
            (void)pool_info(p.c);
        CHECK_EQ(told.count, 1);
        CHECK(line_has(0, "out of use"));
        os_protect(page, BLK, OS_WRITE);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        pool_end(&p);
    }
}

static void test_first_is_told(void)
{
    struct pool p;
    char where[64], name[64];
    cm_file *f = begin(&p, 3);
    const uint64_t slot = slot_of(f, 2);
    const cm_file_id id = id_of(1);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(told.count, 0);
    spoil(f, 2);
    CHECK_EQ(told.count, 1);
    (void)snprintf(where, sizeof(where), "slot %llu, pool offset %llu", (unsigned long long)slot,
                   (unsigned long long)(p.c->media.geo.slot_offset + slot * BLK));
    (void)snprintf(name, sizeof(name), "block 2 of file %016llx%016llx", (unsigned long long)id.hi,
                   (unsigned long long)id.lo);
    CHECK(line_has(0, "pool in memory: "));
    CHECK(line_has(0, "checksum"));
    CHECK(line_has(0, where));
    CHECK(line_has(0, name));
    CHECK(line_has(0, "cachemax check POOL --repair"));
    CHECK(line_has(0, "replace the volume"));
    CHECK(!line_has(0, "since"));
    pool_end(&p);
    CHECK_EQ(told.count, 1); /* nothing is left to tell at the close */
}

static void test_flood_is_limited(void)
{
    struct pool p;
    cm_file *f = begin(&p, 40);
    for (uint64_t b = 0; b < 25; b++)
        spoil(f, b);
    CHECK_EQ(STAT(p.c, miss_checksum), 25);
    CHECK_EQ(told.count, 1);
    a_minute_later();
    CHECK_EQ(look(f, 30, 5), RIGHT); /* a good block tells nothing */
    CHECK_EQ(told.count, 1);
    spoil(f, 25);
    CHECK_EQ(told.count, 2);
    CHECK(line_has(1, "25 times since the last such line"));
    spoil(f, 26);
    spoil(f, 27);
    CHECK_EQ(told.count, 2);
    pool_end(&p);
    CHECK_EQ(told.count, 3); /* the close tells the rest */
    CHECK(line_has(2, "2 times since the last such line"));
}

/* Calls that meet several damaged blocks before the first line: it names no line before it. */
static void test_first_line_counts(void)
{
    struct pool p;
    const struct cm_trouble_place there = { .offset = 5, .slot = 7 };
    cm_file *f = begin(&p, 4);
    cm_trouble_note(&p.c->trouble[CM_TROUBLE_CHECKSUM], &there);
    spoil(f, 0);
    CHECK_EQ(told.count, 1);
    CHECK(line_has(0, ", 2 times; reads of it"));
    pool_end(&p);
}

static void test_kinds_are_separate(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = begin(&p, 5);
    spoil(f, 0);
    CHECK_EQ(told.count, 1);
    uint8_t *lost = payload_of(p.c, slot_of(f, 1));
    os_protect(lost, BLK, OS_NOTHING);
    CHECK_EQ(look(f, 1, 5), MISS);
    os_protect(lost, BLK, OS_WRITE);
    CHECK_EQ(told.count, 3);
    CHECK(line_has(1, "cannot be read"));
    CHECK(line_has(1, "block 1 of file"));
    CHECK(line_has(2, "out of use"));
    spoil(f, 2);
    CHECK_EQ(told.count, 3); /* within the minute of the first kind */
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    a_minute_later();
    spoil(f, 3);
    CHECK_EQ(told.count, 4);
    CHECK(line_has(3, "checksum"));
    pool_end(&p);
    CHECK_EQ(told.count, 4);
}

/* A page of the index has no slot. The line gives its offset. */
static void test_index_page_is_told(void)
{
    struct pool p;
    char where[64];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = begin(&p, 1);
    const uint64_t bucket = key_of(f, 0).place.bucket[0];
    const uint64_t offset = p.c->media.geo.index_offset + bucket * sizeof(struct cm_bucket);
    uint8_t *page = p.base + offset / BLK * BLK;
    os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(look(f, 0, 5), MISS);
    os_protect(page, BLK, OS_WRITE);
    CHECK(told.count >= 1);
    (void)snprintf(where, sizeof(where), "pool offset %llu", (unsigned long long)offset);
    CHECK(line_has(0, "cannot be read"));
    CHECK(line_has(0, where));
    CHECK(!line_has(0, "slot "));
    pool_end(&p);
}

/* A read that must not wait meets the damage first. It tells and counts it. */
static void test_read_whole_tells(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = begin(&p, 1);
    payload_of(p.c, slot_of(f, 0))[100] ^= 1;
    const int64_t before = STAT(p.c, miss_blocks);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, 0), CM_EABSENT);
    CHECK_EQ(told.count, 1);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    CHECK_EQ(STAT(p.c, miss_blocks), before);
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    CHECK_EQ(STAT(p.c, miss_blocks), before + 1);
    pool_end(&p);
}

/* Pins verify, too. */
static void test_pin_tells(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    cm_file *f = begin(&p, 1);
    payload_of(p.c, slot_of(f, 0))[100] ^= 1;
    CHECK_EQ(cm_pin_range(f, 0, BLK, &iov, 1, &n, &pins, NULL), 0);
    CHECK_EQ(told.count, 1);
    CHECK(line_has(0, "checksum"));
    pool_end(&p);
}

static int cas_fails(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    (void)ctx, (void)p, (void)expected, (void)desired;
    return CM_EIO;
}

/* A block with a wrong checksum, whose header cannot be written either: the slot is out of use, and
 * the block's group may have another one for it. */
static void test_wrong_and_unwritable(void)
{
    struct pool p;
    uint64_t has = 0, most = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_group_set_quota(p.c, 5, 3 * BLK), 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, 5), 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    const uint64_t slot = slot_of(f, 1);
    payload_of(p.c, slot)[100] ^= 1;
    const struct cm_persist_ops *whole = p.c->media.ops;
    struct cm_persist_ops ops = *whole;
    ops.cas64 = cas_fails;
    p.c->media.ops = &ops;
    CHECK_EQ(look(f, 1, 5), MISS);
    p.c->media.ops = whole;
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(cm_group_usage(p.c, 5, &has, &most), 0);
    CHECK_EQ(has, 2 * BLK);
    CHECK_EQ(put(f, 7, 5), 0); /* and none of the others leaves for it */
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(look(f, 2, 5), RIGHT);
    pool_end(&p);
}

/* The pool is emptied while a block is on its way, behind its copy: no damage is found later. */
static const struct cm_persist_ops *whole_ops;
static cm_cache *emptied;

static void empty_at_fence(void *ctx)
{
    cm_cache *c = emptied;
    whole_ops->fence(ctx);
    emptied = NULL;
    if (c)
        CHECK_EQ(bump_epoch(c), 0);
}

static void test_emptied_beside_fill(void)
{
    struct pool p;
    cm_check_report r = CM_CHECK_REPORT_INIT;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0); /* the superblock says that slots are used */
    whole_ops = p.c->media.ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.fence = empty_at_fence;
    p.c->media.ops = &ops;
    emptied = p.c;
    CHECK(put(f, 1, 5) >= 0);
    CHECK(emptied == NULL);
    p.c->media.ops = whole_ops;
    CHECK(look(f, 1, 5) != WRONG);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(STAT(p.c, miss_checksum), 0);
    CHECK_EQ(put(f, 2, 5), 0);
    CHECK_EQ(look(f, 2, 5), RIGHT);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* The pool is sparse, and its volume is full: what cannot be read are holes for plain reads. */
static struct {
    struct cm_plat_file file;
    char path[256];
} holes;

static void fill_volume(struct pool *p)
{
    holes.file = (struct cm_plat_file)PLAT_FILE_INIT;
    (void)snprintf(holes.path, sizeof(holes.path), "%s/cachemax-holes.%u", os_temp(),
                   cm_plat_pid());
    REQUIRE(plat_create(&holes.file, holes.path, MIB, false, NULL, NULL) == 0);
    p->c->media.file = &holes.file;
}

static void remove_holes(void)
{
    cm_plat_file_close(&holes.file);
    cm_plat_file_remove(holes.path);
}

/* A part of the pool that cannot be read because of that is not damaged: only room helps. */
static void test_hole_is_told(void)
{
    for (unsigned index = 0; index < 2; index++) {
        struct pool p;
        CASE("index %u", index);
        if (!cm_guard_available())
            SKIP("no fault guard in this build");
        cm_file *f = begin(&p, 5);
        fill_volume(&p);
        const uint64_t bucket = key_of(f, 3).place.bucket[0];
        const uint64_t offset = p.c->media.geo.index_offset + bucket * sizeof(struct cm_bucket);
        uint8_t *page = index ? p.base + offset / BLK * BLK : payload_of(p.c, slot_of(f, 3));
        os_protect(page, BLK, OS_NOTHING);
        CHECK_EQ(look(f, 3, 5), MISS);
        os_protect(page, BLK, OS_WRITE);
        const unsigned line = index ? 0 : 1; /* first that the volume is full */
        CHECK_EQ(told.count, line + 1);
        CHECK(line_has(line, "cannot be read"));
        CHECK(line_has(line, "its volume is full: make room there"));
        CHECK(!line_has(line, "replace the volume"));
        pool_end(&p);
        remove_holes();
    }
}

/* A sparse pool stops to grow because its volume is full: one line, whatever follows. */
static void test_full_volume_is_told(void)
{
    struct pool p;
    char in_use[64];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = begin(&p, 50);
    fill_volume(&p);
    const uint64_t used = p.c->policy.ring.frontier, slots = p.c->media.geo.slots;
    os_protect(payload_of(p.c, used), (size_t)((slots - used) * BLK), OS_NOTHING);
    (void)put_all(f, 50, 50, 5);
    CHECK_EQ(told.count, 1);
    CHECK(line_has(0, "pool in memory: its volume is full: at most "));
    (void)snprintf(in_use, sizeof(in_use), " %llu of %llu blocks are used until it is opened",
                   (unsigned long long)p.c->policy.ring.end, (unsigned long long)slots);
    CHECK(line_has(0, in_use));
    a_minute_later();
    (void)put_all(f, 0, 100, 5);
    os_protect(payload_of(p.c, used), (size_t)((slots - used) * BLK), OS_WRITE);
    pool_end(&p);
    CHECK_EQ(told.count, 1);
    remove_holes();
}

/* Slots that a killed session has left empty have no room there either. They are not tried one by
 * one. */
static void test_full_volume_holes(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    (void)begin(&p, 20);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    told.cache = p.c;
    cm_file *f = attach(&p, 1, 1000 * BLK, 2, 0);
    fill_volume(&p);
    const uint64_t slots = p.c->media.geo.slots, frontier = p.c->policy.ring.frontier;
    CHECK(frontier > 40 && frontier < slots);
    CHECK_EQ(p.c->holes_end, frontier);
    os_protect(payload_of(p.c, 20), (size_t)((slots - 20) * BLK), OS_NOTHING);
    CHECK(put_all(f, 0, 300, 5) >= 298);
    os_protect(payload_of(p.c, 20), (size_t)((slots - 20) * BLK), OS_WRITE);
    CHECK(STAT(p.c, quarantined) <= 2);
    CHECK(p.c->policy.ring.end >= 20 && p.c->policy.ring.end <= 22);
    CHECK_EQ(told.count, 1);
    pool_end(&p);
    remove_holes();
}

/* Lines about the whole pool: each names it, and says what to do. */
static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    (void)snprintf(told.line[0], sizeof(told.line[0]), "%s", text);
    told.count++;
}
static void test_whole_pool(void)
{
    static const char *const advice[] = { "delete the pool before anything is written",
                                          "make room or replace the volume, then open it again",
                                          "Copy a pool as a whole", "replace the volume" };
    for (unsigned i = 0; i < 4; i++) {
        CASE("line %u", i);
        struct pool p;
        cm_file *f = begin(&p, 3);
        uint32_t *const flag[] = { &p.c->broken, &p.c->failing, &p.c->older, &p.c->unsettled };
        p.c->opts.log = keep_line;
        at_store_seq_cst(flag[i], 1u);
        (void)put(f, 5, 5);
        CHECK_EQ(told.count, 1);
        CHECK(strncmp(told.line[0], "pool in memory: ", 16) == 0);
        CHECK(line_has(0, advice[i]));
        pool_end(&p);
    }
}

const struct harness_test block_trouble_tests[] = {
    TEST(told_by_info),
    TEST(first_is_told),
    TEST(first_line),
    TEST(earlier_boot),
    TEST(flood_is_limited),
    TEST(kinds_are_separate),
    TEST(index_page_is_told),
    TEST(read_whole_tells),
    TEST(pin_tells),
    TEST(wrong_and_unwritable),
    TEST(emptied_beside_fill),
    TEST(full_volume_is_told),
    TEST(whole_pool),
    TEST(full_volume_holes),
    TEST(first_line_counts),
    TEST(hole_is_told),
    TEST_END,
};
