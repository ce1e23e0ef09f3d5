/* SPDX-License-Identifier: BSD-2-Clause
 *
 * flight.c - the table of origin reads in flight, who waits for them, and staging buffers.
 *
 * Single flight: a reader may miss a block that another reader, the leader, is already reading from
 * the origin. If the leader's tickets still hold, the reader waits until that read lands, and then
 * looks the block up again. (If they do not hold, the leader's data will be refused, so waiting is
 * useless.) So joining is only a delay: no promise depends on it.
 *
 * Waiters: a waiter is in the list of one flight, in the reader's memory. The flight's leader takes
 * the waiters out one by one under the table's lock, and wakes each without the lock. `waking`
 * counts the threads that do so: as long as it is not zero, the waiter's memory must stay. The last
 * thing that a thread does with a waiter is to lower it. Then it only touches the table's `wakes`,
 * on which a reader sleeps that wants to go (cm_waiter_settle).
 *
 * Buffers: origin reads that cannot go straight into the caller's memory. Few are kept. If there is
 * no memory, a block of the reserve serves, and if all of these are in use, the reader waits for
 * one.
 *
 * Owns: struct cm_flight_table.
 * Who: api/.
 */
#include "api/flight.h"

#include "protocol/fill_ticket.h"

/* ---- Waiters --------------------------------------------------------------------------------- */

