/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files_name.c - the names of files: set, kept, given up, and never those of another file.
 */
#include "files_common.h"

#include "file_failing.h"

#define PLACES 32u /* records of the smallest table: every file may have every place */

static int names_new(struct pool *p, uint64_t max_files)
{
    pool_make_as(p, MIB, max_files, CM_CREATE_NAMES);
    return pool_up(p);
}

static cm_file_info lookup(struct pool *p, uint64_t n)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    const cm_file_id id = id_of(n);
    CHECK_EQ(cm_file_lookup(p->c, &id, NULL, &i), 0);
    return i;
}

static void expect_name(const cm_file_info *i, const char *want)
{
    if (strcmp(i->name, want) != 0)
        printf("# named '%s', not '%s'\n", i->name, want);
    CHECK(strcmp(i->name, want) == 0);
}

/* The name of an attached file, by all calls that tell it. */
static void named(struct pool *p, cm_file *f, const char *want)
{
    cm_file_info i = info_of(f);
    const cm_file_id id = i.id;
    cm_file_iter *it;
    CALL(expect_name(&i, want));
    i = lookup(p, id.lo);
    CALL(expect_name(&i, want));
    CHECK_EQ(cm_files_begin(p->c, 0, &it), 0);
    i.id.lo = ~id.lo;
    while (i.id.lo != id.lo && cm_files_next(it, NULL, &i) == 0)
        ;
    cm_files_end(it);
    CHECK_EQ(i.id.lo, id.lo);
    CALL(expect_name(&i, want));
}
#define named(...) CALL(named(__VA_ARGS__)) /* its checks say who called */

static void remembered(struct pool *p, uint64_t n, const char *want)
{
    const cm_file_info i = lookup(p, n);
    CALL(expect_name(&i, want));
}
#define remembered(...) CALL(remembered(__VA_ARGS__)) /* its checks say who called */

/* From now on stores to [from, to) of the pool fail. */
static void break_again(struct pool *p, uint64_t from, uint64_t to)
{
    bad_from = p->base + from;
    bad_to = p->base + to;
}

static struct cm_name *name_of(cm_cache *c, uint64_t place)
{
    uint8_t *p = c->media.base + c->media.geo.name_offset + place * sizeof(struct cm_name);
    return (struct cm_name *)(void *)p;
}

static uint64_t *word_of(cm_cache *c, uint64_t place)
{
    return &record_of(c, place)->words[CM_RECORD_NAME];
}

/* Set, changed, removed; of any bytes and of every length; also after the next open. */
static void test_set(void)
{
    struct pool p;
    char text[CM_FILE_NAME_MAX + 2];
    REQUIRE(names_new(&p, 0) == 0);
    CHECK_EQ(pool_info(p.c).names_bytes,
             p.c->media.geo.record_buckets * CM_RECORD_WAYS * sizeof(struct cm_name));
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0), *g = attach(&p, 2, 9 * BLK, 7, 0);
    named(&p, f, "");
    CHECK_EQ(cm_file_set_name(f, "a/b"), 0);
    CHECK_EQ(cm_file_set_name(g, "\xff\n\x80\""), 0);
    named(&p, f, "a/b");
    named(&p, g, "\xff\n\x80\"");
    for (size_t n = 1; n <= CM_FILE_NAME_MAX; n++) {
        CASE("length %zu", n);
        memset(text, 'a' + (int)(n % 26), n);
        text[n] = 0;
        CHECK_EQ(cm_file_set_name(f, text), 0);
        named(&p, f, text);
    }
    memset(text, 'x', CM_FILE_NAME_MAX + 1);
    text[CM_FILE_NAME_MAX + 1] = 0;
    CHECK_EQ(cm_file_set_name(f, text), CM_EINVAL);
    text[CM_FILE_NAME_MAX] = 0;
    CHECK_EQ(cm_file_set_name(f, text), 0);
    detach(f);
    remembered(&p, 1, text);
    pool_again(&p);
    remembered(&p, 1, text);
    remembered(&p, 2, "\xff\n\x80\"");
    f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(info_of(f).kept, 1);
    named(&p, f, text);
    CHECK_EQ(cm_file_set_name(f, "short"), 0);
    named(&p, f, "short");
    CHECK_EQ(cm_file_set_name(f, ""), 0);
    named(&p, f, "");
    CHECK_EQ(cm_file_set_name(f, "again"), 0);
    CHECK_EQ(cm_file_set_name(f, NULL), 0);
    named(&p, f, "");
    detach(f);
    pool_again(&p);
    remembered(&p, 1, "");
    pool_end(&p);
}

