/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_quota.c - groups of files that may take so many blocks: never more, in this session and in
 * later ones; what is new displaces blocks of the same group, and no others.
 */
#include "quota_common.h"

#include <inttypes.h>
#include <pthread.h>

#include "api/warm_room.h"
#include "protocol/evict.h"
#include "state/quota.h"

#define ALLOWED 200u /* blocks of group G1; a pool of 4 MiB has some thousand slots */
#define OTHERS 300u  /* blocks of file 9, which is in no group */

static bool buffered; /* pools have a probation buffer */

static void make(struct pool *p, uint64_t bytes)
{
    pool_make(p, bytes, 0);
    pool_seed(p, 7);
    if (buffered)
        p->o.probation_bytes = 16 * BLK;
    (void)pool_up(p);
}

/* Each bit stands for a block of its group, each block of a group has its bit, and the counts are
 * those of the bits. `stale`: blocks of incarnations that were given up may be counted, too. */
static void check_counts(cm_cache *c, bool stale)
{
    uint64_t bits[CM_SHARES] = { 0 };
    const struct cm_shares *s = &c->policy.ring.shares;
    cm_quota_complete(c);
    for (uint64_t slot = 0; slot < c->media.geo.slots; slot++) {
        const uint32_t share =
            slot_ok(c, slot) ? cm_quota_of_block(c, header_of(c, slot)->incarnation) : 0;
        for (uint32_t i = 0; i < s->count; i++) {
            const bool has = cm_share_has(&s->share[i], slot);
            bits[i] += has;
            CHECK(has == (share == i + 1) || (stale && has && slot_ok(c, slot)));
        }
    }
    for (uint32_t i = 0; i < s->count; i++) {
        CHECK_EQ(s->share[i].used, bits[i]);
        CHECK(bits[i] <= s->share[i].most);
    }
    CHECK_EQ(slots_astray(c), 0);
}
#define check_counts(...) CALL(check_counts(__VA_ARGS__)) /* its checks say who called */

/* Reads a file of many blocks twice, each one so that it wants to stay. Returns how many were
 * stored. Looks after each block that the group has no more than it may have. */
static unsigned storm(struct pool *p, cm_file *f, uint64_t blocks, uint64_t tag)
{
    unsigned stored = 0;
    const struct cm_shares *s = &p->c->policy.ring.shares;
    for (uint64_t b = 0; b < 2 * blocks; b++) {
        if (look(f, b % blocks, tag) != RIGHT)
            stored += put(f, b % blocks, tag) == 0;
        for (uint32_t i = 0; i < s->count; i++)
            CHECK(s->share[i].used <= s->share[i].most);
    }
    return stored;
}

/* ---- Shares ---------------------------------------------------------------------------------- */

static void test_share(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, 2);
    set_quota(&p, G2, 3);
    struct cm_ring *r = &p.c->policy.ring;
    struct cm_shares *s = &r->shares;
    struct cm_share *h = &s->share[0], *g = &s->share[1];
    bool remember;
    out_of_order(p.c);
    CHECK_EQ(cm_ring_share_victim(r, h, &remember), CM_NO_SLOT);
    CHECK(cm_share_take(h, 5));
    CHECK(cm_share_take(h, 500));
    CHECK(!cm_share_take(h, 6)); /* threads that came at the same time saw room, too */
    CHECK_EQ(h->used, 2);
    CHECK_EQ(cm_share_room(h), 0);
    CHECK_EQ(cm_share_over(s, 0), 0);
    cm_share_found(s, g, 5); /* it moves */
    CHECK_EQ(h->used, 1);
    CHECK_EQ(g->used, 1);
    cm_share_found(s, g, 5);
    CHECK_EQ(g->used, 1);
    for (uint64_t slot = 600; slot < 603; slot++)
        cm_share_found(s, g, slot);
    CHECK_EQ(cm_share_over(s, 0), 2);
    CHECK_EQ(cm_share_over(s, 2), 0);
    CHECK_EQ(cm_share_room(g), 0);
    /* In turn, also from a word into the next one, and around. */
    for (unsigned i = 0; i < 9; i++) {
        const uint64_t slot = cm_ring_share_victim(r, g, &remember);
        CHECK_EQ(slot, i % 4 == 0 ? 5 : 599 + i % 4);
        cm_ring_disown(r, slot);
    }
    cm_ring_set(r, 5, 2); /* a slot that is used is spared, and so is one that another owns */
    CHECK(cm_ring_own(r, 600));
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t slot = cm_ring_share_victim(r, g, &remember);
        CHECK_EQ(slot, 601 + i % 2);
        cm_ring_disown(r, slot);
    }
    cm_ring_disown(r, 600);
    for (uint64_t slot = 0; slot < r->slots; slot++)
        cm_share_leave(s, slot);
    CHECK_EQ(h->used + g->used, 0);
    pool_end(&p);
}

