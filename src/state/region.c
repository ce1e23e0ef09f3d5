/* SPDX-License-Identifier: BSD-2-Clause
 *
 * region.c - the regions of a file: what a crash of the system takes of it.
 *
 * Owns: cm_object.regions, and the order of what is written of it. An intent that is found set
 * proves nothing, because a crashed owner may not have made it durable. So only what this session
 * itself has made durable counts (`durable`). With DAX a flush does it at once. In a checkpointed
 * pool a sync does it, without any lock; and only a checkpoint clears intents.
 *
 * Locks: the file's own, or files_lock while it is being attached.
 * Who: api/, protocol/, state/.
 */
#include "state/region.h"

#include <string.h>

#include "state/settle.h"

#define SHIFT_MIN 8u      /* 1 MiB: a write of a database marks no more than it has to */
#define SHIFT_UNKNOWN 12u /* 16 MiB: 64 of them go around once in 1 GiB */
#define SHIFT_MAX 51u     /* all blocks are in one region */

uint32_t cm_region_shift(uint64_t size)
{
    uint32_t shift = SHIFT_MIN;
    if (size == CM_SIZE_UNKNOWN)
        return SHIFT_UNKNOWN;
    while (shift < SHIFT_MAX && size / CM_BLOCK_SIZE >> shift >= CM_REGIONS)
        shift++;
    return shift;
}

static uint64_t bit_of(uint64_t block, uint32_t shift)
{
    return UINT64_C(1) << cm_format_region(shift, block);
}

uint64_t cm_region_mask(const struct cm_object *f, uint64_t first, uint64_t end)
{
    const uint32_t shift = f->regions.shift;
    uint64_t mask = 0;
    if (first >= end)
        return 0;
    const uint64_t last = (end - 1) >> shift;
    if (last - (first >> shift) >= CM_REGIONS - 1)
        return CM_REGIONS_ALL;
    for (uint64_t run = first >> shift; run <= last; run++)
        mask |= UINT64_C(1) << run % CM_REGIONS;
    return mask;
}

/* ---- Attaching ------------------------------------------------------------------------------- */

/* Boots since the record's birth. */
static uint32_t boots_since(const struct cm_cache *c, uint32_t birth)
{
    return (c->super.now.boot_number - birth) & 0x7fffffff;
}

bool cm_region_is_newer(const struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    struct cm_record_regions g;
    cm_record_regions(&c->media, place, r, &g);
    const uint32_t ahead = (g.boot - c->super.now.boot_number) & 0x7fffffff;
    return g.known && ahead > 0 && ahead < UINT32_C(1) << 30;
}

bool cm_region_was_dirty(const struct cm_cache *c, const struct cm_record_regions *g)
{
    if (!g->known || g->boot == c->super.now.boot_number)
        return g->dirty;
    /* The pool's volume was put back in the same boot of the system. The origin may be on another
     * one, and has lost nothing. The state word may be older than the intents. */
    return !cm_super_booted_since(&c->super, g->boot) && g->intents != 0;
}

bool cm_region_may_keep(const struct cm_cache *c, const struct cm_record *r)
{
    return r->region_shift <= SHIFT_MAX && boots_since(c, r->birth) < CM_BOOTS;
}

int cm_region_size(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                   uint64_t *size)
{
    struct cm_record_regions g;
    const int e = cm_record_load_size(&c->media, place, r, size);
    if (*size == CM_SIZE_UNKNOWN)
        return e;
    cm_record_regions(&c->media, place, r, &g);
    /* A change of the size sets the intent of the region where the old size ends. */
    if (r->region_shift > SHIFT_MAX ||
        (!(g.known && g.boot == c->super.now.boot_number) &&
         (g.intents & bit_of(*size / CM_BLOCK_SIZE, r->region_shift))))
        *size = CM_SIZE_UNKNOWN;
    return 0;
}

int cm_region_keep(struct cm_object *f, const struct cm_record *r, uint64_t size)
{
    struct cm_cache *c = f->cache;
    struct cm_regions *g = &f->regions;
    struct cm_record_regions was;
    cm_record_regions(&c->media, f->place, r, &was);
    g->birth = r->birth;
    g->shift = r->region_shift;
    g->intents = was.intents;
    g->durable = 0;
    /* A writer of this boot may have been killed: nothing is lost, and not all is safe. */
    const bool same_boot = was.boot == c->super.now.boot_number;
    const uint64_t anew = was.unknown | (same_boot ? 0 : was.intents);
    g->dirty = cm_region_was_dirty(c, &was);
    g->unsynced = g->dirty ? was.intents : 0;
    for (unsigned i = 0; i < CM_REGIONS; i++) {
        if (anew >> i & 1)
            was.since[i] = (uint8_t)boots_since(c, r->birth);
        at_store_relaxed(&g->since[i], was.since[i]);
        if (was.since[i] != 0)
            at_store_relaxed(&f->raised, 1u);
    }
    int e = anew ? cm_record_write_since(&c->media, f->place, r->incarnation, &was) : 0;
    if (e == 0 && size == CM_SIZE_UNKNOWN && r->size != size) {
        /* Before the state word is written: in a record of this boot the size counts. */
        struct cm_record unknown = *r;
        unknown.size = CM_SIZE_UNKNOWN;
        g->size_loose = true;
        e = cm_record_write_size(&c->media, f->place, &unknown);
    }
    /* The first write in this boot stores a state word. Until then, the old one is right. */
    if (e || was.known)
        return e;
    was.boot = c->super.now.boot_number;
    return cm_record_write_state(&c->media, f->place, r->incarnation, &was);
}

