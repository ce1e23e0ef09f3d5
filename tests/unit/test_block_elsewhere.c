/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_elsewhere.c - blocks that their first bucket does not know: long reads, scattered
 * reads and pins find them in their second bucket and in the probation buffer, count them and tell
 * the policy, as a read of one block does.
 */
#include "block_common.h"

#include <inttypes.h>

#include "protocol/lookup.h"

#define POOLED 4u                  /* the first blocks of the file: in the pool */
#define HELD 8u                    /* the next ones: in the buffer */
#define TAIL (POOLED + HELD)       /* its last one, also there */
#define SHORT 1000u                /* bytes of that */
#define ABSENT (UINT64_C(1) << 20) /* a block that is nowhere */

static uint8_t to[16 * CM_BLOCK_SIZE];

static uint64_t entry_of(cm_file *f, uint64_t block)
{
    const struct cm_key k = key_of(f, block);
    uint64_t version;
    return cm_lookup_entry(cm_object_of(f)->cache, k.incarnation, block, k.place.hash, &version);
}

/* A file with blocks in the pool and in the buffer, all of which were judged. */
static cm_file *set_up(struct pool *p)
{
    pool_make(p, 4 * MIB, 0);
    p->o.probation_bytes = 4 * (HELD + 1) * BLK;
    CHECK_EQ(pool_up(p), 0);
    cm_file *f = attach(p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0); /* to the pool at once */
    CHECK_EQ(put_all(f, 0, POOLED, 5), POOLED);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NORMAL), 0);
    CHECK_EQ(put_all(f, POOLED, HELD, 5), HELD);
    CHECK_EQ(put_tail(f, TAIL, SHORT, 5), 0);
    CHECK_EQ(hits(f, 0, POOLED + HELD, 5), POOLED + HELD);
    for (uint64_t b = 0; b <= TAIL; b++) {
        CASE("block %" PRIu64, b);
        CHECK_EQ(entry_of(f, b) != CM_NO_SLOT, b >= POOLED);
    }
    return f;
}

/* What the next calls count is compared with this. */
struct counts {
    int64_t hits, bytes, buffered, absent, shorter;
};
static struct counts counts_of(cm_cache *c)
{
    return (struct counts){ STAT(c, hit_blocks), STAT(c, hit_bytes), STAT(c, probation_hits),
                            STAT(c, miss_absent), STAT(c, miss_short) };
}
static void expect_counts(cm_cache *c, struct counts was, struct counts more)
{
    const struct counts now = counts_of(c);
    CHECK_EQ(now.hits - was.hits, more.hits);
    CHECK_EQ(now.bytes - was.bytes, more.bytes);
    CHECK_EQ(now.buffered - was.buffered, more.buffered);
    CHECK_EQ(now.absent - was.absent, more.absent);
    CHECK_EQ(now.shorter - was.shorter, more.shorter);
}
#define expect_counts(...) CALL(expect_counts(__VA_ARGS__))

static void test_elsewhere_run(void)
{
    struct pool p;
    cm_miss m;
    cm_file *f = set_up(&p);
    const struct counts was = counts_of(p.c);
    const int64_t want = (int64_t)(TAIL * BLK + SHORT) - 7;
    memset(to, 0xee, sizeof(to));
    CHECK_EQ(cm_read(f, 7, to, sizeof(to) - 7, &m), want);
    for (uint64_t b = 1; b < TAIL; b++) {
        CASE("block %" PRIu64, b);
        CHECK(is_content(5, b, to + b * BLK - 7, BLK));
    }
    CHECK(is_content(5, TAIL, to + TAIL * BLK - 7, SHORT));
    CHECK_EQ(to[want], 0); /* behind the tail */
    CHECK_EQ(m.offset, TAIL * BLK);
    expect_counts(p.c, was, (struct counts){ TAIL + 1, want, HELD + 1, 3, 1 });
    pool_end(&p);
}

