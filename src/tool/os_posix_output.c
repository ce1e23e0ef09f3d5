/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_output.c - the part of os.h about files that are written, on POSIX systems.
 *
 * Owns: nothing that lasts.
 *
 * Who: cmd_cat.c, control/cmd_record.c.
 */
#include "tool/os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

bool os_is_output(intptr_t file)
{
    struct stat in, out;

    return fstat((int)file, &in) == 0 && fstat(STDOUT_FILENO, &out) == 0 && S_ISREG(out.st_mode) &&
           in.st_dev == out.st_dev && in.st_ino == out.st_ino && in.st_size > 0;
}

int os_begin_lines(const char *path, intptr_t *file)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);

    if (fd < 0)
        return errno;
    *file = fd;
    return 0;
}

int os_write_lines(intptr_t file, const char *lines, size_t len)
{
    const off_t begin = lseek((int)file, 0, SEEK_CUR);
    size_t done = 0;
    int error = 0;

    while (done < len && error == 0) {
        const ssize_t n = write((int)file, lines + done, len - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            error = errno;
    }
    if (error == 0)
        return 0;
    while (done > 0 && lines[done - 1] != '\n')
        done--;
    if (begin >= 0 && ftruncate((int)file, begin + (off_t)done) == 0)
        (void)lseek((int)file, begin + (off_t)done, SEEK_SET);
    return error;
}

int os_end_lines(intptr_t file)
{
    return close((int)file) == 0 || errno == EINTR ? 0 : errno;
}
