/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slow.c - a slow origin with other writers: loaded into the mount by LD_PRELOAD.
 *
 * While the file named by $SLOW_ORIGIN exists, a pread makes $SLOW_ORIGIN.reading and waits as long
 * as both exist; a pwrite makes $SLOW_ORIGIN.writing and waits for a pread. If it has a text, only
 * a pread at that offset waits. If there is a file $SLOW_ORIGIN.other, the next file that an openat
 * makes is replaced by it at once.
 *
 * If there is a file $SLOW_OPEN, the next answer to an OPEN that makes the kernel drop its pages
 * renames it to $SLOW_OPEN.late and waits until that is gone.
 *
 * While there is a file $SLOW_STAT, an fstatat of a descriptor makes $SLOW_STAT.waits and waits.
 *
 * While there is a file $SLOW_MAKE, an fallocate makes $SLOW_MAKE.waits and waits.
 *
 * While there is a file $SLOW_FSTAT, an fstat of a file whose path ends with its text makes
 * $SLOW_FSTAT.waits and waits.
 *
 * While there is a file $SLOW_SYNC, an msync makes $SLOW_SYNC.waits and waits.
 *
 * While there is a file $SLOW_APPEND, an append (pwritev2) makes $SLOW_APPEND.waits once it is
 * done, and waits; if the file has a text, before it begins.
 *
 * While there is a file $SLOW_TELL, the mount makes $SLOW_TELL.waits and waits before it tells the
 * kernel the end of a file (struct order of direct.c: the last of its four numbers).
 *
 * None waits longer than twenty minutes.
 *
 * While there is a file $FAIL_STAT, an fstat of a regular file fails with EIO.
 *
 * While there is a file $FAIL_OPEN, there is no descriptor to read and write a file whose path ends
 * with its text.
 *
 * While there is a file $FAIL_READ, there is no descriptor to read a file whose path ends with its
 * text.
 *
 * While there is a file $FAIL_GROW, an fallocate of a file whose path ends with its text fails with
 * EIO.
 *
 * While there is a file $FAIL_PART, calls that change a file whose path ends with its text fail
 * with ENOSPC after a part: an fallocate and an ftruncate when it is done, a pwrite of more than a
 * page after the half.
 *
 * While there is a file $FAIL_LOOK, an fstatat of a descriptor whose path ends with its text fails
 * with EIO.
 *
 * While there is a file $FAIL_HOLD, an open() with O_PATH of a file whose path ends with its text
 * finds no descriptor.
 *
 * While there is a file $FAIL_SYNC, an fsync or fdatasync of a file whose path ends with its text
 * fails with EIO.
 *
 * The file $SYNCED gets a line for each fsync, with the path of what is synced.
 *
 * With $SLOW_MOUNT in the environment a mount takes a second.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define TICK_US 10000
#define TICKS 120000 /* longer than a test takes on the slowest machine */

ssize_t pread(int fd, void *buf, size_t n, off_t off);
ssize_t pwrite(int fd, const void *buf, size_t n, off_t off);
int mount(const char *what, const char *where, const char *type, unsigned long flags,
          const void *data);
ssize_t writev(int fd, const struct iovec *v, int n);
int openat(int dir, const char *name, int flags, ...);
int open(const char *name, int flags, ...);

/* The file $SLOW_ORIGIN.SUFFIX: is it there? `make`: now it is. False unless the origin is slow. */
static bool marked(const char *suffix, bool make)
{
    const char *flag = getenv("SLOW_ORIGIN");
    char path[PATH_MAX];

    if (!flag || access(flag, F_OK) < 0)
        return false;
    snprintf(path, sizeof(path), "%s.%s", flag, suffix);
    if (make)
        close(open(path, O_WRONLY | O_CREAT, 0600));
    return access(path, F_OK) == 0;
}

/* As long as the file is there. */
static void wait_for(const char *flag)
{
    char waits[PATH_MAX];

    snprintf(waits, sizeof(waits), "%s.waits", flag);
    close(open(waits, O_WRONLY | O_CREAT, 0600));
    for (int i = 0; i < TICKS && access(flag, F_OK) == 0; i++)
        usleep(TICK_US);
}

