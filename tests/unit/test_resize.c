/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_resize.c - a pool gets another size: what stays, what the new one knows, and what is
 * refused.
 */
#include "resize_common.h"

char dir[256], path[300], made[340];

/* ---- Growing --------------------------------------------------------------------------------- */

/* All hits stay, and all that is known of a file. */
static void test_grow(void)
{
    struct pool p;
    cm_file_info before, after;
    cm_file *f;
    make(&p, 2 * MIB, 0, CM_CREATE_NAMES);
    for (uint64_t id = 1; id <= 10; id++)
        fill_file(&p, id, 20);
    f = attach(&p, 11, 3 * BLK + 100, 1, 0);
    CHECK_EQ(put_all(f, 0, 3, 11), 3);
    CHECK_EQ(put_tail(f, 3, 100, 11), 0);
    CHECK_EQ(cm_file_set_name(f, "some/name"), 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    CHECK_EQ(cm_file_set_group(f, 77), 0);
    CHECK_EQ(cm_file_set_ttl(f, UINT64_C(3600) * 1000000000), 0);
    before = info_of(f);
    detach(f);
    down(&p);
    const cm_resize_report r = resize_to(6 * MIB, 0);
    CHECK_EQ(r.old_size, 2 * MIB);
    CHECK_EQ(r.blocks, 204);
    CHECK_EQ(r.no_room + r.damaged + r.files_lost + r.emptied, 0);
    CHECK_EQ(r.files, 11);
    CHECK_EQ(r.kept_files, 1);
    up_and_check(&p);
    CHECK_EQ(pool_info(p.c).size, 6 * MIB);
    CHECK(pool_info(p.c).slots > 1400);
    CHECK_EQ(pool_info(p.c).kept_files, 1);
    for (uint64_t id = 1; id <= 10; id++)
        CHECK_EQ(count_hits(&p, id, 20), 20);
    const cm_file_id eleven = id_of(11);
    memset(&after, 0, sizeof(after));
    after.struct_size = sizeof(after);
    CHECK_EQ(cm_file_lookup(p.c, &eleven, NULL, &after), 0);
    CHECK_EQ(after.incarnation, before.incarnation);
    CHECK(after.expires_ns != 0 && after.expires_ns <= before.expires_ns);
    CHECK(after.expires_ns > before.expires_ns - 2000000000);
    CHECK_EQ(after.group, 77);
    CHECK_EQ(after.keep, 1);
    CHECK_EQ(after.size, 3 * BLK + 100);
    CHECK(strcmp(after.name, "some/name") == 0);
    f = attach(&p, 11, 3 * BLK + 100, 1, 0);
    CHECK_EQ(look(f, 3, 11), TOO_SHORT); /* 100 right bytes */
    CHECK_EQ(look(f, 2, 11), RIGHT);
    /* Numbers are never used again. */
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK(info_of(f).incarnation == before.incarnation ||
          info_of(f).incarnation >= p.c->super.first_incarnation);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* What was forgotten stays so, and a changed file is cold. */
static void test_forgotten(void)
{
    struct pool p;
    cm_bracket w;
    cm_file *f;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 50);
    fill_file(&p, 2, 50);
    f = attach(&p, 1, 50 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_write_begin(f, 10 * BLK, 5 * BLK, &w), 0);
    cm_validator v = val(50 * BLK, 1);
    v.taken_at = later();
    (void)cm_write_end(f, &w, &v);
    detach(f);
    down(&p);
    CHECK_EQ(resize_to(3 * MIB, 0).blocks, 95);
    up_and_check(&p);
    f = attach(&p, 1, 50 * BLK, 1, 0);
    for (uint64_t b = 0; b < 50; b++)
        CHECK_EQ(look(f, b, 1), b >= 10 && b < 15 ? MISS : RIGHT);
    detach(f);
    f = attach(&p, 2, 50 * BLK, 2, 0); /* it was changed while nobody looked */
    for (uint64_t b = 0; b < 50; b++)
        CHECK_EQ(look(f, b, 2), MISS);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Shrinking ------------------------------------------------------------------------------- */

/* Kept files stay, then what was used most often. */
/* Of 100 blocks so many may find both of their buckets full, if the pool is full. */
#define FULL 12

static void test_shrink(void)
{
    struct pool p;
    cm_file *f;
    make(&p, 8 * MIB, 0, 0);
    fill_file(&p, 1, 300);
    fill_file(&p, 2, 100); /* hot */
    fill_file(&p, 3, 100); /* kept */
    fill_file(&p, 4, 300);
    f = attach(&p, 3, 100 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_keep(f, 1), 0);
    detach(f);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(count_hits(&p, 2, 100), 100);
    down(&p);
    const cm_resize_report r = resize_to(MIB + 512 * 1024, 0);
    CHECK_EQ(r.blocks, 800);
    CHECK(r.no_room > 400 && r.no_room < 500);
    CHECK_EQ(r.damaged, 0);
    up_and_check(&p);
    CHECK_EQ(pool_info(p.c).slots, 800 - r.no_room);
    CHECK_EQ(count_hits(&p, 3, 100), 100);
    const uint64_t hot = count_hits(&p, 2, 100);
    CHECK(hot >= 100 - FULL);
    CHECK_EQ(count_hits(&p, 1, 300) + count_hits(&p, 4, 300), 700 - hot - r.no_room);
    /* The counts came along: the next pool is small enough for the hot ones alone. */
    down(&p);
    CHECK(resize_to(MIB, 0).no_room > 0);
    up_and_check(&p);
    CHECK(count_hits(&p, 2, 100) >= 100 - 2 * FULL);
    CHECK_EQ(count_hits(&p, 3, 100), 100);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Among equals those stay that came last. */
static void test_youngest(void)
{
    struct pool p;
    uint64_t all = 0;
    make(&p, 8 * MIB, 0, 0);
    for (uint64_t id = 1; id <= 8; id++)
        fill_file(&p, id, 100);
    down(&p);
    const cm_resize_report r = resize_to(2 * MIB, 0);
    CHECK(r.no_room > 300 && r.no_room < 400);
    up_and_check(&p);
    for (uint64_t id = 1; id <= 8; id++) {
        const uint64_t n = count_hits(&p, id, 100);
        CHECK(id < 4 ? n == 0 : id == 4 || n >= 100 - FULL);
        all += n;
    }
    CHECK_EQ(all, 800 - r.no_room);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A small table still has the records of all files with blocks, and of kept ones. */
static void test_many_files(void)
{
    struct pool p;
    uint64_t hits = 0;
    make(&p, 4 * MIB, 800, 0);
    for (uint64_t id = 1; id <= 400; id++) {
        fill_file(&p, id, 1);
        if (id > 200)
            continue;
        cm_file *f = attach(&p, id, BLK, 1, CM_SOLE_WRITER); /* nothing of it is cached */
        CHECK_EQ(cm_drop(f, 0, CM_ALL), (int64_t)BLK);
        if (id <= 10)
            CHECK_EQ(cm_file_set_keep(f, 1), 0);
        detach(f);
    }
    down(&p);
    const cm_resize_report r = resize_to(MIB, 0);
    CHECK_EQ(r.files, 400);
    CHECK_EQ(r.kept_files, 10);
    CHECK_EQ(r.blocks, 200);
    up_and_check(&p);
    for (uint64_t id = 201; id <= 400; id++)
        hits += count_hits(&p, id, 1);
    CHECK_EQ(hits, 200 - r.no_room);
    CHECK(hits > 100);
    CHECK_EQ(pool_info(p.c).kept_files, 10);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Kept files whose records would be more than half of the smaller table: it is made larger. */
static void test_many_kept(void)
{
    struct pool p;
    make(&p, 4 * MIB, 800, 0);
    for (uint64_t id = 1; id <= 200; id++) {
        cm_file *f = attach(&p, id, 0, 1, CM_SOLE_WRITER);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        detach(f);
    }
    down(&p);
    const cm_resize_report r = resize_to(2 * MIB, 0);
    CHECK_EQ(r.files, 200);
    CHECK_EQ(r.kept_files, 200);
    up_and_check(&p);
    CHECK_EQ(pool_info(p.c).kept_files, 200);
    CHECK(pool_info(p.c).max_files >= 400);
    for (uint64_t id = 1001; id <= 1100; id++)
        detach(attach(&p, id, BLK, 1, CM_SOLE_WRITER));
    CHECK_EQ(STAT(p.c, unrecorded) + STAT(p.c, records_evicted), 0);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Damage, crashes ------------------------------------------------------------------------- */

/* Damaged blocks stay behind. */
static void test_damage(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    const uint64_t slots = p.c->media.geo.slot_offset;
    down(&p);
    for (uint64_t slot = 0; slot < 7; slot++)
        patch(slots + slot * BLK + 1000, "damage", 6);
    const cm_resize_report r = resize_to(3 * MIB, 0);
    CHECK_EQ(r.blocks, 100);
    CHECK_EQ(r.damaged, 7);
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 100), 93);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static void open_here(struct cm_super *sb)
{
    sb->state = CM_SUPER_OPEN;
    memset(&sb->memo, 0, sizeof(sb->memo));
}

static void open_elsewhere(struct cm_super *sb)
{
    open_here(sb);
    sb->durability = CM_DURABILITY_PAGECACHE;
    sb->boot_id[3] ^= 0x5a;
}

static void old_copy(struct cm_super *sb)
{
    sb->inc_mark = 2;
    sb->failed_boot = 5;
}

static bool mount_known(void)
{
    static const uint8_t unknown[16];
    const struct cm_super sb = super_now();
    return memcmp(sb.mount_id, unknown, sizeof(unknown)) != 0;
}

/* A killed owner's pool: as warm as before, and the next open still sees that it was killed. */
static void test_killed(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    down(&p);
    if (!mount_known())
        SKIP("no mount ids here: the pool of a dead owner empties itself, as it must");
    change_super(open_here);
    CHECK_EQ(resize_to(3 * MIB, 0).blocks, 100);
    CHECK_EQ(super_now().state, CM_SUPER_OPEN);
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 100), 100);
    down(&p);
    /* After a crash of the system the next open would empty it: it is empty. */
    change_super(open_elsewhere);
    CHECK_EQ(resize_to(2 * MIB, 0).emptied, 1);
    p.c = up();
    CHECK_EQ(count_hits(&p, 1, 100), 0);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* An older superblock beside newer blocks: nothing is believed. */
static void test_older(void)
{
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    down(&p);
    change_super(old_copy);
    CHECK_EQ(resize_to(3 * MIB, 0).emptied, 1);
    CHECK_EQ(super_now().unnamed_boot, 5); /* any file may be the one whose fsync failed */
    p.c = up();
    CHECK_EQ(count_hits(&p, 1, 100), 0);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Unsynced writes stay known: after a crash of the system their region is cold. */
static void test_dirty(void)
{
    struct pool p;
    cm_bracket w;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, CM_SOLE_WRITER);
    CHECK_EQ(cm_write_begin(f, 0, BLK, &w), 0);
    cm_validator v = val(100 * BLK, 2);
    v.taken_at = later();
    CHECK_EQ(cm_write_end(f, &w, &v), 0);
    CHECK_EQ(put(f, 0, 1), 0);
    const cm_file_info before = info_of(f);
    CHECK_EQ(before.dirty, 1);
    detach(f);
    down(&p);
    (void)resize_to(3 * MIB, 0);
    up_and_check(&p);
    const cm_file_id one = id_of(1);
    cm_file_info after = CM_FILE_INFO_INIT;
    CHECK_EQ(cm_file_lookup(p.c, &one, NULL, &after), 0);
    CHECK_EQ(after.dirty, 1);
    CHECK_EQ(after.dirty_regions, before.dirty_regions);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Refused --------------------------------------------------------------------------------- */

static int cancel(void *ctx, uint64_t done, uint64_t total)
{
    CHECK(total > 0); /* a caller divides by it */
    CHECK(done <= total);
    return --*(int *)ctx < 0;
}

/* One "no" is enough, even if the answer to the next question is another one. */
static int cancel_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    return --*(int *)ctx == -1;
}

static void test_refused(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    struct pool p;
    make(&p, 8 * MIB, 0, 0);
    fill_file(&p, 1, 900);
    (void)resize_to(16 * MIB, CM_EOWNED);
    down(&p);
    (void)resize_to(16 * MIB + 1, CM_EPOOLSIZE);
    (void)resize_to(0, CM_EPOOLSIZE);
    (void)resize_to(CM_POOL_SIZE_MAX + BLK, CM_EPOOLSIZE);
    CHECK_EQ(cm_resize(NULL, &o, NULL), CM_EINVAL);
    CHECK_EQ(cm_resize(path, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_resize(made, &o, NULL), CM_ENOENT);
    o.size = 16 * MIB;
    o.flags = 1;
    CHECK_EQ(cm_resize(path, &o, NULL), CM_EINVAL);
    o.flags = 0;
    for (int calls = 0; calls < 12; calls++) {
        int left = calls / 2;
        CASE("call %d", calls / 2);
        o.progress = calls % 2 ? cancel : cancel_once;
        o.progress_ctx = &left;
        CHECK_EQ(cm_resize(path, &o, NULL), CM_ECANCELED);
        CHECK_EQ(os_size(path), 8 * MIB);
        CHECK_EQ(os_size(made), -1);
    }
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 900), 900);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static char line[600];
static unsigned lines;
static void keep_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(line, sizeof(line), "%s", text);
    lines++;
}

static void expect_told(cm_resize_options *o, int result, unsigned times)
{
    line[0] = '\0';
    lines = 0;
    o->log = keep_line;
    CHECK_EQ(cm_resize(path, o, NULL), result);
    CHECK_EQ(lines, times);
}
#define expect_told(...) CALL(expect_told(__VA_ARGS__))

/* The log has one line for each error, unless the caller wanted it. */
static void test_told(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    struct pool p;
    int left = 0;
    make(&p, 8 * MIB, 0, 0);
    o.size = 16 * MIB;
    expect_told(&o, CM_EOWNED, 1);
    down(&p);
    o.size = CM_POOL_SIZE_MAX; /* more than any volume has */
    expect_told(&o, CM_ENOSPC, 1);
    CHECK(strstr(line, "cannot be resized from 8388608 to ") != NULL);
#ifndef _WIN32
    CHECK(strstr(line, "its volume lacks ") != NULL);
#endif
    o.size++;
    expect_told(&o, CM_EPOOLSIZE, 1);
    o.size = 16 * MIB;
    o.flags = 1;
    expect_told(&o, CM_EINVAL, 1);
    o.flags = 0;
    o.progress = cancel;
    o.progress_ctx = &left;
    expect_told(&o, CM_ECANCELED, 0);
    o.progress = NULL;
    expect_told(&o, 0, 0);
    CHECK_EQ(unlink(path), 0);
    expect_told(&o, CM_ENOENT, 1);
}

/* A mount point: that is said before anything is copied. */
static bool mounted;
bool __real_cm_plat_is_mount_point(const char *at);
bool __wrap_cm_plat_is_mount_point(const char *at);
bool __wrap_cm_plat_is_mount_point(const char *at)
{
    return mounted || __real_cm_plat_is_mount_point(at);
}

static void test_mounted(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    struct pool p;
    int left = 0;
    make(&p, 8 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    down(&p);
    o.size = 16 * MIB;
    o.progress = cancel; /* at the first step */
    o.progress_ctx = &left;
    mounted = true;
    expect_told(&o, CM_ENOTSUP, 1);
    mounted = false;
    CHECK(strstr(line, "is a mount point") != NULL);
    CHECK(strstr(line, "under its own path") != NULL);
    CHECK_EQ(os_size(made), -1);
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 100), 100);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Nothing is cached. */
static void test_progress_of_nothing(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    struct pool p;
    int left = 1000;
    make(&p, 8 * MIB, 0, 0);
    down(&p);
    o.size = 16 * MIB;
    o.progress = cancel;
    o.progress_ctx = &left;
    CHECK_EQ(cm_resize(path, &o, NULL), 0);
    CHECK(left < 1000);
    CHECK_EQ(unlink(path), 0);
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "wb");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* A left-over is removed; another file of its name is not. */
static void test_left_over(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_create_options left = CM_CREATE_OPTIONS_INIT;
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    fill_file(&p, 1, 100);
    down(&p);
    left.size = o.size = 3 * MIB;
    CHECK_EQ(cm_create(made, &left), 0);
    CHECK_EQ(resize_to(3 * MIB, 0).blocks, 100);
    put_file(made, "precious");
    o.size = 2 * MIB;
    CHECK_EQ(cm_resize(path, &o, NULL), CM_EEXIST);
    CHECK_EQ(os_size(made), 8);
    CHECK_EQ(os_size(path), 3 * MIB);
    CHECK_EQ(unlink(made), 0);
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 100), 100);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A left-over that somebody has opened is in the way: it is his by now. */
static void test_left_over_in_use(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_create_options left = CM_CREATE_OPTIONS_INIT;
    cm_options opts = CM_OPTIONS_INIT;
    cm_cache *his = NULL;
    struct pool p;
    make(&p, 2 * MIB, 0, 0);
    down(&p);
    left.size = 3 * MIB;
    o.size = 4 * MIB;
    CHECK_EQ(cm_create(made, &left), 0);
    CHECK_EQ(cm_open(made, &opts, &his), 0);
    CHECK_EQ(cm_resize(path, &o, NULL), CM_EEXIST);
    CHECK_EQ(os_size(made), 3 * MIB);
    CHECK_EQ(os_size(path), 2 * MIB);
    CHECK_EQ(cm_close(his), 0);
    CHECK_EQ(unlink(made), 0);
    CHECK_EQ(unlink(path), 0);
}

/* A process that opened the old file before, or has another name of it, finds no pool. */
static void test_old_file(void)
{
#ifndef _WIN32
    char other[320];
    struct pool p;
    cm_info info = CM_INFO_INIT;
    (void)snprintf(other, sizeof(other), "%s/other", dir);
    make(&p, 2 * MIB, 0, 0);
    down(&p);
    CHECK_EQ(link(path, other), 0);
    (void)resize_to(3 * MIB, 0);
    CHECK_EQ(cm_pool_info(other, &info), CM_ENOTPOOL);
    CHECK_EQ(unlink(other), 0);
    /* Through a link the pool itself is replaced. */
    CHECK_EQ(symlink(path, other), 0);
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    o.size = 4 * MIB;
    CHECK_EQ(cm_resize(other, &o, NULL), 0);
    CHECK_EQ(os_size(path), 4 * MIB);
    CHECK_EQ(unlink(other), 0);
    CHECK_EQ(unlink(path), 0);
#else
    SKIP("hard links, and names of open files");
#endif
}

/* A sparse pool stays so, one with a number of files keeps it, and the wear goes on. */
static void test_shape(void)
{
    struct pool p;
    cm_stats_data s = CM_STATS_INIT;
    make(&p, 64 * MIB, 5000, CM_CREATE_SPARSE);
    fill_file(&p, 1, 100);
    const uint64_t files = pool_info(p.c).max_files;
    down(&p);
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    const uint64_t wear = s.lifetime_pool_bytes;
    (void)resize_to(96 * MIB, 0);
    CHECK(os_space(path) < (int64_t)(32 * MIB));
    s = (cm_stats_data)CM_STATS_INIT;
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK_EQ(s.lifetime_pool_bytes, wear + 100 * BLK);
    up_and_check(&p);
    CHECK_EQ(pool_info(p.c).max_files, files);
    down(&p);
    (void)resize_to(2 * MIB, 0); /* no room for so many */
    up_and_check(&p);
    CHECK(pool_info(p.c).max_files < files);
    CHECK_EQ(count_hits(&p, 1, 100), 100);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static uint64_t files_of(uint64_t size, uint64_t files, uint64_t then)
{
    struct pool p;
    make(&p, size, files, CM_CREATE_SPARSE);
    down(&p);
    if (then > 0)
        (void)resize_to(then, 0);
    p.c = up();
    const uint64_t n = pool_info(p.c).max_files;
    down(&p);
    CHECK_EQ(unlink(path), 0);
    return n;
}

/* A table that is larger than that of its size was asked for, or the pool became smaller once. A
 * pool that becomes so large that it would have a larger one gets that. */
static void test_table(void)
{
    const uint64_t usual = files_of(GIB, 0, 0);
    CHECK_EQ(files_of(64 * MIB, 0, GIB), usual);
    CHECK_EQ(files_of(64 * MIB, usual / 2, GIB), usual);
    CHECK(files_of(64 * MIB, 64, GIB) < 100);         /* a small one stays */
    CHECK(files_of(GIB, 2 * usual, 2 * GIB) > usual); /* and one that is still larger */
}

/* Each record has a region that began anew, the second one; and so many times one can be judged. */
static struct {
    bool raised;
    uint64_t judged;
} records;

int __real_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
int __wrap_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
int __wrap_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole)
{
    const int e = __real_cm_record_at(m, place, r, whole);
    if (records.raised && records.judged-- == 0) {
        records.judged = 0;
        *whole = false;
        return CM_ESEAL;
    }
    if (records.raised && *whole)
        r->since[0] |= 1u << 8;
    return e;
}

/* A record that cannot be judged for a moment, at each moment of a resize: the pool stays as it is,
 * or takes all blocks with it. */
static void test_unjudged(void)
{
    struct pool p;
    int e = CM_ESEAL;
    make(&p, MIB, 0, 0);
    fill_file(&p, 1, 3);
    down(&p);
    for (uint64_t judged = 0; e == CM_ESEAL; judged++) {
        cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
        cm_resize_report r = CM_RESIZE_REPORT_INIT;
        CASE("judged %u", (unsigned)judged);
        o.size = 2 * MIB;
        records.judged = judged;
        records.raised = true;
        e = cm_resize(path, &o, &r);
        records.raised = false;
        CHECK(e == CM_ESEAL || (e == 0 && r.blocks == 3));
    }
}

static const struct harness_test resize_tests[] = {
    TEST(grow),
    TEST(forgotten),
    TEST(shrink),
    TEST(youngest),
    TEST(many_files),
    TEST(damage),
    TEST(killed),
    TEST(older),
    TEST(dirty),
    TEST(refused),
    TEST(progress_of_nothing),
    TEST(left_over),
    TEST(left_over_in_use),
    TEST(old_file),
    TEST(shape),
    TEST(table),
    TEST(told),
    TEST(unjudged),
    TEST(many_kept),
    TEST(mounted),
    TEST_END,
};

static const struct harness_test *const tables[] = { resize_tests, resize_carry_tests,
                                                     resize_order_tests };

int main(int argc, char **argv)
{
    if (!os_make_dir(dir, sizeof(dir), NULL, "resize"))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    (void)snprintf(made, sizeof(made), "%s.cachemax-resize", path);
    const int failed = HARNESS_TABLES(tables, argc, argv);
    (void)os_remove_dir(dir);
    return failed;
}
