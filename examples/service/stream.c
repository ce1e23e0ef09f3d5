/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stream.c - clients whose messages come as a stream of bytes.
 *
 * Owns: what belongs to such a client, its buffers, its thread, and perhaps a ring beside the
 * stream. A client that stalls inside a message or does not take its replies loses its connection.
 * What it may hold is bounded: two messages, a ring, and what session_state.h says.
 *
 * Who: the transports, by stream_take().
 */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

struct stream_client {
    struct connection connection; /* first */
    struct stream *stream;
    uint8_t *in, *out; /* CMP_MESSAGE_MAX each */
    struct ring_server *rings;
    struct ring_member ring; /* if `rings` */
    uint8_t *ring_in;        /* RING_ROOM */
};

/* ---- The ring -------------------------------------------------------------------------------- */

/* Takes a request out of a slot. Returns its bytes; 0: the connection ends. */
static size_t take_request(struct stream_client *c, const struct ring_slot *slot)
{
    struct cmp_head h;
    size_t bytes = 0;

    /* The client may change it at any time: what is looked at is a copy. */
    memcpy(&h, slot->message, sizeof(h));
    atomic_signal_fence(memory_order_seq_cst); /* the compiler must not read it once more */
    if (cmp_check_head(&h, sizeof(h), &bytes) != CMP_SOUND || bytes > RING_ROOM) {
        server_drop(&c->connection, "a message in the ring has a wrong length");
        return 0;
    }
    memcpy(c->ring_in, slot->message, bytes);
    memcpy(&h, c->ring_in, sizeof(h));
    if (cmp_ring_takes(h.command, c->connection.server->service.hello_flags))
        return bytes;
    server_drop(&c->connection, "a message in the ring has a command that a ring does not take");
    return 0;
}

static void serve_slot(void *arg, unsigned i)
{
    struct stream_client *c = arg;
    struct ring_slot *const slot = &c->ring.side.ring->slot[i];
    const size_t bytes = take_request(c, slot);
    int64_t len;

    if (bytes == 0)
        return;
    len = server_handle(&c->connection, false, c->ring_in, bytes, slot->message, RING_ROOM);
    if (len >= 0)
        ring_answer(&c->ring.side, i);
}

/* If the message is a hello that asks for a ring: makes it. True: *p goes with the reply. */
static bool offer_ring(struct stream_client *c, const void *message, size_t n, struct ring_pass *p)
{
    struct ring_server *const rings = server_ring(c->connection.server);
    struct cmp_hello m;
    struct cmp_head h;

    if (!rings || c->rings || cmp_check(message, n, 0) != CMP_SOUND)
        return false;
    memcpy(&h, message, sizeof(h));
    memcpy(&m, (const uint8_t *)message + sizeof(h), sizeof(m));
    if (h.command != CMP_HELLO || !(m.flags & CMP_WANT_RING))
        return false;
    if (!c->ring_in)
        c->ring_in = malloc(RING_ROOM);
    c->ring.serve = serve_slot;
    c->ring.arg = c;
    if (!c->ring_in || !ring_server_add(rings, &c->ring, p))
        return false; /* the client goes on with its stream */
    c->rings = rings;
    session_has_ring(c->connection.session, sizeof(struct ring), p->name, p->bell);
    return true;
}

/* ---- The stream ------------------------------------------------------------------------------ */

static bool serve_message(struct stream_client *c, const void *message, size_t n)
{
    struct ring_pass pass = RING_PASS_NONE;
    const bool passes = offer_ring(c, message, n, &pass);
    const int64_t len = server_handle(&c->connection, true, message, n, c->out, CMP_MESSAGE_MAX);
    int64_t sent = len;

    if (len > 0)
        sent = c->stream->calls->send(c->stream, c->out, (size_t)len, passes ? &pass : NULL);
    if (passes)
        ring_pass_end(&pass);
    if (len > 0 && sent == STREAM_LATE)
        server_drop(&c->connection, "it does not take its replies");
    return len >= 0 && sent == len;
}

/* Receives more bytes of the message that begins at `from`, of which `to - from` are there, the
 * first of them since *since. False: the connection ends. */
