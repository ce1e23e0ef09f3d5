/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failing_watch.c - a system that does not tell, or not all, of changes of files: loaded into the
 * mount by LD_PRELOAD.
 *
 * $FAILING_WATCH "none": inotify cannot be used. "few": no file can be watched. "lost": instead of
 * events, the reader gets the news that events were lost. "count": all is well, and the file
 * $WATCH_COUNT gets a byte for each watch.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/types.h>
#include <unistd.h>

static int watched = -1;

static int is(const char *what)
{
    const char *which = getenv("FAILING_WATCH");

    return which && strcmp(which, what) == 0;
}

int inotify_init1(int flags)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "inotify_init1");

    if (is("none")) {
        errno = EMFILE;
        return -1;
    }
    watched = next(flags);
    return watched;
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    int (*next)(int, const char *, uint32_t) =
        (int (*)(int, const char *, uint32_t))dlsym(RTLD_NEXT, "inotify_add_watch");

    if (is("few")) {
        errno = ENOSPC;
        return -1;
    }
    if (is("count")) {
        const int log =
            open(getenv("WATCH_COUNT"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

        if (log < 0 || write(log, "w", 1) != 1)
            abort();
        close(log);
    }
    return next(fd, path, mask);
}

ssize_t read(int fd, void *buf, size_t n)
{
    static ssize_t (*next)(int, void *, size_t);
    const struct inotify_event lost = { .wd = -1, .mask = IN_Q_OVERFLOW };
    ssize_t got;

    if (!next)
        next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    got = next(fd, buf, n);
    if (got <= 0 || fd != watched || !is("lost") || n < sizeof(lost))
        return got;
    memcpy(buf, &lost, sizeof(lost));
    return sizeof(lost);
}
