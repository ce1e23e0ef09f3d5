/* SPDX-License-Identifier: BSD-2-Clause
 *
 * attach.c - attaches, detaches and forgets files.
 *
 * Owns: the judgement whether what an earlier session cached of a file may be kept, the choice of
 * a record for a file that has none, and forgetting a file by its id.
 *
 * Locks: files_lock.
 * Who: api/, state/.
 */
#include "state/attach.h"

#include <assert.h>
#include <string.h>

#include "state/ended.h"
#include "state/file.h"
#include "state/file_name.h"
#include "state/file_record.h"
#include "state/file_use.h"
#include "state/keep.h"
#include "state/quota.h"
#include "state/object.h"
#include "state/region.h"
#include "state/settle.h"
#include "state/told.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- Attaching ------------------------------------------------------------------------------- */

/* Chooses the record for a file that has none: an unused one, in the bucket that has more of them.
 * If there is none: a random one that no open file owns, and of no kept file; those of objects are
 * the last, because no origin has what is in them. But only half of the places are for those:
 * containers that nobody opens any more must not take the room of all files. (Not the oldest: if
 * more files than fit are read in turn, each would then be forgotten before its next turn.) */
static uint64_t choose_place(struct cm_cache *c, const struct cm_record_set *b)
{
    uint64_t candidate[2][CM_RECORD_PLACES], unused[CM_RECORD_CHOICES];
    unsigned n[2] = { 0 }, free[CM_RECORD_CHOICES] = { 0 };
    for (unsigned i = 0; i < b->n; i++) {
        uint64_t place = cm_record_place(b, i);
        unsigned bucket = i / CM_RECORD_WAYS;
        if (cm_file_place_is_open(c, place) || b->unreadable[i])
            continue;
        if (b->whole[i] && cm_file_record_failed(c, place, &b->record[i]))
            continue; /* it keeps its file out of the cache */
        if (b->whole[i] && cm_record_attr(&c->media, place, &b->record[i]).keep)
            continue;
        const unsigned last = cm_record_is_of_objects(&b->record[i]) && n[1] < b->n / 2;
        if (b->whole[i])
            candidate[last][n[last]++] = place;
        else if (free[bucket]++ == 0)
            unused[bucket] = place;
    }
    if (free[0] > 0 || free[1] > 0)
        return free[0] >= free[1] ? unused[0] : unused[1];
    const unsigned from = n[0] == 0;
    if (!b->any_unreadable) /* else a page is missing, and files are not too many */
        cm_say_once(&c->crowded);
    if (n[from] == 0)
        return CM_NO_PLACE;
    cm_count(c, CM_STAT_records_evicted, 1);
    return candidate[from][XXH3_64bits(&c->serial, sizeof(c->serial)) % n[from]];
}

/* Nothing will lead to the blocks of a record's incarnation any more. */
static void end_incarnation(struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    cm_keep_move(c, r->incarnation, 0, 0);
    cm_quota_move(c, r->incarnation, 0, 0);
    cm_ended_note(c, r->incarnation, cm_record_size(&c->media, place, r));
}

/* Finds the file's record. If two have its id, neither proves anything: both are dropped. */
static int find_record(struct cm_object *f, const struct cm_record_set *b,
                       const struct cm_record **rec)
{
    struct cm_cache *c = f->cache;
    unsigned found = 0;
    *rec = NULL;
    f->place = CM_NO_PLACE;
    for (unsigned i = 0; i < b->n; i++)
        if (cm_record_names(b, i, &f->id)) {
            found++;
            *rec = &b->record[i];
            f->place = cm_record_place(b, i);
            f->recorded = true;
            cm_file_name_begin(f, &b->record[i]);
        }
    if (found <= 1)
        return 0;
    *rec = NULL;
    f->named = false;
    for (unsigned i = 0; i < b->n; i++) {
        if (!cm_record_names(b, i, &f->id))
            continue;
        if (cm_file_record_failed(c, cm_record_place(b, i), &b->record[i]))
            (void)cm_super_sync_failed(&c->super, false);
        cm_settle_lose(c, cm_record_place(b, i), &f->id);
        end_incarnation(c, cm_record_place(b, i), &b->record[i]);
        if (cm_record_drop(&c->media, cm_record_place(b, i)))
            return cm_file_bump_epoch(c);
    }
    return 0;
}

