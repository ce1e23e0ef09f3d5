/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin_win32.c - the origin's files, on Windows.
 *
 * Owns: the path of the folder. Who: cache.c, handles.c, main.c, ops.c. Every thread.
 *
 * Files are opened so that others may read, write, rename and delete them meanwhile: WinFsp has
 * judged the share modes of its own callers before.
 *
 * Links and junctions are not followed. Windows follows those in the middle of a path whatever it
 * is asked. So each directory of a path is looked at first, and what was opened must lie below the
 * folder by the name that the system says it has: somebody may have put a junction there between.
 * Names are removed, moved and listed by a handle that was looked at in this way, and made relative
 * to that of their directory. A link itself is shown, as the file or directory that it pretends to
 * be, and may be removed and renamed. Other reparse points are files and directories whose data lie
 * elsewhere (deduplicated, archived, in a cloud). Who has those is asked: they are opened as usual.
 */
#include "names_win32.h"
#include "origin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include <winternl.h>

#define SHARED (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define AS_IT_IS FILE_FLAG_OPEN_REPARSE_POINT
#define EPOCH INT64_C(116444736000000000) /* 1970 in ticks of 100 ns since 1601 */
#define CALL_MAX (UINT32_C(1) << 30)

static wchar_t *folder, *real_folder; /* as it was given; as the system calls it */
static DWORD named_by;                /* the kind of the latter */
static bool for_everyone;

static struct { /* of the system, which has no others for names relative to a handle */
    NTSTATUS(NTAPI *create)
    (HANDLE *h, ACCESS_MASK access, OBJECT_ATTRIBUTES *in, IO_STATUS_BLOCK *io, LARGE_INTEGER *size,
     ULONG attributes, ULONG share, ULONG how, ULONG options, void *ea, ULONG ea_len);
    NTSTATUS(NTAPI *set)
    (HANDLE h, IO_STATUS_BLOCK *io, void *info, ULONG len, ULONG kind);
    ULONG(NTAPI *dos_error)(NTSTATUS status);
} calls;

/* On the stack of each call: names of 32767 characters are rare, and memory is not. */
struct path {
    wchar_t w[4096];
};

static void turn_slashes(wchar_t *c)
{
    for (; *c; c++)
        if (*c == L'/')
            *c = L'\\';
}

/* A path as WinFsp passes it. "/" is what parts its names. No name of Windows may have one of
 * `"*:<>?\|` or a control character: programs that need one (Cygwin, WSL, Macs over SMB) take the
 * character U+F000 + c in its place. WinFsp has put c there. The names that it was given in a list
 * it passes as they are. */
static void turn_path(wchar_t *c)
{
    for (; *c; c++)
        if (*c == L'/')
            *c = L'\\';
        else if (*c < L' ' || wcschr(L"\"*:<>?\\|", *c))
            *c |= 0xf000;
}

/* Is it only another name for something, which may be anywhere? Without a tag nobody knows. */
static bool leads_away(DWORD attributes, DWORD tag)
{
    return (attributes & FILE_ATTRIBUTE_REPARSE_POINT) &&
           (tag == 0 || IsReparseTagNameSurrogate(tag));
}

static bool is_link(const wchar_t *path)
{
    const DWORD is = GetFileAttributesW(path);
    WIN32_FIND_DATAW found;
    HANDLE h;

    if (is == INVALID_FILE_ATTRIBUTES || !(is & FILE_ATTRIBUTE_REPARSE_POINT))
        return false;
    h = FindFirstFileW(path, &found); /* the only call that says the tag of a path */
    if (h == INVALID_HANDLE_VALUE)
        return true;
    FindClose(h);
    return leads_away(found.dwFileAttributes, found.dwReserved0);
}

