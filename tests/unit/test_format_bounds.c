/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_format_bounds.c - the numbers of a pool at their bounds: the last that is taken, the first
 * that is not.
 */
#include "fixture.h"

#define KEY UINT64_C(0x3344556677889900)

extern const struct harness_test format_bounds_tests[];

/* ---- Bounds of a superblock ------------------------------------------------------------------ */

/* Is the superblock refused with `value` in the field at `offset`, and taken with `good`? */
static void check_field(const struct cm_super *sb, size_t offset, uint64_t good, uint64_t bad)
{
    struct cm_geometry g;
    struct cm_super with = *sb;
    memcpy((uint8_t *)&with + offset, &good, sizeof(good));
    CHECK_EQ(cm_format_geometry(&with, &g), 0);
    memcpy((uint8_t *)&with + offset, &bad, sizeof(bad));
    CHECK_EQ(cm_format_geometry(&with, &g), CM_EDAMAGED);
}
#define check_field(...) CALL(check_field(__VA_ARGS__)) /* its checks say who called */
#define FIELD(name) offsetof(struct cm_super, name)

static void super_planned(struct cm_super *sb, uint64_t size, uint64_t incompat)
{
    static const uint8_t uuid[16];
    struct cm_geometry g;
    CHECK_EQ(cm_format_plan(size, 0, incompat, &g), 0);
    cm_super_init(sb, &g, uuid, 1, 1);
}

/* Each bound alone: the last value that is taken, and the first that is not. */
static void test_geometry_bounds(void)
{
    struct cm_super sb;
    CALL(super_planned(&sb, CM_POOL_SIZE_MAX, 0));
    check_field(&sb, FIELD(pool_size), CM_POOL_SIZE_MAX, CM_POOL_SIZE_MAX + BLK);
    CALL(super_planned(&sb, 64 * MIB, 0));
    check_field(&sb, FIELD(pool_size), sb.pool_size + BLK, sb.pool_size + 1);
    check_field(&sb, FIELD(slots), CM_SLOTS_MIN, CM_SLOTS_MIN - 1);
    check_field(&sb, FIELD(slots), sb.slots, sb.slots + 64);
    check_field(&sb, FIELD(record_buckets), 1, 0);
    check_field(&sb, FIELD(stripes), 1, 0);
    check_field(&sb, FIELD(stripe_buckets), 2, 1);
    check_field(&sb, FIELD(data_align), BLK, 2 * BLK);
    check_field(&sb, FIELD(data_align), BLK, 0);
    check_field(&sb, FIELD(inc_mark), CM_INCARNATION_MARK_MAX, CM_INCARNATION_MARK_MAX + 1);
    const uint64_t sealed = CM_INCOMPAT_SEALED, encrypted = CM_INCOMPAT_ENCRYPTED;
    check_field(&sb, FIELD(incompat), sealed | encrypted, encrypted);
    /* Products that wrap to what they should be. */
    check_field(&sb, FIELD(record_buckets), sb.record_buckets,
                sb.record_buckets + (UINT64_C(1) << 52));
    sb.stripes = 1;
    check_field(&sb, FIELD(stripe_buckets), 1024, 1025);
    sb.stripe_buckets = 2;
    check_field(&sb, FIELD(stripes), 1, 1 + (UINT64_C(1) << 57));
    CALL(super_planned(&sb, 2 * GIB, 0));
    check_field(&sb, FIELD(slots), CM_SLOTS_MIN, CM_SLOTS_MIN + (UINT64_C(1) << 59));
}

static uint64_t part_word(uint64_t end, uint64_t tables)
{
    return end / BLK << CM_PART_TABLE_BITS | tables / BLK;
}

