/* SPDX-License-Identifier: BSD-2-Clause
 *
 * memo.c - what the policy knows, kept in the pool over a clean close.
 *
 * Owns: the memo pages. They hold count and KNOWN of each slot, then the ghost. There are at most
 * CM_MEMO_PAGES_MAX pages; what has no room in them is not kept. A clean close writes the pages
 * that changed, as a new generation. The superblock then names the oldest generation that counts:
 * that of the first session in the unbroken row of clean closes. The next open for use clears this
 * name, so nothing is ever loaded after a crash. A page counts iff its generation, number and sum
 * are right. Wrong content would do no harm: only the choice of the blocks that stay depends on it.
 *
 * Opening reads no memo page. A page is loaded when the hand or the ghost first gets to it. It is
 * joined with what the policy knows by then. A second thread that gets there meanwhile does not
 * wait: it goes on without the page. A slot that is filled before the hand has reached its page may
 * inherit the count of the block that was in it.
 *
 * Who: api/.
 */
#include "media/memo.h"

#include <string.h>

uint64_t cm_memo_bytes(const struct cm_geometry *g)
{
    return (g->memo_pages + 63) / 64 * 8;
}

static struct cm_memo_page *page_at(const struct cm_media *m, uint64_t number)
{
    assert(number < at_load_relaxed(&m->geo.memo_pages));
    const uint64_t at = at_load_relaxed(&m->geo.memo_offset) + number * CM_BLOCK_SIZE;
    return (struct cm_memo_page *)(void *)(m->base + at);
}

bool cm_memo_readable(const struct cm_media *m, uint64_t number)
{
    struct cm_memo_page p;
    return cm_guard_copy(&p, page_at(m, number), sizeof(p)) == 0 ||
           cm_media_is_hole(m, page_at(m, number), sizeof(p));
}

static uint64_t ring_pages(const struct cm_memo *o)
{
    return at_load_relaxed(&o->media->geo.memo_ring_pages); /* grows with the pool */
}

/* Return the number of slots, or buckets, of a page; *first is the first one. */
static uint64_t slots_of(const struct cm_memo *o, uint64_t number, uint64_t *first)
{
    uint64_t left;
    *first = number * CM_MEMO_SLOTS;
    left = at_load_relaxed(&o->policy->ring.slots) - *first;
    return left < CM_MEMO_SLOTS ? left : CM_MEMO_SLOTS;
}

static uint64_t buckets_of(const struct cm_memo *o, uint64_t number, uint64_t *first)
{
    uint64_t left;
    *first = (number - ring_pages(o)) * CM_MEMO_BUCKETS;
    left = at_load_relaxed(&o->policy->ghost.buckets) - *first;
    return left < CM_MEMO_BUCKETS ? left : CM_MEMO_BUCKETS;
}

/* ---- Loading --------------------------------------------------------------------------------- */

static bool is_reached(const struct cm_memo *o, uint64_t number)
{
    return at_load_relaxed(&o->done) ||
           (at_load_relaxed(&o->reached[number / 64]) >> number % 64 & 1);
}

/* Does a page say that it is of a generation that counts? Many were never written. */
static bool is_of_us(const struct cm_memo *o, uint64_t number)
{
    uint64_t generation;
    const uint64_t oldest =
        at_load_relaxed(&o->generation); /* changes when no page counts any more */
    return oldest != 0 &&
           cm_guard_load64(&page_at(o->media, number)->generation, &generation) == 0 &&
           generation >= oldest;
}

/* Copies a page that counts. */
static bool fetch(const struct cm_memo *o, uint64_t number, struct cm_memo_page *p)
{
    return is_of_us(o, number) && cm_guard_copy(p, page_at(o->media, number), sizeof(*p)) == 0 &&
           p->number == number && p->xxh3 == cm_format_memo_sum(cm_media_key(o->media), p);
}

/* Joins a page with what the policy knows. */
static void join_page(struct cm_memo *o, uint64_t number)
{
    uint64_t first, n;
    if (!fetch(o, number, o->page))
        return;
    if (number < ring_pages(o)) {
        n = slots_of(o, number, &first);
        cm_policy_load_slots(o->policy, first, n, o->page->body);
    } else {
        n = buckets_of(o, number, &first);
        cm_policy_load_ghost(o->policy, first, n, o->page->body);
    }
}

static void load(struct cm_memo *o, uint64_t number)
{
    const uint64_t bit = UINT64_C(1) << number % 64;
    /* One page at a time. A thread that finds another one loading goes on without what this page
     * keeps, as it would beside a thread that loads the same page; somebody loads it later.
     * Acquire: what the last owner read from `page` stays before what is stored to it now. */
    if (at_swap_acq_rel(&o->loading, 1) != 0)
        return;
    /* One thread alone loads the page: the one that sets the bit. The data does not need acq_rel,
     * because it is atomic. */
    if (!(at_or_acq_rel(&o->reached[number / 64], bit) & bit))
        join_page(o, number);
    at_store_release(&o->loading, 0); /* pairs with the swap */
}

static void reach(struct cm_memo *o, uint64_t number, uint64_t end)
{
    /* Tested first: what is asked for may lie in no page that was there at the open. */
    if (number < o->pages && number < end && !is_reached(o, number))
        load(o, number);
}

