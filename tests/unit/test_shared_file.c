/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_shared_file.c - readers of a pool in a file.
 */
#include "api_common.h"
#include "shared_common.h"

#include "api/cache.h"

#include <sys/stat.h>

#define SIZE (100 * BLK)

static cm_cache *owner, *reader;
static cm_file *f, *g;
static const char *path;

static cm_file *attach_to(cm_cache *c)
{
    struct pool as = { .c = c };
    return attach(&as, 1, SIZE, 7, 0);
}

/* A pool in a file, whose owner has file 1 warm. */
static bool file_up(void)
{
    path = make_pool("shared", 2 * MIB, 0);
    owner = open_pool(path, 0);
    reader = open_pool(path, CM_OPEN_SHARED);
    if (!owner || !reader)
        return false;
    f = attach_to(owner);
    CHECK_EQ(put_all(f, 0, 10, 1), 10);
    g = attach_to(reader);
    return true;
}

static void file_down(void)
{
    if (reader)
        CHECK_EQ(cm_close(reader), 0);
    if (owner)
        CHECK_EQ(cm_close(owner), 0);
    reader = owner = NULL;
    (void)unlink(path);
}

/* Readers come and go beside an owner, and never keep one out. */
static void test_beside(void)
{
    REQUIRE(file_up());
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    CHECK_EQ(pool_info(reader).owned, 1);
    CHECK_EQ(try_open(path, 0), CM_EOWNED);
    CHECK_EQ(try_open(path, CM_OPEN_SHARED), 0);
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* the reader that has gone took no lock with it */
    CHECK_EQ(cm_close(owner), 0);
    CHECK_EQ(pool_info(reader).owned, 0);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    owner = open_pool(path, 0);
    REQUIRE(owner != NULL);
    f = attach_to(owner);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    CHECK_EQ(cm_invalidate(f, 0, CM_ALL), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    file_down();
}

/* A reader needs no right to write. What others may write it does not trust. */
static void test_rights(void)
{
#ifdef _WIN32
    SKIP("Windows has access lists");
#endif
    REQUIRE(file_up());
    CHECK_EQ(cm_close(reader), 0);
    CHECK_EQ(chmod(path, 0400), 0);
    reader = open_pool(path, CM_OPEN_SHARED);
    REQUIRE(reader != NULL);
    g = attach_to(reader);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
#ifndef _WIN32
    CHECK_EQ(chmod(path, 0622), 0);
    CHECK_EQ(try_open(path, CM_OPEN_SHARED), CM_EUNTRUSTED);
    CHECK_EQ(try_open(path, CM_OPEN_SHARED | CM_OPEN_ANY_OWNER), 0);
#endif
    CHECK_EQ(chmod(path, 0600), 0);
    file_down();
}

/* The pool gets another size, in another file. The reader has the old one, which is no pool any
 * more. */
static void test_resized(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
#ifdef _WIN32
    SKIP("Windows replaces no file that a reader has mapped");
#endif
    REQUIRE(file_up());
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    CHECK_EQ(cm_close(owner), 0);
    owner = NULL;
    o.size = 3 * MIB;
    CHECK_EQ(cm_resize(path, &o, NULL), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    cm_validator v = val(SIZE, 7);
    CHECK_EQ(cm_file_revalidate(g, &v), CM_ENOTPOOL);
    CHECK_EQ(cm_close(reader), 0);
    reader = open_pool(path, CM_OPEN_SHARED);
    REQUIRE(reader != NULL);
    g = attach_to(reader);
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    file_down();
}

#ifndef _WIN32
static void resize_now(void)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    o.size = 3 * MIB;
    CHECK_EQ(cm_resize(path, &o, NULL), 0);
}

/* An owner opens the file, and another process has its lock until it has resized the pool. */
static void (*before_lock)(void);
int __real_cm_plat_file_lock(struct cm_plat_file *file);
int __wrap_cm_plat_file_lock(struct cm_plat_file *file);
int __wrap_cm_plat_file_lock(struct cm_plat_file *file)
{
    void (*const first)(void) = before_lock;
    before_lock = NULL;
    if (first)
        first();
    return __real_cm_plat_file_lock(file);
}

/* The new file cannot take the name of the old one. */
static int replace_error;
static bool replace_done; /* it has taken it all the same */
int __real_cm_plat_file_replace(struct cm_plat_file *new, const char *made,
                                struct cm_plat_file *old, const char *at, bool *replaced);
int __wrap_cm_plat_file_replace(struct cm_plat_file *new, const char *made,
                                struct cm_plat_file *old, const char *at, bool *replaced);
int __wrap_cm_plat_file_replace(struct cm_plat_file *new, const char *made,
                                struct cm_plat_file *old, const char *at, bool *replaced)
{
    const int e = replace_error;
    replace_error = 0;
    if (e == 0)
        return __real_cm_plat_file_replace(new, made, old, at, replaced);
    if (replace_done)
        CHECK_EQ(rename(made, at), 0);
    *replaced = false;
    return e;
}

static void no_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level <= CM_LOG_WARNING)
        printf("# the log: %s\n", text);
    CHECK(level > CM_LOG_WARNING);
}
#endif

