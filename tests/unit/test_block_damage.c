/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_block_damage.c - garbage in the pool only ever causes misses: a block is served only if its
 * checks are right.
 */
#include "block_common.h"

#include <inttypes.h>
#if defined(__linux__)
#include <signal.h>
#endif

#include "../os.h"
#include "state/file.h"
#include "state/policy_sample.h"

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
    CHECK_EQ(slot_ok(p.c, slot), !caught); /* it is dropped, and stays dropped */
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
    CALL(check_flipped_payload(CM_VERIFY_FIRST_HIT, false, true));
    CALL(check_flipped_payload(CM_VERIFY_FIRST_HIT, true, false));
    CALL(check_flipped_payload(CM_VERIFY_ALWAYS, false, true));
    CALL(check_flipped_payload(CM_VERIFY_ALWAYS, true, true));
    CALL(check_flipped_payload(CM_VERIFY_NEVER, false, false));
    CALL(check_flipped_payload(CM_VERIFY_NEVER, true, false));
}

/* "First hit" is the first of each session, also for a block that was verified before a reopen. */
static void test_first_hit_of_session(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(STAT(p.c, verified), 1); /* the first hit, and not the second */
    uint64_t slot = slot_of(f, 0);
    pool_again(&p);
    payload_of(p.c, slot)[17] ^= 4;
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(look(f, 0, 5), MISS);
    pool_end(&p);
}

/* A read of a part verifies the whole block: it finds damage outside the part, too. */
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

/* Any flipped bit of a header causes a miss, or an invalid header stays invalid. */
static void test_flipped_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    uint64_t slot = slot_of(f, 1);
    uint8_t *h = (uint8_t *)header_of(p.c, slot);
    for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
        CASE("bit %u", bit);
        p.c->policy.ring.ref[slot] &= (uint8_t)~CM_REF_VERIFIED; /* as after an open: not judged */
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), MISS);
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), RIGHT);
    }
    pool_end(&p);
}

/* The words of a header that was verified before. Every bit that decides which bytes are served is
 * checked again. Only the sequence, the check and the sum need no second look. */
