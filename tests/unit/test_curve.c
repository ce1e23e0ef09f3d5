/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_curve.c - the mini-simulations: S3R on traces that are short enough to follow by hand, which
 * blocks are sampled, what the curve computes from the counts, which rule is chosen; and all of it
 * in an open pool.
 *
 * A trace is a string: a small letter reads a block, its capital drops it. The result is a string,
 * too: m is a miss, h a hit.
 */
#include "fixture.h"

#include <inttypes.h>
#include <ctype.h>
#include <math.h>

#include "policy/rule_choice.h"
#include "state/policy_sample.h"

static void play_with(uint32_t slots, uint32_t buffer, struct cm_sim_rule rule, bool again,
                      const char *trace, const char *want)
{
    struct cm_sim *m = calloc(1, sizeof(*m));
    char happened[100], *out = happened, last = 0;
    uint32_t *memory = calloc(CM_SIM_WORDS(slots, buffer), sizeof(*memory));
    cm_sim_begin(m, memory, slots, buffer, &rule);
    for (; *trace; trace++) {
        if (isupper((unsigned char)*trace)) {
            cm_sim_drop(m, (uint32_t)mix((uint64_t)tolower((unsigned char)*trace)));
        } else {
            bool hit = cm_sim_read(m, (uint32_t)mix((uint64_t)*trace), again && *trace == last);
            *out++ = hit ? 'h' : 'm';
        }
        last = *trace;
    }
    *out = '\0';
    free(memory);
    free(m);
    if (strcmp(happened, want) == 0)
        return;
    printf("# got %s, not %s\n", happened, want);
    FAIL("another outcome");
}

static void play(uint32_t slots, struct cm_sim_rule rule, bool again, const char *trace,
                 const char *want)
{
    play_with(slots, 0, rule, again, trace, want);
}

/* ---- One mini -------------------------------------------------------------------------------- */

static const struct cm_sim_rule one_of_four = { 1, 2, false };

static void test_probation(void)
{
    struct cm_sim_rule rule = one_of_four;
    play(4, rule, false, "aaabcdefghija", "mhhmmmmmmmmmh");
    rule.earn = 3;
    play(4, rule, false, "aaabcdefghija", "mhhmmmmmmmmmm");
    rule.earn = 2;
    play(4, rule, true, "aaabcdefghija", "mhhmmmmmmmmmm"); /* at once again: no reuse */
}

static void test_ghost(void)
{
    play(4, one_of_four, false, "abcdeafghija", "mmmmmmmmmmmh"); /* a came back: it is a member */
    play(4, one_of_four, false, "abcdefghijka", "mmmmmmmmmmmm");
}

static void test_drop(void)
{
    play(4, one_of_four, false, "abAcAadbc", "mmmmmhh"); /* dropped twice: there is a slot */
    play(4, one_of_four, false, "aAaAaAbcdabcda", "mmmmmmmhhhh");
}

/* A used slot goes only to a block that the ghost remembers. */
static void test_remembered(void)
{
    const struct cm_sim_rule rule = { 1, 2, true };
    play(2, rule, false, "abcab", "mmmhh");
    play(2, rule, false, "abccbc", "mmmmhh"); /* c comes the second time and takes the slot of a */
    play(2, rule, false, "abAcab", "mmmmh");  /* a dropped slot was used before */
}

/* First-time blocks wait in the buffer. Hits there count, and two of them earn a used slot. */
static void test_buffer(void)
{
    struct cm_sim_rule rule = { 1, 2, true };
    play_with(2, 1, rule, false, "abcdab", "mmmmhh");         /* a, b: there is room */
    play_with(2, 1, rule, false, "abcdefc", "mmmmmmm");       /* c left unearned... */
    play_with(2, 1, rule, false, "abcdcefc", "mmmmmmmh");     /* ... and was remembered */
    play_with(2, 1, rule, false, "abccdbecc", "mmmhmhmmh");   /* one hit is not enough */
    play_with(2, 1, rule, false, "abcccdec", "mmmhhmmh");     /* two are */
    play_with(2, 1, rule, true, "abcccdecc", "mmmhhmmmh");    /* reads at once do not count */
    play_with(2, 2, rule, false, "abcdefabcd", "mmmmmmhhmm"); /* two entries, first in, first out */
    rule.earn = 1;
    play_with(2, 1, rule, false, "abccdec", "mmmhmmh");
}

