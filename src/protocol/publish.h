/* SPDX-License-Identifier: BSD-2-Clause
 *
 * publish.h - new blocks become visible, and durable.
 */
#ifndef CM_PUBLISH_H
#define CM_PUBLISH_H

#include "state/file.h"

/* By what right blocks come in: that of a miss, or, with f NULL, of the stripe's ticket that each
 * newcomer brings along. */
struct cm_grant {
    struct cm_object *f;
    const cm_miss *miss;
};

/* A block on its way in. */
struct cm_newcomer {
    struct cm_key key;
    const uint8_t *data;
    uint32_t valid; /* bytes of it */
    enum cm_start start;
    uint64_t ticket; /* of a grant without a file */
    uint64_t slot;
    struct cm_header header;
    uint64_t freed; /* slot that was evicted for it and is ours, or CM_NO_SLOT */
    unsigned cell;  /* where its cell is */
    bool spoiled;   /* a store to the slot failed: nobody may fill it again */
    int result;     /* enum cm_not_stored, 0: published */
};

/* May the newcomer come in? A hint, or with its stripe locked the truth. */
bool cm_publish_may(const struct cm_grant *g, struct cm_stripe *s, const struct cm_newcomer *n);
/* Stores a batch, at most CM_BATCH_MAX; what came of each is in its result. */
void cm_publish_batch(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned count);
/* In the statistics, those of them that were not stored. */
void cm_publish_count_refused(struct cm_cache *c, const struct cm_newcomer *n, unsigned count);

#endif
