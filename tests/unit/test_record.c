/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_record.c - the file table: a record is whole or none; it belongs to its place, pool and
 * epoch; its dirty mark is separate; which record makes room for a new file.
 */
#include "fixture.h"

#include <inttypes.h>

#include "../os.h"
#include "count_ops.h"
#include "media/name_table.h"

/* ---- Records --------------------------------------------------------------------------------- */

static struct cm_record some_record(uint64_t n)
{
    struct cm_record r = { .id = id_of(n), .incarnation = 100 + n, .size = 5000 };
    memset(r.proof, (int)n, sizeof(r.proof));
    return r;
}

static bool whole_at(struct pool *p, uint64_t place)
{
    struct cm_record r;
    bool whole = false;
    CHECK_EQ(cm_record_at(&p->c->media, place, &r, &whole), 0);
    return whole;
}

static const struct cm_record_attr no_attr;

static void test_write_and_drop(void)
{
    struct pool p;
    struct cm_record r = some_record(1), got;
    bool whole;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK(!whole_at(&p, 3));
    CHECK_EQ(put_record(p.c, 3, &r), 0);
    uint64_t state = record_of(p.c, 3)->state;
    CHECK_EQ(cm_record_write(&p.c->media, 3, &r, no_attr, NULL), 0);
    CHECK_EQ(cm_record_at(&p.c->media, 3, &got, &whole), 0);
    CHECK(whole);
    CHECK(memcmp(&got, &r, CM_RECORD_BODY_BYTES) == 0);
    CHECK_EQ(got.state, state); /* writing the body alone does not change it */
    CHECK(!whole_at(&p, 2) && !whole_at(&p, 4));
    CHECK_EQ(cm_record_drop(&p.c->media, 3), 0);
    CHECK(!whole_at(&p, 3));
    pool_end(&p);
}

/* A write is torn at any word, with the words in any order: the old record is left, the new or
 * none. */
static void test_torn(void)
{
    struct pool p;
    struct cm_record old = some_record(1), new = some_record(1);
    uint64_t rng = 4;
    new.incarnation = 500;
    new.size = 6000;
    new.proof[8] = 200;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(put_record(p.c, 3, &old), 0);
    CHECK_EQ(put_record(p.c, 3, &new), 0);
    for (int i = 0; i < 40000; i++) {
        CASE("i %d", i);
        uint64_t arrived = i < 16 ? (UINT64_C(1) << i) - 1 : next_random(&rng);
        uint64_t *w = (uint64_t *)(void *)record_of(p.c, 3);
        for (unsigned k = 0; k < CM_RECORD_BODY_BYTES / 8; k++)
            w[k] = ((const uint64_t *)(const void *)(arrived >> k & 1 ? &new : &old))[k];
        bool same = memcmp(w, &old, CM_RECORD_BODY_BYTES) == 0 ||
                    memcmp(w, &new, CM_RECORD_BODY_BYTES) == 0;
        CHECK_EQ(whole_at(&p, 3), same);
    }
    pool_end(&p);
}

/* A record copied to another place, or left over from another epoch or pool, does not count. */
static void test_belongs(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(put_record(p.c, 3, &r), 0);
    *record_of(p.c, 4) = *record_of(p.c, 3);
    CHECK(whole_at(&p, 3) && !whole_at(&p, 4));
    uint64_t key = p.c->media.check_key;
    p.c->media.check_key = cm_format_check_key(p.c->super.now.uuid, p.c->super.now.epoch + 1);
    CHECK(!whole_at(&p, 3));
    p.c->media.check_key = key;
    CHECK(whole_at(&p, 3));
    pool_end(&p);
}

static void test_no_id(void)
{
    struct pool p;
    struct cm_record r = { .incarnation = 7 };
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(put_record(p.c, 3, &r), 0);
    CHECK(!whole_at(&p, 3)); /* zero is no id, even with a right sum */
    pool_end(&p);
}

