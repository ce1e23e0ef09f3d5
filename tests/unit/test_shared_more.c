/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shared_more.c - readers of a pool that another cache owns: validators, sizes, times to live,
 * other boots, damage.
 */
#include "shared_common.h"

#define SIZE SHARED_SIZE

/* ---- Validators ------------------------------------------------------------------------------ */

/* Attaches as a reader with a validator. Checks whether the file is warm. */
static void expect_warm(struct both *b, const cm_validator *v, uint32_t flags, bool is_warm)
{
    cm_file *g = attach_reader(b->r, 1, v, flags);
    CHECK_EQ(info_of(g).kept, is_warm);
    CHECK(!is_warm || !info_of(g).racy); /* the validator is the file's */
    CHECK_EQ(hits(g, 0, 10, 1), is_warm ? 10 : 0);
    detach(g);
}
#define expect_warm(...) CALL(expect_warm(__VA_ARGS__)) /* its checks say who called */

static void test_validators(void)
{
    struct both b;
    cm_validator v;
    cm_file *g = NULL;
    cm_file_id id = id_of(1), other = id_of(2);
    REQUIRE(both_up(&b, 0));
    detach(b.g);
    expect_warm(&b, &b.v, 0, true);
    v = val(SIZE, 8); /* of another content */
    expect_warm(&b, &v, 0, false);
    v = val(SIZE + 1, 7);
    expect_warm(&b, &v, 0, false);
    v = b.v;
    v.size = CM_SIZE_UNKNOWN;
    expect_warm(&b, &v, 0, true);
    v = b.v;
    v.racy = CM_RACY_TIMES;
    expect_warm(&b, &v, 0, false);
    expect_warm(&b, &v, CM_EXCLUSIVE, true);
    expect_warm(&b, NULL, 0, false);
    v = b.v;
    v.taken_at = 1; /* before the reader was opened */
    CHECK_EQ(cm_file_open(b.r, &id, &v, 0, &g), CM_IGNORED);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    v = fresh(b.v);
    CHECK_EQ(cm_file_revalidate(g, &v), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    v = val(SIZE, 8);
    CHECK_EQ(cm_file_revalidate(g, &v), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    v = fresh(b.v);
    CHECK_EQ(cm_file_open(b.r, &id, &v, 0, &b.g), 0); /* the same handle */
    CHECK(g == b.g);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    detach(g);
    detach(g);
    /* A file that the pool does not know yet: warm once the owner has it, and a validator is
     * presented again. */
    v = val(SIZE, 3);
    CHECK_EQ(cm_file_open(b.r, &other, &v, 0, &g), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 0);
    cm_file *f = warm(&b.p, 2, &v, 0);
    CHECK_EQ(hits(g, 0, 10, 2), 0);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(g, &v), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 10);
    detach(f);
    CHECK_EQ(hits(g, 0, 10, 2), 10);
    detach(g);
    both_down(&b);
}

/* An own write of the owner: the reader's other blocks stay, and the new ones come. */
static void test_own_writes(void)
{
    struct both b;
    REQUIRE(both_up(&b, CM_SOLE_WRITER));
    cm_bracket w = begin_write(b.f, 3 * BLK, BLK);
    CHECK_EQ(hits(b.g, 0, 10, 1), 9);
    cm_validator after = val(SIZE, 8);
    CHECK_EQ(cm_write_end(b.f, &w, &after), 0);
    CHECK_EQ(put(b.f, 3, 2), 0);
    CHECK_EQ(look(b.g, 3, 2), RIGHT);
    CHECK_EQ(hits(b.g, 4, 6, 1), 6);
    expect_warm(&b, &b.v, 0, false);
    cm_validator now = fresh(after);
    CHECK_EQ(cm_file_revalidate(b.g, &now), 0);
    CHECK_EQ(look(b.g, 3, 2), RIGHT);
    both_down(&b);
}

/* A power cut took a write of the origin. The reader comes before the owner has found that out, and
 * presents its validator again afterwards. The blocks of that region do not count. */
static void test_before_the_loss(void)
{
    NEED_DAX;
    enum { IN_REGION = 256 };
    struct pool p;
    const uint64_t lost = IN_REGION + 5;
    cm_validator v = val(3 * IN_REGION * BLK, 7);
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    CHECK_EQ(put_all(f, lost, 3, 1), 3);
    cm_bracket w = begin_write(f, (lost + 3) * BLK, BLK);
    const cm_validator after = val(3 * IN_REGION * BLK, 8);
    CHECK_EQ(cm_write_end(f, &w, &after), 0);
    pool_crash(&p);
    pool_other_boot(&p);
    cm_cache *r = reader_of(&p);
    v = fresh(after);
    cm_file *g = attach_reader(r, 1, &v, 0);
    CHECK_EQ(hits(g, lost, 3, 1), 0);
    REQUIRE(pool_up(&p) == 0);
    v = fresh(after);
    f = attach_v(&p, 1, &v, CM_SOLE_WRITER);
    CHECK_EQ(hits(f, 0, 3, 1), 3);
    CHECK_EQ(hits(f, lost, 3, 1), 0);
    w = begin_write(f, 10 * BLK, BLK); /* the first one in this boot: the record is of this boot */
    v = val(3 * IN_REGION * BLK, 9);
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    v = fresh(v);
    CHECK_EQ(cm_file_revalidate(g, &v), 0);
    CHECK_EQ(hits(g, lost, 3, 1), 0);
    CHECK_EQ(cm_file_close(g), 0);
    CHECK_EQ(cm_close(r), 0);
    pool_end(&p);
}

/* ---- Size ------------------------------------------------------------------------------------ */

/* The end of the file, or CM_SIZE_UNKNOWN, as a reader tells it. */
static uint64_t end_of(cm_file *g)
{
    static uint8_t buf[64 * CM_BLOCK_SIZE];
    cm_miss m = { 0 };
    const int64_t n = cm_read(g, 8 * BLK, buf, sizeof(buf), &m);
    CHECK(n >= 0);
    return m.flags & CM_MISS_EOF ? m.offset + m.len : CM_SIZE_UNKNOWN;
}

static void test_size(void)
{
    struct both b;
    cm_bracket w;
    memset(&b, 0, sizeof(b));
    b.v = val(10 * BLK + 100, 7);
    REQUIRE(pool_new(&b.p, MIB) == 0);
    b.r = reader_of(&b.p);
    b.f = warm(&b.p, 1, &b.v, CM_SOLE_WRITER);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    CHECK_EQ(end_of(b.g), 10 * BLK + 100);
    CHECK_EQ(put_tail(b.f, 10, 100, 1), 0);
    CHECK_EQ(end_of(b.g), 10 * BLK + 100);
    CHECK_EQ(cm_write_begin(b.f, CM_APPEND, 5, &w), 0);
    CHECK_EQ(info_of(b.g).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(end_of(b.g), CM_SIZE_UNKNOWN); /* the owner does not know it either */
    cm_validator v = val(10 * BLK + 105, 8);
    CHECK_EQ(cm_write_end(b.f, &w, &v), 0);
    CHECK_EQ(end_of(b.g), 10 * BLK + 105);
    CHECK_EQ(cm_truncate_begin(b.f, 9 * BLK, &w), 0);
    CHECK_EQ(end_of(b.g), CM_SIZE_UNKNOWN);
    v = val(9 * BLK, 9);
    CHECK_EQ(cm_write_end(b.f, &w, &v), 0);
    CHECK_EQ(end_of(b.g), 9 * BLK);
    CHECK_EQ(hits(b.g, 0, 10, 1), 9);
    CHECK_EQ(cm_write_begin(b.f, 9 * BLK, 3 * BLK, &w), 0);
    CHECK_EQ(end_of(b.g), CM_SIZE_UNKNOWN);
    v = val(12 * BLK, 10);
    CHECK_EQ(cm_write_end(b.f, &w, &v), 0);
    CHECK_EQ(end_of(b.g), 12 * BLK);
    CHECK_EQ(put(b.f, 11, 1), 0);
    CHECK_EQ(look(b.g, 11, 1), RIGHT);
    CHECK_EQ(info_of(b.g).size, 12 * BLK);
    CHECK_EQ(cm_write_begin(b.f, 12 * BLK, BLK, &w), 0);
    v = val(13 * BLK, 11);
    CHECK_EQ(cm_write_end(b.f, &w, &v), 0);
    CHECK_EQ(put(b.f, 12, 1), 0);
    CHECK_EQ(cm_file_cached(b.g, 12 * BLK, CM_ALL), BLK); /* before it has read there */
    both_down(&b);
}

/* ---- Times to live, regions, damage ---------------------------------------------------------- */

/* A time to live is that of the cache where it was set. */
static void test_ttl(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(cm_file_set_ttl(b.f, 1), 0);
    sleep_ms(1);
    CHECK_EQ(hits(b.f, 0, 10, 1), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    CHECK_EQ(cm_file_set_ttl(b.g, 1), 0);
    sleep_ms(1);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(cm_file_set_ttl(b.g, UINT64_C(1) << 60), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    cm_validator now = fresh(b.v);
    CHECK_EQ(cm_file_revalidate(b.g, &now), 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    both_down(&b);
}

/* After a crash of the system a region with unsynced writes does not count. Nobody may serve it
 * before an owner has said so in the record; then the reader knows it, too. */
static void test_other_boot(void)
{
    struct pool p;
    cm_validator v = val(SIZE, 7);
    NEED_DAX;
    REQUIRE(dax_pool(&p) == 0);
    cm_file *f = warm(&p, 1, &v, CM_SOLE_WRITER), *g;
    cm_bracket w = begin_write(f, 50 * BLK, BLK);
    cm_validator after = val(SIZE, 8);
    CHECK_EQ(cm_write_end(f, &w, &after), 0);
    CHECK_EQ(put(f, 50, 2), 0);
    pool_crash(&p);
    pool_other_boot(&p);
    cm_cache *r = reader_of(&p);
    g = attach_reader(r, 1, &after, 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0); /* no owner: it has an intent */
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    f = attach_v(&p, 1, &after, CM_SOLE_WRITER);
    CHECK_EQ(look(f, 50, 2), MISS);
    w = begin_write(f, 51 * BLK, BLK); /* the state word is of this boot from here on */
    after = val(SIZE, 9);
    CHECK_EQ(cm_write_end(f, &w, &after), 0);
    detach(g);
    g = attach_reader(r, 1, &after, 0);
    CHECK_EQ(look(g, 50, 2), MISS);
    CHECK_EQ(info_of(g).kept, 1);
    CHECK_EQ(put(f, 50, 3), 0);
    CHECK_EQ(look(g, 50, 3), RIGHT);
    CHECK_EQ(cm_close(r), 0);
    pool_end(&p);
}

/* A reader opens what nobody owns: of this boot, it is served. Of another one, in a page cache that
 * is gone, it is not. */
static void test_no_owner(void)
{
    for (unsigned other = 0; other < 2; other++) {
        CASE("other boot %u", other);
        struct pool p;
        cm_validator v = val(SIZE, 7);
        REQUIRE(pool_new(&p, MIB) == 0);
        (void)warm(&p, 1, &v, 0);
        pool_crash(&p);
        if (other)
            pool_other_boot(&p);
        cm_cache *r = reader_of(&p);
        cm_file *g = attach_reader(r, 1, &v, 0);
        CHECK_EQ(hits(g, 0, 10, 1), other ? 0 : 10);
        CHECK_EQ(cm_close(r), 0);
        pool_end(&p);
    }
}

/* A damaged payload is a miss. The reader changes nothing. */
static void test_damage(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    const uint64_t slot = slot_of(b.f, 3);
    REQUIRE(slot != CM_NO_SLOT);
    payload_of(b.p.c, slot)[77] ^= 1;
    const struct cm_trouble *t = &b.r->trouble[CM_TROUBLE_CHECKSUM];
    CHECK_EQ(at_load_relaxed(&t->count) + at_load_relaxed(&t->said_at), 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(look(b.g, 3, 1), MISS);
    CHECK(at_load_relaxed(&t->count) + at_load_relaxed(&t->said_at) > 0); /* of this boot */
    CHECK(slot_ok(b.p.c, slot));
    CHECK_EQ(STAT(b.r, quarantined), 0); /* that is for its owner to find out */
    /* Whoever tried to store all the same could not. */
    struct cm_header *h = cm_slot_at(&b.r->media, slot);
    CHECK_EQ(cm_media_store64(&b.r->media, &h->w0, at_load_relaxed(&h->w0)), CM_EIO);
    cm_options o = CM_OPTIONS_INIT; /* a reader verifies each block once, whatever it is told */
    cm_cache *trusting = NULL;
    o.flags = CM_OPEN_SHARED;
    o.verify = CM_VERIFY_NEVER;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &trusting), 0);
    CHECK_EQ(look(attach_reader(trusting, 1, &b.v, 0), 3, 1), MISS);
    CHECK_EQ(cm_close(trusting), 0);
    payload_of(b.p.c, slot)[77] ^= 1;
    CHECK_EQ(look(b.g, 3, 1), RIGHT);
    CHECK_EQ(hits(b.f, 0, 10, 1), 10);
    both_down(&b);
}

/* What is absent takes no second look: it is told as any miss is. What is in its second bucket is
 * found there. */
static void test_absent(void)
{
    struct both b;
    cm_miss m = CM_MISS_INIT;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(both_up(&b, 0));
    const int64_t missed = STAT(b.r, miss_absent), other = STAT(b.r, miss_conflict);
    CHECK_EQ(cm_read(b.g, 20 * BLK, buf, BLK, &m), 0);
    CHECK_EQ(m.offset, 20 * BLK);
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(m.incarnation, info_of(b.f).incarnation);
    CHECK(m.flags & CM_MISS_NOFILL);
    CHECK_EQ(cm_read(b.g, SHARED_SIZE - 10, buf, 10, &m), 0);
    CHECK_EQ(m.len, BLK);
    CHECK_EQ(cm_read(b.g, SHARED_SIZE - 10, buf, 20, &m), 0); /* over the end */
    CHECK_EQ(cm_read(b.g, SHARED_SIZE, buf, 20, &m), 0);
    CHECK(m.flags & CM_MISS_EOF);
    CHECK_EQ(cm_read_whole(b.g, 20 * BLK, buf, BLK, 0), CM_EABSENT);
    CHECK_EQ(STAT(b.r, miss_absent), missed + 3);
    CHECK_EQ(STAT(b.r, miss_conflict), other);
    CHECK_EQ(put(b.f, 20, 1), 0);
    CHECK_EQ(look(b.g, 20, 1), RIGHT);
    CHECK_EQ(cm_invalidate(b.f, 20 * BLK, BLK), 0);
    CHECK_EQ(look(b.g, 20, 1), MISS);
    const cm_file_id id = id_of(1);
    CHECK_EQ(cm_forget(b.p.c, &id), 0); /* another incarnation: nothing is known of it */
    CHECK_EQ(cm_read_whole(b.g, 20 * BLK, buf, BLK, 0), CM_EABSENT);
    CHECK_EQ(cm_read(b.g, 20 * BLK, buf, BLK, &m), 0);
    CHECK(m.incarnation != info_of(b.f).incarnation);
    both_down(&b);
}

static void test_second_bucket(void)
{
    struct both b;
    const cm_validator v = val(GIB, 7);
    REQUIRE(both_up(&b, 0));
    cm_file *f = attach_v(&b.p, 2, &v, 0), *g;
    (void)put_all(f, 0, 2000, 2); /* the pool is full */
    g = attach_reader(b.r, 2, &v, 0);
    for (unsigned i = 0; i < 2; i++) { /* the second time the slots are known */
        const unsigned held = hits(f, 0, 2000, 2);
        CHECK(held > 100);
        CHECK_EQ(hits(g, 0, 2000, 2), held);
    }
    CHECK_EQ(STAT(b.r, miss_conflict), 0);
    CHECK_EQ(cm_file_close(g), 0);
    detach(f);
    both_down(&b);
}

/* A validator that proves nothing takes nothing away. */
static void test_no_proof(void)
{
    struct both b;
    cm_validator v = CM_VALIDATOR_INIT;
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    v.size = SIZE;
    cm_file *g = attach_reader(b.r, 1, &v, 0);
    CHECK(g == b.g);
    CHECK_EQ(info_of(g).kept, 1);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    both_down(&b);
}

/* What a reader does not know has no size; nor has what is not the owner's any more. */
static void test_no_size(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    cm_file *g = attach_reader(b.r, 77, &b.v, 0);
    CHECK_EQ(info_of(g).size, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(b.g).size, SIZE);
    const cm_file_id id = id_of(1);
    CHECK(cm_file_serves(cm_object_of(b.g)));
    CHECK_EQ(cm_forget(b.p.c, &id), 0);
    CHECK_EQ(info_of(b.g).size, CM_SIZE_UNKNOWN);
    CHECK(!cm_file_serves(cm_object_of(b.g)));
    both_down(&b);
}

/* Two files of one chain of the reader's table. */
static void test_same_chain(void)
{
    struct both b;
    const cm_file_id first = id_of(1);
    cm_file_id other;
    REQUIRE(both_up(&b, 0));
    for (other = id_of(2); cm_object_chain(b.r, &first) != cm_object_chain(b.r, &other);)
        other.lo++;
    cm_file *g = attach_reader(b.r, other.lo, &b.v, 0);
    CHECK(attach_reader(b.r, 1, &b.v, 0) == b.g);
    CHECK(attach_reader(b.r, other.lo, &b.v, 0) == g);
    both_down(&b);
}

/* A record with a number that the superblock says was not given out yet: the next owner empties the
 * pool. */
static void test_number_too_high(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    detach(b.g);
    expect_warm(&b, &b.v, 0, true);
    const uint64_t mark = super_at(&b.p, 0)->inc_mark;
    for (unsigned high = 2; high-- > 0;) {
        for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
            super_at(&b.p, i)->inc_mark = high ? info_of(b.f).incarnation : mark;
            super_seal(super_at(&b.p, i));
        }
        expect_warm(&b, &b.v, 0, !high);
    }
    both_down(&b);
}

/* A size that the owner no longer stands for is not told, neither by the file nor as a part of a
 * validator. */
static void test_looked_up_size(void)
{
    struct both b;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info i = CM_FILE_INFO_INIT;
    const cm_file_id id = id_of(1);
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(cm_file_lookup(b.r, &id, &v, &i), 0);
    CHECK_EQ(v.size, SIZE);
    CHECK_EQ(i.size, SIZE);
    CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
    CHECK_EQ(cm_file_lookup(b.r, &id, &v, &i), 0);
    CHECK_EQ(i.size, CM_SIZE_UNKNOWN);
    CHECK_EQ(v.size, CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
    both_down(&b);
}

/* What the owner has given out since the reader came is known to it, too. */
static void test_later_number(void)
{
    struct both b;
    cm_file_info i = CM_FILE_INFO_INIT;
    const cm_file_id id = id_of(2);
    REQUIRE(both_up(&b, 0));
    b.p.c->super.next_incarnation = b.p.c->super.now.inc_mark; /* a new range begins */
    cm_file *f = warm(&b.p, 2, &b.v, 0);
    CHECK_EQ(cm_file_lookup(b.r, &id, NULL, &i), 0);
    CHECK_EQ(i.incarnation, info_of(f).incarnation);
    both_down(&b);
}

/* A file that was opened just now was used just now. */
static void test_used(void)
{
    struct both b;
    REQUIRE(both_up(&b, 0));
    const int64_t now = cm_plat_wall_ns();
    CHECK(info_of(b.g).last_used_ns > now - 3600 * INT64_C(1000000000));
    CHECK_EQ(info_of(b.g).hits, 0);
    both_down(&b);
}

/* Two owners of one boot. The second one finds a word of the record damaged, and so names the
 * blocks of some regions otherwise from then on. A reader cannot change what it knows of a file, so
 * the file is cold. */
static void test_other_keys(void)
{
    NEED_DAX;
    struct both b = { .v = val(SIZE, 7) };
    REQUIRE(dax_pool(&b.p) == 0);
    cm_file *f = warm(&b.p, 1, &b.v, 0);
    const uint64_t place = cm_object_of(f)->place;
    crash_and_boot(&b.p);
    b.f = attach_v(&b.p, 1, &b.v, 0);
    b.r = reader_of(&b.p);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    pool_again(&b.p);
    b.f = attach_v(&b.p, 1, &b.v, 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 10);
    pool_down(&b.p);
    struct cm_record *r = (struct cm_record *)(void *)(b.p.base + b.r->media.geo.record_offset);
    r[place].since[0] ^= 1;
    CHECK_EQ(pool_up(&b.p), 0);
    b.f = attach_v(&b.p, 1, &b.v, 0);
    CHECK_EQ(info_of(b.f).kept, 1);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(info_of(b.g).kept, 0);
    cm_validator v = fresh(b.v); /* proves the content, and the reader cannot find it */
    CHECK_EQ(cm_file_revalidate(b.g, &v), 0);
    CHECK_EQ(info_of(b.g).kept, 0);
    both_down(&b);
}

/* A region began anew before the reader came. Another owner changes nothing: it goes on. */
static void test_same_keys(void)
{
    NEED_DAX;
    enum { IN_REGION = 256 };
    struct both b = { .v = val(3 * IN_REGION * BLK, 7) };
    REQUIRE(dax_pool(&b.p) == 0);
    cm_file *f = attach_v(&b.p, 1, &b.v, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 3, 1), 3);
    (void)begin_write(f, (IN_REGION + 5) * BLK, BLK);
    crash_and_boot(&b.p);
    b.f = attach_v(&b.p, 1, &b.v, CM_SOLE_WRITER);
    CHECK(cm_object_of(b.f)->raised);
    CHECK_EQ(put(b.f, IN_REGION + 7, 1), 0);
    write_and_end(b.f); /* the record is of this boot */
    cm_validator v = fresh(b.v);
    CHECK_EQ(cm_file_revalidate(b.f, &v), 0);
    b.r = reader_of(&b.p);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    CHECK_EQ(hits(b.g, 0, 3, 1), 3);
    pool_again(&b.p);
    CHECK_EQ(hits(b.g, 0, 3, 1), 3);
    CHECK_EQ(look(b.g, IN_REGION + 7, 1), RIGHT);
    CHECK_EQ(info_of(b.g).kept, 1);
    both_down(&b);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

#define FAR ((void *)(UINT64_C(1) << 60)) /* an address that leaves no room in a handle */

static enum { GIVES, NONE, FAR_OFF } memory;
static void *its_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return memory == GIVES ? cm_plat_alloc(bytes) : memory == NONE ? NULL : FAR;
}
static void its_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    if (p != FAR)
        cm_plat_free(p, bytes);
}

/* Without memory a reader opens no file, nor with memory that no handle can name. */
static void test_no_memory(void)
{
    struct both b;
    cm_options o = CM_OPTIONS_INIT;
    const cm_file_id id = id_of(1);
    cm_file *g = NULL;
    cm_cache *r = NULL;
    REQUIRE(both_up(&b, 0));
    o.flags = CM_OPEN_SHARED;
    o.alloc = its_alloc;
    o.free = its_free;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &r), 0);
    for (memory = FAR_OFF; memory != GIVES; memory--) {
        CASE("memory %u", (unsigned)memory);
        CHECK_EQ(cm_file_open(r, &id, &b.v, 0, &g), CM_ENOMEM);
        CHECK(g == NULL);
    }
    g = attach_reader(r, 1, &b.v, 0);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    CHECK_EQ(cm_close(r), 0);
    both_down(&b);
}

