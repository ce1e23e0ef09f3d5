/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files_ranges.c - which bytes of a file are cached.
 */
#include "files_common.h"

#include "protocol/lookup.h"
#include "protocol/survey.h"

/* ---- Cached ranges --------------------------------------------------------------------------- */

/* Compares the runs from `offset` on with those of a text: "0+2 5+1" in blocks. */
static void expect_runs(cm_file *f, uint64_t offset, const char *want)
{
    cm_range r[16];
    char text[256] = "";
    int64_t n = cm_file_ranges(f, offset, r, 16);
    CHECK(n >= 0);
    for (int64_t i = 0; i < n; i++) {
        const size_t at = strlen(text);
        CHECK(r[i].len > 0);
        (void)snprintf(text + at, sizeof(text) - at, "%s%g+%g", i ? " " : "",
                       (double)r[i].offset / (double)BLK, (double)r[i].len / (double)BLK);
    }
    if (strcmp(text, want) != 0)
        printf("# '%s', not '%s'\n", text, want);
    CHECK(strcmp(text, want) == 0);
}
#define expect_runs(...) CALL(expect_runs(__VA_ARGS__)) /* its checks say who called */

/* A narrow file is looked up block by block; for a wide one the headers are read. Both find the
 * same. */
static void test_ranges(void)
{
    for (unsigned wide = 0; wide < 2; wide++)
        for (unsigned buffer = 0; buffer < 2; buffer++) {
            CASE("wide %u, buffer %u", wide, buffer);
            struct pool p;
            cm_file *f = files_begin(&p, wide, buffer, 101 * BLK - 96);
            cm_file *other = attach(&p, 2, 200 * BLK, 7, 0);
            expect_runs(f, 0, "");
            CHECK_EQ(put_all(other, 0, 40, 2), 40);
            CHECK_EQ(put_all(f, 3, 2, 1), 2);
            CHECK_EQ(put_all(f, 60, 8, 1), 8);
            CHECK_EQ(put(f, 0, 1), 0);
            CHECK_EQ(put_all(f, 5, 1, 1), 1);
            CHECK_EQ(put_tail(f, 100, 4000, 1), 0);
            CHECK_EQ(put_all(other, 70, 2, 2), 2);
            expect_runs(f, 0, "0+1 3+3 60+8 100+0.976562");
            expect_runs(f, BLK, "3+3 60+8 100+0.976562");
            expect_runs(f, 4 * BLK + BLK / 2, "4.5+1.5 60+8 100+0.976562");
            expect_runs(f, 100 * BLK + 4000, "");
            expect_runs(f, 101 * BLK, "");
            CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 12 * BLK + 4000);
            CHECK_EQ(cm_file_cached(f, 4 * BLK + 5, 57 * BLK), 3 * BLK);
            CHECK_EQ(cm_file_cached(f, 6 * BLK, 54 * BLK), 0);
            CHECK_EQ(cm_file_cached(f, 7, 0), 0);
            CHECK_EQ(cm_file_cached(f, UINT64_MAX, 1), CM_ERANGE);
            cm_range few[2];
            CHECK_EQ(cm_file_ranges(f, 0, few, 2), 2);
            CHECK_EQ(few[1].offset, 3 * BLK);
            CHECK_EQ(few[1].len, 3 * BLK);
            CHECK_EQ(cm_file_ranges(f, 0, NULL, 0), 0);
            cm_bracket w = begin_write(f, 61 * BLK, BLK);
            expect_runs(f, 6 * BLK, "60+1 62+6 100+0.976562");
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
            const cm_file_id id = id_of(1);
            CHECK_EQ(cm_forget(p.c, &id), 0);
            expect_runs(f, 0, "");
            CHECK_EQ(cm_object_of(f)->limit, 0); /* nothing behind it needs to be looked for */
            pool_end(&p);
        }
}

/* A file gets its known end after blocks behind it were stored. What no read gives does not count.
 */
static void test_ranges_end(void)
{
    for (unsigned wide = 0; wide < 2; wide++)
        for (unsigned buffer = 0; buffer < 2; buffer++) {
            CASE("wide %u, buffer %u", wide, buffer);
            const uint64_t first = wide ? FAR : 0, at = first * BLK;
            struct pool p;
            cm_range r;
            pool_make(&p, MIB, 0);
            if (buffer)
                p.o.probation_bytes = 16 * BLK;
            REQUIRE(pool_up(&p) == 0);
            cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 7, 0);
            CHECK_EQ(put_all(f, first, 4, 1), 4);
            CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 4 * BLK);
            const cm_validator v = val(at + 5000, 7);
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
            CHECK_EQ(cm_file_ranges(f, 0, &r, 1), 1);
            CHECK_EQ(r.offset, at);
            CHECK_EQ(r.len, 5000);
            CHECK_EQ(cm_file_ranges(f, at + 4999, &r, 1), 1);
            CHECK_EQ(r.len, 1);
            CHECK_EQ(cm_file_ranges(f, at + 5000, &r, 1), 0);
            CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 5000);
            CHECK_EQ(cm_file_cached(f, at + BLK + 10, 2000), 5000 - (int64_t)BLK - 10);
            CHECK_EQ(cm_file_cached(f, at + 5000, 10), 0);
            CHECK_EQ(cm_drop(f, 0, CM_ALL), 5000);
            CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 0);
            CHECK_EQ(STAT(p.c, dropped), 2);
            pool_end(&p);
        }
}

