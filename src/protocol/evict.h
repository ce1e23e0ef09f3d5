/* SPDX-License-Identifier: BSD-2-Clause
 *
 * evict.h - slots to fill.
 */
#ifndef CM_EVICT_H
#define CM_EVICT_H

#include "state/file.h"

#define CM_BATCH_MAX 16u /* victims and fills that share a fence */

/* How many blocks are filled together, in a pool of this size. */
unsigned cm_evict_batch(const struct cm_cache *c);
/* Gets up to n owned slots to fill: from the free stack, then by eviction. An eviction also puts
 * some slots on the free stack for later. Returns the number of slots. */
unsigned cm_evict_slots(struct cm_cache *c, uint64_t *slot, unsigned n);

#endif
