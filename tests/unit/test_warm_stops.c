/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_warm_stops.c - cm_warm(): when it goes on, when it ends early, and what it says then.
 */
#include "warm_common.h"

#include <pthread.h>

#include "api/cache.h"
#include "api/flight.h"

/* ---- Arguments, errors, cancelling ----------------------------------------------------------- */

static int64_t read_too_much(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    (void)offset;
    memset(buf, 1, len);
    return (int64_t)len + 1;
}

static void test_arguments(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    cm_warm_options opts = CM_WARM_OPTIONS_INIT, init;
    cm_warm_report r = { .struct_size = sizeof(r) };
    cm_file *f = open_both(&p, MIB, o.size);
    memset(&init, 0xee, sizeof(init));
    cm_warm_options_init(&init, sizeof(init));
    CHECK(memcmp(&init, &opts, sizeof(init)) == 0);
    CHECK_EQ(cm_warm(NULL, 0, BLK, NULL, origin_read, &o, &r), CM_EHANDLE);
    CHECK_EQ(cm_warm(f, 0, BLK, NULL, NULL, &o, &r), CM_EINVAL);
    CHECK_EQ(cm_warm(f, 1, CM_ALL - 1, NULL, origin_read, &o, &r), CM_ERANGE);
    CHECK_EQ(cm_warm(f, CM_ALL, CM_ALL, NULL, origin_read, &o, &r), CM_ERANGE);
    opts.flags = 2;
    CHECK_EQ(cm_warm(f, 0, BLK, &opts, origin_read, &o, &r), CM_EINVAL);
    opts = (cm_warm_options)CM_WARM_OPTIONS_INIT;
    opts.reserved[1] = 1;
    CHECK_EQ(cm_warm(f, 0, BLK, &opts, origin_read, &o, &r), CM_EINVAL);
    r.struct_size = 5;
    CHECK_EQ(cm_warm(f, 0, BLK, NULL, origin_read, &o, &r), CM_EINVAL);
    CHECK_EQ(o.calls, 0);
    r.struct_size = 0;
    opts = (cm_warm_options){ 0 };
    CHECK_EQ(cm_warm(f, 0, BLK, &opts, origin_read, &o, &r), 0);
    CHECK_EQ(r.struct_size, sizeof(r));
    CHECK_EQ(r.stored, BLK);
    r.struct_size = sizeof(r);
    CHECK_EQ(cm_warm(f, BLK, BLK, NULL, read_too_much, NULL, &r), CM_EINVAL);
    CHECK_EQ(r.end, BLK);
    CHECK_EQ(STAT(p.c, fill_blocks), 1);
    CHECK_EQ(p.c->live, 0);
    pool_end(&p);
}

/* An error of the origin ends the call. What came before it stays, and the next call goes on. */
static void test_origin_error(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    o.bad_block = 100;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), -1234);
    CHECK(r.end > 0 && r.end <= 100 * BLK);
    CHECK_EQ(r.cached, r.end);
    CHECK_EQ(r.read, r.end);
    CHECK_EQ(in_pool(f, 0, 200), r.end / BLK);
    o.bad_block = 0;
    CHECK_EQ(warm(f, r.end, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(in_pool(f, 0, 200), 200);
    CHECK_EQ(hits(f, 0, 200, o.tag), 200);
    pool_end(&p);
}

static void test_cancel(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    struct told w = { .cancel_at = 2 };
    const cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK_EQ(o.calls, 2);
    CHECK_EQ(r.end, w.done);
    CHECK_EQ(r.end, 2 * (p.c->media.geo.slots / 32 * BLK));
    CHECK_EQ(in_pool(f, 0, 200), r.end / BLK);
    pool_end(&p);
}

/* ---- A pool that is too small ---------------------------------------------------------------- */

/* The range is longer than the pool: the pool is full of its beginning. */
static void test_small_pool(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, o.size);
    const uint64_t slots = p.c->media.geo.slots;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_ROOM);
    CHECK_EQ(r.end, slots * BLK);
    CHECK_EQ(r.cached, r.end);
    CHECK_EQ(r.read, r.end);
    CHECK(in_pool(f, 0, slots) + (uint64_t)STAT(p.c, displaced) >= slots);
    const uint32_t calls = o.calls;
    (void)warm(f, 0, r.end, NULL, &o, &r); /* but for what was displaced, nothing is left to do */
    CHECK(o.calls <= calls + STAT(p.c, displaced));
    /* What it finds counts, too. */
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_ROOM);
    CHECK_EQ(r.end, slots * BLK);
    pool_end(&p);
}