/* Something of a file could not be forgotten, so it is not served any more; others are. */
static void test_one_stopped(void)
{
    struct both b = { .v = val(SIZE, 7) };
    pool_make(&b.p, MIB, 0);
    b.p.o.alloc = its_alloc;
    b.p.o.free = its_free;
    REQUIRE(pool_up(&b.p) == 0);
    b.f = warm(&b.p, 1, &b.v, 0);
    (void)warm(&b.p, 2, &b.v, 0);
    b.r = reader_of(&b.p);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    cm_file *g = attach_reader(b.r, 2, &b.v, 0);
    cm_bracket w = begin_write(b.f, 50 * BLK, BLK); /* takes the one that needs no memory */
    memory = NONE;
    CHECK_EQ(cm_invalidate(b.f, 0, CM_ALL), CM_ENOMEM);
    memory = GIVES;
    CHECK(cm_write_end(b.f, &w, NULL) >= 0);
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 10);
    both_down(&b);
}

/* ---- The log --------------------------------------------------------------------------------- */

static unsigned told;
static void note_line(void *ctx, int level, const char *line)
{
    (void)ctx;
    told += level == CM_LOG_ERROR && strstr(line, "no pool any more") != NULL;
}

/* The pool is gone. The log says so once: with the call that finds it out, also if no other
 * follows.
 */
