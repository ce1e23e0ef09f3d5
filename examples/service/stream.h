/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stream.h - a client's bytes, whatever they come through.
 *
 * A transport waits for clients, and gives each to server_take() as a stream.
 */
#ifndef CACHEMAX_STREAM_H
#define CACHEMAX_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream;
struct stream_calls {
    /* At most n bytes that have come; 0: the client has ended; STREAM_LATE: none came for a while;
     * another negative number: it failed. */
    int64_t (*receive)(struct stream *s, void *to, size_t n);
    /* All n bytes. `fd`: passed along, or -1. Returns n; 0: the client has ended; STREAM_LATE: it
     * does not take them. */
    int64_t (*send)(struct stream *s, const void *from, size_t n, int fd);
    /* From any thread: receive() returns 0 from now on. */
    void (*shut)(struct stream *s);
    /* Has the client's process ended, or does it within `ms`? False: not known. */
    bool (*gone)(struct stream *s, unsigned ms);
    void (*free)(struct stream *s);
};
struct stream {
    const struct stream_calls *calls;
    uint32_t client; /* number of its process */
    bool passes_fds;
};
#define STREAM_LATE (-1)
#define STREAM_WAIT_MS 10000 /* receive() and send() wait so long */

struct server;
/* A way for clients to come. */
struct transport {
    const char *name;
    /* Begins to take clients. *state is for stop(). 0, or -1: *why says what is wrong. */
    int (*start)(struct server *s, const char *where, void **state, char why[256]);
    void (*stop)(void *state);
};
extern const struct transport transport_socket;

#endif