/* The pool cannot get another size. So it is as it was, for readers, too; but not if the new one
 * may have its name, nor if readers were served nothing before. */
static void test_not_resized(void)
{
#ifdef _WIN32
    SKIP("Windows has closed the old file by then");
#else
    static const struct {
        int error;
        bool done, odd, served;
    } cases[] = { { CM_EACCES, false, false, true },
                  { CM_EACCES, false, true, false },
                  { CM_EIO, false, false, false },
                  { CM_ENOENT, true, false, false } };
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    o.size = 3 * MIB;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CASE("case %u", i);
        REQUIRE(file_up());
        if (cases[i].odd)
            CHECK_EQ(cm_super_shut(&owner->super), 0);
        CHECK_EQ(cm_close(owner), 0);
        owner = NULL;
        replace_error = cases[i].error;
        replace_done = cases[i].done;
        CHECK_EQ(cm_resize(path, &o, NULL), cases[i].error);
        CHECK_EQ(hits(g, 0, 10, 1), cases[i].served ? 10 : 0);
        owner = open_pool(path, 0); /* the old one or the new one */
        REQUIRE(owner != NULL);
        CHECK_EQ(hits(g, 0, 10, 1), cases[i].done ? 0 : 10);
        file_down();
    }
#endif
}

/* The pool is resized between the opening of its file and the look at it. Whoever looks finds the
 * new one, and the log has no line of it. */
static void test_resized_meanwhile(void)
{
#ifdef _WIN32
    SKIP("Windows replaces no file that is open");
#else
    cm_info info = CM_INFO_INIT;
    cm_stats_data stats = CM_STATS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    o.log = no_line;
    o.probation_bytes = CM_PROBATION_NONE;
    for (unsigned i = 0; i < 4; i++) {
        CASE("%u", i);
        path = make_pool("shared", 2 * MIB, 0);
        *(i < 3 ? &before_super : &before_lock) = resize_now;
        if (i == 0) {
            CHECK_EQ(cm_pool_info(path, &info), 0);
            CHECK_EQ(info.size, 3 * MIB);
        } else if (i == 1) {
            CHECK_EQ(cm_pool_stats(path, &stats), 0);
        } else {
            o.flags = i == 2 ? CM_OPEN_SHARED : 0;
            CHECK_EQ(cm_open(path, &o, &c), 0);
            REQUIRE(c != NULL);
            CHECK_EQ(pool_info(c).size, 3 * MIB);
            CHECK_EQ(cm_close(c), 0);
        }
        CHECK(!before_super && !before_lock);
        (void)unlink(path);
    }
#endif
}

