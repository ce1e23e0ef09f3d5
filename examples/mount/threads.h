/* SPDX-License-Identifier: BSD-2-Clause
 *
 * threads.h - what loop.c, which knows the requests, and threads.c, which has the threads, ask of
 * each other.
 */
#ifndef CACHEMAX_MOUNT_THREADS_H
#define CACHEMAX_MOUNT_THREADS_H

#include "mount.h"

struct fuse_in_header; /* linux/fuse.h */

/* What waits for a worker. */
struct job {
    struct job *next;
    struct fuse_buf buf; /* raw request; mem NULL: a deferred read */
    bool big;            /* buf.mem has the session's buffer size, so it goes to the stock */
    fuse_req_t req;
    struct inode *inode;
    struct handle *handle;
    size_t size;
    off_t off;
    bool pages;
};

/* loop.c */
/* Reads requests until the session ends: false; or until the thread has lost its place: true. */
bool loop_serve(void);
void loop_run(struct job *j); /* and frees it */
/* A descriptor of the file or directory that a request is about; -1: of none. */
int loop_fd_of(const struct fuse_in_header *h);
/* What loop_scratch() returns in a thread from loop_use_scratch() to loop_free_scratch(). NULL: no
 * memory. */
void *loop_new_scratch(void);
void loop_use_scratch(void *mem);
void loop_free_scratch(void);
void loop_take_ring(void *request, size_t size); /* in a thread of uring.c */

/* threads.c */
void threads_push(struct job *j);
/* May this thread do what waits for a local origin? If so, between these two. The second: true if
 * the thread has lost its place as a loop meanwhile. */
bool threads_may_wait(void);
void threads_begin_wait(const struct fuse_in_header *h);
bool threads_end_wait(void);
/* Between the two: it will wait for an answer of another loop, so another thread gets its place at
 * once. */
void threads_will_wait(void);
void threads_reading(bool yes);       /* a signal must interrupt it */
bool threads_stopping(void);          /* the loops have to end */
void threads_late(unsigned requests); /* says, once, that the end waits long for so many */
void threads_settle(void);            /* waits until the queue is empty, and all workers are idle */
void threads_finish(void);            /* the loops have ended */

#endif
