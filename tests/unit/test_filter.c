/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_filter.c - what the driver for Windows decides, without any system: the rules at the head of
 * filter_core.h, by their numbers. Those of filter_rules.h are in test_filter_rules.c. The service
 * is made up: it notes what it is asked, and answers, refuses, is silent, or lets something happen
 * first, as the test says.
 */
#include "harness.h"

#include <stdbool.h>
#include <stdlib.h>

#include "cachemax.h"
#include "cachemax_protocol.h"
#include "filter_core.h"

#define BLOCK 4096u
#define DATA_MAX (2 * BLOCK)
#define SLOTS 8u
#define LOG_MAX 256u

/* ---- The service ----------------------------------------------------------------------------- */

static struct asked {
    uint32_t life;
    struct cmp_head head;
    uint8_t body[96]; /* its begin */
    bool patient;
} asked[LOG_MAX];
static unsigned n_asked;
static struct {
    bool silent, nonsense;   /* it does not answer; another request's answer */
    int refuse;              /* this command gets an error; 0: none */
    void (*meanwhile)(void); /* happens while `at` is asked, once */
    int at;
    uint32_t hello_flags;
    uint8_t pool;
    uint64_t version; /* of the file: counts up with each read if `moves` */
    bool moves;
    uint64_t cached_to; /* bytes of each file that are cached; the file ends at `ends` */
    uint64_t ends, ticket;
    uint32_t too_long, too_much; /* more is missing, or fits a message, than can be */
    uint64_t too_far;
    uint32_t handles;
    uint32_t hung_up; /* the last life that was */
    int stops;        /* the thread that asks this is ended meanwhile, and hears no reply */
} service;
static bool facts_fail;
static void (*at_facts)(void); /* happens while the facts are asked for, once */
static uint64_t file_id, clock_ns;
static unsigned tends;

static void answer_read(const struct cmp_read *m, struct cmp_head *h, uint8_t *body, uint32_t *n)
{
    struct cmp_read_reply r = { .version = service.version };
    const uint64_t to = service.cached_to < m->offset ? m->offset : service.cached_to;
    const uint32_t got = to - m->offset < m->len ? (uint32_t)(to - m->offset) : m->len;

    service.version += service.moves;
    if (got < m->len && to < service.ends) {
        r.ticket = ++service.ticket;
        r.miss_offset = to;
        r.miss_len = BLOCK + service.too_long;
        r.miss_offset += service.too_far;
    } else if (got < m->len) {
        r.flags = CMP_AT_END;
    }
    h->result = (int32_t)got;
    memcpy(body, &r, sizeof(r));
    memset(body + sizeof(r), 'c', got);
    *n = (uint32_t)sizeof(r) + got;
}

static void answer(struct cmp_head *h, const uint8_t *in, uint8_t *body, uint32_t *n)
{
    const struct cmp_hello_reply hello = { .life = 1,
                                           .block = BLOCK,
                                           .data_max = DATA_MAX + service.too_much,
                                           .flags = service.hello_flags,
                                           .pool = { service.pool } };
    const struct cmp_open_reply open = { .size = 1 };
    const struct cmp_token_reply token = { .token = 77 };
    struct cmp_read m;
    int data;

    *n = cmp_body(h->command, 1, &data);
    switch (h->command) {
    case CMP_HELLO:
        memcpy(body, &hello, sizeof(hello));
        break;
    case CMP_OPEN:
        h->file = ++service.handles;
        memcpy(body, &open, sizeof(open));
        break;
    case CMP_READ:
        memcpy(&m, in, sizeof(m));
        answer_read(&m, h, body, n);
        break;
    default:
        memcpy(body, &token, *n < sizeof(token) ? *n : sizeof(token));
    }
}

