/* SPDX-License-Identifier: BSD-2-Clause
 *
 * event-loop.c - one thread answers many reads of one file, through a pool, and never blocks.
 *
 * What it shows: requests (cm_request_*) in an event loop of io_uring. The library says which
 * pieces of the origin it needs, and the loop reads them. Hits are written out straight from the
 * pool (cm_pin_range). Trouble with the cache never fails a read: the origin is then read alone.
 *
 * How to run it:
 *
 *     cachemax create POOL --size 64M                  # once
 *     printf '0 100\n8192 50\n' | event-loop POOL FILE
 *
 * Each line of standard input is an offset and a length. At its end the bytes of all of them go to
 * standard output, in the order of the lines. -v before POOL prints counters on standard error at
 * the end.
 *
 * How it works: lines are cut into parts of at most 256 KiB, so that the pins of one set cover a
 * part. Up to 128 parts are under way at a time (struct job). A part that is cached whole is
 * pinned; any other is a request. Parts become ready in any order, and the first in the queue is
 * written when it is ready. The parts of a line may be of different versions of the file if the
 * file changes meanwhile; cm_request.incarnation could tell.
 * - job.c reads a part, and has all that concerns the library but open and close.
 * - Each operation that io_uring has begun has a struct op with the function that its end calls.
 * - A wake may come from any thread. It sets a flag in the job and writes to an eventfd, which the
 *   loop reads as it reads everything else.
 * - Deadlines of requests are the timeout of the wait for the next event.
 * Standard output should be read quickly: pins are held until their bytes are written, and what is
 * pinned cannot make room for other blocks.
 *
 * Read next: docs/embedding.md, "From an event loop", and include/cachemax.h, "Requests".
 */
#include "job.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PART = CM_PINS_MAX * CM_BLOCK_SIZE,
    JOBS = 128,
    ENTRIES = 1024 /* of the ring: more than all jobs can have under way */
};

struct loop loop;
static uint64_t origin_size;
static struct job jobs[JOBS];
static struct {
    uint64_t offset;
    size_t len;
} * part;                  /* all that will be read and written */
static size_t parts;       /* how many */
static size_t first, next; /* first..next-1 are under way, part i in jobs[i % JOBS] */
static struct {
    struct op op;
    bool writing;
} output;
static struct {
    struct op op;
    uint64_t count, all;
} wakes;

void fail(const char *what, const char *why)
{
    fprintf(stderr, "event-loop: %s: %s\n", what, why);
    loop.trouble = what;
}

static struct io_uring_sqe *prepare(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop.ring);
    if (!sqe && io_uring_submit(&loop.ring) >= 0)
        sqe = io_uring_get_sqe(&loop.ring);
    if (!sqe) { /* cannot be: submitting makes room */
        perror("event-loop: io_uring");
        abort();
    }
    return sqe;
}

void begin_read(struct op *op, int fd, void *buf, size_t len, uint64_t offset)
{
    struct io_uring_sqe *sqe = prepare();
    io_uring_prep_read(sqe, fd, buf, (unsigned)len, offset);
    io_uring_sqe_set_data(sqe, op);
}

static void take_parts(void)
{
    while (!loop.trouble && next < parts && next - first < JOBS) {
        struct job *j = &jobs[next % JOBS];
        *j = (struct job){ .offset = part[next].offset, .len = part[next].len };
        next++;
        job_begin(j);
    }
}

/* ---- Output -------------------------------------------------------------------------------- */

static void output_done(struct op *op, int result)
{
    struct job *j = &jobs[first % JOBS];
    (void)op;
    output.writing = false;
    if (result == -EFAULT && j->pins.n > 0) /* the pool's memory is damaged there */
        job_again(j);
    else if (result < 0 && result != -EINTR)
        fail("standard output", strerror(-result));
    for (size_t n = result > 0 ? (size_t)result : 0; n > 0;) {
        size_t bytes = n < j->at->iov_len ? n : j->at->iov_len;
        j->at->iov_base = (char *)j->at->iov_base + bytes;
        j->at->iov_len -= bytes;
        j->written += bytes;
        n -= bytes;
        if (j->at->iov_len == 0) {
            j->at++;
            j->iovcnt--;
        }
    }
}

static void give_output(void)
{
    while (!output.writing && first != next && jobs[first % JOBS].ready) {
        struct job *j = &jobs[first % JOBS];
        if (loop.trouble || j->written >= j->len) {
            job_release(j);
            first++;
            continue;
        }
        struct io_uring_sqe *sqe = prepare();
        io_uring_prep_writev(sqe, STDOUT_FILENO, j->at, (unsigned)j->iovcnt, (uint64_t)-1);
        io_uring_sqe_set_data(sqe, &output.op);
        output.writing = true;
    }
}

/* ---- The loop ------------------------------------------------------------------------------ */

static void wakes_read(void)
{
    begin_read(&wakes.op, loop.wakes, &wakes.count, sizeof(wakes.count), 0);
}

static void wakes_done(struct op *op, int result)
{
    (void)op;
    wakes.all += result > 0 ? wakes.count : 0;
    wakes_read(); /* before the flags are read: a wake that comes after them is an event again */
}

