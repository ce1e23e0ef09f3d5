/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_fork.c - what a child of fork() has of its parent's pools: nothing.
 */
#ifndef _WIN32
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "api_common.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "child.h"

/* ---- Fork ------------------------------------------------------------------------------------ */

static void forked_body(void *arg)
{
    struct pool *p = arg;
    struct cm_object *f = NULL;
    check_cache_calls(p->c, CM_EFORKED);
    for (uint32_t i = 0; i < p->c->file_chains && !f; i++)
        f = p->c->file_hash[i];
    CHECK(f != NULL);
    check_file_calls((cm_file *)(uintptr_t)f->handle, CM_EFORKED);
}

static void test_fork(void)
{
    struct pool p;
    REQUIRE(pool_new(&p, MIB) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    in_child(forked_body, &p);
    CHECK_EQ(look(f, 0, 5), RIGHT); /* the parent still works */
    CHECK_EQ(put(f, 1, 5), 0);
    pool_end(&p);
}

static void forked_read_body(void *arg)
{
    static uint8_t buf[8 * CM_BLOCK_SIZE];
    cm_file *f = arg;
    cm_read_vec v = { .offset = 0, .buf = buf, .len = BLK };
    CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), CM_EFORKED);
    CHECK_EQ(cm_read(f, 0, buf, sizeof(buf), NULL), CM_EFORKED);
    CHECK_EQ(cm_read_whole(f, 0, buf, BLK, 0), CM_EFORKED);
    CHECK_EQ(cm_read_many(f, &v, 1), CM_EFORKED);
}

/* A child has no part of the pool in its memory, so it cannot even look up a block. */
static void test_fork_without_guard(void)
{
    const char *path = make_pool("fork-read", MIB, 0);
    struct pool p = { .c = open_pool(path, CM_OPEN_NO_GUARD) };
    REQUIRE(p.c != NULL);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    in_child(forked_read_body, f);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    (void)unlink(path);
}

static void forked_file_body(void *arg)
{
    const char *path = arg;
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* the parent's lock is not the child's */
}

