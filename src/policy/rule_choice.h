/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rule_choice.h - mini-simulations that say which rule serves the pool best.
 */
#ifndef CM_RULE_CHOICE_H
#define CM_RULE_CHOICE_H

#include "policy/size_curve.h"

#define CM_CHOICE_RULES 4u /* at most */
#define CM_CHOICE_BUFFER_RULES 3u

struct cm_choice_mini {
    double hits, fills;
    struct cm_sim mini;
};

struct cm_choice {
    uint64_t below; /* a block is in the sample if its place is below this */
    double wear;    /* what a fill costs, in hits */
    double reads;   /* in the sample; halved now and then, like the minis' counts */
    unsigned since; /* reads since the last choice was made */
    const struct cm_rule *rule;
    unsigned rules, chosen; /* the first one is the default */
    struct cm_choice_mini mini[CM_CHOICE_RULES];
};

/* Words of memory for minis of up to `entries` slots each. The rules with a buffer are fewer, but
 * need more memory. */
#define CM_CHOICE_WORDS(entries) (CM_CHOICE_BUFFER_RULES * CM_SIM_WORDS(entries, entries))
/* `a` and `memory` are zeroed; a mini of `pool` has up to `entries` slots. `wear`: thousandths of a
 * hit that a fill costs. */
void cm_choice_begin(struct cm_choice *a, uint32_t *memory, uint32_t entries,
                     const struct cm_curve_pool *pool, uint32_t wear);
const struct cm_rule *cm_choice_rule(const struct cm_choice *a);
/* A block is read. True: another rule is chosen now. */
bool cm_choice_read(struct cm_choice *a, uint32_t key, uint32_t place, bool again);
void cm_choice_drop(struct cm_choice *a, uint32_t key, uint32_t place);

#endif
