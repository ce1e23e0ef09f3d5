/* SPDX-License-Identifier: BSD-2-Clause
 *
 * size_curve.c - the hit ratio as a function of the pool's size.
 *
 * Owns: a mini-simulation for each of seven sizes (Waldspurger et al., ATC'17). Its sample is to
 * all blocks as the mini's slots are to the slots of that size. A pool that is not larger than the
 * mini is simulated whole.
 *
 * The estimate also uses what is known of the pool itself: how many misses it had, and how many of
 * them were in the sample. The estimate is the pool's miss ratio times the mini's misses, divided
 * by the pool's misses in the sample. A few blocks that are read very often then do not matter:
 * they miss neither in the mini nor in the pool, so it is the same whether the sample has them. The
 * mini of the pool's own size shows the error of the minis. That error is taken off the other
 * sizes' estimates, half as much with each doubling or halving. See docs/policy.md.
 *
 * Who: state/, policy/.
 */
#include "policy/size_curve.h"

#include <assert.h>

/* Reads for each slot of a mini. With fewer reads, most of its misses come from its empty start. */
#define READS_PER_SLOT 2u
#define READS_MIN 512u

static_assert(sizeof(struct cm_curve) < 100000, "what the curve may cost");

static struct cm_sim_rule mini_rule(const struct cm_rule *rule, uint64_t slots, uint64_t below)
{
    uint64_t probation = (slots * rule->probation + 500) / 1000;
    if (rule->probation > 0 && probation == 0)
        probation = 1;
    return (struct cm_sim_rule){ cm_sim_share(probation, below), rule->earn, rule->remembered };
}

void cm_curve_begin_mini(struct cm_sim *m, uint32_t *memory, const struct cm_curve_pool *pool,
                         uint64_t below, const struct cm_rule *rule)
{
    struct cm_sim_rule r = mini_rule(rule, pool->slots, below);
    assert(pool->buffer <= pool->slots); /* so it is in a mini */
    cm_sim_begin(m, memory, cm_sim_share(pool->slots, below), cm_sim_share(pool->buffer, below),
                 &r);
}

void cm_curve_begin(struct cm_curve *c, const struct cm_curve_pool pool[CM_CURVE_SIZES],
                    const struct cm_rule *rule)
{
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        struct cm_curve_size *s = &c->size[i];
        s->below = cm_sim_below(CM_SIM_SLOTS, pool[i].slots);
        cm_curve_begin_mini(&s->mini, s->memory, &pool[i], s->below, rule);
    }
}

void cm_curve_set_rule(struct cm_curve *c, unsigned size, uint64_t slots,
                       const struct cm_rule *rule)
{
    struct cm_curve_size *s = &c->size[size];
    s->mini.rule = mini_rule(rule, cm_curve_slots(slots, size), s->below);
}

void cm_curve_read(struct cm_curve *c, uint32_t key, uint32_t place, bool again, bool missed)
{
    for (unsigned i = 0; i < CM_CURVE_SIZES && place < c->size[i].below; i++) {
        struct cm_curve_size *s = &c->size[i];
        s->reads++;
        s->real_misses += missed;
        s->misses += !cm_sim_read(&s->mini, key, again);
    }
}

void cm_curve_drop(struct cm_curve *c, uint32_t key, uint32_t place)
{
    for (unsigned i = 0; i < CM_CURVE_SIZES && place < c->size[i].below; i++)
        cm_sim_drop(&c->size[i].mini, key);
}

void cm_curve_halve(struct cm_curve *c)
{
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        struct cm_curve_size *s = &c->size[i];
        s->reads /= 2;
        s->misses /= 2;
        s->real_misses /= 2;
    }
}

static double ratio(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 1;
}

double cm_curve_hit_ratio(const struct cm_curve *c, unsigned size, double missed)
{
    const struct cm_curve_size *s = &c->size[size], *own = &c->size[CM_CURVE_OWN];
    unsigned doublings = size > CM_CURVE_OWN ? size - CM_CURVE_OWN : CM_CURVE_OWN - size;
    double off = 1 + (ratio(own->real_misses, own->misses) - 1) / (double)(1u << doublings);
    missed *= ratio(s->misses, s->real_misses) * off;
    return missed > 1 ? 0 : 1 - missed;
}

bool cm_curve_is_known(const struct cm_curve *c, unsigned size)
{
    const struct cm_curve_size *s = &c->size[size];
    return s->reads >= cm_curve_reads_needed(s->mini.slots);
}

uint64_t cm_curve_reads_needed(uint32_t slots)
{
    const uint64_t filled = READS_PER_SLOT * (uint64_t)slots;
    return filled > READS_MIN ? filled : READS_MIN;
}
