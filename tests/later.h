/* SPDX-License-Identifier: BSD-2-Clause
 *
 * later.h - validators of tests, and the time when they were taken.
 *
 * Windows' clock has ticks of 100 ns. A validator that is taken in the tick in which a bracket
 * ended counts as older than its end. So a test whose validator must count waits for the next tick.
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

/* The validator of a file of this size and version. Its change lies long ago, before any boot. */
static inline cm_validator validator_of_version(uint64_t size, uint64_t version)
{
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, &version, sizeof(version));
    v.size = size;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = later();
    return v;
}

#endif
