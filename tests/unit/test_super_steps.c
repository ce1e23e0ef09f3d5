/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_super_steps.c - each call that writes superblocks, alone: what it says and writes, and what
 * becomes of it when one of its steps fails.
 */
#include "super_common.h"

#include "../os.h"
#include "count_ops.h"

/* ---- Steps that fail ------------------------------------------------------------------------- */

/* The calls that write. Their steps: `E`: if it fails, the call says so; `.`: it does not. The word
 * of the session takes two steps, each superblock two. */
static int call_format(struct pair *p)
{
    return cm_super_format(&p->s);
}
static int call_kill(struct pair *p)
{
    return cm_super_kill(&p->s);
}
static int call_shut(struct pair *p)
{
    return cm_super_shut(&p->s);
}
static int call_unshut(struct pair *p)
{
    p->s.served = true;
    return cm_super_unshut(&p->s);
}
static int call_unshut_odd(struct pair *p)
{
    return cm_super_unshut(&p->s);
}
static int silence(struct cm_superblocks *s, bool silent)
{
    cm_lock_acquire(&s->lock);
    const int e = cm_super_silence(s, silent);
    cm_lock_release(&s->lock);
    return e;
}
static int call_silence(struct pair *p)
{
    return silence(&p->s, true);
}
static int call_speak(struct pair *p)
{
    p->s.silent = true;
    return silence(&p->s, false);
}
static int call_speak_on(struct pair *p)
{
    return silence(&p->s, false);
}
static int call_bump(struct pair *p)
{
    return cm_super_bump_epoch(&p->s, &p->failed);
}
static int call_disbelieve(struct pair *p)
{
    return cm_super_disbelieve(&p->s, p->media.check_key, &p->failed);
}
static int call_believe(struct pair *p)
{
    return cm_super_disbelieve(&p->s, p->media.check_key + 1, &p->failed);
}
static int call_growing(struct pair *p)
{
    return cm_super_growing(&p->s, 65 * MIB);
}
static int call_add_part(struct pair *p)
{
    p->s.now.growing = 66 * MIB;
    return cm_super_add_part(&p->s, 0, 0x123456);
}
static int call_compat(struct pair *p)
{
    return cm_super_compat(&p->s, CM_COMPAT_KEEP, true);
}
static int call_same_compat(struct pair *p)
{
    return cm_super_compat(&p->s, CM_COMPAT_KEEP, false);
}
static int call_checkpointed(struct pair *p)
{
    return cm_super_checkpointed(&p->s);
}
static int call_checkpointed_already(struct pair *p)
{
    p->s.now.durability = CM_DURABILITY_CHECKPOINT;
    return cm_super_checkpointed(&p->s);
}
static int call_sync_failed(struct pair *p)
{
    return cm_super_sync_failed(&p->s, true);
}
static int call_sync_failed_again(struct pair *p)
{
    p->s.now.failed_boot = p->s.now.boot_number;
    return cm_super_sync_failed(&p->s, true);
}
static int call_incarnation(struct pair *p)
{
    uint64_t number;
    p->s.next_incarnation = p->s.now.inc_mark;
    return cm_super_incarnation(&p->s, &number);
}
static int call_next_incarnation(struct pair *p)
{
    uint64_t number;
    p->s.next_incarnation = p->s.now.inc_mark - 1;
    return cm_super_incarnation(&p->s, &number);
}
static int call_close(struct pair *p)
{
    const struct cm_super_memo memo = { 1, 2, 3 };
    return cm_super_close(&p->s, 4, &memo);
}
static int call_close_silent(struct pair *p)
{
    *cm_super_session_at(&p->media) |= 1;
    p->s.silent = true;
    const int e = call_close(p);
    CHECK_EQ(p->s.silent, e != 0); /* until the next open, if it could not be closed */
    return e;
}
static int call_frontier(struct pair *p)
{
    cm_super_frontier(&p->s, 5);
    return 0;
}
static int call_same_frontier(struct pair *p)
{
    cm_super_frontier(&p->s, 0);
    return 0;
}
static int call_open(struct pair *p)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_DAX, .pid = 1 };
    bool emptied = true;
    const int e = cm_super_open(&p->s, &o, &emptied);
    CHECK(!emptied);
    return e;
}

