/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_service_win32.c - the service of Windows: what its commands ask of the service manager, the
 * registry and the event log, and what is left if one of these calls fails. Wine's service manager
 * ignores most of it, and its event log all of it. tests/service/scm.sh runs the service under it.
 *
 * The calls of the system are replaced: this program defines the addresses that the linker would
 * take from the system's libraries.
 */
#include "harness.h"

#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <aclapi.h>
#include <sddl.h>

#include "../../examples/service/event_ids.h"
#include "../../examples/service/event_log_win32.h"
#include "../../examples/service/pipe_files.h"
#include "../../examples/service/run.h"
#include "../../examples/service/service_scm_win32.h"
#include "../../examples/service/service_win32.h"

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake

/* ---- A system -------------------------------------------------------------------------------- */

static struct {
    /* What it has. */
    bool service, key, running;
    wchar_t command[512], program[512];
    DWORD types, start_type;
    bool is_set[16];
    SC_ACTION action[8];
    DWORD actions, reset;
    BOOL also_errors, delayed;
    DWORD sid;
    wchar_t rights[200];
    /* What it does. */
    unsigned changes, fail_at; /* the call of this number that changes something fails */
    DWORD error;               /* with this */
    bool no_manager, knows_little;
    const wchar_t *exposed; /* everybody may write it */
} sys;

static bool refuse(void)
{
    if (++sys.changes != sys.fail_at)
        return false;
    SetLastError(sys.error);
    return true;
}

static void new_system(void)
{
    memset(&sys, 0, sizeof(sys));
    sys.error = ERROR_ACCESS_DENIED;
}

#define MANAGER ((SC_HANDLE)1)
#define SERVICE ((SC_HANDLE)2)
#define KEY ((HKEY)3)

static SC_HANDLE WINAPI open_manager(const wchar_t *machine, const wchar_t *database, DWORD access)
{
    (void)machine, (void)database, (void)access;
    SetLastError(ERROR_ACCESS_DENIED);
    return sys.no_manager ? NULL : MANAGER;
}
REPLACE(OpenSCManagerW, open_manager);

static SC_HANDLE WINAPI open_service(SC_HANDLE m, const wchar_t *name, DWORD access)
{
    (void)access;
    CHECK(m == MANAGER && wcscmp(name, L"CacheManager") == 0);
    SetLastError(ERROR_SERVICE_DOES_NOT_EXIST);
    return sys.service ? SERVICE : NULL;
}
REPLACE(OpenServiceW, open_service);

static BOOL WINAPI close_service(SC_HANDLE h)
{
    (void)h;
    return TRUE;
}
REPLACE(CloseServiceHandle, close_service);

static SC_HANDLE WINAPI create_service(SC_HANDLE m, const wchar_t *name, const wchar_t *display,
                                       DWORD access, DWORD type, DWORD start, DWORD control,
                                       const wchar_t *command, const wchar_t *group, DWORD *tag,
                                       const wchar_t *needs, const wchar_t *user,
                                       const wchar_t *password)
{
    (void)display, (void)access, (void)control, (void)group, (void)tag;
    (void)needs, (void)user, (void)password;
    CHECK(m == MANAGER && wcscmp(name, L"CacheManager") == 0);
    CHECK_EQ(type, SERVICE_WIN32_OWN_PROCESS);
    if (refuse())
        return NULL;
    sys.service = true;
    sys.start_type = start;
    wcscpy(sys.command, command);
    return SERVICE;
}
REPLACE(CreateServiceW, create_service);

static BOOL WINAPI change_service(SC_HANDLE s, DWORD type, DWORD start, DWORD control,
                                  const wchar_t *command, const wchar_t *group, DWORD *tag,
                                  const wchar_t *needs, const wchar_t *user,
                                  const wchar_t *password, const wchar_t *display)
{
    (void)s, (void)type, (void)control, (void)group, (void)tag, (void)display;
    (void)needs, (void)user, (void)password;
    if (refuse())
        return FALSE;
    sys.start_type = start;
    wcscpy(sys.command, command);
    return TRUE;
}
REPLACE(ChangeServiceConfigW, change_service);

