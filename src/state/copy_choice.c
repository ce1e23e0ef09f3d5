/* SPDX-License-Identifier: BSD-2-Clause
 *
 * copy_choice.c - how hits copy a block, by measurement.
 *
 * Owns: c->copy, and the values of c->media.take and c->media.lines. CPUs differ in what copies a
 * block fastest out of memory that is not in their caches, and in how many of its lines should be
 * prefetched before. No table knows the CPUs to come. So some hits, one in 64 or fewer, also
 * measure. A turn of a candidate copies a few blocks that were hit before, chosen at random, with
 * the accesses of a hit. In a round each candidate has a turn. After some rounds those drop out
 * that are much slower than the best one; after ROUNDS the fastest is bound.
 *
 * A turn takes 2 us of copies, and two system calls for each block if the pool lies on the page
 * cache. All turns together take 1 to 2 ms.
 *
 * What is copied is thrown away, so it does not matter whether a block changes meanwhile.
 *
 * Who: api/.
 */
#include "state/copy_choice.h"

#define BLOCKS 2u           /* of a turn */
#define ROUNDS 64u          /* that a choice is based on */
#define DROP_EVERY 8u       /* rounds */
#define DROP_PER_CENT 105u  /* of the fastest one's time: slower ones are out */
#define TRIES 2048u         /* after so many turns the start value stays */
#define PICKS 16u           /* random slots that are looked at for each block */
#define LONGEST_NS 15000u   /* of a turn's copies; else it counts for nothing */
#define BETTER_PER_CENT 97u /* a candidate must be so much faster than the start value */

static const uint32_t lines_of[] = { CM_LINES_FEW, CM_LINES_SOME, CM_PREFETCH_LINES };
#define LINES (sizeof(lines_of) / sizeof(lines_of[0]))

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

/* A candidate for each number of lines, `first` of them in front. */
static void add_candidates(struct cm_copy_choice *o, const char *name, cm_guard_take_fn take,
                           uint32_t first)
{
    for (unsigned i = 0; i <= LINES && o->n < CM_COPY_CANDIDATES; i++) {
        const uint32_t lines = i == 0 ? first : lines_of[i - 1];
        if (i == 0 || lines != first)
            o->candidate[o->n++] =
                (struct cm_copy_candidate){ .name = name, .take = take, .lines = lines };
    }
}

void cm_copy_choice_begin(struct cm_cache *c, bool measure)
{
    struct cm_copy_choice *o = c->copy;
    cm_guard_take_fn take = cm_guard_take_choose();
    const char *name;
    /* Single steps wait for the header before they copy, so the lines are requested before. */
    at_store_relaxed(&c->media.lines,
                     take && !cm_guard_take_waits(take) ? CM_LINES_FEW : CM_PREFETCH_LINES);
    at_store_relaxed(&c->media.take, take);
    if (!o)
        return; /* read-only: it has no memory of its own */
    for (size_t i = 0; (take = cm_guard_take_variant(i, &name)); i++)
        if (is_new(o, take))
            add_candidates(o, name, take,
                           cm_guard_take_waits(take) ? CM_PREFETCH_LINES : CM_LINES_FEW);
    o->random = cm_plat_now_ns() | 1;
    /* Hits of a sealed pool test the tag, and use no such routine. */
    o->over = !measure || c->media.seal || !at_load_relaxed(&c->media.take) || o->n < 2;
}

static uint64_t next_random(struct cm_copy_choice *o)
{
    o->random ^= o->random << 13; /* xorshift64: Marsaglia 2003 */
    o->random ^= o->random >> 7;
    return o->random ^= o->random << 17;
}

#define APART 32u /* headers; a power of two */

/* A slot whose header is on another line than that of `slot`, and APART headers away from it; or
 * the slot itself, if there is none in its part of the pool. */
static uint64_t neighbour(const struct cm_media *m, uint64_t slot)
{
    const uint64_t low = slot & ~(uint64_t)APART, high = slot | APART;
    if (high >= cm_media_slots(m) || cm_slot_at(m, high) != cm_slot_at(m, low) + APART)
        return slot;
    return slot ^ APART;
}

/* Is all in memory that copy_blocks() reads of a slot? This touches none of it. */
static bool is_resident(const struct cm_media *m, uint64_t slot)
{
    const uint64_t other = neighbour(m, slot), low = other < slot ? other : slot;
    const size_t headers = other == slot ? 1 : APART + 1;
    return cm_media_is_resident(m, cm_slot_payload(m, slot), CM_BLOCK_SIZE) &&
           cm_media_is_resident(m, cm_slot_at(m, low), headers * sizeof(struct cm_header));
}

