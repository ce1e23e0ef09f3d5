/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix.c - the operating system contract, against Linux.
 *
 * Files go to a directory of their own below $TMPDIR or /tmp. Tests that need a volume of a
 * certain kind mount it in a namespace of their own and are skipped where that is not allowed.
 * CM_TEST_EMULATED=1 leaves out what a user-mode emulator cannot do (MADV_DONTFORK).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "child.h"
#include "persist/persist.h"
#include "platform_common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- Files and children -------------------------------------------------------------------- */

/* Faults end a child, whatever a sanitizer made of them. */
static void default_faults(void)
{
    (void)signal(SIGBUS, SIG_DFL);
    (void)signal(SIGSEGV, SIG_DFL);
}

static int in_child(void (*body)(void *), void *arg)
{
    return child_run(default_faults, body, arg);
}

/* A child that leaves with this could not do what the test needs. */
#define CHILD_CANNOT 77
#define CHECK_CHILD_OR_SKIP(body, arg, reason)                                                     \
    do {                                                                                           \
        const int child_status = in_child(body, arg);                                              \
        if (WIFEXITED(child_status) && WEXITSTATUS(child_status) == CHILD_CANNOT) {                \
            SKIP(reason);                                                                          \
        }                                                                                          \
        CHECK(WIFEXITED(child_status));                                                            \
        CHECK_EQ(WEXITSTATUS(child_status), 0);                                                    \
    } while (0)

static int write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY);
    const ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0) {
        (void)close(fd);
    }
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* Who is not root becomes root in a user namespace. */
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

/* In a child: mounts over `at`, seen by this process only. Leaves when that is not allowed. */
static void mount_here(const char *type, const char *at, const char *options)
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

static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void make_file(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(close(fd), 0);
}

/* ---- Creating ------------------------------------------------------------------------------ */

static void test_create(void)
{
    const char *path = in_dir("pool");
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    struct stat st;

    (void)umask(0);
    CHECK_EQ(plat_create(&f, path, 3 * MIB + PAGE, true, NULL, NULL), 0);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode, S_IFREG | 0600);
    CHECK_EQ(st.st_size, 3 * MIB + PAGE);
    CHECK((uint64_t)st.st_blocks * 512 >= 3 * MIB + PAGE);
    CHECK_EQ(f.size, 3 * MIB + PAGE);
    CHECK(fcntl((int)f.handle, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(plat_create(&g, path, PAGE, true, NULL, NULL), CM_EEXIST);
    CHECK_EQ(g.handle, -1);
    REQUIRE(stat(path, &st) == 0); /* the failed one touched nothing */
    CHECK_EQ(st.st_size, 3 * MIB + PAGE);
    cm_plat_file_close(&f);
    cm_plat_file_close(&f); /* safe after itself */
    CHECK_EQ(f.handle, -1);
    cm_plat_file_remove(path);
    CHECK(stat(path, &st) != 0 && errno == ENOENT);

    CHECK_EQ(plat_create(&f, path, 64 * MIB, false, NULL, NULL), 0);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_size, 64 * MIB);
    CHECK(st.st_blocks * 512 < MIB);
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
}

static void test_create_refused(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const unsigned fds = open_files();
    struct stat st;

    CHECK_EQ(plat_create(&f, in_dir("no/such/dir"), PAGE, true, NULL, NULL), CM_ENOENT);
    CHECK_EQ(plat_create(&f, dir, PAGE, true, NULL, NULL), CM_EEXIST);
    REQUIRE(symlink("elsewhere", in_dir("link")) == 0);
    CHECK_EQ(plat_create(&f, in_dir("link"), PAGE, true, NULL, NULL), CM_EEXIST);
    CHECK(stat(in_dir("elsewhere"), &st) != 0);
    CHECK_EQ(unlink(in_dir("link")), 0);
    CHECK_EQ(plat_create(&f, in_dir("huge"), UINT64_MAX / 2 + 1, true, NULL, NULL), CM_ENOSPC);
    CHECK(stat(in_dir("huge"), &st) != 0);
    if (geteuid() != 0) {
        CHECK_EQ(mkdir(in_dir("shut"), 0500), 0);
        CHECK_EQ(plat_create(&f, in_dir("shut/pool"), PAGE, true, NULL, NULL), CM_EACCES);
        CHECK_EQ(rmdir(in_dir("shut")), 0);
    }
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(open_files(), fds);
}

