/* SPDX-License-Identifier: BSD-2-Clause
 *
 * probation_buffer.c - the probation buffer: blocks in DRAM that were read once and wait to be
 * wanted again.
 *
 * Owns: the entries, which are used in turn, so that the next one is always the oldest; and the
 * cells that lead to them. An entry is a sequence lock of one writer: its version is odd while it
 * is live, and grows by one when it becomes live and when it is killed. A thread may overwrite an
 * entry after it has claimed it and found it dead and without pins. Readers copy without a lock and
 * look at the version again, as in slot.c. An entry becomes live, and is killed, under the stripe
 * of its key. So a bracket that holds the stripe finds every live entry of its keys. If no cell of
 * a bucket is free, the block is not taken in.
 *
 * Who: api/, protocol/, state/.
 */
#include "state/probation_buffer.h"

#include <string.h>

#include "state/pin.h"

/* Entries that a claim looks at, mostly one. Those of threads that do not run now lie side by side,
 * up to CM_BATCH_MAX of each. */
#define LOOKS 256u
#define SHARE 100u           /* by default one entry for so many slots */
#define DEFAULT_MIN 64u      /* 256 KiB: less than a few dozen blocks costs hits */
#define DEFAULT_MAX 0x10000u /* 256 MiB */
#define LARGE_MIN 16u        /* fewer are not worth a word */

uint64_t cm_probation_entries(uint64_t bytes, uint64_t slots)
{
    uint64_t n = bytes / CM_BLOCK_SIZE, most = slots < CM_PROBATION_MAX ? slots : CM_PROBATION_MAX;
    if (bytes == CM_PROBATION_NONE)
        return 0;
    if (bytes == 0) {
        n = slots / SHARE;
        n = n < DEFAULT_MIN ? DEFAULT_MIN : n > DEFAULT_MAX ? DEFAULT_MAX : n;
    }
    return n < most ? n : most;
}

bool cm_probation_is_large(const struct cm_probation *p, uint64_t slots)
{
    return p->entries > LARGE_MIN && p->entries > 2 * slots / SHARE;
}

void cm_probation_size(struct cm_probation *p, uint64_t entries)
{
    p->entries = entries;
    p->buckets = p->entries; /* a block in some 10^5 finds none of its eight cells free */
    for (p->number_bits = 0; p->entries >> p->number_bits != 0; p->number_bits++)
        ;
}

/* ---- Cells ----------------------------------------------------------------------------------- */

static bool enter(struct cm_probation *p, uint32_t e)
{
    uint32_t *cell = cm_probation_bucket(p, p->entry[e].hash);
    for (unsigned i = 0; i < CM_PROBATION_WAYS; i++) {
        uint32_t empty = 0;
        /* Release: a thread that follows the cell finds this life of the entry, or a later one. */
        if (at_cas_acq_rel(&cell[i], &empty, cm_probation_cell(p, e)))
            return true;
    }
    return false;
}

static void leave(struct cm_probation *p, uint32_t e)
{
    uint32_t *cell = cm_probation_bucket(p, p->entry[e].hash);
    for (unsigned i = 0; i < CM_PROBATION_WAYS; i++) {
        uint32_t own = cm_probation_cell(p, e);
        if (at_cas_acq_rel(&cell[i], &own, 0u))
            return;
    }
    assert(false && "a live entry has a cell");
}

/* ---- What a warming has passed --------------------------------------------------------------- */

uint32_t cm_probation_next_kept(const struct cm_probation *p, uint32_t e)
{
    uint64_t mask = ~UINT64_C(0) << e % 64;
    for (uint64_t word = e / 64; word * 64 < p->entries; word++, mask = ~UINT64_C(0)) {
        const uint64_t bits = at_load_relaxed(&p->kept[word]) & mask; /* relaxed: a hint */
        if (bits)
            return (uint32_t)(word * 64 + at_lowest_bit64(bits));
    }
    return CM_NO_ENTRY;
}

static void keep_no_more(struct cm_probation *p, uint32_t e)
{
    const uint64_t bit = UINT64_C(1) << e % 64;
    if (at_load_relaxed(&p->kept[e / 64]) & bit)      /* mostly not: then write nothing */
        (void)at_and_release(&p->kept[e / 64], ~bit); /* relaxed would do, as for the other bits */
}

/* ---- Looking up ------------------------------------------------------------------------------ */

static bool is_of(const struct cm_buffered *h, const struct cm_key *k)
{
    return at_load_relaxed(&h->incarnation) == k->incarnation &&
           at_load_relaxed(&h->block_valid) >> CM_VALID_BITS == k->block;
}

/* Is the entry the same as when its version was read? */
static bool unchanged(const struct cm_probation *p, uint32_t e, uint64_t version)
{
    /* What was read is ordered before this load; the writer's first store to an entry comes after
     * its version is even, with a fence in between (cm_probation_store). */
    at_fence_acquire();
    return at_load_relaxed(&p->entry[e].version) == version;
}