static int ask(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *reply,
               uint32_t room, bool patient)
{
    static uint8_t out[CMP_MESSAGE_MAX];
    const uint8_t *const body = (const uint8_t *)message + sizeof(struct cmp_head);
    struct asked *const a = &asked[n_asked++ % LOG_MAX];
    void (*const meanwhile)(void) = service.meanwhile;
    uint32_t n = 0;

    (void)ctx;
    CHECK_EQ(cmp_check(message, bytes, 0), CMP_SOUND);
    *a = (struct asked){ .life = life, .patient = patient };
    memcpy(&a->head, message, sizeof(a->head));
    memcpy(a->body, body,
           bytes - sizeof(a->head) < sizeof(a->body) ? bytes - sizeof(a->head) : sizeof(a->body));
    CHECK_EQ(room == 0, a->head.command == CMP_FILL);
    struct cmp_head h = a->head;
    if (meanwhile && service.at == (int)h.command) {
        service.meanwhile = NULL;
        meanwhile();
    }
    clock_ns += 1000;
    if (service.silent || life == service.hung_up)
        return FC_GONE;
    if (service.stops == (int)h.command)
        return FC_STOPPED;
    if (room == 0)
        return 0;
    if (service.refuse == (int)h.command)
        h.result = CM_ENOMEM;
    else
        answer(&h, body, out, &n);
    h.bytes = (uint32_t)sizeof(h) + n;
    h.tag += service.nonsense;
    CHECK(h.bytes <= room);
    memcpy(reply, &h, sizeof(h));
    memcpy((uint8_t *)reply + sizeof(h), out, n);
    return (int)h.bytes;
}

static void hang_up(void *ctx, uint32_t life)
{
    (void)ctx;
    service.hung_up = life;
}

/* ---- The rest of the shell ------------------------------------------------------------------- */

static bool locked;

static void lock(void *ctx)
{
    (void)ctx;
    CHECK(!locked);
    locked = true;
}

static void unlock(void *ctx)
{
    (void)ctx;
    CHECK(locked);
    locked = false;
}

static void tend(void *ctx)
{
    (void)ctx;
    CHECK(!locked);
    tends++;
}

static void *get_memory(void *ctx, size_t n)
{
    (void)ctx;
    return malloc(n);
}

static void give_back(void *ctx, void *at)
{
    (void)ctx;
    free(at);
}

static bool facts(void *ctx, const void *via, struct fc_facts *f)
{
    void (*const meanwhile)(void) = at_facts;
    (void)ctx;
    CHECK(!locked);
    at_facts = NULL;
    if (meanwhile)
        meanwhile();
    *f = (struct fc_facts){ .volume = 1, .file = { via ? *(const uint64_t *)via : file_id } };
    f->taken_at = clock_ns;
    return !facts_fail;
}

static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return clock_ns;
}

static const struct fc_env env = { .ask = ask,
                                   .hang_up = hang_up,
                                   .tend = tend,
                                   .alloc = get_memory,
                                   .free = give_back,
                                   .lock = lock,
                                   .unlock = unlock,
                                   .facts = facts,
                                   .now_ns = now_ns,
                                   .timeout_ns = 1000000 };
static struct fc fc;
static struct fc_file file;
static struct fc_id set[SLOTS];
static uint8_t buf[16 * BLOCK];
static uint32_t got;
static struct fc_read missed;

/* A filter without a service, and one file. */
static void begin(void)
{
    memset(&service, 0, sizeof(service));
    service.hello_flags = CMP_STEERS | CMP_FORGETS_ALL;
    service.cached_to = service.ends = 16 * BLOCK;
    service.version = 5;
    service.pool = 3;
    n_asked = tends = 0;
    facts_fail = false;
    at_facts = NULL;
    file_id = 7;
    fc_init(&fc, &env, set, SLOTS);
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
}

static enum fc_answer read_at(uint64_t off, uint32_t len)
{
    return fc_read(&file, NULL, off, len, buf, &got, &missed);
}

static bool hits(void)
{
    return read_at(0, BLOCK) == FC_DONE;
}

static void write_some(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLOCK);
    fc_write_end(&w);
}

static void write_outside(void)
{
    struct fc_write w;
    fc_write_begin_outside(&file, &w);
    fc_write_end(&w);
}

/* Has that command been asked since request `from`? Returns how often. */
static unsigned times(unsigned from, uint16_t command)
{
    unsigned n = 0;
    for (unsigned i = from; i < n_asked; i++)
        n += asked[i].head.command == command;
    return n;
}

/* The first request of that kind since `from`. */
static const struct asked *first(unsigned from, uint16_t command)
{
    static const struct asked none;
    for (unsigned i = from; i < n_asked; i++)
        if (asked[i].head.command == command)
            return &asked[i];
    harness_fail(__FILE__, __LINE__, "it was not asked");
    return &none;
}

/* ---- Lives ----------------------------------------------------------------------------------- */

