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

/* In a child, which may leave an image and places to mount it. Its status. */
static int on_volume(void (*body)(void *), void *arg)
{
    const int status = in_child(body, arg);

    CHECK_EQ(sh("rm -rf img list d m n"), 0);
    return status;
}

static void look_at_volume(const char *make, const char *mount_it, const char *other)
{
    struct volume v = { make, mount_it, other };

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    CHECK_STATUS_OR_SKIP(on_volume(volume_body, &v), "cannot make or mount it here");
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
    CHECK_STATUS_OR_SKIP(on_volume(hidden_body, NULL),
                         "cannot mount ext4, or cover a directory of sysfs here");
}

/* ---- Ids ------------------------------------------------------------------------------------- */

static int identify(const char *name, const char *volume_id, cm_file_id *id)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;
    const int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);

    o.flags = CM_IDENTIFY_SOLE_WRITER;
    o.volume_id = volume_id;
    CHECK(fd >= 0);
    const int e = cm_identify_with(fd, &o, id, &v);
    CHECK_EQ(close(fd), 0);
    return e;
}

/* A new mount of the file system, of which nothing is known yet. Its file f has the id or none. */
static int look_again_at(const char *name, cm_file_id id)
{
    cm_file_id seen;

    CHECK_EQ(sh("mount --bind %s n", name), 0);
    const int e = identify("n/f", NULL, &seen);
    CHECK(e != 0 || same_id(id, seen));
    CHECK_EQ(identify("n/f", "one", &seen), 0); /* all that is hidden is the volume */
    CHECK_EQ(sh("umount n"), 0);
    return e;
}

static int look_again(cm_file_id id)
{
    return look_again_at("m", id);
}

static void hidden_disk_body(void *arg)
{
    static const char *const hidden[] = { "/sys", "/sys/devices" };
    static const struct {
        int err, e;
    } refused[] = { { EACCES, CM_ECLONE },
                    { EPERM, CM_ECLONE },
                    { EMFILE, CM_EIO },
                    { ENFILE, CM_EIO },
                    { ENOMEM, CM_ENOMEM } };
    cm_file_id id;

    (void)arg;
    own_mounts();
    if (sh("truncate -s 64M img && mkfs.ext4 -q -F img && mount -o loop img m && echo 1 >m/f") != 0)
        _exit(CHILD_CANNOT);
    CHECK_EQ(identify("m/f", NULL, &id), 0);
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        CASE("%s", hidden[i]);
        mount_here("tmpfs", hidden[i], "size=1m");
        CHECK_EQ(look_again(id), CM_ECLONE);
        MUST("umount %s", hidden[i]);
        CHECK_EQ(look_again(id), 0);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        CASE("i %zu", i);
        sysfs_refuses = refused[i].err;
        CHECK_EQ(look_again(id), refused[i].e);
        sysfs_refuses = 0;
        CHECK_EQ(look_again(id), 0);
    }
}

/* A sandbox that hides the disk must not give its files other ids: the blocks of an exclusive file
 * would be old ones when it has its own id again. */
static void test_identify_disk_unseen(void)
{
    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    CHECK_STATUS_OR_SKIP(on_volume(hidden_disk_body, NULL),
                         "cannot mount ext4, or cover sysfs here");
}

/* The directory of all disks is covered, and the rest of sysfs is there: nothing changes. */
static void look_masked(const char *name)
{
    uint8_t mounted[16], seen[16];
    char file[32];
    cm_file_id id;
    int e;

    (void)snprintf(file, sizeof file, "%s/f", name);
    MUST("echo 1 >%s", file);
    e = identify(file, NULL, &id);
    (void)snprintf(file, sizeof file, "%s/a", name);
    CALL(get_mount_id(file, mounted));
    mount_here("tmpfs", "/sys/dev/block", "size=0,ro");
    CHECK_EQ(look_again_at(name, id), e);
    CALL(get_mount_id(file, seen));
    CHECK(same_mount(mounted, seen));
    MUST("umount /sys/dev/block");
}

