/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_grow.c - an open pool becomes larger: what stays, where the new parts are, what is refused,
 * and what is left of a growth that does not end. test_grow_failing.c has growths that end with an
 * error, test_grow_readers.c readers beside a growth, test_grow_index.c the new index.
 */
#include "grow_common.h"

#ifndef _WIN32
#include <pthread.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#endif

#include "protocol/publish.h"
#include "protocol/steps.h"
#include "state/settle.h"

char grow_dir[256], path[300], said[512];
int said_level;
uint64_t random_state;

int __wrap_cm_plat_random(void *buf, size_t n);
int __wrap_cm_plat_random(void *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        ((uint8_t *)buf)[i] = (uint8_t)(random_state >> 56);
    }
    return 0;
}

/* ---- Growing --------------------------------------------------------------------------------- */

#ifndef _WIN32
/* What was held of the first n files hits. Others may have displaced a few of the blocks, or have
 * had no room in a new index: neighbours then, so more of one file than of another. */
static void all_stay(struct pool *p, uint64_t held[5], unsigned n, uint64_t bytes)
{
    uint64_t before = 0, now = 0;
    for (unsigned k = 0; k < n; k++) {
        cm_file *f = attach(p, 1 + k, bytes, 1, 0);
        const uint64_t found = hits(f, 0, bytes / BLK, 1 + k);
        before += held[k];
        now += found;
        held[k] = found;
        detach(f);
    }
    CHECK(now <= before && now >= before - before / 50);
}