static const struct {
    const char *name, *steps;
    int (*call)(struct pair *p);
} writers[] = {
    { "format", "EEEE", call_format },
    { "kill", "..EEEE", call_kill },
    { "shut", "E.", call_shut },
    { "unshut", "E.", call_unshut },
    { "unshut odd", "", call_unshut_odd },
    { "silence", "E.", call_silence },
    { "speak", "E.", call_speak },
    { "speak on", "", call_speak_on },
    { "bump", "E.EEEE..", call_bump },
    { "disbelieve", "E.EEEE..", call_disbelieve },
    { "believe", "", call_believe },
    { "growing", "EEEE", call_growing },
    { "add part", "E.EEEE..", call_add_part },
    { "compat", "EEEE", call_compat },
    { "same compat", "", call_same_compat },
    { "checkpointed", "EEEE", call_checkpointed },
    { "checkpointed already", "", call_checkpointed_already },
    { "sync failed", "EEEE", call_sync_failed },
    { "sync failed again", "", call_sync_failed_again },
    { "incarnation", "EEEE", call_incarnation },
    { "next incarnation", "", call_next_incarnation },
    { "close", "EEEE", call_close },
    { "close silent", "EEEE..", call_close_silent },
    { "frontier", "..", call_frontier },
    { "same frontier", "", call_same_frontier },
    { "open", "E.EEEEEE..", call_open },
};

static void writer_begin(struct pair *p)
{
    CALL(pair_make(p));
    p->s.now.boot_number = 1; /* not that of a sync that failed */
    p->media.check_key = cm_format_check_key(p->s.now.uuid, p->s.now.epoch);
}

static int fail_to_write(void *ctx, void *dst, const void *src, size_t n)
{
    (void)ctx, (void)dst, (void)src, (void)n;
    return CM_EIO;
}

/* What was not written is taken back, and the key of an epoch that may not be there is not used. */
static void expect_taken_back(const struct pair *p, unsigned writer, unsigned step,
                              const struct pair *was)
{
    const struct cm_super *a = &was->s.now, *b = &p->s.now;
    if (writers[writer].call == call_growing)
        CHECK_EQ(b->growing, 65 * MIB); /* it may have begun */
    else
        CHECK_EQ(b->growing, writers[writer].call == call_add_part ? 66 * MIB : a->growing);
    CHECK_EQ(b->part[0], 0);
    CHECK_EQ(b->compat, a->compat);
    if (writers[writer].call == call_open && step == 1) /* nobody was told: nothing has changed */
        CHECK(memcmp(a, b, sizeof(*a)) == 0);
    else if (writers[writer].call == call_open)
        CHECK_EQ(b->durability, CM_DURABILITY_DAX);
    else
        CHECK_EQ(b->durability, a->durability);
    if (writers[writer].call != call_open)
        CHECK_EQ(b->inc_mark, strstr(writers[writer].name, "close") ? 0 : a->inc_mark);
    CHECK_EQ(p->media.check_key, was->media.check_key);
}

/* Whichever step fails, the call says so, unless it need not. After that, and until the media work
 * again, no frontier is written either: it might be the only new copy. */
static void test_steps_fail(void)
{
    for (unsigned w = 0; w < sizeof(writers) / sizeof(writers[0]); w++)
        for (unsigned step = 0; step <= strlen(writers[w].steps); step++) {
            CASE("%s, step %u", writers[w].name, step);
            struct pair p, was;
            CALL(writer_begin(&p));
            was = p;
            count_begin(&p.media, step);
            const int e = writers[w].call(&p);
            const unsigned done = count_end(&p.media);
            CHECK_EQ(e, step > 0 && writers[w].steps[step - 1] == 'E' ? CM_EIO : 0);
            if (step == 0)
                CHECK_EQ(done, strlen(writers[w].steps));
            if (e)
                CALL(expect_taken_back(&p, w, step, &was));
            if (p.s.failed) {
                count_begin(&p.media, 0);
                cm_super_frontier(&p.s, 99);
                CHECK_EQ(count_end(&p.media), 0);
            }
            pair_end(&p);
        }
}

