/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_buffered.c - first-time blocks wait in the probation buffer, and leave it for the pool or
 * the ghost.
 *
 * Owns: the order of steps on an entry of the buffer, the stripe of its block, and the pool.
 * probation_buffer.c owns the buffer's memory.
 *
 * Who: api/, protocol/.
 */
#include "protocol/fill_buffered.h"

#include "protocol/steps.h"
#include "state/ended.h"
#include "state/keep.h"
#include "state/object.h"
#include "state/quota.h"

/* How many searches of a checkpoint for slots of ended versions may be in vain: in the whole pool,
 * and in each share. Each set looks at 16384 headers, which takes about a millisecond. The next
 * checkpoint goes on there. */
#define POOL_SEARCHES (16384u / (CM_BATCH_MAX * CM_ENDED_STEPS))
#define SHARE_SEARCHES (16384u / (CM_BATCH_MAX * CM_ENDED_SHARE_STEPS))

/* Says in *n what a claimed entry holds, and in *h which life of it that is. false: nothing, or a
 * block that nothing leads to any more. */
static inline __attribute__((always_inline)) bool
describe(struct cm_cache *c, uint32_t e, struct cm_newcomer *n, struct cm_buffered *h)
{
    if (!cm_probation_peek(&c->probation, e, h) || cm_ended_has(c, h->incarnation))
        return false;
    n->key = cm_key_stored(&c->media, h->incarnation, h->block_valid >> CM_VALID_BITS);
    n->data = cm_probation_data(&c->probation, e);
    n->valid = cm_probation_valid(&c->probation, e);
    n->share = cm_quota_of_block(c, h->incarnation);
    n->start = cm_policy_leaves_buffer(&c->policy, h->count, h->count == CM_PROBATION_AHEAD);
    if (cm_keep_knows(c, h->incarnation)) /* it came before the file was kept, and stays */
        n->start = CM_START_MEMBER;
    return true;
}

/* false: a bracket of the block is open. */
static inline __attribute__((always_inline)) bool take_ticket(struct cm_cache *c,
                                                              struct cm_newcomer *n)
{
    return cm_stripe_ticket(cm_stripe_at(c, n->key.stripe), &n->ticket);
}

/* The ticket is taken first, then the version is looked at. If a bracket has killed the entry
 * before the look, the look sees it. If a bracket comes later, it moves the ticket. */
static inline __attribute__((always_inline)) bool is_still(struct cm_cache *c, uint32_t e,
                                                           const struct cm_buffered *h)
{
    struct cm_buffered again;
    return cm_probation_peek(&c->probation, e, &again) && again.version == h->version;
}

/* Has the group of the last one of n newcomers a slot for each of its blocks among them? If not, it
 * would lose other blocks. */
static bool has_quota(struct cm_cache *c, const struct cm_newcomer *out, unsigned n)
{
    const uint32_t share = out[n - 1].share;
    uint64_t want = 0;
    if (share == 0)
        return true;
    for (unsigned i = 0; i < n; i++)
        want += out[i].share == share;
    return want <= cm_share_room(cm_quota_of(c, share));
}

/* Were blocks of the share evicted that nothing leads to? `vain`: a bit for each share of which
 * this batch has found none, so that it searches once. */
static bool has_ended(struct cm_cache *c, uint32_t share, uint32_t *vain)
{
    if (*vain >> share & 1)
        return false;
    const bool some = cm_evict_ended_share(c, share);
    *vain |= (uint32_t)!some << share;
    return some;
}

/* The block in a claimed entry has to leave it. true: it goes to the pool, as out[n]. It was wanted
 * again, or its file is kept, or the pool has room, or the rule lets it go on probation there.
 * false: it goes to the ghost, or the entry holds no block of use. `room`: so many slots were freed
 * of blocks that nothing leads to any more. They are as good as slots that were never used, but not
 * for a group that has as many slots as it may have: it would lose other blocks. For such a group
 * the pool is full, unless blocks of its own lie there that nothing leads to. */