/* All hits stay, the new slots are used, and it goes on so four times, over closes. */
static void test_four_times(void)
{
    static const uint64_t size[] = { 4, 9, 40, 96, 200 };
    struct pool p;
    uint64_t held[5], slots = 0;
    make(&p, size[0] * MIB, 256 * MIB);
    for (unsigned i = 0; i < 5; i++) {
        CASE("size %u", i);
        if (i > 0) {
            const cm_grow_report r = grow_to(&p, size[i] * MIB);
            CHECK_EQ(r.old_size, size[i - 1] * MIB);
            CHECK_EQ(r.old_slots, slots);
            CHECK(r.blocks >= slots - slots / 20);
            CHECK_EQ(os_size(path), (int64_t)(size[i] * MIB));
            /* At most 2 % are tables, beside the old index. */
            CHECK((r.new_slots - r.old_slots) * BLK >=
                  (size[i] - size[i - 1]) * MIB * 97 / 100 - 8 * BLK);
        }
        CALL(all_stay(&p, held, i, size[4] * MIB));
        const uint64_t now = cm_media_slots(&p.c->media);
        cm_file *f = attach(&p, 1 + i, size[4] * MIB, 1, 0);
        (void)put_all(f, 0, now - slots, 1 + i);
        held[i] = hits(f, 0, size[4] * MIB / BLK, 1 + i);
        CHECK(held[i] >= (now - slots) * 99 / 100); /* all new slots are used */
        detach(f);
        slots = now;
        is_sound(&p);
        if (i % 2) {
            down(&p);
            up(&p, 256 * MIB);
            is_sound(&p);
        }
    }
    CHECK_EQ(cm_grow(p.c, 210 * MIB, NULL), CM_ENOTSUP);
    CHECK(strstr(said, "after a resize of the closed pool") != NULL);
    down(&p);
    /* The copy has no parts, and nothing is lost. */
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    o.size = 220 * MIB;
    CHECK_EQ(cm_resize(path, &o, &r), 0);
    CHECK(r.no_room + r.damaged < r.blocks / 100);
    CHECK_EQ(r.old_size, 200 * MIB);
    up(&p, 256 * MIB);
    is_sound(&p);
    CHECK_EQ(p.c->media.geo.parts, 0);
    CALL(all_stay(&p, held, 5, size[4] * MIB));
    (void)grow_to(&p, 256 * MIB);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A shrink of a pool that grew, too. */
static void test_shrink_after(void)
{
    struct pool p;
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    make(&p, 4 * MIB, 64 * MIB);
    (void)grow_to(&p, 16 * MIB);
    cm_file *f = fill_file(&p, 1, 3000);
    const unsigned n = hits(f, 0, 3000, 1);
    CHECK(n > 2950);
    detach(f);
    down(&p);
    o.size = 8 * MIB;
    CHECK_EQ(cm_resize(path, &o, NULL), 0);
    up(&p, 0);
    f = attach(&p, 1, FILE_BYTES, 1, 0);
    CHECK(hits(f, 0, 3000, 1) > 1900);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* What the policy kept at a clean close, and has not loaded yet, is not lost by a growth. */
static void test_memo(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 900);
    for (unsigned i = 0; i < 5; i++) /* each hit is another read: their counts grow */
        CHECK(hits(f, 0, 900, 1) > 800);
    const uint64_t slot = slot_of(f, 100);
    const uint8_t count = cm_ring_count(&p.c->policy.ring, slot);
    CHECK(count > 0);
    detach(f);
    down(&p);
    for (unsigned i = 0; i < 2; i++) {
        up(&p, 64 * MIB);
        if (i == 0)
            (void)grow_to(&p, 16 * MIB);
        else
            cm_memo_load_all(&p.c->memo);
        CHECK_EQ(cm_ring_count(&p.c->policy.ring, slot), count);
        down(&p);
    }
    CHECK_EQ(unlink(path), 0);
}

/* ---- While it grows -------------------------------------------------------------------------- */

/* A miss before, its fill after. A bracket that is open all the time. Pins. */
static void test_across(void)
{
    struct pool p;
    uint8_t data[CM_BLOCK_SIZE];
    cm_iovec v[2];
    cm_pins pins;
    int n;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    const cm_miss missed = miss_of(f, 600 * BLK, BLK);
    memset(&pins, 0, sizeof(pins));
    CHECK_EQ(cm_pin_range(f, 20 * BLK, 2 * BLK, v, 2, &n, &pins, NULL), (int64_t)(2 * BLK));
    const cm_grow_report r = grow_to(&p, 16 * MIB);
    CHECK_EQ(r.blocks + r.dropped, 500);
    CHECK(is_content(1, 20, v[0].base, BLK));
    content(1, 600, data);
    CHECK_EQ(cm_fill(f, &missed, data, BLK, 0), 0); /* nothing was written meanwhile */
    CHECK_EQ(look(f, 600, 1), RIGHT);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    (void)grow_to(&p, 32 * MIB);
    CHECK_EQ(look(f, 10, 1), MISS);
    CHECK_EQ(put(f, 10, 1), CM_NOT_STORED_STALE); /* the bracket's intents still count */
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put(f, 10, 2), 0);
    CHECK_EQ(look(f, 10, 2), RIGHT);
    cm_bracket again = begin_write(f, 0, 500 * BLK); /* finds all of them in the new index */
    CHECK_EQ(hits(f, 0, 500, 1), 0);
    CHECK(cm_write_end(f, &again, NULL) >= 0);
    CHECK_EQ(cm_unpin(&pins), 0);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Runs in the middle of a growth: the index is copied, and does not count yet. */
void (*in_the_middle)(struct pool *p, cm_file *f);
bool fail_settle;
struct pool *middle_pool;
cm_file *middle_file;

int __real_cm_settle_part(struct cm_cache *c, uint64_t offset, uint64_t len);
int __wrap_cm_settle_part(struct cm_cache *c, uint64_t offset, uint64_t len);
int __wrap_cm_settle_part(struct cm_cache *c, uint64_t offset, uint64_t len)
{
    if (in_the_middle && at_load_relaxed(&c->growing))
        in_the_middle(middle_pool, middle_file);
    if (fail_settle && at_load_relaxed(&c->growing))
        return CM_EIO;
    return __real_cm_settle_part(c, offset, len);
}

static void use_the_pool(struct pool *p, cm_file *f)
{
    in_the_middle = NULL;
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(put(f, 600, 1), CM_NOT_STORED_MODE);
    CHECK_EQ(STAT(p->c, refused_mode), 1);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    CHECK_EQ(look(f, 10, 1), MISS);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(cm_drop(f, 20 * BLK, 2 * BLK), (int64_t)(2 * BLK));
    CHECK_EQ(cm_grow(p->c, 60 * MIB, NULL), CM_EBUSY);
    CHECK_EQ(cm_close(p->c), CM_EBUSY);
}

/* What goes on beside a growth, and what it leaves. */
static void test_beside(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    middle_file = f;
    in_the_middle = use_the_pool;
    (void)grow_to(&p, 16 * MIB);
    in_the_middle = NULL;
    CHECK_EQ(hits(f, 0, 500, 1), 497);
    CHECK_EQ(look(f, 10, 1), MISS);
    CHECK_EQ(put(f, 600, 1), 0);
    CHECK_EQ(put(f, 10, 2), 0);
    CHECK_EQ(put(f, 20, 2), 0);
    CHECK_EQ(look(f, 10, 2), RIGHT);
    CHECK_EQ(look(f, 20, 2), RIGHT);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A fill whose keys were made before the growth, and which is published in the middle of it or
 * after it. What it stored in the old index would be found by a reader that still uses that one,
 * after a bracket that does not look there. */
static struct cm_newcomer late;
static struct cm_grant late_grant;
static cm_miss late_miss;
static uint8_t late_data[CM_BLOCK_SIZE];

static void begin_late(struct pool *p, cm_file *f, uint64_t block)
{
    late_miss = miss_of(f, block * BLK, BLK);
    content(1, block, late_data);
    memset(&late, 0, sizeof(late));
    late.key = key_of(f, block);
    late.data = late_data;
    late.valid = CM_BLOCK_SIZE;
    late_grant = (struct cm_grant){ cm_object_of(f), &late_miss };
    (void)p;
}

static void publish_late(struct pool *p, cm_file *f)
{
    (void)f;
    cm_publish_batch(p->c, &late_grant, &late, 1);
    CHECK_EQ(late.result, CM_NOT_STORED_STALE);
}

static void test_late_fill(void)
{
    struct pool p;
    struct cm_header h;
    uint64_t slot;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    for (unsigned after = 0; after < 2; after++) {
        CASE("after %u", after);
        begin_late(&p, f, 700 + after);
        const struct cm_key old = late.key;
        middle_pool = &p;
        in_the_middle = after ? NULL : publish_late;
        (void)grow_to(&p, after ? 32 * MIB : 16 * MIB);
        in_the_middle = NULL;
        if (after)
            publish_late(&p, f);
        CHECK_EQ(cm_step_find(p.c, &old, &slot, &h), CM_FOUND_ABSENT);
        CHECK_EQ(look(f, 700 + after, 1), MISS);
    }
    CHECK_EQ(slots_astray(p.c), 0);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A bracket that has made its keys before the growth, and takes its lock after a fill. Its last
 * call before that is a prefetch, for a block that is cached. */
static cm_file *racing;
static uint64_t late_block;

void __real_cm_slot_prefetch_header(const struct cm_media *m, uint64_t slot);
void __wrap_cm_slot_prefetch_header(const struct cm_media *m, uint64_t slot);
void __wrap_cm_slot_prefetch_header(const struct cm_media *m, uint64_t slot)
{
    cm_file *const f = racing;
    __real_cm_slot_prefetch_header(m, slot);
    if (!f)
        return;
    racing = NULL;
    (void)grow_to(middle_pool, 16 * MIB);
    CHECK_EQ(put(f, late_block, 1), 0);
    CHECK_EQ(look(f, late_block, 1), RIGHT);
}

static void test_late_bracket(void)
{
    for (unsigned second = 0; second < 2; second++) {
        CASE("second %u", second);
        struct pool p;
        make(&p, 4 * MIB, 64 * MIB);
        const uint64_t from = GROUP - 12; /* the last blocks of a group */
        cm_file *f = fill_file(&p, 1, from + 11);
        middle_pool = &p;
        racing = f;
        late_block = second ? from + 11 : from;
        if (!second)
            CHECK_EQ(cm_drop(f, from * BLK, BLK), (int64_t)BLK);
        cm_bracket w = begin_write(f, (second ? from + 10 : from) * BLK, 2 * BLK);
        CHECK(racing == NULL);
        /* One of them was stored after the bracket had made its key. */
        CHECK_EQ(hits(f, second ? from + 10 : from, 2, 1), 0);
        CHECK(cm_write_end(f, &w, NULL) >= 0);
        CHECK_EQ(hits(f, from, 12, 1), second ? 10 : 9);
        detach(f);
        is_sound(&p);
        down(&p);
        CHECK_EQ(unlink(path), 0);
    }
}

/* Nothing is copied while somebody publishes. */
static void *grow_in_thread(void *done)
{
    CHECK_EQ(cm_grow(middle_pool->c, 24 * MIB, NULL), 0);
    at_store_release((uint32_t *)done, 1u);
    return NULL;
}

static void test_drain(void)
{
    struct pool p;
    pthread_t t;
    uint32_t done = 0;
    make(&p, 20 * MIB, 64 * MIB);
    CHECK(p.c->media.geo.stripes > 1);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    struct cm_stripe *s = cm_stripe_at(p.c, p.c->media.geo.stripes - 1);
    cm_lock_acquire(&s->lock);
    CHECK_EQ(pthread_create(&t, NULL, grow_in_thread, &done), 0);
    while (!at_load_acquire(&p.c->growing))
        sleep_ms(1);
    for (unsigned i = 0; i < 100 && !at_load_acquire(&done); i++)
        sleep_ms(1);
    CHECK_EQ(at_load_acquire(&done), 0); /* it waits for whoever has the lock */
    cm_lock_release(&s->lock);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(done, 1);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A warming in another thread, which the growth lets begin in its middle. */
static struct {
    pthread_t thread;
    uint32_t told, ended; /* atomic: how often it has said how far it is; it has returned */
    int result;
    cm_warm_report report;
} warming;

static int64_t from_file(void *ctx, uint64_t off, void *buf, size_t len)
{
    for (size_t at = 0; at < len; at += BLK)
        content(*(uint64_t *)ctx, (off + at) / BLK, (uint8_t *)buf + at);
    return (int64_t)len;
}

static int told(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    (void)at_add_acq_rel(&warming.told, 1u);
    return 0;
}

static void *warm_in_thread(void *ctx)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    o.progress = told;
    warming.result = cm_warm(middle_file, 0, 300 * BLK, &o, from_file, ctx, &r);
    warming.report = r;
    at_store_release(&warming.ended, 1u);
    return NULL;
}

static void begin_warming(struct pool *p, cm_file *f)
{
    static uint64_t id = 2;
    (void)p, (void)f;
    in_the_middle = NULL;
    warming.told = warming.ended = 0;
    CHECK_EQ(pthread_create(&warming.thread, NULL, warm_in_thread, &id), 0);
    while (at_load_acquire(&warming.told) < 3 && !at_load_acquire(&warming.ended))
        sleep_ms(1);
}

/* Nothing can be stored while the pool grows, and that is soon over: who warms a file waits. */
static void test_warming(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    middle_pool = &p;
    middle_file = attach(&p, 2, FILE_BYTES, 1, 0);
    in_the_middle = begin_warming;
    (void)grow_to(&p, 16 * MIB);
    in_the_middle = NULL;
    CHECK_EQ(pthread_join(warming.thread, NULL), 0);
    CHECK_EQ(warming.result, 0);
    CHECK_EQ(warming.report.cached, 300 * BLK);
    CHECK_EQ(warming.report.read, 300 * BLK);
    CHECK_EQ(hits(middle_file, 0, 300, 2), 300);
    detach(middle_file);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A growth that begins when the warming reads a piece already. It ends when somebody waits. */
static int64_t from_file_late(void *ctx, uint64_t off, void *buf, size_t len)
{
    if (warming.told == 0)
        at_store_release(&middle_pool->c->growing, 1u);
    return from_file(ctx, off, buf, len);
}

static int told_late(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)total;
    if (warming.told++ == 0)
        CHECK_EQ(done, 0);
    at_store_release(&middle_pool->c->growing, 0u);
    return 0;
}

static void test_warming_first(void)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    uint64_t id = 2;
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    middle_pool = &p;
    cm_file *f = attach(&p, id, FILE_BYTES, 1, 0);
    o.progress = told_late;
    warming.told = 0;
    CHECK_EQ(cm_warm(f, 0, 20 * BLK, &o, from_file_late, &id, &r), 0);
    CHECK_EQ(r.cached, 20 * BLK);
    CHECK_EQ(r.stored, 20 * BLK);
    CHECK_EQ(r.read, 40 * BLK);
    CHECK_EQ(hits(f, 0, 20, id), 20);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The curve on the statistics page was of the old size. */
static void test_curve(void)
{
    struct pool p;
    cm_stats_data s = CM_STATS_INIT;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    for (unsigned i = 0; i < 20; i++)
        CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK(s.curve_hits[CM_CURVE_POINTS / 2] > 900000 &&
          s.curve_hits[CM_CURVE_POINTS / 2] <= 1000000);
    (void)grow_to(&p, 16 * MIB);
    CHECK_EQ(cm_pool_stats(path, &s), 0);
    CHECK_EQ(s.curve_hits[CM_CURVE_POINTS / 2], CM_CURVE_UNKNOWN);
    CHECK_EQ(s.curve_reads, 0);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void test_refused(void)
{
    struct pool p;
    make(&p, 4 * MIB, 0);
    CHECK_EQ(cm_grow(p.c, 8 * MIB, NULL), CM_ENOTSUP);
    CHECK(strstr(said, "grow_max") != NULL);
    down(&p);
    up(&p, 16 * MIB);
    CHECK_EQ(cm_grow(p.c, 17 * MIB, NULL), CM_ENOTSUP);
    CHECK(strstr(said, "from 4194304 to 17825792 bytes: that is more than") != NULL);
    CHECK_EQ(cm_grow(p.c, 8 * MIB + 1, NULL), CM_EPOOLSIZE);
    CHECK(strstr(said, "is no multiple of 4096") != NULL);
    CHECK_EQ(cm_grow(p.c, 4 * MIB, NULL), CM_EPOOLSIZE);
    CHECK(strstr(said, "not larger") != NULL);
    CHECK_EQ(cm_grow(p.c, 3 * MIB, NULL), CM_EPOOLSIZE);
    CHECK(strstr(said, "cm_resize") != NULL);
    CHECK_EQ(cm_grow(p.c, 4 * MIB + 72 * BLK, NULL), CM_EPOOLSIZE);
    CHECK(strstr(said, "64 slots more: 4493312 bytes at least") != NULL);
    CHECK_EQ(cm_grow(NULL, 8 * MIB, NULL), CM_EHANDLE);
    CHECK_EQ(pool_info(p.c).size, 4 * MIB);
    CHECK_EQ(p.c->super.now.growing, 0);
    down(&p);
    CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
    CHECK_EQ(unlink(path), 0);
}

/* What the volume says that it has free; 0: as it is. */
static uint64_t free_bytes;

int LARGE(__real_, fstatfs)(int fd, struct statfs *fs);
int LARGE(__wrap_, fstatfs)(int fd, struct statfs *fs);
int LARGE(__wrap_, fstatfs)(int fd, struct statfs *fs)
{
    const int rc = LARGE(__real_, fstatfs)(fd, fs);
    if (rc == 0 && free_bytes != 0)
        fs->f_bfree = (__typeof__(fs->f_bfree))(free_bytes / (uint64_t)fs->f_bsize);
    return rc;
}

/* What cannot succeed is refused before anything is written, and the log says what is missing. */
static void test_no_room_before(void)
{
    struct pool p;
    struct rlimit was, small;
    make(&p, 4 * MIB, 64 * MIB);
    const uint64_t seq = p.c->super.now.seq;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 8 * MIB;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_ENOSPC);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &was), 0);
    CHECK(strstr(said, "ulimit -f") != NULL);
    free_bytes = 3 * MIB;
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_ENOSPC);
    CHECK(strstr(said, "lacks 9437184 bytes") != NULL); /* 9 MiB */
    CHECK_EQ(said_level, CM_LOG_WARNING);
    CHECK_EQ(p.c->super.now.seq, seq);
    free_bytes = 12 * MIB;
    (void)grow_to(&p, 16 * MIB);
    free_bytes = 0;
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* The file does not become so long: the pool is as it was, and grows later. */
static void test_no_room(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    half_the_room = true;
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_ENOSPC);
    half_the_room = false;
    CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
    CHECK_EQ(p.c->super.now.growing, 0);
    CHECK_EQ(p.c->super.now.incompat & CM_INCOMPAT_GROWN, 0); /* older libraries can use it */
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(put(f, 501, 1), 0);
    (void)grow_to(&p, 16 * MIB);
    CHECK_EQ(hits(f, 0, 502, 1), 501);
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Two parts ------------------------------------------------------------------------------- */

/* The last slot of a part and the first one of the next have neighbouring numbers only. */
static const struct cm_media *flush_media;
static uint64_t flushed[2];

static int note_flush(void *ctx, const void *p, size_t n)
{
    (void)ctx;
    const uint64_t first = flush_media->geo.plain - 1;
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *h = (const uint8_t *)cm_slot_at(flush_media, first + i);
        flushed[i] += h >= (const uint8_t *)p && h < (const uint8_t *)p + n;
    }
    return 0;
}

