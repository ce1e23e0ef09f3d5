/* SPDX-License-Identifier: BSD-2-Clause
 *
 * origin_win32.c - the origin's files, on Windows.
 *
 * Owns: the path of the folder. Who: cache.c, ops.c. Every thread.
 *
 * Files are opened so that others may read, write, rename and delete them meanwhile: WinFsp has
 * judged the share modes of its own callers before.
 *
 * Links and junctions are not followed. Windows follows those in the middle of a path whatever it
 * is asked. So each directory of a path is looked at first, and what was opened must lie below the
 * folder by the name that the system says it has: somebody may have put a junction there between.
 * Names that are made, removed or listed have the first look only. A link itself is shown, as the
 * file or directory that it pretends to be, and may be removed and renamed.
 */
#include "names_win32.h"
#include "origin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define SHARED (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define AS_IT_IS (FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
#define EPOCH INT64_C(116444736000000000) /* 1970 in ticks of 100 ns since 1601 */
#define CALL_MAX (UINT32_C(1) << 30)

static wchar_t *folder, *real_folder; /* as it was given; as the system calls it */
static DWORD named_by;                /* the kind of the latter */
static bool for_everyone;

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

/* Any reparse point: what it stands for may be anywhere. */
static bool is_link(const wchar_t *path)
{
    const DWORD is = GetFileAttributesW(path);

    return is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_REPARSE_POINT);
}

