/* SPDX-License-Identifier: BSD-2-Clause
 *
 * clock.c - CLOCK over slot numbers, with counts of one bit or of two.
 *
 * Owns: slots, their counts, one hand. A hit raises the count, the hand lowers it and takes the
 * first slot whose count is zero. Corbato 1968; counts of more than one bit: Smith 1978.
 *
 * Who: the simulator, through policy.h.
 */
#include <stdlib.h>

#include "policy.h"

struct clock {
    struct world world;
    uint32_t *block_of, *slot_of, *free, frees, hand;
    uint8_t *count, max;
};

static void destroy(void *policy)
{
    struct clock *p = policy;
    free(p->block_of);
    free(p->slot_of);
    free(p->free);
    free(p->count);
    free(p);
}

static void *create(const struct world *w, const void *setting)
{
    struct clock *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->world = *w;
    p->max = *(const uint8_t *)setting;
    p->block_of = malloc(w->slots * sizeof(*p->block_of));
    p->slot_of = malloc(w->blocks * sizeof(*p->slot_of));
    p->free = malloc(w->slots * sizeof(*p->free));
    p->count = calloc(w->slots, 1);
    if (!p->block_of || !p->slot_of || !p->free || !p->count) {
        destroy(p);
        return NULL;
    }
    for (uint32_t b = 0; b < w->blocks; b++)
        p->slot_of[b] = NONE;
    for (uint32_t s = 0; s < w->slots; s++) {
        p->block_of[s] = NONE;
        p->free[p->frees++] = w->slots - 1 - s; /* the first slot is taken first */
    }
    return p;
}

static uint32_t victim(struct clock *p)
{
    for (;;) {
        uint32_t slot = p->hand;
        p->hand = slot + 1 == p->world.slots ? 0 : slot + 1;
        if (p->count[slot] == 0) {
            p->slot_of[p->block_of[slot]] = NONE;
            return slot;
        }
        p->count[slot]--;
    }
}

static enum found read_block(void *policy, uint32_t block)
{
    struct clock *p = policy;
    uint32_t slot = p->slot_of[block];
    if (slot != NONE) {
        p->count[slot] = (uint8_t)(p->count[slot] + (p->count[slot] < p->max));
        return POOL_HIT;
    }
    p->world.tally->fills++;
    p->world.tally->first_fills +=
        p->frees > 0 && p->world.tally->first_fills == p->world.slots - p->frees;
    slot = p->frees > 0 ? p->free[--p->frees] : victim(p);
    p->block_of[slot] = block;
    p->slot_of[block] = slot;
    p->count[slot] = 0;
    return MISS;
}

static void drop(void *policy, uint32_t block)
{
    struct clock *p = policy;
    uint32_t slot = p->slot_of[block];
    if (slot == NONE)
        return;
    p->slot_of[block] = NONE;
    p->block_of[slot] = NONE;
    p->count[slot] = 0;
    p->free[p->frees++] = slot;
}

static const uint8_t one_bit = 1, two_bits = 3;
const struct policy policy_clock = {
    "clock", "CLOCK, one reference bit", create, read_block, drop, destroy, NULL, &one_bit
};
const struct policy policy_gclock = {
    "gclock", "CLOCK, counts of two bits", create, read_block, drop, destroy, NULL, &two_bits
};
