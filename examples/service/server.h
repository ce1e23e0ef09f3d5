/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.h - all clients of the service.
 */
#ifndef CACHEMAX_SERVER_H
#define CACHEMAX_SERVER_H

#include "session.h"
#include "stream.h"

/* Weights of lines in the log, as in syslog(3). */
enum log_weight { LOG_TROUBLE = 3, LOG_WARN = 4, LOG_NOTE = 6 };

struct connection;
struct server {
    struct service service;
    unsigned clients_max;
    void (*log)(enum log_weight w, const char *text); /* from any thread */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct connection *connections;
    unsigned clients;
    uint64_t last; /* number of a connection */
    bool stopping;
};

/* s->service has begun; clients_max and log are set. Returns 0 or CM_ENOMEM. */
int server_begin(struct server *s);
/* Serves a client in a thread of its own, and takes the stream over. */
void server_take(struct server *s, struct stream *stream);
/* Ends all connections. No transport runs any more. */
void server_end(struct server *s);
void server_log(struct server *s, enum log_weight w, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
