/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rule_choice.c - chooses among rules of S3R by trying each on a sample of the blocks.
 *
 * Owns: a mini-simulation for each rule. All see the same blocks and have the same share of the
 * pool's slots. So a rule's hit ratio in the mini is about its hit ratio in the pool. The score is
 * the hits minus `wear` for each fill. Every CHECK reads of the sample, another rule is chosen if
 * its score is better by a margin. Counts are halved now and then, so that old reads weigh less.
 * docs/policy.md has the rules, and what else was tried.
 *
 * Who: state/.
 */
#include "policy/rule_choice.h"

#include <assert.h>

#define CHECK 16u
#define READS_MIN 256.0
#define PER_SLOT_MIN 8.0    /* the first choice needs so many reads for each slot of a mini */
#define PER_SLOT_MAX 16.0   /* counts are halved at so many reads for each slot of a mini... */
#define READS_MORE 512.0    /* ... and so many more */
#define MARGIN_DEFAULT 0.02 /* of the score, to leave the default */
#define MARGIN 0.01         /* to leave any other rule */

static const struct cm_rule without_buffer[CM_CHOICE_RULES] = {
    { 100, 1, false },
    { 100, 1, true },
    { 500, 2, false },
    { 100, 2, false },
};
/* Blocks that leave the buffer without having earned a place are only remembered (first rule), or
 * go on probation in the pool. Under the first rule no slot goes on probation. Slots that another
 * rule put on probation leave before all others. */
static const struct cm_rule with_buffer[CM_CHOICE_BUFFER_RULES] = {
    { 0, 2, true },
    { 100, 1, false },
    { 500, 2, false },
};

static_assert(CM_CHOICE_RULES * CM_SIM_WORDS(64, 0) <= CM_CHOICE_WORDS(64) &&
                  CM_CHOICE_RULES * CM_SIM_WORDS(CM_SIM_SLOTS, 0) <= CM_CHOICE_WORDS(CM_SIM_SLOTS),
              "enough for more rules without a buffer, too");

void cm_choice_begin(struct cm_choice *a, uint32_t *memory, uint32_t entries,
                     const struct cm_curve_pool *pool, uint32_t wear)
{
    const uint32_t words = CM_SIM_WORDS(entries, pool->buffer > 0 ? entries : 0);
    a->below = cm_sim_below(entries, pool->slots);
    a->wear = wear / 1000.0;
    a->rule = pool->buffer > 0 ? with_buffer : without_buffer;
    a->rules = pool->buffer > 0 ? CM_CHOICE_BUFFER_RULES : CM_CHOICE_RULES;
    for (unsigned i = 0; i < a->rules; i++)
        cm_curve_begin_mini(&a->mini[i].mini, memory + i * words, pool, a->below, &a->rule[i]);
}

const struct cm_rule *cm_choice_rule(const struct cm_choice *a)
{
    return &a->rule[a->chosen];
}

static double score(const struct cm_choice *a, unsigned rule)
{
    return (a->mini[rule].hits - a->wear * a->mini[rule].fills) / a->reads;
}

static bool choose(struct cm_choice *a)
{
    unsigned before = a->chosen;
    double best = score(a, before) + (before == 0 ? MARGIN_DEFAULT : MARGIN);
    for (unsigned i = 0; i < a->rules; i++) {
        if (score(a, i) > best) {
            best = score(a, i);
            a->chosen = i;
        }
    }
    return a->chosen != before;
}

bool cm_choice_read(struct cm_choice *a, uint32_t key, uint32_t place, bool again)
{
    if (place >= a->below)
        return false;
    const double slots = a->mini[0].mini.slots;
    a->reads++;
    for (unsigned i = 0; i < a->rules; i++) {
        struct cm_choice_mini *m = &a->mini[i];
        uint64_t fills = m->mini.fills;
        m->hits += cm_sim_read(&m->mini, key, again);
        m->fills += (double)(m->mini.fills - fills);
    }
    if (a->reads >= PER_SLOT_MAX * slots + READS_MORE) {
        a->reads /= 2;
        for (unsigned i = 0; i < a->rules; i++) {
            a->mini[i].hits /= 2;
            a->mini[i].fills /= 2;
        }
    }
    if (++a->since < CHECK || a->reads < READS_MIN || a->reads < PER_SLOT_MIN * slots)
        return false;
    a->since = 0;
    return choose(a);
}

void cm_choice_drop(struct cm_choice *a, uint32_t key, uint32_t place)
{
    for (unsigned i = 0; i < a->rules && place < a->below; i++)
        cm_sim_drop(&a->mini[i].mini, key);
}
