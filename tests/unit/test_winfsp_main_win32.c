/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp_main_win32.c - the command line of cachemax-winfsp on Windows.
 *
 * The command line is the test's: this program defines the address that the linker would take from
 * the system's library. What main() calls is here, too, so that nothing is mounted.
 */
#include "harness.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <io.h>

static int winfsp_main(int argc, char **argv);
#define main winfsp_main
#include "../../examples/winfsp/main.c"
#undef main

static const wchar_t *line;

static LPWSTR WINAPI command_line(void)
{
    return (LPWSTR)line;
}
__typeof__(GetCommandLineW) *__imp_GetCommandLineW = command_line;

/* The console, whose code page is this one. 0: there is none. */
static UINT page;

static UINT WINAPI get_page(void)
{
    return page;
}
__typeof__(GetConsoleOutputCP) *__imp_GetConsoleOutputCP = get_page;

static BOOL WINAPI set_page(UINT to)
{
    page = to;
    return TRUE;
}
__typeof__(SetConsoleOutputCP) *__imp_SetConsoleOutputCP = set_page;

/* ---- What main() calls ----------------------------------------------------------------------- */

const struct fuse_operations ops;
static char recovered[100]; /* what swap_recover() was asked for */
static bool goes_on;        /* the pool was opened */

enum swap_result swap_recover(const char *to_recover)
{
    (void)snprintf(recovered, sizeof(recovered), "%s", to_recover);
    return SWAP_OK;
}

bool swap_is_below(const char *of, const char *file)
{
    (void)of, (void)file;
    return false;
}

int cache_begin(const char *path)
{
    (void)path;
    goes_on = true;
    return -1;
}

#define NEVER(type, name, parameters)                                                              \
    type name parameters                                                                           \
    {                                                                                              \
        abort();                                                                                   \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(const char *, ops_options, (bool all))
NEVER(size_t, ops_end, (void))
NEVER(int, cache_end, (void))
NEVER(int, origin_begin, (const char *at, bool all))
NEVER(void, origin_end, (void))
NEVER(void, swap_os_hold, (bool hold))
NEVER(enum swap_result, swap_begin, (struct swap * s, const char *at))
NEVER(enum swap_result, swap_end, (struct swap * s))
NEVER(void, announce_begin, (const char *at, void (*tell)(void)))
NEVER(void, announce_end, (void))
NEVER(struct fuse *, fuse_new,
      (struct fuse_args * args, const struct fuse_operations *o, size_t size, void *data))
NEVER(int, fuse_mount, (struct fuse * f, const char *at))
NEVER(int, fuse_loop_mt, (struct fuse * f, int clone_fd))
NEVER(void, fuse_unmount, (struct fuse * f))
NEVER(void, fuse_destroy, (struct fuse * f))
NEVER(struct fuse_session *, fuse_get_session, (struct fuse * f))
NEVER(int, fuse_set_signal_handlers, (struct fuse_session * s))
NEVER(void, fuse_remove_signal_handlers, (struct fuse_session * s))
NEVER(void, fuse_opt_free_args, (struct fuse_args * args))

/* ---- Tests ----------------------------------------------------------------------------------- */

/* Runs it. said: what it wrote to the standard error. */
static int run_main(const wchar_t *with, char said[1000])
{
    char name[] = "main", *argv[] = { name, NULL };
    int ends[2], status, n;
    const int before = _dup(2);

    if (before < 0 || _pipe(ends, 4096, _O_BINARY) != 0)
        abort();
    line = with;
    recovered[0] = 0;
    goes_on = false;
    (void)_dup2(ends[1], 2);
    status = winfsp_main(1, argv);
    (void)fflush(stderr);
    (void)_dup2(before, 2);
    (void)_close(before);
    (void)_close(ends[1]);
    n = _read(ends[0], said, 999);
    (void)_close(ends[0]);
    said[n > 0 ? n : 0] = 0;
    return status;
}

/* A name that is not valid Unicode would be another one. It is told which argument has it. */
static void test_no_unicode(void)
{
    static const wchar_t *const lines[] = { L"cachemax-winfsp --recover D:\\d\xd800",
                                            L"cachemax-winfsp D:\\data \xdc00 --pool P:\\pool" };
    char said[1000];

    for (unsigned i = 0; i < 2; i++) {
        CASE("i %u", i);
        CHECK_EQ(run_main(lines[i], said), 2);
        CHECK(strstr(said, "cachemax-winfsp: argument 2 is not valid Unicode") == said);
        CHECK(!recovered[0] && !goes_on);
    }
}

static void test_utf8(void)
{
    char said[1000];

    CHECK_EQ(run_main(L"cachemax-winfsp --recover \"D:\\gr\u00f6\u00dfe \u6c60\"", said), 0);
    CHECK(strcmp(recovered, "D:\\gr\xc3\xb6\xc3\x9f"
                            "e \xe6\xb1\xa0") == 0);
    CHECK(said[0] == 0);
    /* Of its own name nothing depends. */
    CHECK_EQ(run_main(L"c\xd800 D:\\data --pool P:\\pool", said), 1);
    CHECK(goes_on);
}

#define OEM 850

static void check_page(void)
{
    if (page != OEM) {
        printf("FAIL the code page at the end: %u\n", page);
        (void)fflush(stdout);
        _exit(1);
    }
}

/* The console gets names and messages in UTF-8, and has its own code page again at the end. */
static void test_console(void)
{
    char said[1000];

    page = 0;
    CHECK_EQ(run_main(L"cachemax-winfsp --recover D:\\data", said), 0);
    CHECK_EQ(page, 0);
    page = OEM;
    CHECK_EQ(atexit(check_page), 0); /* what is registered later is called before */
    CHECK_EQ(run_main(L"cachemax-winfsp --recover D:\\data", said), 0);
    CHECK_EQ(page, CP_UTF8);
}

static const struct harness_test tests[] = {
    TEST(no_unicode),
    TEST(utf8),
    TEST(console),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
