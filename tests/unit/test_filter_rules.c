/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_filter_rules.c - which streams, reads and changes the driver for Windows takes part in: the
 * rules at the head of filter_rules.h, by their numbers. And the written-set by itself.
 */
#include "harness.h"

#include "filter_rules.h"
#include "filter_set.h"
#include "racy_times.h"

#define BLOCK 4096u
#define SLOTS 8u

static void test_streams(void)
{
    const struct fc_stream fits = { .path = "\\data\\file" };
    CHECK(fc_stream_fits(&fits));
    struct fc_stream s[6] = { fits, fits, fits, fits, fits, fits };
    s[0].directory = s[1].alternate = s[2].encrypted = true; /* S1 S2 S3 */
    s[3].paging = s[4].recalled = s[5].pools_volume = true;  /* S4 S5 S6 */
    for (unsigned i = 0; i < 6; i++) {
        CASE("i %u", i);
        CHECK(!fc_stream_fits(&s[i]));
    }
}

/* S7 */
static void test_system_names(void)
{
    static const char *const theirs[] = {
        "\\Windows\\System32\\config\\SOFTWARE",
        "\\WINDOWS",
        "\\pagefile.sys",
        "\\hiberfil.sys",
        "\\swapfile.sys",
        "\\$Mft",
        "\\$Extend\\$UsnJrnl",
        "\\System Volume Information\\x",
        "\\Boot\\BCD",
        "\\EFI\\Microsoft\\Boot\\BCD",
        "\\bootmgr",
        "\\BOOTNXT",
        "\\Recovery\\r",
        "\\DumpStack.log.tmp",
        "\\Users\\a\\NTUSER.DAT",
        "\\Users\\a\\ntuser.dat.LOG1",
        "\\Users\\a\\AppData\\Local\\Microsoft\\Windows\\UsrClass.dat",
        "\\ProgramData\\cachemax\\CacheManager.writes",
        "\\ProgramData\\cachemax-S-1-5\\x.lock",
    };
    static const char *const ours[] = {
        "\\Windows.old\\x",
        "\\windowsapps",
        "\\data\\windows\\x",
        "\\data\\pagefile.sys",
        "\\pagefile.sysx",
        "\\data\\$x",
        "\\bootmgrs",
        "\\boot2\\x",
        "\\ProgramData\\cachemaxx",
        "\\data\\my ntuser.dat",
    };
    for (unsigned i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++) {
        CASE("%s", theirs[i]);
        CHECK(fc_is_the_systems(theirs[i]));
        CHECK(!fc_stream_fits(&(struct fc_stream){ .path = theirs[i] }));
    }
    for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        CASE("%s", ours[i]);
        CHECK(!fc_is_the_systems(ours[i]));
    }
}

static void test_reads_that_ask(void)
{
    const struct fc_op asks = { .waits = true, .plain = true, .off = 5, .len = 100 };
    const struct fc_op whole = {
        .waits = true, .plain = true, .non_cached = true, .off = BLOCK, .len = 2 * BLOCK
    };
    CHECK(fc_read_asks(&asks, BLOCK));
    CHECK(fc_read_asks(&whole, BLOCK));
    struct fc_op op[13] = { asks,  asks, asks, asks, asks, asks, whole,
                            whole, asks, asks, asks, asks, asks };
    op[0].paging = op[1].service = true; /* R1 R2 */
    op[2].waits = false;                 /* R3 */
    op[3].transacted = true;             /* R4 */
    op[4].plain = false;                 /* R5 */
    op[5].locked = true;                 /* R6 */
    op[6].off = BLOCK + 512;             /* R7 */
    op[7].len = BLOCK + 512;             /* R7 */
    op[8].len = 0;                       /* R8 */
    op[9].off = -1;                      /* R8 */
    op[10].off = INT64_MAX - 99;         /* R8 */
    op[11].early = true;                 /* R9 */
    op[12].closed = true;                /* R10 */
    for (unsigned i = 0; i < 13; i++) {
        CASE("i %u", i);
        CHECK(!fc_read_asks(&op[i], BLOCK));
    }
}

static void test_changes(void)
{
    CHECK_EQ(fc_change_way(&(struct fc_op){ .paging = true, .waits = true }), FC_NOTHING);  /* C1 */
    CHECK_EQ(fc_change_way(&(struct fc_op){ .service = true, .waits = true }), FC_OUTSIDE); /* C2 */
    CHECK_EQ(fc_change_way(&(struct fc_op){ .transacted = true, .waits = true }), FC_LASTING);
    CHECK_EQ(fc_change_way(&(struct fc_op){ .mapping = true, .waits = true }), FC_LASTING); /* C3 */
    CHECK_EQ(fc_change_way(&(struct fc_op){ .waits = false }), FC_OUTSIDE);                 /* C4 */
    CHECK_EQ(fc_change_way(&(struct fc_op){ .waits = true }), FC_BRACKET);                  /* C5 */
    CHECK_EQ(fc_change_way(&(struct fc_op){ .service = true, .mapping = true }), FC_LASTING);
}

/* The library has the same rule, and the same table in unit/platform_win32. */
static void test_racy_times(void)
{
    for (size_t i = 0; i < RACY_TIMES; i++) {
        CASE("i %zu", i);
        CHECK_EQ(fc_times_are_racy(racy_times[i].written, racy_times[i].changed, RACY_NOW,
                                   racy_times[i].tick),
                 racy_times[i].racy);
    }
}

/* ---- The written-set ------------------------------------------------------------------------- */

/* W5: whatever was taken out, the rest is found. */
static void test_set_gaps(void)
{
    static struct fc_id set[SLOTS];
    struct fc_id id;
    struct fc_set s;
    for (uint64_t seed = 1; seed < 500; seed++) {
        CASE("seed %u", (unsigned)seed);
        bool in[7] = { false };
        fc_set_init(&s, set, SLOTS);
        for (uint64_t i = 1; i < 7; i++) {
            fc_set_add(&s, (struct fc_id){ seed, i });
            in[i] = true;
        }
        for (unsigned left = 6; left > 0; left--) {
            REQUIRE(fc_set_take(&s, &id) && id.hi == seed && id.lo < 7 && in[id.lo]);
            in[id.lo] = false;
            for (uint64_t i = 1; i < 7; i++)
                CHECK_EQ(fc_set_has(&s, (struct fc_id){ seed, i }), in[i]);
        }
        CHECK(fc_set_empty(&s) && !fc_set_take(&s, &id));
    }
}

extern const struct harness_test filter_rules_tests[];
const struct harness_test filter_rules_tests[] = {
    TEST(streams),  TEST(system_names), TEST(reads_that_ask), TEST(changes), TEST(racy_times),
    TEST(set_gaps), TEST_END,
};