static void test_gone(void)
{
    struct both b;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *r = NULL, *other = NULL;
    cm_file *f = NULL;
    REQUIRE(both_up(&b, 0));
    o.flags = CM_OPEN_SHARED;
    o.log = note_line;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &r), 0);
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &other), 0);
    cm_file *g = attach_reader(r, 1, &b.v, 0);
    CHECK_EQ(cm_super_kill(&b.p.c->super), 0);
    told = 0;
    for (unsigned i = 0; i < 3; i++) {
        const cm_validator v = fresh(b.v);
        CHECK_EQ(cm_file_revalidate(g, &v), CM_ENOTPOOL);
        CHECK_EQ(told, 1);
        CHECK_EQ(hits(g, 0, 10, 1), 0);
        CHECK_EQ(told, 1);
    }
    const cm_validator v = fresh(b.v);
    CHECK_EQ(cm_file_open(other, &(cm_file_id){ .hi = 0, .lo = 1 }, &v, 0, &f), CM_ENOTPOOL);
    CHECK_EQ(told, 2);
    CHECK_EQ(cm_close(r), 0);
    CHECK_EQ(cm_close(other), 0);
    CHECK_EQ(cm_close(b.r), 0);
    both_end(&b);
}

/* The owner writes the file all the time. Readers that present the version that it made up find it
 * warm, beside brackets and behind them. */
