/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix.c - the tests of platform.h on Linux.
 *
 * Files are in a directory of their own below $TMPDIR or /tmp. A test that needs a volume of a
 * certain kind mounts it in a namespace of its own, and is skipped if that is not allowed.
 * CM_TEST_EMULATED=1 leaves out what a user-mode emulator cannot do (MADV_DONTFORK).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform_posix.h"
#include "persist/persist.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY);
    const ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0) {
        (void)close(fd);
    }
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* A user who is not root becomes root in a user namespace. */
static int own_namespace(void)
{
    const unsigned uid = (unsigned)geteuid(), gid = (unsigned)getegid();
    char map[64];

    if (unshare(CLONE_NEWNS) == 0) {
        return 0;
    }
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return -1;
    }
    (void)write_text("/proc/self/setgroups", "deny");
    (void)snprintf(map, sizeof map, "0 %u 1", uid);
    if (write_text("/proc/self/uid_map", map) != 0) {
        return -1;
    }
    (void)snprintf(map, sizeof map, "0 %u 1", gid);
    return write_text("/proc/self/gid_map", map);
}

void mount_here(const char *type, const char *at, const char *options)
{
    static bool unshared;

    if (!unshared) {
        if (own_namespace() != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
            _exit(CHILD_CANNOT);
        }
        unshared = true;
    }
    if (mount(type, at, type, 0, options) != 0) {
        _exit(CHILD_CANNOT);
    }
}

unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void test_open(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const unsigned fds = open_files();
    char text[8] = { 0 };

    make_file(in_dir("file"), "0123456789");
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), 0);
    CHECK_EQ(f.size, 10);
    CHECK(!f.readonly);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 3), 0);
    CHECK(memcmp(text, "3456", 5) == 0);
    CHECK_EQ(cm_plat_file_pread(&f, text, 4, 7), CM_EIO);
    CHECK_EQ(cm_plat_file_pread(&f, text, 0, 99), 0);
    cm_plat_file_close(&f);
    REQUIRE(symlink("file", in_dir("link")) == 0);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("link"), true), 0);
    CHECK(f.readonly);
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(in_dir("link")), 0);
    REQUIRE(symlink("link", in_dir("link")) == 0);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("link"), true), CM_ENOENT);
    CHECK_EQ(unlink(in_dir("link")), 0);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("missing"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file/below"), false), CM_ENOENT);
    CHECK_EQ(cm_plat_file_open(&f, dir, false), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, dir, true), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, "/dev/null", false), CM_ENOTFILE);
    REQUIRE(mkfifo(in_dir("fifo"), 0600) == 0);
    alarm(20); /* it must not wait for a writer */
    CHECK_EQ(cm_plat_file_open(&f, in_dir("fifo"), true), CM_ENOTFILE);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("fifo"), false), CM_ENOTFILE);
    alarm(0);
    CHECK_EQ(unlink(in_dir("fifo")), 0);
    if (geteuid() != 0) {
        CHECK_EQ(chmod(in_dir("file"), 0400), 0);
        CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), CM_EACCES);
    }
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(open_files(), fds);
    cm_plat_file_remove(in_dir("file"));
}

/* The volume is in order, so the result must not be that of a volume that fails. */
static void test_no_descriptor(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct rlimit all, few;

    make_file(in_dir("file"), "0123456789");
    const int next = open(in_dir("file"), O_RDONLY);
    REQUIRE(next >= 0 && getrlimit(RLIMIT_NOFILE, &all) == 0);
    (void)close(next);
    few = (struct rlimit){ (rlim_t)next, all.rlim_max };
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), CM_ENOMEM);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &all), 0);
    CHECK_EQ(cm_plat_file_open(&f, in_dir("file"), false), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("file"));
}

/* ---- Locking ------------------------------------------------------------------------------- */

static void lock_other_process_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    (void)arg;
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1);
    CHECK_EQ(cm_plat_file_lock(&f), CM_EOWNED);
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 1); /* also for a handle that may only read */
    cm_plat_file_close(&f);
}

static void lock_and_die_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    (void)arg;
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    REQUIRE(cm_plat_file_lock(&f) == 0);
    (void)raise(SIGKILL);
}

