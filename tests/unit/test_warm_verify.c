/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_warm_verify.c - cm_warm() with CM_WARM_VERIFY: it finds what is wrong, and calls nothing
 * wrong that a writer has changed meanwhile.
 */
#include "warm_common.h"

#include <pthread.h>
#include <stdio.h>

#include "api/flight.h"
#include "api/warm_verify.h"
#include "protocol/survey.h"

#define BAD 77u /* the tag of what the origin never had */

static cm_warm_options verifying(struct told *w)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    if (w)
        o = options(w);
    o.flags = CM_WARM_VERIFY;
    return o;
}

static int verify(cm_file *f, struct origin *o, cm_warm_report *r)
{
    const cm_warm_options opts = verifying(NULL);
    return warm(f, 0, CM_ALL, &opts, o, r);
}

/* All memory comes from the program, and goes back to it. */
static void test_memory(void)
{
    struct counted_memory m = { 0 };
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    cm_warm_report r;
    pool_make(&p, 4 * MIB, 0);
    p.o.alloc = counted_alloc;
    p.o.free = counted_free;
    p.o.alloc_ctx = &m;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(verify(f, &o, &r), 0); /* its buffers are there, from now on */
    const unsigned had = m.kept, before = m.wanted;
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(m.wanted, before + 1);
    CHECK_EQ(m.kept, had);
    pool_down(&p);
    CHECK_EQ(m.kept, 0);
    pool_end(&p);
}

/* ---- Finding --------------------------------------------------------------------------------- */

/* Nothing is wrong. All is read, nothing is stored, and nobody hears of a hit. */
static void test_right(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK + 777);
    cm_warm_report r;
    uint8_t ref[4 * MIB / BLK];
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const uint64_t slots = p.c->media.geo.slots;
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    CHECK_EQ(r.verified | r.differed | r.undecided, 0);
    REQUIRE(slots <= sizeof(ref));
    memcpy(ref, p.c->policy.ring.ref, (size_t)slots);
    struct told w = { 0 };
    const cm_warm_options opts = verifying(&w);
    const int64_t read = STAT(p.c, origin_bytes);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), 0);
    CHECK(w.ordered && w.done == o.size && w.total == o.size);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(r.cached, o.size);
    CHECK_EQ(r.read, o.size);
    CHECK_EQ(r.stored, 0);
    CHECK_EQ(r.verified, o.size);
    CHECK_EQ(r.differed | r.undecided, 0);
    CHECK_EQ(STAT(p.c, origin_bytes), read + (int64_t)o.size);
    for (uint64_t i = 0; i < slots; i++) /* but for the bit that says that its sum was tested */
        ref[i] |= p.c->policy.ring.ref[i];
    CHECK_EQ(memcmp(ref, p.c->policy.ring.ref, (size_t)slots), 0);
    CHECK_EQ(count_of(f, 50), 0);
    CHECK_EQ(STAT(p.c, hit_blocks) | STAT(p.c, miss_blocks) | STAT(p.c, forgotten), 0);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

static unsigned lines; /* of the log that tell of a difference */
static char line[400];

static void hear(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level != CM_LOG_WARNING || !strstr(text, "what the origin has"))
        return;
    lines++;
    (void)snprintf(line, sizeof(line), "%s", text);
}

/* Wrong blocks of all kinds of places are found, forgotten durably, and stored anew. */
static void test_wrong(void)
{
    static const uint64_t wrong[] = { 3, 4, 63, 64, 65, 99 };
    struct pool p;
    struct origin o = make_origin(100 * BLK + 777);
    cm_warm_report r;
    lines = 0;
    pool_make(&p, 4 * MIB, 0);
    pool_seed(&p, 1);
    p.o.log = hear;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(put(f, wrong[i], BAD), 0);
    CHECK_EQ(put_tail(f, 100, 777, BAD), 0);
    CHECK_EQ(put(f, 50, o.tag), 0);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.verified, BLK);
    CHECK_EQ(r.differed, 6 * BLK + 777);
    CHECK_EQ(r.undecided, 0);
    CHECK_EQ(r.stored, o.size - BLK);
    CHECK_EQ(r.cached, o.size);
    CHECK_EQ(r.read, o.size + 6 * BLK + 777);
    CHECK_EQ(STAT(p.c, forgotten), 7);
    CHECK_EQ(lines, 1);
    CHECK(strstr(line, ": 7 of its blocks in the pool are not"));
    CHECK(strstr(line, "the first one is block 3;"));
    CHECK_EQ(info_of(f).size, o.size);
    CHECK_EQ(hits(f, 0, 100, o.tag), 100);
    CHECK_EQ(look(f, 100, o.tag), TOO_SHORT);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.verified, o.size);
    CHECK_EQ(lines, 1);
    pool_end(&p);
}

