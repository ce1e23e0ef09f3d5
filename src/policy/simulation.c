/* SPDX-License-Identifier: BSD-2-Clause
 *
 * simulation.c - the policy simulated on a sample of the blocks, in fixed memory.
 *
 * Owns: a ring of a few hundred slots with keys and no data, and all that the policy has beside it:
 * the line of slots on probation, the ghost, the buffer where first-time blocks wait. ring.c and
 * fill_buffered.c use threads and batches. This file does the same with one block at a time: a miss
 * fills at once. Every operation is bounded. The caller holds a lock.
 *
 * Who: policy/.
 */
#include "policy/simulation.h"

#include <assert.h>
#include <string.h>

#define NONE 0xffffu
#define COUNT_MAX 3u
#define COUNT 3u     /* bits of a flag */
#define PROBATION 4u /* the slot is in the line */
#define KNOWN 8u     /* it was not: the ghost shall not remember the block */
#define WAITING 16u  /* an entry of the buffer that holds a block */
#define STEPS 64u    /* most steps of the hand for one victim */
#define POPS 4u      /* most entries that leave the line for one victim */

void cm_sim_begin(struct cm_sim *m, uint32_t *memory, uint32_t slots, uint32_t buffer,
                  const struct cm_sim_rule *rule)
{
    assert(slots > 0 && slots <= CM_SIM_SLOTS && buffer <= slots);
    assert(cm_ghost_bytes(slots) == CM_SIM_CELLS(slots) * sizeof(*memory));
    m->slots = slots;
    m->buffer = buffer;
    m->rule = *rule;
    m->free = NONE;
    m->line_max = (uint16_t)CM_SIM_LINE(slots);
    cm_ghost_begin(&m->ghost, slots, memory);
    m->key = memory + CM_SIM_CELLS(slots);
    m->next = (uint16_t *)(void *)(m->key + slots + buffer);
    m->head = m->next + slots + buffer;
    m->line = m->head + CM_SIM_HEADS(slots);
    m->line_life = (uint8_t *)(void *)(m->line + m->line_max);
    m->life = m->line_life + m->line_max;
    m->flag = m->life + slots;
    memset(m->head, 0xff, CM_SIM_HEADS(slots) * sizeof(*m->head));
}

/* ---- Where a key is -------------------------------------------------------------------------- */

static uint16_t *head_of(struct cm_sim *m, uint32_t key)
{
    return &m->head[key % CM_SIM_HEADS(m->slots)];
}

/* For the ghost. It uses other bits of the hash than this file. */
static uint64_t hash_of(uint32_t key)
{
    return key * UINT64_C(0x9e3779b97f4a7c15);
}

/* The slot, or entry of the buffer, that has the key, or NONE. */
static uint16_t find(struct cm_sim *m, uint32_t key)
{
    uint16_t place = *head_of(m, key);
    while (place != NONE && m->key[place] != key)
        place = m->next[place];
    return place;
}

static void enter(struct cm_sim *m, uint16_t place, uint32_t key, uint8_t flag)
{
    uint16_t *head = head_of(m, key);
    m->key[place] = key;
    m->flag[place] = flag;
    m->next[place] = *head;
    *head = place;
}

static void leave(struct cm_sim *m, uint16_t place)
{
    uint16_t *at = head_of(m, m->key[place]);
    while (*at != place)
        at = &m->next[*at];
    *at = m->next[place];
    m->flag[place] = 0;
}

/* ---- Probation ------------------------------------------------------------------------------- */

static void end_probation(struct cm_sim *m, uint16_t slot)
{
    m->flag[slot] = 0;
    m->on_probation--;
}

/* Ends the probation of the slot that has been on it longest. Returns the slot, or NONE if its
 * entry is stale. *earned: it has earned its place. */
static uint16_t pop(struct cm_sim *m, bool *earned)
{
    uint16_t at = m->line_first, slot = m->line[at];
    m->line_first = (uint16_t)(at + 1u == m->line_max ? 0 : at + 1u);
    m->line_count--;
    if (m->line_life[at] != m->life[slot] || !(m->flag[slot] & PROBATION))
        return NONE;
    *earned = (m->flag[slot] & COUNT) >= m->rule.earn;
    end_probation(m, slot);
    return slot;
}

