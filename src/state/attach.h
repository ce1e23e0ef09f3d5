/* SPDX-License-Identifier: BSD-2-Clause
 *
 * attach.h - attaches, detaches and forgets files.
 */
#ifndef CM_ATTACH_H
#define CM_ATTACH_H

#include "media/file_table.h"
#include "state/file.h"

/* Attaches; see cm_file_open(). Takes the files lock. */
int cm_files_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                    cm_file **file);
/* Does a record prove, together with a validator, that the blocks of its incarnation are the file's
 * present content? `size`: what cm_region_size() says of it. `r` and `v` may be NULL. */
bool cm_files_may_keep(const struct cm_cache *c, uint64_t place, uint32_t flags,
                       const struct cm_record *r, uint64_t size, const cm_validator *v);
/* The file is cold. Notes for the log if the only reason is that a validator is racy. Files lock
 * held. */
void cm_files_note_cold(struct cm_cache *c, uint64_t place, uint32_t flags,
                        const struct cm_record *r, uint64_t size, const cm_validator *v);
/* Drops a reference; see cm_file_close(). */
int cm_files_detach(struct cm_object *f);
/* Describes an attached file; see cm_file_get_info(). Takes its lock, in a reader of another
 * process's pool the files lock, too. */
void cm_files_get_info(struct cm_object *f, cm_file_info *info);
/* What is known of a file, attached or not; see cm_file_lookup(). A file whose fsync failed is
 * known, too. `own`: memory for the records that are looked at. NULL: that of the cache, which is
 * not read-only then. CM_EABSENT. */
int cm_files_lookup(struct cm_cache *c, const cm_file_id *id, struct cm_record_set *own,
                    cm_validator *v, cm_file_info *info);
/* Ensures that no record and no attached object keeps the old incarnation of `id`. `gone`: an older
 * record may come back after a crash of the system. No lock is held. */
int cm_files_forget(struct cm_cache *c, const cm_file_id *id, bool gone);

#endif
