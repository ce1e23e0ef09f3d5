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
    uint64_t below;                      /* places below this are in its sample */
    uint64_t reads, misses, real_misses; /* of the sample: in the mini, in the pool */
    struct cm_sim mini;
    uint32_t memory[CM_SIM_WORDS(CM_SIM_SLOTS, CM_SIM_SLOTS)];
};

struct cm_curve {
    struct cm_curve_size size[CM_CURVE_SIZES]; /* each one's sample is part of the one before */
};

/* A pool of some size. */
struct cm_curve_pool {
    uint64_t slots, buffer; /* buffer: entries that first-time blocks wait in */
};

/* Slots of a size, where the pool has so many. */
static inline uint64_t cm_curve_slots(uint64_t slots, unsigned size)
{
    uint64_t n = (slots << size) >> CM_CURVE_OWN;
    return n == 0 ? 1 : n;
}
/* `c` is zeroed; `pool` is what the pool would be at each size. */
void cm_curve_begin(struct cm_curve *c, const struct cm_curve_pool pool[CM_CURVE_SIZES],
                    const struct cm_rule *rule);
/* Another rule for a size from here on. */
void cm_curve_set_rule(struct cm_curve *c, unsigned size, uint64_t slots,
                       const struct cm_rule *rule);
/* Begins a mini of a pool under a rule; its sample is `below`. */
void cm_curve_begin_mini(struct cm_sim *m, uint32_t *memory, const struct cm_curve_pool *pool,
                         uint64_t below, const struct cm_rule *rule);
/* A block is read, which the pool `missed`, at `place`: cm_sample_place. */
void cm_curve_read(struct cm_curve *c, uint32_t key, uint32_t place, bool again, bool missed);
void cm_curve_drop(struct cm_curve *c, uint32_t key, uint32_t place);
/* What was counted counts half from here on. */
void cm_curve_halve(struct cm_curve *c);
/* The estimated hit ratio at a size, where the pool's own miss ratio is `missed`. */
double cm_curve_hit_ratio(const struct cm_curve *c, unsigned size, double missed);
/* Has enough been read for that? */
bool cm_curve_is_known(const struct cm_curve *c, unsigned size);

#endif
