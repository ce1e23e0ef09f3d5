/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal.c - sealed pools: what somebody without the key can do to one is a miss or a refusal.
 *
 * The attacker of these tests can write every byte of a pool and compute every XXH3.
 */
#include "seal_common.h"

#include "../os.h"
#include "media/seal.h"
#include "state/copy_choice.h"

#define SMALL (2 * MIB)
#define BLOCKS 40u

/* ---- What the attacker can do ---------------------------------------------------------------- */

/* Makes the check of a slot's header right for its present words. */
static void resum(cm_cache *c, uint64_t slot)
{
    struct cm_header *h = header_of(c, slot);
    h->w0 = cm_format_w0(c->media.check_key, slot, h, (uint32_t)(h->w0 & CM_W0_LIFE_MASK));
}

/* The sum that an unsealed pool has. */
static void plant_sum(cm_cache *c, uint64_t slot)
{
    struct cm_header *h = header_of(c, slot);
    h->xxh3 = cm_format_payload_sum(c->media.check_key, slot, h->incarnation, cm_header_block(h),
                                    payload_of(c, slot), cm_header_valid(h));
    resum(c, slot);
}

/* The block must be a miss that counts as a wrong sum, and its slot must be dropped. */
static void expect_dropped(struct sealed *s, cm_file *f, uint64_t block, uint64_t tag)
{
    const int64_t was = STAT(s->p.c, miss_checksum);
    CHECK_EQ(look(f, block, tag), MISS);
    CHECK_EQ(STAT(s->p.c, miss_checksum), was + 1);
    CHECK_EQ((int64_t)slot_of(f, block), (int64_t)CM_NO_SLOT);
}
#define expect_dropped(...) CALL(expect_dropped(__VA_ARGS__))

/* ---- Storing and reading --------------------------------------------------------------------- */

static void round_trip(int encrypts)
{
    struct sealed s;
    uint8_t want[CM_BLOCK_SIZE], got[CM_BLOCK_SIZE], many[8 * CM_BLOCK_SIZE];
    sealed_make(&s, SMALL, encrypts);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, BLOCKS, 7), BLOCKS);
    CHECK_EQ(hits(f, 0, BLOCKS, 7), BLOCKS);
    content(7, 3, want);
    const bool plain = memcmp(payload_of(s.p.c, slot_of(f, 3)), want, BLK) == 0;
    CHECK_EQ(plain, !encrypts);
    for (unsigned from = 0; from < BLK; from += 777) { /* parts of a block */
        const size_t n = BLK - from < 500 ? BLK - from : 500;
        CHECK_EQ(cm_read(f, 3 * BLK + from, got, n, NULL), (int64_t)n);
        CHECK(memcmp(got, want + from, n) == 0);
    }
    CHECK_EQ(cm_read(f, 8 * BLK, many, sizeof(many), NULL), (int64_t)sizeof(many));
    for (unsigned i = 0; i < 8; i++) /* neighbours */
        CHECK(is_content(7, 8 + i, many + i * BLK, BLK));
    CHECK(STAT(s.p.c, verified) >= (int64_t)BLOCKS); /* every hit is */
    sealed_again(&s, &f);
    CHECK_EQ(hits(f, 0, BLOCKS, 7), BLOCKS);
    CHECK_EQ(pool_info(s.p.c).sealed, (uint32_t)(encrypts ? CM_SEALED_ENCRYPTED : CM_SEALED_MAC));
    sealed_end(&s);
}

static void test_hits(void)
{
    CALL(round_trip(0));
    CALL(round_trip(1));
}

/* Each hit tests its tag, so none takes the routine that is the fastest without one: nothing is
 * measured. */
static void test_not_measured(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    CHECK_EQ(pool_up(&s.p), 0);
    CHECK(cm_copy_choice_is_over(s.p.c));
    CHECK_EQ(pool_info(s.p.c).hit_copy_measured, 0);
    sealed_end(&s);
}