/* As long as the pool exactly. */
static void test_exact_pool(void)
{
    struct pool p;
    struct origin o = make_origin(1000 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(warm(f, 0, p.c->media.geo.slots * BLK, NULL, &o, &r), 0);
    pool_end(&p);
}

/* All slots hold blocks of another file, which were used often. If they still are, what comes in
 * new pushes itself out, and the call ends soon. Else it goes on to the end. */
static void test_used_pool(void)
{
    for (unsigned still = 0; still < 2; still++) {
        CASE("still %u", still);
        struct pool p;
        struct origin o = make_origin(4000 * BLK);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        cm_file *other = attach(&p, 2, o.size, 1, 0);
        const uint64_t slots = p.c->media.geo.slots, n = slots * 3 / 4;
        CHECK_EQ(cm_file_advise(other, CM_ADVISE_KEEP), 0);
        (void)put_all(other, 0, slots, o.tag);
        o.during = still ? use_all : NULL;
        o.during_ctx = other;
        CHECK_EQ(warm(f, 0, n * BLK, NULL, &o, &r), still ? CM_NOT_STORED_ROOM : 0);
        if (still)
            CHECK(r.end < n * BLK / 2 && in_pool(other, 0, slots) > slots / 2);
        else
            CHECK(in_pool(f, 0, n) > n * 9 / 10);
        pool_end(&p);
    }
}

static int64_t fails(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)offset, (void)buf, (void)len;
    return *(const int64_t *)ctx;
}

/* An error of the origin ends the call, however low its number is. */
static void test_low_errors(void)
{
    static const int64_t error[] = { -1,
                                     -1001,
                                     INT32_MIN,
                                     INT32_MIN - INT64_C(1),
                                     -INT64_C(4294967291),
                                     -(INT64_C(1) << 33),
                                     INT64_MIN };
    struct pool p;
    cm_warm_report r = { .struct_size = sizeof(r) };
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    for (unsigned i = 0; i < sizeof(error) / sizeof(*error); i++) {
        CASE("i %u", i);
        int64_t e = error[i];
        CHECK_EQ(cm_warm(f, 0, CM_ALL, NULL, fails, &e, &r), e < INT32_MIN ? INT32_MIN : e);
        CHECK_EQ(r.end, 0);
    }
    pool_end(&p);
}

/* ---- Nothing may be stored ------------------------------------------------------------------- */

static void test_modes(void)
{
    struct pool p;
    struct origin o = make_origin(20 * BLK);
    cm_warm_report r;
    cm_sync s;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(put(f, 0, o.tag), 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_MODE);
    CHECK(r.end == BLK && r.cached == BLK);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_MODE);
    CHECK(r.end == 0 && r.cached == 0);
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_file_set_ttl(f, 1), 0); /* is over at once */
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, 0);
    CHECK_EQ(cm_file_set_ttl(f, 0), 0);
    CHECK_EQ(warm(f, 0, 2 * BLK, NULL, &o, &r), 0);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_MODE); /* the file is bypassed */
    CHECK_EQ(r.end, 0);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(STAT(p.c, refused_mode) + STAT(p.c, refused_stale), 0);
    pool_end(&p);
}

static void freeze(void *f)
{
    cm_object_of(f)->cache->mode = CM_FREEZE;
}

/* The mode changes while the call is under way. */
static void test_mode_meanwhile(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    struct told w = { .act = freeze, .act_at = 2 };
    const cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    w.f = f;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_MODE);
    CHECK_EQ(o.calls, 2);
    CHECK_EQ(r.end, w.done);
    CHECK_EQ(r.cached, r.end);
    pool_end(&p);
}

