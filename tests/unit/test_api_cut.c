/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_cut.c - the file of an open pool is cut inside a page. The system fills the rest of that
 * page with zeros, and no fault tells. No way of reading may give one of them.
 */
#include "api_common.h"

#ifndef _WIN32
#include <pthread.h>

#include "../os.h"
#include "api/cache.h"

#define TAG 5u
#define HOT 60u /* blocks that every test stores; the block that is cut is one of them */
#define CUT 40u
#define SOME 8u /* blocks of a long read, and of one of many places */

/* ---- Scenery --------------------------------------------------------------------------------- */

static unsigned told; /* how often the log said that the file was truncated */
static struct pool p;
static cm_file *f;
static const char *path;

static void count_told(void *ctx, int level, const char *text)
{
    (void)ctx;
    told += level == CM_LOG_ERROR && strstr(text, "truncated") != NULL;
}

static cm_cache *open_as(uint32_t flags, uint32_t verify, uint64_t grow_max)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    o.probation_bytes = CM_PROBATION_NONE;
    o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    o.flags = flags;
    o.verify = verify;
    o.grow_max = grow_max;
    o.log = count_told;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    return c;
}

static cm_file *attach_to(cm_cache *c)
{
    struct pool as = { .c = c };
    return attach(&as, 1, 1000 * BLK, 1, 0);
}

/* A pool with HOT blocks, each of which has hit. */
static bool cut_up(uint32_t verify)
{
    path = make_pool("cut", MIB, 0);
    memset(&p, 0, sizeof(p));
    p.c = open_as(0, verify, 2 * MIB);
    if (!p.c)
        return false;
    f = attach_to(p.c);
    CHECK_EQ(put_all(f, 0, HOT, TAG), HOT);
    CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
    CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
    told = 0;
    return true;
}

/* The loss was noticed, and nothing hits any more. */
static void cut_down(void)
{
    CHECK_EQ(told, 1);
    CHECK_EQ(hits(f, 0, HOT, TAG), 0);
    CHECK(put(f, 900, TAG) != 0);
    CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    CHECK_EQ(told, 1);
    (void)unlink(path);
}

static uint64_t place_of(cm_file *file, uint64_t block)
{
    const uint64_t slot = slot_of(file, block);
    CHECK(slot != CM_NO_SLOT);
    return cm_format_payload_at(&cm_object_of(file)->cache->media.geo, slot);
}

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    uint8_t *to = buf;
    (void)ctx;
    for (size_t at = 0; at < len; at += BLK) {
        uint8_t data[CM_BLOCK_SIZE];
        content(TAG, (offset + at) / BLK, data);
        memcpy(to + at, data, len - at < BLK ? len - at : (size_t)BLK);
    }
    return (int64_t)len;
}

/* ---- Ways of reading ------------------------------------------------------------------------- */

enum way {
    ONE,
    TAIL,
    WHOLE,
    RESIDENT,
    LONG,
    LONG_WHOLE,
    MANY,
    MANY_LONG,
    THROUGH,
    PIN,
    PINS,
    WAYS
};

/* `got` bytes of `from` on are those of the file. */
static void check_bytes(const uint8_t *buf, uint64_t from, int64_t got)
{
    for (int64_t at = 0; at < got;) {
        const uint64_t in = (from + (uint64_t)at) % BLK;
        const int64_t some = got - at < (int64_t)(BLK - in) ? got - at : (int64_t)(BLK - in);
        uint8_t want[CM_BLOCK_SIZE];
        content(TAG, (from + (uint64_t)at) / BLK, want);
        CHECK(memcmp(want + in, buf + at, (size_t)some) == 0);
        at += some;
    }
}
#define check_bytes(...) CALL(check_bytes(__VA_ARGS__)) /* its checks say who called */

