/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_pin.c - zero copy: a pinned slot does not change while all else is overwritten, the last pin
 * frees a slot that was evicted meanwhile, and the number of pins has a bound.
 */
#include "pin_common.h"

#include <inttypes.h>
#include <pthread.h>

#include "persist/persist.h"
#include "protocol/evict.h"
#include "state/pin.h"
#include "media/slot.h"

/* ---- Between two steps of a reader ----------------------------------------------------------- */

/* The linker replaces cm_guard_load_words by this (meson.build, pin_common.h). */
void (*between)(void);
uint64_t between_slot;
struct cm_cache *between_cache;

int __real_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n);
int __wrap_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n);

int __real_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0);
int __wrap_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0);

static void at_header(const uint64_t *p)
{
    if (between != NULL && p == &cm_slot_at(&between_cache->media, between_slot)->w0) {
        void (*run)(void) = between;
        between = NULL;
        run();
    }
}

int __wrap_cm_guard_load_words(const uint64_t *p, uint64_t *v, size_t n)
{
    int r = __real_cm_guard_load_words(p, v, n);
    at_header(p);
    return r;
}

int __wrap_cm_guard_look_before(const uint64_t *header, size_t n, const uint64_t key[2],
                                uint64_t *w0)
{
    int r = __real_cm_guard_look_before(header, n, key, w0);
    at_header(header);
    return r;
}

/* Pins blocks [first, first+n); the pieces must hold their content. Returns bytes. */
static int64_t pin(cm_file *f, uint64_t first, uint64_t n, cm_iovec *iov, int pieces, cm_pins *pins)
{
    int used = -1;
    int64_t r = cm_pin_range(f, first * BLK, n * BLK, iov, pieces, &used, pins, NULL);
    CHECK(r < 0 || (used >= 0 && used <= pieces));
    return r;
}

static bool pinned_is(const cm_iovec *v, uint64_t tag, uint64_t block)
{
    return is_content(tag, block, v->base, BLK);
}

/* ---- The byte of a slot ---------------------------------------------------------------------- */

/* Every state of the pin byte, and every step from it. */
static void test_byte(void)
{
    for (unsigned was = 0; was < 256; was++) {
        CASE("was %u", was);
        uint8_t b = (uint8_t)was;
        enum cm_pin_result r = cm_pin_add(&b);
        if (was & CM_PIN_DOOMED)
            CHECK(r == CM_PIN_GONE && b == was);
        else if (was == CM_PIN_COUNT)
            CHECK(r == CM_PIN_TOO_MANY && b == was);
        else
            CHECK(r == CM_PIN_OK && b == was + 1);
        b = (uint8_t)was;
        CHECK_EQ(cm_pin_doom(&b), was != 0);
        CHECK_EQ(b, was ? was | CM_PIN_DOOMED : 0);
        if ((was & CM_PIN_COUNT) == 0)
            continue;
        b = (uint8_t)was;
        CHECK_EQ(cm_pin_drop(&b), was == (CM_PIN_DOOMED | 1u));
        CHECK_EQ(b, was == (CM_PIN_DOOMED | 1u) ? 0 : was - 1);
    }
}

/* The entry of a set: only the number of its present life releases it. */
static void test_set(void)
{
    static uint32_t sets[CM_PIN_SETS];
    uint32_t life = 0;
    const uint32_t at = cm_pin_set_take(sets, 7, 3, &life);
    CHECK_EQ(at, 7 + 3);
    CHECK(!cm_pin_set_drop(sets, at, life + 1));
    CHECK(!cm_pin_set_drop(sets, at + 1, 0));
    CHECK(cm_pin_set_drop(sets, at, life));
    CHECK(!cm_pin_set_drop(sets, at, life));
    CHECK(!cm_pin_set_drop(sets, at, life + 1)); /* it is free now */
    CHECK_EQ(sets[at], life + 1);
}

/* A thread that holds many sets finds an entry for one more at once: what it holds lies scattered,
 * and is no row that a search has to pass. */
