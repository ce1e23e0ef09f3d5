/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring.h - which slot goes next: the CLOCK hand, reference counts, probation, ownership, free
 * slots.
 */
#ifndef CM_RING_H
#define CM_RING_H

#include <stdbool.h>

#include "platform/lock.h"
#include "policy/share.h"

/* The reference byte of a slot. */
#define CM_REF_MAX 3u          /* bits 1..0: how often it was wanted again */
#define CM_REF_PROBATION 0x04u /* a first-time block: it stands in line, the hand passes it by */
#define CM_REF_KNOWN 0x08u     /* came without probation: the ghost need not remember it */
/* Both: the block was read ahead of need, so its first hit proves nothing. */
#define CM_REF_AHEAD (CM_REF_PROBATION | CM_REF_KNOWN)
#define CM_REF_GENERATION 0x30u /* tells the slot's present entry in the line from older ones */
#define CM_REF_VERIFIED 0x40u   /* the slot was judged since open */
#define CM_REF_EMPTY 0x80u      /* emptied, and not filled since; mostly hinted */

#define CM_RING_STEPS 64u    /* most steps of the hand in one search for a victim */
#define CM_RING_PASSES 1024u /* and it passes by so many runs of up to 64 kept slots */
#define CM_RING_POPS 4u      /* most entries that leave the line in one search */
#define CM_SHARE_STEPS 256u  /* a search in a share looks at so many of its slots */
#define CM_FREE_MAX 65536u   /* bound of the free stack */
#define CM_HINTS 192u
#define CM_EMPTY_PART 128u   /* with fewer empty slots than this part and CM_EMPTY_MIN, */
#define CM_EMPTY_MIN 16u     /* only hinted ones are found */
#define CM_EMPTY_STEPS 8192u /* a search for one looks at eight times as many slots at most */
#define CM_LINE_ENTRY 5u     /* bytes: slot << 2 | generation */

struct cm_ring {
    uint64_t slots; /* atomic; grows with the pool */
    /* A byte for each slot, above; changed by atomic read-modify-write only. */
    uint8_t *ref;
    uint64_t *owned; /* one bit for each slot; atomic read-modify-write only */
    /* The same; the search for a victim passes these slots by. NULL until there are any. */
    uint64_t *kept;
    uint64_t kept_count; /* atomic; bits that are set there */
    struct cm_shares shares;
    uint64_t hand; /* atomic; counts steps, not slots */
    /* Atomic; slots from here on were never used in this epoch, but for those that were taken
     * before it began (cm_ring_emptied). */
    uint64_t frontier;
    uint64_t used;      /* atomic; or slots below it were used in an epoch before, since the open */
    uint64_t end;       /* atomic; slots from here on are not used: see cm_ring_stop */
    uint64_t probation; /* atomic; at so many slots on probation, victims come from the line */
    uint32_t earn;      /* atomic; hits on probation, or in the buffer, that earn a place */
    /* Atomic; a block that has not earned a slot gets only one that is empty. */
    uint32_t remembered;
    uint64_t on_probation; /* atomic */
    uint64_t empties;      /* atomic; slots with CM_REF_EMPTY */
    uint64_t empty_at;     /* atomic; where the search for them goes on */
    struct cm_lock lock;   /* protects the stacks and the line below */
    uint32_t free_max, free_count, hint_count;
    uint64_t *free; /* owned, durably invalid slots, ready to be filled */
    uint64_t *hint; /* lately emptied slots, not owned; tried before the hand moves */
    /* Called before the hand looks at a slot; may be NULL. It loads what the last session kept of
     * the slot and its neighbours, if that is not loaded yet. */
    void (*reach)(void *ctx, uint64_t slot);
    void *reach_ctx;
    uint8_t *line; /* slots on probation in order of arrival, CM_LINE_ENTRY bytes each; a ring */
    uint64_t line_max, line_first, line_count;
};

/* The pool has `slots` slots from here on. The memory of the ring has room for them. */
void cm_ring_grow(struct cm_ring *r, uint64_t slots);
/* Size of the free stack. */
static inline uint32_t cm_ring_free_max(uint64_t slots)
{
    return slots / 32 < CM_FREE_MAX ? (uint32_t)(slots / 32) : CM_FREE_MAX;
}
/* Number of entries of its line. */
uint64_t cm_ring_line(uint64_t slots);

