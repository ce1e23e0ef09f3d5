/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_session.c - the service without its transports: what clients ask, what they may not ask, and
 * writes that the service does not see.
 */
#include "fixture.h"

#include "../../examples/service/session.h"

/* What another thread does before the word `watched` of a file is changed. Once. */
static void (*before_watched)(void);
static struct served *watched_file;

static void others_run(const void *at)
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

/* Sends a request and takes the reply. Returns its result, or INT64_MIN if the connection ends. */
static int64_t ask(struct client *k, uint16_t command, uint32_t file, const void *body, size_t n,
                   const void *data, size_t data_len)
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
    const int64_t got = session_handle(k->s, message, h.bytes, out, sizeof(out), &why);
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

static struct client silent_client(uint32_t process)
{
    struct client k = { .s = session_begin(&service, process, CMP_DATA_MAX) };
    CHECK(k.s != NULL);
    return k;
}

static struct client client_of(uint32_t process)
{
    const struct cmp_hello m = { .magic = CMP_MAGIC, .oldest = 1 };
    struct client k = silent_client(process);
    CHECK_EQ(ASK(&k, CMP_HELLO, 0, m), 0);
    return k;
}

static struct client client(void)
{
    return client_of(1234);
}

static void service_up(void)
{
    memset(&outside, 0, sizeof(outside));
    REQUIRE(pool_new(&p, MIB) == 0);
    service_begin(&service, p.c, &outside, 5);
}

static void service_down(void)
{
    service_end(&service);
    pool_end(&p);
}

static struct cmp_validator version(uint64_t n)
{
    const cm_validator v = val(100 * BLK, n);
    struct cmp_validator m = {
        .taken_at = (uint64_t)later(), .size = v.size, .changed_ns = CM_CHANGED_LONG_AGO, .given = 1
    };
    memcpy(m.proof, v.proof, sizeof(m.proof));
    return m;
}