static void begin_probation(struct cm_sim *m, uint16_t slot)
{
    bool earned;
    /* A block is spared probation if the rule has none, or while the pool fills. */
    if (m->rule.probation == 0 || m->on_probation > m->rule.probation) {
        m->flag[slot] = KNOWN;
        return;
    }
    if (m->line_count == m->line_max)
        (void)pop(m, &earned); /* full of stale entries */
    uint16_t at = (uint16_t)((m->line_first + m->line_count++) % m->line_max);
    m->line[at] = slot;
    m->line_life[at] = m->life[slot];
    m->flag[slot] = PROBATION;
    m->on_probation++;
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static uint16_t by_line(struct cm_sim *m)
{
    bool earned;
    for (unsigned i = 0; i < POPS && m->line_count > 0 && m->on_probation >= m->rule.probation;
         i++) {
        uint16_t slot = pop(m, &earned);
        if (slot != NONE && !earned)
            return slot;
    }
    return NONE;
}

static uint16_t by_hand(struct cm_sim *m)
{
    uint16_t best = m->hand; /* if all are on probation, any slot will do */
    unsigned lowest = COUNT_MAX + 1;
    for (unsigned i = 0; i < STEPS; i++) {
        uint16_t slot = m->hand;
        unsigned count = m->flag[slot] & COUNT;
        m->hand = (uint16_t)(slot + 1u == m->slots ? 0 : slot + 1u);
        if (m->flag[slot] & PROBATION)
            continue;
        if (count == 0)
            return slot;
        if (count < lowest) {
            lowest = count;
            best = slot;
        }
        m->flag[slot]--;
    }
    if (m->flag[best] & PROBATION)
        end_probation(m, best);
    return best;
}

static uint16_t take_slot(struct cm_sim *m)
{
    uint16_t slot = m->free;
    if (slot != NONE) {
        m->free = m->next[slot];
        return slot;
    }
    if (m->frontier < m->slots)
        return m->frontier++;
    slot = by_line(m);
    if (slot == NONE)
        slot = by_hand(m);
    if (!(m->flag[slot] & KNOWN))
        cm_ghost_add(&m->ghost, hash_of(m->key[slot]));
    leave(m, slot);
    return slot;
}

static uint16_t fill(struct cm_sim *m, uint32_t key, uint8_t flag)
{
    uint16_t slot = take_slot(m);
    m->fills++;
    m->life[slot]++;
    enter(m, slot, key, flag);
    return slot;
}

/* ---- The buffer ------------------------------------------------------------------------------ */

/* The block in an entry leaves the buffer. It goes to the pool if it has earned that, if there is
 * room, or by the rule. Else it goes to the ghost. Like fill_buffered.c. */
static void let_go(struct cm_sim *m, uint16_t entry)
{
    uint32_t key = m->key[entry];
    bool earned = (m->flag[entry] & COUNT) >= m->rule.earn;
    leave(m, entry);
    if (earned || m->frontier < m->slots)
        (void)fill(m, key, earned ? 0 : KNOWN);
    else if (m->rule.remembered)
        cm_ghost_add(&m->ghost, hash_of(key));
    else
        begin_probation(m, fill(m, key, 0));
}

/* A first-time block waits in the next entry in turn. */
static void put_in_buffer(struct cm_sim *m, uint32_t key)
{
    uint16_t entry = (uint16_t)(m->slots + m->oldest);
    m->oldest = (uint16_t)(m->oldest + 1u == m->buffer ? 0 : m->oldest + 1u);
    if (m->flag[entry] & WAITING) /* else its block was dropped */
        let_go(m, entry);
    enter(m, entry, key, WAITING);
}

/* ---- Operations ------------------------------------------------------------------------------ */

bool cm_sim_read(struct cm_sim *m, uint32_t key, bool again)
{
    uint16_t place = find(m, key);
    if (place != NONE) {
        if (!again && (m->flag[place] & COUNT) < COUNT_MAX)
            m->flag[place]++;
        return true;
    }
    if (cm_ghost_take(&m->ghost, hash_of(key)))
        (void)fill(m, key, KNOWN);
    else if (m->buffer > 0)
        put_in_buffer(m, key);
    else if (m->rule.remembered && m->frontier == m->slots)
        cm_ghost_add(&m->ghost, hash_of(key));
    else
        begin_probation(m, fill(m, key, 0));
    return false;
}

void cm_sim_drop(struct cm_sim *m, uint32_t key)
{
    uint16_t slot = find(m, key);
    if (slot == NONE)
        return;
    if (m->flag[slot] & PROBATION)
        end_probation(m, slot);
    leave(m, slot);
    if (slot >= m->slots)
        return; /* the entry stays empty until its turn */
    m->next[slot] = m->free;
    m->free = slot;
}
