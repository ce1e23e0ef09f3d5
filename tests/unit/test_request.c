/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_request.c - requests: each state that a step may find, misuse, and results of one version.
 *
 * One thread runs all of it, as an event loop would: what another reader does is another request.
 */
#include "request_common.h"

#include "api/request.h"

/* ---- Hits and pieces ------------------------------------------------------------------------- */

static void test_hit(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request r = request(3 * BLK + 5, room, 5 * BLK);
    cm_piece piece;
    CHECK_EQ(put_all(f, 0, 10, o.tag), 10);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), 0);
    CHECK_EQ(cm_request_step(&r, &piece), 0); /* it stays done */
    CHECK_EQ(cm_request_end(&r), 5 * BLK);
    CHECK(is_range(&o, 3 * BLK + 5, room, 5 * BLK));
    CHECK_EQ(r.incarnation, info_of(f).incarnation);
    CHECK_EQ(STAT(p.c, origin_reads), 0);
    r = request(0, NULL, 0);
    CALL(check_run(f, &r, &o, 0));
    pool_end(&p);
}

static void test_lead(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    for (unsigned odd = 0; odd < 2; odd++) {
        CASE("odd %u", odd);
        cm_request r = request(20 * BLK + odd * 30 * BLK + odd, room + odd, 5 * BLK);
        cm_piece piece, other;
        CHECK_EQ(cm_request_begin(f, &r), 0);
        CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
        CHECK_EQ(piece.offset, 20 * BLK + odd * 30 * BLK);
        CHECK_EQ(piece.len, (5 + odd) * BLK);
        CHECK((piece.buf == room) == (odd == 0));
        CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
        CHECK_EQ(r.deadline_ns, 0);
        CALL(complete(&r, &piece, &o));
        CHECK_EQ(cm_request_step(&r, &other), 0);
        CHECK_EQ(cm_request_end(&r), 5 * BLK);
        CHECK(is_range(&o, r.offset, room + odd, 5 * BLK));
        CHECK_EQ(r.incarnation, info_of(f).incarnation);
        CHECK_EQ(hits(f, r.offset / BLK, 5 + odd, o.tag), 5 + odd);
    }
    CHECK_EQ(o.misaligned, 0);
    CHECK_EQ(STAT(p.c, origin_reads), 2);
    CHECK_EQ(STAT(p.c, origin_bytes), 11 * BLK);
    pool_end(&p);
}

/* Absent runs between cached blocks are read side by side, and come back in any order. */
static void test_side_by_side(void)
{
    static const unsigned orders[][3] = { { 0, 1, 2 }, { 2, 0, 1 }, { 1, 2, 0 }, { 2, 1, 0 } };
    for (unsigned i = 0; i < 4; i++) {
        CASE("order %u", i);
        struct pool p;
        struct origin o = make_origin(100 * BLK);
        cm_file *f = open_both(&p, MIB, o.size);
        cm_request r = request(40 * BLK, room, 10 * BLK);
        cm_piece piece[3], other;
        CHECK(put(f, 43, o.tag) == 0 && put(f, 46, o.tag) == 0);
        memset(room, 0xdd, 10 * BLK);
        CHECK_EQ(cm_request_begin(f, &r), 0);
        for (unsigned k = 0; k < 3; k++) {
            CHECK_EQ(cm_request_step(&r, &piece[k]), CM_REQUEST_READ);
            CHECK_EQ(piece[k].offset, (40 + k * 4 - (k == 2)) * BLK);
            CHECK_EQ(piece[k].len, (k == 1 ? 2 : 3) * BLK);
        }
        for (unsigned k = 0; k < 3; k++) {
            CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
            CALL(complete(&r, &piece[orders[i][k]], &o));
        }
        CHECK_EQ(cm_request_step(&r, &other), 0);
        CHECK_EQ(cm_request_end(&r), 10 * BLK);
        CHECK(is_range(&o, 40 * BLK, room, 10 * BLK));
        CHECK_EQ(r.incarnation, info_of(f).incarnation);
        CHECK_EQ(STAT(p.c, miss_blocks), 10); /* 8, and those of put() */
        pool_end(&p);
    }
}

