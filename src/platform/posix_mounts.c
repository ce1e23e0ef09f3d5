/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_mounts.c - on Linux: the mounts that this process can see, and what follows from their
 * kind.
 *
 * Owns: reading /proc/self/mountinfo, and the fields that are taken from each line; which volumes
 * copy a file to another layer, or are reached in other ways.
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

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

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
    m->text = cm_posix_read_all("/proc/self/mountinfo", &m->text_room);
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

uint64_t cm_posix_mount_number(int fd, bool unique)
{
    const unsigned wanted = unique ? STATX_MNT_ID_UNIQUE : STATX_MNT_ID;
    struct statx stx;
    uint64_t number;

    memset(&stx, 0, sizeof stx);
    /* No other attribute is needed, so no server is asked. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &stx) != 0 ||
        (stx.stx_mask & wanted) == 0) {
        return 0;
    }
    /* stx_mnt_id, the field behind stx_dev_minor: not every libc header names it. */
    memcpy(&number, (const char *)&stx + offsetof(struct statx, stx_dev_minor) + 4, sizeof number);
    return number;
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
