/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_learn.c - sizes that become known later; files that are looked up and not attached.
 */
#include "file_common.h"

#include "media/file_table.h"

#define SIZE (5 * BLK + 100)

/* ---- Sizes that become known later ----------------------------------------------------------- */

static cm_file *attach_unsized(struct pool *p, uint64_t id, uint32_t flags)
{
    cm_validator v = val(CM_SIZE_UNKNOWN, 7);
    return attach_v(p, id, &v, flags);
}

/* Reads all of the file from an origin of SIZE bytes; the last fill tells the size. */
static void read_all(cm_file *f)
{
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    CHECK_EQ(info_of(f).size, SIZE);
}
#define read_all(...) CALL(read_all(__VA_ARGS__)) /* its checks say who called */

/* All of it is there, and where it ends. */
static void expect_all(cm_file *f)
{
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    CHECK_EQ(info_of(f).size, SIZE);
    CHECK_EQ(cm_read_whole(f, 0, buf, sizeof(buf), 0), (int64_t)SIZE);
    CHECK(is_content(1, 4, buf + 4 * BLK, BLK) && is_content(1, 5, buf + 5 * BLK, 100));
}
#define expect_all(...) CALL(expect_all(__VA_ARGS__)) /* its checks say who called */

/* A fill tells the size, and the next session knows it. */
static void test_learned(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, 0);
    read_all(f);
    expect_all(f);
    detach(f);
    pool_again(&p);
    f = attach_unsized(&p, 1, 0);
    CHECK_EQ(info_of(f).kept, 1);
    expect_all(f);
    detach(f);
    cm_validator v = val(SIZE, 7); /* who knows it has to know the same one */
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    expect_all(f);
    detach(f);
    v = val(SIZE + 1, 7);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* A validator tells the size later. Nothing is forgotten, and the next session knows it. */
static void test_told(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_unsized(&p, 1, 0), *g = NULL;
        const uint64_t incarnation = info_of(f).incarnation;
        CHECK_EQ(put_all(f, 0, 5, 1), 5);
        if (how == 2) { /* a new attach of a file whose size nobody knew */
            detach(f);
            pool_again(&p);
        }
        cm_validator v = val(5 * BLK, 7);
        if (how == 0)
            CHECK_EQ(cm_file_revalidate(f, &v), 0);
        else
            g = attach_v(&p, 1, &v, 0);
        f = how == 2 ? g : f;
        CHECK_EQ(info_of(f).size, 5 * BLK);
        CHECK_EQ(info_of(f).incarnation, incarnation);
        CHECK_EQ(hits(f, 0, 5, 1), 5);
        v = val(CM_SIZE_UNKNOWN, 7); /* a validator without a size takes it away from nobody */
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(info_of(f).size, 5 * BLK);
        pool_again(&p);
        f = attach_unsized(&p, 1, 0);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).size, 5 * BLK);
        pool_end(&p);
    }
}

