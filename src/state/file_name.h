/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_name.h - the name of a file, for people.
 */
#ifndef CM_FILE_NAME_H
#define CM_FILE_NAME_H

#include "media/file_table.h"
#include "state/object.h"

/* The file is being attached, and this is its record. */
void cm_file_name_begin(struct cm_object *f, const struct cm_record *r);
/* Gives the attached file a name; "": none. Its lock is held. 0, CM_NOT_RECORDED, CM_ENOTSUP. */
int cm_file_name_set(struct cm_object *f, const struct cm_name *name);
/* The file gives its name up. Its lock is held. */
void cm_file_name_end(struct cm_object *f);
/* The same for a record that was read, of a file that is not attached. The files lock is held. */
void cm_file_name_end_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r);
/* Fills in the name in *info, of an attached file, whose lock is held, or of one with a record. */
void cm_file_name_describe(const struct cm_object *f, cm_file_info *info);
void cm_file_name_recorded(const struct cm_cache *c, uint64_t place, cm_file_info *info);

#endif
