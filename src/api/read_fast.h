/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_fast.h - the usual read: one block or a part of it, which is cached and was judged before.
 *
 * It takes the same steps as lookup.c, but without those that only other cases need, and in one
 * piece. While the last lines of a copy are loaded, a CPU looks some hundred instructions ahead.
 * The fewer instructions a hit has, the more of the next lookup is among them, and the cache misses
 * of both run at the same time (docs/performance.md).
 */
#ifndef CM_READ_FAST_H
#define CM_READ_FAST_H

#include "protocol/lookup.h"
#include "state/region.h"

/* May blocks of the file be served, without a further look? */
static inline bool cm_fast_may(const struct cm_object *f, uint64_t incarnation)
{
    return incarnation != 0 && !at_load_relaxed(&f->gate) && !cm_cache_bypassed(f->cache);
}

/* Is a request one block or a part of it, that may be cached? */
static inline bool cm_fast_fits(const struct cm_object *f, uint64_t incarnation, uint64_t offset,
                                size_t len)
{
    return len <= CM_BLOCK_SIZE - offset % CM_BLOCK_SIZE && len > 0 &&
           offset + len <= at_load_acquire(&f->size) && cm_fast_may(f, incarnation);
}

/* Sets *miss after a read that ended at byte `pos` and was served in full. The tickets keep their
 * old values: with the serial 0 nothing can be filled. */
static inline void cm_fast_end(uint64_t incarnation, uint64_t pos, bool eof, cm_miss *miss)
{
    if (!miss)
        return;
    miss->struct_size = sizeof(*miss);
    miss->flags = eof ? CM_MISS_EOF : 0;
    miss->offset = pos;
    miss->len = 0;
    miss->incarnation = incarnation;
    miss->opaque[0] = 0;
}

/* Where a block is, as the index says. */
struct cm_fast {
    struct cm_key key;
    uint64_t slot; /* the slot that probably holds it, or CM_NO_SLOT */
    bool absent;   /* no cell of the first bucket carries its tag */
};

/* Prefetches what a hit waits for. Only the request's file was checked before; the other checks run
 * meanwhile. (If all checks came first, a hit would take a quarter longer.) */
static inline __attribute__((always_inline)) struct cm_fast
cm_fast_begin(const struct cm_object *f, uint64_t offset, size_t len)
{
    const struct cm_media *m = &f->cache->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation);
    struct cm_fast g = { cm_region_key(f, incarnation, offset / CM_BLOCK_SIZE), CM_NO_SLOT, false };
    struct cm_cells cells;
    if (cm_index_load(m, &g.key, 0, &cells))
        return g;
    const unsigned matches = cm_index_matches(&g.key, cells.cell);
    if (matches == 0) {
        g.absent = cm_lookup_elsewhere(f->cache, g.key.place.bucket[1], g.key.place.tag) ==
                   CM_FOUND_ABSENT;
        return g;
    }
    if (!cm_index_match(m, &g.key, cells.cell[at_lowest_bit(matches)]))
        return g;
    g.slot = cm_cell_slot(cells.cell[at_lowest_bit(matches)]);
    cm_slot_prefetch_payload(m, g.slot, (uint32_t)(offset % CM_BLOCK_SIZE), len, CM_PREFETCH_LINES);
    return g;
}

/* HIT: all of it was copied and counted. ABSENT: it is not cached. Else nothing is known, and
 * nothing was left in the buffer. */
static inline __attribute__((always_inline)) enum cm_found
cm_fast_read(struct cm_object *f, const struct cm_plat_thread *t, const struct cm_fast *g,
             uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    if (!cm_fast_fits(f, cm_incarnation_number(g->key.incarnation), offset, len))
        return CM_FOUND_CONFLICT;
    if (g->absent)
        return CM_FOUND_ABSENT;
    if (g->slot == CM_NO_SLOT || !cm_lookup_copy(c, &g->key, g->slot, &part, true))
        return CM_FOUND_CONFLICT;
    static_assert(CM_STAT_hit_bytes == CM_STAT_hit_blocks + 1, "cm_media_count2 counts neighbours");
    cm_media_count2(&c->media, t, CM_STAT_hit_blocks, 1, len);
    return CM_FOUND_HIT;
}

#endif
