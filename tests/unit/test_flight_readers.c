/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_flight_readers.c - many readers: one origin read for all of them, whatever happens to the
 * reader that makes it.
 */
#include "flight_common.h"

#include <pthread.h>
#include <unistd.h>

#include "../os.h"

#include "api/cache.h"
#include "api/flight.h"

/* ---- Many readers ---------------------------------------------------------------------------- */

#define READERS 8

struct reader {
    cm_file *f;
    struct origin *o;
    uint64_t offset;
    size_t len;
    int64_t result;
    bool right;
};

static void *read_once(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[4 * CM_BLOCK_SIZE];
    r->result = cm_read_through(r->f, r->offset, buf, r->len, origin_read, r->o);
    r->right = r->result >= 0 && is_range(r->o, r->offset, buf, (uint64_t)r->result);
    return NULL;
}

static void start_readers(pthread_t *t, struct reader *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CASE("i %u", i);
        CHECK_EQ(pthread_create(&t[i], NULL, read_once, &r[i]), 0);
    }
}

static void join_all(pthread_t *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)pthread_join(t[i], NULL);
}

/* Waits, at most a minute, until *counter is `n` or more. */
static void until(const uint32_t *counter, uint32_t n)
{
    for (int i = 0; i < 60000 && at_load_acquire(counter) < n; i++)
        sleep_ms(1);
    CHECK(at_load_acquire(counter) >= n);
}

static void until_joined(cm_cache *c, int64_t n)
{
    for (int i = 0; i < 60000 && STAT(c, flights_joined) < n; i++)
        sleep_ms(1);
    CHECK_EQ(STAT(c, flights_joined), n);
}

static void test_single_flight(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK + i, 100, 0, false };
    CALL(start_readers(t, r, READERS));
    CALL(until_joined(p.c, READERS - 1));
    CHECK_EQ(cm_close(p.c), CM_EBUSY); /* reads in flight */
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    CHECK_EQ(o.calls, 1);
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == 100 && r[i].right);
    }
    CHECK_EQ(STAT(p.c, origin_reads), 1);
    pool_end(&p);
}

#ifndef _WIN32
/* ---- A leader that does not come back -------------------------------------------------------- */

static uint32_t exits; /* number of threads that will still end in their call */
static void exit_once(void *ctx)
{
    uint32_t one = 1;
    (void)ctx;
    if (at_cas_acq_rel(&exits, &one, 0u))
        pthread_exit(NULL);
}

/* The leader's thread ends in the origin's call, cancelled or by itself. The waiters read the
 * origin themselves, and nothing of the leader's read is left in the cache. */
static void leader_ends(bool cancelled)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    (void)alarm(60); /* else a failure would wait for ever */
    o.gate = 1;
    exits = cancelled ? 0 : 1;
    o.during = exit_once;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK + i, 100, 0, false };
    CALL(start_readers(t, r, 1));
    CALL(until(&o.waiting, 1));
    CALL(start_readers(t + 1, r + 1, READERS - 1));
    CALL(until_joined(p.c, READERS - 1));
    if (cancelled) {
        CHECK_EQ(pthread_cancel(t[0]), 0);
        (void)pthread_join(t[0], NULL);
    }
    at_store_release(&o.gate, 0u);
    join_all(t + (cancelled ? 1 : 0), READERS - (cancelled ? 1 : 0));
    CHECK_EQ(r[0].right, false);
    for (unsigned i = 1; i < READERS; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == 100 && r[i].right);
    }
    CHECK(p.c->flights->spares > 0); /* the leader's buffer, too */
    CHECK_EQ(p.c->flights->top, 0);
    CHECK_EQ(p.c->live, 0);
    check_read(f, &o, 50 * BLK, (uint8_t[100]){ 0 }, 100);
    pool_end(&p);
    (void)alarm(0);
}

/* The address sanitizer takes the stack of a cancelled thread for still in use. The thread
 * sanitizer does not see the locks that such a thread takes while it unwinds. */
#if defined(__SANITIZE_ADDRESS__)
#define NO_ASAN SKIP("the address sanitizer does not follow a thread that ends in a call")
#else
#define NO_ASAN
#endif
#if defined(CM_TSAN)
#define NO_TSAN SKIP("the thread sanitizer does not follow a thread that ends in a call")
#else
#define NO_TSAN
#endif

static void test_leader_cancelled(void)
{
    NO_ASAN;
    NO_TSAN;
    CALL(leader_ends(true));
}
static void test_leader_exits(void)
{
    NO_ASAN;
    NO_TSAN;
    CALL(leader_ends(false));
}

