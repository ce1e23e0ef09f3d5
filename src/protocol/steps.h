/* SPDX-License-Identifier: BSD-2-Clause
 *
 * steps.h - steps of the protocol that several of its parts use (docs/concurrency.md).
 */
#ifndef CM_STEPS_H
#define CM_STEPS_H

#include "state/file.h"
#include "state/region.h"

/* How a lookup ended. */
enum cm_found {
    CM_FOUND_HIT,
    CM_FOUND_BUFFERED, /* a hit in the probation buffer */
    CM_FOUND_ABSENT,
    CM_FOUND_CONFLICT, /* changed while being read, twice */
    CM_FOUND_CHECKSUM, /* payload wrong; dropped */
    CM_FOUND_MEDIA     /* unreadable; quarantined */
};

/* Notes damage of a slot, for the log. `k`: the block that was wanted, or NULL. */
void cm_step_trouble(struct cm_cache *c, enum cm_trouble_kind kind, uint64_t slot,
                     const struct cm_key *k);
/* The same: one of the two buckets of a key cannot be read. */
void cm_step_index_trouble(struct cm_cache *c, const struct cm_key *k, unsigned which);
/* We own the slot, but it cannot be read or written. It stays owned until the next open: no thread
 * fills it, and the hand skips it. */
void cm_step_quarantine_owned(struct cm_cache *c, uint64_t slot);
/* Takes a slot out of use until the next open. `k`: the key of the slot's block. The block is
 * dropped, so that it can be stored elsewhere. NULL: even the header cannot be read. */
void cm_step_quarantine(struct cm_cache *c, uint64_t slot, const struct cm_key *k);
/* Drops a slot whose content was found wrong, if w0 is still the same. */
void cm_step_drop(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0);

/* Loads both buckets of a key. */
int cm_step_cells(struct cm_cache *c, const struct cm_key *k, struct cm_cells *cells);
/* Clears the cells that lead from k to slot. Stripe lock held; the header's invalidity is durable.
 * Not flushed: a cell that comes back after a crash leads to an invalid header. */
void cm_step_drop_cells(struct cm_cache *c, const struct cm_key *k, uint64_t slot);
/* For an owned slot whose invalidity is durable and whose cells are gone. true: it may be
 * overwritten. false: it is pinned; its last pin will free it. */
bool cm_step_settle_pins(struct cm_cache *c, uint64_t slot);
/* Unpublishes an owned slot that holds k under w0, durably, and drops its cells. 1 done, 0 w0 has
 * changed, CM_EIO. */
int cm_step_invalidate(struct cm_cache *c, uint64_t slot, const struct cm_key *k, uint64_t w0);

/* Prefetches both index lines of a block. */
static inline void cm_step_prefetch(const struct cm_cache *c, const struct cm_key *k)
{
    cm_index_prefetch(&c->media, k, 0);
    cm_index_prefetch(&c->media, k, 1);
}
/* Keys of blocks in a row: each is made, and its index lines are prefetched, some blocks before it
 * is wanted. */
#define CM_KEYS_AHEAD 8u /* pairs of index lines under way */
struct cm_key_row {
    const struct cm_object *f;
    uint64_t incarnation;
    uint64_t next, end; /* blocks: the first whose key was not made; behind the last one */
    struct cm_last_home *home;
    struct cm_key key[CM_KEYS_AHEAD];
};
static inline void cm_key_row_begin(struct cm_key_row *r, const struct cm_object *f,
                                    struct cm_last_home *home, uint64_t incarnation, uint64_t first,
                                    uint64_t end)
{
    r->f = f;
    r->home = home;
    r->incarnation = incarnation;
    r->next = first;
    r->end = end;
}
/* The key of `block`: the first one, then one after the other. */
static inline const struct cm_key *cm_key_row_next(struct cm_key_row *r, uint64_t block)
{
    for (; r->next < r->end && r->next < block + CM_KEYS_AHEAD; r->next++) {
        struct cm_key *const k = &r->key[r->next % CM_KEYS_AHEAD];
        *k = cm_region_key_next(r->f, r->home, r->incarnation, r->next);
        cm_step_prefetch(r->f->cache, k);
    }
    return &r->key[block % CM_KEYS_AHEAD];
}
/* Finds the slot that holds k, by headers alone. Lock-free, so only a snapshot. */
enum cm_found cm_step_find(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                           struct cm_header *h);
/* Valid bytes of the block in the probation buffer; 0: it is not there. */
uint32_t cm_step_buffered(struct cm_cache *c, const struct cm_key *k);

/* A thread that reads on in small steps touches each block several times in a row. That does not
 * mean that the block is wanted again. true: the block is not among the last few of this thread. */
static inline bool cm_step_first_touch_by(struct cm_plat_thread *t, uint64_t hash)
{
    for (unsigned i = 0; i < PLAT_RECENT; i++)
        if (t->recent[i] == hash)
            return false;
    t->recent[t->recent_at++ % PLAT_RECENT] = hash;
    return true;
}
static inline bool cm_step_first_touch(uint64_t hash)
{
    return cm_step_first_touch_by(cm_plat_thread(), hash);
}

#endif
