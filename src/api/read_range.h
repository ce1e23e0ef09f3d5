/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_range.h - reads of any range, made of lookups of blocks.
 */
#ifndef CM_READ_RANGE_H
#define CM_READ_RANGE_H

#include "protocol/lookup.h"

/* What read_fast.h did not answer; it has `seen` something. cm_read() with `ahead`: the miss may
 * run up to this many blocks past the request. Misses of blocks before *counted are not counted
 * again; it moves behind those that are. */
int64_t cm_range_read(struct cm_object *f, enum cm_found seen, uint64_t offset, void *buf,
                      size_t len, uint64_t ahead, uint64_t *counted, cm_miss *miss);
/* The same for cm_read_whole(). */
int64_t cm_range_read_whole(struct cm_object *f, enum cm_found seen, uint64_t offset, void *buf,
                            size_t len);
int64_t cm_range_read_many(struct cm_object *f, cm_read_vec *v, size_t n);
int64_t cm_range_pin(struct cm_object *f, uint64_t offset, size_t len, cm_iovec *iov, int n,
                     int *iovcnt, cm_pins *pins, cm_miss *miss);
/* Whose pins they are; NULL: they were never given out. */
struct cm_cache *cm_range_pins_cache(const cm_pins *pins);
/* cm_unpin(). */
int cm_range_unpin(cm_pins *pins);

#endif
