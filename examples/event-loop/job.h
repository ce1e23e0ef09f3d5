/* SPDX-License-Identifier: BSD-2-Clause
 *
 * job.h - the jobs of the event loop: each reads one part of the file.
 *
 * job.c has what concerns the library, event-loop.c has the ring, the arguments and the output.
 */
#ifndef JOB_H
#define JOB_H

#include <cachemax.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>

/* An operation of io_uring. */
struct op {
    void (*done)(struct op *op, int result); /* its end calls this */
};

struct origin_read {
    struct op op; /* first: `done` gets a pointer to it */
    struct job *job;
    cm_piece piece;
    size_t got;
};

struct job {
    uint64_t offset; /* what is not written yet */
    size_t len;
    char *buf;      /* of a request */
    bool requested; /* `request` has begun */
    bool ready;     /* iov has what is to be written */
    atomic_bool woken;
    cm_request request;
    struct origin_read reads[CM_REQUEST_PIECES];
    cm_pins pins;
    struct iovec iov[CM_PINS_MAX];
    int iovcnt, at; /* iov[at] is the first that is not written whole */
};

/* job.c: */
extern cm_file *file; /* NULL: no cache */
extern int origin;
extern int wakes; /* eventfd: some job was woken */
/* Begins to read a part: pinned if it is cached whole, else by a request. */
void job_begin(struct job *j);
void job_request(struct job *j);
/* Goes on with a request that was woken, or whose deadline has come. */
void job_step(struct job *j);

/* event-loop.c: */
void fail(const char *what, const char *why);
/* Begins to read or to write: io_uring_prep_rw(). */
void submit(struct op *op, int code, int fd, const void *buf, unsigned len, uint64_t offset);

#endif
