/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_main_win32.c - cachemax-service in a console of Windows: what ends it.
 *
 * The calls of the system are replaced: this program defines the addresses that the linker would
 * take from the system's libraries. It takes the place of the service's commands, too.
 */
#include "harness.h"

static int service_main(void);
#define main service_main
#include "../../examples/service/main_win32.c"
#undef main

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake

static PHANDLER_ROUTINE handler;
static bool serves; /* what command() was asked for */
static const char *ended;
static DWORD slept;

static BOOL WINAPI set_handler(PHANDLER_ROUTINE routine, BOOL add)
{
    CHECK(add && routine && !handler);
    handler = routine;
    return TRUE;
}
REPLACE(SetConsoleCtrlHandler, set_handler);

static void WINAPI do_sleep(DWORD ms)
{
    slept = ms;
}
REPLACE(Sleep, do_sleep);

const char service_usage[] = "";

int service_command(int argc, char **argv, bool (*ended_)(uint32_t process))
{
    (void)argc, (void)argv, (void)ended_;
    return -1;
}

int command(int argc, char **argv, const struct run *r, const char *more_usage)
{
    (void)argc, (void)argv, (void)more_usage;
    CHECK(handler == NULL);
    if (!serves)
        return 7;
    if (r->prepare)
        r->prepare(64);
    if (handler) {
        CHECK(handler(CTRL_C_EVENT));
        ended = r->wait_second();
    }
    return 8;
}

/* The system ends what does not serve. */
static void test_other_commands(void)
{
    serves = false;
    handler = NULL;
    CHECK_EQ(service_main(), 7);
    CHECK(handler == NULL);
}

static void test_service(void)
{
    serves = true;
    handler = NULL;
    ended = NULL;
    CHECK_EQ(service_main(), 8);
    CHECK(handler != NULL);
    CHECK(ended && strcmp(ended, "Ctrl-C") == 0);
    CHECK_EQ(slept, 0);
}

/* The process has all the time that the system gives it. */
static void test_closed_window(void)
{
    static const DWORD kinds[] = { CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT };

    ends = CreateEventW(NULL, TRUE, FALSE, NULL);
    REQUIRE(ends);
    for (unsigned i = 0; i < 3; i++) {
        CASE("kind %lu", (unsigned long)kinds[i]);
        slept = 0;
        (void)ResetEvent(ends);
        CHECK(on_request(kinds[i]));
        CHECK(wait_second() != NULL);
        CHECK_EQ(slept, INFINITE);
    }
}

static const struct harness_test tests[] = { TEST(other_commands), TEST(service),
                                             TEST(closed_window) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
