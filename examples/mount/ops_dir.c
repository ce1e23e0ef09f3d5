/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ops_dir.c - directories and the file system as a whole.
 *
 * It uses plain READDIR, not READDIRPLUS: each name that is returned with its attributes would cost
 * a descriptor. The kernel reads one open directory with one request at a time. Called by any
 * thread that serves requests (loop.c).
 */
#include "mount.h"

#include <dirent.h>
#include <sys/statvfs.h>

struct dir {
    DIR *d;
    struct dirent *pending; /* read, but it did not fit into the last answer */
    off_t at;
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
    return (struct dir *)(uintptr_t)fi->fh;
}

int dir_descriptor(const struct fuse_file_info *fi)
{
    return dirfd(dir_of(fi)->d);
}

/* Nobody else makes or removes names, so the kernel may keep the list. It drops it when a name
 * changes through the mount. Another number of a mount point is no change that it sees. */
static void keep_list(struct inode *i, struct fuse_file_info *fi)
{
    const unsigned reads = number_look_at_mounts() + 1;

    fi->cache_readdir = !others_write();
    fi->keep_cache = !others_write() && atomic_exchange(&i->listed, reads) == reads;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct dir *dir = calloc(1, sizeof(*dir));
    int fd = fstab_open(inode_of(ino)->fd, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

    if (dir && fd >= 0)
        dir->d = fdopendir(fd);
    if (!dir || !dir->d) {
        err = dir ? errno : ENOMEM;
        if (fd >= 0)
            close(fd);
        free(dir);
        fuse_reply_err(req, err);
        return;
    }
    fi->fh = (uintptr_t)dir;
    keep_list(inode_of(ino), fi);
    if (fuse_reply_open(req, fi) == -ENOENT) {
        closedir(dir->d);
        free(dir);
    }
}

/* The next entry. NULL: the end (errno 0) or an error. */
static struct dirent *next_entry(struct dir *dir)
{
    if (!dir->pending) {
        errno = 0;
        dir->pending = readdir(dir->d);
    }
    return dir->pending;
}

/* An entry of a directory whose content --one-file-system does not show. */
static bool hidden(const struct inode *dir, const struct dirent *d)
{
    return dir->barred && strcmp(d->d_name, ".") && strcmp(d->d_name, "..");
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    struct dir *dir = dir_of(fi);
    struct inode *i = inode_of(ino);
    char *buf = loop_scratch();
    struct dirent *d;
    size_t used = 0;
    int err = 0;

    number_look_at_mounts();
    if (size > READ_MAX)
        size = READ_MAX;
    if (off != dir->at) {
        seekdir(dir->d, off);
        dir->pending = NULL;
        dir->at = off;
    }
    while ((d = next_entry(dir))) {
        if (!hidden(i, d)) {
            struct stat st = { .st_ino = number_listed(i, dirfd(dir->d), d),
                               .st_mode = (mode_t)d->d_type << 12 };
            size_t need = fuse_add_direntry(req, buf + used, size - used, d->d_name, &st, d->d_off);
            if (need > size - used)
                break;
            used += need;
        }
        dir->at = d->d_off;
        dir->pending = NULL;
    }
    if (!d)
        err = errno;
    if (err && !used)
        fuse_reply_err(req, err);
    else
        fuse_reply_buf(req, buf, used);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct dir *dir = dir_of(fi);

    (void)ino;
    closedir(dir->d);
    free(dir);
    fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    int fd = dirfd(dir_of(fi)->d);

    (void)ino;
    fuse_reply_err(req, (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct inode *i = inode_of(ino), *top = i->barred ? inode_top(i) : NULL;
    struct statvfs sv;

    if (fstatvfs(top ? top->fd : i->fd, &sv) < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_statfs(req, &sv);
    if (top)
        inode_put(top);
}

void ops_dir_init(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
    ops->statfs = op_statfs;
}
