/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block.c - lookups, misses and fills: only what was read after its miss and before any write
 * is stored, only what its checks vouch for is served, and garbage in the pool is never more than
 * a miss.
 */
#include "fixture.h"

#ifndef _WIN32
#include <signal.h>
#include <sys/time.h>
#endif

#include "../os.h"
#include "../plat_create.h"
#include "state/file.h"
#include "state/policy_sample.h"

static uint8_t data[16 * MIB];

static void make_data(uint64_t tag, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        content(tag, first + i, data + i * BLK);
}

static int fill(cm_file *f, const cm_miss *m, uint64_t tag, uint64_t len, uint32_t flags)
{
    make_data(tag, m->offset / BLK, (len + BLK - 1) / BLK);
    return cm_fill(f, m, data, (size_t)len, flags);
}

static cm_file *open_pool_and_file(struct pool *p, uint64_t bytes)
{
    (void)pool_new(p, bytes);
    return attach(p, 1, CM_BLOCK_MAX / 2, 1, CM_SOLE_WRITER);
}

/* ---- Fills against writes -------------------------------------------------------------------- */

/* Read from the origin before a write, offered during or after it: refused. */
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

/* A miss inside a bracket is no right to fill, not even after its end. */
static void test_fill_during_write(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    cm_miss m = miss_of(f, 3 * BLK, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    m.flags = 0; /* a caller that does not look */
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

/* A bracket forgets its blocks, each block it touches, and no other. */
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
    w = begin_write(f, 8 * BLK, BLK); /* exactly one */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(hits(f, 8, 12, 5), 11);
    pool_end(&p);
}

/* Forgotten means gone from the media, for every slot that could be found. */
static void test_forget_all_matches(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    struct cm_key k = key_of(f, 0);
    uint64_t s = slot_of(f, 0), twin = 200; /* a second copy, as only a damaged pool has it */
    *header_of(p.c, twin) = *header_of(p.c, s);
    header_of(p.c, twin)->w0 = cm_format_w0(p.c->media.check_key, twin, header_of(p.c, twin), 9);
    *cell_of(p.c, k.place.bucket[1], 7) = cm_cell_make(k.place.tag, twin);
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

/* More than 64 MiB: not block by block but by a new incarnation, and as sure. */
static void test_large_bracket(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    CHECK_EQ(put_all(f, 20000, 10, 5), 10);
    uint64_t inc = info_of(f).incarnation;
    cm_bracket w = begin_write(f, 5 * BLK, 64 * MIB); /* the most that goes by stripes */
    CHECK_EQ(info_of(f).incarnation, inc);
    CHECK_EQ(hits(f, 0, 10, 5), 5);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put_all(f, 5, 5, 5), 5);
    w = begin_write(f, 5 * BLK, 64 * MIB + 1);
    CHECK(info_of(f).incarnation > inc);
    CHECK_EQ(hits(f, 0, 10, 5), 0);
    CHECK_EQ(hits(f, 20000, 10, 5), 0);
    CHECK_EQ(put(f, 2, 5), CM_NOT_STORED_STALE); /* its stripes know of no bracket, the file does */
    cm_miss m = miss_of(f, 100 * MIB, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    m.flags = 0; /* a caller that does not look */
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(put_all(f, 0, 10, 6), 10);
    pool_end(&p);
}

/* A small bracket that was open when the incarnation changed still keeps fills out. */
static void test_bracket_over_new_incarnation(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    cm_bracket small = begin_write(f, 3 * BLK, BLK), large = begin_write(f, 0, 65 * MIB);
    CHECK(cm_write_end(f, &large, NULL) >= 0);
    CHECK_EQ(put(f, 3, 5), CM_NOT_STORED_STALE);
    CHECK(miss_of(f, 3 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK(cm_write_end(f, &small, NULL) >= 0);
    CHECK_EQ(put(f, 3, 5), 0);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++)
        CHECK_EQ(p.c->stripes[s].intents, 0);
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
    CHECK_EQ(m.len, 2 * BLK); /* up to what is cached */
    CHECK_EQ(cm_read(f, 2 * BLK, buf, BLK, &m), BLK);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(cm_read(f, 2 * BLK, buf, 0, &m), 0);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(m.flags, 0);
    pool_end(&p);
}

/* A miss covers at most eight groups, and a fill of all of them is stored. */
static void test_miss_cut(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    CHECK(p.c->media.geo.stripes > 1);
    for (uint64_t first = 0; first < 64; first += 21) {
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

/* One group of a long run was written: that group's blocks are refused, the others stored. */
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
        bool same = key_of(f, g * GROUP).stripe == key_of(f, 3 * GROUP).stripe;
        CHECK_EQ(hits(f, g * GROUP, GROUP, 5), same ? 0 : GROUP);
    }
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
    CHECK_EQ(fill(f, &m, 5, BLK + 1, 0), CM_EINVAL); /* ends in a block, not the file */
    CHECK_EQ(fill(g, &m, 5, BLK, 0), CM_EFOREIGN);
    CHECK_EQ(fill(f, &m, 5, BLK, 2), CM_EINVAL);
    bad = m;
    bad.offset += 1;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    bad = m;
    bad.len = 9 * GROUP * BLK;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET); /* more groups than it has tickets for */
    bad = m;
    bad.offset = UINT64_MAX - BLK + 1;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    bad = m;
    bad.len = UINT64_MAX;
    CHECK_EQ(fill(f, &bad, 5, BLK, 0), CM_ETICKET);
    memset(&bad, 0, sizeof(bad));
    CHECK(fill(f, &bad, 5, 0, 0) < 0);
    CHECK_EQ(look(f, 10, 5), MISS);
    CHECK_EQ(fill(f, &m, 5, BLK, 0), 0); /* less than the miss is fine */
    CHECK_EQ(hits(f, 10, 2, 5), 1);
    CHECK_EQ(fill(f, &m, 5, 0, 0), 0);
    pool_end(&p);
}

/* A miss of an earlier attachment of the same file is foreign to the next one. */
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
    CHECK_EQ(look(f, 4, 5), SHORT);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, &m), 1000);
    CHECK_EQ(m.offset, 4 * BLK); /* bytes past the tail are a miss, never zeros */
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(cm_read(f, 4 * BLK + 990, buf, 20, &m), 10);
    CHECK_EQ(cm_read(f, 4 * BLK + 1000, buf, 20, &m), 0);
    CHECK_EQ(put_tail(f, 4, 999, 6), CM_NOT_STORED_PRESENT); /* shorter, or as long: kept */
    CHECK_EQ(put_tail(f, 4, 1000, 6), CM_NOT_STORED_PRESENT);
    CHECK_EQ(look(f, 4, 5), SHORT);
    CHECK_EQ(put_tail(f, 4, 1001, 6), 0); /* longer: replaced, by the full protocol */
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

