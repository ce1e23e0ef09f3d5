/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_files.c - what is cached: the list of files, with their cached bytes.
 */
#include "files_common.h"

#include "../os.h"

/* ---- The list -------------------------------------------------------------------------------- */

#define FOUND_MAX 4096u

/* What an iteration gave, by the low half of the id. */
struct found {
    unsigned n;
    unsigned times[FOUND_MAX];
    cm_file_info info[FOUND_MAX];
};

static struct found *list(cm_cache *c, uint32_t flags)
{
    static struct found found;
    cm_file_iter *it = NULL;
    cm_file_info i = { .struct_size = sizeof(i) };
    cm_validator v = CM_VALIDATOR_INIT;
    int e;
    memset(&found, 0, sizeof(found));
    CHECK_EQ(cm_files_begin(c, flags, &it), 0);
    while (it && (e = cm_files_next(it, &v, &i)) == 0) {
        if (i.id.lo >= FOUND_MAX)
            continue;
        found.n++;
        found.times[i.id.lo]++;
        found.info[i.id.lo] = i;
        CHECK_EQ(v.size, i.size);
    }
    CHECK_EQ(e, CM_EABSENT);
    CHECK_EQ(cm_files_next(it, NULL, NULL), CM_EABSENT);
    cm_files_end(it);
    return &found;
}

/* Files with a record, attached or not, each once; what is cached of them. */
static void test_list(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->n, 0);
    cm_file *f[4];
    for (uint64_t i = 0; i < 4; i++) {
        f[i] = attach(&p, i, 100 * BLK, 7, 0);
        CHECK_EQ(put_all(f[i], 0, i, i), i);
    }
    CHECK_EQ(put_tail(f[3], 99, 10, 3), 0);
    detach(f[1]);
    detach(f[2]);
    const struct found *l = list(p.c, CM_FILES_COUNT);
    CHECK_EQ(l->n, 4);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(l->times[i], 1);
        CHECK_EQ(l->info[i].attached, i == 0 || i == 3);
        CHECK_EQ(l->info[i].size, 100 * BLK);
        CHECK_EQ(l->info[i].cached_bytes, i * BLK + (i == 3 ? 10 : 0));
        CHECK_EQ(l->info[i].racy, 0);
    }
    CHECK_EQ(list(p.c, 0)->info[3].cached_bytes, CM_SIZE_UNKNOWN);
    CHECK_EQ(info_of(f[3]).cached_bytes, CM_SIZE_UNKNOWN);
    const cm_file_id second = id_of(2);
    cm_file_info info = CM_FILE_INFO_INIT;
    CHECK_EQ(cm_file_lookup(p.c, &second, NULL, &info), 0);
    CHECK(!info.attached && info.cached_bytes == CM_SIZE_UNKNOWN);
    CHECK_EQ(cm_forget(p.c, &second), 0);
    CHECK_EQ(list(p.c, 0)->n, 3);
    pool_end(&p);
}

/* A file whose record is in the middle of a change when it is read, so many times. It is closed
 * before the next record is read. */
static struct {
    cm_file *f;
    uint64_t place;
    unsigned times;
} changing;
/* Each record has a region that began anew, the second one; and so many times one can be judged. */
static struct {
    bool raised;
    uint64_t judged;
} records;

int __real_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
int __wrap_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole);
int __wrap_cm_record_at(const struct cm_media *m, uint64_t place, struct cm_record *r, bool *whole)
{
    cm_file *const f = changing.f;
    const int e = __real_cm_record_at(m, place, r, whole);
    if (records.raised && records.judged-- == 0) {
        records.judged = 0;
        *whole = false;
        return CM_ESEAL;
    }
    if (records.raised && *whole)
        r->since[0] |= 1u << 8;
    if (f && place == changing.place && changing.times > 0) {
        changing.times--;
        r->incarnation++;
        *whole = false;
    } else if (f && place != changing.place && changing.times == 0) {
        changing.f = NULL;
        detach(f);
    }
    return e;
}

/* A file whose record was not whole, and which is closed before the attached files are looked at,
 * is listed all the same: who forgets all files must not miss it. */
