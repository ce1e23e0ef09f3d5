/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shared.c - readers of a pool that another cache owns (CM_OPEN_SHARED): in the same memory,
 * so that the tests see every byte. test_shared_file.c has pools in files, test_shared_more.c
 * validators and sizes. tests/share has processes.
 */
#include "api_common.h"
#include "shared_common.h"

#include "file_failing.h"
#include "flight_common.h"

#include "../os.h"

#include <pthread.h>

#define SIZE SHARED_SIZE

static void test_serves(void)
{
    struct both b;
    uint8_t *buf = map_bytes(SIZE), *before;
    cm_read_vec v[3];
    REQUIRE(both_up(&b, 0));
    before = map_bytes(b.p.bytes);
    memcpy(before, b.p.base, (size_t)b.p.bytes);
    for (unsigned i = 0; i < 3; i++) { /* the first reads verify, the next ones know the slots */
        CHECK_EQ(hits(b.g, 0, 10, 1), 10);
        CHECK_EQ(look(b.g, 10, 1), MISS);
        CHECK_EQ(cm_read(b.g, 0, buf, 20 * BLK, NULL), 10 * (int64_t)BLK);
        CHECK(is_content(1, 9, buf + 9 * BLK, BLK));
        for (unsigned k = 0; k < 3; k++)
            v[k] = (cm_read_vec){ .offset = (3 + 2 * k) * BLK, .buf = buf + k * BLK, .len = BLK };
        CHECK_EQ(cm_read_many(b.g, v, 3), 3);
        CHECK(is_content(1, 7, buf + 2 * BLK, BLK));
        CHECK_EQ(cm_read_whole(b.g, 2 * BLK, buf, 3 * BLK, 0), 3 * (int64_t)BLK);
        CHECK_EQ(cm_read_whole(b.g, 8 * BLK, buf, 3 * BLK, 0), CM_EABSENT);
    }
    CHECK(info_of(b.g).incarnation == info_of(b.f).incarnation);
    CHECK_EQ(info_of(b.g).size, SIZE);
    CHECK_EQ(info_of(b.g).kept, 1);
    CHECK(STAT(b.r, hit_blocks) > 30);
    CHECK_EQ(STAT(b.p.c, hit_blocks), 0); /* it counts by itself */
    CHECK_EQ(pool_info(b.r).mode, CM_FREEZE);
    CHECK_EQ(cm_file_cached(b.g, 0, CM_ALL), 10 * (int64_t)BLK);
    /* What the owner stores later is served, too. */
    /* Nothing was written until here, but for statistics of the owner. */
    const uint64_t behind = b.p.c->media.geo.record_offset;
    CHECK_EQ(memcmp(before, b.p.base, CM_STATS_OFFSET), 0);
    CHECK_EQ(memcmp(before + behind, b.p.base + behind, (size_t)(b.p.bytes - behind)), 0);
    CHECK_EQ(put(b.f, 10, 1), 0);
    CHECK_EQ(look(b.g, 10, 1), RIGHT);
    unmap_bytes(before, b.p.bytes);
    unmap_bytes(buf, SIZE);
    both_down(&b);
}

/* Reads through: hits, and the origin for the rest. Nothing is stored, and no read waits for that
 * of another, whose data may be older than what the owner has written since. */
static void test_through(void)
{
    struct both b;
    struct origin o = { .tag = 1, .size = SIZE };
    uint8_t *buf = map_bytes(SIZE);
    cm_miss m;
    REQUIRE(both_up(&b, 0));
    for (unsigned i = 1; i < 3; i++) {
        CHECK_EQ(cm_read_through(b.g, 5 * BLK, buf, 10 * BLK, origin_read, &o), 10 * (int64_t)BLK);
        for (unsigned k = 0; k < 10; k++)
            CHECK(is_content(1, 5 + k, buf + k * BLK, BLK));
        CHECK_EQ(o.calls, i);
        CHECK_EQ(o.first, 10 * BLK);
    }
    CHECK_EQ(STAT(b.r, fill_blocks), 0);
    CHECK_EQ(STAT(b.r, flights_joined), 0);
    m = miss_of(b.g, 20 * BLK, BLK);
    CHECK_EQ(m.len, BLK);
    CHECK(m.flags & CM_MISS_NOFILL);
    CHECK_EQ(cm_fill(b.g, &m, buf, BLK, 0), CM_NOT_STORED_MODE);
    /* The file is forgotten in the middle: what was hit is not mixed with what is read now. */
    CHECK_EQ(cm_invalidate(b.f, 0, CM_ALL), 0);
    o.tag = 2;
    CHECK_EQ(cm_read_through(b.g, 0, buf, 10 * BLK, origin_read, &o), 10 * (int64_t)BLK);
    for (unsigned k = 0; k < 10; k++)
        CHECK(is_content(2, k, buf + k * BLK, BLK));
    unmap_bytes(buf, SIZE);
    both_down(&b);
}

