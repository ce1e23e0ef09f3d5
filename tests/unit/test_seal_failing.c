/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seal_failing.c - callbacks of a seal that fail for a moment: nothing that was cached is lost
 * for it.
 *
 * Each act runs once for each call of a callback that it makes, and that call fails; then once more
 * for each, and all calls from there on fail until the act ends. Afterwards the pool is opened as
 * usual, and must have what it had.
 */
#include "cachemax_objects.h"
#include "seal_common.h"

#include <unistd.h>

#include "../os.h"

#define MANY 5u /* blocks of each file */
#define FILES 2u
#define CALLS_MOST 2000u
#define SIZE (MIB / 2)

/* No test looks at what a crash of the system leaves, and syncs of a disk take long. */
static int sync_fails;       /* the next one; the system says it once */
static uint64_t page_synced; /* offset of the last one */
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    (void)f;
    if (len == CM_BLOCK_SIZE)
        page_synced = offset;
    const int e = sync_fails ? CM_EIO : 0;
    sync_fails = 0;
    return e;
}

struct scene {
    struct sealed s;
    char path[300];
    cm_file *f[FILES];
    bool checkpointed;
    bool cold[FILES]; /* what the act is to forget */
};

static void up(struct scene *t)
{
    REQUIRE(cm_open(t->path, &t->s.p.o, &t->s.p.c) == 0);
    for (unsigned i = 0; i < FILES; i++)
        t->f[i] = attach(&t->s.p, i + 1, 20 * BLK, 1, 0);
}

static void detach_all(struct scene *t)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (t->f[i])
            detach(t->f[i]);
        t->f[i] = NULL;
    }
}

static void down(struct scene *t)
{
    detach_all(t);
    CHECK_EQ(cm_close(t->s.p.c), 0);
    t->s.p.c = NULL;
}

/* Not on a tmpfs, for one. */
static bool can_checkpoint(const struct scene *t)
{
    return t->s.p.c->sync_lasts;
}
#define NEEDS_CHECKPOINTS(t)                                                                       \
    do {                                                                                           \
        if (!can_checkpoint(t)) {                                                                  \
            CHECK_EQ(cm_checkpoint((t)->s.p.c), CM_ENOTSUP);                                       \
            down(t);                                                                               \
            SKIP("this volume may not keep what it syncs");                                        \
        }                                                                                          \
    } while (0)

/* A pool in a file, open, with both files warm. */
static void begin(struct scene *t, bool checkpointed)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    memset(t, 0, sizeof(*t));
    (void)snprintf(t->path, sizeof(t->path), "%s/failing", seal_dir);
    (void)unlink(t->path);
    t->s.key.key = 5;
    t->s.seal = toy_seal(&t->s.key, 1);
    o.size = SIZE;
    o.flags = CM_CREATE_SPARSE;
    o.seal = t->s.p.o.seal = &t->s.seal;
    REQUIRE(cm_create(t->path, &o) == 0);
    t->s.p.o.struct_size = sizeof(t->s.p.o);
    t->s.p.o.probation_bytes = CM_PROBATION_NONE;
    t->s.p.o.policy = CM_POLICY_GCLOCK; /* every block is stored */
    t->checkpointed = checkpointed;
    up(t);
    for (unsigned i = 0; i < FILES; i++)
        CHECK_EQ(put_all(t->f[i], 0, MANY, 7 + i), MANY);
    if (checkpointed && can_checkpoint(t))
        CHECK_EQ(cm_checkpoint(t->s.p.c), 0);
}

/* Opens the pool as usual, and looks for what it had. */
static void judge(struct scene *t)
{
    t->s.key.fails = 0;
    if (t->s.p.c)
        down(t);
    up(t);
    CHECK_EQ(t->s.p.c->super.damaged, 0);
    for (unsigned i = 0; i < FILES; i++)
        CHECK_EQ(hits(t->f[i], 0, MANY, 7 + i), t->cold[i] ? 0 : MANY);
    down(t);
}

static cm_validator valid_now(void)
{
    cm_validator v = val(20 * BLK, 1);
    v.taken_at = later();
    return v;
}

/* Returns what the call returned that is tried. It may close the pool. */
typedef int act(struct scene *t);

