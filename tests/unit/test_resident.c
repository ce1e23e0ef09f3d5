/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_resident.c - pages of the pool that are not in memory: CM_READ_RESIDENT, CM_OPEN_PREFAULT
 * and CM_OPEN_LOCK.
 *
 * Most tests only pretend that a page is absent (cm_plat_is_resident is wrapped), and make it
 * unreadable, so that they see if it is touched. The others really drop pages of a file.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fixture.h"

#include "protocol/steps.h"

#include "../os.h"
#ifndef _WIN32
#include "child.h"

#include "platform/posix.h"
#include "platform/posix_calls.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#endif

static struct {
    const uint8_t *page; /* is absent; NULL: none is */
    unsigned asked;
} pretend;

bool __wrap_cm_plat_is_resident(const void *p, size_t n);
bool __real_cm_plat_is_resident(const void *p, size_t n);
bool __wrap_cm_plat_is_resident(const void *p, size_t n)
{
    const uintptr_t at = (uintptr_t)p, page = (uintptr_t)pretend.page;
    pretend.asked++;
    if (page != 0 && at < page + BLK && page < at + n)
        return false;
    return __real_cm_plat_is_resident(p, n);
}

static int64_t read_resident(cm_file *f, uint64_t block, uint64_t n)
{
    static uint8_t buf[16 * CM_BLOCK_SIZE];
    int64_t got = cm_read_whole(f, block * BLK, buf, (size_t)(n * BLK), CM_READ_RESIDENT);
    for (uint64_t i = 0; got == (int64_t)(n * BLK) && i < n; i++)
        CHECK(is_content(5, block + i, buf + i * BLK, BLK));
    return got;
}

/* ---- Pretended ------------------------------------------------------------------------------- */

/* While the page of `where` is absent, a resident read of the block is refused and touches nothing
 * of it; a read without the flag does not ask. */
static void check_needs(cm_file *f, uint64_t block, const void *where, bool readable)
{
    cm_cache *c = cm_object_of(f)->cache;
    uint8_t *page = (uint8_t *)((uintptr_t)where / BLK * BLK), buf[CM_BLOCK_SIZE];
    const int64_t before = STAT(c, miss_media);
    pretend.page = page;
    if (!readable && cm_guard_available())
        os_protect(page, BLK, OS_NOTHING);
    CHECK_EQ(read_resident(f, block, 1), CM_EABSENT);
    if (!readable && cm_guard_available())
        os_protect(page, BLK, OS_WRITE);
    CHECK_EQ(STAT(c, miss_media), before);
    CHECK_EQ(c->suspect, 0);
    pretend.asked = 0;
    CHECK_EQ(cm_read_whole(f, block * BLK, buf, BLK, 0), BLK);
    CHECK_EQ(pretend.asked, 0);
    pretend.page = NULL;
    CHECK_EQ(read_resident(f, block, 1), BLK);
}

/* A pool in memory as if it were in a file: what lies in its last page is loaded after a copy. */
static uint8_t *as_in_file(struct pool *p)
{
    p->c->media.end = p->base + MIB - BLK;
    return p->base + MIB - BLK;
}

static void test_each_page(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    for (unsigned verified = 0; verified < 2; verified++) {
        CASE("verified %u", verified);
        CHECK_EQ(read_resident(f, 0, 10), 10 * BLK);
        CALL(check_needs(f, 3, cell_to(f, 3), false));
        CALL(check_needs(f, 3, header_of(p.c, slot_of(f, 3)), false));
        CALL(check_needs(f, 3, payload_of(p.c, slot_of(f, 3)), false));
        /* The test itself reads the counters. */
        CALL(check_needs(f, 3, cm_media_shard(p.base, cm_plat_thread()->number), true));
    }
    CALL(check_needs(f, 3, as_in_file(&p), false));
    pretend.page = payload_of(p.c, slot_of(f, 4));
    CHECK_EQ(read_resident(f, 3, 1), BLK); /* another block's page */
    CHECK_EQ(read_resident(f, 3, 2), CM_EABSENT);
    pretend.page = NULL;
    CHECK_EQ(read_resident(f, 3, 2), 2 * BLK);
    pool_end(&p);
}

