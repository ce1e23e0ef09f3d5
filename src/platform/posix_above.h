/* SPDX-License-Identifier: BSD-2-Clause
 *
 * posix_above.h - descriptors that no print can reach. For the library, and for that of the
 * service's clients, which has nothing else of it.
 */
#ifndef CM_PLATFORM_POSIX_ABOVE_H
#define CM_PLATFORM_POSIX_ABOVE_H

#include <fcntl.h>
#include <unistd.h>

/* In a program that was started without its standard descriptors, the next ones have their numbers.
 * Then what it prints would go to the file. Returns a descriptor above them, with FD_CLOEXEC, of
 * the same open file; -1: there was none, or there is no room for it, and errno says why. */
static inline int posix_above_standard(int fd)
{
    int other = fd;

    if (fd >= 0 && fd <= STDERR_FILENO) {
        other = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        (void)close(fd);
    }
    return other;
}

#endif
