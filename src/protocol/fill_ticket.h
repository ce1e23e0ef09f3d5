/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_ticket.h - the tickets of a miss: its right to fill.
 */
#ifndef CM_FILL_TICKET_H
#define CM_FILL_TICKET_H

#include "state/file.h"

/* What cm_miss.opaque holds. */
enum { CM_MISS_SERIAL, CM_MISS_INCARNATION, CM_MISS_FILE_TICKET, CM_MISS_TICKETS };

/* Tells the sample that blocks [first, first+n) were wanted and missed. */
void cm_ticket_sample_miss(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t n);
/* Takes tickets for blocks [first, first+n), cut to CM_MISS_STRIPES groups, into miss->opaque and
 * miss->flags (NOFILL); returns how many blocks they cover. Lock-free. */
uint64_t cm_ticket_take(struct cm_object *f, uint64_t first, uint64_t n, cm_miss *miss);
/* Is the ticket of one block of a miss still good? A hint. */
bool cm_ticket_may_hold(struct cm_object *f, const cm_miss *miss, uint64_t block);
/* Are all tickets of a miss still good for one block? Decisive under the stripe's lock. */
bool cm_ticket_holds(struct cm_object *f, struct cm_stripe *s, const cm_miss *miss, uint64_t block);

#endif
