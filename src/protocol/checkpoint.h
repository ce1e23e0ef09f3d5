/* SPDX-License-Identifier: BSD-2-Clause
 *
 * checkpoint.h - makes a pool without DAX survive a crash of the system.
 */
#ifndef CM_CHECKPOINT_H
#define CM_CHECKPOINT_H

#include "state/cache_state.h"

/* A pool on this volume can be checkpointed. */
static inline bool cm_checkpoint_possible(const struct cm_cache *c)
{
    return c->super.sync && c->sync_lasts;
}
/* Corrects the recorded ends of files with a time to live (cm_file_note_end). */
void cm_checkpoint_note_ends(struct cm_cache *c);
/* As cm_checkpoint(), but without a word for the log. */
int cm_checkpoint_run(struct cm_cache *c);
/* The same at a close, when nobody else uses the cache: the caller syncs the pool in between, and
 * again afterwards, so that what was cleared is durable. */
void cm_checkpoint_begin(struct cm_cache *c);
void cm_checkpoint_end(struct cm_cache *c);

#endif