static void test_exclusive(void)
{
    struct both b;
    cm_file *g = NULL;
    const cm_file_id id = id_of(1), other = id_of(2);
    REQUIRE(both_up(&b, CM_EXCLUSIVE));
    detach(b.g);
    for (unsigned i = 0; i < 4; i++) {
        CASE("write %u", i);
        cm_validator v = fresh(b.v);
        v.racy = i % 2 ? CM_RACY_TIMES | CM_RACY_WRITER : 0;
        cm_bracket w = begin_write(b.f, i * BLK, BLK);
        g = attach_reader(b.r, 1, &v, i % 2 ? CM_EXCLUSIVE : 0);
        CHECK_EQ(hits(g, i + 1, 9 - i, 1), 9 - i);
        CHECK(cm_write_end(b.f, &w, NULL) >= 0);
        CHECK_EQ(hits(g, i + 1, 9 - i, 1), 9 - i);
        CHECK_EQ(hits(g, 0, i + 1, 1), 0);
        detach(g);
        v = fresh(v);
        g = attach_reader(b.r, 1, &v, i % 2 ? CM_EXCLUSIVE : 0);
        CHECK_EQ(hits(g, 0, 10, 1), 9 - i);
        detach(g);
    }
    /* The claim is about a version: there must be one, as for an owner. */
    cm_validator none = fresh(b.v);
    memset(none.proof, 0, sizeof(none.proof));
    CHECK_EQ(cm_file_open(b.r, &other, NULL, CM_EXCLUSIVE, &g), CM_EINVAL);
    CHECK_EQ(cm_file_open(b.r, &other, &none, CM_EXCLUSIVE, &g), CM_EINVAL);
    const cm_validator v = fresh(b.v);
    CHECK_EQ(cm_file_open(b.r, &id, &v, CM_EXCLUSIVE, &g), 0);
    CHECK_EQ(cm_file_open(b.r, &id, NULL, CM_EXCLUSIVE, &g), 0); /* again */
    detach(g);
    detach(g);
    both_down(&b);
}

