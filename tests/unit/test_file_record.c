/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_file_record.c - after a failed fsync: records that are missing, torn or unreadable; and the
 * order of stores to a record.
 */
#include "file_failing.h"

#include "../os.h"

/* ---- After a failed fsync -------------------------------------------------------------------- */

/* The record of a failed fsync survives many other files, and a call that forgets the file: the
 * file stays out of the cache. */
static void test_failed_sync_stays(void)
{
    for (unsigned forget = 0; forget < 2; forget++) {
        CASE("forget %u", forget);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        cm_file_id id = id_of(1);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        if (forget)
            CHECK_EQ(cm_forget(p.c, &id), 0);
        for (uint64_t i = 0; i < 200 * p.c->media.geo.record_buckets; i++)
            detach(attach_v(&p, 100 + i, &v, 0));
        pool_again(&p);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 1, NULL), 0);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        pool_end(&p);
    }
}

/* Makes the next file use the second of its buckets, which is in another page than the first. */
static void prefer_second(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set s;
    struct cm_record r = { .id = { 77, 77 } };
    CHECK_EQ(cm_super_incarnation(&p->c->super, &r.incarnation), 0);
    cm_record_load(&p->c->media, id, &s);
    CHECK(s.first[0] / CM_RECORD_PLACES != s.first[1] / CM_RECORD_PLACES);
    CHECK_EQ(put_record(p->c, s.first[0], &r), 0);
}

/* An fsync fails for a file, and no record says so. The reasons: there was no room for a record;
 * the pool forgot all records at once; a second record of the file was found; the record cannot be
 * read; or it was dropped because a new one could not be written. In that boot no file without a
 * record is cached, in this session or a later one. */