static int try_it(act *a, bool checkpointed, unsigned after, unsigned fails)
{
    struct scene t;
    CASE("call %u", after);
    begin(&t, checkpointed);
    t.s.key.after = after;
    t.s.key.fails = fails;
    const int e = a(&t);
    const bool failed = t.s.key.failed > 0;
    CHECK(e == CM_ESEAL || e >= 0);
    judge(&t);
    return failed;
}

static void try_all(act *a)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        const unsigned fails = kind & 1 ? UINT32_MAX : 1;
        unsigned n = 0;
        CASE("kind %u", kind);
        while (n < CALLS_MOST && try_it(a, kind & 2, n, fails) && harness_failures == 0)
            n++;
        CHECK(n < CALLS_MOST && (n > 0 || kind > 1)); /* the act makes some calls */
    }
}
#define try_all(...) CALL(try_all(__VA_ARGS__))

/* ---- Acts ------------------------------------------------------------------------------------ */

static int opening(struct scene *t)
{
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.key = fails;
    const int e = cm_open(t->path, &t->s.p.o, &t->s.p.c);
    if (e) {
        t->s.p.c = NULL;
        return e;
    }
    struct cm_super sb;
    uint32_t damaged = 1;
    t->s.key.fails = 0;
    CHECK(cm_super_read_sealed(t->s.p.c->media.base, &t->s.p.c->sealing, &sb, &damaged) >= 0);
    CHECK_EQ(damaged, 0); /* both copies are right */
    return 0;
}

static void test_failing_open(void)
{
    try_all(opening);
}

/* The volume has lost what a crashed owner wrote, and no new epoch can be sealed. Then the pool is
 * void: the loss counts, and not the seal. */
static void test_failing_open_lost(void)
{
    struct scene t;
    begin(&t, false);
    const bool syncs = t.s.p.c->super.sync;
    down(&t);
    if (!syncs)
        SKIP("this volume is not synced");
    t.s.p.o.log = sealed_log;
    t.s.p.o.log_ctx = &t.s;
    sync_fails = 1;
    t.s.key.after = 4; /* both superblocks are judged */
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_open(t.path, &t.s.p.o, &t.s.p.c), CM_EIO);
    CHECK(strstr(t.s.said, "the pool is void") != NULL);
    t.s.key.fails = 0;
    CHECK_EQ(cm_open(t.path, &t.s.p.o, &t.s.p.c), CM_ENOTPOOL);
    t.s.p.c = NULL;
}

static int closing(struct scene *t)
{
    detach_all(t);
    const int e = cm_close(t->s.p.c);
    t->s.p.c = NULL;
    return e;
}

static void test_failing_close(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not say which mount it is: a pool that was not closed is emptied");
    try_all(closing);
}

static int checkpoint(struct scene *t)
{
    return cm_checkpoint(t->s.p.c);
}

/* Twice: the second one may have to say what the first could not. */
static int checkpoints(struct scene *t)
{
    const int e = cm_checkpoint(t->s.p.c);
    return e && e != CM_ESEAL ? e : cm_checkpoint(t->s.p.c);
}

static void test_failing_checkpoint(void)
{
    struct scene t;
    begin(&t, false);
    NEEDS_CHECKPOINTS(&t);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(checkpoint(&t), CM_ESEAL);
    t.s.key.fails = 0;
    CHECK_EQ(hits(t.f[0], 0, MANY, 7), MANY); /* nothing was emptied */
    CHECK_EQ(checkpoint(&t), 0);
    CHECK_EQ((int64_t)pool_stats(t.s.p.c).escalations, 0);
    judge(&t);
    try_all(checkpoints);
}

/* One is known, one is new; both may be in the same buckets. */
static int attaching(struct scene *t)
{
    const cm_validator v = valid_now();
    cm_file *f = NULL;
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    detach_all(t);
    t->s.key = fails;
    for (uint64_t id = 1; id <= 3; id += 2) {
        const cm_file_id which = id_of(id);
        const int e = cm_file_open(t->s.p.c, &which, &v, 0, &f);
        if (e < 0)
            return e;
        detach(f);
    }
    return 0;
}

static void test_failing_attach(void)
{
    try_all(attaching);
}

static unsigned records(struct scene *t)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    CHECK_EQ(cm_check(t->s.p.c, CM_CHECK_METADATA, NULL, NULL, &r), 0);
    return (unsigned)r.records;
}

