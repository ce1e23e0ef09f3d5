/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_open.c - OPEN, CREATE, TMPFILE, RELEASE: open files.
 *
 * A read-only handle uses the descriptor of the attachment. So opening an attached file again costs
 * one fstat. Handles that write have their own descriptor. Three flags are not passed on: O_DIRECT
 * (requests are not aligned in their buffer, and the kernel bypasses its own pages itself),
 * O_APPEND (ops_write.c decides by the flags of each write; append-only files are an exception) and
 * O_TRUNC (it needs a bracket). Called by workers.
 */
#include "mount.h"

#include <sys/statvfs.h>

#define FMODE_EXEC 0x20 /* the kernel says with it that the file is opened to be executed */

static int origin_flags(int flags)
{
    /* Not O_NONBLOCK. With a regular file it only means that the open does not wait for a lease. A
     * program that identifies the file for a cache may hold a lease for a moment. */
    return (flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_DIRECT | O_APPEND | O_NOFOLLOW | O_NOCTTY |
                      O_NONBLOCK)) |
           O_CLOEXEC;
}

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* The attachment's descriptor serves a reader if nobody else changes the file, or if the kernel
 * sees the change. A network or FUSE file system looks for changes when a file is opened. */
static bool may_share(const struct inode *i)
{
    return i->rfd >= 0 && !i->linked && (number_local(i->device) || !others_write());
}

/* Its own descriptor, or the attachment's for a reader. 0 or errno. */
static int open_origin(struct handle *h, int fd, int flags)
{
    h->own_fd = true;
    h->fd = fd;
    if (fd < 0 && !h->writable && may_share(h->inode)) {
        h->own_fd = false;
        h->fd = h->inode->rfd;
    } else if (fd < 0) {
        h->fd = fstab_open(h->inode->fd, origin_flags(flags));
        /* An append-only file (chattr +a) can be opened in no other way. */
        if (h->fd < 0 && errno == EPERM && (flags & O_APPEND)) {
            h->fd = fstab_open(h->inode->fd, origin_flags(flags) | O_APPEND);
            h->appends = h->fd >= 0;
            /* Here it could be mapped, and the stores could not be written. */
            if (h->appends && h->maps && is_strict()) {
                close(h->fd);
                h->fd = -1;
                errno = EPERM;
            }
        }
    }
    return h->fd < 0 ? errno : 0;
}

int open_handle(struct inode *i, int fd, struct fuse_file_info *fi)
{
    struct handle *h = calloc(1, sizeof(*h));
    cm_file_info info = { .racy = 0 };
    uint64_t incarnation;
    bool fresh;
    int err;

    if (!h) {
        if (fd >= 0)
            close(fd);
        return ENOMEM;
    }
    h->inode = i;
    h->writable = writes(fi->flags);
    h->readable = (fi->flags & O_ACCMODE) != O_WRONLY;
    h->maps = (fi->flags & O_ACCMODE) == O_RDWR;
    inode_hold(i);
    file_judge(i);
    fresh = h->readable ? file_use(i) : file_use_to_change(i);
    err = open_origin(h, fd, fi->flags);
    if (err) {
        file_unuse(i);
        inode_put(i);
        free(h);
        return err;
    }
    proof_opened(h, fd >= 0);
    coherence_opened(i);
    h->cf = cache_on() && !i->left_out ? i->cf : NULL;
    if (h->cf && !fresh) { /* the attaching has just done it */
        file_revalidate(i, &info);
        if (info.racy || info.want_validator)
            keeper_schedule(i);
    }
    if (h->writable && !flush_list(h)) {
        close_handle(h);
        return ENOTCONN; /* the mount is ending */
    }
    fi->fh = (uintptr_t)h;
    fi->keep_cache = file_keep_pages(i, &incarnation) && !is_strict();
    atomic_store(&h->fresh, incarnation);
    /* FLUSH writes what was stored in mappings, and asks a network for its errors. */
    fi->noflush = !h->writable || (!h->maps && !number_far(i->device));
    /* An append-only file has no shared mapping, because its stores could not be written. */
    fi->direct_io = h->appends || is_strict();
    return 0;
}

void handle_in_use(struct handle *h)
{
    const uint64_t fresh = atomic_exchange(&h->fresh, 0);

    if (fresh)
        file_has_pages(h->inode, fresh);
}

