/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.h - all clients of the service.
 */
#ifndef CACHEMAX_SERVER_H
#define CACHEMAX_SERVER_H

#include "ring_server.h"
#include "session.h"

/* Weights of lines in the log, as in syslog(3). */
enum log_weight { LOG_TROUBLE = 3, LOG_WARN = 4, LOG_NOTE = 6 };

/* A client may take so long. */
#define SERVER_MESSAGE_MS 30000u /* for a message, from its first byte to its last one */
#define SERVER_WAIT_MS 10000u    /* to take its replies */

/* Lines in the log of clients that were refused, and of those that were ended: so many of each in
 * such a time. The last of them says it. A test of the service wants all lines. */
#define SERVER_LINES 20u
#ifndef SERVER_LINES_MS
#define SERVER_LINES_MS 10000u
#endif

#define RING_SERVERS_MAX 8u

struct connection;
struct folders;
struct server_lines {
    uint64_t since; /* now: when their count began */
    unsigned count;
};
struct server {
    struct service service;
    const char *pool;              /* its path */
    const struct folders *folders; /* for the driver; or NULL: none */
    unsigned clients_max;
    uint32_t message_ms; /* SERVER_MESSAGE_MS */
    uint32_t wait_ms;    /* SERVER_WAIT_MS: calls of a stream wait so long */
    uint32_t lines_ms;   /* SERVER_LINES_MS */
    void (*log)(enum log_weight w, const char *text); /* from any thread */
    os_mutex lock;
    os_cond ended;
    struct connection *connections;
    unsigned clients;
    unsigned leaving; /* their places are free, and their brackets are not settled yet */
    struct server_lines refused, ended_lines;
    uint64_t last; /* number of a connection */
    bool stopping;
    struct ring_server ring[RING_SERVERS_MAX];
    unsigned rings; /* that run; 0: no client gets a ring */
};

/* A client, whatever it comes through. The transport sets the first fields. */
struct connection {
    const char *kind;  /* for the log: "process", "driver" */
    uint32_t client;   /* number of its process; 0: it has none */
    uint32_t data_max; /* bytes of data in a message, at most */
    /* From any thread: the transport takes no more requests of it. */
    void (*shut)(struct connection *c);
    /* Has the client's process ended, or does it within `ms`? False: not known. */
    bool (*gone)(struct connection *c, unsigned ms);

    struct connection *next;
    struct server *server;
    struct session *session;
    os_mutex lock;
    const char *why; /* lock; the connection ends; the first reason */
    bool crowded;    /* it was refused, because there are too many */
    uint64_t number;
};

/* s->service has begun; pool, clients_max, the limits and log are set. */
void server_begin(struct server *s);
/* Ends all connections. No transport runs any more. */
void server_end(struct server *s);
void server_log(struct server *s, enum log_weight w, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A client of this kind and process was refused. */
void server_log_refused(struct server *s, const char *kind, uint32_t client, const char *why);
/* A client is there. False: it was refused, and the log says why. */
bool server_enter(struct server *s, struct connection *c);
/* As session_handle(). A negative result has ended the connection. */
int64_t server_handle(struct connection *c, bool may_wait, const void *message, size_t n,
                      void *reply, size_t room);
/* Ends the connection. The first reason is kept. */
void server_drop(struct connection *c, const char *why);
/* Shuts a connection, if it is there. */
void server_shut(struct server *s, const struct connection *c);
/* The transport has ended; the log gets the reason. The connection is the caller's again. */
void server_leave(struct connection *c);
/* The thread for a new ring; NULL: there is none. */
struct ring_server *server_ring(struct server *s);

#endif
