/* SPDX-License-Identifier: BSD-2-Clause
 *
 * service_win32.c - the commands for the service manager of Windows: start, stop, status, and what
 * all of them share.
 *
 * Owns: nothing that lasts. Each command prints what it did, or what is wrong and what to do.
 *
 * Who: main_win32.c, service_install_win32.c.
 */
#include "service_win32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "say.h"
#include "service_scm_win32.h"
#include "text_win32.h"

#define WAIT_S 120 /* for a state; opening and closing a large pool takes a while */
#define LOOK_MS 50

const char service_usage[] =
    "       cachemax-service install FILE [--start] | uninstall | start | stop | status\n"
    "install makes the service CacheManager of it, which starts with the system. All but\n"
    "status need an administrator.\n";

/* ---- What all commands share ----------------------------------------------------------------- */

static const char *hint(DWORD error)
{
    switch (error) {
    case ERROR_ACCESS_DENIED:
        return "; run it as administrator";
    case ERROR_SERVICE_MARKED_FOR_DELETE:
        return "; it goes once the programs that show services are closed (Services, Task Manager)";
    case ERROR_SERVICE_DISABLED:
        return "; \"sc.exe config " SERVICE_NAME_UTF8 " start= delayed-auto\" enables it";
    default:
        return "";
    }
}

int scm_failed(const char *what, DWORD error)
{
    say(stderr, "cachemax-service: %s: %s%s", what, text_error(error), hint(error));
    return RUN_NO_SERVICE;
}

static int not_installed(void)
{
    say(stderr, "cachemax-service: " SERVICE_NAME_UTF8
                " is not installed; \"cachemax-service install FILE\" does it");
    return SERVICE_EXIT_NOT_INSTALLED;
}

/* The configuration file of the service; NULL: the service is not one of this program. */
static char *file_of(SC_HANDLE service)
{
    static const char command[] = "\" run-service \"";
    union {
        QUERY_SERVICE_CONFIGW config;
        BYTE room[8192]; /* the most that the system returns */
    } q;
    DWORD needed;
    char *line, *file = NULL;

    if (!QueryServiceConfigW(service, &q.config, sizeof(q), &needed))
        return NULL;
    line = text_utf8(q.config.lpBinaryPathName);
    if (line && strstr(line, command)) {
        file = strdup(strstr(line, command) + sizeof(command) - 1);
        if (file)
            file[strcspn(file, "\"")] = 0;
    }
    free(line);
    return file;
}

static int open_service(struct scm *m, DWORD access)
{
    DWORD e;

    m->service = OpenServiceW(m->manager, SERVICE_NAME, SERVICE_QUERY_CONFIG | access);
    e = m->service ? 0 : GetLastError();
    if (e == ERROR_SERVICE_DOES_NOT_EXIST)
        return 0;
    if (e != 0)
        return scm_failed("the service " SERVICE_NAME_UTF8, e);
    m->file = file_of(m->service);
    if (m->file)
        return 0;
    say(stderr, "cachemax-service: there is a service " SERVICE_NAME_UTF8
                " that is not of this program; \"sc.exe qc " SERVICE_NAME_UTF8 "\" shows it");
    return RUN_NO_SERVICE;
}

bool scm_open(struct scm *m, DWORD manager, DWORD service, int *status)
{
    *m = (struct scm){ .manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT | manager) };
    *status =
        m->manager ? open_service(m, service) : scm_failed("the service manager", GetLastError());
    if (*status != 0)
        scm_close(m);
    return *status == 0;
}

void scm_close(struct scm *m)
{
    if (m->service)
        CloseServiceHandle(m->service);
    if (m->manager)
        CloseServiceHandle(m->manager);
    free(m->file);
    *m = (struct scm){ .file = NULL };
}

static bool query(SC_HANDLE service, SERVICE_STATUS_PROCESS *s)
{
    DWORD needed;

    return QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)s, sizeof(*s), &needed);
}