/* What a thread has to do at its end, it may do with the cache: it is in no callback any more. */
static void read_cached(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[100];
    r->result = cm_read(r->f, 3 * BLK, buf, sizeof(buf), NULL);
}

static void *ends_in_origin(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[100];
    pthread_cleanup_push(read_cached, r);
    (void)cm_read_through(r->f, r->offset, buf, sizeof(buf), origin_read, r->o);
    pthread_cleanup_pop(0);
    return NULL;
}

static void test_leader_calls(void)
{
    NO_ASAN;
    NO_TSAN;
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    struct reader r = { f, &o, 50 * BLK, 100, 0, false };
    pthread_t t;
    check_read(f, &o, 3 * BLK, (uint8_t[100]){ 0 }, 100);
    exits = 1;
    o.during = exit_once;
    REQUIRE(pthread_create(&t, NULL, ends_in_origin, &r) == 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(at_load_relaxed(&exits), 0);
    CHECK_EQ(r.result, 100);
    CHECK_EQ(p.c->live, 0);
    pool_end(&p);
}

/* A thread with a pending cancellation does not end inside the library: not in a file operation of
 * the pool that a fill needs, with locks held, and in no callback except the origin's. */
static void log_sleeps(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level, (void)text;
    sleep_ms(1); /* a cancellation point */
}
static void *work_cancelled(void *arg)
{
    struct pool *p = arg;
    cm_log(p->c, CM_LOG_INFO, "%s", "cancelled?");
    void *memory = cm_cache_alloc(p->c, 100);
    cm_cache_free(p->c, memory, 100);
    CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0); /* stores, syncs, under a lock */
    cm_file *f = attach(p, 1, 100 * BLK, 1, 0);
    cm_validator v = validator_of_version(100 * BLK, 2);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    detach(f);
    (void)cm_checkpoint(p->c); /* where there can be one */
    ((uint32_t *)p->o.log_ctx)[0] = 1;
    pthread_testcancel();
    ((uint32_t *)p->o.log_ctx)[0] = 2;
    return NULL;
}
static uint32_t asked; /* pthread_cancel() has been called */
static void *wait_and_work(void *arg)
{
    int old;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    while (at_load_acquire(&asked) == 0)
        sleep_ms(1);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    return work_cancelled(arg);
}
static void test_cancelled_elsewhere(void)
{
    NO_ASAN;
    char path[300];
    struct pool p = { .o = CM_OPTIONS_INIT };
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    uint32_t reached = 0;
    pthread_t t;
    REQUIRE(os_make_file(path, sizeof(path), "flight"));
    (void)unlink(path);
    o.size = MIB;
    p.o.log = log_sleeps;
    p.o.log_ctx = &reached;
    CHECK_EQ(cm_create(path, &o), 0);
    REQUIRE(cm_open(path, &p.o, &p.c) == 0);
    CHECK_EQ(pthread_create(&t, NULL, wait_and_work, &p), 0);
    CHECK_EQ(pthread_cancel(t), 0);
    at_store_release(&asked, 1u);
    (void)pthread_join(t, NULL);
    CHECK_EQ(reached, 1);
    (void)alarm(60);
    CHECK_EQ(cm_close(p.c), 0);
    (void)alarm(0);
    (void)unlink(path);
}
#endif

/* Different blocks are read at the same time, not one after the other. */
static void test_parallel_flights(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, (10 + i * 100) * BLK, BLK, 0, false };
    CALL(start_readers(t, r, READERS));
    CALL(until(&o.waiting, READERS));
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    CHECK_EQ(o.calls, READERS);
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    }
    pool_end(&p);
}

/* A miss that reaches a block that another thread is reading ends before it, and waits for the
 * rest. */
static void test_up_to_a_flight(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK), before = make_origin(100 * BLK);
    pthread_t t[2];
    struct reader r[2];
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    o.gate = before.gate = 1;
    r[0] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    CALL(start_readers(t, r, 1));
    CALL(until(&o.waiting, 1));
    r[1] = (struct reader){ f, &before, 48 * BLK, BLK, 0, false };
    CALL(start_readers(t + 1, r + 1, 1));
    CALL(until(&before.waiting, 1));
    CHECK_EQ(before.first, 48 * BLK);
    CHECK_EQ(before.end, 50 * BLK);
    at_store_release(&before.gate, 0u);
    at_store_release(&o.gate, 0u);
    join_all(t, 2);
    CHECK(r[0].right && r[1].right);
    pool_end(&p);
}

/* A flight covers only its own miss, however far away the next flight is. A reader of a block
 * between two flights waits for neither. */
