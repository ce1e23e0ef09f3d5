/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_dump.c - what "cachemax dump" concludes from pools that a script cannot make: records of
 * every kind, a lookup with a detour, superblocks with a right sum and wrong content.
 * tests/tool/dump-test.sh has the rest.
 */
#include "fixture.h"

#include "../os.h"
#include "tool/dump/dump.h"

#define BLOCKS 8u
#define FILES_MANY 400u /* so that there are many buckets of records */

struct seen {
    struct pool p;
    cm_file *f;
    struct dump_pool d;
    uint64_t place; /* of the file's record */
};

/* A pool with BLOCKS blocks of file 1, open. */
static void make(struct seen *s)
{
    memset(s, 0, sizeof(*s));
    pool_make(&s->p, 4 * MIB, FILES_MANY);
    (void)pool_up(&s->p);
    s->f = attach(&s->p, 1, BLOCKS * BLK, 1, 0);
    CHECK_EQ(put_all(s->f, 0, BLOCKS, 5), BLOCKS);
    s->place = cm_object_of(s->f)->place;
}

static void end(struct seen *s)
{
    detach(s->f);
    pool_end(&s->p);
}

static struct dump_record record(struct seen *s, uint64_t place)
{
    struct dump_record r;
    dump_pool_memory(&s->d, s->p.base, s->p.bytes);
    CHECK_EQ(s->d.error, 0);
    dump_record_look(&s->d, place, &r);
    return r;
}

/* Checks the verdict on a record, and the beginning of the text about an attach. */
static void sees(struct seen *s, uint64_t place, const char *verdict, const char *attach)
{
    struct dump_record r = record(s, place);
    if (strcmp(r.found.verdict, verdict) != 0 || strncmp(r.attach, attach, strlen(attach)) != 0)
        printf("# record: %s (%s), attach %s\n", r.found.verdict, r.found.why, r.attach);
    CHECK(strcmp(r.found.verdict, verdict) == 0);
    CHECK(strncmp(r.attach, attach, strlen(attach)) == 0);
    CHECK_EQ(r.keeps, strncmp(r.attach, "keeps", 5) == 0);
}

static void next_boot(const struct pool *p)
{
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(p, i)->boot_number++;
        super_seal(super_at(p, i));
    }
}

/* ---- Records --------------------------------------------------------------------------------- */

static void test_dirty(void)
{
    struct seen s;
    make(&s);
    CALL(sees(&s, s.place, "whole", "keeps what is cached, if the file has this validator"));
    cm_bracket w = begin_write(s.f, 0, BLK);
    CALL(sees(
        &s, s.place, "whole",
        "keeps what is cached (after a crash of the system: but for regions with an intent), if"));
    next_boot(&s.p);
    CALL(sees(&s, s.place, "whole",
              "keeps what is cached but for regions with an intent, if the file"));
    CHECK(cm_write_end(s.f, &w, NULL) >= 0);
    end(&s);
}

static void test_sync_failed(void)
{
    struct seen s;
    cm_sync sync;
    make(&s);
    CHECK_EQ(cm_sync_begin(s.f, &sync), 0);
    CHECK_EQ(cm_sync_end(s.f, &sync, 0, NULL), 0);
    CALL(sees(&s, s.place, "whole", "begins anew: past the cache: an fsync"));
    end(&s);
}

/* An fsync failed in the boot that has the pool, and others had it since. */
static void test_failed_elsewhere(void)
{
    struct seen s;
    make(&s);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super *const sb = super_at(&s.p, i);
        sb->boot_first = (sb->boot_number - CM_BOOTS) & 0x7fffffff;
        sb->failed_boot = sb->unnamed_boot = sb->boot_number;
        sb->boot_id[0] = 1;
        super_seal(sb);
    }
    CALL(sees(&s, s.place, "whole", "begins anew: an fsync failed in this boot, and others"));
    end(&s);
}

/* Another record of the id, in its other bucket; and one in a place where no lookup searches. */
static void test_twice(void)
{
    struct seen s;
    uint64_t bucket[CM_RECORD_CHOICES], other = 0;
    make(&s);
    const struct cm_media *m = &s.p.c->media;
    struct cm_record copy = record(&s, s.place).r;
    cm_format_record_buckets(&m->geo, m->hash_seed, &copy.id, bucket);
    while (other == bucket[0] || other == bucket[1])
        other++;
    CHECK_EQ(put_record(s.p.c, other * CM_RECORD_WAYS + 3, &copy), 0);
    CALL(sees(&s, other * CM_RECORD_WAYS + 3, "misplaced", "begins anew: misplaced"));
    CALL(sees(&s, s.place, "whole", "keeps"));
    const bool second = s.place / CM_RECORD_WAYS == bucket[0];
    const uint64_t twin = bucket[second] * CM_RECORD_WAYS + 5;
    CHECK_EQ(put_record(s.p.c, twin, &copy), 0);
    CALL(sees(&s, twin, "twice", "begins anew: twice"));
    CALL(sees(&s, s.place, "twice", "begins anew: twice"));
    end(&s);
}

