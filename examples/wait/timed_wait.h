/* SPDX-License-Identifier: BSD-2-Clause
 *
 * timed_wait.h - waits with a deadline, by a clock that nobody sets: shared by the front ends.
 *
 * A wait of pthread until a moment of the wall clock lasts an hour longer if that is set back by an
 * hour. Any thread.
 */
#ifndef TIMED_WAIT_H
#define TIMED_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A condition for wait_on(). 0, or an error number. */
int wait_init(pthread_cond_t *wake);
/* The moment in so many nanoseconds. */
struct timespec wait_until(uint64_t ns);
/* As pthread_cond_wait(), until the moment at most. False: it has come. */
bool wait_on(pthread_cond_t *wake, pthread_mutex_t *lock, const struct timespec *moment);
/* Sleeps for a millisecond. False: the moment has come. For what has no condition. */
bool wait_a_little(const struct timespec *moment);

#endif