/* -ENOENT: too long. -EACCES: it leads through a link. */
static int below(const char *path, struct path *p)
{
    const size_t n = wcslen(folder), room = sizeof(p->w) / sizeof(p->w[0]);
    bool leaves = false;

    if (n + 1 > room)
        return -ENOENT;
    wcscpy(p->w, folder);
    if (!names_wide(path[1] ? path : "", p->w + n, room - n))
        return -ENOENT;
    turn_path(p->w + n);
    for (wchar_t *end = p->w + n; *end && !leaves && (end = wcschr(end + 1, L'\\'));) {
        *end = L'\0';
        leaves = is_link(p->w);
        *end = L'\\';
    }
    return leaves ? -EACCES : 0;
}

/* Where it is, without links. The caller frees it. NULL: the system does not say. */
static wchar_t *real_path(HANDLE h)
{
    const DWORD how = FILE_NAME_NORMALIZED | named_by;
    const DWORD room = GetFinalPathNameByHandleW(h, NULL, 0, how);
    wchar_t *path = calloc((size_t)room + 1, sizeof(*path));
    const DWORD n = path && room ? GetFinalPathNameByHandleW(h, path, room + 1, how) : 0;

    if (n > 0 && n <= room)
        return path;
    free(path);
    return NULL;
}

/* Is it the folder, or something below it? */
static bool is_below(HANDLE h)
{
    wchar_t *const path = real_path(h);
    const size_t n = wcslen(real_folder);
    const bool is = path && !wcsncmp(path, real_folder, n) && (!path[n] || path[n] == L'\\');

    free(path);
    return is;
}

static int find_folder(void)
{
    const HANDLE h = CreateFileW(folder, FILE_READ_ATTRIBUTES, SHARED, NULL, OPEN_EXISTING,
                                 FILE_FLAG_BACKUP_SEMANTICS, NULL);

    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    named_by = VOLUME_NAME_DOS;
    real_folder = real_path(h);
    if (!real_folder) { /* a volume without a letter */
        named_by = VOLUME_NAME_NT;
        real_folder = real_path(h);
    }
    CloseHandle(h);
    return real_folder ? 0 : -EIO;
}

static bool find_call(const char *name, void *call, size_t size)
{
    const FARPROC at = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name);

    memcpy(call, &at, size);
    return at != NULL;
}

int origin_begin(const char *path, bool everyone)
{
    static const wchar_t long_names[] = L"\\\\?\\";
    wchar_t wide[4096];
    const bool plain = path[0] != '\\' && path[0] != '/';

    for_everyone = everyone;
    if (!find_call("NtCreateFile", &calls.create, sizeof(calls.create)) ||
        !find_call("NtSetInformationFile", &calls.set, sizeof(calls.set)) ||
        !find_call("RtlNtStatusToDosError", &calls.dos_error, sizeof(calls.dos_error)))
        return -ENOSYS;
    if (!names_wide(path, wide, sizeof(wide) / sizeof(wide[0])))
        return -ENAMETOOLONG;
    folder = calloc(wcslen(wide) + 8, sizeof(*folder));
    if (!folder)
        return -ENOMEM;
    wcscpy(folder, plain ? long_names : L"");
    wcscat(folder, wide);
    turn_slashes(folder);
    return find_folder();
}

void origin_end(void)
{
    free(folder);
    free(real_folder);
    folder = real_folder = NULL;
}

/* ---- Handles --------------------------------------------------------------------------------- */

/* What is opened for its bytes is opened for overlapped calls: of any other handle Windows does one
 * call at a time, questions and flushes, too. On either kind those return when they have ended. The
 * list of a directory would not. */
static HANDLE open_how(const wchar_t *path, DWORD access, DWORD how, int *e)
{
    const DWORD kind = access & GENERIC_READ ? FILE_FLAG_OVERLAPPED : 0;
    HANDLE h = CreateFileW(path, access, SHARED, NULL, OPEN_EXISTING,
                           FILE_FLAG_BACKUP_SEMANTICS | kind | how, NULL);

    *e = h == INVALID_HANDLE_VALUE ? names_error() : 0;
    if (*e == 0 && !is_below(h)) {
        CloseHandle(h);
        *e = -EACCES;
        h = INVALID_HANDLE_VALUE;
    }
    return h;
}

