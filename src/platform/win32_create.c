/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_create.c - platform.h on Windows: makes a pool file.
 *
 * Owns: how a file gets its space, and how it gets its name. The name comes last, so that a process
 * that is killed in the middle leaves nothing that blocks the next one.
 *
 * SIZE  On NTFS, setting the end of a file allocates it. On volumes where it does not (Wine), zeros
 * are written. A folder may make its files compressed; those have no space for zeros, so a pool is
 * made a plain file first, and on ReFS one without sums of its content: what has them is written to
 * a new place each time, so a full volume could not take it. On DAX volumes zeros are written, too:
 * space that was allocated and never written reads as zero until the file system notes a write, and
 * it need not learn of the CPU's stores.
 *
 * NAME  A file is made beside its place, with NEW added to its name, and renamed when it is
 * complete. While a process has it open nobody can delete it. So if it can be deleted, a killed
 * process left it.
 *
 * Who: api/. Calls back the progress function.
 */
#include "platform/win32.h"

#include <assert.h>
#include <sddl.h>
#include <winioctl.h>

#define WIN32_ALLOC_STEP (64ull << 20)
#define NEW L".cachemax-new"

/* FSCTL_GET_INTEGRITY_INFORMATION and FSCTL_SET_...; not every SDK has them. */
#define GET_INTEGRITY CTL_CODE(FILE_DEVICE_FILE_SYSTEM, 159, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define SET_INTEGRITY                                                                              \
    CTL_CODE(FILE_DEVICE_FILE_SYSTEM, 160, METHOD_BUFFERED, FILE_READ_DATA | FILE_WRITE_DATA)

/* ---- Space --------------------------------------------------------------------------------- */

/* Is the size itself refused, and not only the room for it? FAT reports a full disk for both. */
static bool size_is_refused(HANDLE h, uint64_t size, DWORD error)
{
    wchar_t type[8] = { 0 };

    return error == ERROR_INVALID_PARAMETER || error == ERROR_FILE_TOO_LARGE ||
           (error == ERROR_DISK_FULL && size > UINT32_MAX &&
            GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, NULL, type, 8) &&
            wcsncmp(type, L"FAT", 3) == 0);
}

static int file_set_end(HANDLE h, uint64_t size)
{
    LARGE_INTEGER end = { .QuadPart = (LONGLONG)size };

    if (!SetFilePointerEx(h, end, NULL, FILE_BEGIN) || !SetEndOfFile(h)) {
        const DWORD error = GetLastError();

        return size_is_refused(h, size, error) ? CM_EPOOLSIZE : win32_error(error);
    }
    return 0;
}

/* If the volume supports it, only written parts will occupy space. */
static int file_set_sparse_end(HANDLE h, uint64_t size)
{
    DWORD n = 0;

    (void)DeviceIoControl(h, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &n, NULL);
    return file_set_end(h, size);
}

static int file_write_at(HANDLE h, uint64_t offset, const void *data, DWORD n)
{
    OVERLAPPED at = win32_at(offset);
    DWORD done = 0;

    if (!WriteFile(h, data, n, &done, &at)) {
        return win32_error(GetLastError());
    }
    return done == n ? 0 : CM_ENOSPC;
}

/* Written zeros occupy space in every file that is not compressed. */
static int file_write_zeros(HANDLE h, uint64_t offset, uint64_t len)
{
    const DWORD chunk = 1u << 20;
    void *zeros = cm_plat_alloc(chunk);
    int rc = 0;

    if (zeros == NULL) {
        return CM_ENOMEM;
    }
    while (rc == 0 && len > 0) {
        const DWORD n = len < chunk ? (DWORD)len : chunk;

        rc = file_write_at(h, offset, zeros, n);
        offset += n;
        len -= n;
    }
    cm_plat_free(zeros, chunk);
    return rc;
}

/* Refuses a size that cannot succeed. Else the attempt would take the last free byte from all
 * others on the volume. */
static bool file_space_possible(const wchar_t *path, uint64_t size)
{
    const wchar_t *name = path;
    ULARGE_INTEGER available;
    wchar_t *parent;
    bool possible;

    for (const wchar_t *c = path; *c != 0; c++) {
        if (*c == L'\\' || *c == L'/' || *c == L':') {
            name = c + 1;
        }
    }
    parent = _wcsdup(path);
    if (parent == NULL) {
        return true;
    }
    parent[name - path] = 0;
    possible = !GetDiskFreeSpaceExW(name == path ? L"." : parent, &available, NULL, NULL) ||
               size <= available.QuadPart;
    free(parent);
    return possible;
}