struct changes {
    struct both *b;
    struct origin *o;
};

/* The owner's file has another version while the reader reads from the origin. */
static void change_now(void *ctx)
{
    const struct changes *now = ctx;
    cm_validator v = val(SIZE, 8);
    v.taken_at = later();
    if (now->o->tag == 1)
        CHECK_EQ(cm_file_revalidate(now->b->f, &v), 0);
    now->o->tag = 2;
}

/* ... then what was copied before is not mixed with that. */
static void test_through_beside(void)
{
    struct both b;
    struct origin o = { .tag = 1, .size = SIZE };
    struct changes now = { &b, &o };
    uint8_t *buf = map_bytes(SIZE);
    REQUIRE(both_up(&b, 0));
    o.during = change_now;
    o.during_ctx = &now;
    CHECK_EQ(cm_read_through(b.g, 5 * BLK, buf, 10 * BLK, origin_read, &o), 10 * (int64_t)BLK);
    for (unsigned k = 0; k < 10; k++)
        CHECK(is_content(2, 5 + k, buf + k * BLK, BLK));
    unmap_bytes(buf, SIZE);
    both_down(&b);
}

static void test_refused(void)
{
    struct both b;
    cm_bracket w = { 0 };
    cm_sync s = { { 0 } };
    cm_iovec iov;
    cm_pins pins;
    cm_miss m;
    cm_check_report report = CM_CHECK_REPORT_INIT;
    struct origin o = { .tag = 1, .size = SIZE };
    cm_file_id id = id_of(1);
    cm_options both = CM_OPTIONS_INIT;
    cm_cache *c;
    uint64_t n;
    int pieces;
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(cm_write_begin(b.g, 0, BLK, &w), CM_EREADONLY);
    CHECK_EQ(cm_truncate_begin(b.g, 0, &w), CM_EREADONLY);
    CHECK_EQ(cm_write_end(b.g, &w, NULL), CM_EREADONLY);
    CHECK_EQ(cm_sync_begin(b.g, &s), CM_EREADONLY);
    CHECK_EQ(cm_sync_end(b.g, &s, 1, NULL), CM_EREADONLY);
    CHECK_EQ(cm_invalidate(b.g, 0, CM_ALL), CM_EREADONLY);
    CHECK_EQ(cm_file_abort(b.g), CM_EREADONLY);
    CHECK_EQ(cm_file_set_keep(b.g, 1), CM_EREADONLY);
    CHECK_EQ(cm_file_set_group(b.g, 1), CM_EREADONLY);
    CHECK_EQ(cm_file_set_name(b.g, "x"), CM_EREADONLY);
    CHECK_EQ(cm_drop(b.g, 0, CM_ALL), CM_EREADONLY);
    CHECK_EQ(cm_warm(b.g, 0, BLK, NULL, origin_read, &o, NULL), CM_EREADONLY);
    CHECK_EQ(cm_forget(b.r, &id), CM_EREADONLY);
    CHECK_EQ(cm_forget_gone(b.r, &id), CM_EREADONLY);
    CHECK_EQ(cm_checkpoint(b.r), CM_EREADONLY);
    CHECK_EQ(cm_set_mode(b.r, CM_NORMAL), CM_EREADONLY);
    CHECK_EQ(cm_group_set_quota(b.r, 1, MIB), CM_EREADONLY);
    CHECK_EQ(cm_group_usage(b.r, 1, &n, &n), CM_EREADONLY);
    CHECK_EQ(cm_check(b.r, 0, NULL, NULL, &report), CM_ENOTSUP);
    CHECK_EQ(cm_pin_range(b.g, 0, BLK, &iov, 1, &pieces, &pins, &m), CM_ENOTSUP);
    both.flags = CM_OPEN_SHARED | CM_OPEN_READONLY;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &both, &c), CM_EINVAL);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    CHECK_EQ(hits(b.f, 0, 10, 1), 10);
    both_down(&b);
}

