/* SPDX-License-Identifier: BSD-2-Clause
 *
 * index.c - the open-addressed index.
 *
 * Owns: the cells. A cell is one 8-byte word, so it is never torn; it is a hint, so a lost or
 * stale one is harmless; a key has two buckets and no other place, so a lookup reads two lines at
 * most and deletion leaves no tombstone. Nothing ever moves and nothing ever resizes.
 *
 * Who: block.c and check.c. Readers need no lock. Writers hold the stripe that owns the bucket.
 */
#include "index.h"

static uint64_t *bucket_at(const struct cm_media *m, uint64_t bucket)
{
    assert(bucket < m->geo.stripes * m->geo.stripe_buckets);
    uint8_t *p = m->base + m->geo.index_offset + bucket * sizeof(struct cm_bucket);
    return ((struct cm_bucket *)(void *)p)->cell;
}

int cm_index_load_bucket(const struct cm_media *m, uint64_t bucket, uint64_t cell[CM_BUCKET_CELLS])
{
    /* Acquire loads pair with the release store below. A cell promises nothing: it is stored before
     * its header is valid, and a reader that comes in between finds an invalid header. */
    return cm_guard_load_words(bucket_at(m, bucket), cell, CM_BUCKET_CELLS);
}

bool cm_index_is_hole(const struct cm_media *m, uint64_t bucket)
{
    return cm_media_is_hole(m, bucket_at(m, bucket), CM_BUCKET_CELLS * sizeof(uint64_t));
}

int cm_index_store_bucket(const struct cm_media *m, uint64_t bucket, unsigned i, uint64_t cell)
{
    assert(i < CM_BUCKET_CELLS);
    return cm_media_store64(m, bucket_at(m, bucket) + i, cell);
}

int cm_index_flush_bucket(const struct cm_media *m, uint64_t bucket, unsigned i)
{
    assert(i < CM_BUCKET_CELLS);
    return cm_media_flush(m, bucket_at(m, bucket) + i, sizeof(uint64_t));
}

int cm_index_load(const struct cm_media *m, const struct cm_key *k, unsigned which,
                  struct cm_cells *cells)
{
    assert(which < 2);
    return cm_index_load_bucket(m, k->place.bucket[which], &cells->cell[which * CM_BUCKET_CELLS]);
}

void cm_index_prefetch(const struct cm_media *m, const struct cm_key *k, unsigned which)
{
    at_prefetch(bucket_at(m, k->place.bucket[which]));
}

int cm_index_store(const struct cm_media *m, const struct cm_key *k, unsigned i, uint64_t cell)
{
    assert(i < CM_PLACE_CELLS);
    return cm_index_store_bucket(m, k->place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS,
                                 cell);
}

int cm_index_flush(const struct cm_media *m, const struct cm_key *k, unsigned i)
{
    assert(i < CM_PLACE_CELLS);
    return cm_index_flush_bucket(m, k->place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS);
}