/* A new file takes the record of another one; if that fails, the other one keeps it. */
static void test_failing_full(void)
{
    struct scene t;
    begin(&t, false);
    unsigned full = 0, now = records(&t);
    for (uint64_t id = 10; now > full || id < 200; id++) {
        full = now;
        detach(attach(&t.s.p, id, BLK, 1, 0));
        now = records(&t);
    }
    for (unsigned n = 0; n < full + 6; n++) {
        const cm_file_id id = id_of(1000 + n);
        const cm_validator v = valid_now();
        cm_file *f = NULL;
        CASE("call %u", n);
        t.s.key.after = n;
        t.s.key.fails = 1;
        const int e = cm_file_open(t.s.p.c, &id, &v, 0, &f);
        CHECK(e == 0 || e == CM_ESEAL);
        if (e == 0)
            detach(f);
        t.s.key.fails = 0;
        CHECK_EQ(records(&t), full);
    }
    detach_all(&t);
    CHECK_EQ(cm_close(t.s.p.c), 0);
}

static int ending(struct scene *t)
{
    return cm_file_set_ttl(t->f[0], UINT64_C(3600) * 1000000000);
}

/* The end of life is known in the next session if the call said so. */
static void test_failing_ttl(void)
{
    for (unsigned n = 0; n < 2; n++) {
        struct scene t;
        const cm_file_id id = id_of(1);
        cm_validator v = CM_VALIDATOR_INIT;
        cm_file_info info = CM_FILE_INFO_INIT;
        begin(&t, false);
        t.s.key.after = n;
        t.s.key.fails = 1;
        CHECK_EQ(ending(&t), 0);
        t.s.key.fails = 0;
        down(&t);
        REQUIRE(cm_open(t.path, &t.s.p.o, &t.s.p.c) == 0);
        CHECK_EQ(cm_file_lookup(t.s.p.c, &id, &v, &info), 0);
        CHECK(info.expires_ns > 0);
        judge(&t);
    }
}

static int looking(struct scene *t)
{
    const cm_file_id id = id_of(1);
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    detach_all(t);
    const int e = cm_file_lookup(t->s.p.c, &id, &v, &info);
    CHECK(e == CM_ESEAL || e == 0);
    return e;
}

static void test_failing_lookup(void)
{
    try_all(looking);
}

static int listing(struct scene *t)
{
    cm_file_iter *iter;
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info info = CM_FILE_INFO_INIT;
    unsigned n = 0;
    detach_all(t);
    const int e = cm_files_begin(t->s.p.c, 0, &iter);
    if (e)
        return e;
    t->s.key.fails = 0;
    while (cm_files_next(iter, &v, &info) == 0)
        n++;
    cm_files_end(iter);
    CHECK_EQ(n, FILES);
    return 0;
}

static void test_failing_list(void)
{
    struct scene t;
    begin(&t, false);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(listing(&t), CM_ESEAL); /* not fewer files */
    judge(&t);
}

static int keeping(struct scene *t)
{
    const int e = cm_file_set_keep(t->f[0], 1);
    CHECK(e == 0 || e == CM_NOT_RECORDED || e == CM_ESEAL);
    t->s.key.fails = 0;
    CHECK_EQ((int64_t)info_of(t->f[0]).keep, e == 0);
    CHECK_EQ((int64_t)pool_info(t->s.p.c).kept_files, e == 0);
    return e;
}

static int grouping(struct scene *t)
{
    const int e = cm_file_set_group(t->f[0], 3);
    CHECK(e == 0 || e == CM_NOT_RECORDED || e == CM_ESEAL);
    const uint64_t place = cm_object_of(t->f[0])->place;
    CHECK(e != 0 || record_of(t->s.p.c, place)->group == 3);
    return e;
}

static void test_failing_keep(void)
{
    try_all(keeping);
    try_all(grouping);
}

static int checking(struct scene *t)
{
    cm_check_report r = CM_CHECK_REPORT_INIT;
    const int e = cm_check(t->s.p.c, CM_CHECK_REPAIR, NULL, NULL, &r);
    CHECK_EQ((int64_t)r.dropped, 0);
    CHECK_EQ((int64_t)r.unreadable, 0);
    CHECK(e == CM_ESEAL || (e == 0 && r.records == FILES));
    return e;
}