static void test_changing(void)
{
    for (unsigned times = 1; times <= 2; times++) {
        CASE("times %u", times);
        struct pool p;
        REQUIRE(pool_new(&p, MIB) == 0);
        cm_file *f = attach(&p, 3, 100 * BLK, 7, 0);
        CHECK_EQ(put(f, 0, 1), 0);
        changing.place = cm_object_of(f)->place;
        changing.times = times;
        changing.f = f;
        const struct found *l = list(p.c, CM_FILES_COUNT);
        CHECK(!changing.f); /* it was closed */
        CHECK_EQ(l->n, 1);
        CHECK_EQ(l->times[3], 1);
        CHECK(!l->info[3].attached);
        CHECK_EQ(l->info[3].cached_bytes, BLK);
        memset(&changing, 0, sizeof(changing));
        pool_end(&p);
    }
}

/* A page of the file table cannot be read. The files of the others are listed. */
static void test_unreadable_page(void)
{
    enum { FILES = 30 };
    struct pool p;
    unsigned others = 0;
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    pool_make(&p, 2 * MIB, 64);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t i = 0; i < FILES; i++) {
        cm_file *f = attach(&p, i, BLK, 7, 0);
        others += cm_object_of(f)->place >= CM_RECORD_WAYS;
        detach(f);
    }
    CHECK(others > 0 && others < FILES);
    os_protect(record_of(p.c, 0), BLK, OS_NOTHING);
    CHECK_EQ(list(p.c, 0)->n, others);
    os_protect(record_of(p.c, 0), BLK, OS_WRITE);
    CHECK_EQ(list(p.c, 0)->n, FILES);
    pool_end(&p);
}

/* Files whose ids differ in one half only. */
static void test_half_ids(void)
{
    enum { FILES = 30 };
    struct pool p;
    cm_file_id id = { .lo = 7 };
    cm_file *f;
    REQUIRE(pool_new(&p, MIB) == 0);
    for (id.hi = 1; id.hi <= FILES; id.hi++)
        CHECK_EQ(cm_file_open(p.c, &id, NULL, 0, &f), 0);
    CHECK_EQ(list(p.c, 0)->times[7], FILES);
    pool_end(&p);
}

/* A pool that is only looked at: the records tell. */
static void test_readonly(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    (void)attach(&p, 2, 3 * BLK, 7, 0);
    pool_down(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    const struct found *l = list(p.c, CM_FILES_COUNT);
    CHECK_EQ(l->n, 2);
    CHECK_EQ(l->info[1].cached_bytes, 5 * BLK);
    CHECK_EQ(l->info[1].attached, 0);
    CHECK_EQ(l->info[1].racy, 0);
    CHECK_EQ(l->info[2].cached_bytes, 0);
    CHECK_EQ(l->info[2].size, 3 * BLK);
    pool_end(&p);
}

/* Two records of one file: the next owner drops both, so it is not listed. */
static void test_readonly_twice(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    detach(attach(&p, 2, 3 * BLK, 7, 0));
    const uint64_t place = cm_object_of(f)->place;
    detach(f);
    struct cm_record r = *record_of(p.c, place), *beside = record_of(p.c, place ^ 1);
    if (beside->id.lo == 2) /* not in its place */
        beside = record_of(p.c, place ^ 2);
    CHECK_EQ(put_record(p.c, (uint64_t)(beside - record_of(p.c, 0)), &r), 0);
    pool_down(&p);
    p.o.flags = CM_OPEN_READONLY;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(list(p.c, 0)->times[2], 1);
    cm_file_iter *it = NULL;
    unsigned n = 0;
    CHECK_EQ(cm_files_begin(p.c, 0, &it), 0);
    while (cm_files_next(it, NULL, NULL) == 0)
        n++;
    cm_files_end(it);
    CHECK_EQ(n, 1);
    pool_end(&p);
}

/* A file that was being written when the system went down is cold: so says a pool that is only
 * looked at in the next boot, too. */
static void test_readonly_other_boot(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    if (pool_info(p.c).durability != CM_DURABILITY_DAX)
        SKIP("no flush instruction in this build");
    (void)begin_write(attach(&p, 1, 9 * BLK, 7, 0), 0, BLK);
    (void)attach(&p, 2, 9 * BLK, 7, 0);
    pool_crash(&p);
    p.o.flags = CM_OPEN_READONLY;
    for (unsigned other = 0; other < 2; other++) {
        if (other)
            pool_other_boot(&p);
        REQUIRE(pool_up(&p) == 0);
        const struct found *l = list(p.c, 0);
        CHECK_EQ(l->info[1].dirty, !other);
        CHECK_EQ(l->info[1].racy, 0);
        CHECK_EQ(l->info[2].racy, 0);
        pool_down(&p);
    }
    pool_end(&p);
}

/* Nothing is cached in a pool that its next owner will empty. */
static void test_readonly_would_empty(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    pool_crash(&p);
    p.o.flags = CM_OPEN_READONLY;
    for (unsigned other = 0; other < 2; other++) {
        CASE("other %u", other);
        if (other)
            pool_other_boot(&p);
        REQUIRE(pool_up(&p) == 0);
        CHECK_EQ(list(p.c, CM_FILES_COUNT)->n, !other);
        pool_down(&p);
    }
    pool_end(&p);
}

/* Attached files are listed even if no record was free for them; a file whose fsync failed is
 * listed, too, and can be told from the others. */
static void test_without_record(void)
{
    struct pool p;
    pool_make(&p, 2 * MIB, 16);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t i = 0; i < 200; i++)
        (void)attach(&p, i, BLK, 7, 0);
    CHECK(STAT(p.c, unrecorded) > 0);
    const struct found *l = list(p.c, 0);
    CHECK_EQ(l->n, 200);
    for (uint64_t i = 0; i < 200; i++)
        CHECK_EQ(l->times[i], 1);
    pool_again(&p);
    CHECK_EQ(list(p.c, 0)->n, 32);
    pool_end(&p);

    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, BLK, 7, 0);
    cm_sync s;
    CHECK_EQ(cm_sync_begin(f, &s), 0);
    CHECK_EQ(cm_sync_end(f, &s, 0, NULL), 0);
    CHECK_EQ(list(p.c, 0)->n, 1); /* its record has a number, and the file has none */
    detach(f);
    CHECK_EQ(list(p.c, 0)->n, 1);
    CHECK_EQ(list(p.c, 0)->info[1].bypassed, 1);
    pool_end(&p);
}

