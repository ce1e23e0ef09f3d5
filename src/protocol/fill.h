/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill.h - blocks that were read from the origin come in.
 */
#ifndef CM_FILL_H
#define CM_FILL_H

#include "state/file.h"

/* Stores the blocks of `data`, which begins at miss->offset. 0, or the first enum cm_not_stored.
 * Blocks that come for
 * the first time wait in the probation buffer, if there is one, or are refused, if the policy's
 * rule says so, but for what is behind `asked` bytes: that was read ahead of need. `wanted` ones do
 * not wait, and are as hard to evict as any. */
int cm_fill_blocks(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                   uint64_t asked, bool wanted);

#endif
