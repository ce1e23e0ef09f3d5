/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_create.c - platform.h on Linux: makes a pool file.
 *
 * Owns: how a file gets its space, how it is synced, and how it gets its name. The name comes last,
 * so that a process that is killed in the middle leaves nothing that blocks the next one.
 *
 * How: the file is made without a name (O_TMPFILE) and linked when it is complete. The kernel frees
 * a file that was never linked. Some file systems have no such files. There the file is made beside
 * its place, with NEW added to its name, and renamed when it is complete. If such a file exists and
 * nobody holds its lock, a killed process left it, and the next process removes it. A process that
 * has found one takes its lock, and then checks again whether the name still leads to the file.
 * Neither way ever replaces a file that has the name itself. (Where a rename has no flags and there
 * are no links either, as on some FUSE servers, the name is taken just before the rename: a kill
 * between the two leaves an empty file.)
 *
 * Who: api/, platform/. Calls back the progress function.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/posix.h"
#include "platform/posix_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define POSIX_ALLOC_STEP (64ull << 20)
#define POSIX_ALLOC_LEAST (64ull << 10) /* some ten microseconds on tmpfs */
#define SIGNALS_MOST 1000u              /* in a row */
#define NEW ".cachemax-new"
#define NEW_TRIES 100
#define ACL "system.posix_acl_access"

/* Values of struct cm_plat_file.state: where the file is. */
enum { CREATE_NAMED, CREATE_NAMELESS, CREATE_BESIDE };

/* ---- Space --------------------------------------------------------------------------------- */

bool cm_posix_reaches(int fd, uint64_t offset)
{
    struct stat st;

    /* It changes nothing: the file has its first block. But a truncate() that waits for an earlier
     * call to end may have been promised the file's lock next, and would come right after fstat().
     * This waits for the lock, too, and so it comes before. */
    (void)fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1);
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size >= offset;
}

/* For file systems that cannot allocate: written zeros take space like any other data. */
static int file_write_zeros(int fd, uint64_t offset, uint64_t len)
{
    const size_t chunk = 1u << 20;
    void *zeros = cm_plat_alloc(chunk);
    unsigned signals = 0;
    int rc = 0;

    if (zeros == NULL) {
        return CM_ENOMEM;
    }
    while (len > 0) {
        const size_t n = len < chunk ? (size_t)len : chunk;
        const ssize_t done = cm_posix_reaches(fd, offset) ? pwrite(fd, zeros, n, (off_t)offset) : 0;

        if (done < 0 && errno == EINTR && signals++ < SIGNALS_MOST) {
            continue;
        }
        if (done <= 0) {
            rc = done < 0 ? cm_posix_error(errno) : CM_EIO;
            break;
        }
        offset += (uint64_t)done;
        len -= (uint64_t)done;
        signals = 0;
    }
    cm_plat_free(zeros, chunk);
    return rc;
}

/* If a signal comes (EINTR), tmpfs takes back all that the call has reserved. Beside a timer the
 * same call again might never get through. So after each signal the calls are half as long. What
 * is interrupted all the same, every time, has failed: a file system may answer so for ever. */
static int file_allocate_step(int fd, uint64_t offset, uint64_t len)
{
    uint64_t part = POSIX_ALLOC_STEP;
    unsigned signals = 0;

    while (len > 0) {
        const uint64_t n = len < part ? len : part;

        if (!cm_posix_reaches(fd, offset)) {
            return CM_EIO;
        } else if (fallocate(fd, 0, (off_t)offset, (off_t)n) == 0) {
            offset += n;
            len -= n;
            signals = 0;
        } else if (errno == EINTR && signals++ < SIGNALS_MOST) {
            part = part > POSIX_ALLOC_LEAST ? part / 2 : part;
        } else if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM) {
            return file_write_zeros(fd, offset, len); /* EPERM: by a filter, or of the write, too */
        } else {
            return cm_posix_error(errno);
        }
    }
    return 0;
}

static bool free_bytes(const struct statfs *fs, uint64_t *bytes)
{
    if (fs->f_blocks == 0 || fs->f_bsize <= 0 ||
        (uint64_t)fs->f_bfree > UINT64_MAX / (uint64_t)fs->f_bsize) {
        return false;
    }
    *bytes = (uint64_t)fs->f_bfree * (uint64_t)fs->f_bsize;
    return true;
}

bool cm_posix_free_bytes(const struct cm_plat_file *f, uint64_t *bytes)
{
    struct statfs fs;

    return fstatfs(file_fd(f), &fs) == 0 && free_bytes(&fs, bytes);
}