/* Blocks count only if a lookup would find them: not those of an earlier epoch, nor those to which
 * no cell leads. Blocks that wait in the buffer count, each once. */
static void test_counted(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 5, 1), 5);
    header_of(p.c, slot_of(f, 2))->xxh3 ^= 1;
    *cell_to(f, 3) = 0;
    out_of_order(p.c);
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->info[1].cached_bytes, 3 * BLK);
    /* Another slot has the same block, and no cell leads there. */
    struct cm_header *h = header_of(p.c, p.c->media.geo.slots - 1);
    *h = *header_of(p.c, slot_of(f, 1));
    h->w0 = cm_format_w0(p.c->media.check_key, p.c->media.geo.slots - 1, h,
                         (uint32_t)(h->w0 & CM_W0_LIFE_MASK));
    CHECK(slot_ok(p.c, p.c->media.geo.slots - 1));
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->info[1].cached_bytes, 3 * BLK);
    CHECK_EQ(bump_epoch(p.c), 0);
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->info[1].cached_bytes, 0);
    pool_end(&p);

    pool_make(&p, MIB, 0);
    p.o.probation_bytes = 16 * BLK;
    REQUIRE(pool_up(&p) == 0);
    f = attach(&p, 1, 100 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 20, 1), 20);
    CHECK(STAT(p.c, promoted) > 0 && STAT(p.c, promoted) < 20);
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->info[1].cached_bytes, 20 * BLK);
    pool_end(&p);
}

/* Files come and go between two calls. */
static void test_meanwhile(void)
{
    struct pool p;
    cm_file_iter *it;
    cm_file_info i = { .struct_size = sizeof(i) };
    unsigned times[FOUND_MAX] = { 0 };
    uint64_t next = 100;
    pool_make(&p, 4 * MIB, 1000);
    REQUIRE(pool_up(&p) == 0);
    for (uint64_t k = 0; k < 100; k++)
        detach(attach(&p, k, BLK, 7, 0));
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &it), 0);
    CHECK_EQ(cm_close(p.c), CM_EBUSY);
    while (cm_files_next(it, NULL, &i) == 0) {
        times[i.id.lo]++;
        cm_file_id gone = id_of(next % 100);
        if (gone.lo % 2 && gone.lo > 50)
            CHECK_EQ(cm_forget(p.c, &gone), 0);
        (void)attach(&p, next++, BLK, 7, 0);
    }
    for (uint64_t k = 0; k < 100; k++)
        CHECK(times[k] == 1 || (k % 2 && k > 50 && times[k] == 0));
    cm_files_end(it);
    pool_end(&p);
}

