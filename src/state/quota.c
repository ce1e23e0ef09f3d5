/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quota.c - groups of files whose blocks may take so many slots.
 *
 * Owns: which group has which share of the ring (share.c counts slots), and the table that leads
 * from the incarnation in a header to the share. The group of a file lasts: it is in the record.
 * The quota of a group does not: the program sets it after each open.
 *
 * How: a block that is stored in this session is counted by who stores it, and counted no more when
 * its slot is emptied. What earlier sessions stored is counted by a survey, in parts: first the
 * records of all files, for the table, then all headers. An open does nothing, and a pool in which
 * no file ever had a group needs no survey. Until the first survey is complete nothing is stored of
 * a group that has a quota; each attempt does a part of the survey. A file that gets another group
 * while it has blocks makes another pass over the headers necessary, and nobody waits for that one.
 *
 * Blocks of an incarnation that was given up in this session are counted until their slots are
 * used again, because they take slots until then.
 *
 * Locks: quotas.looking, before the files table: one thread looks. quotas.lock, a leaf: the table
 * and the numbers beside it.
 * Who: api/, protocol/, state/.
 */
#include "state/quota.h"

#include "media/file_table.h"
#include "state/incarnations.h"

#define ROOM_AHEAD 32u      /* files; for several threads */
#define RECORDS_AT_ONCE 64u /* buckets, 256 KiB; a fill waits for them */
#define SLOTS_AT_ONCE 16384u
#define SLOTS_LATER 1024u /* if nobody has to wait for it */

/* ---- Groups ---------------------------------------------------------------------------------- */

uint32_t cm_quota_share(const struct cm_cache *c, uint32_t group)
{
    if (group == 0 || !cm_quota_any(c))
        return 0;
    /* Relaxed: cm_quota_any() has seen `count`, and `group` was written before it. */
    const uint32_t n = at_load_relaxed(&c->policy.ring.shares.count);
    for (uint32_t i = 0; i < n; i++)
        if (c->quotas.group[i] == group)
            return i + 1;
    return 0;
}

static bool any_attached(const struct cm_cache *c)
{
    assert(cm_lock_is_held(&c->files_lock));
    for (uint32_t i = 0; i < c->file_chains; i++)
        if (c->file_hash[i])
            return true;
    return false;
}

/* The survey begins anew. The locks that protect it are held. */
static void begin_survey(struct cm_cache *c)
{
    struct cm_quotas *q = &c->quotas;
    const bool any = (c->super.now.compat & CM_COMPAT_GROUP) != 0;
    at_store_relaxed(&q->left, any ? c->media.geo.record_buckets : 0); /* under the locks */
    q->slot = 0;
    q->begun = false;
    at_store_relaxed(&q->passes, any); /* the same */
    /* Release: pairs with the acquire in cm_quota_learn() and cm_quota_survey(). */
    at_store_release(&q->counted, (uint32_t)!any);
}

static int add_share(struct cm_cache *c, uint32_t group, struct cm_share_bits **bits)
{
    struct cm_shares *s = &c->policy.ring.shares;
    if (cm_quota_share(c, group)) /* another thread was faster */
        return 0;
    if (any_attached(c))
        return CM_EBUSY;
    if (at_load_relaxed(&s->count) == CM_SHARES)
        return CM_ERANGE;
    c->quotas.group[at_load_relaxed(&s->count)] = group; /* it changes under this lock only */
    (void)cm_share_begin(s, *bits, c->slots_max);
    *bits = NULL;
    cm_lock_acquire(&c->quotas.lock);
    begin_survey(c);
    cm_lock_release(&c->quotas.lock);
    return 0;
}

int cm_quota_set(struct cm_cache *c, uint32_t group, uint64_t most)
{
    int e = 0;
    if (!cm_quota_share(c, group)) {
        struct cm_share_bits *bits = cm_cache_alloc(c, cm_share_bytes(c->slots_max));
        if (!bits)
            return CM_ENOMEM;
        cm_lock_acquire(&c->quotas.looking);
        cm_lock_acquire(&c->files_lock);
        e = add_share(c, group, &bits);
        cm_lock_release(&c->files_lock);
        cm_lock_release(&c->quotas.looking);
        cm_cache_free(c, bits, cm_share_bytes(c->slots_max));
    }
    if (e == 0)
        /* Relaxed: the next block that is stored may see the old number. */
        at_store_relaxed(&cm_quota_of(c, cm_quota_share(c, group))->most, most);
    return e;
}

