/* SPDX-License-Identifier: BSD-2-Clause
 *
 * forget.h - what a bracket does to the blocks it names.
 */
#ifndef CM_FORGET_H
#define CM_FORGET_H

#include "state/file.h"
#include "state/region.h"

/* Prefetches what forgetting a block reads first. `home`, here and below: of a group that was used
 * lately; it begins as zeros, and is the caller's. */
void cm_forget_prefetch(const struct cm_cache *c, uint64_t incarnation, uint64_t block,
                        struct cm_last_home *home);
/* Begins a bracket on the stripes of blocks [first, end) of f under `incarnation`: raises intents,
 * moves tickets, makes every cached copy invalid, durably. CM_EIO: some copy could not be reached
 * (the caller escalates); the intents are raised all the same. */
int cm_forget_begin(const struct cm_object *f, uint64_t incarnation, uint64_t first, uint64_t end,
                    struct cm_last_home *home);
/* Ends it. */
void cm_forget_end(struct cm_cache *c, uint64_t incarnation, uint64_t first, uint64_t end,
                   struct cm_last_home *home);

#endif
