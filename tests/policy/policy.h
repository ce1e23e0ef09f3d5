/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy.h - what a replacement policy is to the simulator.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NONE UINT32_MAX

enum found { MISS, POOL_HIT, BUFFER_HIT };
enum restart { NO_RESTART, CLEAN, CRASH, COLD };

/* What a run costs the pool. A slot's first fill is counted in both. */
struct tally {
    uint64_t fills, first_fills;
};

/* Where a policy does its work. */
struct world {
    uint32_t slots;      /* of the pool */
    uint32_t blocks;     /* their numbers are below this */
    const uint64_t *key; /* by number: which file, and where in it (trace.h) */
    struct tally *tally;
};

struct policy {
    const char *name;
    const char *text;
    /* NULL: no memory. `setting` is the policy's own. */
    void *(*create)(const struct world *w, const void *setting);
    enum found (*read)(void *p, uint32_t block);
    void (*drop)(void *p, uint32_t block); /* the block was written */
    void (*destroy)(void *p);
    /* NULL: the policy keeps nothing, so it starts cold. */
    void (*restart)(void *p, enum restart how);
    const void *setting;
};

extern const struct policy policy_lru, policy_clock, policy_gclock, policy_sieve, policy_s3fifo,
    policy_arc;

#endif
