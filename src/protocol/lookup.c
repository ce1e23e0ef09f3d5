/* SPDX-License-Identifier: BSD-2-Clause
 *
 * lookup.c - reading and pinning cached blocks, without a lock.
 *
 * Owns: the order in which a reader looks at cells, header, payload and header again, and what a
 * hit tells the policy. A lookup of several blocks has three steps (prefetch, probe, read), so that
 * the cache misses of the blocks run side by side.
 *
 * Who: api/, protocol/.
 */
#include "protocol/lookup.h"

#define TRIES 2 /* optimistic copies before a lookup gives up */

/* ---- Reading --------------------------------------------------------------------------------- */

static bool must_verify(struct cm_cache *c, uint64_t slot)
{
    return c->opts.verify == CM_VERIFY_ALWAYS || slot >= at_load_relaxed(&c->known) ||
           (c->opts.verify == CM_VERIFY_FIRST_HIT && !cm_ring_is_verified(&c->policy.ring, slot));
}

static void count_hit(struct cm_cache *c, const struct cm_key *k, uint64_t slot)
{
    const bool sampled = cm_sample_has(c, k->incarnation, k->block);
    if (!sampled && !cm_policy_notes_hit(&c->policy, slot))
        return;
    const bool first = cm_step_first_touch(k->place.hash);
    if (first && cm_policy_notes_hit(&c->policy, slot))
        cm_policy_hit(&c->policy, slot);
    if (sampled)
        cm_sample_read(c, k, !first, false);
}

/* Tries the slot of one cell that carries the tag, and `boot`. Tells the policy nothing. */
static enum cm_found copy_slot(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                               uint8_t boot, const struct cm_part *part, uint32_t *got)
{
    bool verify = must_verify(c, slot);
    uint64_t w0 = 0;
    for (int i = 0; i < TRIES; i++) {
        switch (cm_slot_read(&c->media, slot, k, boot, part, verify, got, &w0)) {
        case CM_SLOT_HIT:
            if (verify)
                cm_count(c, CM_STAT_verified, 1);
            cm_cache_judged(c, slot);
            return CM_FOUND_HIT;
        case CM_SLOT_OTHER:
            return CM_FOUND_ABSENT;
        case CM_SLOT_CHANGED:
            break;
        case CM_SLOT_BAD_SUM:
            if (!cm_cache_tears(c, boot))
                cm_step_trouble(c, CM_TROUBLE_CHECKSUM, slot, k);
            cm_step_drop(c, slot, k, w0);
            return CM_FOUND_CHECKSUM;
        case CM_SLOT_UNREADABLE:
            cm_step_trouble(c, CM_TROUBLE_MEDIA, slot, k);
            cm_step_quarantine(c, slot, k);
            return CM_FOUND_MEDIA;
        }
    }
    return CM_FOUND_CONFLICT;
}

/* The same for a read. */
static enum cm_found read_slot(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                               uint8_t boot, const struct cm_part *part, uint32_t *got)
{
    const struct cm_spot at = cm_spot_of(&c->media, slot);
    if (cm_lookup_copy(c, k->incarnation, k->block, k->place.hash, slot, &at, part, false)) {
        *got = part->len;
        return CM_FOUND_HIT;
    }
    const enum cm_found found = copy_slot(c, k, slot, boot, part, got);
    if (found == CM_FOUND_HIT)
        count_hit(c, k, slot);
    return found;
}

/* Tries all cells of one bucket that carry the tag, except those that say what the probe's says. */
static enum cm_found read_bucket(struct cm_cache *c, const struct cm_probe *p, unsigned which,
                                 const struct cm_part *part, uint32_t *got)
{
    const struct cm_key *k = &p->key;
    enum cm_found worst = CM_FOUND_ABSENT;
    struct cm_cells cells;
    if (cm_index_load(&c->media, k, which, &cells)) {
        cm_step_index_trouble(c, k, which);
        return CM_FOUND_MEDIA;
    }
    const uint64_t *cell = &cells.cell[which * CM_BUCKET_CELLS];
    for (unsigned left = cm_index_matches(k, cell); left; left &= left - 1) {
        uint64_t match = cell[at_lowest_bit(left)];
        if (!cm_index_match(&c->media, k, match) ||
            (cm_cell_slot(match) == p->slot && cm_cell_boot(match) == p->boot))
            continue;
        enum cm_found r = read_slot(c, k, cm_cell_slot(match), cm_cell_boot(match), part, got);
        if (r == CM_FOUND_HIT)
            return r;
        if (r != CM_FOUND_ABSENT)
            worst = r;
    }
    return worst;
}

