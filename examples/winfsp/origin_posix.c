/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin_posix.c - the origin's files, on Linux.
 *
 * Owns: a descriptor of the folder. Who: cache.c, ops.c. Every thread.
 */
#include "origin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int folder = -1;

static int result(int rc)
{
    return rc < 0 ? -errno : 0;
}

static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

int origin_begin(const char *path, bool everyone)
{
    (void)everyone; /* the files have modes */
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return result(folder);
}

void origin_end(void)
{
    close(folder);
}

int origin_open(const char *path, const struct origin_how *how, origin_file *f)
{
    int flags = how->reads ? how->writes ? O_RDWR : O_RDONLY : O_WRONLY, fd;

    flags |= how->create ? O_CREAT | (how->exclusive ? O_EXCL : 0) : 0;
    fd = openat(folder, below(path), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, how->mode);
    if (fd < 0)
        return -errno;
    *f = fd;
    return 0;
}

int origin_close(origin_file f)
{
    return result(close((int)f));
}

int64_t origin_read(origin_file f, uint64_t off, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = pread((int)f, (char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int64_t origin_write(origin_file f, uint64_t off, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const ssize_t n = pwrite((int)f, (const char *)buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return done ? (int64_t)done : n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int origin_set_size(origin_file f, uint64_t size)
{
    return result(ftruncate((int)f, (off_t)size));
}

int origin_sync(origin_file f, bool datasync)
{
    return result(datasync ? fdatasync((int)f) : fsync((int)f));
}

int origin_stat_file(origin_file f, api_stat *st)
{
    return result(fstat((int)f, st));
}

int origin_stat(const char *path, api_stat *st)
{
    return result(fstatat(folder, below(path), st, AT_SYMLINK_NOFOLLOW));
}

int origin_list(const char *path, bool (*each)(void *ctx, const char *name, const api_stat *st),
                void *ctx)
{
    const int fd = openat(folder, below(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e;
    int error = errno;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return -error;
    }
    while (errno = 0, (e = readdir(d)) != NULL) {
        const api_stat st = { .st_ino = e->d_ino, .st_mode = (mode_t)DTTOIF(e->d_type) };
        if (!each(ctx, e->d_name, &st))
            break;
    }
    error = errno;
    closedir(d);
    return -error;
}

int origin_mkdir(const char *path, api_mode mode)
{
    return result(mkdirat(folder, below(path), mode));
}

int origin_rmdir(const char *path)
{
    return result(unlinkat(folder, below(path), AT_REMOVEDIR));
}

int origin_unlink(const char *path)
{
    return result(unlinkat(folder, below(path), 0));
}

int origin_rename(const char *from, const char *to, bool keep)
{
    if (!keep)
        return result(renameat(folder, below(from), folder, below(to)));
    return result((int)syscall(SYS_renameat2, folder, below(from), folder, below(to),
                               1 /* RENAME_NOREPLACE */));
}

int origin_chmod(const char *path, api_mode mode)
{
    return result(fchmodat(folder, below(path), mode, 0));
}

int origin_set_times(const char *path, const api_timespec tv[2])
{
    return result(utimensat(folder, below(path), tv, AT_SYMLINK_NOFOLLOW));
}

int origin_set_times_of(origin_file f, const api_timespec tv[2])
{
    return result(futimens((int)f, tv));
}

int origin_space(api_statvfs *s)
{
    return result(fstatvfs(folder, s));
}

int origin_read_link(const char *path, char *buf, size_t room)
{
    const ssize_t n = readlinkat(folder, below(path), buf, room - 1);

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    return 0;
}

int origin_make_link(const char *to, const char *path)
{
    return result(symlinkat(to, folder, below(path)));
}

int origin_sync_names(const char *path)
{
    const int fd = openat(folder, below(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int e = fd < 0 ? -errno : result(fsync(fd));

    if (fd >= 0)
        close(fd);
    return e;
}
