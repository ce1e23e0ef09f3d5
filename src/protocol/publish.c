/* SPDX-License-Identifier: BSD-2-Clause
 *
 * publish.c - makes new blocks visible and durable, a batch at a time.
 *
 * Owns: the order of payload, header, cell and the fences between them; which cell a block gets,
 * and which block has to leave for it; that no group gets more slots than its quota.
 *
 * Who: protocol/.
 */
#include "protocol/publish.h"

#include "protocol/evict.h"
#include "protocol/steps.h"
#include "state/fill_choice.h"
#include "state/keep.h"
#include "state/quota.h"

/* Evicts the slot that a cell names, so that the newcomer may overwrite the cell. The stripe lock
 * is held. false: the slot has another owner, or cannot be evicted. */
static bool displace(struct cm_cache *c, struct cm_newcomer *n, uint64_t slot,
                     const struct cm_header *h)
{
    assert(cm_lock_is_held(&cm_stripe_at(c, n->key.stripe)->lock));
    assert(slot != n->slot && n->freed == CM_NO_SLOT);
    if (!cm_ring_own(&c->policy.ring, slot))
        return false;
    int r = cm_slot_invalidate(&c->media, slot, h->w0);
    if (r == 1)
        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
    /* Durable before its cell is overwritten (the invariant). */
    cm_media_fence(&c->media);
    if (r != 1) {
        if (r < 0)
            cm_step_quarantine_owned(c, slot);
        else
            cm_ring_disown(&c->policy.ring, slot);
        return false;
    }
    cm_count(c, CM_STAT_displaced, 1);
    if (cm_step_settle_pins(c, slot))
        n->freed = slot;
    return true;
}

/* Does the slot that `cell` of bucket `bucket` names hold a key that belongs there? */
static bool cell_live(const struct cm_cache *c, uint64_t bucket, uint64_t cell, struct cm_header *h,
                      bool *unreadable)
{
    enum cm_slot_verdict v = cm_slot_header(&c->media, cm_cell_slot(cell), h);
    *unreadable = v == CM_SLOT_UNREADABLE;
    if (v != CM_SLOT_HIT)
        return false;
    struct cm_key k = cm_key_stored(&c->media, h->incarnation, cm_header_block(h));
    return k.place.tag == cm_cell_tag(cell) && cm_header_boot(h) == cm_cell_boot(cell) &&
           (k.place.bucket[0] == bucket || k.place.bucket[1] == bucket);
}

/* A cell that leads nowhere is about to be overwritten. The invalidity of its slot may not be
 * durable: a process may have cleared w0 and crashed before its fence, and its ownership is gone
 * with it. So the slot is flushed here: the next bracket on the old key would find no cell, and
 * would flush nothing. */
static bool settle_stale(struct cm_cache *c, uint64_t slot)
{
    int e = cm_slot_flush(&c->media, slot);
    cm_media_fence(&c->media);
    return e == 0;
}

/* No cell is empty: finds one that leads nowhere, or evicts a block. Lock held. Returns the cell's
 * number or -1. A cell whose slot has another owner stays: the owner may not have fenced yet, and a
 * bracket must be able to find the cell and flush for it. */
static int make_room(struct cm_cache *c, struct cm_newcomer *n, const struct cm_cells *cells)
{
    struct cm_header h, victim_header = { 0 };
    bool unreadable;
    int victim = -1;
    unsigned lowest = CM_POLICY_WORTH_END;
    for (int i = 0; i < (int)CM_PLACE_CELLS; i++) {
        uint64_t slot = cm_cell_slot(cells->cell[i]);
        if (slot >= cm_media_slots(&c->media))
            return i; /* garbage */
        bool owned = slot != n->slot && cm_ring_is_owned(&c->policy.ring, slot);
        bool live = cell_live(c, n->key.place.bucket[(unsigned)i / CM_BUCKET_CELLS], cells->cell[i],
                              &h, &unreadable);
        if (!live && !unreadable && !owned && settle_stale(c, slot))
            return i;
        unsigned worth = cm_policy_worth(&c->policy, slot);
        if (live && !owned && worth < lowest && !cm_keep_has(c, h.incarnation)) {
            victim = i;
            lowest = worth;
            victim_header = h;
        }
    }
    if (victim >= 0 && displace(c, n, cm_cell_slot(cells->cell[victim]), &victim_header))
        return victim;
    return -1;
}

/* `cell` carries the newcomer's tag. Returns 0: it leads to another key. 1: it led to a shorter
 * tail of the same block, or to a copy that nothing finds, which was evicted. Below 0: minus the
 * reason why the newcomer must not be stored. Lock held. */
