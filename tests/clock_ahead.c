/* SPDX-License-Identifier: BSD-2-Clause
 *
 * clock_ahead.c - a wall clock that is wrong, loaded into a program by LD_PRELOAD: while the file
 * $CLOCK_AHEAD exists, the program reads it an hour ahead. So the clock is set back by an hour
 * when the file goes. The kernel's own is right all the time: a wait until a moment of the wall
 * clock that the program read an hour ahead takes an hour longer.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define AHEAD_SECONDS 3600

static time_t ahead(void)
{
    const char *flag = getenv("CLOCK_AHEAD");

    return flag && access(flag, F_OK) == 0 ? AHEAD_SECONDS : 0;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    const int rc = (int)syscall(SYS_clock_gettime, clock, t);

    if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        t->tv_sec += ahead();
    return rc;
}

int timespec_get(struct timespec *t, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, t) == 0 ? base : 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
    return 0;
}

time_t time(time_t *to)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}
