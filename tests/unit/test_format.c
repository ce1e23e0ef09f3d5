/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_format.c - the bytes of a pool: they equal the golden ones, their plan is within bounds for
 * every size, and they do not count when a bit is wrong or a superblock is hostile.
 */
#include "fixture.h"

#include <inttypes.h>

#include "golden/format.h"

static const uint64_t seed = UINT64_C(0x1122334455667788);

static void golden_uuid(uint8_t uuid[16])
{
    for (unsigned i = 0; i < 16; i++)
        uuid[i] = (uint8_t)(0xa0 + i);
}

static void golden_data(uint8_t data[CM_BLOCK_SIZE])
{
    for (unsigned i = 0; i < BLK; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
}

static struct cm_header golden_header_of(uint64_t key)
{
    uint8_t data[CM_BLOCK_SIZE];
    struct cm_header h = { .incarnation = 0x200000 };
    golden_data(data);
    h.block_valid = UINT64_C(0x12345) << CM_VALID_BITS | BLK;
    h.xxh3 = cm_format_payload_sum(key, 17, h.incarnation, 0x12345, data, BLK);
    h.w0 = cm_format_w0(key, 17, &h, 5u << CM_W0_BOOT_SHIFT | 0xbeef);
    return h;
}

static const cm_file_id golden_id = { UINT64_C(0x1111222233334444), UINT64_C(0x5555666677778888) };

/* ---- Golden bytes ---------------------------------------------------------------------------- */

/* Any bytes. */
static void golden_proof(uint8_t proof[CM_PROOF_BYTES])
{
    for (unsigned i = 0; i < CM_PROOF_BYTES; i++)
        proof[i] = (uint8_t)(i * 9 + 1);
}

static void golden_super_of(const struct cm_geometry *g, struct cm_super *sb)
{
    uint8_t uuid[16];
    golden_uuid(uuid);
    cm_super_init(sb, g, uuid, seed, UINT64_C(0x0123456789abcdef));
    CHECK_EQ(sb->state, CM_SUPER_CLEAN);
    CHECK_EQ(sb->epoch, 1);
    CHECK_EQ(sb->inc_mark, 1); /* zero is no incarnation */
    CHECK_EQ(sb->durability, CM_DURABILITY_VOLATILE);
    sb->seq = 7;
    sb->epoch = 3;
    sb->inc_mark = 0x200001;
    sb->frontier = 99;
    sb->state = CM_SUPER_OPEN;
    sb->durability = CM_DURABILITY_DAX;
    sb->boot_number = 5;
    sb->owner_pid = 4242;
    for (unsigned i = 0; i < 16; i++) {
        sb->boot_id[i] = (uint8_t)(0x10 + i);
        sb->mount_id[i] = (uint8_t)(0x30 + i);
    }
    sb->memo = (struct cm_super_memo){ UINT64_C(0x123456789abcdef0), 0x1111, 0x222222 };
    sb->torn_epoch = 2;
    sb->xxh3 = cm_format_super_sum(sb);
}

static void test_golden_super(void)
{
    struct cm_geometry g;
    struct cm_super sb;
    CHECK_EQ(cm_format_plan(64 * MIB, 1000, 0, &g), 0);
    golden_super_of(&g, &sb);
    CHECK(memcmp(&sb, golden_super, sizeof(sb)) == 0);
    CHECK_EQ(cm_format_super_check((const struct cm_super *)(const void *)&sb), 0);
}

/* The same pool with a table of names. A library that does not know bit 0 of incompat refuses it.
 */
static void test_golden_super_names(void)
{
    struct cm_geometry g;
    struct cm_super sb;
    CHECK_EQ(cm_format_plan(64 * MIB, 1000, CM_INCOMPAT_NAMES, &g), 0);
    golden_super_of(&g, &sb);
    CHECK(memcmp(&sb, golden_super_names, sizeof(sb)) == 0);
    CHECK_EQ(sb.incompat, 1);
    CHECK_EQ(cm_format_super_check(&sb), 0);
}

/* A name and the word of its record. */
static void test_golden_name(void)
{
    const struct cm_name name = { GOLDEN_NAME };
    CHECK_EQ(cm_format_name_sum(GOLDEN_KEY, 13, &golden_id, &name), GOLDEN_NAME_SUM);
}

static void test_golden_record(void)
{
    struct cm_record r = { .id = golden_id, .incarnation = 0x200000, .size = 123456 };
    uint8_t since[CM_REGIONS];
    golden_proof(r.proof);
    r.flags = CM_RECORD_RACY;
    r.birth = 4;
    r.region_shift = 9;
    for (unsigned i = 0; i < CM_REGIONS; i++)
        since[i] = (uint8_t)(i % 3);
    r.xxh3 = cm_format_record_sum(GOLDEN_KEY, 13, &r);
    r.size_sum = cm_format_size_sum(GOLDEN_KEY, 13, &r);
    r.state = cm_format_state_word(GOLDEN_KEY, 13, r.incarnation, true, 5);
    for (unsigned i = 0; i < 2; i++)
        r.intents[i] = cm_format_intent_word(GOLDEN_KEY, 13, r.incarnation, i, 0x80000001u + i);
    for (unsigned i = 0; i < CM_SINCE_WORDS; i++)
        r.since[i] = cm_format_since_word(GOLDEN_KEY, 13, r.incarnation, i, since);
    CHECK(memcmp(&r, golden_record, sizeof(r)) == 0);
    const struct cm_record_attr attr = { .keep = true, .group = 0x11223344 };
    CHECK_EQ(cm_format_attr_word(GOLDEN_KEY, 13, &golden_id, attr), GOLDEN_ATTR);
    CHECK_EQ(cm_format_used_word(GOLDEN_KEY, 13, &golden_id, 1700000000, 4096), GOLDEN_USED);
    CHECK_EQ(cm_format_time_word(GOLDEN_KEY, 13, &r, INT64_C(1700000000900000000)), GOLDEN_EXPIRES);
    CHECK_EQ(cm_format_state_word(GOLDEN_KEY, 13, r.incarnation, false, 5), GOLDEN_STATE_CLEAN);
}

static void test_golden_header(void)
{
    uint8_t uuid[16], data[CM_BLOCK_SIZE];
    golden_uuid(uuid);
    golden_data(data);
    uint64_t key = cm_format_check_key(uuid, 3);
    CHECK_EQ(key, GOLDEN_KEY);
    struct cm_header h = golden_header_of(key);
    CHECK(memcmp(&h, golden_header, sizeof(h)) == 0);
    CHECK_EQ(cm_format_payload_sum(key, 17, 0x200000, 0x12345, data, 904), GOLDEN_TAIL_SUM);
    CHECK_EQ(cm_cell_make(UINT64_C(0xabcdec0000000000), 0x5a, 17), GOLDEN_CELL);
}

static void test_golden_memo(void)
{
    struct cm_memo_page p = { .generation = UINT64_C(0x123456789abcdef0), .number = 29 };
    for (unsigned i = 0; i < sizeof(p.body); i++)
        p.body[i] = (uint8_t)(i * 7 + (i >> 8));
    CHECK_EQ(cm_format_memo_sum(GOLDEN_KEY, &p), GOLDEN_MEMO_SUM);
}

static void check_places(uint64_t bytes, uint64_t max_files, const struct golden_place *p, size_t n)
{
    struct cm_geometry g;
    CHECK_EQ(cm_format_plan(bytes, max_files, 0, &g), 0);
    for (size_t i = 0; i < n; i++, p++) {
        CASE("i %zu", i);
        struct cm_place at;
        struct cm_home home = cm_place_home(g.stripes, cm_place_index(&g), seed, p->incarnation,
                                            p->block >> CM_GROUP_SHIFT);
        cm_place_block(p->block, &home, &at);
        CHECK_EQ(home.stripe, p->stripe);
        CHECK_EQ(at.bucket[0], p->bucket[0]);
        CHECK_EQ(at.bucket[1], p->bucket[1]);
        CHECK_EQ(at.tag, p->tag);
    }
}

static void test_golden_places(void)
{
    struct cm_geometry g;
    uint64_t bucket[CM_RECORD_CHOICES];
    CHECK_EQ(cm_format_plan(64 * MIB, 1000, 0, &g), 0);
    cm_format_record_buckets(&g, seed, &golden_id, bucket);
    CHECK_EQ(bucket[0], GOLDEN_RECORD_BUCKET);
    CHECK_EQ(bucket[1], GOLDEN_SECOND_BUCKET);
    CALL(check_places(64 * MIB, 1000, golden_places,
                      sizeof(golden_places) / sizeof(golden_places[0])));
    CALL(check_places(GOLDEN_IMAGE_SIZE, 0, golden_small_places,
                      sizeof(golden_small_places) / sizeof(golden_small_places[0])));
}

static void test_golden_geometry(void)
{
    for (unsigned i = 0; i < sizeof(golden_geometries) / sizeof(golden_geometries[0]); i++) {
        CASE("i %u", i);
        const struct golden_geometry *p = &golden_geometries[i];
        struct cm_geometry g;
        CHECK_EQ(cm_format_plan(p->size, 0, p->name_offset ? CM_INCOMPAT_NAMES : 0, &g), 0);
        CHECK_EQ(g.slots, p->slots);
        CHECK_EQ(g.name_offset, p->name_offset);
        CHECK_EQ(g.record_buckets, p->record_buckets);
        CHECK_EQ(g.stripes, p->stripes);
        CHECK_EQ(g.stripe_buckets, p->stripe_buckets);
        CHECK_EQ(g.data_align, p->data_align);
        CHECK_EQ(g.record_offset, p->record_offset);
        CHECK_EQ(g.index_offset, p->index_offset);
        CHECK_EQ(g.header_offset, p->header_offset);
        CHECK_EQ(g.memo_offset, p->memo_offset);
        CHECK_EQ(g.memo_ring_pages, p->memo_ring_pages);
        CHECK_EQ(g.memo_pages, p->memo_pages);
        CHECK_EQ(g.slot_offset, p->slot_offset);
    }
}

/* A pool put together byte by byte from the golden parts holds exactly one block, and it hits. */
static void test_golden_image(void)
{
    struct pool p = { .base = map_bytes(GOLDEN_IMAGE_SIZE), .bytes = GOLDEN_IMAGE_SIZE };
    const uint64_t cell = GOLDEN_IMAGE_CELL;
    uint8_t want[CM_BLOCK_SIZE], got[CM_BLOCK_SIZE];
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f = NULL;
    golden_data(want);
    memcpy(p.base, golden_image_super, sizeof(golden_image_super));
    memcpy(p.base + 4096, golden_image_super, sizeof(golden_image_super));
    memcpy(p.base + GOLDEN_IMAGE_RECORD_AT, golden_image_record, sizeof(golden_image_record));
    memcpy(p.base + GOLDEN_IMAGE_CELL_AT, &cell, sizeof(cell));
    memcpy(p.base + GOLDEN_IMAGE_HEADER_AT, golden_header, sizeof(golden_header));
    memcpy(p.base + GOLDEN_IMAGE_PAYLOAD_AT, want, BLK);
    p.o = (cm_options)CM_OPTIONS_INIT;
    p.o.probation_bytes = CM_PROBATION_NONE;
    REQUIRE(pool_up(&p) == 0);
    golden_proof(v.proof);
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    CHECK_EQ(cm_file_open(p.c, &golden_id, &v, 0, &f), 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).incarnation, 0x200000);
    CHECK_EQ(info_of(f).size, UINT64_C(0x12346) * BLK);
    CHECK_EQ(cm_read(f, UINT64_C(0x12345) * BLK, got, BLK, NULL), BLK);
    CHECK(memcmp(got, want, BLK) == 0);
    CHECK_EQ(cm_read(f, UINT64_C(0x12344) * BLK, got, BLK, NULL), 0);
    CHECK(pool_info(p.c).epoch == 3);
    pool_end(&p);
}

