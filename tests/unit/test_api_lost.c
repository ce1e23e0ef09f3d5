/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_api_lost.c - pools whose file is not reached any more as it was opened: the program has
 * closed the descriptor, or the system has copied the file to another layer.
 */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "api_common.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "child.h"

/* ---- A descriptor that is somebody else's ---------------------------------------------------- */

static struct {
    unsigned lines;
    char text[512];
} lost;

static void keep_lost(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (!strstr(text, "descriptor"))
        return;
    CHECK_EQ(level, CM_LOG_ERROR);
    lost.lines++;
    (void)snprintf(lost.text, sizeof(lost.text), "%s", text);
}

static cm_cache *open_to_grow(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *c = NULL;
    memset(&lost, 0, sizeof(lost));
    o.probation_bytes = CM_PROBATION_NONE;
    o.flags = flags;
    o.log = keep_lost;
    if (flags == 0)
        o.grow_max = 8 * MIB;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    return c;
}

/* On a volume without syncs nothing fails at a close. */
static int end_of(const cm_cache *c)
{
    return c->super.sync ? CM_EIO : 0;
}

/* What the program does: it closes all, and opens a file of its own, which gets the number. */
static int take_number_for(intptr_t number, const char *path, uint64_t size)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t block[CM_BLOCK_SIZE];
    memset(block, 'D', sizeof(block));
    for (uint64_t at = 0; at < size; at += sizeof(block))
        CHECK_EQ(pwrite(fd, block, sizeof(block), (off_t)at), sizeof(block));
    CHECK_EQ(dup2(fd, (int)number), number);
    (void)close(fd);
    return (int)number;
}

static void is_untouched(int fd, uint64_t size)
{
    uint8_t block[CM_BLOCK_SIZE];
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0); /* nobody has closed it */
    CHECK_EQ(st.st_size, size);
    CHECK(fcntl(fd, F_GETFL) >= 0);
    for (uint64_t at = 0; at < size; at += sizeof(block)) {
        unsigned other = 0;
        CHECK_EQ(pread(fd, block, sizeof(block), (off_t)at), sizeof(block));
        for (unsigned i = 0; i < sizeof(block); i++)
            other += block[i] != 'D';
        CHECK_EQ(other, 0);
    }
}
#define is_untouched(...) CALL(is_untouched(__VA_ARGS__)) /* its checks say who called */

/* The file that has the number now is left alone by a growth, a sync and a close. */
static void test_lost_number(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    struct pool p = { .c = open_to_grow(path, 0) };
    REQUIRE(p.c != NULL);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, 0);
    CHECK_EQ(put(f, 0, 5), 0);
    const int e = end_of(p.c);
    const int fd = take_number_for(p.c->file.handle, path_of("theirs"), 16 * MIB);
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    CHECK_EQ(fcntl(fd, F_OFD_SETLK, &range), 0);
    CHECK_EQ(cm_grow(p.c, 8 * MIB, NULL), CM_EIO);
    is_untouched(fd, 16 * MIB);
    CHECK_EQ(lost.lines, 1);
    CHECK(strstr(lost.text, path) != NULL);
    CHECK_EQ(look(f, 0, 5), RIGHT); /* the mapping is still that of the pool */
    CHECK_EQ(put(f, 1, 5), 0);
    CHECK_EQ(look(f, 1, 5), RIGHT);
    CHECK_EQ(cm_plat_file_sync(&p.c->file, 0, 0), CM_EIO);
    CHECK_EQ(try_open(path, 0), CM_EOWNED); /* the mapping keeps the lock */
    detach(f);
    CHECK_EQ(cm_close(p.c), e);
    CHECK_EQ(lost.lines, 1); /* it was said */
    is_untouched(fd, 16 * MIB);
    const int other = open(path_of("theirs"), O_RDWR | O_CLOEXEC); /* and it has its lock */
    CHECK_EQ(fcntl(other, F_OFD_SETLK, &range), -1);
    (void)close(other);
    (void)close(fd);
    CHECK_EQ(try_open(path, 0), 0); /* a pool as before, but for what could not be synced */
    (void)unlink(path_of("theirs"));
    (void)unlink(path);
}

/* The number is free. */
static void test_lost_closed(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    cm_cache *c = open_to_grow(path, 0);
    REQUIRE(c != NULL);
    const int e = end_of(c);
    CHECK_EQ(close((int)c->file.handle), 0);
    CHECK_EQ(cm_grow(c, 8 * MIB, NULL), CM_EIO);
    CHECK_EQ(cm_close(c), e);
    CHECK_EQ(lost.lines, 1);
    CHECK_EQ(try_open(path, 0), 0);
    (void)unlink(path);
}

