/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_grow_failing.c - growths that end with an error, while the pool is used: nothing wrong is
 * served, and what is stored after them is found.
 */
#include "grow_common.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

/* Of the syncs of the last superblocks, the one that fails. */
static _Thread_local unsigned failing_sync;
static unsigned fail_sync;
static bool fail_cut;
void (*before_part)(void);
static void (*before_denial)(struct pool *p, cm_file *f);
static void (*after_denial)(struct pool *p, cm_file *f); /* before the file is cut back */

int __real_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len);
int __wrap_cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    if (failing_sync > 0 && --failing_sync == 0)
        return CM_EIO;
    return __real_cm_plat_file_sync(f, offset, len);
}

int __real_cm_super_add_part(struct cm_superblocks *s, unsigned number, uint64_t word);
int __wrap_cm_super_add_part(struct cm_superblocks *s, unsigned number, uint64_t word);
int __wrap_cm_super_add_part(struct cm_superblocks *s, unsigned number, uint64_t word)
{
    failing_sync = fail_sync;
    if (before_part)
        before_part();
    const int e = __real_cm_super_add_part(s, number, word);
    failing_sync = 0;
    if (e && before_denial)
        before_denial(middle_pool, middle_file);
    return e;
}

static void (*before_cut)(void);

int __real_cm_plat_file_cut(struct cm_plat_file *f, uint64_t size);
int __wrap_cm_plat_file_cut(struct cm_plat_file *f, uint64_t size);
int __wrap_cm_plat_file_cut(struct cm_plat_file *f, uint64_t size)
{
    if (after_denial)
        after_denial(middle_pool, middle_file);
    if (before_cut)
        before_cut();
    return fail_cut ? CM_EIO : __real_cm_plat_file_cut(f, size);
}

/* Somebody asks as soon as the file is short. Or it stays long. */
static bool ask_when_short, fail_truncation;
static int asked = 1;

int LARGE(__real_, ftruncate)(int fd, off_t size);
int LARGE(__wrap_, ftruncate)(int fd, off_t size);
int LARGE(__wrap_, ftruncate)(int fd, off_t size)
{
    if (fail_truncation) {
        errno = EIO;
        return -1;
    }
    const int rc = LARGE(__real_, ftruncate)(fd, size);
    if (ask_when_short) {
        cm_info info = { .struct_size = sizeof(info) };
        asked = cm_get_info(middle_pool->c, &info);
    }
    return rc;
}

bool half_the_room;
static void (*before_it_allocates)(void), (*while_it_allocates)(void);

int __real_cm_posix_allocate(const struct cm_plat_file *f, uint64_t from, uint64_t size,
                             int (*progress)(void *, uint64_t, uint64_t), void *ctx);
int __wrap_cm_posix_allocate(const struct cm_plat_file *f, uint64_t from, uint64_t size,
                             int (*progress)(void *, uint64_t, uint64_t), void *ctx);
int __wrap_cm_posix_allocate(const struct cm_plat_file *f, uint64_t from, uint64_t size,
                             int (*progress)(void *, uint64_t, uint64_t), void *ctx)
{
    const uint64_t to = half_the_room ? from + (size - from) / 2 / BLK * BLK : size;
    if (before_it_allocates)
        before_it_allocates();
    const int rc = __real_cm_posix_allocate(f, from, to, progress, ctx);
    if (while_it_allocates)
        while_it_allocates();
    return rc == 0 && half_the_room ? CM_ENOSPC : rc;
}

/* What a kill at this moment would leave. */
static char killed_path[320];

static void copy_pool(void)
{
    (void)snprintf(killed_path, sizeof(killed_path), "%s/copy", grow_dir);
    static uint8_t data[1 << 16];
    FILE *from = fopen(path, "rb"), *to = fopen(killed_path, "wb");
    size_t n;
    REQUIRE(from != NULL && to != NULL);
    while ((n = fread(data, 1, sizeof(data), from)) > 0)
        CHECK_EQ(fwrite(data, 1, n, to), n);
    CHECK_EQ(fclose(from), 0);
    CHECK_EQ(fclose(to), 0);
}

static void open_copy(struct pool *p)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    o.policy = CM_POLICY_GCLOCK;
    o.flags = CM_OPEN_ANY_OWNER;
    memset(p, 0, sizeof(*p));
    CHECK_EQ(cm_open(killed_path, &o, &p->c), 0);
    REQUIRE(p->c != NULL);
}
#define open_copy(...) CALL(open_copy(__VA_ARGS__))

