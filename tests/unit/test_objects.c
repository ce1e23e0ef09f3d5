/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_objects.c - containers of objects: puts, gets, times to live, restarts.
 */
#include "objects_common.h"

int64_t clock_step_ns;
uint64_t passed_ns, stop_ns;

/* The process stands still after it has looked at a clock. Only tests without threads do that. */
static void stop(void)
{
    if (stop_ns == 0)
        return;
    passed_ns += stop_ns;
    clock_step_ns += (int64_t)stop_ns;
    stop_ns = 0;
}

uint64_t __real_cm_plat_now_ns(void);
uint64_t __wrap_cm_plat_now_ns(void);
uint64_t __wrap_cm_plat_now_ns(void)
{
    const uint64_t now = __real_cm_plat_now_ns() + passed_ns;
    stop();
    return now;
}

int64_t __real_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void);
int64_t __wrap_cm_plat_wall_ns(void)
{
    const int64_t now = __real_cm_plat_wall_ns() + clock_step_ns;
    stop();
    return now;
}

/* A bracket of a file. It ends when a put waits for that. */
static cm_file *held;
static cm_bracket held_bracket;
uint64_t slept_ns;
bool oversleeps;
struct cm_cache *grows;

void __real_cm_plat_sleep(uint64_t ns);
void __wrap_cm_plat_sleep(uint64_t ns);
void __wrap_cm_plat_sleep(uint64_t ns)
{
    if (oversleeps) { /* each sleep takes 30 ms */
        passed_ns += 30000000;
        slept_ns += 30000000;
        return;
    }
    if (grows)
        at_store_release(&grows->growing, 0u);
    grows = NULL;
    if (held)
        CHECK_EQ(cm_write_end(held, &held_bracket, NULL), CM_WANT_VALIDATOR);
    held = NULL;
    __real_cm_plat_sleep(ns);
}

/* A put that waits in vain waits a tenth of a second, by the clock, however long a sleep takes. */
static void test_patience(void)
{
    static const size_t length[] = { 100, 9000 };
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0); /* one stripe */
    cm_objects *o = objects_up(p.c, "a", 100);
    cm_file *f = attach(&p, 7, 10 * BLK, 1, 0);
    held_bracket = begin_write(f, 0, BLK);
    oversleeps = true;
    for (unsigned i = 0; i < 2; i++) {
        CASE("length %u", (unsigned)length[i]);
        slept_ns = 0;
        CHECK_EQ(put_value(o, 1, 3, length[i], 0), CM_NOT_STORED_STALE);
        CHECK(slept_ns >= CM_OBJECTS_WAIT_NS && slept_ns <= 2 * CM_OBJECTS_WAIT_NS);
    }
    oversleeps = false;
    CHECK_EQ(cm_write_end(f, &held_bracket, NULL), CM_WANT_VALIDATOR);
    CHECK_EQ(put_value(o, 1, 4, 100, 0), 0);
    detach(f);
    objects_down(o);
    pool_end(&p);
}

/* What is stored waits for changes that others make beside it, but not forever. */
static void test_again(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0); /* one stripe */
    cm_objects *o = objects_up(p.c, "a", 100);
    cm_file *f = attach(&p, 7, 10 * BLK, 1, 0);
    for (unsigned large = 0; large < 2; large++) {
        CASE("large %u", large);
        const size_t len = large ? 9000 : 100;
        CHECK_EQ(put_value(o, 1, 1, len, 0), 0);
        held_bracket = begin_write(f, 0, BLK);
        held = f;
        CHECK_EQ(put_value(o, 1, 2, len, 0), 0);
        CHECK(held == NULL);
        CHECK_EQ(get_value(o, 1, 2, len), RIGHT);
        held_bracket = begin_write(f, 0, BLK);
        CHECK_EQ(put_value(o, 1, 3, len, 0), CM_NOT_STORED_STALE);
        CHECK_EQ(get_value(o, 1, 3, len), MISS);
        CHECK_EQ(cm_write_end(f, &held_bracket, NULL), CM_WANT_VALIDATOR);
    }
    detach(f);
    objects_down(o);
    pool_end(&p);
}

