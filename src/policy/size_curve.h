/* SPDX-License-Identifier: BSD-2-Clause
 *
 * size_curve.h - what the hit ratio would be with a smaller or a larger pool.
 */
#ifndef CM_SIZE_CURVE_H
#define CM_SIZE_CURVE_H

#include "policy/simulation.h"

#define CM_CURVE_SIZES 7u /* 1/8, 1/4, 1/2 of the pool, itself, 2, 4, 8 times it */
#define CM_CURVE_OWN 3u

struct cm_curve_size {
    uint64_t below;                      /* a block is in the sample if its place is below this */
    uint64_t reads, misses, real_misses; /* in the sample; misses of the mini, of the pool */
    struct cm_sim mini;
    uint32_t memory[CM_SIM_WORDS(CM_SIM_SLOTS, CM_SIM_SLOTS)];
};

struct cm_curve {
    struct cm_curve_size size[CM_CURVE_SIZES]; /* each sample is part of the sample before */
};

/* A pool of some size. */
struct cm_curve_pool {
    uint64_t slots, buffer; /* buffer: entries where first-time blocks wait */
};

/* The slots of a size, if the pool has `slots` slots. */
static inline uint64_t cm_curve_slots(uint64_t slots, unsigned size)
{
    uint64_t n = (slots << size) >> CM_CURVE_OWN;
    return n == 0 ? 1 : n;
}
/* `c` is zeroed; `pool` describes the pool at each size. */
void cm_curve_begin(struct cm_curve *c, const struct cm_curve_pool pool[CM_CURVE_SIZES],
                    const struct cm_rule *rule);
/* Gives a size another rule from here on. */
void cm_curve_set_rule(struct cm_curve *c, unsigned size, uint64_t slots,
                       const struct cm_rule *rule);
/* Begins a mini of a pool under a rule; its sample has the places below `below`. */
void cm_curve_begin_mini(struct cm_sim *m, uint32_t *memory, const struct cm_curve_pool *pool,
                         uint64_t below, const struct cm_rule *rule);
/* A block at `place` (cm_sample_place) is read. `missed`: the pool missed it. */
void cm_curve_read(struct cm_curve *c, uint32_t key, uint32_t place, bool again, bool missed);
void cm_curve_drop(struct cm_curve *c, uint32_t key, uint32_t place);
/* From here on, all that was counted so far counts half. */
void cm_curve_halve(struct cm_curve *c);
/* The estimated hit ratio at a size. `missed`: the pool's own miss ratio. */
double cm_curve_hit_ratio(const struct cm_curve *c, unsigned size, double missed);
/* Are there enough reads for an estimate? */
bool cm_curve_is_known(const struct cm_curve *c, unsigned size);
/* How many reads of the sample that is, in a mini with so many slots. */
uint64_t cm_curve_reads_needed(uint32_t slots);

#endif
