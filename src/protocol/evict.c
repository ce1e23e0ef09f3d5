/* SPDX-License-Identifier: BSD-2-Clause
 *
 * evict.c - gets slots to fill: free ones, never-used ones, or those of the policy's victims. Frees
 * the slots of blocks that the user drops.
 *
 * Owns: the order of the steps. All victims are made invalid and flushed. One fence serves all of
 * them. Then their cells are dropped.
 *
 * Who: api/, protocol/.
 */
#include "protocol/evict.h"

#include <string.h>

#include "protocol/steps.h"
#include "state/ended.h"
#include "state/file_record.h"
#include "state/keep.h"

#define SPARED_MAX 512u /* victims of kept files that one search passes by */
#define HOLE_STEPS 4u   /* headers that the search for holes reads, for each slot wanted */

struct victim {
    uint64_t slot, w0;
    struct cm_key key;
    uint32_t valid; /* bytes of the block */
    bool keyed;     /* it held a block: cells lead to it */
    bool gone;      /* and this thread has made it invalid */
    bool remember;  /* the policy remembers it as a block that may come back */
};

/* Reads the header of an owned slot. CM_EIO: unreadable. */
static inline __attribute__((always_inline)) int look(struct cm_cache *c, struct victim *v,
                                                      struct cm_last_home *last)
{
    struct cm_header h;
    v->keyed = v->gone = false;
    uint64_t key = cm_media_key(&c->media);
    enum cm_slot_verdict r = cm_slot_header(&c->media, v->slot, &h);
    if (r == CM_SLOT_UNREADABLE)
        return CM_EIO;
    v->w0 = h.w0;
    if (r != CM_SLOT_HIT)
        return 0;
    if (cm_super_is_older(&c->super, cm_incarnation_number(h.incarnation)))
        (void)cm_file_disbelieve(c, key); /* the block is evicted all the same */
    v->key = cm_key_stored_next(&c->media, last, h.incarnation, cm_header_block(&h));
    v->valid = cm_header_valid(&h);
    v->keyed = true;
    cm_index_prefetch(&c->media, &v->key, 0); /* for cm_step_drop_cells */
    cm_policy_prefetch_evicted(&c->policy, v->remember, v->key.place.hash);
    return 0;
}

/* Owns up to n victims, of one share if it is not 0, and reads their headers. Victims that cannot
 * be read are taken out of use. Blocks of kept files are left where they are; *spared: so many. The
 * two rounds let the cache misses of the headers run side by side, and then those of the index
 * lines. */
static unsigned choose_some(struct cm_cache *c, uint32_t share, struct victim *v, unsigned n,
                            unsigned *spared)
{
    struct cm_victim found[CM_BATCH_MAX];
    struct cm_last_home last = { 0 };
    assert(n <= CM_BATCH_MAX);
    unsigned chosen = share > 0 ? cm_policy_share_victims(&c->policy, share, found, n)
                                : cm_policy_victims(&c->policy, found, n);
    unsigned count = 0;
    assert(chosen <= n);
    *spared = 0;
    for (unsigned i = 0; i < chosen; i++)
        at_prefetch(cm_slot_at(&c->media, found[i].slot));
    for (unsigned i = 0; i < chosen; i++) {
        assert(cm_ring_is_owned(&c->policy.ring, found[i].slot));
        v[count].slot = found[i].slot;
        v[count].remember = found[i].remember;
        if (look(c, &v[count], &last)) {
            cm_step_quarantine_owned(c, v[count].slot);
        } else if (v[count].keyed &&
                   (found[i].returned ||
                    cm_keep_spares(c, v[count].slot, v[count].key.incarnation, v[count].w0))) {
            cm_ring_disown(&c->policy.ring, v[count].slot);
            ++*spared;
        } else {
            count++;
        }
    }
    return count;
}

/* Searches again while blocks of kept files were passed by and too few victims found, but passes by
 * about SPARED_MAX of them at most. With fewer victims, what they were wanted for is not stored.
 * The next search goes on there. */
static unsigned choose_victims(struct cm_cache *c, uint32_t share, struct victim *v, unsigned n)
{
    unsigned count = 0, spared, looked = 0;
    cm_keep_prepare(c);
    do {
        count += choose_some(c, share, v + count, n - count, &spared);
        looked += spared;
    } while (count < n && spared > 0 && looked < SPARED_MAX);
    return count;
}