/* What was found is gone also if the process dies before it is stored anew. */
static void test_durable(void)
{
    struct pool p;
    struct origin o = make_origin(20 * BLK + 777);
    struct told w = { .cancel_at = 2 }; /* two runs are compared */
    const cm_warm_options opts = verifying(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(put_tail(f, 20, 777, BAD), 0);
    CHECK_EQ(put(f, 2, BAD), 0);
    CHECK_EQ(put(f, 3, o.tag), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK_EQ(r.differed, BLK + 777);
    CHECK_EQ(r.end, 0);
    CHECK_EQ(info_of(f).size, o.size);
    pool_crash(&p);
    (void)pool_up(&p);
    f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    CHECK_EQ(look(f, 2, o.tag), MISS);
    CHECK_EQ(look(f, 20, o.tag), MISS);
    CHECK_EQ(look(f, 3, o.tag), RIGHT);
    pool_end(&p);
}

/* A block that waits in the probation buffer. */
static void test_buffered(void)
{
    struct pool p;
    struct origin o = make_origin(20 * BLK);
    cm_warm_report r;
    pool_make(&p, 4 * MIB, 0);
    p.o.probation_bytes = 16 * BLK;
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    CHECK_EQ(put(f, 2, BAD), 0);
    CHECK_EQ(put(f, 5, o.tag), 0);
    CHECK_EQ(in_pool(f, 0, 20), 0);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.differed, BLK);
    CHECK_EQ(r.verified, BLK);
    CHECK_EQ(STAT(p.c, probation_hits), 0);
    CHECK_EQ(hits(f, 0, 20, o.tag), 20);
    pool_end(&p);
}

/* The origin is shorter than the pool believes: in a block, or by some. */
static void test_short(void)
{
    static const uint64_t size[] = { 40 * BLK, 39 * BLK + 5, 10 * BLK + 1, 0 };
    for (unsigned i = 0; i < 4; i++) {
        CASE("%u", i);
        struct pool p;
        struct origin o = make_origin(40 * BLK + 100);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
        o.size = size[i];
        CHECK_EQ(verify(f, &o, &r), 0);
        CHECK(r.differed > 0);
        CHECK_EQ(r.end, o.size);
        CHECK_EQ(hits(f, 0, o.size / BLK, o.tag), o.size / BLK);
        CHECK(info_of(f).size == o.size || info_of(f).size == CM_SIZE_UNKNOWN);
        uint8_t buf[BLK];
        CALL(check_read(f, &o, o.size - o.size % BLK, buf, sizeof(buf)));
        pool_end(&p);
    }
}

/* Much is wrong behind the end: it is forgotten, and what is right stays. */
static void test_far_shorter(void)
{
    struct pool p;
    struct origin o = make_origin(40 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, 20000 * BLK);
    CHECK_EQ(put_all(f, 0, 40, o.tag) + put_all(f, 19999, 1, o.tag), 41);
    o.size = 10 * BLK;
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK(r.differed > 0);
    CHECK_EQ(hits(f, 10, 30, o.tag) + hits(f, 19999, 1, o.tag), 0);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.differed, 0);
    CHECK_EQ(r.end, o.size);
    CHECK_EQ(hits(f, 0, 10, o.tag), 10);
    pool_end(&p);
}