/* What is said of regions counts for one place and one incarnation. */
static void test_regions(void)
{
    struct pool p;
    struct cm_record r = some_record(1), got;
    struct cm_record_regions g = { 0 }, seen;
    bool whole;
    pool_make(&p, MIB, 0);
    pool_seed(&p, 1); /* a check of 16 bits misses one of 65536 changes */
    REQUIRE(pool_up(&p) == 0);
    const struct cm_media *m = &p.c->media;
    g = (struct cm_record_regions){ .intents = UINT64_C(0x8000000100000001), .known = true };
    g.boot = 77;
    g.dirty = true;
    for (unsigned i = 0; i < CM_REGIONS; i++)
        g.since[i] = (uint8_t)(i * 5);
    cm_record_regions(m, 3, record_of(p.c, 3), &seen); /* never written */
    CHECK(!seen.known && seen.unknown == UINT64_MAX && seen.intents == UINT64_MAX);
    CHECK_EQ(cm_record_write(m, 3, &r, no_attr, &g), 0);
    CHECK_EQ(cm_record_at(m, 3, &got, &whole), 0);
    CHECK(whole);
    cm_record_regions(m, 3, &got, &seen);
    CHECK(seen.known && seen.dirty && seen.boot == 77 && seen.intents == g.intents);
    CHECK(seen.unknown == 0 && memcmp(seen.since, g.since, sizeof(g.since)) == 0);
    cm_record_regions(m, 4, &got, &seen);
    CHECK(!seen.known && seen.intents == UINT64_MAX);
    CHECK_EQ(cm_record_write_intents(m, 3, r.incarnation, 0), 0);
    CHECK_EQ(cm_record_at(m, 3, &got, &whole), 0);
    cm_record_regions(m, 3, &got, &seen);
    CHECK(seen.known && seen.intents == 0);
    got.incarnation++; /* the next one finds nothing of it */
    cm_record_regions(m, 3, &got, &seen);
    CHECK(!seen.known && seen.intents == UINT64_MAX);
    got.incarnation--;
    for (unsigned bit = 0; bit < 64; bit++) {
        CASE("bit %u", bit);
        struct cm_record bad = got;
        bad.state ^= UINT64_C(1) << bit;
        cm_record_regions(m, 3, &bad, &seen);
        CHECK(!seen.known && seen.dirty && seen.boot == UINT32_MAX && seen.unknown == 0);
        bad = got;
        bad.since[bit % CM_SINCE_WORDS] ^= 1;
        cm_record_regions(m, 3, &bad, &seen);
        CHECK(seen.known && seen.unknown >> bit % CM_SINCE_WORDS * CM_SINCES & 1);
        bad = got;
        bad.intents[bit % 2] ^= UINT64_C(1) << bit;
        cm_record_regions(m, 3, &bad, &seen);
        CHECK_EQ(seen.intents, UINT64_C(0xffffffff) << bit % 2 * 32);
    }
    pool_end(&p);
}

/* The buckets of an id, and their content. */
static void test_load(void)
{
    struct pool p;
    struct cm_record_set s;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    for (uint64_t n = 1; n < 200; n++) {
        CASE("n %" PRIu64, n);
        cm_file_id id = id_of(n);
        cm_record_load(&p.c->media, &id, &s);
        CHECK_EQ(s.n, CM_RECORD_PLACES);
        CHECK(s.first[0] != s.first[1]);
        unsigned i = (unsigned)n % CM_RECORD_PLACES;
        uint64_t place = cm_record_place(&s, i);
        CHECK_EQ(place, s.first[i / CM_RECORD_WAYS] + i % CM_RECORD_WAYS);
        CHECK(place < p.c->media.geo.record_buckets * CM_RECORD_WAYS);
        struct cm_record r = some_record(n);
        CHECK_EQ(put_record(p.c, place, &r), 0);
        cm_record_load(&p.c->media, &id, &s);
        CHECK(cm_record_names(&s, i, &id));
        CHECK_EQ(s.record[i].incarnation, 100 + n);
    }
    pool_end(&p);
}

/* ---- Media that fail ------------------------------------------------------------------------- */

enum {
    WRITE,
    WRITE_BODY,
    INTENTS,
    SETTLE_INTENTS,
    STATE,
    SINCE,
    SIZE,
    SETTLE,
    EXPIRY,
    ATTR,
    STOP,
    DROP
};

static int record_call(struct cm_media *m, unsigned call)
{
    struct cm_record r = some_record(1);
    const struct cm_record_regions g = { .known = true, .boot = 1 };
    switch (call) {
    case WRITE:
        return cm_record_write(m, 3, &r, no_attr, &g);
    case WRITE_BODY:
        return cm_record_write(m, 3, &r, no_attr, NULL);
    case INTENTS:
        return cm_record_write_intents(m, 3, r.incarnation, 5);
    case SETTLE_INTENTS:
        return cm_record_settle_intents(m, 3);
    case STATE:
        return cm_record_write_state(m, 3, r.incarnation, &g);
    case SINCE:
        return cm_record_write_since(m, 3, r.incarnation, &g);
    case SIZE:
        return cm_record_write_size(m, 3, &r);
    case SETTLE:
        return cm_record_settle(m, 3);
    case EXPIRY:
        return cm_record_write_expiry(m, 3, &r, 1);
    case ATTR:
        return cm_record_write_attr(m, 3, &r.id, (struct cm_record_attr){ true, 1 });
    case STOP:
        return cm_record_stop(m, 3);
    default:
        return cm_record_drop(m, 3);
    }
}