/* Readers are served again only if nothing speaks against it. */
static void test_still_shut(void)
{
    struct pair p;
    CALL(writer_begin(&p));
    const uint64_t *session = cm_super_session_at(&p.media);
    CHECK_EQ(*session % 2, 0);
    CHECK_EQ(silence(&p.s, true), 0);
    CHECK_EQ(*session % 2, 1);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CHECK_EQ(*session % 2, 1); /* the owner's mode */
    CHECK_EQ(silence(&p.s, false), 0);
    CHECK_EQ(*session % 2, 0);
    CHECK_EQ(silence(&p.s, true), 0);
    const uint64_t shut = *session;
    CHECK_EQ(cm_super_shut(&p.s), 0);
    CHECK_EQ(*session, shut); /* once is enough */
    CHECK_EQ(silence(&p.s, false), 0);
    CHECK_EQ(*session, shut); /* what was not forgotten still is not */
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CHECK_EQ(*session, shut + 1);
    pair_end(&p);
}

/* What was shut is taken back, unless it had been so already. */
static void test_unshut(void)
{
    struct pair p;
    CALL(writer_begin(&p));
    uint64_t *const session = cm_super_session_at(&p.media);
    const uint64_t was = *session;
    CHECK_EQ(cm_super_shut(&p.s), 0);
    CHECK_EQ(*session, was + 1);
    CHECK_EQ(cm_super_unshut(&p.s), 0);
    CHECK_EQ(*session, was + 2); /* never the same number twice */
    CHECK_EQ(silence(&p.s, true), 0);
    CHECK_EQ(silence(&p.s, false), 0);
    CHECK_EQ(*session, was + 4); /* everything is forgotten */
    *session = was + 5;
    CHECK_EQ(cm_super_shut(&p.s), 0);
    CHECK_EQ(cm_super_unshut(&p.s), 0);
    CHECK_EQ(*session, was + 5);
    *session = 0; /* none */
    CHECK_EQ(cm_super_shut(&p.s), 0);
    CHECK_EQ(cm_super_unshut(&p.s), 0);
    CHECK_EQ(*session, 1);
    pair_end(&p);
}

/* The word of the session cannot be read: the calls say so, and nothing else is done. */
static void test_unreadable_session(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, MIB) == 0);
    struct cm_superblocks *const s = &p.c->super;
    const uint64_t *const session = cm_super_session_at(&p.c->media), was = *session;
    os_protect(p.base, BLK, OS_NOTHING);
    CHECK_EQ(silence(s, true), CM_EIO);
    CHECK_EQ(silence(s, false), CM_EIO);
    CHECK_EQ(silence(s, false), 0); /* they are not silenced */
    CHECK_EQ(cm_super_shut(s), CM_EIO);
    CHECK_EQ(cm_super_add_part(s, 0, 1), CM_EIO);
    CHECK_EQ(s->now.part[0], 0);
    os_protect(p.base, BLK, OS_WRITE);
    CHECK_EQ(*session, was);
    CHECK_EQ(bump_epoch(p.c), 0);
    pool_end(&p);
}

/* An open of memory, or of DAX, whose superblock cannot be written: the pool stays as it is. An
 * open through the page cache makes it no pool, as far as that can be done. */
static void test_open_unwritable(void)
{
    for (unsigned sync = 0; sync < 2; sync++) {
        CASE("sync %u", sync);
        struct pair p;
        bool emptied = true;
        const struct cm_super_owner o = { .durability = CM_DURABILITY_DAX, .pid = 1 };
        CALL(writer_begin(&p));
        p.s.sync = sync;
        count_begin(&p.media, 3); /* the first superblock: after the word of the session */
        CHECK_EQ(cm_super_open(&p.s, &o, &emptied), sync ? 0 : CM_EIO);
        (void)count_end(&p.media);
        CHECK_EQ(emptied, sync);
        CHECK_EQ(p.s.now.epoch, 1 + sync);
        CALL(expect_read(&p, 0));
        pair_end(&p);
    }
}

/* ---- What is written ------------------------------------------------------------------------- */

/* What both copies say is what counts now. */
static void expect_written(struct pair *p)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        CASE("copy %u", i);
        CHECK_EQ(cm_format_super_check(copy_of(p, i)), 0);
        CHECK(same_super(copy_of(p, i), &p->s.now));
    }
}