/* The count of a slot, or CM_REF_EMPTY. */
static inline uint8_t cm_ring_count(const struct cm_ring *r, uint64_t slot)
{
    return at_load_relaxed(&r->ref[slot]) & (CM_REF_EMPTY | CM_REF_MAX);
}
/* Is a hit worth noting? Asked first, so that a hot slot's byte is not written at all. */
static inline bool cm_ring_counts(const struct cm_ring *r, uint64_t slot)
{
    return cm_ring_count(r, slot) < CM_REF_MAX;
}
/* A hit. */
static inline void cm_ring_touch(struct cm_ring *r, uint64_t slot)
{
    uint8_t c = at_load_relaxed(&r->ref[slot]);
    /* One try only: a lost update costs nothing, but an old byte must not come back. */
    if ((c & CM_REF_AHEAD) == CM_REF_AHEAD)
        (void)at_cas_acq_rel(&r->ref[slot], &c, (uint8_t)(c & ~CM_REF_KNOWN));
    else if ((c & (CM_REF_EMPTY | CM_REF_MAX)) < CM_REF_MAX)
        (void)at_cas_acq_rel(&r->ref[slot], &c, (uint8_t)(c + 1));
}
/* Slots from here on were never used, whatever epochs have begun since the open. */
static inline uint64_t cm_ring_used(const struct cm_ring *r)
{
    /* Acquire: pairs with the swap in cm_ring_emptied(). Who finds the frontier back at its
     * beginning finds the other number raised. */
    const uint64_t frontier = at_load_acquire(&r->frontier), used = at_load_relaxed(&r->used);
    return frontier < used ? used : frontier;
}
/* How many slots were never used? */
static inline uint64_t cm_ring_unused(const struct cm_ring *r)
{
    const uint64_t frontier = at_load_relaxed(&r->frontier), end = at_load_relaxed(&r->end);
    return frontier < end ? end - frontier : 0;
}
/* Are so many slots empty that a search of their bytes finds one, mostly soon? */
static inline bool cm_ring_has_many_empties(const struct cm_ring *r)
{
    return at_load_relaxed(&r->empties) > /* relaxed: numbers by themselves */
           at_load_relaxed(&r->slots) / CM_EMPTY_PART + CM_EMPTY_MIN;
}
/* How many slots are known to be empty, without those of the free stack, and are mostly found
 * before a block has to leave? Those that were never used do not count. */
static inline uint64_t cm_ring_empties(const struct cm_ring *r)
{
    const uint64_t n = at_load_relaxed(&r->empties); /* relaxed, as all here: a hint */
    return cm_ring_has_many_empties(r) ? n : at_load_relaxed(&r->hint_count);
}
/* Gives a slot another count and state (MAX, KNOWN, EMPTY). Ends its probation. */
void cm_ring_set(struct cm_ring *r, uint64_t slot, uint8_t state);
/* Slots that were filled with first-time blocks begin their probation, if the rule has room for
 * them. `ahead`: bit i is set if the first hit of slot[i] does not count. */
void cm_ring_begin_probation(struct cm_ring *r, const uint64_t *slot, unsigned n, uint32_t ahead);

static inline bool cm_ring_is_verified(const struct cm_ring *r, uint64_t slot)
{
    return at_load_relaxed(&r->ref[slot]) & CM_REF_VERIFIED;
}
static inline void cm_ring_set_verified(struct cm_ring *r, uint64_t slot)
{
    if (!cm_ring_is_verified(r, slot))
        (void)at_or_acq_rel(&r->ref[slot], (uint8_t)CM_REF_VERIFIED); /* cm_cache_judged() */
}
static inline void cm_ring_clear_verified(struct cm_ring *r, uint64_t slot)
{
    if (cm_ring_is_verified(r, slot))
        (void)at_and_acq_rel(&r->ref[slot], (uint8_t)~CM_REF_VERIFIED);
}
/* A slot's byte; only for the two below. */
static inline uint8_t cm_ring_byte(const struct cm_ring *r, uint64_t slot)
{
    return at_load_relaxed(&r->ref[slot]);
}
static inline bool cm_ring_byte_is_verified(uint8_t ref)
{
    return ref & CM_REF_VERIFIED;
}
/* Is a hit of one of these slots worth noting? `all`: their bytes, joined by "and". */
static inline bool cm_ring_bytes_may_count(uint8_t all)
{
    return (all & CM_REF_MAX) != CM_REF_MAX;
}
static inline void cm_ring_prefetch(const struct cm_ring *r, uint64_t slot)
{
    at_prefetch(&r->ref[slot]);
}

/* Ownership: the right to overwrite a slot. No thread waits for it. */
static inline bool cm_ring_own(struct cm_ring *r, uint64_t slot)
{
    uint64_t bit = UINT64_C(1) << slot % 64;
    /* Acquire: pairs with cm_ring_disown; the last owner's stores come before ours. */
    return !(at_or_acq_rel(&r->owned[slot / 64], bit) & bit);
}
static inline bool cm_ring_is_owned(const struct cm_ring *r, uint64_t slot)
{
    return at_load_acquire(&r->owned[slot / 64]) >> slot % 64 & 1;
}
static inline void cm_ring_disown(struct cm_ring *r, uint64_t slot)
{
    assert(cm_ring_is_owned(r, slot));
    at_and_release(&r->owned[slot / 64], ~(UINT64_C(1) << slot % 64)); /* pairs with cm_ring_own */
}
/* The same for n slots. Neighbouring slots take one operation. */
void cm_ring_disown_all(struct cm_ring *r, const uint64_t *slot, unsigned n);