/* Lock held. */
static void enter_list(struct cm_waiter **list, struct cm_waiter *w)
{
    assert(!w->link);
    /* Relaxed: only the lock's next holder can change it. */
    at_store_relaxed(&w->woken, 0u);
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

/* Lock held. */
static void leave_list(struct cm_waiter *w)
{
    assert(*w->link == w);
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->next = NULL;
    w->link = NULL;
}

/* Lock held. Moves all waiters of one list to another. */
static void move_list(struct cm_waiter **to, struct cm_waiter **from)
{
    while (*to)
        to = &(*to)->next;
    *to = *from;
    if (*to)
        (*to)->link = to;
    *from = NULL;
}

/* Wakes all in the list. While one is being woken, others may leave the list. The table's lock is
 * held at the call, and released at the return. */
static void wake_list(struct cm_cache *c, struct cm_waiter **list)
{
    struct cm_flight_table *t = c->flights;
    for (struct cm_waiter *w = *list; w; w = *list) {
        cm_request *r = w->request;
        leave_list(w);
        at_add_relaxed(&w->waking, 1u); /* the lock orders it before the waiter's next look */
        /* After the fill: the waiter's lookup finds it. Pairs with cm_waiter_is_woken. */
        at_store_release(&w->woken, 1u);
        cm_lock_release(&t->lock);
        if (r->wake) {
            struct cm_callback frame;
            const int cancel = cm_plat_cancel_off();
            cm_callback_begin(c, &frame);
            r->wake(r->wake_ctx, r);
            cm_callback_end(&frame);
            cm_plat_cancel_back(cancel);
        } else {
            cm_plat_wake_all(&w->woken);
        }
        /* Release: all that was done with the waiter. Pairs with cm_waiter_settle. From here on it
         * may be gone. */
        (void)at_sub_acq_rel(&w->waking, 1u);
        (void)at_add_acq_rel(&t->wakes, 1u); /* after `waking`: who sees it looks at that again */
        cm_plat_wake_all(&t->wakes);
        cm_lock_acquire(&t->lock);
    }
    cm_lock_release(&t->lock);
}

bool cm_waiter_leave(struct cm_cache *c, struct cm_waiter *w)
{
    struct cm_flight_table *t = c->flights;
    cm_lock_acquire(&t->lock);
    const bool waited = w->link != NULL;
    if (waited)
        leave_list(w);
    cm_lock_release(&t->lock);
    return waited;
}

void cm_waiter_settle(struct cm_cache *c, struct cm_waiter *w)
{
    struct cm_flight_table *t = c->flights;
    for (;;) {
        /* First `wakes`, then `waking`: if the last thread lets go between the two, `wakes` is not
         * what was seen, and nobody sleeps. Both acquire, so that they stay in this order. */
        const uint32_t seen = at_load_acquire(&t->wakes);
        if (at_load_acquire(&w->waking) == 0) /* pairs with the release in wake_list */
            return;
        cm_plat_wait(&t->wakes, seen);
    }
}

/* ---- The table ------------------------------------------------------------------------------- */

/* Lock held. Returns the flight that reads `block`, or NULL. Cuts *n to the blocks before the next
 * flight. */
static struct cm_flight *overlap(struct cm_flight_table *t, uint64_t incarnation, uint64_t block,
                                 uint64_t *n)
{
    for (unsigned i = 0; i < t->top; i++) {
        struct cm_flight *fl = &t->flight[i];
        if (fl->incarnation != incarnation)
            continue;
        if (fl->first <= block && block < fl->end)
            return fl;
        if (fl->first > block && fl->first - block < *n)
            *n = fl->first - block;
    }
    return NULL;
}

/* Lock held. The first free entry, or NULL. */
static struct cm_flight *take_entry(struct cm_flight_table *t)
{
    unsigned i = 0;
    while (i < t->top && t->flight[i].incarnation != 0)
        i++;
    if (i == CM_FLIGHTS)
        return NULL;
    if (i == t->top)
        t->top++;
    return &t->flight[i];
}

enum cm_flight_start cm_flight_start(struct cm_object *f, cm_miss *miss, struct cm_waiter *w,
                                     struct cm_flight **flight)
{
    struct cm_cache *c = f->cache;
    struct cm_flight_table *t = c->flights;
    const uint64_t block = miss->offset / CM_BLOCK_SIZE;
    uint64_t n = cm_blocks_of(miss->len), all = n;
    *flight = NULL;
    if ((miss->flags & CM_MISS_NOFILL) || miss->incarnation == 0)
        return CM_FLIGHT_ALONE; /* what it reads will not be stored: no use to others */
    cm_lock_acquire(&t->lock);
    struct cm_flight *other = overlap(t, miss->incarnation, block, &n);
    if (other && w && cm_ticket_may_hold(f, &other->miss, block)) {
        enter_list(&other->waiters, w);
        cm_lock_release(&t->lock);
        cm_count(c, CM_STAT_flights_joined, 1);
        return CM_FLIGHT_JOINED;
    }
    struct cm_flight *fl = take_entry(t);
    if (fl) {
        if (!other && n < all)
            miss->len = n * CM_BLOCK_SIZE;
        assert(!fl->waiters);
        fl->incarnation = miss->incarnation;
        fl->first = other ? 0 : block;
        fl->end = other ? 0 : block + n; /* no blocks: nobody finds it */
        fl->miss = *miss;
        fl->next = NULL;
    }
    cm_lock_release(&t->lock);
    *flight = fl;
    return fl && !other ? CM_FLIGHT_LEAD : CM_FLIGHT_ALONE;
}

void cm_flight_land(struct cm_cache *c, struct cm_flight *fl)
{
    struct cm_flight_table *t = c->flights;
    struct cm_waiter *list = NULL;
    if (!fl)
        return;
    cm_lock_acquire(&t->lock);
    for (struct cm_flight *next; fl; fl = next) {
        assert(fl->incarnation != 0);
        next = fl->next;
        fl->incarnation = 0;
        fl->next = NULL;
        move_list(&list, &fl->waiters);
    }
    while (t->top > 0 && t->flight[t->top - 1].incarnation == 0)
        t->top--;
    wake_list(c, &list);
}

void cm_flight_cut(struct cm_cache *c, struct cm_flight *fl, uint64_t end)
{
    struct cm_flight_table *t = c->flights;
    struct cm_flight *last = NULL; /* the last one that is not cut */
    while (fl && fl->end <= end) { /* also one that nobody can find */
        last = fl;
        fl = fl->next;
    }
    if (!fl)
        return;
    if (fl->first < end) { /* the cut goes through it */
        last = fl;
        fl = fl->next;
    }
    assert(last); /* the first flight of a piece is never cut off whole */
    cm_lock_acquire(&t->lock);
    last->next = NULL;
    if (last->end > end)
        last->end = end;
    cm_lock_release(&t->lock);
    cm_flight_land(c, fl);
}

/* ---- Buffers --------------------------------------------------------------------------------- */

static uint8_t *aligned(void *p)
{
    return (uint8_t *)(((uintptr_t)p + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE);
}

static size_t room_of(const struct cm_cache *c, enum cm_buffer_kind kind)
{
    const size_t most = (size_t)c->opts.read_size_max;
    return kind == CM_BUFFER_LONG || most < CM_COPY_MAX ? most : CM_COPY_MAX;
}

static bool get_memory(struct cm_cache *c, enum cm_buffer_kind kind, struct cm_buffer *b)
{
    struct cm_flight_table *t = c->flights;
    const bool is_long = kind == CM_BUFFER_LONG;
    void *p = NULL;
    cm_lock_acquire(&t->lock);
    if (is_long && t->long_spares > 0)
        p = t->long_spare[--t->long_spares];
    else if (!is_long && t->spares > 0)
        p = t->spare[--t->spares];
    cm_lock_release(&t->lock);
    if (!p)
        p = cm_cache_alloc(c, room_of(c, kind) + CM_BLOCK_SIZE);
    if (p)
        *b = (struct cm_buffer){ aligned(p), p, room_of(c, kind), kind };
    return p != NULL;
}

/* A block of the reserve. */
static bool get_reserve(struct cm_cache *c, struct cm_waiter *w, struct cm_buffer *b)
{
    struct cm_flight_table *t = c->flights;
    unsigned i = 0;
    cm_lock_acquire(&t->lock);
    while (i < CM_RESERVE && (t->reserve_used >> i & 1))
        i++;
    if (i < CM_RESERVE)
        t->reserve_used |= 1u << i;
    else if (w)
        enter_list(&t->poor, w);
    cm_lock_release(&t->lock);
    if (i == CM_RESERVE)
        return false;
    uint8_t *p = aligned(t->reserve) + i * CM_BLOCK_SIZE;
    *b = (struct cm_buffer){ p, p, CM_BLOCK_SIZE, CM_BUFFER_RESERVE };
    return true;
}

bool cm_buffer_get(struct cm_cache *c, size_t len, struct cm_waiter *w, struct cm_buffer *b)
{
    assert(len > 0 && len <= c->opts.read_size_max);
    return (len > CM_COPY_MAX && get_memory(c, CM_BUFFER_LONG, b)) ||
           get_memory(c, CM_BUFFER_SHORT, b) || get_reserve(c, w, b);
}

static void put_reserve(struct cm_cache *c, const struct cm_buffer *b)
{
    struct cm_flight_table *t = c->flights;
    const size_t i = (size_t)(b->p - aligned(t->reserve)) / CM_BLOCK_SIZE;
    struct cm_waiter *list = NULL;
    cm_lock_acquire(&t->lock);
    assert(i < CM_RESERVE && (t->reserve_used >> i & 1));
    t->reserve_used &= ~(1u << i);
    move_list(&list, &t->poor);
    wake_list(c, &list);
}

void cm_buffer_put(struct cm_cache *c, struct cm_buffer *b)
{
    struct cm_flight_table *t = c->flights;
    const enum cm_buffer_kind kind = b->kind;
    bool kept = false;
    b->kind = CM_BUFFER_NONE;
    if (kind == CM_BUFFER_NONE)
        return;
    if (kind == CM_BUFFER_RESERVE) {
        put_reserve(c, b);
        return;
    }
    cm_lock_acquire(&t->lock);
    if (kind == CM_BUFFER_LONG && t->long_spares < CM_STAGING_LONG) {
        t->long_spare[t->long_spares++] = b->memory;
        kept = true;
    } else if (kind == CM_BUFFER_SHORT && t->spares < CM_STAGING_SPARE) {
        t->spare[t->spares++] = b->memory;
        kept = true;
    }
    cm_lock_release(&t->lock);
    if (!kept)
        cm_cache_free(c, b->memory, room_of(c, kind) + CM_BLOCK_SIZE);
}

void cm_buffers_free(struct cm_cache *c)
{
    struct cm_flight_table *t = c->flights;
    assert(t->top == 0 && !t->poor && t->reserve_used == 0);
    while (t->spares)
        cm_cache_free(c, t->spare[--t->spares], room_of(c, CM_BUFFER_SHORT) + CM_BLOCK_SIZE);
    while (t->long_spares)
        cm_cache_free(c, t->long_spare[--t->long_spares],
                      room_of(c, CM_BUFFER_LONG) + CM_BLOCK_SIZE);
}