/* Makes an owned slot's header invalid, not yet durably. 1: done. 0: there was no block, or a
 * bracket was faster, which is as good. CM_EIO: the header cannot be written. */
static int invalidate(struct cm_cache *c, const struct victim *v, struct cm_stripe **held)
{
    if (!v->keyed) /* leave nothing but the sequence, or a flipped bit could revive it */
        return v->w0 != (v->w0 & CM_W0_SEQ_MASK) &&
                       cm_slot_invalidate(&c->media, v->slot, v->w0) < 0
                   ? CM_EIO
                   : 0;
    /* Under the lock. So a bracket on this key either finds the header valid and kills the block
     * itself; or it finds the header invalid, with the cell still there, and flushes for us. */
    cm_stripe_relock(held, cm_stripe_at(c, v->key.stripe));
    return cm_slot_invalidate(&c->media, v->slot, v->w0);
}

/* Empties owned victims with one fence. Returns how many are durably invalid and ready to be
 * filled; they are still owned. *emptied: how many victims are left in v, those whose header is
 * invalid now. Their blocks are gone, also where the header could not be flushed: that slot is out
 * of use. The headers of the others could not be written. Their slots are out of use, too. */
static unsigned empty(struct cm_cache *c, struct victim *v, unsigned chosen, uint64_t *ready,
                      unsigned *emptied)
{
    struct cm_stripe *held = NULL;
    uint64_t slots[CM_BATCH_MAX];
    unsigned count = 0, out = 0;
    assert(chosen <= CM_BATCH_MAX);
    *emptied = 0;
    if (chosen == 0)
        return 0;
    for (unsigned i = 0; i < chosen; i++) {
        int r = invalidate(c, &v[i], &held);
        if (r < 0) {
            cm_stripe_relock(&held, NULL); /* this may ask the file system */
            cm_step_quarantine_owned(c, v[i].slot);
            continue;
        }
        v[i].gone = r == 1;
        slots[count] = v[i].slot;
        if (count < i)
            v[count] = v[i];
        count++;
    }
    cm_stripe_relock(&held, NULL);
    /* A header is flushed even if it was invalid before: the thread that invalidated it may not
     * have fenced yet. All are flushed now: a locked instruction between two flushes would wait for
     * the first. */
    uint32_t failed = cm_slot_flush_all(&c->media, slots, count);
    /* Fence 1: headers are durably invalid before cells go and before slots are overwritten. Else a
     * crash shows the old key with new bytes, or a second writer trusts an absence that is not yet
     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as in cm_step_settle_pins, for all of them */
    for (unsigned i = 0; i < count; i++) {
        if (failed >> i & 1) {
            cm_stripe_relock(&held, NULL); /* as above */
            cm_step_quarantine_owned(c, v[i].slot);
            continue;
        }
        if (v[i].keyed) {
            cm_stripe_relock(&held, cm_stripe_at(c, v[i].key.stripe));
            cm_step_drop_cells(c, &v[i].key, v[i].slot);
        }
        assert(cm_ring_is_owned(&c->policy.ring, v[i].slot));
        cm_ring_vacated(&c->policy.ring, v[i].slot);
        if (cm_ring_count(&c->policy.ring, v[i].slot) == CM_REF_EMPTY)
            cm_ring_set(&c->policy.ring, v[i].slot, 0); /* it is no empty slot any more */
        if (!cm_pin_doom(&c->pins[v[i].slot]))          /* pinned: its last pin will free it */
            ready[out++] = v[i].slot;
    }
    cm_stripe_relock(&held, NULL);
    *emptied = count;
    return out;
}

/* Evicts victims with one fence. Their slots are owned, durably invalid and ready to be filled. */
static unsigned evict_chosen(struct cm_cache *c, struct victim *v, unsigned chosen, uint64_t *ready)
{
    unsigned emptied, evicted = 0;
    const unsigned out = empty(c, v, chosen, ready, &emptied);
    /* The policy is told without a lock: it may read a page that the last session has left. */
    for (unsigned i = 0; i < emptied; i++)
        if (v[i].gone) {
            cm_policy_evicted(&c->policy, v[i].remember, v[i].key.place.hash);
            evicted++;
        }
    if (evicted > 0)
        cm_count(c, CM_STAT_evicted, evicted);
    return out;
}

