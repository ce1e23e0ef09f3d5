/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_mounts.c - on Linux: the mounts that this process can see, and the identity of the mounted
 * volume.
 *
 * Owns: reading /proc/self/mountinfo, and the fields that are taken from each line; which volumes
 * copy a file to another layer, or are reached in other ways; what shows that a volume was not
 * unmounted meanwhile.
 *
 * How: the whole file is read at once and cut into lines and words in place. The lines point into
 * that text. The source of a mount (for an overlay: its layers) is kept as a hash. Nothing is kept
 * between two calls.
 *
 * Who: api/, platform/, state/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u /* Linux 6.8 */
#endif

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200 /* Linux 6.5: also a handle that cannot be opened */
#endif

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000u /* Linux 5.8 */
#endif

/* Reads a whole file of the kernel, to memory of *bytes. NULL: it cannot be read, or not all of
 * it. */
static char *read_all(const char *path, size_t *bytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t room = 65536, have = 0;
    char *text = fd < 0 ? NULL : cm_posix_remap(NULL, 0, room);

    while (text != NULL) {
        const ssize_t n = read(fd, text + have, room - have - 1);
        char *more = NULL;

        if (n == 0) {
            text[have] = '\0';
            break;
        }
        if (n > 0) {
            have += (size_t)n;
            if (have + 1 < room) {
                continue;
            }
            more = cm_posix_remap(text, room, room * 2);
        }
        if (more == NULL) {
            cm_posix_unmap(text, room);
        }
        text = more;
        room *= 2;
    }
    *bytes = room;
    if (fd >= 0) {
        (void)close(fd);
    }
    return text;
}

/* A hash of the layers of an overlay, which tell it from other overlays. */
static uint64_t layers_of(char *options)
{
    char *save = NULL;
    uint64_t h = 1;

    for (char *o = strtok_r(options, ",", &save); o != NULL; o = strtok_r(NULL, ",", &save)) {
        if (strncmp(o, "lowerdir", 8) == 0 || strncmp(o, "upperdir=", 9) == 0 ||
            strncmp(o, "datadir", 7) == 0) {
            h = cm_posix_mix(h, "layer", o, strlen(o));
        }
    }
    return h;
}

/* Is an option set that takes the meaning from a sync? Compares whole options; the one that ends
 * with a colon may have a value (f2fs "checkpoint=disable:10%": a crash takes all since the mount).
 */
static bool has_no_barriers(const char *options)
{
    static const char *const without[] = {
        "nobarrier", "barrier=0",          "fsync_mode=nobarrier",
        "volatile",  "checkpoint=disable", "checkpoint=disable:",
    };

    while (options != NULL && *options != '\0') {
        const size_t length = strcspn(options, ",");

        for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
            const size_t n = strlen(without[i]);

            if (strncmp(options, without[i], n) == 0 && (n == length || without[i][n - 1] == ':')) {
                return true;
            }
        }
        options += length + (options[length] == ',');
    }
    return false;
}

/* Cuts the next line off *text and changes the text. False: there is none, or it makes no sense. */
static bool next_line(char **text, struct mount_line *l)
{
    char *rest, *mount, *source, *options, *start = strsep(text, "\n");

    memset(l, 0, sizeof *l);
    if (start == NULL || *start == '\0' ||
        sscanf(start, "%llu %*u %u:%u", &l->id, &l->major_no, &l->minor_no) != 3) {
        return false;
    }
    rest = strstr(start, " - ");
    if (rest == NULL) {
        return false;
    }
    rest += 3;
    /* The source may be empty: then two spaces follow each other. */
    mount = strsep(&rest, " ");
    source = strsep(&rest, " ");
    options = strsep(&rest, " ");
    if (source == NULL) {
        return false;
    }
    l->type = mount;
    l->source = cm_posix_mix(0, mount, source, strlen(source));
    l->fuse_user = -1;
    l->no_barriers = has_no_barriers(options);
    if (options != NULL && strncmp(mount, "fuse", 4) == 0) {
        const char *user = strstr(options, ",user_id=");

        l->fuse_user = user != NULL ? (int64_t)strtoul(user + 9, NULL, 10) : -1;
    }
    if (strcmp(mount, "overlay") == 0 && options != NULL) {
        /* Linux lists the layers. Who lists none (an emulator) says nothing of them. */
        l->no_upper = strstr(options, "lowerdir") != NULL && strstr(options, "upperdir=") == NULL;
        const uint64_t layers = layers_of(options); /* changes the options */

        l->source = cm_posix_mix(0, mount, &layers, sizeof layers);
    }
    return true;
}

