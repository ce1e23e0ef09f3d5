/* SPDX-License-Identifier: BSD-2-Clause
 *
 * client_link.c - one connection of a client.
 *
 * Owns: the stream, the ring and its slots. A request goes through the ring if there is one, the
 * message fits a slot, and a slot is free; else through the stream, one at a time. A service that
 * sends nonsense or is slower than the time-out has lost the link: whoever waits gets LINK_LOST,
 * and nothing is sent any more. Threads that wait for each other are no sign of that.
 *
 * Who: client.c.
 */
#include "client_link.h"

#include <stdlib.h>
#include <string.h>

#include "client_stream.h"
#include "os.h"
#include "ring.h"

/* A thread that sleeps looks so often whether the link is lost. */
#define LOOK_NS UINT64_C(50000000)
#define LONG_NS UINT64_C(1000000) /* a wait for the stream that others do not make longer */

/* A thread that waits for the stream. */
struct waiter {
    struct waiter *next;
    os_cond woken;
    uint64_t since;
    bool given; /* it has the stream, and is not in the queue any more */
};

struct link {
    _Atomic unsigned refs;
    _Atomic bool lost;
    _Atomic bool late; /* lost after a long wait */
    uint32_t number, client, outside, data_max;
    uint64_t timeout_ns;
    uint32_t hello_flags; /* of the reply */
    struct client_stream stream;
    os_mutex lock;                /* of the next two */
    bool taken;                   /* a thread has the stream, and what follows */
    struct waiter *first, *last;  /* who waits for it */
    uint64_t tag;                 /* stream */
    struct ring_patience patient; /* stream */
    _Atomic uint64_t moved;       /* when the stream was last used as it should */
    struct ring_side ring;
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

uint32_t link_outside(const struct link *l)
{
    return l->outside;
}

uint32_t link_data_max(const struct link *l)
{
    return l->data_max;
}

bool link_steers(const struct link *l)
{
    return (l->hello_flags & CMP_STEERS) != 0;
}

bool link_tells_files(const struct link *l)
{
    return (l->hello_flags & CMP_TELLS_FILES) != 0;
}

bool link_is_lost(const struct link *l)
{
    return atomic_load(&l->lost);
}

bool link_was_late(const struct link *l)
{
    return atomic_load(&l->late);
}

void link_hold(struct link *l)
{
    atomic_fetch_add(&l->refs, 1);
}

void link_drop(struct link *l)
{
    if (atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    ring_leave(&l->ring);
    client_stream_close(&l->stream);
    os_mutex_end(&l->lock);
    free(l);
}

static int64_t lose(struct link *l)
{
    atomic_store(&l->lost, true);
    client_stream_shut(&l->stream); /* the service sees it, and who waits for the stream */
    return LINK_LOST;
}

/* Looks at a reply of n bytes. Returns its result, or LINK_LOST. */
static int64_t take_reply(struct link *l, const struct cmp_head *h, size_t n, uint64_t tag,
                          const struct request *q, struct answer *a)
{
    const bool early = q->command == CMP_HELLO && h->tag == 0 && h->result == CMP_CROWDED;

    if (cmp_check(h, n, 1) != CMP_SOUND || (h->tag != tag && !early) || h->command != q->command)
        return lose(l);
    if (h->result < 0)
        return h->result;
    a->file = h->file;
    a->data_len = n - sizeof(*h) - a->body_room; /* cmp_check() has seen that it is there */
    return a->data_len > a->data_room ? lose(l) : h->result;
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

/* ---- The stream ------------------------------------------------------------------------------ */

#define FIXED_MAX (sizeof(struct cmp_head) + sizeof(struct cmp_open)) /* head and body */

static bool send_request(struct link *l, const struct request *q, uint64_t tag)
{
    uint8_t fixed[FIXED_MAX];
    const struct cmp_head h = head_of(q, tag);
    const struct piece p[2] = { { fixed, sizeof(h) + q->body_len },
                                { (void *)(uintptr_t)q->data, q->data_len } };

    memcpy(fixed, &h, sizeof(h));
    if (q->body_len > 0)
        memcpy(fixed + sizeof(h), q->body, q->body_len);
    return client_stream_send(&l->stream, p);
}

/* What is left of the room for a message, behind the bytes that have come. */
static void move_on(struct piece p[2], size_t n)
{
    for (unsigned i = 0; i < 2; i++) {
        const size_t some = n < p[i].n ? n : p[i].n;

        if (some > 0) /* a piece without bytes has no place */
            p[i].at = (uint8_t *)p[i].at + some;
        p[i].n -= some;
        n -= some;
    }
}

/* One whole message: head and body to the first piece, the data to the second. Returns its length;
 * 0: the link is lost. The thread has the stream, so no other reply can be behind it. */
static size_t receive_message(struct link *l, const struct piece room[2], struct ring_pass *pass)
{
    struct piece p[2] = { room[0], room[1] };
    const size_t most = room[0].n + room[1].n;
    size_t have = 0, bytes = 0;
    bool wait = false;
    uint64_t until = 0;

    l->patient.until = 0;
    while (bytes == 0 || have < bytes) {
        const int64_t got = client_stream_receive(&l->stream, p, wait, pass);

        if (got < 0 || (until != 0 && os_now_ns() >= until))
            return 0;
        if (got == 0 && !wait && !ring_spins(&l->patient)) {
            wait = true;
            until = os_now_ns() + l->timeout_ns;
        }
        move_on(p, (size_t)got);
        have += (size_t)got;
        if (have < sizeof(struct cmp_head))
            continue;
        if (cmp_check_head(room[0].at, have, &bytes) != CMP_SOUND || bytes > most || have > bytes)
            return 0;
    }
    return bytes;
}

/* Lock held. */
static void enter_queue(struct link *l, struct waiter *w)
{
    if (l->first)
        l->last->next = w;
    else
        l->first = w;
    l->last = w;
}

/* Lock held. */
static void leave_queue(struct link *l, const struct waiter *w)
{
    struct waiter **at = &l->first, *ahead = NULL;

    for (; *at != w; at = &(*at)->next)
        ahead = *at;
    *at = w->next;
    if (l->last == w)
        l->last = ahead;
}

/* A thread that comes at once may be faster than the one that is woken, which saves a switch of
 * threads. But who has waited for long gets the stream from hand to hand. So every wait ends. */
static void leave_stream(struct link *l)
{
    struct waiter *w;

    os_lock(&l->lock);
    w = l->first;
    l->taken = w && os_now_ns() - w->since >= LONG_NS;
    if (l->taken) {
        w->given = true;
        leave_queue(l, w);
    }
    if (w)
        os_cond_wake_all(&w->woken);
    os_unlock(&l->lock);
}

/* What must be told if the service is there: else a bracket or a file would stay open, or a version
 * would not be seen. All others can pass. */
static bool must_be_told(uint16_t command)
{
    return command == CMP_WRITE_END || command == CMP_SYNC_END || command == CMP_CLOSE ||
           command == CMP_REVALIDATE;
}

/* The time for a wait is over. Does it go on, until *until? That other threads have the stream says
 * nothing about the service as long as it answers them, so what must be told waits on then. */
static bool waits_on(struct link *l, uint16_t command, uint64_t *until)
{
    *until = atomic_load(&l->moved) + l->timeout_ns;
    if (os_now_ns() >= *until)
        (void)lose(l); /* nobody got an answer */
    return !link_is_lost(l) && must_be_told(command);
}

/* Waits for the stream. False: the link is lost, or other threads have had it all the time. Who
 * waits on keeps its place in the queue: else others would be ahead of it each time. */
static bool take_stream(struct link *l, uint16_t command)
{
    struct waiter me = { .since = os_now_ns() };
    uint64_t until = me.since + l->timeout_ns, now;
    bool over = false, mine;

    os_lock(&l->lock);
    if (l->taken) {
        os_cond_begin(&me.woken);
        enter_queue(l, &me);
        while (l->taken && !me.given && !(over && !waits_on(l, command, &until))) {
            now = os_now_ns();
            over = now >= until || !os_cond_wait_within(&me.woken, &l->lock, until - now);
        }
        if (!me.given)
            leave_queue(l, &me);
        os_cond_end(&me.woken);
    }
    mine = me.given || !l->taken;
    l->taken = true;
    os_unlock(&l->lock);
    return mine;
}

static int64_t ask_by_stream(struct link *l, const struct request *q, struct answer *a,
                             struct ring_pass *pass)
{
    uint8_t fixed[FIXED_MAX];
    const size_t fixed_len = sizeof(struct cmp_head) + (a ? a->body_room : 0);
    const struct piece room[2] = { { fixed, fixed_len },
                                   { a ? a->data : NULL, a ? a->data_room : 0 } };
    int64_t result = LINK_LOST;
    struct cmp_head h;
    size_t n = 0;

    if (!take_stream(l, q->command))
        return LINK_LOST;
    if (!link_is_lost(l)) {
        const uint64_t tag = ++l->tag;

        /* A service that has too many clients may have said so, and have gone, before the hello. */
        if ((!send_request(l, q, tag) && q->command != CMP_HELLO) ||
            (a && (n = receive_message(l, room, pass)) == 0)) {
            result = lose(l);
        } else if (a) {
            memcpy(&h, fixed, sizeof(h));
            result = take_reply(l, &h, n, tag, q, a);
            if (result >= 0 && a->body_room > 0)
                memcpy(a->body, fixed + sizeof(h), a->body_room);
        } else {
            result = 0;
        }
        if (result != LINK_LOST)
            atomic_store(&l->moved, os_now_ns());
    }
    leave_stream(l);
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

        if (atomic_load(&l->ring.ring->slot[slot].state) != RING_ANSWERED ||
            !(atomic_fetch_and(&l->told, ~(UINT32_C(1) << slot)) >> slot & 1))
            continue; /* the service has not handled it, or another thread has it */
        /* Now it is ours. Another thread may have asked again between the look and this. */
        if (atomic_load(&l->ring.ring->slot[slot].state) == RING_ANSWERED)
            return slot;
        atomic_fetch_or(&l->told, UINT32_C(1) << slot);
    }
    return RING_SLOTS;
}

static void free_slot(struct link *l, unsigned slot)
{
    atomic_fetch_or(&l->free, UINT32_C(1) << slot);
}

static bool await(struct link *l, unsigned slot)
{
    const uint64_t look = l->timeout_ns < LOOK_NS ? l->timeout_ns : LOOK_NS;

    for (uint64_t waited = 0; waited < l->timeout_ns; waited += look) {
        if (ring_await(&l->ring, slot, &l->patience[slot], look))
            return true;
        /* Did the service end, while the ring is silent? */
        if (link_is_lost(l) || client_stream_is_cut(&l->stream))
            break;
    }
    return false;
}

static uint64_t put_request(struct link *l, unsigned slot, const struct request *q)
{
    uint8_t *m = l->ring.ring->slot[slot].message;
    const uint64_t tag = atomic_fetch_add_explicit(&l->ring_tag, 1, memory_order_relaxed);
    const struct cmp_head h = head_of(q, tag);

    memcpy(m, &h, sizeof(h));
    if (q->body_len > 0)
        memcpy(m + sizeof(h), q->body, q->body_len);
    if (q->data_len > 0)
        memcpy(m + sizeof(h) + q->body_len, q->data, q->data_len);
    ring_ask(&l->ring, slot);
    return tag;
}

static int64_t ask_by_ring(struct link *l, unsigned slot, const struct request *q, struct answer *a)
{
    const uint64_t tag = put_request(l, slot, q);
    const uint8_t *m = l->ring.ring->slot[slot].message;
    struct cmp_head h;
    int64_t result;

    if (!await(l, slot))
        return lose(l);
    memcpy(&h, m, sizeof(h));
    if (h.bytes > RING_ROOM)
        return lose(l);
    result = take_reply(l, &h, h.bytes, tag, q, a);
    if (result >= 0) {
        m += sizeof(h);
        if (a->body_room > 0)
            memcpy(a->body, m, a->body_room);
        if (a->data_len > 0)
            memcpy(a->data, m + a->body_room, a->data_len);
    }
    free_slot(l, slot);
    return result;
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* The slot to use; RING_SLOTS: the request goes through the stream. */
static unsigned slot_for(struct link *l, const struct request *q, size_t reply)
{
    const size_t n = sizeof(struct cmp_head) + q->body_len + q->data_len;

    if (!l->ring.ring || !cmp_ring_takes(q->command, l->hello_flags))
        return RING_SLOTS;
    return n <= RING_ROOM && reply <= RING_DATA ? claim_slot(l) : RING_SLOTS;
}

/* Was it a long wait? Half of the time-out: a call may have waited for the stream first. */
static void note_late(struct link *l, uint64_t since)
{
    if (link_is_lost(l) && os_now_ns() >= since + l->timeout_ns / 2)
        atomic_store(&l->late, true);
}

static int64_t wait_by_ring(struct link *l, unsigned slot, const struct request *q,
                            struct answer *a)
{
    const uint64_t began = os_now_ns();
    const int64_t result = ask_by_ring(l, slot, q, a);

    if (result == LINK_LOST)
        note_late(l, began);
    return result;
}

/* A service that has answered other threads meanwhile was not late until then. */
static int64_t wait_by_stream(struct link *l, const struct request *q, struct answer *a)
{
    const uint64_t began = os_now_ns();
    const int64_t result = ask_by_stream(l, q, a, NULL);
    const uint64_t moved = atomic_load(&l->moved);

    if (result == LINK_LOST)
        note_late(l, moved > began ? moved : began);
    return result;
}

int64_t link_ask(struct link *l, const struct request *q, struct answer *a)
{
    unsigned slot;

    if (link_is_lost(l))
        return LINK_LOST;
    slot = slot_for(l, q, a->data_room);
    return slot < RING_SLOTS ? wait_by_ring(l, slot, q, a) : wait_by_stream(l, q, a);
}

void link_tell(struct link *l, const struct request *q)
{
    unsigned slot;

    if (link_is_lost(l))
        return;
    slot = slot_for(l, q, 0);
    if (slot == RING_SLOTS) {
        (void)wait_by_stream(l, q, NULL);
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

static bool hello(struct link *l, bool want_ring, int *why)
{
    const struct cmp_hello m = { CMP_MAGIC, CMP_VERSION, want_ring ? CMP_WANT_RING : 0, 0 };
    const struct request q = { .command = CMP_HELLO, .body = &m, .body_len = sizeof(m) };
    struct cmp_hello_reply r;
    struct answer a = { .body = &r, .body_room = sizeof(r) };
    struct ring_pass pass = RING_PASS_NONE;

    const int64_t e = ask_by_stream(l, &q, &a, &pass);

    *why = e == CMP_CROWDED ? CMC_CROWDED : CMC_AWAY;
    if (e != 0 || r.data_max == 0 || r.block != CM_BLOCK_SIZE) {
        ring_pass_end(&pass);
        return false;
    }
    l->client = r.client;
    l->outside = r.outside;
    l->hello_flags = r.flags;
    l->data_max = r.data_max < CMP_DATA_MAX ? r.data_max : CMP_DATA_MAX;
    pass.name = r.ring_name;
    pass.bell = r.bell_name;
    if (!(r.flags & CMP_HAS_RING) || r.ring != sizeof(struct ring))
        ring_pass_end(&pass);
    else if (ring_take(&l->ring, &pass) && l->data_max > RING_DATA)
        l->data_max = RING_DATA;
    return true;
}

struct link *link_open(const struct cmc_options *o, uint32_t number, int *why)
{
    struct link *l = calloc(1, sizeof(*l));

    *why = CMC_AWAY;
    if (!l)
        return NULL;
    os_mutex_begin(&l->lock);
    l->refs = 1;
    l->number = number;
    l->free = UINT32_MAX;
    l->timeout_ns = UINT64_C(1000000) * o->timeout_ms;
    if (client_stream_open(&l->stream, o->where, l->timeout_ns) &&
        hello(l, !(o->flags & CMC_NO_RING), why))
        return l;
    link_drop(l);
    return NULL;
}