static void flip_known_header(cm_guard_take_fn take)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    p.c->media.take = take;
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(put_tail(f, 4, 1000, 5), 0);
    for (uint64_t block = 1; block <= 4; block += 3) {
        const int good = block == 4 ? TOO_SHORT : RIGHT;
        uint8_t *h = (uint8_t *)header_of(p.c, slot_of(f, block));
        for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
            CASE("bit %u", bit);
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

/* The same for blocks that are neighbours in the pool, so one copy takes them all. */
static void test_flipped_known_neighbours(void)
{
    static uint8_t buf[5 * CM_BLOCK_SIZE], none[CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(slot_of(f, i + 1), slot_of(f, i) + 1);
    uint8_t *h = (uint8_t *)header_of(p.c, slot_of(f, 2));
    uint8_t *last = (uint8_t *)header_of(p.c, slot_of(f, 4));
    for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
        CASE("bit %u", bit);
        CHECK_EQ(hits(f, 0, 5, 5), 5); /* judged */
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        last[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(buf, 0xee, sizeof(buf));
        const int64_t n = cm_read(f, 0, buf, sizeof(buf), NULL);
        const bool key = bit == 31 || (bit >= 64 && bit < 192);
        CHECK(n == 2 * BLK || (n == 5 * BLK && !key));
        for (uint64_t i = 0; i < (uint64_t)n / BLK; i++)
            CHECK(is_content(5, i, buf + i * BLK, BLK));
        if (n == 2 * BLK) { /* what was copied in vain is wiped */
            CHECK(memcmp(buf + 2 * BLK, none, BLK) == 0);
            CHECK(!key || memcmp(buf + 4 * BLK, none, BLK) == 0);
        }
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        last[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    pool_end(&p);
}

/* Of neighbours that are read together, one was not judged since the pool was opened, and is
 * damaged. */
static void test_run_judged(void)
{
    static uint8_t buf[5 * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 5, 5), 5);
    CHECK_EQ(hits(f, 0, 5, 5), 5);
    uint64_t slot = slot_of(f, 2);
    p.c->policy.ring.ref[slot] &= (uint8_t)~CM_REF_VERIFIED;
    payload_of(p.c, slot)[17] ^= 4;
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 2 * BLK);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    CHECK(is_content(5, 1, buf + BLK, BLK));
    pool_end(&p);
}

/* Blocks of a run whose slots are in no order. */
static void test_run_apart(void)
{
    static const uint64_t order[] = { 3, 0, 4, 2, 1, 5, 6, 7 };
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(put(f, order[i], 5), 0);
    for (unsigned pass = 0; pass < 2; pass++) {
        CASE("pass %u", pass);
        CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 8 * BLK);
        for (uint64_t i = 0; i < 8; i++)
            CHECK(is_content(5, i, buf + i * BLK, BLK));
    }
    pool_end(&p);
}

/* A read of part of a run: it must return `n` bytes, all right, and change none behind them. */
static void read_part(cm_file *f, uint64_t from, uint64_t n, const uint8_t *want)
{
    static uint8_t buf[80 * CM_BLOCK_SIZE + 1];
    struct cm_cache *c = cm_object_of(f)->cache;
    const int64_t before = STAT(c, hit_blocks), bytes = STAT(c, hit_bytes);
    memset(buf, 0xee, (size_t)n + 1);
    CHECK_EQ(cm_read(f, from, buf, (size_t)n, NULL), n);
    CHECK(memcmp(buf, want + from, (size_t)n) == 0 && buf[n] == 0xee);
    CHECK_EQ(STAT(c, hit_blocks) - before, (from + n - 1) / BLK - from / BLK + 1);
    CHECK_EQ(STAT(c, hit_bytes) - bytes, n);
}

/* A run that is longer than what is looked up at a time. Some of its blocks have neighbours in the
 * pool and some have none. It is read in parts, and then up to each of its blocks in turn. */
static void test_run_parts(void)
{
    enum { RUN = 70 };
    static const uint64_t at[] = { 0, 1, 4000, BLK, 3 * BLK + 17, 60 * BLK - 1 };
    static const uint64_t length[] = { 1,        BLK,          2 * BLK + 5, 9 * BLK,
                                       17 * BLK, 33 * BLK - 1, 34 * BLK,    60 * BLK + 9 };
    static uint8_t want[RUN * CM_BLOCK_SIZE], buf[RUN * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    for (uint64_t i = 0; i < RUN; i++)
        content(5, i, want + i * BLK);
    CHECK_EQ(put_all(f, 0, 9, 5), 9);
    CHECK_EQ(put_all(f, 20, 30, 5), 30);
    for (uint64_t i = 20; i-- > 9;)
        CHECK_EQ(put(f, i, 5), 0);
    CHECK_EQ(put_all(f, 50, RUN - 50, 5), RUN - 50);
    CHECK_EQ(hits(f, 0, RUN, 5), RUN); /* judged */
    for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        for (unsigned j = 0; j < sizeof(length) / sizeof(length[0]); j++) {
            CASE("from %" PRIu64 ", %" PRIu64 " bytes", at[i], length[j]);
            if (at[i] + length[j] <= sizeof(want))
                CALL(read_part(f, at[i], length[j], want));
        }
    for (uint64_t i = 0; i < RUN; i++) {
        CASE("without block %" PRIu64, i);
        CHECK_EQ(cm_invalidate(f, i * BLK, 1), 0);
        CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), i * BLK);
        CHECK(memcmp(buf, want, (size_t)(i * BLK)) == 0);
        CHECK_EQ(put(f, i, 5), 0);
    }
    pool_end(&p);
}

/* Parts of blocks, about as long as the shortest copy of a routine for long ones, up to the last
 * byte. */
static void take_parts(cm_guard_take_fn take)
{
    static const uint32_t lengths[] = { 1535, 1536, 1537, 1600, 2047, 2048, 4095, 4096 };
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE + 1], want[CM_BLOCK_SIZE];
    cm_file *f = open_pool_and_file(&p, MIB);
    p.c->media.take = take;
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(hits(f, 0, 3, 5), 3);
    content(5, 1, want);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CASE("i %u", i);
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

static void test_taken_parts(void)
{
    cm_guard_take_fn take;
    CALL(take_parts(NULL));
    for (unsigned i = 0; (take = cm_guard_take_variant(i, NULL)) != NULL; i++) {
        CASE("routine %u", i);
        CALL(take_parts(take));
    }
}

/* Copied in steps, and by each routine. */
static void test_flipped_known_header(void)
{
    cm_guard_take_fn take;
    CALL(flip_known_header(NULL));
    for (unsigned i = 0; (take = cm_guard_take_variant(i, NULL)) != NULL; i++) {
        CASE("routine %u", i);
        CALL(flip_known_header(take));
    }
}

