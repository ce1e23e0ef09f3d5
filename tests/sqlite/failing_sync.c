/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failing_sync.c - for sqlite-test.py, loaded by LD_PRELOAD: a file $FAILS (its whole name) cannot
 * be synced. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sync_with(long call, int fd)
{
    const char *file = getenv("FAILS");
    char name[64], path[4096];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t len = file ? readlink(name, path, sizeof(path)) : -1;
    if (len > 0 && len == (ssize_t)strlen(file) && memcmp(path, file, (size_t)len) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, fd);
}

int fdatasync(int fd)
{
    return sync_with(SYS_fdatasync, fd);
}

/* SQLite may call either. */
int fsync(int fd)
{
    return sync_with(SYS_fsync, fd);
}
