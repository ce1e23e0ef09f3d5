/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_attr.c - attributes and extended attributes.
 *
 * Every change of them changes the ctime. So it runs inside an empty bracket, and the file stays
 * cached. A new size is a truncation. Called by any thread that serves requests (loop.c).
 */
#include "mount.h"

#include <sys/statvfs.h>

#include <stdio.h>
#include <sys/xattr.h>

static const char caps_name[] = "security.capability";

/* After a change of them. `size` >= 0: of the size, too, which the kernel has to learn. If others
 * have made the file longer since, it is told later (coherence.c). */
static void reply_attr(fuse_req_t req, struct inode *i, off_t size)
{
    struct stat st;
    int err = inode_stat(i, &st);

    if (err) {
        if (size >= 0)
            direct_drop_now(i);
        fuse_reply_err(req, err);
        return;
    }
    if (others_write() && size >= 0 && st.st_size > size) {
        st.st_size = size;
        coherence_told(i, &st);
        fuse_reply_attr(req, &st, 0);
        return;
    }
    if (others_write() && size < 0)
        (void)coherence_shown(i, &st);
    coherence_told(i, &st);
    fuse_reply_attr(req, &st, inode_attr_timeout(i));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct inode *i = inode_of(ino);
    struct stat st;
    int err = inode_stat(i, &st);

    (void)fi;
    coherence_follow_local(i);
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_attr(req, &st, coherence_shown(i, &st));
}

/* With -o writeback the kernel sends the time of now as any other. But who may write a file that he
 * does not own may set only that. */
static bool is_touch(const struct stat *a, int to_set)
{
    const int touch = FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME;

    return mnt.opt.writeback && (to_set & touch) == touch &&
           !memcmp(&a->st_mtim, &a->st_ctim, sizeof(a->st_mtim));
}

