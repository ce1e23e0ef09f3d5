/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.c - all clients of the service.
 *
 * Owns: the list of the connections, and the threads for their rings. A client that sends nonsense
 * loses its connection, and the log says why. Nobody else waits for it.
 *
 * Who: the transports (stream.c, socket.c, port_win32.c), run.c, watch.c.
 */
#include "server.h"

#include <stdarg.h>
#include <stdio.h>

#define GONE_MS 1000 /* a process that was killed ends within */

void server_log(struct server *s, enum log_weight w, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    s->log(w, text);
}

/* ---- Messages -------------------------------------------------------------------------------- */

void server_drop(struct connection *c, const char *why)
{
    os_lock(&c->lock);
    if (!c->why)
        c->why = why;
    os_unlock(&c->lock);
    c->shut(c);
}

int64_t server_handle(struct connection *c, bool may_wait, const void *message, size_t n,
                      void *reply, size_t room)
{
    const char *why;
    const int64_t len = session_handle(c->session, may_wait, message, n, reply, room, &why);

    if (len < 0)
        server_drop(c, why);
    return len;
}

/* ---- Connections ----------------------------------------------------------------------------- */

/* NULL: the client is counted in; else why not. */
static const char *let_in(struct server *s, struct connection *c)
{
    const char *why = NULL;

    os_lock(&s->lock);
    if (s->stopping) {
        why = "the service ends";
    } else if (s->clients >= s->clients_max) {
        why = "there are too many clients: raise \"clients\" in the configuration";
        c->crowded = true;
    } else {
        s->clients++;
        c->number = ++s->last;
        c->next = s->connections;
        s->connections = c;
    }
    os_unlock(&s->lock);
    return why;
}

/* Who is refused, or was ended, may come again at once, for hours. What its line ends with; NULL:
 * it is not in the log. `last`: what the last line says. */
static const char *end_of_line(struct server *s, struct server_lines *l, const char *last)
{
    const uint64_t now = os_now_ns();
    unsigned n;

    os_lock(&s->lock);
    if (now - l->since >= s->lines_ms * UINT64_C(1000000))
        *l = (struct server_lines){ .since = now };
    n = ++l->count;
    os_unlock(&s->lock);
    return n < SERVER_LINES ? "" : n == SERVER_LINES ? last : NULL;
}

void server_log_refused(struct server *s, const char *kind, uint32_t client, const char *why)
{
    const char *const more = end_of_line(
        s, &s->refused, "; more that are refused within ten seconds are not in the log");

    if (more)
        server_log(s, LOG_WARN, "%s %u was refused: %s%s", kind, client, why, more);
}

static void log_ended(struct server *s, const struct connection *c)
{
    const char *const more = end_of_line(
        s, &s->ended_lines, "; more that are ended within ten seconds are not in the log");

    if (more)
        server_log(s, LOG_WARN, "connection %llu of %s %u was ended: %s%s",
                   (unsigned long long)c->number, c->kind, c->client, c->why, more);
}

bool server_enter(struct server *s, struct connection *c)
{
    const char *why = "there is no memory for it";

    c->server = s;
    c->why = NULL;
    c->crowded = false;
    c->session = session_begin(&s->service, s->service.has_names ? c->client : 0, c->data_max);
    os_mutex_begin(&c->lock);
    if (c->session)
        why = let_in(s, c);
    if (!why)
        return true;
    if (c->session)
        session_end(c->session, false);
    os_mutex_end(&c->lock);
    server_log_refused(s, c->kind, c->client, why);
    return false;
}

static void take_out(struct server *s, struct connection *c)
{
    struct connection **p;

    os_lock(&s->lock);
    for (p = &s->connections; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    os_unlock(&s->lock);
}

void server_leave(struct connection *c)
{
    struct server *s = c->server;
    bool early;

    take_out(s, c); /* nobody shuts it any more */
    if (c->why)
        log_ended(s, c);
    os_lock(&s->lock);
    early = s->leaving < s->clients_max; /* else it keeps its place: their number is bounded */
    if (early) {
        s->leaving++;
        s->clients--;
    }
    os_unlock(&s->lock);
    /* Its process has ended: then its writes have. If it lives on, they may come later. */
    session_end(c->session, c->gone(c, session_is_writing(c->session) ? GONE_MS : 0));
    os_mutex_end(&c->lock);
    os_lock(&s->lock);
    *(early ? &s->leaving : &s->clients) -= 1;
    os_cond_wake_all(&s->ended);
    os_unlock(&s->lock);
}

void server_shut(struct server *s, const struct connection *which)
{
    os_lock(&s->lock);
    for (struct connection *c = s->connections; c; c = c->next)
        if (c == which)
            c->shut(c);
    os_unlock(&s->lock);
}

struct ring_server *server_ring(struct server *s)
{
    struct ring_server *least = NULL;

    for (unsigned i = 0; i < s->rings; i++)
        if (!least || atomic_load(&s->ring[i].count) < atomic_load(&least->count))
            least = &s->ring[i];
    return least;
}

/* ---- The server ------------------------------------------------------------------------------ */

void server_begin(struct server *s)
{
    /* One processor in two for the rings: whoever asks needs some, too. */
    const unsigned half = os_processors() / 2;
    const unsigned wanted = half < 1 ? 1 : half > RING_SERVERS_MAX ? RING_SERVERS_MAX : half;

    s->connections = NULL;
    s->clients = s->leaving = 0;
    s->refused = s->ended_lines = (struct server_lines){ .count = 0 };
    s->last = 0;
    s->stopping = false;
    os_mutex_begin(&s->lock);
    os_cond_begin(&s->ended);
    for (s->rings = 0; s->rings < wanted && ring_server_begin(&s->ring[s->rings]); s->rings++)
        ;
}

void server_end(struct server *s)
{
    os_lock(&s->lock);
    s->stopping = true;
    for (struct connection *c = s->connections; c; c = c->next)
        c->shut(c);
    while (s->clients + s->leaving > 0)
        os_cond_wait(&s->ended, &s->lock);
    os_unlock(&s->lock);
    for (unsigned i = 0; i < s->rings; i++)
        ring_server_end(&s->ring[i]);
    os_cond_end(&s->ended);
    os_mutex_end(&s->lock);
}