static void test_flushed(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    (void)grow_to(&p, 16 * MIB);
    const struct cm_persist_ops *const was = p.c->media.ops;
    struct cm_persist_ops ops = *was;
    const uint64_t last = p.c->media.geo.plain - 1;
    const uint64_t slot[2][3] = { { last - 1, last, last + 1 }, { last + 1, last, last - 1 } };
    ops.flush = note_flush;
    flush_media = &p.c->media;
    p.c->media.ops = &ops;
    for (unsigned i = 0; i < 2; i++) { /* rising, falling */
        CHECK_EQ(cm_slot_flush_all(&p.c->media, slot[i], 3), 0);
        CHECK(flushed[0] == i + 1 && flushed[1] == i + 1);
    }
    p.c->media.ops = was;
    /* A read over both. */
    cm_file *f = attach(&p, 1, FILE_BYTES, 1, 0);
    static uint8_t run[16 * CM_BLOCK_SIZE];
    (void)put_all(f, 0, last + 20, 1);
    uint64_t block = 0;
    while (block < last + 20 && slot_of(f, block) != last)
        block++;
    CHECK(block > 8 && block < last + 19);
    CHECK_EQ(slot_of(f, block + 1), last + 1);
    for (unsigned i = 0; i < 2; i++) { /* the second time the slots are known */
        CHECK_EQ(cm_read(f, (block - 7) * BLK, run, sizeof(run), NULL), (int64_t)sizeof(run));
        for (unsigned b = 0; b < 16; b++)
            CHECK(is_content(1, block - 7 + b, run + b * BLK, BLK));
    }
    detach(f);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* ---- Left over ------------------------------------------------------------------------------- */

/* Changes both superblocks of the closed pool. */
static void set_growing(uint64_t growing, uint64_t incompat)
{
    FILE *file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super sb;
        CHECK_EQ(fseek(file, (long)(i * CM_SUPER_STRIDE), SEEK_SET), 0);
        CHECK_EQ(fread(&sb, sizeof(sb), 1, file), 1);
        sb.growing = growing;
        sb.incompat = incompat;
        super_seal(&sb);
        CHECK_EQ(fseek(file, (long)(i * CM_SUPER_STRIDE), SEEK_SET), 0);
        CHECK_EQ(fwrite(&sb, sizeof(sb), 1, file), 1);
    }
    CHECK_EQ(fclose(file), 0);
}

