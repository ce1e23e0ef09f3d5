/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_keep.c - kept files: their blocks are not evicted, in this session and in later ones, and
 * nobody starves beside them.
 */
#include "keep_common.h"

#include <inttypes.h>
#include <pthread.h>

#include "state/incarnations.h"
#include "state/keep.h"

#define KEPT 300u /* blocks of file 1; a pool of 4 MiB has some thousand slots */

static bool buffered; /* pools have a probation buffer */

static cm_file *begin(struct pool *p, uint64_t bytes)
{
    pool_make(p, bytes, 0);
    pool_seed(p, 7);
    if (buffered)
        p->o.probation_bytes = 16 * BLK;
    (void)pool_up(p);
    return attach(p, 1, KEPT * BLK, 1, 0);
}

/* A file much larger than the pool is read, each block twice; and again as one that wants to stay,
 * so that the policy has to choose among all blocks. Returns how many of its blocks were stored. */
static int64_t storm(struct pool *p, uint64_t id)
{
    const uint64_t blocks = 5 * p->c->media.geo.slots;
    cm_file *f = attach(p, id, blocks * BLK, 1, 0);
    const int64_t before = STAT(p->c, fill_blocks);
    for (uint64_t b = 0; b < 2 * blocks; b++) {
        if (b == blocks)
            CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
        for (unsigned again = 0; again < 2; again++)
            if (look(f, b % blocks, id) != RIGHT)
                (void)put(f, b % blocks, id);
    }
    detach(f);
    return STAT(p->c, fill_blocks) - before;
}

/* The slots that are marked are those that the count says, and each has a block of a kept file. */
static void check_marks(cm_cache *c)
{
    uint64_t n = 0;
    cm_keep_complete(c);
    cm_keep_prepare(c);
    for (uint64_t s = 0; s < c->media.geo.slots; s++) {
        if (!cm_ring_is_kept(&c->policy.ring, s))
            continue;
        n++;
        CHECK(slot_ok(c, s) && cm_keep_has(c, header_of(c, s)->incarnation));
    }
    CHECK_EQ(c->policy.ring.kept_count, n);
    CHECK(n <= cm_keep_most(c));
    CHECK_EQ(slots_astray(c), 0);
}
#define check_marks(...) CALL(check_marks(__VA_ARGS__)) /* its checks say who called */

/* ---- Evicting -------------------------------------------------------------------------------- */

static void check_storm(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    for (uint64_t id = 2; id < 5; id++) {
        CHECK(storm(&p, id) > (int64_t)p.c->media.geo.slots);
        CHECK_EQ(hits(f, 0, KEPT, 1), KEPT);
    }
    CHECK_EQ(p.c->policy.ring.kept_count, KEPT);
    check_marks(p.c);
    /* As other files: the next storm takes most of it. */
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    CHECK_EQ(info_of(f).keep, 0);
    CHECK_EQ(pool_info(p.c).kept_files, 0);
    (void)storm(&p, 5);
    (void)storm(&p, 6);
    CHECK(hits(f, 0, KEPT, 1) < KEPT / 2);
    check_marks(p.c);
    CHECK_EQ(p.c->policy.ring.kept_count, 0);
    pool_end(&p);
}

static void test_storm(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        buffered = i != 0;
        CALL(check_storm());
    }
    buffered = false;
}

/* Blocks that were there before stay, too. */
static void test_kept_later(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0); /* again: nothing changes */
    (void)storm(&p, 2);
    CHECK_EQ(hits(f, 0, KEPT, 1), KEPT);
    check_marks(p.c);
    pool_end(&p);
}

/* Blocks wait in the probation buffer of a full pool when the file is kept. They go to the pool
 * when others push them out, or when the pool is closed. */