static int file_allocate(HANDLE h, const wchar_t *path, uint64_t size,
                         int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    FILE_ALLOCATION_INFO wish = { .AllocationSize.QuadPart = (LONGLONG)size };
    bool allocated;
    int rc;

    if (!file_space_possible(path, size)) {
        return CM_ENOSPC;
    }
    /* In one piece, if the volume supports that: large pages need neighbouring space. */
    (void)SetFileInformationByHandle(h, FileAllocationInfo, &wish, sizeof wish);
    rc = file_set_end(h, size);
    allocated = rc == 0 && win32_is_allocated(h, size) && !win32_volume_is_dax(h);
    for (uint64_t done = 0; rc == 0 && done < size;) {
        const uint64_t left = size - done;
        const uint64_t step = left < WIN32_ALLOC_STEP ? left : WIN32_ALLOC_STEP;

        if (!allocated) {
            rc = file_write_zeros(h, done, step);
        }
        done += step;
        if (rc == 0 && progress != NULL && progress(ctx, done, size) != 0) {
            rc = CM_ECANCELED;
        }
    }
    return rc;
}

/* ---- Names --------------------------------------------------------------------------------- */

/* Only the owner, the system and its administrators have access, and nobody by inheritance: a pool
 * holds copies of files that others may not be allowed to read. */
static HANDLE file_create_private(const wchar_t *path)
{
    SECURITY_ATTRIBUTES sa = { .nLength = sizeof sa };
    HANDLE h;

    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(
            L"D:P(A;;FA;;;OW)(A;;FA;;;SY)(A;;FA;;;BA)", SDDL_REVISION_1, &sa.lpSecurityDescriptor,
            NULL)) {
        return INVALID_HANDLE_VALUE;
    }
    h = CreateFileW(path, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_SHARE_READ, &sa, CREATE_NEW,
                    FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        const DWORD error = GetLastError();

        (void)LocalFree(sa.lpSecurityDescriptor);
        SetLastError(error);
        return h;
    }
    (void)LocalFree(sa.lpSecurityDescriptor);
    return h;
}

static wchar_t *name_beside(const wchar_t *path)
{
    const size_t n = wcslen(path);
    wchar_t *name = malloc((n + 1) * sizeof *name + sizeof NEW);

    if (name != NULL) {
        memcpy(name, path, n * sizeof *name);
        memcpy(name + n, NEW, sizeof NEW);
    }
    return name;
}

/* 0: no file has this name. CM_EEXIST CM_ENOTFILE ("NUL" can be created again and again) ... */
static int name_is_free(const wchar_t *path)
{
    const HANDLE h =
        CreateFileW(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    DWORD error, type;

    if (h != INVALID_HANDLE_VALUE) {
        type = GetFileType(h);
        (void)CloseHandle(h);
        return type == FILE_TYPE_DISK ? CM_EEXIST : CM_ENOTFILE;
    }
    error = GetLastError();
    if (error == ERROR_FILE_NOT_FOUND) {
        return 0;
    }
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES ? CM_EEXIST : win32_error(error);
}

/* The file is empty yet. If it is refused, the pool works, too: it needs free space for its writes.
 */
static void file_drop_integrity(HANDLE h)
{
    struct {
        WORD sums, reserved; /* sums: their kind; 0: none */
        DWORD flags, chunk, cluster;
    } is = { 0 };
    struct {
        WORD sums, reserved;
        DWORD flags;
    } wish = { 0 };
    DWORD has = 0, n = 0;

    if (!GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, &has, NULL, 0) ||
        (has & FILE_SUPPORTS_INTEGRITY_STREAMS) == 0 ||
        !DeviceIoControl(h, GET_INTEGRITY, NULL, 0, &is, sizeof is, &n, NULL)) {
        return;
    }
    wish.flags = is.flags;
    (void)DeviceIoControl(h, SET_INTEGRITY, &wish, sizeof wish, NULL, 0, &n, NULL);
}

static int file_create(struct cm_plat_file *f, const wchar_t *path, uint64_t size, bool prealloc,
                       int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    USHORT plain = COMPRESSION_FORMAT_NONE;
    DWORD n = 0;
    HANDLE h;
    int rc;

    (void)DeleteFileW(path);
    h = file_create_private(path);
    if (h == INVALID_HANDLE_VALUE) {
        rc = win32_error(GetLastError());
        /* For an open file or a directory the system says only that access is denied. */
        return rc == CM_EACCES && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES ? CM_EEXIST
                                                                                      : rc;
    }
    *f = (struct cm_plat_file){ .handle = (intptr_t)h, .size = size, .sparse = !prealloc };
    rc = cm_plat_file_lock(f);
    /* Refused where nothing is compressed. */
    (void)DeviceIoControl(h, FSCTL_SET_COMPRESSION, &plain, sizeof plain, NULL, 0, &n, NULL);
    file_drop_integrity(h);
    if (rc == 0) {
        rc = prealloc ? file_allocate(h, path, size, progress, ctx) : file_set_sparse_end(h, size);
    }
    if (rc != 0) {
        cm_plat_file_close(f);
        win32_delete(path);
    }
    return rc;
}