static void close_inherited_body(void *arg)
{
    cm_plat_file_close(arg);
}

/* An owner with an older library locks all bytes at once: it has not judged the pool by that. */
static void older_owner(struct cm_plat_file *f)
{
    const int fd = open(in_dir("pool"), O_RDWR);
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    CHECK_EQ(fcntl(fd, F_OFD_SETLK, &all), 0);
    CHECK_EQ(cm_plat_file_is_locked(f), 1);
    CHECK(!cm_plat_file_is_taken(f));
    CHECK_EQ(close(fd), 0);
}

static void test_lock(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 0); /* not locked by another open */
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&g), 1);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK_CHILD_OK(lock_other_process_body, NULL);
    CHECK_CHILD_OK(close_inherited_body, &f);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED); /* the child's close did not drop it */
    CHECK(!cm_plat_file_is_taken(&g));
    cm_plat_file_say_taken(&f);
    CHECK(cm_plat_file_is_taken(&g));
    CHECK_EQ(cm_plat_file_is_locked(&g), 1);
    cm_plat_file_close(&g);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED); /* nor did closing a second descriptor */
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_is_locked(&g), 0);
    CHECK(!cm_plat_file_is_taken(&g));
    CALL(older_owner(&g));
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    CHECK_EQ(cm_plat_file_lock(&g), 0); /* it has the lock already */
    cm_plat_file_close(&g);
    /* An open for reading keeps an owner out, but is none. */
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK_EQ(cm_plat_file_is_locked(&g), 0);
    cm_plat_file_close(&g);
    cm_plat_file_close(&f);

    const int status = in_child(lock_and_die_body, NULL);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* the lock died with its owner */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* A forked child that lives on must not keep the pool locked when the parent closes it. */
static void test_lock_goes_with_the_owner(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    pid_t pid;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    pid = fork();
    if (pid == 0) {
        sleep_ms(60000);
        _exit(0);
    }
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    cm_plat_file_close(&g);
    cm_plat_file_remove(in_dir("pool"));
}

/* ---- Mapping ------------------------------------------------------------------------------- */

/* Pages of address space that the process uses. */
static long address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;

    if (f != NULL) {
        CHECK_EQ(fscanf(f, "%ld", &pages), 1);
        (void)fclose(f);
    }
    return pages;
}

static void test_map_leaves_nothing_behind(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    long before;

    REQUIRE(plat_create(&f, in_dir("pool"), MIB + PAGE, false, NULL, NULL) == 0);
    cm_plat_file_close(&f);
    before = address_space();
    for (unsigned i = 0; i < 100; i++) {
        CASE("i %u", i);
        REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
        REQUIRE(cm_plat_file_map(&f, 64 * MIB, &durability) == 0);
        cm_plat_file_close(&f);
    }
    if (getenv("CM_TEST_EMULATED") == NULL) {
        CHECK(address_space() - before < 64 * MIB / PAGE);
    }
    cm_plat_file_remove(in_dir("pool"));
}

/* A mapping that fails takes no address space with it. */
static void test_failed_map_leaves_nothing(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    long before;

    REQUIRE(plat_create(&f, in_dir("pool"), 64 * MIB, false, NULL, NULL) == 0);
    cm_plat_file_close(&f);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    f.readonly = false; /* so that it is mapped for writing, which fails */
    before = address_space();
    for (unsigned i = 0; i < 20; i++) {
        CASE("i %u", i);
        CHECK_EQ(cm_plat_file_map(&f, 2 * MIB, &durability), CM_EIO);
        CHECK(f.base == NULL);
    }
    if (getenv("CM_TEST_EMULATED") == NULL) {
        CHECK(address_space() - before < 64 * MIB / PAGE);
    }
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* ---- Memory that cannot be given back ------------------------------------------------------ */

static bool munmap_fails;
int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n)
{
    if (munmap_fails) {
        errno = ENOMEM; /* like in a process that has the maximum number of mappings */
        return -1;
    }
    return __real_munmap(p, n);
}

