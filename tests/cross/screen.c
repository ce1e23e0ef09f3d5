/* SPDX-License-Identifier: BSD-2-Clause
 *
 * screen.c - a program that fills the console, and what becomes of the console, for tool-win32.sh.
 *
 *     screen RESULT HOW TEXT PROGRAM [ARG...]
 *
 * Runs PROGRAM in this console and waits until the console shows TEXT. HOW is a row of letters: "s"
 * makes the window smaller, erases what it shows, and waits for TEXT again; "c" presses Ctrl-C;
 * another letter presses that key. Then PROGRAM has to end. Writes to the file RESULT what was
 * seen, its exit status, and whether the console is as it was before.
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../win32_begin.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 850u
#define PATIENCE_MS 30000u
#define SLICE_MS 20
#ifndef ENABLE_VIRTUAL_TERMINAL_PROCESSING
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 4
#endif

static HANDLE in, out;

static BOOL WINAPI survive(DWORD kind)
{
    (void)kind;
    return TRUE;
}

static HANDLE console(const char *name)
{
    return CreateFileA(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                       OPEN_EXISTING, 0, NULL);
}

static bool shows(const char *text)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    char row[1001];

    if (!GetConsoleScreenBufferInfo(out, &info)) {
        return false;
    }
    for (SHORT y = 0; y < info.dwSize.Y; y++) {
        DWORD n = 0;

        (void)ReadConsoleOutputCharacterA(out, row, sizeof row - 1, (COORD){ 0, y }, &n);
        row[n < (DWORD)info.dwSize.X ? n : (DWORD)info.dwSize.X] = '\0';
        if (strstr(row, text) != NULL) {
            return true;
        }
    }
    return false;
}

static bool waits_for(const char *text)
{
    const ULONGLONG until = GetTickCount64() + PATIENCE_MS;

    while (!shows(text)) {
        if (GetTickCount64() > until) {
            return false;
        }
        Sleep(SLICE_MS);
    }
    return true;
}

static void press(wchar_t key)
{
    INPUT_RECORD r = { .EventType = KEY_EVENT };
    DWORD n;

    r.Event.KeyEvent.wRepeatCount = 1;
    r.Event.KeyEvent.uChar.UnicodeChar = key;
    for (int down = 1; down >= 0; down--) {
        r.Event.KeyEvent.bKeyDown = down;
        (void)WriteConsoleInputW(in, &r, 1, &n);
    }
}

static bool shrink(const char *text)
{
    const SMALL_RECT window = { 0, 0, 59, 17 };
    CONSOLE_SCREEN_BUFFER_INFO info;
    DWORD n;

    if (!GetConsoleScreenBufferInfo(out, &info)) {
        return false;
    }
    (void)FillConsoleOutputCharacterA(out, ' ', (DWORD)info.dwSize.X * (DWORD)info.dwSize.Y,
                                      (COORD){ 0, 0 }, &n);
    return SetConsoleWindowInfo(out, TRUE, &window) && waits_for(text);
}

static bool act(const char *how, const char *text)
{
    bool well = waits_for(text);

    for (; well && *how != '\0'; how++) {
        if (*how == 's') {
            well = shrink(text);
        } else if (*how == 'c') {
            well = GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0);
        } else {
            press((wchar_t)*how);
        }
    }
    return well;
}

static int usage(void)
{
    printf("usage: screen RESULT HOW TEXT PROGRAM [ARG...], with a console\n");
    return 2;
}

int main(int argc, char **argv)
{
    STARTUPINFOA start = { .cb = sizeof start };
    PROCESS_INFORMATION child;
    DWORD in_before = 0, out_before = 0, in_after = 0, out_after = 0, status = 0;
    char line[2000] = "";
    bool well;
    FILE *f;

    in = console("CONIN$");
    out = console("CONOUT$");
    if (argc < 5 || !GetConsoleMode(in, &in_before) || !GetConsoleMode(out, &out_before)) {
        return usage();
    }
    out_before &= ~(DWORD)ENABLE_VIRTUAL_TERMINAL_PROCESSING;
    for (int i = 4; i < argc && strlen(line) + strlen(argv[i]) + 4 < sizeof line; i++) {
        (void)strcat(strcat(strcat(line, i == 4 ? "\"" : " \""), argv[i]), "\"");
    }
    if (!SetConsoleMode(out, out_before) || !SetConsoleOutputCP(PAGE) ||
        !SetConsoleCtrlHandler(survive, TRUE) || !win32_begin(line, &start, &child)) {
        return usage();
    }
    well = act(argv[2], argv[3]);
    if (!well || WaitForSingleObject(child.hProcess, PATIENCE_MS) != WAIT_OBJECT_0) {
        (void)TerminateProcess(child.hProcess, 1);
    }
    (void)WaitForSingleObject(child.hProcess, PATIENCE_MS);
    (void)GetExitCodeProcess(child.hProcess, &status);
    (void)GetConsoleMode(in, &in_after);
    (void)GetConsoleMode(out, &out_after);
    f = fopen(argv[1], "wb");
    if (f == NULL) {
        return 1;
    }
    (void)fprintf(f, "%s, status %lx, page %u, modes %s\n", well ? "shown" : "not shown",
                  (unsigned long)status, GetConsoleOutputCP(),
                  in_after == in_before && out_after == out_before ? "restored" : "changed");
    return fclose(f) != 0;
}