/* The words of the parts: none without the bit, none after a gap, each within its bounds. */
static void test_part_bounds(void)
{
    uint64_t from = CM_POOL_SIZE_MAX / 2, top = CM_POOL_SIZE_MAX, word;
    struct cm_geometry g, to;
    struct cm_super sb;
    CHECK_EQ(cm_format_plan(from, 0, 0, &g), 0);
    CHECK_EQ(cm_format_grow(&g, top, &to, &word), 0);
    CALL(super_planned(&sb, from, 0));
    sb.incompat |= CM_INCOMPAT_GROWN;
    check_field(&sb, FIELD(part[0]), word, part_word(top + BLK, cm_part_tables(word) + BLK));
    check_field(&sb, FIELD(growing), top, top + BLK);
    from = 64 * MIB;
    top = 256 * MIB;
    CHECK_EQ(cm_format_plan(from, 0, 0, &g), 0);
    CHECK_EQ(cm_format_grow(&g, top, &to, &word), 0);
    CHECK_EQ(word, part_word(top, cm_part_tables(word)));
    CALL(super_planned(&sb, from, 0));
    check_field(&sb, FIELD(part[0]), 0, word);
    check_field(&sb, FIELD(part[3]), 0, word);
    check_field(&sb, FIELD(growing), 0, top);
    sb.incompat |= CM_INCOMPAT_GROWN;
    check_field(&sb, FIELD(part[0]), word, part_word(from, 0));
    check_field(&sb, FIELD(part[0]), word, part_word(from - 64 * BLK, 0));
    check_field(&sb, FIELD(part[0]), word, part_word(top, top - from + BLK));
    check_field(&sb, FIELD(part[0]), part_word(top, top - from - 64 * BLK),
                part_word(top, top - from - 63 * BLK));
    check_field(&sb, FIELD(part[0]), word, part_word(top, cm_part_tables(word) - BLK));
    check_field(&sb, FIELD(part[1]), 0, word);
    check_field(&sb, FIELD(growing), top - BLK, top - 1);
    check_field(&sb, FIELD(growing), from + BLK, from);
    /* The part is damaged; that nothing is wrong with the growth does not help. */
    sb.part[0] = part_word(from, 0);
    sb.growing = top;
    CHECK_EQ(cm_format_geometry(&sb, &to), CM_EDAMAGED);
}

/* The least size of a larger pool is one, also of a pool that has grown, and a page less is none.
 */
static void test_least_growth(void)
{
    static const uint64_t tables[] = { 0, CM_INCOMPAT_NAMES };
    for (unsigned i = 0; i < 2 * 20; i++) {
        const uint64_t from = MIB << i / 2;
        struct cm_geometry g, to;
        uint64_t word, least;
        CASE("%u: %llu", i, (unsigned long long)from);
        CHECK_EQ(cm_format_plan(from, 0, tables[i % 2], &g), 0);
        for (unsigned k = 0; k < CM_PARTS; k++) {
            least = cm_format_grow_least(&g);
            CHECK(least > g.pool_size);
            CHECK_EQ(cm_format_grow(&g, least - BLK, &to, &word), CM_EPOOLSIZE);
            REQUIRE(cm_format_grow(&g, least, &to, &word) == 0);
            g = to;
        }
        CHECK_EQ(cm_format_grow_least(&g), 0);
    }
}