static void test_buffer_drop(void)
{
    const struct cm_sim_rule rule = { 1, 2, true };
    play_with(2, 1, rule, false, "abcCc", "mmmm");
    play_with(2, 2, rule, false, "abcdDefccd", "mmmmmmmhm"); /* d's entry is empty until its turn */
    play_with(2, 1, rule, false, "abcAdca", "mmmmmm");       /* a dropped slot was used before */
}

/* A block that leaves the buffer unearned goes on probation in the pool, if the rule says so. */
static void test_buffer_passes(void)
{
    const struct cm_sim_rule rule = { 1, 1, false };
    play_with(2, 1, rule, false, "abcdec", "mmmmmm");     /* c's slot is taken by d */
    play_with(2, 1, rule, false, "abcdcedc", "mmmmhmhh"); /* unless it is wanted again there */
}

static void check_bounded(uint32_t buffer)
{
    struct cm_sim_rule rule = { CM_SIM_SLOTS / 2, 2, false };
    struct cm_sim *m = calloc(1, sizeof(*m));
    uint64_t rng = 1;
    uint32_t *memory = calloc(CM_SIM_WORDS(CM_SIM_SLOTS, buffer), sizeof(*memory));
    cm_sim_begin(m, memory, CM_SIM_SLOTS, buffer, &rule);
    for (unsigned i = 0; i < 300000; i++) { /* everything at once; a sanitizer looks on */
        CASE("i %u", i);
        uint64_t r = next_random(&rng);
        m->rule.remembered = i / 10000 % 2 != 0;
        if (r >> 60 == 0)
            cm_sim_drop(m, (uint32_t)mix(r % 1500));
        else
            (void)cm_sim_read(m, (uint32_t)mix(r % 1500), (r >> 59 & 1) != 0);
        CHECK(m->line_count <= m->line_max && m->on_probation <= m->slots);
    }
    unsigned probation = 0, held = 0, linked = 0;
    for (unsigned s = 0; s < CM_SIM_SLOTS + buffer; s++) {
        probation += (m->flag[s] & 4) != 0;
        held += (m->flag[s] & 16) != 0;
    }
    CHECK_EQ(probation, m->on_probation);
    CHECK(buffer == 0 ? held == 0 : held > buffer / 2);
    for (unsigned h = 0; h < CM_SIM_HEADS(CM_SIM_SLOTS); h++)
        for (uint16_t s = m->head[h]; s != 0xffff; s = m->next[s])
            linked++;
    for (uint16_t s = m->free; s != 0xffff; s = m->next[s])
        linked++;
    CHECK_EQ(linked, CM_SIM_SLOTS + held);
    free(memory);
    free(m);
}

static void test_bounded(void)
{
    CALL(check_bounded(0));
    CALL(check_bounded(1));
    CALL(check_bounded(100));
    CALL(check_bounded(CM_SIM_SLOTS));
}

/* ---- The sample ------------------------------------------------------------------------------ */

/* Of any run of blocks about the sample's share is in the sample, also of every second or fourth
 * block, and of the same block of many files. */