/* Evicts up to n slots. `share`: those of one share; 0: any. */
static unsigned evict(struct cm_cache *c, uint32_t share, uint64_t *ready, unsigned n)
{
    struct victim v[CM_BATCH_MAX];
    return evict_chosen(c, v, choose_victims(c, share, v, n), ready);
}

/* Owns a slot and makes it a victim. It does not change while it is owned, except that a bracket
 * may make it invalid. */
static bool own_slot(struct cm_cache *c, struct victim *v, uint64_t slot, struct cm_last_home *last)
{
    v->slot = slot;
    v->remember = false; /* nobody has to wait for its return */
    if (!cm_ring_own(&c->policy.ring, slot))
        return false; /* it comes or goes just now */
    if (look(c, v, last)) {
        cm_step_quarantine_owned(c, slot);
        return false;
    }
    return true;
}

/* The same, if it holds a block (`keyed`), or else if it holds none. */
static bool own(struct cm_cache *c, struct victim *v, uint64_t slot, bool keyed,
                struct cm_last_home *last)
{
    if (!own_slot(c, v, slot, last))
        return false;
    if (v->keyed == keyed)
        return true;
    cm_ring_disown(&c->policy.ring, slot);
    return false;
}

/* The same, if it still holds this block. */
static bool take(struct cm_cache *c, struct victim *v, const struct cm_surveyed *b,
                 struct cm_last_home *last)
{
    if (!own(c, v, b->slot, true, last))
        return false;
    if (v->key.incarnation == b->key.incarnation && v->key.block == b->key.block) {
        v->valid = v->valid < b->valid ? v->valid : b->valid;
        return true;
    }
    cm_ring_disown(&c->policy.ring, b->slot);
    return false;
}

/* Evicts up to n blocks that nothing leads to any more, of one share if it is not 0. Not inline:
 * mostly there is none, and who asks does not need its stack. */
static __attribute__((noinline)) unsigned evict_ended(struct cm_cache *c, uint32_t share,
                                                      uint64_t *ready, unsigned n)
{
    struct victim v[CM_BATCH_MAX];
    struct cm_last_home last = { 0 };
    uint64_t slot[CM_BATCH_MAX];
    unsigned chosen = 0;
    assert(n <= CM_BATCH_MAX);
    const unsigned found =
        share > 0 ? cm_ended_find_share(c, &c->policy.ring.shares.share[share - 1], slot, n)
                  : cm_ended_find(c, slot, n);
    for (unsigned i = 0; i < found; i++) {
        if (!own_slot(c, &v[chosen], slot[i], &last))
            continue;
        if (v[chosen].keyed ? cm_ended_has(c, v[chosen].key.incarnation) : share > 0)
            chosen++;
        else /* it was filled since */
            cm_ring_disown(&c->policy.ring, slot[i]);
    }
    return evict_chosen(c, v, chosen, ready);
}

/* Owned, empty slots of a share. Those that the frontier will come to are left to it: else the
 * persisted frontier would call all slots before them used. Returns how many are left in slot[]. */
static unsigned without_unused(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    struct cm_ring *const r = &c->policy.ring;
    unsigned left = 0;
    if (cm_ring_unused(r) == 0)
        return n;
    for (unsigned i = 0; i < n; i++)
        if (slot[i] < at_load_relaxed(&r->frontier)) /* relaxed: it passes owned slots by */
            slot[left++] = slot[i];
        else
            cm_ring_disown(r, slot[i]);
    return left;
}

/* The same; the slots go to the free stack. */
static void free_slots(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    const unsigned left = without_unused(c, slot, n);
    if (left > 0)
        cm_ring_give_free(&c->policy.ring, slot, left);
}

/* Evicts such blocks, and frees their slots. */
static unsigned free_ended(struct cm_cache *c, uint32_t share, unsigned n)
{
    uint64_t ready[CM_BATCH_MAX];
    const unsigned out = evict_ended(c, share, ready, n);
    free_slots(c, ready, out);
    return out;
}

