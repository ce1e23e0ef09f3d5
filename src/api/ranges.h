/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ranges.h - which bytes of a file are cached.
 */
#ifndef CM_RANGES_H
#define CM_RANGES_H

#include "state/object.h"

/* How many bytes of [offset, end) are cached. The work is that of cm_file_ranges(). */
uint64_t cm_ranges_cached(struct cm_object *f, uint64_t offset, uint64_t end);

#endif