/* ---- In one session -------------------------------------------------------------------------- */

static void check_limit(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    cm_file *f = attach_in(&p, 1, 5 * ALLOWED, G1);
    for (unsigned i = 0; i < 2; i++) /* twice: from the probation buffer to the pool */
        (void)put_all(others, 0, OTHERS, 9);
    CHECK_EQ(info_of(f).group, G1);
    CHECK_EQ(info_of(others).group, 0);
    CHECK(storm(&p, f, 5 * ALLOWED, 1) > 4 * ALLOWED); /* new blocks come in all the time */
    CHECK(used(&p, G1) > ALLOWED - 20);
    check_counts(p.c, false);
    CHECK(hits(f, 0, 5 * ALLOWED, 1) > ALLOWED - 20);
    CHECK_EQ(hits(others, 0, OTHERS, 9), OTHERS); /* though there are thousands of fills */
    CHECK(p.c->policy.ring.frontier < p.c->media.geo.slots); /* and the pool has room */
    pool_end(&p);
}

static void test_limit(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        buffered = i != 0;
        CALL(check_limit());
    }
    buffered = false;
}

/* What is read again and again stays, what was read once goes. */
static void test_worth(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, 20 * ALLOWED, G1);
    CHECK_EQ(put_all(f, 0, ALLOWED / 2, 1), ALLOWED / 2);
    for (uint64_t b = ALLOWED; b < 20 * ALLOWED; b++) {
        CHECK(put(f, b, 1) == 0);
        if (b % 16 == 0) {
            memset(cm_plat_thread()->recent, 0, sizeof(cm_plat_thread()->recent));
            (void)hits(f, 0, ALLOWED / 2, 1);
        }
    }
    CHECK(hits(f, 0, ALLOWED / 2, 1) > ALLOWED / 2 - 10);
    check_counts(p.c, false);
    pool_end(&p);
}

/* A storm of files in no group leaves a group what it earns, as always, and no more slots. */
static void test_two_groups(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    set_quota(&p, G2, ALLOWED / 2);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *f = attach_in(&p, 1, 2 * ALLOWED, G1), *g = attach_in(&p, 2, 2 * ALLOWED, G2);
    cm_file *others = attach(&p, 9, 3 * slots * BLK, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)storm(&p, f, 2 * ALLOWED, 1);
        const uint64_t had = used(&p, G1);
        CHECK(i > 0 || had > ALLOWED - 20); /* later, all slots have blocks that are worth more */
        (void)storm(&p, g, 2 * ALLOWED, 2);
        CHECK(i > 0 || used(&p, G2) > ALLOWED / 2 - 20);
        CHECK(i > 0 || used(&p, G1) == had); /* the other group took nothing of it */
        check_counts(p.c, false);
        CHECK(storm(&p, others, 3 * slots, 9) > slots);
        check_counts(p.c, false);
    }
    CHECK_EQ(STAT(p.c, refused_quota), 0);
    pool_end(&p);
}

/* A smaller quota is reached by fills of any file, a larger one by those of the group. */
static void test_other_quota(void)
{
    struct pool p;
    uint64_t has, most;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    const uint64_t slots = p.c->media.geo.slots;
    cm_file *f = attach_in(&p, 1, 3 * ALLOWED, G1), *others = attach(&p, 9, 4 * slots * BLK, 1, 0);
    (void)storm(&p, f, 2 * ALLOWED, 1);
    set_quota(&p, G1, ALLOWED / 4);
    for (uint64_t b = 0; b < 4 * slots && used(&p, G1) > ALLOWED / 4; b++)
        (void)put(others, b, 9);
    CHECK(used(&p, G1) <= ALLOWED / 4);
    set_quota(&p, G1, ALLOWED);
    (void)put_all(f, 0, 2 * ALLOWED, 1);
    set_quota(&p, G1, ALLOWED / 4);
    for (uint64_t b = 0; b < ALLOWED; b++) /* not stored, until there is room */
        (void)put(f, 2 * ALLOWED + b, 1);
    CHECK(used(&p, G1) <= ALLOWED / 4);
    CHECK(used(&p, G1) > 0);
    CHECK(STAT(p.c, refused_quota) > 0);
    CHECK_EQ(cm_group_set_quota(p.c, G1, 0), 0); /* as many as there are */
    (void)put_all(f, 0, 3 * ALLOWED, 1);
    CHECK_EQ(hits(f, 0, 3 * ALLOWED, 1), 3 * ALLOWED);
    CHECK_EQ(cm_group_usage(p.c, G1, &has, &most), 0);
    CHECK_EQ(most, 0);
    CHECK_EQ(has, 3 * ALLOWED * BLK);
    check_counts(p.c, false);
    pool_end(&p);
}

