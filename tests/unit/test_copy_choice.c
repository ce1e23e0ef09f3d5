/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_copy_choice.c - how hits and fills copy: measured, chosen, told; and never at the cost of a
 * long call.
 */
#include "fixture.h"
#include "../os.h"

#include <pthread.h>

#include "state/copy_choice.h"
#include "state/fill_choice.h"

#define WARM 64u /* blocks */

/* Routines that copy right, and take long. */
static uint64_t slow_ns;
static unsigned slow_calls;

static int slow(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                uint64_t w2)
{
    const uint64_t end = cm_plat_now_ns() + slow_ns;
    slow_calls++;
    while (cm_plat_now_ns() < end)
        ;
    return cm_guard_take_choose()(header, src, dst, n, w1, w2);
}

/* What the system says of pages that a turn asks for, and how long it takes to say it. */
static unsigned looks, not_there; /* not_there: one of them, from 1 on */
static uint64_t look_ns;
static bool resident = true;

bool __wrap_cm_plat_is_resident(const void *p, size_t n);
bool __wrap_cm_plat_is_resident(const void *p, size_t n)
{
    const uint64_t end = cm_plat_now_ns() + look_ns;
    CHECK(p != NULL && (n == CM_BLOCK_SIZE || n == 33 * sizeof(struct cm_header) ||
                        n == sizeof(struct cm_header)));
    looks++;
    if (looks == not_there)
        return false;
    while (cm_plat_now_ns() < end)
        ;
    return resident;
}

/* A full pool whose slots count as hit, and these candidates: the first takes `ns` longer than the
 * second. */
static cm_file *two_candidates(struct pool *p, uint64_t ns)
{
    CHECK_EQ(pool_new(p, MIB), 0);
    cm_file *f = attach(p, 1, 10000 * BLK, 1, 0);
    (void)put_all(f, 1000, 2 * p->c->media.geo.slots, 5); /* each slot is in memory */
    struct cm_copy_choice *o = p->c->copy;
    for (unsigned i = 0; i < o->n; i++) /* those of this processor have names */
        CHECK(o->candidate[i].name != NULL && o->candidate[i].name[0] != 0);
    for (uint64_t s = 0; s < p->c->media.geo.slots; s++) /* each slot that is tried will do */
        p->c->policy.ring.ref[s] |= CM_REF_VERIFIED;
    o->candidate[0].name = "slow";
    o->candidate[0].take = slow;
    o->candidate[1].name = "fast";
    o->candidate[1].take = cm_guard_take_choose();
    o->candidate[0].lines = CM_PREFETCH_LINES;
    o->candidate[1].lines = CM_LINES_SOME;
    o->n = 2;
    o->over = 0;
    o->next = o->rounds = o->tries = 0;
    for (unsigned i = 0; i < 2; i++) {
        o->candidate[i].ns = 0;
        o->candidate[i].out = false;
    }
    p->c->media.take = slow;
    slow_ns = ns;
    slow_calls = 0;
    return f;
}

static void read_on(cm_file *f, const struct pool *p, unsigned most)
{
    for (unsigned i = 0; i < most && !cm_copy_choice_is_over(p->c); i++) {
        CASE("i %u", i);
        CHECK_EQ(look(f, i % WARM, 5), RIGHT);
    }
}

/* Hits are enough: after some thousands the choice is made, and told. */
static void test_measured(void)
{
    struct pool p;
    if (!cm_guard_take_variant(1, NULL))
        SKIP("here is one routine at most");
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, WARM, 5), WARM);
    CHECK(!cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    CHECK(pool_info(p.c).hit_copy[0] != 0);
    read_on(f, &p, 1000000);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK(pool_info(p.c).hit_copy[0] != 0);
    CHECK_EQ(hits(f, 0, WARM, 5), WARM);
    pool_end(&p);
}