static int replace(struct cm_cache *c, struct cm_newcomer *n, uint64_t cell)
{
    struct cm_header h;
    if (!cm_index_match(&c->media, &n->key, cell))
        return 0;
    enum cm_slot_verdict v = cm_slot_header(&c->media, cm_cell_slot(cell), &h);
    if (v == CM_SLOT_UNREADABLE)
        return -CM_NOT_STORED_MEDIA; /* may hold the key: counts as present */
    if (v != CM_SLOT_HIT || !cm_slot_is(&h, &n->key))
        return 0;
    if (cm_slot_leads(cell, &h, &n->key) && cm_header_valid(&h) >= cm_header_valid(&n->header))
        return -CM_NOT_STORED_PRESENT;
    return displace(c, n, cm_cell_slot(cell), &h) ? 1 : -CM_NOT_STORED_BUSY;
}

/* Chooses among all cells of both buckets. As choose_cell(). */
static __attribute__((noinline)) int choose_of_all(struct cm_cache *c, struct cm_newcomer *n,
                                                   int *at)
{
    struct cm_cells cells;
    if (cm_step_cells(c, &n->key, &cells))
        return CM_NOT_STORED_MEDIA; /* the key may be in a bucket that cannot be read */
    unsigned matches = cm_index_matches(&n->key, cells.cell) |
                       cm_index_matches(&n->key, &cells.cell[CM_BUCKET_CELLS]) << CM_BUCKET_CELLS;
    for (; matches; matches &= matches - 1) {
        *at = (int)at_lowest_bit(matches);
        int r = replace(c, n, cells.cell[*at]);
        if (r != 0)
            return r > 0 ? 0 : -r;
    }
    /* First fit: the second bucket is rarely read. */
    *at = cm_index_empty(cells.cell);
    if (*at < 0 && (*at = cm_index_empty(&cells.cell[CM_BUCKET_CELLS])) >= 0)
        *at += (int)CM_BUCKET_CELLS;
    if (*at < 0)
        *at = make_room(c, n, &cells);
    return *at < 0 ? CM_NOT_STORED_FULL : 0;
}

/* Chooses the newcomer's cell. Returns 0 and *at, 0..15; or why the newcomer must not be stored.
 * Lock held. Nearly always no cell of both buckets has the tag, and one of them has an empty
 * cell. The lock keeps the buckets as they are between these looks. */
static int choose_cell(struct cm_cache *c, struct cm_newcomer *n, int *at)
{
    const struct cm_place *p = &n->key.place;
    const uint64_t *first = cm_index_bucket(&c->media, p->bucket[0]);
    const uint64_t *second = cm_index_bucket(&c->media, p->bucket[1]);
    uint64_t tagged, cell = 1;
    if (cm_index_find_in(first, p->tag, &tagged) == 0 &&
        cm_index_find_in(second, p->tag, &tagged) == 0) {
        int empty = cm_index_find_in(first, 0, &cell);
        *at = 0;
        if (empty == 0) {
            empty = cm_index_find_in(second, 0, &cell);
            *at = CM_BUCKET_CELLS;
        }
        if (empty > 0 && cell == 0) {
            *at += (int)at_lowest_bit((unsigned)empty);
            return 0;
        }
    }
    return choose_of_all(c, n, at);
}

/* Makes a block visible. Lock held. */
static inline __attribute__((always_inline)) int
make_visible(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n)
{
    int at, r;
    assert(cm_lock_is_held(&cm_stripe_at(c, n->key.stripe)->lock));
    assert(cm_ring_is_owned(&c->policy.ring, n->slot));
    /* In the buffer there may be a longer tail, which came after this one. */
    const uint32_t buffered = c->probation.entries > 0 ? cm_step_buffered(c, &n->key) : 0;
    /* While the pool grows nothing is stored: reindex.c may have copied the stripe's cells already,
     * and then the new index would lack the newcomer's. Nor is it stored if the pool has grown
     * since the key was made: the key's buckets are those of the old index. */
    if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n) || at_load_acquire(&c->growing) ||
        !cm_key_is_current(&c->media, &n->key))
        r = CM_NOT_STORED_STALE;
    else if (buffered > n->valid)
        r = CM_NOT_STORED_PRESENT;
    else
        r = choose_cell(c, n, &at);
    if (r == 0) {
        /* Cell before header. A process that dies between the two leaves a cell that leads to an
         * invalid header, which is harmless. In the other order it would leave a valid header
         * without a cell: the next session's bracket would find nothing to forget, and a power cut
         * might then bring back an older cell of the same key and slot (found in the model). */
        uint64_t cell = cm_cell_make(n->key.place.tag, c->media.boot, n->slot);
        n->cell = (unsigned)at;
        if (cm_index_store(&c->media, &n->key, n->cell, cell) ||
            (n->spoiled = cm_slot_publish(&c->media, n->slot, &n->header) != 0))
            r = CM_NOT_STORED_MEDIA; /* at worst a cell that leads to an invalid header */
    }
    /* A block is in one place. Whoever moves it out of the buffer (without a file) empties its
     * entry later. */
    if (r == 0 && buffered > 0 && g->f)
        cm_probation_kill(&c->probation, &n->key);
    return r;
}