static int64_t read_many_of(cm_file *file, uint64_t first, size_t len, uint8_t *buf)
{
    cm_read_vec v[SOME] = { { 0 } };
    int64_t all = 0;
    for (unsigned i = 0; i < SOME; i++) {
        v[i].offset = (first + i) * BLK;
        v[i].buf = buf + i * 2 * BLK;
        v[i].len = len;
    }
    CHECK(cm_read_many(file, v, SOME) >= 0);
    for (unsigned i = 0; i < SOME; i++) {
        check_bytes(v[i].buf, v[i].offset, v[i].result);
        all += v[i].result;
    }
    return all;
}

static int64_t pin_of(cm_file *file, uint64_t first, size_t len)
{
    cm_iovec iov[SOME];
    cm_pins pins;
    int n = 0;
    uint64_t at = first * BLK;
    const int64_t got = cm_pin_range(file, at, len, iov, SOME, &n, &pins, NULL);
    for (int i = 0; i < n; i++) {
        check_bytes(iov[i].base, at, (int64_t)iov[i].len);
        at += iov[i].len;
    }
    if (got > 0)
        CHECK_EQ(cm_unpin(&pins), 0);
    return got;
}

/* Reads blocks from the one that is cut on. Returns how many bytes the pool served, or an error. */
static int64_t read_by(enum way way, cm_file *file, uint64_t first)
{
    static uint8_t buf[SOME * 2 * CM_BLOCK_SIZE];
    const size_t len = way == LONG || way == LONG_WHOLE ? SOME * BLK : BLK;
    int64_t n = 0;
    switch (way) {
    case ONE:
    case LONG:
        n = cm_read(file, first * BLK, buf, len, NULL);
        check_bytes(buf, first * BLK, n);
        return n;
    case TAIL:
        n = cm_read(file, first * BLK + 3900, buf, 100, NULL);
        check_bytes(buf, first * BLK + 3900, n);
        return n;
    case WHOLE:
    case LONG_WHOLE:
    case RESIDENT:
        n = cm_read_whole(file, first * BLK, buf, len, way == RESIDENT ? CM_READ_RESIDENT : 0);
        check_bytes(buf, first * BLK, n);
        return n == CM_EABSENT ? 0 : n;
    case MANY:
        return read_many_of(file, first, BLK, buf);
    case MANY_LONG:
        return read_many_of(file, first, 2 * BLK, buf);
    case THROUGH:
        n = cm_read_through(file, first * BLK, buf, BLK, read_origin, NULL);
        CHECK_EQ(n, BLK);
        check_bytes(buf, first * BLK, n);
        return 0;
    case PIN:
        return pin_of(file, first, BLK);
    default:
        return pin_of(file, first, SOME * BLK);
    }
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* Nothing else is read after the cut than the block in which it lies, or blocks around it. */
static void test_cut_block(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned way = 0; way < WAYS; way++)
        for (unsigned verify = CM_VERIFY_FIRST_HIT; verify <= CM_VERIFY_NEVER; verify++) {
            CASE("way %u, verify %u", way, verify);
            REQUIRE(cut_up(verify));
            CHECK(read_by(way, f, CUT) > 0 || way == THROUGH);
            CHECK_EQ(os_resize(path, place_of(f, CUT) + 2000), 0);
            CHECK_EQ(read_by(way, f, CUT), 0);
            if (way == RESIDENT) /* a page that was cut off is not in memory: it asks no further */
                CHECK_EQ(look(f, CUT, TAG), MISS);
            CALL(cut_down());
        }
}

/* The cut comes when the block was found, and is about to be copied. */
static cm_guard_take_fn take;
static uint64_t cut_at;

static int cut_and_take(const uint64_t *header, const void *src, void *dst, size_t n, uint64_t w1,
                        uint64_t w2)
{
    if (cut_at) {
        CHECK_EQ(os_resize(path, cut_at), 0);
        cut_at = 0;
    }
    if (take)
        return take(header, src, dst, n, w1, w2);
    const int e = cm_guard_copy(dst, src, n);
    return e ? e : header[1] == w1 && header[2] == w2;
}