/* The end of an origin that was read before a change, or during one, is not the end now. */
static void test_not_learned(void)
{
    enum { BEFORE, ENDED, BEGUN, OPEN, TRUNCATED, INVALIDATED, RENEWED, OUTLIVED, HOWS };
    for (unsigned how = 0; how < HOWS; how++) {
        CASE("how %u", how);
        struct pool p;
        uint8_t data[CM_BLOCK_SIZE];
        cm_bracket w = { 0 };
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_unsized(&p, 1, CM_SOLE_WRITER);
        /* The change is far behind the block that is read, in another stripe. */
        if (how == ENDED || how == OPEN)
            w = begin_write(f, 1000 * BLK, BLK);
        cm_miss m = miss_of(f, 5 * BLK, BLK);
        if (how == BEFORE || how == BEGUN)
            w = begin_write(f, 1000 * BLK, BLK);
        if (how == TRUNCATED)
            CHECK_EQ(cm_truncate_begin(f, 7, &w), 0);
        if (how == INVALIDATED)
            CHECK_EQ(cm_invalidate(f, 1000 * BLK, BLK), 0);
        if (how == RENEWED)
            CHECK_EQ(cm_file_abort(f), 0);
        if (how == OUTLIVED) /* its time is over: the origin may hold another version */
            CHECK_EQ(cm_file_set_ttl(f, 1), 0);
        while (how == OUTLIVED && cm_plat_wall_ns() < info_of(f).expires_ns)
            sleep_ms(1);
        if (how == BEFORE || how == ENDED || how == TRUNCATED)
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        content(1, 5, data);
        CHECK(cm_fill(f, &m, data, 100, CM_FILL_EOF) >= 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        if (how == OPEN || how == BEGUN)
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        if (how == OUTLIVED)
            CHECK_EQ(cm_file_set_ttl(f, 0), 0);
        (void)put_tail(f, 6, 100, 1); /* read after all that */
        CHECK_EQ(info_of(f).size, 6 * BLK + 100);
        pool_end(&p);
    }
}

/* Where nothing was read, the file ends there or before. Known sizes are not changed by fills. */
static void test_empty_fills(void)
{
    struct pool p;
    uint8_t data[CM_BLOCK_SIZE] = { 0 };
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, 0);
    cm_miss m = miss_of(f, 5 * BLK, BLK);
    CHECK_EQ(cm_fill(f, &m, data, 0, CM_FILL_EOF), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    m = miss_of(f, 0, BLK);
    CHECK_EQ(cm_fill(f, &m, data, 0, CM_FILL_EOF), 0);
    CHECK_EQ(info_of(f).size, 0);
    CHECK_EQ(cm_read(f, 0, data, 10, &m), 0);
    CHECK_EQ(m.len, 0);
    CHECK_EQ(m.flags, CM_MISS_EOF);
    f = attach(&p, 2, 100 * BLK, 7, 0);
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    CHECK_EQ(info_of(f).size, 100 * BLK);
    pool_end(&p);
}

/* ---- An end where a block begins --------------------------------------------------------------
 */

/* The origin has nothing from the beginning of the miss on. */
static int put_nothing(cm_file *f, const cm_miss *m)
{
    return cm_fill(f, m, NULL, 0, CM_FILL_EOF);
}

/* Block 4 is cached whole, and nothing was read behind it: the file ends there. */
static void test_end_of_block(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        uint8_t data[CM_BLOCK_SIZE];
        pool_make(&p, MIB, 0);
        p.o.probation_bytes = how == 2 ? 16 * BLK : 0;
        REQUIRE(pool_up(&p) == 0);
        cm_file *f = attach_unsized(&p, 2, 0);
        if (how == 2) /* the pool is full: what comes in new waits in the buffer */
            (void)put_all(f, 1000, p.c->media.geo.slots + 64, 2);
        f = attach_unsized(&p, 1, 0);
        CHECK_EQ(put_all(f, 0, 5, 1), 5);
        if (how == 1) { /* a later session finds out */
            detach(f);
            pool_again(&p);
            f = attach_unsized(&p, 1, 0);
        }
        cm_miss m = miss_of(f, 5 * BLK, BLK);
        CHECK_EQ(m.len, BLK);
        CHECK_EQ(put_nothing(f, &m), 0);
        CHECK_EQ(info_of(f).size, 5 * BLK);
        CHECK_EQ(cm_read(f, 5 * BLK, data, 10, &m), 0);
        CHECK_EQ(m.len, 0);
        CHECK_EQ(m.flags, CM_MISS_EOF);
        pool_again(&p);
        f = attach_unsized(&p, 1, 0);
        CHECK_EQ(info_of(f).size, 5 * BLK);
        pool_end(&p);
    }
}