/* Steps the requests that were woken or whose deadline has come. Returns the next deadline or 0. */
static uint64_t step_all(void)
{
    uint64_t deadline = 0;
    for (size_t i = first; i != next; i++) {
        struct job *j = &jobs[i % JOBS];
        uint64_t due = j->requested ? j->request.deadline_ns : 0;
        if (j->requested && (atomic_exchange(&j->woken, false) || (due && cm_now() >= due)))
            job_step(j);
        due = j->requested ? j->request.deadline_ns : 0;
        if (due && (!deadline || due < deadline))
            deadline = due;
    }
    return deadline;
}

static void run(void)
{
    struct io_uring_cqe *cqe;
    uint64_t deadline, now;
    wakes_read();
    for (;;) {
        do {
            give_output();
            take_parts();
            deadline = step_all();
        } while (!output.writing && first != next && jobs[first % JOBS].ready);
        if (first == next)
            return;
        now = cm_now();
        now = deadline > now ? deadline - now : 0;
        struct __kernel_timespec t = { (long long)(now / 1000000000),
                                       (long long)(now % 1000000000) };
        int e = io_uring_submit_and_wait_timeout(&loop.ring, &cqe, 1, deadline ? &t : NULL, NULL);
        if (e < 0 && e != -ETIME && e != -EINTR) {
            fprintf(stderr, "event-loop: io_uring: %s\n", strerror(-e));
            abort(); /* nobody knows which operations still run */
        }
        while (io_uring_peek_cqe(&loop.ring, &cqe) == 0) {
            struct op *op = io_uring_cqe_get_data(cqe);
            int result = cqe->res;
            io_uring_cqe_seen(&loop.ring, cqe);
            op->done(op, result);
        }
    }
}

/* Standard input, cut into parts. A server would take them from its sockets, in the loop. */
static bool read_lines(void)
{
    uint64_t offset, len;
    int n;
    while ((n = scanf("%" SCNu64 " %" SCNu64, &offset, &len)) == 2)
        for (size_t piece; offset < origin_size && len > 0; offset += piece, len -= piece) {
            piece = (size_t)(PART - offset % PART);
            piece = piece < len ? piece : (size_t)len;
            piece = piece < origin_size - offset ? piece : (size_t)(origin_size - offset);
            if (parts % 1024 == 0 && !(part = realloc(part, (parts + 1024) * sizeof(*part))))
                return false;
            part[parts].offset = offset;
            part[parts++].len = piece;
        }
    return n == EOF && !ferror(stdin);
}

static cm_cache *attach(const char *pool, const char *path)
{
    cm_cache *cache = NULL;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    int e = cm_open(pool, NULL, &cache);
    if (e < 0) {
        fprintf(stderr, "event-loop: %s: %s; going on without it\n", pool, cm_strerror(e));
        return NULL;
    }
    /* After cm_open(), so that the validator proves something. */
    if ((e = cm_identify(loop.origin, &id, &v)) < 0 ||
        (e = cm_file_open(cache, &id, &v, 0, &loop.file)) < 0)
        fprintf(stderr, "event-loop: %s: %s; going on without the cache\n", path, cm_strerror(e));
    return cache;
}

int main(int argc, char **argv)
{
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    struct stat st;
    int e;
    if (argc != 3 + verbose) {
        fprintf(stderr, "usage: event-loop [-v] POOL FILE\n");
        return 2;
    }
    const char *pool = argv[1 + verbose], *path = argv[2 + verbose];
    signal(SIGPIPE, SIG_IGN); /* the write says EPIPE */
    loop.origin = open(path, O_RDONLY | O_CLOEXEC);
    if (loop.origin < 0 || fstat(loop.origin, &st) < 0) {
        fail(path, strerror(errno));
        return 1;
    }
    origin_size = (uint64_t)st.st_size;
    if (!read_lines()) {
        fail("standard input", "every line must have an offset and a length");
        return 1;
    }
    if ((e = io_uring_queue_init(ENTRIES, &loop.ring, 0)) < 0) {
        fail("io_uring", strerror(-e));
        return 1;
    }
    if ((loop.wakes = eventfd(0, EFD_CLOEXEC)) < 0) {
        fail("eventfd", strerror(errno));
        return 1;
    }
    cm_cache *cache = attach(pool, path);
    output.op.done = output_done;
    wakes.op.done = wakes_done;
    run();
    io_uring_queue_exit(&loop.ring); /* ends the read of the eventfd, too */
    if (loop.file)
        cm_file_close(loop.file);
    if (cache && (e = cm_close(cache)) < 0)
        fprintf(stderr, "event-loop: %s: %s\n", pool, cm_strerror(e));
    if (verbose)
        fprintf(stderr,
                "parts %zu pinned %" PRIu64 " origin_reads %" PRIu64 " origin_bytes %" PRIu64
                " waits %" PRIu64 " wakes %" PRIu64 "\n",
                parts, loop.pinned, loop.origin_reads, loop.origin_bytes, loop.waits, wakes.all);
    return loop.trouble ? 1 : 0;
}
