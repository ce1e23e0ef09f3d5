/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_size.c - the size and the end of a file; aborting, forgetting, closing.
 */
#include "file_common.h"

#include <inttypes.h>
#include <pthread.h>

/* ---- Size and the end of the file ------------------------------------------------------------ */

static void expect_eof(cm_file *f, uint64_t offset, bool eof)
{
    cm_miss m = miss_of(f, offset, BLK);
    CHECK_EQ(m.len == 0 && (m.flags & CM_MISS_EOF), eof);
}

static void test_size(void)
{
    struct pool p;
    cm_validator v = val(3 * BLK + 10, 7), v2;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).size, 3 * BLK + 10);
    CALL(expect_eof(f, 3 * BLK + 10, true));
    CALL(expect_eof(f, 3 * BLK + 9, false));
    cm_miss m = miss_of(f, 2 * BLK, 4 * BLK);
    CHECK_EQ(m.offset, 2 * BLK);
    CHECK_EQ(m.len, BLK + 10); /* cut at the end of the file, with the flag set */
    CHECK_EQ(m.flags, CM_MISS_EOF);
    w = begin_write(f, BLK, BLK); /* inside: the size stays known */
    CHECK_EQ(info_of(f).size, 3 * BLK + 10);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    w = begin_write(f, 3 * BLK, 11); /* one byte further: the size is unknown from here on */
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CALL(expect_eof(f, 9 * BLK, false));
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CALL(expect_eof(f, 9 * BLK, false));
    v2 = val(3 * BLK + 11, 8);
    CHECK_EQ(cm_file_revalidate(f, &v2), 0);
    CALL(expect_eof(f, 3 * BLK + 11, true));
    CALL(expect_eof(f, 3 * BLK + 10, false));
    pool_end(&p);
}

/* The size of a file was not known while its blocks were stored and judged. Nothing is served from
 * behind the size that is learned. */
static void test_size_learned(void)
{
    struct pool p;
    cm_validator v = val(CM_SIZE_UNKNOWN, 7), v2;
    uint8_t buf[2 * CM_BLOCK_SIZE];
    cm_miss m;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_all(f, 0, 3, 5), 3);
    CHECK_EQ(hits(f, 0, 3, 5), 3);
    v2 = val(BLK + 10, 7);
    CHECK_EQ(cm_file_revalidate(f, &v2), 0);
    CHECK_EQ(info_of(f).size, BLK + 10);
    CHECK_EQ(cm_read(f, 2 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.flags & CM_MISS_EOF, CM_MISS_EOF);
    CHECK_EQ(cm_read(f, BLK, buf, BLK, &m), 10);
    CHECK_EQ(m.flags & CM_MISS_EOF, CM_MISS_EOF);
    CHECK_EQ(cm_read(f, 0, buf, 2 * BLK, &m), BLK + 10);
    CHECK_EQ(cm_read(f, BLK, buf, 10, &m), 10);
    pool_end(&p);
}

static void test_size_brackets(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 7, CM_SOLE_WRITER);
    for (unsigned kind = 0; kind < 4; kind++) {
        CASE("kind %u", kind);
        CHECK_EQ(info_of(f).size, 10 * BLK);
        if (kind == 0)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
        else if (kind == 1)
            CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
        else if (kind == 2)
            CHECK_EQ(cm_write_begin(f, 10 * BLK, 1, &w), 0);
        else
            CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        v = val(10 * BLK, 8 + kind);
        if (kind < 3)
            CHECK_EQ(cm_write_end(f, &w, &v), 0);
        else
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
    }
    CHECK_EQ(info_of(f).size, 10 * BLK);
    CHECK_EQ(cm_write_begin(f, 0, 0, &w), 0);
    CHECK_EQ(info_of(f).size, 10 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* Truncating forgets from the new size on, including the block at the new size, and nothing before
 * it. */
static void test_truncate(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 20 * BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK_EQ(cm_truncate_begin(f, 5 * BLK + 100, &w), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 15, 1), 0);
    CHECK_EQ(put(f, 30, 1), CM_NOT_STORED_STALE); /* nothing is stored during the bracket */
    v = val(5 * BLK + 100, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0); /* growing again: zeros, not the old bytes */
    v = val(20 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 15, 1), 0);
    CHECK_EQ(cm_truncate_begin(f, 0, &w), 0);
    CHECK_EQ(hits(f, 0, 20, 1), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    pool_end(&p);
}

