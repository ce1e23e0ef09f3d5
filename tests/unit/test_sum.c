/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_sum.c - every way to sum a payload gives the result of xxhash.h.
 */
#include "media/checksum.h"

#include "harness.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LENGTH_MAX 4160u

static uint8_t bytes[LENGTH_MAX + 64];

static void make_bytes(void)
{
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)x;
    }
}

/* All lengths, at some alignments. */
static void compare(cm_checksum_fn sum)
{
    static const size_t offsets[] = { 0, 1, 8, 33, 63 };

    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        for (size_t i = 0; i < 5; i++) {
            CASE("i %zu", i);
            const uint8_t *at = bytes + offsets[i];
            CHECK(sum(at, n) == XXH3_64bits(at, n));
        }
    }
}

static void test_every_variant(void)
{
    make_bytes();
    for (size_t i = 0; cm_checksum_variant(i); i++) {
        CASE("i %zu", i);
        CALL(compare(cm_checksum_variant(i)));
    }
    CHECK(cm_checksum_variant(0) != NULL);
}

static void test_the_chosen_one(void)
{
    make_bytes();
    CALL(compare(cm_checksum));
}

static uint64_t in_parts(const void *data, size_t n)
{
    struct cm_checksum_parts p;
    const size_t first = n / 3;
    cm_checksum_begin(&p);
    cm_checksum_add(&p, data, first);
    cm_checksum_add(&p, (const uint8_t *)data + first, n - first);
    return cm_checksum_end(&p);
}

static void test_in_parts(void)
{
    make_bytes();
    CALL(compare(in_parts));
}

/* If there is only one variant, the comparison proves nothing; then this test says so. */
static void test_there_are_several(void)
{
    if (!cm_checksum_variant(1))
        SKIP("one way to sum here: no AVX2, or not used on this system");
    CHECK(cm_checksum_variant(0) != cm_checksum_variant(1));
}

static const struct harness_test tests[] = {
    TEST(every_variant),
    TEST(the_chosen_one),
    TEST(in_parts),
    TEST(there_are_several),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
