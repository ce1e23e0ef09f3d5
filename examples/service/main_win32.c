/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main_win32.c - cachemax-service on Windows, in a console: owns a pool and serves clients until it
 * has to end. The commands for the service manager are in service_win32.c.
 *
 * It writes its log to the standard error. Ctrl-C, Ctrl-Break, and a window that is closed end a
 * service with a clean pool, and any other command at once.
 */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "driver_rules.h"
#include "say.h"
#include "service_win32.h"
#include "start_win32.h"

static HANDLE ends; /* an event: the service has to end */
static const char *volatile why;

static void log_line(enum log_weight w, const char *text)
{
    (void)w;
    say(stderr, "cachemax-service: %s", text);
}

static void ready(void)
{
}

static const char *wait_second(void)
{
    return WaitForSingleObject(ends, 1000) == WAIT_OBJECT_0 ? why : NULL;
}

static bool has_ended(uint32_t process)
{
    const HANDLE h = OpenProcess(SYNCHRONIZE, FALSE, process);
    bool ended;

    if (!h) /* the system has the process as long as it lives or somebody holds it */
        return GetLastError() == ERROR_INVALID_PARAMETER;
    ended = WaitForSingleObject(h, 0) == WAIT_OBJECT_0;
    CloseHandle(h);
    return ended;
}

/* In a thread of the system's. */
static BOOL WINAPI on_request(DWORD kind)
{
    why = kind == CTRL_C_EVENT       ? "Ctrl-C"
          : kind == CTRL_BREAK_EVENT ? "Ctrl-Break"
          : kind == CTRL_CLOSE_EVENT ? "its window was closed"
                                     : "the user or the system ends all programs";
    (void)SetEvent(ends); /* after `why` was set */
    /* The system ends the process when this returns, and some 5 s after a window was closed in any
     * case. A pool that is not closed by then is as after a kill. */
    if (kind != CTRL_C_EVENT && kind != CTRL_BREAK_EVENT)
        Sleep(INFINITE);
    return TRUE;
}

/* Not before something is served: only that looks at `ends`. */
static void prepare(uint32_t clients)
{
    (void)clients;
    (void)SetConsoleCtrlHandler(on_request, TRUE);
}

static const char *passes_by(const char *path, const char *pool)
{
    const char *const passes = driver_passes_by(path, pool, driver_name_win32);

    return passes ? passes : driver_volume_win32(path);
}

int main(void)
{
    const struct run r = { NULL,      log_line, ready,     wait_second,
                           has_ended, prepare,  passes_by, driver_judge_win32 };
    char **argv;
    int argc, status = start_arguments("cachemax-service", &argc, &argv);

    if (status != 0)
        return status;
    ends = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!ends) {
        log_line(LOG_TROUBLE, "no memory");
        return RUN_NO_SERVICE;
    }
    start_console();
    if (argc == 2 && strcmp(argv[1], "/?") == 0)
        argv[1] = (char *)"--help";
    status = service_command(argc - 1, argv + 1, has_ended);
    if (status >= 0)
        return status;
    return command(argc, argv, &r, service_usage);
}
