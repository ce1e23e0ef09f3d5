/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ghost.h - a bounded memory of blocks that were let go lately.
 */
#ifndef GHOST_H
#define GHOST_H

#include <stdbool.h>
#include <stdint.h>

struct ghost {
    uint32_t *cell; /* buckets of eight: 16 bits of fingerprint (never 0), 16 bits of coarse time;
                       0: empty */
    uint32_t buckets, window, unit;
    uint32_t time; /* blocks let go so far */
};

/* Remembers about the last `window` blocks in ghost_cells(window) words, zeroed, which the caller
 * gives. */
uint32_t ghost_cells(uint32_t window);
void ghost_init(struct ghost *g, uint32_t window, uint32_t *cells);
void ghost_add(struct ghost *g, uint64_t hash);
/* Whether it is among the last `window` let go, no more than g->window; it is forgotten then. */
bool ghost_take(struct ghost *g, uint64_t hash, uint32_t window);

#endif
