/* SPDX-License-Identifier: BSD-2-Clause
 *
 * server.c - all clients of the service, each in threads of its own.
 *
 * Owns: the connections. A connection is a stream of messages, and perhaps a ring beside it. A
 * thread reads the stream, another one serves the ring; the session is handled under a lock. A
 * client that sends nonsense, stalls inside a message or does not take its replies loses its
 * connection, and the log says why. Nobody else waits for it. What a connection may hold is
 * bounded: two messages, and what session.c says.
 *
 * Who: the transports (server_take), main.c.
 */
#include "server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ring.h"

#define MESSAGE_NS UINT64_C(30000000000) /* a message has to be whole after so long */
#define GONE_MS 1000                     /* a process that was killed ends within */

struct connection {
    struct connection *next;
    struct server *server;
    struct stream *stream;
    struct session *session;
    pthread_mutex_t lock; /* session, why */
    const char *why;      /* the connection ends; the first reason */
    uint64_t number;
    struct ring *ring;
    pthread_t ring_thread;
    bool ring_runs;
    uint8_t *in, *out; /* CMP_MESSAGE_MAX each */
    uint8_t *ring_in;  /* RING_ROOM */
};

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

static void end_for(struct connection *c, const char *why)
{
    pthread_mutex_lock(&c->lock);
    if (!c->why)
        c->why = why;
    pthread_mutex_unlock(&c->lock);
    c->stream->calls->shut(c->stream);
}

/* As session_handle(). A negative result has ended the connection. */
static int64_t handle(struct connection *c, const void *message, size_t n, void *reply, size_t room)
{
    const char *why;
    int64_t len;

    pthread_mutex_lock(&c->lock);
    len = session_handle(c->session, message, n, reply, room, &why);
    pthread_mutex_unlock(&c->lock);
    if (len < 0)
        end_for(c, why);
    return len;
}

/* ---- The ring -------------------------------------------------------------------------------- */

static void serve_slot(struct connection *c, unsigned slot)
{
    struct ring_slot *const s = &c->ring->slot[slot];
    struct cmp_head h;
    size_t bytes = 0;

    /* The client may change it at any time: what is looked at is a copy. */
    memcpy(&h, s->message, sizeof(h));
    if (cmp_check_head(&h, sizeof(h), &bytes) != CMP_SOUND || bytes > RING_ROOM) {
        end_for(c, "a message in the ring has a wrong length");
        return;
    }
    memcpy(c->ring_in, s->message, bytes);
    if (handle(c, c->ring_in, bytes, s->message, RING_ROOM) >= 0)
        ring_answer(c->ring, slot);
}

static void *ring_main(void *arg)
{
    struct connection *c = arg;
    struct ring_patience p = { 0 };
    uint32_t bits;

    while ((bits = ring_wait(c->ring, &p)) != 0)
        for (; bits; bits &= bits - 1)
            serve_slot(c, (unsigned)__builtin_ctz(bits));
    return NULL;
}

/* If the message is a hello that asks for a ring: makes it and returns its descriptor, else -1. */
static int offer_ring(struct connection *c, const void *message, size_t n)
{
    struct cmp_hello m;
    struct cmp_head h;
    int fd = -1;

    if (c->ring || !c->stream->passes_fds || cmp_check(message, n, 0) != CMP_SOUND)
        return -1;
    memcpy(&h, message, sizeof(h));
    memcpy(&m, (const uint8_t *)message + sizeof(h), sizeof(m));
    if (h.command != CMP_HELLO || !(m.flags & CMP_WANT_RING))
        return -1;
    c->ring_in = malloc(RING_ROOM);
    c->ring = c->ring_in ? ring_make(&fd) : NULL;
    if (!c->ring)
        return -1; /* the client goes on with its stream */
    c->ring_runs = pthread_create(&c->ring_thread, NULL, ring_main, c) == 0;
    if (c->ring_runs) {
        session_has_ring(c->session, sizeof(struct ring));
        return fd;
    }
    close(fd);
    return -1;
}

/* ---- The stream ------------------------------------------------------------------------------ */

static bool serve_message(struct connection *c, const void *message, size_t n)
{
    const int fd = offer_ring(c, message, n);
    const int64_t len = handle(c, message, n, c->out, CMP_MESSAGE_MAX);
    int64_t sent = len;

    if (len > 0)
        sent = c->stream->calls->send(c->stream, c->out, (size_t)len, fd);
    if (fd >= 0)
        close(fd);
    if (len > 0 && sent == STREAM_LATE)
        end_for(c, "it does not take its replies");
    return len >= 0 && sent == len;
}

/* Receives more bytes of the message that begins at `from`, of which `to - from` are there. False:
 * the connection ends. */
