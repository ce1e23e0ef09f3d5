/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failed.h - syncs that have failed while no service could be told.
 *
 * The origin may have lost what such a file's blocks hold, and no validator shows that. So the
 * client that was told of the loss writes the file's id into "WHERE.failed", beside the socket. The
 * service reads it before it serves, and every second. A client may be killed meanwhile.
 *
 * failed_posix.c, failed_win32.c.
 */
#ifndef CACHEMAX_FAILED_H
#define CACHEMAX_FAILED_H

#include <stdbool.h>

#include "cachemax.h"

/* False: it could not be written. */
bool failed_note(const char *where, const cm_file_id *id);
/* Calls `take` for all files, and empties the list if it was true for each. */
void failed_take(const char *where, bool (*take)(void *arg, const cm_file_id *id), void *arg);

#endif