unsigned cm_evict_ended(struct cm_cache *c, unsigned n)
{
    return cm_ended_is_due(c) ? free_ended(c, 0, n) : 0;
}

bool cm_evict_ended_share(struct cm_cache *c, uint32_t share)
{
    if (at_load_relaxed(&c->ended.noted) == 0) /* relaxed: as in cm_ended_has() */
        return false;
    /* A batch, so that the search looks far enough: what it finds serves the next blocks. */
    return free_ended(c, share, CM_BATCH_MAX) > 0;
}

/* The persisted frontier is ahead of the slots that were taken by this at most. */
static uint64_t frontier_step(const struct cm_cache *c)
{
    return cm_media_slots(&c->media) / 64 + CM_SLOTS_MIN;
}

void cm_evict_begin(struct cm_cache *c, uint64_t frontier)
{
    const uint64_t slots = cm_media_slots(&c->media), step = frontier_step(c);
    frontier = frontier < slots ? frontier : slots;
    c->policy.ring.frontier = c->super.covered = frontier;
    c->hole = frontier > step ? frontier - step : 0;
    c->holes_end = frontier;
}

/* Where the empty slots begin, if all of them are behind those that were used. Else some of them
 * may not be found, and slots in use may be looked at. */
static uint64_t first_hole(const struct cm_cache *c)
{
    uint64_t low = at_load_relaxed(&c->hole), high = c->holes_end;
    while (low < high) {
        struct cm_header h;
        const uint64_t middle = low + (high - low) / 2;
        if (cm_slot_header(&c->media, middle, &h) == CM_SLOT_HIT)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* How many slots has the last session left empty, that were not taken yet? */
static uint64_t holes_left(struct cm_cache *c)
{
    if (at_load_relaxed(&c->hole) >= c->holes_end) /* mostly there is none */
        return 0;
    /* Relaxed: others may begin before the first hole is found, which costs time only. */
    if (!at_load_relaxed(&c->holes_sought) && at_add_relaxed(&c->holes_sought, 1u) == 0)
        at_store_relaxed(&c->hole, first_hole(c));
    const uint64_t hole = at_load_relaxed(&c->hole);
    return hole < c->holes_end ? c->holes_end - hole : 0;
}

unsigned cm_evict_room(struct cm_cache *c, unsigned n)
{
    /* Up to CM_BATCH_MAX free slots were evicted ahead, for blocks that have earned a place. As
     * long as they are there an empty slot is not used, and must not count with each call. */
    const uint32_t free = at_load_relaxed(&c->policy.ring.free_count); /* relaxed: a hint */
    const uint64_t empty = cm_ring_empties(&c->policy.ring) + free + holes_left(c);
    const uint64_t has = empty > CM_BATCH_MAX ? empty - CM_BATCH_MAX : 0;
    return has >= n ? n : (unsigned)has + cm_evict_ended(c, n - (unsigned)has);
}

/* Gets up to n slots of those that the last session has left empty: its persisted frontier was
 * ahead, and it was killed. Each is made invalid and flushed as a victim is: what is read of it now
 * need not be what was durable. Not inline: mostly there is none. */
static __attribute__((noinline)) unsigned take_holes(struct cm_cache *c, uint64_t *ready,
                                                     unsigned n)
{
    struct victim v[CM_BATCH_MAX];
    struct cm_last_home last = { 0 };
    unsigned chosen = 0;
    assert(n <= CM_BATCH_MAX);
    if (holes_left(c) == 0)
        return 0;
    for (unsigned steps = n * HOLE_STEPS; steps > 0 && chosen < n; steps--) {
        /* Relaxed: it only says where to look. Who owns the slot decides. */
        const uint64_t slot = at_add_relaxed(&c->hole, 1);
        if (slot >= c->holes_end)
            break;
        chosen += own(c, &v[chosen], slot, false, &last);
    }
    return evict_chosen(c, v, chosen, ready);
}

uint64_t cm_evict_blocks(struct cm_cache *c, const struct cm_surveyed *b, unsigned n)
{
    struct victim v[CM_BATCH_MAX];
    struct cm_last_home last = { 0 };
    uint64_t ready[CM_BATCH_MAX], bytes = 0;
    unsigned chosen = 0, emptied, dropped = 0;
    assert(n <= cm_evict_batch(c));
    for (unsigned i = 0; i < n; i++)
        chosen += take(c, &v[chosen], &b[i], &last);
    const unsigned out = empty(c, v, chosen, ready, &emptied);
    for (unsigned i = 0; i < emptied; i++) {
        dropped += v[i].gone;
        bytes += v[i].gone ? v[i].valid : 0;
    }
    cm_ring_give_free(&c->policy.ring, ready, out);
    cm_count(c, CM_STAT_dropped, dropped);
    return bytes;
}

/* In wide steps. */
void cm_evict_cover(struct cm_cache *c, uint64_t end)
{
    const uint64_t slots = cm_media_slots(&c->media), next = end + frontier_step(c);
    cm_super_frontier(&c->super, next < slots ? next : slots);
}

/* How many slots are evicted together. It is a small number, so that blocks that are evicted too
 * early cost no hits. (With 1.6 % of the slots it cost 1.6 points of hit rate in a trace.) */
static unsigned evict_size(const struct cm_cache *c)
{
    uint64_t b = cm_media_slots(&c->media) / 1024;
    return b < 2 ? 2 : b > CM_BATCH_MAX ? CM_BATCH_MAX : (unsigned)b;
}

/* The same of a share: a small part of what it may have, which need not be much of the pool. With 2
 * at least, and 1/16, no trace loses much; with 1, or 1/64, some that come in a cycle do
 * (docs/notes/policy-tables.md). */
static unsigned share_evict_size(const struct cm_cache *c, uint32_t share)
{
    const unsigned all = evict_size(c);
    /* Relaxed: the quota may change just now. */
    const uint64_t b = at_load_relaxed(&c->policy.ring.shares.share[share - 1].most) / 16;
    return b < 2 ? 2 : b > all ? all : (unsigned)b;
}

/* Evicts n slots, or some more than that: those go to the free stack. */
static unsigned evict_ahead(struct cm_cache *c, uint32_t share, uint64_t *slot, unsigned n)
{
    uint64_t ready[CM_BATCH_MAX];
    const unsigned ahead = share > 0 ? share_evict_size(c, share) : evict_size(c);
    const unsigned more = evict(c, share, ready, n > ahead ? n : ahead);
    const unsigned used = more < n ? more : n;
    memcpy(slot, ready, used * sizeof(*slot));
    if (more > used)
        free_slots(c, ready + used, more - used);
    return used;
}

unsigned cm_evict_share(struct cm_cache *c, uint32_t share, uint64_t *slot, unsigned n)
{
    unsigned got = 0;
    assert(share > 0 && n <= CM_BATCH_MAX);
    if (at_load_relaxed(&c->ended.noted) > 0) /* relaxed: as in cm_ended_has() */
        got = evict_ended(c, share, slot, n);
    if (got < n)
        got += evict_ahead(c, share, slot + got, n - got);
    return without_unused(c, slot, got);
}

/* A group's quota is smaller than it was: it gives first, as many as it has too much, and of those
 * the ones that nothing leads to. */
static unsigned evict_over(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    const struct cm_shares *const s = &c->policy.ring.shares;
    unsigned got = 0;
    /* All blocks of a group may be kept or pinned: it gives none, so the next one has to. */
    for (uint32_t over = 0; got == 0 && (over = cm_share_over(s, over)) > 0;) {
        const uint64_t much = cm_share_excess(&s->share[over - 1]);
        got = much > 0 ? cm_evict_share(c, over, slot, much < n ? (unsigned)much : n) : 0;
    }
    return got;
}

unsigned cm_evict_slots(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    unsigned got = cm_ring_take_free(&c->policy.ring, slot, n);
    if (got < n && at_load_relaxed(&c->hole) < c->holes_end) /* relaxed: as in holes_left() */
        got += take_holes(c, slot + got, n - got);
    if (got < n && cm_ended_is_due(c))
        got += evict_ended(c, 0, slot + got, n - got);
    if (got == n)
        return got;
    got += evict_over(c, slot + got, n - got);
    return got < n ? got + evict_ahead(c, 0, slot + got, n - got) : got;
}
