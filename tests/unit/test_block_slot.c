/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_slot.c - slots alone, and what is shared by all that is stored: what a read of each
 * part gives, what a write stores, and what is said when a step of it fails.
 */
#include "block_common.h"

#include "../os.h"
#include "../plat_create.h"
#include "count_ops.h"
#include "media/index.h"
#include "media/memo.h"
#include "media/stats.h"

/* ---- Reading --------------------------------------------------------------------------------- */

/* What is served of `block` from a slot; the memory holds 0xee before. */
static enum cm_slot_verdict read_part(const struct pool *p, const struct cm_key *k, uint64_t slot,
                                      uint8_t boot, const struct cm_part *part, bool verify,
                                      uint32_t *got)
{
    uint64_t w0 = 0;
    memset(part->dst, 0xee, part->len);
    *got = 9999;
    const enum cm_slot_verdict v =
        cm_slot_read(&p->c->media, slot, k, boot, part, verify, got, &w0);
    if (v == CM_SLOT_HIT)
        CHECK(w0 == header_of(p->c, slot)->w0);
    return v;
}

/* Parts of a tail of 2100 bytes: what is behind its end is not there, and zero. It takes three
 * steps to sum it. */
static void test_parts_of_tail(void)
{
    static const struct {
        uint32_t from, len, got;
    } parts[] = { { 0, 10, 10 },     { 0, 2100, 2100 }, { 2090, 10, 10 },     { 2090, 11, 10 },
                  { 2099, 5, 1 },    { 2100, 5, 0 },    { 4000, 96, 0 },      { 0, 2101, 2100 },
                  { 0, 4096, 2100 }, { 1023, 2, 2 },    { 1024, 1024, 1024 }, { 1000, 1072, 1072 },
                  { 2047, 100, 53 } };
    struct pool p;
    uint8_t to[CM_BLOCK_SIZE], want[CM_BLOCK_SIZE];
    uint32_t got;
    (void)pool_new(&p, MIB);
    cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_tail(f, 2, 2100, 5), 0);
    content(5, 2, want);
    memset(want + 2100, 0, BLK - 2100);
    const uint64_t slot = slot_of(f, 2);
    const struct cm_key k = key_of(f, 2);
    CHECK(memcmp(payload_of(p.c, slot), want, BLK) == 0);
    for (unsigned i = 0; i < 2 * sizeof(parts) / sizeof(parts[0]); i++) {
        CASE("part %u, verify %u", i / 2, i % 2);
        const struct cm_part part = { parts[i / 2].from, parts[i / 2].len, to };
        CHECK_EQ(read_part(&p, &k, slot, p.c->media.boot, &part, i % 2, &got), CM_SLOT_HIT);
        CHECK_EQ(got, parts[i / 2].got);
        CHECK(memcmp(to, want + parts[i / 2].from, parts[i / 2].len) == 0);
    }
    pool_end(&p);
}

/* A slot that is damaged, unreadable, of another boot or of another block: nothing of it is served.
 */
static void test_bad_slot(void)
{
    static const uint8_t zero[CM_BLOCK_SIZE];
    struct pool p;
    uint8_t to[CM_BLOCK_SIZE];
    const struct cm_part part = { 0, 100, to };
    uint32_t got;
    uint64_t w0;
    cm_file *f = open_pool_and_file(&p, MIB);
    const struct cm_media *const m = &p.c->media;
    CHECK_EQ(put(f, 2, 5), 0);
    const uint64_t slot = slot_of(f, 2);
    const uint8_t boot = m->boot;
    struct cm_header h = *header_of(p.c, slot), seen;
    struct cm_key k = key_of(f, 2);
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, true, &got), CM_SLOT_HIT);
    CHECK_EQ(cm_slot_verify(m, slot, &h), CM_SLOT_HIT);
    CHECK_EQ(cm_slot_header(m, slot, &seen), CM_SLOT_HIT);
    CHECK(memcmp(&seen, &h, sizeof(h)) == 0);
    CHECK_EQ(cm_slot_header(m, slot + 1, &seen), CM_SLOT_OTHER);
    CHECK_EQ(read_part(&p, &k, slot, (uint8_t)(boot + 1), &part, true, &got), CM_SLOT_OTHER);
    CHECK(got == 0 && memcmp(to, zero, 100) == 0);
    k.block = 3;
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, true, &got), CM_SLOT_OTHER);
    CHECK(got == 0 && memcmp(to, zero, 100) == 0);
    k.block = 2;
    k.incarnation++;
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, true, &got), CM_SLOT_OTHER);
    k.incarnation--;
    payload_of(p.c, slot)[4000] ^= 1;
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, false, &got), CM_SLOT_HIT);
    CHECK_EQ(got, 100);
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, true, &got), CM_SLOT_BAD_SUM);
    CHECK(got == 0 && memcmp(to, zero, 100) == 0);
    CHECK_EQ(cm_slot_verify(m, slot, &h), CM_SLOT_BAD_SUM);
    payload_of(p.c, slot)[4000] ^= 1;
    header_of(p.c, slot)->xxh3++; /* a check covers it */
    CHECK_EQ(read_part(&p, &k, slot, boot, &part, true, &got), CM_SLOT_OTHER);
    header_of(p.c, slot)->xxh3--;
    if (cm_guard_available()) {
        uint8_t *const at = payload_of(p.c, slot), *const page = p.base + m->geo.header_offset;
        os_protect(at, BLK, OS_NOTHING);
        CHECK_EQ(read_part(&p, &k, slot, boot, &part, false, &got), CM_SLOT_UNREADABLE);
        CHECK(got == 0 && memcmp(to, zero, 100) == 0);
        CHECK_EQ(cm_slot_verify(m, slot, &h), CM_SLOT_UNREADABLE);
        k.block = 3; /* whose block it is counts first */
        CHECK_EQ(read_part(&p, &k, slot, boot, &part, false, &got), CM_SLOT_OTHER);
        k.block = 2;
        os_protect(at, BLK, OS_WRITE);
        os_protect(page, BLK, OS_NOTHING);
        CHECK_EQ(cm_slot_read(m, slot, &k, boot, &part, true, &got, &w0), CM_SLOT_UNREADABLE);
        CHECK_EQ(cm_slot_header(m, slot, &seen), CM_SLOT_UNREADABLE);
        os_protect(page, BLK, OS_WRITE);
    }
    pool_end(&p);
}

