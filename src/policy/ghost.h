/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ghost.h - remembers which blocks left the pool lately.
 */
#ifndef CM_GHOST_H
#define CM_GHOST_H

#include <stdbool.h>

#include "platform/atomic.h"

#define CM_GHOST_WAYS 8u /* cells of a bucket */

/* Number of buckets for a window of `window` departures. Part of the pool format: memo.c keeps
 * them. */
static inline uint64_t cm_ghost_buckets(uint64_t window)
{
    return window * 5 / 4 / CM_GHOST_WAYS + 1; /* a quarter more cells than departures */
}

struct cm_ghost {
    uint32_t *cell; /* each is atomic */
    /* The next three are atomic. */
    uint64_t buckets;
    uint64_t window; /* a departure counts if at most this many came after it */
    uint64_t unit;   /* departures in one unit of time */
    uint64_t time;   /* atomic; departures so far */
    /* Called before a bucket is looked at; may be NULL. It loads what the last session kept of the
     * bucket, if that is not loaded yet. */
    void (*reach)(void *ctx, uint64_t bucket);
    void *reach_ctx;
};

/* Bytes of DRAM for a window of `window` departures. */
uint64_t cm_ghost_bytes(uint64_t window);
/* `cell`: cm_ghost_bytes(window) bytes, zeroed. */
void cm_ghost_begin(struct cm_ghost *g, uint64_t window, uint32_t *cell);
/* The pool has more slots now, and so the window is longer. `cell` has room for it. Forgets all: a
 * pool with new slots evicts nothing until they are used. One thread at a time. */
void cm_ghost_grow(struct cm_ghost *g, uint64_t window);
/* Prefetches what the other functions will look at. */
void cm_ghost_prefetch(const struct cm_ghost *g, uint64_t hash);
/* A block leaves the pool. This and the other functions are lock-free. */
void cm_ghost_add(struct cm_ghost *g, uint64_t hash);
/* Would cm_ghost_take return true? */
bool cm_ghost_has(const struct cm_ghost *g, uint64_t hash);
/* A block comes. Did it leave within the window? The ghost forgets it. */
bool cm_ghost_take(struct cm_ghost *g, uint64_t hash);

/* Saves n buckets from `first` on. The load fills only cells that are empty now. */
void cm_ghost_save(const struct cm_ghost *g, uint64_t first, uint64_t n, uint8_t *to);
void cm_ghost_load(struct cm_ghost *g, uint64_t first, uint64_t n, const uint8_t *from);

#endif
