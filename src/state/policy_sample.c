/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_sample.c - what the reads of a sample of the blocks say about the policy and the pool's
 * size.
 *
 * Owns: the curve and the choice of the rule, under one lock. Every read of a block calls
 * cm_sample_has. Only blocks of the sample come here: in a large pool one block in hundreds. A
 * thread that finds the lock taken does not wait: its read is left out, which is counted. If it has
 * touched the block a moment ago, that read says next to nothing, and so do the next ones of that
 * kind. So the thread leaves them out, too, and threads that read the same few blocks all the
 * time do not take the lock's line from each other with every hit. The curve goes to the stats page
 * now and then. The pool's own miss ratio comes from that page, because it counts every read.
 *
 * Who: api/, protocol/.
 */
#include "state/policy_sample.h"

#include "policy/rule_choice.h"
#include "policy/size_curve.h"

/* Reads of the sample between two reports. The first come sooner: who looks sees that it grows. */
#define REPORT_FIRST 32u
#define REPORT_EVERY 1024u
/* After so many reads of the widest sample all counts are halved. */
#define READS_MAX (UINT64_C(1) << 22)
#define WEAR_DEFAULT 20u
#define WEAR_BUFFER 100u   /* with a buffer, which is there to spare the pool */
#define LEFT_OUT 1023u     /* hits that a thread leaves out after it found the lock taken */
#define ENTRIES 256u       /* slots of a mini that a rule is tried in */
#define ENTRIES_OTHER 128u /* the same, for a rule of another size than the pool's */

static_assert(CM_CURVE_SIZES == CM_CURVE_POINTS, "the curve and cm_stats_data");

struct cm_sample {
    struct cm_lock lock; /* everything below */
    bool automatic;
    unsigned since, every;      /* reads since the curve was reported, and until it is again */
    uint64_t seen, seen_missed; /* the pool's reads and misses at that report */
    uint64_t reads, missed;     /* the same, halved when the curve's counts are halved */
    struct cm_curve curve;
    struct cm_choice
        choice[CM_CURVE_SIZES]; /* of each size's rule; that of the own size is the pool's */
    uint32_t
        memory[CM_CHOICE_WORDS(ENTRIES) + (CM_CURVE_SIZES - 1) * CM_CHOICE_WORDS(ENTRIES_OTHER)];
};
static_assert(sizeof(struct cm_sample) - sizeof(struct cm_curve) < 100000, "what AUTO may cost");

uint64_t cm_sample_bytes(void)
{
    return sizeof(struct cm_sample);
}

/* A larger pool has a larger buffer only if the user left the buffer's size to the library. */
static struct cm_curve_pool pool_of_size(const struct cm_cache *c, unsigned size)
{
    uint64_t slots = cm_curve_slots(cm_media_slots(&c->media), size);
    return (struct cm_curve_pool){ slots, cm_probation_entries(c->opts.probation_bytes, slots) };
}

static void begin_choices(struct cm_cache *c, const struct cm_curve_pool pool[CM_CURVE_SIZES])
{
    uint32_t wear = c->opts.wear_weight             ? c->opts.wear_weight
                    : pool[CM_CURVE_OWN].buffer > 0 ? WEAR_BUFFER
                                                    : WEAR_DEFAULT;
    uint32_t *memory = c->sample->memory;
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        uint32_t entries = i == CM_CURVE_OWN ? ENTRIES : ENTRIES_OTHER;
        cm_choice_begin(&c->sample->choice[i], memory, entries, &pool[i], wear);
        memory += CM_CHOICE_WORDS(entries);
    }
}

void cm_sample_begin(struct cm_cache *c, const struct cm_policy_kind *kind)
{
    struct cm_sample *s = c->sample;
    const struct cm_rule *rule;
    struct cm_curve_pool pool[CM_CURVE_SIZES];
    s->automatic = kind->automatic;
    s->every = REPORT_FIRST;
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++)
        pool[i] = pool_of_size(c, i);
    if (kind->automatic) {
        begin_choices(c, pool);
        rule = cm_choice_rule(&s->choice[CM_CURVE_OWN]);
    } else {
        rule = &kind->rule[c->probation.entries > 0];
    }
    cm_curve_begin(&s->curve, pool, rule);
    cm_policy_set_rule(&c->policy, rule);
    /* The other samples, also AUTO's, are parts of it. */
    at_store_relaxed(&c->sample_below, s->curve.size[0].below);
}