/* In a wide file blocks may be anywhere. */
static void test_ranges_far(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_wide(&p, 1);
    uint64_t random = 5, offset = 0, blocks = 0;
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(put(f, 3 + next_random(&random) % FAR, 1), 0);
    CHECK_EQ(put_all(f, FAR + 50, 2, 1), 2);
    for (int64_t n; (n = cm_file_ranges(f, offset, (cm_range[1]){ { 0, 0 } }, 1)) == 1; blocks++) {
        cm_range r;
        CHECK_EQ(cm_file_ranges(f, offset, &r, 1), 1);
        CHECK(r.offset >= offset && slot_of(f, r.offset / BLK) != CM_NO_SLOT);
        offset = r.offset + r.len;
    }
    CHECK_EQ(blocks, 101);
    CHECK_EQ(offset, (FAR + 52) * BLK);
    pool_end(&p);
}

/* What the calls have cost. */
static uint64_t lookups, passes;
static bool finds_twice; /* a block that moves meanwhile may be */
/* After a pass, or after the first block that it finds, n blocks go; the next n after the next
 * pass, and so on, `again` times. */
static struct {
    cm_file *f;
    bool in_pass;
    uint64_t first, n, again;
} going;

static void let_go(void)
{
    if (going.n == 0)
        return;
    CHECK(cm_drop(going.f, going.first * BLK, going.n * BLK) > 0);
    going.first += going.n;
    if (going.again > 0)
        going.again--;
    else
        going.n = 0;
}

static const struct cm_survey *surveyed;

static int found_one(void *ctx, const struct cm_surveyed *b)
{
    const int e = surveyed->found(ctx, b);
    if (going.in_pass)
        let_go();
    return e;
}

uint32_t __real_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);
uint32_t __wrap_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);
uint32_t __wrap_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k)
{
    lookups++;
    return __real_cm_lookup_cached(c, k);
}

int __real_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s);
int __wrap_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s);
int __wrap_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s)
{
    const struct cm_survey shown = { s->wants, found_one, s->ctx };
    int e = finds_twice ? __real_cm_survey_blocks(c, s) : 0;
    surveyed = s;
    passes++;
    e = e ? e : __real_cm_survey_blocks(c, &shown);
    if (!going.in_pass)
        let_go();
    return e;
}

#define RUNS 300u /* of one to three blocks: 600 */
#define AT_ONCE 8u

/* Finds all runs, each `step` blocks behind the one before. Returns the number of calls. */
static unsigned find_runs(cm_file *f, uint64_t step, size_t n)
{
    cm_range r[AT_ONCE];
    unsigned found = 0, calls = 1;
    uint64_t offset = 0;
    lookups = passes = 0;
    for (int64_t k; (k = cm_file_ranges(f, offset, r, n)) > 0; calls++)
        for (int64_t i = 0; i < k; i++, found++) {
            CHECK_EQ(r[i].offset, found * step * BLK);
            CHECK_EQ(r[i].len, (1 + found % 3) * BLK);
            offset = r[i].offset + r[i].len;
        }
    CHECK_EQ(found, RUNS);
    return calls;
}

/* In a wide file, too, a call costs what lies between the runs that it finds. Where that is more
 * than the pool has slots, it costs one pass over the headers, and few lookups. */
static void test_ranges_cost(void)
{
    static const uint64_t steps[] = { 8, UINT64_C(1) << 18 }; /* 32 KiB, 1 GiB */
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t step = steps[i];
        struct pool p;
        CASE("step %u", i);
        REQUIRE(pool_new(&p, 4 * MIB) == 0);
        const uint64_t slots = cm_media_slots(&p.c->media);
        cm_file *f = attach_wide(&p, 1);
        for (uint64_t k = 0, at = 0; k < RUNS; k++, at = (at + 7) % RUNS) /* not in their order */
            CHECK_EQ(put_all(f, at * step, 1 + at % 3, 1), 1 + at % 3);
        const uint64_t calls = find_runs(f, step, AT_ONCE);
        CHECK(calls <= RUNS / AT_ONCE + 2);
        CHECK(passes <= (i == 0 ? 2 : calls));
        CHECK(lookups <= (i == 0 ? RUNS * step + 3 * slots : calls * (slots / 4 + 4 * RUNS)));
        (void)find_runs(f, step, 1);
        (void)find_runs(f, step, 3);
        finds_twice = true;
        (void)find_runs(f, step, AT_ONCE);
        finds_twice = false;
        pool_end(&p);
    }
}