/* The end of a file: fewer bytes than a block. */
static void tails(int encrypts)
{
    struct sealed s;
    uint8_t got[CM_BLOCK_SIZE];
    sealed_make(&s, SMALL, encrypts);
    CHECK_EQ(pool_up(&s.p), 0);
    cm_file *f = attach(&s.p, 1, 2 * BLK + 100, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_tail(f, 2, 100, 5), 0);
    CHECK_EQ(cm_read(f, 2 * BLK, got, BLK, NULL), 100);
    CHECK(is_content(5, 2, got, 100));
    CHECK_EQ(cm_read(f, 2 * BLK + 90, got, 30, NULL), 10);
    detach(f);
    sealed_end(&s);
}

/* What is served of one block, from the slot itself. */
static enum cm_slot_verdict read_slot(cm_file *f, uint64_t block, uint64_t slot, uint32_t *got,
                                      uint8_t to[CM_BLOCK_SIZE])
{
    const cm_cache *c = cm_object_of(f)->cache;
    const struct cm_key k = key_of(f, block);
    const struct cm_part whole = { 0, CM_BLOCK_SIZE, to };
    uint64_t w0;
    memset(to, 0xee, BLK);
    return cm_slot_read(&c->media, slot, &k, c->media.boot, &whole, true, got, &w0);
}

/* Behind the end of a tail, and of a block that is not served, the reader's memory is zero. */
static void nothing_left(int encrypts)
{
    static const uint8_t zero[CM_BLOCK_SIZE];
    struct sealed s;
    uint8_t to[CM_BLOCK_SIZE];
    uint32_t got;
    sealed_make(&s, SMALL, encrypts);
    CHECK_EQ(pool_up(&s.p), 0);
    cm_file *f = attach(&s.p, 1, CM_SIZE_UNKNOWN, 1, CM_SOLE_WRITER);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(put_tail(f, 2, 100, 5), 0);
    CHECK_EQ(read_slot(f, 2, slot_of(f, 2), &got, to), CM_SLOT_HIT);
    CHECK_EQ(got, 100);
    CHECK(is_content(5, 2, to, 100) && memcmp(to + 100, zero, BLK - 100) == 0);
    payload_of(s.p.c, slot_of(f, 0))[9] ^= 1;
    CHECK_EQ(read_slot(f, 0, slot_of(f, 0), &got, to), CM_SLOT_BAD_SUM);
    CHECK_EQ(got, 0);
    CHECK(memcmp(to, zero, BLK) == 0);
    detach(f);
    sealed_end(&s);
}

static void test_nothing_left(void)
{
    CALL(nothing_left(0));
    CALL(nothing_left(1));
}

static void test_tails(void)
{
    CALL(tails(0));
    CALL(tails(1));
}

/* Blocks that wait in the probation buffer are plain, and are sealed when they leave it. */
static void test_buffer(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 1);
    s.p.o.probation_bytes = 16 * BLK;
    cm_file *f = sealed_up(&s, 1);
    for (uint64_t b = 0; b < BLOCKS; b++)
        (void)put(f, b, 7);
    CHECK_EQ(hits(f, 0, BLOCKS, 7), BLOCKS);
    sealed_again(&s, &f); /* stores those that wait */
    CHECK_EQ(hits(f, 0, BLOCKS, 7), BLOCKS);
    for (uint64_t b = 0; b < BLOCKS; b++)
        CHECK(!is_content(7, b, payload_of(s.p.c, slot_of(f, b)), 64));
    sealed_end(&s);
}

/* The same block in two slots, and two blocks of the same content, look different. */
static void test_ciphertext(void)
{
    struct sealed s;
    uint8_t zero[CM_BLOCK_SIZE] = { 0 };
    sealed_make(&s, SMALL, 1);
    cm_file *f = sealed_up(&s, 1);
    for (uint64_t b = 0; b < 2; b++) {
        const cm_miss m = miss_of(f, b * BLK, BLK);
        CHECK_EQ(cm_fill(f, &m, zero, BLK, 0), 0);
    }
    CHECK(memcmp(payload_of(s.p.c, slot_of(f, 0)), payload_of(s.p.c, slot_of(f, 1)), BLK) != 0);
    CHECK(memcmp(payload_of(s.p.c, slot_of(f, 0)), zero, 64) != 0);
    sealed_end(&s);
}

