/* SPDX-License-Identifier: BSD-2-Clause
 *
 * console.c - what a program does to the console it runs in, for tool-win32.sh.
 *
 *     console RESULT INTERRUPTS PROGRAM [ARG...]
 *
 * Gives the console an unusual code page and mode, runs PROGRAM in it, presses Ctrl-C so many times
 * once the console shows that it has begun (the code page is another), and writes to the file
 * RESULT its exit status and whether the console is as it was before.
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../win32_begin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 850u
#define PATIENCE_MS 60000
#ifndef ENABLE_VIRTUAL_TERMINAL_PROCESSING
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 4
#endif

static BOOL WINAPI survive(DWORD kind)
{
    (void)kind;
    return TRUE;
}

static int usage(void)
{
    printf("usage: console RESULT INTERRUPTS PROGRAM [ARG...], with a console\n");
    return 2;
}

static int report(const char *path, DWORD status, const char *mode)
{
    FILE *f = fopen(path, "wb");

    if (f == NULL) {
        return 1;
    }
    (void)fprintf(f, "status %lx, page %u, mode %s\n", (unsigned long)status, GetConsoleOutputCP(),
                  mode);
    return fclose(f) != 0;
}

int main(int argc, char **argv)
{
    const HANDLE out =
        CreateFileA("CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                    NULL, OPEN_EXISTING, 0, NULL);
    STARTUPINFOA start = { .cb = sizeof start };
    PROCESS_INFORMATION child;
    DWORD before = 0, after = 0, status = 0;
    char line[2000] = "";

    if (argc < 4 || out == INVALID_HANDLE_VALUE || !GetConsoleMode(out, &before)) {
        return usage();
    }
    before &= ~(DWORD)ENABLE_VIRTUAL_TERMINAL_PROCESSING;
    for (int i = 3; i < argc && strlen(line) + strlen(argv[i]) + 4 < sizeof line; i++) {
        (void)strcat(strcat(strcat(line, i == 3 ? "\"" : " \""), argv[i]), "\"");
    }
    if (!SetConsoleMode(out, before) || !SetConsoleOutputCP(PAGE) ||
        !SetConsoleCtrlHandler(survive, TRUE) || !win32_begin(line, &start, &child)) {
        return usage();
    }
    for (int n = 0; n < 1000 && GetConsoleOutputCP() == PAGE; n++) {
        Sleep(1);
    }
    Sleep(50);
    for (int i = atoi(argv[2]); i > 0; i--) {
        (void)GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
        Sleep(5);
    }
    if (WaitForSingleObject(child.hProcess, PATIENCE_MS) != WAIT_OBJECT_0) {
        (void)TerminateProcess(child.hProcess, 1);
    }
    (void)GetExitCodeProcess(child.hProcess, &status);
    (void)GetConsoleMode(out, &after);
    return report(argv[1], status, after == before ? "restored" : "changed");
}
