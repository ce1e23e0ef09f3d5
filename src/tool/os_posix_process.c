/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_process.c - os_process.h on POSIX systems, by /proc.
 *
 * Owns: nothing.
 *
 * Who: tool/; of the examples mount/.
 */
#include "tool/os_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Looks at a descriptor without its file system, which may not answer (Linux since 5.14). */
static bool may_be(uint64_t process, const char *fd, ino_t number)
{
    char path[96], text[512];
    const char *line;
    ssize_t n = -1;
    int info;

    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/fdinfo/%.20s", process, fd);
    info = open(path, O_RDONLY | O_CLOEXEC);
    if (info >= 0) {
        n = read(info, text, sizeof(text) - 1);
        (void)close(info);
    }
    text[n < 0 ? 0 : n] = '\0';
    line = strstr(text, "\nino:");
    return !line || strtoull(line + 5, NULL, 10) == number;
}

/* Has the process this file open? True also if that cannot be seen. */
static bool has_open(uint64_t process, const struct stat *file)
{
    char path[96];
    const struct dirent *e;
    struct stat st;
    bool has = false;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/fd", process);
    dir = opendir(path);
    if (!dir)
        return errno != ENOENT || stat("/proc/self", &st) != 0;
    while (!has && (e = readdir(dir))) {
        (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/fd/%.20s", process, e->d_name);
        has = may_be(process, e->d_name, file->st_ino) && stat(path, &st) == 0 &&
              st.st_dev == file->st_dev && st.st_ino == file->st_ino;
    }
    (void)closedir(dir);
    return has;
}

enum os_whereabouts os_whereabouts(uint64_t process, const char *file)
{
    char path[64], its[64] = "", ours[64] = "";
    struct stat st;

    if (stat(file, &st) == 0 && !has_open(process, &st))
        return OS_HIDDEN;
    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/ns/mnt", process);
    if (readlink(path, its, sizeof(its) - 1) <= 0 ||
        readlink("/proc/self/ns/mnt", ours, sizeof(ours) - 1) <= 0)
        return OS_HERE;
    return strcmp(its, ours) ? OS_OTHER_MOUNTS : OS_HERE;
}
