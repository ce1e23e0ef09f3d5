/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_create.c - creating a pool on Linux: on full volumes, killed in the middle,
 * two at the same time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform_posix.h"

#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

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
    REQUIRE(stat(path, &st) == 0); /* the failed call changed nothing */
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

/* What the code alone would not say. */
static void expect_why(const char *name, uint64_t size, bool prealloc, int code, const char *text)
{
    char why[PLAT_WHY] = "before";

    cm_plat_file_not_made(in_dir(name), size, prealloc, code, why);
    if (text == NULL ? why[0] != 0 : strstr(why, text) == NULL) {
        harness_fail(__FILE__, __LINE__, why);
    }
}
#define expect_why(...) CALL(expect_why(__VA_ARGS__))

static void test_create_refused(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    const unsigned fds = open_files();
    struct stat st;

    CHECK_EQ(plat_create(&f, in_dir("no/such/dir"), PAGE, true, NULL, NULL), CM_ENOENT);
    expect_why("no/such/dir", PAGE, true, CM_ENOENT, NULL);
    REQUIRE(symlink("circle", in_dir("circle")) == 0);
    CHECK_EQ(plat_create(&f, in_dir("circle/pool"), PAGE, true, NULL, NULL), CM_ENOENT);
    expect_why("circle/pool", PAGE, true, CM_ENOENT, "too many symbolic links");
    CHECK_EQ(unlink(in_dir("circle")), 0);
    expect_why("pool", PAGE, true, CM_EACCES, NULL);
    expect_why("pool", PAGE, true, CM_EIO, NULL);
    expect_why("no/such/dir", PAGE, true, CM_ENOSPC, NULL); /* it has gone */
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

static bool no_nameless;             /* like a file system without O_TMPFILE */
static unsigned steps, kill_at_step; /* number of system calls that make a pool; 0: no kill */

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
STEP(int, ftruncate, (int fd, off_t n), (fd, n))
STEP(int, ftruncate64, (int fd, off_t n), (fd, n))
STEP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))

/* Like file systems that lack a way to rename, or fail in the middle of one. */
static bool no_flags, no_links, fail_unlink; /* the last one: once */
static int fail_rename;                      /* an errno, or 0 */

#define MAY_FAIL(ret, name, params, args, fails, error)                                            \
    ret __real_##name params;                                                                      \
    ret __wrap_##name params;                                                                      \
    ret __wrap_##name params                                                                       \
    {                                                                                              \
        if (fails) {                                                                               \
            errno = (error);                                                                       \
            return -1;                                                                             \
        }                                                                                          \
        step();                                                                                    \
        ret r = __real_##name args;                                                                \
        step();                                                                                    \
        return r;                                                                                  \
    }
/* Like tmpfs beside a timer: an fallocate of more than `most` bytes meets a signal and takes back
 * what it did. It counts those calls. After many it fails, so that no caller goes on for ever. */
static struct {
    off_t most; /* 0: no signal */
    unsigned calls;
} signals;

/* Somebody cuts the file when the first signal comes, when zeros were written, while a call that
 * allocates nothing waits for the file. */
static const char *cut_meanwhile;
static bool cut_in_wait;
static bool no_allocation; /* like a file system that knows no fallocate */

static void cut_once(void)
{
    if (cut_meanwhile != NULL) {
        CHECK_EQ(truncate(cut_meanwhile, MIB), 0);
    }
    cut_meanwhile = NULL;
}

static bool meets_signal(off_t n)
{
    const bool now = signals.most > 0 && n > signals.most && ++signals.calls > 0;

    if (now || (cut_in_wait && n == 1)) {
        cut_once();
    }
    return now || no_allocation;
}
#define ALLOCATION_ERROR (no_allocation ? EOPNOTSUPP : signals.calls > 5000 ? ENOSPC : EINTR)

MAY_FAIL(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), meets_signal(n),
         ALLOCATION_ERROR)
MAY_FAIL(int, fallocate64, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n),
         meets_signal(n), ALLOCATION_ERROR)

