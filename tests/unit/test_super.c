/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_super.c - the superblock pair: each copy alone is enough for the pool, the right one counts;
 * the rule that empties a pool, epochs, incarnations that never come back, the frontier hint.
 */
#include "super_common.h"

#include "../os.h"

/* ---- Two copies ------------------------------------------------------------------------------ */

/* One damaged bit anywhere in one copy: the other copy is used, and the damage is reported. */
static void test_one_damaged(void)
{
    struct pair p;
    struct cm_super sb;
    CALL(pair_make(&p));
    CHECK(same_super(copy_of(&p, 0), copy_of(&p, 1)));
    CHECK(copy_of(&p, 0)->seq != copy_of(&p, 1)->seq); /* which one was written last */
    const struct cm_super good = *copy_of(&p, 0);
    for (unsigned bit = 0; bit < 2 * sizeof(sb) * 8; bit++) {
        CASE("bit %u", bit);
        uint32_t damaged = 9;
        uint8_t *at = p.base + bit / (sizeof(sb) * 8) * CM_SUPER_STRIDE + bit / 8 % sizeof(sb);
        *at ^= (uint8_t)(1u << bit % 8);
        CHECK(cm_super_read(p.base, &sb, &damaged) >= 0);
        CHECK_EQ(damaged, 1);
        CHECK(same_super(&sb, &good));
        *at ^= (uint8_t)(1u << bit % 8);
    }
    uint32_t damaged = 9;
    CHECK(cm_super_read(p.base, &sb, &damaged) >= 0);
    CHECK_EQ(damaged, 0);
    pair_end(&p);
}

static void test_both_damaged(void)
{
    struct pair p;
    CALL(pair_make(&p));
    copy_of(&p, 0)->epoch ^= 1;
    copy_of(&p, 1)->epoch ^= 1;
    CALL(expect_read(&p, CM_EDAMAGED));
    memset(copy_of(&p, 0), 0, 256);
    CALL(expect_read(&p, CM_EDAMAGED)); /* one remembers that it was a pool */
    memset(copy_of(&p, 1), 0, 256);
    CALL(expect_read(&p, CM_ENOTPOOL));
    pair_end(&p);
}

/* The reason that helps most is reported. */
static void test_reasons(void)
{
    struct pair p;
    CALL(pair_make(&p));
    copy_of(&p, 0)->version = CM_FORMAT_VERSION + 1;
    CALL(expect_read(&p, 0));
    copy_of(&p, 1)->xxh3 ^= 1;
    CALL(expect_read(&p, CM_EVERSION));
    copy_of(&p, 0)->version = CM_FORMAT_VERSION;
    copy_of(&p, 0)->incompat = CM_INCOMPAT_KNOWN + 1;
    CALL(expect_read(&p, CM_EINCOMPAT));
    memset(copy_of(&p, 1), 0, 256);
    copy_of(&p, 0)->byte_order = 0x04030201u;
    CALL(expect_read(&p, CM_EBYTEORDER));
    pair_end(&p);
}

static void test_higher_seq_wins(void)
{
    struct pair p;
    struct cm_super sb;
    uint32_t damaged;
    for (unsigned newer = 0; newer < 2; newer++) {
        CASE("newer %u", newer);
        CALL(pair_make(&p));
        copy_of(&p, newer)->seq += 1;
        copy_of(&p, newer)->epoch = 77;
        super_seal(copy_of(&p, newer));
        CHECK_EQ(cm_super_read(p.base, &sb, &damaged), (int)newer);
        CHECK_EQ(sb.epoch, 77);
        CHECK_EQ(damaged, 0);
        copy_of(&p, newer)->xxh3 ^= 1; /* without it the older one counts */
        CHECK_EQ(cm_super_read(p.base, &sb, &damaged), (int)(1 - newer));
        CHECK_EQ(sb.epoch, 1);
        pair_end(&p);
    }
}

