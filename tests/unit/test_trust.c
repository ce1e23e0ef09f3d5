/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_trust.c - a pool that others could have written is not used (Linux).
 *
 * Files are in a directory of their own below $TMPDIR or /tmp. Tests of another owner need root.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "child.h"
#include "fixture.h"

#include "platform/posix_calls.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static char dir[128];
static char said[600];

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % 4];
    (void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void listen_to(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level == CM_LOG_ERROR)
        (void)snprintf(said, sizeof(said), "%s", text);
}

static int open_as(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c;
    o.flags = flags;
    o.log = listen_to;
    said[0] = '\0';
    int e = cm_open(path, &o, &c);
    if (e == 0)
        CHECK_EQ(cm_close(c), 0);
    return e;
}

/* Refused with the reason, but not for a read-only open or a caller that insists. */
static void expect_refused(const char *path, const char *what, const char *why)
{
    CHECK_EQ(open_as(path, 0), CM_EUNTRUSTED);
    if (!strstr(said, what) || !strstr(said, why))
        printf("# said: %s\n", said);
    CHECK(strstr(said, what) && strstr(said, why));
    CHECK_EQ(open_as(path, CM_OPEN_READONLY), 0);
    CHECK_EQ(open_as(path, CM_OPEN_ANY_OWNER), 0);
    cm_info info = { .struct_size = sizeof(info) };
    CHECK_EQ(cm_pool_info(path, &info), 0);
}

static void create(const char *name, unsigned times)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.size = times * cm_pool_size_min();
    (void)unlink(at(name));
    CHECK_EQ(cm_create(at(name), &o), 0);
}

static void make_pool(const char *name)
{
    create(name, 1);
    CHECK_EQ(open_as(at(name), 0), 0);
}

#define NEED_ROOT                                                                                  \
    if (geteuid() != 0)                                                                            \
    SKIP("needs root to give files away")

static void test_writable_by_others(void)
{
    CALL(make_pool("p"));
    const mode_t bad[] = { 0666, 0620, 0602 };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        CHECK_EQ(chmod(at("p"), bad[i]), 0);
        CALL(expect_refused(at("p"), "the file", "may be written by others"));
    }
    CHECK_EQ(chmod(at("p"), 0644), 0);
    CHECK_EQ(open_as(at("p"), 0), 0);
}

static void test_of_another_owner(void)
{
    NEED_ROOT;
    CALL(make_pool("p"));
    CHECK_EQ(chown(at("p"), NOBODY, NOBODY), 0);
    CALL(expect_refused(at("p"), "the file", "belongs to user 65534"));
    CHECK_EQ(chmod(at("p"), 0666), 0);
    CALL(expect_refused(at("p"), "the file", "belongs to user 65534"));
}

/* A user who may not write root's pool may only read it. A pool that one user owns is not good for
 * another one. */
static void test_as_a_user(void)
{
    NEED_ROOT;
    CALL(make_pool("p"));
    CHECK_EQ(chown(dir, NOBODY, NOBODY), 0);
    CHECK_EQ(seteuid(NOBODY), 0);
    CHECK_EQ(open_as(at("p"), 0), CM_EACCES);
    CALL(make_pool("q"));
    CHECK_EQ(seteuid(0), 0);
    CHECK_EQ(open_as(at("q"), 0), CM_EUNTRUSTED);
    CHECK_EQ(unlink(at("q")), 0);
    CHECK_EQ(chown(dir, 0, 0), 0);
}

