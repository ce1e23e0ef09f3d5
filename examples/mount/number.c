/* SPDX-License-Identifier: BSD-2-Clause
 *
 * number.c - the inode numbers that the mount shows.
 *
 * A FUSE mount has one st_dev for everything below it. But DIR may contain mounted file systems and
 * btrfs subvolumes, and each has its own numbers. Programs that copy trees take equal (st_dev,
 * st_ino) for hard links. So numbers of DIR's own device stay as they are (of the first DIR's, if
 * there are several). Numbers of other devices are mixed with a key of the device and get the top
 * bit. Numbers of DIR's device that have the top bit themselves are mixed, too. The mixing is a
 * permutation: two files of one device never share a number.
 *
 * The key comes from an identity that the file system keeps over a reboot. A second device with the
 * same identity (a copy of an image, a snapshot), and a device without one, get their device number
 * mixed in. Their numbers are unique, but only as stable as the device number. An entry is never
 * removed while the mount lives, so a number never moves to another file. Any thread may call.
 */
#include "mount.h"

#include <dirent.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200 /* Linux 6.5: the handle only tells files apart */
#endif
#define TOP (1ull << 63)
#define BTRFS_MAGIC 0x9123683Eu
#define XFS_MAGIC 0x58465342u
#define EXT_MAGIC 0xEF53u
#define F2FS_MAGIC 0xF2F52010u
#define FUSE_MAGIC 0x65735546u
#define OVERLAY_MAGIC 0x794C7630u
#define TMPFS_MAGIC 0x01021994u
#define RAMFS_MAGIC 0x858458F6u
#define LEFT_MAX 65536u
#define LIMITS (ST_NOSUID | ST_NODEV | ST_NOEXEC)

struct fs_uuid { /* struct fsuuid2 of newer <linux/fs.h> */
    uint8_t len, uuid[16];
};
#define GET_FS_UUID _IOR(0x15, 0, struct fs_uuid)

struct device {
    struct device *next;
    dev_t dev;
    uint64_t identity, key;
    uint64_t inodes; /* held; while there are any, `dev` means this file system */
    bool own;        /* the first DIR's */
    bool subvolumes; /* a directory may be on another device without being a mount point */
    bool nodes;      /* FUSE, whose server may give one number to two files */
    bool doubtful;   /* number_doubtful */
    bool local;
    bool far;      /* number_far */
    bool sizeless; /* number_sizeless */
    bool gone;     /* number_gone */
    int witness;   /* number_witness */
    _Atomic bool lost;
    cm_file_id *left; /* number_leave */
    size_t lefts;
    bool too_many; /* of them */
};
static struct {
    pthread_mutex_t lock;
    struct device *head, own;
} devices = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Names of mount points below DIRs. readdir's numbers for them are those of the covered
 * directories.
 */
static struct {
    pthread_mutex_t lock;
    int fd; /* polled: the kernel says when mounts change */
    char **name;
    size_t n;
    bool again;     /* the mounts have changed, and could not be read since */
    unsigned reads; /* how often the list was read again */
} points = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* A permutation of the numbers below 2^63. */
static uint64_t mix63(uint64_t x, uint64_t key)
{
    x = (x + key) & ~TOP;
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u) & ~TOP;
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EBu) & ~TOP;
    return x ^ (x >> 31);
}

uint64_t number_of(const struct device *d, ino_t ino)
{
    uint64_t n = ino, high = n & TOP;

    if (d->own && !high)
        return n;
    return TOP | mix63(n & ~TOP, high ? mix(d->key) : d->key);
}