static void test_sample(void)
{
    uint64_t below = cm_sim_below(1, 100);
    for (uint64_t file = 1; file < 20; file++) {
        for (unsigned stride = 1; stride <= 4; stride *= 2) {
            CASE("stride %u", stride);
            int in = 0;
            for (uint64_t b = 0; b < 5000; b++)
                in += cm_sample_place(file, file * 1000 + b * stride) < below;
            CHECK(in >= 45 && in <= 55);
        }
    }
    int in = 0;
    for (uint64_t file = 1; file <= 5000; file++)
        in += cm_sample_place(file, 7) < below;
    CHECK(in >= 45 && in <= 55);
    CHECK_EQ(cm_sim_below(100, 100), UINT64_C(1) << 32);
    CHECK_EQ(cm_sim_below(512, UINT64_C(1) << 37), 1 << 4);
    CHECK_EQ(cm_sim_share(1000, below), 10);
    CHECK_EQ(cm_sim_share(3, below), 1);
    CHECK_EQ(cm_sim_share(0, below), 0);
    CHECK_EQ(cm_sim_share(UINT64_C(1) << 37, 1 << 4), 512);
}

/* ---- The curve ------------------------------------------------------------------------------- */

static const struct cm_rule tenth = { 100, 2, false };

static void begin(struct cm_curve *c, uint64_t slots, uint64_t probation_bytes)
{
    struct cm_curve_pool pool[CM_CURVE_SIZES];
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        pool[i].slots = cm_curve_slots(slots, i);
        pool[i].buffer = cm_probation_entries(probation_bytes, pool[i].slots);
    }
    cm_curve_begin(c, pool, &tenth);
}

static void test_sizes(void)
{
    struct cm_curve *c = calloc(1, sizeof(*c));
    static const uint32_t slots[] = { 128, 256, 512, 512, 512, 512, 512 };
    begin(c, 1024, CM_PROBATION_NONE);
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        CASE("i %u", i);
        CHECK_EQ(c->size[i].mini.slots, slots[i]);
        CHECK_EQ(c->size[i].below, (UINT64_C(1) << 32) >> (i < 2 ? 0 : i - 2));
    }
    CHECK_EQ(c->size[0].mini.rule.probation, 13);
    CHECK_EQ(c->size[6].mini.rule.probation, 51);
    const struct cm_rule half = { 500, 1, true };
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++)
        cm_curve_set_rule(c, i, 1024, &half);
    CHECK_EQ(c->size[6].mini.rule.probation, 256);
    CHECK(c->size[6].mini.rule.remembered && c->size[6].mini.rule.earn == 1);
    memset(c, 0, sizeof(*c));
    begin(c, 4, CM_PROBATION_NONE); /* nothing is smaller than one slot */
    CHECK_EQ(c->size[0].mini.slots, 1);
    CHECK_EQ(c->size[6].mini.slots, 32);
    free(c);
}

/* A buffer whose size the user chose keeps it; else it grows with the pool. It is never larger than
 * the pool. The sample has its share of the buffer. */
static void test_buffers(void)
{
    static const uint32_t chosen[] = { 512, 400, 200, 100, 50, 25, 13 };
    static const uint32_t ours[] = { 64, 32, 16, 8, 5, 5, 5 };
    struct cm_curve *c = calloc(1, sizeof(*c));
    begin(c, 4096, 800 * BLK);
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        CASE("i %u", i);
        CHECK_EQ(c->size[i].mini.buffer, chosen[i]);
    }
    memset(c, 0, sizeof(*c));
    begin(c, 4096, 0);
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        CASE("i %u", i);
        CHECK_EQ(c->size[i].mini.buffer, ours[i]);
    }
    free(c);
    CHECK_EQ(cm_probation_entries(0, 1000000), 10000);
    CHECK_EQ(cm_probation_entries(0, UINT64_C(1) << 32), 65536);
    CHECK_EQ(cm_probation_entries(0, 10), 10);
    CHECK_EQ(cm_probation_entries(3 * BLK - 1, 10), 2);
    CHECK_EQ(cm_probation_entries(UINT64_MAX - 1, 10), 10);
}

