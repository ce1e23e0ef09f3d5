/* SPDX-License-Identifier: BSD-2-Clause
 *
 * request.c - reading through in steps: what is cached, and pieces of the origin for what is not.
 *
 * Owns: struct cm_run, the state of a request, in the caller's memory.
 *
 * How: a step copies what is cached from the request's position on, up to the first absent run. It
 * makes a piece of that run and gives it out. The position moves behind the piece, so the next step
 * goes on there, while the origin is read. If another reader is already reading the block, the
 * request waits for that (flight.c) and looks again. If the block is still absent then, the request
 * reads the origin itself. It waits once at each position, so it ends.
 *
 * Prefetch: when reads are sequential, the last piece goes further than the request (read_ahead.c).
 *
 * One version: a result may have several parts (cached blocks, pieces). Each belongs to a version
 * of the file, its incarnation. A part that comes from the origin belongs to the incarnation of its
 * miss, if the file still has it when the piece is completed. If the parts differ, the result is
 * thrown away, and the request begins again. After a few tries it reads the origin alone.
 *
 * The origin is read in whole blocks into block-aligned memory, so that O_DIRECT works: straight
 * into the caller's buffer where that is aligned and long enough, else into a staging buffer.
 *
 * Warming (warm.c) is a request without a buffer. It skips what is cached, reads its pieces into
 * buffers of the library, and only stores them. Versions do not matter to it: each block is stored
 * under that of its miss, or not at all.
 *
 * Who: api/.
 */
#include "api/request.h"

#include <stddef.h>
#include <string.h>

#include "api/cache.h"
#include "api/read_ahead.h"
#include "api/read_fast.h"
#include "api/read_range.h"
#include "protocol/fill.h"

/* The last byte that the caller asked for, and one. */
static uint64_t wanted_end(const struct cm_run *q)
{
    return q->r->offset + q->r->len;
}

static uint8_t *buffer_at(const struct cm_run *q, uint64_t pos)
{
    assert(pos >= q->r->offset && pos <= wanted_end(q));
    return (uint8_t *)q->r->buf + (pos - q->r->offset);
}

static bool any_given(const struct cm_run *q)
{
    for (unsigned i = 0; i < CM_REQUEST_PIECES; i++)
        if (q->out[i].state == CM_OUT_GIVEN)
            return true;
    return false;
}

static struct cm_out *find_out(struct cm_run *q, enum cm_out_state state)
{
    for (unsigned i = 0; i < CM_REQUEST_PIECES; i++)
        if (q->out[i].state == state)
            return &q->out[i];
    return NULL;
}

/* ---- Parts of the result --------------------------------------------------------------------- */

/* Notes a part of the result. !known: nobody knows whether it is of this version. */
static void note_part(struct cm_run *q, uint64_t incarnation, bool known)
{
    q->parts++;
    if (q->direct || q->warm) /* all of it comes from the origin: nobody knows its version */
        return;
    if (q->versioned) {
        q->mixed |= q->unknown || !known || incarnation != q->version;
        return;
    }
    q->versioned = true;
    q->version = incarnation;
    q->unknown = !known;
}

/* Of several errors that of the first byte counts. */
static void note_error(struct cm_run *q, uint64_t at, int64_t error)
{
    assert(error < 0);
    if (q->error == 0 || at < q->error_at) {
        q->error = error;
        q->error_at = at;
    }
}

/* The file ends here. */
static void note_eof(struct cm_run *q, uint64_t at)
{
    if (at < q->r->offset)
        at = q->r->offset;
    if (at < q->end)
        q->end = at;
}

/* Where the version of the miss ends, or UINT64_MAX. The origin may give more, in the last block.
 */
static uint64_t eof_of(const cm_miss *miss)
{
    return miss->flags & CM_MISS_EOF ? miss->offset + miss->len : UINT64_MAX;
}

/* ---- Looking --------------------------------------------------------------------------------- */

