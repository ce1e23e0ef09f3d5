/* SPDX-License-Identifier: BSD-2-Clause
 *
 * walk_win32.c - all files below a folder, on Windows.
 *
 * Owns: for each folder on the way to the present one, the search in it. A tree can be as deep as
 * half the longest path, so these are not on the stack.
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

struct level {
    HANDLE search;
    size_t len; /* of the folder's path */
};

struct walker {
    void (*each)(void *arg, const char *path, intptr_t file);
    void *arg;
    uint64_t failed;
    WCHAR path[PATH_ROOM]; /* of what is looked at, with the prefix */
    size_t prefix;         /* characters of it that the caller did not give */
    char text[3 * PATH_ROOM];
    struct level level[PATH_ROOM / 2];
    size_t levels;
    WIN32_FIND_DATAW found;
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

/* Is it only another name for something (a symbolic link, a junction)? Other reparse points are
 * files and folders whose data lie elsewhere (deduplicated, compressed, in a cloud). */
static bool is_link(const WIN32_FIND_DATAW *e)
{
    return (e->dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) &&
           IsReparseTagNameSurrogate(e->dwReserved0);
}

/* w->found is an entry of the folder w->path. Takes its path. False: nothing to look at. */
static bool take_entry(struct walker *w)
{
    const WCHAR *const name = w->found.cFileName;
    const size_t len = wcslen(w->path);

    if (wcscmp(name, L".") == 0 || wcscmp(name, L"..") == 0 || is_link(&w->found))
        return false;
    if (len + 2 + wcslen(name) > PATH_ROOM) {
        w->failed++;
        return false;
    }
    wcscpy(w->path + len, w->path[len - 1] == L'\\' ? L"" : L"\\");
    wcscat(w->path, name);
    return true;
}

/* Begins to search the folder w->path. False: there is no entry in it. */
static bool enter(struct walker *w)
{
    const size_t len = wcslen(w->path);
    HANDLE h;

    if (len + 3 > PATH_ROOM || w->levels == PATH_ROOM / 2) {
        w->failed++;
        return false;
    }
    wcscpy(w->path + len, w->path[len - 1] == L'\\' ? L"*" : L"\\*");
    h = FindFirstFileW(w->path, &w->found);
    w->path[len] = 0;
    if (h == INVALID_HANDLE_VALUE) {
        w->failed += GetLastError() != ERROR_FILE_NOT_FOUND; /* that is an empty volume */
        return false;
    }
    w->level[w->levels++] = (struct level){ h, len };
    return true;
}

/* Goes to the next entry of the folder, or of one above. False: there is none. */
static bool next_entry(struct walker *w)
{
    while (w->levels > 0) {
        const struct level *const at = &w->level[w->levels - 1];

        w->path[at->len] = 0;
        if (FindNextFileW(at->search, &w->found))
            return true;
        w->failed += GetLastError() != ERROR_NO_MORE_FILES; /* the rest of the folder is unseen */
        FindClose(at->search);
        w->levels--;
    }
    return false;
}

static void look_into(struct walker *w)
{
    bool more = enter(w);

    while (more) {
        if (!take_entry(w)) {
            more = next_entry(w);
        } else if (w->found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) {
            more = enter(w) || next_entry(w);
        } else {
            look_at_file(w);
            more = next_entry(w);
        }
    }
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
