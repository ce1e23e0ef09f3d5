/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_checkpoint.c - checkpoints: what a crash of the system leaves of a pool without DAX.
 */
#include "checkpoint_common.h"

#include "protocol/checkpoint.h"

struct checkpoint_test t;
struct meeting meet;

int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME]);
void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16]);
bool __wrap_cm_plat_file_is_taken(const struct cm_plat_file *f);
bool __real_cm_plat_file_is_taken(const struct cm_plat_file *f);
void __wrap_cm_plat_file_close(struct cm_plat_file *f);
void __real_cm_plat_file_close(struct cm_plat_file *f);

int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    (void)align;
    f->base = t.p.base;
    *durability = CM_DURABILITY_PAGECACHE;
    return 0;
}

int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    const uint64_t n = len ? len : POOL;
    (void)f;
    if (t.idle)
        return 0;
    t.syncs++;
    if (t.at_sync)
        t.at_sync(len);
    if (t.dead || (t.fail > 0 && --t.fail == 0))
        return CM_EIO;
    if (t.skip > 0 && --t.skip == 0)
        return 0;
    memcpy(t.disk + offset, t.p.base + offset, (size_t)n);
    if (t.after_sync)
        t.after_sync(len);
    return 0;
}

bool __wrap_cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    (void)snprintf(what, PLAT_VOLUME, "testfs");
    return t.lasts;
}

void __wrap_cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    (void)f;
    memset(id, (int)t.mount, 16);
}

bool __wrap_cm_plat_file_is_taken(const struct cm_plat_file *f)
{
    void (*const at)(void) = t.at_look;
    t.at_look = NULL;
    if (at)
        at();
    return __real_cm_plat_file_is_taken(f);
}

void __wrap_cm_plat_file_close(struct cm_plat_file *f)
{
    f->base = NULL;
    __real_cm_plat_file_close(f);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void test_where(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP); /* memory */
    pool_end(&p);
    pool_make(&p, MIB, 0);
    p.o.log = note_log;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(cm_checkpoint(p.c), CM_ENOTSUP);
    CHECK(strstr(t.said, "cm_checkpoint") == NULL); /* cm_info says so */
    pool_end(&p);
    if (cpu_flushes()) {
        pool_make(&p, MIB, 0);
        p.o.memory_durability = CM_DURABILITY_DAX;
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(cm_checkpoint(p.c), 0); /* nothing to do */
        CHECK_EQ(pool_info(p.c).durability, CM_DURABILITY_DAX);
        pool_end(&p);
    }
    file_pool();
    CHECK_EQ(cm_close(t.p.c), 0);
    t.lasts = false;
    REQUIRE(file_up() == 0);
    CHECK_EQ(cm_checkpoint(t.p.c), CM_ENOTSUP);
    CHECK(strstr(t.said, "testfs") != NULL);
    CHECK_EQ(cm_close(t.p.c), 0);
    t.p.o.flags = CM_OPEN_READONLY;
    REQUIRE(file_up() == 0);
    CHECK_EQ(cm_checkpoint(t.p.c), CM_EREADONLY);
    file_end();
}

/* Before the first checkpoint nothing is synced, and a crash of the system empties the pool. */
static void test_first(void)
{
    for (unsigned checkpoints = 0; checkpoints < 2; checkpoints++) {
        CASE("%u checkpoints", checkpoints);
        file_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        write_in(f, REGION + 100);
        sync_origin(f);
        CHECK_EQ(page_syncs(), 0);
        CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_PAGECACHE);
        if (checkpoints) {
            CHECK_EQ(cm_checkpoint(t.p.c), 0);
            CHECK_EQ(STAT(t.p.c, checkpoints), 1);
            CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_CHECKPOINT);
        }
        power_cut(SYNCED);
        CHECK_EQ(pool_info(t.p.c).emptied, !checkpoints);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), checkpoints ? 7 : 0);
        file_end();
    }
}

