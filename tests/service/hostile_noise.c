/* SPDX-License-Identifier: BSD-2-Clause
 *
 * hostile_noise.c - clients whose bytes are wrong at random places, and rings that change all the
 * time.
 *
 * A conversation has each command once or twice. With some of its bytes changed the service may end
 * it. It has ended it if the last message has no reply. Then the log has a line for it, and no
 * other line for this process. Nobody else uses the files of a conversation.
 *
 * Who: hostile.c.
 */
#include "hostile.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cachemax.h"
#include "place.h"

#define RANDOM_SEED UINT64_C(20240601)
#define RANDOM 800u
#define SCRIBBLE_NS UINT64_C(170000000) /* for each way */
#define THIEVES 8u

static uint64_t below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % n;
}

/* ---- The conversation ------------------------------------------------------------------------ */

static struct message conversation[16];
static unsigned messages;
static unsigned cut, whole; /* conversations that the service has ended, and the others */

#define FILE_HI UINT64_C(0x6f70656e) /* as raw_open() has it */
static uint64_t new_file(void)
{
    static uint64_t id = UINT64_C(1) << 40;

    return ++id;
}

static void add(struct message m)
{
    conversation[messages++] = m;
}

/* The end of each conversation. It has another tag, which none becomes by a change of some bytes.
 */
static void add_close(struct raw *r)
{
    r->tag = ~r->tag;
    add(raw_message(r, CMP_CLOSE, 1, NULL));
}

/* The begin of a connection. The handle is 1, the token 1: a client that knows this need not wait
 * for a reply. */
static void converse_first(struct raw *r)
{
    const struct cmp_open open = { .id_hi = FILE_HI,
                                   .id_lo = new_file(),
                                   .validator = raw_validator() };
    const struct cmp_read read = { .offset = 3 * RAW_BLOCK, .len = RAW_BLOCK, CMP_READ_WHOLE };

    messages = 0;
    add(raw_hello(r, 0));
    add(raw_message(r, CMP_OPEN, 0, &open));
    add(raw_message(r, CMP_READ, 1, &read));
    add(raw_message(r, CMP_SYNC_BEGIN, 1, NULL));
    add(raw_end(r, CMP_SYNC_END, 1, 1));
    add_close(r);
}

/* The number that the client was given first. A ticket; or, where a bracket of another conversation
 * is still open, a token that is used: a fill with it is void, and no fault. */
static uint64_t first_number(struct raw *r, uint32_t file)
{
    struct cmp_read_reply miss;
    struct message end;

    if (raw_has(r, file, 1, &miss))
        case_fail("a new file has cached blocks");
    if (miss.ticket != 0)
        return miss.ticket;
    end = raw_end(r, CMP_SYNC_END, file, raw_begin(r, CMP_SYNC_BEGIN, file, 0));
    if (raw_ask(r, &end, NULL, 0) < 0)
        case_fail("the end of a sync fails");
    return 1;
}

/* Adds a message, unless it goes by ring and is not for one. */
static void add_for(const struct raw *r, struct message m)
{
    struct cmp_head h;

    memcpy(&h, m.bytes, sizeof(h));
    if (!r->side.ring || cmp_ring_takes(h.command, r->flags))
        add(m);
}

/* The rest of a connection, of which only one number is known. */
static void converse_on(struct raw *r)
{
    const uint64_t id = new_file();
    const uint32_t file = raw_open(r, id);
    const uint64_t first = first_number(r, file);
    const struct cmp_read read = { .offset = RAW_BLOCK, .len = RAW_BLOCK, CMP_READ_WHOLE };
    const struct cmp_range range = { .offset = 4 * RAW_BLOCK, .len = RAW_BLOCK };
    const struct cmp_truncate truncate = { .size = 50 * RAW_BLOCK };
    const struct cmp_revalidate revalidate = { .validator = raw_validator() };
    const struct cmp_forget forget = { .id_hi = FILE_HI, .id_lo = id };

    messages = 0;
    add_for(r, raw_fill(r, file, first, RAW_BLOCK));
    add_for(r, raw_message(r, CMP_READ, file, &read));
    add_for(r, raw_message(r, CMP_WRITE_BEGIN, file, &range));
    add_for(r, raw_end(r, CMP_WRITE_END, file, first + 1));
    add_for(r, raw_message(r, CMP_SYNC_BEGIN, file, NULL));
    add_for(r, raw_end(r, CMP_SYNC_END, file, first + 2));
    add_for(r, raw_message(r, CMP_TRUNCATE_BEGIN, file, &truncate));
    if (!r->side.ring) /* which has no begin of it */
        add(raw_end(r, CMP_WRITE_END, file, first + 3));
    add_for(r, raw_message(r, CMP_INVALIDATE, file, &range));
    add_for(r, raw_message(r, CMP_REVALIDATE, file, &revalidate));
    add_for(r, raw_message(r, CMP_STATS, 0, NULL));
    add_for(r, raw_message(r, CMP_FORGET, 0, &forget));
    if (!r->side.ring)
        add_close(r);
}

