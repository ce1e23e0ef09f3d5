/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_record.c - what is durable of a file: its record, a failed fsync.
 *
 * Owns: which records open files own, and what happens when a record cannot be written or read.
 * Then nothing on the media may lead to an incarnation that was given up. If the record cannot be
 * dropped, a new epoch of the pool ensures this.
 *
 * Locks: a file's own lock, or files_lock while it is being attached.
 * Who: api/, protocol/, state/.
 */
#include "state/file_record.h"

#include "state/keep.h"
#include "state/region.h"
#include "state/settle.h"

#include <string.h>

#define SECOND INT64_C(1000000000)

/* If a file was last changed longer than this before the boot, the shutdown that ended the last
 * boot has synced it. The margin is wide, because the wall clock may have been set since. */
#define BOOT_MARGIN_NS (INT64_C(300) * 1000000000)

/* ---- Records --------------------------------------------------------------------------------- */

void cm_file_open_place(struct cm_cache *c, uint64_t place)
{
    at_or_acq_rel(&c->open_places[place / 64], UINT64_C(1) << place % 64);
}

void cm_file_close_place(struct cm_cache *c, uint64_t place)
{
    at_and_release(&c->open_places[place / 64], ~(UINT64_C(1) << place % 64));
}

int64_t cm_file_expires(const struct cm_object *f)
{
    if (f->ttl_ns == 0 || f->expires_ns == INT64_MAX)
        return f->ttl_ns == 0 ? 0 : INT64_MAX;
    const uint64_t ticks = cm_plat_now_ns(), left = f->ends_ns > ticks ? f->ends_ns - ticks : 0;
    /* No overflow: it is added only if the sum is below expires_ns. */
    const int64_t wall = cm_plat_wall_ns();
    return wall < f->expires_ns - (int64_t)left ? wall + (int64_t)left : f->expires_ns;
}

static struct cm_record_attr attr_of(const struct cm_object *f)
{
    return (struct cm_record_attr){ at_load_relaxed(&f->keep) != 0, at_load_relaxed(&f->group) };
}

/* `anew`: what is on the media of its regions does not count. */
static int write_record(struct cm_object *f, uint64_t incarnation, bool anew)
{
    if (f->place == CM_NO_PLACE)
        return 0; /* volatile: after a crash nothing leads to this incarnation anyway */
    if (anew &&
        cm_settling(f->cache)) /* whatever the disk has of the new incarnation has intents */
        f->regions.intents = CM_REGIONS_ALL;
    const struct cm_record_regions g = cm_region_recorded(f);
    struct cm_record r = { .id = f->id, .incarnation = incarnation };
    r.birth = f->regions.birth;
    r.region_shift = f->regions.shift;
    r.size = f->validator.size;
    if (f->has_validator) /* what was dropped must not match, not even that of an exclusive file */
        memcpy(r.proof, f->validator.proof, sizeof(r.proof));
    r.flags = !f->has_validator || f->validator.racy ? CM_RECORD_RACY : 0;
    r.flags |= at_load_relaxed(&f->bypassed) ? CM_RECORD_SYNC_FAILED : 0;
    int e = cm_record_write(&f->cache->media, f->place, &r, attr_of(f), anew ? &g : NULL);
    if (e == 0) {
        f->regions.size_loose = false;
        /* The record's fence was theirs, too. Where syncs decide, what was durable of the old
         * incarnation is so of the new one: the disk has one of the two. */
        if (anew && !cm_settling(f->cache))
            f->regions.durable = f->regions.intents;
    }
    if (e == 0 && f->ttl_ns > 0) { /* the recorded end may be another incarnation's */
        f->recorded_ns = cm_file_expires(f);
        e = cm_record_write_expiry(&f->cache->media, f->place, &r, f->recorded_ns);
    }
    return e;
}

int cm_file_write_record(struct cm_object *f, uint64_t incarnation)
{
    return write_record(f, incarnation, incarnation != f->incarnation);
}

