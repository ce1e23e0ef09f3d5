/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_mounts.c - what is taken from the list of mounts on Linux, and what counts if
 * it cannot be read. The list is made up (mountinfo_is).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform_posix.h"

#include "platform/posix.h"
#include "platform/posix_calls.h"

#include <inttypes.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

/* What is said of the open file if its mount has the type and what follows it. */
static void say_mount(int fd, const char *type_and_more)
{
    char line[256];

    (void)snprintf(line, sizeof line, "%" PRIu64 " 1 0:99 / / rw,relatime shared:7 master:1 - %s\n",
                   cm_posix_mount_number(fd, false), type_and_more);
    make_file(in_dir("mounts"), line);
}

/* A file system may be mounted with an empty source. The options are the options all the same. */
static void test_mount_without_source(void)
{
    static const char *const fuse[] = { "fuse.x src rw,user_id=1234,group_id=0",
                                        "fuse.x  rw,user_id=1234,group_id=0" };
    static const char *const ext4[] = { "ext4 /dev/x rw,nobarrier", "ext4  rw,nobarrier" };
    struct cm_plat_file f = PLAT_FILE_INIT;
    char mounts[512], what[PLAT_VOLUME];
    uint32_t user;

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    (void)snprintf(mounts, sizeof mounts, "%s", in_dir("mounts"));
    make_file(in_dir("a"), "one");
    REQUIRE(cm_plat_file_open(&f, in_dir("a"), true) == 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("%s, %s", fuse[i], ext4[i]);
        say_mount(file_fd(&f), fuse[i]);
        mountinfo_is = mounts;
        user = 0;
        CHECK(cm_posix_fuse_user(file_fd(&f), &user));
        CHECK_EQ(user, 1234);
        say_mount(file_fd(&f), ext4[i]);
        CHECK(!cm_posix_fuse_user(file_fd(&f), &user));
        CHECK(!cm_plat_file_sync_lasts(&f, what));
        CHECK(strcmp(what, "ext4 without barriers") == 0);
        say_mount(file_fd(&f), "ext4"); /* this line makes no sense, so the mount is not listed */
        CHECK(cm_posix_fuse_user(file_fd(&f), &user));
        CHECK_EQ(user, UINT32_MAX);
        mountinfo_is = NULL;
    }
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(mounts), 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

static bool no_room; /* for a list */
void *__real_cm_posix_remap(void *p, size_t was, size_t bytes);
void *__wrap_cm_posix_remap(void *p, size_t was, size_t bytes);
void *__wrap_cm_posix_remap(void *p, size_t was, size_t bytes)
{
    return no_room ? NULL : __real_cm_posix_remap(p, was, bytes);
}

/* What is not in a list that was not read whole need not be gone. So there is no list. */
static void test_mounts_unknown(void)
{
    char mounts[512];
    struct mounts m;
    FILE *f;

    (void)snprintf(mounts, sizeof mounts, "%s", in_dir("mounts"));
    f = fopen(mounts, "w");
    REQUIRE(f != NULL);
    for (unsigned i = 0; i < 1000; i++)
        CHECK(fprintf(f, "%u 1 0:%u / /m%u rw - tmpfs tmpfs rw\n", i + 1, i + 1, i) > 0);
    REQUIRE(fclose(f) == 0);
    mountinfo_is = mounts;
    cm_posix_mounts_read(&m);
    CHECK(m.text != NULL);
    CHECK_EQ(m.count, 1000);
    cm_posix_mounts_free(&m);
    no_room = true;
    cm_posix_mounts_read(&m);
    no_room = false;
    CHECK(m.text == NULL && m.line == NULL);
    CHECK_EQ(m.count, 0);
    cm_posix_mounts_free(&m);
    mountinfo_is = in_dir(""); /* a directory: it can be opened, and not read */
    cm_posix_mounts_read(&m);
    CHECK(m.text == NULL && m.line == NULL);
    CHECK_EQ(m.count, 0);
    cm_posix_mounts_free(&m);
    mountinfo_is = NULL;
    CHECK_EQ(unlink(mounts), 0);
}

/* The list has one mount, that of the open file, on the device 0:minor_no. */
static void say_device(int fd, unsigned minor_no)
{
    char line[128];

    (void)snprintf(line, sizeof line, "%" PRIu64 " 1 0:%u / /v rw - nfs host:/v rw\n",
                   cm_posix_mount_number(fd, false), minor_no);
    make_file(in_dir("mounts"), line);
}

/* Of a volume whose own number is that of its copies. */
static uint32_t volume_is = 0x6969 /* NFS */;
static int word_of(int fd, unsigned minor_no, uint64_t number, uint64_t *word)
{
    struct statfs fs = { .f_type = (__typeof__(fs.f_type))volume_is };

    memcpy(&fs.f_fsid, &number, sizeof fs.f_fsid);
    return cm_posix_volume_word(fd, makedev(0, minor_no), &fs, word);
}

/* While nobody knows what is mounted, no volume gets the word of another one. Nor does it later if
 * the other one got its word at such a time, and is mounted. */
static void test_volumes_unknown(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char mounts[512], none[512];
    uint64_t a, b;
    int fd;

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    (void)snprintf(mounts, sizeof mounts, "%s", in_dir("mounts"));
    (void)snprintf(none, sizeof none, "%s", in_dir("")); /* opened, and not read */
    REQUIRE(plat_create(&f, in_dir("a"), 4096, true, NULL, NULL) == 0);
    fd = file_fd(&f);
    say_device(fd, 99);
    mountinfo_is = mounts;
    CHECK_EQ(word_of(fd, 99, 77, &a), 0);
    mountinfo_is = none;
    CHECK_EQ(word_of(fd, 98, 77, &b), CM_ECLONE);
    mountinfo_is = mounts;
    no_room = true;
    CHECK_EQ(word_of(fd, 98, 77, &b), CM_ECLONE);
    no_room = false;
    say_device(fd, 98); /* now it is known that the first one is gone */
    CHECK_EQ(word_of(fd, 98, 77, &b), 0);
    CHECK(a == b);
    mountinfo_is = none;
    CHECK_EQ(word_of(fd, 97, 78, &a), 0);
    say_device(fd, 97);
    mountinfo_is = mounts;
    CHECK_EQ(word_of(fd, 96, 78, &b), CM_ECLONE);
    say_device(fd, 96);
    CHECK_EQ(word_of(fd, 96, 78, &b), 0);
    mountinfo_is = NULL;
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(mounts), 0);
    CHECK_EQ(unlink(in_dir("a")), 0);
}

