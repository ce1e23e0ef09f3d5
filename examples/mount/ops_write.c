/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_write.c - all operations that change or sync a file's content, each inside a bracket.
 *
 * The order is always: bracket, origin, end of bracket, reply. Called by any thread that serves
 * requests (loop.c).
 */
#include "mount.h"

#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef RWF_APPEND /* then the C library has no pwritev2(), as musl before 1.2.5 */
#define RWF_APPEND 0x10

static ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
    /* The offset goes in two halves; where a long has 64 bits, the first is all. */
    return syscall(SYS_pwritev2, fd, v, n, (long)off, (long)((uint64_t)off >> 32), flags);
}
#endif

/* Appends at the present end of the origin. With other writers that is not where the kernel thinks.
 */
static ssize_t append(int fd, const char *buf, size_t size, off_t off)
{
    struct iovec iov = { (void *)(uintptr_t)buf, size };
    ssize_t n = pwritev2(fd, &iov, 1, off, RWF_APPEND);

    return n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) ? pwrite(fd, buf, size, off) : n;
}

/* If nobody else writes, the kernel knows where the end is. What it sends for another place was not
 * to be appended (RWF_NOAPPEND), which the request does not say; or others have written all the
 * same. So the bytes go to the end. But an fstat would make NFS write what waits. */
static bool is_elsewhere(const struct handle *h, off_t off)
{
    return !others_write() && lseek(h->fd, 0, SEEK_END) != off;
}

/* A change that fails may have been made in part, as in a full file system: an fallocate has zeroed
 * the ends of its range, or made the file longer. After an error the kernel goes on with what it
 * has. */
static void drop_after(struct inode *i, int err)
{
    const bool refused = err == EOPNOTSUPP || err == EPERM || err == EACCES || err == EINVAL ||
                         err == EFBIG || err == ETXTBSY || err == EROFS;

    if (err && !refused)
        direct_drop_now(i);
}

/* An O_DIRECT write that is short because the rest failed. Of a short answer the kernel makes EIO,
 * because it may have sent several parts of one write; a program wants to know that the disk is
 * full. Where the file has no pages, it passes the short answer on. */
static bool must_fail(const struct handle *h, const struct fuse_file_info *fi)
{
    return direct_bypasses(fi) && (fi->flags & O_DIRECT) && !h->no_pages;
}

/* What came of a write. */
struct written {
    off_t off;
    size_t done;
    int err;        /* the rest failed */
    bool at_end;    /* it was appended */
    bool elsewhere; /* the kernel takes it for one at another place */
};

/* The reply to a write whose bracket has ended. */
static void reply_to_write(fuse_req_t req, struct handle *h, const struct fuse_file_info *fi,
                           const struct written *w)
{
    if (w->done && w->err && must_fail(h, fi)) {
        direct_drop_now(h->inode); /* which the kernel does after a write that succeeds */
        fuse_reply_err(req, w->err);
    } else if (w->done && direct_bypasses(fi)) {
        direct_reply(req, h->inode, w->off, w->done, w->elsewhere || (w->at_end && others_write()));
    } else if (w->done) {
        if (w->elsewhere && !coherence_kernel_drops(h->inode))
            direct_drop_now(h->inode);
        fuse_reply_write(req, w->done);
    } else {
        fuse_reply_err(req, w->err);
    }
}

/* The end of the origin before a change of the mount's own from `start` to `end`. UINT64_MAX: it
 * does not matter, there is no gap in front of it in which the kernel has zeros; or nobody knows.
 * With a descriptor it is no fstat, which would make NFS write what waits. */
static uint64_t end_before(struct inode *i, int fd, uint64_t start, uint64_t end)
{
    const uint64_t told = (uint64_t)atomic_load(&i->told_size);
    struct stat st;
    off_t before = -1;

    if (!others_write() || !(zeros_before(i, end) || (start > told && end > told)))
        return UINT64_MAX;
    if (fd >= 0)
        before = lseek(fd, 0, SEEK_END);
    else if (fstatat(i->fd, "", &st, AT_EMPTY_PATH) == 0)
        before = st.st_size;
    return before < 0 ? UINT64_MAX : (uint64_t)before;
}

