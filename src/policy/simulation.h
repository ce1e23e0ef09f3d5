/* SPDX-License-Identifier: BSD-2-Clause
 *
 * simulation.h - the policy simulated on a sample of the blocks, in fixed memory.
 *
 * The comments call it a mini, for miniature simulation (Waldspurger et al., "Cache Modeling
 * and Optimization using Miniature Simulations", ATC'17).
 */
#ifndef CM_SIMULATION_H
#define CM_SIMULATION_H

#include "policy/ghost.h"
#include "policy/rule.h"

#define CM_SIM_SLOTS 512u /* at most */
/* Sizes of the parts of a mini with `slots` slots. Its buffer, like the pool's, may have as many
 * entries as there are slots. */
#define CM_SIM_HEADS(slots) (2 * (slots))
#define CM_SIM_LINE(slots) ((slots) / 2 + (slots) / 8 + 16) /* like cm_ring_line */
#define CM_SIM_CELLS(slots) (((slots)*5 / 4 / 8 + 1) * 8)   /* like cm_ghost_bytes */
/* Words of memory for a mini of up to `slots` slots and up to `buffer` entries of a buffer. */
#define CM_SIM_WORDS(slots, buffer)                                                                \
    (CM_SIM_CELLS(slots) + (slots) + (buffer) +                                                    \
     ((slots) + (buffer) + CM_SIM_HEADS(slots) + CM_SIM_LINE(slots) + 1) / 2 +                     \
     (CM_SIM_LINE(slots) + 2 * (slots) + (buffer) + 3) / 4)

/* How blocks earn a place, like in struct cm_ring. */
struct cm_sim_rule {
    uint32_t probation; /* at so many slots on probation, victims come from those */
    uint8_t earn;       /* hits on probation that earn a place */
    /* When all slots have been used, a block gets one only if the ghost remembers it or, where
     * there is a buffer, if it earned one there. */
    bool remembered;
};

struct cm_sim {
    uint32_t slots;
    uint32_t buffer;         /* entries where first-time blocks wait; numbered behind the slots */
    struct cm_sim_rule rule; /* may be changed at any time */
    uint64_t fills;
    uint16_t hand, frontier, free; /* free: the first of a chain of dropped slots */
    uint16_t line_first, line_count, on_probation;
    uint16_t line_max;
    uint16_t oldest; /* entry of the buffer; the entries are used in turn */
    struct cm_ghost ghost;
    uint32_t *key; /* of each slot and entry */
    /* The next with the same head; of a dropped slot: the next dropped one. */
    uint16_t *next;
    uint16_t *head;            /* by key */
    uint16_t *line;            /* slots on probation in order of arrival; a ring */
    uint8_t *line_life, *life; /* of each entry and slot; if they differ, the entry is stale */
    uint8_t *flag;             /* of each slot and entry */
};

/* `m` and `memory` are zeroed. 1 to CM_SIM_SLOTS slots, and at most as many entries of the buffer.
 * `memory` has CM_SIM_WORDS of both. */
void cm_sim_begin(struct cm_sim *m, uint32_t *memory, uint32_t slots, uint32_t buffer,
                  const struct cm_sim_rule *rule);
/* A block is read; its key is a hash. `again`: the block is among the last few that its reader
 * touched, so this read says nothing about reuse. True: a hit. */
bool cm_sim_read(struct cm_sim *m, uint32_t key, bool again);
/* The block is forgotten. */
void cm_sim_drop(struct cm_sim *m, uint32_t key);

/* ---- The sample ------------------------------------------------------------------------------ */

/* A block has a place on a circle of 2^32 points. A sample is an arc of the circle. From one block
 * of a file to the next the place moves by the golden section of the circle. So any run of blocks,
 * at any stride, has about the sample's share of its blocks in the sample. Blocks of a run have
 * much in common. A plain hash would take more of one run and fewer of another (twice the error,
 * measured). */
#define CM_SAMPLE_STEP UINT32_C(2654435769)
static inline uint32_t cm_sample_place(uint64_t incarnation, uint64_t block)
{
    uint32_t file = (uint32_t)(incarnation * UINT64_C(0xd1342543de82ef95) >> 32);
    return file + (uint32_t)block * CM_SAMPLE_STEP;
}
/* Blocks with places below the result are in the sample. The sample is to all blocks as `entries`
 * is to `slots`. */
static inline uint64_t cm_sim_below(uint32_t entries, uint64_t slots)
{
    return entries >= slots ? UINT64_C(1) << 32 : ((uint64_t)entries << 32) / slots;
}
/* The sample's share of n slots, at least one. In floating point: the product does not fit. */
static inline uint32_t cm_sim_share(uint64_t n, uint64_t below)
{
    double share = (double)n * (double)below / 4294967296.0 + 0.5;
    return n > 0 && share < 1 ? 1 : (uint32_t)share;
}

#endif
