/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_super_boots.c - boots that have a pool, one after the other or in turns: since when the
 * system has not booted, and in which of them an fsync failed.
 */
#include "super_common.h"

/* If the system does not say which boot it is, it may be the same one. */
static void test_first_boot(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 0));
    CALL(expect_failed(&p, false, false)); /* it says nothing of an fsync */
    pair_end(&p);
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, false, false));
    CHECK_EQ(p.s.now.boot_number, 1);
    CHECK_EQ(p.s.now.boot_first, 0); /* a new pool names no boot */
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CHECK_EQ(p.s.now.boot_first, 2);
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(p.s.now.boot_number, 2);
    CALL(open_in_boot(&p, 0));
    CALL(open_in_boot(&p, 0));
    for (unsigned boot = 3; boot < 6; boot++) { /* while the unknown one is remembered */
        CALL(open_in_boot(&p, boot));
        CHECK_EQ(p.s.now.boot_number, boot + 2);
        CHECK(!cm_super_booted_since(&p.s, 2));
    }
    p.s.now.boot_number = 0x7fffffff; /* they go around */
    CALL(open_in_boot(&p, 6));
    CHECK_EQ(p.s.now.boot_number, 0);
    CHECK_EQ(p.s.now.boot_first, 0);
    pair_end(&p);
}

/* The pool was used in other boots meanwhile: the system of this one has not booted. */
static void test_boot_again(void)
{
    for (unsigned others = 1; others <= 3; others++) {
        struct pair p;
        CASE("%u others", others);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, 1));
        CALL(open_in_boot(&p, 1));
        const uint32_t wrote = p.s.now.boot_number;
        for (unsigned i = 0; i < others; i++)
            CALL(open_in_boot(&p, 2 + i));
        CHECK(cm_super_booted_since(&p.s, wrote));
        CALL(open_in_boot(&p, 1));
        CHECK_EQ(p.s.now.boot_number, wrote + others + 1);
        CALL(expect_failed(&p, false, false));
        CHECK_EQ(cm_super_booted_since(&p.s, wrote), others > 2); /* it remembers two */
        CALL(open_in_boot(&p, 9));
        CHECK(cm_super_booted_since(&p.s, wrote));
        pair_end(&p);
    }
}

/* The same if two others have it in turns: they are two, however often they come. */
static void test_boot_again_in_turns(void)
{
    for (unsigned turns = 2; turns <= 5; turns++) {
        struct pair p;
        CASE("%u turns", turns);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, 1));
        const uint32_t wrote = p.s.now.boot_number;
        for (unsigned i = 0; i < turns; i++)
            CALL(open_in_boot(&p, 2 + i % 2));
        CALL(open_in_boot(&p, 1));
        CHECK(!cm_super_booted_since(&p.s, wrote));
        pair_end(&p);
    }
}

/* The same with a boot that nobody knows in between. It may be any that had the pool before. */
static void test_boot_again_unknown(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    const uint32_t wrote = p.s.now.boot_number;
    CALL(open_in_boot(&p, 2));
    CALL(open_in_boot(&p, 0));
    CHECK(!cm_super_booted_since(&p.s, wrote));
    const uint32_t unknown = p.s.now.boot_number;
    CALL(open_in_boot(&p, 3));
    CALL(open_in_boot(&p, 1));
    CHECK(!cm_super_booted_since(&p.s, wrote));
    CHECK(!cm_super_booted_since(&p.s, unknown));
    pair_end(&p);
}

/* An fsync failed in each of two boots. The one that had the pool last is remembered for longer. */
static void test_boot_again_failed(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 2));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    for (unsigned other = 3; other < 6; other++) {
        CALL(open_in_boot(&p, other));
        CALL(expect_failed(&p, false, false));
    }
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    pair_end(&p);
}

/* An fsync failed in a boot before this one had the pool: nothing of this one can have failed. */
static void test_boot_again_failed_before(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    for (unsigned other = 2; other < 6; other++)
        CALL(open_in_boot(&p, other));
    CALL(open_in_boot(&p, 6));
    CALL(open_in_boot(&p, 7));
    CALL(open_in_boot(&p, 6));
    CALL(expect_failed(&p, false, false));
    pair_end(&p);
}

static uint16_t sum_of(unsigned boot)
{
    uint8_t id[16];
    memset(id, (int)boot, sizeof(id));
    return cm_format_boot_sum(id);
}