/* No more than four pieces at a time, none of them longer than read_size_max. */
static void test_long(void)
{
    struct pool p;
    struct origin o = make_origin(2 * MIB);
    cm_piece piece[5];
    pool_make(&p, 4 * MIB, 0);
    p.o.read_size_max = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    cm_request r = request(MIB / 2, room, MIB);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(cm_request_step(&r, &piece[i]), CM_REQUEST_READ);
        CHECK_EQ(piece[i].offset, MIB / 2 + i * 16 * BLK);
        CHECK_EQ(piece[i].len, 16 * BLK);
        CHECK(piece[i].buf == room + i * 16 * BLK && piece[i].number < CM_REQUEST_PIECES);
    }
    CHECK_EQ(cm_request_step(&r, &piece[4]), CM_REQUEST_WAIT);
    CALL(complete(&r, &piece[2], &o));
    CHECK_EQ(cm_request_step(&r, &piece[2]), CM_REQUEST_READ);
    CHECK_EQ(piece[2].offset, MIB / 2 + 4 * 16 * BLK);
    for (unsigned i = 0; i < 4; i++)
        CALL(complete(&r, &piece[i], &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), MIB);
    CHECK(is_range(&o, MIB / 2, room, MIB));
    CHECK_EQ(o.calls, MIB / (16 * BLK));
    CHECK_EQ(hits(f, MIB / 2 / BLK, MIB / BLK, o.tag), MIB / BLK);
    pool_end(&p);
}

/* A piece may be longer than the tickets of one miss reach. It ends before what is cached. */
static void test_many_misses(void)
{
    struct pool p;
    struct origin o = make_origin(12 * MIB);
    cm_piece piece, other;
    pool_make(&p, 32 * MIB, 0);
    p.o.read_size_max = 16 * MIB;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    uint8_t *buf = map_bytes(12 * MIB);
    const uint64_t first = 70, cached = 1500, n = 12 * MIB / BLK - first;
    CHECK_EQ(put(f, cached, o.tag), 0);
    cm_request r = request(first * BLK, buf, n * BLK), late = request(1000 * BLK, room, BLK);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CHECK_EQ(piece.offset, first * BLK);
    CHECK_EQ(piece.len, (cached - first) * BLK);
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_READ);
    CHECK_EQ(other.offset, (cached + 1) * BLK);
    CHECK_EQ(other.len, (first + n - cached - 1) * BLK);
    CHECK_EQ(cm_request_begin(f, &late), 0); /* all of the piece can be waited for */
    CHECK_EQ(cm_request_step(&late, &piece), CM_REQUEST_WAIT);
    piece = (cm_piece){ .offset = first * BLK, .len = (cached - first) * BLK, .buf = buf };
    CALL(complete(&r, &other, &o));
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), n * BLK);
    CHECK(is_range(&o, first * BLK, buf, n * BLK));
    CALL(drive(&late, &o));
    CHECK_EQ(cm_request_end(&late), BLK);
    CHECK_EQ(o.calls, 2);
    CHECK_EQ(hits(f, first, n, o.tag), n);
    CHECK_EQ(STAT(p.c, miss_blocks), n + 1); /* one was missed by both */
    unmap_bytes(buf, 12 * MIB);
    pool_end(&p);
}

