/* SPDX-License-Identifier: BSD-2-Clause
 *
 * service_install_win32.c - installs the service of Windows, and takes it away again.
 *
 * Owns: what the service manager knows of the service, and the event source (event_log_win32.c). An
 * installation that fails leaves what was there before: a new service is deleted again, and an
 * older one gets its new command line as the last step.
 *
 * Who: service_win32.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <aclapi.h>

#include "event_log_win32.h"
#include "owner_win32.h"
#include "pipe_files.h"
#include "run.h"
#include "say.h"
#include "service_scm_win32.h"
#include "service_win32.h"
#include "text_win32.h"

#define DISPLAY_NAME L"cachemax cache manager"
#define GONE_MS 10000 /* a deleted service goes within, unless a program has it open */

/* ---- What the service is to be --------------------------------------------------------------- */

/* "PROGRAM" run-service "FILE", both as full paths. The caller frees it. */
static wchar_t *command_line(const wchar_t *program, const wchar_t *file)
{
    static const wchar_t form[] = L"\"%ls\" run-service \"%ls\"";
    const size_t n = wcslen(form) + wcslen(program) + wcslen(file) + 1;
    wchar_t *line = malloc(n * sizeof(*line));

    if (line)
        (void)swprintf(line, n, form, program, file);
    return line;
}

struct setting {
    DWORD level;
    const void *value;
    const char *what;
};

/* Some service managers (Wine's) know only some of the levels, and say so in either way. */
static bool is_unknown(DWORD error)
{
    return error == ERROR_INVALID_LEVEL || error == ERROR_SUCCESS;
}

static int set_all(SC_HANDLE service, const struct setting *s, size_t n)
{
    char what[128];

    for (size_t i = 0; i < n; i++) {
        SetLastError(ERROR_SUCCESS);
        if (ChangeServiceConfig2W(service, s[i].level, (void *)(uintptr_t)s[i].value))
            continue;
        if (is_unknown(GetLastError())) {
            say(stdout, "note: this system does not know %s", s[i].what);
            continue;
        }
        snprintf(what, sizeof(what), "the service manager does not take %s", s[i].what);
        return scm_failed(what, GetLastError());
    }
    return 0;
}

static int configure(SC_HANDLE service)
{
    static wchar_t about[] = L"Owns a cachemax pool and serves the programs that read through it.";
    /* Of all privileges of the account: to cross directories, as every program may, and to share
     * memory with clients of all sessions (ring_win32.c). */
    static wchar_t rights[] = L"SeChangeNotifyPrivilege\0SeCreateGlobalPrivilege\0";
    static SC_ACTION restart[] = { { SC_ACTION_RESTART, 1000 },
                                   { SC_ACTION_RESTART, 5000 },
                                   { SC_ACTION_RESTART, 30000 } };
    const SERVICE_DESCRIPTIONW description = { about };
    const SERVICE_FAILURE_ACTIONSW actions = { .dwResetPeriod = 24 * 60 * 60,
                                               .cActions = 3,
                                               .lpsaActions = restart };
    const SERVICE_FAILURE_ACTIONS_FLAG also_errors = { TRUE };
    const SERVICE_DELAYED_AUTO_START_INFO delayed = { TRUE };
    const SERVICE_SID_INFO sid = { SERVICE_SID_TYPE_UNRESTRICTED };
    const SERVICE_REQUIRED_PRIVILEGES_INFOW privileges = { rights };
    const SERVICE_PRESHUTDOWN_INFO preshutdown = { 120000 };
    const struct setting s[] = {
        { SERVICE_CONFIG_DESCRIPTION, &description, "a description" },
        { SERVICE_CONFIG_FAILURE_ACTIONS, &actions, "a restart after a failure" },
        { SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &also_errors, "a restart after an error" },
        { SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &delayed, "a delayed start" },
        { SERVICE_CONFIG_SERVICE_SID_INFO, &sid, "a SID of the service" },
        { SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, &privileges, "a list of privileges" },
        { SERVICE_CONFIG_PRESHUTDOWN_INFO, &preshutdown, "a time to end before the system does" },
    };

    return set_all(service, s, sizeof(s) / sizeof(s[0]));
}