static void test_growth_written(void)
{
    struct pair p;
    const uint64_t names = CM_INCOMPAT_NAMES, grown = CM_INCOMPAT_GROWN;
    CALL(writer_begin(&p));
    p.s.now.incompat |= names;
    CHECK(!cm_super_is_growing(&p.s));
    CHECK_EQ(cm_super_growing(&p.s, 65 * MIB), 0);
    CHECK(cm_super_is_growing(&p.s));
    CHECK_EQ(p.s.now.incompat, names | grown);
    CHECK_EQ(p.s.now.growing, 65 * MIB);
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_growing(&p.s, 0), 0);
    CHECK(!cm_super_is_growing(&p.s));
    CHECK_EQ(p.s.now.incompat, names); /* older libraries can use it again */
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_growing(&p.s, 65 * MIB), 0);
    CHECK_EQ(cm_super_add_part(&p.s, 0, 0x123456), 0);
    CHECK_EQ(p.s.now.part[0], 0x123456);
    CHECK_EQ(p.s.now.growing, 0);
    CHECK_EQ(p.s.now.incompat, names | grown);
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_growing(&p.s, 0), 0);
    CHECK_EQ(p.s.now.incompat, names | grown); /* it has a part */
    pair_end(&p);
}

static void test_others_written(void)
{
    struct pair p;
    const struct cm_super_memo memo = { 5, 6, 7 };
    CALL(writer_begin(&p));
    CHECK_EQ(cm_super_checkpointed(&p.s), 0);
    CHECK_EQ(p.s.now.durability, CM_DURABILITY_CHECKPOINT);
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_compat(&p.s, CM_COMPAT_KEEP, true), 0);
    CHECK_EQ(cm_super_compat(&p.s, CM_COMPAT_GROUP, true), 0);
    CHECK_EQ(p.s.now.compat, CM_COMPAT_KEEP | CM_COMPAT_GROUP);
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_compat(&p.s, CM_COMPAT_KEEP, false), 0);
    CHECK_EQ(p.s.now.compat, CM_COMPAT_GROUP);
    CALL(expect_written(&p));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(expect_failed(&p, true, false));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0); /* and one that no record names */
    CALL(expect_failed(&p, true, true));
    CALL(expect_written(&p));
    p.s.next_incarnation = 77;
    const uint64_t generation = cm_super_generation(&p.s);
    CHECK(generation > p.s.now.seq);
    CHECK_EQ(cm_super_close(&p.s, 4, &memo), 0);
    CHECK(p.s.now.seq >= generation);
    CHECK_EQ(p.s.now.state, CM_SUPER_CLEAN);
    CHECK_EQ(p.s.now.frontier, 4);
    CHECK_EQ(p.s.now.inc_mark, 77);
    CHECK(memcmp(&p.s.now.memo, &memo, sizeof(memo)) == 0);
    CALL(expect_written(&p));
    pair_end(&p);
}

/* What could not be written is written by the next call, if the media work again. */
static void test_sync_failed_unwritten(void)
{
    struct pair p;
    CALL(writer_begin(&p));
    count_begin(&p.media, 1);
    CHECK_EQ(cm_super_sync_failed(&p.s, true), CM_EIO);
    (void)count_end(&p.media);
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(expect_failed(&p, true, false));
    CALL(expect_written(&p));
    count_begin(&p.media, 0);
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CHECK_EQ(count_end(&p.media), 0); /* once is enough */
    pair_end(&p);
}

/* After a write that failed there are no new numbers, even if the media work again. */
static void test_none_after_failure(void)
{
    struct pair p;
    uint64_t number;
    CALL(writer_begin(&p));
    p.s.failed = true;
    p.s.next_incarnation = p.s.now.inc_mark;
    count_begin(&p.media, 0);
    CHECK_EQ(cm_super_incarnation(&p.s, &number), CM_EIO);
    CHECK_EQ(count_end(&p.media), 0);
    pair_end(&p);
}

/* ---- Opens ----------------------------------------------------------------------------------- */

static struct cm_super_owner owner_of(unsigned boot, unsigned mount)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .pid = 99, .gap = 50 };
    memset(o.boot_id, (int)boot, sizeof(o.boot_id));
    memset(o.mount_id, (int)mount, sizeof(o.mount_id));
    return o;
}