/* ---- Creating, killed in the middle --------------------------------------------------------- */

static bool no_nameless;             /* as on a file system that knows no O_TMPFILE */
static unsigned steps, kill_at_step; /* system calls that make a pool; 0: nobody is killed */

static void step(void)
{
    if (kill_at_step != 0 && ++steps == kill_at_step) {
        (void)kill(getpid(), SIGKILL);
    }
}

/* Before the call and after it. */
#define STEP(ret, name, params, args)                                                              \
    ret __real_##name params;                                                                      \
    ret __wrap_##name params;                                                                      \
    ret __wrap_##name params                                                                       \
    {                                                                                              \
        step();                                                                                    \
        ret r = __real_##name args;                                                                \
        step();                                                                                    \
        return r;                                                                                  \
    }
STEP(int, fsync, (int fd), (fd))
STEP(int, ftruncate, (int fd, off_t n), (fd, n))
STEP(int, ftruncate64, (int fd, off_t n), (fd, n))
STEP(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
STEP(int, fallocate64, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
STEP(int, unlink, (const char *path), (path))
STEP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
STEP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags))

#define OPEN(name)                                                                                 \
    int __real_##name(const char *path, int flags, ...);                                           \
    int __wrap_##name(const char *path, int flags, ...);                                           \
    int __wrap_##name(const char *path, int flags, ...)                                            \
    {                                                                                              \
        if (no_nameless && (flags & O_TMPFILE) == O_TMPFILE) {                                     \
            errno = EOPNOTSUPP;                                                                    \
            return -1;                                                                             \
        }                                                                                          \
        step();                                                                                    \
        int fd = __real_##name(path, flags, 0600);                                                 \
        step();                                                                                    \
        return fd;                                                                                 \
    }
OPEN(open)
OPEN(open64)

static int kill_in_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx, (void)done, (void)total;
    step();
    return 0;
}

static cm_create_options small_pool(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;

    o.size = MIB;
    o.progress = kill_in_progress;
    return o;
}

static void create_body(void *arg)
{
    const cm_create_options o = small_pool();

    steps = 0;
    kill_at_step = *(const unsigned *)arg;
    CHECK_EQ(cm_create(in_dir("pool"), &o), 0);
}

