/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32.c - the operating system contract (platform.h) on Windows: the pool file.
 *
 * Owns the calls that make, open, lock, map and sync files. Identities are in win32_identity.c,
 * everything that runs (clocks, memory, threads, the fault guard) in win32_run.c. Any
 * module may call; nothing here calls back except the progress function of cm_plat_file_create.
 *
 * SHARING  The owner's handle lets others read, so that they can watch, and not write. Who wants
 * to become the owner beside it gets a handle that may only read, and learns from cm_plat_file_lock
 * that the pool is taken.
 * LOCK  One byte far beyond the data, so that it is in nobody's way (locks are mandatory here),
 * held exclusively by the owner and shared by those who open read-only. To ask for the lock is to
 * hold a shared one for a moment; an owner who opens in that moment tries again.
 * Without that lock a refused open may be passing (a virus scanner), so it is tried again.
 * SIZE  Setting the end of a file allocates it on NTFS. Where it does not (compressed volumes,
 * Wine), zeros are written. And on DAX volumes: what was allocated and never written reads as
 * zero until the file system has noted that it was, which stores of the CPU need not tell it.
 * SYNC  FlushViewOfFile starts the writing of mapped pages, FlushFileBuffers waits for the device
 * and takes the metadata along. Directories need no sync: NTFS journals its names.
 */
#include "platform/win32.h"

#include <assert.h>
#include <sddl.h>
#include <winioctl.h>

#include "platform/atomic.h"

#ifndef FILE_DAX_VOLUME
#define FILE_DAX_VOLUME 0x20000000
#endif

#define WIN32_QUOTA_EXCEEDED 1295 /* ERROR_DISK_QUOTA_EXCEEDED, which not every SDK names */
#define WIN32_ALLOC_STEP (64ull << 20)
#define WIN32_LOCK_OFFSET (UINT64_C(1) << 62) /* no file is that long */
#define WIN32_LOCK_TRIES 20u
#define WIN32_PASSING_TRIES 10u
#define WIN32_PASSING_MS 50
#define WIN32_MAP_TRIES 64u
#define WIN32_FLUSH_TRIES 600u /* half a minute in all */
#define WIN32_FLUSH_PAUSE_MS 50

enum {                         /* of struct cm_plat_file.state */
       WIN32_TAKEN = 1u << 0,  /* opened although another has it open for writing: only to look */
       WIN32_LOCKED = 1u << 1, /* holds the lock */
       WIN32_NAMED = 1u << 2   /* made here, and has its name */
};

/* ---- Errors -------------------------------------------------------------------------------- */

int win32_error(DWORD error)
{
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_DIRECTORY:
    case ERROR_CANT_RESOLVE_FILENAME:
        return CM_ENOENT;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        return CM_EEXIST;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
    case ERROR_NETWORK_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
        return CM_EACCES;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
        return CM_EOWNED;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case WIN32_QUOTA_EXCEEDED:
    case ERROR_FILE_TOO_LARGE:
        return CM_ENOSPC;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
        return CM_ENOMEM;
    case ERROR_INVALID_NAME:
    case ERROR_INVALID_PARAMETER:
    case ERROR_FILENAME_EXCED_RANGE:
        return CM_EINVAL;
    default:
        return CM_EIO;
    }
}

FARPROC win32_find(const wchar_t *module, const char *name)
{
    const HMODULE m = GetModuleHandleW(module);

    return m == NULL ? NULL : GetProcAddress(m, name);
}

/* ---- The pool file: lock ------------------------------------------------------------------- */

static OVERLAPPED at_offset(uint64_t offset)
{
    return (OVERLAPPED){ .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
}

static bool lock_byte(const struct cm_plat_file *f, bool exclusive)
{
    OVERLAPPED at = at_offset(WIN32_LOCK_OFFSET);

    return LockFileEx(win32_handle(f),
                      LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0), 0, 1,
                      0, &at) != 0;
}

static void unlock_byte(const struct cm_plat_file *f)
{
    OVERLAPPED at = at_offset(WIN32_LOCK_OFFSET);

    (void)UnlockFileEx(win32_handle(f), 0, 1, 0, &at);
}