static int kind_of(HANDLE h, FILE_ATTRIBUTE_TAG_INFO *is)
{
    return GetFileInformationByHandleEx(h, FileAttributeTagInfo, is, sizeof(*is)) ? 0
                                                                                  : names_error();
}

/* A link as it is. What comes to the name meanwhile may be one that leads out: then is_below() of
 * the second one says so. */
static HANDLE open_path(const wchar_t *path, DWORD access, int *e)
{
    FILE_ATTRIBUTE_TAG_INFO is;
    const HANDLE h = open_how(path, access | FILE_READ_ATTRIBUTES, AS_IT_IS, e);

    if (*e < 0)
        return h;
    *e = kind_of(h, &is);
    if (*e == 0 && (!(is.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) ||
                    leads_away(is.FileAttributes, is.ReparseTag)))
        return h;
    CloseHandle(h);
    return *e < 0 ? INVALID_HANDLE_VALUE : open_how(path, access | FILE_READ_ATTRIBUTES, 0, e);
}

/* INVALID_HANDLE_VALUE: *e says why. */
static HANDLE open_any(const char *path, DWORD access, int *e)
{
    struct path p;

    *e = below(path, &p);
    return *e < 0 ? INVALID_HANDLE_VALUE : open_path(p.w, access, e);
}

/* Neither a link nor what a link stands for: Windows opens a link as it is, Wine what is behind it.
 */
static HANDLE open_dir(const wchar_t *path, DWORD access, int *e)
{
    FILE_ATTRIBUTE_TAG_INFO is;
    const HANDLE h = open_path(path, access, e);

    if (*e < 0)
        return h;
    *e = kind_of(h, &is);
    if (*e == 0 && leads_away(is.FileAttributes, is.ReparseTag))
        *e = -EACCES;
    if (*e == 0)
        return h;
    CloseHandle(h);
    return INVALID_HANDLE_VALUE;
}

/* The directory that is to have the new name, and the name: it points into *p. WinFsp makes U+FFFD
 * of each half of a pair of surrogates that is alone, so two such names would become one. Only a
 * name of the origin's may have U+FFFD. */
static HANDLE open_parent(const char *path, struct path *p, UNICODE_STRING *name, int *e)
{
    wchar_t *last;

    *e = path[1] ? below(path, p) : -EEXIST; /* the folder itself is there, and stays */
    if (*e < 0)
        return INVALID_HANDLE_VALUE;
    last = wcsrchr(p->w, L'\\');
    *last++ = L'\0';
    if (wcschr(last, 0xfffd)) {
        *e = -EINVAL;
        return INVALID_HANDLE_VALUE;
    }
    name->Buffer = last;
    name->Length = name->MaximumLength = (USHORT)(wcslen(last) * sizeof(*last));
    return open_dir(p->w, FILE_TRAVERSE | SYNCHRONIZE, e);
}

static int status_error(NTSTATUS status)
{
    SetLastError(calls.dos_error(status));
    return names_error();
}

/* Opens or makes a name in its directory, wherever the path leads by then. It is for overlapped
 * calls. */
static HANDLE make(const char *path, ACCESS_MASK access, ULONG how, ULONG kind, int *e)
{
    struct path p;
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES in;
    IO_STATUS_BLOCK io;
    HANDLE h = INVALID_HANDLE_VALUE, parent = open_parent(path, &p, &name, e);
    NTSTATUS status;

    if (*e < 0)
        return h;
    InitializeObjectAttributes(&in, &name, OBJ_CASE_INSENSITIVE, parent, NULL);
    status =
        calls.create(&h, access | FILE_READ_ATTRIBUTES | SYNCHRONIZE, &in, &io, NULL,
                     FILE_ATTRIBUTE_NORMAL, SHARED, how, kind | FILE_OPEN_REPARSE_POINT, NULL, 0);
    CloseHandle(parent);
    if (status < 0) {
        *e = status_error(status);
        return INVALID_HANDLE_VALUE;
    }
    if (is_below(h))
        return h;
    CloseHandle(h); /* the directory was empty, and has become a link while it was open */
    *e = -EACCES;
    return INVALID_HANDLE_VALUE;
}

