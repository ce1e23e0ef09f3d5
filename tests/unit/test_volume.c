/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_volume.c - one id never stands for files of two mounted volumes, and stays the same when a
 * volume is unmounted, detached and mounted again (Linux).
 *
 * Works on loop images and mounts in a mount namespace of its own, so that its mounts end with it.
 * Needs root, and what each test asks for; the rest is skipped with its reason.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "child.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[128]; /* of this run */
static const char *cannot;

/* ---- Commands and mounts --------------------------------------------------------------------- */

/* Runs a shell command in `dir`. Its output goes to a file. */
static int sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *format, ...)
{
    char text[1024], line[1400];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    (void)snprintf(line, sizeof(line), "cd %s && PATH=$PATH:/sbin:/usr/sbin && { %s; } >out 2>&1",
                   dir, text);
    return system(line);
}

static void clean_up(void)
{
    (void)sh("for d in a b c d l; do while umount $d; do :; done; umount -l $d; done; "
             "for l in $(losetup -l -n -O NAME,BACK-FILE | grep \" $PWD/\" | cut -d' ' -f1); do "
             "delpart $l 1; delpart $l 2; losetup -d $l; done; rm -rf *.img a b c d l low* up* "
             "work* src*");
}

#define MUST(...) REQUIRE(sh(__VA_ARGS__) == 0)
#define NEED(program)                                                                              \
    if (cannot)                                                                                    \
        SKIP(cannot);                                                                              \
    if (sh("command -v %s", program) != 0)                                                         \
        SKIP("no " program " here");                                                               \
    clean_up()

/* A user-mode emulator does not pass on what statx() reports of the mount. */
#define NOT_EMULATED                                                                               \
    if (getenv("CM_TEST_EMULATED") != NULL)                                                        \
    SKIP("the emulator does not tell a file's mount")

static const char *at(const char *name)
{
    static _Thread_local char path[4][256];
    static _Thread_local unsigned next;
    char *p = path[next++ % 4];
    (void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

/* Identifies a file of `dir`. If volume_id is NULL, the system names the volume. */
static int identify_as(const char *name, const char *volume_id, cm_file_id *id, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    int fd = open(at(name), O_RDONLY | O_CLOEXEC);
    o.volume_id = volume_id;
    *id = (cm_file_id){ 0 };
    CHECK(fd >= 0);
    int e = cm_identify_with(fd, &o, id, v);
    (void)close(fd);
    return e;
}

static cm_file_id id_at(const char *name)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    CHECK_EQ(identify_as(name, NULL, &id, &v), 0);
    return id;
}

static int error_at(const char *name)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    return identify_as(name, NULL, &id, &v);
}

static bool same(cm_file_id a, cm_file_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* Makes images a.img and b.img, one a copy of the other, each with a file f of 8 blocks. */
static int make_clones(const char *mkfs)
{
    return sh("rm -f a.img b.img && truncate -s 320M a.img && %s a.img && mkdir -p a b c && "
              "mount -o loop a.img a && head -c 32768 /dev/urandom >a/f && umount a && "
              "cp --sparse=always a.img b.img",
              mkfs);
}

#define EXT4 "mkfs.ext4 -q -F"
#define XFS "mkfs.xfs -q -f"

/* ---- Reading through the library ------------------------------------------------------------- */

static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    return pread(*(int *)ctx, buf, len, (off_t)off);
}

struct front {
    int fd;
    cm_file *f;
};

static int front_open(struct front *o, struct pool *p, const char *name)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    *o = (struct front){ .fd = open(at(name), O_RDWR | O_CLOEXEC) };
    int e = cm_identify(o->fd, &id, &v);
    return e ? e : cm_file_open(p->c, &id, &v, CM_SOLE_WRITER, &o->f);
}

static bool front_right(struct front *o)
{
    uint8_t a[CM_BLOCK_SIZE], b[CM_BLOCK_SIZE];
    CHECK_EQ(pread(o->fd, b, sizeof(b), 0), BLK);
    CHECK_EQ(cm_read_through(o->f, 0, a, sizeof(a), origin_read, &o->fd), BLK);
    return memcmp(a, b, sizeof(a)) == 0;
}