static void test_arguments(void)
{
    struct pool p;
    cm_objects *o = NULL;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    cm_objects_iter *it = NULL;
    cm_object_info info = CM_OBJECT_INFO_INIT;
    uint8_t key[CM_OBJECT_KEY_MAX + 1] = { 0 }, buf[8];
    size_t len;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    CHECK_EQ(cm_objects_open(NULL, "a", NULL, &o), CM_EHANDLE);
    CHECK_EQ(cm_objects_open(NULL, "", NULL, NULL), CM_EHANDLE);
    CHECK_EQ(cm_objects_forget(NULL, "a"), CM_EHANDLE);
    CHECK_EQ(cm_objects_forget(NULL, ""), CM_EHANDLE);
    CHECK_EQ(cm_objects_open(p.c, NULL, NULL, &o), CM_EINVAL);
    CHECK_EQ(cm_objects_open(p.c, "", NULL, &o), CM_EINVAL);
    CHECK_EQ(cm_objects_open(p.c, "a", NULL, NULL), CM_EINVAL);
    opts.flags = 1;
    CHECK_EQ(cm_objects_open(p.c, "a", &opts, &o), CM_EINVAL);
    o = objects_up(p.c, "a", 0);
    CHECK_EQ(cm_objects_put(o, NULL, 1, buf, 1, 0), CM_EINVAL);
    CHECK_EQ(cm_objects_put(o, key, sizeof(key), buf, 1, 0), CM_EINVAL);
    CHECK_EQ(cm_objects_put(o, key, 1, NULL, 1, 0), CM_EINVAL);
    CHECK_EQ(cm_objects_get(o, NULL, 1, buf, 1, NULL), CM_EINVAL);
    CHECK_EQ(cm_objects_get(o, key, 1, NULL, 1, NULL), CM_EINVAL);
    CHECK_EQ(cm_objects_delete(o, key, sizeof(key)), CM_EINVAL);
    CHECK_EQ(cm_objects_read(o, key, 1, 0, NULL, 1, NULL), CM_EINVAL);
    info.struct_size = 4;
    CHECK_EQ(cm_objects_read(o, key, 1, 0, buf, 1, &info), CM_EINVAL);
    CHECK_EQ(cm_objects_get(o, key, 1, buf, 1, &info), CM_EINVAL);
    CHECK_EQ(cm_objects_begin(o, &it), 0);
    CHECK_EQ(cm_objects_next(it, key, &len, &info), CM_EINVAL);
    CHECK_EQ(cm_objects_next(it, NULL, &len, NULL), CM_EINVAL);
    CHECK_EQ(cm_objects_next(it, key, NULL, NULL), CM_EINVAL);
    CHECK_EQ(cm_objects_next(NULL, key, &len, NULL), CM_EINVAL);
    cm_objects_end(it);
    CHECK_EQ(cm_objects_begin(NULL, &it), CM_EHANDLE);
    CHECK_EQ(cm_objects_read(NULL, key, 1, 0, buf, 1, NULL), CM_EHANDLE);
    CHECK_EQ(cm_objects_get(NULL, key, 1, buf, 1, NULL), CM_EHANDLE);
    CHECK_EQ(cm_objects_put(NULL, key, 1, buf, 1, 0), CM_EHANDLE);
    CHECK_EQ(cm_objects_close(NULL), CM_EHANDLE);
    CHECK_EQ(cm_objects_get_info(o, NULL), CM_EINVAL);
    objects_down(o);
    pool_end(&p);
}

/* A second open, and a close of the pool, are refused while a container is open. */
static void test_one_owner(void)
{
    struct pool p;
    cm_objects *second = NULL;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0), *other = objects_up(p.c, "b", 0);
    CHECK_EQ(cm_objects_open(p.c, "a", NULL, &second), CM_EBUSY);
    CHECK_EQ(cm_objects_forget(p.c, "a"), CM_EBUSY);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    CHECK_EQ(put_value(o, 1, 1, 100, 0), 0); /* nothing of that has harmed it */
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    CHECK_EQ(get_value(other, 1, 1, 100), MISS); /* each container has its own keys */
    objects_down(o);
    o = objects_up(p.c, "a", 0);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    objects_down(o);
    objects_down(other);
    CHECK_EQ(cm_objects_forget(p.c, "a"), 0);
    o = objects_up(p.c, "a", 0);
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    objects_down(o);
    pool_end(&p);
}

static const size_t lengths[] = { 0,      1,     7,      100,     CM_OBJECT_INLINE_MAX,
                                  1025,   4095,  4096,   4097,    8192,
                                  8193,   65536, 100001, 2097152, 2097153,
                                  3000000 };
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