/* Ids are compared to their last byte, and no further. */
static void test_whole_ids(void)
{
    const struct cm_super_owner o = owner_of(7, 8);
    struct cm_super sb = { .state = CM_SUPER_OPEN, .durability = CM_DURABILITY_PAGECACHE };
    memset(&sb.memo, 0xff, sizeof(sb.memo)); /* behind the ids */
    memset(sb.boot_id, 7, sizeof(sb.boot_id));
    memset(sb.mount_id, 8, sizeof(sb.mount_id));
    CHECK(!cm_super_must_empty(&sb, &o));
    sb.boot_id[15]++;
    CHECK(cm_super_must_empty(&sb, &o));
    sb.boot_id[15]--;
    sb.mount_id[15]++;
    CHECK(cm_super_must_empty(&sb, &o));
    sb.mount_id[15]--;
    struct cm_super_owner last = owner_of(0, 0); /* known by the last byte alone */
    memset(sb.boot_id, 0, sizeof(sb.boot_id));
    memset(sb.mount_id, 0, sizeof(sb.mount_id));
    CHECK(cm_super_must_empty(&sb, &last));
    last.boot_id[15] = last.mount_id[15] = sb.boot_id[15] = sb.mount_id[15] = 1;
    CHECK(!cm_super_must_empty(&sb, &last));
}

/* What an open makes of a pool that was checkpointed, or not, in this boot or in another. */
static void check_open(unsigned state, unsigned durability, bool same, bool syncs, unsigned now)
{
    struct pair p;
    bool emptied = true;
    struct cm_super_owner o = owner_of(same ? 7 : 6, 8);
    o.durability = now;
    o.syncs = syncs;
    CALL(writer_begin(&p));
    struct cm_super *const sb = &p.s.now;
    sb->state = state;
    sb->durability = durability;
    sb->memo.generation = 5;
    sb->inc_mark = 1000;
    memset(sb->boot_id, 7, sizeof(sb->boot_id));
    memset(sb->mount_id, 8, sizeof(sb->mount_id));
    p.s.lost = true;
    CHECK_EQ(cm_super_open(&p.s, &o, &emptied), 0);
    const bool cut = state != CM_SUPER_CLEAN && durability == CM_DURABILITY_CHECKPOINT && !same;
    const bool left =
        durability != CM_DURABILITY_DAX && !(durability == CM_DURABILITY_CHECKPOINT && syncs);
    CHECK_EQ(emptied, state != CM_SUPER_CLEAN && left && !same);
    CHECK_EQ(sb->epoch, 1 + emptied);
    CHECK_EQ(sb->torn_epoch, cut && !emptied ? 1 : 0);
    CHECK_EQ(sb->boot_number, same ? 1 : 2);
    CHECK_EQ(sb->boot_first, same ? 0 : 2);
    CHECK_EQ(p.media.boot, sb->boot_number);
    /* A pool that was checkpointed once stays so, if its volume keeps what is synced. */
    const bool stays =
        durability == CM_DURABILITY_CHECKPOINT && syncs && now == CM_DURABILITY_PAGECACHE;
    CHECK_EQ(sb->durability, stays ? durability : now);
    CHECK_EQ(sb->state, CM_SUPER_OPEN);
    CHECK_EQ(sb->owner_pid, 99);
    CHECK_EQ(sb->memo.generation, 0);
    CHECK(memcmp(sb->boot_id, o.boot_id, 16) == 0 && memcmp(sb->mount_id, o.mount_id, 16) == 0);
    CHECK_EQ(p.s.first_incarnation, 1050);
    CHECK_EQ(p.s.next_incarnation, 1050);
    CHECK_EQ(sb->inc_mark, 1050 + CM_INCARNATION_RANGE);
    CHECK(!cm_super_lost(&p.s));
    CHECK(p.media.check_key == cm_format_check_key(sb->uuid, sb->epoch));
    CALL(expect_written(&p));
    pair_end(&p);
}

static void test_opens(void)
{
    for (unsigned i = 0; i < 2 * 4 * 2 * 2 * 2; i++) {
        const unsigned state = i % 2 ? CM_SUPER_CLEAN : CM_SUPER_OPEN;
        const unsigned durability = CM_DURABILITY_VOLATILE + i / 2 % 4;
        const bool same = i / 8 % 2, syncs = i / 16 % 2;
        const unsigned now = i / 32 ? CM_DURABILITY_PAGECACHE : CM_DURABILITY_DAX;
        CASE("state %u, durability %u, same %u, syncs %u, now %u", state, durability, same, syncs,
             now);
        CALL(check_open(state, durability, same, syncs, now));
    }
}

