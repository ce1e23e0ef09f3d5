/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fill_choice.c - which copy routine fills use, by measurement.
 *
 * Owns: c->fill, and the value of c->media.fill. Where lines have to be written back for
 * durability, a non-temporal copy is the only candidate: it needs no write-back, and any other copy
 * first loads the lines that it overwrites. In a pool on the page cache or in memory nothing is
 * written back, and CPUs differ: some copy faster with a string move, which leaves the block in
 * their caches. There the first fills are the experiment. Each batch of blocks is copied by one
 * candidate, in turns, and timed up to the fence that follows. After TURNS turns of each candidate
 * the fastest is bound. No call takes longer for it, but for two looks at the clock.
 *
 * Every candidate is right at any time. So it does not matter which one another thread sees.
 *
 * Who: api/, protocol/.
 */
#include "state/fill_choice.h"

#define TURNS 64u         /* of each candidate, that a choice is based on */
#define TRIES 4096u       /* after so many the start value stays */
#define LONGEST_NS 20000u /* for a block; a turn that takes longer counts for nothing */
#define BETTER_PER_CENT                                                                            \
    90u /* of the start value's time. The others leave work for later: dirty                       \
           lines, which push others out of the CPU's caches */

void cm_fill_choice_begin(struct cm_cache *c, bool measure)
{
    struct cm_fill_choice *o = &c->fill;
    const struct cm_persist_ops *ops = c->media.ops;
    cm_persist_copy_fn copy;
    const char *name;
    o->over = 1;
    o->n = 1;
    o->candidate[0].name = ops->copy_name;
    o->candidate[0].copy = ops->copy;
    for (size_t i = 0; (copy = cm_persist_cached_copy(ops, i, &name)) && o->n < CM_FILL_CANDIDATES;
         i++) {
        o->candidate[o->n].name = name;
        o->candidate[o->n++].copy = copy;
    }
    if (measure && o->n > 1)
        o->over = 0;
}

/* Binds a candidate. */
static void use(struct cm_cache *c, unsigned i)
{
    assert(i < c->fill.n && i < CM_FILL_CANDIDATES);
    /* Relaxed: see above. */
    at_store_relaxed(&c->media.fill, i > 0 ? c->fill.candidate[i].copy : NULL);
}

uint64_t cm_fill_choice_turn(struct cm_cache *c)
{
    struct cm_fill_choice *o = &c->fill;
    uint32_t free = 0;
    if (!at_cas_acq_rel(&o->busy, &free, 1u)) /* acquire and release: what the last owner left */
        return 0;
    if (at_load_relaxed(&o->over)) {
        at_store_release(&o->busy, 0u);
        return 0;
    }
    use(c, o->turns % o->n);
    return cm_plat_now_ns();
}

static void choose(struct cm_cache *c)
{
    struct cm_fill_choice *o = &c->fill;
    unsigned best = 0;
    for (unsigned i = 1; i < o->n; i++)
        if (o->candidate[i].ns < o->candidate[best].ns &&
            o->candidate[i].ns < o->candidate[0].ns / 100 * BETTER_PER_CENT)
            best = i;
    at_store_relaxed(&o->chosen, best);
}

void cm_fill_choice_note(struct cm_cache *c, uint64_t began, unsigned blocks)
{
    struct cm_fill_choice *o = &c->fill;
    const uint64_t ns = blocks > 0 ? (cm_plat_now_ns() - began) / blocks : UINT64_MAX;
    assert(at_load_relaxed(&o->busy) == 1);
    if (ns <= LONGEST_NS)
        o->candidate[o->turns++ % o->n].ns += ns;
    o->tries++;
    if (o->turns == TURNS * o->n)
        choose(c);
    const bool over = o->turns == TURNS * o->n || o->tries == TRIES;
    use(c, at_load_relaxed(&o->chosen)); /* 0 until the choice is made */
    if (over)
        at_store_release(&o->over, 1u); /* what was measured is whole: cm_fill_choice_name */
    at_store_release(&o->busy, 0u);
}

const char *cm_fill_choice_name(const struct cm_cache *c, bool *measured)
{
    const struct cm_fill_choice *o = &c->fill;
    /* Acquire: pairs with the release in cm_fill_choice_note. */
    *measured = at_load_acquire(&o->over) && o->n > 1 && o->turns == TURNS * o->n;
    return o->candidate[at_load_relaxed(&o->chosen)].name;
}