static void test_failing_check(void)
{
    struct scene t;
    begin(&t, false);
    t.s.key.fails = 1;
    t.s.key.after = 4; /* the content of a block */
    CHECK_EQ(checking(&t), CM_ESEAL);
    judge(&t);
    try_all(checking);
}

static int resizing(struct scene *t)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.key = fails;
    o.size = SIZE + MIB / 4;
    o.seal = &t->s.seal;
    const int e = cm_resize(t->path, &o, &r);
    CHECK_EQ((int64_t)os_size(t->path), (int64_t)(e ? SIZE : o.size));
    return e;
}

static void test_failing_resize(void)
{
    try_all(resizing);
}

/* ---- What must be forgotten all the same ----------------------------------------------------- */

static int forgetting(struct scene *t)
{
    const cm_file_id id = id_of(2);
    detach_all(t);
    const int e = cm_forget(t->s.p.c, &id);
    t->cold[1] = e == 0;
    return e;
}

/* Another version: the record is written anew. */
static int changing(struct scene *t)
{
    cm_validator v = val(20 * BLK, 2);
    v.taken_at = later();
    const int e = cm_file_revalidate(t->f[1], &v);
    t->cold[1] = true;
    return e;
}

/* The same of a file that was kept when it was opened: its old record must not come back. */
static void test_failing_kept(void)
{
    struct scene t;
    begin(&t, false);
    down(&t);
    up(&t);
    CHECK_EQ((int64_t)info_of(t.f[1]).kept, 1);
    t.s.key.fails = UINT32_MAX;
    CHECK(changing(&t) >= 0);
    judge(&t);
}

/* The other file stays warm. */
static void test_failing_forget(void)
{
    struct scene t;
    for (unsigned checkpointed = 0; checkpointed < 2; checkpointed++) {
        begin(&t, checkpointed != 0);
        t.s.key.fails = UINT32_MAX;
        CHECK_EQ(forgetting(&t), 0);
        CHECK_EQ((int64_t)pool_stats(t.s.p.c).escalations, 0);
        judge(&t);
    }
    try_all(forgetting);
    try_all(changing);
}

/* Where syncs decide, the end of the record is synced. */
static void test_failing_page(void)
{
    struct scene t;
    begin(&t, true);
    NEEDS_CHECKPOINTS(&t);
    const cm_cache *c = t.s.p.c;
    const uint64_t place = cm_object_of(t.f[1])->place;
    page_synced = 0;
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(changing(&t), 0);
    CHECK_EQ((int64_t)page_synced,
             (int64_t)(c->media.geo.record_offset + place / CM_RECORD_WAYS * CM_BLOCK_SIZE));
    judge(&t);
}

/* ---- Superblocks and sizes ------------------------------------------------------------------- */

static void test_failing_epoch(void)
{
    struct scene t;
    begin(&t, true);
    NEEDS_CHECKPOINTS(&t);
    t.s.key.fails = 1;
    CHECK_EQ(bump_epoch(t.s.p.c), CM_ESEAL);
    CHECK(!cm_super_lost(&t.s.p.c->super));
    CHECK_EQ(hits(t.f[0], 0, MANY, 7), 0); /* what cannot be forgotten is not served */
    CHECK_EQ(cm_checkpoint(t.s.p.c), 0);   /* forgets it */
    CHECK_EQ(put_all(t.f[0], 0, MANY, 7), MANY);
    t.cold[1] = true;
    judge(&t);
}

static void test_failing_fsync(void)
{
    struct scene t;
    begin(&t, false);
    cm_cache *c = t.s.p.c;
    const struct cm_super *copy = (const void *)c->media.base;
    t.s.key.fails = 1;
    CHECK_EQ(cm_super_sync_failed(&c->super, true), CM_ESEAL);
    CHECK(cm_super_failed(&c->super).any); /* this session knows it */
    CHECK(copy->failed_boot != copy->boot_number);
    CHECK_EQ(cm_super_sync_failed(&c->super, true), 0);
    CHECK_EQ(copy->failed_boot, copy->boot_number);
    judge(&t);
}

static void test_failing_grow(void)
{
    struct scene t;
    begin(&t, false);
    t.s.key.fails = 1;
    CHECK_EQ(cm_super_growing(&t.s.p.c->super, MIB), CM_ESEAL);
    CHECK(!cm_super_is_growing(&t.s.p.c->super));
    judge(&t);
}