/* What was begun before the first checkpoint, and before the rules held, is not trusted. */
static void test_first_beside(void)
{
    file_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    cm_bracket w = begin_write(f, (REGION + 100) * BLK, BLK);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(page_syncs(), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    write_in(f, REGION + 100);
    CHECK_EQ(page_syncs(), 1);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* A power cut takes the regions that were written since the checkpoint, and nothing else. The first
 * write of a region syncs a page, the others nothing. */
static void test_kept(void)
{
    for (unsigned left = SYNCED; left <= STORED; left++) {
        CASE("left %u", left);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        for (unsigned i = 0; i < 5; i++)
            write_in(f, REGION + 100 + i);
        CHECK_EQ(page_syncs(), 1);
        write_in(f, 2 * REGION); /* one of the blocks */
        CHECK_EQ(put(f, 2 * REGION, 1), 0);
        CHECK_EQ(page_syncs(), 2);
        CHECK_EQ(regions_hit(f), 7);
        power_cut(left);
        CHECK_EQ(pool_info(t.p.c).emptied, 0);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), 1);
        f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
        CHECK_EQ(put_all(f, REGION, 2, 1), 2); /* it is used again ... */
        CHECK_EQ(regions_hit(f), 3);
        power_cut(left); /* ... and no checkpoint was made since */
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), 1);
        f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
        CHECK_EQ(put_all(f, REGION, 2, 1), 2);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        power_cut(left);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), 3);
        file_end();
    }
}

/* A new file waits for nothing: the disk has no record of it, or this one with all intents. */
static void test_born(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    write_in(f, REGION + 100);
    CHECK_EQ(page_syncs(), 0);
    power_cut(STORED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 0);
    file_end();
}

/* What the origin may lose is not warm after a crash, whatever was checkpointed. */
static void test_unsynced(void)
{
    for (unsigned synced = 0; synced < 3; synced++) {
        CASE("synced %u", synced);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        write_in(f, REGION + 100);
        if (synced == 1)
            sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        if (synced == 2)
            sync_origin(f); /* too late for that checkpoint */
        power_cut(STORED);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), synced == 1 ? 7 : 5);
        file_end();
    }
}

