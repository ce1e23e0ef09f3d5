/* SPDX-License-Identifier: BSD-2-Clause
 *
 * failed_win32.c - on Windows nobody notes syncs that have failed: the system keeps what it could
 * not write, or says so to whoever reads it. A client that gets CMC_UNTOLD tells it later.
 *
 * Who: client.c, run.c.
 */
#include "failed.h"

bool failed_note(const char *where, const cm_file_id *id)
{
    (void)where;
    (void)id;
    return false;
}

void failed_take(const char *where, bool (*take)(void *arg, const cm_file_id *id), void *arg)
{
    (void)where;
    (void)take;
    (void)arg;
}