/* The text of a file, without the end of its line. False: there is no such file. */
static bool text_of(const char *flag, char text[PATH_MAX])
{
    FILE *f = flag ? fopen(flag, "re") : NULL;

    text[0] = '\0';
    if (!f)
        return false;
    if (fgets(text, PATH_MAX, f))
        text[strcspn(text, "\n")] = '\0';
    fclose(f);
    return true;
}

static bool path_of(int fd, char path[PATH_MAX])
{
    char name[40];
    ssize_t n;

    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    n = readlink(name, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = '\0';
    return n > 0;
}

/* Does the path of fd end with the text of the file? */
static bool is_meant(const char *flag, int fd)
{
    char text[PATH_MAX], path[PATH_MAX];
    size_t n, m;

    if (!text_of(flag, text) || !path_of(fd, path))
        return false;
    n = strlen(path);
    m = strlen(text);
    return m > 0 && n >= m && strcmp(path + n - m, text) == 0;
}

/* `held`: what names the files for O_PATH. */
static int unless_failing(int fd, int flags, const char *held)
{
    const char *name = (flags & O_ACCMODE) == O_RDWR ? "FAIL_OPEN" : "FAIL_READ";
    const char *flag = getenv(flags & O_PATH ? held : name);

    if (fd < 0 || (flags & O_ACCMODE) == O_WRONLY || !is_meant(flag, fd))
        return fd;
    close(fd);
    errno = EMFILE;
    return -1;
}

int open(const char *name, int flags, ...)
{
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    mode_t mode = 0;
    va_list ap;

    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    return unless_failing(next(name, flags, mode), flags, "FAIL_HOLD");
}

/* What open() is in a program that was built with _FORTIFY_SOURCE. */
int __open64_2(const char *name, int flags);
int __open64_2(const char *name, int flags)
{
    return open(name, flags);
}

int msync(void *start, size_t len, int flags)
{
    int (*next)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");
    const char *flag = getenv("SLOW_SYNC");

    if (flag && access(flag, F_OK) == 0)
        wait_for(flag);
    return next(start, len, flags);
}

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    if (is_meant(getenv("FAIL_SYNC"), fd)) {
        errno = EIO;
        return -1;
    }
    return next(fd);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    int (*next)(int, int, off_t, off_t) =
        (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate");
    const char *flag = getenv("SLOW_MAKE");

    if (is_meant(getenv("FAIL_GROW"), fd)) {
        errno = EIO;
        return -1;
    }
    if (flag && access(flag, F_OK) == 0)
        wait_for(flag);
    if (is_meant(getenv("FAIL_PART"), fd) && next(fd, mode, off, len) == 0) {
        errno = ENOSPC;
        return -1;
    }
    return next(fd, mode, off, len);
}

int ftruncate(int fd, off_t size)
{
    int (*next)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    const int rc = next(fd, size);

    if (rc < 0 || !is_meant(getenv("FAIL_PART"), fd))
        return rc;
    errno = ENOSPC;
    return -1;
}

int fstatat(int dir, const char *name, struct stat *st, int flags)
{
    int (*next)(int, const char *, struct stat *, int) =
        (int (*)(int, const char *, struct stat *, int))dlsym(RTLD_NEXT, "fstatat");
    const char *flag = getenv("SLOW_STAT");

    if (flag && !*name && access(flag, F_OK) == 0)
        wait_for(flag);
    if (!*name && is_meant(getenv("FAIL_LOOK"), dir)) {
        errno = EIO;
        return -1;
    }
    return next(dir, name, st, flags);
}

int fstat(int fd, struct stat *st)
{
    int (*next)(int, struct stat *) = (int (*)(int, struct stat *))dlsym(RTLD_NEXT, "fstat");
    const char *flag = getenv("FAIL_STAT"), *slow = getenv("SLOW_FSTAT");
    const int rc = next(fd, st);

    if (is_meant(slow, fd))
        wait_for(slow);

    if (rc < 0 || !flag || !S_ISREG(st->st_mode) || access(flag, F_OK) < 0)
        return rc;
    errno = EIO;
    return -1;
}

int fsync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *list = getenv("SYNCED");
    char path[PATH_MAX + 1];
    int out;

    if (list && path_of(fd, path)) {
        strcat(path, "\n");
        out = open(list, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (write(out, path, strlen(path)) < 0)
            abort();
        close(out);
    }
    if (is_meant(getenv("FAIL_SYNC"), fd)) {
        errno = EIO;
        return -1;
    }
    return next(fd);
}

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
    ssize_t (*next)(int, void *, size_t, off_t) =
        (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");

    char text[PATH_MAX];

    if ((!text_of(getenv("SLOW_ORIGIN"), text) || !text[0] || strtoll(text, NULL, 10) == off) &&
        marked("reading", true))
        for (int i = 0; i < TICKS && marked("reading", false); i++)
            usleep(TICK_US);
    return next(fd, buf, n, off);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
    ssize_t (*next)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    static _Thread_local bool full;

    if (marked("writing", true))
        for (int i = 0; i < TICKS && !marked("reading", false); i++)
            usleep(TICK_US);
    if (n > 4096 && is_meant(getenv("FAIL_PART"), fd)) {
        const ssize_t half = full ? -1 : next(fd, buf, n / 2, off);
        full = !full;
        errno = ENOSPC;
        return half;
    }
    return next(fd, buf, n, off);
}

ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t, int) =
        (ssize_t(*)(int, const struct iovec *, int, off_t, int))dlsym(RTLD_NEXT, "pwritev2");
    const char *flag = getenv("SLOW_APPEND");
    char text[PATH_MAX];
    ssize_t done;

    if (text_of(flag, text) && text[0])
        wait_for(flag);
    done = next(fd, v, n, off, flags);
    if (text_of(flag, text) && !text[0])
        wait_for(flag);
    return done;
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    ssize_t (*next)(int, const void *, size_t, int) =
        (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    const char *flag = getenv("SLOW_TELL");
    uint64_t order[4];

    if (flag && n == sizeof(order) && access(flag, F_OK) == 0) {
        memcpy(order, buf, sizeof(order));
        if (order[3])
            wait_for(flag);
    }
    return next(fd, buf, n, flags);
}