int cm_posix_allocate(const struct cm_plat_file *f, uint64_t from, uint64_t size,
                      int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    uint64_t has;

    /* Refuses a size that cannot succeed. Else the attempt would take the last free byte from all
     * others on the volume; on tmpfs that is the machine's memory. */
    if (cm_posix_free_bytes(f, &has) && size - from > has) {
        return CM_ENOSPC;
    }
    for (uint64_t done = from; done < size;) {
        const uint64_t left = size - done;
        const uint64_t step = left < POSIX_ALLOC_STEP ? left : POSIX_ALLOC_STEP;
        const int rc = file_allocate_step(file_fd(f), done, step);

        if (rc != 0) {
            return rc;
        }
        done += step;
        if (progress != NULL && progress(ctx, done, size) != 0) {
            return CM_ECANCELED;
        }
    }
    return 0;
}

/* ---- Syncs --------------------------------------------------------------------------------- */

int cm_posix_sync(int fd, void *base, size_t n)
{
    sigset_t all, was;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &was);
    const int rc = base != NULL ? msync(base, n, MS_SYNC) : fsync(fd);
    (void)pthread_sigmask(SIG_SETMASK, &was, NULL); /* it leaves errno alone */
    return rc;
}

/* ---- Names --------------------------------------------------------------------------------- */

/* The directory of `path`. NULL: no memory (errno). The caller frees it. */
static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    return n == 0 ? strdup(".") : strndup(path, n);
}

int cm_posix_open_dir(const char *path, int flags)
{
    char *dir = dir_of(path);
    const int fd = dir == NULL ? -1 : open(dir, flags | O_DIRECTORY | O_CLOEXEC);

    free(dir); /* it leaves errno alone */
    return fd;
}

static char *name_beside(const char *path)
{
    const size_t bytes = strlen(path) + sizeof NEW;
    char *name = malloc(bytes);

    if (name != NULL) {
        (void)snprintf(name, bytes, "%s" NEW, path);
    }
    return name;
}

