/* SPDX-License-Identifier: BSD-2-Clause
 *
 * start_win32.c - how a program begins on Windows (start_win32.h).
 *
 * Owns: the code page that the console had. Who: objects.c, the main() of cachemax-winfsp and of
 * the service.
 */
#include "start_win32.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>

/* NULL: no memory, or it is not valid Unicode, as the last error says. */
static char *to_utf8(const wchar_t *wide, DWORD flags)
{
    const int n = WideCharToMultiByte(CP_UTF8, flags, wide, -1, NULL, 0, NULL, NULL);
    char *utf8 = n > 0 ? malloc((size_t)n) : NULL;

    if (utf8)
        (void)WideCharToMultiByte(CP_UTF8, flags, wide, -1, utf8, n, NULL, NULL);
    else if (n > 0)
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return utf8;
}

int start_arguments(const char *program, int *argc, char ***argv)
{
    int n = 0;
    wchar_t **const wide = CommandLineToArgvW(GetCommandLineW(), &n);
    char **const args = wide ? calloc((size_t)n + 1, sizeof(*args)) : NULL;
    int i = 0;

    /* The program's own name is only shown. */
    while (args && i < n && (args[i] = to_utf8(wide[i], i > 0 ? WC_ERR_INVALID_CHARS : 0)))
        i++;
    if (args && i == n) {
        *argc = n;
        *argv = args;
        return 0;
    }
    if (!args || GetLastError() != ERROR_NO_UNICODE_TRANSLATION) {
        fprintf(stderr, "%s: no memory for the arguments\n", program);
        return 1;
    }
    fprintf(stderr,
            "%s: argument %d is not valid Unicode (an unpaired surrogate); such a name cannot be "
            "used; rename the file\n",
            program, i);
    return 2;
}

static UINT page; /* of the console as it was */

static void restore_page(void)
{
    (void)SetConsoleOutputCP(page);
}

void start_console(void)
{
    page = GetConsoleOutputCP();
    if (page == 0) /* there is none */
        return;
    (void)atexit(restore_page);
    (void)SetConsoleOutputCP(CP_UTF8);
}

void start_binary(void)
{
    (void)_setmode(0, _O_BINARY);
    (void)_setmode(1, _O_BINARY);
}