static uint32_t open_file(struct client *k, uint64_t id, uint64_t n)
{
    const cm_file_id file = { .lo = id };
    struct cmp_open m = { .id_lo = id, .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = version(n);
    CHECK_EQ(ASK(k, CMP_OPEN, 0, m), 0);
    return reply.head.file;
}

/* The same, while clients have written the file and not proved what it is now. */
static uint32_t open_unproved(struct client *k, uint32_t flags, uint64_t id, uint64_t n)
{
    const cm_file_id file = { .lo = id };
    struct cmp_open m = { .id_lo = id,
                          .flags = flags,
                          .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = version(n);
    CHECK_EQ(ASK(k, CMP_OPEN, 0, m), CM_IGNORED);
    return reply.head.file;
}

static int64_t read_block(struct client *k, uint32_t file, uint64_t block)
{
    const struct cmp_read m = { .offset = block * BLK, .len = BLK };
    return ASK(k, CMP_READ, file, m);
}

static int64_t read_whole(struct client *k, uint32_t file, uint64_t block, uint64_t n)
{
    const struct cmp_read m = { .offset = block * BLK,
                                .len = (uint32_t)(n * BLK),
                                .flags = CMP_READ_WHOLE };
    return ASK(k, CMP_READ, file, m);
}

static struct cmp_read_reply miss(void)
{
    struct cmp_read_reply r;
    memcpy(&r, reply.body, sizeof(r));
    return r;
}

static int64_t fill(struct client *k, uint32_t file, uint64_t ticket, uint8_t what)
{
    static uint8_t data[BLK];
    const struct cmp_fill m = { .ticket = ticket };
    memset(data, what, sizeof(data));
    return ask(k, CMP_FILL, file, &m, sizeof(m), data, sizeof(data));
}

/* Is the block there, with bytes `what`? 0: it is not. */
static uint8_t block_is(struct client *k, uint32_t file, uint64_t block)
{
    return read_block(k, file, block) == (int64_t)BLK ? reply.body[sizeof(struct cmp_read_reply)]
                                                      : 0;
}

static void store(struct client *k, uint32_t file, uint64_t block, uint8_t what)
{
    CHECK_EQ(read_block(k, file, block), 0);
    CHECK(miss().ticket != 0);
    CHECK_EQ(fill(k, file, miss().ticket, what), 0);
    CHECK_EQ(block_is(k, file, block), what);
}

static uint64_t begin_block(struct client *k, uint32_t file, uint64_t block)
{
    const struct cmp_range m = { .offset = block * BLK, .len = BLK };
    struct cmp_token_reply r = { 0 };
    CHECK_EQ(ASK(k, CMP_WRITE_BEGIN, file, m), 0);
    memcpy(&r, reply.body, sizeof(r));
    return r.token;
}

static int64_t end_token(struct client *k, uint32_t file, uint16_t command, uint64_t token,
                         uint64_t n)
{
    struct cmp_end m = { .token = token, .ok = 1 };
    if (n)
        m.validator = version(n);
    return ASK(k, command, file, m);
}

/* ---- What is asked --------------------------------------------------------------------------- */

static void test_read_and_fill(void)
{
    service_up();
    struct client a = client(), b = client();
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7), other = open_file(&b, 2, 7);
    store(&a, file, 3, 'x');
    CHECK_EQ(block_is(&b, same, 3), 'x');
    CHECK_EQ(block_is(&b, other, 3), 0);
    CHECK_EQ(miss().miss_offset, 3 * BLK);
    CHECK_EQ(read_block(&a, file, 200), 0); /* behind the end */
    CHECK_EQ(miss().flags, CMP_AT_END);
    const struct cmp_read m = { .offset = 2 * BLK, .len = 2 * BLK };
    CHECK_EQ(ASK(&a, CMP_READ, file, m), 0);
    CHECK(miss().ticket != 0);
    CHECK_EQ(read_whole(&a, file, 2, 2), CM_EABSENT);
    CHECK_EQ(read_whole(&a, file, 3, 1), BLK);
    CHECK_EQ(reply.body[sizeof(struct cmp_read_reply)], 'x');
    CHECK_EQ(miss().ticket, 0);
    CHECK_EQ(read_whole(&a, file, 100, 1), 0);
    CHECK_EQ(miss().flags, CMP_AT_END);
    CHECK_EQ(ask(&a, CMP_CLOSE, file, NULL, 0, NULL, 0), 0);
    session_end(a.s, true);
    CHECK_EQ(block_is(&b, same, 3), 'x');
    CHECK(ask(&b, CMP_STATS, 0, NULL, 0, NULL, 0) > 10);
    CHECK_EQ(reply.n, (size_t)reply.head.result * 8);
    session_end(b.s, true);
    service_down();
}

static int64_t revalidate(struct client *k, uint32_t file, uint64_t n)
{
    const struct cmp_revalidate m = { .validator = version(n) };
    return ASK(k, CMP_REVALIDATE, file, m);
}

/* A read that asks for the version: with bytes, with a miss, whole, and for nothing else. */
static void test_version(void)
{
    service_up();
    struct client a = client();
    struct cmp_read m = { .offset = 3 * BLK, .len = BLK, .flags = CMP_READ_VERSION };
    const struct cmp_read only = { .flags = CMP_READ_VERSION };
    const uint32_t file = open_file(&a, 1, 7);
    uint64_t first;
    CHECK_EQ(ASK(&a, CMP_READ, file, only), 0);
    first = miss().version;
    CHECK(first != 0);
    CHECK_EQ(miss().ticket, 0);
    CHECK_EQ(miss().flags, 0);
    CHECK_EQ(ASK(&a, CMP_READ, file, m), 0);
    CHECK_EQ(miss().version, first);
    store(&a, file, 3, 'x');
    CHECK_EQ(ASK(&a, CMP_READ, file, m), BLK);
    CHECK_EQ(miss().version, first);
    m.flags |= CMP_READ_WHOLE;
    CHECK_EQ(ASK(&a, CMP_READ, file, m), BLK);
    CHECK_EQ(miss().version, first);
    CHECK_EQ(revalidate(&a, file, 8), 0);
    CHECK_EQ(ASK(&a, CMP_READ, file, only), 0);
    CHECK(miss().version != first && miss().version != 0);
    session_end(a.s, true);
    service_down();
}

static void test_write(void)
{
    service_up();
    struct client a = client(), b = client();
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    store(&a, file, 3, 'x');
    store(&a, file, 4, 'y');
    CHECK_EQ(read_block(&b, same, 5), 0);
    const struct cmp_read_reply old = miss();
    uint64_t token = begin_block(&a, file, 3);
    CHECK_EQ(block_is(&b, same, 3), 0);
    CHECK_EQ(block_is(&b, same, 4), 'y');
    CHECK(end_token(&a, file, CMP_WRITE_END, token, 8) >= 0);
    token = begin_block(&a, file, 5);
    CHECK(end_token(&a, file, CMP_WRITE_END, token, 0) >= 0);
    CHECK_EQ(fill(&b, same, old.ticket, 'z'), 0); /* it was read before the write */
    CHECK_EQ(block_is(&b, same, 5), 0);
    store(&b, same, 3, 'X');
    CHECK_EQ(ask(&a, CMP_SYNC_BEGIN, file, NULL, 0, NULL, 0), 0);
    memcpy(&token, reply.body, sizeof(token));
    CHECK(end_token(&a, file, CMP_SYNC_END, token, 0) >= 0);
    const struct cmp_truncate m = { .size = 4 * BLK };
    CHECK_EQ(ASK(&a, CMP_TRUNCATE_BEGIN, file, m), 0);
    memcpy(&token, reply.body, sizeof(token));
    CHECK(end_token(&a, file, CMP_WRITE_END, token, 0) >= 0);
    CHECK_EQ(block_is(&b, same, 3), 'X');
    CHECK_EQ(block_is(&b, same, 4), 0);
    const struct cmp_range all = { .len = UINT64_MAX };
    CHECK_EQ(ASK(&a, CMP_INVALIDATE, file, all), 0);
    CHECK_EQ(block_is(&b, same, 3), 0);
    store(&b, same, 3, 'Y');
    const struct cmp_forget gone = { .id_lo = 1, .gone = 1 };
    CHECK_EQ(ASK(&a, CMP_FORGET, 0, gone), 0);
    CHECK_EQ(block_is(&b, same, 3), 0);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* ---- What is not asked ----------------------------------------------------------------------- */

static void test_out_of_place(void)
{
    static const uint8_t data[2 * BLK];
    service_up();
    struct client a = silent_client(1234), b = client();
    struct cmp_read m = { .len = 1 };
    struct cmp_hello hello = { .magic = CMP_MAGIC, .oldest = 2 };
    struct cmp_fill f = { .ticket = 77 };
    CHECK_EQ(ASK(&a, CMP_READ, 1, m), INT64_MIN);
    CHECK(strcmp(why, "it did not say hello") == 0);
    CHECK_EQ(ASK(&a, CMP_HELLO, 0, hello), INT64_MIN); /* only version 2 */
    session_end(a.s, true);
    hello.oldest = 1;
    CHECK_EQ(ASK(&b, CMP_HELLO, 0, hello), INT64_MIN);
    const uint32_t files[] = { 1, 2, 65536, 65537, UINT32_MAX };
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        CHECK_EQ(ASK(&b, CMP_READ, files[i], m), INT64_MIN);
        CHECK(strcmp(why, "a message names a file that is not open") == 0);
    }
    uint32_t file = open_file(&b, 1, 7), other = open_file(&b, 2, 7);
    CHECK_EQ(ASK(&b, CMP_FILL, file, f), INT64_MIN); /* it never got this ticket */
    CHECK_EQ(read_block(&b, file, 1), 0);
    f.ticket = miss().ticket;
    CHECK_EQ(ASK(&b, CMP_FILL, other, f), INT64_MIN);
    CHECK_EQ(read_block(&b, file, 99), 0); /* the last block: the miss ends there */
    f.ticket = miss().ticket;
    CHECK_EQ(ask(&b, CMP_FILL, file, &f, sizeof(f), data, 2 * BLK), INT64_MIN);
    CHECK_EQ(read_block(&b, file, 1), 0);
    f.ticket = miss().ticket;
    CHECK_EQ(ask(&b, CMP_FILL, file, &f, sizeof(f), data, 5), INT64_MIN); /* inside a block */
    CHECK_EQ(end_token(&b, file, CMP_WRITE_END, 0, 0), INT64_MIN);
    CHECK_EQ(end_token(&b, file, CMP_WRITE_END, 5000, 0), INT64_MIN);
    const uint64_t token = begin_block(&b, file, 1);
    CHECK_EQ(end_token(&b, other, CMP_WRITE_END, token, 0), INT64_MIN);
    CHECK_EQ(end_token(&b, file, CMP_SYNC_END, token, 0), INT64_MIN);
    CHECK(end_token(&b, file, CMP_WRITE_END, token, 0) >= 0);
    CHECK_EQ(end_token(&b, file, CMP_WRITE_END, token, 0), INT64_MIN);
    session_end(b.s, true);
    service_down();
}

/* A validator that is none ends the bracket all the same: else nothing could be stored there. */
static void test_bad_validator(void)
{
    service_up();
    struct client a = client(), b = client();
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    struct cmp_end m = { .token = begin_block(&a, file, 3), .ok = 1 };
    m.validator = version(8);
    m.validator.taken_at = 0;
    CHECK_EQ(ASK(&a, CMP_WRITE_END, file, m), CM_EINVAL);
    store(&b, same, 3, 'x');
    CHECK_EQ(ASK(&a, CMP_WRITE_END, file, m), INT64_MIN);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* Everything that a client can make is bounded, and what is too much is refused. */
static void test_bounds(void)
{
    service_up();
    service.open_max = 3;
    service.data_max = BLK;
    struct client a = client();
    struct cmp_open m = { .id_lo = 9 };
    struct cmp_range r = { .len = BLK };
    uint64_t first = 0;
    unsigned n = 0;
    uint32_t file = open_file(&a, 1, 7);
    struct cmp_read large = { .len = BLK + 1 };
    CHECK_EQ(ASK(&a, CMP_READ, file, large), INT64_MIN);
    (void)open_file(&a, 2, 7);
    (void)open_file(&a, 3, 7);
    CHECK_EQ(ASK(&a, CMP_OPEN, 0, m), CM_ENOMEM);
    CHECK_EQ(ask(&a, CMP_CLOSE, file, NULL, 0, NULL, 0), 0);
    file = open_file(&a, 4, 7);
    while (n < 2000 && ASK(&a, CMP_WRITE_BEGIN, file, r) == 0)
        n++;
    CHECK_EQ(reply.head.result, CM_ENOMEM);
    CHECK_EQ(n, 256);
    CHECK_EQ(ask(&a, CMP_CLOSE, file, NULL, 0, NULL, 0), 0); /* ends them all */
    file = open_file(&a, 4, 7);
    for (unsigned i = 0; i < 300; i++) {
        CHECK_EQ(read_block(&a, file, 1), 0);
        first = first ? first : miss().ticket;
    }
    CHECK_EQ(fill(&a, file, first, 'x'), 0); /* void, and no fault */
    CHECK_EQ(block_is(&a, file, 1), 0);
    CHECK_EQ(fill(&a, file, miss().ticket, 'x'), 0);
    CHECK_EQ(block_is(&a, file, 1), 'x');
    session_end(a.s, true);
    service_down();
}

/* ---- Writes that the service does not see ---------------------------------------------------- */

static void test_outside(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    service_up();
    struct client a = client(), b = client();
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    store(&a, file, 3, 'x');
    CHECK_EQ(read_block(&a, file, 4), 0);
    const struct cmp_read_reply old = miss();
    outside_begin(&outside, hash);
    CHECK_EQ(read_whole(&b, same, 3, 1), CM_EABSENT);
    CHECK_EQ(block_is(&b, same, 3), 0);
    CHECK_EQ(miss().ticket, 0); /* pass: no fill while somebody writes */
    CHECK_EQ(fill(&a, file, old.ticket, 'o'), 0);
    CHECK_EQ(block_is(&b, same, 4), 0);
    outside_end(&outside, hash);
    CHECK_EQ(block_is(&b, same, 3), 0);
    CHECK_EQ(block_is(&b, same, 4), 0);
    store(&b, same, 3, 'X');
    /* A fill that was read before the write comes after it: the next answer forgets it. */
    CHECK_EQ(read_block(&a, file, 4), 0);
    const struct cmp_read_reply late = miss();
    outside_begin(&outside, hash);
    outside_end(&outside, hash);
    CHECK_EQ(fill(&a, file, late.ticket, 'o'), 0);
    CHECK_EQ(block_is(&b, same, 4), 0);
    CHECK_EQ(block_is(&b, same, 3), 0);
    /* An open whose validator is older than a write that was not over. */
    store(&b, same, 3, 'Y');
    struct cmp_open m = { .id_lo = 1, .outside = outside_ended(&outside, hash) };
    outside_begin(&outside, hash);
    m.validator = version(7);
    CHECK_EQ(ASK(&a, CMP_OPEN, 0, m), CM_IGNORED);
    outside_end(&outside, hash);
    CHECK_EQ(block_is(&a, reply.head.file, 3), 0);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* Another client opens the file while a bracket is open. So its validator proves nothing, and does
 * not tell that the file was written outside before. */
static void test_outside_then_opened(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_file(&a, 1, 7);
    store(&a, file, 3, 'x');
    outside_begin(&outside, hash);
    outside_end(&outside, hash);
    struct cmp_open m = { .id_lo = 1, .outside = outside_ended(&outside, hash) };
    const uint64_t token = begin_block(&a, file, 50);
    m.validator = version(8);
    CHECK_EQ(ASK(&b, CMP_OPEN, 0, m), CM_IGNORED);
    const uint32_t same = reply.head.file;
    CHECK(end_token(&a, file, CMP_WRITE_END, token, 0) >= 0);
    CHECK_EQ(block_is(&b, same, 3), 0);
    CHECK_EQ(block_is(&a, file, 3), 0);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* ---- What clients claim ---------------------------------------------------------------------- */

static uint32_t open_with(struct client *k, uint32_t flags, uint64_t n)
{
    const cm_file_id file = { .lo = 1 };
    struct cmp_open m = { .id_lo = 1,
                          .flags = flags,
                          .outside = outside_ended(&outside, outside_hash(&file)) };
    m.validator = version(n);
    CHECK_EQ(ASK(k, CMP_OPEN, 0, m), 0);
    return reply.head.file;
}

/* The service is killed, and started again on the same pool. */
static void service_again(void)
{
    service_end(&service);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    service_begin(&service, p.c, &outside, 6);
}

/* Its own writes leave the file warm, also for others. Whoever does not claim it ends that. */
static void test_sole_writer(void)
{
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_with(&a, CM_SOLE_WRITER, 7);
    store(&a, file, 3, 'x');
    uint64_t token = begin_block(&a, file, 50);
    CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 0), CM_WANT_VALIDATOR);
    CHECK_EQ(revalidate(&a, file, 8), 0);
    CHECK_EQ(block_is(&a, file, 3), 'x');
    const uint32_t same = open_with(&b, CM_SOLE_WRITER, 8);
    token = begin_block(&b, same, 51);
    CHECK_EQ(end_token(&b, same, CMP_WRITE_END, token, 9), 0);
    CHECK_EQ(block_is(&a, file, 3), 'x');
    (void)open_with(&b, 0, 9);
    CHECK_EQ(block_is(&a, file, 3), 'x');
    token = begin_block(&a, file, 50);
    CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 10), CM_WANT_VALIDATOR);
    CHECK_EQ(revalidate(&a, file, 10), 0);
    CHECK_EQ(block_is(&a, file, 3), 0);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* The same, but the claim of the first client is no longer true: its mount has lost its name, and
 * somebody has written the directory since. What another client shows when it opens the file must
 * not be taken for the first one's own write. `how`: a write awaits its validator; the validator is
 * racy, and the other one looks the same. */
static void test_broken_claim(void)
{
    for (unsigned how = 0; how < 2; how++) {
        CASE("how %u", how);
        service_up();
        struct client a = client(), b = client();
        const uint32_t file = open_with(&a, CM_SOLE_WRITER, 7);
        store(&a, file, 3, 'x');
        const uint64_t token = begin_block(&a, file, 50);
        CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 0), CM_WANT_VALIDATOR);
        if (how == 1) {
            struct cmp_validator v = version(8);
            v.racy = CM_RACY_TIMES;
            CHECK_EQ(ASK(&a, CMP_REVALIDATE, file, v), 0);
            CHECK_EQ(block_is(&a, file, 3), 'x');
        }
        const uint32_t same = open_unproved(&b, CM_SOLE_WRITER, 1, 8);
        CHECK_EQ(block_is(&b, same, 3), 0);
        CHECK_EQ(block_is(&a, file, 3), 0);
        session_end(a.s, true);
        session_end(b.s, true);
        service_down();
    }
}