static struct both *middle; /* of a test in which something happens in the middle of a call */

/* ---- What the owner gives up ----------------------------------------------------------------- */

static bool out_of_memory;
static void *failing_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return out_of_memory ? NULL : cm_plat_alloc(bytes);
}
static void its_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    cm_plat_free(p, bytes);
}

static uint64_t record_begin(struct both *b)
{
    return b->p.c->media.geo.record_offset + cm_object_of(b->f)->place * sizeof(struct cm_record);
}

/* Each makes that nothing of block 3 may be served, as the owner knows. */
static void give_write(struct both *b)
{
    (void)begin_write(b->f, 3 * BLK, BLK);
}
static void give_large_write(struct both *b)
{
    (void)begin_write(b->f, 0, 65 * MIB);
}
static void give_truncate(struct both *b)
{
    cm_bracket w;
    CHECK_EQ(cm_truncate_begin(b->f, BLK, &w), 0);
}
static void give_invalidate(struct both *b)
{
    CHECK_EQ(cm_invalidate(b->f, 0, CM_ALL), 0);
}
/* Nothing can be done, but the origin has changed already. */
static void give_invalidate_failing(struct both *b)
{
    (void)begin_write(b->f, 50 * BLK, BLK); /* takes the bracket that needs no memory */
    out_of_memory = true;
    CHECK_EQ(cm_invalidate(b->f, 0, CM_ALL), CM_ENOMEM);
    out_of_memory = false;
}
static void give_forget(struct both *b)
{
    cm_file_id id = id_of(1);
    CHECK_EQ(cm_forget(b->p.c, &id), 0);
}
static void give_forget_closed(struct both *b)
{
    detach(b->f);
    b->f = NULL;
    give_forget(b);
}
static void give_other_validator(struct both *b)
{
    cm_validator v = val(SIZE, 8);
    CHECK_EQ(cm_file_revalidate(b->f, &v), 0);
}
static void give_other_attach(struct both *b)
{
    cm_validator v = val(SIZE, 8);
    detach(b->f);
    b->f = attach_v(&b->p, 1, &v, 0);
}
static void give_abort(struct both *b)
{
    (void)begin_write(b->f, 50 * BLK, BLK);
    CHECK_EQ(cm_file_abort(b->f), 0);
}
static void give_failed_sync(struct both *b)
{
    cm_sync s = sync_begin(b->f);
    CHECK_EQ(cm_sync_end(b->f, &s, 0, NULL), 0);
}
static void give_epoch(struct both *b)
{
    CHECK_EQ(bump_epoch(b->p.c), 0);
}
static void give_mode(struct both *b)
{
    CHECK_EQ(cm_set_mode(b->p.c, CM_BYPASS), 0);
}
/* The record cannot be written, so the pool is emptied. */
static void give_unwritable(struct both *b)
{
    const uint64_t at = record_begin(b);
    break_range(&b->p, at, at + sizeof(struct cm_record));
    give_large_write(b);
    b->p.c->media.ops = &real;
}
/* Nor can the superblock: the caller must not write, and whoever has written already ... */
static void give_unforgettable(struct both *b)
{
    break_range(&b->p, CM_SUPER_STRIDE, record_begin(b) + sizeof(struct cm_record));
    CHECK_EQ(cm_invalidate(b->f, 0, CM_ALL), CM_EFORGET);
    b->p.c->media.ops = &real;
}
/* Another file takes the record; then the file is attached again, and begins anew elsewhere. */
static void give_evicted(struct both *b)
{
    const uint64_t place = cm_object_of(b->f)->place;
    uint64_t id = 100;
    detach(b->f);
    while (record_of(b->p.c, place)->id.lo == 1)
        detach(attach(&b->p, id++, SIZE, 7, 0));
    b->f = attach(&b->p, 1, SIZE, 8, 0);
}
/* The media damages the record. Then the file is attached again, and begins anew in another place,
 * which was in use before. */
