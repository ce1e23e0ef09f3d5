/* SPDX-License-Identifier: BSD-2-Clause
 *
 * swap_posix.c - names, the journal and dead mounts, on Linux.
 *
 * Owns: nothing. Who: main.c, swap.c.
 *
 * A directory is known by its inode number: both names lie in one directory, so on one file system.
 * The lock is flock(): it ends with the process, however that ends.
 */
#include "swap.h"
#include "swap_os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int swap_os_resolve(const char *folder, char *path, size_t room)
{
    char copy[SWAP_PATH], parent[PATH_MAX], *name;
    size_t n = strlen(folder);

    while (n > 1 && folder[n - 1] == '/')
        n--;
    if (n >= sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, folder, n);
    copy[n] = '\0';
    name = strrchr(copy, '/');
    name = name ? name + 1 : copy;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return -EINVAL;
    if (name == copy)
        n = realpath(".", parent) != NULL;
    else if (name == copy + 1)
        n = realpath("/", parent) != NULL;
    else {
        name[-1] = '\0';
        n = realpath(copy, parent) != NULL;
    }
    if (n == 0)
        return -errno;
    n = (size_t)snprintf(path, room, "%s/%s", strcmp(parent, "/") ? parent : "", name);
    return n < room ? 0 : -ENAMETOOLONG;
}

int swap_os_real(const char *given, char *path, size_t room)
{
    char real[PATH_MAX];
    size_t n;

    if (!realpath(given, real))
        return -errno;
    n = (size_t)snprintf(path, room, "%s", real);
    return n < room ? 0 : -ENAMETOOLONG;
}

int swap_os_id(const char *path, char id[SWAP_ID])
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    snprintf(id, SWAP_ID, "%llu", (unsigned long long)st.st_ino);
    return 0;
}

static void parent_of(const char *path, char *parent, size_t room)
{
    const char *const name = strrchr(path, '/');

    snprintf(parent, room, "%.*s", name > path ? (int)(name - path) : 1, path);
}

/* Names that were changed beside `path` are on the disk. */
static int sync_parent(const char *path)
{
    char parent[SWAP_PATH + 32];
    int fd, e = 0;

    parent_of(path, parent, sizeof(parent));
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0 && errno != EINVAL &&
        errno != EROFS) /* some file systems have no such sync */
        e = -errno;
    close(fd);
    return e;
}

int swap_os_create(const char *path, intptr_t *journal)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    /* A recovery that has seen the empty journal may have the lock, and remove it. */
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        return -EEXIST;
    }
    *journal = fd;
    return sync_parent(path);
}

int swap_os_write(intptr_t journal, const char *text)
{
    const int fd = (int)journal;
    const size_t n = strlen(text);
    struct stat st;

    if (fstat(fd, &st) == 0 && st.st_nlink == 0)
        return -EAGAIN;
    if (pwrite(fd, text, n, 0) != (ssize_t)n)
        return errno ? -errno : -EIO;
    if (fsync(fd) < 0)
        return -errno;
    return 0;
}

/* Why the journal is not believed, or NULL. A second name may be that of another folder's. */
static const char *distrust(int fd, const char *path)
{
    char parent[SWAP_PATH + 32];
    struct stat st, dir;

    parent_of(path, parent, sizeof(parent));
    if (fstat(fd, &st) < 0 || stat(parent, &dir) < 0)
        return "the system does not say whose it is";
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1)
        return "it is no plain file with one name";
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return "it belongs to another user";
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return "others may write it";
    if ((dir.st_mode & S_IWOTH) && !(dir.st_mode & S_ISVTX))
        return "others may write its directory, which is not sticky";
    return NULL;
}

int swap_os_open(const char *path, char *text, size_t room, intptr_t *journal, const char **why)
{
    const int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    ssize_t n = 0;
    int e;

    if (fd < 0)
        return errno == EPERM ? -EACCES : -errno;
    *why = distrust(fd, path);
    if (*why)
        e = -EPERM;
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        e = errno == EWOULDBLOCK ? -EAGAIN : -errno;
    else if (fstat(fd, &st) < 0 || (n = pread(fd, text, room - 1, 0)) < 0)
        e = -errno;
    else
        e = st.st_nlink == 0 ? -ENOENT : 0; /* its owner has just removed it */
    if (e < 0) {
        close(fd);
        return e;
    }
    text[n] = '\0';
    *journal = fd;
    return 0;
}

int swap_os_remove(const char *path, intptr_t journal)
{
    const int e = unlink(path) < 0 ? -errno : sync_parent(path);

    if (e == 0)
        close((int)journal);
    return e;
}

void swap_os_close(intptr_t journal)
{
    close((int)journal);
}

int swap_os_move(const char *from, const char *to)
{
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */);
    struct stat st;

    if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) { /* rename() replaces empty directories */
        if (lstat(to, &st) == 0)
            return -EEXIST;
        rc = rename(from, to);
    }
    return rc < 0 ? -errno : sync_parent(to);
}

void swap_os_pause(void)
{
    const struct timespec t = { .tv_nsec = 100000000 };

    nanosleep(&t, NULL);
}

int swap_os_make_place(const char *folder)
{
    return mkdir(folder, 0700) < 0 ? -errno : sync_parent(folder);
}

/* Its server is gone. Attributes may still come from the kernel's memory; this does not. */
static int is_dead_mount(const char *path)
{
    struct statfs s;

    return statfs(path, &s) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

static int detach(const char *path)
{
    const char *argv[] = { "fusermount3", "-u", "-z", "--", path, NULL };
    int status;
    pid_t pid;

    if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return 0;
    if (errno != EPERM)
        return -errno;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char **)argv, environ) != 0)
        return -EPERM;
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EPERM;
}

int swap_os_clear_place(const char *folder)
{
    int e;

    while (is_dead_mount(folder)) {
        e = detach(folder);
        if (e < 0)
            return e;
    }
    return rmdir(folder) < 0 && errno != ENOENT ? -errno : sync_parent(folder);
}

void swap_os_hold(bool hold)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &ends, NULL);
}