/* L2: nobody is asked. L1: a handle is of one life. */
static void test_lives(void)
{
    begin();
    CHECK(!hits());
    CHECK_EQ(missed.ticket, 0);
    write_some();
    CHECK_EQ(n_asked, 0);
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    CHECK_EQ(buf[0], 'c');
    CHECK_EQ(first(0, CMP_READ)->head.file, 1);
    CHECK(hits());
    CHECK_EQ(times(0, CMP_OPEN), 1);
    fc_disconnect(&fc, 1);
    CHECK(!hits());
    const unsigned from = n_asked;
    service.handles = 40;
    CHECK(fc_connect(&fc, 2));
    CHECK(hits());
    CHECK_EQ(first(from, CMP_READ)->head.file, 41);
    CHECK_EQ(first(from, CMP_READ)->life, 2);
    fc_disconnect(&fc, 1); /* an old one */
    CHECK(hits());
    CHECK(!fc_connect(&fc, 1) && service.hung_up == 0); /* its thread comes late */
    CHECK(hits());
    CHECK_EQ(times(0, CMP_FORGET) + times(0, CMP_FORGET_ALL), 0); /* nothing was written */
}

/* L3: silence and nonsense end the life, and the read passes. */
static void test_bad_replies(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        service.silent = i == 0;
        service.nonsense = i == 1;
        CHECK(!hits());
        CHECK_EQ(service.hung_up, 1);
        CHECK_EQ(fc.counter[FC_LATE], 1);
        service.silent = service.nonsense = false;
        const unsigned from = n_asked;
        CHECK(!hits());
        write_some();
        CHECK_EQ(n_asked, from);
    }
    begin(); /* at the hello */
    service.silent = true;
    CHECK(!fc_connect(&fc, 1));
    CHECK_EQ(service.hung_up, 1);
}

/* L3: lengths that cannot be. A fill would take so much memory, and more than its message has. */
static void test_bad_lengths(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        begin();
        service.cached_to = 0;
        service.too_long = i == 0 ? DATA_MAX - BLOCK + 1 : i == 1 ? UINT32_MAX - BLOCK : 0;
        service.too_far = i == 2 ? (uint64_t)INT64_MAX - BLOCK + 1 : 0;
        service.too_much = i == 3 ? CMP_DATA_MAX - DATA_MAX + 1 : 0;
        CHECK_EQ(fc_connect(&fc, 1), i != 3);
        CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0);
        CHECK_EQ(service.hung_up, 1);
    }
    begin(); /* nothing is missing, and there is a ticket for it: no memory of 0 bytes for a fill */
    CHECK(fc_connect(&fc, 1));
    service.cached_to = 0;
    service.too_long = UINT32_MAX - BLOCK + 1;
    CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0);
}

/* Something that asks this command, in a thread that is ended meanwhile. */
static void ask_and_stop(int command)
{
    struct fc_sync s;
    const uint64_t outsides = fc.counter[FC_OUTSIDES];
    if (command == CMP_INVALIDATE) {
        write_outside();
        fc_tend(&fc);
    }
    if (command == CMP_OPEN)
        fc_file_done(&file);
    service.stops = command;
    if (command == CMP_SYNC_BEGIN)
        CHECK(!fc_sync_begin(&file, NULL, &s));
    else if (command == CMP_READ || command == CMP_INVALIDATE || command == CMP_OPEN)
        CHECK(!hits());
    else
        write_some();
    if (command == CMP_REVALIDATE)
        fc_settle(&file, NULL);
    service.stops = 0;
    if (command == CMP_REVALIDATE)
        CHECK(file.unsettled);
    CHECK_EQ(fc.counter[FC_OUTSIDES] - outsides,
             command == CMP_INVALIDATE || command == CMP_WRITE_BEGIN);
    fc_tend(&fc);
}

/* L6: programs that are killed. */
static void test_stopped(void)
{
    static const int commands[] = { CMP_READ,      CMP_INVALIDATE, CMP_REVALIDATE, CMP_OPEN,
                                    CMP_WRITE_END, CMP_SYNC_BEGIN, CMP_WRITE_BEGIN };
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        CASE("command %d", commands[i]);
        begin();
        CHECK(fc_connect(&fc, 1));
        for (unsigned n = 0; n < FC_LOST_MAX; n++) {
            CHECK(hits());
            CALL(ask_and_stop(commands[i]));
        }
        CHECK(hits() && service.hung_up == 0);
        CALL(ask_and_stop(commands[i]));
        CHECK_EQ(service.hung_up != 0, i >= 3); /* it may have left something */
        CHECK(fc_connect(&fc, 2) && hits());
        service.hung_up = 0;
        CALL(ask_and_stop(commands[i])); /* and what it left is gone */
        CHECK_EQ(service.hung_up, 0);
    }
    begin();
    CHECK(fc_connect(&fc, 1));
    service.cached_to = 0;
    CHECK_EQ(read_at(0, BLOCK), FC_PASS);
    service.stops = CMP_FILL;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK(service.hung_up == 0 && fc.counter[FC_FILLS] == 0);
}

