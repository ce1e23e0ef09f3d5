/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file.c - attached files: what keeps their blocks at an attach and what does not, and what a
 * validator proves that is older than a change.
 */
#include "file_common.h"

#include "state/attach.h"

/* ---- Attach: keep or new --------------------------------------------------------------------- */

static void test_keep(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(STAT(p.c, attach_new), 1);
    uint64_t inc = info_of(f).incarnation;
    detach(f);
    f = attach_v(&p, 1, &v, 0); /* in the same session */
    CHECK_EQ(info_of(f).incarnation, inc);
    CHECK_EQ(STAT(p.c, attach_kept), 1);
    CHECK_EQ(hits(f, 0, 10, 1), 10);
    pool_again(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, true);
    pool_crash(&p);
    (void)pool_up(&p);
    expect_kept(&p, 1, &v, true);
    pool_end(&p);
}

/* Sets an older mark of incarnations, `mark`, in both superblock copies, with a right sum. */
static void set_mark(struct pool *p, uint64_t mark)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(p, i)->inc_mark = mark;
        super_seal(super_at(p, i));
    }
}

/* Fills a pool with file 1, and closes it. Returns the mark from before that file had a number. */
static uint64_t pool_of_one(struct pool *p, uint64_t bytes, uint64_t blocks)
{
    pool_make(p, bytes, 1); /* all records in one bucket */
    set_mark(p, 1);         /* the gap before the first number of a session is random again */
    (void)pool_up(p);
    uint64_t mark = p->c->super.next_incarnation;
    cm_file *f = attach(p, 1, blocks * BLK, 1, 0);
    CHECK(put_all(f, 0, blocks, 1) > 0);
    detach(f);
    pool_down(p);
    return mark;
}

/* Numbers have 56 bits. A mark from which they might overflow is damage. So is one from which an
 * owner would write such a mark, and no owner does. */
static void test_mark_too_high(void)
{
    const uint64_t most = CM_INCARNATION_MARK_MAX;
    struct pool p;
    struct cm_geometry g;
    uint64_t number;
    (void)pool_of_one(&p, 4 * MIB, 32);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        set_mark(&p, i == 0 ? most + 1 : i == 1 ? most : most - CM_INCARNATION_RANGE + 1);
        CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &p.c), CM_EDAMAGED);
        CHECK_EQ(super_at(&p, 0)->state, CM_SUPER_CLEAN); /* nothing was written */
        CHECK_EQ(cm_format_geometry(super_at(&p, 0), &g), i == 0 ? CM_EDAMAGED : 0); /* readers */
    }
    set_mark(&p, most - CM_INCARNATION_RANGE);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(super_at(&p, 0)->inc_mark, most);
    cm_file *f = attach(&p, 2, 32 * BLK, 1, 0);
    CHECK(info_of(f).incarnation >= most - CM_INCARNATION_RANGE);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(hits(f, 0, 2, 1), 2);
    p.c->super.next_incarnation = most; /* as if this session had given out its range */
    CHECK_EQ(cm_super_incarnation(&p.c->super, &number), CM_EIO);
    CHECK_EQ(super_at(&p, 0)->inc_mark, most);
    CHECK_EQ(super_at(&p, 1)->inc_mark, most);
    pool_end(&p);
}

/* A mark below a number in use is not trusted. Else another file would get that number, and the old
 * file's blocks are still there. */