/* -ENOENT: too long, or it names a stream. -EACCES: it leads through a link. */
static int below(const char *path, struct path *p)
{
    const size_t n = wcslen(folder), room = sizeof(p->w) / sizeof(p->w[0]);
    bool leaves = false;

    if (n + 1 > room || strchr(path, ':'))
        return -ENOENT;
    wcscpy(p->w, folder);
    if (!names_wide(path[1] ? path : "", p->w + n, room - n))
        return -ENOENT;
    turn_slashes(p->w + n);
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

int origin_begin(const char *path, bool everyone)
{
    static const wchar_t long_names[] = L"\\\\?\\";
    wchar_t wide[4096];
    const bool plain = path[0] != '\\' && path[0] != '/';

    for_everyone = everyone;
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

/* ---- Files ----------------------------------------------------------------------------------- */

int origin_open(const char *path, const struct origin_how *how, origin_file *f)
{
    const DWORD make = how->exclusive ? CREATE_NEW : how->create ? OPEN_ALWAYS : OPEN_EXISTING;
    FILE_ATTRIBUTE_TAG_INFO is;
    struct path p;
    HANDLE h;
    const int e = below(path, &p);

    if (e < 0)
        return e;
    h = CreateFileW(p.w, GENERIC_READ | (how->writes ? GENERIC_WRITE : 0), SHARED, NULL, make,
                    FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    if (GetFileInformationByHandleEx(h, FileAttributeTagInfo, &is, sizeof(is)) &&
        (is.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT)) {
        CloseHandle(h);
        return -ELOOP;
    }
    if (!is_below(h)) {
        CloseHandle(h);
        return -EACCES;
    }
    *f = (origin_file)h;
    return 0;
}

int origin_close(origin_file f)
{
    return CloseHandle((HANDLE)f) ? 0 : names_error();
}

static OVERLAPPED at(uint64_t off)
{
    OVERLAPPED o = { 0 };

    o.Offset = (DWORD)off;
    o.OffsetHigh = (DWORD)(off >> 32);
    return o;
}

int64_t origin_read(origin_file f, uint64_t off, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        OVERLAPPED o = at(off + done);
        const size_t part = len - done < CALL_MAX ? len - done : CALL_MAX;
        DWORD n = 0;
        if (!ReadFile((HANDLE)f, (char *)buf + done, (DWORD)part, &n, &o)) {
            if (GetLastError() != ERROR_HANDLE_EOF)
                return names_error();
            n = 0;
        }
        if (n == 0)
            break;
        done += n;
    }
    return (int64_t)done;
}

int64_t origin_write(origin_file f, uint64_t off, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        OVERLAPPED o = at(off + done);
        const size_t part = len - done < CALL_MAX ? len - done : CALL_MAX;
        DWORD n = 0;
        if (!WriteFile((HANDLE)f, (const char *)buf + done, (DWORD)part, &n, &o) || n == 0)
            return done ? (int64_t)done : names_error();
        done += n;
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

/* INVALID_HANDLE_VALUE: *e says why. */
static HANDLE open_any(const char *path, DWORD access, int *e)
{
    struct path p;
    HANDLE h;

    *e = below(path, &p);
    if (*e < 0)
        return INVALID_HANDLE_VALUE;
    h = CreateFileW(p.w, access, SHARED, NULL, OPEN_EXISTING, AS_IT_IS, NULL);
    *e = h == INVALID_HANDLE_VALUE ? names_error() : 0;
    if (*e == 0 && !is_below(h)) {
        CloseHandle(h);
        *e = -EACCES;
        h = INVALID_HANDLE_VALUE;
    }
    return h;
}

static int64_t ticks_in(FILETIME t)
{
    return (int64_t)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime);
}

/* True: there is a link, and this is what its directory says of it. */
static bool stat_link(const char *path, api_stat *st)
{
    WIN32_FILE_ATTRIBUTE_DATA is;
    struct path p;

    if (!path[1] || below(path, &p) < 0 || !is_link(p.w) ||
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

    if (stat_link(path, st))
        return 0;

    const HANDLE h = open_any(path, FILE_READ_ATTRIBUTES, &e);

    if (e < 0)
        return e;
    e = stat_handle(h, st);
    CloseHandle(h);
    return e;
}

/* Of the rights Windows knows one here: the attribute "read only". */
int origin_chmod(const char *path, api_mode mode)
{
    FILE_BASIC_INFO basic;
    int e;
    const HANDLE h = open_any(path, FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES, &e);

    if (e < 0)
        return e;
    if (!GetFileInformationByHandleEx(h, FileBasicInfo, &basic, sizeof(basic)))
        e = names_error();
    basic.FileAttributes &= ~(DWORD)FILE_ATTRIBUTE_READONLY;
    basic.FileAttributes |= mode & 0222 ? 0 : FILE_ATTRIBUTE_READONLY;
    if (basic.FileAttributes == 0)
        basic.FileAttributes = FILE_ATTRIBUTE_NORMAL;
    if (e == 0 && !SetFileInformationByHandle(h, FileBasicInfo, &basic, sizeof(basic)))
        e = names_error();
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

int origin_space(api_statvfs *s)
{
    ULARGE_INTEGER mine, all, left;

    if (!GetDiskFreeSpaceExW(folder, &mine, &all, &left))
        return names_error();
    memset(s, 0, sizeof(*s));
    s->f_bsize = s->f_frsize = 4096;
    s->f_blocks = all.QuadPart / 4096;
    s->f_bfree = left.QuadPart / 4096;
    s->f_bavail = mine.QuadPart / 4096;
    s->f_namemax = 255;
    return 0;
}

/* ---- Names ----------------------------------------------------------------------------------- */

int origin_list(const char *path, bool (*each)(void *ctx, const char *name, const api_stat *st),
                void *ctx)
{
    WIN32_FIND_DATAW found;
    char name[4 * MAX_PATH];
    struct path p;
    HANDLE h;
    bool more;
    const int e = below(path, &p);

    if (e < 0)
        return e;
    if (path[1] && is_link(p.w))
        return -EACCES;
    if (wcslen(p.w) + 3 > sizeof(p.w) / sizeof(p.w[0]))
        return -ENOENT;
    wcscat(p.w, L"\\*");
    h = FindFirstFileW(p.w, &found);
    if (h == INVALID_HANDLE_VALUE)
        return names_error();
    do {
        api_stat st;
        memset(&st, 0, sizeof(st));
        st.st_mode = mode_of(found.dwFileAttributes);
        more = !names_utf8(found.cFileName, name, sizeof(name)) || each(ctx, name, &st);
    } while (more && FindNextFileW(h, &found));
    FindClose(h);
    return 0;
}

int origin_mkdir(const char *path, api_mode mode)
{
    struct path p;
    const int e = below(path, &p);

    (void)mode;
    if (e < 0)
        return e;
    return CreateDirectoryW(p.w, NULL) ? 0 : names_error();
}

int origin_rmdir(const char *path)
{
    struct path p;
    const int e = below(path, &p);

    if (e < 0)
        return e;
    return RemoveDirectoryW(p.w) ? 0 : names_error();
}

int origin_unlink(const char *path)
{
    struct path p;
    const int e = below(path, &p);

    if (e < 0)
        return e;
    return DeleteFileW(p.w) ? 0 : names_error();
}

int origin_rename(const char *from, const char *to, bool keep)
{
    struct path p, q;
    int e = below(from, &p);

    e = e < 0 ? e : below(to, &q);
    if (e < 0)
        return e;
    return MoveFileExW(p.w, q.w, keep ? 0 : MOVEFILE_REPLACE_EXISTING) ? 0 : names_error();
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
