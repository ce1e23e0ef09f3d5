/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file.c - a file with the bytes of an input, for parsers that take a path.
 *
 * Owns one file in memory (memfd_create), which each call writes anew.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(const uint8_t *bytes, size_t n)
{
    static char path[40];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("input", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(ftruncate(fd, 0) == 0 && (n == 0 || pwrite(fd, bytes, n, 0) == (ssize_t)n));
    return path;
}
