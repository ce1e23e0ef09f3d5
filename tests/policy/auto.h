/* SPDX-License-Identifier: BSD-2-Clause
 *
 * auto.h - mini-simulations on a sample of the blocks, which say what rule would serve the pool
 * best.
 */
#ifndef AUTO_H
#define AUTO_H

#include "s3r.h"

#define AUTO_RULES 4u

struct auto_mini {
    struct s3r s3r;
    struct tally tally;
    double hits, fills;
};

struct auto_choice {
    struct auto_mini mini[AUTO_RULES];
    unsigned rules, chosen; /* the first one is the default */
    uint64_t below;         /* places below this are in the sample */
    double reads;           /* of the sample, halved now and then like the minis' counts */
    double wear;            /* what a fill costs, in hits */
    double margin[2];       /* to leave the default; any other */
    unsigned since;
};

/* A simulation of a pool of size->slots with `entries` of its own at most. */
bool auto_init(struct auto_choice *a, const struct s3r_size *size, const struct s3r_rule *rule,
               unsigned rules, uint32_t entries, double wear);
void auto_free(struct auto_choice *a);
/* `place`: sample_place. True when another rule is chosen now. */
bool auto_read(struct auto_choice *a, uint32_t block, uint32_t place, bool again);
void auto_drop(struct auto_choice *a, uint32_t block, uint32_t place);

#endif