static void take_rights(const wchar_t *from)
{
    wchar_t *to = sys.rights;

    for (; *from; from += wcslen(from) + 1) { /* strings, and an empty one at the end */
        wcscpy(to, from);
        to += wcslen(from);
        *to++ = L' ';
    }
    *to = 0;
}

static BOOL WINAPI change_service2(SC_HANDLE s, DWORD level, void *value)
{
    const SERVICE_FAILURE_ACTIONSW *f = value;

    CHECK(s == SERVICE);
    if (sys.knows_little && level > SERVICE_CONFIG_FAILURE_ACTIONS) {
        SetLastError(ERROR_INVALID_LEVEL);
        return FALSE;
    }
    if (refuse())
        return FALSE;
    sys.is_set[level] = true;
    if (level == SERVICE_CONFIG_FAILURE_ACTIONS) {
        sys.actions = f->cActions;
        sys.reset = f->dwResetPeriod;
        memcpy(sys.action, f->lpsaActions, f->cActions * sizeof(SC_ACTION));
    }
    if (level == SERVICE_CONFIG_FAILURE_ACTIONS_FLAG)
        sys.also_errors =
            ((SERVICE_FAILURE_ACTIONS_FLAG *)value)->fFailureActionsOnNonCrashFailures;
    if (level == SERVICE_CONFIG_DELAYED_AUTO_START_INFO)
        sys.delayed = ((SERVICE_DELAYED_AUTO_START_INFO *)value)->fDelayedAutostart;
    if (level == SERVICE_CONFIG_SERVICE_SID_INFO)
        sys.sid = ((SERVICE_SID_INFO *)value)->dwServiceSidType;
    if (level == SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO)
        take_rights(((SERVICE_REQUIRED_PRIVILEGES_INFOW *)value)->pmszRequiredPrivileges);
    return TRUE;
}
REPLACE(ChangeServiceConfig2W, change_service2);

static BOOL WINAPI query_config(SC_HANDLE s, QUERY_SERVICE_CONFIGW *c, DWORD room, DWORD *needed)
{
    (void)s, (void)room, (void)needed;
    memset(c, 0, sizeof(*c));
    c->lpBinaryPathName = sys.command;
    return TRUE;
}
REPLACE(QueryServiceConfigW, query_config);

static BOOL WINAPI query_status(SC_HANDLE s, SC_STATUS_TYPE type, BYTE *to, DWORD room,
                                DWORD *needed)
{
    SERVICE_STATUS_PROCESS *p = (SERVICE_STATUS_PROCESS *)to;

    (void)s, (void)type, (void)room, (void)needed;
    memset(p, 0, sizeof(*p));
    p->dwCurrentState = sys.running ? SERVICE_RUNNING : SERVICE_STOPPED;
    return TRUE;
}
REPLACE(QueryServiceStatusEx, query_status);

static BOOL WINAPI start_service(SC_HANDLE s, DWORD n, const wchar_t **arg)
{
    (void)s, (void)n, (void)arg;
    if (refuse())
        return FALSE;
    sys.running = true;
    return TRUE;
}
REPLACE(StartServiceW, start_service);

static BOOL WINAPI control_service(SC_HANDLE s, DWORD control, SERVICE_STATUS *told)
{
    (void)s, (void)told;
    CHECK_EQ(control, SERVICE_CONTROL_STOP);
    if (refuse())
        return FALSE;
    sys.running = false;
    return TRUE;
}
REPLACE(ControlService, control_service);

static BOOL WINAPI delete_service(SC_HANDLE s)
{
    CHECK(s == SERVICE);
    if (refuse())
        return FALSE;
    sys.service = false;
    return TRUE;
}
REPLACE(DeleteService, delete_service);

#define SOURCE L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\CacheManager"