/* It failed in a boot that nobody knows. That may hide a failure of this one. */
static void test_boot_again_failed_unknown(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 2));
    CALL(open_in_boot(&p, 0));
    CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
    CALL(open_in_boot(&p, 3));
    /* By an older library, which remembers known boots only. */
    memset(p.s.now.failed_boot_id, 0, sizeof(p.s.now.failed_boot_id));
    p.s.now.boot_before[0] = sum_of(2);
    p.s.now.boot_before[1] = sum_of(1);
    CALL(open_in_boot(&p, 1));
    CALL(expect_failed(&p, true, true));
    pair_end(&p);
}

/* The volume of a checkpointed pool is put back while it is open: in the same boot, or in another.
 */
static void put_back_in_boot(struct pair *p, unsigned boot)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_PAGECACHE, .syncs = true, .pid = 1 };
    bool emptied;
    memset(o.boot_id, (int)boot, sizeof(o.boot_id));
    memset(o.mount_id, 1 + (int)p->s.now.boot_number % 100, sizeof(o.mount_id));
    p->s.now.durability = CM_DURABILITY_CHECKPOINT;
    CHECK_EQ(cm_super_open(&p->s, &o, &emptied), 0);
    CHECK(!emptied);
}

/* An fsync may have failed in the boot that has the pool, though its id is not the last one that
 * was noted. That stays so if the volume is put back in this boot. */
static void test_put_back_failed(void)
{
    for (unsigned first = 0; first < 2; first++) {
        struct pair p;
        CASE("first %u", first);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, first));
        CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
        if (first == 1) {
            CALL(open_in_boot(&p, 2));
            CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
        }
        CALL(open_in_boot(&p, 1));
        CALL(expect_failed(&p, true, true));
        const uint32_t boot = p.s.now.boot_number;
        CALL(put_back_in_boot(&p, 1));
        CHECK_EQ(p.s.now.boot_number, boot + 1);
        CALL(expect_failed(&p, true, true));
        for (unsigned other = 3; other < 6; other++) { /* an unknown boot is remembered */
            CALL(open_in_boot(&p, other));
            CALL(expect_failed(&p, first == 0 && other < 5, first == 0 && other < 5));
        }
        pair_end(&p);
    }
}

/* That an fsync failed is remembered for longer than a boot. So is that boot, then, also if the
 * next one may be the same. */
static void test_boot_again_by_failure(void)
{
    for (unsigned unknown = 0; unknown < 2; unknown++) {
        struct pair p;
        CASE("unknown %u", unknown);
        CALL(pair_make(&p));
        CALL(open_in_boot(&p, 1));
        const uint32_t wrote = p.s.now.boot_number;
        CHECK_EQ(cm_super_sync_failed(&p.s, true), 0);
        if (unknown) {
            CALL(open_in_boot(&p, 0));
            CALL(expect_failed(&p, true, true));
            memset(p.s.now.boot_id, 9, sizeof(p.s.now.boot_id)); /* it is none of the next ones */
        }
        for (unsigned other = 2; other < 6; other++)
            CALL(open_in_boot(&p, other));
        CHECK(cm_super_booted_since(&p.s, wrote));
        CALL(open_in_boot(&p, 1));
        CALL(expect_failed(&p, true, true));
        CHECK(!cm_super_booted_since(&p.s, wrote));
        pair_end(&p);
    }
}

/* Records say less of a failed fsync if other boots had the pool since. Boots that nobody knows may
 * all be one. */
static void test_failed_all(void)
{
    struct pair p;
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 1));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0);
    CHECK(!cm_super_failed(&p.s).all);
    CALL(open_in_boot(&p, 2));
    CHECK(!cm_super_failed(&p.s).all);
    CALL(open_in_boot(&p, 1));
    CHECK(cm_super_failed(&p.s).all);
    CALL(put_back_in_boot(&p, 1));
    CHECK(cm_super_failed(&p.s).all);
    pair_end(&p);
    CALL(pair_make(&p));
    CALL(open_in_boot(&p, 0));
    CHECK_EQ(cm_super_sync_failed(&p.s, false), 0);
    for (unsigned i = 0; i < 300; i++)
        CALL(open_in_boot(&p, 0));
    CALL(expect_failed(&p, true, true));
    CHECK(!cm_super_failed(&p.s).all);
    pair_end(&p);
}

/* ---- All ways -------------------------------------------------------------------------------- */

/* Three machines share a pool. Letters of a way: A B C, one of them opens it; a b c, the same, from
 * where nobody tells the boot; p, its volume is put back; f, an fsync fails. */
#define WAY_MAX 6
struct way {
    char steps[WAY_MAX + 1];
    unsigned n;
    uint32_t boot[WAY_MAX]; /* the number that each step has */
    char machine[WAY_MAX];
};

