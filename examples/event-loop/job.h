/* SPDX-License-Identifier: BSD-2-Clause
 *
 * job.h - the jobs of the event loop: each reads one part of the file.
 *
 * job.c has what concerns the library. event-loop.c has the ring, the input and the output.
 */
#ifndef JOB_H
#define JOB_H

#include <cachemax.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What an operation of io_uring carries along: `done` is called when it has ended. */
struct op {
    void (*done)(struct op *op, int result);
};

struct origin_read {
    struct op op; /* first: `done` gets a pointer to it */
    struct job *job;
    cm_piece piece;
    size_t got;
};

struct job {
    uint64_t offset;
    size_t len;
    size_t written;
    bool ready;     /* `iov` has what is to be written */
    bool requested; /* `request` has begun */
    bool alone;     /* reads[0] reads the origin without the cache */
    atomic_bool woken;
    cm_request request;
    struct origin_read reads[CM_REQUEST_PIECES];
    void *buf; /* of the request, or NULL */
    cm_pins pins;
    struct iovec iov[CM_PINS_MAX], *at; /* at: the first that is not written whole */
    int iovcnt;                         /* from there */
};

extern struct loop {
    struct io_uring ring;
    cm_file *file; /* NULL: no cache */
    int origin;
    int wakes;           /* eventfd: some job was woken */
    const char *trouble; /* not NULL: take no more, write no more, end */
    uint64_t pinned, origin_reads, origin_bytes, waits; /* counters */
} loop;

/* event-loop.c: */
void fail(const char *what, const char *why);
/* Begins a read; its end calls op->done. The next wait of the loop submits it. */
void begin_read(struct op *op, int fd, void *buf, size_t len, uint64_t offset);

/* job.c: */
/* Begins to read j->len bytes at j->offset. j->ready and j->iov say when they are there. */
void job_begin(struct job *j);
/* Goes on with a request that was woken, or whose deadline has come. */
void job_step(struct job *j);
/* Reads the part once more, without pins: the pool's memory is damaged where it is pinned. */
void job_again(struct job *j);
/* Releases the pins and the buffer, when all is written. */
void job_release(struct job *j);

#endif