int cm_plat_file_create(struct cm_plat_file *f, const char *path, uint64_t size, bool prealloc,
                        int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    wchar_t *name;
    int rc;

    assert(f != NULL && f->handle == -1 && path != NULL);
    if (size > (uint64_t)INT64_MAX) {
        return CM_ENOSPC;
    }
    name = win32_path(path);
    if (name == NULL) {
        return win32_error(GetLastError());
    }
    rc = name_is_free(name);
    if (rc == 0) {
        wchar_t *beside = name_beside(name);

        rc = beside == NULL ? CM_ENOMEM : file_create(f, beside, size, prealloc, progress, ctx);
        free(beside);
    }
    free(name);
    return rc;
}

/* Not looked for here: the codes have to do. */
void cm_plat_file_not_made(const char *path, uint64_t size, bool prealloc, int code,
                           char why[PLAT_WHY])
{
    (void)path, (void)size, (void)prealloc, (void)code;
    why[0] = '\0';
}

/* Renames an open file; over another one only with `replace`. The call needs a full path. After
 * \\?\ a name is full, and means what it says: a full form would lose a dot at its end. */
static int file_rename(HANDLE h, const wchar_t *path, bool replace)
{
    const bool full = wcsncmp(path, L"\\\\?\\", 4) == 0;
    const DWORD room =
        full ? (DWORD)wcslen(path) + 1 : GetFullPathNameW(path, 0, NULL, NULL); /* with its end */
    FILE_RENAME_INFO *info = calloc(1, sizeof *info + room * sizeof(wchar_t));
    int rc = 0;

    if (info == NULL || room == 0) {
        free(info);
        return CM_ENOMEM;
    }
    info->ReplaceIfExists = replace;
    if (full) {
        memcpy(info->FileName, path, room * sizeof(wchar_t));
        info->FileNameLength = (room - 1) * (DWORD)sizeof(wchar_t);
    } else {
        info->FileNameLength =
            GetFullPathNameW(path, room, info->FileName, NULL) * (DWORD)sizeof(wchar_t);
    }
    if (!SetFileInformationByHandle(h, FileRenameInfo, info,
                                    (DWORD)(sizeof *info + room * sizeof(wchar_t)))) {
        rc = win32_error(GetLastError());
        if (rc == CM_EACCES && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES) {
            rc = CM_EEXIST;
        }
    }
    free(info);
    return rc;
}

int cm_plat_file_link(struct cm_plat_file *f, const char *path)
{
    wchar_t *name = win32_path(path);
    int rc;

    if (name == NULL) {
        return win32_error(GetLastError());
    }
    rc = file_rename(win32_handle(f), name, false);
    if (rc == 0) {
        f->state |= WIN32_NAMED;
        rc = FlushFileBuffers(win32_handle(f)) ? 0 : CM_EIO;
    }
    free(name);
    return rc != 0 ? rc : cm_plat_file_sync_dir(path);
}

int cm_plat_file_replace(struct cm_plat_file *f, const char *made, struct cm_plat_file *old,
                         const char *path, bool *replaced)
{
    wchar_t *name = win32_path(path);
    int rc;

    (void)made;
    *replaced = false;
    if (name == NULL) {
        return win32_error(GetLastError());
    }
    cm_plat_file_close(old);
    rc = file_rename(win32_handle(f), name, true);
    free(name);
    if (rc != 0) { /* the system says only that it may not be replaced: somebody has opened it */
        return rc == CM_EACCES || rc == CM_EEXIST ? CM_EOWNED : rc;
    }
    *replaced = true;
    rc = FlushFileBuffers(win32_handle(f)) ? 0 : CM_EIO;
    return rc != 0 ? rc : cm_plat_file_sync_dir(path);
}

bool cm_plat_file_is_at(const struct cm_plat_file *f, const char *path)
{
    (void)f, (void)path;
    return true;
}

bool cm_plat_is_mount_point(const char *path)
{
    (void)path;
    return false; /* a directory only */
}

int cm_plat_real_path(const char *path, char real[PLAT_PATH])
{
    if (strlen(path) >= PLAT_PATH) {
        return CM_EINVAL;
    }
    memcpy(real, path, strlen(path) + 1);
    return 0;
}

void cm_plat_file_abandon(struct cm_plat_file *f, const char *path)
{
    wchar_t *name = f->handle == -1 ? NULL : win32_path(path);
    wchar_t *beside = name == NULL ? NULL : name_beside(name);
    const bool named = (f->state & WIN32_NAMED) != 0;

    cm_plat_file_close(f); /* close first: an open file is not deleted */
    if (beside != NULL) {
        win32_delete(named ? name : beside);
    }
    free(beside);
    free(name);
}