/* The next way in the order of an odometer; false: that was the last one. */
static bool next_way(struct way *w)
{
    static const char letters[] = "ABCabcpf";
    unsigned i = w->n;
    while (i-- > 0) {
        const char *const at = strchr(letters, w->steps[i]);
        w->steps[i] = at[1] ? at[1] : letters[0];
        if (at[1])
            return true;
    }
    if (w->n == WAY_MAX)
        return false;
    memset(w->steps, letters[0], ++w->n);
    return true;
}

static void way_open(struct cm_super *sb, char machine, bool known)
{
    struct cm_super_owner o = { .durability = CM_DURABILITY_CHECKPOINT, .syncs = true };
    memset(o.boot_id, known ? machine : 0, sizeof(o.boot_id));
    cm_super_count_boot(sb, &o);
    memcpy(sb->boot_id, o.boot_id, sizeof(sb->boot_id));
    sb->state = CM_SUPER_CLEAN;
}

static void way_go(struct way *w, struct cm_super *sb)
{
    char machine = 0;
    bool known = false;
    for (unsigned i = 0; i < w->n; i++) {
        const char step = w->steps[i];
        if (step == 'f') {
            sb->failed_boot = sb->boot_number;
            memcpy(sb->failed_boot_id, sb->boot_id, sizeof(sb->failed_boot_id));
        } else {
            if (step != 'p') {
                machine = step >= 'a' ? (char)(step - 'a' + 'A') : step;
                known = step < 'a';
            } else { /* it was killed, and the volume is mounted anew */
                sb->state = CM_SUPER_OPEN;
                sb->durability = CM_DURABILITY_CHECKPOINT;
            }
            way_open(sb, machine, known);
        }
        w->boot[i] = sb->boot_number;
        w->machine[i] = machine;
    }
}

/* Had another machine the pool since step i? If none of them ever told its boot, they count as one
 * machine. */
static bool others_since(const struct way *w, unsigned i)
{
    if (strpbrk(w->steps, "ABC") == NULL)
        return false;
    for (unsigned j = i; j < w->n; j++)
        if (w->machine[j] != w->machine[w->n - 1])
            return true;
    return false;
}

/* What was written in step i, and is not synced: can the machine that has the pool lose it still?
 * If an fsync failed in step i, is that known? NULL: all is right. */
static const char *way_wrong(const struct way *w, struct cm_superblocks *s, unsigned i)
{
    const struct cm_super_failed f = cm_super_failed(s);
    if (w->machine[i] != w->machine[w->n - 1])
        return NULL;
    if (cm_super_booted_since(s, w->boot[i]))
        return "unsynced writes count as lost";
    if (w->steps[i] != 'f')
        return NULL;
    if (!f.any)
        return "a failed fsync is forgotten";
    if (w->boot[i] != s->now.boot_number && !f.unnamed)
        return "the mark of a failed fsync does not count";
    if (others_since(w, i) && !f.all)
        return "records of others are believed";
    return NULL;
}

/* A machine that tells its boot has the pool for the first time, and so did all before it: all of
 * them have ended for it. */
static bool is_first(const struct way *w)
{
    const char *const last = w->steps + w->n - 1;
    return *last < 'a' && strchr(w->steps, *last) == last && strpbrk(w->steps, "abc") == NULL;
}

static const char *way_needless(const struct way *w, struct cm_superblocks *s)
{
    if (!is_first(w))
        return NULL;
    if (cm_super_failed(s).any)
        return "an fsync of another machine counts";
    for (unsigned i = 0; i + 1 < w->n; i++)
        if (!cm_super_booted_since(s, w->boot[i]))
            return "writes of another machine count as not synced";
    return NULL;
}

static void test_all_ways(void)
{
    struct way w = { .n = 0 };
    unsigned long bad = 0, all = 0;
    while (next_way(&w)) {
        if (w.steps[0] == 'p' || w.steps[0] == 'f')
            continue;
        struct cm_superblocks s = { .now = { .seq = 1 } };
        way_go(&w, &s.now);
        const char *why = way_needless(&w, &s);
        for (unsigned i = 0; i < w.n && !why; i++)
            why = way_wrong(&w, &s, i);
        all++;
        if (why && bad++ < 20)
            printf("# %s: %s\n", w.steps, why);
    }
    CHECK_EQ(bad, 0);
    CHECK(all > 200000);
}

const struct harness_test super_boots_tests[] = {
    TEST(first_boot),
    TEST(boot_again),
    TEST(boot_again_in_turns),
    TEST(boot_again_unknown),
    TEST(boot_again_failed),
    TEST(boot_again_failed_before),
    TEST(boot_again_failed_unknown),
    TEST(put_back_failed),
    TEST(boot_again_by_failure),
    TEST(failed_all),
    TEST(all_ways),
    TEST_END,
};