static void test_between_flights(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    pthread_t t[3];
    struct reader r[3];
    static const uint64_t block[3] = { 100, 50, 60 };
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        r[i] = (struct reader){ f, &o, block[i] * BLK, BLK, 0, false };
        CALL(start_readers(t + i, r + i, 1));
        CALL(until(&o.waiting, i + 1));
    }
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    at_store_release(&o.gate, 0u);
    join_all(t, 3);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    }
    pool_end(&p);
}

/* More staging buffers are in use than are kept: the others are freed. */
static int64_t outstanding; /* atomic */
static void *count_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    (void)at_add_relaxed(&outstanding, (int64_t)bytes);
    return map_bytes(bytes);
}
static void count_free(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    (void)at_add_relaxed(&outstanding, -(int64_t)bytes);
    unmap_bytes(at, bytes);
}

static void test_staging_freed(void)
{
    struct pool p;
    struct origin o = make_origin(4000 * BLK);
    pthread_t t[CM_STAGING_SPARE + 3];
    struct reader r[CM_STAGING_SPARE + 3];
    const unsigned n = CM_STAGING_SPARE + 3;
    pool_make(&p, MIB, 0);
    p.o.alloc = count_alloc;
    p.o.free = count_free;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    o.gate = 1;
    for (unsigned i = 0; i < n; i++)
        r[i] = (struct reader){ f, &o, (10 + i * 100) * BLK + 1, 100, 0, false };
    CALL(start_readers(t, r, n));
    CALL(until(&o.waiting, n));
    at_store_release(&o.gate, 0u);
    join_all(t, n);
    for (unsigned i = 0; i < n; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == 100 && r[i].right);
    }
    pool_end(&p);
    CHECK_EQ(outstanding, 0);
}

/* Fails the first call only, after all others wait for it. */
static int64_t first_call_fails(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct origin *o = ctx;
    bool first = at_load_relaxed(&o->calls) == 0;
    int64_t n = origin_read(o, offset, buf, len);
    return first ? -77 : n;
}

static void *read_failing(void *arg)
{
    struct reader *r = arg;
    uint8_t buf[CM_BLOCK_SIZE];
    r->result = cm_read_through(r->f, r->offset, buf, r->len, first_call_fails, r->o);
    r->right = r->result >= 0 && is_range(r->o, r->offset, buf, (uint64_t)r->result);
    return NULL;
}

/* Only the leader gets its error. The waiters go to the origin and succeed. */
static void test_leader_fails(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    unsigned failed = 0;
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = o.rest = 1;
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        r[i] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
        CHECK_EQ(pthread_create(&t[i], NULL, read_failing, &r[i]), 0);
    }
    CALL(until_joined(p.c, READERS - 1));
    at_store_release(&o.gate, 0u);
    CALL(until(&o.waiting, READERS - 1)); /* side by side: nobody waits a second time */
    at_store_release(&o.rest, 0u);
    join_all(t, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        failed += r[i].result == -77;
        CHECK(r[i].result == -77 || (r[i].result == (int64_t)BLK && r[i].right));
    }
    CHECK_EQ(failed, 1);
    CHECK_EQ(STAT(p.c, miss_blocks), READERS); /* once for each reader, however often it looked */
    CHECK_EQ(look(f, 50, 5), RIGHT);
    pool_end(&p);
}

/* A write begins while the leader reads the origin. No reader joins that stale read, and its data
 * is not stored. */
static void test_write_between(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK), newer = make_origin(100 * BLK);
    pthread_t t[2];
    struct reader r[2];
    cm_file *f = open_both(&p, MIB, o.size);
    newer.tag = 6;
    o.gate = 1;
    r[0] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    r[1] = (struct reader){ f, &newer, 50 * BLK, BLK, 0, false };
    CALL(start_readers(t, r, 1));
    CALL(until(&o.waiting, 1));
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CALL(start_readers(t + 1, r + 1, 1)); /* begun after the write: must see it */
    (void)pthread_join(t[1], NULL);
    CHECK(r[1].result == (int64_t)BLK && r[1].right);
    CHECK_EQ(newer.calls, 1);
    CHECK_EQ(STAT(p.c, flights_joined), 0);
    at_store_release(&o.gate, 0u);
    (void)pthread_join(t[0], NULL);
    CHECK(r[0].result == (int64_t)BLK && r[0].right);
    CHECK(look(f, 50, 6) == RIGHT || look(f, 50, 6) == MISS);
    pool_end(&p);
}