/* A group with too much gives nothing if all its blocks are kept. The next one gives then. */
static void test_other_quota_kept(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    set_quota(&p, G2, ALLOWED);
    cm_file *f = attach_in(&p, 1, ALLOWED, G1), *g = attach_in(&p, 2, ALLOWED, G2);
    cm_file *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, ALLOWED, 1), ALLOWED);
    CHECK_EQ(put_all(g, 0, ALLOWED, 2), ALLOWED);
    set_quota(&p, G1, ALLOWED / 4);
    set_quota(&p, G2, ALLOWED / 4);
    CHECK_EQ(put_all(others, 0, OTHERS, 9), OTHERS);
    CHECK(cm_ring_unused(&p.c->policy.ring) > 0); /* so nothing else makes a block leave */
    CHECK_EQ(used(&p, G2), ALLOWED / 4);
    CHECK_EQ(hits(f, 0, ALLOWED, 1), ALLOWED);
    CHECK_EQ(hits(others, 0, OTHERS, 9), OTHERS);
    pool_end(&p);
}

/* Kept blocks count, and are no victims: then nothing else of the group is stored. */
static void test_kept(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, ALLOWED, G1), *g = attach_in(&p, 2, ALLOWED, G1);
    cm_file *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, ALLOWED, 1), ALLOWED);
    CHECK_EQ(put(g, 0, 2), CM_NOT_STORED_QUOTA);
    CHECK(STAT(p.c, refused_quota) > 0);
    CHECK_EQ(put_all(others, 0, OTHERS, 9), OTHERS);
    CHECK_EQ(hits(f, 0, ALLOWED, 1), ALLOWED);
    CHECK_EQ(cm_drop(f, 0, 10 * BLK), 10 * BLK);
    CHECK_EQ(put_all(g, 0, 10, 2), 10);
    check_counts(p.c, false);
    pool_end(&p);
}

/* What is forgotten, dropped, or displaced in another way counts no more. */
static void test_ends(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, ALLOWED, G1);
    CHECK_EQ(put_all(f, 0, ALLOWED, 1), ALLOWED);
    CHECK_EQ(used(&p, G1), ALLOWED);
    const cm_bracket w = begin_write(f, 10 * BLK, 20 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(used(&p, G1), ALLOWED - 20);
    CHECK_EQ(cm_invalidate(f, 30 * BLK, 10 * BLK), 0);
    CHECK_EQ(used(&p, G1), ALLOWED - 30);
    CHECK_EQ(cm_drop(f, 40 * BLK, 10 * BLK), 10 * BLK);
    CHECK_EQ(used(&p, G1), ALLOWED - 40);
    check_counts(p.c, false);
    payload_of(p.c, slot_of(f, 60))[7] ^= 1; /* dropped when it is read */
    p.c->opts.verify = CM_VERIFY_ALWAYS;
    CHECK_EQ(look(f, 60, 1), MISS);
    p.c->opts.verify = CM_VERIFY_FIRST_HIT;
    CHECK_EQ(used(&p, G1), ALLOWED - 41);
    CHECK_EQ(put_all(f, 0, ALLOWED, 1), 41);
    CHECK_EQ(used(&p, G1), ALLOWED);
    /* Another version: blocks of the old one count until their slots are used again. */
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(hits(f, 0, ALLOWED, 1), 0);
    CHECK_EQ(info_of(f).group, G1); /* its front end knows where it is */
    CHECK(storm(&p, f, 2 * ALLOWED, 2) > ALLOWED);
    CHECK(hits(f, 0, 2 * ALLOWED, 2) > ALLOWED - 20);
    check_counts(p.c, false);
    detach(f);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    f = attach(&p, 1, ALLOWED * BLK, 1, 0);
    CHECK_EQ(info_of(f).group, 0);
    pool_end(&p);
}

/* ---- Other groups ---------------------------------------------------------------------------- */