/* If the mount of a volume is not listed (no /proc, a chroot), and only its source shows which
 * volume it is, the files get no other ids. */
static void test_source_unseen(void)
{
    static const uint32_t by_source[] = { 0x6969 /* NFS */, 0x794c7630 /* overlayfs */ };
    struct cm_plat_file f = PLAT_FILE_INIT;
    char mounts[512], none[512];
    uint64_t a;

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    (void)snprintf(mounts, sizeof mounts, "%s", in_dir("mounts"));
    (void)snprintf(none, sizeof none, "%s", in_dir("")); /* opened, and not read */
    make_file(in_dir("a"), "one");
    REQUIRE(cm_plat_file_open(&f, in_dir("a"), true) == 0);
    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        volume_is = by_source[i];
        mountinfo_is = none;
        CHECK_EQ(word_of(file_fd(&f), 89 - i, 0, &a), CM_ECLONE);
        make_file(mounts, "1 1 0:99 / / rw - tmpfs tmpfs rw\n");
        mountinfo_is = mounts;
        CHECK_EQ(word_of(file_fd(&f), 89 - i, 0, &a), CM_ECLONE);
        say_device(file_fd(&f), 89 - i);
        CHECK_EQ(word_of(file_fd(&f), 89 - i, 0, &a), 0);
    }
    volume_is = TMPFS_MAGIC; /* its source says nothing */
    mountinfo_is = none;
    CHECK_EQ(word_of(file_fd(&f), 87, 0, &a), 0);
    volume_is = 0x6969;
    mountinfo_is = NULL;
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(mounts) + unlink(in_dir("a")), 0);
}

/* A file that is a mount point, as a container gets one. No other file can take its name. */
static void mount_point_body(void *arg)
{
    char path[512], made[512], real[512];
    struct cm_plat_file old = PLAT_FILE_INIT, new = PLAT_FILE_INIT;
    bool replaced = true;
    struct statx stx;

    (void)arg;
    memset(&stx, 0, sizeof stx);
    mount_here("tmpfs", dir, "size=8m");
    if (statx(AT_FDCWD, dir, 0, STATX_TYPE, &stx) != 0 ||
        (stx.stx_attributes_mask & 0x2000 /* STATX_ATTR_MOUNT_ROOT */) == 0) {
        _exit(CHILD_CANNOT);
    }
    (void)snprintf(real, sizeof real, "%s", in_dir("real"));
    (void)snprintf(path, sizeof path, "%s", in_dir("pool"));
    (void)snprintf(made, sizeof made, "%s", in_dir("made"));
    make_file(path, "");
    CHECK_EQ(plat_create(&old, real, MIB, true, NULL, NULL), 0);
    REQUIRE(mount(real, path, NULL, MS_BIND, NULL) == 0);
    CHECK(cm_plat_is_mount_point(dir));
    CHECK(cm_plat_is_mount_point(path));
    CHECK(!cm_plat_is_mount_point(real));
    CHECK(!cm_plat_is_mount_point(in_dir("none")));
    CHECK_EQ(plat_create(&new, made, 2 * MIB, true, NULL, NULL), 0);
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, path, &replaced), CM_ENOTSUP);
    CHECK(!replaced);
    CHECK_EQ(cm_plat_file_replace(&new, made, &old, real, &replaced), 0);
    CHECK(replaced);
    cm_plat_file_close(&old);
    cm_plat_file_close(&new);
}

static void test_mount_point(void)
{
    CHECK_CHILD_OR_SKIP(mount_point_body, NULL, "may not mount, or the kernel is too old");
}

const struct harness_test platform_posix_mounts_tests[] = {
    TEST(mount_without_source), TEST(mounts_unknown), TEST(volumes_unknown),
    TEST(source_unseen),        TEST(mount_point),    TEST_END,
};