/* Copies what is cached from `pos` on. *miss says what is missing; its len is 0 if nothing is.
 * Returns up to where the request is served. */
static uint64_t read_range(struct cm_run *q, enum cm_found seen, uint64_t pos, cm_miss *miss)
{
    const size_t len = (size_t)(q->end - pos);
    const int64_t n = q->warm ? cm_range_skip(q->f, pos, len, miss, &q->buffered)
                              : cm_range_read(q->f, seen, pos, buffer_at(q, pos), len, q->ahead,
                                              &q->counted, miss);
    uint64_t to = pos + (uint64_t)n;
    q->served += (uint64_t)n;
    if (n > 0 || miss->len == 0) /* the end of the file is a part, too */
        note_part(q, miss->incarnation, true);
    if (miss->len == 0)
        note_eof(q, to);
    else if (miss->offset < to)
        /* A tail ended too soon. Its block may have changed by the time the origin is read, so the
         * whole block is read from there. */
        to = miss->offset > q->r->offset ? miss->offset : q->r->offset;
    return to;
}

/* Copies what is cached from the position on, and moves it. false: nothing is missing. */
static bool read_cached(struct cm_run *q, cm_miss *miss)
{
    const uint64_t pos = q->pos;
    const size_t len = (size_t)(q->end - pos);
    if (q->direct) {
        *miss = (cm_miss){ .offset = pos - pos % CM_BLOCK_SIZE, .flags = CM_MISS_NOFILL };
        miss->len = q->end - miss->offset;
        return true;
    }
    if (q->warm) {
        q->pos = read_range(q, CM_FOUND_CONFLICT, pos, miss);
        return miss->len > 0;
    }
    struct cm_fast g;
    struct cm_spot at;
    const struct cm_plat_thread *t = cm_plat_thread();
    enum cm_found seen = CM_FOUND_HIT;
    cm_fast_begin(q->f, pos, len, &g, &at);
    if (!cm_fast_read(q->f, t, &g, &at, pos, buffer_at(q, pos), len))
        seen = cm_range_elsewhere(q->f, t, &g, pos, buffer_at(q, pos), len);
    if (seen == CM_FOUND_HIT) {
        note_part(q, cm_incarnation_number(g.incarnation), true);
        q->served += len;
        q->pos = q->end;
        return false;
    }
    q->pos = read_range(q, seen, pos, miss);
    return miss->len > 0;
}

/* ---- Making a piece -------------------------------------------------------------------------- */

/* How long a piece that begins with this miss may be. *in_place: it can be read into the caller's
 * memory. If it would not fit there as a whole, it goes through a buffer, unless it is long. */
static uint64_t piece_max(const struct cm_run *q, const cm_miss *miss, bool *in_place)
{
    const uint64_t most = q->c->opts.read_size_max;
    const uint64_t left = (wanted_end(q) - q->pos) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    const uint64_t n = cm_whole_blocks(miss->len) < most ? cm_whole_blocks(miss->len) : most;
    *in_place = false;
    if (q->warm)
        return left < most ? left : most;
    /* All that is read directly is one piece, if possible: it is of no known version. */
    *in_place = miss->offset == q->pos && (uintptr_t)buffer_at(q, q->pos) % CM_BLOCK_SIZE == 0 &&
                (n <= left || (left >= CM_COPY_MAX && !q->direct));
    return *in_place && left < most ? left : most;
}

/* A miss reaches no further than its tickets. Goes on behind it with more flights, while all is
 * absent and wanted. `fl`: the first flight. Returns up to where the request is served or asked
 * for. */
