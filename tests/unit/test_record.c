/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_record.c - the file table: a record is whole or none, belongs to its place, pool and epoch,
 * and its dirty mark stands alone; which record makes room for a new file.
 */
#include "fixture.h"

/* ---- Records --------------------------------------------------------------------------------- */

static struct cm_record some_record(uint64_t n)
{
    struct cm_record r = { .id = id_of(n), .incarnation = 100 + n, .size = 5000, .change = n };
    r.mtime_ns = 7;
    r.ctime_ns = 8;
    return r;
}

static bool whole_at(struct pool *p, uint64_t place)
{
    struct cm_record r;
    bool whole = false;
    CHECK_EQ(cm_record_at(&p->c->media, place, &r, &whole), 0);
    return whole;
}

static void test_write_and_drop(void)
{
    struct pool p;
    struct cm_record r = some_record(1), got;
    bool whole;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK(!whole_at(&p, 3));
    CHECK_EQ(cm_record_mark(&p.c->media, 3, true, 9), 0);
    uint64_t state = record_of(p.c, 3)->state;
    CHECK_EQ(cm_record_write(&p.c->media, 3, &r), 0);
    CHECK_EQ(cm_record_at(&p.c->media, 3, &got, &whole), 0);
    CHECK(whole);
    CHECK(memcmp(&got, &r, CM_RECORD_BODY_BYTES) == 0);
    CHECK_EQ(got.state, state); /* writing the record leaves the mark */
    CHECK(!whole_at(&p, 2) && !whole_at(&p, 4));
    CHECK_EQ(cm_record_drop(&p.c->media, 3), 0);
    CHECK(!whole_at(&p, 3));
    pool_end(&p);
}

/* Torn between two records at any word, in any order of the words: the old, the new or none. */
static void test_torn(void)
{
    struct pool p;
    struct cm_record old = some_record(1), new = some_record(1);
    uint64_t rng = 4;
    new.incarnation = 500;
    new.size = 6000;
    new.change = 2;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_record_write(&p.c->media, 3, &old), 0);
    CHECK_EQ(cm_record_write(&p.c->media, 3, &new), 0);
    for (int i = 0; i < 40000; i++) {
        uint64_t arrived = i < 16 ? (UINT64_C(1) << i) - 1 : next_random(&rng);
        uint64_t *w = (uint64_t *)(void *)record_of(p.c, 3);
        for (unsigned k = 0; k < CM_RECORD_BODY_BYTES / 8; k++)
            w[k] = ((const uint64_t *)(const void *)(arrived >> k & 1 ? &new : &old))[k];
        bool same = memcmp(w, &old, CM_RECORD_BODY_BYTES) == 0 ||
                    memcmp(w, &new, CM_RECORD_BODY_BYTES) == 0;
        CHECK_EQ(whole_at(&p, 3), same);
    }
    pool_end(&p);
}

/* Copied to another place, or left over from another epoch or pool: no record. */
static void test_belongs(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_record_write(&p.c->media, 3, &r), 0);
    *record_of(p.c, 4) = *record_of(p.c, 3);
    CHECK(whole_at(&p, 3) && !whole_at(&p, 4));
    uint64_t key = p.c->media.check_key;
    p.c->media.check_key = cm_format_check_key(p.c->super.now.uuid, p.c->super.now.epoch + 1);
    CHECK(!whole_at(&p, 3));
    p.c->media.check_key = key;
    CHECK(whole_at(&p, 3));
    pool_end(&p);
}

static void test_no_id(void)
{
    struct pool p;
    struct cm_record r = { .incarnation = 7 };
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_record_write(&p.c->media, 3, &r), 0);
    CHECK(!whole_at(&p, 3)); /* zero is no id, whatever its sum */
    pool_end(&p);
}

static void test_marks(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    const struct cm_media *m = &p.c->media;
    CHECK(cm_record_lost(m, 3, record_of(p.c, 3)->state, 5)); /* never written: not to be trusted */
    CHECK_EQ(cm_record_mark(m, 3, true, 5), 0);
    uint64_t word = record_of(p.c, 3)->state;
    CHECK(!cm_record_lost(m, 3, word, 5)); /* same boot: the page cache still has it */
    CHECK(cm_record_lost(m, 3, word, 6));
    CHECK(cm_record_lost(m, 3, word, 4));
    CHECK(cm_record_lost(m, 4, word, 5));
    CHECK_EQ(cm_record_mark(m, 3, false, 5), 0);
    word = record_of(p.c, 3)->state;
    CHECK(!cm_record_lost(m, 3, word, 5));
    CHECK(!cm_record_lost(m, 3, word, 6)); /* clean is clean in every boot */
    for (unsigned bit = 0; bit < 64; bit++)
        CHECK(cm_record_lost(m, 3, word ^ UINT64_C(1) << bit, 5));
    pool_end(&p);
}

/* The bucket of an id, with what is in it. */
static void test_load(void)
{
    struct pool p;
    struct cm_record_bucket b;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    for (uint64_t n = 1; n < 200; n++) {
        cm_file_id id = id_of(n);
        cm_record_load(&p.c->media, &id, &b);
        CHECK(b.first % CM_RECORD_WAYS == 0);
        CHECK(b.first / CM_RECORD_WAYS < p.c->media.geo.record_buckets);
        struct cm_record r = some_record(n);
        CHECK_EQ(cm_record_write(&p.c->media, b.first + n % CM_RECORD_WAYS, &r), 0);
        cm_record_load(&p.c->media, &id, &b);
        CHECK(b.whole[n % CM_RECORD_WAYS]);
        CHECK_EQ(b.record[n % CM_RECORD_WAYS].incarnation, 100 + n);
    }
    pool_end(&p);
}

