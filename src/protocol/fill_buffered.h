/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_buffered.h - first-time blocks wait in DRAM.
 */
#ifndef CM_FILL_BUFFERED_H
#define CM_FILL_BUFFERED_H

#include "protocol/evict.h"
#include "protocol/publish.h"

/* Empty entries of the probation buffer, for blocks that are stored one after the other. Zero at
 * first. */
struct cm_entries {
    uint32_t entry[CM_BATCH_MAX];
    unsigned got, stored;
};
/* Stores a first-time block in the probation buffer. Only blocks that leave the buffer for it are
 * written to the pool. n->result says what happened. `left`: how many blocks may still come, this
 * one included, at most CM_BATCH_MAX. */
void cm_fill_buffered(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned left, struct cm_entries *e);
/* Called after the last one of them. */
void cm_fill_buffered_end(struct cm_cache *c, struct cm_entries *e);
/* Called now and then. What an earlier call has found in the buffer, too, goes to the pool before
 * it has to, if it is wanted all the time, or if the pool has room for which no other block leaves:
 * a kill loses it no more, and its hits get faster. Quota and a large buffer do not keep back what
 * a warming has passed (cm_probation_keep), while its file is open; once it is closed, only room
 * counts. Nothing goes there if the mode is not CM_NORMAL. The files lock is not held. */
void cm_fill_buffered_promote(struct cm_cache *c);
/* Called at the end of a warming. What it has passed in the buffer goes to the pool, if the mode is
 * CM_NORMAL. `incarnation`: that of its file, which is open; 0: it has none. */
void cm_fill_buffered_promote_warmed(struct cm_cache *c, uint64_t incarnation);
/* Called before the pool is closed. Each block that waits in the probation buffer goes to the pool,
 * if there is room or if the block was wanted again. */
void cm_fill_buffered_drain(struct cm_cache *c);

#endif
