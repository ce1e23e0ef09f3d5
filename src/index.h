/* SPDX-License-Identifier: BSD-2-Clause
 *
 * index.h - the cells: hints that lead from a key to a slot. No locks here; who writes holds the
 * key's stripe.
 */
#ifndef CM_INDEX_H
#define CM_INDEX_H

#include "media.h"

/* A key and where it may live. */
struct cm_key {
    uint64_t incarnation, block;
    uint64_t stripe;
    struct cm_place place;
};

static inline struct cm_key cm_key_make(const struct cm_media *m, uint64_t incarnation,
                                        uint64_t block, uint64_t stripe)
{
    struct cm_key k = { .incarnation = incarnation, .block = block, .stripe = stripe };
    cm_format_place(&m->geo, m->hash_seed, incarnation, block, stripe, &k.place);
    return k;
}
static inline uint64_t cm_key_stripe(const struct cm_media *m, uint64_t incarnation, uint64_t block)
{
    return cm_format_stripe(&m->geo, m->hash_seed, incarnation, block >> CM_GROUP_SHIFT);
}
/* A key whose stripe is not known yet. */
static inline struct cm_key cm_key_of(const struct cm_media *m, uint64_t incarnation, uint64_t block)
{
    return cm_key_make(m, incarnation, block, cm_key_stripe(m, incarnation, block));
}

/* Both buckets of a key, as they were at one moment each cell. */
#define CM_PLACE_CELLS (2 * CM_BUCKET_CELLS)
struct cm_cells {
    uint64_t cell[CM_PLACE_CELLS]; /* the first bucket's, then the second's */
};

/* Reads bucket `which` (0, 1) of a key into its half of `cells`. CM_EIO: unreadable. */
int cm_index_load(const struct cm_media *m, const struct cm_key *k, unsigned which,
                  struct cm_cells *cells);
/* Does cell c carry the key's tag and name a slot that exists? */
static inline bool cm_index_match(const struct cm_media *m, const struct cm_key *k, uint64_t c)
{
    return c != 0 && cm_cell_tag(c) == k->place.tag && cm_cell_slot(c) < m->geo.slots;
}
/* The same by bucket number, for check.c. */
int cm_index_load_bucket(const struct cm_media *m, uint64_t bucket, uint64_t cell[CM_BUCKET_CELLS]);
/* Unreadable only because a full volume has no room for its page: empty. */
bool cm_index_is_hole(const struct cm_media *m, uint64_t bucket);
int cm_index_store_bucket(const struct cm_media *m, uint64_t bucket, unsigned i, uint64_t cell,
                          bool flush);
/* Writes the i-th of a key's cells (0..15) and, with `flush`, starts making it durable. */
int cm_index_store(const struct cm_media *m, const struct cm_key *k, unsigned i, uint64_t cell,
                   bool flush);

#endif
