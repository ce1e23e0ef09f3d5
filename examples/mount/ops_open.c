/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_open.c - OPEN, CREATE, TMPFILE, RELEASE: open files.
 *
 * A read-only handle uses the descriptor of the attachment. So opening an attached file again costs
 * one fstat. Handles that write have their own descriptor. Three flags are not passed on: O_DIRECT
 * (requests are not aligned in their buffer, and the kernel bypasses its own pages itself),
 * O_APPEND (ops_write.c decides by the flags of each write; append-only files are an exception) and
 * O_TRUNC (it needs a bracket). Called by any thread that serves requests (loop.c).
 *
 * A mount that is read-only, with nobody else writing, has nothing to do at an open: what is cached
 * stays right, and so do the kernel's pages. So it tells the kernel to send no OPEN, FLUSH and
 * RELEASE at all (ENOSYS). A READ then comes without a handle, and uses the attachment. What
 * depends on opens excludes this: rules, which judge a file at each open, and --paranoid. Programs
 * on a file system mounted with noexec are kept from running by their mode (number_show).
 */
#include "mount.h"
#include "relief.h"

#include <sys/statvfs.h>

#define VALIDATIONS_MAX 3u
#define FMODE_EXEC 0x20 /* the kernel says with it that the file is opened to be executed */

