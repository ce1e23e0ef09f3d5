/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_checkpoint_versions.c - checkpoints: a file that begins a new version, whatever for.
 */
#include "checkpoint_common.h"

/* ---- A change by somebody else --------------------------------------------------------------- */

enum notice { REVALIDATED, OPENED_TWICE, OPENED_AGAIN, SYNC_ENDED, NOTICES };

/* The file has the version 8 now, and the cache notices that. */
static cm_file *notice(cm_file *f, enum notice how)
{
    cm_validator v = val(SIZE, 8);
    cm_sync s;

    v.taken_at = later();
    switch (how) {
    case REVALIDATED:
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        return f;
    case OPENED_TWICE:
        detach(attach(&t.p, 1, SIZE, 8, 0));
        return f;
    case OPENED_AGAIN:
        detach(f);
        return attach(&t.p, 1, SIZE, 8, 0);
    default:
        CHECK_EQ(cm_sync_begin(f, &s), 0);
        v.taken_at = later();
        CHECK_EQ(cm_sync_end(f, &s, 1, &v), 0);
        return f;
    }
}

/* Somebody else changed the file, and the cache was told. A power cut keeps what was written and
 * loses the time of it. So the old version's validator comes back, and its blocks do not. */
static void test_noticed(void)
{
    for (int how = 0; how < NOTICES; how++) {
        CASE("how %d", how);
        checkpointed_pool();
        cm_file *f = three_regions(0);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        const int64_t syncs = page_syncs();
        f = notice(f, (enum notice)how);
        CHECK_EQ(page_syncs() - syncs, 1);
        CHECK_EQ(regions_hit(f), 0);
        power_cut(SYNCED);
        CHECK_EQ(regions_kept(0), 0);
        file_end();
    }
}

/* A file that did not change costs no sync, and neither does a new one. */
static void test_noticed_nothing(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(0);
    cm_validator v = val(SIZE, 7);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    detach(attach(&t.p, 2, SIZE, 7, 0));
    v = val(SIZE, 8); /* its record has all intents on the disk, or it has none */
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(page_syncs(), 0);
    power_cut(STORED);
    CHECK_EQ(regions_kept(0), 0);
    file_end();
}

/* ---- Lost owners of brackets ----------------------------------------------------------------- */

/* What they write may come late. So the version that was given before proves nothing, although
 * nobody else ever writes the file. */
static void test_disowned(void)
{
    for (unsigned forgotten = 0; forgotten < 2; forgotten++) {
        CASE("forgotten %u", forgotten);
        checkpointed_pool();
        cm_file *f = three_regions(CM_EXCLUSIVE);
        (void)begin_write(f, 0, BLK);
        if (forgotten) {
            CHECK_EQ(cm_file_abort(f), 0);
            CHECK_EQ(cm_forget(t.p.c, &cm_object_of(f)->id), 0);
        } else {
            CHECK_EQ(cm_file_abort(f), 0);
        }
        for (unsigned r = 0; r < 3; r++)
            CHECK_EQ(put_all(f, r * REGION, 2, 1), 2);
        detach(f);
        CHECK_EQ(regions_kept(CM_EXCLUSIVE), 0);
        file_end();
    }
}

static void (*after_pages)(void);
int __real_cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place);
int __wrap_cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place);
int __wrap_cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place)
{
    const int e = __real_cm_settle_pages(c, id, pages, place);
    if (after_pages)
        after_pages();
    return e;
}

static pthread_t beginner;

/* In the first bracket's begin, after its sync. */
static void stay_there(void)
{
    after_pages = NULL;
    reach(1);
    wait_for(2);
}

static void *begin_aborted(void *arg)
{
    cm_bracket w;
    (void)arg;
    CHECK_EQ(cm_write_begin(changing, 0, BLK, &w), CM_EBRACKET);
    return NULL;
}

/* In the second bracket's begin, before its sync. */
static void go_on_there(uint64_t len)
{
    (void)len;
    t.at_sync = NULL;
    reach(2);
    CHECK_EQ(pthread_join(beginner, NULL), 0);
    CHECK_EQ(cm_object_of(changing)->regions.durable & 1, 0);
}