/* A slot at random that was hit in this session and lies in memory. false: none was found. */
static bool pick(struct cm_cache *c, uint64_t *slot)
{
    const struct cm_media *m = &c->media;
    for (unsigned i = 0; i < PICKS; i++) {
        *slot = next_random(c->copy) % cm_media_slots(m);
        if (cm_ring_is_verified(&c->policy.ring, *slot) && (c->directly || is_resident(m, *slot)))
            return true;
    }
    return false;
}

/* Copies n blocks with the accesses of a hit: a line, then what its content leads to. Here the line
 * is another slot's header, as a block's index line may not be in memory. Returns the
 * nanoseconds. */
static uint64_t copy_blocks(const struct cm_media *m, const struct cm_copy_candidate *k,
                            const uint64_t *slot, unsigned n)
{
    uint8_t block[CM_BLOCK_SIZE] __attribute__((aligned(CM_CACHE_LINE)));
    const uint64_t began = cm_plat_now_ns();
    for (unsigned i = 0; i < n; i++) {
        uint64_t line = 0;
        (void)cm_guard_load64(&cm_slot_at(m, neighbour(m, slot[i]))->w0, &line);
        /* It is the slot itself, but known only when the line has been loaded. */
        const uint64_t other = line == UINT64_MAX;
        const struct cm_spot at = cm_spot_of(m, slot[i] & ~other);
        cm_slot_prefetch_first(&at, 0);
        cm_slot_prefetch_chosen(&at, 0, CM_BLOCK_SIZE, k->lines);
        (void)k->take(&at.header->w0, at.payload, block, CM_BLOCK_SIZE, 0, 0);
    }
    return cm_plat_now_ns() - began;
}

/* A turn of a candidate. false: it does not count. */
static bool turn(struct cm_cache *c, struct cm_copy_candidate *k)
{
    uint64_t slot[BLOCKS], ns;
    for (unsigned b = 0; b < BLOCKS; b++)
        if (!pick(c, &slot[b]))
            return false;
    ns = copy_blocks(&c->media, k, slot, BLOCKS);
    if (ns > LONGEST_NS)
        return false;
    k->ns += ns;
    return true;
}

static unsigned fastest(const struct cm_copy_choice *o)
{
    unsigned best = 0;
    for (unsigned i = 1; i < o->n; i++)
        if (!o->candidate[i].out && o->candidate[i].ns < o->candidate[best].ns)
            best = i;
    return best;
}

/* The start value stays in: others are compared with it. */
static void drop_slow(struct cm_copy_choice *o)
{
    const uint64_t best = o->candidate[fastest(o)].ns;
    for (unsigned i = 1; i < o->n; i++)
        if (o->candidate[i].ns / DROP_PER_CENT > best / 100)
            o->candidate[i].out = true;
}

static void choose(struct cm_cache *c)
{
    struct cm_copy_choice *o = c->copy;
    unsigned best = fastest(o);
    if (o->candidate[best].ns >= o->candidate[0].ns / 100 * BETTER_PER_CENT)
        best = 0;
    at_store_relaxed(&o->chosen, best);
    /* Relaxed: every routine is right at any time, with any number of lines. */
    at_store_relaxed(&c->media.lines, o->candidate[best].lines);
    at_store_relaxed(&c->media.take, o->candidate[best].take);
}

/* It is the turn of the next candidate that is still in. After the last one a round is over. */
static void go_on(struct cm_copy_choice *o)
{
    do
        o->next++;
    while (o->next < o->n && o->candidate[o->next].out);
    if (o->next < o->n)
        return;
    o->next = 0;
    o->rounds++;
    if (o->rounds % DROP_EVERY == 0)
        drop_slow(o);
}

void cm_copy_choice_measure(struct cm_cache *c)
{
    struct cm_copy_choice *o = c->copy;
    uint32_t free = 0;
    if (!at_cas_acq_rel(&o->busy, &free, 1u)) /* acquire and release: what the last owner left */
        return;
    if (!at_load_relaxed(&o->over)) {
        if (turn(c, &o->candidate[o->next]))
            go_on(o);
        if (o->rounds == ROUNDS)
            choose(c);
        if (o->rounds == ROUNDS || ++o->tries == TRIES)
            at_store_release(&o->over, 1u); /* the names and times are whole: cm_copy_choice_name */
    }
    at_store_release(&o->busy, 0u);
}

const char *cm_copy_choice_name(const struct cm_cache *c, uint32_t *lines, bool *measured)
{
    const struct cm_copy_choice *o = c->copy;
    *measured = false;
    *lines = 0;
    if (!at_load_relaxed(&c->media.take))
        return "";
    if (!o || o->n == 0)
        return "";
    *measured = at_load_acquire(&o->over) && o->rounds == ROUNDS;
    const struct cm_copy_candidate *k = &o->candidate[at_load_relaxed(&o->chosen)];
    *lines = k->lines;
    return k->name;
}
