/* SPDX-License-Identifier: BSD-2-Clause
 *
 * raw.c - a client that sends whatever a test wants: bare messages, by socket or by ring.
 *
 * Owns: the bytes of a connection. It is no part of the service's client library, which would not
 * send what these tests send. A ring is used with one slot at a time.
 *
 * Who: the programs of this directory.
 */
#include "raw.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cachemax.h"
#include "place.h"

#define LOOK_NS UINT64_C(1000000) /* who waits for the ring looks so often at the socket */

/* ---- The connection -------------------------------------------------------------------------- */

void raw_connect(struct raw *r)
{
    const struct timeval wait = { .tv_sec = (time_t)(PLACE_PATIENCE_NS / 1000000000) };
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    *r = (struct raw){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .side.bell = -1 };
    r->in = malloc(CMP_MESSAGE_MAX);
    if (strlen(place_socket) >= sizeof(a.sun_path))
        place_die("TMPDIR is too long for the name of a socket");
    strcpy(a.sun_path, place_socket);
    if (!r->in || r->fd < 0 || connect(r->fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
        place_die(place_socket);
    (void)setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(r->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

void raw_leave_ring(struct raw *r)
{
    ring_leave(&r->side);
}

void raw_close(struct raw *r)
{
    raw_leave_ring(r);
    close(r->fd);
    free(r->in);
    *r = (struct raw){ .fd = -1, .side.bell = -1 };
}

bool raw_send(struct raw *r, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        const ssize_t sent = send(r->fd, at, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Some bytes, and the ring that may come with them. */
static ssize_t receive_some(struct raw *r)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec v = { .iov_base = r->in + r->have, .iov_len = CMP_MESSAGE_MAX - r->have };
    struct msghdr m = { .msg_iov = &v,
                        .msg_iovlen = 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof(control.room) };
    const struct cmsghdr *c;
    struct ring_pass pass = RING_PASS_NONE;
    ssize_t got;

    do
        got = recvmsg(r->fd, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == ECONNRESET) /* it ended before it read all that we sent */
        got = 0;
    c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS) {
        memcpy(pass.fd, CMSG_DATA(c), sizeof(pass.fd));
        (void)ring_take(&r->side, &pass);
    }
    return got;
}

int64_t raw_receive(struct raw *r)
{
    size_t bytes = 0;

    if (r->have > 0 && cmp_check_head(r->in, r->have, &bytes) == CMP_SOUND && r->have >= bytes) {
        r->have -= bytes; /* the one before */
        memmove(r->in, r->in + bytes, r->have);
    }
    for (;;) {
        const enum cmp_fault f = cmp_check_head(r->in, r->have, &bytes);
        ssize_t got;

        if (f == CMP_SOUND && r->have >= bytes)
            return cmp_check(r->in, bytes, 1) == CMP_SOUND ? (int64_t)bytes : -1;
        if (f != CMP_SOUND && f != CMP_SHORT)
            return -1;
        got = receive_some(r);
        if (got <= 0)
            return got;
        r->have += (size_t)got;
    }
}

bool raw_is_ended(struct raw *r)
{
    int64_t n;

    while ((n = raw_receive(r)) > 0)
        ;
    return n == 0;
}

/* ---- Messages -------------------------------------------------------------------------------- */

struct message raw_message(struct raw *r, unsigned command, uint32_t file, const void *body)
{
    int data;
    const uint32_t n = cmp_body(command, 0, &data);
    struct message m = { .n = sizeof(struct cmp_head) + n };
    const struct cmp_head h = { .bytes = (uint32_t)m.n,
                                .version = CMP_VERSION,
                                .command = (uint16_t)command,
                                .tag = ++r->tag,
                                .file = file };

    memcpy(m.bytes, &h, sizeof(h));
    if (n > 0)
        memcpy(m.bytes + sizeof(h), body, n);
    return m;
}

void raw_add_data(struct message *m, const void *data, size_t n)
{
    const uint32_t bytes = (uint32_t)(m->n + n);

    memcpy(m->bytes + m->n, data, n);
    memcpy(m->bytes, &bytes, sizeof(bytes));
    m->n += n;
}

static void put(struct raw *r, const struct message *m, bool by_ring)
{
    if (!by_ring) {
        (void)raw_send(r, m->bytes, m->n);
        return;
    }
    memcpy(r->side.ring->slot[0].message, m->bytes, m->n);
    ring_ask(&r->side, 0);
}

void raw_put(struct raw *r, const struct message *m)
{
    put(r, m, r->side.ring != NULL);
}

/* Has the service ended the connection? The socket of a ring has nothing to read. */
static bool is_cut(const struct raw *r)
{
    struct pollfd p = { .fd = r->fd, .events = POLLIN | POLLRDHUP };

    return poll(&p, 1, 0) != 0;
}

bool raw_await(struct raw *r)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct ring_patience p = { 0 };

    while (place_now_ns() < until) {
        if (ring_await(&r->side, 0, &p, LOOK_NS))
            return true;
        if (is_cut(r))
            return false;
    }
    return false;
}

int64_t raw_ask(struct raw *r, const struct message *m, void *body, size_t n)
{
    struct cmp_head h, asked;
    bool by_ring;

    memcpy(&asked, m->bytes, sizeof(asked));
    by_ring = r->side.ring && cmp_ring_takes(asked.command, r->flags);
    put(r, m, by_ring);
    if (by_ring && !raw_await(r))
        return RAW_ENDED;
    if (asked.command == CMP_FILL)
        return 0;
    if (!by_ring && raw_receive(r) <= 0)
        return RAW_ENDED;
    r->reply = by_ring ? r->side.ring->slot[0].message : r->in;
    memcpy(&h, r->reply, sizeof(h));
    if (h.tag != asked.tag || h.command != asked.command)
        return RAW_ENDED;
    if (n > 0 && h.bytes >= sizeof(h) + n)
        memcpy(body, r->reply + sizeof(h), n);
    return h.result;
}

/* ---- Requests that are in order -------------------------------------------------------------- */

struct message raw_hello(struct raw *r, uint32_t flags)
{
    const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = CMP_VERSION, .flags = flags };

    return raw_message(r, CMP_HELLO, 0, &m);
}

static void must(bool is_so, const char *what)
{
    if (is_so)
        return;
    errno = 0;
    place_die(what);
}

void raw_greet(struct raw *r, bool want_ring)
{
    struct cmp_hello_reply reply;
    struct message hello;

    raw_connect(r);
    hello = raw_hello(r, want_ring ? CMP_WANT_RING : 0);
    must(raw_ask(r, &hello, &reply, sizeof(reply)) == 0, "hello");
    must((r->side.ring != NULL) == want_ring, "the ring");
    r->flags = reply.flags;
}

struct cmp_validator raw_validator(void)
{
    struct cmp_validator v = { .taken_at = cm_now(),
                               .size = 100 * (uint64_t)RAW_BLOCK,
                               .changed_ns = CM_CHANGED_LONG_AGO,
                               .given = 1 };

    v.proof[0] = 1;
    v.proof[31] = 1;
    return v;
}

uint32_t raw_open(struct raw *r, uint64_t id)
{
    const struct cmp_open m = { .id_hi = 0x6f70656e, .id_lo = id, .validator = raw_validator() };
    const struct message open = raw_message(r, CMP_OPEN, 0, &m);
    struct cmp_head h;

    must(raw_ask(r, &open, NULL, 0) >= 0, "open");
    memcpy(&h, r->reply, sizeof(h));
    return h.file;
}

bool raw_has(struct raw *r, uint32_t file, uint64_t block, struct cmp_read_reply *miss)
{
    const struct cmp_read m = { .offset = block * RAW_BLOCK, .len = RAW_BLOCK };
    const struct message read = raw_message(r, CMP_READ, file, &m);
    const int64_t n = raw_ask(r, &read, miss, sizeof(*miss));

    must(n >= 0, "read");
    return n == RAW_BLOCK;
}

uint64_t raw_miss(struct raw *r, uint32_t file, uint64_t block)
{
    const uint64_t until = place_now_ns() + PLACE_PATIENCE_NS;
    struct cmp_read_reply miss = { 0 };

    for (;;) {
        must(!raw_has(r, file, block, &miss), "a miss: the block is cached");
        if (miss.ticket != 0)
            return miss.ticket;
        must(place_now_ns() < until, "a miss: no ticket");
        usleep(1000);
    }
}

struct message raw_fill(struct raw *r, uint32_t file, uint64_t ticket, size_t n)
{
    static const uint8_t data[2 * RAW_BLOCK];
    const struct cmp_fill body = { .ticket = ticket };
    struct message m = raw_message(r, CMP_FILL, file, &body);

    raw_add_data(&m, data, n);
    return m;
}

uint64_t raw_begin(struct raw *r, unsigned command, uint32_t file, uint64_t block)
{
    const struct cmp_range body = { .offset = block * RAW_BLOCK, .len = RAW_BLOCK };
    const struct message m = raw_message(r, command, file, &body); /* the size is its first field */
    struct cmp_token_reply reply = { 0 };

    must(raw_ask(r, &m, &reply, sizeof(reply)) == 0 && reply.token != 0, "begin");
    return reply.token;
}

struct message raw_end(struct raw *r, unsigned command, uint32_t file, uint64_t token)
{
    const struct cmp_end body = { .token = token, .ok = 1 };

    return raw_message(r, command, file, &body);
}