static void test_sets_lie_scattered(void)
{
    enum { PARTS = 16, PART = CM_PIN_SETS / PARTS };
    static uint32_t sets[CM_PIN_SETS];
    uint32_t life, held[PARTS] = { 0 };
    for (uint32_t slot = 0; slot < CM_PIN_SETS / 2; slot++)
        held[cm_pin_set_take(sets, 64, slot, &life) / PART]++;
    for (unsigned i = 0; i < PARTS; i++) {
        CASE("part %u holds %u", i, held[i]);
        CHECK(held[i] > PART / 4 && held[i] < PART * 3 / 4);
    }
    for (uint32_t slot = 0; slot < CM_PIN_SETS / 2; slot++)
        CHECK(cm_pin_set_take(sets, 64, slot, &life) < CM_PIN_SETS);
    CHECK_EQ(cm_pin_set_take(sets, 64, 0, &life), CM_PIN_SETS);
}

/* ---- Pins and eviction ----------------------------------------------------------------------- */

static void test_unchanged_by_churn(void)
{
    struct pool p;
    cm_iovec v[8];
    cm_pins pins[8];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 8, 5), 8);
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        CHECK_EQ(pin(f, i, 1, &v[i], 1, &pins[i]), BLK);
    }
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 8);
    (void)put_all(f, 1000, 8 * p.c->media.geo.slots, 6);
    CHECK_EQ(hits(f, 0, 8, 5), 0); /* evicted like any other */
    for (unsigned i = 0; i < 8; i++) {
        CASE("i %u", i);
        CHECK(pinned_is(&v[i], 5, i));
        CHECK_EQ(cm_unpin(&pins[i]), 0);
    }
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* The block is written, invalidated, forgotten: the bytes stay until the pin is gone. */
static void test_unchanged_by_writes(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(pin(f, 1, 1, &v, 1, &pins), BLK);
    cm_bracket w = begin_write(f, 0, 3 * BLK);
    CHECK_EQ(look(f, 1, 5), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put_all(f, 0, 3, 6), 3);
    CHECK_EQ(look(f, 1, 6), RIGHT);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(cm_file_abort(f), 0);
    (void)put_all(f, 0, 2 * p.c->media.geo.slots, 7);
    CHECK(pinned_is(&v, 5, 1));
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A slot that was evicted under a pin is out of use, and comes back when the pin is gone. */
static void test_doomed_is_freed(void)
{
    struct pool p;
    cm_iovec v[2];
    cm_pins pins[2];
    REQUIRE(pool_new(&p, cm_pool_size_min()) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    uint64_t slot = slot_of(f, 0);
    CHECK_EQ(pin(f, 0, 1, &v[0], 1, &pins[0]), BLK);
    CHECK_EQ(pin(f, 0, 1, &v[1], 1, &pins[1]), BLK);
    CHECK_EQ(p.c->pins[slot], 2);
    (void)put_all(f, 100, 400, 6);
    CHECK_EQ(p.c->pins[slot], CM_PIN_DOOMED | 2);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(slots_astray(p.c), 1);
    CHECK_EQ(cm_unpin(&pins[0]), 0);
    CHECK_EQ(p.c->pins[slot], CM_PIN_DOOMED | 1);
    CHECK(pinned_is(&v[1], 5, 0));
    CHECK_EQ(cm_unpin(&pins[1]), 0);
    CHECK_EQ(p.c->pins[slot], 0);
    CHECK_EQ(slots_astray(p.c), 0);
    (void)put_all(f, 600, 400, 7);
    CHECK(!pinned_is(&v[0], 5, 0)); /* in use again */
    pool_end(&p);
}

/* Slots of blocks that were forgotten under a pin are no empty ones, once somebody wanted them. */
static void test_doomed_is_no_room(void)
{
    enum { PINNED = 40 };
    struct pool p;
    cm_iovec v[PINNED];
    cm_pins pins;
    int used;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, PINNED, 5), PINNED);
    CHECK_EQ(cm_pin_range(f, 0, PINNED * BLK, v, PINNED, &used, &pins, NULL), PINNED * BLK);
    CHECK_EQ(cm_invalidate(f, 0, PINNED * BLK), 0);
    CHECK_EQ(p.c->policy.ring.empties, PINNED);
    (void)put_all(f, 100, 4 * p.c->media.geo.slots, 6);
    CHECK_EQ(slots_astray(p.c), PINNED);
    CHECK_EQ(p.c->policy.ring.empties, 0);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), 0);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    CHECK_EQ(cm_evict_room(p.c, CM_BATCH_MAX), CM_BATCH_MAX);
    pool_end(&p);
}