/* A calculation by hand. Half of all reads miss. In the sample of twice the pool, 50 reads missed
 * in the pool and 40 in the mini. In the sample of the pool's own size, 60 missed in the pool and
 * 80 in the mini. So minis are a quarter too high, and an eighth at twice the size: 0.5 x 40/50 x
 * 0.875 = 0.35. */
static void test_estimate(void)
{
    struct cm_curve *c = calloc(1, sizeof(*c));
    struct cm_curve_size *own = &c->size[CM_CURVE_OWN], *twice = &c->size[CM_CURVE_OWN + 1];
    own->real_misses = 60;
    own->misses = 80;
    twice->real_misses = 50;
    twice->misses = 40;
    CHECK(fabs(cm_curve_hit_ratio(c, CM_CURVE_OWN + 1, 0.5) - 0.65) < 1e-9);
    CHECK(fabs(cm_curve_hit_ratio(c, CM_CURVE_OWN, 0.5) - 0.5) < 1e-9); /* the known ratio itself */
    twice->misses = 400;
    CHECK(fabs(cm_curve_hit_ratio(c, CM_CURVE_OWN + 1, 0.5)) < 1e-9); /* never below zero */
    cm_curve_halve(c);
    CHECK_EQ(own->misses, 40);
    CHECK_EQ(own->real_misses, 30);
    own->mini.slots = 400;
    own->reads = 799;
    CHECK(!cm_curve_is_known(c, CM_CURVE_OWN));
    own->reads = 800;
    CHECK(cm_curve_is_known(c, CM_CURVE_OWN));
    own->mini.slots = 1;
    own->reads = 511;
    CHECK(!cm_curve_is_known(c, CM_CURVE_OWN));
    free(c);
}

/* Reads 96 blocks again and again in a pool of 64, with all blocks simulated. A pool twice as large
 * would hold all of them after the first round. */
static void test_loop(void)
{
    enum { SLOTS = 64, LOOP = 96, ROUNDS = 100 };
    struct cm_curve *c = calloc(1, sizeof(*c));
    begin(c, SLOTS, CM_PROBATION_NONE);
    for (unsigned i = 0; i < LOOP * ROUNDS; i++)
        cm_curve_read(c, (uint32_t)mix(i % LOOP), 0xffffffff, false, true);
    CHECK_EQ(c->size[CM_CURVE_OWN].reads, LOOP * ROUNDS);
    CHECK_EQ(c->size[CM_CURVE_OWN + 1].misses, LOOP);
    CHECK_EQ(c->size[6].misses, LOOP);
    CHECK(c->size[CM_CURVE_OWN].misses > LOOP * ROUNDS / 3);
    for (unsigned i = 0; i + 1 < CM_CURVE_SIZES; i++) {
        CASE("i %u", i);
        CHECK(c->size[i].misses >= c->size[i + 1].misses);
    }
    cm_curve_drop(c, (uint32_t)mix(5), 0xffffffff);
    CHECK(!cm_sim_read(&c->size[6].mini, (uint32_t)mix(5), false));
    free(c);
}

/* ---- AUTO ------------------------------------------------------------------------------------ */

/* A loop longer than the pool: only a rule that refuses blocks helps. */
static void test_auto_loop(void)
{
    enum { SLOTS = 100, LOOP = 200 };
    struct cm_choice *a = calloc(1, sizeof(*a));
    unsigned chosen_at = 0;
    uint32_t *memory = calloc(CM_CHOICE_WORDS(SLOTS), sizeof(*memory));
    cm_choice_begin(a, memory, SLOTS, &(struct cm_curve_pool){ SLOTS, 0 }, 20);
    CHECK_EQ(a->mini[0].mini.slots, SLOTS);
    CHECK_EQ(a->mini[2].mini.rule.probation, 50);
    CHECK_EQ(cm_choice_rule(a)->earn, 1);
    CHECK(!cm_choice_rule(a)->remembered);
    for (unsigned i = 0; i < 50 * LOOP; i++)
        if (cm_choice_read(a, (uint32_t)mix(i % LOOP), 0xffffffff, false) && chosen_at == 0)
            chosen_at = i + 1;
    CHECK_EQ(chosen_at, 800); /* eight times the mini's slots */
    CHECK(cm_choice_rule(a)->remembered);
    CHECK(a->reads < 16 * SLOTS + 512);
    free(memory);
    free(a);
}