/* A program with a shorter struct gets what it knows. */
static void test_shorter_struct(void)
{
    struct pool p;
    cm_file_info i;
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    memset(&i, 'x', sizeof(i));
    i.struct_size = offsetof(cm_file_info, name);
    CHECK_EQ(cm_file_get_info(f, &i), 0);
    CHECK_EQ(i.struct_size, offsetof(cm_file_info, name));
    CHECK_EQ(i.name[0], 'x');
    pool_end(&p);
}

/* A pool without a table says so, and its records stay as they are. */
static void test_no_table(void)
{
    struct pool p;
    char text[CM_FILE_NAME_MAX + 2] = { 0 };
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(pool_info(p.c).names_bytes, 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    const uint64_t place = cm_object_of(f)->place;
    CHECK_EQ(cm_file_set_name(f, "name"), CM_ENOTSUP);
    CHECK_EQ(cm_file_set_name(f, ""), CM_ENOTSUP);
    memset(text, 'x', sizeof(text) - 1);
    CHECK_EQ(cm_file_set_name(f, text), CM_EINVAL);
    CHECK_EQ(cm_file_set_name(NULL, "name"), CM_EHANDLE);
    CHECK_EQ(*word_of(p.c, place), 0);
    *word_of(p.c, place) = 5; /* what a later version may write there */
    detach(f);
    remembered(&p, 1, "");
    f = attach(&p, 1, 9 * BLK, 7, 0);
    named(&p, f, "");
    const cm_file_id id = id_of(1);
    CHECK_EQ(cm_forget(p.c, &id), 0);
    detach(f);
    f = attach(&p, 1, 9 * BLK, 8, 0);
    CHECK_EQ(*word_of(p.c, place), 5);
    pool_end(&p);
}

/* A new version of the file is still the file. A forgotten one is not, whether it was attached or
 * not: its id may be used again. */
static void test_versions(void)
{
    for (unsigned attached = 0; attached < 2; attached++) {
        CASE("attached %u", attached);
        struct pool p;
        const cm_file_id id = id_of(1);
        REQUIRE(names_new(&p, 0) == 0);
        cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
        CHECK_EQ(cm_file_set_name(f, "name"), 0);
        CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
        named(&p, f, "name");
        detach(f);
        f = attach(&p, 1, 9 * BLK, 8, 0);
        CHECK_EQ(info_of(f).kept, 0);
        named(&p, f, "name");
        const uint64_t place = cm_object_of(f)->place;
        if (!attached)
            detach(f);
        CHECK_EQ(cm_forget(p.c, &id), 0);
        CHECK_EQ(*word_of(p.c, place), 0);
        if (!attached)
            f = attach(&p, 1, 9 * BLK, 8, 0);
        CHECK_EQ(cm_object_of(f)->place, place);
        named(&p, f, "");
        CHECK_EQ(cm_file_set_name(f, "new"), 0);
        named(&p, f, "new");
        pool_end(&p);
    }
}

/* The records of other files lie beside that of a file that is forgotten. They stay as they are. */
static void test_forgotten_beside(void)
{
    struct pool p;
    char text[20];
    const cm_file_id id = id_of(3);
    REQUIRE(names_new(&p, 16) == 0);
    CHECK_EQ(p.c->media.geo.record_buckets * CM_RECORD_WAYS, PLACES);
    for (uint64_t n = 1; n <= 10; n++) {
        cm_file *f = attach(&p, n, 9 * BLK, 7, 0);
        snprintf(text, sizeof(text), "file %u", (unsigned)n);
        CHECK_EQ(cm_file_set_name(f, text), 0);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        detach(f);
    }
    CHECK_EQ(cm_forget(p.c, &id), 0);
    for (uint64_t n = 1; n <= 10; n++) {
        CASE("n %u", (unsigned)n);
        snprintf(text, sizeof(text), "file %u", (unsigned)n);
        if (n != 3)
            remembered(&p, n, text);
    }
    CHECK_EQ(pool_info(p.c).kept_files, 9);
    pool_end(&p);
}

/* A new epoch empties the pool: names go with the records. */
static void test_epoch(void)
{
    struct pool p;
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    out_of_order(p.c);
    CHECK_EQ(bump_epoch(p.c), 0);
    named(&p, f, "");
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    named(&p, f, "name");
    pool_end(&p);
}

/* Two hundred files share 32 records. No file ever has the name of another one. One that comes back
 * after its record went to another file has none, even where it was before. */
static void test_records_change_hands(void)
{
    struct pool p;
    char text[20];
    unsigned kept = 0, back = 0;
    uint64_t at[200], rng = 5; /* where a file got its name */
    memset(at, 0xff, sizeof(at));
    pool_make_as(&p, MIB, 16, CM_CREATE_NAMES);
    pool_seed(&p, 11);
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(p.c->media.geo.record_buckets * CM_RECORD_WAYS, PLACES);
    for (unsigned n = 0; n < 6000; n++) {
        CASE("n %u", n);
        const uint64_t id = next_random(&rng) % 200, what = next_random(&rng) % 4;
        cm_file *f = attach(&p, id, 9 * BLK, 7, 0);
        const uint64_t place = cm_object_of(f)->place;
        const bool known = info_of(f).kept;
        snprintf(text, sizeof(text), "file %u", (unsigned)id);
        named(&p, f, known && at[id] == place ? text : "");
        kept += known;
        back += !known && at[id] == place;
        if (!known || what == 0)
            at[id] = UINT64_MAX;
        if (what == 0)
            CHECK_EQ(cm_file_set_name(f, ""), 0);
        if (what == 1) {
            CHECK_EQ(cm_file_set_name(f, text), 0);
            at[id] = place;
        }
        detach(f);
    }
    CHECK(kept > 400 && back > 0);
    pool_end(&p);
}

/* A file lost its record to files without names. It comes back to the same place, and its name does
 * not: the id may stand for another file by now. */
static void test_does_not_come_back(void)
{
    struct pool p;
    unsigned back = 0;
    bool lost = false;
    uint64_t stranger = 1000;
    REQUIRE(names_new(&p, 16) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    const uint64_t place = cm_object_of(f)->place;
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    detach(f);
    for (unsigned n = 0; n < 10000 && back < 3; n++) {
        for (unsigned i = 0; i < PLACES; i++)
            detach(attach(&p, stranger++, 9 * BLK, 7, 0));
        f = attach(&p, 1, 9 * BLK, 7, 0);
        lost |= !info_of(f).kept;
        back += !info_of(f).kept && cm_object_of(f)->place == place;
        named(&p, f, lost ? "" : "name");
        detach(f);
        remembered(&p, 1, lost ? "" : "name");
    }
    CHECK_EQ(back, 3);
    pool_end(&p);
}

/* A file without a record has no name, and the call says so. */
static void test_no_record(void)
{
    struct pool p;
    unsigned without = 0;
    REQUIRE(names_new(&p, 16) == 0);
    for (uint64_t i = 0; i < 40; i++) {
        CASE("i %u", (unsigned)i);
        cm_file *f = attach(&p, i, 9 * BLK, 7, 0);
        const bool none = cm_object_of(f)->place == CM_NO_PLACE;
        CHECK_EQ(cm_file_set_name(f, "name"), none ? CM_NOT_RECORDED : 0);
        CHECK_EQ(cm_file_set_name(f, ""), 0);
        CHECK_EQ(cm_file_set_name(f, "name"), none ? CM_NOT_RECORDED : 0);
        named(&p, f, none ? "" : "name");
        without += none;
    }
    CHECK_EQ(without, 40 - PLACES);
    pool_end(&p);
}

/* Memory that cannot be written or read: no name, and nothing else is lost. */
static void test_media(void)
{
    struct pool p;
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 9, 1), 9);
    CHECK_EQ(cm_file_set_name(f, "old"), 0);
    const uint64_t place = cm_object_of(f)->place;
    const uint64_t word = (uint64_t)((uint8_t *)word_of(p.c, place) - p.base);
    break_range(&p, p.c->media.geo.name_offset, p.c->media.geo.index_offset);
    CHECK_EQ(cm_file_set_name(f, "new"), CM_NOT_RECORDED);
    CHECK_EQ(cm_file_set_name(f, "old"), 0);
    break_again(&p, word, word + 8);
    CHECK_EQ(cm_file_set_name(f, "new"), CM_NOT_RECORDED);
    named(&p, f, "");
    CHECK_EQ(cm_file_set_name(f, ""), CM_NOT_RECORDED);
    break_again(&p, 0, 0);
    CHECK_EQ(cm_file_set_name(f, "new"), 0);
    named(&p, f, "new");
    CHECK_EQ(hits(f, 0, 9, 1), 9);
    pool_end(&p);
}