enum unnamed {
    NO_ROOM,
    EPOCH,
    EPOCH_LATER,
    TWICE,
    UNREADABLE,
    FORGOTTEN,
    EPOCH_REUSED,
    UNREADABLE_FORGOTTEN,
    DAMAGED,
    DAMAGED_MARK,
    DAMAGED_FORGOTTEN,
    DAMAGED_CHECKED,
    UNNAMED
};
static struct cm_record *its_record(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set b;
    cm_record_load(&p->c->media, id, &b);
    for (unsigned i = 0; i < b.n; i++)
        if (cm_record_names(&b, i, id))
            return (struct cm_record *)(void *)(p->base + p->c->media.geo.record_offset) +
                   cm_record_place(&b, i);
    CHECK(false);
    return NULL;
}
static uint64_t without_record(struct pool *p, cm_file **owner, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        owner[i] = attach(p, 1000 + i, 100 * BLK, 7, 0);
        if (cm_object_of(owner[i])->place == CM_NO_PLACE)
            return i;
    }
    CHECK(false);
    return 0;
}
static void second_record(struct pool *p, const cm_file_id *id)
{
    struct cm_record_set s;
    struct cm_record r = { 0 };
    unsigned its = CM_RECORD_PLACES;
    cm_record_load(&p->c->media, id, &s);
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, id))
            its = i;
    REQUIRE(its < s.n);
    r = s.record[its];
    CHECK_EQ(put_record(p->c, cm_record_place(&s, its ? 0 : 1), &r), 0);
}
/* This memory cannot be read until something is written. */
static uint8_t *healed_by_writing;
static uint64_t healed_bytes;
static int healing_store64(void *ctx, uint64_t *dst, uint64_t v)
{
    os_protect(healed_by_writing, healed_bytes, OS_WRITE);
    return real.store64(ctx, dst, v);
}
/* Removes the file's record, in the way `how`. */
static void lose_record(enum unnamed how, struct pool *p, const cm_file_id *id)
{
    if (how == EPOCH_LATER) /* a new session forgets, which has never seen the file */
        pool_again(p);
    if (how == EPOCH || how == EPOCH_LATER)
        CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0);
    if (how == EPOCH_REUSED) { /* as if other files used the records again */
        CHECK_EQ(cm_super_bump_epoch(&p->c->super, &p->c->broken), 0);
        memset(p->base + p->c->media.geo.record_offset, 0,
               (size_t)(p->c->media.geo.index_offset - p->c->media.geo.record_offset));
    }
    if (how == UNREADABLE_FORGOTTEN) {
        healed_by_writing = p->base + p->c->media.geo.record_offset;
        healed_bytes = p->c->media.geo.index_offset - p->c->media.geo.record_offset;
        os_protect(healed_by_writing, healed_bytes, OS_NOTHING);
        ops = real = *p->c->media.ops;
        ops.store64 = healing_store64;
        p->c->media.ops = &ops;
        CHECK_EQ(cm_forget(p->c, id), 0);
        ops.store64 = real.store64;
        p->c->media.ops = &real;
    }
    if (how == TWICE)
        second_record(p, id);
    if (how == DAMAGED || how == DAMAGED_FORGOTTEN || how == DAMAGED_CHECKED)
        its_record(p, id)->proof[0] ^= 1;
    if (how == DAMAGED_FORGOTTEN)
        CHECK_EQ(cm_forget(p->c, id), 0);
    if (how == DAMAGED_CHECKED) {
        cm_check_report r = { .struct_size = sizeof(r) };
        (void)cm_check(p->c, CM_CHECK_REPAIR, NULL, NULL, &r);
        CHECK_EQ(r.dropped, 1);
    }
    if (how == DAMAGED_MARK)
        its_record(p, id)->state ^= 1;
    if (how == FORGOTTEN) {
        break_range(p, p->c->media.geo.record_offset, p->c->media.geo.index_offset);
        ops.store64 = real.store64;
        CHECK_EQ(cm_forget(p->c, id), 0);
        p->c->media.ops = &real;
    }
}
static void test_failed_sync_unnamed(void)
{
    for (unsigned i = 0; i < UNNAMED * 3; i++) {
        CASE("i %u", i);
        const enum unnamed how = (enum unnamed)(i % UNNAMED);
        if ((how == UNREADABLE || how == UNREADABLE_FORGOTTEN) && !cm_guard_available())
            continue;
        struct pool p;
        cm_file *owner[400] = { 0 };
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        const uint64_t last = how == NO_ROOM ? without_record(&p, owner, 400) : 0;
        const uint64_t n = how == NO_ROOM ? 1000 + last : 1;
        cm_file *f = how == NO_ROOM ? owner[last] : warm(&p, 1, &v, 0);
        const cm_file_id id = id_of(n);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        for (unsigned k = 0; k < 400; k++)
            if (owner[k])
                detach(owner[k]);
        if (how != NO_ROOM)
            detach(f);
        lose_record(how, &p, &id);
        /* All of the table, because the record may be in either of two buckets. */
        const struct cm_geometry *g = &p.c->media.geo;
        uint8_t *records = p.base + g->record_offset / BLK * BLK;
        const size_t bytes = (g->index_offset - g->record_offset / BLK * BLK + BLK - 1) / BLK * BLK;
        if (how == UNREADABLE) {
            p.c->super.now.durability = CM_DURABILITY_DAX; /* so that this costs no epoch */
            os_protect(records, bytes, OS_NOTHING);
        }
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        os_protect(records, bytes, OS_WRITE);
        detach(f);
        if (i / UNNAMED == 1)
            pool_again(&p);
        if (i / UNNAMED == 2) {
            pool_crash(&p);
            (void)pool_up(&p);
        }
        v = fresh(v);
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 20, 2), CM_NOT_STORED_MODE);
        detach(f);
        pool_down(&p);
        pool_other_boot(&p);
        (void)pool_up(&p);
        v = fresh(v);
        f = attach_v(&p, n, &v, 0);
        CHECK_EQ(info_of(f).bypassed, 0);
        CHECK_EQ(put(f, 20, 3), 0);
        pool_end(&p);
    }
}