#ifndef _WIN32
/* A pool of 3 MiB takes the place of the one at `path`. So it is after a cm_resize() that was
 * killed right behind its rename: the old file is a pool still. */
static void swap_now(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char other[600];
    CHECK(snprintf(other, sizeof(other), "%s.other", path) > 0);
    o.size = 3 * MIB;
    CHECK_EQ(cm_create(other, &o), 0);
    CHECK_EQ(rename(other, path), 0);
}

/* Somebody deletes the pool. */
static void delete_now(void)
{
    CHECK_EQ(unlink(path), 0);
}

/* ... and makes it anew. */
static void anew_now(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    delete_now();
    o.size = 3 * MIB;
    CHECK_EQ(cm_create(path, &o), 0);
}

/* A resize has removed superblocks of the old file, one or both of them in part, and goes on. */
static unsigned killed;
static void kill_now(void)
{
    FILE *file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    for (long i = 0; i < CM_SUPER_COPIES; i++) {
        CHECK_EQ(fseek(file, i * (long)CM_SUPER_STRIDE + (killed == 2 ? 64 : 0), SEEK_SET), 0);
        for (unsigned n = 0; n < 64 && (i == 1 || killed == 2); n++)
            (void)fputc(0, file);
    }
    CHECK_EQ(fclose(file), 0);
    swap_now();
}

/* The path leads to the file that was opened, and to no other owner's. */
static void check_only_owner(cm_cache *c)
{
    CHECK(!before_super && !before_lock);
    REQUIRE(c != NULL);
    CHECK_EQ(pool_info(c).size, 3 * MIB);
    CHECK_EQ(pool_info(c).superblocks_damaged, 0);
    if (!c->shared)
        CHECK_EQ(try_open(path, 0), CM_EOWNED);
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}
#endif

/* The path gets another file while a process is between the opening of its file and the lock. It
 * would own a file that nobody else finds, beside an owner of the path. */
static void test_one_owner(void)
{
#ifdef _WIN32
    SKIP("Windows replaces no file that is open");
#else
    static void (*const replace[])(void) = { swap_now, anew_now };
    static const uint32_t flags[] = { 0, CM_OPEN_ANY_OWNER, CM_OPEN_READONLY, CM_OPEN_SHARED };
    cm_resize_options to = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    cm_options o = CM_OPTIONS_INIT;
    o.log = no_line;
    o.probation_bytes = CM_PROBATION_NONE;
    for (unsigned i = 0; i < 8; i++) {
        CASE("%u", i);
        cm_cache *c = NULL;
        path = make_pool("shared", 2 * MIB, 0);
        o.flags = flags[i / 2];
        *(o.flags == CM_OPEN_SHARED ? &before_super : &before_lock) = replace[i % 2];
        CHECK_EQ(cm_open(path, &o, &c), 0);
        check_only_owner(c);
    }
    path = make_pool("shared", 2 * MIB, 0);
    before_lock = swap_now;
    to.size = 4 * MIB;
    to.log = no_line;
    CHECK_EQ(cm_resize(path, &to, &r), 0);
    CHECK_EQ(r.old_size, 3 * MIB);
    (void)unlink(path);
#endif
}

#ifndef _WIN32
static unsigned lines;
static void count_lines(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_ERROR);
    CHECK(strstr(text, path) != NULL);
    lines++;
}
#endif

/* Deleted, and not made anew: a file without a name has no owner. */
static void test_deleted_meanwhile(void)
{
#ifdef _WIN32
    SKIP("Windows deletes no file that is open");
#else
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    o.log = count_lines;
    for (unsigned shared = 0; shared < 2; shared++) {
        CASE("%u", shared);
        o.flags = shared ? CM_OPEN_SHARED : 0;
        lines = 0;
        path = make_pool("shared", 2 * MIB, 0);
        *(shared ? &before_super : &before_lock) = delete_now;
        CHECK_EQ(cm_open(path, &o, &c), CM_ENOENT);
        CHECK_EQ(lines, 1);
    }
#endif
}

