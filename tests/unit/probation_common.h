/* SPDX-License-Identifier: BSD-2-Clause
 *
 * probation_common.h - what the tests of the probation buffer share.
 */
#ifndef CM_TESTS_PROBATION_COMMON_H
#define CM_TESTS_PROBATION_COMMON_H

#include "fixture.h"

#include <inttypes.h>

#include "protocol/fill_buffered.h"
#include "protocol/lookup.h"

#define HELD 16u /* blocks that the buffer holds */

static inline cm_file *set_up(struct pool *p, uint64_t bytes)
{
    pool_make(p, bytes, 0);
    pool_seed(p, 1); /* a fixed seed, because fingerprints collide */
    p->o.probation_bytes = HELD * BLK;
    (void)pool_up(p);
    return attach(p, 1, CM_BLOCK_MAX / 2, 1, 0);
}

/* No never used slot is left, and the buffer holds no block that is read later. */
static inline cm_file *set_up_full(struct pool *p)
{
    cm_file *f = set_up(p, MIB);
    (void)put_all(f, 100000, p->c->media.geo.slots + 2 * HELD, 5);
    CHECK_EQ(p->c->policy.ring.frontier, p->c->media.geo.slots);
    return f;
}

/* A read that counts: not one of a reader that goes on in small steps. */
static inline int look_anew(cm_file *f, uint64_t block, uint64_t tag)
{
    struct cm_plat_thread *t = cm_plat_thread();
    memset(t->recent, 0, sizeof(t->recent));
    return look(f, block, tag);
}

static inline bool in_pool(cm_file *f, uint64_t block)
{
    struct cm_cache *c = cm_object_of(f)->cache;
    struct cm_key k = cm_key_of(&c->media, cm_object_of(f)->incarnation, block);
    uint64_t version;
    return cm_probation_find(&c->probation, &k, &version) == CM_NO_ENTRY &&
           cm_lookup_cached(c, &k) > 0;
}

extern const struct harness_test promotion_tests[];

#endif
