/* SPDX-License-Identifier: BSD-2-Clause
 *
 * media.h - an open pool as the media modules (superblock, index, slot, file_table, stats) see it:
 * where it is mapped, how it is laid out, how it is written.
 */
#ifndef CM_MEDIA_H
#define CM_MEDIA_H

#include <string.h>

#include "platform/atomic.h"
#include "media/format.h"
#include "persist/persist.h"

struct cm_sealing;

struct cm_media {
    /* What hits load, down to the first members of geo. */
    uint8_t *base;
    uint64_t index;        /* atomic; cm_place_index() */
    uint64_t hash_seed;    /* placement */
    uint64_t check_key;    /* seeds checks; atomic: changes with the epoch */
    cm_guard_take_fn take; /* atomic; or NULL */
    uint32_t lines;        /* atomic; CM_LINES_*: of a payload, that a hit prefetches */
    const uint8_t *end;    /* atomic; what cm_media_uncut() loads: in the file's last page */
    /* What stands for the pool in the addresses of statistics: `base`. A reader's own memory, where
     * another process owns the pool. */
    uint8_t *stats;
    /* Changes only when the pool grows (cm_media_add_part()). Other threads read part[].first,
     * pool_size and the memo fields meanwhile, atomically. */
    struct cm_geometry geo;
    uint64_t slots; /* atomic */
    const struct cm_persist_ops *ops;
    void *ops_ctx;             /* for a recorder; NULL for the CPU's own operations */
    uint8_t boot;              /* low bits of the superblock's boot_number: stamps what is stored.
                                * Atomic where another process owns the pool */
    cm_persist_copy_fn fill;   /* atomic; copies whole blocks; NULL: ops->copy */
    struct cm_plat_file *file; /* NULL: memory */
    bool counted;              /* what is written is added to the stats page */
    const struct cm_sealing *seal; /* NULL: the pool is not sealed (seal.h) */
};

/* geo was set, and nobody else uses it yet. */
static inline void cm_media_lay_out(struct cm_media *m)
{
    m->slots = m->geo.slots;
    m->index = cm_place_index(&m->geo);
}
/* All slots that the pool has now. */
static inline uint64_t cm_media_slots(const struct cm_media *m)
{
    /* Acquire: pairs with the release in cm_media_add_part(). Who has seen a slot's number there is
     * can compute where it is. */
    return at_load_acquire(&m->slots);
}
/* The pool has grown: `to` has one part more. Its slots can be found from here on; nothing leads to
 * them yet. */
static inline void cm_media_add_part(struct cm_media *m, const struct cm_geometry *to)
{
    const unsigned i = m->geo.parts;
    assert(i < CM_PARTS && to->parts == i + 1);
    m->geo.part[i].start = to->part[i].start;
    m->geo.part[i].header_offset = to->part[i].header_offset;
    m->geo.part[i].slot_offset = to->part[i].slot_offset;
    m->geo.parts = to->parts;
    m->geo.incompat = to->incompat;
    m->geo.slots = to->slots;
    m->geo.index_first = to->index_first;
    m->geo.stripe_buckets = to->stripe_buckets;
    at_store_relaxed(&m->geo.pool_size, to->pool_size);
    at_store_relaxed(&m->geo.memo_offset, to->memo_offset);
    at_store_relaxed(&m->geo.memo_ring_pages, to->memo_ring_pages);
    at_store_relaxed(&m->geo.memo_pages, to->memo_pages);
    at_store_release(&m->geo.part[i].first, to->part[i].first);
    at_store_release(&m->slots, to->slots);
}
/* The index that is in use. */
static inline uint64_t cm_media_index(const struct cm_media *m)
{
    return at_load_acquire(&m->index); /* pairs with the release in grow.c: its cells were stored */
}

static inline uint64_t cm_media_key(const struct cm_media *m)
{
    /* Pairs with the release stores in bump() and cm_super_open() (superblock.c), and in learn()
     * (shared.c): when a thread sees the new key, the new epoch is durable. A thread that still
     * uses the old key judges as if it had come a moment earlier. */
    return at_load_acquire(&m->check_key);
}

/* Are [p, p+n) of the pool unreadable only because they are a hole of a sparse file that a full
 * volume cannot fill? Reading the file without the mapping gives zeros then. n: up to a block. */
static inline bool cm_media_is_hole(const struct cm_media *m, const void *p, size_t n)
{
    uint8_t bytes[512];
    uint64_t offset = (uint64_t)((const uint8_t *)p - m->base);
    assert(n > 1 && n <= CM_BLOCK_SIZE);
    if (!m->file || !m->file->sparse)
        return false;
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < sizeof(bytes) ? n - at : sizeof(bytes);
        if (cm_plat_file_pread(m->file, bytes, some, offset + at) || bytes[0] != 0 ||
            memcmp(bytes, bytes + 1, some - 1) != 0)
            return false;
    }
    return true;
}

/* Was the pool whole while the calling thread copied out of it, or looked at what it has pinned?
 * Asked once at the end of each call that serves such bytes; false: none of them counts.
 *
 * If somebody cuts the file inside a page, the rest of that page becomes zeros without a fault. But
 * the system first takes the pages behind it away from every CPU: from then on a load there faults.
 * So if the last page of the file can be loaded, no zeros had been written before. The load must
 * come behind the copies; else the cut may come between. The fence keeps them in this order:
 * x86-64 keeps all loads in order, other CPUs do not. Of what lies in the last page itself this
 * says nothing: such slots are verified in each hit (cm_cache.known). In a pool whose file nobody
 * can cut, in a sealed one, whose hits are all verified, and without a guard `end` is the
 * superblock. */