static void free_body(void *arg)
{
    const size_t bytes = 1 << 20;
    uint8_t *p = cm_plat_alloc(bytes);
    unsigned char resident[1];

    (void)arg;
    REQUIRE(p != NULL);
    memset(p, 7, bytes);
    munmap_fails = true;
    cm_plat_free(p, bytes);
    munmap_fails = false;
    CHECK_EQ(mincore(p, PAGE, resident), 0); /* the addresses are still taken, */
    CHECK_EQ(resident[0] & 1, 0);            /* the memory is not */
    CHECK_EQ(__real_munmap(p, bytes), 0);
}
static void test_free_fails(void)
{
    CHECK_CHILD_OK(free_body, NULL);
}

/* ---- Threads that block signals ------------------------------------------------------------ */

static cm_file *blocked_file;
static uint32_t blocked_step; /* 1: the thread has begun; 2: it may read */

static void *blocked_thread(void *began)
{
    uint8_t buf[CM_BLOCK_SIZE];
    sigset_t all;

    (void)sigfillset(&all);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
    if (began != NULL) {
        CHECK(cm_plat_thread()->number > 0);
    }
    at_store_release(&blocked_step, 1u);
    while (at_load_acquire(&blocked_step) != 2) {
        sleep_ms(1);
    }
    CHECK_EQ(cm_read(blocked_file, 0, buf, sizeof buf, NULL), 0); /* a miss */
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &all), 0);
    CHECK_EQ(sigismember(&all, SIGTERM), 1);
    return NULL;
}

/* The pool is truncated. A thread that blocks all signals reads from it. `began`: the thread called
 * the library before there was a guard. */
static void blocked_body(void *began)
{
    static const uint8_t data[CM_BLOCK_SIZE];
    const cm_file_id id = { 1, 2 };
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_cache *c;
    cm_miss miss;
    pthread_t t;
    sigset_t all;

    REQUIRE(pthread_create(&t, NULL, blocked_thread, began) == 0);
    while (at_load_acquire(&blocked_step) != 1) {
        sleep_ms(1);
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL); /* this thread blocks them, too */
    create.size = MIB;
    options.probation_bytes = CM_PROBATION_NONE;
    options.verify = CM_VERIFY_NEVER;
    REQUIRE(cm_create(in_dir("pool"), &create) == 0);
    REQUIRE(cm_open(in_dir("pool"), &options, &c) == 0);
    REQUIRE(cm_file_open(c, &id, NULL, 0, &blocked_file) == 0);
    CHECK_EQ(cm_read(blocked_file, 0, (uint8_t[CM_BLOCK_SIZE]){ 0 }, CM_BLOCK_SIZE, &miss), 0);
    CHECK_EQ(cm_fill(blocked_file, &miss, data, CM_BLOCK_SIZE, 0), 0);
    CHECK_EQ(truncate(in_dir("pool"), 0), 0);
    at_store_release(&blocked_step, 2u);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(cm_read(blocked_file, 0, (uint8_t[CM_BLOCK_SIZE]){ 0 }, CM_BLOCK_SIZE, NULL), 0);
    (void)cm_close(c);
}
static void test_blocked_signals(void)
{
    static int began;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    blocked_step = 0;
    CHECK_CHILD_OK(blocked_body, NULL);
    CHECK_EQ(unlink(in_dir("pool")), 0);
    CHECK_CHILD_OK(blocked_body, &began);
    CHECK_EQ(unlink(in_dir("pool")), 0);
}

/* ---- A handler that is replaced -------------------------------------------------------------- */

static unsigned warned;

static void count_guard(void *ctx, int level, const char *text)
{
    (void)ctx;
    warned += level == CM_LOG_WARNING && strstr(text, "handler of SIGBUS") != NULL;
}

static void another_handler(int sig)
{
    (void)sig;
}