/* A bad block in the read-ahead: the same piece again, without it. */
static void test_error_ahead(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_SEQUENTIAL), 0);
    for (unsigned cancel = 0; cancel < 2; cancel++) {
        CASE("cancel %u", cancel);
        cm_request r = request((10 + 40 * cancel) * BLK + 3, room, BLK);
        cm_request late = request(r.offset, room + MIB, BLK);
        cm_piece piece, again;
        CHECK_EQ(cm_request_begin(f, &r), 0);
        CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
        CHECK(piece.len > 2 * BLK);
        CHECK_EQ(cm_request_begin(f, &late), 0);
        CHECK_EQ(cm_request_step(&late, &again), CM_REQUEST_WAIT);
        CHECK_EQ(cm_request_complete(&r, &piece, -1234), 0);
        CHECK_EQ(cm_request_step(&late, &again), CM_REQUEST_WAIT);
        if (cancel) { /* also those that wait for the second try are woken */
            CHECK_EQ(cm_request_end(&r), CM_ECANCELED);
        } else {
            CHECK_EQ(cm_request_step(&r, &again), CM_REQUEST_READ);
            CHECK(again.offset == piece.offset && again.buf == piece.buf);
            CHECK_EQ(again.len, 2 * BLK);
            CALL(complete(&r, &again, &o));
            CALL(drive(&r, &o));
            CHECK_EQ(cm_request_end(&r), BLK);
            CHECK(is_range(&o, r.offset, room, BLK));
        }
        CALL(drive(&late, &o));
        CHECK_EQ(cm_request_end(&late), BLK);
        CHECK(is_range(&o, r.offset, room + MIB, BLK));
    }
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

/* ---- The end of the file, errors ------------------------------------------------------------- */

/* Four pieces of two blocks; the file ends in the second one. What comes after it does not count,
 * whatever it says. */
static void test_eof(void)
{
    struct pool p;
    struct origin o = make_origin(3 * BLK + 123);
    static const unsigned orders[][4] = { { 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 2, 0, 3, 1 } };
    pool_make(&p, MIB, 0);
    p.o.read_size_max = 2 * BLK;
    REQUIRE(pool_up(&p) == 0);
    for (unsigned i = 0; i < 3; i++) {
        CASE("order %u", i);
        cm_file *f = attach_v(&p, 7 + i, NULL, 0); /* its size is not known */
        cm_request r = request(0, room, 20 * BLK);
        cm_piece piece[4], other;
        CHECK_EQ(cm_request_begin(f, &r), 0);
        for (unsigned k = 0; k < 4; k++)
            CHECK_EQ(cm_request_step(&r, &piece[k]), CM_REQUEST_READ);
        for (unsigned k = 0; k < 4; k++)
            if (orders[i][k] == 3)
                CHECK_EQ(cm_request_complete(&r, &piece[3], -1234), 0);
            else
                CALL(complete(&r, &piece[orders[i][k]], &o));
        CHECK_EQ(cm_request_step(&r, &other), 0); /* no further pieces */
        CHECK_EQ(cm_request_end(&r), 3 * BLK + 123);
        CHECK(is_range(&o, 0, room, 3 * BLK + 123));
        CHECK_EQ(look(f, 3, o.tag), TOO_SHORT);
        detach(f);
    }
    cm_file *f = attach_v(&p, 20, NULL, 0);
    cm_request r = request(9 * BLK + 1, room + 1, BLK);
    CALL(check_run(f, &r, &o, 0)); /* behind the end */
    detach(f);
    pool_end(&p);
}

static void test_errors(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    pool_make(&p, MIB, 0);
    p.o.read_size_max = 2 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    cm_piece piece[3], other;
    cm_request r = request(10 * BLK, room, 6 * BLK);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    for (unsigned k = 0; k < 3; k++)
        CHECK_EQ(cm_request_step(&r, &piece[k]), CM_REQUEST_READ);
    CHECK_EQ(cm_request_complete(&r, &piece[2], -2002), 0);
    CHECK_EQ(cm_request_step(&r, &other), CM_REQUEST_WAIT);
    CHECK_EQ(cm_request_complete(&r, &piece[1], -2001), 0); /* the first byte's error counts */
    CHECK_EQ(cm_request_end(&r), CM_EBUSY);
    CALL(complete(&r, &piece[0], &o));
    CHECK_EQ(cm_request_step(&r, &other), 0);
    CHECK_EQ(cm_request_end(&r), -2001);
    CHECK_EQ(r.incarnation, 0);
    CHECK_EQ(hits(f, 10, 2, o.tag), 2);
    CHECK_EQ(look(f, 12, o.tag), MISS);
    /* More than was asked for: the buffer may hold anything. */
    r = request(20 * BLK, room, 6 * BLK);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece[0]), CM_REQUEST_READ);
    CHECK_EQ(cm_request_complete(&r, &piece[0], (int64_t)piece[0].len + 1), 0);
    CHECK_EQ(cm_request_step(&r, &other), 0); /* no more pieces after an error */
    CHECK_EQ(cm_request_end(&r), CM_EINVAL);
    CHECK_EQ(look(f, 20, o.tag), MISS);
    CHECK_EQ(p.c->flights->top, 0);
    pool_end(&p);
}