/* Whether a block is absent is known only from both of its buckets. */
static void test_absent_block(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, 64 * MIB) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    const struct cm_key k = key_of(f, 7);
    CHECK_EQ(read_resident(f, 7, 1), CM_EABSENT);
    for (unsigned which = 0; which < 2; which++) {
        CASE("bucket %u", which);
        uint8_t *page = (uint8_t *)((uintptr_t)cell_of(p.c, k.place.bucket[which], 0) / BLK * BLK);
        pretend.page = page;
        if (cm_guard_available())
            os_protect(page, BLK, OS_NOTHING);
        CHECK_EQ(read_resident(f, 7, 1), CM_EABSENT);
        if (cm_guard_available())
            os_protect(page, BLK, OS_WRITE);
        CHECK_EQ(p.c->suspect, 0);
        CHECK_EQ(STAT(p.c, miss_media), 0);
        pretend.page = NULL;
    }
    CHECK_EQ(STAT(p.c, miss_blocks), 0);
    pool_end(&p);
}

/* A block in the probation buffer needs no page of index, headers and slots. */
static void test_buffered(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.probation_bytes = 64 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put(f, 2, 5), 0);
    const struct cm_key k = key_of(f, 2);
    CHECK(cm_step_buffered(p.c, &k) == BLK);
    pretend.page = (uint8_t *)((uintptr_t)cell_of(p.c, k.place.bucket[0], 0) / BLK * BLK);
    if (cm_guard_available())
        os_protect((void *)(uintptr_t)pretend.page, BLK, OS_NOTHING);
    CHECK_EQ(read_resident(f, 2, 1), BLK);
    CHECK_EQ(p.c->suspect, 0);
    if (cm_guard_available())
        os_protect((void *)(uintptr_t)pretend.page, BLK, OS_WRITE);
    pretend.page = NULL;
    CHECK_EQ(STAT(p.c, probation_hits), 1);
    pool_end(&p);
}

/* Nor the last page of the file: no hit in the buffer would bring it back. The first block of a
 * read that is in a slot needs it. */
static void test_buffered_end(void)
{
    struct pool p;
    uint8_t data[CM_BLOCK_SIZE];
    pool_make(&p, MIB, 0);
    p.o.probation_bytes = 64 * BLK;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    for (uint64_t b = 2; b < 5; b++) {
        cm_miss m = miss_of(f, b * BLK, BLK);
        content(5, b, data);
        CHECK_EQ(cm_fill(f, &m, data, BLK, b == 3 ? CM_FILL_WARM : 0), 0);
        const struct cm_key k = key_of(f, b);
        CHECK_EQ(cm_step_buffered(p.c, &k), b == 3 ? 0 : BLK);
    }
    uint8_t *end = as_in_file(&p);
    pretend.page = end;
    if (cm_guard_available())
        os_protect(end, BLK, OS_NOTHING);
    CHECK_EQ(read_resident(f, 2, 1), BLK);
    CHECK_EQ(read_resident(f, 4, 1), BLK);
    CHECK_EQ(read_resident(f, 3, 1), CM_EABSENT);
    CHECK_EQ(read_resident(f, 2, 2), CM_EABSENT);
    CHECK_EQ(read_resident(f, 3, 2), CM_EABSENT);
    CHECK_EQ(p.c->suspect, 0);
    CHECK_EQ(STAT(p.c, probation_hits), 2);
    if (cm_guard_available())
        os_protect(end, BLK, OS_WRITE);
    pretend.page = NULL;
    CHECK_EQ(look(f, 3, 5), RIGHT); /* brings it back */
    CHECK_EQ(read_resident(f, 2, 3), 3 * BLK);
    pool_end(&p);
}

/* On DAX the pool's memory is the volume. Nobody asks the system. */
static void test_dax(void)
{
    struct pool p;
    pool_make(&p, MIB, 0);
    p.o.memory_durability = CM_DURABILITY_DAX;
    REQUIRE(pool_up(&p) == 0);
    cm_file *f = attach(&p, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 4, 5), 4);
    pretend.asked = 0;
    pretend.page = payload_of(p.c, slot_of(f, 1));
    CHECK_EQ(read_resident(f, 0, 4), 4 * BLK);
    CHECK_EQ(read_resident(f, 9, 1), CM_EABSENT);
    CHECK_EQ(pretend.asked, 0);
    pretend.page = NULL;
    pool_end(&p);
}