/* A write is torn at any word of either copy: the state before it or after it is left, whole. */
static void test_torn_write(void)
{
    struct pair p;
    struct cm_super sb;
    uint32_t damaged;
    CALL(pair_make(&p));
    const struct cm_super old = *copy_of(&p, 0);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    const struct cm_super new = *copy_of(&p, 0);
    CHECK_EQ(new.epoch, old.epoch + 1);
    for (unsigned copy = 0; copy < 2; copy++)
        for (unsigned words = 0; words <= sizeof(sb) / 8; words++) {
            CASE("words %u", words);
            *copy_of(&p, 0) = copy ? new : old;
            *copy_of(&p, 1) = old;
            memcpy(copy_of(&p, copy), &new, (size_t)words * 8);
            CHECK(cm_super_read(p.base, &sb, &damaged) >= 0);
            bool is_new = copy || words == sizeof(sb) / 8;
            CHECK(memcmp(&sb, is_new ? &new : &old, sizeof(sb)) == 0);
        }
    pair_end(&p);
}

/* The words of one copy arrive in any order: that never gives a mixture. */
static void test_torn_any_order(void)
{
    struct pair p;
    struct cm_super sb;
    uint32_t damaged;
    uint64_t rng = 3;
    CALL(pair_make(&p));
    const struct cm_super old = *copy_of(&p, 0);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    const struct cm_super new = *copy_of(&p, 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t arrived = next_random(&rng);
        uint64_t *w = (uint64_t *)(void *)copy_of(&p, 0);
        *copy_of(&p, 1) = old;
        for (unsigned k = 0; k < 32; k++)
            w[k] = ((const uint64_t *)(const void *)(arrived >> k & 1 ? &new : &old))[k];
        CHECK(cm_super_read(p.base, &sb, &damaged) >= 0);
        CHECK(memcmp(&sb, &new, sizeof(sb)) == 0 || memcmp(&sb, &old, sizeof(sb)) == 0);
    }
    pair_end(&p);
}

static void test_kill(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CHECK_EQ(cm_super_kill(&p.s), 0);
    CALL(expect_read(&p, CM_ENOTPOOL));
    pair_end(&p);
}

/* Through the public API: a damaged copy is noticed, and the open repairs it. */
static void test_open_repairs(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pool p;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach(&p, 1, 64 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 10, 5), 10);
        pool_down(&p);
        super_at(&p, i)->xxh3 ^= 0x100;
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(pool_info(p.c).superblocks_damaged, 1);
        CHECK_EQ(cm_format_super_check(super_at(&p, i)), 0);
        CHECK(same_super(super_at(&p, 0), super_at(&p, 1)));
        f = attach(&p, 1, 64 * BLK, 1, 0);
        CHECK_EQ(hits(f, 0, 10, 5), 10);
        pool_again(&p);
        CHECK_EQ(pool_info(p.c).superblocks_damaged, 0);
        pool_end(&p);
    }
}

/* A read-only open repairs nothing. */
static void test_readonly_repairs_nothing(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    pool_down(&p);
    super_at(&p, 1)->xxh3 ^= 0x100;
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).superblocks_damaged, 1);
    pool_down(&p);
    CHECK_EQ(cm_format_super_check(super_at(&p, 1)), CM_EDAMAGED);
    pool_end(&p);
}

static void expect_open(struct pool *p, int code)
{
    cm_cache *c = NULL;
    CHECK_EQ(cm_open_memory(p->base, p->bytes, &p->o, &c), code);
    CHECK(c == NULL || code == 0);
    if (c)
        CHECK_EQ(cm_close(c), 0);
}

static void set_both(struct pool *p, const struct cm_super *sb)
{
    *super_at(p, 0) = *super_at(p, 1) = *sb;
    super_seal(super_at(p, 0));
    super_seal(super_at(p, 1));
}

