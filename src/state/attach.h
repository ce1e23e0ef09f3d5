/* SPDX-License-Identifier: BSD-2-Clause
 *
 * attach.h - attaches, detaches and forgets files.
 */
#ifndef CM_ATTACH_H
#define CM_ATTACH_H

#include "state/file.h"

/* Attaches; see cm_file_open(). Takes the files lock. */
int cm_files_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v, uint32_t flags,
                    cm_file **file);
/* Drops a reference; see cm_file_close(). */
int cm_files_detach(struct cm_object *f);
/* Ensures that no record and no attached object keeps the old incarnation of `id`. */
int cm_files_forget(struct cm_cache *c, const cm_file_id *id);

#endif
