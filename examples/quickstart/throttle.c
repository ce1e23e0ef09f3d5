/* SPDX-License-Identifier: BSD-2-Clause
 *
 * throttle.c - a slow storage to try the cache on: shows a directory read-only, and reads slowly.
 *
 * It serves one request at a time, like a disk with one head. A read of n bytes takes MS
 * milliseconds plus n / MB/s seconds. Names and attributes are as fast as below. Opening a file
 * drops the kernel's pages of it, so a second read is slow again. Inode numbers and times are those
 * of the directory below, and the mount's source is its path, so cached files are recognised again.
 * Used by quickstart.sh.
 *
 * usage: throttle SOURCE DIR MB/S MS   (in the foreground; ends when DIR is unmounted, or by
 * SIGTERM)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define TIMEOUT_S 60 /* for names and attributes: nobody changes the files */

static int root; /* the source; opened before anything can cover it */
static dev_t root_dev;
static long long ns_a_read, bytes_a_second;
static long long free_at; /* when the storage has finished its requests, ns */

static long long now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Waits until a read of n bytes that begins now is done. The time of the real read counts. */
static void take_time(long long began, size_t n)
{
    struct timespec t;

    if (free_at < began)
        free_at = began;
    free_at += ns_a_read + (long long)n * NS_PER_S / bytes_a_second;
    t = (struct timespec){ free_at / NS_PER_S, free_at % NS_PER_S };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL); /* a signal ends it, which is fine */
}

static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int result(int r)
{
    return r < 0 ? -errno : r;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    (void)conn;
    cfg->use_ino = 1;
    cfg->entry_timeout = cfg->attr_timeout = TIMEOUT_S;
    return NULL;
}

/* Files of other devices, such as layers of an overlayfs, must not share a number with ours. */
static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    int r = fi ? fstat((int)fi->fh, st) : fstatat(root, below(path), st, AT_SYMLINK_NOFOLLOW);

    if (r == 0)
        st->st_ino ^= (st->st_dev ^ root_dev) * 0x9E3779B97F4A7C15u;
    return result(r);
}

static int op_readlink(const char *path, char *buf, size_t size)
{
    ssize_t n = readlinkat(root, below(path), buf, size - 1);

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    int fd = openat(root, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    (void)off, (void)fi, (void)flags;
    if (!d) {
        int err = errno;
        if (fd >= 0)
            close(fd);
        return -err;
    }
    while ((e = readdir(d))) {
        struct stat st = { .st_ino = e->d_ino, .st_mode = (mode_t)DTTOIF(e->d_type) };
        if (fill(buf, e->d_name, &st, 0, 0))
            break;
    }
    closedir(d);
    return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
    int fd;

    if ((fi->flags & O_ACCMODE) != O_RDONLY)
        return -EROFS;
    fd = openat(root, below(path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return result(close((int)fi->fh));
}

static int op_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
    long long began = now_ns();
    ssize_t n = pread((int)fi->fh, buf, size, off);

    (void)path;
    if (n < 0)
        return -errno;
    take_time(began, (size_t)n);
    return (int)n;
}

static int op_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    return result(data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int op_statfs(const char *path, struct statvfs *sv)
{
    (void)path;
    return result(fstatvfs(root, sv));
}

static const struct fuse_operations ops = { .init = op_init,
                                            .getattr = op_getattr,
                                            .readlink = op_readlink,
                                            .readdir = op_readdir,
                                            .open = op_open,
                                            .release = op_release,
                                            .read = op_read,
                                            .fsync = op_fsync,
                                            .statfs = op_statfs };

/* May the mount let others in? Without that an ordinary user cannot mount over it, because the
 * program that does so runs as root. */
static bool may_allow_other(void)
{
    FILE *f = fopen("/etc/fuse.conf", "re");
    char line[256];
    bool yes = false;

    while (f && !yes && fgets(line, sizeof(line), f))
        yes = !strncmp(line, "user_allow_other", 16);
    if (f)
        fclose(f);
    return yes && geteuid() != 0;
}

/* Adds "-o subtype=throttle,fsname=SOURCE". 0, or -1. */
static int options(struct fuse_args *args, const char *source)
{
    char *name = NULL, *list = NULL;
    int rc = -1;

    if (asprintf(&name, "fsname=%s", source) > 0 && fuse_opt_add_opt_escaped(&list, name) == 0 &&
        fuse_opt_add_opt(&list, "subtype=throttle") == 0 &&
        (!may_allow_other() || fuse_opt_add_opt(&list, "allow_other,default_permissions") == 0) &&
        fuse_opt_add_arg(args, "throttle") == 0 && fuse_opt_add_arg(args, "-o") == 0 &&
        fuse_opt_add_arg(args, list) == 0)
        rc = 0;
    free(name);
    free(list);
    return rc;
}

static int serve(const char *source, const char *dir)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse *f = options(&args, source) ? NULL : fuse_new(&args, &ops, sizeof(ops), NULL);
    int rc = 1;

    fuse_opt_free_args(&args);
    /* The handlers come first: a signal must not end us between mounting and unmounting. */
    if (f && fuse_set_signal_handlers(fuse_get_session(f)) == 0 && fuse_mount(f, dir) == 0) {
        rc = fuse_loop(f) < 0;
        fuse_unmount(f);
    }
    if (f)
        fuse_destroy(f);
    return rc;
}

int main(int argc, char **argv)
{
    struct stat st;
    char *source;
    int rc;

    ns_a_read = argc == 5 ? (long long)(atof(argv[4]) * 1e6) : -1;
    bytes_a_second = argc == 5 ? (long long)(atof(argv[3]) * 1e6) : 0;
    if (ns_a_read < 0 || bytes_a_second <= 0) {
        fprintf(stderr, "usage: throttle SOURCE DIR MB/S MS\n");
        return 2;
    }
    source = realpath(argv[1], NULL);
    root = source ? open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (root < 0 || fstat(root, &st) < 0) {
        fprintf(stderr, "throttle: %s: %s\n", argv[1], strerror(errno));
        free(source);
        return 1;
    }
    root_dev = st.st_dev;
    rc = serve(source, argv[2]);
    free(source);
    return rc;
}