/* A file is no longer used, because something of it could not be forgotten. An fsync fails for it.
 * The next attach must know that. */
static void test_failed_sync_stopped(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *h = attach(&p, 8, 10 * BLK, 7, 0);
    break_range(&p, 0, p.c->media.geo.index_offset);
    CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET); /* h loses its record, and f does not */
    CHECK_EQ(cm_invalidate(f, 3 * BLK, BLK), CM_EFORGET);
    p.c->media.ops = &real;
    heal_elsewhere(&p);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
    }
    pool_end(&p);
}

/* A bit of the mark flips, and it seems to speak of another boot: it counts all the same. */
static void test_failed_sync_other_boot(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    const cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    record_of(p.c, place)->state ^= UINT64_C(1) << 35;
    for (unsigned n = 0; n < 2; n++) {
        CASE("validator %u", n);
        const int64_t before = STAT(p.c, attach_new);
        f = attach_v(&p, 1, n ? &v : NULL, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(info_of(f).dirty, 1);
        CHECK_EQ(info_of(f).racy, n == 0); /* its validator is known */
        CHECK_EQ(info_of(f).size, n ? v.size : CM_SIZE_UNKNOWN);
        CHECK_EQ(STAT(p.c, attach_new), before + 1);
        detach(f);
    }
    pool_end(&p);
}

/* A failed fsync counts, even if the call's other arguments are wrong. */
static void test_failed_sync_wrong_use(void)
{
    const cm_validator nothing = { .size = 0 };
    for (unsigned how = 0; how < 3; how++) {
        CASE("how %u", how);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        if (how == 1) { /* a token from an earlier attachment */
            detach(f);
            f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        }
        CHECK_EQ(cm_sync_end(f, how == 2 ? NULL : &s, 0, how == 0 ? &nothing : NULL),
                 how == 1 ? CM_EFOREIGN : CM_EINVAL);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK(look(f, 3, 2) != RIGHT);
        detach(f);
        pool_end(&p);
    }
}

/* The pool forgets all between a write and its fsync, which fails; or in the call that reports the
 * failure. */
static void test_failed_sync_bumped(void)
{
    for (unsigned in_call = 0; in_call < 2; in_call++) {
        CASE("in_call %u", in_call);
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *h = attach(&p, 8, 10 * BLK, 7, 0);
        cm_bracket w = begin_write(f, 20 * BLK, BLK); /* its mark is set under the old epoch */
        v = val(100 * BLK, 8);
        CHECK_EQ(cm_write_end(f, &w, &v), 0);
        break_range(&p, 0, p.c->media.geo.index_offset);
        CHECK_EQ(cm_invalidate(h, 0, BLK), CM_EFORGET);
        p.c->media.ops = &real;
        if (!in_call)
            heal_elsewhere(&p);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        detach(f);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        detach(f);
        f = attach(&p, 77, 10 * BLK, 7, 0); /* nothing is known of other files */
        CHECK_EQ(info_of(f).bypassed, 0);
        pool_end(&p);
    }
}

/* The process dies while it writes the record of a file whose fsync failed. */
static struct pool *dying;
static uint8_t *left_torn;
static int torn_write(void *ctx, void *dst, const void *src, size_t n)
{
    const uint64_t at = (uint64_t)((uint8_t *)dst - dying->base);
    if (!left_torn && at >= dying->c->media.geo.record_offset &&
        at < dying->c->media.geo.index_offset) {
        CHECK_EQ(real.write(ctx, dst, src, n / 16 * 8), 0);
        left_torn = map_bytes(dying->bytes);
        memcpy(left_torn, dying->base, (size_t)dying->bytes);
    }
    return real.write(ctx, dst, src, n);
}
enum rewrite { AT_END, AT_FORGET, AT_REVALIDATE, REWRITES };
static void rewrite_record(enum rewrite how, struct pool *p, cm_file *f, cm_validator *v)
{
    const cm_file_id id = id_of(1);
    if (how == AT_FORGET) {
        detach(f);
        p->c->media.ops = &ops;
        CHECK_EQ(cm_forget(p->c, &id), 0);
        return;
    }
    cm_bracket w = begin_write(f, 20 * BLK, BLK);
    *v = val(101 * BLK, 8);
    if (how == AT_REVALIDATE) {
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        *v = fresh(*v);
    }
    p->c->media.ops = &ops;
    CHECK_EQ(how == AT_END ? cm_write_end(f, &w, v) : cm_file_revalidate(f, v), 0);
    p->c->media.ops = &real;
    detach(f);
}
static void test_failed_sync_torn(void)
{
    for (enum rewrite how = AT_END; how < REWRITES; how++) {
        struct pool p;
        cm_validator v = val(100 * BLK, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER);
        cm_sync s = sync_begin(f);
        CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
        dying = &p;
        left_torn = NULL;
        ops = real = *p.c->media.ops;
        ops.write = torn_write;
        rewrite_record(how, &p, f, &v);
        p.c->media.ops = &real;
        pool_down(&p);
        uint8_t *whole = p.base;
        p.base = left_torn ? left_torn : whole;
        REQUIRE(pool_up(&p) == 0);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        if (left_torn)
            unmap_bytes(whole, p.bytes);
        pool_end(&p);
    }
}

/* The process dies at a fence of an attach of a file whose fsync failed. The failure is still
 * known. */
static uint8_t *left_at[16];
static unsigned fences;
static void fence_and_copy(void *ctx)
{
    real.fence(ctx);
    if (fences == sizeof(left_at) / sizeof(left_at[0]))
        return;
    left_at[fences] = map_bytes(dying->bytes);
    memcpy(left_at[fences++], dying->base, (size_t)dying->bytes);
}
static void test_failed_sync_killed(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    cm_sync s = sync_begin(f);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    detach(f);
    v = val(100 * BLK, 8); /* the file was written just before */
    v.changed_ns = cm_plat_wall_ns();
    dying = &p;
    fences = 0;
    ops = real = *p.c->media.ops;
    ops.fence = fence_and_copy;
    p.c->media.ops = &ops;
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 0, 90 * BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    p.c->media.ops = &real;
    detach(f);
    pool_down(&p);
    uint8_t *whole = p.base;
    for (unsigned i = 0; i < fences; i++) {
        CASE("i %u", i);
        p.base = left_at[i];
        REQUIRE(pool_up(&p) == 0);
        v = fresh(v);
        f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
        CHECK_EQ(info_of(f).bypassed, 1);
        CHECK_EQ(put(f, 3, 2), CM_NOT_STORED_MODE);
        detach(f);
        pool_down(&p);
        unmap_bytes(p.base, p.bytes);
    }
    p.base = whole;
    pool_end(&p);
}

/* A record that names no incarnation does not count, whoever wrote it. */
static void test_zero_incarnation(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file *f = warm_pool(&p, &v, CM_SOLE_WRITER);
    const cm_file_id id = id_of(1);
    detach(f);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &id, &s);
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, &id)) {
            s.record[i].incarnation = 0;
            CHECK_EQ(put_record(p.c, cm_record_place(&s, i), &s.record[i]), 0);
        }
    v = fresh(v);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(put(f, 3, 2), 0);
    CHECK_EQ(look(f, 3, 2), RIGHT);
    pool_end(&p);
}

