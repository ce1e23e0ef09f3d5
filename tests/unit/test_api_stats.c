/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_stats.c - modes, limits, and what the public interface reports about itself: counters,
 * memory and the time of an open.
 */
#include "api_common.h"
#include "api/cache.h"
#include "file_failing.h"

#include <inttypes.h>

#include "../os.h"

/* Wine reserves memory for what it maps, so pools end where the machine's memory does; a user-mode
 * emulator (CM_TEST_EMULATED=1) keeps a list of all pages; and the thread sanitizer leaves no
 * terabyte of addresses in one piece. */
static uint64_t large_pool(void)
{
#if defined(_WIN32) || defined(CM_TSAN)
    return 8 * GIB;
#else
    return getenv("CM_TEST_EMULATED") ? 8 * GIB : 1024 * GIB;
#endif
}

/* ---- Modes and limits ------------------------------------------------------------------------ */

static void test_modes(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    cm_miss before = miss_of(f, 20 * BLK, BLK);
    uint8_t data[CM_BLOCK_SIZE] = { 0 };
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);

    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(pool_info(p.c).mode, CM_FREEZE);
    CHECK_EQ(hits(f, 0, 10, 5), 10);
    CHECK(miss_of(f, 20 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK_EQ(cm_fill(f, &before, data, BLK, 0), CM_NOT_STORED_MODE);
    CHECK_EQ(cm_invalidate(f, 0, BLK), 0); /* forgetting works in every mode */
    CHECK_EQ(hits(f, 0, 10, 5), 9);

    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(hits(f, 0, 10, 5), 0);
    CHECK_EQ(STAT(p.c, miss_mode), 10);
    CHECK_EQ(cm_fill(f, &before, data, BLK, 0), CM_NOT_STORED_MODE);
    cm_bracket w = begin_write(f, BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    cm_iovec v;
    cm_pins pins;
    int n;
    CHECK_EQ(cm_pin_range(f, 5 * BLK, BLK, &v, 1, &n, &pins, NULL), 0);

    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(hits(f, 0, 10, 5), 8);
    CHECK_EQ(STAT(p.c, refused_mode), 2);
    CHECK_EQ(put(f, 0, 5), 0);
    pool_end(&p);
}

/* About one second's amount comes at once, then no more than the rate. */
static void test_rate_limit(void)
{
    struct pool p;
    pool_make(&p, 8 * MIB, 0);
    p.o.fill_rate_limit = MIB;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    uint64_t start = cm_now();
    unsigned stored = put_all(f, 0, 900, 5);
    uint64_t allowed = 257 + 256 * ((cm_now() - start) / 1000000 + 1) / 1000;
    CHECK(stored >= 256);
    CHECK(stored <= allowed);
    CHECK_EQ(STAT(p.c, refused_policy), 900 - stored);
    CHECK_EQ(hits(f, 0, 900, 5), stored);
    sleep_ms(300); /* now about 77 more blocks are allowed */
    unsigned more = put_all(f, 0, 900, 5);
    CHECK(more >= 60);
    pool_end(&p);
}

/* Another limit holds from the next fill on. */
static void test_rate_limit_set(void)
{
    struct pool p;
    pool_make(&p, 8 * MIB, 0);
    p.o.fill_rate_limit = 1; /* 64 KiB take a day */
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    const unsigned stored = put_all(f, 0, 100, 5);
    CHECK(stored >= 1 && stored < 20);
    CHECK_EQ(cm_set_fill_rate_limit(p.c, 0), 0);
    CHECK_EQ(put_all(f, 100, 100, 5), 100);
    CHECK_EQ(cm_set_fill_rate_limit(p.c, 1), 0);
    CHECK(put_all(f, 200, 100, 5) < 20); /* what was stored is owed for an hour */
    CHECK_EQ(cm_set_fill_rate_limit(p.c, 64 * MIB), 0);
    CHECK_EQ(put_all(f, 300, 100, 5), 100); /* of this limit it is little */
    detach(f);
    CHECK_EQ(cm_set_fill_rate_limit(NULL, 1), CM_EHANDLE);
    pool_end(&p);
}

/* What is owed stays owed under a higher limit: it takes half the time under the double one. */
static void test_rate_limit_owed(void)
{
    struct pool p;
    pool_make(&p, 8 * MIB, 0);
    p.o.fill_rate_limit = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK(put_all(f, 0, 400, 5) >= 16); /* a second of it */
    const uint64_t start = cm_now();
    CHECK_EQ(cm_set_fill_rate_limit(p.c, 32 * BLK), 0);
    const unsigned stored = put_all(f, 400, 400, 5);
    CHECK(stored >= 12); /* half a second is left */
    CHECK(stored <= 18 + 32 * ((cm_now() - start) / 1000000 + 1) / 1000);
    pool_end(&p);
}

/* The call returns all or nothing, and a result of nothing is not counted. */
static void test_read_whole(void)
{
    struct pool p;
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK + 100, 1, 0);
    cm_file *unknown = attach_v(&p, 2, NULL, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(put_tail(f, 10, 100, 5), 0);
    CHECK_EQ(put_tail(unknown, 0, 100, 5), 0);
    int64_t missed = STAT(p.c, miss_blocks), hit = STAT(p.c, hit_blocks);
    CHECK_EQ(cm_read_whole(f, 0, buf, 3 * BLK, 0), 3 * BLK);
    CHECK(is_content(5, 0, buf, BLK) && is_content(5, 2, buf + 2 * BLK, BLK));
    CHECK_EQ(cm_read_whole(f, BLK + 7, buf, 9, 0), 9);
    CHECK_EQ(cm_read_whole(f, 10 * BLK, buf, BLK, 0), 100); /* the end of the file */
    CHECK_EQ(cm_read_whole(f, 11 * BLK, buf, BLK, 0), 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, 0, 0), 0);
    CHECK_EQ(STAT(p.c, hit_blocks), hit + 5);
    CHECK_EQ(cm_read_whole(f, 2 * BLK, buf, 2 * BLK, 0), CM_EABSENT);
    CHECK_EQ(cm_read_whole(f, 5 * BLK, buf, BLK, 0), CM_EABSENT);
    CHECK_EQ(cm_read_whole(f, 9 * BLK, buf, 8 * BLK, 0), CM_EABSENT);
    CHECK_EQ(cm_read_whole(unknown, 0, buf, BLK, 0), 100); /* the fill said where it ends */
    CHECK_EQ(cm_read_whole(unknown, 0, buf, 100, 0), 100);
    CHECK_EQ(cm_read_whole(f, OFFSET_LIMIT, buf, BLK, 0), CM_ERANGE);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, 0), CM_EABSENT);
    CHECK_EQ(STAT(p.c, hit_blocks), hit + 7);
    CHECK_EQ(STAT(p.c, miss_blocks), missed);
    pool_end(&p);
}