/* Makes the newcomers visible whose result is 0. */
static inline __attribute__((always_inline)) void
publish_all(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n, unsigned count)
{
    struct cm_stripe *held = NULL;
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0) {
            cm_stripe_relock(&held, cm_stripe_at(c, n[i].key.stripe));
            n[i].result = make_visible(c, g, &n[i]);
        }
    cm_stripe_relock(&held, NULL);
}

/* `bad`: a bit for each newcomer whose result is 0, counted without the others. Returns the same
 * bits at the newcomers' own numbers. */
static uint32_t spread(const struct cm_newcomer *n, unsigned count, uint32_t bad)
{
    uint32_t failed = 0;
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0) {
            failed |= (bad & 1) << i;
            bad >>= 1;
        }
    return failed;
}

/* Flushes the headers of those newcomers whose result is 0. A bit for each that failed. */
static inline uint32_t flush_headers(struct cm_cache *c, const struct cm_newcomer *n,
                                     unsigned count)
{
    uint64_t slot[CM_BATCH_MAX];
    unsigned some = 0;
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0)
            slot[some++] = n[i].slot;
    if (some == 0)
        return 0;
    const uint32_t bad = cm_slot_flush_all(&c->media, slot, some);
    return bad == 0 ? 0 : spread(n, count, bad);
}

/* Flushes published newcomers; the caller fences. The stripe locks are not held: to take the next
 * lock would wait for the flush. Nothing is promised before the fence. A thread that forgets a
 * block meanwhile flushes the header itself. A block that cannot be flushed is taken back. */
static inline void flush_published(struct cm_cache *c, struct cm_newcomer *n, unsigned count)
{
    uint32_t failed = flush_headers(c, n, count);
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0 &&
            (cm_index_flush(&c->media, &n[i].key, n[i].cell) || failed >> i & 1)) {
            n[i].spoiled = cm_step_invalidate(c, n[i].slot, &n[i].key, n[i].header.w0) < 0;
            n[i].result = CM_NOT_STORED_MEDIA;
        }
}

/* Writes payload and key of one newcomer into its owned slot; the header is not flushed. */
static inline __attribute__((always_inline)) void
prepare(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n)
{
    assert(cm_ring_is_owned(&c->policy.ring, n->slot));
    assert(n->valid > 0 && n->valid <= CM_BLOCK_SIZE);
    n->freed = CM_NO_SLOT;
    n->spoiled = false;
    cm_step_prefetch(c, &n->key); /* for choose_cell, while the payload is copied */
    cm_policy_prefetch_stored(&c->policy, n->key.place.hash, n->start);
    n->result = 0;
    if (!cm_publish_may(g, cm_stripe_at(c, n->key.stripe), n)) {
        n->result = CM_NOT_STORED_STALE; /* not worth the copy */
        return;
    }
    const int e = cm_slot_fill(&c->media, n->slot, &n->key, n->data, n->valid, &n->header);
    if (e) {
        n->spoiled = e != CM_ESEAL;
        n->result = CM_NOT_STORED_MEDIA;
    }
}

/* How many blocks were copied whole, if all were; else 0. */
static unsigned whole_blocks(const struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (n[i].result != 0 || n[i].valid != CM_BLOCK_SIZE)
            return 0;
    return count;
}

/* Frees the slots of the newcomers that were not stored, unless they are spoiled, and the slots
 * that were evicted for a cell. Who was visible until its flush failed may be pinned. */
static __attribute__((noinline)) void free_others(struct cm_cache *c, const struct cm_newcomer *n,
                                                  unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (n[i].slot == CM_NO_SLOT)
            continue;
        assert(cm_ring_is_owned(&c->policy.ring, n[i].slot) || n[i].result == 0);
        assert(n[i].result >= 0 && n[i].result <= CM_NOT_STORED_MEDIA);
        if (n[i].result != 0 && n[i].spoiled)
            cm_step_quarantine_owned(c, n[i].slot);
        else if (n[i].result != 0 && cm_step_settle_pins(c, n[i].slot))
            cm_ring_give_free(&c->policy.ring, &n[i].slot, 1); /* invalid, durably */
        if (n[i].freed != CM_NO_SLOT)
            cm_ring_give_free(&c->policy.ring, &n[i].freed, 1);
    }
}

