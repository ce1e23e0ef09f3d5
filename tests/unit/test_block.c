/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block.c - lookups, misses and fills: a block is stored only if it was read after its miss
 * and before any write.
 */
#include "block_common.h"

#include <inttypes.h>

#include "protocol/fill_ticket.h"

/* ---- Fills against writes -------------------------------------------------------------------- */

/* The block was read from the origin before a write, and is offered during or after it: refused. */
static void test_fill_after_write(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_miss m = miss_of(f, 3 * BLK, BLK);
    CHECK_EQ(m.flags & CM_MISS_NOFILL, 0);
    cm_bracket w = begin_write(f, 3 * BLK, 1);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK_EQ(STAT(p.c, refused_stale), 2);
    CHECK_EQ(put(f, 3, 6), 0);
    CHECK_EQ(look(f, 3, 6), RIGHT);
    pool_end(&p);
}

/* A miss inside a bracket gives no right to fill, not even after its end. */
static void test_fill_during_write(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    cm_miss m = miss_of(f, 3 * BLK, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    m.flags = 0; /* a caller that ignores the flag */
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(look(f, 3, 5), MISS);
    pool_end(&p);
}

/* Every way to change a file voids every miss handed out before. */
static void test_every_change(void)
{
    for (unsigned kind = 0; kind < 7; kind++) {
        CASE("kind %u", kind);
        struct pool p;
        cm_bracket w = { 0 };
        cm_file *f = open_pool_and_file(&p, MIB);
        cm_file_id id = id_of(1);
        CHECK_EQ(put(f, 900, 5), 0);
        cm_miss m = miss_of(f, 3 * BLK, BLK);
        if (kind == 0)
            CHECK_EQ(cm_truncate_begin(f, 2 * BLK, &w), 0);
        else if (kind == 1)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
        else if (kind == 2)
            CHECK_EQ(cm_invalidate(f, 3 * BLK, 1), 0);
        else if (kind == 3)
            CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        else if (kind == 4)
            CHECK_EQ(cm_forget(p.c, &id), 0);
        else if (kind == 5)
            CHECK_EQ(cm_file_abort(f), 0);
        else
            CHECK_EQ(cm_write_begin(f, 0, 100 * MIB, &w), 0);
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        if (w.id)
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(look(f, 3, 5), MISS);
        CHECK_EQ(put(f, 3, 6), 0);
        pool_end(&p);
    }
}

/* A write next to it in the same group costs a fill; a write far off does not. */
static void test_fill_beside_write(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    uint64_t far = GROUP;
    while (key_of(f, far).stripe == key_of(f, 0).stripe)
        far += GROUP;
    cm_miss m = miss_of(f, 0, BLK);
    cm_bracket w = begin_write(f, far * BLK, BLK);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    pool_end(&p);
}

/* A bracket forgets its blocks: every block that it touches, and no other. */
static void test_write_forgets(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 20, 5), 20);
    cm_bracket w = begin_write(f, 5 * BLK - 1, 2 * BLK + 2); /* 4, 5, 6, 7 */
    CHECK_EQ(hits(f, 0, 4, 5), 4);
    CHECK_EQ(hits(f, 4, 4, 5), 0);
    CHECK_EQ(hits(f, 8, 12, 5), 12);
    CHECK_EQ(STAT(p.c, forgotten), 4);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    w = begin_write(f, 8 * BLK, BLK); /* exactly one block */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(hits(f, 8, 12, 5), 11);
    pool_end(&p);
}

/* A cell leads to a header of its own boot. Without DAX, a crash of the system may leave a cell
 * that was stored later beside a header that was forgotten before. */