/* What is written after each read is a hit under no rule. */
static void test_auto_drop(void)
{
    enum { SLOTS = 100 };
    struct cm_choice *a = calloc(1, sizeof(*a));
    uint32_t *memory = calloc(CM_CHOICE_WORDS(SLOTS), sizeof(*memory));
    cm_choice_begin(a, memory, SLOTS, &(struct cm_curve_pool){ SLOTS, 0 }, 20);
    for (unsigned i = 0; i < 500; i++) {
        (void)cm_choice_read(a, (uint32_t)mix(i % 10), 0, false);
        cm_choice_drop(a, (uint32_t)mix(i % 10), 0);
    }
    for (unsigned i = 0; i < a->rules; i++) {
        CASE("rule %u", i);
        CHECK(a->mini[i].hits == 0);
    }
    free(memory);
    free(a);
}

/* The rule does not change if all rules do equally well. It changes if a fill costs as much as a
 * hit is worth. */
static void test_auto_wear(void)
{
    enum { SLOTS = 100, BLOCKS = 130 };
    unsigned chosen[2];
    for (unsigned i = 0; i < 2; i++) {
        struct cm_choice *a = calloc(1, sizeof(*a));
        uint64_t rng = 1;
        uint32_t *memory = calloc(CM_CHOICE_WORDS(SLOTS), sizeof(*memory));
        cm_choice_begin(a, memory, SLOTS, &(struct cm_curve_pool){ SLOTS, 0 }, i == 0 ? 20 : 1000);
        for (unsigned n = 0; n < 5000; n++)
            (void)cm_choice_read(a, (uint32_t)mix(next_random(&rng) % BLOCKS), 0, false);
        chosen[i] = a->chosen;
        free(memory);
        free(a);
    }
    CHECK_EQ(chosen[0], 0);
    CHECK_EQ(chosen[1], 1);
}

/* With a buffer. Two reads of a block, with a few others between them, and blocks that are read
 * once. Only a rule that stores all gets a hit, and that costs four fills. */
static void test_auto_buffer(void)
{
    enum { SLOTS = 100, READS = 10000 };
    const struct cm_curve_pool pool = { SLOTS, 1 };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        struct cm_choice *a = calloc(1, sizeof(*a));
        uint32_t *memory = calloc(CM_CHOICE_WORDS(SLOTS), sizeof(*memory));
        cm_choice_begin(a, memory, SLOTS, &pool, i == 0 ? 100 : 1000);
        CHECK_EQ(a->mini[0].mini.buffer, 1);
        CHECK(cm_choice_rule(a)->remembered && cm_choice_rule(a)->earn == 2);
        for (uint64_t n = 0; n < READS; n++) {
            (void)cm_choice_read(a, (uint32_t)mix(n), 0, false);
            if (n % 4 == 0)
                (void)cm_choice_read(a, (uint32_t)mix(n - 4), 0, false);
        }
        CHECK_EQ(cm_choice_rule(a)->remembered, i == 1); /* is a hit worth four fills? */
        for (uint64_t n = 0; n < READS; n++)
            (void)cm_choice_read(a, (uint32_t)mix(READS + n), 0, false);
        CHECK(cm_choice_rule(a)->remembered); /* no block is read twice: the default */
        CHECK_EQ(cm_choice_rule(a)->probation, 0);
        free(memory);
        free(a);
    }
}

/* ---- In a pool ------------------------------------------------------------------------------- */