int cm_plat_file_lock(struct cm_plat_file *f)
{
    assert(f != NULL && f->handle != -1);
    if ((f->state & WIN32_LOCKED) != 0) {
        return 0;
    }
    if ((f->state & WIN32_TAKEN) != 0) {
        return CM_EOWNED;
    }
    for (unsigned i = 0; i < WIN32_LOCK_TRIES; i++) {
        if (lock_byte(f, !f->readonly)) {
            f->state |= WIN32_LOCKED;
            return 0;
        }
        if (GetLastError() != ERROR_LOCK_VIOLATION && GetLastError() != ERROR_IO_PENDING) {
            return CM_EIO;
        }
        Sleep(1); /* perhaps somebody only asks, see cm_plat_file_is_locked */
    }
    return CM_EOWNED;
}

int cm_plat_file_is_locked(struct cm_plat_file *f)
{
    assert(f != NULL && f->handle != -1);
    /* A second lock through the same handle would be granted, and its end would end the first. */
    if ((f->state & WIN32_LOCKED) != 0) {
        return 0;
    }
    if (!lock_byte(f, false)) {
        const DWORD error = GetLastError();

        return error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING ? 1 : CM_EIO;
    }
    unlock_byte(f);
    return 0;
}

/* ---- The pool file: creation --------------------------------------------------------------- */

/* Is the size itself the trouble, and not the room for it? FAT calls both a full disk. */
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

static bool volume_is_dax(HANDLE h)
{
    DWORD flags = 0;

    return GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, &flags, NULL, 0) &&
           (flags & FILE_DAX_VOLUME) != 0;
}

/* Only what is written will occupy space, where the volume knows how. */
static int file_set_sparse_end(HANDLE h, uint64_t size)
{
    DWORD n = 0;

    (void)DeviceIoControl(h, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &n, NULL);
    return file_set_end(h, size);
}

static int file_write_at(HANDLE h, uint64_t offset, const void *data, DWORD n)
{
    OVERLAPPED at = at_offset(offset);
    DWORD done = 0;

    if (!WriteFile(h, data, n, &done, &at)) {
        return win32_error(GetLastError());
    }
    return done == n ? 0 : CM_ENOSPC;
}

/* Zeros, written, occupy space everywhere. */
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

/* Refuses what cannot succeed before it takes the last byte from everybody else on the volume. */
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

static bool file_is_allocated(HANDLE h, uint64_t size)
{
    FILE_STANDARD_INFO info;

    return GetFileInformationByHandleEx(h, FileStandardInfo, &info, sizeof info) &&
           (uint64_t)info.AllocationSize.QuadPart >= size;
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
    /* In one piece, if the volume knows how: large pages want neighbours. */
    (void)SetFileInformationByHandle(h, FileAllocationInfo, &wish, sizeof wish);
    rc = file_set_end(h, size);
    allocated = rc == 0 && file_is_allocated(h, size) && !volume_is_dax(h);
    for (uint64_t done = 0; rc == 0 && done < size;) {
        const uint64_t left = size - done;
        const uint64_t step = left < WIN32_ALLOC_STEP ? left : WIN32_ALLOC_STEP;

        if (!allocated) {
            rc = file_write_zeros(h, done, step);
        }
        done += step;
        if (rc == 0 && progress != NULL && progress(ctx, done, size) != 0) {
            rc = CM_EBUSY;
        }
    }
    return rc;
}

static void delete_patiently(const wchar_t *path)
{
    for (unsigned i = 0;
         i < WIN32_PASSING_TRIES && !DeleteFileW(path) && GetLastError() == ERROR_SHARING_VIOLATION;
         i++) {
        Sleep(WIN32_PASSING_MS);
    }
}

/* For the owner, the system and its administrators, and nobody by inheritance: a pool holds copies
 * of files that others may not be allowed to read. */
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

/* A file is made beside its place, under its name and NEW, and renamed when it is done: whoever is
 * killed in the middle leaves nothing that stands in the way. As long as a process has it open
 * nobody can delete it; one that can be deleted was left by a process that was killed. */
#define NEW L".cachemax-new"

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

/* 0: nothing of this name. CM_EEXIST CM_ENOTFILE ("NUL" can be created again and again) ... */
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