/* Names in the directory of the test. */
static unsigned names_there(void)
{
    unsigned n = 0;
    DIR *d = opendir(dir);

    if (d == NULL) {
        return 99;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(d);
    return n;
}

/* Whenever the process dies, the next one makes its pool as if nothing had been, unless it was
 * done. */
static void check_killed(void)
{
    const cm_create_options o = small_pool();
    unsigned at = 0, killed = 0;
    int status;

    do {
        cm_cache *c = NULL;
        bool there;

        at++;
        status = in_child(create_body, &at);
        killed += WIFSIGNALED(status);
        there = access(in_dir("pool"), F_OK) == 0;
        CHECK_EQ(cm_create(in_dir("pool"), &o), there ? CM_EEXIST : 0);
        CHECK_EQ(cm_open(in_dir("pool"), NULL, &c), 0);
        CHECK(c != NULL && cm_close(c) == 0);
        CHECK_EQ(__real_unlink(in_dir("pool")), 0);
        CHECK_EQ(names_there(), 0);
    } while (WIFSIGNALED(status) && at < 100);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    printf("# killed at %u of its steps\n", killed);
    CHECK(killed >= 8);
}
static void test_create_killed(void)
{
    check_killed();
    no_nameless = true;
    check_killed();
    no_nameless = false;
}

/* Two at once, where the name beside is needed: the second is told so, and harms nothing. */
static void test_create_beside(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;

    no_nameless = true;
    REQUIRE(cm_plat_file_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
    CHECK_EQ(access(in_dir("pool"), F_OK), -1);
    CHECK_EQ(names_there(), 1);
    CHECK_EQ(cm_plat_file_create(&g, in_dir("pool"), MIB, true, NULL, NULL), CM_EEXIST);
    CHECK_EQ(g.handle, -1);
    CHECK_EQ(cm_plat_file_link(&f, in_dir("pool")), 0);
    CHECK_EQ(names_there(), 1);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
    REQUIRE(cm_plat_file_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
    cm_plat_file_abandon(&f, in_dir("pool"));
    CHECK_EQ(names_there(), 0);
    no_nameless = false;
}

/* The name is taken while the file is made. */
static void test_create_taken(void)
{
    for (unsigned beside = 0; beside < 2; beside++) {
        struct cm_plat_file f = PLAT_FILE_INIT;
        struct stat st;

        no_nameless = beside != 0;
        REQUIRE(cm_plat_file_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
        make_file(in_dir("pool"), "mine");
        CHECK_EQ(cm_plat_file_link(&f, in_dir("pool")), CM_EEXIST);
        cm_plat_file_abandon(&f, in_dir("pool"));
        CHECK_EQ(stat(in_dir("pool"), &st), 0);
        CHECK_EQ(st.st_size, 4);
        CHECK_EQ(names_there(), 1);
        CHECK_EQ(__real_unlink(in_dir("pool")), 0);
    }
    no_nameless = false;
}

/* Somebody else takes what is left. */
static int shrink_volume(void *ctx, uint64_t done, uint64_t total)
{
    (*(unsigned *)ctx)++;
    CHECK(done < total);
    CHECK_EQ(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=66m"), 0);
    return 0;
}

static void enospc_midway_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct progress p = { 0 };
    unsigned calls = 0;
    struct stat st;

    (void)arg;
    mount_here("tmpfs", dir, "size=128m");
    CHECK_EQ(plat_create(&f, in_dir("pool"), 129 * MIB, true, on_progress, &p), CM_ENOSPC);
    CHECK_EQ(p.calls, 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 100 * MIB, true, shrink_volume, &calls), CM_ENOSPC);
    CHECK_EQ(calls, 1);
    CHECK_EQ(f.handle, -1);
    CHECK(stat(in_dir("pool"), &st) != 0 && errno == ENOENT);
}

static void enospc_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;
    struct progress p = { 0 };
    struct stat st;

    (void)arg;
    mount_here("tmpfs", dir, "size=1m,nr_inodes=8");
    /* Impossible from the start: nothing is taken, not even for a while. */
    CHECK_EQ(plat_create(&f, in_dir("pool"), UINT64_C(1) << 62, true, on_progress, &p), CM_ENOSPC);
    CHECK_EQ(p.calls, 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 2 * MIB, true, NULL, NULL), CM_ENOSPC);
    CHECK(stat(in_dir("pool"), &st) != 0 && errno == ENOENT);
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(plat_create(&f, in_dir("pool"), MIB / 2, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(plat_create(&f, in_dir("sparse"), 2 * MIB, false, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(plat_create(&g, in_dir("rest"), 3 * MIB / 4, true, NULL, NULL), CM_ENOSPC);
    CHECK(stat(in_dir("rest"), &st) != 0 && errno == ENOENT);
}

static void test_create_on_full_volume(void)
{
    CHECK_CHILD_OR_SKIP(enospc_body, NULL, "may not mount a tmpfs");
    CHECK_CHILD_OR_SKIP(enospc_midway_body, NULL, "may not mount a tmpfs");
}

static void limit_body(void *arg)
{
    const struct rlimit limit = { MIB, MIB };
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct stat st;

    (void)arg;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 2 * MIB, true, NULL, NULL), CM_ENOSPC);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 2 * MIB, false, NULL, NULL), CM_ENOSPC);
    CHECK(stat(in_dir("pool"), &st) != 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), MIB, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

static void test_create_beyond_file_size_limit(void)
{
    CHECK_CHILD_OK(limit_body, NULL); /* SIGXFSZ would kill the child */
}

/* ramfs has no fallocate: the fallback writes. */
static void no_fallocate_body(void *arg)
{
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct progress p = { 0 };
    struct stat st;

    (void)arg;
    mount_here("ramfs", dir, NULL);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 3 * MIB + PAGE, true, on_progress, &p), 0);
    REQUIRE(fstat((int)f.handle, &st) == 0);
    CHECK_EQ(st.st_size, 3 * MIB + PAGE);
    CHECK_EQ(p.calls, 1);
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), 0);
    CHECK_EQ(durability, CM_DURABILITY_VOLATILE);
    cm_plat_file_close(&f);
}