/* True: the block was cached. */
static bool read_or_put(cm_file *f, uint64_t block)
{
    uint8_t data[CM_BLOCK_SIZE];
    cm_miss m;
    if (cm_read(f, block * BLK, data, BLK, &m) != 0)
        return true;
    content(1, block, data);
    (void)cm_fill(f, &m, data, BLK, 0);
    return false;
}

/* Reads blocks [0, n) and stores the absent ones. */
static void sweep(cm_file *f, uint64_t n)
{
    for (uint64_t b = 0; b < n; b++)
        (void)read_or_put(f, b);
}

static void test_pool_curve(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    p.o.policy = CM_POLICY_S3R;
    pool_again(&p);
    uint64_t slots = pool_info(p.c).slots, n = slots + slots / 2;
    cm_file *f = attach(&p, 1, n * BLK, 1, CM_SOLE_WRITER);
    cm_stats_data s = pool_stats(p.c);
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++) {
        CASE("i %u", i);
        CHECK(s.curve_hits[i] == CM_CURVE_UNKNOWN);
    }
    for (unsigned round = 0; round < 50; round++)
        sweep(f, n);
    s = pool_stats(p.c);
    /* The pool is so small that all blocks are sampled. */
    CHECK_EQ(s.curve_reads, s.hit_blocks + s.miss_blocks);
    CHECK_EQ(s.curve_skipped, 0);
    double hit = (double)s.hit_blocks / (double)s.curve_reads;
    CHECK(fabs((double)s.curve_hits[CM_CURVE_OWN] / 1e6 - hit) < 2e-6);
    for (unsigned i = CM_CURVE_OWN + 1; i < CM_CURVE_POINTS; i++) {
        CASE("i %u", i);
        CHECK(s.curve_hits[i] >= 950000 && s.curve_hits[i] <= 1000000);
    }
    CHECK(s.curve_hits[0] < s.curve_hits[CM_CURVE_OWN]);
    detach(f);
    pool_again(&p);
    CHECK(pool_stats(p.c).curve_hits[CM_CURVE_OWN] == CM_CURVE_UNKNOWN); /* like all counters */
    pool_end(&p);
}

/* Who looks at the page early sees that the sample grows: cm_stats() of the owner updates it, other
 * processes do not. */
static void test_pool_reported_early(void)
{
    struct pool p;
    cm_stats_data seen;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 200 * BLK, 1, CM_SOLE_WRITER);
    sweep(f, 31);
    CHECK_EQ(cm_stats_sum(p.c->media.base, &seen), 0);
    CHECK_EQ(seen.curve_reads, 0);
    sweep(f, 3);
    CHECK_EQ(cm_stats_sum(p.c->media.base, &seen), 0);
    CHECK_EQ(seen.curve_reads, 32);
    sweep(f, 200);
    CHECK_EQ(cm_stats_sum(p.c->media.base, &seen), 0);
    CHECK_EQ(seen.curve_reads, 32 + 64 + 128);
    detach(f);
    pool_end(&p);
}

/* Another thread holds the sample's lock: reads do not wait for it. */
static void test_pool_skipped(void)
{
    struct pool p;
    struct cm_lock *lock;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    lock = (struct cm_lock *)(void *)p.c->sample; /* its first member */
    sweep(f, 10);
    uint64_t reads = pool_stats(p.c).curve_reads;
    CHECK(cm_lock_try(lock));
    CHECK(!cm_lock_try(lock));
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    CHECK_EQ(cm_invalidate(f, 0, BLK), 0);
    cm_lock_release(lock);
    CHECK_EQ(pool_stats(p.c).curve_skipped, 10);
    CHECK_EQ(pool_stats(p.c).curve_reads, reads);
    pool_end(&p);
}

/* The same for a block that the thread has just read. It leaves out the next such reads, too,
 * without a look at the lock; but no others. */
