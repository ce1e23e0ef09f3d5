/* SPDX-License-Identifier: BSD-2-Clause
 *
 * walk_win32.c - all files below a folder, on Windows.
 *
 * Who: remove.c.
 */
#include "walk.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define PATH_ROOM 32768u /* the system's limit of a path with "\\?\" */
#define PREFIX L"\\\\?\\"

struct walker {
    void (*each)(void *arg, const char *path, intptr_t file);
    void *arg;
    uint64_t failed;
    WCHAR path[PATH_ROOM]; /* of what is looked at, with the prefix */
    size_t prefix;         /* characters of it that the caller did not give */
    char text[3 * PATH_ROOM];
};

static void look_at_file(struct walker *w)
{
    const HANDLE h = CreateFileW(w->path, FILE_READ_ATTRIBUTES,
                                 FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                 OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, NULL);

    if (h == INVALID_HANDLE_VALUE || !WideCharToMultiByte(CP_UTF8, 0, w->path + w->prefix, -1,
                                                          w->text, sizeof(w->text), NULL, NULL))
        w->failed++;
    else
        w->each(w->arg, w->text, (intptr_t)h);
    if (h != INVALID_HANDLE_VALUE)
        CloseHandle(h);
}

static void look_into(struct walker *w)
{
    const size_t len = wcslen(w->path);
    WIN32_FIND_DATAW e;
    HANDLE h;

    if (len + 3 > PATH_ROOM) {
        w->failed++;
        return;
    }
    wcscpy(w->path + len, w->path[len - 1] == L'\\' ? L"*" : L"\\*");
    h = FindFirstFileW(w->path, &e);
    w->path[len] = 0;
    if (h == INVALID_HANDLE_VALUE) {
        w->failed++;
        return;
    }
    do {
        if (wcscmp(e.cFileName, L".") == 0 || wcscmp(e.cFileName, L"..") == 0 ||
            (e.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
            continue;
        if (len + 2 + wcslen(e.cFileName) > PATH_ROOM) {
            w->failed++;
            continue;
        }
        wcscpy(w->path + len, w->path[len - 1] == L'\\' ? L"" : L"\\");
        wcscat(w->path, e.cFileName);
        if (e.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
            look_into(w);
        else
            look_at_file(w);
        w->path[len] = 0;
    } while (FindNextFileW(h, &e));
    FindClose(h);
}

/* The path as "\\?\" wants it: with backslashes only. False: it is too long. */
static bool take_path(struct walker *w, const char *folder)
{
    w->prefix = strncmp(folder, "\\\\", 2) == 0 ? 0 : wcslen(PREFIX); /* a share has its own form */
    if (w->prefix > 0)
        wcscpy(w->path, PREFIX);
    if (!MultiByteToWideChar(CP_UTF8, 0, folder, -1, w->path + w->prefix,
                             (int)(PATH_ROOM - w->prefix)))
        return false;
    for (WCHAR *c = w->path; *c; c++)
        if (*c == L'/')
            *c = L'\\';
    return true;
}

uint64_t walk(const char *folder, void (*each)(void *arg, const char *path, intptr_t file),
              void *arg)
{
    struct walker *w = calloc(1, sizeof(*w));
    uint64_t failed = 1;

    if (w && take_path(w, folder)) {
        const DWORD attributes = GetFileAttributesW(w->path);

        w->each = each;
        w->arg = arg;
        if (attributes == INVALID_FILE_ATTRIBUTES)
            w->failed = 1;
        else if (attributes & FILE_ATTRIBUTE_DIRECTORY)
            look_into(w);
        else
            look_at_file(w);
        failed = w->failed;
    }
    free(w);
    return failed;
}
