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

/* A shorter answer is stored first: it takes no time, and programs that look at the counters right
 * after a read find it there. */
#define EARLY_MIN (READ_MAX / 2)

static void reply_read(fuse_req_t req, struct inode *i, uint64_t off, const void *buf, size_t n)
{
    if (record_on())
        record_note(i, false, off, n);
    fuse_reply_buf(req, buf, n);
}

/* The cache has said that the file ends after n bytes. Others may have made it longer. If the
 * kernel has learned that meanwhile, it takes what is missing for zeros. */
static bool ends_early(const struct inode *i, uint64_t off, int64_t n, size_t size)
{
    struct stat st;

    return (others_write() || atomic_load(&i->others_seen)) && n >= 0 && (size_t)n < size &&
           fstatat(i->fd, "", &st, AT_EMPTY_PATH) == 0 && (uint64_t)st.st_size > off + (uint64_t)n;
}

/* False: it is no hit, and nothing was replied. */
static bool reply_hit(fuse_req_t req, struct inode *i, size_t size, off_t off, bool pages)
{
    const uint64_t notes = pages ? zeros_notes(i) : 0;
    char *buf = loop_scratch();
    int64_t n = mnt.backing->read_whole(i, (uint64_t)off, buf, size);

    if (n < 0 || ends_early(i, (uint64_t)off, n, size))
        return false;
    if (pages)
        zeros_read(i, notes, (uint64_t)off, (uint64_t)n, size);
    reply_read(req, i, (uint64_t)off, buf, (size_t)n);
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

/* Looks at the origin before what is cached is used. False: it cannot be looked at, a write through
 * the mount is going on (CM_IGNORED), or with `strict` somebody else is writing it. So a cached
 * block may be old, and storing one would be in vain. */
static bool validate(struct inode *i)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    const int rc = file_revalidate(i, &info);

    if (is_strict())
        return rc == 0 && !info.racy;
    return rc == 0 || (rc == CM_IGNORED && !stale(i)); /* another reader has just validated it */
}

/* Since it was opened, its file may have become one that is not cached. */
static bool cached(const struct handle *h)
{
    return h->cached && h->inode->cf && cache_on() && !atomic_load(&h->inode->linked) &&
           !paranoid_found();
}