/* So does a write of the whole rest of the file. */
static void test_write_rest(void)
{
    struct pool p;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 20 * BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK_EQ(cm_write_begin(f, 5 * BLK + 100, CM_ALL, &w), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 15, 1), 0);
    CHECK_EQ(put(f, 30, 1), CM_NOT_STORED_STALE);
    const cm_validator v = val(40 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(hits(f, 0, 5, 1), 5);
    CHECK_EQ(hits(f, 5, 35, 1), 0);
    /* How much is not known, or no file can become as long. */
    const uint64_t lengths[] = { 0, CM_ALL, CM_ALL - 1, CM_ALL - 40 * BLK, CM_ALL / 2 };
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CHECK_EQ(cm_write_begin(f, CM_APPEND, lengths[i], &w), 0);
        CHECK_EQ(hits(f, 0, 5, 1), 5);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK(miss_of(f, 40 * BLK, BLK).len > 0); /* the end may have moved */
    }
    pool_end(&p);
}

/* The same for blocks that an earlier session cached. */
static void test_truncate_kept(void)
{
    struct pool p;
    cm_validator v = val(20 * BLK - 5, 7);
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 19, 1), 19);
    CHECK_EQ(put_tail(f, 19, BLK - 5, 1), 0);
    pool_again(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(hits(f, 0, 19, 1), 19);
    CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
    v = val(10 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0);
    v = val(20 * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(hits(f, 0, 20, 1), 10);
    pool_end(&p);
}

/* Blocks cached while the size was unknown: truncating reaches them, also in a later session. */
static void test_truncate_unknown_size(void)
{
    for (unsigned again = 0; again < 2; again++) {
        CASE("again %u", again);
        struct pool p;
        cm_validator v = CM_VALIDATOR_INIT;
        cm_bracket w;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_v(&p, 1, NULL, CM_SOLE_WRITER);
        CHECK_EQ(put_all(f, 0, 20, 1), 20);
        CHECK_EQ(cm_truncate_begin(f, 10 * BLK, &w), 0);
        v = val(10 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        if (again) {
            pool_again(&p);
            v = fresh(v);
            f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
            CHECK_EQ(info_of(f).kept, 1);
        }
        CHECK_EQ(cm_truncate_begin(f, 20 * BLK, &w), 0); /* grows: zeros behind */
        v = val(20 * BLK, 9);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), 10);
        CHECK_EQ(hits(f, 10, 10, 1), 0);
        pool_end(&p);
    }
}

/* An append changes no existing byte: a cached tail still hits, but without the new bytes. */
static void test_append(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_bracket w;
    uint8_t buf[2 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 2 * BLK + 100, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(put_tail(f, 2, 100, 1), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 500, &w), 0);
    CHECK_EQ(hits(f, 0, 2, 1), 2);
    cm_miss m = miss_of(f, 3 * BLK, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    v = val(2 * BLK + 600, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_read(f, 2 * BLK, buf, BLK, &m), 100);
    CHECK(is_content(1, 2, buf, 100));
    CHECK_EQ(m.offset, 2 * BLK);
    CHECK_EQ(m.len, 600);
    CHECK_EQ(STAT(p.c, miss_short), 1);
    pool_end(&p);
}

/* An origin that fills its last block up, as one that reads whole blocks of a device. */
static int64_t padded_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx, (void)offset;
    memset(buf, 'p', len);
    return (int64_t)len;
}