/* Another handler in the place of ours is noticed, for each signal, once for each open pool. */
static void test_handler_replaced(void)
{
    static const int signals[] = { SIGBUS, SIGSEGV };
    struct sigaction ours, other = { .sa_handler = another_handler };
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = CM_INFO_INIT;
    cm_cache *c = NULL;

    if (!cm_guard_available()) {
        SKIP("no fault guard in this build");
    }
    create.size = cm_pool_size_min();
    o.log = count_guard;
    REQUIRE(cm_create(in_dir("pool"), &create) == 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("signal %d", signals[i]);
        warned = 0;
        CHECK_EQ(cm_open(in_dir("pool"), &o, &c), 0);
        CHECK_EQ(cm_get_info(c, &info), 0);
        CHECK_EQ(warned, 0);
        CHECK_EQ(sigaction(signals[i], &other, &ours), 0);
        CHECK_EQ(cm_get_info(c, &info), 0);
        CHECK_EQ(warned, 1);
        (void)cm_checkpoint(c); /* it was said */
        CHECK_EQ(warned, 1);
        CHECK_EQ(sigaction(signals[i], &ours, NULL), 0);
        (void)cm_checkpoint(c);
        CHECK_EQ(sigaction(signals[i], &other, NULL), 0);
        (void)cm_checkpoint(c); /* again */
        CHECK_EQ(warned, 2);
        CHECK_EQ(cm_close(c), 0);
        CHECK_EQ(cm_open(in_dir("pool"), &o, &c), 0);
        CHECK_EQ(warned, 3);
        CHECK_EQ(cm_close(c), 0);
        CHECK_EQ(sigaction(signals[i], &ours, NULL), 0);
        o.flags = CM_OPEN_NO_GUARD; /* nobody relies on it */
        CHECK_EQ(sigaction(signals[i], &other, NULL), 0);
        CHECK_EQ(cm_open(in_dir("pool"), &o, &c), 0);
        CHECK_EQ(warned, 3);
        CHECK_EQ(cm_close(c), 0);
        CHECK_EQ(sigaction(signals[i], &ours, NULL), 0);
        o.flags = 0;
    }
    CHECK_EQ(unlink(in_dir("pool")), 0);
}

static void store_body(void *arg)
{
    *(volatile uint8_t *)arg = 1;
}

static void load_body(void *arg)
{
    (void)*(volatile uint8_t *)arg;
}

/* A program that was started without its standard descriptors. (The body's own are closed, so its
 * exit status tells.) */
static void standard_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    bool right;

    (void)arg;
    (void)close(0);
    (void)close(1);
    (void)close(2);
    right = plat_create(&f, in_dir("pool"), 2 * PAGE, true, NULL, NULL) == 0 && f.handle > 2;
    cm_plat_file_close(&f);
    right = right && cm_plat_file_open(&f, in_dir("pool"), false) == 0 && f.handle > 2;
    right = right && fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0;
    right = right && (fcntl((int)f.handle, F_GETFD) & FD_CLOEXEC) != 0;
    cm_plat_file_close(&f);
    _exit(right ? 0 : 1);
}

/* What such a program prints must not go to its pool. */
static void test_no_standard_descriptor(void)
{
    CHECK_CHILD_OK(standard_body, NULL);
    CHECK_EQ(unlink(in_dir("pool")), 0);
}