/* Values of 0 bytes to some MiB, and parts of them. */
static void test_lengths(void)
{
    struct pool p;
    uint8_t *buf = malloc(VALUE_MAX), *part = malloc(VALUE_MAX);
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    for (unsigned round = 1; round <= 2; round++)
        for (unsigned i = 0; i < LENGTHS; i++) {
            CASE("%zu bytes, round %u", lengths[i], round);
            const uint64_t key = i;
            const size_t len = lengths[(i + round) % LENGTHS];
            CHECK_EQ(put_value(o, key, round, len, 0), 0);
            CHECK_EQ(get_value(o, key, round, len), RIGHT);
            value_of(key, round, buf, len);
            for (size_t at = 0; at <= len + 5; at += len / 5 + 1) {
                const size_t want = len / 3 + 1, left = at < len ? len - at : 0;
                cm_object_info info = CM_OBJECT_INFO_INIT;
                CHECK_EQ(cm_objects_read(o, &key, sizeof(key), at, part, want, &info),
                         want < left ? want : left);
                CHECK(memcmp(part, buf + at, want < left ? want : left) == 0);
                CHECK_EQ(info.size, len);
            }
            part[len / 2] = 0x5a; /* behind the room nothing is written */
            CHECK_EQ(cm_objects_get(o, &key, sizeof(key), part, len / 2, NULL), len);
            CHECK(part[len / 2] == 0x5a && memcmp(part, buf, len / 2) == 0);
        }
    for (uint64_t i = 0; i < LENGTHS; i++)
        CHECK_EQ(get_value(o, i, 2, lengths[(i + 2) % LENGTHS]), RIGHT);
    objects_down(o);
    pool_end(&p);
    free(buf);
    free(part);
}

/* Keys of 0 to 255 bytes, also one that begins as another one does. */
static void test_keys(void)
{
    struct pool p;
    uint8_t key[CM_OBJECT_KEY_MAX];
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    memset(key, 7, sizeof(key));
    for (size_t n = 0; n <= sizeof(key); n++)
        CHECK_EQ(cm_objects_put(o, n ? key : NULL, n, &n, sizeof(n), 0), 0);
    for (size_t n = 0; n <= sizeof(key); n++) {
        size_t got = 0;
        CHECK_EQ(cm_objects_get(o, n ? key : NULL, n, &got, sizeof(got), NULL), sizeof(got));
        CHECK_EQ(got, n);
    }
    CHECK_EQ(cm_objects_delete(o, NULL, 0), 0);
    CHECK_EQ(cm_objects_delete(o, NULL, 0), CM_EABSENT);
    CHECK_EQ(cm_objects_get(o, key, 1, NULL, 0, NULL), sizeof(size_t));
    objects_down(o);
    pool_end(&p);
}

/* A put takes the place of the last one, whatever sizes they have; a delete removes it. */
static void test_replace(void)
{
    struct pool p;
    const uint64_t key = 42;
    uint64_t version = 0;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    for (unsigned i = 0; i < 12; i++)
        for (unsigned k = 0; k < 12; k++) {
            CHECK_EQ(put_value(o, key, ++version, lengths[i], 0), 0);
            CHECK_EQ(put_value(o, key, ++version, lengths[k], 0), 0);
            CHECK_EQ(get_value(o, key, version, lengths[k]), RIGHT);
            if ((i + k) % 5 == 0) {
                CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), 0);
                CHECK_EQ(get_value(o, key, version, lengths[k]), MISS);
                CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), CM_EABSENT);
            }
        }
    /* One that is too long to be stored takes the old one away, too. */
    CHECK_EQ(put_value(o, key, 1, 50, 0), 0);
    CHECK_EQ(put_value(o, key, 2, 3 * MIB, 0), CM_NOT_STORED_ROOM);
    CHECK_EQ(get_value(o, key, 1, 50), MISS);
    /* What was replaced does not stay in the pool. */
    const int64_t used = STAT(p.c, evicted);
    for (unsigned i = 0; i < 2000; i++)
        CHECK_EQ(put_value(o, key, i, 65536, 0), 0);
    CHECK_EQ(STAT(p.c, evicted), used);
    objects_down(o);
    pool_end(&p);
}

static void test_version(void)
{
    struct pool p;
    const uint64_t key = 9;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    uint64_t seen = 0;
    for (uint64_t i = 0; i < 10; i++) {
        cm_object_info info = CM_OBJECT_INFO_INIT;
        CHECK_EQ(put_value(o, key, i, i % 2 ? 50000 : 50, 0), 0);
        CHECK_EQ(cm_objects_get(o, &key, sizeof(key), NULL, 0, &info), i % 2 ? 50000 : 50);
        CHECK(info.version != seen);
        seen = info.version;
        CHECK_EQ(cm_objects_get(o, &key, sizeof(key), NULL, 0, &info), i % 2 ? 50000 : 50);
        CHECK(info.version == seen && info.expires_ns == 0);
    }
    objects_down(o);
    pool_end(&p);
}

/* ---- Time to live ---------------------------------------------------------------------------- */