/* ---- Files ----------------------------------------------------------------------------------- */

int origin_open(const char *path, const struct origin_how *how, origin_file *f)
{
    const DWORD access = GENERIC_READ | (how->writes ? GENERIC_WRITE : 0);
    FILE_ATTRIBUTE_TAG_INFO is;
    int e;
    const HANDLE h = how->exclusive ? make(path, access, FILE_CREATE, FILE_NON_DIRECTORY_FILE, &e)
                     : how->create  ? make(path, access, FILE_OPEN_IF, FILE_NON_DIRECTORY_FILE, &e)
                                    : open_any(path, access, &e);

    if (e < 0)
        return e;
    e = kind_of(h, &is);
    if (e == 0 && leads_away(is.FileAttributes, is.ReparseTag))
        e = -ELOOP;
    else if (e == 0 && (is.FileAttributes & FILE_ATTRIBUTE_DIRECTORY))
        e = -EACCES;
    if (e < 0)
        CloseHandle(h);
    else
        *f = (origin_file)h;
    return e;
}

int origin_reopen(origin_file f, origin_file *writer)
{
    const HANDLE h =
        ReOpenFile((HANDLE)f, GENERIC_READ | GENERIC_WRITE, SHARED, FILE_FLAG_OVERLAPPED);

    *writer = (origin_file)h;
    return h == INVALID_HANDLE_VALUE ? names_error() : 0;
}

int origin_close(origin_file f)
{
    return CloseHandle((HANDLE)f) ? 0 : names_error();
}

/* One call of the system, which reads or writes. Others of the handle go on meanwhile, so only an
 * event of its own says that it has ended. Bytes, or -errno. */
static int64_t transfer(HANDLE h, uint64_t off, void *into, const void *from, size_t len)
{
    const DWORD part = (DWORD)(len < CALL_MAX ? len : CALL_MAX);
    OVERLAPPED o = { .Offset = (DWORD)off, .OffsetHigh = (DWORD)(off >> 32) };
    DWORD n = 0;
    int64_t e = 0;

    o.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!o.hEvent)
        return names_error();
    if ((!(into ? ReadFile(h, into, part, NULL, &o) : WriteFile(h, from, part, NULL, &o)) &&
         GetLastError() != ERROR_IO_PENDING) ||
        !GetOverlappedResult(h, &o, &n, TRUE)) {
        e = GetLastError() == ERROR_HANDLE_EOF ? 0 : names_error();
        n = 0;
    }
    CloseHandle(o.hEvent);
    return e < 0 ? e : (int64_t)n;
}

int64_t origin_read(origin_file f, uint64_t off, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const int64_t n = transfer((HANDLE)f, off + done, (char *)buf + done, NULL, len - done);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int64_t origin_write(origin_file f, uint64_t off, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const int64_t n =
            transfer((HANDLE)f, off + done, NULL, (const char *)buf + done, len - done);
        if (n <= 0)
            return done ? (int64_t)done : n < 0 ? n : -EIO;
        done += (size_t)n;
    }
    return (int64_t)done;
}

int origin_set_size(origin_file f, uint64_t size)
{
    FILE_END_OF_FILE_INFO end;

    end.EndOfFile.QuadPart = (LONGLONG)size;
    return SetFileInformationByHandle((HANDLE)f, FileEndOfFileInfo, &end, sizeof(end))
               ? 0
               : names_error();
}

int origin_sync(origin_file f, bool datasync)
{
    (void)datasync;
    return FlushFileBuffers((HANDLE)f) ? 0 : names_error();
}

/* ---- Attributes ------------------------------------------------------------------------------ */

static api_timespec time_of(int64_t ticks)
{
    api_timespec t;

    t.tv_sec = (intptr_t)((ticks - EPOCH) / 10000000);
    t.tv_nsec = (intptr_t)((ticks - EPOCH) % 10000000 * 100);
    return t;
}