static int allocations;
static size_t taken; /* bytes */
static void *some_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    if (allocations-- <= 0)
        return NULL;
    taken += bytes;
    return cm_plat_alloc(bytes);
}
static void some_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    taken -= bytes;
    cm_plat_free(p, bytes);
}

/* More open files than records, and memory for a part of the list. */
static void test_no_memory(void)
{
    enum { FILES = 200 };
    for (unsigned open = 0; open < 2; open++) {
        struct pool p;
        cm_file_iter *it = NULL;
        int n = 0, e;
        pool_make(&p, 2 * MIB, open ? 16 : 400);
        p.o.alloc = some_alloc;
        p.o.free = some_free;
        allocations = 1000;
        REQUIRE(pool_up(&p) == 0);
        for (uint64_t i = 0; i < FILES; i++) {
            cm_file *f = attach(&p, i, BLK, 7, 0);
            if (!open)
                detach(f);
        }
        CHECK_EQ(STAT(p.c, unrecorded) > 0, open);
        const size_t before = taken;
        do {
            CASE("open %u, allocations %d", open, n);
            allocations = n++;
            e = cm_files_begin(p.c, 0, &it);
            CHECK(e == 0 || (e == CM_ENOMEM && taken == before));
        } while (e != 0 && n < 100);
        CHECK(n > 5);
        cm_files_end(it);
        CHECK_EQ(taken, before);
        allocations = 1000;
        CHECK_EQ(list(p.c, 0)->n, FILES);
        pool_end(&p);
    }
}

static void test_refused(void)
{
    struct pool p;
    cm_file_iter *it = NULL;
    cm_file_info i = { .struct_size = 5 };
    pool_make(&p, MIB, 0);
    p.o.alloc = some_alloc;
    p.o.free = some_free;
    allocations = 1000;
    REQUIRE(pool_up(&p) == 0);
    (void)attach(&p, 1, BLK, 7, 0);
    CHECK_EQ(cm_files_begin(NULL, 0, &it), CM_EHANDLE);
    CHECK_EQ(cm_files_begin(p.c, 4, &it), CM_EINVAL);
    CHECK_EQ(cm_files_begin(p.c, 0, NULL), CM_EINVAL);
    for (int n = 0; n < 3; n++) {
        allocations = n;
        CHECK_EQ(cm_files_begin(p.c, 0, &it), CM_ENOMEM);
    }
    allocations = 3;
    CHECK_EQ(cm_files_begin(p.c, 0, &it), 0);
    CHECK_EQ(cm_files_next(it, NULL, &i), CM_EINVAL);
    i.struct_size = 0;
    CHECK_EQ(cm_files_next(it, NULL, &i), 0);
    CHECK_EQ(cm_files_next(NULL, NULL, &i), CM_EHANDLE);
    cm_files_end(it);
    cm_files_end(NULL);
    allocations = 1000;
    pool_end(&p);
}

#define STEP 4096u /* records, chains of files, or headers */

/* The next file of a listing in steps. *steps: how often it was not there yet. */
static int next_in_steps(cm_file_iter *it, cm_file_info *info, uint64_t *steps)
{
    int e;
    while ((e = cm_files_next(it, NULL, info)) == CM_EBUSY)
        ++*steps;
    return e;
}