/* Blocks that are there already move with their file. */
static void test_moves(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    set_quota(&p, G2, ALLOWED);
    cm_file *f = attach(&p, 1, ALLOWED * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, ALLOWED / 2, 1), ALLOWED / 2);
    CHECK_EQ(used(&p, G1) + used(&p, G2), 0);
    static const uint32_t way[] = { G1, G1, G2, 99, G2, 0, G1 }; /* 99 has no quota */
    for (unsigned i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_file_set_group(f, way[i]), 0);
        CHECK_EQ(used(&p, G1), way[i] == G1 ? ALLOWED / 2 : 0);
        CHECK_EQ(used(&p, G2), way[i] == G2 ? ALLOWED / 2 : 0);
        check_counts(p.c, false);
    }
    /* Fills do the survey, too. */
    cm_file *g = attach_in(&p, 2, ALLOWED, G2);
    CHECK_EQ(cm_file_set_group(f, G2), 0);
    CHECK_EQ(p.c->policy.ring.shares.share[1].used, 0);
    CHECK_EQ(put_all(g, 0, 2, 2), 2);
    CHECK_EQ(p.c->policy.ring.shares.share[1].used, ALLOWED / 2 + 2);
    CHECK_EQ(put_all(f, ALLOWED / 2, ALLOWED / 2, 1), ALLOWED / 2);
    CHECK(used(&p, G2) <= ALLOWED);
    check_counts(p.c, false);
    pool_end(&p);
}

static void test_arguments(void)
{
    struct pool p;
    uint64_t has, most;
    make(&p, MIB);
    CHECK_EQ(cm_group_set_quota(NULL, G1, MIB), CM_EHANDLE);
    CHECK_EQ(cm_group_set_quota(p.c, 0, MIB), CM_EINVAL);
    CHECK_EQ(cm_group_set_quota(p.c, G1, BLK - 1), CM_EINVAL);
    CHECK_EQ(cm_group_usage(p.c, G1, &has, &most), CM_EABSENT);
    cm_file *f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(cm_group_set_quota(p.c, G1, MIB), CM_EBUSY);
    CHECK_EQ(cm_file_set_group(f, G1), 0); /* it has no quota, and is remembered */
    CHECK_EQ(cm_file_set_group(NULL, G1), CM_EHANDLE);
    detach(f);
    set_quota(&p, G1, 5);
    CHECK_EQ(cm_group_usage(p.c, G1, NULL, &most), CM_EINVAL);
    CHECK_EQ(cm_group_usage(p.c, G1, &has, NULL), CM_EINVAL);
    CHECK_EQ(cm_group_usage(p.c, G1, &has, &most), 0);
    CHECK_EQ(has, 0);
    CHECK_EQ(most, 5 * BLK);
    f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(info_of(f).group, G1);
    CHECK_EQ(put(f, 0, 1), 0);
    CHECK_EQ(used(&p, G1), 1);
    set_quota(&p, G1, 6); /* a group that has one gets another number at any time */
    detach(f);
    for (uint32_t i = 1; i < CM_GROUPS_MAX; i++)
        set_quota(&p, G1 + i, i);
    CHECK_EQ(cm_group_set_quota(p.c, G2, MIB), CM_ERANGE);
    check_counts(p.c, false);
    pool_end(&p);
}

/* Without memory for the quota the call fails, and nothing has changed. */
static bool no_memory;

static void *some_memory(void *ctx, size_t bytes)
{
    (void)ctx;
    return no_memory ? NULL : cm_plat_alloc(bytes);
}

static void free_memory(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    cm_plat_free(p, bytes);
}

static void test_memory(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = some_memory;
    p.o.free = free_memory;
    (void)pool_up(&p);
    no_memory = true;
    CHECK_EQ(cm_group_set_quota(p.c, G1, MIB), CM_ENOMEM);
    no_memory = false;
    CHECK_EQ(p.c->policy.ring.shares.count, 0);
    set_quota(&p, G1, 5);
    cm_file *f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, G1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    pool_end(&p);
}

/* The table of files has no memory: the file gets no group. */
static void test_memory_of_files(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = some_memory;
    p.o.free = free_memory;
    (void)pool_up(&p);
    detach(attach(&p, 1, BLK, 1, 0)); /* there is memory for open files */
    set_quota(&p, G1, 5);
    no_memory = true;
    cm_file *f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(cm_file_set_group(f, G1), CM_ENOMEM);
    CHECK_EQ(info_of(f).group, 0);
    no_memory = false;
    CHECK_EQ(cm_file_set_group(f, G1), 0);
    pool_end(&p);
}

/* ---- Later sessions -------------------------------------------------------------------------- */

/* What an earlier session stored is counted before anything new is stored, whoever attaches what.
 * The quota may be another one by then. */
