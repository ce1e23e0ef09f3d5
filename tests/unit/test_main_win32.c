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

#ifndef FILE_DAX_VOLUME
#define FILE_DAX_VOLUME 0x20000000
#endif

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

static const wchar_t *type;
static DWORD flags;
static ULONG characteristics;

static BOOL WINAPI get_volume(HANDLE h, LPWSTR name, DWORD room, LPDWORD serial, LPDWORD longest,
                              LPDWORD has, LPWSTR type_, DWORD type_room)
{
    (void)h, (void)name, (void)room, (void)serial, (void)longest;
    if (!type)
        return FALSE;
    *has = flags;
    wcsncpy(type_, type, type_room);
    return TRUE;
}
REPLACE(GetVolumeInformationByHandleW, get_volume);

static LONG NTAPI query_device(HANDLE h, PVOID status, PVOID device, ULONG n, int what)
{
    (void)h, (void)status;
    CHECK(n == 8 && what == 4);
    ((ULONG *)device)[1] = characteristics;
    return 0;
}

/* Only the driver's rules look for a function. */
static FARPROC WINAPI find(HMODULE module, LPCSTR name)
{
    CHECK(module && strcmp(name, "NtQueryVolumeInformationFile") == 0);
    return (FARPROC)(void *)query_device;
}
REPLACE(GetProcAddress, find);

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

/* The driver attaches to fixed NTFS and ReFS volumes. */
static void test_volumes(void)
{
    static const struct {
        const wchar_t *type;
        DWORD flags;
        ULONG characteristics;
        const char *says;
    } cases[] = {
        { L"NTFS", 0, 0, NULL },
        { L"ReFS", 0, 0x40020, NULL }, /* a mounted device, on a bus such as USB */
        { L"exFAT", 0, 0, "neither NTFS nor ReFS" },
        { L"CSVFS", 0, 0, "neither NTFS nor ReFS" },
        { L"NTFS", FILE_DAX_VOLUME, 0, "on a DAX volume" },
        { L"NTFS", 0, 1, "can be taken out" },
        { L"NTFS", 0, 0x10, "can be taken out" },
        { NULL, 0, 0, NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CASE("i %zu", i);
        type = cases[i].type;
        flags = cases[i].flags;
        characteristics = cases[i].characteristics;
        for (unsigned k = 0; k < 2; k++) {
            const char *says = passes_by(k ? "C:\\data" : "C:\\data\\a", "Z:\\pool");

            CHECK(cases[i].says ? says && strstr(says, cases[i].says) : !says);
        }
    }
    type = NULL;
    CHECK(strstr(passes_by("C:\\Windows", "Z:\\pool"), "needed by the system"));
    CHECK(strstr(passes_by("C:\\pagefile.sys", "Z:\\pool"), "needed by the system"));
    CHECK(strstr(passes_by("C:\\data\\a:b", "Z:\\pool"), "is a stream"));
    CHECK(strstr(passes_by("\\\\srv\\share\\a", "Z:\\pool"), "is on a network"));
}

static const struct harness_test tests[] = { TEST(other_commands), TEST(service),
                                             TEST(closed_window), TEST(volumes) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
