/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rate.c - the fill rate limit, by the generic cell rate algorithm (ITU-T I.371).
 *
 * Owns: a clock, the time at which all bytes granted so far are paid for. It may be one second
 * ahead of the present. Lock-free. In any t seconds, and with any number of threads, it grants at
 * most what the limit allows in t + 1 seconds, and one request more.
 *
 * Who: protocol/.
 */
#include "policy/rate.h"

#include "platform/atomic.h"
#include "platform/platform.h"

#define BURST_NS UINT64_C(1000000000)

bool cm_rate_take(struct cm_rate *r, uint64_t bytes)
{
    if (r->limit == 0)
        return true;
    uint64_t now = cm_plat_now_ns();
    /* In two steps, so that no product overflows for any limit. */
    uint64_t cost = bytes / r->limit * BURST_NS +
                    (uint64_t)((double)(bytes % r->limit) * 1e9 / (double)r->limit);
    uint64_t clock = at_load_relaxed(&r->clock), next;
    do {
        uint64_t from = clock > now ? clock : now;
        if (from - now > BURST_NS)
            return false;
        next = from + cost;
    } while (!at_cas_acq_rel(&r->clock, &clock, next));
    return true;
}