/* A reader is not told to claim what only the owner of the pool can claim. */
static void keep_line(void *ctx, int level, const char *line)
{
    CHECK_EQ(level, CM_LOG_INFO);
    (void)snprintf(ctx, 512, "%s", line);
}
static void test_told(void)
{
    char line[512] = "";
    struct both b;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *r = NULL;
    REQUIRE(both_up(&b, 0));
    o.flags = CM_OPEN_SHARED;
    o.log = keep_line;
    o.log_ctx = line;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &r), 0);
    cm_validator v = fresh(b.v);
    v.racy = CM_RACY_WRITER;
    cm_file *g = attach_reader(r, 1, &v, 0);
    CHECK(strstr(line, "CM_IDENTIFY_SOLE_WRITER") != NULL);
    CHECK(strstr(line, "CM_EXCLUSIVE") != NULL);
    CHECK(strstr(line, "CAP_LEASE") != NULL);
    CHECK(strstr(line, "CM_SOLE_WRITER") == NULL);
    detach(g);
    CHECK_EQ(cm_close(r), 0);
    both_down(&b);
}

/* The owner's validator of an exclusive file is racy, as cm_identify() says of its own descriptor.
 * A reader that does not make the claim finds the file cold, and the log says once what helps. */
static void test_told_racy(void)
{
    char line[512] = "";
    struct both b = { .v = val(SIZE, 7) };
    cm_options o = CM_OPTIONS_INIT;
    REQUIRE(pool_new(&b.p, MIB) == 0);
    b.v.racy = CM_RACY_WRITER;
    b.f = warm(&b.p, 1, &b.v, CM_EXCLUSIVE);
    o.flags = CM_OPEN_SHARED;
    o.log = keep_line;
    o.log_ctx = line;
    CHECK_EQ(cm_open_memory(b.p.base, b.p.bytes, &o, &b.r), 0);
    cm_validator v = val(SIZE, 8);
    cm_file *g = attach_reader(b.r, 1, &v, 0); /* of another content */
    detach(g);
    CHECK_EQ(line[0], 0);
    v = val(SIZE, 7);
    for (unsigned i = 0; i < 2; i++) {
        CASE("reader %u", i);
        g = attach_reader(b.r, 1, &v, 0);
        CHECK_EQ(hits(g, 0, 10, 1), 0);
        CHECK_EQ(strstr(line, "racy 0") != NULL && strstr(line, "CM_EXCLUSIVE") != NULL, i == 0);
        line[0] = 0;
        v = fresh(v);
        CHECK_EQ(cm_file_revalidate(g, &v), 0);
        CHECK_EQ(info_of(g).want_validator, 1); /* it is cold until the owner's is not racy */
        detach(g);
        CHECK_EQ(line[0], 0);
    }
    expect_warm(&b, &v, CM_EXCLUSIVE, true);
    b.v = fresh(b.v);
    b.v.racy = 0; /* the owner, who knows that nobody else writes */
    CHECK_EQ(cm_file_revalidate(b.f, &b.v), 0);
    v = fresh(v);
    expect_warm(&b, &v, 0, true);
    CHECK_EQ(line[0], 0);
    both_down(&b);
}

