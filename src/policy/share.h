/* SPDX-License-Identifier: BSD-2-Clause
 *
 * share.h - slots that are counted together and may be so many at most (quotas).
 */
#ifndef CM_SHARE_H
#define CM_SHARE_H

#include <stdbool.h>

#include "cachemax.h"
#include "platform/atomic.h"

#define CM_NO_SLOT UINT64_MAX
#define CM_SHARES CM_GROUPS_MAX /* at most; number 0 stands for "none", 1 for the first */
#define CM_SHARE_ALL UINT64_MAX /* as many slots as there are */
#define CM_SHARE_LEVELS 6u      /* enough for 64 to the 6th slots */

/* level[0] has a bit for each slot. Each other level has a bit for each word of the level before
 * it: the word may be other than zero. The words lie behind this. */
struct cm_share_bits {
    uint64_t *level[CM_SHARE_LEVELS]; /* atomic read-modify-write only */
    unsigned levels;
};
struct cm_share {
    struct cm_share_bits *bits;
    uint64_t used; /* atomic; bits that are set for slots */
    uint64_t most; /* atomic; slots, or CM_SHARE_ALL */
    uint64_t hand; /* atomic; the slot where the next search begins */
    /* Atomic; the search for blocks of ended incarnations (ended.c): how many ends it knows of, how
     * many slots of the share it has to look at, and where it goes on. */
    uint64_t ended_noted, ended_left, ended_at;
};
struct cm_shares {
    uint32_t count; /* atomic; shares in use. Those do not go before the ring does */
    struct cm_share share[CM_SHARES];
};

static inline bool cm_share_any(const struct cm_shares *s)
{
    /* Acquire: pairs with the store in cm_share_begin(), after which `bits` does not change. */
    return at_load_acquire(&s->count) > 0;
}
static inline bool cm_share_has(const struct cm_share *h, uint64_t slot)
{
    return at_load_relaxed(&h->bits->level[0][slot / 64]) >> slot % 64 & 1;
}
/* Does any share count the slot? */
static inline bool cm_share_counts(const struct cm_shares *s, uint64_t slot)
{
    for (uint32_t i = 0; i < at_load_relaxed(&s->count);
         i++) /* relaxed: cm_share_any() was asked */
        if (cm_share_has(&s->share[i], slot))
            return true;
    return false;
}
/* Size of the bits of a share of so many slots. */
size_t cm_share_bytes(uint64_t slots);
/* Adds a share of a ring that will have `slots` slots at most. `bits`: cm_share_bytes(), all zero;
 * the caller frees them. One thread at a time. Returns its number. */
uint32_t cm_share_begin(struct cm_shares *s, struct cm_share_bits *bits, uint64_t slots);

/* Counts an owned slot for a share. False: the share has as many slots as it may have. */
bool cm_share_take(struct cm_share *h, uint64_t slot);
/* The same, whatever the share may have, for a block that is there already. No other share has the
 * slot then. NULL: none has it. */
void cm_share_found(struct cm_shares *s, struct cm_share *h, uint64_t slot);
/* The slot's block is gone, or goes: no share has the slot. */
void cm_share_left(struct cm_shares *s, uint64_t slot);
static inline void cm_share_leave(struct cm_shares *s, uint64_t slot)
{
    if (cm_share_any(s))
        cm_share_left(s, slot);
}

/* The first slot of the share from `slot` on, which may be the number of slots. CM_NO_SLOT: there
 * is none. It takes a few steps for each level. A slot that comes or goes just now may be missed.
 */
uint64_t cm_share_next(const struct cm_share *h, uint64_t slot);

/* How many slots more the share may have. */
static inline uint64_t cm_share_room(const struct cm_share *h)
{
    /* Relaxed: cm_share_take() decides. */
    const uint64_t most = at_load_relaxed(&h->most), used = at_load_relaxed(&h->used);
    return used < most ? most - used : 0;
}
/* How many it has too much. */
static inline uint64_t cm_share_excess(const struct cm_share *h)
{
    /* Relaxed: a hint, as above. */
    const uint64_t most = at_load_relaxed(&h->most), used = at_load_relaxed(&h->used);
    return used > most ? used - most : 0;
}
/* The number of the first share behind number `after` that has more slots than it may have, or 0.
 */
uint32_t cm_share_over(const struct cm_shares *s, uint32_t after);

#endif
