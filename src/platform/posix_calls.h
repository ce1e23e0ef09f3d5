/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_calls.h - Linux's calls that some C libraries have no function for: musl has statx() and
 * preadv2() since 1.2.5 and renameat2() since 1.2.6. A library that has the function has the
 * macros of its flags, too. For the platform files that make these calls.
 */
#ifndef CM_PLATFORM_POSIX_CALLS_H
#define CM_PLATFORM_POSIX_CALLS_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* What ioctl() takes as its request: POSIX says int, glibc unsigned long. */
#ifdef __GLIBC__
typedef unsigned long posix_request;
#else
typedef int posix_request;
#endif

#ifndef STATX_TYPE
#include <linux/stat.h>

static inline int statx(int at, const char *path, int flags, unsigned mask, struct statx *stx)
{
    return (int)syscall(SYS_statx, at, path, flags, mask, stx);
}
#endif

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008

static inline ssize_t preadv2(int fd, const struct iovec *v, int count, off_t at, int flags)
{
    /* The kernel takes the offset in two halves; where a long has 64 bits, the first is all. */
    return syscall(SYS_preadv2, fd, v, count, (long)at, (long)((uint64_t)at >> 32), flags);
}
#endif

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u

static inline int renameat2(int from_dir, const char *from, int to_dir, const char *to,
                            unsigned flags)
{
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
#endif

#endif
