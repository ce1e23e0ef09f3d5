/* SPDX-License-Identifier: BSD-2-Clause
 *
 * admit.h - which blocks may cost a pool write.
 */
#ifndef CM_ADMIT_H
#define CM_ADMIT_H

#include "state/file.h"

/* Offers `len` bytes that begin at miss->offset; those behind `asked` were read ahead of need. 0 or
 * the first enum cm_not_stored. */
int cm_admit_fill(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked);

#endif