void cm_region_begin(struct cm_object *f, uint32_t shift, bool dirty)
{
    struct cm_regions *g = &f->regions;
    const struct cm_regions was = *g;
    memset(g, 0, sizeof(*g));
    g->lost = was.lost;
    memcpy(g->lost_until, was.lost_until, sizeof(g->lost_until));
    g->born = cm_settling(f->cache);
    g->durable = g->born && g->lost == 0 ? CM_REGIONS_ALL : 0;
    at_store_relaxed(&f->raised, 0u);
    g->birth = f->cache->super.now.boot_number;
    g->shift = shift;
    g->dirty = dirty;
    g->unsynced = dirty ? CM_REGIONS_ALL : 0;
    g->intents = dirty || cm_settling(f->cache) ? CM_REGIONS_ALL : 0;
}

/* ---- The record ------------------------------------------------------------------------------ */

struct cm_record_regions cm_region_recorded(const struct cm_object *f)
{
    struct cm_record_regions g = { .known = true, .boot = f->cache->super.now.boot_number };
    g.intents = f->regions.intents;
    g.dirty = f->regions.dirty;
    memcpy(g.since, f->regions.since, sizeof(g.since));
    return g;
}

/* Is there a record to write to? Nothing is cached of a file without an incarnation. */
static bool has_record(const struct cm_object *f)
{
    return f->place != CM_NO_PLACE && f->incarnation != 0;
}

static int set_dirty(struct cm_object *f, bool dirty)
{
    struct cm_record_regions g;
    f->regions.dirty = dirty;
    if (!has_record(f))
        return 0;
    /* Not flushed: it counts in this boot only. After a crash of the system the intents count. */
    g = cm_region_recorded(f);
    return cm_record_write_state(&f->cache->media, f->place, f->incarnation, &g);
}

/* ---- Writes ---------------------------------------------------------------------------------- */

void cm_region_all_unsynced(struct cm_object *f)
{
    struct cm_regions *g = &f->regions;
    assert(cm_lock_is_held(&f->lock));
    g->dirty = true;
    g->unsynced = g->intents = CM_REGIONS_ALL;
    g->begun_everywhere = f->data_begun;
}

/* Records that the origin is about to be written, and the intents that are not durable yet. */
static int record_intents(struct cm_object *f, uint64_t need)
{
    struct cm_regions *g = &f->regions;
    const struct cm_media *m = &f->cache->media;
    int e = g->dirty ? 0 : set_dirty(f, true);
    if (e || need == 0)
        return e;
    g->intents |= need;
    if (has_record(f)) {
        e = cm_record_write_intents(m, f->place, f->incarnation, g->intents);
        /* The lock is held over the fence. So a second writer cannot go on while the first one
         * still sets the intent. */
        e = e ? e : cm_record_settle_intents(m, f->place);
    }
    if (!cm_settling(f->cache))
        g->durable |= need;
    return e;
}

int cm_region_intend(struct cm_object *f, uint64_t mask)
{
    struct cm_regions *g = &f->regions;
    assert(cm_lock_is_held(&f->lock) && mask != 0);
    if (mask == CM_REGIONS_ALL)
        g->begun_everywhere = f->data_begun;
    else
        for (uint64_t left = mask; left; left &= left - 1)
            g->begun[at_lowest_bit64(left)] = f->data_begun;
    g->unsynced |= mask;
    const uint64_t need = mask & ~g->durable;
    return g->dirty && need == 0 ? 0 : record_intents(f, need);
}