static uint64_t extend(struct cm_run *q, struct cm_out *o, struct cm_flight *fl, uint64_t max)
{
    uint64_t end = o->offset + o->len;
    while (end < q->end && o->len < max && fl->end * CM_BLOCK_SIZE == end &&
           fl->end % CM_GROUP_BLOCKS == 0) {
        cm_miss miss;
        struct cm_flight *next = NULL;
        const uint64_t to = read_range(q, CM_FOUND_CONFLICT, end, &miss);
        if (to > end || miss.len == 0 || miss.incarnation != o->incarnation)
            return to;
        const uint64_t eof = eof_of(&miss);
        if (miss.len > max - o->len)
            miss.len = max - o->len;
        if (cm_flight_start(q->f, &miss, NULL, &next) != CM_FLIGHT_LEAD) {
            cm_flight_land(q->c, next);
            return end;
        }
        o->eof = eof;
        o->len += cm_whole_blocks(miss.len);
        end += cm_whole_blocks(miss.len);
        fl->next = next;
        fl = next;
    }
    return end;
}

/* A buffer for the piece. false: there is none now. */
static bool get_buffer(struct cm_run *q, struct cm_out *o)
{
    const bool wait = !any_given(q); /* else one of its own pieces gives back a buffer */
    assert(!find_out(q, CM_OUT_READY));
    if (!cm_buffer_get(q->c, (size_t)o->len, wait ? &q->waiter : NULL, &o->buffer)) {
        q->starved = !wait;
        q->poor = q->waits = wait;
        return false;
    }
    assert(o->buffer.room % CM_BLOCK_SIZE == 0);
    if (o->len > o->buffer.room)
        o->len = o->buffer.room;
    o->p = o->buffer.p;
    return true;
}

static void begin_wait(struct cm_run *q)
{
    const uint64_t now = cm_plat_now_ns();
    q->deadline = q->join_timeout < UINT64_MAX - now ? now + q->join_timeout : UINT64_MAX;
}

/* Warming cannot store this miss now: goes on behind it, or ends. */
static void pass_by(struct cm_run *q, const cm_miss *miss, int why)
{
    const uint64_t to = miss->offset + cm_whole_blocks(miss->len), before = q->pos;
    assert(q->warm && miss->offset == before && to > before);
    if (miss->flags & CM_MISS_EOF)
        note_eof(q, miss->offset + miss->len);
    /* Nothing can be stored until somebody changes the mode or validates the file; or nobody knows
     * whether there is anything behind it. Acquire: the miss was described before. */
    if (cm_cache_mode(q->c) != CM_NORMAL || at_load_acquire(&q->f->incarnation) == 0)
        why = CM_NOT_STORED_MODE;
    else if (cm_file_serves(q->f) && at_load_acquire(&q->f->size) != CM_SIZE_UNKNOWN) {
        q->pos = to < q->end ? to : q->end;
        q->left_out += q->pos - before;
        q->refused = q->refused ? q->refused : why;
        return;
    }
    q->refused = why;
    q->hopeless = true;
    q->end = q->pos;
}

/* Makes a piece that begins with this miss, or begins to wait for another reader's. */
static void make_piece(struct cm_run *q, cm_miss *miss)
{
    struct cm_out *o = find_out(q, CM_OUT_FREE);
    struct cm_flight *fl = NULL;
    bool in_place;
    const uint64_t max = piece_max(q, miss, &in_place);
    const uint64_t eof = eof_of(miss);
    assert(o && "who steps on asks whether a place is free");
    if (miss->len > max)
        miss->len = max;
    const enum cm_flight_start start =
        cm_flight_start(q->f, miss, q->pos >= q->join_from ? &q->waiter : NULL, &fl);
    if (start == CM_FLIGHT_JOINED) {
        q->join_from = q->pos + 1; /* once is enough: then the origin itself */
        q->waits = true;
        begin_wait(q);
        return;
    }
    if (q->warm && !fl) { /* the table is full */
        pass_by(q, miss, CM_NOT_STORED_BUSY);
        return;
    }
    *o =
        (struct cm_out){ .offset = miss->offset, .len = cm_whole_blocks(miss->len), .flights = fl };
    o->incarnation = miss->incarnation;
    o->eof = eof;
    uint64_t to = start == CM_FLIGHT_LEAD ? extend(q, o, fl, max) : o->offset + o->len;
    const uint64_t planned = o->len;
    if (in_place) {
        o->p = buffer_at(q, q->pos);
    } else if (!get_buffer(q, o)) {
        cm_flight_land(q->c, o->flights);
        o->flights = NULL;
        begin_wait(q);
        return;
    }
    assert(o->len > 0 && o->len <= q->c->opts.read_size_max &&
           (uintptr_t)o->p % CM_BLOCK_SIZE == 0);
    o->state = CM_OUT_READY;
    if (o->len < planned) {
        to = o->offset + o->len;
        cm_flight_cut(q->c, o->flights, to / CM_BLOCK_SIZE);
    }
    q->pos = to < wanted_end(q) ? to : wanted_end(q);
}