int mount(const char *what, const char *where, const char *type, unsigned long flags,
          const void *data)
{
    int (*next)(const char *, const char *, const char *, unsigned long, const void *) =
        (int (*)(const char *, const char *, const char *, unsigned long, const void *))dlsym(
            RTLD_NEXT, "mount");

    if (getenv("SLOW_MOUNT"))
        sleep(1);
    return next(what, where, type, flags, data);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    ssize_t (*next)(int, const struct iovec *, int) =
        (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    const char *flag = getenv("SLOW_OPEN");
    char late[PATH_MAX];

    if (flag && n == 2 && v[0].iov_len == sizeof(struct fuse_out_header) &&
        v[1].iov_len == sizeof(struct fuse_open_out)) {
        const struct fuse_open_out *o = v[1].iov_base;
        snprintf(late, sizeof(late), "%s.late", flag);
        if (!(o->open_flags & FOPEN_KEEP_CACHE) && rename(flag, late) == 0)
            for (int i = 0; i < TICKS && access(late, F_OK) == 0; i++)
                usleep(TICK_US);
    }
    return next(fd, v, n);
}

int openat(int dir, const char *name, int flags, ...)
{
    int (*next)(int, const char *, int, ...) =
        (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    const char *flag = getenv("SLOW_ORIGIN");
    char path[PATH_MAX];
    va_list ap;
    int fd;

    if (!(flags & O_CREAT))
        return unless_failing(next(dir, name, flags), flags, "");
    va_start(ap, flags);
    fd = next(dir, name, flags, va_arg(ap, mode_t));
    va_end(ap);
    snprintf(path, sizeof(path), "%s.other", flag ? flag : "");
    if (fd >= 0 && flag)
        (void)renameat(AT_FDCWD, path, dir, name);
    return fd;
}
