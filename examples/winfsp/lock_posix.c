/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lock_posix.c - a lock, on Linux.
 *
 * Owns: it. Who: handles.c.
 */
#include "lock.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void lock_take(void)
{
    pthread_mutex_lock(&lock);
}

void lock_give(void)
{
    pthread_mutex_unlock(&lock);
}