/* The line says what keeps out its own user: the mode. */
static void test_own_mode(void)
{
    CALL(make_pool("p"));
    CHECK_EQ(chmod(at("p"), 0400), 0);
    if (geteuid() == 0) {
        CHECK_EQ(chown(at("p"), NOBODY, NOBODY), 0);
        CHECK_EQ(chown(dir, NOBODY, NOBODY), 0);
        CHECK_EQ(seteuid(NOBODY), 0);
    }
    CHECK_EQ(open_as(at("p"), 0), CM_EACCES);
    CHECK(strstr(said, "permission denied by its mode, 0400: ") && strstr(said, "(chmod u+rw)"));
    CHECK_EQ(open_as(at("p"), CM_OPEN_READONLY), 0);
    CHECK_EQ(chmod(at("p"), 0600), 0);
    CHECK_EQ(open_as(at("p"), 0), 0);
    if (geteuid() == NOBODY) {
        CHECK_EQ(seteuid(0), 0);
        CHECK_EQ(chown(dir, 0, 0), 0);
    }
    CHECK_EQ(unlink(at("p")), 0);
}

static void test_directories(void)
{
    CHECK_EQ(mkdir(at("d"), 0755), 0);
    CHECK_EQ(mkdir(at("d/e"), 0755), 0);
    CALL(make_pool("d/e/p"));
    CHECK_EQ(chmod(at("d"), 0777), 0);
    CALL(expect_refused(at("d/e/p"), "/d may", "may be written by others (mode 0777)"));
    CHECK_EQ(chmod(at("d"), 01777), 0); /* sticky: others cannot touch what is not theirs */
    CHECK_EQ(open_as(at("d/e/p"), 0), 0);
    CHECK_EQ(chmod(at("d"), 0755), 0);
    CHECK_EQ(chmod(at("d/e"), 0775), 0);
    CALL(expect_refused(at("d/e/p"), "/d/e may", "may be written by others"));
    CHECK_EQ(chmod(at("d/e"), 0755), 0);
    /* By any path: relative, with "..", with slashes. */
    CHECK_EQ(chdir(at("d/e")), 0);
    CHECK_EQ(open_as("p", 0), 0);
    CHECK_EQ(open_as("./p", 0), 0);
    CHECK_EQ(open_as("../e//p", 0), 0);
    CHECK_EQ(open_as("p/", 0), CM_ENOENT);
    CHECK_EQ(open_as("..", 0), CM_ENOTFILE);
    CHECK_EQ(open_as("../../../../../../../../../../..", 0), CM_ENOTFILE);
    CHECK_EQ(open_as("no", 0), CM_ENOENT);
    CHECK_EQ(open_as("", 0), CM_ENOENT);
    CHECK_EQ(chmod(at("d"), 0777), 0);
    CHECK_EQ(open_as("p", 0), CM_EUNTRUSTED);
    CHECK_EQ(open_as("../e/p", 0), CM_EUNTRUSTED);
    CHECK_EQ(chmod(at("d"), 0755), 0);
    CHECK_EQ(chdir("/"), 0);
    if (geteuid() == 0) {
        CHECK_EQ(chown(at("d"), NOBODY, NOBODY), 0);
        CALL(expect_refused(at("d/e/p"), "the directory", "belongs to user 65534"));
    }
    CHECK_EQ(unlink(at("d/e/p")), 0);
    CHECK_EQ(rmdir(at("d/e")), 0);
    CHECK_EQ(rmdir(at("d")), 0);
}

static void test_links(void)
{
    char target[300];
    CHECK_EQ(mkdir(at("d"), 0755), 0);
    CALL(make_pool("p"));
    CHECK_EQ(symlink("../p", at("d/l")), 0);
    CHECK_EQ(symlink(dir, at("d/m")), 0);
    CHECK_EQ(symlink("d/m/d/l", at("n")), 0);
    CHECK_EQ(open_as(at("d/l"), 0), 0);
    CHECK_EQ(open_as(at("d/m/p"), 0), 0);
    CHECK_EQ(open_as(at("n"), 0), 0);
    CHECK_EQ(symlink("loop", at("loop")), 0);
    CHECK_EQ(open_as(at("loop"), 0), CM_ENOENT);
    (void)snprintf(target, sizeof(target), "%s/nowhere", dir);
    CHECK_EQ(symlink(target, at("dead")), 0);
    CHECK_EQ(open_as(at("dead"), 0), CM_ENOENT);
    if (geteuid() == 0) {
        CHECK_EQ(lchown(at("d/l"), NOBODY, NOBODY), 0);
        CALL(expect_refused(at("d/l"), "the symbolic link", "belongs to user 65534"));
        CALL(expect_refused(at("n"), "the symbolic link", "belongs to user 65534"));
    }
    /* The link is good, but a directory behind it is not. */
    CHECK_EQ(mkdir(at("open"), 0755), 0);
    CALL(make_pool("open/p"));
    CHECK_EQ(chmod(at("open"), 0777), 0);
    CHECK_EQ(symlink("../open/p", at("d/o")), 0);
    CALL(expect_refused(at("d/o"), "/open may", "may be written by others"));
    const char *const names[] = { "d/l", "d/m", "d/o", "n", "loop", "dead", "open/p", "p" };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CASE("i %u", i);
        CHECK_EQ(unlink(at(names[i])), 0);
    }
    CHECK_EQ(rmdir(at("open")), 0);
    CHECK_EQ(rmdir(at("d")), 0);
}

