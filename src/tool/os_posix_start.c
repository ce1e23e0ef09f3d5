/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_posix_start.c - os_start.h on POSIX systems.
 *
 * Owns: nothing. A program that was started without its standard descriptors (a service manager, a
 * shell's "2>&-") would get their numbers for the next files that it opens. Then what it prints
 * goes to those files.
 *
 * Who: main.c, dash/main.c; of the examples mount/main.c and service/main.c.
 */
#include "tool/os_start.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* A standard descriptor that is closed gets its number filled, so that no file that is opened later
 * has it. It still cannot be used: what is only for reading is not written to. */
void os_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free */
    (void)signal(SIGXFSZ, SIG_IGN);
}
