/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_pipe_files.c - on Windows: where the files of a pipe are, for an administrator and for
 * another user. Wine has one user, so the calls that say who he is, and where data of programs is,
 * are replaced: this program defines the addresses that the linker would take from the libraries.
 */
#include "harness.h"

#include "../../examples/service/pipe_files.h"

#include <sddl.h>
#include <shlobj.h>
#include <stdlib.h>
#include <wchar.h>

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake
#define PLACE "\\\\.\\pipe\\name"

static BOOL administrator;
static wchar_t top[MAX_PATH];

static BOOL WINAPI is_member(HANDLE token, PSID group, BOOL *is)
{
    CHECK(token != NULL); /* that of the thread may be another user's */
    CHECK(IsWellKnownSid(group, WinBuiltinAdministratorsSid));
    *is = administrator;
    return TRUE;
}
REPLACE(CheckTokenMembership, is_member);

static HRESULT WINAPI folder_path(HWND window, int folder, HANDLE token, DWORD flags, wchar_t *path)
{
    (void)window, (void)token, (void)flags;
    CHECK_EQ(folder & 0xff, CSIDL_COMMON_APPDATA);
    wcscpy(path, top);
    return S_OK;
}
REPLACE(SHGetFolderPathW, folder_path);

static void begin(void)
{
    static unsigned last;
    wchar_t temp[MAX_PATH - 60];

    REQUIRE(GetTempPathW(MAX_PATH - 60, temp) > 0);
    swprintf(top, MAX_PATH, L"%lscachemax-test-%lu-%u", temp, (unsigned long)GetCurrentProcessId(),
             ++last);
    REQUIRE(CreateDirectoryW(top, NULL));
}

/* A file or a directory below `top`; NULL: none. Of a user other than an administrator: `user`. */
static const wchar_t *path_of(bool user, const wchar_t *file)
{
    static wchar_t path[600];
    struct owner o;
    wchar_t *sid;

    if (!owner_of_process(&o) || !ConvertSidToStringSidW(OWNER_SID(&o), &sid))
        return NULL;
    swprintf(path, 600, L"%ls\\cachemax%ls%ls%ls", top, user ? L"-" : L"", user ? sid : L"", file);
    LocalFree(sid);
    return path;
}

static bool is_there(bool user, const wchar_t *file)
{
    return GetFileAttributesW(path_of(user, file)) != INVALID_FILE_ATTRIBUTES;
}

static HANDLE open_writes(char why[256])
{
    return pipe_file_open(PLACE, ".writes", FILE_SHARE_READ | FILE_SHARE_WRITE, why);
}

/* Whoever comes first: each has a directory of his own. */
static void test_directories(void)
{
    char why[256] = "";

    for (unsigned first = 0; first < 2; first++) {
        CASE("first: %u", first);
        CALL(begin());
        for (unsigned i = 0; i < 2; i++) {
            HANDLE h;

            administrator = i == first;
            h = open_writes(why);
            CHECK(h != INVALID_HANDLE_VALUE);
            CloseHandle(h);
            CHECK(is_there(!administrator, L"\\name.writes"));
            CHECK(i == 1 || !is_there(administrator, L""));
        }
        for (unsigned i = 0; i < 2; i++) {
            administrator = i == 0;
            CHECK(is_there(!administrator, L""));
            CHECK_EQ(pipe_files_delete_unused(), 0);
            CHECK(!is_there(!administrator, L""));
        }
        CHECK(RemoveDirectoryW(top));
    }
}

/* One that has the other's files open does not keep them for us. */
static void test_deleted(void)
{
    char why[256] = "";
    HANDLE h, other;

    CALL(begin());
    administrator = FALSE;
    other = open_writes(why);
    administrator = TRUE;
    h = open_writes(why);
    CHECK(h != INVALID_HANDLE_VALUE && other != INVALID_HANDLE_VALUE);
    CHECK_EQ(pipe_files_delete_unused(), 1);
    CloseHandle(h);
    CHECK_EQ(pipe_files_delete_unused(), 0);
    CHECK(!is_there(false, L"") && is_there(true, L"\\name.writes"));
    CloseHandle(other);
    administrator = FALSE;
    CHECK_EQ(pipe_files_delete_unused(), 0);
    CHECK(RemoveDirectoryW(top));
}

/* Something else has the directory's name. */
static void test_taken(void)
{
    char why[256] = "";
    HANDLE h;

    CALL(begin());
    for (unsigned i = 0; i < 2; i++) {
        administrator = i == 0;
        h = CreateFileW(path_of(!administrator, L""), GENERIC_WRITE, 0, NULL, CREATE_NEW, 0, NULL);
        REQUIRE(h != INVALID_HANDLE_VALUE);
        CloseHandle(h);
        CHECK(open_writes(why) == INVALID_HANDLE_VALUE);
        CHECK(strstr(why, "it is no directory") != NULL);
        CHECK_EQ(pipe_files_delete_unused(), 0);
        CHECK(DeleteFileW(path_of(!administrator, L"")));
    }
    CHECK(RemoveDirectoryW(top));
}

static const struct harness_test tests[] = { TEST(directories), TEST(deleted), TEST(taken) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
