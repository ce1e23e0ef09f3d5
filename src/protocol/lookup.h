/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lookup.h - reading and pinning cached blocks.
 */
#ifndef CM_LOOKUP_H
#define CM_LOOKUP_H

#include <string.h>

#include "state/policy_sample.h"
#include "protocol/steps.h"

/* A lookup in three steps, so that the cache misses of several lookups run side by side. Prefetch
 * prefetches the index line. Probe reads it and prefetches the slot. Read copies. */
struct cm_probe {
    struct cm_key key;
    uint64_t slot; /* the slot that probably holds the key, or CM_NO_SLOT */
    uint8_t boot;  /* of the cell that leads there, if one does */
    bool more;     /* other cells of the first bucket may lead to the key, too */
};
static inline void cm_lookup_probe(const struct cm_cache *c, struct cm_probe *p)
{
    struct cm_cells cells;
    p->slot = CM_NO_SLOT;
    p->more = true;
    if (cm_index_load(&c->media, &p->key, 0, &cells))
        return;
    unsigned matches = cm_index_matches(&p->key, cells.cell);
    p->more = (matches & (matches - 1)) != 0;
    uint64_t first = matches ? cells.cell[at_lowest_bit(matches)] : 0;
    if (cm_index_match(&c->media, &p->key, first)) {
        p->slot = cm_cell_slot(first);
        p->boot = cm_cell_boot(first);
        cm_slot_prefetch(&c->media, p->slot);
        cm_ring_prefetch(&c->policy.ring, p->slot);
    }
}
/* Copies a part of the block to part->dst. HIT, BUFFERED: *got bytes (possibly 0) are valid. */
enum cm_found cm_lookup_read(struct cm_cache *c, const struct cm_probe *p,
                             const struct cm_part *part, uint32_t *got);
/* Copies the block to `to`, a block's room, as a read would, and tells neither the policy nor the
 * counters of hits. HIT, BUFFERED: *valid bytes are cached. */
enum cm_found cm_lookup_peek(struct cm_cache *c, const struct cm_key *k, uint8_t *to,
                             uint32_t *valid);
/* Do judgements of this session count? Not where each read verifies, nor under a new check key. */
static inline bool cm_lookup_may_know(const struct cm_cache *c)
{
    return c->opts.verify != CM_VERIFY_ALWAYS && cm_media_key(&c->media) == c->judged_key;
}
/* Has this session found the slot right since the pool was opened? */
static inline bool cm_lookup_knows(const struct cm_cache *c, uint64_t slot)
{
    return cm_ring_is_verified(&c->policy.ring, slot) && cm_lookup_may_know(c);
}
/* Tells the policy of a hit. `hash`: of the block's place. */
void cm_lookup_touch(struct cm_cache *c, uint64_t incarnation, uint64_t block, uint64_t hash,
                     uint64_t slot);
/* The same, if the policy wants to know. Most hits need no more than this. */
static inline __attribute__((always_inline)) void cm_lookup_note(struct cm_cache *c,
                                                                 uint64_t incarnation,
                                                                 uint64_t block, uint64_t hash,
                                                                 uint64_t slot)
{
    if (cm_sample_has(c, incarnation, block) || cm_policy_notes_hit(&c->policy, slot))
        cm_lookup_touch(c, incarnation, block, hash, slot);
}
/* Copies from a slot that most probably holds the block. false: it does not, or the slot is not
 * known; then nothing was left in the buffer. `at`: the slot's place. `prefetched`: its first lines
 * were. */
static inline __attribute__((always_inline)) bool
cm_lookup_copy(struct cm_cache *c, uint64_t incarnation, uint64_t block, uint64_t hash,
               uint64_t slot, const struct cm_spot *at, const struct cm_part *part, bool prefetched)
{
    if (!cm_lookup_knows(c, slot))
        return false;
    if (!(prefetched ? cm_slot_take_known(&c->media, at, incarnation, block, part)
                     : cm_slot_read_known(at, incarnation, block, part))) {
        memset(part->dst, 0, part->len); /* may be another file's */
        return false;
    }
    cm_lookup_note(c, incarnation, block, hash, slot);
    return true;
}
/* Where an entry of the probation buffer stands for a slot, it has its number plus this, which is
 * no slot. */
#define CM_ENTRY_FIRST (CM_POOL_SIZE_MAX / CM_BLOCK_SIZE)
/* Is `slot` such a number? */
static inline bool cm_lookup_is_entry(const struct cm_cache *c, uint64_t slot)
{
    return slot - CM_ENTRY_FIRST < c->probation.entries; /* of a slot: more than any entry */
}
/* Prefetches what a hit in this entry waits for. `hash`: of the block. */
void cm_lookup_prefetch_entry(const struct cm_cache *c, uint64_t hash, uint64_t slot,
                              uint32_t from);
/* Where a block waits in the probation buffer, as such a number; CM_NO_SLOT: it does not. *version:
 * of that life of the entry. */
static inline uint64_t cm_lookup_entry(const struct cm_cache *c, uint64_t incarnation,
                                       uint64_t block, uint64_t hash, uint64_t *version)
{
    const struct cm_key k = cm_key_named(incarnation, block, hash); /* enough for the buffer */
    const uint32_t e = cm_probation_find(&c->probation, &k, version);
    return e == CM_NO_ENTRY ? CM_NO_SLOT : CM_ENTRY_FIRST + e;
}
/* Copies a part of a block that waits in the probation buffer. BUFFERED: *got bytes of it, the rest
 * is zeros. Else ABSENT or CONFLICT. */