/* The last slot of a pool's first part and the first one of the next part are no neighbours,
 * whatever lies behind the headers of the first part. */
static void test_neighbours_of_two_parts(void)
{
    static uint8_t to[2 * CM_BLOCK_SIZE];
    struct pool small, p = { 0 };
    cm_grow_report report = CM_GROW_REPORT_INIT;
    pool_make(&small, 4 * MIB, 0);
    p.o = small.o;
    p.bytes = 4 * MIB;
    p.base = map_bytes(16 * MIB);
    p.o.grow_max = 16 * MIB;
    memcpy(p.base, small.base, 4 * MIB);
    REQUIRE(cm_open_memory(p.base, p.bytes, &p.o, &p.c) == 0);
    REQUIRE(cm_grow(p.c, 16 * MIB, &report) == 0);
    const struct cm_media *const m = &p.c->media;
    const uint64_t last = m->geo.plain - 1;
    struct cm_header *const at = header_of(p.c, last);
    for (unsigned i = 0; i < 2; i++)
        at[i] = (struct cm_header){ .w0 = CM_W0_VALID | 5,
                                    .incarnation = 77,
                                    .block_valid = (9 + i) << CM_VALID_BITS | CM_BLOCK_SIZE };
    CHECK_EQ(cm_slot_read_neighbours(m, last, 1, 77, 9, to), 1);
    CHECK_EQ(cm_slot_read_neighbours(m, last, 2, 77, 9, to), 0);
    memset(at, 0, 2 * sizeof(*at));
    p.bytes = 16 * MIB;
    pool_end(&p);
    pool_end(&small);
}

/* Neighbours: as many of the first ones as hold all of their blocks now. */
static void test_read_neighbours(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    const struct cm_media *const m = &p.c->media;
    cm_miss miss = miss_of(f, 0, 8 * BLK);
    CHECK_EQ(fill(f, &miss, 5, 8 * BLK, 0), 0);
    const uint64_t slot = slot_of(f, 0), incarnation = cm_object_of(f)->incarnation;
    static uint8_t to[8 * CM_BLOCK_SIZE];
    for (unsigned i = 0; i < 8; i++)
        REQUIRE(slot_of(f, i) == slot + i);
    CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), 8);
    for (unsigned i = 0; i < 8; i++)
        CHECK(is_content(5, i, to + i * BLK, BLK));
    CHECK_EQ(cm_slot_read_neighbours(m, slot, 1, incarnation, 0, to), 1);
    CHECK_EQ(cm_slot_read_neighbours(m, slot + 1, 3, incarnation, 1, to), 3);
    CHECK(is_content(5, 1, to, BLK));
    CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 1, to), 0);
    CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation + 1, 0, to), 0);
    for (unsigned i = 0; i < 8; i++) {
        CASE("slot %u", i);
        struct cm_header *const h = header_of(p.c, slot + i), was = *h;
        h->incarnation++;
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), i);
        *h = was;
        h->block_valid--; /* a tail */
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), i);
        *h = was;
        h->w0 &= CM_W0_SEQ_MASK;
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), i);
        *h = was;
    }
    if (cm_guard_available()) {
        uint8_t *const at = payload_of(p.c, slot + 3), *const page = p.base + m->geo.header_offset;
        os_protect(at, BLK, OS_NOTHING);
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), 0);
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 3, incarnation, 0, to), 3);
        os_protect(at, BLK, OS_WRITE);
        os_protect(page, BLK, OS_NOTHING);
        CHECK_EQ(cm_slot_read_neighbours(m, slot, 8, incarnation, 0, to), 0);
        os_protect(page, BLK, OS_WRITE);
    }
    pool_end(&p);
}