/* Nothing was read behind block 4, but it does not reach up to there now, or may not. */
static void test_end_before_block(void)
{
    enum { ABSENT, TAIL, CUT, CUT_MEANWHILE, RENEWED, BEGUN, ENDED, LATE, HOWS };
    for (unsigned how = 0; how < HOWS; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_bracket w = { 0 };
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_unsized(&p, 1, CM_SOLE_WRITER);
        CHECK_EQ(put_all(f, 0, 4, 1), 4);
        if (how == TAIL) { /* what is appended forgets the size, but not the tail */
            CHECK_EQ(put_tail(f, 4, 100, 1), 0);
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        } else if (how != ABSENT && how != LATE) {
            CHECK_EQ(put(f, 4, 1), 0);
        }
        cm_miss m = miss_of(f, 5 * BLK, BLK);
        if (how == CUT || how == CUT_MEANWHILE) {
            CHECK_EQ(cm_truncate_begin(f, 4 * BLK, &w), 0);
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        }
        if (how == CUT) /* read after it */
            m = miss_of(f, 5 * BLK, BLK);
        if (how == RENEWED) {
            CHECK_EQ(cm_file_abort(f), 0);
            m = miss_of(f, 5 * BLK, BLK);
        }
        if (how == BEGUN || how == ENDED)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, BLK, &w), 0);
        if (how == ENDED)
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        CHECK_EQ(put_nothing(f, &m), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        if (how == BEGUN)
            CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
        if (how == LATE) /* the block has come: the next read finds the end */
            CHECK_EQ(put(f, 4, 1), 0);
        m = miss_of(f, 5 * BLK, BLK);
        CHECK_EQ(put_nothing(f, &m), 0);
        const bool whole = how == BEGUN || how == ENDED || how == LATE;
        CHECK_EQ(info_of(f).size, whole ? 5 * BLK : CM_SIZE_UNKNOWN);
        pool_end(&p);
    }
}

/* An origin of five blocks that counts its reads, and one that is away. */
static int64_t five_blocks(void *ctx, uint64_t off, void *buf, size_t len)
{
    const uint64_t size = 5 * BLK, left = off < size ? size - off : 0;
    const size_t n = len < left ? len : (size_t)left;
    unsigned *reads = ctx;
    ++*reads;
    for (size_t at = 0; at < n; at += CM_BLOCK_SIZE)
        content(1, (off + at) / BLK, (uint8_t *)buf + at);
    return (int64_t)n;
}

static int64_t away(void *ctx, uint64_t off, void *buf, size_t len)
{
    (void)ctx, (void)off, (void)buf, (void)len;
    return -1001;
}

/* Reads five blocks at a time up to the end. Returns how many bytes, or the error. */
static int64_t read_to_end(cm_file *f, cm_origin_read_fn origin, void *ctx)
{
    static uint8_t buf[5 * CM_BLOCK_SIZE];
    for (uint64_t at = 0;;) {
        const int64_t n = cm_read_through(f, at, buf, sizeof(buf), origin, ctx);
        if (n <= 0)
            return n < 0 ? n : (int64_t)at;
        for (size_t i = 0; i < (size_t)n; i += CM_BLOCK_SIZE)
            CHECK(is_content(1, (at + i) / BLK, buf + i, BLK));
        at += (uint64_t)n;
    }
}

/* So a file that is in the pool as a whole needs no origin, wherever it ends. */
static void test_end_read_through(void)
{
    struct pool p;
    unsigned reads = 0;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, 0);
    CHECK_EQ(read_to_end(f, five_blocks, &reads), 5 * BLK);
    CHECK_EQ(reads, 2);
    CHECK_EQ(info_of(f).size, 5 * BLK);
    CHECK_EQ(read_to_end(f, away, NULL), 5 * BLK);
    pool_again(&p);
    f = attach_unsized(&p, 1, 0);
    CHECK_EQ(read_to_end(f, away, NULL), 5 * BLK);
    pool_end(&p);
}

/* A change that may move the end makes the recorded size unknown before the origin is written: the
 * process may die before the validator moves. */
static void test_forgotten(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_bracket w;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach_unsized(&p, 1, CM_SOLE_WRITER);
        read_all(f);
        if (how == 0)
            CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
        else if (how == 1)
            CHECK_EQ(cm_truncate_begin(f, SIZE + 1, &w), 0);
        else
            CHECK_EQ(cm_write_begin(f, SIZE, 1, &w), 0);
        pool_crash(&p);
        REQUIRE(pool_up(&p) == 0);
        f = attach_unsized(&p, 1, 0);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        CHECK_EQ(hits(f, 0, 5, 1), 5);
        pool_end(&p);
    }
}

