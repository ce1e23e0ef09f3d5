/* SPDX-License-Identifier: BSD-2-Clause
 *
 * no_uring.c - a system that forbids io_uring, or a part of it: loaded into the mount by
 * LD_PRELOAD.
 *
 * NO_URING=setup: no io_uring can be made. NO_URING=few: every other one cannot, for lack of
 * memory. NO_URING=register: the first command of each thread fails before the kernel sees it.
 * NO_URING=one: that of a single thread. NO_URING=late: all works, but only the first CPU is
 * online.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool fails(const char *how, long number, long submitted)
{
    static _Atomic unsigned made, submits;
    static _Thread_local bool tried;
    bool first = false;

    if (number == SYS_io_uring_setup) {
        errno = strcmp(how, "few") ? EPERM : ENOMEM;
        return !strcmp(how, "setup") || (!strcmp(how, "few") && atomic_fetch_add(&made, 1) % 2);
    }
    if (number == SYS_io_uring_enter && submitted) {
        errno = EINVAL;
        first = !tried;
        tried = true;
    }
    return first && (!strcmp(how, "register") ||
                     (!strcmp(how, "one") && atomic_fetch_add(&submits, 1) == 0));
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    const char *how = getenv("NO_URING");
    static char first[] = "0\n";

    if (how && !strcmp(how, "late") && !strcmp(path, "/sys/devices/system/cpu/online"))
        return fmemopen(first, sizeof(first) - 1, "r");
    return next(path, mode);
}

long syscall(long number, ...)
{
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    const char *how = getenv("NO_URING");
    long a[6];
    va_list ap;

    va_start(ap, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    return how && fails(how, number, a[1]) ? -1 : next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
