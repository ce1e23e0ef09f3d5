/* SPDX-License-Identifier: BSD-2-Clause
 *
 * block.c - the protocol: looking up, evicting, publishing, forgetting.
 *
 * Owns: no data of its own; the order in which stripes, cells, headers, payloads, ownership and
 * pins are touched. The rule: a block is cached iff a cell of one of its buckets carries its tag
 * and names slot s, header s is valid, and header s names exactly this (incarnation, block).
 * The invariant: no valid header loses its last cell before its invalidity is durable.
 *
 * Who may write what: cells, under the stripe of their bucket; w0 from valid to invalid, under the
 * stripe of the header's key, by compare-and-swap; everything else of a slot, its owner. At most
 * one stripe lock is held at a time. Checked exhaustively in tests/spin.
 *
 * Who: bracket.c, flight.c, check.c, cache.c.
 */
#include "block.h"

#include "sample.h"

#include <string.h>

#define BATCH_MAX 16u     /* victims and fills that share a fence */
#define PROBATION_EARN 2u /* hits in the probation buffer that earn a slot */
#define TRIES 2           /* optimistic copies before a lookup gives up */

/* ---- Trouble --------------------------------------------------------------------------------- */

/* The slot is owned and ours, but unreadable or unwritable. It stays owned: nobody fills it, the
 * hand passes it by, until the next open tries it again. */
static void quarantine_owned(struct cm_cache *c, uint64_t slot)
{
    assert(cm_ring_is_owned(&c->ring, slot));
    cm_count(c, CM_STAT_quarantined, 1);
    /* A sparse pool on a full volume: it grows no more. */
    if (cm_slot_has_no_room(&c->media, slot)) {
        cm_ring_stop(&c->ring);
        return;
    }
    /* Past this many it is not a page of the media (a lost file, a failing volume): stop filling,
     * but go on serving what can be read. api.c says so. */
    if (at_add_relaxed(&c->media_errors, 1) == c->media.geo.slots / 8 + 8)
        at_store_seq_cst(&c->failing, 1u);
}

/* ---- Cells ----------------------------------------------------------------------------------- */

static int load_cells(const struct cm_cache *c, const struct cm_key *k, struct cm_cells *cells)
{
    int e0 = cm_index_load(&c->media, k, 0, cells);
    int e1 = cm_index_load(&c->media, k, 1, cells);
    return e0 ? e0 : e1;
}

/* Clears the cells that lead from k to slot. Stripe lock held; the header's invalidity is durable.
 * Not flushed: a cell that comes back after a crash leads to an invalid header. */
static void drop_cells(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    struct cm_cells cells;
    uint64_t cell = cm_cell_make(k->place.tag, slot);
    bool found = false;
    /* Nearly always it is one cell of the first bucket. One that stays is harmless, so the second
     * is not looked at then, nor one that cannot be read. */
    for (unsigned which = 0; which < 2 && !found; which++) {
        const unsigned at = which * CM_BUCKET_CELLS;
        if (cm_index_load(&c->media, k, which, &cells))
            continue;
        for (unsigned left = cm_index_matches(k, &cells.cell[at]); left; left &= left - 1) {
            const unsigned i = at + at_lowest_bit(left);
            if (cells.cell[i] == cell) {
                (void)cm_index_store(&c->media, k, i, 0);
                found = true;
            }
        }
    }
}

/* ---- Freeing --------------------------------------------------------------------------------- */

/* An owned slot whose invalidity is durable and whose cells are gone. true: it may be overwritten;
 * false: it is pinned, its last pin will free it. */
static bool settle_pins(struct cm_cache *c, uint64_t slot)
{
    /* Our store to w0 before our load of the pins (the store fence of the flush does not order
     * that): pairs with the seq_cst increment in cm_pin_add, which comes before its load of w0. */
    at_fence_seq_cst();
    return !cm_pin_doom(&c->pins[slot]);
}

static void free_owned(struct cm_cache *c, uint64_t slot)
{
    if (settle_pins(c, slot))
        cm_ring_give_free(&c->ring, slot);
}

/* Unpublishes an owned slot that holds k under w0, durably, and drops its cells. 1 done, 0 w0 has
 * changed, CM_EIO. */
static int unpublish_one(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0)
{
    struct cm_stripe *s = cm_stripe_at(c, k->stripe);
    cm_lock_acquire(&s->lock);
    int r = cm_slot_invalidate(&c->media, slot, w0);
    if (r == 1) {
        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
        cm_media_fence(&c->media); /* durable before the cells go (the invariant) */
    }
    if (r == 1)
        drop_cells(c, k, slot);
    cm_lock_release(&s->lock);
    return r;
}

void cm_block_quarantine(struct cm_cache *c, uint64_t slot, const struct cm_key *k)
{
    struct cm_header h;
    if (!cm_ring_own(&c->ring, slot))
        return; /* its owner will find out by itself */
    if (k && cm_slot_header(&c->media, slot, &h) == CM_SLOT_HIT && cm_slot_is(&h, k))
        (void)unpublish_one(c, slot, k, h.w0); /* else every read would fault on it again */
    quarantine_owned(c, slot);
}

void cm_block_drop(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0)
{
    if (!cm_ring_own(&c->ring, slot))
        return;
    int r = unpublish_one(c, slot, k, w0);
    if (r == 1)
        free_owned(c, slot);
    else if (r == 0)
        cm_ring_disown(&c->ring, slot);
    else
        quarantine_owned(c, slot);
}

/* ---- Looking up ------------------------------------------------------------------------------ */

static bool must_verify(struct cm_cache *c, uint64_t slot)
{
    return c->opts.verify == CM_VERIFY_ALWAYS ||
           (c->opts.verify == CM_VERIFY_FIRST_HIT && !cm_ring_is_verified(&c->ring, slot));
}

/* A thread that reads on and on in small steps touches each block several times in a row, which
 * does not make it a block that is wanted again. Is this one not among the last few? */
static bool is_news(uint64_t hash)
{
    struct cm_plat_thread *t = cm_plat_thread();
    for (unsigned i = 0; i < PLAT_RECENT; i++)
        if (t->recent[i] == hash)
            return false;
    t->recent[t->recent_at++ % PLAT_RECENT] = hash;
    return true;
}

static void count_sampled_hit(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    bool news = is_news(k->place.hash);
    if (news && cm_ring_counts(&c->ring, slot))
        cm_ring_touch(&c->ring, slot);
    cm_sample_read(c, k, !news, false);
}

static inline void count_hit(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    if (cm_sample_has(c, k->incarnation, k->block))
        count_sampled_hit(c, k, slot);
    else if (cm_ring_counts(&c->ring, slot) && is_news(k->place.hash))
        cm_ring_touch(&c->ring, slot);
}