static void give_damaged(struct both *b)
{
    const uint64_t place = cm_object_of(b->f)->place;
    struct cm_record r = *record_of(b->p.c, place);
    detach(b->f);
    detach(b->g);
    CHECK_EQ(put_record(b->p.c, place + 1, &r), 0);
    CHECK_EQ(cm_record_drop(&b->p.c->media, place), 0);
    b->g = attach_reader(b->r, 1, &b->v, 0);
    CHECK_EQ(info_of(b->g).kept, 1);
    record_of(b->p.c, place + 1)->proof[3] ^= 1;
    b->f = attach(&b->p, 1, SIZE, 7, 0);
    CHECK(cm_object_of(b->f)->place != place + 1);
}
/* A second record of the id appears: both are dropped. */
static void give_doubled(struct both *b)
{
    const uint64_t place = cm_object_of(b->f)->place;
    struct cm_record r = *record_of(b->p.c, place);
    detach(b->f);
    CHECK_EQ(put_record(b->p.c, place % 16 == 15 ? place - 1 : place + 1, &r), 0);
    b->f = attach(&b->p, 1, SIZE, 8, 0);
}
/* Another owner takes over, and finds that the file has changed. */
static void give_owner(struct both *b)
{
    pool_again(&b->p);
    b->f = attach(&b->p, 1, SIZE, 8, 0);
    CHECK_EQ(put(b->f, 3, 2), 0); /* no validator has proved that to the reader */
}
/* The system has gone down, it seems: what is in the page cache does not count. */
static void give_emptied(struct both *b)
{
    struct cm_super left[CM_SUPER_COPIES];
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        left[i] = *super_at(&b->p, i);
    pool_down(&b->p);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) { /* as if it had been killed */
        *super_at(&b->p, i) = left[i];
        super_at(&b->p, i)->mount_id[3] ^= 1;
        super_seal(super_at(&b->p, i));
    }
    CHECK_EQ(pool_up(&b->p), 0);
    CHECK_EQ(pool_info(b->p.c).emptied, 1);
    b->f = NULL;
}
/* A new epoch may have taken effect, or not. */
static void give_failed_epoch(struct both *b)
{
    break_range(&b->p, 0, 2 * CM_SUPER_STRIDE);
    ops.store64 = real.store64; /* readers can be told all the same */
    CHECK(bump_epoch(b->p.c) != 0);
    b->p.c->media.ops = &real;
}
/* The pool is made void: its volume can be believed no more. */
static void give_kill(struct both *b)
{
    CHECK_EQ(cm_super_kill(&b->p.c->super), 0);
}
/* The pool is made anew. */
static void give_format(struct both *b)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    pool_down(&b->p);
    CHECK_EQ(cm_format_memory(b->p.base, b->p.bytes, &o), 0);
}

static const struct way {
    const char *name;
    void (*give)(struct both *b);
    int attach; /* of a reader after that */
} ways[] = {
    { "write", give_write, 0 },
    { "large write", give_large_write, 0 },
    { "truncate", give_truncate, 0 },
    { "invalidate", give_invalidate, 0 },
    { "invalidate, no memory", give_invalidate_failing, 0 },
    { "forget", give_forget, 0 },
    { "forget, closed", give_forget_closed, 0 },
    { "another validator", give_other_validator, 0 },
    { "another validator at attach", give_other_attach, 0 },
    { "abort", give_abort, 0 },
    { "failed sync", give_failed_sync, 0 },
    { "epoch", give_epoch, 0 },
    { "mode", give_mode, 0 },
    { "unwritable record", give_unwritable, 0 },
    { "unforgettable", give_unforgettable, 0 },
    { "evicted record", give_evicted, 0 },
    { "damaged record", give_damaged, 0 },
    { "two records", give_doubled, 0 },
    { "another owner", give_owner, 0 },
    { "emptied", give_emptied, 0 },
    { "failed epoch", give_failed_epoch, 0 },
    { "kill", give_kill, CM_ENOTPOOL },
    { "format", give_format, CM_ENOTPOOL },
};

/* Memory may hold anything before it is made a pool. Readers are served all the same. */
static void test_any_memory(void)
{
    static const uint8_t fills[] = { 0x00, 0x01, 0xfe, 0xff };
    for (unsigned i = 0; i < sizeof(fills); i++) {
        struct both b = { .v = val(SIZE, 7) };
        const cm_create_options o = CM_CREATE_OPTIONS_INIT;
        CASE("%02x", fills[i]);
        pool_make(&b.p, MIB, 0);
        memset(b.p.base, fills[i], (size_t)b.p.bytes);
        CHECK_EQ(cm_format_memory(b.p.base, b.p.bytes, &o), 0);
        REQUIRE(pool_up(&b.p) == 0);
        CHECK(*cm_super_session_at(&b.p.c->media) != 0);
        b.r = reader_of(&b.p);
        b.f = warm(&b.p, 1, &b.v, 0);
        b.g = attach_reader(b.r, 1, &b.v, 0);
        CHECK_EQ(hits(b.g, 0, 10, 1), 10);
        both_down(&b);
    }
}