static void test_cut_before_copy(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    static const enum way ways[] = { ONE, WHOLE, MANY, THROUGH };
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        CASE("way %u", ways[i]);
        REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
        cut_at = place_of(f, CUT) + 2000;
        take = p.c->media.take;
        p.c->media.take = cut_and_take;
        CHECK_EQ(read_by(ways[i], f, CUT), 0);
        CHECK_EQ(cut_at, 0);
        CALL(cut_down());
    }
}

/* Of a cut in the last page of the file no fault tells. */
static void test_cut_last_page(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned way = 0; way < WAYS; way++)
        for (unsigned verify = CM_VERIFY_FIRST_HIT; verify <= CM_VERIFY_NEVER; verify++) {
            CASE("way %u, verify %u", way, verify);
            REQUIRE(cut_up(verify));
            const struct cm_geometry *g = &p.c->media.geo;
            REQUIRE(cm_format_payload_at(g, g->slots - 1) == MIB - BLK);
            /* Which blocks find their buckets full is luck: then another one gets the slot. */
            for (uint64_t b = HOT; b < 1000 - SOME && !slot_ok(p.c, g->slots - 1); b++)
                (void)put(f, b, TAG);
            REQUIRE(slot_ok(p.c, g->slots - 1));
            const uint64_t last = cm_header_block(header_of(p.c, g->slots - 1));
            for (unsigned i = 0; i < 3; i++)
                CHECK_EQ(look(f, last, TAG), RIGHT);
            CHECK_EQ(os_resize(path, MIB - BLK + 2000), 0);
            /* All others are whole, and are read before that one is. */
            CHECK(read_by(way, f, last) < (int64_t)(SOME * 2 * BLK));
            CALL(cut_down());
        }
}

/* The tables are cut. */
static void test_cut_tables(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned i = 0; i < 6; i++) {
        CASE("table %u", i);
        REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
        const struct cm_geometry *g = &p.c->media.geo;
        const uint8_t *index = (const uint8_t *)cm_index_bucket(&p.c->media, 0);
        const uint64_t at[] = { 5000,
                                CM_STATS_OFFSET + 100,
                                g->record_offset + 100,
                                (uint64_t)(index - p.c->media.base) + 1000,
                                g->header_offset + HOT / 2 * sizeof(struct cm_header) + 5,
                                g->slot_offset + 5 };
        CHECK_EQ(os_resize(path, at[i]), 0);
        CHECK_EQ(hits(f, 0, HOT, TAG), 0);
        CALL(cut_down());
    }
}

/* A reader of a pool that another cache owns. */
static void test_cut_shared(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned way = 0; way < PIN; way++) {
        CASE("way %u", way);
        REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
        cm_cache *reader = open_as(CM_OPEN_SHARED, CM_VERIFY_FIRST_HIT, 0);
        REQUIRE(reader != NULL);
        cm_file *g = attach_to(reader);
        CHECK_EQ(hits(g, 0, HOT, TAG), HOT);
        CHECK(read_by(way, g, CUT) > 0 || way == THROUGH);
        CHECK_EQ(os_resize(path, place_of(f, CUT) + 2000), 0);
        CHECK_EQ(read_by(way, g, CUT), 0);
        if (way == RESIDENT)
            CHECK_EQ(look(g, CUT, TAG), MISS);
        CHECK_EQ(told, 1);
        CHECK_EQ(hits(g, 0, HOT, TAG), 0);
        (void)cm_close(reader);
        told = 0;
        CHECK_EQ(read_by(way == RESIDENT ? ONE : way, f, CUT), 0);
        CALL(cut_down());
    }
}

/* Pins are taken back because of the cut. That one block had as many pins as fit does not matter
 * then. */