/* The ways to store the last block of a file of BLK + 100 bytes, with what stands behind it. */
static void store_padded(cm_file *f, unsigned way)
{
    uint8_t buf[CM_BLOCK_SIZE];
    cm_miss m = miss_of(f, BLK, BLK);
    CHECK_EQ(m.len, 100);
    (void)padded_origin(NULL, BLK, buf, BLK);
    if (way == 0)
        CHECK_EQ(cm_fill(f, &m, buf, BLK, 0), 0);
    else if (way == 1)
        CHECK_EQ(cm_fill(f, &m, buf, BLK, CM_FILL_EOF), 0);
    else if (way == 2)
        CHECK_EQ(cm_fill(f, &m, buf, BLK, CM_FILL_WARM), 0);
    else if (way == 3)
        CHECK_EQ(cm_read_through(f, BLK, buf, BLK, padded_origin, NULL), 100);
    else
        CHECK_EQ(cm_warm(f, BLK, BLK, NULL, padded_origin, NULL, NULL), 0);
}

/* What stands behind the known end of a file is not stored. Else an append, which forgets nothing,
 * would uncover it. */
static void test_append_padded(void)
{
    for (unsigned way = 0; way < 5; way++) {
        CASE("way %u", way);
        struct pool p;
        cm_validator v;
        cm_bracket w;
        cm_range range[2];
        cm_miss m;
        uint8_t buf[CM_BLOCK_SIZE];
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach(&p, 1, BLK + 100, 7, CM_SOLE_WRITER);
        CALL(store_padded(f, way));
        CHECK_EQ(cm_file_ranges(f, 0, range, 2), 1);
        CHECK_EQ(range[0].offset, BLK);
        CHECK_EQ(range[0].len, 100);
        CHECK_EQ(cm_write_begin(f, CM_APPEND, 200, &w), 0);
        v = val(BLK + 300, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        CHECK_EQ(cm_read(f, BLK, buf, BLK, &m), 100);
        CHECK_EQ(m.len, 300);
        pool_end(&p);
    }
}

/* ---- Abort, forget, close -------------------------------------------------------------------- */

static void test_abort(void)
{
    struct pool p;
    cm_bracket a, b, c, d;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    uint64_t inc = info_of(f).incarnation;
    a = begin_write(f, 20 * BLK, BLK);
    CHECK_EQ(cm_truncate_begin(f, 50 * BLK, &b), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &c), 0);
    CHECK_EQ(cm_write_begin(f, 0, 0, &d), 0);
    CHECK_EQ(info_of(f).brackets, 4);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK(info_of(f).incarnation > inc);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(cm_write_end(f, &a, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &b, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &c, NULL), CM_EBRACKET);
    CHECK_EQ(cm_write_end(f, &d, NULL), CM_EBRACKET);
    CHECK_EQ(put_all(f, 0, 30, 2), 30); /* no intent is left raised */
    CHECK_EQ(hits(f, 0, 30, 2), 30);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(p.c->stripes[s].intents, 0);
    }
    CHECK_EQ(cm_object_of(f)->stale, 0);
    detach(f);
    pool_end(&p);
}

/* The lost owner may go on writing. A validator taken after the abort does not prove blocks that
 * were cached before it, not even for a sole writer. */
static void test_abort_then_validator(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    cm_validator v = val(100 * BLK, 8);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(put_all(f, 0, 10, 2), 10);
    detach(f);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(hits(f, 0, 10, 2), 10);
    pool_end(&p);
}

/* A validator taken before the abort proves nothing: the lost owner may have written since. */
static void test_abort_then_older_validator(void)
{
    struct pool p;
    cm_bracket w;
    uint8_t buf[2 * CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, BLK, 7, CM_SOLE_WRITER);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, BLK, &w), 0);
    cm_validator early = val(BLK, 8); /* after it the owner wrote its block, and died */
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    cm_file_id id = id_of(1);
    cm_file *again = NULL;
    CHECK_EQ(cm_file_open(p.c, &id, &early, CM_SOLE_WRITER, &again), CM_IGNORED);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), (int64_t)sizeof(buf));
    detach(again);
    detach(f);
    pool_end(&p);
}