/* ---- Misuse ---------------------------------------------------------------------------------- */

static void test_misuse(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    cm_request r = request(0, room, BLK), copy;
    cm_piece piece = { 0 }, wrong;
    CHECK_EQ(cm_request_step(&r, &piece), CM_EINVAL);
    CHECK_EQ(cm_request_complete(&r, &piece, 0), CM_EINVAL);
    CHECK_EQ(cm_request_end(&r), CM_EINVAL);
    CHECK_EQ(cm_request_end(NULL), CM_EINVAL);
    CHECK_EQ(cm_request_step(NULL, &piece), CM_EINVAL);
    CHECK_EQ(cm_request_begin(f, NULL), CM_EINVAL);
    CHECK_EQ(cm_request_begin(NULL, &r), CM_EHANDLE);
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        copy = r;
        copy.struct_size = i == 0 ? 7 : i == 1 ? sizeof(r) - 8 : i == 2 ? 4104 : sizeof(r);
        copy.flags = i == 3;
        copy.buf = i == 4 ? NULL : r.buf;
        CHECK_EQ(cm_request_begin(f, &copy), CM_EINVAL);
    }
    copy = r;
    copy.offset = UINT64_MAX - 10;
    CHECK_EQ(cm_request_begin(f, &copy), CM_ERANGE);
    CHECK_EQ(p.c->live, 0);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_begin(f, &r), CM_EINVAL);
    CHECK_EQ(cm_request_step(&r, NULL), CM_EINVAL);
    copy = r; /* at another address */
    CHECK_EQ(cm_request_step(&copy, &piece), CM_EINVAL);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        wrong = piece;
        wrong.offset += i == 0 ? BLK : 0;
        wrong.len -= i == 1;
        wrong.buf = i == 2 ? room + BLK : piece.buf;
        wrong.number = i == 3 ? piece.number + 1 : i == 4 ? CM_REQUEST_PIECES : piece.number;
        CHECK_EQ(cm_request_complete(&r, &wrong, 0), CM_EINVAL);
    }
    CHECK_EQ(cm_request_complete(&r, NULL, 0), CM_EINVAL);
    CHECK_EQ(cm_request_end(&r), CM_EBUSY);
    CALL(complete(&r, &piece, &o));
    CHECK_EQ(cm_request_complete(&r, &piece, 0), CM_EINVAL); /* twice */
    CHECK_EQ(cm_request_end(&r), CM_ECANCELED);              /* no step has seen that it is done */
    CHECK_EQ(cm_request_end(&r), CM_EINVAL);
    CHECK_EQ(cm_request_step(&r, &piece), CM_EINVAL);
    CALL(check_run(f, &r, &o, BLK)); /* the same memory again */
    pool_end(&p);
}

/* A caller with a newer header has a longer struct. */
static void test_longer_struct(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_file *f = open_both(&p, MIB, o.size);
    struct {
        cm_request r;
        uint64_t more[4];
    } x = { .r = request(0, room, BLK) };
    x.r.struct_size = sizeof(x);
    CALL(check_run(f, &x.r, &o, BLK));
    x.more[3] = 1;
    CHECK_EQ(cm_request_begin(f, &x.r), CM_EINVAL);
    pool_end(&p);
}

/* The file is closed while a request of it lives: the user's mistake, but nothing is stored under
 * the next file that gets the object. */
