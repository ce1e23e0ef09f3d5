/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe_name.h - names of pipes on Windows, "\\.\pipe\NAME", as the system takes them.
 */
#ifndef CACHEMAX_PIPE_NAME_H
#define CACHEMAX_PIPE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#include "os.h"

#define PIPE_NAME_ROOM 256u /* the system's limit */

/* False: `where` is no such name. */
static inline bool pipe_name(const char *where, wchar_t name[PIPE_NAME_ROOM])
{
    if (os_place_fault(where))
        return false;
    for (size_t i = 0;; i++) { /* it is ASCII, and short enough */
        name[i] = (unsigned char)where[i];
        if (!where[i])
            return true;
    }
}

#endif