/* A bracket is aborted while its begin runs, after its sync. A checkpoint clears the intent, and
 * another bracket sets it again. Of that intent the first one knows nothing. */
static void test_aborted_beside(void)
{
    cm_validator v = val(SIZE, 7);
    checkpointed_pool();
    memset(&meet, 0, sizeof(meet));
    changing = three_regions(CM_SOLE_WRITER);
    sync_origin(changing);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    after_pages = stay_there;
    REQUIRE(pthread_create(&beginner, NULL, begin_aborted, NULL) == 0);
    wait_for(1);
    CHECK_EQ(cm_file_abort(changing), 0);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(changing, &v), 0);
    sync_origin(changing);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(cm_object_of(changing)->regions.intents & 1, 0);
    t.at_sync = go_on_there;
    (void)begin_write(changing, 0, BLK);
    CHECK(t.at_sync == NULL);
    CHECK_EQ(cm_object_of(changing)->regions.durable & 1, 1);
    CHECK_EQ(cm_file_abort(changing), 0);
    file_end();
}

/* ---- An emptied pool ------------------------------------------------------------------------- */

/* A failed sync makes all records void, also those of open files. Such a file gets its record
 * again: at the next checkpoint, and when it is closed. */
static void test_emptied(void)
{
    for (unsigned flags = 0; flags <= CM_EXCLUSIVE; flags += CM_EXCLUSIVE)
        for (unsigned cut = 0; cut < 2; cut++) {
            CASE("flags %u, cut %u", flags, cut);
            checkpointed_pool();
            cm_file *f = three_regions(flags);
            sync_origin(f);
            t.fail = 1;
            CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
            CHECK_EQ(regions_hit(f), 0);
            for (unsigned r = 0; r < 3; r++)
                CHECK_EQ(put_all(f, r * REGION, 2, 1), 2);
            if (cut) {
                CHECK_EQ(cm_checkpoint(t.p.c), 0); /* the record */
                CHECK_EQ(cm_checkpoint(t.p.c), 0); /* its intents */
                power_cut(SYNCED);
            } else {
                detach(f);
                CHECK_EQ(cm_close(t.p.c), 0);
                REQUIRE(file_up() == 0);
            }
            CHECK_EQ(regions_kept(flags), 7);
            file_end();
        }
}

/* The intents of a record that comes back are not known to be on the disk. */
static void test_emptied_and_written(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    write_in(f, 0); /* durable until the pool is emptied */
    t.fail = 1;
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EIO);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(cm_object_of(f)->regions.durable, 0);
    const int64_t syncs = page_syncs();
    write_in(f, 0);
    CHECK_EQ(page_syncs() - syncs, 1);
    file_end();
}

/* ---- What a program is told ------------------------------------------------------------------ */

