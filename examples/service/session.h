/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session.h - one client of the service: messages in, replies out. It knows no transport.
 */
#ifndef CACHEMAX_SESSION_H
#define CACHEMAX_SESSION_H

#include <pthread.h>

#include "cachemax_protocol.h"
#include "outside.h"

#define SERVED_CHAINS 1024u

/* A file that at least one session has open. */
struct served {
    struct served *next;
    cm_file_id id;
    uint64_t hash;
    unsigned refs;           /* lock of the service */
    pthread_mutex_t lock;    /* a change of the number */
    _Atomic uint64_t number; /* of outside writes that the service knows of */
    _Atomic bool watched;    /* a write of an older life, or of a lost connection, may go on */
};

struct service {
    cm_cache *cache;
    struct outside *outside;
    uint64_t life;      /* another one at each start */
    uint32_t data_max;  /* bytes in one message */
    uint32_t open_max;  /* files of one session */
    uint32_t files_max; /* of all of them */
    uint32_t flags;     /* of cm_file_open() that clients may use */
    pthread_mutex_t lock;
    struct served *file[SERVED_CHAINS];
    uint32_t handles; /* lock; that are given out */
};

/* The pool is open, and `outside` is mapped. Files that are claimed now are watched until their
 * writes have ended. Returns 0 or CM_ENOMEM. */
int service_begin(struct service *s, cm_cache *cache, struct outside *outside, uint64_t life);
/* Once a second: frees the claims of processes that have ended without a connection. */
void service_sweep(struct service *s, bool (*has_ended)(uint32_t client));
void service_end(struct service *s); /* no session is left */

struct session;
/* `client`: the number of its process, for its claims. NULL: no memory. */
struct session *session_begin(struct service *s, uint32_t client);
/* The transport has made a ring; the reply to hello will say so. */
void session_has_ring(struct session *s, uint64_t bytes);
/* Handles a message of n bytes, as it arrived. Writes the reply to `reply` and returns its length;
 * 0: there is none. `room`: its bytes, CMP_MESSAGE_MAX or RING_ROOM; the reply is only written, so
 * it may be memory that the client sees. Returns -1 if the connection has to end: *why says in a
 * few words what the client did. One thread at a time. */
int64_t session_handle(struct session *s, const void *message, size_t n, void *reply, size_t room,
                       const char **why);
/* Has it an open bracket? */
bool session_is_writing(const struct session *s);
/* The connection has ended. `gone`: the client's process has ended, so it writes no more, and its
 * claims are freed. Else the files of its open brackets are watched. */
void session_end(struct session *s, bool gone);

#endif
