/* SPDX-License-Identifier: BSD-2-Clause
 *
 * index.c - the open-addressed index.
 *
 * Owns: the cells. A cell is one 8-byte word, so it is never torn. It is a hint, so a lost or stale
 * cell is harmless. A key has two buckets and no other place, so a lookup reads two lines at most
 * and deletion leaves no tombstone. A cell never moves. A pool that grows gets a new index, with
 * copies of the cells (protocol/reindex.c).
 *
 * Who: api/, protocol/. Readers need no lock. Writers hold the stripe that owns the bucket.
 */
#include "media/index.h"

int cm_index_load_bucket(const struct cm_media *m, uint64_t bucket, uint64_t cell[CM_BUCKET_CELLS])
{
    return cm_guard_load_words(cm_index_bucket(m, bucket), cell, CM_BUCKET_CELLS);
}

bool cm_index_is_hole(const struct cm_media *m, uint64_t bucket)
{
    return cm_media_is_hole(m, cm_index_bucket(m, bucket), CM_BUCKET_CELLS * sizeof(uint64_t));
}