/* How a reader can ask for block 3. */
static bool ask(cm_file *g, unsigned how)
{
    uint8_t buf[2 * CM_BLOCK_SIZE];
    cm_read_vec v = { .offset = 3 * BLK, .buf = buf, .len = BLK };
    switch (how) {
    case 0:
        return cm_read(g, 3 * BLK, buf, BLK, NULL) != 0;
    case 1:
        return cm_read(g, 3 * BLK, buf, 2 * BLK, NULL) != 0;
    case 2:
        return cm_read_many(g, &v, 1) != 0 || v.result != 0;
    case 3:
        return cm_read_whole(g, 3 * BLK, buf, BLK, 0) != CM_EABSENT;
    case 4:
        return cm_read_whole(g, 3 * BLK, buf, BLK, CM_READ_RESIDENT) != CM_EABSENT;
    default:
        return cm_read(g, 3 * BLK + 100, buf, 5, NULL) != 0;
    }
}

#define ASKS 6u

/* What the owner gives up is not served, neither to a reader that has verified it nor to one that
 * has not, however it asks; nor to one that attaches with the old validator. */
static void test_ways(void)
{
    for (unsigned i = 0; i < 2 * sizeof(ways) / sizeof(ways[0]); i++) {
        const struct way *w = &ways[i / 2];
        struct both b;
        CASE("%s, %s", w->name, i % 2 ? "known" : "not known");
        memset(&b, 0, sizeof(b));
        b.v = val(SIZE, 7);
        pool_make(&b.p, MIB, 0);
        b.p.o.alloc = failing_alloc;
        b.p.o.free = its_free;
        REQUIRE(pool_up(&b.p) == 0);
        b.r = reader_of(&b.p);
        b.f = warm(&b.p, 1, &b.v, 0);
        b.g = attach_reader(b.r, 1, &b.v, 0);
        for (unsigned k = 0; k < 2 * (i % 2); k++)
            CHECK_EQ(hits(b.g, 0, 10, 1), 10);
        w->give(&b);
        for (unsigned how = 0; how < ASKS; how++)
            CHECK(!ask(b.g, how));
        cm_file_id id = id_of(1);
        cm_validator old = fresh(b.v);
        cm_file *again = NULL;
        CHECK_EQ(cm_file_open(b.r, &id, &old, 0, &again), w->attach);
        for (unsigned how = 0; how < ASKS; how++)
            CHECK(!ask(b.g, how));
        CHECK_EQ(cm_close(b.r), 0);
        if (b.p.c && b.f)
            (void)cm_file_abort(b.f); /* ends its brackets */
        both_end(&b);
    }
}

/* The word that readers look at cannot be written: the call says so, and only its own process heeds
 * the mode. */
static void test_mode_untold(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    break_range(&b.p, CM_SESSION_OFFSET, CM_SESSION_OFFSET + 8);
    CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), CM_EIO);
    CHECK_EQ(pool_info(b.p.c).mode, CM_BYPASS);
    CHECK_EQ(hits(b.f, 0, 10, 1), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    b.p.c->media.ops = &real;
    CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
    both_down(&b);
}

/* The mode ends with the owner that closes the pool; but readers are served nothing if something
 * was not forgotten. What a bracket forgets in this mode stays so. */
static void test_closed_silent(void)
{
    for (unsigned unforgotten = 0; unforgotten < 2; unforgotten++) {
        CASE("unforgotten %u", unforgotten);
        struct both b;
        REQUIRE(both_up(&b, 0));
        CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
        CHECK_EQ(cm_invalidate(b.f, 0, BLK), 0);
        if (unforgotten)
            CHECK_EQ(cm_super_shut(&b.p.c->super), 0);
        CHECK_EQ(hits(b.g, 0, 10, 1), 0);
        detach(b.f);
        CHECK_EQ(cm_close(b.p.c), 0);
        b.p.c = NULL;
        CHECK_EQ(hits(b.g, 0, 10, 1), unforgotten ? 0 : 9);
        CHECK_EQ(cm_close(b.r), 0);
        pool_end(&b.p);
    }
}

