/* SPDX-License-Identifier: BSD-2-Clause
 *
 * later.h - the time a validator of a test was taken at.
 *
 * Windows' clock has ticks of 100 ns, and what is taken in the tick in which a bracket ended is
 * held to be older than it: a test that wants to be believed waits for the next one.
 */
#ifndef CM_LATER_H
#define CM_LATER_H

#include "cachemax.h"

/* Nanoseconds of cm_now(), later than everything that was. */
static inline uint64_t later(void)
{
    const uint64_t began = cm_now();
    uint64_t now = began;
    while (now == began)
        now = cm_now();
    return now;
}

#endif