/* Whichever step of a call fails, the call says so, and does no later step. */
static void test_steps_fail(void)
{
    static const unsigned steps[] = { [WRITE] = CM_SINCE_WORDS + 1 + 2 + 3,
                                      [WRITE_BODY] = 4,
                                      [INTENTS] = 2,
                                      [SETTLE_INTENTS] = 1,
                                      [STATE] = 1,
                                      [SINCE] = CM_SINCE_WORDS,
                                      [SIZE] = 2,
                                      [SETTLE] = 1,
                                      [EXPIRY] = 2,
                                      [ATTR] = 2,
                                      [STOP] = 1,
                                      [DROP] = 3 };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    struct cm_media *m = &p.c->media;
    for (unsigned call = WRITE; call <= DROP; call++)
        for (unsigned step = 1; step <= steps[call] + 1; step++) {
            CASE("call %u, step %u", call, step);
            count_begin(m, step);
            CHECK_EQ(record_call(m, call), step > steps[call] ? 0 : CM_EIO);
            CHECK_EQ(count_end(m), step > steps[call] ? steps[call] : step);
        }
    struct cm_record r = some_record(1);
    r.size = CM_SIZE_UNKNOWN; /* need not be durable */
    count_begin(m, 0);
    CHECK_EQ(cm_record_write_size(m, 3, &r), 0);
    CHECK_EQ(count_end(m), 1);
    pool_end(&p);
}

static const struct cm_persist_ops *flushed_by;
static uint64_t flushed_from, flushed_lines; /* a bit for each line from there on */

static int flush_noted(void *ctx, const void *at, size_t n)
{
    for (uintptr_t p = (uintptr_t)at / 64; p <= ((uintptr_t)at + n - 1) / 64; p++)
        flushed_lines |= UINT64_C(1) << (p - flushed_from);
    return flushed_by->flush(ctx, at, n);
}

/* The lines of a record that a call writes back: all that it has stored. */
static void test_flushed(void)
{
    static const unsigned lines[] = {
        [WRITE] = 15,  [WRITE_BODY] = 3 + 8, [SETTLE_INTENTS] = 2, [SIZE] = 8,
        [SETTLE] = 15, [EXPIRY] = 8,         [ATTR] = 8,           [DROP] = 3
    };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    struct cm_media *m = &p.c->media;
    struct cm_persist_ops ops = *m->ops;
    flushed_by = m->ops;
    flushed_from = (uintptr_t)record_of(p.c, 3) / 64;
    ops.flush = flush_noted;
    for (unsigned call = WRITE; call <= DROP; call++) {
        CASE("call %u", call);
        flushed_lines = 0;
        m->ops = &ops;
        CHECK_EQ(record_call(m, call), 0);
        m->ops = flushed_by;
        CHECK_EQ(flushed_lines, call < sizeof(lines) / sizeof(lines[0]) ? lines[call] : 0);
    }
    pool_end(&p);
}

/* Each record that was ever written is settled, and nothing else. */
static void test_settle_set(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    struct cm_record_set s;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    struct cm_media *m = &p.c->media;
    cm_record_load(m, &r.id, &s);
    CHECK_EQ(s.n, CM_RECORD_PLACES);
    for (unsigned used = 0; used <= s.n; used++) {
        CASE("used %u", used);
        cm_record_load(m, &r.id, &s);
        for (unsigned i = 0; i < s.n; i++)
            CHECK_EQ(cm_record_is_unused(&s, i), i >= used);
        count_begin(m, 0);
        cm_record_settle_set(m, &s);
        CHECK_EQ(count_end(m), used);
        if (used < s.n)
            CHECK_EQ(put_record(p.c, cm_record_place(&s, used), &r), 0);
    }
    pool_end(&p);
}