#ifndef _WIN32
static unsigned swaps;
static void swap_always(void)
{
    swap_now();
    swaps++;
    before_lock = swaps < CM_LOOKS ? swap_always : NULL;
}
#endif

/* At each look the path leads to another file than the one that was opened: the log says so. */
static void test_replaced_always(void)
{
#ifdef _WIN32
    SKIP("Windows replaces no file that is open");
#else
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    path = make_pool("shared", 2 * MIB, 0);
    o.log = count_lines;
    lines = swaps = 0;
    before_lock = swap_always;
    CHECK_EQ(cm_open(path, &o, &c), CM_EMOVED);
    CHECK_EQ(swaps, CM_LOOKS);
    CHECK_EQ(lines, 1);
    (void)unlink(path);
#endif
}

/* What is seen of the old file beside a resize is no damage. */
static void test_half_killed(void)
{
#ifdef _WIN32
    SKIP("Windows replaces no file that is open");
#else
    cm_info info = CM_INFO_INIT;
    cm_options o = CM_OPTIONS_INIT;
    o.log = no_line;
    o.flags = CM_OPEN_SHARED;
    for (killed = 1; killed <= 2; killed++) {
        CASE("%u", killed);
        cm_cache *c = NULL;
        path = make_pool("shared", 2 * MIB, 0);
        before_super = kill_now;
        CHECK_EQ(cm_pool_info(path, &info), 0);
        CHECK_EQ(info.size, 3 * MIB);
        CHECK_EQ(info.superblocks_damaged, 0);
        (void)unlink(path);
        path = make_pool("shared", 2 * MIB, 0);
        before_super = kill_now;
        CHECK_EQ(cm_open(path, &o, &c), 0);
        check_only_owner(c);
    }
#endif
}

/* What is no pool is none. */
static void test_no_pool(void)
{
    cm_info info = CM_INFO_INIT;
    path = make_pool("shared", 2 * MIB, 0);
    FILE *file = fopen(path, "r+b");
    REQUIRE(file != NULL);
    for (unsigned i = 0; i < 3 * BLK; i++)
        (void)fputc(0, file);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(cm_pool_info(path, &info), CM_ENOTPOOL);
    CHECK_EQ(try_open(path, CM_OPEN_SHARED), CM_ENOTPOOL);
    CHECK_EQ(try_open(path, 0), CM_ENOTPOOL);
    (void)unlink(path);
}