/* The usual hit. false: nothing is known, and nothing was left in part->dst. */
static inline bool read_known(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                              const struct cm_part *part)
{
    if (!cm_ring_is_verified(&c->ring, slot) || c->opts.verify == CM_VERIFY_ALWAYS ||
        cm_media_key(&c->media) != c->judged_key)
        return false;
    if (cm_slot_read_known(&c->media, slot, k, part)) {
        count_hit(c, k, slot);
        return true;
    }
    memset(part->dst, 0, part->len); /* may be another file's */
    return false;
}

/* One cell that carries the tag. */
static enum cm_found read_slot(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                               const struct cm_part *part, uint32_t *got)
{
    bool verify = must_verify(c, slot);
    uint64_t w0 = 0;
    if (read_known(c, k, slot, part)) {
        *got = part->len;
        return CM_FOUND_HIT;
    }
    for (int i = 0; i < TRIES; i++) {
        switch (cm_slot_read(&c->media, slot, k, part, verify, got, &w0)) {
        case CM_SLOT_HIT:
            cm_ring_set_verified(&c->ring, slot);
            count_hit(c, k, slot);
            return CM_FOUND_HIT;
        case CM_SLOT_OTHER:
            return CM_FOUND_ABSENT;
        case CM_SLOT_CHANGED:
            break;
        case CM_SLOT_BAD_SUM:
            cm_block_drop(c, slot, k, w0);
            return CM_FOUND_CHECKSUM;
        case CM_SLOT_UNREADABLE:
            cm_block_quarantine(c, slot, k);
            return CM_FOUND_MEDIA;
        }
    }
    return CM_FOUND_CONFLICT;
}

/* All cells of one bucket, but for those that lead to the slot `judged`. */
static enum cm_found read_bucket(struct cm_cache *c, const struct cm_key *k, unsigned which,
                                 uint64_t judged, const struct cm_part *part, uint32_t *got)
{
    enum cm_found worst = CM_FOUND_ABSENT;
    struct cm_cells cells;
    if (cm_index_load(&c->media, k, which, &cells))
        return CM_FOUND_MEDIA;
    const uint64_t *cell = &cells.cell[which * CM_BUCKET_CELLS];
    for (unsigned left = cm_index_matches(k, cell); left; left &= left - 1) {
        uint64_t match = cell[at_lowest_bit(left)];
        if (!cm_index_match(&c->media, k, match) || cm_cell_slot(match) == judged)
            continue;
        enum cm_found r = read_slot(c, k, cm_cell_slot(match), part, got);
        if (r == CM_FOUND_HIT)
            return r;
        if (r != CM_FOUND_ABSENT)
            worst = r;
    }
    return worst;
}

void cm_block_aim(const struct cm_cache *c, const struct cm_probe *p)
{
    cm_index_prefetch(&c->media, &p->key, 0);
}

void cm_block_probe(const struct cm_cache *c, struct cm_probe *p)
{
    struct cm_cells cells;
    p->slot = CM_NO_SLOT;
    p->more = true;
    if (cm_index_load(&c->media, &p->key, 0, &cells))
        return;
    unsigned matches = cm_index_matches(&p->key, cells.cell);
    p->more = (matches & (matches - 1)) != 0;
    uint64_t first = matches ? cells.cell[at_lowest_bit(matches)] : 0;
    if (cm_index_match(&c->media, &p->key, first)) {
        p->slot = cm_cell_slot(first);
        cm_slot_prefetch(&c->media, p->slot);
        cm_ring_prefetch(&c->ring, p->slot);
    }
}

void cm_block_soon(const struct cm_cache *c, const struct cm_probe *p)
{
    if (p->slot != CM_NO_SLOT)
        cm_slot_prefetch_more(&c->media, p->slot);
}

static void count_held_hit(struct cm_cache *c, const struct cm_key *k, uint32_t entry)
{
    bool news = is_news(k->place.hash);
    if (news)
        cm_probation_touch(&c->probation, entry);
    if (cm_sample_has(c, k->incarnation, k->block))
        cm_sample_read(c, k, !news, false);
    cm_count(c, CM_STAT_probation_hits, 1);
}

/* The block is not in the pool: is it in the probation buffer? */
static enum cm_found read_held(struct cm_cache *c, const struct cm_key *k,
                               const struct cm_part *part, uint32_t *got)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t e;
        switch (cm_probation_read(&c->probation, k, part, got, &e)) {
        case CM_SLOT_HIT:
            if (*got > 0) /* else past the end of a tail */
                count_held_hit(c, k, e);
            return CM_FOUND_HIT;
        case CM_SLOT_CHANGED:
            break;
        default:
            return CM_FOUND_ABSENT;
        }
    }
    return CM_FOUND_CONFLICT;
}

enum cm_found cm_block_read(struct cm_cache *c, const struct cm_probe *p,
                            const struct cm_part *part, uint32_t *got)
{
    enum cm_found found = CM_FOUND_ABSENT, r;
    if (p->slot != CM_NO_SLOT)
        found = read_slot(c, &p->key, p->slot, part, got);
    if (p->more && found != CM_FOUND_HIT) {
        r = read_bucket(c, &p->key, 0, p->slot, part, got);
        found = r == CM_FOUND_ABSENT ? found : r;
    }
    if (found == CM_FOUND_HIT)
        return found;
    r = read_bucket(c, &p->key, 1, p->slot, part, got);
    found = r == CM_FOUND_ABSENT ? found : r;
    return found == CM_FOUND_ABSENT && c->probation.entries > 0 ? read_held(c, &p->key, part, got)
                                                                : found;
}

/* No cell of the first bucket carries the tag. */
static enum cm_found glance_elsewhere(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_cells cells;
    return c->probation.entries == 0 && cm_index_load(&c->media, k, 1, &cells) == 0 &&
                   cm_index_matches(k, &cells.cell[CM_BUCKET_CELLS]) == 0
               ? CM_FOUND_ABSENT
               : CM_FOUND_CONFLICT;
}

enum cm_found cm_block_glance(struct cm_cache *c, const struct cm_key *k,
                              const struct cm_part *part)
{
    struct cm_cells cells;
    if (cm_index_load(&c->media, k, 0, &cells))
        return CM_FOUND_CONFLICT;
    unsigned matches = cm_index_matches(k, cells.cell);
    if (matches == 0)
        return glance_elsewhere(c, k);
    uint64_t cell = cells.cell[at_lowest_bit(matches)];
    return cm_index_match(&c->media, k, cell) && read_known(c, k, cm_cell_slot(cell), part)
               ? CM_FOUND_HIT
               : CM_FOUND_CONFLICT;
}

