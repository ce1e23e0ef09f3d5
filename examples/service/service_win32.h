/* SPDX-License-Identifier: BSD-2-Clause
 *
 * service_win32.h - cachemax-service as a service of Windows.
 */
#ifndef CACHEMAX_SERVICE_WIN32_H
#define CACHEMAX_SERVICE_WIN32_H

#include <stdbool.h>
#include <stdint.h>

/* Of the service, and of its events. */
#define SERVICE_NAME L"CacheManager"
#define SERVICE_NAME_UTF8 "CacheManager"

/* Exit statuses of "status", beside those of run.h. */
#define SERVICE_EXIT_STOPPED 3
#define SERVICE_EXIT_NOT_INSTALLED 4

/* Lines about the commands, for people. */
extern const char service_usage[];

/* Does what the command line asks of the system's service manager. `arg` is in UTF-8, without the
 * program's name. Returns the exit status; -1: it is none of these commands. Say why to the
 * standard error. */
int service_command(int n, char **arg, bool (*has_ended)(uint32_t process));

/* "run-service FILE": is the service. Returns when it has ended. */
int service_run(const char *file, bool (*has_ended)(uint32_t process));

#endif