static void test_cut_busy(void)
{
    static cm_pins many[200];
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
    unsigned n = 0;
    cm_iovec iov[2];
    int pieces = 0;
    while (n < 200 && cm_pin_range(f, 11 * BLK, BLK, iov, 2, &pieces, &many[n], NULL) == BLK)
        n++;
    REQUIRE(n > 0 && n < 200);
    CHECK(place_of(f, 10) < place_of(f, CUT));
    CHECK_EQ(os_resize(path, place_of(f, CUT) + 2000), 0);
    CHECK_EQ(pin_of(f, 10, 2 * BLK), 0); /* a miss, and not CM_EBUSY */
    while (n > 0)
        CHECK_EQ(cm_unpin(&many[--n]), 0);
    CALL(cut_down());
}

/* A pool that has grown ends elsewhere. */
static void test_cut_grown(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
    CHECK_EQ(cm_grow(p.c, 2 * MIB, NULL), 0);
    const uint64_t slots = cm_media_slots(&p.c->media);
    uint64_t late = 0;
    CHECK(put_all(f, HOT, slots - HOT, TAG) > 0);
    while (late < slots && (slot_of(f, late) == CM_NO_SLOT || place_of(f, late) < MIB + MIB / 2))
        late++;
    REQUIRE(late < slots);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(look(f, late, TAG), RIGHT);
    /* It need not be verified again, as nothing in the last page before the growth. */
    CHECK(cm_ring_is_verified(&p.c->policy.ring, slot_of(f, late)));
    CHECK_EQ(os_resize(path, place_of(f, late) + 2000), 0);
    CHECK_EQ(look(f, late, TAG), MISS);
    CALL(cut_down());
}

/* How many slots below `end` are marked as verified? */
static uint64_t verified_below(uint64_t end)
{
    uint64_t n = 0;
    for (uint64_t s = 0; s < end; s++)
        n += cm_ring_is_verified(&p.c->policy.ring, s);
    return n;
}

/* The file is whole, and its last `bad` bytes cannot be loaded. Then the pool goes on, and the last
 * page before them tells of a cut. Only what lies in that page, or behind it, is verified in each
 * hit. */
static void check_unreadable_end(size_t bad)
{
    CASE("%zu bytes", bad);
    REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
    const uint64_t slots = cm_media_slots(&p.c->media), end = MIB - bad - cm_plat_cut_page();
    uint64_t known = 0;
    CHECK(put_all(f, HOT, slots - HOT, TAG) > 0);
    CHECK(hits(f, 0, slots, TAG) > HOT);
    while (cm_format_payload_at(&p.c->media.geo, known) + BLK <= end)
        known++;
    const uint64_t verified = verified_below(known);
    CHECK(verified > HOT);
    os_protect(p.c->media.base + MIB - bad, bad, OS_NOTHING);
    (void)look(f, CUT, TAG); /* it notes that, and may be a miss */
    CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
    CHECK_EQ(told, 0);
    CHECK_EQ(p.c->media.end - p.c->media.base, end);
    CHECK_EQ(p.c->known, known);
    CHECK_EQ(verified_below(known), verified);
    CHECK_EQ(verified_below(slots), verified);
    CHECK_EQ(os_resize(path, place_of(f, CUT) + 2000), 0);
    CHECK_EQ(look(f, CUT, TAG), MISS);
    CALL(cut_down());
}

static void test_cut_unreadable_end(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    CALL(check_unreadable_end(cm_plat_cut_page()));
    CALL(check_unreadable_end(65536));           /* some pages of any size */
    CALL(check_unreadable_end(MIB / 2 + 65536)); /* steps that double go far beyond */
}

static uint32_t grown; /* atomic */
static void *grow_beside(void *arg)
{
    CHECK_EQ(cm_grow(p.c, 2 * MIB, NULL), 0);
    at_store_release(&grown, 1u);
    return arg;
}

/* While one thread looks for an end, another one goes on without a look, and a growth waits: what
 * lies behind the end never counts as known. */
