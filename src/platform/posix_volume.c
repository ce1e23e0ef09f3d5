/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_volume.c - on Linux: the word that stands for a volume in the id of a file.
 *
 * Owns: a table of known volume words, and the claims: which mounted volume has which word.
 *
 * How: the word must differ between volumes that are mounted side by side, also between copies of
 * one image, and must be the same after a restart. f_fsid alone does neither: ext4 makes it from
 * the UUID, which is copied with the image; xfs and FAT make it from the device number. So the word
 * is made from:
 *   block device   f_fsid (the UUID instead, if f_fsid is the device number) and data of the disk:
 *                  dm or md UUID, file behind the loop, WWID, serial, partition
 *   btrfs          f_fsid: each subvolume has one, and the kernel mounts no two with the same
 *   overlayfs      its layers
 *   f_fsid 0       type and source of the mount (NFS)
 *   FUSE           this one mount. Nobody knows how its server numbers files the next time, so the
 *                  word ends with the mount
 * Two volumes can still have the same word: disks without a serial number, exports with the same
 * name. The first one that is seen has the word while it is mounted. For another one the answer is
 * CM_ECLONE.
 *
 * The answer is CM_ECLONE, too, if something of that cannot be looked at (no sysfs in a sandbox, a
 * mount that is not listed in a chroot, a filter of system calls). Without it the word would be
 * another one, and a file that is seen from inside and from outside would have two ids.
 *
 * Nothing is read twice: the result is kept under the number of the mount, which the kernel never
 * uses again (Linux 6.8), or else under the disk's sequence number.
 *
 * Who: platform/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

#define KNOWN 64u

/* The key of a known word. `disk` is used only if the kernel may use the mount's number again. */
struct volume_key {
    uint64_t dev, fsid, mount, disk;
};
struct known {
    struct volume_key key;
    uint64_t word;
    bool used;
};
/* A volume that has a word. */
struct claim {
    uint64_t word;
    uint64_t dev, fsid; /* st_dev and f_fsid of its files */
    uint64_t disk;      /* sequence number; 0: not a disk, or unknown */
    uint64_t source;    /* hash of the source of its mount; 0: not listed, or nothing was */
    unsigned major_no, minor_no;
    char type[16];
};

/* A thread may take known_mutex inside claims_mutex. It makes no system call under known_mutex. */
static pthread_mutex_t claims_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t known_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct known known[KNOWN]; /* protected by known_mutex */
static struct claim *claims;      /* protected by claims_mutex, like the next two */
static size_t claim_count, claim_room;

/* A fork must not leave the child with a mutex that was locked by a thread it does not have. */
static void before_fork(void)
{
    (void)pthread_mutex_lock(&claims_mutex);
    (void)pthread_mutex_lock(&known_mutex);
}

static void after_fork(void)
{
    (void)pthread_mutex_unlock(&known_mutex);
    (void)pthread_mutex_unlock(&claims_mutex);
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork, after_fork);
}

POSIX_AT_FORKS static void watch_forks_early(void)
{
    (void)pthread_once(&fork_once, watch_forks);
}

/* ---- Identity of a disk ---------------------------------------------------------------------- */

/* A disk that is looked at in sysfs. */
struct disk {
    char dir[POSIX_DISK_DIR];
    int e; /* why something could not be looked at; 0: all could */
};

/* The text of an attribute of the disk without white space around it; "" if there is none. */
static const char *disk_says(struct disk *d, const char *name, char text[512])
{
    char path[128];
    ssize_t got;
    size_t n;

    (void)snprintf(path, sizeof path, "%s/%s", d->dir, name);
    got = cm_posix_read_text(path, text, 512);
    if (got <= 0) {
        d->e = d->e != 0 || got == 0 ? d->e : cm_posix_unseen(errno);
        return "";
    }
    for (n = strlen(text); n > 0 && (unsigned char)text[n - 1] <= ' '; n--) {
        text[n - 1] = '\0';
    }
    while (*text != '\0' && (unsigned char)*text <= ' ') {
        text++;
    }
    return text;
}

/* The same text; if the device is a partition, that of the whole disk. */
static const char *whole_disk_says(struct disk *d, const char *name, char text[512])
{
    char up[64];
    const char *says = disk_says(d, name, text);

    if (*says != '\0') {
        return says;
    }
    (void)snprintf(up, sizeof up, "../%s", name);
    return disk_says(d, up, text);
}