/* The slower one is not chosen, also if it is the start value. */
static void test_fastest(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    cm_file *f = two_candidates(&p, 1000);
    for (unsigned i = 0; i < 100000 && !cm_copy_choice_is_over(p.c); i++)
        cm_copy_choice_measure(p.c);
    CHECK(cm_copy_choice_is_over(p.c));
    /* On a machine that is too busy nothing is measured; then the start value stays. */
    if (pool_info(p.c).hit_copy_measured) {
        CHECK(strcmp(pool_info(p.c).hit_copy, "fast") == 0);
        CHECK(p.c->media.take == cm_guard_take_choose());
        CHECK_EQ(pool_info(p.c).hit_lines, CM_LINES_SOME);
        CHECK_EQ(p.c->media.lines, CM_LINES_SOME);
    } else {
        CHECK(strcmp(pool_info(p.c).hit_copy, "slow") == 0);
        CHECK_EQ(pool_info(p.c).hit_lines, CM_PREFETCH_LINES);
    }
    CHECK(hits(f, 1000, 2 * p.c->media.geo.slots, 5) > 0);
    pool_end(&p);
}

/* A turn that takes too long ends, and counts for nothing. At last the start value stays. */
static void test_too_long(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    cm_file *f = two_candidates(&p, 20000);
    struct cm_copy_choice *o = p.c->copy;
    cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 2);
    CHECK_EQ(o->next, 0);
    CHECK_EQ(o->candidate[0].ns, 0);
    o->tries = 2047;
    cm_copy_choice_measure(p.c);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    CHECK(p.c->media.take == slow);
    CHECK(hits(f, 1000, 2 * p.c->media.geo.slots, 5) > 0);
    pool_end(&p);
}

/* Slots that were never hit are not touched: their pages may be on a slow volume. */
static void test_only_what_was_hit(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        p.c->policy.ring.ref[s] &= (uint8_t)~CM_REF_VERIFIED;
    for (unsigned i = 0; i < 100; i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 0);
    CHECK_EQ(p.c->copy->next, 0);
    CHECK_EQ(p.c->copy->rounds, 0);
    pool_end(&p);
}

/* On a pool that is not directly in memory, the system is asked for the pages that are
 * read: a block's, and those of its header and the one that is read before it. A system that takes
 * long to answer changes nothing: only the copies are timed. */
static void test_pages_in_memory(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    struct cm_copy_choice *o = p.c->copy;
    const bool directly = p.c->directly;
    p.c->directly = false;
    look_ns = 100000;
    looks = 0;
    for (unsigned i = 0; i < 100 && o->next == 0; i++) { /* a busy machine may take a few */
        cm_copy_choice_measure(p.c);
        CHECK_EQ(looks, 4 * (i + 1));
    }
    CHECK_EQ(o->next, 1);
    CHECK(o->candidate[0].ns > 0 && o->candidate[0].ns < look_ns);
    /* A slot of which a page is not in memory is not chosen; another one is. */
    for (not_there = 1; not_there <= 2; not_there++) {
        CASE("page %u", not_there);
        looks = 0;
        cm_copy_choice_measure(p.c);
        CHECK_EQ(looks, 4 + not_there);
    }
    not_there = 0;
    /* What is not in memory is not touched. */
    look_ns = 0;
    resident = false;
    slow_calls = 0;
    o->next = 0;
    for (unsigned i = 0; i < 20; i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 0);
    CHECK_EQ(o->next, 0);
    resident = true;
    p.c->directly = directly;
    pool_end(&p);
}

