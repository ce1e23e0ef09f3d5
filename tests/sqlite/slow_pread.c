/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slow_pread.c - a slow origin for measure.py and sqlite-test.py, loaded by LD_PRELOAD: each
 * pread of a file whose name ends with ".db" waits $SLOW_US microseconds first, also if the
 * kernel has the pages. One of a file "slow.db" waits while there is a file $SLOW_WHILE; then there
 * is a file $SLOW_WHILE-held, too. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t pread64(int fd, void *buf, size_t n, off64_t off);

ssize_t pread64(int fd, void *buf, size_t n, off64_t off)
{
    static ssize_t (*real)(int, void *, size_t, off64_t);
    char name[64], path[4096];
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pread64");
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(name, path, sizeof(path));
    const char *us = getenv("SLOW_US");
    if (us && len > 3 && memcmp(path + len - 3, ".db", 3) == 0)
        usleep((unsigned)atoi(us));
    const char *hold = getenv("SLOW_WHILE");
    if (hold && len > 8 && memcmp(path + len - 8, "/slow.db", 8) == 0 && access(hold, F_OK) == 0) {
        snprintf(path, sizeof(path), "%s-held", hold);
        int held = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (held >= 0)
            close(held);
        while (access(hold, F_OK) == 0)
            usleep(1000);
    }
    return real(fd, buf, n, off);
}

/* A build may call either. */
ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
    return pread64(fd, buf, n, off);
}
