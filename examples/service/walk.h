/* SPDX-License-Identifier: BSD-2-Clause
 *
 * walk.h - all files below a folder.
 *
 * One file for each system implements it: walk_posix.c, walk_win32.c.
 */
#ifndef CACHEMAX_WALK_H
#define CACHEMAX_WALK_H

#include <stdint.h>

/* Calls each(arg, path, file) for each regular file at or below `folder`, a path in UTF-8. `file`:
 * open for cm_identify() during the call. Symbolic links and other names for directories are not
 * followed. Returns how many files and folders could not be opened. */
uint64_t walk(const char *folder, void (*each)(void *arg, const char *path, intptr_t file),
              void *arg);

#endif
