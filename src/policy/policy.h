/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy.h - which blocks stay: the interface between the protocol and the policy.
 *
 * The protocol tells the policy what happens to blocks and asks it what to do. The protocol never
 * looks at counts or ghosts itself. A policy is a row of the table in policy.c: its name and its
 * rule. The rule is a set of named numbers, and the hooks below decide by them. The simulations
 * (simulation.h) use the same rules, and tests/policy calls the hooks as the protocol does.
 *
 * A ring also knows which slots are owned, free or never used. That is not part of the policy: the
 * protocol asks ring.h for it.
 */
#ifndef CM_POLICY_H
#define CM_POLICY_H

#include "policy/ghost.h"
#include "policy/ring.h"
#include "policy/rule.h"

/* A policy that cm_options.policy names. */
struct cm_policy_kind {
    const char *name;
    bool automatic;         /* simulations choose the rule (rule_choice.h); `rule` is not used */
    bool buffer;            /* first-time blocks may wait in the probation buffer */
    struct cm_rule rule[2]; /* [0] without such a buffer, [1] with one */
};

/* NULL: no policy has this number (enum cm_policy). */
const struct cm_policy_kind *cm_policy_kind_of(uint32_t number);

/* The policy of an open pool. Every hook may be called by any thread at any time. */
struct cm_policy_state {
    struct cm_ring ring;   /* the slots */
    struct cm_ghost ghost; /* blocks that left lately */
};

/* Sets how blocks earn a place from here on. A block that has a place keeps it. */
void cm_policy_set_rule(struct cm_policy_state *p, const struct cm_rule *rule);

/* ---- Hit ------------------------------------------------------------------------------------- */

/* Does a hit on the block of this slot change anything? Every hit asks this, so it is one load. */
static inline bool cm_policy_notes_hit(const struct cm_policy_state *p, uint64_t slot)
{
    return cm_ring_counts(&p->ring, slot);
}
static inline void cm_policy_hit(struct cm_policy_state *p, uint64_t slot)
{
    cm_ring_touch(&p->ring, slot);
}

/* ---- Fill ------------------------------------------------------------------------------------ */

/* What a new block is to the policy. */
enum cm_start {
    CM_START_ASK,    /* a member if the ghost remembers it, else on probation */
    CM_START_AHEAD,  /* the same; it was read ahead of need, so its first reader proves nothing */
    CM_START_MEMBER, /* it has earned its place */
    CM_START_KNOWN,  /* the same, and the ghost need not remember it */
    CM_START_WARM,   /* the same, and the ghost forgets it: the program asked for it (cm_warm) */
    CM_START_WANTED, /* it has earned its place, and is as hard to evict as any (CM_ADVISE_KEEP) */
    CM_START_NOT     /* it gets no slot */
};

/* The pool has a probation buffer. May the block with this hash wait there? That is a first fill.
 * False: it is a refill, because the block left the pool lately. The ghost forgets the block with
 * this call. */
static inline bool cm_policy_is_first_fill(struct cm_policy_state *p, uint64_t hash)
{
    return !cm_ghost_take(&p->ghost, hash);
}
/* The pool has no probation buffer. Does the rule deny a slot to a block that comes by a miss? On
 * true the caller calls cm_policy_remember(), so that the block may come in the next time. */
static inline bool cm_policy_refuses(const struct cm_policy_state *p, uint64_t hash)
{
    return cm_ring_refuses(&p->ring) && !cm_ghost_has(&p->ghost, hash);
}
static inline void cm_policy_remember(struct cm_policy_state *p, uint64_t hash)
{
    cm_ghost_add(&p->ghost, hash);
}
/* A block leaves the probation buffer after `count` hits there. `unread`: it was read ahead of
 * need, and even its first reader has not come. */
enum cm_start cm_policy_leaves_buffer(struct cm_policy_state *p, unsigned count, bool unread);
/* The same of a block that has not earned a place, if another block has to leave for it whatever
 * slots were never used: its group has all its quota. */
static inline enum cm_start cm_policy_leaves_full(const struct cm_policy_state *p, bool unread)
{
    if (at_load_relaxed(&p->ring.remembered)) /* relaxed: as in cm_ring_refuses() */
        return CM_START_NOT;
    return unread ? CM_START_AHEAD : CM_START_ASK;
}

/* Blocks that were stored together. One call takes one lock and begins the probation of those that
 * need it. */
#define CM_POLICY_BATCH 16u
struct cm_policy_batch {
    uint64_t first_time[CM_POLICY_BATCH];
    uint32_t ahead; /* bit i belongs to first_time[i] */
    unsigned n;
};
/* A block was stored in a slot, by a first fill or a refill. A batch has at most CM_POLICY_BATCH
 * blocks. `n` and `ahead` of b are zero before its first block. */