static bool is_in(const struct pool *p, uint64_t place, const uint8_t *page)
{
    return p->base + p->c->media.geo.record_offset + place / CM_RECORD_WAYS * BLK == page;
}

/* A record that cannot be read now must not bring its incarnation back later. Either all records
 * are unreadable, or those of its own bucket while the other bucket can be read. */
enum lost { ALL, FIRST, SECOND };
static void transient(bool forget, enum cm_durability durability, enum lost lost)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7);
    cm_file_id id = id_of(1);
    pool_make(&p, lost == ALL ? MIB : 16 * MIB, 0);
    pool_seed(&p, 1);
    REQUIRE(pool_up(&p) == 0);
    p.c->super.now.durability = durability;
    if (lost == SECOND)
        prefer_second(&p, &id);
    cm_file *f = warm(&p, 1, &v, 0);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &id, &s);
    if (lost != ALL)
        CHECK_EQ(cm_object_of(f)->place - s.first[lost == SECOND] < CM_RECORD_WAYS, true);
    uint64_t incarnation = info_of(f).incarnation;
    const struct cm_geometry *g = &p.c->media.geo;
    uint64_t at = g->record_offset, bytes = g->index_offset - at;
    if (lost != ALL) { /* a bucket is a page */
        at += cm_object_of(f)->place / CM_RECORD_WAYS * BLK;
        bytes = BLK;
    }
    uint8_t *page = p.base + at;
    detach(f);
    os_protect(page, bytes, OS_NOTHING);
    if (forget) {
        CHECK_EQ(cm_forget(p.c, &id), 0);
    } else {
        f = attach_v(&p, 1, &v, 0);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(cm_object_of(f)->place == CM_NO_PLACE, lost == ALL);
        CHECK(lost == ALL || !is_in(&p, cm_object_of(f)->place, page));
        detach(f);
        f = attach_v(&p, 2, &v, 0); /* perhaps in the same bucket */
        CHECK(put_all(f, 0, 10, 2) > 0);
        detach(f);
    }
    CHECK_EQ(p.c->crowded, CM_SAY_NOTHING);  /* there are not too many files */
    CHECK(pool_stats(p.c).escalations <= 2); /* once for each place, not at every attach */
    os_protect(page, bytes, OS_WRITE);
    for (unsigned i = 0; i < 2; i++) { /* a record that was made meanwhile may be kept */
        CASE("i %u", i);
        f = attach_v(&p, 1, &v, 0);
        CHECK(info_of(f).incarnation != incarnation);
        CHECK_EQ(hits(f, 0, 10, 1), 0);
        detach(f);
        pool_crash(&p);
        (void)pool_up(&p);
        v = fresh(v);
    }
    pool_end(&p);
}