void cm_posix_mounts_read(struct mounts *m)
{
    char *rest;

    *m = (struct mounts){ .text = NULL };
    m->text = read_all("/proc/self/mountinfo", &m->text_room);
    rest = m->text;
    while (rest != NULL) {
        struct mount_line l;

        if (!next_line(&rest, &l)) {
            continue;
        }
        if (m->count == m->room) {
            const size_t was = m->room * sizeof l, bytes = was * 2 + 64 * sizeof l;
            struct mount_line *more = cm_posix_remap(m->line, was, bytes);

            if (more == NULL) {
                cm_posix_mounts_free(m); /* what is not in a part of the list need not be gone */
                *m = (struct mounts){ .text = NULL };
                return;
            }
            m->line = more;
            m->room = bytes / sizeof l;
        }
        m->line[m->count++] = l;
    }
}

void cm_posix_mounts_free(struct mounts *m)
{
    cm_posix_unmap(m->line, m->room * sizeof *m->line);
    cm_posix_unmap(m->text, m->text_room);
}

const struct mount_line *cm_posix_mount_of(const struct mounts *m, int fd)
{
    const uint64_t id = cm_posix_mount_number(fd, false);

    for (size_t i = 0; id != 0 && i < m->count; i++) {
        if (m->line[i].id == id) {
            return &m->line[i];
        }
    }
    return NULL;
}

bool cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    /* They order their journals with flushes of the disk, and an fsync ends with one. */
    static const char *const known[] = { "ext4", "xfs", "btrfs", "f2fs" };
    POSIX_NO_CANCEL;
    const struct mount_line *l;
    struct mounts m;
    bool lasts = false;

    cm_posix_mounts_read(&m);
    l = cm_posix_mount_of(&m, file_fd(f));
    for (size_t i = 0; l != NULL && i < sizeof known / sizeof known[0]; i++) {
        lasts |= strcmp(l->type, known[i]) == 0 && !l->no_barriers;
    }
    (void)snprintf(what, PLAT_VOLUME, "%.32s%s", l != NULL ? l->type : "an unknown volume",
                   l != NULL && l->no_barriers ? " without barriers" : "");
    cm_posix_mounts_free(&m);
    return lasts;
}

/* Does overlayfs have the file in its upper layer, and nothing of it in a lower one? Its handle
 * tells: struct ovl_fh, which is 3 bytes, version, magic, length, flags. A file that was copied has
 * the handle of before. False also if the kernel (before Linux 6.5) or a filter gives no handle. */
static bool is_in_upper_layer(int fd)
{
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } u;
    int mount;

    memset(&u, 0, sizeof u);
    u.h.handle_bytes = MAX_HANDLE_SZ;
    return name_to_handle_at(fd, "", &u.h, &mount, AT_EMPTY_PATH | AT_HANDLE_FID) == 0 &&
           u.h.handle_type == 0xf8 && u.h.handle_bytes > 6 && u.h.f_handle[4] == 0xfb &&
           (u.h.f_handle[6] & 4) != 0;
}

/* fuse-overlayfs reads for those who opened the file before the copy from the old one, and the
 * pages that come from there are also what the owner sees. It tells nothing of its layers. */
bool cm_plat_file_is_layered(const struct cm_plat_file *f)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    const struct mount_line *l;
    struct statfs fs;
    struct mounts m;
    bool is = false;

    if (fstatfs(fd, &fs) != 0 ||
        ((uint32_t)fs.f_type != OVERLAYFS_SUPER_MAGIC && (uint32_t)fs.f_type != FUSE_SUPER_MAGIC)) {
        return false;
    }
    cm_posix_mounts_read(&m);
    l = cm_posix_mount_of(&m, fd);
    if ((uint32_t)fs.f_type == FUSE_SUPER_MAGIC) {
        is = l != NULL && strcmp(l->type, "fuse.fuse-overlayfs") == 0;
    } else {
        is = !(l != NULL && l->no_upper) && !is_in_upper_layer(fd);
    }
    cm_posix_mounts_free(&m);
    return is;
}

bool cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    static const struct {
        uint32_t type;
        const char *name;
    } known[] = {
        { FUSE_SUPER_MAGIC, "FUSE or virtiofs" },
        { NFS_SUPER_MAGIC, "NFS" },
        { SMB_SUPER_MAGIC, "SMB" },
        { 0xff534d42u, "SMB" }, /* as the kernel's client says */
        { 0xfe534d42u, "SMB" }, /* the same, since SMB 2 */
        { V9FS_MAGIC, "9p" },
        { 0x786f4256u, "vboxsf" }, /* a directory of the host, which sees no lock of the guest */
        { 0xbacbacbcu, "vmhgfs" }, /* the same */
    };
    const int fd = file_fd(f);
    struct statfs fs;
    struct stat st;

    if (fstatfs(fd, &fs) != 0 || fstat(fd, &st) != 0) {
        return false;
    }
    if ((uint32_t)fs.f_type == FUSE_SUPER_MAGIC && major(st.st_dev) != 0) {
        return false; /* a disk of its own (fuseblk: ntfs-3g): no other way leads to its files */
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if ((uint32_t)fs.f_type == known[i].type) {
            (void)snprintf(what, PLAT_VOLUME, "%s", known[i].name);
            return true;
        }
    }
    return false;
}

