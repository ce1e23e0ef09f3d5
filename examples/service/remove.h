/* SPDX-License-Identifier: BSD-2-Clause
 *
 * remove.h - the command that removes a cached folder.
 */
#ifndef CACHEMAX_REMOVE_H
#define CACHEMAX_REMOVE_H

#include "config.h"

/* Forgets the files of a folder in the pool, and takes the folder out of the configuration at
 * `path`. Prints what it did, or what is wrong. Returns an exit status. */
int remove_folder(const struct config *c, const char *path, const char *folder);

#endif