#define WRITES(name)                                                                               \
    ssize_t __real_##name(int fd, const void *buf, size_t n, off_t at);                            \
    ssize_t __wrap_##name(int fd, const void *buf, size_t n, off_t at);                            \
    ssize_t __wrap_##name(int fd, const void *buf, size_t n, off_t at)                             \
    {                                                                                              \
        const ssize_t done = __real_##name(fd, buf, n, at);                                        \
        cut_once();                                                                                \
        return done;                                                                               \
    }
WRITES(pwrite)
WRITES(pwrite64)

/* Like a file on FUSE whose server ends a sync when a signal comes: as long as signals are not
 * blocked there is always one. Or a page was lost when it was written, with this error: that is
 * told once, and the next sync succeeds. */
static bool sync_meets_signals, sync_loses;

static bool sync_is_interrupted(void)
{
    const bool lost = sync_loses;
    sigset_t blocked;

    sync_loses = false;
    return lost || (sync_meets_signals && pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 &&
                    (!sigismember(&blocked, SIGALRM) || !sigismember(&blocked, SIGTERM)));
}
MAY_FAIL(int, fsync, (int fd), (fd), sync_is_interrupted(), EINTR)
MAY_FAIL(int, msync, (void *p, size_t n, int flags), (p, n, flags), sync_is_interrupted(), EINTR)

/* Several threads may call it. */
static bool once(bool *what)
{
    return __atomic_exchange_n(what, false, __ATOMIC_ACQ_REL);
}
#ifdef __GLIBC__ /* others may have no such function (platform/posix_calls.h) */
MAY_FAIL(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
         (a, from, b, to, flags), no_flags, EINVAL)
#endif
MAY_FAIL(int, link, (const char *from, const char *to), (from, to), no_links, EPERM)
MAY_FAIL(int, rename, (const char *from, const char *to), (from, to), fail_rename != 0, fail_rename)
MAY_FAIL(int, unlink, (const char *path), (path), once(&fail_unlink), EIO)

const char *mountinfo_is, *timens_is;
unsigned timens_opened;
int sysfs_refuses;

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
        if (mountinfo_is && strcmp(path, "/proc/self/mountinfo") == 0)                             \
            path = mountinfo_is;                                                                   \
        if (strcmp(path, "/proc/self/timens_offsets") == 0) {                                      \
            timens_opened++;                                                                       \
            path = timens_is ? timens_is : path;                                                   \
        }                                                                                          \
        if (sysfs_refuses && strncmp(path, "/sys/", 5) == 0) {                                     \
            errno = sysfs_refuses;                                                                 \
            return -1;                                                                             \
        }                                                                                          \
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
    kill_at_step = 0; /* what the process does at its end is none of them */
}

/* The number of names in the directory of the test. */
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

/* The process dies at every step. The next one makes its pool as usual, except if the first one was
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
    CALL(check_killed());
    no_nameless = true;
    CALL(check_killed());
    no_nameless = false;
}

/* Two creations at once, both with the name beside: the second one fails, and does no harm. */
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