uint32_t cm_probation_find(const struct cm_probation *p, const struct cm_key *k, uint64_t *version)
{
    if (p->entries == 0)
        return CM_NO_ENTRY;
    const uint32_t *cell = cm_probation_bucket(p, k->place.hash);
    for (unsigned left = at_matching8(cell, cm_probation_tag(p, k->place.hash), p->number_bits);
         left; left &= left - 1) {
        const uint32_t number = cm_probation_number(p, at_load_acquire(&cell[at_lowest_bit(left)]));
        if (number == 0)
            continue;
        const uint32_t e = number - 1;
        /* Acquire: pairs with the release in cm_probation_publish; the words are of that life. */
        *version = at_load_acquire(&p->entry[e].version);
        if ((*version & 1) && is_of(&p->entry[e], k) && unchanged(p, e, *version))
            return e;
    }
    return CM_NO_ENTRY;
}

bool cm_probation_snapshot(const struct cm_probation *p, uint32_t e, struct cm_buffered *h)
{
    h->version = at_load_acquire(&p->entry[e].version); /* as in cm_probation_find */
    h->incarnation = at_load_relaxed(&p->entry[e].incarnation);
    h->block_valid = at_load_relaxed(&p->entry[e].block_valid);
    return (h->version & 1) && unchanged(p, e, h->version);
}

enum cm_slot_verdict cm_probation_copy(const struct cm_probation *p, uint32_t e, uint64_t version,
                                       const struct cm_part *part, uint32_t *got)
{
    uint32_t valid = cm_probation_valid(p, e);
    uint32_t n = valid <= part->from ? 0 : valid - part->from;
    if (n > part->len)
        n = part->len;
    /* The race of slot.c; this copy is one that the thread sanitizer knows. */
    if (n > 0)
        (void)cm_guard_copy(part->dst, cm_probation_data(p, e) + part->from, n);
    bool good = unchanged(p, e, version);
    *got = good ? n : 0;
    if (*got < part->len)
        memset((uint8_t *)part->dst + *got, 0, part->len - *got);
    return good ? CM_SLOT_HIT : CM_SLOT_CHANGED;
}

enum cm_slot_verdict cm_probation_read(const struct cm_probation *p, const struct cm_key *k,
                                       const struct cm_part *part, uint32_t *got, uint32_t *entry)
{
    uint64_t version;
    *entry = cm_probation_find(p, k, &version);
    *got = 0;
    return *entry == CM_NO_ENTRY ? CM_SLOT_OTHER : cm_probation_copy(p, *entry, version, part, got);
}

/* ---- Filling --------------------------------------------------------------------------------- */

uint32_t cm_probation_claim(struct cm_probation *p)
{
    uint32_t found = CM_NO_ENTRY;
    cm_lock_acquire(&p->lock);
    for (unsigned i = 0; i < LOOKS && i < p->entries && found == CM_NO_ENTRY; i++) {
        uint32_t e = (uint32_t)p->next;
        p->next = p->next + 1 == p->entries ? 0 : p->next + 1;
        /* Acquire: pairs with cm_probation_release, which stores without the lock; what its caller
         * did to the entry comes before what we do. */
        if (at_load_acquire(&p->entry[e].busy) || at_load_relaxed(&p->entry[e].pins))
            continue; /* a hint: the pins are tested again when the entry is dead */
        at_store_relaxed(&p->entry[e].busy, (uint8_t)1); /* only under the lock */
        if (p->used <= e)
            p->used = e + 1;
        found = e;
    }
    cm_lock_release(&p->lock);
    return found;
}

bool cm_probation_claim_at(struct cm_probation *p, uint32_t e)
{
    cm_lock_acquire(&p->lock);
    const bool free = !at_load_acquire(&p->entry[e].busy); /* as in cm_probation_claim */
    if (free)
        at_store_relaxed(&p->entry[e].busy, (uint8_t)1); /* under the lock, too */
    cm_lock_release(&p->lock);
    return free;
}

uint64_t cm_probation_used(struct cm_probation *p)
{
    cm_lock_acquire(&p->lock);
    const uint64_t used = p->used;
    cm_lock_release(&p->lock);
    return used;
}

uint64_t cm_probation_rewind(struct cm_probation *p)
{
    if (p->used < p->entries) /* some entries were never claimed, so the first is the oldest */
        p->next = 0;
    return p->used;
}

void cm_probation_release(struct cm_probation *p, uint32_t e)
{
    assert(cm_probation_is_claimed(p, e));
    at_store_release(&p->entry[e].busy, (uint8_t)0); /* pairs with cm_probation_claim */
}