static void test_fields(void)
{
    struct seen s;
    make(&s);
    const struct cm_record good = record(&s, s.place).r;
    struct cm_record r = good;
    r.flags |= CM_RECORD_RACY;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "whole", "begins anew: its validator is racy"));
    r = good;
    r.incarnation = 0;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "whole", "begins anew: its incarnation is zero"));
    r.incarnation = s.p.c->super.now.inc_mark;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "newer than superblock", "begins anew: newer"));
    r = good;
    r.birth = (s.p.c->super.now.boot_number - CM_BOOTS) & 0x7fffffff;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "whole", "begins anew: it was born too many boots ago"));
    r.birth = (r.birth + 1) & 0x7fffffff;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "whole", "keeps"));
    r = good;
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(sees(&s, s.place, "whole", "keeps"));
    CHECK_EQ(bump_epoch(s.p.c), 0);
    CALL(sees(&s, s.place, "of another epoch", "begins anew: no record"));
    CHECK(strcmp(record(&s, s.place).found.why, "right in epoch 1, and this is 2") == 0);
    end(&s);
}

/* ---- The way --------------------------------------------------------------------------------- */

/* What dump_find() prints of a block; freed by the caller. */
static char *found(struct seen *s, uint64_t block)
{
    char path[512], *text = calloc(1, 65536);
    const cm_file_id id = id_of(1);
    CHECK(text && os_make_file(path, sizeof(path), "dump"));
    FILE *file = fopen(path, "w+");
    CHECK(file != NULL);
    if (file) {
        dump_pool_memory(&s->d, s->p.base, s->p.bytes);
        dump_wrong_block(&s->d, &id, block, file);
        rewind(file);
        CHECK(fread(text, 1, 65535, file) > 0);
        (void)fclose(file);
    }
    (void)remove(path);
    return text;
}

static void finds(struct seen *s, uint64_t block, const char *wanted)
{
    char *text = found(s, block);
    if (!strstr(text, wanted))
        printf("%s", text);
    CHECK(strstr(text, wanted) != NULL);
    free(text);
}

/* A cell that has the tag and leads elsewhere does not end a lookup, before or behind the right
 * one. */
static void test_detour(void)
{
    struct seen s;
    make(&s);
    const struct cm_key k = key_of(s.f, 3);
    const uint64_t stray =
        cm_cell_make(k.place.tag, cm_object_of(s.f)->cache->media.boot, slot_of(s.f, 4));
    uint64_t *cell = cell_to(s.f, 3);
    for (unsigned b = 0; b < 2; b++)
        for (unsigned i = 0; i < CM_BUCKET_CELLS; i++) {
            uint64_t *at = cell_of(s.p.c, k.place.bucket[b], i);
            if (*at != 0)
                continue;
            *at = stray;
            CALL(finds(&s, 3, "ends at:             hit"));
            *at = 0;
        }
    const uint64_t good = *cell;
    *cell = stray;
    CALL(finds(&s, 3, "ends at:             header"));
    CALL(finds(&s, 3, "orphan slot:"));
    *cell = good;
    CALL(finds(&s, 3, "ends at:             hit"));
    CALL(finds(&s, BLOCKS, "ends at:             cells"));
    end(&s);
}

/* Two records of the file: no lookup begins. */
static void test_two_records(void)
{
    struct seen s;
    uint64_t bucket[CM_RECORD_CHOICES];
    make(&s);
    const struct cm_media *m = &s.p.c->media;
    struct cm_record copy = record(&s, s.place).r;
    CALL(finds(&s, 3, "ends at:             hit"));
    CALL(finds(&s, 3, "carries the tag:   yes"));
    cm_format_record_buckets(&m->geo, m->hash_seed, &copy.id, bucket);
    const bool second = s.place / CM_RECORD_WAYS == bucket[0];
    CHECK_EQ(put_record(s.p.c, bucket[second] * CM_RECORD_WAYS + 5, &copy), 0);
    CALL(finds(&s, 3, "ends at:             record"));
    CALL(finds(&s, 3, "2 records name the file: an attach drops them all"));
    end(&s);
}

