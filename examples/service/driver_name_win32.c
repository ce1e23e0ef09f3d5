/* SPDX-License-Identifier: BSD-2-Clause
 *
 * driver_name_win32.c - the kernel's names of files and folders (driver_rules.h).
 *
 * A minifilter gets the name that a file really has: without drive letters, links and mount points.
 * The system says it for what it can open. So the longest part of a path that is there is opened,
 * and the rest is appended.
 *
 * Owns: nothing.
 *
 * Who: main_win32.c, port_win32.c.
 */
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "driver_rules.h"

#define PREFIX L"\\\\?\\" /* without it a path has 260 letters at most */
#define PREFIX_LEN 4u

/* Of what is there. False: it is not. */
static bool name_of(const wchar_t *path, wchar_t to[DRIVER_NAME_MAX])
{
    wchar_t plain[DRIVER_NAME_MAX + PREFIX_LEN] = PREFIX;
    const bool has_letter = path[0] && path[1] == L':';
    DWORD n;
    HANDLE h;

    wcscpy(plain + PREFIX_LEN, path);
    /* The last flag: a directory can be opened. Nothing of it is read. */
    h = CreateFileW(has_letter ? plain : path, 0,
                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                    FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return false;
    n = GetFinalPathNameByHandleW(h, to, DRIVER_NAME_MAX, FILE_NAME_NORMALIZED | VOLUME_NAME_NT);
    CloseHandle(h);
    return n > 0 && n < DRIVER_NAME_MAX && to[0] == L'\\';
}

/* Letters of the directory that has the last name of so many letters; 0: it is a root. */
static size_t parent(const wchar_t *path, size_t used)
{
    size_t at = used;

    while (at > 0 && path[at - 1] != L'\\')
        at--;
    if (at == used || at == 0)
        return 0;
    return at == 3 && path[1] == L':' ? 3 : at - 1; /* the separator belongs to "C:\" */
}

bool driver_name_win32(const char *path, char to[DRIVER_NAME_MAX])
{
    wchar_t whole[DRIVER_NAME_MAX], name[2 * DRIVER_NAME_MAX];
    size_t used, n;
    bool found;

    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, whole, DRIVER_NAME_MAX))
        return false;
    for (wchar_t *at = whole; *at; at++)
        if (*at == L'/')
            *at = L'\\';
    for (used = wcslen(whole); used > 0; used = parent(whole, used)) {
        const wchar_t after = whole[used];

        whole[used] = 0;
        found = name_of(whole, name);
        whole[used] = after;
        if (found)
            break;
    }
    if (used == 0)
        return false;
    n = wcslen(name);
    if (whole[used]) {
        n -= name[n - 1] == L'\\';
        if (whole[used] != L'\\')
            name[n++] = L'\\';
        wcscpy(name + n, whole + used);
    }
    return WideCharToMultiByte(CP_UTF8, 0, name, -1, to, DRIVER_NAME_MAX, NULL, NULL) > 0;
}