static void test_open_refuses(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    struct cm_super good = *super_at(&p, 0), sb = good;
    sb.version = CM_FORMAT_VERSION - 1;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_EVERSION));
    sb = good;
    sb.incompat = CM_INCOMPAT_KNOWN + 1;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_EINCOMPAT));
    sb = good;
    sb.byte_order = 0x04030201u;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_EBYTEORDER));
    sb = good;
    sb.pool_size += BLK;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_ETRUNCATED));
    sb.pool_size -= 2 * BLK;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_EOVERSIZE));
    sb = good;
    sb.slots += 1000;
    set_both(&p, &sb);
    CALL(expect_open(&p, CM_EDAMAGED));
    set_both(&p, &good);
    super_at(&p, 0)->seq++;
    super_at(&p, 1)->seq++;
    CALL(expect_open(&p, CM_EDAMAGED));
    set_both(&p, &good);
    CALL(expect_open(&p, 0));
    memset(p.base, 0, 8192);
    CALL(expect_open(&p, CM_ENOTPOOL));
    pool_end(&p);
}

/* ---- Keep or empty --------------------------------------------------------------------------- */

/* 0: unknown, 1: this one, 2: another */
static void make_id(uint8_t id[16], unsigned which)
{
    memset(id, (int)which, 16);
}

/* The rule, written a second time. A pool that is clean or was flushed by the CPU stays. A pool
 * that only the page cache held stays if the page cache is the very same one. */
static bool should_empty(bool clean, unsigned durability, unsigned boot, unsigned mount,
                         unsigned own_boot, unsigned own_mount)
{
    if (clean || durability == CM_DURABILITY_DAX)
        return false;
    return own_boot == 0 || own_mount == 0 || boot != own_boot || mount != own_mount;
}

static void check_rule(bool clean, unsigned durability, unsigned ids, unsigned own)
{
    struct cm_super sb = { .state = clean ? CM_SUPER_CLEAN : CM_SUPER_OPEN };
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE };
    unsigned boot = ids % 3, mount = ids / 3, own_boot = own % 3, own_mount = own / 3;
    sb.durability = durability;
    make_id(sb.boot_id, boot);
    make_id(sb.mount_id, mount);
    make_id(o.boot_id, own_boot);
    make_id(o.mount_id, own_mount);
    CHECK_EQ(cm_super_must_empty(&sb, &o),
             should_empty(clean, durability, boot, mount, own_boot, own_mount));
    o.durability = CM_DURABILITY_DAX; /* the last owner's durability counts */
    CHECK_EQ(cm_super_must_empty(&sb, &o),
             should_empty(clean, durability, boot, mount, own_boot, own_mount));
}

static void test_must_empty_table(void)
{
    for (unsigned clean = 0; clean < 2; clean++)
        for (unsigned d = CM_DURABILITY_VOLATILE; d <= CM_DURABILITY_DAX; d++)
            for (unsigned ids = 0; ids < 9; ids++)
                for (unsigned own = 0; own < 9; own++) {
                    CASE("own %u", own);
                    CALL(check_rule(clean, d, ids, own));
                }
}

/* A crash of the process or of the system, with each durability, end to end. */
static void check_crash(uint32_t durability, bool other_boot, bool kept)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = durability;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 64 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 20, 5), 20);
    uint64_t epoch = pool_info(p.c).epoch;
    pool_crash(&p);
    if (other_boot)
        pool_other_boot(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    cm_check_report r = { .struct_size = sizeof(r) };
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.would_empty, !kept);
    pool_down(&p);
    p.o.flags = 0;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).emptied, !kept);
    CHECK_EQ(pool_info(p.c).epoch, kept ? epoch : epoch + 1);
    f = attach(&p, 1, 64 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 20, 5), kept ? 20 : 0);
    CHECK_EQ(put_all(f, 20, 20, 5), 20); /* the pool works, emptied or not */
    pool_end(&p);
}