/* Reads the file's record. false: it has none. If the record cannot be read, what is written next
 * will fail, too. If a seal fails, it is taken for whole: nobody else writes to the place. */
static bool load_own(const struct cm_object *f, struct cm_record *r)
{
    bool whole;
    if (f->place == CM_NO_PLACE)
        return false;
    const int e = cm_record_at(&f->cache->media, f->place, r, &whole);
    return e == CM_EIO ||
           ((whole || e == CM_ESEAL) && r->id.hi == f->id.hi && r->id.lo == f->id.lo);
}

static int restore(struct cm_object *f)
{
    struct cm_record r;
    if (f->place == CM_NO_PLACE || f->incarnation == 0 || load_own(f, &r))
        return 0;
    /* What is durable was so in the last epoch. */
    f->regions.durable = 0;
    f->regions.born = false;
    return write_record(f, f->incarnation, true);
}

void cm_file_restore_record(struct cm_object *f)
{
    /* If it fails, the record stays void: nothing leads to what is cached. Half of it does not
     * count, and words of the last epoch count as intents. */
    (void)restore(f);
}

int cm_file_write_size(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    struct cm_record r;
    if (!load_own(f, &r))
        return 0; /* no record, so no size either */
    r.size = f->validator.size;
    f->regions.size_loose = r.size == CM_SIZE_UNKNOWN;
    const int e = cm_record_write_size(&c->media, f->place, &r);
    return e ? cm_file_abandon_record(f, e) : 0;
}

int cm_file_write_attr(struct cm_object *f)
{
    int why = restore(f); /* beside a void record the word would say nothing */
    if (why == 0)
        why = cm_record_write_attr(&f->cache->media, f->place, &f->id, attr_of(f));
    if (why == 0)
        return 0;
    const int e = cm_file_abandon_record(f, why);
    return e ? e : why == CM_ESEAL ? CM_NOT_RECORDED : CM_EIO;
}

void cm_file_attr_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                           cm_file_info *info)
{
    const struct cm_record_attr attr = cm_record_attr(&c->media, place, r);
    info->keep = attr.keep;
    info->group = attr.group;
}

int cm_file_write_expiry(struct cm_object *f, int64_t wall_ns)
{
    struct cm_record r;
    f->recorded_ns = wall_ns;
    if (!load_own(f, &r))
        return 0;
    const int e = cm_record_write_expiry(&f->cache->media, f->place, &r, wall_ns);
    return e ? cm_file_abandon_record(f, e) : 0;
}

void cm_file_note_end(struct cm_object *f)
{
    assert(cm_lock_is_held(&f->lock));
    if (f->ttl_ns == 0)
        return;
    const int64_t end = cm_file_expires(f);
    const int64_t at = end < SECOND ? SECOND : end; /* a record has no earlier one */
    const int64_t off = at - f->recorded_ns;        /* both are about 1970, or later */
    if (off < -SECOND || off > SECOND)              /* so exact is the record */
        (void)cm_file_write_expiry(f, at);          /* if it fails, the file loses its record */
}

/* The last resort of forgetting. */
int cm_file_bump_epoch(struct cm_cache *c)
{
    cm_count(c, CM_STAT_escalations, 1);
    /* If it fails, this session serves nothing, and returns CM_EFORGET until a bump succeeds. */
    return cm_cache_empty(c) ? CM_EFORGET : 0;
}

int cm_file_disbelieve(struct cm_cache *c, uint64_t key)
{
    uint32_t no = CM_SAY_NOTHING;
    cm_count(c, CM_STAT_escalations, 1);
    (void)at_cas_acq_rel(&c->older, &no, CM_SAY_DUE);
    const int e = cm_super_disbelieve(&c->super, key, &c->broken);
    if (e == 0)
        cm_cache_emptied(c);
    return e ? CM_EFORGET : 0;
}

/* Reads all records that may be the file's. If one has a number that this pool has not handed out
 * yet, or speaks of a boot that it has not seen, the pool is emptied. */
