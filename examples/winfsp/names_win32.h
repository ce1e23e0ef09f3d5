/* SPDX-License-Identifier: BSD-2-Clause
 *
 * names_win32.h - UTF-8 and errno for Windows.
 */
#ifndef CACHEMAX_WINFSP_NAMES_WIN32_H
#define CACHEMAX_WINFSP_NAMES_WIN32_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#define NAMES_ROOM 32768u

/* -errno of GetLastError(). */
int names_error(void);
/* False: it is too long, or not valid. */
bool names_wide(const char *text, wchar_t *wide, size_t room);
bool names_utf8(const wchar_t *wide, char *text, size_t room);

#endif
