/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_elsewhere.c - the second look at a part of one block that read_fast.h did not serve: its
 * second bucket, the probation buffer; and the miss, if it is in neither.
 *
 * Owns: no state. What needs more than that goes to read_range.c.
 *
 * Who: api/.
 */
#include "api/read_range.h"
#include "protocol/fill_ticket.h"
#include "state/file.h"

/* Reads a block whose tag is in its second bucket, or whose slot is in a later part of a pool that
 * grew. */
static __attribute__((noinline)) enum cm_found read_found(struct cm_cache *c,
                                                          const struct cm_plat_thread *t,
                                                          const struct cm_fast *g, uint64_t slot,
                                                          uint64_t offset, void *buf, size_t len)
{
    struct cm_fast found = *g;
    found.slot = slot;
    const struct cm_spot at = cm_spot_of(&c->media, slot);
    cm_slot_prefetch_payload(&at, (uint32_t)(offset % CM_BLOCK_SIZE), len, CM_PREFETCH_LINES);
    if (!cm_fast_copy(c, &found, &at, offset, buf, len))
        return CM_FOUND_CONFLICT;
    if (!cm_media_uncut(&c->media)) {
        memset(buf, 0, len);
        return CM_FOUND_CONFLICT; /* the long way notes it */
    }
    cm_media_count2(&c->media, t, CM_STAT_hit_blocks, 1, len);
    return CM_FOUND_HIT;
}

/* Reads a block that waits in the probation buffer. */
static __attribute__((noinline)) enum cm_found
read_buffered(struct cm_cache *c, const struct cm_plat_thread *t, const struct cm_fast *g,
              uint64_t slot, uint64_t version, uint64_t offset, void *buf, size_t len)
{
    const struct cm_part part = { (uint32_t)(offset % CM_BLOCK_SIZE), (uint32_t)len, buf };
    const struct cm_spot at = cm_probation_spot(&c->probation, slot - CM_ENTRY_FIRST);
    cm_slot_prefetch_payload(&at, part.from, len, CM_PREFETCH_LINES);
    if (!cm_lookup_copy_entry(c, g->incarnation, g->block, g->hash, slot, version, &part))
        return CM_FOUND_CONFLICT;
    cm_media_count2(&c->media, t, CM_STAT_hit_blocks, 1, len);
    cm_media_count(&c->media, t, CM_STAT_probation_hits, 1);
    return CM_FOUND_HIT;
}

/* Looks for a block where read_fast.h does not: in the probation buffer and in its second bucket,
 * or for a slot of a later part of a pool that grew. */
static inline __attribute__((always_inline)) enum cm_found
find_elsewhere(const struct cm_cache *c, const struct cm_fast *g, uint64_t second, uint64_t *slot,
               uint64_t *version)
{
    if (g->found == 0)
        return cm_lookup_elsewhere(c, g->incarnation, g->block, g->hash, second, slot, version);
    const enum cm_found r = cm_lookup_bucket(c, g->hash, g->bucket, slot);
    return r == CM_FOUND_HIT ? r : CM_FOUND_CONFLICT; /* it has changed, and nothing is known */
}

/* As cm_range_elsewhere(). Inlined, it saves an absent block 25 instructions. */
static inline __attribute__((always_inline)) enum cm_found
read_elsewhere(struct cm_object *f, const struct cm_plat_thread *t, const struct cm_fast *g,
               uint64_t offset, void *buf, size_t len)
{
    struct cm_cache *c = f->cache;
    uint64_t slot = CM_NO_SLOT, version = 0;
    const uint64_t incarnation = cm_incarnation_number(g->incarnation);
    const uint64_t second = cm_fast_second(g);
    /* Before the tests, which run meanwhile. */
    cm_lookup_prefetch_elsewhere(c, g->hash, second);
    /* found >= 0: a reader of another process's pool was told that its incarnation counts. */
    if (g->slot != CM_NO_SLOT || g->found < 0 || !cm_fast_fits(f, offset, len) ||
        !cm_fast_may(f, incarnation, ~(uint32_t)CM_GATE_SHARED))
        return CM_FOUND_CONFLICT;
    const enum cm_found r = find_elsewhere(c, g, second, &slot, &version);
    if (r == CM_FOUND_BUFFERED)
        return read_buffered(c, t, g, slot, version, offset, buf, len);
    return r == CM_FOUND_HIT ? read_found(c, t, g, slot, offset, buf, len) : r;
}

enum cm_found cm_range_elsewhere(struct cm_object *f, const struct cm_plat_thread *t,
                                 const struct cm_fast *g, uint64_t offset, void *buf, size_t len)
{
    return read_elsewhere(f, t, g, offset, buf, len);
}

/* Ends the read of a part of one block that is not cached. */
static int64_t read_absent(struct cm_object *f, const struct cm_plat_thread *t,
                           const struct cm_fast *g, uint64_t offset, size_t len, cm_miss *miss)
{
    struct cm_cache *c = f->cache;
    const uint64_t incarnation = cm_incarnation_number(g->incarnation);
    const uint64_t first = g->block * CM_BLOCK_SIZE, size = at_load_acquire(&f->size);
    uint64_t counted = 0;
    /* The file may just have become shorter. */
    if (offset + len > size || cm_cache_mode(c) != CM_NORMAL)
        return cm_range_read(f, CM_FOUND_ABSENT, offset, NULL, len, 0, &counted, miss);
    if (miss) {
        miss->struct_size = sizeof(*miss);
        miss->flags = 0;
        miss->offset = first;
        miss->len = size - first < CM_BLOCK_SIZE ? size - first : CM_BLOCK_SIZE;
        cm_ticket_take_block(f, incarnation, g->stripe, miss);
    }
    static_assert(CM_STAT_miss_absent == CM_STAT_miss_blocks + 1, "neighbours");
    cm_media_count2(&c->media, t, CM_STAT_miss_blocks, 1, 1);
    cm_object_missed(f, 1, cm_plat_now_ns());
    cm_ticket_sample_miss(c, incarnation, g->block, 1);
    return 0;
}

int64_t cm_range_read_slow(struct cm_object *f, const struct cm_plat_thread *t,
                           const struct cm_fast *g, uint64_t offset, void *buf, size_t len,
                           cm_miss *miss)
{
    uint64_t counted = 0;
    switch (read_elsewhere(f, t, g, offset, buf, len)) {
    case CM_FOUND_HIT:
        cm_fast_end(cm_incarnation_number(g->incarnation), offset + len, false, miss);
        return (int64_t)len;
    case CM_FOUND_ABSENT:
        return read_absent(f, t, g, offset, len, miss);
    default:
        return cm_range_read(f, CM_FOUND_CONFLICT, offset, buf, len, 0, &counted, miss);
    }
}
