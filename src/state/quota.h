/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quota.h - groups of files whose blocks may take so many slots (cm_group_set_quota).
 */
#ifndef CM_QUOTA_H
#define CM_QUOTA_H

#include "state/object.h"

/* Has any group a quota? */
static inline bool cm_quota_any(const struct cm_cache *c)
{
    return cm_share_any(&c->policy.ring.shares);
}
static inline struct cm_share *cm_quota_of(struct cm_cache *c, uint32_t share)
{
    assert(share > 0 && share <= CM_SHARES);
    return &c->policy.ring.shares.share[share - 1];
}
/* The number of a group's share (share.h); 0: it has no quota. */
uint32_t cm_quota_share(const struct cm_cache *c, uint32_t group);

/* Gives a group a quota, in slots. A group that has none gets one only while no file is attached:
 * CM_EBUSY. CM_ERANGE: there are CM_SHARES. CM_ENOMEM. No lock is held. */
int cm_quota_set(struct cm_cache *c, uint32_t group, uint64_t most);
void cm_quota_free(struct cm_cache *c);

/* Ensures that there is memory for more files. No lock is held. Without it their blocks are counted
 * when they are stored, and not by a survey. */
int cm_quota_room(struct cm_cache *c);
/* A file of the share gets another incarnation. 0: none, or the file leaves the share. */
void cm_quota_move(struct cm_cache *c, uint64_t was, uint64_t now, uint32_t share);
/* Blocks that are stored already have another share now: they are looked for. */
void cm_quota_again(struct cm_cache *c);
/* The share of a block's file. `incarnation`: as in a header. */
uint32_t cm_quota_of_block(struct cm_cache *c, uint64_t incarnation);

/* Looks at some more of what earlier sessions left. Returns whether all of it is counted. No lock
 * is held. */
bool cm_quota_learn(struct cm_cache *c);
/* The same until the first survey is complete, and then nothing. Waits for others that look. */
bool cm_quota_survey(struct cm_cache *c);
/* So many calls are enough for all of it, unless others make more passes necessary meanwhile. */
uint64_t cm_quota_parts(const struct cm_cache *c);
/* Looks at all of it. No lock is held. */
void cm_quota_complete(struct cm_cache *c);

#endif
