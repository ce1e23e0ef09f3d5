/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ghost.c - remembers which blocks were let go lately, in five bytes for each.
 *
 * Owns: buckets of eight cells. A cell is a fingerprint and the time, in units of 1/4096 of the
 * window, at which the block was let go; the clock is the number of blocks let go. An entry older
 * than the window does not count, and the oldest of a bucket gives way. It may be wrong both ways,
 * rarely: fingerprints collide (1 in 13,000 lookups), buckets overflow.
 *
 * Who: s3r.c.
 */
#include "ghost.h"

#define WAYS 8u
#define UNITS 4096u /* of the window: ages are this exact, and 16 bits hold sixteen windows */

static uint32_t buckets_for(uint32_t window)
{
    return (uint32_t)((uint64_t)window * 5 / 4 / WAYS) + 1; /* a quarter more than is remembered */
}

uint32_t ghost_cells(uint32_t window)
{
    return buckets_for(window) * WAYS;
}

void ghost_init(struct ghost *g, uint32_t window, uint32_t *cells)
{
    *g = (struct ghost){
        .cell = cells, .buckets = buckets_for(window), .window = window, .unit = window / UNITS + 1
    };
}

static uint32_t *bucket(const struct ghost *g, uint64_t hash)
{
    return g->cell + (uint64_t)(uint32_t)hash % g->buckets * WAYS;
}

static uint32_t fingerprint(uint64_t hash)
{
    uint32_t f = (uint32_t)(hash >> 48);
    return f == 0 ? 1 : f;
}

static uint32_t now(const struct ghost *g)
{
    return g->time / g->unit & 0xffff;
}

static uint32_t age(const struct ghost *g, uint32_t cell)
{
    return ((now(g) - cell) & 0xffff) * g->unit;
}

void ghost_add(struct ghost *g, uint64_t hash)
{
    uint32_t *cell = bucket(g, hash), *place = cell;
    for (unsigned i = 0; i < WAYS; i++) {
        if (cell[i] == 0 || cell[i] >> 16 == fingerprint(hash)) {
            place = &cell[i];
            break;
        }
        if (age(g, cell[i]) > age(g, *place))
            place = &cell[i];
    }
    *place = fingerprint(hash) << 16 | now(g);
    g->time++;
}

bool ghost_take(struct ghost *g, uint64_t hash, uint32_t window)
{
    uint32_t *cell = bucket(g, hash);
    for (unsigned i = 0; i < WAYS; i++) {
        if (cell[i] >> 16 != fingerprint(hash))
            continue;
        bool lately = age(g, cell[i]) < window;
        cell[i] = 0;
        return lately;
    }
    return false;
}