/* What only the owner may change is told of a file as its record has it, attached or not. */
static void is_as_recorded(cm_cache *r, const cm_file_info *now)
{
    const cm_file_id id = id_of(1);
    cm_file_info of = CM_FILE_INFO_INIT;
    CHECK_EQ(cm_file_lookup(r, &id, NULL, &of), 0);
    const cm_file_info *const all[] = { &of, now };
    for (unsigned i = 0; i < (now ? 2u : 1u); i++) {
        CHECK(strcmp(all[i]->name, "the name") == 0);
        CHECK_EQ(all[i]->keep, 1);
        CHECK_EQ(all[i]->group, 7);
        CHECK_EQ(all[i]->dirty, 1);
        CHECK_EQ(all[i]->dirty_regions, 1);
    }
}

static void test_described(void)
{
    struct both b = { .v = val(SIZE, 7) };
    pool_make_as(&b.p, MIB, 64, CM_CREATE_NAMES);
    REQUIRE(pool_up(&b.p) == 0);
    b.r = reader_of(&b.p);
    b.f = attach_v(&b.p, 1, &b.v, CM_SOLE_WRITER);
    CHECK_EQ(cm_file_set_name(b.f, "the name"), 0);
    CHECK_EQ(cm_file_set_keep(b.f, 1), 0);
    CHECK_EQ(cm_file_set_group(b.f, 7), 0);
    cm_bracket w = begin_write(b.f, 0, BLK);
    b.v = val(SIZE, 8);
    CHECK_EQ(cm_write_end(b.f, &w, &b.v), 0);
    CALL(is_as_recorded(b.r, NULL));
    b.v = fresh(b.v);
    b.g = attach_reader(b.r, 1, &b.v, 0);
    cm_file_info now = info_of(b.g);
    CHECK(now.attached && now.incarnation == info_of(b.f).incarnation);
    CALL(is_as_recorded(b.r, &now));
    const cm_validator other = val(SIZE, 9);
    CHECK_EQ(cm_file_revalidate(b.f, &other), 0); /* cold, until a validator is presented */
    now = info_of(b.g);
    CHECK_EQ(now.incarnation, 0);
    CHECK(strcmp(now.name, "the name") == 0 && now.keep == 1 && now.group == 7);
    both_down(&b);
}

