/* SPDX-License-Identifier: BSD-2-Clause
 *
 * walk_posix.c - all files below a folder, on POSIX systems.
 *
 * Who: remove.c.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walker {
    void (*each)(void *arg, const char *path, intptr_t file);
    void *arg;
    uint64_t failed;
    char path[PATH_MAX]; /* of what is looked at */
};

static void look(struct walker *w, int at, const char *name);

/* Takes fd over. */
static void look_into(struct walker *w, int fd)
{
    const size_t len = strlen(w->path);
    DIR *d = fdopendir(fd);
    const struct dirent *e;

    if (!d) {
        close(fd);
        w->failed++;
        return;
    }
    while (errno = 0, (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(w->path + len, sizeof(w->path) - len, "%s%s",
                     len > 0 && w->path[len - 1] == '/' ? "" : "/",
                     e->d_name) < (int)(sizeof(w->path) - len))
            look(w, dirfd(d), e->d_name);
        else
            w->failed++;
        w->path[len] = 0;
    }
    w->failed += errno != 0; /* the rest of the folder is unseen */
    closedir(d);
}

static void look(struct walker *w, int at, const char *name)
{
    struct stat st;
    int fd;

    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        w->failed++;
        return;
    }
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return;
    /* Not blocking: it may have become a pipe since. */
    fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        w->failed++;
    } else if (S_ISDIR(st.st_mode)) {
        look_into(w, fd);
        return;
    } else if (S_ISREG(st.st_mode)) {
        w->each(w->arg, w->path, fd);
    }
    if (fd >= 0)
        close(fd);
}

uint64_t walk(const char *folder, void (*each)(void *arg, const char *path, intptr_t file),
              void *arg)
{
    struct walker w = { .each = each, .arg = arg };

    if (strlen(folder) >= sizeof(w.path))
        return 1;
    strcpy(w.path, folder);
    look(&w, AT_FDCWD, folder);
    return w.failed;
}