/* A hash of lasting data that tells this disk from others; 0: the disk has none. */
static uint64_t disk_identity(struct disk *d)
{
    static const char *const names[] = { "dm/uuid", "dm/name",     "md/uuid", "loop/backing_file",
                                         "wwid",    "device/wwid", "serial",  "device/serial",
                                         "cid",     "device/cid" };
    char text[512];
    const char *says;
    uint64_t h = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && h == 0; i++) {
        says = whole_disk_says(d, names[i], text);
        if (*says == '\0') {
            continue;
        }
        h = cm_posix_mix(0, names[i], says, strlen(says));
        says = whole_disk_says(d, "loop/offset", text);
        h = cm_posix_mix(h, "offset", says, strlen(says));
        says = disk_says(d, "partition", text);
        h = cm_posix_mix(h, "partition", says, strlen(says));
    }
    if (h == 0 && *disk_says(d, "uevent", text) != '\0') {
        says = strstr(text, "PARTUUID=");
        h = says != NULL ? cm_posix_mix(0, "partition", says, strcspn(says, "\n")) : 0;
    }
    return h;
}

/* The kernel's form of a device number. Some file systems use it as f_fsid. */
static uint64_t device_as_fsid(uint64_t dev)
{
    const uint64_t major_no = major(dev), minor_no = minor(dev);

    return (minor_no & 0xff) | major_no << 8 | (minor_no & ~UINT64_C(0xff)) << 12;
}

/* The UUID of the file system, if the file system tells it; 0: none. CM_ECLONE: the system refuses
 * to tell. */
static int uuid_of(int fd, uint64_t *uuid)
{
    struct {
        uint8_t len, uuid[16];
    } u;

    *uuid = 0;
    memset(&u, 0, sizeof u);
    /* FS_IOC_GETFSUUID, Linux 6.9 */
    if (ioctl(fd, (posix_request)_IOR(0x15, 0, u), &u) != 0) {
        return errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL
                   ? 0
                   : CM_ECLONE;
    }
    if (u.len != 0 && u.len <= 16) {
        *uuid = cm_posix_mix(0, "uuid", u.uuid, u.len);
    }
    return 0;
}