static void test_told(void)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_validator v = val(SIZE, 7);
    const cm_file_id first = id_of(1), id = id_of(2), third = id_of(3), fourth = id_of(4);
    const cm_file_id fifth = id_of(5);
    const cm_file_id none = { 0 };
    cm_file *f, *g;
    checkpointed_pool();
    f = three_regions(CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).dirty_regions, 64); /* nobody has synced it yet */
    sync_origin(f);
    CHECK_EQ(info_of(f).dirty_regions, 0);
    write_in(f, 0);
    write_in(f, 1);
    write_in(f, REGION);
    CHECK_EQ(info_of(f).dirty_regions, 2);
    detach(f);
    CHECK_EQ(cm_file_lookup(t.p.c, &first, NULL, &info), 0);
    CHECK_EQ(info.dirty, 1);
    CHECK(info.dirty_regions >= 2);
    CHECK_EQ(cm_file_open(t.p.c, &id, NULL, CM_EXCLUSIVE, &f), CM_EINVAL);
    CHECK(strstr(t.said, "cm_validator_set_proof") != NULL);
    CHECK_EQ(cm_file_open(t.p.c, &id, NULL, 64, &f), CM_EINVAL);
    CHECK(strstr(t.said, "unknown flags 0x40") != NULL);
    CHECK_EQ(cm_file_open(t.p.c, &none, NULL, 0, &f), CM_EINVAL);
    CHECK(strstr(t.said, "cm_file_id_set_key") != NULL);
    v.taken_at = 1;
    CHECK_EQ(cm_file_open(t.p.c, &fourth, &v, 0, &g), CM_IGNORED);
    CHECK(strstr(t.said, "before the pool was opened") != NULL);
    detach(g);
    v.racy = CM_RACY_WRITER;
    v.taken_at = later();
    static const uint32_t claims[] = { 0, CM_SOLE_WRITER, CM_EXCLUSIVE };
    for (unsigned i = 0; i < 3; i++) { /* what helps is not the same */
        CASE("claim %u", claims[i]);
        at_store_relaxed(&t.p.c->racy_said, 0u);
        t.said[0] = 0;
        CHECK_EQ(cm_file_open(t.p.c, &fifth, &v, claims[i], &g), 0);
        CHECK_EQ(strstr(t.said, "CM_IDENTIFY_SOLE_WRITER") != NULL, claims[i] != CM_EXCLUSIVE);
        CHECK_EQ(strstr(t.said, "open it with CM_SOLE_WRITER") != NULL, claims[i] == 0);
        CHECK_EQ(strstr(t.said, "CAP_LEASE") != NULL, claims[i] == 0);
        detach(g);
    }
    v = val(SIZE, 7);
    v.taken_at = later();
    CHECK_EQ(cm_file_open(t.p.c, &third, &v, CM_EXCLUSIVE, &g), 0);
    CHECK_EQ(cm_file_open(t.p.c, &third, NULL, CM_EXCLUSIVE, &g), 0); /* again */
    detach(g);
    detach(g);
    file_end();
}

/* The first checkpoint of a pool begins: of a file that is open nothing is known to be durable. */
static void none_durable(uint64_t len)
{
    if (len == 0 && changing) {
        CHECK(cm_object_of(changing)->regions.durable == 0);
        CHECK_EQ(cm_object_of(changing)->regions.lost, CM_PAGES_ALL);
        changing = NULL;
    }
}

static void test_unsettled(void)
{
    file_pool();
    changing = three_regions(CM_SOLE_WRITER);
    write_in(changing, 0);
    CHECK(cm_object_of(changing)->regions.durable != 0);
    t.at_sync = none_durable;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK(changing == NULL);
    file_end();
}

/* Both pages of a file may be lost, also of one that was kept by its attach. */
static void test_kept_and_lost(void)
{
    checkpointed_pool();
    detach(three_regions(CM_SOLE_WRITER));
    cm_lock_acquire(&t.p.c->files_lock);
    cm_settle_all_lost(t.p.c);
    cm_lock_release(&t.p.c->files_lock);
    cm_file *f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(cm_object_of(f)->regions.lost, CM_PAGES_ALL);
    const int64_t before = page_syncs();
    write_in(f, REGION);
    CHECK_EQ(page_syncs() - before, 2);
    file_end();
}

/* A reader comes after a power cut, before any owner. What a checkpoint has made durable is served,
 * if the volume keeps what it syncs. */
static void test_reader_after_cut(void)
{
    for (unsigned lasts = 0; lasts < 2; lasts++) {
        CASE("lasts %u", lasts);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        t.p.o.flags = CM_OPEN_SHARED;
        t.lasts = lasts != 0;
        power_cut(SYNCED);
        f = attach(&t.p, 1, SIZE, 7, 0);
        CHECK_EQ(info_of(f).kept, lasts);
        CHECK_EQ(regions_hit(f), lasts ? 7 : 0);
        file_end();
    }
}

/* A reader comes while the next owner has the lock, and has not yet judged the pool. */
static int reader_found;

static void *alloc_beside_reader(void *ctx, size_t bytes)
{
    static bool inside;
    unsigned *calls = ctx;
    if (!inside && ++*calls == 2) { /* the first is before the lock is taken */
        struct pool r = { .o = CM_OPTIONS_INIT };
        inside = true;
        r.o.flags = CM_OPEN_SHARED;
        CHECK_EQ(cm_open(t.path, &r.o, &r.c), 0);
        cm_file *f = attach(&r, 1, SIZE, 7, 0);
        reader_found = look(f, REGION, 1);
        CHECK_EQ(cm_close(r.c), 0);
        inside = false;
    }
    return map_bytes(bytes);
}

