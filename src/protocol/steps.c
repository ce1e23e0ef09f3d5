/* SPDX-License-Identifier: BSD-2-Clause
 *
 * steps.c - steps of the protocol that several of its parts use.
 *
 * Owns: no data. It has three kinds of steps: how a block ends (its header is made invalid,
 * durably; then its cells go; then its slot is free, unless it is pinned); what happens to a slot
 * whose media fails; and where a block is found.
 *
 * The protocol is in lookup.c, evict.c, publish.c and forget.c. Its rule: a block is cached iff a
 * cell of one of its buckets carries its tag and names slot s, header s is valid and of the cell's
 * boot, and header s names exactly this (incarnation, block). Its invariant: no valid header loses
 * its last cell before its invalidity is durable.
 *
 * Who may write what: cells are written under the stripe lock of their bucket. w0 changes from
 * valid to invalid by compare-and-swap, under the stripe lock of the header's key. Only the owner
 * of a slot writes everything else of it. A thread holds at most one stripe lock. The models in
 * tests/spin check all this exhaustively.
 *
 * Who: api/, protocol/.
 */
#include "protocol/steps.h"

/* ---- Trouble --------------------------------------------------------------------------------- */

static void note_trouble(struct cm_cache *c, enum cm_trouble_kind kind, const void *where,
                         uint64_t slot, const struct cm_key *k)
{
    struct cm_trouble_place at = { (uint64_t)((const uint8_t *)where - c->media.base), slot, 0, 0 };
    if (k) {
        at.incarnation = cm_incarnation_number(k->incarnation);
        at.block = k->block;
    }
    assert(at.offset < at_load_relaxed(&c->media.geo.pool_size));
    cm_trouble_note(&c->trouble[kind], &at);
    cm_suspect(c); /* so that the next call that holds no lock tells it */
}

void cm_step_trouble(struct cm_cache *c, enum cm_trouble_kind kind, uint64_t slot,
                     const struct cm_key *k)
{
    note_trouble(c, kind, cm_slot_payload(&c->media, slot), slot, k);
}

void cm_step_index_trouble(struct cm_cache *c, const struct cm_key *k, unsigned which)
{
    assert(which < 2);
    note_trouble(c, CM_TROUBLE_MEDIA, cm_index_bucket(&c->media, k->place.bucket[which]),
                 CM_NO_SLOT, k);
}

/* The volume is full. Slots that a killed session has left empty have no room either, and mostly
 * all that were used come before them. Relaxed: who takes one now finds that out by itself. */
static void stop_at_used(struct cm_cache *c)
{
    const uint64_t used = cm_ring_used(&c->policy.ring);
    const uint64_t hole = at_load_relaxed(&c->hole);
    const bool holes_last = hole < c->holes_end && c->holes_end == used;
    cm_ring_stop(&c->policy.ring, holes_last ? hole : used);
    at_store_relaxed(&c->hole, c->holes_end);
}

void cm_step_quarantine_owned(struct cm_cache *c, uint64_t slot)
{
    assert(cm_ring_is_owned(&c->policy.ring, slot));
    cm_count(c, CM_STAT_quarantined, 1);
    cm_ring_vacated(&c->policy.ring, slot);
    cm_ring_set(&c->policy.ring, slot, 0); /* it is no empty slot that somebody could use */
    /* A sparse pool on a full volume cannot grow any more. */
    if (cm_slot_has_no_room(&c->media, slot)) {
        uint32_t no = CM_SAY_NOTHING;
        stop_at_used(c);
        (void)at_cas_acq_rel(&c->full, &no, CM_SAY_DUE);
        cm_suspect(c); /* so that the log tells it */
        return;
    }
    cm_step_trouble(c, CM_TROUBLE_QUARANTINE, slot, NULL);
    /* With so many errors it is not one page of the media, but a lost file or a failing volume:
     * stop filling, but go on serving what can be read. api/trouble.c reports it. */
    if (at_add_relaxed(&c->media_errors, 1) == cm_media_slots(&c->media) / 8 + 8)
        at_store_seq_cst(&c->failing, CM_SAY_DUE);
}

/* ---- Cells ----------------------------------------------------------------------------------- */

int cm_step_cells(struct cm_cache *c, const struct cm_key *k, struct cm_cells *cells)
{
    int e0 = cm_index_load(&c->media, k, 0, cells);
    int e1 = cm_index_load(&c->media, k, 1, cells);
    if (e0 | e1)
        cm_suspect(c);
    return e0 ? e0 : e1;
}

/* Loads the cell of the lowest bit in `left`, of those that cm_index_find() has found. It has
 * loaded the first one. false: unreadable. */
static inline bool load_found(const struct cm_media *m, uint64_t bucket, unsigned found,
                              unsigned left, uint64_t *cell)
{
    return left == found ||
           cm_guard_load64(cm_index_bucket(m, bucket) + at_lowest_bit(left), cell) == 0;
}

/* Clears the cells of one of the key's buckets that lead to slot. Returns whether there were any. A
 * bucket that cannot be read has none: a cell that stays is harmless. */
