/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_threads.c - containers of objects with several threads.
 *
 * Each key has one writer. It puts versions that grow, and deletes. `began` and `ended` of a key
 * are the versions whose put has begun, and has returned. A reader that gets a version must get one
 * that is not older than `ended` was before the get, and not newer than `began` after it.
 */
#include "objects_common.h"
#include "seal_common.h"

#include <pthread.h>

#define KEYS 64u
#define WRITERS 2u
#define READERS 2u

static struct {
    cm_objects *o;
    uint64_t began[KEYS], ended[KEYS]; /* odd: a put; even: a delete */
    uint32_t stop, wrong, hits, not_stored;
} t;

/* Short ones, and some of several blocks. */
static size_t length_of(uint64_t key, uint64_t version)
{
    return key % 4 ? 16 + mix(key ^ version) % 200 : 16 + mix(key ^ version) % 12000;
}

static void make(uint64_t key, uint64_t version, uint8_t *to)
{
    const size_t len = length_of(key, version);
    memcpy(to, &key, 8);
    memcpy(to + 8, &version, 8);
    value_of(key, version, to + 16, len - 16);
}

static void *writer(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    uint8_t *value = malloc(16384);
    for (unsigned i = 0; i < 4000; i++) {
        const uint64_t key = next_random(&state) % (KEYS / WRITERS) * WRITERS + (uintptr_t)arg;
        const bool put = next_random(&state) % 4 != 0;
        uint64_t version = t.began[key] + 1;
        version += (version % 2 != 0) != put;
        at_store_seq_cst(&t.began[key], version);
        make(key, version, value);
        const int e = put ? cm_objects_put(t.o, &key, 8, value, length_of(key, version), 0)
                          : cm_objects_delete(t.o, &key, 8);
        CHECK(e >= 0 || (!put && e == CM_EABSENT));
        (void)at_add_relaxed(&t.not_stored, e > 0);
        at_store_seq_cst(&t.ended[key], version);
    }
    free(value);
    return NULL;
}

static void *reader(void *arg)
{
    uint64_t state = 1000 + (uintptr_t)arg;
    uint8_t *buf = malloc(16384), *want = malloc(16384);
    while (!at_load_acquire(&t.stop)) {
        const uint64_t key = next_random(&state) % KEYS;
        uint64_t head[2] = { 0 };
        const uint64_t ended = at_load_seq_cst(&t.ended[key]);
        const int64_t n = cm_objects_get(t.o, &key, 8, buf, 16384, NULL);
        const uint64_t began = at_load_seq_cst(&t.began[key]);
        if (n == CM_EABSENT)
            continue;
        memcpy(head, buf, sizeof(head));
        make(key, head[1], want);
        const bool right = n >= 16 && head[0] == key && head[1] % 2 == 1 && head[1] >= ended &&
                           head[1] <= began && (size_t)n == length_of(key, head[1]) &&
                           memcmp(buf, want, (size_t)n) == 0;
        (void)at_add_relaxed(right ? &t.hits : &t.wrong, 1);
    }
    free(buf);
    free(want);
    return NULL;
}

static void run(uint64_t objects, uint64_t pool_bytes)
{
    pthread_t w[WRITERS], r[READERS];
    struct pool p;
    memset(&t, 0, sizeof(t));
    REQUIRE(pool_new(&p, pool_bytes) == 0);
    t.o = objects_up(p.c, "a", objects);
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&r[i], NULL, reader, (void *)i), 0);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_create(&w[i], NULL, writer, (void *)i), 0);
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_join(w[i], NULL), 0);
    for (unsigned i = 0; i < 5000 && at_load_relaxed(&t.hits) == 0; i++)
        sleep_ms(1);
    at_store_release(&t.stop, 1u);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(r[i], NULL), 0);
    CHECK_EQ(t.wrong, 0);
    CHECK(t.not_stored == 0 || pool_bytes < 16 * MIB);
    CHECK(t.hits > 0);
    for (uint64_t key = 0; key < KEYS; key++) { /* nothing is left of what was deleted */
        uint64_t head[2] = { 0 };
        const int64_t n = cm_objects_get(t.o, &key, 8, head, sizeof(head), NULL);
        CHECK(n == CM_EABSENT || head[1] == t.ended[key]);
    }
    objects_down(t.o);
    pool_end(&p);
}

/* All keys in one bucket; in some; in a pool that is too small. */
static void test_readers_and_writers(void)
{
    static const uint64_t objects[] = { 1, 100, 10000 };
    static const uint64_t bytes[] = { 16, 16, 1 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("%llu objects", (unsigned long long)objects[i]);
        run(objects[i], bytes[i] * MIB);
    }
}

static void *neighbours_writer(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; !at_load_acquire(&t.stop); i++)
        CHECK_EQ(put_value(t.o, 1, i, i % 8 ? 100 : 9000, 0), 0);
    return NULL;
}

/* A key whose neighbour in the bucket is written all the time is there at every moment. */
static void test_neighbour_stays(void)
{
    pthread_t w;
    struct pool p;
    unsigned misses = 0;
    memset(&t, 0, sizeof(t));
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    t.o = objects_up(p.c, "a", 1);
    CHECK_EQ(put_value(t.o, 2, 1, 100, 0), 0);
    CHECK_EQ(put_value(t.o, 3, 1, 9000, 0), 0);
    CHECK_EQ(pthread_create(&w, NULL, neighbours_writer, NULL), 0);
    for (unsigned i = 0; i < 20000; i++) {
        const int small = get_value(t.o, 2, 1, 100), large = get_value(t.o, 3, 1, 9000);
        CHECK(small != WRONG && large != WRONG);
        misses += (unsigned)(small == MISS) + (large == MISS);
    }
    at_store_release(&t.stop, 1u);
    CHECK_EQ(pthread_join(w, NULL), 0);
    CHECK_EQ(misses, 0);
    objects_down(t.o);
    pool_end(&p);
}