/* The caller's hooks may do anything: they run without the file's lock. */
static cm_file *hooked;
static unsigned freed_unlocked, freed_locked;
static void look_at_locks(void *ctx, void *at, size_t bytes)
{
    (void)ctx;
    unmap_bytes(at, bytes);
    if (hooked) {
        freed_locked += at_load_relaxed(&cm_object_of(hooked)->lock.word) != 0;
        freed_unlocked += at_load_relaxed(&cm_object_of(hooked)->lock.word) == 0;
    }
}
static void *plain_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return map_bytes(bytes);
}

static void test_hooks_unlocked(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.alloc = plain_alloc;
    p.o.free = look_at_locks;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = hooked = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    freed_locked = freed_unlocked = 0;
    (void)begin_write(f, 3 * BLK, BLK); /* this one has room in the file, the others have not */
    (void)begin_write(f, 5 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    (void)begin_write(f, 3 * BLK, BLK);
    cm_bracket w = begin_write(f, 5 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    hooked = NULL;
    CHECK_EQ(freed_locked, 0);
    CHECK_EQ(freed_unlocked, 2);
    CHECK_EQ(cm_file_abort(f), 0);
    pool_end(&p);
}

/* The next bracket's validator may not be adopted while the lost owner may still write. */
static void test_abort_disowns(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    cm_validator v = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), CM_WANT_VALIDATOR);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    detach(f);
    pool_end(&p);
}

static uint32_t stop;

/* It sleeps between its aborts, or on a busy machine no begin would come between two of them. */
static void *aborter(void *arg)
{
    for (unsigned i = 0; !at_load_relaxed(&stop); i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_file_abort(arg), 0);
        if (i % 64 == 0)
            sleep_ms(1);
    }
    return NULL;
}

/* Aborts and brackets run at the same time. A begin may return that it was aborted, an end may find
 * its bracket gone, an invalidation may count as done, and no intent stays raised. */
static void test_abort_beside(void)
{
    struct pool p;
    pthread_t t;
    cm_bracket w;
    unsigned begun = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, CM_SOLE_WRITER);
    stop = 0;
    CHECK_EQ(pthread_create(&t, NULL, aborter, f), 0);
    for (uint64_t until = cm_now() + 300000000; cm_now() < until || begun == 0;) {
        CASE("until %" PRIu64, until);
        (void)put(f, 3, 1);
        int e = cm_write_begin(f, 3 * BLK, 100 * BLK, &w);
        CHECK(e == 0 || e == CM_EBRACKET);
        begun += e == 0;
        if (e == 0) {
            e = cm_write_end(f, &w, NULL);
            CHECK(e >= 0 || e == CM_EBRACKET);
        }
    }
    at_store_relaxed(&stop, 1u);
    (void)pthread_join(t, NULL);
    CHECK(begun > 0);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(cm_object_of(f)->stale, 0);
    for (uint64_t s = 0; s < p.c->media.geo.stripes; s++) {
        CASE("s %" PRIu64, s);
        CHECK_EQ(p.c->stripes[s].intents, 0);
    }
    CHECK_EQ(put(f, 3, 1), 0);
    pool_end(&p);
}

static void test_invalidate_beside_abort(void)
{
    struct pool p;
    pthread_t t;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 1000 * BLK, 7, 0);
    stop = 0;
    CHECK_EQ(pthread_create(&t, NULL, aborter, f), 0);
    for (uint64_t until = cm_now() + 300000000; cm_now() < until;) {
        CASE("until %" PRIu64, until);
        (void)put(f, 3, 1);
        CHECK_EQ(cm_invalidate(f, 3 * BLK, 100 * BLK), 0);
    }
    at_store_relaxed(&stop, 1u);
    (void)pthread_join(t, NULL);
    pool_end(&p);
}