/* A tail that is shorter than the origin is no difference. */
static void test_longer(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK + 100);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(warm(f, 0, CM_ALL, NULL, &o, &r), 0);
    const cm_bracket b = begin_write(f, CM_APPEND, 50);
    o.size += 50;
    cm_validator v = val(o.size, 2);
    v.taken_at = later();
    CHECK_EQ(cm_write_end(f, &b, &v), 0);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.verified, 10 * BLK + 100);
    CHECK_EQ(r.differed | r.undecided, 0);
    CHECK_EQ(r.stored, 150);
    pool_end(&p);
}

/* Behind the end of the file a block may have bytes that nobody is served. */
static void test_behind(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK + 100);
    cm_warm_report r;
    cm_file *f = open_both(&p, MIB, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_all(f, 0, 11, o.tag), 11);
    CHECK_EQ(in_pool(f, 10, 1), 1);
    cm_validator v = val(o.size, 1); /* now it is known */
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(in_pool(f, 10, 1), 1);
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.verified, o.size);
    CHECK_EQ(r.differed | r.stored, 0);
    pool_end(&p);
}

/* ---- Beside a writer ------------------------------------------------------------------------- */

/* An origin that a writer changes right after a reader has got its bytes. */
struct written {
    struct origin o;
    cm_file *f;
    void (*change)(struct written *w); /* NULL: no more */
    cm_bracket bracket;
    uint32_t reads, act_at; /* the read that is followed by the change */
    uint32_t end_at;        /* so many reads later end_bracket() acts */
};

static void *run_change(void *arg)
{
    struct written *w = arg;
    w->change(w);
    return NULL;
}

static int64_t read_written(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct written *w = ctx;
    const int64_t n = origin_read(&w->o, offset, buf, len);
    pthread_t t;
    if (++w->reads == w->act_at && w->change) {
        (void)pthread_create(&t, NULL, run_change, w);
        (void)pthread_join(t, NULL);
    }
    return n;
}

#define MANY 40u /* blocks: two pieces */
#define NEW 6u   /* what the writer writes, everywhere */

/* A whole write; somebody reads what was written before the comparison does. */
static void write_and_read(struct written *w)
{
    const cm_bracket b = begin_write(w->f, 0, MANY * BLK);
    w->o.tag = NEW;
    CHECK(cm_write_end(w->f, &b, NULL) >= 0);
    CHECK_EQ(put_all(w->f, 0, MANY, NEW), MANY);
}

/* The same without a reader. */
static void write_only(struct written *w)
{
    const cm_bracket b = begin_write(w->f, 0, MANY * BLK);
    w->o.tag = NEW;
    CHECK(cm_write_end(w->f, &b, NULL) >= 0);
}

/* Another writer tells of it later. */
static void invalidate_and_read(struct written *w)
{
    w->o.tag = NEW;
    CHECK_EQ(cm_invalidate(w->f, 0, CM_ALL), 0);
    CHECK_EQ(put_all(w->f, 0, MANY, NEW), MANY);
}

/* ... by a validator. */
static void revise_and_read(struct written *w)
{
    cm_validator v = val(MANY * BLK, 2);
    w->o.tag = NEW;
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(w->f, &v), 0);
    CHECK_EQ(put_all(w->f, 0, MANY, NEW), MANY);
}

/* Shorter, then as long as before. */
static void truncate_twice(struct written *w)
{
    cm_bracket b;
    CHECK_EQ(cm_truncate_begin(w->f, 0, &b), 0);
    w->o.tag = NEW;
    CHECK(cm_write_end(w->f, &b, NULL) >= 0);
    CHECK_EQ(put_all(w->f, 0, MANY, NEW), MANY);
}

