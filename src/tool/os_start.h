/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_start.h - the begin of a program: a part of os.h, for other programs than the tool, too.
 */
#ifndef CM_TOOL_OS_START_H
#define CM_TOOL_OS_START_H

/* Prepares the process. Call first. Windows: arguments become UTF-8, output is not translated.
 * POSIX: standard descriptors that are closed get their numbers filled, and a write beyond
 * 'ulimit -f' only fails. (os_posix_start.c) */
void os_start(int *argc, char ***argv);

#endif