static void test_ttl(void)
{
    struct pool p;
    uint64_t key = 1;
    cm_object_info info = CM_OBJECT_INFO_INIT;
    clock_step_ns = 0;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    const int64_t before = cm_plat_wall_ns() / 1000000 * 1000000;
    CHECK_EQ(put_value(o, 1, 1, 100, (uint64_t)(3600 * SECOND)), 0);
    CHECK_EQ(put_value(o, 2, 1, 50000, (uint64_t)(3600 * SECOND)), 0);
    CHECK_EQ(put_value(o, 3, 1, 100, (uint64_t)(7200 * SECOND)), 0);
    CHECK_EQ(put_value(o, 4, 1, 100, UINT64_MAX), 0);
    CHECK_EQ(put_value(o, 5, 1, 100, 1), 0); /* over at once */
    CHECK_EQ(get_value(o, 5, 1, 100), MISS);
    CHECK_EQ(cm_objects_delete(o, (key = 5, &key), sizeof(key)), CM_EABSENT);
    CHECK_EQ(cm_objects_get(o, (key = 1, &key), sizeof(key), NULL, 0, &info), 100);
    CHECK(info.expires_ns >= before + 3540 * SECOND && /* it may have to wait for a processor */
          info.expires_ns <= cm_plat_wall_ns() + 3600 * SECOND);
    CHECK_EQ(get_value(o, 2, 1, 50000), RIGHT);
    /* The clock goes back: nothing lives longer in this session. It goes forward: it is over. */
    clock_step_ns = -86400 * SECOND;
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    CHECK_EQ(put_value(o, 6, 1, 100, (uint64_t)SECOND), 0);
    CHECK_EQ(get_value(o, 6, 1, 100), RIGHT);
    passed_ns = (uint64_t)(2 * SECOND);
    CHECK_EQ(get_value(o, 6, 1, 100), MISS);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    clock_step_ns = 3601 * SECOND;
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    clock_step_ns = 0; /* it went too far: what is over stays so */
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    clock_step_ns = 3601 * SECOND;
    CHECK_EQ(get_value(o, 2, 1, 50000), MISS);
    CHECK_EQ(get_value(o, 6, 1, 100), MISS);
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    /* The end is known in the next session. */
    objects_down(o);
    pool_again(&p);
    o = objects_up(p.c, "a", 1000);
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    CHECK_EQ(get_value(o, 3, 1, 100), RIGHT);
    CHECK_EQ(get_value(o, 4, 1, 100), RIGHT);
    clock_step_ns = 7201 * SECOND;
    CHECK_EQ(get_value(o, 3, 1, 100), MISS);
    CHECK_EQ(get_value(o, 4, 1, 100), RIGHT);
    /* A delete of what is over lasts, also if the clock goes back before the next session. */
    CHECK_EQ(cm_objects_delete(o, (key = 3, &key), sizeof(key)), CM_EABSENT);
    objects_down(o);
    pool_again(&p);
    clock_step_ns = 0;
    o = objects_up(p.c, "a", 1000);
    CHECK_EQ(get_value(o, 3, 1, 100), MISS);
    objects_down(o);
    pool_end(&p);
}

/* What has expired leaves a full bucket first. */
static void test_expired_leave(void)
{
    struct pool p;
    clock_step_ns = 0;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1); /* one bucket */
    CHECK_EQ(objects_info(o).buckets, 1);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(put_value(o, i, 1, 400, 0), 0);
        CHECK_EQ(put_value(o, 100 + i, 1, 400, (uint64_t)SECOND), 0);
    }
    clock_step_ns = 2 * SECOND;
    for (uint64_t i = 4; i < 8; i++)
        CHECK_EQ(put_value(o, i, 1, 400, 0), 0);
    for (uint64_t i = 0; i < 8; i++)
        CHECK_EQ(get_value(o, i, 1, 400), RIGHT);
    CHECK_EQ(objects_info(o).dropped, 0);
    CHECK_EQ(objects_info(o).expired, 4);
    /* Then what was not read, the oldest first; what was read stays. */
    cm_objects *full = objects_up(p.c, "full", 1);
    for (uint64_t i = 0; i < 9; i++)
        CHECK_EQ(put_value(full, i, 1, 400, 0), 0);
    CHECK_EQ(get_value(full, 0, 1, 400), RIGHT);
    CHECK_EQ(put_value(full, 9, 1, 400, 0), 0);
    CHECK_EQ(objects_info(full).dropped, 1);
    CHECK_EQ(get_value(full, 0, 1, 400), RIGHT);
    clock_step_ns = 0;
    objects_down(full);
    objects_down(o);
    pool_end(&p);
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static size_t some_length(uint64_t key)
{
    return key % 10 ? 50 + mix(key) % 500 : 2000 + mix(key) % 20000;
}

static void put_some(cm_objects *o, uint64_t first, uint64_t n, uint64_t version)
{
    for (uint64_t i = first; i < first + n; i++)
        CHECK_EQ(put_value(o, i, version, some_length(i), 0), 0);
}

static unsigned right(cm_objects *o, uint64_t first, uint64_t n, uint64_t version)
{
    unsigned found = 0;
    for (uint64_t i = first; i < first + n; i++) {
        const int r = get_value(o, i, version, some_length(i));
        CHECK(r != WRONG);
        found += r == RIGHT;
    }
    return found;
}

