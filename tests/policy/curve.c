/* SPDX-License-Identifier: BSD-2-Clause
 *
 * curve.c - the hit ratio as a function of the pool's size.
 *
 * Owns: a mini-simulation for each of the sizes (Waldspurger et al., ATC'17). Its blocks are those
 * of sample.h, so many that their share of all blocks is the share that the mini's entries have of
 * that size's slots; a pool not larger than the mini is simulated whole.
 *
 * What the sample says is held against what is known: how many misses the pool itself had, and how
 * many of them were of blocks in the sample. Estimate: the pool's miss ratio times the mini's
 * misses over the pool's misses in the sample. Whether a few blocks that are read very often are in
 * the sample no longer matters then, because they miss neither here nor there. Besides, the mini of
 * the pool's own size shows how far minis are off: that is taken from the other sizes' too, half as
 * much with each doubling or halving.
 *
 * Who: replay.c.
 */
#include "curve.h"

#include <string.h>

#include "sample.h"

uint32_t curve_slots(uint32_t slots, unsigned point)
{
    uint64_t n = ((uint64_t)slots << point) / 8;
    return n == 0 ? 1 : n > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)n;
}

bool curve_init(struct curve *c, uint32_t slots, uint32_t entries, curve_scale *scale,
                void *context)
{
    memset(c, 0, sizeof(*c));
    for (unsigned i = 0; i < CURVE_POINTS; i++) {
        struct curve_point *p = &c->point[i];
        struct s3r_size size;
        struct s3r_rule rule;
        scale(context, curve_slots(slots, i), &size, &rule);
        p->below = sample_below(entries, size.slots);
        size = sample_size(&size, p->below);
        rule = sample_rule(&rule, p->below);
        if (!s3r_init(&p->s3r, &size, &rule, &p->tally)) {
            curve_free(c);
            return false;
        }
    }
    return true;
}

void curve_free(struct curve *c)
{
    for (unsigned i = 0; i < CURVE_POINTS; i++)
        s3r_free(&c->point[i].s3r);
}

size_t curve_bytes(const struct curve *c)
{
    size_t bytes = sizeof(*c);
    for (unsigned i = 0; i < CURVE_POINTS; i++)
        bytes += s3r_bytes(&c->point[i].s3r.size);
    return bytes;
}

void curve_read(struct curve *c, uint32_t block, uint32_t place, bool again, bool missed)
{
    c->reads++;
    c->real_misses += missed;
    for (unsigned i = 0; i < CURVE_POINTS && place < c->point[i].below; i++) {
        struct curve_point *p = &c->point[i]; /* a larger size samples fewer */
        p->real_misses += missed;
        p->misses += s3r_read(&p->s3r, block, again) == MISS;
    }
}

void curve_drop(struct curve *c, uint32_t block, uint32_t place)
{
    for (unsigned i = 0; i < CURVE_POINTS && place < c->point[i].below; i++)
        s3r_drop(&c->point[i].s3r, block);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b > 0 ? (double)a / (double)b : 1;
}

double curve_hit_ratio(const struct curve *c, unsigned point)
{
    const struct curve_point *p = &c->point[point], *own = &c->point[CURVE_OWN];
    unsigned doublings = point > CURVE_OWN ? point - CURVE_OWN : CURVE_OWN - point;
    double off = 1 + (ratio(own->real_misses, own->misses) - 1) / (1u << doublings);
    double missed = ratio(c->real_misses, c->reads) * ratio(p->misses, p->real_misses) * off;
    return missed > 1 ? 0 : 1 - missed;
}