/* What the blocks of a slot were encrypted with. */
static uint8_t tweaks[2][16];
static unsigned tweaked;
static int note_tweak(void *ctx, const uint8_t tweak[16], void *block)
{
    memcpy(tweaks[tweaked++ % 2], tweak, 16);
    return toy_encrypt(ctx, tweak, block);
}

/* No two contents of a slot have the same tweak, whatever its header said before. */
static void test_tweak(void)
{
    struct sealed s;
    struct cm_header h;
    uint8_t block[CM_BLOCK_SIZE];
    sealed_make(&s, SMALL, 1);
    s.seal.encrypt = note_tweak;
    cm_file *f = sealed_up(&s, 1);
    const struct cm_key k = key_of(f, 5);
    const uint64_t slot = s.p.c->media.slots - 1; /* never used */
    tweaked = 0;
    for (unsigned i = 0; i < 2; i++) {
        content(i, 5, block);
        memset(header_of(s.p.c, slot), 0, sizeof(h));
        CHECK_EQ(cm_slot_fill(&s.p.c->media, slot, &k, block, BLK, &h), 0);
    }
    CHECK_EQ(tweaked, 2);
    CHECK(memcmp(tweaks[0], tweaks[1], 16) != 0);
    CHECK(memcmp(tweaks[1], &h.xxh3, 8) == 0);
    CHECK(memcmp(tweaks[1] + 8, &slot, 8) == 0);
    sealed_end(&s);
}

/* ---- Planted blocks -------------------------------------------------------------------------- */

static void planted(int encrypts)
{
    struct sealed s;
    sealed_make(&s, SMALL, encrypts);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, BLOCKS, 7), BLOCKS);
    CHECK_EQ(hits(f, 0, BLOCKS, 7), BLOCKS);
    content(8, 0, payload_of(s.p.c, slot_of(f, 0))); /* other bytes, and the sum of them */
    plant_sum(s.p.c, slot_of(f, 0));
    expect_dropped(&s, f, 0, 7);
    payload_of(s.p.c, slot_of(f, 1))[4095] ^= 1; /* other bytes alone, seen before */
    expect_dropped(&s, f, 1, 7);
    const uint64_t slot = slot_of(f, 2);
    header_of(s.p.c, slot)->xxh3 ^= 1; /* another tag */
    resum(s.p.c, slot);
    expect_dropped(&s, f, 2, 7);
    CHECK_EQ(hits(f, 3, BLOCKS - 3, 7), BLOCKS - 3); /* the others are as before */
    sealed_end(&s);
}

static void test_planted(void)
{
    CALL(planted(0));
    CALL(planted(1));
}

/* Content and tag of one block in the slot of another one. */
static void test_moved(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    const uint64_t from = slot_of(f, 0), to = slot_of(f, 1);
    memcpy(payload_of(s.p.c, to), payload_of(s.p.c, from), BLK);
    header_of(s.p.c, to)->xxh3 = header_of(s.p.c, from)->xxh3;
    resum(s.p.c, to);
    expect_dropped(&s, f, 1, 7);
    /* The whole slot, header and all, under the cell of another one. */
    const uint64_t third = slot_of(f, 2);
    memcpy(payload_of(s.p.c, third), payload_of(s.p.c, from), BLK);
    *header_of(s.p.c, third) = *header_of(s.p.c, from);
    resum(s.p.c, third);
    CHECK_EQ(look(f, 2, 7), MISS);
    CHECK_EQ(look(f, 0, 7), RIGHT);
    sealed_end(&s);
}