/* ---- Planning -------------------------------------------------------------------------------- */

/* All parts are in order, aligned, apart and inside the pool. 128-bit sums, so that nothing wraps
 * here. */
static bool sane(const struct cm_geometry *g)
{
    typedef unsigned __int128 wide;
    wide records = (wide)g->record_offset + (wide)g->record_buckets * CM_RECORD_WAYS * 256;
    const bool names = (g->incompat & CM_INCOMPAT_NAMES) != 0;
    if (names != (g->name_offset != 0) || (names && records > g->name_offset))
        return false;
    if (names)
        records = (wide)g->name_offset + (wide)g->record_buckets * CM_RECORD_WAYS * 256;
    wide index = (wide)g->index_offset + (wide)g->stripes * g->stripe_buckets * 64;
    wide headers = (wide)g->header_offset + (wide)g->slots * 32;
    wide memo = (wide)g->memo_offset + (wide)g->memo_pages * BLK;
    wide slots = (wide)g->slot_offset + (wide)g->slots * BLK;
    return g->record_offset >= CM_STATS_OFFSET + CM_STATS_BYTES && g->record_buckets > 0 &&
           records <= g->index_offset && index <= g->header_offset && headers <= g->memo_offset &&
           memo <= g->slot_offset && g->memo_ring_pages > 0 &&
           g->memo_ring_pages <= g->memo_pages && g->memo_pages <= CM_MEMO_PAGES_MAX &&
           g->memo_offset % BLK == 0 && slots <= g->pool_size && g->slots >= CM_SLOTS_MIN &&
           g->stripes > 0 && g->stripe_buckets >= 2 && g->index_offset % 64 == 0 &&
           g->header_offset % 64 == 0 && g->slot_offset % g->data_align == 0;
}