static void free_mapped(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    unmap_bytes(p, bytes);
}

static void test_reader_before_owner(void)
{
    for (unsigned other = 0; other < 2; other++) {
        unsigned calls = 0;
        CASE("other mount %u", other);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        if (other)
            write_in(f, REGION); /* what was forgotten is still on the disk */
        t.mount = 1 + other;
        reader_found = -1;
        t.p.o.alloc = alloc_beside_reader;
        t.p.o.free = free_mapped;
        t.p.o.alloc_ctx = &calls;
        crash(SYNCED, false);
        CHECK_EQ(reader_found, other ? MISS : RIGHT);
        file_end();
    }
}

/* Readers that stay while owners come and go: `early` is one. */
static struct pool early;

static void early_up(unsigned mount)
{
    const unsigned was = t.mount;
    early = (struct pool){ .o = CM_OPTIONS_INIT };
    early.o.flags = CM_OPEN_SHARED;
    t.mount = mount;
    REQUIRE(cm_open(t.path, &early.o, &early.c) == 0);
    t.mount = was;
}

static void early_hits(void)
{
    cm_file *g = attach(&early, 1, SIZE, 7, 0);
    CHECK_EQ(look(g, REGION, 1), RIGHT);
    detach(g);
}

static cm_file *synced_file(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    return f;
}

/* It comes as above. It does not know the volume, so it expects the next owner to count a boot. */
static void *alloc_beside_early(void *ctx, size_t bytes)
{
    unsigned *calls = ctx;
    if (++*calls == 2)
        early_up(2);
    return map_bytes(bytes);
}

static void test_reader_stays(void)
{
    unsigned calls = 0;
    (void)synced_file();
    t.p.o.alloc = alloc_beside_early;
    t.p.o.free = free_mapped;
    t.p.o.alloc_ctx = &calls;
    crash(SYNCED, false);
    cm_file *f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    t.mount = 2;
    CALL(early_hits());
    CHECK_EQ(cm_close(early.c), 0);
    detach(f);
    file_end();
}

/* An owner comes after a reader has read the superblock, and before it looks for an owner. It
 * counts a boot, of which the reader does not know yet. */
static void come(void)
{
    t.mount = 3;
    REQUIRE(file_up() == 0);
}

static void test_reader_and_owner(void)
{
    (void)synced_file();
    end_owner(SYNCED, false);
    CALL(early_up(1));
    t.at_look = come;
    detach(attach(&early, 1, SIZE, 7, 0));
    cm_file *f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CALL(early_hits());
    CHECK_EQ(cm_close(early.c), 0);
    detach(f);
    file_end();
}

/* An owner is killed. The next one does not know the volume, so it counts a boot. */
static void test_reader_and_owners(void)
{
    cm_file *f = synced_file();
    CALL(early_up(1));
    cm_file *g = attach(&early, 1, SIZE, 7, 0);
    CHECK_EQ(look(g, REGION, 1), RIGHT);
    const uint32_t boot = t.p.c->super.now.boot_number;
    detach(f);
    CHECK_EQ(cm_close(t.p.c), 0);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) { /* as a killed owner leaves them */
        super_at(&t.p, i)->state = CM_SUPER_OPEN;
        super_seal(super_at(&t.p, i));
    }
    t.mount = 0;
    REQUIRE(file_up() == 0);
    CHECK_EQ(t.p.c->super.now.boot_number, boot + 1);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CALL(early_hits());
    CHECK_EQ(look(g, REGION, 1), RIGHT);
    detach(g);
    CHECK_EQ(cm_close(early.c), 0);
    detach(f);
    file_end();
}

