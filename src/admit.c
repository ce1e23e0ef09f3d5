/* SPDX-License-Identifier: BSD-2-Clause
 *
 * admit.c - admission: between an offered fill and the pool.
 *
 * Owns: the decision whether a block may come in at all: mode, the caller's advice, the fill rate
 * limit. Whether it waits in DRAM or starts in the pool is decided in block.c, block by block.
 *
 * Who: api.c and flight.c.
 */
#include "admit.h"

#include "block.h"

#define BURST_NS UINT64_C(1000000000) /* a second's worth may come at once */

/* Rate limit by the generic cell rate algorithm (ITU-T I.371): fill_clock is the time at which all
 * bytes written so far would be paid for. */
static bool within_rate(struct cm_cache *c, uint64_t bytes)
{
    uint64_t rate = c->opts.fill_rate_limit;
    if (rate == 0)
        return true;
    uint64_t now = cm_plat_now_ns();
    /* In two steps, so that no product overflows for any rate. */
    uint64_t cost =
        bytes / rate * BURST_NS + (uint64_t)((double)(bytes % rate) * 1e9 / (double)rate);
    uint64_t clock = at_load_relaxed(&c->fill_clock), next;
    do {
        uint64_t from = clock > now ? clock : now;
        if (from - now > BURST_NS)
            return false;
        next = from + cost;
    } while (!at_cas_acq_rel(&c->fill_clock, &clock, next));
    return true;
}

int cm_admit_fill(cm_file *f, const cm_miss *miss, const uint8_t *data, uint64_t len)
{
    struct cm_cache *c = f->cache;
    uint64_t blocks = (len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE;
    uint32_t advice = at_load_relaxed(&f->advice);
    if (blocks == 0)
        return 0;
    if (cm_cache_mode(c) != CM_NORMAL || at_load_relaxed(&f->bypassed)) {
        cm_count(c, CM_STAT_refused_mode, blocks);
        return CM_NOT_STORED_MODE;
    }
    if (miss->flags & CM_MISS_NOFILL) {
        cm_count(c, CM_STAT_refused_stale, blocks);
        return CM_NOT_STORED_STALE;
    }
    if (advice == CM_ADVISE_NOREUSE || !within_rate(c, blocks * CM_BLOCK_SIZE)) {
        cm_count(c, CM_STAT_refused_policy, blocks);
        return CM_NOT_STORED_POLICY;
    }
    return cm_block_fill(f, miss, data, len, advice == CM_ADVISE_KEEP);
}
