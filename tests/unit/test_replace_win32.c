/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_replace_win32.c - the service's configuration on Windows gets other content, and the system
 * fails on the way: one of the two files is there afterwards, whole.
 *
 * The calls of the system are replaced: this program defines the addresses that the linker would
 * take from the system's libraries. The files are real.
 */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../os.h"
#include "../../examples/service/config.h"

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake

#define OLD "pool = C:\\p\nfolder = D:\\d\n"
#define NEW "pool = C:\\p\n"

static struct {
    /* What the system does. */
    DWORD error; /* of ReplaceFile(); 0: it succeeds */
    bool gone;   /* ... and the old file has lost its name */
    bool no_flush, no_move;
    /* What it was asked. */
    unsigned flushes, flushed; /* in all; and before the file got its name */
    bool kept_list;            /* ReplaceFile() has succeeded */
} sys;

static BOOL refuse(DWORD error)
{
    SetLastError(error);
    return FALSE;
}

static BOOL WINAPI flush(HANDLE h)
{
    CHECK(h != INVALID_HANDLE_VALUE);
    if (sys.no_flush)
        return refuse(ERROR_DISK_FULL);
    sys.flushes++;
    return TRUE;
}
REPLACE(FlushFileBuffers, flush);

static wchar_t beside[1100]; /* the last name of a new file */

static BOOL WINAPI replace(const wchar_t *to, const wchar_t *from, const wchar_t *backup,
                           DWORD flags, void *a, void *b)
{
    CHECK(!backup && flags == 0 && !a && !b);
    wcscpy(beside, from);
    sys.flushed = sys.flushes;
    if (sys.gone)
        CHECK(DeleteFileW(to));
    if (sys.error)
        return refuse(sys.error);
    sys.kept_list = true;
    return DeleteFileW(to) && MoveFileW(from, to);
}
REPLACE(ReplaceFileW, replace);

static BOOL WINAPI move(const wchar_t *from, const wchar_t *to, DWORD flags)
{
    CHECK_EQ(flags, MOVEFILE_WRITE_THROUGH);
    return sys.no_move ? refuse(ERROR_SHARING_VIOLATION) : MoveFileW(from, to);
}
REPLACE(MoveFileExW, move);

static char path[512], why[CONFIG_WHY_ROOM];

/* Takes the folder out. */
static bool removes(void)
{
    FILE *f;
    if (!path[0])
        CHECK(os_make_file(path, sizeof(path), "replace"));
    f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(OLD, 1, strlen(OLD), f) == strlen(OLD) && fclose(f) == 0);
    beside[0] = 0;
    return config_remove_folder(path, "D:\\d", why);
}

static bool reads(FILE *f, const char *want)
{
    char got[512];
    size_t n;
    if (!f)
        return false;
    n = fread(got, 1, sizeof(got), f);
    return fclose(f) == 0 && n == strlen(want) && memcmp(got, want, n) == 0;
}
static bool has(const char *want)
{
    return reads(fopen(path, "rb"), want);
}
static bool has_beside(void)
{
    return GetFileAttributesW(beside) != INVALID_FILE_ATTRIBUTES;
}

static void test_replaces(void)
{
    memset(&sys, 0, sizeof(sys));
    CHECK(removes());
    CHECK(has(NEW) && !has_beside() && sys.kept_list);
    CHECK_EQ(sys.flushed, 1); /* on the disk before it gets the name */
}

static void test_not_on_the_disk(void)
{
    memset(&sys, 0, sizeof(sys));
    sys.no_flush = true;
    CHECK(!removes());
    CHECK(has(OLD) && !beside[0]);
}

/* Both files have their names. */
static void test_refused(void)
{
    static const DWORD errors[] = { ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION,
                                    ERROR_UNABLE_TO_REMOVE_REPLACED };
    for (unsigned i = 0; i < 3; i++) {
        CASE("i %u", i);
        memset(&sys, 0, sizeof(sys));
        sys.error = errors[i];
        CHECK(!removes());
        CHECK(has(OLD) && beside[0] && !has_beside());
        CHECK(strstr(why, ": it cannot be changed: ") && !strstr(why, "content"));
    }
}

/* The old file has lost its name, and the new one has not got it. */
static void test_only_copy(void)
{
    static const DWORD errors[] = { ERROR_UNABLE_TO_MOVE_REPLACEMENT,
                                    ERROR_UNABLE_TO_MOVE_REPLACEMENT_2 };
    for (unsigned i = 0; i < 4; i++) {
        CASE("i %u", i);
        memset(&sys, 0, sizeof(sys));
        sys.gone = true;
        sys.error = errors[i / 2];
        sys.no_move = i % 2;
        CHECK_EQ(removes(), !sys.no_move);
        if (!sys.no_move) {
            CHECK(has(NEW) && !has_beside());
            continue;
        }
        CHECK(reads(_wfopen(beside, L"rb"), NEW));
        CHECK(strstr(why, "its new content has this name and \".") &&
              strstr(why, "-0\" at the end"));
        CHECK(DeleteFileW(beside));
    }
}

static const struct harness_test tests[] = { TEST(replaces), TEST(not_on_the_disk), TEST(refused),
                                             TEST(only_copy) };

int main(int argc, char **argv)
{
    const int status = HARNESS_MAIN(tests, argc, argv);
    if (path[0])
        (void)remove(path);
    return status;
}