static void test_other_boot(void)
{
    struct pool p;
    cm_iovec iov[1];
    cm_pins pins;
    cm_miss miss;
    int n;
    uint8_t got[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    CHECK_EQ(cm_header_boot(header_of(p.c, slot_of(f, 0))), (uint8_t)p.c->super.now.boot_number);
    pool_again(&p); /* nothing is known of the slots */
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    uint64_t *cell = cell_to(f, 0);
    REQUIRE(cell != NULL);
    const uint64_t slot = cm_cell_slot(*cell);
    *cell += UINT64_C(1) << CM_CELL_SLOT_BITS;
    CHECK_EQ(hits(f, 0, 1, 5), 0);
    CHECK_EQ(cm_pin_range(f, 0, BLK, iov, 1, &n, &pins, &miss), 0);
    cm_check_report c = { .struct_size = sizeof(c) };
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &c), 0);
    CHECK_EQ(c.orphaned, 1);
    CHECK_EQ(c.stale_cells, 1);
    CHECK_EQ(put(f, 0, 5), 0); /* the old copy is no reason to refuse it */
    CHECK(slot_of(f, 0) != slot && !slot_ok(p.c, slot));
    CHECK_EQ(hits(f, 0, 2, 5), 2);
    /* A cell of another boot before the right one, to the same slot. */
    struct cm_key k = key_of(f, 1);
    cell = cell_to(f, 1);
    REQUIRE(cell != NULL);
    const uint64_t right = *cell, wrong = right + (UINT64_C(1) << CM_CELL_SLOT_BITS);
    *cell = 0;
    *cell_of(p.c, k.place.bucket[0], 0) = wrong;
    *cell_of(p.c, k.place.bucket[0], 5) = right;
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_read(f, BLK, got, BLK, NULL), BLK);
    pool_end(&p);
}

/* A forgotten block is gone from the media, in every slot where it could be found. */
static void test_forget_all_matches(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    struct cm_key k = key_of(f, 0);
    uint64_t s = slot_of(f, 0), twin = 200; /* a second copy, which only a damaged pool has */
    *header_of(p.c, twin) = *header_of(p.c, s);
    header_of(p.c, twin)->w0 = cm_format_w0(p.c->media.check_key, twin, header_of(p.c, twin), 9);
    *cell_of(p.c, k.place.bucket[1], 7) = cm_cell_make(k.place.tag, 0, twin);
    CHECK(slot_ok(p.c, twin));
    cm_bracket w = begin_write(f, 0, 1);
    CHECK(!slot_ok(p.c, s) && !slot_ok(p.c, twin));
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 1, 5), RIGHT);
    pool_end(&p);
}

/* Overlapping brackets: nothing is stored until the last of them ends. */
static void test_overlapping_brackets(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_bracket a = begin_write(f, 0, 8 * BLK), b = begin_write(f, 4 * BLK, 8 * BLK);
    CHECK_EQ(put(f, 5, 5), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &a, NULL) >= 0);
    CHECK_EQ(put(f, 5, 5), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &b, NULL) >= 0);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_EBRACKET);
    CHECK_EQ(put(f, 5, 5), 0);
    pool_end(&p);
}

/* More than 64 MiB: what lies outside stays cached. The whole file refuses fills while the bracket
 * is open. Its stripes do not, so other files go on. */
