/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bucket.h - reads a bucket, and remembers in DRAM where it is and how much of it is used.
 *
 * Most buckets are not full, and what is not used need not be copied. What is remembered is a hint.
 * If it is wrong, the bucket is read once more.
 */
#ifndef CM_BUCKET_H
#define CM_BUCKET_H

#include "api/inner.h"
#include "objects/container.h"

/* How many bytes of a bucket are read at first: whole lines. */
static inline uint32_t cm_bucket_part(const cm_objects *o, uint64_t bucket)
{
    const uint32_t line = 64, used = at_load_relaxed(&o->hint[bucket].used);
    return used ? (used + line - 1) / line * line : CM_BLOCK_SIZE;
}

/* The bucket will be read soon. */
static inline void cm_bucket_prefetch(const cm_objects *o, uint64_t bucket)
{
    cm_inner_prefetch_slot(o->buckets_file, at_load_relaxed(&o->hint[bucket].where),
                           cm_bucket_part(o, bucket));
}

/* Reads a bucket: as cm_read() of the block, but what is behind the used part may be left out. */
static inline int64_t cm_bucket_read(const cm_objects *o, uint64_t bucket, uint8_t *block,
                                     cm_miss *miss)
{
    const uint32_t part = cm_bucket_part(o, bucket);
    const int64_t n = cm_read(o->buckets_file, bucket * CM_BLOCK_SIZE, block, part, miss);
    if (part == CM_BLOCK_SIZE || n != (int64_t)part)
        return n;
    return cm_entries_used(block) <= part
               ? CM_BLOCK_SIZE
               : cm_read(o->buckets_file, bucket * CM_BLOCK_SIZE, block, CM_BLOCK_SIZE, miss);
}

/* The bucket is in the pool, and so many bytes of it are used. */
static inline void cm_bucket_remember(cm_objects *o, uint64_t bucket, uint32_t used)
{
    struct cm_bucket_hint *h = &o->hint[bucket];
    const cm_where where = cm_inner_where(o->buckets_file, bucket * CM_BLOCK_SIZE);
    assert(used <= CM_BLOCK_SIZE);
    if (at_load_relaxed(&h->where) != where) /* nothing is stored for nothing: threads share it */
        at_store_relaxed(&h->where, where);
    if (at_load_relaxed(&h->used) != used)
        at_store_relaxed(&h->used, (uint16_t)used);
}

#endif
