/* SPDX-License-Identifier: BSD-2-Clause
 *
 * names_win32.c - UTF-8 and errno for Windows.
 *
 * Owns: nothing. Who: announce_win32.c, origin_win32.c, swap_win32.c.
 */
#include "names_win32.h"

#include <errno.h>
#include <windows.h>

int names_error(void)
{
    switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
        return -ENOENT;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        return -EEXIST;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
    case ERROR_PRIVILEGE_NOT_HELD:
        return -EACCES;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
        return -EAGAIN;
    case ERROR_DIR_NOT_EMPTY:
        return -ENOTEMPTY;
    case ERROR_DIRECTORY:
        return -ENOTDIR;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        return -ENOSPC;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
        return -ENOMEM;
    case ERROR_NOT_SAME_DEVICE:
        return -EXDEV;
    case ERROR_FILENAME_EXCED_RANGE:
        return -ENAMETOOLONG;
    case ERROR_INVALID_PARAMETER:
        return -EINVAL;
    default:
        return -EIO;
    }
}

bool names_wide(const char *text, wchar_t *wide, size_t room)
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, (int)room) > 0;
}

bool names_utf8(const wchar_t *wide, char *text, size_t room)
{
    return WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, text, (int)room, NULL,
                               NULL) > 0;
}
