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
static int call_silence(struct pair *p)
{
    return cm_super_silence(&p->s, true);
}
static int call_speak(struct pair *p)
{
    p->s.silent = true;
    return cm_super_silence(&p->s, false);
}
static int call_speak_on(struct pair *p)
{
    return cm_super_silence(&p->s, false);
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
static int call_sync_failed(struct pair *p)
{
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
    { "sync failed", "EEEE", call_sync_failed },
    { "incarnation", "EEEE", call_incarnation },
    { "next incarnation", "", call_next_incarnation },
    { "close", "EEEE", call_close },
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

/* What was not written is taken back, and the key of an epoch that may not be there is not used. */
static void expect_taken_back(const struct pair *p, unsigned writer, const struct pair *was)
{
    const struct cm_super *a = &was->s.now, *b = &p->s.now;
    if (writers[writer].call == call_growing)
        CHECK_EQ(b->growing, 65 * MIB); /* it may have begun */
    else
        CHECK_EQ(b->growing, a->growing);
    CHECK_EQ(b->part[0], 0);
    CHECK_EQ(b->compat, a->compat);
    CHECK_EQ(b->durability, writers[writer].call == call_open ? CM_DURABILITY_DAX : a->durability);
    if (writers[writer].call != call_open)
        CHECK_EQ(b->inc_mark, writers[writer].call == call_close ? 0 : a->inc_mark);
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
                CALL(expect_taken_back(&p, w, &was));
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
    CHECK_EQ(cm_super_silence(&p.s, true), 0);
    CHECK_EQ(*session % 2, 1);
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CHECK_EQ(*session % 2, 1); /* the owner's mode */
    CHECK_EQ(cm_super_silence(&p.s, false), 0);
    CHECK_EQ(*session % 2, 0);
    CHECK_EQ(cm_super_silence(&p.s, true), 0);
    const uint64_t shut = *session;
    CHECK_EQ(cm_super_shut(&p.s), 0);
    CHECK_EQ(*session, shut); /* once is enough */
    CHECK_EQ(cm_super_silence(&p.s, false), 0);
    CHECK_EQ(*session, shut); /* what was not forgotten still is not */
    CHECK_EQ(cm_super_bump_epoch(&p.s, &p.failed), 0);
    CHECK_EQ(*session, shut + 1);
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
    CHECK_EQ(cm_super_silence(s, true), CM_EIO);
    CHECK_EQ(cm_super_silence(s, false), CM_EIO);
    CHECK_EQ(cm_super_silence(s, false), 0); /* they are not silenced */
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

/* If the system does not say which boot it is, it may be the same one. */
static void test_first_boot(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(p.s.now.boot_number, 1);
    CHECK_EQ(p.s.now.boot_first, 0); /* a new pool names no boot */
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CHECK_EQ(p.s.now.boot_first, 2);
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 3));
    CHECK_EQ(p.s.now.boot_number, 5);
    CHECK_EQ(p.s.now.boot_first, 2);
    CALL(open_in_boot(&p, 4));
    CHECK_EQ(p.s.now.boot_first, 6);
    p.s.now.boot_number = 0x7fffffff; /* they go around */
    CALL(open_in_boot(&p, 5));
    CHECK_EQ(p.s.now.boot_number, 0);
    CHECK_EQ(p.s.now.boot_first, 0);
    pair_end(&p);
}

const struct harness_test super_steps_tests[] = {
    TEST(steps_fail),      TEST(still_shut), TEST(unreadable_session),
    TEST(open_unwritable), TEST(first_boot), TEST_END,
};
