/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_claims.c - the service without its transports: what clients claim of their files, and what
 * their validators and syncs prove.
 */
#include "session_fixture.h"

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

/* The same, and the client that made the sync tells it. `how`: 1: it is told as done; 2: a write
 * came before it. */
static void test_sync_told(void)
{
    for (unsigned how = 0; how < 4; how++) {
        CASE("how %u", how);
        struct cmp_end m = { .ok = how & 1 };
        service_up();
        struct client a = client();
        const uint32_t file = open_file(&a, 1, 7);
        store(&a, file, 3, 'x');
        if (how & 2)
            CHECK(end_token(&a, file, CMP_WRITE_END, begin_block(&a, file, 50), 0) >= 0);
        CHECK_EQ(ask(&a, CMP_SYNC_BEGIN, file, NULL, 0, NULL, 0), 0);
        memcpy(&m.token, reply.body, sizeof(m.token));
        CHECK_EQ(ASK(&a, CMP_SYNC_END, file, m), 0);
        CHECK_EQ(block_is(&a, file, 3), m.ok ? 'x' : 0);
        if (!m.ok)
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

/* Has the pool block 3 of the open file? */
static bool is_stored(const cm_file_id *id)
{
    static uint8_t buf[BLK];
    return cm_read_whole((*find(&service, id))->cf, 3 * BLK, buf, BLK, 0) == (int64_t)BLK;
}

/* A file was written outside, and to forget it waits for a disk. The thread of rings does not: its
 * clients get nothing of the file until another thread has forgotten it. */
static void test_ring_waits_for_no_disk(void)
{
    const cm_file_id id = { .lo = 1 };
    const uint64_t hash = outside_hash(&id);
    for (unsigned waits = 0; waits < 2; waits++) {
        CASE("waits %u", waits);
        service_up();
        service.hello_flags = waits ? 0 : CMP_RING_WRITES;
        struct client a = client();
        const uint32_t file = open_with(&a, 0, 7);
        store(&a, file, 3, 'x');
        outside_begin(&outside, hash);
        outside_end(&outside, hash);
        by_ring = true;
        CHECK_EQ(block_is(&a, file, 3), 0);
        CHECK_EQ(is_stored(&id), waits == 1);
        CHECK_EQ(block_is(&a, file, 3), 0);
        service_catch_up_all(&service);
        CHECK(!is_stored(&id));
        CHECK_EQ(block_is(&a, file, 3), 0);
        by_ring = false;
        store(&a, file, 3, 'y');
        by_ring = true;
        CHECK_EQ(block_is(&a, file, 3), 'y');
        by_ring = false;
        session_end(a.s, true);
        service_catch_up_all(&service); /* nobody has it open */
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

/* The library refuses a file, and nothing of it is left. */
static void test_open_fails(void)
{
    const cm_file_id id = { .lo = 1 };
    struct cmp_open m = { .id_lo = 1 };
    service_up();
    struct client a = client();
    m.validator = version(7);
    m.validator.size = UINT64_MAX - 1;
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(ASK(&a, CMP_OPEN, 0, m), CM_EINVAL);
    CHECK_EQ(service_files(&service), 0);
    CHECK(*find(&service, &id) == NULL);
    (void)open_with(&a, 0, 7);
    CHECK_EQ(service_files(&service), 1);
    session_end(a.s, true);
    service_down();
}

static const struct harness_test tests[] = {
    TEST(sole_writer),  TEST(broken_claim),           TEST(not_judged),
    TEST(sync_failed),  TEST(sole_writer_outside),    TEST(volatile_origin),
    TEST(other_claims), TEST(ring_waits_for_no_disk), TEST(sync_told),
    TEST(open_fails),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
