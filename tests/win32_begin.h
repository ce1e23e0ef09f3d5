/* SPDX-License-Identifier: BSD-2-Clause
 *
 * win32_begin.h - begins a process on Windows.
 */
#ifndef CM_TESTS_WIN32_BEGIN_H
#define CM_TESTS_WIN32_BEGIN_H

#include <stdbool.h>

#include <windows.h>

/* `line` is changed. Wine on a busy machine now and then cannot begin a process, and says
 * ERROR_INTERNAL_ERROR: then it is tried again. */
static inline bool win32_begin(char *line, STARTUPINFOA *start, PROCESS_INFORMATION *child)
{
    for (unsigned tries = 0;; tries++) {
        if (CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, start, child))
            return true;
        if (GetLastError() != ERROR_INTERNAL_ERROR || tries == 3)
            return false;
        Sleep(100);
    }
}

#endif
