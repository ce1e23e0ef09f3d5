/* SPDX-License-Identifier: BSD-2-Clause
 *
 * settle.h - a checkpointed pool: what has to be synced, and when.
 *
 * Without DAX only a sync makes bytes durable. After a crash of the system each word of the pool
 * holds any value that it had since its last sync. A page of records has to be synced before the
 * origin is written, if the disk may still hold a record that says less than the one in memory
 * (docs/decisions/regions.md). That may be an older record of the same file. So a bucket of
 * records, which is a page, is "lost" for a file from the moment when a record of the file there is
 * overwritten or dropped. That ends when the page is synced, by a checkpoint or for any file.
 */
#ifndef CM_SETTLE_H
#define CM_SETTLE_H

#include "state/object.h"

/* A bit for each of the two buckets of a file: */
#define CM_PAGE_FIRST 1u
#define CM_PAGES_ALL 3u

/* All buckets may be lost: a killed owner left nothing that says which. Takes no time. Nobody else
 * uses c yet. */
void cm_settle_found_killed(struct cm_cache *c);

/* ---- Files lock ------------------------------------------------------------------------------ */

/* All buckets may be lost: nobody has looked until now. */
void cm_settle_all_lost(struct cm_cache *c);
/* A record of this file is about to be overwritten with that of another incarnation, or dropped.
 * `id` NULL: nobody knows whose record it is. */
void cm_settle_lose(struct cm_cache *c, uint64_t place, const cm_file_id *id);
/* Which of the file's buckets may be lost for it? Notes it in the file. */
void cm_settle_look(struct cm_object *f);
/* A checkpoint begins, or it has synced the pool: then what was lost before is on the disk no
 * more. */
void cm_settle_check_begin(struct cm_cache *c);
void cm_settle_check_end(struct cm_cache *c);
/* The file that owns the record is not attached any more. Its origin holds all that was written, so
 * the next checkpoint may clear the intents. */
void cm_settle_quiet(struct cm_cache *c, uint64_t place);
/* The record goes to an attached file, or is dropped. */
void cm_settle_wake(struct cm_cache *c, uint64_t place);

/* ---- No lock but a checkpoint's -------------------------------------------------------------- */

/* Of these buckets of a file, those that are still lost: they were not synced since. */
uint8_t cm_settle_still_lost(struct cm_cache *c, const cm_file_id *id, uint8_t pages,
                             const uint32_t until[CM_RECORD_CHOICES]);
/* Makes pages of the file table durable: of the buckets of `id`, CM_PAGE_*, and the one with the
 * record at `place`, or CM_NO_PLACE. If that fails, the system has lost a part of the pool, and
 * says so only once: the pool is emptied, and that is as good. CM_EFORGET: it cannot be emptied. */
int cm_settle_pages(struct cm_cache *c, const cm_file_id *id, uint8_t pages, uint64_t place);
/* Makes a part of the pool durable, with the file's size. As above: if it fails, the pool is
 * emptied. CM_EIO CM_EFORGET. */
int cm_settle_part(struct cm_cache *c, uint64_t offset, uint64_t len);
/* Waits for the end of each of these that has begun before. */
void cm_settle_drain(struct cm_cache *c);
/* Empties the pool, because a sync failed. CM_EFORGET. */
int cm_settle_failed(struct cm_cache *c);

#endif
