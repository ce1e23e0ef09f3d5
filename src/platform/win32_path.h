/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_path.h - UTF-8 names for a system that uses UTF-16.
 *
 * Shared by the library's Windows back end and the tool's. Owns nothing.
 */
#ifndef CM_PLATFORM_WIN32_PATH_H
#define CM_PLATFORM_WIN32_PATH_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <stdlib.h>
#include <string.h>

/* The limit of plain names. A directory's name must leave room for the name of a file in it, and
 * the name of a pool for what is put behind it while it is made or resized. */
#define WIN32_PLAIN_PATH (MAX_PATH - 20)

/* Does the name begin with one of the prefixes for names that are full already? */
static inline int win32_has_prefix(const wchar_t *name)
{
    return wcsncmp(name, L"\\\\?\\", 4) == 0 || wcsncmp(name, L"\\\\.\\", 4) == 0;
}

/* The full form of a long name, with up to `room` characters, and with the prefix that lifts the
 * limit on the length. A name that began with //?/ or //./ has a prefix by then. Frees `name`. */
static inline wchar_t *win32_lengthen(wchar_t *name, DWORD room)
{
    static const wchar_t unc[] = L"\\\\?\\UNC\\", plain[] = L"\\\\?\\";
    wchar_t *full = malloc((room + 8) * sizeof *full);
    DWORD n = 0;

    if (full != NULL) {
        n = GetFullPathNameW(name, room, full + 8, NULL);
    }
    free(name);
    if (n == 0 || n >= room) {
        free(full);
        return NULL;
    }
    if (win32_has_prefix(full + 8)) {
        memmove(full, full + 8, (n + 1) * sizeof *full);
    } else if (full[8] == L'\\' && full[9] == L'\\') { /* \\server\share: UNC\ replaces \\ */
        memcpy(full, unc, 8 * sizeof *full);
        memmove(full + 8, full + 10, (n - 1) * sizeof *full);
    } else {
        memcpy(full, plain, 4 * sizeof *full);
        memmove(full + 4, full + 8, (n + 1) * sizeof *full);
    }
    return full;
}

/* The name in the form that the system takes. The caller frees it. NULL with the last error set:
 * not UTF-8, or no memory. Drive letters, \\server\share, \\?\ and / for \ have their usual
 * meaning. */
static inline wchar_t *win32_path(const char *utf8)
{
    const int room = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, utf8, -1, NULL, 0);
    wchar_t *name;
    DWORD full;

    if (room <= 0) {
        SetLastError(ERROR_INVALID_NAME);
        return NULL;
    }
    name = malloc((size_t)room * sizeof *name);
    if (name == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    (void)MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, utf8, -1, name, room);
    if (win32_has_prefix(name)) {
        return name;
    }
    /* A short name in a deep directory becomes long. */
    full = GetFullPathNameW(name, 0, NULL, NULL);
    if (full > WIN32_PLAIN_PATH) {
        name = win32_lengthen(name, full);
        if (name == NULL) {
            SetLastError(ERROR_INVALID_NAME);
        }
    }
    return name;
}

#endif
