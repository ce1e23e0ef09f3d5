/* SPDX-License-Identifier: BSD-2-Clause
 *
 * old_times.c - what a power cut may leave of a commit, for sqlite-test.py, loaded by LD_PRELOAD: a
 * file $OLD_FILE (its whole name) has the times $OLD_TIMES, in nanoseconds: "MTIME CTIME". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct timespec from_ns(long long ns)
{
    return (struct timespec){ ns / 1000000000, ns % 1000000000 };
}

int fstat64(int fd, struct stat64 *st)
{
    const char *file = getenv("OLD_FILE"), *times = getenv("OLD_TIMES");
    char name[64], path[4096];
    long long mtime, ctime;
    if (fstatat64(fd, "", st, AT_EMPTY_PATH) != 0)
        return -1;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(name, path, sizeof(path));
    if (file && times && len == (ssize_t)strlen(file) && memcmp(path, file, (size_t)len) == 0 &&
        sscanf(times, "%lld %lld", &mtime, &ctime) == 2) {
        st->st_mtim = from_ns(mtime);
        st->st_ctim = from_ns(ctime);
    }
    return 0;
}

/* A build may call either. */
int fstat(int fd, struct stat *st)
{
    _Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit Linux");
    return fstat64(fd, (struct stat64 *)(void *)st);
}
