/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_posix.h - what the files of the Linux platform share.
 */
#ifndef CM_PLATFORM_POSIX_H
#define CM_PLATFORM_POSIX_H

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "platform.h"

#define NS_PER_S INT64_C(1000000000)

/* Wraps in the year 2262: still another value for another time. */
static inline int64_t timespec_ns(struct timespec t)
{
    return (int64_t)((uint64_t)t.tv_sec * (uint64_t)NS_PER_S + (uint64_t)t.tv_nsec);
}

/* A cancelled thread ends at the next of its system calls that may wait, whatever locks it holds and
 * whatever it opened. First line of every function that makes such calls: not before it returns. */
static inline void posix_cancel_back(const int *was)
{
    cm_plat_cancel_back(*was);
}
#define POSIX_NO_CANCEL                                                                            \
    __attribute__((cleanup(posix_cancel_back), unused)) const int posix_cancel = cm_plat_cancel_off()

static inline int file_fd(const struct cm_plat_file *f)
{
    assert(f != NULL && f->handle >= 0);
    return (int)f->handle;
}

#endif