/* L4 */
static void test_old_service(void)
{
    begin();
    service.hello_flags = CMP_STEERS;
    CHECK(!fc_connect(&fc, 1));
    CHECK_EQ(service.hung_up, 1);
    CHECK(!hits());
}

/* L5 */
static void test_another_pool(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 0);
    fc_disconnect(&fc, 2);
    service.pool = 9;
    CHECK(fc_connect(&fc, 3));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    CHECK(first(0, CMP_FORGET_ALL)->patient);
    CHECK(hits());
}

/* ---- Outside writes -------------------------------------------------------------------------- */

/* W3: what was written without a service is forgotten before anything is asked of it. */
static void test_written_before(void)
{
    begin();
    write_some();
    CHECK(!fc_is_settled(&fc));
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(asked[1].head.command, CMP_FORGET);
    CHECK(fc_is_settled(&fc));
    CHECK(hits());
    CHECK_EQ(times(0, CMP_FORGET), 1);
    struct cmp_forget m;
    struct cmp_open o;
    memcpy(&m, first(0, CMP_FORGET)->body, sizeof(m));
    memcpy(&o, first(0, CMP_OPEN)->body, sizeof(o));
    CHECK(m.id_hi == o.id_hi && m.id_lo == o.id_lo && m.gone == 0);
}

static struct fc_write pending;

static void end_the_life(void)
{
    fc_disconnect(&fc, 1);
}

/* W1: the life ends in a bracket, or the bracket is refused, or not confirmed. */
static void test_lost_brackets(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(!pending.outside);
    CHECK(fc_is_settled(&fc));
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    CHECK_EQ(times(0, CMP_FORGET), 1);
    CHECK(!hits()); /* W2: it lasts */
    CHECK_EQ(tends, 0);
    fc_write_end(&pending);
    CHECK_EQ(times(0, CMP_WRITE_END), 0);
    CHECK_EQ(tends, 1);
    CHECK(!hits()); /* W4 */
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 2);
    CHECK(hits());

    begin();
    CHECK(fc_connect(&fc, 1));
    service.refuse = CMP_WRITE_BEGIN;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside && !hits());
    CHECK_EQ(tends, 1); /* W3 */
    fc_write_end(&pending);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
    CHECK_EQ(fc.counter[FC_OUTSIDES], 1);

    begin();
    CHECK(fc_connect(&fc, 1));
    service.at = CMP_WRITE_BEGIN;
    service.meanwhile = end_the_life;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside && !fc_is_settled(&fc));
    fc_write_end(&pending);
    CHECK_EQ(file.outside + file.brackets, 0);
}

static void write_anything(void)
{
    fc_written_anything(&fc);
}

static void connect_again(void)
{
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
}

/* The life changes while the file is opened for a bracket: its handle is void. */
static void test_other_life_at_open(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    service.at = CMP_OPEN;
    service.meanwhile = connect_again;
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    CHECK(pending.outside || first(0, CMP_WRITE_BEGIN)->life == 2);
    fc_write_end(&pending);
    for (unsigned i = 0; i < n_asked; i++)
        CHECK(asked[i].life == 1 || asked[i].head.command != CMP_READ || asked[i].head.file != 1);
}

/* W2: an outside write in a life that goes on, as that of a mapping. */
static void test_lasting(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_write_begin_outside(&file, &pending);
    CHECK_EQ(tends, 1); /* its end may never come */
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(!hits());
    CHECK_EQ(times(0, CMP_FORGET), 1);
    fc_write_end(&pending);
    CHECK_EQ(tends, 2);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 2); /* what was stored during it is known */
    CHECK(hits());
}

static void look(void)
{
    const unsigned from = n_asked;
    CHECK(!hits());
    CHECK_EQ(n_asked, from);
    fc_tend(&fc); /* another thread is there */
    CHECK_EQ(n_asked, from);
    CHECK(!fc_is_settled(&fc));
}

static void look_and_write(void)
{
    look();
    write_outside();
    look(); /* two at a time would lose what the first one has taken out */
}

