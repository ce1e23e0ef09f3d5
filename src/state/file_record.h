/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_record.h - what is durable of a file: its record, its dirty mark, a failed fsync.
 */
#ifndef CM_FILE_RECORD_H
#define CM_FILE_RECORD_H

#include "media/file_table.h"
#include "state/object.h"

/* Does an open file own the record there? It does from open to close. */
bool cm_file_place_is_open(const struct cm_cache *c, uint64_t place);
void cm_file_open_place(struct cm_cache *c, uint64_t place);
void cm_file_close_place(struct cm_cache *c, uint64_t place);

/* Reads the records where the file's may be. CM_EFORGET. */
int cm_file_load_records(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *b);
/* The file's record says `incarnation` from here on, durably, and what is known of its validator.
 * CM_EIO: cm_file_abandon_record is next. */
int cm_file_write_record(struct cm_object *f, uint64_t incarnation);
/* Nothing on the media leads to the old incarnation any more; the file goes on without a record.
 * CM_EFORGET. */
int cm_file_abandon_record(struct cm_object *f);
/* Records that cannot be read count no more when they can be read again. CM_EFORGET. */
int cm_file_void_unreadable(struct cm_cache *c, const struct cm_record_set *b, bool trust_dax);
/* Everything cached is forgotten: the last resort. CM_EFORGET. */
int cm_file_bump_epoch(struct cm_cache *c);
/* 0, or CM_EFORGET while the pool cannot forget: an earlier attempt failed and so does another. */
int cm_file_can_forget(struct cm_cache *c);
/* Something in the pool is newer than its superblock (cm_super_is_older); it was found while `key`
 * was the check key. Empties the pool once. CM_EFORGET. */
int cm_file_disbelieve(struct cm_cache *c, uint64_t key);
/* Sets the dirty mark, durably. CM_EFORGET. */
int cm_file_mark_dirty(struct cm_object *f);
/* Clears it: the origin is proved to hold everything. */
void cm_file_mark_clean(struct cm_object *f);
/* Could the origin hold writes that a power cut would take back? `v` may be NULL. */
bool cm_file_born_dirty(const struct cm_cache *c, const cm_validator *v);

/* Did an fsync of the record's file fail in this boot? */
bool cm_file_record_failed(struct cm_cache *c, uint64_t place, const struct cm_record *r);
/* Notes in the superblock that one may have failed for a file that nobody can tell; did it? */
bool cm_file_note_lost(struct cm_cache *c, const struct cm_record_set *b);
/* Did one fail, as far as anybody knows, for a file with the record r, or, with r NULL, without? */
bool cm_file_may_have_failed(struct cm_cache *c, const struct cm_record_set *b, uint64_t place,
                             const struct cm_record *r);

#endif
