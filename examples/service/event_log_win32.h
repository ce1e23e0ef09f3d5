/* SPDX-License-Identifier: BSD-2-Clause
 *
 * event_log_win32.h - the log of the service in the event log of Windows.
 */
#ifndef CACHEMAX_EVENT_LOG_WIN32_H
#define CACHEMAX_EVENT_LOG_WIN32_H

#include <wchar.h>

#include "server.h"

/* Writes lines from now on, until the process ends. If the system refuses, they are lost. */
void event_log_begin(void);
/* A line; from any thread. */
void event_log_line(enum log_weight w, const char *text);

/* Tells the system who has the texts of our events: `program`, this one. Replaces what was there.
 * 0, or the error of the system: nothing is left then. */
unsigned long event_log_install(const wchar_t *program);
/* Takes that back. 0 also if it was not there. */
unsigned long event_log_uninstall(void);

#endif