static void test_crash_table(void)
{
    CALL(check_crash(CM_DURABILITY_VOLATILE, false, true));
    CALL(check_crash(CM_DURABILITY_VOLATILE, true, false));
    CALL(check_crash(CM_DURABILITY_PAGECACHE, false, true));
    CALL(check_crash(CM_DURABILITY_PAGECACHE, true, false));
    CALL(check_crash(CM_DURABILITY_DAX, false, true));
    if (cpu_flushes()) /* else it claims no more than the page cache */
        CALL(check_crash(CM_DURABILITY_DAX, true, true));
}

/* Closed cleanly, another boot: everything is kept. */
static void test_clean_other_boot(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_PAGECACHE;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 64 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 20, 5), 20);
    pool_down(&p);
    pool_other_boot(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).emptied, 0);
    f = attach(&p, 1, 64 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 20, 5), 20);
    pool_end(&p);
}

/* OPEN is in both copies before anything else is stored, CLEAN in both after a close. */
static void test_state_words(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(super_at(&p, i)->state, CM_SUPER_OPEN);
    CHECK_EQ(pool_info(p.c).clean, 0);
    pool_down(&p);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(super_at(&p, i)->state, CM_SUPER_CLEAN);
    pool_end(&p);
}

static void test_boot_number(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    REQUIRE(pool_up(&p) == 0);
    uint32_t n = super_at(&p, 0)->boot_number;
    pool_again(&p);
    CHECK_EQ(super_at(&p, 0)->boot_number, n);
    pool_down(&p);
    pool_other_boot(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(super_at(&p, 0)->boot_number, n + 1);
    CHECK_EQ(super_at(&p, 1)->boot_number, n + 1);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(super_at(&p, 0)->boot_number, n + 1);
    pool_end(&p);
}

/* ---- Epoch ----------------------------------------------------------------------------------- */

static uint64_t valid_headers(cm_cache *c)
{
    uint64_t n = 0;
    for (uint64_t s = 0; s < c->media.geo.slots; s++)
        n += slot_ok(c, s);
    return n;
}

static void test_epoch_bump(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_file *f = attach(&p, 1, 200 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    CHECK_EQ(valid_headers(p.c), 200);
    CHECK_EQ(bump_epoch(p.c), 0);
    CHECK_EQ(valid_headers(p.c), 0);
    CHECK_EQ(super_at(&p, 0)->epoch, super_at(&p, 1)->epoch);
    CHECK_EQ(hits(f, 0, 200, 5), 0);
    CHECK(put_all(f, 0, 100, 6) == 100); /* old left-overs do no harm */
    CHECK_EQ(hits(f, 0, 100, 6), 100);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    f = attach(&p, 1, 200 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0); /* its record is of the old epoch */
    CHECK_EQ(hits(f, 0, 200, 6), 0);
    pool_end(&p);
}

/* After a bump nothing of the old epoch comes back, also if one copy is lost. */
static void test_epoch_in_both(void)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        CASE("lost %u", lost);
        struct pool p;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 100, 5), 100);
        CHECK_EQ(bump_epoch(p.c), 0);
        pool_crash(&p);
        memset(super_at(&p, lost), 0xff, sizeof(struct cm_super));
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(valid_headers(p.c), 0);
        pool_end(&p);
    }
}

/* Without DAX: a power cut may tear a copy that could not be synced. So the other copy stays as it
 * is until the first one is on the media. */
static void test_failing_sync(void)
{
    struct pair p;
    struct cm_plat_file none = { .handle = 1 << 20 }; /* nobody has so many files open */
    CALL(pair_make(&p));
    p.s.first = 1;
    p.s.file = &none;
    p.s.sync = true;
    struct cm_super before = *copy_of(&p, 0);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), CM_EIO);
    CHECK_EQ(p.failed, 1);
    CHECK(memcmp(copy_of(&p, 0), &before, sizeof(before)) == 0);
    CHECK_EQ(copy_of(&p, 1)->epoch, 2); /* counts after a crash of the process */
    CHECK_EQ(cm_format_super_check(copy_of(&p, 1)), 0);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), CM_EIO);
    CHECK(memcmp(copy_of(&p, 0), &before, sizeof(before)) == 0);
    CHECK(cm_super_lost(&p.s));
    p.s.sync = false;
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CHECK(!cm_super_lost(&p.s)); /* an epoch begins */
    CHECK_EQ(copy_of(&p, 0)->epoch, 4);
    CHECK_EQ(copy_of(&p, 1)->epoch, 4);
    pair_end(&p);
}

