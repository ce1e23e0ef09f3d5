/* SPDX-License-Identifier: BSD-2-Clause
 *
 * invariants.c - are the structures of an open cache in order?
 *
 * Owns: no data. What is checked: the ring and the ghost (policy_invariants.c); the table of files,
 * and each file's list of brackets against the counts beside it; the intents of all stripes against
 * all open brackets; slots against the index; the probation buffer against its cells; pins. Part of
 * the library with -Dchecks=full only (api/checked_calls.c).
 *
 * Who: api/.
 */
#include "state/invariants.h"

#include "media/file_table.h"
#include "state/object.h"

typedef unsigned long long llu; /* for messages */

/* ---- Files and brackets ---------------------------------------------------------------------- */

/* A number of intents, and a sum in which each stripe has its own weight. One is made of the
 * intents that there should be, and one of those that there are. Because of the weights an intent
 * on the wrong stripe does not make up for a missing one. */
struct intents {
    uint64_t count, weighed;
};

static void weigh(struct intents *i, uint64_t stripe, uint64_t n)
{
    uint64_t weight = (stripe + 1) * UINT64_C(0x9e3779b97f4a7c15); /* golden ratio: spreads bits */
    i->count += n;
    i->weighed += n * (weight ^ weight >> 29);
}

static bool brackets_in_order(struct cm_cache *c, const struct cm_object *f,
                              struct intents *intents, char *text)
{
    uint32_t brackets = 0, data = 0, stale = 0, own = 0;
    for (const struct cm_open_bracket *b = f->brackets; b; b = b->next) {
        CM_MUST(b->id != 0 && b->state == CM_BRACKET_RAISED, "bracket %llu: id, state %u",
                (llu)b->id, b->state);
        CM_MUST(b->first <= b->end, "bracket %llu: blocks %llu to %llu", (llu)b->id, (llu)b->first,
                (llu)b->end);
        CM_MUST((b->next ? b->next->newer : f->oldest) == b, "bracket %llu: the next one's place",
                (llu)b->id);
        CM_MUST((b->regions & ~f->open_regions) == 0, "bracket %llu: regions", (llu)b->id);
        brackets++;
        data += b->data;
        stale += b->stale;
        own += b == &f->own;
        for (uint64_t g = b->first >> CM_GROUP_SHIFT;
             b->first < b->end && g <= (b->end - 1) >> CM_GROUP_SHIFT; g++)
            weigh(intents, cm_key_home(&c->media, b->incarnation, g).stripe, 1);
    }
    CM_MUST(brackets == f->open_brackets && data == f->open_data,
            "file %llu: %u brackets, %u of data; counted %u, %u", (llu)f->serial, brackets, data,
            f->open_brackets, f->open_data);
    CM_MUST(own == f->own_used, "file %llu: its own bracket is open %u, in use %d", (llu)f->serial,
            own, f->own_used);
    CM_MUST(stale == f->stale, "file %llu: %u stale brackets, %u counted", (llu)f->serial, stale,
            f->stale);
    return true;
}

static bool file_in_order(struct cm_cache *c, struct cm_object *f, char *text)
{
    CM_MUST(f->cache == c && f->refs > 0, "file %llu: attached with %u references", (llu)f->serial,
            f->refs);
    CM_MUST(f->handle == (uintptr_t)cm_object_handle(f), "file %llu: handle %llx", (llu)f->serial,
            (llu)f->handle);
    CM_MUST(cm_object_find(c, &f->id) == f, "file %llu: another object of its id comes first",
            (llu)f->serial);
    CM_MUST(!cm_lock_is_held(&f->lock), "file %llu: its lock is held", (llu)f->serial);
    CM_MUST(!f->bypassed || f->incarnation == 0, "file %llu: bypassed, with incarnation %llu",
            (llu)f->serial, (llu)f->incarnation);
    CM_MUST(f->place == CM_NO_PLACE || cm_file_place_is_open(c, f->place),
            "file %llu: record %llu is not marked as open", (llu)f->serial, (llu)f->place);
    return true;
}

static bool files_in_order(struct cm_cache *c, char *text)
{
    struct intents wanted = { 0, 0 }, found = { 0, 0 };
    CM_MUST(!cm_lock_is_held(&c->files_lock), "files: the lock is held");
    for (uint32_t i = 0; i < c->file_chains; i++)
        for (struct cm_object *f = c->file_hash[i]; f; f = f->next) {
            CM_MUST(cm_object_chain(c, &f->id) == &c->file_hash[i], "file %llu: in chain %u",
                    (llu)f->serial, i);
            if (!file_in_order(c, f, text) || !brackets_in_order(c, f, &wanted, text))
                return false;
        }
    for (uint64_t s = 0; s < c->media.geo.stripes; s++) {
        CM_MUST(!cm_lock_is_held(&c->stripes[s].lock), "stripe %llu: the lock is held", (llu)s);
        if (c->stripes[s].intents > 0)
            weigh(&found, s, c->stripes[s].intents);
    }
    CM_MUST(wanted.count == found.count, "stripes: %llu intents, the open brackets have %llu",
            (llu)found.count, (llu)wanted.count);
    CM_MUST(wanted.weighed == found.weighed,
            "stripes: %llu intents, not all where brackets are open", (llu)found.count);
    return true;
}