/* What is printed of a slot, or of the superblock (UINT64_MAX); freed by the caller. */
static char *printed(const struct dump_pool *d, uint64_t slot)
{
    char path[512], *text = calloc(1, 65536);
    struct dump_out o;
    CHECK(text && os_make_file(path, sizeof(path), "dump"));
    FILE *file = fopen(path, "w+");
    CHECK(file != NULL);
    if (file) {
        dump_begin(&o, file, false);
        if (slot == UINT64_MAX)
            dump_superblock(d, &o);
        else
            dump_slot(d, slot, &o);
        dump_end(&o);
        rewind(file);
        CHECK(fread(text, 1, 65535, file) > 0);
        (void)fclose(file);
    }
    (void)remove(path);
    return text;
}

/* What is printed of a bucket has this, or the lookup of block 3 with this validator. */
static void has(struct seen *s, uint64_t bucket, const cm_validator *now, const char *wanted)
{
    char path[512], *text = calloc(1, 65536);
    const struct dump_file f = { .id = id_of(1), .now = now };
    struct dump_out o;
    CHECK(text && os_make_file(path, sizeof(path), "dump"));
    FILE *file = fopen(path, "w+");
    CHECK(file != NULL);
    if (file) {
        dump_pool_memory(&s->d, s->p.base, s->p.bytes);
        dump_begin(&o, file, false);
        if (now)
            dump_find(&s->d, &f, 3, &o);
        else
            dump_bucket(&s->d, bucket, &o);
        dump_end(&o);
        rewind(file);
        CHECK(fread(text, 1, 65535, file) > 0);
        (void)fclose(file);
    }
    (void)remove(path);
    if (!strstr(text, wanted))
        printf("%s", text);
    CHECK(strstr(text, wanted) != NULL);
    free(text);
}

/* Cells that lead to the right slot, but from another bucket, with another tag, or from another
 * boot. */
static void test_stale_cells(void)
{
    struct seen s;
    struct dump_slot slot;
    uint64_t other = 0;
    make(&s);
    const struct cm_media *m = &s.p.c->media;
    const struct cm_key k = key_of(s.f, 3);
    uint64_t *const cell = cell_to(s.f, 3), good = *cell;
    const uint64_t bucket =
        (uint64_t)((uint8_t *)cell - (m->base + m->geo.index_offset)) / sizeof(struct cm_bucket);
    CALL(has(&s, bucket, NULL, "it leads to the block in its slot"));
    while (other == k.place.bucket[0] || other == k.place.bucket[1] || *cell_of(s.p.c, other, 0))
        other++;
    *cell_of(s.p.c, other, 0) = good;
    CALL(has(&s, other, NULL, "the block in its slot belongs to other buckets"));
    *cell_of(s.p.c, other, 0) = 0;
    *cell = good ^ UINT64_C(1) << CM_CELL_TAG_SHIFT;
    CALL(has(&s, bucket, NULL, "the block in its slot has another tag"));
    *cell = cm_cell_make(k.place.tag, m->boot ^ 1, slot_of(s.f, 3));
    CALL(has(&s, bucket, NULL, "the block in its slot was stored in another boot"));
    CALL(finds(&s, 3, "has the block, but it was stored in another boot"));
    CALL(finds(&s, 3, "ends at:             header"));
    dump_pool_memory(&s.d, s.p.base, s.p.bytes);
    dump_slot_look(&s.d, slot_of(s.f, 3), &slot);
    CHECK(strcmp(slot.found.verdict, "orphan") == 0);
    *cell = good;
    end(&s);
}

/* What the file's times are says nothing if the program gave a proof of its own. */
static void test_own_proof(void)
{
    struct seen s;
    cm_validator v = CM_VALIDATOR_INIT;
    uint64_t words[4] = { 1, 2, 3, 4 };
    make(&s);
    memcpy(v.proof, words, sizeof(words));
    CALL(has(&s, 0, &v, "a proof that the program gave: the file's times do not count"));
    CALL(has(&s, 0, &v, "ends at:                 hit"));
    struct cm_record r = record(&s, s.place).r;
    memcpy(r.proof, words, sizeof(words));
    CHECK_EQ(put_record(s.p.c, s.place, &r), 0);
    CALL(has(&s, 0, &v, "the file's is the record's"));
    words[2]++;
    memcpy(v.proof, words, sizeof(words));
    CALL(has(&s, 0, &v, "the file changed: its ctime differs from the record's"));
    end(&s);
}