bool cm_probation_is_due(struct cm_probation *p, uint32_t e, bool room)
{
    struct cm_buffered *h = &p->entry[e];
    const uint8_t count = at_load_relaxed(&h->count);
    uint8_t seen = at_load_relaxed(&h->seen);
    if (!(at_load_relaxed(&h->version) & 1))
        return false;
    if (seen != CM_PROBATION_UNSEEN)
        return seen == CM_PROBATION_SEEN && (room || count == CM_PROBATION_COUNT);
    if (!at_cas_acq_rel(&h->seen, &seen, (uint8_t)CM_PROBATION_SEEN))
        return false; /* a warming has passed it just now */
    if (count == CM_PROBATION_COUNT)
        /* So a hit counts again. No rule wants more than what is left. */
        at_store_relaxed(&h->count, (uint8_t)(CM_PROBATION_COUNT - 1));
    return false;
}

void cm_probation_refuse(struct cm_probation *p, uint32_t e)
{
    uint8_t seen = CM_PROBATION_SEEN;
    (void)at_cas_acq_rel(&p->entry[e].seen, &seen, (uint8_t)CM_PROBATION_REFUSED);
}

bool cm_probation_peek(const struct cm_probation *p, uint32_t e, struct cm_buffered *h)
{
    h->version = at_load_acquire(&p->entry[e].version);
    h->incarnation = p->entry[e].incarnation;
    h->block_valid = p->entry[e].block_valid;
    h->hash = p->entry[e].hash;
    h->count = at_load_relaxed(&p->entry[e].count);
    return h->version & 1;
}

/* Plain stores. For the thread sanitizer they are atomic, because readers may read meanwhile. */
static void copy_in(uint8_t *to, const uint8_t *from, size_t n)
{
#ifdef CM_TSAN
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        at_store_relaxed((uint64_t *)(void *)(to + i), word);
    }
#else
    memcpy(to, from, n);
#endif
}

void cm_probation_store(struct cm_probation *p, uint32_t e, const struct cm_key *k,
                        const uint8_t *data, uint32_t valid, bool ahead)
{
    struct cm_buffered *h = &p->entry[e];
    static const uint8_t zeros[CM_BLOCK_SIZE];
    const uint32_t words = valid / 8 * 8;
    uint8_t *to = cm_probation_data(p, e);
    uint64_t last = 0;
    assert(!(at_load_relaxed(&h->version) & 1) && at_load_relaxed(&h->busy));
    at_fence_seq_cst(); /* the even version before the first new byte: see unchanged() */
    at_store_relaxed(&h->incarnation, k->incarnation);
    at_store_relaxed(&h->block_valid, k->block << CM_VALID_BITS | valid);
    h->hash = k->place.hash;
    keep_no_more(p, e);
    at_store_relaxed(&h->count, (uint8_t)(ahead ? CM_PROBATION_AHEAD : 0));
    at_store_relaxed(&h->seen, (uint8_t)CM_PROBATION_UNSEEN);
    copy_in(to, data, words);
    if (valid < CM_BLOCK_SIZE) { /* a tail, and zeros */
        memcpy(&last, data + words, valid - words);
        copy_in(to + words, (const uint8_t *)&last, 8);
        copy_in(to + words + 8, zeros, CM_BLOCK_SIZE - words - 8);
    }
}

bool cm_probation_publish(struct cm_probation *p, uint32_t e, const struct cm_key *k)
{
    struct cm_buffered *h = &p->entry[e];
    (void)k;
    assert(is_of(h, k) && !(at_load_relaxed(&h->version) & 1));
    if (!enter(p, e))
        return false;
    at_store_release(&h->version, h->version + 1); /* pairs with cm_probation_find */
    return true;
}

void cm_probation_kill_entry(struct cm_probation *p, const struct cm_key *k)
{
    uint64_t version;
    uint32_t e = cm_probation_find(p, k, &version);
    if (e == CM_NO_ENTRY)
        return;
    leave(p, e);
    keep_no_more(p, e);
    at_store_seq_cst(&p->entry[e].version, version + 1); /* before a claimer's look at the pins */
}

/* ---- Pins ------------------------------------------------------------------------------------ */

enum cm_slot_verdict cm_probation_pin(struct cm_probation *p, const struct cm_key *k, uint32_t *e,
                                      uint32_t *valid)
{
    uint64_t version;
    *e = cm_probation_find(p, k, &version);
    if (*e == CM_NO_ENTRY)
        return CM_SLOT_OTHER;
    if (cm_pin_add(&p->entry[*e].pins) != CM_PIN_OK)
        return CM_SLOT_CHANGED;
    /* After the pin (seq_cst): a thread that kills the entry from here on sees the pin before it
     * overwrites the entry. */
    if (at_load_seq_cst(&p->entry[*e].version) == version) {
        *valid = cm_probation_valid(p, *e);
        return CM_SLOT_HIT;
    }
    cm_probation_unpin(p, *e);
    return CM_SLOT_OTHER;
}

void cm_probation_unpin(struct cm_probation *p, uint32_t e)
{
    (void)cm_pin_drop(&p->entry[e].pins);
}