static void test_not_files(void)
{
    CHECK_EQ(mkfifo(at("fifo"), 0600), 0);
    CHECK_EQ(open_as(at("fifo"), 0), CM_ENOTFILE);
    CHECK_EQ(open_as("/dev/null", 0), CM_ENOTFILE);
    CHECK_EQ(unlink(at("fifo")), 0);
}

/* Called between the look at a file and the opening of it, `changes` times. */
static void (*meanwhile)(void);
static unsigned changes, openings;

#define OPENAT(name)                                                                               \
    int __real_##name(int in, const char *path, int flags, ...);                                   \
    int __wrap_##name(int in, const char *path, int flags, ...);                                   \
    int __wrap_##name(int in, const char *path, int flags, ...)                                    \
    {                                                                                              \
        if (!(flags & O_PATH)) {                                                                   \
            openings++;                                                                            \
            if (changes > 0) {                                                                     \
                changes--;                                                                         \
                meanwhile();                                                                       \
            }                                                                                      \
        }                                                                                          \
        return __real_##name(in, path, flags, 0600);                                               \
    }
OPENAT(openat)
OPENAT(openat64)

/* In one step, as a resize. (A resize here would wait for the lock of posix_fork.c.) */
static void replace_it(void)
{
    CHECK_EQ(renameat2(AT_FDCWD, at("next"), AT_FDCWD, at("p"), RENAME_EXCHANGE), 0);
}

static void replace_by_writable(void)
{
    CHECK_EQ(rename(at("writable"), at("p")), 0);
}

static void replace_by_another_users(void)
{
    CHECK_EQ(rename(at("his"), at("p")), 0);
}

static void replace_by_link(void)
{
    CHECK_EQ(rename(at("link"), at("p")), 0);
}

/* To the file that was seen. */
static void replace_by_link_to_it(void)
{
    CHECK_EQ(rename(at("p"), at("q")), 0);
    CHECK_EQ(rename(at("link"), at("p")), 0);
}

static void replace_in_open_directory(void)
{
    replace_it();
    CHECK_EQ(chmod(dir, 0777), 0);
}

static void replace_by_fifo(void)
{
    CHECK_EQ(rename(at("fifo"), at("p")), 0);
}

static void remove_it(void)
{
    CHECK_EQ(unlink(at("p")), 0);
}

/* Makes a good pool `p`, opens it, and does something else meanwhile. */
static int open_while(void (*does)(void), unsigned times, uint32_t flags)
{
    char path[256]; /* of its own: `does` names files, too */
    create("p", 1);
    (void)snprintf(path, sizeof(path), "%s", at("p"));
    meanwhile = does;
    changes = times;
    openings = 0;
    const int e = open_as(path, flags);
    changes = 0;
    return e;
}

/* A pool that is replaced while it is opened, as a resize does it: the new one is opened, and the
 * log has no line. */
