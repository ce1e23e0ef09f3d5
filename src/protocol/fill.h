/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill.h - takes in blocks that were read from the origin.
 */
#ifndef CM_FILL_H
#define CM_FILL_H

#include "state/file.h"

/* Offers `len` bytes that begin at miss->offset. The bytes after the first `asked` ones were read
 * ahead. Returns 0, or the first enum cm_not_stored. A block that comes for the first time waits in
 * the probation buffer, if there is one. If there is none, the policy's rule may refuse it. */
int cm_fill_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked);

#endif