/* A process died before the growth was complete: any length up to the new one is the old pool. */
static void test_left_over(void)
{
    static const uint64_t length[] = { 4 * MIB, 4 * MIB + BLK, 16 * MIB };
    struct pool p;
    make(&p, 4 * MIB, 0);
    cm_file *f = fill_file(&p, 1, 500);
    detach(f);
    down(&p);
    for (unsigned i = 0; i < 3; i++) {
        cm_info info = CM_INFO_INIT;
        CASE("length %u", i);
        set_growing(16 * MIB, CM_INCOMPAT_GROWN);
        CHECK_EQ(os_resize(path, length[i]), 0);
        CHECK_EQ(cm_pool_info(path, &info), 0);
        CHECK_EQ(info.size, 4 * MIB);
        up(&p, i == 1 ? 64 * MIB : 0);
        CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
        CHECK_EQ(p.c->super.now.growing, 0);
        f = attach(&p, 1, FILE_BYTES, 1, 0);
        CHECK_EQ(hits(f, 0, 500, 1), 500);
        detach(f);
        down(&p);
    }
    set_growing(16 * MIB, CM_INCOMPAT_GROWN);
    CHECK_EQ(os_resize(path, 16 * MIB + BLK), 0);
    CHECK_EQ(try_up(&p, 0), CM_EOVERSIZE);
    CHECK_EQ(os_resize(path, 4 * MIB - BLK), 0);
    CHECK_EQ(try_up(&p, 0), CM_ETRUNCATED);
    CHECK_EQ(os_resize(path, 4 * MIB + BLK), 0);
    set_growing(0, 0);
    CHECK_EQ(try_up(&p, 0), CM_EOVERSIZE);
    CHECK_EQ(unlink(path), 0);
}