/* Kept slots: no victims, whatever their counts. Slots become so one by one, when the search for a
 * victim comes to them and the caller says so. */
static inline bool cm_ring_is_kept(const struct cm_ring *r, uint64_t slot)
{
    /* Acquire: pairs with the add in cm_ring_keep, after which `kept` does not change. */
    return at_load_acquire(&r->kept_count) > 0 &&
           (at_load_relaxed(&r->kept[slot / 64]) >> slot % 64 & 1);
}
/* Keeps an owned slot. False: `most` slots are kept already. One thread at a time. */
bool cm_ring_keep(struct cm_ring *r, uint64_t slot, uint64_t most);
/* The slot's block is gone. */
void cm_ring_kept_no_more(struct cm_ring *r, uint64_t slot);
static inline void cm_ring_unkeep(struct cm_ring *r, uint64_t slot)
{
    if (cm_ring_is_kept(r, slot))
        cm_ring_kept_no_more(r, slot);
}
/* The same: it is not kept, and no share counts it. */
static inline void cm_ring_vacated(struct cm_ring *r, uint64_t slot)
{
    cm_ring_unkeep(r, slot);
    cm_share_leave(&r->shares, slot);
}
/* No slot is kept. Not while cm_ring_keep() runs. */
void cm_ring_unkeep_all(struct cm_ring *r);

/* A slot that will be emptied and filled anew. */
struct cm_victim {
    uint64_t slot;
    bool remember; /* the ghost should remember what is in it */
    bool returned; /* the frontier came to it a second time: it may have been filled since */
};
/* Takes ownership of the next n victims. Returns fewer if all slots that it saw were owned. */
unsigned cm_ring_victims(struct cm_ring *r, struct cm_victim *v, unsigned n);
/* Takes ownership of the next victim among the slots of a share. CM_NO_SLOT: there is none within
 * reach; the next search goes on from there. */
uint64_t cm_ring_share_victim(struct cm_ring *r, struct cm_share *h, bool *remember);
/* The volume has no room for slots that were never used. From here on only the first `used` slots
 * are used, in turn, or fewer if it was stopped before. */
static inline void cm_ring_stop(struct cm_ring *r, uint64_t used)
{
    if (used > at_load_relaxed(&r->end))
        return;
    at_store_relaxed(&r->end, used); /* only bounds a search, needs no order */
    if (at_load_relaxed(&r->probation) > used / 2)
        at_store_relaxed(&r->probation, used / 2);
}
/* Sets how blocks earn a place. `probation`: a number of slots, at most half of all. */
static inline void cm_ring_rule(struct cm_ring *r, uint64_t probation, uint32_t earn,
                                bool remembered)
{
    uint64_t most = at_load_relaxed(&r->end) / 2; /* relaxed: each number is valid by itself */
    at_store_relaxed(&r->probation, probation < most ? probation : most);
    at_store_relaxed(&r->earn, earn);
    at_store_relaxed(&r->remembered, (uint32_t)remembered);
}
/* Is there no slot for blocks that have not earned one and are not remembered? */
static inline bool cm_ring_refuses(const struct cm_ring *r)
{
    return at_load_relaxed(&r->remembered) &&
           at_load_relaxed(&r->frontier) >= at_load_relaxed(&r->end) && cm_ring_empties(r) == 0;
}
/* Takes owned, ready slots from the free stack: n slots, or fewer if the stack has fewer. */
unsigned cm_ring_take_free(struct cm_ring *r, uint64_t *slot, unsigned n);
/* Gives owned, durably invalid slots to the free stack. When it is full, disowns and hints them. */
void cm_ring_give_free(struct cm_ring *r, const uint64_t *slot, unsigned n);
/* The pool has emptied itself, so each slot is as good as never used: the frontier goes back. Slots
 * that are owned are left to their owners, and the frontier passes them by; but not those of the
 * free stack. Any thread, also several, and beside everything else. */
void cm_ring_emptied(struct cm_ring *r);
/* Says that an unowned slot became empty, so that it is tried before the hand moves. The hint may
 * be lost. If the slot is filled meanwhile, the hint is ignored. */
void cm_ring_hint(struct cm_ring *r, uint64_t slot);

/* What a clean close keeps of a slot: four bits, the count and CM_REF_KNOWN. Two slots share a
 * byte. Probation ends with the session. */
#define CM_RING_KEPT (CM_REF_MAX | CM_REF_KNOWN)
void cm_ring_save(const struct cm_ring *r, uint64_t first, uint64_t n, uint8_t *to);
/* Merges what was kept with what is known by now: the higher count wins. Any bytes are valid. */
void cm_ring_load(struct cm_ring *r, uint64_t first, uint64_t n, const uint8_t *from);

#endif