static void check_waiting(bool closed)
{
    enum { WAITING = 8 };
    struct pool p;
    buffered = true;
    cm_file *f = begin(&p, 4 * MIB), *g;
    buffered = false;
    (void)storm(&p, 2);
    const int64_t before = STAT(p.c, buffered);
    CHECK_EQ(put_all(f, 0, WAITING, 1), WAITING);
    CHECK_EQ(STAT(p.c, buffered), before + WAITING);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    if (closed) {
        pool_again(&p);
        f = attach(&p, 1, KEPT * BLK, 1, 0);
    } else {
        g = attach(&p, 3, KEPT * BLK, 1, 0);
        (void)put_all(g, 0, KEPT, 3); /* each once: as a file that is read through */
    }
    CHECK_EQ(hits(f, 0, WAITING, 1), WAITING);
    (void)storm(&p, 4);
    CHECK_EQ(hits(f, 0, WAITING, 1), WAITING);
    check_marks(p.c);
    pool_end(&p);
}

static void test_waiting(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CALL(check_waiting(i != 0));
    }
}

/* An advice does not weaken it. */
static void test_advice(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_NOREUSE), 0);
    CHECK_EQ(put(f, 0, 1), CM_NOT_STORED_POLICY);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    pool_end(&p);
}

/* ---- Later sessions -------------------------------------------------------------------------- */

/* An open looks at no record. The storm comes before anybody attaches the file. */
static void check_later(bool killed)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    if (!killed)
        detach(f);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u, killed %d", i, killed);
        if (killed) {
            pool_crash(&p);
            (void)pool_up(&p);
        } else {
            pool_again(&p);
        }
        CHECK(p.c->keeping.left > 0); /* an open looks at nothing */
        CHECK(storm(&p, 2 + i) > (int64_t)p.c->media.geo.slots);
        CHECK_EQ(p.c->keeping.left, 0);
        CHECK_EQ(pool_info(p.c).kept_files, 1);
        CHECK_EQ(pool_info(p.c).kept_bytes, KEPT * BLK);
        check_marks(p.c);
        f = attach(&p, 1, KEPT * BLK, 1, 0);
        CHECK_EQ(info_of(f).kept, 1);
        CHECK_EQ(info_of(f).keep, 1);
        CHECK_EQ(hits(f, 0, KEPT, 1), KEPT);
        detach(f);
    }
    /* No file is kept any more: the open after the next one need not look. */
    f = attach(&p, 1, KEPT * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    detach(f);
    CHECK(p.c->super.now.compat & CM_COMPAT_KEEP);
    pool_again(&p);
    CHECK_EQ(pool_info(p.c).kept_files, 0);
    CHECK_EQ(p.c->super.now.compat, 0);
    pool_end(&p);
}

static void test_later(void)
{
    check_later(false);
    check_later(true);
}

/* A version that began while the pool was closed is kept, too. */
static void test_versions(void)
{
    struct pool p;
    cm_validator v = val(KEPT * BLK, 3);
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    (void)storm(&p, 2);
    detach(f);
    pool_again(&p);
    f = attach(&p, 1, KEPT * BLK, 2, 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, KEPT, 1), 0);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0); /* another one while it is open */
    CHECK_EQ(pool_info(p.c).kept_files, 1);
    CHECK_EQ(pool_info(p.c).kept_bytes, KEPT * BLK);
    CHECK_EQ(put_all(f, 0, KEPT, 3), KEPT);
    (void)storm(&p, 3);
    (void)storm(&p, 4);
    CHECK_EQ(hits(f, 0, KEPT, 3), KEPT);
    CHECK_EQ(p.c->policy.ring.kept_count, KEPT); /* none of the old versions */
    check_marks(p.c);
    pool_end(&p);
}

/* The record of a kept file is not given away. */
static void test_record(void)
{
    struct pool p;
    pool_make(&p, 4 * MIB, 16);
    CHECK_EQ(pool_up(&p), 0);
    cm_file *f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    detach(f);
    for (uint64_t id = 2; id < 500; id++)
        detach(attach(&p, id, BLK, 1, 0));
    CHECK(STAT(p.c, records_evicted) > 0);
    f = attach(&p, 1, BLK, 1, 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(look(f, 0, 1), RIGHT);
    pool_end(&p);
}

static void *no_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    (void)bytes;
    return NULL;
}

