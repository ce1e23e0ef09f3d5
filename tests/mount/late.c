/* SPDX-License-Identifier: BSD-2-Clause
 *
 * late.c - a file system like that of a server: late SOURCE MOUNTPOINT LOG [-f and the like]
 *
 * It shows the files of SOURCE, a directory without directories. As with MooseFS, times are whole
 * seconds, and the times of a write are shown only after LATE_S seconds, or when somebody sets a
 * time. As with GlusterFS, the kernel keeps the pages of a file until somebody opens it. LOG gets a
 * line for each write, setting of times, fsync and close: its name. A file "ahead" has a time of
 * the year 2286.
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LATE_S 5
#define AHEAD_S 10000000000 /* in 2286, which is too late for a count of nanoseconds */
#define FILES 64

static struct {
    pthread_mutex_t lock;
    int log;
    const char *source;
    struct hidden {
        ino_t file; /* 0: none */
        struct timespec mtim, ctim;
        time_t until;
    } hidden[FILES];
} late = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int done(int rc)
{
    return rc < 0 ? -errno : rc;
}

static void note(const char *what)
{
    if (write(late.log, what, strlen(what)) < 0)
        abort();
}

static const char *lower(char buf[PATH_MAX], const char *path)
{
    snprintf(buf, PATH_MAX, "%s%s", late.source, path);
    return buf;
}

/* Lock held. Its entry, or a free one; NULL: there is none. */
static struct hidden *find(ino_t file)
{
    struct hidden *spare = NULL;

    for (struct hidden *h = late.hidden; h < late.hidden + FILES; h++) {
        if (h->file && h->until < time(NULL))
            h->file = 0;
        if (h->file == file)
            return h;
        if (!h->file)
            spare = h;
    }
    return spare;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    char buf[PATH_MAX];
    const int rc = fi ? fstat((int)fi->fh, st) : lstat(lower(buf, path), st);
    const struct hidden *h;

    if (rc < 0)
        return -errno;
    pthread_mutex_lock(&late.lock);
    h = find(st->st_ino);
    if (h && h->file) {
        st->st_mtim = h->mtim;
        st->st_ctim = h->ctim;
    }
    pthread_mutex_unlock(&late.lock);
    st->st_atim.tv_nsec = st->st_mtim.tv_nsec = st->st_ctim.tv_nsec = 0;
    if (strcmp(path, "/ahead") == 0)
        st->st_mtim.tv_sec = st->st_ctim.tv_sec = AHEAD_S;
    return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    DIR *d = opendir(late.source);

    (void)path, (void)off, (void)fi, (void)flags;
    if (!d)
        return -errno;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        fill(buf, e->d_name, NULL, 0, 0);
    closedir(d);
    return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
    char buf[PATH_MAX];
    const int fd = open(lower(buf, path), fi->flags & ~(O_DIRECT | O_APPEND | O_NOFOLLOW));

    fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    char buf[PATH_MAX];
    const int fd = open(lower(buf, path), O_RDWR | O_CREAT | (fi->flags & O_EXCL), mode);

    fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}

static int op_read(const char *path, char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
    (void)path;
    return done((int)pread((int)fi->fh, buf, n, off));
}

static int op_write(const char *path, const char *buf, size_t n, off_t off,
                    struct fuse_file_info *fi)
{
    struct hidden *h;
    struct stat st;
    int rc;

    (void)path;
    pthread_mutex_lock(&late.lock);
    if (fstat((int)fi->fh, &st) == 0 && (h = find(st.st_ino)) != NULL && !h->file)
        *h = (struct hidden){ st.st_ino, st.st_mtim, st.st_ctim, time(NULL) + LATE_S };
    rc = done((int)pwrite((int)fi->fh, buf, n, off));
    pthread_mutex_unlock(&late.lock);
    note("write\n");
    return rc;
}

static int op_utimens(const char *path, const struct timespec t[2], struct fuse_file_info *fi)
{
    char buf[PATH_MAX];
    const int rc = done(utimensat(AT_FDCWD, lower(buf, path), t, AT_SYMLINK_NOFOLLOW));
    struct hidden *h;
    struct stat st;

    (void)fi;
    pthread_mutex_lock(&late.lock);
    if (lstat(lower(buf, path), &st) == 0 && (h = find(st.st_ino)) != NULL)
        h->file = 0;
    pthread_mutex_unlock(&late.lock);
    note("times\n");
    return rc;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    char buf[PATH_MAX];

    (void)fi;
    return done(truncate(lower(buf, path), size));
}

static int op_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path, (void)datasync, (void)fi;
    note("fsync\n");
    return 0;
}

static int op_flush(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    if ((fi->flags & O_ACCMODE) != O_RDONLY)
        note("close\n");
    return 0;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return done(close((int)fi->fh));
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *c)
{
    conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
    c->use_ino = 1;
    c->attr_timeout = c->entry_timeout = c->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations ops = { .init = op_init,
                                            .getattr = op_getattr,
                                            .readdir = op_readdir,
                                            .open = op_open,
                                            .create = op_create,
                                            .read = op_read,
                                            .write = op_write,
                                            .utimens = op_utimens,
                                            .truncate = op_truncate,
                                            .fsync = op_fsync,
                                            .flush = op_flush,
                                            .release = op_release };

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    late.source = argv[1];
    late.log = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
    argv[1] = argv[0];
    argv[3] = argv[2];
    argv[2] = argv[1];
    /* argv + 2: the program, the mount point, and the options. */
    return late.log < 0 || fuse_main(argc - 2, argv + 2, &ops, NULL);
}