static void check_later(bool killed, uint64_t allowed)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, 3 * ALLOWED, G1);
    CHECK(storm(&p, f, 3 * ALLOWED, 1) > ALLOWED);
    const uint64_t had = used(&p, G1);
    if (!killed)
        detach(f);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u, killed %d, allowed %u", i, killed, (unsigned)allowed);
        if (killed) {
            pool_crash(&p);
            (void)pool_up(&p);
        } else {
            pool_again(&p);
        }
        CHECK(!cm_quota_any(p.c));
        set_quota(&p, G1, allowed);
        CHECK_EQ(p.c->quotas.counted, 0); /* an open looks at nothing, nor does this call */
        if (i == 0) {
            CHECK_EQ(used(&p, G1), had);
            if (allowed >= had)
                check_counts(p.c, false);
        }
        cm_file *g = attach_in(&p, 2 + i, 3 * ALLOWED, G1);
        for (uint64_t b = 0; b < 3 * ALLOWED; b++) {
            const bool over = p.c->policy.ring.shares.share[0].used > allowed;
            const int e = put(g, b, 2);
            CHECK(e == 0 || e == CM_NOT_STORED_QUOTA);
            CHECK(over || p.c->quotas.counted == 0 || e == 0);
        }
        CHECK(used(&p, G1) <= allowed);
        CHECK(used(&p, G1) > allowed - 20);
        check_counts(p.c, false);
        CHECK(hits(g, 0, 3 * ALLOWED, 2) > allowed / 2);
        detach(g);
    }
    pool_end(&p);
}

static void test_later(void)
{
    for (unsigned i = 0; i < 6; i++)
        CALL(check_later(i & 1, ALLOWED * (i / 2 + 1) / 2));
}

/* Nobody gets to look: then nothing is stored of the group, and all of others. */
static void test_unknown(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, 2 * ALLOWED, G1);
    (void)storm(&p, f, 2 * ALLOWED, 1);
    pool_crash(&p);
    (void)pool_up(&p);
    set_quota(&p, G1, ALLOWED);
    f = attach(&p, 1, 2 * ALLOWED * BLK, 1, 0);
    CHECK_EQ(info_of(f).group, G1);
    CHECK(hits(f, 0, 2 * ALLOWED, 1) > ALLOWED - 20);
    cm_file *g = attach_in(&p, 2, ALLOWED, G1), *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    out_of_order(p.c);
    cm_lock_acquire(&p.c->quotas.looking);
    CHECK_EQ(put_all(g, 0, 50, 2), 0);
    CHECK_EQ(put_all(others, 0, OTHERS, 9), OTHERS);
    cm_lock_release(&p.c->quotas.looking);
    CHECK_EQ(STAT(p.c, refused_quota), 50);
    CHECK(put_all(g, 0, 50, 2) > 45);
    CHECK(used(&p, G1) <= ALLOWED);
    check_counts(p.c, false);
    pool_end(&p);
}

/* A pool in which no file had a group needs no survey. */
static void test_first_time(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    cm_file *f = attach(&p, 1, ALLOWED * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, ALLOWED, 1), ALLOWED);
    detach(f);
    pool_again(&p);
    set_quota(&p, G1, ALLOWED);
    CHECK_EQ(p.c->quotas.counted, 1);
    CHECK_EQ(p.c->super.now.compat, 0);
    f = attach_in(&p, 2, ALLOWED, G1);
    CHECK(p.c->super.now.compat & CM_COMPAT_GROUP);
    CHECK_EQ(put(f, 0, 1), 0);
    pool_end(&p);
}

/* The record says the group, also that of a new version and of one that no session has attached. */
static void test_record(void)
{
    struct pool p;
    cm_validator v = val(ALLOWED * BLK, 3);
    const cm_file_id id = id_of(1);
    cm_file_info info = { .struct_size = sizeof(info) };
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, ALLOWED, G1);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    const uint64_t was = cm_object_of(f)->incarnation;
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK(cm_object_of(f)->incarnation != was);
    CHECK_EQ(cm_quota_of_block(p.c, was), 0);
    CHECK_EQ(cm_quota_of_block(p.c, cm_object_of(f)->incarnation), 1);
    CHECK_EQ(used(&p, G1), 10); /* they take slots until these are used again */
    CHECK(put_all(f, 0, ALLOWED, 3) == ALLOWED);
    check_counts(p.c, true);
    pool_crash(&p);
    (void)pool_up(&p);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &info), 0);
    CHECK_EQ(info.group, G1);
    set_quota(&p, G1, ALLOWED);
    CHECK(used(&p, G1) >= ALLOWED - 10 && used(&p, G1) <= ALLOWED);
    check_counts(p.c, false);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &info), 0);
    CHECK_EQ(cm_quota_of_block(p.c, info.incarnation), 1);
    f = attach(&p, 1, ALLOWED * BLK, 4, 0); /* another version: its blocks are nobody's */
    CHECK_EQ(cm_quota_of_block(p.c, info.incarnation), 0);
    CHECK_EQ(info_of(f).group, G1);
    CHECK_EQ(hits(f, 0, ALLOWED, 4), 0);
    CHECK(put_all(f, 0, ALLOWED, 4) == ALLOWED);
    CHECK(used(&p, G1) <= ALLOWED);
    CHECK_EQ(hits(f, 0, ALLOWED, 4), used(&p, G1));
    CHECK_EQ(cm_file_set_group(f, 0), 0);
    pool_crash(&p);
    (void)pool_up(&p);
    set_quota(&p, G1, ALLOWED);
    CHECK_EQ(used(&p, G1), 0);
    pool_end(&p);
}