static void test_file_closed(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    (void)pool_new(&p, MIB);
    for (unsigned given = 0; given < 2; given++) {
        CASE("given %u", given);
        cm_file *f = attach(&p, 1 + 2 * given, o.size, 1, 0);
        cm_request r = request(0, room, 4 * BLK);
        cm_piece piece;
        CHECK_EQ(cm_request_begin(f, &r), 0);
        if (given)
            CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
        detach(f);
        cm_file *next = attach(&p, 2 + 2 * given, o.size, 1, 0);
        if (given)
            CALL(complete(&r, &piece, &o));
        CHECK_EQ(cm_request_step(&r, &piece), 0);
        CHECK_EQ(cm_request_end(&r), CM_EHANDLE);
        CHECK_EQ(hits(next, 0, 4, o.tag), 0);
        detach(next);
    }
    CHECK_EQ(STAT(p.c, fill_blocks), 0);
    pool_end(&p);
}

static void test_options(void)
{
    struct pool p;
    const uint64_t wrong[] = { 1, 4095, 6000, 16 * MIB + BLK, UINT64_MAX };
    pool_make(&p, MIB, 0);
    for (unsigned i = 0; i < 5; i++) {
        CASE("i %u", i);
        p.o.read_size_max = wrong[i];
        CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &p.c), CM_EINVAL);
    }
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        struct origin o = make_origin(30 * BLK + 7);
        p.o.read_size_max = i == 0 ? BLK : i == 1 ? 3 * BLK : 16 * MIB;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1 + i, o.size, 1, 0);
        CHECK_EQ(cm_file_advise(f, i ? CM_ADVISE_SEQUENTIAL : CM_ADVISE_NORMAL), 0);
        for (uint64_t b = 0; b < 32; b++)
            check_read(f, &o, b * 4001, room + 1, 4001);
        CHECK(o.most <= p.o.read_size_max && o.misaligned == 0);
        detach(f);
        pool_down(&p);
    }
    pool_end(&p);
}

/* ---- One version ----------------------------------------------------------------------------- */

/* Somebody else changes the file, and the cache learns of it. */
static void revise(cm_file *f, struct origin *o)
{
    static uint64_t version = 100;
    cm_validator v = val(o->size, ++version);
    o->tag++;
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
}

/* The file gets another version while a piece is out: the cached part is of the old version. */
static void test_version_moves(void)
{
    struct pool p;
    for (unsigned part = 0; part < 3; part++) {
        CASE("part %u", part);
        struct origin o = make_origin(100 * BLK);
        (void)pool_new(&p, MIB);
        cm_file *f = attach(&p, 1, o.size, 1, 0);
        cm_request r = request(0, room, 6 * BLK);
        cm_piece piece, again;
        if (part < 2) /* a cached part before or behind the piece, or the piece alone */
            CHECK_EQ(put_all(f, part * 3, 3, o.tag), 3);
        CHECK_EQ(cm_request_begin(f, &r), 0);
        CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
        CHECK_EQ(cm_request_step(&r, &again), CM_REQUEST_WAIT);
        CALL(revise(f, &o));
        CALL(complete(&r, &piece, &o));
        if (part < 2) {
            CHECK_EQ(cm_request_step(&r, &again), CM_REQUEST_READ);
            CHECK_EQ(again.len, 6 * BLK);
            CALL(complete(&r, &again, &o));
        }
        CHECK_EQ(cm_request_step(&r, &again), 0);
        CHECK_EQ(cm_request_end(&r), 6 * BLK);
        CHECK(is_range(&o, 0, room, 6 * BLK));
        /* Nobody knows of which version a piece is that was read while it changed. */
        CHECK_EQ(r.incarnation, part < 2 ? info_of(f).incarnation : 0);
        pool_end(&p);
    }
}

/* All pieces have come back when it gets another version. What is cached then is of that one. */
static void test_version_of_cached_part(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_piece piece[4];
    pool_make(&p, MIB, 0);
    p.o.read_size_max = BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    cm_request r = request(0, room, 6 * BLK);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    for (unsigned k = 0; k < 4; k++)
        CHECK_EQ(cm_request_step(&r, &piece[k]), CM_REQUEST_READ);
    for (unsigned k = 0; k < 4; k++)
        CALL(complete(&r, &piece[k], &o));
    CALL(revise(f, &o));
    CHECK_EQ(put_all(f, 4, 2, o.tag), 2);
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 6 * BLK);
    CHECK(is_range(&o, 0, room, 6 * BLK));
    CHECK_EQ(r.incarnation, info_of(f).incarnation);
    pool_end(&p);
}

