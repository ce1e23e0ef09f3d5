/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ring_common.h - for the tests of the replacement policy: a ring without a pool.
 */
#ifndef RING_COMMON_H
#define RING_COMMON_H

#include "fixture.h"

#include "policy/ring.h"

extern const struct harness_test ring_empties_tests[], ring_share_tests[];

/* All slots used, none owned, counts zero. */
static inline struct cm_ring make(uint64_t slots)
{
    struct cm_ring r = { .slots = slots, .end = slots, .frontier = slots };
    r.free_max = (uint32_t)(slots / 32);
    r.ref = calloc(slots, 1);
    r.owned = calloc((slots + 63) / 64, 8);
    r.kept = calloc((slots + 63) / 64, 8);
    r.free = calloc(r.free_max + 1, 8);
    r.hint = calloc(CM_HINTS + 1, 8);
    r.line_max = cm_ring_line(slots);
    r.line = calloc(r.line_max, CM_LINE_ENTRY);
    r.probation = slots / 10;
    r.earn = 1;
    return r;
}

static inline uint64_t victim(struct cm_ring *r)
{
    struct cm_victim v;
    return cm_ring_victims(r, &v, 1) == 1 ? v.slot : CM_NO_SLOT;
}

static inline uint64_t take_free(struct cm_ring *r)
{
    uint64_t slot;
    return cm_ring_take_free(r, &slot, 1) == 1 ? slot : CM_NO_SLOT;
}

static inline void unmake(struct cm_ring *r)
{
    free(r->ref);
    free(r->owned);
    free(r->kept);
    free(r->free);
    free(r->hint);
    free(r->line);
}

static inline void set_all(struct cm_ring *r, uint8_t count)
{
    memset(r->ref, count, r->slots);
}

static inline void begin(struct cm_ring *r, uint64_t slot)
{
    cm_ring_begin_probation(r, &slot, 1, 0);
}

#endif
