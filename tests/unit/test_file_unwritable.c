/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_unwritable.c - media that cannot be written: what calls return, and what is not used
 * any more. test_file_failing.c says what is forgotten, and how much.
 */
#include "file_failing.h"

#include "../os.h"
#include "state/file_record.h"

#define HOUR (UINT64_C(3600) * 1000000000)

/* From now on stores to [from, to) of the pool fail, or flushes. */
static int bad_flush(void *ctx, const void *p, size_t n)
{
    return bad(p, n) ? CM_EIO : real.flush(ctx, p, n);
}

static void break_flushes(struct pool *p, uint64_t from, uint64_t to)
{
    break_range(p, from, to);
    ops = real;
    ops.flush = bad_flush;
}

static void break_supers(struct pool *p)
{
    break_range(p, 0, (uint64_t)CM_SUPER_COPIES * CM_SUPER_STRIDE);
}

static void break_records(struct pool *p)
{
    break_range(p, p->c->media.geo.record_offset, p->c->media.geo.index_offset);
}

static void break_headers(struct pool *p)
{
    break_range(p, p->c->media.geo.header_offset, p->c->media.geo.slot_offset);
}

static void heal(struct pool *p)
{
    p->c->media.ops = &real;
}

/* ---- Nothing can be forgotten ---------------------------------------------------------------- */

/* The numbers of this session are used up, and the superblock cannot say that more are. The file
 * is not cached any more. */
static void test_no_number(void)
{
    for (unsigned recorded = 0; recorded < 2; recorded++) {
        CASE("recorded %u", recorded);
        struct pool p;
        const cm_file_id id = id_of(1);
        cm_validator v = val(100 * BLK, 7);
        cm_file *f = warm_pool(&p, &v, 0);
        if (!recorded) {
            break_records(&p);
            write_and_end(f);
            heal(&p);
            CHECK_EQ(put_all(f, 0, 10, 1), 10);
        }
        CHECK_EQ(cm_object_of(f)->place != CM_NO_PLACE, recorded);
        p.c->super.next_incarnation = p.c->super.now.inc_mark;
        break_supers(&p);
        CHECK_EQ(cm_forget(p.c, &id), 0);
        CHECK_EQ(info_of(f).incarnation, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        CHECK(put(f, 3, 1) != 0);
        heal(&p);
        CHECK_EQ(bump_epoch(p.c), 0); /* else the close does not say CLEAN */
        pool_end(&p);
    }
}

/* Neither the record nor the superblock can be written. Each call says that it could not forget. */
static void test_all_say_so(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file *f = warm_pool(&p, &v, 0);
        CHECK_EQ(cm_file_set_group(f, 1), 0); /* the superblock says that there are groups */
        const cm_sync s = sync_begin(f);
        break_range(&p, 0, p.c->media.geo.index_offset);
        CHECK_EQ(how == 0   ? cm_sync_end(f, &s, 0, NULL)
                 : how == 1 ? cm_file_set_group(f, 2)
                            : cm_file_set_ttl(f, HOUR),
                 CM_EFORGET);
        CHECK_EQ(pool_info(p.c).mode, CM_BYPASS);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        heal(&p);
        pool_end(&p);
    }
}

#define FORGET_CALLS 9u

/* What returns CM_EFORGET when nothing can be written. */
static int forget_call(struct pool *p, cm_file *f, const cm_sync *s, unsigned how)
{
    const cm_file_id id = id_of(1);
    const cm_validator changed = val(100 * BLK, 8);
    cm_bracket w;
    switch (how) {
    case 0:
        return cm_write_begin(f, 3 * BLK, BLK, &w);
    case 1:
        return cm_truncate_begin(f, 3 * BLK, &w);
    case 2:
        return cm_invalidate(f, 3 * BLK, BLK);
    case 3:
        return cm_forget(p->c, &id);
    case 4:
        return cm_forget_gone(p->c, &id);
    case 5:
        return cm_sync_end(f, s, 0, NULL);
    case 6:
        return cm_file_revalidate(f, &changed);
    case 7:
        return cm_file_set_ttl(f, HOUR);
    default:
        return cm_file_abort(f);
    }
}

