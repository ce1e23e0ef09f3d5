/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_request_wake.c - requests that wait for other readers: woken, timed out, cancelled; and
 * requests without memory.
 */
#include "request_common.h"

#include <pthread.h>

/* ---- Waiting for another reader -------------------------------------------------------------- */

/* Counts its calls, and tries to call into the cache. */
static void count_wake(void *ctx, cm_request *r)
{
    cm_piece piece;
    at_add_acq_rel((uint32_t *)ctx, 1u);
    CHECK_EQ(cm_request_step(r, &piece), CM_ECALLBACK);
}

static cm_request waking(uint64_t offset, void *buf, uint64_t len, uint32_t *wakes)
{
    cm_request r = request(offset, buf, len);
    r.wake = count_wake;
    r.wake_ctx = wakes;
    return r;
}

enum how { LANDS, FAILS, CANCELLED };

/* The leader's piece comes back in one of these ways. The other request is woken once. */
static void check_joined(enum how how)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint32_t wakes = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request r = request(50 * BLK, room, 4 * BLK);
    cm_request late = waking(52 * BLK, room + MIB, BLK, &wakes);
    cm_piece piece, other;
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CHECK_EQ(cm_request_begin(f, &late), 0);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t now = cm_now();
        CHECK_EQ(cm_request_step(&late, &other), CM_REQUEST_WAIT);
        CHECK(late.deadline_ns > now + 28000000000u && late.deadline_ns < now + 31000000000u);
    }
    CHECK_EQ(wakes, 0);
    CHECK_EQ(STAT(p.c, flights_joined), 1);
    if (how == LANDS)
        CALL(complete(&r, &piece, &o));
    else
        CHECK_EQ(cm_request_complete(&r, &piece, how == FAILS ? -2000 : CM_ECANCELED), 0);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(cm_request_step(&late, &other), how == LANDS ? 0 : CM_REQUEST_READ);
    if (how != LANDS)
        CALL(complete(&late, &other, &o));
    CALL(drive(&late, &o));
    CHECK_EQ(cm_request_end(&late), BLK);
    CHECK(is_range(&o, 52 * BLK, room + MIB, BLK));
    if (how != CANCELLED)
        CHECK_EQ(cm_request_step(&r, &piece), 0);
    CHECK_EQ(cm_request_end(&r), how == LANDS   ? 4 * (int64_t)BLK
                                 : how == FAILS ? -2000
                                                : CM_ECANCELED);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(wakes, 1);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

static void test_joined(void)
{
    CALL(check_joined(LANDS));
}
static void test_leader_fails(void)
{
    CALL(check_joined(FAILS));
}
static void test_leader_cancelled(void)
{
    CALL(check_joined(CANCELLED));
}

/* 32 requests want the same blocks: one origin read. Each is woken once. */
static void test_herd(void)
{
    enum { HERD = 32 };
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_request r[HERD];
    uint32_t wakes[HERD] = { 0 };
    cm_file *f = open_both(&p, MIB, o.size);
    cm_piece piece, other;
    for (unsigned i = 0; i < HERD; i++) {
        CASE("i %u", i);
        r[i] = waking(50 * BLK + i, room + i * 8 * BLK, 3 * BLK, &wakes[i]);
        CHECK_EQ(cm_request_begin(f, &r[i]), 0);
        CHECK_EQ(cm_request_step(&r[i], i ? &other : &piece),
                 i ? CM_REQUEST_WAIT : CM_REQUEST_READ);
    }
    CALL(complete(&r[0], &piece, &o));
    for (unsigned i = 0; i < HERD; i++) {
        CASE("i %u", i);
        CHECK_EQ(wakes[i], i > 0);
        CALL(drive(&r[i], &o)); /* the block behind is read by the second request */
        CHECK_EQ(cm_request_end(&r[i]), 3 * BLK);
        CHECK(is_range(&o, 50 * BLK + i, room + i * 8 * BLK, 3 * BLK));
    }
    CHECK_EQ(STAT(p.c, flights_joined), HERD - 1);
    CHECK_EQ(STAT(p.c, origin_reads), 2);
    for (unsigned i = 0; i < HERD; i++) { /* exactly the same blocks: exactly one */
        CASE("i %u", i);
        r[i] = waking(70 * BLK, room + i * 8 * BLK, 3 * BLK, &wakes[i]);
        CHECK_EQ(cm_request_begin(f, &r[i]), 0);
        CHECK_EQ(cm_request_step(&r[i], i ? &other : &piece),
                 i ? CM_REQUEST_WAIT : CM_REQUEST_READ);
    }
    CALL(complete(&r[0], &piece, &o));
    for (unsigned i = 0; i < HERD; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_request_step(&r[i], &other), 0);
        CHECK_EQ(cm_request_end(&r[i]), 3 * BLK);
    }
    CHECK_EQ(STAT(p.c, origin_reads), 3);
    pool_end(&p);
}