/* What readers of other processes look at, and what tells them. */
static void test_told(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    const struct cm_media *m = &p.c->media;
    for (uint64_t place = 0; place < 40; place++) {
        CASE("place %" PRIu64, place);
        CHECK_EQ(put_record(p.c, place, &r), 0);
        const uint64_t *told = cm_record_told(m, place);
        CHECK(told == &record_of(p.c, place)->incarnation);
        CHECK_EQ(cm_record_place_of(m, told), place);
        CHECK_EQ(*told, 101);
        CHECK_EQ(cm_record_stop(m, place), 0);
        CHECK_EQ(*told, 0);
        CHECK(!whole_at(&p, place));
    }
    pool_end(&p);
}

/* A name is stored in the place of its record; whichever step fails, the call says so. */
static void test_names(void)
{
    struct pool p;
    struct cm_name got, none;
    const cm_file_id id = id_of(7), other = id_of(8);
    memset(&none, 0, sizeof(none));
    pool_make_as(&p, MIB, 0, CM_CREATE_NAMES);
    REQUIRE(pool_up(&p) == 0);
    struct cm_media *m = &p.c->media;
    for (uint64_t place = 0; place < 20; place++) {
        CASE("place %" PRIu64, place);
        struct cm_name name = { "name A" };
        name.text[5] = (char)('A' + place);
        for (unsigned fails = 1; fails <= 2; fails++) {
            count_begin(m, fails);
            CHECK_EQ(cm_name_write(m, place, &id, &name), CM_EIO);
            CHECK_EQ(count_end(m), fails);
            cm_name_read(m, place, &id, &got);
            CHECK(memcmp(&got, &none, sizeof(got)) == 0);
        }
        count_begin(m, 0);
        CHECK_EQ(cm_name_write(m, place, &id, &name), 0);
        CHECK_EQ(count_end(m), 2);
        count_begin(m, 0);
        CHECK_EQ(cm_name_write(m, place, &id, &name), 0); /* it is there */
        CHECK_EQ(count_end(m), 0);
        CHECK(memcmp(p.base + m->geo.name_offset + place * sizeof(name), &name, sizeof(name)) == 0);
        CHECK(record_of(p.c, place)->words[CM_RECORD_NAME] != 0);
        cm_name_read(m, place, &other, &got);
        CHECK(memcmp(&got, &none, sizeof(got)) == 0);
    }
    for (uint64_t place = 0; place < 20; place++) {
        CASE("again, place %" PRIu64, place);
        cm_name_read(m, place, &id, &got);
        CHECK_EQ(got.text[5], (char)('A' + place));
        count_begin(m, 1);
        CHECK_EQ(cm_name_write(m, place, &id, &none), CM_EIO);
        CHECK_EQ(count_end(m), 1);
        if (place % 2)
            cm_name_clear(m, place);
        else
            CHECK_EQ(cm_name_write(m, place, &id, &none), 0);
        CHECK_EQ(record_of(p.c, place)->words[CM_RECORD_NAME], 0);
        cm_name_read(m, place, &id, &got);
        CHECK(memcmp(&got, &none, sizeof(got)) == 0);
    }
    pool_end(&p);
}

/* Each record in use is counted: those at the ends of the table, too. */
static void test_estimate(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    const struct cm_media *m = &p.c->media;
    const uint64_t all = m->geo.record_buckets * CM_RECORD_WAYS;
    CHECK_EQ(cm_record_estimate(m), 0);
    CHECK_EQ(put_record(p.c, 0, &r), 0);
    CHECK_EQ(cm_record_estimate(m), 1);
    CHECK_EQ(put_record(p.c, all - 1, &r), 0);
    CHECK_EQ(cm_record_estimate(m), 2);
    for (uint64_t place = 0; place < all; place++)
        CHECK_EQ(put_record(p.c, place, &r), 0);
    CHECK_EQ(cm_record_estimate(m), all);
    pool_end(&p);
}

/* When a file was used last: for its id and its place, or nothing. */
static void test_use(void)
{
    struct pool p;
    struct cm_record r = some_record(1);
    uint32_t seconds = 1;
    uint64_t hits = 1;
    REQUIRE(pool_new(&p, MIB) == 0);
    const struct cm_media *m = &p.c->media;
    CHECK_EQ(put_record(p.c, 3, &r), 0);
    CHECK(!cm_record_use(m, 3, record_of(p.c, 3), &seconds, &hits));
    CHECK(seconds == 0 && hits == 0);
    cm_record_write_use(m, 3, &r.id, 1700000000, UINT64_C(1) << 40);
    CHECK(cm_record_use(m, 3, record_of(p.c, 3), &seconds, &hits));
    CHECK(seconds == 1700000000 && hits == UINT64_C(1) << 40);
    CHECK(!cm_record_use(m, 4, record_of(p.c, 3), &seconds, &hits));
    CHECK(seconds == 0 && hits == 0);
    record_of(p.c, 3)->words[CM_RECORD_HITS]++;
    CHECK(!cm_record_use(m, 3, record_of(p.c, 3), &seconds, &hits));
    CHECK_EQ(cm_record_write_expiry(m, 3, record_of(p.c, 3), INT64_C(1700000000500000000)), 0);
    CHECK_EQ(cm_record_expiry(m, 3, record_of(p.c, 3)), INT64_C(1700000000000000000));
    CHECK_EQ(cm_record_expiry(m, 4, record_of(p.c, 3)), 0);
    pool_end(&p);
}