/* A change that begins while the pool is synced keeps its intent. */
cm_file *changing;
static void write_beside(uint64_t len)
{
    if (len != 0 || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    write_in(f, REGION); /* forgets a block, after the disk got it */
    sync_origin(f);
}

static void test_begun_since(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    changing = f;
    t.after_sync = write_beside;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    CHECK_EQ((cm_object_of(f)->regions.intents >> 1) & 1, 1);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* The same of a file whose size is not known: it may change anywhere. */
static void write_unsized(uint64_t len)
{
    if (len != 0 || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    cm_bracket w = begin_write(f, REGION * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    sync_origin(f);
}

static void test_begun_everywhere(void)
{
    checkpointed_pool();
    cm_file *f = attach(&t.p, 1, CM_SIZE_UNKNOWN, 7, CM_SOLE_WRITER);
    CHECK_EQ(put_all(f, 0, 2, 1), 2);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(cm_object_of(f)->regions.intents, 0);
    changing = f;
    t.after_sync = write_unsized;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    CHECK(cm_object_of(f)->regions.intents == CM_REGIONS_ALL);
    file_end();
}

/* A bracket whose begin waits for its page has not forgotten anything yet. A checkpoint that runs
 * meanwhile saves the old copy. Its region keeps the intent, although the bracket ends and the
 * origin is synced before the checkpoint is over. */
static void meet_at_sync(uint64_t len)
{
    if (len == BLK && at_load_seq_cst(&meet.step) == 0) { /* the writer's page */
        reach(1);
        wait_for(2);
    }
}
static void meet_after_sync(uint64_t len)
{
    if (len == 0 && at_load_seq_cst(&meet.step) == 1) { /* the checkpoint's */
        reach(2);
        wait_for(3);
    }
}
static void *meet_writer(void *arg)
{
    (void)arg;
    write_in(meet.f, REGION);
    sync_origin(meet.f);
    reach(3);
    return NULL;
}

static void test_open_before(void)
{
    pthread_t writer;
    checkpointed_pool();
    meet.f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    at_store_seq_cst(&meet.step, 0u);
    t.at_sync = meet_at_sync;
    t.after_sync = meet_after_sync;
    REQUIRE(pthread_create(&writer, NULL, meet_writer, NULL) == 0);
    wait_for(1);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    REQUIRE(pthread_join(writer, NULL) == 0);
    CHECK_EQ(look(meet.f, REGION, 1), MISS);
    /* The system writes back the record. */
    const struct cm_geometry *g = &t.p.c->media.geo;
    memcpy(t.disk + g->record_offset, t.p.base + g->record_offset, (size_t)g->record_buckets * BLK);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* A page is synced. Meanwhile another region of the same record is cleared and set again: it is not
 * durable, and its next write syncs once more. */
static void clear_beside(uint64_t len)
{
    if (len != BLK || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    cm_lock_acquire(&cm_object_of(f)->lock);
    cm_region_check_begin(cm_object_of(f));
    cm_region_check_end(cm_object_of(f)); /* of region 2 */
    CHECK_EQ(cm_region_intend(cm_object_of(f), 4), 0);
    cm_lock_release(&cm_object_of(f)->lock);
}

static void test_cleared_beside(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    write_in(f, 2 * REGION);
    sync_origin(f);
    CHECK_EQ(page_syncs(), 1);
    changing = f;
    t.after_sync = clear_beside;
    write_in(f, REGION);
    t.after_sync = NULL;
    CHECK(!cm_region_is_settled(cm_object_of(f), 4));
    CHECK(cm_region_is_settled(cm_object_of(f), 2));
    file_end();
}

/* An incarnation that begins while the pool is synced keeps its intents. */
static void renew_beside(uint64_t len)
{
    cm_validator v = val(SIZE, 8);
    if (len != 0 || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    v.taken_at = later();
    CHECK(cm_file_revalidate(f, &v) >= 0);
}

static void test_renewed_beside(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(0);
    changing = f;
    t.after_sync = renew_beside;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    CHECK(cm_object_of(f)->regions.intents == CM_REGIONS_ALL);
    file_end();
}

/* Files that are closed are checkpointed, too; but not those whose origin may lose writes: nobody
 * knows any more where. */
static void test_closed(void)
{
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        CASE("dirty %u", dirty);
        checkpointed_pool();
        cm_file *f = three_regions(CM_SOLE_WRITER);
        if (dirty)
            write_in(f, 100);
        detach(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        power_cut(SYNCED);
        CHECK_EQ(regions_kept(CM_SOLE_WRITER), dirty ? 0 : 7);
        file_end();
    }
}

/* It was opened and written again before the checkpoint's end. */
static void open_beside(uint64_t len)
{
    if (len != 0 || changing)
        return;
    changing = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    write_in(changing, REGION);
    (void)put(changing, REGION, 1);
}

static void test_opened_again(void)
{
    checkpointed_pool();
    detach(three_regions(CM_SOLE_WRITER));
    changing = NULL;
    t.after_sync = open_beside;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    power_cut(STORED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER) & 2, 0);
    file_end();
}

/* A file that is closed while the pool is synced waits for the next checkpoint, also if it is
 * opened again. */
static bool open_it_again;
static void close_beside(uint64_t len)
{
    if (len != 0 || !changing)
        return;
    cm_file *f = changing;
    changing = NULL;
    write_in(f, REGION);
    sync_origin(f);
    detach(f);
    if (open_it_again)
        (void)attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
}

static void test_closed_beside(void)
{
    for (unsigned again = 0; again < 2; again++) {
        CASE("again %u", again);
        checkpointed_pool();
        changing = three_regions(CM_SOLE_WRITER);
        open_it_again = again;
        t.after_sync = close_beside;
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        t.after_sync = NULL;
        cm_file *f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
        CHECK(cm_object_of(f)->regions.intents & 2);
        file_end();
    }
}

/* A close does what a checkpoint does. */
static void test_close(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    detach(f);
    CHECK_EQ(cm_close(t.p.c), 0);
    memcpy(t.p.base, t.disk, POOL);
    pool_other_boot(&t.p);
    REQUIRE(file_up() == 0);
    CHECK_EQ(pool_info(t.p.c).durability, CM_DURABILITY_CHECKPOINT);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 7);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    write_in(f, REGION); /* and this session is checkpointed from its begin */
    CHECK_EQ(page_syncs(), 1);
    power_cut(SYNCED);
    CHECK_EQ(pool_info(t.p.c).emptied, 0);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* After a process was killed, nothing that is found is taken for durable. */
static void test_killed(void)
{
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.idle = true; /* it is killed before the sync of the page is done */
    write_in(f, REGION);
    t.idle = false;
    uint8_t *synced = map_bytes(POOL);
    memcpy(synced, t.disk, POOL);
    crash(STORED, false);
    memcpy(t.disk, synced, POOL);
    memcpy(t.disk, t.p.base, CM_STATS_OFFSET); /* the superblocks were synced by the open */
    unmap_bytes(synced, POOL);
    f = attach(&t.p, 1, SIZE, 7, CM_SOLE_WRITER);
    CHECK_EQ(info_of(f).kept, 1);
    CHECK_EQ(page_syncs(), 0);
    write_in(f, REGION);
    CHECK(page_syncs() > 0);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* ---- Records that may be on the disk only ---------------------------------------------------- */

enum gone { FORGOTTEN, EVICTED, RENEWED, KILLED };

/* The first record of file 1 is on the disk, with no intent. It goes from memory only. The file
 * begins anew, is written, and a power cut takes all that was not synced. It is an exclusive file:
 * its validator is still the same. */
static void check_lost(enum gone how)
{
    checkpointed_pool();
    detach(three_regions(CM_EXCLUSIVE));
    cm_file *f = attach(&t.p, 1, SIZE, 7, CM_EXCLUSIVE);
    sync_origin(f);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    detach(f);
    CHECK_EQ(regions_kept(CM_EXCLUSIVE), 7);
    const int64_t before = page_syncs();
    cm_file_id id = id_of(1);
    if (how == RENEWED) { /* another validator: the old record cannot be kept */
        f = attach(&t.p, 1, SIZE, 8, CM_EXCLUSIVE);
        CHECK_EQ(info_of(f).kept, 0);
    } else if (how == EVICTED) {
        const unsigned places = (unsigned)t.p.c->media.geo.record_buckets * CM_RECORD_WAYS;
        for (unsigned i = 0; i < 40 * places; i++)
            detach(attach(&t.p, 100 + i, SIZE, 7, 0));
    } else {
        CHECK_EQ(cm_forget_gone(t.p.c, &id), 0);
    }
    CHECK_EQ(page_syncs() - before, how == RENEWED);
    if (how == KILLED) {
        uint8_t *synced = map_bytes(POOL);
        memcpy(synced, t.disk, POOL);
        crash(STORED, false);
        memcpy(t.disk, synced, POOL);
        memcpy(t.disk, t.p.base, CM_STATS_OFFSET);
        unmap_bytes(synced, POOL);
    }
    if (how != RENEWED)
        f = attach(&t.p, 1, SIZE, 7, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).kept, 0);
    write_in(f, REGION);
    CHECK(page_syncs() > (how == KILLED ? 0 : before)); /* at the write, or before it */
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_EXCLUSIVE) & 2, 0);
    file_end();
}

static void test_lost_records(void)
{
    for (unsigned how = FORGOTTEN; how <= KILLED; how++) {
        CASE("how %u", how);
        CALL(check_lost(how));
    }
}

/* A checkpoint ends the losses before it, and not those that come while it syncs. */
static void forget_beside(uint64_t len)
{
    cm_file_id id = id_of(1);
    if (len == 0)
        CHECK_EQ(cm_forget_gone(t.p.c, &id), 0);
}

static void test_lost_since(void)
{
    for (unsigned beside = 0; beside < 2; beside++) {
        CASE("beside %u", beside);
        checkpointed_pool();
        cm_file *f = three_regions(CM_EXCLUSIVE);
        sync_origin(f);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        detach(f);
        if (beside)
            t.after_sync = forget_beside;
        else
            forget_beside(0);
        CHECK_EQ(cm_checkpoint(t.p.c), 0);
        t.after_sync = NULL;
        const int64_t before = page_syncs();
        f = attach(&t.p, 1, SIZE, 7, CM_EXCLUSIVE);
        write_in(f, REGION);
        CHECK_EQ(page_syncs() > before, beside);
        power_cut(SYNCED);
        CHECK_EQ(regions_kept(CM_EXCLUSIVE) & 2, 0);
        file_end();
    }
}

/* Before the first checkpoint nobody noted what was lost ... */
static void test_first_lost(void)
{
    cm_file_id id = id_of(1);
    file_pool();
    detach(three_regions(CM_EXCLUSIVE));
    CHECK_EQ(cm_forget_gone(t.p.c, &id), 0);
    memset(t.p.c->settling.open, 0, (size_t)t.p.c->media.geo.record_buckets);
    memset(t.p.c->settling.lost, 0, (size_t)t.p.c->media.geo.record_buckets * sizeof(uint64_t));
    changing = NULL;
    t.after_sync = open_beside; /* ... and it may still be on the disk when a file begins */
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    CHECK(page_syncs() > 0);
    file_end();
}

static void all_lost(void)
{
    cm_lock_acquire(&t.p.c->files_lock);
    cm_settle_all_lost(t.p.c);
    cm_lock_release(&t.p.c->files_lock);
}

/* The older record of a file may be in its other bucket. */
static void test_other_bucket(void)
{
    checkpointed_pool();
    detach(three_regions(0));
    all_lost();
    cm_file *f = attach(&t.p, 2, SIZE, 7, 0);
    write_in(f, REGION);
    CHECK_EQ(page_syncs(), 2);
    file_end();
}

/* A page that was synced for one file is not synced for the next one, unless something was lost in
 * between. */
static void test_lost_once(void)
{
    file_pool_of(32);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    const uint64_t buckets = t.p.c->media.geo.record_buckets;
    all_lost();
    cm_file *file[64];
    REQUIRE(12 * buckets <= 64);
    for (unsigned i = 0; i < 12 * buckets; i++)
        file[i] = attach(&t.p, 1 + i, SIZE, 7, 0);
    for (unsigned i = 0; i < 12 * buckets; i++)
        write_in(file[i], REGION);
    CHECK_EQ(page_syncs(), (int64_t)buckets);
    int64_t before = page_syncs();
    cm_file *f = attach(&t.p, 1000, SIZE, 7, 0);
    for (unsigned i = 0; i < 2; i++) {
        all_lost();
        cm_file *g = attach(&t.p, 1001 + i, SIZE, 7, 0);
        write_in(g, REGION); /* the first write in its buckets */
        CHECK_EQ(page_syncs(), before += 2);
        if (i == 0)
            write_in(g, 2 * REGION); /* all of its intents are durable */
        CHECK_EQ(page_syncs(), before);
        detach(g);
    }
    write_in(f, REGION); /* it began before the losses */
    CHECK_EQ(page_syncs(), before);
    file_end();
}

/* A record is lost while its page is synced for another file. */
static void forget_at_page(uint64_t len)
{
    cm_file_id id = id_of(1);
    if (len == BLK && changing) {
        changing = NULL;
        CHECK_EQ(cm_forget_gone(t.p.c, &id), 0);
    }
}

static void test_lost_beside(void)
{
    file_pool_of(16); /* two buckets */
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    cm_file *f = three_regions(CM_EXCLUSIVE);
    const uint64_t bucket = cm_object_of(f)->place / CM_RECORD_WAYS;
    sync_origin(f);
    detach(f);
    uint64_t id = 2;
    while (f = attach(&t.p, id, SIZE, 7, 0), cm_object_of(f)->place / CM_RECORD_WAYS != bucket)
        id++;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    changing = f;
    t.after_sync = forget_at_page;
    write_in(f, REGION);
    t.after_sync = NULL;
    CHECK_EQ(page_syncs(), 1);
    f = attach(&t.p, 1, SIZE, 7, CM_EXCLUSIVE);
    CHECK_EQ(info_of(f).kept, 0);
    write_in(f, REGION);
    CHECK(page_syncs() > 1);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_EXCLUSIVE) & 2, 0);
    file_end();
}

/* A file began anew where something was lost, and a checkpoint cleared its intents before its first
 * write. */
static void test_lost_cleared(void)
{
    checkpointed_pool();
    all_lost();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    CHECK(cm_object_of(f)->regions.lost != 0);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(cm_object_of(f)->regions.intents, 0);
    write_in(f, REGION);
    CHECK_EQ(page_syncs(), 1);
    power_cut(SYNCED);
    CHECK_EQ(regions_kept(CM_SOLE_WRITER), 5);
    file_end();
}

/* Only the file whose record was lost waits, and perhaps one of many others. */
static void test_lost_others(void)
{
    checkpointed_pool();
    cm_file_id id = id_of(1);
    detach(three_regions(0));
    CHECK_EQ(cm_forget_gone(t.p.c, &id), 0);
    unsigned waited = 0;
    for (unsigned i = 0; i < 100; i++) {
        cm_file *f = attach(&t.p, 2 + i, SIZE, 7, 0);
        waited += cm_object_of(f)->regions.lost != 0;
        detach(f);
    }
    CHECK(waited < 30); /* evictions are losses, too */
    cm_file *f = attach(&t.p, 1, SIZE, 7, 0);
    CHECK(cm_object_of(f)->regions.lost != 0);
    file_end();
}

/* Forgetting is durable, attached or not; but not if the id is gone for good. */
static void test_forget(void)
{
    for (unsigned attached = 0; attached < 2; attached++)
        for (unsigned gone = 0; gone < 2; gone++) {
            CASE("attached %u gone %u", attached, gone);
            cm_file_id id = id_of(1);
            checkpointed_pool();
            cm_file *f = three_regions(CM_SOLE_WRITER);
            CHECK_EQ(cm_checkpoint(t.p.c), 0);
            if (!attached)
                detach(f);
            CHECK_EQ(gone ? cm_forget_gone(t.p.c, &id) : cm_forget(t.p.c, &id), 0);
            CHECK_EQ(page_syncs() > 0, !gone);
            if (attached)
                detach(f);
            CHECK_EQ(regions_kept(CM_SOLE_WRITER), 0);
            power_cut(SYNCED);
            /* If it was attached, it has a record, and the attach noticed that this one is of
             * another version. */
            CHECK_EQ(regions_kept(CM_SOLE_WRITER), gone && !attached ? 7 : 0);
            file_end();
        }
}

/* An end of life that comes earlier than the recorded one is durable. */
static void test_ttl(void)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id = id_of(1);
    checkpointed_pool();
    cm_file *f = three_regions(0);
    CHECK_EQ(cm_file_set_ttl(f, 5000 * UINT64_C(1000000000)), 0);
    CHECK_EQ(page_syncs(), 0); /* a new file: nothing of it is warm without its end */
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    CHECK_EQ(cm_file_set_ttl(f, 9000 * UINT64_C(1000000000)), 0);
    CHECK_EQ(page_syncs(), 0);
    CHECK_EQ(cm_file_set_ttl(f, 10 * UINT64_C(1000000000)), 0);
    CHECK_EQ(page_syncs(), 1);
    power_cut(SYNCED);
    CHECK_EQ(cm_file_lookup(t.p.c, &id, NULL, &info), 0);
    CHECK(info.expires_ns != 0 && info.expires_ns < cm_plat_wall_ns() + INT64_C(11000000000));
    file_end();
}

/* It comes while a checkpoint syncs the pool. Then the disk may have the cleared intents without
 * it. */
static void ttl_beside(uint64_t len)
{
    if (len == 0 && changing)
        CHECK_EQ(cm_file_set_ttl(changing, 10 * UINT64_C(1000000000)), 0);
}

static void test_ttl_beside(void)
{
    checkpointed_pool();
    changing = three_regions(0);
    t.after_sync = ttl_beside;
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    t.after_sync = NULL;
    CHECK(cm_object_of(changing)->regions.intents == CM_REGIONS_ALL);
    changing = NULL;
    file_end();
}

/* It outlives an adopted validator of which the disk has only the body. */
static void test_ttl_body(void)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_id id = id_of(1);
    checkpointed_pool();
    cm_file *f = three_regions(CM_SOLE_WRITER);
    sync_origin(f);
    CHECK_EQ(cm_file_set_ttl(f, 5000 * UINT64_C(1000000000)), 0);
    CHECK_EQ(cm_checkpoint(t.p.c), 0);
    cm_bracket w = begin_write(f, 0, BLK);
    cm_validator v = val(SIZE, 8);
    v.taken_at = later();
    CHECK(cm_write_end(f, &w, &v) >= 0);
    const uint64_t at =
        t.p.c->media.geo.record_offset + cm_object_of(f)->place * sizeof(struct cm_record);
    struct cm_record *disk = (struct cm_record *)(void *)(t.disk + at);
    const uint64_t old = disk->expires;
    memcpy(disk, t.p.base + at, sizeof(*disk));
    disk->expires = old;
    power_cut(SYNCED);
    CHECK_EQ(cm_file_lookup(t.p.c, &id, NULL, &info), 0);
    CHECK(info.expires_ns != 0);
    file_end();
}