bool cm_posix_fuse_user(int fd, uint32_t *user)
{
    struct mounts m;
    const struct mount_line *l;
    struct stat st;
    bool is = false;

    cm_posix_mounts_read(&m);
    l = cm_posix_mount_of(&m, fd);
    /* A FUSE file system has a device number of its own, wherever it is mounted. */
    for (size_t i = 0; l == NULL && fstat(fd, &st) == 0 && i < m.count; i++) {
        if (makedev(m.line[i].major_no, m.line[i].minor_no) == st.st_dev) {
            l = &m.line[i];
        }
    }
    if (l == NULL) {
        *user = UINT32_MAX;
        is = true;
    } else if (l->fuse_user >= 0) {
        *user = (uint32_t)l->fuse_user;
        is = true;
    }
    cm_posix_mounts_free(&m);
    return is;
}

bool cm_plat_is_mount_point(const char *path)
{
    POSIX_NO_CANCEL;
    struct statx stx;

    memset(&stx, 0, sizeof stx);
    return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 &&
           (stx.stx_attributes & stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* ---- Identity of the mounted volume ---------------------------------------------------------- */

/* stx_mnt_id, the field behind stx_dev_minor: not every libc header names it. */
static uint64_t mount_of(const struct statx *stx)
{
    uint64_t number;

    memcpy(&number, (const char *)stx + offsetof(struct statx, stx_dev_minor) + 4, sizeof number);
    return number;
}

uint64_t cm_posix_mount_number(int fd, bool unique)
{
    const unsigned wanted = unique ? STATX_MNT_ID_UNIQUE : STATX_MNT_ID;
    struct statx stx;

    memset(&stx, 0, sizeof stx);
    /* No other attribute is needed, so no server is asked. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &stx) != 0 ||
        (stx.stx_mask & wanted) == 0) {
        return 0;
    }
    return mount_of(&stx);
}

static bool is_sysfs(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == SYSFS_MAGIC;
}

int cm_posix_sysfs_shows(const char *dir, const char *name, uint64_t *number)
{
    char path[192];
    struct stat st;

    *number = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (stat(path, &st) == 0) {
        *number = (uint64_t)st.st_ino;
        return is_sysfs(path) ? 1 : CM_ECLONE;
    }
    /* A link that is there and leads nowhere: the directory of all devices is hidden. */
    return errno == ENOENT && lstat(path, &st) != 0 && errno == ENOENT && is_sysfs(dir) ? 0
                                                                                        : CM_ECLONE;
}

/* The name that sysfs has for a disk or partition, by the list of all. 0, or an error. */
static int listed_name(uint32_t major_no, uint32_t minor_no, char name[40])
{
    size_t room;
    char *text = read_all("/proc/partitions", &room), *rest = text;
    int rc = CM_ECLONE;

    if (text == NULL) {
        rc = cm_posix_unseen(errno);
        return rc != 0 ? rc : CM_ECLONE;
    }
    while (rest != NULL && rc != 0) {
        unsigned a, b;

        if (sscanf(strsep(&rest, "\n"), "%u %u %*u %39s", &a, &b, name) == 3 && a == major_no &&
            b == minor_no) {
            rc = 0;
        }
    }
    cm_posix_unmap(text, room);
    for (char *c = name; rc == 0 && *c != '\0'; c++) {
        if (*c == '/') {
            *c = '!'; /* cciss/c0d0 */
        }
    }
    return rc;
}

/* Podman covers /sys/dev/block and leaves the rest of sysfs. The same directory has a link in
 * /sys/class/block, under its name. */
int cm_posix_disk_dir(uint32_t major_no, uint32_t minor_no, char dir[POSIX_DISK_DIR])
{
    char name[40], number[32], says[32], path[80];
    uint64_t ignored;
    int rc;

    (void)snprintf(number, sizeof number, "%u:%u", major_no, minor_no);
    (void)snprintf(dir, POSIX_DISK_DIR, "/sys/dev/block/%s", number);
    rc = cm_posix_sysfs_shows("/sys/dev/block", number, &ignored);
    if (rc >= 0) {
        return rc;
    }
    rc = listed_name(major_no, minor_no, name);
    if (rc != 0) {
        return rc;
    }
    if (cm_posix_sysfs_shows("/sys/class/block", name, &ignored) != 1) {
        return CM_ECLONE;
    }
    (void)snprintf(path, sizeof path, "/sys/class/block/%s/dev", name);
    if (cm_posix_read_text(path, says, sizeof says) < 0) {
        rc = cm_posix_unseen(errno);
        return rc != 0 ? rc : CM_ECLONE;
    }
    says[strcspn(says, "\n")] = '\0';
    if (strcmp(says, number) != 0) {
        return CM_ECLONE; /* the name is another disk's by now */
    }
    (void)snprintf(dir, POSIX_DISK_DIR, "/sys/class/block/%s", name);
    return 1;
}

bool cm_posix_disk_name(uint32_t major_no, uint32_t minor_no, char name[64])
{
    char dir[POSIX_DISK_DIR], link[512];
    const char *last;
    ssize_t n;

    /* The link tells the name, also if what it leads to cannot be seen. */
    (void)cm_posix_disk_dir(major_no, minor_no, dir);
    n = readlink(dir, link, sizeof link - 1);
    if (n <= 0) {
        return false;
    }
    link[n] = '\0';
    last = strrchr(link, '/');
    (void)snprintf(name, 64, "%.31s", last != NULL ? last + 1 : link); /* the kernel keeps 31 */
    return true;
}

/* The same for btrfs, which may have several disks: its UUID. */
static bool btrfs_name(int fd, char name[64])
{
    struct btrfs_ioctl_fs_info_args info;
    size_t n = 0;

    memset(&info, 0, sizeof info);
    if (ioctl(fd, (posix_request)BTRFS_IOC_FS_INFO, &info) != 0) {
        return false;
    }
    for (unsigned i = 0; i < sizeof info.fsid; i++) {
        const bool dash = i == 4 || i == 6 || i == 8 || i == 10;

        n += (size_t)snprintf(name + n, 64 - n, "%s%02x", dash ? "-" : "", info.fsid[i]);
    }
    return true;
}

/* The kernel has one of these for each mounted file system, however many mounts it has, in whatever
 * namespaces. It begins and ends with the pages of its files. What is found:
 *   ext2, 3, 4, xfs, f2fs, btrfs   the inode number of its directory in sysfs. sysfs counts these
 *                                  numbers, and the directory goes after the last page
 *   tmpfs                          f_fsid: a random number of this one
 * f_fsid counts in any case: on btrfs it names the subvolume, too. A snapshot of one may have pages
 * of different ages, so it must not pass for the other. False: not known. */
static bool superblock_of(int fd, const struct statx *stx, uint64_t word[3])
{
    static const struct {
        uint32_t type;
        const char *dir;
    } of[] = { { 0xef53, "/sys/fs/ext4" },
               { 0x58465342, "/sys/fs/xfs" },
               { 0xf2f52010, "/sys/fs/f2fs" },
               { BTRFS_SUPER_MAGIC, "/sys/fs/btrfs" } };
    struct statfs fs;
    char name[64];
    uint64_t fsid;

    if (fstatfs(fd, &fs) != 0) {
        return false;
    }
    memcpy(&fsid, &fs.f_fsid, sizeof fsid);
    word[0] = (uint32_t)fs.f_type;
    word[1] = fsid;
    word[2] = 0;
    if (word[0] == TMPFS_MAGIC) { /* before Linux 5.13 there is none */
        return fsid != 0;
    }
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        if (word[0] == of[i].type) {
            return (of[i].type == BTRFS_SUPER_MAGIC
                        ? btrfs_name(fd, name)
                        : cm_posix_disk_name(stx->stx_dev_major, stx->stx_dev_minor, name)) &&
                   cm_posix_sysfs_shows(of[i].dir, name, &word[2]) == 1;
        }
    }
    return false;
}

void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    struct statx stx;
    uint64_t word[4] = { 0, 0, 0, 0 };
    XXH128_canonical_t canonical;

    memset(id, 0, 16);
    memset(&stx, 0, sizeof stx);
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &stx) != 0 ||
        (stx.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE)) == 0) {
        return;
    }
    word[0] = mount_of(&stx);
    if (word[0] == 0) {
        return; /* an emulator that passes on the mask but not the number */
    }
    if (superblock_of(fd, &stx, &word[1])) {
        word[0] = 0; /* the number of no mount */
    } else {
        /* A program in another mount namespace has other mounts, and they have other numbers. */
        word[1] = stx.stx_mask & STATX_MNT_ID_UNIQUE;
        word[2] = word[3] = 0;
        if (word[1] == 0) {
            /* Before Linux 6.8 the kernel may use the number again after an unmount. The disk's
             * sequence number at least shows that a disk was pulled out; that is what loses data.
             */
            word[2] = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
            word[3] = cm_posix_disk_sequence(stx.stx_dev_major, stx.stx_dev_minor);
        }
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(word, sizeof word));
    memcpy(id, canonical.digest, 16);
}
