/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_warm_threads.c - cm_warm() beside other calls: joined reads, closing, and threads that end
 * in its callbacks.
 */
#include "warm_common.h"

#include <pthread.h>

#include "api/flight.h"

struct warmer {
    cm_file *f;
    struct origin *o;
    const cm_warm_options *opts;
    cm_warm_report r;
    int result;
    int at_end; /* of a read when the thread ends inside the call */
    pthread_t t;
};

static void read_at_end(void *arg)
{
    struct warmer *w = arg;
    uint8_t byte;
    w->at_end = (int)cm_read(w->f, 0, &byte, 1, NULL);
}

static void *run_warmer(void *arg)
{
    struct warmer *w = arg;
    pthread_cleanup_push(read_at_end, w);
    w->result = warm(w->f, 0, CM_ALL, w->opts, w->o, &w->r);
    pthread_cleanup_pop(0);
    return NULL;
}

static void start(struct warmer *w)
{
    w->result = 1;
    CHECK_EQ(pthread_create(&w->t, NULL, run_warmer, w), 0);
}

static void until(const uint32_t *counter, uint32_t n)
{
    for (int i = 0; i < 60000 && at_load_acquire(counter) < n; i++)
        sleep_ms(1);
    CHECK(at_load_acquire(counter) >= n);
}

static void until_joined(cm_cache *c)
{
    for (int i = 0; i < 60000 && STAT(c, flights_joined) < 1; i++)
        sleep_ms(1);
    CHECK_EQ(STAT(c, flights_joined), 1);
}

/* ---- Joined reads ---------------------------------------------------------------------------- */

/* A reader is reading some of the blocks: the call waits for these, and does not read them. In a
 * pool with a probation buffer they come there first, and go to the pool at the end of the call. */
static void check_joins(bool buffer)
{
    static uint8_t room[8 * CM_BLOCK_SIZE] __attribute__((aligned(4096)));
    struct pool p;
    struct origin o = make_origin(40 * BLK);
    struct told told = { 0 };
    const cm_warm_options opts = options(&told);
    cm_request request = CM_REQUEST_INIT;
    cm_piece piece;
    pool_make(&p, 4 * MIB, 0);
    p.o.probation_bytes = buffer ? 16 * BLK : CM_PROBATION_NONE;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    struct warmer w = { .f = f, .o = &o, .opts = &opts };
    request.offset = 10 * BLK;
    request.buf = room;
    request.len = sizeof(room);
    CHECK_EQ(cm_request_begin(f, &request), 0);
    CHECK_EQ(cm_request_step(&request, &piece), CM_REQUEST_READ);
    start(&w);
    CALL(until_joined(p.c));
    CALL(until(&told.calls, 3)); /* progress is called while it waits */
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    origin_bytes(&o, piece.offset, piece.buf, piece.len);
    CHECK_EQ(cm_request_complete(&request, &piece, (int64_t)piece.len), 0);
    CHECK_EQ(cm_request_step(&request, &piece), 0);
    CHECK_EQ(cm_request_end(&request), (int64_t)sizeof(room));
    (void)pthread_join(w.t, NULL);
    CHECK_EQ(w.result, 0);
    CHECK_EQ(w.r.cached, o.size);
    CHECK_EQ(w.r.read, o.size - sizeof(room));
    CHECK_EQ(in_pool(f, 0, 40), 40);
    CHECK_EQ(hits(f, 0, 40, o.tag), 40);
    CHECK_EQ(p.c->live, 0);
    pool_end(&p);
}

static void test_joins(void)
{
    for (unsigned buffer = 0; buffer < 2; buffer++) {
        CASE("buffer %u", buffer);
        CALL(check_joins(buffer == 1));
    }
}

/* Progress cancels while it waits for another reader, who never comes back. */
static void test_cancel_join(void)
{
    static uint8_t room[CM_BLOCK_SIZE] __attribute__((aligned(4096)));
    struct pool p;
    struct origin o = make_origin(40 * BLK);
    struct told told = { .cancel_at = 2 };
    const cm_warm_options opts = options(&told);
    cm_request request = CM_REQUEST_INIT;
    cm_piece piece;
    cm_warm_report r;
    pool_make(&p, 4 * MIB, 0);
    p.o.join_timeout_ns = UINT64_MAX;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    request.offset = 5 * BLK;
    request.buf = room;
    request.len = sizeof(room);
    CHECK_EQ(cm_request_begin(f, &request), 0);
    CHECK_EQ(cm_request_step(&request, &piece), CM_REQUEST_READ);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK_EQ(r.end, 5 * BLK);
    CHECK_EQ(r.cached, 5 * BLK);
    CHECK_EQ(p.c->live, 1); /* the request */
    CHECK_EQ(cm_request_complete(&request, &piece, -2000), 0);
    CHECK_EQ(cm_request_end(&request), CM_ECANCELED);
    pool_end(&p);
}

/* A reader joins the piece of a warming. */
static void *read_through(void *arg)
{
    struct warmer *w = arg;
    uint8_t buf[100];
    const int64_t n = cm_read_through(w->f, 3 * BLK + 1, buf, sizeof(buf), origin_read, w->o);
    CHECK(n == (int64_t)sizeof(buf) && is_range(w->o, 3 * BLK + 1, buf, sizeof(buf)));
    return NULL;
}