/* Which copy counts, and why. */
static void test_copies(void)
{
    struct seen s;
    make(&s);
    dump_pool_memory(&s.d, s.p.base, s.p.bytes);
    char *text = printed(&s.d, UINT64_MAX);
    CHECK(strstr(text, "of two good copies it has the higher seq") != NULL);
    CHECK(strstr(text, "the only good copy") == NULL);
    free(text);
    super_at(&s.p, s.d.counts == 0)->xxh3 ^= 1;
    dump_pool_memory(&s.d, s.p.base, s.p.bytes);
    text = printed(&s.d, UINT64_MAX);
    CHECK(strstr(text, "the only good copy") != NULL);
    CHECK(strstr(text, "its write was cut short, or it is damaged") != NULL);
    free(text);
    super_at(&s.p, s.d.counts == 0)->xxh3 ^= 1;
    end(&s);
}

/* A block whose region began anew has the region's "since" in its header, beside the incarnation.
 */
static void test_since(void)
{
    struct seen s;
    struct dump_slot slot;
    make(&s);
    struct cm_object *const f = cm_object_of(s.f);
    CHECK_EQ(cm_invalidate(s.f, 0, CM_ALL), 0);
    f->regions.since[cm_format_region(f->regions.shift, 3)] = 2;
    f->raised = 1;
    CHECK_EQ(put_all(s.f, 3, 1, 5), 1);
    dump_pool_memory(&s.d, s.p.base, s.p.bytes);
    dump_slot_look(&s.d, slot_of(s.f, 3), &slot);
    CHECK_EQ(slot.h.incarnation >> CM_SINCE_SHIFT, 2);
    CHECK(strcmp(slot.found.verdict, "valid") == 0);
    char *text = printed(&s.d, slot.slot);
    CHECK(strstr(text, "file id:") != NULL);
    free(text);
    end(&s);
}

/* ---- Where all of it lies -------------------------------------------------------------------- */

#ifndef _WIN32
/* Lines "NAME: at OFFSET, N bytes": no two overlap, and all lie in the pool. */
static unsigned apart(const char *text, uint64_t size)
{
    static const char mark[] = ": at ";
    uint64_t from[64], to[64];
    unsigned n = 0;
    for (const char *at = text; n < 64 && (at = strstr(at, ": ")) != NULL; at++) {
        const char *p = at + 1 + strspn(at + 1, " ");
        char *rest;
        if (strncmp(p, mark + 2, 3) != 0)
            continue;
        from[n] = strtoull(p + 3, &rest, 10);
        to[n] = from[n] + strtoull(rest + 2, NULL, 10);
        CHECK(to[n] > from[n] && to[n] <= size);
        for (unsigned i = 0; i < n; i++) {
            CASE("lines %u and %u", i, n);
            CHECK(to[i] <= from[n] || to[n] <= from[i]);
        }
        n++;
    }
    return n;
}

static void test_grown(void)
{
    char path[512];
    cm_create_options made = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    struct dump_pool d;
    REQUIRE(os_make_file(path, sizeof(path), "grown"));
    (void)remove(path);
    made.size = 16 * MIB;
    REQUIRE(cm_create(path, &made) == 0);
    o.grow_max = 64 * MIB;
    REQUIRE(cm_open(path, &o, &c) == 0);
    CHECK_EQ(cm_grow(c, 32 * MIB, NULL), 0);
    CHECK_EQ(cm_grow(c, 64 * MIB, NULL), 0);
    CHECK_EQ(cm_close(c), 0);
    REQUIRE(dump_pool_open(&d, path) == 0);
    char *text = printed(&d, UINT64_MAX);
    CHECK_EQ(apart(text, 64 * MIB), 10); /* 6 of the pool as it was made, two of each part */
    free(text);
    dump_pool_close(&d);
    (void)remove(path);
}
#endif

/* What the next open makes of a file that was not closed, in this boot and in another one. */
static void test_next_open(void)
{
    char path[512];
    cm_create_options made = CM_CREATE_OPTIONS_INIT;
    cm_cache *c = NULL;
    struct dump_pool d;
    static uint8_t bytes[MIB];
    struct cm_super *const sb = (struct cm_super *)(void *)bytes;
    REQUIRE(os_make_file(path, sizeof(path), "unclean"));
    (void)remove(path);
    made.size = MIB;
    REQUIRE(cm_create(path, &made) == 0);
    REQUIRE(cm_open(path, NULL, &c) == 0);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL && fread(bytes, 1, MIB, file) == MIB);
    (void)fclose(file);
    CHECK_EQ(cm_close(c), 0);
    for (unsigned boot = 0; boot < 2; boot++) {
        CASE("boot %u", boot);
        for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
            struct cm_super *const copy = (void *)(bytes + i * CM_SUPER_STRIDE);
            copy->durability = CM_DURABILITY_PAGECACHE;
            copy->boot_id[0] ^= (uint8_t)boot;
            super_seal(copy);
        }
        file = fopen(path, "r+b");
        REQUIRE(file != NULL && fwrite(bytes, 1, MIB, file) == MIB);
        (void)fclose(file);
        REQUIRE(dump_pool_open(&d, path) == 0);
        char *text = printed(&d, UINT64_MAX);
        CHECK_EQ(sb->state, CM_SUPER_OPEN);
        CHECK(strstr(text, boot ? "empties it: not closed cleanly, in another boot or mount"
                                : "keeps what is cached") != NULL);
        free(text);
        dump_pool_close(&d);
    }
    (void)remove(path);
}

