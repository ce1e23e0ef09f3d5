/* SPDX-License-Identifier: BSD-2-Clause
 *
 * evict.c - slots to fill: free ones, never-used ones, or those of the policy's victims.
 *
 * Owns: the order in which victims are made invalid, flushed, fenced once for all of them, and
 * cut off from their cells.
 *
 * Who: publish.c; hold.c and fill.c for the size of a batch.
 */
#include "evict.h"

#include "steps.h"

struct victim {
    uint64_t slot, w0;
    struct cm_key key;
    bool keyed;    /* it held a block: cells lead to it */
    bool evicted;  /* by us: a bracket was not faster */
    bool remember; /* as a block that may come back */
};

/* Reads the header of an owned slot. CM_EIO: unreadable. */
static int look(struct cm_cache *c, struct victim *v)
{
    struct cm_header h;
    v->keyed = v->evicted = false;
    enum cm_slot_verdict r = cm_slot_header(&c->media, v->slot, &h);
    if (r == CM_SLOT_UNREADABLE)
        return CM_EIO;
    v->w0 = h.w0;
    if (r != CM_SLOT_HIT)
        return 0;
    v->key = cm_key_of(&c->media, h.incarnation, cm_header_block(&h));
    v->keyed = true;
    cm_index_prefetch(&c->media, &v->key, 0); /* for cm_step_drop_cells */
    if (v->remember)
        cm_ghost_prefetch(&c->ghost, v->key.place.hash);
    return 0;
}

/* Owns up to n victims and looks at them; those that cannot be read are taken out of use. In two
 * rounds, so that their headers, and then their index lines, are waited for side by side. */
static unsigned choose_victims(struct cm_cache *c, struct victim *v, unsigned n)
{
    unsigned chosen = 0, count = 0;
    while (chosen < n &&
           (v[chosen].slot = cm_ring_victim(&c->ring, chosen, &v[chosen].remember)) != CM_NO_SLOT)
        cm_slot_prefetch_header(&c->media, v[chosen++].slot);
    for (unsigned i = 0; i < chosen; i++) {
        v[count] = v[i];
        if (look(c, &v[count]))
            cm_step_quarantine_owned(c, v[i].slot);
        else
            count++;
    }
    return count;
}

/* Makes an owned slot's header invalid, not yet durably. CM_EIO: it cannot be written. */
static int unpublish(struct cm_cache *c, struct victim *v)
{
    if (!v->keyed) /* leave nothing but the sequence, or a flipped bit could revive it */
        return v->w0 != (v->w0 & CM_W0_SEQ_MASK) &&
                       cm_slot_invalidate(&c->media, v->slot, v->w0) < 0
                   ? CM_EIO
                   : 0;
    struct cm_stripe *s = cm_stripe_at(c, v->key.stripe);
    /* Under the lock, so that a bracket on this key either finds it valid and kills it itself, or
     * finds it invalid with its cell still there, and flushes for us. */
    cm_lock_acquire(&s->lock);
    int r = cm_slot_invalidate(&c->media, v->slot, v->w0);
    cm_lock_release(&s->lock);
    v->evicted = r == 1;
    if (v->evicted && v->remember)
        cm_ghost_add(&c->ghost, v->key.place.hash);
    return r < 0 ? r : 0; /* 0: a bracket was faster, which is as good */
}

/* Evicts up to n slots with one fence; they are owned, durably invalid and ready to be filled. */
static unsigned evict(struct cm_cache *c, uint64_t *ready, unsigned n)
{
    struct victim v[CM_BATCH_MAX];
    uint64_t slots[CM_BATCH_MAX];
    unsigned count = 0, out = 0, evicted = 0;
    unsigned chosen = choose_victims(c, v, n);
    for (unsigned i = 0; i < chosen; i++) {
        v[count] = v[i];
        if (unpublish(c, &v[count])) {
            cm_step_quarantine_owned(c, v[i].slot);
            continue;
        }
        evicted += v[count].evicted;
        slots[count] = v[count].slot;
        count++;
    }
    /* Flushed even if it was invalid before: whoever invalidated it may not have fenced yet. All of
     * them now: a locked instruction between two flushes would wait for the first. */
    uint32_t failed = cm_slot_flush_all(&c->media, slots, count);
    /* Fence 1: unpublished durably before the cells go and before the slot is overwritten; else a
     * crash shows the old key with new bytes, or a second writer trusts an absence that is not
     * durable. */
    cm_media_fence(&c->media);
    at_fence_seq_cst(); /* as in cm_step_settle_pins, for all of them */
    for (unsigned i = 0; i < count; i++) {
        if (failed >> i & 1) {
            cm_step_quarantine_owned(c, v[i].slot);
            continue;
        }
        if (v[i].keyed) {
            struct cm_stripe *s = cm_stripe_at(c, v[i].key.stripe);
            cm_lock_acquire(&s->lock);
            cm_step_drop_cells(c, &v[i].key, v[i].slot);
            cm_lock_release(&s->lock);
        }
        if (!cm_pin_doom(&c->pins[v[i].slot])) /* pinned: its last pin will free it */
            ready[out++] = v[i].slot;
    }
    cm_count(c, CM_STAT_evicted, evicted);
    return out;
}

/* Remembers in the pool, in wide steps, how far never-used slots have been used. */
static void note_frontier(struct cm_cache *c)
{
    uint64_t f = at_load_relaxed(&c->ring.frontier);
    uint64_t mark = at_load_relaxed(&c->frontier_mark);
    if (f <= mark)
        return;
    uint64_t next = f + c->media.geo.slots / 64 + CM_SLOTS_MIN;
    if (next > c->media.geo.slots)
        next = c->media.geo.slots;
    if (at_cas_acq_rel(&c->frontier_mark, &mark, next))
        cm_super_frontier(&c->super, next);
}

unsigned cm_evict_batch(const struct cm_cache *c)
{
    uint64_t b = c->media.geo.slots / 32; /* batch plus free stack stay below slots/16 */
    return b > CM_BATCH_MAX ? CM_BATCH_MAX : (unsigned)b;
}

/* How many are evicted together: so few that what is evicted ahead of its time costs no hits. (With
 * 1.6 % of the slots it was 1.6 points in a trace.) */
static unsigned evict_size(const struct cm_cache *c)
{
    uint64_t b = c->media.geo.slots / 1024;
    return b < 2 ? 2 : b > CM_BATCH_MAX ? CM_BATCH_MAX : (unsigned)b;
}

unsigned cm_evict_slots(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    unsigned got = 0;
    while (got < n && (slot[got] = cm_ring_take_free(&c->ring)) != CM_NO_SLOT)
        got++;
    if (got == n)
        return got;
    uint64_t ready[CM_BATCH_MAX];
    unsigned ahead = evict_size(c), more = evict(c, ready, n - got > ahead ? n - got : ahead);
    note_frontier(c);
    for (unsigned i = 0; i < more; i++) {
        if (got < n)
            slot[got++] = ready[i];
        else
            cm_ring_give_free(&c->ring, ready[i]);
    }
    return got;
}