/* The pool says that records may have the flag only once a file is kept. */
static void test_pool_says_so(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    CHECK_EQ(p.c->super.now.compat & CM_COMPAT_KEEP, 0);
    void *(*const alloc)(void *, size_t) = p.c->opts.alloc;
    p.c->opts.alloc = no_alloc;
    CHECK_EQ(cm_file_set_keep(f, 1), CM_ENOMEM);
    p.c->opts.alloc = alloc;
    CHECK_EQ(p.c->super.now.compat & CM_COMPAT_KEEP, 0);
    CHECK_EQ(info_of(f).keep, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK(p.c->super.now.compat & CM_COMPAT_KEEP);
    pool_end(&p);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_forget(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file *f = begin(&p, 4 * MIB);
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
        (void)storm(&p, 2 + i);
        if (i & 1)
            detach(f);
        CHECK_EQ(cm_file_lookup(p.c, &id, NULL, &info), 0);
        CHECK_EQ(info.keep, 1);
        CHECK_EQ(i & 2 ? cm_forget_gone(p.c, &id) : cm_forget(p.c, &id), 0);
        CHECK_EQ(pool_info(p.c).kept_files, 0);
        check_marks(p.c);
        CHECK_EQ(p.c->policy.ring.kept_count, 0);
        if (!(i & 1))
            detach(f);
        f = attach(&p, 1, KEPT * BLK, 1, 0);
        CHECK_EQ(info_of(f).keep, 0);
    }
    pool_end(&p);
}

/* A write, an invalidation and a drop take the blocks; what is read again stays again. */
static void test_changes(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    (void)storm(&p, 2);
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        if (i == 0) {
            const cm_bracket w = begin_write(f, 100 * BLK, 50 * BLK);
            CHECK(cm_write_end(f, &w, NULL) >= 0);
        } else if (i == 1) {
            CHECK_EQ(cm_invalidate(f, 100 * BLK, 50 * BLK), 0);
        } else {
            CHECK_EQ(cm_drop(f, 100 * BLK, 50 * BLK), 50 * BLK);
        }
        CHECK_EQ(hits(f, 0, KEPT, 1), KEPT - 50);
        CHECK_EQ(p.c->policy.ring.kept_count, KEPT - 50);
        check_marks(p.c);
        CHECK_EQ(info_of(f).keep, 1);
        CHECK_EQ(put_all(f, 100, 50, 1), 50);
        (void)storm(&p, 3 + i);
        CHECK_EQ(hits(f, 0, KEPT, 1), KEPT);
        check_marks(p.c);
    }
    pool_end(&p);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void test_share(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB), *g, *h;
    const uint64_t most = cm_keep_most(p.c);
    CHECK_EQ(most, p.c->media.geo.slots / 2);
    CHECK_EQ(pool_info(p.c).kept_max, most * BLK);
    g = attach(&p, 2, (most - KEPT) * BLK, 1, 0);
    h = attach(&p, 3, 1, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(cm_file_set_keep(g, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, most * BLK);
    CHECK_EQ(pool_info(p.c).kept_files, 2);
    CHECK_EQ(cm_file_set_keep(h, 1), CM_EKEEP);
    CHECK_EQ(info_of(h).keep, 0);
    CHECK_EQ(cm_file_set_keep(g, 1), 0); /* it has its room */
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    CHECK_EQ(cm_file_set_keep(h, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, (most - KEPT + 1) * BLK);
    CHECK_EQ(cm_file_set_keep(f, 1), CM_EKEEP);
    CHECK_EQ(pool_info(p.c).kept_files, 2);
    pool_end(&p);
}

/* A file whose size is not known is kept in the whole pool, as far as it may be: others get the
 * rest, and each search for a slot ends. */
static void test_too_much(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    const uint64_t slots = p.c->media.geo.slots;
    detach(f);
    f = attach(&p, 7, CM_SIZE_UNKNOWN, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    for (uint64_t b = 0; b < 2 * slots; b++)
        (void)put(f, b, 1);
    CHECK(storm(&p, 2) > (int64_t)slots);
    CHECK(hits(f, 0, 2 * slots, 1) >= cm_keep_most(p.c) / 2);
    check_marks(p.c);
    CHECK(p.c->policy.ring.kept_count <= cm_keep_most(p.c));
    pool_end(&p);
}

static uint64_t empty_slots(const struct pool *p)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < p->c->media.geo.slots; i++)
        n += !(cm_slot_at(&p->c->media, i)->w0 & CM_W0_VALID);
    return n;
}

/* As long as not all records were looked at, no block of an earlier session is evicted. The present
 * one has the slots that were empty, and may evict its own blocks there. */
static void test_unknown(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB), *g;
    const uint64_t slots = p.c->media.geo.slots;
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    detach(f);
    (void)storm(&p, 2);
    pool_again(&p);
    g = attach(&p, 3, slots * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_advise(g, CM_ADVISE_KEEP), 0);
    const uint64_t empty = empty_slots(&p);
    CHECK(empty < 8);
    out_of_order(p.c);
    cm_lock_acquire(&p.c->files_lock); /* nobody gets to look */
    for (uint64_t b = 0; b < slots; b++)
        (void)put(g, b, 3);
    cm_lock_release(&p.c->files_lock);
    CHECK(hits(g, 0, slots, 3) <= empty);
    CHECK(STAT(p.c, refused_busy) > 0);
    const int64_t evicted = STAT(p.c, evicted);
    CHECK(put_all(g, 0, slots, 3) > slots / 4);
    CHECK(STAT(p.c, evicted) > evicted);
    f = attach(&p, 1, KEPT * BLK, 1, 0);
    CHECK_EQ(hits(f, 0, KEPT, 1), KEPT);
    pool_end(&p);
}

/* A file is attached before its record was looked at, and gets a new version then. */
static void test_before_load(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    for (uint64_t version = 1; version < 3; version++) {
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        CHECK_EQ(put_all(f, 0, KEPT, version), KEPT);
        detach(f);
        pool_again(&p);
        CHECK(p.c->keeping.left > 0);
        CHECK(cm_keep_has(p.c, 1)); /* whose it is may not be known yet */
        f = attach(&p, 1, KEPT * BLK, version, 0);
        CHECK_EQ(hits(f, 0, KEPT, version), KEPT);
        (void)storm(&p, 2);
        CHECK_EQ(hits(f, 0, KEPT, version), KEPT);
        CHECK_EQ(pool_info(p.c).kept_files, 1);
        check_marks(p.c);
        detach(f);
        pool_again(&p);
        f = attach(&p, 1, KEPT * BLK, version + 1, 0);
        CHECK(p.c->keeping.left > 0);
    }
    pool_end(&p);
}

/* A kept file became larger than what may be kept. It can be let go. */
static void test_grown(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    cm_validator v = val(4 * p.c->media.geo.slots * BLK, 2);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(info_of(f).keep, 1);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    CHECK_EQ(info_of(f).keep, 0);
    CHECK_EQ(pool_info(p.c).kept_files, 0);
    pool_end(&p);
}

/* Ends a bracket with a validator that says the size. */
static void end_at(cm_file *f, const cm_bracket *w, uint64_t size)
{
    cm_validator v = val(size, 2);
    v.taken_at = later();
    CHECK_EQ(cm_write_end(f, w, &v), 0);
    CHECK_EQ(info_of(f).size, size);
}
#define end_at(...) CALL(end_at(__VA_ARGS__)) /* its checks say who called */

static void write_to(cm_file *f, uint64_t was, uint64_t size)
{
    const cm_bracket w = begin_write(f, was, size - was);
    end_at(f, &w, size);
}
#define write_to(...) CALL(write_to(__VA_ARGS__)) /* its checks say who called */

static void truncate_to(cm_file *f, uint64_t size)
{
    cm_bracket w = { 0 };
    CHECK_EQ(cm_truncate_begin(f, size, &w), 0);
    end_at(f, &w, size);
}
#define truncate_to(...) CALL(truncate_to(__VA_ARGS__)) /* its checks say who called */

static cm_file *begin_as(struct pool *p, uint64_t size, uint32_t flags)
{
    detach(begin(p, 4 * MIB));
    cm_file *f = attach(p, 2, size, 1, flags);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    return f;
}

/* What a kept file counts grows and shrinks with it, in this session and for the next one. */
static void test_follows(void)
{
    struct pool p;
    cm_file *f = begin_as(&p, 10 * BLK, CM_SOLE_WRITER), *g = attach(&p, 3, BLK, 1, 0);
    const uint64_t most = cm_keep_most(p.c);
    CHECK_EQ(pool_info(p.c).kept_bytes, 10 * BLK);
    write_to(f, 10 * BLK, most * BLK);
    CHECK_EQ(pool_info(p.c).kept_bytes, most * BLK);
    CHECK_EQ(cm_file_set_keep(g, 1), CM_EKEEP);
    truncate_to(f, most * BLK - BLK);
    CHECK_EQ(pool_info(p.c).kept_bytes, (most - 1) * BLK);
    CHECK_EQ(cm_file_set_keep(g, 1), 0);
    CHECK_EQ(cm_file_set_keep(g, 0), 0);
    truncate_to(f, 1);
    CHECK_EQ(pool_info(p.c).kept_bytes, BLK);
    truncate_to(f, 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, 0);
    write_to(f, 0, (most + 20) * BLK); /* it stays kept, and no other is accepted */
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(pool_info(p.c).kept_bytes, (most + 20) * BLK);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        CHECK_EQ(info_of(f).keep, 1);
        CHECK_EQ(cm_file_set_keep(g, 1), CM_EKEEP);
        pool_again(&p);
        f = attach(&p, 2, (most + 20) * BLK, 2, CM_SOLE_WRITER);
        g = attach(&p, 3, BLK, 1, 0);
    }
    truncate_to(f, 7 * BLK);
    CHECK_EQ(cm_file_set_keep(g, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, 8 * BLK);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    write_to(f, 7 * BLK, 9 * BLK); /* not any more */
    CHECK_EQ(pool_info(p.c).kept_bytes, BLK);
    pool_end(&p);
}

/* A size that becomes known counts: by a read of the end, or by a validator. */
static void test_learned(void)
{
    struct pool p;
    cm_validator v = val(9 * BLK, 1);
    cm_file *f = begin_as(&p, CM_SIZE_UNKNOWN, 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, 0);
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    CHECK_EQ(info_of(f).size, 5 * BLK + 100);
    CHECK_EQ(pool_info(p.c).kept_bytes, 6 * BLK);
    f = attach(&p, 3, CM_SIZE_UNKNOWN, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(info_of(f).size, 9 * BLK);
    CHECK_EQ(pool_info(p.c).kept_bytes, 15 * BLK);
    pool_end(&p);
}

/* While the size is not known the file counts what it counted before. */
static void test_unsized(void)
{
    struct pool p;
    cm_bracket w;
    cm_file *f = begin_as(&p, 10 * BLK, CM_EXCLUSIVE);
    pool_again(&p);
    CHECK(p.c->keeping.left > 0);
    f = attach(&p, 2, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).kept, 1);
    w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(cm_write_end(f, &w, NULL), 0);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    detach(f);
    CHECK_EQ(pool_info(p.c).kept_bytes, 10 * BLK); /* looks at the record, which tells no size */
    f = attach(&p, 2, CM_SIZE_UNKNOWN, 1, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(pool_info(p.c).kept_bytes, 10 * BLK);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, 10 * BLK);
    CHECK_EQ(put_tail(f, 10, 100, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_bytes, 11 * BLK);
    pool_end(&p);
}

/* What earlier sessions kept counts, too, although nobody has looked until now. */
static void test_share_later(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    const uint64_t most = cm_keep_most(p.c);
    detach(f);
    f = attach(&p, 2, most * 3 / 4 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    pool_again(&p);
    CHECK(p.c->keeping.left > 0);
    f = attach(&p, 3, most / 2 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), CM_EKEEP);
    CHECK_EQ(info_of(f).keep, 0);
    pool_end(&p);
}

/* A kept file has many versions, one after the other. */
static void test_many_versions(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    for (uint64_t version = 2; version < 300; version++) {
        cm_validator v = val(KEPT * BLK, version);
        v.taken_at = later();
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        CHECK(cm_keep_has(p.c, info_of(f).incarnation));
    }
    CHECK_EQ(pool_info(p.c).kept_files, 1);
    pool_end(&p);
}

/* Without memory no file is kept. */
static void test_no_memory(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    void *(*const alloc)(void *, size_t) = p.c->opts.alloc;
    p.c->opts.alloc = no_alloc;
    CHECK_EQ(cm_keep_room(p.c), CM_ENOMEM);
    CHECK_EQ(cm_file_set_keep(f, 1), CM_ENOMEM);
    p.c->opts.alloc = alloc;
    CHECK_EQ(cm_incarnations_room(p.c, &p.c->keeping.lock, &p.c->keeping.table, 32), 0);
    p.c->opts.alloc = no_alloc; /* the table has memory, the marks have none */
    CHECK_EQ(cm_file_set_keep(f, 1), CM_ENOMEM);
    CHECK_EQ(info_of(f).keep, 0);
    p.c->opts.alloc = alloc;
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    pool_end(&p);
}

/* The next block of a file, from *b on, that has these two buckets. */
static uint64_t next_there(cm_file *f, uint64_t *b, const uint64_t bucket[2])
{
    for (;; ++*b) {
        const struct cm_key k = key_of(f, *b);
        if (k.place.bucket[0] == bucket[0] && k.place.bucket[1] == bucket[1])
            return (*b)++;
    }
}

/* Both buckets of a block are full of blocks of a kept file. None of them makes room. */
static void test_full_buckets(void)
{
    struct pool p;
    uint64_t block[CM_PLACE_CELLS], b = 1;
    pool_make(&p, MIB, 0);
    pool_seed(&p, 7);
    (void)pool_up(&p);
    cm_file *f = attach(&p, 1, CM_SIZE_UNKNOWN, 1, 0);
    cm_file *g = attach(&p, 2, CM_SIZE_UNKNOWN, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    const struct cm_key k = key_of(f, 0);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        CASE("i %u", i);
        block[i] = next_there(f, &b, k.place.bucket);
        CHECK_EQ(put(f, block[i], 1), 0);
    }
    b = 0;
    CHECK_EQ(put(g, next_there(g, &b, k.place.bucket), 2), CM_NOT_STORED_FULL);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++) {
        CASE("i %u", i);
        CHECK_EQ(look(f, block[i], 1), RIGHT);
    }
    CHECK_EQ(STAT(p.c, displaced), 0);
    pool_end(&p);
}

/* The table of files has a bucket more than are looked at together, and the kept file is there. */
static void test_bucket_left(void)
{
    struct pool p;
    uint64_t id = 1;
    cm_file *f;
    pool_make(&p, 8 * MIB, 912);
    (void)pool_up(&p);
    CHECK_EQ(p.c->media.geo.record_buckets, 65);
    while (f = attach(&p, id, BLK, 1, 0), cm_object_of(f)->place >= CM_RECORD_WAYS) {
        detach(f);
        id++;
    }
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    detach(f);
    pool_again(&p);
    CHECK_EQ(pool_info(p.c).kept_files, 1);
    pool_end(&p);
}

/* Many kept files, of which half are opened again before their records were looked at. */
static void test_many(void)
{
    enum { FILES = 200 };
    struct pool p;
    cm_file_info info = CM_FILE_INFO_INIT;
    const cm_file_id other = id_of(1);
    pool_make(&p, 4 * MIB, 2 * FILES);
    (void)pool_up(&p);
    CHECK(!cm_keep_any(p.c));
    at_store_relaxed(&p.c->keeping.left, 1u); /* one bucket may name kept files */
    CHECK(cm_keep_any(p.c));
    at_store_relaxed(&p.c->keeping.left, 0u);
    detach(attach(&p, 1, BLK, 1, 0));
    for (uint64_t id = 2; id < 2 + FILES; id++) {
        cm_file *f = attach(&p, id, BLK, 1, 0);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        detach(f);
    }
    CHECK_EQ(pool_info(p.c).kept_files, FILES);
    CHECK_EQ(cm_file_lookup(p.c, &other, NULL, &info), 0);
    CHECK_EQ(info.keep, 0);
    for (uint64_t i = 0; i < (p.c->media.geo.record_buckets * CM_RECORD_WAYS + 63) / 64; i++)
        CHECK_EQ(p.c->open_places[i], 0);
    pool_again(&p);
    CHECK_EQ(pool_info(p.c).kept_files, FILES); /* all in one part of the table */
    pool_again(&p);
    for (uint64_t id = 2; id < 2 + FILES; id += 2)
        (void)attach(&p, id, BLK, 1, 0);
    CHECK(p.c->keeping.left > 0);
    CHECK_EQ(pool_info(p.c).kept_files, FILES);
    pool_end(&p);
}

/* Records that say anything: many are kept, all with one incarnation, of any size. */
static void test_hostile(void)
{
    struct pool p;
    cm_file *f = begin(&p, 4 * MIB);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(put_all(f, 0, KEPT, 1), KEPT);
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (uint64_t at = 0; at < places; at++) {
        struct cm_record r = { .id = id_of(1000 + at), .flags = ~UINT64_C(0) };
        if (at == cm_object_of(f)->place)
            continue;
        r.incarnation = at % 3 ? cm_object_of(f)->incarnation : at + 1;
        r.size = at % 2 ? UINT64_MAX - 1 : CM_SIZE_UNKNOWN;
        CHECK_EQ(put_kept(p.c, at, &r), 0);
    }
    pool_crash(&p);
    (void)pool_up(&p);
    CHECK(storm(&p, 2) > (int64_t)p.c->media.geo.slots);
    check_marks(p.c);
    f = attach(&p, 99999, BLK, 1, 0); /* it finds no record */
    CHECK_EQ(cm_file_set_keep(f, 1), CM_NOT_RECORDED);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    pool_end(&p);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define READERS 3u

struct reader {
    struct pool *p;
    uint64_t id, blocks;
    pthread_t thread;
};

static void *run_reader(void *arg)
{
    const struct reader *r = arg;
    cm_file *f = attach(r->p, r->id, r->blocks * BLK, 1, 0);
    CHECK_EQ(cm_file_advise(f, CM_ADVISE_KEEP), 0);
    for (uint64_t b = 0; b < r->blocks; b++)
        if (look(f, b, r->id) != RIGHT)
            (void)put(f, b, r->id);
    detach(f);
    return NULL;
}

/* Files become kept and are so no more, are written and read, beside threads that evict. No mark is
 * left where it does not belong. */
static void test_threads(void)
{
    struct pool p;
    struct reader r[READERS];
    cm_file *f = begin(&p, 4 * MIB), *g = attach(&p, 2, KEPT / 2 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(g, 1), 0);
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ .p = &p, .id = 10 + i, .blocks = 4 * p.c->media.geo.slots };
        CHECK_EQ(pthread_create(&r[i].thread, NULL, run_reader, &r[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_file_set_keep(f, i % 8 != 7), 0);
        (void)put_all(f, 0, KEPT, 1);
        (void)put_all(g, 0, KEPT / 2, 1);
        const cm_bracket w = begin_write(i % 2 ? f : g, i * BLK, 100 * BLK);
        CHECK(cm_write_end(i % 2 ? f : g, &w, NULL) >= 0);
    }
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(r[i].thread, NULL);
    check_marks(p.c);
    CHECK_EQ(cm_file_set_keep(f, 0), 0);
    CHECK_EQ(cm_file_set_keep(g, 0), 0);
    check_marks(p.c);
    CHECK_EQ(p.c->policy.ring.kept_count, 0);
    pool_end(&p);
}

static const struct harness_test keep_tests[] = {
    TEST(storm),         TEST(kept_later),   TEST(advice),    TEST(later),
    TEST(versions),      TEST(record),       TEST(forget),    TEST(changes),
    TEST(share),         TEST(too_much),     TEST(unknown),   TEST(before_load),
    TEST(hostile),       TEST(many),         TEST(no_memory), TEST(share_later),
    TEST(many_versions), TEST(grown),        TEST(threads),   TEST(pool_says_so),
    TEST(bucket_left),   TEST(full_buckets), TEST(follows),   TEST(learned),
    TEST(unsized),       TEST(waiting),      TEST_END
};

static const struct harness_test *const tables[] = { keep_tests, keep_records_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
