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
#include <stdlib.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "driver_rules.h"

#define PREFIX L"\\\\?\\" /* without it a path has 260 letters at most */
#define PREFIX_LEN 4u

#ifndef FILE_DAX_VOLUME
#define FILE_DAX_VOLUME 0x20000000
#endif

/* INVALID_HANDLE_VALUE: it is not there. */
static HANDLE open_path(const wchar_t *path)
{
    wchar_t plain[DRIVER_NAME_MAX + PREFIX_LEN] = PREFIX;
    const bool has_letter = path[0] && path[1] == L':';

    wcscpy(plain + PREFIX_LEN, path);
    /* The last flag: a directory can be opened. Nothing of it is read. */
    return CreateFileW(has_letter ? plain : path, 0,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                       FILE_FLAG_BACKUP_SEMANTICS, NULL);
}

static bool is_verbatim(const wchar_t *path)
{
    return path[0] == L'\\' && path[1] == L'\\' && (path[2] == L'?' || path[2] == L'.') &&
           path[3] == L'\\';
}

/* "\SERVER\SHARE\..." in a name of a network; NULL: it is none. */
static const wchar_t *server_of(const wchar_t *path)
{
    if (is_verbatim(path))
        return _wcsnicmp(path + PREFIX_LEN, L"UNC\\", 4) == 0 ? path + PREFIX_LEN + 3 : NULL;
    return path[0] == L'\\' && path[1] == L'\\' ? path + 1 : NULL;
}

/* Letters of the root: "C:\", "\\?\D:\", "\\?\Volume{...}\". */
static size_t root_of(const wchar_t *path)
{
    const size_t from = is_verbatim(path) ? PREFIX_LEN : 0;
    const size_t name = wcscspn(path + from, L"\\");

    return from + name + (path[from + name] == L'\\');
}

/* Letters of the directory that has the last name of so many letters; 0: it is a root. Without its
 * end a root would be that of another volume: "\\?\" is the current drive. */
static size_t parent(const wchar_t *path, size_t used)
{
    const size_t root = root_of(path);
    size_t at = used;

    if (used <= root)
        return 0;
    while (at > root && path[at - 1] != L'\\')
        at--;
    return at == root ? root : at - 1; /* the separator belongs to "C:\" */
}

/* Opens the longest part that is there. *used: its letters. */
static HANDLE open_part(wchar_t whole[DRIVER_NAME_MAX], size_t *used)
{
    HANDLE h;

    for (*used = wcslen(whole); *used > 0; *used = parent(whole, *used)) {
        const wchar_t after = whole[*used];

        whole[*used] = 0;
        h = open_path(whole);
        whole[*used] = after;
        if (h != INVALID_HANDLE_VALUE)
            return h;
    }
    return INVALID_HANDLE_VALUE;
}

static bool to_wide(const char *path, wchar_t whole[DRIVER_NAME_MAX])
{
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, whole, DRIVER_NAME_MAX))
        return false;
    for (wchar_t *at = whole; *at; at++)
        if (*at == L'/')
            *at = L'\\';
    return true;
}

/* The kernel's name of what is there, and the rest of `whole` behind it. */
static bool name_part(wchar_t whole[DRIVER_NAME_MAX], wchar_t name[2 * DRIVER_NAME_MAX])
{
    size_t used, n;
    const HANDLE h = open_part(whole, &used);

    if (h == INVALID_HANDLE_VALUE)
        return false;
    n = GetFinalPathNameByHandleW(h, name, DRIVER_NAME_MAX, FILE_NAME_NORMALIZED | VOLUME_NAME_NT);
    CloseHandle(h);
    if (n == 0 || n >= DRIVER_NAME_MAX || name[0] != L'\\')
        return false;
    if (whole[used]) {
        n -= name[n - 1] == L'\\';
        if (whole[used] != L'\\')
            name[n++] = L'\\';
        wcscpy(name + n, whole + used);
    }
    return true;
}