static int set_times(struct inode *i, const struct stat *a, int to_set)
{
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

    if (to_set & FUSE_SET_ATTR_ATIME_NOW)
        t[0].tv_nsec = UTIME_NOW;
    else if (to_set & FUSE_SET_ATTR_ATIME)
        t[0] = a->st_atim;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        t[1].tv_nsec = UTIME_NOW;
    else if (to_set & FUSE_SET_ATTR_MTIME)
        t[1] = a->st_mtim;
    if (utimensat(i->fd, "", t, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != EPERM || !is_touch(a, to_set))
        return errno;
    t[0].tv_nsec = t[1].tv_nsec = UTIME_NOW;
    return utimensat(i->fd, "", t, AT_EMPTY_PATH) < 0 ? errno : 0;
}

/* chown(-1, -1) takes the set-user-id and set-group-id bits away. The kernel lets everybody ask for
 * it, so the origin judges the caller. */
static int set_nothing(fuse_req_t req, struct inode *i)
{
    struct creds who;
    int rc;

    /* The origin would judge who has mounted. */
    if (!mnt.root_user && fuse_req_ctx(req)->uid != geteuid())
        return 0;
    creds_enter_unchecked(&who, req);
    rc = fchownat(i->fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    creds_leave(&who);
    /* Or the kernel asks before a write by somebody else, who may write: then the write does it. */
    return rc < 0 && errno != EPERM ? errno : 0;
}

/* The quota of the new owner counts. */
static int set_owner(fuse_req_t req, struct inode *i, const struct stat *a, int to_set)
{
    uid_t uid = to_set & FUSE_SET_ATTR_UID ? a->st_uid : (uid_t)-1;
    gid_t gid = to_set & FUSE_SET_ATTR_GID ? a->st_gid : (gid_t)-1;
    struct creds who;
    int rc;

    creds_charge(&who, req, i);
    do
        rc = fchownat(i->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    while (rc < 0 && creds_more(&who, errno));
    creds_leave(&who);
    return rc < 0 ? errno : 0;
}

static int set_others(fuse_req_t req, struct inode *i, const struct stat *a, int to_set)
{
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                      FUSE_SET_ATTR_MTIME_NOW;
    const int owner = FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
    const bool nothing = !(to_set & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MODE | owner | times));
    int err = 0;

    if (nothing)
        err = set_nothing(req, i);
    else if (to_set & owner)
        err = set_owner(req, i, a, to_set);
    /* After the owner: a change of owner may clear bits that the kernel asks to set. */
    if (!err && (to_set & FUSE_SET_ATTR_MODE)) {
        atomic_fetch_add(&i->mode_changes, 1);
        if (chmod(procpath(i->fd).s, a->st_mode & 07777) < 0)
            err = errno;
        atomic_fetch_add(&i->mode_changes, 1);
    }
    if (!err && (to_set & times))
        err = set_times(i, a, to_set);
    return err;
}

/* Inside a bracket. */
static int change_others(fuse_req_t req, struct inode *i, const struct stat *a, int to_set)
{
    const bool regular = S_ISREG(i->type);
    struct change c;
    int err = regular ? -change_begin(&c, i, CHANGE_ATTR, 0, 0) : 0;

    if (err)
        return err;
    err = set_others(req, i, a, to_set);
    if (regular)
        change_end(&c);
    return err;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *a, int to_set,
                       struct fuse_file_info *fi)
{
    struct inode *i = inode_of(ino);
    const bool sizes = to_set & FUSE_SET_ATTR_SIZE;
    int err = 0;

    if (refuse_barred(req, i))
        return;
    if (sizes)
        err = set_size(req, i,
                       fi && handle_of(fi) && handle_of(fi)->writable ? handle_of(fi)->fd : -1,
                       a->st_size);
    if (!err && to_set != FUSE_SET_ATTR_SIZE) { /* 0: chown(-1, -1) */
        err = change_others(req, i, a, to_set);
        /* The kernel must learn the size that the origin has now. What else it asks for is only
         * what follows from that: times with -o writeback, and the mode. With a handle it asks for
         * the times of what it has held back, or what was stored in a mapping. That has been
         * written, with times of its own. */
        if (sizes || (err == EPERM && fi))
            err = 0;
    }
    if (err)
        fuse_reply_err(req, err);
    else
        reply_attr(req, i, sizes ? a->st_size : -1);
}

/* ---- Extended attributes ------------------------------------------------------------------- */

static bool is_acl(const char *name)
{
    return !strncmp(name, "system.posix_acl_", 17);
}

/* The kernel asks for security.capability before every write. If nobody else changes it, the answer
 * "none" is remembered, unless a change ended meanwhile. Never waits if it is known. */
static bool known_without_caps(struct inode *i, const char *name)
{
    /* It is mounted with nosuid, so its capabilities do not count. */
    return ((atomic_load(&i->no_caps) && !i->linked) || (i->limits & ST_NOSUID)) &&
           !strcmp(name, caps_name);
}

static ssize_t get_xattr(struct inode *i, const char *name, void *buf, size_t size)
{
    bool caps = S_ISREG(i->type) && !others_write() && !strcmp(name, caps_name);
    unsigned changes;
    ssize_t n;
    int err;

    if (!caps)
        return getxattr(procpath(i->fd).s, name, buf, size);
    pthread_mutex_lock(&i->lock);
    changes = i->xattr_changes;
    pthread_mutex_unlock(&i->lock);
    n = getxattr(procpath(i->fd).s, name, buf, size);
    err = errno;
    pthread_mutex_lock(&i->lock);
    if (n < 0 && err == ENODATA && changes == i->xattr_changes)
        atomic_store(&i->no_caps, true);
    pthread_mutex_unlock(&i->lock);
    errno = err;
    return n;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct inode *i = inode_of(ino);
    void *buf;
    ssize_t n;

    if (known_without_caps(i, name)) {
        fuse_reply_err(req, ENODATA);
        return;
    }
    buf = size ? loop_scratch() : NULL;
    n = get_xattr(i, name, buf, size);
    /* The kernel asks for the ACL to check the rights of others than the owner. That the file
     * system has none would be the answer to them. */
    if (n < 0 && errno == EOPNOTSUPP && is_acl(name))
        errno = ENODATA;
    if (n < 0)
        fuse_reply_err(req, errno);
    else if (!size)
        fuse_reply_xattr(req, (size_t)n);
    else
        fuse_reply_buf(req, buf, (size_t)n);
}

/* The kernel gives trusted attributes only to CAP_SYS_ADMIN, but lets us decide about their names.
 */
static size_t hide_trusted(fuse_req_t req, char *list, size_t n)
{
    static const char prefix[] = "trusted.";
    size_t kept = 0;
    int may = -1; /* not known yet */

    for (size_t at = 0, len; at < n; at += len) {
        len = strlen(list + at) + 1;
        if (!strncmp(list + at, prefix, sizeof(prefix) - 1)) {
            may = may < 0 ? creds_admin(req) : may;
            if (!may)
                continue;
        }
        memmove(list + kept, list + at, len);
        kept += len;
    }
    return kept;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    char *buf = loop_scratch();
    ssize_t n = listxattr(procpath(inode_of(ino)->fd).s, buf, READ_MAX);

    if (n > 0)
        n = (ssize_t)hide_trusted(req, buf, (size_t)n);
    if (n < 0)
        fuse_reply_err(req, errno);
    else if (size && (size_t)n > size)
        fuse_reply_err(req, ERANGE);
    else if (!size)
        fuse_reply_xattr(req, (size_t)n);
    else
        fuse_reply_buf(req, buf, (size_t)n);
}

/* For chown(-1, -1) and for a write the kernel removes the capability itself, whoever asks. Where a
 * file has set-user-id or set-group-id bits, a file system lets only its owner do the first; the
 * second it does with the write. */
static bool keeps_capability(fuse_req_t req, const struct inode *i, const char *name)
{
    struct stat st;

    return !strcmp(name, caps_name) && fstatat(i->fd, "", &st, AT_EMPTY_PATH) == 0 &&
           (st.st_mode & (S_ISUID | S_ISGID)) && !creds_may_strip(req, &st);
}

/* value NULL: remove. Setting an ACL clears the set-group-id bit if the caller is not in the file's
 * group. Other attributes need the mount's rights: the kernel itself removes security.capability
 * for a writer. */
static int change_xattr(fuse_req_t req, struct inode *i, const char *name, const char *value,
                        size_t size, int flags)
{
    struct procpath p = procpath(i->fd);
    struct creds who;
    int rc, err;

    if (value && is_acl(name))
        creds_enter(&who, req);
    else
        creds_charge(&who, req, i);
    do
        rc = value ? setxattr(p.s, name, value, size, flags) : removexattr(p.s, name);
    while (rc < 0 && creds_more(&who, errno));
    err = rc < 0 ? errno : 0;
    pthread_mutex_lock(&i->lock);
    i->xattr_changes++;
    atomic_store(&i->no_caps, false);
    pthread_mutex_unlock(&i->lock);
    creds_leave(&who);
    return err;
}

static void set_xattr(fuse_req_t req, struct inode *i, const char *name, const char *value,
                      size_t size, int flags)
{
    bool regular = S_ISREG(i->type);
    struct change c;
    int err;

    if (refuse_barred(req, i))
        return;
    if (!value && keeps_capability(req, i, name)) {
        fuse_reply_err(req, 0);
        return;
    }
    err = regular ? -change_begin(&c, i, CHANGE_ATTR, 0, 0) : 0;
    if (!err) {
        err = change_xattr(req, i, name, value, size, flags);
        if (regular)
            change_end(&c);
    }
    fuse_reply_err(req, err);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    set_xattr(req, inode_of(ino), name, value, size, flags);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    set_xattr(req, inode_of(ino), name, NULL, 0, 0);
}

void ops_attr_init(struct fuse_lowlevel_ops *ops)
{
    ops->getattr = op_getattr;
    ops->setattr = op_setattr;
    ops->getxattr = op_getxattr;
    ops->listxattr = op_listxattr;
    ops->setxattr = op_setxattr;
    ops->removexattr = op_removexattr;
}