/* A part of a WRITE. Of a page of a mapping zeros that nobody stored are left out. */
static ssize_t put(const struct handle *h, const struct fuse_file_info *fi, const char *buf,
                   size_t size, off_t off)
{
    const size_t left_out = fi->writepage ? zeros_skip(h->inode, (uint64_t)off, buf, &size) : 0;

    return left_out ? (ssize_t)left_out : pwrite(h->fd, buf, size, off);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    /* Pages of a mapping are written to their place, whatever flags the file was opened with. With
     * -o writeback only the kernel knows where the end is; it says so, and nobody else writes. */
    bool at_end = (fi->flags & O_APPEND) && !fi->writepage && (!mnt.opt.writeback || h->appends);
    bool elsewhere;
    struct change c;
    struct creds who;
    size_t done = 0;
    uint64_t before;
    int err;

    (void)ino;
    if (!direct_bypasses(fi))
        direct_note_pages(h->inode, false);
    if (fi->writepage)
        zeros_written(h->inode, (uint64_t)off + size);
    if (h->appends && !at_end)
        err = EPERM;
    else
        err = -change_begin(&c, h->inode, CHANGE_RANGE, at_end ? CM_APPEND : (uint64_t)off, size);
    if (err) {
        if (fi->writepage)
            flush_failed(h->inode, off, size, err);
        fuse_reply_err(req, err);
        return;
    }
    times_write_begin(h);
    elsewhere = at_end && is_elsewhere(h, off);
    before = fi->writepage ? UINT64_MAX
                           : end_before(h->inode, h->fd, (uint64_t)off, (uint64_t)off + size);
    creds_charge(&who, fi->writepage ? NULL : req, h->inode);
    while (done < size && !err) {
        ssize_t n = at_end ? append(h->fd, buf + done, size - done, off + (off_t)done)
                           : put(h, fi, buf + done, size - done, off + (off_t)done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || (errno != EINTR && !creds_more(&who, errno)))
            err = n == 0 ? EIO : errno;
    }
    creds_leave(&who);
    change_end(&c);
    if (!fi->writepage && done && !(err && must_fail(h, fi)))
        zeros_longer(h->inode, (uint64_t)off, before, (uint64_t)off + done);
    /* The kernel does not check how much of its page was written. */
    if (err && fi->writepage) {
        flush_failed(h->inode, off + (off_t)done, size - done, err);
        done = 0;
    }
    if (done && record_on())
        record_note(h->inode, true, (uint64_t)off, done);
    reply_to_write(req, h, fi, &(struct written){ off, done, err, at_end, elsewhere });
}

/* An open with O_TRUNC asks for size 0 without a handle. Unlike truncate(), it gives also an empty
 * file a new mtime, on each file system. */
static int truncate_path(const char *path, off_t size)
{
    int fd;

    if (size > 0)
        return truncate(path, size);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    return fd < 0 ? -1 : close(fd);
}

