/* SPDX-License-Identifier: BSD-2-Clause
 *
 * job.c - how one part of the file is read: pinned in the pool if it is cached whole, else by a
 * request, and from the origin alone if there is trouble with the cache.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "job.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { ORIGIN_FAILED = -1000 /* minus errno: the library's own errors are above */ };

cm_file *file;
int origin, wakes;

/* The part was read: so many bytes, or an error of the origin. The end of the file was asked for
 * first, so the origin owes all of it: what is behind a hole would stand at a wrong place. */
static void to_write(struct job *j, int64_t n)
{
    const size_t len = n > 0 ? (size_t)n : 0;
    if (n < 0)
        fail("origin", strerror((int)(ORIGIN_FAILED - n)));
    else if (len < j->len)
        fail("origin", "it ended early");
    j->iov[0] = (struct iovec){ j->buf, len };
    j->iovcnt = len > 0;
    j->at = 0;
    j->ready = true;
}

static void read_on(struct origin_read *r)
{
    submit(&r->op, IORING_OP_READ, origin, (char *)r->piece.buf + r->got,
           (unsigned)(r->piece.len - r->got), r->piece.offset + r->got);
}

static void origin_done(struct op *op, int result)
{
    struct origin_read *r = (struct origin_read *)op;
    r->got += result > 0 ? (size_t)result : 0;
    const int64_t n = result < 0 ? ORIGIN_FAILED + result : (int64_t)r->got;
    /* Only the end of the file may cut a piece short: 0 bytes say that it is there. */
    if (result == -EINTR || (result > 0 && r->got < r->piece.len)) {
        read_on(r);
    } else if (r->job->requested) {
        cm_request_complete(&r->job->request, &r->piece, n);
        job_step(r->job);
    } else { /* without the cache */
        to_write(r->job, n);
    }
}

static void read_origin(struct job *j, cm_piece piece)
{
    struct origin_read *r = &j->reads[piece.number];
    *r = (struct origin_read){ { origin_done }, j, piece, 0 };
    read_on(r);
}

static void read_alone(struct job *j)
{
    read_origin(j, (cm_piece){ .offset = j->offset, .len = j->len, .buf = j->buf });
}

void job_step(struct job *j)
{
    cm_piece piece;
    int what;
    while ((what = cm_request_step(&j->request, &piece)) == CM_REQUEST_READ)
        read_origin(j, piece);
    if (what == CM_REQUEST_WAIT)
        return;
    int64_t n = cm_request_end(&j->request);
    j->requested = false; /* no wake runs any more */
    if (n < 0 && n >= ORIGIN_FAILED) {
        read_alone(j); /* trouble with the cache */
        return;
    }
    to_write(j, n);
}

static void wake(void *ctx, cm_request *request) /* from any thread */
{
    (void)request;
    atomic_store(&((struct job *)ctx)->woken, true);
    if (eventfd_write(wakes, 1)) /* fails only if 2^64 - 2 wakes are not read yet */
        abort();
}

void job_request(struct job *j)
{
    j->ready = false;
    atomic_store(&j->woken, false);
    j->request = (cm_request)CM_REQUEST_INIT;
    j->request.offset = j->offset;
    j->request.buf = j->buf;
    j->request.len = j->len;
    j->request.wake = wake;
    j->request.wake_ctx = j;
    j->requested = file && cm_request_begin(file, &j->request) == 0;
    j->requested ? job_step(j) : read_alone(j);
}

void job_begin(struct job *j)
{
    cm_iovec v[CM_PINS_MAX];
    int64_t n = 0;
    if (file)
        n = cm_pin_range(file, j->offset, j->len, v, CM_PINS_MAX, &j->iovcnt, &j->pins, NULL);
    if (n < (int64_t)j->len) {
        if (n > 0)
            cm_unpin(&j->pins);
        job_request(j);
        return;
    }
    for (int i = 0; i < j->iovcnt; i++)
        j->iov[i] = (struct iovec){ (void *)(uintptr_t)v[i].base, v[i].len }; /* only read */
    j->at = 0;
    j->ready = true;
}
