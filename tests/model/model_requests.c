/* SPDX-License-Identifier: BSD-2-Clause
 *
 * model_requests.c - what is read of the origin in the random sequences of model.c: for a miss, and
 * for requests, several at once, whose pieces come back in any order, late or never.
 */
#include "model.h"

#include <string.h>

/* ---- Misses ---------------------------------------------------------------------------------- */

void op_read_origin(void)
{
    struct pending *p = &t.pending[rng_below(&t.rng, MAX_MISSES)];
    if (!p->used)
        return;
    uint64_t len = (p->miss.len + BLOCK - 1) / BLOCK * BLOCK;
    if (len > BUF)
        len = BUF;
    p->got = ofile_read(&t.origin[p->file], p->miss.offset, p->data, len);
    p->wanted = len;
    p->read = true;
}

void op_fill(void)
{
    struct pending *p = &t.pending[rng_below(&t.rng, MAX_MISSES)];
    if (!p->used || !p->read)
        return;
    uint64_t len = (uint64_t)p->got;
    uint32_t flags = len < p->wanted ? CM_FILL_EOF : 0;
    if (rng_below(&t.rng, 4) == 0) { /* fill less than was missed */
        len -= len % BLOCK;
        flags = 0;
    }
    uint64_t offered = len;
    if (len == p->miss.len && len % BLOCK && rng_below(&t.rng, 2)) { /* more than the file has */
        offered = p->wanted;
        memset(p->data + len, 0xee, offered - len);
        flags = rng_below(&t.rng, 2) ? CM_FILL_EOF : 0;
    }
    int r = cm_fill(t.file[p->file], &p->miss, p->data, offered, flags);
    must(r, "cm_fill");
    trace("fill file %d %llu+%llu: %d", p->file, (unsigned long long)p->miss.offset,
          (unsigned long long)len, r);
    if (r == 0 && len > 0) {
        if (t.mode != CM_NORMAL || t.bypassed[p->file])
            fail("stored in a mode that must not store");
        t.stored++;
        /* The block was stored and nothing happened since, so it must hit. This checks the last
         * block, because a long fill may have evicted its own first ones. */
        uint64_t last = (len - 1) / BLOCK * BLOCK;
        int64_t n = cm_read(t.file[p->file], p->miss.offset + last, t.buf, len - last, NULL);
        if (n != (int64_t)(len - last))
            fail("a block just stored does not hit (%lld of %llu bytes)", (long long)n,
                 (unsigned long long)(len - last));
        check_bytes(p->file, p->miss.offset + last, t.buf, (uint64_t)n, "after cm_fill");
    } else {
        t.refused += r != 0;
    }
    p->used = rng_below(&t.rng, 8) == 0; /* sometimes offered twice */
}

/* ---- Requests -------------------------------------------------------------------------------- */

void note_change(int i)
{
    for (int a = 0; a < MAX_ASKED; a++)
        t.asked[a].changed |= t.asked[a].used && t.asked[a].file == i;
}

static void complete_one(struct asked *a, unsigned k, bool well)
{
    const cm_piece piece = a->piece[k];
    int64_t n = well ? ofile_read(&t.origin[a->file], piece.offset, piece.buf, piece.len) : -5000;
    a->piece[k] = a->piece[--a->given];
    trace("complete file %d %llu+%llu: %lld", a->file, (unsigned long long)piece.offset,
          (unsigned long long)piece.len, (long long)n);
    must(cm_request_complete(&a->r, &piece, n), "cm_request_complete");
}

void cancel_asked(struct asked *a)
{
    if (!a->used)
        return;
    if (a->given > 0 && cm_request_end(&a->r) != CM_EBUSY)
        fail("a request with pieces given out could be ended");
    while (a->given > 0)
        complete_one(a, 0, false);
    if (cm_request_end(&a->r) != CM_ECANCELED)
        fail("a request that was not done was not cancelled");
    a->used = false;
}

static void end_asked(struct asked *a)
{
    const struct ofile *o = &t.origin[a->file];
    const uint64_t wanted = a->r.incarnation;
    cm_file_info info = { .struct_size = sizeof(info) };
    int64_t n = cm_request_end(&a->r);
    trace("end request file %d %llu+%llu: %lld", a->file, (unsigned long long)a->r.offset,
          (unsigned long long)a->r.len, (long long)n);
    must(cm_file_get_info(t.file[a->file], &info), "cm_file_get_info");
    a->used = false;
    if (n == -5000 || (wanted && n == CM_EMOVED))
        return;
    must((int)(n < 0 ? n : 0), "cm_request_end");
    if (wanted && a->r.incarnation != wanted)
        fail("a request gave version %llu, not %llu", (unsigned long long)a->r.incarnation,
             (unsigned long long)wanted);
    if (a->changed)
        return;
    t.asked_done++;
    uint64_t want = a->r.offset >= o->size ? 0 : o->size - a->r.offset;
    if (want > a->r.len)
        want = a->r.len;
    if (n != (int64_t)want)
        fail("request file %d %llu+%llu gave %lld, want %llu", a->file,
             (unsigned long long)a->r.offset, (unsigned long long)a->r.len, (long long)n,
             (unsigned long long)want);
    check_bytes(a->file, a->r.offset, a->r.buf, want, "request");
}

static void step_asked(struct asked *a)
{
    int what = cm_request_step(&a->r, &a->piece[a->given]);
    trace("step file %d %llu+%llu: %d", a->file, (unsigned long long)a->r.offset,
          (unsigned long long)a->r.len, what);
    must(what, "cm_request_step");
    if (what == 0)
        end_asked(a);
    else if (what == CM_REQUEST_READ && ++a->given > CM_REQUEST_PIECES)
        fail("too many pieces");
    else if (what == CM_REQUEST_WAIT && a->given == 0 && a->r.deadline_ns == 0)
        fail("a request waits for nothing");
}

static void begin_asked(struct asked *a)
{
    uint64_t offset, len;
    cm_file_info info = { .struct_size = sizeof(info) };
    uint8_t *buf = a->buf;
    a->file = (int)rng_below(&t.rng, FILES);
    a->r = (cm_request)CM_REQUEST_INIT;
    random_range(a->file, &offset, &len);
    a->r.offset = offset;
    a->r.buf = buf + (rng_below(&t.rng, 2) ? 0 : 7);
    a->r.len = len;
    a->r.join_timeout_ns = rng_below(&t.rng, 4) ? UINT64_MAX : 1;
    if (rng_below(&t.rng, 4) == 0) {
        must(cm_file_get_info(t.file[a->file], &info), "cm_file_get_info");
        a->r.incarnation = info.incarnation;
    }
    must(cm_request_begin(t.file[a->file], &a->r), "cm_request_begin");
    a->used = true;
    a->changed = file_has_bracket(a->file);
    a->given = 0;
}

void op_request(void)
{
    struct asked *a = &t.asked[rng_below(&t.rng, MAX_ASKED)];
    const uint64_t dice = rng_below(&t.rng, 60);
    if (!a->used)
        begin_asked(a);
    else if (dice == 0)
        cancel_asked(a);
    else if (a->given > 0 && dice < 30)
        complete_one(a, (unsigned)rng_below(&t.rng, a->given), dice != 1);
    else if (a->given < CM_REQUEST_PIECES)
        step_asked(a);
}