void cm_quota_free(struct cm_cache *c)
{
    struct cm_shares *s = &c->policy.ring.shares;
    for (uint32_t i = 0; i < s->count; i++)
        cm_cache_free(c, s->share[i].bits, cm_share_bytes(c->slots_max));
    s->count = 0;
    cm_incarnations_free(c, &c->quotas.table);
}

/* ---- Files ----------------------------------------------------------------------------------- */

int cm_quota_room(struct cm_cache *c)
{
    return cm_incarnations_room(c, &c->quotas.lock, &c->quotas.table, ROOM_AHEAD);
}

void cm_quota_move(struct cm_cache *c, uint64_t was, uint64_t now, uint32_t share)
{
    struct cm_quotas *q = &c->quotas;
    if (!cm_quota_any(c))
        return;
    cm_lock_acquire(&q->lock);
    struct cm_incarnation *at = cm_incarnations_find(&q->table, was);
    if (at && was != now)
        cm_incarnations_drop(&q->table, at);
    at = cm_incarnations_find(&q->table, now);
    if (!at && share > 0)
        at = cm_incarnations_add(&q->table, now);
    if (at)
        at->value = share;
    cm_lock_release(&q->lock);
}

void cm_quota_again(struct cm_cache *c)
{
    struct cm_quotas *q = &c->quotas;
    if (!cm_quota_any(c))
        return;
    cm_lock_acquire(&q->lock);
    at_store_relaxed(&q->passes, q->begun ? 2u : 1u); /* relaxed: changed under the lock only */
    cm_lock_release(&q->lock);
}

uint32_t cm_quota_of_block(struct cm_cache *c, uint64_t incarnation)
{
    if (!cm_quota_any(c))
        return 0;
    cm_lock_acquire(&c->quotas.lock);
    const struct cm_incarnation *at =
        cm_incarnations_find(&c->quotas.table, cm_incarnation_number(incarnation));
    const uint32_t share = at ? (uint32_t)at->value : 0;
    cm_lock_release(&c->quotas.lock);
    return share;
}

/* ---- What earlier sessions left -------------------------------------------------------------- */

/* Attached files have entered their incarnations themselves. */
static void load_bucket(struct cm_cache *c, uint64_t bucket)
{
    struct cm_record r;
    bool whole;
    assert(cm_lock_is_held(&c->files_lock));
    for (uint64_t p = bucket * CM_RECORD_WAYS; p < (bucket + 1) * CM_RECORD_WAYS; p++) {
        (void)cm_record_at(&c->media, p, &r, &whole); /* unreadable: not whole */
        const uint32_t group = whole ? cm_record_attr(&c->media, p, &r).group : 0;
        const uint32_t share = cm_quota_share(c, group);
        if (share > 0 && !cm_file_place_is_open(c, p))
            cm_quota_move(c, 0, r.incarnation, share);
    }
}

/* Without memory the blocks of some files are not counted. */
static void load_some(struct cm_cache *c, bool wait)
{
    struct cm_quotas *q = &c->quotas;
    (void)cm_incarnations_room(c, &q->lock, &q->table, RECORDS_AT_ONCE * CM_RECORD_WAYS);
    if (wait)
        cm_lock_acquire(&c->files_lock);
    else if (!cm_lock_try(&c->files_lock))
        return;
    for (unsigned i = 0; i < RECORDS_AT_ONCE && q->left > 0; i++) {
        load_bucket(c, q->left - 1);
        at_store_relaxed(&q->left, q->left - 1); /* relaxed: changed under the locks only */
    }
    cm_lock_release(&c->files_lock);
}

