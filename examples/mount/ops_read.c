/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_read.c - READ: hits on the loop thread, misses on a worker.
 *
 * The library copies a hit into the thread's buffer, and the reply comes from there. A reply
 * straight from the pool (cm_pin_range and an iovec) looks cheaper, but it is not. Measured, the
 * copy wins by 4 % at 32 KiB, 10 % at 128 KiB and 25 % at 1 MiB: the kernel takes user pages one by
 * one, and without the copy it then reads cold memory. It is also not safe: if the kernel cannot
 * read the reply (EFAULT: a pool that was truncated, a dead page), it ends the request with EIO,
 * and the mount cannot answer from the origin any more. The library's copy turns such a page into a
 * miss.
 */
#include "mount.h"

/* False: it is no hit, and nothing was replied. */
static bool reply_hit(fuse_req_t req, struct inode *i, size_t size, off_t off)
{
    char *buf = loop_scratch();
    int64_t n = mnt.backing->read_whole(i, (uint64_t)off, buf, size);

    if (n < 0)
        return false;
    fuse_reply_buf(req, buf, (size_t)n);
    return true;
}

/* With other writers a validator is valid for attr_timeout only, or as long as the origin has the
 * size and the times of then. */
static bool stale(struct inode *i)
{
    if (is_strict())
        return !coherence_unchanged(i);
    return others_write() &&
           (double)(cm_now() - atomic_load(&i->checked_ns)) > mnt.opt.attr_timeout * 1e9;
}

/* Looks at the origin before what is cached is used. False: somebody is writing it, so a cached
 * block may be old, and storing one would be in vain. */
static bool validate(struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    const int rc = file_revalidate(i, &info);

    return !is_strict() || (rc == 0 && !info.racy);
}

/* Since it was opened, its file may have become one that is not cached. */
static bool cached(const struct handle *h)
{
    return h->cf && cache_on() && !atomic_load(&h->inode->linked) && !paranoid_found();
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);

    (void)ino;
    if (atomic_load_explicit(&h->fresh, memory_order_relaxed))
        handle_in_use(h);
    if (!direct_bypasses(fi))
        direct_note_pages(h->inode, true);
    if (cached(h) && size <= READ_MAX && !mnt.opt.paranoid && !stale(h->inode) &&
        reply_hit(req, h->inode, size, off))
        return;
    loop_defer_read(req, h, size, off);
}

int64_t read_origin(int fd, uint64_t off, void *buf, size_t len)
{
    size_t done = 0;

    keeper_origin_read();
    if (len > INT64_MAX - off)
        len = (size_t)(INT64_MAX - off); /* the last page of the largest file */
    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno - ORIGIN_ERROR;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    const struct handle *h = ctx;

    return read_origin(h->readable ? h->fd : h->inode->rfd, off, buf, len);
}

/* --paranoid: what the cache would answer, compared. Without memory it is not used. */
static int64_t read_compared(struct handle *h, uint64_t off, void *buf, size_t size)
{
    void *origin = malloc(size);
    struct paranoid p;
    int64_t n;

    if (!origin)
        return CM_ENOMEM;
    paranoid_begin(&p, h->inode);
    n = mnt.backing->read_through(h->inode, off, buf, size, origin_read, h);
    if (n >= 0)
        n = paranoid_end(&p, buf, n, origin_read(h, off, origin, size), origin, off);
    free(origin);
    return n;
}

void read_worker(fuse_req_t req, struct handle *h, size_t size, off_t off)
{
    void *buf = loop_scratch();
    int64_t n = CM_EIO;

    if (size > READ_MAX)
        size = READ_MAX;
    if (cached(h) && (!stale(h->inode) || validate(h->inode)))
        n = mnt.opt.paranoid
                ? read_compared(h, (uint64_t)off, buf, size)
                : mnt.backing->read_through(h->inode, (uint64_t)off, buf, size, origin_read, h);
    if (n < 0 && n > -ORIGIN_ERROR) /* trouble of the cache does not concern the reader */
        n = read_origin(h->fd, (uint64_t)off, buf, size);
    if (n < 0)
        fuse_reply_err(req, (int)(-n - ORIGIN_ERROR));
    else
        fuse_reply_buf(req, buf, (size_t)n);
}

void ops_read_init(struct fuse_lowlevel_ops *ops)
{
    ops->read = op_read;
}
