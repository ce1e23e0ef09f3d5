/* SPDX-License-Identifier: BSD-2-Clause
 *
 * timed_wait.c - see timed_wait.h. Owns nothing. All its moments are of CLOCK_MONOTONIC. It is the
 * only file of the front ends that waits for a condition with a deadline: tests/tree/check-tree.sh
 * looks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_condattr_setclock */
#endif
#include "timed_wait.h"

#define SECOND_NS 1000000000u
#define NAP_NS 1000000

int wait_init(pthread_cond_t *wake)
{
    pthread_condattr_t a;
    int err = pthread_condattr_init(&a);

    if (err)
        return err;
    err = pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    if (!err)
        err = pthread_cond_init(wake, &a);
    pthread_condattr_destroy(&a);
    return err;
}

struct timespec wait_until(uint64_t ns)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / SECOND_NS);
    t.tv_nsec = (long)(ns % SECOND_NS);
    return t;
}

bool wait_on(pthread_cond_t *wake, pthread_mutex_t *lock, const struct timespec *moment)
{
    return pthread_cond_timedwait(wake, lock, moment) == 0;
}

bool wait_a_little(const struct timespec *moment)
{
    const struct timespec nap = { .tv_nsec = NAP_NS };
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > moment->tv_sec ||
        (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec))
        return false;
    nanosleep(&nap, NULL);
    return true;
}
