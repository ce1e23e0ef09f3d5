/* SPDX-License-Identifier: BSD-2-Clause
 *
 * launch.c - "launch PROGRAM ARGUMENT...": runs a program; each "@" in its arguments is an unpaired
 * surrogate then, which no shell of Linux can pass. Ends with the program's status.
 */
#include <stdio.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <shellapi.h>

int main(void)
{
    wchar_t line[4096];
    STARTUPINFOW start = { .cb = sizeof start };
    PROCESS_INFORMATION process;
    DWORD status = 99;
    int n, used;
    wchar_t **word = CommandLineToArgvW(GetCommandLineW(), &n);

    if (!word || n < 2)
        return 98;
    used = swprintf(line, 4096, L"\"%ls\"", word[1]);
    for (int i = 2; i < n && used > 0; i++) {
        for (wchar_t *c = word[i]; *c; c++)
            *c = *c == L'@' ? (wchar_t)0xd800 : *c;
        if (wcslen(word[i]) + 4 > (size_t)(4096 - used))
            return 97;
        wcscpy(line + used, L" \"");
        wcscat(line, word[i]);
        wcscat(line, L"\"");
        used += (int)wcslen(word[i]) + 3;
    }
    if (!CreateProcessW(word[1], line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
        printf("launch: error %lu\n", GetLastError());
        return 96;
    }
    (void)WaitForSingleObject(process.hProcess, INFINITE);
    (void)GetExitCodeProcess(process.hProcess, &status);
    return (int)status;
}
