/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_ioctl.c - IOCTL: flags of files and directories (lsattr, chattr, project ids).
 *
 * These are the only ioctls that are passed on. The kernel turns FS_IOC_GETFLAGS, FS_IOC_SETFLAGS,
 * FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR into requests on an open of its own, after it has checked
 * that the caller owns the file, and has CAP_LINUX_IMMUTABLE for the flags that need it (Linux
 * 5.13). The origin checks again, as the caller. All other ioctls get ENOTTY: they may read or
 * change what the mount knows nothing of.
 *
 * A change of flags changes the ctime, so it runs inside an empty bracket. The content stays as it
 * is. Once a file is immutable or append-only, the pages of a mapping cannot be written any more,
 * so a file that may have such pages does not become it. Called by any thread that serves requests
 * (loop.c).
 */
#include "mount.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#define CHECKED_MINOR 34 /* of the protocol: Linux 5.14 and later check the caller */

static bool checked; /* set once, before the first IOCTL */

void ops_ioctl_protocol(unsigned minor)
{
    checked = minor >= CHECKED_MINOR;
}

union argument {
    unsigned flags;
    long size; /* FS_IOC_GETFLAGS is declared for a long, and uses an int */
    struct fsxattr x;
};

static bool is_get(unsigned cmd)
{
    return cmd == FS_IOC_GETFLAGS || cmd == FS_IOC_FSGETXATTR;
}

static bool is_set(unsigned cmd)
{
    return cmd == FS_IOC_SETFLAGS || cmd == FS_IOC_FSSETXATTR;
}

static bool fixes(unsigned cmd, const union argument *a)
{
    return cmd == FS_IOC_SETFLAGS
               ? a->flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)
               : cmd == FS_IOC_FSSETXATTR &&
                     (a->x.fsx_xflags & (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)) != 0;
}

/* As the caller: some flags need capabilities that the kernel does not ask for (CAP_SYS_RESOURCE
 * for the journal of ext4). 0 or errno. */
static int set_as(fuse_req_t req, int fd, unsigned cmd, union argument *a)
{
    struct creds who;
    int rc;

    creds_enter(&who, req);
    rc = ioctl(fd, cmd, a);
    creds_leave(&who);
    return rc < 0 ? errno : 0;
}

static int set_flags(fuse_req_t req, struct inode *i, int fd, unsigned cmd, union argument *a)
{
    struct change c;
    int err;

    if (i->barred || mnt.opt.ro) /* as raw_refuse_change(): somebody may have made it writable */
        return EROFS;
    if (!S_ISREG(i->type))
        return set_as(req, fd, cmd, a);
    if (fixes(cmd, a) && flush_may_hold(i, false))
        return EBUSY;
    err = -change_begin(&c, i, CHANGE_ATTR, 0, 0);
    if (!err) {
        err = set_as(req, fd, cmd, a);
        change_end(&c);
    }
    return err;
}

/* 0 or errno. */
static int do_ioctl(fuse_req_t req, fuse_ino_t ino, int fd, unsigned cmd, union argument *a)
{
    int err;

    if (is_get(cmd))
        return ioctl(fd, cmd, a) < 0 ? errno : 0;
    err = set_flags(req, inode_of(ino), fd, cmd, a);
    /* The kernel does not know that the ctime has changed. */
    fuse_lowlevel_notify_inval_inode(mnt.se, ino, -1, 0);
    return err;
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                     size_t out_size)
{
    struct inode *i = inode_of(ino);
    struct handle *h = NULL;
    union argument a = { .size = 0 };
    int err;

    (void)arg, (void)flags;
    if (!checked || in_size > sizeof(a) || out_size > sizeof(a) || !(is_get(cmd) || is_set(cmd))) {
        fuse_reply_err(req, ENOTTY);
        return;
    }
    if (!S_ISDIR(i->type) && !(h = handle_begin(req, ino, fi)))
        return;
    if (is_set(cmd))
        memcpy(&a, in, in_size);
    err = do_ioctl(req, ino, h ? h->fd : dir_descriptor(fi), cmd, &a);
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_ioctl(req, 0, &a, out_size);
    if (h)
        handle_end(h, fi);
}

void ops_ioctl_init(struct fuse_lowlevel_ops *ops)
{
    ops->ioctl = op_ioctl;
}