/* W4: while it is being forgotten it passes, and what is written meanwhile counts. */
static void test_while_forgotten(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    write_outside();
    service.at = CMP_FORGET;
    service.meanwhile = look;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 1);
    write_outside();
    service.meanwhile = look_and_write;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET), 3);
    CHECK(fc_is_settled(&fc) && hits());
    fc_written_anything(&fc); /* the same of all */
    CHECK(!hits());
    service.at = CMP_FORGET_ALL;
    service.meanwhile = look_and_write;
    fc_tend(&fc);
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    CHECK_EQ(times(0, CMP_FORGET), 4);
    CHECK(fc_is_settled(&fc) && hits());
}

/* W3: a service that does not forget is none, and the file stays in the set. */
static void test_not_forgotten(void)
{
    static const int commands[] = { CMP_FORGET, CMP_FORGET_ALL };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        begin();
        write_outside();
        if (i == 1)
            fc_written_anything(&fc);
        service.refuse = commands[i];
        (void)fc_connect(&fc, 1);
        CHECK_EQ(service.hung_up, 1);
        CHECK(!hits() && !fc_is_settled(&fc));
        service.refuse = 0;
        CHECK(fc_connect(&fc, 2));
        CHECK_EQ(times(0, (uint16_t)commands[i]), 2);
        CHECK(hits());
    }
}

/* W7: another stream of the same file, which a transaction has. */
static void test_transacted(void)
{
    struct fc_file own, other;
    const uint64_t id = 8;
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_file_init(&own, &fc);
    fc_know(&own, NULL);
    fc_transacted(&own);
    CHECK(!hits());
    fc_file_done(&own);
    fc_tend(&fc);
    connect_again();
    CHECK(!hits());
    write_some(); /* is told all the same */
    CHECK_EQ(fc.counter[FC_BRACKETS], 1);
    fc_file_init(&other, &fc);
    CHECK_EQ(fc_read(&other, &id, 0, BLOCK, buf, &got, &missed), FC_DONE);
    for (uint64_t i = 0; i < FC_TRANSACTED; i++) { /* so many: all files pass */
        uint64_t n = 100 + i;
        fc_file_init(&own, &fc);
        fc_know(&own, &n);
        fc_transacted(&own);
    }
    CHECK_EQ(fc_read(&other, &id, 0, BLOCK, buf, &got, &missed), FC_PASS);
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_file_init(&own, &fc); /* it may be any */
    fc_transacted(&own);
    CHECK(!hits());
}

static void write_file(uint64_t id)
{
    struct fc_file f;
    struct fc_write w;
    fc_file_init(&f, &fc);
    fc_know(&f, &id);
    fc_write_begin_outside(&f, &w);
    fc_write_end(&w);
}

/* W5: the set has a fixed size. What it has not room for is not lost. */
static void test_full_set(void)
{
    for (uint64_t n = 1; n <= 2 * SLOTS; n++) {
        CASE("%u files", (unsigned)n);
        begin();
        for (uint64_t i = 0; i < n; i++)
            write_file(100 + i);
        CHECK(fc_connect(&fc, 1));
        CHECK(fc_is_settled(&fc));
        if (n <= SLOTS - SLOTS / 4)
            CHECK(times(0, CMP_FORGET) == n && times(0, CMP_FORGET_ALL) == 0);
        else
            CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    }
    begin();
    for (unsigned i = 0; i < 100; i++)
        write_file(100); /* one file takes one place */
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(times(0, CMP_FORGET), 1);
}

/* W5: a file whose id is not known may be any. */
static void test_unknown_id(void)
{
    begin();
    facts_fail = true;
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
    write_some();
    facts_fail = false;
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(times(0, CMP_FORGET_ALL), 1);
    facts_fail = true; /* and it is not opened */
    fc_file_init(&file, &fc);
    CHECK(!hits());
    CHECK_EQ(times(0, CMP_OPEN), 0);
}

/* W6 */
static void test_used_before(void)
{
    begin();
    fc_written_anything(&fc);
    CHECK_EQ(tends, 0); /* there is nobody to tell */
    CHECK(fc_connect(&fc, 1));
    CHECK_EQ(asked[1].head.command, CMP_FORGET_ALL);
    CHECK(hits());
    fc_written_anything(&fc);
    CHECK_EQ(tends, 1);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
    fc_anything_begin(&fc); /* W2 */
    fc_tend(&fc);
    CHECK(!hits());
    fc_anything_end(&fc);
    CHECK(!hits());
    fc_tend(&fc);
    CHECK(hits());
}