static void test_elsewhere_many(void)
{
    struct pool p;
    cm_miss m[4];
    cm_file *f = set_up(&p);
    const struct counts was = counts_of(p.c);
    cm_read_vec v[] = {
        { .offset = 5 * BLK, .buf = to, .len = BLK },
        { .offset = TAIL * BLK + 10, .buf = to + BLK, .len = SHORT - 10 },
        { .offset = 2 * BLK, .buf = to + 2 * BLK, .len = BLK, .miss = &m[0] },
        { .offset = 6 * BLK + 90, .buf = to + 3 * BLK, .len = 100, .miss = &m[1] },
        { .offset = ABSENT * BLK + 7, .buf = to + 4 * BLK, .len = 100, .miss = &m[2] },
        { .offset = TAIL * BLK, .buf = to + 5 * BLK, .len = BLK, .miss = &m[3] },
        { .offset = 10 * BLK, .buf = to + 6 * BLK, .len = 2 * BLK },
        { .offset = 3 * BLK, .buf = to + 8 * BLK, .len = 2 * BLK }, /* one here, one there */
    };
    const uint64_t incarnation = cm_object_of(f)->incarnation;
    memset(to, 0xee, sizeof(to));
    CHECK_EQ(cm_read_many(f, v, sizeof(v) / sizeof(v[0])), 6);
    uint8_t want[CM_BLOCK_SIZE];
    CHECK(is_content(5, 5, to, BLK));
    content(5, TAIL, want);
    CHECK(memcmp(to + BLK, want + 10, SHORT - 10) == 0);
    CHECK(is_content(5, 2, to + 2 * BLK, BLK));
    content(5, 6, want);
    CHECK(memcmp(to + 3 * BLK, want + 90, 100) == 0);
    CHECK_EQ(m[1].len, 0);
    CHECK_EQ(m[1].offset, 6 * BLK + 190);
    CHECK_EQ(v[4].result, 0);
    CHECK_EQ(m[2].offset, ABSENT * BLK);
    CHECK_EQ(m[2].len, BLK);
    CHECK_EQ(m[2].flags, 0);
    CHECK_EQ(v[5].result, SHORT);
    CHECK_EQ(to[5 * BLK + SHORT], 0); /* behind the tail */
    CHECK_EQ(m[3].offset, TAIL * BLK);
    CHECK(is_content(5, 10, to + 6 * BLK, BLK) && is_content(5, 11, to + 7 * BLK, BLK));
    CHECK(is_content(5, 3, to + 8 * BLK, BLK) && is_content(5, 4, to + 9 * BLK, BLK));
    for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        CASE("vector %u", i);
        CHECK_EQ(v[i].incarnation, incarnation);
    }
    const int64_t bytes = (int64_t)(6 * BLK + SHORT - 10 + 100 + SHORT);
    expect_counts(p.c, was, (struct counts){ 9, bytes, 7, 1, 1 });
    pool_end(&p);
}