static void test_arguments(void)
{
    struct pool p;
    uint8_t buf[CM_BLOCK_SIZE];
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK + 100, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    CHECK_EQ(put_tail(f, 10, 100, 5), 0);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, CM_READ_RESIDENT << 1), CM_EINVAL);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, CM_READ_RESIDENT | 1u << 31), CM_EINVAL);
    CHECK_EQ(cm_read_whole(f, 0, NULL, BLK, CM_READ_RESIDENT), CM_EINVAL);
    CHECK_EQ(cm_read_whole(f, UINT64_MAX - 1, buf, BLK, CM_READ_RESIDENT), CM_ERANGE);
    CHECK_EQ(cm_read_whole(NULL, 0, buf, BLK, CM_READ_RESIDENT), CM_EHANDLE);
    CHECK_EQ(cm_read_whole(f, 10 * BLK, buf, BLK, CM_READ_RESIDENT), 100); /* the end of the file */
    CHECK_EQ(cm_read_whole(f, 11 * BLK, buf, BLK, CM_READ_RESIDENT), 0);
    CHECK_EQ(cm_read_whole(f, 3, buf, 0, CM_READ_RESIDENT), 0);
    CHECK_EQ(cm_read_whole(f, 7, buf, 100, CM_READ_RESIDENT), 100);
    pool_end(&p);
}

/* ---- Real pages ------------------------------------------------------------------------------ */

#ifndef _WIN32
static void keep_text(void *ctx, int level, const char *text)
{
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(ctx, 300, "%s", text);
}

static char dir[256], path[300];
static struct pool file_pool;

static cm_cache *open_file_pool(uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    o.flags = flags;
    file_pool.c = NULL;
    CHECK_EQ(cm_open(path, &o, &file_pool.c), 0);
    return file_pool.c;
}

static bool make_file_pool(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.size = GIB; /* 13 MiB of metadata: more than the system reads ahead */
    o.flags = CM_CREATE_SPARSE;
    if (!os_make_dir(dir, sizeof(dir), NULL, "resident"))
        return false;
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    return cm_create(path, &o) == 0;
}

static void end_file_pool(void)
{
    (void)unlink(path);
    CHECK(os_remove_dir(dir));
}

/* Drops the pages of the closed pool file. */
static void drop_file(void)
{
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    (void)close(fd);
}

/* Drops a page of the open pool; false: that does not work here. */
static bool drop_page(cm_cache *c, const void *where)
{
    uint8_t *page = (uint8_t *)((uintptr_t)where / BLK * BLK);
    const off_t at = page - c->media.base;
    CHECK_EQ(cm_plat_file_sync(&c->file, 0, 0), 0);
    (void)madvise(c->media.base, c->file.mapped, MADV_DONTNEED); /* unmaps them */
    (void)posix_fadvise((int)c->file.handle, at, (off_t)BLK, POSIX_FADV_DONTNEED);
    return !__real_cm_plat_is_resident(page, BLK);
}

static void test_dropped_pages(void)
{
    REQUIRE(make_file_pool());
    cm_cache *c = open_file_pool(0);
    REQUIRE(c != NULL);
    cm_file *f = attach(&file_pool, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    const void *where[] = { cell_to(f, 3), header_of(c, slot_of(f, 3)),
                            payload_of(c, slot_of(f, 3)), c->media.end };
    unsigned dropped = 0;
    for (unsigned i = 0; i < 4 && !c->directly; i++) {
        CASE("page %u", i);
        CHECK_EQ(read_resident(f, 0, 10), 10 * BLK);
        if (!drop_page(c, where[i]))
            continue;
        dropped++;
        CHECK_EQ(read_resident(f, 3, 1), CM_EABSENT);
        CHECK(!__real_cm_plat_is_resident(where[i], 1)); /* it was not read in */
        CHECK_EQ(look(f, 3, 5), RIGHT);
        CHECK_EQ(read_resident(f, 3, 1), BLK);
    }
    CHECK_EQ(cm_close(c), 0);
    end_file_pool();
    if (dropped == 0)
        SKIP("no page of a file can be dropped here (tmpfs?)");
}

/* A file whose pages the mapping does not show: it is asked by reads that do not wait. */
static struct {
    ssize_t answer; /* of all, but the page at `at`; 0: they are real */
    ssize_t at_answer;
    off_t at;
    unsigned asked;
} no_wait;

#ifdef __GLIBC__
ssize_t __wrap_preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __real_preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    no_wait.asked++;
    CHECK(flags == RWF_NOWAIT && n == 1 && v->iov_len == 1 && (uint64_t)at % BLK == 0);
    if (no_wait.answer == 0)
        return __real_preadv64v2(fd, v, n, at, flags);
    errno = EAGAIN;
    return at == no_wait.at ? no_wait.at_answer : no_wait.answer;
}
#endif