/* A torn size is not known. It costs no block. */
static void test_torn_size(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    const uint64_t place = cm_object_of(f)->place;
    const struct cm_record before = *record_of(p.c, place);
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    const struct cm_record after = *record_of(p.c, place);
    for (unsigned set = 0; set < 4; set++) {
        CASE("set %u", set);
        pool_down(&p);
        REQUIRE(pool_up(&p) == 0);
        record_of(p.c, place)->size = set & 1 ? after.size : before.size;
        record_of(p.c, place)->size_sum = set & 2 ? after.size_sum : before.size_sum;
        f = attach_unsized(&p, 1, 0);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).size, set == 3 ? SIZE : CM_SIZE_UNKNOWN);
        CHECK_EQ(hits(f, 0, 5, 1), 5);
    }
    pool_end(&p);
}

/* A size counts beside the body that it was written for, and beside no other. */
static void test_size_of_another(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, 0);
    read_all(f);
    const uint64_t place = cm_object_of(f)->place;
    const struct cm_record old = *record_of(p.c, place);
    cm_validator v = val(CM_SIZE_UNKNOWN, 8);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(put_all(f, 0, 5, 2), 5);
    pool_again(&p); /* a crash could have left the size of the version before */
    record_of(p.c, place)->size = old.size;
    record_of(p.c, place)->size_sum = old.size_sum;
    v = val(CM_SIZE_UNKNOWN, 8);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(hits(f, 0, 5, 2), 5);
    pool_end(&p);
}

/* If the size cannot be written, the file goes on without a record: an old size must not count. */
static struct cm_persist_ops ops, real;
static struct cm_record *failing;
static int failing_write(void *ctx, void *dst, const void *src, size_t n)
{
    return dst == (void *)&failing->size ? CM_EIO : real.write(ctx, dst, src, n);
}

static void test_size_unwritable(void)
{
    struct pool p;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_unsized(&p, 1, CM_SOLE_WRITER);
    read_all(f);
    failing = record_of(p.c, cm_object_of(f)->place);
    ops = real = *p.c->media.ops;
    ops.write = failing_write;
    p.c->media.ops = &ops;
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    p.c->media.ops = &real;
    pool_crash(&p);
    REQUIRE(pool_up(&p) == 0);
    f = attach_unsized(&p, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    pool_end(&p);
}

/* ---- Looking up ------------------------------------------------------------------------------ */

static int lookup(struct pool *p, uint64_t id, cm_validator *v, cm_file_info *i)
{
    cm_file_id fid = id_of(id);
    *v = (cm_validator)CM_VALIDATOR_INIT;
    *i = (cm_file_info){ .struct_size = sizeof(*i) };
    return cm_file_lookup(p->c, &fid, v, i);
}

static void test_lookup(void)
{
    struct pool p;
    cm_validator v;
    cm_file_info i;
    const cm_validator want = val(SIZE, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(lookup(&p, 1, &v, &i), CM_EABSENT);
    cm_file *f = attach_unsized(&p, 1, 0);
    read_all(f);
    const uint64_t incarnation = info_of(f).incarnation;
    for (unsigned again = 0; again < 2; again++) {
        CASE("again %u", again);
        CHECK_EQ(lookup(&p, 1, &v, &i), 0);
        CHECK(memcmp(v.proof, want.proof, CM_PROOF_BYTES) == 0);
        CHECK_EQ(v.size, SIZE);
        CHECK_EQ(v.racy, 0);
        CHECK_EQ(v.taken_at, 0); /* it proves nothing by itself */
        CHECK_EQ(i.attached, 1 - again);
        CHECK_EQ(i.incarnation, incarnation);
        CHECK_EQ(i.size, SIZE);
        CHECK(i.id.hi == id_of(1).hi && i.id.lo == id_of(1).lo);
        if (again == 0)
            pool_again(&p);
    }
    v.taken_at = later();
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    expect_all(f);
    pool_end(&p);
}

/* What will be cold is said to be: racy, lost in a crash, or damaged. */
static void test_lookup_cold(void)
{
    NEED_DAX;
    struct pool p;
    cm_validator v;
    cm_file_info i;
    cm_bracket w;
    REQUIRE(dax_pool(&p) == 0);
    cm_validator racy = val(100 * BLK, 7);
    racy.racy = CM_RACY_TIMES;
    detach(warm(&p, 1, &racy, 0));
    cm_validator good = val(100 * BLK, 7);
    cm_file *f = warm(&p, 2, &good, CM_SOLE_WRITER);
    CHECK_EQ(cm_write_begin(f, 0, BLK, &w), 0);
    CHECK_EQ(cm_write_end(f, &w, &(cm_validator){ 0 }), CM_EINVAL);
    good = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &good), 0);
    detach(f);
    detach(warm(&p, 3, &good, 0));
    CHECK_EQ(lookup(&p, 1, &v, &i), 0);
    CHECK_EQ(v.racy, CM_RACY_RECORD);
    CHECK_EQ(i.racy, 1);
    CHECK_EQ(lookup(&p, 2, &v, &i), 0);
    CHECK_EQ(v.racy, 0);
    CHECK_EQ(i.dirty, 1); /* warm after a kill, partly cold after a power cut */
    crash_and_boot(&p);
    CHECK_EQ(lookup(&p, 2, &v, &i), 0);
    CHECK_EQ(v.racy, 0); /* but for the region that was written */
    CHECK_EQ(i.dirty, 0);
    CHECK_EQ(lookup(&p, 3, &v, &i), 0);
    CHECK_EQ(v.racy, 0);
    CHECK_EQ(cm_forget(p.c, &i.id), 0);
    CHECK_EQ(lookup(&p, 3, &v, &i), CM_EABSENT);
    pool_end(&p);
}

