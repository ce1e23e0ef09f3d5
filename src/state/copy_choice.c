/* SPDX-License-Identifier: BSD-2-Clause
 *
 * copy_choice.c - which copy routine hits use, by measurement.
 *
 * Owns: c->copy, and the value of c->media.take. CPUs differ in what copies a block fastest out of
 * memory that is not in their caches, and no table knows those to come. So some hits, one in
 * CM_COPY_EVERY or fewer, also measure: each candidate copies blocks that were hit before, chosen
 * at random, as a hit does it (first lines prefetched). After TURNS such turns the fastest is
 * bound. A turn ends before LONGEST_NS: no call takes longer for it. All turns together take about
 * half a millisecond.
 *
 * What is copied is thrown away, so it does not matter whether a block changes meanwhile.
 *
 * Who: api/.
 */
#include "state/copy_choice.h"

#define BLOCKS 3u           /* that each candidate copies in a turn */
#define TURNS 64u           /* that a choice is based on */
#define TRIES 2048u         /* after so many the start value stays */
#define PICKS 16u           /* random slots that are looked at for each block */
#define LONGEST_NS 15000u   /* of one turn; then it counts for nothing */
#define BETTER_PER_CENT 97u /* a candidate must be so much faster than the start value */

uint64_t cm_copy_choice_bytes(void)
{
    return sizeof(struct cm_copy_choice);
}

static bool is_new(const struct cm_copy_choice *o, cm_guard_take_fn take)
{
    for (unsigned i = 0; i < o->n; i++)
        if (o->candidate[i].take == take)
            return false;
    return true;
}

void cm_copy_choice_begin(struct cm_cache *c, bool measure)
{
    struct cm_copy_choice *o = c->copy;
    cm_guard_take_fn take;
    const char *name;
    at_store_relaxed(&c->media.take, cm_guard_take_choose());
    if (!o)
        return; /* read-only: it has no memory of its own */
    for (size_t i = 0; (take = cm_guard_take_variant(i, &name)) && o->n < CM_COPY_CANDIDATES; i++)
        if (is_new(o, take)) {
            o->candidate[o->n].name = name;
            o->candidate[o->n++].take = take;
        }
    o->random = cm_plat_now_ns() | 1;
    o->over = !measure || !at_load_relaxed(&c->media.take) || o->n < 2;
}

static uint64_t next_random(struct cm_copy_choice *o)
{
    o->random ^= o->random << 13; /* xorshift64: Marsaglia 2003 */
    o->random ^= o->random >> 7;
    return o->random ^= o->random << 17;
}

/* A slot at random that was hit in this session and lies in memory. false: none was found. */
static bool pick(struct cm_cache *c, uint64_t *slot)
{
    const struct cm_media *m = &c->media;
    for (unsigned i = 0; i < PICKS; i++) {
        *slot = next_random(c->copy) % cm_media_slots(m);
        if (cm_ring_is_verified(&c->policy.ring, *slot) &&
            (c->directly || (cm_plat_is_resident(cm_slot_at(m, *slot), sizeof(struct cm_header)) &&
                             cm_plat_is_resident(cm_slot_payload(m, *slot), CM_BLOCK_SIZE))))
            return true;
    }
    return false;
}

/* Copies n blocks, as hits do. Returns the nanoseconds. */
static uint64_t copy_blocks(struct cm_cache *c, cm_guard_take_fn take, const uint64_t *slot)
{
    const struct cm_media *m = &c->media;
    uint8_t block[CM_BLOCK_SIZE] __attribute__((aligned(CM_CACHE_LINE)));
    const uint64_t began = cm_plat_now_ns();
    for (unsigned i = 0; i < BLOCKS; i++) {
        const struct cm_spot at = cm_spot_of(m, slot[i]);
        cm_slot_prefetch_payload(&at, 0, CM_BLOCK_SIZE, CM_PREFETCH_LINES);
        (void)take(&at.header->w0, at.payload, block, CM_BLOCK_SIZE, 0, 0);
    }
    return cm_plat_now_ns() - began;
}

/* One turn of all candidates. false: it does not count. */
static bool turn(struct cm_cache *c)
{
    struct cm_copy_choice *o = c->copy;
    const uint64_t end = cm_plat_now_ns() + LONGEST_NS;
    uint64_t ns[CM_COPY_CANDIDATES], slot[BLOCKS];
    for (unsigned k = 0; k < o->n; k++) {
        const unsigned i = (k + o->turns) % o->n; /* each comes first as often as the others */
        for (unsigned b = 0; b < BLOCKS; b++)
            if (!pick(c, &slot[b]))
                return false;
        ns[i] = copy_blocks(c, o->candidate[i].take, slot);
        if (cm_plat_now_ns() > end)
            return false;
    }
    for (unsigned i = 0; i < o->n; i++)
        o->candidate[i].ns += ns[i];
    return true;
}

static void choose(struct cm_cache *c)
{
    struct cm_copy_choice *o = c->copy;
    unsigned best = 0;
    for (unsigned i = 1; i < o->n; i++)
        if (o->candidate[i].ns < o->candidate[best].ns &&
            o->candidate[i].ns < o->candidate[0].ns / 100 * BETTER_PER_CENT)
            best = i;
    at_store_relaxed(&o->chosen, best);
    /* Relaxed: every routine is right at any time. */
    at_store_relaxed(&c->media.take, o->candidate[best].take);
}

void cm_copy_choice_measure(struct cm_cache *c)
{
    struct cm_copy_choice *o = c->copy;
    uint32_t free = 0;
    if (!at_cas_acq_rel(&o->busy, &free, 1u)) /* acquire and release: what the last owner left */
        return;
    if (!at_load_relaxed(&o->over)) {
        o->turns += turn(c);
        if (o->turns == TURNS)
            choose(c);
        if (o->turns == TURNS || ++o->tries == TRIES)
            at_store_release(&o->over, 1u); /* the names and times are whole: cm_copy_choice_name */
    }
    at_store_release(&o->busy, 0u);
}

const char *cm_copy_choice_name(const struct cm_cache *c, bool *measured)
{
    const struct cm_copy_choice *o = c->copy;
    *measured = false;
    if (!at_load_relaxed(&c->media.take))
        return "";
    if (!o || o->n == 0)
        return "";
    *measured = at_load_acquire(&o->over) && o->turns == TURNS;
    return o->candidate[at_load_relaxed(&o->chosen)].name;
}