/* A slot that was found right before: its block is served, and no other one's. */
static void test_known(void)
{
    struct pool p;
    uint8_t to[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    const struct cm_media *const m = &p.c->media;
    CHECK_EQ(put(f, 2, 5), 0);
    const uint64_t slot = slot_of(f, 2), incarnation = cm_object_of(f)->incarnation;
    const struct cm_spot at = cm_spot_of(m, slot);
    struct cm_header *const h = header_of(p.c, slot);
    CHECK(at.header == h && at.payload == payload_of(p.c, slot));
    const uint32_t lengths[] = { 1, CM_TAKE_MIN - 1, CM_TAKE_MIN, CM_BLOCK_SIZE };
    for (unsigned i = 0; i < 8; i++) {
        CASE("length %u, take %u", lengths[i / 2], i % 2);
        const struct cm_part part = { BLK - lengths[i / 2], lengths[i / 2], to };
        uint64_t w0 = 0;
        CHECK(cm_slot_holds_known(&at, incarnation, 2, &w0));
        CHECK(w0 == h->w0);
        CHECK(!cm_slot_holds_known(&at, incarnation, 3, &w0));
        for (unsigned bad = 0; bad < 5; bad++) {
            CASE("bad %u", bad);
            const struct cm_header was = *h;
            if (bad == 3) /* a tail */
                h->block_valid--;
            else if (bad == 4)
                h->w0 &= CM_W0_SEQ_MASK;
            const uint64_t number = incarnation + (bad == 1), block = 2 + (bad == 2);
            memset(to, 0xee, BLK);
            CHECK_EQ(i % 2 ? cm_slot_take_known(m, &at, number, block, &part)
                           : cm_slot_read_known(&at, number, block, &part),
                     bad == 0);
            if (bad == 0)
                CHECK(memcmp(to, at.payload + part.from, part.len) == 0);
            *h = was;
        }
        if (cm_guard_available()) {
            os_protect(at.payload, BLK, OS_NOTHING);
            CHECK(!(i % 2 ? cm_slot_take_known(m, &at, incarnation, 2, &part)
                          : cm_slot_read_known(&at, incarnation, 2, &part)));
            os_protect(at.payload, BLK, OS_WRITE);
            uint8_t *const page = p.base + m->geo.header_offset;
            os_protect(page, BLK, OS_NOTHING);
            CHECK(!cm_slot_holds_known(&at, incarnation, 2, &w0));
            CHECK(!(i % 2 ? cm_slot_take_known(m, &at, incarnation, 2, &part)
                          : cm_slot_read_known(&at, incarnation, 2, &part)));
            os_protect(page, BLK, OS_WRITE);
        }
    }
    pool_end(&p);
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* A block of every length: its bytes, zeros behind them, and the words of the header. Whichever
 * step fails, the call says so, and does no later step. */
static void check_fill(struct pool *p, uint64_t slot, uint32_t valid)
{
    struct cm_media *const m = &p->c->media;
    const struct cm_key k = cm_key_of(m, 77, 9);
    struct cm_header h, *const at = header_of(p->c, slot);
    uint8_t block[CM_BLOCK_SIZE];
    unsigned steps = 0;
    content(5, 9, block);
    const struct cm_header beside = at[1];
    for (unsigned fails = 0; fails <= steps; fails++) {
        CASE("step %u", fails);
        memset(payload_of(p->c, slot), 0xee, 2 * BLK);
        count_begin(m, fails);
        CHECK_EQ(cm_slot_fill(m, slot, &k, block, valid, &h), fails ? CM_EIO : 0);
        const unsigned done = count_end(m);
        if (fails == 0)
            steps = done;
        else
            CHECK_EQ(done, fails);
        memset(block + valid, 0, BLK - valid);
        if (fails == 0) {
            CHECK(memcmp(payload_of(p->c, slot), block, BLK) == 0);
            CHECK_EQ(at->incarnation, 77);
            CHECK_EQ(cm_header_block(at), 9);
            CHECK_EQ(cm_header_valid(at), valid);
            CHECK(at->xxh3 == cm_format_payload_sum(m->check_key, slot, 77, 9, block, valid));
            CHECK(memcmp(&at->incarnation, &h.incarnation, 24) == 0);
        }
        CHECK(!(at->w0 & CM_W0_VALID));
        const uint8_t *const next = payload_of(p->c, slot + 1);
        CHECK(next[0] == 0xee && memcmp(next, next + 1, BLK - 1) == 0);
        CHECK(memcmp(&beside, at + 1, sizeof(beside)) == 0);
    }
    const unsigned lines = valid / CM_CACHE_LINE;
    CHECK_EQ(steps, valid == BLK ? 2 : 2 + (lines > 0) + (lines < BLK / CM_CACHE_LINE - 1));
}

static void test_fill(void)
{
    struct pool p;
    (void)open_pool_and_file(&p, MIB);
    out_of_order(p.c);
    p.c->media.fill = NULL; /* the table's routine, which is counted */
    at_store_relaxed(&p.c->fill.over, 1u);
    const uint32_t lengths[] = { 1, 63, 64, 65, 128, 100, 4031, 4032, 4033, 4095, 4096 };
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CASE("length %u", lengths[i]);
        CALL(check_fill(&p, 5, lengths[i]));
    }
    pool_end(&p);
}

/* A slot becomes visible with the next sequence and this boot, and can be made invalid by whoever
 * knows its word. */
static void test_lives(void)
{
    struct pool p;
    uint8_t block[CM_BLOCK_SIZE];
    (void)open_pool_and_file(&p, MIB);
    out_of_order(p.c);
    struct cm_media *const m = &p.c->media;
    struct cm_header h, *const at = header_of(p.c, 5);
    const struct cm_key k = cm_key_of(m, 77, 9);
    m->boot = 0xa5;
    at->w0 = CM_W0_SEQ_MASK - 1;
    content(5, 9, block);
    for (unsigned i = 0; i < 3; i++) { /* the sequence goes around */
        CASE("life %u", i);
        CHECK_EQ(cm_slot_fill(m, 5, &k, block, BLK, &h), 0);
        count_begin(m, 1);
        struct cm_header unwritten = h;
        CHECK_EQ(cm_slot_publish(m, 5, &unwritten), CM_EIO);
        CHECK_EQ(count_end(m), 1);
        CHECK(!slot_ok(p.c, 5));
        CHECK_EQ(cm_slot_publish(m, 5, &h), 0);
        CHECK(slot_ok(p.c, 5));
        CHECK_EQ(at->w0 & CM_W0_SEQ_MASK, (CM_W0_SEQ_MASK + i) & CM_W0_SEQ_MASK);
        CHECK_EQ(cm_header_boot(at), 0xa5);
        CHECK_EQ(cm_slot_fill(m, 5, &k, block, BLK, &h), CM_EIO); /* it is valid */
        CHECK_EQ(cm_slot_invalidate(m, 5, at->w0 + 1), 0);
        CHECK(slot_ok(p.c, 5));
        CHECK_EQ(cm_slot_invalidate(m, 5, at->w0), 1);
        CHECK_EQ(at->w0, (CM_W0_SEQ_MASK + i) & CM_W0_SEQ_MASK);
    }
    pool_end(&p);
}

/* A cell, alone: what is stored where, and that a failure is told. */
static void test_cells(void)
{
    struct pool p;
    (void)open_pool_and_file(&p, MIB);
    struct cm_media *const m = &p.c->media;
    const struct cm_key k = cm_key_of(m, 77, 9);
    uint64_t cell[CM_BUCKET_CELLS];
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        CASE("cell %u", i);
        const uint64_t bucket = k.place.bucket[i / CM_BUCKET_CELLS];
        const unsigned at = i % CM_BUCKET_CELLS;
        for (unsigned fails = 2; fails-- > 0;) {
            count_begin(m, fails);
            CHECK_EQ(cm_index_store(m, &k, i, 1000 + i), fails ? CM_EIO : 0);
            CHECK_EQ(count_end(m), 1);
            CHECK_EQ(*cell_of(p.c, bucket, at), fails ? 0 : 1000 + i);
            count_begin(m, fails);
            CHECK_EQ(cm_index_flush(m, &k, i), fails ? CM_EIO : 0);
            CHECK_EQ(count_end(m), 1);
        }
        CHECK_EQ(cm_index_load_bucket(m, bucket, cell), 0);
        CHECK_EQ(cell[at], 1000 + i);
        CHECK_EQ(cm_index_store_bucket(m, bucket, at, 0), 0);
        CHECK_EQ(*cell_of(p.c, bucket, at), 0);
    }
    if (cm_guard_available()) {
        uint8_t *const page = p.base + m->geo.index_offset / BLK * BLK;
        os_protect(page, BLK, OS_NOTHING);
        CHECK_EQ(cm_index_load_bucket(m, 0, cell), CM_EIO);
        os_protect(page, BLK, OS_WRITE);
    }
    pool_end(&p);
}

