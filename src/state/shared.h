/* SPDX-License-Identifier: BSD-2-Clause
 *
 * shared.h - a cache that reads a pool which another process owns (CM_OPEN_SHARED).
 */
#ifndef CM_SHARED_H
#define CM_SHARED_H

#include "state/told.h"

/* The cache was opened: learns what the owner's superblock says. Without one that counts, nothing
 * is served until there is. CM_ETRUNCATED: the pool has grown since its superblock was read. */
int cm_shared_begin(struct cm_cache *c);

/* As cm_files_attach() and cm_file_judge(), but nothing is written. The file is warm if an owner
 * would keep it as it is. Take locks. CM_ENOTPOOL: the pool is gone, or another one is in its
 * place.
 */
int cm_shared_attach(struct cm_cache *c, const cm_file_id *id, const cm_validator *v,
                     uint32_t flags, cm_file **file);
int cm_shared_revalidate(struct cm_object *f, const cm_validator *v);

/* Before a read that looks at the whole state: if the session is another one, and the record names
 * the same incarnation as before, then the file goes on. Never waits. */
void cm_shared_look(struct cm_object *f);
#endif
