/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ended.h - incarnations that ended in this session, and the search for the slots that their blocks
 * still take.
 */
#ifndef CM_ENDED_H
#define CM_ENDED_H

#include "state/cache_state.h"

/* How many headers the search looks at for each slot that is wanted. */
#define CM_ENDED_STEPS 8u
/* The same in a share. A share that is full gives blocks in use if none is found, however many
 * ended ones lie further on. So its search looks further. It goes round once with each end, so this
 * only says how soon. No fill looks at more headers than the survey of a group does (quota.c). */
#define CM_ENDED_SHARE_STEPS 64u

/* An incarnation has ended: nothing will lead to its blocks again. `bytes`: where they end at most;
 * CM_SIZE_UNKNOWN: anywhere. Any thread, with any lock. */
void cm_ended_note(struct cm_cache *c, uint64_t incarnation, uint64_t bytes);

/* The same as cm_ended_has(), where some have ended. */
bool cm_ended_remembers(const struct cm_cache *c, uint64_t incarnation);

/* Did the incarnation of a header end in this session, as far as it is remembered? Asked of each
 * block that leaves the probation buffer: mostly none has ended. Relaxed: one that ends just now is
 * seen by the next question. */
static inline bool cm_ended_has(const struct cm_cache *c, uint64_t incarnation)
{
    return at_load_relaxed(&c->ended.noted) > 0 && cm_ended_remembers(c, incarnation);
}

/* Is a search due, or does one go on? Asked by each fill. Relaxed: cm_ended_find() looks again. */
static inline bool cm_ended_is_due(const struct cm_cache *c)
{
    return (at_load_relaxed(&c->ended.again) || at_load_relaxed(&c->ended.left) > 0) &&
           cm_ring_unused(&c->policy.ring) == 0;
}

/* Finds up to n slots that hold blocks of ended incarnations, within CM_ENDED_STEPS headers for
 * each. They are not owned: look again. 0: there are none within reach; no search is due, because
 * there are slots that were never used, or no incarnation has ended; or another thread searches. No
 * lock is held. */
unsigned cm_ended_find(struct cm_cache *c, uint64_t *slot, unsigned n);
/* The same among the slots of a share, whether or not there are slots that were never used. It
 * looks at CM_ENDED_SHARE_STEPS headers for each, and begins with each incarnation, and each epoch,
 * that ends. Some may be empty by now. Any number of threads. */
unsigned cm_ended_find_share(struct cm_cache *c, struct cm_share *h, uint64_t *slot, unsigned n);

#endif