/* ---- Flushing -------------------------------------------------------------------------------- */

static const struct cm_persist_ops *flush_real;
static const void *flush_bad; /* a flush that covers it fails */
static unsigned flush_count;

static int flush_some(void *ctx, const void *at, size_t n)
{
    const uint8_t *const from = at, *const bad = flush_bad;
    flush_count++;
    return bad >= from && bad < from + n ? CM_EIO : flush_real->flush(ctx, at, n);
}

/* Headers of neighbours are flushed together, in either order. If that fails, it is found out of
 * which. */
static void test_flush_all(void)
{
    static const uint64_t slots[] = { 5, 6, 7, 3, 2, 1, 20, 21, 9, 10, 8, 12 };
    const unsigned n = sizeof(slots) / sizeof(slots[0]);
    struct pool p;
    (void)open_pool_and_file(&p, MIB);
    struct cm_media *const m = &p.c->media;
    struct cm_persist_ops ops = *m->ops;
    flush_real = m->ops;
    ops.flush = flush_some;
    m->ops = &ops;
    flush_bad = NULL;
    flush_count = 0;
    CHECK_EQ(cm_slot_flush_all(m, slots, n), 0);
    CHECK_EQ(flush_count, 5);
    for (unsigned i = 0; i < n; i++) {
        CASE("slot %u", i);
        flush_bad = header_of(p.c, slots[i]);
        CHECK_EQ(cm_slot_flush_all(m, slots, n), 1u << i);
        CHECK_EQ(cm_slot_flush_all(m, &slots[i], 1), 1);
    }
    flush_bad = header_of(p.c, 4);
    flush_count = 0;
    CHECK_EQ(cm_slot_flush_all(m, slots, n), 0);
    CHECK_EQ(cm_slot_flush_all(m, &slots[3], 1), 0);
    CHECK_EQ(flush_count, 6);
    m->ops = flush_real;
    pool_end(&p);
}

