/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rate.h - the fill rate limit.
 */
#ifndef CM_RATE_H
#define CM_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct cm_rate {
    uint64_t limit; /* bytes a second; 0: none */
    uint64_t clock; /* atomic; ns, when all bytes granted so far would be paid for */
};

/* May so many bytes be written now? What a second allows may come at once. */
bool cm_rate_take(struct cm_rate *r, uint64_t bytes);

#endif
