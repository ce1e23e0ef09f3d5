/* SPDX-License-Identifier: BSD-2-Clause
 *
 * evict.h - slots to fill.
 */
#ifndef CM_EVICT_H
#define CM_EVICT_H

#include "protocol/survey.h"

#define CM_BATCH_MAX 16u /* victims and fills that share a fence */

/* How many blocks are filled together, in a pool of this size. */
static inline unsigned cm_evict_batch(const struct cm_cache *c)
{
    uint64_t b = cm_media_slots(&c->media) / 32; /* batch plus free stack stay below slots/16 */
    return b > CM_BATCH_MAX ? CM_BATCH_MAX : (unsigned)b;
}
/* At open: where the slots begin that were never used. If a session was killed since the pool was
 * made, that is ahead of those that were used. What was left empty is filled first. */
void cm_evict_begin(struct cm_cache *c, uint64_t frontier);
/* Notes in the superblock that slots below `end`, and some more, may be in use. No lock is held. */
void cm_evict_cover(struct cm_cache *c, uint64_t end);
/* Gets up to n owned slots to fill: from the free stack, then by eviction, of blocks that nothing
 * leads to first. An eviction also puts some slots on the free stack for later. Returns the number
 * of slots. */
unsigned cm_evict_slots(struct cm_cache *c, uint64_t *slot, unsigned n);
/* The same from blocks of one share (quota.h), by eviction only. Blocks of the share that nothing
 * leads to go first, also if there are slots that were never used. Slots that count as never used
 * (the pool has emptied itself) are removed from the share's count, and are not returned. */
unsigned cm_evict_share(struct cm_cache *c, uint32_t share, uint64_t *slot, unsigned n);
/* Frees up to n slots whose blocks nothing leads to any more, because their incarnation has ended
 * (ended.h). Returns how many. They are on the free stack, so what is stored next gets them and
 * takes no other block's place. */
unsigned cm_evict_ended(struct cm_cache *c, unsigned n);
/* The same of blocks of one share, also if there are slots that were never used. Frees as many as
 * one search finds, and returns whether there were any. Slots that count as never used are among
 * them, but do not go to the free stack. */
bool cm_evict_ended_share(struct cm_cache *c, uint32_t share);
/* Is there room for up to n blocks, for which no other block has to leave? Returns for how many.
 * Slots that are empty count, also those that a killed session has left so, but not those that were
 * never used. If there are not enough of them, cm_evict_ended() frees some. What is stored next
 * gets them. */
unsigned cm_evict_room(struct cm_cache *c, unsigned n);
/* Evicts up to cm_evict_batch() blocks from their slots, with one fence, and frees the slots. A
 * block that is not there any more, or that comes or goes just now, is left out. Returns the bytes
 * that were cached of the blocks that it evicted; of none it counts more than its .valid. */
uint64_t cm_evict_blocks(struct cm_cache *c, const struct cm_surveyed *b, unsigned n);

#endif
