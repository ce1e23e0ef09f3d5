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
    uint64_t sum;  /* of the cells, as they were read */
    uint16_t cell; /* a bit each */
};

/* Makes every copy of one key invalid, not yet durably, and adds their number to *killed. CM_EIO: a
 * copy may exist where nothing can be read. Lock held. */
static int kill(struct cm_cache *c, const struct cm_key *k, struct dead *dead, uint64_t *killed)
{
    struct cm_cells cells;
    assert(cm_lock_is_held(&cm_stripe_at(c, k->stripe)->lock));
    int e = cm_step_cells(c, k, &cells);
    *dead = (struct dead){ 0, 0 };
    if (e)
        return e;
    unsigned left = cm_index_matches(k, cells.cell) |
                    cm_index_matches(k, &cells.cell[CM_BUCKET_CELLS]) << CM_BUCKET_CELLS;
    for (; left; left &= left - 1) {
        unsigned i = at_lowest_bit(left);
        if (!cm_index_match(&c->media, k, cells.cell[i]))
            continue;
        uint64_t slot = cm_cell_slot(cells.cell[i]);
        struct cm_header h;
        enum cm_slot_verdict v = cm_slot_header(&c->media, slot, &h);
        if (v == CM_SLOT_UNREADABLE) {
            cm_step_quarantine(c, slot, NULL);
            e = CM_EIO;
            continue;
        }
        if (v == CM_SLOT_HIT && !cm_slot_is(&h, k))
            continue;
        if (v == CM_SLOT_HIT)
            cm_policy_forget(&c->policy, slot); /* while it is full: a filler resets the hint */
        int r = v == CM_SLOT_HIT ? cm_slot_invalidate(&c->media, slot, h.w0) : 0;
        if (v == CM_SLOT_HIT && cm_keep_any(c))
            cm_policy_forgotten(&c->policy, slot);
        if (r < 0)
            e = CM_EIO;
        dead->cell |= (uint16_t)(1u << i); /* every match, not the first */
        dead->sum += cells.cell[i];
        *killed += r == 1;
    }
    return e;
}

/* Writes back the headers of the cells that kill() put in *dead. This includes headers that kill()
 * found invalid (helping): an evictor may have cleared one and not fenced yet, and the block's
 * absence must be durable before the origin is written. Lock held. */
static int flush_dead(struct cm_cache *c, const struct cm_key *k, const struct dead *dead)
{
    struct cm_cells cells;
    uint64_t sum = 0;
    int e = dead->cell ? cm_step_cells(c, k, &cells) : 0;
    if (e)
        return e;
    for (unsigned left = dead->cell; left; left &= left - 1) {
        const uint64_t cell = cells.cell[at_lowest_bit(left)];
        sum += cell;
        if (!cm_index_match(&c->media, k, cell) || cm_slot_flush(&c->media, cm_cell_slot(cell)))
            e = CM_EIO;
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

/* Forgets blocks of one group, so of one stripe. Lock held. */
static int kill_range(struct cm_cache *c, const struct cm_key *k, unsigned n)
{
    struct dead dead[CM_GROUP_BLOCKS];
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
    cm_count(c, CM_STAT_forgotten, killed); /* while they are on their way */
    /* Fence 4: forgotten durably. The lock is held over the fence: a second bracket on this stripe
     * must not trust the absence before it is durable. */
    cm_media_fence(&c->media);
    for (unsigned i = 0; i < n; i++)
        if (!(failed >> i & 1))
            clear_cells(c, &k[i], dead[i].cell);
    return failed ? CM_EIO : 0;
}

void cm_forget_prefetch(const struct cm_cache *c, uint64_t incarnation, uint64_t block)
{
    struct cm_key k = cm_key_of(&c->media, incarnation, block);
    cm_step_prefetch(c, &k);
    at_prefetch(cm_stripe_at(c, k.stripe));
}

int cm_forget_begin(const struct cm_object *f, uint64_t incarnation, uint64_t first, uint64_t end)
{
    struct cm_cache *c = f->cache;
    int e = 0;
    while (first < end) {
        uint64_t group = first >> CM_GROUP_SHIFT;
        uint64_t stop = (group + 1) << CM_GROUP_SHIFT;
        if (stop > end)
            stop = end;
        struct cm_home home = cm_key_home(&c->media, incarnation, group);
        struct cm_stripe *s = cm_stripe_at(c, home.stripe);
        struct cm_key k[CM_GROUP_BLOCKS];
        unsigned n = (unsigned)(stop - first);
        assert(n <= CM_GROUP_BLOCKS);
        /* The prefetches run side by side, and before the lock is taken. */
        for (unsigned i = 0; i < n; i++) {
            k[i] = cm_key_make(&c->media, incarnation, first + i, &home);
            k[i].incarnation = cm_region_incarnation(f, incarnation, first + i);
            cm_step_prefetch(c, &k[i]);
            if (cm_sample_has(c, k[i].incarnation, first + i))
                cm_sample_drop(c, &k[i]);
        }
        for (unsigned i = 0; i < n; i++)
            prefetch_header(c, &k[i]);
        cm_lock_acquire(&s->lock);
        cm_stripe_begin(s);
        int r = kill_range(c, k, n);
        cm_lock_release(&s->lock);
        if (r)
            e = r;
        first = stop;
    }
    return e;
}

void cm_forget_end(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end)
{
    for (uint64_t g = first >> CM_GROUP_SHIFT; first < end && g <= (end - 1) >> CM_GROUP_SHIFT;
         g++) {
        struct cm_stripe *s = cm_stripe_at(c, cm_key_home(&c->media, incarnation, g).stripe);
        cm_lock_acquire(&s->lock);
        cm_stripe_end(s);
        cm_lock_release(&s->lock);
    }
}