/* ---- Counters -------------------------------------------------------------------------------- */

/* Any process may write to the page. Impossible values count as unknown. */
static void test_stats_damaged(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    pool_down(&p);
    struct cm_stats_head *h = (struct cm_stats_head *)(void *)(p.base + CM_STATS_OFFSET);
    const uint64_t words[4] = { 1000001, 1000002, UINT64_MAX, UINT64_C(1) << 63 };
    for (unsigned i = 0; i < 4; i++)
        h->curve_hits[i] = words[i];
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    cm_stats_data s = pool_stats(p.c);
    CHECK_EQ(s.curve_hits[0], 1000000);
    for (unsigned i = 1; i < CM_CURVE_POINTS; i++) {
        CASE("i %u", i);
        CHECK(s.curve_hits[i] == CM_CURVE_UNKNOWN);
    }
    pool_end(&p);
}

/* A page that cannot be read counts nothing, and says so. */
static void test_stats_unreadable(void)
{
    struct pool p;
    cm_stats_data s = { .struct_size = sizeof(s) };
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, MIB) == 0);
    const int64_t was = STAT(p.c, incarnations);
    for (unsigned page = 0; page < CM_STATS_BYTES / BLK; page++) {
        CASE("page %u", page);
        uint8_t *const at = p.base + CM_STATS_OFFSET + page * BLK;
        os_protect(at, BLK, OS_NOTHING);
        CHECK_EQ(cm_stats(p.c, &s), CM_EIO);
        cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
        CHECK_EQ(put(f, 0, 5), 0);
        CHECK_EQ(look(f, 0, 5), RIGHT);
        CHECK_EQ(cm_file_abort(f), 0);
        detach(f);
        os_protect(at, BLK, OS_WRITE);
    }
    CHECK_EQ(cm_stats(p.c, &s), 0);
    CHECK(STAT(p.c, incarnations) > was);
    pool_end(&p);
}