/* The kernel has sent no OPEN, and holds the inode while somebody has the file open. */
static void read_unopened(fuse_req_t req, struct inode *i, size_t size, off_t off,
                          const struct fuse_file_info *fi)
{
    char *buf = loop_scratch();
    int64_t n = -1;

    if (!direct_bypasses(fi))
        direct_note_pages(i, true);
    if (size <= READ_MAX && !atomic_load(&i->linked) && file_try_use(i)) {
        n = cache_on() ? mnt.backing->read_whole(i, (uint64_t)off, buf, size) : -1;
        file_unuse(i);
    }
    if (n >= 0) /* after that the inode may be gone */
        reply_read(req, i, (uint64_t)off, buf, (size_t)n);
    else
        loop_defer_read(req, i, NULL, size, off, true);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    const bool pages = !direct_bypasses(fi);

    if (!h) {
        read_unopened(req, inode_of(ino), size, off, fi);
        return;
    }
    if (atomic_load_explicit(&h->fresh, memory_order_relaxed))
        handle_in_use(h);
    if (pages)
        direct_note_pages(h->inode, true);
    if (cached(h) && size <= READ_MAX && !mnt.opt.paranoid && !stale(h->inode) &&
        reply_hit(req, h->inode, size, off, pages))
        return;
    loop_defer_read(req, h->inode, h, size, off, pages);
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

/* A READ that the origin answers. */
struct reading {
    fuse_req_t req;
    struct inode *inode;
    int fd; /* of the origin */
    uint64_t off;
    size_t size;
    void *buf;  /* where the answer is made */
    bool early; /* answer as soon as the origin has, and store the blocks then */
    bool replied;
    int64_t got; /* all of the answer, in buf; -1: none */
    bool pages;  /* it goes into pages of the kernel */
    uint64_t notes;
};

static void reply_reading(const struct reading *r, size_t n)
{
    if (r->pages)
        zeros_read(r->inode, r->notes, r->off, n, r->size);
    reply_read(r->req, r->inode, r->off, r->buf, n);
}

/* All of the answer has come from the origin at once. The user need not wait until it is stored.
 * With the answer the handle may go, so the attachment's descriptor is used from then on. */
static void reply_early(struct reading *r, size_t n)
{
    r->replied = true;
    r->fd = r->inode->rfd;
    reply_reading(r, n < r->size ? n : r->size);
}

/* Reads what is stored. */
static int64_t origin_read(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct reading *r = ctx;
    const int64_t n = read_origin(r->fd, off, buf, len);
    const bool whole = n >= 0 && off == r->off && buf == r->buf && len >= r->size;

    if (r->early && !r->replied && whole)
        reply_early(r, (size_t)n);
    if (n < 0 || !coherence_moved(r->inode))
        return n;
    r->got = whole ? n : -1;
    return CM_EMOVED;
}

/* --paranoid: what the cache would answer, compared. Without memory it is not used. */
static int64_t read_compared(struct reading *r)
{
    void *origin = malloc(r->size);
    struct paranoid p;
    int64_t n;

    if (!origin)
        return CM_ENOMEM;
    paranoid_begin(&p, r->inode);
    n = mnt.backing->read_through(r->inode, r->off, r->buf, r->size, origin_read, r);
    if (n >= 0)
        n = paranoid_end(&p, r->buf, n, read_origin(r->fd, r->off, origin, r->size), origin,
                         r->off);
    free(origin);
    return n;
}

/* The bytes read, or an error. Of what is long the blocks are stored after the answer. The file
 * stays attached for that, whatever becomes of the handle. Where times tell, the handle's own
 * descriptor reads all that is stored, so the answer waits for it. */
static int64_t read_cached(struct reading *r)
{
    int64_t n;

    if (mnt.opt.paranoid)
        return read_compared(r);
    r->early = r->size >= EARLY_MIN && !times_tell(r->inode) && file_use_attached(r->inode);
    n = mnt.backing->read_through(r->inode, r->off, r->buf, r->size, origin_read, r);
    if (r->early)
        file_unuse(r->inode);
    return n;
}

/* Who reads is judged at each read, too. Nothing of such a file is cached. */
static int64_t read_judged(fuse_req_t req, const struct reading *r)
{
    struct creds who;
    int64_t n;

    creds_enter_unchecked(&who, req);
    n = read_origin(r->fd, r->off, r->buf, r->size);
    creds_leave(&who);
    return n;
}

/* Its file system cannot read past its pages, or not at this place. */
static int64_t read_buffered(struct handle *h, const struct reading *r)
{
    const int fd = fstab_open(h->inode->fd, O_RDONLY | O_CLOEXEC);
    const int64_t n = fd < 0 ? -errno - ORIGIN_ERROR : read_origin(fd, r->off, r->buf, r->size);

    if (fd >= 0)
        close(fd);
    file_has_pages(h->inode, 0);
    return n;
}

static void answer_read(fuse_req_t req, struct handle *h, size_t size, off_t off, bool pages)
{
    struct reading r = { .req = req,
                         .inode = h->inode,
                         .fd = h->readable ? h->fd : h->inode->rfd,
                         .off = (uint64_t)off,
                         .size = size > READ_MAX ? READ_MAX : size,
                         .buf = loop_scratch(),
                         .got = -1,
                         .pages = pages,
                         .notes = pages ? zeros_notes(h->inode) : 0 };
    int64_t n = CM_EIO;

    if (times_tell(h->inode) && cached(h))
        r.fd = times_store_fd(h);
    if (r.fd >= 0 && cached(h) && (!stale(h->inode) || validate(h->inode)))
        n = read_cached(&r);
    if (r.replied)
        return;
    if (n == CM_EMOVED && r.got >= 0)
        n = (size_t)r.got < r.size ? r.got : (int64_t)r.size;
    if (ends_early(r.inode, r.off, n, r.size)) {
        file_must_validate(r.inode);
        n = CM_EMOVED;
    }
    if (number_judges(h->inode->device))
        n = read_judged(req, &r);
    else if (n < 0 && n > -ORIGIN_ERROR) /* trouble of the cache does not concern the reader */
        n = read_origin(r.fd, r.off, r.buf, r.size);
    if (times_tell(h->inode) && (n == -EINVAL - ORIGIN_ERROR || r.fd < 0))
        n = read_buffered(h, &r);
    if (n < 0)
        fuse_reply_err(req, (int)(-n - ORIGIN_ERROR));
    else
        reply_reading(&r, (size_t)n);
}

void read_worker(fuse_req_t req, struct inode *i, struct handle *h, size_t size, off_t off,
                 bool pages)
{
    const struct fuse_file_info none = { .fh = (uintptr_t)h };

    inode_hold(i); /* after the answer the kernel may forget it */
    h = handle_begin(req, (uintptr_t)i, &none);
    if (h) {
        answer_read(req, h, size, off, pages);
        handle_end(h, &none);
    }
    if (!inode_known(i)) /* nobody else would detach it */
        file_detach_idle(i);
    inode_put(i);
}

void ops_read_init(struct fuse_lowlevel_ops *ops)
{
    ops->read = op_read;
}
