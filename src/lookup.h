/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lookup.h - reading and pinning cached blocks.
 */
#ifndef CM_LOOKUP_H
#define CM_LOOKUP_H

#include "steps.h"

/* A lookup on its way, so that those of several blocks can wait for memory side by side: aim asks
 * for the index line, probe reads it and asks for the slot, read copies. */
struct cm_probe {
    struct cm_key key;
    uint64_t slot; /* that probably holds the key, or CM_NO_SLOT */
    bool more;     /* others in the first bucket may hold it, too */
};
void cm_lookup_aim(const struct cm_cache *c, const struct cm_probe *p);
void cm_lookup_probe(const struct cm_cache *c, struct cm_probe *p);
void cm_lookup_soon(const struct cm_cache *c, const struct cm_probe *p);
/* Copies a part of the block to part->dst. HIT, HELD: *got bytes of it (possibly 0) are valid. */
enum cm_found cm_lookup_read(struct cm_cache *c, const struct cm_probe *p,
                             const struct cm_part *part, uint32_t *got);
/* The same for a block that comes alone, as short as can be where all of it was read before, or
 * where no cell carries its tag. HIT: dst holds all of it. ABSENT: not cached.
 * CONFLICT: ask cm_lookup_read(), with an empty probe. */
enum cm_found cm_lookup_glance(struct cm_cache *c, uint64_t incarnation, uint64_t block,
                               uint32_t from, uint32_t len, void *dst);
/* How many bytes of the block are cached, judged by the header alone; 0: none. */
uint32_t cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);

/* Pins the slot that holds the block (HIT), or the entry of the probation buffer (HELD); *slot and
 * *valid are set. CONFLICT also when the slot has as many pins as fit (*busy). */
enum cm_found cm_lookup_pin(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                            uint32_t *valid, bool *busy);
void cm_lookup_unpin(struct cm_cache *c, uint64_t slot);
/* Where the bytes of what was pinned are. */
const uint8_t *cm_lookup_data(const struct cm_cache *c, uint64_t slot);

#endif