/* Nothing is left that blocks the next one, whatever way to rename there is, and where it fails. */
static void test_create_rename_fails(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

#ifndef __GLIBC__
    SKIP("renameat2() may be no function here, and then it cannot be made to fail");
#endif
    no_nameless = no_flags = true;
    for (unsigned links = 0; links < 2; links++) {
        CASE("links %u", links);
        no_links = links == 0;
        REQUIRE(cm_plat_file_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
        fail_rename = no_links ? EIO : 0;
        fail_unlink = !no_links;
        CHECK_EQ(cm_plat_file_link(&f, in_dir("pool")), CM_EIO);
        CHECK(!fail_unlink);
        fail_rename = 0;
        cm_plat_file_abandon(&f, in_dir("pool"));
        CHECK_EQ(names_there(), 0);
        REQUIRE(cm_plat_file_create(&f, in_dir("pool"), MIB, true, NULL, NULL) == 0);
        CHECK_EQ(cm_plat_file_link(&f, in_dir("pool")), 0);
        CHECK_EQ(names_there(), 1);
        cm_plat_file_close(&f);
        CHECK_EQ(__real_unlink(in_dir("pool")), 0);
    }
    no_nameless = no_flags = no_links = false;
}

/* Signals come so often that no long allocation ends: the space is taken in short ones. Their
 * length is a power of two, and so the calls are few. A file that grows takes its space in the same
 * way. */
static void test_create_beside_timer(void)
{
    const char *path = in_dir("pool");
    const uint64_t sizes[2] = { 3 * MIB + PAGE, 5 * MIB };
    struct cm_plat_file f = PLAT_FILE_INIT;
    enum cm_durability durability;
    struct stat st;

    signals.most = MIB / 16;
    signals.calls = 0;
    REQUIRE(plat_create(&f, path, sizes[0], true, NULL, NULL) == 0);
    f.room = sizes[1];
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("size %u", i);
        CHECK(i == 0 || cm_plat_file_grow(&f, sizes[i]) == 0);
        REQUIRE(stat(path, &st) == 0);
        CHECK_EQ(st.st_size, (int64_t)sizes[i]);
        CHECK((uint64_t)st.st_blocks * 512 >= sizes[i]);
        CHECK(signals.calls > 0 && signals.calls < 50);
    }
    signals.most = 0;
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
}

/* Somebody cuts the file before it grows, while it does, or before it is cut itself. It stays as
 * short as he made it. */
static void test_grow_of_cut(void)
{
    const char *path = in_dir("pool");
    enum { ALLOCATED, SPARSE, BESIDE_SIGNALS, WITH_ZEROS, IN_WAIT, CUT, CASES };

    for (unsigned i = 0; i < CASES; i++) {
        struct cm_plat_file f = PLAT_FILE_INIT;
        enum cm_durability durability;
        struct stat st;

        CASE("case %u", i);
        REQUIRE(plat_create(&f, path, 2 * MIB, i != SPARSE, NULL, NULL) == 0);
        f.room = 8 * MIB;
        CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), 0);
        signals.most = i == BESIDE_SIGNALS ? MIB / 2 : 0;
        no_allocation = i == WITH_ZEROS;
        cut_in_wait = i == IN_WAIT;
        cut_meanwhile = path;
        if (i == CUT) {
            CHECK_EQ(cm_plat_file_grow(&f, 8 * MIB), 0);
        }
        if (i == ALLOCATED || i == SPARSE || i == CUT) {
            cut_once();
        }
        if (i == CUT) {
            CHECK_EQ(cm_plat_file_cut(&f, 2 * MIB), CM_EIO);
        } else {
            CHECK_EQ(cm_plat_file_grow(&f, 8 * MIB), CM_EIO);
        }
        REQUIRE(stat(path, &st) == 0);
        CHECK_EQ(st.st_size, MIB);
        CHECK(f.size > MIB); /* so it is known to be too short */
        signals.most = 0;
        no_allocation = cut_in_wait = false;
        cut_meanwhile = NULL;
        cm_plat_file_close(&f);
        cm_plat_file_remove(path);
    }
}