/* A new epoch makes every header invalid, also those that were verified before. */
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
    *cell = was; /* like a cell that came back after a crash */
    for (unsigned bit = 0; bit < sizeof(struct cm_header) * 8; bit++) {
        CASE("bit %u", bit);
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(look(f, 1, 5), MISS);
        h[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    pool_end(&p);
}

static struct cm_persist_ops cell_ops;
static const struct cm_persist_ops *cell_real;
static uint64_t *cell_changes, cell_becomes;

static int change_cell_after(void *ctx, uint64_t *p, uint64_t expected, uint64_t desired)
{
    int r = cell_real->cas64(ctx, p, expected, desired);
    if (cell_changes)
        *cell_changes = cell_becomes;
    cell_changes = NULL;
    return r;
}

/* A cell changes by itself while a bracket forgets its block: after the header was made invalid,
 * and before it is flushed. Nobody knows any more which header to flush, so the file is forgotten.
 */
static void test_cell_changes_in_bracket(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        struct pool p;
        cm_bracket w;
        cm_file *f = open_pool_and_file(&p, MIB);
        CHECK_EQ(put_all(f, 0, 3, 5), 3);
        uint64_t *cell = cell_to(f, 1);
        REQUIRE(cell != NULL);
        out_of_order(p.c);
        cell_real = p.c->media.ops;
        cell_ops = *cell_real;
        cell_ops.cas64 = change_cell_after;
        p.c->media.ops = &cell_ops;
        cell_becomes = i == 0   ? 0
                       : i == 1 ? *cell ^ 1
                                : *cell | ((UINT64_C(1) << CM_CELL_SLOT_BITS) - 1);
        cell_changes = cell;
        CHECK_EQ(cm_write_begin(f, BLK, BLK, &w), 0);
        CHECK(cell_changes == NULL);
        CHECK_EQ(STAT(p.c, escalations), 1);
        CHECK_EQ(look(f, 0, 5), MISS);
        p.c->media.ops = cell_real;
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        pool_end(&p);
    }
}

/* The media restores an old header in a slot that waits to be filled. Readers may trust that
 * header, so the payload of the slot is not overwritten. */
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
    CHECK_EQ(put(f, before, 5), 0); /* it evicts ahead, so some slots wait now */
    REQUIRE(r->free_count > 0);
    out_of_order(p.c);
    uint64_t slot = r->free[r->free_count - 1];
    const uint64_t at = p.c->media.geo.header_offset + slot * sizeof(h);
    memcpy(&h, image + at, sizeof(h));
    memcpy(header_of(p.c, slot), &h, sizeof(h)); /* an old header, as if a fence had failed */
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

/* A block that comes for the first time, and was not read ahead of need, is on probation. Its first
 * hit counts, also in a pool that is too large to sample every block. */
static void test_first_hit_counts(void)
{
    struct pool p;
    unsigned unsampled = 0;
    cm_file *f = open_pool_and_file(&p, 64 * MIB);
    for (uint64_t b = 0; b < 64 * GROUP; b += GROUP) {
        CASE("b %" PRIu64, b);
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

/* Each block of a run that is served counts once. What was copied behind the end of what is served
 * does not count: the reader did not get it. */
static void test_run_counts(void)
{
    static uint8_t buf[5 * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 6, 5), 6);
    CHECK_EQ(hits(f, 0, 6, 5), 6); /* judged */
    struct cm_header *h = header_of(p.c, slot_of(f, 2));
    uint64_t slot[6];
    for (uint64_t i = 0; i < 6; i++)
        slot[i] = slot_of(f, i);
    for (unsigned round = 0; round < 4; round++) {
        const unsigned damaged = round % 2;
        CASE("round %u", round);
        if (round == 2) /* from here on no block is in the sample */
            at_store_relaxed(&p.c->sample_below, UINT64_C(0));
        for (unsigned i = 0; i < 6; i++)
            cm_ring_set(&p.c->policy.ring, slot[i], 0);
        memset(cm_plat_thread()->recent, 0, sizeof(cm_plat_thread()->recent));
        h->incarnation ^= damaged;
        CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), damaged ? 2 * BLK : 5 * BLK);
        h->incarnation ^= damaged;
        for (unsigned i = 0; i < 6; i++)
            CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot[i]), i < (damaged ? 2u : 5u));
    }
    pool_end(&p);
}

