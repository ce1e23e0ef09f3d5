/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32.c - os.h on Windows.
 *
 * Owns the tool's only mutable state that another thread changes: the flag that a request to end
 * was made (Ctrl-C, a closed window, ...). The system calls the handler in a thread of its own. It
 * raises the flag, ends a sleep and cancels the call in which the main thread waits.
 *
 * Who: tool/.
 */
#include "tool/os.h"

#include "platform/win32_path.h"
#include "tool/os_win32.h"

#include <fcntl.h>
#include <io.h>
#include <malloc.h>
#include <shellapi.h>
#include <stdio.h>
#include <sys/stat.h>

#ifndef ENABLE_VIRTUAL_TERMINAL_PROCESSING
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 4
#endif

static volatile LONG interrupted;
static volatile LONG waiting;  /* the main thread is in a call that may be cancelled */
static HANDLE interrupt_event; /* NULL until os_catch_interrupts */
static HANDLE main_thread;
/* State of the console, which outlives this process. Valid if its flag is set. */
static struct {
    bool has_page, has_mode[3];
    UINT page;
    DWORD mode[3];
} console;

/* ---- Start --------------------------------------------------------------------------------- */

/* Argument `i` in UTF-8. An unpaired surrogate is refused: as U+FFFD it would name another file.
 * The program's own name (0) is only shown. */
static char *to_utf8(const wchar_t *text, int i)
{
    const DWORD flags = i > 0 ? WC_ERR_INVALID_CHARS : 0;
    const int n = WideCharToMultiByte(CP_UTF8, flags, text, -1, NULL, 0, NULL, NULL);
    char *utf8 = n > 0 ? malloc((size_t)n) : NULL;

    if (utf8) {
        (void)WideCharToMultiByte(CP_UTF8, flags, text, -1, utf8, n, NULL, NULL);
        return utf8;
    }
    if (n == 0 && GetLastError() == ERROR_NO_UNICODE_TRANSLATION) {
        (void)fprintf(stderr,
                      "cachemax: argument %d is not valid Unicode (an unpaired surrogate); "
                      "such a name cannot be used; rename the file\n",
                      i);
        exit(2); /* TOOL_USAGE */
    }
    (void)fprintf(stderr, "cachemax: out of memory for the arguments\n");
    exit(1);
}

static HANDLE standard_handle(int fd)
{
    return GetStdHandle(fd == 1 ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE);
}

static void restore_console(void)
{
    for (int fd = 1; fd <= 2; fd++) {
        if (console.has_mode[fd])
            (void)SetConsoleMode(standard_handle(fd), console.mode[fd]);
    }
    if (console.has_page)
        (void)SetConsoleOutputCP(console.page);
}

/* Reads the state of both consoles before it changes one: mostly they are the same, and the second
 * read would give our own mode. */