/* Lock held. */
static void report(struct cm_cache *c)
{
    struct cm_sample *s = c->sample;
    uint64_t missed = cm_stats_total(&c->media, CM_STAT_miss_blocks);
    uint64_t reads = missed + cm_stats_total(&c->media, CM_STAT_hit_blocks);
    uint64_t hits[CM_CURVE_SIZES];
    /* Any process may write to the page: numbers that have become smaller are ignored. */
    if (reads >= s->seen && missed >= s->seen_missed) {
        s->reads += reads - s->seen;
        s->missed += missed - s->seen_missed;
    }
    s->seen = reads;
    s->seen_missed = missed;
    s->since = 0;
    if (s->curve.size[0].reads > READS_MAX) {
        cm_curve_halve(&s->curve);
        s->reads /= 2;
        s->missed /= 2;
    }
    for (unsigned i = 0; i < CM_CURVE_SIZES; i++) {
        hits[i] = CM_CURVE_UNKNOWN;
        if (s->reads > 0 && cm_curve_is_known(&s->curve, i)) {
            double ratio = (double)s->missed / (double)s->reads;
            hits[i] = (uint64_t)(cm_curve_hit_ratio(&s->curve, i, ratio) * 1e6 + 0.5);
        }
    }
    cm_stats_curve(&c->media, hits, s->curve.size[CM_CURVE_OWN].reads,
                   at_load_relaxed(&c->sample_skipped));
}

void cm_sample_grow(struct cm_cache *c)
{
    struct cm_sample *s = c->sample;
    cm_lock_acquire(&s->lock);
    memset(&s->automatic, 0, sizeof(*s) - offsetof(struct cm_sample, automatic));
    s->seen_missed = cm_stats_total(&c->media, CM_STAT_miss_blocks);
    s->seen = s->seen_missed + cm_stats_total(&c->media, CM_STAT_hit_blocks);
    cm_sample_begin(c, cm_policy_kind_of(c->opts.policy));
    report(c); /* what the page has is of the old size */
    cm_lock_release(&s->lock);
}

void cm_sample_report(struct cm_cache *c)
{
    cm_lock_acquire(&c->sample->lock);
    report(c);
    cm_lock_release(&c->sample->lock);
}

void cm_sample_read(struct cm_cache *c, const struct cm_key *k, bool again, bool missed)
{
    struct cm_sample *s = c->sample;
    struct cm_plat_thread *t = cm_plat_thread();
    uint32_t place = cm_sample_place(k->incarnation, k->block), key = (uint32_t)k->place.hash;
    const bool little = again && !missed; /* it says so little that it may be left out */
    if (little && t->left_out > 0) {
        t->left_out--;
        return;
    }
    if (!cm_lock_try(&s->lock)) {
        t->left_out = little ? LEFT_OUT : t->left_out;
        (void)at_add_relaxed(&c->sample_skipped, little ? 1u + LEFT_OUT : 1u);
        return;
    }
    cm_curve_read(&s->curve, key, place, again, missed);
    for (unsigned i = 0; i < CM_CURVE_SIZES && s->automatic; i++) {
        if (!cm_choice_read(&s->choice[i], key, place, again))
            continue;
        const struct cm_rule *rule = cm_choice_rule(&s->choice[i]);
        cm_curve_set_rule(&s->curve, i, cm_media_slots(&c->media), rule);
        if (i == CM_CURVE_OWN)
            cm_policy_set_rule(&c->policy, rule);
    }
    if (++s->since >= s->every) {
        s->every = 2 * s->every < REPORT_EVERY ? 2 * s->every : REPORT_EVERY;
        report(c);
    }
    cm_lock_release(&s->lock);
}

void cm_sample_drop(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_sample *s = c->sample;
    uint32_t place = cm_sample_place(k->incarnation, k->block), key = (uint32_t)k->place.hash;
    if (!cm_lock_try(&s->lock))
        return; /* it stays in the minis as a block that is read no more */
    cm_curve_drop(&s->curve, key, place);
    for (unsigned i = 0; i < CM_CURVE_SIZES && s->automatic; i++)
        cm_choice_drop(&s->choice[i], key, place);
    cm_lock_release(&s->lock);
}