/* Everything is there after a close and after a crash of the process; sizes of options do not
 * matter then. */
static void test_restart(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    p.o.probation_bytes = 0; /* the default buffer: objects do not wait there */
    pool_again(&p);
    cm_objects *o = objects_up(p.c, "a", 2000);
    const uint64_t buckets = objects_info(o).buckets;
    put_some(o, 0, 500, 1);
    objects_down(o);
    pool_again(&p);
    o = objects_up(p.c, "a", 5);
    CHECK_EQ(objects_info(o).buckets, buckets);
    CHECK_EQ(right(o, 0, 500, 1), 500);
    put_some(o, 500, 500, 1);
    put_some(o, 0, 100, 2);
    pool_crash(&p);
    objects_lost(o);
    REQUIRE(pool_up(&p) == 0);
    o = objects_up(p.c, "a", 0);
    CHECK_EQ(right(o, 0, 100, 2), 100);
    CHECK_EQ(right(o, 100, 900, 1), 900);
    CHECK_EQ(STAT(p.c, attach_new), 1); /* the owner's */
    objects_down(o);
    pool_end(&p);
}

static uint64_t records_of(cm_cache *c)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    cm_file_iter *it;
    uint64_t n = 0;
    CHECK_EQ(cm_files_begin(c, 0, &it), 0);
    while (cm_files_next(it, NULL, &info) == 0)
        n++;
    cm_files_end(it);
    return n;
}

/* A container that is forgotten leaves no record. */
static void test_forgotten(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
    CHECK_EQ(put_value(o, 2, 1, 10000, 0), 0);
    CHECK_EQ(records_of(p.c), 3);
    objects_down(o);
    CHECK_EQ(cm_objects_forget(p.c, "a"), 0);
    CHECK_EQ(records_of(p.c), 0);
    CHECK_EQ(cm_objects_forget(p.c, "a"), 0); /* once more */
    CHECK_EQ(records_of(p.c), 0);
    o = objects_up(p.c, "a", 1000);
    CHECK_EQ(get_value(o, 1, 1, 100), MISS);
    CHECK_EQ(get_value(o, 2, 1, 10000), MISS);
    objects_down(o);
    pool_end(&p);
}

/* Many files come while a container is not open. Their records take the places of others'. */
static void test_many_files(void)
{
    struct pool p;
    pool_make_as(&p, 16 * MIB, 100, 0);
    REQUIRE(pool_up(&p) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    put_some(o, 0, 100, 1);
    CHECK_EQ(put_value(o, 1000, 1, 10000, 0), 0);
    objects_down(o);
    pool_again(&p);
    for (uint64_t id = 1; id <= 3000; id++)
        detach(attach(&p, id, 10 * BLK, 1, 0));
    CHECK(STAT(p.c, records_evicted) > 2000);
    o = objects_up(p.c, "a", 1000);
    CHECK_EQ(right(o, 0, 100, 1), 100);
    CHECK_EQ(get_value(o, 1000, 1, 10000), RIGHT);
    objects_down(o);
    pool_end(&p);
}

/* Containers that nobody opens any more keep no file out. */
static void test_many_containers(void)
{
    struct pool p;
    char name[16];
    pool_make_as(&p, 16 * MIB, 100, 0);
    REQUIRE(pool_up(&p) == 0);
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (unsigned i = 0; i < 10 * places; i++) {
        (void)snprintf(name, sizeof(name), "c%u", i);
        objects_down(objects_up(p.c, name, 10));
    }
    CHECK_EQ(STAT(p.c, unrecorded), 0);
    for (uint64_t id = 1; id <= 100; id++) {
        cm_file *f = attach(&p, id, 10 * BLK, 1, 0);
        CHECK_EQ(put(f, 1, id), 0);
        detach(f);
        f = attach(&p, id, 10 * BLK, 1, 0);
        CHECK_EQ(look(f, 1, id), RIGHT);
        detach(f);
    }
    CHECK_EQ(STAT(p.c, unrecorded), 0);
    for (uint64_t id = 201, round = 0, warm = 0; round < 6; id++) { /* and they stay */
        cm_file *f = attach(&p, id, 10 * BLK, 1, 0);
        if (look(f, 1, id) == RIGHT)
            warm++;
        else
            CHECK_EQ(put(f, 1, id), 0);
        detach(f);
        if (id < 225)
            continue;
        CHECK(round < 5 || warm >= 20);
        round++;
        id = 200;
        warm = 0;
    }
    pool_end(&p);
}

static uint64_t records_of_containers(struct pool *p)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_iter *it;
    uint64_t n = 0;
    CHECK_EQ(cm_files_begin(p->c, 0, &it), 0);
    while (cm_files_next(it, &v, &info) == 0)
        n += memcmp(v.proof, CM_PROOF_OBJECTS, sizeof(CM_PROOF_OBJECTS) - 1) == 0;
    cm_files_end(it);
    return n;
}

