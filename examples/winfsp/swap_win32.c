/* SPDX-License-Identifier: BSD-2-Clause
 *
 * swap_win32.c - names, the journal and dead mounts, on Windows.
 *
 * Owns: nothing. Who: main.c, swap.c.
 *
 * The journal is for its owner and for administrators only, whatever its directory would give it:
 * who may write it names the directory that gets the folder's name.
 *
 * The lock of the journal is its sharing mode: a second open that wants to write fails, and the
 * handle goes with the process. Names are written through (MOVEFILE_WRITE_THROUGH); NTFS journals
 * them. WinFsp makes the directory of a mount itself, and takes it away with the process. What a
 * power cut may leave is a junction that leads nowhere.
 */
#include "names_win32.h"
#include "swap.h"
#include "swap_os.h"

#include "../service/owner_win32.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

static HANDLE handle_of(intptr_t journal)
{
    return (HANDLE)journal;
}

static bool wide_of(const char *path, wchar_t wide[SWAP_PATH + 32])
{
    return names_wide(path, wide, SWAP_PATH + 32);
}

/* The last name of `path` as its directory has it, if there is such a name with `suffix`. */
static void name_as_it_is(wchar_t *path, size_t room, const wchar_t *suffix)
{
    wchar_t whole[SWAP_PATH + 32];
    wchar_t *const name = wcsrchr(path, L'\\');
    WIN32_FIND_DATAW found;
    HANDLE h;
    size_t n;

    if (!name || swprintf(whole, SWAP_PATH + 32, L"%ls%ls", path, suffix) < 0)
        return;
    h = FindFirstFileW(whole, &found);
    if (h == INVALID_HANDLE_VALUE)
        return;
    FindClose(h);
    n = wcslen(found.cFileName);
    if (n <= wcslen(suffix) || (size_t)(name + 1 - path) + n >= room)
        return;
    n -= wcslen(suffix);
    wmemcpy(name + 1, found.cFileName, n);
    name[1 + n] = L'\0';
}

int swap_os_resolve(const char *folder, char *path, size_t room)
{
    static const char separators[] = "\\/";
    wchar_t given[SWAP_PATH], whole[SWAP_PATH], *name = NULL;
    size_t n = strlen(folder);
    const char *last;
    DWORD len;

    while (n > 0 && strchr(separators, folder[n - 1]))
        n--;
    last = folder + n;
    while (last > folder && !strchr(separators, last[-1]) && last[-1] != ':')
        last--;
    if (last == folder + n || !strncmp(last, ".", n - (size_t)(last - folder)) ||
        !strncmp(last, "..", n - (size_t)(last - folder)))
        return -EINVAL;
    if (!names_wide(folder, given, SWAP_PATH))
        return -ENAMETOOLONG;
    len = GetFullPathNameW(given, SWAP_PATH, whole, &name);
    if (len == 0 || len >= SWAP_PATH)
        return -ENAMETOOLONG;
    while (len > 0 && whole[len - 1] == L'\\')
        whole[--len] = L'\0';
    name_as_it_is(whole, SWAP_PATH, L".cachemax-origin");
    name_as_it_is(whole, SWAP_PATH, L"");
    return names_utf8(whole, path, room) ? 0 : -ENAMETOOLONG;
}