static void test_pool_left_out(void)
{
    struct pool p;
    struct cm_lock *lock;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    lock = (struct cm_lock *)(void *)p.c->sample;
    sweep(f, 10);
    uint64_t reads = pool_stats(p.c).curve_reads;
    CHECK(cm_lock_try(lock));
    CHECK_EQ(hits(f, 9, 1, 1), 1);
    cm_lock_release(lock);
    CHECK_EQ(pool_stats(p.c).curve_skipped, 1024);
    for (unsigned i = 0; i < 1023; i++)
        CHECK_EQ(hits(f, 9, 1, 1), 1);
    CHECK_EQ(pool_stats(p.c).curve_reads, reads);
    CHECK_EQ(hits(f, 9, 1, 1), 1);
    CHECK_EQ(pool_stats(p.c).curve_reads, reads + 1);
    CHECK(cm_lock_try(lock));
    CHECK_EQ(hits(f, 9, 1, 1), 1);
    cm_lock_release(lock);
    CHECK_EQ(hits(f, 0, 1, 1), 1);
    sweep(f, 20); /* it has not read the blocks from 10 on */
    CHECK_EQ(pool_stats(p.c).curve_skipped, 2048);
    CHECK(pool_stats(p.c).curve_reads >= reads + 12);
    pool_end(&p);
}

/* The first block from this one on that the pool refuses, because it has not seen it before. The
 * ghost takes one block in 13000 for another (ghost.c). */
static uint64_t refused_from(cm_file *f, uint64_t block)
{
    for (unsigned k = 0; k < 3; k++, block++)
        if (put(f, block, 1) == CM_NOT_STORED_POLICY)
            return block;
    CHECK(false);
    return block;
}

/* AUTO in a loop longer than the pool: first-time blocks are refused, and the blocks that stay are
 * hit. */
static void test_pool_auto(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t slots = pool_info(p.c).slots, n = 2 * slots;
    CHECK_EQ(p.c->policy.ring.probation, slots / 10);
    CHECK_EQ(p.c->policy.ring.earn, 1);
    cm_file *f = attach(&p, 1, 10 * n * BLK, 1, CM_SOLE_WRITER);
    for (unsigned round = 0; round < 20; round++)
        sweep(f, n);
    CHECK(p.c->policy.ring.remembered);
    cm_stats_data before = pool_stats(p.c);
    uint64_t b = refused_from(f, 5 * n);
    CHECK_EQ(STAT(p.c, refused_policy), before.refused_policy + 1);
    CHECK_EQ(put(f, b, 1), 0); /* the ghost remembers it */
    CHECK_EQ(look(f, b, 1), RIGHT);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
    CHECK_EQ(put(f, b + 1, 1), 0); /* the caller's advice overrides the rule */
    CHECK_EQ(put_tail(f, b + 9, 1000, 1), 0);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    CHECK_EQ(put_tail(f, b + 9, 2000, 1), 0); /* it is there, and has grown */
    /* One run: some are remembered, some not. */
    uint8_t data[4 * CM_BLOCK_SIZE];
    b = refused_from(f, 6 * n + 2);
    cm_miss m = miss_of(f, (b - 2) * BLK, 4 * BLK);
    for (unsigned i = 0; i < 4; i++)
        content(1, b - 2 + i, data + i * BLK);
    before = pool_stats(p.c);
    CHECK_EQ(cm_fill(f, &m, data, sizeof(data), 0), CM_NOT_STORED_POLICY);
    const uint64_t stored = pool_stats(p.c).fill_blocks - before.fill_blocks;
    CHECK(stored == 1 || stored == 2); /* two: the ghost takes one for another */
    CHECK_EQ(STAT(p.c, refused_policy), before.refused_policy + 4 - stored);
    CHECK_EQ(look(f, b, 1), RIGHT);
    detach(f);
    p.o.policy = CM_POLICY_S3R;
    pool_again(&p);
    CHECK_EQ(p.c->policy.ring.earn, 2);
    f = attach(&p, 1, 10 * n * BLK, 1, CM_SOLE_WRITER);
    for (unsigned round = 0; round < 20; round++)
        sweep(f, n);
    CHECK(!p.c->policy.ring.remembered);
    CHECK_EQ(put(f, 7 * n, 1), 0);
    detach(f);
    pool_end(&p);
}