/* ---- Damage ---------------------------------------------------------------------------------- */

/* One flipped bit of the payload, with each verify policy. */
static void check_flipped_payload(uint32_t verify, bool hit_before, bool caught)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.verify = verify;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    if (hit_before)
        CHECK_EQ(look(f, 1, 5), RIGHT);
    uint64_t slot = slot_of(f, 1);
    payload_of(p.c, slot)[4095] ^= 0x80;
    CHECK_EQ(look(f, 1, 5), caught ? MISS : WRONG);
    CHECK_EQ(STAT(p.c, miss_checksum), caught);
    CHECK_EQ(slot_ok(p.c, slot), !caught); /* dropped, and stays dropped */
    CHECK_EQ(look(f, 0, 5), RIGHT);
    if (caught) {
        CHECK_EQ(look(f, 1, 5), MISS);
        CHECK_EQ(STAT(p.c, miss_checksum), 1);
        CHECK_EQ(put(f, 1, 5), 0);
        CHECK_EQ(look(f, 1, 5), RIGHT);
    }
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static void test_flipped_payload(void)
{
    check_flipped_payload(CM_VERIFY_FIRST_HIT, false, true);
    check_flipped_payload(CM_VERIFY_FIRST_HIT, true, false);
    check_flipped_payload(CM_VERIFY_ALWAYS, false, true);
    check_flipped_payload(CM_VERIFY_ALWAYS, true, true);
    check_flipped_payload(CM_VERIFY_NEVER, false, false);
    check_flipped_payload(CM_VERIFY_NEVER, true, false);
}

/* "First hit" is the first of each session: also what was verified before a reopen. */
static void test_first_hit_of_session(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    uint64_t slot = slot_of(f, 0);
    pool_again(&p);
    payload_of(p.c, slot)[17] ^= 4;
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 0, 5), MISS);
    pool_end(&p);
}

/* Verified through a part of the block only: damage outside the part is found all the same. */
static void test_partial_read_verifies(void)
{
    struct pool p;
    uint8_t buf[10];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    payload_of(p.c, slot_of(f, 0))[4000] ^= 1;
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 0);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    pool_end(&p);
}

/* Any flipped bit of a header: a miss, or (an invalid header) what it was before. */
static void test_flipped_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    uint64_t slot = slot_of(f, 1);
    uint8_t *h = (uint8_t *)header_of(p.c, slot);
    for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
        p.c->policy.ring.ref[slot] = 0; /* as after an open: not judged yet */
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), MISS);
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), RIGHT);
    }
    pool_end(&p);
}

/* The words of a header that was judged before: whatever decides which bytes are served counts, bit
 * by bit; only the sequence, the check and the sum need not be looked at again. */
static void flip_known_header(cm_guard_take_fn take)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    p.c->media.take = take;
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    for (uint64_t block = 1; block <= 4; block += 3) {
        const int good = block == 4 ? SHORT : RIGHT;
        uint8_t *h = (uint8_t *)header_of(p.c, slot_of(f, block));
        for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
            CHECK_EQ(look(f, block, 5), good); /* judged */
            h[bit / 8] ^= (uint8_t)(1u << bit % 8);
            const bool key = bit == 31 || (bit >= 64 && bit < 192);
            int seen = look(f, block, 5);
            CHECK(seen == MISS || (seen == RIGHT && !key && good == RIGHT));
            h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    pool_end(&p);
}

/* Parts of blocks about as long as what a routine for long ones takes, up to the last byte. */
static void test_taken_parts(void)
{
    static const uint32_t lengths[] = { 1535, 1536, 1537, 2047, 2048, 4095, 4096 };
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE + 1], want[CM_BLOCK_SIZE];
    if (cm_guard_take_any() == NULL)
        SKIP("here copies are made in steps");
    cm_file *f = open_pool_and_file(&p, MIB);
    p.c->media.take = cm_guard_take_any();
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(hits(f, 0, 3, 5), 3);
    content(5, 1, want);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const uint32_t n = lengths[i], from = CM_BLOCK_SIZE - n;
        memset(buf, 0xee, sizeof(buf));
        CHECK_EQ(cm_read(f, BLK, buf, n, NULL), n);
        CHECK(memcmp(buf, want, n) == 0 && buf[n] == 0xee);
        memset(buf, 0xee, sizeof(buf));
        CHECK_EQ(cm_read(f, BLK + from, buf, n, NULL), n);
        CHECK(memcmp(buf, want + from, n) == 0 && buf[n] == 0xee);
    }
    pool_end(&p);
}

