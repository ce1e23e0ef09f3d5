/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp_links.c - links in the folder of cachemax-winfsp, on Windows (Wine).
 */
#include "winfsp_case.h"

/* Wine takes a link of Unix to a directory for a link of Windows. False: this is not Wine. */
static bool run_unix(const char *command, const char *path, const char *to)
{
    static char *(CDECL * unix_name)(const WCHAR *);
    const FARPROC at = GetProcAddress(GetModuleHandleA("kernel32"), "wine_get_unix_file_name");
    WCHAR w[2][700];
    char line[2000];

    if (!at)
        return false;
    memcpy(&unix_name, &at, sizeof(at));
    MultiByteToWideChar(CP_ACP, 0, path, -1, w[0], 700);
    MultiByteToWideChar(CP_ACP, 0, to, -1, w[1], 700);
    (void)snprintf(line, sizeof(line), "start /wait /unix /bin/%s \"%s\" \"%s\"", command,
                   unix_name(w[0]), unix_name(w[1]));
    (void)system(line);
    return true;
}

static bool is_dir_link(const char *path)
{
    const DWORD attributes = GetFileAttributesA(path);
    return attributes != INVALID_FILE_ATTRIBUTES &&
           (attributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
}

/* Wine does not wait for the end of a program of Unix. */
static bool make_dir_link(const char *path, const char *to)
{
    if (!run_unix("ln -s", to, path))
        return CreateSymbolicLinkA(path, to, 3) &&
               is_dir_link(path); /* also for no administrator */
    for (unsigned i = 0; i < 3000 && !is_dir_link(path); i++)
        Sleep(20);
    return is_dir_link(path);
}

static void remove_dir_link(const char *path)
{
    char none[720];
    (void)snprintf(none, sizeof(none), "%s-none", path);
    if (!run_unix("rm -f", none, path))
        CHECK(RemoveDirectoryA(path));
    for (unsigned i = 0; i < 3000 && is_dir_link(path); i++)
        Sleep(20);
    CHECK(!is_dir_link(path));
}

static unsigned listed;

static int count(void *buf, const char *name, const api_stat *st, api_off off,
                 enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)off, (void)flags;
    listed += !strcmp(name, "link") && (st->st_mode & S_IFMT) == S_IFDIR;
    return 0;
}

/* A link to a directory is shown, and nothing of what is behind it is there. */
static void test_links_out(void)
{
    struct fuse_file_info fi = { .flags = O_RDWR };
    const api_timespec tv[2] = { { 0 } };
    char path[700], outside[700], secret[720];
    api_stat st;

    CALL(begin_test());
    (void)snprintf(outside, sizeof(outside), "%s/outside", base);
    (void)snprintf(path, sizeof(path), "%s/dir/link", folder);
    (void)snprintf(secret, sizeof(secret), "%s/secret", outside);
    CHECK(CreateDirectoryA(outside, NULL));
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    FILE *f = fopen(secret, "wb");
    REQUIRE(f && fputs("secret", f) >= 0 && fclose(f) == 0);
    const bool made = make_dir_link(path, outside);
    if (made) {
        CALL(make_it("/plain", 100));
        CHECK_EQ(ops.getattr("/dir/link", &st, NULL), 0);
        CHECK_EQ(st.st_mode & S_IFMT, S_IFDIR);
        CHECK_EQ(ops.readdir("/dir", NULL, count, 0, NULL, (enum fuse_readdir_flags)0), 0);
        CHECK_EQ(listed, 1);
        CHECK_EQ(ops.readdir("/dir/link", NULL, count, 0, NULL, (enum fuse_readdir_flags)0),
                 -EACCES);
        CHECK_EQ(ops.getattr("/dir/link/secret", &st, NULL), -EACCES);
        CHECK_EQ(ops.open("/dir/link/secret", &fi), -EACCES);
        CHECK_EQ(ops.truncate("/dir/link/secret", 1, NULL), -EACCES);
        CHECK_EQ(ops.utimens("/dir/link/secret", tv, NULL), -EACCES);
        CHECK_EQ(ops.chmod("/dir/link/secret", 0444, NULL), -EACCES);
        CHECK_EQ(ops.unlink("/dir/link/secret"), -EACCES);
        CHECK_EQ(ops.rename("/dir/link/secret", "/mine", 0), -EACCES);
        CHECK_EQ(ops.rename("/plain", "/dir/link/plain", 0), -EACCES);
        CHECK_EQ(ops.mkdir("/dir/link/new", 0755), -EACCES);
        CHECK_EQ(ops.rmdir("/dir/link/new"), -EACCES);
        fi.flags |= O_CREAT;
        CHECK_EQ(ops.create("/dir/link/new", 0644, &fi), -EACCES);
        CHECK_EQ(os_size(secret), 6);
        CHECK_EQ(ops.unlink("/plain"), 0);
        CALL(remove_dir_link(path));
    }
    CHECK_EQ(remove(secret), 0);
    CHECK(RemoveDirectoryA(outside));
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
    if (!made)
        SKIP("no link to a directory can be made here");
}

/* The same, when the link comes right after the directory was looked at. */
static char swap_dir[700], swap_was[700], swap_to[700];
static unsigned looks_left; /* the last of them is where the link comes */