static unsigned said_delete;
static void keep_delete(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level == CM_LOG_ERROR && strstr(text, "delete the pool before anything is written"))
        said_delete++;
}

/* The call itself says so in the log, once, and not only the next read. */
static void test_told_at_once(void)
{
    for (unsigned how = 0; how < FORGET_CALLS; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file *f = warm_pool(&p, &v, 0);
        const cm_sync s = sync_begin(f);
        p.c->opts.log = keep_delete;
        said_delete = 0;
        break_range(&p, 0, p.c->media.geo.slot_offset);
        CHECK_EQ(forget_call(&p, f, &s, how), CM_EFORGET);
        CHECK_EQ(said_delete, 1);
        CHECK_EQ(forget_call(&p, f, &s, 0), CM_EFORGET);
        heal(&p);
        pool_end(&p);
    }
}

/* A validator cannot be recorded, nor the old one forgotten: cm_write_end does not fail for that.
 * The close does, and it says why. */
static void test_told_at_close(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    p.c->opts.log = keep_delete;
    said_delete = 0;
    break_range(&p, 0, p.c->media.geo.slot_offset);
    v = val(100 * BLK, 8);
    CHECK(cm_write_end(f, &w, &v) >= 0);
    detach(f);
    CHECK_EQ(said_delete, 0);
    CHECK_EQ(cm_close(p.c), CM_EIO);
    CHECK_EQ(said_delete, 1);
    p.c = NULL;
    pool_end(&p);
}

/* The same of a file that is closed. Later its record can be dropped, and the pool still cannot say
 * that it forgot the first one. */
static void test_closed(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    cm_validator v = val(100 * BLK, 7);
    detach(warm_pool(&p, &v, 0));
    break_range(&p, 0, p.c->media.geo.index_offset);
    CHECK_EQ(cm_forget(p.c, &id), CM_EFORGET);
    heal(&p);
    break_supers(&p);
    CHECK_EQ(cm_forget(p.c, &id), CM_EFORGET);
    heal(&p);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    pool_end(&p);
}

/* An fsync failed, and the file is forgotten when it is closed. Its record stays; if it cannot be
 * made durable, an older one may come back. */
