/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stream.h - clients whose messages come as a stream of bytes, whatever it comes through.
 *
 * A transport waits for clients, and gives each to stream_take() as a stream.
 */
#ifndef CACHEMAX_STREAM_H
#define CACHEMAX_STREAM_H

#include "server.h"

struct stream;
struct stream_calls {
    /* At most n bytes that have come; 0: the client has ended; STREAM_LATE: none came for
     * server.wait_ms; another negative number: it failed. */
    int64_t (*receive)(struct stream *s, void *to, size_t n);
    /* All n bytes. `pass`: comes along with them, or NULL. Returns n; 0: the client has ended;
     * STREAM_LATE: it does not take them. */
    int64_t (*send)(struct stream *s, const void *from, size_t n, const struct ring_pass *pass);
    /* From any thread: receive() returns 0 from now on. */
    void (*shut)(struct stream *s);
    /* Has the client's process ended, or does it within `ms`? False: not known. */
    bool (*gone)(struct stream *s, unsigned ms);
    void (*free)(struct stream *s);
    /* May send() be called for a client that was not let in, and never wait? */
    bool tells;
};
struct stream {
    const struct stream_calls *calls;
    uint32_t client; /* number of its process */
};
#define STREAM_LATE (-1)

/* Serves a client in a thread of its own, and takes the stream over. */
void stream_take(struct server *s, struct stream *stream);

/* A way for clients to come. */
struct transport {
    const char *name;
    /* Begins to take clients. *state is for stop(). 0, or -1: *why says what is wrong. */
    int (*start)(struct server *s, const char *where, void **state, char why[256]);
    void (*stop)(void *state);
    /* What start() would refuse there, as far as it can be seen without it: -1 and *why, else 0.
     * Nothing is made. NULL: nothing can be seen. */
    int (*look)(const char *where, char why[256]);
};
extern const struct transport transport_local; /* of this system: socket.c, pipe.c */
extern const struct transport transport_port;  /* Windows: port_win32.c */

#endif
