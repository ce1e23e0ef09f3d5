/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_wear.c - the bytes written to a pool are counted exactly, over its whole life, and limited.
 *
 * The measure is a persist table that counts the bytes that it is told to write: all copies, and
 * the lines that are flushed.
 */
#include "fixture.h"

#include <inttypes.h>
#include <pthread.h>

static const struct cm_persist_ops *real_ops;
static uint64_t asked; /* atomic */

static int counting_copy(void *ctx, void *dst, const void *src, size_t n)
{
    (void)at_add_relaxed(&asked, n);
    return real_ops->copy(ctx, dst, src, n);
}

static int counting_flush(void *ctx, const void *p, size_t n)
{
    uintptr_t first = (uintptr_t)p / CM_CACHE_LINE;
    uintptr_t last = ((uintptr_t)p + n - 1) / CM_CACHE_LINE;
    (void)at_add_relaxed(&asked, (last - first + 1) * CM_CACHE_LINE);
    return real_ops->flush(ctx, p, n);
}

static void count_from_now(cm_cache *c)
{
    static struct cm_persist_ops ops;
    real_ops = c->media.ops;
    ops = *real_ops;
    ops.copy = counting_copy;
    ops.flush = counting_flush;
    c->media.ops = &ops;
    at_store_relaxed(&c->fill.over, 1u); /* other routines than the table's would not be counted */
    c->media.fill = NULL;
    at_store_relaxed(&asked, 0);
}

/* Bytes that an open writes before a test can count: one copy of the superblock, then both. */
#define OPEN_BYTES (3 * sizeof(struct cm_super) + 2 * 64) /* and the session, twice */

static void truncate_to(cm_file *f, uint64_t size)
{
    cm_bracket w;
    CHECK_EQ(cm_truncate_begin(f, size, &w), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
}

static void write_to(cm_file *f, uint64_t offset, uint64_t len)
{
    cm_bracket w = begin_write(f, offset, len);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
}

#ifdef CM_TSAN /* each step and each count takes twenty times as long */
#define STEPS 400
#define COUNTS 50000u
#else
#define STEPS 4000
#define COUNTS 1000000u
#endif

/* All calls that write. */
static void work(struct pool *p, uint64_t id, uint64_t seed)
{
    uint64_t rng = seed;
    const uint64_t blocks = 2000;
    cm_file *f = attach(p, id, blocks * BLK, 1, 0);
    for (int i = 0; i < STEPS; i++) {
        CASE("i %d", i);
        uint64_t r = next_random(&rng), b = (r >> 32) % (blocks - 40);
        switch (r % 40) {
        case 0:
            CALL(write_to(f, b * BLK + 5, (r >> 8) % (40 * BLK) + 1));
            break;
        case 1:
            CHECK_EQ(cm_invalidate(f, b * BLK, 3 * BLK), 0);
            break;
        case 2:
            truncate_to(f, b * BLK + 100);
            break;
        case 3: {
            cm_sync s;
            CHECK_EQ(cm_sync_begin(f, &s), 0);
            CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
            break;
        }
        case 4: {
            cm_validator v = val(blocks * BLK, (uint64_t)i);
            CHECK(cm_file_revalidate(f, &v) >= 0);
            break;
        }
        case 5:
            CALL(write_to(f, 0, 100 * MIB)); /* a new incarnation */
            break;
        case 6:
            detach(f);
            if (r & 256) {
                cm_file_id fid = id_of(id);
                CHECK_EQ(cm_forget(p->c, &fid), 0);
            }
            f = attach(p, id, blocks * BLK, 1, 0);
            break;
        case 7:
            (void)put_tail(f, b, 100, id);
            break;
        default: {
            static _Thread_local uint8_t data[32 * CM_BLOCK_SIZE];
            cm_miss m = miss_of(f, b * BLK, 32 * BLK);
            if (m.len)
                CHECK(cm_fill(f, &m, data, m.len, m.len % BLK ? CM_FILL_EOF : 0) >= 0);
        }
        }
    }
    detach(f);
}

static void test_counted(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 2 * MIB) == 0);
    uint64_t before = pool_stats(p.c).pool_bytes;
    count_from_now(p.c);
    CALL(work(&p, 1, 1));
    CHECK_EQ(bump_epoch(p.c), 0);
    CALL(work(&p, 2, 2));
    cm_check_report r = { .struct_size = sizeof(r) };
    CHECK_EQ(cm_check(p.c, CM_CHECK_REPAIR, NULL, NULL, &r), 0);
    cm_stats_data s = pool_stats(p.c);
    CHECK(s.evicted > STEPS / 4 && s.forgotten > STEPS / 40 && s.incarnations > STEPS / 400 &&
          s.fill_blocks > STEPS);
    CHECK_EQ(s.pool_bytes - before, asked);
    CHECK(s.pool_bytes > s.fill_blocks * (BLK + 2 * CM_CACHE_LINE));
    pool_end(&p);
}

struct worker {
    pthread_t thread;
    struct pool *p;
    uint64_t number;
};

static void *run_work(void *arg)
{
    struct worker *w = arg;
    CALL(work(w->p, 10 + w->number, w->number));
    return NULL;
}

static void test_threads(void)
{
    struct pool p;
    struct worker w[4];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    uint64_t before = pool_stats(p.c).pool_bytes;
    count_from_now(p.c);
    for (uint64_t i = 0; i < 4; i++) {
        CASE("i %" PRIu64, i);
        w[i] = (struct worker){ .p = &p, .number = i };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, run_work, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(w[i].thread, NULL);
    CHECK_EQ(pool_stats(p.c).pool_bytes - before, asked);
    pool_end(&p);
}

static void *run_count(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < COUNTS; i++)
        cm_stats_add(&w->p->c->media, CM_STAT_hit_blocks, 1);
    return NULL;
}