static void prepare_console(void)
{
    for (int fd = 1; fd <= 2; fd++)
        console.has_mode[fd] = GetConsoleMode(standard_handle(fd), &console.mode[fd]) != 0;
    if (!console.has_mode[1] && !console.has_mode[2])
        return;
    console.page = GetConsoleOutputCP();
    console.has_page = console.page != 0;
    (void)atexit(restore_console);
    for (int fd = 1; fd <= 2; fd++) {
        if (console.has_mode[fd])
            (void)SetConsoleMode(standard_handle(fd),
                                 console.mode[fd] | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
    }
    (void)SetConsoleOutputCP(CP_UTF8);
}

void os_start(int *argc, char ***argv)
{
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **args = wide ? calloc((size_t)n + 1, sizeof(*args)) : NULL;

    for (int i = 0; args && i < n; i++)
        args[i] = to_utf8(wide[i], i);
    *argc = args ? n : *argc;
    *argv = args ? args : *argv;
    (void)_setmode(1, _O_BINARY);
    (void)_setmode(2, _O_BINARY);
    prepare_console();
}

/* ---- The terminal -------------------------------------------------------------------------- */

bool os_is_terminal(int fd)
{
    DWORD mode;

    return GetConsoleMode(standard_handle(fd), &mode) != 0;
}

int os_terminal_width(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;

    if (GetConsoleScreenBufferInfo(standard_handle(2), &info) &&
        info.srWindow.Right > info.srWindow.Left)
        return info.srWindow.Right - info.srWindow.Left + 1;
    return 80;
}

/* ---- Requests to end ----------------------------------------------------------------------- */

static BOOL WINAPI on_request(DWORD kind)
{
    (void)InterlockedExchange(&interrupted, 1);
    (void)SetEvent(interrupt_event);
    /* Cancels only a wait of the tool itself: a write of the library must not be broken off. It
     * tries again until the wait has ended, because the wait may not have begun yet. */
    while (InterlockedCompareExchange(&waiting, 0, 0) != 0) {
        (void)CancelSynchronousIo(main_thread);
        Sleep(1);
    }
    if (kind != CTRL_C_EVENT && kind != CTRL_BREAK_EVENT)
        Sleep(INFINITE); /* the system ends the process when this returns */
    return TRUE;
}

void os_catch_interrupts(void)
{
    if (interrupt_event)
        return;
    interrupt_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!DuplicateHandle(GetCurrentProcess(), GetCurrentThread(), GetCurrentProcess(), &main_thread,
                         0, FALSE, DUPLICATE_SAME_ACCESS))
        main_thread = NULL;
    (void)SetConsoleCtrlHandler(on_request, TRUE);
}

bool os_interrupted(void)
{
    return InterlockedCompareExchange(&interrupted, 0, 0) != 0;
}

void *os_win32_interrupt(void)
{
    return interrupt_event;
}

void os_forget_interrupt(void)
{
    (void)InterlockedExchange(&interrupted, 0);
    if (interrupt_event)
        (void)ResetEvent(interrupt_event);
}

static _Noreturn void end_with(UINT status)
{
    (void)fflush(NULL);
    restore_console();
    ExitProcess(status);
}

void os_end_interrupted(void)
{
    end_with((UINT)STATUS_CONTROL_C_EXIT);
}

void os_ignore_broken_pipe(void)
{
    /* Windows has no such signal. */
}

void os_end_broken_pipe(void)
{
    end_with(ERROR_BROKEN_PIPE);
}

void os_sleep(double seconds)
{
    const DWORD ms = (DWORD)(seconds * 1000);

    if (interrupt_event)
        (void)WaitForSingleObject(interrupt_event, ms);
    else
        Sleep(ms);
}

/* ---- Files --------------------------------------------------------------------------------- */

int os_become(const char *name, char *const argv[])
{
    (void)name;
    (void)argv;
    return ERROR_NOT_SUPPORTED;
}

int os_write_stdout(const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        const DWORD want = len < (1u << 20) ? (DWORD)len : 1u << 20;
        DWORD n = 0;

        (void)InterlockedExchange(&waiting, 1); /* before the flag is read: see on_request */
        const bool asked = os_interrupted();
        const bool written = !asked && WriteFile(standard_handle(1), p, want, &n, NULL);
        const DWORD error = written || asked ? 0 : GetLastError();

        (void)InterlockedExchange(&waiting, 0);
        if (asked)
            return OS_INTERRUPTED;
        if (!written) {
            if (error == ERROR_OPERATION_ABORTED)
                return OS_INTERRUPTED;
            return error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA ? OS_BROKEN_PIPE
                                                                        : (int)error;
        }
        p += n;
        len -= n;
    }
    return 0;
}

