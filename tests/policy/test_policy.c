/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_policy.c - the policies on traces short enough to be followed by hand.
 *
 * A trace is a string: a small letter reads a block, the capital drops it; '!' is a restart. What
 * happened is a string too: m a miss, h a hit in the pool, b one in the buffer.
 */
#include "../unit/harness.h"

#include <ctype.h>
#include <stdlib.h>

#include "s3r_policies.h"

static struct tally tally;

static const char *play(const struct policy *policy, const struct s3r_setting *set, uint32_t slots,
                        const char *trace, enum restart how)
{
    static char happened[100];
    static uint64_t key[26];
    char *out = happened;
    struct world w = { slots, 26, key, &tally };
    tally = (struct tally){ 0 };
    void *p = policy->create(&w, policy->setting ? policy->setting : set);
    if (!p)
        return "no memory";
    for (; *trace; trace++) {
        if (*trace == '!')
            policy->restart(p, how);
        else if (isupper((unsigned char)*trace))
            policy->drop(p, (uint32_t)(*trace - 'A'));
        else
            *out++ = "mhb"[policy->read(p, (uint32_t)(*trace - 'a'))];
    }
    *out = '\0';
    policy->destroy(p);
    return happened;
}

static void same(const char *got, const char *want, const char *file, int line)
{
    if (strcmp(got, want) == 0)
        return;
    printf("# got %s, not %s\n", got, want);
    harness_fail(file, line, "another outcome");
}
#define PLAY(policy, slots, trace, want)                                                           \
    same(play(&policy_##policy, NULL, slots, trace, NO_RESTART), want, __FILE__, __LINE__)
#define PLAY_SET(set, slots, trace, want)                                                          \
    same(play(&policy_library, set, slots, trace, NO_RESTART), want, __FILE__, __LINE__)
#define PLAY_RESTART(set, slots, trace, how, want)                                                 \
    same(play(&policy_library, set, slots, trace, how), want, __FILE__, __LINE__)

static void test_lru(void)
{
    PLAY(lru, 2, "abacab", "mmhmhm");
    CHECK_EQ(tally.fills, 4);
    CHECK_EQ(tally.first_fills, 2);
    PLAY(lru, 2, "abAab", "mmmh");
    CHECK_EQ(tally.first_fills, 2); /* the dropped one's slot was used before */
    PLAY(lru, 3, "abcadabcda", "mmmhmhmmmm");
}

static void test_clock(void)
{
    PLAY(clock, 2, "aaabcbc", "mhhmmmh");  /* b takes the place of a, whose one bit is spent on c */
    PLAY(gclock, 2, "aaabcbc", "mhhmmmm"); /* a had two: b takes c's */
    PLAY(clock, 2, "abAcab", "mmmmh");     /* c takes what a left, and is the next to go */
    CHECK_EQ(tally.first_fills, 2);
}

static void test_sieve(void)
{
    PLAY(sieve, 3, "abcadabcda", "mmmhmhmmmh");
    PLAY(sieve, 3, "abcAdb", "mmmmh");
}

static void test_s3fifo(void)
{
    PLAY(s3fifo, 2, "abcadaea", "mmmmmhmh"); /* the ghost remembers a, which main then keeps */
    PLAY(s3fifo, 2, "aaabca", "mhhmmh");     /* read twice while small held it */
    PLAY(s3fifo, 2, "aabca", "mhmmm");
}

static void test_arc(void)
{
    PLAY(arc, 2, "aabcda", "mhmmmh");
    PLAY(arc, 2, "abacbc", "mmhmmh"); /* B1 is hit: T1 is let grow, c stays */
}

static const struct s3r_setting in_place = {
    .kind = CM_POLICY_S3R, .probation = 250, .earn = 2, .window = 1000
};
static const struct s3r_setting buffer = {
    .kind = CM_POLICY_S3R, .buffer = 1000, .probation = 0, .earn = 1, .window = 1000
};

static void test_probation_in_place(void)
{
    struct s3r_setting set = in_place;
    PLAY_SET(&set, 4, "aaabcdefghija", "mhhmmmmmmmmmh");
    set.earn = 3;
    PLAY_SET(&set, 4, "aaabcdefghija", "mhhmmmmmmmmmm");
    set.earn = 2;
    set.recent = 2; /* at once again: no reuse */
    PLAY_SET(&set, 4, "aaabcdefghija", "mhhmmmmmmmmmm");
}

static void test_ghost_in_place(void)
{
    PLAY_SET(&in_place, 4, "abcdeafghija",
             "mmmmmmmmmmmh"); /* a came back: it is not on probation */
    PLAY_SET(&in_place, 4, "abcdefghijka", "mmmmmmmmmmmm");
    PLAY_SET(&in_place, 4, "abAcdefc", "mmmmmmh"); /* c is younger than what its slot held before */
    PLAY_SET(&in_place, 4, "abAcAadbc",
             "mmmmmhh"); /* dropped, twice: a slot for it, and for the next */
}

static void test_buffer(void)
{
    PLAY_SET(&buffer, 2, "abcadcecfdd", "mmmhmbmhmmh");
    CHECK_EQ(tally.fills, 4); /* a and b because there is room, c has earned it, d is remembered */
    CHECK_EQ(tally.first_fills, 2);
    struct s3r_setting set = buffer;
    set.earn = 2;
    PLAY_SET(&set, 2, "abcadcecfdd", "mmmhmbmmmmh"); /* c has not, and is remembered */
    set.earn = 1;
    set.window = 2000;
    PLAY_SET(&set, 1, "abcbaa", "mmmmmb");     /* a was let in for want of others: forgotten */
    PLAY_SET(&set, 1, "abcbdcbb", "mmmmmmmb"); /* b came by the ghost: forgotten */
    PLAY_SET(&buffer, 2, "aAa", "mm");
    PLAY_SET(&buffer, 2, "abcAa", "mmmm"); /* dropped in the pool; b takes its slot */
    CHECK_EQ(tally.fills, 2);
    CHECK_EQ(tally.first_fills, 1);
}

static void test_restart(void)
{
    PLAY_RESTART(&buffer, 2, "ab!ab", CLEAN, "mmhh"); /* what waits goes to free slots */
    PLAY_RESTART(&buffer, 2, "ab!ab", CRASH, "mmmm");
    PLAY_RESTART(&buffer, 2, "abcd!abcd", CRASH, "mmmmhhmm");
    PLAY_RESTART(&buffer, 2, "abcd!abcd", COLD, "mmmmmmmm");
    PLAY_RESTART(&in_place, 4, "abcd!dcba", CRASH, "mmmmhhhh");
    PLAY_RESTART(&in_place, 4, "aaabcd!efghija", CLEAN, "mhhmmmmmmmmmh"); /* counts are kept */
    PLAY_RESTART(&in_place, 4, "aaabcd!efghija", CRASH, "mhhmmmmmmmmmm");
    PLAY_RESTART(&in_place, 4, "abcdef!aab", CLEAN, "mmmmmmmhm"); /* the ghost is kept */
    CHECK_EQ(tally.fills, 8);
}

/* No count is zero: the search ends, with the first among equals. */
static void test_all_wanted(void)
{
    enum { SLOTS = 1000 };
    static uint64_t key[SLOTS + 2];
    struct s3r_setting set = buffer;
    struct world w = { SLOTS, SLOTS + 2, key, &tally };
    set.buffer = 1; /* one block */
    void *p = policy_library.create(&w, &set);
    REQUIRE(p);
    for (uint32_t b = 0; b <= SLOTS; b++) /* the last one is in the buffer */
        policy_library.read(p, b);
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t b = 0; b <= SLOTS; b++) {
            CASE("b %u", b);
            CHECK(policy_library.read(p, b) != MISS);
        }
    policy_library.read(p, SLOTS + 1); /* SLOTS leaves the buffer */
    CHECK_EQ(policy_library.read(p, SLOTS), POOL_HIT);
    CHECK_EQ(policy_library.read(p, 1), POOL_HIT);
    CHECK_EQ(policy_library.read(p, 0), MISS);
    policy_library.destroy(p);
}

/* A loop longer than the pool: only holding back helps. */
static void test_auto(void)
{
    enum { SLOTS = 1000, LOOP = 2000, ROUNDS = 60 };
    static uint64_t key[LOOP];
    struct s3r_setting set = { .kind = CM_POLICY_AUTO, .window = 1000, .wear = 20, .entries = 128 };
    struct world w = { SLOTS, LOOP, key, &tally };
    uint64_t hits[2] = { 0 };
    for (uint32_t b = 0; b < LOOP; b++)
        key[b] = b;
    for (int i = 0; i < 2; i++) {
        CASE("i %d", i);
        const struct policy *policy = i == 0 ? &policy_clock : &policy_library;
        void *p = policy->create(&w, policy->setting ? policy->setting : &set);
        REQUIRE(p);
        for (uint32_t r = 0; r < ROUNDS * LOOP; r++)
            hits[i] += policy->read(p, r % LOOP) != MISS;
        policy->destroy(p);
    }
    CHECK_EQ(hits[0], 0);
    CHECK(hits[1] > (uint64_t)ROUNDS * SLOTS * 8 / 10); /* all that fit would be ROUNDS * SLOTS */
}

static const struct harness_test tests[] = {
    TEST(lru),
    TEST(clock),
    TEST(sieve),
    TEST(s3fifo),
    TEST(arc),
    TEST(probation_in_place),
    TEST(ghost_in_place),
    TEST(buffer),
    TEST(restart),
    TEST(all_wanted),
    TEST(auto),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