/* Copied in steps, and by one routine, which not every CPU takes by itself. */
static void test_flipped_known_header(void)
{
    flip_known_header(NULL);
    if (cm_guard_take_any() != NULL)
        flip_known_header(cm_guard_take_any());
}

/* A new epoch outdates every header, also those that were judged before. */
static void test_epoch_outdates_judged(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    CHECK_EQ(hits(f, 0, 5, 5), 5);
    CHECK_EQ(cm_super_bump_epoch(&p.c->super, &p.c->broken), 0);
    CHECK_EQ(hits(f, 0, 5, 5), 0);
    CHECK_EQ(put_all(f, 0, 5, 6), 5);
    CHECK_EQ(hits(f, 0, 5, 6), 5);
    CHECK_EQ(hits(f, 0, 5, 6), 5);
    pool_end(&p);
}

static void test_flipped_dead_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 1, 5), 0);
    uint64_t *cell = cell_to(f, 1), was = *cell;
    uint8_t *h = (uint8_t *)header_of(p.c, slot_of(f, 1));
    CHECK_EQ(cm_invalidate(f, BLK, 1), 0);
    *cell = was; /* a cell that came back after a crash */
    for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), MISS);
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    pool_end(&p);
}

/* The media bring back the header of a slot that waits to be filled: readers may believe it, so its
 * payload is not overwritten. */
static void test_valid_in_owned_slot(void)
{
    struct pool p;
    struct cm_header h;
    uint64_t before = 0;
    cm_file *f = open_pool_and_file(&p, MIB);
    struct cm_ring *r = &p.c->policy.ring;
    for (; r->frontier < r->slots || r->free_count > 0; before++)
        CHECK_EQ(put(f, before, 5), 0);
    uint8_t *image = malloc((size_t)p.c->media.geo.slot_offset);
    REQUIRE(image != NULL);
    memcpy(image, p.base, (size_t)p.c->media.geo.slot_offset);
    CHECK_EQ(put(f, before, 5), 0); /* evicts ahead: some slots wait now */
    REQUIRE(r->free_count > 0);
    uint64_t slot = r->free[r->free_count - 1];
    const uint64_t at = p.c->media.geo.header_offset + slot * sizeof(h);
    memcpy(&h, image + at, sizeof(h));
    memcpy(header_of(p.c, slot), &h, sizeof(h)); /* an old one: its fence had lied */
    const uint64_t block = cm_header_block(&h);
    CHECK(is_content(5, block, payload_of(p.c, slot), BLK));
    CHECK_EQ(put(f, before + 1, 5), CM_NOT_STORED_MEDIA);
    CHECK(is_content(5, block, payload_of(p.c, slot), BLK));
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK_EQ(put(f, before + 2, 5), 0);
    CHECK(slot_of(f, before + 2) != slot);
    free(image);
    pool_end(&p);
}

/* What came for the first time is on probation, and nobody read it ahead of need; its first hit
 * counts, in a pool too large for every block to be in the sample, too. */
static void test_first_hit_counts(void)
{
    struct pool p;
    unsigned unsampled = 0;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    for (uint64_t b = 0; b < 64 * GROUP; b += GROUP) {
        CHECK_EQ(put(f, b, 5), 0);
        uint64_t slot = slot_of(f, b);
        CHECK_EQ(p.c->policy.ring.ref[slot] & CM_REF_AHEAD, CM_REF_PROBATION);
        CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot), 0);
        memset(cm_plat_thread()->recent, 0, sizeof(cm_plat_thread()->recent));
        CHECK_EQ(look(f, b, 5), RIGHT);
        CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot), 1);
        unsampled += !cm_sample_has(p.c, cm_object_of(f)->incarnation, b);
    }
    CHECK(unsampled > 0);
    pool_end(&p);
}

/* Of what is evicted the ghost remembers what came for the first time, and not what was known. */
static void test_victims_remembered(void)
{
    struct pool p;
    uint64_t n = 0, far = 1000000;
    pool_make(&p, 4 * MIB, 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES;
         i++) { /* the same in every run: fingerprints collide */
        super_at(&p, i)->hash_seed = 1;
        super_seal(super_at(&p, i));
    }
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    struct cm_ring *r = &p.c->policy.ring;
    for (; r->frontier < r->slots || r->free_count > 0; n++)
        CHECK_EQ(put(f, n, 5), 0);
    for (unsigned round = 0; round < 8; round++) {
        const bool known = round % 2;
        for (uint64_t s = 0; s < r->slots; s++)
            if (!cm_ring_is_owned(r, s))
                cm_ring_set(r, s, CM_REF_MAX | CM_REF_KNOWN);
        while (r->free_count > 0)
            CHECK_EQ(put(f, far++, 5), 0);
        uint64_t block = 10 + 100 * round;
        while (block < n && slot_of(f, block) == CM_NO_SLOT)
            block++;
        const uint64_t slot = slot_of(f, block);
        REQUIRE(slot != CM_NO_SLOT);
        cm_ring_set(r, slot, known ? CM_REF_KNOWN : 0);
        r->hand = slot;
        CHECK_EQ(put(f, far++, 5), 0);
        CHECK_EQ(slot_of(f, block), CM_NO_SLOT);
        CHECK_EQ(cm_ghost_has(&p.c->policy.ghost, key_of(f, block).place.hash), !known);
    }
    pool_end(&p);
}

/* A read that was served in full leaves nothing that could be filled, whatever was in the miss. */
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

/* A header that says another block, with everything right: not the block that is asked for. */
static void test_other_key(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    struct cm_key k = key_of(f, 0);
    *cell_to(f, 0) = cm_cell_make(k.place.tag, slot_of(f, 1));
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(look(f, 1, 5), RIGHT);
    pool_end(&p);
}