static bool leaves_for_pool(struct cm_cache *c, uint32_t e, struct cm_newcomer *out, unsigned n,
                            unsigned room, uint32_t *vain)
{
    struct cm_buffered h;
    struct cm_newcomer *const it = &out[n];
    if (!describe(c, e, it, &h))
        return false;
    if (room > n && it->start != CM_START_MEMBER && has_quota(c, out, n + 1))
        it->start = CM_START_KNOWN;
    else if (it->start == CM_START_KNOWN && !has_quota(c, out, n + 1) &&
             !has_ended(c, it->share, vain))
        it->start = cm_policy_leaves_full(&c->policy, h.count == CM_PROBATION_AHEAD);
    if (it->start == CM_START_NOT || !take_ticket(c, it)) {
        cm_policy_remember(&c->policy, h.hash); /* a bracket is open: it may come in later */
        return false;
    }
    return is_still(c, e, &h);
}

/* Empties a claimed entry. false: it is pinned, so it was released. */
static inline __attribute__((always_inline)) bool vacate(struct cm_cache *c, uint32_t e)
{
    struct cm_buffered h;
    if (cm_probation_peek(&c->probation, e, &h)) {
        struct cm_key k = cm_key_stored(&c->media, h.incarnation, h.block_valid >> CM_VALID_BITS);
        struct cm_stripe *s = cm_stripe_at(c, k.stripe);
        cm_lock_acquire(&s->lock);
        cm_probation_kill(&c->probation, &k);
        cm_lock_release(&s->lock);
    }
    assert(cm_probation_is_claimed(&c->probation, e));
    if (!cm_probation_is_pinned(&c->probation, e))
        return true;
    cm_probation_release(&c->probation, e);
    return false;
}

/* Claims and empties up to n entries, the oldest ones. Returns how many. The oldest is the last
 * one: cm_fill_buffered() uses them from the end on. So blocks that are stored together lie in the
 * buffer in their order, and so do their slots later: a long read copies them together. */
static unsigned get_entries(struct cm_cache *c, uint32_t *entry, unsigned n)
{
    const struct cm_grant by_ticket = { NULL, NULL };
    struct cm_newcomer out[CM_BATCH_MAX];
    uint32_t oldest[CM_BATCH_MAX];
    unsigned claimed = 0, leaving = 0, promoted = 0, got = 0;
    while (claimed < n && (oldest[claimed] = cm_probation_claim(&c->probation)) != CM_NO_ENTRY)
        claimed++;
    uint32_t vain = 0;
    const unsigned room = cm_evict_room(c, claimed);
    for (unsigned i = 0; i < claimed; i++)
        leaving += leaves_for_pool(c, oldest[i], out, leaving, room, &vain);
    assert(leaving <= claimed && claimed <= n && n <= CM_BATCH_MAX);
    cm_publish_batch(c, &by_ticket, out, leaving);
    for (unsigned i = 0; i < leaving; i++) {
        promoted += out[i].result == 0;
        if (out[i].result != 0 && out[i].result != CM_NOT_STORED_PRESENT)
            cm_policy_remember(&c->policy,
                               out[i].key.place.hash); /* may come in when it comes back */
    }
    if (promoted > 0)
        cm_count(c, CM_STAT_promoted, promoted);
    for (unsigned i = claimed; i-- > 0;)
        if (vacate(c, oldest[i]))
            entry[got++] = oldest[i];
    return got;
}

