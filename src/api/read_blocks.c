/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_blocks.c - reads of consecutive blocks, as far as they are cached.
 *
 * Owns: no state. A run is read in windows of some blocks. While one window is copied, the index
 * lines of the next one are loaded, then its headers. Blocks whose slots are neighbours are copied
 * together. Each block is judged by its own header, before and after the copy. What this short way
 * cannot answer goes through all steps of a lookup (protocol/lookup.c), block by block.
 *
 * Who: api/.
 */
#include "api/read_blocks.h"

#include "api/read_fast.h"
#include "state/region.h"

#include <string.h>

#define WINDOW 16u /* blocks whose index lines are under way at a time */
#define LINES 16u  /* of the next block: enough for it (docs/performance.md) */

/* The wanted part of one block. */
struct piece {
    struct cm_fast fast;
    uint64_t pos;
    uint32_t from, want;
};

/* Plans the piece at byte `pos`. Returns where the next one begins. */
static inline uint64_t plan(struct cm_blocks *r, uint64_t pos, struct piece *p)
{
    const uint64_t block = pos / CM_BLOCK_SIZE;
    p->pos = pos;
    cm_key_home_next(&r->f->cache->media, &r->home, r->incarnation, block >> CM_GROUP_SHIFT);
    cm_fast_place(r->f, r->incarnation, block, &r->home.home, &p->fast);
    p->from = (uint32_t)(pos % CM_BLOCK_SIZE);
    p->want = CM_BLOCK_SIZE - p->from;
    if (p->want > r->end - pos)
        p->want = (uint32_t)(r->end - pos);
    return pos + p->want;
}

/* Adds what was read of a piece. HIT: all of it. */
static enum cm_found add_read(struct cm_blocks *r, const struct piece *p, enum cm_found found,
                              uint32_t got)
{
    if (found != CM_FOUND_HIT && found != CM_FOUND_BUFFERED)
        return found;
    r->pos += got;
    r->hits += got > 0;
    r->buffered += got > 0 && found == CM_FOUND_BUFFERED;
    return got == p->want ? CM_FOUND_HIT : CM_FOUND_BUFFERED;
}

/* Reads a piece with all steps of a lookup. HIT: all of it was cached. */
static __attribute__((noinline)) enum cm_found read_piece(struct cm_blocks *r,
                                                          const struct piece *p, uint8_t *buf)
{
    struct cm_cache *c = r->f->cache;
    uint32_t got = 0;
    const struct cm_part part = { p->from, p->want, buf + (p->pos - r->offset) };
    struct cm_probe probe;
    probe.key = cm_region_key_next(r->f, &r->home, r->incarnation, p->fast.block);
    cm_lookup_probe(c, &probe);
    const enum cm_found found = cm_lookup_read(c, &probe, &part, &got);
    return add_read(r, p, found, got);
}

/* The same, but ABSENT also if it would have to wait for a page of the pool. */
static enum cm_found read_resident_piece(struct cm_blocks *r, const struct piece *p, uint8_t *buf)
{
    struct cm_cache *c = r->f->cache;
    uint32_t got = 0;
    const struct cm_part part = { p->from, p->want, buf + (p->pos - r->offset) };
    const struct cm_key k = cm_region_key_next(r->f, &r->home, r->incarnation, p->fast.block);
    if (cm_lookup_buffered(c, &k, &part, &got) == CM_FOUND_BUFFERED)
        return add_read(r, p, CM_FOUND_BUFFERED, got);
    return cm_lookup_is_resident(c, &k) ? read_piece(r, p, buf) : CM_FOUND_ABSENT;
}

/* Looks for the slots of pieces, and prefetches what is needed first. */
static inline void find_slots(const struct cm_blocks *r, struct piece *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        cm_fast_find(&r->f->cache->media, &p[i].fast, false);
        if (p[i].fast.slot == CM_NO_SLOT)
            continue;
        at_prefetch(cm_slot_at(&r->f->cache->media, p[i].fast.slot));
        cm_ring_prefetch(&r->f->cache->policy.ring, p[i].fast.slot);
    }
}

/* Plans the next pieces, from *next on, and prefetches their index lines. Returns how many. */
static inline unsigned plan_ahead(struct cm_blocks *r, uint64_t *next, struct piece *p)
{
    unsigned n = 0;
    for (; n < WINDOW && *next < r->end; n++) {
        *next = plan(r, *next, &p[n]);
        at_prefetch(cm_index_bucket(&r->f->cache->media, p[n].fast.bucket));
    }
    return n;
}

