/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reindex.c - a new index for a pool that grows.
 *
 * Owns: the copy of the cells. Headers and payloads stay where they are. Each cell that leads to a
 * block gets a place among the larger stripes of the new index.
 *
 * How: nothing is published while this runs (publish.c asks c->growing under the stripe's lock, and
 * this passes through each lock once before it begins). All else goes on. Whoever makes a header
 * invalid meanwhile leaves a cell in the new index that leads nowhere, which is harmless. A cell of
 * the old index is the only evidence that a header counts: a valid header without one may be of a
 * block that was forgotten since (a crash may leave a header without its cell, and the next bracket
 * trusts the absence). So what has no cell in the old index has none in the new one, and the new
 * index is stored as a whole: what was in its place before might be a cell.
 *
 * The model is tests/spin/grow.pml, the reasons are in docs/decisions/grow.md.
 *
 * Who: api/.
 */
#include "protocol/reindex.h"

#include "protocol/steps.h"
#include "state/keep.h"

struct copy {
    struct cm_cache *c;
    uint64_t from, to;         /* cm_place_index() of both */
    struct cm_bucket *buckets; /* of the stripe, as they will be */
    struct cm_reindexed *done;
};

/* Passes through the lock of each stripe. Who publishes after that knows that the pool grows. */
static void drain(struct cm_cache *c)
{
    for (uint64_t s = 0; s < c->media.geo.stripes; s++) {
        struct cm_stripe *const stripe = cm_stripe_at(c, s);
        cm_lock_acquire(&stripe->lock);
        cm_lock_release(&stripe->lock);
    }
}

/* There is no place for a block. It is forgotten, as a bracket does it. */
static int drop(struct copy *z, const struct cm_key *k, uint64_t slot, const struct cm_header *h)
{
    struct cm_cache *const c = z->c;
    struct cm_stripe *const s = cm_stripe_at(c, k->stripe);
    cm_lock_acquire(&s->lock);
    cm_policy_forget(&c->policy, slot); /* while it is full: a filler resets the hint */
    int r = cm_slot_invalidate(&c->media, slot, h->w0);
    if (cm_keep_any(c))
        cm_policy_forgotten(&c->policy, slot);
    if (r == 1) {
        r = cm_slot_flush(&c->media, slot) ? CM_EIO : 1;
        cm_media_fence(&c->media); /* durable before the only cell that leads to it is gone */
    }
    cm_lock_release(&s->lock);
    z->done->dropped += r == 1;
    return r < 0 ? r : 0;
}

/* A cell of bucket `bucket`. */
static int copy_cell(struct copy *z, uint64_t bucket, uint64_t cell)
{
    const struct cm_media *const m = &z->c->media;
    const uint64_t slot = cm_cell_slot(cell);
    struct cm_header h;
    if (slot >= cm_media_slots(m))
        return 0;
    const enum cm_slot_verdict v = cm_slot_header(m, slot, &h);
    if (v == CM_SLOT_UNREADABLE)
        return CM_EIO; /* it may be valid: without its cell nobody could forget it */
    if (v != CM_SLOT_HIT)
        return 0;
    const struct cm_key k = cm_key_stored(m, h.incarnation, cm_header_block(&h));
    if (k.place.tag != cm_cell_tag(cell) || cm_header_boot(&h) != cm_cell_boot(cell) ||
        (k.place.bucket[0] != bucket && k.place.bucket[1] != bucket))
        return 0;
    const uint64_t number = cm_incarnation_number(h.incarnation);
    const struct cm_home home =
        cm_place_home(m->geo.stripes, z->to, m->hash_seed, number, k.block >> CM_GROUP_SHIFT);
    const uint64_t first = cm_place_first(k.place.hash, k.block, &home);
    const uint64_t at[2] = { first, cm_place_second(k.place.hash, first, home.buckets) };
    assert(home.stripe == k.stripe);
    for (unsigned which = 0; which < 2; which++) {
        uint64_t *const to = z->buckets[at[which]].cell;
        const int i = cm_index_empty(to);
        if (i < 0)
            continue;
        to[i] = cell;
        z->done->blocks++;
        return 0;
    }
    return drop(z, &k, slot, &h);
}

static void prefetch_headers(const struct cm_media *m, const uint64_t cell[CM_BUCKET_CELLS])
{
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++)
        if (cm_cell_slot(cell[i]) < cm_media_slots(m))
            cm_slot_prefetch_header(m, cm_cell_slot(cell[i]));
}

/* Fills z->buckets with the cells of a stripe. */
static int gather(struct copy *z, uint64_t stripe)
{
    const struct cm_media *const m = &z->c->media;
    const uint64_t n = cm_index_stripe_buckets(z->from);
    const uint64_t base = cm_index_first(z->from) + stripe * n;
    uint64_t cell[2][CM_BUCKET_CELLS];
    memset(z->buckets, 0, (size_t)cm_index_stripe_buckets(z->to) * sizeof(*z->buckets));
    int e = cm_index_load_bucket(m, base, cell[0]);
    for (uint64_t b = 0; b < n && e == 0; b++) {
        if (b + 1 < n) { /* the headers of the next bucket are on their way meanwhile */
            e = cm_index_load_bucket(m, base + b + 1, cell[(b + 1) % 2]);
            if (e == 0)
                prefetch_headers(m, cell[(b + 1) % 2]);
        }
        for (unsigned i = 0; i < CM_BUCKET_CELLS && e == 0; i++)
            if (cell[b % 2][i] != 0)
                e = copy_cell(z, base + b, cell[b % 2][i]);
    }
    return e;
}

/* Stores all buckets of a stripe, the empty ones, too. */
static int store(const struct copy *z, uint64_t stripe)
{
    const struct cm_media *const m = &z->c->media;
    const uint64_t n = cm_index_stripe_buckets(z->to), each = CM_BLOCK_SIZE / sizeof(*z->buckets);
    uint8_t *const to =
        m->base + m->geo.index_offset + (cm_index_first(z->to) + stripe * n) * sizeof(*z->buckets);
    int e = 0;
    for (uint64_t b = 0; b < n && e == 0; b += each) {
        const uint64_t some = n - b < each ? n - b : each;
        e = cm_media_copy(m, to + b * sizeof(*z->buckets), &z->buckets[b],
                          (size_t)some * sizeof(*z->buckets));
    }
    return e == CM_EIO && z->c->file.sparse ? CM_ENOSPC : e; /* a hole could not be filled */
}

int cm_reindex(struct cm_cache *c, const struct cm_geometry *to, struct cm_reindexed *done)
{
    const size_t bytes = (size_t)to->stripe_buckets * sizeof(struct cm_bucket);
    struct copy z = { .c = c, .from = cm_media_index(&c->media), .to = cm_place_index(to) };
    z.done = done;
    z.buckets = cm_cache_alloc(c, bytes);
    if (!z.buckets)
        return CM_ENOMEM;
    drain(c);
    int e = 0;
    for (uint64_t s = 0; s < to->stripes && e == 0; s++) {
        e = gather(&z, s);
        if (e == 0)
            e = store(&z, s);
    }
    cm_media_fence(&c->media); /* before the superblocks say that it counts */
    cm_cache_free(c, z.buckets, bytes);
    return e;
}
