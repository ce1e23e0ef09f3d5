/* SPDX-License-Identifier: BSD-2-Clause
 *
 * no_handles.c - a system whose kernel tells less of files: loaded into the mount by LD_PRELOAD.
 *
 * $NO_HANDLES "export": no handles that could be opened again, as of a FUSE server without support
 * for NFS. Anything else: none at all, as before Linux 6.5 or behind a filter of system calls.
 * $NO_TREES: no copies of mounts, as before Linux 5.2.
 * $NO_GENERATION: a filter of system calls refuses FS_IOC_GETVERSION.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FID 0x200     /* AT_HANDLE_FID, Linux 6.5 */
#define OPEN_TREE 428 /* SYS_open_tree */
/* FS_IOC_GETVERSION without its size: the numbers of programs of 32 and 64 bits. */
#define IS_GETVERSION(request) (((request)&0xc000ffffu) == 0x80007601u)

int name_to_handle_at(int dir, const char *name, struct file_handle *handle, int *mount, int flags)
{
    int (*next)(int, const char *, struct file_handle *, int *, int) =
        (int (*)(int, const char *, struct file_handle *, int *, int))dlsym(RTLD_NEXT,
                                                                            "name_to_handle_at");
    const char *which = getenv("NO_HANDLES");

    if (which && (strcmp(which, "export") != 0 || !(flags & FID))) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return next(dir, name, handle, mount, flags);
}

long syscall(long number, ...)
{
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"), a[6];
    va_list ap;

    if (number == OPEN_TREE && getenv("NO_TREES")) {
        errno = ENOSYS;
        return -1;
    }
    va_start(ap, number);
    for (int k = 0; k < 6; k++)
        a[k] = va_arg(ap, long);
    va_end(ap);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, ...) =
        (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_list ap;
    void *arg;

    if (IS_GETVERSION(request) && getenv("NO_GENERATION")) {
        errno = EPERM;
        return -1;
    }
    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    return next(fd, request, arg);
}