/* ---- install --------------------------------------------------------------------------------- */

static int install_source(const wchar_t *program)
{
    const DWORD e = event_log_install(program);

    return e == 0 ? 0 : scm_failed("the event source in the registry", e);
}

static int install_new(struct scm *m, const wchar_t *program, const wchar_t *line)
{
    int status;

    m->service = CreateServiceW(m->manager, SERVICE_NAME, DISPLAY_NAME,
                                SERVICE_CHANGE_CONFIG | DELETE | SERVICE_SCM_CONTROL,
                                SERVICE_WIN32_OWN_PROCESS, SERVICE_AUTO_START, SERVICE_ERROR_NORMAL,
                                line, NULL, NULL, NULL, NULL, NULL);
    if (!m->service)
        return scm_failed("the service cannot be installed", GetLastError());
    status = install_source(program);
    if (status == 0) {
        status = configure(m->service);
        if (status != 0)
            (void)event_log_uninstall();
    }
    if (status != 0 && !DeleteService(m->service))
        (void)scm_failed("the service stays, half installed", GetLastError());
    return status;
}

static int install_again(struct scm *m, const wchar_t *program, const wchar_t *line)
{
    int status = install_source(program);

    if (status == 0)
        status = configure(m->service);
    if (status == 0 && !ChangeServiceConfigW(m->service, SERVICE_WIN32_OWN_PROCESS,
                                             SERVICE_AUTO_START, SERVICE_ERROR_NORMAL, line, NULL,
                                             NULL, NULL, NULL, NULL, DISPLAY_NAME))
        status = scm_failed("the service cannot be changed", GetLastError());
    return status;
}

static int register_service(const wchar_t *program, const wchar_t *file, bool start)
{
    struct scm m;
    int status;
    bool again;
    wchar_t *line;

    if (!scm_open(&m, SC_MANAGER_CREATE_SERVICE, SERVICE_CHANGE_CONFIG | SERVICE_SCM_CONTROL,
                  &status))
        return status;
    again = m.service != NULL;
    line = command_line(program, file);
    if (!line)
        status = scm_failed("the command line", ERROR_NOT_ENOUGH_MEMORY);
    else
        status = again ? install_again(&m, program, line) : install_new(&m, program, line);
    if (status == 0)
        say(stdout,
            again ? SERVICE_NAME_UTF8 " was installed; it has the new configuration%s"
                  : SERVICE_NAME_UTF8 " is installed%s",
            again && !start ? " when it starts the next time" : "");
    if (status == 0 && again && start)
        status = scm_stop(m.service);
    if (status == 0 && start)
        status = scm_start(m.service);
    free(line);
    scm_close(&m);
    return status;
}

/* The service would say the same, where fewer people see it. */
static int check_first(const char *file, struct config *c)
{
    char why[RUN_WHY_ROOM];

    if (!config_read(c, file, why)) {
        say(stderr, "cachemax-service: %s", why);
        return RUN_BAD_USAGE;
    }
    if (!run_pool_is_there(c, why)) {
        say(stderr, "cachemax-service: %s", why);
        return RUN_NO_SERVICE;
    }
    return 0;
}

static bool is_exposed(const wchar_t *path)
{
    PSECURITY_DESCRIPTOR all;
    ACL *list = NULL;
    PSID of = NULL;
    bool exposed;

    if (GetNamedSecurityInfoW(path, SE_FILE_OBJECT,
                              OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &of, NULL,
                              &list, NULL, &all) != ERROR_SUCCESS)
        return false;
    exposed = owner_others_write(list) || owner_is_other(of);
    LocalFree(all);
    return exposed;
}

#define PATH_ROOM 1024

static const char for_programs[] = "the service has the rights of the system. Put it in a "
                                   "directory of C:\\Program Files, and install again";
static const char for_pools[] =
    "who can put another pool there decides what is read. Make a pool in a directory that only "
    "administrators may write, name it in the configuration, and install again";

