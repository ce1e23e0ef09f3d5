/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.c - the replacement policy: CLOCK with 2-bit counts over physical slot numbers.
 *
 * Owns: the hand, one reference byte a slot, the ownership bitmap, the bounded stack of free slots
 * and the bounded list of hints. All of it is DRAM, none of it survives, none of it decides what
 * is a hit. Corbato 1968 (CLOCK); counts as in "generalized CLOCK", Smith 1978.
 *
 * A victim is looked for among the hinted slots, then behind the frontier (slots never used),
 * then by the hand: at most CM_RING_STEPS steps, each lowering a count; a zero count wins at once,
 * else the lowest count seen. Where blocks wait in DRAM before they earn a slot (probation), the
 * victim search will not change: that buffer sits in front of cm_block_fill, in admit.c.
 *
 * Who: block.c, and cache.c to set it up.
 */
#include "ring.h"

#include "format.h"

uint64_t cm_ring_bytes(uint64_t slots)
{
    uint64_t words = (slots + 63) / 64;
    uint64_t free_max = slots / 32 < CM_FREE_MAX ? slots / 32 : CM_FREE_MAX;
    return slots + words * 8 + (free_max + CM_HINTS) * 8;
}

/* Owns the slot that `count` was seen in; false when it is somebody's by now. */
static uint64_t take(struct cm_ring *r, uint64_t slot)
{
    return slot != CM_NO_SLOT && cm_ring_own(r, slot) ? slot : CM_NO_SLOT;
}

static uint64_t pop_hint(struct cm_ring *r)
{
    if (at_load_relaxed(&r->hint_count) == 0) /* mostly empty: do not lock for nothing */
        return CM_NO_SLOT;
    cm_lock_acquire(&r->lock);
    uint64_t slot = CM_NO_SLOT;
    if (r->hint_count > 0) {
        at_store_relaxed(&r->hint_count, r->hint_count - 1);
        slot = r->hint[r->hint_count];
    }
    cm_lock_release(&r->lock);
    return slot;
}

static uint64_t next_unused(struct cm_ring *r)
{
    uint64_t f = at_load_relaxed(&r->frontier);
    while (f < at_load_relaxed(&r->end)) {
        /* acq_rel not needed for the data: ownership orders that; this hands out each once. */
        if (at_cas_acq_rel(&r->frontier, &f, f + 1))
            return f;
    }
    return CM_NO_SLOT;
}

static uint64_t by_hand(struct cm_ring *r)
{
    uint64_t best = CM_NO_SLOT, end = at_load_relaxed(&r->end);
    uint8_t best_count = CM_REF_MAX + 1;
    for (unsigned i = 0; i < CM_RING_STEPS && end > 0; i++) {
        uint64_t slot = at_add_relaxed(&r->hand, 1) % end; /* relaxed: only a place to look */
        if (cm_ring_is_owned(r, slot))
            continue;
        uint8_t ref = at_load_relaxed(&r->ref[slot]);
        uint8_t count = ref & CM_REF_MAX; /* empty counts as zero */
        if (count == 0 && cm_ring_own(r, slot))
            return slot;
        if (count < best_count) {
            best = slot;
            best_count = count;
        }
        if (count > 0)
            at_store_relaxed(&r->ref[slot], (uint8_t)(ref - 1));
    }
    return take(r, best);
}

uint64_t cm_ring_victim(struct cm_ring *r)
{
    uint64_t slot;
    while ((slot = pop_hint(r)) != CM_NO_SLOT) /* bounded: at most CM_HINTS are in it */
        if (cm_ring_count(r, slot) == CM_REF_EMPTY && take(r, slot) != CM_NO_SLOT)
            return slot;
    slot = take(r, next_unused(r));
    return slot != CM_NO_SLOT ? slot : by_hand(r);
}

uint64_t cm_ring_take_free(struct cm_ring *r)
{
    cm_lock_acquire(&r->lock);
    uint64_t slot = r->free_count ? r->free[--r->free_count] : CM_NO_SLOT;
    cm_lock_release(&r->lock);
    assert(slot == CM_NO_SLOT || cm_ring_is_owned(r, slot));
    return slot;
}

void cm_ring_give_free(struct cm_ring *r, uint64_t slot)
{
    assert(cm_ring_is_owned(r, slot));
    cm_ring_set(r, slot, 0);
    cm_lock_acquire(&r->lock);
    bool kept = r->free_count < r->free_max;
    if (kept)
        r->free[r->free_count++] = slot;
    cm_lock_release(&r->lock);
    if (!kept) {
        cm_ring_disown(r, slot);
        cm_ring_hint(r, slot);
    }
}

void cm_ring_hint(struct cm_ring *r, uint64_t slot)
{
    cm_ring_set(r, slot, CM_REF_EMPTY);
    cm_lock_acquire(&r->lock);
    if (r->hint_count < CM_HINTS) {
        r->hint[r->hint_count] = slot;
        at_store_relaxed(&r->hint_count, r->hint_count + 1);
    }
    cm_lock_release(&r->lock);
}