static void test_is_joined(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    struct warmer w = { .f = f, .o = &o };
    pthread_t reader;
    o.gate = 1;
    start(&w);
    CALL(until(&o.waiting, 1));
    CHECK_EQ(pthread_create(&reader, NULL, read_through, &w), 0);
    CALL(until_joined(p.c));
    at_store_release(&o.gate, 0u);
    (void)pthread_join(reader, NULL);
    (void)pthread_join(w.t, NULL);
    CHECK_EQ(w.result, 0);
    CHECK_EQ(o.calls, 1);
    pool_end(&p);
}

static void *put_block(void *f)
{
    CHECK_EQ(put(f, 3, 5), 0);
    return NULL;
}

static void put_beside(void *f)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, put_block, f);
    (void)pthread_join(t, NULL);
}

/* Somebody stores a block that the call is reading: it is there, and no reason to complain. */
static void test_present(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    o.during = put_beside;
    o.during_ctx = f;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.read, 10 * BLK);
    CHECK_EQ(r.stored, 9 * BLK);
    CHECK_EQ(r.cached, 10 * BLK);
    CHECK_EQ(STAT(p.c, refused_present), 1);
    pool_end(&p);
}

/* ---- Closing --------------------------------------------------------------------------------- */

/* Callbacks may not call into the cache. The cache stays open as long as the call runs. */
static void call_back(void *f)
{
    uint8_t byte;
    CHECK_EQ(cm_read(f, 0, &byte, 1, NULL), CM_ECALLBACK);
    CHECK_EQ(cm_close(cm_object_of(f)->cache), CM_ECALLBACK);
}

static void *close_it(void *f)
{
    CHECK_EQ(cm_close(cm_object_of(f)->cache), CM_EBUSY);
    return NULL;
}

static void close_beside(void *f)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, close_it, f);
    (void)pthread_join(t, NULL);
}

static void test_callbacks(void)
{
    for (unsigned beside = 0; beside < 2; beside++) {
        CASE("beside %u", beside);
        struct pool p;
        struct origin o = make_origin(2 * BLK);
        struct told told = { .act_at = 1 };
        cm_warm_options opts = options(&told);
        cm_warm_report r;
        cm_file *f = open_both(&p, MIB, o.size);
        told.f = f;
        told.act = beside ? close_beside : call_back;
        o.during = told.act;
        o.during_ctx = f;
        opts.bytes_per_second = 40 * 1024; /* progress is called in the sleep between two blocks */
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
        pool_end(&p);
    }
}

static void *close_file(void *f)
{
    detach(f);
    return NULL;
}

static void close_file_beside(void *f)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, close_file, f);
    (void)pthread_join(t, NULL);
}

/* The file is closed between two pieces, and while one is read. */
static void test_file_closed(void)
{
    for (unsigned in_piece = 0; in_piece < 2; in_piece++) {
        CASE("in piece %u", in_piece);
        struct pool p;
        struct origin o = make_origin(100 * BLK);
        struct told told = { .act_at = 1 };
        const cm_warm_options opts = options(&told);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        told.f = f;
        if (in_piece) {
            o.during = close_file_beside;
            o.during_ctx = f;
        } else {
            told.act = close_file_beside;
        }
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_EHANDLE);
        CHECK_EQ(o.calls, 1);
        CHECK_EQ(p.c->live, 0);
        pool_end(&p);
    }
}

#ifndef _WIN32
/* ---- Threads that do not come back ----------------------------------------------------------- */

static void end_thread(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

/* The thread ends in the origin's call, in progress between two pieces, or in progress while it
 * waits for another reader. */
static void test_thread_ends(void)
{
    static uint8_t room[CM_BLOCK_SIZE] __attribute__((aligned(4096)));
    for (unsigned where = 0; where < 3; where++) {
        CASE("where %u", where);
        struct pool p;
        struct origin o = make_origin(40 * BLK);
        struct told told = { .act_at = 1 };
        const cm_warm_options opts = options(&told);
        cm_request request = CM_REQUEST_INIT;
        cm_piece piece;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        struct warmer w = { .f = f, .o = &o, .opts = &opts, .at_end = CM_ECALLBACK };
        request.buf = room;
        request.len = sizeof(room);
        if (where == 0)
            o.during = end_thread;
        else
            told.act = end_thread;
        if (where == 2) {
            CHECK_EQ(cm_request_begin(f, &request), 0);
            CHECK_EQ(cm_request_step(&request, &piece), CM_REQUEST_READ);
        }
        start(&w);
        (void)pthread_join(w.t, NULL);
        CHECK_EQ(w.result, 1);
        CHECK(w.at_end >= 0); /* it is in no callback any more */
        CHECK_EQ(p.c->live, where == 2);
        if (where == 2) {
            CHECK_EQ(cm_request_complete(&request, &piece, -2000), 0);
            CHECK_EQ(cm_request_end(&request), CM_ECANCELED);
        }
        CHECK_EQ(p.c->flights->top, 0);
        o.during = NULL;
        CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &w.r), 0);
        CHECK_EQ(hits(f, 0, 40, o.tag), 40);
        pool_end(&p);
    }
}
#endif

const struct harness_test warm_threads_tests[] = {
    TEST(joins),       TEST(cancel_join), TEST(is_joined),
    TEST(present),     TEST(callbacks),   TEST(file_closed),
#ifndef _WIN32
    TEST(thread_ends),
#endif
    TEST_END,
};