static __attribute__((noinline)) bool drop_from(struct cm_cache *c, const struct cm_key *k,
                                                unsigned which, uint64_t slot)
{
    const uint64_t bucket = k->place.bucket[which];
    uint64_t cell;
    bool dropped = false;
    const int e = cm_index_find(&c->media, bucket, k->place.tag, &cell);
    const unsigned found = e > 0 ? (unsigned)e : 0;
    for (unsigned left = found; left; left &= left - 1) {
        if (load_found(&c->media, bucket, found, left, &cell) &&
            cm_index_match(&c->media, k, cell) && cm_cell_slot(cell) == slot) {
            (void)cm_index_store_bucket(&c->media, bucket, at_lowest_bit(left), 0);
            dropped = true;
        }
    }
    return dropped;
}

void cm_step_drop_cells(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    assert(cm_lock_is_held(&cm_stripe_at(c, k->stripe)->lock));
    /* Nearly always it is one cell of the first bucket, and then the second one is not read. */
    uint64_t *const first = cm_index_bucket(&c->media, k->place.bucket[0]);
    uint64_t cell = 0;
    const int found = cm_index_find_in(first, k->place.tag, &cell);
    if (found > 0 && (found & (found - 1)) == 0 && cm_cell_slot(cell) == slot)
        (void)cm_media_store64(&c->media, first + at_lowest_bit((unsigned)found), 0);
    else if (!drop_from(c, k, 0, slot))
        (void)drop_from(c, k, 1, slot);
}

/* ---- Freeing --------------------------------------------------------------------------------- */

bool cm_step_settle_pins(struct cm_cache *c, uint64_t slot)
{
    assert(cm_ring_is_owned(&c->policy.ring, slot));
    /* Orders our store to w0 before our load of the pins; the store fence of the flush does not
     * order them. Pairs with the seq_cst increment in cm_pin_add: the pinning thread loads w0 after
     * it. */
    at_fence_seq_cst();
    return !cm_pin_doom(&c->pins[slot]);
}

static void free_owned(struct cm_cache *c, uint64_t slot)
{
    if (cm_step_settle_pins(c, slot))
        cm_ring_give_free(&c->policy.ring, &slot, 1);
}

int cm_step_invalidate(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0)
{
    struct cm_stripe *s = cm_stripe_at(c, k->stripe);
    cm_lock_acquire(&s->lock);
    int r = cm_slot_invalidate(&c->media, slot, w0);
    if (r == 1) {
        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
        cm_media_fence(&c->media); /* durable before the cells go (the invariant) */
    }
    if (r == 1)
        cm_step_drop_cells(c, k, slot);
    cm_lock_release(&s->lock);
    return r;
}

void cm_step_quarantine(struct cm_cache *c, uint64_t slot, const struct cm_key *k)
{
    struct cm_header h;
    if (c->shared || !cm_ring_own(&c->policy.ring, slot))
        return; /* its owner will find out by itself */
    if (k && cm_slot_header(&c->media, slot, &h) == CM_SLOT_HIT && cm_slot_is(&h, k))
        (void)cm_step_invalidate(c, slot, k, h.w0); /* else every read would fault on it again */
    cm_step_quarantine_owned(c, slot);
}

void cm_step_drop(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0)
{
    if (c->shared || !cm_ring_own(&c->policy.ring, slot))
        return; /* a reader of another process's pool writes nothing */
    int r = cm_step_invalidate(c, slot, k, w0);
    if (r == 1)
        free_owned(c, slot);
    else if (r == 0)
        cm_ring_disown(&c->policy.ring, slot);
    else
        cm_step_quarantine_owned(c, slot);
}

/* ---- Finding --------------------------------------------------------------------------------- */

/* As cm_step_find(), in one of the key's buckets. */
static inline enum cm_found find_in(struct cm_cache *c, const struct cm_key *k, unsigned which,
                                    uint64_t *slot, struct cm_header *h)
{
    const uint64_t bucket = k->place.bucket[which];
    uint64_t cell = 0;
    const int e = cm_index_find(&c->media, bucket, k->place.tag, &cell);
    const unsigned found = e > 0 ? (unsigned)e : 0;
    enum cm_found worst = CM_FOUND_ABSENT;
    bool readable = e >= 0;
    for (unsigned left = found; left && readable; left &= left - 1) {
        readable = load_found(&c->media, bucket, found, left, &cell);
        if (!readable || !cm_index_match(&c->media, k, cell))
            continue;
        *slot = cm_cell_slot(cell);
        const enum cm_slot_verdict v = cm_slot_header(&c->media, *slot, h);
        if (v == CM_SLOT_HIT && cm_slot_leads(cell, h, k))
            return CM_FOUND_HIT;
        if (v == CM_SLOT_UNREADABLE) {
            cm_step_trouble(c, CM_TROUBLE_MEDIA, *slot, k);
            cm_step_quarantine(c, *slot, NULL);
            worst = CM_FOUND_MEDIA;
        }
    }
    if (readable)
        return worst;
    cm_step_index_trouble(c, k, which);
    return CM_FOUND_MEDIA;
}

enum cm_found cm_step_find(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                           struct cm_header *h)
{
    const enum cm_found first = find_in(c, k, 0, slot, h);
    if (first == CM_FOUND_HIT)
        return first;
    const enum cm_found second = find_in(c, k, 1, slot, h);
    return second == CM_FOUND_ABSENT ? first : second;
}

uint32_t cm_step_buffered(struct cm_cache *c, const struct cm_key *k)
{
    uint64_t version;
    uint32_t e = cm_probation_find(&c->probation, k, &version);
    return e == CM_NO_ENTRY ? 0 : cm_probation_valid(&c->probation, e);
}