/* ---- Brackets and fills ---------------------------------------------------------------------- */

/* B1, and what each kind of change asks for. */
static void test_brackets(void)
{
    struct fc_write w;
    struct cmp_range range;
    struct cmp_truncate size;
    struct cmp_end end;
    begin();
    CHECK(fc_connect(&fc, 1));
    fc_write_begin(&file, NULL, &w, FC_RANGE, 4711, 5);
    memcpy(&range, first(0, CMP_WRITE_BEGIN)->body, sizeof(range));
    CHECK(range.offset == 4711 && range.len == 5);
    CHECK_EQ(times(0, CMP_WRITE_END), 0);
    CHECK(hits()); /* the service knows which blocks */
    fc_write_end(&w);
    memcpy(&end, first(0, CMP_WRITE_END)->body, sizeof(end));
    CHECK(end.token == 77 && end.ok == 1);
    unsigned from = n_asked;
    fc_write_begin(&file, NULL, &w, FC_SIZE, 99, 0);
    memcpy(&size, first(from, CMP_TRUNCATE_BEGIN)->body, sizeof(size));
    CHECK_EQ(size.size, 99);
    fc_write_end(&w);
    CHECK_EQ(times(from, CMP_WRITE_END), 1);
    from = n_asked;
    fc_write_begin(&file, NULL, &w, FC_ALL, 0, 0);
    memcpy(&range, first(from, CMP_WRITE_BEGIN)->body, sizeof(range));
    CHECK(range.offset == 0 && range.len == UINT64_MAX);
    fc_write_end(&w);
    CHECK(fc_is_settled(&fc));
    CHECK_EQ(fc.counter[FC_BRACKETS], 3);
}

/* B1: any place that a program may name; the made-up service looks whether messages are sound. What
 * ends beyond the largest file is anything. */
static void test_far_writes(void)
{
    static const struct {
        uint64_t off, len;
        bool all;
    } far[] = { { INT64_MAX - 5, 5, false },
                { INT64_MAX - 5, 6, true },
                { INT64_MAX, UINT32_MAX, true },
                { UINT64_MAX - 5, 100, true },
                { (uint64_t)INT64_MAX + 1, 0, true } };
    begin();
    CHECK(fc_connect(&fc, 1));
    for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
        CASE("i %u", i);
        const unsigned from = n_asked;
        struct cmp_range range;
        fc_write_begin(&file, NULL, &pending, FC_RANGE, far[i].off, far[i].len);
        memcpy(&range, first(from, CMP_WRITE_BEGIN)->body, sizeof(range));
        CHECK_EQ(range.offset, far[i].all ? 0 : far[i].off);
        CHECK_EQ(range.len, far[i].all ? UINT64_MAX : far[i].len);
        fc_write_end(&pending);
    }
    const unsigned from = n_asked;
    fc_write_begin(&file, NULL, &pending, FC_SIZE, (uint64_t)INT64_MAX + 1, 0);
    CHECK_EQ(times(from, CMP_WRITE_BEGIN), 1);
    fc_write_end(&pending);
}

/* B2 */
static void test_fills(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    service.cached_to = BLOCK;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(missed.ticket != 0 && missed.offset == BLOCK && missed.len == BLOCK);
    fc_fill(&file, &missed, buf, BLOCK);
    struct cmp_fill m;
    memcpy(&m, first(0, CMP_FILL)->body, sizeof(m));
    CHECK(m.ticket == missed.ticket && m.flags == 0);
    CHECK_EQ(first(0, CMP_FILL)->head.file, first(0, CMP_READ)->head.file);
    unsigned from = n_asked;
    fc_fill(&file, &missed, buf, 100);
    memcpy(&m, first(from, CMP_FILL)->body, sizeof(m));
    CHECK_EQ(m.flags, CMP_FILL_EOF);
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK + 1);
    CHECK_EQ(n_asked, from);
    connect_again(); /* the shell sends it through the life that it names, which is over */
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK_EQ(first(from, CMP_FILL)->life, 1);
    missed.ticket = 0;
    from = n_asked;
    fc_fill(&file, &missed, buf, BLOCK);
    CHECK_EQ(n_asked, from);
}

static void pass_time(void)
{
    clock_ns += 2 * env.timeout_ns;
}