/* A request waits for several readers one after the other, and reads side by side what it can. */
static void test_joins_again(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint32_t wakes = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request a = request(50 * BLK, room, 2 * BLK), b = request(54 * BLK, room + MIB / 2, 2 * BLK);
    cm_request r = waking(48 * BLK, room + MIB, 10 * BLK, &wakes);
    cm_piece pa, pb, piece, other;
    CHECK(cm_request_begin(f, &a) == 0 && cm_request_step(&a, &pa) == CM_REQUEST_READ);
    CHECK(cm_request_begin(f, &b) == 0 && cm_request_step(&b, &pb) == CM_REQUEST_READ);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ); /* up to a's */
    CHECK(piece.offset == 48 * BLK && piece.len == 2 * BLK);
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
    CHECK(r.deadline_ns > 0);
    CALL(complete(&a, &pa, &o));
    CHECK_EQ(wakes, 1);
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_READ); /* between a's and b's */
    CHECK(other.offset == 52 * BLK && other.len == 2 * BLK);
    CALL(complete(&r, &other, &o));
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
    CALL(complete(&r, &piece, &o));
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
    CALL(complete(&b, &pb, &o));
    CHECK_EQ(wakes, 2);
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 10 * BLK);
    CHECK(is_range(&o, 48 * BLK, room + MIB, 10 * BLK));
    CALL(drive(&a, &o));
    CALL(drive(&b, &o));
    CHECK(cm_request_end(&a) == 2 * (int64_t)BLK && cm_request_end(&b) == 2 * (int64_t)BLK);
    pool_end(&p);
}

/* The leader's fill is refused. The one that waited reads the origin and does not wait again. */
static void test_waits_once(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request a = request(50 * BLK, room, BLK), b = request(50 * BLK, room + MIB / 2, BLK);
    cm_request c = request(50 * BLK, room + MIB, BLK);
    cm_piece pa, pb, pc;
    CHECK(cm_request_begin(f, &a) == 0 && cm_request_step(&a, &pa) == CM_REQUEST_READ);
    CHECK(cm_request_begin(f, &b) == 0 && cm_request_step(&b, &pb) == CM_REQUEST_WAIT);
    CHECK(cm_request_begin(f, &c) == 0 && cm_request_step(&c, &pc) == CM_REQUEST_WAIT);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CALL(complete(&a, &pa, &o));
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_request_step(&b, &pb), CM_REQUEST_READ);
    CHECK_EQ(cm_request_step(&c, &pc), CM_REQUEST_READ);
    CALL(complete(&c, &pc, &o));
    CALL(complete(&b, &pb, &o));
    CALL(drive(&a, &o));
    CALL(drive(&b, &o));
    CALL(drive(&c, &o));
    CHECK(cm_request_end(&a) == (int64_t)BLK && cm_request_end(&b) == (int64_t)BLK &&
          cm_request_end(&c) == (int64_t)BLK);
    CHECK_EQ(look(f, 50, o.tag), RIGHT);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

/* A write comes between: its reader does not join, and nothing stale is stored. */
static void test_write_between(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK), old = o;
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request a = request(50 * BLK, room, BLK), b = request(50 * BLK, room + MIB, BLK);
    cm_piece pa, pb;
    CHECK(cm_request_begin(f, &a) == 0 && cm_request_step(&a, &pa) == CM_REQUEST_READ);
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    o.tag = 6;
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK(cm_request_begin(f, &b) == 0 && cm_request_step(&b, &pb) == CM_REQUEST_READ);
    CALL(complete(&b, &pb, &o));
    CALL(complete(&a, &pa, &old));
    CALL(drive(&b, &o));
    CHECK_EQ(cm_request_end(&b), BLK);
    CHECK(is_range(&o, 50 * BLK, room + MIB, BLK));
    CALL(drive(&a, &o));
    CHECK_EQ(cm_request_end(&a), BLK);
    CHECK(look(f, 50, 6) == RIGHT || look(f, 50, 6) == MISS);
    pool_end(&p);
}