/* The same boot and another mount: the volume was put back. */
static void test_put_back(void)
{
    struct pair p;
    bool emptied = true;
    struct cm_super_owner o = owner_of(7, 9);
    o.syncs = true;
    CALL(writer_begin(&p));
    p.s.now.state = CM_SUPER_OPEN;
    p.s.now.durability = CM_DURABILITY_CHECKPOINT;
    memset(p.s.now.boot_id, 7, sizeof(p.s.now.boot_id));
    memset(p.s.now.mount_id, 8, sizeof(p.s.now.mount_id));
    struct cm_super looked_at = p.s.now;
    cm_super_count_boot(&looked_at, &o);
    CHECK_EQ(looked_at.boot_number, 2);
    CHECK_EQ(cm_super_open(&p.s, &o, &emptied), 0);
    CHECK(!emptied);
    CHECK_EQ(p.s.now.boot_number, 2);
    CHECK_EQ(p.s.now.boot_first, 0); /* the system has not booted */
    CHECK_EQ(p.s.now.torn_epoch, 1);
    pair_end(&p);
}

/* At the end of the numbers there is no gap. */
static void test_gap(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        struct pair p;
        bool emptied;
        const struct cm_super_owner o = owner_of(7, 8);
        CALL(writer_begin(&p));
        p.s.now.inc_mark = CM_GAP_END - 1 + i;
        CHECK_EQ(cm_super_open(&p.s, &o, &emptied), 0);
        CHECK_EQ(p.s.first_incarnation, i ? CM_GAP_END : CM_GAP_END + 49);
        pair_end(&p);
    }
}

/* Nothing can be written, nor the pool be made none: the open fails, and that is all. */
static void test_open_nothing_written(void)
{
    struct pair p;
    bool emptied;
    const struct cm_super_owner o = owner_of(7, 8);
    CALL(writer_begin(&p));
    struct cm_persist_ops ops = *p.media.ops;
    ops.write = fail_to_write;
    p.media.ops = &ops;
    p.s.sync = true; /* of memory: there is no file */
    const uint64_t key = p.media.check_key;
    CHECK_EQ(cm_super_open(&p.s, &o, &emptied), CM_EIO);
    CHECK(p.media.check_key == key);
    CHECK_EQ(*cm_super_session_at(&p.media) % 2, 1);
    pair_end(&p);
}

/* Which copy counts, and which error if none does. */
static void test_choose(void)
{
    static const struct {
        int e[2], chosen;
        uint64_t seq[2];
    } cases[] = {
        { { 0, 0 }, 0, { 5, 4 } },
        { { 0, 0 }, 1, { 4, 5 } },
        { { 0, 0 }, 0, { 5, 5 } },
        { { CM_EDAMAGED, 0 }, 1, { 5, 4 } },
        { { 0, CM_ENOTPOOL }, 0, { 4, 5 } },
        { { CM_EDAMAGED, CM_EDAMAGED }, CM_EDAMAGED, { 0, 0 } },
        { { CM_ENOTPOOL, CM_ENOTPOOL }, CM_ENOTPOOL, { 0, 0 } },
        { { CM_ENOTPOOL, CM_EDAMAGED }, CM_EDAMAGED, { 0, 0 } },
        { { CM_EDAMAGED, CM_ENOTPOOL }, CM_EDAMAGED, { 0, 0 } },
        { { CM_EDAMAGED, CM_EVERSION }, CM_EVERSION, { 0, 0 } },
        { { CM_ENOTPOOL, CM_EINCOMPAT }, CM_EINCOMPAT, { 0, 0 } },
        { { CM_EVERSION, CM_ENOTPOOL }, CM_EVERSION, { 0, 0 } },
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE("i %u", i);
        const struct cm_super c[CM_SUPER_COPIES] = { { .seq = cases[i].seq[0] },
                                                     { .seq = cases[i].seq[1] } };
        CHECK_EQ(cm_super_choose(c, cases[i].e), cases[i].chosen);
    }
}

const struct harness_test super_steps_tests[] = {
    TEST(steps_fail),
    TEST(still_shut),
    TEST(unshut),
    TEST(unreadable_session),
    TEST(open_unwritable),
    TEST(sync_failed_unwritten),
    TEST(growth_written),
    TEST(others_written),
    TEST(none_after_failure),
    TEST(whole_ids),
    TEST(opens),
    TEST(put_back),
    TEST(gap),
    TEST(open_nothing_written),
    TEST(choose),
    TEST_END,
};
