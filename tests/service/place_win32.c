/* SPDX-License-Identifier: BSD-2-Clause
 *
 * place_win32.c - processes, shared memory and files for the tests of the service, on Windows.
 *
 * Who: the programs of this directory, by place.h.
 */
#include "place.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../win32_begin.h"

#include <shlobj.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void place_die(const char *what)
{
    fprintf(stderr, "%s: error %lu\n", what, (unsigned long)GetLastError());
    exit(2);
}

uint64_t place_now_ns(void)
{
    LARGE_INTEGER per_second, now;

    QueryPerformanceFrequency(&per_second);
    QueryPerformanceCounter(&now);
    return (uint64_t)((double)now.QuadPart * 1e9 / (double)per_second.QuadPart);
}

void place_sleep_us(unsigned us)
{
    Sleep((us + 999) / 1000);
}

/* The pipe has the name of the directory, whose full name the configuration needs. */
void place_name_socket(void)
{
    char full[sizeof(place_dir)];
    const DWORD n = GetFullPathNameA(place_dir, sizeof(full), full, NULL);

    if (n == 0 || n >= sizeof(full))
        place_die(place_dir);
    strcpy(place_dir, full);
    snprintf(place_socket, sizeof(place_socket), "\\\\.\\pipe\\%s", strrchr(full, '\\') + 1);
}

/* In the directories of all owners (pipe_files.c): others' files have other names. */
void place_clean_socket(void)
{
    static const char *const endings[] = { ".lock", ".writes" };
    char folder[MAX_PATH], path[2 * MAX_PATH + 700];
    WIN32_FIND_DATAA found;
    HANDLE h;

    if (SHGetFolderPathA(NULL, CSIDL_COMMON_APPDATA, NULL, SHGFP_TYPE_CURRENT, folder) != S_OK)
        return;
    snprintf(path, sizeof(path), "%s\\cachemax*", folder);
    h = FindFirstFileA(path, &found);
    if (h == INVALID_HANDLE_VALUE)
        return;
    do
        for (unsigned i = 0; i < 2; i++) {
            snprintf(path, sizeof(path), "%s\\%s\\%s%s", folder, found.cFileName,
                     strrchr(place_dir, '\\') + 1, endings[i]);
            (void)DeleteFileA(path);
        }
    while (FindNextFileA(h, &found));
    FindClose(h);
}

/* ---- Processes ------------------------------------------------------------------------------- */

place_process place_run(const char *program, const char *const *args)
{
    STARTUPINFOA start = { .cb = sizeof(start) };
    PROCESS_INFORMATION child;
    char self[MAX_PATH], line[4096];
    int n;

    if (!program && GetModuleFileNameA(NULL, self, sizeof(self)) == 0)
        place_die("GetModuleFileName");
    n = snprintf(line, sizeof(line), "\"%s\"", program ? program : self);
    for (; *args; args++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " \"%s\"", *args);
    if (!win32_begin(line, &start, &child))
        place_die(line);
    CloseHandle(child.hThread);
    return child.hProcess;
}

bool place_has_ended(place_process p, int *status)
{
    DWORD code = 0;

    if (WaitForSingleObject(p, 0) != WAIT_OBJECT_0)
        return false;
    (void)GetExitCodeProcess(p, &code);
    *status = (int)code;
    CloseHandle(p);
    return true;
}

void place_kill(place_process p)
{
    (void)TerminateProcess(p, 9);
    (void)WaitForSingleObject(p, INFINITE);
    CloseHandle(p);
}

/* What the system does for Ctrl-Break, without a console: there is none under Wine in a test. */
void place_end(place_process p)
{
    void *const routine = (void *)GetProcAddress(GetModuleHandleA("kernelbase.dll"), "CtrlRoutine");
    HANDLE thread = NULL;

    if (routine) /* the same place in every process */
        thread = CreateRemoteThread(p, NULL, 0, (LPTHREAD_START_ROUTINE)routine,
                                    (void *)(uintptr_t)CTRL_BREAK_EVENT, 0, NULL);
    if (!thread)
        place_die("CtrlRoutine");
    CloseHandle(thread);
}

/* All threads of a process; the system's header does not name these two. */
static void tell(const char *what, HANDLE p)
{
    typedef LONG(NTAPI * call_fn)(HANDLE);
    const call_fn call = (call_fn)(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), what);

    if (!call || call(p) < 0)
        place_die(what);
}

void place_suspend(place_process p)
{
    tell("NtSuspendProcess", p);
}

void place_resume(place_process p)
{
    tell("NtResumeProcess", p);
}

/* ---- Memory and files ------------------------------------------------------------------------ */

static HANDLE open_shared(const char *path, DWORD access, DWORD how)
{
    HANDLE h = INVALID_HANDLE_VALUE;

    /* Who takes a validator denies writing for a moment (cm_identify). */
    for (unsigned tries = 0; tries < 1000; tries++) {
        h = CreateFileA(path, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                        how, FILE_ATTRIBUTE_NORMAL, NULL);
        if (h != INVALID_HANDLE_VALUE || GetLastError() != ERROR_SHARING_VIOLATION)
            break;
        Sleep(1);
    }
    if (h == INVALID_HANDLE_VALUE)
        place_die(path);
    return h;
}

void *place_shared(const char *name, size_t n)
{
    char path[700];
    HANDLE h, section;
    void *at = NULL;

    snprintf(path, sizeof(path), "%s/%s", place_dir, name);
    h = open_shared(path, GENERIC_READ | GENERIC_WRITE, OPEN_ALWAYS);
    section = CreateFileMappingA(h, NULL, PAGE_READWRITE, 0, (DWORD)n, NULL);
    if (section)
        at = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, n);
    if (!at)
        place_die(path);
    CloseHandle(section);
    CloseHandle(h);
    return at;
}

void place_forget(void *shared, size_t n)
{
    (void)n;
    UnmapViewOfFile(shared);
}

intptr_t place_open(const char *path, bool write)
{
    return (intptr_t)open_shared(path, GENERIC_READ | (write ? GENERIC_WRITE : 0), OPEN_EXISTING);
}

void place_close(intptr_t file)
{
    CloseHandle((HANDLE)file);
}

int64_t place_read(intptr_t file, void *to, size_t n, uint64_t offset)
{
    OVERLAPPED at = { .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
    DWORD got = 0;

    if (ReadFile((HANDLE)file, to, (DWORD)n, &got, &at) || GetLastError() == ERROR_HANDLE_EOF)
        return got;
    return -1;
}

int64_t place_write(intptr_t file, const void *from, size_t n, uint64_t offset)
{
    OVERLAPPED at = { .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
    DWORD put = 0;

    return WriteFile((HANDLE)file, from, (DWORD)n, &put, &at) ? (int64_t)put : -1;
}

bool place_truncate(intptr_t file, uint64_t size)
{
    FILE_END_OF_FILE_INFO end = { .EndOfFile = { .QuadPart = (LONGLONG)size } };

    return SetFileInformationByHandle((HANDLE)file, FileEndOfFileInfo, &end, sizeof(end));
}