enum cm_found cm_lookup_buffered(struct cm_cache *c, const struct cm_key *k,
                                 const struct cm_part *part, uint32_t *got);
/* The same for the entry that `slot` stands for, in the version that cm_lookup_entry() saw, and for
 * all of the part. false: nothing was left in the buffer. */
bool cm_lookup_copy_entry(struct cm_cache *c, uint64_t incarnation, uint64_t block, uint64_t hash,
                          uint64_t slot, uint64_t version, const struct cm_part *part);
/* Are all pages of the pool in memory that a lookup of the block and a copy of it would touch?
 * Reads only such pages. For cm_read_whole(). */
bool cm_lookup_is_resident(struct cm_cache *c, const struct cm_key *k);
/* HIT: a cell of this bucket of a block carries its tag; *slot is where it leads. ABSENT: none
 * does. CONFLICT: nothing is known. */
static inline enum cm_found cm_lookup_bucket(const struct cm_cache *c, uint64_t hash,
                                             uint64_t bucket, uint64_t *slot)
{
    uint64_t cell = 0;
    const int found = cm_index_find(&c->media, bucket, cm_place_tag(hash), &cell);
    if (found == 0)
        return CM_FOUND_ABSENT;
    if (found < 0 || !cm_index_leads(&c->media, cm_place_tag(hash), cell))
        return CM_FOUND_CONFLICT;
    *slot = cm_cell_slot(cell);
    return CM_FOUND_HIT;
}
/* Prefetches what cm_lookup_elsewhere() looks at first, so that both lines arrive at the same time.
 * `second`: the other bucket of the block. */
static inline void cm_lookup_prefetch_elsewhere(const struct cm_cache *c, uint64_t hash,
                                                uint64_t second)
{
    if (c->probation.entries == 0) /* then there is only one line */
        return;
    at_prefetch(cm_probation_bucket(&c->probation, hash));
    at_prefetch(cm_index_bucket(&c->media, second));
}
/* As cm_lookup_bucket(), but looks into the probation buffer first. BUFFERED: the block was there a
 * moment ago; *slot stands for its entry, *version is that of its life. */
static inline enum cm_found cm_lookup_elsewhere(const struct cm_cache *c, uint64_t incarnation,
                                                uint64_t block, uint64_t hash, uint64_t second,
                                                uint64_t *slot, uint64_t *version)
{
    if (c->probation.entries > 0) {
        *slot = cm_lookup_entry(c, incarnation, block, hash, version);
        if (*slot != CM_NO_SLOT)
            return CM_FOUND_BUFFERED;
    }
    return cm_lookup_bucket(c, hash, second, slot);
}
/* How many bytes of the block are cached, as the header says; 0: none. The payload is not
 * tested. */
uint32_t cm_lookup_cached(struct cm_cache *c, const struct cm_key *k);
/* The same. If the block only waits in the probation buffer, it will go to the pool from there
 * (cm_probation_keep), and *waits is set. */
uint32_t cm_lookup_keep(struct cm_cache *c, const struct cm_key *k, bool *waits);

/* Pins the slot that holds the block (HIT), or the entry of the probation buffer (BUFFERED); *slot
 * and *valid are set. CONFLICT also when the slot has as many pins as fit (*busy). */
enum cm_found cm_lookup_pin(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                            uint32_t *valid, bool *busy);
static inline void cm_lookup_unpin(struct cm_cache *c, uint64_t slot)
{
    assert(slot < CM_ENTRY_FIRST + c->probation.entries);
    if (slot >= CM_ENTRY_FIRST)
        cm_probation_unpin(&c->probation, (uint32_t)(slot - CM_ENTRY_FIRST));
    else if (cm_pin_drop(&c->pins[slot])) /* doomed: the evictor left the owned slot to us */
        cm_ring_give_free(&c->policy.ring, &slot, 1);
    at_sub_acq_rel(&c->pinned, 1); /* last: cm_close must not see zero while the slot is in hand */
}
/* Pins a slot that holds all of the block, and that this session has judged (cm_slot_read_known()
 * says what that is worth). false: nothing is known. Of the key's place, only the hash is used. */
static inline bool cm_lookup_pin_known(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    const struct cm_spot at = cm_spot_of(&c->media, slot);
    uint64_t w0, again;
    if (!cm_lookup_knows(c, slot) || !cm_slot_holds_known(&at, k->incarnation, k->block, &w0) ||
        cm_pin_add(&c->pins[slot]) != CM_PIN_OK)
        return false;
    at_add_relaxed(&c->pinned, 1);
    if (cm_guard_load64(&at.header->w0, &again) == 0 && again == w0) {
        cm_lookup_note(c, k->incarnation, k->block, k->place.hash, slot);
        return true;
    }
    cm_lookup_unpin(c, slot);
    return false;
}
/* Pins `need` bytes or more of a block that its first bucket does not know. HIT, BUFFERED: *slot is
 * what cm_lookup_unpin() takes. Else nothing is known. Of the key's place, only the hash is used.
 */
enum cm_found cm_lookup_pin_elsewhere(struct cm_cache *c, const struct cm_key *k, uint64_t second,
                                      uint32_t need, uint64_t *slot);
/* The bytes of a pinned slot or entry. */
const uint8_t *cm_lookup_data(const struct cm_cache *c, uint64_t slot);

#endif