static bool leads_to(const char *name, int fd)
{
    struct stat there, here;

    return lstat(name, &there) == 0 && fstat(fd, &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

/* Removes the file that a killed process left. CM_EEXIST: a living process has its lock. */
static int remove_dead(const char *name)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    int rc = cm_plat_file_open(&f, name, false);

    if (rc != 0) {
        return rc == CM_ENOENT ? 0 : rc;
    }
    rc = cm_plat_file_lock(&f);
    if (rc == 0 && leads_to(name, file_fd(&f)) && unlink(name) != 0) {
        rc = cm_posix_error(errno);
    }
    cm_plat_file_close(&f);
    return rc == CM_EOWNED ? CM_EEXIST : rc;
}

/* 0, or an error of the system as CM_E*. */
static int open_exclusive(struct cm_plat_file *f, const char *name)
{
    POSIX_NO_FORK;
    const int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? cm_posix_error(errno) : cm_posix_file_take(f, fd);
}

static int open_beside(struct cm_plat_file *f, const char *name)
{
    for (unsigned i = 0; i < NEW_TRIES; i++) {
        int rc = open_exclusive(f, name);

        if (rc != 0 && rc != CM_EEXIST) {
            return rc;
        }
        if (rc != 0) {
            rc = remove_dead(name);
        } else {
            /* Before this lock, another process may have seen the file unlocked and removed it. */
            rc = cm_plat_file_lock(f);
            if (rc == 0 && leads_to(name, file_fd(f))) {
                f->state = CREATE_BESIDE;
                return 0;
            }
            cm_plat_file_close(f);
            rc = rc == CM_EOWNED ? 0 : rc;
        }
        if (rc != 0) {
            return rc;
        }
    }
    return CM_EEXIST;
}

/* Can a file without a name get one? */
static bool can_link(int fd)
{
    char link[32];
    struct stat st;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return lstat(link, &st) == 0 || geteuid() == 0;
}

/* 0 or an errno; CM_ENOMEM. */
static int open_nameless(struct cm_plat_file *f, const char *dir)
{
    POSIX_NO_FORK;
    const int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

    return fd < 0 ? errno : cm_posix_file_take(f, fd);
}

static int open_new(struct cm_plat_file *f, const char *path)
{
    struct stat st;
    char *name, *dir;
    int rc;

    if (lstat(path, &st) == 0) {
        return CM_EEXIST;
    }
    if (errno != ENOENT || *path == 0) {
        return cm_posix_error(errno);
    }
    if (path[strlen(path) - 1] == '/') {
        return CM_ENOTFILE;
    }
    dir = dir_of(path);
    rc = dir == NULL ? CM_ENOMEM : open_nameless(f, dir);
    free(dir);
    if (rc == 0 && can_link(file_fd(f))) {
        f->state = CREATE_NAMELESS;
        return cm_plat_file_lock(f);
    }
    if (rc != 0 && rc != EOPNOTSUPP && rc != EISDIR && rc != EINVAL && rc != ENOSYS) {
        return rc < 0 ? rc : cm_posix_error(rc);
    }
    cm_plat_file_close(f);
    name = name_beside(path);
    if (name == NULL) {
        return CM_ENOMEM;
    }
    rc = open_beside(f, name);
    free(name);
    return rc;
}

/* A file beyond the process's limit would not just fail: the process would get SIGXFSZ and end. */
bool cm_posix_size_allowed(uint64_t size)
{
    struct rlimit limit;

    if (size > (uint64_t)INT64_MAX) {
        return false;
    }
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           size <= limit.rlim_cur;
}

int cm_plat_file_create(struct cm_plat_file *f, const char *path, uint64_t size, bool prealloc,
                        int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    POSIX_NO_CANCEL;
    int rc;

    assert(f != NULL && f->handle < 0 && path != NULL);
    if (!cm_posix_size_allowed(size)) {
        return CM_ENOSPC;
    }
    rc = open_new(f, path);
    f->size = size;
    f->sparse = !prealloc;
    if (rc == 0) {
        cm_posix_write_in_place(file_fd(f)); /* only a file without data can be told */
    }
    if (rc == 0 && prealloc) {
        rc = cm_posix_allocate(f, 0, size, progress, ctx);
    } else if (rc == 0 && ftruncate(file_fd(f), (off_t)size) != 0) {
        rc = cm_posix_error(errno);
    }
    if (rc != 0) {
        cm_plat_file_abandon(f, path);
    }
    return rc;
}

/* The volume of the file's directory. */
static bool volume_of(const char *path, struct statfs *fs)
{
    const int fd = cm_posix_open_dir(path, O_PATH); /* it need not be readable */
    const bool known = fd >= 0 && fstatfs(fd, fs) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return known;
}

void cm_plat_file_not_made(const char *path, uint64_t size, bool prealloc, int code,
                           char why[PLAT_WHY])
{
    POSIX_NO_CANCEL;
    struct statfs fs;
    struct stat st;
    uint64_t has;

    why[0] = '\0';
    if (code == CM_ENOSPC && !cm_posix_size_allowed(size)) {
        (void)snprintf(why, PLAT_WHY, "this process may not make a file of that size (ulimit -f)");
    } else if (code == CM_ENOENT && lstat(path, &st) != 0 && errno == ELOOP) {
        (void)snprintf(why, PLAT_WHY, POSIX_LINKS);
    } else if ((code != CM_ENOSPC && code != CM_EACCES) || !volume_of(path, &fs)) {
        return;
    } else if (code == CM_EACCES && (fs.f_flags & ST_RDONLY) != 0) {
        (void)snprintf(why, PLAT_WHY, POSIX_READ_ONLY);
    } else if (code == CM_ENOSPC && prealloc && free_bytes(&fs, &has) && has < size) {
        (void)snprintf(why, PLAT_WHY, "its volume lacks %llu bytes",
                       (unsigned long long)(size - has));
    }
}

/* ---- The end ------------------------------------------------------------------------------- */

static int link_nameless(int fd, const char *path)
{
    char link[32];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0) {
        return 0;
    }
    if (errno == ENOENT) { /* there is no /proc */
        return linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH);
    }
    return -1;
}

/* Takes back what a rename that failed in the middle has made at the path. errno stays. */
static int taken_back(const char *path)
{
    const int error = errno;

    (void)unlink(path);
    errno = error;
    return -1;
}

/* Renames, never over another file. */
static int rename_beside(const char *name, const char *path)
{
    int fd;

    if (renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
        return -1;
    }
    if (link(name, path) == 0) {
        return unlink(name) == 0 ? 0 : taken_back(path);
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) {
        return -1;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* reserves the name */
    if (fd < 0) {
        return -1;
    }
    (void)close(fd);
    return rename(name, path) == 0 ? 0 : taken_back(path);
}

int cm_plat_file_link(struct cm_plat_file *f, const char *path)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    int failed, rc;

    if (f->state == CREATE_NAMELESS) {
        failed = link_nameless(fd, path);
    } else {
        char *name = name_beside(path);

        if (name == NULL) {
            return CM_ENOMEM;
        }
        failed = rename_beside(name, path);
        free(name);
    }
    if (failed != 0) {
        return cm_posix_error(errno);
    }
    f->state = CREATE_NAMED;
    /* Syncs the inode, whose link count changed, and then the name. */
    rc = cm_posix_sync(fd, NULL, 0) != 0 ? cm_posix_error(errno) : cm_plat_file_sync_dir(path);
    if (rc != 0) {
        cm_plat_file_remove(path);
    }
    return rc;
}

