/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_through.c - reading through: cached prefix, origin, fill, until the request is served.
 *
 * Owns: the table of origin reads in flight, and staging buffers.
 *
 * Single flight: a reader may miss a block that another reader, the leader, is already reading from
 * the origin. If the leader's tickets still hold, the reader waits until that read lands, and then
 * looks the block up again. (If they do not hold, the leader's data will be refused, so waiting is
 * useless.) If the block is still absent, the reader reads the origin itself and does not wait
 * again. So joining is only a delay: a waiter returns the result of an ordinary lookup or of its
 * own origin read. No promise depends on joining.
 *
 * Prefetch: when reads are sequential, the origin read goes further than the request. The length
 * doubles each time, up to the staging size. The library starts no threads, so the reader itself
 * spends the time to read ahead.
 *
 * One version: a result may have several parts (cached blocks, origin reads). If the file gets
 * another incarnation meanwhile, because it was found changed, the result is thrown away and read
 * again. After a few tries it is read from the origin alone, in one call if a staging buffer is
 * long enough.
 *
 * The origin is read in whole blocks into block-aligned memory, so that O_DIRECT works: straight
 * into the caller's buffer where that is aligned and long enough, else into a staging buffer.
 *
 * The origin's call may end the thread (cancelled, pthread_exit) or throw. Then its flight lands
 * empty, and the readers that wait for it read the origin themselves (give_up).
 *
 * Who: api/.
 */
#include "api/read_through.h"

#include <string.h>

#include "protocol/fill.h"
#include "api/read_fast.h"
#include "protocol/fill_ticket.h"
#include "api/read_range.h"

#define WINDOW_MIN 4u /* blocks read ahead when a sequence is first noticed */
/* A file may be found changed again and again while one read of it runs. The last try does not use
 * the cache, and its result counts. */
#define VERSION_TRIES 4u
#define WINDOW_MAX (CM_STAGING_BYTES / CM_BLOCK_SIZE)

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

enum start { LEAD, JOINED, ALONE };

/* LEAD: the caller leads a flight over the miss, which may be shortened. JOINED: it has waited for
 * another flight. ALONE: neither is possible. */
