/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_seen_files.c - the files of the live views ("cachemax top", "dash"), whose records are found
 * in several looks. Here a look reads SEEN_RECORDS of them, which are a few.
 */
#include "fixture.h"

#include "tool/seen_files.h"

#define FILES 10u
#define RECORDS 400u

static const char path[] = "test_seen_files.pool";

/* What another process sees of the pool. */
static void show(const struct pool *p)
{
    FILE *f = fopen(path, "wb");
    REQUIRE(f != NULL);
    CHECK_EQ(fwrite(p->base, 1, p->bytes, f), p->bytes);
    CHECK_EQ(fclose(f), 0);
}

static unsigned found(const struct seen_files *l)
{
    unsigned n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->file[i].recorded;
    return n;
}

static uint64_t looks_for_all(const struct pool *p)
{
    const uint64_t all = p->c->media.geo.record_buckets * CM_RECORD_WAYS;
    return (all + SEEN_RECORDS - 1) / SEEN_RECORDS;
}

static void make(struct pool *p)
{
    pool_make(p, 4 * MIB, RECORDS);
    REQUIRE(pool_up(p) == 0);
    for (uint64_t k = 0; k < FILES; k++)
        CHECK_EQ(put_all(attach(p, k, 9 * BLK, 7, 0), 0, 1 + k % 3, 1), (int)(1 + k % 3));
}

/* Each look goes on where the last one ended. In the end all records are found, and then none is
 * looked for. */
static void test_all_found(void)
{
    struct pool p;
    struct seen_files l = { 0 };
    make(&p);
    CALL(show(&p));
    const uint64_t looks = looks_for_all(&p);
    CHECK(looks > 3);
    for (uint64_t k = 1; k <= looks; k++) {
        const unsigned before = found(&l);
        CHECK_EQ(seen_files_look(path, &l), 0);
        CHECK_EQ(l.n, FILES);
        CHECK(found(&l) >= before && (k > 1 || found(&l) < FILES));
        CHECK_EQ(l.more, found(&l) < FILES);
    }
    CHECK_EQ(found(&l), FILES);
    const uint64_t next = l.next;
    CHECK_EQ(seen_files_look(path, &l), 0);
    CHECK_EQ(found(&l), FILES);
    CHECK_EQ(l.next, next);
    pool_end(&p);
    (void)remove(path);
}

/* Of a file without a record that is said when all were looked at, and not before. If it gets one
 * later, that is found. */
static void test_none_yet(void)
{
    struct pool p;
    struct seen_files l = { 0 };
    make(&p);
    const uint64_t looks = looks_for_all(&p), file = FILES / 2;
    cm_file *f = attach(&p, file, 9 * BLK, 7, 0);
    struct cm_record *r = record_of(p.c, cm_object_of(f)->place), kept = *r;
    r->incarnation = 0;
    CALL(show(&p));
    for (uint64_t k = 1; k <= looks; k++) {
        CHECK_EQ(seen_files_look(path, &l), 0);
        CHECK_EQ(l.more, k < looks);
        for (size_t i = 0; i < l.n; i++)
            CHECK(l.file[i].recorded || l.file[i].searched == (k == looks));
    }
    CHECK_EQ(found(&l), FILES - 1);
    /* The record of another file is away for a moment: it may be anywhere. */
    f = attach(&p, 0, 9 * BLK, 7, 0);
    struct cm_record *moved = record_of(p.c, cm_object_of(f)->place), was = *moved;
    moved->incarnation = 0;
    CALL(show(&p));
    CHECK_EQ(seen_files_look(path, &l), 0);
    CHECK_EQ(found(&l), FILES - 2);
    CHECK(l.more);
    *moved = was;
    *r = kept;
    CALL(show(&p));
    for (uint64_t k = 1; k <= looks; k++)
        CHECK_EQ(seen_files_look(path, &l), 0);
    CHECK_EQ(found(&l), FILES);
    pool_end(&p);
    (void)remove(path);
}

static const struct harness_test tests[] = { TEST(all_found), TEST(none_yet) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
