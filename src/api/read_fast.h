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

#include "protocol/fill_ticket.h"
#include "protocol/lookup.h"
#include "state/region.h"
#include "state/shared.h"
#include "state/told.h"

/* May blocks of the file be served, without a further look? `gates`: which of CM_GATE_* count. */
static inline bool cm_fast_may(const struct cm_object *f, uint64_t incarnation, uint32_t gates)
{
    return incarnation != 0 && !(at_load_relaxed(&f->gate) & gates) && !cm_cache_bypassed(f->cache);
}

/* Is a request one block of the file, or a part of it? */
static inline bool cm_fast_fits(const struct cm_object *f, uint64_t offset, size_t len)
{
    const uint64_t size = at_load_acquire(&f->size);
    /* For no bytes, len - 1 is the largest number. */
    return len - 1 < CM_BLOCK_SIZE - offset % CM_BLOCK_SIZE && offset <= size &&
           len <= size - offset;
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
    miss->opaque[CM_MISS_SERIAL] = 0;
}

/* Where a block is, as the index says. */
struct cm_fast {
    uint64_t incarnation, block; /* the incarnation with the region's "since" */
    uint64_t hash;               /* of both */
    uint32_t stripe, buckets;    /* of its group; of the stripe: how many */
    uint64_t bucket;             /* its first one */
    uint64_t slot;               /* the slot that probably holds it, or CM_NO_SLOT */
    uint32_t first;              /* that bucket, counted from the stripe's first */
    int found; /* as cm_index_find() in that bucket: 0 its tag is not there, < 0 nothing is known */
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
    g->found = -1;
}
/* Looks in the first bucket. `plain`: for a slot of the pool's first part only (cm_spot_plain). */
static inline __attribute__((always_inline)) void cm_fast_find(const struct cm_media *m,
                                                               struct cm_fast *g, bool plain)
{
    const uint64_t slots = plain ? m->geo.plain : cm_media_slots(m);
    const uint64_t tag = cm_place_tag(g->hash);
    uint64_t cell = 0;
    g->found = cm_index_find(m, g->bucket, tag, &cell);
    /* An empty cell has no slot. If another thread changed the cell after its tag was compared, the
     * header tells. */
    if (g->found > 0 && cm_cell_slot(cell) < slots)
        g->slot = cm_cell_slot(cell);
}

/* The other bucket of the block. */
static inline uint64_t cm_fast_second(const struct cm_fast *g)
{
    return g->bucket - g->first + cm_place_second(g->hash, g->first, g->buckets);
}

/* Prefetches the index line of a block, and header and first line of the slot that was guessed. If
 * the guess is right, all three arrive at the same time: a hit takes an eighth less. If it is
 * wrong, two lines were loaded in vain, which costs nothing that could be measured. *at: the place
 * of that slot, if there is such a slot. An entry of the probation buffer is guessed like a
 * slot. */
static inline __attribute__((always_inline)) void cm_fast_guess(const struct cm_cache *c,
                                                                const struct cm_fast *g,
                                                                uint64_t guess, uint32_t from,
                                                                struct cm_spot *at)
{
    const struct cm_media *m = &c->media;
    at_prefetch(cm_index_bucket(m, g->bucket));
    if (guess >= m->geo.plain) {
        if (cm_lookup_is_entry(c, guess))
            cm_lookup_prefetch_entry(c, g->hash, guess, from);
        return;
    }
    *at = cm_spot_plain(m, guess);
    cm_slot_prefetch_first(at, from);
}

/* Prefetches what a hit waits for. *at: where the slot is, if there is one. Only the request's file
 * was checked before; the other checks run meanwhile. (If all checks came first, a hit would take a
 * fifth longer.) Slots of later parts of a pool that grew are left to cm_range_elsewhere().
 *
 * Where another process owns the pool, what it tells its readers is looked at first: what is copied
 * from then on was the content at that moment, or later. The look is two calls that store, and
 * their stores queue up behind those of the copy before. So the index line is prefetched ahead of
 * it; else a hit takes 1.12 to 1.23 times as long. Between the other prefetches and the copy, and
 * in a function of its own, the same look takes a fifth of a hit. */
static inline __attribute__((always_inline)) void cm_fast_begin(const struct cm_object *f,
                                                                uint64_t offset, size_t len,
                                                                struct cm_fast *g,
                                                                struct cm_spot *at)
{
    const struct cm_media *m = &f->cache->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation), block = offset / CM_BLOCK_SIZE;
    const struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
    const uint64_t guess = cm_object_guess(f, block);
    const uint32_t from = (uint32_t)(offset % CM_BLOCK_SIZE);
    bool told = true;
    cm_fast_place(f, incarnation, block, &home, g);
    cm_fast_guess(f->cache, g, guess, from, at);
    if (__builtin_expect(cm_object_is_shared(f), 0))
        told = cm_told_holds(f, incarnation);
    if (told)
        cm_fast_find(m, g, true);
    if (g->slot == CM_NO_SLOT)
        return;
    if (!at_guessed(&g->slot, guess)) {
        *at = cm_spot_plain(m, g->slot);
        cm_slot_prefetch_first(at, from);
    }
    cm_slot_prefetch_chosen(at, from, len, at_load_relaxed(&m->lines));
}

/* Copies a part of the block, whose first lines are prefetched. `at`: where its slot is, if there
 * is one. false: nothing is known, and nothing was left in the buffer. */
static inline __attribute__((always_inline)) bool
cm_fast_copy(struct cm_cache *c, const struct cm_fast *g, const struct cm_spot *at, uint64_t offset,
             void *buf, size_t len)
{
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    return g->slot != CM_NO_SLOT &&
           cm_lookup_copy(c, g->incarnation, g->block, g->hash, g->slot, at, &part, true);
}

/* true: all of it was copied and counted. false: nothing is known, and nothing was left in the
 * buffer. `g`, `at`: from cm_fast_begin(). */
static inline __attribute__((always_inline)) bool
cm_fast_read(struct cm_object *f, const struct cm_plat_thread *t, const struct cm_fast *g,
             const struct cm_spot *at, uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    const uint64_t incarnation = cm_incarnation_number(g->incarnation);
    if (!cm_fast_fits(f, offset, len) || !cm_fast_may(f, incarnation, ~(uint32_t)CM_GATE_SHARED) ||
        !cm_fast_copy(c, g, at, offset, buf, len))
        return false;
    if (!cm_media_uncut(&c->media)) {
        memset(buf, 0, len);
        return false; /* the long way notes it */
    }
    static_assert(CM_STAT_hit_bytes == CM_STAT_hit_blocks + 1, "cm_media_count2 counts neighbours");
    cm_media_count2(&c->media, t, CM_STAT_hit_blocks, 1, len);
    return true;
}

#endif
