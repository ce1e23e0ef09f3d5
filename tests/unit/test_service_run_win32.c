/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_service_run_win32.c - what the service of Windows tells the service manager while it starts,
 * runs and ends, and what the manager may ask.
 *
 * The manager's calls are replaced: this program defines the addresses that the linker would take
 * from the system's libraries.
 */
#include "harness.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../../examples/service/event_log_win32.h"
#include "../../examples/service/run.h"
#include "../../examples/service/service_win32.h"

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake

/* ---- The manager ----------------------------------------------------------------------------- */

static LPHANDLER_FUNCTION_EX control;
static SERVICE_STATUS told[100];
static volatile LONG tells; /* how many there are; it grows after its place is written */
static bool is_console;

static SERVICE_STATUS_HANDLE WINAPI register_handler(const wchar_t *name,
                                                     LPHANDLER_FUNCTION_EX handler, void *context)
{
    CHECK(wcscmp(name, L"CacheManager") == 0 && context == NULL);
    control = handler;
    return (SERVICE_STATUS_HANDLE)1;
}
REPLACE(RegisterServiceCtrlHandlerExW, register_handler);

/* Never from two threads at once: the service holds its lock. */
static BOOL WINAPI set_status(SERVICE_STATUS_HANDLE h, SERVICE_STATUS *s)
{
    CHECK(h == (SERVICE_STATUS_HANDLE)1);
    if (tells < (LONG)(sizeof(told) / sizeof(told[0]))) {
        told[tells] = *s;
        (void)InterlockedIncrement(&tells);
    }
    return TRUE;
}
REPLACE(SetServiceStatus, set_status);

static BOOL WINAPI dispatch(const SERVICE_TABLE_ENTRYW *table)
{
    if (is_console) {
        SetLastError(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT);
        return FALSE;
    }
    table[0].lpServiceProc(0, NULL);
    return TRUE;
}
REPLACE(StartServiceCtrlDispatcherW, dispatch);

static const SERVICE_STATUS *last(void)
{
    return &told[tells - 1];
}

/* ---- The service's parts --------------------------------------------------------------------- */

static struct {
    DWORD control; /* what ends it */
    bool slow;     /* to begin and to end */
    int status;
    bool fails; /* before it is ready */
    const char *why;
} life;
static char logged[200];

void event_log_begin(void)
{
}

void event_log_line(enum log_weight w, const char *text)
{
    CHECK_EQ(w, LOG_TROUBLE);
    snprintf(logged, sizeof(logged), "%s", text);
}

bool config_read(struct config *c, const char *path, char why[512])
{
    *c = (struct config){ .pool = "pool" };
    snprintf(why, 512, "%s: wrong", path);
    return strcmp(path, "conf") == 0;
}

/* Waits until the manager has heard of two signs of life. They come once a second. */
static void await_signs(void)
{
    const LONG wanted = tells + 2;

    for (unsigned i = 0; life.slow && tells < wanted && i < 3000; i++)
        Sleep(10);
}

int run(const struct run *r)
{
    await_signs();
    if (life.fails)
        return life.status;
    r->ready();
    CHECK_EQ(last()->dwCurrentState, SERVICE_RUNNING);
    CHECK_EQ(control(SERVICE_CONTROL_INTERROGATE, 0, NULL, NULL), NO_ERROR);
    CHECK_EQ(control(SERVICE_CONTROL_PAUSE, 0, NULL, NULL), ERROR_CALL_NOT_IMPLEMENTED);
    CHECK(r->wait_second() == NULL);
    CHECK_EQ(last()->dwCurrentState, SERVICE_RUNNING);
    CHECK_EQ(control(life.control, 0, NULL, NULL), NO_ERROR);
    CHECK_EQ(last()->dwCurrentState, SERVICE_STOP_PENDING);
    life.why = r->wait_second();
    await_signs();
    return life.status;
}