bool cm_files_may_keep(const struct cm_cache *c, uint64_t place, uint32_t flags,
                       const struct cm_record *r, uint64_t size, const cm_validator *v)
{
    struct cm_record_regions g;
    if (!r || r->incarnation == 0 || (r->flags & CM_RECORD_SYNC_FAILED) || !v ||
        !cm_file_has_proof(v) ||
        ((v->racy || (r->flags & CM_RECORD_RACY)) && !(flags & CM_EXCLUSIVE)) ||
        !cm_file_same(v, r->proof, size) || !cm_region_may_keep(c, r))
        return false;
    cm_record_regions(&c->media, place, r, &g);
    /* After a crash of the system the state word may be older than the intents. */
    return !((g.dirty || g.intents != 0) && (flags & CM_ORIGIN_VOLATILE));
}

void cm_files_note_cold(struct cm_cache *c, uint64_t place, uint32_t flags,
                        const struct cm_record *r, uint64_t size, const cm_validator *v)
{
    if (v && !(v->racy & ~(uint32_t)CM_RACY_TIMES) && /* else another line says so, or none helps */
        !cm_files_may_keep(c, place, flags, r, size, v) &&
        cm_files_may_keep(c, place, flags | CM_EXCLUSIVE, r, size, v))
        cm_say_once(&c->cold);
}

static void keep(struct cm_object *f, const struct cm_record *r, uint64_t recorded,
                 const cm_validator *v)
{
    assert(r && v); /* cm_files_may_keep */
    cm_file_set_validator(f, v);
    f->validator.size = recorded;
    f->incarnation = r->incarnation;
    cm_file_set_size(f, v->size == CM_SIZE_UNKNOWN ? recorded : v->size);
    f->kept = true;
    if (f->keep)
        cm_keep_move(f->cache, f->incarnation, f->incarnation, f->size);
    if (f->share)
        cm_quota_move(f->cache, 0, f->incarnation, f->share);
    f->limit = f->size; /* nothing past the size of an unchanged file was cached */
    cm_count(f->cache, CM_STAT_attach_kept, 1);
}

/* Which of the records lies at a place? */
static const struct cm_record *record_at(const struct cm_record_set *b, uint64_t place, bool *whole)
{
    uint64_t i = place - b->first[0];
    if (i >= CM_RECORD_WAYS)
        i = CM_RECORD_WAYS + (place - b->first[1]);
    *whole = b->whole[i];
    return &b->record[i];
}

/* Must the old bytes at a new record's place be dropped before anything is written there? They may
 * be a torn record of this same file. It may lack just the words that it has in common with the new
 * record. Then a crash while the new one is written could make the old one whole. */
static bool goes_first(const struct cm_record_set *b, uint64_t place)
{
    bool whole;
    const struct cm_record *r = record_at(b, place, &whole);
    return !whole && r->xxh3 != 0;
}

/* A file takes a place of the table. A name that the place has is of another file, or this one was
 * forgotten since. The new record, which is flushed with the line of this word, makes the end of
 * that name durable. */
static void take_place(struct cm_object *f, const struct cm_record_set *b)
{
    const struct cm_record *r;
    bool whole;
    f->place = choose_place(f->cache, b);
    if (f->place == CM_NO_PLACE)
        return;
    r = record_at(b, f->place, &whole);
    cm_file_name_end_recorded(f->cache, f->place, r);
    if (whole) {
        cm_settle_lose(f->cache, f->place, &r->id);
        end_incarnation(f->cache, f->place, r);
    }
}

/* May the origin lose writes of a file that begins anew? Its times may say no, and its record yes:
 * a write of this boot is not synced. Of an exclusive file nothing shows that a write was lost, and
 * its record may be gone. */
