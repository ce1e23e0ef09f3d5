/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill.h - blocks that were read from the origin come in.
 */
#ifndef CM_FILL_H
#define CM_FILL_H

#include "state/file.h"

/* Offers `len` bytes that begin at miss->offset; those behind `asked` were read ahead of need. 0,
 * or the first enum cm_not_stored. Blocks that come for the first time wait in the probation
 * buffer, if there is one, or are refused, if the policy's rule says so. */
int cm_fill_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked);

#endif