/* A validator that cannot be judged, because a bracket is open, may show a change that nobody else
 * has seen. `how`: it comes by an open, a revalidation. */
static void test_not_judged(void)
{
    for (unsigned how = 0; how < 2; how++) {
        CASE("how %u", how);
        service_up();
        struct client a = client(), b = client();
        struct cmp_open m = { .id_lo = 1 };
        const uint32_t file = open_file(&a, 1, 7);
        store(&a, file, 3, 'x');
        const uint64_t token = begin_block(&a, file, 50);
        m.validator = version(8);
        if (how == 0)
            CHECK_EQ(ASK(&b, CMP_OPEN, 0, m), CM_IGNORED);
        else
            CHECK_EQ(revalidate(&a, file, 8), CM_IGNORED);
        CHECK_EQ(block_is(&a, file, 3), 0);
        CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 0), CM_WANT_VALIDATOR);
        CHECK_EQ(block_is(&a, file, 3), 0);
        session_end(a.s, true);
        session_end(b.s, true);
        service_down();
    }
}

/* A sync has failed, as a list says. What is cached may not be what the origin has after a while,
 * and no validator shows it: nothing of the file is cached any more. */
static void test_sync_failed(void)
{
    const cm_file_id id = { .lo = 1 }, none = { .lo = 0 };
    for (unsigned open = 0; open < 2; open++) {
        CASE("open %u", open);
        service_up();
        struct client a = client();
        uint32_t file = open_file(&a, 1, 7);
        store(&a, file, 3, 'x');
        if (open == 0)
            CHECK_EQ(ask(&a, CMP_CLOSE, file, NULL, 0, NULL, 0), 0);
        CHECK(service_sync_failed(&service, &none));
        CHECK(service_sync_failed(&service, &id));
        if (open == 0)
            file = open_file(&a, 1, 7);
        CHECK_EQ(read_block(&a, file, 3), 0);
        CHECK_EQ(miss().ticket, 0);
        session_end(a.s, true);
        service_down();
    }
}

