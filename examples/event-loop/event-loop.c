/* SPDX-License-Identifier: BSD-2-Clause
 *
 * event-loop.c - one thread answers many reads of one file, through a pool, and never blocks.
 *
 *     cachemax create POOL --size 64M                     # once
 *     event-loop FILE POOL 0 100 8192 50 >OUT             # pairs of an offset and a length
 *
 * It shows requests (cm_request_*) in an event loop of io_uring: the library says which pieces of
 * the origin it needs, and the loop reads them. What is cached whole is written straight from the
 * pool (cm_pin_range). Trouble with the cache never fails a read: the origin is then read alone.
 * An origin that ends before the size that it had at the start is an error.
 *
 * Reads are cut into parts of at most 256 KiB, so that one set of pins covers a part. Up to 64
 * parts are under way at a time (struct job). They become ready in any order. The first one in the
 * queue is written when it is ready.
 * - Each operation of io_uring has a struct op with the function that its end calls.
 * - A wake may come from any thread. It sets a flag in its job and writes to an eventfd, which the
 *   loop reads as it reads everything else.
 * - Deadlines of requests are the timeout of the wait for the next event.
 * Standard output should be read quickly: what is pinned cannot make room for other blocks.
 *
 * Read next: docs/embedding.md, "From an event loop", and include/cachemax.h, "Requests".
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PART = CM_PINS_MAX * CM_BLOCK_SIZE,
    JOBS = 64,
    ENTRIES = 512 /* of the ring: more than all jobs can have under way */
};

static struct io_uring ring;
static uint64_t origin_size;
static bool trouble; /* take no more, write no more, end */
static struct job jobs[JOBS];
static _Alignas(CM_BLOCK_SIZE) char buffers[JOBS][PART]; /* aligned: the origin reads into them */
static size_t first, next;                               /* under way: jobs[i % JOBS] */
static bool writing;

void fail(const char *what, const char *why)
{
    if (!trouble) /* the first one: it may be that of many parts */
        fprintf(stderr, "event-loop: %s: %s\n", what, why);
    trouble = true;
}

/* Begins to read or to write. The next wait submits it. */
void submit(struct op *op, int code, int fd, const void *buf, unsigned len, uint64_t offset)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) /* cannot be: see ENTRIES */
        abort();
    io_uring_prep_rw(code, sqe, fd, buf, len, offset);
    io_uring_sqe_set_data(sqe, op);
}

/* ---- Output -------------------------------------------------------------------------------- */

static void output_done(struct op *op, int result)
{
    struct job *j = &jobs[first % JOBS];
    (void)op;
    writing = false;
    if (result == -EFAULT && j->pins.n > 0) { /* the pool's memory is damaged there */
        cm_unpin(&j->pins);
        job_request(j);
    } else if (result < 0 && result != -EINTR) {
        fail("standard output", strerror(-result));
    }
    for (size_t n, left = result > 0 ? (size_t)result : 0; left > 0; left -= n) {
        struct iovec *v = &j->iov[j->at];
        n = left < v->iov_len ? left : v->iov_len;
        v->iov_base = (char *)v->iov_base + n;
        v->iov_len -= n;
        j->at += v->iov_len == 0;
        j->offset += n;
        j->len -= n;
    }
}

static void give_output(void)
{
    static struct op op = { output_done };
    for (; !writing && first != next && jobs[first % JOBS].ready; first += !writing) {
        struct job *j = &jobs[first % JOBS];
        writing = !trouble && j->at < j->iovcnt;
        if (writing)
            submit(&op, IORING_OP_WRITEV, STDOUT_FILENO, j->iov + j->at,
                   (unsigned)(j->iovcnt - j->at), UINT64_MAX);
        else if (j->pins.n > 0)
            cm_unpin(&j->pins);
    }
}

/* ---- The loop ------------------------------------------------------------------------------ */

static void wakes_done(struct op *op, int result)
{
    static uint64_t count;
    (void)result;
    /* Before the flags are read: a wake that comes after them is an event again. */
    submit(op, IORING_OP_READ, wakes, &count, sizeof(count), 0);
}

