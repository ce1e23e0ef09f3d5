/* SPDX-License-Identifier: BSD-2-Clause
 *
 * share.c - slots that are counted together and may be so many at most.
 *
 * Owns: for each share a bit for each slot, and the number of bits that are set. The bit stands for
 * the block in the slot, so it is the truth of the count: who sets or clears it changes the count
 * by one. Who fills a slot sets it before the block can be found. Who empties a slot clears it
 * before the slot can be filled again. A bit that is wrong all the same (a bracket makes a block
 * invalid while a survey looks at it) is right again when its slot is used next.
 *
 * Who: api/, protocol/, state/, policy/.
 */
#include "policy/share.h"

#include <assert.h>

uint32_t cm_share_begin(struct cm_shares *s, uint64_t *slots)
{
    const uint32_t n = at_load_relaxed(&s->count);
    assert(n < CM_SHARES);
    s->share[n] = (struct cm_share){ .slots = slots, .most = CM_SHARE_ALL };
    at_store_release(&s->count, n + 1); /* pairs with the acquire in cm_share_any() */
    return n + 1;
}

static void set(struct cm_share *h, uint64_t slot)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    /* The slot is owned, or its stripe is locked: that orders it. It was counted before. */
    if (at_or_relaxed(&h->slots[slot / 64], bit) & bit)
        (void)at_add_relaxed(&h->used, UINT64_MAX); /* relaxed: a number only */
}

bool cm_share_take(struct cm_share *h, uint64_t slot)
{
    uint64_t used = at_load_relaxed(&h->used);
    do
        if (used >= at_load_relaxed(&h->most))
            return false;
    while (!at_cas_acq_rel(&h->used, &used, used + 1)); /* first: threads share what is left */
    set(h, slot);
    return true;
}

static void leave(struct cm_share *h, uint64_t slot)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    /* Release: as for the owner of a slot, what it did comes before another may fill the slot. */
    if (cm_share_has(h, slot) && (at_and_release(&h->slots[slot / 64], ~bit) & bit))
        (void)at_add_relaxed(&h->used, UINT64_MAX);
}

void cm_share_found(struct cm_shares *s, struct cm_share *h, uint64_t slot)
{
    for (uint32_t i = 0; i < at_load_relaxed(&s->count); i++)
        if (&s->share[i] != h)
            leave(&s->share[i], slot);
    if (!h || cm_share_has(h, slot))
        return;
    (void)at_add_relaxed(&h->used, 1);
    set(h, slot);
}

void cm_share_left(struct cm_shares *s, uint64_t slot)
{
    for (uint32_t i = 0; i < at_load_relaxed(&s->count); i++)
        leave(&s->share[i], slot);
}

uint32_t cm_share_over(const struct cm_shares *s)
{
    const uint32_t n = at_load_acquire(&s->count); /* as in cm_share_any() */
    for (uint32_t i = 0; i < n; i++)
        if (cm_share_excess(&s->share[i]) > 0)
            return i + 1;
    return 0;
}
