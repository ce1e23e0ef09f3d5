/* SPDX-License-Identifier: BSD-2-Clause
 *
 * remove_preload.c - trouble for "cachemax-service remove": loaded into it by LD_PRELOAD.
 *
 * $REMOVE_KILLS: a process that is killed at the first look into a directory (of /proc does not
 * count: the library looks there for the owner of a pool). The call returns when it is dead.
 * $REMOVE_FAILS: what fails, "msync" (each behind that look) or "readdir" (the reading of each
 * directory, behind "." and "..").
 *
 * Who: remove-test.sh.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))

static bool looks; /* it has looked into a directory */

static bool fails(const char *what)
{
    const char *const word = getenv("REMOVE_FAILS");

    return word && strcmp(word, what) == 0;
}

/* Is it gone, or does it only wait to be reaped? Its connections are closed then. */
static bool is_dead(const char *process)
{
    char path[64], state = 'Z';
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%s/stat", process);
    f = fopen(path, "re");
    if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    if (f)
        fclose(f);
    return state == 'Z' || state == 'X';
}

static void kill_once(void)
{
    const char *const process = getenv("REMOVE_KILLS");

    if (!process || looks)
        return;
    kill((pid_t)atoi(process), SIGKILL);
    while (!is_dead(process))
        usleep(1000);
}

#define PROC 0x9fa0

struct dirent64 *readdir64(DIR *d)
{
    struct dirent64 *const e = NEXT(readdir64)(d);
    struct statfs fs;

    if (fstatfs(dirfd(d), &fs) == 0 && fs.f_type == PROC)
        return e;
    kill_once();
    looks = true;
    if (!e || !fails("readdir") || e->d_name[0] == '.')
        return e;
    errno = EIO;
    return NULL;
}

int msync(void *p, size_t n, int flags)
{
    if (!looks || !fails("msync"))
        return NEXT(msync)(p, n, flags);
    errno = EIO;
    return -1;
}
