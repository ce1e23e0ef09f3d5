/* SPDX-License-Identifier: BSD-2-Clause
 *
 * glance.h - the usual read: all of one block, or a part of it, cached and judged before.
 *
 * The same steps as in lookup.c, without what only other cases need, and in one piece: while the
 * last lines of a copy are on their way, a CPU looks some hundred instructions ahead. The fewer
 * there are, the more of the next lookup is among them, and waits for memory at the same time
 * (docs/performance.md).
 *
 * Who: api.c, range.c, flight.c.
 */
#ifndef CM_GLANCE_H
#define CM_GLANCE_H

#include "lookup.h"

/* May blocks of the file be cached now? */
static inline bool cm_glance_may(const cm_file *f, uint64_t incarnation)
{
    return incarnation != 0 && !at_load_relaxed(&f->bypassed) && !cm_cache_bypassed(f->cache);
}

/* Is a request one block or a part of it, that may be cached? */
static inline bool cm_glance_fits(const cm_file *f, uint64_t incarnation, uint64_t offset,
                                  size_t len)
{
    return len <= CM_BLOCK_SIZE - offset % CM_BLOCK_SIZE && len > 0 &&
           offset + len <= at_load_acquire(&f->size) && cm_glance_may(f, incarnation);
}

/* What is said of a read that ended at byte `pos`, all of it served. The tickets stay what they
 * were: without a file nothing can be filled. */
static inline void cm_glance_end(uint64_t pos, bool eof, cm_miss *miss)
{
    if (!miss)
        return;
    miss->offset = pos;
    miss->len = 0;
    miss->flags = eof ? CM_MISS_EOF : 0;
    miss->reserved = 0;
    miss->opaque[0] = 0;
}

/* HIT: all of it was copied and counted. ABSENT: it is not cached. Else nothing is known, and
 * nothing was left in the buffer. */
static inline __attribute__((always_inline)) enum cm_found
cm_glance(cm_file *f, const struct cm_plat_thread *t, uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    const struct cm_media *m = &c->media;
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    const uint64_t incarnation = at_load_acquire(&f->incarnation);
    const struct cm_key k = cm_key_of(m, incarnation, offset / CM_BLOCK_SIZE);
    struct cm_cells cells;
    if (cm_index_load(m, &k, 0, &cells) || !cm_glance_fits(f, incarnation, offset, len))
        return CM_FOUND_CONFLICT;
    const unsigned matches = cm_index_matches(&k, cells.cell);
    if (matches == 0)
        return cm_lookup_elsewhere(c, k.place.bucket[1], k.place.tag);
    const uint64_t cell = cells.cell[at_lowest_bit(matches)];
    if (!cm_index_match(m, &k, cell) || !cm_lookup_copy(c, &k, cm_cell_slot(cell), &part))
        return CM_FOUND_CONFLICT;
    cm_media_count2(m, t, CM_STAT_hit_blocks, 1, len);
    return CM_FOUND_HIT;
}

#endif