static void test_asked_by_reads(void)
{
#ifndef __GLIBC__
    SKIP("the call has this name with glibc only");
#endif
    REQUIRE(make_file_pool());
    cm_cache *c = open_file_pool(0);
    REQUIRE(c != NULL);
    cm_file *f = attach(&file_pool, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    const void *where[] = { cell_to(f, 3), header_of(c, slot_of(f, 3)),
                            payload_of(c, slot_of(f, 3)) };
    const uint8_t was = c->file.pages;
    CHECK_EQ(was, POSIX_PAGES_BY_MAPPING); /* it is ours */
    c->file.pages = POSIX_PAGES_BY_READ;
    c->directly = false;
    no_wait.answer = no_wait.at_answer = 1;
    CHECK_EQ(read_resident(f, 0, 10), 10 * BLK);
    CHECK(no_wait.asked >= 20);
    for (unsigned i = 0; i < 3; i++) {
        CASE("page %u", i);
        no_wait.at = (off_t)((uint64_t)((const uint8_t *)where[i] - c->file.base) / BLK * BLK);
        no_wait.at_answer = -1;
        CHECK_EQ(read_resident(f, 3, 1), CM_EABSENT);
        no_wait.at_answer = 0; /* the file was cut off */
        CHECK_EQ(read_resident(f, 3, 1), CM_EABSENT);
        no_wait.at_answer = 1;
        CHECK_EQ(read_resident(f, 3, 1), BLK);
    }
    c->file.pages = POSIX_PAGES_UNKNOWN;
    CHECK_EQ(read_resident(f, 3, 1), CM_EABSENT);
    CHECK_EQ(look(f, 3, 5), RIGHT);
    c->file.pages = was;
    no_wait.answer = 0;
    CHECK_EQ(cm_close(c), 0);
    end_file_pool();
}

/* To somebody who may only read the file, the system says that all of its pages are in memory. */
static void stranger_body(void *arg)
{
    struct statfs s;
    (void)arg;
    if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0 ||
        access(path, R_OK) != 0)
        exit(77);
    cm_cache *c = open_file_pool(CM_OPEN_SHARED);
    REQUIRE(c != NULL);
    CHECK_EQ(fstatfs((int)c->file.handle, &s), 0);
    CHECK_EQ(c->file.pages == POSIX_PAGES_BY_MAPPING, s.f_type == TMPFS_MAGIC);
    CHECK_EQ(cm_close(c), 0);
}

static void test_stranger(void)
{
    REQUIRE(make_file_pool());
    CHECK_EQ(chmod(dir, 0755) + chmod(path, 0644), 0);
    const int status = child_run(NULL, stranger_body, NULL);
    end_file_pool();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("may not become another user, or he does not reach the file");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_prefault(void)
{
    REQUIRE(make_file_pool());
    drop_file();
    cm_cache *c = open_file_pool(0);
    REQUIRE(c != NULL);
    bool absent = !__real_cm_plat_is_resident(c->media.base, c->media.geo.slot_offset);
    CHECK_EQ(cm_close(c), 0);
    drop_file();
    c = open_file_pool(CM_OPEN_PREFAULT);
    REQUIRE(c != NULL);
    CHECK(c->directly || __real_cm_plat_is_resident(c->media.base, c->media.geo.slot_offset));
    CHECK(!c->locked);
    CHECK_EQ(cm_close(c), 0);
    drop_file();
    c = open_file_pool(CM_OPEN_PREFAULT | CM_OPEN_READONLY);
    REQUIRE(c != NULL);
    CHECK(c->directly || __real_cm_plat_is_resident(c->media.base, c->media.geo.slot_offset));
    CHECK_EQ(cm_close(c), 0);
    end_file_pool();
    if (!absent)
        SKIP("the pages of a file cannot be dropped here");
}

/* Bytes that this process has locked. */
static uint64_t locked_bytes(void)
{
    char line[200];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "VmLck: %llu", &kib) == 1)
            break;
    if (status)
        (void)fclose(status);
    return kib * 1024;
}

static void test_lock(void)
{
    struct rlimit limit;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not lock memory, or not so much of it");
    REQUIRE(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() != 0 && limit.rlim_cur < 16 * MIB)
        SKIP("RLIMIT_MEMLOCK is too small here");
    REQUIRE(make_file_pool());
    drop_file();
    const uint64_t before = locked_bytes();
    cm_cache *c = open_file_pool(CM_OPEN_LOCK);
    REQUIRE(c != NULL);
    CHECK(c->locked);
    CHECK_EQ(locked_bytes() - before, c->media.geo.slot_offset);
    CHECK(c->directly || __real_cm_plat_is_resident(c->media.base, c->media.geo.slot_offset));
    cm_file *f = attach(&file_pool, 1, 100 * BLK, 1, 0);
    CHECK_EQ(put_all(f, 0, 10, 5), 10);
    if (!c->directly) { /* locked pages do not go, slots may */
        (void)drop_page(c, payload_of(c, slot_of(f, 3)));
        (void)posix_fadvise((int)c->file.handle, 0, 0, POSIX_FADV_DONTNEED);
        CHECK(__real_cm_plat_is_resident(c->media.base, c->media.geo.slot_offset));
    }
    CHECK_EQ(hits(f, 0, 10, 5), 10);
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(locked_bytes(), before);
    end_file_pool();
}

