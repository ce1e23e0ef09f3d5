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
#include "state/shared.h"

/* May blocks of the file be served, without a further look? `gates`: which of CM_GATE_* count. */
static inline bool cm_fast_may(const struct cm_object *f, uint64_t incarnation, uint32_t gates)
{
    return incarnation != 0 && !(at_load_relaxed(&f->gate) & gates) && !cm_cache_bypassed(f->cache);
}

/* Is a request one block or a part of it, that may be cached? */
static inline bool cm_fast_fits(const struct cm_object *f, uint64_t incarnation, uint64_t offset,
                                size_t len, uint32_t gates)
{
    return len <= CM_BLOCK_SIZE - offset % CM_BLOCK_SIZE && len > 0 &&
           offset + len <= at_load_acquire(&f->size) && cm_fast_may(f, incarnation, gates);
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
    uint64_t incarnation, block; /* the incarnation with the region's "since" */
    uint64_t hash;               /* of both */
    uint32_t stripe, buckets;    /* of its group; of the stripe: how many */
    uint64_t bucket;             /* its first one */
    uint64_t slot;               /* the slot that probably holds it, or CM_NO_SLOT */
    uint32_t first;              /* that bucket, counted from the stripe's first */
    int found;                   /* as cm_index_find() in that bucket; 0: its tag is not there */
};

/* The place of a block of the file. `home`: of its group. */
static inline __attribute__((always_inline)) void
cm_fast_place(const struct cm_object *f, uint64_t incarnation, uint64_t block,
              const struct cm_home *home, struct cm_fast *g)
{
    g->incarnation = cm_region_incarnation(f, incarnation, block);
    g->block = block;
    g->hash = cm_place_hash(home, block);
    g->stripe = home->stripe;
    g->buckets = home->buckets;
    g->first = (uint32_t)cm_place_first(g->hash, block, home);
    g->bucket = home->base + g->first;
    g->slot = CM_NO_SLOT;
}
/* Looks in the first bucket, for a slot below `slots`. */
static inline __attribute__((always_inline)) void cm_fast_find(const struct cm_media *m,
                                                               struct cm_fast *g, uint64_t slots)
{
    const uint64_t tag = cm_place_tag(g->hash);
    uint64_t cell = 0;
    g->found = cm_index_find(m, g->bucket, tag, &cell);
    if (g->found > 0 && cm_cell_tag(cell) == tag && cm_cell_slot(cell) < slots)
        g->slot = cm_cell_slot(cell); /* an empty cell has no slot */
}
/* Prefetches the first lines of a part of it, with its header. `plain`, here and below: only slots
 * of the first part were looked for (cm_spot_plain). */
static inline __attribute__((always_inline)) void cm_fast_prefetch(const struct cm_media *m,
                                                                   const struct cm_fast *g,
                                                                   uint64_t offset, size_t len,
                                                                   unsigned lines, bool plain)
{
    if (g->slot == CM_NO_SLOT)
        return;
    const struct cm_spot at = plain ? cm_spot_plain(m, g->slot) : cm_spot_of(m, g->slot);
    cm_slot_prefetch_payload(&at, (uint32_t)(offset % CM_BLOCK_SIZE), len, lines);
}

/* Prefetches what a hit waits for. Only the request's file was checked before; the other checks run
 * meanwhile. (If all checks came first, a hit would take a quarter longer.) Slots of later parts of
 * a pool that grew are left to cm_range_elsewhere(). */
static inline __attribute__((always_inline)) void
cm_fast_begin(const struct cm_object *f, uint64_t offset, size_t len, struct cm_fast *g)
{
    const struct cm_media *m = &f->cache->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation), block = offset / CM_BLOCK_SIZE;
    const struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
    cm_fast_place(f, incarnation, block, &home, g);
    cm_fast_find(m, g, m->geo.plain);
    cm_fast_prefetch(m, g, offset, len, CM_PREFETCH_LINES, true);
}

/* Copies a part of the block. false: nothing is known, and nothing was left in the buffer.
 * `prefetched`: cm_fast_prefetch() was called. */
static inline __attribute__((always_inline)) bool
cm_fast_copy(struct cm_cache *c, const struct cm_fast *g, uint64_t offset, void *buf, size_t len,
             bool prefetched, bool plain)
{
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    if (g->slot == CM_NO_SLOT)
        return false;
    const struct cm_spot at =
        plain ? cm_spot_plain(&c->media, g->slot) : cm_spot_of(&c->media, g->slot);
    return cm_lookup_copy(c, g->incarnation, g->block, g->hash, g->slot, &at, &part, prefetched);
}

/* true: all of it was copied and counted. false: nothing is known, and nothing was left in the
 * buffer. */
static inline __attribute__((always_inline)) bool
cm_fast_read(struct cm_object *f, const struct cm_plat_thread *t, const struct cm_fast *g,
             uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    if (!cm_fast_fits(f, cm_incarnation_number(g->incarnation), offset, len, UINT32_MAX) ||
        !cm_fast_copy(c, g, offset, buf, len, true, true))
        return false;
    static_assert(CM_STAT_hit_bytes == CM_STAT_hit_blocks + 1, "cm_media_count2 counts neighbours");
    cm_media_count2(&c->media, t, CM_STAT_hit_blocks, 1, len);
    return true;
}

#endif
