/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_through.c - reading through in one call: a request whose pieces are read at once.
 *
 * Owns: nothing. The request is on the stack of the call.
 *
 * The origin's call may end the thread (cancelled, pthread_exit) or throw. Then its piece fails and
 * the request ends, so that the readers that wait for it read the origin themselves (give_up).
 *
 * Who: api/.
 */
#include "api/read_through.h"

#include "api/request.h"

struct origin_call {
    struct cm_run *q;
    const cm_piece *piece;
    cm_origin_read_fn origin_read;
    void *ctx;
    int64_t result;
    struct cm_callback frame;
};

static void run_origin(void *arg)
{
    struct origin_call *k = arg;
    k->result = k->origin_read(k->ctx, k->piece->offset, k->piece->buf, k->piece->len);
}

/* The origin's call will not return: releases everything that the request holds. */
static void give_up(void *arg)
{
    struct origin_call *k = arg;
    cm_callback_end(&k->frame);
    (void)cm_run_complete(k->q, k->piece, CM_ECANCELED);
    (void)cm_run_end(k->q);
}

/* Reads a piece of the origin. */
static void read_piece(struct origin_call *k)
{
    cm_callback_begin(k->q->c, &k->frame); /* else a read in the callback could wait for itself */
    cm_plat_call(run_origin, k, give_up, k);
    cm_callback_end(&k->frame);
    const int e = cm_run_complete(k->q, k->piece, k->result);
    assert(e == 0);
    (void)e;
}

int64_t cm_read_through_run(cm_file *file, uint64_t offset, void *buf, size_t len,
                            uint64_t *incarnation, cm_origin_read_fn origin_read, void *ctx,
                            uint64_t *served)
{
    cm_request r; /* cm_run_begin() sets what is needed of the opaque part */
    struct cm_run *q = cm_run_of(&r);
    cm_piece piece;
    struct origin_call k = { .q = q, .piece = &piece, .origin_read = origin_read, .ctx = ctx };
    int what;
    r.struct_size = sizeof(r);
    r.flags = 0;
    r.offset = offset;
    r.buf = buf;
    r.len = len;
    r.incarnation = *incarnation;
    r.join_timeout_ns = 0;
    r.wake = NULL;
    cm_run_begin(file, &r);
    while ((what = cm_run_step(q, &piece)) != 0)
        if (what == CM_REQUEST_READ)
            read_piece(&k);
        else /* woken, or the deadline has passed: the next step finds out */
            (void)cm_plat_wait_until(&q->waiter.woken, 0, q->deadline);
    *served = q->served;
    const int64_t n = cm_run_end(q);
    *incarnation = r.incarnation;
    return n;
}
