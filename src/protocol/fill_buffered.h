/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_buffered.h - first-time blocks wait in DRAM.
 */
#ifndef CM_FILL_BUFFERED_H
#define CM_FILL_BUFFERED_H

#include "protocol/publish.h"

/* First-time blocks wait in the probation buffer: nothing is written to the pool, but for those
 * that leave. At most CM_BATCH_MAX; what came of each is in its result. */
void cm_fill_buffered(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned count);
/* Before the pool is closed: what waits in the probation buffer goes to the pool, where there is
 * room or it was wanted again. */
void cm_fill_buffered_drain(struct cm_cache *c);

#endif