static void reach_slot(void *memo, uint64_t slot)
{
    struct cm_memo *o = memo;
    reach(o, slot / CM_MEMO_SLOTS, ring_pages(o));
}

static void reach_bucket(void *memo, uint64_t bucket)
{
    struct cm_memo *o = memo;
    reach(o, ring_pages(o) + bucket / CM_MEMO_BUCKETS, o->pages);
}

void cm_memo_load_all(struct cm_memo *o)
{
    for (uint64_t i = 0; i < o->pages && !at_load_relaxed(&o->done); i++)
        while (at_load_relaxed(&o->generation) != 0 && !is_reached(o, i)) {
            load(o, i);
            if (!is_reached(o, i))
                cm_plat_sleep(1000); /* another thread loads another page */
        }
    /* A page is joined under `loading`. Whoever has had it here knows that the last one is joined.
     */
    while (at_swap_acq_rel(&o->loading, 1) != 0)
        cm_plat_sleep(1000);
    at_store_relaxed(&o->done, 1u);
    at_store_relaxed(&o->generation, UINT64_C(0));
    at_store_release(&o->loading, 0u); /* pairs with the swap */
}

void cm_memo_begin(struct cm_memo *o, const struct cm_media *m, struct cm_policy_state *policy,
                   const struct cm_super_memo *kept)
{
    o->media = m;
    struct cm_ring *ring = &policy->ring;
    struct cm_ghost *ghost = &policy->ghost;
    o->policy = policy;
    o->generation = kept ? kept->generation : 0;
    o->pages = m->geo.memo_pages;
    if (o->generation != 0) {
        ring->hand = kept->hand;
        ghost->time = kept->departures;
    }
    ring->reach = reach_slot;
    ring->reach_ctx = o;
    ghost->reach = reach_bucket;
    ghost->reach_ctx = o;
}

bool cm_memo_read(const struct cm_media *m, const struct cm_super_memo *kept, uint64_t number,
                  struct cm_memo_page *p)
{
    const struct cm_memo o = { .media = m, .generation = kept->generation };
    return fetch(&o, number, p);
}

int cm_memo_store(const struct cm_media *m, uint64_t generation, uint64_t number,
                  struct cm_memo_page *p)
{
    p->generation = generation;
    p->number = number;
    p->xxh3 = cm_format_memo_sum(cm_media_key(m), p);
    return cm_media_copy(m, page_at(m, number), p, sizeof(*p));
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* Joins two bytes of ring pages. Each half gets the higher count, and KNOWN if one of them has
 * it. */
static uint8_t join(uint8_t a, uint8_t b)
{
    const uint8_t low = CM_REF_MAX, high = CM_REF_MAX << 4;
    const uint8_t known = CM_REF_KNOWN | CM_REF_KNOWN << 4;
    return (uint8_t)(((a & low) > (b & low) ? a & low : b & low) |
                     ((a & high) > (b & high) ? a & high : b & high) | ((a | b) & known));
}

static bool is_zero(const struct cm_memo_page *p)
{
    return p->body[0] == 0 && memcmp(p->body, p->body + 1, sizeof(p->body) - 1) == 0;
}

/* Both put the new content of a page into p, whose body is zero before. false: the page on the
 * media stays as it is. */
static bool gather_slots(const struct cm_memo *o, uint64_t number, struct cm_memo_page *p)
{
    struct cm_memo_page last;
    uint64_t first, n = slots_of(o, number, &first), used = cm_ring_used(&o->policy->ring);
    if (first < used)
        cm_policy_save_slots(o->policy, first, first + n <= used ? n : used - first, p->body);
    if (is_reached(o, number))
        return true;
    if (is_zero(p))
        return false;
    if (fetch(o, number, &last))
        for (unsigned i = 0; i < sizeof(p->body); i++)
            p->body[i] = join(p->body[i], last.body[i]);
    return true;
}

static bool gather_buckets(const struct cm_memo *o, uint64_t number, struct cm_memo_page *p)
{
    uint64_t first, n = buckets_of(o, number, &first);
    if (!is_reached(o, number))
        return false;
    cm_policy_save_ghost(o->policy, first, n, p->body);
    return true;
}

/* Is a page to be written? */
static bool gather(const struct cm_memo *o, uint64_t number, struct cm_memo_page *p)
{
    memset(p, 0, sizeof(*p));
    if (!(number < ring_pages(o) ? gather_slots(o, number, p) : gather_buckets(o, number, p)))
        return false;
    return !is_zero(p) || is_of_us(o, number); /* zeros, too, if the old content would count */
}

int cm_memo_write(struct cm_memo *o, uint64_t generation, struct cm_super_memo *kept)
{
    const struct cm_media *m = o->media;
    const uint64_t end = at_load_relaxed(&o->policy->ring.end);
    int e = 0;
    for (uint64_t i = 0; i < m->geo.memo_pages && e == 0; i++) {
        struct cm_memo_page p;
        if (!gather(o, i, &p))
            continue;
        e = cm_memo_store(m, generation, i, &p);
    }
    cm_media_fence(m); /* before CLEAN says that they count */
    kept->generation = o->generation != 0 ? o->generation : generation;
    kept->hand = end > 0 ? at_load_relaxed(&o->policy->ring.hand) % end : 0;
    kept->departures = at_load_relaxed(&o->policy->ghost.time);
    return e;
}