/* A write that the service does not see is running, and its times are set. A validator that shows
 * them must not become the file's as long as older blocks are there: after a kill nothing would
 * tell. `how`: it comes by a revalidation, the end of a bracket, the end of a sync, an open. */
static void test_sole_writer_outside(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    for (unsigned how = 0; how < 4; how++) {
        CASE("how %u", how);
        service_up();
        struct client a = client(), b = client();
        const uint32_t file = open_with(&a, CM_SOLE_WRITER, 7);
        store(&a, file, 3, 'x');
        uint64_t token = begin_block(&a, file, 50);
        if (how != 1)
            CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 0), CM_WANT_VALIDATOR);
        if (how == 2) {
            CHECK_EQ(ask(&a, CMP_SYNC_BEGIN, file, NULL, 0, NULL, 0), 0);
            memcpy(&token, reply.body, sizeof(token));
        }
        outside_begin(&outside, hash);
        if (how == 0) {
            CHECK_EQ(revalidate(&a, file, 8), CM_IGNORED);
        } else if (how == 3) {
            struct cmp_open m = { .id_lo = 1, .flags = CM_SOLE_WRITER };
            m.validator = version(8);
            CHECK_EQ(ASK(&b, CMP_OPEN, 0, m), CM_IGNORED);
        } else {
            CHECK(end_token(&a, file, how == 1 ? CMP_WRITE_END : CMP_SYNC_END, token, 8) > 0);
        }
        session_end(a.s, true);
        session_end(b.s, true);
        service_again();
        outside_end(&outside, hash);
        a = client();
        CHECK_EQ(block_is(&a, open_with(&a, CM_SOLE_WRITER, 8), 3), 0);
        session_end(a.s, true);
        service_down();
    }
}

