/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_through.c - reading through in one call: from the service, and from the origin with the
 * program's own read.
 *
 * Owns: nothing. A read goes window by window. First it asks for all of a window, and so gets the
 * right to store what is missing. Then it reads that at the origin and stores it. If the service
 * has answered with bytes of two versions of the file, or has another one at the end, it begins
 * again; and reads all of it at the origin if that happens again and again.
 *
 * A warming has its windows from here, too. It goes on where the service has two versions, because
 * nobody gets its bytes.
 *
 * Who: programs, by cachemax_client.h; client_warm.c.
 */
#include <stdlib.h>
#include <string.h>

#include "client_file.h"

#define WINDOW                                                                                     \
    (UINT64_C(1) << 20) /* bytes; a message has fewer, and the stack room for its parts */
#define PARTS 64u       /* missing pieces of a window that are stored */
#define TRIES 3
#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define AGAIN INT64_MIN /* the service had two versions */

struct through {
    cmc_file *file;
    uint64_t offset; /* what the caller wants */
    uint8_t *buf;
    size_t len;
    cm_origin_read_fn origin_read;
    void *ctx;
    void *memory;
    uint8_t *bounce; /* for a window; NULL: it goes straight to `buf` */
    /* Since the begin of this try: */
    bool asked, mixed;             /* the service; it has answered with two versions */
    struct client_version version; /* that of its first answer */
    bool from_service;             /* some bytes */
    unsigned origin_reads;
    struct client_window *warm; /* what is stored, and how; NULL: it is an ordinary read */
};

/* What a window has, in whole blocks. */
struct window {
    uint64_t from, to;
    uint8_t *buf; /* of `from` */
    uint64_t end; /* of the file, if it ends before `to`; else `to` */
    struct part {
        cmc_miss miss;
        uint64_t until; /* the origin is read up to here */
    } part[PARTS];
    unsigned n;
};

static bool is_same(const struct client_version *a, const struct client_version *b)
{
    return a->number == b->number && a->connection == b->connection;
}

static void note_version(struct through *t, int64_t n, const struct client_version *v)
{
    if (!t->asked)
        t->version = *v;
    t->asked = true;
    t->from_service |= n > 0;
    t->mixed |= !is_same(v, &t->version);
}

/* Reads what is cached, and asks for the right to store the rest, before the origin is read. */
static void look_up(struct through *t, struct window *w)
{
    uint64_t at = w->from;

    while (at < w->to && w->n < PARTS && !t->mixed) {
        struct part *const p = &w->part[w->n];
        struct client_version v;
        const int64_t n =
            client_read(t->file, at, w->buf + (at - w->from), (uint32_t)(w->to - at), &p->miss, &v);

        note_version(t, n, &v);
        at += (uint64_t)n;
        if (at == w->to)
            return;
        if (p->miss.flags & CM_MISS_EOF) {
            w->end = at;
            return;
        }
        at = p->miss.offset + p->miss.len;
        if (at % BLOCK != 0 || at > w->to) /* the known end of the file is in its last block */
            at = w->to;
        p->until = at;
        w->n++;
    }
    if (w->n > 0)
        w->part[w->n - 1].until = w->to; /* of the rest nothing is stored */
}

/* Reads what is missing; parts that lie side by side in one piece. 0, or an error. */
static int64_t read_parts(struct through *t, struct window *w)
{
    for (unsigned k = 0, next; k < w->n; k = next) {
        const uint64_t from = w->part[k].miss.offset;
        uint64_t until = w->part[k].until;
        int64_t n;

        for (next = k + 1; next < w->n && w->part[next].miss.offset == until; next++)
            until = w->part[next].until;
        t->origin_reads++;
        n = t->origin_read(t->ctx, from, w->buf + (from - w->from), (size_t)(until - from));
        if (n < 0)
            return n;
        if ((uint64_t)n > until - from)
            return CM_EINVAL;
        if ((uint64_t)n < until - from) {
            w->end = from + (uint64_t)n;
            return 0;
        }
    }
    return 0;
}

/* Stores a part of a warming, and notes what came of it. */
static void store_warm(const struct through *t, const cmc_miss *miss, const void *data,
                       uint32_t len, uint32_t flags)
{
    struct client_window *const r = t->warm;
    const int e = cmc_fill(t->file, miss, data, len, flags | CM_FILL_WARM);

    r->read += len;
    r->stored += e == 0 ? len : 0;
    if (e < 0 || r->result == 0)
        r->result = e;
}

static void store_parts(const struct through *t, const struct window *w)
{
    for (unsigned k = 0; k < w->n; k++) {
        const cmc_miss *const miss = &w->part[k].miss;
        const bool ends = w->end < w->to && miss->offset + miss->len >= w->end;
        const void *const data = w->buf + (miss->offset - w->from);
        uint64_t len = miss->len;

        if (miss->offset > w->end)
            return;
        if (ends)
            len = w->end - miss->offset;
        else
            len -= len % BLOCK; /* the file has become longer */
        if (t->warm)
            store_warm(t, miss, data, (uint32_t)len, ends ? CM_FILL_EOF : 0);
        else
            (void)cmc_fill(t->file, miss, data, (uint32_t)len, ends ? CM_FILL_EOF : 0);
    }
}

