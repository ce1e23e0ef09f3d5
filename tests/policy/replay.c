/* SPDX-License-Identifier: BSD-2-Clause
 *
 * replay.c - runs a trace against a policy and counts.
 *
 * Owns: nothing; restarts the policy in the middle, on demand, and has the miss-ratio curve
 * estimated beside S3R.
 *
 * Who: sim.c.
 */
#include "replay.h"

#include "sample.h"

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

static void scale(void *setting, uint32_t slots, struct s3r_size *size, struct s3r_rule *rule)
{
    s3r_scale(setting, slots, size, rule);
}

static void feed(const struct trace *t, unsigned recent_count, struct s3r *pool, struct curve *c)
{
    struct recent recent;
    recent_init(&recent);
    for (size_t i = 0; i < t->accesses; i++) {
        uint32_t block = t->access[i] >> 1, place = sample_place(t->key[block]);
        if (t->access[i] & TRACE_WRITE) {
            s3r_drop(pool, block);
            curve_drop(c, block, place);
            continue;
        }
        bool again = recent_touch(&recent, recent_count, block);
        bool missed = s3r_read(pool, block, again) == MISS;
        curve_read(c, block, place, again, missed);
    }
}

bool replay_curve(const struct trace *t, const struct s3r_setting *setting, uint32_t slots,
                  uint32_t entries, struct curve_result *r)
{
    struct s3r_setting set = *setting;
    struct s3r_size size;
    struct s3r_rule rule;
    struct tally tally = { 0 };
    struct result full;
    struct s3r pool;
    struct curve c;
    s3r_scale(&set, slots, &size, &rule);
    if (!s3r_init(&pool, &size, &rule, &tally))
        return false;
    bool ok = curve_init(&c, slots, entries, scale, &set);
    if (ok) {
        feed(t, set.recent, &pool, &c);
        r->bytes = curve_bytes(&c);
        for (unsigned i = 0; i < CURVE_POINTS && ok; i++) {
            r->slots[i] = curve_slots(slots, i);
            r->estimate[i] = curve_hit_ratio(&c, i);
            ok = replay(t, &policy_s3r, &set, r->slots[i], NO_RESTART, &full);
            r->truth[i] = (double)full.hits / (double)t->reads;
        }
        curve_free(&c);
    }
    s3r_free(&pool);
    return ok;
}
