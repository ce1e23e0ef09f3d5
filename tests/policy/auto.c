/* SPDX-License-Identifier: BSD-2-Clause
 *
 * auto.c - chooses among rules of S3R by trying each on a sample.
 *
 * Owns: a mini-simulation a rule. All see the same blocks, chosen by sample.h, and have the pool's
 * share of slots, so that a rule's hit ratio in the mini is about what it would be in the pool.
 * Score: hits less `wear` for each fill. Another rule is chosen when its score is better by a
 * margin, and only every CHECK reads of the sample. Counts are halved now and then, so that old
 * times weigh less.
 *
 * Who: s3r_policies.c.
 */
#include "auto.h"

#include <string.h>

#include "sample.h"

#define CHECK 16u
#define READS_MIN 256.0
#define SIZES_MIN 8.0  /* reads before the first choice, in minis' sizes */
#define SIZES_MAX 16.0 /* reads that count, so too */

bool auto_init(struct auto_choice *a, const struct s3r_size *size, const struct s3r_rule *rule,
               unsigned rules, uint32_t entries, double wear)
{
    memset(a, 0, sizeof(*a));
    a->below = sample_below(entries, size->slots);
    a->wear = wear;
    a->margin[0] = 0.02;
    a->margin[1] = 0.01;
    struct s3r_size mini = sample_size(size, a->below);
    for (; a->rules < rules; a->rules++) {
        struct auto_mini *m = &a->mini[a->rules];
        struct s3r_rule r = sample_rule(&rule[a->rules], a->below);
        if (!s3r_init(&m->s3r, &mini, &r, &m->tally)) {
            auto_free(a);
            return false;
        }
    }
    return true;
}

void auto_free(struct auto_choice *a)
{
    while (a->rules > 0)
        s3r_free(&a->mini[--a->rules].s3r);
}

static double score(const struct auto_choice *a, unsigned rule)
{
    return (a->mini[rule].hits - a->wear * a->mini[rule].fills) / a->reads;
}

static bool choose(struct auto_choice *a)
{
    unsigned before = a->chosen;
    double best = score(a, before) + a->margin[before != 0];
    for (unsigned i = 0; i < a->rules; i++) {
        if (score(a, i) > best) {
            best = score(a, i);
            a->chosen = i;
        }
    }
    return a->chosen != before;
}

bool auto_read(struct auto_choice *a, uint32_t block, uint32_t place, bool again)
{
    if (place >= a->below)
        return false;
    double size = a->mini[0].s3r.size.slots;
    a->reads++;
    for (unsigned i = 0; i < a->rules; i++) {
        struct auto_mini *m = &a->mini[i];
        uint64_t fills = m->tally.fills;
        m->hits += s3r_read(&m->s3r, block, again) != MISS;
        m->fills += (double)(m->tally.fills - fills);
    }
    if (a->reads >= SIZES_MAX * size + 512) {
        a->reads /= 2;
        for (unsigned i = 0; i < a->rules; i++) {
            a->mini[i].hits /= 2;
            a->mini[i].fills /= 2;
        }
    }
    if (++a->since < CHECK || a->reads < READS_MIN || a->reads < SIZES_MIN * size)
        return false;
    a->since = 0;
    return choose(a);
}

void auto_drop(struct auto_choice *a, uint32_t block, uint32_t place)
{
    if (place < a->below)
        for (unsigned i = 0; i < a->rules; i++)
            s3r_drop(&a->mini[i].s3r, block);
}