static void test_writers(void)
{
    static void (*const change[])(struct written *) = { write_and_read, write_only,
                                                        invalidate_and_read, revise_and_read,
                                                        truncate_twice };
    for (unsigned i = 0; i < 5; i++)
        for (uint32_t at = 1; at < 3; at++) {
            CASE("change %u after read %u", i, at);
            struct pool p;
            struct written w = { .o = make_origin(MANY * BLK), .change = change[i], .act_at = at };
            const cm_warm_options opts = verifying(NULL);
            cm_warm_report r = { .struct_size = sizeof(r) };
            cm_file *f = w.f = open_both(&p, 4 * MIB, w.o.size);
            CHECK_EQ(put_all(f, 0, MANY, w.o.tag), MANY);
            const int e = cm_warm(f, 0, CM_ALL, &opts, read_written, &w, &r);
            CHECK(e == 0 || e == CM_NOT_STORED_STALE);
            CHECK(w.reads >= at);
            CHECK_EQ(r.differed | r.undecided, 0);
            w.change = NULL;
            CHECK_EQ(cm_warm(f, 0, CM_ALL, &opts, read_written, &w, &r), 0);
            CHECK_EQ(r.differed | r.undecided, 0);
            CHECK_EQ(r.verified + r.stored, MANY * BLK);
            CHECK_EQ(hits(f, 0, MANY, NEW), MANY);
            pool_end(&p);
        }
}

/* A bracket on a neighbour is open for a while, or for ever. */
static int end_bracket(void *ctx, uint64_t done, uint64_t total)
{
    struct written *w = ctx;
    pthread_t t;
    (void)done, (void)total;
    if (w->reads == w->end_at) {
        (void)pthread_create(&t, NULL, run_change, w);
        (void)pthread_join(t, NULL);
        w->end_at = 0;
    }
    return 0;
}

static void end_it(struct written *w)
{
    CHECK(cm_write_end(w->f, &w->bracket, NULL) >= 0);
}

static void check_neighbour(bool ends, uint64_t at, uint64_t len)
{
    struct pool p;
    struct written w = { .o = make_origin(20 * BLK), .change = end_it };
    cm_warm_options opts = verifying(NULL);
    cm_warm_report r = { .struct_size = sizeof(r) };
    cm_file *f = w.f = open_both(&p, 4 * MIB, w.o.size);
    CHECK_EQ(put_all(f, 0, 20, w.o.tag), 20);
    CHECK_EQ(cm_invalidate(f, 2 * BLK, BLK), 0);
    cm_validator v = val(20 * BLK, 1);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(put(f, 2, BAD), 0);
    w.bracket = begin_write(f, at, len);
    opts.progress = end_bracket;
    opts.progress_ctx = &w;
    w.end_at = ends ? 4 : UINT32_MAX;
    (void)cm_warm(f, 0, CM_ALL, &opts, read_written, &w, &r);
    CHECK_EQ(r.differed, ends ? BLK : 0);
    CHECK_EQ(r.undecided, ends ? 0 : BLK);
    CHECK(r.verified >= 17 * BLK);
    if (!ends) {
        CHECK(w.reads > 2 && w.reads < 30);
        CHECK_EQ(look(f, 2, w.o.tag), MISS);
        end_it(&w);
    }
    CHECK_EQ(cm_warm(f, 0, CM_ALL, NULL, origin_read, &w.o, &r), 0);
    CHECK_EQ(hits(f, 0, 20, w.o.tag), 20);
    pool_end(&p);
}

static void test_neighbours(void)
{
    for (unsigned ends = 0; ends < 2; ends++)
        for (unsigned append = 0; append < 2; append++) {
            CASE("ends %u, append %u", ends, append);
            CALL(check_neighbour(ends == 1, append ? CM_APPEND : 10 * BLK, BLK));
        }
}

/* ---- The end of a call ----------------------------------------------------------------------- */