static LSTATUS WINAPI create_key(HKEY root, const wchar_t *path, DWORD zero, wchar_t *class,
                                 DWORD options, REGSAM access, SECURITY_ATTRIBUTES *a, HKEY *key,
                                 DWORD *made)
{
    (void)zero, (void)class, (void)options, (void)access, (void)a, (void)made;
    CHECK(root == HKEY_LOCAL_MACHINE && wcscmp(path, SOURCE) == 0);
    if (refuse())
        return (LSTATUS)sys.error;
    sys.key = true;
    *key = KEY;
    return ERROR_SUCCESS;
}
REPLACE(RegCreateKeyExW, create_key);

static LSTATUS WINAPI set_value(HKEY key, const wchar_t *name, DWORD zero, DWORD type,
                                const BYTE *data, DWORD n)
{
    (void)zero;
    CHECK(key == KEY);
    if (refuse())
        return (LSTATUS)sys.error;
    if (wcscmp(name, L"EventMessageFile") == 0 && type == REG_EXPAND_SZ)
        memcpy(sys.program, data, n);
    if (wcscmp(name, L"TypesSupported") == 0 && type == REG_DWORD)
        memcpy(&sys.types, data, n);
    return ERROR_SUCCESS;
}
REPLACE(RegSetValueExW, set_value);

static LSTATUS WINAPI close_key(HKEY key)
{
    CHECK(key == KEY);
    return ERROR_SUCCESS;
}
REPLACE(RegCloseKey, close_key);

static LSTATUS WINAPI delete_key(HKEY root, const wchar_t *path)
{
    CHECK(root == HKEY_LOCAL_MACHINE && wcscmp(path, SOURCE) == 0);
    if (!sys.key)
        return ERROR_FILE_NOT_FOUND;
    sys.key = false;
    return ERROR_SUCCESS;
}
REPLACE(RegDeleteKeyW, delete_key);

static DWORD WINAPI security_of(const wchar_t *path, SE_OBJECT_TYPE type,
                                SECURITY_INFORMATION which, PSID *owner, PSID *group, PACL *list,
                                PACL *audit, PSECURITY_DESCRIPTOR *all)
{
    const bool exposed = sys.exposed && wcscmp(path, sys.exposed) == 0;
    BOOL is_there, is_default;

    (void)group, (void)audit;
    CHECK(type == SE_FILE_OBJECT &&
          which == (OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION));
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorA(
            exposed ? "O:BAD:(A;;FA;;;WD)" : "O:BAD:(A;;FA;;;BA)(A;;FR;;;WD)", SDDL_REVISION_1, all,
            NULL) ||
        !GetSecurityDescriptorOwner(*all, owner, &is_default) ||
        !GetSecurityDescriptorDacl(*all, &is_there, list, &is_default))
        return ERROR_NOT_ENOUGH_MEMORY;
    return ERROR_SUCCESS;
}
REPLACE(GetNamedSecurityInfoW, security_of);

/* ---- The rest of the service ----------------------------------------------------------------- */

static unsigned cleared;

bool config_read(struct config *c, const char *path, char why[512])
{
    *c = (struct config){ .pool = "P:/pools/a.pool" };
    strcpy(why, "wrong");
    return strstr(path, "wrong") == NULL;
}

bool run_pool_is_there(const struct config *c, char why[RUN_WHY_ROOM])
{
    (void)c, (void)why;
    return true;
}

int service_run(const char *file, bool (*has_ended)(uint32_t process))
{
    (void)file, (void)has_ended;
    return 0;
}

unsigned pipe_files_delete_unused(void)
{
    cleared++;
    return 0;
}

/* ---- What is said ---------------------------------------------------------------------------- */

static char said[4000];