/* The offsets of the page, which programs of other versions read. Never change this test to make it
 * pass: a change that moves a field must raise CM_STATS_LAYOUT. */
static void test_stats_golden(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    const uint64_t *page = (const uint64_t *)(const void *)(p.base + 8192);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    cm_plat_thread()->sample = 63;
    for (unsigned i = 0; i < 64; i++) { /* the last one is timed */
        CASE("i %u", i);
        CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), BLK);
    }
    uint64_t sum[128] = { 0 }, timed = 0;
    for (unsigned s = 0; s < 32; s++)
        for (unsigned i = 0; i < 128; i++)
            sum[i] += page[512 + 128 * s + i];
    for (unsigned i = 0; i < 32; i++)
        timed += sum[i];
    CHECK_EQ(page[0] & UINT32_MAX, 1);
    CHECK(page[0] >> 32 >= 37);
    CHECK(page[1] < BLK);                               /* bytes written to make the pool */
    CHECK(page[2] > UINT64_C(1500000000) * 1000000000); /* time of the open */
    CHECK_EQ(page[3], 0);                               /* time of the close: none */
    CHECK_EQ(page[4], (uint64_t)cm_plat_pid());
    CHECK_EQ(timed, 1);
    CHECK_EQ(sum[64], 64);       /* hit_blocks */
    CHECK_EQ(sum[65], 64 * BLK); /* hit_bytes */
    CHECK_EQ(sum[66], 3);        /* miss_blocks */
    CHECK_EQ(sum[73], 3);        /* fill_blocks */
    CHECK_EQ(sum[90], 1);        /* attach_new */
    CHECK_EQ(sum[96], STAT(p.c, pool_bytes));
    pool_down(&p);
    CHECK(page[3] >= page[2]);
    REQUIRE(pool_up(&p) == 0);
    CHECK(page[1] >= sum[96]); /* and the bytes that the close wrote */
    pool_end(&p);
}

/* The page of a newer library, with more counters, and a page of another layout. */
static void test_stats_of_newer(void)
{
    const char *path = make_pool("newer", MIB, 0);
    cm_stats_data s = { .struct_size = sizeof(s) };
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    uint64_t *form = (uint64_t *)(void *)(c->media.base + CM_STATS_OFFSET);
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK_EQ(s.counters, CM_STAT_COUNT);
    uint64_t *lifetime = form + 1;
    const uint64_t wear = *lifetime = 123456789;
    *form = UINT64_C(61000) << 32 | CM_STATS_LAYOUT; /* damaged */
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK_EQ(s.counters, CM_STATS_COUNTERS_MAX);
    *form = UINT64_C(60) << 32 | CM_STATS_LAYOUT;
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK_EQ(s.counters, 60);
    CHECK(s.opened_at_ns != 0);
    *form = UINT64_C(60) << 32 | (CM_STATS_LAYOUT + 1);
    CHECK_EQ(cm_pool_stats(path, &s), CM_EVERSION);
    CHECK_EQ(cm_stats(c, &s), CM_EVERSION);
    CHECK_EQ(cm_close(c), 0);
    c = open_pool(path, 0); /* its next owner starts a new page */
    REQUIRE(c != NULL);
    CHECK_EQ(cm_stats(c, &s), 0);
    CHECK(s.lifetime_pool_bytes >= wear); /* the wear is kept */
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}

/* An open is killed while it adds the last session's wear to the lifetime count: before the count
 * is stored, after it, and with some of the shards at zero. The wear counts once. */
static void test_wear_counts_once(void)
{
    for (unsigned stage = 0; stage < 3; stage++) {
        CASE("stage %u", stage);
        struct pool p;
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 300, 5), 300);
        detach(f);
        pool_down(&p);
        struct cm_stats_head *h = (struct cm_stats_head *)(void *)(p.base + CM_STATS_OFFSET);
        struct cm_stats_shard *shard = (struct cm_stats_shard *)(void *)(h + 1);
        cm_stats_data before = { .struct_size = sizeof(before) };
        CHECK_EQ(cm_stats_sum(p.base, &before), 0);
        CHECK(before.pool_bytes > 300 * BLK);
        h->folding = before.lifetime_pool_bytes;
        if (stage > 0)
            h->lifetime_pool_bytes = h->folding;
        if (stage > 1)
            memset(shard, 0, CM_STATS_SHARDS / 2 * sizeof(*shard));
        cm_stats_data seen = { .struct_size = sizeof(seen) };
        CHECK_EQ(cm_stats_sum(p.base, &seen), 0); /* somebody who watches */
        CHECK_EQ(seen.lifetime_pool_bytes, before.lifetime_pool_bytes);
        REQUIRE(pool_up(&p) == 0);
        const uint64_t earlier = pool_stats(p.c).lifetime_pool_bytes - pool_stats(p.c).pool_bytes;
        CHECK_EQ(earlier, before.lifetime_pool_bytes);
        CHECK_EQ(h->folding, 0);
        pool_end(&p);
    }
}