/* Waits until the service is in another state than `from`. */
static bool wait_while(SC_HANDLE service, DWORD from, SERVICE_STATUS_PROCESS *s)
{
    for (unsigned i = 0; query(service, s); i++) {
        if (s->dwCurrentState != from || i == WAIT_S * 1000 / LOOK_MS)
            return true;
        Sleep(LOOK_MS);
    }
    return false;
}

/* Why it ended, as far as the manager knows. `text` begins with a comma. */
static void how_it_ended(const SERVICE_STATUS_PROCESS *s, char *text, size_t n)
{
    text[0] = 0;
    if (s->dwWin32ExitCode == ERROR_SERVICE_SPECIFIC_ERROR)
        snprintf(text, n, ", it ended with status %lu", s->dwServiceSpecificExitCode);
    else if (s->dwWin32ExitCode != NO_ERROR && s->dwWin32ExitCode != ERROR_SERVICE_NEVER_STARTED)
        snprintf(text, n, ", it ended with: %s", text_error(s->dwWin32ExitCode));
}

/* ---- start ----------------------------------------------------------------------------------- */

/* After an error of StartServiceW: it ended before it had answered the manager. */
static bool ended_at_once(DWORD e)
{
    return e == ERROR_SERVICE_REQUEST_TIMEOUT || e == ERROR_PROCESS_ABORTED;
}

/* After an error of StartServiceW: the manager's answer was lost, so it may have begun. */
static bool answer_lost(DWORD e)
{
    return e == ERROR_INTERNAL_ERROR ||
           (e >= RPC_S_INVALID_STRING_BINDING && e <= RPC_X_BAD_STUB_DATA);
}

/* `e`: what StartServiceW said. */
static int started(const SERVICE_STATUS_PROCESS *s, DWORD e)
{
    char how[600];

    if (s->dwCurrentState == SERVICE_RUNNING) {
        say(stdout, SERVICE_NAME_UTF8 " runs, process %lu", s->dwProcessId);
        return 0;
    }
    if (s->dwCurrentState == SERVICE_START_PENDING) {
        say(stderr,
            "cachemax-service: " SERVICE_NAME_UTF8 " has begun, and its pool is not open after "
            "%d s; \"cachemax-service status\" says when it runs",
            WAIT_S);
        return RUN_NO_SERVICE;
    }
    how_it_ended(s, how, sizeof(how));
    say(stderr,
        "cachemax-service: " SERVICE_NAME_UTF8 " did not start%s%s%s. Its log says why: Event "
        "Viewer, Windows Logs, Application, source " SERVICE_NAME_UTF8 "; or: wevtutil qe "
        "Application /c:5 /rd:true /f:text /q:\"*[System[Provider[@Name='" SERVICE_NAME_UTF8
        "']]]\"",
        answer_lost(e) ? ": " : "", answer_lost(e) ? text_error(e) : "", how);
    return RUN_NO_SERVICE;
}

int scm_start(SC_HANDLE service)
{
    SERVICE_STATUS_PROCESS s;
    DWORD e = 0;

    /* One that ends now cannot be started yet. */
    if (!wait_while(service, SERVICE_STOP_PENDING, &s))
        return scm_failed("its state", GetLastError());
    if (!StartServiceW(service, 0, NULL))
        e = GetLastError();
    if (e != 0 && e != ERROR_SERVICE_ALREADY_RUNNING && !ended_at_once(e) && !answer_lost(e))
        return scm_failed("it cannot be started", e);
    if (!wait_while(service, SERVICE_START_PENDING, &s))
        return scm_failed("its state", GetLastError());
    return started(&s, e);
}

/* ---- stop ------------------------------------------------------------------------------------ */