static void test_large_bracket(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB), *other = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
    const uint64_t most = UINT64_C(4) << 30, last = most / BLK + 100, inc = info_of(f).incarnation;
    const uint64_t bytes[] = { 64 * MIB, 64 * MIB + 1, 100 * MIB, most, most };
    for (unsigned i = 0; i < 5; i++) {
        const uint64_t from = 5 * BLK + (i == 4), end = (from + bytes[i] + BLK - 1) / BLK;
        CASE("%" PRIu64 " bytes at %" PRIu64, bytes[i], from);
        (void)put_all(f, 0, 10, 5);
        (void)put_all(f, end - 5, 10, 5);
        (void)put_all(f, last, 2, 5);
        cm_miss before = miss_of(f, end * BLK / 2, BLK);
        cm_bracket w = begin_write(f, from, bytes[i]);
        CHECK_EQ(info_of(f).incarnation, inc);
        CHECK_EQ(hits(f, 0, 10, 5), 5);
        CHECK_EQ(hits(f, end - 5, 10, 5), 5);
        CHECK_EQ(hits(f, last, 2, 5), 2);
        CHECK_EQ(fill(f, &before, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(put(f, 7, 5), CM_NOT_STORED_STALE);
        if (i > 0) {
            CHECK_EQ(put(f, end + 20, 5), CM_NOT_STORED_STALE);
            CHECK_EQ(put(other, i, 5), 0);
        }
        cm_miss m = miss_of(f, end * BLK / 2, BLK);
        CHECK(m.flags & CM_MISS_NOFILL);
        m.flags = 0; /* a caller that ignores the flag */
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(fill(f, &before, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(put(f, 7, 6), 0);
        CHECK_EQ(look(f, 7, 6), RIGHT);
        w = begin_write(f, 0, 40 * BLK); /* for the next case */
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    CHECK_EQ(cm_invalidate(f, 5 * BLK, most), 0);
    CHECK_EQ(info_of(f).incarnation, inc);
    CHECK_EQ(hits(f, last, 2, 5), 2);
    pool_end(&p);
}

/* A large range goes no further than blocks were cached: one of any size at a place where nothing
 * was ever read takes nothing with it. */
static void test_large_bracket_behind(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    const uint64_t inc = info_of(f).incarnation, bytes[] = { 65 * MIB, UINT64_C(1) << 40 };
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    for (unsigned i = 0; i < 2; i++) {
        CASE("%" PRIu64 " bytes", bytes[i]);
        cm_bracket w = begin_write(f, 100 * BLK, bytes[i]);
        CHECK_EQ(hits(f, 0, 10, 5), 10);
        CHECK_EQ(put(f, 200, 5), CM_NOT_STORED_STALE);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(cm_invalidate(f, 100 * BLK, bytes[i]), 0);
        CHECK_EQ(hits(f, 0, 10, 5), 10);
        w = begin_write(f, 9 * BLK, bytes[i]);
        CHECK_EQ(hits(f, 0, 10, 5), 9);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(put(f, 9, 5), 0);
    }
    CHECK_EQ(info_of(f).incarnation, inc);
    pool_end(&p);
}

/* A fill that began before a large bracket raises the limit while the bracket looks at it: it is
 * refused, because the file's ticket has moved. */
static void test_large_bracket_meets_fill(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    cm_miss m = miss_of(f, 3000 * BLK, BLK);
    cm_bracket w = begin_write(f, 2000 * BLK, 65 * MIB);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(look(f, 3000, 5), MISS);
    pool_end(&p);
}

/* What leaves nothing of the file, or is larger than 4 GiB and cached behind that: forgets by a new
 * incarnation, and just as safely. */
static void test_huge_bracket(void)
{
    struct pool p;
    const uint64_t most = UINT64_C(4) << 30;
    cm_file *f = open_pool_and_file(&p, MIB);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(put_all(f, 0, 10, 5), 10);
        CHECK_EQ(put_all(f, i ? most / BLK + 20 : 20000, 10, 5), 10);
        const uint64_t inc = info_of(f).incarnation;
        cm_bracket w = i ? begin_write(f, 5 * BLK, most + BLK + 1) : begin_write(f, 0, 100 * MIB);
        CHECK(info_of(f).incarnation > inc);
        CHECK_EQ(hits(f, 0, 10, 5), 0);
        CHECK_EQ(hits(f, i ? most / BLK + 20 : 20000, 10, 5), 0);
        CHECK_EQ(put(f, 2, 5), CM_NOT_STORED_STALE); /* its stripes have no intent: the file has */
        cm_miss m = miss_of(f, 100 * MIB, BLK);
        CHECK(m.flags & CM_MISS_NOFILL);
        m.flags = 0; /* a caller that ignores the flag */
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(put_all(f, 0, 10, 6), 10);
        w = begin_write(f, 0, 10 * BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    pool_end(&p);
}

/* A small bracket that was open when the incarnation changed still prevents fills. */
static void test_bracket_over_new_incarnation(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 20000, 5), 0);
    const uint64_t inc = info_of(f).incarnation;
    cm_bracket small = begin_write(f, 3 * BLK, BLK), large = begin_write(f, 0, 100 * MIB);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &large, NULL) >= 0);
    CHECK_EQ(put(f, 3, 5), CM_NOT_STORED_STALE);
    CHECK(miss_of(f, 3 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK(cm_write_end(f, &small, NULL) >= 0);
    CHECK_EQ(put(f, 3, 5), 0);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(p.c->stripes[s].intents, 0);
    }
    pool_end(&p);
}

/* ---- Misses and tickets ---------------------------------------------------------------------- */

static void test_miss_shape(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    uint8_t buf[8 * CM_BLOCK_SIZE];
    cm_miss m;
    CHECK_EQ(put(f, 2, 5), 0);
    CHECK_EQ(put(f, 6, 5), 0);
    CHECK_EQ(cm_read(f, 2 * BLK + 5, buf, 3 * BLK, &m), BLK - 5); /* the cached prefix */
    CHECK_EQ(m.offset, 3 * BLK);
    CHECK_EQ(m.len, 3 * BLK); /* aligned, and whole blocks */
    CHECK_EQ(cm_read(f, 3 * BLK + 7, buf, 10, &m), 0);
    CHECK_EQ(m.offset, 3 * BLK);
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, 8 * BLK, &m), 0);
    CHECK_EQ(m.len, 2 * BLK); /* up to the next cached block */
    CHECK_EQ(cm_read(f, 2 * BLK, buf, BLK, &m), BLK);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(cm_read(f, 2 * BLK, buf, 0, &m), 0);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(m.flags, 0);
    pool_end(&p);
}