/* What slots may be in use, too, is told by the next write that can be made. */
static void test_frontier_unsaid(void)
{
    struct pair p;
    struct cm_plat_file none = { .handle = 1 << 20 }; /* as above */
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    p.s.file = &none;
    p.s.sync = true;
    CHECK_EQ(cm_super_sync_failed(&p.s, true), CM_EIO);
    const struct cm_super before[CM_SUPER_COPIES] = { *copy_of(&p, 0), *copy_of(&p, 1) };
    cm_super_frontier(&p.s, 10);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        CHECK(memcmp(copy_of(&p, i), &before[i], sizeof(before[i])) == 0);
    p.s.sync = false;
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        CHECK_EQ(copy_of(&p, i)->frontier, 10);
    pair_end(&p);
}

/* Failed fsyncs in an unknown boot count until three others have told which they are: each of these
 * may be that boot, and two of them are remembered. In the fourth another fsync fails. */
static void expect_unknown(struct pair *p, unsigned first)
{
    CHECK_EQ(cm_super_sync_failed(&p->s, true), 0);
    CALL(open_in_boot(p, 0));
    CALL(expect_failed(p, true, true)); /* the records are of another boot, as far as they know */
    for (unsigned boot = first; boot < first + 3; boot++) {
        CALL(open_in_boot(p, boot));
        CALL(expect_failed(p, true, true));
    }
    CALL(open_in_boot(p, first + 3));
    CALL(expect_failed(p, false, false));
    CHECK_EQ(cm_super_sync_failed(&p->s, true), 0);
}

/* A failed fsync is known to the end of the boot, and for which files, while their records count.
 * If boots cannot be told apart, it is known until they can. */
static void test_failed_sync(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, false, false));
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CALL(expect_failed(&p, false, false));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(expect_failed(&p, true, false));
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, false));
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CALL(expect_failed(&p, true, true));
    CALL(open_in_boot(&p, 2));
    CALL(expect_failed(&p, false, false));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0);
    CALL(expect_failed(&p, true, true));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        CASE("i %u", i);
        CHECK_EQ(copy_of(&p, i)->failed_boot, 2);
        CHECK_EQ(copy_of(&p, i)->unnamed_boot, 2);
    }
    CALL(open_in_boot(&p, 3));
    CALL(expect_failed(&p, false, false));
    CALL(open_in_boot(&p, 0)); /* it may be the second one */
    CALL(expect_failed(&p, true, true));
    CALL(expect_unknown(&p, 4));
    CALL(open_in_boot(&p, 8)); /* a container, say, with a boot_id of its own */
    CALL(expect_failed(&p, false, false));
    CALL(open_in_boot(&p, 7));
    CALL(expect_failed(&p, true, true));
    CALL(open_in_boot(&p, 0));
    CALL(expect_failed(&p, true, true));
    CALL(expect_unknown(&p, 9));
    pair_end(&p);
}

/* A volume that cannot be written for a while: bit n of `flaky_syncs` is set when the sync after n
 * fences fails. */
static struct cm_plat_file flaky;
static intptr_t flaky_handle;
static unsigned flaky_fences, flaky_syncs;

static void flaky_fence(void *ctx)
{
    (void)ctx;
    flaky_fences++;
    /* There is no such descriptor. */
    flaky.handle = flaky_syncs >> flaky_fences & 1 ? 1 << 20 : flaky_handle;
}