/* Runs a command; `said` gets its errors. */
static int command(const char *name, const char *arg, const char *option)
{
    char *list[] = { (char *)(uintptr_t)name, (char *)(uintptr_t)arg, (char *)(uintptr_t)option };
    char path[L_tmpnam + 64];
    FILE *f;
    int status;
    size_t n;

    snprintf(path, sizeof(path), "%s/said-%lu", getenv("TEMP") ? getenv("TEMP") : ".",
             GetCurrentProcessId());
    fflush(stdout);
    if (!freopen(path, "w", stderr))
        return -2;
    status = service_command(option ? 3 : arg ? 2 : 1, list, NULL);
    fflush(stderr);
    f = fopen(path, "r");
    n = f ? fread(said, 1, sizeof(said) - 1, f) : 0;
    said[n] = 0;
    if (f)
        fclose(f);
    if (freopen("NUL", "w", stderr))
        remove(path);
    return status;
}

/* ---- install --------------------------------------------------------------------------------- */

static void test_install(void)
{
    wchar_t program[512], file[512], line[1100];

    new_system();
    GetModuleFileNameW(NULL, program, 512);
    GetFullPathNameW(L"a b \u00e4.conf", 512, file, NULL);
    swprintf(line, 1100, L"\"%ls\" run-service \"%ls\"", program, file);
    CHECK_EQ(command("install", "a b \xc3\xa4.conf", NULL), 0);
    CHECK(sys.service && sys.key && !sys.running);
    CHECK(wcscmp(sys.command, line) == 0);
    CHECK(wcscmp(sys.program, program) == 0);
    CHECK_EQ(sys.types, 7);
    CHECK_EQ(sys.start_type, SERVICE_AUTO_START);
    CHECK(sys.delayed && sys.also_errors && sys.is_set[SERVICE_CONFIG_DESCRIPTION]);
    CHECK(sys.is_set[SERVICE_CONFIG_PRESHUTDOWN_INFO]);
    CHECK_EQ(sys.sid, SERVICE_SID_TYPE_UNRESTRICTED);
    CHECK(wcscmp(sys.rights, L"SeChangeNotifyPrivilege SeCreateGlobalPrivilege ") == 0);
    REQUIRE(sys.actions == 3);
    CHECK_EQ(sys.reset, 86400);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(sys.action[i].Type, SC_ACTION_RESTART);
    CHECK_EQ(sys.action[0].Delay, 1000);
    CHECK_EQ(sys.action[1].Delay, 5000);
    CHECK_EQ(sys.action[2].Delay, 30000);
}

/* Whoever may write the program, the configuration or the pool, or put others in their places. */
static void test_install_exposed(void)
{
    wchar_t program[512];
    char word[40];
    const struct {
        const wchar_t *path;
        const char *warned; /* of this file; NULL: of none */
    } rows[] = {
        { NULL, NULL },
        { L"P:\\", NULL }, /* who makes names there takes none away */
        { program, ".exe" },
        { L"C:\\conf", "conf" },
        { L"C:\\", "conf" },
        { L"P:\\pools", "a.pool" },
        { L"P:\\pools\\a.pool", "a.pool" },
    };

    GetModuleFileNameW(NULL, program, 512);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CASE("%ls", rows[i].path ? rows[i].path : L"none");
        new_system();
        sys.exposed = rows[i].path;
        CHECK_EQ(command("install", "C:\\conf", NULL), 0);
        CHECK_EQ(strstr(said, "not only administrators may write it") != NULL,
                 rows[i].warned != NULL);
        snprintf(word, sizeof(word), "%s: not only", rows[i].warned ? rows[i].warned : "");
        CHECK_EQ(strstr(said, word) != NULL, rows[i].warned != NULL);
    }
}

static void test_install_start(void)
{
    new_system();
    CHECK_EQ(command("install", "first", "--start"), 0);
    CHECK(sys.service && sys.running);
    CHECK_EQ(command("install", "second", "--start"), 0);
    CHECK(sys.service && sys.running && wcsstr(sys.command, L"second\"") != NULL);
    CHECK_EQ(command("install", "third", NULL), 0);
    CHECK(sys.running && wcsstr(sys.command, L"third\"") != NULL);
}