/* What could not be forgotten for such a callback does not come back after the close. */
static void test_failing_epoch_at_close(void)
{
    struct sealed s;
    sealed_make(&s, MIB, 0);
    s.p.o.memory_durability = CM_DURABILITY_DAX;
    cm_file *f = sealed_up(&s, 1);
    CHECK_EQ(put_all(f, 0, MANY, 7), MANY);
    s.key.fails = UINT32_MAX;
    CHECK_EQ(bump_epoch(s.p.c), CM_ESEAL);
    detach(f);
    CHECK_EQ(cm_close(s.p.c), CM_EIO);
    s.p.c = NULL;
    s.key.fails = 0;
    CHECK_EQ(cm_open_memory(s.p.base, s.p.bytes, &s.p.o, &s.p.c), CM_ENOTPOOL);
    sealed_end(&s);
}

/* To forget one file says nothing of the failed fsync of another one. */
static void test_failing_fsync_beside(void)
{
    struct scene t;
    cm_sync sync;
    begin(&t, false);
    const cm_file_id other = id_of(2);
    CHECK_EQ(cm_sync_begin(t.f[0], &sync), 0);
    CHECK_EQ(cm_sync_end(t.f[0], &sync, 0, NULL), 0);
    CHECK(!cm_super_failed(&t.s.p.c->super).unnamed);
    detach_all(&t);
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_forget(t.s.p.c, &other), 0);
    t.s.key.fails = 0;
    CHECK(!cm_super_failed(&t.s.p.c->super).unnamed);
    t.cold[0] = t.cold[1] = true;
    judge(&t);
}

static int growing(struct scene *t)
{
    const struct toy_key fails = t->s.key;
    t->s.key.fails = 0;
    down(t);
    t->s.p.o.grow_max = 2 * SIZE;
    up(t);
    t->s.key = fails;
    const int e = cm_grow(t->s.p.c, 2 * SIZE, NULL);
    t->s.key.fails = 0;
    CHECK(e == CM_ESEAL || e == 0);
    CHECK_EQ((int64_t)pool_stats(t->s.p.c).escalations, 0);
    return e;
}

/* A growth that cannot be sealed leaves the pool as it is. */
static void test_failing_growth(void)
{
#ifdef _WIN32
    SKIP("there no pool grows");
#endif
    try_all(growing);
}

static int64_t give(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i += CM_BLOCK_SIZE)
        content(7, (offset + i) / CM_BLOCK_SIZE, (uint8_t *)buf + i);
    return (int64_t)len;
}

static int comparing(struct scene *t)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    o.flags = CM_WARM_VERIFY;
    const int e = cm_warm(t->f[0], 0, MANY * BLK, &o, give, NULL, &r);
    t->s.key.fails = 0;
    CHECK_EQ(r.differed | r.undecided, 0);
    CHECK_EQ((int64_t)pool_stats(t->s.p.c).forgotten, 0);
    return e;
}

/* What cannot be compared with the origin is not forgotten for it. */
static void test_failing_comparison(void)
{
    try_all(comparing);
}

static void test_failing_size(void)
{
    struct scene t;
    struct cm_record r;
    bool whole;
    begin(&t, false);
    const struct cm_media *m = &t.s.p.c->media;
    const uint64_t place = cm_object_of(t.f[0])->place;
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK_EQ((int64_t)cm_record_size(m, place, &r), (int64_t)(20 * BLK));
    r.size = 3;
    t.s.key.fails = 1;
    t.s.key.right = 1;
    CHECK_EQ(cm_record_write_size(m, place, &r), 0);
    CHECK_EQ(cm_record_at(m, place, &r, &whole), 0);
    CHECK(whole && cm_record_size(m, place, &r) == CM_SIZE_UNKNOWN);
    judge(&t);
}

/* ---- Objects --------------------------------------------------------------------------------- */

#define VALUE 10000u

static int get_value(cm_objects *o)
{
    static uint8_t value[VALUE], want[VALUE];
    memset(want, 'a', sizeof(want));
    const int64_t n = cm_objects_get(o, "old", 3, value, sizeof(value), NULL);
    return n == VALUE && memcmp(value, want, VALUE) == 0;
}