static void test_stats_by_number(void)
{
    cm_stats_data s = { .struct_size = sizeof(s), .hit_blocks = 7, .unrecorded = 9 };
    unsigned n = 0, last = 0;
    for (; cm_stat_name(n); n++) {
        CHECK(cm_stat_text(n) && cm_stat_text(n)[0]);
        if (strcmp(cm_stat_name(n), "refused_mode") == 0) /* it counts these, too */
            CHECK(strstr(cm_stat_text(n), "the pool grew") != NULL);
        if (strcmp(cm_stat_name(n), "unrecorded") == 0)
            last = n;
    }
    CHECK_EQ(n, CM_STAT_COUNT);
    CHECK(strcmp(cm_stat_name(0), "hit_blocks") == 0);
    CHECK(cm_stat_text(n) == NULL && cm_stat_text(UINT32_MAX) == NULL);
    CHECK_EQ(cm_stat_value(&s, 0), 7);
    CHECK_EQ(cm_stat_value(&s, last), 9);
    CHECK_EQ(cm_stat_value(&s, n), 0);
    CHECK_EQ(cm_stat_value(&s, UINT32_MAX), 0);
    CHECK_EQ(cm_stat_value(NULL, 0), 0);
    s.struct_size = offsetof(cm_stats_data, hit_blocks) + 8; /* the size of an older program */
    CHECK_EQ(cm_stat_value(&s, 0), 7);
    CHECK_EQ(cm_stat_value(&s, last), 0);
}

static void test_stats(void)
{
    struct pool p;
    uint8_t buf[8 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 9000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 4, 5), 4);
    cm_stats_data s = pool_stats(p.c);
    CHECK_EQ(s.fill_blocks, 4);
    CHECK_EQ(s.fill_bytes, 4 * BLK);
    CHECK_EQ(s.miss_blocks, 4);
    CHECK_EQ(s.miss_absent, 4);
    CHECK_EQ(s.attach_new, 1);
    CHECK(s.pool_bytes >= 4 * BLK && s.pool_bytes < 5 * BLK);
    CHECK_EQ(cm_read(f, 0, buf, 4 * BLK, NULL), 4 * BLK);
    CHECK_EQ(cm_read(f, 10, buf, 20, NULL), 20);
    CHECK_EQ(cm_read(f, BLK, buf, 6 * BLK, NULL), 3 * BLK);
    s = pool_stats(p.c);
    CHECK_EQ(s.hit_blocks, 4 + 1 + 3);
    CHECK_EQ(s.hit_bytes, 4 * BLK + 20 + 3 * BLK);
    CHECK_EQ(s.miss_blocks, 4 + 3);
    CHECK_EQ(s.miss_absent, 4 + 3);
    cm_bracket w = begin_write(f, 0, 2 * BLK);
    CHECK_EQ(put(f, 0, 5), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_invalidate(f, 2 * BLK, 1), 0);
    s = pool_stats(p.c);
    CHECK_EQ(s.brackets, 2);
    CHECK_EQ(s.forgotten, 3);
    CHECK_EQ(s.refused_stale, 1);
    uint64_t inc = s.incarnations;
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(pool_stats(p.c).incarnations, inc + 1);
    cm_validator v = val(9000 * BLK, 2);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    (void)put_all(f, 0, 10, 5);
    detach(f);
    f = attach(&p, 1, 9000 * BLK, 2, 0);
    CHECK_EQ(pool_stats(p.c).attach_kept, 1);
    for (unsigned round = 0; round < 4; round++)
        for (uint64_t b = 0; b < 300; b++)
            (void)put(f, b + 1000 * round, 5);
    s = pool_stats(p.c);
    CHECK(s.evicted > 300);
    CHECK_EQ(s.miss_checksum + s.miss_media + s.miss_mode + s.quarantined + s.escalations, 0);
    /* The sum of all causes is the number of all misses. */
    CHECK_EQ(s.miss_blocks, s.miss_absent + s.miss_short + s.miss_conflict + s.miss_checksum +
                                s.miss_media + s.miss_mode);
    pool_end(&p);
}