/* Also if they are more than what else may be taken: here most others are kept. */
static void test_more_containers(void)
{
    struct pool p;
    char name[16];
    pool_make_as(&p, 16 * MIB, 400, 0);
    REQUIRE(pool_up(&p) == 0);
    const uint64_t places = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    for (uint64_t id = 1; id <= places / 4; id++) {
        cm_file *f = attach(&p, id, BLK, 1, 0);
        CHECK_EQ(cm_file_set_keep(f, 1), 0);
        detach(f);
    }
    for (unsigned i = 0; i < places && records_of_containers(&p) < places * 7 / 16; i++) {
        (void)snprintf(name, sizeof(name), "c%u", i);
        objects_down(objects_up(p.c, name, 10));
    }
    const uint64_t before = records_of_containers(&p);
    CHECK(before >= places * 7 / 16);
    for (uint64_t id = 1; id <= 20 * places; id++)
        detach(attach(&p, 1000 + id, 10 * BLK, 1, 0));
    CHECK(STAT(p.c, records_evicted) > (int64_t)(10 * places));
    /* Where they have more than half of the places of two buckets, those above it may go. */
    CHECK(records_of_containers(&p) >= before - before / 5);
    pool_end(&p);
}

/* Each session that stores large values takes a data file. When all are in use it takes the oldest.
 * What was there is a miss then, and never another value. */
static void test_many_sessions(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    for (uint64_t s = 0; s < 80; s++) {
        cm_objects *o = objects_up(p.c, "a", 2000);
        CHECK_EQ(put_value(o, s, 1, 10000, 0), 0);
        CHECK_EQ(put_value(o, 1000, s, 10000, 0), 0);
        for (uint64_t i = 0; i <= s; i++) {
            CASE("session %llu, value of %llu", (unsigned long long)s, (unsigned long long)i);
            CHECK_EQ(get_value(o, i, 1, 10000), i + 64 > s ? RIGHT : MISS);
        }
        CHECK_EQ(get_value(o, 1000, s, 10000), RIGHT);
        if (s % 2) {
            pool_crash(&p);
            objects_lost(o);
            REQUIRE(pool_up(&p) == 0);
        } else {
            objects_down(o);
        }
    }
    pool_end(&p);
}

/* A power cut with DAX: what the CPU flushed is there. */
static void test_power_cut(void)
{
    struct pool p;
    if (!cpu_flushes())
        SKIP("this build cannot flush lines");
    pool_make(&p, 64 * MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    cm_objects *o = objects_up(p.c, "a", 2000);
    put_some(o, 0, 1000, 1);
    put_some(o, 0, 300, 2);
    pool_crash(&p);
    objects_lost(o);
    pool_other_boot(&p);
    REQUIRE(pool_up(&p) == 0);
    o = objects_up(p.c, "a", 2000);
    CHECK_EQ(right(o, 0, 300, 2), 300);
    CHECK_EQ(right(o, 300, 700, 1), 700);
    objects_down(o);
    pool_end(&p);
}

static void test_clear(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 2000);
    for (uint64_t round = 1; round < 4; round++) {
        put_some(o, 0, 500, round);
        CHECK_EQ(right(o, 0, 500, round), 500);
        CHECK_EQ(cm_objects_clear(o), 0);
        CHECK_EQ(right(o, 0, 500, round), 0);
    }
    put_some(o, 0, 500, 9);
    objects_down(o);
    pool_again(&p);
    o = objects_up(p.c, "a", 2000);
    CHECK_EQ(right(o, 0, 500, 9), 500);
    objects_down(o);
    pool_end(&p);
}

/* A pool that is much too small, with files beside the objects: only hits are lost. */
static void test_full_pool(void)
{
    struct pool p;
    unsigned last = 0;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    cm_file *f = attach(&p, 7, 100 * BLK, 1, 0);
    for (uint64_t i = 0; i < 30000; i++) {
        CHECK(put_value(o, i, 1, some_length(i), 0) >= 0);
        if (i % 300 == 0)
            (void)put(f, i / 300, 1);
        if (i >= 100 && i % 10 == 0) {
            const uint64_t k = i - mix(i) % 100;
            const int r = get_value(o, k, 1, some_length(k));
            CHECK(r != WRONG);
            last += r == RIGHT;
        }
    }
    CHECK(last > 2000); /* of 2990: the youngest are there */
    (void)right(o, 0, 30000, 1);
    CHECK(hits(f, 0, 100, 1) <= 100);
    detach(f);
    objects_down(o);
    pool_end(&p);
}