/* Every call that changes something fails once. */
static void test_install_fails(void)
{
    unsigned calls;

    new_system();
    CHECK_EQ(command("install", "conf", NULL), 0);
    calls = sys.changes;
    CHECK(calls >= 11);
    for (unsigned i = 1; i <= calls; i++) {
        CASE("call %u", i);
        new_system();
        sys.fail_at = i;
        CHECK_EQ(command("install", "conf", NULL), RUN_NO_SERVICE);
        CHECK(!sys.service && !sys.key);
        CHECK(strstr(said, "run it as administrator") != NULL);
    }
}

static void test_install_again_fails(void)
{
    unsigned calls;

    new_system();
    CHECK_EQ(command("install", "old", NULL), 0);
    sys.changes = 0;
    CHECK_EQ(command("install", "old", NULL), 0);
    calls = sys.changes;
    for (unsigned i = 1; i <= calls; i++) {
        CASE("call %u", i);
        new_system();
        CHECK_EQ(command("install", "old", NULL), 0);
        sys.changes = 0;
        sys.fail_at = i;
        CHECK_EQ(command("install", "new", NULL), RUN_NO_SERVICE);
        CHECK(sys.service && wcsstr(sys.command, L"old\"") != NULL);
    }
}

/* As Wine does. */
static void test_install_without_recovery(void)
{
    new_system();
    sys.knows_little = true;
    CHECK_EQ(command("install", "conf", NULL), 0);
    CHECK(sys.service && sys.key && sys.actions == 3 && !sys.delayed);
}

static void test_install_wrong_configuration(void)
{
    new_system();
    CHECK_EQ(command("install", "wrong", NULL), RUN_BAD_USAGE);
    CHECK(!sys.service && !sys.key && sys.changes == 0);
}

/* ---- Other commands -------------------------------------------------------------------------- */

static const char *const all[] = { "install", "uninstall", "start", "stop", "status" };

static void test_not_administrator(void)
{
    new_system();
    sys.no_manager = true;
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CASE("%s", all[i]);
        CHECK_EQ(command(all[i], i == 0 ? "conf" : NULL, NULL), RUN_NO_SERVICE);
        CHECK(strstr(said, "(error 5); run it as administrator") != NULL);
        CHECK_EQ(sys.changes, 0);
    }
}

/* A service of the same name that is another program's is left alone. */
static void test_foreign_service(void)
{
    new_system();
    sys.service = sys.running = true;
    wcscpy(sys.command, L"C:\\other.exe");
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CASE("%s", all[i]);
        CHECK_EQ(command(all[i], i == 0 ? "conf" : NULL, NULL), RUN_NO_SERVICE);
        CHECK(strstr(said, "not of this program") != NULL);
        CHECK_EQ(sys.changes, 0);
    }
}

/* It ended before it had answered the manager, or the answer was lost: what helps is the log, not
 * that error. */
static void test_start_ended(void)
{
    static const DWORD errors[] = { ERROR_SERVICE_REQUEST_TIMEOUT, ERROR_PROCESS_ABORTED,
                                    ERROR_INTERNAL_ERROR, RPC_S_CALL_FAILED, RPC_S_INTERNAL_ERROR };

    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        CASE("error %lu", errors[i]);
        new_system();
        CHECK_EQ(command("install", "conf", NULL), 0);
        sys.changes = 0;
        sys.fail_at = 1;
        sys.error = errors[i];
        CHECK_EQ(command("start", NULL, NULL), RUN_NO_SERVICE);
        CHECK(strstr(said, "did not start") != NULL);
        CHECK(strstr(said, "Its log says why: Event Viewer") != NULL);
        CHECK_EQ(strstr(said, "(error ") != NULL, i >= 2); /* what else is known */
    }
}

static void test_uninstall(void)
{
    new_system();
    cleared = 0;
    CHECK_EQ(command("install", "conf", "--start"), 0);
    CHECK_EQ(command("uninstall", NULL, NULL), 0);
    CHECK(!sys.service && !sys.key && !sys.running);
    CHECK_EQ(cleared, 1);
    CHECK_EQ(command("uninstall", NULL, NULL), 0); /* what an older one may have left */
    CHECK_EQ(cleared, 2);
}

