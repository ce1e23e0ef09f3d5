/* SPDX-License-Identifier: BSD-2-Clause
 *
 * s3r_policies.h - the library's policies for the simulator, with settings.
 */
#ifndef S3R_POLICIES_H
#define S3R_POLICIES_H

#include "cachemax.h"
#include "policy.h"
#include "policy/rule_choice.h"

#define AS_LIBRARY 99999u

/* Shares are in thousandths of the pool. */
#define S3R_SETTINGS(X)                                                                            \
    X(buffer, 0, "DRAM buffer of first-time blocks; 0: probation in place")                        \
    X(inside, 0, "1: the buffer's blocks are taken from the pool's")                               \
    X(probation, AS_LIBRARY, "not auto: slots on probation in place")                              \
    X(earn, AS_LIBRARY, "not auto: reads on probation that earn a place")                          \
    X(window, 1000, "not auto: departures the ghost remembers")                                    \
    X(recent, 8, "reads of blocks among the last so many do not count as reuse")                   \
    X(wear, AS_LIBRARY, "auto: what a fill costs, in thousandths of a hit")                        \
    X(entries, 256, "auto: slots of a mini-simulation")

struct s3r_setting {
    uint32_t kind; /* enum cm_policy */
#define X(name, value, text) unsigned name;
    S3R_SETTINGS(X)
#undef X
};

/* Slots and buffer where the simulator gives the pool so many slots; and the rule, in any. */
struct cm_curve_pool s3r_pool(const struct s3r_setting *set, uint32_t slots);
struct cm_rule s3r_rule(const struct s3r_setting *set);

/* What the library knows a block by, in place of its key. */
uint64_t s3r_hash(uint32_t block);
/* Where it is in the samples; `key`: trace.h. */
uint32_t s3r_place(uint64_t key);

/* The last few blocks that a reader touched. */
#define RECENT_MAX 64u
struct recent {
    uint32_t block[RECENT_MAX], at;
};
void recent_init(struct recent *r);
/* Whether the block is among the last `count`; it is afterwards. */
bool recent_touch(struct recent *r, unsigned count, uint32_t block);

extern const struct policy policy_library; /* its setting is a struct s3r_setting */

#endif