/* Every slot is pinned: fills are refused and do not wait. After the pins all slots are back. */
static void test_all_pinned(void)
{
    struct pool p;
    cm_iovec v;
    static cm_pins pins[1000];
    unsigned n = 0, refused = 0;
    REQUIRE(pool_new(&p, cm_pool_size_min()) == 0);
    uint64_t slots = p.c->media.geo.slots;
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    for (uint64_t b = 0; b < 1000 && refused < 100; b++) {
        CASE("b %" PRIu64, b);
        int r = put(f, b, 5);
        CHECK(r == 0 || r == CM_NOT_STORED_BUSY);
        refused = r ? refused + 1 : 0;
        if (r == 0)
            CHECK_EQ(pin(f, b, 1, &v, 1, &pins[n++]), BLK);
    }
    CHECK_EQ(n, slots);
    CHECK_EQ(refused, 100);
    CHECK_EQ(STAT(p.c, refused_busy) >= 100, 1);
    for (unsigned i = 0; i < n; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_unpin(&pins[i]), 0);
    }
    CHECK_EQ(slots_astray(p.c), 0);
    CHECK(put_all(f, 5000, slots, 7) + 2 >= slots);
    pool_end(&p);
}

/* An ordinary unpin leaves the block cached. */
static void test_unpin_keeps(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* ---- Bounds ---------------------------------------------------------------------------------- */

static void test_limit(void)
{
    struct pool p;
    cm_iovec v;
    static cm_pins pins[CM_PIN_COUNT + 1];
    int used = 9;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    for (unsigned i = 0; i < CM_PIN_COUNT; i++) {
        CASE("i %u", i);
        CHECK_EQ(pin(f, 1, 1, &v, 1, &pins[i]), BLK);
    }
    cm_pins *last = &pins[CM_PIN_COUNT];
    CHECK_EQ(cm_pin_range(f, BLK, BLK, &v, 1, &used, last, NULL), CM_EBUSY);
    CHECK_EQ(cm_unpin(last), CM_EINVAL);
    CHECK_EQ(look(f, 1, 5), RIGHT); /* the copy works */
    /* If a range begins with a slot that can be pinned, the pin covers that much. */
    CHECK_EQ(pin(f, 0, 2, &v, 1, last), BLK);
    CHECK_EQ(cm_unpin(last), 0);
    CHECK_EQ(cm_unpin(&pins[0]), 0);
    CHECK_EQ(pin(f, 1, 1, &v, 1, last), BLK);
    CHECK_EQ(cm_unpin(last), 0);
    for (unsigned i = 1; i < CM_PIN_COUNT; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_unpin(&pins[i]), 0);
    }
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

static void test_unpin_once(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins, copy;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
    copy = pins;
    copy.opaque[0] ^= 64;
    CHECK_EQ(cm_unpin(&copy), CM_EINVAL);
    copy = pins;
    copy.n = CM_PINS_MAX + 1;
    CHECK_EQ(cm_unpin(&copy), CM_EINVAL);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(cm_unpin(&pins), CM_EINVAL);
    CHECK_EQ(cm_unpin(NULL), CM_EINVAL);
    CHECK_EQ(pin(f, 7, 1, &v, 1, &pins), 0); /* a miss pins nothing */
    CHECK_EQ(cm_unpin(&pins), CM_EINVAL);
    pool_end(&p);
}

/* A copy of a released set must not release another caller's pin on the same slot. */
static void test_unpin_copy(void)
{
    struct pool p;
    cm_iovec v[2];
    cm_pins mine, copy, other;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 8, 5), 8);
    CHECK_EQ(pin(f, 0, 1, &v[0], 1, &mine), BLK);
    copy = mine;
    CHECK_EQ(cm_unpin(&mine), 0);
    CHECK_EQ(pin(f, 0, 1, &v[1], 1, &other), BLK);
    CHECK_EQ(cm_unpin(&copy), CM_EINVAL);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 1);
    (void)put_all(f, 1000, 8 * p.c->media.geo.slots, 6);
    CHECK(pinned_is(&v[1], 5, 0));
    CHECK_EQ(cm_unpin(&other), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* Pins survive the close of their file. A miss does not, also if the file is opened again. */
static void test_file_closed(void)
{
    static const uint8_t data[CM_BLOCK_SIZE];
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
    const cm_miss m = miss_of(f, 3 * BLK, BLK);
    detach(f);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_EHANDLE);
    f = attach(&p, 1, CM_BLOCK_MAX / 2, 2, 0); /* another version */
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_EFOREIGN);
    (void)put_all(f, 1000, 8 * p.c->media.geo.slots, 6);
    CHECK(pinned_is(&v, 5, 0));
    detach(f);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(cm_unpin(&pins), CM_EINVAL);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A miss ends at 2 MiB. */