static void test_mark_too_old(void)
{
    struct pool p;
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    (void)pool_up(&p);
    uint64_t epoch = pool_info(p.c).epoch;
    cm_file *f = attach(&p, 2, 32 * BLK, 1, 0); /* its record would be beside the first file's */
    CHECK_EQ(hits(f, 0, 32, 2), 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK_EQ(STAT(p.c, escalations), 1);
    CHECK(at_load_relaxed(&p.c->older) != 0); /* it is told */
    CHECK_EQ(put(f, 0, 2), 0);
    CHECK_EQ(look(f, 0, 2), RIGHT);
    cm_file *g = attach(&p, 1, 32 * BLK, 1, 0);
    CHECK_EQ(hits(g, 0, 32, 1), 0); /* forgotten, durably */
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    detach(g);
    detach(f);
    pool_again(&p);
    f = attach(&p, 2, 32 * BLK, 1, 0);
    CHECK_EQ(look(f, 0, 2), RIGHT);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    detach(f);
    pool_end(&p);
}

/* The same if it is the file's own record. Its number will be given to another one. */
static void test_mark_too_old_own(void)
{
    struct pool p;
    cm_file_info info = CM_FILE_INFO_INIT;
    const cm_file_id id = id_of(1);
    const uint64_t mark = pool_of_one(&p, 4 * MIB, 32);
    set_mark(&p, mark);
    (void)pool_up(&p);
    CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &info), CM_EABSENT);
    cm_file *f = attach(&p, 1, 32 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(STAT(p.c, attach_kept), 0);
    CHECK_EQ(hits(f, 0, 32, 1), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    pool_end(&p);
}

/* The same if no record shows it. A new file must not get that number: its incarnations begin
 * elsewhere. */
static void test_mark_too_old_unseen(void)
{
    struct pool p;
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    (void)pool_up(&p);
    memset(record_of(p.c, 0), 0,
           (size_t)(p.c->media.geo.record_buckets * CM_RECORD_WAYS) * sizeof(struct cm_record));
    cm_file *f = attach(&p, 2, 32 * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, 32, 2), 0);
    detach(f);
    pool_end(&p);
}

/* The same if only the slots show it, when they are used again. */
static void test_mark_too_old_evicted(void)
{
    struct pool p;
    pool_make(&p, cm_pool_size_min(), 0);
    set_mark(&p, 1); /* a random gap, as in pool_of_one() */
    (void)pool_up(&p);
    uint64_t mark = p.c->super.next_incarnation;
    cm_file *f = attach(&p, 1, 200 * BLK, 1, 0);
    (void)put_all(f, 0, 200, 1);
    detach(f);
    pool_down(&p);
    set_mark(&p, mark);
    (void)pool_up(&p);
    memset(record_of(p.c, 0), 0,
           (size_t)(p.c->media.geo.record_buckets * CM_RECORD_WAYS) * sizeof(struct cm_record));
    uint64_t epoch = pool_info(p.c).epoch;
    f = attach(&p, 2, 200 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 200, 2), 200);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK(hits(f, 0, 200, 2) > 0);
    detach(f);
    pool_end(&p);
}

/* cm_check finds it, too. */
static void test_mark_too_old_checked(void)
{
    struct pool p;
    cm_check_report r = { .struct_size = sizeof(r) };
    set_mark(&p, pool_of_one(&p, 4 * MIB, 32));
    p.o.flags = CM_OPEN_READONLY;
    (void)pool_up(&p);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.would_empty, 1);
    pool_down(&p);
    p.o.flags = 0;
    (void)pool_up(&p);
    uint64_t epoch = pool_info(p.c).epoch;
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    CHECK_EQ(cm_check(p.c, 0, NULL, NULL, &r), 0);
    CHECK_EQ(r.valid, 0);
    CHECK_EQ(pool_info(p.c).epoch, epoch + 1);
    pool_end(&p);
}

/* A change of any one field shows that the file changed. */
static void test_changed_validator(void)
{
    for (unsigned field = 0; field < 3; field++) {
        CASE("field %u", field);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        detach(warm(&p, 1, &v, 0));
        pool_again(&p);
        v = fresh(v);
        v.size += field == 0;
        v.proof[0] ^= field == 1;
        v.proof[CM_PROOF_BYTES - 1] ^= field == 2;
        expect_kept(&p, 1, &v, false);
        v = val(100 * BLK, 7); /* the old validator does not bring it back */
        expect_kept(&p, 1, &v, false);
        pool_end(&p);
    }
}

/* A racy validator never matches, whether it was recorded or is presented. */
static void test_racy(void)
{
    for (unsigned which = 1; which < 4; which++) {
        CASE("which %u", which);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        v.racy = which & 1;
        cm_file *f = warm(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).racy, which & 1);
        detach(f);
        v = fresh(v);
        v.racy = which >> 1;
        expect_kept(&p, 1, &v, false);
        pool_end(&p);
    }
}

