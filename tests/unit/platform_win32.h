/* SPDX-License-Identifier: BSD-2-Clause
 *
 * platform_win32.h - shared by the tests of platform.h on Windows.
 */
#ifndef CM_TEST_PLATFORM_WIN32_H
#define CM_TEST_PLATFORM_WIN32_H

#include "platform_common.h"

#include <windows.h>

/* The tests of the other file. */
extern const struct harness_test platform_win32_files_tests[];

static inline HANDLE open_shared(const char *path, DWORD access, DWORD share)
{
    return CreateFileA(path, access, share, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
}

static inline void make_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* The bodies of children, started with "--child NAME ARG". */
void lock_other_process_body(const char *path);
void lock_and_die_body(const char *path);
void fault_body(const char *arg);

#endif
