/* SPDX-License-Identifier: BSD-2-Clause
 *
 * session_fixture.h - the service without its transports, over a pool in memory, and clients that
 * ask it.
 */
#ifndef SESSION_FIXTURE_H
#define SESSION_FIXTURE_H

#include "fixture.h"

#include "../../examples/service/session.h"

/* What another thread does before the word `watched` of a file is changed. Once. */
static void (*before_watched)(void);
static struct served *watched_file;

static inline void others_run(const void *at)
{
    void (*const run)(void) = before_watched;
    if (!run || at != &watched_file->watched)
        return;
    before_watched = NULL;
    run();
}

#undef atomic_store
#define atomic_store(at, to) (others_run(at), atomic_store_explicit(at, to, memory_order_seq_cst))
#include "../../examples/service/served.c"

static struct pool p;
static struct outside outside;
static struct service service;
static const char *why;

/* ---- A client -------------------------------------------------------------------------------- */

struct client {
    struct session *s;
    uint64_t tag;
};
static struct {
    struct cmp_head head;
    uint8_t body[CMP_MESSAGE_MAX];
    size_t n; /* of the body */
} reply;

static bool by_ring; /* requests come by a ring */

/* Sends a request and takes the reply. Returns its result, or INT64_MIN if the connection ends. */
static inline int64_t ask(struct client *k, uint16_t command, uint32_t file, const void *body,
                          size_t n, const void *data, size_t data_len)
{
    static uint8_t message[CMP_MESSAGE_MAX], out[CMP_MESSAGE_MAX];
    struct cmp_head h = { .bytes = (uint32_t)(sizeof(h) + n + data_len),
                          .version = CMP_VERSION,
                          .command = command,
                          .tag = ++k->tag,
                          .file = file };
    memcpy(message, &h, sizeof(h));
    if (n > 0)
        memcpy(message + sizeof(h), body, n);
    if (data_len > 0)
        memcpy(message + sizeof(h) + n, data, data_len);
    const int64_t got = session_handle(k->s, !by_ring, message, h.bytes, out, sizeof(out), &why);
    if (got < 0)
        return INT64_MIN;
    CHECK_EQ(got == 0, command == CMP_FILL);
    if (got == 0)
        return 0;
    CHECK_EQ(cmp_check(out, (size_t)got, 1), CMP_SOUND);
    memcpy(&reply.head, out, sizeof(reply.head));
    CHECK_EQ(reply.head.tag, k->tag);
    CHECK_EQ(reply.head.command, command);
    reply.n = (size_t)got - sizeof(h);
    memcpy(reply.body, out + sizeof(h), reply.n);
    return reply.head.result;
}
#define ASK(k, command, file, body) ask(k, command, file, &(body), sizeof(body), NULL, 0)

static inline struct client silent_client(uint32_t process)
{
    struct client k = { .s = session_begin(&service, process, CMP_DATA_MAX) };
    CHECK(k.s != NULL);
    return k;
}

static inline struct client client_of(uint32_t process)
{
    const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = 1 };
    struct client k = silent_client(process);
    CHECK_EQ(ASK(&k, CMP_HELLO, 0, m), 0);
    return k;
}

static inline struct client client(void)
{
    return client_of(1234);
}

static inline void service_up(void)
{
    memset(&outside, 0, sizeof(outside));
    REQUIRE(pool_new(&p, MIB) == 0);
    service_begin(&service, p.c, &outside, 5);
}

static inline void service_down(void)
{
    service_end(&service);
    pool_end(&p);
}

static inline struct cmp_validator version(uint64_t n)
{
    const cm_validator v = val(100 * BLK, n);
    struct cmp_validator m = {
        .taken_at = (uint64_t)later(), .size = v.size, .changed_ns = CM_CHANGED_LONG_AGO, .given = 1
    };
    memcpy(m.proof, v.proof, sizeof(m.proof));
    return m;
}

static inline uint32_t open_file(struct client *k, uint64_t id, uint64_t n)
{
    const cm_file_id file = { .lo = id };
    struct cmp_open m = { .id_lo = id, .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = version(n);
    CHECK_EQ(ASK(k, CMP_OPEN, 0, m), 0);
    return reply.head.file;
}

/* The same, while clients have written the file and not proved what it is now. */
static inline uint32_t open_unproved(struct client *k, uint32_t flags, uint64_t id, uint64_t n)
{
    const cm_file_id file = { .lo = id };
    struct cmp_open m = { .id_lo = id,
                          .flags = flags,
                          .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = version(n);
    CHECK_EQ(ASK(k, CMP_OPEN, 0, m), CM_IGNORED);
    return reply.head.file;
}

static inline int64_t read_block(struct client *k, uint32_t file, uint64_t block)
{
    const struct cmp_read m = { .offset = block * BLK, .len = BLK };
    return ASK(k, CMP_READ, file, m);
}

static inline int64_t read_whole(struct client *k, uint32_t file, uint64_t block, uint64_t n)
{
    const struct cmp_read m = { .offset = block * BLK,
                                .len = (uint32_t)(n * BLK),
                                .flags = CMP_READ_WHOLE };
    return ASK(k, CMP_READ, file, m);
}

static inline struct cmp_read_reply miss(void)
{
    struct cmp_read_reply r;
    memcpy(&r, reply.body, sizeof(r));
    return r;
}

static inline int64_t fill(struct client *k, uint32_t file, uint64_t ticket, uint8_t what)
{
    static uint8_t data[BLK];
    const struct cmp_fill m = { .ticket = ticket };
    memset(data, what, sizeof(data));
    return ask(k, CMP_FILL, file, &m, sizeof(m), data, sizeof(data));
}

/* Is the block there, with bytes `what`? 0: it is not. */
static inline uint8_t block_is(struct client *k, uint32_t file, uint64_t block)
{
    return read_block(k, file, block) == (int64_t)BLK ? reply.body[sizeof(struct cmp_read_reply)]
                                                      : 0;
}

static inline void store(struct client *k, uint32_t file, uint64_t block, uint8_t what)
{
    CHECK_EQ(read_block(k, file, block), 0);
    CHECK(miss().ticket != 0);
    CHECK_EQ(fill(k, file, miss().ticket, what), 0);
    CHECK_EQ(block_is(k, file, block), what);
}

static inline uint64_t begin_block(struct client *k, uint32_t file, uint64_t block)
{
    const struct cmp_range m = { .offset = block * BLK, .len = BLK };
    struct cmp_token_reply r = { 0 };
    CHECK_EQ(ASK(k, CMP_WRITE_BEGIN, file, m), 0);
    memcpy(&r, reply.body, sizeof(r));
    return r.token;
}

static inline int64_t end_token(struct client *k, uint32_t file, uint16_t command, uint64_t token,
                                uint64_t n)
{
    struct cmp_end m = { .token = token, .ok = 1 };
    if (n)
        m.validator = version(n);
    return ASK(k, command, file, m);
}

static inline int64_t revalidate(struct client *k, uint32_t file, uint64_t n)
{
    const struct cmp_revalidate m = { .validator = version(n) };
    return ASK(k, CMP_REVALIDATE, file, m);
}

static inline struct cmp_count_reply count_of(struct client *k, uint32_t file, uint64_t block,
                                              uint64_t n)
{
    const struct cmp_count m = { .offset = block * BLK, .len = n * BLK };
    struct cmp_count_reply r;
    CHECK_EQ(ASK(k, CMP_COUNT, file, m), 0);
    memcpy(&r, reply.body, sizeof(r));
    return r;
}

#endif
