/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32_output.c - the part of os.h about files that are written, on Windows.
 *
 * Owns: nothing that lasts.
 *
 * Who: cmd_cat.c, control/cmd_record.c.
 */
#include "tool/os.h"

#include "platform/win32_path.h"

/* Of a pipe or a console there is no such information. */
bool os_is_output(intptr_t file)
{
    const HANDLE to = GetStdHandle(STD_OUTPUT_HANDLE);
    BY_HANDLE_FILE_INFORMATION in, out;

    return GetFileType(to) == FILE_TYPE_DISK && GetFileInformationByHandle((HANDLE)file, &in) &&
           GetFileInformationByHandle(to, &out) &&
           in.dwVolumeSerialNumber == out.dwVolumeSerialNumber &&
           in.nFileIndexHigh == out.nFileIndexHigh && in.nFileIndexLow == out.nFileIndexLow &&
           (in.nFileSizeHigh | in.nFileSizeLow) != 0;
}

int os_begin_lines(const char *path, intptr_t *file)
{
    wchar_t *name = win32_path(path);
    HANDLE h = INVALID_HANDLE_VALUE;
    int error = name ? 0 : ERROR_INVALID_NAME;

    if (name)
        h = CreateFileW(name, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW,
                        FILE_ATTRIBUTE_NORMAL, NULL);
    if (name && h == INVALID_HANDLE_VALUE)
        error = (int)GetLastError();
    free(name);
    *file = (intptr_t)h;
    return error;
}

int os_write_lines(intptr_t file, const char *lines, size_t len)
{
    const LARGE_INTEGER here = { .QuadPart = 0 };
    LARGE_INTEGER begin;
    size_t done = 0;
    int error = 0;

    if (!SetFilePointerEx((HANDLE)file, here, &begin, FILE_CURRENT))
        return (int)GetLastError();
    while (done < len && error == 0) {
        DWORD n = 0;

        if (!WriteFile((HANDLE)file, lines + done, (DWORD)(len - done), &n, NULL))
            error = (int)GetLastError();
        done += n;
    }
    if (error == 0)
        return 0;
    while (done > 0 && lines[done - 1] != '\n')
        done--;
    begin.QuadPart += (LONGLONG)done;
    if (SetFilePointerEx((HANDLE)file, begin, NULL, FILE_BEGIN))
        (void)SetEndOfFile((HANDLE)file);
    return error;
}

int os_end_lines(intptr_t file)
{
    return CloseHandle((HANDLE)file) ? 0 : (int)GetLastError();
}
