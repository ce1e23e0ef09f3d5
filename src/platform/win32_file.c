/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_file.c - platform.h on Windows: the pool file.
 *
 * Owns the calls that open, lock, map, sync, read and remove files, and the meaning of the system's
 * error numbers. win32_create.c makes the file.
 *
 * SHARING  The owner's handle lets others read, so that they can watch, but not write. If a second
 * process wants to become the owner, it gets a handle that may only read. cm_plat_file_lock then
 * tells it that the pool is taken.
 * LOCK  The lock is one byte far beyond the data, because locks are mandatory here. The owner holds
 * it exclusively, and opens for reading hold it shared. To ask for the lock, a process holds it
 * shared for a moment. An owner who opens in that moment tries again. If the file is not locked,
 * the reason for a refused open may soon pass (a virus scanner), so the open is tried again.
 * SYNC  FlushViewOfFile starts the writing of mapped pages. FlushFileBuffers waits for the device
 * and also writes the metadata. Directories need no sync: NTFS journals its names.
 *
 * Who: api/, media/, platform/, protocol/, state/. Nothing here calls back.
 */
#include "platform/win32.h"

#include <assert.h>
#include <stdio.h>

#ifndef FILE_DAX_VOLUME
#define FILE_DAX_VOLUME 0x20000000
#endif

#define WIN32_QUOTA_EXCEEDED 1295 /* ERROR_DISK_QUOTA_EXCEEDED, not every SDK names it */
#define WIN32_LOCK_OFFSET (UINT64_C(1) << 62) /* no file is that long */
#define WIN32_TAKEN_OFFSET (WIN32_LOCK_OFFSET + 1)
#define WIN32_LOCK_TRIES 20u
#define WIN32_PASSING_TRIES 10u
#define WIN32_PASSING_MS 50
#define WIN32_MAP_TRIES 64u
#define WIN32_FLUSH_TRIES 600u /* half a minute in all */
#define WIN32_FLUSH_PAUSE_MS 50

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
    case ERROR_TOO_MANY_OPEN_FILES:
        return CM_ENOMEM;
    case ERROR_INVALID_NAME:
    case ERROR_INVALID_PARAMETER:
    case ERROR_FILENAME_EXCED_RANGE:
        return CM_EINVAL;
    default:
        return CM_EIO;
    }
}

/* ---- The pool file: lock ------------------------------------------------------------------- */

static bool lock_byte(const struct cm_plat_file *f, uint64_t offset, bool exclusive)
{
    OVERLAPPED at = win32_at(offset);

    return LockFileEx(win32_handle(f),
                      LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0), 0, 1,
                      0, &at) != 0;
}

static void unlock_byte(const struct cm_plat_file *f, uint64_t offset)
{
    OVERLAPPED at = win32_at(offset);

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
        if (lock_byte(f, WIN32_LOCK_OFFSET, !f->readonly)) {
            f->state |= WIN32_LOCKED;
            return 0;
        }
        if (GetLastError() != ERROR_LOCK_VIOLATION && GetLastError() != ERROR_IO_PENDING) {
            return CM_EIO;
        }
        Sleep(1); /* perhaps a process only asks: cm_plat_file_is_locked */
    }
    return CM_EOWNED;
}

int cm_plat_file_is_locked(struct cm_plat_file *f)
{
    assert(f != NULL && f->handle != -1);
    /* The system would grant a second lock through the same handle, and its unlock would end the
     * first lock. */
    if ((f->state & WIN32_LOCKED) != 0) {
        return 0;
    }
    if (!lock_byte(f, WIN32_LOCK_OFFSET, false)) {
        const DWORD error = GetLastError();

        return error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING ? 1 : CM_EIO;
    }
    unlock_byte(f, WIN32_LOCK_OFFSET);
    return 0;
}

void cm_plat_file_say_taken(struct cm_plat_file *f)
{
    for (unsigned i = 0; i < WIN32_LOCK_TRIES && !lock_byte(f, WIN32_TAKEN_OFFSET, true); i++) {
        Sleep(1); /* perhaps a process only asks */
    }
}

bool cm_plat_file_is_taken(struct cm_plat_file *f)
{
    if (lock_byte(f, WIN32_TAKEN_OFFSET, false)) {
        unlock_byte(f, WIN32_TAKEN_OFFSET);
        return false;
    }
    return GetLastError() == ERROR_LOCK_VIOLATION || GetLastError() == ERROR_IO_PENDING;
}

uint32_t cm_plat_file_holder(struct cm_plat_file *f, uint32_t likely)
{
    (void)f;
    return likely; /* no process inherits the handle, so the recorded owner has it */
}

/* ---- The pool file: on its volume ---------------------------------------------------------- */

bool win32_volume_is_dax(HANDLE h)
{
    DWORD flags = 0;

    return GetVolumeInformationByHandleW(h, NULL, 0, NULL, NULL, &flags, NULL, 0) &&
           (flags & FILE_DAX_VOLUME) != 0;
}

bool win32_is_allocated(HANDLE h, uint64_t size)
{
    FILE_STANDARD_INFO info;

    return GetFileInformationByHandleEx(h, FileStandardInfo, &info, sizeof info) &&
           (uint64_t)info.AllocationSize.QuadPart >= size;
}

void win32_delete(const wchar_t *path)
{
    for (unsigned i = 0;
         i < WIN32_PASSING_TRIES && !DeleteFileW(path) && GetLastError() == ERROR_SHARING_VIOLATION;
         i++) {
        Sleep(WIN32_PASSING_MS);
    }
}

/* ---- The pool file: opening ---------------------------------------------------------------- */

