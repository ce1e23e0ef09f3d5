/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ghost.h - remembers which blocks left the pool lately.
 */
#ifndef CM_GHOST_H
#define CM_GHOST_H

#include <stdbool.h>

#include "platform/atomic.h"

#define CM_GHOST_WAYS 8u /* cells of a bucket */

/* Buckets for a window of so many departures. Part of the pool format: memo.c keeps them. */
static inline uint64_t cm_ghost_buckets(uint64_t window)
{
    return window * 5 / 4 / CM_GHOST_WAYS + 1; /* a quarter more than is remembered */
}

struct cm_ghost {
    uint32_t *cell; /* atomic, each */
    uint64_t buckets;
    uint64_t window; /* departures back to which it is believed */
    uint64_t unit;   /* departures to a unit of time */
    uint64_t time;   /* atomic; departures so far */
    /* Called before a bucket is looked at (NULL: not): what the last session left of it may have to
     * be loaded. */
    void (*reach)(void *ctx, uint64_t bucket);
    void *reach_ctx;
};

/* Bytes of DRAM for a window of so many departures. */
uint64_t cm_ghost_bytes(uint64_t window);
/* `cell`: that many bytes, zeroed. */
void cm_ghost_begin(struct cm_ghost *g, uint64_t window, uint32_t *cell);
/* Asks for what the others will look at. */
void cm_ghost_prefetch(const struct cm_ghost *g, uint64_t hash);
/* A block leaves the pool. Lock-free, as all of these. */
void cm_ghost_add(struct cm_ghost *g, uint64_t hash);
/* Would cm_ghost_take say so? */
bool cm_ghost_has(const struct cm_ghost *g, uint64_t hash);
/* A block comes. Did it leave within the window? It is forgotten. */
bool cm_ghost_take(struct cm_ghost *g, uint64_t hash);

/* n buckets from `first` on, to be kept; and what was kept of them, where nothing is yet. */
void cm_ghost_save(const struct cm_ghost *g, uint64_t first, uint64_t n, uint8_t *to);
void cm_ghost_load(struct cm_ghost *g, uint64_t first, uint64_t n, const uint8_t *from);

#endif
