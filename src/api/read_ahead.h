/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_ahead.h - how far reads go past what was asked for.
 */
#ifndef CM_READ_AHEAD_H
#define CM_READ_AHEAD_H

#include "state/object.h"

/* A request for this range begins. Returns how many blocks to read behind its end. */
uint64_t cm_ahead_begin(struct cm_object *f, uint64_t offset, size_t len);
/* What was read for a request was offered to the cache: 0, or the first CM_NOT_STORED_*. */
void cm_ahead_offered(struct cm_object *f, int why);

#endif
