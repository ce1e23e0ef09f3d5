/* SPDX-License-Identifier: BSD-2-Clause
 *
 * incarnations.h - a table that leads from an incarnation to a number.
 */
#ifndef CM_INCARNATIONS_H
#define CM_INCARNATIONS_H

#include "state/cache_state.h"

/* The lock is held for these three. */
/* NULL: it is not there. */
struct cm_incarnation *cm_incarnations_find(const struct cm_incarnations *t, uint64_t incarnation);
/* Enters one that is not there, with the value 0. NULL: there is no room. */
struct cm_incarnation *cm_incarnations_add(struct cm_incarnations *t, uint64_t incarnation);
void cm_incarnations_drop(struct cm_incarnations *t, struct cm_incarnation *at);

/* Ensures that there is memory for `more` incarnations. No lock but quotas.looking may be held.
 * CM_ENOMEM. */
int cm_incarnations_room(struct cm_cache *c, struct cm_lock *lock, struct cm_incarnations *t,
                         uint64_t more);
void cm_incarnations_free(struct cm_cache *c, struct cm_incarnations *t);

#endif