/* A ticket of an incarnation that the file does not have, or of a file without one, is none. */
static void test_no_ticket(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    struct cm_object *const o = cm_object_of(f);
    const uint64_t incarnation = o->incarnation, stripe = key_of(f, 0).stripe;
    const uint64_t others[] = { incarnation, incarnation + 1, 0 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        const uint32_t flags = i ? CM_MISS_NOFILL : 0;
        cm_miss one = { .offset = 0 }, more = { .offset = 0 };
        if (others[i] == 0)
            at_store_release(&o->incarnation, UINT64_C(0));
        cm_ticket_take_block(o, others[i], stripe, &one);
        CHECK_EQ(cm_ticket_take(o, others[i], 0, 2, &more), 2);
        CHECK_EQ(one.flags, flags);
        CHECK_EQ(more.flags, flags);
    }
    at_store_release(&o->incarnation, incarnation);
    CHECK_EQ(put(f, 0, 5), 0);
    pool_end(&p);
}

/* A miss covers at most eight groups, and a fill of all of them is stored. */
static void test_miss_cut(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    CHECK(p.c->media.geo.stripes > 1);
    for (uint64_t first = 0; first < 64; first += 21) {
        CASE("first %" PRIu64, first);
        uint64_t at = first + 10000 * GROUP + first * 100 * GROUP;
        uint64_t want = CM_MISS_STRIPES * GROUP - at % GROUP;
        cm_miss m = miss_of(f, at * BLK, 1000 * BLK);
        CHECK_EQ(m.offset, at * BLK);
        CHECK_EQ(m.len, want * BLK);
        CHECK_EQ(fill(f, &m, 5, m.len, 0), 0);
        CHECK_EQ(hits(f, at, want, 5), want);
        CHECK_EQ(look(f, at + want, 5), MISS);
    }
    pool_end(&p);
}

/* One group of a long run was written: the blocks of that group are refused, the others stored. */
static void test_partly_stale(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    cm_miss m = miss_of(f, 0, 8 * GROUP * BLK);
    CHECK_EQ(m.len, 8 * GROUP * BLK);
    cm_bracket w = begin_write(f, 3 * GROUP * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(fill(f, &m, 5, m.len, 0), CM_NOT_STORED_STALE);
    for (uint64_t g = 0; g < 8; g++) {
        CASE("g %" PRIu64, g);
        bool same = key_of(f, g * GROUP).stripe == key_of(f, 3 * GROUP).stripe;
        CHECK_EQ(hits(f, g * GROUP, GROUP, 5), same ? 0 : GROUP);
    }
    pool_end(&p);
}

/* The block that holds the last byte a file may have is cached like any other. */
static void test_last_block(void)
{
    struct pool p;
    uint8_t sent[CM_BLOCK_SIZE], got[CM_BLOCK_SIZE - 1];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 1, 0);
    const cm_miss m = miss_of(f, CM_BLOCK_MAX * BLK, sizeof(got));
    CHECK_EQ(m.len, BLK); /* its last byte is behind the largest file */
    content(2, CM_BLOCK_MAX, sent);
    CHECK_EQ(cm_fill(f, &m, sent, sizeof(got), CM_FILL_EOF), 0);
    CHECK_EQ(cm_read(f, CM_BLOCK_MAX * BLK, got, sizeof(got), NULL), sizeof(got));
    CHECK(memcmp(got, sent, sizeof(got)) == 0);
    pool_end(&p);
}

