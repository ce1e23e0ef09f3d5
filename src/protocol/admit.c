/* SPDX-License-Identifier: BSD-2-Clause
 *
 * admit.c - admission: between an offered fill and the pool.
 *
 * Owns: the decision whether a block may come in at all: mode, the caller's advice. Whether it
 * waits in DRAM, starts in the pool, if the rate limit allows it, or is refused by the policy's
 * rule is decided in fill.c, block by block.
 *
 * Who: calls.c and read_through.c.
 */
#include "protocol/admit.h"

#include "protocol/fill.h"

int cm_admit_fill(struct cm_object *f, const cm_miss *miss, const uint8_t *data, uint64_t len,
                  uint64_t asked)
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
    if (advice == CM_ADVISE_NOREUSE) {
        cm_count(c, CM_STAT_refused_policy, blocks);
        return CM_NOT_STORED_POLICY;
    }
    return cm_fill_blocks(f, miss, data, len, asked, advice == CM_ADVISE_KEEP);
}
