/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32.h - what the files of the Windows back end share. Included by them only.
 */
#ifndef CM_PLATFORM_WIN32_H
#define CM_PLATFORM_WIN32_H

#include "platform/win32_path.h"

#include "platform/platform.h"

enum {                         /* of struct cm_plat_file.state */
       WIN32_TAKEN = 1u << 0,  /* opened although another has it open for writing: only to look */
       WIN32_LOCKED = 1u << 1, /* holds the lock */
       WIN32_NAMED = 1u << 2   /* made here, and has its name */
};

static inline HANDLE win32_handle(const struct cm_plat_file *f)
{
    return (HANDLE)f->handle;
}

/* An offset, in the form that the calls for reading, writing and locking want. */
static inline OVERLAPPED win32_at(uint64_t offset)
{
    return (OVERLAPPED){ .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
}

/* win32_file.c */

/* A CM_E* code for an error number of the system. */
int win32_error(DWORD error);
/* Can the CPU's stores reach the media of the volume that the file is on? */
bool win32_volume_is_dax(HANDLE h);
/* Has the file space for `size` bytes? */
bool win32_is_allocated(HANDLE h, uint64_t size);
/* Deletes a file; one that somebody has open for a moment is waited for. */
void win32_delete(const wchar_t *path);

/* win32_identity.c */

/* Nanoseconds since 1970 of the system's 100 ns since 1601; wraps in the year 2262. */
int64_t win32_time_ns(uint64_t filetime);

/* win32_run.c */

/* Keeps this module loaded until the process ends: the system knows addresses in it. */
void win32_stay_loaded(void);
/* 0 when the system has no such function. */
FARPROC win32_find(const wchar_t *module, const char *name);

#endif
