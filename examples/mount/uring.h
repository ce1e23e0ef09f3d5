/* SPDX-License-Identifier: BSD-2-Clause
 *
 * uring.h - requests of the kernel through io_uring instead of /dev/fuse. Any FUSE server can use
 *          it; it knows nothing of the mount.
 */
#ifndef CACHEMAX_MOUNT_URING_H
#define CACHEMAX_MOUNT_URING_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct uring_server {
    /* Answers a request with uring_answer(), here or later elsewhere. It lies as /dev/fuse would
     * have given it, 8-aligned, until it is answered. */
    void (*serve)(void *request, size_t size);
    bool (*begin)(void);             /* of a thread; or NULL. False: no memory */
    void (*end)(void);               /* ... also after that */
    void (*late)(unsigned requests); /* an end waits long for so many; or NULL. May come again */
};

/* ---- Begin: around the answer to INIT ---- */

/* Does the kernel offer it? `in`: INIT with its header, of n bytes. */
bool uring_offered(const void *in, size_t n);
/* Makes the threads, and adds to the answer. `fd`: the session's. How many requests of a queue may
 * wait for something; or -errno: not used. */
int uring_prepare(const struct uring_server *s, int fd, struct fuse_init_out *out);
/* The answer was sent, or not. False: the kernel takes /dev/fuse. */
bool uring_begin(bool sent);

/* ---- Requests ---- */

/* False: it does not answer a request that came by the ring. Else the answer is on its way. */
bool uring_answer(const struct iovec *iov, int count);
/* Room for the answer of the calling thread's request, page-aligned, URING_ROOM bytes. NULL: it has
 * none, or the room holds a part of the request. An answer that lies there is not copied. */
void *uring_room(void);
#define URING_ROOM ((1u << 20) + (1u << 17))
bool uring_thread(void); /* does the caller run in serve()? */
/* The calling thread is, or is not any more, at something that never waits for long. */
void uring_at_once(bool yes);
/* Has each of these things come to an end since the call before? One thread calls it. */
bool uring_moves(void);

unsigned uring_queues(void); /* 0: not used */
/* Requests that may wait for something at a time: of the caller's queue, or of an ordinary one if
 * the caller has none; 0: not used. */
unsigned uring_depth(void);

/* ---- End ---- */

/* Waits until all that the kernel had sent is answered. True: there was a WRITE since the call
 * before. The handler of SIGUSR1 must do nothing: it interrupts the threads. */
bool uring_settle(void);
void uring_finish(void); /* ends the threads */

#endif