static void test_create_without_fallocate(void)
{
    CHECK_CHILD_OR_SKIP(no_fallocate_body, NULL, "may not mount a ramfs");
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
    CHECK_EQ(cm_plat_file_is_locked(&f), 1); /* also for one that may only read */
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

static void test_lock(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT, g = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&f), 0); /* by another, that is */
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_is_locked(&g), 1);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED);
    CHECK_CHILD_OK(lock_other_process_body, NULL);
    CHECK_CHILD_OK(close_inherited_body, &f);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED); /* the child's close did not drop it */
    cm_plat_file_close(&g);
    REQUIRE(cm_plat_file_open(&g, in_dir("pool"), false) == 0);
    CHECK_EQ(cm_plat_file_lock(&g), CM_EOWNED); /* nor did closing a second descriptor */
    cm_plat_file_close(&f);
    CHECK_EQ(cm_plat_file_is_locked(&g), 0);
    CHECK_EQ(cm_plat_file_lock(&g), 0);
    CHECK_EQ(cm_plat_file_lock(&g), 0); /* it has it already */
    cm_plat_file_close(&g);
    /* Who only looks keeps an owner out, but is none. */
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
    CHECK_EQ(cm_plat_file_lock(&f), 0); /* died with its owner */
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* A child that was forked and lives on must not keep the pool when the parent closes it. */
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
    f.readonly = false; /* so that it is to be mapped for writing, and cannot */
    before = address_space();
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(cm_plat_file_map(&f, 2 * MIB, &durability), CM_EIO);
        CHECK(f.base == NULL);
    }
    if (getenv("CM_TEST_EMULATED") == NULL) {
        CHECK(address_space() - before < 64 * MIB / PAGE);
    }
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* ---- Another file system --------------------------------------------------------------------- */

static uint32_t says_type; /* what fstatfs() is to say */
static int no_handles;     /* errno of name_to_handle_at() */
static int no_generation;  /* errno of FS_IOC_GETVERSION */
#define FSTATFS(name, kind)                                                                        \
    int __real_##name(int fd, struct kind *fs);                                                    \
    int __wrap_##name(int fd, struct kind *fs);                                                    \
    int __wrap_##name(int fd, struct kind *fs)                                                     \
    {                                                                                              \
        const int rc = __real_##name(fd, fs);                                                      \
        if (rc == 0 && says_type != 0)                                                             \
            fs->f_type = (__typeof__(fs->f_type))says_type;                                        \
        return rc;                                                                                 \
    }
FSTATFS(fstatfs, statfs)
#ifdef __USE_LARGEFILE64
FSTATFS(fstatfs64, statfs64)
#endif

int __real_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how);
int __wrap_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how);
int __wrap_name_to_handle_at(int at, const char *name, struct file_handle *h, int *mount, int how)
{
    if (no_handles) {
        errno = no_handles;
        return -1;
    }
    return __real_name_to_handle_at(at, name, h, mount, how);
}

int __real_ioctl(int fd, unsigned long what, void *arg);
int __wrap_ioctl(int fd, unsigned long what, void *arg);
int __wrap_ioctl(int fd, unsigned long what, void *arg)
{
    if (no_generation && what == (unsigned long)FS_IOC_GETVERSION) {
        errno = no_generation;
        return -1;
    }
    return __real_ioctl(fd, what, arg);
}

/* File systems whose numbers and times do not tell files apart after a restart; those of images do
 * if the caller says which image it is. */
static void test_identify_volume(void)
{
    static const struct {
        uint32_t type;
        bool racy, racy_named;
    } of[] = { { 0, false, false },         { 0x4d44, true, true },
               { 0x2011bab0, true, true },  { 0x73717368, true, false },
               { 0x9660, true, false },     { 0x15013346, true, false },
               { 0xe0f5e1e2, true, false }, { 0x28cd3d45, true, false },
               { 0x7275, true, false },     { 0x58465342, false, false },
               { 0xef53, false, false } };
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v;

    make_file(in_dir("a"), "one");
    const int fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        says_type = of[i].type;
        o.volume_id = NULL;
        o.flags = CM_IDENTIFY_SOLE_WRITER; /* of which the sole writer knows no more */
        CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
        CHECK_EQ((v.racy & CM_RACY_VOLUME) != 0, of[i].racy);
        o.volume_id = "the image of Monday";
        CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
        CHECK_EQ((v.racy & CM_RACY_VOLUME) != 0, of[i].racy_named);
    }
    says_type = 0;
    CHECK_EQ(close(fd) + unlink(in_dir("a")), 0);
}