static int origin_flags(int flags)
{
    /* To write a part of a page later, the kernel first reads the page. */
    if (mnt.opt.writeback && (flags & O_ACCMODE) == O_WRONLY)
        flags ^= O_WRONLY ^ O_RDWR;
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

/* As the mount, or where the origin judges who opens it, as the caller. */
static int open_judged(fuse_req_t req, const struct inode *i, int flags)
{
    struct creds who;
    int fd;

    if (!number_judges(i->device))
        return fstab_open(i->fd, flags);
    creds_enter_unchecked(&who, req);
    fd = fstab_open(i->fd, flags);
    creds_leave(&who);
    return fd;
}

/* Its own descriptor, or the attachment's for a reader. 0 or errno. */
static int open_origin(fuse_req_t req, struct handle *h, int fd, int flags)
{
    const int direct = h->writable ? 0 : times_flags(h->inode);

    h->own_fd = true;
    h->fd = fd;
    h->readable |= mnt.opt.writeback;
    if (fd < 0 && !h->writable && may_share(h->inode)) {
        h->own_fd = false;
        h->fd = h->inode->rfd;
    } else if (fd < 0) {
        h->fd = open_judged(req, h->inode, origin_flags(flags) | direct);
        if (h->fd < 0 && errno == EINVAL && direct) /* it is not attached then */
            h->fd = open_judged(req, h->inode, origin_flags(flags));
        /* The mount of an ordinary user may have the right to write it only. */
        if (h->fd < 0 && errno == EACCES && mnt.opt.writeback && (flags & O_ACCMODE) == O_WRONLY) {
            h->readable = false;
            h->fd = open_judged(req, h->inode, origin_flags(flags) ^ O_WRONLY ^ O_RDWR);
        }
        /* An append-only file (chattr +a) can be opened in no other way. */
        if (h->fd < 0 && errno == EPERM && (flags & O_APPEND)) {
            h->fd = open_judged(req, h->inode, origin_flags(flags) | O_APPEND);
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

/* What other machines or processes serve has no writes that wait here, and neither has a file that
 * cannot be read: both are written past the kernel's pages. */
static bool may_hold_back(const struct handle *h)
{
    return !mnt.opt.writeback || !h->writable || (h->readable && number_local(h->inode->device));
}

/* Through pages the kernel sends one write() in parts, and others could append between them. Past
 * them it sends up to max_write bytes at once, a page less if they begin inside one. What can only
 * be written cannot be mapped. */
static bool appends_whole(int flags)
{
    return others_write() && (flags & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND);
}

/* It may have content, and say that it is empty: then the kernel would read nothing of it. A file
 * of a server that is open for writing may become larger, and be mapped, which such a one cannot.
 */
static bool tells_no_size(const struct handle *h)
{
    const struct device *d = h->inode->device;
    struct stat st;

    return number_sizeless(d) && !h->writable && S_ISREG(h->inode->type) &&
           fstat(h->fd, &st) == 0 && st.st_size == 0;
}

/* Beside other writers only a validation that counts shows that what is cached is still right. One
 * does not count if the file was written or forgotten here meanwhile, or if another thread has
 * validated it later: then it is done again. In the end the reads do it, and the kernel's pages go.
 */
static void validate_opened(struct handle *h)
{
    cm_file_info info = { .racy = 0 };
    int rc = CM_IGNORED;

    for (unsigned n = 0; n < VALIDATIONS_MAX && rc == CM_IGNORED; n++)
        rc = file_revalidate(h->inode, &info);
    if (info.racy || info.want_validator)
        keeper_schedule(h->inode);
    if (rc != 0 && others_write()) {
        h->cached = rc > 0;
        file_must_validate(h->inode); /* the next read does */
        file_has_pages(h->inode, 0);
    }
}

/* Fills in fi and the handle. `fd` >= 0 is taken over; else `req` says who opens it. 0 or errno. */
static int open_handle(fuse_req_t req, struct inode *i, int fd, struct fuse_file_info *fi)
{
    struct handle *h = calloc(1, sizeof(*h));
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
    err = open_origin(req, h, fd, fi->flags);
    times_opened(h);
    if (err) {
        file_unuse(i);
        inode_put(i);
        free(h);
        return err;
    }
    proof_opened(h, fd >= 0);
    coherence_opened(i);
    h->cached = !i->left_out && (i->cf ? cache_on() : resize_runs());
    if (i->cf && h->cached && !fresh) /* the attaching has just done it */
        validate_opened(h);
    if (h->writable && !flush_list(h)) {
        close_handle(h);
        return ENOTCONN; /* the mount is ending */
    }
    coherence_tell_end(i);
    fi->fh = (uintptr_t)h;
    fi->keep_cache = file_keep_pages(i, &incarnation) && !is_strict();
    atomic_store(&h->fresh, incarnation);
    /* FLUSH writes what was stored in mappings, and asks a network for its errors. */
    fi->noflush = !h->writable || (!h->maps && !number_far(i->device));
    /* An append-only file has no shared mapping, because its stores could not be written. */
    h->no_pages = h->appends || is_strict() || !may_hold_back(h) || appends_whole(fi->flags);
    if (number_judges(i->device) || tells_no_size(h)) {
        h->cached = false;
        h->no_pages = true;
    }
    fi->direct_io = h->no_pages;
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
    if (h->writable && times_tell(i)) /* what was stored in a mapping comes after the close */
        flush_handle(h);
    if (h->writable)
        coherence_look_local(i);
    times_closed(h);
    if (h->own_fd)
        close(h->fd);
    file_unuse(i);
    inode_put(i);
    free(h);
}

/* ---- Without OPEN --------------------------------------------------------------------------- */

static bool no_opens;

void ops_open_agree(unsigned capable)
{
    no_opens = mnt.opt.ro && !others_write() && !mnt.opt.paranoid && !rules_any() &&
               (capable & FUSE_CAP_NO_OPEN_SUPPORT);
}

bool opens_are_sent(void)
{
    return !no_opens;
}

struct handle *handle_begin(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi)
{
    struct fuse_file_info own = { .flags = O_RDONLY };
    int err;

    if (handle_of(fi))
        return handle_of(fi);
    err = open_handle(req, inode_of(ino), -1, &own);
    if (err)
        fuse_reply_err(req, err);
    return err ? NULL : handle_of(&own);
}

void handle_end(struct handle *h, const struct fuse_file_info *fi)
{
    struct inode *i;

    if (h == handle_of(fi))
        return;
    i = h->inode;
    inode_hold(i);
    close_handle(h);
    if (!inode_known(i)) /* the request is answered, and nobody else would detach it */
        file_detach_idle(i);
    inode_put(i);
}

/* ---- Operations ------------------------------------------------------------------------------ */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const bool executes = fi->flags & FMODE_EXEC;
    int err = executes && inode_of(ino)->limits & ST_NOEXEC ? EACCES : 0;

    if (no_opens) { /* from now on the kernel does not ask, and keeps its pages */
        fuse_reply_err(req, ENOSYS);
        return;
    }
    if (!err)
        err = open_handle(req, inode_of(ino), -1, fi);
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

/* Others may have replaced it already. 0 or errno. */
static int look_up_made(struct inode *parent, const char *name, int fd, struct fuse_entry_param *e)
{
    int err = inode_entry(parent, name, e);

    if (!err && !is_made(fd, e)) {
        inode_forget(e->ino, 1);
        err = ESTALE;
    }
    return err;
}

static void op_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct inode *parent = inode_of(parent_ino);
    struct fuse_entry_param e;
    int fd, err;

    if (refuse_barred(req, parent))
        return;
    err = relief_reserve();
    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    fd = create_origin(req, parent, name, mode, fi->flags);
    if (fd < 0) {
        /* The kernel would take the existing file for new, and not check whether the caller may
         * open it. ESTALE: the kernel looks the name up again, and finds the file. */
        fuse_reply_err(req, errno == EEXIST && !(fi->flags & O_EXCL) ? ESTALE : errno);
        return;
    }
    err = fstab_sync_names(parent->fd);
    if (!err)
        err =
            others_write() ? look_up_made(parent, name, fd, &e) : inode_made(parent, name, fd, &e);
    if (err) {
        close(fd);
        fuse_reply_err(req,
                       err == ENOENT ? ESTALE : err); /* it was replaced or removed: try again */
        return;
    }
    file_made(inode_of(e.ino));
    err = open_handle(req, inode_of(e.ino), fd, fi);
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
    err = open_handle(NULL, inode_of(e->ino), fd, fi);
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
