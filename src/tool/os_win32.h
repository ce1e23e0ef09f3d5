/* SPDX-License-Identifier: BSD-2-Clause
 *
 * os_win32.h - what the os_win32*.c files share among themselves.
 */
#ifndef CM_TOOL_OS_WIN32_H
#define CM_TOOL_OS_WIN32_H

/* The HANDLE of an event that is set while os_interrupted(); NULL before os_catch_interrupts(). */
void *os_win32_interrupt(void);

#endif