/* It gets another one each time: the last try reads the origin alone. */
static void test_version_moves_on(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    (void)pool_new(&p, MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    cm_request r = request(5, room, 6 * BLK);
    unsigned pieces = 0;
    cm_piece piece;
    CHECK_EQ(put_all(f, 2, 2, o.tag), 2);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    while (cm_request_step(&r, &piece) == CM_REQUEST_READ && ++pieces < 20) {
        CALL(revise(f, &o));
        CALL(complete(&r, &piece, &o));
        CHECK_EQ(put_all(f, 2, 2, o.tag), 2);
    }
    CHECK(pieces < 20);
    CHECK(piece.offset == 0 && piece.len == 7 * BLK); /* the last one: all of it */
    CHECK_EQ(cm_request_end(&r), 6 * BLK);
    CHECK(is_range(&o, 5, room, 6 * BLK));
    CHECK_EQ(r.incarnation, 0);
    pool_end(&p);
}

/* Nothing tells two versions of a bypassed file apart, so its content is read in one piece. */
static void test_bypassed(void)
{
    struct pool p;
    struct origin o = make_origin(8 * MIB);
    cm_piece piece;
    cm_sync s;
    pool_make(&p, 8 * MIB, 0);
    p.o.read_size_max = 16 * MIB;
    REQUIRE(pool_up(&p) == 0);
    uint8_t *buf = map_bytes(6 * MIB);
    cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
    uint64_t asked = info_of(f).incarnation;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(info_of(f).incarnation, 0);
    cm_request r = request(MIB, buf, 6 * MIB);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CHECK(piece.offset == MIB && piece.len == 6 * MIB);
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 6 * MIB);
    CHECK_EQ(r.incarnation, 0);
    CHECK(is_range(&o, MIB, buf, 6 * MIB));
    CHECK_EQ(cm_read_through_version(f, 0, buf, BLK, &asked, origin_read, &o), CM_EMOVED);
    r = request(0, buf, 300 * 1024 + 100); /* its end is no multiple of a block */
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CHECK(piece.offset == 0 && piece.len == 304 * 1024);
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 300 * 1024 + 100);
    unmap_bytes(buf, 6 * MIB);
    pool_end(&p);
}

/* The caller's origin may be bound to the version that it wants: an ETag, an open file. Nothing is
 * read if the file has another one, else the old bytes would be stored as the new version's. */
