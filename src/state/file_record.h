/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_record.h - what is durable of a file: its record, a failed fsync.
 */
#ifndef CM_FILE_RECORD_H
#define CM_FILE_RECORD_H

#include "media/file_table.h"
#include "state/object.h"

/* An open file owns the record at a place between these two calls: cm_file_place_is_open(). */
void cm_file_open_place(struct cm_cache *c, uint64_t place);
void cm_file_close_place(struct cm_cache *c, uint64_t place);

/* Reads all records that may be the file's. CM_EFORGET; CM_ESEAL: nobody knows which one is. */
int cm_file_load_records(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *b);
/* Writes the file's record, durably: `incarnation`, what is known of its validator and, if it is a
 * new incarnation, of its regions. CM_EIO, CM_ESEAL: the caller must call cm_file_abandon_record()
 * next. After CM_ESEAL, if the incarnation is the same, it need not: nothing was written. */
int cm_file_write_record(struct cm_object *f, uint64_t incarnation);
/* Writes the record of a file again if a new epoch has made it void, so that what was cached since
 * is found by the next session. */
void cm_file_restore_record(struct cm_object *f);
/* Writes the file's size into its record (cm_record_write_size). If that fails, the file goes on
 * without a record. CM_EFORGET. */
int cm_file_write_size(struct cm_object *f);
/* Writes into the file's record whether it is kept, and its group, durably. CM_EIO,
 * CM_NOT_RECORDED: that cannot be, and the file goes on without a record. CM_EFORGET. */
int cm_file_write_attr(struct cm_object *f);
/* The same in the record of a file that is not attached. */
void cm_file_attr_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                           cm_file_info *info);
/* Writes the end of the file's life, durably; 0: none. If that fails, the file goes on without a
 * record. CM_EFORGET. */
int cm_file_write_expiry(struct cm_object *f, int64_t wall_ns);
/* When the time to live ends, by the wall clock as it is now; 0: there is none. */
int64_t cm_file_expires(const struct cm_object *f);
/* If the wall clock was set back, the recorded end is too late; if it is right again, too early:
 * records the end by the clock as it is now. */
void cm_file_note_end(struct cm_object *f);
/* Ensures that nothing on the media leads to the old incarnation any more. The file goes on without
 * a record. `why`: CM_EIO or CM_ESEAL, for which it cannot be written. CM_EFORGET. */
int cm_file_abandon_record(struct cm_object *f, int why);
/* Ensures that records that cannot be read do not count when they can be read again. CM_EFORGET. */
int cm_file_void_unreadable(struct cm_cache *c, const struct cm_record_set *b, bool trust_dax);
/* `b`: the records of a file, none of which names it. Readers of other processes are told so, too.
 * CM_EFORGET. */
int cm_file_stop_torn(struct cm_cache *c, const struct cm_record_set *b);
/* Forgets everything that is cached: the last resort. CM_EFORGET. */
int cm_file_bump_epoch(struct cm_cache *c);
/* 0, or CM_EFORGET while the pool cannot forget: an earlier attempt failed, and a new one, too. */
static inline int cm_file_can_forget(struct cm_cache *c)
{
    return at_load_seq_cst(&c->broken) ? cm_file_bump_epoch(c) : 0;
}
/* Something in the pool is newer than its superblock (cm_super_is_older); it was found while `key`
 * was the check key. Empties the pool once. CM_EFORGET. */
int cm_file_disbelieve(struct cm_cache *c, uint64_t key);
/* Could the origin hold writes that a power cut would take back? `v` may be NULL. */
bool cm_file_born_dirty(struct cm_cache *c, const cm_validator *v);
/* When the system booted, by the wall clock as it was or is. Call it now and then. */
int64_t cm_file_boot_wall(struct cm_cache *c);

/* Did an fsync of the record's file fail in this boot? */
bool cm_file_record_failed(struct cm_cache *c, uint64_t place, const struct cm_record *r);
/* Did one fail in this boot, and may another boot have written this record since? */
bool cm_file_record_hides(struct cm_cache *c, const struct cm_record *r);
/* If an fsync of an unknown file may have failed: notes it in the superblock and returns true. */
bool cm_file_note_lost(struct cm_cache *c, const struct cm_record_set *b);
/* May an fsync have failed for a file with the record r, or, with r NULL, without a record? */
bool cm_file_may_have_failed(struct cm_cache *c, const struct cm_record_set *b, uint64_t place,
                             const struct cm_record *r);

#endif