/* A file has one id or an error, never two ids: whichever way it was opened, whatever fails. */
static void test_identify_one_id(void)
{
    static const int unknown[] = { ENOTTY, EOPNOTSUPP, ENOSYS, EINVAL, EPERM, EACCES };
    static const int broken[] = { EIO, ENOMEM, EINTR, EBADF };
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id, same;
    cm_validator v;

    make_file(in_dir("a"), "one");
    int fd = open(in_dir("a"), O_PATH | O_CLOEXEC);
    CHECK_EQ(cm_identify(fd, &id, &v), CM_EINVAL);
    CHECK_EQ(close(fd), 0);
    fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        no_generation = unknown[i];
        CHECK_EQ(cm_identify(fd, i == 0 ? &id : &same, &v), 0);
        CHECK(i == 0 || same_id(id, same));
    }
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        no_generation = broken[i];
        CHECK_EQ(cm_identify(fd, &id, &v), CM_EIO);
    }
    no_generation = 0;
    /* On FUSE the inode number may be that of two files. */
    says_type = 0x65735546;
    no_handles = ENOSYS;
    CHECK_EQ(cm_identify(fd, &id, &v), CM_ECLONE);
    o.volume_id = "numbers of one device";
    CHECK_EQ(cm_identify_with(fd, &o, &id, &v), 0);
    no_handles = 0;
    /* Made up when read: of some, size 0 is all that the attributes say. */
    static const uint32_t made_up[] = { 0x42494e4d, 0x65735543, 0x7655821, 0x6e667364, 0x67596969 };
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++) {
        says_type = made_up[i];
        CHECK_EQ(cm_identify(fd, &id, &v), CM_EINVAL);
    }
    says_type = 0;
    CHECK_EQ(close(fd) + unlink(in_dir("a")), 0);
}

/* ---- A clock that was set -------------------------------------------------------------------- */

static time_t clock_set_by;
static struct timespec tick_at; /* 0: of the system */
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    const int rc = __real_clock_gettime(clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += clock_set_by;
    if (clock == CLOCK_REALTIME_COARSE && tick_at.tv_sec != 0)
        *t = tick_at;
    return rc;
}

/* The wall clock is set after the boot, or stood still with a virtual machine: a file that was
 * changed in this boot must not look older than the boot. */
static void test_clock_set_forward(void)
{
    struct stat proc;
    if (stat("/proc/self", &proc) != 0 || stat("/proc", &proc) != 0)
        SKIP("no /proc here");
    const int64_t before = cm_plat_boot_wall_ns();
    clock_set_by = 86400; /* in a container /proc may be younger than the boot, but no more */
    CHECK(cm_plat_boot_wall_ns() <= (int64_t)proc.st_ctim.tv_sec * 1000000000 + 999999999);
    clock_set_by = -86400;
    CHECK(cm_plat_boot_wall_ns() <= before);
    CHECK(cm_plat_boot_wall_ns() <= cm_plat_wall_ns());
    clock_set_by = 0;
}

/* ---- Memory that cannot be given back ------------------------------------------------------ */