static LARGE_INTEGER ticks_of(const api_timespec *t)
{
    LARGE_INTEGER i;

    i.QuadPart = (LONGLONG)t->tv_sec * 10000000 + t->tv_nsec / 100 + EPOCH;
    return i;
}

/* WinFsp makes the rights of users of it. "Read only" restricts nothing in a directory: the system
 * has other uses for it there. */
static api_mode mode_of(DWORD attributes)
{
    const bool dir = (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
    const api_mode rights = attributes & FILE_ATTRIBUTE_READONLY && !dir ? 0555 : 0777;

    return (rights & (for_everyone ? 0777 : 0700)) | (dir ? S_IFDIR : S_IFREG);
}

static int stat_handle(HANDLE h, api_stat *st)
{
    BY_HANDLE_FILE_INFORMATION info;
    FILE_BASIC_INFO basic;

    if (!GetFileInformationByHandle(h, &info) ||
        !GetFileInformationByHandleEx(h, FileBasicInfo, &basic, sizeof(basic)))
        return names_error();
    memset(st, 0, sizeof(*st));
    st->st_ino = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    st->st_mode = mode_of(info.dwFileAttributes);
    st->st_nlink = (fuse_nlink_t)info.nNumberOfLinks;
    st->st_size = (api_off)((uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow);
    st->st_blksize = 4096;
    st->st_blocks = (st->st_size + 511) / 512;
    st->st_atim = time_of(basic.LastAccessTime.QuadPart);
    st->st_mtim = time_of(basic.LastWriteTime.QuadPart);
    st->st_ctim = time_of(basic.ChangeTime.QuadPart);
    st->st_birthtim = time_of(basic.CreationTime.QuadPart);
    return 0;
}

int origin_stat_file(origin_file f, api_stat *st)
{
    return stat_handle((HANDLE)f, st);
}

static int64_t ticks_in(FILETIME t)
{
    return (int64_t)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime);
}

static bool is_reparse_point(const wchar_t *path)
{
    const DWORD is = GetFileAttributesW(path);

    return is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_REPARSE_POINT);
}

/* True: there is such a thing, and this is what its directory says of it. */
static bool stat_name(const char *path, bool (*such)(const wchar_t *path), api_stat *st)
{
    WIN32_FILE_ATTRIBUTE_DATA is;
    struct path p;

    if (!path[1] || below(path, &p) < 0 || !such(p.w) ||
        !GetFileAttributesExW(p.w, GetFileExInfoStandard, &is))
        return false;
    memset(st, 0, sizeof(*st));
    st->st_mode = mode_of(is.dwFileAttributes);
    st->st_nlink = 1;
    st->st_atim = time_of(ticks_in(is.ftLastAccessTime));
    st->st_mtim = st->st_ctim = time_of(ticks_in(is.ftLastWriteTime));
    st->st_birthtim = time_of(ticks_in(is.ftCreationTime));
    return true;
}

int origin_stat(const char *path, api_stat *st)
{
    int e;

    if (stat_name(path, is_link, st))
        return 0;

    const HANDLE h = open_any(path, FILE_READ_ATTRIBUTES, &e);

    if (e < 0) /* perhaps there is nobody to ask (a socket of Linux): it is shown */
        return stat_name(path, is_reparse_point, st) ? 0 : e;
    e = stat_handle(h, st);
    CloseHandle(h);
    return e;
}

static int set_read_only(HANDLE h, DWORD attributes, bool is)
{
    FILE_BASIC_INFO basic = { 0 }; /* zero: the times stay. They may have moved since */

    attributes &= ~(DWORD)FILE_ATTRIBUTE_READONLY;
    attributes |= is ? FILE_ATTRIBUTE_READONLY : 0;
    basic.FileAttributes = attributes ? attributes : FILE_ATTRIBUTE_NORMAL;
    return SetFileInformationByHandle(h, FileBasicInfo, &basic, sizeof(basic)) ? 0 : names_error();
}