/* Puts a first-time block into an empty entry. */
static int buffer_one(struct cm_cache *c, const struct cm_grant *g, const struct cm_newcomer *n,
                      uint32_t e)
{
    struct cm_stripe *s = cm_stripe_at(c, n->key.stripe);
    struct cm_header h;
    uint64_t slot;
    int r = 0;
    assert(cm_probation_is_claimed(&c->probation, e));
    cm_probation_store(&c->probation, e, &n->key, n->data, n->valid, n->start == CM_START_AHEAD);
    cm_lock_acquire(&s->lock);
    enum cm_found there = cm_step_find(c, &n->key, &slot, &h);
    const uint32_t buffered = cm_step_buffered(c, &n->key);
    if (!cm_publish_may(g, s, n))
        r = CM_NOT_STORED_STALE;
    else if (there == CM_FOUND_HIT || buffered >= n->valid)
        r = CM_NOT_STORED_PRESENT;
    else if (there != CM_FOUND_ABSENT)
        r = CM_NOT_STORED_MEDIA; /* the block may be where nothing can be read */
    if (r == 0 && buffered > 0)  /* a shorter tail */
        cm_probation_kill(&c->probation, &n->key);
    if (r == 0 && !cm_probation_publish(&c->probation, e, &n->key))
        r = CM_NOT_STORED_FULL;
    cm_lock_release(&s->lock);
    return r;
}

/* Returns why a first-time block is refused before it takes an entry, for which another block would
 * have to leave; or 0. It is a hint: buffer_one() decides. */
static int refused_early(struct cm_cache *c, const struct cm_grant *g, const struct cm_newcomer *n)
{
    if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n))
        return CM_NOT_STORED_STALE;
    return cm_step_buffered(c, &n->key) >= n->valid ? CM_NOT_STORED_PRESENT : 0;
}

void cm_fill_buffered(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned left, struct cm_entries *e)
{
    /* Other threads may be stopped while they have as many, so it is a small part of them. */
    const uint64_t part = c->probation.entries / 16;
    const unsigned most = part < 1 ? 1 : part < CM_BATCH_MAX ? (unsigned)part : CM_BATCH_MAX;
    assert(left > 0 && left <= CM_BATCH_MAX);
    n->result = refused_early(c, g, n);
    if (n->result != 0)
        return;
    if (e->got == 0)
        e->got = get_entries(c, e->entry, left < most ? left : most);
    if (e->got == 0) {
        n->result = CM_NOT_STORED_BUSY;
        return;
    }
    n->result = buffer_one(c, g, n, e->entry[e->got - 1]);
    if (n->result == 0) { /* else the next block gets the entry */
        cm_probation_release(&c->probation, e->entry[--e->got]);
        e->stored++;
    }
}

void cm_fill_buffered_end(struct cm_cache *c, struct cm_entries *e)
{
    while (e->got > 0)
        cm_probation_release(&c->probation, e->entry[--e->got]);
    if (e->stored > 0)
        cm_count(c, CM_STAT_buffered, e->stored);
}

void cm_fill_buffered_drain(struct cm_cache *c)
{
    uint32_t entry[CM_BATCH_MAX];
    const unsigned batch = cm_evict_batch(c);
    const uint64_t used = cm_probation_rewind(&c->probation);
    for (uint64_t i = 0; i < used; i += batch) {
        unsigned got = get_entries(c, entry, used - i < batch ? (unsigned)(used - i) : batch);
        while (got > 0)
            cm_probation_release(&c->probation, entry[--got]);
    }
}

/* Stores the blocks of claimed entries, and releases these. A block that was not stored stays in
 * its entry. false: the pool cannot be written, so no more of them. */
