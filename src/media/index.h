/* SPDX-License-Identifier: BSD-2-Clause
 *
 * index.h - the cells: hints that lead from a key to a slot. No locks here: a writer holds the lock
 * of the key's stripe.
 */
#ifndef CM_INDEX_H
#define CM_INDEX_H

#include "media/media.h"
#include "media/placement.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* A key and where it may live. The place depends on the number of the incarnation alone, not on its
 * "since". */
struct cm_key {
    uint64_t incarnation, block;
    uint32_t stripe; /* a pool has less than 2^24 of them */
    uint32_t growth; /* after which its buckets are used: says which index they are of */
    struct cm_place place;
};

static inline __attribute__((always_inline)) struct cm_home
cm_key_home(const struct cm_media *m, uint64_t incarnation, uint64_t group)
{
    return cm_place_home(m->geo.stripes, cm_media_index(m), m->hash_seed, incarnation, group);
}
/* `home`: home of the block's group. `incarnation`: its number; the caller adds the "since" to the
 * key. */
static inline struct cm_key cm_key_make(uint64_t incarnation, uint64_t block,
                                        const struct cm_home *home)
{
    struct cm_key k = { .incarnation = incarnation,
                        .block = block,
                        .stripe = home->stripe,
                        .growth = (uint32_t)(home->index >> CM_INDEX_GROWTH) };
    cm_place_block(block, home, &k.place);
    return k;
}
/* A key without its place: for functions that say that they use no more of it than the hash. */
static inline struct cm_key cm_key_named(uint64_t incarnation, uint64_t block, uint64_t hash)
{
    return (struct cm_key){ .incarnation = incarnation, .block = block, .place.hash = hash };
}
/* Are the key's buckets of the index that is in use? Decisive with the lock of its stripe held, and
 * then until it is released, for the keys of blocks that are stored or forgotten (grow.c). */
static inline bool cm_key_is_current(const struct cm_media *m, const struct cm_key *k)
{
    return k->growth == cm_media_index(m) >> CM_INDEX_GROWTH;
}
static inline uint64_t cm_key_stripe(const struct cm_media *m, uint64_t incarnation, uint64_t block)
{
    return cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT).stripe;
}
/* A key whose home is not known yet. */
static inline struct cm_key cm_key_of(const struct cm_media *m, uint64_t incarnation,
                                      uint64_t block)
{
    struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
    return cm_key_make(incarnation, block, &home);
}

/* The home of the last key's group. A caller that makes keys of blocks that are mostly neighbours
 * uses it again and again. It begins as zeros: no file has the incarnation 0. (A forged header may
 * have it.) If the pool grows meanwhile, its keys are not current any more. */
struct cm_last_home {
    uint64_t incarnation, group;
    struct cm_home home;
};
static inline void cm_key_home_next(const struct cm_media *m, struct cm_last_home *last,
                                    uint64_t incarnation, uint64_t group)
{
    if (last->incarnation != incarnation || last->group != group || incarnation == 0) {
        last->incarnation = incarnation;
        last->group = group;
        last->home = cm_key_home(m, incarnation, group);
    }
}
static inline struct cm_key cm_key_next(const struct cm_media *m, struct cm_last_home *last,
                                        uint64_t incarnation, uint64_t block)
{
    cm_key_home_next(m, last, incarnation, block >> CM_GROUP_SHIFT);
    return cm_key_make(incarnation, block, &last->home);
}
/* The key of a block that was stored. */
static inline struct cm_key cm_key_stored_next(const struct cm_media *m, struct cm_last_home *last,
                                               uint64_t incarnation, uint64_t block)
{
    struct cm_key k = cm_key_next(m, last, cm_incarnation_number(incarnation), block);
    k.incarnation = incarnation;
    return k;
}
static inline struct cm_key cm_key_stored(const struct cm_media *m, uint64_t incarnation,
                                          uint64_t block)
{
    struct cm_last_home none = { 0 };
    return cm_key_stored_next(m, &none, incarnation, block);
}

/* Both buckets of a key. Each cell was loaded atomically, but not all at the same moment. */
#define CM_PLACE_CELLS (2 * CM_BUCKET_CELLS)
struct cm_cells {
    uint64_t cell[CM_PLACE_CELLS]; /* the first bucket's, then the second's */
};

static inline uint64_t *cm_index_bucket(const struct cm_media *m, uint64_t bucket)
{
    assert(m->geo.index_offset + bucket * sizeof(struct cm_bucket) <
           at_load_relaxed(&m->geo.pool_size));
    uint8_t *p = m->base + m->geo.index_offset + bucket * sizeof(struct cm_bucket);
    return ((struct cm_bucket *)(void *)p)->cell;
}
/* Reads bucket `which` (0, 1) of a key into its half of `cells`. CM_EIO: unreadable. */
static inline int cm_index_load(const struct cm_media *m, const struct cm_key *k, unsigned which,
                                struct cm_cells *cells)
{
    /* Acquire loads pair with the release store in cm_index_store_bucket. A cell promises nothing:
     * it is stored before its header is valid, and a reader that comes in between finds an invalid
     * header. */
    assert(which < 2);
    return cm_guard_load_words(cm_index_bucket(m, k->place.bucket[which]),
                               &cells->cell[which * CM_BUCKET_CELLS], CM_BUCKET_CELLS);
}
/* Which of a bucket's cells carry a tag: a bit for each cell. There is no branch for each cell: a
 * CPU could not predict it. */