static void masked_body(void *arg)
{
    uint8_t mounted[16], seen[16];
    cm_file_id id;

    own_mounts();
    if (sh("truncate -s 320M img && %s && mount -o loop img m", (const char *)arg) != 0)
        _exit(CHILD_CANNOT);
    MUST("mkdir -p d");
    CALL(look_masked("m"));
    CALL(look_masked("d")); /* the disk of the directory for temporary files, if that is one */
    CHECK_EQ(identify("m/f", NULL, &id), 0);
    CALL(get_mount_id("m/a", mounted));
    mount_here("tmpfs", "/sys/dev/block", "size=0,ro");
    sysfs_refuses = EMFILE;
    CHECK_EQ(look_again(id), CM_EIO);
    sysfs_refuses = 0;
    /* A list by which the disk has the name of another one. */
    MUST("d=$(mountpoint -d m) && o=$(grep -Lx $d /sys/class/block/*/dev | head -n 1) && o=${o%%/*}"
         " && echo \"${d%%:*} ${d#*:} 1 ${o##*/}\" >list && mount --bind list /proc/partitions");
    CHECK_EQ(look_again(id), CM_ECLONE);
    CALL(get_mount_id("m/a", seen));
    CHECK(!same_mount(mounted, seen));
    MUST("umount /proc/partitions");
    CHECK_EQ(look_again(id), 0);
    mount_here("tmpfs", "/sys/class", "size=0,ro");
    CHECK_EQ(look_again(id), CM_ECLONE);
}

static void look_at_masked(const char *make)
{
    char text[64];

    if (getenv("CM_TEST_EMULATED"))
        SKIP("an emulator's statx() knows no mounts");
    (void)snprintf(text, sizeof text, "%s", make);
    CHECK_STATUS_OR_SKIP(on_volume(masked_body, text),
                         "cannot make or mount it, or cover sysfs here");
}

/* Podman covers /sys/dev/block in each container. */
static void test_masked_ext4(void)
{
    look_at_masked("mkfs.ext4 -q -F img");
}
static void test_masked_xfs(void)
{
    look_at_masked("mkfs.xfs -q -f img");
}

/* The word of the disk that has `dir` if its file system's own number is the disk's. */
static int word_without_number(int fd, dev_t dev, uint64_t *word)
{
    const struct statfs fs = { .f_type = 0xef53 };

    return cm_posix_volume_word(fd, (uint64_t)dev, &fs, word);
}

/* The same if a filter of system calls refuses to tell the UUID. */
static void uuid_body(void *arg)
{
    static const int refused[] = { EPERM, EACCES, EIO }, none[] = { ENOTTY, EOPNOTSUPP };
    struct stat st;
    uint64_t first = 0, word;
    int fd;

    (void)arg;
    own_mounts();
    if (sh("truncate -s 64M img && mkfs.ext4 -q -F img && mount -o loop img m && echo 1 >m/f") != 0)
        _exit(CHILD_CANNOT);
    fd = open(in_dir("m/f"), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        CASE("i %zu", i);
        no_uuid = refused[i];
        CHECK_EQ(word_without_number(fd, st.st_dev, &word), CM_ECLONE);
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        CASE("i %zu", i);
        no_uuid = none[i];
        MUST("mount --bind m n");
        const int other = open(in_dir("n/f"), O_RDONLY | O_CLOEXEC);
        CHECK_EQ(word_without_number(other, st.st_dev, &word), 0);
        CHECK(i == 0 || word == first);
        first = word;
        CHECK_EQ(close(other), 0);
        MUST("umount n");
    }
}

static void test_identify_uuid_unseen(void)
{
    CHECK_STATUS_OR_SKIP(on_volume(uuid_body, NULL), "cannot mount ext4 here");
}

const struct harness_test platform_posix_unseen_tests[] = {
    TEST(mount_id),     TEST(mounted_ext4),  TEST(mounted_xfs),          TEST(mounted_btrfs),
    TEST(mounted_f2fs), TEST(mounted_tmpfs), TEST(mounted_unseen),       TEST(identify_disk_unseen),
    TEST(masked_ext4),  TEST(masked_xfs),    TEST(identify_uuid_unseen), TEST_END,
};
