/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ended.c - incarnations that ended in this session, and the search for the slots that their blocks
 * still take.
 *
 * Owns: the table of ended incarnations, and where the search is.
 *
 * How: nothing leads to a block whose incarnation has ended. But its slot is not empty, and its
 * count says how useful the block was. So who needs a slot asks here before it asks the policy.
 *
 * The search goes over all slots once, in their order, a few with each question. It reads their
 * headers and looks up the incarnations in the table. It begins when incarnations have ended that
 * may have had 1/CM_ENDED_PART of the slots. With fewer it would cost more than it gains.
 *
 * A share that has as many slots as it may have is full, also where others were never used. So it
 * has a search of its own, over its slots. It begins with each end: a share may be small. And it
 * finds blocks of an epoch that has ended: they count for the share until their slots are used.
 *
 * The table has hashes of numbers: it is small, because each slot may cost 12 bytes of DRAM. It has
 * sets of CM_ENDED_WAYS, a cache line each. If its set is full, a new one takes the place of
 * another one. So old incarnations are forgotten, and so are all at close. Their blocks are evicted
 * as others are. If a hash is that of an incarnation which goes on, blocks of use are evicted.
 *
 * Locks: none. One thread searches at a time; in a share several may, and then look at some slots
 * twice, or not at all.
 * Who: protocol/, state/.
 */
#include "state/ended.h"

#include "media/slot.h"

#define CM_ENDED_PART 256u

/* The hash of an incarnation as a header has it. Never 0. */
static uint32_t hash_of(uint64_t incarnation)
{
    const uint64_t number = cm_incarnation_number(incarnation);
    const uint32_t hash = (uint32_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    return hash + (hash == 0);
}

/* Where the set of a hash begins. */
static uint32_t set_of(uint32_t hash)
{
    return hash % (CM_ENDED / CM_ENDED_WAYS) * CM_ENDED_WAYS;
}

bool cm_ended_remembers(const struct cm_cache *c, uint64_t incarnation)
{
    const uint32_t hash = hash_of(incarnation);
    const uint32_t *set = &c->ended.hash[set_of(hash)];
    bool has = false;
    for (unsigned i = 0; i < CM_ENDED_WAYS; i++)
        has |= at_load_relaxed(&set[i]) == hash; /* relaxed: a number, and nothing with it */
    return has;
}

/* Relaxed: if two threads take one place, one hash is forgotten. */
static void enter(struct cm_ended *e, uint32_t hash)
{
    uint32_t *set = &e->hash[set_of(hash)];
    uint64_t way = at_add_relaxed(&e->noted, 1) % CM_ENDED_WAYS;
    for (unsigned i = 0; i < CM_ENDED_WAYS; i++)
        if (at_load_relaxed(&set[i]) == 0)
            way = i;
    at_store_relaxed(&set[way], hash);
}

void cm_ended_note(struct cm_cache *c, uint64_t incarnation, uint64_t bytes)
{
    struct cm_ended *e = &c->ended;
    const uint64_t slots = cm_media_slots(&c->media);
    if (incarnation == 0 || bytes == 0)
        return;
    enter(e, hash_of(incarnation));
    uint64_t blocks = bytes == CM_SIZE_UNKNOWN ? slots : cm_blocks_of(bytes);
    blocks = blocks < slots ? blocks : slots;
    if (at_add_relaxed(&e->blocks, blocks) + blocks < slots / CM_ENDED_PART)
        return; /* relaxed: the sum only says when */
    at_store_relaxed(&e->blocks, 0);
    /* Release: pairs with the swap in cm_ended_find(), so that the search sees the number. */
    at_store_release(&e->again, 1u);
}

/* Has it a block of an incarnation that has ended? */
static bool holds_ended(const struct cm_cache *c, uint64_t slot)
{
    struct cm_header h;
    return cm_slot_load_header(&c->media, slot, &h) == 0 && (h.w0 & CM_W0_VALID) &&
           cm_ended_has(c, h.incarnation);
}

unsigned cm_ended_find(struct cm_cache *c, uint64_t *slot, unsigned n)
{
    struct cm_ended *e = &c->ended;
    const uint64_t end = at_load_relaxed(&c->policy.ring.frontier); /* relaxed: a hint */
    unsigned found = 0;
    /* Acquire: pairs with the release below. What follows belongs to one thread at a time. */
    if (!cm_ended_is_due(c) || at_swap_acq_rel(&e->busy, 1u))
        return 0;
    /* Acquire: pairs with the release in cm_ended_note(). */
    uint64_t left = at_swap_acq_rel(&e->again, 0u) ? end : at_load_relaxed(&e->left);
    for (unsigned steps = n * CM_ENDED_STEPS; steps > 0 && left > 0 && found < n; steps--, left--) {
        e->slot = e->slot < end ? e->slot : 0;
        if (holds_ended(c, e->slot))
            slot[found++] = e->slot;
        e->slot++;
    }
    at_store_relaxed(&e->left, left); /* relaxed: others only ask whether it is 0 */
    at_store_release(&e->busy, 0u);
    return found;
}

/* For a share an epoch counts, too. So this is also true if the slot has a block of an epoch that
 * has ended, or none: it is being filled, or was just emptied. */
static bool holds_nothing(const struct cm_cache *c, uint64_t slot)
{
    struct cm_header h;
    const enum cm_slot_verdict v = cm_slot_header(&c->media, slot, &h);
    return v == CM_SLOT_OTHER || (v == CM_SLOT_HIT && cm_ended_has(c, h.incarnation));
}

/* All is relaxed: it only says where to look. */
unsigned cm_ended_find_share(struct cm_cache *c, struct cm_share *h, uint64_t *slot, unsigned n)
{
    const uint64_t noted = at_load_relaxed(&c->ended.noted);
    const bool again = at_load_relaxed(&h->ended_noted) != noted;
    uint64_t left = at_load_relaxed(again ? &h->used : &h->ended_left);
    uint64_t at = at_load_relaxed(&h->ended_at);
    unsigned found = 0, steps = n * CM_ENDED_SHARE_STEPS;
    if (again)
        at_store_relaxed(&h->ended_noted, noted);
    for (; left > 0 && steps > 0 && found < n; steps--, left--) {
        uint64_t s = cm_share_next(h, at);
        if (s == CM_NO_SLOT)
            s = cm_share_next(h, 0); /* around */
        if (s == CM_NO_SLOT)
            break; /* they have gone meanwhile */
        at = s + 1;
        if (holds_nothing(c, s))
            slot[found++] = s;
    }
    at_store_relaxed(&h->ended_left, left);
    at_store_relaxed(&h->ended_at, at);
    return found;
}
