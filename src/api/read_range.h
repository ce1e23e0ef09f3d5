/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_range.h - reads of any range, made of lookups of blocks.
 */
#ifndef CM_READ_RANGE_H
#define CM_READ_RANGE_H

#include "api/read_fast.h"

/* Does a cm_read() that cm_fast_read() did not do; g->slot says where cm_fast_begin() looked. */
int64_t cm_range_read_slow(struct cm_object *f, const struct cm_plat_thread *t,
                           const struct cm_fast *g, uint64_t offset, void *buf, size_t len,
                           cm_miss *miss);
/* The same for cm_read_whole(). */
int64_t cm_range_read_whole(struct cm_object *f, const struct cm_plat_thread *t,
                            const struct cm_fast *g, uint64_t offset, void *buf, size_t len);
/* Looks where cm_fast_begin() did not. HIT: all of it was copied and counted. ABSENT: it is not
 * cached. CONFLICT: nothing is known. In the last two cases nothing was left in the buffer. */
enum cm_found cm_range_elsewhere(struct cm_object *f, const struct cm_plat_thread *t,
                                 const struct cm_fast *g, uint64_t offset, void *buf, size_t len);
/* Does a cm_read() of any range. `seen`: ABSENT, as cm_range_elsewhere() returned, or CONFLICT.
 * `ahead`: the miss may run up to so many blocks past the request. Misses of blocks before *counted
 * are not counted again; *counted moves past the blocks that are counted. */
int64_t cm_range_read(struct cm_object *f, enum cm_found seen, uint64_t offset, void *buf,
                      size_t len, uint64_t ahead, uint64_t *counted, cm_miss *miss);
/* The same with CM_READ_RESIDENT. */
int64_t cm_range_read_resident(struct cm_object *f, uint64_t offset, void *buf, size_t len);
/* Does a cm_read_many(). `size`: of each element. Elements with a negative result are refused
 * already. All bytes that are copied are of one version of the file. */
int64_t cm_range_read_many(struct cm_object *f, cm_read_vec *v, size_t size, size_t n);
/* Skips what is cached, for cm_warm(): copies nothing and counts nothing. `offset` is a multiple of
 * a block. Returns how much it skipped; *miss says what is missing then. *waits is set if some of
 * it waits in the probation buffer. */
int64_t cm_range_skip(struct cm_object *f, uint64_t offset, size_t len, cm_miss *miss, bool *waits);
/* Ends a read that found another version of the file than before: nothing is read, and nothing can
 * be filled. *incarnation: of the version that the miss describes. Returns 0. */
int64_t cm_range_conflict(struct cm_object *f, uint64_t offset, size_t len, cm_miss *miss,
                          uint64_t *incarnation);
/* A file may get another version again and again while it is read: how often a read begins. */
#define CM_VERSION_TRIES 4u
int64_t cm_range_pin(struct cm_object *f, uint64_t offset, size_t len, cm_iovec *iov, int n,
                     int *iovcnt, cm_pins *pins, cm_miss *miss);
/* The cache that gave out the pins; NULL: they were never given out. */
struct cm_cache *cm_range_pins_cache(const cm_pins *pins);
/* As cm_unpin(). */
int cm_range_unpin(cm_pins *pins);

#endif
