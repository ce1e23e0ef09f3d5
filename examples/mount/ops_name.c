/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_name.c - names: lookup, forget, links, making and removing.
 *
 * Renaming, linking and unlinking change a file's ctime, which is part of its validator. So they
 * run inside an empty bracket that gets the new validator, and the file stays cached. The file is
 * attached for that if it was not. A file that loses its last name is forgotten by the cache once
 * nobody has it open. Called by any thread that serves requests (loop.c).
 */
#include "mount.h"
#include "relief.h"

#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2u /* linux/fs.h */
#endif

static void reply_entry(fuse_req_t req, struct inode *parent, const char *name)
{
    struct fuse_entry_param e;
    int err = inode_entry(parent, name, &e);

    if (err)
        fuse_reply_err(req, err);
    else if (fuse_reply_entry(req, &e) == -ENOENT) /* interrupted: the kernel does not count it */
        inode_forget(e.ino, 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e;
    int err = inode_entry(inode_of(parent), name, &e);

    if (err == ENOENT && !others_write()) {
        /* Nobody else makes files, so the kernel may remember that there is none. */
        e.ino = 0;
        err = 0;
    }
    if (err)
        fuse_reply_err(req, err);
    else if (fuse_reply_entry(req, &e) == -ENOENT && e.ino)
        inode_forget(e.ino, 1);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    inode_forget(ino, n);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *v)
{
    for (size_t i = 0; i < count; i++)
        inode_forget(v[i].ino, v[i].nlookup);
    fuse_reply_none(req);
}

/* ---- A file whose name is about to change -------------------------------------------------- */

struct named {
    struct inode *inode; /* held; NULL: no such name, or it cannot be cached */
    struct change change;
    bool dies;   /* its name is removed */
    bool last;   /* the last name of a file that is not attached needs no bracket, */
    bool forget; /* but this id has to be forgotten */
    cm_file_id id;
};

/* If a file were attached only to be forgotten, that would cost a record of the pool. */
static void prepare_forget(struct named *v, struct inode *i)
{
    cm_validator ignored = CM_VALIDATOR_INIT;
    const bool unread = file_is_unread(i);
    int fd = unread ? -1 : open(procpath(i->fd).s, O_RDONLY | O_CLOEXEC), rc = CM_EIO;

    v->last = true;
    if (fd >= 0)
        rc = file_identify(i, fd, &v->id, &ignored);
    /* While the pool is away it has no validator, but an id. */
    v->forget = rc == 0 || (rc == CM_EFORGET && resize_runs() && (v->id.hi || v->id.lo));
    if (fd >= 0)
        close(fd);
}

/* `dies`: the name will be removed. 0 or errno. */
static int named_begin(struct named *v, struct inode *parent, const char *name, bool dies)
{
    struct stat st;
    struct inode *i = inode_child(parent, name, &st);
    int err = 0;

    *v = (struct named){ .inode = NULL };
    if (!i)
        return 0; /* the operation itself will report the error */
    if (!S_ISREG(i->type)) {
        inode_put(i);
        return 0;
    }
    v->dies = dies;
    if (dies && st.st_nlink == 1 && !i->cf && (cache_on() || resize_runs()))
        prepare_forget(v, i);
    else
        err = -change_begin(&v->change, i, CHANGE_ATTR, 0, 0);
    if (err)
        inode_put(i);
    else
        v->inode = i;
    return err;
}

static void named_end(struct named *v)
{
    if (!v->inode)
        return;
    if (v->dies)
        file_gone(v->inode);
    record_renamed(v->inode);
    if (!v->last)
        change_end(&v->change);
    else if (v->forget && v->inode->unlinked && !resize_forgets(v->inode->device, &v->id) &&
             cache_on())
        number_forget(v->inode->device, &v->id);
    inode_put(v->inode);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
    struct inode *parent = inode_of(parent_ino);
    struct named v;
    int err;

    if (refuse_barred(req, parent))
        return;
    err = named_begin(&v, parent, name, true);
    if (!err) {
        err = unlinkat(parent->fd, name, 0) < 0 ? errno : fstab_sync_names(parent->fd);
        named_end(&v);
    }
    fuse_reply_err(req, err);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const int fd = inode_of(parent)->fd;

    if (!refuse_barred(req, inode_of(parent)))
        fuse_reply_err(req, unlinkat(fd, name, AT_REMOVEDIR) < 0 ? errno : fstab_sync_names(fd));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent_ino, const char *name, fuse_ino_t to_ino,
                      const char *to_name, unsigned flags)
{
    struct inode *parent = inode_of(parent_ino), *to = inode_of(to_ino);
    struct named from, victim;
    struct creds who;
    int rc, err;

    if (refuse_barred(req, parent) || refuse_barred(req, to))
        return;
    err = named_begin(&from, parent, name, false);
    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    err = named_begin(&victim, to, to_name, !(flags & RENAME_EXCHANGE));
    if (!err) {
        creds_charge(&who, req, NULL);
        do /* the raw call: not every C library has renameat2 */
            rc = (int)syscall(SYS_renameat2, parent->fd, name, to->fd, to_name, flags);
        while (rc < 0 && creds_more(&who, errno));
        err = rc < 0 ? errno : 0;
        creds_leave(&who);
        if (!err && !(flags & RENAME_EXCHANGE)) /* which leaves both names known */
            inode_moved(to, to_name);
        if (!err)
            err = fstab_sync_names(to->fd);
        if (!err && to != parent)
            err = fstab_sync_names(parent->fd);
        named_end(&victim);
    }
    named_end(&from);
    fuse_reply_err(req, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t to_ino, const char *name)
{
    struct inode *i = inode_of(ino), *to = inode_of(to_ino);
    bool regular = S_ISREG(i->type);
    struct change c;
    struct creds who;
    int rc, err;

    if (refuse_barred(req, to))
        return;
    err = relief_reserve();
    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    inode_gets_name(i);
    err = regular ? -change_begin(&c, i, CHANGE_ATTR, 0, 0) : 0;
    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    creds_charge(&who, req, NULL);
    do
        rc = linkat(AT_FDCWD, procpath(i->fd).s, to->fd, name, AT_SYMLINK_FOLLOW);
    while (rc < 0 && creds_more(&who, errno));
    err = rc < 0 ? errno : fstab_sync_names(to->fd);
    creds_leave(&who);
    if (regular)
        change_end(&c);
    if (!err && atomic_load(&i->unlinked)) /* made with O_TMPFILE */
        file_named(i);
    if (err)
        fuse_reply_err(req, err);
    else
        reply_entry(req, to, name);
}

/* ---- Making -------------------------------------------------------------------------------- */

/* False: an error was replied, and nothing may be made. */
static bool may_make(fuse_req_t req, const struct inode *parent)
{
    int err;

    if (refuse_barred(req, parent))
        return false;
    err = relief_reserve();
    if (err)
        fuse_reply_err(req, err);
    return !err;
}

static void made(fuse_req_t req, int rc, struct inode *parent, const char *name)
{
    const int err = rc < 0 ? errno : fstab_sync_names(parent->fd);

    if (err)
        fuse_reply_err(req, err);
    else
        reply_entry(req, parent, name);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct creds c;
    int rc;

    if (!may_make(req, inode_of(parent)))
        return;
    creds_enter(&c, req);
    rc = mkdirat(inode_of(parent)->fd, name, creds_mode(req, mode));
    creds_leave(&c);
    made(req, rc, inode_of(parent), name);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
    struct creds c;
    int rc;

    if (!may_make(req, inode_of(parent)))
        return;
    creds_enter(&c, req);
    rc = mknodat(inode_of(parent)->fd, name, creds_mode(req, mode), dev);
    creds_leave(&c);
    made(req, rc, inode_of(parent), name);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct creds c;
    int rc;

    if (!may_make(req, inode_of(parent)))
        return;
    creds_enter(&c, req);
    rc = symlinkat(target, inode_of(parent)->fd, name);
    creds_leave(&c);
    made(req, rc, inode_of(parent), name);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    const struct inode *i = inode_of(ino);
    const bool judged = number_judges(i->device);
    char buf[PATH_MAX + 1];
    struct creds who;
    ssize_t n;

    if (judged)
        creds_enter_unchecked(&who, req);
    n = readlinkat(i->fd, "", buf, sizeof(buf));
    if (judged)
        creds_leave(&who);
    if (n < 0 || n == (ssize_t)sizeof(buf)) {
        fuse_reply_err(req, n < 0 ? errno : ENAMETOOLONG);
        return;
    }
    buf[n] = '\0';
    fuse_reply_readlink(req, buf);
}

void ops_name_init(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = op_lookup;
    ops->forget = op_forget;
    ops->forget_multi = op_forget_multi;
    ops->unlink = op_unlink;
    ops->rmdir = op_rmdir;
    ops->rename = op_rename;
    ops->link = op_link;
    ops->mkdir = op_mkdir;
    ops->mknod = op_mknod;
    ops->symlink = op_symlink;
    ops->readlink = op_readlink;
}
