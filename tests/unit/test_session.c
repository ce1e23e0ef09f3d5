/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_session.c - the service without its transports: what clients ask, what they may not ask, and
 * writes that the service does not see.
 */
#include "session_fixture.h"

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

static struct client *revalidates; /* while a whole read is on its way */
static uint32_t revalidated;       /* its file */

int64_t __real_cm_read_whole(cm_file *f, uint64_t off, void *buf, size_t len, uint32_t flags);
int64_t __wrap_cm_read_whole(cm_file *f, uint64_t off, void *buf, size_t len, uint32_t flags);
int64_t __wrap_cm_read_whole(cm_file *f, uint64_t off, void *buf, size_t len, uint32_t flags)
{
    struct client *const k = revalidates;
    const int64_t n = __real_cm_read_whole(f, off, buf, len, flags);
    if (k) {
        revalidates = NULL;
        CHECK_EQ(revalidate(k, revalidated, 8), 0);
    }
    return n;
}

/* The file gets another version while a whole read is on its way. It is not known then which one
 * its bytes are of. */
static void test_version_beside(void)
{
    const struct cmp_read m = { .offset = 3 * BLK,
                                .len = BLK,
                                .flags = CMP_READ_WHOLE | CMP_READ_VERSION };
    service_up();
    struct client a = client(), b = client();
    const uint32_t file = open_file(&a, 1, 7);
    store(&a, file, 3, 'x');
    revalidated = open_file(&b, 1, 7);
    CHECK_EQ(ASK(&a, CMP_READ, file, m), BLK);
    CHECK(miss().version != 0);
    revalidates = &b;
    CHECK_EQ(ASK(&a, CMP_READ, file, m), BLK);
    CHECK_EQ(miss().version, 0);
    CHECK(revalidates == NULL);
    session_end(a.s, true);
    session_end(b.s, true);
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

/* Warming, counting, keeping. Asking for a file makes no record of it. */
static void test_steering(void)
{
    static uint8_t data[BLK];
    service_up();
    struct client a = client(), b = client();
    struct cmp_look_up id = { .id_lo = 1 };
    const struct cmp_forget gone = { .id_lo = 1 };
    struct cmp_keep keep = { .keep = 1 };
    struct cmp_pool_reply pool;
    CHECK_EQ(ASK(&a, CMP_LOOK_UP, 0, id), CM_EABSENT);
    const uint32_t file = open_file(&a, 1, 7), same = open_file(&b, 1, 7);
    CHECK_EQ(ASK(&a, CMP_LOOK_UP, 0, id), 0);
    id.id_lo = 2;
    CHECK_EQ(ASK(&a, CMP_LOOK_UP, 0, id), CM_EABSENT);
    CHECK_EQ(count_of(&a, file, 0, 100).cached, 0);
    CHECK_EQ(read_block(&a, file, 3), 0);
    struct cmp_fill f = { .ticket = miss().ticket };
    memset(data, 'x', sizeof(data));
    CHECK_EQ(ask(&a, CMP_WARM, file, &f, sizeof(f), data, BLK), 0);
    CHECK_EQ(block_is(&b, same, 3), 'x');
    CHECK_EQ(ask(&a, CMP_WARM, file, &f, sizeof(f), data, BLK), CM_NOT_STORED_STALE); /* twice */
    CHECK_EQ(read_block(&a, file, 4), 0);
    f.ticket = miss().ticket; /* and then it is written */
    CHECK(end_token(&b, same, CMP_WRITE_END, begin_block(&b, same, 4), 0) >= 0);
    CHECK_EQ(ask(&a, CMP_WARM, file, &f, sizeof(f), data, BLK), CM_NOT_STORED_STALE);
    CHECK_EQ(block_is(&b, same, 4), 0);
    CHECK_EQ(count_of(&a, file, 0, 100).cached, BLK);
    CHECK_EQ(count_of(&a, file, 4, 96).cached, 0);
    CHECK_EQ(count_of(&a, file, 3, 1).kept, 0);
    CHECK_EQ(ASK(&a, CMP_KEEP, file, keep), 0);
    CHECK_EQ(count_of(&b, same, 3, 1).kept, 1);
    CHECK_EQ(ask(&b, CMP_POOL, 0, NULL, 0, NULL, 0), 0);
    memcpy(&pool, reply.body, sizeof(pool));
    CHECK_EQ(pool.size, MIB);
    CHECK(pool.used > 0);
    CHECK_EQ(pool.kept_files, 1);
    CHECK_EQ(pool.kept_bytes, 100 * BLK);
    CHECK(pool.kept_max >= pool.kept_bytes && pool.slots > 0);
    keep.keep = 0;
    CHECK_EQ(ASK(&b, CMP_KEEP, same, keep), 0);
    CHECK_EQ(count_of(&a, file, 3, 1).kept, 0);
    CHECK_EQ(read_block(&a, file, 5), 0);
    f.ticket = miss().ticket;
    CHECK_EQ(ask(&a, CMP_WARM, file, &f, sizeof(f), data, 5), INT64_MIN); /* inside a block */
    keep.keep = 1;
    CHECK_EQ(ASK(&a, CMP_KEEP, file, keep), 0);
    CHECK_EQ(ASK(&b, CMP_FORGET, 0, gone), 1); /* the pin goes, too, and it says so */
    CHECK_EQ(ASK(&b, CMP_FORGET, 0, gone), 0);
    CHECK_EQ(count_of(&a, file, 3, 1).kept, 0);
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
    session_end(a.s, true);
    service_down();
}

/* A client has so many misses on their way that there are no tickets left. The first ones count.
 * What is never filled gives its place back after some time, and when its file is closed. */
static void test_many_tickets(void)
{
    enum { MOST = 1024, BY_OTHERS = 4 };
    static uint64_t ticket[MOST];
    service_up();
    service.ticket_ns = service.ticket_least_ns = UINT64_MAX / 4;
    struct client a = client();
    const uint32_t other = open_file(&a, 2, 7), file = open_file(&a, 1, 7);
    for (unsigned i = 0; i < MOST; i++) {
        CHECK_EQ(read_block(&a, i < BY_OTHERS ? other : file, i % 64), 0);
        ticket[i] = miss().ticket;
        CHECK(ticket[i] != 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(read_block(&a, file, 70), 0);
        CHECK_EQ(miss().ticket, 0);
        CHECK_EQ(miss().miss_len, BLK);
    }
    for (unsigned i = MOST - 64; i < MOST; i++) {
        CHECK_EQ(fill(&a, file, ticket[i], 'x'), 0);
        CHECK_EQ(block_is(&a, file, i % 64), 'x');
    }
    for (unsigned i = 0; i < 64; i++) { /* there is room again */
        CHECK_EQ(read_block(&a, file, 70), 0);
        CHECK(miss().ticket != 0);
    }
    CHECK_EQ(read_block(&a, file, 71), 0);
    CHECK_EQ(miss().ticket, 0);
    CHECK_EQ(ask(&a, CMP_CLOSE, other, NULL, 0, NULL, 0), 0);
    for (unsigned i = 0; i < BY_OTHERS; i++)
        store(&a, file, 72 + i, 'y');
    for (unsigned i = 0; i < BY_OTHERS; i++)
        CHECK(read_block(&a, file, 80) == 0 && miss().ticket != 0);
    CHECK_EQ(read_block(&a, file, 80), 0);
    CHECK_EQ(miss().ticket, 0);
    session_end(a.s, true);
    service_down();
}

/* They are all old: the next one takes the place of one of them, which is void, and no fault. */
static void test_old_tickets(void)
{
    enum { MANY = 1500 };
    static uint64_t ticket[MANY];
    service_up();
    service.ticket_ns = service.ticket_least_ns = 0;
    struct client a = client();
    const uint32_t file = open_file(&a, 1, 7);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK_EQ(read_block(&a, file, 1), 0);
        ticket[i] = miss().ticket;
        CHECK(ticket[i] != 0);
    }
    CHECK_EQ(fill(&a, file, ticket[0], 'x'), 0);
    CHECK_EQ(block_is(&a, file, 1), 0);
    CHECK_EQ(fill(&a, file, ticket[MANY - 1], 'x'), 0);
    CHECK_EQ(block_is(&a, file, 1), 'x');
    session_end(a.s, true);
    service_down();
}

/* Some are never filled. Once others are, those that are much older give their places back: a
 * client that is fast gets new tickets soon. */
static void test_tickets_never_filled(void)
{
    enum { ALL = 1024 };
    service_up();
    service.ticket_ns = UINT64_MAX / 4;
    service.ticket_least_ns = 0;
    struct client a = client();
    const uint32_t file = open_file(&a, 1, 7);
    const uint64_t began = os_now_ns();
    for (unsigned i = 0; i < ALL; i++)
        CHECK(read_block(&a, file, 1) == 0 && miss().ticket != 0);
    const uint64_t last = miss().ticket;
    CHECK_EQ(read_block(&a, file, 1), 0);
    CHECK_EQ(miss().ticket, 0);
    CHECK_EQ(fill(&a, file, last, 'x'), 0);
    const uint64_t longest = os_now_ns() - began;
    while (os_now_ns() - began < 10 * longest)
        os_sleep_ms(1);
    CHECK_EQ(block_is(&a, file, 1), 'x');
    for (unsigned i = 0; i < ALL; i++)
        CHECK(read_block(&a, file, 2) == 0 && miss().ticket != 0);
    session_end(a.s, true);
    service_down();
}

/* The table of a client's files grows, and what is closed in its middle is used again. */
static void test_many_files(void)
{
    enum { MANY = 600 };
    static uint32_t file[MANY];
    const struct cmp_open m = { .id_lo = 9 };
    service_up();
    service.open_max = MANY;
    struct client a = client();
    for (unsigned i = 0; i < MANY; i++)
        file[i] = open_file(&a, i + 1, 7);
    CHECK_EQ(ASK(&a, CMP_OPEN, 0, m), CM_ENOMEM);
    store(&a, file[300], 3, 'x');
    CHECK_EQ(ask(&a, CMP_CLOSE, file[257], NULL, 0, NULL, 0), 0);
    CHECK_EQ(open_file(&a, 1000, 7), file[257]);
    CHECK_EQ(block_is(&a, file[300], 3), 'x');
    CHECK_EQ(read_block(&a, MANY + 1, 3), INT64_MIN);
    session_end(a.s, true);
    CHECK_EQ(service.handles, 0);
    service_down();
}

/* Files of all clients together: who cannot open one learns why, and any of them how many it is. */
static void test_files(void)
{
    struct cmp_files_reply r;
    service_up();
    service.files_max = 3;
    struct client a = client(), b = client();
    const struct cmp_open m = { .id_lo = 9 };
    const uint32_t file = open_file(&a, 1, 7);
    (void)open_file(&a, 2, 7);
    (void)open_file(&b, 1, 7);
    CHECK_EQ(ASK(&b, CMP_OPEN, 0, m), CMP_FULL);
    CHECK_EQ(service.no_room, 1);
    CHECK_EQ(ask(&b, CMP_FILES, 0, NULL, 0, NULL, 0), 0);
    memcpy(&r, reply.body, sizeof(r));
    CHECK_EQ(r.open, 3);
    CHECK_EQ(r.max, 3);
    CHECK_EQ(ask(&a, CMP_CLOSE, file, NULL, 0, NULL, 0), 0);
    CHECK_EQ(ask(&b, CMP_FILES, 0, NULL, 0, NULL, 0), 0);
    memcpy(&r, reply.body, sizeof(r));
    CHECK_EQ(r.open, 2);
    (void)open_file(&b, 9, 7);
    CHECK_EQ(service.no_room, 1);
    session_end(a.s, true);
    session_end(b.s, true);
    service_down();
}

/* ---- Writes that the service does not see ---------------------------------------------------- */

static void test_outside(void)
{
    const struct cmp_read said = { .offset = 3 * BLK, .len = BLK, .flags = CMP_READ_VERSION };
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
    CHECK_EQ(ASK(&b, CMP_READ, same, said), 0);
    CHECK_EQ(miss().version, 0); /* nor is anything known of its version */
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
        CHECK_EQ(outside_is_claimed(&outside, hash), !gone);
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
    if (h.command == CMP_FORGET_ALL)
        h.file = 1; /* that makes no sense: else it would take what the others have */
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
        if (session_handle(a.s, true, message, n, out, sizeof(out), &why) < 0) {
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
        if (session_handle(t->s, true, message, n, out, sizeof(out), &own) < 0)
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
    TEST(read_and_fill),  TEST(version),
    TEST(version_beside), TEST(write),
    TEST(steering),       TEST(out_of_place),
    TEST(bounds),         TEST(many_tickets),
    TEST(old_tickets),    TEST(tickets_never_filled),
    TEST(outside),        TEST(outside_then_opened),
    TEST(lost),           TEST(lost_unseen),
    TEST(lost_again),     TEST(noise),
    TEST(threads),        TEST(bad_validator),
    TEST(other_space),    TEST(files),
    TEST(many_files),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
