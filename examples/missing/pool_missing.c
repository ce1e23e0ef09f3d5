/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_missing.c - pool_missing.h on POSIX. Owns nothing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* lstat */
#endif
#include "pool_missing.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_link(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* A longer path than the system takes gives "", which is nowhere. */
static void parent_of(const char *path, char parent[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    const size_t n = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);

    snprintf(parent, PATH_MAX, "%.*s", n < PATH_MAX ? (int)n : 0, slash ? path : ".");
}

enum pool_missing pool_missing(const char *path, char text[POOL_MISSING_TEXT])
{
    char parent[PATH_MAX];
    struct stat st;
    const int error = stat(path, &st) == 0 ? 0 : errno;

    text[0] = '\0';
    if (error != ENOENT && error != ENOTDIR && error != ELOOP)
        return POOL_NOT_MISSING;
    parent_of(path, parent);
    if (error == ELOOP) {
        strcpy(text, "symbolic links in this path lead in a circle, or there are too many; mend "
                     "them, or give another path");
        return POOL_LINKED;
    }
    if (is_link(path)) {
        strcpy(text, "is a symbolic link to a file that does not exist; delete the link, or give "
                     "another path");
        return POOL_LINKED;
    }
    if (stat(parent, &st) == 0 && S_ISDIR(st.st_mode)) {
        strcpy(text, "there is no such file; make it with 'cachemax create'");
        return POOL_MAKEABLE;
    }
    if (is_link(parent)) {
        snprintf(text, POOL_MISSING_TEXT,
                 "'%s' is a symbolic link, and leads to no directory; mend it, or give another "
                 "path",
                 parent);
        return POOL_LINKED;
    }
    snprintf(text, POOL_MISSING_TEXT,
             "there is no directory '%s'; make it first, or give another path", parent);
    return POOL_NO_PLACE;
}