/* One of the payloads that one copy takes cannot be read. How often it is tried: in that copy, and
 * then twice by the lookup of its block. */
#if defined(__linux__)
static struct sigaction guard_of_library;
static unsigned faults;

static void count_fault(int signal, siginfo_t *info, void *context)
{
    faults++;
    guard_of_library.sa_sigaction(signal, info, context);
}

static void count_tries(uint64_t bad)
{
    static uint8_t buf[16 * CM_BLOCK_SIZE];
    struct pool p;
    struct sigaction count;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 16, 5), 16);
    CHECK_EQ(hits(f, 0, 16, 5), 16); /* judged */
    CHECK(sigaction(SIGSEGV, NULL, &guard_of_library) == 0);
    count = guard_of_library;
    count.sa_sigaction = count_fault;
    CHECK(sigaction(SIGSEGV, &count, NULL) == 0);
    uint8_t *const at = payload_of(p.c, slot_of(f, bad));
    os_protect(at, BLK, OS_NOTHING);
    faults = 0;
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), bad * BLK);
    CHECK_EQ(faults, 3);
    os_protect(at, BLK, OS_WRITE);
    CHECK(sigaction(SIGSEGV, &guard_of_library, NULL) == 0);
    pool_end(&p);
}
#endif

static void test_run_tries(void)
{
#if defined(__linux__)
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (uint64_t bad = 0; bad < 16; bad++) {
        CASE("block %" PRIu64, bad);
        CALL(count_tries(bad));
    }
#else
    SKIP("made for Linux' signals");
#endif
}

/* Blocks of a run whose hits change no counts any more are still reads of the sample. */
static void test_run_sampled(void)
{
    static uint8_t buf[7 * CM_BLOCK_SIZE];
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 7, 5), 7);
    CHECK_EQ(hits(f, 0, 7, 5), 7); /* judged */
    for (uint64_t i = 0; i < 7; i++)
        cm_ring_set(&p.c->policy.ring, slot_of(f, i), CM_REF_MAX);
    cm_sample_report(p.c);
    const uint64_t before = pool_stats(p.c).curve_reads;
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), 7 * BLK);
    cm_sample_report(p.c);
    CHECK_EQ(pool_stats(p.c).curve_reads - before, 7); /* the pool is so small that all are */
    pool_end(&p);
}

/* Of evicted blocks the ghost remembers those that came for the first time, not the known ones. */
static void test_victims_remembered(void)
{
    struct pool p;
    uint64_t n = 0, far = 1000000;
    pool_make(&p, 4 * MIB, 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES;
         i++) { /* a fixed seed, because fingerprints collide */
        super_at(&p, i)->hash_seed = 1;
        super_seal(super_at(&p, i));
    }
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    struct cm_ring *r = &p.c->policy.ring;
    for (; r->frontier < r->slots || r->free_count > 0; n++)
        CHECK_EQ(put(f, n, 5), 0);
    for (unsigned round = 0; round < 8; round++) {
        CASE("round %u", round);
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

/* A header names another block and is right in all else: it is not the block that is asked for. */
static void test_other_key(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    struct cm_key k = key_of(f, 0);
    *cell_to(f, 0) = cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 1));
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(look(f, 1, 5), RIGHT);
    pool_end(&p);
}

static bool share_bucket(const struct cm_key *a, const struct cm_key *b)
{
    const struct cm_place *x = &a->place, *y = &b->place;
    return x->bucket[0] == y->bucket[0] || x->bucket[0] == y->bucket[1] ||
           x->bucket[1] == y->bucket[0] || x->bucket[1] == y->bucket[1];
}

/* The cells of a block lead to blocks whose cells are elsewhere. They are overwritten, and the
 * blocks stay. */
static void test_cells_of_others(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, 200, 5), 200);
    out_of_order(p.c);
    const struct cm_key k = key_of(f, 500);
    uint64_t b = 0;
    for (unsigned i = 0; i < CM_PLACE_CELLS; b++) {
        const struct cm_key other = key_of(f, b);
        if (share_bucket(&k, &other))
            continue;
        *cell_of(p.c, k.place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS) = *cell_to(f, b);
        i++;
    }
    CHECK_EQ(put(f, 500, 5), 0);
    CHECK_EQ(look(f, 500, 5), RIGHT);
    CHECK(hits(f, 0, 200, 5) + CM_PLACE_CELLS >= 200); /* the cells that were there are gone */
    CHECK_EQ(hits(f, b - 1, 1, 5), 1);
    CHECK_EQ(STAT(p.c, displaced), 0);
    pool_end(&p);
}