/* A resize gives back what such a growth has taken, before it needs room for a second file. */
static bool cancels;

static int look_and_cancel(void *ctx, uint64_t done, uint64_t all)
{
    (void)ctx;
    (void)done;
    const bool planned = all <= 300 * BLK; /* the second file is next */
    CHECK(!planned || os_size(path) == (int64_t)(4 * MIB));
    return planned && cancels;
}

static void test_left_over_resized(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    struct pool p;
    o.progress = look_and_cancel;
    for (unsigned i = 0; i < 4; i++) {
        CASE("case %u", i);
        make(&p, 4 * MIB, 0);
        detach(fill_file(&p, 1, 300));
        down(&p);
        set_growing(16 * MIB, CM_INCOMPAT_GROWN);
        CHECK_EQ(os_resize(path, 16 * MIB), 0);
        cancels = i < 2;
        o.size = i % 2 ? 8 * MIB : 2 * MIB;
        CHECK_EQ(cm_resize(path, &o, NULL), cancels ? CM_ECANCELED : 0);
        CHECK_EQ(os_size(path), (int64_t)(cancels ? 4 * MIB : o.size));
        up(&p, 0);
        cm_file *f = attach(&p, 1, FILE_BYTES, 1, 0);
        CHECK(hits(f, 0, 300, 1) >= 295); /* a few buckets of a smaller pool may be full */
        detach(f);
        is_sound(&p);
        down(&p);
    }
    CHECK_EQ(unlink(path), 0);
}