/* Called after the fence that follows publishing. Tells the policy of the stored newcomers, disowns
 * their slots and counts them. */
static inline __attribute__((always_inline)) void
finish(struct cm_cache *c, const struct cm_newcomer *n, unsigned count)
{
    struct cm_policy_batch b;
    uint64_t stored[CM_BATCH_MAX], bytes = 0;
    unsigned some = 0;
    bool others = false;
    static_assert(CM_BATCH_MAX <= CM_POLICY_BATCH, "all at once");
    b.n = b.ahead = 0;
    for (unsigned i = 0; i < count; i++) {
        if (n[i].result != 0) {
            others = true;
            continue;
        }
        assert(cm_ring_is_owned(&c->policy.ring, n[i].slot));
        cm_policy_stored(&c->policy, &b, n[i].slot, n[i].key.place.hash, n[i].start);
        others |= n[i].freed != CM_NO_SLOT;
        stored[some++] = n[i].slot;
        bytes += n[i].valid;
    }
    if (some > 0) {
        cm_policy_stored_all(&c->policy, &b);
        cm_ring_disown_all(&c->policy.ring, stored, some);
        cm_media_count2(&c->media, cm_plat_thread(), CM_STAT_fill_blocks, some, bytes);
    }
    if (others)
        free_others(c, n, count);
}

/* Their first hits need not verify them. The slots are still owned. */
static void set_verified(struct cm_cache *c, const struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (n[i].result == 0)
            cm_cache_judged(c, n[i].slot);
}

void cm_publish_count_refused(struct cm_cache *c, const struct cm_newcomer *n, unsigned count)
{
    static const enum cm_stat refused[] = {
        [CM_NOT_STORED_STALE] = CM_STAT_refused_stale,
        [CM_NOT_STORED_PRESENT] = CM_STAT_refused_present,
        [CM_NOT_STORED_BUSY] = CM_STAT_refused_busy,
        [CM_NOT_STORED_FULL] = CM_STAT_refused_full,
        [CM_NOT_STORED_POLICY] = CM_STAT_refused_policy,
        [CM_NOT_STORED_MEDIA] = CM_STAT_refused_media,
        [CM_NOT_STORED_QUOTA] = CM_STAT_refused_quota,
    };
    for (unsigned i = 0; i < count; i++)
        if (n[i].result != 0)
            cm_count(c, refused[n[i].result], 1);
}

/* ---- Slots for the newcomers, within the quotas of their groups ------------------------------ */

/* If a group has as many slots as it may have, blocks of the same group are evicted first, and the
 * newcomers get their slots. If none of them can be evicted within reach, the newcomers are refused
 * (CM_NOT_STORED_QUOTA). Other newcomers do not notice. */

/* For the newcomers of one share: evicts blocks of the share until there is room for them; those
 * that nothing leads to first. Refuses the last newcomers if there is not. Puts slots that it got
 * into slot[], and returns their number. */
static unsigned admit_share(struct cm_cache *c, uint32_t share, struct cm_newcomer *n,
                            unsigned count, uint64_t *slot)
{
    const struct cm_share *h = cm_quota_of(c, share);
    unsigned want = 0, got = 0;
    for (unsigned i = 0; i < count; i++)
        want += n[i].share == share;
    if (want == 0)
        return 0;
    uint64_t room = cm_quota_learn(c) ? cm_share_room(h) : 0;
    if (want > room && cm_quota_learn(c)) {
        got = cm_evict_share(c, share, slot, want - (unsigned)room);
        room = cm_share_room(h);
    }
    for (unsigned i = count; i-- > 0 && want > room;)
        if (n[i].share == share) {
            n[i].result = CM_NOT_STORED_QUOTA;
            want--;
        }
    return got;
}

static unsigned admit_shares(struct cm_cache *c, struct cm_newcomer *n, unsigned count,
                             uint64_t *slot)
{
    unsigned got = 0;
    for (uint32_t share = 1; share <= CM_SHARES; share++)
        got += admit_share(c, share, n, count, slot + got);
    return got;
}