/* How a conversation goes. */
enum part { FIRST_BY_SOCKET, ON_BY_SOCKET, ON_BY_RING, PARTS };
static const char *const part_names[PARTS] = { "the begin of a conversation by socket",
                                               "the rest of a conversation by socket",
                                               "the rest of a conversation by ring" };

static void begin_part(struct raw *r, enum part part)
{
    if (part == FIRST_BY_SOCKET) {
        raw_connect(r);
        r->tag = UINT64_C(0x1122334455667700);
        converse_first(r);
        return;
    }
    raw_greet(r, part == ON_BY_RING);
    r->tag = UINT64_C(0x1122334455667700);
    converse_on(r);
}

static uint64_t tag_of(const void *message)
{
    struct cmp_head h;

    memcpy(&h, message, sizeof(h));
    return h.tag;
}

/* Sends some `n` bytes of the conversation at once, and takes all replies. Was it cut? */
static bool send_all(struct raw *r, size_t n)
{
    static uint8_t all[16 * RAW_MAX];
    const uint64_t last = tag_of(conversation[messages - 1].bytes);
    uint64_t seen = ~last;
    size_t at = 0;
    int64_t got;

    for (unsigned i = 0; i < messages; at += conversation[i++].n) {
        n += n == at; /* inside a message, not between two of them */
        memcpy(all + at, conversation[i].bytes, conversation[i].n);
    }
    (void)raw_send(r, all, n < at ? n : at);
    (void)shutdown(r->fd, SHUT_WR);
    while ((got = raw_receive(r)) > 0)
        seen = tag_of(r->in);
    if (got < 0)
        case_fail("the connection does not end, or a reply is malformed");
    return seen != last;
}

/* The same by the ring, one by one. */
static bool ask_all(struct raw *r)
{
    static uint8_t reply[RING_ROOM];
    struct cmp_head asked, h;

    for (unsigned i = 0; i < messages; i++) {
        raw_put(r, &conversation[i]);
        if (!raw_await(r))
            return true;
        memcpy(&asked, conversation[i].bytes, sizeof(asked));
        memcpy(reply, r->side.ring->slot[0].message, RING_ROOM);
        memcpy(&h, reply, sizeof(h));
        if (asked.command != CMP_FILL &&
            (h.tag != asked.tag || h.bytes > RING_ROOM || cmp_check(reply, h.bytes, 1)))
            case_fail("a reply is malformed");
    }
    return false;
}

/* `n`: the bytes of the conversation that are sent, by socket. */
static void end_part(struct raw *r, enum part part, size_t n)
{
    const bool is_cut = part == ON_BY_RING ? ask_all(r) : send_all(r, n);

    *(is_cut ? &cut : &whole) += 1;
    raw_close(r);
}

static void begin_noise(const char *name, enum part part)
{
    case_begin("%s in %s", name, part_names[part]);
    cut = whole = 0;
}

/* Compares the numbers with the log, after all connections have ended. */
static void end_noise(void)
{
    unsigned lines;

    case_settled();
    lines = place_log_lines(case_log(), case_own_process(), "was ended: ");
    if (lines != cut)
        case_fail("%u conversations were ended, and the log has %u lines", cut, lines);
    printf("# %u conversations were ended, %u were not\n", cut, whole);
    case_end();
}

/* ---- Changes of the conversation ------------------------------------------------------------- */

/* What is not changed passes: else the numbers above would mean nothing. */
static void sound_case(enum part part)
{
    struct raw r;

    begin_noise("no change", part);
    begin_part(&r, part);
    end_part(&r, part, SIZE_MAX);
    if (whole != 1)
        case_fail("it was ended");
    end_noise();
}

/* Is it the turn of the value `k` of four at this place? All at the begin, else some: others at the
 * next place. */
static bool is_tried(enum part part, size_t place, unsigned k)
{
    static const unsigned among[PARTS] = { 1, 2, 4 };

    return (place + k) % among[part] == 0;
}

/* Each byte of each message gets some other values, one at a time. Of the data of a fill only the
 * first bytes. */