/* Who is much slower than another has no more turns, but for the start value. */
static void test_slow_ones_drop_out(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    struct cm_copy_choice *o = p.c->copy;
    for (unsigned i = 0; i < 4; i++) { /* each but the third is slower by some per cent */
        o->candidate[i] = o->candidate[0];
        o->candidate[i].ns = i == 2 ? 1000000000u : i == 3 ? 1040000000u : 1070000000u;
    }
    o->n = 4;
    o->rounds = 7;
    for (unsigned i = 0; i < 2000 && o->rounds == 7; i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(o->rounds, 8);
    CHECK(!o->candidate[0].out && !o->candidate[2].out && !o->candidate[3].out);
    CHECK(o->candidate[1].out);
    const uint64_t before = o->candidate[1].ns;
    for (unsigned i = 0; i < 2000 && o->rounds == 8; i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(o->rounds, 9);
    CHECK_EQ(o->candidate[1].ns, before);
    pool_end(&p);
}

/* Who dropped out is not chosen, though its sum is the smallest: it had fewer turns. */
static void test_not_who_dropped_out(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    struct cm_copy_choice *o = p.c->copy;
    o->candidate[2] = o->candidate[1];
    o->n = 3;
    for (unsigned i = 0; i < 3; i++) {
        o->candidate[i].out = i == 1;
        o->candidate[i].ns = i == 1 ? 400000000u : 1000000000u;
    }
    o->rounds = 62;
    for (unsigned i = 0; i < 2000 && !cm_copy_choice_is_over(p.c); i++)
        cm_copy_choice_measure(p.c);
    CHECK_EQ(o->rounds, 64);
    CHECK_EQ(o->chosen, 0);
    pool_end(&p);
}

/* What is hardly faster than the start value is not chosen: that may be chance. */
static void test_hardly_faster(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    for (unsigned per_cent = 95; per_cent < 100; per_cent += 4) {
        CASE("%u per cent", per_cent);
        (void)two_candidates(&p, 0);
        struct cm_copy_choice *o = p.c->copy;
        o->candidate[0].ns = 1000000000u;
        o->candidate[1].ns = 10000000u * per_cent;
        o->rounds = 63;
        for (unsigned i = 0; i < 2000 && !cm_copy_choice_is_over(p.c); i++)
            cm_copy_choice_measure(p.c);
        CHECK_EQ(o->rounds, 64);
        CHECK_EQ(o->chosen, per_cent < 97 ? 1 : 0);
        CHECK_EQ(p.c->media.lines, o->candidate[o->chosen].lines);
        pool_end(&p);
    }
}

/* The candidates are each routine with each number of lines, and the start value comes first. */
static void test_candidates(void)
{
    struct pool p;
    cm_guard_take_fn take;
    unsigned routines = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    const struct cm_copy_choice *o = p.c->copy;
    for (size_t i = 0; (take = cm_guard_take_variant(i, NULL)); i++) {
        unsigned found = 0;
        for (unsigned k = 0; k < o->n; k++)
            if (o->candidate[k].take == take)
                found |= 1u << o->candidate[k].lines;
        CHECK_EQ(found, 1u << CM_LINES_FEW | 1u << CM_LINES_SOME | 1u << CM_PREFETCH_LINES);
        routines++;
    }
    CHECK(o->n <= 3 * routines);
    if (routines == 0) {
        CHECK_EQ(p.c->media.lines, CM_PREFETCH_LINES);
        CHECK_EQ(pool_info(p.c).hit_lines, 0);
    } else {
        CHECK(o->candidate[0].take == cm_guard_take_choose());
        CHECK_EQ(o->candidate[0].lines, p.c->media.lines);
        CHECK_EQ(pool_info(p.c).hit_lines, p.c->media.lines);
        CHECK_EQ(p.c->media.lines,
                 cm_guard_take_waits(o->candidate[0].take) ? CM_PREFETCH_LINES : CM_LINES_FEW);
    }
    pool_end(&p);
}

/* One thread measures; others go on. */
static void test_one_at_a_time(void)
{
    struct pool p;
    if (!cm_guard_take_choose())
        SKIP("here copies are made in steps");
    (void)two_candidates(&p, 0);
    p.c->copy->busy = 1;
    cm_copy_choice_measure(p.c);
    CHECK_EQ(slow_calls, 0);
    CHECK_EQ(p.c->copy->busy, 1);
    p.c->copy->busy = 0;
    cm_copy_choice_measure(p.c);
    CHECK(slow_calls > 0);
    CHECK_EQ(p.c->copy->busy, 0);
    pool_end(&p);
}

/* The steps of such a routine in C, which the thread sanitizer sees. */
static int plain_take(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                      uint64_t w2)
{
    uint64_t w[3], again;
    if (cm_guard_load_words(header, w, 3) || cm_guard_copy(dst, src, n))
        return CM_EIO;
    at_fence_acquire(); /* as in cm_slot_read_known() */
    if (cm_guard_load64(header, &again))
        return CM_EIO;
    return (w[0] & CM_GUARD_VALID) && w[1] == w1 && w[2] == w2 && again == w[0];
}

static void *read_all(void *file)
{
    for (unsigned i = 0; i < 20000; i++)
        CHECK_EQ(look(file, i * 7 % WARM, 5), RIGHT);
    return NULL;
}

/* Several threads hit, measure and ask what was chosen. */
static void test_threads(void)
{
    enum { READERS = 3 };
    pthread_t thread[READERS];
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, WARM, 5), WARM);
    CHECK_EQ(hits(f, 0, WARM, 5), WARM);
    struct cm_copy_choice *o = p.c->copy;
    const uint32_t lines[] = { CM_LINES_FEW, CM_LINES_SOME, CM_PREFETCH_LINES };
    for (unsigned i = 0; i < 3; i++)
        o->candidate[i] =
            (struct cm_copy_candidate){ .name = "plain", .take = plain_take, .lines = lines[i] };
    o->n = 3;
    o->over = 0;
    p.c->media.take = plain_take;
    for (unsigned i = 0; i < READERS; i++)
        REQUIRE(pthread_create(&thread[i], NULL, read_all, f) == 0);
    for (unsigned i = 0; i < 1000; i++)
        CHECK(strcmp(pool_info(p.c).hit_copy, "plain") == 0);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    CHECK(o->tries > 0 || o->rounds > 0 || o->next > 0);
    pool_end(&p);
}