static void count_buffered_hit(struct cm_cache *c, const struct cm_key *k, uint32_t entry)
{
    bool first = cm_step_first_touch(k->place.hash);
    if (first)
        cm_probation_touch(&c->probation, entry);
    if (cm_sample_has(c, k->incarnation, k->block))
        cm_sample_read(c, k, !first, false);
}

enum cm_found cm_lookup_buffered(struct cm_cache *c, const struct cm_key *k,
                                 const struct cm_part *part, uint32_t *got)
{
    if (c->probation.entries == 0)
        return CM_FOUND_ABSENT;
    for (int i = 0; i < TRIES; i++) {
        uint32_t e;
        switch (cm_probation_read(&c->probation, k, part, got, &e)) {
        case CM_SLOT_HIT:
            if (*got > 0) /* else past the end of a tail */
                count_buffered_hit(c, k, e);
            return CM_FOUND_BUFFERED;
        case CM_SLOT_CHANGED:
            break;
        default:
            return CM_FOUND_ABSENT;
        }
    }
    return CM_FOUND_CONFLICT;
}

void cm_lookup_prefetch_entry(const struct cm_cache *c, uint64_t hash, uint64_t slot, uint32_t from)
{
    const struct cm_spot at = cm_probation_spot(&c->probation, slot - CM_ENTRY_FIRST);
    cm_probation_prefetch(&c->probation, hash);
    cm_slot_prefetch_first(&at, from);
}

bool cm_lookup_copy_entry(struct cm_cache *c, uint64_t incarnation, uint64_t block, uint64_t hash,
                          uint64_t slot, uint64_t version, const struct cm_part *part)
{
    const struct cm_key k = cm_key_named(incarnation, block, hash);
    const uint32_t e = (uint32_t)(slot - CM_ENTRY_FIRST);
    uint32_t got;
    /* If it has changed, nothing was got. */
    (void)cm_probation_copy(&c->probation, e, version, part, &got);
    if (got < part->len) {
        memset(part->dst, 0, part->len);
        return false;
    }
    count_buffered_hit(c, &k, e);
    return true;
}

enum cm_found cm_lookup_read(struct cm_cache *c, const struct cm_probe *p,
                             const struct cm_part *part, uint32_t *got)
{
    enum cm_found found = CM_FOUND_ABSENT, r;
    if (p->slot != CM_NO_SLOT)
        found = read_slot(c, &p->key, p->slot, p->boot, part, got);
    if (p->more && found != CM_FOUND_HIT) {
        r = read_bucket(c, p, 0, part, got);
        found = r == CM_FOUND_ABSENT ? found : r;
    }
    if (found == CM_FOUND_HIT)
        return found;
    r = read_bucket(c, p, 1, part, got);
    found = r == CM_FOUND_ABSENT ? found : r;
    return found == CM_FOUND_ABSENT ? cm_lookup_buffered(c, &p->key, part, got) : found;
}

enum cm_found cm_lookup_peek(struct cm_cache *c, const struct cm_key *k, uint8_t *to,
                             uint32_t *valid)
{
    const struct cm_part part = { 0, CM_BLOCK_SIZE, to };
    for (int i = 0; i < TRIES; i++) {
        uint64_t slot;
        uint32_t e;
        struct cm_header h;
        enum cm_found found = cm_step_find(c, k, &slot, &h);
        if (found == CM_FOUND_HIT)
            found = copy_slot(c, k, slot, cm_header_boot(&h), &part, valid);
        else if (found == CM_FOUND_ABSENT && c->probation.entries > 0)
            switch (cm_probation_read(&c->probation, k, &part, valid, &e)) {
            case CM_SLOT_HIT:
                return CM_FOUND_BUFFERED;
            case CM_SLOT_CHANGED:
                continue;
            default:
                return CM_FOUND_ABSENT;
            }
        else
            return found;
        if (found != CM_FOUND_ABSENT) /* else the slot has changed */
            return found;
    }
    return CM_FOUND_CONFLICT;
}