/* How many of n pieces are whole blocks whose slots are neighbours and were judged before. */
static inline unsigned neighbours(const struct cm_cache *c, const struct piece *p, unsigned n)
{
    unsigned i = 0;
    for (; i < n && i < CM_SLOT_NEIGHBOURS; i++)
        if (p[i].fast.slot == CM_NO_SLOT || p[i].fast.slot != p[0].fast.slot + i ||
            p[i].want != CM_BLOCK_SIZE || !cm_lookup_knows(c, p[i].fast.slot))
            break;
    return i;
}

/* Reads n such pieces in one copy. Returns a bit for each that was read. */
static uint32_t read_neighbours(struct cm_blocks *r, const struct piece *p, unsigned n,
                                uint8_t *buf)
{
    struct cm_cache *c = r->f->cache;
    uint64_t incarnation[CM_SLOT_NEIGHBOURS];
    uint8_t *to = buf + (p->pos - r->offset);
    for (unsigned i = 0; i < n; i++)
        incarnation[i] = p[i].fast.incarnation;
    const uint32_t right =
        cm_slot_read_neighbours(&c->media, p->fast.slot, n, incarnation, p->fast.block, to);
    for (unsigned i = 0; i < n; i++)
        if (!(right >> i & 1))
            memset(to + i * CM_BLOCK_SIZE, 0, CM_BLOCK_SIZE); /* may be another file's */
    return right;
}

/* Adds a piece that was read with its neighbours. */
static inline enum cm_found add_neighbour(struct cm_blocks *r, const struct piece *p)
{
    const struct cm_fast *g = &p->fast;
    cm_lookup_note(r->f->cache, g->incarnation, g->block, g->hash, g->slot);
    return add_read(r, p, CM_FOUND_HIT, p->want);
}

/* Reads a piece by the short way, and if that is not enough, with all steps. */
static inline enum cm_found read_one(struct cm_blocks *r, const struct piece *p, uint8_t *buf)
{
    if (!cm_fast_copy(r->f->cache, &p->fast, p->pos, buf + (p->pos - r->offset), p->want, false))
        return read_piece(r, p, buf);
    return add_read(r, p, CM_FOUND_HIT, p->want);
}

/* Reads n pieces, those of neighbours together. HIT: all of it was cached. */
static enum cm_found read_pieces(struct cm_blocks *r, const struct piece *p, unsigned n,
                                 uint8_t *buf)
{
    enum cm_found found = CM_FOUND_HIT;
    for (unsigned i = 0; i < n && found == CM_FOUND_HIT;) {
        const unsigned some = neighbours(r->f->cache, p + i, n - i);
        if (some < 2) {
            if (i + 1 < n)
                cm_fast_prefetch(&r->f->cache->media, &p[i + 1].fast, p[i + 1].pos, p[i + 1].want,
                                 LINES);
            found = read_one(r, &p[i++], buf);
            continue;
        }
        uint32_t right = read_neighbours(r, p + i, some, buf);
        for (const unsigned end = i + some; i < end && found == CM_FOUND_HIT; i++, right >>= 1)
            found = right & 1 ? add_neighbour(r, &p[i]) : read_piece(r, &p[i], buf);
    }
    return found;
}

enum cm_found cm_blocks_read(struct cm_blocks *r, uint8_t *buf)
{
    struct piece p[2][WINDOW];
    uint64_t next = r->pos;
    unsigned n = plan_ahead(r, &next, p[0]), now = 0;
    enum cm_found found = CM_FOUND_HIT;
    find_slots(r, p[0], n);
    while (n > 0 && found == CM_FOUND_HIT) {
        const unsigned more = plan_ahead(r, &next, p[!now]), first = more > 0 ? n / 2 : n;
        found = read_pieces(r, p[now], first, buf);
        if (found != CM_FOUND_HIT)
            break;
        find_slots(r, p[!now], more);
        found = read_pieces(r, p[now] + first, n - first, buf);
        n = more;
        now = !now;
    }
    return found;
}

enum cm_found cm_blocks_read_resident(struct cm_blocks *r, uint8_t *buf)
{
    enum cm_found found = CM_FOUND_HIT;
    struct piece p;
    for (uint64_t next = r->pos; next < r->end && found == CM_FOUND_HIT;) {
        next = plan(r, next, &p);
        found = read_resident_piece(r, &p, buf);
    }
    return found;
}