/* Stale cells, cells that name no slot, whole buckets of garbage: misses, and fills still work. */
static void test_garbage_cells(void)
{
    struct pool p;
    uint64_t rng = 8;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_geometry *g = &p.c->media.geo;
    for (unsigned round = 0; round < 5; round++) {
        for (uint64_t b = 0; b < g->stripes * g->stripe_buckets; b++)
            for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
                uint64_t r = next_random(&rng), *cell = cell_of(p.c, b, i);
                if (round == 0)
                    *cell = r; /* slots that do not exist */
                else if (round == 1)
                    *cell = cm_cell_make(cm_cell_tag(r), r % g->slots);
                else if (round == 2)
                    *cell = UINT64_MAX;
                else if (round == 3)
                    *cell = cm_cell_tag(r); /* slot field zero */
                else
                    *cell = cm_cell_tag(r) | (g->slots + 1); /* one too far */
            }
        for (uint64_t block = 0; block < 100; block++)
            CHECK(look(f, block, 5) == MISS);
        unsigned stored = put_all(f, 0, 100, 5);
        CHECK(stored >= 95);
        CHECK_EQ(hits(f, 0, 100, 5), stored);
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        CHECK_EQ(hits(f, 0, 100, 5), 0);
        CHECK_EQ(slots_astray(p.c), 0);
    }
    pool_end(&p);
}

/* Cells with the key's own tag that lead astray, inside the pool or far outside of it, do not hide
 * the right one. */
