/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_advice.c - what a scan of one file costs another one that is read again and again, and what
 * cm_file_advise() changes in that; through the public API, as a front end does it.
 *
 * The hot file is four times as large as the pool and read with a Zipf distribution. The scan goes
 * once through a file of that size with cm_read_through, so that it is read ahead of need. What is
 * compared are the hits of as many hot reads afterwards as the pool has slots. scan-test.py has
 * more scans, but without advice and without read-ahead.
 */
#include <inttypes.h>
#include <cachemax.h>

#include <stdlib.h>

#include "../os.h"
#include "../unit/harness.h"

#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define POOL_BYTES ((uint64_t)32 << 20)

struct world {
    void *base;
    cm_cache *cache;
    cm_file *hot, *scanned;
    uint64_t slots, blocks; /* of the pool; of the hot file */
    double *weight;         /* of the hot file's blocks up to each, summed up */
    uint64_t random;
};

static cm_file *open_file(cm_cache *c, uint64_t number)
{
    const cm_file_id id = { 1, number };
    cm_file *f = NULL;
    CHECK_EQ(cm_file_open(c, &id, NULL, CM_SOLE_WRITER, &f), 0);
    return f;
}

static void begin(struct world *w, uint32_t policy, uint64_t probation)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    *w = (struct world){ .random = 6 };
    w->base = os_aligned(CM_BLOCK_SIZE, POOL_BYTES);
    CHECK_EQ(cm_format_memory(w->base, POOL_BYTES, NULL), 0);
    o.policy = policy;
    o.probation_bytes = probation;
    CHECK_EQ(cm_open_memory(w->base, POOL_BYTES, &o, &w->cache), 0);
    CHECK_EQ(cm_get_info(w->cache, &info), 0);
    w->slots = info.slots;
    w->blocks = 4 * info.slots;
    w->hot = open_file(w->cache, 1);
    w->scanned = open_file(w->cache, 2);
    w->weight = malloc(w->blocks * sizeof(*w->weight));
    REQUIRE(w->weight);
    double sum = 0;
    for (uint64_t i = 0; i < w->blocks; i++)
        w->weight[i] = sum += 1.0 / (double)(i + 1);
}

static void end(struct world *w)
{
    free(w->weight);
    CHECK_EQ(cm_close(w->cache), 0);
    os_aligned_free(w->base);
}

/* A block of the hot file: one in few comes often, and they are all over the file. */
static uint64_t draw(struct world *w)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    double x = (double)(w->random >> 11) / (double)(UINT64_C(1) << 53) * w->weight[w->blocks - 1];
    uint64_t low = 0, high = w->blocks - 1;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (w->weight[middle] > x)
            high = middle;
        else
            low = middle + 1;
    }
    return low * UINT64_C(2654435761) % w->blocks;
}

/* n reads of the hot file, and how many of them hit. */
static uint64_t read_hot(struct world *w, uint64_t n)
{
    static uint8_t data[CM_BLOCK_SIZE];
    uint64_t hits = 0;
    for (uint64_t i = 0; i < n; i++) {
        CASE("i %" PRIu64, i);
        cm_miss miss;
        int64_t got = cm_read(w->hot, draw(w) * BLOCK, data, BLOCK, &miss);
        hits += got == (int64_t)BLOCK;
        if (got < (int64_t)BLOCK)
            CHECK(cm_fill(w->hot, &miss, data, miss.len, 0) >= 0);
    }
    return hits;
}

static int64_t origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    (void)offset;
    memset(buf, 1, len);
    return (int64_t)len;
}

/* Goes through [first, first + blocks) of a file in requests of `request` bytes. */
static void scan(cm_file *f, uint64_t first, uint64_t blocks, size_t request)
{
    static uint8_t data[64 * 1024];
    const uint64_t end = (first + blocks) / (request / BLOCK) * request;
    for (uint64_t at = first * BLOCK; at < end; at += request) {
        CASE("at %" PRIu64, at);
        CHECK_EQ(cm_read_through(f, at, data, request, origin, NULL), request);
    }
}

static cm_stats_data stats_of(const struct world *w)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    CHECK_EQ(cm_stats(w->cache, &s), 0);
    return s;
}

/* ---- What a scan costs ----------------------------------------------------------------------- */

