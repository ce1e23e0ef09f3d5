/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin_posix.c - the origin's files, on Linux.
 *
 * Owns: a descriptor of the folder. Who: cache.c, handles.c, main.c, ops.c. Every thread.
 *
 * No link leads out of the folder. FUSE resolves links itself, in the name of the program that
 * asks. But a directory may have become a link since, by who may write there, and to follow it
 * would be done with the rights of the mount. So a path is walked name by name, and a link ends the
 * walk.
 */
#include "origin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int folder = -1;

static int result(int rc)
{
    return rc < 0 ? -errno : 0;
}

static void leave(int dir)
{
    const int error = errno;

    if (dir >= 0 && dir != folder)
        close(dir);
    errno = error;
}

/* The directory of the last name of a path; then leave(). -1 with errno. */
static int walk(const char *path, const char **last)
{
    const char *name = path + 1, *end;
    char one[NAME_MAX + 1];
    int dir = folder, next;

    for (; dir >= 0 && (end = strchr(name, '/')) != NULL; name = end + 1, dir = next) {
        const size_t len = (size_t)(end - name);
        if (len > NAME_MAX) {
            leave(dir);
            return errno = ENAMETOOLONG, -1;
        }
        memcpy(one, name, len);
        one[len] = '\0';
        next = openat(dir, one, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        leave(dir);
    }
    *last = *name ? name : "."; /* the folder itself */
    return dir;
}

/* openat() of a path. The last name is no link either. -1 with errno. */
static int open_path(const char *path, int flags, mode_t mode)
{
    const char *name;
    const int dir = walk(path, &name);
    const int fd = dir < 0 ? -1 : openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);

    leave(dir);
    return fd;
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
    fd = open_path(path, flags | O_NONBLOCK, how->mode);
    if (fd < 0)
        return -errno;
    *f = fd;
    return 0;
}

int origin_reopen(origin_file f, origin_file *writer)
{
    char by_number[32];

    snprintf(by_number, sizeof(by_number), "/proc/self/fd/%d", (int)f);
    *writer = open(by_number, O_RDWR | O_CLOEXEC);
    return result((int)*writer);
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
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW));

    leave(dir);
    return e;
}

int origin_list(const char *path, bool (*each)(void *ctx, const char *name, const api_stat *st),
                void *ctx)
{
    const int fd = open_path(path, O_RDONLY | O_DIRECTORY, 0);
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
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(mkdirat(dir, name, mode));

    leave(dir);
    return e;
}

int origin_rmdir(const char *path)
{
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(unlinkat(dir, name, AT_REMOVEDIR));

    leave(dir);
    return e;
}

int origin_unlink(const char *path)
{
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(unlinkat(dir, name, 0));

    leave(dir);
    return e;
}

int origin_rename(const char *from, const char *to, bool keep)
{
    const char *old, *new;
    const int source = walk(from, &old), target = source < 0 ? -1 : walk(to, &new);
    int e;

    if (target < 0)
        e = -errno;
    else if (!keep)
        e = result(renameat(source, old, target, new));
    else
        e = result((int)syscall(SYS_renameat2, source, old, target, new, 1 /* RENAME_NOREPLACE */));
    leave(source);
    leave(target);
    return e;
}

/* By the descriptor: what has the name may have become a link. */
int origin_chmod(const char *path, api_mode mode)
{
    const int fd = open_path(path, O_PATH, 0);
    char by_number[32];
    api_stat st;
    int e = fd < 0 ? -errno : result(fstat(fd, &st));

    if (e == 0 && S_ISLNK(st.st_mode))
        e = -ELOOP;
    snprintf(by_number, sizeof(by_number), "/proc/self/fd/%d", fd);
    if (e == 0)
        e = result(chmod(by_number, mode));
    if (fd >= 0)
        close(fd);
    return e;
}

int origin_set_times(const char *path, const api_timespec tv[2])
{
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(utimensat(dir, name, tv, AT_SYMLINK_NOFOLLOW));

    leave(dir);
    return e;
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
    const char *name;
    const int dir = walk(path, &name);
    const ssize_t n = dir < 0 ? -1 : readlinkat(dir, name, buf, room - 1);
    const int e = n < 0 ? -errno : 0;

    leave(dir);
    if (e == 0)
        buf[n] = '\0';
    return e;
}

int origin_make_link(const char *to, const char *path)
{
    const char *name;
    const int dir = walk(path, &name);
    const int e = dir < 0 ? -errno : result(symlinkat(to, dir, name));

    leave(dir);
    return e;
}

int origin_sync_names(const char *path)
{
    const int fd = open_path(path, O_RDONLY | O_DIRECTORY, 0);
    const int e = fd < 0 ? -errno : result(fsync(fd));

    if (fd >= 0)
        close(fd);
    return e;
}
