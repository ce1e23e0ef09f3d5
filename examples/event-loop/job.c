/* SPDX-License-Identifier: BSD-2-Clause
 *
 * job.c - how one part of the file is read: pinned in the pool if it is cached whole, else by a
 * request, and from the origin alone if there is trouble with the cache.
 */
#include "job.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { ORIGIN_FAILED = -1000 /* minus errno: the library's own errors are above */ };

static void to_write(struct job *j, size_t len)
{
    j->len = len;
    j->iov[0] = (struct iovec){ j->buf, len };
    j->at = j->iov;
    j->iovcnt = 1;
    size_t skip = j->written < len ? j->written : len; /* if writing from the pool began before */
    j->iov[0].iov_base = (char *)j->buf + skip;
    j->iov[0].iov_len -= skip;
    j->ready = true;
}

static void origin_submit(struct origin_read *r)
{
    begin_read(&r->op, loop.origin, (char *)r->piece.buf + r->got, r->piece.len - r->got,
               r->piece.offset + r->got);
}

static void origin_done(struct op *op, int result)
{
    struct origin_read *r = (struct origin_read *)op;
    struct job *j = r->job;
    if (result > 0) {
        r->got += (size_t)result;
        loop.origin_bytes += (uint64_t)result;
    }
    /* Only the end of the file may cut a piece short: 0 bytes say that it is there. */
    if (result == -EINTR || (result > 0 && r->got < r->piece.len)) {
        origin_submit(r);
        return;
    }
    if (!j->alone) {
        cm_request_complete(&j->request, &r->piece,
                            result < 0 ? ORIGIN_FAILED + result : (int64_t)r->got);
        job_step(j);
        return;
    }
    if (result < 0)
        fail("origin", strerror(-result));
    to_write(j, r->got);
}

static void origin_begin(struct job *j, const cm_piece *piece)
{
    struct origin_read *r = &j->reads[piece->number];
    *r = (struct origin_read){ .op = { origin_done }, .job = j, .piece = *piece };
    loop.origin_reads++;
    origin_submit(r);
}

static void read_alone(struct job *j)
{
    j->alone = true;
    origin_begin(j, &(cm_piece){ .offset = j->offset, .len = j->len, .buf = j->buf });
}

void job_step(struct job *j)
{
    cm_piece piece;
    int what;
    while ((what = cm_request_step(&j->request, &piece)) == CM_REQUEST_READ)
        origin_begin(j, &piece);
    if (what == CM_REQUEST_WAIT) {
        loop.waits++;
        return;
    }
    int64_t n = cm_request_end(&j->request);
    j->requested = false;
    atomic_store(&j->woken, false); /* no wake runs after the end, but one may have left its mark */
    if (n >= 0) {
        to_write(j, (size_t)n);
    } else if (n < ORIGIN_FAILED) {
        fail("origin", strerror((int)(ORIGIN_FAILED - n)));
        to_write(j, 0);
    } else {
        read_alone(j); /* trouble with the cache */
    }
}

static void wake(void *ctx, cm_request *request) /* from any thread */
{
    (void)request;
    atomic_store(&((struct job *)ctx)->woken, true);
    if (eventfd_write(loop.wakes, 1)) /* fails only if 2^64 - 2 wakes are not read yet */
        abort();
}

static void request_begin(struct job *j)
{
    j->ready = false;
    j->buf = aligned_alloc(CM_BLOCK_SIZE, (j->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE *
                                              CM_BLOCK_SIZE); /* aligned: no detour */
    if (!j->buf) {
        fail("memory", strerror(ENOMEM));
        to_write(j, 0);
        return;
    }
    j->request = (cm_request)CM_REQUEST_INIT;
    j->request.offset = j->offset;
    j->request.buf = j->buf;
    j->request.len = j->len;
    j->request.wake = wake;
    j->request.wake_ctx = j;
    if (loop.file && cm_request_begin(loop.file, &j->request) == 0) {
        j->requested = true;
        job_step(j);
    } else {
        read_alone(j);
    }
}

void job_begin(struct job *j)
{
    cm_iovec v[CM_PINS_MAX];
    int64_t n = 0;
    if (loop.file)
        n = cm_pin_range(loop.file, j->offset, j->len, v, CM_PINS_MAX, &j->iovcnt, &j->pins, NULL);
    if (n != (int64_t)j->len) {
        if (n > 0)
            cm_unpin(&j->pins);
        j->pins.n = 0;
        request_begin(j);
        return;
    }
    for (int i = 0; i < j->iovcnt; i++)
        j->iov[i] = (struct iovec){ (void *)(uintptr_t)v[i].base, v[i].len }; /* only read */
    j->at = j->iov;
    j->ready = true;
    loop.pinned++;
}

void job_again(struct job *j)
{
    job_release(j);
    request_begin(j);
}

void job_release(struct job *j)
{
    if (j->pins.n > 0)
        cm_unpin(&j->pins);
    j->pins.n = 0;
    free(j->buf);
    j->buf = NULL;
}