/* ---- Holes ----------------------------------------------------------------------------------- */

static void poke(const char *path, uint64_t at, int byte)
{
    FILE *const f = fopen(path, "r+b");
    CHECK(f != NULL);
    if (!f)
        return;
    CHECK_EQ(fseek(f, (long)at, SEEK_SET), 0);
    CHECK_EQ(fputc(byte, f), byte);
    CHECK_EQ(fclose(f), 0);
}

/* Zeros of a sparse file are a hole, all of them, and nothing else is. */
static void test_holes(void)
{
#ifdef _WIN32
    SKIP("the file cannot be written here while it is open");
#endif
    char path[512];
    struct pool p;
    struct cm_plat_file file = PLAT_FILE_INIT;
    (void)open_pool_and_file(&p, MIB);
    struct cm_media m = p.c->media;
    (void)snprintf(path, sizeof(path), "%s/cachemax-hole.%u", os_temp(), cm_plat_pid());
    REQUIRE(plat_create(&file, path, MIB, false, NULL, NULL) == 0);
    m.file = &file;
    const uint64_t slot = 3, bucket = 2, place = 4;
    const uint64_t of[] = { m.geo.header_offset + slot * 32, m.geo.index_offset + bucket * 64,
                            m.geo.record_offset + place * 256, cm_format_payload_at(&m.geo, slot) };
    const uint64_t n[] = { 32, 64, 256, BLK };
    for (unsigned i = 0; i < 4; i++)
        for (unsigned byte = 0; byte < 6; byte++) {
            CASE("%u, byte %u", i, byte);
            const uint64_t at[] = { of[i] - 1, of[i] + n[i],     of[i],
                                    of[i] + 1, of[i] + n[i] / 2, of[i] + n[i] - 1 };
            const bool hole = byte < 2; /* it is beside */
            poke(path, at[byte], 'x');
            CHECK_EQ(cm_media_is_hole(&m, m.base + of[i], n[i]), hole);
            CHECK_EQ(cm_slot_is_hole(&m, slot), hole || i != 0);
            CHECK_EQ(cm_index_is_hole(&m, bucket), hole || i != 1);
            CHECK_EQ(cm_record_is_hole(&m, place), hole || i != 2);
            CHECK(cm_slot_has_no_room(&m, slot)); /* the header or the payload is a hole */
            poke(path, at[byte], 0);
        }
    poke(path, of[0], 'x');
    poke(path, of[3] + 9, 'x');
    CHECK(!cm_slot_has_no_room(&m, slot));
    if (cm_guard_available()) { /* of the memo, too */
        uint8_t *const page = m.base + m.geo.memo_offset;
        os_protect(page, BLK, OS_NOTHING);
        CHECK(cm_memo_readable(&m, 0));
        poke(path, m.geo.memo_offset + 9, 'x');
        CHECK(!cm_memo_readable(&m, 0));
        os_protect(page, BLK, OS_WRITE);
        CHECK(cm_memo_readable(&m, 0));
    }
    CHECK(cm_media_is_hole(&m, m.base + MIB - 32, 32));
    CHECK(!cm_media_is_hole(&m, m.base + MIB, 32)); /* cannot be read */
    file.sparse = false;
    CHECK(!cm_slot_is_hole(&m, slot));
    m.file = NULL;
    CHECK(!cm_slot_is_hole(&m, slot));
    cm_plat_file_close(&file);
    cm_plat_file_remove(path);
    pool_end(&p);
}

/* ---- Counting -------------------------------------------------------------------------------- */

/* The first threads have counters of their own, the others share the rest. */
static void test_counters(void)
{
    struct pool p;
    (void)open_pool_and_file(&p, MIB);
    const struct cm_media *const m = &p.c->media;
    struct cm_plat_thread t = *cm_plat_thread();
    const int64_t blocks = STAT(p.c, hit_blocks), bytes = STAT(p.c, hit_bytes);
    for (uint32_t i = 0; i < 3 * CM_STATS_SHARDS; i++) {
        CASE("thread %u", i);
        const uint32_t own = CM_STATS_OWN_SHARDS, rest = CM_STATS_SHARDS - own;
        const uint64_t *const word =
            cm_media_shard(p.base, i < own ? i : own + i % rest) + CM_STATS_COUNTERS;
        const uint64_t was[2] = { word[CM_STAT_hit_blocks], word[CM_STAT_hit_bytes] };
        t.number = i;
        cm_media_count2(m, &t, CM_STAT_hit_blocks, 1, 100);
        cm_media_count(m, &t, CM_STAT_hit_blocks, 2);
        CHECK_EQ(word[CM_STAT_hit_blocks], was[0] + 3);
        CHECK_EQ(word[CM_STAT_hit_bytes], was[1] + 100);
    }
    CHECK_EQ(STAT(p.c, hit_blocks), blocks + 3 * 3 * CM_STATS_SHARDS);
    CHECK_EQ(STAT(p.c, hit_bytes), bytes + 100 * 3 * CM_STATS_SHARDS);
    pool_end(&p);
}