/* ---- Slots ----------------------------------------------------------------------------------- */

/* For a slot that this session has found right, or filled for a new version of a file: are its
 * key's buckets in the key's stripe, and does a cell there lead to the slot? */
static bool indexed(const struct cm_cache *c, uint64_t slot, const struct cm_header *h, char *text)
{
    const struct cm_media *m = &c->media;
    const struct cm_key k = cm_key_stored(m, h->incarnation, cm_header_block(h));
    struct cm_cells cells;
    unsigned here = 0;
    for (unsigned which = 0; which < 2; which++) {
        CM_MUST((k.place.bucket[which] - m->geo.index_first) / m->geo.stripe_buckets == k.stripe,
                "slot %llu: bucket %llu is not of stripe %llu", (llu)slot,
                (llu)k.place.bucket[which], (llu)k.stripe);
        if (cm_index_load(m, &k, which, &cells))
            return true; /* unreadable: nothing can be said */
    }
    for (unsigned i = 0; i < CM_PLACE_CELLS; i++)
        here += cm_index_match(m, &k, cells.cell[i]) && cm_cell_slot(cells.cell[i]) == slot &&
                cm_slot_leads(cells.cell[i], h, &k);
    CM_MUST(here > 0, "slot %llu: valid, and no cell leads to it (incarnation %llu, block %llu)",
            (llu)slot, (llu)h->incarnation, (llu)k.block);
    return true;
}

static bool slots_in_order(const struct cm_cache *c, char *text)
{
    const struct cm_ring *r = &c->policy.ring;
    struct cm_header h;
    for (uint32_t i = 0; i < r->free_count; i++)
        CM_MUST(cm_slot_header(&c->media, r->free[i], &h) != CM_SLOT_HIT,
                "slot %llu: free, and its header is valid", (llu)r->free[i]);
    for (uint64_t s = 0; s < r->slots; s++) {
        if (c->pins[s] & CM_PIN_DOOMED)
            CM_MUST((c->pins[s] & CM_PIN_COUNT) && cm_ring_is_owned(r, s),
                    "slot %llu: doomed, pins 0x%x, owned %d", (llu)s, c->pins[s],
                    cm_ring_is_owned(r, s));
        if (cm_slot_header(&c->media, s, &h) == CM_SLOT_HIT &&
            (cm_ring_is_verified(r, s) || h.incarnation >= c->super.first_incarnation) &&
            !indexed(c, s, &h, text))
            return false;
    }
    return true;
}

/* ---- The probation buffer -------------------------------------------------------------------- */

static bool buffer_in_order(const struct cm_probation *p, char *text)
{
    uint64_t live = 0, cells = 0;
    CM_MUST(p->used <= p->entries && (p->entries == 0 || p->next < p->entries),
            "buffer: next %llu, used %llu of %llu entries", (llu)p->next, (llu)p->used,
            (llu)p->entries);
    for (uint64_t e = 0; e < p->entries; e++) {
        live += p->entry[e].version & 1;
        CM_MUST(!p->entry[e].busy, "buffer: entry %llu is claimed, and nobody is at work", (llu)e);
    }
    for (uint64_t i = 0; p->entries > 0 && i < p->buckets * CM_PROBATION_WAYS; i++) {
        const uint32_t e = cm_probation_number(p, p->cell[i]);
        CM_MUST(e <= p->entries, "buffer: cell %llu names entry %u", (llu)i, e - 1);
        CM_MUST(e == 0 || (p->entry[e - 1].version & 1), "buffer: cell %llu leads to dead entry %u",
                (llu)i, e - 1);
        CM_MUST(e == 0 || p->cell[i] == cm_probation_cell(p, e - 1), "buffer: tag of cell %llu",
                (llu)i);
        cells += e != 0;
    }
    CM_MUST(cells == live, "buffer: %llu live entries, %llu cells", (llu)live, (llu)cells);
    return true;
}

static bool pins_in_order(const struct cm_cache *c, char *text)
{
    uint64_t pinned = 0;
    for (uint64_t s = 0; s < cm_media_slots(&c->media); s++)
        pinned += c->pins[s] & CM_PIN_COUNT;
    for (uint64_t e = 0; e < c->probation.entries; e++)
        pinned += c->probation.entry[e].pins;
    CM_MUST(pinned == c->pinned, "pins: %llu blocks are pinned, %llu are counted", (llu)pinned,
            (llu)c->pinned);
    return true;
}

bool cm_cache_in_order(struct cm_cache *c, char text[CM_INVARIANTS_TEXT])
{
    if (c->readonly || c->shared) /* no bracket, nothing is filled; the tables are the owner's */
        return true;
    const bool lost = c->media_errors > 0 || c->policy.ring.end < c->policy.ring.slots;
    return cm_policy_in_order(&c->policy, c->pins, lost, text) && files_in_order(c, text) &&
           slots_in_order(c, text) && buffer_in_order(&c->probation, text) &&
           pins_in_order(c, text);
}
