/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32_screen.c - the full-screen part of os.h on Windows.
 *
 * Owns the mode of the console's input while a view is shown. os_win32.c has made the console
 * understand escape sequences and UTF-8, and restores that at the end of the process. A wait looks
 * at the input and at the size of the window twenty times a second: a request to end comes in a
 * thread of its own, and not every console tells that its window has another size.
 *
 * Who: cmd_top.c.
 */
#include "tool/os.h"

#include "platform/win32_path.h"

#include <stdio.h>

#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"
#define SLICE 0.05
#ifndef ENABLE_VIRTUAL_TERMINAL_PROCESSING
#define ENABLE_VIRTUAL_TERMINAL_PROCESSING 4
#endif

static DWORD before;
static bool has_keys;                 /* `before` is valid */
static int known_columns, known_rows; /* as os_screen_size() has told them */

bool os_screen_begin(void)
{
    const HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
    DWORD mode;

    if (!GetConsoleMode(GetStdHandle(STD_OUTPUT_HANDLE), &mode) ||
        !(mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING))
        return false;
    has_keys = GetConsoleMode(in, &before) != 0;
    if (has_keys)
        (void)SetConsoleMode(in, ENABLE_PROCESSED_INPUT | ENABLE_WINDOW_INPUT);
    (void)fputs(ENTER, stdout);
    (void)fflush(stdout);
    return true;
}

void os_screen_end(void)
{
    (void)fputs(LEAVE, stdout);
    (void)fflush(stdout);
    if (has_keys)
        (void)SetConsoleMode(GetStdHandle(STD_INPUT_HANDLE), before);
}

/* The next key or change of the window that is there. */
static int take_event(void)
{
    const HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
    INPUT_RECORD r;
    DWORD n = 0;

    while (has_keys && GetNumberOfConsoleInputEvents(in, &n) && n > 0) {
        if (!ReadConsoleInputW(in, &r, 1, &n) || n == 0)
            break;
        if (r.EventType == WINDOW_BUFFER_SIZE_EVENT)
            return OS_KEY_REDRAW;
        if (r.EventType == KEY_EVENT && r.Event.KeyEvent.bKeyDown &&
            r.Event.KeyEvent.uChar.UnicodeChar > 0 && r.Event.KeyEvent.uChar.UnicodeChar < 0x80)
            return (int)r.Event.KeyEvent.uChar.UnicodeChar;
    }
    return OS_KEY_NONE;
}

static void window_size(int *columns, int *rows)
{
    CONSOLE_SCREEN_BUFFER_INFO info;

    *columns = 80;
    *rows = 24;
    if (GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &info)) {
        *columns = info.srWindow.Right - info.srWindow.Left + 1;
        *rows = info.srWindow.Bottom - info.srWindow.Top + 1;
    }
}

int os_wait_key(double seconds)
{
    for (;;) {
        const int key = take_event();
        int columns, rows;

        window_size(&columns, &rows);
        if (key == OS_KEY_NONE && (columns != known_columns || rows != known_rows))
            return OS_KEY_REDRAW;
        if (key != OS_KEY_NONE || os_interrupted() || seconds <= 0)
            return key;
        os_sleep(seconds < SLICE ? seconds : SLICE);
        seconds -= SLICE;
    }
}

void os_screen_size(int *columns, int *rows)
{
    window_size(columns, rows);
    known_columns = *columns;
    known_rows = *rows;
}

bool os_shows_unicode(void)
{
    return GetConsoleOutputCP() == CP_UTF8;
}