/* Finds the slot that holds k, by headers alone. Lock-free, so only a snapshot. */
static enum cm_found find_slot(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                               struct cm_header *h)
{
    enum cm_found worst = CM_FOUND_ABSENT;
    struct cm_cells cells;
    for (unsigned which = 0; which < 2; which++) {
        if (cm_index_load(&c->media, k, which, &cells)) {
            worst = CM_FOUND_MEDIA;
            continue;
        }
        for (unsigned i = which * CM_BUCKET_CELLS; i < (which + 1) * CM_BUCKET_CELLS; i++) {
            if (!cm_index_match(&c->media, k, cells.cell[i]))
                continue;
            *slot = cm_cell_slot(cells.cell[i]);
            enum cm_slot_verdict v = cm_slot_header(&c->media, *slot, h);
            if (v == CM_SLOT_HIT && cm_slot_is(h, k))
                return CM_FOUND_HIT;
            if (v == CM_SLOT_UNREADABLE) {
                cm_block_quarantine(c, *slot, NULL);
                worst = CM_FOUND_MEDIA;
            }
        }
    }
    return worst;
}

void cm_block_aim_both(const struct cm_cache *c, const struct cm_key *k)
{
    cm_index_prefetch(&c->media, k, 0);
    cm_index_prefetch(&c->media, k, 1);
}

/* Valid bytes of the block in the probation buffer; 0: it is not there. */
static uint32_t held_valid(struct cm_cache *c, const struct cm_key *k)
{
    uint64_t version;
    uint32_t e = cm_probation_find(&c->probation, k, &version);
    return e == CM_NO_ENTRY ? 0 : cm_probation_valid(&c->probation, e);
}

uint32_t cm_block_cached(struct cm_cache *c, const struct cm_key *k)
{
    uint64_t slot;
    struct cm_header h;
    return find_slot(c, k, &slot, &h) == CM_FOUND_HIT ? cm_header_valid(&h) : held_valid(c, k);
}

/* ---- Pins ------------------------------------------------------------------------------------ */

static enum cm_found verify_pinned(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                                   const struct cm_header *h)
{
    if (!must_verify(c, slot))
        return CM_FOUND_HIT;
    switch (cm_slot_verify(&c->media, slot, h)) {
    case CM_SLOT_HIT:
        cm_ring_set_verified(&c->ring, slot);
        return CM_FOUND_HIT;
    case CM_SLOT_UNREADABLE:
        cm_block_unpin(c, slot);
        cm_block_quarantine(c, slot, k);
        return CM_FOUND_MEDIA;
    default:
        cm_block_unpin(c, slot);
        cm_block_drop(c, slot, k, h->w0);
        return CM_FOUND_CHECKSUM;
    }
}

/* The numbers of entries of the probation buffer follow those of the slots. */
static enum cm_found pin_held(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                              uint32_t *valid, bool *busy)
{
    uint32_t e;
    enum cm_slot_verdict v = cm_probation_pin(&c->probation, k, &e, valid);
    *busy = v == CM_SLOT_CHANGED;
    if (v != CM_SLOT_HIT)
        return *busy ? CM_FOUND_CONFLICT : CM_FOUND_ABSENT;
    at_add_relaxed(&c->pinned, 1);
    count_held_hit(c, k, e);
    *slot = c->media.geo.slots + e;
    return CM_FOUND_HIT;
}

const uint8_t *cm_block_data(const struct cm_cache *c, uint64_t slot)
{
    const uint64_t slots = c->media.geo.slots;
    return slot < slots ? cm_slot_payload(&c->media, slot)
                        : cm_probation_data(&c->probation, slot - slots);
}

enum cm_found cm_block_pin(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                           uint32_t *valid, bool *busy)
{
    *busy = false;
    for (int i = 0; i < TRIES; i++) {
        struct cm_header h, again;
        enum cm_found r = find_slot(c, k, slot, &h);
        if (r == CM_FOUND_ABSENT && c->probation.entries > 0)
            return pin_held(c, k, slot, valid, busy);
        if (r != CM_FOUND_HIT)
            return r;
        enum cm_pin_result p = cm_pin_add(&c->pins[*slot]);
        if (p == CM_PIN_TOO_MANY) {
            *busy = true;
            return CM_FOUND_CONFLICT;
        }
        if (p == CM_PIN_GONE)
            continue;
        at_add_relaxed(&c->pinned, 1);
        /* Again after the pin: whoever invalidates from here on sees the pin. The same w0 means
         * the same life of the slot. */
        if (cm_slot_header(&c->media, *slot, &again) == CM_SLOT_HIT && again.w0 == h.w0) {
            *valid = cm_header_valid(&h);
            r = verify_pinned(c, k, *slot, &h);
            if (r == CM_FOUND_HIT)
                count_hit(c, k, *slot);
            return r;
        }
        cm_block_unpin(c, *slot);
    }
    return CM_FOUND_CONFLICT;
}

void cm_block_unpin(struct cm_cache *c, uint64_t slot)
{
    assert(slot < c->media.geo.slots + c->probation.entries);
    if (slot >= c->media.geo.slots)
        cm_probation_unpin(&c->probation, (uint32_t)(slot - c->media.geo.slots));
    else if (cm_pin_drop(&c->pins[slot])) /* doomed: the evictor left the owned slot to us */
        cm_ring_give_free(&c->ring, slot);
    at_sub_acq_rel(&c->pinned, 1); /* last: cm_close must not see zero while the slot is in hand */
}