int scm_stop(SC_HANDLE service)
{
    SERVICE_STATUS_PROCESS s;
    SERVICE_STATUS told;

    /* One that begins takes no controls. */
    if (!wait_while(service, SERVICE_START_PENDING, &s))
        return scm_failed("its state", GetLastError());
    if (s.dwCurrentState == SERVICE_RUNNING &&
        !ControlService(service, SERVICE_CONTROL_STOP, &told) &&
        GetLastError() != ERROR_SERVICE_NOT_ACTIVE &&
        GetLastError() != ERROR_SERVICE_CANNOT_ACCEPT_CTRL)
        return scm_failed("it cannot be stopped", GetLastError());
    /* It goes from running to "ends" before the control has returned. */
    if (!wait_while(service, SERVICE_RUNNING, &s) || !wait_while(service, SERVICE_STOP_PENDING, &s))
        return scm_failed("its state", GetLastError());
    if (s.dwCurrentState == SERVICE_STOPPED) {
        say(stdout, SERVICE_NAME_UTF8 " is stopped");
        return 0;
    }
    say(stderr,
        "cachemax-service: " SERVICE_NAME_UTF8 " has not ended after %d s; \"cachemax-service "
        "status\" says when it has",
        WAIT_S);
    return RUN_NO_SERVICE;
}

/* ---- status ---------------------------------------------------------------------------------- */

static int print_status(const struct scm *m)
{
    SERVICE_STATUS_PROCESS s;
    char how[600] = "";

    if (!query(m->service, &s))
        return scm_failed("its state", GetLastError());
    if (s.dwCurrentState == SERVICE_RUNNING)
        snprintf(how, sizeof(how), ", process %lu", s.dwProcessId);
    if (s.dwCurrentState == SERVICE_STOPPED)
        how_it_ended(&s, how, sizeof(how));
    say(stdout, SERVICE_NAME_UTF8 " %s%s, %s",
        s.dwCurrentState == SERVICE_RUNNING         ? "runs"
        : s.dwCurrentState == SERVICE_START_PENDING ? "starts"
        : s.dwCurrentState == SERVICE_STOP_PENDING  ? "stops"
                                                    : "is stopped",
        how, m->file);
    return s.dwCurrentState == SERVICE_RUNNING ? 0 : SERVICE_EXIT_STOPPED;
}

/* ---- The commands ---------------------------------------------------------------------------- */

static int status_command(void)
{
    struct scm m;
    int status;

    if (!scm_open(&m, 0, SERVICE_QUERY_STATUS, &status))
        return status;
    if (m.service) {
        status = print_status(&m);
    } else {
        say(stdout, SERVICE_NAME_UTF8 " is not installed");
        status = SERVICE_EXIT_NOT_INSTALLED;
    }
    scm_close(&m);
    return status;
}

static int control_command(int (*act)(SC_HANDLE service))
{
    struct scm m;
    int status;

    if (!scm_open(&m, 0, SERVICE_SCM_CONTROL, &status))
        return status;
    status = m.service ? act(m.service) : not_installed();
    scm_close(&m);
    return status;
}

int service_command(int n, char **arg, bool (*has_ended)(uint32_t process))
{
    const char *const name = n > 0 ? arg[0] : "";
    const bool start = n == 3 && strcmp(arg[2], "--start") == 0;

    if (strcmp(name, "install") == 0 && (n == 2 || start) && arg[1][0] != '-')
        return service_install(arg[1], start);
    if (strcmp(name, "install") == 0 && (n == 1 || arg[1][0] == '-')) {
        say(stderr, "cachemax-service: install needs the configuration: "
                    "cachemax-service install FILE [--start]");
        return RUN_BAD_USAGE;
    }
    if (strcmp(name, "run-service") == 0 && n == 2)
        return service_run(arg[1], has_ended);
    if (n != 1)
        return -1;
    if (strcmp(name, "uninstall") == 0)
        return service_uninstall();
    if (strcmp(name, "start") == 0)
        return control_command(scm_start);
    if (strcmp(name, "stop") == 0)
        return control_command(scm_stop);
    return strcmp(name, "status") == 0 ? status_command() : -1;
}