static HANDLE open_existing(const wchar_t *path, DWORD access, DWORD share)
{
    return CreateFileW(path, access, share, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
}

/* Opens a pool to become the owner, or only to read. *taken: only to read, because another process
 * has it open for writing. */
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

/* Is it worth trying again? Not if an owner has the pool. */
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
                                .state = taken ? WIN32_TAKEN : 0u,
                                .readonly = readonly,
                                .sparse = !win32_is_allocated(h, (uint64_t)size.QuadPart) };
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

int cm_plat_file_open_trusted(struct cm_plat_file *f, const char *path, bool readonly,
                              char why[PLAT_WHY])
{
    (void)why; /* not checked so far: docs/security.md */
    return cm_plat_file_open(f, path, readonly);
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
    if ((f->state & WIN32_LOCKED) != 0) {   /* explicitly: the system may unlock late */
        unlock_byte(f, WIN32_TAKEN_OFFSET); /* fails if it was never said */
        unlock_byte(f, WIN32_LOCK_OFFSET);
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
        /* "\", "C:\" and "\\?\Volume{...}\" keep the slash: without it they are not directories. */
        slash[slash == name || slash[-1] == L':' || slash[-1] == L'}'] = 0;
    }
    attributes = slash == NULL ? FILE_ATTRIBUTE_DIRECTORY : GetFileAttributesW(name);
    free(name);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0
               ? 0
               : CM_ENOENT;
}

/* The system cannot cut a file while it is mapped. */
void cm_plat_file_void(struct cm_plat_file *f)
{
    FILE_END_OF_FILE_INFO end = { .EndOfFile.QuadPart = 0 };

    (void)SetFileInformationByHandle((HANDLE)f->handle, FileEndOfFileInfo, &end, sizeof end);
}

/* NTFS writes pages in their place. ReFS does not where it keeps sums of a file, or where a copy
 * made by block cloning shares its clusters. A new pool is made without sums, and nothing tells
 * whether there is a copy (docs/windows.md). */
bool cm_plat_file_has_no_room(const struct cm_plat_file *f, uint64_t offset)
{
    (void)f;
    (void)offset;
    return false;
}

/* The system does not promise that a mapping shows what is written. */
int cm_plat_file_write(const struct cm_plat_file *f, const void *bytes, size_t n, uint64_t offset)
{
    (void)f;
    (void)bytes;
    (void)n;
    (void)offset;
    return CM_ENOTSUP;
}

int cm_plat_file_zero(const struct cm_plat_file *f, uint64_t n)
{
    (void)f;
    (void)n;
    return CM_ENOTSUP;
}

/* No pool grows here, so nobody needs to know. */
int cm_plat_file_room(struct cm_plat_file *f, uint64_t size, uint64_t *missing)
{
    (void)f;
    (void)size;
    *missing = 0;
    return 0;
}

/* A view cannot become longer, and a file that is mapped cannot become shorter. */
int cm_plat_file_grow(struct cm_plat_file *f, uint64_t size)
{
    (void)f;
    (void)size;
    return CM_ENOTSUP;
}

int cm_plat_file_cut(struct cm_plat_file *f, uint64_t size)
{
    (void)f;
    (void)size;
    return CM_ENOTSUP;
}

void cm_plat_file_remove(const char *path)
{
    wchar_t *name;

    assert(path != NULL);
    name = win32_path(path);
    if (name != NULL) {
        win32_delete(name);
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
        OVERLAPPED at = win32_at(offset);
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

/* The system takes an address only as a wish. So this finds a free place, gives it up, and asks for
 * it at once. If another thread took it meanwhile, this tries again. */
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

/* A second test beside the volume's flag, if the system has it: the system gives tokens for memory
 * whose flushes reach the media. */
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
    /* Never for a sparse file: nothing says that an extent added by a fault is durable. */
    if (!f->sparse && win32_volume_is_dax(win32_handle(f)) &&
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
    (void)CloseHandle(mapping); /* the view keeps the mapping */
    if (f->base == NULL) {
        return error == ERROR_INVALID_ADDRESS || win32_error(error) == CM_ENOMEM ? CM_ENOMEM
                                                                                 : CM_EIO;
    }
    f->mapped = f->size;
    *durability = file_durability(f);
    return 0;
}

bool cm_plat_file_is_layered(const struct cm_plat_file *f)
{
    (void)f;
    return false; /* nothing of the system does so */
}

bool cm_plat_file_is_elsewhere(const struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f, (void)what;
    return false; /* a share mode holds for everybody: its server keeps it */
}

bool cm_plat_file_sync_lasts(struct cm_plat_file *f, char what[PLAT_VOLUME])
{
    (void)f;
    /* A flush of one page of a mapping may write all others, too: nobody has measured it. */
    (void)snprintf(what, PLAT_VOLUME, "Windows without DAX");
    return false;
}

int cm_plat_file_sync(struct cm_plat_file *f, uint64_t offset, uint64_t len)
{
    assert(f->handle != -1);
    if (f->base != NULL) {
        const uint64_t start = offset / 4096 * 4096;
        const uint64_t end = len == 0 ? f->mapped : offset + len;

        assert(offset <= f->mapped && len <= f->mapped - offset);
        /* The system's own writer of mapped pages may hold these pages for a while: try again. */
        for (unsigned i = 0; !FlushViewOfFile(f->base + start, (size_t)(end - start)); i++) {
            if (GetLastError() != ERROR_LOCK_VIOLATION || i == WIN32_FLUSH_TRIES) {
                return CM_EIO;
            }
            Sleep(WIN32_FLUSH_PAUSE_MS);
        }
    }
    return FlushFileBuffers(win32_handle(f)) ? 0 : CM_EIO;
}