static bool holds(const struct cm_cache *c, uint64_t slot, struct cm_header *h)
{
    return cm_slot_header(&c->media, slot, h) == CM_SLOT_HIT;
}

/* Owned, a slot does not get another block. But a bracket may make it invalid, and clears the bit
 * before that. So the header is read again after the bit was set. */
static void count_slot(struct cm_cache *c, uint64_t slot)
{
    struct cm_ring *r = &c->policy.ring;
    struct cm_header h, again;
    if (!holds(c, slot, &h))
        return;
    const uint32_t share = cm_quota_of_block(c, h.incarnation);
    if (share > 0 ? cm_share_has(cm_quota_of(c, share), slot) : !cm_share_counts(&r->shares, slot))
        return;
    if (!cm_ring_own(r, slot))
        return; /* who has it counts it, or empties it */
    if (holds(c, slot, &h) && cm_quota_of_block(c, h.incarnation) == share) {
        cm_share_found(&r->shares, share > 0 ? cm_quota_of(c, share) : NULL, slot);
        at_fence_seq_cst(); /* the bit before the second look */
        if (!holds(c, slot, &again) || again.w0 != h.w0)
            cm_share_leave(&r->shares, slot);
    }
    cm_ring_disown(r, slot);
}

/* quotas.looking is held, so that only this thread moves on. */
static void count_some(struct cm_cache *c, uint64_t n)
{
    struct cm_quotas *q = &c->quotas;
    /* Slots behind these are filled by this session later, if at all. */
    const uint64_t end = cm_ring_used(&c->policy.ring);
    uint64_t slot = q->slot;
    cm_lock_acquire(&q->lock);
    q->begun = true; /* before the first slot: from here on a file that moves needs another pass */
    cm_lock_release(&q->lock);
    for (; n > 0 && slot < end; n--, slot++)
        count_slot(c, slot);
    cm_lock_acquire(&q->lock);
    q->slot = slot < end ? slot : 0;
    q->begun = slot < end;
    if (!q->begun)
        at_store_relaxed(&q->passes, q->passes - 1); /* relaxed: changed under the lock only */
    cm_lock_release(&q->lock);
}

static bool is_complete(const struct cm_quotas *q)
{
    /* Relaxed: a hint, unless quotas.looking is held. */
    return at_load_relaxed(&q->left) == 0 && at_load_relaxed(&q->passes) == 0;
}

static void learn(struct cm_cache *c, bool wait)
{
    struct cm_quotas *q = &c->quotas;
    if (wait)
        cm_lock_acquire(&q->looking);
    else if (!cm_lock_try(&q->looking))
        return; /* another thread does it */
    if (q->left > 0)
        load_some(c, wait);
    if (q->left == 0 && at_load_relaxed(&q->passes) > 0) /* relaxed: it grows by others only */
        count_some(c, at_load_relaxed(&q->counted) && !wait ? SLOTS_LATER : SLOTS_AT_ONCE);
    if (is_complete(q))
        at_store_release(&q->counted, 1u); /* as in begin_survey() */
    cm_lock_release(&q->looking);
}

bool cm_quota_learn(struct cm_cache *c)
{
    if (!is_complete(&c->quotas) || !at_load_relaxed(&c->quotas.counted))
        learn(c, false);
    /* Acquire: pairs with the release in learn(). What was counted is seen. */
    return at_load_acquire(&c->quotas.counted) != 0;
}

uint64_t cm_quota_parts(const struct cm_cache *c)
{
    return c->media.geo.record_buckets / RECORDS_AT_ONCE +
           3 * (cm_media_slots(&c->media) / SLOTS_AT_ONCE) + 8;
}

bool cm_quota_survey(struct cm_cache *c)
{
    if (!at_load_relaxed(&c->quotas.counted))
        learn(c, true);
    const uint32_t counted = at_load_acquire(&c->quotas.counted); /* as in cm_quota_learn() */
    return counted != 0;
}

void cm_quota_complete(struct cm_cache *c)
{
    for (uint64_t most = cm_quota_parts(c); most > 0 && cm_quota_any(c) && !is_complete(&c->quotas);
         most--)
        learn(c, true);
}