/* A mode that ends, and another owner that finds all as it was: the reader goes on by itself. */
static void test_goes_on(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(info_of(b.g).want_validator, 1);
    CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    CHECK_EQ(info_of(b.g).want_validator, 0);
    pool_down(&b.p); /* nobody owns it */
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    REQUIRE(pool_up(&b.p) == 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    b.f = attach_v(&b.p, 1, &b.v, 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    (void)begin_write(b.f, 3 * BLK, BLK);
    CHECK_EQ(hits(b.g, 0, 10, 1), 9);
    CHECK_EQ(cm_file_abort(b.f), 0);
    /* Also to a reader that only reads through, and one that reads many. */
    struct origin o = { .tag = 1, .size = SIZE };
    uint8_t buf[CM_BLOCK_SIZE];
    cm_read_vec v = { .offset = 3 * BLK, .buf = buf, .len = BLK };
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(put_all(b.f, 0, 10, 1), i == 0 ? 10 : 0);
        cm_validator now = fresh(b.v);
        CHECK_EQ(cm_file_revalidate(b.f, &now), 0);
        CHECK_EQ(put_all(b.f, 0, 10, 1), i == 0 ? 10 : 0);
        now = fresh(b.v);
        CHECK_EQ(cm_file_revalidate(b.g, &now), 0);
        CHECK_EQ(hits(b.g, 0, 10, 1), 10);
        CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
        CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
        if (i == 0)
            CHECK_EQ(cm_read_through(b.g, 3 * BLK, buf, BLK, origin_read, &o), (int64_t)BLK);
        else
            CHECK_EQ(cm_read_many(b.g, &v, 1), 1);
        CHECK_EQ(o.calls, 0);
    }
    both_down(&b);
}

static unsigned told_late; /* superblocks that were written while readers could be served */
static int late_write(void *ctx, void *dst, const void *src, size_t n)
{
    uint64_t session = 0;
    CHECK_EQ(cm_guard_load64(cm_super_session_at(&middle->p.c->media), &session), 0);
    told_late += session % 2 == 0;
    return real.write(ctx, dst, src, n);
}

/* A new owner tells readers before it writes anything; so does a new epoch. */
static void test_told_first(void)
{
    struct both b;
    struct cm_super_owner me = { .durability = CM_DURABILITY_VOLATILE };
    bool emptied;
    uint64_t before, after;
    REQUIRE(both_up(&b, 0));
    middle = &b;
    told_late = 0;
    ops = real = *b.p.c->media.ops;
    ops.write = late_write;
    b.p.c->media.ops = &ops;
    before = *cm_super_session_at(&b.p.c->media);
    CHECK_EQ(cm_super_open(&b.p.c->super, &me, &emptied), 0);
    after = *cm_super_session_at(&b.p.c->media);
    CHECK(after != before && after % 2 == 0);
    CHECK_EQ(bump_epoch(b.p.c), 0);
    CHECK_EQ(told_late, 0);
    b.p.c->media.ops = &real;
    both_down(&b);
}

/* ---- In the middle --------------------------------------------------------------------------- */

static void (*meanwhile)(struct both *b); /* what the owner does behind the next copy of a block */
static struct cm_record *looked_at;       /* of which a word changes behind the second copy */
static unsigned looks;
/* Of this thread: looks at records that do not lie right behind the one before. */
static _Thread_local unsigned far_looks;
static _Thread_local const void *last_record;
void (*before_super)(void); /* what happens before a superblock is read next */

int __real_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n);
int __wrap_cm_guard_copy(void *dst, const void *src, size_t n)
{
    void (*const first)(void) = n == sizeof(struct cm_super) ? before_super : NULL;
    if (first) {
        before_super = NULL;
        first();
    }
    if (n == sizeof(struct cm_record)) {
        far_looks += (uintptr_t)src - (uintptr_t)last_record != n;
        last_record = src;
    }
    const int e = __real_cm_guard_copy(dst, src, n);
    void (*const now)(struct both * b) = meanwhile;
    if (src == looked_at && n == sizeof(*looked_at) && ++looks == 2)
        looked_at->expires ^= 1;
    if (!now || n < 5 || n == sizeof(struct cm_record) || n == sizeof(struct cm_super))
        return e;
    meanwhile = NULL;
    now(middle);
    return e;
}

/* The estimate of the files of a large pool reads few places of it: each may be a wait for a disk.
 */