bool driver_name_win32(const char *path, char to[DRIVER_NAME_MAX])
{
    wchar_t whole[DRIVER_NAME_MAX], name[2 * DRIVER_NAME_MAX] = L"\\Device\\Mup";

    if (!to_wide(path, whole))
        return false;
    if (server_of(whole))
        wcscat(name, server_of(whole));
    else if (!name_part(whole, name))
        return false;
    return WideCharToMultiByte(CP_UTF8, 0, name, -1, to, DRIVER_NAME_MAX, NULL, NULL) > 0;
}

/* ---- Letters --------------------------------------------------------------------------------- */

/* As RtlUpcaseUnicodeChar() of the kernel, which the driver asks. */
static void to_capitals(wchar_t *text)
{
    typedef WCHAR(NTAPI * upcase_fn)(WCHAR);
    const upcase_fn upcase =
        (upcase_fn)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "RtlUpcaseUnicodeChar");

    for (; upcase && *text; text++)
        *text = upcase(*text);
}

/* False: it does not fit. */
static bool capitals_of(const char *text, char *to, int room)
{
    wchar_t wide[DRIVER_NAME_MAX];

    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, DRIVER_NAME_MAX))
        return false;
    to_capitals(wide);
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, to, room, NULL, NULL) > 0;
}

static bool name_in_capitals(const char *path, char to[DRIVER_NAME_MAX])
{
    char name[DRIVER_NAME_MAX];

    return driver_name_win32(path, name) && capitals_of(name, to, DRIVER_NAME_MAX);
}

enum folders_verdict driver_judge_win32(const struct folders *f, const char *path, const char **by)
{
    struct folders capitals = *f;
    char *text[FOLDERS_EXCLUDES_MAX] = { NULL };
    enum folders_verdict v;

    for (unsigned i = 0; i < f->excludes; i++) {
        const size_t room = strlen(f->exclude[i]) * 3 / 2 + 1;

        text[i] = malloc(room);
        if (text[i] && capitals_of(f->exclude[i], text[i], (int)room))
            capitals.exclude[i] = text[i];
    }
    v = driver_judge(&capitals, path, name_in_capitals, by);
    for (unsigned i = 0; i < f->excludes; i++) {
        if (v == FOLDERS_EXCLUDED && *by == capitals.exclude[i])
            *by = f->exclude[i];
        free(text[i]);
    }
    return v;
}

/* ---- Volumes --------------------------------------------------------------------------------- */

/* Can the medium be taken out, or is the device on a network? What the driver asks, too
 * (FILE_REMOVABLE_MEDIA, FILE_REMOTE_DEVICE). False also if the system does not say it. */
static bool is_removable(HANDLE h)
{
    typedef LONG(NTAPI * query_fn)(HANDLE, PVOID, PVOID, ULONG, int);
    const query_fn query = (query_fn)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"),
                                                            "NtQueryVolumeInformationFile");
    ULONG_PTR status[2];            /* IO_STATUS_BLOCK */
    ULONG device[2] = { 0, 0 };     /* FILE_FS_DEVICE_INFORMATION: type, characteristics */
    enum { DEVICE = 4, OF = 0x11 }; /* FileFsDeviceInformation; the two flags */

    return query && query(h, status, device, sizeof(device), DEVICE) >= 0 && (device[1] & OF);
}

const char *driver_volume_win32(const char *path)
{
    wchar_t whole[DRIVER_NAME_MAX], type[MAX_PATH + 1];
    const char *why = NULL;
    DWORD flags;
    size_t used;
    HANDLE h;

    if (!to_wide(path, whole) || server_of(whole))
        return NULL;
    h = open_part(whole, &used);
    if (h == INVALID_HANDLE_VALUE)
        return NULL;
    if (!GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, &flags, type, MAX_PATH + 1))
        why = NULL; /* nobody knows */
    else if (_wcsicmp(type, L"NTFS") != 0 && _wcsicmp(type, L"ReFS") != 0)
        why = "is on a volume that is neither NTFS nor ReFS; the driver passes it by. Move the "
              "files to such a volume";
    else if (flags & FILE_DAX_VOLUME)
        why = "is on a DAX volume; the driver passes it by. It is as fast as the pool";
    else if (is_removable(h))
        why = "is on a medium that can be taken out; the driver passes it by. Move the files to a "
              "fixed disk";
    CloseHandle(h);
    return why;
}
