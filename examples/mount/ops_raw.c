/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_raw.c - requests that libfuse 3.14 does not know: TMPFILE and STATX; and those that a
 * read-only mount refuses.
 *
 * The kernel sends these whatever protocol version was agreed on, until a server answers ENOSYS. So
 * loop.c shows every request to raw_request() before libfuse gets it. This file translates between
 * the format of the kernel and the operations of the mount, and writes the answer itself. The
 * format is fixed (linux/fuse.h); what older headers lack is declared here. A newer libfuse that
 * knows these requests never sees them.
 *
 * Called by any thread that serves requests (loop.c).
 */
#include "mount.h"

#include <linux/fuse.h>
#include <sys/sysmacros.h>

/* The enum of linux/fuse.h has them since Linux 6.1 and 6.6. */
#define TMPFILE 51
#define STATX 52

struct sx_time {
    int64_t sec;
    uint32_t nsec;
    int32_t reserved;
};
struct sx { /* fuse_statx */
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare;
    uint64_t ino, size, blocks, attributes_mask;
    struct sx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spares[14];
};
struct sx_out { /* fuse_statx_out */
    uint64_t valid;
    uint32_t valid_nsec, flags;
    uint64_t spare[2];
    struct sx stat;
};
_Static_assert(sizeof(struct sx_out) == 288, "the kernel's format");

/* 0 or -errno. -ENOENT: the request was interrupted, and nobody gets the answer. */
static int answer(const struct fuse_in_header *in, int err, const void *data, size_t n)
{
    struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + n),
                                 .error = -err,
                                 .unique = in->unique };
    struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)data, n } };

    return wire_answer(iov, n ? 2 : 1);
}

static void split(double timeout, uint64_t *sec, uint32_t *nsec)
{
    *sec = timeout < 1e9 ? (uint64_t)timeout : 1000000000u;
    *nsec = timeout < 1e9 ? (uint32_t)((timeout - (double)*sec) * 1e9) : 0;
}

/* ---- TMPFILE: a file without a name --------------------------------------------------------- */

static void fill_entry(struct fuse_entry_out *out, const struct fuse_entry_param *e)
{
    const struct stat *st = &e->attr;

    out->nodeid = e->ino;
    out->generation = e->generation;
    split(e->entry_timeout, &out->entry_valid, &out->entry_valid_nsec);
    split(e->attr_timeout, &out->attr_valid, &out->attr_valid_nsec);
    out->attr = (struct fuse_attr){ .ino = st->st_ino,
                                    .size = (uint64_t)st->st_size,
                                    .blocks = (uint64_t)st->st_blocks,
                                    .atime = (uint64_t)st->st_atim.tv_sec,
                                    .mtime = (uint64_t)st->st_mtim.tv_sec,
                                    .ctime = (uint64_t)st->st_ctim.tv_sec,
                                    .atimensec = (uint32_t)st->st_atim.tv_nsec,
                                    .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
                                    .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
                                    .mode = st->st_mode,
                                    .nlink = (uint32_t)st->st_nlink,
                                    .uid = st->st_uid,
                                    .gid = st->st_gid,
                                    .blksize = (uint32_t)st->st_blksize };
}

static void take_tmpfile(const struct fuse_in_header *in, const struct fuse_create_in *create)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = { .open = { .fh = 0 } };
    const struct fuse_ctx ctx = {
        .uid = in->uid, .gid = in->gid, .pid = (pid_t)in->pid, .umask = create->umask
    };
    struct fuse_file_info fi = { .flags = (int)create->flags };
    struct inode *parent = inode_of(in->nodeid);
    struct fuse_entry_param e;
    int err = parent->barred ? EROFS : open_unnamed(&ctx, parent, create->mode, &e, &fi);

    if (err) {
        (void)answer(in, err, NULL, 0);
        return;
    }
    fill_entry(&out.entry, &e);
    out.open.fh = fi.fh;
    out.open.open_flags =
        (fi.keep_cache ? FOPEN_KEEP_CACHE : 0) | (fi.direct_io ? FOPEN_DIRECT_IO : 0);
    if (answer(in, 0, &out, sizeof(out)) == -ENOENT) {
        close_handle(handle_of(&fi));
        inode_forget(e.ino, 1);
    }
}

/* ---- STATX: attributes with the time of birth ----------------------------------------------- */

static struct sx_time time_of(struct timespec t)
{
    return (struct sx_time){ .sec = t.tv_sec, .nsec = (uint32_t)t.tv_nsec };
}

/* False: the file system behind does not know it. */
static bool birth_of(const struct inode *i, struct sx_time *birth)
{
#ifdef STATX_BTIME
    struct statx sx = { .stx_mask = 0 };

    if (statx(i->fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) == 0 &&
        (sx.stx_mask & STATX_BTIME)) {
        *birth = (struct sx_time){ .sec = sx.stx_btime.tv_sec, .nsec = sx.stx_btime.tv_nsec };
        return true;
    }
#endif
    (void)i, (void)birth;
    return false;
}

static void take_statx(const struct fuse_in_header *in)
{
    const uint32_t basic = 0x7ff, birth = 0x800; /* STATX_BASIC_STATS, STATX_BTIME */
    struct inode *i = inode_of(in->nodeid);
    struct sx_out out = { .flags = 0 };
    struct stat st;
    int err = inode_stat(i, &st);

    coherence_follow_local(i);
    if (err) {
        (void)answer(in, err, NULL, 0);
        return;
    }
    split(coherence_shown(i, &st), &out.valid, &out.valid_nsec);
    out.stat = (struct sx){ .mask = basic,
                            .blksize = (uint32_t)st.st_blksize,
                            .nlink = (uint32_t)st.st_nlink,
                            .uid = st.st_uid,
                            .gid = st.st_gid,
                            .mode = (uint16_t)st.st_mode,
                            .ino = st.st_ino,
                            .size = (uint64_t)st.st_size,
                            .blocks = (uint64_t)st.st_blocks,
                            .atime = time_of(st.st_atim),
                            .ctime = time_of(st.st_ctim),
                            .mtime = time_of(st.st_mtim),
                            .rdev_major = major(st.st_rdev),
                            .rdev_minor = minor(st.st_rdev) };
    if (birth_of(i, &out.stat.btime))
        out.stat.mask |= birth;
    (void)answer(in, 0, &out, sizeof(out));
}

bool raw_request(const void *request)
{
    const struct fuse_in_header *in = request;

    if (in->opcode == TMPFILE && in->len >= sizeof(*in) + sizeof(struct fuse_create_in))
        take_tmpfile(in, (const void *)(in + 1));
    else if (in->opcode == STATX)
        take_statx(in);
    else
        return false;
    return true;
}

/* The kernel sends none of these to a read-only mount. But somebody may make it writable later
 * (mount -o remount,rw), and then the mount would change files that it has not opened. */
bool raw_refuse_change(const void *request)
{
    const struct fuse_in_header *in = request;
    const struct fuse_open_in *open = (const void *)(in + 1);

    switch (in->opcode) {
    case FUSE_OPEN:
        if ((open->flags & O_ACCMODE) == O_RDONLY && !(open->flags & O_TRUNC))
            return false;
        break;
    case FUSE_SETATTR:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_SYMLINK:
    case FUSE_CREATE:
    case TMPFILE:
    case FUSE_WRITE:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
        break;
    default:
        return false;
    }
    (void)answer(in, EROFS, NULL, 0);
    return true;
}

bool raw_gives_pages(uint32_t opcode)
{
    return opcode == TMPFILE;
}

bool raw_reads_attributes(uint32_t opcode)
{
    return opcode == STATX;
}