static void use_before_denial(struct pool *p, cm_file *f)
{
    CHECK(hits(f, 0, 500, 1) >= 499); /* none is wrong */
    CHECK_EQ(put(f, 600, 1), CM_NOT_STORED_MODE);
    cm_bracket w = begin_write(f, 10 * BLK, BLK);
    CHECK(cm_write_end(f, &w, NULL) >= 0);
    CHECK_EQ(put(f, 10, 2), CM_NOT_STORED_MODE);
    CHECK_EQ(look(f, 10, 2), MISS);
    copy_pool();
    (void)p;
}

static void use_after_denial(struct pool *p, cm_file *f)
{
    after_denial = NULL;
    CHECK_EQ(put(f, 700, 1), 0);
    copy_pool();
    (void)p;
}

/* On a tmpfs the library syncs nothing. */
#define NEEDS_SYNCS(p)                                                                             \
    do {                                                                                           \
        if (!(p)->c->sync_lasts) {                                                                 \
            down(p);                                                                               \
            CHECK_EQ(unlink(path), 0);                                                             \
            SKIP("this volume may not keep what it syncs");                                        \
        }                                                                                          \
    } while (0)

/* What is stored as soon as it can be is found after a kill. */
static void test_denied_first(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not tell on which mount a pool is, so it is emptied after a kill");
    for (fail_sync = 1; fail_sync <= 2; fail_sync++) {
        struct pool p, after;
        CASE("sync %u", fail_sync);
        make(&p, 4 * MIB, 64 * MIB);
        NEEDS_SYNCS(&p);
        cm_file *f = fill_file(&p, 1, 500);
        middle_pool = &p;
        middle_file = f;
        after_denial = use_after_denial;
        CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
        CHECK(after_denial == NULL);
        open_copy(&after);
        CHECK_EQ(pool_info(after.c).size, 4 * MIB);
        cm_file *g = attach(&after, 1, FILE_BYTES, 1, 0);
        CHECK_EQ(look(g, 700, 1), RIGHT);
        detach(g);
        down(&after);
        detach(f);
        down(&p);
    }
    fail_sync = 0;
    CHECK_EQ(unlink(killed_path), 0);
    CHECK_EQ(unlink(path), 0);
}

/* The superblocks may say that the pool has grown, because the sync of one of them failed. Nothing
 * may be stored before they say that it has not: the next session may have the new index, and would
 * not find it. */
static void test_denied(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator does not tell on which mount a pool is, so it is emptied after a kill");
    for (fail_sync = 1; fail_sync <= 2; fail_sync++) {
        struct pool p, after;
        CASE("sync %u", fail_sync);
        make(&p, 4 * MIB, 64 * MIB);
        NEEDS_SYNCS(&p);
        cm_file *f = fill_file(&p, 1, 500);
        middle_pool = &p;
        middle_file = f;
        before_denial = use_before_denial;
        CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
        before_denial = NULL;
        CHECK_EQ(pool_info(p.c).size, 4 * MIB);
        CHECK_EQ(os_size(path), (int64_t)(4 * MIB));
        /* What a kill before the denial has left: with either size, and without what was written.
         */
        open_copy(&after);
        f = attach(&after, 1, FILE_BYTES, 1, 0);
        CHECK_EQ(look(f, 10, 1), MISS);
        (void)hits(f, 0, 500, 1);
        CHECK_EQ(put(f, 600, 1), 0);
        detach(f);
        is_sound(&after);
        down(&after);
        /* What a kill after it leaves: fills after it are found. The failed sync has emptied the
         * pool, so the file needs a new record. */
        detach(middle_file);
        f = middle_file = attach(&p, 1, FILE_BYTES, 1, 0);
        CHECK_EQ(put(f, 600, 1), 0);
        CHECK_EQ(put(f, 10, 2), 0);
        CHECK_EQ(put_all(f, 11, 400, 3), 400);
        copy_pool();
        open_copy(&after);
        CHECK_EQ(pool_info(after.c).size, 4 * MIB);
        f = attach(&after, 1, FILE_BYTES, 1, 0);
        CHECK_EQ(look(f, 600, 1), RIGHT);
        CHECK_EQ(look(f, 10, 2), RIGHT);
        CHECK_EQ(hits(f, 11, 400, 3), 400);
        detach(f);
        is_sound(&after);
        down(&after);
        f = middle_file;
        CHECK_EQ(hits(f, 11, 400, 3), 400);
        detach(f);
        is_sound(&p);
        down(&p);
    }
    fail_sync = 0;
    CHECK_EQ(unlink(killed_path), 0);
    CHECK_EQ(unlink(path), 0);
}