static inline __attribute__((always_inline)) bool cm_media_uncut(const struct cm_media *m)
{
    at_fence_acquire();
    return __builtin_expect(cm_guard_touch(at_load_relaxed(&m->end)) == 0, 1);
}

static inline uint64_t *cm_media_shard(const uint8_t *base, uint32_t shard)
{
    uintptr_t p = (uintptr_t)base + CM_STATS_OFFSET + sizeof(struct cm_stats_head);
    return ((struct cm_stats_shard *)p)[shard].word;
}
/* Are these bytes of the pool in memory? */
static inline bool cm_media_is_resident(const struct cm_media *m, const void *p, size_t n)
{
    const bool mapped = m->file && m->file->base == m->base;
    return mapped ? cm_plat_file_is_resident(m->file, p, n) : cm_plat_is_resident(p, n);
}
/* Is the page in memory that the calling thread counts in? */
static inline bool cm_media_counters_resident(const struct cm_media *m)
{
    const uint32_t n = cm_plat_thread()->number;
    const uint32_t shared = CM_STATS_OWN_SHARDS + n % (CM_STATS_SHARDS - CM_STATS_OWN_SHARDS);
    return cm_plat_is_resident(cm_media_shard(m->stats, n < CM_STATS_OWN_SHARDS ? n : shared),
                               sizeof(struct cm_stats_shard));
}
/* Adds to a word of the stats page. The first threads have shards of their own; the others share
 * the remaining shards. If the page is unreadable nothing is counted. */
static inline void cm_media_add(const struct cm_media *m, const struct cm_plat_thread *t,
                                unsigned word, uint64_t n)
{
    if (t->number < CM_STATS_OWN_SHARDS) {
        (void)cm_guard_add64_own(&cm_media_shard(m->stats, t->number)[word], n);
    } else {
        uint32_t shared = t->number % (CM_STATS_SHARDS - CM_STATS_OWN_SHARDS);
        (void)cm_guard_add64(&cm_media_shard(m->stats, CM_STATS_OWN_SHARDS + shared)[word], n);
    }
}
static inline void cm_media_count(const struct cm_media *m, const struct cm_plat_thread *t,
                                  enum cm_stat which, uint64_t n)
{
    cm_media_add(m, t, CM_STATS_COUNTERS + which, n);
}
/* Adds to a counter and to the next one. */
static inline __attribute__((always_inline)) void cm_media_count2(const struct cm_media *m,
                                                                  const struct cm_plat_thread *t,
                                                                  enum cm_stat which, uint64_t n,
                                                                  uint64_t n2)
{
    if (t->number < CM_STATS_OWN_SHARDS) {
        uint64_t *word = &cm_media_shard(m->stats, t->number)[CM_STATS_COUNTERS + which];
        (void)cm_guard_add64_own2(word, n, n2);
    } else {
        cm_media_add(m, t, CM_STATS_COUNTERS + which, n);
        cm_media_add(m, t, CM_STATS_COUNTERS + which + 1, n2);
    }
}

static inline int cm_media_store64(const struct cm_media *m, uint64_t *p, uint64_t v)
{
    return m->ops->store64(m->ops_ctx, p, v);
}
static inline int cm_media_cas64(const struct cm_media *m, uint64_t *p, uint64_t old, uint64_t v)
{
    return m->ops->cas64(m->ops_ctx, p, old, v);
}
static inline int cm_media_write(const struct cm_media *m, void *dst, const void *src, size_t n)
{
    return m->ops->write(m->ops_ctx, dst, src, n);
}
static inline int cm_media_copy(const struct cm_media *m, void *dst, const void *src, size_t n)
{
    cm_plat_thread()->written += n;
    return m->ops->copy(m->ops_ctx, dst, src, n);
}
/* The same for a whole block. */
static inline int cm_media_fill(const struct cm_media *m, void *dst, const void *src)
{
    const cm_persist_copy_fn fill = at_load_relaxed(&m->fill); /* each routine is right */
    if (!fill)
        return cm_media_copy(m, dst, src, CM_BLOCK_SIZE);
    cm_plat_thread()->written += CM_BLOCK_SIZE;
    return fill(NULL, dst, src, CM_BLOCK_SIZE);
}
static inline int cm_media_flush(const struct cm_media *m, const void *p, size_t n)
{
    cm_plat_thread()->written +=
        ((uintptr_t)p % CM_CACHE_LINE + n + CM_CACHE_LINE - 1) / CM_CACHE_LINE * CM_CACHE_LINE;
    return m->ops->flush(m->ops_ctx, p, n);
}
/* The same for bytes that lie in one line. */
static inline int cm_media_flush_line(const struct cm_media *m, const void *p, size_t n)
{
    assert((uintptr_t)p % CM_CACHE_LINE + n <= CM_CACHE_LINE);
    cm_plat_thread()->written += CM_CACHE_LINE;
    return m->ops->flush(m->ops_ctx, p, n);
}
/* Counts the wear, too, because the thread waits here anyway: the bytes that were copied, and the
 * lines that were flushed. Lines that the CPU writes back by itself are not counted. */
static inline void cm_media_fence(const struct cm_media *m)
{
    struct cm_plat_thread *t = cm_plat_thread();
    if (m->counted && t->written != 0)
        cm_media_count(m, t, CM_STAT_pool_bytes, t->written);
    t->written = 0;
    m->ops->fence(m->ops_ctx);
}

#endif
