/* SPDX-License-Identifier: BSD-2-Clause
 *
 * region.h - the regions of a file: what a crash of the system takes of it.
 *
 * A file consists of CM_REGIONS regions. A run of 2^shift blocks belongs to one region, the next
 * run to the next one, and so on, around and around. A region has an intent: a bit of the record
 * that is durable before the origin is written there, and set until the origin holds what was
 * written and the pool holds what was forgotten. A region has a "since" as well: a number of a
 * boot, counted from the record's birth. It is a part of the region's keys. An attach after a crash
 * of the system gives each region with an intent a new one, so that nothing that was stored before
 * counts. docs/decisions/regions.md has the rules, tests/spin/regions.pml proves them.
 */
#ifndef CM_REGION_H
#define CM_REGION_H

#include "media/file_table.h"
#include "state/object.h"

#define CM_REGIONS_ALL UINT64_MAX

/* The shift of a new file of `size` bytes, or CM_SIZE_UNKNOWN. */
uint32_t cm_region_shift(uint64_t size);
/* The regions of the blocks [first, end), a bit each. */
uint64_t cm_region_mask(const struct cm_object *f, uint64_t first, uint64_t end);

/* What names the blocks of a block's region: the incarnation with the region's "since". */
static inline uint64_t cm_region_incarnation(const struct cm_object *f, uint64_t incarnation,
                                             uint64_t block)
{
    /* Relaxed: none of this changes while the file is attached. */
    if (!at_load_relaxed(&f->raised))
        return incarnation;
    const unsigned region = cm_format_region(f->regions.shift, block);
    return incarnation | (uint64_t)at_load_relaxed(&f->regions.since[region]) << CM_SINCE_SHIFT;
}

/* So many blocks from this one on have the same "since"; those behind them may have it, too. The
 * library makes regions longer than groups, but a record may say less. */
static inline uint64_t cm_region_left(const struct cm_object *f, uint64_t block)
{
    if (!at_load_relaxed(&f->raised))
        return UINT64_MAX;
    const uint64_t blocks = UINT64_C(1) << f->regions.shift;
    return blocks - (block & (blocks - 1));
}

/* The key of a block of the file. */
static inline struct cm_key cm_region_key_next(const struct cm_object *f, struct cm_last_home *last,
                                               uint64_t incarnation, uint64_t block)
{
    struct cm_key k = cm_key_next(&f->cache->media, last, incarnation, block);
    k.incarnation = cm_region_incarnation(f, incarnation, block);
    return k;
}
static inline struct cm_key cm_region_key(const struct cm_object *f, uint64_t incarnation,
                                          uint64_t block)
{
    struct cm_key k = cm_key_of(&f->cache->media, incarnation, block);
    k.incarnation = cm_region_incarnation(f, incarnation, block);
    return k;
}

/* ---- Attaching; files lock ------------------------------------------------------------------- */

/* The size in a record, or CM_SIZE_UNKNOWN: after a crash of the system it may be an older one.
 * CM_ESEAL: nobody knows now. */
int cm_region_size(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                   uint64_t *size);
/* Does the record speak of a boot that the pool has not seen yet? Then its superblock is older than
 * the pool. */
bool cm_region_is_newer(const struct cm_cache *c, uint64_t place, const struct cm_record *r);
/* May the origin lose writes of the file, as far as its record knows? */
bool cm_region_was_dirty(const struct cm_cache *c, const struct cm_record_regions *g);
/* Can what the record says of regions be used? Not if it was born too many boots ago. */
bool cm_region_may_keep(const struct cm_cache *c, const struct cm_record *r);
/* Takes over what the record says; `size`: of cm_region_size(). After a crash of the system,
 * regions with an intent begin anew, and the record is written, not yet durably. CM_EIO. */
int cm_region_keep(struct cm_object *f, const struct cm_record *r, uint64_t size);
/* The file has no past: no region was ever raised. Its record has to be written. `dirty`: the
 * origin may lose writes. f->regions.lost: the pages of the disk that may have an older record of
 * it. If there are none, a crash of the system leaves no record of it, or this one, whose intents
 * are all set. */
void cm_region_begin(struct cm_object *f, uint32_t shift, bool dirty);

/* ---- The file's lock is held ----------------------------------------------------------------- */

/* What the record of a new incarnation has to say of the regions. */
struct cm_record_regions cm_region_recorded(const struct cm_object *f);
/* Nothing is known of what the origin holds durably: another program has written it. The record has
 * to be written. */
void cm_region_all_unsynced(struct cm_object *f);

/* The origin is about to be written in these regions. The bracket is in the file's list. The
 * intents are durable when this returns 0, unless cm_region_is_settled() says otherwise. CM_EIO:
 * the caller must call cm_file_abandon_record() next. */
int cm_region_intend(struct cm_object *f, uint64_t mask);
/* Are these intents durable? If not, the origin may only be written after cm_region_settle(). */
static inline bool cm_region_is_settled(const struct cm_object *f, uint64_t mask)
{
    return (mask & ~f->regions.durable) == 0 || !cm_settling(f->cache);
}

/* A sync of the origin begins. */
void cm_region_sync_begin(struct cm_object *f, cm_sync *s);
/* It succeeded: what was written before it, and nowhere since, is safe. */
void cm_region_synced(struct cm_object *f, const cm_sync *s);

/* A checkpoint begins, or it has synced the pool. Then the intents are cleared of regions whose
 * origin was synced, and where no change was open at the beginning, and none has begun since. */
void cm_region_check_begin(struct cm_object *f);
void cm_region_check_end(struct cm_object *f);
/* The pool was not checkpointed before: nothing is known to be durable. */
void cm_region_unsettle(struct cm_object *f);

/* ---- No lock is held ------------------------------------------------------------------------- */

/* Syncs the pages of the file's records: then what was written there before is durable, and the
 * intents of `b`, which has begun. `b` may be NULL. CM_EFORGET. */
int cm_region_settle(struct cm_object *f, const struct cm_open_bracket *b);
/* The same if the file has another incarnation than `was`: nothing of the older one may come back
 * after a crash of the system, even if the origin has the older validator again then. 0 if it has
 * not. */
int cm_region_settle_version(struct cm_object *f, uint64_t was);

#endif