static uint64_t sum_of(const uint64_t *h)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < CM_LATENCY_BUCKETS; i++)
        n += h[i];
    return n;
}

static int64_t slow_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset;
    sleep_ms(3);
    memset(buf, 0, len);
    return (int64_t)len;
}

static void test_latency(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    for (unsigned i = 0; i < 640; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), BLK);
    }
    for (uint64_t b = 50; b > 40; b -= 2) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_read_through(f, b * BLK, buf, BLK, slow_origin, NULL), BLK);
    }
    cm_stats_data s = pool_stats(p.c);
    CHECK(sum_of(s.hit_latency) >= 5 && sum_of(s.hit_latency) <= 20); /* one in 64 */
    CHECK_EQ(sum_of(s.origin_latency), 5);                            /* every one */
    for (unsigned i = 0; i < 21; i++) {
        CASE("i %u", i);
        CHECK_EQ(s.origin_latency[i], 0); /* 3 ms are 2^21.5 ns */
    }
    CHECK_EQ(s.origin_reads, 5);
    CHECK_EQ(s.origin_bytes, 5 * BLK);
    pool_end(&p);
}

/* What takes longer than the last bucket says is in that one, and in no other histogram. */
static void test_latency_longest(void)
{
    static const enum cm_histogram which[] = { CM_HISTOGRAM_HIT, CM_HISTOGRAM_ORIGIN };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("histogram %u", i);
        cm_stats_latency(&p.c->media, which[i], UINT64_MAX);
        const cm_stats_data s = pool_stats(p.c);
        CHECK_EQ(s.hit_latency[CM_LATENCY_BUCKETS - 1], 1);
        CHECK_EQ(sum_of(s.hit_latency), 1);
        CHECK_EQ(s.origin_latency[CM_LATENCY_BUCKETS - 1], i);
        CHECK_EQ(sum_of(s.origin_latency), i);
    }
    pool_end(&p);
}

/* Counters are of the session. The wear is of the pool's whole life. */
static void test_lifetime(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t wear = 0;
    for (unsigned round = 0; round < 4; round++) {
        CASE("round %u", round);
        cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(STAT(p.c, fill_blocks), 0);
        CHECK_EQ(put_all(f, 30 * round, 30, 5), 30);
        cm_stats_data s = pool_stats(p.c);
        CHECK(s.lifetime_pool_bytes >= wear + 30 * BLK);
        CHECK(s.lifetime_pool_bytes >= wear + s.pool_bytes); /* exactly: test_wear */
        CHECK(s.opened_at_ns > UINT64_C(1500000000) * 1000000000);
        wear = s.lifetime_pool_bytes;
        if (round % 2)
            pool_again(&p);
        else {
            pool_crash(&p);
            (void)pool_up(&p);
        }
    }
    pool_end(&p);
}

void stats_body(void *arg)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    CHECK_EQ(cm_pool_stats(arg, &s), 0);
    CHECK_EQ(s.fill_blocks, 25);
}

static void test_stats_from_outside(void)
{
    const char *path = make_pool("stats", MIB, 0);
    struct pool p = { 0 };
    p.c = open_pool(path, 0);
    REQUIRE(p.c != NULL);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 25, 5), 25);
    in_child(stats_body, (void *)(uintptr_t)path);
    CHECK_EQ(cm_close(p.c), 0);
    stats_body((void *)(uintptr_t)path); /* and after the owner is gone */
    (void)unlink(path);
}

/* ---- What a pool says about itself ----------------------------------------------------------- */

static void check_info(const cm_info *i, uint64_t size)
{
    struct cm_geometry g;
    CHECK_EQ(cm_format_plan(size, 0, 0, &g), 0);
    CHECK_EQ(i->struct_size, sizeof(*i));
    CHECK_EQ(i->version, CM_FORMAT_VERSION);
    CHECK_EQ(i->size, size);
    CHECK_EQ(i->slots, g.slots);
    CHECK_EQ(i->max_files, g.record_buckets * CM_RECORD_WAYS / 9 * 8);
    CHECK_EQ(i->metadata_bytes, size - g.slots * BLK);
    CHECK_EQ(i->memo_bytes, g.memo_pages * BLK);
    CHECK_EQ(i->superblocks_damaged, 0);
    CHECK_EQ(i->emptied, 0);
    CHECK_EQ(i->mode, CM_NORMAL);
    CHECK(i->epoch >= 1);
    CHECK(strlen(i->flush) > 0 && strlen(i->copy) > 0);
    CHECK(i->durability == CM_DURABILITY_VOLATILE || i->durability == CM_DURABILITY_PAGECACHE);
    CHECK(strcmp(i->flush, "none") == 0);
}