static void test_failed_record_not_durable(void)
{
    struct pool p;
    const cm_file_id id = id_of(1);
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    const cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    detach(f);
    break_flushes(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    CHECK_EQ(STAT(p.c, escalations), 0);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    CHECK_EQ(STAT(p.c, escalations), 1);
    heal(&p);
    pool_end(&p);
}

/* Only the first record of those that may be the file's cannot be read, and then not written. */
static void test_first_unreadable(void)
{
    struct pool p;
    struct cm_record_set s;
    const cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_record_load(&p.c->media, &id, &s);
    s.unreadable[0] = true;
    cm_lock_acquire(&p.c->files_lock);
    CHECK_EQ(cm_file_void_unreadable(p.c, &s, false), 0);
    CHECK(!cm_file_place_is_open(p.c, cm_record_place(&s, 0))); /* it can be written */
    CHECK_EQ(STAT(p.c, escalations), 0);
    break_records(&p);
    for (unsigned i = 0; i < 2; i++) { /* once is enough */
        CHECK_EQ(cm_file_void_unreadable(p.c, &s, false), 0);
        CHECK(cm_file_place_is_open(p.c, cm_record_place(&s, 0)));
        CHECK_EQ(STAT(p.c, escalations), 1);
    }
    cm_lock_release(&p.c->files_lock);
    heal(&p);
    pool_end(&p);
}

/* An fsync of another file failed in this boot. One record of those that may be a file's cannot be
 * read, whichever it is: an fsync of this file may have failed, too. */
static void test_note_lost(void)
{
    struct pool p;
    struct cm_record_set s;
    const cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_record_load(&p.c->media, &id, &s);
    for (unsigned i = 0; i < s.n; i++) {
        CASE("record %u", i);
        s.unreadable[i] = true;
        CHECK_EQ(cm_file_note_lost(p.c, &s), i > 0);
        s.unreadable[i] = false;
        if (i == 0)
            CHECK_EQ(cm_super_sync_failed(&p.c->super, true), 0);
    }
    CHECK(!cm_file_note_lost(p.c, &s));
    pool_end(&p);
}

static cm_file *aborted;
static int abort_at_cas(void *ctx, uint64_t *at, uint64_t e, uint64_t v)
{
    cm_file *f = aborted;
    if (!bad(at, 8))
        return real.cas64(ctx, at, e, v);
    aborted = NULL;
    if (f) {
        bad_from = NULL; /* nothing can be written from now on */
        bad_to = (const uint8_t *)UINTPTR_MAX;
        CHECK_EQ(cm_file_abort(f), CM_EFORGET);
    }
    return CM_EIO;
}

/* Another thread aborts the file while a bracket begins, and nothing can be forgotten: the begin
 * says so. */
static void test_aborted_begin(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    aborted = warm_pool(&p, &v, 0);
    cm_file *f = aborted;
    out_of_order(p.c);
    break_headers(&p);
    ops.cas64 = abort_at_cas;
    CHECK_EQ(cm_write_begin(f, 3 * BLK, BLK, &w), CM_EFORGET);
    CHECK(aborted == NULL);
    CHECK_EQ(info_of(f).brackets, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    heal(&p);
    pool_end(&p);
}

/* ---- Records --------------------------------------------------------------------------------- */

/* The superblock cannot say that files have groups. So none has. */
static void test_group_unsaid(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    break_supers(&p);
    CHECK_EQ(cm_file_set_group(f, 5), CM_EIO);
    CHECK_EQ(info_of(f).group, 0);
    heal(&p);
    CHECK_EQ(cm_file_set_group(f, 5), 0);
    CHECK_EQ(info_of(f).group, 5);
    pool_end(&p);
}

/* An fsync failed. The record says so, and is not written again: a crash could tear it. */
static void test_group_of_failed(void)
{
    struct pool p;
    struct cm_record before;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    const cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    memcpy(&before, record_of(p.c, cm_object_of(f)->place), sizeof(before));
    CHECK_EQ(cm_file_set_group(f, 5), CM_NOT_STORED_MODE);
    CHECK_EQ(info_of(f).group, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), CM_NOT_STORED_MODE);
    CHECK_EQ(info_of(f).keep, 0);
    CHECK_EQ(info_of(f).want_validator, 0);
    CHECK(!cm_file_serves(cm_object_of(f)));
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    v = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0); /* its validator is adopted, and not written */
    CHECK_EQ(cm_file_abort(f), 0);        /* there is nothing to forget */
    CHECK(memcmp(&before, record_of(p.c, cm_object_of(f)->place), sizeof(before)) == 0);
    pool_end(&p);
}

/* A damaged record that may be the file's, and cannot be written: readers of other processes may
 * still believe in it. */
static void test_torn(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    record_of(p.c, place)->proof[0] ^= 1;
    break_records(&p);
    v = fresh(v);
    expect_kept(&p, 1, &v, false);
    CHECK_EQ(STAT(p.c, escalations), 1);
    heal(&p);
    pool_end(&p);
}

static int hiding_store(void *ctx, uint64_t *at, uint64_t v)
{
    if (!bad(at, 8))
        return real.store64(ctx, at, v);
    os_protect((uint8_t *)at - (uintptr_t)at % BLK, BLK, OS_NOTHING);
    return CM_EIO;
}

/* A new file's record cannot be written, and from then on not read: what is there may be of this
 * file. */