/* B3, and the end of a file. A read of many parts does not take longer than one message may. */
static void test_parts(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    memset(buf, 0, sizeof(buf));
    CHECK_EQ(read_at(BLOCK, 5 * BLOCK), FC_DONE);
    CHECK_EQ(got, 5 * BLOCK);
    CHECK_EQ(times(0, CMP_READ), 3);
    CHECK(buf[0] == 'c' && buf[5 * BLOCK - 1] == 'c' && buf[5 * BLOCK] == 0);
    CHECK_EQ(read_at(12 * BLOCK, 10 * BLOCK), FC_DONE);
    CHECK_EQ(got, 4 * BLOCK);
    service.ends = 20 * BLOCK; /* the file goes on, and that is not cached */
    CHECK_EQ(read_at(12 * BLOCK, 6 * BLOCK), FC_PASS);
    CHECK_EQ(missed.offset, 16 * BLOCK);
    service.moves = true;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK_EQ(missed.ticket, 0);
    CHECK(hits());
    service.moves = false;
    service.version = 0; /* not known */
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(hits());
    service.version = 1;
    service.at = CMP_READ;
    service.meanwhile = pass_time;
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_PASS);
    CHECK(hits());
    fc_file_done(&file);
    const unsigned from = n_asked;
    service.at = CMP_OPEN; /* which counts */
    service.meanwhile = pass_time;
    CHECK(read_at(0, 3 * BLOCK) == FC_PASS && times(from, CMP_READ) == 0);
    CHECK(hits());
    service.at = CMP_READ;
    service.meanwhile = pass_time;
    service.cached_to = 0;
    CHECK(read_at(0, BLOCK) == FC_PASS && missed.ticket == 0); /* no fill */
    service.cached_to = service.ends;
    service.at = CMP_READ;
    service.meanwhile = write_some; /* and what it wrote is cached again */
    CHECK(read_at(0, 3 * BLOCK) == FC_PASS && missed.ticket == 0);
    service.meanwhile = write_some;
    CHECK(hits()); /* one block */
    CHECK_EQ(read_at(0, 3 * BLOCK), FC_DONE);
}

static void change_size(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_SIZE, 9 * BLOCK, 0);
    fc_write_end(&w);
}

static void append(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, UINT64_MAX, 5);
    fc_write_end(&w);
}

/* B3: the service looks for one block after the other, and a write may come and go between two of
 * them. */
static void test_blocks(void)
{
    static const struct {
        void (*write)(void);
        uint64_t off;
        uint32_t len;
        bool hits;
    } c[] = {
        { write_some, 0, 2 * BLOCK, false },
        { write_some, BLOCK - 1, 2, false },
        { write_some, BLOCK, 2 * BLOCK, true }, /* it touches other blocks */
        { write_some, 0, BLOCK, true },         /* one block */
        { change_size, 4 * BLOCK, 2 * BLOCK, false },
        { append, 4 * BLOCK, 2 * BLOCK, false },
    };
    for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        service.at = CMP_READ;
        service.meanwhile = c[i].write;
        CHECK_EQ(read_at(c[i].off, c[i].len), c[i].hits ? FC_DONE : FC_PASS);
        CHECK_EQ(read_at(c[i].off, c[i].len), FC_DONE);
        CHECK(!file.readings);
    }
}

/* B5: before the first read of each life, and after each outside write. */
static void test_not_synced(void)
{
    struct cmp_range range;
    begin();
    write_some();
    for (uint32_t life = 1; life < 4; life++) {
        CASE("life %u", life);
        const unsigned from = n_asked;
        CHECK(fc_connect(&fc, life));
        CHECK(hits() && hits());
        CHECK_EQ(times(from, CMP_INVALIDATE), 1);
        memcpy(&range, first(from, CMP_INVALIDATE)->body, sizeof(range));
        CHECK(range.offset == 0 && range.len == UINT64_MAX);
        write_some();
        CHECK(hits() && times(from, CMP_INVALIDATE) == 1);
        write_outside();
        fc_tend(&fc);
        CHECK(hits() && hits());
        CHECK_EQ(times(from, CMP_INVALIDATE), 2);
        fc_disconnect(&fc, life);
    }
    CHECK(fc_connect(&fc, 4));
    service.refuse = CMP_INVALIDATE;
    CHECK(!hits() && asked[n_asked - 1].head.command == CMP_INVALIDATE);
    begin();
    CHECK(fc_connect(&fc, 1));
    write_some();
    CHECK(hits() && times(0, CMP_INVALIDATE) == 0);
    fc_written_anything(&fc);
    fc_tend(&fc);
    CHECK(hits() && hits() && times(0, CMP_INVALIDATE) == 1);
    fc_disconnect(&fc, 1);
    service.pool = 9;
    CHECK(fc_connect(&fc, 2) && hits());
    CHECK_EQ(times(0, CMP_INVALIDATE), 2);
}