static bool begins_dirty(const struct cm_object *f, const struct cm_record *r,
                         const cm_validator *v)
{
    struct cm_cache *c = f->cache;
    struct cm_record_regions g = { .dirty = false };
    bool recorded = false;
    if (r) {
        cm_record_regions(&c->media, f->place, r, &g);
        recorded = cm_region_was_dirty(c, &g) || (g.dirty && (f->flags & CM_ORIGIN_VOLATILE));
    }
    return recorded || cm_file_born_dirty(c, v) || (f->flags & CM_EXCLUSIVE);
}

/* Drops the records that cannot be read. They may be those of other files. */
static int void_unreadable(struct cm_cache *c, const struct cm_record_set *b, bool trust_dax)
{
    for (unsigned i = 0; i < b->n; i++)
        if (b->unreadable[i])
            cm_settle_lose(c, cm_record_place(b, i), NULL);
    return cm_file_void_unreadable(c, b, trust_dax);
}

/* `r`: the record that the file has and cannot keep, or NULL. */
static int begin_anew(struct cm_object *f, const struct cm_record_set *b, const struct cm_record *r,
                      const cm_validator *v)
{
    struct cm_cache *c = f->cache;
    const bool dirty = begins_dirty(f, r, v);
    int e = 0;
    if (f->place != CM_NO_PLACE) {
        /* The disk may have the old record for some time. */
        cm_settle_lose(c, f->place, &f->id);
        cm_settle_look(f);
        if (r) /* if it is kept, that is renewed below */
            end_incarnation(c, f->place, r);
    } else {
        e = void_unreadable(c, b, true);
        cm_settle_look(f);
        /* A crashed owner may have torn an old record of this file that is still whole on the
         * media. It is made durable as it is now, so it cannot come back as a second record. */
        cm_record_settle_set(&c->media, b);
        take_place(f, b);
    }
    f->size = f->validator.size = CM_SIZE_UNKNOWN;
    if (v) {
        cm_file_set_validator(f, v);
        f->size = v->size;
    }
    cm_count(c, CM_STAT_attach_new, 1);
    cm_region_begin(f, cm_region_shift(f->size), dirty);
    if (e == 0 && f->place != CM_NO_PLACE && goes_first(b, f->place) &&
        cm_record_drop(&c->media, f->place))
        e = cm_file_abandon_record(f, CM_EIO);
    return e ? e : cm_file_renew(f);
}

/* An fsync of this file failed in this boot, and nothing is cached. Its record stays as it is. But
 * one that does not say so is replaced: nobody records there what is written from now on. */
static int stay_out(struct cm_object *f, const struct cm_record_set *b, const struct cm_record *r,
                    const cm_validator *v)
{
    if (r && !(r->flags & CM_RECORD_SYNC_FAILED)) {
        int e = begin_anew(f, b, r, v);
        cm_lock_acquire(&f->lock);
        e = e ? e : cm_file_sync_failed(f);
        cm_lock_release(&f->lock);
        return e;
    }
    cm_file_bypass(f);
    f->size = f->validator.size = CM_SIZE_UNKNOWN;
    if (v) {
        cm_file_set_validator(f, v);
        f->size = v->size;
    }
    f->regions.dirty = true;
    cm_count(f->cache, CM_STAT_attach_new, 1);
    return 0;
}

