/* SPDX-License-Identifier: BSD-2-Clause
 *
 * arena.h - the memory of a cache that is opened many thousand times, for cm_options.alloc and
 * free.
 */
#ifndef CM_TESTS_ARENA_H
#define CM_TESTS_ARENA_H

#include "cachemax.h"

/* The cache gets its memory from the arena. The last cache that had it is closed. */
void arena_give(cm_options *o);

#endif