static DWORD WINAPI look(LPCWSTR path)
{
    static DWORD(WINAPI * real)(LPCWSTR);
    const size_t n = wcslen(path);

    if (!real) {
        const FARPROC at = GetProcAddress(GetModuleHandleA("kernel32"), "GetFileAttributesW");
        memcpy(&real, &at, sizeof(at));
    }
    const DWORD is = real(path);
    if (looks_left > 0 && n > 4 && !wcscmp(path + n - 4, L"\\dir") && --looks_left == 0) {
        CHECK_EQ(rename(swap_dir, swap_was), 0);
        CHECK(make_dir_link(swap_dir, swap_to));
    }
    return is;
}
/* This is what the program calls: the linker takes it in the place of the library's pointer. */
DWORD(WINAPI *const __imp_GetFileAttributesW)(LPCWSTR) = look;

/* What is done then to the names that are there is refused, or done in the folder. False: the
 * directory is not looked at so often. */
static bool swap_in_look(unsigned number, int (*what)(void))
{
    char secret[720], sub[720], made[720];

    looks_left = number;
    const int e = what();
    CHECK(e == -EACCES || e == -ENOENT || e == 0);
    if (looks_left > 0) {
        CHECK(number > 1);
        looks_left = 0;
        return false;
    }
    (void)snprintf(secret, sizeof(secret), "%s/secret", swap_to);
    (void)snprintf(sub, sizeof(sub), "%s/sub", swap_to);
    (void)snprintf(made, sizeof(made), "%s/new", swap_to);
    CHECK_EQ(os_size(secret), 6);
    CHECK(GetFileAttributesA(sub) == FILE_ATTRIBUTE_DIRECTORY);
    CHECK(GetFileAttributesA(made) == INVALID_FILE_ATTRIBUTES);
    CALL(remove_dir_link(swap_dir));
    CHECK_EQ(rename(swap_was, swap_dir), 0);
    return true;
}

static int now_unlink(void)
{
    return ops.unlink("/dir/secret");
}
static int now_rmdir(void)
{
    return ops.rmdir("/dir/sub");
}
static int now_mkdir(void)
{
    return ops.mkdir("/dir/new", 0755);
}
static int now_create(void)
{
    struct fuse_file_info fi = { .flags = O_RDWR | O_CREAT };
    const int e = ops.create("/dir/new", 0644, &fi);
    return e == 0 ? ops.release("/dir/new", &fi) : e;
}
static int now_move_out(void)
{
    return ops.rename("/plain", "/dir/secret", 0);
}
static int now_move_in(void)
{
    return ops.rename("/dir/secret", "/mine", 0);
}
static int none(void *buf, const char *name, const api_stat *st, api_off off,
                enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)name, (void)off, (void)flags, (void)st;
    return 0;
}
static int now_list(void) /* it is not there, but behind the link it is */
{
    const int e = ops.readdir("/dir/sub", NULL, none, 0, NULL, (enum fuse_readdir_flags)0);

    CHECK(e != 0);
    return e;
}

static void swap_during(int (*what)(void))
{
    for (unsigned number = 1; swap_in_look(number, what); number++) {
        (void)ops.unlink("/dir/new"); /* what was done in the folder */
        (void)ops.rmdir("/dir/new");
        if (what == now_move_out) {
            (void)ops.unlink("/dir/secret");
            (void)ops.unlink("/plain");
            CALL(make_it("/plain", 100));
        }
    }
    (void)ops.unlink("/dir/new");
    (void)ops.rmdir("/dir/new");
    (void)ops.unlink("/dir/secret");
}

static void test_links_between(void)
{
    char secret[720], sub[720];

    CALL(begin_test());
    (void)snprintf(swap_to, sizeof(swap_to), "%s/outside", base);
    (void)snprintf(swap_dir, sizeof(swap_dir), "%s/dir", folder);
    (void)snprintf(swap_was, sizeof(swap_was), "%s/was", folder);
    (void)snprintf(secret, sizeof(secret), "%s/secret", swap_to);
    (void)snprintf(sub, sizeof(sub), "%s/sub", swap_to);
    CHECK(CreateDirectoryA(swap_to, NULL) && CreateDirectoryA(sub, NULL));
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    FILE *f = fopen(secret, "wb");
    REQUIRE(f && fputs("secret", f) >= 0 && fclose(f) == 0);
    const bool can = make_dir_link(swap_was, swap_to);
    if (can) {
        CALL(remove_dir_link(swap_was));
        CALL(make_it("/plain", 100));
        CALL(swap_during(now_unlink));
        CALL(swap_during(now_rmdir));
        CALL(swap_during(now_mkdir));
        CALL(swap_during(now_create));
        CALL(swap_during(now_move_in));
        CALL(swap_during(now_move_out));
        CALL(swap_during(now_list));
        (void)ops.unlink("/plain");
    }
    CHECK(remove(secret) == 0 && RemoveDirectoryA(sub) && RemoveDirectoryA(swap_to));
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
    if (!can)
        SKIP("no link to a directory can be made here");
}

static const struct harness_test tests[] = { TEST(links_out), TEST(links_between) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