/* A crash keeps any of the words. What is left is the old name, the new one or none. */
static void test_torn(void)
{
    struct pool p;
    uint64_t was[sizeof(struct cm_name) / 8], is[sizeof(struct cm_name) / 8], rng = 3;
    unsigned seen[3] = { 0 };
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    const uint64_t place = cm_object_of(f)->place;
    CHECK_EQ(cm_file_set_name(f, "the old name of the file"), 0);
    uint64_t *name = (uint64_t *)(void *)name_of(p.c, place), old_word = *word_of(p.c, place);
    memcpy(was, name, sizeof(was));
    CHECK_EQ(cm_file_set_name(f, "its new name, which is longer"), 0);
    const uint64_t new_word = *word_of(p.c, place);
    memcpy(is, name, sizeof(is));
    for (unsigned n = 0; n < 3 * 16; n++) {
        CASE("n %u", n);
        const unsigned from_new = n % 16, word = n / 16;
        for (unsigned i = 0; i < sizeof(was) / 8; i++)
            name[i] = i < 4 && from_new >> i & 1 ? is[i] : was[i];
        *word_of(p.c, place) = word == 0 ? old_word : word == 1 ? new_word : next_random(&rng);
        const cm_file_info info = info_of(f);
        const unsigned what = info.name[0] == 0 ? 0 : strncmp(info.name, "its", 3) == 0 ? 2 : 1;
        seen[what]++;
        if (what > 0)
            CALL(expect_name(&info, what == 1 ? "the old name of the file"
                                              : "its new name, which is longer"));
    }
    CHECK_EQ(seen[1], 1);
    CHECK_EQ(seen[2], 1);
    detach(f);
    remembered(&p, 1, "");
    pool_end(&p);
}

