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
    uint64_t stripe;
    uint64_t start; /* bucket of the group's first block, counted from the stripe's first */
};
/* Where a key may live. */
struct cm_place {
    uint64_t bucket[2]; /* numbers in the whole index, the first one preferred */
    uint64_t tag;       /* at its bits of a cell; a cell is never zero, even with the tag zero */
    uint64_t hash;      /* of the key */
};

static inline struct cm_home cm_place_home(const struct cm_geometry *g, uint64_t seed,
                                           uint64_t incarnation, uint64_t group)
{
    const uint64_t w[2] = { incarnation, group };
    uint64_t h = XXH3_64bits_withSeed(w, sizeof(w), seed);
    struct cm_home home = { cm_format_reduce((uint32_t)h, g->stripes),
                            cm_format_reduce((uint32_t)(h >> 32), g->stripe_buckets) };
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
static inline uint64_t cm_place_first(const struct cm_geometry *g, uint64_t hash, uint64_t block,
                                      const struct cm_home *home)
{
    const uint64_t n = g->stripe_buckets;
    /* The buckets of neighbours are neighbours. But if a stripe has fewer buckets than a group has
     * blocks, every n-th block of the group would get the same bucket. So there each block gets a
     * bucket from its own hash. */
    const uint64_t first = n < CM_GROUP_BLOCKS ? (((hash >> 20) & 0xfffff) * n) >> 20
                                               : home->start + (block & (CM_GROUP_BLOCKS - 1));
    return first >= n ? first - n : first;
}

/* The second bucket, counted in the same way; never the first. It comes from the block's own hash.
 * Otherwise neighbours that overflow their first buckets would meet again in the second. */
static inline uint64_t cm_place_second(const struct cm_geometry *g, uint64_t hash, uint64_t first)
{
    const uint64_t n = g->stripe_buckets;
    const uint64_t second = first + 1 + (((hash & 0xfffff) * (n - 1)) >> 20);
    return second >= n ? second - n : second;
}

static inline void cm_place_block(const struct cm_geometry *g, uint64_t seed, uint64_t incarnation,
                                  uint64_t block, const struct cm_home *home,
                                  struct cm_place *place)
{
    const uint64_t h = cm_place_hash(seed, incarnation, block), n = g->stripe_buckets;
    const uint64_t first = cm_place_first(g, h, block, home);
    place->bucket[0] = home->stripe * n + first;
    place->bucket[1] = home->stripe * n + cm_place_second(g, h, first);
    place->hash = h;
    place->tag = cm_place_tag(h);
}

#endif
