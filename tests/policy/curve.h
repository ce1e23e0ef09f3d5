/* SPDX-License-Identifier: BSD-2-Clause
 *
 * curve.h - what the hit ratio would be with a smaller or a larger pool, estimated while the pool
 * works.
 */
#ifndef CURVE_H
#define CURVE_H

#include "s3r.h"

#define CURVE_OWN 3u
#define CURVE_POINTS 7u /* an eighth, a quarter, a half of the pool, itself, 2, 4, 8 times it */

struct curve_point {
    struct s3r s3r;
    struct tally tally;
    uint64_t below;               /* places below this are in the sample */
    uint64_t misses, real_misses; /* of the sample: in the mini, in the pool */
};

struct curve {
    struct curve_point point[CURVE_POINTS];
    uint64_t reads, real_misses;
};

/* The size and rule of S3R for a pool of so many slots. */
typedef void curve_scale(void *context, uint32_t slots, struct s3r_size *size,
                         struct s3r_rule *rule);

bool curve_init(struct curve *c, uint32_t slots, uint32_t entries, curve_scale *scale,
                void *context);
void curve_free(struct curve *c);
size_t curve_bytes(const struct curve *c);
/* `place`: sample_place; `missed`: in the pool itself. */
void curve_read(struct curve *c, uint32_t block, uint32_t place, bool again, bool missed);
void curve_drop(struct curve *c, uint32_t block, uint32_t place);
uint32_t curve_slots(uint32_t slots, unsigned point);
double curve_hit_ratio(const struct curve *c, unsigned point);

#endif