/* A process dies in the middle of a growth, or after it. */
static void die(struct pool *p, cm_file *f)
{
    (void)p;
    (void)f;
    _exit(0);
}

static void test_killed(void)
{
    for (unsigned after = 0; after < 2; after++) {
        struct pool p;
        int status;
        CASE("after %u", after);
        make(&p, 4 * MIB, 0);
        cm_file *f = fill_file(&p, 1, 500);
        detach(f);
        down(&p);
        const pid_t child = fork();
        if (child == 0) {
            in_the_middle = after ? NULL : die;
            if (try_up(&p, 64 * MIB) != 0)
                _exit(2);
            _exit(cm_grow(p.c, 16 * MIB, NULL) == 0 && after ? 0 : 1);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK_EQ(os_size(path), (int64_t)(16 * MIB));
        up(&p, 0);
        CHECK_EQ(pool_info(p.c).size, after ? 16 * MIB : 4 * MIB);
        CHECK_EQ(os_size(path), (int64_t)(after ? 16 * MIB : 4 * MIB));
        f = attach(&p, 1, FILE_BYTES, 1, 0);
        /* An emulator does not tell which mount it is, so the pool was emptied. */
        CHECK_EQ(hits(f, 0, 500, 1),
                 getenv("CM_TEST_EMULATED") && pool_info(p.c).emptied ? 0 : 500);
        detach(f);
        is_sound(&p);
        down(&p);
    }
    CHECK_EQ(unlink(path), 0);
}
#endif

/* ---- Pools in memory ------------------------------------------------------------------------- */

/* Sizes that no pool has, and words of parts that nobody's superblock has. */
static void test_hostile(void)
{
    struct pool p, big;
    struct cm_geometry to;
    uint64_t word;
    in_memory(&p, &big, 16 * MIB);
    CHECK_EQ(cm_format_grow(&big.c->media.geo, 8 * MIB, &to, &word), 0);
    pool_down(&big);
    big.o.grow_max = UINT64_MAX;
    CHECK_EQ(cm_open_memory(big.base, p.bytes, &big.o, &big.c), CM_EINVAL);
    big.o.grow_max = 16 * MIB;
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++) {
        super_at(&big, i)->part[0] = word; /* without the bit of incompat */
        super_seal(super_at(&big, i));
    }
    CHECK_EQ(cm_open_memory(big.base, p.bytes, &big.o, &big.c), CM_EDAMAGED);
    big.c = NULL;
    pool_end(&big);
    pool_end(&p);
}

