/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rate.h - the fill rate limit.
 */
#ifndef CM_RATE_H
#define CM_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "platform/atomic.h"

struct cm_rate {
    uint64_t limit; /* atomic; bytes a second; 0: none */
    uint64_t clock; /* atomic; ns, at that time all bytes granted so far are paid for */
};

/* May `bytes` be written now? The bytes of one second may come all at once. */
bool cm_rate_allows(struct cm_rate *r, uint64_t limit, uint64_t bytes);
static inline bool cm_rate_take(struct cm_rate *r, uint64_t bytes)
{
    const uint64_t limit = at_load_relaxed(&r->limit); /* it stands alone */
    return limit == 0 || cm_rate_allows(r, limit, bytes);
}
/* How long, in nanoseconds, until `bytes` may be written in several parts, if nobody else writes.
 * If they take longer than a second: until nothing is owed. */
uint64_t cm_rate_wait(const struct cm_rate *r, uint64_t bytes);

/* From now on another limit. What is owed of the old one is owed in bytes: under a higher limit it
 * takes less time. */
void cm_rate_set(struct cm_rate *r, uint64_t limit);

#endif
