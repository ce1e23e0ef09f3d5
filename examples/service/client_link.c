/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_link.c - one connection of a client.
 *
 * Owns: the socket, the ring and its slots. A request goes through the ring if there is one, the
 * message fits a slot, and a slot is free; else through the socket, one at a time. A service that
 * sends nonsense or is slower than the time-out has lost the link: whoever waits gets LINK_LOST,
 * and nothing is sent any more.
 *
 * Who: client.c.
 */
#include "client_link.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ring.h"

#define LOOK_NS                                                                                    \
    UINT64_C(50000000) /* a thread that sleeps looks so often whether the link is lost */

struct link {
    _Atomic unsigned refs;
    _Atomic bool lost;
    uint32_t number, client, data_max;
    uint64_t timeout_ns;
    int fd;
    pthread_mutex_t lock; /* the socket's messages */
    uint64_t tag;
    uint8_t *in;               /* CMP_MESSAGE_MAX */
    struct ring *ring;         /* or NULL */
    _Atomic uint32_t free;     /* slots, a bit each */
    _Atomic uint32_t told;     /* slots with a request that nobody waits for */
    _Atomic uint64_t ring_tag; /* the last one */
    struct ring_patience patience[RING_SLOTS];
};

uint32_t link_number(const struct link *l)
{
    return l->number;
}

uint32_t link_client(const struct link *l)
{
    return l->client;
}

uint32_t link_data_max(const struct link *l)
{
    return l->data_max;
}

bool link_is_lost(const struct link *l)
{
    return atomic_load(&l->lost);
}

void link_hold(struct link *l)
{
    atomic_fetch_add(&l->refs, 1);
}

void link_drop(struct link *l)
{
    if (atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    ring_leave(l->ring);
    if (l->fd >= 0)
        close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l->in);
    free(l);
}

static int64_t lose(struct link *l)
{
    atomic_store(&l->lost, true);
    (void)shutdown(l->fd, SHUT_RDWR); /* the service sees it, and who waits for the socket */
    return LINK_LOST;
}

/* Takes the reply apart. */
static int64_t take_reply(struct link *l, const uint8_t *m, size_t n, uint64_t tag,
                          const struct request *q, struct answer *a)
{
    struct cmp_head h;

    if (cmp_check(m, n, 1) != CMP_SOUND)
        return lose(l);
    memcpy(&h, m, sizeof(h));
    if (h.tag != tag || h.command != q->command)
        return lose(l);
    if (h.result < 0)
        return h.result;
    a->file = h.file;
    m += sizeof(h);
    n -= sizeof(h) + a->body_room; /* cmp_check() has seen that it is there */
    if (n > a->data_room)
        return lose(l);
    if (a->body_room > 0)
        memcpy(a->body, m, a->body_room);
    if (n > 0)
        memcpy(a->data, m + a->body_room, n);
    a->data_len = n;
    return h.result;
}

static struct cmp_head head_of(const struct request *q, uint64_t tag)
{
    return (struct cmp_head){ .bytes =
                                  (uint32_t)(sizeof(struct cmp_head) + q->body_len + q->data_len),
                              .version = CMP_VERSION,
                              .command = q->command,
                              .tag = tag,
                              .file = q->file };
}

/* ---- The socket ------------------------------------------------------------------------------ */