/* Begins the next parts of the reads in argv. A server would take reads from its sockets. */
static void take_parts(char ***arg)
{
    static uint64_t offset, len;
    while (!trouble && next - first < JOBS && (len > 0 || **arg)) {
        struct job *j = &jobs[next % JOBS];
        if (len == 0) {
            offset = strtoull(*(*arg)++, NULL, 0);
            len = strtoull(*(*arg)++, NULL, 0);
            offset = offset < origin_size ? offset : origin_size;
            len = len < origin_size - offset ? len : origin_size - offset;
            continue;
        }
        *j = (struct job){ .offset = offset,
                           .len = PART - offset % PART,
                           .buf = buffers[next % JOBS] };
        j->len = j->len < len ? j->len : (size_t)len;
        offset += j->len;
        len -= j->len;
        next++;
        job_begin(j);
    }
}

/* Steps the requests that were woken or whose deadline has come. Returns the next deadline or 0. */
static uint64_t step_all(void)
{
    uint64_t earliest = 0;
    for (size_t i = first; i != next; i++) {
        struct job *j = &jobs[i % JOBS];
        uint64_t due = j->requested ? j->request.deadline_ns : 0;
        if (j->requested && (atomic_exchange(&j->woken, false) || (due && cm_now() >= due)))
            job_step(j);
        due = j->requested ? j->request.deadline_ns : 0;
        if (due && (!earliest || due < earliest))
            earliest = due;
    }
    return earliest;
}

static void run(char **arg)
{
    static struct op op = { wakes_done };
    struct io_uring_cqe *cqe;
    wakes_done(&op, 0);
    for (;;) {
        take_parts(&arg);
        uint64_t deadline = step_all(), now = cm_now();
        size_t before = first;
        give_output();
        if (first != before)
            continue; /* there is room for more */
        if (first == next)
            return;
        now = deadline > now ? deadline - now : 0;
        struct __kernel_timespec t = { (long long)(now / 1000000000),
                                       (long long)(now % 1000000000) };
        int e = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, deadline ? &t : NULL, NULL);
        if (e < 0 && e != -ETIME && e != -EINTR)
            abort(); /* nobody knows which operations still run */
        while (io_uring_peek_cqe(&ring, &cqe) == 0) {
            struct op *ended = io_uring_cqe_get_data(cqe);
            int result = cqe->res;
            io_uring_cqe_seen(&ring, cqe);
            ended->done(ended, result);
        }
    }
}

static cm_cache *attach(const char *pool)
{
    cm_cache *cache = NULL;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int e = cm_open(pool, NULL, &cache);
    if (e == 0)
        e = cm_identify(origin, &id, &v); /* after cm_open(), so that it proves something */
    if (e == 0)
        e = cm_file_open(cache, &id, &v, 0, &file);
    if (e < 0)
        fprintf(stderr, "event-loop: %s: %s; going on without it\n", pool, cm_strerror(e));
    return cache;
}

int main(int argc, char **argv)
{
    int e;
    if (argc < 3 || argc % 2 == 0) {
        fprintf(stderr, "usage: event-loop FILE POOL [OFFSET LENGTH]...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* the write says EPIPE */
    origin = open(argv[1], O_RDONLY | O_CLOEXEC);
    off_t size = lseek(origin, 0, SEEK_END);
    wakes = eventfd(0, EFD_CLOEXEC);
    if (size < 0 || wakes < 0) {
        fail(argv[1], strerror(errno));
        return 1;
    }
    origin_size = (uint64_t)size;
    if ((e = io_uring_queue_init(ENTRIES, &ring, 0)) < 0) {
        fail("io_uring", strerror(-e));
        return 1;
    }
    cm_cache *cache = attach(argv[2]);
    run(argv + 3);
    io_uring_queue_exit(&ring); /* ends the read of the eventfd, too */
    if (file)
        cm_file_close(file);
    if (cache && (e = cm_close(cache)) < 0)
        fprintf(stderr, "event-loop: %s: %s\n", argv[2], cm_strerror(e));
    return trouble;
}