/* ---- Evicting -------------------------------------------------------------------------------- */

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
    cm_index_prefetch(&c->media, &v->key, 0); /* for drop_cells */
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
            quarantine_owned(c, v[i].slot);
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
    struct victim v[BATCH_MAX];
    uint64_t slots[BATCH_MAX];
    unsigned count = 0, out = 0, evicted = 0;
    unsigned chosen = choose_victims(c, v, n);
    for (unsigned i = 0; i < chosen; i++) {
        v[count] = v[i];
        if (unpublish(c, &v[count])) {
            quarantine_owned(c, v[i].slot);
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
    at_fence_seq_cst(); /* as in settle_pins, for all of them */
    for (unsigned i = 0; i < count; i++) {
        if (failed >> i & 1) {
            quarantine_owned(c, v[i].slot);
            continue;
        }
        if (v[i].keyed) {
            struct cm_stripe *s = cm_stripe_at(c, v[i].key.stripe);
            cm_lock_acquire(&s->lock);
            drop_cells(c, &v[i].key, v[i].slot);
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

static unsigned batch_size(const struct cm_cache *c)
{
    uint64_t b = c->media.geo.slots / 32; /* batch plus free stack stay below slots/16 */
    return b > BATCH_MAX ? BATCH_MAX : (unsigned)b;
}

/* How many are evicted together: so few that what is evicted ahead of its time costs no hits. (With
 * 1.6 % of the slots it was 1.6 points in a trace.) */
static unsigned evict_size(const struct cm_cache *c)
{
    uint64_t b = c->media.geo.slots / 1024;
    return b < 2 ? 2 : b > BATCH_MAX ? BATCH_MAX : (unsigned)b;
}

/* Owned slots to fill: from the free stack, then by eviction, which gets some for later as well. */
static unsigned get_slots(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    unsigned got = 0;
    while (got < n && (slot[got] = cm_ring_take_free(&c->ring)) != CM_NO_SLOT)
        got++;
    if (got == n)
        return got;
    uint64_t ready[BATCH_MAX];
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

/* ---- Misses ---------------------------------------------------------------------------------- */

void cm_block_missed(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t n)
{
    for (uint64_t b = first; b < first + n; b++) {
        if (!cm_sample_has(c, incarnation, b))
            continue;
        struct cm_key k = cm_key_of(&c->media, incarnation, b);
        cm_sample_read(c, &k, !is_news(k.place.hash), true);
    }
}

enum { MISS_SERIAL, MISS_INCARNATION, MISS_FILE_TICKET, MISS_TICKETS };

uint64_t cm_block_miss(cm_file *f, uint64_t first, uint64_t n, cm_miss *miss)
{
    struct cm_cache *c = f->cache;
    uint64_t group = first >> CM_GROUP_SHIFT;
    uint64_t end = (group + CM_MISS_STRIPES) << CM_GROUP_SHIFT;
    if (n > end - first)
        n = end - first;
    /* In this order, all acquire, all before the origin is read: incarnation, file ticket, stripe
     * tickets each with its intents, stale. Whoever changes the incarnation raises `stale` before
     * releasing the new one, so a new incarnation is never seen without its `stale`. */
    uint64_t incarnation = at_load_acquire(&f->incarnation);
    miss->opaque[MISS_SERIAL] = f->serial;
    miss->opaque[MISS_INCARNATION] = incarnation;
    miss->opaque[MISS_FILE_TICKET] = at_load_seq_cst(&f->ticket);
    bool good = incarnation != 0;
    for (uint64_t g = group; g <= (first + n - 1) >> CM_GROUP_SHIFT; g++) {
        uint64_t s = cm_key_home(&c->media, incarnation, g).stripe;
        good &= cm_stripe_ticket(cm_stripe_at(c, s), &miss->opaque[MISS_TICKETS + g - group]);
    }
    good &= at_load_seq_cst(&f->stale) == 0;
    if (!good)
        miss->flags |= CM_MISS_NOFILL;
    return n;
}

static uint64_t ticket_of(const cm_miss *miss, uint64_t block)
{
    uint64_t first = miss->offset / CM_BLOCK_SIZE;
    return miss->opaque[MISS_TICKETS + (block >> CM_GROUP_SHIFT) - (first >> CM_GROUP_SHIFT)];
}

/* Everything a miss was handed out under still holds? Decisive under the stripe's lock. */
static bool still_good(cm_file *f, struct cm_stripe *s, const cm_miss *miss, uint64_t block)
{
    return cm_stripe_good(s, ticket_of(miss, block)) &&
           at_load_acquire(&f->incarnation) == miss->opaque[MISS_INCARNATION] &&
           at_load_seq_cst(&f->ticket) == miss->opaque[MISS_FILE_TICKET] &&
           at_load_seq_cst(&f->stale) == 0;
}

bool cm_block_fillable(cm_file *f, const cm_miss *miss, uint64_t block)
{
    struct cm_cache *c = f->cache;
    uint64_t s = cm_key_stripe(&c->media, miss->opaque[MISS_INCARNATION], block);
    return still_good(f, cm_stripe_at(c, s), miss, block);
}

/* ---- Publishing ------------------------------------------------------------------------------ */

/* By what right blocks come in: that of a miss, or, with f NULL, of the stripe's ticket that each
 * newcomer brings along. */
struct grant {
    cm_file *f;
    const cm_miss *miss;
};

/* What a new block is to the policy. */
enum start {
    START_ASK,    /* a member if the ghost remembers it, else on probation */
    START_MEMBER, /* it has earned its place */
    START_KNOWN,  /* the same, and the ghost need not remember it */
    START_WANTED  /* the same, and as hard to evict as any (CM_ADVISE_KEEP) */
};

/* A block on its way in. */
struct newcomer {
    struct cm_key key;
    const uint8_t *data;
    uint32_t valid; /* bytes of it */
    enum start start;
    uint64_t ticket; /* of a grant without a file */
    uint64_t slot;
    struct cm_header header;
    uint64_t freed; /* slot that was evicted for it and is ours, or CM_NO_SLOT */
    unsigned cell;  /* where its cell is */
    bool spoiled;   /* a store to the slot failed: nobody may fill it again */
    int result;     /* enum cm_not_stored, 0: published */
};

/* Evicts, under the lock of its stripe, the slot that the i-th cell names, so that the cell may be
 * overwritten. false: it is someone else's. */
static bool displace(struct cm_cache *c, struct newcomer *n, uint64_t slot,
                     const struct cm_header *h)
{
    if (!cm_ring_own(&c->ring, slot))
        return false;
    int r = cm_slot_invalidate(&c->media, slot, h->w0);
    if (r == 1)
        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
    /* Durable before its cell is overwritten (the invariant). */
    cm_media_fence(&c->media);
    if (r != 1) {
        if (r < 0)
            quarantine_owned(c, slot);
        else
            cm_ring_disown(&c->ring, slot);
        return false;
    }
    cm_count(c, CM_STAT_displaced, 1);
    if (settle_pins(c, slot))
        n->freed = slot;
    return true;
}

/* Does the slot that cell c of bucket `bucket` names hold a key that belongs there? */
static bool cell_live(const struct cm_cache *c, uint64_t bucket, uint64_t cell, struct cm_header *h,
                      bool *unreadable)
{
    enum cm_slot_verdict v = cm_slot_header(&c->media, cm_cell_slot(cell), h);
    *unreadable = v == CM_SLOT_UNREADABLE;
    if (v != CM_SLOT_HIT)
        return false;
    struct cm_key k = cm_key_of(&c->media, h->incarnation, cm_header_block(h));
    return k.place.tag == cm_cell_tag(cell) &&
           (k.place.bucket[0] == bucket || k.place.bucket[1] == bucket);
}

/* A cell that leads nowhere is about to be overwritten. Its slot's invalidity may not be durable:
 * an owner that died in a process crash may have cleared w0 without fencing, and ownership died
 * with it. The next bracket on that key would find no cell, and so nothing to flush for. */
static bool settle_stale(struct cm_cache *c, uint64_t slot)
{
    int e = cm_slot_flush(&c->media, slot);
    cm_media_fence(&c->media);
    return e == 0;
}

/* No cell is empty: find one that leads nowhere, else make room. Lock held. Returns its number or
 * -1. A cell whose slot is owned by someone else is left alone: its owner's fence may be pending,
 * and a bracket must be able to find the cell and flush for it. */
static int make_room(struct cm_cache *c, struct newcomer *n, const struct cm_cells *cells)
{
    struct cm_header h, victim_header = { 0 };
    bool unreadable;
    int victim = -1;
    uint8_t lowest = CM_REF_MAX + 1;
    for (int i = 0; i < (int)CM_PLACE_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells->cell[i]);
        if (slot >= c->media.geo.slots)
            return i; /* garbage */
        bool owned = slot != n->slot && cm_ring_is_owned(&c->ring, slot);
        bool live = cell_live(c, n->key.place.bucket[(unsigned)i / CM_BUCKET_CELLS], cells->cell[i],
                              &h, &unreadable);
        if (!live && !unreadable && !owned && settle_stale(c, slot))
            return i;
        uint8_t count = cm_ring_count(&c->ring, slot);
        if (live && !owned && count < lowest) {
            victim = i;
            lowest = count;
            victim_header = h;
        }
    }
    if (victim >= 0 && displace(c, n, cm_cell_slot(cells->cell[victim]), &victim_header))
        return victim;
    return -1;
}

/* The i-th cell carries the newcomer's tag. 0: it leads to another key. 1: it leads to a shorter
 * tail of the same block, which made room. Below: minus the reason why the newcomer must not be
 * stored. Lock held. */
static int replace(struct cm_cache *c, struct newcomer *n, uint64_t cell)
{
    struct cm_header h;
    if (!cm_index_match(&c->media, &n->key, cell))
        return 0;
    enum cm_slot_verdict v = cm_slot_header(&c->media, cm_cell_slot(cell), &h);
    if (v == CM_SLOT_UNREADABLE)
        return -CM_NOT_STORED_MEDIA; /* may hold the key: counts as present */
    if (v != CM_SLOT_HIT || !cm_slot_is(&h, &n->key))
        return 0;
    if (cm_header_valid(&h) >= cm_header_valid(&n->header))
        return -CM_NOT_STORED_PRESENT;
    return displace(c, n, cm_cell_slot(cell), &h) ? 1 : -CM_NOT_STORED_BUSY;
}

/* Where the newcomer's cell goes: 0..15 in *at, or why it must not be stored. Lock held. */
static int choose_cell(struct cm_cache *c, struct newcomer *n, int *at)
{
    struct cm_cells cells;
    if (load_cells(c, &n->key, &cells))
        return CM_NOT_STORED_MEDIA; /* the key may be there, unseen */
    unsigned matches = cm_index_matches(&n->key, cells.cell) |
                       cm_index_matches(&n->key, &cells.cell[CM_BUCKET_CELLS]) << CM_BUCKET_CELLS;
    for (; matches; matches &= matches - 1) {
        *at = (int)at_lowest_bit(matches);
        int r = replace(c, n, cells.cell[*at]);
        if (r != 0)
            return r > 0 ? 0 : -r;
    }
    /* First fit: the second bucket is rarely read. */
    *at = cm_index_empty(cells.cell);
    if (*at < 0 && (*at = cm_index_empty(&cells.cell[CM_BUCKET_CELLS])) >= 0)
        *at += (int)CM_BUCKET_CELLS;
    if (*at < 0)
        *at = make_room(c, n, &cells);
    return *at < 0 ? CM_NOT_STORED_FULL : 0;
}

/* May the newcomer come in? A hint, or with its stripe locked the truth. */
static bool is_granted(const struct grant *g, struct cm_stripe *s, const struct newcomer *n)
{
    return g->f ? still_good(g->f, s, g->miss, n->key.block) : cm_stripe_good(s, n->ticket);
}

/* The moment a block becomes visible. */
static int publish(struct cm_cache *c, const struct grant *g, struct newcomer *n)
{
    struct cm_stripe *s = cm_stripe_at(c, n->key.stripe);
    int at, r;
    cm_lock_acquire(&s->lock);
    if (!is_granted(g, s, n))
        r = CM_NOT_STORED_STALE;
    else
        r = choose_cell(c, n, &at);
    if (r == 0) {
        /* Cell, then header. The other way round a process that dies in between leaves a valid
         * header that no cell leads to: the next session's bracket trusts the absence, and after a
         * power cut an older cell of the same key and slot may be back (found in the model). */
        uint64_t cell = cm_cell_make(n->key.place.tag, n->slot);
        n->cell = (unsigned)at;
        if (cm_index_store(&c->media, &n->key, n->cell, cell))
            r = CM_NOT_STORED_MEDIA; /* at worst a cell that leads to an invalid header */
        else if ((n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0))
            r = CM_NOT_STORED_MEDIA;
    }
    cm_lock_release(&s->lock);
    return r;
}

/* Flushes the headers of those newcomers whose result is 0. A bit for each that failed. */
static uint32_t flush_headers(struct cm_cache *c, const struct newcomer *n, unsigned count)
{
    uint64_t slot[BATCH_MAX];
    unsigned which[BATCH_MAX], some = 0;
    uint32_t failed = 0;
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0) {
            which[some] = i;
            slot[some++] = n[i].slot;
        }
    uint32_t bad = cm_slot_flush_all(&c->media, slot, some);
    for (; bad; bad &= bad - 1)
        failed |= UINT32_C(1) << which[at_lowest_bit(bad)];
    return failed;
}

/* Starts making published newcomers durable. Not under their locks: the next one's would wait for
 * the flush. Until the fence nothing is promised, and who forgets a block meanwhile flushes itself.
 * What cannot be flushed is taken back. */
static void flush_published(struct cm_cache *c, struct newcomer *n, unsigned count)
{
    uint32_t failed = flush_headers(c, n, count);
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0 &&
            (cm_index_flush(&c->media, &n[i].key, n[i].cell) || failed >> i & 1)) {
            n[i].spoiled = unpublish_one(c, n[i].slot, &n[i].key, n[i].header.w0) < 0;
            n[i].result = CM_NOT_STORED_MEDIA;
        }
}

/* Writes payload and key of one newcomer into its owned slot; the header is not flushed. */
static void prepare(struct cm_cache *c, const struct grant *g, struct newcomer *n, uint64_t slot)
{
    n->slot = slot;
    n->freed = CM_NO_SLOT;
    n->spoiled = false;
    cm_block_aim_both(c, &n->key); /* for choose_cell, while the payload is copied */
    if (n->start == START_ASK)
        cm_ghost_prefetch(&c->ghost, n->key.place.hash);
    if (!is_granted(g, cm_stripe_at(c, n->key.stripe), n))
        n->result = CM_NOT_STORED_STALE; /* not worth the copy */
    else if ((n->spoiled =
                  cm_slot_fill(&c->media, n->slot, &n->key, n->data, n->valid, &n->header) != 0))
        n->result = CM_NOT_STORED_MEDIA;
    else
        n->result = 0;
}

/* The fence after publishing is behind us: gives up or passes on what the newcomer owns. */
static void finish(struct cm_cache *c, struct newcomer *n)
{
    if (n->result == 0) {
        cm_ring_disown(&c->ring, n->slot);
    } else if (n->spoiled) {
        quarantine_owned(c, n->slot);
    } else {
        cm_ring_give_free(&c->ring, n->slot); /* still invalid, durably */
    }
    if (n->freed != CM_NO_SLOT)
        cm_ring_give_free(&c->ring, n->freed);
}

/* What was stored takes its place among the others. */
static void admit(struct cm_cache *c, const struct newcomer *n, unsigned count)
{
    uint64_t first_time[BATCH_MAX];
    unsigned some = 0;
    for (unsigned i = 0; i < count; i++) {
        if (n[i].result != 0)
            continue;
        if (n[i].start == START_MEMBER)
            cm_ring_set(&c->ring, n[i].slot, 0);
        else if (n[i].start == START_WANTED)
            cm_ring_set(&c->ring, n[i].slot, CM_REF_KNOWN | CM_REF_MAX);
        else if (n[i].start == START_KNOWN || cm_ghost_take(&c->ghost, n[i].key.place.hash))
            cm_ring_set(&c->ring, n[i].slot, CM_REF_KNOWN);
        else
            first_time[some++] = n[i].slot;
    }
    cm_ring_begin_probation(&c->ring, first_time, some);
}

static void count_refused(struct cm_cache *c, const struct newcomer *n, unsigned count)
{
    static const enum cm_stat refused[] = {
        [CM_NOT_STORED_STALE] = CM_STAT_refused_stale,
        [CM_NOT_STORED_PRESENT] = CM_STAT_refused_present,
        [CM_NOT_STORED_BUSY] = CM_STAT_refused_busy,
        [CM_NOT_STORED_FULL] = CM_STAT_refused_full,
        [CM_NOT_STORED_POLICY] = CM_STAT_refused_policy,
        [CM_NOT_STORED_MEDIA] = CM_STAT_refused_media,
    };
    for (unsigned i = 0; i < count; i++)
        if (n[i].result != 0)
            cm_count(c, refused[n[i].result], 1);
}

static void count_stored(struct cm_cache *c, const struct newcomer *n, unsigned count)
{
    uint64_t blocks = 0, bytes = 0;
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0) {
            blocks++;
            bytes += n[i].valid;
        }
    if (blocks == 0)
        return;
    cm_count(c, CM_STAT_fill_blocks, blocks);
    cm_count(c, CM_STAT_fill_bytes, bytes);
}

/* Stores a batch, at most BATCH_MAX; what came of each is in its result. */
static void fill_batch(struct cm_cache *c, const struct grant *g, struct newcomer *n,
                       unsigned count)
{
    uint64_t slot[BATCH_MAX];
    if (count == 0)
        return;
    if (!cm_rate_take(&c->rate, (uint64_t)count * CM_BLOCK_SIZE)) {
        for (unsigned i = 0; i < count; i++)
            n[i].result = CM_NOT_STORED_POLICY;
        return;
    }
    unsigned got = get_slots(c, slot, count);
    for (unsigned i = 0; i < got; i++) /* flushing may have thrown it out of the cache */
        cm_slot_prefetch_header(&c->media, slot[i]);
    for (unsigned i = 0; i < got; i++)
        prepare(c, g, &n[i], slot[i]);
    /* All of them now: a neighbour would have to wait for its line to come back. */
    uint32_t failed = flush_headers(c, n, got);
    for (unsigned i = 0; i < got; i++)
        if (failed >> i & 1) {
            n[i].spoiled = true;
            n[i].result = CM_NOT_STORED_MEDIA;
        }
    /* Fence 2: payload and key words are durable, and visible, before any VALID is. */
    cm_media_fence(&c->media);
    for (unsigned i = 0; i < got; i++)
        if (n[i].result == 0)
            n[i].result = publish(c, g, &n[i]);
    flush_published(c, n, got);
    /* Fence 3: "stored" means that VALID and the cell survive a power cut from here on; and the
     * slot is disowned only after that. */
    cm_media_fence(&c->media);
    admit(c, n, got);
    for (unsigned i = 0; i < got; i++)
        finish(c, &n[i]);
    for (unsigned i = got; i < count; i++)
        n[i].result = CM_NOT_STORED_BUSY;
    count_stored(c, n, count);
}

/* ---- The probation buffer -------------------------------------------------------------------- */

/* The block in a claimed entry has to leave it. true: for the pool, as *n, because it was wanted
 * again, or because there is room. false: for the ghost, or there is none. */
static bool leaves_for_pool(struct cm_cache *c, uint32_t e, struct newcomer *n)
{
    struct cm_held h, again;
    if (!cm_probation_peek(&c->probation, e, &h))
        return false;
    bool earned = h.count >= PROBATION_EARN;
    n->key = cm_key_of(&c->media, h.incarnation, h.block_valid >> CM_VALID_BITS);
    n->data = cm_probation_data(&c->probation, e);
    n->valid = cm_probation_valid(&c->probation, e);
    n->start = earned ? START_MEMBER : START_KNOWN;
    if (!earned && !cm_ring_has_unused(&c->ring)) {
        cm_ghost_add(&c->ghost, h.hash);
        return false;
    }
    if (!cm_stripe_ticket(cm_stripe_at(c, n->key.stripe), &n->ticket)) {
        cm_ghost_add(&c->ghost, h.hash); /* a bracket beside it: when it comes back */
        return false;
    }
    /* The ticket, then the look whether it is still live: a bracket that killed it before the look
     * is seen by it, and one that comes later moves the ticket. */
    return cm_probation_peek(&c->probation, e, &again) && again.version == h.version;
}

/* Empties a claimed entry. false: it is pinned, and was released. */
static bool vacate(struct cm_cache *c, uint32_t e)
{
    struct cm_held h;
    if (cm_probation_peek(&c->probation, e, &h)) {
        struct cm_key k = cm_key_of(&c->media, h.incarnation, h.block_valid >> CM_VALID_BITS);
        struct cm_stripe *s = cm_stripe_at(c, k.stripe);
        cm_lock_acquire(&s->lock);
        cm_probation_kill(&c->probation, &k);
        cm_lock_release(&s->lock);
    }
    if (!cm_probation_is_pinned(&c->probation, e))
        return true;
    cm_probation_release(&c->probation, e);
    return false;
}

/* Claims and empties up to n entries, the oldest ones. Returns how many. */
static unsigned get_entries(struct cm_cache *c, uint32_t *entry, unsigned n)
{
    const struct grant by_ticket = { NULL, NULL };
    struct newcomer out[BATCH_MAX];
    unsigned claimed = 0, leaving = 0, promoted = 0, got = 0;
    while (claimed < n && (entry[claimed] = cm_probation_claim(&c->probation)) != CM_NO_ENTRY)
        claimed++;
    for (unsigned i = 0; i < claimed; i++)
        leaving += leaves_for_pool(c, entry[i], &out[leaving]);
    fill_batch(c, &by_ticket, out, leaving);
    for (unsigned i = 0; i < leaving; i++) {
        promoted += out[i].result == 0;
        if (out[i].result != 0 && out[i].result != CM_NOT_STORED_PRESENT)
            cm_ghost_add(&c->ghost, out[i].key.place.hash); /* may come in when it comes back */
    }
    if (promoted > 0)
        cm_count(c, CM_STAT_promoted, promoted);
    for (unsigned i = 0; i < claimed; i++)
        if (vacate(c, entry[i]))
            entry[got++] = entry[i];
    return got;
}

/* Puts a first-time block into an empty entry. */
static int hold_one(struct cm_cache *c, const struct grant *g, const struct newcomer *n, uint32_t e)
{
    struct cm_stripe *s = cm_stripe_at(c, n->key.stripe);
    struct cm_header h;
    uint64_t slot;
    int r = 0;
    cm_probation_store(&c->probation, e, &n->key, n->data, n->valid);
    cm_lock_acquire(&s->lock);
    enum cm_found there = find_slot(c, &n->key, &slot, &h);
    if (!is_granted(g, s, n))
        r = CM_NOT_STORED_STALE;
    else if (there == CM_FOUND_HIT || held_valid(c, &n->key) >= n->valid)
        r = CM_NOT_STORED_PRESENT;
    else if (there != CM_FOUND_ABSENT)
        r = CM_NOT_STORED_MEDIA; /* may be there, unseen */
    if (r == 0) {
        cm_probation_kill(&c->probation, &n->key); /* a shorter tail */
        r = cm_probation_publish(&c->probation, e, &n->key) ? 0 : CM_NOT_STORED_FULL;
    }
    cm_lock_release(&s->lock);
    return r;
}

/* Why a first-time block need not even ask for an entry, for which another would have to leave. A
 * hint: hold_one() asks again. */
static int refused_early(struct cm_cache *c, const struct grant *g, const struct newcomer *n)
{
    if (!is_granted(g, cm_stripe_at(c, n->key.stripe), n))
        return CM_NOT_STORED_STALE;
    return held_valid(c, &n->key) >= n->valid ? CM_NOT_STORED_PRESENT : 0;
}

/* First-time blocks wait in DRAM: nothing is written to the pool, but for those that leave. */
static void hold_batch(struct cm_cache *c, const struct grant *g, struct newcomer *n,
                       unsigned count)
{
    const unsigned most = c->probation.entries < 4 * BATCH_MAX ? 1 : BATCH_MAX;
    uint32_t entry[BATCH_MAX];
    unsigned got = 0, held = 0;
    for (unsigned i = 0; i < count; i++) {
        n[i].result = refused_early(c, g, &n[i]);
        if (n[i].result != 0)
            continue;
        if (got == 0)
            got = get_entries(c, entry, count - i < most ? count - i : most);
        if (got == 0) {
            n[i].result = CM_NOT_STORED_BUSY;
            continue;
        }
        n[i].result = hold_one(c, g, &n[i], entry[got - 1]);
        if (n[i].result == 0) { /* else the entry is the next one's */
            cm_probation_release(&c->probation, entry[--got]);
            held++;
        }
    }
    while (got > 0)
        cm_probation_release(&c->probation, entry[--got]);
    if (held > 0)
        cm_count(c, CM_STAT_held, held);
}

void cm_block_settle(struct cm_cache *c)
{
    uint32_t entry[BATCH_MAX];
    const unsigned batch = batch_size(c);
    const uint64_t used = cm_probation_rewind(&c->probation);
    for (uint64_t i = 0; i < used; i += batch) {
        unsigned got = get_entries(c, entry, used - i < batch ? (unsigned)(used - i) : batch);
        while (got > 0)
            cm_probation_release(&c->probation, entry[--got]);
    }
}

/* ---- Filling --------------------------------------------------------------------------------- */

/* Raises the file's limit before anything is published: pairs with the seq_cst ticket move and
 * limit load of a truncate bracket, one of which must see the other. */
static void raise_limit(cm_file *f, uint64_t end)
{
    uint64_t limit = at_load_relaxed(&f->limit);
    while (limit < end && !at_cas_seq_cst(&f->limit, &limit, end))
        ;
    at_fence_seq_cst();
}

/* Does a block that comes by a miss wait in the buffer? */
static bool must_wait(struct cm_cache *c, struct newcomer *n)
{
    if (c->probation.entries == 0 || n->start != START_ASK)
        return false;
    struct cm_header h;
    uint64_t slot;
    n->start = START_KNOWN;
    /* What is in the pool already stays there: a tail that grew. */
    return !cm_ghost_take(&c->ghost, n->key.place.hash) &&
           find_slot(c, &n->key, &slot, &h) == CM_FOUND_ABSENT;
}

static int first_of(int first, const struct newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count && first == 0; i++)
        first = n[i].result;
    return first;
}