/* Of the rights Windows knows one here: the attribute "read only" of a file. */
int origin_chmod(const char *path, api_mode mode)
{
    FILE_BASIC_INFO basic;
    int e;
    const HANDLE h = open_any(path, FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES, &e);

    if (e < 0)
        return e;
    if (!GetFileInformationByHandleEx(h, FileBasicInfo, &basic, sizeof(basic)))
        e = names_error();
    else if (!(basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY))
        e = set_read_only(h, basic.FileAttributes, (mode & 0222) == 0);
    CloseHandle(h);
    return e;
}

int origin_set_times_of(origin_file f, const api_timespec tv[2])
{
    FILE_BASIC_INFO basic = { 0 }; /* zero: stays */

    basic.LastAccessTime = ticks_of(&tv[0]);
    basic.LastWriteTime = ticks_of(&tv[1]);
    return SetFileInformationByHandle((HANDLE)f, FileBasicInfo, &basic, sizeof(basic))
               ? 0
               : names_error();
}

int origin_set_times(const char *path, const api_timespec tv[2])
{
    int e;
    const HANDLE h = open_any(path, FILE_WRITE_ATTRIBUTES, &e);

    if (e < 0)
        return e;
    e = origin_set_times_of((origin_file)h, tv);
    CloseHandle(h);
    return e;
}

/* Bytes of a sector of the origin's volume. 0: the system does not say. */
static DWORD sector(void)
{
    const size_t room = wcslen(folder) + 2;
    wchar_t *const root = calloc(room, sizeof(*root));
    DWORD clusters, bytes = 0, left, all;

    if (!root || !GetVolumePathNameW(folder, root, (DWORD)room) ||
        !GetDiskFreeSpaceW(root, &clusters, &bytes, &left, &all))
        bytes = 0;
    free(root);
    return bytes;
}

/* WinFsp takes f_frsize for the sector of its volume: programs that read and write without the
 * system's cache (logs of databases, virtual disks) do so in units of that. A smaller one than the
 * volume's would fail no call, but it is what some programs take for a write that is whole or not
 * there. WinFsp has one number for free space, that of f_bfree: as on NTFS, it is what the quota of
 * this account leaves. */