/* A container is opened, and another large value is put into it. */
static bool objects_opened(unsigned after, unsigned fails)
{
    static uint8_t value[VALUE];
    struct scene t;
    cm_objects *o;
    begin(&t, false);
    CHECK_EQ(cm_objects_open(t.s.p.c, "things", NULL, &o), 0);
    memset(value, 'a', sizeof(value));
    CHECK_EQ(cm_objects_put(o, "old", 3, value, VALUE, 0), 0);
    CHECK_EQ(cm_objects_close(o), 0);
    detach_all(&t);
    t.s.key.after = after;
    t.s.key.fails = fails;
    const int e = cm_objects_open(t.s.p.c, "things", NULL, &o);
    const bool failed = t.s.key.failed > 0;
    t.s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    if (e)
        CHECK_EQ(cm_objects_open(t.s.p.c, "things", NULL, &o), 0);
    CHECK_EQ(cm_objects_put(o, "new", 3, value, VALUE, 0), 0);
    CHECK(get_value(o));
    CHECK_EQ(cm_objects_close(o), 0);
    CHECK_EQ(cm_close(t.s.p.c), 0);
    return failed;
}

static void test_failing_objects(void)
{
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        unsigned n = 0;
        while (n < CALLS_MOST && objects_opened(n, lasting ? UINT32_MAX : 1) &&
               harness_failures == 0) {
            n++;
            CASE("call %u, lasting %u", n, lasting);
        }
        CHECK(n > 0 && n < CALLS_MOST);
    }
}

/* ---- The end of a file ----------------------------------------------------------------------- */

/* Attaches file 9, whose content only its size tells apart. Some calls of callbacks may fail. */
static int open_sized(struct scene *t, uint64_t size, unsigned after, unsigned fails, cm_file **f)
{
    const cm_file_id id = id_of(9);
    cm_validator v = val(size, 3);
    v.taken_at = later();
    t->s.key.after = after;
    t->s.key.fails = fails;
    t->s.key.failed = 0;
    const int e = cm_file_open(t->s.p.c, &id, &v, CM_EXCLUSIVE, f);
    t->s.key.fails = 0;
    CHECK(e == 0 || e == CM_ESEAL);
    return e;
}

static void reopen(struct scene *t)
{
    detach_all(t);
    CHECK_EQ(cm_close(t->s.p.c), 0);
    REQUIRE(cm_open(t->path, &t->s.p.o, &t->s.p.c) == 0);
}

/* A file whose end was learned becomes longer, after an attach that could not judge its size. */
static bool end_moves(unsigned after, unsigned fails)
{
    struct scene t;
    cm_file *f;
    cm_miss m = CM_MISS_INIT;
    cm_bracket w;
    cm_sync sync;
    uint8_t block[CM_BLOCK_SIZE];
    begin(&t, false);
    CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK_EQ(cm_read(f, 0, block, BLK, &m), 0);
    content(8, 0, block);
    CHECK_EQ(cm_fill(f, &m, block, 100, CM_FILL_EOF), 0);
    CHECK_EQ((int64_t)info_of(f).size, 100);
    detach(f);
    reopen(&t);
    const int e = open_sized(&t, CM_SIZE_UNKNOWN, after, fails, &f);
    const bool failed = t.s.key.failed > 0;
    if (e)
        CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK_EQ(cm_write_begin(f, CM_APPEND, BLK, &w), 0);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_sync_begin(f, &sync), 0);
    CHECK(cm_sync_end(f, &sync, 1, NULL) >= 0);
    detach(f);
    reopen(&t);
    CHECK_EQ(open_sized(&t, CM_SIZE_UNKNOWN, 0, 0, &f), 0);
    CHECK(info_of(f).size == CM_SIZE_UNKNOWN); /* not the old end */
    detach(f);
    judge(&t);
    return failed;
}

static void test_failing_end(void)
{
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        unsigned n = 0;
        while (n < 100 && end_moves(n, lasting ? UINT32_MAX : 1) && harness_failures == 0) {
            n++;
            CASE("call %u, lasting %u", n, lasting);
        }
        CHECK(n > 0 && n < 100);
    }
}

