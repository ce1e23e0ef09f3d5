/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_trust.c - on Linux: opens a pool that nobody else could have written.
 *
 * Owns: the walk from the root directory to the file, one name at a time.
 *
 * How: every directory is opened relative to the one before it, without following symbolic links,
 * and judged by its descriptor. The walk follows links itself and judges their owner, too. So the
 * file that is used is the file that was judged, even if others rename things meanwhile: only
 * trusted users can change a name in a directory that was judged. If one does it between the look
 * at the file and the opening of it, as a resize of the pool, what was opened was not judged: it is
 * closed, and the caller walks again from the root (CM_EMOVED).
 *   file         owned by the effective user or root, not writable for group or others (the group's
 *                bits are the mask of an ACL, so they cover everybody that the ACL names)
 *   directory    the same. It may be writable for all if it has the sticky bit: then others cannot
 *                touch files that are not theirs
 *   link         owned by the effective user or root
 *   FUSE         mounted by the effective user or root: what a server says about owners is no proof
 *
 * Who: platform/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

#define LINKS_MAX 40u

struct walk {
    int dir;             /* where the walk is */
    int mode;            /* how the file is opened */
    unsigned links;      /* followed so far */
    char rest[PATH_MAX]; /* of the path, relative to dir */
    char *why;
};