/* For a reader that has it open, a pool that grew is another one. A new reader finds all of it. */
static void test_reader(void)
{
    struct pool p, big, as = { 0 };
    cm_options o = CM_OPTIONS_INIT;
    in_memory(&p, &big, 16 * MIB);
    cm_file *f = fill_file(&big, 1, 100);
    o.flags = CM_OPEN_SHARED;
    CHECK_EQ(cm_open_memory(big.base, p.bytes, &o, &as.c), 0);
    cm_file *g = attach(&as, 1, FILE_BYTES, 1, 0);
    CHECK_EQ(hits(g, 0, 100, 1), 100);
    CHECK_EQ(cm_grow(big.c, 8 * MIB, NULL), 0);
    CHECK_EQ(hits(g, 0, 100, 1), 0);
    cm_validator v = val(FILE_BYTES, 1);
    CHECK_EQ(cm_file_revalidate(g, &v), CM_ENOTPOOL);
    CHECK_EQ(cm_file_close(g), 0);
    CHECK_EQ(cm_close(as.c), 0);
    CHECK_EQ(cm_open_memory(big.base, 8 * MIB, &o, &as.c), 0);
    g = attach(&as, 1, FILE_BYTES, 1, 0);
    CHECK_EQ(hits(g, 0, 100, 1), 100);
    CHECK_EQ(cm_file_close(g), 0);
    CHECK_EQ(cm_close(as.c), 0);
    detach(f);
    pool_end(&big);
    pool_end(&p);
}