/* A file system that says so every time, whatever is asked for: that ends. */
static void test_create_interrupted(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    signals.most = 1;
    signals.calls = 0;
    CHECK_EQ(plat_create(&f, in_dir("pool"), MIB, true, NULL, NULL), CM_EIO);
    CHECK(signals.calls > 100);
    signals.most = 0;
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* Signals are blocked during a sync, and not after it. If it is interrupted all the same, a page
 * may be lost: another sync would not tell. */
static void test_sync_interrupted(void)
{
    const char *path = in_dir("pool");
    struct cm_plat_file f = PLAT_FILE_INIT;
    enum cm_durability durability;
    sigset_t before, after;

    (void)pthread_sigmask(SIG_BLOCK, NULL, &before);
    CHECK(!sigismember(&before, SIGALRM));
    sync_meets_signals = true;
    REQUIRE(plat_create(&f, path, 2 * MIB, true, NULL, NULL) == 0);
    CHECK_EQ(cm_plat_file_sync(&f, 0, 0), 0);
    CHECK_EQ(cm_plat_file_sync_dir(path), 0);
    CHECK_EQ(cm_plat_file_map(&f, PAGE, &durability), 0);
    CHECK_EQ(cm_plat_file_sync(&f, MIB, PAGE), 0);
    CHECK_EQ(cm_plat_file_sync(&f, 0, 0), 0);
    sync_meets_signals = false;
    for (unsigned i = 0; i < 2; i++) {
        CASE("whole file %u", i);
        sync_loses = true;
        CHECK_EQ(cm_plat_file_sync(&f, 0, i == 0 ? PAGE : 0), CM_EIO);
        CHECK(!sync_loses);
        CHECK_EQ(cm_plat_file_sync(&f, 0, i == 0 ? PAGE : 0), 0);
    }
    (void)pthread_sigmask(SIG_BLOCK, NULL, &after);
    CHECK_EQ(sigismember(&after, SIGALRM), sigismember(&before, SIGALRM));
    CHECK_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
    cm_plat_file_close(&f);
    cm_plat_file_remove(path);
}

/* The name is taken while the file is made. */
static void test_create_taken(void)
{
    for (unsigned beside = 0; beside < 2; beside++) {
        CASE("beside %u", beside);
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

/* The child gives up, and is gone when its parent goes on. */
static int fork_in_progress(void *ctx, uint64_t done, uint64_t total)
{
    pid_t *const child = ctx;
    int status = -1;

    (void)done, (void)total;
    *child = fork();
    if (*child > 0) {
        CHECK_EQ(waitpid(*child, &status, 0), *child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return *child == 0;
}

/* A file that has a name beside the pool's while it is made keeps it in a fork: it is the parent's.
 */
static void test_create_beside_fork(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    pid_t child = -1;

    no_nameless = true;
    fflush(stdout);
    const int rc = plat_create(&f, in_dir("pool"), MIB, true, fork_in_progress, &child);
    if (child == 0) {
        _exit(rc == CM_ECANCELED ? 0 : 1);
    }
    no_nameless = false;
    CHECK_EQ(rc, 0);
    CHECK_EQ(access(in_dir("pool"), F_OK), 0);
    CHECK_EQ(names_there(), 1);
    cm_plat_file_close(&f);
    cm_plat_file_remove(in_dir("pool"));
}

/* Another program takes the rest of the volume. */
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
    /* Impossible from the start: no space is taken, not even for a while. */
    CHECK_EQ(plat_create(&f, in_dir("pool"), UINT64_C(1) << 62, true, on_progress, &p), CM_ENOSPC);
    CHECK_EQ(p.calls, 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), 2 * MIB, true, NULL, NULL), CM_ENOSPC);
    expect_why("pool", 2 * MIB, true, CM_ENOSPC, "its volume lacks 1048576 bytes");
    expect_why("pool", MIB / 2, true, CM_ENOSPC, NULL); /* a quota, or there is room by now */
    expect_why("pool", 2 * MIB, false, CM_ENOSPC, NULL);
    CHECK(stat(in_dir("pool"), &st) != 0 && errno == ENOENT);
    CHECK_EQ(f.handle, -1);
    CHECK_EQ(plat_create(&f, in_dir("pool"), MIB / 2, true, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(plat_create(&f, in_dir("sparse"), 2 * MIB, false, NULL, NULL), 0);
    cm_plat_file_close(&f);
    CHECK_EQ(plat_create(&g, in_dir("rest"), 3 * MIB / 4, true, NULL, NULL), CM_ENOSPC);
    CHECK(stat(in_dir("rest"), &st) != 0 && errno == ENOENT);
}

static void read_only_body(void *arg)
{
    struct cm_plat_file f = PLAT_FILE_INIT;

    (void)arg;
    mount_here("tmpfs", dir, "size=1m");
    REQUIRE(mount("tmpfs", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK_EQ(plat_create(&f, in_dir("pool"), PAGE, true, NULL, NULL), CM_EACCES);
    expect_why("pool", PAGE, true, CM_EACCES, "its volume is mounted read-only");
}

static void test_create_on_read_only_volume(void)
{
    CHECK_CHILD_OR_SKIP(read_only_body, NULL, "may not mount a tmpfs");
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
    expect_why("pool", 2 * MIB, false, CM_ENOSPC, "ulimit -f");
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

/* ---- A file that takes the place of another one ---------------------------------------------- */

/* The library's fsync() comes here: somebody else may be faster than a slow volume. */
static void (*meanwhile)(void);

int fsync(int fd)
{
    void (*const now)(void) = meanwhile;

    meanwhile = NULL;
    if (now != NULL) {
        now();
    }
    return (int)syscall(SYS_fsync, fd);
}

/* Somebody puts a file of his own in the place of the pool, or of the new one. */
static void take_name(const char *name)
{
    char mine[512];

    (void)snprintf(mine, sizeof mine, "%s", in_dir("mine"));
    make_file(mine, "mine");
    CHECK_EQ(rename(mine, in_dir(name)), 0);
}

static void take_pool(void)
{
    take_name("pool");
}

static void take_made(void)
{
    take_name("made");
}

static void check_replace_late(void (*take)(void), const char *taken, const char *other)
{
    char path[512], made[512], text[8] = "";
    struct cm_plat_file old = PLAT_FILE_INIT, new = PLAT_FILE_INIT;
    bool replaced = true;
    int fd;

    (void)snprintf(path, sizeof path, "%s", in_dir("pool"));
    (void)snprintf(made, sizeof made, "%s", in_dir("made"));
    CHECK_EQ(plat_create(&old, path, MIB, true, NULL, NULL), 0);
    CHECK_EQ(plat_create(&new, made, 2 * MIB, true, NULL, NULL), 0);
    meanwhile = take;
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, path, &replaced), CM_EMOVED);
    CHECK(!replaced);
    CHECK(meanwhile == NULL); /* it came */
    fd = open(in_dir(taken), O_RDONLY);
    REQUIRE(fd >= 0);
    CHECK_EQ(read(fd, text, sizeof text), 4);
    CHECK(memcmp(text, "mine", 4) == 0);
    (void)close(fd);
    CHECK_EQ(access(in_dir(other), F_OK), 0); /* the caller removes the new one */
    cm_plat_file_close(&old);
    cm_plat_file_close(&new);
    cm_plat_file_remove(path);
    cm_plat_file_remove(made);
}

/* A new pool never replaces a file that is not the old pool, and nothing but the new pool takes its
 * name, also if another file came in the last moment. */
static void test_replace_late(void)
{
    CALL(check_replace_late(take_pool, "pool", "made"));
    CALL(check_replace_late(take_made, "made", "pool"));
}

/* Servers of files say EBUSY of a file that is in use. That makes no mount point of it. */
static void test_replace_busy(void)
{
    char path[512], made[512];
    struct cm_plat_file old = PLAT_FILE_INIT, new = PLAT_FILE_INIT;
    bool replaced = true;

    (void)snprintf(path, sizeof path, "%s", in_dir("pool"));
    (void)snprintf(made, sizeof made, "%s", in_dir("made"));
    CHECK_EQ(plat_create(&old, path, MIB, true, NULL, NULL), 0);
    CHECK_EQ(plat_create(&new, made, 2 * MIB, true, NULL, NULL), 0);
    fail_rename = EBUSY;
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, path, &replaced), CM_EIO);
    fail_rename = 0;
    CHECK(!replaced);
    CHECK(cm_plat_file_is_at(&old, path));
    cm_plat_file_close(&old);
    cm_plat_file_close(&new);
    cm_plat_file_remove(path);
    cm_plat_file_remove(made);
}

#define ACL "system.posix_acl_access"
#define NOBODY 65534u

/* An access list: the owner may write, a user may read, the group may nothing. Its mask looks as if
 * the group could read, in the mode. */
static const struct {
    uint32_t version;
    struct {
        uint16_t tag, rights;
        uint32_t id;
    } entry[5];
} acl = { 2,
          { { 1, 6, UINT32_MAX },
            { 2, 4, NOBODY },
            { 4, 0, UINT32_MAX },
            { 0x10, 4, UINT32_MAX },
            { 0x20, 0, UINT32_MAX } } };

/* Replaces a pool with a new file. The old one has the access list, or the new one, as if it had
 * got it from its directory. true: the file that has the name then has it. */
static bool has_list_after(bool old_has, bool new_has)
{
    char path[512], made[512], list[256];
    struct cm_plat_file old = PLAT_FILE_INIT, new = PLAT_FILE_INIT;
    bool replaced = false;
    struct stat st;
    ssize_t n;

    (void)snprintf(path, sizeof path, "%s", in_dir("pool"));
    (void)snprintf(made, sizeof made, "%s", in_dir("made"));
    CHECK_EQ(plat_create(&old, path, MIB, true, NULL, NULL), 0);
    CHECK_EQ(plat_create(&new, made, MIB, true, NULL, NULL), 0);
    CHECK(!old_has || setxattr(path, ACL, &acl, sizeof acl, 0) == 0);
    CHECK(!new_has || setxattr(made, ACL, &acl, sizeof acl, 0) == 0);
    CHECK_EQ(chmod(path, 0640), 0);
    CHECK_EQ(chmod(made, 0600), 0);
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, path, &replaced), 0);
    CHECK(replaced);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0640);
    n = getxattr(path, ACL, list, sizeof list);
    CHECK(n == (ssize_t)sizeof acl || (n < 0 && errno == ENODATA));
    CHECK(n < 0 || memcmp(list, &acl, sizeof acl) == 0);
    cm_plat_file_close(&old);
    cm_plat_file_close(&new);
    cm_plat_file_remove(path);
    return n > 0;
}