/* Before the cell of a block comes one that names no slot, and has the block's tag. The block is
 * there all the same. */
static void test_cell_in_front(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    const cm_miss again = miss_of(f, 3 * BLK, BLK);
    CHECK_EQ(put(f, 3, 5), 0);
    const struct cm_key k = key_of(f, 3);
    uint64_t *cell = cell_to(f, 3), *next = cell_of(p.c, k.place.bucket[0], 1);
    CHECK(cell == cell_of(p.c, k.place.bucket[0], 0) && *next == 0);
    out_of_order(p.c);
    *next = *cell;
    *cell = cm_cell_make(k.place.tag, p.c->media.boot, p.c->media.geo.slots + 5);
    content(5, 3, data);
    CHECK_EQ(cm_fill(f, &again, data, BLK, 0), CM_NOT_STORED_PRESENT);
    CHECK_EQ(look(f, 3, 5), RIGHT);
    /* The same in the second bucket of a block that is absent. */
    const struct cm_key absent = key_of(f, 4);
    *cell_of(p.c, absent.place.bucket[1], 7) =
        cm_cell_make(absent.place.tag, p.c->media.boot, p.c->media.geo.slots + 5);
    CHECK_EQ(look(f, 4, 5), MISS);
    pool_end(&p);
}

/* A cell with a block's tag leads to another block, which stays when the block is stored. */
static void test_same_tag(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 0, 5), 0);
    out_of_order(p.c);
    const struct cm_key k = key_of(f, 500);
    const uint64_t cell = cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 0));
    uint64_t *at = cell_of(p.c, k.place.bucket[0], 7);
    *at = cell;
    CHECK_EQ(put(f, 500, 5), 0);
    CHECK_EQ(STAT(p.c, displaced), 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(look(f, 500, 5), RIGHT);
    cm_bracket w = begin_write(f, 500 * BLK, BLK);
    CHECK(*at == cell); /* it may be the only one that leads to the other block */
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* A crash may leave a cell that leads to a header which was made invalid, and names the block. */
static void test_invalid_header(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put(f, 3, 5), 0);
    struct cm_header *h = header_of(p.c, slot_of(f, 3));
    out_of_order(p.c);
    h->w0 &= ~(uint64_t)CM_W0_VALID;
    CHECK_EQ(cm_file_cached(f, 0, 100 * BLK), 0);
    h->w0 |= CM_W0_VALID;
    h->xxh3 ^= 1;
    CHECK_EQ(cm_file_cached(f, 0, 100 * BLK), 0);
    CHECK_EQ(look(f, 3, 5), MISS);
    pool_end(&p);
}

/* Stale cells, cells that name no slot, whole buckets of garbage: misses, and fills still work. */
static void test_garbage_cells(void)
{
    struct pool p;
    uint64_t rng = 8;
    cm_file *f = open_pool_and_file(&p, MIB);
    out_of_order(p.c);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_geometry *g = &p.c->media.geo;
    for (unsigned round = 0; round < 5; round++) {
        CASE("round %u", round);
        for (uint64_t b = 0; b < g->stripes * g->stripe_buckets; b++)
            for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
                uint64_t r = next_random(&rng), *cell = cell_of(p.c, b, i);
                if (round == 0)
                    *cell = r; /* they name slots that do not exist */
                else if (round == 1)
                    *cell = cm_cell_make(cm_cell_tag(r), p.c->media.boot, r % g->slots);
                else if (round == 2)
                    *cell = UINT64_MAX;
                else if (round == 3)
                    *cell = cm_cell_tag(r); /* the slot field is zero */
                else
                    *cell = cm_cell_tag(r) | (g->slots + 1); /* one behind the last slot */
            }
        for (uint64_t block = 0; block < 100; block++) {
            CASE("block %" PRIu64, block);
            CHECK(look(f, block, 5) == MISS);
        }
        unsigned stored = put_all(f, 0, 100, 5);
        CHECK(stored >= 95);
        CHECK_EQ(hits(f, 0, 100, 5), stored);
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        CHECK_EQ(hits(f, 0, 100, 5), 0);
        CHECK_EQ(slots_astray(p.c), 0);
    }
    pool_end(&p);
}