/* A record that cannot be read says nothing. */
static void test_unreadable(void)
{
    struct pool p;
    struct cm_record_set s = { .first = { 0, 16 }, .n = 32 };
    struct cm_record r, none;
    bool whole = true;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    REQUIRE(pool_new(&p, MIB) == 0);
    memset(&r, 0x55, sizeof(r));
    memset(&none, 0, sizeof(none));
    os_protect(record_of(p.c, 0), BLK, OS_NOTHING);
    CHECK_EQ(cm_record_at(&p.c->media, 3, &r, &whole), CM_EIO);
    os_protect(record_of(p.c, 0), BLK, OS_WRITE);
    s.unreadable[3] = true; /* and is not taken for one that was never written */
    CHECK(!cm_record_is_unused(&s, 3) && cm_record_is_unused(&s, 4));
    CHECK(!whole);
    CHECK(memcmp(&r, &none, sizeof(r)) == 0);
    pool_end(&p);
}

/* ---- Which record goes ----------------------------------------------------------------------- */

#define TABLE CM_RECORD_PLACES /* the smallest table: two buckets, the same for every file */

/* Closed files lose their records to new files, any of them. */
static void test_eviction(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 1; n <= TABLE + 2; n++) {
        CASE("n %" PRIu64, n);
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 5, n), 5);
        detach(f);
    }
    CHECK_EQ(STAT(p.c, records_evicted), 2);
    CHECK_EQ(STAT(p.c, unrecorded), 0);
    pool_again(&p);
    unsigned kept = 0;
    for (uint64_t n = TABLE + 2; n >= 1; n--) { /* a cold one takes another one's record again */
        CASE("n %" PRIu64, n);
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        kept += info_of(f).kept;
        CHECK_EQ(hits(f, 0, 5, n), info_of(f).kept ? 5 : 0);
        detach(f);
    }
    CHECK(kept >= 2 && kept <= TABLE);
    pool_end(&p);
}

/* The line that was logged last, and how many were. */
static char line[512];
static int64_t lines;
static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_INFO);
    (void)snprintf(line, sizeof(line), "%s", text);
    lines++;
}

/* The log says once that files are forgotten for lack of records, and how many have one. */
static void test_eviction_said(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    p.o.log = keep_line;
    REQUIRE(pool_up(&p) == 0);
    lines = 0;
    for (uint64_t n = 1; n <= TABLE + 3; n++) {
        CASE("n %" PRIu64, n);
        detach(attach(&p, n, 100 * BLK, 1, 0));
        CHECK_EQ(lines, n > TABLE);
    }
    cm_info info = CM_INFO_INIT;
    char number[32];
    CHECK_EQ(cm_get_info(p.c, &info), 0);
    (void)snprintf(number, sizeof(number), " %" PRIu64 " files", info.max_files);
    CHECK(strstr(line, number) != NULL && strstr(line, "max_files") != NULL);
    pool_end(&p);
}