static void test_same_tag_cells(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_key k = key_of(f, 50);
    uint64_t right = cm_cell_make(k.place.tag, slot_of(f, 50));
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        uint64_t far = p.c->media.geo.slots + i * UINT64_C(0x123456789);
        *cell_of(p.c, k.place.bucket[i / 8], i % 8) =
            cm_cell_make(k.place.tag, i % 2 ? far : 100 + i);
    }
    CHECK_EQ(look(f, 50, 5), MISS);
    *cell_of(p.c, k.place.bucket[1], 7) = right;
    CHECK_EQ(look(f, 50, 5), RIGHT);
    cm_bracket w = begin_write(f, 50 * BLK, 1);
    CHECK_EQ(look(f, 50, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Bytes are copied before it is known whose they are. What turns out to be another block's, or lies
 * behind a tail, does not stay in the caller's buffer. */
static void test_nothing_leaks(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE], zero[CM_BLOCK_SIZE] = { 0 };
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_key k = key_of(f, 200);
    *cell_of(p.c, k.place.bucket[0], 7) = cm_cell_make(k.place.tag, slot_of(f, 50));
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 200 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    /* A payload that changed under a header that did not: nobody's either. */
    payload_of(p.c, slot_of(f, 60))[9] ^= 1;
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 60 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    /* A slot that was judged before, and then holds another block. */
    *cell_of(p.c, k.place.bucket[0], 7) = cm_cell_make(k.place.tag, slot_of(f, 70));
    CHECK_EQ(look(f, 70, 5), RIGHT);
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 200 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    pool_end(&p);
}

/* All headers garbage: no hit, and the slots can be used. */
static void test_garbage_headers(void)
{
    struct pool p;
    uint64_t rng = 12;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    pool_again(&p);
    uint64_t *w = (uint64_t *)(void *)header_of(p.c, 0);
    for (uint64_t i = 0; i < p.c->media.geo.slots * 4; i++)
        w[i] = next_random(&rng);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(hits(f, 0, 200, 5), 0);
    CHECK(put_all(f, 0, 200, 5) >= 198);
    CHECK(hits(f, 0, 200, 5) >= 198);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* ---- Flushes that fail ----------------------------------------------------------------------- */

static const struct cm_persist_ops *whole_ops;
static const struct cm_media *flushed_media;

static int flush_no_cell(void *ctx, const void *p, size_t n)
{
    const uint8_t *index = flushed_media->base + flushed_media->geo.index_offset;
    const uint8_t *headers = flushed_media->base + flushed_media->geo.header_offset;
    if ((const uint8_t *)p >= index && (const uint8_t *)p < headers)
        return CM_EIO;
    return whole_ops->flush(ctx, p, n);
}

/* How often each header was flushed. */
static unsigned header_flushes[4096];

static int flush_counted(void *ctx, const void *p, size_t n)
{
    const uint8_t *headers = flushed_media->base + flushed_media->geo.header_offset;
    for (uint64_t s = 0; s < flushed_media->geo.slots; s++) {
        const uint8_t *h = headers + s * sizeof(struct cm_header);
        header_flushes[s] += h >= (const uint8_t *)p && h < (const uint8_t *)p + n;
    }
    return whole_ops->flush(ctx, p, n);
}

/* Blocks that are stored together: every header is flushed with its key words, and again with
 * VALID; and those of the victims once before. */
static void test_neighbours_flushed(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    const uint64_t slots = p.c->media.geo.slots;
    whole_ops = p.c->media.ops;
    flushed_media = &p.c->media;
    ops.flush = flush_counted;
    CHECK(slots <= sizeof(header_flushes) / sizeof(header_flushes[0]));
    for (uint64_t b = 0; b < 2 * slots; b += 16) { /* a turn without victims, and one with */
        memset(header_flushes, 0, sizeof(header_flushes));
        p.c->media.ops = &ops;
        cm_miss m = miss_of(f, b * BLK, 16 * BLK);
        CHECK_EQ(fill(f, &m, 5, m.len, 0), 0);
        p.c->media.ops = whole_ops;
        for (uint64_t i = b; i < b + 16; i++)
            if (look(f, i, 5) == RIGHT)
                CHECK(header_flushes[slot_of(f, i)] >= 2);
    }
    pool_end(&p);
}

/* Headers that lie apart are flushed one by one, neighbours together, and nothing between them. */
static void test_only_those_flushed(void)
{
    static const uint64_t slots[] = { 1, 100, 101, 102, 7, 6, 40, 42 };
    struct pool p;
    (void)open_pool_and_file(&p, 4 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    unsigned all = 0;
    whole_ops = p.c->media.ops;
    flushed_media = &p.c->media;
    ops.flush = flush_counted;
    memset(header_flushes, 0, sizeof(header_flushes));
    p.c->media.ops = &ops;
    CHECK_EQ(cm_slot_flush_all(&p.c->media, slots, 8), 0);
    p.c->media.ops = whole_ops;
    for (uint64_t s = 0; s < p.c->media.geo.slots; s++)
        all += header_flushes[s];
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(header_flushes[slots[i]], 1);
    CHECK_EQ(all, 8);
    pool_end(&p);
}

/* A block whose cell cannot be flushed is not stored: it is taken back, and no slot is lost. */
static void test_unflushable_cell(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    flushed_media = &p.c->media;
    whole_ops = p.c->media.ops;
    struct cm_persist_ops ops = *whole_ops;
    ops.flush = flush_no_cell;
    p.c->media.ops = &ops;
    for (uint64_t b = 0; b < 100; b++)
        CHECK_EQ(put(f, b, 5), CM_NOT_STORED_MEDIA);
    CHECK_EQ(hits(f, 0, 100, 5), 0);
    CHECK_EQ(STAT(p.c, quarantined), 0);
    p.c->media.ops = whole_ops;
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    CHECK_EQ(hits(f, 0, 100, 5), 100);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

static struct cm_cache *locked_cache;
static uint64_t stores_seen, stores_unlocked, locks_too_many;

static void expect_locked(uint64_t stripe)
{
    unsigned held = 0;
    for (uint64_t s = 0; s < locked_cache->media.geo.stripes; s++)
        held += at_load_relaxed(&cm_stripe_at(locked_cache, s)->lock.word) != 0;
    stores_seen++;
    locks_too_many += held > 1;
    stores_unlocked += at_load_relaxed(&cm_stripe_at(locked_cache, stripe)->lock.word) == 0;
}

/* Cells are stored under the lock of their stripe, and headers become valid, and invalid, under
 * that of their key. */
static void expect_lock_for(const uint64_t *p, uint64_t was, uint64_t next)
{
    const struct cm_media *m = &locked_cache->media;
    const uint8_t *at = (const uint8_t *)p, *index = m->base + m->geo.index_offset;
    const uint8_t *headers = m->base + m->geo.header_offset;
    const uint8_t *end = headers + m->geo.slots * sizeof(struct cm_header);
    if (at >= index && at < headers) {
        uint64_t bucket = (uint64_t)(at - index) / sizeof(struct cm_bucket);
        if (bucket < m->geo.stripes * m->geo.stripe_buckets)
            expect_locked(bucket / m->geo.stripe_buckets);
    } else if (at >= headers && at < end && ((was | next) & CM_W0_VALID)) {
        const struct cm_header *h = (const struct cm_header *)(const void *)p; /* w0 is its first */
        expect_locked(cm_key_stripe(m, h->incarnation, cm_header_block(h)));
    }
}

static int store_locked(void *ctx, uint64_t *p, uint64_t v)
{
    expect_lock_for(p, 0, v);
    return whole_ops->store64(ctx, p, v);
}

static int cas_locked(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    expect_lock_for(p, expected, desired);
    return whole_ops->cas64(ctx, p, expected, desired);
}

/* Runs of blocks that end in one stripe and begin in another, and evict others like them. */
static void test_stores_locked(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    struct cm_persist_ops ops = *p.c->media.ops;
    const uint64_t slots = p.c->media.geo.slots;
    CHECK(p.c->media.geo.stripes >= 2);
    locked_cache = p.c;
    stores_seen = stores_unlocked = locks_too_many = 0;
    whole_ops = p.c->media.ops;
    ops.store64 = store_locked;
    ops.cas64 = cas_locked;
    p.c->media.ops = &ops;
    for (uint64_t b = 7; b < 3 * slots; b += 32) {
        cm_miss m = miss_of(f, b * BLK, 32 * BLK);
        CHECK_EQ(fill(f, &m, 5, m.len, 0), 0);
    }
    for (uint64_t b = 2 * slots; b < 3 * slots; b += 48) {
        cm_bracket w = begin_write(f, b * BLK, 48 * BLK);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
    }
    p.c->media.ops = whole_ops;
    CHECK(stores_seen > 9 * slots); /* two a block, and two when it is evicted */
    CHECK_EQ(stores_unlocked, 0);
    CHECK_EQ(locks_too_many, 0);
    pool_end(&p);
}

static int cas_fails(void *ctx, uint64_t *word, uint64_t expected, uint64_t desired)
{
    (void)ctx, (void)word, (void)expected, (void)desired;
    return CM_EIO;
}

/* A shorter tail whose header cannot be written does not make room: it is still there. */
static void test_displace_unwritable(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    uint64_t slot = slot_of(f, 4);
    struct cm_media *m = &p.c->media;
    struct cm_persist_ops ops = *m->ops;
    whole_ops = m->ops;
    ops.cas64 = cas_fails;
    cm_miss miss = miss_of(f, 4 * BLK, BLK);
    content(6, 4, buf);
    m->ops = &ops;
    CHECK_EQ(cm_fill(f, &miss, buf, BLK, 0), CM_NOT_STORED_BUSY);
    m->ops = whole_ops;
    CHECK_EQ(slot_of(f, 4), slot);
    CHECK_EQ(STAT(p.c, displaced), 0);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK_EQ(cm_read(f, 4 * BLK, buf, BLK, NULL), 1000);
    CHECK(is_content(5, 4, buf, 1000));
    pool_end(&p);
}

/* What another owns is not judged: whoever finds it wrong or unreadable leaves it to its owner. */
static void test_owned_is_left_alone(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    uint64_t wrong = slot_of(f, 0), lost = slot_of(f, 1);
    CHECK(cm_ring_own(&p.c->policy.ring, wrong) && cm_ring_own(&p.c->policy.ring, lost));
    payload_of(p.c, wrong)[100] ^= 1;
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(slot_of(f, 0), wrong);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, wrong));
    if (cm_guard_available()) {
        os_protect(payload_of(p.c, lost), BLK, OS_NOTHING);
        CHECK_EQ(look(f, 1, 5), MISS);
        os_protect(payload_of(p.c, lost), BLK, OS_WRITE);
        CHECK_EQ(STAT(p.c, quarantined), 0);
        CHECK_EQ(slot_of(f, 1), lost);
    }
    cm_ring_disown(&p.c->policy.ring, wrong);
    cm_ring_disown(&p.c->policy.ring, lost);
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(slot_of(f, 0), CM_NO_SLOT); /* now it is dropped */
    CHECK_EQ(look(f, 1, 5), RIGHT);
    pool_end(&p);
}

/* Many single blocks at once, all known: each is served, and counted once. */
static void test_read_many_known(void)
{
    struct pool p;
    cm_read_vec v[40];
    cm_miss m[40];
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 40, 5), 40);
    CHECK_EQ(hits(f, 0, 40, 5), 40); /* judged, from here on */
    int64_t before = STAT(p.c, hit_blocks);
    memset(m, 0xee, sizeof(m));
    for (unsigned i = 0; i < 40; i++)
        v[i] = (cm_read_vec){
            .offset = i * BLK, .buf = data + i * BLK, .len = BLK, .result = -1, .miss = &m[i]
        };
    CHECK_EQ(cm_read_many(f, v, 40), 40);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_EQ(v[i].result, BLK);
        CHECK(is_content(5, i, data + i * BLK, BLK));
        CHECK(m[i].offset == (i + 1) * BLK && m[i].len == 0 && m[i].flags == 0);
    }
    CHECK_EQ(STAT(p.c, hit_blocks), before + 40);
    pool_end(&p);
}