/* Nothing can be stored: what is cached is compared all the same, each block once. */
static void test_frozen(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(put_all(f, 0, 10, o.tag), 10);
    CHECK_EQ(put_all(f, 12, 100, o.tag), 100);
    CHECK_EQ(put(f, 150, BAD), 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(verify(f, &o, &r), CM_NOT_STORED_MODE);
    CHECK_EQ(r.end, 10 * BLK);
    CHECK_EQ(r.verified, 110 * BLK);
    CHECK_EQ(r.differed, BLK);
    CHECK_EQ(r.stored, 0);
    CHECK_EQ(look(f, 150, o.tag), MISS);
    CHECK_EQ(cm_set_mode(p.c, CM_BYPASS), 0); /* what is not served is not compared */
    CHECK_EQ(verify(f, &o, &r), CM_NOT_STORED_MODE);
    CHECK_EQ(r.read | r.verified, 0);
    CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    CHECK_EQ(verify(f, &o, &r), CM_NOT_STORED_STALE);
    CHECK_EQ(r.read | r.verified, 0);
    pool_end(&p);
}

static int64_t read_too_much(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset, (void)buf;
    return (int64_t)len + 1;
}

static void test_errors(void)
{
    struct pool p;
    struct origin o = make_origin(200 * BLK);
    struct told w = { .cancel_at = 2 };
    cm_warm_options opts = verifying(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(put_all(f, 0, 200, o.tag), 200);
    o.bad_block = 100;
    CHECK_EQ(verify(f, &o, &r), -1234);
    CHECK(r.end > 0 && r.end <= 100 * BLK && r.verified == r.end);
    o.bad_block = 0;
    o.fail = -(INT64_C(1) << 40);
    CHECK_EQ(verify(f, &o, &r), INT32_MIN);
    o.fail = 0;
    CHECK_EQ(cm_warm(f, 0, CM_ALL, &opts, read_too_much, NULL, &r), CM_EINVAL);
    CHECK_EQ(r.verified | r.differed, 0);
    w.calls = 0;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK(r.verified > 0 && r.verified < o.size);
    CHECK_EQ(p.c->live, 0);
    CHECK_EQ(hits(f, 0, 200, o.tag), 200);
    opts.flags |= 2;
    CHECK_EQ(cm_warm(f, 0, CM_ALL, &opts, origin_read, &o, &r), CM_EINVAL);
    pool_end(&p);
}

/* A sleep of an hour after the first piece. */
static void test_paid(void)
{
    struct pool p;
    struct origin o = make_origin(10 * BLK);
    struct told w = { .cancel_at = 4 };
    cm_warm_options opts = verifying(&w);
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    CHECK_EQ(put_all(f, 0, 10, o.tag), 10);
    opts.bytes_per_second = 1;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_ECANCELED);
    CHECK_EQ(r.read, BLK);
    CHECK_EQ(r.verified, BLK);
    pool_end(&p);
}

/* Without memory it compares block by block. */
static void test_poor(void)
{
    struct pool p;
    struct origin o = make_origin(40 * BLK + 5);
    cm_warm_report r;
    pool_make(&p, 4 * MIB, 0);
    make_poor(&p);
    spared = sizeof(struct cm_comparison);
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 30, o.tag), 30);
    CHECK_EQ(put(f, 35, BAD), 0);
    no_memory = 1;
    CHECK_EQ(verify(f, &o, &r), 0);
    no_memory = 0;
    CHECK_EQ(o.most, BLK);
    CHECK_EQ(r.verified, 30 * BLK);
    CHECK_EQ(r.differed, BLK);
    CHECK_EQ(r.cached, o.size);
    pool_end(&p);
}

/* What is wrong cannot be forgotten: nothing of the file is served any more. The log says so,
 * unless a writer is near: then the block is undecided. */
static void test_cannot_forget(void)
{
    for (unsigned near = 0; near < 2; near++) {
        CASE("near %u", near);
        struct pool p;
        struct origin o = make_origin(1000 * BLK);
        cm_warm_report r;
        uint64_t written = 30;
        pool_make(&p, 256 * MIB, 0); /* it has some stripes */
        pool_seed(&p, 1);
        make_poor(&p);
        spared = sizeof(struct cm_comparison);
        lines = 0;
        p.o.log = hear;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        CHECK_EQ(put(f, 2, BAD), 0);
        while (!near && key_of(f, written).stripe == key_of(f, 2).stripe)
            written++;
        const cm_bracket b = begin_write(f, written * BLK, BLK);
        no_memory = 1; /* a second bracket needs some */
        CHECK_EQ(verify(f, &o, &r), CM_ENOMEM);
        CHECK_EQ(lines, near ? 0 : 1);
        if (!near)
            CHECK(strstr(line, "could be forgotten, so") && !strstr(line, "they are forgotten"));
        CHECK_EQ(look(f, 2, o.tag), MISS);
        CHECK_EQ(cm_object_of(f)->incarnation, 0);
        no_memory = 0;
        CHECK(cm_write_end(f, &b, NULL) >= 0);
        CHECK_EQ(look(f, 2, o.tag), MISS);
        pool_end(&p);
    }
}