static void test_longest_miss(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(miss_of(f, 0, 8 * MIB).len, 2 * MIB);
    CHECK(miss_of(f, 63 * BLK, 8 * MIB).len < 2 * MIB);
    pool_end(&p);
}

/* More sets than the table has: the call fails, and the caller must read. */
static void test_many_sets(void)
{
    struct pool p;
    cm_iovec v;
    static cm_pins pins[CM_PIN_SETS + 1];
    unsigned n = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_all(f, 0, 100, 5), 100);
    while (n < CM_PIN_SETS && pin(f, n % 100, 1, &v, 1, &pins[n]) == (int64_t)BLK)
        n++;
    CHECK_EQ(n, CM_PIN_SETS);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins[n]), CM_EBUSY);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), n);
    while (n > 0)
        CHECK_EQ(cm_unpin(&pins[--n]), 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins[0]), BLK);
    CHECK_EQ(cm_unpin(&pins[0]), 0);
    pool_end(&p);
}

/* At most n pieces and 64 blocks. A block beyond these is not a miss. */
static void test_pieces(void)
{
    struct pool p;
    cm_iovec v[100];
    cm_pins pins;
    cm_miss m;
    int used;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    for (uint64_t b = 0; b < 100; b += 2) { /* even ones first: no two neighbours touch */
        CASE("b %" PRIu64, b);
        CHECK_EQ(put(f, b, 5), 0);
    }
    for (uint64_t b = 1; b < 100; b += 2) {
        CASE("b %" PRIu64, b);
        CHECK_EQ(put(f, b, 5), 0);
    }
    CHECK_EQ(cm_pin_range(f, 0, 100 * BLK, v, 100, &used, &pins, &m), CM_PINS_MAX * BLK);
    CHECK_EQ(used, CM_PINS_MAX);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(pins.n, CM_PINS_MAX);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(cm_pin_range(f, 0, 100 * BLK, v, 3, &used, &pins, &m), 3 * BLK);
    CHECK_EQ(used, 3);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 3);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

static void test_merged(void)
{
    struct pool p;
    cm_iovec v[4];
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 5), 2); /* a fresh pool: slots in a row */
    bool touch = slot_of(f, 1) == slot_of(f, 0) + 1;
    int used = 0;
    CHECK_EQ(cm_pin_range(f, 100, 2 * BLK - 200, v, 4, &used, &pins, NULL), 2 * BLK - 200);
    CHECK_EQ(used, touch ? 1 : 2);
    CHECK(v[0].base == cm_slot_payload(&p.c->media, slot_of(f, 0)) + 100);
    CHECK_EQ(cm_unpin(&pins), 0);
    pool_end(&p);
}

/* Tails, the end of the file and absent blocks end a pinned range as they end a read. */
static void test_ends(void)
{
    struct pool p;
    cm_iovec v[8];
    cm_pins pins;
    cm_miss m;
    int used;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 2 * BLK + 100, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    CHECK_EQ(put_tail(f, 2, 100, 5), 0);
    CHECK_EQ(cm_pin_range(f, BLK, 9 * BLK, v, 8, &used, &pins, &m), BLK + 100);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(m.flags, CM_MISS_EOF);
    CHECK_EQ(cm_unpin(&pins), 0);
    cm_file *g = attach(&p, 2, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(g, 0, 5), 0);
    CHECK_EQ(put_tail(g, 1, 100, 5), 0);
    CHECK_EQ(cm_pin_range(g, 0, 3 * BLK, v, 8, &used, &pins, &m), BLK + 100);
    CHECK_EQ(m.offset, BLK);
    CHECK_EQ(m.len, 2 * BLK);
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(cm_pin_range(g, BLK + 100, 1, v, 8, &used, &pins, &m), 0);
    CHECK_EQ(used, 0);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

/* A pin does not give out a damaged payload, and leaves no pin behind. */
static void test_bad_sum(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    payload_of(p.c, slot_of(f, 0))[77] ^= 1;
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), 0);
    CHECK_EQ(STAT(p.c, miss_checksum), 1);
    CHECK_EQ(slot_of(f, 0), CM_NO_SLOT);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A reader drops a damaged block while it is pinned: its slot is not overwritten either. */