/* A word of all shards. */
static uint64_t word_of(const struct pool *p, unsigned word)
{
    uint64_t sum = 0;
    for (unsigned s = 0; s < CM_STATS_SHARDS; s++)
        sum += cm_media_shard(p->base, s)[word];
    return sum;
}

/* Each time is counted in the bucket of its highest bit; the last one takes the rest. */
static void test_latency(void)
{
    static const struct {
        uint64_t ns;
        unsigned bucket;
    } times[] = { { 0, 0 },
                  { 1, 0 },
                  { 2, 1 },
                  { 3, 1 },
                  { 4, 2 },
                  { 7, 2 },
                  { 1023, 9 },
                  { 1024, 10 },
                  { UINT64_C(1) << 31, 31 },
                  { (UINT64_C(1) << 31) - 1, 30 },
                  { UINT64_C(1) << 32, 31 },
                  { UINT64_MAX, 31 } };
    const unsigned kinds[] = { CM_HISTOGRAM_HIT, CM_HISTOGRAM_ORIGIN };
    struct pool p;
    static_assert(CM_LATENCY_BUCKETS == 32, "the last one is 31");
    (void)open_pool_and_file(&p, MIB);
    for (unsigned i = 0; i < 2 * sizeof(times) / sizeof(times[0]); i++) {
        CASE("kind %u, time %u", i % 2, i / 2);
        const unsigned word = kinds[i % 2] + times[i / 2].bucket;
        const uint64_t was = word_of(&p, word);
        cm_stats_latency(&p.c->media, kinds[i % 2], times[i / 2].ns);
        CHECK_EQ(word_of(&p, word), was + 1);
    }
    pool_end(&p);
}

/* What the statistics page says, and what is read of it. */
static void test_stats_words(void)
{
    struct pool p;
    cm_stats_data s;
    (void)open_pool_and_file(&p, MIB);
    const struct cm_media *const m = &p.c->media;
    struct cm_stats_head *const h = (struct cm_stats_head *)(void *)(p.base + CM_STATS_OFFSET);
    for (unsigned i = 0; i < CM_STATS_SHARDS; i++)
        cm_media_shard(p.base, i)[CM_STATS_COUNTERS + CM_STAT_hit_blocks] = UINT64_C(1) << i;
    CHECK_EQ(cm_stats_total(m, CM_STAT_hit_blocks), UINT32_MAX);
    CHECK_EQ(STAT(p.c, hit_blocks), UINT32_MAX);
    if (cm_guard_available()) { /* four shards are in a page; they count nothing */
        uint8_t *const at = p.base + CM_STATS_OFFSET + sizeof(*h);
        os_protect(at, BLK, OS_NOTHING);
        CHECK_EQ(cm_stats_total(m, CM_STAT_hit_blocks), UINT32_MAX - 15);
        os_protect(at, BLK, OS_WRITE);
    }
    const uint64_t hits[CM_CURVE_POINTS] = { 0, 5, 1000000, CM_CURVE_UNKNOWN, 1, 2, 3 };
    cm_stats_curve(m, hits, 77, 88);
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        CHECK_EQ(h->curve_hits[i], hits[i] + 1);
    h->opened_at_ns = 66;
    h->closed_at_ns = 77;
    memset(&s, 0x55, sizeof(s));
    CHECK_EQ(cm_stats_sum(p.base, &s), 0);
    CHECK_EQ(s.struct_size, sizeof(s));
    CHECK_EQ(s.counters, CM_STAT_COUNT);
    CHECK(s.opened_at_ns == 66 && s.closed_at_ns == 77);
    CHECK_EQ(s.curve_reads, 77);
    CHECK_EQ(s.curve_skipped, 88);
    CHECK(memcmp(s.curve_hits, hits, sizeof(hits)) == 0);
    cm_stats_inherit(m, 999999);
    CHECK_EQ(h->lifetime_pool_bytes, 999999);
    h->form = UINT64_C(64) << 32 | CM_STATS_LAYOUT;
    CHECK_EQ(cm_stats_sum(p.base, &s), 0);
    CHECK_EQ(s.counters, 64);
    h->form++;
    CHECK_EQ(cm_stats_sum(p.base, &s), CM_EVERSION);
    pool_end(&p);
}

static int fill_code;
static int fill_with(void *ctx, void *dst, const void *src, size_t n)
{
    CHECK(ctx == NULL);
    memcpy(dst, src, n);
    return fill_code;
}

