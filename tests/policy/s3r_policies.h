/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r_policies.h - S3R and AUTO for the simulator, with settings.
 */
#ifndef S3R_POLICIES_H
#define S3R_POLICIES_H

#include "s3r.h"

#define WEAR_DEFAULT 99999u

/* Shares are in thousandths of the pool. */
#define S3R_SETTINGS(X)                                                                            \
    X(buffer, 0, "DRAM buffer of first-time blocks; 0: probation in place")                        \
    X(inside, 0, "1: the buffer's blocks are taken from the pool's")                               \
    X(probation, 100, "slots on probation in place")                                               \
    X(earn, 2, "reads on probation that earn a place")                                             \
    X(window, 1000, "departures the ghost remembers")                                              \
    X(recent, 8, "reads of blocks among the last so many do not count as reuse")                   \
    X(wear, WEAR_DEFAULT,                                                                          \
      "auto: what a fill costs, in thousandths of a hit; default: 100 with a buffer, else 20")     \
    X(entries, 256, "auto: slots of a mini-simulation")

struct s3r_setting {
#define X(name, value, text) unsigned name;
    S3R_SETTINGS(X)
#undef X
};

/* Size and rule of S3R (without AUTO) in a pool of so many slots. */
void s3r_scale(const struct s3r_setting *set, uint32_t slots, struct s3r_size *size,
               struct s3r_rule *rule);

/* The last few blocks that a reader touched. */
#define RECENT_MAX 64u
struct recent {
    uint32_t block[RECENT_MAX], at;
};
void recent_init(struct recent *r);
/* Whether the block is among the last `count`; it is afterwards. */
bool recent_touch(struct recent *r, unsigned count, uint32_t block);

extern const struct policy policy_s3r, policy_auto;

#endif