/* A listing that reads in steps: it can be ended after each, and gives the same in the end. */
static void test_steps(void)
{
    enum { FILES = 300 };
    struct pool p;
    cm_file_iter *it = NULL;
    cm_file_info i = CM_FILE_INFO_INIT;
    pool_make(&p, 64 * MIB, 3 * STEP);
    REQUIRE(pool_up(&p) == 0);
    const struct cm_geometry *g = &p.c->media.geo;
    const uint64_t looks = g->record_buckets * CM_RECORD_WAYS + p.c->file_chains;
    const uint64_t lists = (looks - 1) / STEP, counts = (g->slots - 1) / STEP;
    for (uint64_t k = 0; k < FILES; k++) {
        cm_file *f = attach(&p, k, 9 * BLK, 7, 0);
        CHECK_EQ(put_all(f, 0, k % 3, 1), (int)(k % 3));
        if (k % 2)
            detach(f);
    }
    CHECK(lists >= 3 && counts >= 3);
    for (unsigned counted = 0; counted < 2; counted++) {
        const uint32_t flags = (counted ? CM_FILES_COUNT : 0) | CM_FILES_STEPS;
        const uint64_t all = lists + (counted ? counts : 0);
        uint64_t steps = 0, n = 0;
        CASE("counted %u", counted);
        CHECK_EQ(cm_files_begin(p.c, flags, &it), 0);
        CHECK_EQ(next_in_steps(it, &i, &steps), 0);
        CHECK_EQ(steps, all);
        do {
            CHECK_EQ(i.cached_bytes, counted ? i.id.lo % 3 * BLK : CM_SIZE_UNKNOWN);
            n++;
        } while (next_in_steps(it, &i, &steps) == 0);
        CHECK_EQ(steps, all);
        CHECK_EQ(n, FILES);
        cm_files_end(it);
        for (uint64_t ended = 0; ended <= all; ended++) { /* after so many steps */
            CHECK_EQ(cm_files_begin(p.c, flags, &it), 0);
            for (uint64_t k = 0; k < ended; k++)
                CHECK_EQ(cm_files_next(it, NULL, NULL), CM_EBUSY);
            cm_files_end(it);
        }
    }
    pool_end(&p);
}

/* After an error a step is tried again. */
static void test_steps_fail(void)
{
    struct pool p;
    cm_file_iter *it = NULL;
    cm_file_info i = CM_FILE_INFO_INIT;
    uint64_t steps = 0;
    pool_make(&p, MIB, 0);
    p.o.alloc = some_alloc;
    p.o.free = some_free;
    allocations = 1000;
    REQUIRE(pool_up(&p) == 0);
    detach(attach(&p, 3, BLK, 7, 0));
    allocations = 1;
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_STEPS, &it), 0);
    CHECK_EQ(next_in_steps(it, &i, &steps), CM_ENOMEM);
    CHECK_EQ(next_in_steps(it, &i, &steps), CM_ENOMEM);
    allocations = 1000;
    CHECK_EQ(next_in_steps(it, &i, &steps), 0);
    CHECK_EQ(i.id.lo, 3);
    CHECK_EQ(next_in_steps(it, &i, &steps), CM_EABSENT);
    cm_files_end(it);
    pool_end(&p);
}

/* A record that could be judged when the files were collected, and not when a block was found: that
 * is an error, and not a file of which nothing is cached. */
static void test_unjudged(void)
{
    struct pool p;
    cm_file_iter *it = NULL;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 3, 100 * BLK, 7, 0);
    CHECK_EQ(put_all(f, 0, 3, 7), 3);
    detach(f);
    records.judged = p.c->media.geo.record_buckets * CM_RECORD_WAYS;
    records.raised = true;
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT, &it), CM_ESEAL);
    records.judged = UINT64_MAX;
    CHECK_EQ(list(p.c, CM_FILES_COUNT)->info[3].cached_bytes, 3 * BLK);
    CASE("in steps: it is counted anew");
    cm_file_info i = CM_FILE_INFO_INIT;
    uint64_t steps = 0;
    CHECK_EQ(cm_files_begin(p.c, CM_FILES_COUNT | CM_FILES_STEPS, &it), 0);
    records.judged = p.c->media.geo.record_buckets * CM_RECORD_WAYS + 1;
    CHECK_EQ(next_in_steps(it, &i, &steps), CM_ESEAL);
    CHECK_EQ(next_in_steps(it, &i, &steps), CM_ESEAL);
    records.judged = UINT64_MAX;
    CHECK_EQ(next_in_steps(it, &i, &steps), 0);
    CHECK_EQ(i.cached_bytes, 3 * BLK);
    cm_files_end(it);
    records.raised = false;
    pool_end(&p);
}

static const struct harness_test files_tests[] = {
    TEST(list),
    TEST(changing),
    TEST(half_ids),
    TEST(unreadable_page),
    TEST(no_memory),
    TEST(steps),
    TEST(steps_fail),
    TEST(readonly),
    TEST(readonly_twice),
    TEST(readonly_other_boot),
    TEST(readonly_would_empty),
    TEST(without_record),
    TEST(counted),
    TEST(unjudged),
    TEST(meanwhile),
    TEST(refused),
    TEST_END,
};

static const struct harness_test *const tables[] = { files_tests, files_ranges_tests,
                                                     files_drop_tests, files_use_tests,
                                                     files_name_tests };

int main(int argc, char **argv)
{
    return HARNESS_TABLES(tables, argc, argv);
}