int cm_region_settle(struct cm_object *f, const struct cm_open_bracket *b)
{
    struct cm_regions *g = &f->regions;
    cm_lock_acquire(&f->lock);
    const struct cm_regions was = *g;
    const uint64_t place = f->place;
    cm_lock_release(&f->lock);
    const uint8_t lost = cm_settle_still_lost(f->cache, &f->id, was.lost, was.lost_until);
    /* If it began anew, and none of its intents was cleared yet, then the disk has this record with
     * all intents, or none of the file, but for older ones in pages that are lost. */
    const bool born = was.born && was.clears == 0;
    const int e = cm_settle_pages(f->cache, &f->id, lost, born ? CM_NO_PLACE : place);
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    g->lost &= (uint8_t)~was.lost;
    /* All that were set are durable now. If one was cleared meanwhile, and perhaps set again, this
     * is known only of those that the caller's bracket keeps set. An aborted one keeps none. */
    const uint64_t mine = b && at_load_relaxed(&b->state) != CM_BRACKET_ORPHANED ? b->regions : 0;
    g->durable |= (g->clears == was.clears ? was.intents : mine) & g->intents;
    cm_lock_release(&f->lock);
    return 0;
}

int cm_region_settle_version(struct cm_object *f, uint64_t was)
{
    if (!cm_settling(f->cache))
        return 0;
    cm_lock_acquire(&f->lock);
    const bool another = f->incarnation != was;
    cm_lock_release(&f->lock);
    return another ? cm_region_settle(f, NULL) : 0;
}

/* ---- Syncs of the origin --------------------------------------------------------------------- */

/* The number of the last change that began in a region. */
static uint64_t last_begun(const struct cm_regions *g, unsigned region)
{
    return g->begun[region] > g->begun_everywhere ? g->begun[region] : g->begun_everywhere;
}

/* The regions of all open brackets. Mostly these are few, and the newest brackets have them all. */
static uint64_t open_regions(struct cm_object *f)
{
    uint64_t open = 0;
    for (const struct cm_open_bracket *b = f->brackets; b && open != f->open_regions; b = b->next)
        open |= b->regions;
    f->open_regions = open;
    return open;
}

void cm_region_sync_begin(struct cm_object *f, cm_sync *s)
{
    assert(cm_lock_is_held(&f->lock));
    s->opaque[0] = f->data_begun;
    s->opaque[1] = f->serial;
    s->opaque[2] = open_regions(f);
}

/* Clears intents: the origin holds what was written there. */
static void clear(struct cm_object *f, uint64_t mask)
{
    struct cm_regions *g = &f->regions;
    const struct cm_media *m = &f->cache->media;
    g->intents &= ~mask;
    g->durable &= ~mask;
    g->clears++;
    if (!has_record(f))
        return;
    /* Before the intent that outweighs an older size: cm_record_write_size. */
    if (g->size_loose && cm_record_settle(m, f->place))
        return;
    g->size_loose = false;
    /* If it fails, the intents stay (or words that count as intents), which is safe. */
    if (cm_record_write_intents(m, f->place, f->incarnation, g->intents) == 0)
        (void)cm_record_settle_intents(m, f->place);
}

void cm_region_synced(struct cm_object *f, const cm_sync *s)
{
    struct cm_regions *g = &f->regions;
    assert(cm_lock_is_held(&f->lock));
    for (uint64_t left = g->unsynced & ~s->opaque[2]; left; left &= left - 1) {
        const unsigned i = at_lowest_bit64(left);
        /* No change was open there when the sync began, and none has begun since. */
        if (last_begun(g, i) <= s->opaque[0])
            g->unsynced &= ~(UINT64_C(1) << i);
    }
    /* In a checkpointed pool what was forgotten may not be durable: cm_region_check_end. */
    if ((g->intents & ~g->unsynced) && !cm_settling(f->cache))
        clear(f, g->intents & ~g->unsynced);
    if (g->dirty && g->unsynced == 0)
        (void)set_dirty(f, false);
}

/* ---- Checkpoints ----------------------------------------------------------------------------- */

void cm_region_check_begin(struct cm_object *f)
{
    struct cm_regions *g = &f->regions;
    assert(cm_lock_is_held(&f->lock));
    g->check_incarnation = f->incarnation;
    g->check_begun = f->data_begun;
    /* A bracket that is open may not have forgotten its blocks yet. */
    g->check_open = open_regions(f);
}

void cm_region_check_end(struct cm_object *f)
{
    struct cm_regions *g = &f->regions;
    uint64_t safe = g->intents & ~g->unsynced & ~g->check_open;
    assert(cm_lock_is_held(&f->lock));
    if (g->check_incarnation == 0 || g->check_incarnation != f->incarnation)
        return;
    for (uint64_t left = safe; left; left &= left - 1) {
        const unsigned i = at_lowest_bit64(left);
        if (last_begun(g, i) > g->check_begun)
            safe &= ~(UINT64_C(1) << i);
    }
    if (safe != 0)
        clear(f, safe);
}

void cm_region_unsettle(struct cm_object *f)
{
    assert(cm_lock_is_held(&f->lock));
    f->regions.durable = 0;
    f->regions.born = false;
    cm_settle_look(f);
}