/* The blocks of an open bracket are left out, and not read. */
static void test_bracket(void)
{
    struct pool p;
    struct origin o = make_origin(6 * GROUP * BLK + 100);
    cm_warm_report r;
    cm_file *f = open_both(&p, 256 * MIB, o.size);
    cm_bracket b = begin_write(f, GROUP * BLK, BLK);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(r.cached, r.stored);
    CHECK_EQ(r.read, r.stored);
    CHECK_EQ(in_pool(f, GROUP, 1), 0);
    for (uint64_t g = 0; g < 7; g++) { /* only groups of the same stripe are left out */
        const bool out = key_of(f, g * GROUP).stripe == key_of(f, GROUP).stripe;
        CHECK_EQ(in_pool(f, g * GROUP, g < 6 ? GROUP : 1), out ? 0 : g < 6 ? GROUP : 1);
    }
    CHECK(p.c->media.geo.stripes > 8 && r.stored < o.size);
    CHECK_EQ(STAT(p.c, refused_stale), 0);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.cached, o.size);
    CHECK_EQ(in_pool(f, 0, 6 * GROUP + 1), 6 * GROUP + 1);
    /* At the end of the file, too, it knows where that is. */
    b = begin_write(f, o.size - 1, 1);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, o.size);
    CHECK(r.cached < o.size);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_WANT_VALIDATOR);
    pool_end(&p);
}

/* Nobody knows where the file ends, and the origin is not asked: it does not search for ever. */
static void test_bracket_unknown_size(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    cm_warm_report r;
    cm_bracket b;
    struct told w = { .cancel_at = 1000 }; /* instead of for ever */
    const cm_warm_options opts = options(&w);
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(cm_truncate_begin(f, 100 * BLK, &b), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_STALE);
    CHECK(r.end <= 100 * BLK && r.cached == r.end);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_WANT_VALIDATOR);
    o.size = 100 * BLK;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.end, o.size);
    pool_end(&p);
}

/* No slot is to be had: it gives up after a while. */
static void test_no_slots(void)
{
    struct pool p;
    struct origin o = make_origin(20000 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const uint64_t slots = p.c->media.geo.slots;
    out_of_order(p.c);
    for (uint64_t s = 0; s < slots; s++)
        CHECK(cm_ring_own(&p.c->policy.ring, s));
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_BUSY);
    CHECK_EQ(o.calls, 16);
    CHECK_EQ(r.end, r.read);
    CHECK_EQ(r.cached | r.stored, 0);
    for (uint64_t s = 0; s < slots; s++)
        cm_ring_disown(&p.c->policy.ring, s);
    CHECK_EQ(warm(f, 0, 100 * BLK, NULL, &o, &r), 0);
    pool_end(&p);
}

/* The table of reads in flight is full: nobody could wait for what it reads, or store it. */
static void test_no_flight(void)
{
    struct pool p;
    struct origin o = make_origin(20 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, o.size);
    struct cm_flight *fl = p.c->flights->flight;
    out_of_order(p.c);
    p.c->flights->top = CM_FLIGHTS;
    for (unsigned i = 0; i < CM_FLIGHTS; i++)
        fl[i].incarnation = 1;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_BUSY);
    CHECK_EQ(o.calls, 0);
    CHECK_EQ(r.end, o.size);
    p.c->flights->top = 0;
    memset(fl, 0, CM_FLIGHTS * sizeof(*fl));
    pool_end(&p);
}

/* ---- Another version ------------------------------------------------------------------------- */

struct revision {
    cm_file *f;
    struct origin *o;
    uint64_t size;
};

static void *revise(void *arg)
{
    struct revision *r = arg;
    cm_validator v = val(r->size, 2);
    r->o->tag++;
    r->o->size = r->size;
    CHECK_EQ(cm_file_revalidate(r->f, &v), 0);
    return NULL;
}

static void revise_beside(void *arg)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, revise, arg); /* a callback may not call into its cache */
    (void)pthread_join(t, NULL);
}

