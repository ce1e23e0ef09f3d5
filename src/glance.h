/* SPDX-License-Identifier: BSD-2-Clause
 *
 * glance.h - the usual read: all of one block, or a part of it, cached and judged before.
 *
 * The same steps as in lookup.c, without what only other cases need, and in one piece: while the
 * last lines of a copy are on their way, a CPU looks some hundred instructions ahead. The fewer
 * there are, the more of the next lookup is among them, and waits for memory at the same time
 * (docs/performance.md).
 *
 * Who: api.c, flight.c.
 */
#ifndef CM_GLANCE_H
#define CM_GLANCE_H

#include "lookup.h"
#include "sample.h"

#include <string.h>

/* May blocks of the file be cached now? */
static inline bool cm_glance_may(const cm_file *f, uint64_t incarnation)
{
    return incarnation != 0 && !at_load_relaxed(&f->bypassed) && !cm_cache_bypassed(f->cache);
}

/* HIT: all of it was copied and counted. ABSENT: it is not cached. Else nothing is known, and
 * nothing was left in the buffer. */
static inline __attribute__((always_inline)) enum cm_found
cm_glance(cm_file *f, const struct cm_plat_thread *t, uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    const struct cm_media *m = &c->media;
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    const uint64_t incarnation = at_load_acquire(&f->incarnation), block = offset / CM_BLOCK_SIZE;
    const struct cm_key k = cm_key_of(m, incarnation, block);
    struct cm_cells cells;
    if (cm_index_load(m, &k, 0, &cells) || len > CM_BLOCK_SIZE - part.from || len == 0 ||
        offset + len > at_load_acquire(&f->size) || !cm_glance_may(f, incarnation))
        return CM_FOUND_CONFLICT;
    const unsigned matches = cm_index_matches(&k, cells.cell);
    if (matches == 0)
        return cm_lookup_elsewhere(c, k.place.bucket[1], k.place.tag);
    const uint64_t cell = cells.cell[at_lowest_bit(matches)], slot = cm_cell_slot(cell);
    if (!cm_index_match(m, &k, cell) || !cm_lookup_knows(c, slot))
        return CM_FOUND_CONFLICT;
    if (!cm_slot_read_known(m, slot, &k, &part)) {
        memset(buf, 0, len); /* may be another file's */
        return CM_FOUND_CONFLICT;
    }
    if (cm_sample_has(c, incarnation, block) || cm_ring_counts(&c->ring, slot))
        cm_lookup_touch(c, incarnation, block, slot);
    cm_media_count2(m, t, CM_STAT_hit_blocks, 1, len);
    return CM_FOUND_HIT;
}

#endif