/* One more page makes the 64th slot of a part, and one more slot too many buckets in a stripe. */
static void test_growth_bounds(void)
{
    struct cm_geometry g, to;
    uint64_t word = 1, size = 64 * MIB;
    CHECK_EQ(cm_format_plan(size, 0, CM_INCOMPAT_NAMES, &g), 0);
    CHECK_EQ(cm_format_grow(&g, size, &to, &word), CM_EPOOLSIZE);
    CHECK_EQ(word, 0);
    CHECK_EQ(cm_format_grow(&g, size + MIB + 1, &to, &word), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_grow(&g, CM_POOL_SIZE_MAX + BLK, &to, &word), CM_EPOOLSIZE);
    do
        size += BLK;
    while (cm_format_grow(&g, size, &to, &word) == CM_EPOOLSIZE);
    CHECK_EQ(cm_format_grow_least(&g), size);
    CHECK_EQ(to.slots - g.slots, CM_SLOTS_MIN);
    CHECK_EQ(to.parts, 1);
    CHECK_EQ(to.pool_size, size);
    CHECK_EQ(to.incompat, CM_INCOMPAT_NAMES | CM_INCOMPAT_GROWN);
    CHECK_EQ(cm_format_payload_at(&to, to.slots - 1) + BLK, size);
    /* A pool of one stripe. */
    CHECK_EQ(cm_format_plan(MIB, 0, 0, &g), 0);
    CHECK_EQ(g.stripes, 1);
    uint64_t low = MIB, high = 4 * GIB;
    while (high - low > BLK) {
        const uint64_t mid = (low + high) / 2 / BLK * BLK;
        *(cm_format_grow(&g, mid, &to, &word) ? &high : &low) = mid;
        if (mid < 2 * MIB) /* not the lower bound */
            break;
    }
    CHECK_EQ(cm_format_grow(&g, low, &to, &word), 0);
    CHECK_EQ(to.stripe_buckets, 1u << 16);
    CHECK_EQ(to.slots, 1u << 18);
    struct cm_super sb;
    CALL(super_planned(&sb, MIB, 0));
    sb.incompat |= CM_INCOMPAT_GROWN;
    /* There is room for the tables, but a stripe would have too many buckets. */
    check_field(&sb, FIELD(part[0]), word,
                part_word(low + 72 * BLK, cm_part_tables(word) + 8 * BLK));
}

/* How long the file of a pool may be. */
static void test_size_is(void)
{
    struct cm_super sb = { .pool_size = 8 * BLK, .growing = 10 * BLK };
    sb.part[0] = part_word(9 * BLK, 0);
    CHECK_EQ(cm_format_size(&sb), 8 * BLK);
    CHECK_EQ(cm_format_size_is(&sb, 8 * BLK, 8 * BLK - 1), CM_ETRUNCATED);
    CHECK_EQ(cm_format_size_is(&sb, 8 * BLK, 8 * BLK), 0);
    CHECK_EQ(cm_format_size_is(&sb, 8 * BLK, 8 * BLK + 1), CM_EOVERSIZE);
    sb.incompat = CM_INCOMPAT_GROWN;
    CHECK_EQ(cm_format_size(&sb), 9 * BLK);
    CHECK_EQ(cm_format_size_is(&sb, 9 * BLK, 9 * BLK - 1), CM_ETRUNCATED);
    CHECK_EQ(cm_format_size_is(&sb, 9 * BLK, 9 * BLK), 0);
    CHECK_EQ(cm_format_size_is(&sb, 9 * BLK, 10 * BLK), 0);
    CHECK_EQ(cm_format_size_is(&sb, 9 * BLK, 10 * BLK + 1), CM_EOVERSIZE);
    for (unsigned i = 1; i < CM_PARTS; i++) {
        sb.part[i] = part_word((9 + i) * BLK, 0);
        CHECK_EQ(cm_format_size(&sb), (9 + i) * BLK);
    }
}

/* Times of an end of life: whole seconds from 1970 to 2106. */
static void test_times(void)
{
    const int64_t second = 1000000000;
    const struct cm_record r = { .incarnation = 9 };
    static const struct {
        int64_t wall_ns, seconds;
    } times[] = { { 0, 0 },
                  { 1, 0 },
                  { -1, 0 },
                  { -5000000000, 0 },
                  { 999999999, 0 },
                  { 1000000000, 1 },
                  { 1700000000900000000, 1700000000 },
                  { 4294967295000000000, 4294967295 },
                  { 4294967296000000000, 4294967295 },
                  { INT64_MAX, 4294967295 } };
    for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        CASE("time %u", i);
        const uint64_t word = cm_format_time_word(KEY, 13, &r, times[i].wall_ns);
        CHECK_EQ(word == 0, times[i].wall_ns == 0);
        CHECK_EQ(word >> 32, times[i].seconds);
        CHECK_EQ(cm_format_time_read(KEY, 13, &r, word), times[i].seconds * second);
    }
}

const struct harness_test format_bounds_tests[] = {
    TEST(geometry_bounds),
    TEST(part_bounds),
    TEST(growth_bounds),
    TEST(least_growth),
    TEST(size_is),
    TEST(times),
    TEST_END,
};