/* The slot stays, and its header says that it is something else. */
static void test_renamed(void)
{
    struct sealed s;
    uint8_t got[CM_BLOCK_SIZE];
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1), *g = attach(&s.p, 2, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 6, 7), 6);
    CHECK_EQ(put_all(g, 0, 4, 9), 4);
    struct cm_header *a = header_of(s.p.c, slot_of(f, 0)), *b = header_of(s.p.c, slot_of(f, 1));
    const uint64_t slot_a = slot_of(f, 0), slot_b = slot_of(f, 1);
    uint64_t *cell_a = cell_to(f, 0), *cell_b = cell_to(f, 1), word = *cell_a;
    /* Two blocks of a file change their headers, and their cells lead there. */
    const struct cm_header was = *a;
    *a = *b;
    *b = was;
    resum(s.p.c, slot_a);
    resum(s.p.c, slot_b);
    *cell_a = cm_cell_make(cm_cell_tag(word), s.p.c->media.boot, slot_b);
    *cell_b = cm_cell_make(cm_cell_tag(*cell_b), s.p.c->media.boot, slot_a);
    expect_dropped(&s, f, 0, 7);
    expect_dropped(&s, f, 1, 7);
    /* A block of g becomes one of f. */
    const uint64_t slot = slot_of(g, 2);
    uint64_t *cell = cell_to(f, 2);
    header_of(s.p.c, slot)->incarnation = header_of(s.p.c, slot_of(f, 2))->incarnation;
    resum(s.p.c, slot);
    *cell = cm_cell_make(cm_cell_tag(*cell), s.p.c->media.boot, slot);
    CHECK_EQ(look(f, 2, 7), MISS);
    /* A block becomes shorter: readers would take the rest for zeros or the end. */
    const uint64_t last = slot_of(f, 3);
    header_of(s.p.c, last)->block_valid = 3 << CM_VALID_BITS | 100;
    resum(s.p.c, last);
    CHECK_EQ(cm_read(f, 3 * BLK, got, BLK, NULL), 0);
    CHECK_EQ(STAT(s.p.c, miss_checksum), 4);
    CHECK(strstr(s.said, "somebody else changes the pool") != NULL);
    /* A block becomes its neighbour, and stays where it is. */
    uint64_t *next = cell_to(f, 5);
    const uint64_t slot_4 = slot_of(f, 4);
    header_of(s.p.c, slot_4)->block_valid = 5 << CM_VALID_BITS | CM_BLOCK_SIZE;
    resum(s.p.c, slot_4);
    *next = cm_cell_make(cm_cell_tag(*next), s.p.c->media.boot, slot_4);
    CHECK_EQ(look(f, 5, 7), MISS);
    CHECK_EQ(STAT(s.p.c, miss_checksum), 5);
    detach(g);
    sealed_end(&s);
}

/* The pool was emptied by a new epoch: its old blocks do not come back with new checks. */
static void test_old_epoch(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    const uint64_t slot = slot_of(f, 0);
    CHECK_EQ(bump_epoch(s.p.c), 0);
    CHECK_EQ(look(f, 0, 7), MISS);
    resum(s.p.c, slot); /* under the new key */
    CHECK_EQ((int64_t)slot_of(f, 0), (int64_t)slot);
    expect_dropped(&s, f, 0, 7);
    sealed_end(&s);
}

/* The slot that is stored anew when somebody copies it. */
static cm_cache *storing;
static uint64_t stored_anew;
int __real_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n)
{
    cm_cache *const c = storing;
    if (c && src == payload_of(c, stored_anew)) {
        storing = NULL;
        header_of(c, stored_anew)->w0 &= CM_W0_SEQ_MASK; /* as its next owner does */
        memset(payload_of(c, stored_anew), 0, BLK / 2);
    }
    return __real_cm_guard_copy(dst, src, n);
}

/* That is no damage. */
static void test_changing(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 0, 7), 0);
    stored_anew = slot_of(f, 0);
    storing = s.p.c;
    CHECK_EQ(look(f, 0, 7), MISS);
    CHECK(!storing);
    CHECK_EQ(STAT(s.p.c, miss_checksum), 0);
    sealed_end(&s);
}

/* ---- Keys ------------------------------------------------------------------------------------ */