static inline unsigned cm_index_tagged(uint64_t wanted, const uint64_t *cell)
{
    unsigned matches = 0;
#if defined(__SSE2__)
    /* The tag is the upper 22 bits of a cell's upper half: four halves are compared at a time. */
    const __m128i tag = _mm_set1_epi32((int)(wanted >> CM_CELL_TAG_SHIFT));
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i += 4) {
        __m128 a = _mm_loadu_ps((const float *)(const void *)&cell[i]);
        __m128 b = _mm_loadu_ps((const float *)(const void *)&cell[i + 2]);
        __m128i upper = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
        __m128i same = _mm_cmpeq_epi32(_mm_srli_epi32(upper, CM_CELL_TAG_SHIFT - 32), tag);
        matches |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(same)) << i;
    }
#else
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++)
        matches |= (unsigned)(cm_cell_tag(cell[i]) == wanted) << i;
#endif
    return matches;
}
/* Looks for a tag in a bucket as it is now. Returns a bit for each cell that carries it, or CM_EIO;
 * *cell: the first of them, or as it was. Test it with cm_index_leads(). */
static inline int cm_index_find_in(const uint64_t *bucket, uint64_t tag, uint64_t *cell)
{
    static_assert(CM_CELL_TAG_SHIFT == CM_GUARD_TAG_SHIFT, "the tag is what the guard compares");
    static_assert(sizeof(struct cm_bucket) == CM_CACHE_LINE, "a bucket is a line");
    return cm_guard_find(bucket, tag >> CM_CELL_TAG_SHIFT, cell);
}
static inline int cm_index_find(const struct cm_media *m, uint64_t bucket, uint64_t tag,
                                uint64_t *cell)
{
    return cm_index_find_in(cm_index_bucket(m, bucket), tag, cell);
}
/* The same for n blocks whose buckets follow one another, from `bucket` on. cell[i]: one that
 * carries the tag of hash[i], or 0. 0 or CM_EIO. */
static inline int cm_index_find_each(const struct cm_media *m, uint64_t bucket,
                                     const uint64_t *hash, uint64_t *cell, unsigned n)
{
    return cm_guard_find_each(cm_index_bucket(m, bucket), hash, cell, n);
}
/* Does cell c carry the tag and name a slot that exists? */
static inline bool cm_index_leads(const struct cm_media *m, uint64_t tag, uint64_t c)
{
    /* An empty cell has no slot. */
    return cm_cell_tag(c) == tag && cm_cell_slot(c) < cm_media_slots(m);
}
static inline bool cm_index_match(const struct cm_media *m, const struct cm_key *k, uint64_t c)
{
    return cm_index_leads(m, k->place.tag, c);
}
/* As cm_index_tagged(), with the key's tag. An empty cell matches the tag zero: test each match
 * with cm_index_match(). */
static inline unsigned cm_index_matches(const struct cm_key *k, const uint64_t *cell)
{
    return cm_index_tagged(k->place.tag, cell);
}
/* The first empty cell of a bucket, or -1. */
static inline int cm_index_empty(const uint64_t *cell)
{
    for (unsigned left = cm_index_tagged(0, cell); left; left &= left - 1)
        if (cell[at_lowest_bit(left)] == 0)
            return (int)at_lowest_bit(left);
    return -1;
}
static inline void cm_index_prefetch(const struct cm_media *m, const struct cm_key *k,
                                     unsigned which)
{
    at_prefetch(cm_index_bucket(m, k->place.bucket[which]));
}
/* Loads the cells of a bucket, by its number. */
int cm_index_load_bucket(const struct cm_media *m, uint64_t bucket, uint64_t cell[CM_BUCKET_CELLS]);
/* Is a bucket unreadable only because a full volume has no room for its page? Then it is empty. */
bool cm_index_is_hole(const struct cm_media *m, uint64_t bucket);
static inline int cm_index_store_bucket(const struct cm_media *m, uint64_t bucket, unsigned i,
                                        uint64_t cell)
{
    assert(i < CM_BUCKET_CELLS);
    return cm_media_store64(m, cm_index_bucket(m, bucket) + i, cell);
}
static inline int cm_index_flush_bucket(const struct cm_media *m, uint64_t bucket, unsigned i)
{
    assert(i < CM_BUCKET_CELLS);
    return cm_media_flush_line(m, cm_index_bucket(m, bucket) + i, sizeof(uint64_t));
}
/* Writes the i-th of a key's cells (0..15). Durable after cm_index_flush and a fence. */
static inline int cm_index_store(const struct cm_media *m, const struct cm_key *k, unsigned i,
                                 uint64_t cell)
{
    assert(i < CM_PLACE_CELLS);
    return cm_index_store_bucket(m, k->place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS,
                                 cell);
}
static inline int cm_index_flush(const struct cm_media *m, const struct cm_key *k, unsigned i)
{
    assert(i < CM_PLACE_CELLS);
    return cm_index_flush_bucket(m, k->place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS);
}

#endif