/* The last record of a large table, whose file is closed: its intents are cleared, too. */
static void test_last_record(void)
{
    struct pool p;
    struct cm_record r = { .id = { 7, 7 } };
    pool_make(&p, 16 * MIB, 4096);
    REQUIRE(pool_up(&p) == 0);
    const uint64_t last = p.c->media.geo.record_buckets * CM_RECORD_WAYS - 1;
    CHECK(last >= 4095); /* more than 64 words of bits */
    const struct cm_record_regions g = { .known = true, .intents = 5 };
    const struct cm_record_attr none = { 0 };
    CHECK_EQ(cm_super_incarnation(&p.c->super, &r.incarnation), 0);
    for (uint64_t at = last - 2; at <= last; at++)
        CHECK_EQ(cm_record_write(&p.c->media, at, &r, none, &g), 0);
    cm_lock_acquire(&p.c->files_lock);
    cm_settle_quiet(p.c, last);
    cm_settle_quiet(p.c, last - 1);
    cm_settle_wake(p.c, last - 1); /* its file is attached again */
    cm_settle_quiet(p.c, last - 2);
    cm_settle_lose(p.c, last - 2, &r.id); /* another file gets its place */
    cm_lock_release(&p.c->files_lock);
    cm_checkpoint_begin(p.c);
    cm_checkpoint_end(p.c);
    for (uint64_t at = last - 2; at <= last; at++) {
        memcpy(&r, record_of(p.c, at), sizeof(r));
        CHECK_EQ(cm_format_intents(cm_media_key(&p.c->media), at, &r), at == last ? 0 : 5);
    }
    for (uint64_t i = 0; i <= last / 64; i++)
        CHECK_EQ(p.c->settling.quiet[i] | p.c->settling.ready[i], 0);
    pool_end(&p);
}

/* ---- All ------------------------------------------------------------------------------------- */

static const struct harness_test checkpoint_tests[] = {
    TEST(where),          TEST(first),
    TEST(first_beside),   TEST(kept),
    TEST(born),           TEST(unsynced),
    TEST(begun_since),    TEST(begun_everywhere),
    TEST(open_before),    TEST(cleared_beside),
    TEST(renewed_beside), TEST(closed),
    TEST(opened_again),   TEST(closed_beside),
    TEST(close),          TEST(killed),
    TEST(lost_records),   TEST(lost_since),
    TEST(first_lost),     TEST(other_bucket),
    TEST(lost_once),      TEST(lost_others),
    TEST(lost_beside),    TEST(lost_cleared),
    TEST(forget),         TEST(ttl),
    TEST(ttl_beside),     TEST(ttl_body),
    TEST(last_record),    TEST_END,
};

static const struct harness_test *const tables[] = { checkpoint_tests, checkpoint_failing_tests,
                                                     checkpoint_versions_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
