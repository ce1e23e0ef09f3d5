/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill.h - takes in blocks that were read from the origin.
 */
#ifndef CM_FILL_H
#define CM_FILL_H

#include "state/file.h"

/* Offers `len` bytes that begin at miss->offset. The bytes after the first `asked` ones were read
 * ahead. Returns 0, or the first CM_NOT_STORED_*. A block that comes for the first time waits in
 * the probation buffer, if there is one. If there is none, the policy's rule may refuse it. */
int cm_fill_offer(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked);
/* What became of data that was offered, in bytes. */
struct cm_warmed {
    uint64_t stored;
    uint64_t present; /* cached already, in the pool */
};
/* The same for data that no reader has asked for, but the program: it does not wait in the buffer,
 * and neither the rule nor the advice NOREUSE keeps it out. What is present is no reason. What is
 * stored counts as prefetched. */
int cm_fill_warm(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                 struct cm_warmed *done);
/* The origin ended `len` bytes after miss->offset. Tells the file, if it does not know its size. */
void cm_fill_ends(struct cm_object *f, const cm_miss *miss, uint64_t len);

#endif