/* xfs makes f_fsid from the device's number, but has a UUID. */
static uint64_t uuid_of(int fd)
{
    struct fs_uuid u = { .len = 0 };
    uint64_t half[2] = { 0, 0 };
    int f = open(procpath(fd).s, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (f >= 0) {
        if (ioctl(f, GET_FS_UUID, &u) == 0 && u.len == sizeof(u.uuid))
            memcpy(half, u.uuid, sizeof(half));
        close(f);
    }
    return half[0] ^ mix(half[1]);
}

/* The file system's own identity. 0: none that lasts. */
static void describe(struct device *d, int fd, mode_t type)
{
    struct statfs sf;
    uint64_t id = 0;

    d->identity = 0;
    d->subvolumes = d->nodes = d->doubtful = d->local = d->gone = d->sizeless = false;
    d->far = true;
    if (fstatfs(fd, &sf) < 0)
        return;
    d->local = place_is_local(fd);
    d->far = !d->local || (uint32_t)sf.f_type == OVERLAY_MAGIC;
    d->subvolumes = (uint32_t)sf.f_type == BTRFS_MAGIC;
    /* In memory without a limit there are no blocks, either. */
    d->sizeless = sf.f_blocks == 0 && (uint32_t)sf.f_type != TMPFS_MAGIC &&
                  (uint32_t)sf.f_type != RAMFS_MAGIC;
    d->gone = (uint32_t)sf.f_type == EXT_MAGIC || (uint32_t)sf.f_type == XFS_MAGIC ||
              d->subvolumes || (uint32_t)sf.f_type == F2FS_MAGIC;
    /* The name of DIR's volume says something about the numbers of that volume only. */
    d->nodes = (uint32_t)sf.f_type == FUSE_MAGIC && !(d->own && mnt.opt.volume_id);
    d->doubtful = d->nodes || (uint32_t)sf.f_type == OVERLAY_MAGIC;
    if ((uint32_t)sf.f_type == XFS_MAGIC && (S_ISDIR(type) || S_ISREG(type)))
        id = uuid_of(fd);
    if (!id)
        memcpy(&id, &sf.f_fsid, sizeof(id));
    d->identity = id;
}

/* For proof.c: syncfs on it reports every loss on the file system since it was opened. */
static int open_witness(const struct device *d, int fd, mode_t type)
{
    if (!number_proves(d) || (!S_ISDIR(type) && !S_ISREG(type)))
        return -1;
    return open(procpath(fd).s, O_RDONLY | O_CLOEXEC);
}

/* Devices lock held. */
static struct device *find(dev_t dev, uint64_t identity, bool live)
{
    for (struct device *d = devices.head; d; d = d->next)
        if (d->dev == dev && (live ? d->inodes > 0 : d->identity == identity))
            return d;
    return NULL;
}

/* Devices lock held. */
static void enter(struct device *d)
{
    bool alone = d->identity != 0;

    for (struct device *o = devices.head; o; o = o->next)
        alone = alone && o->identity != d->identity;
    d->key = mix(d->identity) ^ (alone ? 0 : mix(~(uint64_t)d->dev));
    d->next = devices.head;
    devices.head = d;
}

struct device *number_device(struct device *hint, const struct stat *st, int fd)
{
    struct device *d, *fresh, now = { .dev = st->st_dev, .witness = -1 };

    pthread_mutex_lock(&devices.lock);
    d = hint && hint->dev == st->st_dev && hint->inodes ? hint : find(st->st_dev, 0, true);
    if (d)
        d->inodes++;
    pthread_mutex_unlock(&devices.lock);
    if (d)
        return d;
    describe(&now, fd, st->st_mode); /* may wait, so no lock is held */
    now.witness = open_witness(&now, fd, st->st_mode);
    fresh = malloc(sizeof(*fresh));
    pthread_mutex_lock(&devices.lock);
    d = find(st->st_dev, now.identity, false);
    if (!d && fresh) {
        *fresh = now;
        enter(fresh);
        d = fresh;
        fresh = NULL;
        now.witness = -1;
    }
    if (d && d->inodes++ == 0 && d->witness < 0) {
        d->witness = now.witness;
        now.witness = -1;
    }
    pthread_mutex_unlock(&devices.lock);
    if (now.witness >= 0)
        close(now.witness);
    free(fresh);
    return d;
}

void number_put(struct device *d)
{
    int witness = -1;

    pthread_mutex_lock(&devices.lock);
    assert(d->inodes > 0);
    if (--d->inodes == 0) { /* otherwise it could not be unmounted */
        witness = d->witness;
        d->witness = -1;
    }
    pthread_mutex_unlock(&devices.lock);
    if (witness >= 0)
        close(witness);
}

bool number_local(const struct device *d)
{
    return d->local;
}

bool number_sizeless(const struct device *d)
{
    return d->sizeless;
}

bool number_judges(const struct device *d)
{
    return d->sizeless && d->local;
}

bool number_far(const struct device *d)
{
    return d->far;
}

void number_forget(const struct device *d, const cm_file_id *id)
{
    mnt.backing->forget(id, d->gone);
}

bool number_proves(const struct device *d)
{
    return !d->far || !d->local; /* not overlayfs */
}

unsigned long number_limits(int fd)
{
    struct statfs sf;

    return fstatfs(fd, &sf) < 0 ? LIMITS : (unsigned long)sf.f_flags & LIMITS;
}

int number_witness(const struct device *d)
{
    return d->witness;
}

static bool leave(struct device *d, const cm_file_id *id)
{
    cm_file_id *more;

    if (d->lefts == LEFT_MAX)
        return false;
    if ((d->lefts & (d->lefts - 1)) == 0) { /* full at each power of two */
        more = realloc(d->left, (d->lefts ? d->lefts * 2 : 1) * sizeof(*more));
        if (!more)
            return false;
        d->left = more;
    }
    d->left[d->lefts++] = *id;
    return true;
}

void number_leave(struct device *d, const cm_file_id *id)
{
    if (number_lost(d, false)) {
        if (mnt.backing->forget(id, false) < 0)
            cache_give_up();
        return;
    }
    pthread_mutex_lock(&devices.lock);
    if (!leave(d, id))
        d->too_many = true;
    pthread_mutex_unlock(&devices.lock);
    if (number_lost(d, false)) /* since the first look */
        number_forget_left(d);
}

void number_forget_left(struct device *d)
{
    cm_file_id *left;
    size_t n;
    bool too_many;

    pthread_mutex_lock(&devices.lock);
    left = d->left;
    n = d->lefts;
    too_many = d->too_many;
    d->left = NULL;
    d->lefts = 0;
    d->too_many = false;
    pthread_mutex_unlock(&devices.lock);
    for (size_t k = 0; k < n; k++)
        if (mnt.backing->forget(&left[k], false) < 0)
            too_many = true;
    free(left);
    if (too_many)
        cache_give_up();
}

void number_ask_left(bool far)
{
    struct device *d;

    pthread_mutex_lock(&devices.lock);
    d = devices.head;
    pthread_mutex_unlock(&devices.lock);
    for (; d; d = d->next) /* those are never removed, and new ones come first */
        if (d->far == far && (d->lefts || d->too_many))
            (void)proof_vouched(d);
}

bool number_lost(struct device *d, bool now)
{
    return now ? atomic_exchange(&d->lost, true) : atomic_load(&d->lost);
}

void number_show(const struct inode *i, struct stat *st)
{
    const unsigned long limits = i->limits;

    /* On overlayfs a file with several names gets another number when it is written. */
    st->st_ino =
        i->linked && st->st_dev == i->device->dev ? number_of(i->device, st->st_ino) : i->number;
    if ((limits & ST_NOSUID) && S_ISREG(st->st_mode))
        st->st_mode &= ~(mode_t)(S_ISUID | S_ISGID);
    if ((limits & ST_NOEXEC) && S_ISREG(st->st_mode) && !opens_are_sent())
        st->st_mode &= ~(mode_t)(S_IXUSR | S_IXGRP | S_IXOTH); /* no open can be refused */
    if ((limits & ST_NODEV) && (S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode)))
        st->st_rdev = makedev(0, 0); /* nobody guarantees that number */
}