static void byte_case(enum part part)
{
    struct raw r;

    begin_noise("each byte", part);
    for (unsigned i = 0; i == 0 || i < messages; i++)
        for (size_t at = 0; at == 0 || (at < conversation[i].n && at <= 120); at++)
            for (unsigned k = 0; k < 4; k++) {
                if (!is_tried(part, i + at, k))
                    continue;
                begin_part(&r, part);
                uint8_t *const byte = &conversation[i].bytes[at];
                const uint8_t to[] = { *byte ^ 1, *byte ^ 0x80, 0, 0xff };
                *byte = to[k];
                end_part(&r, part, SIZE_MAX);
            }
    end_noise();
}

/* Changes bytes of some messages, and the order of messages. The last one stays. */
static void change(uint64_t *seed)
{
    for (uint64_t left = below(seed, 3); left > 0; left--) {
        struct message *m = &conversation[below(seed, messages - 1)];
        for (uint64_t bytes = 1 + below(seed, 4); bytes > 0; bytes--)
            m->bytes[below(seed, m->n < 128 ? m->n : 128)] = (uint8_t)below(seed, 256);
    }
    for (uint64_t left = below(seed, 2); left > 0; left--) {
        struct message *a = &conversation[below(seed, messages - 1)];
        struct message *b = &conversation[below(seed, messages - 1)];
        const struct message was = *a;
        *a = *b;
        if (below(seed, 2))
            *b = was; /* else one message comes twice */
    }
}

static void random_case(enum part part)
{
    uint64_t seed = RANDOM_SEED;
    struct raw r;

    begin_noise("random changes", part);
    printf("# %u conversations, seed %llu\n", RANDOM, (unsigned long long)seed);
    for (unsigned i = 0; i < RANDOM; i++) {
        begin_part(&r, part);
        change(&seed);
        end_part(&r, part, below(&seed, 8) ? SIZE_MAX : 1 + below(&seed, 800));
    }
    if (whole < RANDOM / 10 || cut < RANDOM / 10)
        case_fail("%u of %u conversations were ended", cut, RANDOM);
    end_noise();
}

void noise_cases(void)
{
    for (enum part part = FIRST_BY_SOCKET; part < PARTS; part++) {
        sound_case(part);
        byte_case(part);
        random_case(part);
    }
}

/* ---- Rings that change all the time ---------------------------------------------------------- */

enum scribble {
    ANYWHERE, /* numbers of any kind, over messages and control words */
    HEADS,    /* lengths and commands of messages that were sound */
    LENGTHS,  /* the control words only; each message is too long */
    CONTROL,  /* the control words only; the messages are fills with a ticket that is used */
    REQUESTS, /* as CONTROL, and no word ever says that the ring has ended or that nobody asks */
    SILENCE,  /* the same, and nobody ever asks */
    THEFT     /* it takes what rings */
};

struct scribbler {
    struct raw r;
    enum scribble how;
    uint64_t seed;
    pthread_t thread;
    _Atomic bool ends;
};

static void put32(struct ring *ring, size_t at, uint32_t value)
{
    atomic_store_explicit((_Atomic uint32_t *)((uint8_t *)ring + at), value, memory_order_relaxed);
}

static void scribble(struct ring *ring, intptr_t bell, enum scribble how, uint64_t *seed)
{
    static const uint32_t bytes[] = { 0, 23, 24, 40, 56, RING_ROOM, RING_ROOM + 1, UINT32_MAX };
    const size_t slot =
        offsetof(struct ring, slot) + below(seed, RING_SLOTS) * sizeof(struct ring_slot);
    const size_t message = slot + offsetof(struct ring_slot, message);

    if (how == THEFT) {
        uint64_t rung;
        struct pollfd p = { .fd = (int)bell, .events = POLLIN };
        if (poll(&p, 1, 1) == 1)
            (void)!read((int)bell, &rung, sizeof(rung));
        return;
    }
    if (how == ANYWHERE)
        put32(ring, below(seed, 2) ? below(seed, 16) * 4 : slot + below(seed, 64) * 4,
              (uint32_t)below(seed, UINT32_MAX));
    else if (how == HEADS)
        put32(ring, message + below(seed, 2) * 4,
              below(seed, 2) ? bytes[below(seed, 8)]
                             : CMP_VERSION | (uint32_t)below(seed, 16) << 16);
    if (how == CONTROL || how == LENGTHS)
        put32(ring, slot, (uint32_t)below(seed, 5));
    if (how == REQUESTS || how == SILENCE) {
        atomic_store(&ring->asked, how == REQUESTS ? UINT32_MAX : 0);
        atomic_store(&ring->sleeps, how == SILENCE);
        atomic_store(&ring->ended, 0);
    } else if (below(seed, 4) == 0) {
        atomic_store(&ring->asked, (uint32_t)below(seed, UINT32_MAX));
        atomic_store(&ring->sleeps, (uint32_t)below(seed, 3));
        atomic_store(&ring->ended, (uint32_t)below(seed, 3));
        ring_bell_ring(bell);
    }
}