static bool send_all(struct link *l, const void *from, size_t n)
{
    const uint8_t *at = from;

    while (n > 0) {
        const ssize_t sent = send(l->fd, at, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool send_request(struct link *l, const struct request *q, uint64_t tag)
{
    uint8_t small[sizeof(struct cmp_head) + sizeof(struct cmp_open)];
    const struct cmp_head h = head_of(q, tag);

    memcpy(small, &h, sizeof(h));
    if (q->body_len > 0)
        memcpy(small + sizeof(h), q->body, q->body_len);
    return send_all(l, small, sizeof(h) + q->body_len) && send_all(l, q->data, q->data_len);
}

/* Some bytes, and the descriptor that may come with them. */
static ssize_t receive_some(struct link *l, uint8_t *to, size_t n, int *fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = { .iov_base = to, .iov_len = n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    const struct cmsghdr *c;
    ssize_t got;

    if (!fd)
        return recv(l->fd, to, n, 0);
    m.msg_control = control.room;
    m.msg_controllen = sizeof(control.room);
    got = recvmsg(l->fd, &m, MSG_CMSG_CLOEXEC);
    c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    return got;
}

/* One whole message. Returns its length; 0: the link is lost. The lock is held, so no other reply
 * can be behind it. */
static size_t receive_message(struct link *l, int *fd)
{
    const uint64_t until = ring_now_ns() + l->timeout_ns;
    size_t have = 0, bytes = 0;

    for (;;) {
        const enum cmp_fault f = cmp_check_head(l->in, have, &bytes);
        ssize_t got;

        if ((f != CMP_SOUND && f != CMP_SHORT) || (f == CMP_SOUND && have > bytes))
            return 0;
        if (f == CMP_SOUND && have == bytes)
            return bytes;
        got = receive_some(l, l->in + have, CMP_MESSAGE_MAX - have, fd);
        if (got == 0 || (got < 0 && errno != EINTR) || ring_now_ns() >= until)
            return 0;
        have += got > 0 ? (size_t)got : 0;
    }
}

static int64_t ask_by_socket(struct link *l, const struct request *q, struct answer *a, int *fd)
{
    int64_t result = LINK_LOST;
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    if (!link_is_lost(l)) {
        const uint64_t tag = ++l->tag;

        if (send_request(l, q, tag) && (!a || (n = receive_message(l, fd)) > 0))
            result = a ? take_reply(l, l->in, n, tag, q, a) : 0;
        else
            result = lose(l);
    }
    pthread_mutex_unlock(&l->lock);
    return result;
}

/* ---- The ring -------------------------------------------------------------------------------- */

/* A slot that nobody uses, or RING_SLOTS. */
static unsigned claim_slot(struct link *l)
{
    uint32_t free = atomic_load(&l->free);

    while (free != 0) {
        const unsigned slot = (unsigned)__builtin_ctz(free);

        if (atomic_compare_exchange_weak(&l->free, &free, free & ~(UINT32_C(1) << slot)))
            return slot;
    }
    for (uint32_t told = atomic_load(&l->told); told; told &= told - 1) {
        const unsigned slot = (unsigned)__builtin_ctz(told);

        /* The service has handled it, and no other thread takes it. */
        if (atomic_load(&l->ring->slot[slot].state) == RING_ANSWERED &&
            (atomic_fetch_and(&l->told, ~(UINT32_C(1) << slot)) >> slot & 1))
            return slot;
    }
    return RING_SLOTS;
}

static void free_slot(struct link *l, unsigned slot)
{
    atomic_fetch_or(&l->free, UINT32_C(1) << slot);
}

/* Did the service end, while the ring is silent? */
static bool is_cut(const struct link *l)
{
    struct pollfd p = { .fd = l->fd, .events = POLLRDHUP };

    return link_is_lost(l) || poll(&p, 1, 0) != 0;
}

static bool await(struct link *l, unsigned slot)
{
    for (uint64_t waited = 0; waited < l->timeout_ns; waited += LOOK_NS) {
        if (ring_await(l->ring, slot, &l->patience[slot], LOOK_NS))
            return true;
        if (is_cut(l))
            break;
    }
    return false;
}

static uint64_t put_request(struct link *l, unsigned slot, const struct request *q)
{
    uint8_t *m = l->ring->slot[slot].message;
    const uint64_t tag = atomic_fetch_add_explicit(&l->ring_tag, 1, memory_order_relaxed);
    const struct cmp_head h = head_of(q, tag);

    memcpy(m, &h, sizeof(h));
    if (q->body_len > 0)
        memcpy(m + sizeof(h), q->body, q->body_len);
    if (q->data_len > 0)
        memcpy(m + sizeof(h) + q->body_len, q->data, q->data_len);
    ring_ask(l->ring, slot);
    return tag;
}

static int64_t ask_by_ring(struct link *l, unsigned slot, const struct request *q, struct answer *a)
{
    const uint64_t tag = put_request(l, slot, q);
    const uint8_t *m = l->ring->slot[slot].message;
    struct cmp_head h;
    int64_t result;

    if (!await(l, slot))
        return lose(l);
    memcpy(&h, m, sizeof(h));
    if (h.bytes > RING_ROOM)
        return lose(l);
    result = take_reply(l, m, h.bytes, tag, q, a);
    free_slot(l, slot);
    return result;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* The slot to use; RING_SLOTS: the request goes through the socket. */
static unsigned slot_for(struct link *l, const struct request *q, size_t reply)
{
    const size_t n = sizeof(struct cmp_head) + q->body_len + q->data_len;

    return l->ring && n <= RING_ROOM && reply <= RING_DATA ? claim_slot(l) : RING_SLOTS;
}

int64_t link_ask(struct link *l, const struct request *q, struct answer *a)
{
    unsigned slot;

    if (link_is_lost(l))
        return LINK_LOST;
    slot = slot_for(l, q, a->data_room);
    return slot < RING_SLOTS ? ask_by_ring(l, slot, q, a) : ask_by_socket(l, q, a, NULL);
}

void link_tell(struct link *l, const struct request *q)
{
    unsigned slot;

    if (link_is_lost(l))
        return;
    slot = slot_for(l, q, 0);
    if (slot == RING_SLOTS) {
        (void)ask_by_socket(l, q, NULL, NULL);
        return;
    }
    (void)put_request(l, slot, q);
    /* After it was asked: a slot among these is not idle before the service has answered. */
    atomic_fetch_or(&l->told, UINT32_C(1) << slot);
}

void link_settle(struct link *l)
{
    for (uint32_t told = atomic_load(&l->told); told && !link_is_lost(l); told &= told - 1) {
        const unsigned slot = (unsigned)__builtin_ctz(told);

        if (!(atomic_fetch_and(&l->told, ~(UINT32_C(1) << slot)) >> slot & 1))
            continue; /* another thread has it */
        if (await(l, slot))
            free_slot(l, slot);
        else
            (void)lose(l);
    }
}

/* ---- Hello ----------------------------------------------------------------------------------- */

static int connect_to(const char *where, uint64_t timeout_ns)
{
    const struct timeval wait = { .tv_sec = (time_t)(timeout_ns / 1000000000),
                                  .tv_usec = (suseconds_t)(timeout_ns % 1000000000 / 1000) };
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(where) >= sizeof(a.sun_path))
        return -1;
    strcpy(a.sun_path, where);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)); /* of connect(), too */
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool hello(struct link *l, bool want_ring)
{
    const struct cmp_hello m = { CMP_MAGIC, CMP_VERSION, want_ring ? CMP_WANT_RING : 0, 0 };
    const struct request q = { .command = CMP_HELLO, .body = &m, .body_len = sizeof(m) };
    struct cmp_hello_reply r;
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    int fd = -1;

    if (ask_by_socket(l, &q, &a, &fd) != 0 || r.data_max == 0 || r.block != CM_BLOCK_SIZE) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    l->client = r.client;
    l->data_max = r.data_max < CMP_DATA_MAX ? r.data_max : CMP_DATA_MAX;
    if (fd >= 0)
        l->ring = ring_take(fd);
    if (l->ring && l->data_max > RING_DATA)
        l->data_max = RING_DATA;
    return true;
}

struct link *link_open(const struct cmc_options *o, uint32_t number)
{
    struct link *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    l->refs = 1;
    l->number = number;
    l->free = UINT32_MAX;
    l->timeout_ns = UINT64_C(1000000) * (o->timeout_ms ? o->timeout_ms : 2000);
    l->in = malloc(CMP_MESSAGE_MAX);
    l->fd = connect_to(o->where, l->timeout_ns);
    if (l->in && l->fd >= 0 && hello(l, !(o->flags & CMC_NO_RING)))
        return l;
    link_drop(l);
    return NULL;
}