/* The wear: copied bytes, and whole lines that are flushed, once a fence counts them. */
static void test_wear(void)
{
    struct pool p;
    (void)open_pool_and_file(&p, MIB);
    struct cm_media *const m = &p.c->media;
    static const struct {
        uint64_t from, n, lines;
    } flushes[] = { { 0, 1, 1 },  { 0, 64, 1 },   { 0, 65, 2 },  { 63, 1, 1 },
                    { 63, 2, 2 }, { 32, 32, 1 },  { 32, 33, 2 }, { 8, 4096, 65 },
                    { 0, 8, 1 },  { 64, 128, 2 }, { 1, 64, 2 } };
    uint8_t *const at = payload_of(p.c, 5);
    uint8_t block[CM_BLOCK_SIZE] = { 0 };
    for (unsigned i = 0; i < sizeof(flushes) / sizeof(flushes[0]); i++) {
        CASE("flush %u", i);
        const int64_t was = STAT(p.c, pool_bytes);
        CHECK_EQ(cm_media_flush(m, at + flushes[i].from, flushes[i].n), 0);
        CHECK_EQ(STAT(p.c, pool_bytes), was);
        cm_media_fence(m);
        CHECK_EQ(STAT(p.c, pool_bytes), was + (int64_t)(64 * flushes[i].lines));
        CHECK_EQ(cm_plat_thread()->written, 0);
    }
    const int64_t was = STAT(p.c, pool_bytes);
    const cm_persist_copy_fn routine = m->fill;
    for (unsigned i = 0; i < 2; i++) {
        m->fill = i ? fill_with : NULL;
        CHECK_EQ(cm_media_fill(m, at, block), 0);
    }
    m->fill = routine;
    CHECK_EQ(cm_media_copy(m, at, block, 128), 0);
    cm_media_fence(m);
    CHECK_EQ(STAT(p.c, pool_bytes), was + (int64_t)(2 * BLK + 128));
    fill_code = CM_EIO;
    m->fill = fill_with;
    CHECK_EQ(cm_media_fill(m, at, block), CM_EIO);
    m->fill = routine;
    cm_plat_thread()->written = 0;
    m->counted = false;
    CHECK_EQ(cm_media_copy(m, at, block, 128), 0);
    cm_media_fence(m);
    m->counted = true;
    cm_media_fence(m); /* what was not counted then is not counted now */
    CHECK_EQ(STAT(p.c, pool_bytes), was + (int64_t)(2 * BLK + 128));
    pool_end(&p);
}

/* A slot that was emptied by a write, and that cannot be filled any more, is no room. */
static void test_unwritable_empties(void)
{
    enum { BAD = 150 };
    static uint64_t bad[BAD];
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 8 * MIB);
    const uint64_t slots = p.c->media.geo.slots;
    (void)put_all(f, 0, slots + 50, 5);
    unsigned n = 0;
    for (uint64_t b = 0; b < slots && n < BAD; b++) {
        const uint64_t slot = slot_of(f, b);
        if (slot == CM_NO_SLOT)
            continue;
        cm_bracket w = begin_write(f, b * BLK, BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        os_protect(payload_of(p.c, slot), BLK, OS_NOTHING);
        bad[n++] = slot;
    }
    CHECK_EQ(n, BAD);
    for (uint64_t i = 0; i < 10; i++)
        (void)put_all(f, (3 + i) * slots, 200, 5);
    for (unsigned i = 0; i < n; i++)
        os_protect(payload_of(p.c, bad[i]), BLK, OS_WRITE);
    CHECK_EQ(STAT(p.c, quarantined), BAD);
    CHECK_EQ(p.c->policy.ring.empties, 0);
    pool_end(&p);
}

/* The same of one whose header cannot be read any more. */
static void test_unreadable_empty(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 8 * MIB);
    const uint64_t slots = p.c->media.geo.slots;
    (void)put_all(f, 0, slots + 50, 5);
    uint64_t b = 0;
    while (slot_of(f, b) == CM_NO_SLOT)
        b++;
    const uint64_t slot = slot_of(f, b);
    cm_bracket w = begin_write(f, b * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(p.c->policy.ring.empties, 1);
    uint8_t *page = (uint8_t *)(uintptr_t)cm_slot_at(&p.c->media, slot);
    page -= (uintptr_t)page % BLK;
    os_protect(page, BLK, OS_NOTHING);
    (void)put_all(f, 3 * slots, 20, 5);
    os_protect(page, BLK, OS_WRITE);
    CHECK(STAT(p.c, quarantined) > 0);
    CHECK_EQ(p.c->policy.ring.empties, 0);
    pool_end(&p);
}

/* ---- Remembering victims --------------------------------------------------------------------- */

static struct cm_cache *remembering;
static uint64_t reached, reached_locked;

/* The memo of the last session: a page of it may have to be read from the disk. */
static void reach_unlocked(void *ctx, uint64_t bucket)
{
    (void)ctx, (void)bucket;
    reached++;
    for (uint64_t s = 0; s < remembering->media.geo.stripes; s++)
        reached_locked += at_load_relaxed(&cm_stripe_at(remembering, s)->lock.word) != 0;
}