static enum start start_flight(struct cm_object *f, cm_miss *miss, bool join,
                               struct cm_flight **flight)
{
    struct cm_cache *c = f->cache;
    struct cm_flight_table *t = c->flights;
    uint64_t incarnation = at_load_acquire(&f->incarnation);
    uint64_t block = miss->offset / CM_BLOCK_SIZE;
    uint64_t n = (miss->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE, all = n;
    if ((miss->flags & CM_MISS_NOFILL) || incarnation == 0)
        return ALONE; /* what it reads will not be stored: no use to others */
    cm_lock_acquire(&t->lock);
    struct cm_flight *fl = overlap(t, incarnation, block, &n);
    if (fl) {
        bool good = join && cm_ticket_may_hold(f, &fl->miss, block);
        uint32_t landed = at_load_acquire(&fl->landed);
        cm_lock_release(&t->lock);
        if (!good)
            return ALONE;
        cm_count(c, CM_STAT_flights_joined, 1);
        while (at_load_acquire(&fl->landed) == landed) /* pairs with the release in land */
            cm_plat_wait(&fl->landed, landed);
        return JOINED;
    }
    fl = take_entry(t);
    if (fl) {
        if (n < all)
            miss->len = n * CM_BLOCK_SIZE;
        fl->incarnation = incarnation;
        fl->first = block;
        fl->end = block + n;
        fl->miss = *miss;
    }
    cm_lock_release(&t->lock);
    *flight = fl;
    return fl ? LEAD : ALONE;
}

static void land(struct cm_cache *c, struct cm_flight *fl)
{
    struct cm_flight_table *t = c->flights;
    cm_lock_acquire(&t->lock);
    fl->incarnation = 0;
    while (t->top > 0 && t->flight[t->top - 1].incarnation == 0)
        t->top--;
    at_store_release(&fl->landed, fl->landed + 1); /* after the fill: a waiter's lookup finds it */
    cm_lock_release(&t->lock);
    cm_plat_wake_all(&fl->landed);
}

/* ---- Buffers --------------------------------------------------------------------------------- */

static void *get_staging(struct cm_cache *c)
{
    struct cm_flight_table *t = c->flights;
    cm_lock_acquire(&t->lock);
    void *p = t->spares ? t->spare[--t->spares] : NULL;
    cm_lock_release(&t->lock);
    return p ? p : cm_cache_alloc(c, CM_STAGING_BYTES + CM_BLOCK_SIZE);
}

static void put_staging(struct cm_cache *c, void *p)
{
    struct cm_flight_table *t = c->flights;
    cm_lock_acquire(&t->lock);
    bool kept = t->spares < CM_STAGING_SPARE;
    if (kept)
        t->spare[t->spares++] = p;
    cm_lock_release(&t->lock);
    if (!kept)
        cm_cache_free(c, p, CM_STAGING_BYTES + CM_BLOCK_SIZE);
}

void cm_flight_free(struct cm_cache *c)
{
    while (c->flights->spares)
        cm_cache_free(c, c->flights->spare[--c->flights->spares], CM_STAGING_BYTES + CM_BLOCK_SIZE);
}

static uint8_t *aligned(void *p)
{
    return (uint8_t *)(((uintptr_t)p + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE);
}

/* ---- One origin read ------------------------------------------------------------------------- */

/* A request and how far it is served. */
struct request {
    struct cm_object *f;
    uint64_t offset;
    uint8_t *buf;
    size_t len, done;
    unsigned parts;   /* of which the result consists */
    bool direct;      /* do not use the cache */
    uint64_t counted; /* a request looks several times, but a miss counts once: cm_range_read */
    cm_origin_read_fn origin_read;
    void *ctx;
    /* What it holds while the origin is called. */
    struct cm_flight *flight; /* the flight that it leads, or NULL */
    void *staging;            /* or NULL */
    struct cm_callback frame;
};

/* The origin's call will not return: releases everything that the request holds. */
static void give_up(void *arg)
{
    struct request *q = arg;
    struct cm_cache *c = q->f->cache;
    cm_callback_end(&q->frame);
    if (q->flight)
        land(c, q->flight);
    if (q->staging)
        put_staging(c, q->staging);
    at_sub_acq_rel(&c->live, 1); /* the last: cm_close may be waiting for it */
}

struct origin_call {
    struct request *q;
    uint64_t offset;
    void *p;
    size_t len;
    int64_t result;
};

static void run_origin(void *arg)
{
    struct origin_call *k = arg;
    k->result = k->q->origin_read(k->q->ctx, k->offset, k->p, k->len);
}

/* Calls the origin. Returns the number of bytes that it gave, or its error. */
static int64_t call_origin(struct request *q, uint64_t offset, void *p, size_t len)
{
    struct cm_cache *c = q->f->cache;
    uint64_t start = cm_plat_now_ns();
    struct origin_call k = { q, offset, p, len, 0 };
    cm_callback_begin(c, &q->frame); /* else a read in the callback could wait for itself */
    cm_plat_call(run_origin, &k, give_up, q);
    cm_callback_end(&q->frame);
    int64_t r = k.result;
    cm_stats_latency(&c->media, CM_HISTOGRAM_ORIGIN, cm_plat_now_ns() - start);
    cm_count(c, CM_STAT_origin_reads, 1);
    if (r > 0 && r <= (int64_t)len)
        cm_count(c, CM_STAT_origin_bytes, (uint64_t)r);
    return r > (int64_t)len ? CM_EINVAL : r;
}

/* Offers what was read: whole blocks, and at the end of the file the tail. */
static void offer(struct request *q, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  bool eof)
{
    if (!eof)
        len -= len % CM_BLOCK_SIZE;
    uint64_t wanted = q->offset + q->len;
    if (miss->offset + len > wanted)
        cm_count(q->f->cache, CM_STAT_prefetch_blocks,
                 (miss->offset + len - wanted) / CM_BLOCK_SIZE);
    if (len > 0 && !(miss->flags & CM_MISS_NOFILL))
        (void)cm_fill_offer(q->f, miss, data, len,
                            wanted - miss->offset); /* not stored: counted, never an error */
}

/* Reads one run of the origin and serves the request from it. Returns bytes the request advanced
 * by, or an error; *eof: the origin ended. */
static int64_t read_run(struct request *q, const cm_miss *miss, uint8_t *p, size_t room, bool *eof)
{
    uint64_t len = (miss->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    if (len > room)
        len = room;
    int64_t r = call_origin(q, miss->offset, p, (size_t)len);
    uint64_t asked =
        (q->offset + q->len - miss->offset + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    if (r < 0 && len > asked) { /* an error in the read-ahead must not fail the request */
        len = asked;
        r = call_origin(q, miss->offset, p, (size_t)len);
    }
    if (r < 0)
        return r;
    *eof = (uint64_t)r < len;
    offer(q, miss, p, (uint64_t)r, *eof);
    uint64_t pos = q->offset + q->done, end = miss->offset + (uint64_t)r;
    if (end <= pos)
        return 0;
    uint64_t n = end - pos;
    if (n > q->len - q->done)
        n = q->len - q->done;
    uint8_t *to = q->buf + q->done;
    if (p + (pos - miss->offset) != to)
        memcpy(to, p + (pos - miss->offset), (size_t)n);
    return (int64_t)n;
}

/* Chooses the buffer: the caller's own, a staging buffer, or, without memory, a small one. */
static int64_t read_origin(struct request *q, const cm_miss *miss, bool *eof)
{
    uint8_t *to = q->buf + q->done;
    size_t left = (q->len - q->done) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    if (miss->offset == q->offset + q->done && (uintptr_t)to % CM_BLOCK_SIZE == 0 &&
        (miss->len <= left || left >= CM_STAGING_BYTES))
        return read_run(q, miss, to, left, eof);
    q->staging = get_staging(q->f->cache);
    if (!q->staging) {
        uint8_t small[2 * CM_BLOCK_SIZE];
        return read_run(q, miss, aligned(small), CM_BLOCK_SIZE, eof);
    }
    int64_t r = read_run(q, miss, aligned(q->staging), CM_STAGING_BYTES, eof);
    put_staging(q->f->cache, q->staging);
    q->staging = NULL;
    return r;
}

/* ---- The loop -------------------------------------------------------------------------------- */

/* Number of blocks to read past the request. Its hints are racy: two threads that read one file in
 * turns look random. That costs the read-ahead and nothing else. */
static uint64_t read_ahead(struct cm_object *f, uint64_t offset, size_t len)
{
    uint32_t advice = at_load_relaxed(&f->advice);
    /* A longer read-ahead would evict what it has just read. */
    uint64_t most = f->cache->media.geo.slots / 32, waiting = f->cache->probation.entries;
    if (waiting > 0 && most > waiting / 2)
        most = waiting / 2;
    uint64_t last = at_load_relaxed(&f->last_end);
    uint32_t window = at_load_relaxed(&f->window);
    at_store_relaxed(&f->last_end, offset + len);
    if (advice == CM_ADVISE_SEQUENTIAL)
        window = WINDOW_MAX;
    else if (advice == CM_ADVISE_NOREUSE || last != offset)
        window = 0;
    else
        window = window == 0 ? WINDOW_MIN : window * 2 > WINDOW_MAX ? WINDOW_MAX : window * 2;
    at_store_relaxed(&f->window, window);
    uint64_t wanted = len / CM_BLOCK_SIZE, reach = window < most ? window : most;
    return reach > wanted ? reach - wanted : 0; /* long requests are their own read-ahead */
}

/* Reads what is cached. *miss says what is missing. false: nothing is missing. */
static bool read_cached(struct request *q, uint64_t ahead, cm_miss *miss)
{
    const uint64_t offset = q->offset + q->done;
    uint8_t *buf = q->buf + q->done;
    const size_t len = q->len - q->done;
    if (q->direct) {
        *miss = (cm_miss){ .offset = offset - offset % CM_BLOCK_SIZE, .flags = CM_MISS_NOFILL };
        miss->len = offset + len - miss->offset;
        return true;
    }
    const struct cm_fast g = cm_fast_begin(q->f, offset, len);
    enum cm_found seen = cm_fast_read(q->f, cm_plat_thread(), &g, offset, buf, len);
    if (seen == CM_FOUND_HIT) {
        q->done = q->len;
        q->parts++;
        return false;
    }
    q->done += (size_t)cm_range_read(q->f, seen, offset, buf, len, ahead, &q->counted, miss);
    q->parts += q->done > offset - q->offset;
    if (miss->len == 0) {
        q->parts++; /* the end of the file is a part, too */
        return false;
    }
    /* A tail ended too soon. Its block may have changed by the time the origin is read, so the
     * whole block is read from there. */
    if (miss->offset < q->offset + q->done)
        q->done = miss->offset > q->offset ? (size_t)(miss->offset - q->offset) : 0;
    return true;
}

/* One round: what is cached, then one origin read or one wait. 0 go on, 1 done, or an error. */
static int64_t round_trip(struct request *q, uint64_t ahead, bool *join)
{
    cm_miss miss;
    if (!read_cached(q, ahead, &miss))
        return 1;
    q->flight = NULL;
    if (start_flight(q->f, &miss, *join, &q->flight) == JOINED) {
        *join = false; /* once is enough: then the origin itself */
        return 0;
    }
    bool eof = false;
    int64_t r = read_origin(q, &miss, &eof);
    if (q->flight)
        land(q->f->cache, q->flight);
    if (r < 0)
        return r;
    q->done += (size_t)r;
    q->parts++;
    *join = true;
    return eof || q->done == q->len;
}

/* Serves the request from its beginning. */
static int64_t serve(struct request *q, uint64_t ahead)
{
    bool join = true;
    int64_t r = 0;
    q->done = 0;
    q->parts = 0;
    while (r == 0 && q->done < q->len)
        r = round_trip(q, ahead, &join);
    return r;
}

int64_t cm_flight_read(struct cm_object *f, uint64_t offset, void *buf, size_t len,
                       cm_origin_read_fn origin_read, void *ctx)
{
    struct request q = { .f = f, .offset = offset, .buf = buf, .len = len };
    q.origin_read = origin_read;
    q.ctx = ctx;
    uint64_t ahead = read_ahead(f, offset, len);
    int64_t r = 0;
    at_add_acq_rel(&f->cache->live, 1);
    for (unsigned tries = 0; tries < VERSION_TRIES; tries++) {
        /* Acquire: nothing is copied before it. The second load comes after all copies, each of
         * which ended with an acquire fence (cm_slot_read). */
        uint64_t incarnation = at_load_acquire(&f->incarnation);
        q.direct = tries == VERSION_TRIES - 1;
        r = serve(&q, ahead);
        if (r < 0 || q.parts < 2 || at_load_acquire(&f->incarnation) == incarnation)
            break; /* of one version */
    }
    at_sub_acq_rel(&f->cache->live, 1);
    return r < 0 ? r : (int64_t)q.done;
}
