/* SPDX-License-Identifier: BSD-2-Clause
 *
 * no_uring.c - a system that forbids io_uring, or a part of it: loaded into the mount by
 * LD_PRELOAD.
 *
 * NO_URING=setup: no io_uring can be made. NO_URING=register: the first command of each thread
 * fails before the kernel sees it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...)
{
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    static _Thread_local int failed;
    const char *what = getenv("NO_URING");
    long a[6];
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (what && !strcmp(what, "setup") && number == SYS_io_uring_setup) {
        errno = EPERM;
        return -1;
    }
    if (what && !strcmp(what, "register") && number == SYS_io_uring_enter && a[1] && !failed) {
        failed = 1;
        errno = EINVAL;
        return -1;
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