static void test_dropped_while_pinned(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    pool_make(&p, cm_pool_size_min(), 0);
    p.o.verify = CM_VERIFY_ALWAYS;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    uint64_t slot = slot_of(f, 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
    payload_of(p.c, slot)[4095] ^= 1;
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(p.c->pins[slot], CM_PIN_DOOMED | 1);
    (void)put_all(f, 100, 300, 6);
    CHECK(is_content(5, 0, v.base, BLK - 1));
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A longer tail displaces a pinned block: its slot is not overwritten either. */
static void test_displaced_while_pinned(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, cm_pool_size_min()) == 0);
    cm_file *f = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put_tail(f, 0, 1000, 5), 0);
    uint64_t slot = slot_of(f, 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), 1000);
    CHECK_EQ(put(f, 0, 6), 0);
    CHECK_EQ(STAT(p.c, displaced), 1);
    CHECK(slot_of(f, 0) != slot);
    CHECK_EQ(p.c->pins[slot], CM_PIN_DOOMED | 1);
    (void)put_all(f, 100, 300, 7);
    CHECK(is_content(5, 0, v.base, 1000));
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

/* A slot is emptied and filled with another block, after a pin found it and before the pin counts:
 * the pin must look again. Without verifying, because else the checksum would detect the other
 * block's bytes. */
static cm_file *refilled_file;

static void refill_some(unsigned n)
{
    unsigned left = n;
    CHECK_EQ(cm_invalidate(refilled_file, 0, n * BLK), 0);
    for (uint64_t b = 1000; b < 3000; b++) {
        CASE("b %" PRIu64, b);
        CHECK(put(refilled_file, b, 6) >= 0);
        left -= slot_of(refilled_file, b) - between_slot < n;
        if (left == 0)
            return;
    }
    FAIL("the slot was filled again");
}
static void refill(void)
{
    refill_some(1);
}
static void refill_two(void)
{
    refill_some(2);
}

static void refill_before_the_pin(bool judged)
{
    struct pool p;
    cm_iovec v = { 0 };
    cm_pins pins;
    pool_make(&p, cm_pool_size_min(), 0);
    p.o.verify = CM_VERIFY_NEVER;
    REQUIRE(pool_up(&p) == 0);
    refilled_file = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
    CHECK_EQ(put(refilled_file, 0, 5), 0);
    if (judged)
        CHECK_EQ(look(refilled_file, 0, 5), RIGHT);
    between_cache = p.c;
    between_slot = slot_of(refilled_file, 0);
    between = refill;
    CHECK_EQ(pin(refilled_file, 0, 1, &v, 1, &pins), 0); /* block 0 is a miss now */
    CHECK(between == NULL);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    CHECK_EQ(p.c->pins[between_slot], 0);
    CHECK_EQ(slots_astray(p.c), 0);
    pool_end(&p);
}