int swap_os_real(const char *given, char *path, size_t room)
{
    wchar_t wide[SWAP_PATH + 32], real[SWAP_PATH];
    HANDLE h;
    DWORD n;

    if (!wide_of(given, wide))
        return -ENAMETOOLONG;
    h = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    n = GetFinalPathNameByHandleW(h, real, SWAP_PATH, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
    CloseHandle(h);
    if (n == 0 || n >= SWAP_PATH)
        return -EIO;
    return names_utf8(real, path, room) ? 0 : -ENAMETOOLONG;
}

int swap_os_id(const char *path, char id[SWAP_ID])
{
    wchar_t wide[SWAP_PATH + 32];
    BY_HANDLE_FILE_INFORMATION info;
    FILE_ID_INFO whole;
    HANDLE h;
    int e = 0;

    if (!wide_of(path, wide))
        return -ENAMETOOLONG;
    h = CreateFileW(wide, FILE_READ_ATTRIBUTES,
                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                    FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    if (!GetFileInformationByHandle(h, &info))
        e = names_error();
    else if (!(info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) ||
             (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
        e = -ENOTDIR;
    else if (GetFileInformationByHandleEx(h, FileIdInfo, &whole, sizeof(whole)))
        for (size_t i = 0; i < sizeof(whole.FileId); i++)
            snprintf(id + 2 * i, 3, "%02x", ((const unsigned char *)&whole.FileId)[i]);
    else
        snprintf(id, SWAP_ID, "%08lx%08lx", info.nFileIndexHigh, info.nFileIndexLow);
    CloseHandle(h);
    return e;
}

static int open_journal(const char *path, DWORD how, SECURITY_ATTRIBUTES *who, intptr_t *journal)
{
    wchar_t wide[SWAP_PATH + 32];
    HANDLE h;

    if (!wide_of(path, wide))
        return -ENAMETOOLONG;
    h = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_READ, who, how,
                    FILE_FLAG_WRITE_THROUGH | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    *journal = (intptr_t)h;
    return 0;
}

int swap_os_create(const char *path, intptr_t *journal)
{
    SECURITY_ATTRIBUTES who;
    int e = -EIO;

    if (owner_only(&who))
        e = open_journal(path, CREATE_NEW, &who, journal);
    owner_only_end(&who);
    return e;
}

int swap_os_write(intptr_t journal, const char *text)
{
    DWORD n = 0;

    if (!WriteFile(handle_of(journal), text, (DWORD)strlen(text), &n, NULL))
        return names_error();
    if (n != strlen(text))
        return -EIO;
    return FlushFileBuffers(handle_of(journal)) ? 0 : names_error();
}

int swap_os_open(const char *path, char *text, size_t room, intptr_t *journal, const char **why)
{
    DWORD n = 0;
    int e = open_journal(path, OPEN_EXISTING, NULL, journal);

    *why = e == 0 ? owner_fault(handle_of(*journal), OWNER_ALONE | OWNER_FILE) : NULL;
    if (*why) {
        CloseHandle(handle_of(*journal));
        e = -EPERM;
    }
    if (e == 0 && !ReadFile(handle_of(*journal), text, (DWORD)room - 1, &n, NULL)) {
        e = names_error();
        CloseHandle(handle_of(*journal));
    }
    text[n] = '\0';
    return e;
}

int swap_os_remove(const char *path, intptr_t journal)
{
    FILE_DISPOSITION_INFO gone = { TRUE };

    (void)path;
    if (!SetFileInformationByHandle(handle_of(journal), FileDispositionInfo, &gone, sizeof(gone)))
        return names_error();
    CloseHandle(handle_of(journal));
    return 0;
}

void swap_os_close(intptr_t journal)
{
    CloseHandle(handle_of(journal));
}

int swap_os_move(const char *from, const char *to)
{
    wchar_t wide[SWAP_PATH + 32], wide_to[SWAP_PATH + 32];

    if (!wide_of(from, wide) || !wide_of(to, wide_to))
        return -ENAMETOOLONG;
    return MoveFileExW(wide, wide_to, MOVEFILE_WRITE_THROUGH) ? 0 : names_error();
}

void swap_os_pause(void)
{
    Sleep(100);
}

int swap_os_make_place(const char *folder)
{
    (void)folder;
    return 0;
}

/* A mount whose server is gone leads nowhere. Other junctions are somebody's. */
static bool leads_somewhere(const wchar_t *path)
{
    const HANDLE h = CreateFileW(path, FILE_READ_ATTRIBUTES,
                                 FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                 OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);

    if (h == INVALID_HANDLE_VALUE)
        return false;
    CloseHandle(h);
    return true;
}

int swap_os_clear_place(const char *folder)
{
    wchar_t wide[SWAP_PATH + 32];
    DWORD is;

    if (!wide_of(folder, wide))
        return -ENAMETOOLONG;
    is = GetFileAttributesW(wide);
    if (is == INVALID_FILE_ATTRIBUTES)
        return GetLastError() == ERROR_FILE_NOT_FOUND ? 0 : names_error();
    if (!(is & FILE_ATTRIBUTE_DIRECTORY))
        return -ENOTDIR;
    if ((is & FILE_ATTRIBUTE_REPARSE_POINT) && leads_somewhere(wide))
        return -EBUSY;
    return RemoveDirectoryW(wide) ? 0 : names_error();
}

void swap_os_hold(bool hold)
{
    (void)SetConsoleCtrlHandler(NULL, hold); /* Ctrl-C only */
}
