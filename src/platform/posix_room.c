/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_room.c - platform.h on Linux: pool files on copy-on-write volumes.
 *
 * Owns: what such a volume is told, and what is done when it has no room for a copy.
 *
 * Who: media/, platform/.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "platform/posix.h"
#include "platform/posix_calls.h"

/* The pool has checksums of its own. Without this, btrfs would need a new block for each page that
 * is written again, although the file has its space; and the file would become ever more pieces.
 * A file that is compressed cannot have the flag. */
void cm_posix_write_in_place(int fd)
{
    unsigned flags[2] = { 0, 0 }; /* old kernels pass a long to and from FUSE */

    if (ioctl(fd, (posix_request)FS_IOC_GETFLAGS, flags) == 0) {
        flags[0] = (flags[0] | FS_NOCOW_FL) & ~(unsigned)FS_COMPR_FL;
        (void)ioctl(fd, (posix_request)FS_IOC_SETFLAGS, flags); /* most have no such flag */
    }
}

bool cm_plat_file_has_no_room(const struct cm_plat_file *f, uint64_t offset)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    char byte;

    /* Beyond a limit of the process it would get SIGXFSZ, although the file does not grow. */
    return cm_posix_size_allowed(offset + 1) && pread(fd, &byte, 1, (off_t)offset) == 1 &&
           pwrite(fd, &byte, 1, (off_t)offset) < 0 && cm_posix_error(errno) == CM_ENOSPC;
}

int cm_plat_file_write(const struct cm_plat_file *f, const void *bytes, size_t n, uint64_t offset)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);
    char byte;

    /* A file that somebody has cut must not become longer. */
    if (!cm_posix_size_allowed(offset + n) || pread(fd, &byte, 1, (off_t)(offset + n - 1)) != 1) {
        return CM_EIO;
    }
    const ssize_t done = pwrite(fd, bytes, n, (off_t)offset);
    return done == (ssize_t)n ? 0 : done < 0 ? cm_posix_error(errno) : CM_EIO;
}

int cm_plat_file_zero(const struct cm_plat_file *f, uint64_t n)
{
    POSIX_NO_CANCEL;
    const int fd = file_fd(f);

    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)n) != 0) {
        return CM_ENOTSUP; /* no such call, refused by a filter, or by the volume */
    }
    /* The first sync may fail because of pages that were lost before. The hole is no page, but a
     * record of the file system: it is durable after any later sync that succeeds. */
    for (unsigned i = 0; i < 2; i++) {
        if (cm_posix_sync(fd, NULL, 0) == 0) {
            return 0;
        }
    }
    return CM_EIO;
}