static int open_flaky(struct pair *p, unsigned syncs, bool *emptied)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .pid = 1 };
    memset(o.boot_id, 7, sizeof(o.boot_id));
    memset(o.mount_id, 7, sizeof(o.mount_id));
    struct cm_persist_ops ops = *p->media.ops;
    ops.fence = flaky_fence;
    p->media.ops = &ops;
    flaky_fences = UINT32_MAX; /* the first fence is that of the session, which is not synced */
    flaky_syncs = syncs;
    p->s.file = &flaky;
    p->s.sync = true;
    int e = cm_super_open(&p->s, &o, emptied);
    p->media.ops = cm_persist_choose(CM_FLUSH_NONE);
    flaky.handle = flaky_handle;
    return e;
}

/* At an open the system reports, once, that it dropped writes of a crashed owner: the pool may be
 * as it was long ago. From then on nothing of the pool counts, also for the next open. */
static void test_open_not_synced(void)
{
#ifdef _WIN32
    SKIP("the file that stands for the volume cannot be resized here while it is open");
#endif
    char path[512];
    struct pair p;
    struct cm_plat_file file = PLAT_FILE_INIT;
    bool emptied;
    REQUIRE(os_make_file(path, sizeof(path), "super"));
    CHECK_EQ(os_resize(path, 2 * CM_SUPER_STRIDE), 0);
    CHECK_EQ(cm_plat_file_open(&file, path, false), 0);
    flaky = file;
    flaky_handle = file.handle;
    for (unsigned i = 0; i < 16; i++) {
        const unsigned fails = i / 2 * 2; /* of the first three syncs */
        CASE("fails %u, first %u", fails, i % 2);
        CALL(pair_make(&p));
        p.s.first = i % 2;
        CHECK_EQ(open_flaky(&p, 0, &emptied), 0); /* it is a pool of this boot, and not closed */
        const uint64_t epoch = p.s.now.epoch;
        const unsigned first = p.s.first;
        int e = open_flaky(&p, fails, &emptied);
        if ((fails & 12) == 0) /* the copy that may not be durable is overwritten first */
            CHECK_EQ(p.s.first, fails & 2 ? 1 - first : first);
        if ((fails & 12) == 12) { /* the errors go on: then there is no pool any more */
            CHECK_EQ(e, CM_EIO);
            CALL(expect_read(&p, CM_ENOTPOOL));
            CHECK_EQ(os_size(path), 0);
            CHECK_EQ(os_resize(path, 2 * CM_SUPER_STRIDE), 0);
        } else {
            CHECK_EQ(e, 0);
            CHECK_EQ(emptied, fails > 0);
            CHECK_EQ(p.s.now.epoch > epoch, fails > 0);
            CHECK_EQ(copy_of(&p, 0)->epoch, p.s.now.epoch);
            CHECK_EQ(copy_of(&p, 1)->epoch, p.s.now.epoch);
        }
        pair_end(&p);
    }
    cm_plat_file_close(&file);
    cm_plat_file_remove(path);
}

/* ---- Incarnations ---------------------------------------------------------------------------- */

static uint64_t last_incarnation;

static void take_some(struct pool *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CASE("i %u", i);
        uint64_t inc = 0;
        CHECK_EQ(cm_super_incarnation(&p->c->super, &inc), 0);
        CHECK(inc > last_incarnation);
        CHECK(inc < super_at(p, 0)->inc_mark && inc < super_at(p, 1)->inc_mark);
        last_incarnation = inc;
    }
}

