/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects_hostile.c - buckets whose bytes are wrong, behind right checksums of the pool.
 */
#include "objects_common.h"

/* Writes a bucket as the container does, with any bytes. */
static void forge(cm_objects *o, uint64_t bucket, const uint8_t *bytes)
{
    uint8_t buf[CM_BLOCK_SIZE];
    cm_bracket w;
    cm_miss m = CM_MISS_INIT;
    CHECK_EQ(cm_write_begin(o->buckets_file, bucket * BLK, BLK, &w), 0);
    CHECK_EQ(cm_write_end(o->buckets_file, &w, NULL), 0);
    CHECK_EQ(cm_read(o->buckets_file, bucket * BLK, buf, BLK, &m), 0);
    CHECK_EQ(cm_fill(o->buckets_file, &m, bytes, BLK, 0), 0);
}

static bool load(cm_objects *o, uint64_t bucket, uint8_t *bytes)
{
    return cm_read(o->buckets_file, bucket * BLK, bytes, BLK, NULL) == (int64_t)BLK;
}

/* Uses the container in all ways. A value that comes must be the one that was put. */
static void use(cm_objects *o, uint64_t round)
{
    cm_objects_iter *it = NULL;
    uint8_t key[CM_OBJECT_KEY_MAX];
    size_t len;
    unsigned n = 0;
    for (uint64_t k = 0; k < 12; k++)
        CHECK(get_value(o, k, 1, 100 + k * 300) != WRONG);
    CHECK_EQ(cm_objects_begin(o, &it), 0);
    while (cm_objects_next(it, key, &len, NULL) >= 0)
        CHECK(len <= CM_OBJECT_KEY_MAX && n++ < 300 * objects_info(o).buckets);
    cm_objects_end(it);
    CHECK_EQ(put_value(o, 100, round, 300, 0), 0);
    CHECK_EQ(get_value(o, 100, round, 300), RIGHT);
    const uint64_t k = 100;
    CHECK_EQ(cm_objects_delete(o, &k, sizeof(k)), 0);
}

static void fill_container(cm_objects *o)
{
    for (uint64_t k = 0; k < 12; k++)
        CHECK_EQ(put_value(o, k, 1, 100 + k * 300, 0), 0);
}

static void test_random_bytes(void)
{
    struct pool p;
    uint64_t state = 1;
    uint8_t bytes[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned k = 0; k < BLK; k += 8) {
            const uint64_t word = next_random(&state);
            memcpy(bytes + k, &word, 8);
        }
        if (i % 2) /* its head is right */
            memcpy(bytes, "cobj", 4), memset(bytes + 8, 0, 8);
        if (i % 4 == 1)
            memset(bytes + 4, 0, 4), bytes[5] = (uint8_t)(i / 4 % 17);
        forge(o, 0, bytes);
        use(o, i);
    }
    objects_down(o);
    pool_end(&p);
}

/* Bytes of a good bucket are changed, cut, moved, and put behind each other. */
static void test_changed_bytes(void)
{
    struct pool p;
    uint64_t state = 1;
    uint8_t good[CM_BLOCK_SIZE], bytes[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    fill_container(o);
    REQUIRE(load(o, 0, good));
    for (unsigned i = 0; i < 4000; i++) {
        memcpy(bytes, good, sizeof(bytes));
        const uint32_t at = (uint32_t)(next_random(&state) % (i % 3 ? BLK : 80));
        const uint32_t n = (uint32_t)(next_random(&state) % (BLK - at)) % (1u << i % 11);
        const uint32_t to = (uint32_t)(next_random(&state) % (BLK - n));
        switch (i % 4) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << next_random(&state) % 8);
            break;
        case 1:
            bytes[at] = (uint8_t)next_random(&state);
            break;
        case 2:
            memmove(bytes + to, bytes + at, n);
            break;
        default:
            memset(bytes + at, i % 8 < 4 ? 0 : 0xff, n);
        }
        forge(o, 0, bytes);
        use(o, i);
    }
    objects_down(o);
    pool_end(&p);
}