static int file_create(struct cm_plat_file *f, const wchar_t *path, uint64_t size, bool prealloc,
                       int (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
    HANDLE h;
    int rc;

    (void)DeleteFileW(path);
    h = file_create_private(path);
    if (h == INVALID_HANDLE_VALUE) {
        rc = win32_error(GetLastError());
        /* Of a file that is open or a directory the system says only that access is denied. */
        return rc == CM_EACCES && GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES ? CM_EEXIST
                                                                                      : rc;
    }
    *f = (struct cm_plat_file){
        .handle = (intptr_t)h, .size = size, .pid = cm_plat_pid(), .sparse = !prealloc
    };
    rc = cm_plat_file_lock(f);
    if (rc == 0) {
        rc = prealloc ? file_allocate(h, path, size, progress, ctx) : file_set_sparse_end(h, size);
    }
    if (rc != 0) {
        cm_plat_file_close(f);
        delete_patiently(path);
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

/* Renames an open file, never over another one; `path` in full, as this call wants it. */
static int file_rename(HANDLE h, const wchar_t *path)
{
    const DWORD room = GetFullPathNameW(path, 0, NULL, NULL);
    FILE_RENAME_INFO *info = calloc(1, sizeof *info + room * sizeof(wchar_t));
    int rc = 0;

    if (info == NULL || room == 0) {
        free(info);
        return CM_ENOMEM;
    }
    info->FileNameLength =
        GetFullPathNameW(path, room, info->FileName, NULL) * (DWORD)sizeof(wchar_t);
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
    rc = file_rename(win32_handle(f), name);
    if (rc == 0) {
        f->state |= WIN32_NAMED;
        rc = FlushFileBuffers(win32_handle(f)) ? 0 : CM_EIO;
    }
    free(name);
    return rc != 0 ? rc : cm_plat_file_sync_dir(path);
}

void cm_plat_file_abandon(struct cm_plat_file *f, const char *path)
{
    wchar_t *name = f->handle == -1 ? NULL : win32_path(path);
    wchar_t *beside = name == NULL ? NULL : name_beside(name);
    const bool named = (f->state & WIN32_NAMED) != 0;

    cm_plat_file_close(f); /* first: a file that is open is not deleted */
    if (beside != NULL) {
        delete_patiently(named ? name : beside);
    }
    free(beside);
    free(name);
}

/* ---- The pool file: opening ---------------------------------------------------------------- */

static HANDLE open_existing(const wchar_t *path, DWORD access, DWORD share)
{
    return CreateFileW(path, access, share, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
}

/* To become the owner, or just to look. *taken: only to look, because another has it open for
 * writing. */
static HANDLE open_pool(const wchar_t *path, bool readonly, bool *taken)
{
    HANDLE h;

    *taken = false;
    if (!readonly) {
        h = open_existing(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ);
        if (h != INVALID_HANDLE_VALUE || GetLastError() != ERROR_SHARING_VIOLATION) {
            return h;
        }
        *taken = true;
    }
    return open_existing(path, GENERIC_READ,
                         FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE);
}

/* Is it worth while to try again? Not, if it is an owner who is in the way. */
static bool may_be_passing(HANDLE h, bool taken)
{
    struct cm_plat_file look = { .handle = (intptr_t)h };

    if (h == INVALID_HANDLE_VALUE) {
        return GetLastError() == ERROR_SHARING_VIOLATION;
    }
    return taken && cm_plat_file_is_locked(&look) == 0;
}

static HANDLE open_patiently(const wchar_t *path, bool readonly, bool *taken)
{
    HANDLE h = open_pool(path, readonly, taken);

    for (unsigned i = 0; i < WIN32_PASSING_TRIES && may_be_passing(h, *taken); i++) {
        if (h != INVALID_HANDLE_VALUE) {
            (void)CloseHandle(h);
        }
        Sleep(WIN32_PASSING_MS);
        h = open_pool(path, readonly, taken);
    }
    return h;
}

static int file_open(struct cm_plat_file *f, const wchar_t *path, bool readonly)
{
    const DWORD attributes = GetFileAttributesW(path);
    LARGE_INTEGER size;
    bool taken;
    HANDLE h;

    if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
        return CM_ENOTFILE;
    }
    h = open_patiently(path, readonly, &taken);
    if (h == INVALID_HANDLE_VALUE) {
        return win32_error(GetLastError());
    }
    if (GetFileType(h) != FILE_TYPE_DISK || !GetFileSizeEx(h, &size)) {
        (void)CloseHandle(h);
        return CM_ENOTFILE;
    }
    *f = (struct cm_plat_file){ .handle = (intptr_t)h,
                                .size = (uint64_t)size.QuadPart,
                                .pid = cm_plat_pid(),
                                .state = taken ? WIN32_TAKEN : 0u,
                                .readonly = readonly,
                                .sparse = !file_is_allocated(h, (uint64_t)size.QuadPart) };
    return 0;
}

int cm_plat_file_open(struct cm_plat_file *f, const char *path, bool readonly)
{
    wchar_t *name;
    int rc;

    assert(f != NULL && f->handle == -1 && path != NULL);
    name = win32_path(path);
    if (name == NULL) {
        return win32_error(GetLastError());
    }
    rc = file_open(f, name, readonly);
    free(name);
    return rc;
}

int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, char why[PLAT_WHY])
{
    (void)why; /* not asked so far: docs/security.md */
    return cm_plat_file_open(f, path, false);
}

void cm_plat_file_close(struct cm_plat_file *f)
{
    assert(f != NULL);
    if (f->handle == -1) {
        return;
    }
    if (f->base != NULL) {
        (void)UnmapViewOfFile(f->base);
    }
    if ((f->state & WIN32_LOCKED) != 0) { /* by hand: what the system does at the end may lag */
        unlock_byte(f);
    }
    (void)CloseHandle(win32_handle(f));
    *f = (struct cm_plat_file)PLAT_FILE_INIT;
}

int cm_plat_file_sync_dir(const char *path)
{
    wchar_t *name, *slash;
    DWORD attributes;

    assert(path != NULL);
    name = win32_path(path);
    if (name == NULL) {
        return win32_error(GetLastError());
    }
    for (wchar_t *c = name; *c != 0; c++) {
        *c = *c == L'/' ? L'\\' : *c;
    }
    slash = wcsrchr(name, L'\\');
    if (slash != NULL) {
        /* "\", "C:\" and "\\?\Volume{...}\" keep it: without, they are not directories. */
        slash[slash == name || slash[-1] == L':' || slash[-1] == L'}'] = 0;
    }
    attributes = slash == NULL ? FILE_ATTRIBUTE_DIRECTORY : GetFileAttributesW(name);
    free(name);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0
               ? 0
               : CM_ENOENT;
}

/* A file cannot be cut while it is mapped. */
void cm_plat_file_void(struct cm_plat_file *f)
{
    FILE_END_OF_FILE_INFO end = { .EndOfFile.QuadPart = 0 };

    (void)SetFileInformationByHandle((HANDLE)f->handle, FileEndOfFileInfo, &end, sizeof end);
}

void cm_plat_file_remove(const char *path)
{
    wchar_t *name;

    assert(path != NULL);
    name = win32_path(path);
    if (name != NULL) {
        delete_patiently(name);
        free(name);
    }
}

int cm_plat_file_state(struct cm_plat_file *f, uint64_t *size, bool *named)
{
    FILE_STANDARD_INFO info;

    if (!GetFileInformationByHandleEx(win32_handle(f), FileStandardInfo, &info, sizeof info)) {
        return CM_EIO;
    }
    *size = (uint64_t)info.EndOfFile.QuadPart;
    *named = info.NumberOfLinks > 0 && !info.DeletePending;
    return 0;
}

int cm_plat_file_pread(struct cm_plat_file *f, void *buf, size_t n, uint64_t offset)
{
    uint8_t *to = buf;

    assert(buf != NULL || n == 0);
    while (n > 0) {
        const DWORD want = n < (1u << 30) ? (DWORD)n : 1u << 30;
        OVERLAPPED at = at_offset(offset);
        DWORD got = 0;

        if (!ReadFile(win32_handle(f), to, want, &got, &at) || got == 0) {
            return CM_EIO;
        }
        to += got;
        offset += got;
        n -= got;
    }
    return 0;
}

/* ---- The pool file: mapping ---------------------------------------------------------------- */

/* The system takes an address as a wish only. So a place is looked for, given up, and asked for
 * before somebody else has it; else again. */
static uint8_t *map_aligned(HANDLE mapping, DWORD access, size_t size, size_t align)
{
    SYSTEM_INFO system;
    uint8_t *view = NULL;

    GetSystemInfo(&system);
    if (align <= system.dwAllocationGranularity) {
        return MapViewOfFile(mapping, access, 0, 0, size);
    }
    for (unsigned i = 0; i < WIN32_MAP_TRIES && view == NULL; i++) {
        uint8_t *room = VirtualAlloc(NULL, size + align, MEM_RESERVE, PAGE_NOACCESS);
        uint8_t *hint;

        if (room == NULL) {
            return NULL;
        }
        hint = room + (size_t)(-(uintptr_t)room & (align - 1));
        (void)VirtualFree(room, 0, MEM_RELEASE);
        view = MapViewOfFileEx(mapping, access, 0, 0, size, hint);
    }
    return view;
}

/* A second opinion beside the volume's flag, where the system has one: it hands out tokens for
 * memory whose flushes reach the media. */
static bool memory_is_persistent(void *base, size_t size)
{
    typedef LONG(NTAPI * get_fn)(PVOID, SIZE_T, PVOID *);
    typedef LONG(NTAPI * free_fn)(PVOID);
    const get_fn get = (get_fn)(void *)win32_find(L"ntdll.dll", "RtlGetNonVolatileToken");
    const free_fn release = (free_fn)(void *)win32_find(L"ntdll.dll", "RtlFreeNonVolatileToken");
    void *token = NULL;

    if (get == NULL || release == NULL) {
        return true;
    }
    if (get(base, size, &token) < 0) {
        return false;
    }
    (void)release(token);
    return true;
}

static enum cm_durability file_durability(const struct cm_plat_file *f)
{
    /* Not of a sparse file: nobody promises that the extent a fault adds to it is durable. */
    if (!f->sparse && volume_is_dax(win32_handle(f)) &&
        memory_is_persistent(f->base, (size_t)f->mapped)) {
        return CM_DURABILITY_DAX;
    }
    return CM_DURABILITY_PAGECACHE;
}

int cm_plat_file_map(struct cm_plat_file *f, uint64_t align, enum cm_durability *durability)
{
    const DWORD access = f->readonly ? FILE_MAP_READ : FILE_MAP_READ | FILE_MAP_WRITE;
    HANDLE mapping;
    DWORD error;

    assert(f->handle != -1 && f->base == NULL && durability != NULL);
    assert(align != 0 && (align & (align - 1)) == 0 && (f->state & WIN32_TAKEN) == 0);
    if (f->size == 0) {
        return CM_EIO;
    }
    if (f->size > SIZE_MAX / 2 || align > SIZE_MAX / 4) {
        return CM_ENOMEM;
    }
    mapping = CreateFileMappingW(win32_handle(f), NULL,
                                 f->readonly ? PAGE_READONLY : PAGE_READWRITE, 0, 0, NULL);
    if (mapping == NULL) {
        return win32_error(GetLastError()) == CM_ENOMEM ? CM_ENOMEM : CM_EIO;
    }
    f->base = map_aligned(mapping, access, (size_t)f->size, (size_t)align);
    error = GetLastError();
    (void)CloseHandle(mapping); /* the view keeps it */
    if (f->base == NULL) {
        return error == ERROR_INVALID_ADDRESS || win32_error(error) == CM_ENOMEM ? CM_ENOMEM
                                                                                 : CM_EIO;
    }
    f->mapped = f->size;
    *durability = file_durability(f);
    return 0;
}

int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    assert(f->handle != -1);
    if (f->base != NULL) {
        const uint64_t start = offset / 4096 * 4096;
        const uint64_t end = len == 0 ? f->mapped : offset + len;

        assert(offset <= f->mapped && len <= f->mapped - offset);
        /* The system's own writer of mapped pages may be at these: that ends. */
        for (unsigned i = 0; !FlushViewOfFile(f->base + start, (size_t)(end - start)); i++) {
            if (GetLastError() != ERROR_LOCK_VIOLATION || i == WIN32_FLUSH_TRIES) {
                return CM_EIO;
            }
            Sleep(WIN32_FLUSH_PAUSE_MS);
        }
    }
    return FlushFileBuffers(win32_handle(f)) ? 0 : CM_EIO;
}