#define NO_SCAN (-1)
static const char *const advice_names[] = { "normal", "sequential", "noreuse", "keep" };
static const struct setting {
    const char *name;
    uint32_t policy;
    uint64_t probation;
} settings[] = {
    { "s3r", CM_POLICY_S3R, CM_PROBATION_NONE },
    { "s3r, buffer of 1 %", CM_POLICY_S3R, 0 },
    { "s3r, buffer of 10 %", CM_POLICY_S3R, POOL_BYTES / 10 },
    /* One hit earns a place, and the first read of what was read ahead is one: docs/policy.md. */
    { "auto", CM_POLICY_AUTO, CM_PROBATION_NONE },
    { "auto, buffer of 1 %", CM_POLICY_AUTO, 0 },
    { "auto, buffer of 10 %", CM_POLICY_AUTO, POOL_BYTES / 10 },
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* Hit ratio of the hot file in percent, after a scan with that advice; *cost: what it moved. */
static double hot_after(const struct setting *s, int hot, int scanned, cm_stats_data *cost)
{
    struct world w;
    CALL(begin(&w, s->policy, s->probation));
    CHECK_EQ(cm_file_advise(w.hot, hot), 0);
    (void)read_hot(&w, 12 * w.slots);
    cm_stats_data before = stats_of(&w);
    if (scanned != NO_SCAN) {
        CHECK_EQ(cm_file_advise(w.scanned, scanned), 0);
        CALL(scan(w.scanned, 0, 4 * w.slots, 64 * 1024));
    }
    *cost = stats_of(&w);
    cost->pool_bytes -= before.pool_bytes;
    cost->evicted -= before.evicted;
    cost->buffered -= before.buffered;
    double percent = 100.0 * (double)read_hot(&w, w.slots) / (double)w.slots;
    CALL(end(&w));
    return percent;
}

static void print_cost(const struct setting *s, const char *what, double percent,
                       const cm_stats_data *cost)
{
    printf("# %s: %s: %.1f %% of the hot reads hit, %.0f MiB written to the pool\n", s->name, what,
           percent, (double)cost->pool_bytes / (1 << 20));
}

static void test_scan(void)
{
    for (unsigned i = 0; i < SETTINGS; i++) {
        CASE("i %u", i);
        cm_stats_data cost;
        double without = hot_after(&settings[i], CM_ADVISE_NORMAL, NO_SCAN, &cost);
        print_cost(&settings[i], "no scan", without, &cost);
        for (int a = CM_ADVISE_NORMAL; a <= CM_ADVISE_SEQUENTIAL; a++) {
            CASE("a %d", a);
            double with = hot_after(&settings[i], CM_ADVISE_NORMAL, a, &cost);
            print_cost(&settings[i], advice_names[a], with, &cost);
            CHECK(with >= without - 2);
        }
    }
}

/* It leaves no trace, whatever the policy: nothing is stored, evicted or held. */
static void test_noreuse(void)
{
    for (unsigned i = 0; i < SETTINGS; i++) {
        CASE("i %u", i);
        cm_stats_data cost;
        double without = hot_after(&settings[i], CM_ADVISE_NORMAL, NO_SCAN, &cost);
        double with = hot_after(&settings[i], CM_ADVISE_NORMAL, CM_ADVISE_NOREUSE, &cost);
        print_cost(&settings[i], "noreuse", with, &cost);
        CHECK(with >= without - 1); /* placement is random */
        CHECK_EQ(cost.pool_bytes, 0);
        CHECK_EQ(cost.evicted, 0);
        CHECK_EQ(cost.buffered, 0);
    }
}

/* ---- What is kept ---------------------------------------------------------------------------- */

/* How many of a file's blocks, an eighth of the pool, read once, are still there after a scan of
 * another file and as many hot reads as the pool has slots; in percent. */
static double kept(const struct setting *s, int advice)
{
    static uint8_t data[CM_BLOCK_SIZE];
    struct world w;
    CALL(begin(&w, s->policy, s->probation));
    (void)read_hot(&w, 4 * w.slots);
    cm_file *f = open_file(w.cache, 3);
    CHECK_EQ(cm_file_advise(f, advice), 0);
    uint64_t blocks = w.slots / 8 / 16 * 16, there = 0;
    CALL(scan(f, 0, blocks, 64 * 1024));
    CALL(scan(w.scanned, 0, 4 * w.slots, 64 * 1024));
    (void)read_hot(&w, w.slots);
    for (uint64_t b = 0; b < blocks; b++)
        there += cm_read(f, b * BLOCK, data, BLOCK, NULL) == (int64_t)BLOCK;
    CALL(end(&w));
    return 100.0 * (double)there / (double)blocks;
}

static void test_keep(void)
{
    for (unsigned i = 0; i < SETTINGS; i++) {
        CASE("i %u", i);
        double normal = kept(&settings[i], CM_ADVISE_NORMAL);
        double keep = kept(&settings[i], CM_ADVISE_KEEP);
        printf("# %s: of a file that was read once: normal %.1f %%, keep %.1f %%\n",
               settings[i].name, normal, keep);
        CHECK(keep >= 90);
        CHECK(normal <= 20);
    }
}

/* Of a file larger than the pool, where all is to be kept nothing is: it is printed. */
static void test_keep_too_much(void)
{
    for (unsigned i = 0; i < SETTINGS; i++) {
        CASE("i %u", i);
        cm_stats_data cost;
        double keep = hot_after(&settings[i], CM_ADVISE_KEEP, NO_SCAN, &cost);
        print_cost(&settings[i], "the hot file kept, no scan", keep, &cost);
    }
}

/* ---- Reading ahead --------------------------------------------------------------------------- */

/* Origin reads for 256 KiB in requests of 4 KiB that begin somewhere in a file. */
static uint64_t origin_reads(int advice)
{
    struct world w;
    CALL(begin(&w, CM_POLICY_S3R, CM_PROBATION_NONE));
    CHECK_EQ(cm_file_advise(w.scanned, advice), 0);
    CALL(scan(w.scanned, 1000, 64, BLOCK));
    uint64_t n = stats_of(&w).origin_reads;
    CALL(end(&w));
    return n;
}

static void test_origin_reads(void)
{
    uint64_t n[4];
    for (int a = CM_ADVISE_NORMAL; a <= CM_ADVISE_KEEP; a++) {
        CASE("a %d", a);
        n[a] = origin_reads(a);
        printf("# %s: %llu origin reads for 64 blocks in a row\n", advice_names[a],
               (unsigned long long)n[a]);
    }
    CHECK_EQ(n[CM_ADVISE_SEQUENTIAL], 1);
    CHECK(n[CM_ADVISE_NORMAL] > 1 && n[CM_ADVISE_NORMAL] <= 8);
    CHECK_EQ(n[CM_ADVISE_KEEP], n[CM_ADVISE_NORMAL]);
    CHECK_EQ(n[CM_ADVISE_NOREUSE], 64);
}

static const struct harness_test tests[] = {
    TEST(scan), TEST(noreuse), TEST(keep), TEST(keep_too_much), TEST(origin_reads),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