static void test_bad_tickets(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB), *g = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
    cm_miss m = miss_of(f, 10 * BLK, 2 * BLK), bad;
    CHECK_EQ(m.len, 2 * BLK);
    CHECK_EQ(fill(f, &m, 5, 3 * BLK, 0), CM_ETICKET); /* longer than its miss */
    CHECK_EQ(fill(f, &m, 5, 2 * BLK + 1, CM_FILL_EOF), CM_ETICKET);
    CHECK_EQ(fill(f, &m, 5, BLK + 1, 0), CM_EINVAL); /* ends in a block, not at EOF */
    CHECK_EQ(fill(g, &m, 5, BLK, 0), CM_EFOREIGN);
    CHECK_EQ(fill(f, &m, 5, BLK, 4), CM_EINVAL); /* no such flag */
    bad = m;
    bad.offset += 1;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    bad = m;
    bad.len = 9 * GROUP * BLK;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET); /* it has fewer tickets than groups */
    bad = m;
    bad.offset = UINT64_MAX - BLK + 1;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    bad = m;
    bad.len = UINT64_MAX;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    memset(&bad, 0, sizeof(bad));
    CHECK(fill(f, &bad, 5, 0, 0) < 0);
    CHECK_EQ(look(f, 10, 5), MISS);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), 0); /* a fill may be shorter than the miss */
    CHECK_EQ(hits(f, 10, 2, 5), 1);
    CHECK_EQ(fill(f, &m, 5, 0, 0), 0);
    pool_end(&p);
}

/* A miss of an earlier attachment of the same file is foreign to the next attachment. */
static void test_ticket_of_old_attachment(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_miss m = miss_of(f, 10 * BLK, BLK);
    detach(f);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_EFOREIGN);
    pool_down(&p);
    (void)pool_up(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_EFOREIGN);
    pool_end(&p);
}

/* ---- Tails ----------------------------------------------------------------------------------- */

static void test_tails(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_miss m;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    CHECK_EQ(look(f, 4, 5), TOO_SHORT);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, &m), 1000);
    CHECK_EQ(m.offset, 4 * BLK); /* bytes past the tail are a miss, never zeros */
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(cm_read(f, 4 * BLK + 990, buf, 20, &m), 10);
    CHECK_EQ(cm_read(f, 4 * BLK + 1000, buf, 20, &m), 0);
    CHECK_EQ(put_tail(f, 4, 999, 6), CM_NOT_STORED_PRESENT); /* not longer: the old tail stays */
    CHECK_EQ(put_tail(f, 4, 1000, 6), CM_NOT_STORED_PRESENT);
    CHECK_EQ(look(f, 4, 5), TOO_SHORT);
    CHECK_EQ(put_tail(f, 4, 1001, 6), 0); /* longer: it replaces the tail by the full protocol */
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1001);
    CHECK(is_content(6, 4, buf, 1001));
    CHECK_EQ(STAT(p.c, displaced), 1);
    CHECK_EQ(put(f, 4, 7), 0);
    CHECK_EQ(look(f, 4, 7), RIGHT);
    CHECK_EQ(slots_astray(p.c), 0);
    uint64_t copies = 0;
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        copies += slot_ok(p.c, s);
    CHECK_EQ(copies, 1);
    pool_end(&p);
}