/* Who forges a pool can make the sum right. The name ends where its room ends. */
static void test_forged(void)
{
    struct pool p;
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(cm_file_set_name(f, "x"), 0);
    const uint64_t place = cm_object_of(f)->place;
    const cm_file_id id = id_of(1);
    memset(name_of(p.c, place), 'x', sizeof(struct cm_name));
    *word_of(p.c, place) =
        cm_format_name_sum(p.c->media.check_key, place, &id, name_of(p.c, place));
    named(&p, f, "");
    name_of(p.c, place)->text[CM_FILE_NAME_MAX] = 0;
    *word_of(p.c, place) =
        cm_format_name_sum(p.c->media.check_key, place, &id, name_of(p.c, place));
    CHECK_EQ(strlen(info_of(f).name), CM_FILE_NAME_MAX);
    pool_end(&p);
}

/* A pool that is only looked at tells names, too. */
static void test_looked_at(void)
{
    struct pool p;
    cm_file_iter *it;
    cm_file_info i = { .struct_size = sizeof(i) };
    REQUIRE(names_new(&p, 0) == 0);
    CHECK_EQ(cm_file_set_name(attach(&p, 1, 9 * BLK, 7, 0), "name"), 0);
    pool_down(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_files_begin(p.c, 0, &it), 0);
    CHECK_EQ(cm_files_next(it, NULL, &i), 0);
    CALL(expect_name(&i, "name"));
    CHECK_EQ(cm_files_next(it, NULL, &i), CM_EABSENT);
    cm_files_end(it);
    pool_end(&p);
}

/* A name that is set again costs no store: a mount sets it at each open. */
static void test_same(void)
{
    struct pool p;
    REQUIRE(names_new(&p, 0) == 0);
    cm_file *f = attach(&p, 1, 9 * BLK, 7, 0);
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    break_range(&p, 0, p.bytes);
    CHECK_EQ(cm_file_set_name(f, "name"), 0);
    CHECK_EQ(cm_file_set_name(f, "nam"), CM_NOT_RECORDED);
    break_again(&p, 0, 0);
    pool_end(&p);
}

/* The smallest pool with names is two pages larger than that without them. */
static void test_create(void)
{
    const uint64_t least = cm_pool_size_min() + 8192;
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    struct pool p;
    uint8_t *base = map_bytes(least);
    o.flags = CM_CREATE_NAMES;
    CHECK_EQ(cm_format_memory(base, least - BLK, &o), CM_EPOOLSIZE);
    CHECK_EQ(cm_format_memory(base, least, &o), 0);
    unmap_bytes(base, least);
    pool_make_as(&p, least, 0, CM_CREATE_NAMES);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        CHECK_EQ(super_at(&p, i)->incompat, 1); /* who does not know the bit refuses the pool */
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).slots, 64);
    CHECK_EQ(cm_file_set_name(attach(&p, 1, 9 * BLK, 7, 0), "name"), 0);
    pool_end(&p);
}

const struct harness_test files_name_tests[] = {
    TEST(set),
    TEST(shorter_struct),
    TEST(no_table),
    TEST(versions),
    TEST(epoch),
    TEST(records_change_hands),
    TEST(no_record),
    TEST(does_not_come_back),
    TEST(media),
    TEST(torn),
    TEST(forged),
    TEST(looked_at),
    TEST(same),
    TEST(create),
    TEST(forgotten_beside),
    TEST_END,
};
