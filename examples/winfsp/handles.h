/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handles.h - which files are open, and which were seen with several names.
 */
#ifndef CACHEMAX_WINFSP_HANDLES_H
#define CACHEMAX_WINFSP_HANDLES_H

#include "cache.h"

/* A mount begins: no file was seen with several names. */
void handles_begin(void);
/* If another handle has seen the file with several names, so has this one. */
void handles_add(struct handle *h);
void handles_remove(struct handle *h);
/* Sets the times by each handle that has written the file. */
void handles_set_times(const cm_file_id *id, const api_timespec tv[2]);
/* The file was seen with several names: nothing of it is served by any, until the mount ends. */
void handles_have_names(const cm_file_id *id);
/* One of them, or NULL. */
struct handle *handles_any(void);

#endif
