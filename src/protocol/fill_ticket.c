/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_ticket.c - a miss gets tickets, which are its right to fill; later, do they still hold?
 *
 * Owns: the order in which incarnation, tickets, intents and staleness are loaded.
 *
 * Who: api/.
 */
#include "protocol/fill_ticket.h"

#include "protocol/steps.h"

void cm_ticket_sample_missed(struct cm_cache *c, uint64_t incarnation, uint64_t block)
{
    struct cm_key k = cm_key_of(&c->media, incarnation, block);
    cm_sample_read(c, &k, !cm_step_first_touch(k.place.hash), true);
}

/* Takes the file's ticket. The loads of a miss are in this order, all acquire, all before the
 * origin is read: incarnation, file ticket, each stripe's ticket with its intents, stale. A thread
 * that changes the incarnation raises `stale` before it releases the new incarnation
 * (release_incarnation). So a thread that sees the new incarnation also sees its `stale`. */
static inline bool begin(struct cm_object *f, uint64_t incarnation, cm_miss *miss)
{
    const bool good = at_load_acquire(&f->incarnation) == incarnation && incarnation != 0;
    miss->opaque[CM_MISS_SERIAL] = f->serial;
    miss->incarnation = incarnation;
    miss->opaque[CM_MISS_FILE_TICKET] = at_load_seq_cst(&f->ticket);
    /* Acquire: the origin is read after this load. An older value is refused later. */
    miss->opaque[CM_MISS_CHANGES] = at_load_acquire(&f->changes);
    return good;
}

/* The stripes' tickets were taken after begin(). `good`: so far. */
static inline void end(struct cm_object *f, bool good, cm_miss *miss)
{
    if (!good || at_load_seq_cst(&f->stale) != 0)
        miss->flags |= CM_MISS_NOFILL;
}

uint64_t cm_ticket_take(struct cm_object *f, uint64_t incarnation, uint64_t first, uint64_t n,
                        cm_miss *miss)
{
    struct cm_cache *c = f->cache;
    const uint64_t group = first >> CM_GROUP_SHIFT;
    const uint64_t most = ((group + CM_MISS_STRIPES) << CM_GROUP_SHIFT) - first;
    if (n > most)
        n = most;
    bool good = begin(f, incarnation, miss);
    for (uint64_t g = group; g <= (first + n - 1) >> CM_GROUP_SHIFT; g++) {
        uint64_t s = cm_key_home(&c->media, incarnation, g).stripe;
        good &= cm_stripe_ticket(cm_stripe_at(c, s), &miss->opaque[CM_MISS_TICKETS + g - group]);
    }
    end(f, good, miss);
    return n;
}

void cm_ticket_take_block(struct cm_object *f, uint64_t incarnation, uint64_t stripe, cm_miss *miss)
{
    bool good = begin(f, incarnation, miss);
    good &= cm_stripe_ticket(cm_stripe_at(f->cache, stripe), &miss->opaque[CM_MISS_TICKETS]);
    end(f, good, miss);
}

bool cm_ticket_may_hold(struct cm_object *f, const cm_miss *miss, uint64_t block)
{
    struct cm_cache *c = f->cache;
    uint64_t s = cm_key_stripe(&c->media, miss->incarnation, block);
    return cm_ticket_holds(f, cm_stripe_at(c, s), miss, block);
}