static void test_refilled_before_the_pin(void)
{
    CALL(refill_before_the_pin(false));
    CALL(refill_before_the_pin(true)); /* a pin has a shorter way to a slot that was judged */
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define PINNERS 3
#define BLOCKS 100

static struct pool shared;
static cm_file *shared_file;
static uint32_t stop;
static uint64_t pinned_ranges;

/* Pins ranges at random, reads them twice, unpins them. Every block always holds tag 5. */
static void *pinner(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg * 7919;
    cm_iovec v[4];
    while (!at_load_relaxed(&stop)) {
        uint64_t first = next_random(&rng) % BLOCKS;
        cm_pins pins;
        int used = 0;
        int64_t n = cm_pin_range(shared_file, first * BLK, 4 * BLK, v, 4, &used, &pins, NULL);
        if (n <= 0) {
            CHECK(n == 0 || n == CM_EBUSY);
            continue;
        }
        for (int look = 0; look < 2; look++) {
            CASE("look %d", look);
            uint64_t block = first;
            for (int i = 0; i < used; i++)
                for (size_t at = 0; at < v[i].len; at += BLK, block++) {
                    CASE("at %zu", at);
                    CHECK(is_content(5, block, (const uint8_t *)v[i].base + at, BLK));
                }
        }
        CHECK_EQ(cm_unpin(&pins), 0);
        at_add_relaxed(&pinned_ranges, 1);
    }
    return NULL;
}

/* Fills, evicts and invalidates. */
static void *churner(void *arg)
{
    uint64_t rng = 1 + (uint64_t)(uintptr_t)arg;
    while (!at_load_relaxed(&stop)) {
        uint64_t block = next_random(&rng) % BLOCKS;
        int r = put(shared_file, block, 5);
        CHECK(r >= 0);
        if (next_random(&rng) % 64 == 0)
            CHECK_EQ(cm_invalidate(shared_file, block * BLK, 2 * BLK), 0);
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[PINNERS + 2];
    stop = 0;
    pinned_ranges = 0;
    REQUIRE(pool_new(&shared, cm_pool_size_min()) == 0); /* 64 slots for 100 blocks */
    shared_file = attach(&shared, 1, CM_BLOCK_MAX / 2, 1, 0);
    for (uintptr_t i = 0; i < PINNERS + 2; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, i < PINNERS ? pinner : churner, (void *)i), 0);
    /* A second and a half, and longer if the threads hardly get to run. */
    for (unsigned ms = 0; ms < 1500 || (at_load_relaxed(&pinned_ranges) <= 100 && ms < 90000);
         ms += 50)
        sleep_ms(50);
    at_store_relaxed(&stop, 1u);
    for (unsigned i = 0; i < PINNERS + 2; i++)
        (void)pthread_join(t[i], NULL);
    CHECK(pinned_ranges > 100);
    CHECK_EQ(at_load_relaxed(&shared.c->pinned), 0);
    for (uint64_t s = 0; s < shared.c->media.geo.slots; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(shared.c->pins[s], 0);
    }
    CHECK_EQ(slots_astray(shared.c), 0);
    pool_end(&shared);
}

static void *unpinner(void *arg)
{
    CHECK_EQ(cm_unpin(arg), 0);
    return NULL;
}

static void test_other_thread_unpins(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    pthread_t t;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
    CHECK_EQ(pthread_create(&t, NULL, unpinner, &pins), 0);
    (void)pthread_join(t, NULL);
    CHECK_EQ(cm_unpin(&pins), CM_EINVAL);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

/* The same while a part of a judged block is read, or the block together with its neighbour, whose
 * slot is filled again, too. What was copied is other blocks': none of it stays in the buffer. */
static void test_refilled_while_read(void)
{
    for (unsigned n = 0; n < 2; n++) {
        CASE("%u", n);
        static uint8_t buf[2 * CM_BLOCK_SIZE], none[2 * CM_BLOCK_SIZE];
        struct pool p;
        pool_make(&p, cm_pool_size_min(), 0);
        p.o.verify = CM_VERIFY_NEVER;
        REQUIRE(pool_up(&p) == 0);
        refilled_file = attach(&p, 1, CM_BLOCK_MAX / 2, 1, 0);
        CHECK_EQ(put_all(refilled_file, 0, 2, 5), 2);
        CHECK_EQ(hits(refilled_file, 0, 2, 5), 2);
        between_cache = p.c;
        between_slot = slot_of(refilled_file, 0);
        REQUIRE(slot_of(refilled_file, 1) == between_slot + 1);
        between = n == 0 ? refill : refill_two;
        memset(buf, 0xee, sizeof(buf));
        CHECK_EQ(cm_read(refilled_file, 0, buf, n == 0 ? 100 : sizeof(buf), NULL), 0);
        CHECK(between == NULL);
        CHECK(memcmp(buf, none, n == 0 ? 100 : sizeof(buf)) == 0);
        CHECK_EQ(STAT(p.c, miss_short), 0); /* it is not cached, and not a tail either */
        pool_end(&p);
    }
}

/* A cell leads to the slot of another block, which was judged: it is not pinned in its place. */
static void test_other_key(void)
{
    struct pool p;
    cm_iovec v = { 0 };
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    CHECK_EQ(hits(f, 0, 2, 5), 2);
    out_of_order(p.c);
    struct cm_key k = key_of(f, 0);
    *cell_to(f, 0) = cm_cell_make(k.place.tag, p.c->media.boot, slot_of(f, 1));
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), 0);
    CHECK_EQ(pin(f, 1, 1, &v, 1, &pins), BLK);
    CHECK(pinned_is(&v, 5, 1));
    CHECK_EQ(cm_unpin(&pins), 0);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    pool_end(&p);
}

