/* SPDX-License-Identifier: BSD-2-Clause
 *
 * short_mounts.c - a list of mounts that is not read whole: loaded into a program by LD_PRELOAD.
 *
 * fopen() of a file "mountinfo": after $SHORT_MOUNTS bytes the next read of it fails (EIO). If
 * these are set, only while there is a file $SHORT_MOUNTS_IF, and while the list has
 * $SHORT_MOUNTS_WITH.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#undef _FILE_OFFSET_BITS /* with it both functions below would have one name */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct part {
    int fd;
    size_t left;
};

static ssize_t read_part(void *cookie, char *to, size_t n)
{
    struct part *p = cookie;
    ssize_t got;

    if (p->left == 0) {
        errno = EIO;
        return -1;
    }
    got = read(p->fd, to, n < p->left ? n : p->left);
    p->left -= got > 0 ? (size_t)got : 0;
    return got;
}

static int close_part(void *cookie)
{
    struct part *p = cookie;

    close(p->fd);
    free(p);
    return 0;
}

static FILE *open_part(const char *path, size_t bytes)
{
    const cookie_io_functions_t calls = { .read = read_part, .close = close_part };
    struct part *p = malloc(sizeof(*p));

    if (!p)
        return NULL;
    *p = (struct part){ .fd = open(path, O_RDONLY | O_CLOEXEC), .left = bytes };
    if (p->fd >= 0)
        return fopencookie(p, "r", calls);
    free(p);
    return NULL;
}

static bool has(const char *path, const char *what)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    static char text[1 << 20];
    size_t n = 0;
    ssize_t got = 0;

    while (fd >= 0 && (got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    if (fd >= 0)
        close(fd);
    text[n] = '\0';
    return strstr(text, what) != NULL;
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    const char *const name = strrchr(path, '/'), *const bytes = getenv("SHORT_MOUNTS");
    const char *const now = getenv("SHORT_MOUNTS_IF"), *const with = getenv("SHORT_MOUNTS_WITH");

    if (name && !strcmp(name, "/mountinfo") && bytes && (!now || access(now, F_OK) == 0) &&
        (!with || has(path, with)))
        return open_part(path, strtoul(bytes, NULL, 10));
    return next(path, mode);
}

/* What fopen() is called where files may be large. */
FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}