/* It is presented again when it is no longer racy. From then on it counts. */
static void test_racy_settles(void)
{
    for (unsigned sole = 0; sole < 2; sole++) {
        CASE("sole %u", sole);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        v.racy = 1;
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = val(100 * BLK, 7);
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(info_of(f).racy, 0);
        /* With other writers a second change may hide behind the racy one, so the file started
         * anew. */
        CHECK_EQ(hits(f, 0, 10, 1), sole ? 10 : 0);
        CHECK_EQ(put_all(f, 0, 10, 1), sole ? 0 : 10);
        detach(f);
        pool_again(&p);
        v = fresh(v);
        expect_kept(&p, 1, &v, true);
        pool_end(&p);
    }
}

/* Not racy when it was recorded, racy now: a writer may hide behind the same times. */
static void test_racy_later(void)
{
    for (unsigned sole = 0; sole < 2; sole++) {
        CASE("sole %u", sole);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, sole ? CM_SOLE_WRITER : 0);
        v = fresh(v);
        v.racy = 1;
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK_EQ(hits(f, 0, 10, 1), sole ? 10 : 0);
        CHECK_EQ(info_of(f).racy, sole ? 0 : 1);
        detach(f);
        pool_end(&p);
    }
}

static void test_no_validator(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, NULL, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(f).racy, 1);
    CHECK_EQ(info_of(f).dirty, 1); /* nobody said when it was changed last */
    detach(f);
    expect_kept(&p, 1, NULL, false);
    detach(warm(&p, 1, &v, 0));
    expect_kept(&p, 1, NULL, false); /* even if one was recorded */
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* cachemax.h: a validator without a proof tells the size and nothing else: the file starts cold. */
static void test_no_proof(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    REQUIRE(pool_new(&p, MIB) == 0);
    v.size = 100 * BLK;
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).size, 100 * BLK);
    CHECK_EQ(info_of(f).racy, 1);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    cm_file *g = attach_v(&p, 1, &v, 0); /* a second open checks nothing */
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), CM_EINVAL);
    detach(g);
    detach(f);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* Up to 31 bytes are told apart by themselves, more by their hash. */
static void test_proofs(void)
{
    enum { LENGTHS = 100 };
    uint8_t bytes[LENGTHS] = { 0 };
    cm_validator v[LENGTHS], others;
    memset(&others, 0x5a, sizeof(others)); /* no other field changes */
    memset(others.proof, 0, sizeof(others.proof));
    for (unsigned n = 0; n < LENGTHS; n++) {
        CASE("n %u", n);
        v[n] = others;
        cm_validator_set_proof(&v[n], bytes, n);
        for (unsigned i = 0; i < n; i++)
            CHECK(memcmp(v[i].proof, v[n].proof, CM_PROOF_BYTES) != 0);
    }
    CHECK(memcmp(&v[0], &others, sizeof(others)) == 0);
    cm_validator_set_proof(&v[1], NULL, 0);
    CHECK(memcmp(&v[1], &others, sizeof(others)) == 0);
    memcpy(v[1].proof, others.proof, sizeof(others.proof));
    cm_validator_set_proof(&v[1], "\"5f3\"", 5);
    memset(v[1].proof, 0, sizeof(v[1].proof));
    CHECK(memcmp(&v[1], &others, sizeof(others)) == 0);
    cm_validator_set_proof(&v[1], "\"5f3\"", 5);
    CHECK(memcmp(v[1].proof, "\"5f3\"\0", 6) == 0);
    bytes[LENGTHS - 1] = 1;
    cm_validator_set_proof(&v[1], bytes, LENGTHS);
    bytes[LENGTHS - 1] = 2;
    cm_validator_set_proof(&v[2], bytes, LENGTHS);
    CHECK(memcmp(v[1].proof, v[2].proof, CM_PROOF_BYTES) != 0);
}

/* What was set can be read back, if it is stored as it is. */
static void test_proof_back(void)
{
    char bytes[40];
    cm_validator v = CM_VALIDATOR_INIT;
    for (unsigned n = 0; n <= sizeof(bytes); n++) {
        CASE("n %u", n);
        size_t len = 99;
        memset(bytes, 'a' + (int)(n % 26), sizeof(bytes));
        cm_validator_set_proof(&v, bytes, n);
        const void *back = cm_validator_get_proof(&v, &len);
        CHECK_EQ(len, n < CM_PROOF_BYTES ? n : 0);
        CHECK((back != NULL) == (len > 0));
        CHECK(len == 0 || memcmp(back, bytes, len) == 0);
        /* Pools hold it: it is the same in every version. */
        CHECK_EQ(v.proof[CM_PROOF_BYTES - 1], n < CM_PROOF_BYTES ? n : CM_PROOF_BYTES);
    }
}