static void test_resized_meanwhile(void)
{
    cm_info info = { .struct_size = sizeof(info) };
    const uint32_t flags[] = { 0, CM_OPEN_SHARED };
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        create("next", 2);
        CHECK_EQ(open_while(replace_it, 3, flags[i]), 0);
        CHECK_EQ(openings, 4);
        CHECK(said[0] == '\0');
        CHECK_EQ(cm_pool_info(at("p"), &info), 0);
        CHECK_EQ(info.size, 2 * cm_pool_size_min());
    }
    /* But it does not go on for ever. */
    CHECK_EQ(open_while(replace_it, UINT32_MAX, 0), CM_EMOVED);
    CHECK_EQ(openings, 16);
    CHECK(strstr(said, "try again") && !strstr(said, "no such file"));
    CHECK_EQ(open_while(remove_it, 1, 0), CM_ENOENT);
    CHECK_EQ(unlink(at("next")), 0);
}

static void expect(int e, int code, const char *what, const char *why)
{
    CHECK_EQ(e, code);
    CHECK_EQ(openings, 1);
    if (!strstr(said, what) || !strstr(said, why))
        printf("# said: %s\n", said);
    CHECK(strstr(said, what) && strstr(said, why));
}

/* What takes the place of the file that was judged is judged, too, and so is the way to it. */
static void test_replaced_meanwhile(void)
{
    const char *const others = "may be written by others", *const nobody = "to user 65534";
    create("writable", 1);
    CHECK_EQ(chmod(at("writable"), 0666), 0);
    CALL(expect(open_while(replace_by_writable, 1, 0), CM_EUNTRUSTED, "the file", others));
    CHECK_EQ(unlink(at("p")), 0);
    create("next", 1);
    CALL(expect(open_while(replace_in_open_directory, 1, 0), CM_EUNTRUSTED, "the dir", others));
    CHECK_EQ(chmod(dir, 0755), 0);
    CHECK_EQ(unlink(at("next")), 0);
    CHECK_EQ(mkfifo(at("fifo"), 0600), 0);
    CALL(expect(open_while(replace_by_fifo, 1, 0), CM_ENOTFILE, "", ""));
    CHECK_EQ(unlink(at("p")), 0);
    /* A link to a good pool, and one to a bad pool. */
    create("q", 1);
    CHECK_EQ(symlink("q", at("link")), 0);
    CHECK_EQ(open_while(replace_by_link, 1, 0), 0);
    CHECK_EQ(unlink(at("p")), 0);
    CHECK_EQ(chmod(at("q"), 0666), 0);
    CHECK_EQ(symlink("q", at("link")), 0);
    CALL(expect(open_while(replace_by_link, 1, 0), CM_EUNTRUSTED, "/q may", others));
    CHECK_EQ(unlink(at("p")), 0);
    CHECK_EQ(unlink(at("q")), 0);
    if (geteuid() != 0)
        return;
    create("his", 1);
    CHECK_EQ(chown(at("his"), NOBODY, NOBODY), 0);
    CALL(expect(open_while(replace_by_another_users, 1, 0), CM_EUNTRUSTED, "the file", nobody));
    CHECK_EQ(unlink(at("p")), 0);
    CHECK_EQ(symlink("q", at("link")), 0);
    CHECK_EQ(lchown(at("link"), NOBODY, NOBODY), 0);
    CALL(expect(open_while(replace_by_link_to_it, 1, 0), CM_EUNTRUSTED, "symbolic link", nobody));
    CHECK_EQ(unlink(at("p")), 0);
    CHECK_EQ(unlink(at("q")), 0);
}

static int swaps_end;

/* Exchanges the good directory with a bad one that has another pool, and back, again and again. */
static void *swap(void *arg)
{
    (void)arg;
    while (!at_load_acquire(&swaps_end)) {
        (void)renameat2(AT_FDCWD, at("good"), AT_FDCWD, at("bad"), RENAME_EXCHANGE);
    }
    return NULL;
}

