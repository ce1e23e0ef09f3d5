/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm.c - cm_warm(): reads a range into the pool ahead of need, at a rate.
 *
 * Owns: the pace of a warming, and the decision to stop.
 *
 * How: the range is done in chunks, from front to back. Each chunk is a request without a buffer
 * (cm_run_begin_warm): it skips what is cached, joins other readers, and stores the rest. Between
 * two chunks nothing is held: the call sleeps there as long as the rate demands.
 *
 * It ends early when going on is no use. Nothing can be stored; or the range has as many cached
 * blocks as the pool, or the quota, has slots; or blocks that were cached when the call passed them
 * are gone. For the last, it keeps some of them in mind (warm_room.c). A pool that is full of used
 * blocks begins early to evict what comes in new. A growth of the pool is no such reason: while it
 * copies the index nothing can be stored, so the call waits, and does that chunk once more.
 *
 * What it skips may wait in the probation buffer. At the end the call stores that in the pool. In a
 * full pool what it stores takes the places of other blocks, which may be some of the range. So it
 * counts then what is cached, and goes over the range once more if some of it is missing. That may
 * push out as much again. So there is a limit to what it stores in all.
 *
 * With CM_WARM_VERIFY what is cached of a chunk is compared first (warm_verify.c). What was wrong
 * is gone then, and the chunk's request stores it anew. If the warming ends early, the comparison
 * goes on to the end, from one cached run to the next. The caller's functions may end the thread or
 * throw (let_go).
 *
 * Who: users, through cachemax.h.
 */
#include <limits.h>

#include "api/cache.h"
#include "api/read_range.h"
#include "api/request.h"
#include "api/warm_room.h"
#include "api/warm_verify.h"
#include "protocol/fill_buffered.h"
#include "state/quota.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define SLICE_NS UINT64_C(100000000) /* how long it waits without a call of progress */
#define CHUNKS_A_SECOND 8u           /* at least, unless a block takes longer */
#define IDLE_MAX 16u                 /* chunks in a row that were read and not stored */
#define ROUNDS 8u                    /* over the range, while its own stores evict some of it */
#define MORE 4u                      /* this part of the range is stored once more at most */
#define LEAK 8u                      /* this part of the room may be gone again */
#define FEW 128u                     /* this part of the range may be missing in the end */

