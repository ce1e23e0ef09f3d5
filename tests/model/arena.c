/* SPDX-License-Identifier: BSD-2-Clause
 *
 * arena.c - memory that each cache uses again, and in the same order: faster than pages of the
 * system, which are made when they are first used. Nothing is given back before the next cache.
 */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../os.h"

#define ARENA (UINT64_C(8) << 20)

static uint8_t *arena;
static size_t used; /* atomic */

static void *arena_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    bytes = (bytes + 63) / 64 * 64;
    const size_t at = __atomic_fetch_add(&used, bytes, __ATOMIC_RELAXED); /* threads call it */
    if (at > ARENA || bytes > ARENA - at)
        return NULL;
    return memset(arena + at, 0, bytes);
}

static void arena_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx, (void)p, (void)bytes;
}

void arena_give(cm_options *o)
{
    if (!arena)
        arena = os_aligned(CM_BLOCK_SIZE, ARENA);
    if (!arena)
        exit(1);
    used = 0;
    o->alloc = arena_alloc;
    o->free = arena_free;
}