/* Copies what the caller wants of it. */
static void copy_out(const struct through *t, const struct window *w)
{
    const uint64_t from = w->from > t->offset ? w->from : t->offset;
    uint64_t to = w->end;

    if (to > t->offset + t->len)
        to = t->offset + t->len;
    if (to > from)
        memcpy(t->buf + (from - t->offset), w->buf + (from - w->from), (size_t)(to - from));
}

/* Reads [from, to). *end: where the file ends, or `to`. 0, AGAIN, or an error. `alone`: all of it
 * at the origin. */
static int64_t read_window(struct through *t, uint64_t from, uint64_t to, bool alone, uint64_t *end)
{
    struct window w = { .from = from, .to = to, .end = to };
    int64_t e;

    w.buf = t->bounce ? t->bounce : t->buf + (from - t->offset);
    if (alone)
        w.part[w.n++] = (struct part){ .miss = { .offset = from }, .until = to };
    else
        look_up(t, &w);
    if (t->mixed)
        return AGAIN;
    e = read_parts(t, &w);
    if (e < 0)
        return e;
    if (!alone)
        store_parts(t, &w);
    if (t->bounce)
        copy_out(t, &w);
    *end = w.end;
    return 0;
}

/* Is all of it of one version of the file? What came from the origin is of the service's version if
 * that is still the same. A service that was not there all the time knows of none. */
static bool is_one_version(const struct through *t)
{
    struct client_version now;

    if (t->mixed)
        return false;
    if (t->origin_reads == 0 || (t->origin_reads == 1 && !t->from_service) ||
        t->version.number == 0)
        return true;
    now = client_version_now(t->file);
    return is_same(&now, &t->version);
}

/* Returns where the file ends, or the end of what is wanted in whole blocks; AGAIN; or an error. */
static int64_t try_once(struct through *t, bool alone)
{
    const uint64_t to = (t->offset + t->len + BLOCK - 1) / BLOCK * BLOCK;
    uint64_t at = t->offset - t->offset % BLOCK, end = at;

    t->asked = t->mixed = t->from_service = false;
    t->origin_reads = 0;
    while (at < to && end == at) {
        /* Without the service in one piece, if there is room: the origin knows of no versions. */
        const uint64_t next =
            to - at < WINDOW || (alone && !t->bounce) ? to : (at / WINDOW + 1) * WINDOW;
        const int64_t e = read_window(t, at, next, alone, &end);

        if (e != 0)
            return e;
        at = next;
    }
    return alone || is_one_version(t) ? (int64_t)end : AGAIN;
}

static int64_t read_all(struct through *t)
{
    int64_t end = AGAIN;

    for (int tries = 0; tries < TRIES && end == AGAIN; tries++)
        end = try_once(t, false);
    if (end == AGAIN)
        end = try_once(t, true);
    if (end < 0)
        return end;
    if ((uint64_t)end <= t->offset)
        return 0;
    return (uint64_t)end - t->offset < t->len ? end - (int64_t)t->offset : (int64_t)t->len;
}

/* The origin is read in whole blocks, to memory that begins like one. */
static bool needs_bounce(const struct through *t)
{
    return (t->offset | t->len | (uintptr_t)t->buf) % BLOCK != 0;
}

static bool make_bounce(struct through *t)
{
    const uint64_t want = t->offset % BLOCK + t->len + BLOCK;
    const size_t room = (size_t)(want < WINDOW ? want : WINDOW);

    t->memory = malloc(room + BLOCK);
    if (t->memory)
        t->bounce = (uint8_t *)t->memory + (BLOCK - (uintptr_t)t->memory % BLOCK);
    return t->memory != NULL;
}

int64_t cmc_read_through(cmc_file *f, uint64_t offset, void *buf, size_t len,
                         cm_origin_read_fn origin_read, void *ctx)
{
    struct through t = {
        .file = f, .offset = offset, .buf = buf, .len = len, .origin_read = origin_read, .ctx = ctx
    };
    int64_t n;

    if (!f || !buf || !origin_read || len > INT64_MAX - BLOCK ||
        offset > (uint64_t)INT64_MAX - BLOCK - len)
        return CM_EINVAL;
    if (len == 0)
        return 0;
    if (needs_bounce(&t)) {
        /* Most reads find everything. */
        n = len <= WINDOW ? cmc_read_whole(f, offset, buf, (uint32_t)len) : CM_EABSENT;
        if (n >= 0)
            return n;
        if (!make_bounce(&t))
            return CM_ENOMEM;
    }
    n = read_all(&t);
    free(t.memory);
    return n;
}

int64_t client_warm_window(cmc_file *f, uint64_t offset, void *buf, size_t len,
                           cm_origin_read_fn origin_read, void *ctx, struct client_window *r)
{
    struct through t = { .file = f,
                         .offset = offset,
                         .buf = buf,
                         .len = len,
                         .origin_read = origin_read,
                         .ctx = ctx,
                         .warm = r };
    uint64_t end = offset;
    int64_t e;

    *r = (struct client_window){ .result = 0 };
    e = read_window(&t, offset, offset + len, false, &end);
    if (e == AGAIN) { /* the next window may be of one version */
        r->result = CM_NOT_STORED_STALE;
        e = 0;
        end = offset + len;
    }
    r->ends = end < offset + len;
    return e;
}