/* The tables of each part that a pool has grown by. */
static uint64_t all_tables(const cm_cache *c)
{
    uint64_t bytes = c->media.geo.slot_offset, end;
    for (unsigned i = 0; i < c->media.geo.parts; i++) {
        const uint64_t start = cm_format_tables(&c->media.geo, i, &end);
        bytes += end - start;
    }
    return bytes;
}

/* A pool that grows, and one that has grown, are locked with all of their tables. */
static void test_lock_grown(void)
{
    struct rlimit limit;
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not lock memory, or not so much of it");
    REQUIRE(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() != 0 && limit.rlim_cur < 16 * MIB)
        SKIP("RLIMIT_MEMLOCK is too small here");
    REQUIRE(os_make_dir(dir, sizeof(dir), NULL, "resident"));
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    create.size = 4 * MIB;
    REQUIRE(cm_create(path, &create) == 0);
    o.grow_max = 64 * MIB;
    o.flags = CM_OPEN_LOCK;
    const uint64_t before = locked_bytes();
    for (unsigned round = 0; round < 3; round++) {
        CASE("round %u", round);
        REQUIRE(cm_open(path, &o, &c) == 0);
        CHECK(c->locked);
        CHECK_EQ(c->media.geo.parts, round);
        CHECK_EQ(locked_bytes() - before, all_tables(c));
        if (round < 2) {
            CHECK_EQ(cm_grow(c, (round + 1) * 16 * MIB, NULL), 0);
            CHECK_EQ(c->media.geo.parts, round + 1);
            CHECK_EQ(locked_bytes() - before, all_tables(c));
        }
        CHECK_EQ(cm_close(c), 0);
        CHECK_EQ(locked_bytes(), before);
    }
    end_file_pool();
}

/* Memory of the caller is unlocked by the close. */
static void test_lock_memory(void)
{
    struct pool p;
    struct rlimit limit;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not lock memory, or not so much of it");
    REQUIRE(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() != 0 && limit.rlim_cur < 16 * MIB)
        SKIP("RLIMIT_MEMLOCK is too small here");
    const uint64_t before = locked_bytes();
    pool_make(&p, MIB, 0);
    p.o.flags = CM_OPEN_LOCK;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(locked_bytes() - before, p.c->media.geo.slot_offset);
    pool_down(&p);
#if !defined(CM_TSAN) && !defined(__SANITIZE_ADDRESS__) /* their munlock() does nothing */
    CHECK_EQ(locked_bytes(), before);
#endif
    pool_end(&p);
}

static void refused_body(void *arg)
{
    const struct rlimit none = { 0, 0 };
    struct pool p;
    char text[300] = "";
    (void)arg;
    pool_make(&p, MIB, 0);
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    CHECK(geteuid() != 0 || setuid(65534) == 0); /* root may lock whatever the limit */
    p.o.flags = CM_OPEN_LOCK;
    p.o.log = keep_text;
    p.o.log_ctx = text;
    CHECK_EQ(cm_open_memory(p.base, p.bytes, &p.o, &p.c), CM_ENOMEM);
    CHECK(p.c == NULL);
    CHECK(strstr(text, "RLIMIT_MEMLOCK") != NULL);
    p.o.flags = 0;
    p.o.log = NULL;
    REQUIRE(pool_up(&p) == 0);
    CHECK_EQ(pool_info(p.c).emptied, 0);
    pool_end(&p);
}

static void test_lock_refused(void)
{
    const int status = child_run(NULL, refused_body, NULL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

static const struct harness_test tests[] = {
    TEST(each_page),     TEST(absent_block),   TEST(buffered),    TEST(buffered_end),
    TEST(dax),           TEST(arguments),
#ifndef _WIN32
    TEST(dropped_pages), TEST(asked_by_reads), TEST(stranger),    TEST(prefault),
    TEST(lock),          TEST(lock_grown),     TEST(lock_memory), TEST(lock_refused),
#endif
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