static bool receive(struct connection *c, size_t from, size_t *to, uint64_t since)
{
    const int64_t n = c->stream->calls->receive(c->stream, c->in + *to, CMP_MESSAGE_MAX - *to);

    if (n > 0) {
        *to += (size_t)n;
    } else if (n != STREAM_LATE) {
        if (*to > from)
            end_for(c, "it ended in the middle of a message");
        return false;
    }
    if (*to > from && ring_now_ns() - since > MESSAGE_NS) {
        end_for(c, "it stalled in the middle of a message");
        return false;
    }
    return true;
}

/* Serves messages until the connection ends. */
static void serve(struct connection *c)
{
    size_t from = 0, to = 0; /* bytes of `in` that wait */
    uint64_t since = 0;      /* when the first of them came */

    for (;;) {
        size_t bytes = 0;
        const enum cmp_fault f = cmp_check_head(c->in + from, to - from, &bytes);

        if (f != CMP_SOUND && f != CMP_SHORT) {
            end_for(c, cmp_fault_text(f));
            return;
        }
        if (f == CMP_SOUND && to - from >= bytes) {
            if (!serve_message(c, c->in + from, bytes))
                return;
            from += bytes;
            since = ring_now_ns();
            continue;
        }
        if (from > 0 && (from == to || CMP_MESSAGE_MAX - from < (bytes ? bytes : 4096))) {
            memmove(c->in, c->in + from, to - from); /* room for the rest */
            to -= from;
            from = 0;
        }
        if (from == to)
            since = ring_now_ns();
        if (!receive(c, from, &to, since))
            return;
    }
}

/* ---- Connections ----------------------------------------------------------------------------- */

/* Frees what does not need its threads any more. */
static void free_connection(struct connection *c)
{
    if (c->session) {
        /* Its process has ended: then its writes have. If it lives on, they may come later. */
        const unsigned ms = session_is_writing(c->session) ? GONE_MS : 0;
        session_end(c->session, c->stream->calls->gone(c->stream, ms));
    }
    ring_leave(c->ring);
    c->stream->calls->free(c->stream);
    pthread_mutex_destroy(&c->lock);
    free(c->in);
    free(c->out);
    free(c->ring_in);
    free(c);
}

static void *connection_main(void *arg)
{
    struct connection *c = arg, **p;
    struct server *s = c->server;
    const uint32_t client = c->stream->client;
    const uint64_t number = c->number;
    const char *why;

    serve(c);
    if (c->ring)
        ring_end(c->ring);
    if (c->ring_runs)
        pthread_join(c->ring_thread, NULL);
    why = c->why;
    pthread_mutex_lock(&s->lock);
    for (p = &s->connections; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    pthread_mutex_unlock(&s->lock);
    if (why)
        server_log(s, LOG_WARN, "connection %llu of process %u was ended: %s",
                   (unsigned long long)number, client, why);
    free_connection(c);
    pthread_mutex_lock(&s->lock);
    s->clients--;
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static struct connection *new_connection(struct server *s, struct stream *stream)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->server = s;
    c->stream = stream;
    c->in = malloc(CMP_MESSAGE_MAX);
    c->out = malloc(CMP_MESSAGE_MAX);
    c->session = session_begin(&s->service, stream->client);
    pthread_mutex_init(&c->lock, NULL);
    if (c->in && c->out && c->session)
        return c;
    free_connection(c);
    return NULL;
}

/* Counts a client in, and puts its connection in the list. NULL: it is served; else why not. */
static const char *let_in(struct server *s, struct connection *c)
{
    pthread_attr_t detached;
    pthread_t thread;
    const char *why = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->stopping || s->clients >= s->clients_max) {
        why = s->stopping ? "the service ends" : "there are too many clients";
    } else {
        c->number = ++s->last;
        c->next = s->connections;
        s->connections = c;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &detached, connection_main, c) == 0) {
            s->clients++;
        } else {
            s->connections = c->next;
            why = "there is no thread for it";
        }
        pthread_attr_destroy(&detached);
    }
    pthread_mutex_unlock(&s->lock);
    return why;
}

void server_take(struct server *s, struct stream *stream)
{
    const uint32_t client = stream->client;
    struct connection *c = new_connection(s, stream);
    const char *why = c ? let_in(s, c) : "there is no memory for it";

    if (!why)
        return;
    if (c)
        free_connection(c);
    server_log(s, LOG_WARN, "process %u was refused: %s", client, why);
}

int server_begin(struct server *s)
{
    s->connections = NULL;
    s->clients = 0;
    s->last = 0;
    s->stopping = false;
    if (pthread_mutex_init(&s->lock, NULL))
        return CM_ENOMEM;
    if (pthread_cond_init(&s->ended, NULL)) {
        pthread_mutex_destroy(&s->lock);
        return CM_ENOMEM;
    }
    return 0;
}

void server_end(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (struct connection *c = s->connections; c; c = c->next)
        c->stream->calls->shut(c->stream);
    while (s->clients > 0)
        pthread_cond_wait(&s->ended, &s->lock);
    pthread_mutex_unlock(&s->lock);
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->lock);
}