struct warm {
    cm_file *file;
    struct cm_object *f;
    cm_file_id id; /* for people */
    struct cm_cache *c;
    const cm_warm_options *o;
    cm_origin_read_fn origin_read;
    void *ctx;
    uint64_t offset, end; /* what is wanted, in bytes; ends with the file once that is known */
    uint64_t wanted;      /* the end that the caller has named */
    uint64_t pos;         /* of the next chunk; a multiple of a block */
    uint64_t passed;      /* once more: the round before was done up to here, */
    uint64_t passed_cached, passed_version; /* with so much of it cached, of this version */
    uint64_t paid_ns;            /* by then the rate allows what was read; cm_now() time */
    uint64_t version;            /* of what was stored so far */
    uint64_t index;              /* cm_media_index(), when the chunk began */
    uint64_t most;               /* it stores so many bytes in all */
    uint64_t changes, forgotten; /* changes() and CM_STAT_forgotten, when the call began */
    unsigned idle;
    bool buffered;     /* some of what was skipped waits in the probation buffer */
    int reason;        /* the first one why a block was left out, or 0 */
    int stopped;       /* why only the comparison goes on, or 0 */
    uint64_t warmed;   /* the position where that was so */
    uint64_t compared; /* what is before it was compared */
    uint64_t run;      /* then: how far what is cached reaches from `pos` on */
    struct cm_passed watch;
    cm_warm_report report;
    struct cm_comparison *verify; /* NULL: nothing is compared. Not here: the stack is small */
    struct cm_run *q;             /* the chunk's request, or NULL */
    const cm_piece *piece;        /* that is being read, or NULL */
    int64_t result;               /* of the caller's function */
    struct cm_callback frame;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- The caller's functions ------------------------------------------------------------------ */

static void run_origin(void *arg)
{
    struct warm *w = arg;
    w->result = w->origin_read(w->ctx, w->piece->offset, w->piece->buf, w->piece->len);
}

static void run_progress(void *arg)
{
    struct warm *w = arg;
    const uint64_t size = at_load_relaxed(&w->f->size); /* for people */
    const uint64_t at = w->pos > w->passed ? w->pos : w->passed;
    const uint64_t end = least(w->end, size), done = least(at, end);
    const bool known = end < CM_OFFSET_MAX;
    w->result = w->o->progress(w->o->progress_ctx, done > w->offset ? done - w->offset : 0,
                               !known            ? CM_SIZE_UNKNOWN
                               : end > w->offset ? end - w->offset
                                                 : 0);
}

/* The caller's function will not return: releases all that the call holds. */
static void let_go(void *arg)
{
    struct warm *w = arg;
    cm_callback_end(&w->frame);
    cm_compare_free(w->verify, w->c);
    if (w->q && w->piece)
        (void)cm_run_complete(w->q, w->piece, CM_ECANCELED);
    if (w->q)
        (void)cm_run_end(w->q);
    at_sub_acq_rel(&w->c->live, 1); /* the last: from here on cm_close() may free the cache */
}

static int64_t call_out(struct warm *w, void (*fn)(void *))
{
    cm_callback_begin(w->c, &w->frame);
    cm_plat_call(fn, w, let_go, w);
    cm_callback_end(&w->frame);
    return w->result;
}

/* Tells the caller how far it is. CM_ECANCELED: the caller wants no more. */
static int tell(struct warm *w)
{
    return w->o->progress && call_out(w, run_progress) != 0 ? CM_ECANCELED : 0;
}

/* ---- Pace ------------------------------------------------------------------------------------ */

/* How much is done at a time: no more than a small part of the pool, or the end of a chunk would
 * push out its beginning; and no more than the rates allow in a short time. */
static uint64_t chunk_max(const struct warm *w)
{
    const uint64_t slots = cm_media_slots(&w->c->media), limit = at_load_relaxed(&w->c->rate.limit);
    uint64_t n = least(w->c->opts.read_size_max, slots / 32 * CM_BLOCK_SIZE);
    if (w->o->bytes_per_second)
        n = least(n, w->o->bytes_per_second / CHUNKS_A_SECOND);
    if (limit)
        n = least(n, limit / CHUNKS_A_SECOND);
    n -= n % CM_BLOCK_SIZE;
    return n ? n : CM_BLOCK_SIZE;
}

/* Time passes: the origin was read, which began at `start`. What a slow origin left over of the
 * rate is lost, but for one chunk: that makes up for sleeps that take too long. */
static void pay(struct warm *w, uint64_t bytes, uint64_t start)
{
    const uint64_t spare = UINT64_C(1000000000) / CHUNKS_A_SECOND, rate = w->o->bytes_per_second;
    const uint64_t from = start > spare ? start - spare : 0;
    if (rate == 0)
        return;
    if (w->paid_ns < from)
        w->paid_ns = from;
    w->paid_ns += bytes * UINT64_C(1000000000) / rate; /* 16 MiB at most: no overflow */
}

/* Sleeps until the rates allow to read a chunk, and to store `len` bytes. */
static int keep_pace(struct warm *w, uint64_t len)
{
    int e = 0;
    while (e == 0) {
        const uint64_t now = cm_plat_now_ns();
        const uint64_t fills = len > 0 ? cm_rate_wait(&w->c->rate, len) : 0;
        const uint64_t reads = w->paid_ns > now ? w->paid_ns - now : 0;
        const uint64_t wait = fills > reads ? fills : reads;
        if (wait == 0)
            break;
        cm_plat_sleep(least(wait, SLICE_NS));
        e = tell(w);
    }
    return e;
}

/* Nothing can be stored while the pool grows. */
static int wait_for_growth(struct warm *w)
{
    int e = 0;
    while (e == 0 && at_load_relaxed(&w->c->growing)) { /* a hint: publish.c decides */
        cm_plat_sleep(SLICE_NS / 10);
        e = tell(w);
    }
    return e;
}

/* Nothing of a group with a quota is stored until it is known what earlier sessions left of it. */
static int survey(struct warm *w)
{
    uint64_t most = at_load_relaxed(&w->f->share) > 0 ? cm_quota_parts(w->c) : 0; /* a hint */
    int e = 0;
    for (; e == 0 && most > 0 && !cm_quota_survey(w->c); most--)
        e = tell(w);
    return e;
}

/* Was the chunk not stored because the pool grew meanwhile, or still does? */
static bool met_growth(const struct warm *w, const struct cm_run *q)
{
    return q->left_out > 0 &&
           (at_load_relaxed(&w->c->growing) || cm_media_index(&w->c->media) != w->index);
}

/* ---- When to stop ---------------------------------------------------------------------------- */

static uint64_t changes(struct cm_object *f)
{
    cm_lock_acquire(&f->lock);
    const uint64_t n = f->data_begun;
    cm_lock_release(&f->lock);
    return n;
}

/* So many cached blocks have writers taken away since the call began, at most. */
static uint64_t taken(const struct warm *w)
{
    const uint64_t forgotten = cm_stats_total(&w->c->media, CM_STAT_forgotten); /* of all files */
    return changes(w->f) == w->changes ? 0 : forgotten - w->forgotten;
}

/* Is so much gone of what the round has passed that the other blocks are in use all the time, or
 * kept? Some of it goes before blocks that were used: the hand of the pool takes one slot of
 * CM_RING_STEPS then, and comes by CM_REF_MAX times before they count as not used. */
static bool is_leaking(const struct warm *w)
{
    const uint64_t range = least(w->end, at_load_relaxed(&w->f->size)) - w->offset; /* a hint */
    const uint64_t most = least(cm_room_all(w->f) / LEAK, cm_blocks_of(range / MORE));
    return cm_passed_gone(&w->watch, w->f, w->version) > most + taken(w);
}

/* After a chunk: why the call ends here, or 0. */
static int why_stop(struct warm *w, const struct cm_run *q)
{
    if (q->hopeless)
        return q->refused;
    if (q->took > 0)
        w->idle = q->stored > 0 || q->left_out == 0 ? 0 : w->idle + 1;
    if (w->idle == IDLE_MAX)
        return q->refused;
    return q->stored > 0 && cm_room_is_short(w->f) && is_leaking(w) ? CM_NOT_STORED_ROOM : 0;
}

/* ---- Chunks ---------------------------------------------------------------------------------- */

static void read_piece(struct warm *w, const cm_piece *piece)
{
    w->piece = piece;
    const int64_t n = call_out(w, run_origin);
    w->piece = NULL;
    const int e = cm_run_complete(w->q, piece, n);
    assert(e == 0);
    (void)e;
}

/* Begins to count anew if the file has another version: nothing is cached of the old one, and the
 * new one may be longer. With this reason the round is the last one: it needs no limit. */
static bool see_version(struct warm *w)
{
    /* Acquire: what is looked up next is of this incarnation or a later one. */
    const uint64_t now = at_load_acquire(&w->f->incarnation);
    if (now == w->version)
        return false;
    w->version = now;
    w->report.cached = 0;
    w->end = w->wanted;
    w->most = CM_OFFSET_MAX;
    cm_passed_begin(&w->watch, w->offset / CM_BLOCK_SIZE);
    w->reason = w->reason ? w->reason : CM_NOT_STORED_STALE;
    return true;
}

/* Takes over how far the chunk's request has come. False: its end says nothing about the file. */
static bool note(struct warm *w, const struct cm_run *q, uint64_t start)
{
    const uint64_t failed = q->error < 0 ? q->error_at : UINT64_MAX;
    const uint64_t to = least(least(q->pos, q->end), failed), from = w->pos;
    const uint64_t done = to - from;
    assert(to >= from);
    w->report.stored += q->stored;
    w->report.read += q->took;
    w->buffered |= q->buffered;
    pay(w, q->took, start);
    if (met_growth(w, q))
        return false;
    const bool moved = see_version(w);
    w->pos = moved ? to - to % CM_BLOCK_SIZE : to; /* the old one may have ended inside a block */
    if (moved) /* nobody knows which of its blocks are of the new one */
        return false;
    w->report.cached += done > q->left_out ? done - q->left_out : 0;
    w->reason = w->reason ? w->reason : q->refused;
    if (done > 0 && q->left_out == 0)
        cm_passed_note(&w->watch, from / CM_BLOCK_SIZE, cm_blocks_of(to));
    return true;
}

/* Does the next chunk. 0: go on. Not inlined, and compare() neither: only one of them needs its
 * stack at a time. */
static __attribute__((noinline)) int do_chunk(struct warm *w, uint64_t len)
{
    cm_request r; /* cm_run_begin_warm() sets what is needed of the opaque part */
    struct cm_run *q = cm_run_of(&r);
    cm_piece piece;
    const uint64_t start = cm_plat_now_ns();
    int what, e = 0;
    (void)see_version(w);
    w->index = cm_media_index(&w->c->media);
    r.offset = w->pos;
    r.buf = NULL;
    r.len = (size_t)len;
    r.incarnation = r.join_timeout_ns = 0;
    r.wake = NULL;
    cm_run_begin_warm(w->file, &r);
    w->q = q;
    while (e == 0 && (what = cm_run_step(q, &piece)) != 0) {
        if (what == CM_REQUEST_READ) {
            read_piece(w, &piece);
        } else {
            (void)cm_plat_wait_until(&q->waiter.woken, 0,
                                     least(q->deadline, cm_plat_now_ns() + SLICE_NS));
            e = tell(w);
        }
    }
    const bool done = note(w, q, start);
    const int stop = done ? why_stop(w, q) : 0;
    const int64_t n = cm_run_end(q);
    w->q = NULL;
    if (n >= 0 && done && stop == 0 && (uint64_t)n < len)
        w->end = w->pos; /* the file ends here */
    return n < INT_MIN ? INT_MIN : n < 0 ? (int)n : stop;
}

/* Does the next chunk of a warming, of at most `most` bytes. 0: go on. */
static int warm_chunk(struct warm *w, uint64_t most)
{
    const uint64_t all = cm_room_all(w->f);
    const uint64_t room = all - least(all, cm_blocks_of(w->report.cached));
    const uint64_t more = cm_whole_blocks(w->most - least(w->most, w->report.stored));
    const uint64_t len = least(least(most, more), room * CM_BLOCK_SIZE);
    if (len == 0 && w->pos >= at_load_relaxed(&w->f->size)) { /* a hint: the file ends here */
        w->end = w->pos;
        return 0;
    }
    int e = len > 0 ? keep_pace(w, len) : CM_NOT_STORED_ROOM;
    if (e == 0)
        e = wait_for_growth(w);
    return e ? e : do_chunk(w, len);
}

/* ---- Comparing ------------------------------------------------------------------------------- */

/* Waits until there is a buffer, at most as long as for another reader. */
static int next_to_compare(struct warm *w, cm_piece *piece)
{
    const uint64_t since = cm_plat_now_ns();
    int what, e = 0;
    while ((what = cm_compare_next(w->verify, piece)) == CM_ENOMEM && e == 0 &&
           cm_plat_now_ns() - since < w->c->opts.join_timeout_ns) {
        cm_plat_sleep(SLICE_NS / 10);
        e = tell(w);
    }
    return e ? e : what;
}

/* Reads a piece from the origin, and compares it with what is cached. */
static int compare_piece(struct warm *w, const cm_piece *piece)
{
    const uint64_t start = cm_plat_now_ns();
    w->piece = piece;
    const int64_t n = call_out(w, run_origin);
    w->piece = NULL;
    if (n < 0 || n > (int64_t)piece->len) {
        cm_compare_cancel(w->verify);
        return n > 0 ? CM_EINVAL : n < INT_MIN ? INT_MIN : (int)n;
    }
    cm_stats_latency(&w->c->media, CM_HISTOGRAM_ORIGIN, cm_plat_now_ns() - start);
    cm_count(w->c, CM_STAT_origin_reads, 1);
    cm_count(w->c, CM_STAT_origin_bytes, (uint64_t)n);
    w->report.read += (uint64_t)n;
    pay(w, (uint64_t)n, start);
    return cm_compare_complete(w->verify, (uint64_t)n);
}

/* Compares what is cached of the next `len` bytes, as far as that was not done yet. */
static __attribute__((noinline)) int compare(struct warm *w, uint64_t len)
{
    const uint64_t to = w->pos + len, from = w->pos > w->compared ? w->pos : w->compared;
    cm_piece piece;
    int e = 0;
    if (from >= to)
        return 0;
    w->compared = to;
    cm_compare_begin(w->verify, from / CM_BLOCK_SIZE, to / CM_BLOCK_SIZE);
    while (e == 0 && cm_compare_more(w->verify)) {
        const uint64_t nap = cm_compare_nap_ns(w->verify);
        if (nap > 0)
            cm_plat_sleep(nap);
        e = keep_pace(w, 0);
        const int what = e ? e : next_to_compare(w, &piece);
        if (what <= 0) {
            e = what;
            continue;
        }
        e = compare_piece(w, &piece);
        if (e == 0)
            e = tell(w);
    }
    return e;
}

/* The warming has ended early. The comparison goes on with what is cached behind the chunk. */
static void pass(struct warm *w, uint64_t len)
{
    w->pos += len;
    if (at_load_relaxed(&w->f->size) == CM_SIZE_UNKNOWN)
        w->end = w->pos;
    else
        w->pos = least(cm_compare_seek(w->verify, w->pos, &w->run), w->end);
}

/* Why the comparison does not go on either, or 0. */
static int stop(struct warm *w, int e)
{
    if (e <= 0 || !(w->o->flags & CM_WARM_VERIFY))
        return e;
    w->stopped = e;
    w->warmed = w->pos;
    w->run = UINT64_MAX; /* not known yet */
    return 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* Does the next chunk. Behind the run nothing is cached that could be compared. */
static int do_next(struct warm *w, uint64_t most)
{
    const uint64_t reach = w->stopped ? least(most, w->run) : most;
    const uint64_t len = cm_whole_blocks(least(reach, w->end - w->pos));
    int e = w->o->flags & CM_WARM_VERIFY ? compare(w, len) : 0;
    if (e == 0 && w->stopped)
        pass(w, len);
    else if (e == 0)
        e = stop(w, warm_chunk(w, len));
    cm_report_trouble(w->c);
    return e ? e : tell(w);
}

/* Goes over all of the range. */
static int warm_once(struct warm *w)
{
    const uint64_t most = chunk_max(w);
    int e = 0;
    w->pos = w->offset - w->offset % CM_BLOCK_SIZE;
    w->report.cached = 0;
    cm_passed_begin(&w->watch, w->offset / CM_BLOCK_SIZE);
    (void)see_version(w);
    while (e == 0 && w->pos < w->end)
        e = do_next(w, most);
    if (e == 0)
        (void)see_version(w);
    return e ? e : w->stopped ? w->stopped : w->reason;
}

/* How many bytes less are cached now than the last whole round has seen and stored? */
static uint64_t missing(const struct warm *w)
{
    const uint64_t first = w->offset - w->offset % CM_BLOCK_SIZE;
    const int64_t n = cm_file_cached(w->file, first, w->passed - first);
    return n < 0 ? 0 : w->passed_cached - least(w->passed_cached, (uint64_t)n);
}

/* A whole round is over, and so much is missing. True: that may be stored once more. */
static bool allow(struct warm *w, uint64_t gap)
{
    const uint64_t need = w->report.stored + gap, first = w->offset - w->offset % CM_BLOCK_SIZE;
    const uint64_t range = w->passed - first, written = taken(w) * CM_BLOCK_SIZE;
    const uint64_t most = range + cm_whole_blocks(range / MORE) + written;
    if (w->most == CM_OFFSET_MAX) /* first round; if there is room, a writer has taken it away */
        w->most = cm_room_is_short(w->f) || need < most ? most : need;
    else if (w->most < most)
        w->most = most;
    return need <= w->most;
}

/* Does all of the range, and stores what waits in the buffer. Both may push out other blocks of the
 * range. If they do so again and again, the range has no room. What a writer takes away between two
 * rounds is no reason for another result: each block was there at its moment. */
static int warm(struct warm *w)
{
    uint64_t gap = 0;
    w->most = CM_OFFSET_MAX;
    w->changes = changes(w->f);
    w->forgotten = cm_stats_total(&w->c->media, CM_STAT_forgotten);
    for (unsigned i = 0; i < ROUNDS; i++) {
        const uint64_t stored = w->report.stored;
        const int e = warm_once(w);
        if (w->buffered)
            cm_fill_buffered_promote_warmed(w->c, w->version);
        if (e == CM_NOT_STORED_ROOM && i > 0) {
            gap = missing(w);
            if (see_version(w) || w->version != w->passed_version)
                return e;
            break;
        }
        if (e || (w->report.stored == stored && !w->buffered))
            return e;
        w->passed = w->pos;
        w->passed_cached = w->report.cached;
        w->passed_version = w->version;
        gap = missing(w);
        if (see_version(w) && i + 1 == ROUNDS)
            return w->reason;
        if (w->reason == 0 && (gap == 0 || !allow(w, gap)))
            break;
    }
    const bool few = gap <= w->passed_cached / FEW + (1 + taken(w)) * CM_BLOCK_SIZE;
    return few || !cm_room_is_short(w->f) ? 0 : CM_NOT_STORED_ROOM;
}

/* Tells where the warming has ended. A round that was cut short takes nothing back of what the one
 * before it has done, unless the file has another version now. */
static void report_end(struct warm *w, uint64_t len)
{
    if (w->stopped)
        w->pos = w->warmed;
    /* After a stop `end` says where the comparison has ended (pass()), and not the file. */
    const uint64_t done = w->stopped ? w->passed : least(w->passed, w->end);
    if (w->pos < done && w->version == w->passed_version) {
        w->pos = done;
        w->report.cached = w->passed_cached;
    }
    const uint64_t to = w->offset + least(len, CM_ALL - w->offset);
    w->report.end = w->pos < w->offset ? w->offset : least(w->pos, to);
    w->report.cached = least(w->report.cached, w->report.end - w->offset); /* it counted blocks */
}

/* Tells what the comparison has found. */
static void report_verify(struct warm *w)
{
    const struct cm_comparison *v = w->verify;
    if (!v)
        return;
    w->report.verified = v->verified;
    w->report.differed = v->differed;
    w->report.undecided = v->undecided;
    cm_compare_say(v, w->c, &w->id);
}

int cm_warm(cm_file *file, uint64_t offset, uint64_t len, const cm_warm_options *opts,
            cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report)
{
    struct cm_object *f;
    cm_warm_options o;
    int e = cm_enter_change(file, &f);
    if (e)
        return e;
    if (!origin_read || (report && !cm_can_give_result(report)))
        return CM_EINVAL;
    if (cm_take_options(&o, sizeof(o), opts) || (o.flags & ~(uint32_t)CM_WARM_VERIFY) ||
        !cm_all_zero(o.reserved, 2)) {
        cm_log(f->cache, CM_LOG_ERROR,
               "cm_warm_options: a flag or reserved is set, or an option, that this library "
               "(version %s) does not know: begin with CM_WARM_OPTIONS_INIT",
               cm_version());
        return CM_EINVAL;
    }
    if ((e = cm_check_range(offset, len == CM_ALL ? 0 : len)) != 0)
        return e;
    struct warm w = { .file = file, .f = f, .id = f->id, .c = f->cache, .o = &o, .ctx = ctx };
    w.origin_read = origin_read;
    w.offset = offset;
    w.end = len == CM_ALL ? CM_OFFSET_MAX : offset + len;
    w.pos = w.passed = offset - offset % CM_BLOCK_SIZE;
    /* Acquire: the incarnation is loaded later. */
    if (len == 0 || offset >= at_load_acquire(&f->size))
        w.end = w.pos; /* no byte is wanted */
    w.wanted = w.end;
    w.version = at_load_acquire(&f->incarnation); /* acquire: as in see_version() */
    at_add_acq_rel(&w.c->live, 1);                /* cm_close looks at it */
    if (o.flags & CM_WARM_VERIFY)
        w.verify = cm_compare_new(file, f);
    e = o.flags & CM_WARM_VERIFY && !w.verify ? CM_ENOMEM : survey(&w);
    e = e ? e : warm(&w);
    report_verify(&w);
    cm_compare_free(w.verify, w.c);
    at_sub_acq_rel(&w.c->live, 1); /* the last: from here on cm_close() may free the cache */
    report_end(&w, len);
    if (report)
        (void)cm_give_result(report, &w.report, sizeof(w.report)); /* was checked above */
    return e;
}