/* The bracket's owner dies with its process. The range was forgotten durably before it wrote. */
static void test_crash_in_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    (void)begin_write(f, 3 * BLK, 2 * BLK);
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 8);
    CHECK_EQ(look(f, 3, 1), MISS);
    CHECK_EQ(look(f, 4, 1), MISS);
    pool_end(&p);
}

static void test_forget(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1), id3 = id_of(3);
    cm_file *f = warm_pool(&p, &v, 0);
    detach(warm(&p, 2, &v, 0));
    cm_miss m = miss_of(f, 50 * BLK, BLK);
    uint8_t data[CM_BLOCK_SIZE] = { 0 };
    CHECK_EQ(cm_forget(p.c, &id), 0); /* while it is open */
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(cm_fill(f, &m, data, BLK, 0), CM_NOT_STORED_STALE);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    detach(f);
    CHECK_EQ(cm_forget(p.c, &id), 0);  /* closed */
    CHECK_EQ(cm_forget(p.c, &id3), 0); /* never seen */
    pool_crash(&p);
    (void)pool_up(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    expect_kept(&p, 2, &v, true);
    pool_end(&p);
}

/* Forgotten with a bracket open: nothing is stored until the bracket ends. */
static void test_forget_in_bracket(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    cm_file *f = warm_pool(&p, &v, 0);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK(miss_of(f, 3 * BLK, BLK).flags & CM_MISS_NOFILL);
    CHECK_EQ(put(f, 3, 1), CM_NOT_STORED_STALE);
    CHECK_EQ(put(f, 50, 1), CM_NOT_STORED_STALE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put(f, 3, 1), 0);
    pool_end(&p);
}

static void test_close_rules(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, 0);
    v = fresh(v);
    cm_file *f2 = attach_v(&p, 1, &v, 0);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    detach(f2);
    CHECK_EQ(cm_file_close(f), CM_EBUSY);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    detach(f);
    CHECK_EQ(cm_file_close(f), CM_EHANDLE);
    CHECK_EQ(look(f, 0, 1), CM_EHANDLE);
    pool_end(&p);
}

/* Many files: objects are found again, are reused only after a while, and are never confused. */
static void test_many_files(void)
{
    struct pool p;
    cm_file *f[500];
    pool_make(&p, 16 * MIB, 4000); /* every bucket has room */
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t i = 0; i < 500; i++) {
        CASE("i %" PRIu64, i);
        f[i] = attach(&p, i + 1, 10 * BLK, 7, 0);
        CHECK_EQ(put(f[i], 0, i), 0);
    }
    for (uint64_t i = 0; i < 500; i++) {
        CASE("i %" PRIu64, i);
        CHECK_EQ(look(f[i], 0, i), RIGHT);
    }
    for (uint64_t i = 0; i < 500; i += 2)
        detach(f[i]);
    for (uint64_t i = 0; i < 500; i++) {
        CASE("i %" PRIu64, i);
        CHECK_EQ(look(f[i], 0, i), i % 2 ? RIGHT : CM_EHANDLE);
    }
    for (uint64_t i = 0; i < 500; i++) {
        CASE("i %" PRIu64, i);
        cm_file *g = attach(&p, i + 1, 10 * BLK, 7, 0);
        CHECK_EQ(g == f[i] || i % 2 == 0, 1);
        CHECK_EQ(look(g, 0, i), RIGHT);
    }
    pool_end(&p);
}

const struct harness_test file_size_tests[] = {
    TEST(abort_then_older_validator),
    TEST(hooks_unlocked),
    TEST(abort_disowns),
    TEST(size),
    TEST(size_learned),
    TEST(size_brackets),
    TEST(truncate),
    TEST(write_rest),
    TEST(truncate_kept),
    TEST(truncate_unknown_size),
    TEST(append),
    TEST(append_padded),
    TEST(abort),
    TEST(abort_then_validator),
    TEST(abort_beside),
    TEST(invalidate_beside_abort),
    TEST(crash_in_bracket),
    TEST(forget),
    TEST(forget_in_bracket),
    TEST(close_rules),
    TEST(many_files),
    TEST_END,
};
