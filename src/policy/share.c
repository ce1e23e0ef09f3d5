/* SPDX-License-Identifier: BSD-2-Clause
 *
 * share.c - slots that are counted together and may be so many at most.
 *
 * Owns: for each share a bit for each slot, and the number of bits that are set. The bit stands for
 * the block in the slot, so it is the truth of the count: who sets or clears it changes the count
 * by one. Who fills a slot sets it before the block can be found. Who empties a slot clears it
 * before the slot can be filled again. A bit that is wrong all the same (a bracket makes a block
 * invalid while a survey looks at it) is right again when its slot is used next.
 *
 * A small share of a large pool has few bits in many words. So above the bits are levels that say
 * which words are worth a look (cm_share_next). Who makes a word other than zero sets its bit in
 * the level above. Who makes it zero clears that bit, and looks at the word again: another thread
 * may have set a bit in it meanwhile, which found the bit above still set. So a word that is not
 * zero has its bit above, but for the moment until such a thread has looked. The bit of a word that
 * is zero may stay set, if two threads meet; that costs a step of a search.
 *
 * Who: api/, protocol/, state/, policy/.
 */
#include "policy/share.h"

#include <assert.h>

/* Words of a level with so many bits. One more than they need: it is always zero, and a search that
 * goes beyond the last bit ends there. */
static uint64_t words_of(uint64_t bits)
{
    return (bits + 63) / 64 + 1;
}

size_t cm_share_bytes(uint64_t slots)
{
    uint64_t words = 0;
    do {
        words += words_of(slots);
        slots = (slots + 63) / 64;
    } while (slots > 1);
    return sizeof(struct cm_share_bits) + (size_t)words * sizeof(uint64_t);
}

uint32_t cm_share_begin(struct cm_shares *s, struct cm_share_bits *bits, uint64_t slots)
{
    const uint32_t n = at_load_relaxed(&s->count);
    uint64_t *words = (uint64_t *)(bits + 1);
    assert(n < CM_SHARES);
    do {
        assert(bits->levels < CM_SHARE_LEVELS);
        bits->level[bits->levels++] = words;
        words += words_of(slots);
        slots = (slots + 63) / 64;
    } while (slots > 1);
    s->share[n] = (struct cm_share){ .bits = bits, .most = CM_SHARE_ALL };
    at_store_release(&s->count, n + 1); /* pairs with the acquire in cm_share_any() */
    return n + 1;
}

/* A word of a level was zero, and is not. So say the levels above. */
static void set_above(const struct cm_share_bits *b, unsigned level, uint64_t word)
{
    uint64_t was = 0;
    for (level++; was == 0 && level < b->levels; level++, word /= 64)
        /* Release: pairs with the acquire in clear_above(). Who clears this bit sees the word. */
        was = at_or_acq_rel(&b->level[level][word / 64], UINT64_C(1) << word % 64);
}

/* A word of a level is zero. */
static void clear_above(const struct cm_share_bits *b, unsigned level, uint64_t word)
{
    for (uint64_t left = 0; left == 0 && level + 1 < b->levels; level++, word /= 64) {
        const uint64_t bit = UINT64_C(1) << word % 64;
        /* Acquire: pairs with the release in set_above(). If another thread has made the word other
         * than zero, and set this bit before it was cleared, the word is seen here. */
        left = at_and_acq_rel(&b->level[level + 1][word / 64], ~bit) & ~bit;
        if (at_load_relaxed(&b->level[level][word]) != 0) {
            set_above(b, level, word);
            return;
        }
    }
}

uint64_t cm_share_next(const struct cm_share *h, uint64_t slot)
{
    const struct cm_share_bits *const b = h->bits;
    unsigned level = 0;
    for (uint64_t at = slot; level < b->levels;) {
        /* Relaxed: a hint, the caller looks at the slot. */
        const uint64_t bits = at_load_relaxed(&b->level[level][at / 64]) & ~UINT64_C(0) << at % 64;
        if (bits == 0) { /* on with the next word */
            at = at / 64 + 1;
            level++;
            continue;
        }
        at = at / 64 * 64 + at_lowest_bit64(bits);
        if (level == 0)
            return at;
        at *= 64; /* to the word that the bit stands for */
        level--;
    }
    return CM_NO_SLOT;
}

static void set(struct cm_share *h, uint64_t slot)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    /* The slot is owned, or its stripe is locked: that orders it. It was counted before. */
    const uint64_t was = at_or_relaxed(&h->bits->level[0][slot / 64], bit);
    if (was & bit)
        (void)at_add_relaxed(&h->used, UINT64_MAX); /* relaxed: a number only */
    if (was == 0)
        set_above(h->bits, 0, slot / 64);
}

bool cm_share_take(struct cm_share *h, uint64_t slot)
{
    uint64_t used = at_load_relaxed(&h->used);
    do
        if (used >= at_load_relaxed(&h->most))
            return false;
    while (!at_cas_acq_rel(&h->used, &used, used + 1)); /* first: threads share what is left */
    set(h, slot);
    return true;
}

static void leave(struct cm_share *h, uint64_t slot)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    /* Release: as for the owner of a slot, what it did comes before another may fill the slot. */
    const uint64_t was =
        cm_share_has(h, slot) ? at_and_release(&h->bits->level[0][slot / 64], ~bit) : 0;
    if (was & bit)
        (void)at_add_relaxed(&h->used, UINT64_MAX);
    if (was == bit)
        clear_above(h->bits, 0, slot / 64);
}

void cm_share_found(struct cm_shares *s, struct cm_share *h, uint64_t slot)
{
    for (uint32_t i = 0; i < at_load_relaxed(&s->count); i++)
        if (&s->share[i] != h)
            leave(&s->share[i], slot);
    if (!h || cm_share_has(h, slot))
        return;
    (void)at_add_relaxed(&h->used, 1);
    set(h, slot);
}

void cm_share_left(struct cm_shares *s, uint64_t slot)
{
    for (uint32_t i = 0; i < at_load_relaxed(&s->count); i++)
        leave(&s->share[i], slot);
}

uint32_t cm_share_over(const struct cm_shares *s, uint32_t after)
{
    const uint32_t n = at_load_acquire(&s->count); /* as in cm_share_any() */
    for (uint32_t i = after; i < n; i++)
        if (cm_share_excess(&s->share[i]) > 0)
            return i + 1;
    return 0;
}