/* Many more files than records: the table of incarnations has no more than there are. */
static void test_table(void)
{
    struct pool p;
    pool_make(&p, 4 * MIB, 16);
    CHECK_EQ(pool_up(&p), 0);
    set_quota(&p, G1, ALLOWED);
    for (uint64_t id = 1; id < 1000; id++) {
        cm_file *f = attach(&p, id, BLK, 1, 0);
        const int e = cm_file_set_group(f, G1);
        CHECK(e == 0 || e == CM_NOT_RECORDED);
        CHECK_EQ(put(f, 0, id), 0);
        detach(f);
    }
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    CHECK(STAT(p.c, records_evicted) > 0);
    CHECK(p.c->quotas.table.used <= places);
    for (uint64_t at = 0; at < places; at++) { /* no record is given away from here on */
        struct cm_record r = { .id = id_of(5000 + at) };
        CHECK_EQ(put_kept(p.c, at, &r), 0);
    }
    const uint64_t had = p.c->quotas.table.used;
    for (uint64_t id = 10000; id < 10100; id++) {
        cm_file *f = attach(&p, id, BLK, 1, 0);
        CHECK_EQ(cm_file_set_group(f, G1), CM_NOT_RECORDED);
        CHECK_EQ(info_of(f).group, G1);
        CHECK_EQ(put(f, 0, id), 0);
        detach(f);
    }
    CHECK_EQ(p.c->quotas.table.used, had);
    CHECK(used(&p, G1) <= ALLOWED);
    check_counts(p.c, true);
    pool_end(&p);
}

/* Records that are looked at in several parts, or many in one. No block is counted before all of
 * them are known. */
static void test_many_records(void)
{
    enum { EACH = 3 };
    static const unsigned max_files[] = { 2000, 300 }, files[] = { 40, 200 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("%u files", files[i]);
        struct pool p;
        pool_make(&p, 8 * MIB, max_files[i]);
        (void)pool_up(&p);
        CHECK_EQ(p.c->media.geo.record_buckets > 2 * 64, i == 0);
        for (uint64_t id = 1; id <= files[i]; id++) {
            cm_file *f = attach_in(&p, id, EACH, G1);
            CHECK_EQ(put_all(f, 0, EACH, id), EACH);
            detach(f);
        }
        pool_again(&p);
        set_quota(&p, G1, 1000);
        CHECK_EQ(used(&p, G1), files[i] * EACH);
        check_counts(p.c, false);
        pool_end(&p);
    }
}