int cm_file_load_records(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *b)
{
    uint64_t key = cm_media_key(&c->media);
    cm_record_load(&c->media, id, b);
    int e = b->any_unproved ? CM_ESEAL : 0; /* a record of the file may be among these */
    for (unsigned i = 0; i < b->n && e == 0; i++)
        if (b->whole[i] && (cm_super_is_older(&c->super, b->record[i].incarnation) ||
                            cm_region_is_newer(c, cm_record_place(b, i), &b->record[i]))) {
            e = cm_file_disbelieve(c, key);
            cm_record_load(&c->media, id, b);
            if (e == 0 && b->any_unproved)
                e = CM_ESEAL;
        }
    return e;
}

/* The file goes on without a record. */
static void leave_record(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    at_store_relaxed(&f->place, CM_NO_PLACE);
    if (at_load_relaxed(&f->keep)) {
        at_store_relaxed(&f->keep, 0u);
        cm_keep_move(c, f->incarnation, 0, 0);
    }
    if (at_load_relaxed(&f->handle) != 0) /* else attach_new counts it */
        cm_count(c, CM_STAT_unrecorded, 1);
}

/* The file's record cannot be sealed. The media are sound, so it can be dropped. */
static int drop_unsealed(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    const uint64_t page = f->place / CM_RECORD_WAYS * CM_BLOCK_SIZE, place = f->place;
    leave_record(f);
    if (!f->recorded) /* it is another file's, or none: nothing was written */
        return 0;
    cm_file_open_place(c, place);
    if (cm_record_drop(&c->media, place))
        return cm_file_bump_epoch(c);
    /* Where syncs decide, the disk must not have the record any more. */
    const int e =
        cm_settling(c) ? cm_settle_part(c, c->media.geo.record_offset + page, CM_BLOCK_SIZE) : 0;
    if (e == 0) /* else it is as good as broken */
        cm_file_close_place(c, place);
    return e == CM_EIO ? 0 : e; /* then the whole pool was emptied instead */
}

int cm_file_abandon_record(struct cm_object *f, int why)
{
    struct cm_cache *c = f->cache;
    struct cm_record r;
    bool whole;
    uint64_t place = f->place;
    if (place == CM_NO_PLACE)
        return 0;
    if (why == CM_ESEAL)
        return drop_unsealed(f);
    cm_file_open_place(c, place); /* never closed again: other files could not write it either */
    leave_record(f);
    if (cm_record_drop(&c->media, place) == 0 && !cm_settling(c))
        return 0;
    /* Where syncs decide, the record may still be on the disk, and no intent can be set there. That
     * does no harm if the record was never written for this file, and the place has no record, or
     * another file's: then no old incarnation can come back. (A hole of a sparse pool on a full
     * volume reads as zeros and cannot be written.) */
    if (!f->recorded && (cm_record_is_hole(&c->media, place) ||
                         (cm_record_at(&c->media, place, &r, &whole) == 0 &&
                          (!whole || r.id.hi != f->id.hi || r.id.lo != f->id.lo))))
        return 0;
    return cm_file_bump_epoch(c);
}

/* A record that cannot be read may be that of the file, with an incarnation that is given up now.
 * It must not count when it can be read again. `trust_dax`: with DAX it cannot be read again,
 * because the system remembers a lost line until something else is written to it. That is good
 * enough where a validator is checked as well. */
int cm_file_void_unreadable(struct cm_cache *c, const struct cm_record_set *b, bool trust_dax)
{
    bool left = false;
    for (unsigned i = 0; i < b->n; i++) {
        uint64_t place = cm_record_place(b, i);
        if (!b->unreadable[i] || cm_file_place_is_open(c, place) ||
            cm_record_is_hole(&c->media, place) || cm_record_drop(&c->media, place) == 0 ||
            (trust_dax && !c->super.sync && c->super.now.durability == CM_DURABILITY_DAX))
            continue;
        cm_file_open_place(c, place); /* never closed again: it is void, and no file may use it */
        left = true;
    }
    return left ? cm_file_bump_epoch(c) : 0;
}

