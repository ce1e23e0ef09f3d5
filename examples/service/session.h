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
    uint64_t life;     /* another one at each start */
    uint32_t data_max; /* bytes in one message */
    uint32_t open_max; /* files of one session */
    uint32_t flags;    /* of cm_file_open() that clients may use */
    pthread_mutex_t lock;
    struct served *file[SERVED_CHAINS];
};

/* The pool is open, and `outside` is mapped. Files that are claimed now are watched until their
 * writes have ended. Returns 0 or CM_ENOMEM. */
int service_begin(struct service *s, cm_cache *cache, struct outside *outside, uint64_t life);
void service_end(struct service *s); /* no session is left */

struct session;
/* `client`: the number of its process, for its claims. NULL: no memory. */
struct session *session_begin(struct service *s, uint32_t client);
/* Handles a message of n bytes, as it arrived. Writes the reply to `reply`, which has room for
 * CMP_MESSAGE_MAX bytes, and returns its length; 0: there is none. Returns -1 if the connection has
 * to end: *why says in a few words what the client did. One thread at a time. */
int64_t session_handle(struct session *s, const void *message, size_t n, void *reply,
                       const char **why);
/* The connection has ended. `gone`: the client's process has ended, so it writes no more, and its
 * claims are freed. Else the files of its open brackets are watched. */
void session_end(struct session *s, bool gone);

#endif