static void test_few_places(void)
{
    struct pool p;
    cm_info info = CM_INFO_INIT;
    pool_make(&p, 128 * MIB, 20000);
    REQUIRE(pool_up(&p) == 0);
    CHECK(p.c->media.geo.record_buckets * CM_RECORD_WAYS > 20000);
    for (uint64_t i = 0; i < 1000; i++)
        detach(attach(&p, i + 1, BLK, 1, 0));
    far_looks = 0;
    CHECK_EQ(cm_get_info(p.c, &info), 0);
    CHECK(far_looks <= 16);
    CHECK(info.used_files > 500 && info.used_files < 2000);
    pool_end(&p);
}

/* A reader is stopped between its copy and its look at the two words. Meanwhile the owner gives up
 * what was copied, without a change of its header. (One block of a known slot is judged before the
 * copy: what is given up later in the call may be served.) */
static void test_in_the_middle(void)
{
    static void (*const gives[])(struct both *) = { give_large_write, give_invalidate_failing,
                                                    give_epoch, give_mode, give_evicted };
    for (unsigned i = 0; i < 2 * ASKS * sizeof(gives) / sizeof(gives[0]); i++) {
        struct both b;
        const unsigned known = i % 2, how = i / 2 % ASKS;
        CASE("give %u, ask %u, %s", i / 2 / ASKS, how, known ? "known" : "not known");
        memset(&b, 0, sizeof(b));
        b.v = val(SIZE, 7);
        pool_make(&b.p, MIB, 0);
        b.p.o.alloc = failing_alloc;
        b.p.o.free = its_free;
        REQUIRE(pool_up(&b.p) == 0);
        b.r = reader_of(&b.p);
        at_store_relaxed(&b.r->media.take, NULL); /* in steps */
        b.f = warm(&b.p, 1, &b.v, 0);
        b.g = attach_reader(b.r, 1, &b.v, 0);
        if (known)
            CHECK_EQ(hits(b.g, 0, 10, 1), 10);
        middle = &b;
        meanwhile = gives[i / 2 / ASKS];
        const bool served = ask(b.g, how), one = how == 0 || how == 3 || how == 5;
        CHECK(!served || (known && one));
        CHECK(!meanwhile);
        CHECK(!ask(b.g, how));
        meanwhile = NULL;
        CHECK_EQ(cm_close(b.r), 0);
        (void)cm_file_abort(b.f);
        both_end(&b);
    }
}

/* A reader judges a record while its owner changes it. */
static void test_judged_in_the_middle(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    detach(b.g);
    middle = &b;
    cm_file_id id = id_of(1);
    cm_validator now = fresh(b.v);
    meanwhile = NULL;
    CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
    CHECK_EQ(cm_file_open(b.r, &id, &now, 0, &b.g), 0); /* the session is odd: it is cold */
    CHECK_EQ(info_of(b.g).kept, 0);
    CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0); /* until it is presented again */
    now = fresh(b.v);
    CHECK_EQ(cm_file_revalidate(b.g, &now), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    both_down(&b);
}