/* Another program changes the file, and another thread finds that while the origin is read. */
struct revision {
    cm_file *f;
    struct origin *o;
    uint64_t version;
    bool once;
};

static void *revise(void *arg)
{
    struct revision *r = arg;
    cm_validator v = val(r->o->size, ++r->version);
    r->o->tag++;
    CHECK_EQ(cm_file_revalidate(r->f, &v), 0);
    return NULL;
}

static void revise_beside(void *arg)
{
    struct revision *r = arg;
    pthread_t t;
    (void)pthread_create(&t, NULL, revise, r); /* a callback may not call into its cache */
    (void)pthread_join(t, NULL);
    if (r->once)
        r->o->during = NULL;
}

/* The cached part is of the old version, and the rest would be of the new one. */
static void test_one_version(void)
{
    struct pool p;
    static uint8_t buf[8 * CM_BLOCK_SIZE] __attribute__((aligned(4096)));
    for (unsigned endless = 0; endless < 2; endless++) {
        CASE("endless %u", endless);
        struct origin o = make_origin(100 * BLK);
        (void)pool_new(&p, MIB);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        struct revision r = { f, &o, 1, endless == 0 };
        CHECK_EQ(put_all(f, 0, 3, o.tag), 3);
        o.during = revise_beside;
        o.during_ctx = &r;
        CHECK_EQ(cm_read_through(f, 0, buf, sizeof(buf), origin_read, &o), (int64_t)sizeof(buf));
        CHECK(is_range(&o, 0, buf, sizeof(buf)));
        CHECK(o.calls <= 8); /* bounded, however often the version changes */
        o.during = NULL;
        detach(f);
        pool_end(&p);
    }
}

/* A write while others already wait: they may get either version. The cache has the new one or
 * none. */
static void test_write_beside_waiters(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    o.gate = 1;
    for (unsigned i = 0; i < READERS; i++)
        r[i] = (struct reader){ f, &o, 50 * BLK, BLK, 0, false };
    CALL(start_readers(t, r, READERS));
    CALL(until_joined(p.c, READERS - 1));
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    at_store_release(&o.gate, 0u);
    join_all(t, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        CHECK(r[i].result == (int64_t)BLK && r[i].right);
    }
    CHECK_EQ(look(f, 50, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 50, 5), MISS); /* read before or during the write: never stored */
    pool_end(&p);
}

/* Readers and all other calls at once, in a small pool: all bytes are right. */
static uint32_t stop;

static void *hasty_reader(void *arg)
{
    struct reader *r = arg;
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    static _Thread_local uint8_t buf[8 * CM_BLOCK_SIZE];
    while (!at_load_relaxed(&stop)) {
        uint64_t x = next_random(&rng), offset = x % (r->o->size + 100);
        size_t len = x >> 32 & 0x7fff;
        int64_t n = cm_read_through(r->f, offset, buf, len, origin_read, r->o);
        uint64_t left = offset < r->o->size ? r->o->size - offset : 0;
        CHECK_EQ(n, left < len ? left : len);
        CHECK(is_range(r->o, offset, buf, (uint64_t)n));
    }
    return NULL;
}

static void test_hasty_readers(void)
{
    struct pool p;
    struct origin o = make_origin(300 * BLK + 99);
    pthread_t t[READERS];
    struct reader r[READERS];
    cm_file *f = open_both(&p, MIB, o.size);
    stop = 0;
    for (unsigned i = 0; i < READERS; i++) {
        CASE("i %u", i);
        r[i] = (struct reader){ f, &o, 0, 0, 0, false };
        CHECK_EQ(pthread_create(&t[i], NULL, hasty_reader, &r[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        CASE("i %u", i);
        sleep_ms(20);
        CHECK_EQ(cm_invalidate(f, i * 5 * BLK, 3 * BLK), 0);
        cm_validator v = val(o.size, 100 + i);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
    }
    at_store_relaxed(&stop, 1u);
    join_all(t, READERS);
    CHECK_EQ(o.misaligned, 0);
    CHECK_EQ(slots_astray(p.c), 0);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

const struct harness_test flight_readers_tests[] = {
    TEST(single_flight),
#ifndef _WIN32
    TEST(leader_cancelled), TEST(leader_exits),
    TEST(leader_calls),     TEST(cancelled_elsewhere),
#endif
    TEST(parallel_flights), TEST(up_to_a_flight),
    TEST(between_flights),  TEST(staging_freed),
    TEST(leader_fails),     TEST(write_between),
    TEST(one_version),      TEST(write_beside_waiters),
    TEST(hasty_readers),    TEST_END,
};
