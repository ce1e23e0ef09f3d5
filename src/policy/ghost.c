/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ghost.c - remembers which blocks left the pool lately, in five bytes for each.
 *
 * Owns: buckets of eight cells in DRAM. A cell has 16 bits of the block's hash and the time at
 * which the block left, in units of 1/4096 of the window. The clock is the number of departures. A
 * cell that is older than the window does not count. A new cell replaces the oldest of its bucket.
 * The answers may rarely be wrong, in both directions: fingerprints collide (1 in 13000 lookups),
 * buckets overflow, threads overwrite each other's cells. An answer only decides whether a block
 * starts on probation. So the functions take no lock.
 *
 * Who: api/, protocol/, media/, policy/.
 */
#include "policy/ghost.h"

#include <assert.h>
#include <string.h>

#define WAYS CM_GHOST_WAYS
#define UNITS 4096u /* in one window; 16 bits of time hold sixteen windows */

uint64_t cm_ghost_bytes(uint64_t window)
{
    return cm_ghost_buckets(window) * WAYS * sizeof(uint32_t);
}

void cm_ghost_begin(struct cm_ghost *g, uint64_t window, uint32_t *cell)
{
    g->cell = cell;
    g->buckets = cm_ghost_buckets(window);
    g->window = window;
    g->unit = window / UNITS + 1;
    g->time = 0;
    g->reach = NULL;
}

void cm_ghost_grow(struct cm_ghost *g, uint64_t window)
{
    at_store_relaxed(&g->window, window);
    at_store_relaxed(&g->unit, window / UNITS + 1);
    at_store_relaxed(&g->buckets, cm_ghost_buckets(window));
    for (uint64_t i = 0; i < g->buckets * WAYS; i++)
        at_store_relaxed(&g->cell[i], 0u);
}

static uint64_t number(const struct cm_ghost *g, uint64_t hash)
{
    /* Relaxed, here and below: what changes when the pool grows is valid with its old value, too.
     */
    return (hash & UINT32_MAX) * at_load_relaxed(&g->buckets) >> 32; /* Lemire 2016 */
}

static uint32_t *bucket(const struct cm_ghost *g, uint64_t hash)
{
    const uint64_t b = number(g, hash);
    if (g->reach)
        g->reach(g->reach_ctx, b);
    return g->cell + b * WAYS;
}

/* Made of bits that did not choose the bucket. Never zero: zero means an empty cell. */
static uint32_t fingerprint(uint64_t hash)
{
    uint32_t f = (uint32_t)(hash >> 48);
    return f == 0 ? 1 : f;
}

static uint32_t now(const struct cm_ghost *g)
{
    return (uint32_t)(at_load_relaxed(&g->time) / at_load_relaxed(&g->unit)) & 0xffff;
}

/* The age of a cell at time `t`, in units. */
static uint32_t age(uint32_t t, uint32_t cell)
{
    return (t - cell) & 0xffff;
}

/* Did a block that left at the time of a cell leave within the window? */
static bool is_recent(const struct cm_ghost *g, uint32_t cell)
{
    return age(now(g), cell) * at_load_relaxed(&g->unit) < at_load_relaxed(&g->window);
}

void cm_ghost_prefetch(const struct cm_ghost *g, uint64_t hash)
{
    at_prefetch(g->cell + number(g, hash) * WAYS);
}

void cm_ghost_add(struct cm_ghost *g, uint64_t hash)
{
    uint32_t *cell = bucket(g, hash), *place = cell;
    uint32_t t = now(g), oldest = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        uint32_t seen = at_load_relaxed(&cell[i]); /* relaxed here and below: orders no data */
        if (seen == 0 || seen >> 16 == fingerprint(hash)) {
            place = &cell[i];
            break;
        }
        if (age(t, seen) > oldest) {
            oldest = age(t, seen);
            place = &cell[i];
        }
    }
    at_store_relaxed(place, fingerprint(hash) << 16 | t);
    (void)at_add_relaxed(&g->time, 1u);
}

/* The cell of a bucket that has the hash's fingerprint, or NULL. *seen: what is in it. */
static uint32_t *find(uint32_t *cell, uint64_t hash, uint32_t *seen)
{
    static_assert(WAYS == 8, "a bucket has eight cells");
    const unsigned found = at_matching8(cell, fingerprint(hash) << 16, 16);
    if (found == 0)
        return NULL;
    *seen = at_load_relaxed(&cell[at_lowest_bit(found)]);
    return &cell[at_lowest_bit(found)];
}

bool cm_ghost_has(const struct cm_ghost *g, uint64_t hash)
{
    uint32_t seen;
    return find(bucket(g, hash), hash, &seen) && is_recent(g, seen);
}

bool cm_ghost_take(struct cm_ghost *g, uint64_t hash)
{
    uint32_t seen, *cell = find(bucket(g, hash), hash, &seen);
    if (!cell)
        return false;
    at_store_relaxed(cell, 0u);
    return is_recent(g, seen);
}

void cm_ghost_save(const struct cm_ghost *g, uint64_t first, uint64_t n, uint8_t *to)
{
    assert(first + n <= g->buckets);
    memcpy(to, g->cell + first * WAYS, n * WAYS * sizeof(*g->cell)); /* little-endian: format.c */
}

void cm_ghost_load(struct cm_ghost *g, uint64_t first, uint64_t n, const uint8_t *from)
{
    assert(first + n <= g->buckets);
    for (uint64_t i = 0; i < n * WAYS; i++) {
        uint32_t kept;
        uint32_t *cell = &g->cell[first * WAYS + i];
        memcpy(&kept, from + i * sizeof(kept), sizeof(kept));
        if (at_load_relaxed(cell) == 0 && kept >> 16 != 0) /* no block has the fingerprint 0 */
            at_store_relaxed(cell, kept);
    }
}
