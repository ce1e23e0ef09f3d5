/* SPDX-License-Identifier: BSD-2-Clause
 *
 * count_sleeps.c - for nbd-test.py and sqlite-test.py, loaded by LD_PRELOAD: each call of
 * nanosleep() for $SLEEPS_NS nanoseconds adds a byte to the file $SLEEPS, and waits while there is
 * a file $SLEEPS_WHILE. A file whose whole name is $WHOLE_FILE has times of whole seconds, as on a
 * volume that keeps no more; with $WHOLE_NOW those of the moment when the process first asks. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int nanosleep(const struct timespec *t, struct timespec *left)
{
    const char *file = getenv("SLEEPS"), *ns = getenv("SLEEPS_NS");
    if (file && ns && t->tv_sec == 0 && t->tv_nsec == atol(ns)) {
        int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0 && write(fd, ".", 1) == 1)
            close(fd);
        const char *hold = getenv("SLEEPS_WHILE");
        while (hold && access(hold, F_OK) == 0)
            clock_nanosleep(CLOCK_MONOTONIC, 0, t, NULL);
    }
    return clock_nanosleep(CLOCK_MONOTONIC, 0, t, left) ? -1 : 0;
}

int fstat64(int fd, struct stat64 *st)
{
    const char *file = getenv("WHOLE_FILE");
    char name[64], path[4096];
    if (fstatat64(fd, "", st, AT_EMPTY_PATH) != 0)
        return -1;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t len = file ? readlink(name, path, sizeof(path)) : -1;
    if (len > 0 && len == (ssize_t)strlen(file) && memcmp(path, file, (size_t)len) == 0) {
        static time_t now;
        if (getenv("WHOLE_NOW"))
            st->st_mtim.tv_sec = st->st_ctim.tv_sec = now = now ? now : time(NULL);
        st->st_mtim.tv_nsec = st->st_ctim.tv_nsec = 0;
    }
    return 0;
}

/* A build may call either. */
int fstat(int fd, struct stat *st)
{
    _Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit Linux");
    return fstat64(fd, (struct stat64 *)(void *)st);
}