/* There are so many threads that some must share their counters. */
static void test_shared(void)
{
    struct pool p;
    struct worker w[2 * CM_STATS_SHARDS];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    for (unsigned i = 0; i < 2 * CM_STATS_SHARDS; i++) {
        CASE("i %u", i);
        w[i] = (struct worker){ .p = &p };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, run_count, &w[i]), 0);
    }
    for (unsigned i = 0; i < 2 * CM_STATS_SHARDS; i++)
        pthread_join(w[i].thread, NULL);
    CHECK_EQ(STAT(p.c, hit_blocks), 2 * CM_STATS_SHARDS * (int64_t)COUNTS);
    pool_end(&p);
}

/* A close writes, and so does an open. None of these bytes is lost or counted twice. */
static void test_life(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    uint64_t wear = OPEN_BYTES - 64; /* in a new pool the session has ended already */
    CHECK_EQ(pool_stats(p.c).lifetime_pool_bytes, wear);
    for (int i = 0; i < 4; i++) {
        CASE("i %d", i);
        count_from_now(p.c);
        CHECK_EQ(pool_stats(p.c).pool_bytes, 0); /* of this session */
        CHECK_EQ(pool_stats(p.c).closed_at_ns, 0);
        CALL(work(&p, 1, (uint64_t)i));
        CHECK_EQ(pool_stats(p.c).lifetime_pool_bytes, wear + asked);
        if (i % 2) {
            wear += asked + OPEN_BYTES;
            pool_crash(&p);
            (void)pool_up(&p);
        } else {
            uint64_t worked = asked;
            pool_down(&p);
            CHECK(asked >= worked + BLK + 2 * sizeof(struct cm_super)); /* a memo page at least */
            cm_stats_data s;
            CHECK_EQ(cm_stats_sum(p.base, &s), 0);
            CHECK_EQ(s.lifetime_pool_bytes, wear + asked);
            CHECK(s.closed_at_ns >= s.opened_at_ns && s.opened_at_ns > 0);
            wear += asked + OPEN_BYTES;
            (void)pool_up(&p);
        }
        CHECK_EQ(pool_stats(p.c).lifetime_pool_bytes, wear);
    }
    pool_end(&p);
}

/* ---- The limit ------------------------------------------------------------------------------- */

#define RATE (4 * MIB) /* a thread sanitizer on a slow machine comes to 20 */
#define LIMITED_THREADS 4u
#define LIMITED_MS 700u

static void *run_limited(void *arg)
{
    struct worker *w = arg;
    static const uint8_t data[8 * CM_BLOCK_SIZE];
    cm_file *f = attach(w->p, 1 + w->number, GIB, 1, 0);
    const uint64_t end = cm_now() + LIMITED_MS * UINT64_C(1000000);
    /* Longer if the machine is so slow that the limit was not reached yet. */
    const uint64_t last = end + UINT64_C(60000000000);
    for (uint64_t b = 0, now = 0; now < end || (STAT(w->p->c, refused_policy) == 0 && now < last);
         b = (b + 8) % 100000, now = cm_now()) {
        cm_miss m = miss_of(f, b * BLK, 8 * BLK);
        if (m.len)
            CHECK(cm_fill(f, &m, data, m.len, 0) >= 0);
    }
    detach(f);
    return NULL;
}

/* With any number of fillers: one second's amount at once, then the rate, and one batch more. */
static void check_limit(uint64_t probation)
{
    struct pool p;
    struct worker w[LIMITED_THREADS];
    pool_make(&p, 64 * MIB, 0);
    p.o.fill_rate_limit = RATE;
    p.o.probation_bytes = probation > 0 ? probation : CM_PROBATION_NONE;
    REQUIRE(pool_up(&p) == 0);
    uint64_t began = cm_now();
    for (uint64_t i = 0; i < LIMITED_THREADS; i++) {
        CASE("i %" PRIu64, i);
        w[i] = (struct worker){ .p = &p, .number = i };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, run_limited, &w[i]), 0);
    }
    for (unsigned i = 0; i < LIMITED_THREADS; i++)
        pthread_join(w[i].thread, NULL);
    double seconds = (double)(cm_now() - began) / 1e9;
    uint64_t stored = (uint64_t)STAT(p.c, fill_bytes);
    printf("# %.1f MiB in %.2f s\n", (double)stored / (double)MIB, seconds);
    CHECK((double)stored <= (double)RATE * (1 + seconds) + 16 * BLK);
    CHECK(stored > RATE); /* the burst, and more */
    CHECK(STAT(p.c, refused_policy) > 0);
    pool_end(&p);
}

static void test_limit(void)
{
    CALL(check_limit(0));
    CALL(check_limit(MIB)); /* what waits there costs nothing until it leaves */
}

/* Most blocks are read once. If a write weighs as much as a hit, such blocks are not stored any
 * more; if it weighs nearly nothing, they are. */
static void test_weight(void)
{
    for (uint32_t weight = 1; weight <= 1000; weight += 999) {
        CASE("weight %" PRIu32, weight);
        struct pool p;
        pool_make(&p, MIB, 0);
        p.o.wear_weight = weight;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
        for (uint64_t i = 0; i < 4000; i++)
            (void)put(f, i % 4 ? 1000 + i : i / 4 % 20, 1);
        CHECK_EQ(cm_ring_refuses(&p.c->policy.ring), weight == 1000);
        CHECK_EQ(STAT(p.c, refused_policy) > 500, weight == 1000);
        pool_end(&p);
    }
}

static const struct harness_test tests[] = { TEST(counted), TEST(threads), TEST(shared),

                                             TEST(life),    TEST(limit),   TEST(weight) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