/* Another thread fills, writes and reads all the time. */
#define BESIDE 100u

static void *fill_beside(void *stop)
{
    uint64_t version[BESIDE];
    unsigned round = 0, found = 0;
    for (unsigned i = 0; i < BESIDE; i++)
        version[i] = 1;
    while (!at_load_acquire((uint32_t *)stop) || round < 2 * BESIDE) {
        const unsigned block = round++ % BESIDE;
        cm_bracket w = begin_write(middle_file, block * BLK, BLK);
        CHECK_EQ(look(middle_file, block, version[block]), MISS);
        version[block] = 1 + round;
        CHECK(cm_write_end(middle_file, &w, NULL) >= 0);
        const int stored = put(middle_file, block, version[block]);
        const int r = look(middle_file, block, version[block]);
        CHECK(r == RIGHT || r == MISS); /* a sync that fails empties the pool */
        found += r == RIGHT && stored == 0;
        /* One that was stored a while ago: what it was then, or nothing. */
        const unsigned other = (block + BESIDE / 2) % BESIDE;
        const int was = look(middle_file, other, version[other]);
        CHECK(was == RIGHT || was == MISS);
    }
    CHECK(found > 0);
    return NULL;
}

static void test_denied_beside(void)
{
    struct pool p;
    pthread_t t;
    uint32_t stop = 0;
    make(&p, 4 * MIB, 64 * MIB);
    NEEDS_SYNCS(&p);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    middle_file = f;
    CHECK_EQ(pthread_create(&t, NULL, fill_beside, &stop), 0);
    for (unsigned i = 0; i < 20; i++) {
        fail_sync = 1 + i % 2;
        CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
        CHECK_EQ(pool_info(p.c).size, 4 * MIB);
    }
    fail_sync = 0;
    (void)grow_to(&p, 16 * MIB);
    at_store_release(&stop, 1u);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(slots_astray(p.c), 0);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* A growth fails, and the file cannot be cut back. It stays longer than its pool, which goes on;
 * the next growth, or the next owner, cuts it back first. */
static void test_not_cut(void)
{
    struct pool p;
    cm_info info = CM_INFO_INIT;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    fail_settle = fail_cut = true;
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
    fail_settle = false;
    CHECK_EQ(os_size(path), (int64_t)(16 * MIB));
    CHECK_EQ(pool_info(p.c).size, 4 * MIB);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(put(f, 600, 1), 0);
    CHECK_EQ(look(f, 600, 1), RIGHT);
    CHECK_EQ(cm_grow(p.c, 8 * MIB, NULL), CM_EIO); /* it still cannot */
    CHECK_EQ(cm_pool_info(path, &info), 0);
    CHECK_EQ(info.size, 4 * MIB);
    detach(f);
    down(&p);
    CHECK_EQ(os_size(path), (int64_t)(16 * MIB));
    up(&p, 64 * MIB); /* nor can its next owner */
    CHECK_EQ(os_size(path), (int64_t)(16 * MIB));
    f = attach(&p, 1, FILE_BYTES, 1, 0);
    CHECK_EQ(hits(f, 0, 601, 1), 501);
    fail_cut = false;
    (void)grow_to(&p, 8 * MIB);
    CHECK_EQ(os_size(path), (int64_t)(8 * MIB));
    CHECK_EQ(hits(f, 0, 601, 1), 501);
    CHECK_EQ(put_all(f, 1000, 400, 1), 400);
    CHECK_EQ(hits(f, 1000, 400, 1), 400);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* To give much space back takes long. Meanwhile the file is short already. */
static void test_asked_while_cut(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    middle_pool = &p;
    fail_settle = ask_when_short = true;
    CHECK_EQ(cm_grow(p.c, 16 * MIB, NULL), CM_EIO);
    fail_settle = ask_when_short = false;
    CHECK_EQ(asked, 0);
    CHECK_EQ(pool_info(p.c).mode, CM_NORMAL);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* There was room for a half, and the file cannot be cut back: the superblocks allow its length. */
static void test_half_not_cut(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    half_the_room = fail_truncation = true;
    CHECK(cm_grow(p.c, 16 * MIB, NULL) < 0);
    half_the_room = false;
    CHECK(os_size(path) > (int64_t)(4 * MIB));
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK(cm_grow(p.c, 16 * MIB, NULL) < 0); /* it is not cut back before */
    cm_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(cm_pool_info(path, &info), 0);
    fail_truncation = false;
    (void)grow_to(&p, 8 * MIB);
    CHECK_EQ(os_size(path), (int64_t)(8 * MIB));
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Somebody cuts the file while it grows. It is never made long again: what was cut off would be
 * zeros, which hit, and nobody would notice. */
static void cut_by_somebody(void)
{
    CHECK_EQ(os_resize(path, 2 * MIB), 0);
}

static void test_cut_by_somebody(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned when = 0; when < 3; when++) {
        CASE("when %u", when);
        struct pool p;
        make(&p, 4 * MIB, 64 * MIB);
        cm_file *f = fill_file(&p, 1, 900);
        before_it_allocates = when == 0 ? cut_by_somebody : NULL;
        while_it_allocates = when == 1 ? cut_by_somebody : NULL;
        before_cut = when == 2 ? cut_by_somebody : NULL;
        half_the_room = when == 1;
        fail_settle = when == 2;
        CHECK(cm_grow(p.c, 16 * MIB, NULL) < 0);
        before_it_allocates = while_it_allocates = before_cut = NULL;
        half_the_room = fail_settle = false;
        CHECK_EQ(os_size(path), (int64_t)(2 * MIB));
        CHECK_EQ(at_load_relaxed(&p.c->suspect), CM_SAY_DONE);
        CHECK_EQ(hits(f, 0, 900, 1), 0);
        detach(f);
        CHECK_EQ(cm_close(p.c), CM_ETRUNCATED);
    }
    CHECK_EQ(unlink(path), 0);
}

/* To allocate many GiB takes seconds. A fork of the program does not wait for it. */
static pthread_t forker;
static uint32_t forks;

static void *fork_once(void *unused)
{
    int status = -1;
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    at_store_release(&forks, 1u);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return unused;
}

static void fork_meanwhile(void)
{
    CHECK_EQ(pthread_create(&forker, NULL, fork_once, NULL), 0);
    for (unsigned i = 0; i < 30000 && !at_load_acquire(&forks); i++)
        sleep_ms(1);
    CHECK_EQ(at_load_acquire(&forks), 1);
}

static void test_fork_meanwhile(void)
{
    struct pool p;
    make(&p, 4 * MIB, 64 * MIB);
    cm_file *f = fill_file(&p, 1, 500);
    while_it_allocates = fork_meanwhile;
    (void)grow_to(&p, 16 * MIB);
    while_it_allocates = NULL;
    CHECK_EQ(pthread_join(forker, NULL), 0);
    CHECK_EQ(hits(f, 0, 500, 1), 500);
    CHECK_EQ(put_all(f, 1000, 500, 1), 500);
    CHECK_EQ(hits(f, 1000, 500, 1), 500);
    detach(f);
    is_sound(&p);
    down(&p);
    CHECK_EQ(unlink(path), 0);
}

/* Whatever fails: the log says that the pool did not grow, and why. */
static void test_failure_is_told(void)
{
    if (!cm_guard_available())
        SKIP("no fault guard in this build");
    for (unsigned i = 0; i < 2; i++) {
        CASE("%s", i ? "the new part" : "the superblocks");
        struct pool p, big;
        in_memory(&p, &big, 16 * MIB);
        big.c->opts.log = keep_text;
        uint8_t *const where = big.base + (i ? 4 * MIB : 0);
        const size_t bytes = i ? (size_t)(12 * MIB) : CM_SUPER_COPIES * CM_SUPER_STRIDE;
        said[0] = 0;
        os_protect(where, bytes, OS_NOTHING);
        CHECK(cm_grow(big.c, 16 * MIB, NULL) < 0);
        os_protect(where, bytes, OS_WRITE);
        CHECK(strstr(said, "cannot grow in its place from 4194304 to 16777216 bytes: ") != NULL);
        CHECK_EQ(said_level, CM_LOG_WARNING);
        (void)cm_close(big.c);
        unmap_bytes(big.base, big.bytes);
        pool_end(&p);
    }
}

const struct harness_test grow_failing_tests[] = {
    TEST(denied),          TEST(denied_first), TEST(denied_beside),   TEST(not_cut),
    TEST(asked_while_cut), TEST(half_not_cut), TEST(cut_by_somebody), TEST(fork_meanwhile),
    TEST(failure_is_told), TEST_END,
};
