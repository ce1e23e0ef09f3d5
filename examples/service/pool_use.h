/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_use.h - what every program that owns a pool does with it: the service, and a mount.
 */
#ifndef CACHEMAX_POOL_USE_H
#define CACHEMAX_POOL_USE_H

#include "cachemax.h"

#include <stdbool.h>

/* Is a line of the library for who calls cm_file_open(): how to take better validators? Who runs
 * such a program cannot do that. `level` and `text`: as in cm_log_fn. */
bool pool_use_is_hint(int level, const char *text);

/* Does a checkpoint of a pool sync its volume? `durability`: enum cm_durability, of cm_info. */
bool pool_use_syncs(uint32_t durability);

/* *number differs from the last one if anything has changed that a checkpoint makes safe. `syncs`:
 * pool_use_syncs() of this pool; hits alone are not worth a sync. False: the pool does not tell.
 * From any thread, while the pool is open. */
bool pool_use_changes(cm_cache *cache, bool syncs, uint64_t *number);

#endif