/* ---- Lies ------------------------------------------------------------------------------------ */

/* A superblock with a right sum may say anything: nothing beyond the pool's bytes is read. */
static void lie(uint8_t *base, uint64_t bytes, uint64_t *random)
{
    static const uint64_t say[] = { 0,
                                    1,
                                    2,
                                    3,
                                    64,
                                    255,
                                    256,
                                    1000,
                                    4096,
                                    65536,
                                    1u << 20,
                                    1u << 21,
                                    UINT64_C(1) << 34,
                                    UINT64_C(1) << 46,
                                    UINT64_MAX };
    const size_t n = sizeof(say) / sizeof(say[0]);
    struct cm_super *sb = (struct cm_super *)(void *)base;
    uint64_t *field[] = { &sb->slots,      &sb->record_buckets, &sb->stripes,  &sb->stripe_buckets,
                          &sb->data_align, &sb->epoch,          &sb->inc_mark, &sb->seq };
    for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++)
        if (next_random(random) % 3 == 0)
            *field[i] = say[next_random(random) % n];
    sb->pool_size = next_random(random) % 2 ? bytes : UINT64_C(1) << 45;
    super_seal(sb);
}

static uint64_t look_everywhere(const struct dump_pool *d, FILE *file)
{
    const cm_file_id id = id_of(1);
    const struct dump_file f = { id, NULL };
    const struct cm_geometry *g = &d->media.geo;
    struct dump_out o;
    dump_begin(&o, file, true);
    dump_superblock(d, &o);
    if (d->laid_out) {
        const uint64_t slot[] = { 0, 7, g->slots - 1 };
        const uint64_t bucket[] = { 0, 100, g->stripes * g->stripe_buckets - 1 };
        for (unsigned i = 0; i < 3; i++) {
            dump_slot(d, slot[i] % g->slots, &o);
            dump_bucket(d, bucket[i] % (bucket[2] + 1), &o);
        }
        dump_record(d, g->record_buckets * CM_RECORD_WAYS - 1, &o);
        dump_file(d, &f, &o);
        dump_find(d, &f, 3, &o);
    }
    dump_end(&o);
    rewind(file);
    return d->laid_out;
}

static void test_lies(void)
{
    char path[512];
    struct seen s;
    uint64_t random = 1, laid_out = 0, refused = 0;
    CHECK(os_make_file(path, sizeof(path), "dump"));
    FILE *file = fopen(path, "w+");
    REQUIRE(file != NULL);
    make(&s);
    /* The bytes behind the pool cannot be read. */
    uint8_t *room = map_bytes(2 * s.p.bytes), *base = room;
    os_protect(room + s.p.bytes, s.p.bytes, OS_NOTHING);
    for (unsigned i = 0; i < 300; i++) {
        memcpy(base, s.p.base, s.p.bytes);
        CASE("lie %u", i);
        lie(base, s.p.bytes, &random);
        memset(base + CM_SUPER_STRIDE, 0, sizeof(struct cm_super));
        dump_pool_memory(&s.d, base, s.p.bytes);
        laid_out += look_everywhere(&s.d, file);
        refused += s.d.error != 0;
    }
    CHECK(laid_out > 30);
    CHECK(refused > 100);
    os_protect(room + s.p.bytes, s.p.bytes, OS_WRITE);
    unmap_bytes(room, 2 * s.p.bytes);
    (void)fclose(file);
    (void)remove(path);
    end(&s);
}

static const struct harness_test tests[] = {
    TEST(dirty),       TEST(sync_failed), TEST(failed_elsewhere),
    TEST(twice),       TEST(fields),      TEST(detour),
    TEST(two_records), TEST(stale_cells), TEST(own_proof),
    TEST(copies),      TEST(since),       TEST(next_open),
    TEST(lies),
#ifndef _WIN32 /* there no pool grows */
    TEST(grown),
#endif
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