/* CM_OPEN_NO_TUNING, and a read-only pool. */
static void test_not_measured(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.flags = CM_OPEN_NO_TUNING;
    REQUIRE(pool_up(&p) == 0);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK(p.c->media.take == cm_guard_take_choose());
    CHECK_EQ(pool_info(p.c).hit_copy_measured, 0);
    pool_down(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK(cm_copy_choice_is_over(p.c));
    CHECK_EQ(pool_info(p.c).hit_copy[0], 0); /* it serves no hits */
    pool_end(&p);
}

/* ---- Fills ----------------------------------------------------------------------------------- */

/* A pool that nothing is flushed of. */
static cm_file *without_flushes(struct pool *p)
{
    pool_make(p, 4 * MIB, 0);
    p->o.memory_durability = CM_DURABILITY_VOLATILE;
    return pool_up(p) ? NULL : attach(p, 1, 100000 * BLK, 1, 0);
}

static void fill_on(cm_file *f, const struct pool *p, unsigned most)
{
    for (unsigned i = 0; i < most && !cm_fill_choice_is_over(p->c); i++) {
        CASE("i %u", i);
        (void)put(f, i, 5);
    }
}

/* Fills are enough: after some hundreds the choice is made, and told. */
static void test_fills_measured(void)
{
    struct pool p;
    cm_file *f = without_flushes(&p);
    REQUIRE(f != NULL);
    CHECK_EQ(pool_info(p.c).copy_measured, 0);
    if (p.c->fill.n < 2)
        SKIP("here is one routine only");
    CHECK(!cm_fill_choice_is_over(p.c));
    for (unsigned i = 0; i < p.c->fill.n; i++)
        CHECK(p.c->fill.candidate[i].name != NULL && p.c->fill.candidate[i].name[0] != 0);
    fill_on(f, &p, 1000000);
    CHECK(cm_fill_choice_is_over(p.c));
    CHECK(pool_info(p.c).copy[0] != 0);
    CHECK_EQ(put_all(f, 50000, 100, 6), 100);
    CHECK_EQ(hits(f, 50000, 100, 6), 100);
    pool_end(&p);
}

/* Where lines are flushed there is nothing to choose. */
static void test_fills_flushed(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("this CPU cannot write lines back");
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    CHECK(cm_fill_choice_is_over(p.c));
    CHECK_EQ(p.c->fill.n, 1);
    CHECK(p.c->media.fill == NULL);
    CHECK_EQ(pool_info(p.c).copy_measured, 0);
    pool_end(&p);
}

static int slow_fill(void *ctx, void *dst, const void *src, size_t n)
{
    const uint64_t end = cm_plat_now_ns() + slow_ns;
    slow_calls++;
    while (cm_plat_now_ns() < end)
        ;
    return cm_persist_choose(CM_FLUSH_NONE)->copy(ctx, dst, src, n);
}

/* Two candidates: the start value, and one that takes longer. */
static cm_file *slow_second(struct pool *p, uint64_t ns)
{
    cm_file *f = without_flushes(p);
    struct cm_fill_choice *o = &p->c->fill;
    o->candidate[1].name = "slow";
    o->candidate[1].copy = slow_fill;
    o->n = 2;
    o->over = 0;
    slow_ns = ns;
    slow_calls = 0;
    return f;
}

/* The slower one is not chosen, and takes half of the turns. */
static void test_fills_fastest(void)
{
    struct pool p;
    cm_file *f = slow_second(&p, 1500);
    REQUIRE(f != NULL);
    fill_on(f, &p, 1000000);
    CHECK(cm_fill_choice_is_over(p.c));
    CHECK(slow_calls >= 64);
    CHECK(strcmp(pool_info(p.c).copy, "slow") != 0);
    CHECK(p.c->media.fill == NULL);
    pool_end(&p);
}

/* If it is the other way around, it is chosen: the start value has taken long. */
static void test_fills_other(void)
{
    struct pool p;
    cm_file *f = slow_second(&p, 0);
    REQUIRE(f != NULL);
    p.c->fill.candidate[0].ns = UINT64_C(1) << 60;
    fill_on(f, &p, 1000000);
    CHECK(cm_fill_choice_is_over(p.c));
    if (pool_info(p.c).copy_measured) { /* else the machine is too busy */
        CHECK(strcmp(pool_info(p.c).copy, "slow") == 0);
        CHECK(p.c->media.fill == slow_fill);
    }
    pool_end(&p);
}

/* Turns that take too long count for nothing. At last the start value stays. */
static void test_fills_too_long(void)
{
    struct pool p;
    cm_file *f = slow_second(&p, 30000);
    REQUIRE(f != NULL);
    p.c->fill.turns = 1; /* the slow one's */
    CHECK_EQ(put(f, 1, 5), 0);
    CHECK_EQ(p.c->fill.turns, 1);
    CHECK_EQ(p.c->fill.tries, 1);
    CHECK_EQ(p.c->fill.candidate[1].ns, 0);
    p.c->fill.tries = 4095;
    CHECK_EQ(put(f, 2, 5), 0);
    CHECK(cm_fill_choice_is_over(p.c));
    CHECK(p.c->media.fill == NULL);
    CHECK_EQ(pool_info(p.c).copy_measured, 0);
    pool_end(&p);
}

/* A tail is no whole block, and a thread that measures is alone. */
static void test_fills_that_do_not_count(void)
{
    struct pool p;
    (void)slow_second(&p, 0);
    uint8_t data[CM_BLOCK_SIZE];
    content(5, 0, data);
    for (unsigned i = 1; i <= 100; i++) { /* many: one that takes too long does not count anyway */
        cm_file *g = attach(&p, 1 + i, 100, 1, 0);
        cm_miss m = miss_of(g, 0, 100);
        CHECK_EQ(cm_fill(g, &m, data, 100, CM_FILL_EOF), 0);
        CHECK_EQ(p.c->fill.turns, 0);
        CHECK_EQ(p.c->fill.tries, i);
        CHECK_EQ(p.c->fill.busy, 0);
    }
    p.c->fill.busy = 1;
    cm_file *f = attach(&p, 1000, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(p.c->fill.tries, 100);
    p.c->fill.busy = 0;
    pool_end(&p);
}

/* Each candidate stores the block, and says so if it cannot. */
static void test_fills_right(void)
{
    struct pool p;
    cm_file *f = without_flushes(&p);
    REQUIRE(f != NULL);
    p.c->fill.over = 1;
    for (unsigned i = 0; i < p.c->fill.n; i++) {
        CASE("%s", p.c->fill.candidate[i].name);
        const uint64_t from = (i + 1) * UINT64_C(1000);
        p.c->media.fill = p.c->fill.candidate[i].copy;
        const int64_t wear = STAT(p.c, pool_bytes);
        CHECK_EQ(put_all(f, from, 100, 5), 100);
        CHECK(STAT(p.c, pool_bytes) >= wear + (int64_t)(100 * BLK));
        CHECK_EQ(hits(f, from, 100, 5), 100);
        if (!cm_guard_available())
            continue;
        uint8_t *const slots = payload_of(p.c, 0);
        os_protect(slots, p.c->media.geo.slots * BLK, OS_NOTHING);
        CHECK_EQ(put(f, from + 500, 5), CM_NOT_STORED_MEDIA);
        os_protect(slots, p.c->media.geo.slots * BLK, OS_WRITE);
    }
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(candidates),         TEST(measured),          TEST(fastest),
    TEST(too_long),           TEST(only_what_was_hit), TEST(pages_in_memory),
    TEST(slow_ones_drop_out), TEST(hardly_faster),     TEST(not_who_dropped_out),
    TEST(one_at_a_time),      TEST(threads),           TEST(not_measured),
    TEST(fills_measured),     TEST(fills_flushed),     TEST(fills_fastest),
    TEST(fills_other),        TEST(fills_too_long),    TEST(fills_that_do_not_count),
    TEST(fills_right),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