/* An origin that may lose what was not synced, without a crash of this machine. */
static void test_volatile_origin(void)
{
    for (unsigned lost = 0; lost < 2; lost++) {
        const uint32_t flags = CM_SOLE_WRITER | (lost ? CM_ORIGIN_VOLATILE : 0);
        CASE("lost %u", lost);
        service_up();
        struct client a = client();
        const uint32_t file = open_with(&a, flags, 7);
        store(&a, file, 3, 'x');
        const uint64_t token = begin_block(&a, file, 50);
        CHECK_EQ(end_token(&a, file, CMP_WRITE_END, token, 8), 0);
        CHECK_EQ(block_is(&a, file, 3), 'x');
        session_end(a.s, true);
        service_again();
        a = client();
        CHECK_EQ(block_is(&a, open_with(&a, flags, 8), 3), lost ? 0 : 'x');
        session_end(a.s, true);
        service_down();
    }
}

/* To drop a claim that it does not know would be to guess what the claim is good for. */
static void test_other_claims(void)
{
    service_up();
    struct client a = client();
    const uint32_t others[] = { CM_EXCLUSIVE, CM_EXCLUSIVE | CM_SOLE_WRITER, 1u << 31 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        struct cmp_open m = { .id_lo = 1, .flags = others[i] };
        m.validator = version(7);
        CHECK_EQ(ASK(&a, CMP_OPEN, 0, m), CM_EINVAL);
    }
    (void)open_with(&a, 0, 7);
    session_end(a.s, true);
    service_down();
}