/* The origin read of the leader takes too long. */
static void test_times_out(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint32_t wakes = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request r = request(50 * BLK, room, 4 * BLK);
    cm_request late = waking(51 * BLK, room + MIB, 2 * BLK, &wakes);
    cm_piece piece, other;
    CHECK(cm_request_begin(f, &r) == 0 && cm_request_step(&r, &piece) == CM_REQUEST_READ);
    late.join_timeout_ns = 20000000;
    CHECK_EQ(cm_request_begin(f, &late), 0);
    CHECK_EQ(cm_request_step(&late, &other), CM_REQUEST_WAIT);
    CHECK(late.deadline_ns != 0 && late.deadline_ns <= cm_now() + 20000000);
    while (cm_now() < late.deadline_ns)
        sleep_ms(1);
    CHECK_EQ(cm_request_step(&late, &other), CM_REQUEST_READ);
    CHECK(other.offset == 51 * BLK && other.len == 2 * BLK);
    CALL(complete(&late, &other, &o));
    CHECK_EQ(cm_request_step(&late, &other), 0);
    CHECK_EQ(cm_request_end(&late), 2 * BLK);
    CHECK(is_range(&o, 51 * BLK, room + MIB, 2 * BLK));
    memset(&late, 0xee, sizeof(late)); /* its memory may be gone when the leader lands */
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 4 * BLK);
    CHECK_EQ(wakes, 0);
    pool_end(&p);
}

/* A call that waits in its thread: it has a time limit, too. */
static void test_read_through_joins_briefly(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pool_make(&p, MIB, 0);
    p.o.join_timeout_ns = 30000000;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    cm_request r = request(50 * BLK, room, 4 * BLK);
    cm_piece piece;
    CHECK(cm_request_begin(f, &r) == 0 && cm_request_step(&r, &piece) == CM_REQUEST_READ);
    const uint64_t begin = cm_now();
    check_read(f, &o, 51 * BLK, room + MIB, BLK);
    CHECK(cm_now() - begin >= 30000000);
    CHECK_EQ(STAT(p.c, flights_joined), 1);
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 4 * BLK);
    pool_end(&p);
}

/* A request is cancelled while it waits. */
static void test_waiter_cancelled(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    uint32_t wakes = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request r = request(50 * BLK, room, 4 * BLK), late[3];
    cm_piece piece, other;
    CHECK(cm_request_begin(f, &r) == 0 && cm_request_step(&r, &piece) == CM_REQUEST_READ);
    for (unsigned i = 0; i < 3; i++) {
        late[i] = waking(51 * BLK, room + MIB, BLK, &wakes);
        CHECK(cm_request_begin(f, &late[i]) == 0 &&
              cm_request_step(&late[i], &other) == CM_REQUEST_WAIT);
    }
    for (unsigned i = 1; i < 4; i++) { /* from the middle, from the ends */
        CHECK_EQ(cm_request_end(&late[i % 3]), CM_ECANCELED);
        memset(&late[i % 3], 0xee, sizeof(late[0]));
    }
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 4 * BLK);
    CHECK_EQ(wakes, 0);
    CHECK_EQ(p.c->live, 0);
    pool_end(&p);
}

/* ---- The end and a wake at the same time ----------------------------------------------------- */

struct slow {
    uint32_t began, over; /* atomic */
};

static void slow_wake(void *ctx, cm_request *r)
{
    struct slow *s = ctx;
    (void)r;
    at_store_release(&s->began, 1u);
    sleep_ms(30);
    at_store_release(&s->over, 1u);
}

struct landing {
    cm_request *r;
    cm_piece *piece;
    struct origin *o;
};

static void *land_it(void *arg)
{
    struct landing *l = arg;
    complete(l->r, l->piece, l->o);
    return NULL;
}

