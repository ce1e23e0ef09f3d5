/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failing_answer.c - a kernel that says of an answer of the mount that it has no memory for it:
 * loaded into the mount by LD_PRELOAD. It does so once, if the file $FAILING_ANSWER is there, and
 * deletes that.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    static ssize_t (*next)(int, const struct iovec *, int);
    char link[40], to[16];
    ssize_t n;

    if (!next)
        next = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, to, sizeof(to));
    if (n != 9 || memcmp(to, "/dev/fuse", 9) != 0 || unlink(getenv("FAILING_ANSWER")) != 0)
        return next(fd, iov, count);
    (void)next(fd, iov, count); /* so that nobody waits for it */
    errno = ENOMEM;
    return -1;
}