/* Whatever is exchanged meanwhile, the pool that is opened was judged. */
static void test_exchanged_meanwhile(void)
{
    pthread_t t;
    cm_info good = { .struct_size = sizeof(good) };
    unsigned refused = 0, opened = 0;
    CHECK_EQ(mkdir(at("good"), 0755), 0);
    CHECK_EQ(mkdir(at("bad"), 0755), 0);
    CALL(make_pool("good/p"));
    CALL(make_pool("bad/p"));
    CHECK_EQ(cm_pool_info(at("good/p"), &good), 0);
    CHECK_EQ(chmod(at("bad"), 0777), 0);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s", at("good/p"));
    swaps_end = 0;
    REQUIRE(pthread_create(&t, NULL, swap, NULL) == 0);
    for (int i = 0; i < 2000; i++) {
        CASE("i %d", i);
        cm_cache *c;
        int e = cm_open(path, NULL, &c);
        if (e == CM_EUNTRUSTED)
            refused++;
        if (e != 0)
            continue;
        opened++;
        cm_info info = { .struct_size = sizeof(info) };
        CHECK_EQ(cm_get_info(c, &info), 0);
        CHECK(memcmp(info.uuid, good.uuid, 16) == 0);
        CHECK_EQ(cm_close(c), 0);
    }
    at_store_release(&swaps_end, 1);
    (void)pthread_join(t, NULL);
    printf("# %u times opened, %u times refused\n", opened, refused);
    (void)chmod(at("bad"), 0755);
    (void)chmod(at("good"), 0755);
    CHECK_EQ(unlink(at("good/p")), 0);
    CHECK_EQ(unlink(at("bad/p")), 0);
    CHECK_EQ(rmdir(at("good")), 0);
    CHECK_EQ(rmdir(at("bad")), 0);
}

/* Another user's FUSE server reports that root owns all files. The test has its own mount
 * namespace, so that its mounts end with it. */
static int sh(const char *text)
{
    char line[1200];
    (void)snprintf(line, sizeof(line), "cd %s && { %s; } >out 2>&1", dir, text);
    return system(line);
}
static void test_fuse(void)
{
    NEED_ROOT;
    CALL(make_pool("p"));
    CHECK_EQ(chmod(at("p"), 0644), 0);
    CHECK_EQ(sh("mkdir src mine his && mv p src/p && chown 65534 src/p src his"), 0);
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            sh("(cat /etc/fuse.conf; echo; echo user_allow_other) >conf && "
               "mount --bind conf /etc/fuse.conf && mknod fuse c 10 229 && chmod 666 fuse && "
               "mount --bind fuse /dev/fuse && bindfs -o allow_other -u root src mine && "
               "setpriv --reuid=65534 --regid=65534 --clear-groups "
               "bindfs -o allow_other -u root src his") != 0)
            _exit(77);
        CHECK_EQ(open_as(at("mine/p"), 0), 0);
        CALL(expect_refused(at("his/p"), "FUSE", "user 65534"));
        CHECK_EQ(sh("umount his mine"), 0);
        child_exit(harness_failures != 0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(sh("rm -rf src mine his conf fuse; rm out"), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("cannot mount FUSE as another user here (bindfs, fusermount3, a mount namespace)");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const struct harness_test tests[] = {
    TEST(writable_by_others),
    TEST(of_another_owner),
    TEST(as_a_user),
    TEST(own_mode),
    TEST(directories),
    TEST(links),
    TEST(not_files),
    TEST(resized_meanwhile),
    TEST(replaced_meanwhile),
    TEST(exchanged_meanwhile),
    TEST(fuse),
};

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    (void)umask(022);
    (void)snprintf(dir, sizeof(dir), "%s/cm-trust-XXXXXX", tmp && strlen(tmp) < 64 ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    (void)chmod(dir, 0755);
    struct stat root;
    int status = 77;
    if (stat("/", &root) == 0 && (root.st_uid == 0 || root.st_uid == geteuid()))
        status = HARNESS_MAIN(tests, argc, argv);
    else
        printf("# / belongs to nobody that is known here\n0 passed, 0 failed, 1 skipped\n");
    (void)unlink(at("p"));
    return rmdir(dir) == 0 ? status : 1;
}