/* cm_request_end() returns only when the wake of its request has returned: its context may go. */
static void test_end_waits_for_wake(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    for (unsigned step = 0; step < 2; step++) {
        CASE("step %u", step);
        struct slow s = { 0, 0 };
        const uint64_t at = (10 + step * 20) * BLK;
        cm_request r = request(at, room, BLK), late = request(at, room + MIB, BLK);
        cm_piece piece, other;
        pthread_t t;
        late.wake = slow_wake;
        late.wake_ctx = &s;
        CHECK(cm_request_begin(f, &r) == 0 && cm_request_step(&r, &piece) == CM_REQUEST_READ);
        CHECK(cm_request_begin(f, &late) == 0 && cm_request_step(&late, &other) == CM_REQUEST_WAIT);
        struct landing l = { &r, &piece, &o };
        CHECK_EQ(pthread_create(&t, NULL, land_it, &l), 0);
        while (at_load_acquire(&s.began) == 0)
            sleep_ms(1);
        if (step) { /* a step does not wait for the wake */
            CHECK_EQ(cm_request_step(&late, &other), 0);
            CHECK_EQ(at_load_acquire(&s.over), 0);
        }
        CHECK_EQ(cm_request_end(&late), step ? (int64_t)BLK : CM_ECANCELED);
        CHECK_EQ(at_load_acquire(&s.over), 1);
        memset(&late, 0xee, sizeof(late));
        (void)pthread_join(t, NULL);
        CALL(drive(&r, &o));
        CHECK_EQ(cm_request_end(&r), BLK);
    }
    pool_end(&p);
}

/* ---- Without memory -------------------------------------------------------------------------- */

/* Only the blocks of the reserve are left. Requests take one block at a time, wait for one, and
 * give up after the time limit. */
static void test_reserve(void)
{
    enum { MANY = CM_RESERVE + 2 };
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    uint32_t wakes[MANY] = { 0 };
    cm_request r[MANY];
    cm_piece piece[MANY];
    pool_make(&p, MIB, 0);
    make_poor(&p);
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    no_memory = 1;
    for (unsigned i = 0; i < MANY; i++) {
        CASE("i %u", i);
        r[i] = waking((10 + i * 20) * BLK + 1, room + i * 8 * BLK, 3 * BLK, &wakes[i]);
        r[i].join_timeout_ns = i + 1 == MANY ? 20000000 : 0;
        CHECK_EQ(cm_request_begin(f, &r[i]), 0);
        CHECK_EQ(cm_request_step(&r[i], &piece[i]),
                 i < CM_RESERVE ? CM_REQUEST_READ : CM_REQUEST_WAIT);
        if (i < CM_RESERVE)
            CHECK_EQ(piece[i].len, BLK);
    }
    CHECK(r[CM_RESERVE].deadline_ns > cm_now() + 20000000);
    cm_piece other; /* a request that has one does not wait for another one */
    CHECK_EQ(cm_request_step(&r[0], &other), CM_REQUEST_WAIT);
    CHECK_EQ(r[0].deadline_ns, 0);
    while (cm_now() < r[MANY - 1].deadline_ns)
        sleep_ms(1);
    CHECK_EQ(cm_request_step(&r[MANY - 1], &other), 0);
    CHECK_EQ(cm_request_end(&r[MANY - 1]), CM_ENOMEM);
    for (unsigned i = 0; i < MANY - 1; i++) {
        CASE("i %u", i);
        if (i < CM_RESERVE)
            CALL(complete(&r[i], &piece[i], &o));
        CALL(drive(&r[i], &o));
        CHECK_EQ(cm_request_end(&r[i]), 3 * BLK);
        CHECK(is_range(&o, r[i].offset, room + i * 8 * BLK, 3 * BLK));
    }
    CHECK_EQ(wakes[CM_RESERVE], 1);
    CHECK_EQ(wakes[MANY - 1], 0);
    CHECK_EQ(o.misaligned, 0);
    no_memory = 0;
    pool_end(&p);
}

const struct harness_test request_wake_tests[] = {
    TEST(joined),
    TEST(leader_fails),
    TEST(leader_cancelled),
    TEST(herd),
    TEST(joins_again),
    TEST(waits_once),
    TEST(write_between),
    TEST(times_out),
    TEST(read_through_joins_briefly),
    TEST(waiter_cancelled),
    TEST(end_waits_for_wake),
    TEST(reserve),
    TEST_END,
};
