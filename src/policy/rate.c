/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rate.c - the fill rate limit, by the generic cell rate algorithm (ITU-T I.371).
 *
 * Owns: a clock, the time at which all bytes granted so far are paid for. It may be one second
 * ahead of the present. Lock-free. In any t seconds, and with any number of threads, it grants at
 * most what the limit allows in t + 1 seconds, and one request more.
 *
 * Who: api/, protocol/.
 */
#include "policy/rate.h"

#include "platform/platform.h"

#define BURST_NS UINT64_C(1000000000)

/* The time that `bytes` take. In two steps, so that no product overflows for any limit. */
static uint64_t cost_of(uint64_t limit, uint64_t bytes)
{
    return bytes / limit * BURST_NS + (uint64_t)((double)(bytes % limit) * 1e9 / (double)limit);
}

bool cm_rate_allows(struct cm_rate *r, uint64_t limit, uint64_t bytes)
{
    uint64_t now = cm_plat_now_ns();
    uint64_t cost = cost_of(limit, bytes);
    uint64_t clock = at_load_relaxed(&r->clock), next;
    do {
        uint64_t from = clock > now ? clock : now;
        if (from - now > BURST_NS)
            return false;
        next = from + cost;
    } while (!at_cas_acq_rel(&r->clock, &clock, next));
    return true;
}

uint64_t cm_rate_wait(const struct cm_rate *r, uint64_t bytes)
{
    const uint64_t limit = at_load_relaxed(&r->limit);
    if (limit == 0)
        return 0;
    const uint64_t cost = cost_of(limit, bytes), now = cm_plat_now_ns();
    const uint64_t spare = cost < BURST_NS ? BURST_NS - cost : 0;
    const uint64_t clock = at_load_relaxed(&r->clock); /* a hint: cm_rate_take() decides */
    return clock > now && clock - now > spare ? clock - now - spare : 0;
}

void cm_rate_set(struct cm_rate *r, uint64_t limit)
{
    const uint64_t was = at_load_relaxed(&r->limit), now = cm_plat_now_ns();
    uint64_t clock = at_load_relaxed(&r->clock), next;
    at_store_relaxed(&r->limit, limit);
    do {
        if (clock <= now || (limit != 0 && limit <= was))
            return;
        const double less = limit == 0 ? 0 : (double)was / (double)limit;
        next = now + (uint64_t)((double)(clock - now) * less);
    } while (!at_cas_acq_rel(&r->clock, &clock, next));
}