static void test_fill_eof(void)
{
    struct pool p;
    uint8_t buf[4 * CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_miss m = miss_of(f, 0, 4 * BLK);
    CHECK_EQ(fill(f, &m, 5, 2 * BLK + 1, CM_FILL_EOF), 0);
    CHECK_EQ(cm_read(f, 0, buf, 4 * BLK, &m), 2 * BLK + 1);
    CHECK_EQ(m.flags & CM_MISS_EOF, 0); /* a short fill says nothing about the size */
    CHECK_EQ(STAT(p.c, fill_blocks), 3);
    CHECK_EQ(STAT(p.c, fill_bytes), 2 * BLK + 1);
    pool_end(&p);
}

static void test_present(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_miss m = miss_of(f, 0, 4 * BLK);
    CHECK_EQ(put(f, 2, 5), 0);
    CHECK_EQ(fill(f, &m, 6, 4 * BLK, 0), CM_NOT_STORED_PRESENT); /* the others are stored */
    CHECK_EQ(look(f, 0, 6), RIGHT);
    CHECK_EQ(look(f, 2, 5), RIGHT);
    CHECK_EQ(look(f, 3, 6), RIGHT);
    CHECK_EQ(STAT(p.c, refused_present), 1);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static void test_nothing_given(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_miss m = miss_of(f, 0, 4 * BLK);
    CHECK_EQ(cm_fill(f, &m, NULL, 0, CM_FILL_EOF), 0);
    CHECK_EQ(cm_fill(f, &m, NULL, 1, CM_FILL_EOF), CM_EINVAL);
    CHECK_EQ(hits(f, 0, 4, 5), 0);
    pool_end(&p);
}

/* After a read that was served in full nothing can be filled, whatever the miss held before. */
static void test_no_miss_no_fill(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 1, 5), 0);
    cm_miss m = miss_of(f, 2 * BLK, BLK);
    CHECK_EQ(cm_read(f, BLK, data, BLK, &m), BLK);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(cm_fill(f, &m, data, 0, 0), CM_EFOREIGN);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_EFOREIGN);
    pool_end(&p);
}

/* Many single blocks at once, all verified: each is served, says its version, and is counted once.
 * A read of nothing is no hit. */
static void test_read_many_known(void)
{
    struct pool p;
    cm_read_vec v[40];
    cm_miss m[40];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 40, 5), 40);
    CHECK_EQ(hits(f, 0, 40, 5), 40); /* from here on their slots are verified */
    const int64_t before = STAT(p.c, hit_blocks), bytes = STAT(p.c, hit_bytes);
    memset(m, 0xee, sizeof(m));
    for (unsigned i = 0; i < 40; i++)
        v[i] = (cm_read_vec){
            .offset = i * BLK, .buf = data + i * BLK, .len = BLK, .result = -1, .miss = &m[i]
        };
    CHECK_EQ(cm_read_many(f, v, 40), 40);
    for (unsigned i = 0; i < 40; i++) {
        CASE("i %u", i);
        CHECK_EQ(v[i].result, BLK);
        CHECK(is_content(5, i, data + i * BLK, BLK));
        CHECK(m[i].offset == (i + 1) * BLK && m[i].len == 0 && m[i].flags == 0);
        CHECK(v[i].incarnation == info_of(f).incarnation);
        CHECK(m[i].incarnation == info_of(f).incarnation);
    }
    CHECK_EQ(STAT(p.c, hit_blocks), before + 40);
    CHECK_EQ(STAT(p.c, hit_bytes), bytes + (int64_t)(40 * BLK));
    CHECK_EQ(cm_read(f, BLK, data, 0, m), 0);
    CHECK(m[0].offset == BLK && m[0].len == 0);
    CHECK_EQ(STAT(p.c, hit_blocks), before + 40);
    pool_end(&p);
}

/* ---- Sequences ------------------------------------------------------------------------------- */