/* Records that say anything: many of the group, all with one incarnation or with that of others. */
static void test_hostile(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    cm_file *f = attach_in(&p, 1, OTHERS, G2);
    CHECK_EQ(put_all(f, 0, OTHERS, 1), OTHERS);
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (uint64_t at = 0; at < places; at++) {
        struct cm_record r = { .id = id_of(1000 + at) };
        const struct cm_record_attr attr = { .group = at % 2 ? G1 : UINT32_MAX };
        if (at == cm_object_of(f)->place)
            continue;
        r.incarnation = at % 3 ? cm_object_of(f)->incarnation : at + 1;
        r.size = at % 2 ? UINT64_MAX - 1 : CM_SIZE_UNKNOWN;
        CHECK_EQ(put_record_attr(p.c, at, &r, attr), 0);
    }
    pool_crash(&p);
    (void)pool_up(&p);
    set_quota(&p, G1, ALLOWED);
    cm_file *g = attach(&p, 99999, 10 * OTHERS * BLK, 1, 0);
    const int e = cm_file_set_group(g, G1);
    CHECK(e == 0 || e == CM_NOT_RECORDED);
    CHECK(used(&p, G1) >= OTHERS); /* too many: the records said so */
    CHECK(put_all(g, 0, 4 * OTHERS, 2) > ALLOWED / 2);
    CHECK(used(&p, G1) <= ALLOWED);
    check_counts(p.c, true);
    pool_end(&p);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define READERS 4u

struct reader {
    struct pool *p;
    uint64_t id, blocks;
    uint32_t group;
    pthread_t thread;
};

static void *run_reader(void *arg)
{
    const struct reader *r = arg;
    const struct cm_shares *s = &r->p->c->policy.ring.shares;
    cm_file *f = attach_in(r->p, r->id, r->blocks, r->group);
    for (uint64_t b = 0; b < 6 * r->blocks; b++) {
        if (look(f, b % r->blocks, r->id) != RIGHT)
            (void)put(f, b % r->blocks, r->id);
        if (b % 50 == 49) {
            const cm_bracket w = begin_write(f, (b - 20) % r->blocks * BLK, 20 * BLK);
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        }
        for (uint32_t i = 0; i < at_load_acquire(&s->count); i++)
            CHECK(at_load_relaxed(&s->share[i].used) <= at_load_relaxed(&s->share[i].most));
    }
    detach(f);
    return NULL;
}

/* Asks, and sets what is set already, until the readers have ended. */
struct asker {
    struct pool *p;
    uint32_t end; /* atomic */
    pthread_t thread;
};

static void *run_asker(void *arg)
{
    struct asker *a = arg;
    cm_file *f = attach_in(a->p, 1, 4, 0);
    cm_info info = CM_INFO_INIT;
    while (!at_load_acquire(&a->end)) {
        CHECK(used(a->p, G1) <= ALLOWED);
        set_quota(a->p, G1, ALLOWED);
        CHECK_EQ(cm_get_info(a->p->c, &info), 0);
        CHECK_EQ(cm_file_set_ttl(f, 0), 0);
    }
    detach(f);
    return NULL;
}

/* Readers and writers of two groups and of none. Nobody ever sees that a group has too much. */
static void test_threads(void)
{
    struct pool p;
    struct reader r[READERS];
    struct asker a = { &p, 0, 0 };
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    set_quota(&p, G2, ALLOWED / 4);
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ &p, 10 + i, 2 * p.c->media.geo.slots, 0, 0 };
        r[i].group = i < 2 ? G1 : i == 2 ? G2 : 0;
        CHECK_EQ(pthread_create(&r[i].thread, NULL, run_reader, &r[i]), 0);
    }
    CHECK_EQ(pthread_create(&a.thread, NULL, run_asker, &a), 0);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(r[i].thread, NULL);
    at_store_release(&a.end, 1u);
    pthread_join(a.thread, NULL);
    CHECK(used(&p, G1) <= ALLOWED);
    check_counts(p.c, true);
    pool_end(&p);
}

/* As many groups as there may be. The last one has its quota, too. */
static void test_last_group(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    for (uint32_t i = 1; i <= CM_GROUPS_MAX; i++)
        set_quota(&p, i, 5);
    cm_file *f = attach_in(&p, 1, 100, CM_GROUPS_MAX);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK(used(&p, CM_GROUPS_MAX) > 2 && used(&p, CM_GROUPS_MAX) <= 5);
    pool_end(&p);
}

/* All slots are pinned. The group has room, and gets none all the same. */
static void test_no_slot(void)
{
    struct pool p;
    static cm_pins pins[1000];
    cm_iovec v;
    int pieces;
    unsigned n = 0;
    pool_make(&p, cm_pool_size_min(), 0);
    (void)pool_up(&p);
    set_quota(&p, G1, 50);
    CHECK_EQ(cm_evict_batch(p.c), p.c->media.geo.slots / 32); /* others have slots, too */
    cm_file *f = attach(&p, 9, CM_BLOCK_MAX / 2, 1, 0), *g = attach_in(&p, 1, 100, G1);
    for (uint64_t b = 0; b < 1000 && put(f, b, 5) == 0; b++)
        CHECK_EQ(cm_pin_range(f, b * BLK, BLK, &v, 1, &pieces, &pins[n++], NULL), BLK);
    CHECK_EQ(put_all(g, 0, 4, 1), 0);
    CHECK_EQ(put(g, 4, 1), CM_NOT_STORED_BUSY);
    CHECK_EQ(used(&p, G1), 0);
    while (n > 0)
        CHECK_EQ(cm_unpin(&pins[--n]), 0);
    CHECK_EQ(put(g, 4, 1), 0);
    CHECK_EQ(used(&p, G1), 1);
    check_counts(p.c, false);
    pool_end(&p);
}