static void test_lookup_refused(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info i = { .struct_size = sizeof(i) };
    cm_file_id id = id_of(1), zero = { 0, 0 };
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, SIZE, 7, 0);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, NULL), 0);
    CHECK_EQ(cm_file_lookup(p.c, NULL, &v, &i), CM_EINVAL);
    CHECK_EQ(cm_file_lookup(p.c, &zero, &v, &i), CM_EINVAL);
    CHECK_EQ(cm_file_lookup(NULL, &id, &v, &i), CM_EHANDLE);
    v.struct_size = 5;
    CHECK_EQ(cm_file_lookup(p.c, &id, &v, &i), CM_EINVAL);
    v.struct_size = 0;
    i.struct_size = 5000;
    CHECK_EQ(cm_file_lookup(p.c, &id, &v, &i), CM_EINVAL);
    CHECK_EQ(cm_file_get_info(f, &i), CM_EINVAL);
    i.struct_size = 0;
    CHECK_EQ(cm_file_lookup(p.c, &id, &v, &i), 0);
    CHECK_EQ(i.struct_size, sizeof(i));
    CHECK_EQ(v.struct_size, sizeof(v));
    pool_end(&p);
}

/* A file that never had a validator has no size, in a later session either. */
static void test_no_validator(void)
{
    struct pool p;
    cm_file *f = NULL;
    cm_validator v = CM_VALIDATOR_INIT;
    const cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned later = 0; later < 2; later++) {
        CASE("later %u", later);
        if (later)
            CHECK_EQ(cm_file_lookup(p.c, &id, &v, NULL), 0);
        CHECK_EQ(v.size, CM_SIZE_UNKNOWN);
        CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        pool_crash(&p);
        REQUIRE(pool_up(&p) == 0);
    }
    pool_end(&p);
}

const struct harness_test file_learn_tests[] = {
    TEST(learned),          TEST(told),
    TEST(not_learned),      TEST(empty_fills),
    TEST(end_of_block),     TEST(end_before_block),
    TEST(end_read_through), TEST(forgotten),
    TEST(torn_size),        TEST(size_of_another),
    TEST(size_unwritable),  TEST(lookup),
    TEST(lookup_cold),      TEST(lookup_refused),
    TEST(no_validator),     TEST_END,
};