static bool munmap_fails;
int __real_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n);
int __wrap_munmap(void *p, size_t n)
{
    if (munmap_fails) {
        errno = ENOMEM; /* as where the process has all the mappings it may have */
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

/* The pool is truncated; a thread that blocks all signals reads from it. `began`: it called the
 * library before there was a guard. */
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
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL); /* this one, too */
    create.size = MIB;
    options.probation_bytes = 0;
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

static void store_body(void *arg)
{
    *(volatile uint8_t *)arg = 1;
}

static void load_body(void *arg)
{
    (void)*(volatile uint8_t *)arg;
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

static void test_durability(void)
{
    const char *expected = getenv("CM_TEST_DURABILITY"); /* of the test directory, as a number */
    enum cm_durability durability = 0;
    struct cm_plat_file f = PLAT_FILE_INIT;

    REQUIRE(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL) == 0);
    REQUIRE(cm_plat_file_map(&f, PAGE, &durability) == 0);
    printf("# durability of %s: %d\n", dir, (int)durability);
    if (expected != NULL) {
        CHECK_EQ(durability, atoi(expected));
    }
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
    cm_plat_file_remove(in_dir("missing")); /* nothing to remove: no harm */
}

/* ---- Identity ------------------------------------------------------------------------------ */

static void test_boot_id(void)
{
    uint8_t a[16], b[16];
    char text[64] = "", hex[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

    cm_plat_boot_id(a);
    cm_plat_boot_id(b);
    CHECK(memcmp(a, b, 16) == 0);
    if (f == NULL || fgets(text, sizeof text, f) == NULL) {
        CHECK(all_zero(a, 16));
        SKIP("no boot id in this system");
    }
    (void)fclose(f);
    for (unsigned i = 0; i < 16; i++) {
        const size_t n = strlen(hex);

        (void)snprintf(hex + n, sizeof hex - n, "%s%02x",
                       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", a[i]);
    }
    CHECK(strncmp(text, hex, 36) == 0);
}

static void get_mount_id(const char *path, uint8_t id[16])
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    make_file(path, "x");
    REQUIRE(cm_plat_file_open(&f, path, true) == 0);
    cm_plat_mount_id(&f, id);
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(path), 0);
}

static void remount_body(void *arg)
{
    uint8_t before[16], again[16], inside[16], after[16];

    (void)arg;
    get_mount_id(in_dir("a"), before);
    mount_here("tmpfs", dir, "size=1m");
    get_mount_id(in_dir("a"), inside);
    get_mount_id(in_dir("b"), again);
    CHECK(memcmp(inside, again, 16) == 0);
    CHECK(memcmp(inside, before, 16) != 0);
    CHECK_EQ(umount(dir), 0);
    mount_here("tmpfs", dir, "size=1m");
    get_mount_id(in_dir("a"), after);
    if (arg != NULL) { /* only a kernel with unique numbers can promise this */
        CHECK(memcmp(inside, after, 16) != 0);
    }
}

static void test_mount_id(void)
{
    struct statx stx;
    uint8_t a[16], b[16];
    void *unique = NULL;

    get_mount_id(in_dir("a"), a);
    if (all_zero(a, 16)) {
        SKIP("no mount ids in this kernel");
    }
    get_mount_id(in_dir("b"), b);
    CHECK(memcmp(a, b, 16) == 0);
    if (statx(AT_FDCWD, dir, 0, 0x4000u, &stx) == 0 && (stx.stx_mask & 0x4000u) != 0) {
        unique = &stx;
    }
    CHECK_CHILD_OR_SKIP(remount_body, unique, "may not mount a tmpfs");
}

static int identify(const char *path, cm_file_id *id, cm_validator *v)
{
    const int fd = open(path, O_RDONLY);
    int rc;

    CHECK(fd >= 0);
    rc = cm_identify(fd, id, v);
    CHECK_EQ(close(fd), 0);
    return rc;
}

static void test_identify_same_and_different(void)
{
    cm_file_id a, b, c;
    cm_validator va, vb, vc;
    const uint64_t before = cm_plat_now_ns();

    make_file(in_dir("a"), "one");
    make_file(in_dir("c"), "one");
    CHECK_EQ(identify(in_dir("a"), &a, &va), 0);
    CHECK(va.taken_at >= before && va.taken_at <= cm_plat_now_ns());
    CHECK_EQ(va.size, 3);
    CHECK_EQ(va.reserved, 0);
    CHECK(a.hi != 0 || a.lo != 0);
    CHECK_EQ(identify(in_dir("a"), &b, &vb), 0);
    CHECK(same_id(a, b) && same_version(&va, &vb));
    CHECK_EQ(link(in_dir("a"), in_dir("b")), 0);
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK_EQ(rename(in_dir("a"), in_dir("d")), 0);
    CHECK_EQ(identify(in_dir("d"), &b, &vb), 0);
    CHECK(same_id(a, b));
    CHECK_EQ(identify(in_dir("c"), &c, &vc), 0);
    CHECK(!same_id(a, c));

    CHECK_EQ(identify(in_dir("d"), &a, &va), 0);
    sleep_ms(30);
    make_file(in_dir("d"), "two"); /* same size */
    CHECK_EQ(identify(in_dir("b"), &b, &vb), 0);
    CHECK(same_id(a, b) && !same_version(&va, &vb));
    CHECK_EQ(unlink(in_dir("b")), 0);
    CHECK_EQ(unlink(in_dir("c")), 0);
    CHECK_EQ(unlink(in_dir("d")), 0);
}

static void test_identify_refused(void)
{
    cm_file_id id;
    cm_validator v;
    int pipe_fd[2];
    const int null_fd = open("/dev/null", O_RDONLY), dir_fd = open(dir, O_RDONLY);

    REQUIRE(null_fd >= 0 && dir_fd >= 0 && pipe(pipe_fd) == 0);
    CHECK_EQ(cm_identify(-1, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(9999, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(null_fd, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(dir_fd, &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(pipe_fd[0], &id, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(null_fd, NULL, &v), CM_EINVAL);
    CHECK_EQ(cm_identify(null_fd, &id, NULL), CM_EINVAL);
    CHECK_EQ(close(null_fd) + close(dir_fd) + close(pipe_fd[0]) + close(pipe_fd[1]), 0);
}

static void test_identify_racy(void)
{
    struct timespec times[2];
    cm_file_id id;
    cm_validator v;
    unsigned waited = 0;

    /* Looked at within the granule, which a busy machine may not manage at once. */
    for (int i = 0; i < 1000; i++) {
        const uint64_t began = cm_now();
        make_file(in_dir("a"), "one");
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        if (v.racy != 0 || cm_now() - began < 3000000)
            break;
    }
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    do { /* whole-second volumes take two seconds, others 20 ms */
        sleep_ms(25);
        waited += 25;
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    } while (v.racy != 0 && waited < 5000);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    memset(times, 0, sizeof times);
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    times[1].tv_sec += 3600;
    times[1].tv_nsec = 5; /* surely no volume of whole seconds now, or 5 is lost */
    times[0] = times[1];
    CHECK_EQ(utimensat(AT_FDCWD, in_dir("a"), times, 0), 0);
    sleep_ms(50); /* ctime is old again, mtime lies ahead */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    times[1].tv_sec = 15000000000; /* beyond 64 bits of nanoseconds, where a volume keeps it */
    (void)utimensat(AT_FDCWD, in_dir("a"), times, 0);
    sleep_ms(50);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1);
    times[1].tv_sec = -1000000; /* before 1970 */
    for (int i = 0; i < 1000; i++) {
        const uint64_t began = cm_now();
        (void)utimensat(AT_FDCWD, in_dir("a"), times, 0);
        CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
        if (v.racy != 0 || cm_now() - began < 3000000)
            break;
    }
    CHECK_EQ(v.racy & CM_RACY_TIMES, 1); /* for its ctime alone */
    sleep_ms(2200);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* The clock that files get their times from may stand still for longer than the granule: what is
 * written later has the same time. */
static void test_identify_tick(void)
{
    struct stat st;
    cm_file_id id;
    cm_validator v;

    make_file(in_dir("a"), "one");
    sleep_ms(2200);
    CHECK_EQ(stat(in_dir("a"), &st), 0);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    tick_at = st.st_ctim;
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, CM_RACY_TIMES);
    tick_at.tv_nsec += 1; /* beyond a second: any time, for this */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy & CM_RACY_TIMES, 0);
    tick_at.tv_sec = 0;
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* Writes need not show in the times before the writer is gone: a kernel sets them before it copies
 * the data, and once for a call however long that takes. */
static void test_identify_writer(void)
{
    static const int writing[] = { O_WRONLY, O_RDWR, O_WRONLY | O_APPEND };
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id, same;
    cm_validator v;
    void *view;
    int fd, reader;

    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    make_file(in_dir("a"), "one");
    sleep_ms(2200);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    if (v.racy == CM_RACY_WRITER) {
        CHECK_EQ(unlink(in_dir("a")), 0);
        SKIP("this volume does not say who writes");
    }
    CHECK_EQ(v.racy, 0);
    for (size_t i = 0; i < sizeof writing / sizeof writing[0]; i++) {
        fd = open(in_dir("a"), writing[i]);
        REQUIRE(fd >= 0);
        CHECK_EQ(identify(in_dir("a"), &same, &v), 0);
        CHECK(same_id(id, same));
        CHECK_EQ(v.racy, CM_RACY_WRITER);
        CHECK_EQ(cm_identify(fd, &same, &v), 0); /* the writer itself is one */
        CHECK_EQ(v.racy, CM_RACY_WRITER);
        CHECK_EQ(cm_identify_with(fd, &sole, &same, &v), 0);
        CHECK_EQ(v.racy, 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(identify(in_dir("a"), &same, &v), 0);
        CHECK_EQ(v.racy, 0);
    }
    fd = open(in_dir("a"), O_RDWR);
    view = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(view != MAP_FAILED && close(fd) == 0);
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_WRITER); /* no descriptor, and yet */
    CHECK_EQ(munmap(view, 1), 0);
    reader = open(in_dir("a"), O_RDONLY); /* readers are nobody's trouble */
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, 0);
    /* Nothing is left on the file: it opens for writing without waiting. */
    fd = open(in_dir("a"), O_WRONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd) + close(reader), 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* Who may not ask is not told that nobody writes. */
static void stranger_body(void *arg)
{
    cm_file_id id;
    cm_validator v;

    (void)arg;
    if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
        exit(77);
    }
    CHECK_EQ(identify(in_dir("a"), &id, &v), 0);
    CHECK_EQ(v.racy, CM_RACY_WRITER);
}

static void test_identify_stranger(void)
{
    make_file(in_dir("a"), "one");
    CHECK_EQ(chmod(dir, 0755) + chmod(in_dir("a"), 0644), 0);
    sleep_ms(2200);
    CHECK_CHILD_OR_SKIP(stranger_body, NULL, "may not become another user");
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* The same inode number must not mean the same file, where the volume can tell. */
static void test_identify_reused_inode(void)
{
    cm_file_id a, b;
    cm_validator v;
    struct stat st;
    ino_t inode;
    long generation = 0;
    int fd, rc;

    make_file(in_dir("a"), "one");
    fd = open(in_dir("a"), O_RDONLY);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    inode = st.st_ino;
    rc = ioctl(fd, (unsigned long)FS_IOC_GETVERSION, &generation);
    CHECK_EQ(cm_identify(fd, &a, &v), 0);
    CHECK_EQ(close(fd), 0);
    if (rc != 0) {
        CHECK_EQ(unlink(in_dir("a")), 0);
        SKIP("this volume has no inode generations");
    }
    for (unsigned i = 0; i < 200; i++) {
        CHECK_EQ(unlink(in_dir("a")), 0);
        make_file(in_dir("a"), "one");
        REQUIRE(stat(in_dir("a"), &st) == 0);
        CHECK_EQ(identify(in_dir("a"), &b, &v), 0);
        CHECK(!same_id(a, b));
        if (st.st_ino == inode) {
            CHECK_EQ(unlink(in_dir("a")), 0);
            return;
        }
    }
    CHECK_EQ(unlink(in_dir("a")), 0);
    SKIP("the volume did not use the inode number again");
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

static const struct harness_test tests[] = {
    TEST(blocked_signals), /* first: before this process has a fault guard, which its children
                              inherit */
    TEST(clock_set_forward),
    TEST(identify_tick),
    TEST(identify_volume),
    TEST(identify_one_id),
    TEST(create),
    TEST(create_refused),
    TEST(create_killed),
    TEST(create_beside),
    TEST(create_taken),
    TEST(create_progress_and_cancel),
    TEST(create_on_full_volume),
    TEST(create_beyond_file_size_limit),
    TEST(create_without_fallocate),
    TEST(open),
    TEST(lock),
    TEST(lock_goes_with_the_owner),
    TEST(map_alignment),
    TEST(map_leaves_nothing_behind),
    TEST(failed_map_leaves_nothing),
    TEST(free_fails),
    TEST(map_protection),
    TEST(durability),
    TEST(sync_dir),
    TEST(boot_id),
    TEST(mount_id),
    TEST(identify_same_and_different),
    TEST(identify_refused),
    TEST(identify_racy),
    TEST(identify_writer),
    TEST(identify_stranger),
    TEST(identify_reused_inode),
    TEST(random),
    TEST(clocks),
    TEST(alloc),
    TEST(wait_and_wake),
    TEST(thread),
    TEST(fork_count),
};

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    int rc;

    (void)snprintf(dir, sizeof dir, "%s/cachemax-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    rc = HARNESS_MAIN(tests, argc, argv);
    if (rmdir(dir) != 0) {
        printf("# left behind: %s\n", dir);
        rc = 1;
    }
    return rc;
}
