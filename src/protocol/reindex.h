/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reindex.h - a new index for a pool that grows.
 */
#ifndef CM_REINDEX_H
#define CM_REINDEX_H

#include "state/file.h"

struct cm_reindexed {
    uint64_t blocks;  /* that the new index leads to */
    uint64_t dropped; /* blocks whose new buckets were full */
};

/* Stores the index of `to` so that it leads to all blocks to which the present index leads. It is
 * stored, and fenced, but nobody uses it yet. c->growing is set, and the caller has loaded nothing
 * of the index since. CM_EIO CM_ENOMEM. */
int cm_reindex(struct cm_cache *c, const struct cm_geometry *to, struct cm_reindexed *done);

#endif