static void test_unreadable_record(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (enum lost lost = ALL; lost <= SECOND; lost++) {
        CALL(transient(false, CM_DURABILITY_PAGECACHE, lost));
        CALL(transient(true, CM_DURABILITY_PAGECACHE, lost));
        CALL(transient(false, CM_DURABILITY_VOLATILE, lost));
        CALL(transient(true, CM_DURABILITY_DAX, lost)); /* forgetting trusts nobody */
    }
}

/* ---- The order of stores to a record --------------------------------------------------------- */

static struct cm_cache *watched;
/* R body or size written, S "since" words, M state word, I intents, E end of life, W attr, D
 * dropped, f flushed */
static char order[64];
static size_t orders;

/* The letter of a word that is stored alone. 0: a hint, its order does not matter. */
static char letter_of(uint64_t in)
{
    return in == offsetof(struct cm_record, incarnation)             ? 'T' /* told to readers */
           : in == offsetof(struct cm_record, xxh3)                  ? 'D'
           : in == offsetof(struct cm_record, state)                 ? 'M'
           : in == offsetof(struct cm_record, expires)               ? 'E'
           : in == offsetof(struct cm_record, words[CM_RECORD_ATTR]) ? 'W'
           : in >= offsetof(struct cm_record, words)                 ? 0
           : in >= offsetof(struct cm_record, since)                 ? 'S'
                                                                     : 'I';
}

