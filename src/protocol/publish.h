/* SPDX-License-Identifier: BSD-2-Clause
 *
 * publish.h - makes new blocks visible and durable.
 */
#ifndef CM_PUBLISH_H
#define CM_PUBLISH_H

#include "protocol/fill_ticket.h"

/* The right by which blocks come in: the tickets of a miss or, if f is NULL, the stripe's ticket in
 * each newcomer. */
struct cm_grant {
    struct cm_object *f;
    const cm_miss *miss;
};

/* A block on its way in. */
struct cm_newcomer {
    struct cm_key key;
    const uint8_t *data;
    uint32_t valid; /* number of bytes */
    enum cm_start start;
    uint64_t ticket; /* used by a grant without a file */
    uint64_t slot;
    struct cm_header header;
    uint64_t freed; /* owned slot that was evicted for its cell, or CM_NO_SLOT */
    unsigned cell;  /* number of its cell, 0..15 */
    bool spoiled;   /* a store to the slot failed: it must not be filled again */
    int result;     /* CM_NOT_STORED_*, 0: published */
    uint32_t share; /* of its file (quota.h) */
};

/* May the newcomer come in? Decisive if its stripe is locked, else a hint. */
static inline bool cm_publish_may(const struct cm_grant *g, struct cm_stripe *s,
                                  const struct cm_newcomer *n)
{
    return g->f ? cm_ticket_holds(g->f, s, g->miss, n->key.block) : cm_stripe_good(s, n->ticket);
}
/* Stores a batch, at most CM_BATCH_MAX. n[i].result says what happened to each. */
void cm_publish_batch(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned count);
/* Counts in the statistics the newcomers that were not stored. */
void cm_publish_count_refused(struct cm_cache *c, const struct cm_newcomer *n, unsigned count);

#endif
