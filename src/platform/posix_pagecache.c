/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_pagecache.c - on Linux: which page cache the pages of a pool are in.
 *
 * Owns: the identity of the boot, and of the mounted file system. If both are those of the last
 * open, nothing that was stored since then is lost, whatever was not synced (docs/crash.md).
 *
 * Who: api/, platform/, state/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdio.h>
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

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

/* Some containers (systemd-nspawn) have another boot_id at every start: they mount their own file
 * over the kernel's. It says nothing about the page cache. */
static bool mounted_over(const char *dir, const char *name)
{
    const int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int fd = at < 0 ? -1 : openat(at, name, O_PATH | O_CLOEXEC);
    const bool over =
        fd >= 0 && cm_posix_mount_number(fd, false) != cm_posix_mount_number(at, false);

    if (fd >= 0) {
        (void)close(fd);
    }
    if (at >= 0) {
        (void)close(at);
    }
    return over;
}

void cm_plat_boot_id(uint8_t id[16])
{
    POSIX_NO_CANCEL;
    char text[64];
    unsigned digits = 0;

    memset(id, 0, 16);
    if (mounted_over("/proc/sys/kernel/random", "boot_id") ||
        cm_posix_read_text("/proc/sys/kernel/random/boot_id", text, sizeof text) < 0) {
        return;
    }
    for (const char *c = text; *c != '\0' && digits < 32; c++) {
        const int d = hex_digit(*c);

        if (d >= 0) {
            id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | d);
            digits++;
        }
    }
    if (digits != 32) {
        memset(id, 0, 16);
    }
}

/* The name that sysfs has for a btrfs, which may have several disks: its UUID. */
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
static bool superblock_of(int fd, dev_t dev, uint64_t word[3])
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
                        : cm_posix_disk_name(major(dev), minor(dev), name)) &&
                   cm_posix_sysfs_shows(of[i].dir, name, &word[2]) == 1;
        }
    }
    return false;
}

void cm_plat_mount_id(struct cm_plat_file *f, uint8_t id[16])
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    uint64_t word[4] = { 0, 0, 0, 0 };
    XXH128_canonical_t canonical;
    struct stat st;
    bool unique;

    memset(id, 0, 16);
    word[0] = cm_posix_mount_number(fd, true);
    unique = word[0] != 0;
    if (!unique) {
        word[0] = cm_posix_mount_number(fd, false);
    }
    if (word[0] == 0 || fstat(fd, &st) != 0) {
        return;
    }
    if (superblock_of(fd, st.st_dev, &word[1])) {
        word[0] = 0; /* the number of no mount */
    } else {
        /* A program in another mount namespace has other mounts, and they have other numbers. */
        word[1] = unique;
        word[2] = word[3] = 0;
        if (!unique) {
            /* Before Linux 6.8 the kernel may use the number again after an unmount. The disk's
             * sequence number at least shows that a disk was pulled out; that is what loses data.
             */
            word[2] = (uint64_t)major(st.st_dev) << 32 | minor(st.st_dev);
            word[3] = cm_posix_disk_sequence(major(st.st_dev), minor(st.st_dev));
        }
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(word, sizeof word));
    memcpy(id, canonical.digest, 16);
}