/* A bucket that is another one's is nothing. */
static void test_other_bucket(void)
{
    struct pool p;
    uint8_t bytes[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    const uint64_t buckets = objects_info(o).buckets;
    fill_container(o);
    for (uint64_t b = 0; b < buckets; b++)
        if (load(o, b, bytes))
            forge(o, (b + 1) % buckets, bytes);
    use(o, 1);
    objects_down(o);
    pool_end(&p);
}

/* References that lead anywhere, behind right checks. */
static void test_references(void)
{
    struct pool p;
    uint8_t bytes[CM_BLOCK_SIZE], *buf = malloc(MIB);
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1);
    CHECK_EQ(put_value(o, 1, 1, 20000, 0), 0);
    const uint64_t key = 1, now = o->data_now;
    const struct cm_value_ref good = { 20000, o->data[now].incarnation, now << 56 };
    struct cm_value_ref refs[] = { good, good, good, good, good, good, good, good, good };
    refs[1].len = UINT64_MAX;
    refs[2].len = MIB;
    refs[3].incarnation--;
    refs[4].incarnation = 0;
    refs[5].block = UINT64_MAX;
    refs[6].block += UINT64_C(1) << 56;
    refs[7].block += (UINT64_C(1) << 50) - 1;
    refs[8].len = 0;
    for (unsigned i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
        CASE("reference %u", i);
        struct cm_entry e = { .key = (const uint8_t *)&key, .key_len = sizeof(key) };
        e.payload = (const uint8_t *)&refs[i];
        e.n = sizeof(refs[i]);
        e.flags = CM_ENTRY_LARGE;
        cm_entries_begin(bytes, 0);
        cm_entries_add(bytes, 0, &e);
        cm_entries_end(bytes);
        forge(o, 0, bytes);
        const int64_t n = cm_objects_get(o, &key, sizeof(key), buf, MIB, NULL);
        CHECK_EQ(n, i == 0 ? 20000 : i == 8 ? 0 : CM_EABSENT);
        CHECK(i != 0 || is_value(1, 1, buf, 20000));
        if (i == 1)
            CHECK_EQ(cm_objects_get(o, &key, sizeof(key), NULL, 0, NULL), CM_EABSENT);
        CHECK(cm_objects_read(o, &key, sizeof(key), UINT64_MAX, buf, MIB, NULL) <= 0);
        CHECK(cm_objects_read(o, &key, sizeof(key), UINT64_MAX - 5, buf, MIB, NULL) <= 0);
    }
    CHECK_EQ(put_value(o, 1, 2, 10, 0), 0); /* lets go of the last one */
    free(buf);
    objects_down(o);
    pool_end(&p);
}

/* Damage of the pool itself: a miss. */
static void test_damage(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 100);
    fill_container(o);
    objects_down(o);
    pool_down(&p);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        payload_of(p.c, s)[s * 7 % BLK] ^= 1;
    o = objects_up(p.c, "a", 100);
    for (uint64_t k = 0; k < 12; k++)
        CHECK_EQ(get_value(o, k, 1, 100 + k * 300), MISS);
    use(o, 1);
    objects_down(o);
    pool_end(&p);
}

/* A bucket of this session is not verified at its first hit. Its entries have checks: damage is a
 * miss all the same. */
static void test_damage_at_once(void)
{
    enum { KEYS = 40 };
    struct pool p;
    cm_stats_data stats = CM_STATS_INIT;
    uint64_t missed = 0;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    for (uint64_t k = 0; k < KEYS; k++)
        CHECK_EQ(put_value(o, k, 1, 900, 0), 0);
    for (uint64_t k = 0; k < KEYS; k++)
        CHECK_EQ(get_value(o, k, 1, 900), RIGHT);
    CHECK_EQ(cm_stats(p.c, &stats), 0);
    CHECK_EQ(stats.verified, 0);
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        payload_of(p.c, s)[100 + s * 7 % 800] ^= 1;
    for (uint64_t k = 0; k < KEYS; k++) {
        const int r = get_value(o, k, 1, 900);
        CHECK(r != WRONG);
        missed += r == MISS;
    }
    CHECK(missed > 0);
    objects_down(o);
    pool_down(&p);
    REQUIRE(pool_up(&p) == 0);
    o = objects_up(p.c, "a", 1000);
    for (uint64_t k = 0; k < KEYS; k++)
        CHECK_EQ(get_value(o, k, 1, 900), MISS);
    CHECK_EQ(cm_stats(p.c, &stats), 0);
    CHECK(stats.miss_checksum > 0); /* of another session it is verified */
    objects_down(o);
    pool_end(&p);
}

/* More buckets than a container can have: no memory is asked for them. It begins anew. */
static void test_too_many_buckets(void)
{
    struct pool p;
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects forged = { .cache = p.c, .name = "a" };
    CHECK_EQ(cm_objects_file(&forged, 'b', 0, (UINT64_C(1) << 31) + 1, &f), 0);
    CHECK_EQ(cm_file_close(f), 0);
    cm_objects *o = objects_up(p.c, "a", 100);
    CHECK(objects_info(o).buckets < p.c->media.geo.slots);
    fill_container(o);
    use(o, 1);
    objects_down(o);
    pool_end(&p);
}

const struct harness_test objects_hostile_tests[] = { TEST(random_bytes),     TEST(changed_bytes),
                                                      TEST(other_bucket),     TEST(references),
                                                      TEST(damage),           TEST(damage_at_once),
                                                      TEST(too_many_buckets), TEST_END };