/* *replaced: in a checkpointed pool, the disk may have another version's record of the file. */
static int attach_new(struct cm_cache *c, const cm_file_id *id, const cm_validator *v,
                      uint32_t flags, struct cm_object **file, bool *replaced)
{
    struct cm_object *f = cm_object_get_free(c);
    struct cm_record_set *b = c->records;
    const struct cm_record *r = NULL;
    uint64_t size = CM_SIZE_UNKNOWN;
    f->cache = c;
    f->id = *id;
    f->flags = flags;
    f->refs = 1;
    f->serial = ++c->serial;
    f->floor_ns = cm_object_floor(c, id);
    bool ignored = v && !cm_file_proves(f, v);
    if (ignored)
        v = NULL;
    int e = cm_file_can_forget(c);
    if (e == 0)
        e = cm_file_load_records(c, id, b);
    if (e == 0)
        e = find_record(f, b, &r);
    if (e == 0)
        e = r ? cm_region_size(c, f->place, r, &size) : cm_file_stop_torn(c, b);
    cm_settle_look(f);
    const struct cm_record_attr attr = cm_record_attr(&c->media, f->place, r);
    f->keep = attr.keep;
    f->group = attr.group;
    f->share = cm_quota_share(c, f->group);
    if (e == 0) {
        if (cm_file_may_have_failed(c, b, f->place, r))
            e = stay_out(f, b, r, v);
        else if (cm_files_may_keep(c, f->place, f->flags, r, size, v) &&
                 cm_region_keep(f, r, size) == 0 && cm_record_settle(&c->media, f->place) == 0)
            keep(f, r, size, v);
        else {
            cm_files_note_cold(c, f->place, f->flags, r, size, v);
            e = begin_anew(f, b, r, v);
        }
    }
    if (e) {
        cm_object_put_free(c, f);
        return e;
    }
    cm_file_use_begin(f);
    if (f->place != CM_NO_PLACE) {
        cm_file_open_place(c, f->place);
        cm_settle_wake(c, f->place);
    } else {
        cm_count(c, CM_STAT_unrecorded, 1);
    }
    f->next = *cm_object_chain(c, id);
    *cm_object_chain(c, id) = f;
    *file = f;
    at_store_release(&f->handle, (uintptr_t)cm_object_handle(f));
    *replaced = cm_settling(c) && r && !f->kept;
    return ignored ? CM_IGNORED : 0;
}

/* The end of an attach: `e` is its result, and `failed` that of the sync that it waited for. Gives
 * the handle, or takes the reference back. */
static int settled(struct cm_object *f, int failed, int e, cm_file **file)
{
    if (failed == 0 && e >= 0) {
        *file = cm_object_handle(f);
        return e;
    }
    (void)cm_files_detach(f);
    return e < 0 ? e : failed;
}

int cm_files_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                    cm_file **file)
{
    if (cm_keep_any(c))
        (void)cm_keep_room(c); /* it may be kept; without memory it is so after the next open */
    if (cm_quota_any(c))
        (void)cm_quota_room(c); /* the same of its group */
    int e = cm_object_lock_with_free(c);
    if (e)
        return e;
    struct cm_object *f = cm_object_find(c, id);
    if (!f && (flags & CM_EXCLUSIVE) && (!v || !cm_file_has_proof(v))) {
        cm_lock_release(&c->files_lock);
        return CM_EINVAL;
    }
    if (!f) {
        bool replaced = false;
        e = attach_new(c, id, v, flags, &f, &replaced);
        cm_lock_release(&c->files_lock);
        if (e < 0)
            return e;
        /* The record that was replaced must not come back with its validator. */
        return settled(f, replaced ? cm_region_settle(f, NULL) : 0, e, file);
    }
    f->refs++;
    cm_lock_release(&c->files_lock);
    cm_lock_acquire(&f->lock);
    const uint64_t was = f->incarnation;
    f->flags = (f->flags & flags & (CM_SOLE_WRITER | CM_EXCLUSIVE)) |
               ((f->flags | flags) & CM_ORIGIN_VOLATILE);
    if (v && cm_file_has_proof(v))
        e = cm_file_judge(f, v);
    cm_lock_release(&f->lock);
    return settled(f, e < 0 ? 0 : cm_region_settle_version(f, was), e, file);
}

int cm_files_detach(struct cm_object *f)
{
    struct cm_cache *c = f->cache;
    int e = 0;
    cm_lock_acquire(&c->files_lock);
    cm_lock_acquire(&f->lock);
    bool last = f->refs == 1;
    if (last && f->open_brackets > 0)
        e = CM_EBUSY;
    else
        f->refs--;
    if (e == 0 && last)
        cm_file_note_end(f);
    cm_lock_release(&f->lock);
    if (e == 0 && last) {
        struct cm_object **p = cm_object_chain(c, &f->id);
        while (*p != f)
            p = &(*p)->next;
        *p = f->next;
        cm_object_leave_floor(c, &f->id, f->floor_ns);
        cm_file_use_note(f, cm_plat_now_ns());
        if (f->place != CM_NO_PLACE) {
            cm_file_restore_record(f);
            cm_file_close_place(c, f->place);
            if (f->regions.intents != 0 && f->regions.unsynced == 0)
                cm_settle_quiet(c, f->place);
        } else {
            /* Nothing leads to its blocks any more. */
            cm_quota_move(c, f->incarnation, 0, 0);
            cm_ended_note(c, f->incarnation, at_load_relaxed(&f->limit));
        }
        cm_object_put_free(c, f);
    }
    cm_lock_release(&c->files_lock);
    return e;
}