void cm_lookup_touch(struct cm_cache *c, uint64_t incarnation, uint64_t block, uint64_t hash,
                     uint64_t slot)
{
    const struct cm_key k = cm_key_named(incarnation, block, hash); /* enough to count it */
    count_hit(c, &k, slot);
}

uint32_t cm_lookup_cached(struct cm_cache *c, const struct cm_key *k)
{
    uint64_t slot;
    struct cm_header h;
    return cm_step_find(c, k, &slot, &h) == CM_FOUND_HIT ? cm_header_valid(&h)
                                                         : cm_step_buffered(c, k);
}

uint32_t cm_lookup_keep(struct cm_cache *c, const struct cm_key *k, bool *waits)
{
    uint64_t slot, version;
    struct cm_header h;
    if (cm_step_find(c, k, &slot, &h) == CM_FOUND_HIT)
        return cm_header_valid(&h);
    const uint32_t valid = cm_step_buffered(c, k);
    const uint32_t e = valid > 0 ? cm_probation_find(&c->probation, k, &version) : CM_NO_ENTRY;
    if (e != CM_NO_ENTRY) {
        cm_probation_keep(&c->probation, e);
        *waits = true;
    }
    return valid;
}

/* ---- Pages that may be out of memory --------------------------------------------------------- */

/* A cell whose tag is the block's. *holds: its slot holds it, so nothing else will be touched. */
static bool slot_is_resident(struct cm_cache *c, const struct cm_key *k, uint64_t cell, bool *holds)
{
    const uint64_t slot = cm_cell_slot(cell);
    struct cm_header h;
    *holds = false;
    if (!cm_media_is_resident(&c->media, cm_slot_at(&c->media, slot), sizeof(h)) ||
        !cm_media_is_resident(&c->media, cm_slot_payload(&c->media, slot), CM_BLOCK_SIZE))
        return false;
    *holds = cm_slot_header(&c->media, slot, &h) == CM_SLOT_HIT && cm_slot_leads(cell, &h, k);
    return true;
}

bool cm_lookup_is_resident(struct cm_cache *c, const struct cm_key *k)
{
    struct cm_cells cells;
    bool holds = false;
    if (c->directly)
        return true;
    for (unsigned which = 0; which < 2 && !holds; which++) {
        const uint64_t *cell = &cells.cell[which * CM_BUCKET_CELLS];
        if (!cm_media_is_resident(&c->media, cm_index_bucket(&c->media, k->place.bucket[which]),
                                  sizeof(struct cm_bucket)))
            return false;
        if (cm_index_load(&c->media, k, which, &cells))
            continue; /* the read will meet it, too */
        for (unsigned left = cm_index_matches(k, cell); left && !holds; left &= left - 1) {
            uint64_t match = cell[at_lowest_bit(left)];
            if (cm_index_match(&c->media, k, match) && !slot_is_resident(c, k, match, &holds))
                return false;
        }
    }
    return true;
}

/* ---- Pins ------------------------------------------------------------------------------------ */

static enum cm_found verify_pinned(struct cm_cache *c, const struct cm_key *k, uint64_t slot,
                                   const struct cm_header *h)
{
    if (!must_verify(c, slot))
        return CM_FOUND_HIT;
    switch (cm_slot_verify(&c->media, slot, h)) {
    case CM_SLOT_HIT:
        cm_count(c, CM_STAT_verified, 1);
        cm_cache_judged(c, slot);
        return CM_FOUND_HIT;
    case CM_SLOT_UNREADABLE:
        cm_step_trouble(c, CM_TROUBLE_MEDIA, slot, k);
        cm_lookup_unpin(c, slot);
        cm_step_quarantine(c, slot, k);
        return CM_FOUND_MEDIA;
    default:
        if (!cm_cache_tears(c, cm_header_boot(h)))
            cm_step_trouble(c, CM_TROUBLE_CHECKSUM, slot, k);
        cm_lookup_unpin(c, slot);
        cm_step_drop(c, slot, k, h->w0);
        return CM_FOUND_CHECKSUM;
    }
}

