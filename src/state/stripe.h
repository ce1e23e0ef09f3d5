/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stripe.h - the DRAM side of a run of index buckets: its lock, ticket counter and write intents.
 */
#ifndef CM_STRIPE_H
#define CM_STRIPE_H

#include <stdbool.h>

#include "platform/lock.h"

/* One cache line each, so that stripes do not disturb one another. */
struct cm_stripe {
    struct cm_lock lock; /* writers of the run's cells and headers; never two held at once */
    uint32_t intents;    /* open brackets that cover a block of this stripe */
    uint64_t ticket;     /* moves at begin and end of each of them */
    uint64_t pad[6];
};

/* For who goes through keys of which neighbours mostly have the same stripe: takes the lock of s
 * and gives back that of *held, unless it is the same. NULL: none. Begins and ends with none. */
static inline void cm_stripe_relock(struct cm_stripe **held, struct cm_stripe *s)
{
    if (*held == s)
        return;
    if (*held)
        cm_lock_release(&(*held)->lock);
    if (s)
        cm_lock_acquire(&s->lock);
    *held = s;
}

/* Beginning and end of a bracket on a stripe; lock held.
 * Order matters to the lock-free miss, which loads the ticket first and the intents after it:
 * begin raises the intents before the ticket, so who sees the new ticket sees the intent. */
static inline void cm_stripe_begin(struct cm_stripe *s)
{
    at_store_release(&s->intents, s->intents + 1);
    at_store_release(&s->ticket, s->ticket + 1);
}
static inline void cm_stripe_end(struct cm_stripe *s)
{
    assert(s->intents > 0);
    at_store_release(&s->intents, s->intents - 1);
    at_store_release(&s->ticket, s->ticket + 1);
}

/* What a miss takes away; lock-free. false: a write is going on, the ticket is void. */
static inline bool cm_stripe_ticket(struct cm_stripe *s, uint64_t *ticket)
{
    *ticket = at_load_acquire(&s->ticket); /* pairs with cm_stripe_begin and _end */
    return at_load_acquire(&s->intents) == 0;
}
/* Is a ticket still good? Lock held for a decision, or as a hint without. */
static inline bool cm_stripe_good(struct cm_stripe *s, uint64_t ticket)
{
    return at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0;
}

#endif