static void test_uninstall_cannot_stop(void)
{
    new_system();
    cleared = 0;
    CHECK_EQ(command("install", "conf", "--start"), 0);
    sys.changes = 0;
    sys.fail_at = 1;
    CHECK_EQ(command("uninstall", NULL, NULL), RUN_NO_SERVICE);
    CHECK(sys.service && sys.key && sys.running);
    CHECK_EQ(cleared, 0);
}

static void test_usage(void)
{
    new_system();
    CHECK_EQ(command("conf", NULL, NULL), -1);
    CHECK_EQ(command("install", NULL, NULL), RUN_BAD_USAGE);
    CHECK_EQ(command("install", "conf", "--stop"), -1);
    CHECK_EQ(command("status", "conf", NULL), -1);
    CHECK_EQ(sys.changes, 0);
}

/* ---- The event log --------------------------------------------------------------------------- */

static struct {
    WORD type;
    DWORD id;
    wchar_t text[100];
    unsigned events;
} event;

static HANDLE WINAPI register_source(const wchar_t *machine, const wchar_t *name)
{
    CHECK(machine == NULL && wcscmp(name, L"CacheManager") == 0);
    return (HANDLE)4;
}
REPLACE(RegisterEventSourceW, register_source);

static BOOL WINAPI report(HANDLE h, WORD type, WORD category, DWORD id, void *sid, WORD n,
                          DWORD data_len, const wchar_t **text, void *data)
{
    (void)sid, (void)data;
    CHECK(h == (HANDLE)4 && category == 0 && n == 1 && data_len == 0);
    event.type = type;
    event.id = id;
    wcscpy(event.text, text[0]);
    event.events++;
    return TRUE;
}
REPLACE(ReportEventW, report);

static void check_line(enum log_weight w, const char *line, WORD type, DWORD id,
                       const wchar_t *text)
{
    const unsigned before = event.events;

    event_log_line(w, line);
    CHECK_EQ(event.events, before + 1);
    CHECK_EQ(event.type, type);
    CHECK_EQ(event.id, id);
    CHECK(wcscmp(event.text, text) == 0);
}

static void test_event_lines(void)
{
    event_log_begin();
    CALL(check_line(LOG_TROUBLE, "one", EVENTLOG_ERROR_TYPE, EVENT_TROUBLE, L"one"));
    CALL(check_line(LOG_WARN, "p\xc3\xb6l", EVENTLOG_WARNING_TYPE, EVENT_WARN, L"p\u00f6l"));
    CALL(check_line(LOG_NOTE, "5% of %1", EVENTLOG_INFORMATION_TYPE, EVENT_NOTE, L"5% of \uff051"));
}

/* What Event Viewer shows: the table of messages is in this program, too. */
static void test_event_texts(void)
{
    wchar_t line[] = L"a line", text[100];
    DWORD_PTR arg[] = { (DWORD_PTR)line };
    DWORD n;

    for (DWORD id = EVENT_TROUBLE - 1; id <= EVENT_NOTE + 1; id++) {
        CASE("id %lu", id);
        n = FormatMessageW(FORMAT_MESSAGE_FROM_HMODULE | FORMAT_MESSAGE_ARGUMENT_ARRAY, NULL, id, 0,
                           text, 100, (va_list *)arg);
        if (id < EVENT_TROUBLE || id > EVENT_NOTE)
            CHECK_EQ(n, 0);
        else
            CHECK(n == 8 && wcscmp(text, L"a line\r\n") == 0);
    }
}

static const struct harness_test tests[] = {
    TEST(install),
    TEST(install_exposed),
    TEST(install_start),
    TEST(install_fails),
    TEST(install_again_fails),
    TEST(install_without_recovery),
    TEST(install_wrong_configuration),
    TEST(not_administrator),
    TEST(foreign_service),
    TEST(start_ended),
    TEST(uninstall),
    TEST(uninstall_cannot_stop),
    TEST(usage),
    TEST(event_lines),
    TEST(event_texts),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
