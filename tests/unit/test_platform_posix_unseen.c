/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_platform_posix_unseen.c - which mounted volume it is, seen from other mount namespaces, and
 * what counts if a sandbox hides a part of the system, on Linux.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform_posix.h"

#include "platform/posix.h"
#include "platform/posix_calls.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* ---- The mounted volume ---------------------------------------------------------------------- */

/* Runs a shell command in `dir`. */
static int sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *format, ...)
{
    char text[512], line[1024];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    (void)snprintf(line, sizeof line,
                   "cd %s && PATH=$PATH:/sbin:/usr/sbin && { %s; } >/dev/null 2>&1", dir, text);
    return system(line);
}

#define MUST(...) REQUIRE(sh(__VA_ARGS__) == 0)

/* Of a file that is made for that, and removed. */
static void get_mount_id(const char *name, uint8_t id[16])
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char path[512];

    (void)snprintf(path, sizeof path, "%s", in_dir(name));
    make_file(path, "x");
    REQUIRE(cm_plat_file_open(&f, path, true) == 0);
    cm_plat_mount_id(&f, id);
    cm_plat_file_close(&f);
    CHECK_EQ(unlink(path), 0);
}

static bool same_mount(const uint8_t a[16], const uint8_t b[16])
{
    return memcmp(a, b, 16) == 0;
}

/* In a child: a mount namespace of its own, in which `m` and `n` are directories. */
static void own_mounts(void)
{
    REQUIRE(sh("mkdir -p m n") == 0);
    mount_here("tmpfs", in_dir("m"), "size=1m");
    MUST("umount m");
}

static void remount_body(void *arg)
{
    uint8_t before[16], again[16], inside[16], after[16];

    CALL(get_mount_id("a", before));
    mount_here("tmpfs", dir, "size=1m");
    CALL(get_mount_id("a", inside));
    CALL(get_mount_id("b", again));
    CHECK(same_mount(inside, again));
    CHECK(!same_mount(inside, before));
    CHECK_EQ(umount(dir), 0);
    mount_here("tmpfs", dir, "size=1m");
    CALL(get_mount_id("a", after));
    if (arg != NULL) { /* only a kernel with unique numbers can promise this */
        CHECK(!same_mount(inside, after));
    }
}

static void test_mount_id(void)
{
    struct statx stx;
    uint8_t a[16], b[16];
    void *unique = NULL;

    CALL(get_mount_id("a", a));
    if (all_zero(a, 16)) {
        SKIP("no mount ids in this kernel");
    }
    CALL(get_mount_id("b", b));
    CHECK(same_mount(a, b));
    if (statx(AT_FDCWD, dir, 0, 0x4000u, &stx) == 0 && (stx.stx_mask & 0x4000u) != 0) {
        unique = &stx;
    }
    CHECK_CHILD_OR_SKIP(remount_body, unique, "may not mount a tmpfs");
}

/* How each file system is made and mounted, once more for each mount. */
struct volume {
    const char *make, *mount, *other; /* other: makes m/other, whose content may be an older one */
};

static void look_elsewhere(const uint8_t id[16])
{
    uint8_t seen[16];

    MUST("mount --bind m n");
    CALL(get_mount_id("n/a", seen));
    CHECK(same_mount(id, seen));
    REQUIRE(unshare(CLONE_NEWNS) == 0);
    CALL(get_mount_id("m/a", seen));
    CHECK(same_mount(id, seen));
    MUST("umount m && mount --bind n m"); /* another mount is left */
    CALL(get_mount_id("m/a", seen));
    CHECK(same_mount(id, seen));
}

static void volume_body(void *arg)
{
    const struct volume *v = arg;
    uint8_t own[16], id[16], again[16];

    own_mounts();
    CALL(get_mount_id("a", own));
    if (sh("truncate -s 320M img && %s && %s", v->make, v->mount) != 0)
        _exit(CHILD_CANNOT);
    CALL(get_mount_id("m/a", id));
    CHECK(!same_mount(own, id));
    for (unsigned i = 0; i < 3; i++) { /* the page cache is gone */
        CASE("i %u", i);
        MUST("umount m && %s", v->mount);
        CALL(get_mount_id("m/a", again));
        CHECK(!same_mount(id, again));
        memcpy(id, again, sizeof id);
    }
    if (v->other) {
        MUST("%s", v->other);
        CALL(get_mount_id("m/other/a", again));
        CHECK(!same_mount(id, again));
    }
    CALL(look_elsewhere(id));
}

static void look_at_volume(const char *make, const char *mount_it, const char *other)
{
    struct volume v = { make, mount_it, other };

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    CHECK_CHILD_OR_SKIP(volume_body, &v, "cannot make or mount it here");
    CHECK_EQ(sh("rm -rf img m n"), 0);
}

/* A program that is killed in one mount namespace is started again in another one: a container, a
 * unit of systemd. The page cache has outlived that. It has not outlived the end of the last mount.
 */
static void test_mounted_ext4(void)
{
    look_at_volume("mkfs.ext4 -q -F img", "mount -o loop img m", NULL);
}
static void test_mounted_xfs(void)
{
    look_at_volume("mkfs.xfs -q -f img", "mount -o loop img m", NULL);
}
static void test_mounted_btrfs(void)
{
    look_at_volume("mkfs.btrfs -q -f img", "mount -o loop img m",
                   "btrfs subvolume snapshot m m/other");
}
static void test_mounted_f2fs(void)
{
    look_at_volume("mkfs.f2fs -q -f img", "mount -o loop img m", NULL);
}
static void test_mounted_tmpfs(void)
{
    struct statfs fs;

    if (statfs("/dev/shm", &fs) != 0 || (fs.f_fsid.__val[0] | fs.f_fsid.__val[1]) == 0)
        SKIP("no number of a tmpfs in this kernel");
    look_at_volume(":", "mount -t tmpfs tmpfs m", NULL);
}

/* What is not sysfs says nothing, and then the mount counts, as before. */
static void hidden_body(void *arg)
{
    uint8_t id[16], hidden[16], again[16];

    (void)arg;
    own_mounts();
    if (sh("truncate -s 64M img && mkfs.ext4 -q -F img && mount -o loop img m") != 0)
        _exit(CHILD_CANNOT);
    CALL(get_mount_id("m/a", id));
    mount_here("tmpfs", "/sys/fs/ext4", "size=1m");
    CALL(get_mount_id("m/a", hidden));
    CHECK(!same_mount(id, hidden));
    CHECK(!all_zero(hidden, 16));
    MUST("mkdir /sys/fs/ext4/loop$(seq -s ' /sys/fs/ext4/loop' 0 99)");
    CALL(get_mount_id("m/a", again));
    CHECK(same_mount(hidden, again));
    MUST("umount /sys/fs/ext4");
    CALL(get_mount_id("m/a", again));
    CHECK(same_mount(id, again));
}

static void test_mounted_unseen(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    CHECK_CHILD_OR_SKIP(hidden_body, NULL, "cannot mount ext4, or cover a directory of sysfs here");
    CHECK_EQ(sh("rm -rf img m n"), 0);
}

const struct harness_test platform_posix_unseen_tests[] = {
    TEST(mount_id),
    TEST(mounted_ext4),
    TEST(mounted_xfs),
    TEST(mounted_btrfs),
    TEST(mounted_f2fs),
    TEST(mounted_tmpfs),
    TEST(mounted_unseen),
    TEST_END,
};