/* The file changes between two pieces: the call goes on with the new version, to its end. */
static void test_version(void)
{
    for (unsigned longer = 0; longer < 2; longer++) {
        CASE("longer %u", longer);
        struct pool p;
        struct origin o = make_origin(200 * BLK);
        struct told w = { .act = revise_beside, .act_at = 2 };
        const cm_warm_options opts = options(&w);
        cm_warm_report r;
        (void)pool_new(&p, 4 * MIB);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        struct revision change = { f, &o, longer ? 300 * BLK + 9 : 90 * BLK + 9 };
        w.f = &change;
        const uint64_t piece = p.c->media.geo.slots / 32;
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_STALE);
        CHECK_EQ(r.end, o.size);
        CHECK_EQ(r.cached, o.size - 2 * piece * BLK);
        CHECK_EQ(r.stored, o.size);
        CHECK_EQ(hits(f, 0, 2 * piece, o.tag), 0);
        CHECK_EQ(hits(f, 2 * piece, o.size / BLK - 2 * piece, o.tag), o.size / BLK - 2 * piece);
        pool_end(&p);
    }
}

static void revise_once(void *arg)
{
    struct revision *r = arg;
    r->o->during = NULL;
    revise_beside(r);
}

/* A group has as many blocks as it may have, of a version that ended: the next one gets their
 * slots, also if the pool has others that were never used. */
static void test_ended_in_group(void)
{
    for (unsigned forgotten = 0; forgotten < 2; forgotten++) {
        CASE("forgotten %u", forgotten);
        struct pool p;
        struct origin o = make_origin(900 * BLK);
        const cm_file_id id = id_of(1);
        cm_warm_report r;
        (void)pool_new(&p, 16 * MIB);
        CHECK_EQ(cm_group_set_quota(p.c, 7, 1000 * BLK), 0);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        CHECK_EQ(cm_file_set_group(f, 7), 0);
        CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
        use_all(f);
        if (forgotten)
            CHECK_EQ(cm_forget(p.c, &id), 0);
        else
            revise_beside(&(struct revision){ f, &o, o.size });
        CHECK(cm_ring_unused(&p.c->policy.ring) > 400);
        CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
        CHECK_EQ(r.cached, o.size);
        CHECK_EQ(hits(f, 0, 900, o.tag), 900);
        CHECK_EQ(STAT(p.c, refused_quota), 0);
        pool_end(&p);
    }
}