static int word_of_disk(int fd, const struct volume_key *k, uint64_t *of_disk)
{
    struct disk d = { .e = 0 };
    const bool fsid_is_device = k->fsid == 0 || k->fsid == device_as_fsid(k->dev);
    uint64_t system = k->fsid, identity;
    int rc;

    rc = cm_posix_disk_dir(major(k->dev), minor(k->dev), d.dir);
    if (rc < 0) {
        return rc;
    }
    identity = disk_identity(&d);
    rc = d.e == 0 && fsid_is_device ? uuid_of(fd, &system) : d.e;
    if (rc != 0) {
        return rc;
    }

    uint64_t word[3] = { system, identity, 0 };

    if (system == 0 && identity == 0) { /* nothing lasting; at least differs from other disks */
        word[1] = k->dev;
        word[2] = cm_posix_disk_sequence(major(k->dev), minor(k->dev));
    }
    *of_disk = cm_posix_mix(0, "disk", word, sizeof word);
    return 0;
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* Does the kernel tell through which mount the file was opened, or refuse to? Then that mount is in
 * its list, and if no line was found, it was hidden. */
static bool mount_is_told(int fd)
{
    errno = 0;
    return cm_posix_mount_number(fd, false) != 0 || (errno != 0 && errno != ENOSYS);
}

static int word_of(int fd, const struct volume_key *k, uint32_t type, const struct mount_line *l,
                   uint64_t *word)
{
    const bool overlay = type == OVERLAYFS_SUPER_MAGIC;
    /* Not tmpfs and ramfs: they are gone at the next start, and all have the same source. */
    const bool has_source = type != TMPFS_MAGIC && type != RAMFS_MAGIC;
    const uint64_t h = cm_posix_mix(0, "type", &type, sizeof type);

    if (major(k->dev) != 0) {
        return word_of_disk(fd, k, word);
    }
    if (overlay && l != NULL) {
        /* If the layers are on several volumes, the files of each volume have that volume's inode
         * numbers, and a device number that the overlay made up. */
        const bool one = k->dev == makedev(l->major_no, l->minor_no);

        *word = cm_posix_mix(l->source, "layer", &k->dev, one ? 0 : sizeof k->dev);
    } else if (k->fsid != 0 && k->fsid != device_as_fsid(k->dev) && !overlay) {
        *word = cm_posix_mix(h, "fsid", &k->fsid, sizeof k->fsid);
    } else if (l != NULL && has_source) {
        *word = cm_posix_mix(h, "source", &l->source, sizeof l->source);
    } else if (has_source && mount_is_told(fd)) {
        return CM_ECLONE;
    } else {
        *word = cm_posix_mix(h, "device", &k->dev, sizeof k->dev);
    }
    return 0;
}

/* A number that the kernel gave to one mounted FUSE file system and gives to no other before the
 * next boot, at all places where it is bound: the inode number of its directory in sysfs. 0: there
 * is no such directory. CM_ECLONE: that cannot be looked at. */
static int fuse_instance(uint64_t dev, uint64_t *number)
{
    char name[48];
    int rc;

    (void)snprintf(name, sizeof name, "%u:%u%s", major(dev), minor(dev),
                   major(dev) == 0 ? "" : "-fuseblk");
    rc = cm_posix_sysfs_shows("/sys/class/bdi", name, number);
    return rc < 0 ? rc : 0;
}

/* The word of a FUSE file system. No other file system ever has it, so it needs no claim.
 * CM_ECLONE: a later one could have all that the kernel tells about this one. */
static int word_of_fuse(int fd, const struct volume_key *k, uint64_t *word)
{
    static const uint8_t unknown[16];
    uint8_t boot[16];
    uint64_t of[3] = { k->dev, 0, 0 };

    if (fuse_instance(k->dev, &of[1]) != 0) {
        return CM_ECLONE;
    }
    if (of[1] == 0) { /* part of another FUSE file system (virtiofs) */
        of[2] = cm_posix_mount_number(fd, true);
    }
    cm_plat_boot_id(boot); /* all of these numbers start anew at a boot */
    if (memcmp(boot, unknown, sizeof boot) == 0 || (of[1] == 0 && of[2] == 0)) {
        return CM_ECLONE;
    }
    *word = cm_posix_mix(cm_posix_mix(0, "boot", boot, sizeof boot), "fuse", of, sizeof of);
    return 0;
}

/* ---- Claims ---------------------------------------------------------------------------------- */

/* Is the file system that was mounted from a disk still in use? The kernel keeps a directory for
 * such a file system as long as a process has one of its files open, even after the unmount. */
static bool disk_in_use(const struct claim *c)
{
    char path[128], name[64];

    if (!cm_posix_disk_name(c->major_no, c->minor_no, name)) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/sys/fs/%s/%s", c->type, name);
    if (access(path, F_OK) == 0) {
        return true;
    }
    (void)snprintf(path, sizeof path, "/sys/fs/ext4/%s", name); /* ext2 and ext3, too */
    return access(path, F_OK) == 0;
}

/* Is the volume that made the claim still there? */
static bool is_alive(const struct claim *c, const struct mounts *m)
{
    if (m->text == NULL) {
        return true; /* unknown: so no other volume gets its word */
    }
    if (c->disk != 0 && cm_posix_disk_sequence(c->major_no, c->minor_no) != c->disk) {
        return false; /* another disk has the number now */
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->line[i].major_no == c->major_no && m->line[i].minor_no == c->minor_no &&
            (c->major_no != 0 || c->source == 0 || m->line[i].source == c->source)) {
            return true;
        }
    }
    return c->major_no != 0 && disk_in_use(c);
}

static void drop_known(uint64_t word)
{
    (void)pthread_mutex_lock(&known_mutex);
    for (size_t i = 0; i < KNOWN; i++) {
        known[i].used = known[i].used && known[i].word != word;
    }
    (void)pthread_mutex_unlock(&known_mutex);
}

static void drop_claim(size_t i)
{
    drop_known(claims[i].word);
    claims[i] = claims[--claim_count];
}

/* Makes room for one more claim. The table grows only if all claims in it are alive. */
static int make_room(const struct mounts *m)
{
    struct claim *more;

    if (claim_count < claim_room) {
        return 0;
    }
    for (size_t i = claim_count; i-- > 0;) {
        if (!is_alive(&claims[i], m)) {
            drop_claim(i);
        }
    }
    if (claim_count < claim_room) {
        return 0;
    }
    more = cm_posix_remap(claims, claim_room * sizeof *more, (claim_room * 2 + 16) * sizeof *more);
    if (more == NULL) {
        return CM_ENOMEM;
    }
    claims = more;
    claim_room = claim_room * 2 + 16;
    return 0;
}