/* What no read serves is not counted as cached. */
static void test_counted(void)
{
    cm_range range[4];
    struct both b;
    REQUIRE(both_up(&b, 0));
    CHECK_EQ(cm_file_cached(b.g, 0, CM_ALL), 10 * (int64_t)BLK);
    for (unsigned i = 0; i < 2; i++) { /* another session: the next read would be served */
        CHECK_EQ(cm_set_mode(b.p.c, CM_BYPASS), 0);
        CHECK_EQ(cm_file_cached(b.g, 0, CM_ALL), 0);
        CHECK_EQ(cm_set_mode(b.p.c, CM_NORMAL), 0);
        CHECK(i == 0 || info_of(b.g).incarnation == info_of(b.f).incarnation);
        CHECK_EQ(cm_file_cached(b.g, 0, CM_ALL), 10 * (int64_t)BLK);
    }
    const cm_validator other = val(SIZE, 9);
    CHECK_EQ(cm_file_revalidate(b.f, &other), 0); /* the owner finds it changed */
    CHECK_EQ(hits(b.g, 0, 10, 1), 0);
    CHECK_EQ(cm_file_cached(b.g, 0, CM_ALL), 0);
    CHECK_EQ(cm_file_ranges(b.g, 0, range, 4), 0);
    both_down(&b);
}

const struct harness_test shared_more_tests[] = {
    TEST(described),  TEST(counted),         TEST(validators),
    TEST(own_writes), TEST(before_the_loss), TEST(size),
    TEST(ttl),        TEST(no_proof),        TEST(no_size),
    TEST(same_chain), TEST(number_too_high), TEST(later_number),
    TEST(used),       TEST(other_keys),      TEST(looked_up_size),
    TEST(same_keys),  TEST(no_memory),       TEST(one_stopped),
    TEST(gone),       TEST(other_boot),      TEST(no_owner),
    TEST(damage),     TEST(absent),          TEST(second_bucket),
    TEST(told),       TEST(exclusive),       TEST(told_racy),
    TEST_END,
};
