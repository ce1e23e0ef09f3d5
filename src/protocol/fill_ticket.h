/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_ticket.h - the tickets of a miss: its right to fill.
 */
#ifndef CM_FILL_TICKET_H
#define CM_FILL_TICKET_H

#include "state/file.h"
#include "state/policy_sample.h"

/* What cm_miss.opaque holds. The file's serial comes first: 0 is no file's, so a miss of zeros
 * fills nothing. */
enum { CM_MISS_SERIAL, CM_MISS_FILE_TICKET, CM_MISS_CHANGES, CM_MISS_TICKETS };
static_assert((CM_MISS_TICKETS + CM_MISS_STRIPES) * sizeof(uint64_t) <=
                  sizeof(((cm_miss *)0)->opaque),
              "a ticket for each stripe");

/* Tells the sample that a block of it was wanted and missed. */
void cm_ticket_sample_missed(struct cm_cache *c, uint64_t incarnation, uint64_t block);
/* The same for those of blocks [first, first+n) that are in the sample. */
static inline void cm_ticket_sample_miss(struct cm_cache *c, uint64_t incarnation, uint64_t first,
                                         uint64_t n)
{
    for (uint64_t b = first; b < first + n; b++)
        if (cm_sample_has(c, incarnation, b))
            cm_ticket_sample_missed(c, incarnation, b);
}
/* Takes tickets for blocks [first, first+n) of one version of the file, cut to CM_MISS_STRIPES
 * groups. Sets miss->incarnation, miss->opaque and, if they are good for nothing or the file has
 * another version now, NOFILL in miss->flags. Returns how many blocks they cover. Lock-free. */
uint64_t cm_ticket_take(struct cm_object *f, uint64_t incarnation, uint64_t first, uint64_t n,
                        cm_miss *miss);
/* The same for one block, whose stripe is known. */
void cm_ticket_take_block(struct cm_object *f, uint64_t incarnation, uint64_t stripe,
                          cm_miss *miss);
/* Is the ticket of one block of a miss still good? A hint. */
bool cm_ticket_may_hold(struct cm_object *f, const cm_miss *miss, uint64_t block);
static inline uint64_t cm_ticket_of(const cm_miss *miss, uint64_t block)
{
    uint64_t first = miss->offset / CM_BLOCK_SIZE;
    return miss->opaque[CM_MISS_TICKETS + (block >> CM_GROUP_SHIFT) - (first >> CM_GROUP_SHIFT)];
}

/* Are all tickets of a miss still good for one block? Decisive under the stripe's lock. */
static inline bool cm_ticket_holds(struct cm_object *f, struct cm_stripe *s, const cm_miss *miss,
                                   uint64_t block)
{
    return cm_stripe_good(s, cm_ticket_of(miss, block)) &&
           at_load_acquire(&f->incarnation) == miss->incarnation &&
           at_load_seq_cst(&f->ticket) == miss->opaque[CM_MISS_FILE_TICKET] &&
           at_load_seq_cst(&f->stale) == 0;
}

#endif