bool number_own(const struct device *d)
{
    return d->own;
}

bool number_doubtful(const struct device *d)
{
    return d->doubtful;
}

bool number_node(const struct device *d, int dirfd, const char *name, uint64_t *node)
{
    static const int asked[] = { 0, AT_HANDLE_FID };
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } u = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
    const int flags = *name ? 0 : AT_EMPTY_PATH;
    int mount, rc = -1;

    *node = 0;
    if (!d->nodes)
        return true;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]) && rc < 0; i++) {
        u.h.handle_bytes = MAX_HANDLE_SZ;
        rc = name_to_handle_at(dirfd, name, &u.h, &mount, flags | asked[i]);
    }
    for (unsigned i = 0; rc == 0 && i < u.h.handle_bytes; i++)
        *node = mix(*node ^ u.h.f_handle[i]);
    return rc == 0;
}

struct device *number_init(const struct stat *st, int fd)
{
    struct device *d = &devices.own;

    d->dev = st->st_dev;
    d->own = true;
    describe(d, fd, st->st_mode);
    d->witness = open_witness(d, fd, st->st_mode);
    d->inodes = 1; /* DIR's */
    enter(d);
    points.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    points.again = !place_mount_points(&points.name, &points.n);
    return d;
}

unsigned number_look_at_mounts(void)
{
    unsigned reads;
    struct pollfd p = { .fd = points.fd, .events = POLLPRI };
    char **name;
    size_t n;

    pthread_mutex_lock(&points.lock);
    points.again |= poll(&p, 1, 0) == 1;
    if (points.again && place_mount_points(&name, &n)) {
        for (size_t i = 0; i < points.n; i++)
            free(points.name[i]);
        free(points.name);
        points.name = name;
        points.n = n;
        points.again = false;
        points.reads++;
    }
    reads = points.reads;
    pthread_mutex_unlock(&points.lock);
    return reads;
}

bool number_has_points(void)
{
    bool has;

    pthread_mutex_lock(&points.lock);
    has = points.n > 0;
    pthread_mutex_unlock(&points.lock);
    return has;
}

bool number_is_point(const char *name)
{
    bool is = false;

    pthread_mutex_lock(&points.lock);
    for (size_t i = 0; i < points.n && !is; i++)
        is = !strcmp(points.name[i], name);
    pthread_mutex_unlock(&points.lock);
    return is;
}

/* The number of the file that a lookup of the name finds; 0: none. */
static uint64_t number_found(struct device *hint, int dirfd, const char *name)
{
    struct stat st;
    struct device *d;
    uint64_t n = 0;
    int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 &&
        (d = number_device(hint, &st, fd))) {
        n = number_of(d, st.st_ino);
        number_put(d);
    }
    close(fd);
    return n;
}

uint64_t number_listed(struct inode *dir, int dirfd, const struct dirent *e)
{
    bool up = !strcmp(e->d_name, ".."), directory = e->d_type == DT_DIR || e->d_type == DT_UNKNOWN;
    uint64_t n = 0;

    if (!strcmp(e->d_name, "."))
        return dir->number;
    /* A lookup of ".." would lead to this mount, which covers the directory, and the mount would
     * ask itself. If it is killed then, it cannot end. */
    if (up && !dir->top && (n = inode_number_above(dir, e->d_ino)) != 0)
        return n;
    if (up ? !dir->top : (directory && dir->device->subvolumes) || number_is_point(e->d_name))
        n = number_found(dir->device, dirfd, e->d_name);
    return n ? n : number_of(dir->device, e->d_ino);
}