static void test_hidden(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, MIB) == 0);
    break_records(&p);
    ops = real;
    ops.store64 = hiding_store;
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK_EQ(STAT(p.c, escalations), 1);
    os_protect(p.base + p.c->media.geo.record_offset,
               p.c->media.geo.index_offset - p.c->media.geo.record_offset, OS_WRITE);
    heal(&p);
    pool_end(&p);
}

/* To keep a file, something of its record has to be written first: which regions a crash took, or
 * that its state is known. If that fails, it is not kept. */
static void test_not_kept(void)
{
    NEED_DAX;
    for (unsigned known = 0; known < 2; known++) {
        CASE("known %u", known);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(dax_pool(&p) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        const uint64_t place = cm_object_of(f)->place;
        if (known) {
            cm_bracket w = begin_write(f, 20 * BLK, BLK);
            v = val(100 * BLK, 8);
            CHECK_EQ(cm_write_end(f, &w, &v), 0);
            crash_and_boot(&p);
        } else {
            detach(f);
            record_of(p.c, place)->state ^= UINT64_C(1) << 32;
        }
        const uint64_t at =
            p.c->media.geo.record_offset + place * sizeof(struct cm_record) +
            (known ? offsetof(struct cm_record, since) : offsetof(struct cm_record, state));
        break_range(&p, at, at + 8);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        heal(&p);
        pool_end(&p);
    }
}

/* A write in another region: its intent cannot be set, so the record must not count any more. */
static void test_intent(void)
{
    struct pool p;
    cm_validator v = val(1000 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    write_and_end(f); /* the state word says that it is dirty */
    const uint64_t at = p.c->media.geo.record_offset +
                        cm_object_of(f)->place * sizeof(struct cm_record) +
                        offsetof(struct cm_record, intents);
    break_range(&p, at, at + sizeof(((struct cm_record *)0)->intents));
    cm_bracket w = begin_write(f, 900 * BLK, BLK);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    heal(&p);
    pool_end(&p);
}

/* The word that says that the file is dirty cannot be written. */
static void test_state_word(void)
{
    struct pool p;
    cm_validator v = val(1000 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).dirty, 0);
    const uint64_t at = p.c->media.geo.record_offset +
                        cm_object_of(f)->place * sizeof(struct cm_record) +
                        offsetof(struct cm_record, state);
    break_range(&p, at, at + sizeof(((struct cm_record *)0)->state));
    cm_bracket w = begin_write(f, 900 * BLK, BLK);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    heal(&p);
    pool_end(&p);
}

/* The record of a kept file cannot be written. The file is not kept any more. */
static void test_keep_given_up(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(pool_info(p.c).kept_files, 1);
    const uint64_t place = cm_object_of(f)->place;
    break_records(&p);
    write_and_end(f);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    CHECK(cm_file_place_is_open(p.c, place)); /* nobody else gets it */
    CHECK_EQ(info_of(f).keep, 0);
    CHECK_EQ(pool_info(p.c).kept_files, 0);
    CHECK_EQ(STAT(p.c, unrecorded), 1);
    heal(&p);
    pool_end(&p);
}

static const void *bad_size;
static int size_write(void *ctx, void *dst, const void *src, size_t n)
{
    return dst == bad_size ? CM_EIO : bad_write(ctx, dst, src, n);
}

/* The record cannot be told that the size is not known any more; nor can it be dropped, nor the
 * pool emptied. So the end of the file must not move. */
static void test_size_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_bracket w;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    const uint64_t place = cm_object_of(f)->place;
    break_range(&p, 0,
                p.c->media.geo.record_offset + place * sizeof(struct cm_record) +
                    offsetof(struct cm_record, intents));
    bad_size = &record_of(p.c, place)->size;
    ops.write = size_write;
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 10, &w), CM_EFORGET);
    heal(&p);
    pool_end(&p);
}