static void test_info(void)
{
    const char *path = make_pool("info", 3 * MIB, 0);
    struct pool p = { 0 };
    cm_info i = { .struct_size = sizeof(i) }, j;
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CALL(check_info(&i, 3 * MIB));
    CHECK(i.clean == 1 && i.owned == 0);
    p.c = open_pool(path, 0);
    REQUIRE(p.c != NULL);
    j = pool_info(p.c);
    CALL(check_info(&j, 3 * MIB));
    CHECK(memcmp(i.uuid, j.uuid, 16) == 0);
    CHECK(j.clean == 0 && j.owned == 1);
    CHECK_EQ(j.owner_pid, cm_plat_pid());
    CHECK_EQ(j.used_slots, 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 25, 5), 25);
    CHECK(pool_info(p.c).used_slots >= 25);
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK(i.clean == 0 && i.owned == 1);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(cm_pool_info(path, &i), 0);
    CHECK(i.clean == 1 && i.owned == 0);
    CHECK(i.used_slots >= 25);
    (void)unlink(path);
}

static void test_info_dax(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("no flush instruction in this build");
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    p.o.flags = CM_OPEN_REQUIRE_DAX;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).durability, CM_DURABILITY_DAX);
    CHECK(strcmp(pool_info(p.c).flush, "none") != 0);
    pool_end(&p);
}

/* ---- Memory and time ------------------------------------------------------------------------- */

static uint64_t allocated;
static void *counting_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    allocated += bytes;
    return map_bytes(bytes);
}
static void counting_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    allocated -= bytes;
    unmap_bytes(p, bytes);
}

/* A slot takes at most 12 bytes of DRAM, both as reported and as allocated. */
static void check_dram(uint64_t size)
{
    const char *path = make_pool("dram", size, CM_CREATE_SPARSE);
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    cm_cache *c = NULL;
    cm_info i = { .struct_size = sizeof(i) };
    o.alloc = counting_alloc;
    o.free = counting_free;
    allocated = 0;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    REQUIRE(c != NULL);
    CHECK_EQ(cm_get_info(c, &i), 0);
    CHECK(i.dram_bytes <= 12 * i.slots);
    CHECK(allocated <= i.dram_bytes + 4096 && allocated + 4096 >= i.dram_bytes);
    printf("# %llu MiB: %.2f bytes of DRAM a slot\n", (unsigned long long)(size / MIB),
           (double)i.dram_bytes / (double)i.slots);
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(allocated, 0); /* all of it is given back */
    (void)unlink(path);
}

/* A chain of the table of open files has few, also if all are open that a pool knows. */
static void test_chains_of_files(void)
{
    const uint64_t files[] = { 0, 60000, 120000 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("files %u", i);
        struct pool p;
        pool_make(&p, 512 * MIB, files[i]);
        REQUIRE(pool_up(&p) == 0);
        const uint64_t chains = p.c->file_chains;
        CHECK(chains >= 4096 && files[i] < 8 * chains);
        CHECK(i > 0 || chains == 4096);
        CHECK(i < 2 || chains <= files[i] / 3);
        uint64_t longest = 0, all = 0;
        for (uint64_t n = 0; n < 3000; n++)
            (void)attach(&p, n + 1, BLK, 1, 0);
        for (uint64_t chain = 0; chain < chains; chain++) {
            uint64_t n = 0;
            for (const struct cm_object *f = p.c->file_hash[chain]; f; f = f->next)
                n++;
            all += n;
            longest = n > longest ? n : longest;
        }
        CHECK_EQ(all, 3000);
        CHECK(longest < 12); /* less than one on average */
        pool_end(&p);
    }
}

static void test_dram(void)
{
    CALL(check_dram(GIB));
    CALL(check_dram(GIB + 5 * BLK));
    CALL(check_dram(large_pool() / 32 + GIB));
    CALL(check_dram(large_pool()));
}