/* `what`: R, f, or 0 for a word. */
static void note(const void *p, char what)
{
    const struct cm_geometry *g = &watched->media.geo;
    uint64_t at = (uint64_t)((const uint8_t *)p - watched->media.base) - g->record_offset;
    if (at >= g->record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record) ||
        orders + 1 == sizeof(order))
        return;
    const uint64_t in = at % sizeof(struct cm_record);
    if (what == 0)
        what = letter_of(in);
    const bool again = (what == 'S' || what == 'I') && orders > 0 && order[orders - 1] == what;
    if (what != 0 && !again)
        order[orders++] = what;
}
static int noted_write(void *ctx, void *dst, const void *src, size_t n)
{
    note(dst, 'R');
    return real.write(ctx, dst, src, n);
}
static int noted_store(void *ctx, uint64_t *p, uint64_t v)
{
    note(p, 0);
    return real.store64(ctx, p, v);
}
static int noted_flush(void *ctx, const void *p, size_t n)
{
    note(p, 'f');
    return real.flush(ctx, p, n);
}

static void noted_fence(void *ctx)
{
    if (orders > 0 && order[orders - 1] != 'F' && orders + 1 < sizeof(order))
        order[orders++] = 'F';
    real.fence(ctx);
}

static void watch(struct pool *p)
{
    ops = real = *p->c->media.ops;
    ops.write = noted_write;
    ops.store64 = noted_store;
    ops.flush = noted_flush;
    watched = p->c;
    memset(order, 0, sizeof(order));
    orders = 0;
    p->c->media.ops = &ops;
}

/* Checks that the stores to records since watch() are `want`. */
static void expect_stores(struct pool *p, const char *want)
{
    p->c->media.ops = &real;
    if (strcmp(order, want) != 0) {
        printf("# stores to records: %s, want %s\n", order, want);
        FAIL("order of stores to a record");
    }
}

/* Attaches file 1 with `v`. */
static void expect_order(struct pool *p, const cm_validator *v, const char *want)
{
    watch(p);
    detach(attach_v(p, 1, v, 0));
    expect_stores(p, want);
}

/* A failed fsync: one fence for the record and all that it says of regions. What it says counts for
 * the new incarnation only, so the order of the stores does not matter. */
static void test_failed_sync_order(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    cm_sync s = sync_begin(f);
    watch(&p);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    expect_stores(&p, "SMIRRf");
    pool_end(&p);
}

/* A size that was told is durable with its fill. That it is not known any more need not be: the
 * intent, which is durable, counts more. */
static void test_size_order(void)
{
    struct pool p;
    cm_bracket w;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_validator v = val(CM_SIZE_UNKNOWN, 7);
    cm_file *f = attach_v(&p, 1, &v, 0);
    watch(&p);
    ops.fence = noted_fence;
    CHECK_EQ(put_tail(f, 5, 100, 1), 0);
    expect_stores(&p, "RfF");
    watch(&p);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, 1, &w), 0);
    expect_stores(&p, "MIfR");
    watch(&p);
    ops.fence = noted_fence;
    CHECK_EQ(cm_file_set_ttl(f, 1), 0);
    expect_stores(&p, "EfF"); /* the end of its life: one word */
    watch(&p);
    ops.fence = noted_fence;
    CHECK_EQ(cm_file_set_group(f, 1), 0);
    expect_stores(&p, "WfF"); /* so is its group */
    CHECK_EQ(cm_write_end(f, &w, NULL), CM_WANT_VALIDATOR);
    /* A sync: the size is durable before the intent that counts more is gone. */
    cm_sync sync = sync_begin(f);
    watch(&p);
    ops.fence = noted_fence;
    CHECK_EQ(cm_sync_end(f, &sync, 1, NULL), 0);
    expect_stores(&p, "fFIfFM");
    pool_end(&p);
}

/* An adopted validator: the body and the size are flushed, and what lies between them is not. */
static void test_adopt_order(void)
{
    struct pool p;
    cm_validator v = val(100 * BLK, 7), next = val(100 * BLK, 8);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, 0, BLK);
    next.taken_at = later();
    watch(&p);
    ops.fence = noted_fence;
    CHECK_EQ(cm_write_end(f, &w, &next), 0);
    expect_stores(&p, "RRffF");
    pool_end(&p);
}