static HANDLE open_path(const char *path, DWORD access)
{
    wchar_t *name = win32_path(path);
    HANDLE h = INVALID_HANDLE_VALUE;

    if (name) {
        h = CreateFileW(name, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                        OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
        free(name);
    }
    return h;
}

int os_open_file(const char *path, intptr_t *file)
{
    BY_HANDLE_FILE_INFORMATION info;
    HANDLE h = open_path(path, GENERIC_READ);

    if (h == INVALID_HANDLE_VALUE)
        return (int)GetLastError();
    if (GetFileInformationByHandle(h, &info) &&
        (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
        (void)CloseHandle(h);
        return ERROR_DIRECTORY;
    }
    *file = (intptr_t)h;
    return 0;
}

int os_make_file(const char *path, FILE **file)
{
    wchar_t *name = win32_path(path);
    int fd = -1, error;

    if (name)
        fd = _wopen(name, _O_WRONLY | _O_CREAT | _O_EXCL | _O_BINARY, _S_IREAD | _S_IWRITE);
    error = (int)GetLastError();
    free(name);
    if (fd < 0)
        return error != 0 ? error : ERROR_TOO_MANY_OPEN_FILES; /* 0: no descriptor is free */
    *file = _fdopen(fd, "wb");
    if (!*file) {
        (void)_close(fd);
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    return 0;
}

bool os_is_named(intptr_t file, const char *path)
{
    BY_HANDLE_FILE_INFORMATION open_file, named;
    HANDLE h = open_path(path, FILE_READ_ATTRIBUTES);
    bool same;

    if (h == INVALID_HANDLE_VALUE)
        return false;
    same = GetFileInformationByHandle((HANDLE)file, &open_file) &&
           GetFileInformationByHandle(h, &named) &&
           open_file.dwVolumeSerialNumber == named.dwVolumeSerialNumber &&
           open_file.nFileIndexHigh == named.nFileIndexHigh &&
           open_file.nFileIndexLow == named.nFileIndexLow;
    (void)CloseHandle(h);
    return same;
}

int64_t os_read_at(intptr_t file, uint64_t off, void *buf, size_t len, int *error)
{
    const bool has_places = GetFileType((HANDLE)file) == FILE_TYPE_DISK;
    size_t done = 0;

    while (done < len) {
        const uint64_t at = off + done;
        OVERLAPPED place = { .Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32) };
        const DWORD want = len - done < (1u << 30) ? (DWORD)(len - done) : 1u << 30;
        DWORD n = 0;

        (void)InterlockedExchange(&waiting, 1); /* before the flag is read: see on_request */
        const bool asked = os_interrupted();
        const bool good = !asked && ReadFile((HANDLE)file, (char *)buf + done, want, &n,
                                             has_places ? &place : NULL);
        const DWORD code = good ? 0 : asked ? ERROR_OPERATION_ABORTED : GetLastError();

        (void)InterlockedExchange(&waiting, 0);
        if (!good) {
            if (code == ERROR_HANDLE_EOF || code == ERROR_BROKEN_PIPE)
                break;
            *error = (int)code;
            return -1;
        }
        if (n == 0)
            break;
        done += n;
    }
    return (int64_t)done;
}

/* The system syncs only for handles that may write, and this file was opened for reading. */
int os_sync_file(intptr_t file)
{
    HANDLE h = ReOpenFile((HANDLE)file, GENERIC_WRITE,
                          FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, 0);
    int error;

    if (h == INVALID_HANDLE_VALUE)
        return -1;
    error = FlushFileBuffers(h) ? 0 : (int)GetLastError();
    (void)CloseHandle(h);
    return error;
}

void os_close_file(intptr_t file)
{
    (void)CloseHandle((HANDLE)file);
}

int os_remove_file(const char *path)
{
    wchar_t *name = win32_path(path);
    int error = name && DeleteFileW(name) ? 0 : (int)GetLastError();

    free(name);
    return error;
}

bool os_file_size(const char *path, uint64_t *size)
{
    HANDLE h = open_path(path, FILE_READ_ATTRIBUTES);
    LARGE_INTEGER bytes;
    BY_HANDLE_FILE_INFORMATION info;
    bool known;

    if (h == INVALID_HANDLE_VALUE)
        return false;
    known = GetFileInformationByHandle(h, &info) &&
            (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0 && GetFileSizeEx(h, &bytes);
    (void)CloseHandle(h);
    if (known)
        *size = (uint64_t)bytes.QuadPart;
    return known;
}

bool os_is_directory(const char *path)
{
    HANDLE h = open_path(path, FILE_READ_ATTRIBUTES);
    BY_HANDLE_FILE_INFORMATION info;
    bool is;

    if (h == INVALID_HANDLE_VALUE)
        return false;
    is = GetFileInformationByHandle(h, &info) && (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY);
    (void)CloseHandle(h);
    return is;
}

void os_program(uint64_t process, char name[OS_PROGRAM])
{
    (void)process;
    name[0] = '\0';
}

void os_parent(const char *path, char *parent, size_t n)
{
    const char *name = path; /* the part behind the last separator */

    for (const char *c = path; *c; c++) {
        if (*c == '\\' || *c == '/' || (*c == ':' && c == path + 1))
            name = c + 1;
    }
    if (name == path) {
        (void)snprintf(parent, n, ".");
        return;
    }
    /* Only a root keeps its separator: "\\", "C:\\" and "\\\\?\\Volume{...}\\". */
    if (name - path > 1 && name[-1] != ':' && name[-2] != ':' && name[-2] != '}')
        name--;
    (void)snprintf(parent, n, "%.*s", (int)(name - path), path);
}

bool os_volume(const char *path, struct os_volume *volume)
{
    wchar_t root[MAX_PATH + 1], type[sizeof(volume->type)];
    wchar_t *name = win32_path(path);
    ULARGE_INTEGER available;
    DWORD flags = 0;
    bool known;

    memset(volume, 0, sizeof(*volume));
    known = name && GetVolumePathNameW(name, root, MAX_PATH + 1) &&
            GetDiskFreeSpaceExW(root, &available, NULL, NULL);
    free(name);
    if (!known)
        return false;
    volume->free = available.QuadPart;
    volume->in_memory = GetDriveTypeW(root) == DRIVE_RAMDISK;
    if (GetVolumeInformationW(root, NULL, 0, NULL, NULL, &flags, type,
                              (DWORD)(sizeof(type) / sizeof(type[0])))) {
        volume->read_only = (flags & FILE_READ_ONLY_VOLUME) != 0;
        (void)WideCharToMultiByte(CP_UTF8, 0, type, -1, volume->type, sizeof(volume->type), NULL,
                                  NULL);
    }
    return true;
}

const char *os_error_text(int error)
{
    static char text[512];
    wchar_t wide[256];
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                             (DWORD)error, 0, wide, sizeof(wide) / sizeof(wide[0]) - 1, NULL);

    while (n > 0 && (wide[n - 1] == L'\r' || wide[n - 1] == L'\n' || wide[n - 1] == L'.' ||
                     wide[n - 1] == L' '))
        n--;
    wide[n] = 0;
    if (error == ERROR_DIRECTORY)
        (void)snprintf(text, sizeof(text), "is a directory");
    else if (n == 0 || !WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof(text), NULL, NULL))
        (void)snprintf(text, sizeof(text), "error %d of the system", error);
    return text;
}

void *os_alloc_pages(size_t bytes)
{
    return _aligned_malloc(bytes, 4096);
}

void os_free_pages(void *p)
{
    _aligned_free(p);
}

/* ---- For measuring ------------------------------------------------------------------------- */

int os_map_file(const char *path, uint64_t bytes, bool make, void **base)
{
    wchar_t *name = win32_path(path);
    HANDLE file = INVALID_HANDLE_VALUE, mapping = NULL;
    int error = 0;

    *base = NULL;
    if (name)
        file = CreateFileW(name, GENERIC_READ | GENERIC_WRITE | DELETE,
                           FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           make ? CREATE_NEW : OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file != INVALID_HANDLE_VALUE)
        mapping = CreateFileMappingW(file, NULL, PAGE_READWRITE, (DWORD)(bytes >> 32), (DWORD)bytes,
                                     NULL);
    if (mapping)
        *base = MapViewOfFile(mapping, FILE_MAP_ALL_ACCESS, 0, 0, (SIZE_T)bytes);
    if (!*base)
        error = (int)GetLastError();
    if (mapping)
        (void)CloseHandle(mapping); /* the view keeps the mapping */
    if (file != INVALID_HANDLE_VALUE)
        (void)CloseHandle(file);
    if (error && make && file != INVALID_HANDLE_VALUE)
        (void)DeleteFileW(name);
    free(name);
    return error;
}

void os_unmap(void *base, uint64_t bytes)
{
    (void)bytes;
    (void)UnmapViewOfFile(base);
}

uint64_t os_thread_time(void)
{
    LARGE_INTEGER now, frequency; /* thread times move in steps of 16 ms here */

    (void)QueryPerformanceCounter(&now);
    (void)QueryPerformanceFrequency(&frequency);
    return (uint64_t)((double)now.QuadPart * 1e9 / (double)frequency.QuadPart);
}

uint64_t os_wall_time(void)
{
    const uint64_t from_1601_to_1970 = UINT64_C(116444736000000000); /* in units of 100 ns */
    FILETIME t;

    GetSystemTimeAsFileTime(&t);
    return (((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime) - from_1601_to_1970) * 100;
}

struct worker {
    void (*fn)(void *ctx, unsigned i);
    void *ctx;
    unsigned i;
};

static DWORD WINAPI work(void *p)
{
    struct worker *w = p;

    w->fn(w->ctx, w->i);
    return 0;
}

int os_run_threads(unsigned n, void (*fn)(void *ctx, unsigned i), void *ctx)
{
    HANDLE thread[OS_THREADS_MAX];
    struct worker w[OS_THREADS_MAX];
    unsigned started = 0;
    int error = 0;

    while (started < n && started < OS_THREADS_MAX && error == 0) {
        w[started] = (struct worker){ fn, ctx, started };
        thread[started] = CreateThread(NULL, 0, work, &w[started], 0, NULL);
        if (thread[started])
            started++;
        else
            error = (int)GetLastError();
    }
    for (unsigned i = 0; i < started; i++) {
        (void)WaitForSingleObject(thread[i], INFINITE);
        (void)CloseHandle(thread[i]);
    }
    return error;
}

static void cache_sizes(uint64_t cache[3])
{
    DWORD bytes = 0;
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION *info;

    (void)GetLogicalProcessorInformation(NULL, &bytes);
    info = malloc(bytes);
    if (info && GetLogicalProcessorInformation(info, &bytes)) {
        for (DWORD i = 0; i < bytes / sizeof(*info); i++) {
            const CACHE_DESCRIPTOR *c = &info[i].Cache;
            if (info[i].Relationship == RelationCache && c->Type != CacheInstruction &&
                c->Level >= 1 && c->Level <= 3)
                cache[c->Level - 1] = c->Size;
        }
    }
    free(info);
}

void os_describe_machine(struct os_machine *m)
{
    MEMORYSTATUSEX memory = { .dwLength = sizeof(memory) };
    SYSTEM_INFO info;
    DWORD n = sizeof(m->cpu) - 1;

    memset(m, 0, sizeof(*m));
    (void)RegGetValueA(HKEY_LOCAL_MACHINE, "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0",
                       "ProcessorNameString", RRF_RT_REG_SZ, NULL, m->cpu, &n);
    (void)snprintf(m->system, sizeof(m->system), "Windows");
    GetSystemInfo(&info);
    m->processors = info.dwNumberOfProcessors;
    cache_sizes(m->cache);
    m->available = GlobalMemoryStatusEx(&memory) ? memory.ullAvailPhys : UINT64_MAX;
    m->load = -1;
}
