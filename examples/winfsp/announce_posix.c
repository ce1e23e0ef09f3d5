/* SPDX-License-Identifier: BSD-2-Clause
 *
 * announce_posix.c - says when the mount is there, on Linux.
 *
 * Owns: whom to tell. Who: main.c, ops.c.
 */
#include "announce.h"

#include <stddef.h>

static void (*tell)(void);

void announce_begin(const char *folder, void (*say)(void))
{
    (void)folder;
    tell = say;
}

void announce_init(void)
{
    if (tell)
        tell();
    tell = NULL;
}

void announce_end(void)
{
    tell = NULL;
}