/* ---- Unreadable memory ----------------------------------------------------------------------- */

static void forbid(void *p, bool forbidden)
{
    os_protect(p, BLK, forbidden ? OS_NOTHING : OS_WRITE);
}

/* A payload page that cannot be read: a miss, counted; the slot is out of use. */
static void test_unreadable_payload(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    uint64_t slot = slot_of(f, 2);
    forbid(payload_of(p.c, slot), true);
    CHECK_EQ(look(f, 2, 5), MISS);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(hits(f, 0, 2, 5), 2);
    /* Writing it is still possible: the header is readable. */
    cm_bracket w = begin_write(f, 2 * BLK, BLK);
    CHECK(!slot_ok(p.c, slot));
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(payload_of(p.c, slot), false);
    CHECK_EQ(look(f, 2, 5), MISS);
    CHECK_EQ(put(f, 2, 6), 0);
    CHECK(slot_of(f, 2) != slot);
    pool_end(&p);
}

/* A slot that cannot be written: the fill is refused, the next one goes elsewhere. */
static void test_unwritable_payload(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    forbid(payload_of(p.c, 0), true);
    forbid(payload_of(p.c, 1), true);
    unsigned stored = put_all(f, 0, 100, 5);
    CHECK_EQ(stored, 98);
    CHECK_EQ(STAT(p.c, refused_media), 2);
    CHECK_EQ(STAT(p.c, quarantined), 2);
    CHECK_EQ(hits(f, 0, 100, 5), 98);
    forbid(payload_of(p.c, 0), false);
    forbid(payload_of(p.c, 1), false);
    pool_end(&p);
}

/* A header page that cannot be read may hold the block: a write forgets the whole file. */
static void test_unreadable_header(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    uint64_t hidden = 0;
    uint8_t *page = (uint8_t *)header_of(p.c, 0);
    CHECK_EQ((uintptr_t)page % BLK, 0);
    while ((uint8_t *)header_of(p.c, slot_of(f, hidden)) >= page + BLK)
        hidden++;
    uint64_t inc = info_of(f).incarnation;
    forbid(page, true);
    CHECK_EQ(look(f, hidden, 5), MISS);
    CHECK(STAT(p.c, miss_media) >= 1);
    cm_bracket w = begin_write(f, hidden * BLK, BLK);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(page, false);
    CHECK_EQ(hits(f, 0, 200, 5), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    pool_end(&p);
}

/* A cell that leads to a header which cannot be read is not used again: once the page reads again
 * the header may be valid, and without its cell no write would find it. */
static void test_cells_of_unreadable_headers(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200); /* the next fill takes a slot of another page */
    struct cm_key k = key_of(f, 500);
    uint64_t cell = cm_cell_make(k.place.tag ^ (UINT64_C(1) << 63), 3);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        *cell_of(p.c, k.place.bucket[i / 8], i % 8) = cell;
    forbid(header_of(p.c, 0), true);
    CHECK_EQ(put(f, 500, 5), CM_NOT_STORED_FULL);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        CHECK(*cell_of(p.c, k.place.bucket[i / 8], i % 8) == cell);
    forbid(header_of(p.c, 0), false);
    pool_end(&p);
}