void close_handle(struct handle *h)
{
    struct inode *i = h->inode;
    cm_file_info info = { .struct_size = sizeof(info) };

    flush_unlist(h);
    coherence_closed(i);
    /* The mount's own writes have scheduled a validator. Others may have written meanwhile. */
    if (h->writable && others_write() && i->cf && cache_on())
        file_revalidate(i, &info);
    if (h->own_fd)
        close(h->fd);
    file_unuse(i);
    inode_put(i);
    free(h);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const bool executes = fi->flags & FMODE_EXEC;
    int err = executes && inode_of(ino)->limits & ST_NOEXEC ? EACCES : 0;

    if (!err)
        err = open_handle(inode_of(ino), -1, fi);
    if (err)
        fuse_reply_err(req, err);
    else if (fuse_reply_open(req, fi) == -ENOENT) /* interrupted: no RELEASE will follow */
        close_handle(handle_of(fi));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    /* A READ has noted it already. If there was none, the kernel may have opened the file only to
     * ask for its flags. Then it has not dropped any pages. */
    if (handle_of(fi)->writable)
        handle_in_use(handle_of(fi));
    close_handle(handle_of(fi));
    fuse_reply_err(req, 0);
}

/* The name was free for the kernel. Somebody may have taken it since, so O_EXCL is used. */
static int create_origin(fuse_req_t req, struct inode *parent, const char *name, mode_t mode,
                         int flags)
{
    struct creds c;
    int fd;

    creds_enter(&c, req);
    fd = openat(parent->fd, name,
                origin_flags(flags) | O_CREAT | O_EXCL | O_NOFOLLOW |
                    (mnt.opt.flags & ST_SYNCHRONOUS ? O_SYNC : 0),
                creds_mode(req, mode));
    creds_leave(&c);
    return fd;
}

/* Does the name now lead to the file that was made? */
static bool is_made(int fd, const struct fuse_entry_param *e)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == e->attr.st_dev &&
           number_of(inode_of(e->ino)->device, st.st_ino) == e->attr.st_ino;
}

static void op_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct inode *parent = inode_of(parent_ino);
    struct fuse_entry_param e;
    int fd, err;

    if (refuse_barred(req, parent))
        return;
    fd = create_origin(req, parent, name, mode, fi->flags);
    if (fd < 0) {
        /* The kernel would take the existing file for new, and not check whether the caller may
         * open it. ESTALE: the kernel looks the name up again, and finds the file. */
        fuse_reply_err(req, errno == EEXIST && !(fi->flags & O_EXCL) ? ESTALE : errno);
        return;
    }
    err = fstab_sync_names(parent->fd);
    if (!err)
        err = inode_entry(parent, name, &e);
    if (!err && !is_made(fd, &e)) {
        inode_forget(e.ino, 1);
        err = ESTALE;
    }
    if (err) {
        close(fd);
        fuse_reply_err(req,
                       err == ENOENT ? ESTALE : err); /* it was replaced or removed: try again */
        return;
    }
    file_made(inode_of(e.ino));
    err = open_handle(inode_of(e.ino), fd, fi);
    if (err) {
        inode_forget(e.ino, 1);
        fuse_reply_err(req, err);
    } else if (fuse_reply_create(req, &e, fi) == -ENOENT) {
        close_handle(handle_of(fi));
        inode_forget(e.ino, 1);
    }
}

int open_unnamed(const struct fuse_ctx *ctx, struct inode *parent, mode_t mode,
                 struct fuse_entry_param *e, struct fuse_file_info *fi)
{
    struct creds c;
    int fd, err;

    creds_enter_as(&c, ctx);
    /* O_EXCL: it will never get a name. */
    fd = openat(parent->fd, ".",
                origin_flags(fi->flags) | O_TMPFILE | (fi->flags & O_EXCL) |
                    (mnt.opt.flags & ST_SYNCHRONOUS ? O_SYNC : 0),
                creds_mode_of(ctx, mode));
    creds_leave(&c);
    if (fd < 0)
        return errno;
    err = inode_unnamed(parent, fd, e);
    if (err) {
        close(fd);
        return err;
    }
    err = open_handle(inode_of(e->ino), fd, fi);
    if (err)
        inode_forget(e->ino, 1);
    return err;
}

void ops_open_init(struct fuse_lowlevel_ops *ops)
{
    ops->open = op_open;
    ops->release = op_release;
    ops->create = op_create;
}
