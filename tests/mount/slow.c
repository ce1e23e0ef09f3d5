/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slow.c - a slow origin: loaded into the mount by LD_PRELOAD.
 *
 * While the file named by $SLOW_ORIGIN exists, pread takes 10 s and pwrite half a second.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t pread(int fd, void *buf, size_t n, off_t off);
ssize_t pwrite(int fd, const void *buf, size_t n, off_t off);

static void wait_if_slow(unsigned microseconds)
{
    const char *flag = getenv("SLOW_ORIGIN");

    if (flag && access(flag, F_OK) == 0)
        usleep(microseconds);
}

ssize_t pread(int fd, void *buf, size_t n, off_t off)
{
    ssize_t (*next)(int, void *, size_t, off_t) =
        (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");

    wait_if_slow(10000000);
    return next(fd, buf, n, off);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
    ssize_t (*next)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");

    wait_if_slow(500000);
    return next(fd, buf, n, off);
}
