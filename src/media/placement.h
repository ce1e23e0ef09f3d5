/* SPDX-License-Identifier: BSD-2-Clause
 *
 * placement.h - where in the index a block may live: the placement of docs/format.md as pure
 * functions, in a header because every hit computes them.
 */
#ifndef CM_PLACEMENT_H
#define CM_PLACEMENT_H

#include "media/format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Blocks of one group share a stripe, so that a 1 MiB bracket takes at most five locks. */
#define CM_GROUP_SHIFT 6u
#define CM_GROUP_BLOCKS (1u << CM_GROUP_SHIFT)

/* Where the blocks of a group live. All are in one stripe. The first buckets of neighbours are
 * neighbours, so that reading a run of blocks reads a run of cache lines. */
struct cm_home {
    uint64_t index;           /* as cm_place_index() */
    uint32_t stripe, buckets; /* a pool has less than 2^24 of them; of the stripe: how many */
    uint64_t base;            /* the stripe's first bucket */
    uint64_t start;           /* bucket of the group's first block, counted from there */
};
/* Where a key may live. */
struct cm_place {
    uint64_t bucket[2]; /* numbers in the whole index, the first one preferred */
    uint64_t tag;       /* at its bits of a cell; a cell is never zero, even with the tag zero */
    uint64_t hash;      /* of the key */
};

static inline struct cm_home cm_place_home(uint64_t stripes, uint64_t index, uint64_t seed,
                                           uint64_t incarnation, uint64_t group)
{
    const uint64_t w[2] = { incarnation, group };
    uint64_t h = XXH3_64bits_withSeed(w, sizeof(w), seed);
    struct cm_home home = { .index = index,
                            .stripe = (uint32_t)cm_format_reduce((uint32_t)h, stripes) };
    home.buckets = (uint32_t)cm_index_stripe_buckets(index);
    home.base = cm_index_first(index) + (uint64_t)home.stripe * home.buckets;
    home.start = cm_format_reduce((uint32_t)(h >> 32), home.buckets);
    return home;
}

/* The hash of a block. Its seed differs from the group's, so that group g and block g are
 * unrelated. The upper 22 bits are the tag, the lower 20 choose the second bucket. */
static inline uint64_t cm_place_hash(uint64_t seed, uint64_t incarnation, uint64_t block)
{
    const uint64_t w[2] = { incarnation, block };
    return XXH3_64bits_withSeed(w, sizeof(w), ~seed);
}
static inline uint64_t cm_place_tag(uint64_t hash)
{
    return hash & ~((UINT64_C(1) << CM_CELL_TAG_SHIFT) - 1);
}
/* The first bucket of a block, counted from the first of its stripe. */
static inline uint64_t cm_place_first(uint64_t hash, uint64_t block, const struct cm_home *home)
{
    const uint64_t n = home->buckets;
    /* The buckets of neighbours are neighbours. But if a stripe has fewer buckets than a group has
     * blocks, every n-th block of the group would get the same bucket. So there each block gets a
     * bucket from its own hash. */
    const uint64_t first = n < CM_GROUP_BLOCKS ? (((hash >> 20) & 0xfffff) * n) >> 20
                                               : home->start + (block & (CM_GROUP_BLOCKS - 1));
    return first >= n ? first - n : first;
}

/* The second bucket of a stripe of n, counted in the same way; never the first. It comes from the
 * block's own hash. Otherwise neighbours that overflow their first buckets would meet again in the
 * second. */
static inline uint64_t cm_place_second(uint64_t hash, uint64_t first, uint64_t n)
{
    const uint64_t second = first + 1 + (((hash & 0xfffff) * (n - 1)) >> 20);
    return second >= n ? second - n : second;
}

static inline void cm_place_block(uint64_t seed, uint64_t incarnation, uint64_t block,
                                  const struct cm_home *home, struct cm_place *place)
{
    const uint64_t h = cm_place_hash(seed, incarnation, block);
    const uint64_t first = cm_place_first(h, block, home);
    place->bucket[0] = home->base + first;
    place->bucket[1] = home->base + cm_place_second(h, first, home->buckets);
    place->hash = h;
    place->tag = cm_place_tag(h);
}

#endif