/* The same of a write that is too large for stripes: the file cannot get a new number. */
static void test_large_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * MIB, 7);
    cm_bracket w;
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    CHECK_EQ(put(f, 20000, 7), 0);
    break_range(&p, 0,
                p.c->media.geo.record_offset + cm_object_of(f)->place * sizeof(struct cm_record) +
                    offsetof(struct cm_record, intents));
    CHECK_EQ(cm_write_begin(f, 0, 100 * MIB, &w), CM_EFORGET);
    CHECK_EQ(info_of(f).brackets, 0);
    heal(&p);
    pool_end(&p);
}

/* A header is made invalid, and not durably: the whole file is forgotten instead. */
static void test_header_not_durable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    break_flushes(&p, p.c->media.geo.header_offset, p.c->media.geo.slot_offset);
    cm_bracket w = begin_write(f, 3 * BLK, BLK);
    CHECK_EQ(STAT(p.c, escalations), 1);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    heal(&p);
    pool_end(&p);
}

/* Two records of a file cannot be dropped. So the pool is emptied, or the file is not opened. Then
 * the file's own record cannot be written, either. */
static void test_two_undroppable(void)
{
    for (unsigned empty = 0; empty < 2; empty++) {
        CASE("empty %u", empty);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file_id id = id_of(1);
        cm_file *f = warm_pool(&p, &v, 0), *g = NULL;
        const uint64_t place = cm_object_of(f)->place;
        struct cm_record r = *record_of(p.c, place);
        detach(f);
        CHECK_EQ(put_record(p.c, place ^ 1, &r), 0);
        v = fresh(v);
        break_range(&p, empty ? p.c->media.geo.record_offset : 0, p.c->media.geo.index_offset);
        CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &g), empty ? 0 : CM_EFORGET);
        CHECK_EQ(STAT(p.c, escalations), empty ? 2 : 1);
        heal(&p);
        pool_end(&p);
    }
}

/* The records that may be the file's cannot be read, and nothing can be forgotten. */
static void test_unreadable_unforgotten(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    cm_file *g = NULL;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    detach(warm_pool(&p, &v, 0));
    v = fresh(v);
    uint8_t *at = p.base + p.c->media.geo.record_offset;
    const uint64_t bytes = p.c->media.geo.index_offset - p.c->media.geo.record_offset;
    break_supers(&p);
    os_protect(at, bytes, OS_NOTHING);
    CHECK_EQ(cm_file_open(p.c, &id, &v, 0, &g), CM_EFORGET);
    CHECK_EQ(STAT(p.c, escalations), 1);
    os_protect(at, bytes, OS_WRITE);
    heal(&p);
    pool_end(&p);
}

/* The record of a closed file cannot be made durable, so the file is not kept. */
static void test_not_settled(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    detach(warm_pool(&p, &v, 0));
    break_flushes(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 10, 1), 0);
    heal(&p);
    pool_end(&p);
}