/* The error paths leak nothing either. */
static void test_no_leaks(void)
{
    struct pool p;
    cm_cache *c = NULL;
    pool_make(&p, MIB, 0);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    struct cm_super sb = *super_at(&p, 0);
    memset(p.base, 0, 8192);
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &c), CM_ENOTPOOL);
    CHECK_EQ(allocated, 0);
    *super_at(&p, 0) = sb;
    REQUIRE(pool_up(&p) == 0);
    for (unsigned i = 0; i < 300; i++) {
        CASE("i %u", i);
        cm_file *f = attach(&p, 1 + i, 100 * BLK, 1, 0);
        cm_bracket w = begin_write(f, 0, 1);
        (void)begin_write(f, 0, 1);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_file_abort(f), 0);
        uint8_t buf[100];
        CHECK_EQ(cm_read_through(f, 1, buf, 100, slow_origin, NULL), 100);
    }
    pool_down(&p);
    CHECK_EQ(allocated, 0);
    pool_end(&p);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

#define OPENS 61

static uint64_t time_open(const char *path, bool killed)
{
    cm_cache *c = NULL;
    uint64_t start = cm_now();
    int e = cm_open(path, NULL, &c);
    uint64_t took = cm_now() - start;
    CHECK_EQ(e, 0);
    if (c && killed)
        cm_cache_destroy(c); /* what the end of a process does */
    else if (c)
        CHECK_EQ(cm_close(c), 0);
    return took;
}

/* Opening a large pool takes no longer than opening 1 GiB, whether it was closed or not. */
static void test_open_time(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator takes time for each page that is mapped");
    uint64_t small[OPENS], large[OPENS];
    char small_path[512], large_path[512];
    (void)snprintf(small_path, sizeof(small_path), "%s", make_pool("small", GIB, CM_CREATE_SPARSE));
    (void)snprintf(large_path, sizeof(large_path), "%s",
                   make_pool("large", large_pool(), CM_CREATE_SPARSE));
    for (unsigned killed = 0; killed < 2; killed++) {
        CASE("killed %u", killed);
        for (unsigned i = 0; i < OPENS; i++) {
            small[i] = time_open(small_path, killed);
            large[i] = time_open(large_path, killed);
        }
        qsort(small, OPENS, sizeof(*small), by_value);
        qsort(large, OPENS, sizeof(*large), by_value);
        /* Compare only the quick opens: on a busy machine the others may take any time. */
        double ratio = (double)large[OPENS / 8] / (double)small[OPENS / 8];
        printf("# open %s: 1 GiB %llu us, %llu GiB %llu us, ratio %.2f\n",
               killed ? "after a kill" : "after a close",
               (unsigned long long)small[OPENS / 8] / 1000,
               (unsigned long long)(large_pool() / GIB),
               (unsigned long long)large[OPENS / 8] / 1000, ratio);
        CHECK(ratio <= 2.0);
    }
    (void)unlink(small_path);
    (void)unlink(large_path);
}

static void *no_alloc(void *ctx, size_t bytes)
{
    (void)ctx, (void)bytes;
    return NULL;
}

/* A bracket may end in any order or by an abort, or may fail to begin, whether its memory is in the
 * file or not. */