/* ---- Looking at ------------------------------------------------------------------------------ */

static uint32_t count_regions(uint64_t mask)
{
    uint32_t n = 0;
    for (; mask; mask &= mask - 1)
        n++;
    return n;
}

static void describe(struct cm_object *f, cm_file_info *info)
{
    assert(cm_lock_is_held(&f->lock));
    *info = (cm_file_info){ .struct_size = sizeof(*info), .attached = 1, .id = f->id };
    info->incarnation = f->incarnation;
    if (cm_object_is_shared(f) && !cm_told_holds(f, f->incarnation))
        info->incarnation = 0;
    info->size = cm_object_is_shared(f) ? cm_told_size(f, f->incarnation) : f->size;
    info->dirty = f->regions.dirty;
    info->dirty_regions = count_regions(f->regions.unsynced);
    info->racy = !f->has_validator || (f->validator.racy && !(f->flags & CM_EXCLUSIVE));
    info->kept = f->kept;
    info->brackets = f->open_brackets;
    info->bypassed = f->bypassed;
    info->want_validator = f->want || (cm_object_is_shared(f) && info->incarnation == 0);
    info->expires_ns = cm_file_expires(f);
    info->cached_bytes = CM_SIZE_UNKNOWN;
    info->keep = at_load_relaxed(&f->keep);
    info->group = at_load_relaxed(&f->group);
    cm_file_use_describe(f, info);
    cm_file_name_describe(f, info);
}

/* The same for a file that is not attached, from its record. */
static int describe_record(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *b,
                           cm_validator *v, cm_file_info *info)
{
    unsigned found = 0, n = 0;
    cm_record_load(&c->media, id, b);
    for (unsigned i = 0; i < b->n; i++)
        if (cm_record_names(b, i, id)) {
            found++;
            n = i;
        }
    if (b->any_unproved) /* there may be one, or another one */
        return CM_ESEAL;
    if (found != 1 || cm_super_is_older(&c->super, b->record[n].incarnation))
        return CM_EABSENT;
    const struct cm_record *r = &b->record[n];
    const uint64_t place = cm_record_place(b, n);
    struct cm_record_regions g;
    cm_record_regions(&c->media, place, r, &g);
    memcpy(v->proof, r->proof, sizeof(v->proof));
    if (cm_region_size(c, place, r, &v->size))
        return CM_ESEAL;
    *info = (cm_file_info){ .struct_size = sizeof(*info), .id = *id, .size = v->size };
    info->bypassed = cm_file_may_have_failed(c, b, place, r);
    if (info->bypassed || !cm_files_may_keep(c, place, 0, r, v->size, v))
        v->racy = CM_RACY_RECORD;
    info->incarnation = info->bypassed ? 0 : r->incarnation;
    info->cached_bytes = CM_SIZE_UNKNOWN;
    cm_file_attr_recorded(c, place, r, info);
    info->dirty = cm_region_was_dirty(c, &g);
    info->dirty_regions = info->dirty ? count_regions(g.intents) : 0;
    cm_file_use_recorded(c, place, r, info);
    cm_file_name_recorded(c, place, info);
    info->racy = v->racy != 0;
    info->expires_ns = cm_record_expiry(&c->media, place, r);
    return 0;
}

/* As describe(). A reader of another process's pool learns from the record what the owner alone
 * changes: then the files lock is held, too. `scratch`: for records. */
static void describe_attached(struct cm_object *f, struct cm_record_set *scratch,
                              cm_file_info *info)
{
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file_info recorded;
    describe(f, info);
    if (!cm_object_is_shared(f))
        return;
    if (describe_record(f->cache, &f->id, scratch, &v, &recorded))
        return; /* there is none, or nobody knows now */
    info->dirty = recorded.dirty;
    info->dirty_regions = recorded.dirty_regions;
    info->bypassed = recorded.bypassed;
    info->keep = recorded.keep;
    info->group = recorded.group;
    memcpy(info->name, recorded.name, sizeof(info->name));
}