/* A block goes after a pass has found it, before its run is followed. What stays is told. */
static void test_ranges_going(void)
{
    struct pool p;
    cm_file *f = files_begin(&p, true, false, 0);
    const uint64_t far = FAR / 4;
    cm_range r[2];
    CHECK_EQ(put_all(f, far, 8, 1), 8);
    CHECK_EQ(put_all(f, 2 * far, 12, 1), 12);
    CHECK_EQ(put_all(f, 3 * far, 12, 1), 12);
    going.f = f;
    going.first = far; /* the first block of the first run, and there is room for one run */
    going.n = 1;
    CHECK_EQ(cm_file_ranges(f, 0, r, 1), 1);
    CHECK_EQ(r[0].offset, (far + 1) * BLK);
    CHECK_EQ(r[0].len, 7 * BLK);
    going.first = 2 * far; /* of another one */
    going.n = 2;
    CHECK_EQ(cm_file_ranges(f, 0, r, 2), 2);
    CHECK_EQ(r[1].offset, (2 * far + 2) * BLK);
    CHECK_EQ(r[1].len, 10 * BLK);
    going.first = 2 * far + 4; /* in the middle */
    going.n = 3;
    CHECK_EQ(cm_file_ranges(f, (far + 8) * BLK, r, 2), 2);
    CHECK_EQ(r[0].len, 2 * BLK);
    CHECK_EQ(r[1].offset, (2 * far + 7) * BLK);
    CHECK_EQ(r[1].len, 5 * BLK);
    passes = 0; /* each pass loses what it has found: it ends with what there is */
    going.first = 3 * far;
    going.n = 1;
    going.again = 9;
    CHECK_EQ(cm_file_ranges(f, (2 * far + 8) * BLK, r, 2), 1);
    CHECK_EQ(r[0].offset, (2 * far + 8) * BLK);
    CHECK(passes > 1 && passes < 9);
    passes = 0; /* or with nothing, if nothing is left */
    going.n = 1;
    going.again = 12 - (going.first - 3 * far) - 1;
    const uint64_t left = going.again + 1;
    CHECK_EQ(cm_file_ranges(f, (2 * far + 12) * BLK, r, 1), 0);
    CHECK_EQ(passes, left + 1);
    memset(&going, 0, sizeof(going));
    pool_end(&p);
}

/* The first block of a run goes after the pass has found the next one, before it comes to it. */
static void test_ranges_going_in_pass(void)
{
    struct pool p;
    cm_file *f = files_begin(&p, true, false, 0);
    cm_range r;
    uint64_t far = FAR / 2;
    for (unsigned i = 0; i < 16 && slot_of(f, far) <= slot_of(f, far + 1); i++) {
        far += 100;
        CHECK_EQ(put(f, far + 1, 1), 0); /* mostly, the pass finds this one first */
        CHECK_EQ(put(f, far, 1), 0);
        if (slot_of(f, far) < slot_of(f, far + 1))
            CHECK_EQ(cm_drop(f, far * BLK, 2 * BLK), 2 * BLK);
    }
    CHECK(slot_of(f, far) > slot_of(f, far + 1) && slot_of(f, far) != CM_NO_SLOT);
    going.f = f;
    going.first = far;
    going.n = 1;
    going.in_pass = true;
    CHECK_EQ(cm_file_ranges(f, 0, &r, 1), 1);
    CHECK_EQ(r.offset, (far + 1) * BLK);
    CHECK_EQ(r.len, BLK);
    memset(&going, 0, sizeof(going));
    pool_end(&p);
}

static void *no_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    return NULL;
}

/* It needs no memory, however the blocks are found: many of them, with a buffer and without one, or
 * some that are all in the buffer. */
static void test_ranges_no_memory(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        const unsigned n = how < 2 ? 40 : 8; /* 40 are more than are looked at together */
        struct pool p;
        cm_range r[4];
        cm_file *f = files_begin(&p, true, how > 0, 0);
        CHECK_EQ(put_all(f, FAR, n, 1), n);
        void *(*const alloc)(void *, size_t) = p.c->opts.alloc;
        p.c->opts.alloc = no_alloc;
        CHECK_EQ(cm_file_ranges(f, 0, r, 4), 1);
        CHECK_EQ(r[0].len, n * BLK);
        p.c->opts.alloc = alloc;
        pool_end(&p);
    }
}

static void test_ranges_refused(void)
{
    struct pool p;
    cm_range r;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    expect_runs(f, 0, "0+3");
    CHECK_EQ(cm_file_ranges(f, 0, NULL, 1), CM_EINVAL);
    CHECK_EQ(cm_file_ranges(f, CM_ALL, &r, 1), CM_ERANGE);
    CHECK_EQ(cm_file_ranges(f, (CM_BLOCK_MAX + 1) * BLK - 1, &r, 1), 0);
    CHECK_EQ(cm_file_ranges(NULL, 0, &r, 1), CM_EHANDLE);
    detach(f);
    CHECK_EQ(cm_file_ranges(f, 0, &r, 1), CM_EHANDLE);
    pool_end(&p);
}

const struct harness_test files_ranges_tests[] = {
    TEST(ranges),           TEST(ranges_end),     TEST(ranges_far),
    TEST(ranges_cost),      TEST(ranges_going),   TEST(ranges_going_in_pass),
    TEST(ranges_no_memory), TEST(ranges_refused), TEST_END,
};