static void front_write(struct front *o)
{
    uint8_t b[CM_BLOCK_SIZE];
    cm_bracket w = begin_write(o->f, 0, BLK);
    memset(b, 0x77, sizeof(b));
    CHECK_EQ(pwrite(o->fd, b, sizeof(b), 0), BLK);
    CHECK(cm_write_end(o->f, &w, NULL) >= 0);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* Two mounted copies of one image, both open: each read gives the bytes of its own copy. */
static void read_both(void)
{
    struct pool p;
    struct front a, b;
    (void)pool_new(&p, 4 * MIB);
    CHECK_EQ(front_open(&a, &p, "a/f"), 0);
    CHECK(front_right(&a));
    if (front_open(&b, &p, "b/f") == 0) {
        CHECK(front_right(&b));
        front_write(&a);
        CHECK(front_right(&a));
        CHECK(front_right(&b));
        detach(b.f);
    }
    detach(a.f);
    (void)close(a.fd);
    (void)close(b.fd);
    pool_end(&p);
}

static dev_t device_at(const char *name)
{
    struct stat st;
    CHECK_EQ(stat(at(name), &st), 0);
    return st.st_dev;
}

static void clones(const char *mkfs, const char *options)
{
    cm_file_id a, b;
    if (make_clones(mkfs) != 0)
        SKIP("cannot mount a loop image here");
    MUST("mount -o loop%s a.img a && mount -o loop%s b.img b", options, options);
    a = id_at("a/f");
    b = id_at("b/f");
    CHECK(!same(a, b));
    read_both();
    /* As after a restart of the machine: other devices, in another order. A device may come back
     * while others are in use by other programs. So each try takes two devices out of the way. */
    const dev_t was_a = device_at("a"), was_b = device_at("b");
    MUST("truncate -s 1M p.img && : >held");
    for (unsigned tries = 0; device_at("a") == was_a || device_at("b") == was_b; tries++) {
        REQUIRE(tries < 20);
        MUST("umount a && umount b && losetup -f --show p.img >>held && losetup -f --show p.img "
             ">>held && mount -o loop%s b.img b && mount -o loop%s a.img a",
             options, options);
    }
    MUST("xargs -n 1 losetup -d <held");
    CHECK(same(a, id_at("a/f")));
    CHECK(same(b, id_at("b/f")));
    clean_up();
}

static void test_clones_ext4(void)
{
    NEED("mkfs.ext4");
    CALL(clones(EXT4, ""));
}

static void test_clones_xfs(void)
{
    NEED("mkfs.xfs");
    CALL(clones(XFS, ",nouuid"));
}

/* A partition differs from the one beside it, which may be a copy of it. */
static void test_clones_partitions(void)
{
    const char *parts = "losetup -f --show d.img >loop && addpart $(cat loop) 1 2048 655360 && "
                        "addpart $(cat loop) 2 657408 655360";
    NEED("addpart");
    if (make_clones(EXT4) != 0 ||
        sh("truncate -s 660M d.img && dd if=a.img of=d.img bs=1M seek=1 conv=notrunc,sparse && "
           "dd if=a.img of=d.img bs=1M seek=321 conv=notrunc,sparse && %s && "
           "mount $(cat loop)p1 a && mount $(cat loop)p2 b",
           parts) != 0) {
        clean_up();
        SKIP("no partitions on loop devices here");
    }
    cm_file_id a = id_at("a/f");
    CHECK(!same(a, id_at("b/f")));
    MUST("umount a && umount b && delpart $(cat loop) 1 && delpart $(cat loop) 2 && "
         "losetup -d $(cat loop) && %s && mount $(cat loop)p2 b && "
         "mount $(cat loop)p1 a",
         parts);
    CHECK(same(a, id_at("a/f")));
    CHECK(!same(a, id_at("b/f")));
    clean_up();
}

/* Two names for one disk, or two disks with the same identity: only one at a time has an id. */
static void test_same_claim(void)
{
    cm_file_id a, b;
    cm_validator v = CM_VALIDATOR_INIT;
    NEED("mkfs.ext4");
    if (make_clones(EXT4) != 0)
        SKIP("cannot mount a loop image here");
    MUST("losetup -f --show -r a.img >loop1 && mount -o ro,noload $(cat loop1) a && losetup -f "
         "--show -r a.img >loop2 && "
         "mount -o ro,noload $(cat loop2) b");
    a = id_at("a/f");
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    CHECK(same(a, id_at("a/f")));
    /* Named by the caller, who knows better: the names count. */
    CHECK_EQ(identify_as("b/f", "second", &b, &v), 0);
    CHECK(!same(a, b));
    CHECK_EQ(identify_as("a/f", "second", &a, &v), 0);
    CHECK(same(a, b));
    a = id_at("a/f");
    /* The same volume mounted at another place is not a second volume. */
    MUST("mount --bind a c && umount a");
    CHECK(same(a, id_at("c/f")));
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    /* When the first one is gone the second one is fine, and then the first one is not. */
    MUST("umount c");
    CHECK(same(a, id_at("b/f")));
    MUST("mount -o ro,noload $(cat loop1) a");
    CHECK_EQ(error_at("a/f"), CM_ECLONE);
    CHECK(same(a, id_at("b/f")));
    clean_up();
}

/* Unmounted from the tree but still open somewhere: the volume lives. */
static void test_claim_of_lazily_unmounted(void)
{
    NEED("mkfs.ext4");
    if (make_clones(EXT4) != 0)
        SKIP("cannot mount a loop image here");
    MUST("mount -o loop,ro,noload a.img a && losetup -f --show -r a.img >loop2 && "
         "mount -o ro,noload $(cat loop2) b");
    cm_file_id a = id_at("a/f"), again;
    cm_validator v = CM_VALIDATOR_INIT;
    int fd = open(at("a/f"), O_RDONLY | O_CLOEXEC);
    MUST("umount -l a");
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    CHECK_EQ(cm_identify(fd, &again, &v), 0);
    CHECK(same(a, again));
    (void)close(fd);
    for (int i = 0; i < 100 && error_at("b/f") != 0; i++)
        sleep_ms(20); /* the kernel ends it a moment later */
    CHECK(same(a, id_at("b/f")));
    clean_up();
}

static pthread_barrier_t start;

static void *identify_often(void *name)
{
    intptr_t right = 0;
    (void)pthread_barrier_wait(&start);
    for (int i = 0; i < 50; i++)
        right += error_at(name) == 0;
    return (void *)right;
}

/* All threads identify at once: the same volume wins for all. */
static void test_claim_threads(void)
{
    pthread_t t[6];
    void *n[6];
    NEED("mkfs.ext4");
    if (make_clones(EXT4) != 0)
        SKIP("cannot mount a loop image here");
    MUST("mount -o loop,ro,noload a.img a && losetup -f --show -r a.img >loop2 && "
         "mount -o ro,noload $(cat loop2) b");
    static char name[2][8] = { "a/f", "b/f" };
    (void)pthread_barrier_init(&start, NULL, 6);
    for (int i = 0; i < 6; i++) {
        CASE("i %d", i);
        REQUIRE(pthread_create(&t[i], NULL, identify_often, name[i % 2]) == 0);
    }
    for (int i = 0; i < 6; i++)
        (void)pthread_join(t[i], &n[i]);
    for (int i = 2; i < 6; i++) {
        CASE("i %d", i);
        CHECK(n[i] == n[i % 2]);
    }
    CHECK_EQ((intptr_t)n[0] + (intptr_t)n[1], 50);
    clean_up();
}

/* The same device number, but another disk. `moved`: the first disk is identified under its new
 * number before the second disk under the old number. */
static void reuse_device(bool moved)
{
    if (make_clones(EXT4) != 0)
        SKIP("cannot mount a loop image here");
    MUST("losetup -f --show a.img >loop && mount $(cat loop) a");
    cm_file_id a = id_at("a/f");
    /* Another program may take the device for a moment: then once more, with another device. */
    for (unsigned tries = 0;
         sh("umount a && losetup -d $(cat loop) && losetup $(cat loop) b.img && "
            "mount $(cat loop) a") != 0;
         tries++) {
        REQUIRE(tries < 20);
        MUST("losetup -f --show a.img >loop && mount $(cat loop) a");
        CHECK(same(a, id_at("a/f")));
    }
    MUST("mount -o loop a.img b");
    if (moved)
        CHECK(same(a, id_at("b/f")));
    CHECK(!same(a, id_at("a/f")));
    CHECK(same(a, id_at("b/f")));
    clean_up();
}

static void test_reused_device(void)
{
    NEED("mkfs.ext4");
    CALL(reuse_device(false));
    CALL(reuse_device(true));
}

static void test_btrfs(void)
{
    NEED("btrfs");
    MUST("truncate -s 320M a.img && mkfs.btrfs -q a.img && mkdir -p a b c");
    if (sh("mount -o loop a.img a") != 0) {
        clean_up();
        SKIP("cannot mount btrfs here");
    }
    MUST("btrfs subvolume create a/one && echo 1 >a/one/f && sync && "
         "btrfs subvolume snapshot a/one a/two && [ $(stat -c %%i a/one/f) = $(stat -c %%i "
         "a/two/f) ]");
    cm_file_id one = id_at("a/one/f"), two = id_at("a/two/f");
    CHECK(!same(one, two));
    MUST("mount -o subvol=two $(findmnt -n -o SOURCE a | sed 's/\\[.*//') b");
    CHECK(same(two, id_at("b/f")));
    MUST("umount b && umount a && mount -o loop,subvol=one a.img c && mount -o loop a.img a; "
         "findmnt a || mount -o subvol=/ $(findmnt -n -o SOURCE c | sed 's/\\[.*//') a");
    CHECK(same(one, id_at("c/f")));
    CHECK(same(one, id_at("a/one/f")));
    CHECK(same(two, id_at("a/two/f")));
    /* A copy of the image beside it: if the kernel mounts it, it is another volume. */
    MUST("umount a && umount c && cp --sparse=always a.img b.img && mount -o loop a.img a");
    if (sh("mount -o loop b.img b") == 0) {
        CHECK(!same(id_at("a/one/f"), id_at("b/one/f")));
        CHECK(same(one, id_at("a/one/f")));
    }
    clean_up();
}

#define OVERLAY "mount -t overlay overlay -o lowerdir=low%d,upperdir=up%d,workdir=work%d %s"

static void test_overlay(void)
{
    if (cannot)
        SKIP(cannot);
    NOT_EMULATED;
    MUST("mkdir -p a b c low1 low2 up1 up2 work1 work2 && echo 1 >low1/f && cp -a low1/f low2/f");
    if (sh("mkdir -p l && mount -t tmpfs tmpfs l && cd l && mkdir low1 low2 up1 up2 work1 work2 && "
           "echo 1 >low1/f && echo 2 >low2/f && " OVERLAY " && " OVERLAY,
           1, 1, 1, "../a", 2, 2, 2, "../b") != 0) {
        clean_up();
        SKIP("cannot mount overlayfs here");
    }
    cm_file_id a = id_at("a/f"), b = id_at("b/f");
    CHECK(!same(a, b));
    CHECK(!same(a, id_at("l/low1/f")));
    MUST("umount a && umount b && cd l && " OVERLAY " && " OVERLAY, 2, 2, 2, "../b", 1, 1, 1,
         "../a");
    CHECK(same(a, id_at("a/f")));
    CHECK(same(b, id_at("b/f")));
    MUST("umount a && umount b && umount l");
    /* Layers on several volumes: the same inode number in each of them. */
    MUST(
        "mkdir -p l/one l/two l/up && mount -t tmpfs tmpfs l/one && mount -t tmpfs tmpfs l/two && "
        "mount -t tmpfs tmpfs l/up && mkdir l/up/u l/up/w && echo 1 >l/one/x && echo 1 >l/two/y && "
        "mount -t overlay overlay -o xino=off,lowerdir=l/one:l/two,upperdir=l/up/u,workdir=l/up/w "
        "a");
    CHECK(!same(id_at("a/x"), id_at("a/y")));
    clean_up();
    (void)sh("umount -l l/one l/two l/up; rm -rf l");
}

/* A lease of an overlayfs does not see a mapping of the file: nothing there shows that no process
 * writes. */
static void test_overlay_writer(void)
{
    cm_identify_options sole = CM_IDENTIFY_OPTIONS_INIT;
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    if (cannot)
        SKIP(cannot);
    if (sh("mkdir -p a l && mount -t tmpfs tmpfs l && cd l && mkdir low1 up1 work1 && "
           "echo 1 >up1/f && " OVERLAY,
           1, 1, 1, "../a") != 0) {
        clean_up();
        SKIP("cannot mount overlayfs here");
    }
    int fd = open(at("a/f"), O_RDWR | O_CLOEXEC);
    char *view = mmap(NULL, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(view != MAP_FAILED && close(fd) == 0);
    view[0] = '2';
    CHECK_EQ(identify_as("a/f", NULL, &id, &v), 0);
    CHECK(v.racy & CM_RACY_WRITER);
    view[0] = '3'; /* the page is already dirty, so no time moves */
    sole.flags = CM_IDENTIFY_SOLE_WRITER;
    fd = open(at("a/f"), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(cm_identify_with(fd, &sole, &id, &v), 0);
    CHECK((v.racy & CM_RACY_WRITER) == 0);
    CHECK_EQ(munmap(view, 2) + close(fd), 0);
    clean_up();
}

/* ext4 keeps whole seconds in small inodes. There a second change can hide behind the times, also
 * where the kernel has multigrain timestamps. */
static void test_whole_seconds(void)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    NEED("mkfs.ext4");
    if (sh("truncate -s 32M a.img && mkfs.ext4 -q -F -I 128 a.img && mkdir -p a && "
           "mount -o loop a.img a") != 0) {
        clean_up();
        SKIP("cannot mount a loop image here");
    }
    MUST("echo 1 >a/f");
    sleep_ms(100); /* longer than a tick, shorter than a second */
    CHECK_EQ(identify_as("a/f", NULL, &id, &v), 0);
    CHECK(v.racy & CM_RACY_TIMES);
    clean_up();
}

/* Does what is synced on "a" last? */
static bool sync_lasts(void)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    char what[PLAT_VOLUME];
    CHECK_EQ(close(open(at("a/f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600)), 0);
    CHECK_EQ(cm_plat_file_open(&f, at("a/f"), false), 0);
    const bool lasts = cm_plat_file_sync_lasts(&f, what);
    cm_plat_file_close(&f);
    return lasts;
}

static void check_syncs(const char *mkfs, const char *const options[], unsigned n)
{
    if (sh("truncate -s 320M a.img && %s a.img && mkdir -p a", mkfs) != 0 ||
        sh("mount -o loop a.img a") != 0) {
        clean_up();
        SKIP("cannot mount a loop image here");
    }
    CHECK(sync_lasts());
    for (unsigned i = 0; i < n; i++) {
        CASE("%s", options[i]);
        MUST("umount a && mount -o loop,%s a.img a", options[i]);
        CHECK(!sync_lasts());
    }
    clean_up();
}

/* Volumes that order their writes, unless they were told not to. */
static void test_sync_lasts(void)
{
    static const char *const without[] = { "nobarrier", "barrier=0" };
    NOT_EMULATED;
    NEED("mkfs.ext4");
    CALL(check_syncs(EXT4, without, 2));
}

static void test_sync_lasts_f2fs(void)
{
    static const char *const without[] = { "checkpoint=disable", "checkpoint=disable:10%",
                                           "fsync_mode=nobarrier" };
    NOT_EMULATED;
    NEED("mkfs.f2fs");
    CALL(check_syncs("mkfs.f2fs -q", without, 3));
}

static void test_bind_and_tmpfs(void)
{
    if (cannot)
        SKIP(cannot);
    MUST("mkdir -p a b c d && mount -t tmpfs tmpfs a && mount -t tmpfs tmpfs b && "
         "echo 1 >a/f && echo 1 >b/f && mkdir a/sub && echo 2 >a/sub/g && mount --bind a/sub c && "
         "mount --bind a d && [ $(stat -c %%i a/f) = $(stat -c %%i b/f) ]");
    CHECK(!same(id_at("a/f"), id_at("b/f")));
    CHECK(same(id_at("a/f"), id_at("d/f")));
    CHECK(same(id_at("a/sub/g"), id_at("c/g")));
    clean_up();
}

static cm_file_id id_as(const char *name, const char *volume_id)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    CHECK_EQ(identify_as(name, volume_id, &id, &v), 0);
    return id;
}

#define BINDFS(dir, at) "bindfs -o fsname=one $PWD/" dir " " at

/* The ids of a FUSE mount belong to that mount, at all places where it is bound, and end with it:
 * its server may number files in any way. With a name from the caller the ids stay. */
static void test_fuse(void)
{
    cm_file_id a, b, named, again;
    cm_validator v = CM_VALIDATOR_INIT;
    NEED("bindfs");
    MUST("mkdir -p a b c src1 src2 && echo 1 >src1/f && echo 2 >src2/f && touch src1/g");
    if (sh(BINDFS("src1", "a") " && " BINDFS("src2", "b")) != 0) {
        clean_up();
        SKIP("cannot mount FUSE here");
    }
    a = id_at("a/f");
    b = id_at("b/f"); /* it has the same source name */
    named = id_as("a/f", "two");
    CHECK(!same(a, b));
    CHECK(!same(a, id_at("src1/f")));
    CHECK(!same(named, id_as("b/f", "three")));
    MUST("mount --bind a c");
    CHECK(same(a, id_at("a/f")));
    CHECK(same(a, id_at("c/f")));
    /* Unmounted from the tree, and open. */
    int fd = open(at("a/f"), O_RDONLY | O_CLOEXEC);
    MUST("umount c && umount -l a && " BINDFS("src2", "a"));
    CHECK_EQ(cm_identify(fd, &again, &v), 0);
    CHECK(same(a, again));
    CHECK(!same(a, id_at("a/f")));
    (void)close(fd);
    MUST("umount a && umount b && " BINDFS("src1", "a") " && " BINDFS("src2", "b"));
    CHECK(!same(a, id_at("a/f")) && !same(b, id_at("a/f")));
    CHECK(!same(b, id_at("b/f")) && !same(a, id_at("b/f")));
    /* Now the server knows it as another of its files. */
    MUST("umount a && " BINDFS("src1", "a") " && cat a/g");
    CHECK(same(named, id_as("a/f", "two")));
    clean_up();
}

/* If sysfs has no directory of the file system, the mount must tell. If sysfs cannot be seen, the
 * mount does not count: the file would have two ids. */
static void test_fuse_without_sysfs(void)
{
    cm_file_id a, v;
    cm_validator ignored = CM_VALIDATOR_INIT;
    NEED("bindfs");
    MUST("mkdir -p a src1 && echo 1 >src1/f");
    if (sh("mount -t tmpfs tmpfs /sys/class/bdi") != 0)
        SKIP("cannot cover a directory of sysfs here");
    if (sh(BINDFS("src1", "a")) != 0) {
        (void)sh("umount /sys/class/bdi");
        clean_up();
        SKIP("cannot mount FUSE here");
    }
    CHECK_EQ(identify_as("a/f", NULL, &a, &ignored), CM_ECLONE);
    CHECK_EQ(identify_as("a/f", "two", &v, &ignored), 0);
    MUST("umount /sys/class/bdi && mount --bind /sys/kernel /sys/class/bdi");
    if (identify_as("a/f", NULL, &a, &ignored) == 0) { /* else it is before Linux 6.8 */
        struct stat before = { .st_dev = 0 }, after = { .st_dev = 1 };
        CHECK(same(a, id_at("a/f")));
        /* Until the device number is the same. Other processes mount, too, and may keep it. */
        for (unsigned i = 0; i < 50 && before.st_dev != after.st_dev; i++) {
            CASE("i %u", i);
            a = id_at("a/f");
            CHECK_EQ(stat(at("a"), &before), 0);
            CHECK_EQ(sh("umount a && " BINDFS("src1", "a")), 0);
            CHECK_EQ(stat(at("a"), &after), 0);
            CHECK(!same(a, id_at("a/f")));
        }
    }
    MUST("umount /sys/class/bdi");
    clean_up();
}

/* A server may pass on the inode numbers of two devices. Then one number stands for two files. */
static void test_fuse_inodes(void)
{
    struct stat x, y;
    NEED("bindfs");
    MUST("mkdir -p a src1/one src1/two && mount -t tmpfs tmpfs src1/one && "
         "mount -t tmpfs tmpfs src1/two && echo 1 >src1/one/x && echo 2 >src1/two/y");
    if (sh(BINDFS("src1", "a")) != 0) {
        (void)sh("umount src1/one src1/two");
        clean_up();
        SKIP("cannot mount FUSE here");
    }
    CHECK_EQ(stat(at("a/one/x"), &x) + stat(at("a/two/y"), &y), 0);
    CHECK(x.st_dev == y.st_dev && x.st_ino == y.st_ino);
    CHECK(!same(id_at("a/one/x"), id_at("a/two/y")));
    CHECK(same(id_at("a/one/x"), id_at("a/one/x")));
    /* The server ends a moment after its mount, and until then it uses these. */
    MUST("umount a && for d in one two; do i=0; until umount src1/$d; do i=$((i + 1)); "
         "[ $i -lt 100 ] || exit 1; sleep 0.1; done; done");
    clean_up();
}

/* An image whose maker sets all times is replaced by the next one. Only the caller, who names it,
 * can tell their files apart. */
static void test_overlay_layers(void)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    NEED("mkfs.btrfs");
    MUST("truncate -s 320M a.img && mkfs.btrfs -q a.img && mkdir -p a b c src1 && echo 1 >src1/f");
    if (sh("mount -o loop a.img a") != 0) {
        clean_up();
        SKIP("cannot mount btrfs here");
    }
    /* Two subvolumes: one number, one device, two files. */
    MUST("btrfs subvolume create a/one && btrfs subvolume create a/two && echo 1 >a/one/f && "
         "echo 2 >a/two/g && mkdir a/up a/work");
    if (sh("mount -t overlay overlay -o lowerdir=a/one:a/two,upperdir=a/up,workdir=a/work b") !=
        0) {
        clean_up();
        SKIP("cannot mount overlayfs here");
    }
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    CHECK_EQ(error_at("b/g"), CM_ECLONE);
    CHECK_EQ(identify_as("b/f", "numbers are unique", &id, &v), 0);
    /* An image whose numbers and times are the same as those of the next one. */
    if (sh("umount b && mksquashfs src1 b.img -noappend && mount -o loop,ro b.img c && "
           "mount -t overlay overlay -o lowerdir=c,upperdir=a/up,workdir=a/work b") == 0) {
        CHECK_EQ(error_at("b/f"), CM_ECLONE);
        CHECK_EQ(identify_as("b/f", "the first", &id, &v), 0);
    }
    clean_up();
}
static void test_images(void)
{
    cm_file_id a, b;
    cm_validator v = CM_VALIDATOR_INIT, w = CM_VALIDATOR_INIT;
    NEED("mksquashfs");
    MUST("mkdir -p a src1 src2 && echo 1 >src1/f && echo 2 >src2/f && for i in 1 2; do "
         "mksquashfs src$i $i.img -noappend -all-root -mkfs-time 1 -all-time 1; done");
    if (sh("mv 1.img a.img && mount -o loop,ro a.img a") != 0) {
        clean_up();
        SKIP("this kernel cannot mount squashfs");
    }
    CHECK_EQ(identify_as("a/f", NULL, &a, &v), 0);
    CHECK(v.racy & CM_RACY_VOLUME);
    CHECK_EQ(identify_as("a/f", "the first", &a, &v), 0);
    CHECK_EQ(v.racy, 0);
    MUST("umount a && mv 2.img a.img && mount -o loop,ro a.img a");
    CHECK_EQ(identify_as("a/f", "the second", &b, &w), 0);
    CHECK(!same(a, b));
    CHECK(memcmp(v.proof, w.proof, sizeof(v.proof)) == 0);
    CHECK_EQ(identify_as("a/f", "the first", &b, &w), 0);
    CHECK(same(a, b));
    clean_up();
}

/* Volumes of which only the source of their mount is known; even their files cannot be written. */
#define HUGE(source, at) "mount -t hugetlbfs " source " " at " && touch " at "/f"

static void test_source(void)
{
    cm_file_id a, again;
    cm_validator v = CM_VALIDATOR_INIT;
    NOT_EMULATED;
    if (cannot)
        SKIP(cannot);
    MUST("mkdir -p a b");
    if (sh(HUGE("one", "a") " && " HUGE("two", "b")) != 0) {
        clean_up();
        SKIP("cannot mount hugetlbfs here");
    }
    a = id_at("a/f");
    CHECK_EQ(error_at("b/f"), 0);
    /* For the second of two with the same name the call returns CM_ECLONE. */
    MUST("umount b && " HUGE("one", "b"));
    CHECK_EQ(error_at("b/f"), CM_ECLONE);
    CHECK(same(a, id_at("a/f")));
    /* Unmounted from the tree, and nothing shows whether it lives: another gets its word. What is
     * known of the first one may have made room for the other by chance, so this is done often. */
    for (int i = 0; i < 12; i++) {
        CASE("i %d", i);
        MUST("umount b");
        int fd = open(at("a/f"), O_RDONLY | O_CLOEXEC);
        MUST("umount -l a && " HUGE("one", "b"));
        CHECK_EQ(error_at("b/f"), 0);
        CHECK(cm_identify(fd, &again, &v) != 0 || !same(a, again));
        (void)close(fd);
        MUST("umount b && " HUGE("one", "a") " && " HUGE("two", "b"));
        a = id_at("a/f");
    }
    clean_up();
}

/* Device mapper: a snapshot and its origin have one file system. */
static void test_device_mapper(void)
{
    NEED("dmsetup");
    if (make_clones(EXT4) != 0 ||
        sh("losetup -f --show a.img >la && losetup -f --show b.img >lb && "
           "dmsetup create cmtest$$ --table \"0 655360 linear $(cat la) 0\" && echo cmtest$$ >dma "
           "&& "
           "dmsetup create cmtest$$b --table \"0 655360 linear $(cat lb) 0\" && echo cmtest$$b "
           ">dmb") != 0) {
        (void)sh("dmsetup remove $(cat dma) $(cat dmb)");
        clean_up();
        SKIP("no device mapper in this kernel");
    }
    MUST("mount /dev/mapper/$(cat dma) a && mount /dev/mapper/$(cat dmb) b");
    cm_file_id a = id_at("a/f");
    CHECK(!same(a, id_at("b/f")));
    (void)sh("umount a; umount b; dmsetup remove $(cat dma); dmsetup remove $(cat dmb)");
    clean_up();
}

/* The best of several rounds, in microseconds. */
static double cost(int fd, const cm_identify_options *o)
{
    enum { ROUNDS = 20, TIMES = 1000 };
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    double best = 1e9;
    for (int r = 0; r < ROUNDS; r++) {
        CASE("r %d", r);
        uint64_t began = cm_now();
        for (int i = 0; i < TIMES; i++) {
            CASE("i %d", i);
            CHECK_EQ(cm_identify_with(fd, o, &id, &v), 0);
        }
        double us = (double)(cm_now() - began) / 1e3 / (double)TIMES;
        best = us < best ? us : best;
    }
    return best;
}

/* Prints the cost of naming a file. Judges nothing. */
static void test_cost(void)
{
    cm_identify_options named = CM_IDENTIFY_OPTIONS_INIT;
    named.volume_id = "volume";
    CHECK_EQ(sh("mkdir -p a && echo 1 >a/f"), 0);
    int fd = open(at("a/f"), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    double without = cost(fd, &named);
    printf("# naming a file: %.2f us, %.2f us of it its volume\n", cost(fd, NULL),
           cost(fd, NULL) - without);
    (void)close(fd);
    clean_up();
}

/* ---- Containers ------------------------------------------------------------------------------ */

/* A container's own boot_id, mounted over the kernel's, says nothing about the page cache. */
static void test_boot_of_container(void)
{
    static const uint8_t unknown[16];
    uint8_t before[16], inside[16], after[16];
    if (cannot)
        SKIP(cannot);
    NOT_EMULATED;
    cm_plat_boot_id(before);
    CHECK(memcmp(before, unknown, 16) != 0);
    MUST("echo 01234567-89ab-cdef-0123-456789abcdef >source");
    if (sh("mount --bind source /proc/sys/kernel/random/boot_id") != 0)
        SKIP("nothing can be mounted over the boot_id here");
    cm_plat_boot_id(inside);
    CHECK(memcmp(inside, unknown, 16) == 0);
    MUST("umount /proc/sys/kernel/random/boot_id");
    cm_plat_boot_id(after);
    CHECK(memcmp(before, after, 16) == 0);
}

static void look_at_boot(void *arg)
{
    (void)arg;
    CHECK(cm_plat_boot_wall_ns() == INT64_MIN);
}
static void with_own_clock(void *arg)
{
    const int fd = unshare(0x80 /* CLONE_NEWTIME */) == 0
                       ? open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)
                       : -1;
    (void)arg;
    if (fd < 0 || write(fd, "boottime 1000000 0", 18) != 18)
        _exit(77);
    (void)close(fd);
    const int status = child_run(NULL, look_at_boot, NULL);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
/* If the clock begins with the container, it does not show how old the boot is. */
static void test_own_clock(void)
{
    if (cannot)
        SKIP(cannot);
    CHECK(cm_plat_boot_wall_ns() != INT64_MIN);
    const int status = child_run(NULL, with_own_clock, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        SKIP("no time namespaces here");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const struct harness_test tests[] = {
    TEST(cost),
    TEST(clones_ext4),
    TEST(clones_xfs),
    TEST(clones_partitions),
    TEST(same_claim),
    TEST(claim_of_lazily_unmounted),
    TEST(claim_threads),
    TEST(reused_device),
    TEST(btrfs),
    TEST(overlay),
    TEST(overlay_writer),
    TEST(overlay_layers),
    TEST(whole_seconds),
    TEST(sync_lasts),
    TEST(sync_lasts_f2fs),
    TEST(bind_and_tmpfs),
    TEST(boot_of_container),
    TEST(own_clock),
    TEST(fuse),
    TEST(fuse_without_sysfs),
    TEST(fuse_inodes),
    TEST(images),
    TEST(source),
    TEST(device_mapper),
};

/* mkfs.btrfs gives up at a mount whose server was killed. Only our own namespace loses them. */
static void leave_dead_mounts(void)
{
    (void)sh("findmnt -rn -t fuse,fuseblk,fuse.cachemax,fuse.bindfs -o TARGET | while read m; do "
             "stat \"$m\" 2>&1 | grep -q 'not connected' && umount -l \"$m\"; done");
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, sizeof(dir), "%s/cm-volume-XXXXXX", tmp && strlen(tmp) < 64 ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    if (geteuid() != 0)
        cannot = "needs root";
    else if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        cannot = "no mount namespace of its own here";
    else
        leave_dead_mounts();
    int status = HARNESS_MAIN(tests, argc, argv);
    clean_up();
    char line[200];
    (void)snprintf(line, sizeof(line), "rm -rf %s", dir);
    return system(line) == 0 ? status : 1;
}