/* A planned geometry is sane, its index at most half full, and a superblock gives it back as
 * planned. */
static void check_plan(uint64_t size, uint64_t incompat)
{
    struct cm_geometry g, again;
    struct cm_super sb;
    static const uint8_t uuid[16];
    if (cm_format_plan(size, 0, incompat, &g) != 0) {
        printf("# size %llu\n", (unsigned long long)size);
        FAIL("planned");
        return;
    }
    CHECK(sane(&g));
    CHECK(g.stripes * g.stripe_buckets * CM_BUCKET_CELLS >= 2 * g.slots);
    CHECK(cm_format_max_files(&g) >= g.slots / 16);
    cm_super_init(&sb, &g, uuid, 1, 1);
    CHECK_EQ(cm_format_geometry(&sb, &again), 0);
    CHECK(memcmp(&g, &again, sizeof(g)) == 0);
}

static void check_overhead(uint64_t size)
{
    struct cm_geometry g;
    CALL(check_plan(size, CM_INCOMPAT_NAMES));
    CALL(check_plan(size, 0));
    CHECK_EQ(cm_format_plan(size, 0, 0, &g), 0);
    const uint64_t overhead = size - g.slots * BLK;
    if (size == GIB || size == 16 * GIB || size == 1024 * GIB) /* docs/performance.md has them */
        printf("# %llu MiB: %.2f %% are not slots\n", (unsigned long long)(size / MIB),
               100.0 * (double)overhead / (double)size);
    CHECK(overhead <= size / 50);
}

static void test_overhead(void)
{
    uint64_t rng = 1;
    for (uint64_t size = GIB; size <= CM_POOL_SIZE_MAX; size *= 2) {
        CASE("size %" PRIu64, size);
        CALL(check_overhead(size));
        CALL(check_overhead(size == CM_POOL_SIZE_MAX ? size - BLK : size + BLK));
        CALL(check_overhead(size == GIB ? size + 3 * BLK : size - BLK));
        for (int i = 0; i < 200; i++) {
            CASE("i %d", i);
            uint64_t odd = size + next_random(&rng) % size / BLK * BLK;
            CALL(check_overhead(odd <= CM_POOL_SIZE_MAX ? odd : CM_POOL_SIZE_MAX));
        }
    }
    for (uint64_t size = GIB + 5 * BLK; size < GIB + 16 * MIB; size += 5 * BLK) {
        CASE("size %" PRIu64, size);
        CALL(check_overhead(size));
    }
}

