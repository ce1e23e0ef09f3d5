/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forget.c - what a bracket does to the blocks it names.
 *
 * Owns: the order of the steps before the origin may be written: raise the intents, move the
 * tickets, make every cached copy invalid, durably.
 *
 * Who: protocol/.
 */
#include "protocol/forget.h"

#include "state/policy_sample.h"
#include "protocol/steps.h"
#include "state/keep.h"

/* Cells of a key that lead nowhere once their headers are flushed and fenced. */
struct dead {
    uint32_t sum;  /* of both halves of the cells, as they were read */
    uint16_t cell; /* a bit each */
};

static uint32_t both_halves(uint64_t cell)
{
    return (uint32_t)(cell ^ cell >> 32);
}

/* Makes the block in a cell's slot invalid, not yet durably, if it is k's. 1: the slot does not
 * hold k any more, so its header has to be flushed. 0: it holds another block. CM_EIO. Lock held.
 * A header that does not check is a 1, too, so that its cell goes: a reader of another process that
 * has not seen the last new epoch yet may find that header right. */
static int kill_slot(struct cm_cache *c, const struct cm_key *k, uint64_t slot, uint64_t *killed)
{
    struct cm_header h;
    enum cm_slot_verdict v = cm_slot_header(&c->media, slot, &h);
    if (v == CM_SLOT_UNREADABLE) {
        cm_step_quarantine(c, slot, NULL);
        return CM_EIO;
    }
    if (v != CM_SLOT_HIT)
        return 1;
    if (!cm_slot_is(&h, k))
        return 0;
    cm_policy_forget(&c->policy, slot); /* while it is full: a filler resets the hint */
    int r = cm_slot_invalidate(&c->media, slot, h.w0);
    if (cm_keep_any(c))
        cm_policy_forgotten(&c->policy, slot);
    *killed += r == 1;
    return r < 0 ? CM_EIO : 1;
}

/* Makes every copy of one key invalid, not yet durably, and adds their number to *killed. CM_EIO: a
 * copy may exist where nothing can be read. Lock held. */
static inline __attribute__((always_inline)) int kill(struct cm_cache *c, const struct cm_key *k,
                                                      struct dead *dead, uint64_t *killed)
{
    int e = 0;
    assert(cm_lock_is_held(&cm_stripe_at(c, k->stripe)->lock));
    *dead = (struct dead){ 0, 0 };
    for (unsigned which = 0; which < 2; which++) {
        const uint64_t bucket = k->place.bucket[which];
        uint64_t cell = 0;
        const int found = cm_index_find(&c->media, bucket, k->place.tag, &cell);
        if (found < 0) {
            cm_suspect(c);
            e = CM_EIO;
            continue;
        }
        for (unsigned left = (unsigned)found; left; left &= left - 1) { /* every match */
            const unsigned i = at_lowest_bit(left);
            if (left != (unsigned)found &&
                cm_guard_load64(cm_index_bucket(&c->media, bucket) + i, &cell)) {
                e = CM_EIO;
                continue;
            }
            if (!cm_index_match(&c->media, k, cell))
                continue;
            const int r = kill_slot(c, k, cm_cell_slot(cell), killed);
            if (r < 0)
                e = CM_EIO;
            if (r == 0)
                continue;
            dead->cell |= (uint16_t)(1u << (which * CM_BUCKET_CELLS + i));
            dead->sum += both_halves(cell);
        }
    }
    return e;
}

/* Writes back the headers of the cells that kill() put in *dead. This includes headers that kill()
 * found invalid (helping): an evictor may have cleared one and not fenced yet, and the block's
 * absence must be durable before the origin is written. Lock held. */
static inline __attribute__((always_inline)) int
flush_dead(struct cm_cache *c, const struct cm_key *k, const struct dead *dead)
{
    uint32_t sum = 0;
    int e = 0;
    for (unsigned left = dead->cell; left; left &= left - 1) {
        const unsigned i = at_lowest_bit(left);
        uint64_t cell = 0;
        if (cm_guard_load64(cm_index_bucket(&c->media, k->place.bucket[i / CM_BUCKET_CELLS]) +
                                i % CM_BUCKET_CELLS,
                            &cell) ||
            !cm_index_match(&c->media, k, cell) || cm_slot_flush(&c->media, cm_cell_slot(cell)))
            e = CM_EIO;
        sum += both_halves(cell);
    }
    /* The lock keeps our threads away, but media may change by themselves: then it is not known
     * which headers kill() made invalid. */
    return sum == dead->sum ? e : CM_EIO;
}

/* After the fence: clears the key's cells that kill() put in *dead. The lock was held all the time,
 * so they are the same cells. */
static void clear_cells(struct cm_cache *c, const struct cm_key *k, uint16_t dead)
{
    for (unsigned left = dead; left; left &= left - 1)
        (void)cm_index_store(&c->media, k, at_lowest_bit(left), 0);
}

/* Prefetches the header that a key's first bucket most probably leads to. */
static void prefetch_header(const struct cm_cache *c, const struct cm_key *k)
{
    struct cm_cells cells;
    if (cm_index_load(&c->media, k, 0, &cells))
        return;
    unsigned matches = cm_index_matches(k, cells.cell);
    uint64_t cell = matches ? cells.cell[at_lowest_bit(matches)] : 0;
    if (!cm_index_match(&c->media, k, cell))
        return;
    cm_slot_prefetch_header(&c->media, cm_cell_slot(cell));
    cm_policy_prefetch_forget(&c->policy, cm_cell_slot(cell));
}