/* A file is cold only because a validator is racy: the log says so once. */
static void test_racy_said(void)
{
    static const struct {
        uint32_t recorded, presented, flags;
        uint64_t version;
        int64_t lines;
    } cases[] = {
        { CM_RACY_TIMES, 0, 0, 7, 1 },
        { CM_RACY_TIMES, 0, CM_SOLE_WRITER, 7, 1 },
        { CM_RACY_WRITER, CM_RACY_TIMES, CM_SOLE_WRITER, 7, 1 },
        { 0, CM_RACY_TIMES, CM_SOLE_WRITER, 7, 1 },
        { 0, 0, CM_SOLE_WRITER, 7, 0 },                          /* warm */
        { CM_RACY_TIMES, 0, CM_EXCLUSIVE, 7, 0 },                /* warm */
        { CM_RACY_TIMES, 0, CM_SOLE_WRITER, 8, 0 },              /* it has changed */
        { CM_RACY_VOLUME, CM_RACY_VOLUME, CM_SOLE_WRITER, 7, 0 } /* nothing helps */
    };
    struct pool p;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE("i %u", i);
        cm_validator v = val(100 * BLK, 7), next = val(100 * BLK, cases[i].version);
        v.racy = cases[i].recorded;
        next.racy = cases[i].presented;
        REQUIRE(pool_new(&p, MIB) == 0);
        p.c->opts.log = keep_line;
        lines = 0;
        detach(attach_v(&p, 1, &v, CM_SOLE_WRITER));
        at_store_relaxed(&p.c->racy_said, 1u); /* that of a writer is another line */
        CHECK_EQ(lines, v.racy == CM_RACY_WRITER);
        lines = 0;
        detach(attach_v(&p, 1, &next, cases[i].flags));
        CHECK_EQ(lines, cases[i].lines);
        CHECK(lines == 0 || strstr(line, "cm_file_revalidate") != NULL);
        next.racy = CM_RACY_TIMES; /* once is enough */
        detach(attach_v(&p, 1, &next, cases[i].flags));
        CHECK(cases[i].lines == 0 || lines == 1);
        pool_end(&p);
    }
}

/* Records of open files stay. If all of both buckets belong to open files, one more file works
 * without a record, is counted, and is cold after a reopen. The earlier files do not change. */
static void test_buckets_full(void)
{
    struct pool p;
    cm_file *f[TABLE + 1];
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 0; n <= TABLE; n++) {
        CASE("n %" PRIu64, n);
        CHECK_EQ(STAT(p.c, unrecorded), 0);
        f[n] = attach(&p, n + 1, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f[n], 0, 5, n), 5);
    }
    CHECK_EQ(cm_object_of(f[TABLE])->place, CM_NO_PLACE);
    CHECK_EQ(STAT(p.c, unrecorded), 1);
    for (uint64_t n = 0; n <= TABLE; n++) {
        CASE("n %" PRIu64, n);
        CHECK_EQ(hits(f[n], 0, 5, n), 5);
    }
    cm_bracket w = begin_write(f[TABLE], 0, BLK); /* it can be written, too */
    CHECK_EQ(look(f[TABLE], 0, TABLE), MISS);
    CHECK(cm_write_end(f[TABLE], &w, NULL) >= 0);
    CHECK_EQ(cm_file_abort(f[TABLE]), 0);
    CHECK_EQ(hits(f[TABLE], 0, 5, TABLE), 0);
    CHECK_EQ(put_all(f[TABLE], 0, 5, TABLE), 5);
    pool_again(&p);
    for (uint64_t n = 0; n <= TABLE; n++) {
        CASE("n %" PRIu64, n);
        f[n] = attach(&p, n + 1, 100 * BLK, 1, 0);
        CHECK_EQ(info_of(f[n]).kept, n < TABLE);
        CHECK_EQ(hits(f[n], 0, 5, n), n < TABLE ? 5 : 0);
    }
    CHECK_EQ(STAT(p.c, unrecorded), 1);
    CHECK_EQ(STAT(p.c, records_evicted), 0);
    pool_end(&p);
}

/* A new file takes a place in the emptier of its buckets. */
static void test_emptier_bucket(void)
{
    struct pool p;
    int64_t in[CM_RECORD_CHOICES] = { 0 };
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t n = 0; n < TABLE; n++) {
        CASE("n %" PRIu64, n);
        cm_file *f = attach(&p, n + 1, 100 * BLK, 1, 0);
        in[cm_object_of(f)->place / CM_RECORD_WAYS]++;
        CHECK(in[0] - in[1] >= -1 && in[0] - in[1] <= 1);
    }
    pool_end(&p);
}

/* A table of one bucket, which a superblock may describe: it is read once. */
static void test_one_bucket(void)
{
    struct pool p;
    struct cm_record_set s;
    cm_file_id id = id_of(1);
    pool_make(&p, MIB, 8);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(&p, i)->record_buckets = 1;
        super_seal(super_at(&p, i));
    }
    REQUIRE(pool_up(&p) == 0);
    cm_record_load(&p.c->media, &id, &s);
    CHECK_EQ(s.n, CM_RECORD_WAYS);
    for (uint64_t n = 0; n <= CM_RECORD_WAYS; n++)
        (void)attach(&p, n + 1, 100 * BLK, 1, 0);
    CHECK_EQ(STAT(p.c, unrecorded), 1);
    pool_again(&p);
    CHECK_EQ(info_of(attach(&p, 1, 100 * BLK, 1, 0)).kept, 1);
    pool_end(&p);
}

