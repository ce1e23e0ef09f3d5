/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failing_pool.c - a volume that cannot sync, and does not remove files: loaded into the mount by
 * LD_PRELOAD.
 *
 * In the directory $FAILING_POOL: while there is a file `sync`, syncs of mapped memory fail; while
 * there is a file `unlink`, no file can be removed whose path begins with that of the directory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool fails(const char *what)
{
    const char *dir = getenv("FAILING_POOL");
    char path[4096];

    if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, what) >= (int)sizeof(path))
        return false;
    return access(path, F_OK) == 0;
}

int msync(void *start, size_t len, int flags)
{
    int (*next)(void *, size_t, int) = (int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync");

    if (fails("sync")) {
        errno = EIO;
        return -1;
    }
    return next(start, len, flags);
}

int unlink(const char *path)
{
    int (*next)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    const char *dir = getenv("FAILING_POOL");

    if (dir && strncmp(path, dir, strlen(dir)) == 0 && fails("unlink")) {
        errno = EIO;
        return -1;
    }
    return next(path);
}
