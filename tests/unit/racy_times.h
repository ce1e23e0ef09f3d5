/* SPDX-License-Identifier: BSD-2-Clause
 *
 * racy_times.h - which times of a file prove nothing on Windows, because a later write may leave
 * them as they are. The library and the driver each have the rule: this table has to hold for both.
 */
#ifndef RACY_TIMES_H
#define RACY_TIMES_H

#include <stdbool.h>
#include <stdint.h>

#define RACY_NOW UINT64_C(133000000001234567) /* in units of 100 ns */
#define RACY_MS UINT64_C(10000)
#define RACY_S (1000 * RACY_MS)
#define RACY_WHOLE (RACY_NOW / RACY_S * RACY_S) /* the last whole second: 123 ms ago */

static const struct {
    uint64_t written, changed, tick;
    bool racy;
} racy_times[] = {
    { RACY_NOW - RACY_S, RACY_NOW - RACY_S, RACY_NOW, false },
    { RACY_NOW - 21 * RACY_MS, RACY_NOW - RACY_S, RACY_NOW, false },
    { RACY_NOW - 20 * RACY_MS, RACY_NOW - RACY_S, RACY_NOW, true },
    { RACY_NOW - RACY_S, RACY_NOW - 21 * RACY_MS, RACY_NOW, false },
    { RACY_NOW - RACY_S, RACY_NOW - 20 * RACY_MS, RACY_NOW, true },
    { RACY_NOW + 2 * RACY_S, RACY_NOW - RACY_S, RACY_NOW, true }, /* from the future */
    { RACY_NOW - RACY_S, RACY_NOW + 2 * RACY_S, RACY_NOW, true },
    { RACY_NOW - RACY_S, RACY_NOW - 3 * RACY_S, RACY_NOW - RACY_S, true }, /* the present tick */
    { RACY_NOW - 3 * RACY_S, RACY_NOW - RACY_S, RACY_NOW - RACY_S, true },
    { RACY_NOW - 3 * RACY_S, RACY_NOW - RACY_S, RACY_NOW - 2 * RACY_S, true }, /* it stands still */
    { RACY_NOW - RACY_S, RACY_NOW - RACY_S, RACY_NOW - RACY_S + 1, false },
    { RACY_WHOLE - RACY_S, RACY_WHOLE - RACY_S, RACY_NOW, true }, /* whole seconds */
    { RACY_WHOLE - RACY_S, RACY_WHOLE - RACY_S + 1, RACY_NOW, false },
    { RACY_WHOLE - 2 * RACY_S, RACY_WHOLE - 2 * RACY_S, RACY_NOW, false },
};
#define RACY_TIMES (sizeof(racy_times) / sizeof(racy_times[0]))

#endif