/* B4 */
static void test_settle(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0); /* nothing was written */
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 0);
    fc_write_end(&pending);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    fc_settle(&file, NULL);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    fc_write_begin_outside(&file, &pending);
    fc_settle(&file, NULL);
    fc_write_end(&pending);
    CHECK_EQ(times(0, CMP_REVALIDATE), 1);
}

/* B4: the times may be those of a write that the service does not know of yet. */
static void test_settle_and_outside(void)
{
    static void (*const outside[])(void) = { write_outside, write_anything, connect_again };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        begin();
        CHECK(fc_connect(&fc, 1));
        CHECK(hits());
        write_some();
        at_facts = outside[i];
        fc_settle(&file, NULL);
        CHECK_EQ(times(0, CMP_REVALIDATE), 0);
        fc_tend(&fc);
        CHECK(hits());
        fc_settle(&file, NULL);
        CHECK_EQ(times(0, CMP_REVALIDATE), 1);
    }
}

static void test_syncs(void)
{
    struct fc_sync s;
    struct cmp_end end;
    begin();
    CHECK(!fc_sync_begin(&file, NULL, &s));
    fc_sync_end(&file, &s, true);
    CHECK_EQ(n_asked, 0);
    CHECK(fc_connect(&fc, 1));
    CHECK(fc_sync_begin(&file, NULL, &s));
    fc_sync_end(&file, &s, false);
    memcpy(&end, first(0, CMP_SYNC_END)->body, sizeof(end));
    CHECK(end.token == 77 && end.ok == 0);
}

/* Handles go when nobody uses the file; a deleted one is forgotten for good. */
static void test_ends(void)
{
    struct cmp_forget m;
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    fc_file_done(&file);
    CHECK_EQ(first(0, CMP_CLOSE)->head.file, 1);
    CHECK(hits());
    fc_gone(&file);
    CHECK_EQ(times(0, CMP_CLOSE), 1);
    fc_file_done(&file);
    CHECK_EQ(times(0, CMP_CLOSE), 2);
    memcpy(&m, first(0, CMP_FORGET)->body, sizeof(m));
    CHECK_EQ(m.gone, 1);
    CHECK(hits());
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
    fc_file_done(&file); /* its handle was of the old life */
    CHECK_EQ(times(0, CMP_CLOSE), 2);
}

static void delete_it(void)
{
    fc_gone(&file);
}

/* H1: it is deleted while others read and write it. */
static void test_deleted_in_use(void)
{
    begin();
    CHECK(fc_connect(&fc, 1));
    CHECK(hits());
    service.at = CMP_READ;
    service.meanwhile = delete_it;
    CHECK(hits());
    fc_write_begin(&file, NULL, &pending, FC_RANGE, 0, BLOCK);
    fc_gone(&file);
    fc_write_end(&pending);
    CHECK(hits() && times(0, CMP_OPEN) == 1);
    CHECK_EQ(times(0, CMP_CLOSE) + times(0, CMP_FORGET), 0);
    fc_file_done(&file);
    CHECK(times(0, CMP_CLOSE) == 1 && times(0, CMP_FORGET) == 1);
}

static const struct harness_test tests[] = {
    TEST(lives),
    TEST(bad_replies),
    TEST(bad_lengths),
    TEST(old_service),
    TEST(stopped),
    TEST(another_pool),
    TEST(written_before),
    TEST(lost_brackets),
    TEST(other_life_at_open),
    TEST(lasting),
    TEST(while_forgotten),
    TEST(not_forgotten),
    TEST(full_set),
    TEST(unknown_id),
    TEST(used_before),
    TEST(brackets),
    TEST(far_writes),
    TEST(fills),
    TEST(parts),
    TEST(not_synced),
    TEST(settle),
    TEST(blocks),
    TEST(transacted),
    TEST(settle_and_outside),
    TEST(syncs),
    TEST(ends),
    TEST(deleted_in_use),
    TEST_END,
};

extern const struct harness_test filter_rules_tests[];
static const struct harness_test *const tables[] = { filter_rules_tests, tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