/* The sequence survives invalidation, and grows with every life of a slot. */
static void test_sequence(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, cm_pool_size_min());
    uint64_t lives[64] = { 0 };
    CHECK_EQ(put(f, 0, 5), 0);
    for (unsigned i = 0; i < 400; i++) {
        CASE("i %u", i);
        uint64_t slot = slot_of(f, 0), seq = header_of(p.c, slot)->w0 & CM_W0_SEQ_MASK;
        CHECK(seq > lives[slot]);
        lives[slot] = seq;
        CHECK_EQ(cm_invalidate(f, 0, 1), 0);
        CHECK_EQ(header_of(p.c, slot)->w0, seq); /* only the sequence */
        CHECK_EQ(put(f, 0, 5), 0);
    }
    pool_end(&p);
}

/* Of two blocks that a write forgets together only the first one is cached. */
static void test_first_of_two(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    const uint64_t *cell = cell_to(f, 0);
    cm_bracket w = begin_write(f, 0, 2 * BLK);
    CHECK_EQ(*cell, 0); /* its header is durably invalid */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* A tail of a byte or two is stored, too. */
static void test_short_tails(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    for (unsigned n = 1; n < 4; n++) {
        CHECK_EQ(put_tail(f, 10 * n, n, 5), 0);
        CHECK_EQ(cm_read(f, 10 * n * BLK, buf, BLK, NULL), n);
        CHECK(is_content(5, 10 * n, buf, n));
    }
    pool_end(&p);
}

/* A miss has tickets for eight groups, whatever it is asked for. */
static void test_tickets(void)
{
    struct pool p;
    cm_miss m = CM_MISS_INIT;
    cm_file *f = open_pool_and_file(&p, MIB);
    const uint64_t incarnation = info_of(f).incarnation;
    for (uint64_t first = 0; first < 2 * GROUP; first += GROUP / 2 + 1)
        CHECK_EQ(cm_ticket_take(cm_object_of(f), incarnation, first, 10000, &m),
                 (first / GROUP + CM_MISS_STRIPES) * GROUP - first);
    CHECK_EQ(cm_ticket_take(cm_object_of(f), incarnation, 5, 7, &m), 7);
    CHECK_EQ(m.flags & CM_MISS_NOFILL, 0);
    (void)cm_ticket_take(cm_object_of(f), incarnation + 1, 5, 7, &m);
    CHECK(m.flags & CM_MISS_NOFILL);
    m = (cm_miss)CM_MISS_INIT;
    cm_ticket_take_block(cm_object_of(f), incarnation, 0, &m);
    CHECK_EQ(m.flags & CM_MISS_NOFILL, 0);
    cm_ticket_take_block(cm_object_of(f), incarnation + 1, 0, &m);
    CHECK(m.flags & CM_MISS_NOFILL);
    m = (cm_miss)CM_MISS_INIT; /* nothing is cached under the number 0 */
    at_store_relaxed(&cm_object_of(f)->incarnation, UINT64_C(0));
    (void)cm_ticket_take(cm_object_of(f), 0, 5, 7, &m);
    CHECK(m.flags & CM_MISS_NOFILL);
    at_store_relaxed(&cm_object_of(f)->incarnation, incarnation);
    pool_end(&p);
}

static const struct harness_test block_tests[] = {
    TEST(fill_after_write),
    TEST(tickets),
    TEST(short_tails),
    TEST(first_of_two),
    TEST(fill_during_write),
    TEST(every_change),
    TEST(fill_beside_write),
    TEST(write_forgets),
    TEST(other_boot),
    TEST(forget_all_matches),
    TEST(overlapping_brackets),
    TEST(large_bracket),
    TEST(large_bracket_behind),
    TEST(large_bracket_meets_fill),
    TEST(huge_bracket),
    TEST(bracket_over_new_incarnation),
    TEST(miss_shape),
    TEST(no_ticket),
    TEST(miss_cut),
    TEST(partly_stale),
    TEST(last_block),
    TEST(bad_tickets),
    TEST(ticket_of_old_attachment),
    TEST(tails),
    TEST(fill_eof),
    TEST(present),
    TEST(nothing_given),
    TEST(no_miss_no_fill),
    TEST(read_many_known),
    TEST(sequence),
    TEST_END,
};

static const struct harness_test *const tables[] = { block_tests,           block_damage_tests,
                                                     block_elsewhere_tests, block_guess_tests,
                                                     block_media_tests,     block_slot_tests,
                                                     block_trouble_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