/* No record names the file. One that is not whole may have been its record, for a reader of another
 * process that has judged it before. It is told that nothing counts any more. (A record of an open
 * file may be in the middle of a change.) */
int cm_file_stop_torn(struct cm_cache *c, const struct cm_record_set *b)
{
    bool left = false;
    for (unsigned i = 0; i < b->n; i++) {
        const uint64_t place = cm_record_place(b, i);
        if (!b->whole[i] && !b->unreadable[i] && b->record[i].incarnation != 0 &&
            !cm_file_place_is_open(c, place) && cm_record_stop(&c->media, place))
            left = true;
    }
    return left ? cm_file_bump_epoch(c) : 0;
}

/* ---- Unsynced writes ------------------------------------------------------------------------- */

/* The clock may have been set back, and forward again: what changed in between looks older than the
 * boot. So the earliest claim of the session counts. */
int64_t cm_file_boot_wall(struct cm_cache *c)
{
    const int64_t now = cm_plat_boot_wall_ns();
    int64_t first = at_load_relaxed(&c->boot_wall_ns); /* relaxed: a number, and nothing with it */
    if (now == INT64_MIN)
        return now; /* for now: it may be known later */
    while (now < first && !at_cas_acq_rel(&c->boot_wall_ns, &first, now))
        ;
    return now < first ? now : first;
}

/* Could the origin hold writes that a power cut would take back? */
bool cm_file_born_dirty(struct cm_cache *c, const cm_validator *v)
{
    if (v && v->changed_ns == CM_CHANGED_LONG_AGO)
        return false; /* also if the boot is unknown, or was in 1970 by the clock */
    if (!v || v->changed_ns == 0)
        return true; /* unknown */
    const int64_t boot = cm_file_boot_wall(c);
    return boot < INT64_MIN + BOOT_MARGIN_NS || v->changed_ns > boot - BOOT_MARGIN_NS;
}

/* ---- Failed fsyncs --------------------------------------------------------------------------- */

/* Did an fsync of the file fail in this boot? Then the page cache may hold what the origin lost. */
bool cm_file_record_failed(struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    bool dirty;
    uint32_t boot;
    if (!(r->flags & CM_RECORD_SYNC_FAILED))
        return false;
    const struct cm_super_failed failed = cm_super_failed(&c->super);
    if (!cm_format_state_read(cm_media_key(&c->media), place, r, &dirty, &boot))
        return failed.any; /* a damaged word, or one of an earlier epoch */
    return boot == c->super.now.boot_number || failed.unnamed;
}

bool cm_file_record_hides(struct cm_cache *c, const struct cm_record *r)
{
    return cm_super_failed(&c->super).all && !cm_record_is_of_objects(r); /* they have no fsync */
}

/* Is there a record of an unknown file, and may an fsync of that file have failed? Then notes it in
 * the superblock, before the record is dropped. One that could not be judged stays. */
bool cm_file_note_lost(struct cm_cache *c, const struct cm_record_set *b)
{
    if (!cm_super_failed(&c->super).any)
        return false;
    for (unsigned i = 0; i < b->n; i++)
        if (b->unreadable[i] || (!b->whole[i] && !b->unproved[i] && b->record[i].xxh3 != 0 &&
                                 (b->record[i].flags & CM_RECORD_SYNC_FAILED))) {
            (void)cm_super_sync_failed(&c->super, false); /* known in this session all the same */
            return true;
        }
    return false;
}

/* May an fsync of the file have failed in this boot? `r`: its record, which another boot may have
 * written since. NULL: none was found; then a record that cannot be read, or is damaged, may be the
 * file's. */
bool cm_file_may_have_failed(struct cm_cache *c, const struct cm_record_set *b, uint64_t place,
                             const struct cm_record *r)
{
    if (r)
        return cm_file_record_failed(c, place, r) || cm_file_record_hides(c, r);
    return cm_file_note_lost(c, b) || cm_super_failed(&c->super).unnamed;
}