int set_size(fuse_req_t req, struct inode *i, int fd, off_t size)
{
    struct change c;
    struct creds who;
    uint64_t before;
    int rc, err = -change_begin(&c, i, CHANGE_SIZE, (uint64_t)size, 0);

    if (err)
        return err;
    direct_cut_begin(i);
    before = end_before(i, fd, UINT64_MAX, (uint64_t)size);
    zeros_behind(i, (uint64_t)size);
    creds_charge(&who, req, i);
    do
        rc = fd >= 0 ? ftruncate(fd, size) : truncate_path(procpath(i->fd).s, size);
    while (rc < 0 && creds_more(&who, errno));
    err = rc < 0 ? errno : 0;
    creds_leave(&who);
    if (!err)
        zeros_longer(i, UINT64_MAX, before, (uint64_t)size);
    zeros_behind(i, (uint64_t)size);
    direct_cut_end(i);
    change_end(&c);
    drop_after(i, err);
    return err;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    /* Those that change nothing beyond their range. The kernel sends no others today. */
    const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    struct handle *h = handle_of(fi);
    struct change c;
    struct creds who;
    uint64_t before;
    int rc, err;

    (void)ino;
    err = mode & ~known ? EOPNOTSUPP
                        : -change_begin(&c, h->inode, CHANGE_RANGE, (uint64_t)off, (uint64_t)len);
    if (!err) {
        times_write_begin(h);
        before = mode & FALLOC_FL_KEEP_SIZE
                     ? UINT64_MAX
                     : end_before(h->inode, h->fd, UINT64_MAX, (uint64_t)(off + len));
        creds_charge(&who, req, h->inode);
        do
            rc = fallocate(h->fd, mode, off, len);
        while (rc < 0 && creds_more(&who, errno));
        err = rc < 0 ? errno : 0;
        creds_leave(&who);
        change_end(&c);
        if (!err && !(mode & FALLOC_FL_KEEP_SIZE))
            zeros_longer(h->inode, UINT64_MAX, before, (uint64_t)(off + len));
        drop_after(h->inode, err);
    }
    fuse_reply_err(req, err);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                               struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct handle *in = handle_of(fi_in), *out = handle_of(fi_out);
    const off_t to = off_out; /* the call moves it */
    struct change c;
    struct creds who;
    uint64_t before;
    ssize_t n;
    int err;

    (void)ino_in, (void)ino_out;
    if (len > 1u << 30)
        len = 1u << 30; /* one bracket for a part that is copied in one go; callers loop */
    err = -change_begin(&c, out->inode, CHANGE_RANGE, (uint64_t)off_out, len);
    if (err) {
        fuse_reply_err(req, err);
        return;
    }
    times_write_begin(out);
    before = end_before(out->inode, out->fd, (uint64_t)off_out, (uint64_t)off_out + len);
    creds_charge(&who, req, out->inode);
    do
        n = copy_file_range(in->fd, &off_in, out->fd, &off_out, len, (unsigned)flags);
    while (n < 0 && creds_more(&who, errno));
    err = errno;
    creds_leave(&who);
    change_end(&c);
    if (n > 0)
        zeros_longer(out->inode, (uint64_t)to, before, (uint64_t)(to + n));
    if (n > 0 && record_on())
        record_note(out->inode, true, (uint64_t)to, (uint64_t)n);
    if (n < 0)
        fuse_reply_err(req, err);
    else
        fuse_reply_write(req, (size_t)n);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct handle *h = handle_begin(req, ino, fi);
    uint64_t ended;
    int err;

    if (!h)
        return;
    ended = times_sync_begin(h->inode);
    err = file_sync(h, datasync != 0);
    if (!err)
        times_sync_end(h, ended);
    fuse_reply_err(req, err);
    handle_end(h, fi);
}

/* A network file system reports its write errors at a close. The handle's own descriptor stays
 * open, so a duplicate is closed. Without a free descriptor a sync asks for the errors: as for a
 * program's fsync, because what fails there is reported once. A close of a local file reports
 * nothing. */
int flush_handle(struct handle *h)
{
    const uint64_t ended = times_sync_begin(h->inode);
    const int fd = dup(h->fd);
    int err = 0;

    if (fd >= 0)
        err = close(fd) < 0 ? errno : 0;
    else if (!number_local(h->inode->device))
        err = file_sync(h, true);
    if (!err)
        times_sync_end(h, ended);
    return err;
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);

    (void)ino;
    if (!opens_are_sent() && !h) /* so that it is not sent any more, too */
        fuse_reply_err(req, ENOSYS);
    else
        fuse_reply_err(req, h->writable ? flush_handle(h) : 0);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    struct handle *h = handle_begin(req, ino, fi);
    struct stat st;
    off_t at;

    if (!h)
        return;
    /* Data that was stored in a mapping is only in the kernel, which does not write it for this
     * call. So if the file may be mapped, all of it counts as data. */
    if (flush_may_hold(h->inode, true) && fstat(h->fd, &st) == 0) {
        if (off >= 0 && off < st.st_size)
            at = whence == SEEK_HOLE ? st.st_size : off;
        else
            at = -ENXIO;
    } else {
        at = lseek(h->fd, off, whence);
        at = at < 0 ? -errno : at;
    }
    if (at < 0)
        fuse_reply_err(req, (int)-at);
    else
        fuse_reply_lseek(req, at);
    handle_end(h, fi);
}

void ops_write_init(struct fuse_lowlevel_ops *ops)
{
    ops->write = op_write;
    ops->fallocate = op_fallocate;
    ops->copy_file_range = op_copy_file_range;
    ops->fsync = op_fsync;
    ops->flush = op_flush;
    /* Without it the kernel answers itself: all is data. The origin does not know the size of a
     * file whose writes are held back. */
    ops->lseek = mnt.opt.writeback ? NULL : op_lseek;
}