void cm_files_get_info(struct cm_object *f, cm_file_info *info)
{
    struct cm_cache *c = f->cache;
    const bool shared = cm_object_is_shared(f);
    if (shared)
        cm_lock_acquire(&c->files_lock);
    cm_lock_acquire(&f->lock);
    describe_attached(f, c->records, info);
    cm_lock_release(&f->lock);
    if (shared)
        cm_lock_release(&c->files_lock);
}

int cm_files_lookup(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *own,
                    cm_validator *v, cm_file_info *info)
{
    int e = 0;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    if (c->readonly) /* no file is attached, and there is no table of those that are */
        return describe_record(c, id, own, v, info);
    cm_lock_acquire(&c->files_lock);
    struct cm_object *f = cm_object_find(c, id);
    if (f) {
        cm_lock_acquire(&f->lock);
        describe_attached(f, own ? own : c->records, info);
        if (f->has_validator)
            memcpy(v->proof, f->validator.proof, sizeof(v->proof));
        v->size = info->size; /* of another process's file, f->size is a hint */
        v->racy = f->has_validator ? f->validator.racy : (uint32_t)CM_RACY_RECORD;
        cm_lock_release(&f->lock);
    } else {
        e = describe_record(c, id, own ? own : c->records, v, info);
    }
    cm_lock_release(&c->files_lock);
    return e;
}

/* ---- Forgetting ------------------------------------------------------------------------------ */

/* Makes the incarnation of a record that no open file owns unreachable, durably. A record that says
 * that an fsync failed stays as it is: nothing is cached under it. */
static int forget_record(struct cm_cache *c, uint64_t place, const struct cm_record *r)
{
    return cm_file_record_failed(c, place, r) ? cm_record_settle(&c->media, place)
                                              : cm_record_drop(&c->media, place);
}

/* The file is not attached. */
static int forget_records(struct cm_cache *c, const cm_file_id *id)
{
    struct cm_record_set *b = c->records;
    cm_object_leave_floor(c, id, cm_plat_now_ns() + 1);
    cm_record_load(&c->media, id, b);
    (void)cm_file_note_lost(c, b);
    int e = void_unreadable(c, b, false);
    for (unsigned i = 0; i < b->n && e == 0; i++) {
        uint64_t place = cm_record_place(b, i);
        bool its = cm_record_may_name(b, i, id);
        if (its) {
            cm_file_name_end_recorded(c, place, &b->record[i]);
            cm_settle_lose(c, place, id);
            end_incarnation(c, place, &b->record[i]);
        }
        /* No record, or another file's: a crashed owner may have stored these bytes, and they may
         * not be durable. After a power cut the file's own record would be back. So they are made
         * durable. */
        if ((its && forget_record(c, place, &b->record[i])) ||
            (!its && !b->unreadable[i] && !cm_record_is_unused(b, i) &&
             cm_record_settle(&c->media, place)))
            e = cm_file_bump_epoch(c);
    }
    return e;
}

int cm_files_forget(struct cm_cache *c, const cm_file_id *id, bool gone)
{
    cm_lock_acquire(&c->files_lock);
    int e = cm_file_can_forget(c);
    struct cm_object *f = cm_object_find(c, id);
    if (f) {
        cm_lock_acquire(&f->lock);
        cm_file_drop_validator(f); /* the id may stand for another file now */
        cm_file_name_end(f);       /* the flush of the record makes it durable */
        if (at_load_relaxed(&f->keep)) {
            at_store_relaxed(&f->keep, 0u);
            cm_keep_move(c, f->incarnation, 0, 0);
        }
        cm_file_moved(f);
        e = e == 0 ? cm_file_renew(f) : cm_file_stop(f, e);
        cm_lock_release(&f->lock);
    } else if (e == 0) {
        e = forget_records(c, id);
    }
    const bool settle = cm_settling(c) && !gone;
    cm_lock_release(&c->files_lock);
    return e == 0 && settle ? cm_settle_pages(c, id, CM_PAGES_ALL, CM_NO_PLACE) : e;
}