/* Does the rule deny a block a slot, because it comes for the first time? The next time it will be
 * remembered. */
static bool is_refused(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_header h;
    uint64_t slot;
    if (!cm_ring_refuses(&c->ring) || cm_ghost_has(&c->ghost, k->place.hash) ||
        find_slot(c, k, &slot, &h) != CM_FOUND_ABSENT) /* such as a tail that grew */
        return false;
    cm_ghost_add(&c->ghost, k->place.hash);
    cm_count(c, CM_STAT_refused_policy, 1);
    return true;
}

int cm_block_fill(cm_file *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked, bool wanted)
{
    struct cm_cache *c = f->cache;
    const struct grant g = { f, miss };
    uint64_t block = miss->offset / CM_BLOCK_SIZE;
    uint64_t blocks = (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    unsigned batch = batch_size(c);
    int first = 0, refused = 0;
    raise_limit(f, miss->offset + len);
    for (uint64_t i = 0; i < blocks;) {
        struct newcomer in[BATCH_MAX], waits[BATCH_MAX];
        unsigned ins = 0, waiting = 0;
        for (; i < blocks && ins + waiting < batch; i++) {
            uint64_t at = i * CM_BLOCK_SIZE;
            struct newcomer *n = &in[ins];
            n->data = data + at;
            n->valid = len - at < CM_BLOCK_SIZE ? (uint32_t)(len - at) : CM_BLOCK_SIZE;
            n->start = wanted ? START_WANTED : START_ASK;
            n->key = cm_key_of(&c->media, miss->opaque[MISS_INCARNATION], block + i);
            (void)is_news(n->key.place.hash); /* its reader has touched it */
            if (!wanted && at < asked && is_refused(c, &n->key))
                refused = CM_NOT_STORED_POLICY;
            else if (must_wait(c, n))
                waits[waiting++] = *n;
            else
                ins++;
        }
        fill_batch(c, &g, in, ins);
        hold_batch(c, &g, waits, waiting);
        count_refused(c, in, ins);
        count_refused(c, waits, waiting);
        first = first_of(first_of(first, in, ins), waits, waiting);
        first = first ? first : refused;
    }
    return first;
}

/* ---- Forgetting ------------------------------------------------------------------------------ */

/* Makes every copy of one key invalid, not yet durably, and counts them in *killed. *dead: its
 * cells that lead nowhere once that is flushed and fenced, a bit each. CM_EIO: a copy may exist
 * where nothing can be read. Lock held. */
static int kill(struct cm_cache *c, const struct cm_key *k, uint16_t *dead, uint64_t *killed)
{
    struct cm_cells cells;
    int e = load_cells(c, k, &cells);
    *dead = 0;
    if (e)
        return e;
    unsigned left = cm_index_matches(k, cells.cell) |
                    cm_index_matches(k, &cells.cell[CM_BUCKET_CELLS]) << CM_BUCKET_CELLS;
    for (; left; left &= left - 1) {
        unsigned i = at_lowest_bit(left);
        if (!cm_index_match(&c->media, k, cells.cell[i]))
            continue;
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        struct cm_header h;
        enum cm_slot_verdict v = cm_slot_header(&c->media, slot, &h);
        if (v == CM_SLOT_UNREADABLE) {
            cm_block_quarantine(c, slot, NULL);
            e = CM_EIO;
            continue;
        }
        if (v == CM_SLOT_HIT && !cm_slot_is(&h, k))
            continue;
        if (v == CM_SLOT_HIT)
            cm_ring_hint(&c->ring, slot); /* before it is empty: a filler resets the hint */
        int r = v == CM_SLOT_HIT ? cm_slot_invalidate(&c->media, slot, h.w0) : 0;
        if (r < 0)
            e = CM_EIO;
        *dead |= (uint16_t)(1u << i); /* every match, not the first */
        *killed += r == 1;
    }
    return e;
}

/* Writes back the headers of the cells that kill() named. Those that it found invalid, too
 * (helping): an evictor may have cleared one without having fenced yet, and its absence must be
 * durable before the origin is written. Lock held. */
static int flush_dead(struct cm_cache *c, const struct cm_key *k, uint16_t dead)
{
    struct cm_cells cells;
    int e = dead ? load_cells(c, k, &cells) : 0;
    if (e)
        return e;
    for (unsigned left = dead; left; left &= left - 1)
        if (cm_slot_flush(&c->media, cm_cell_slot(cells.cell[at_lowest_bit(left)])))
            e = CM_EIO;
    return e;
}

/* After the fence: clears the key's cells that kill() named. Lock held since, so they are the same.
 */
static void clear_cells(struct cm_cache *c, const struct cm_key *k, uint16_t dead)
{
    for (unsigned left = dead; left; left &= left - 1)
        (void)cm_index_store(&c->media, k, at_lowest_bit(left), 0);
}

/* Asks for the header that a key's first bucket most probably leads to. */
static void aim_header(const struct cm_cache *c, const struct cm_key *k)
{
    struct cm_cells cells;
    if (cm_index_load(&c->media, k, 0, &cells))
        return;
    unsigned matches = cm_index_matches(k, cells.cell);
    uint64_t cell = matches ? cells.cell[at_lowest_bit(matches)] : 0;
    if (!cm_index_match(&c->media, k, cell))
        return;
    cm_slot_prefetch_header(&c->media, cm_cell_slot(cell));
    cm_ring_prefetch(&c->ring, cm_cell_slot(cell)); /* for the hint */
}

/* Blocks of one group, so of one stripe. Lock held. */
static int kill_range(struct cm_cache *c, const struct cm_key *k, unsigned n)
{
    uint16_t dead[CM_GROUP_BLOCKS], any = 0; /* cells of each block */
    uint64_t failed = 0, killed = 0;         /* failed: a bit each */
    for (unsigned i = 0; i < n; i++) {
        cm_probation_kill(&c->probation, &k[i]);
        failed |= (uint64_t)(kill(c, &k[i], &dead[i], &killed) != 0) << i;
        any |= dead[i];
    }
    if (any == 0)
        return failed ? CM_EIO : 0;
    /* All flushes now: a locked instruction between two of them would wait for the first. */
    for (unsigned i = 0; i < n; i++)
        failed |= (uint64_t)(flush_dead(c, &k[i], dead[i]) != 0) << i;
    cm_count(c, CM_STAT_forgotten, killed); /* while they are on their way */
    /* Fence 4: forgotten durably, and the lock is held over it: a second bracket on this stripe
     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);
    for (unsigned i = 0; i < n; i++)
        if (!(failed >> i & 1))
            clear_cells(c, &k[i], dead[i]);
    return failed ? CM_EIO : 0;
}

void cm_block_aim_forget(const struct cm_cache *c, uint64_t incarnation, uint64_t block)
{
    struct cm_key k = cm_key_of(&c->media, incarnation, block);
    cm_block_aim_both(c, &k);
    at_prefetch(cm_stripe_at(c, k.stripe));
}

int cm_block_forget(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end)
{
    int e = 0;
    while (first < end) {
        uint64_t group = first >> CM_GROUP_SHIFT;
        uint64_t stop = (group + 1) << CM_GROUP_SHIFT;
        if (stop > end)
            stop = end;
        struct cm_home home = cm_key_home(&c->media, incarnation, group);
        struct cm_stripe *s = cm_stripe_at(c, home.stripe);
        struct cm_key k[CM_GROUP_BLOCKS];
        unsigned n = (unsigned)(stop - first);
        assert(n <= CM_GROUP_BLOCKS);
        /* What memory has to bring is asked for side by side, and before the lock is taken. */
        for (unsigned i = 0; i < n; i++) {
            k[i] = cm_key_make(&c->media, incarnation, first + i, &home);
            cm_block_aim_both(c, &k[i]);
            if (cm_sample_has(c, incarnation, first + i))
                cm_sample_drop(c, &k[i]);
        }
        for (unsigned i = 0; i < n; i++)
            aim_header(c, &k[i]);
        cm_lock_acquire(&s->lock);
        cm_stripe_begin(s);
        int r = kill_range(c, k, n);
        cm_lock_release(&s->lock);
        if (r)
            e = r;
        first = stop;
    }
    return e;
}

void cm_block_release(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end)
{
    for (uint64_t g = first >> CM_GROUP_SHIFT; first < end && g <= (end - 1) >> CM_GROUP_SHIFT;
         g++) {
        struct cm_stripe *s = cm_stripe_at(c, cm_key_home(&c->media, incarnation, g).stripe);
        cm_lock_acquire(&s->lock);
        cm_stripe_end(s);
        cm_lock_release(&s->lock);
    }
}