/* No number comes twice, over closes, crashes, a lost copy, and the end of a range. */
static void test_incarnations(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    last_incarnation = 0;
    CALL(take_some(&p, 1000));
    pool_down(&p); /* the rest of the range is not given away */
    CHECK_EQ(super_at(&p, 0)->inc_mark, last_incarnation + 1);
    CHECK_EQ(super_at(&p, 1)->inc_mark, last_incarnation + 1);
    REQUIRE(pool_up(&p) == 0);
    CALL(take_some(&p, 1000));
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CALL(take_some(&p, 1000));
    pool_crash(&p);
    super_at(&p, 0)->xxh3 ^= 1;
    REQUIRE(pool_up(&p) == 0);
    CALL(take_some(&p, 1000));
    pool_crash(&p);
    super_at(&p, 1)->xxh3 ^= 1;
    REQUIRE(pool_up(&p) == 0);
    uint64_t before = last_incarnation;
    CALL(take_some(&p, (unsigned)CM_INCARNATION_RANGE + 10));
    CHECK_EQ(last_incarnation - before >= CM_INCARNATION_RANGE, 1);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CALL(take_some(&p, 10));
    CHECK_EQ(bump_epoch(p.c), 0);
    CALL(take_some(&p, 10));
    pool_end(&p);
}

/* Files that are forgotten, aborted and reopened get new numbers. */
static void test_file_incarnations(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t last = 0;
    for (unsigned i = 0; i < 300; i++) {
        CASE("i %u", i);
        cm_file *f = attach(&p, 1, 100 * BLK, i, 0);
        uint64_t inc = info_of(f).incarnation;
        CHECK(inc > last);
        CHECK_EQ(cm_file_abort(f), 0);
        CHECK(info_of(f).incarnation > inc);
        last = info_of(f).incarnation;
        detach(f);
        if (i % 50 == 49)
            pool_again(&p);
        if (i % 70 == 69) {
            pool_crash(&p);
            REQUIRE(pool_up(&p) == 0);
        }
    }
    pool_end(&p);
}

/* ---- Failing writes -------------------------------------------------------------------------- */

static struct cm_persist_ops broken_ops;
static int failing_write(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx, (void)dst, (void)src, (void)n;
    return CM_EIO;
}

static void break_writes(struct pool *p)
{
    broken_ops = *p->c->media.ops;
    broken_ops.write = failing_write;
    p->c->media.ops = &broken_ops;
}

/* Superblocks that cannot be written: no new range, no clean close. */
static void test_failing_media(void)
{
    struct pool p;
    uint64_t inc;
    REQUIRE(pool_new(&p, MIB) == 0);
    break_writes(&p);
    p.c->super.next_incarnation = p.c->super.now.inc_mark;
    CHECK_EQ(cm_super_incarnation(&p.c->super, &inc), CM_EIO);
    CHECK_EQ(cm_super_incarnation(&p.c->super, &inc), CM_EIO);
    /* Headers that are valid on the media are still found, so a bracket does not miss them. */
    uint64_t key = p.c->media.check_key;
    CHECK_EQ(bump_epoch(p.c), CM_EIO);
    CHECK(p.c->media.check_key == key);
    CHECK_EQ(cm_close(p.c), CM_EIO);
    p.c = NULL;
    CHECK_EQ(super_at(&p, 0)->state, CM_SUPER_OPEN);
    pool_end(&p);
}

/* A superblock that could not be written may have left an old copy, so no later close is clean. */
static void test_failed_before_close(void)
{
    struct pool p;
    uint64_t inc;
    REQUIRE(pool_new(&p, MIB) == 0);
    const struct cm_persist_ops *good = p.c->media.ops;
    break_writes(&p);
    p.c->super.next_incarnation = p.c->super.now.inc_mark;
    CHECK_EQ(cm_super_incarnation(&p.c->super, &inc), CM_EIO);
    p.c->media.ops = good;
    CHECK_EQ(cm_close(p.c), CM_EIO);
    p.c = NULL;
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(super_at(&p, i)->state, CM_SUPER_OPEN);
    REQUIRE(pool_up(&p) == 0);
    pool_end(&p);
}

/* Data could not be synced. Nobody knows which part of it is on the media, perhaps not even the
 * page cache. So the next session counts none of it, also in this boot. */
static void test_data_not_synced(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_PAGECACHE;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 20, 5), 20);
    uint64_t epoch = pool_info(p.c).epoch;
    p.c->super.sync = true;
    p.c->file.handle = 1 << 20; /* no such descriptor */
    CHECK_EQ(cm_close(p.c), CM_EIO);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 20, 5), 0);
    pool_end(&p);
}