/* A reader does not sync; it only must not close what is not its own. */
static void test_lost_reader(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    for (unsigned i = 0; i < 2; i++) {
        cm_cache *c = open_to_grow(path, i ? CM_OPEN_SHARED : CM_OPEN_READONLY);
        REQUIRE(c != NULL);
        const int fd = take_number_for(c->file.handle, path_of("theirs"), MIB);
        CHECK_EQ(cm_close(c), 0);
        is_untouched(fd, MIB);
        (void)close(fd);
        CHECK_EQ(try_open(path, 0), 0);
    }
    (void)unlink(path_of("theirs"));
    (void)unlink(path);
}

static void keeps_body(void *arg)
{
    CHECK(fcntl(*(int *)arg, F_GETFD) >= 0);
}

/* Two pools in turn have the same number. Each is closed once, and a child of fork() closes what is
 * a pool's. */
static void test_lost_twice(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    const char *second = make_pool("lost-2", 4 * MIB, 0);
    const char *third = make_pool("lost-3", 4 * MIB, 0);
    cm_cache *before = open_to_grow(third, 0);
    cm_cache *a = open_to_grow(path, 0), *b;
    REQUIRE(before != NULL && a != NULL);
    const int e = end_of(a);
    const intptr_t number = a->file.handle;
    CHECK_EQ(close((int)number), 0);
    b = open_to_grow(second, 0);
    REQUIRE(b != NULL);
    CHECK_EQ(b->file.handle, number);
    CHECK_EQ(cm_close(before), 0); /* the last one takes its place in the list */
    const int in_its_place = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(cm_close(a), e);
    CHECK(fcntl((int)number, F_GETFD) >= 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(fcntl((int)number, F_GETFD) >= 0);
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_EQ(cm_close(b), 0);
    CHECK(fcntl((int)number, F_GETFD) < 0);
    /* The other way round; and then the program looks at the second one itself. */
    a = open_to_grow(path, 0);
    REQUIRE(a != NULL && a->file.handle == number);
    CHECK_EQ(close((int)number), 0);
    b = open_to_grow(second, 0);
    REQUIRE(b != NULL && b->file.handle == number);
    CHECK_EQ(cm_close(b), 0);
    int own = open(second, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(dup2(own, (int)number), number);
    (void)close(own);
    own = (int)number;
    in_child(keeps_body, &own);
    CHECK_EQ(cm_close(a), e);
    CHECK_EQ(close(own), 0);
    CHECK_EQ(close(in_its_place), 0);
    (void)unlink(third);
    (void)unlink(second);
    (void)unlink(path);
}

/* The program looks at the pool file itself. */
static void test_lost_same_file(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    cm_cache *c = open_to_grow(path, 0);
    REQUIRE(c != NULL);
    const int e = end_of(c);
    const intptr_t number = c->file.handle;
    const int own = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(dup2(own, (int)number), number);
    CHECK_EQ(close(own), 0);
    CHECK_EQ(cm_grow(c, 8 * MIB, NULL), CM_EIO);
    CHECK_EQ(cm_close(c), e);
    CHECK_EQ(close((int)number), 0);
    (void)unlink(path);
}

/* A child of fork() keeps the file that has the number now. */
static void test_lost_fork(void)
{
    const char *path = make_pool("lost", 4 * MIB, 0);
    cm_cache *c = open_to_grow(path, 0);
    int status = -1;
    REQUIRE(c != NULL);
    const int e = end_of(c);
    const int fd = take_number_for(c->file.handle, path_of("theirs"), MIB);
    for (unsigned i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0)
            _exit(fcntl(fd, F_GETFD) < 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        if (i == 0)
            CHECK_EQ(cm_close(c), e);
    }
    is_untouched(fd, MIB);
    (void)close(fd);
    (void)unlink(path_of("theirs"));
    (void)unlink(path);
}

/* ---- A file that is copied to another layer -------------------------------------------------- */

#define CHILD_CANNOT 77
#define CHILD_HIDDEN 78

static void make_layers(void)
{
    static const char *const below[] = { "l", "l/low", "l/low2", "l/up", "l/work", "l/m" };
    char options[1600];
    CHECK_EQ(mkdir(path_of(below[0]), 0755), 0);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", path_of("l"), "tmpfs", 0, "mode=755,size=64m") != 0)
        child_exit(CHILD_CANNOT);
    for (unsigned i = 1; i < sizeof(below) / sizeof(below[0]); i++)
        CHECK_EQ(mkdir(path_of(below[i]), 0755), 0);
    (void)snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", path_of("l/low"),
                   path_of("l/up"), path_of("l/work"));
    struct pool p = { .c = open_pool(make_pool("l/low/pool", MIB, 0), 0) };
    cm_file *f = attach(&p, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(put(f, 0, 5), 0);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(chmod(path_of("l/low/pool"), 0644), 0);
    CHECK_EQ(link(path_of("l/low/pool"), path_of("l/low/pool-2")), 0);
    if (mount("overlay", path_of("l/m"), "overlay", 0, options) != 0)
        child_exit(CHILD_CANNOT);
}

static char refused[512];

static void keep_refused(void *ctx, int level, const char *text)
{
    (void)ctx;
    CHECK_EQ(level, CM_LOG_ERROR);
    (void)snprintf(refused, sizeof(refused), "%s", text);
}

static int open_shared(const char *path, cm_cache **c)
{
    cm_options o = CM_OPTIONS_INIT;
    refused[0] = 0;
    *c = NULL;
    o.flags = CM_OPEN_SHARED;
    o.log = keep_refused;
    return cm_open(path, &o, c);
}

/* The owner comes after the reader. */
static void layers_body(void *arg)
{
    struct pool p, r;
    cm_bracket w;
    (void)arg;
    make_layers();
    CHECK_EQ(open_shared(path_of("l/m/pool"), &r.c), 0);
    if (!r.c)
        return;
    cm_file *g = attach(&r, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(look(g, 0, 5), RIGHT);
    p.c = open_pool(path_of("l/m/pool"), 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(look(f, 0, 5), RIGHT);
    CHECK_EQ(cm_write_begin(f, 0, BLK, &w), 0);
    CHECK_EQ(look(g, 0, 5), MISS); /* the owner has forgotten it */
    CHECK_EQ(cm_write_end(f, &w, NULL), 0);
    CHECK_EQ(put(f, 0, 6), 0);
    CHECK_EQ(look(g, 0, 6), RIGHT);
    detach(f);
    detach(g);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(cm_close(r.c), 0);
}

/* The copy of a file with two names has another inode number, also for those that have it open. */
static void layers_number_body(void *arg)
{
    struct stat was, now;
    cm_cache *c;
    (void)arg;
    make_layers();
    c = open_to_grow(path_of("l/m/pool"), CM_OPEN_READONLY);
    REQUIRE(c != NULL);
    CHECK_EQ(fstat((int)c->file.handle, &was), 0);
    const int fd = open(path_of("l/m/pool"), O_RDWR | O_CLOEXEC);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(fstat((int)c->file.handle, &now), 0);
    if (was.st_ino == now.st_ino && was.st_dev == now.st_dev)
        child_exit(CHILD_CANNOT);
    CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(try_open(path_of("l/m/pool"), 0), 0); /* it has let the lock go */
}

/* Lets other users look for the pool, if they may look into the folders above. */
static void open_dir(void)
{
    CHECK_EQ(chmod(dir, 0755), 0);
    CHECK_EQ(seteuid(65534), 0);
    const int e = faccessat(AT_FDCWD, dir, X_OK, AT_EACCESS);
    CHECK_EQ(seteuid(0), 0);
    if (e)
        child_exit(CHILD_HIDDEN);
}

/* A reader that may not write needs an owner that has had the file copied. */
static void layers_rights_body(void *arg)
{
    cm_cache *c, *owner;
    (void)arg;
    make_layers();
    open_dir();
    CHECK_EQ(seteuid(65534), 0);
    CHECK_EQ(open_shared(path_of("l/m/pool"), &c), CM_ENOTSUP);
    CHECK(strstr(refused, "layer") != NULL);
    CHECK_EQ(seteuid(0), 0);
    owner = open_pool(path_of("l/m/pool"), 0);
    CHECK_EQ(seteuid(65534), 0);
    CHECK_EQ(open_shared(path_of("l/m/pool"), &c), 0);
    if (c)
        CHECK_EQ(cm_close(c), 0);
    CHECK_EQ(seteuid(0), 0);
    CHECK_EQ(cm_close(owner), 0);
    /* A mount that nobody may write. */
    CHECK_EQ(mount("none", path_of("l/m"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    CHECK_EQ(open_shared(path_of("l/m/pool"), &c), CM_ENOTSUP);
    CHECK(strstr(refused, "a mount for reading") != NULL);
    CHECK_EQ(try_open(path_of("l/m/pool"), CM_OPEN_READONLY), 0); /* it keeps an owner out */
}

/* As another user, who may not write the pool: the result of the open. */
static int open_as_other(const char *path, cm_cache **c)
{
    CHECK_EQ(seteuid(65534), 0);
    const int e = open_shared(path, c);
    CHECK_EQ(seteuid(0), 0);
    return e;
}

/* A pool that was made in the upper layer is never copied. The kernel may not say so. */
static void layers_upper_body(void *arg)
{
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } u = { .h.handle_bytes = MAX_HANDLE_SZ };
    struct pool p, r;
    cm_bracket w;
    int mount_no;
    (void)arg;
    make_layers();
    open_dir();
    p.c = open_pool(make_pool("l/m/made", MIB, 0), 0);
    cm_file *f = attach(&p, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(put(f, 0, 5), 0);
    detach(f);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(chmod(path_of("l/m/made"), 0644), 0);
    const bool told =
        name_to_handle_at(AT_FDCWD, path_of("l/m/made"), &u.h, &mount_no, 0x200) == 0; /* FID */
    CHECK_EQ(open_as_other(path_of("l/m/made"), &r.c), told ? 0 : CM_ENOTSUP);
    CHECK_EQ(open_as_other(path_of("l/m/pool"), &p.c), CM_ENOTSUP);
    if (!r.c)
        return;
    cm_file *g = attach(&r, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(look(g, 0, 5), RIGHT);
    p.c = open_pool(path_of("l/m/made"), 0);
    f = attach(&p, 1, 10 * BLK, 1, CM_EXCLUSIVE);
    CHECK_EQ(cm_write_begin(f, 0, BLK, &w), 0);
    CHECK_EQ(look(g, 0, 5), MISS); /* it is the file of the owner */
    CHECK_EQ(cm_write_end(f, &w, NULL), 0);
    detach(f);
    detach(g);
    CHECK_EQ(cm_close(p.c), 0);
    CHECK_EQ(cm_close(r.c), 0);
}

/* Without an upper layer there is never a copy. */
static void layers_frozen_body(void *arg)
{
    char options[1600];
    struct pool r;
    (void)arg;
    make_layers();
    open_dir();
    (void)snprintf(options, sizeof(options), "lowerdir=%s:%s", path_of("l/low"), path_of("l/low2"));
    CHECK_EQ(umount(path_of("l/m")), 0);
    CHECK_EQ(mount("overlay", path_of("l/m"), "overlay", 0, options), 0);
    for (unsigned other = 0; other < 2; other++) {
        CASE("other %u", other);
        CHECK_EQ(other ? open_as_other(path_of("l/m/pool"), &r.c)
                       : open_shared(path_of("l/m/pool"), &r.c),
                 0);
        if (!r.c)
            return;
        cm_file *g = attach(&r, 1, 10 * BLK, 1, CM_EXCLUSIVE);
        CHECK_EQ(look(g, 0, 5), RIGHT);
        detach(g);
        CHECK_EQ(cm_close(r.c), 0);
    }
}

static void in_layers(void (*body)(void *))
{
    const int status = child_run(NULL, body, NULL);
    (void)rmdir(path_of("l"));
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT)
        SKIP("cannot mount overlayfs here");
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_HIDDEN)
        SKIP("another user cannot look into the folder of temporary files");
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void test_layers(void)
{
    in_layers(layers_body);
}

static void test_layers_number(void)
{
    in_layers(layers_number_body);
}

static void test_layers_rights(void)
{
    in_layers(layers_rights_body);
    (void)chmod(dir, 0700);
}

static void test_layers_upper(void)
{
    in_layers(layers_upper_body);
    (void)chmod(dir, 0700);
}

static void test_layers_frozen(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    in_layers(layers_frozen_body);
    (void)chmod(dir, 0700);
}

const struct harness_test api_lost_tests[] = {
    TEST(lost_number),    TEST(lost_closed),  TEST(lost_reader),   TEST(lost_twice),
    TEST(lost_same_file), TEST(lost_fork),    TEST(layers),        TEST(layers_number),
    TEST(layers_rights),  TEST(layers_upper), TEST(layers_frozen), TEST_END,
};
#else
#include "api_common.h"

const struct harness_test api_lost_tests[] = { TEST_END };
#endif