static void test_fork_file(void)
{
    const char *path = make_pool("fork", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    in_child(forked_file_body, (void *)(uintptr_t)path);
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* and the child's end did not drop it */
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

/* ---- The owner dies, its child lives --------------------------------------------------------- */

/* How the owner makes its child. */
static pid_t by_fork(void)
{
    return fork();
}

/* Without the handlers of pthread_atfork(). */
static pid_t by_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

struct family {
    pid_t owner, child;
};

/* In the owner's child: tells who it is, looks at the parent's cache, and stays. */
static _Noreturn void stay(int pipe_end, struct family me, cm_cache *c, bool handlers)
{
    char failed = 0;
    alarm(60);
    me.child = (pid_t)syscall(SYS_getpid);
    if (handlers) {
        cm_info info = { .struct_size = sizeof(info) };
        failed = cm_get_info(c, &info) != CM_EFORKED || cm_close(c) != CM_EFORKED;
    }
    if (write(pipe_end, &me, sizeof(me)) != sizeof(me) || write(pipe_end, &failed, 1) != 1)
        _exit(1);
    for (;;)
        (void)pause();
}

/* A process opens the pool, makes a child and is killed. The child lives. */
static struct family orphan(const char *path, uint32_t flags, pid_t (*make)(void))
{
    struct family all = { 0, 0 };
    int p[2], status;
    char failed = 1;
    CHECK_EQ(pipe(p), 0);
    fflush(stdout);
    const pid_t owner = fork();
    if (owner == 0) {
        cm_cache *c = open_pool(path, flags);
        all.owner = getpid();
        alarm(60);
        if (c && make() == 0)
            stay(p[1], all, c, make == by_fork);
        for (;;)
            (void)pause();
    }
    (void)close(p[1]);
    CHECK_EQ(read(p[0], &all, sizeof(all)), sizeof(all));
    CHECK_EQ(read(p[0], &failed, 1), 1);
    CHECK_EQ(failed, 0);
    (void)close(p[0]);
    CHECK_EQ(kill(owner, SIGKILL), 0);
    CHECK_EQ(waitpid(owner, &status, 0), owner);
    CHECK_EQ(all.owner, owner);
    CHECK(all.child > 0 && kill(all.child, 0) == 0);
    return all;
}

static void test_child_outlives_owner(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_DONTFORK: the child keeps the mapping, and its lock");
    static const uint32_t flags[] = { 0, CM_OPEN_READONLY, CM_OPEN_ANY_OWNER };
    const char *path = make_pool("orphan", MIB, 0);
    for (unsigned i = 0; i < 3; i++) {
        CASE("flags %u", flags[i]);
        const struct family all = orphan(path, flags[i], by_fork);
        cm_info info = { .struct_size = sizeof(info) };
        CHECK_EQ(cm_pool_info(path, &info), 0);
        CHECK_EQ(info.owned, 0);
        CHECK_EQ(try_open(path, 0), 0);
        CHECK_EQ(kill(all.child, SIGKILL), 0);
    }
    (void)unlink(path);
}

static void keep_text(void *ctx, int level, const char *text)
{
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(ctx, 300, "%s", text);
}

/* A child that was made without the handlers still holds the pool. The message names it. */
static void test_cloned_child_is_named(void)
{
    static const uint32_t flags[] = { 0, CM_OPEN_READONLY };
    const char *path = make_pool("cloned", MIB, 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("flags %u", flags[i]);
        const struct family all = orphan(path, flags[i], by_clone);
        cm_options o = CM_OPTIONS_INIT;
        char text[300] = "", name[40];
        cm_cache *c = NULL;
        o.log = keep_text;
        o.log_ctx = text;
        CHECK_EQ(cm_open(path, &o, &c), CM_EOWNED);
        (void)snprintf(name, sizeof(name), "process %d", (int)all.child);
        CHECK(strstr(text, name) != NULL);
        if (!strstr(text, name))
            printf("# said: %s\n", text);
        CHECK_EQ(kill(all.child, SIGKILL), 0);
        int e = CM_EOWNED;
        for (unsigned n = 0; n < 1000 && e == CM_EOWNED;
             n++) { /* it is not our child to wait for */
            sleep_ms(10);
            e = try_open(path, 0);
        }
        CHECK_EQ(e, 0);
    }
    (void)unlink(path);
}

/* ---- A child without the handlers ------------------------------------------------------------ */

static unsigned cloned_said;

static void count_lines(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level, (void)text;
    cloned_said++;
}

static void cloned_body(cm_cache *c, cm_file *f)
{
    static uint8_t buf[CM_BLOCK_SIZE];
    cm_bracket w;
    if (f) {
        /* At once: where the mapping of its parent was, it may have memory of its own. */
        CHECK_EQ(cm_read(f, 0, buf, BLK, NULL), CM_EFORKED);
        CHECK_EQ(cm_write_begin(f, 0, BLK, &w), CM_EFORKED);
        CHECK_EQ(cloned_said, 0); /* and nothing is damaged */
    }
    CHECK_EQ(cm_close(c), CM_EFORKED);
    CHECK_EQ(cm_close(c), CM_EFORKED);
}

/* A child by clone() calls into the parent's cache. */
static void cloned(cm_cache *c, cm_file *f)
{
    int status = -1;
    fflush(stdout);
    const pid_t child = by_clone();
    if (child == 0) {
        alarm(60);
        harness_failures = 0;
        cloned_body(c, f);
        child_exit(harness_failures != 0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#define cloned(...) CALL(cloned(__VA_ARGS__)) /* its checks say who called */

static void test_cloned_child_changes_nothing(void)
{
    struct stat st;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_WIPEONFORK");
    const char *path = make_pool("cloned", MIB, 0);
    cm_options o = CM_OPTIONS_INIT;
    struct pool p = { 0 };
    o.probation_bytes = CM_PROBATION_NONE;
    o.log = count_lines;
    REQUIRE(cm_open(path, &o, &p.c) == 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    detach(f);
    cloned(p.c, NULL); /* with nothing attached its close would go on */
    f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(look(f, 0, 5), RIGHT);
#ifndef CM_TSAN /* without a fault guard the child ends when it reads */
    cloned(p.c, f);
#endif
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_size, MIB);
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* the parent's lock is still there */
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(put(f, 1, 5), 0);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

/* The same for a pool in memory that the processes share. */
static void test_cloned_child_memory(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_options with = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_WIPEONFORK");
    void *base = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(base != MAP_FAILED);
    CHECK_EQ(cm_format_memory(base, MIB, &o), 0);
    CHECK_EQ(cm_open_memory(base, MIB, &with, &c), 0);
    const uint64_t state = ((struct cm_super *)base)->state;
    cloned(c, NULL);
    CHECK_EQ(((struct cm_super *)base)->state, state); /* open */
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(munmap(base, MIB), 0);
}

/* A child that opens a pool of its own is an owner like any other, and so is its child by fork().
 */
static void own_childs_body(void *arg)
{
    CHECK_EQ(cm_close(arg), CM_EFORKED);
}

static void own_pool_body(void *arg)
{
    cm_cache *c = open_pool(arg, 0);
    in_child(own_childs_body, c);
    cloned(c, NULL); /* and by clone() */
    CHECK_EQ(cm_close(c), 0);
}

static void test_cloned_child_opens(void)
{
    int status = -1;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_WIPEONFORK");
    const char *path = make_pool("cloned", MIB, 0);
    const char *other = make_pool("cloned-2", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    fflush(stdout);
    const pid_t child = by_clone();
    if (child == 0) {
        alarm(60);
        harness_failures = 0;
        own_pool_body((void *)(uintptr_t)other);
        CHECK_EQ(cm_close(c), CM_EFORKED);
        child_exit(harness_failures != 0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(other);
    (void)unlink(path);
}

/* ---- Numbers of descriptors ------------------------------------------------------------------ */

/* Takes the lowest numbers that are free. */
static void take_numbers(int *fd, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fd[i] = open("/dev/null", O_RDWR);
}

static bool all_open(const int *fd, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (fd[i] < 0 || fcntl(fd[i], F_GETFD) < 0)
            return false;
    return true;
}

static void numbers_body(void *arg)
{
    int fd[32];
    take_numbers(fd, 32);
    CHECK_EQ(cm_close(arg), CM_EFORKED);
    CHECK(all_open(fd, 32));
}

/* What the child opens may get the number that the pool had. No call closes that. */
static void test_child_keeps_its_numbers(void)
{
    const char *path = make_pool("numbers", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    in_child(numbers_body, c);
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}

static void grandchilds_body(void *arg)
{
    CHECK(all_open(arg, 32));
}

static void childs_body(void *arg)
{
    int fd[32];
    (void)arg;
    take_numbers(fd, 32);
    in_child(grandchilds_body, fd);
}

/* Nor does a fork of the child: it has forgotten the numbers. */
static void test_grandchild_keeps_numbers(void)
{
    const char *path = make_pool("numbers", MIB, 0);
    cm_cache *c = open_pool(path, 0);
    REQUIRE(c != NULL);
    in_child(childs_body, NULL);
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}

struct forking {
    pid_t child;
    int fd[32];
};

static int fork_in_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct forking *f = ctx;
    (void)done, (void)total;
    f->child = fork();
    if (f->child == 0)
        take_numbers(f->fd, 32);
    return f->child == 0; /* the child cancels, the parent goes on */
}

/* The child of a fork in the middle of cm_create() gives up; the parent's pool is not hurt. */
static void test_fork_in_create(void)
{
    const char *path = path_of("created");
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    struct forking f = { -1, { 0 } };
    int status = -1;
    o.size = MIB;
    o.progress = fork_in_progress;
    o.progress_ctx = &f;
    fflush(stdout);
    int e = cm_create(path, &o);
    if (f.child == 0)
        _exit(e == CM_ECANCELED && all_open(f.fd, 32) ? 0 : 1);
    CHECK_EQ(e, 0);
    CHECK_EQ(waitpid(f.child, &status, 0), f.child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

/* ---- Forks beside opens ---------------------------------------------------------------------- */

static struct {
    const char *path, *other, *childs; /* in the directory of the pools */
    uint32_t stop;                     /* atomic */
} beside;

static void *open_and_close(void *arg)
{
    (void)arg;
    while (!at_load_relaxed(&beside.stop)) {
        cm_create_options o = CM_CREATE_OPTIONS_INIT;
        cm_info info = { .struct_size = sizeof(info) };
        o.size = cm_pool_size_min();
        CHECK_EQ(cm_create(beside.other, &o), 0);
        CHECK_EQ(cm_pool_info(beside.path, &info), 0);
        CHECK_EQ(try_open(beside.path, 0), 0);
        CHECK_EQ(try_open(beside.path, CM_OPEN_ANY_OWNER), 0);
        CHECK_EQ(unlink(beside.other), 0);
    }
    return NULL;
}

/* Does this process have a descriptor or a mapping of a regular file in the directory of the pools?
 * It makes only system calls, because other threads may have had locks at the fork. */
static bool has_pools(void)
{
    static char maps[1 << 18];
    char link[64], to[512];
    const size_t n = strlen(dir);
    size_t got = 0;
    ssize_t more;
    for (int fd = 0; fd < 256; fd++) {
        struct stat st;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        more = readlink(link, to, sizeof(to) - 1);
        if (more > (ssize_t)n && memcmp(to, dir, n) == 0 && fstat(fd, &st) == 0 &&
            S_ISREG(st.st_mode) && !(fcntl(fd, F_GETFL) & O_PATH))
            return true;
    }
    int fd = open("/proc/self/maps", O_RDONLY);
    while (got + 1 < sizeof(maps) && (more = read(fd, maps + got, sizeof(maps) - 1 - got)) > 0)
        got += (size_t)more;
    (void)close(fd);
    maps[got] = 0;
    return strstr(maps, dir) != NULL;
}

static void test_fork_beside_opens(void)
{
    pthread_t id;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_DONTFORK: the child keeps mappings");
#ifdef CM_TSAN
    SKIP("a fork beside threads: not under this sanitizer");
#endif
    beside.path = make_pool("beside", cm_pool_size_min(), 0);
    beside.other = path_of("beside-new");
    beside.childs = make_pool("beside-child", cm_pool_size_min(), 0);
    beside.stop = 0;
    REQUIRE(pthread_create(&id, NULL, open_and_close, NULL) == 0);
    const uint64_t begin = cm_now(); /* with a sanitizer a fork takes long */
    for (unsigned i = 0; i < 1000 && cm_now() - begin < UINT64_C(3000000000); i++) {
        CASE("fork %u", i);
        int status = -1;
        const pid_t child = fork();
        if (child == 0) {
            (void)alarm(20); /* a lock that a thread of the parent held would never be free */
#ifdef __SANITIZE_ADDRESS__  /* its allocator has such locks */
            _exit(has_pools());
#else
            _exit(has_pools() || try_open(beside.childs, 0));
#endif
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    at_store_relaxed(&beside.stop, 1u);
    CHECK_EQ(pthread_join(id, NULL), 0);
    (void)unlink(beside.path);
    (void)unlink(beside.childs);
}

/* A mapping is made, and before it is kept from children another thread forks. */
static struct {
    uint32_t armed, mapped; /* atomic */
} mapping;

/* In place of the C library's. */
int madvise(void *base, size_t n, int advice)
{
    if (advice == MADV_DONTFORK && at_load_acquire(&mapping.armed)) {
        at_store_release(&mapping.mapped, 1u); /* release: the mapping is there */
        sleep_ms(200);                         /* a slow fork hides a fault, and makes none */
    }
    return (int)syscall(SYS_madvise, base, n, advice);
}

static void *fork_when_mapped(void *arg)
{
    int status = -1;
    while (!at_load_acquire(&mapping.mapped))
        sleep_ms(1);
    const pid_t child = fork();
    if (child == 0)
        _exit(has_pools());
    CHECK_EQ(waitpid(child, &status, 0), child);
    *(int *)arg = status;
    return NULL;
}

static void test_fork_beside_mapping(void)
{
    pthread_t id;
    int status = -1;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_DONTFORK: the child keeps mappings");
#ifdef CM_TSAN
    SKIP("a fork beside threads: not under this sanitizer");
#endif
    beside.path = make_pool("mapping", cm_pool_size_min(), 0);
    REQUIRE(pthread_create(&id, NULL, fork_when_mapped, &status) == 0);
    at_store_release(&mapping.armed, 1u);
    CHECK_EQ(try_open(beside.path, 0), 0);
    at_store_release(&mapping.armed, 0u);
    CHECK_EQ(pthread_join(id, NULL), 0);
    CHECK_EQ(at_load_acquire(&mapping.mapped), 1);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)unlink(beside.path);
}

/* The part of a pool that has grown is kept from children, too. */
static void test_fork_after_growth(void)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c;
    int status = -1;
    if (getenv("CM_TEST_EMULATED"))
        SKIP("the emulator does not know MADV_DONTFORK: the child keeps mappings");
    const char *path = make_pool("growth", 4 * MIB, 0);
    o.grow_max = 8 * MIB;
    REQUIRE(cm_open(path, &o, &c) == 0);
    CHECK_EQ(cm_grow(c, 8 * MIB, NULL), 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(has_pools());
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(cm_close(c), 0);
    (void)unlink(path);
}

/* A pool is put together beside a fork: not while the fork is on its way. */
static struct {
    uint32_t wanted, done; /* atomic */
    void *base;
} meanwhile;

static void *make_in_memory(void *arg)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    (void)arg;
    while (!at_load_acquire(&meanwhile.wanted))
        sleep_ms(1);
    CHECK_EQ(cm_format_memory(meanwhile.base, cm_pool_size_min(), &o), 0);
    at_store_release(&meanwhile.done, 1u); /* release: pairs with fork_is_on */
    return NULL;
}

/* Runs in fork(), after the library's handler, because it was registered before that one. */
static void fork_is_on(void)
{
    if (meanwhile.base == NULL)
        return;
    at_store_release(&meanwhile.wanted, 1u); /* release: the base is set */
    sleep_ms(300);                           /* a slow thread hides a fault, and makes none */
    CHECK_EQ(at_load_acquire(&meanwhile.done), 0);
}

/* 101: before the library registers (POSIX_AT_FORKS). */
__attribute__((constructor(101))) static void watch_forks(void)
{
    (void)pthread_atfork(fork_is_on, NULL, NULL);
}

/* The guard's table has a lock. A child would find it held for ever. */
static void test_fork_beside_guard(void)
{
    pthread_t id;
    int status = -1;
#ifdef CM_TSAN
    SKIP("a build for this sanitizer has no fault guard");
#endif
    meanwhile.base = map_bytes(cm_pool_size_min());
    REQUIRE(pthread_create(&id, NULL, make_in_memory, NULL) == 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(pthread_join(id, NULL), 0);
    CHECK_EQ(at_load_acquire(&meanwhile.done), 1);
    unmap_bytes(meanwhile.base, cm_pool_size_min());
    meanwhile.base = NULL;
}

const struct harness_test api_fork_tests[] = {
    TEST(fork),
    TEST(fork_without_guard),
    TEST(fork_file),
    TEST(child_outlives_owner),
    TEST(cloned_child_is_named),
    TEST(cloned_child_changes_nothing),
    TEST(cloned_child_memory),
    TEST(cloned_child_opens),
    TEST(child_keeps_its_numbers),
    TEST(grandchild_keeps_numbers),
    TEST(fork_in_create),
    TEST(fork_beside_opens),
    TEST(fork_beside_mapping),
    TEST(fork_after_growth),
    TEST(fork_beside_guard),
    TEST_END,
};
#else
#include "api_common.h"

const struct harness_test api_fork_tests[] = { TEST_END };
#endif
