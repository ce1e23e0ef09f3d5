/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_buffered.h - first-time blocks wait in DRAM.
 */
#ifndef CM_FILL_BUFFERED_H
#define CM_FILL_BUFFERED_H

#include "protocol/publish.h"

/* Stores first-time blocks in the probation buffer, at most CM_BATCH_MAX. Only blocks that leave
 * the buffer for them are written to the pool. n[i].result says what happened to each. */
void cm_fill_buffered(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned count);
/* Called before the pool is closed. Each block that waits in the probation buffer goes to the pool,
 * if there is room or if the block was wanted again. */
void cm_fill_buffered_drain(struct cm_cache *c);

#endif