/* What is remembered of buckets is only a hint: any of it may be wrong. */
static void test_hints(void)
{
    static const uint32_t where[] = { 0, 1, 2, 1000000, UINT32_MAX };
    static const uint16_t used[] = { 0, 1, 64, 65, 2000, CM_BLOCK_SIZE };
    enum { KEYS = 40 };
    struct pool p;
    REQUIRE(pool_new(&p, 2 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 0);
    const uint64_t buckets = o->buckets;
    o->buckets = 2; /* so that there are many objects in each, but not too many */
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(put_value(o, key, 0, 100, 0), 0);
    for (uint64_t i = 0; i < 30; i++) {
        CASE("where %u, used %u", where[i % 5], used[i % 6]);
        for (uint64_t key = 0; key < KEYS; key++) {
            o->hint[0].where = o->hint[1].where = where[i % 5];
            o->hint[0].used = o->hint[1].used = used[i % 6];
            if (key % 8 == i % 8)
                CHECK_EQ(put_value(o, key, 0, 100, 0), 0);
            else
                CHECK_EQ(get_value(o, key, 0, 100), RIGHT);
        }
    }
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(get_value(o, key, 0, 100), RIGHT);
    CHECK_EQ(objects_info(o).dropped, 0);
    o->buckets = buckets;
    objects_down(o);
    pool_end(&p);
}

/* ---- Going over all -------------------------------------------------------------------------- */

static void test_iteration(void)
{
    struct pool p;
    static uint8_t seen[1000];
    uint64_t key;
    size_t key_len;
    cm_objects_iter *it = NULL;
    cm_object_info info = CM_OBJECT_INFO_INIT;
    int r;
    unsigned found = 0, steps = 0;
    memset(seen, 0, sizeof(seen));
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 100000); /* many empty buckets */
    put_some(o, 0, 1000, 1);
    put_some(o, 0, 1000, 2);
    CHECK_EQ(put_value(o, 5000, 1, 10, 1), 0); /* expired */
    CHECK_EQ(cm_objects_begin(o, NULL), CM_EINVAL);
    CHECK_EQ(cm_objects_begin(o, &it), 0);
    CHECK_EQ(cm_objects_close(o), CM_EBUSY);
    uint8_t room[CM_OBJECT_KEY_MAX];
    while ((r = cm_objects_next(it, room, &key_len, &info)) >= 0) {
        if (r == 0)
            continue;
        found++;
        memcpy(&key, room, sizeof(key));
        CHECK_EQ(key_len, sizeof(key));
        CHECK(key < 1000 && !seen[key]);
        seen[key < 1000 ? key : 0] = 1;
        CHECK_EQ(info.size, some_length(key));
    }
    CHECK_EQ(r, CM_EABSENT);
    CHECK_EQ(cm_objects_next(it, room, &key_len, &info), CM_EABSENT);
    for (unsigned i = 0; i < 1000; i++)
        CHECK(seen[i]);
    CHECK_EQ(found, 1000);
    cm_objects_end(it);
    cm_objects_end(NULL);
    CHECK_EQ(cm_objects_clear(o), 0);
    CHECK_EQ(cm_objects_begin(o, &it), 0);
    while ((r = cm_objects_next(it, room, &key_len, NULL)) == 0)
        steps++;
    CHECK_EQ(r, CM_EABSENT);
    CHECK_EQ(steps, (objects_info(o).buckets - 1) / 256);
    cm_objects_end(it);
    objects_down(o);
    pool_end(&p);
}

/* What is said of the number of buckets: a container for so many objects drops few of them. */
static void test_buckets(void)
{
    struct pool p;
    cm_objects_options opts = CM_OBJECTS_OPTIONS_INIT;
    static const uint64_t bytes[] = { 100, 300, 600, 1000, 1032 };
    for (unsigned i = 0; i < 5; i++) {
        CASE("%llu bytes", (unsigned long long)bytes[i]);
        cm_objects *o = NULL;
        unsigned found = 0;
        opts.objects = 20000;
        opts.object_bytes = bytes[i];
        REQUIRE(pool_new(&p, 128 * MIB) == 0);
        REQUIRE(cm_objects_open(p.c, "a", &opts, &o) == 0);
        for (uint64_t k = 0; k < 20000; k++)
            CHECK_EQ(put_value(o, k, 1, bytes[i] - sizeof(k), 0), 0);
        for (uint64_t k = 0; k < 20000; k++)
            found += get_value(o, k, 1, bytes[i] - sizeof(k)) == RIGHT;
        CHECK(found >= 19600); /* one in 64 is gone, and chance */
        printf("# %llu bytes: %u of 20000 in %llu buckets\n", (unsigned long long)bytes[i], found,
               (unsigned long long)objects_info(o).buckets);
        objects_down(o);
        pool_end(&p);
    }
}