/* A word of the record changes while a reader looks at it: it looks again. */
static void test_changed_while_looked_at(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    detach(b.g);
    looks = 0;
    looked_at = record_of(b.p.c, cm_object_of(b.f)->place);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    CHECK_EQ(looks, 5); /* one among the records of its bucket, and two twice */
    looked_at = NULL;
    CHECK_EQ(info_of(b.g).kept, 1);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    both_down(&b);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define ROUNDS 300u
#define READERS 2u

/* The owner's thread raises the version of all blocks, and tells of it in one way or another. */
static struct {
    struct both *b;
    uint64_t version, told; /* atomic */
    uint32_t done;          /* atomic */
    uint64_t hits;          /* atomic */
} running;

static void *own(void *arg)
{
    struct both *b = arg;
    for (uint64_t i = 2; i < ROUNDS; i++) {
        if (i % 3 == 0) /* as if much were cached: then the file gets a new incarnation */
            at_store_seq_cst(&cm_object_of(b->f)->limit, 65 * MIB);
        cm_bracket w = begin_write(b->f, 0, i % 3 ? 10 * BLK : 65 * MIB);
        at_store_seq_cst(&running.told, i);
        at_store_seq_cst(&running.version, i);
        cm_validator after = val(SIZE, 7 + i);
        CHECK_EQ(cm_write_end(b->f, &w, &after), 0);
        (void)put_all(b->f, 0, 10, i);
        if (i % 16 == 0)
            CHECK_EQ(bump_epoch(b->p.c), 0);
        if (i % 16 == 8)
            CHECK_EQ(cm_set_mode(b->p.c, CM_BYPASS), 0);
        if (i % 16 == 8)
            CHECK_EQ(cm_set_mode(b->p.c, CM_NORMAL), 0);
    }
    at_store_seq_cst(&running.done, 1u);
    return NULL;
}

/* Two threads of one reader, which read and judge the file again. */
static void *read_on(void *arg)
{
    struct both *b = arg;
    uint8_t got[CM_BLOCK_SIZE];
    for (uint64_t n = 0; !at_load_seq_cst(&running.done); n++) {
        const uint64_t low = at_load_seq_cst(&running.told), block = n % 10;
        if (cm_read(b->g, block * BLK, got, BLK, NULL) == (int64_t)BLK) {
            uint64_t is = low;
            const uint64_t high = at_load_seq_cst(&running.version);
            while (is < high && !is_content(is, block, got, BLK))
                is++;
            CHECK(is_content(is, block, got, BLK));
            at_add_relaxed(&running.hits, 1);
        }
        if (n % 8 == 0) {
            cm_validator now = val(SIZE, 7 + at_load_seq_cst(&running.version));
            CHECK(cm_file_revalidate(b->g, &now) >= 0);
        }
    }
    return NULL;
}

/* An owner and a reader in one process, so that the thread sanitizer sees both. */
static void test_threads(void)
{
    struct both b;
    pthread_t owner, reader[READERS];
    REQUIRE(both_up(&b, CM_SOLE_WRITER));
    memset(&running, 0, sizeof(running));
    running.version = running.told = 1;
    CHECK_EQ(pthread_create(&owner, NULL, own, &b), 0);
    for (unsigned i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&reader[i], NULL, read_on, &b), 0);
    pthread_join(owner, NULL);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(reader[i], NULL);
    cm_validator now = val(SIZE, 7 + ROUNDS - 1);
    CHECK_EQ(cm_file_revalidate(b.f, &now), 0);
    (void)put_all(b.f, 0, 10, ROUNDS - 1);
    now = fresh(now);
    CHECK_EQ(cm_file_revalidate(b.g, &now), 0);
    CHECK_EQ(hits(b.g, 0, 10, ROUNDS - 1), 10);
    both_down(&b);
}

static void *bypass(void *arg)
{
    struct both *b = arg;
    CHECK_EQ(cm_set_mode(b->p.c, CM_BYPASS), 0);
    return NULL;
}

/* The mode and what readers are told of it are one step, also for two calls at once. */
static void test_modes_at_once(void)
{
    struct both b;
    pthread_t other;
    REQUIRE(both_up(&b, 0));
    cm_lock_acquire(&b.p.c->super.lock); /* as a call does that tells readers */
    CHECK_EQ(pthread_create(&other, NULL, bypass, &b), 0);
    for (unsigned i = 0; i < 20; i++) {
        cm_plat_sleep(5000000);
        CHECK_EQ(at_load_seq_cst(&b.p.c->mode), CM_NORMAL);
    }
    cm_lock_release(&b.p.c->super.lock);
    pthread_join(other, NULL);
    CHECK_EQ(at_load_seq_cst(&b.p.c->mode), CM_BYPASS);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    both_down(&b);
}

const struct harness_test shared_tests[] = {
    TEST(serves),
    TEST(through),
    TEST(through_beside),
    TEST(refused),
    TEST(any_memory),
    TEST(ways),
    TEST(mode_untold),
    TEST(closed_silent),
    TEST(goes_on),
    TEST(told_first),

    TEST(few_places),
    TEST(in_the_middle),
    TEST(judged_in_the_middle),
    TEST(changed_while_looked_at),
    TEST(threads),
    TEST(modes_at_once),
    TEST_END,
};

static const struct harness_test *const tables[] = { shared_tests, shared_more_tests,
                                                     shared_file_tests };

char dir[256]; /* test_shared_file.c */

int main(int argc, char **argv)
{
    if (!os_make_dir(dir, sizeof(dir), NULL, "shared"))
        return 1;
    const int failed = HARNESS_TABLES(tables, argc, argv);
    (void)os_remove_dir(dir);
    return failed;
}
