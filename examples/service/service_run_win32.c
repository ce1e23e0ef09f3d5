/* SPDX-License-Identifier: BSD-2-Clause
 *
 * service_run_win32.c - what the service manager of Windows starts: "run-service FILE".
 *
 * Owns: the state that the manager is told. The manager calls service_main() in a thread of its
 * own, which serves until the end, and on_control() in the main thread. A third thread tells the
 * manager once a second that an opening or closing pool still goes on. All three change the state
 * under its lock, so that what is told goes one way only: starts, runs, stops, is stopped.
 *
 * Who: service_win32.c.
 */
#include <stdio.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "event_log_win32.h"
#include "run.h"
#include "say.h"
#include "service_win32.h"
#include "text_win32.h"

#define TELL_MS 1000      /* between two signs of life */
#define PATIENCE_MS 30000 /* how long the manager may wait for the next one */

static struct state {
    const char *file;
    bool (*has_ended)(uint32_t process);
    SERVICE_STATUS_HANDLE manager;
    os_mutex lock; /* state, why */
    SERVICE_STATUS state;
    const char *why; /* the service has to end */
    HANDLE end;      /* it has to */
    HANDLE stopped;  /* it has */
    int status;
} service;

/* The lock is held. */
static void tell(DWORD state)
{
    const bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    SERVICE_STATUS *s = &service.state;

    s->dwServiceType = SERVICE_WIN32_OWN_PROCESS;
    s->dwCheckPoint = pending ? s->dwCurrentState == state ? s->dwCheckPoint + 1 : 1 : 0;
    s->dwWaitHint = pending ? PATIENCE_MS : 0;
    s->dwControlsAccepted =
        state == SERVICE_RUNNING
            ? SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PRESHUTDOWN
            : 0;
    s->dwCurrentState = state;
    (void)SetServiceStatus(service.manager, s);
}

/* From one state to another, unless the service is not in the first one any more. */
static void go(DWORD from, DWORD to)
{
    os_lock(&service.lock);
    if (service.state.dwCurrentState == from)
        tell(to);
    os_unlock(&service.lock);
}

static void tell_stopped(int status)
{
    os_lock(&service.lock);
    service.status = status;
    service.state.dwWin32ExitCode = status == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    service.state.dwServiceSpecificExitCode = (DWORD)status;
    tell(SERVICE_STOPPED);
    os_unlock(&service.lock);
}

/* ---- What the manager asks ------------------------------------------------------------------- */

static DWORD WINAPI on_control(DWORD control, DWORD event, void *data, void *context)
{
    (void)event, (void)data, (void)context;
    if (control == SERVICE_CONTROL_INTERROGATE)
        return NO_ERROR;
    if (control != SERVICE_CONTROL_STOP && control != SERVICE_CONTROL_SHUTDOWN &&
        control != SERVICE_CONTROL_PRESHUTDOWN)
        return ERROR_CALL_NOT_IMPLEMENTED;
    os_lock(&service.lock);
    if (!service.why)
        service.why =
            control == SERVICE_CONTROL_STOP ? "it was told to stop" : "the system shuts down";
    os_unlock(&service.lock);
    go(SERVICE_RUNNING, SERVICE_STOP_PENDING);
    (void)SetEvent(service.end);
    return NO_ERROR;
}

/* ---- The thread that tells that something goes on ----------------------------------------------
 */

static void tell_life(void *arg)
{
    (void)arg;
    while (WaitForSingleObject(service.stopped, TELL_MS) == WAIT_TIMEOUT) {
        go(SERVICE_START_PENDING, SERVICE_START_PENDING);
        go(SERVICE_STOP_PENDING, SERVICE_STOP_PENDING);
    }
}

/* ---- The thread that serves ------------------------------------------------------------------ */

static void ready(void)
{
    go(SERVICE_START_PENDING, SERVICE_RUNNING);
}

static const char *wait_second(void)
{
    const char *why = NULL;

    if (WaitForSingleObject(service.end, 1000) == WAIT_OBJECT_0) {
        os_lock(&service.lock);
        why = service.why;
        os_unlock(&service.lock);
    }
    return why;
}

static int serve(void)
{
    struct config c;
    const struct run r = { &c,   event_log_line, ready, wait_second, service.has_ended,
                           NULL, NULL,           NULL };
    struct os_thread life;
    char why[512];
    int status;

    if (!config_read(&c, service.file, why)) {
        event_log_line(LOG_TROUBLE, why);
        return RUN_BAD_USAGE;
    }
    if (!os_thread_begin(&life, tell_life, NULL)) {
        event_log_line(LOG_TROUBLE, "there is no memory for a thread");
        return RUN_NO_SERVICE;
    }
    status = run(&r);
    (void)SetEvent(service.stopped);
    os_thread_join(&life);
    return status;
}

static void WINAPI service_main(DWORD argc, wchar_t **argv)
{
    (void)argc, (void)argv;
    event_log_begin();
    service.manager = RegisterServiceCtrlHandlerExW(SERVICE_NAME, on_control, NULL);
    if (!service.manager) {
        event_log_line(LOG_TROUBLE, text_error(GetLastError()));
        return; /* the manager sees that the process ends */
    }
    service.end = CreateEventW(NULL, TRUE, FALSE, NULL);
    service.stopped = CreateEventW(NULL, TRUE, FALSE, NULL);
    os_lock(&service.lock);
    tell(SERVICE_START_PENDING);
    os_unlock(&service.lock);
    if (service.end && service.stopped) {
        tell_stopped(serve());
    } else {
        event_log_line(LOG_TROUBLE, "there is no memory for an event");
        tell_stopped(RUN_NO_SERVICE);
    }
    /* The process ends now. */
}

int service_run(const char *file, bool (*has_ended)(uint32_t process))
{
    static wchar_t name[] = SERVICE_NAME;
    const SERVICE_TABLE_ENTRYW table[] = { { name, service_main }, { NULL, NULL } };
    DWORD e;

    service = (struct state){ .file = file, .has_ended = has_ended, .status = RUN_NO_SERVICE };
    os_mutex_begin(&service.lock);
    if (StartServiceCtrlDispatcherW(table))
        return service.status;
    e = GetLastError();
    if (e == ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
        say(stderr, "cachemax-service: run-service is for the service manager of Windows. "
                    "\"cachemax-service install FILE --start\" makes it run the service; "
                    "\"cachemax-service FILE\" serves here.");
        return RUN_BAD_USAGE;
    }
    say(stderr, "cachemax-service: the service manager cannot be reached: %s", text_error(e));
    return RUN_NO_SERVICE;
}