/* The open must be refused, and nothing may change. */
static void expect_refused(struct sealed *s, int code, const char *why)
{
    uint8_t *image = map_bytes(s->p.bytes);
    memcpy(image, s->p.base, (size_t)s->p.bytes);
    s->said[0] = 0;
    CHECK_EQ(cm_open_memory(s->p.base, s->p.bytes, &s->p.o, &s->p.c), code);
    CHECK(strstr(s->said, why) != NULL);
    s->p.o.flags |= CM_OPEN_READONLY;
    CHECK_EQ(cm_open_memory(s->p.base, s->p.bytes, &s->p.o, &s->p.c), code);
    s->p.o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open_memory(s->p.base, s->p.bytes, &s->p.o, &s->p.c), code);
    s->p.o.flags = 0;
    s->p.c = NULL;
    CHECK(memcmp(image, s->p.base, (size_t)s->p.bytes) == 0);
    unmap_bytes(image, s->p.bytes);
}
#define expect_refused(...) CALL(expect_refused(__VA_ARGS__))

static void test_keys(void)
{
    struct sealed s;
    struct pool p;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 0, 7), 0);
    sealed_down(&s, f);
    s.p.o.seal = NULL;
    expect_refused(&s, CM_EKEY, "no seal was given");
    s.p.o.seal = &s.seal;
    s.key.key++;
    expect_refused(&s, CM_EKEY, "another key");
    s.key.key--;
    s.seal = toy_seal(&s.key, 1);
    expect_refused(&s, CM_EKEY, "is sealed and not encrypted");
    s.seal = toy_seal(&s.key, 0);
    f = sealed_up(&s, 1);
    CHECK_EQ(look(f, 0, 7), RIGHT); /* nothing was lost by all this */
    sealed_down(&s, f);
    sealed_end(&s);
    sealed_make(&s, SMALL, 1);
    s.seal = toy_seal(&s.key, 0);
    expect_refused(&s, CM_EKEY, "has no encrypt and decrypt");
    sealed_end(&s);
    sealed_make(&s, SMALL, 0); /* for its log */
    pool_make(&p, SMALL, 0);
    unmap_bytes(s.p.base, s.p.bytes);
    s.p.base = p.base;
    s.p.bytes = p.bytes;
    expect_refused(&s, CM_EKEY, "is not sealed, and a seal was given");
    sealed_end(&s);
}

static void test_options(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    s.seal.mac = NULL;
    expect_refused(&s, CM_EINVAL, "cm_seal: mac is NULL");
    s.seal = toy_seal(&s.key, 1);
    s.seal.decrypt = NULL;
    expect_refused(&s, CM_EINVAL, "together");
    s.seal = toy_seal(&s.key, 0);
    s.seal.reserved = 1;
    expect_refused(&s, CM_EINVAL, "CM_SEAL_INIT");
    s.seal.reserved = 0;
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.seal = &s.seal;
    s.seal.mac = NULL;
    CHECK_EQ(cm_format_memory(s.p.base, s.p.bytes, &o), CM_EINVAL);
    cm_seal other;
    cm_seal_init(&other, sizeof(other));
    CHECK_EQ(other.struct_size, (uint32_t)sizeof(other));
    s.seal = toy_seal(&s.key, 0);
    sealed_end(&s);
}

/* ---- Superblocks ----------------------------------------------------------------------------- */

static void test_planted_super(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 0, 7), 0);
    sealed_down(&s, f);
    const struct cm_super good[2] = { *super_at(&s.p, 0), *super_at(&s.p, 1) };
    /* One copy was made up, and is newer: the other one serves. */
    super_at(&s.p, 0)->seq += 10;
    super_at(&s.p, 0)->epoch += 10;
    super_seal(super_at(&s.p, 0));
    f = sealed_up(&s, 1);
    CHECK_EQ(pool_info(s.p.c).superblocks_damaged, 1);
    CHECK_EQ(look(f, 0, 7), RIGHT);
    sealed_down(&s, f);
    for (unsigned i = 0; i < 2; i++) { /* both */
        *super_at(&s.p, i) = good[i];
        super_at(&s.p, i)->inc_mark += 1;
        super_seal(super_at(&s.p, i));
    }
    expect_refused(&s, CM_EDAMAGED, "both superblocks");
    for (unsigned i = 0; i < 2; i++) { /* the pool says that it is not sealed */
        *super_at(&s.p, i) = good[i];
        super_at(&s.p, i)->incompat = 0;
        super_seal(super_at(&s.p, i));
    }
    expect_refused(&s, CM_EKEY, "is not sealed, and a seal was given");
    /* One of two says so, to somebody who knows of no key. */
    *super_at(&s.p, 1) = good[1];
    s.p.o.seal = NULL;
    expect_refused(&s, CM_EKEY, "no seal was given");
    *super_at(&s.p, 0) = good[0];
    super_at(&s.p, 1)->incompat = 0;
    super_seal(super_at(&s.p, 1));
    expect_refused(&s, CM_EKEY, "no seal was given");
    s.p.o.seal = &s.seal;
    f = sealed_up(&s, 1);
    CHECK_EQ(look(f, 0, 7), RIGHT);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* Superblocks of an earlier moment: incarnations would be given out twice. */
