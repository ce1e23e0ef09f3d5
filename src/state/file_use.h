/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_use.h - how much a file is used, and when it was used last: hints for people and programs.
 */
#ifndef CM_FILE_USE_H
#define CM_FILE_USE_H

#include "media/file_table.h"
#include "state/object.h"

/* The file is attached, and its record is chosen. It goes on where the record says. */
void cm_file_use_begin(struct cm_object *f);
/* Notes in the record, without a flush, what is known. `used_ns`: when it was used last, cm_now()
 * time. */
void cm_file_use_note(const struct cm_object *f, uint64_t used_ns);
/* The same for all attached files, at the close. Takes the files lock. */
void cm_file_use_note_all(struct cm_cache *c);
/* Fills in these fields of *info, of an attached file, or from a record. */
void cm_file_use_describe(const struct cm_object *f, cm_file_info *info);
void cm_file_use_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                          cm_file_info *info);

#endif