/* ---- Writes whose connection is lost --------------------------------------------------------- */

/* A connection is lost inside a bracket. The process lives on, and so may its write. */
static void test_lost(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    for (unsigned gone = 0; gone < 2; gone++) {
        CASE("gone %u", gone);
        service_up();
        struct client a = client(), b = client();
        uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
        store(&b, same, 4, 'x');
        const int claim = outside_claim(&outside, hash, 1234);
        (void)begin_block(&a, file, 3);
        session_end(a.s, gone);
        CHECK_EQ(block_is(&b, same, 4), 0);
        CHECK_EQ(read_block(&b, same, 3), 0);
        CHECK_EQ(miss().ticket != 0, gone);
        if (!gone)
            outside_free(&outside, claim);
        (void)read_block(&b, same, 3);
        store(&b, same, 3, 'y');
        session_end(b.s, true);
        service_down();
    }
    /* The service was killed inside a bracket. */
    service_up();
    const int claim = outside_claim(&outside, hash, 1234);
    struct client a = client();
    uint32_t file = open_file(&a, 1, 7);
    CHECK_EQ(read_block(&a, file, 3), 0);
    CHECK_EQ(miss().ticket, 0);
    outside_free(&outside, claim);
    (void)read_block(&a, file, 3);
    store(&a, file, 3, 'y');
    session_end(a.s, true);
    service_down();
}