static void test_replayed_super(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    sealed_down(&s, f);
    const struct cm_super old[2] = { *super_at(&s.p, 0), *super_at(&s.p, 1) };
    f = sealed_up(&s, 2);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    sealed_down(&s, f);
    *super_at(&s.p, 0) = old[0];
    *super_at(&s.p, 1) = old[1];
    f = sealed_up(&s, 2); /* its record is newer than the superblock: the pool empties itself */
    CHECK_EQ(hits(f, 0, 4, 7), 0);
    CHECK(STAT(s.p.c, escalations) > 0);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* ---- Records --------------------------------------------------------------------------------- */

/* Gives the record of a closed file the sum that it has in an unsealed pool. */
static void plant_record(struct sealed *s, uint64_t place)
{
    struct cm_record *r = record_of(s->p.c, place);
    r->xxh3 = cm_format_record_sum(s->p.c->media.check_key, place, r);
    r->size_sum = cm_format_size_sum(s->p.c->media.check_key, place, r);
}

/* The record of file 1 says that its blocks are those of file 2. */
static void test_planted_record(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1), *g = attach(&s.p, 2, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    CHECK_EQ(put_all(g, 0, 4, 9), 4);
    const uint64_t of_f = cm_object_of(f)->place, of_g = cm_object_of(g)->place;
    const uint64_t incarnation = cm_object_of(g)->incarnation;
    detach(f);
    detach(g);
    record_of(s.p.c, of_f)->incarnation = incarnation;
    plant_record(&s, of_f);
    memset(record_of(s.p.c, of_g), 0, sizeof(struct cm_record));
    f = attach(&s.p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 4, 7), 0);
    detach(f);
    sealed_end(&s);
}

/* A record in the place of another one, and one of an older moment. */
static void test_moved_record(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    const uint64_t other = place / CM_RECORD_WAYS * CM_RECORD_WAYS +
                           (place + 1) % CM_RECORD_WAYS; /* of the same bucket */
    *record_of(s.p.c, other) = *record_of(s.p.c, place);
    memset(record_of(s.p.c, place), 0, sizeof(struct cm_record));
    f = attach(&s.p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 4, 7), 0);
    detach(f);
    sealed_end(&s);
}