/* One file too many is attached first after a reopen. It takes a record, but not that of an open
 * file. */
static void test_open_not_evicted(void)
{
    struct pool p;
    pool_make(&p, MIB, 8);
    REQUIRE(pool_up(&p) == 0);
    cm_file *first = attach(&p, 1, 100 * BLK, 1, 0); /* the oldest, and open */
    CHECK_EQ(put_all(first, 0, 5, 1), 5);
    for (uint64_t n = 2; n <= 4 * TABLE; n++)
        detach(attach(&p, n, 100 * BLK, 1, 0));
    CHECK_EQ(hits(first, 0, 5, 1), 5);
    pool_again(&p);
    first = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(first).kept, 1);
    CHECK_EQ(hits(first, 0, 5, 1), 5);
    pool_end(&p);
}

/* Two whole records of one id prove nothing, wherever they are: neither counts, and both are
 * dropped. */
static void two_records(bool other_bucket)
{
    struct pool p;
    struct cm_record_set s;
    cm_file_id id = id_of(1);
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    cm_file *g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    CHECK_EQ(put_all(g, 0, 5, 2), 5);
    cm_record_load(&p.c->media, &id, &s);
    uint64_t place = cm_object_of(f)->place,
             own = place - s.first[0] < CM_RECORD_WAYS ? s.first[0] : s.first[1];
    uint64_t other = own == s.first[0] && other_bucket ? s.first[1] : s.first[0];
    other = (other_bucket ? other : own) + (place + 3) % CM_RECORD_WAYS;
    struct cm_record twin = *record_of(p.c, place);
    twin.incarnation = info_of(g).incarnation; /* one that this pool has given */
    CHECK_EQ(put_record(p.c, other, &twin), 0);
    CHECK(other != cm_object_of(g)->place);
    detach(f);
    detach(g);
    pool_again(&p);
    CHECK(whole_at(&p, place) && whole_at(&p, other));
    f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 5, 1), 0);
    CHECK(whole_at(&p, place) + whole_at(&p, other) == 1);
    cm_record_load(&p.c->media, &id, &s);
    unsigned left = 0;
    for (unsigned i = 0; i < s.n; i++)
        left += cm_record_names(&s, i, &id);
    CHECK_EQ(left, 1); /* the new one */
    CHECK_EQ(STAT(p.c, escalations), 0);
    g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(hits(g, 0, 5, 2), 5); /* of another file */
    pool_end(&p);
}
static void test_two_records(void)
{
    CALL(two_records(false));
    CALL(two_records(true));
}

/* Forgetting a file that is not attached finds its record in both buckets. */
static void test_forget_closed(void)
{
    for (uint64_t n = 1; n <= 40; n++) {
        CASE("n %" PRIu64, n);
        struct pool p;
        cm_file_id id = id_of(n);
        REQUIRE(pool_new(&p, MIB) == 0);
        for (uint64_t k = 100; k < 100 + n % 4; k++) /* so that both buckets occur */
            detach(attach(&p, k, 100 * BLK, 1, 0));
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(put_all(f, 0, 5, n), 5);
        uint64_t place = cm_object_of(f)->place;
        detach(f);
        CHECK_EQ(cm_forget(p.c, &id), 0);
        CHECK(!whole_at(&p, place));
        f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(hits(f, 0, 5, n), 0);
        pool_end(&p);
    }
}

/* Garbage in the table is no record. A damaged record costs only its file's blocks. */
static void test_damaged_record(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0), *g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    CHECK_EQ(put_all(g, 0, 5, 2), 5);
    uint64_t place = cm_object_of(f)->place;
    pool_down(&p);
    pool_up(&p);
    record_of(p.c, place)->proof[9] ^= 1;
    f = attach(&p, 1, 100 * BLK, 1, 0);
    g = attach(&p, 2, 100 * BLK, 1, 0);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(hits(f, 0, 5, 1), 0);
    CHECK_EQ(info_of(g).kept, 1);
    CHECK_EQ(hits(g, 0, 5, 2), 5);
    pool_end(&p);
}

