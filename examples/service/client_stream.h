/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_stream.h - the client's end of the stream to a service.
 *
 * One file for each system implements it: client_socket.c, client_pipe.c.
 */
#ifndef CACHEMAX_CLIENT_STREAM_H
#define CACHEMAX_CLIENT_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

struct client_stream {
    intptr_t handle;     /* CLIENT_STREAM_NONE: there is none */
    uint64_t timeout_ns; /* no call waits for longer */
    /* Windows: */
    intptr_t event[2];     /* the call that goes on has ended; the stream was shut */
    _Atomic unsigned uses; /* calls that go on, and 1 until it was shut */
    _Atomic bool shut;
};
#define CLIENT_STREAM_NONE (-1)

/* Bytes of the caller. */
struct piece {
    void *at;
    size_t n;
};

/* Why there can never be a service; NULL: there may be one. */
const char *client_stream_fault(const char *where);
/* False: there is no service. */
bool client_stream_open(struct client_stream *s, const char *where, uint64_t timeout_ns);
/* Sends all bytes of two pieces. False: the stream is of no use any more. */
bool client_stream_send(struct client_stream *s, const struct piece p[2]);
/* Fills two pieces with what has come, in their order. Returns the bytes; negative: the stream is
 * of no use any more; 0: nothing has come, if `wait` is false or a signal came. `pass`: gets what
 * comes along, or NULL. */
int64_t client_stream_receive(struct client_stream *s, const struct piece p[2], bool wait,
                              struct ring_pass *pass);
/* Has the service ended the stream? */
bool client_stream_is_cut(struct client_stream *s);
/* From any thread: the other calls fail from now on, and the service sees that. */
void client_stream_shut(struct client_stream *s);
void client_stream_close(struct client_stream *s);

#endif
