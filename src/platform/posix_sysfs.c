/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_sysfs.c - on Linux: what the kernel tells in files below /proc and /sys, above all of
 * disks.
 *
 * Owns: reading such files; where sysfs has a disk or partition, its name and its sequence number;
 * what it means if a sandbox hides them.
 *
 * How: a file is read at once. Nothing is kept between two calls.
 *
 * Who: platform/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

ssize_t cm_posix_read_text(const char *path, char *buf, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return -1;
    }
    do {
        n = read(fd, buf, size - 1);
    } while (n < 0 && errno == EINTR);
    (void)close(fd);
    if (n >= 0) {
        buf[n] = '\0';
    }
    return n;
}

char *cm_posix_read_all(const char *path, size_t *bytes)
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

int cm_posix_unseen(int err)
{
    switch (err) {
    case EACCES: /* a sandbox may refuse it */
    case EPERM:
        return CM_ECLONE;
    case EMFILE:
    case ENFILE:
        return CM_EIO;
    case ENOMEM:
        return CM_ENOMEM;
    default:
        return 0; /* also a disk that answers with an error: it always does */
    }
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
    char *text = cm_posix_read_all("/proc/partitions", &room), *rest = text;
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

uint64_t cm_posix_disk_sequence(uint32_t major_no, uint32_t minor_no)
{
    char dir[POSIX_DISK_DIR], path[96], text[32];

    if (cm_posix_disk_dir(major_no, minor_no, dir) != 1) {
        return 0;
    }
    for (unsigned i = 0; i < 2; i++) { /* the second is that of the whole disk */
        (void)snprintf(path, sizeof path, "%s/%sdiskseq", dir, i == 0 ? "" : "../");
        if (cm_posix_read_text(path, text, sizeof text) > 0) {
            return strtoull(text, NULL, 10);
        }
    }
    return 0;
}