/* ---- Which record goes ----------------------------------------------------------------------- */

/* A table of one bucket: files closed lose their record to new ones, any of them. */
static void test_eviction(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 1; n <= 10; n++) {
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 5, n), 5);
        detach(f);
    }
    cm_stats_data st = { .struct_size = sizeof(st) };
    CHECK_EQ(cm_stats(p.c, &st), 0);
    CHECK_EQ(st.records_evicted, 2);
    pool_again(&p);
    unsigned kept = 0;
    for (uint64_t n = 10; n >= 1; n--) { /* a cold one takes another one's record again */
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        kept += info_of(f).kept;
        CHECK_EQ(hits(f, 0, 5, n), info_of(f).kept ? 5 : 0);
        detach(f);
    }
    CHECK(kept >= 2 && kept <= 8);
    pool_end(&p);
}

/* Records of open files stay. When all of a bucket are open, a further file works without one and
 * is cold after a reopen; the others are not touched. */
static void test_bucket_full(void)
{
    struct pool p;
    cm_file *f[9];
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 0; n < 9; n++) {
        f[n] = attach(&p, n + 1, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f[n], 0, 5, n), 5);
    }
    CHECK_EQ(f[8]->place, CM_NO_PLACE);
    for (uint64_t n = 0; n < 9; n++)
        CHECK_EQ(hits(f[n], 0, 5, n), 5);
    cm_bracket w = begin_write(f[8], 0, BLK); /* it can be written, too */
    CHECK_EQ(look(f[8], 0, 8), MISS);
    CHECK(cm_write_end(f[8], &w, NULL) >= 0);
    CHECK_EQ(cm_file_abort(f[8]), 0);
    CHECK_EQ(hits(f[8], 0, 5, 8), 0);
    CHECK_EQ(put_all(f[8], 0, 5, 8), 5);
    pool_again(&p);
    for (uint64_t n = 0; n < 9; n++) {
        f[n] = attach(&p, n + 1, 100 * BLK, 1, 0);
        CHECK_EQ(info_of(f[n]).kept, n < 8);
        CHECK_EQ(hits(f[n], 0, 5, n), n < 8 ? 5 : 0);
    }
    pool_end(&p);
}

/* The ninth file, attached first after a reopen, takes the oldest record and not an open one's. */
static void test_open_not_evicted(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    cm_file *first = attach(&p, 1, 100 * BLK, 1, 0); /* the oldest, and open */
    CHECK_EQ(put_all(first, 0, 5, 1), 5);
    for (uint64_t n = 2; n <= 30; n++)
        detach(attach(&p, n, 100 * BLK, 1, 0));
    CHECK_EQ(hits(first, 0, 5, 1), 5);
    pool_again(&p);
    first = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(first).kept, 1);
    CHECK_EQ(hits(first, 0, 5, 1), 5);
    pool_end(&p);
}

/* Two whole records of one id prove nothing: neither counts, both are gone. */
static void test_two_records(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    uint64_t place = f->place, other = place / CM_RECORD_WAYS * CM_RECORD_WAYS;
    other += (place + 3) % CM_RECORD_WAYS;
    struct cm_record twin = *record_of(p.c, place);
    twin.incarnation += 1000;
    CHECK_EQ(cm_record_write(&p.c->media, other, &twin), 0);
    CHECK_EQ(cm_record_mark(&p.c->media, other, false, 1), 0);
    detach(f);
    pool_again(&p);
    CHECK(whole_at(&p, place) && whole_at(&p, other));
    f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 5, 1), 0);
    CHECK(whole_at(&p, place) + whole_at(&p, other) == 1);
    pool_end(&p);
}

/* Garbage in the table is no record; a damaged one costs its file's blocks and nothing else. */
static void test_damaged_record(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0), *g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    CHECK_EQ(put_all(g, 0, 5, 2), 5);
    uint64_t place = f->place;
    pool_down(&p);
    pool_up(&p);
    record_of(p.c, place)->size ^= 1;
    f = attach(&p, 1, 100 * BLK, 1, 0);
    g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 5, 1), 0);
    CHECK_EQ(info_of(g).kept, 1);
    CHECK_EQ(hits(g, 0, 5, 2), 5);
    pool_end(&p);
}

static void test_garbage_table(void)
{
    struct pool p;
    uint64_t rng = 6;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t *w = (uint64_t *)(void *)record_of(p.c, 0);
    uint64_t words = p.c->media.geo.record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record) / 8;
    for (uint64_t i = 0; i < words; i++)
        w[i] = next_random(&rng);
    for (uint64_t n = 1; n < 40; n++) {
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(put_all(f, 0, 2, n), 2);
        CHECK_EQ(hits(f, 0, 2, n), 2);
        detach(f);
    }
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(write_and_drop), TEST(torn),           TEST(belongs),
    TEST(no_id),          TEST(marks),          TEST(load),
    TEST(eviction),       TEST(bucket_full),    TEST(open_not_evicted),
    TEST(two_records),    TEST(damaged_record), TEST(garbage_table),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