/* The size beside a record: readers would see another end of the file. */
static void test_planted_size(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_validator v = val(CM_SIZE_UNKNOWN, 1);
    CHECK_EQ(pool_up(&s.p), 0);
    cm_file *f = attach_v(&s.p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(put(f, 0, 7), 0);
    CHECK_EQ(put_tail(f, 1, 100, 7), 0);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    f = attach_v(&s.p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ((int64_t)info_of(f).size, (int64_t)(BLK + 100));
    detach(f);
    struct cm_record *r = record_of(s.p.c, place);
    r->size = 10;
    r->size_sum = cm_format_size_sum(s.p.c->media.check_key, place, r);
    f = attach_v(&s.p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1); /* the body is right */
    CHECK(info_of(f).size == CM_SIZE_UNKNOWN);
    CHECK_EQ(look(f, 0, 7), RIGHT);
    detach(f);
    sealed_end(&s);
}

/* ---- Callbacks that fail --------------------------------------------------------------------- */

static void test_failing(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 1);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(look(f, 0, 7), MISS); /* it stays cached */
    CHECK_EQ(STAT(s.p.c, miss_conflict), 1);
    CHECK_EQ(put(f, 5, 7), CM_NOT_STORED_MEDIA);
    s.key.fails = 1; /* the first of two tries */
    CHECK_EQ(look(f, 0, 7), RIGHT);
    CHECK_EQ(put(f, 5, 7), 0);
    CHECK_EQ(STAT(s.p.c, quarantined), 0); /* no slot was lost */
    CHECK_EQ(hits(f, 0, 4, 7), 4);
    sealed_down(&s, f);
    s.key.fails = UINT32_MAX;
    expect_refused(&s, CM_ESEAL, "pool");
    s.key.fails = 1; /* of one copy alone: the other one may be older */
    CHECK_EQ(cm_open_memory(s.p.base, s.p.bytes, &s.p.o, &s.p.c), CM_ESEAL);
    s.p.c = NULL;
    s.key.fails = 0;
    f = sealed_up(&s, 1);
    CHECK_EQ(hits(f, 0, 4, 7), 4);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* A record that cannot be sealed is as one that cannot be written. */
static void test_failing_record(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    s.key.fails = 0;
    CHECK_EQ(hits(f, 0, 4, 7), 0); /* whatever became of the record */
    sealed_down(&s, f);
    f = sealed_up(&s, 1);
    CHECK_EQ(hits(f, 0, 4, 7), 0);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* The superblock says which slots may be in use before they are. If it cannot, the next fill says
 * it. */
static void test_frontier_fails(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    (void)sealed_up(&s, 1);
    struct cm_superblocks *const b = &s.p.c->super;
    const uint64_t end = b->covered + 1;
    s.key.fails = 1;
    cm_super_frontier(b, end);
    CHECK(!cm_super_covers(b, end));
    s.key.fails = 0;
    cm_super_frontier(b, end);
    CHECK(cm_super_covers(b, end));
    pool_crash(&s.p);
    (void)sealed_up(&s, 1);
    CHECK(pool_info(s.p.c).used_slots >= end);
    sealed_end(&s);
}

static struct sealed *calling;
static int mac_that_calls(void *ctx, const uint8_t head[CM_SEAL_HEAD], const void *bytes,
                          size_t len, uint8_t tag[CM_SEAL_TAG])
{
    cm_info i = CM_INFO_INIT;
    if (calling)
        CHECK_EQ(cm_get_info(calling->p.c, &i), CM_ECALLBACK);
    return toy_mac(ctx, head, bytes, len, tag);
}

static void test_callback(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    s.seal.mac = mac_that_calls;
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 0, 7), 0);
    calling = &s;
    CHECK_EQ(look(f, 0, 7), RIGHT);
    calling = NULL;
    sealed_down(&s, f);
    sealed_end(&s);
}

/* ---- The other calls ------------------------------------------------------------------------- */

static void test_pins(void)
{
    struct sealed s;
    cm_iovec iov;
    cm_pins pins;
    int n;
    sealed_make(&s, SMALL, 0);
    s.p.o.verify = CM_VERIFY_NEVER; /* has no effect */
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 0, 7), 0);
    CHECK_EQ(look(f, 0, 7), RIGHT);
    CHECK_EQ(cm_pin_range(f, 0, BLK, &iov, 1, &n, &pins, NULL), CM_ENOTSUP);
    payload_of(s.p.c, slot_of(f, 0))[0] ^= 1;
    expect_dropped(&s, f, 0, 7);
    sealed_down(&s, f);
    s.p.o.probation_bytes = 16 * BLK; /* also a block that waits in memory */
    f = sealed_up(&s, 1);
    CHECK_EQ(put(f, 1, 7), 0);
    CHECK_EQ((int64_t)slot_of(f, 1), (int64_t)CM_NO_SLOT);
    CHECK_EQ(cm_pin_range(f, BLK, BLK, &iov, 1, &n, &pins, NULL), CM_ENOTSUP);
    sealed_down(&s, f);
    sealed_end(&s);
}