/* A validator is adopted, and cannot be written. */
static void test_adopted_unwritable(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    break_records(&p);
    v = val(100 * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(cm_object_of(f)->place, CM_NO_PLACE);
    heal(&p);
    pool_end(&p);
}

/* The intents outweigh a size that is not durable. If it cannot be made durable, they stay. */
static void test_size_not_durable(void)
{
    NEED_DAX;
    struct pool p;
    struct cm_record r;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
    const uint64_t place = cm_object_of(f)->place, key = cm_media_key(&p.c->media);
    cm_bracket w = begin_write(f, 99 * BLK, 2 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    for (unsigned i = 0; i < 2; i++) {
        const cm_sync s = sync_begin(f);
        if (i == 0)
            break_flushes(&p, p.c->media.geo.record_offset, p.c->media.geo.index_offset);
        CHECK(cm_sync_end(f, &s, 1, NULL) >= 0);
        memcpy(&r, record_of(p.c, place), sizeof(r));
        CHECK(cm_format_intents(key, place, &r) != 0);
        heal(&p);
    }
    pool_end(&p);
}

/* ---- Headers --------------------------------------------------------------------------------- */

static cm_file *full_pool(struct pool *p)
{
    cm_validator v = val(GIB, 7);
    if (pool_new(p, MIB))
        exit(1);
    cm_file *f = attach_v(p, 1, &v, 0);
    CHECK_EQ(put_all(f, 0, p->c->media.geo.slots, 1), p->c->media.geo.slots);
    return f;
}

/* A block that cannot be made invalid is not evicted: it stays, and its slot is not used again. A
 * header that is no block's, and cannot be written, must not become one by a flipped bit. */
static void test_victims(void)
{
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        const bool damaged = how == 1;
        struct pool p;
        cm_file *f = full_pool(&p);
        const uint64_t slots = p.c->media.geo.slots;
        for (uint64_t s = 0; damaged && s < slots; s++)
            header_of(p.c, s)->w0 ^= UINT64_C(1) << 63;
        break_headers(&p);
        if (how == 2) { /* only not durably */
            ops = real;
            ops.flush = bad_flush;
        }
        CHECK_EQ(put(f, slots, 1), CM_NOT_STORED_BUSY);
        CHECK(STAT(p.c, quarantined) > 0);
        CHECK_EQ(slots_astray(p.c), STAT(p.c, quarantined));
        heal(&p);
        for (uint64_t s = 0; damaged && s < slots; s++)
            header_of(p.c, s)->w0 ^= UINT64_C(1) << 63;
        CHECK_EQ(hits(f, 0, slots, 1), slots - (how == 2 ? 2 : 0));
        CHECK_EQ(put(f, slots, 1), 0);
        pool_end(&p);
    }
}

/* The header of a new block cannot be made durable: no cell leads to it, and its slot is not used
 * again. */
static void test_newcomer(void)
{
    struct pool p;
    cm_validator v = val(GIB, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, 0);
    CHECK_EQ(put(f, 2, 1), 0); /* and there is a free slot, durably empty */
    CHECK_EQ(p.c->policy.ring.free_count, 1);
    const struct cm_key k = key_of(f, 3);
    uint64_t before[CM_PLACE_CELLS]; /* block 2 may be there */
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        before[i] = *cell_of(p.c, k.place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS);
    break_flushes(&p, p.c->media.geo.header_offset, p.c->media.geo.slot_offset);
    CHECK_EQ(put(f, 3, 1), CM_NOT_STORED_MEDIA);
    CHECK_EQ(STAT(p.c, quarantined), 1);
    CHECK_EQ(slots_astray(p.c), 1);
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        CHECK_EQ(*cell_of(p.c, k.place.bucket[i / CM_BUCKET_CELLS], i % CM_BUCKET_CELLS),
                 before[i]);
    CHECK_EQ(look(f, 3, 1), MISS);
    heal(&p);
    CHECK_EQ(put(f, 3, 1), 0);
    pool_end(&p);
}

const struct harness_test file_unwritable_tests[] = {
    TEST(no_number),
    TEST(all_say_so),
    TEST(told_at_once),
    TEST(told_at_close),
    TEST(hidden),
    TEST(large_unwritable),
    TEST(header_not_durable),
    TEST(two_undroppable),
    TEST(unreadable_unforgotten),
    TEST(not_settled),
    TEST(adopted_unwritable),
    TEST(size_unwritable),
    TEST(note_lost),
    TEST(keep_given_up),
    TEST(closed),
    TEST(first_unreadable),
    TEST(failed_record_not_durable),
    TEST(aborted_begin),
    TEST(group_unsaid),
    TEST(group_of_failed),
    TEST(torn),
    TEST(not_kept),
    TEST(intent),
    TEST(state_word),
    TEST(size_not_durable),
    TEST(victims),
    TEST(newcomer),
    TEST_END,
};