static int serve(const char *file)
{
    tells = 0;
    logged[0] = 0;
    return service_run(file, NULL);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* How often was the state told? Checkpoints have to count from 1. */
static unsigned count(DWORD state, bool pending)
{
    unsigned n = 0;

    for (LONG i = 0; i < tells; i++) {
        if (told[i].dwCurrentState != state)
            continue;
        n++;
        CHECK_EQ(told[i].dwCheckPoint, pending ? n : 0);
        CHECK_EQ(told[i].dwWaitHint != 0, pending);
        CHECK_EQ(told[i].dwControlsAccepted != 0, state == SERVICE_RUNNING);
        CHECK_EQ(told[i].dwServiceType, SERVICE_WIN32_OWN_PROCESS);
    }
    return n;
}

static void check_order(void)
{
    static const DWORD order[] = { SERVICE_START_PENDING, SERVICE_RUNNING, SERVICE_STOP_PENDING,
                                   SERVICE_STOPPED };
    unsigned at = 0;

    for (LONG i = 0; i < tells; i++) {
        while (at < 4 && order[at] != told[i].dwCurrentState)
            at++;
        CHECK(at < 4);
    }
}

/* A pool that opens and closes slowly: the manager hears of it all the time. */
static void test_life(void)
{
    life.control = SERVICE_CONTROL_STOP;
    life.slow = true;
    life.status = 0;
    CHECK_EQ(serve("conf"), 0);
    CALL(check_order());
    CHECK(count(SERVICE_START_PENDING, true) >= 3);
    CHECK_EQ(count(SERVICE_RUNNING, false), 1);
    CHECK(count(SERVICE_STOP_PENDING, true) >= 3);
    CHECK_EQ(count(SERVICE_STOPPED, false), 1);
    CHECK_EQ(last()->dwCurrentState, SERVICE_STOPPED);
    CHECK_EQ(last()->dwWin32ExitCode, NO_ERROR);
    CHECK(life.why && strcmp(life.why, "it was told to stop") == 0);
    life.slow = false;
}

static void test_end_of_the_system(void)
{
    static const DWORD controls[] = { SERVICE_CONTROL_SHUTDOWN, SERVICE_CONTROL_PRESHUTDOWN };

    for (unsigned i = 0; i < 2; i++) {
        CASE("control %lu", controls[i]);
        life.control = controls[i];
        CHECK_EQ(serve("conf"), 0);
        CALL(check_order());
        CHECK(life.why && strcmp(life.why, "the system shuts down") == 0);
    }
    for (LONG i = 0; i < tells; i++)
        if (told[i].dwCurrentState == SERVICE_RUNNING)
            CHECK_EQ(told[i].dwControlsAccepted,
                     SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PRESHUTDOWN);
}

static void test_failure(void)
{
    life.fails = true;
    life.status = RUN_NO_SERVICE;
    CHECK_EQ(serve("conf"), RUN_NO_SERVICE);
    CALL(check_order());
    CHECK_EQ(count(SERVICE_RUNNING, false), 0);
    CHECK_EQ(last()->dwCurrentState, SERVICE_STOPPED);
    CHECK_EQ(last()->dwWin32ExitCode, ERROR_SERVICE_SPECIFIC_ERROR);
    CHECK_EQ(last()->dwServiceSpecificExitCode, RUN_NO_SERVICE);
    life.fails = false;
    life.status = 0;
}

static void test_wrong_configuration(void)
{
    CHECK_EQ(serve("other"), RUN_BAD_USAGE);
    CHECK(strcmp(logged, "other: wrong") == 0);
    CHECK_EQ(last()->dwCurrentState, SERVICE_STOPPED);
    CHECK_EQ(last()->dwWin32ExitCode, ERROR_SERVICE_SPECIFIC_ERROR);
    CHECK_EQ(last()->dwServiceSpecificExitCode, RUN_BAD_USAGE);
}

static void test_console(void)
{
    is_console = true;
    CHECK_EQ(serve("conf"), RUN_BAD_USAGE);
    CHECK_EQ(tells, 0);
    is_console = false;
}

static const struct harness_test tests[] = {
    TEST(life), TEST(end_of_the_system), TEST(failure), TEST(wrong_configuration), TEST(console),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