static bool is_ours(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

/* The path of w->dir; "" if it is not known. */
static void tell_dir(const struct walk *w, char at[PATH_MAX])
{
    char self[64];
    ssize_t n;

    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", w->dir);
    n = readlink(self, at, PATH_MAX - 1);
    at[n > 0 ? n : 0] = '\0';
}

static int untrusted(const struct walk *w, const char *what, const char *name,
                     const struct stat *st)
{
    char at[PATH_MAX];

    tell_dir(w, at);
    if (name != NULL && strcmp(at, "/") == 0) {
        at[0] = '\0';
    }
    if (!is_ours(st)) {
        (void)snprintf(
            w->why, PLAT_WHY,
            "%s %.260s%s%.100s belongs to user %u, who could change what the pool holds: "
            "give it to yourself or root (chown), or make the pool elsewhere",
            what, at, name != NULL ? "/" : "", name != NULL ? name : "", st->st_uid);
    } else {
        (void)snprintf(
            w->why, PLAT_WHY,
            "%s %.260s%s%.100s may be written by others (mode %04o), who could change what "
            "the pool holds: take that from them (chmod go-w), or make the pool elsewhere",
            what, at, name != NULL ? "/" : "", name != NULL ? name : "",
            (unsigned)(st->st_mode & 07777));
    }
    return CM_EUNTRUSTED;
}

/* A FUSE server may say anything about its files, so the server itself must be trusted. */
static int judge_server(const struct walk *w, int fd, const char *name)
{
    struct statfs fs;
    uint32_t user;
    char at[PATH_MAX];

    if (fstatfs(fd, &fs) == 0 && (uint32_t)fs.f_type != FUSE_SUPER_MAGIC) {
        return 0;
    }
    if (!cm_posix_fuse_user(fd, &user) || user == 0 || user == geteuid()) {
        return 0;
    }
    tell_dir(w, at);
    /* %.0u prints nothing for 0: an unknown user has no number. */
    (void)snprintf(w->why, PLAT_WHY,
                   "%.260s%s%.100s is on a FUSE file system of %s%.0u, whose server could change "
                   "what the pool holds: make the pool elsewhere",
                   at, name != NULL ? "/" : "", name != NULL ? name : "",
                   user == UINT32_MAX ? "an unknown user" : "user ", user == UINT32_MAX ? 0 : user);
    return CM_EUNTRUSTED;
}

/* Takes over `fd`, a directory. */
static int enter(struct walk *w, int fd)
{
    struct stat st;
    const int old = w->dir;

    if (fd < 0) {
        return errno;
    }
    w->dir = fd;
    if (old >= 0) {
        (void)close(old);
    }
    if (fstat(fd, &st) != 0) {
        return errno;
    }
    if (!is_ours(&st) || ((st.st_mode & 022) != 0 && (st.st_mode & S_ISVTX) == 0)) {
        return untrusted(w, "the directory", NULL, &st);
    }
    return judge_server(w, fd, NULL);
}

/* Puts the text of a link before the rest of the path. */
static int follow(struct walk *w, int fd, const char *name, const struct stat *st)
{
    char whole[PATH_MAX];
    ssize_t n;
    int rc = 0;

    if (!is_ours(st)) {
        return untrusted(w, "the symbolic link", name, st);
    }
    if (++w->links > LINKS_MAX) {
        return ELOOP;
    }
    n = readlinkat(fd, "", whole, sizeof whole - 1);
    if (n <= 0) {
        return n < 0 ? errno : ENOENT;
    }
    if ((size_t)n + 1 + strlen(w->rest) >= sizeof whole) {
        return ENAMETOOLONG;
    }
    whole[n] = '\0';
    if (w->rest[0] != '\0') {
        (void)strcat(strcat(whole, "/"), w->rest);
    }
    if (whole[0] == '/') {
        rc = enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    (void)strcpy(w->rest, whole);
    return rc;
}

/* 'i' or 'a', as of chattr; else 0. */
static int flag_of(const struct walk *w, const char *name)
{
    struct statx x;

    if (statx(w->dir, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x) != 0) {
        return 0;
    }
    if ((x.stx_attributes & STATX_ATTR_IMMUTABLE) != 0) {
        return 'i';
    }
    return (x.stx_attributes & STATX_ATTR_APPEND) != 0 ? 'a' : 0;
}

/* Says what keeps the file from its own user, or from root. Else the error says enough. */
static int refused(const struct walk *w, const char *name, const struct stat *st, int error)
{
    const mode_t needs = w->mode == O_RDWR ? S_IRUSR | S_IWUSR : S_IRUSR;
    const int flag = error == EPERM ? flag_of(w, name) : 0;

    if (error == EACCES && st->st_uid == geteuid() && (~st->st_mode & needs) != 0) {
        (void)snprintf(w->why, PLAT_WHY,
                       "permission denied by its mode, %04o: its owner must be able to read and "
                       "write it (chmod u+rw)",
                       (unsigned)(st->st_mode & 07777));
    } else if (flag != 0) {
        (void)snprintf(w->why, PLAT_WHY,
                       "may not be changed by anybody: it has the flag of 'chattr +%c'; take that "
                       "away (as root, 'chattr -%c')",
                       flag, flag);
    }
    return error;
}

/* Opens the last name of the path. *out: open as w->mode says. `seen`: its stat before. CM_EMOVED:
 * a trusted user has given the name to another file, or to a link, meanwhile. */
static int open_file(struct walk *w, const char *name, const struct stat *seen, int *out)
{
    struct stat st;
    int fd, rc;

    /* Check before the open as well: opening a device may already do something. */
    if (!S_ISREG(seen->st_mode)) {
        return ENODEV;
    }
    if (!is_ours(seen) || (seen->st_mode & 022) != 0) {
        return untrusted(w, "the file", name, seen);
    }
    fd = openat(w->dir, name, w->mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ELOOP ? CM_EMOVED : refused(w, name, seen, errno); /* O_NOFOLLOW */
    }
    if (fstat(fd, &st) != 0 || st.st_dev != seen->st_dev || st.st_ino != seen->st_ino) {
        rc = CM_EMOVED;
    } else {
        rc = judge_server(w, fd, name); /* a file can be a mount point, too */
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

/* Handles one name of the path. *out >= 0: it was the last one. */
static int step(struct walk *w, int *out)
{
    char name[NAME_MAX + 1];
    const size_t skip = strspn(w->rest, "/"), n = strcspn(w->rest + skip, "/");
    char *behind = w->rest + skip + n;
    struct stat st;
    bool last;
    int fd, rc;

    if (n == 0) {
        return EISDIR;
    }
    if (n > NAME_MAX) {
        return ENAMETOOLONG;
    }
    memcpy(name, w->rest + skip, n);
    name[n] = '\0';
    last = *behind == '\0'; /* a name that ends in a slash is a directory */
    (void)memmove(w->rest, behind, strlen(behind) + 1);
    fd = openat(w->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    if (fstat(fd, &st) != 0) {
        rc = errno;
    } else if (S_ISLNK(st.st_mode)) {
        rc = follow(w, fd, name, &st);
    } else if (S_ISDIR(st.st_mode)) {
        return enter(w, fd);
    } else {
        rc = last ? open_file(w, name, &st, out) : ENOTDIR;
    }
    (void)close(fd);
    return rc;
}

/* Makes a relative path begin at the root, so that the walk judges all its directories. */
static int make_absolute(struct walk *w, const char *path)
{
    size_t n = 0;

    if (path[0] != '/') {
        if (getcwd(w->rest, sizeof w->rest - 1) == NULL) {
            return errno;
        }
        if (w->rest[0] != '/') {
            return ENOENT; /* not below the root of this process */
        }
        n = strlen(w->rest);
        w->rest[n++] = '/';
    }
    if (n + strlen(path) >= sizeof w->rest) {
        return ENAMETOOLONG;
    }
    (void)strcpy(w->rest + n, path);
    return path[0] == '\0' ? ENOENT : 0;
}

int cm_posix_open_trusted(const char *path, bool readonly, char why[PLAT_WHY], int *fd)
{
    struct walk w = { .dir = -1, .why = why, .mode = readonly ? O_RDONLY : O_RDWR };
    int rc = make_absolute(&w, path);

    *fd = -1;
    if (rc == 0) {
        rc = enter(&w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    while (rc == 0 && *fd < 0) {
        rc = step(&w, fd);
    }
    if (w.dir >= 0) {
        (void)close(w.dir);
    }
    return rc;
}