int origin_space(api_statvfs *s)
{
    ULARGE_INTEGER mine, all;
    const DWORD unit = sector();

    if (unit == 0 || !GetDiskFreeSpaceExW(folder, &mine, &all, NULL))
        return names_error();
    memset(s, 0, sizeof(*s));
    s->f_bsize = s->f_frsize = unit;
    s->f_blocks = all.QuadPart / unit;
    s->f_bfree = s->f_bavail = mine.QuadPart / unit;
    s->f_namemax = 255;
    return 0;
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* Gives what is in the buffer. False: enough. */
static bool each_of(const FILE_ID_BOTH_DIR_INFO *of,
                    bool (*each)(void *ctx, const char *name, const api_stat *st), void *ctx)
{
    wchar_t wide[MAX_PATH];
    char name[4 * MAX_PATH];
    api_stat st;

    for (;;) {
        const size_t n = of->FileNameLength / sizeof(wide[0]);

        memset(&st, 0, sizeof(st));
        st.st_mode = mode_of(of->FileAttributes);
        if (n < MAX_PATH) {
            memcpy(wide, of->FileName, of->FileNameLength);
            wide[n] = L'\0';
            if (names_utf8(wide, name, sizeof(name)) && !each(ctx, name, &st))
                return false;
        }
        if (of->NextEntryOffset == 0)
            return true;
        of = (const void *)((const char *)of + of->NextEntryOffset);
    }
}

int origin_list(const char *path, bool (*each)(void *ctx, const char *name, const api_stat *st),
                void *ctx)
{
    union {
        FILE_ID_BOTH_DIR_INFO first;
        char room[32768];
    } found;
    struct path p;
    HANDLE h;
    int e = below(path, &p);

    if (e < 0)
        return e;
    h = open_dir(p.w, FILE_LIST_DIRECTORY | SYNCHRONIZE, &e);
    if (e < 0)
        return e;
    do {
        if (!GetFileInformationByHandleEx(h, FileIdBothDirectoryInfo, &found, sizeof(found)))
            e = GetLastError() == ERROR_NO_MORE_FILES ? 1 : names_error();
    } while (e == 0 && each_of(&found.first, each, ctx));
    CloseHandle(h);
    return e < 0 ? e : 0;
}

int origin_mkdir(const char *path, api_mode mode)
{
    int e;
    const HANDLE h = make(path, FILE_LIST_DIRECTORY, FILE_CREATE, FILE_DIRECTORY_FILE, &e);

    (void)mode;
    if (e == 0)
        CloseHandle(h);
    return e;
}

enum { RENAME = 10, DISPOSITION_EX = 64, RENAME_EX = 65 }; /* FILE_INFORMATION_CLASS */
enum { REMOVE = 1, REPLACE = 1, AT_ONCE = 2 };             /* flags of the latter two */

/* As DeleteFile() does it: the name is gone at once, also if somebody has the file open. Older file
 * systems have it until the last handle is closed. */
static int remove_handle(HANDLE h)
{
    FILE_DISPOSITION_INFO at_close = { TRUE };
    ULONG at_once = REMOVE | AT_ONCE;
    IO_STATUS_BLOCK io;

    if (calls.set(h, &io, &at_once, sizeof(at_once), DISPOSITION_EX) >= 0 ||
        SetFileInformationByHandle(h, FileDispositionInfo, &at_close, sizeof(at_close)))
        return 0;
    return names_error();
}

static int remove_name(const char *path, bool dir)
{
    FILE_ATTRIBUTE_TAG_INFO is;
    int e;
    const HANDLE h = open_any(path, DELETE, &e);

    if (e < 0)
        return e;
    e = kind_of(h, &is);
    if (e == 0 && dir != ((is.FileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0))
        e = dir ? -ENOTDIR : -EACCES;
    else if (e == 0)
        e = remove_handle(h);
    CloseHandle(h);
    return e;
}

int origin_rmdir(const char *path)
{
    return remove_name(path, true);
}

int origin_unlink(const char *path)
{
    return remove_name(path, false);
}

/* FILE_RENAME_INFORMATION, with the flags of its newer form in the place of the first member. */
struct new_name {
    ULONG how;
    HANDLE in;
    ULONG bytes;
    wchar_t name[MAX_PATH];
};
static int rename_handle(HANDLE h, const char *to, bool keep)
{
    struct new_name new = { .how = keep ? 0 : REPLACE };
    struct path p;
    UNICODE_STRING name;
    IO_STATUS_BLOCK io;
    NTSTATUS status;
    int e;

    new.in = open_parent(to, &p, &name, &e);
    if (e < 0)
        return e;
    if (name.Length > sizeof(new.name)) {
        CloseHandle(new.in);
        return -ENAMETOOLONG;
    }
    new.bytes = name.Length;
    memcpy(new.name, name.Buffer, name.Length);
    new.how |= AT_ONCE; /* who has the replaced file open goes on with it */
    status = calls.set(h, &io, &new, sizeof(new), RENAME_EX);
    if (status < 0) {
        new.how &= ~(ULONG)AT_ONCE; /* a file system that does not know it */
        status = calls.set(h, &io, &new, sizeof(new), RENAME);
    }
    CloseHandle(new.in);
    return status < 0 ? status_error(status) : 0;
}

int origin_rename(const char *from, const char *to, bool keep)
{
    int e;
    const HANDLE h = open_any(from, DELETE | SYNCHRONIZE, &e);

    if (e < 0)
        return e;
    e = rename_handle(h, to, keep);
    CloseHandle(h);
    return e;
}

int origin_read_link(const char *path, char *buf, size_t room)
{
    (void)path, (void)buf, (void)room;
    return -ENOSYS;
}

int origin_make_link(const char *to, const char *path)
{
    (void)to, (void)path;
    return -ENOSYS;
}

int origin_sync_names(const char *path)
{
    (void)path; /* NTFS journals them */
    return 0;
}