/* Who may read the pool does not change when it gets another size. */
static void test_replace_access_list(void)
{
    const char *path = in_dir("asked");

    bool lists;

    make_file(path, "");
    lists = setxattr(path, ACL, &acl, sizeof acl, 0) == 0;
    cm_plat_file_remove(path);
    if (!lists) {
        SKIP("no access lists here");
    }
    CHECK(has_list_after(true, false));
    CHECK(!has_list_after(false, true));
    CHECK(!has_list_after(false, false));
    CHECK(has_list_after(true, true));
}

/* Whose it is does not change either, nor one bit of its mode. */
static void test_replace_owner(void)
{
    char path[512], made[512];
    struct cm_plat_file old = PLAT_FILE_INIT, new = PLAT_FILE_INIT;
    bool replaced = false;
    struct stat st;

    (void)snprintf(path, sizeof path, "%s", in_dir("pool"));
    (void)snprintf(made, sizeof made, "%s", in_dir("made"));
    CHECK_EQ(plat_create(&old, path, MIB, true, NULL, NULL), 0);
    if (chown(path, NOBODY, NOBODY - 1) != 0) {
        cm_plat_file_close(&old);
        cm_plat_file_remove(path);
        SKIP("only root may give files to others");
    }
    CHECK_EQ(chmod(path, 06640), 0);
    CHECK_EQ(plat_create(&new, made, MIB, true, NULL, NULL), 0);
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, path, &replaced), 0);
    CHECK(replaced);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_uid, NOBODY);
    CHECK_EQ(st.st_gid, NOBODY - 1);
    CHECK_EQ(st.st_mode & 07777, 06640);
    cm_plat_file_close(&old);
    cm_plat_file_close(&new);
    cm_plat_file_remove(path);
}

const struct harness_test platform_posix_create_tests[] = {
    TEST(create),
    TEST(create_beside_timer),
    TEST(grow_of_cut),
    TEST(create_interrupted),
    TEST(sync_interrupted),
    TEST(create_refused),
    TEST(create_killed),
    TEST(create_beside),
    TEST(create_taken),
    TEST(create_beside_fork),
    TEST(create_rename_fails),
    TEST(create_on_full_volume),
    TEST(create_on_read_only_volume),
    TEST(create_beyond_file_size_limit),
    TEST(create_without_fallocate),
    TEST(replace_late),
    TEST(replace_busy),
    TEST(replace_access_list),
    TEST(replace_owner),
    TEST_END,
};