static void *close_file(void *f)
{
    detach(f);
    return NULL;
}

static void close_file_beside(void *f)
{
    pthread_t t;
    (void)pthread_create(&t, NULL, close_file, f);
    (void)pthread_join(t, NULL);
}

static void test_closed(void)
{
    for (unsigned in_piece = 0; in_piece < 2; in_piece++) {
        CASE("in piece %u", in_piece);
        struct pool p;
        struct origin o = make_origin(100 * BLK);
        struct told told = { .act_at = 1 };
        const cm_warm_options opts = verifying(&told);
        cm_warm_report r;
        cm_file *f = open_both(&p, 4 * MIB, o.size);
        CHECK_EQ(put_all(f, 0, 100, BAD), 100);
        told.f = f;
        if (in_piece) {
            o.during = close_file_beside;
            o.during_ctx = f;
        } else {
            told.act = close_file_beside;
        }
        CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_EHANDLE);
        CHECK_EQ(o.calls, 1);
        CHECK_EQ(r.differed > 0, !in_piece);
        CHECK_EQ(p.c->live, 0);
        pool_end(&p);
    }
}

#ifndef _WIN32
static void end_thread(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

struct ending {
    cm_file *f;
    struct origin *o;
};

static void *verify_it(void *arg)
{
    struct ending *e = arg;
    cm_warm_report r;
    (void)verify(e->f, e->o, &r);
    FAIL("the thread ends in the origin's call");
    return NULL;
}

/* The thread ends while the origin is read: what the call held is there again. */
static void test_thread_ends(void)
{
    struct pool p;
    struct origin o = make_origin(40 * BLK);
    cm_warm_report r;
    pthread_t t;
    pool_make(&p, 4 * MIB, 0);
    make_poor(&p); /* there are CM_RESERVE buffers */
    spared = sizeof(struct cm_comparison);
    p.o.join_timeout_ns = UINT64_C(100000000);
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    struct ending e = { f, &o };
    CHECK_EQ(put_all(f, 0, 40, o.tag), 40);
    no_memory = 1;
    o.during = end_thread;
    for (unsigned i = 0; i < CM_RESERVE + 1; i++) {
        (void)pthread_create(&t, NULL, verify_it, &e);
        (void)pthread_join(t, NULL);
    }
    CHECK_EQ(p.c->live, 0);
    o.during = NULL;
    CHECK_EQ(verify(f, &o, &r), 0);
    CHECK_EQ(r.verified, o.size);
    no_memory = 0;
    pool_end(&p);
}
#endif

/* The warming of a file that is far larger than the pool ends early. Behind what was ever stored
 * nothing can be wrong, and nothing is looked for. */
static void test_far_larger(void)
{
    struct pool p;
    struct origin o = make_origin(UINT64_C(1) << 36);
    cm_warm_report r;
    struct told w = { 0 };
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const cm_warm_options opts = verifying(&w);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_ROOM);
    CHECK(w.calls < 1000);
    CHECK(r.stored > 2 * MIB);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_ROOM);
    CHECK(w.calls < 2000 && r.verified > MIB);
    CHECK_EQ(r.differed, 0);
    pool_end(&p);
}

/* Nor is anything looked for between the few blocks that are cached of such a file. */
static void test_far_between(void)
{
    enum { CACHED = 3 * CM_VERIFY_AHEAD };
    struct pool p;
    struct origin o = make_origin(UINT64_C(1) << 36);
    const uint64_t step = o.size / BLK / CACHED;
    cm_warm_report r;
    struct told w = { 0 };
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const cm_warm_options opts = verifying(&w);
    for (uint64_t i = 1; i <= CACHED; i++)
        CHECK_EQ(put(f, i * step - 1, i == CACHED ? BAD : o.tag), 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_MODE);
    CHECK_EQ(r.verified, (CACHED - 1) * BLK);
    CHECK_EQ(r.differed, BLK);
    CHECK(w.calls < 3 * CACHED);
    pool_end(&p);
}

