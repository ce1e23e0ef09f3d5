/* SPDX-License-Identifier: BSD-2-Clause
 *
 * placement.h - where in the index a block may live: the placement of docs/format.md as pure
 * functions, in a header because every hit computes them.
 */
#ifndef CM_PLACEMENT_H
#define CM_PLACEMENT_H

#include "media/format.h"

/* Blocks of one group share a stripe, so that a 1 MiB bracket takes at most five locks. */
#define CM_GROUP_SHIFT 6u
#define CM_GROUP_BLOCKS (1u << CM_GROUP_SHIFT)

#define CM_PLACE_KEY0 UINT64_C(0x2d358dccaa6c78a5)
#define CM_PLACE_KEY1 UINT64_C(0x8bb84b93962eacc9)

__extension__ typedef unsigned __int128 cm_place_wide; /* a product of two words */

/* The product's halves, folded into one word. */
static inline uint64_t cm_place_fold(uint64_t a, uint64_t b)
{
    const cm_place_wide p = (cm_place_wide)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}
/* Mixes a pair of numbers: two rounds of wyhash (Wang Yi, "wyhash", final version 4), with its
 * constants. A single round would keep the order of consecutive numbers: with some seeds, parts of
 * the index are full then and others empty. */
static inline uint64_t cm_place_mix(uint64_t seed, uint64_t a, uint64_t b)
{
    const cm_place_wide p = (cm_place_wide)(a ^ seed) * (b ^ CM_PLACE_KEY1);
    return cm_place_fold((uint64_t)p ^ CM_PLACE_KEY0, (uint64_t)(p >> 64) ^ CM_PLACE_KEY1);
}

/* Where the blocks of a group live. All are in one stripe. The first buckets of neighbours are
 * neighbours, so that reading a run of blocks reads a run of cache lines. */
struct cm_home {
    uint64_t index;           /* as cm_place_index() */
    uint32_t stripe, buckets; /* a pool has less than 2^24 of them; of the stripe: how many */
    uint64_t base;            /* the stripe's first bucket */
    uint64_t start;           /* bucket of the group's first block, counted from there */
    uint64_t hash;            /* of the group */
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
    const uint64_t h = cm_place_mix(seed, incarnation, group);
    struct cm_home home = { .index = index,
                            .stripe = (uint32_t)cm_format_reduce((uint32_t)h, stripes),
                            .hash = h };
    home.buckets = (uint32_t)cm_index_stripe_buckets(index);
    home.base = cm_index_first(index) + (uint64_t)home.stripe * home.buckets;
    home.start = cm_format_reduce((uint32_t)(h >> 32), home.buckets);
    return home;
}

/* The hash of a block of the group. The upper 22 bits are the tag, the lower 20 choose the second
 * bucket. The group's hash is mixed already, so one more round makes 64 hashes of it. The block's
 * number is spread first: the products of numbers in a row would lie in a row, too, and in a small
 * index that row may be a single bucket. */
static inline uint64_t cm_place_hash(const struct cm_home *home, uint64_t block)
{
    const uint64_t spread = (block & (CM_GROUP_BLOCKS - 1)) * CM_PLACE_KEY1;
    return cm_place_fold(home->hash ^ CM_PLACE_KEY1, spread ^ CM_PLACE_KEY0);
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

/* How many blocks of the group, n at most, from the one whose first bucket is `first` on, have
 * their first buckets in consecutive places. */
static inline unsigned cm_place_in_a_row(const struct cm_home *home, uint32_t first, unsigned n)
{
    if (home->buckets < CM_GROUP_BLOCKS)
        return 1;
    return n <= home->buckets - first ? n : home->buckets - first;
}

/* The second bucket of a stripe of n, counted in the same way; never the first. It comes from the
 * block's own hash. Otherwise neighbours that overflow their first buckets would meet again in the
 * second. */
static inline uint64_t cm_place_second(uint64_t hash, uint64_t first, uint64_t n)
{
    const uint64_t second = first + 1 + (((hash & 0xfffff) * (n - 1)) >> 20);
    return second >= n ? second - n : second;
}

static inline void cm_place_block(uint64_t block, const struct cm_home *home,
                                  struct cm_place *place)
{
    const uint64_t h = cm_place_hash(home, block);
    const uint64_t first = cm_place_first(h, block, home);
    place->bucket[0] = home->base + first;
    place->bucket[1] = home->base + cm_place_second(h, first, home->buckets);
    place->hash = h;
    place->tag = cm_place_tag(h);
}

#endif