/* Did a call on an access list fail because there is none? */
static bool has_no_list(void)
{
    return errno == ENODATA || errno == EOPNOTSUPP;
}

/* The new file may have a list from its directory. */
static int remove_list(int fd)
{
    return fremovexattr(fd, ACL) == 0 || has_no_list() ? 0 : cm_posix_error(errno);
}

/* The same access list as the old file, or none. With a list the group's bits of a mode are what
 * the list may give at most. Without it they would give that to the group. */
static int take_list(int fd, int old)
{
    const ssize_t n = fgetxattr(old, ACL, NULL, 0);
    char *list;
    int rc = 0;

    if (n <= 0) {
        return n == 0 || has_no_list() ? remove_list(fd) : cm_posix_error(errno);
    }
    list = malloc((size_t)n);
    if (list == NULL) {
        return CM_ENOMEM;
    }
    if (fgetxattr(old, ACL, list, (size_t)n) != n || fsetxattr(fd, ACL, list, (size_t)n, 0) != 0) {
        rc = cm_posix_error(errno);
    }
    free(list);
    return rc;
}

/* The same mode, group and access list as the old file. The owner is the same already, or root. */
static int take_after(int fd, int old)
{
    struct stat was, is;

    if (fstat(old, &was) != 0 || fstat(fd, &is) != 0) {
        return cm_posix_error(errno);
    }
    if ((was.st_uid != is.st_uid || was.st_gid != is.st_gid) &&
        fchown(fd, was.st_uid, was.st_gid) != 0) {
        return cm_posix_error(errno);
    }
    const int rc = take_list(fd, old); /* before the mode, which may allow more */
    if (rc != 0) {
        return rc;
    }
    if (fchmod(fd, was.st_mode & 07777) != 0 || cm_posix_sync(fd, NULL, 0) != 0) {
        return cm_posix_error(errno);
    }
    return 0;
}

int cm_plat_file_replace(struct cm_plat_file *f, const char *made, struct cm_plat_file *old,
                         const char *path, bool *replaced)
{
    POSIX_NO_CANCEL;
    int rc;

    *replaced = false;
    rc = take_after(file_fd(f), file_fd(old));
    /* Behind the sync, which may take seconds on a slow volume: what has taken the name until then
     * is somebody else's. */
    if (rc == 0 && (!leads_to(path, file_fd(old)) || !leads_to(made, file_fd(f)))) {
        rc = CM_EMOVED;
    }
    if (rc == 0 && rename(made, path) != 0) {
        const int error = errno; /* EBUSY: so servers say of a file in use, too */
        rc = error == EBUSY && cm_plat_is_mount_point(path) ? CM_ENOTSUP : cm_posix_error(error);
    }
    if (rc == 0) {
        *replaced = true;
        rc = cm_plat_file_sync_dir(path);
    }
    return rc;
}

bool cm_plat_file_is_at(const struct cm_plat_file *f, const char *path)
{
    struct stat there, here;

    return stat(path, &there) == 0 && fstat(file_fd(f), &here) == 0 &&
           there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

int cm_plat_real_path(const char *path, char real[PLAT_PATH])
{
    POSIX_NO_CANCEL;
    char *found = realpath(path, NULL);
    int rc = 0;

    if (found == NULL) {
        return cm_posix_error(errno);
    }
    if (strlen(found) < PLAT_PATH) {
        memcpy(real, found, strlen(found) + 1);
    } else {
        rc = CM_EINVAL;
    }
    free(found);
    return rc;
}

void cm_plat_file_abandon(struct cm_plat_file *f, const char *path)
{
    POSIX_NO_CANCEL;
    const bool beside = f->handle >= 0 && f->state == CREATE_BESIDE;
    /* In a child (of a fork in the progress function) the file is still the parent's. */
    char *name = beside && !file_inherited(f) ? name_beside(path) : NULL;

    if (name != NULL) {
        (void)unlink(name); /* while it is locked, so no other process has the name */
        free(name);
    }
    cm_plat_file_close(f);
}