/* The same in a pool with a buffer of four blocks. Under a rule other than the default, a block
 * that leaves the buffer unearned goes on probation in the pool. Under the default no block stays
 * there. */
static void test_pool_auto_buffer(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    p.o.probation_bytes = 4 * BLK;
    pool_again(&p);
    const struct cm_ring *r = &p.c->policy.ring;
    CHECK(r->remembered && r->earn == 2 && r->probation == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    uint64_t n = 0;
    for (; n < 5000; n++) {
        (void)read_or_put(f, n);
        if (n >= 10 && n % 4 == 0)
            (void)read_or_put(f, n - 10);
    }
    CHECK(!r->remembered && r->on_probation > 0 && r->line_count > 0);
    CHECK(r->earn == 1 || r->probation == r->slots / 2);
    cm_stats_data before = pool_stats(p.c);
    for (uint64_t end = n + 100; n < end; n++) {
        CASE("end %" PRIu64, end);
        CHECK(!read_or_put(f, n));
    }
    cm_stats_data after = pool_stats(p.c);
    /* Except for blocks whose buckets have no free cell, in the buffer or in the pool. */
    CHECK(after.buffered - before.buffered >= 95);
    CHECK(after.promoted - before.promoted >= 95);
    CHECK(after.fill_blocks - before.fill_blocks >= 95);
    for (uint64_t end = n + 5000; n < end; n++)
        (void)read_or_put(f, n);
    CHECK(r->remembered);
    uint64_t left = r->on_probation; /* who is on probation yet leaves when a slot is wanted */
    for (unsigned i = 0; i < 10; i++) {
        CASE("i %u", i);
        CHECK(!read_or_put(f, n - 50 - i)); /* remembered: it takes one */
    }
    CHECK(r->on_probation < left || left == 0);
    CHECK_EQ(pool_stats(p.c).refused_policy, 0);
    detach(f);
    pool_end(&p);
}

static int64_t origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    for (size_t at = 0; at < len; at += BLK)
        content(*(uint64_t *)ctx, (off + at) / BLK, (uint8_t *)buf + at);
    return (int64_t)len;
}

/* A block that was read ahead is stored in any case, or the next request would read it again. */
static void test_pool_auto_ahead(void)
{
    struct pool p;
    uint64_t tag = 1;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    uint64_t slots = pool_info(p.c).slots;
    cm_file *f = attach(&p, 1, 100 * slots * BLK, 1, CM_SOLE_WRITER);
    sweep(f, slots);
    cm_ring_rule(&p.c->policy.ring, slots / 10, 1, true);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    cm_stats_data before = pool_stats(p.c);
    for (uint64_t b = 0; b < 64; b++) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(cm_read_through(f, (50 * slots + b) * BLK, buf, BLK, origin, &tag), BLK);
        CHECK(is_content(1, 50 * slots + b, buf, BLK));
    }
    cm_stats_data after = pool_stats(p.c);
    CHECK(after.origin_bytes - before.origin_bytes <= 100 * BLK);
    CHECK(after.refused_policy > before.refused_policy);
    detach(f);
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(probation),     TEST(ghost),
    TEST(drop),          TEST(remembered),
    TEST(buffer),        TEST(buffer_drop),
    TEST(buffer_passes), TEST(bounded),
    TEST(sample),        TEST(sizes),
    TEST(buffers),       TEST(estimate),
    TEST(loop),          TEST(auto_loop),
    TEST(auto_drop),     TEST(auto_wear),
    TEST(auto_buffer),   TEST(pool_auto_buffer),
    TEST(pool_curve),    TEST(pool_reported_early),
    TEST(pool_skipped),  TEST(pool_left_out),
    TEST(pool_auto),     TEST(pool_auto_ahead),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
