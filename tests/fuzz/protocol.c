/* SPDX-License-Identifier: BSD-2-Clause
 *
 * protocol.c - fuzz target: the service's end of its protocol, without its transports.
 *
 * Three clients of one service send messages. A message of the input is whole (its length is that
 * of its command, its fields are the input's) or any bytes. Every reply must be sound, and a client
 * that was refused stays away. What clients store is theirs to choose: contents are not compared.
 */
#include "fuzz.h"

#include "session.h"

#define CLIENTS 3u
#define STEPS 60u
#define POOL_BYTES (UINT64_C(640) << 10)
#define ROOM 20000u

static uint8_t *pool_now, *pool_new;
static struct outside outside;
static struct service service;

static void set_up(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;

    if (pool_now)
        return;
    pool_now = aligned_alloc(CM_BLOCK_SIZE, POOL_BYTES);
    pool_new = aligned_alloc(CM_BLOCK_SIZE, POOL_BYTES);
    FUZZ_CHECK(pool_now && pool_new);
    memset(pool_new, 0, POOL_BYTES);
    FUZZ_CHECK(cm_format_memory(pool_new, POOL_BYTES, &o) == 0);
}

/* A validator as files have them; of any bytes seldom one is new enough. */
static void make_validator(struct fuzz_input *in, uint8_t *at)
{
    struct cmp_validator v = { .taken_at = cm_now(), .given = take_byte(in) & 1 };

    if (v.given) {
        v.size = take_number(in, 3);
        v.changed_ns = CM_CHANGED_LONG_AGO;
        v.racy = take_byte(in) & 15;
        v.proof[0] = take_byte(in);
    } else {
        v.taken_at = 0;
    }
    memcpy(at, &v, sizeof(v));
}

/* A message whose lengths are right. */
static size_t make_sound(struct fuzz_input *in, uint8_t *m, uint8_t how)
{
    struct cmp_head h = { .version = CMP_VERSION, .command = 1 + take_byte(in) % CMP_COMMANDS };
    int has_data;
    size_t n = cmp_body(h.command, 0, &has_data), data = 0, got;
    const uint8_t *bytes;

    if (n == UINT32_MAX)
        n = 0;
    h.file = cmp_has_file(h.command) ? take_byte(in) : 0;
    h.tag = take_byte(in);
    memset(m, 0, ROOM);
    got = take_bytes(in, n, &bytes);
    if (got > 0)
        memcpy(m + sizeof(h), bytes, got);
    if (how & 2) { /* small numbers, that mean something */
        for (size_t i = 0; i + 8 <= n; i += 8)
            memset(m + sizeof(h) + i + 3, 0, 5);
        if (h.command == CMP_OPEN || h.command == CMP_WRITE_END || h.command == CMP_SYNC_END ||
            h.command == CMP_REVALIDATE)
            make_validator(in, m + sizeof(h) + n - sizeof(struct cmp_validator));
        if (h.command == CMP_HELLO)
            memcpy(m + sizeof(h), &(struct cmp_hello){ CMP_MAGIC, 1, how >> 2 & 1, 0 },
                   sizeof(struct cmp_hello));
    }
    if (has_data)
        data = how & 4 ? CM_BLOCK_SIZE * (1 + take_byte(in) % 3u) : take_number(in, 2) % 9000;
    h.bytes = (uint32_t)(sizeof(h) + n + data);
    memcpy(m, &h, sizeof(h));
    return h.bytes;
}

/* False: the connection ends. */
static bool step(struct session *s, struct fuzz_input *in)
{
    static uint8_t whole[ROOM];
    const uint8_t how = take_byte(in);
    const size_t room = how & 0x40 ? CMP_REPLY_MIN + take_byte(in) : ROOM;
    const uint8_t *bytes = whole;
    const char *why = NULL;
    uint8_t *message, *reply;
    size_t n;
    int64_t got;

    if (how & 1)
        n = make_sound(in, whole, how);
    else
        n = take_bytes(in, take_byte(in), &bytes);
    message = malloc(n ? n : 1);
    reply = malloc(room);
    FUZZ_CHECK(message && reply);
    if (n > 0)
        memcpy(message, bytes, n);
    got = session_handle(s, !(how & 0x80), message, n, reply, room, &why);
    FUZZ_CHECK(got <= (int64_t)room && (got >= 0 || (why && *why)));
    if (got > 0)
        FUZZ_CHECK(cmp_check(reply, (size_t)got, 1) == CMP_SOUND);
    free(message);
    free(reply);
    return got >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = { data, size };
    struct session *s[CLIENTS] = { NULL };
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c;

    set_up();
    memcpy(pool_now, pool_new, POOL_BYTES);
    memset(&outside, 0, sizeof(outside));
    o.flags = CM_OPEN_NO_TUNING;
    FUZZ_CHECK(cm_open_memory(pool_now, POOL_BYTES, &o, &c) == 0);
    service_begin(&service, c, &outside, 5);
    service.open_max = 40; /* a session looks at all of its handles when it ends */
    for (unsigned i = 0; i < STEPS && in.left > 0; i++) {
        const uint8_t who = take_byte(&in);
        struct session **const at = &s[who % CLIENTS];

        if (!*at)
            *at = session_begin(&service, 100 + who % CLIENTS, CMP_DATA_MAX);
        FUZZ_CHECK(*at != NULL);
        if (!step(*at, &in) || who >= 250) {
            session_end(*at, who & 1);
            *at = NULL;
        }
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        if (s[i])
            session_end(s[i], true);
    service_end(&service);
    FUZZ_CHECK(cm_close(c) == 0);
    return 0;
}
