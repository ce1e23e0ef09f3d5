/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_resize_order.c - in which order a resize makes things durable.
 *
 * `durable` has of the new file what a power cut would leave: what syncs wrote back or, with DAX,
 * what flushes did, and copies past the caches. When the superblocks get there all else must be
 * there. When the file takes the name of the pool it must be all of it, and readers of the old pool
 * must find no session there. And a killed owner's file is synced before anything is copied.
 */
#include "resize_common.h"

#define OLD_SIZE (2 * MIB)
#define NEW_SIZE (3 * MIB)
#define RECORDS ((CM_STATS_OFFSET + CM_STATS_BYTES + BLK - 1) / BLK * BLK)

static struct {
    bool armed;
    enum cm_durability durability; /* that the new file is said to have */
    struct cm_plat_file *file;     /* the new one; NULL: it is not mapped yet */
    uint8_t *durable;
    unsigned unfenced; /* flushes and copies since the last fence */
    unsigned supers, replaced;
    struct cm_persist_ops real, ops;
    unsigned lost; /* so many syncs of the old file fail from now on */
} watch;

/* ---- What becomes durable -------------------------------------------------------------------- */

static bool has_super(const uint8_t *at)
{
    return memcmp(at, "CACHEMAX", 8) == 0 || memcmp(at + CM_SUPER_STRIDE, "CACHEMAX", 8) == 0;
}

static bool is_durable(uint64_t from, uint64_t end)
{
    return memcmp(watch.file->base + from, watch.durable + from, (size_t)(end - from)) == 0;
}

static void get_durable(uint64_t at, uint64_t n)
{
    const bool had = has_super(watch.durable);
    memcpy(watch.durable + at, watch.file->base + at, (size_t)n);
    if (had || !has_super(watch.durable))
        return;
    watch.supers++;
    CHECK(is_durable(RECORDS, NEW_SIZE));
    CHECK_EQ(watch.unfenced, 0);
}

static bool is_dax(void)
{
    return watch.durability == CM_DURABILITY_DAX;
}

int __real_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    if (watch.armed && f == watch.file && !is_dax())
        get_durable(offset, len ? len : NEW_SIZE);
    if (watch.lost > 0 && f->size == OLD_SIZE) {
        watch.lost--;
        return CM_EIO;
    }
    return __real_cm_plat_file_sync(f, offset, len);
}

static int watched_flush(void *ctx, const void *p, size_t n)
{
    get_durable((uint64_t)((const uint8_t *)p - watch.file->base), n);
    watch.unfenced++;
    return watch.real.flush(ctx, p, n);
}

static int watched_copy(void *ctx, void *dst, const void *src, size_t n)
{
    const int e = watch.real.copy(ctx, dst, src, n);
    get_durable((uint64_t)((uint8_t *)dst - watch.file->base), n);
    watch.unfenced++;
    return e;
}

static void watched_fence(void *ctx)
{
    watch.unfenced = 0;
    watch.real.fence(ctx);
}

const struct cm_persist_ops *__real_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need);
const struct cm_persist_ops *__wrap_cm_persist_choose(enum cm_flush_need need)
{
    if (!watch.armed || need != CM_FLUSH_LINES)
        return __real_cm_persist_choose(need);
    watch.ops = watch.real = *__real_cm_persist_choose(need);
    watch.ops.flush = watched_flush;
    watch.ops.copy = watched_copy;
    watch.ops.fence = watched_fence;
    return &watch.ops;
}

/* The first file of the new size is the new one. */
int __real_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability);
int __wrap_cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    const int e = __real_cm_plat_file_map(f, align, durability);
    if (watch.armed && f->size == NEW_SIZE && e == 0) {
        watch.file = f;
        *durability = watch.durability;
    }
    return e;
}

/* ---- The exchange ---------------------------------------------------------------------------- */

int __real_cm_plat_file_replace(struct cm_plat_file *f, const char *new_name,
                                struct cm_plat_file *old, const char *name, bool *replaced);
int __wrap_cm_plat_file_replace(struct cm_plat_file *f, const char *new_name,
                                struct cm_plat_file *old, const char *name, bool *replaced);
int __wrap_cm_plat_file_replace(struct cm_plat_file *f, const char *new_name,
                                struct cm_plat_file *old, const char *name, bool *replaced)
{
    if (watch.armed) {
        uint64_t session;
        memcpy(&session, old->base + CM_SESSION_OFFSET, sizeof(session));
        CHECK_EQ(session % 2, 1); /* odd: there is none */
        CHECK(f == watch.file);
        CHECK(is_durable(0, CM_STATS_OFFSET));
        /* Nothing flushes the counters with DAX: a crash may take them. */
        CHECK(is_dax() || is_durable(CM_STATS_OFFSET, RECORDS));
        CHECK(is_durable(RECORDS, NEW_SIZE));
        CHECK_EQ(watch.unfenced, 0);
        watch.replaced++;
    }
    return __real_cm_plat_file_replace(f, new_name, old, name, replaced);
}