static void test_small_sizes(void)
{
    for (uint64_t size = cm_pool_size_min(); size < 8 * MIB; size += BLK) {
        CASE("size %" PRIu64, size);
        CALL(check_plan(size, 0));
        if (size >= cm_format_size_min(CM_INCOMPAT_NAMES))
            CALL(check_plan(size, CM_INCOMPAT_NAMES));
    }
    for (uint64_t size = 8 * MIB; size < GIB; size += MIB + 7 * BLK) {
        CASE("size %" PRIu64, size);
        CALL(check_plan(size, 0));
        CALL(check_plan(size, CM_INCOMPAT_NAMES));
    }
}

static void test_pool_size_edges(void)
{
    struct cm_geometry g;
    uint64_t min = cm_pool_size_min(), max = cm_pool_size_max();
    CHECK_EQ(cm_format_plan(min, 0, 0, &g), 0);
    CHECK_EQ(g.slots, 64);
    CHECK_EQ(cm_format_plan(min - BLK, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(min + 1, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(min + BLK - 1, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(min + BLK, 0, 0, &g), 0);
    CHECK_EQ(g.slots, 65);
    CHECK_EQ(cm_format_plan(0, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(BLK, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(max, UINT64_C(1) << 46);
    CHECK_EQ(cm_format_plan(max, 0, 0, &g), 0);
    CHECK(g.slots + 1 < UINT64_C(1) << CM_CELL_SLOT_BITS);
    CHECK_EQ(cm_format_plan(max + BLK, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(UINT64_MAX - BLK + 1, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(UINT64_MAX, 0, 0, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_size_min(CM_INCOMPAT_NAMES), min + 2 * BLK);
    CHECK_EQ(cm_format_plan(min + BLK, 0, CM_INCOMPAT_NAMES, &g), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_plan(min + 2 * BLK, 0, CM_INCOMPAT_NAMES, &g), 0);
    CHECK_EQ(g.slots, 64);
}

static uint64_t most_files(uint64_t size)
{
    struct cm_geometry g;
    uint64_t low = 1, high = size / BLK;
    while (low < high) {
        uint64_t mid = low + (high - low + 1) / 2;
        if (cm_format_plan(size, mid, 0, &g) == 0)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

static void check_max_files(uint64_t size)
{
    struct cm_geometry g;
    CHECK_EQ(cm_format_plan(size, 1, 0, &g), 0);
    CHECK_EQ(g.record_buckets, 2);
    CHECK_EQ(cm_format_plan(size, 24, 0, &g), 0);
    CHECK_EQ(g.record_buckets, 2);
    uint64_t most = most_files(size);
    CHECK_EQ(cm_format_plan(size, most, 0, &g), 0);
    CHECK(sane(&g) && cm_format_max_files(&g) >= most);
    if (most < size / BLK)
        CHECK_EQ(cm_format_plan(size, most + CM_RECORD_WAYS, 0, &g), CM_EINVAL);
    CHECK_EQ(cm_format_plan(size, size / BLK + 1, 0, &g), CM_EINVAL);
    CHECK_EQ(cm_format_plan(size, UINT64_MAX, 0, &g), CM_EINVAL);
    CHECK_EQ(cm_format_plan(size, UINT64_MAX / 128, 0, &g), CM_EINVAL);
}

static void test_max_files(void)
{
    struct cm_geometry g;
    CALL(check_max_files(cm_pool_size_min()));
    CALL(check_max_files(MIB));
    CALL(check_max_files(GIB));
    CALL(check_max_files(CM_POOL_SIZE_MAX));
    CHECK_EQ(cm_format_plan(MIB, 25, 0, &g), 0);
    CHECK_EQ(g.record_buckets, 3);
    CHECK_EQ(cm_format_plan(64 * MIB, 128, 0, &g), 0); /* the records fill their buckets */
    CHECK_EQ(g.record_buckets, 9);
    CHECK_EQ(cm_format_plan(64 * MIB, 0, 0, &g), 0);
    CHECK_EQ(g.record_buckets, ((g.slots / 16 + 7) / 8 * 9 + 15) / 16);
}

/* ---- Hostile superblocks --------------------------------------------------------------------- */

/* Any 64-bit number, but often one near a bound. */
static uint64_t hostile_number(uint64_t *rng, uint64_t right)
{
    uint64_t n = next_random(rng), r = next_random(rng);
    switch (n % 7) {
    case 0:
        return r;
    case 1:
        return r >> (n >> 8) % 64;
    case 2:
        return (UINT64_C(1) << (n >> 8) % 64) + r % 3 - 1;
    case 3:
        return UINT64_MAX - r % 4096;
    case 4:
        return right + r % 5 - 2;
    default:
        return right;
    }
}

static void test_hostile_geometry(void)
{
    struct cm_geometry g, got;
    struct cm_super sb;
    static const uint8_t uuid[16];
    uint64_t rng = 7, accepted = 0;
    for (int i = 0; i < 2000000; i++) {
        CASE("i %d", i);
        uint64_t *field;
        if (i % 1000 == 0) {
            uint64_t size = BLK << (8 + next_random(&rng) % 27);
            CHECK_EQ(cm_format_plan(size, 0, i / 1000 % 2 ? CM_INCOMPAT_NAMES : 0, &g), 0);
        }
        cm_super_init(&sb, &g, uuid, 1, 1);
        for (field = &sb.pool_size; field <= &sb.data_align; field++)
            *field = hostile_number(&rng, *field);
        if (cm_format_geometry(&sb, &got) == 0) {
            accepted++;
            CHECK(sane(&got));
            CHECK(got.pool_size == sb.pool_size && got.pool_size <= CM_POOL_SIZE_MAX);
        } else {
            CHECK_EQ(cm_format_geometry(&sb, &got), CM_EDAMAGED);
        }
    }
    CHECK(accepted > 1000); /* not all of the fuzz is refused for trivial reasons */
}

/* ---- Parts ----------------------------------------------------------------------------------- */

/* The words of a pool that grew are part of the format: these never change. */
static void test_golden_parts(void)
{
    static const struct {
        uint64_t size, slots, stripe_buckets, index_first, memo_offset, word, header, payload;
    } golden[] = {
#include "golden/parts.h"
    };
    struct cm_geometry g, to;
    uint64_t word;
    CHECK_EQ(cm_format_plan(64 * MIB, 0, CM_INCOMPAT_NAMES, &g), 0);
    for (unsigned i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        CASE("growth %u", i);
        CHECK_EQ(cm_format_grow(&g, golden[i].size, &to, &word), 0);
        CHECK_EQ(to.slots, golden[i].slots);
        CHECK_EQ(to.stripe_buckets, golden[i].stripe_buckets);
        CHECK_EQ(to.index_first, golden[i].index_first);
        CHECK_EQ(to.memo_offset, golden[i].memo_offset);
        CHECK_EQ(word, golden[i].word);
        CHECK_EQ(cm_format_header_at(&to, g.slots), golden[i].header);
        CHECK_EQ(cm_format_payload_at(&to, g.slots), golden[i].payload);
        g = to;
    }
    CHECK_EQ(cm_format_grow(&g, GIB, &to, &word), CM_ENOTSUP);
    CHECK_EQ(word, 0);
}

/* The tables of a part and its slots are in order, in the part, and apart. */
static bool part_is_sane(const struct cm_geometry *g, unsigned i, uint64_t from)
{
    const uint64_t first = g->part[i].first;
    const uint64_t end = i + 1 < g->parts ? g->part[i + 1].first : g->slots;
    uint64_t slots_at, headers = cm_format_header_at(g, first);
    const uint64_t at = cm_format_tables(g, i, &slots_at);
    return at == from && first < end && end - first >= CM_SLOTS_MIN && headers > at &&
           headers % 32 == 0 && cm_format_header_at(g, end - 1) + 32 <= slots_at &&
           slots_at == cm_format_payload_at(g, first) && slots_at % BLK == 0 &&
           cm_format_payload_at(g, end - 1) + BLK <= g->pool_size &&
           !cm_format_in_one(g, first - 1, 2) && cm_format_in_one(g, first, 2);
}

static bool parts_are_sane(const struct cm_geometry *g, const struct cm_super *sb)
{
    uint64_t from = sb->pool_size;
    for (unsigned i = 0; i < g->parts; i++) {
        if (!part_is_sane(g, i, from))
            return false;
        from = cm_part_end(sb->part[i]);
    }
    const uint64_t index = g->index_offset + g->index_first * sizeof(struct cm_bucket);
    return from == g->pool_size && g->parts > 0 &&
           index + g->stripes * g->stripe_buckets * 64 <= cm_format_header_at(g, g->slots - 1) &&
           g->memo_offset + g->memo_pages * BLK <= cm_format_payload_at(g, g->slots - 1) &&
           g->stripes * g->stripe_buckets * CM_BUCKET_CELLS >= 2 * g->slots;
}

/* Whatever the sizes: a plan is sane, a superblock gives it back as it was, and damaged words give
 * a sane geometry or are refused. */
static void test_parts(void)
{
    static const uint8_t uuid[16];
    uint64_t rng = 11, refused = 0, accepted = 0;
    for (int i = 0; i < 4000; i++) {
        struct cm_geometry g, to, got;
        struct cm_super sb;
        uint64_t size =
            BLK * (150 + next_random(&rng) % (UINT64_C(1) << (8 + next_random(&rng) % 22)));
        CASE("i %d", i);
        CHECK_EQ(cm_format_plan(size, 0, i % 2 ? CM_INCOMPAT_NAMES : 0, &g), 0);
        cm_super_init(&sb, &g, uuid, 1, 1);
        sb.incompat |= CM_INCOMPAT_GROWN;
        for (unsigned k = 0; k < CM_PARTS; k++) {
            size += BLK * (next_random(&rng) % (size / BLK * 3));
            if (cm_format_grow(&g, size, &to, &sb.part[k]))
                break;
            g = to;
        }
        CHECK_EQ(cm_format_geometry(&sb, &got), 0);
        if (g.parts == 0)
            continue;
        CHECK(memcmp(&got, &g, sizeof(g)) == 0);
        CHECK(parts_are_sane(&g, &sb));
        CHECK_EQ(cm_format_size(&sb), g.pool_size);
        for (unsigned k = 0; k < 50; k++) {
            struct cm_super bad = sb;
            for (uint64_t *word = &bad.growing; word <= &bad.part[CM_PARTS - 1]; word++)
                *word = next_random(&rng) % 3 ? *word : hostile_number(&rng, *word);
            const int e = cm_format_geometry(&bad, &got);
            CHECK(e == CM_EDAMAGED || (e == 0 && (got.parts == 0 || parts_are_sane(&got, &bad))));
            *(e ? &refused : &accepted) += 1;
        }
    }
    CHECK(refused > 1000 && accepted > 1000);
}

/* Whatever the geometry, no key is placed outside the index, no file outside its table. */
static void test_placement_in_bounds(void)
{
    struct cm_geometry g;
    struct cm_place p;
    uint64_t rng = 9;
    for (int i = 0; i < 300000; i++) {
        CASE("i %d", i);
        memset(&g, 0, sizeof(g));
        g.stripes = 1 + (next_random(&rng) >> (30 + next_random(&rng) % 34));
        g.stripe_buckets = 2 + next_random(&rng) % 1023;
        g.record_buckets = 1 + (next_random(&rng) >> (30 + next_random(&rng) % 34));
        uint64_t inc = next_random(&rng), block = next_random(&rng) & CM_BLOCK_MAX;
        cm_file_id id = { inc, block };
        struct cm_home home =
            cm_place_home(g.stripes, cm_place_index(&g), seed, inc, block >> CM_GROUP_SHIFT);
        CHECK(home.stripe < g.stripes);
        cm_place_block(block, &home, &p);
        CHECK(p.bucket[0] / g.stripe_buckets == home.stripe);
        CHECK(p.bucket[1] / g.stripe_buckets == home.stripe);
        CHECK(p.bucket[0] != p.bucket[1]);
        uint64_t bucket[CM_RECORD_CHOICES];
        cm_format_record_buckets(&g, seed, &id, bucket);
        CHECK(bucket[0] < g.record_buckets && bucket[1] < g.record_buckets);
        CHECK(bucket[0] != bucket[1] || g.record_buckets == 1);
    }
}

/* ---- Single flipped bits --------------------------------------------------------------------- */

static void flip(void *p, unsigned bit)
{
    ((uint8_t *)p)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void test_flip_super(void)
{
    struct cm_super sb;
    for (unsigned bit = 0; bit < sizeof(sb) * 8; bit++) {
        CASE("bit %u", bit);
        memcpy(&sb, golden_super, sizeof(sb));
        CHECK_EQ(cm_format_super_check(&sb), 0);
        flip(&sb, bit);
        int e = cm_format_super_check(&sb);
        CHECK(e != 0);
        if (bit < 64)
            CHECK_EQ(e, CM_ENOTPOOL);
        else if (bit >= 96 && bit < 128)
            CHECK_EQ(e, CM_EVERSION);
        else if (bit >= 192 && bit < 256) /* the sum tells that a known one is not meant */
            CHECK_EQ(e, (CM_INCOMPAT_KNOWN >> (bit - 192)) & 1 ? CM_EDAMAGED : CM_EINCOMPAT);
        else
            CHECK_EQ(e, CM_EDAMAGED);
    }
}

static void test_super_reasons(void)
{
    struct cm_super sb;
    memcpy(&sb, golden_super, sizeof(sb));
    sb.byte_order = 0x04030201u;
    CHECK_EQ(cm_format_super_check(&sb), CM_EBYTEORDER);
    memcpy(&sb, golden_super, sizeof(sb));
    sb.compat = 1; /* features that may be ignored are ignored */
    super_seal(&sb);
    CHECK_EQ(cm_format_super_check(&sb), 0);
    sb.state = 3;
    super_seal(&sb);
    CHECK_EQ(cm_format_super_check(&sb), CM_EDAMAGED);
    sb.state = 0;
    super_seal(&sb);
    CHECK_EQ(cm_format_super_check(&sb), CM_EDAMAGED);
    memcpy(&sb, golden_super, sizeof(sb)); /* what is meant is known in one byte order only */
    sb.incompat = CM_INCOMPAT_KNOWN + 1;
    CHECK_EQ(cm_format_super_check(&sb), CM_EINCOMPAT);
    sb.byte_order++;
    CHECK_EQ(cm_format_super_check(&sb), CM_EDAMAGED);
    memcpy(&sb, golden_super, sizeof(sb));
    sb.version++;
    CHECK_EQ(cm_format_super_check(&sb), CM_EVERSION);
    sb.byte_order++;
    CHECK_EQ(cm_format_super_check(&sb), CM_EDAMAGED);
    memset(&sb, 0, sizeof(sb));
    CHECK_EQ(cm_format_super_check(&sb), CM_ENOTPOOL);
}

static void test_flip_record(void)
{
    struct cm_record r;
    for (unsigned bit = 0; bit < CM_RECORD_BODY_BYTES * 8; bit++) {
        CASE("bit %u", bit);
        memcpy(&r, golden_record, sizeof(r));
        CHECK_EQ(r.xxh3, cm_format_record_sum(GOLDEN_KEY, 13, &r));
        flip(&r, bit);
        CHECK(r.xxh3 != cm_format_record_sum(GOLDEN_KEY, 13, &r));
    }
}

/* No flipped bit turns a mark into another valid mark. */
/* Of another place, file or pool, or with a wrong byte: it is no name. */
static void test_flip_name(void)
{
    const struct cm_name good = { GOLDEN_NAME };
    const uint64_t right = cm_format_name_sum(GOLDEN_KEY, 13, &golden_id, &good);
    for (unsigned bit = 0; bit < sizeof(good) * 8; bit++) {
        CASE("bit %u", bit);
        struct cm_name name = good;
        flip(&name, bit);
        CHECK(cm_format_name_sum(GOLDEN_KEY, 13, &golden_id, &name) != right);
    }
    for (unsigned bit = 0; bit < 128; bit++) {
        CASE("id %u", bit);
        cm_file_id id = golden_id;
        flip(&id, bit);
        CHECK(cm_format_name_sum(GOLDEN_KEY, 13, &id, &good) != right);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        CASE("place or key %u", bit);
        const uint64_t one = UINT64_C(1) << bit;
        CHECK(cm_format_name_sum(GOLDEN_KEY, 13 ^ one, &golden_id, &good) != right);
        CHECK(cm_format_name_sum(GOLDEN_KEY ^ one, 13, &golden_id, &good) != right);
    }
}

static void test_flip_state(void)
{
    const uint32_t boots[] = { 0, 1, 5, 0x7fffffff };
    struct cm_record r = { .incarnation = 9 }, bad;
    bool dirty;
    uint32_t boot;
    CHECK(!cm_format_state_read(GOLDEN_KEY, 13, &r, &dirty, &boot)); /* a fresh table */
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        r.state = cm_format_state_word(GOLDEN_KEY, 13, r.incarnation, i & 1, boots[i / 2]);
        CHECK(cm_format_state_read(GOLDEN_KEY, 13, &r, &dirty, &boot));
        CHECK(dirty == (i & 1) && boot == boots[i / 2]);
        CHECK(!cm_format_state_read(GOLDEN_KEY, 14, &r, &dirty, &boot));
        CHECK(!cm_format_state_read(GOLDEN_KEY + 1, 13, &r, &dirty, &boot));
        for (unsigned bit = 0; bit < 64; bit++) {
            CASE("bit %u", bit);
            bad = r;
            bad.state ^= UINT64_C(1) << bit;
            CHECK(!cm_format_state_read(GOLDEN_KEY, 13, &bad, &dirty, &boot));
            bad = r;
            bad.incarnation ^= UINT64_C(1) << bit;
            CHECK(!cm_format_state_read(GOLDEN_KEY, 13, &bad, &dirty, &boot));
        }
    }
}

static void test_flip_intents(void)
{
    struct cm_record r = { .incarnation = 9 }, bad;
    CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &r), UINT64_MAX); /* a fresh table */
    r.intents[0] = cm_format_intent_word(GOLDEN_KEY, 13, 9, 0, 0x80000001);
    r.intents[1] = cm_format_intent_word(GOLDEN_KEY, 13, 9, 1, 0);
    CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &r), 0x80000001);
    bad = r;
    bad.intents[0] = cm_format_intent_word(GOLDEN_KEY, 13, 9, 0, 0);
    CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &bad), 0);
    CHECK_EQ(cm_format_intents(GOLDEN_KEY, 14, &r), UINT64_MAX);
    CHECK_EQ(cm_format_intents(GOLDEN_KEY + 1, 13, &r), UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) {
        CASE("bit %u", bit);
        bad = r;
        bad.incarnation ^= UINT64_C(1) << bit;
        CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &bad), UINT64_MAX);
        bad = r;
        bad.intents[1] ^= UINT64_C(1) << bit;
        CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &bad), UINT64_C(0xffffffff80000001));
    }
    bad = r; /* the words are not interchangeable */
    bad.intents[0] = r.intents[1];
    bad.intents[1] = r.intents[0];
    CHECK_EQ(cm_format_intents(GOLDEN_KEY, 13, &bad), UINT64_MAX);
}

static void test_flip_since(void)
{
    struct cm_record r = { .incarnation = 9 }, bad;
    uint8_t since[CM_REGIONS], got[CM_REGIONS];
    CHECK_EQ(cm_format_since(GOLDEN_KEY, 13, &r, got), UINT64_MAX); /* a fresh table */
    for (unsigned i = 0; i < CM_REGIONS; i++)
        since[i] = (uint8_t)(255 - i * 3);
    for (unsigned i = 0; i < CM_SINCE_WORDS; i++)
        r.since[i] = cm_format_since_word(GOLDEN_KEY, 13, 9, i, since);
    CHECK_EQ(cm_format_since(GOLDEN_KEY, 13, &r, got), 0);
    CHECK(memcmp(got, since, sizeof(since)) == 0);
    CHECK_EQ(cm_format_since(GOLDEN_KEY, 14, &r, got), UINT64_MAX);
    CHECK_EQ(cm_format_since(GOLDEN_KEY + 1, 13, &r, got), UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) {
        CASE("bit %u", bit);
        const unsigned word = bit % CM_SINCE_WORDS;
        bad = r;
        bad.since[word] ^= UINT64_C(1) << bit;
        CHECK_EQ(cm_format_since(GOLDEN_KEY, 13, &bad, got), UINT64_C(0x3f) << word * CM_SINCES);
        bad = r;
        bad.incarnation ^= UINT64_C(1) << bit;
        CHECK_EQ(cm_format_since(GOLDEN_KEY, 13, &bad, got), UINT64_MAX);
    }
}

static void test_flip_header(void)
{
    struct cm_header h, good;
    memcpy(&good, golden_header, sizeof(good));
    CHECK(cm_format_header_ok(GOLDEN_KEY, 17, &good));
    for (unsigned bit = 0; bit < sizeof(h) * 8; bit++) {
        CASE("bit %u", bit);
        h = good;
        flip(&h, bit);
        CHECK(!cm_format_header_ok(GOLDEN_KEY, 17, &h));
    }
}

/* One or two flipped bits do not make an invalid header (the sequence alone) valid again. */
static void test_flip_invalid_header(void)
{
    struct cm_header h, dead;
    memcpy(&dead, golden_header, sizeof(dead));
    dead.w0 &= CM_W0_SEQ_MASK;
    for (unsigned a = 0; a < sizeof(h) * 8; a++)
        for (unsigned b = a; b < sizeof(h) * 8; b++) {
            CASE("b %u", b);
            h = dead;
            flip(&h, a);
            if (b != a)
                flip(&h, b);
            CHECK(!cm_format_header_ok(GOLDEN_KEY, 17, &h));
        }
}

/* A header counts only for its own slot, pool and epoch. */
static void test_header_belongs(void)
{
    struct cm_header h;
    uint8_t uuid[16];
    memcpy(&h, golden_header, sizeof(h));
    golden_uuid(uuid);
    for (uint64_t slot = 0; slot < 1000; slot++) {
        CASE("slot %" PRIu64, slot);
        CHECK(cm_format_header_ok(GOLDEN_KEY, slot, &h) == (slot == 17));
    }
    for (uint64_t epoch = 0; epoch < 1000; epoch++) {
        CASE("epoch %" PRIu64, epoch);
        CHECK(cm_format_header_ok(cm_format_check_key(uuid, epoch), 17, &h) == (epoch == 3));
    }
    for (unsigned bit = 0; bit < 128; bit++) {
        CASE("bit %u", bit);
        golden_uuid(uuid);
        flip(uuid, bit);
        CHECK(!cm_format_header_ok(cm_format_check_key(uuid, 3), 17, &h));
    }
}

/* A header whose check is right and whose content is impossible is refused. */
static void test_header_bounds(void)
{
    struct cm_header h = { .incarnation = 1, .xxh3 = 2 };
    for (uint64_t valid = 0; valid < 1u << CM_VALID_BITS; valid++) {
        CASE("valid %" PRIu64, valid);
        h.block_valid = UINT64_C(5) << CM_VALID_BITS | valid;
        h.w0 = cm_format_w0(GOLDEN_KEY, 17, &h, 1);
        CHECK(cm_format_header_ok(GOLDEN_KEY, 17, &h) == (valid >= 1 && valid <= BLK));
    }
}

/* The payload's sum covers every bit of it, its length, its key and its slot. */
static void test_payload_sum(void)
{
    uint8_t data[CM_BLOCK_SIZE];
    golden_data(data);
    uint64_t sum = cm_format_payload_sum(GOLDEN_KEY, 17, 8, 9, data, BLK);
    for (unsigned bit = 0; bit < BLK * 8; bit++) {
        CASE("bit %u", bit);
        flip(data, bit);
        CHECK(cm_format_payload_sum(GOLDEN_KEY, 17, 8, 9, data, BLK) != sum);
        flip(data, bit);
    }
    CHECK(cm_format_payload_sum(GOLDEN_KEY, 17, 8, 9, data, BLK) == sum);
    CHECK(cm_format_payload_sum(GOLDEN_KEY, 17, 8, 9, data, BLK - 1) != sum);
    CHECK(cm_format_payload_sum(GOLDEN_KEY, 18, 8, 9, data, BLK) != sum);
    CHECK(cm_format_payload_sum(GOLDEN_KEY, 17, 9, 9, data, BLK) != sum);
    CHECK(cm_format_payload_sum(GOLDEN_KEY, 17, 8, 10, data, BLK) != sum);
    CHECK(cm_format_payload_sum(GOLDEN_KEY + 1, 17, 8, 9, data, BLK) != sum);
}

/* The numbers of boots go around. */
static void test_booted_since(void)
{
    struct cm_superblocks s = { .now = { .boot_first = 5, .boot_number = 7 } };
    CHECK(!cm_super_booted_since(&s, 5));
    CHECK(!cm_super_booted_since(&s, 7));
    CHECK(cm_super_booted_since(&s, 8));
    CHECK(cm_super_booted_since(&s, 4)); /* before the first one: not seen either */
    s.now.boot_first = 0x7ffffffe;
    s.now.boot_number = 2;
    CHECK(!cm_super_booted_since(&s, 0x7fffffff));
    CHECK(!cm_super_booted_since(&s, 1));
    CHECK(!cm_super_booted_since(&s, 2));
    CHECK(cm_super_booted_since(&s, 3));
}

static const struct harness_test format_tests[] = {
    TEST(booted_since),
    TEST(golden_super),
    TEST(golden_record),
    TEST(golden_header),
    TEST(golden_memo),
    TEST(golden_places),
    TEST(golden_geometry),
    TEST(golden_image),
    TEST(overhead),
    TEST(small_sizes),
    TEST(pool_size_edges),
    TEST(max_files),
    TEST(hostile_geometry),
    TEST(golden_parts),
    TEST(parts),
    TEST(placement_in_bounds),
    TEST(flip_super),
    TEST(super_reasons),
    TEST(flip_record),
    TEST(golden_super_names),
    TEST(golden_name),
    TEST(flip_name),
    TEST(flip_state),
    TEST(flip_intents),
    TEST(flip_since),
    TEST(flip_header),
    TEST(flip_invalid_header),
    TEST(header_belongs),
    TEST(header_bounds),
    TEST(payload_sum),
    TEST_END,
};

extern const struct harness_test format_bounds_tests[];
static const struct harness_test *const tables[] = { format_tests, format_bounds_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