static inline void cm_policy_stored(struct cm_policy_state *p, struct cm_policy_batch *b,
                                    uint64_t slot, uint64_t hash, enum cm_start start)
{
    assert(start != CM_START_NOT && b->n < CM_POLICY_BATCH);
    if (start == CM_START_MEMBER)
        cm_ring_set(&p->ring, slot, 0);
    else if (start == CM_START_WANTED)
        cm_ring_set(&p->ring, slot, CM_REF_KNOWN | CM_REF_MAX);
    else if (start == CM_START_KNOWN || cm_ghost_take(&p->ghost, hash) || start == CM_START_WARM)
        cm_ring_set(&p->ring, slot, CM_REF_KNOWN);
    else {
        b->ahead |= (uint32_t)(start == CM_START_AHEAD) << b->n;
        b->first_time[b->n++] = slot;
    }
}
/* The batch is complete. */
static inline void cm_policy_stored_all(struct cm_policy_state *p, const struct cm_policy_batch *b)
{
    cm_ring_begin_probation(&p->ring, b->first_time, b->n, b->ahead);
}
/* Prefetches what cm_policy_stored() will look at. */
static inline void cm_policy_prefetch_stored(const struct cm_policy_state *p, uint64_t hash,
                                             enum cm_start start)
{
    if (start == CM_START_ASK || start == CM_START_AHEAD || start == CM_START_WARM)
        cm_ghost_prefetch(&p->ghost, hash);
}

/* ---- Victim ---------------------------------------------------------------------------------- */

/* Takes ownership of up to n slots that will be emptied and filled anew. */
static inline unsigned cm_policy_victims(struct cm_policy_state *p, struct cm_victim *v, unsigned n)
{
    return cm_ring_victims(&p->ring, v, n);
}
/* The same of one share. Fewer than n if there are none within reach. */
static inline unsigned cm_policy_share_victims(struct cm_policy_state *p, uint32_t share,
                                               struct cm_victim *v, unsigned n)
{
    unsigned got = 0;
    while (got < n &&
           (v[got].slot = cm_ring_share_victim(&p->ring, &p->ring.shares.share[share - 1],
                                               &v[got].remember)) != CM_NO_SLOT)
        v[got++].returned = false;
    return got;
}
/* The victim's block is gone. */
static inline void cm_policy_evicted(struct cm_policy_state *p, bool remember, uint64_t hash)
{
    if (remember)
        cm_ghost_add(&p->ghost, hash);
}
static inline void cm_policy_prefetch_evicted(const struct cm_policy_state *p, bool remember,
                                              uint64_t hash)
{
    if (remember)
        cm_ghost_prefetch(&p->ghost, hash);
}
/* How much a block is worth. When one of a few blocks must go, the least worth goes. */
#define CM_POLICY_WORTH_END (CM_REF_MAX + 1u) /* a block with this worth or more stays */
static inline unsigned cm_policy_worth(const struct cm_policy_state *p, uint64_t slot)
{
    return cm_ring_is_kept(&p->ring, slot) ? CM_POLICY_WORTH_END : cm_ring_count(&p->ring, slot);
}

/* ---- Forget ---------------------------------------------------------------------------------- */

/* The slot's block is about to be forgotten. Then the slot is tried before others. No share counts
 * it: once it is forgotten, another thread may have filled the slot. */
static inline void cm_policy_forget(struct cm_policy_state *p, uint64_t slot)
{
    cm_ring_hint(&p->ring, slot);
    cm_share_leave(&p->ring.shares, slot);
}
/* It is forgotten. */
static inline void cm_policy_forgotten(struct cm_policy_state *p, uint64_t slot)
{
    /* The thread that keeps a slot looks at its header again after that: one of the two sees what
     * the other did (keep.c). */
    at_fence_seq_cst();
    cm_ring_unkeep(&p->ring, slot);
}
static inline void cm_policy_prefetch_forget(const struct cm_policy_state *p, uint64_t slot)
{
    cm_ring_prefetch(&p->ring, slot);
}

/* ---- Save, load ------------------------------------------------------------------------------ */

/* What a clean close keeps: slots [first, first+n), two in a byte, and buckets of the ghost. A load
 * merges it with what is known by now. Any bytes are valid. memo.c has the pages. */
static inline void cm_policy_save_slots(const struct cm_policy_state *p, uint64_t first, uint64_t n,
                                        uint8_t *to)
{
    cm_ring_save(&p->ring, first, n, to);
}
static inline void cm_policy_load_slots(struct cm_policy_state *p, uint64_t first, uint64_t n,
                                        const uint8_t *from)
{
    cm_ring_load(&p->ring, first, n, from);
}
static inline void cm_policy_save_ghost(const struct cm_policy_state *p, uint64_t first, uint64_t n,
                                        uint8_t *to)
{
    cm_ghost_save(&p->ghost, first, n, to);
}
static inline void cm_policy_load_ghost(struct cm_policy_state *p, uint64_t first, uint64_t n,
                                        const uint8_t *from)
{
    cm_ghost_load(&p->ghost, first, n, from);
}

#endif