static void test_bracket_memory(void)
{
    static const unsigned order[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                         { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    uint64_t before = allocated;
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        cm_bracket w[3];
        for (unsigned k = 0; k < 3; k++)
            w[k] = begin_write(f, k * BLK, BLK);
        CHECK(allocated > before);
        for (unsigned k = 0; k < 3; k++) {
            CASE("k %u", k);
            CHECK(cm_write_end(f, &w[order[i][k]], NULL) >= 0);
            CHECK_EQ(cm_write_end(f, &w[order[i][k]], NULL), CM_EBRACKET);
        }
        CHECK_EQ(allocated, before);
    }
    cm_bracket old = begin_write(f, 0, 1);
    (void)begin_write(f, 0, 1);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(allocated, before);
    CHECK_EQ(cm_write_end(f, &old, NULL), CM_EBRACKET);
    cm_bracket w = begin_write(f, 0, 1), none;
    CHECK_EQ(allocated, before); /* the abort gave the room in the file back, too */
    p.c->opts.alloc = no_alloc;
    CHECK_EQ(cm_write_begin(f, 0, 1, &none), CM_ENOMEM);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    w = begin_write(f, 0, 1);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->opts.alloc = counting_alloc;
    w = begin_write(f, 0, 1); /* has the room in the file */
    break_range(&p, 0, p.bytes);
    CHECK(bump_epoch(p.c) < 0);
    CHECK_EQ(cm_write_begin(f, BLK, 1, &none), CM_EFORGET);
    CHECK_EQ(allocated, before);
    p.c->media.ops = &real;
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Files that are open together share memory, and one that is closed gives its part to the next. */
static void test_file_memory(void)
{
    enum { FILES = 60 };
    cm_file *f[FILES];
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    REQUIRE(pool_up(&p) == 0);
    detach(attach(&p, 1000, 9 * BLK, 1, 0));
    const uint64_t before = allocated;
    for (unsigned turn = 0; turn < 3; turn++) {
        CASE("turn %u", turn);
        for (unsigned i = 0; i < FILES; i++)
            f[i] = attach(&p, turn * FILES + i, 9 * BLK, 1, 0);
        CHECK_EQ(allocated, before);
        for (unsigned i = 0; i < FILES; i++)
            detach(f[i]);
    }
    pool_end(&p);
}

/* A session that goes on has no time of its close, and what has no meaning yet is 0. */
static void test_stats_of_session(void)
{
    static const uint64_t none[sizeof(((cm_stats_data *)0)->reserved) / 8];
    static const uint64_t hits_of[CM_CURVE_POINTS] = { 0, 1, 2, 999999, 1000000, CM_CURVE_UNKNOWN };
    struct pool p;
    cm_stats_data s;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned turn = 0; turn < 2; turn++) {
        CASE("turn %u", turn);
        s = pool_stats(p.c);
        CHECK(s.opened_at_ns != 0 && s.closed_at_ns == 0);
        CHECK(memcmp(s.reserved, none, sizeof(none)) == 0);
        cm_stats_curve(&p.c->media, hits_of, 5, 6);
        CHECK_EQ(cm_stats_sum(p.base, &s), 0); /* what is written is what is read */
        CHECK(memcmp(s.curve_hits, hits_of, sizeof(hits_of)) == 0);
        CHECK(s.curve_reads == 5 && s.curve_skipped == 6);
        pool_down(&p);
        CHECK_EQ(cm_stats_sum(p.base, &s), 0);
        CHECK(s.closed_at_ns != 0);
        REQUIRE(pool_up(&p) == 0);
    }
    pool_end(&p);
}

/* What quotas and kept files take is given back by the close. */
static void test_all_memory_back(void)
{
    struct pool p;
    pool_make(&p, 16 * MIB, 1000);
    p.o.alloc = counting_alloc;
    p.o.free = counting_free;
    allocated = 0;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_group_set_quota(p.c, 5, 10 * BLK), 0);
    CHECK_EQ(cm_group_set_quota(p.c, 6, 10 * BLK), 0);
    for (uint64_t id = 1; id < 100; id++) {
        cm_file *f = attach(&p, id, 2 * BLK, 1, 0);
        CHECK_EQ(cm_group_set_quota(p.c, 7, BLK), CM_EBUSY); /* too late for a new one */
        CHECK_EQ(cm_file_set_group(f, 5 + id % 2), 0);
        CHECK_EQ(cm_file_set_keep(f, id < 98), 0);
        (void)put_all(f, 0, 2, id);
        detach(f);
    }
    CHECK_EQ(pool_info(p.c).kept_files, 97); /* however full the table is */
    pool_down(&p);
    CHECK_EQ(allocated, 0);
    pool_end(&p);
}

const struct harness_test api_stats_tests[] = {
    TEST(modes),
    TEST(all_memory_back),
    TEST(rate_limit),
    TEST(rate_limit_set),
    TEST(rate_limit_owed),
    TEST(read_whole),
    TEST(stats),
    TEST(stats_damaged),
    TEST(stats_unreadable),
    TEST(stats_golden),
    TEST(stats_of_newer),
    TEST(stats_by_number),
    TEST(latency),
    TEST(latency_longest),
    TEST(wear_counts_once),
    TEST(lifetime),
    TEST(stats_from_outside),
    TEST(info),
    TEST(info_dax),
    TEST(chains_of_files),
    TEST(dram),
    TEST(no_leaks),
    TEST(bracket_memory),
    TEST(file_memory),
    TEST(stats_of_session),
    TEST(open_time),
    TEST_END,
};