static bool receive(struct stream_client *c, size_t from, size_t *to, uint64_t *since)
{
    const int64_t n = c->stream->calls->receive(c->stream, c->in + *to, CMP_MESSAGE_MAX - *to);

    if (n > 0) {
        if (*to == from)
            *since = os_now_ns();
        *to += (size_t)n;
    } else if (n != STREAM_LATE) {
        if (*to > from)
            server_drop(&c->connection, "it ended in the middle of a message");
        return false;
    } else if (c->connection.gone(&c->connection, 0)) {
        return false; /* a child of the client has inherited its connection */
    }
    if (*to > from && os_now_ns() - *since > c->connection.server->message_ms * UINT64_C(1000000)) {
        server_drop(&c->connection, "it stalled in the middle of a message");
        return false;
    }
    return true;
}

/* Serves messages until the connection ends. */
static void serve(struct stream_client *c)
{
    size_t from = 0, to = 0; /* bytes of `in` that wait */
    uint64_t since = 0;      /* when the first of them came */

    for (;;) {
        size_t bytes = 0;
        const enum cmp_fault f = cmp_check_head(c->in + from, to - from, &bytes);

        if (f != CMP_SOUND && f != CMP_SHORT) {
            server_drop(&c->connection, cmp_fault_text(f));
            return;
        }
        if (f == CMP_SOUND && to - from >= bytes) {
            if (!serve_message(c, c->in + from, bytes))
                return;
            from += bytes;
            since = os_now_ns();
            continue;
        }
        if (from > 0 && (from == to || CMP_MESSAGE_MAX - from < (bytes ? bytes : 4096))) {
            memmove(c->in, c->in + from, to - from); /* room for the rest */
            to -= from;
            from = 0;
        }
        if (!receive(c, from, &to, &since))
            return;
    }
}

/* ---- Clients --------------------------------------------------------------------------------- */

static void shut(struct connection *c)
{
    struct stream *s = ((struct stream_client *)c)->stream;

    s->calls->shut(s);
}

static bool gone(struct connection *c, unsigned ms)
{
    struct stream *s = ((struct stream_client *)c)->stream;

    return s->calls->gone(s, ms);
}

static void free_client(struct stream_client *c)
{
    c->stream->calls->free(c->stream);
    free(c->in);
    free(c->out);
    free(c->ring_in);
    free(c);
}

static void run(void *arg)
{
    struct stream_client *c = arg;

    serve(c);
    if (c->rings)
        ring_server_remove(c->rings, &c->ring);
    ring_leave(&c->ring.side);
    server_leave(&c->connection);
    free_client(c);
}

static struct stream_client *new_client(struct stream *stream)
{
    struct stream_client *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->connection.kind = "process";
    c->connection.client = stream->client;
    c->connection.data_max = CMP_DATA_MAX;
    c->connection.shut = shut;
    c->connection.gone = gone;
    c->stream = stream;
    c->in = malloc(CMP_MESSAGE_MAX);
    c->out = malloc(CMP_MESSAGE_MAX);
    if (c->in && c->out)
        return c;
    free(c->in);
    free(c->out);
    free(c);
    return NULL;
}

/* There is nothing else in the way of these few bytes. Its hello may still be on its way. */
static void tell_crowded(struct stream *s)
{
    const struct cmp_head h = {
        .bytes = sizeof(h), .version = CMP_VERSION, .command = CMP_HELLO, .result = CMP_CROWDED
    };

    (void)s->calls->send(s, &h, sizeof(h), NULL);
}

void stream_take(struct server *s, struct stream *stream)
{
    struct stream_client *c = new_client(stream);

    if (!c) {
        server_log_refused(s, "process", stream->client, "there is no memory for it");
        stream->calls->free(stream);
        return;
    }
    if (server_enter(s, &c->connection)) {
        if (os_thread_begin_alone(run, c))
            return;
        server_drop(&c->connection, "there is no thread for it");
        server_leave(&c->connection);
    } else if (c->connection.crowded && stream->calls->tells) {
        tell_crowded(stream);
    }
    free_client(c);
}