/* Losses of a bucket count until they are synced. Those that come beside a checkpoint stay. */
static void test_losses_counted(void)
{
    struct pool p;
    const cm_file_id first = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    const uint8_t *open = p.c->settling.open;
    cm_lock_acquire(&p.c->files_lock);
    cm_settle_lose(p.c, 0, &first);
    cm_settle_lose(p.c, 0, &first);
    CHECK_EQ(open[0], 2);
    cm_settle_check_begin(p.c);
    cm_settle_lose(p.c, 0, &first);
    cm_settle_check_end(p.c);
    CHECK_EQ(open[0], 1);
    cm_settle_lose(p.c, 0, &first);
    CHECK_EQ(open[0], 2);
    cm_settle_check_begin(p.c);
    cm_settle_check_end(p.c);
    CHECK_EQ(open[0], 0);
    CHECK_EQ(p.c->settling.lost[0], 0);
    cm_lock_release(&p.c->files_lock);
    pool_end(&p);
}

/* After a kill all buckets may be lost for all files, also one of which a record is lost again. */
static void test_lost_after_kill(void)
{
    struct pool p;
    const cm_file_id first = id_of(1);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_lock_acquire(&p.c->files_lock);
    const uint32_t before = p.c->settling.losses[0];
    cm_settle_lose(p.c, 0, &first);
    CHECK_EQ(p.c->settling.losses[0], before + 1);
    cm_lock_release(&p.c->files_lock);
    pool_end(&p);
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_settle_found_killed(p.c);
    cm_lock_acquire(&p.c->files_lock);
    for (uint64_t place = 0; place < p.c->media.geo.record_buckets * CM_RECORD_WAYS; place++)
        cm_settle_lose(p.c, place, &first);
    for (uint64_t id = 2; id < 30; id++) {
        struct cm_object o = { .cache = p.c, .id = id_of(id) };
        cm_settle_look(&o);
        CHECK_EQ(o.regions.lost, CM_PAGES_ALL);
    }
    cm_lock_release(&p.c->files_lock);
    pool_end(&p);
}

/* One region at a time is written, synced, and safe after the next checkpoint. */
static void test_region_by_region(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    const uint64_t key = cm_media_key(&t.p.c->media), place = cm_object_of(f)->place;
    for (unsigned region = 0; region < 3; region++) {
        CASE("region %u", region);
        write_in(f, region * REGION);
        struct cm_record r = *record_of(t.p.c, place);
        CHECK_EQ(cm_format_intents(key, place, &r), 1u << region);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        r = *record_of(t.p.c, place);
        CHECK_EQ(cm_format_intents(key, place, &r), 0);
    }
    file_end();
}

/* Two records of a file are found, in both its buckets, and dropped. The disk has them until both
 * pages are synced. */
static void test_two_records(void)
{
    struct cm_record_set s;
    const cm_file_id id = id_of(1);
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    cm_record_load(&t.p.c->media, &id, &s);
    CHECK(s.first[0] != s.first[1]);
    const uint64_t place = cm_object_of(f)->place;
    const unsigned other = place - s.first[0] < CM_RECORD_WAYS; /* its other bucket */
    struct cm_record r = *record_of(t.p.c, place);
    detach(f);
    CHECK_EQ(put_record(t.p.c, s.first[other] + 3, &r), 0);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 0);
    CHECK_EQ(cm_object_of(f)->regions.lost, CM_PAGES_ALL);
    file_end();
}

/* Whatever the disk has of a new version's record has all intents. */
static void test_new_version_intends(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    const uint64_t key = cm_media_key(&t.p.c->media), place = cm_object_of(f)->place;
    struct cm_record r = *record_of(t.p.c, place);
    CHECK_EQ(cm_format_intents(key, place, &r), 0);
    cm_validator v = val(SIZE, 8);
    v.taken_at = later();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    r = *record_of(t.p.c, place);
    CHECK(cm_format_intents(key, place, &r) == CM_REGIONS_ALL);
    file_end();
}

const struct harness_test checkpoint_versions_tests[] = {
    TEST(new_version_intends),
    TEST(two_records),
    TEST(unsettled),
    TEST(kept_and_lost),
    TEST(losses_counted),
    TEST(lost_after_kill),
    TEST(reader_after_cut),
    TEST(reader_before_owner),
    TEST(reader_stays),
    TEST(reader_and_owner),
    TEST(reader_and_owners),
    TEST(region_by_region),
    TEST(noticed),
    TEST(noticed_nothing),
    TEST(disowned),
    TEST(aborted_beside),
    TEST(emptied),
    TEST(emptied_and_written),
    TEST(told),
    TEST_END,
};
