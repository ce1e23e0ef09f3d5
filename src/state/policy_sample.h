/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_sample.h - what the reads of a sample of the blocks say about the policy and the pool's
 * size.
 */
#ifndef CM_POLICY_SAMPLE_H
#define CM_POLICY_SAMPLE_H

#include "state/cache_state.h"
#include "policy/simulation.h"

/* Bytes of DRAM for c->sample, zeroed; the same for any pool. */
uint64_t cm_sample_bytes(void);
/* Called before the pool is used. Sets the rule of its policy. */
void cm_sample_begin(struct cm_cache *c, const struct cm_policy_kind *kind);

/* The pool has grown: a new sample, of the new size, begins. */
void cm_sample_grow(struct cm_cache *c);

/* Is a block in the sample? Called for every block that is read, so it must cost almost nothing. */
static inline bool cm_sample_has(const struct cm_cache *c, uint64_t incarnation, uint64_t block)
{
    return cm_sample_place(incarnation, block) < at_load_relaxed(&c->sample_below);
}
/* A block of the sample was looked up. `again`: its reader has touched it a moment ago. Never
 * sleeps. */
void cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed);
/* A block of the sample was forgotten. Never sleeps. */
void cm_sample_drop(struct cm_cache *c, const struct cm_key *k);
/* Writes the present estimates to the stats page. */
void cm_sample_report(struct cm_cache *c);

#endif