/* Forgets blocks of one group, so of one stripe. `dead`: room for n. Lock held. */
static inline __attribute__((always_inline)) int
kill_range(struct cm_cache *c, const struct cm_key *k, unsigned n, struct dead *dead)
{
    uint16_t any = 0;
    uint64_t failed = 0, killed = 0; /* failed: a bit each */
    assert(n > 0 && n <= CM_GROUP_BLOCKS);
    for (unsigned i = 0; i < n; i++) {
        assert(k[i].stripe == k[0].stripe);
        cm_probation_kill(&c->probation, &k[i]);
        failed |= (uint64_t)(kill(c, &k[i], &dead[i], &killed) != 0) << i;
        any |= dead[i].cell;
    }
    if (any == 0)
        return failed ? CM_EIO : 0;
    /* All are flushed now: a locked instruction between two flushes would wait for the first. */
    for (unsigned i = 0; i < n; i++)
        failed |= (uint64_t)(flush_dead(c, &k[i], &dead[i]) != 0) << i;
    cm_media_count(&c->media, cm_plat_thread(), CM_STAT_forgotten,
                   killed); /* while they are on their way */
    /* Fence 4: forgotten durably. The lock is held over the fence: a second bracket on this stripe
     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);
    for (unsigned i = 0; i < n; i++)
        if (!(failed >> i & 1))
            clear_cells(c, &k[i], dead[i].cell);
    return failed ? CM_EIO : 0;
}

void cm_forget_prefetch(const struct cm_cache *c, uint64_t incarnation, uint64_t block,
                        struct cm_last_home *home)
{
    cm_key_home_next(&c->media, home, incarnation, block >> CM_GROUP_SHIFT);
    at_prefetch(cm_stripe_at(c, home->home.stripe));
    if (home->home.buckets >= CM_GROUP_BLOCKS) /* then it needs no hash */
        at_prefetch(
            cm_index_bucket(&c->media, home->home.base + cm_place_first(0, block, &home->home)));
}

/* Makes the keys of n blocks of one group. The prefetches run side by side, and before the lock is
 * taken. */
static inline __attribute__((always_inline)) void make_keys(const struct cm_object *f,
                                                            uint64_t incarnation, uint64_t first,
                                                            unsigned n, const struct cm_home *home,
                                                            struct cm_key *k)
{
    struct cm_cache *c = f->cache;
    assert(n <= CM_GROUP_BLOCKS);
    for (unsigned i = 0; i < n; i++) {
        k[i] = cm_key_make(incarnation, first + i, home);
        k[i].incarnation = cm_region_incarnation(f, incarnation, first + i);
        cm_step_prefetch(c, &k[i]);
        if (cm_sample_has(c, k[i].incarnation, first + i))
            cm_sample_drop(c, &k[i]);
    }
    for (unsigned i = 0; i < n && n > 1; i++) /* of one block, the header is read at once */
        prefetch_header(c, &k[i]);
}

/* The pool has grown since the keys were made: what was stored meanwhile is found in its new index
 * only. Lock held. */
static void make_again(const struct cm_cache *c, struct cm_key *k, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        k[i] = cm_key_stored(&c->media, k[i].incarnation, k[i].block);
}

/* Forgets n blocks of one group, and begins the bracket on its stripe. `k`, `dead`: room for n. */
static inline __attribute__((always_inline)) int
forget_group(const struct cm_object *f, uint64_t incarnation, uint64_t first, unsigned n,
             const struct cm_home *home, struct cm_key *k, struct dead *dead)
{
    struct cm_cache *c = f->cache;
    struct cm_stripe *s = cm_stripe_at(c, home->stripe);
    make_keys(f, incarnation, first, n, home, k);
    cm_lock_acquire(&s->lock);
    if (home->index != cm_media_index(&c->media))
        make_again(c, k, n);
    cm_stripe_begin(s);
    const int r = kill_range(c, k, n, dead);
    cm_lock_release(&s->lock);
    return r;
}

/* Not inline: brackets of one block do not need so much stack. */
static __attribute__((noinline)) int forget_many(const struct cm_object *f, uint64_t incarnation,
                                                 uint64_t first, unsigned n,
                                                 const struct cm_home *home)
{
    struct cm_key k[CM_GROUP_BLOCKS];
    struct dead dead[CM_GROUP_BLOCKS];
    return forget_group(f, incarnation, first, n, home, k, dead);
}

/* Most brackets are of one block. The compiler leaves out the loops. */
static inline __attribute__((always_inline)) int forget_one(const struct cm_object *f,
                                                            uint64_t incarnation, uint64_t block,
                                                            const struct cm_home *home)
{
    struct cm_key k;
    struct dead dead;
    return forget_group(f, incarnation, block, 1, home, &k, &dead);
}

int cm_forget_begin(const struct cm_object *f, uint64_t incarnation, uint64_t first, uint64_t end,
                    struct cm_last_home *home)
{
    int e = 0;
    while (first < end) {
        const uint64_t group = first >> CM_GROUP_SHIFT;
        uint64_t stop = (group + 1) << CM_GROUP_SHIFT;
        if (stop > end)
            stop = end;
        cm_key_home_next(&f->cache->media, home, incarnation, group);
        const unsigned n = (unsigned)(stop - first);
        const int r = n == 1 ? forget_one(f, incarnation, first, &home->home)
                             : forget_many(f, incarnation, first, n, &home->home);
        if (r)
            e = r;
        first = stop;
    }
    return e;
}

void cm_forget_end(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end,
                   struct cm_last_home *home)
{
    if (first >= end)
        return;
    const uint64_t last = (end - 1) >> CM_GROUP_SHIFT;
    for (uint64_t g = first >> CM_GROUP_SHIFT; g <= last; g++) {
        cm_key_home_next(&c->media, home, incarnation, g);
        struct cm_stripe *s = cm_stripe_at(c, home->home.stripe);
        cm_lock_acquire(&s->lock);
        cm_stripe_end(s);
        cm_lock_release(&s->lock);
    }
}
