/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pipe_files.h - on Windows: the files that belong to a pipe's name.
 */
#ifndef CACHEMAX_PIPE_FILES_H
#define CACHEMAX_PIPE_FILES_H

#include "owner_win32.h"

/* Opens or makes the file for the pipe \\.\pipe\NAME: NAME and `ending`, in the owner's
 * directory below the folder that Windows has for the data of programs (C:\ProgramData). `share`:
 * as for CreateFile. INVALID_HANDLE_VALUE: *why says what is wrong, with the file's name; the last
 * error is ERROR_SHARING_VIOLATION if another process has the file. */
HANDLE pipe_file_open(const char *where, const char *ending, DWORD share, char why[256]);

/* Deletes the files of all pipes of this owner that no process has open, and the directory if it is
 * empty then. Nobody misses them: they are made again. Returns how many stay. */
unsigned pipe_files_delete_unused(void);

#endif