static bool promote(struct cm_cache *c, const uint32_t *entry, struct cm_newcomer *out, unsigned n)
{
    const struct cm_grant by_ticket = { NULL, NULL };
    unsigned promoted = 0;
    bool writable = true;
    cm_publish_batch(c, &by_ticket, out, n);
    for (unsigned i = 0; i < n; i++) {
        promoted += out[i].result == 0;
        if (out[i].result == CM_NOT_STORED_FULL || out[i].result == CM_NOT_STORED_MEDIA) {
            /* Either the slot cannot be written, and then others probably cannot. Or the block's
             * own cells cannot be read, or have no room: each try costs a write, so it is not due
             * again. (One that a warming has passed is tried at each checkpoint all the same.) Or
             * it could not be sealed. */
            writable &= !out[i].spoiled;
            if (!out[i].spoiled)
                cm_probation_refuse(&c->probation, entry[i]);
        }
        if (out[i].result != 0 || vacate(c, entry[i])) /* vacate() releases one that is pinned */
            cm_probation_release(&c->probation, entry[i]);
    }
    if (promoted > 0)
        cm_count(c, CM_STAT_promoted, promoted);
    return writable && cm_cache_mode(c) == CM_NORMAL;
}

/* The incarnation that was looked for last, and has an open file it? Blocks of a file mostly lie
 * together. */
struct known {
    uint64_t incarnation;
    bool open;
};

/* Blocks on their way to the pool before they are pushed out. */
struct promotion {
    uint64_t warmed; /* the incarnation that is being warmed; 0: it is a checkpoint */
    struct known known;
    uint32_t vain;     /* a bit for each share that has no slot of an ended version within reach */
    unsigned searches; /* so many more for slots of ended versions may be in vain */
    bool room;         /* no other block has to leave for this batch */
    bool others;       /* also blocks that no warming has passed may go */
    bool busy;         /* an entry was passed over, because another thread had claimed it */
    unsigned n, batch; /* of the next batch: so many are ready, and so many go together */
    uint32_t entry[CM_BATCH_MAX];
    struct cm_newcomer out[CM_BATCH_MAX];
};

/* Is this block one that a warming has passed, to be stored now? A warming has claimed those of its
 * own file only, which is open. A checkpoint looks at all open files, under the files lock. */
static bool is_wanted(struct cm_cache *c, struct promotion *m, uint64_t incarnation)
{
    const uint64_t number = cm_incarnation_number(incarnation);
    cm_file_id id;
    if (m->warmed != 0)
        return true;
    if (m->known.incarnation != number) {
        m->known.incarnation = number;
        m->known.open = cm_files_id_of(c, number, &id);
    }
    return m->known.open;
}

/* The same as has_quota(), after a search for slots of the group that hold nothing of use. A
 * checkpoint has more time than a fill: it looks further before it gives up. */
static bool finds_quota(struct cm_cache *c, struct promotion *m)
{
    const uint32_t share = m->out[m->n].share;
    if (has_quota(c, m->out, m->n + 1))
        return true;
    for (unsigned i = 0; i < SHARE_SEARCHES && !(m->vain >> share & 1); i++)
        if (cm_evict_ended_share(c, share))
            return has_quota(c, m->out, m->n + 1);
    m->vain |= UINT32_C(1) << share;
    return false;
}

/* Readies the block in a claimed entry for the pool, as the next one of the batch, with a ticket:
 * it has earned its place there, or the pool has room. The ones before it go, too. One that a
 * warming has passed takes another's place, as if the warming had read it. If its file is not open,
 * it waits for room: perhaps nothing leads to it any more. False: it stays. */
static bool prepare_to_leave(struct cm_cache *c, uint32_t e, struct promotion *m)
{
    struct cm_buffered h;
    struct cm_newcomer *const it = &m->out[m->n];
    if (!describe(c, e, it, &h))
        return false;
    const bool kept = cm_probation_is_kept(&c->probation, e);
    if (kept && is_wanted(c, m, h.incarnation)) {
        it->start = CM_START_MEMBER;
    } else {
        if (kept && !m->room)
            return false;
        if (m->room && it->start != CM_START_MEMBER)
            it->start = CM_START_KNOWN;
        if ((it->start != CM_START_MEMBER && it->start != CM_START_KNOWN) || !finds_quota(c, m))
            return false;
    }
    return take_ticket(c, it) && is_still(c, e, &h);
}