/* It is a warning: the administrator may trust them. */
static void warn_of_others(const wchar_t *path, const char *why)
{
    wchar_t directory[PATH_ROOM], *last;
    char *name;

    wcscpy(directory, path);
    last = wcsrchr(directory, L'\\');
    if (last)
        last[last > directory && last[-1] == L':'] = 0; /* the separator belongs to "C:\" */
    if (!is_exposed(path) && !is_exposed(directory))
        return;
    name = text_utf8(path);
    say(stderr,
        "cachemax-service: warning: %s: not only administrators may write it or its directory, "
        "and %s",
        name ? name : "this program", why);
    free(name);
}

/* The absolute path. False: there is no room for it. */
static bool full_path(const char *path, wchar_t full[PATH_ROOM])
{
    wchar_t *const given = text_wide(path);
    const DWORD n = given ? GetFullPathNameW(given, PATH_ROOM, full, NULL) : 0;

    free(given);
    return n > 0 && n < PATH_ROOM;
}

int service_install(const char *file, bool start)
{
    wchar_t program[PATH_ROOM], full[PATH_ROOM], pool[PATH_ROOM];
    const DWORD n = GetModuleFileNameW(NULL, program, PATH_ROOM);
    struct config c;
    const int status = check_first(file, &c);

    if (status != 0)
        return status;
    if (n == 0 || n >= PATH_ROOM || !full_path(file, full) || !full_path(c.pool, pool))
        return scm_failed("the paths of this program, the configuration and the pool",
                          ERROR_FILENAME_EXCED_RANGE);
    warn_of_others(program, for_programs);
    warn_of_others(full, for_programs);
    warn_of_others(pool, for_pools);
    return register_service(program, full, start);
}

/* ---- uninstall ------------------------------------------------------------------------------- */

static void wait_until_gone(SC_HANDLE manager)
{
    SC_HANDLE service;

    for (unsigned i = 0; i < GONE_MS / 50; i++) {
        service = OpenServiceW(manager, SERVICE_NAME, SERVICE_QUERY_STATUS);
        if (!service)
            return;
        CloseServiceHandle(service);
        Sleep(50);
    }
    say(stdout, "note: it is gone once the programs that show services are closed (Services, Task "
                "Manager)");
}

/* Stops and deletes the service. *file is the caller's. */
static int unregister(char **file)
{
    struct scm m;
    SC_HANDLE service;
    int status;

    if (!scm_open(&m, 0, DELETE | SERVICE_SCM_CONTROL, &status))
        return status;
    if (!m.service) {
        say(stdout, SERVICE_NAME_UTF8 " is not installed");
        scm_close(&m);
        return 0;
    }
    status = scm_stop(m.service);
    if (status == 0 && !DeleteService(m.service) &&
        GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE)
        status = scm_failed("the service cannot be deleted", GetLastError());
    *file = m.file;
    m.file = NULL;
    service = m.service;
    m.service = NULL;
    CloseServiceHandle(service); /* as long as it is open, the service stays */
    if (status == 0)
        wait_until_gone(m.manager);
    scm_close(&m);
    return status;
}

/* What stays is the user's. `files`: of pipes that somebody has open. */
static void say_what_stays(const char *file, unsigned files)
{
    struct config c;
    char why[RUN_WHY_ROOM];

    if (file && config_read(&c, file, why))
        say(stdout,
            SERVICE_NAME_UTF8 " is uninstalled. What stays is the pool %s and the configuration "
                              "%s",
            c.pool, file);
    else if (file)
        say(stdout,
            SERVICE_NAME_UTF8 " is uninstalled. What stays is its pool; its configuration "
                              "cannot be read: %s",
            why);
    if (files > 0)
        say(stdout,
            "note: below %%ProgramData%% files stay that clients or another service have "
            "open: %u. When they have ended, \"cachemax-service uninstall\" deletes them",
            files);
}

int service_uninstall(void)
{
    char *file = NULL;
    int status = unregister(&file);
    DWORD e = 0;

    if (status == 0)
        e = event_log_uninstall();
    if (e != 0)
        status = scm_failed("the event source in the registry", e);
    if (status == 0)
        say_what_stays(file, pipe_files_delete_unused());
    free(file);
    return status;
}
