/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay.c - runs a trace against a policy and counts.
 *
 * Owns: nothing; restarts the policy in the middle, on demand, and has the library's miss-ratio
 * curve estimated beside it.
 *
 * Who: sim.c.
 */
#include "replay.h"

#include <stdlib.h>

bool replay(const struct trace *t, const struct policy *policy, const struct s3r_setting *setting,
            uint32_t slots, enum restart restart, struct result *r)
{
    struct world w = { slots, t->blocks, t->key, &r->tally };
    *r = (struct result){ 0 };
    void *p = policy->create(&w, policy->setting ? policy->setting : setting);
    if (!p)
        return false;
    for (size_t i = 0; i < t->accesses; i++) {
        bool late = i >= t->accesses / 2;
        if (i == t->accesses / 2 && restart != NO_RESTART && policy->restart)
            policy->restart(p, restart);
        if (t->access[i] & TRACE_WRITE) {
            policy->drop(p, t->access[i] >> 1);
            continue;
        }
        enum found f = policy->read(p, t->access[i] >> 1);
        r->hits += f != MISS;
        r->buffer_hits += f == BUFFER_HIT;
        r->late_hits += late && f != MISS;
        r->late_reads += late;
    }
    policy->destroy(p);
    return true;
}

/* Returns the pool's own misses. */
static uint64_t feed(const struct trace *t, unsigned recent_count, void *pool, struct cm_curve *c)
{
    struct recent recent;
    uint64_t misses = 0;
    recent_init(&recent);
    for (size_t i = 0; i < t->accesses; i++) {
        uint32_t block = t->access[i] >> 1, place = s3r_place(t->key[block]);
        uint32_t key = (uint32_t)s3r_hash(block);
        if (t->access[i] & TRACE_WRITE) {
            policy_library.drop(pool, block);
            cm_curve_drop(c, key, place);
            continue;
        }
        bool again = recent_touch(&recent, recent_count, block);
        bool missed = policy_library.read(pool, block) == MISS;
        cm_curve_read(c, key, place, again, missed);
        misses += missed;
    }
    return misses;
}

static void begin_curve(struct cm_curve *c, const struct s3r_setting *set, uint32_t slots)
{
    struct cm_curve_pool pool[CM_CURVE_SIZES];
    struct cm_rule rule = s3r_rule(set);
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++)
        pool[i] = s3r_pool(set, (uint32_t)cm_curve_slots(slots, i));
    cm_curve_begin(c, pool, &rule);
}

bool replay_curve(const struct trace *t, const struct s3r_setting *setting, uint32_t slots,
                  struct curve_result *r)
{
    struct tally tally = { 0 };
    struct world w = { slots, t->blocks, t->key, &tally };
    struct cm_curve *c = calloc(1, sizeof(*c));
    void *pool = policy_library.create(&w, setting);
    struct result full;
    bool ok = c && pool;
    if (ok) {
        begin_curve(c, setting, slots);
        double missed = (double)feed(t, setting->recent, pool, c) / (double)t->reads;
        for (unsigned i = 0; i < CM_CURVE_SIZES && ok; i++) {
            r->slots[i] = (uint32_t)cm_curve_slots(slots, i);
            r->estimate[i] = cm_curve_hit_ratio(c, i, missed);
            ok = replay(t, &policy_library, setting, r->slots[i], NO_RESTART, &full);
            r->truth[i] = (double)full.hits / (double)t->reads;
        }
    }
    if (pool)
        policy_library.destroy(pool);
    free(c);
    return ok;
}