/* Another size is another content, also if the tag of the recorded one cannot be computed. */
static bool size_tells(unsigned after, unsigned fails)
{
    struct scene t;
    cm_file *f;
    begin(&t, false);
    CHECK_EQ(open_sized(&t, 20 * BLK, 0, 0, &f), 0);
    CHECK_EQ(put_all(f, 0, MANY, 8), MANY);
    detach(f);
    reopen(&t);
    const int e = open_sized(&t, 30 * BLK, after, fails, &f);
    const bool failed = t.s.key.failed > 0;
    if (e)
        CHECK_EQ(open_sized(&t, 30 * BLK, 0, 0, &f), 0);
    CHECK_EQ(hits(f, 0, MANY, 8), 0);
    detach(f);
    judge(&t);
    return failed;
}

static void test_failing_size_tells(void)
{
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        unsigned n = 0;
        while (n < 100 && size_tells(n, lasting ? UINT32_MAX : 1) && harness_failures == 0) {
            n++;
            CASE("call %u, lasting %u", n, lasting);
        }
        CHECK(n > 0 && n < 100);
    }
}

/* A file that changes in such a moment gives its place of the table back. */
static void test_failing_places(void)
{
    struct scene t;
    begin(&t, false);
    const unsigned places = (unsigned)t.s.p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (unsigned n = 0; n < 2 * places; n++) {
        cm_file *f = attach(&t.s.p, 1000 + n, 20 * BLK, 1, 0);
        cm_validator v = val(20 * BLK, 2);
        v.taken_at = later();
        t.s.key.fails = UINT32_MAX;
        CHECK_EQ(cm_file_revalidate(f, &v), 0);
        t.s.key.fails = 0;
        detach(f);
    }
    cm_file *f = attach(&t.s.p, 9, 20 * BLK, 1, 0);
    CHECK(cm_object_of(f)->place != CM_NO_PLACE);
    detach(f);
    detach_all(&t);
    CHECK_EQ(cm_close(t.s.p.c), 0);
}

/* ---- Readers of other processes -------------------------------------------------------------- */

static void test_failing_reader(void)
{
    const cm_file_id id = id_of(1);
    cm_validator v;
    struct scene t;
    struct pool reader;
    cm_file *f = NULL;
    begin(&t, false);
    reader = t.s.p;
    reader.o.flags = CM_OPEN_SHARED;
    REQUIRE(cm_open(t.path, &reader.o, &reader.c) == 0);
    v = valid_now();
    t.s.key.fails = UINT32_MAX;
    CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), CM_ESEAL);
    t.s.key.fails = 0;
    CHECK_EQ(cm_file_open(reader.c, &id, &v, 0, &f), 0);
    CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    t.s.key.fails = UINT32_MAX;
    v = valid_now();
    CHECK_EQ(cm_file_revalidate(f, &v), CM_ESEAL);
    CHECK_EQ(hits(f, 0, MANY, 7), 0);
    t.s.key.fails = 0;
    v = valid_now();
    CHECK_EQ(cm_file_revalidate(f, &v), 0);
    CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    for (unsigned n = 0; n < 12; n++) {
        CASE("call %u", n);
        down(&t);
        up(&t); /* another session: the reader judges the file anew */
        t.s.key.fails = 1;
        t.s.key.after = n;
        (void)look(f, 0, 7);
        t.s.key.fails = 0;
        CHECK_EQ(hits(f, 0, MANY, 7), MANY);
    }
    detach(f);
    CHECK_EQ(cm_close(reader.c), 0);
    judge(&t);
}

const struct harness_test seal_failing_tests[] = {
    TEST(failing_open),
    TEST(failing_open_lost),
    TEST(failing_close),
    TEST(failing_checkpoint),
    TEST(failing_attach),
    TEST(failing_full),
    TEST(failing_ttl),
    TEST(failing_lookup),
    TEST(failing_list),
    TEST(failing_keep),
    TEST(failing_check),
    TEST(failing_resize),
    TEST(failing_forget),
    TEST(failing_kept),
    TEST(failing_page),
    TEST(failing_epoch),
    TEST(failing_fsync),
    TEST(failing_grow),
    TEST(failing_growth),
    TEST(failing_fsync_beside),
    TEST(failing_epoch_at_close),
    TEST(failing_size),
    TEST(failing_comparison),
    TEST(failing_end),
    TEST(failing_size_tells),
    TEST(failing_places),
    TEST(failing_objects),
    TEST(failing_reader),
    TEST_END,
};