/* One cannot be changed in modes that store nothing, and nothing old comes back of it. */
static void test_modes(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 16 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 1000);
    for (int mode = CM_FREEZE; mode <= CM_BYPASS; mode++) {
        CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
        CHECK_EQ(put_value(o, 2, 1, 10000, 0), 0);
        CHECK_EQ(cm_set_mode(p.c, mode), 0);
        CHECK_EQ(get_value(o, 1, 1, 100), mode == CM_FREEZE ? RIGHT : MISS);
        CHECK_EQ(put_value(o, 1, 2, 100, 0), CM_NOT_STORED_MODE);
        CHECK(put_value(o, 2, 2, 10000, 0) > 0);
        CHECK_EQ(cm_set_mode(p.c, CM_NORMAL), 0);
        CHECK_EQ(get_value(o, 1, 1, 100), MISS);
        CHECK_EQ(get_value(o, 2, 1, 10000), MISS);
    }
    objects_down(o);
    pool_end(&p);
}

static int from_callback(void *ctx, uint64_t done, uint64_t total)
{
    cm_objects *o = ctx;
    const uint64_t key = 1;
    (void)done, (void)total;
    CHECK_EQ(cm_objects_put(o, &key, sizeof(key), "x", 1, 0), CM_ECALLBACK);
    CHECK_EQ(cm_objects_delete(o, &key, sizeof(key)), CM_ECALLBACK);
    CHECK_EQ(cm_objects_get(o, &key, sizeof(key), NULL, 0, NULL), CM_ECALLBACK);
    CHECK_EQ(cm_objects_clear(o), CM_ECALLBACK);
    cm_objects_iter *iter = NULL;
    CHECK_EQ(cm_objects_begin(o, &iter), CM_ECALLBACK);
    cm_objects_info info = CM_OBJECTS_INFO_INIT;
    CHECK_EQ(cm_objects_get_info(o, &info), CM_ECALLBACK);
    CHECK_EQ(cm_objects_close(o), CM_ECALLBACK); /* and nothing was closed */
    return 1;
}

static void test_callback(void)
{
    struct pool p;
    cm_check_report r = CM_CHECK_REPORT_INIT;
    REQUIRE(pool_new(&p, 4 * MIB) == 0);
    cm_objects *o = objects_up(p.c, "a", 100);
    CHECK_EQ(put_value(o, 1, 1, 100, 0), 0);
    CHECK_EQ(cm_check(p.c, 0, from_callback, o, &r), CM_ECANCELED);
    CHECK_EQ(get_value(o, 1, 1, 100), RIGHT);
    objects_down(o);
    pool_end(&p);
}

/* All memory comes from the program, and goes back to it. */
static void test_memory(void)
{
    struct counted_memory m = { 0 };
    struct pool p;
    cm_objects_iter *iter = NULL;
    cm_objects *o = NULL;
    pool_make(&p, 4 * MIB, 0);
    p.o.alloc = counted_alloc;
    p.o.free = counted_free;
    p.o.alloc_ctx = &m;
    REQUIRE(pool_up(&p) == 0);
    objects_down(objects_up(p.c, "a", 100)); /* its files have memory, from now on */
    const unsigned had = m.kept;
    unsigned before = m.wanted;
    o = objects_up(p.c, "a", 100);
    CHECK_EQ(m.wanted, before + 2); /* the container, and what is remembered of its buckets */
    before = m.wanted;
    CHECK_EQ(cm_objects_begin(o, &iter), 0);
    CHECK_EQ(m.wanted, before + 1);
    cm_objects_end(iter);
    objects_down(o);
    CHECK_EQ(m.kept, had);
    m.refuses = true;
    CHECK_EQ(cm_objects_open(p.c, "a", NULL, &o), CM_ENOMEM);
    m.refuses = false;
    CHECK_EQ(m.kept, had);
    pool_down(&p);
    CHECK_EQ(m.kept, 0);
    pool_end(&p);
}

static const struct harness_test objects_tests[] = { TEST(arguments),
                                                     TEST(one_owner),
                                                     TEST(lengths),
                                                     TEST(keys),
                                                     TEST(replace),
                                                     TEST(version),
                                                     TEST(ttl),
                                                     TEST(expired_leave),
                                                     TEST(restart),
                                                     TEST(many_sessions),
                                                     TEST(power_cut),
                                                     TEST(clear),
                                                     TEST(full_pool),
                                                     TEST(iteration),
                                                     TEST(buckets),
                                                     TEST(modes),
                                                     TEST(callback),
                                                     TEST(patience),
                                                     TEST(forgotten),
                                                     TEST(many_files),
                                                     TEST(many_containers),
                                                     TEST(more_containers),
                                                     TEST(again),
                                                     TEST(hints),
                                                     TEST(memory),
                                                     TEST_END };
static const struct harness_test *const tables[] = { objects_tests,         objects_hostile_tests,
                                                     objects_threads_tests, objects_grow_tests,
                                                     objects_large_tests,   objects_told_tests,
                                                     objects_ttl_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