/* Goes on from the position. */
static void look(struct cm_run *q)
{
    cm_miss miss;
    if (!cm_object_attached(q->f, q->file))
        note_error(q, q->pos, CM_EHANDLE);
    else if (!read_cached(q, &miss) || q->mixed)
        return;
    else if (q->versioned && miss.incarnation != q->version)
        q->mixed = true; /* before the origin is read: the caller's may be bound to the version */
    else if (q->warm && (miss.flags & CM_MISS_NOFILL))
        pass_by(q, &miss, CM_NOT_STORED_STALE);
    else
        make_piece(q, &miss);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* Begins from the request's beginning. */
static void serve(struct cm_run *q)
{
    q->pos = q->r->offset;
    q->end = wanted_end(q);
    q->parts = 0;
    q->mixed = q->unknown = false;
    q->versioned = q->r->incarnation != 0;
    q->version = q->r->incarnation;
    if (q->versioned && !cm_file_serves(q->f))
        q->mixed = true;
    /* Nobody knows the version of what the origin gives now: the file's time to live is over, or it
     * is bypassed and has no incarnation. Acquire: the parts that follow are of this incarnation or
     * a later one. */
    if (!q->warm && q->r->incarnation == 0 &&
        (at_load_acquire(&q->f->incarnation) == 0 || !cm_file_serves(q->f)))
        q->direct = true;
    if (q->join_from != UINT64_MAX)
        q->join_from = 0;
}

static void begin(cm_file *file, cm_request *r, bool warm)
{
    struct cm_run *q = cm_run_of(r);
    struct cm_object *f = cm_object_of(file);
    memset(q, 0, offsetof(struct cm_run, out)); /* not all: a hit uses no piece */
    for (unsigned i = 0; i < CM_REQUEST_PIECES; i++) {
        q->out[i].state = CM_OUT_FREE;
        q->out[i].flights = NULL;
        q->out[i].buffer.kind = CM_BUFFER_NONE;
    }
    q->mark = cm_run_mark(r);
    q->file = file;
    q->f = f;
    q->c = f->cache;
    q->r = r;
    q->waiter.request = r;
    q->join_timeout = r->join_timeout_ns ? r->join_timeout_ns : q->c->opts.join_timeout_ns;
    q->warm = warm;
    q->ahead = warm ? 0 : cm_ahead_begin(f, r->offset, r->len);
    r->deadline_ns = 0;
    if (cm_object_is_shared(f))
        cm_shared_look(f);
    serve(q);
    at_add_acq_rel(&q->c->live, 1); /* cm_close looks at it */
}

void cm_run_begin(cm_file *file, cm_request *r)
{
    begin(file, r, false);
}

void cm_run_begin_warm(cm_file *file, cm_request *r)
{
    assert(r->offset % CM_BLOCK_SIZE == 0 && r->len % CM_BLOCK_SIZE == 0 && r->incarnation == 0);
    begin(file, r, true);
}

/* Does the request still wait? */
static bool still_waits(struct cm_run *q)
{
    if (!q->waits || cm_waiter_is_woken(&q->waiter)) {
        q->waits = q->poor = false;
        return false;
    }
    if (cm_plat_now_ns() < q->deadline)
        return true;
    if (cm_waiter_leave(q->c, &q->waiter)) { /* else it was woken at the last moment */
        q->join_from = UINT64_MAX;           /* it has waited long enough, for one request */
        if (q->poor)
            note_error(q, q->pos, CM_ENOMEM);
    }
    q->waits = q->poor = false;
    return false;
}

/* All parts are there. false: they are of several versions, and the request has begun again. */
static bool settle(struct cm_run *q)
{
    if (q->error < 0 && q->error_at < q->end)
        return true;
    q->error = 0;      /* behind the end of the file */
    if (q->parts == 0) /* nothing was wanted */
        note_part(q, at_load_acquire(&q->f->incarnation), true);
    if (!q->mixed) {
        assert(q->pos >= q->end);
        return true;
    }
    if (q->r->incarnation != 0) {
        note_error(q, q->r->offset, CM_EMOVED);
        return true;
    }
    q->direct = ++q->tries == CM_VERSION_TRIES - 1;
    serve(q);
    return false;
}

/* Gives a piece out. */
static int give(struct cm_run *q, struct cm_out *o, cm_piece *piece)
{
    o->state = CM_OUT_GIVEN;
    o->given_at = cm_plat_now_ns();
    *piece = (cm_piece){ .offset = o->offset, .len = (size_t)o->len, .buf = o->p };
    piece->number = (uint32_t)(o - q->out);
    return CM_REQUEST_READ;
}

int cm_run_step(struct cm_run *q, cm_piece *piece)
{
    q->r->deadline_ns = 0;
    while (!q->done) {
        const bool waits = still_waits(q);
        struct cm_out *ready = find_out(q, CM_OUT_READY);
        if (ready)
            return give(q, ready, piece);
        if (!waits && q->pos < q->end && q->error == 0 && !q->mixed && !q->starved &&
            find_out(q, CM_OUT_FREE)) {
            look(q);
        } else if (waits) {
            q->r->deadline_ns = q->deadline;
            return CM_REQUEST_WAIT;
        } else if (any_given(q)) {
            return CM_REQUEST_WAIT;
        } else {
            q->done = settle(q);
        }
    }
    return 0;
}

/* ---- Pieces come back ------------------------------------------------------------------------ */

/* Stores what warming has read. */
static void store(struct cm_run *q, const cm_miss *miss, const uint8_t *data, uint64_t len)
{
    struct cm_warmed done;
    const int why = cm_fill_warm(q->f, miss, data, len, &done);
    q->refused = q->refused ? q->refused : why;
    q->stored += done.stored;
    q->left_out += len - done.stored - done.present;
}

/* Offers what was read of one miss: whole blocks, and at the end of the file the tail. */
static void offer(struct cm_run *q, const struct cm_out *o, const cm_miss *miss, uint64_t got,
                  bool eof)
{
    const uint64_t from = miss->offset - o->offset, wanted = wanted_end(q);
    uint64_t len = got > from ? got - from : 0;
    assert(miss->offset < wanted); /* extend() goes on only before the end of what is wanted */
    if (len >= miss->len)
        len = miss->len; /* to the end of the file, if it ends inside a block */
    else if (!eof)
        len -= len % CM_BLOCK_SIZE;
    if (miss->offset + len > wanted)
        cm_count(q->c, CM_STAT_prefetch_blocks, (miss->offset + len - wanted) / CM_BLOCK_SIZE);
    if (q->warm)
        store(q, miss, o->p + from, len);
    else if (len > 0) /* not stored: counted, never an error */
        cm_ahead_offered(q->f, cm_fill_offer(q->f, miss, o->p + from, len, wanted - miss->offset));
    if (eof && got <= from + cm_whole_blocks(miss->len) && (got > from || from == 0))
        cm_fill_ends(q->f, miss, got - from);
}

/* The origin gave `got` bytes of the piece. */
static void take_in(struct cm_run *q, const struct cm_out *o, uint64_t got)
{
    const bool eof = got < o->len;
    for (const struct cm_flight *fl = o->flights; fl; fl = fl->next)
        offer(q, o, &fl->miss, got, eof);
    /* Acquire: after the origin was read, which happened before this call. */
    const bool known =
        at_load_acquire(&q->f->incarnation) == o->incarnation && cm_file_serves(q->f);
    note_part(q, o->incarnation, known);
    if (known)
        note_eof(q, o->eof);
    if (eof)
        note_eof(q, o->offset + got);
}

/* Copies what the caller wants of the piece. */
static void copy_out(const struct cm_run *q, const struct cm_out *o, uint64_t got)
{
    const uint64_t from = o->offset > q->r->offset ? o->offset : q->r->offset;
    const uint64_t end = o->offset + got < wanted_end(q) ? o->offset + got : wanted_end(q);
    if (!q->warm && o->buffer.kind != CM_BUFFER_NONE && from < end)
        memcpy(buffer_at(q, from), o->p + (from - o->offset), (size_t)(end - from));
}

int cm_run_complete(struct cm_run *q, const cm_piece *piece, int64_t result)
{
    struct cm_cache *c = q->c;
    struct cm_out *o = piece->number < CM_REQUEST_PIECES ? &q->out[piece->number] : NULL;
    if (!o || o->state != CM_OUT_GIVEN || piece->offset != o->offset || piece->len != o->len ||
        piece->buf != o->p)
        return CM_EINVAL;
    const uint64_t asked = cm_whole_blocks(wanted_end(q) - o->offset);
    cm_stats_latency(&c->media, CM_HISTOGRAM_ORIGIN, cm_plat_now_ns() - o->given_at);
    cm_count(c, CM_STAT_origin_reads, 1);
    if (result > 0 && (uint64_t)result <= o->len)
        cm_count(c, CM_STAT_origin_bytes, (uint64_t)result);
    q->starved = false;
    if (result < 0 && o->len > asked) { /* an error in the read-ahead must not fail the request */
        o->len = asked;
        o->state = CM_OUT_READY;
        return 0;
    }
    if (result > (int64_t)o->len)
        result = CM_EINVAL;
    if (!cm_object_attached(q->f, q->file))
        result = CM_EHANDLE;
    if (result < 0) {
        note_error(q, o->offset, result);
    } else {
        q->took += (uint64_t)result;
        take_in(q, o, (uint64_t)result);
    }
    cm_flight_land(c, o->flights);
    if (result > 0)
        copy_out(q, o, (uint64_t)result);
    cm_buffer_put(c, &o->buffer);
    o->flights = NULL;
    o->state = CM_OUT_FREE;
    return 0;
}

int64_t cm_run_end(struct cm_run *q)
{
    struct cm_cache *c = q->c;
    cm_request *r = q->r;
    if (any_given(q))
        return CM_EBUSY;
    if (q->waits)
        (void)cm_waiter_leave(c, &q->waiter);
    for (unsigned i = 0; i < CM_REQUEST_PIECES; i++) { /* made, but not given out */
        cm_flight_land(c, q->out[i].flights);
        cm_buffer_put(c, &q->out[i].buffer);
    }
    cm_waiter_settle(c, &q->waiter);
    const int64_t result = !q->done       ? CM_ECANCELED
                           : q->error < 0 ? q->error
                                          : (int64_t)(q->end - r->offset);
    r->incarnation = result < 0 || q->unknown || q->direct ? 0 : q->version;
    r->opaque[0] = 0;
    at_sub_acq_rel(&c->live, 1); /* the last: from here on cm_close() may free the cache */
    return result;
}