static void test_elsewhere_pins(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    cm_miss m;
    int n;
    cm_file *f = set_up(&p);
    const struct counts was = counts_of(p.c);
    CHECK_EQ(cm_pin_range(f, 5 * BLK + 90, 100, &iov, 1, &n, &pins, &m), 100);
    uint8_t want[CM_BLOCK_SIZE];
    content(5, 5, want);
    CHECK(n == 1 && iov.len == 100 && memcmp(iov.base, want + 90, 100) == 0);
    CHECK_EQ(m.offset, 5 * BLK + 190);
    CHECK_EQ(cm_unpin(&pins), 0);
    expect_counts(p.c, was, (struct counts){ 1, 100, 1, 0, 0 });
    /* All that a tail has, and one byte more. */
    CHECK_EQ(cm_pin_range(f, TAIL * BLK + 10, SHORT - 10, &iov, 1, &n, &pins, NULL), SHORT - 10);
    CHECK(n == 1 && iov.len == SHORT - 10);
    CHECK_EQ(cm_unpin(&pins), 0);
    expect_counts(p.c, was, (struct counts){ 2, 90 + SHORT, 2, 0, 0 });
    CHECK_EQ(cm_pin_range(f, TAIL * BLK + 10, SHORT - 9, &iov, 1, &n, &pins, NULL), SHORT - 10);
    CHECK(n == 1 && iov.len == SHORT - 10);
    CHECK_EQ(cm_unpin(&pins), 0);
    expect_counts(p.c, was, (struct counts){ 3, 80 + 2 * SHORT, 3, 0, 1 });
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

/* No set of pins is left: nothing stays pinned. */
static void test_elsewhere_sets(void)
{
    struct pool p;
    static uint32_t sets[CM_PIN_SETS], life[CM_PIN_SETS];
    cm_iovec iov;
    cm_pins pins;
    int n;
    cm_file *f = set_up(&p);
    for (uint32_t i = 0; i < CM_PIN_SETS; i++)
        sets[i] = cm_pin_set_take(p.c->pin_sets, i, 0, &life[i]);
    const struct counts was = counts_of(p.c);
    CHECK_EQ(cm_pin_range(f, 5 * BLK, BLK, &iov, 1, &n, &pins, NULL), CM_EBUSY);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    expect_counts(p.c, was, (struct counts){ 0, 0, 0, 0, 0 });
    for (uint32_t i = 0; i < CM_PIN_SETS; i++)
        CHECK(cm_pin_set_drop(p.c->pin_sets, sets[i], life[i]));
    CHECK_EQ(cm_pin_range(f, 5 * BLK, BLK, &iov, 1, &n, &pins, NULL), BLK);
    CHECK_EQ(cm_unpin(&pins), 0);
    pool_end(&p);
}

/* Finds a block whose first bucket can be filled with others, and fills it. */
static uint64_t fill_first_bucket(cm_file *f)
{
    const uint64_t last = 1000, bucket = key_of(f, last).place.bucket[0];
    unsigned n = 0;
    for (uint64_t b = 2000; n < CM_BUCKET_CELLS; b++)
        if (key_of(f, b).place.bucket[0] == bucket) {
            CHECK_EQ(put(f, b, 5), 0);
            CHECK_EQ(look(f, b, 5), RIGHT);
            n++;
        }
    CHECK_EQ(put_all(f, last - 1, 3, 5), 3);
    CHECK_EQ(hits(f, last - 1, 3, 5), 3);
    uint64_t slot = CM_NO_SLOT;
    const struct cm_key k = key_of(f, last);
    CHECK_EQ(cm_lookup_bucket(cm_object_of(f)->cache, k.place.hash, bucket, &slot),
             CM_FOUND_ABSENT);
    CHECK_EQ(cm_lookup_bucket(cm_object_of(f)->cache, k.place.hash, k.place.bucket[1], &slot),
             CM_FOUND_HIT);
    CHECK_EQ(slot, slot_of(f, last));
    return last;
}

/* Where there is no buffer. */
static void test_elsewhere_second_bucket(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    const uint64_t last = fill_first_bucket(f);
    const struct counts was = counts_of(p.c);
    CHECK_EQ(cm_read(f, (last - 1) * BLK, to, 3 * BLK, NULL), 3 * BLK);
    for (unsigned i = 0; i < 3; i++)
        CHECK(is_content(5, last - 1 + i, to + i * BLK, BLK));
    cm_read_vec v[] = { { .offset = last * BLK, .buf = to, .len = BLK },
                        { .offset = (last + 1) * BLK, .buf = to + BLK, .len = BLK } };
    memset(to, 0xee, sizeof(to));
    CHECK_EQ(cm_read_many(f, v, 2), 2);
    CHECK(is_content(5, last, to, BLK) && is_content(5, last + 1, to + BLK, BLK));
    CHECK_EQ(cm_pin_range(f, last * BLK, BLK, &iov, 1, &n, &pins, NULL), BLK);
    CHECK(iov.base == payload_of(p.c, slot_of(f, last)));
    CHECK_EQ(cm_unpin(&pins), 0);
    expect_counts(p.c, was, (struct counts){ 6, 6 * BLK, 0, 0, 0 });
    /* What changed in its slot is not read: by none of the ways. */
    header_of(p.c, slot_of(f, last))->incarnation ^= 1;
    CHECK_EQ(cm_read(f, (last - 1) * BLK, to, 3 * BLK, NULL), BLK);
    CHECK_EQ(cm_read_many(f, v, 1), 0);
    CHECK_EQ(cm_pin_range(f, last * BLK, BLK, &iov, 1, &n, &pins, NULL), 0);
    pool_end(&p);
}

/* Hits teach in which entry a block probably is, and a wrong guess changes nothing. */
static void test_elsewhere_guess(void)
{
    struct pool p;
    cm_file *f = set_up(&p);
    struct cm_object *o = cm_object_of(f);
    const uint64_t delta = entry_of(f, 5) - 5, entries = p.c->probation.entries;
    CHECK_EQ(entry_of(f, 9) - 9, delta); /* in a row */
    for (unsigned i = 0; i < 100000 && at_load_relaxed(&o->slot_delta) != delta; i++)
        CHECK_EQ(cm_read(f, 5 * BLK, to, BLK, NULL), BLK);
    CHECK_EQ(cm_object_guess(o, 9), entry_of(f, 9));
    const uint64_t deltas[] = { CM_ENTRY_FIRST,           CM_ENTRY_FIRST - 5,
                                CM_ENTRY_FIRST - 6,       CM_ENTRY_FIRST + entries - 1,
                                CM_ENTRY_FIRST + entries, UINT64_MAX };
    for (unsigned d = 0; d < sizeof(deltas) / sizeof(deltas[0]); d++) {
        CASE("delta %" PRIx64, deltas[d]);
        at_store_relaxed(&o->slot_delta, deltas[d]);
        CHECK_EQ(hits(f, 0, POOLED + HELD, 5), POOLED + HELD);
    }
    CHECK(cm_lookup_is_entry(p.c, CM_ENTRY_FIRST));
    CHECK(cm_lookup_is_entry(p.c, CM_ENTRY_FIRST + entries - 1));
    CHECK(!cm_lookup_is_entry(p.c, CM_ENTRY_FIRST + entries));
    CHECK(!cm_lookup_is_entry(p.c, CM_ENTRY_FIRST - 1));
    pool_end(&p);
}

/* Long reads, scattered reads and pins are hits for the policy: such blocks go to the pool when
 * they leave the buffer. */
static void test_elsewhere_earns(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    cm_file *f = set_up(&p);
    struct cm_plat_thread *t = cm_plat_thread();
    for (unsigned i = 0; i < CM_PROBATION_COUNT; i++) {
        cm_read_vec v = { .offset = 6 * BLK, .buf = to, .len = BLK };
        memset(t->recent, 0, sizeof(t->recent));
        CHECK_EQ(cm_read(f, 4 * BLK, to, 2 * BLK, NULL), 2 * BLK);
        CHECK_EQ(cm_read_many(f, &v, 1), 1);
        CHECK_EQ(cm_pin_range(f, 7 * BLK, BLK, &iov, 1, &n, &pins, NULL), BLK);
        CHECK_EQ(cm_unpin(&pins), 0);
    }
    for (uint64_t b = 4; b < 8; b++) {
        CASE("block %" PRIu64, b);
        const uint64_t e = entry_of(f, b) - CM_ENTRY_FIRST;
        CHECK_EQ(at_load_relaxed(&p.c->probation.entry[e].count), CM_PROBATION_COUNT);
    }
    pool_end(&p);
}

const struct harness_test block_elsewhere_tests[] = {
    TEST(elsewhere_run),           TEST(elsewhere_many),
    TEST(elsewhere_pins),          TEST(elsewhere_sets),
    TEST(elsewhere_second_bucket), TEST(elsewhere_guess),
    TEST(elsewhere_earns),         TEST_END,
};