/* The service cannot see the processes of two clients, so both have the number 0. One ends, and the
 * claim of the other one stays. */
static void test_lost_unseen(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    service_up();
    struct client a = client(), b = client_of(0), other = client_of(0);
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    const int claim = outside_claim(&outside, hash, 0);
    (void)begin_block(&b, same, 3);
    session_end(b.s, false);
    session_end(other.s, true);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(read_block(&a, file, 3), 0);
        CHECK_EQ(miss().ticket, 0);
    }
    outside_free(&outside, claim);
    (void)read_block(&a, file, 3);
    store(&a, file, 3, 'y');
    session_end(a.s, true);
    service_down();
}

static struct client lost;

/* Another thread loses a connection, whose write goes on. It waits for the file's lock, so without
 * the lock it does nothing now. */
static void lose_connection(void)
{
    const cm_file_id id = { .lo = 1 };
    if (!os_try_lock(&watched_file->lock))
        return;
    os_unlock(&watched_file->lock);
    (void)outside_claim(&outside, outside_hash(&id), 1234);
    session_end(lost.s, false);
    lost.s = NULL;
}

/* An answer finds that the writes of a lost connection have ended. Right after it has looked,
 * another connection is lost. */
static void test_lost_again(void)
{
    service_up();
    struct client a = client(), b = client();
    uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    (void)begin_block(&b, same, 3);
    session_end(b.s, false); /* its write has ended: it has no claim */
    lost = client();
    same = open_unproved(&lost, 0, 1, 7);
    (void)begin_block(&lost, same, 4);
    watched_file = *find(&service, &(cm_file_id){ .lo = 1 });
    before_watched = lose_connection;
    (void)read_block(&a, file, 9);
    CHECK(before_watched == NULL);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(read_block(&a, file, 4), 0);
        CHECK_EQ(miss().ticket, 0);
    }
    if (lost.s)
        session_end(lost.s, true);
    session_end(a.s, true);
    service_down();
}

static uint64_t below(uint64_t *rng, uint64_t n)
{
    *rng = *rng * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (*rng >> 16) % n;
}