/* Keys have ids that never change, because pools hold them. No two of these keys share one. */
static void test_id_of_key(void)
{
    enum { LENGTHS = 300 };
    static const char zeros[LENGTHS], key[] = "bucket/photo-1";
    cm_file_id id[LENGTHS], other;
    for (unsigned n = 0; n < LENGTHS; n++) {
        CASE("n %u", n);
        cm_file_id_set_key(&id[n], zeros, n);
        CHECK((id[n].hi | id[n].lo) != 0);
        for (unsigned i = 0; i < n; i++)
            CHECK(id[i].hi != id[n].hi || id[i].lo != id[n].lo);
    }
    cm_file_id_set_key(&other, NULL, 0);
    CHECK(other.hi == id[0].hi && other.lo == id[0].lo);
    cm_file_id_set_key(&other, key, strlen(key));
    CHECK_EQ(other.hi, UINT64_C(0x4c0cc463091e5765));
    CHECK_EQ(other.lo, UINT64_C(0xa98b043148becd39));
}

static void test_equal(void)
{
    cm_validator a = CM_VALIDATOR_INIT, b = CM_VALIDATOR_INIT;
    CHECK_EQ(cm_validator_equal(&a, &b), 0); /* no proof proves nothing */
    cm_validator_set_proof(&a, "x", 1);
    CHECK_EQ(cm_validator_equal(&a, &b), 0);
    cm_validator_set_proof(&b, "x", 1);
    CHECK_EQ(cm_validator_equal(&a, &b), 1);
    a.size = 1;
    CHECK_EQ(cm_validator_equal(&a, &b), 1);
    CHECK_EQ(cm_validator_equal(&b, &a), 1);
    b.size = 2;
    CHECK_EQ(cm_validator_equal(&a, &b), 0);
    b.size = 1;
    b.changed_ns = 5;
    CHECK_EQ(cm_validator_equal(&a, &b), 1);
    cm_validator_set_proof(&b, "y", 1);
    CHECK_EQ(cm_validator_equal(&a, &b), 0);
}

/* ---- Validators that are older than a change ------------------------------------------------- */

/* Attaches with a validator that must prove nothing: the file starts cold, with unknown size. */
static cm_file *attach_ignored(struct pool *p, uint64_t id, const cm_validator *v)
{
    cm_file *f = NULL;
    cm_file_id fid = id_of(id);
    CHECK_EQ(cm_file_open(p->c, &fid, v, 0, &f), CM_IGNORED);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    return f;
}

/* One thread asks for the attributes. Another one opens the file, extends it, fills and closes. The
 * first thread's validator equals the recorded one, but has the old size. */
static void test_older_than_a_write(void)
{
    struct pool p;
    cm_validator v = val(10 * BLK, 7), early;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = fresh(v);
    detach(warm(&p, 1, &v, 0));
    early = fresh(v);
    v = fresh(v);
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(put(f, 10, 2), 0);
    detach(f);
    f = attach_ignored(&p, 1, &early);
    CHECK_EQ(cm_truncate_begin(f, 5 * BLK, &w), 0); /* cut, and extended with zeros */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(look(f, 10, 2), MISS);
    detach(f);
    /* The same if only an aborted bracket is left of the write. */
    v = val(10 * BLK, 8);
    f = attach_v(&p, 2, &v, 0);
    early = fresh(v);
    (void)begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_file_abort(f), 0);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    detach(f);
    detach(attach_ignored(&p, 2, &early));
    pool_end(&p);
}

/* A validator from before the open drops the blocks of earlier sessions for good: a newer one does
 * not bring them back. */
