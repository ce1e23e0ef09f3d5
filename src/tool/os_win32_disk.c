/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32_disk.c - the part of os.h that "cachemax compare" needs on Windows, how much of a disk a
 * file takes, links that lead nowhere, and the directory for files that do not last.
 *
 * Owns: nothing that lasts.
 *
 * Who: tool/.
 */
#include "tool/os.h"

#include "platform/win32_path.h"

static int open_as(const char *path, DWORD access, DWORD share, DWORD how, DWORD flags,
                   intptr_t *file)
{
    wchar_t *name = win32_path(path);
    HANDLE h = INVALID_HANDLE_VALUE;
    int error = 0;

    if (name)
        h = CreateFileW(name, access, share, NULL, how, flags, NULL);
    if (h == INVALID_HANDLE_VALUE)
        error = name ? (int)GetLastError() : ERROR_INVALID_NAME;
    free(name);
    *file = (intptr_t)h;
    return error;
}

int os_open_direct(const char *path, intptr_t *file)
{
    return open_as(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                   OPEN_EXISTING, FILE_FLAG_NO_BUFFERING, file);
}

bool os_is_nowhere(void)
{
    return false;
}

enum os_links os_links(const char *path)
{
    intptr_t file;
    const int error =
        open_as(path, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, &file);

    if (!error)
        (void)CloseHandle((HANDLE)file);
    return error == ERROR_CANT_RESOLVE_FILENAME ? OS_LINKS_CIRCLE : OS_LINKS_LEAD;
}

int os_find(const char *path)
{
    wchar_t *name = win32_path(path);
    int error = ERROR_NOT_ENOUGH_MEMORY;

    if (name)
        error = GetFileAttributesW(name) == INVALID_FILE_ATTRIBUTES ? (int)GetLastError() : 0;
    free(name);
    return error;
}

int os_hold_file(const char *path, bool make, intptr_t *file)
{
    const int error = open_as(path, GENERIC_READ | GENERIC_WRITE, 0,
                              make ? CREATE_NEW : OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, file);

    if (error)
        *file = -1;
    return error;
}

int os_make_directory(const char *path)
{
    wchar_t *name = win32_path(path);
    const int error = name && CreateDirectoryW(name, NULL) ? 0 : (int)GetLastError();

    free(name);
    return error;
}

int os_remove_directory(const char *path)
{
    wchar_t *name = win32_path(path);
    const int error = name && RemoveDirectoryW(name) ? 0 : (int)GetLastError();

    free(name);
    return error;
}

bool os_is_sparse(const char *path, uint64_t *takes)
{
    wchar_t *name = win32_path(path);
    WIN32_FILE_ATTRIBUTE_DATA data;
    DWORD low = INVALID_FILE_SIZE, high = 0;
    bool known = name && GetFileAttributesExW(name, GetFileExInfoStandard, &data);

    if (known) {
        SetLastError(NO_ERROR);
        low = GetCompressedFileSizeW(name, &high);
        known = low != INVALID_FILE_SIZE || GetLastError() == NO_ERROR;
    }
    free(name);
    *takes = (uint64_t)high << 32 | low;
    return known && *takes < ((uint64_t)data.nFileSizeHigh << 32 | data.nFileSizeLow);
}

void os_memory_directory(char *path, size_t n)
{
    wchar_t wide[MAX_PATH + 1];

    if (!GetTempPathW(MAX_PATH + 1, wide) ||
        !WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, wide, -1, path, (int)n, NULL, NULL))
        (void)snprintf(path, n, ".");
}
