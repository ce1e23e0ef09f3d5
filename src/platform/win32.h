/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32.h - what the files of the Windows back end share. Included by them only.
 */
#ifndef CM_PLATFORM_WIN32_H
#define CM_PLATFORM_WIN32_H

#include "platform/win32_path.h"

#include "platform/platform.h"

/* A CM_E* code for an error number of the system. */
int win32_error(DWORD error);
/* 0 when the system has no such function. */
FARPROC win32_find(const wchar_t *module, const char *name);
/* Nanoseconds since 1970 of the system's 100 ns since 1601; wraps in the year 2262. */
int64_t win32_time_ns(uint64_t filetime);
/* Keeps this module loaded until the process ends: the system knows addresses in it. */
void win32_stay_loaded(void);

static inline HANDLE win32_handle(const struct cm_plat_file *f)
{
    return (HANDLE)f->handle;
}

#endif