/* The file is cut off under the reader: misses, no crash. */
static void test_truncated(void)
{
#ifdef _WIN32
    SKIP("Windows cuts off no file that a reader has mapped");
#endif
    if (!cm_guard_available())
        SKIP("no guard in this build");
    REQUIRE(file_up());
    CHECK_EQ(hits(g, 0, 10, 1), 10);
    CHECK_EQ(cm_close(owner), 0);
    owner = NULL;
    CHECK_EQ(truncate(path, 4096), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    CHECK_EQ(info_of(g).incarnation, 0);
    CHECK_EQ(truncate(path, 0), 0);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    file_down();
}

#ifndef _WIN32
/* Changes both superblocks of the pool file, as if another boot or another mount had written them.
 * The pool may be open. */
static void write_supers(const char *at, bool boot, bool mount)
{
    FILE *file = fopen(at, "r+b");
    REQUIRE(file != NULL);
    for (long i = 0; i < CM_SUPER_COPIES; i++) {
        struct cm_super sb;
        CHECK_EQ(fseek(file, i * (long)CM_SUPER_STRIDE, SEEK_SET), 0);
        CHECK_EQ(fread(&sb, sizeof(sb), 1, file), 1);
        sb.boot_id[3] ^= boot;
        sb.mount_id[3] ^= mount;
        super_seal(&sb);
        CHECK_EQ(fseek(file, i * (long)CM_SUPER_STRIDE, SEEK_SET), 0);
        CHECK_EQ(fwrite(&sb, sizeof(sb), 1, file), 1);
    }
    CHECK_EQ(fclose(file), 0);
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t bytes[64 * 1024];
    FILE *a = fopen(from, "rb"), *b = fopen(to, "wb");
    REQUIRE(a != NULL && b != NULL);
    for (size_t n; (n = fread(bytes, 1, sizeof(bytes), a)) > 0;)
        CHECK_EQ(fwrite(bytes, 1, n, b), n);
    CHECK_EQ(fclose(a), 0);
    CHECK_EQ(fclose(b), 0);
    CHECK_EQ(chmod(to, 0600), 0);
}

/* How many of the owner's blocks a new reader is served. */
static unsigned served_at(const char *at)
{
    cm_cache *c = open_pool(at, CM_OPEN_SHARED);
    const unsigned n = c ? hits(attach_to(c), 0, 10, 1) : 0;
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return n;
}
#endif

/* A reader believes the superblock of a pool that an owner of this boot has. Else it judges it as
 * the next owner would: what was in the page cache of another boot or of another mount is gone. */
static void test_judged(void)
{
#ifdef _WIN32
    SKIP("Windows lets nobody read a pool that is open");
#else
    char copy[300];
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not say which mount it is");
    REQUIRE(file_up());
    if (pool_info(owner).durability == CM_DURABILITY_DAX)
        SKIP("the pool is on memory that lasts");
    CHECK_EQ(served_at(path), 10);
    CHECK(snprintf(copy, sizeof(copy), "%s.copy", path) > 0);
    copy_file(path, copy); /* it looks as if its owner had been killed */
    CHECK_EQ(served_at(copy), 10);
    write_supers(copy, false, true);
    CHECK_EQ(served_at(copy), 0);
    write_supers(path, false, true);
    CHECK_EQ(served_at(path), 10); /* its owner has judged it */
    write_supers(path, true, true);
    CHECK_EQ(served_at(path), 0);
    CHECK_EQ(cm_close(reader), 0);
    reader = NULL;
    (void)unlink(copy);
    file_down();
#endif
}

/* A reader that comes after a crash of the system and before the next owner is served nothing,
 * until that owner has emptied the pool. From then on it is a reader as any other. */
static void test_early(void)
{
#ifdef _WIN32
    SKIP("Windows lets nobody read a pool that is open");
#else
    char copy[300];
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not say which mount it is");
    REQUIRE(file_up());
    if (pool_info(owner).durability == CM_DURABILITY_DAX)
        SKIP("the pool is on memory that lasts");
    CHECK(snprintf(copy, sizeof(copy), "%s.copy", path) > 0);
    copy_file(path, copy);
    write_supers(copy, true, false);
    CHECK_EQ(cm_close(reader) + cm_close(owner), 0);
    reader = open_pool(copy, CM_OPEN_SHARED);
    owner = NULL;
    REQUIRE(reader != NULL);
    g = attach_to(reader);
    CHECK_EQ(hits(g, 0, 10, 1), 0);
    owner = open_pool(copy, 0);
    REQUIRE(owner != NULL);
    f = attach_to(owner);
    CHECK_EQ(put_all(f, 0, 10, 2), 10);
    cm_validator v = val(SIZE, 7);
    CHECK_EQ(cm_file_revalidate(g, &v), 0);
    CHECK_EQ(hits(g, 0, 10, 2), 10);
    CHECK_EQ(cm_object_of(g)->cache->media.boot, cm_object_of(f)->cache->media.boot);
    (void)unlink(copy);
    file_down();
#endif
}

const struct harness_test shared_file_tests[] = {
    TEST(beside),
    TEST(rights),
    TEST(resized),
    TEST(not_resized),
    TEST(resized_meanwhile),
    TEST(one_owner),
    TEST(deleted_meanwhile),
    TEST(replaced_always),
    TEST(half_killed),
    TEST(no_pool),
    TEST(truncated),
    TEST(judged),
    TEST(early),
    TEST_END,
};