static void *clearer(void *arg)
{
    (void)arg;
    while (!at_load_acquire(&t.stop))
        CHECK_EQ(cm_objects_clear(t.o), 0);
    return NULL;
}

/* Clears beside puts and gets: after the last clear nothing older is there. */
static void test_clear_beside(void)
{
    pthread_t c;
    struct pool p;
    memset(&t, 0, sizeof(t));
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    t.o = objects_up(p.c, "a", 100);
    CHECK_EQ(pthread_create(&c, NULL, clearer, NULL), 0);
    for (uint64_t i = 0; i < 5000; i++) {
        CHECK(put_value(t.o, i % 50, i, length_of(i % 50, 0), 0) >= 0);
        CHECK(get_value(t.o, i % 50, i, length_of(i % 50, 0)) != WRONG);
    }
    at_store_release(&t.stop, 1u);
    CHECK_EQ(pthread_join(c, NULL), 0);
    CHECK_EQ(cm_objects_clear(t.o), 0);
    for (uint64_t key = 0; key < 50; key++)
        CHECK_EQ(cm_objects_get(t.o, &key, 8, NULL, 0, NULL), CM_EABSENT);
    CHECK_EQ(put_value(t.o, 1, 1, 9000, 0), 0);
    CHECK_EQ(get_value(t.o, 1, 1, 9000), RIGHT);
    objects_down(t.o);
    pool_end(&p);
}

#define RIVALS 4u
static struct {
    cm_cache *c;
    pthread_barrier_t begin, end;
    uint32_t opened; /* atomic */
} rival;

static void *rivals_open(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 200; i++) {
        cm_objects *o = NULL;
        pthread_barrier_wait(&rival.begin);
        const int e = cm_objects_open(rival.c, "a", NULL, &o);
        CHECK(e == 0 || e == CM_EBUSY);
        at_add_relaxed(&rival.opened, e == 0);
        pthread_barrier_wait(&rival.end);
        if (e == 0)
            CHECK_EQ(cm_objects_close(o), 0);
    }
    return NULL;
}

/* Of threads that open a container at once, one gets it. */
static void test_rivals(void)
{
    pthread_t w[RIVALS];
    struct pool p;
    memset(&rival, 0, sizeof(rival));
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    rival.c = p.c;
    CHECK_EQ(pthread_barrier_init(&rival.begin, NULL, RIVALS), 0);
    CHECK_EQ(pthread_barrier_init(&rival.end, NULL, RIVALS), 0);
    for (unsigned i = 0; i < RIVALS; i++)
        CHECK_EQ(pthread_create(&w[i], NULL, rivals_open, NULL), 0);
    for (unsigned i = 0; i < RIVALS; i++)
        CHECK_EQ(pthread_join(w[i], NULL), 0);
    CHECK_EQ(rival.opened, 200);
    pthread_barrier_destroy(&rival.begin);
    pthread_barrier_destroy(&rival.end);
    pool_end(&p);
}

/* A thread that has read a bucket, and is about to change it: the seal's callback of its read. */
static struct {
    cm_objects *o;
    uint32_t armed, reached, passed; /* atomic */
    int result;
} slow;

static int slow_mac(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *data, size_t len,
                    uint8_t tag[CM_SEAL_TAG])
{
    if (at_load_acquire(&slow.armed) && at_swap_acq_rel(&slow.armed, 0u)) {
        at_store_release(&slow.reached, 1u);
        for (unsigned i = 0; i < 300 && !at_load_acquire(&slow.passed); i++)
            sleep_ms(1);
    }
    return toy_mac(ctx, head, data, len, tag);
}

static void *slow_writer(void *arg)
{
    (void)arg;
    slow.result = put_value(slow.o, 1, 2, 100, 0);
    return NULL;
}

/* A put to another key of the bucket waits for it. Else the first one would take it back. */
static void test_one_writer(void)
{
    pthread_t w;
    static struct sealed s;
    memset(&slow, 0, sizeof(slow));
    sealed_make(&s, 4 * MIB, 0);
    s.seal.mac = slow_mac;
    REQUIRE(pool_up(&s.p) == 0);
    slow.o = objects_up(s.p.c, "a", 1);
    for (uint64_t key = 1; key <= 2; key++)
        CHECK_EQ(put_value(slow.o, key, 1, 100, 0), 0);
    at_store_release(&slow.armed, 1u);
    CHECK_EQ(pthread_create(&w, NULL, slow_writer, NULL), 0);
    for (unsigned i = 0; i < 10000 && !at_load_acquire(&slow.reached); i++)
        sleep_ms(1);
    CHECK(at_load_acquire(&slow.reached));
    CHECK_EQ(put_value(slow.o, 2, 2, 100, 0), 0);
    at_store_release(&slow.passed, 1u);
    CHECK_EQ(pthread_join(w, NULL), 0);
    CHECK_EQ(slow.result, 0);
    for (uint64_t key = 1; key <= 2; key++)
        CHECK_EQ(get_value(slow.o, key, 2, 100), RIGHT);
    objects_down(slow.o);
    sealed_end(&s);
}

const struct harness_test objects_threads_tests[] = {
    TEST(readers_and_writers), TEST(neighbour_stays),
    TEST(clear_beside),        TEST(rivals),
    TEST(one_writer),          TEST_END
};
