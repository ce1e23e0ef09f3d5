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
    struct cm_lock lock; /* for writers of its cells and headers; a thread holds one at most */
    uint32_t intents;    /* open brackets that cover a block of this stripe */
    uint64_t ticket;     /* moves when such a bracket begins and when it ends */
    uint64_t pad[6];
};

/* Takes the lock of s and releases that of *held, unless both are the same stripe. NULL: none. For
 * a loop over keys whose neighbours mostly have the same stripe. It begins and ends with NULL. */
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

/* Begin and end of a bracket on a stripe; lock held. Begin raises the intents before the ticket,
 * and a miss loads the ticket before the intents: a thread that sees the new ticket also sees the
 * intent. Another order would only refuse the fill later: it compares both again under the lock. */
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

/* Takes the ticket for a miss; lock-free. false: a bracket is open, so the ticket is void. */
static inline bool cm_stripe_ticket(struct cm_stripe *s, uint64_t *ticket)
{
    *ticket = at_load_acquire(&s->ticket); /* pairs with cm_stripe_begin and _end */
    return at_load_acquire(&s->intents) == 0;
}
/* Is a ticket still good? Decisive with the lock held, a hint without it. */
static inline bool cm_stripe_good(struct cm_stripe *s, uint64_t ticket)
{
    return at_load_acquire(&s->ticket) == ticket && at_load_acquire(&s->intents) == 0;
}

#endif