static void *scribble_main(void *arg)
{
    struct scribbler *s = arg;

    while (!atomic_load(&s->ends))
        scribble(s->r.side.ring, s->r.side.bell, s->how, &s->seed);
    return NULL;
}

/* A client whose ring has a message in each slot, a sound one but for LENGTHS, and changes from now
 * on, each in its own way. */
static void begin_scribbler(struct scribbler *s, enum scribble how)
{
    static uint64_t begun;

    *s = (struct scribbler){ .how = how, .seed = RANDOM_SEED + begun++ };
    raw_greet(&s->r, true);
    const uint32_t file = raw_open(&s->r, new_file());
    struct message used = raw_fill(&s->r, file, raw_miss(&s->r, file, 1), RAW_BLOCK);
    (void)raw_ask(&s->r, &used, NULL, 0);
    if (how == LENGTHS) {
        const uint32_t too_many = RING_ROOM + 1;
        memcpy(used.bytes + offsetof(struct cmp_head, bytes), &too_many, sizeof(too_many));
    }
    for (unsigned i = 0; i < RING_SLOTS; i++)
        memcpy(s->r.side.ring->slot[i].message, used.bytes, used.n);
    atomic_store(&s->r.side.ring->asked, UINT32_MAX);
    ring_bell_ring(s->r.side.bell);
    if (pthread_create(&s->thread, NULL, scribble_main, s) != 0)
        place_die("pthread_create");
}

static void end_scribbler(struct scribbler *s)
{
    atomic_store(&s->ends, true);
    pthread_join(s->thread, NULL);
    raw_close(&s->r);
}

/* Many of them, one after the other; each is ended, or lives for a while. Chance decides why one is
 * ended. So there are more of them until the log has the reason that is looked for. */
static void scribble_case(const char *name, enum scribble how, const char *why)
{
    const uint64_t until = place_now_ns() + SCRIBBLE_NS;
    const uint64_t last_end = until + PLACE_PATIENCE_NS;
    struct scribbler s;
    unsigned n = 0, ended = 0;

    case_begin("%s", name);
    do {
        begin_scribbler(&s, how);
        struct pollfd p = { .fd = s.r.fd, .events = POLLIN };
        ended += poll(&p, 1, 50) == 1;
        end_scribbler(&s);
        n++;
    } while (place_now_ns() < until ||
             (why && !case_has_logged(case_own_process(), why) && place_now_ns() < last_end));
    printf("# %u rings, %u were ended by the service\n", n, ended);
    if (why)
        case_logged(case_own_process(), why);
    else if (ended > 0)
        case_fail("%u of %u connections were ended", ended, n);
    case_settled();
    case_end();
}

/* The client closes its socket and keeps its ring, which says that it goes on. */
static void kept_ring_case(const char *name, enum scribble how)
{
    struct scribbler s;

    case_begin("%s", name);
    begin_scribbler(&s, how);
    (void)shutdown(s.r.fd, SHUT_RDWR);
    case_settled();
    end_scribbler(&s);
    case_end();
}

static struct scribbler last[2 + THIEVES];

/* What wakes the service is read before the service can. */
static void theft_case(void)
{
    case_begin("clients that read what wakes the service");
    for (unsigned i = 0; i < THIEVES; i++)
        begin_scribbler(&last[2 + i], THEFT);
    place_sleep_us(2000000);
    case_end();
}

void ring_cases(void)
{
    scribble_case("a ring that changes anywhere", ANYWHERE, "was ended: ");
    scribble_case("a ring whose heads change", HEADS, "was ended: ");
    scribble_case("a ring whose messages are too long", LENGTHS,
                  "a message in the ring has a wrong length");
    scribble_case("a ring whose control words change", CONTROL, NULL);
    kept_ring_case("a ring that asks on after the end", REQUESTS);
    kept_ring_case("a ring that denies its end", SILENCE);
    theft_case(); /* the service ends, and these do not */
    begin_scribbler(&last[0], REQUESTS);
    begin_scribbler(&last[1], SILENCE);
}

void ring_cases_end(void)
{
    for (unsigned i = 0; i < 2 + THIEVES; i++)
        end_scribbler(&last[i]);
}