static void test_check(void)
{
    struct sealed s;
    cm_check_report r = CM_CHECK_REPORT_INIT;
    sealed_make(&s, SMALL, 1);
    s.p.o.memory_durability = CM_DURABILITY_DAX;
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 6, 7), 6);
    CHECK_EQ(cm_check(s.p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ((int64_t)r.valid, 6);
    CHECK_EQ((int64_t)r.records, 1);
    plant_sum(s.p.c, slot_of(f, 2));
    r = (cm_check_report)CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(s.p.c, CM_CHECK_REPAIR, NULL, NULL, &r), 0);
    CHECK_EQ((int64_t)r.bad_payload, 1);
    CHECK_EQ((int64_t)slot_of(f, 2), (int64_t)CM_NO_SLOT);
    detach(f);
    /* A record of an earlier epoch is no damage. */
    CHECK_EQ(bump_epoch(s.p.c), 0);
    r = (cm_check_report)CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(s.p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ((int64_t)r.torn_records, 0);
    sealed_end(&s);
}

static void test_shared(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 1);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, BLOCKS, 7), BLOCKS);
    struct pool reader = s.p;
    reader.o.flags = CM_OPEN_SHARED;
    CHECK_EQ(pool_up(&reader), 0);
    cm_file *g = attach(&reader, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(hits(g, 0, BLOCKS, 7), BLOCKS);
    plant_sum(s.p.c, slot_of(f, 3));
    CHECK_EQ(look(g, 3, 7), MISS);
    CHECK_EQ(look(g, 4, 7), RIGHT);
    detach(g);
    CHECK_EQ(cm_close(reader.c), 0);
    sealed_down(&s, f);
    sealed_end(&s);
}

/* A planted superblock does not change what a reader believes. */
static void test_shared_super(void)
{
    struct sealed s;
    sealed_make(&s, SMALL, 0);
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, 4, 7), 4);
    struct pool reader = s.p;
    reader.o.flags = CM_OPEN_SHARED;
    CHECK_EQ(pool_up(&reader), 0);
    cm_file *g = attach(&reader, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(hits(g, 0, 4, 7), 4);
    const struct cm_super was = *super_at(&s.p, 0);
    super_at(&s.p, 0)->seq += 10;
    super_at(&s.p, 0)->epoch += 10;
    super_seal(super_at(&s.p, 0));
    *cm_super_session_at(&s.p.c->media) += 2; /* and it looks again */
    CHECK_EQ(hits(g, 0, 4, 7), 4);
    *super_at(&s.p, 0) = was;
    detach(g);
    CHECK_EQ(cm_close(reader.c), 0);
    sealed_down(&s, f);
    sealed_end(&s);
}

static const struct harness_test seal_tests[] = {
    TEST(not_measured),   TEST(hits),           TEST(tails),         TEST(nothing_left),
    TEST(buffer),         TEST(ciphertext),     TEST(tweak),         TEST(planted),
    TEST(moved),          TEST(renamed),        TEST(changing),      TEST(old_epoch),
    TEST(keys),           TEST(options),        TEST(planted_super), TEST(replayed_super),
    TEST(planted_record), TEST(moved_record),   TEST(planted_size),  TEST(failing),
    TEST(failing_record), TEST(frontier_fails), TEST(callback),      TEST(pins),
    TEST(check),          TEST(shared),         TEST(shared_super),  TEST_END,
};

static const struct harness_test *const tables[] = { seal_tests, seal_file_tests,
                                                     seal_failing_tests, seal_failing_pool_tests,
                                                     seal_media_tests };

char seal_dir[256];

int main(int argc, char **argv)
{
    if (!os_make_dir(seal_dir, sizeof(seal_dir), NULL, "seal"))
        return 1;
    const int failed = HARNESS_TABLES(tables, argc, argv);
    const char *const pools[] = { "pool", "failing" }; /* each test makes them anew */
    for (int i = 0; i < 2; i++) {
        char path[300];
        (void)snprintf(path, sizeof(path), "%s/%s", seal_dir, pools[i]);
        (void)remove(path);
    }
    return os_remove_dir(seal_dir) ? failed : 1;
}
