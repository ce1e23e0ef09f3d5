/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32.c - os.h on Windows. Names in tests are ASCII unless a test is about names.
 */
#include "os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "win32_begin.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

const char *os_temp(void)
{
    const char *tmp = getenv("TMPDIR");

    tmp = tmp != NULL ? tmp : getenv("TEMP");
    return tmp != NULL ? tmp : ".";
}

bool os_make_dir(char *dir, size_t n, const char *place, const char *name)
{
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(dir, n, "%s/cachemax-%s-%lu-%u", place != NULL ? place : os_temp(), name,
                       (unsigned long)GetCurrentProcessId(), i);
        if (CreateDirectoryA(dir, NULL)) {
            return true;
        }
    }
    return false;
}

bool os_remove_dir(const char *dir)
{
    return RemoveDirectoryA(dir) != 0;
}

bool os_make_file(char *path, size_t n, const char *name)
{
    for (unsigned i = 0; i < 100; i++) {
        HANDLE h;

        (void)snprintf(path, n, "%s/cachemax-%s-%lu-%u", os_temp(), name,
                       (unsigned long)GetCurrentProcessId(), i);
        h = CreateFileA(path, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
        if (h != INVALID_HANDLE_VALUE) {
            return CloseHandle(h) != 0;
        }
    }
    return false;
}

static HANDLE open_any(const char *path, DWORD access)
{
    return CreateFileA(path, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                       OPEN_EXISTING, 0, NULL);
}

int os_resize(const char *path, uint64_t size)
{
    const HANDLE h = open_any(path, GENERIC_WRITE);
    LARGE_INTEGER end = { .QuadPart = (LONGLONG)size };
    const bool done =
        h != INVALID_HANDLE_VALUE && SetFilePointerEx(h, end, NULL, FILE_BEGIN) && SetEndOfFile(h);

    if (h != INVALID_HANDLE_VALUE) {
        (void)CloseHandle(h);
    }
    return done ? 0 : -1;
}

static int64_t standard_info(const char *path, bool allocated)
{
    const HANDLE h = open_any(path, FILE_READ_ATTRIBUTES);
    FILE_STANDARD_INFO info;
    int64_t n = -1;

    if (h != INVALID_HANDLE_VALUE) {
        if (GetFileInformationByHandleEx(h, FileStandardInfo, &info, sizeof info)) {
            n = allocated ? info.AllocationSize.QuadPart : info.EndOfFile.QuadPart;
        }
        (void)CloseHandle(h);
    }
    return n;
}

int64_t os_size(const char *path)
{
    return standard_info(path, false);
}

int64_t os_space(const char *path)
{
    return standard_info(path, true);
}

void *os_aligned(size_t align, size_t bytes)
{
    return _aligned_malloc(bytes, align);
}

void os_aligned_free(void *p)
{
    _aligned_free(p);
}

void os_protect(void *p, size_t n, enum os_access access)
{
    DWORD old;

    if (!VirtualProtect(p, n,
                        access == OS_NOTHING ? PAGE_NOACCESS
                        : access == OS_READ  ? PAGE_READONLY
                                             : PAGE_READWRITE,
                        &old)) {
        printf("# VirtualProtect: error %lu\n", (unsigned long)GetLastError());
        abort();
    }
}

void os_large_pages(void *p, size_t n)
{
    (void)p; /* they need a privilege, and one call that also allocates */
    (void)n;
}

int os_run_self(const char *name, const char *arg)
{
    STARTUPINFOA start = { .cb = sizeof start };
    PROCESS_INFORMATION child;
    char self[MAX_PATH], line[2 * MAX_PATH + 100];
    DWORD status = 1;

    (void)fflush(stdout);
    if (GetModuleFileNameA(NULL, self, sizeof self) == 0) {
        return -1;
    }
    (void)snprintf(line, sizeof line, "\"%s\" --child %s \"%s\"", self, name, arg);
    if (!win32_begin(line, &start, &child)) {
        return -1;
    }
    if (WaitForSingleObject(child.hProcess, 60000) != WAIT_OBJECT_0) {
        (void)TerminateProcess(child.hProcess, 1);
    }
    (void)GetExitCodeProcess(child.hProcess, &status);
    (void)CloseHandle(child.hThread);
    (void)CloseHandle(child.hProcess);
    return (int)status;
}