static void test_record_order(void)
{
    struct pool p;
    cm_file_id own = id_of(1), other = id_of(2);
    pool_make(&p, MIB, CM_RECORD_WAYS); /* two buckets, the same for every file */
    pool_seed(&p, 3);
    REQUIRE(pool_up(&p) == 0);
    detach(attach(&p, 2, 100 * BLK, 1, 0));
    cm_validator v = val(100 * BLK, 7);
    expect_order(&p, &v, "fSMIRRf");
    v = val(100 * BLK, 8);
    expect_order(&p, &v, "SMIRRf");
    /* Kept: the record is made durable as it was found. */
    expect_order(&p, &v, "f");
    /* Born dirty: the same. */
    v = val(100 * BLK, 9);
    v.changed_ns = cm_plat_wall_ns();
    expect_order(&p, &v, "SMIRRf");
    /* Torn, and an earlier place is free: the torn record is settled before another is written. */
    CHECK_EQ(cm_forget(p.c, &other), 0);
    struct cm_record_set s;
    cm_record_load(&p.c->media, &own, &s);
    unsigned torn = 0;
    for (unsigned i = 0; i < s.n; i++)
        if (cm_record_names(&s, i, &own)) {
            record_of(p.c, cm_record_place(&s, i))->incarnation++;
            torn = i;
        }
    CHECK(torn >= CM_RECORD_WAYS); /* in the second bucket; the new record goes to the first */
    v = val(100 * BLK, 10);
    expect_order(&p, &v, "TffSMIRRf");
    pool_end(&p);
}

/* All places are taken, and only the file's own torn record may be overwritten. It is dropped
 * first: the new record could make it whole again. */
static void test_torn_goes_first(void)
{
    struct pool p;
    pool_make(&p, MIB, CM_RECORD_WAYS); /* two buckets, the same for every file */
    pool_seed(&p, 3);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 2; n < 100; n++)
        detach(attach(&p, n, 100 * BLK, 1, 0));
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    record_of(p.c, place)->incarnation++;
    cm_validator v = val(100 * BLK, 8);
    watch(&p);
    detach(attach_v(&p, 1, &v, 0));
    p.c->media.ops = &real;
    CHECK(strstr(order, "DfSMIRRf") != NULL);
    pool_end(&p);
}

static cm_file *filled;
static void filling_fence(void *ctx)
{
    ops.fence = real.fence; /* once */
    CHECK_EQ(put(filled, 50, 2), 0);
    real.fence(ctx);
}

/* A block that another thread stores before the fence of a new record belongs to the old
 * incarnation. Under the new one it would be lost, although reported stored, if a crash brought the
 * old record back. */
static void test_stored_before_the_record(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    filled = attach(&p, 1, 100 * BLK, 7, 0);
    uint64_t before = info_of(filled).incarnation;
    ops = real = *p.c->media.ops;
    ops.fence = filling_fence;
    p.c->media.ops = &ops;
    CHECK_EQ(cm_file_abort(filled), 0);
    CHECK(ops.fence == real.fence);
    p.c->media.ops = &real;
    CHECK(info_of(filled).incarnation > before);
    CHECK_EQ(look(filled, 50, 2), MISS);
    pool_end(&p);
}

const struct harness_test file_record_tests[] = {
    TEST(failed_sync_stays),
    TEST(unreadable_record),
    TEST(failed_sync_killed),
    TEST(failed_sync_stopped),
    TEST(failed_sync_other_boot),
    TEST(failed_sync_unnamed),
    TEST(failed_sync_bumped),
    TEST(failed_sync_wrong_use),
    TEST(failed_sync_torn),
    TEST(zero_incarnation),
    TEST(stored_before_the_record),
    TEST(adopt_order),
    TEST(record_order),
    TEST(size_order),
    TEST(torn_goes_first),
    TEST(failed_sync_order),
    TEST_END,
};
