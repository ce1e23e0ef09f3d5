/* SPDX-License-Identifier: BSD-2-Clause
 *
 * text_win32.c - texts of Windows, which are UTF-16, and ours, which are UTF-8.
 *
 * Who: service_win32.c, service_run_win32.c, service_install_win32.c, event_log_win32.c.
 */
#include "text_win32.h"

#include <stdio.h>
#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

wchar_t *text_wide(const char *utf8)
{
    const int n = MultiByteToWideChar(CP_UTF8, 0, utf8, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof(*wide)) : NULL;

    if (wide)
        (void)MultiByteToWideChar(CP_UTF8, 0, utf8, -1, wide, n);
    return wide;
}

char *text_utf8(const wchar_t *wide)
{
    const int n = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
    char *utf8 = n > 0 ? malloc((size_t)n) : NULL;

    if (utf8)
        (void)WideCharToMultiByte(CP_UTF8, 0, wide, -1, utf8, n, NULL, NULL);
    return utf8;
}

const char *text_error(unsigned long error)
{
    enum { ROOM = 512 };
    static _Thread_local char text[ROOM + sizeof(" (error 4294967295)")];
    wchar_t wide[256];
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL,
                             error, 0, wide, sizeof(wide) / sizeof(wide[0]) - 1, NULL);

    while (n > 0 && wcschr(L"\r\n. ", wide[n - 1]))
        n--;
    wide[n] = 0;
    if (n == 0 || !WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, ROOM, NULL, NULL))
        snprintf(text, sizeof(text), "error %lu of the system", error);
    else /* the number, too: several errors have one text, and it can be found in any language */
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " (error %lu)", error);
    return text;
}