/* Blocks of two groups leave the buffer together. There is room for one of the first two. Those of
 * the other group do not notice. */
static void test_leave_together(void)
{
    enum { ENTRIES = 4 * CM_BATCH_MAX };
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    p.o.probation_bytes = ENTRIES * BLK;
    (void)pool_up(&p);
    set_quota(&p, G1, 1);
    set_quota(&p, G2, 50);
    cm_file *f = attach_in(&p, 1, 100, G1), *g = attach_in(&p, 2, 100, G2);
    cm_file *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(put_all(g, 0, 2, 2), 2);
    CHECK_EQ(put_all(others, 0, ENTRIES - 4, 9), ENTRIES - 4);
    CHECK_EQ(used(&p, G1) + used(&p, G2), 0);
    const cm_miss m = miss_of(others, 200 * BLK, sizeof(buf));
    for (uint64_t b = 0; b < 4; b++)
        content(9, 200 + b, buf + b * BLK);
    CHECK_EQ(cm_fill(others, &m, buf, sizeof(buf), 0), 0);
    CHECK_EQ(used(&p, G1), 1);
    CHECK_EQ(used(&p, G2), 2);
    CHECK_EQ(hits(f, 0, 2, 1), 1);
    CHECK_EQ(hits(g, 0, 2, 2), 2);
    pool_end(&p);
}

/* The same when both groups are full: each gives as many blocks as it gets. */
static void test_both_give(void)
{
    static uint8_t buf[4 * CM_BLOCK_SIZE];
    struct pool p;
    pool_make(&p, 4 * MIB, 0);
    p.o.probation_bytes = 64 * BLK;
    (void)pool_up(&p);
    set_quota(&p, G1, 2);
    set_quota(&p, G2, 2);
    cm_file *f[2] = { attach_in(&p, 1, 100, G1), attach_in(&p, 2, 100, G2) };
    cm_file *others = attach(&p, 9, OTHERS * BLK, 1, 0);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(cm_file_advise(f[i], CM_ADVISE_KEEP), 0); /* to the pool at once */
        CHECK_EQ(put_all(f[i], 50, 2, 1), 2);
        CHECK_EQ(cm_file_advise(f[i], CM_ADVISE_NORMAL), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(put_all(f[i], 0, 2, 1), 2);
    for (unsigned i = 0; i < 4; i++) /* what is read twice, not at once, earns a place */
        CHECK_EQ(put_all(others, 15 * i, 15, 9) + hits(f[i % 2], 0, 2, 1), 17);
    CHECK_EQ(used(&p, G1) + used(&p, G2), 4);
    const cm_miss m = miss_of(others, 200 * BLK, sizeof(buf));
    for (uint64_t b = 0; b < 4; b++)
        content(9, 200 + b, buf + b * BLK);
    CHECK_EQ(cm_fill(others, &m, buf, sizeof(buf), 0), 0);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(hits(f[i % 2], i < 2 ? 0 : 50, 2, 1), i < 2 ? 2 : 0);
    check_counts(p.c, false);
    pool_end(&p);
}

/* In a pool that has room a group at its quota has none, and no other file is short of it. */
static void test_short_of_room(void)
{
    struct pool p;
    make(&p, 4 * MIB);
    set_quota(&p, G1, ALLOWED);
    cm_file *f = attach_in(&p, 1, ALLOWED, G1), *other = attach(&p, 9, BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, ALLOWED - 1, 1), ALLOWED - 1);
    CHECK(!cm_room_is_short(cm_object_of(f)));
    CHECK_EQ(put_all(f, ALLOWED - 1, 1, 1), 1);
    CHECK(cm_room_is_short(cm_object_of(f)));
    CHECK(!cm_room_is_short(cm_object_of(other)));
    set_quota(&p, G1, ALLOWED + 1);
    CHECK(!cm_room_is_short(cm_object_of(f)));
    pool_end(&p);
}

static const struct harness_test quota_tests[] = {
    TEST(share),
    TEST(short_of_room),
    TEST(limit),
    TEST(worth),
    TEST(two_groups),
    TEST(other_quota),
    TEST(other_quota_kept),
    TEST(kept),
    TEST(ends),
    TEST(moves),
    TEST(arguments),
    TEST(memory),
    TEST(later),
    TEST(unknown),
    TEST(first_time),
    TEST(record),
    TEST(table),
    TEST(hostile),
    TEST(threads),
    TEST(memory_of_files),
    TEST(many_records),
    TEST(no_slot),
    TEST(last_group),
    TEST(leave_together),
    TEST(both_give),
    { NULL, NULL },
};

static const struct harness_test *const tables[] = { quota_tests, quota_full_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