/* An index page that cannot be read: misses, refused fills, and writes that escalate. */
static void test_unreadable_index(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 50, 5), 50);
    uint64_t inc = info_of(f).incarnation;
    forbid(cell_of(p.c, 0, 0), true);
    CHECK_EQ(hits(f, 0, 50, 5), 0);
    CHECK_EQ(STAT(p.c, miss_media), 50);
    CHECK_EQ(put(f, 60, 5), CM_NOT_STORED_MEDIA);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK(info_of(f).incarnation > inc);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(cell_of(p.c, 0, 0), false);
    CHECK_EQ(look(f, 3, 5), MISS);
    pool_end(&p);
}

/* Nine blocks with one first bucket, and second ones in other pages. Returns the page of the first,
 * in buckets / 64. */
static uint64_t one_bucket(cm_file *f, uint64_t *block)
{
    uint64_t n = 0, bucket = 0;
    for (uint64_t b = 0; n <= CM_BUCKET_CELLS; b++) {
        struct cm_key k = key_of(f, b);
        if (k.place.bucket[1] / 64 == k.place.bucket[0] / 64 ||
            (n > 0 && k.place.bucket[0] != bucket))
            continue;
        bucket = k.place.bucket[0];
        block[n++] = b;
    }
    return bucket / 64;
}

/* A block whose first bucket was full lies in its second one: there, too, it is found. */
static void test_second_bucket(void)
{
    struct pool p;
    uint64_t wanted[CM_BUCKET_CELLS + 1];
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    (void)one_bucket(f, wanted);
    const uint64_t last = wanted[CM_BUCKET_CELLS];
    cm_miss again = miss_of(f, last * BLK, BLK);
    for (unsigned i = 0; i <= CM_BUCKET_CELLS; i++)
        CHECK_EQ(put(f, wanted[i], 5), 0);
    content(5, last, data);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    for (unsigned i = 0; i <= CM_BUCKET_CELLS; i++)
        CHECK_EQ(look(f, wanted[i], 5), RIGHT);
    cm_bracket w = begin_write(f, last * BLK, BLK);
    CHECK_EQ(slot_of(f, last), CM_NO_SLOT);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* The first bucket of a block cannot be read, and the second has room: it may be there already. */
static void test_unreadable_first_bucket(void)
{
    struct pool p;
    uint64_t wanted[CM_BUCKET_CELLS + 1];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    const uint64_t page = one_bucket(f, wanted);
    cm_miss again = miss_of(f, wanted[0] * BLK, BLK), m;
    content(5, wanted[0], data);
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++)
        CHECK_EQ(put(f, wanted[i], 5), 0);
    m = miss_of(f, wanted[CM_BUCKET_CELLS] * BLK, BLK);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    forbid(cell_of(p.c, page * 64, 0), true);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_MEDIA);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_MEDIA);
    forbid(cell_of(p.c, page * 64, 0), false);
    CHECK_EQ(hits(f, wanted[0], 1, 5), 1);
    pool_end(&p);
}

/* A header that cannot be read, found by those who do not know what it holds. */
static void test_unreadable_unseen(void)
{
    struct pool p;
    cm_iovec iov;
    cm_pins pins;
    int n;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    const uint64_t a_page = BLK / sizeof(struct cm_header);
    CHECK_EQ(put_all(f, 0, 3 * a_page, 5), 3 * a_page);
    uint8_t *page = (uint8_t *)((uintptr_t)header_of(p.c, a_page) / BLK * BLK);
    uint64_t b = 0, inc = info_of(f).incarnation;
    while ((uint8_t *)header_of(p.c, slot_of(f, b)) < page ||
           (uint8_t *)header_of(p.c, slot_of(f, b)) >= page + BLK)
        b++;
    uint64_t slot = slot_of(f, b), next = slot_of(f, b + 1);
    forbid(page, true);
    CHECK_EQ(cm_pin_range(f, b * BLK, BLK, &iov, 1, &n, &pins, NULL), 0);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    cm_bracket w = begin_write(f, (b + 1) * BLK, BLK);
    CHECK_EQ(STAT(p.c, quarantined), 1 + ((uint8_t *)header_of(p.c, next) >= page));
    CHECK(info_of(f).incarnation > inc); /* what it holds is gone with the file's incarnation */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    forbid(page, false);
    pool_end(&p);
}

static uint64_t unflushable; /* a block; its header, once it is VALID */

static int flush_but_one(void *ctx, const void *p, size_t n)
{
    const struct cm_media *m = flushed_media;
    const uint8_t *from = p, *headers = m->base + m->geo.header_offset;
    for (uint64_t s = 0; s < m->geo.slots; s++) {
        const struct cm_header *h = cm_slot_at(m, s);
        const uint8_t *at = headers + s * sizeof(*h);
        if (at >= from && at < from + n && (h->w0 & CM_W0_VALID) &&
            cm_header_block(h) == unflushable)
            return CM_EIO;
    }
    return whole_ops->flush(ctx, p, n);
}

/* Of blocks that come together the header of one cannot be written back: that one is not stored,
 * and found by nobody; the others are. */
static void test_unflushable_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    for (uint64_t bad = 0; bad < 4; bad++) {
        struct cm_persist_ops ops = *p.c->media.ops;
        const uint64_t at = 10 * bad;
        cm_miss m = miss_of(f, at * BLK, 4 * BLK);
        for (unsigned i = 0; i < 4; i++)
            content(5, at + i, data + i * BLK);
        unflushable = at + bad;
        flushed_media = &p.c->media;
        whole_ops = p.c->media.ops;
        ops.flush = flush_but_one;
        p.c->media.ops = &ops;
        CHECK_EQ(cm_fill(f, &m, data, 4 * BLK, 0), CM_NOT_STORED_MEDIA);
        p.c->media.ops = whole_ops;
        CHECK_EQ(hits(f, at, 4, 5), 3);
        CHECK_EQ(STAT(p.c, refused_media), (int64_t)bad + 1);
    }
    pool_end(&p);
}