/* A pin of a block that was judged is a hit to the policy, like the first one. */
static void test_counts(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    struct cm_ring *r = &p.c->policy.ring;
    const uint64_t slot = slot_of(f, 0);
    for (unsigned judged = 0; judged < 2; judged++) {
        CASE("judged %u", judged);
        CHECK_EQ(cm_ring_is_verified(r, slot), judged);
        cm_ring_set(r, slot, 0);
        memset(cm_plat_thread()->recent, 0, sizeof(cm_plat_thread()->recent));
        CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), BLK);
        CHECK_EQ(cm_unpin(&pins), 0);
        CHECK_EQ(cm_ring_count(r, slot), 1);
    }
    pool_end(&p);
}

/* The headers cannot be read any more, after they were read once. Nothing is pinned or served, and
 * nothing stays in the buffer. */
void forbid_headers(void)
{
    os_protect(header_of(between_cache, 0), BLK, OS_NOTHING);
}

static void test_second_look_fails(void)
{
    for (unsigned n = 0; n < 3; n++) {
        CASE("%u", n);
        static uint8_t buf[2 * CM_BLOCK_SIZE], none[2 * CM_BLOCK_SIZE];
        struct pool p;
        cm_iovec v;
        cm_pins pins;
        if (!cm_guard_available())
            SKIP("no fault guard in this build");
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 2, 5), 2);
        CHECK_EQ(hits(f, 0, 2, 5), 2);
        between_cache = p.c;
        between_slot = slot_of(f, 0);
        between = forbid_headers;
        memset(buf, 0xee, sizeof(buf));
        if (n == 0) {
            CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), 0);
            CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
            CHECK_EQ(p.c->pins[between_slot], 0);
        } else {
            CHECK_EQ(cm_read(f, 0, buf, n == 1 ? 100 : sizeof(buf), NULL), 0);
            CHECK(memcmp(buf, none, n == 1 ? 100 : sizeof(buf)) == 0);
        }
        CHECK(between == NULL);
        CHECK_EQ(STAT(p.c, miss_media), 1);
        os_protect(header_of(p.c, 0), BLK, OS_WRITE);
        pool_end(&p);
    }
}

/* The payload cannot be read when the pin verifies it: nothing is pinned, and the slot is out of
 * use. */
static void test_unreadable(void)
{
    struct pool p;
    cm_iovec v;
    cm_pins pins;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, MIB, 0);
    p.o.verify = CM_VERIFY_ALWAYS;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 2, 5), 2);
    const uint64_t slot = slot_of(f, 0);
    os_protect(payload_of(p.c, slot), BLK, OS_NOTHING);
    CHECK_EQ(pin(f, 0, 1, &v, 1, &pins), 0);
    os_protect(payload_of(p.c, slot), BLK, OS_WRITE);
    CHECK_EQ(at_load_relaxed(&p.c->pinned), 0);
    CHECK_EQ(p.c->pins[slot], 0);
    CHECK_EQ(STAT(p.c, miss_media), 1);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK(cm_ring_is_owned(&p.c->policy.ring, slot));
    CHECK_EQ(look(f, 0, 5), MISS);
    CHECK_EQ(STAT(p.c, verified), 0);
    CHECK_EQ(pin(f, 1, 1, &v, 1, &pins), BLK);
    CHECK_EQ(STAT(p.c, verified), 1);
    CHECK_EQ(cm_unpin(&pins), 0);
    const struct cm_trouble *t = &p.c->trouble[CM_TROUBLE_MEDIA];
    CHECK(at_load_relaxed(&t->count) + at_load_relaxed(&t->said_at) > 0); /* it is told */
    pool_end(&p);
}

static const struct harness_test pin_tests[] = {
    TEST(unreadable),
    TEST(byte),
    TEST(set),
    TEST(sets_lie_scattered),
    TEST(unchanged_by_churn),
    TEST(unchanged_by_writes),
    TEST(doomed_is_freed),
    TEST(doomed_is_no_room),
    TEST(all_pinned),
    TEST(unpin_keeps),
    TEST(limit),
    TEST(unpin_once),
    TEST(unpin_copy),
    TEST(file_closed),
    TEST(longest_miss),
    TEST(many_sets),
    TEST(pieces),
    TEST(merged),
    TEST(ends),
    TEST(bad_sum),
    TEST(displaced_while_pinned),
    TEST(dropped_while_pinned),
    TEST(refilled_before_the_pin),
    TEST(refilled_while_read),
    TEST(other_key),
    TEST(counts),
    TEST(second_look_fails),
    TEST(threads),
    TEST(other_thread_unpins),
    TEST_END,
};

static const struct harness_test *const tables[] = { pin_tests, pin_between_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
