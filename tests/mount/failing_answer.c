/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failing_answer.c - a kernel that says of an answer of the mount that it has no memory for it:
 * loaded into the mount by LD_PRELOAD. It does so once, if the file $FAILING_ANSWER is there, and
 * deletes that. While the file $FAILING_NOTIFICATION is there it takes no notification, either.
 * While the file $NO_BUFFERS is there, there is no memory for requests: nobody gets so much.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

void *malloc(size_t n)
{
    static void *(*next)(size_t);
    const char *const none = n > 1 << 20 ? getenv("NO_BUFFERS") : NULL;

    if (!next)
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    if (!none || access(none, F_OK) != 0)
        return next(n);
    errno = ENOMEM;
    return NULL;
}

static int is_refused(const struct fuse_out_header *h)
{
    const char *const answer = getenv("FAILING_ANSWER"), *note = getenv("FAILING_NOTIFICATION");

    if (h->unique != 0)
        return answer && unlink(answer) == 0;
    return note && access(note, F_OK) == 0;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    static ssize_t (*next)(int, const struct iovec *, int);
    char link[40], to[16];
    ssize_t n;
    const struct fuse_out_header *const h = iov[0].iov_base;

    if (!next)
        next = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, to, sizeof(to));
    if (n != 9 || memcmp(to, "/dev/fuse", 9) != 0 || !is_refused(h))
        return next(fd, iov, count);
    if (h->unique != 0)
        (void)next(fd, iov, count); /* so that nobody waits for it */
    errno = ENOMEM;
    return -1;
}