/* The policy is told of victims without a lock. */
static void test_remembered_unlocked(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    struct cm_ghost *ghost = &p.c->policy.ghost;
    void (*const reach)(void *ctx, uint64_t bucket) = ghost->reach;
    remembering = p.c;
    reached = reached_locked = 0;
    ghost->reach = reach_unlocked;
    for (uint64_t b = 0; b < 3 * p.c->media.geo.slots; b++)
        CHECK_EQ(put(f, b, 5), 0);
    ghost->reach = reach;
    CHECK(reached > 0);
    CHECK_EQ(reached_locked, 0);
    pool_end(&p);
}

/* ---- The frontier ---------------------------------------------------------------------------- */

static struct {
    struct cm_cache *c;
    const struct cm_persist_ops *real;
    struct cm_persist_ops ops;
    uint64_t stored, early;
} frontiers;

static int write_frontier(void *ctx, void *dst, const void *src, size_t n)
{
    struct cm_cache *const c = frontiers.c;
    if ((uint8_t *)dst - c->media.base < (ptrdiff_t)(CM_SUPER_COPIES * CM_SUPER_STRIDE)) {
        frontiers.stored++;
        frontiers.early +=
            at_load_relaxed(&c->super.covered) >= ((const struct cm_super *)src)->frontier;
    }
    return frontiers.real->write(ctx, dst, src, n);
}

/* The superblock knows of slots before any thread fills them without a look at it. Else a process
 * that is killed leaves blocks in slots that the next one takes for unused. */
static void test_frontier_first(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    frontiers.c = p.c;
    frontiers.real = p.c->media.ops;
    frontiers.ops = *p.c->media.ops;
    frontiers.ops.write = write_frontier;
    frontiers.stored = frontiers.early = 0;
    p.c->media.ops = &frontiers.ops;
    for (uint64_t b = 0; b < p.c->media.geo.slots / 2; b++)
        CHECK_EQ(put(f, b, 5), 0);
    p.c->media.ops = frontiers.real;
    CHECK(frontiers.stored > 10);
    CHECK_EQ(frontiers.early, 0);
    pool_end(&p);
}

/* The superblock's frontier is ahead of the slots that were used. The next session fills those
 * first that a killed one has left empty. So a pool does not become full by kills, and then lose
 * blocks while it has empty slots. */
static void test_killed_often(void)
{
    enum { KILLS = 40, BLOCKS = 4 };
    struct pool p;
    REQUIRE(pool_new(&p, 8 * MIB) == 0);
    const uint64_t step = p.c->media.geo.slots / 64 + CM_SLOTS_MIN;
    CHECK(KILLS * step > p.c->media.geo.slots);
    for (uint64_t i = 1; i <= KILLS; i++) {
        cm_file *f = attach(&p, i, BLOCKS * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, BLOCKS, i), BLOCKS);
        pool_crash(&p);
        REQUIRE(pool_up(&p) == 0);
        if (i % 2)
            pool_again(&p); /* a close in between changes nothing */
        CASE("kill %u", (unsigned)i);
        CHECK(pool_info(p.c).used_slots <= i * BLOCKS + 2 * step);
    }
    for (uint64_t i = 1; i <= KILLS; i++) {
        CASE("file %u", (unsigned)i);
        cm_file *f = attach(&p, i, BLOCKS * BLK, 1, 0);
        CHECK_EQ(hits(f, 0, BLOCKS, i), BLOCKS);
        detach(f);
    }
    CHECK_EQ(STAT(p.c, evicted), 0);
    pool_end(&p);
}

/* What the last session has left empty is filled, and blocks that it has left stay where they are.
 */
static void test_left_empty(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 8 * MIB);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    const uint64_t frontier = p.c->policy.ring.frontier, n = frontier - 10;
    CHECK_EQ(p.c->holes_end, frontier);
    CHECK(frontier > 10);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    CHECK_EQ(put_all(f, 100, n, 2), n);
    CHECK_EQ(p.c->policy.ring.frontier, frontier);
    CHECK_EQ(put_all(f, 1000, 10, 3), 10);
    CHECK_EQ(p.c->policy.ring.frontier, frontier + 10);
    CHECK_EQ(hits(f, 0, 10, 1) + hits(f, 100, n, 2) + hits(f, 1000, 10, 3), n + 20);
    pool_down(&p);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(p.c->policy.ring.frontier, frontier + 10);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 2000, 10, 4), 10); /* that session has left nothing empty */
    CHECK_EQ(p.c->policy.ring.frontier, frontier + 20);
    CHECK_EQ(hits(f, 0, 10, 1) + hits(f, 100, n, 2) + hits(f, 1000, 10, 3), n + 20);
    pool_end(&p);
}

const struct harness_test block_slot_tests[] = {
    TEST(parts_of_tail),
    TEST(bad_slot),
    TEST(read_neighbours),
    TEST(neighbours_of_two_parts),
    TEST(known),
    TEST(fill),
    TEST(lives),
    TEST(cells),
    TEST(flush_all),
    TEST(holes),
    TEST(counters),
    TEST(wear),
    TEST(latency),
    TEST(stats_words),
    TEST(unwritable_empties),
    TEST(unreadable_empty),
    TEST(remembered_unlocked),
    TEST(frontier_first),
    TEST(killed_often),
    TEST(left_empty),
    TEST_END,
};