/* All cells of a block lead to slots without a block. It gets one of them, and no slot is emptied
 * for it. */
static void test_cells_of_none(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    out_of_order(p.c);
    const struct cm_key k = key_of(f, 5);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        *cell_of(p.c, k.place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS) =
            cm_cell_make(k.place.tag ^ UINT64_C(1) << 63, p.c->media.boot, 100 + i);
    CHECK(p.c->policy.ring.frontier < 100);
    CHECK_EQ(put(f, 5, 5), 0);
    CHECK_EQ(look(f, 5, 5), RIGHT);
    CHECK_EQ(STAT(p.c, displaced), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Cells with the key's own tag lead elsewhere, inside the pool or far outside of it. They do not
 * hide the right cell. */
static void test_same_tag_cells(void)
{
    struct pool p;
    cm_file *f = open_pool_and_file(&p, MIB);
    out_of_order(p.c);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_key k = key_of(f, 50);
    uint64_t right = cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 50));
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        uint64_t far = p.c->media.geo.slots + i * UINT64_C(0x123456789);
        *cell_of(p.c, k.place.bucket[i / 8], i % 8) =
            cm_cell_make(k.place.tag, p.c->media.boot, i % 2 ? 100 + i : far);
    }
    CHECK_EQ(look(f, 50, 5), MISS);
    cm_iovec v;
    cm_pins pins;
    int pieces;
    CHECK_EQ(cm_pin_range(f, 50 * BLK, BLK, &v, 1, &pieces, &pins, NULL), 0);
    *cell_of(p.c, k.place.bucket[1], 7) = right;
    CHECK_EQ(look(f, 50, 5), RIGHT);
    for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) /* no tag in the first bucket */
        *cell_of(p.c, k.place.bucket[0], i) = 0;
    CHECK_EQ(look(f, 50, 5), RIGHT);
    cm_bracket w = begin_write(f, 50 * BLK, 1);
    CHECK_EQ(look(f, 50, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Bytes are copied before it is known to which block they belong. If they are another block's, or
 * are behind a tail, they do not stay in the caller's buffer. */
static void test_nothing_leaks(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE], zero[CM_BLOCK_SIZE] = { 0 };
    cm_file *f = open_pool_and_file(&p, MIB);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    struct cm_key k = key_of(f, 200);
    *cell_of(p.c, k.place.bucket[0], 7) =
        cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 50));
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 200 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    /* A payload changed and its header did not: these bytes must not stay either. */
    payload_of(p.c, slot_of(f, 60))[9] ^= 1;
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 60 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    /* A slot that was verified before now holds another block. */
    *cell_of(p.c, k.place.bucket[0], 7) =
        cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 70));
    CHECK_EQ(look(f, 70, 5), RIGHT);
    memset(buf, 0xee, sizeof(buf));
    CHECK_EQ(cm_read(f, 200 * BLK, buf, BLK, NULL), 0);
    CHECK(memcmp(buf, zero, BLK) == 0);
    pool_end(&p);
}

/* All headers are garbage: nothing hits, and the slots can be used. */
static void test_garbage_headers(void)
{
    struct pool p;
    uint64_t rng = 12;
    cm_file *f = open_pool_and_file(&p, 4 * MIB);
    out_of_order(p.c);
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

const struct harness_test block_damage_tests[] = {
    TEST(flipped_payload),
    TEST(first_hit_of_session),
    TEST(partial_read_verifies),
    TEST(nothing_leaks),
    TEST(flipped_header),
    TEST(taken_parts),
    TEST(flipped_known_header),
    TEST(flipped_known_neighbours),
    TEST(run_judged),
    TEST(run_apart),
    TEST(run_parts),
    TEST(run_counts),
    TEST(run_sampled),
    TEST(run_tries),
    TEST(epoch_outdates_judged),
    TEST(flipped_dead_header),
    TEST(cell_changes_in_bracket),
    TEST(valid_in_owned_slot),
    TEST(first_hit_counts),
    TEST(victims_remembered),
    TEST(other_key),
    TEST(garbage_cells),
    TEST(cells_of_none),
    TEST(cells_of_others),
    TEST(cell_in_front),
    TEST(invalid_header),
    TEST(same_tag),
    TEST(same_tag_cells),
    TEST(garbage_headers),
    TEST_END,
};
