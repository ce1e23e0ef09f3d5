/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe_files.c - on Windows: the files that belong to a pipe's name.
 *
 * Owns: the directory. Each owner (owner_win32.h) has one, with a name that follows from who he is
 * and from nothing else: clients and service find the same one, and no two owners need the same.
 * Everybody could make it before we do. So it must belong to its owner, or somebody else could give
 * clients and service different files.
 *
 * Who: outside_file_win32.c, pipe.c, service_install_win32.c.
 */
#include "pipe_files.h"

#include <sddl.h>
#include <shlobj.h>
#include <stdio.h>
#include <wchar.h>

#include "os.h"

/* With the prefix, a NAME like "con" is a file like any other. */
#define PREFIX L"\\\\?\\"
#define NAME_ROOM 300 /* of a file in the directory */
#define SID_ROOM 190  /* "S-1-", an authority and 15 numbers */
#define PATH_ROOM (MAX_PATH + SID_ROOM + NAME_ROOM)

static const char *open_as_owner(const wchar_t *path, bool directory, DWORD share, DWORD how,
                                 HANDLE *h)
{
    const DWORD flags = FILE_FLAG_OPEN_REPARSE_POINT | (directory ? FILE_FLAG_BACKUP_SEMANTICS : 0);
    const DWORD access = directory ? FILE_READ_ATTRIBUTES : GENERIC_READ | GENERIC_WRITE;
    BY_HANDLE_FILE_INFORMATION info;
    SECURITY_ATTRIBUTES a;
    const char *wrong;

    *h = INVALID_HANDLE_VALUE;
    if (!owner_only(&a))
        return "no memory";
    *h = CreateFileW(path, access | READ_CONTROL, share, &a, how, flags, NULL);
    owner_only_end(&a);
    if (*h == INVALID_HANDLE_VALUE)
        return "it cannot be opened or made";
    if (!GetFileInformationByHandle(*h, &info) ||
        (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) ||
        !(info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == directory)
        wrong = directory ? "it is no directory" : "it is no file";
    else
        wrong = owner_fault(*h, OWNER_FILE | (directory ? 0 : OWNER_ALONE));
    if (wrong) {
        CloseHandle(*h);
        *h = INVALID_HANDLE_VALUE;
        SetLastError(ERROR_ACCESS_DENIED);
    }
    return wrong;
}

/* "cachemax" for administrators and SYSTEM, "cachemax-SID" for another user. Not in his own folder
 * for data: the system gives packaged programs another one, and a user may move it. */
static bool name_directory(wchar_t path[PATH_ROOM])
{
    struct owner o;
    wchar_t *sid;

    wcscpy(path, PREFIX);
    /* Not from the environment: client and service must find the same file. */
    if (SHGetFolderPathW(NULL, CSIDL_COMMON_APPDATA | CSIDL_FLAG_CREATE, NULL, SHGFP_TYPE_CURRENT,
                         path + wcslen(path)) != S_OK ||
        !owner_of_process(&o))
        return false;
    wcscat(path, L"\\cachemax");
    if (o.administrator)
        return true;
    if (!ConvertSidToStringSidW(OWNER_SID(&o), &sid))
        return false;
    swprintf(path + wcslen(path), SID_ROOM, L"-%ls", sid);
    LocalFree(sid);
    return true;
}

/* Is it there, and the owner's? NULL: yes. */
static const char *look_at_directory(const wchar_t *path)
{
    const char *wrong;
    HANDLE h;

    wrong = open_as_owner(path, true, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                          OPEN_EXISTING, &h);
    if (!wrong)
        CloseHandle(h);
    return wrong;
}

/* The directory, made if it is not there. */
static const char *find_directory(wchar_t path[PATH_ROOM])
{
    SECURITY_ATTRIBUTES a;

    if (!name_directory(path))
        return "the system names no folder for it";
    if (!owner_only(&a))
        return "no memory";
    (void)CreateDirectoryW(path, &a);
    owner_only_end(&a);
    return look_at_directory(path);
}

HANDLE pipe_file_open(const char *where, const char *ending, DWORD share, char why[256])
{
    wchar_t path[PATH_ROOM] = L"?";
    const char *wrong = os_place_fault(where);
    HANDLE h = INVALID_HANDLE_VALUE;
    DWORD error;

    SetLastError(ERROR_INVALID_NAME);
    if (wrong) {
        snprintf(why, 256, "%.120s: %s", where, wrong);
        return h;
    }
    wrong = find_directory(path);
    if (!wrong) {
        swprintf(path + wcslen(path), NAME_ROOM, L"\\%hs%hs", where + OS_PIPES_LEN, ending);
        wrong = open_as_owner(path, false, share, OPEN_ALWAYS, &h);
    }
    if (!wrong)
        return h;
    error = GetLastError();
    snprintf(why, 256, "%.150ls: %s (error %lu)", path + wcslen(PREFIX), wrong,
             (unsigned long)error);
    SetLastError(error);
    return INVALID_HANDLE_VALUE;
}

/* ---- Deleting -------------------------------------------------------------------------------- */

static unsigned delete_all(const wchar_t *dir, const wchar_t *ending)
{
    wchar_t path[PATH_ROOM];
    WIN32_FIND_DATAW found;
    unsigned stay = 0;
    HANDLE h;

    swprintf(path, PATH_ROOM, L"%ls\\*%ls", dir, ending);
    h = FindFirstFileW(path, &found);
    if (h == INVALID_HANDLE_VALUE)
        return 0;
    do {
        swprintf(path, PATH_ROOM, L"%ls\\%ls", dir, found.cFileName);
        /* Who has one open does not share the right to delete it: then this fails. */
        if (!DeleteFileW(path) && GetLastError() != ERROR_FILE_NOT_FOUND)
            stay++;
    } while (FindNextFileW(h, &found));
    FindClose(h);
    return stay;
}

unsigned pipe_files_delete_unused(void)
{
    wchar_t dir[PATH_ROOM];
    unsigned stay;

    /* Another user's directory may lead anywhere. */
    if (!name_directory(dir) || look_at_directory(dir) != NULL)
        return 0;
    stay = delete_all(dir, L".writes") + delete_all(dir, L".lock");
    (void)RemoveDirectoryW(dir); /* fails if something is in it */
    return stay;
}