/* Gives the word to the volume that has the files of k->dev, unless another volume has it. */
static int claim_word(const struct volume_key *k, uint64_t word, const struct mount_line *l,
                      const struct mounts *m)
{
    struct claim c = { .word = word, .dev = k->dev, .fsid = k->fsid };
    int rc;

    for (size_t i = claim_count; i-- > 0;) {
        if (claims[i].dev == k->dev) {
            drop_claim(i); /* the claim of this volume, or of an earlier one with its number */
        } else if (claims[i].word == word) {
            if (is_alive(&claims[i], m)) {
                return CM_ECLONE;
            }
            drop_claim(i);
        }
    }
    rc = make_room(m);
    if (rc != 0) {
        return rc;
    }
    c.major_no = l != NULL ? l->major_no : major(k->dev);
    c.minor_no = l != NULL ? l->minor_no : minor(k->dev);
    c.source = l != NULL ? l->source : 0;
    (void)snprintf(c.type, sizeof c.type, "%s", l != NULL ? l->type : "");
    if (c.major_no != 0) {
        c.disk = cm_posix_disk_sequence(c.major_no, c.minor_no);
    }
    claims[claim_count++] = c;
    return 0;
}

/* One volume may be mounted from several sources (NFS): its first word stays while it lives. */
static const struct claim *claim_of(const struct volume_key *k, const struct mounts *m)
{
    for (size_t i = 0; i < claim_count; i++) {
        if (claims[i].dev == k->dev && claims[i].fsid == k->fsid && k->fsid == 0 &&
            major(k->dev) == 0 && is_alive(&claims[i], m)) {
            return &claims[i];
        }
    }
    return NULL;
}

static int judge(int fd, const struct volume_key *k, uint32_t type, uint64_t *word)
{
    const struct claim *held;
    const struct mount_line *l;
    struct mounts m;
    int rc = 0;

    if (type == BTRFS_SUPER_MAGIC) {
        *word = cm_posix_mix(0, "btrfs", &k->fsid, sizeof k->fsid);
        return 0;
    }
    if (type == FUSE_SUPER_MAGIC) {
        return word_of_fuse(fd, k, word);
    }
    cm_posix_mounts_read(&m);
    l = cm_posix_mount_of(&m, fd);
    held = claim_of(k, &m);
    if (held != NULL) {
        *word = held->word;
    } else {
        rc = word_of(fd, k, type, l, word);
        rc = rc != 0 ? rc : claim_word(k, *word, l, &m);
    }
    cm_posix_mounts_free(&m);
    return rc;
}

/* ---- Known words ----------------------------------------------------------------------------- */

static struct known *known_at(const struct volume_key *k)
{
    return &known[XXH3_64bits(k, sizeof *k) % KNOWN];
}

static bool same_key(const struct volume_key *a, const struct volume_key *b)
{
    return a->dev == b->dev && a->fsid == b->fsid && a->mount == b->mount && a->disk == b->disk;
}

static bool look_up(const struct volume_key *k, uint64_t *word)
{
    const struct known *at = known_at(k);
    bool found;

    (void)pthread_mutex_lock(&known_mutex);
    found = at->used && same_key(&at->key, k);
    *word = at->word;
    (void)pthread_mutex_unlock(&known_mutex);
    return found;
}

static void remember(const struct volume_key *k, uint64_t word)
{
    (void)pthread_mutex_lock(&known_mutex);
    *known_at(k) = (struct known){ .key = *k, .word = word, .used = true };
    (void)pthread_mutex_unlock(&known_mutex);
}

int cm_posix_volume_word(int fd, uint64_t dev, const struct statfs *fs, uint64_t *word)
{
    struct volume_key k = { .dev = dev };
    bool lasting = true;
    int rc;

    memcpy(&k.fsid, &fs->f_fsid, sizeof k.fsid);
    k.mount = cm_posix_mount_number(fd, true);
    if (k.mount == 0) {
        /* The kernel uses the number again after an unmount, but not the disk's number. */
        k.mount = cm_posix_mount_number(fd, false);
        k.disk = major(dev) != 0 ? cm_posix_disk_sequence(major(dev), minor(dev)) : 0;
        lasting = k.disk != 0;
    }
    if (lasting && look_up(&k, word)) {
        return 0;
    }
    (void)pthread_once(&fork_once, watch_forks);
    (void)pthread_mutex_lock(&claims_mutex);
    rc = judge(fd, &k, (uint32_t)fs->f_type, word);
    if (rc == 0 && lasting) {
        remember(&k, *word);
    }
    (void)pthread_mutex_unlock(&claims_mutex);
    return rc;
}