static uint64_t session_now(void)
{
    uint64_t session = 0;
    FILE *file = fopen(path, "rb");
    CHECK(file && fseek(file, CM_SESSION_OFFSET, SEEK_SET) == 0);
    CHECK(file && fread(&session, 1, sizeof(session), file) == sizeof(session));
    CHECK(file && fclose(file) == 0);
    return session;
}

static void check_order(enum cm_durability durability)
{
    struct pool p;
    make(&p, OLD_SIZE, 0, CM_CREATE_NAMES);
    fill_file(&p, 1, 100);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(cm_file_set_name(f, "some/name"), 0);
    CHECK_EQ(cm_file_set_ttl(f, UINT64_C(3600) * 1000000000), 0);
    detach(f);
    down(&p);
    CHECK_EQ(session_now() % 2, 0); /* readers of the pool are served still */
    memset(&watch, 0, sizeof(watch));
    watch.durable = map_bytes(NEW_SIZE);
    watch.durability = durability;
    watch.armed = true;
    CHECK_EQ(resize_to(NEW_SIZE, 0).blocks, 100);
    watch.armed = false;
    CHECK_EQ(watch.supers, 1);
    CHECK_EQ(watch.replaced, 1);
    CHECK(has_super(watch.durable));
    unmap_bytes(watch.durable, NEW_SIZE);
    up_and_check(&p);
    CHECK_EQ(count_hits(&p, 1, 100), 100);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

static void test_order(void)
{
    static const enum cm_durability all[] = { CM_DURABILITY_PAGECACHE, CM_DURABILITY_VOLATILE,
                                              CM_DURABILITY_DAX };
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CASE("durability %d", (int)all[i]);
        CALL(check_order(all[i]));
    }
}

/* ---- What the old file has lost -------------------------------------------------------------- */

static void leave_open(struct cm_super *sb)
{
    sb->state = CM_SUPER_OPEN;
    sb->durability = CM_DURABILITY_PAGECACHE;
    memset(&sb->memo, 0, sizeof(sb->memo));
}

/* Makes a pool whose owner was killed. False: it is not in a page cache that syncs write back. */
static bool old_pool(void)
{
    struct pool p;
    make(&p, OLD_SIZE, 0, 0);
    const bool syncs = p.c->super.sync;
    fill_file(&p, 1, 100);
    down(&p);
    memset(&watch, 0, sizeof(watch));
    change_super(leave_open);
    watch.lost = 1;
    return syncs;
}

static bool is_empty(void)
{
    struct pool p = { .c = up() };
    const bool is = count_hits(&p, 1, 100) == 0;
    CHECK_EQ(cm_close(p.c), 0);
    return is;
}

static int no_more(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    return 1;
}

static void count_losses(void *ctx, int level, const char *line)
{
    CHECK_EQ(level, CM_LOG_WARNING);
    CHECK(strstr(line, "lost what the last owner wrote") != NULL);
    ++*(unsigned *)ctx;
}

/* The system has dropped what a killed owner wrote, perhaps what it forgot. It tells that to one
 * sync. The copy must not have the old pages, nor may the old pool if it stays. */
static void test_lost(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    if (!old_pool())
        SKIP("the test's directory has no page cache that syncs write back");
    unsigned lines = 0;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    o.size = NEW_SIZE;
    o.log = count_losses;
    o.log_ctx = &lines;
    CHECK_EQ(cm_resize(path, &o, &r), 0);
    CHECK_EQ(r.emptied, 1);
    CHECK_EQ(lines, 1);
    CHECK(is_empty());
    CHECK(old_pool());
    const uint64_t session = session_now();
    o.progress = no_more;
    CHECK_EQ(cm_resize(path, &o, NULL), CM_ECANCELED);
    CHECK_EQ(watch.lost, 0);
    CHECK_EQ(lines, 2);              /* nothing else says so */
    CHECK(session_now() != session); /* readers learn it, too */
    CHECK(is_empty());
    CHECK(old_pool());
    watch.lost = UINT32_MAX; /* nothing can be made durable, so there is no pool any more */
    (void)resize_to(NEW_SIZE, CM_EIO);
    watch.lost = 0;
    cm_info info = CM_INFO_INIT;
    CHECK(cm_pool_info(path, &info) < 0);
    CHECK_EQ(unlink(path), 0);
}

const struct harness_test resize_order_tests[] = { TEST(order), TEST(lost), TEST_END };