static void test_garbage_table(void)
{
    struct pool p;
    uint64_t rng = 6;
    REQUIRE(pool_new(&p, MIB) == 0);
    uint64_t *w = (uint64_t *)(void *)record_of(p.c, 0);
    uint64_t words = p.c->media.geo.record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record) / 8;
    for (uint64_t i = 0; i < words; i++)
        w[i] = next_random(&rng);
    for (uint64_t n = 1; n < 40; n++) {
        CASE("n %" PRIu64, n);
        cm_file *f = attach(&p, n, 100 * BLK, 1, 0);
        CHECK_EQ(info_of(f).kept, 0);
        CHECK_EQ(put_all(f, 0, 2, n), 2);
        CHECK_EQ(hits(f, 0, 2, n), 2);
        detach(f);
    }
    pool_end(&p);
}

/* ---- How many files find a record ------------------------------------------------------------ */

/* Attaches files 1..n, all at once, and closes the pool. Attaches them again, and returns how many
 * are cold. `first`: how many come before the first cold one. */
static uint64_t cold_of(struct pool *p, uint64_t n, uint64_t *first)
{
    cm_file **f = calloc(n, sizeof(cm_file *));
    uint64_t cold = 0;
    *first = n;
    for (uint64_t i = 0; f && i < n; i++)
        f[i] = attach(p, 1 + i, 100 * BLK, 1, 0);
    for (uint64_t i = 0; f && i < n; i++)
        detach(f[i]);
    pool_again(p);
    for (uint64_t i = 0; f && i < n; i++)
        f[i] = attach(p, 1 + i, 100 * BLK, 1, 0);
    for (uint64_t i = 0; f && i < n; i++) {
        if (!info_of(f[i]).kept && cold++ == 0)
            *first = i;
        detach(f[i]);
    }
    free(f);
    return cold;
}

/* Twice as many records as files: none is cold the second time. */
static void test_half_full(void)
{
    struct pool p;
    uint64_t first;
    pool_make(&p, 16 * MIB, 2070);
    pool_seed(&p, 1);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cold_of(&p, 1003, &first), 0);
    pool_end(&p);
}

/* Measures how many of a million files are cold, by the load of the table. */
static void test_loss_by_load(void)
{
    static const unsigned percent[] = { 50, 80, 90, 95 }, most[] = { 0, 0, 200, 4000 };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        struct pool p;
        uint64_t first;
        pool_make(&p, 64 * MIB, 12000);
        pool_seed(&p, 1 + i);
        REQUIRE(pool_up(&p) == 0);
        uint64_t records = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
        uint64_t n = records * percent[i] / 100, cold = cold_of(&p, n, &first);
        printf("# %llu records, %u %% full: %llu files cold, %.0f of a million\n",
               (unsigned long long)records, percent[i], (unsigned long long)cold,
               (double)cold * 1e6 / (double)n);
        CHECK(cold * 1000000 <= n * most[i]);
        pool_end(&p);
    }
}

/* More files than the table takes, all attached. Those that came first are kept, and every other
 * one is counted. */
static void test_first_are_kept(void)
{
    struct pool p;
    uint64_t first;
    pool_make(&p, 16 * MIB, 1000);
    pool_seed(&p, 1);
    REQUIRE(pool_up(&p) == 0);
    uint64_t records = p.c->media.geo.record_buckets * CM_RECORD_WAYS, n = 2 * records;
    for (uint64_t i = 0; i < n; i++)
        (void)attach(&p, 1 + i, 100 * BLK, 1, 0);
    uint64_t lost = (uint64_t)STAT(p.c, unrecorded);
    CHECK(lost >= n - records && lost < n - records * 98 / 100);
    CHECK_EQ(STAT(p.c, records_evicted), 0);
    pool_again(&p);
    CHECK_EQ(cold_of(&p, n, &first), lost);
    CHECK(first >= records * 8 / 9);
    pool_end(&p);
}

static const struct harness_test tests[] = {
    TEST(write_and_drop),
    TEST(torn),
    TEST(belongs),
    TEST(no_id),
    TEST(regions),
    TEST(load),
    TEST(eviction),
    TEST(eviction_said),
    TEST(racy_said),
    TEST(buckets_full),
    TEST(emptier_bucket),
    TEST(one_bucket),
    TEST(open_not_evicted),
    TEST(two_records),
    TEST(forget_closed),
    TEST(damaged_record),
    TEST(garbage_table),
    TEST(steps_fail),
    TEST(names),
    TEST(flushed),
    TEST(use),
    TEST(estimate),
    TEST(settle_set),
    TEST(told),
    TEST(unreadable),
    TEST(half_full),
    TEST(loss_by_load),
    TEST(first_are_kept),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