/* When page after page fails the cache stops filling, says so once, and serves what it can. */
static void count_lines(void *ctx, int level, const char *text)
{
    (void)text;
    *(int *)ctx += level == CM_LOG_ERROR;
}

static void test_failing_media(void)
{
    struct pool p;
    int lines = 0;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, MIB, 0);
    p.o.log = count_lines;
    p.o.log_ctx = &lines;
    (void)pool_up(&p);
    size_t rest = (size_t)((p.c->media.geo.slots - 20) * BLK);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    (void)put_all(f, 1000, p.c->media.geo.slots, 5); /* every slot was in use before */
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    pool_again(&p);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    os_protect(payload_of(p.c, 20), rest, OS_NOTHING);
    CHECK(put_all(f, 100, 150, 5) <= 20);
    CHECK_EQ(pool_info(p.c).mode, CM_FREEZE);
    CHECK_EQ(lines, 1);
    CHECK_EQ(put(f, 500, 5), CM_NOT_STORED_MODE);
    unsigned kept = hits(f, 0, 10, 5); /* rarely one made room in the index */
    CHECK(kept >= 8);
    cm_bracket w = begin_write(f, 3 * BLK, BLK); /* forgetting works as ever */
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    os_protect(payload_of(p.c, 20), rest, OS_WRITE);
    pool_again(&p);
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 3, 5), MISS);
    CHECK(hits(f, 0, 10, 5) >= kept - 1);
    CHECK_EQ(put(f, 500, 5), 0);
    pool_end(&p);
}

/* Slots that cannot be written and never were: the volume is full. Those there are go on in turn,
 * and nothing that hits is lost for it. */
static void test_full_volume(void)
{
    struct pool p;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    struct cm_plat_file holes = PLAT_FILE_INIT; /* what plain reads see: nothing */
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/cachemax-holes.%u", os_temp(), cm_plat_pid());
    REQUIRE(plat_create(&holes, path, 4 * MIB, false, NULL, NULL) == 0);
    p.c->media.file = &holes;
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    uint64_t used = p.c->policy.ring.frontier;
    size_t rest = (size_t)((p.c->media.geo.slots - used) * BLK);
    os_protect(payload_of(p.c, used), rest, OS_NOTHING);
    unsigned stored = put_all(f, 1000, 2000, 5);
    CHECK(stored > 1800);
    CHECK(hits(f, 0, 200, 5) + hits(f, 1000, 2000, 5) > 100);
    CHECK(STAT(p.c, quarantined) < (int64_t)(p.c->media.geo.slots / 8));
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    CHECK_EQ(STAT(p.c, escalations), 0);
    os_protect(payload_of(p.c, used), rest, OS_WRITE);
    pool_again(&p); /* there is room now */
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK(put_all(f, 5000, 600, 5) > 590);
    CHECK(hits(f, 5000, 600, 5) > 590);
    pool_end(&p);
    cm_plat_file_close(&holes);
    cm_plat_file_remove(path);
}

/* ---- Sequences ------------------------------------------------------------------------------- */

/* The sequence survives invalidation and moves with every life of a slot. */
static void test_sequence(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, cm_pool_size_min());
    uint64_t lives[64] = { 0 };
    CHECK_EQ(put(f, 0, 5), 0);
    for (unsigned i = 0; i < 400; i++) {
        uint64_t slot = slot_of(f, 0), seq = header_of(p.c, slot)->w0 & CM_W0_SEQ_MASK;
        CHECK(seq > lives[slot]);
        lives[slot] = seq;
        CHECK_EQ(cm_invalidate(f, 0, 1), 0);
        CHECK_EQ(header_of(p.c, slot)->w0, seq); /* the sequence alone */
        CHECK_EQ(put(f, 0, 5), 0);
    }
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(fill_after_write),
    TEST(fill_during_write),
    TEST(every_change),
    TEST(fill_beside_write),
    TEST(write_forgets),
    TEST(forget_all_matches),
    TEST(overlapping_brackets),
    TEST(large_bracket),
    TEST(bracket_over_new_incarnation),
    TEST(miss_shape),
    TEST(miss_cut),
    TEST(partly_stale),
    TEST(bad_tickets),
    TEST(ticket_of_old_attachment),
    TEST(tails),
    TEST(fill_eof),
    TEST(present),
    TEST(nothing_given),
    TEST(flipped_payload),
    TEST(first_hit_of_session),
    TEST(partial_read_verifies),
    TEST(neighbours_flushed),
    TEST(only_those_flushed),
    TEST(stores_locked),
    TEST(unflushable_cell),
    TEST(nothing_leaks),
    TEST(flipped_header),
    TEST(taken_parts),
    TEST(flipped_known_header),
    TEST(epoch_outdates_judged),
    TEST(flipped_dead_header),
    TEST(valid_in_owned_slot),
    TEST(first_hit_counts),
    TEST(victims_remembered),
    TEST(no_miss_no_fill),
    TEST(second_bucket),
    TEST(unreadable_first_bucket),
    TEST(unreadable_unseen),
    TEST(unflushable_header),
    TEST(other_key),
    TEST(garbage_cells),
    TEST(same_tag_cells),
    TEST(garbage_headers),
    TEST(displace_unwritable),
    TEST(owned_is_left_alone),
    TEST(read_many_known),
    TEST(unreadable_payload),
    TEST(unwritable_payload),
    TEST(unreadable_header),
    TEST(cells_of_unreadable_headers),
    TEST(unreadable_index),
    TEST(failing_media),
    TEST(full_volume),
    TEST(sequence),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