static void test_wanted_version_is_gone(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_piece piece;
    (void)pool_new(&p, MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    for (unsigned part = 0; part < 2; part++) { /* nothing is cached, or the first block */
        CASE("part %u", part);
        cm_request r = request(5 * BLK, room, 2 * BLK);
        r.incarnation = info_of(f).incarnation;
        CALL(revise(f, &o));
        if (part)
            CHECK_EQ(put_all(f, 5, 1, o.tag), 1);
        CHECK_EQ(cm_request_begin(f, &r), 0);
        CHECK_EQ(cm_request_step(&r, &piece), 0);
        CHECK_EQ(cm_request_end(&r), CM_EMOVED);
    }
    /* It moves while the request waits for its turn. */
    cm_request r = request(20 * BLK, room, 2 * BLK);
    CHECK_EQ(cm_request_begin(f, &r), 0);
    r.incarnation = info_of(f).incarnation;
    CALL(revise(f, &o));
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CALL(complete(&r, &piece, &o));
    CALL(drive(&r, &o));
    CHECK_EQ(cm_request_end(&r), 2 * BLK);
    pool_end(&p);
}

/* A read that passes the cache by may need several pieces. All of them are read. */
static void test_bypassed_in_pieces(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    cm_piece piece;
    cm_sync s;
    for (unsigned moves = 0; moves < 2; moves++) {
        CASE("moves %u", moves);
        pool_make(&p, MIB, 0);
        p.o.read_size_max = 2 * BLK;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach(&p, 1, o.size, 1, CM_SOLE_WRITER);
        cm_request r = request(5, room, 20 * BLK);
        if (!moves) { /* bypassed; else it gets another version with each piece */
            CHECK_EQ(cm_sync_begin(f, &s), 0);
            CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        }
        memset(room, 0xee, 20 * BLK);
        CHECK_EQ(cm_request_begin(f, &r), 0);
        unsigned pieces = 0;
        while (cm_request_step(&r, &piece) == CM_REQUEST_READ && ++pieces < 100) {
            if (moves && pieces < 10)
                CALL(revise(f, &o));
            CALL(complete(&r, &piece, &o));
        }
        CHECK_EQ(cm_request_end(&r), 20 * BLK);
        CHECK_EQ(r.incarnation, 0);
        CHECK(moves || is_range(&o, 5, room, 20 * BLK));
        for (unsigned i = 0; i < 20; i++)
            CHECK(room[i * BLK] != 0xee || room[i * BLK + 1] != 0xee);
        pool_end(&p);
    }
}

static void test_wanted_version(void)
{
    struct pool p;
    struct origin o = make_origin(100 * BLK);
    (void)pool_new(&p, MIB);
    cm_file *f = attach(&p, 1, o.size, 1, 0);
    uint64_t now = info_of(f).incarnation, asked;
    for (unsigned hit = 0; hit < 2; hit++) {
        CASE("hit %u", hit);
        cm_request r = request(0, room, 6 * BLK);
        r.incarnation = now;
        CALL(check_run(f, &r, &o, 6 * BLK));
        CHECK_EQ(r.incarnation, now);
        r.incarnation = now + 12345;
        cm_piece piece;
        CHECK_EQ(cm_request_begin(f, &r), 0);
        while (cm_request_step(&r, &piece) == CM_REQUEST_READ)
            CALL(complete(&r, &piece, &o));
        CHECK_EQ(cm_request_end(&r), CM_EMOVED);
        CHECK_EQ(r.incarnation, 0);
    }
    /* It moves meanwhile, whatever the parts are. */
    cm_request r = request(20 * BLK, room, BLK);
    cm_piece piece;
    r.incarnation = now;
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), CM_REQUEST_READ);
    CALL(revise(f, &o));
    CALL(complete(&r, &piece, &o));
    CHECK_EQ(cm_request_step(&r, &piece), 0);
    CHECK_EQ(cm_request_end(&r), CM_EMOVED);
    r = request(0, NULL, 0);
    r.incarnation = now;
    CHECK_EQ(cm_request_begin(f, &r), 0);
    CHECK_EQ(cm_request_step(&r, &piece), 0);
    CHECK_EQ(cm_request_end(&r), CM_EMOVED);
    /* The call that does not return in between. */
    asked = now;
    CHECK_EQ(cm_read_through_version(f, 0, room, BLK, &asked, origin_read, &o), CM_EMOVED);
    CHECK_EQ(asked, 0);
    CHECK_EQ(cm_read_through_version(f, 0, room, BLK, &asked, origin_read, &o), BLK);
    CHECK_EQ(asked, info_of(f).incarnation);
    CHECK_EQ(cm_read_through_version(f, 0, room, BLK, &asked, origin_read, &o), BLK);
    CHECK_EQ(cm_read_through_version(f, 0, room, BLK, NULL, origin_read, &o), CM_EINVAL);
    pool_end(&p);
}

static const struct harness_test request_tests[] = {
    TEST(hit),
    TEST(lead),
    TEST(side_by_side),
    TEST(long),
    TEST(many_misses),
    TEST(error_ahead),
    TEST(eof),
    TEST(errors),
    TEST(misuse),
    TEST(longer_struct),
    TEST(file_closed),
    TEST(options),
    TEST(version_moves),
    TEST(version_of_cached_part),
    TEST(version_moves_on),
    TEST(bypassed),
    TEST(wanted_version_is_gone),
    TEST(bypassed_in_pieces),
    TEST(wanted_version),
    TEST_END,
};

static const struct harness_test *const tables[] = { request_tests, request_wake_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