static void test_cut_end_beside(void)
{
    const size_t page = cm_plat_cut_page();
    pthread_t t;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
    struct cm_media *const m = &p.c->media;
    const uint8_t *const end = m->end;
    const uint64_t known = p.c->known;
    cm_lock_acquire(&p.c->end); /* so does a thread that looks */
    os_protect(m->base + MIB - page, page, OS_NOTHING);
    (void)look(f, CUT, TAG);
    (void)look(f, CUT, TAG);
    CHECK(m->end == end);
    os_protect(m->base + MIB - page, page, OS_WRITE);
    grown = 0;
    REQUIRE(pthread_create(&t, NULL, grow_beside, NULL) == 0);
    while (at_load_relaxed(&p.c->end.word) != 2 && !at_load_acquire(&grown))
        usleep(1000);
    CHECK_EQ(at_load_acquire(&grown), 0);
    CHECK(at_load_relaxed(&m->end) == end);
    CHECK_EQ(at_load_relaxed(&p.c->known), known);
    cm_lock_release(&p.c->end);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK(m->end == m->base + 2 * MIB - page);
    CHECK(p.c->known > known);
    CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
    CHECK_EQ(told, 0);
    CHECK_EQ(cm_close(p.c), 0);
    (void)unlink(path);
}

static int cut_in_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    return os_resize(path, MIB - BLK + 2000);
}

/* The file is cut during a check: the zeros look like blocks that were never used. */
static void test_cut_in_check(void)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    REQUIRE(cut_up(CM_VERIFY_FIRST_HIT));
    CHECK_EQ(cm_check(p.c, 0, cut_in_progress, NULL, &r), CM_ETRUNCATED);
    CALL(cut_down());
}

/* Without a guard nobody loads the last page for a look: if that cannot be done, and the file is
 * whole, the process would end. */
static void test_cut_no_guard(void)
{
    const size_t page = cm_plat_cut_page();
    for (unsigned shared = 0; shared < 2; shared++) {
        CASE("shared %u", shared);
        REQUIRE(cut_up(CM_VERIFY_FIRST_HIT)); /* nothing is stored in the last page */
        CHECK_EQ(cm_close(p.c), 0);
        p.c = open_as(CM_OPEN_NO_GUARD | (shared ? CM_OPEN_SHARED : 0u), CM_VERIFY_FIRST_HIT, 0);
        REQUIRE(p.c != NULL);
        REQUIRE(p.c->media.end == p.c->media.base);
        CHECK_EQ(p.c->known, UINT64_MAX);
        f = attach_to(p.c);
        os_protect(p.c->media.base + MIB - page, page, OS_NOTHING);
        CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
        CHECK_EQ(hits(f, 0, HOT, TAG), HOT);
        os_protect(p.c->media.base + MIB - page, page, shared ? OS_READ : OS_WRITE);
        CHECK_EQ(cm_close(p.c), 0);
        (void)unlink(path);
    }
}
#else
#define NO_CUTS(name)                                                                              \
    static void test_##name(void)                                                                  \
    {                                                                                              \
        SKIP("the system lets nobody cut a mapped file (test_platform: cut_refused)");             \
    }
NO_CUTS(cut_block)
NO_CUTS(cut_before_copy)
NO_CUTS(cut_last_page)
NO_CUTS(cut_tables)
NO_CUTS(cut_shared)
NO_CUTS(cut_busy)
NO_CUTS(cut_grown)
NO_CUTS(cut_unreadable_end)
NO_CUTS(cut_end_beside)
NO_CUTS(cut_no_guard)
NO_CUTS(cut_in_check)
#endif

const struct harness_test api_cut_tests[] = {
    TEST(cut_block),      TEST(cut_before_copy), TEST(cut_last_page), TEST(cut_tables),
    TEST(cut_shared),     TEST(cut_busy),        TEST(cut_grown),     TEST(cut_unreadable_end),
    TEST(cut_end_beside), TEST(cut_no_guard),    TEST(cut_in_check),  TEST_END,
};