static void test_ignored_forgets(void)
{
    struct pool p;
    cm_validator v = val(10 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    v = fresh(v);
    detach(warm(&p, 1, &v, 0));
    v = fresh(v);
    pool_again(&p);
    cm_file *f = attach_ignored(&p, 1, &v);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(f);
    pool_again(&p);
    v = fresh(v);
    f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(hits(f, 0, 10, 1), 1); /* the block that came after the newer one */
    detach(f);
    pool_end(&p);
}

/* The previous owner may have written until it closed the pool or died. */
static void test_older_than_the_open(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT, early = CM_VALIDATOR_INIT;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *f = warm(&p, 1, &v, 0);
    early = fresh(v);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    pool_again(&p);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* Other files that are closed meanwhile make no validator old. */
static void test_beside_other_files(void)
{
    enum { FILES = 60, OTHERS = 250 };
    struct pool p;
    cm_validator v[FILES];
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    for (unsigned i = 0; i < FILES; i++) {
        v[i] = val(10 * BLK, i + 1);
        detach(warm(&p, i + 1, &v[i], 0));
    }
    for (unsigned i = 0; i < FILES; i++)
        v[i] = fresh(v[i]);
    for (unsigned i = 0; i < OTHERS; i++) {
        const cm_file_id id = id_of(1000 + i);
        CHECK_EQ(cm_forget(p.c, &id), 0);
    }
    for (unsigned i = 0; i < FILES; i++) {
        const cm_file_id id = id_of(i + 1);
        cm_file *f = NULL;
        CHECK_EQ(cm_file_open(p.c, &id, &v[i], 0, &f), 0);
        CHECK(info_of(f).kept);
        detach(f);
    }
    pool_end(&p);
}

/* A write is remembered also when thousands of other files were closed since. */
static void test_older_than_a_write_long_ago(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *f = warm(&p, 1, &v, 0);
    const cm_validator early = fresh(v);
    cm_bracket w = begin_write(f, 0, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    detach(f);
    for (unsigned i = 0; i < 20000; i++) {
        const cm_file_id id = id_of(1000 + i);
        CHECK_EQ(cm_forget(p.c, &id), 0);
    }
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* Of two validators the one that was taken later counts, whichever is presented first. */
static void test_older_than_the_last(void)
{
    struct pool p;
    cm_validator early = CM_VALIDATOR_INIT, late = CM_VALIDATOR_INIT;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    early = val(10 * BLK, 7);
    late = val(20 * BLK, 8);
    CHECK_EQ(cm_file_open(p.c, &id, &late, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    CHECK_EQ(cm_file_revalidate(f, &late), 0); /* the same one again counts, too */
    early = val(10 * BLK, 7);
    late = fresh(late);
    CHECK_EQ(cm_file_revalidate(f, &late), 0); /* unchanged, as of a later moment */
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    CHECK_EQ(info_of(f).size, 20 * BLK);
    CHECK_EQ(hits(f, 0, 20, 1), 20);
    detach(f);
    CHECK_EQ(cm_file_open(p.c, &id, &late, 0, &f), 0);
    CHECK_EQ(info_of(f).kept, 1);
    detach(f);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* A forgotten id may stand for another file: nothing that was known of the old file counts. */
static void test_older_than_forgetting(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT, early = CM_VALIDATOR_INIT;
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *f = warm(&p, 1, &v, 0);
    early = fresh(v);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_file_revalidate(f, &early), CM_IGNORED);
    detach(f);
    early = val(10 * BLK, 7);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    detach(attach_ignored(&p, 1, &early));
    pool_end(&p);
}

/* A time in the future is of another clock than cm_now(). Such validators would always count. */
static void test_taken_in_the_future(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_id id = id_of(1);
    cm_file *f = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    cm_file *good = attach_v(&p, 1, &v, 0);
    v.taken_at += UINT64_C(3600) * 1000000000;
    CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &f), CM_EINVAL);
    CHECK_EQ(cm_file_revalidate(good, &v), CM_EINVAL);
    detach(good);
    pool_end(&p);
}

static cm_file *version_of;
static uint64_t version_before, version_size;
static void (*version_fence)(void *ctx);

static void watch_version(void *ctx)
{
    if (cm_object_of(version_of)->incarnation == version_before)
        version_size = cm_object_of(version_of)->size;
    version_fence(ctx);
}

/* While a file gets another incarnation its size is unknown. A read must not end the old version
 * where the new one ends, nor the new one where the old one ends. */
static void test_size_of_a_version(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    REQUIRE(pool_new(&p, MIB) == 0);
    v = val(10 * BLK, 7);
    version_of = attach_v(&p, 1, &v, 0);
    version_before = cm_object_of(version_of)->incarnation;
    version_size = 1;
    struct cm_persist_ops ops = *p.c->media.ops;
    const struct cm_persist_ops *real = p.c->media.ops;
    version_fence = ops.fence;
    ops.fence = watch_version;
    p.c->media.ops = &ops;
    v = val(20 * BLK, 8);
    CHECK_EQ(cm_file_revalidate(version_of, &v), 0);
    p.c->media.ops = real;
    CHECK_EQ(version_size, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(version_of).size, 20 * BLK);
    CHECK(cm_object_of(version_of)->incarnation != version_before);
    pool_end(&p);
}

/* A validator without a size still shows whether the file is another one. */
static void test_second_open_without_size(void)
{
    struct pool p;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f, *g;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned sized = 0; sized < 2; sized++) {
        CASE("sized %u", sized);
        v = val(sized ? 10 * BLK : CM_SIZE_UNKNOWN, 7);
        f = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(put_all(f, 0, 10, 1), 10);
        v = val(CM_SIZE_UNKNOWN, 7);
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK(f == g);
        CHECK_EQ(hits(f, 0, 10, 1), 10); /* the same version */
        detach(g);
        v = val(CM_SIZE_UNKNOWN, 8);
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
        CHECK_EQ(put_all(f, 0, 10, 2), 10);
        detach(g);
        v = val(CM_SIZE_UNKNOWN, 8);
        v.racy = 1; /* another version may hide behind the same times */
        g = attach_v(&p, 1 + sized, &v, 0);
        CHECK_EQ(hits(f, 0, 10, 2), 0);
        detach(g);
        detach(f);
        v = val(10 * BLK, 8);
        f = attach_v(&p, 1 + sized, &v, 0); /* a file without a size is not kept */
        CHECK_EQ(info_of(f).kept, 0);
        detach(f);
    }
    pool_end(&p);
}

/* What all who open a file claim of it holds; one who says that the origin may lose writes is
 * right.
 */
static void test_second_open_flags(void)
{
    const struct {
        uint32_t first, second, both;
    } flags[] = {
        { CM_SOLE_WRITER, CM_SOLE_WRITER, CM_SOLE_WRITER },
        { CM_SOLE_WRITER, 0, 0 },
        { 0, CM_SOLE_WRITER, 0 },
        { CM_EXCLUSIVE, CM_EXCLUSIVE, CM_EXCLUSIVE | CM_SOLE_WRITER },
        { CM_EXCLUSIVE, CM_SOLE_WRITER, CM_SOLE_WRITER },
        { CM_ORIGIN_VOLATILE, 0, CM_ORIGIN_VOLATILE },
        { 0, CM_ORIGIN_VOLATILE, CM_ORIGIN_VOLATILE },
        { CM_SOLE_WRITER | CM_ORIGIN_VOLATILE, CM_SOLE_WRITER,
          CM_SOLE_WRITER | CM_ORIGIN_VOLATILE },
    };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        CASE("flags %u", i);
        cm_file *f = attach(&p, 1, 10 * BLK, 7, flags[i].first);
        cm_file *g = attach(&p, 1, 10 * BLK, 7, flags[i].second);
        CHECK(f == g);
        CHECK_EQ(cm_object_of(f)->flags, flags[i].both);
        detach(f);
        detach(f);
    }
    pool_end(&p);
}

/* Which attached file has an incarnation? */
static void test_id_of_incarnation(void)
{
    struct pool p;
    cm_file_id id;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f[3];
    for (uint64_t i = 0; i < 3; i++)
        f[i] = attach(&p, 1 + i, 10 * BLK, 7, 0);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(cm_files_id_of(p.c, info_of(f[i]).incarnation, &id));
        CHECK_EQ(id.lo, 1 + i);
    }
    CHECK(!cm_files_id_of(p.c, info_of(f[2]).incarnation + 1, &id));
    at_store_relaxed(&cm_object_of(f[2])->incarnation, UINT64_C(0)); /* nothing is cached of it */
    CHECK(!cm_files_id_of(p.c, 0, &id));
    pool_end(&p);
}

/* Two files of one chain of the table. A place in it that one of them left is not the other's. */
static void test_same_chain(void)
{
    enum { MANY = 200 };
    struct pool p;
    cm_file *more[MANY];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file_id a = id_of(1), b;
    for (b = id_of(2); cm_object_chain(p.c, &a) != cm_object_chain(p.c, &b);)
        b.lo++;
    cm_file *f = attach(&p, a.lo, 10 * BLK, 7, 0), *g = attach(&p, b.lo, 10 * BLK, 7, 0);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(g);
    for (uint64_t i = 0; i < MANY; i++) {
        more[i] = attach(&p, (1u << 20) + i, BLK, 7, 0);
        CHECK(cm_object_of(more[i]) != cm_object_of(f));
    }
    CHECK_EQ(info_of(f).id.lo, a.lo);
    CHECK_EQ(look(f, 0, 1), RIGHT);
    pool_end(&p);
}

/* The first of a file's two buckets has no free place, the second has. No other file gives its. */
static void test_second_bucket(void)
{
    struct pool p;
    struct cm_record_set s;
    const cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_record_load(&p.c->media, &id, &s);
    CHECK(s.first[0] != s.first[1]);
    for (unsigned i = 0; i < CM_RECORD_WAYS; i++) {
        struct cm_record r = { .id = { 77, 1000 + i } };
        CHECK_EQ(cm_super_incarnation(&p.c->super, &r.incarnation), 0);
        CHECK_EQ(put_record(p.c, s.first[0] + i, &r), 0);
    }
    cm_file *f = attach(&p, 1, BLK, 7, 0);
    CHECK(cm_object_of(f)->place - s.first[1] < CM_RECORD_WAYS);
    CHECK_EQ(STAT(p.c, records_evicted), 0);
    pool_end(&p);
}

/* No place is free but that of a file of objects, which nobody has open: the next file gets it. */
static void test_place_of_objects(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    uint64_t id = 1, place;
    cm_file *f = attach(&p, id, BLK, 7, 0);
    place = cm_object_of(f)->place;
    for (unsigned none = 0; none < 200; none += cm_object_of(f)->place == CM_NO_PLACE)
        f = attach(&p, ++id, BLK, 7, 0);
    f = attach(&p, 1, BLK, 7, 0);
    detach(f);
    detach(f);
    struct cm_record r = *record_of(p.c, place);
    memcpy(r.proof, CM_PROOF_OBJECTS, sizeof(CM_PROOF_OBJECTS) - 1);
    CHECK_EQ(put_record(p.c, place, &r), 0);
    for (const uint64_t end = id + 100; id < end; id++) {
        f = attach(&p, ++id, BLK, 7, 0);
        if (cm_object_of(f)->place != CM_NO_PLACE)
            break;
    }
    CHECK_EQ(cm_object_of(f)->place, place);
    pool_end(&p);
}

static const struct harness_test file_tests[] = {
    TEST(second_open_flags),
    TEST(id_of_incarnation),
    TEST(place_of_objects),
    TEST(same_chain),
    TEST(second_bucket),
    TEST(keep),
    TEST(mark_too_high),
    TEST(mark_too_old),
    TEST(mark_too_old_own),
    TEST(mark_too_old_unseen),
    TEST(mark_too_old_evicted),
    TEST(mark_too_old_checked),
    TEST(changed_validator),
    TEST(racy),
    TEST(racy_settles),
    TEST(racy_later),
    TEST(no_validator),
    TEST(no_proof),
    TEST(proofs),
    TEST(proof_back),
    TEST(id_of_key),
    TEST(equal),
    TEST(older_than_a_write),
    TEST(ignored_forgets),
    TEST(older_than_the_open),
    TEST(older_than_the_last),
    TEST(beside_other_files),
    TEST(older_than_a_write_long_ago),
    TEST(older_than_forgetting),
    TEST(taken_in_the_future),
    TEST(second_open_without_size),
    TEST(size_of_a_version),
    TEST_END,
};

static const struct harness_test *const tables[] = {
    file_tests,         file_dirty_tests,  file_size_tests,    file_learn_tests,     file_ttl_tests,
    file_failing_tests, file_record_tests, file_regions_tests, file_unwritable_tests
};

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