static unsigned passes; /* over the headers */
/* A block that goes when the headers were read. */
static cm_file *going;
static uint64_t going_at;

int __real_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s);
int __wrap_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s);
int __wrap_cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s)
{
    const int e = __real_cm_survey_blocks(c, s);
    passes++;
    if (going)
        CHECK_EQ(cm_drop(going, going_at * BLK, BLK), BLK);
    going = NULL;
    return e;
}

static uint64_t lookups;

uint32_t __real_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);
uint32_t __wrap_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);
uint32_t __wrap_cm_lookup_cached(struct cm_cache *c, const struct cm_key *k)
{
    lookups++;
    return __real_cm_lookup_cached(c, k);
}

static size_t memory_max; /* of one piece; 0: no limit */

static void *limited_alloc(void *m, size_t bytes)
{
    return memory_max > 0 && bytes > memory_max ? NULL : counted_alloc(m, bytes);
}

/* Of a file that is far larger than the pool single blocks are cached, and they fill most of the
 * pool. All are found in so many passes over the headers, however large the pool is, and with few
 * lookups for each. Without memory for that it takes more of them. */
static void test_far_many(void)
{
    enum { PASSES = 64 + 6, LOOKUPS = 32 };
    struct counted_memory m = { 0 };
    struct pool p;
    struct origin o = make_origin(UINT64_C(1) << 36);
    cm_warm_report r;
    pool_make(&p, 48 * MIB, 0);
    p.o.alloc = limited_alloc;
    p.o.free = counted_free;
    p.o.alloc_ctx = &m;
    REQUIRE(pool_up(&p) == 0);
    const uint64_t slots = pool_info(p.c).slots, n = slots * 3 / 4, step = o.size / BLK / n;
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    for (uint64_t i = 0; i < n; i++)
        CHECK_EQ(put(f, i * step + 1 + i % 7, o.tag), 0);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    for (unsigned poor = 0; poor < 2; poor++) {
        CASE("poor %u", poor);
        const unsigned had = m.kept;
        memory_max = poor ? sizeof(struct cm_comparison) : 0;
        passes = 0;
        lookups = 0;
        CHECK_EQ(verify(f, &o, &r), CM_NOT_STORED_MODE);
        CHECK_EQ(r.verified, n * BLK);
        CHECK(passes > 0 && (poor || passes <= PASSES));
        CHECK(lookups <= n * LOOKUPS + passes * slots / 4); /* a look has an eighth of the slots */
        CHECK_EQ(m.kept - had, poor ? 0u : 1u);             /* a buffer, which stays */
    }
    memory_max = 0;
    pool_end(&p);
}

/* The first block of what is wrong goes before the comparison comes to it. The rest is found. */
static void test_going(void)
{
    struct pool p;
    struct origin o = make_origin(UINT64_C(1) << 36);
    const uint64_t far = o.size / BLK / 2;
    cm_warm_report r;
    cm_file *f = open_both(&p, 4 * MIB, o.size);
    const cm_warm_options opts = verifying(NULL);
    CHECK_EQ(put_all(f, far, 10, BAD), 10);
    CHECK_EQ(cm_set_mode(p.c, CM_FREEZE), 0);
    going = f;
    going_at = far;
    CHECK_EQ(warm(f, 0, CM_ALL, &opts, &o, &r), CM_NOT_STORED_MODE);
    CHECK(!going);
    CHECK_EQ(r.differed, 9 * BLK);
    CHECK_EQ(cm_file_cached(f, 0, CM_ALL), 0);
    pool_end(&p);
}

const struct harness_test warm_verify_tests[] = {
    TEST(right),       TEST(wrong),  TEST(durable),    TEST(buffered),    TEST(short),
    TEST(far_shorter), TEST(longer), TEST(behind),     TEST(writers),     TEST(neighbours),
    TEST(frozen),      TEST(errors), TEST(paid),       TEST(poor),        TEST(cannot_forget),
    TEST(closed),      TEST(memory), TEST(far_larger), TEST(far_between), TEST(far_many),
    TEST(going),
#ifndef _WIN32
    TEST(thread_ends),
#endif
    TEST_END,
};