/* For how many blocks, n at most, has the pool room, so that no other block leaves for them? Slots
 * that were never used, that became empty, or that hold what nothing leads to any more. */
static unsigned find_room(struct cm_cache *c, struct promotion *m, unsigned n)
{
    const uint64_t unused = cm_ring_unused(&c->policy.ring);
    if (unused >= n)
        return n;
    unsigned room = (unsigned)unused + cm_evict_room(c, n - (unsigned)unused);
    for (; room == 0 && m->searches > 0 && cm_ended_is_due(c); m->searches--)
        room = cm_evict_room(c, n);
    return room;
}

/* Begins the next batch of a checkpoint. A large buffer is a cache of its own: in a full pool each
 * block that leaves it takes the place of another one, and so hits would be lost. So no batch is
 * larger than the room. */
static void begin_batch(struct cm_cache *c, struct promotion *m)
{
    const unsigned batch = cm_evict_batch(c), room = find_room(c, m, batch);
    m->n = 0;
    m->room = room > 0;
    m->others =
        m->room || !cm_probation_is_large(&c->probation, at_load_relaxed(&c->policy.ring.end));
    m->batch = m->room ? room : batch;
}

/* May this entry be claimed? Of a warming only what is its file's: a claim, however short, would
 * hide the entry from another file's warming, which may end just now. */
static bool is_for(const struct cm_cache *c, const struct promotion *m, uint32_t e)
{
    struct cm_buffered h;
    return m->warmed == 0 || (cm_probation_snapshot(&c->probation, e, &h) &&
                              cm_incarnation_number(h.incarnation) == m->warmed);
}

/* Takes the block in this entry into the batch, if it may go, and stores the batch if it is full.
 * false: no more of them. */
static bool offer(struct cm_cache *c, struct promotion *m, uint32_t e)
{
    if (!is_for(c, m, e))
        return true;
    if (!cm_probation_claim_at(&c->probation, e)) {
        m->busy = true;
        return true;
    }
    if (!prepare_to_leave(c, e, m)) {
        cm_probation_release(&c->probation, e);
        return true;
    }
    m->entry[m->n++] = e;
    if (m->n < m->batch)
        return true;
    const bool go_on = promote(c, m->entry, m->out, m->n);
    m->n = 0;
    if (go_on && m->warmed == 0)
        begin_batch(c, m);
    return go_on;
}

void cm_fill_buffered_promote(struct cm_cache *c)
{
    struct cm_probation *p = &c->probation;
    struct promotion m = { .searches = POOL_SEARCHES };
    const uint64_t used = p->entries > 0 ? cm_probation_used(p) : 0;
    bool go_on = cm_cache_mode(c) == CM_NORMAL;
    if (go_on && used > 0)
        begin_batch(c, &m);
    for (uint32_t e = 0; e < used && go_on; e++)
        if (cm_probation_is_kept(p, e) || (m.others && cm_probation_is_due(p, e, m.room)))
            go_on = offer(c, &m, e);
    (void)promote(c, m.entry, m.out, m.n);
}

void cm_fill_buffered_promote_warmed(struct cm_cache *c, uint64_t incarnation)
{
    struct promotion m = { .warmed = incarnation, .batch = cm_evict_batch(c), .busy = true };
    bool go_on = incarnation != 0 && cm_cache_mode(c) == CM_NORMAL;
    /* Twice at most. Who looks at an entry for a moment has left it by then. Who keeps it longer
     * stores its block, or gives the entry to another one. */
    for (unsigned i = 0; i < 2 && m.busy && go_on; i++) {
        m.busy = false;
        for (uint32_t e = cm_probation_next_kept(&c->probation, 0); e != CM_NO_ENTRY && go_on;
             e = cm_probation_next_kept(&c->probation, e + 1))
            go_on = offer(c, &m, e);
        go_on &= promote(c, m.entry, m.out, m.n);
        m.n = 0;
    }
}