/* *slot: the number of the entry, plus CM_ENTRY_FIRST. */
static enum cm_found pin_buffered(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                                  uint32_t *valid, bool *busy)
{
    uint32_t e;
    enum cm_slot_verdict v = cm_probation_pin(&c->probation, k, &e, valid);
    *busy = v == CM_SLOT_CHANGED;
    if (v != CM_SLOT_HIT)
        return *busy ? CM_FOUND_CONFLICT : CM_FOUND_ABSENT;
    at_add_relaxed(&c->pinned, 1);
    count_buffered_hit(c, k, e);
    *slot = CM_ENTRY_FIRST + e;
    return CM_FOUND_BUFFERED;
}

enum cm_found cm_lookup_pin_elsewhere(struct cm_cache *c, const struct cm_key *k, uint64_t second,
                                      uint32_t need, uint64_t *slot)
{
    uint64_t version;
    uint32_t valid;
    bool busy;
    cm_lookup_prefetch_elsewhere(c, k->place.hash, second);
    const enum cm_found found =
        cm_lookup_elsewhere(c, k->incarnation, k->block, k->place.hash, second, slot, &version);
    if (found == CM_FOUND_HIT && cm_lookup_pin_known(c, k, *slot)) /* it has whole blocks only */
        return CM_FOUND_HIT;
    if (found != CM_FOUND_BUFFERED ||
        pin_buffered(c, k, slot, &valid, &busy) != CM_FOUND_BUFFERED) /* finds it once more */
        return CM_FOUND_CONFLICT;
    if (valid >= need)
        return CM_FOUND_BUFFERED;
    cm_lookup_unpin(c, *slot);
    return CM_FOUND_CONFLICT;
}

const uint8_t *cm_lookup_data(const struct cm_cache *c, uint64_t slot)
{
    return slot < CM_ENTRY_FIRST ? cm_slot_payload(&c->media, slot)
                                 : cm_probation_data(&c->probation, slot - CM_ENTRY_FIRST);
}

/* cm_lookup_pin_known() for the first slot that the first bucket leads to. */
static bool pin_known(struct cm_cache *c, const struct cm_key *k, uint64_t *slot)
{
    uint64_t cell = 0;
    if (cm_index_find(&c->media, k->place.bucket[0], k->place.tag, &cell) <= 0 ||
        !cm_index_leads(&c->media, k->place.tag, cell))
        return false;
    *slot = cm_cell_slot(cell);
    return cm_lookup_pin_known(c, k, *slot);
}

enum cm_found cm_lookup_pin(struct cm_cache *c, const struct cm_key *k, uint64_t *slot,
                            uint32_t *valid, bool *busy)
{
    *busy = false;
    *valid = CM_BLOCK_SIZE;
    if (pin_known(c, k, slot))
        return CM_FOUND_HIT;
    for (int i = 0; i < TRIES; i++) {
        struct cm_header h, again;
        enum cm_found r = cm_step_find(c, k, slot, &h);
        if (r == CM_FOUND_ABSENT && c->probation.entries > 0)
            return pin_buffered(c, k, slot, valid, busy);
        if (r != CM_FOUND_HIT)
            return r;
        enum cm_pin_result p = cm_pin_add(&c->pins[*slot]);
        if (p == CM_PIN_TOO_MANY) {
            *busy = true;
            return CM_FOUND_CONFLICT;
        }
        if (p == CM_PIN_GONE)
            continue;
        at_add_relaxed(&c->pinned, 1);
        /* The header is read again after the pin: a thread that invalidates it from here on sees
         * the pin. The same w0 means the same life of the slot. */
        if (cm_slot_header(&c->media, *slot, &again) == CM_SLOT_HIT && again.w0 == h.w0) {
            *valid = cm_header_valid(&h);
            r = verify_pinned(c, k, *slot, &h);
            if (r == CM_FOUND_HIT)
                count_hit(c, k, *slot);
            return r;
        }
        cm_lookup_unpin(c, *slot);
    }
    return CM_FOUND_CONFLICT;
}