static void test_map_protection(void)
{
    enum cm_durability durability;
    struct cm_plat_file f = PLAT_FILE_INIT;
    int status;

    REQUIRE(plat_create(&f, in_dir("pool"), 2 * PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    f.base[1] = 7;
    if (getenv("CM_TEST_EMULATED") == NULL) {
        status = in_child(load_body, f.base + 1); /* not inherited */
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
    CHECK_CHILD_OK(close_inherited_body, &f);
    CHECK_EQ(f.base[1], 7);
    cm_plat_file_close(&f);

    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), true) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    CHECK_EQ(f.base[1], 7);
    CHECK_EQ(madvise(f.base, 2 * PAGE, MADV_DOFORK), 0); /* to try a store in a child */
    CHECK_CHILD_OK(load_body, f.base);
    status = in_child(store_body, f.base);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    cm_plat_file_close(&f);
    CHECK_EQ(truncate(in_dir("pool"), 0), 0);
    REQUIRE(cm_plat_file_open(&f, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), CM_EIO);
    CHECK(f.base == NULL);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

static void volatile_body(void *arg)
{
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    (void)arg;
    mount_here("tmpfs", dir, "size=1m");
    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    CHECK_EQ(durability, CM_DURABILITY_VOLATILE);
    CHECK_EQ(cm_plat_file_sync(&f, 0, 0), 0);
    cm_plat_file_close(&f);
}

/* KiB of the mapping at `base` that are dirty. */
static unsigned long dirty_kib(const void *base)
{
    unsigned long sum = 0, kib;
    char line[256], start[32];
    bool here = false;
    FILE *smaps = fopen("/proc/self/smaps", "r");

    (void)snprintf(start, sizeof start, "%" PRIxPTR "-", (uintptr_t)base);
    while (smaps != NULL && fgets(line, sizeof line, smaps) != NULL) {
        if (strncmp(line, start, strlen(start)) == 0) {
            here = true;
        } else if (here && (sscanf(line, "Shared_Dirty: %lu", &kib) == 1 ||
                            sscanf(line, "Private_Dirty: %lu", &kib) == 1)) {
            sum += kib;
        } else if (strncmp(line, "VmFlags:", 8) == 0) {
            here = false;
        }
    }
    if (smaps != NULL) {
        (void)fclose(smaps);
    }
    return sum;
}

/* A sync of a range does not write the other pages: an open after a crash syncs the superblock, and
 * must not wait for all that the crashed owner stored. */
static void test_sync_of_a_range(void)
{
    const unsigned long half = 512;
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;
    unsigned long before = 0, after = 0;

    REQUIRE(plat_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    /* Another program may sync everything at any time: then once more. */
    for (unsigned tries = 0; tries < 50 && after < half; tries++) {
        memset(f.base, (int)tries + 1, MIB);
        before = dirty_kib(f.base);
        CHECK_EQ(cm_plat_file_sync(&f, PAGE, PAGE), 0);
        after = dirty_kib(f.base);
    }
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
    if (before < half) {
        SKIP("the system does not say which pages are dirty here");
    }
    CHECK(after >= half);
}

static void test_durability(void)
{
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    printf("# durability of %s: %d\n", dir, (int)durability);
    CHECK(durability >= CM_DURABILITY_VOLATILE && durability <= CM_DURABILITY_DAX);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
    CHECK_CHILD_OR_SKIP(volatile_body, NULL, "may not mount a tmpfs");
}

static void test_sync_dir(void)
{
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("anything")), 0);
    CHECK_EQ(cm_plat_file_sync_dir("anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir("/anything"), 0);
    CHECK_EQ(cm_plat_file_sync_dir(in_dir("no/such")), CM_ENOENT);
    cm_plat_file_remove(in_dir("missing")); /* there is nothing to remove: no harm */
}

static void forked_body(void *arg)
{
    const uint32_t before = *(uint32_t *)arg;
    uint32_t here = cm_plat_fork_count();

    CHECK_EQ(here, before + 1);
    if (here < 3) {
        CHECK_CHILD_OK(forked_body, &here);
    }
}

static void test_fork_count(void)
{
    uint32_t count = cm_plat_fork_count();

    CHECK_CHILD_OK(forked_body, &count);
    CHECK_EQ(cm_plat_fork_count(), count);
}

/* These come first: the process has no fault guard yet, which its children would inherit. */
static const struct harness_test platform_posix_first_tests[] = {
    TEST(blocked_signals),
    TEST_END,
};

static const struct harness_test platform_posix_tests[] = {
    TEST(open),
    TEST(no_descriptor),
    TEST(lock),
    TEST(lock_goes_with_the_owner),
    TEST(map_leaves_nothing_behind),
    TEST(failed_map_leaves_nothing),
    TEST(free_fails),
    TEST(handler_replaced),
    TEST(map_protection),
    TEST(no_standard_descriptor),
    TEST(sync_of_a_range),
    TEST(durability),
    TEST(sync_dir),
    TEST(fork_count),
    TEST_END,
};

static const struct harness_test *const tables[] = {
    platform_posix_first_tests,    platform_posix_refused_tests, platform_posix_mounts_tests,
    platform_posix_identity_tests, platform_posix_create_tests,  platform_posix_fork_tests,
    platform_posix_unseen_tests,   platform_posix_tests,         platform_tests
};

char dir[256];

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    int rc;

    (void)snprintf(dir, sizeof dir, "%s/cachemax-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    rc = HARNESS_TABLES(tables, argc, argv);
    if (rmdir(dir) != 0) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
