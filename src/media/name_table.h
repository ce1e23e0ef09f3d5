/* SPDX-License-Identifier: BSD-2-Clause
 *
 * name_table.h - names of files, for people.
 */
#ifndef CM_NAME_TABLE_H
#define CM_NAME_TABLE_H

#include "media/media.h"

/* Does the pool have room for names? */
static inline bool cm_names_exist(const struct cm_media *m)
{
    return m->geo.name_offset != 0;
}

/* Reads the name of the file whose record is at a place. "": there is none. */
void cm_name_read(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                  struct cm_name *name);
/* Writes it, in a pool that has room for names. "" removes it. Not flushed: it is a hint. CM_EIO.
 */
int cm_name_write(const struct cm_media *m, uint64_t place, const cm_file_id *id,
                  const struct cm_name *name);
/* Removes whatever name the record at a place has. Not flushed; errors are ignored. */
void cm_name_clear(const struct cm_media *m, uint64_t place);

#endif