static const struct cm_super *lost_copy;
static int write_but_one(void *ctx, void *dst, const void *src, size_t n)
{
    return dst == lost_copy ? CM_EIO : broken_ops.write(ctx, dst, src, n);
}

/* If one copy cannot be written, the other one still gets the new epoch. */
static void test_one_copy_unwritable(void)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        CASE("lost %u", lost);
        struct pair p;
        struct cm_super sb;
        uint32_t damaged;
        CALL(pair_make(&p));
        broken_ops = *p.media.ops;
        struct cm_persist_ops ops = broken_ops;
        ops.write = write_but_one;
        p.media.ops = &ops;
        lost_copy = copy_of(&p, lost);
        for (p.s.first = 0; p.s.first < 2; p.s.first++) {
            CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), CM_EIO);
            CHECK_EQ(p.failed, 1);
            CHECK_EQ(copy_of(&p, lost)->epoch, 1);
            CHECK_EQ(copy_of(&p, 1 - lost)->epoch, p.s.now.epoch);
            CHECK(cm_super_read(p.base, &sb, &damaged) >= 0);
            CHECK_EQ(sb.epoch, p.s.now.epoch);
        }
        pair_end(&p);
    }
}

/* ---- Frontier -------------------------------------------------------------------------------- */

static void test_frontier(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 8 * MIB) == 0);
    cm_file *f = attach(&p, 1, 300 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 300, 5), 300);
    uint64_t used = pool_info(p.c).used_slots;
    CHECK(used >= 300 && used < 300 + 64);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK(pool_info(p.c).used_slots >= used);
    CHECK(pool_info(p.c).used_slots < used + p.c->media.geo.slots / 64 + 65);
    pool_again(&p);
    CHECK(pool_info(p.c).used_slots >= used);
    CHECK_EQ(bump_epoch(p.c), 0);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).used_slots, 0);
    pool_end(&p);
}

/* A wrong hint costs only time: too low, too high, or absurd. */
static void check_wrong_frontier(uint64_t frontier)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_file *f = attach(&p, 1, 600 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    pool_down(&p);
    struct cm_super sb = *super_at(&p, 0);
    sb.frontier = frontier;
    set_both(&p, &sb);
    REQUIRE(pool_up(&p) == 0);
    f = attach(&p, 1, 600 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 200, 5), 200);
    CHECK(put_all(f, 200, 400, 5) >= 395);
    CHECK(hits(f, 0, 600, 5) >= 200);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static void test_wrong_frontier(void)
{
    CALL(check_wrong_frontier(0));
    CALL(check_wrong_frontier(7));
    CALL(check_wrong_frontier(700));
    CALL(check_wrong_frontier(100000));
    CALL(check_wrong_frontier(UINT64_MAX));
}

static const struct harness_test super_tests[] = {
    TEST(one_damaged),
    TEST(both_damaged),
    TEST(reasons),
    TEST(higher_seq_wins),
    TEST(torn_write),
    TEST(torn_any_order),
    TEST(kill),
    TEST(open_repairs),
    TEST(readonly_repairs_nothing),
    TEST(open_refuses),
    TEST(must_empty_table),
    TEST(crash_table),
    TEST(clean_other_boot),
    TEST(state_words),
    TEST(boot_number),
    TEST(epoch_bump),
    TEST(epoch_in_both),
    TEST(failing_sync),
    TEST(failed_sync),
    TEST(frontier_unsaid),
    TEST(open_not_synced),
    TEST(incarnations),
    TEST(file_incarnations),
    TEST(failing_media),
    TEST(failed_before_close),
    TEST(data_not_synced),
    TEST(one_copy_unwritable),
    TEST(frontier),
    TEST(wrong_frontier),
    TEST_END,
};

static const struct harness_test *const tables[] = { super_tests, super_boots_tests,
                                                     super_steps_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