/* It changes while a piece is read: that piece is not stored. */
static void test_version_in_piece(void)
{
    struct pool p;
    struct origin o = make_origin(60 * BLK);
    cm_warm_report r;
    (void)pool_new(&p, 4 * MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    struct revision change = { f, &o, o.size };
    o.during = revise_once;
    o.during_ctx = &change;
    const uint64_t piece = p.c->media.geo.slots / 32;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(r.cached, o.size - piece * BLK);
    CHECK_EQ(r.stored, r.cached);
    CHECK_EQ(hits(f, 0, 60, o.tag), 60 - piece);
    pool_end(&p);
}

static int64_t read_then_revise(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct revision *r = ctx;
    const int64_t n = origin_read(r->o, offset, buf, len);
    if (r->o->size < r->size)
        revise_beside(r);
    return n;
}

/* It becomes longer while its last piece is read, which ends inside a block: the warming goes on to
 * the new end. */
static void test_longer_in_last_piece(void)
{
    struct pool p;
    struct origin o = make_origin(60 * BLK + 9);
    cm_warm_report r = CM_WARM_REPORT_INIT;
    (void)pool_new(&p, 16 * MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    struct revision change = { f, &o, 200 * BLK + 5 };
    CHECK_EQ(cm_warm(f, 0, CM_ALL, NULL, read_then_revise, &change, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(o.size, 200 * BLK + 5);
    CHECK_EQ(r.cached, o.size - 60 * BLK);
    CHECK_EQ(hits(f, 60, 140, o.tag), 140);
    pool_end(&p);
}

/* It changes while a chunk is done whose begin was cached: that begin is forgotten, and not counted
 * as cached of the new version. */
static void test_version_beside_cached(void)
{
    struct pool p;
    struct origin o = make_origin(60 * BLK);
    cm_warm_report r;
    (void)pool_new(&p, 16 * MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    CHECK_EQ(put_all(f, 0, 30, o.tag), 30);
    struct revision change = { f, &o, o.size };
    o.during = revise_once;
    o.during_ctx = &change;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(r.cached, 0);
    CHECK_EQ(hits(f, 0, 60, o.tag), 0);
    pool_end(&p);
}

/* The file changes in a second pass, which reads once more what a writer has taken away. */
struct second_pass {
    struct revision change;
    unsigned step; /* of: the first pass, the writer, a read of the second pass, the change */
};

#define TAKEN 20u

static void *take_away(void *f)
{
    cm_bracket b = begin_write(f, 0, TAKEN * BLK);
    CHECK(cm_write_end(f, &b, NULL) >= 0);
    return NULL;
}

static int tell_second_pass(void *ctx, uint64_t done, uint64_t total)
{
    struct second_pass *s = ctx;
    pthread_t t;
    if (s->step == 0 && done == total) {
        (void)pthread_create(&t, NULL, take_away, s->change.f);
        (void)pthread_join(t, NULL);
        s->step = 1;
    } else if (s->step == 2) {
        revise_beside(&s->change);
        s->step = 3;
    }
    return 0;
}

static void see_second_pass(void *ctx)
{
    struct second_pass *s = ctx;
    s->step = s->step == 1 ? 2 : s->step;
}

/* The call goes on with the new version, to its end, and says so. What the passes have stored of
 * the old one is no reason to stop. */
static void test_version_in_second_pass(void)
{
    static const uint64_t sizes[] = { 400 * BLK, 500 * BLK + 9, 200 * BLK + 9 };
    for (unsigned i = 0; i < 6; i++) {
        const bool full = i % 2;
        CASE("%s pool, the new size is %llu", full ? "full" : "empty",
             (unsigned long long)sizes[i / 2]);
        struct pool p;
        struct origin o = make_origin(400 * BLK), other = make_origin(2500 * BLK);
        cm_warm_report r;
        pool_make(&p, 8 * MIB, 0);
        pool_seed(&p, 1); /* chance does not decide which blocks find room */
        p.o.probation_bytes = CM_PROBATION_NONE;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        if (full)
            (void)warm(attach(&p, 2, other.size, 1, 0), 0, CM_ALL, NULL, &other, &r);
        struct second_pass s = { .change = { f, &o, sizes[i / 2] } };
        cm_warm_options opts = CM_WARM_OPTIONS_INIT;
        opts.progress = tell_second_pass;
        opts.progress_ctx = &s;
        o.during = see_second_pass;
        o.during_ctx = &s;
        const uint64_t piece = p.c->media.geo.slots / 32 * BLK;
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_STALE);
        CHECK_EQ(s.step, 3);
        CHECK_EQ(o.size, sizes[i / 2]);
        CHECK_EQ(r.end, o.size);
        CHECK_EQ(r.cached, o.size - piece);
        const uint64_t n = (o.size - piece + BLK - 1) / BLK, found = in_pool(f, piece / BLK, n);
        CHECK(full ? found > n * 3 / 4 : found == n); /* a pass may evict some of its own */
        pool_end(&p);
    }
}

/* It works in whole blocks, and tells of the bytes of the range. */
static void test_parts_of_blocks(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    struct told w = { 0 };
    const cm_warm_options opts = options(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    for (unsigned i = 0; i < 2; i++) { /* stored, then found */
        CHECK_EQ(warm(f, 100, 50, &opts, &o, &r), 0);
        CHECK_EQ(r.end, 150);
        CHECK_EQ(r.cached, 50);
        CHECK_EQ(r.stored, i == 0 ? BLK : 0);
        CHECK_EQ(warm(f, 3 * BLK - 1, BLK + 2, &opts, &o, &r), 0);
        CHECK_EQ(r.end, 4 * BLK + 1);
        CHECK_EQ(r.cached, BLK + 2);
    }
    pool_end(&p);
}

const struct harness_test warm_stops_tests[] = {
    TEST(parts_of_blocks),
    TEST(arguments),
    TEST(origin_error),
    TEST(cancel),
    TEST(small_pool),
    TEST(exact_pool),
    TEST(used_pool),
    TEST(low_errors),
    TEST(modes),
    TEST(mode_meanwhile),
    TEST(bracket),
    TEST(bracket_unknown_size),
    TEST(no_slots),
    TEST(no_flight),
    TEST(version),
    TEST(version_beside_cached),
    TEST(ended_in_group),
    TEST(version_in_piece),
    TEST(longer_in_last_piece),
    TEST(version_in_second_pass),
    TEST_END,
};
