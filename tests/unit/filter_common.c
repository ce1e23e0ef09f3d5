/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_common.c - a service that test_filter makes up (filter_common.h).
 *
 * Owns: what it was asked, and the file.
 */
#include "filter_common.h"

#include <stdlib.h>

/* ---- The service ----------------------------------------------------------------------------- */

struct asked asked[LOG_MAX];
unsigned n_asked;
struct service_state service;
bool facts_fail, facts_are_racy;
void (*at_facts)(void);
uint64_t file_id, clock_ns;
void (*at_clock)(void);
unsigned clock_calls;
unsigned tends;

static void answer_read(const struct cmp_read *m, struct cmp_head *h, uint8_t *body, uint32_t *n)
{
    struct cmp_read_reply r = { .version = service.version };
    const uint64_t to = service.cached_to < m->offset ? m->offset : service.cached_to;
    const uint32_t n_got = to - m->offset < m->len ? (uint32_t)(to - m->offset) : m->len;

    service.version += service.moves;
    if (n_got < m->len && to < service.ends) {
        r.ticket = ++service.ticket;
        r.miss_offset = to;
        r.miss_len = BLOCK + service.too_long;
        r.miss_offset += service.too_far;
    } else if (n_got < m->len) {
        r.flags = CMP_AT_END;
    }
    h->result = (int32_t)n_got;
    memcpy(body, &r, sizeof(r));
    memset(body + sizeof(r), 'c', n_got);
    *n = (uint32_t)sizeof(r) + n_got;
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

static bool facts(void *ctx, const void *via, struct fc_facts *f, bool only_id)
{
    void (*const meanwhile)(void) = at_facts;
    (void)ctx, (void)only_id;
    CHECK(!locked);
    at_facts = NULL;
    if (meanwhile)
        meanwhile();
    *f = (struct fc_facts){ .volume = 1, .file = { via ? *(const uint64_t *)via : file_id } };
    f->taken_at = clock_ns;
    f->racy = facts_are_racy;
    return !facts_fail;
}

static uint64_t now_ns(void *ctx)
{
    void (*const meanwhile)(void) = at_clock;
    (void)ctx;
    if (meanwhile && --clock_calls == 0) {
        at_clock = NULL;
        meanwhile();
    }
    return clock_ns;
}

const struct fc_env env = { .ask = ask,
                            .hang_up = hang_up,
                            .tend = tend,
                            .alloc = get_memory,
                            .free = give_back,
                            .lock = lock,
                            .unlock = unlock,
                            .facts = facts,
                            .now_ns = now_ns,
                            .timeout_ns = 1000000 };
struct fc fc;
struct fc_file file;
static struct fc_id set[SLOTS];
uint8_t buf[16 * BLOCK];
uint32_t got;
struct fc_read missed;
struct fc_write pending;

/* A filter without a service, and one file. */
void begin(void)
{
    memset(&service, 0, sizeof(service));
    service.hello_flags = CMP_STEERS | CMP_FORGETS_ALL;
    service.cached_to = service.ends = 16 * BLOCK;
    service.version = 5;
    service.pool = 3;
    n_asked = tends = 0;
    facts_fail = facts_are_racy = false;
    at_facts = at_clock = NULL;
    file_id = 7;
    fc_init(&fc, &env, set, SLOTS);
    fc_file_init(&file, &fc);
    fc_know(&file, NULL);
}

enum fc_answer read_at(uint64_t off, uint32_t len)
{
    return fc_read(&file, NULL, off, len, buf, &got, &missed);
}

bool hits(void)
{
    return read_at(0, BLOCK) == FC_DONE;
}

void write_some(void)
{
    struct fc_write w;
    fc_write_begin(&file, NULL, &w, FC_RANGE, 0, BLOCK);
    fc_write_end(&w);
}

void write_outside(void)
{
    struct fc_write w;
    fc_write_begin_outside(&file, &w);
    fc_write_end(&w);
}

/* Has that command been asked since request `from`? Returns how often. */
unsigned times(unsigned from, uint16_t command)
{
    unsigned n = 0;
    for (unsigned i = from; i < n_asked; i++)
        n += asked[i].head.command == command;
    return n;
}

/* The first request of that kind since `from`. */
const struct asked *first(unsigned from, uint16_t command)
{
    static const struct asked none;
    for (unsigned i = from; i < n_asked; i++)
        if (asked[i].head.command == command)
            return &asked[i];
    harness_fail(__FILE__, __LINE__, "it was not asked");
    return &none;
}

void write_anything(void)
{
    fc_written_anything(&fc);
}

void connect_again(void)
{
    fc_disconnect(&fc, 1);
    CHECK(fc_connect(&fc, 2));
}
