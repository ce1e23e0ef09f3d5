/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_server.h - a thread of the service that serves the rings of several clients.
 */
#ifndef CACHEMAX_RING_SERVER_H
#define CACHEMAX_RING_SERVER_H

#include "os.h"
#include "ring.h"

/* A ring that is served. Its owner keeps it until ring_server_remove(). */
struct ring_member {
    struct ring_member *next;
    struct ring_side side;
    void (*serve)(void *arg, unsigned slot); /* a request */
    void *arg;
};
struct ring_server {
    os_mutex lock; /* members; held while requests are served */
    struct ring_member *members;
    _Atomic unsigned count;  /* members */
    bool ends;               /* lock */
    _Atomic unsigned guests; /* threads that want the lock; the server lets them in */
    struct ring_bell bell;
    struct os_thread thread;
};

/* False: no memory, or no thread. */
bool ring_server_begin(struct ring_server *s);
/* Makes a ring for a client and serves it. *p is for the client. False: no memory. */
bool ring_server_add(struct ring_server *s, struct ring_member *m, struct ring_pass *p);
/* No request of it is served any more. Wakes its client. */
void ring_server_remove(struct ring_server *s, struct ring_member *m);
/* No member is left. */
void ring_server_end(struct ring_server *s);

#endif