static void test_memory(void)
{
    struct pool p, big;
    pool_make(&p, 4 * MIB, 0);
    memset(&big, 0, sizeof(big));
    big.bytes = 32 * MIB;
    big.base = map_bytes(big.bytes);
    memset(big.base, 0xa5, (size_t)big.bytes); /* anything may be there */
    memcpy(big.base, p.base, (size_t)p.bytes);
    big.o = p.o;
    big.o.grow_max = 32 * MIB;
    CHECK_EQ(cm_open_memory(big.base, p.bytes, &big.o, &big.c), 0);
    cm_file *f = fill_file(&big, 1, 900);
    const unsigned n = hits(f, 0, 900, 1);
    CHECK_EQ(cm_grow(big.c, 32 * MIB, NULL), 0);
    CHECK_EQ(hits(f, 0, 900, 1), n);
    CHECK(put_all(f, 900, 6000, 1) > 5900);
    CHECK(hits(f, 0, 6900, 1) > 6700);
    detach(f);
    is_sound(&big);
    pool_crash(&big);
    big.o.grow_max = 0;
    CHECK_EQ(cm_open_memory(big.base, p.bytes, &big.o, &big.c), CM_ETRUNCATED);
    (void)pool_up(&big);
    f = attach(&big, 1, FILE_BYTES, 1, 0);
    CHECK(hits(f, 0, 6900, 1) > 6700);
    detach(f);
    is_sound(&big);
    pool_end(&big);
    pool_end(&p);
}

static const struct harness_test tests[] = {
#ifndef _WIN32
    TEST(four_times),
    TEST(shrink_after),
    TEST(memo),
    TEST(across),
    TEST(beside),
    TEST(late_fill),
    TEST(late_bracket),
    TEST(drain),
    TEST(curve),
    TEST(warming),
    TEST(warming_first),
    TEST(refused),
    TEST(no_room_before),
    TEST(no_room),
    TEST(flushed),
    TEST(left_over),
    TEST(left_over_resized),
    TEST(killed),
#endif
    TEST(memory),
    TEST(hostile),
    TEST(reader),
    TEST_END,
};

static const struct harness_test *const tables[] = { tests, grow_failing_tests, grow_index_tests,
                                                     grow_readers_tests };

int main(int argc, char **argv)
{
    if (!os_make_dir(grow_dir, sizeof(grow_dir), NULL, "grow"))
        return 1;
    (void)snprintf(path, sizeof(path), "%s/pool", grow_dir);
    const int failed = HARNESS_TABLES(tables, argc, argv);
    (void)os_remove_dir(grow_dir);
    return failed;
}