/* Some group has a quota. */
static void admit(struct cm_cache *c, struct cm_newcomer *n, unsigned count)
{
    uint64_t slot[CM_BATCH_MAX];
    unsigned want = 0, used = 0;
    for (unsigned i = 0; i < count; i++) {
        n[i].slot = CM_NO_SLOT;
        n[i].result = 0;
    }
    unsigned got = admit_shares(c, n, count, slot);
    for (unsigned i = 0; i < count; i++)
        want += n[i].result == 0;
    if (got < want)
        got += cm_evict_slots(c, slot + got, want - got);
    for (unsigned i = 0; i < count; i++) {
        if (n[i].result != 0)
            continue;
        if (used == got)
            n[i].result = CM_NOT_STORED_BUSY;
        else if (n[i].share > 0 && !cm_share_take(cm_quota_of(c, n[i].share), slot[used]))
            n[i].result = CM_NOT_STORED_QUOTA; /* another thread took the room */
        else
            n[i].slot = slot[used++];
    }
    if (used < got)
        cm_ring_give_free(&c->policy.ring, slot + used, got - used);
}

/* Gives each of the newcomers an owned slot to fill, which is counted for its share. Those that get
 * none have a result and CM_NO_SLOT. No lock is held. */
static void give_slots(struct cm_cache *c, struct cm_newcomer *n, unsigned count)
{
    uint64_t slot[CM_BATCH_MAX];
    if (cm_quota_any(c)) {
        admit(c, n, count);
        return;
    }
    const unsigned got = cm_evict_slots(c, slot, count);
    for (unsigned i = 0; i < count; i++) {
        n[i].slot = i < got ? slot[i] : CM_NO_SLOT;
        n[i].result = i < got ? 0 : CM_NOT_STORED_BUSY;
    }
}

/* Stores newcomers that have slots, or a result. */
static inline __attribute__((always_inline)) void
store(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n, unsigned count)
{
    const uint64_t timed = cm_fill_choice_is_over(c) ? 0 : cm_fill_choice_turn(c);
    uint64_t end = 0; /* of the slots that will be in use */
    for (unsigned i = 0; i < count; i++)
        if (n[i].slot != CM_NO_SLOT) {
            prepare(c, g, &n[i]);
            end = n[i].result == 0 && n[i].slot >= end ? n[i].slot + 1 : end;
        }
    /* Before one of them is: after a kill the next session counts the blocks of groups up to the
     * frontier that the superblock tells. */
    if (!cm_super_covers(&c->super, end))
        cm_evict_cover(c, end);
    /* All headers are flushed now. If each were flushed at once, its neighbour in the same line
     * would wait for the line to come back. */
    uint32_t failed = flush_headers(c, n, count);
    for (; failed; failed &= failed - 1) {
        n[at_lowest_bit(failed)].spoiled = true;
        n[at_lowest_bit(failed)].result = CM_NOT_STORED_MEDIA;
    }
    /* Fence 2: payload and key words are durable and visible before any VALID is. */
    cm_media_fence(&c->media);
    if (timed)
        cm_fill_choice_note(c, timed, whole_blocks(n, count));
    publish_all(c, g, n, count);
    flush_published(c, n, count);
    /* Fence 3: "stored" means that VALID and the cell survive a power cut from here on. The
     * slot is disowned only after that. */
    cm_media_fence(&c->media);
    if (g->f && g->f->tested)
        set_verified(c, n, count);
    finish(c, n, count);
}

/* The most common batch: the compiler leaves out the loops. These two are not inline: an eviction
 * does not need their stack. */
static __attribute__((noinline)) void store_one(struct cm_cache *c, const struct cm_grant *g,
                                                struct cm_newcomer *n)
{
    store(c, g, n, 1);
}

static __attribute__((noinline)) void store_many(struct cm_cache *c, const struct cm_grant *g,
                                                 struct cm_newcomer *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++) /* the flush may have evicted it from the CPU's cache */
        if (n[i].slot != CM_NO_SLOT)
            at_prefetch(cm_slot_at(&c->media, n[i].slot));
    store(c, g, n, count);
}

void cm_publish_batch(struct cm_cache *c, const struct cm_grant *g, struct cm_newcomer *n,
                      unsigned count)
{
    if (count == 0)
        return;
    if (!cm_rate_take(&c->rate, (uint64_t)count * CM_BLOCK_SIZE)) {
        for (unsigned i = 0; i < count; i++)
            n[i].result = CM_NOT_STORED_POLICY;
        return;
    }
    assert(count <= CM_BATCH_MAX);
    give_slots(c, n, count);
    if (count == 1)
        store_one(c, g, n);
    else
        store_many(c, g, n, count);
}