/* A message of the right length with bytes that make sense now and then. Returns its length. */
static uint32_t make_noise(uint8_t message[4096], uint64_t *rng)
{
    struct cmp_head h = { .version = CMP_VERSION,
                          .command = (uint16_t)(below(rng, CMP_COMMANDS + 1)),
                          .file = (uint32_t)below(rng, 4) };
    int data;
    const uint32_t body = cmp_body(h.command, 0, &data);
    h.bytes = (uint32_t)sizeof(h) + (body == UINT32_MAX ? 8 : body) +
              (data && h.command == CMP_FILL ? (uint32_t)below(rng, 3) * 100 : 0);
    for (size_t k = 0; k < 4096; k += 8) {
        const uint64_t word = below(rng, 3) ? below(rng, 4) : below(rng, UINT64_MAX);
        memcpy(message + k, &word, 8);
    }
    memcpy(message, &h, sizeof(h));
    return h.bytes;
}

/* A client that sends noise ends its connection or gets an answer; others are served. */
static void test_noise(void)
{
    static uint8_t message[4096], out[CMP_MESSAGE_MAX];
    uint64_t rng = 1;
    unsigned ended = 0, answered = 0;
    service_up();
    service.open_max = 16;
    struct client b = client();
    uint32_t same = open_file(&b, 99, 7);
    store(&b, same, 3, 'x');
    struct client a = client();
    for (unsigned i = 0; i < 50000; i++) {
        const uint32_t n = make_noise(message, &rng);
        if (session_handle(a.s, message, n, out, sizeof(out), &why) < 0) {
            CHECK(why != NULL && *why);
            ended++;
            session_end(a.s, true);
            a = client();
        } else {
            answered++;
        }
    }
    CHECK(ended > 1000 && answered > 1000);
    CHECK_EQ(block_is(&b, same, 3), 'x');
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

struct noisy {
    struct os_thread thread;
    struct session *s;
    uint64_t rng;
    unsigned ended, answered;
};

static void noisy_main(void *arg)
{
    static __thread uint8_t message[4096], out[CMP_MESSAGE_MAX];
    struct noisy *t = arg;
    const char *own;
    for (unsigned i = 0; i < 20000; i++) {
        const uint32_t n = make_noise(message, &t->rng);
        if (session_handle(t->s, message, n, out, sizeof(out), &own) < 0)
            t->ended++;
        else
            t->answered++;
    }
}

/* Several threads handle messages of one client: files are closed under the requests of others. */
static void test_threads(void)
{
    static struct noisy t[4];
    service_up();
    service.open_max = 16;
    struct client b = client();
    uint32_t same = open_file(&b, 99, 7);
    store(&b, same, 3, 'x');
    struct client a = client();
    for (unsigned i = 0; i < 4; i++) {
        t[i] = (struct noisy){ .s = a.s, .rng = i };
        REQUIRE(os_thread_begin(&t[i].thread, noisy_main, &t[i]));
    }
    for (unsigned i = 0; i < 4; i++) {
        os_thread_join(&t[i].thread);
        CHECK(t[i].ended > 100 && t[i].answered > 100);
    }
    CHECK_EQ(block_is(&b, same, 3), 'x');
    session_end(a.s, true);
    CHECK_EQ(service.handles, 1);
    session_end(b.s, true);
    CHECK_EQ(service.handles, 0);
    service_down();
}

/* A service that sees other processes than the one before it, in a container, takes no number for a
 * process's. */
static void test_other_space(void)
{
    service_up();
    CHECK(service.has_names);
    service_end(&service);
    service_begin(&service, p.c, &outside, 6);
    CHECK(service.has_names);
    service_end(&service);
    outside.space++;
    service_begin(&service, p.c, &outside, 7);
    CHECK(!service.has_names);
    service_down();
}

static const struct harness_test tests[] = {
    TEST(read_and_fill),
    TEST(version),
    TEST(write),
    TEST(out_of_place),
    TEST(bounds),
    TEST(outside),
    TEST(outside_then_opened),
    TEST(sole_writer),
    TEST(broken_claim),
    TEST(not_judged),
    TEST(sync_failed),
    TEST(sole_writer_outside),
    TEST(volatile_origin),
    TEST(other_claims),
    TEST(lost),
    TEST(lost_unseen),
    TEST(lost_again),
    TEST(noise),
    TEST(threads),
    TEST(bad_validator),
    TEST(other_space),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
