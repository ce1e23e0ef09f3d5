/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp_links.c - links and other reparse points in the folder of cachemax-winfsp, and what
 * happens to a file between two calls of the system, on Windows (Wine).
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

/* What is called "tagged" is a reparse point then. Wine has none of them. */
static DWORD tag;
static unsigned opened_raw, opened_as_usual;

static bool is_tagged(const wchar_t *path)
{
    const size_t n = wcslen(path);

    return tag != 0 && n > 7 && !wcscmp(path + n - 7, L"\\tagged");
}

static void find_real(const char *name, void *call, size_t size)
{
    const FARPROC at = GetProcAddress(GetModuleHandleA("kernel32"), name);

    memcpy(call, &at, size);
}

static DWORD WINAPI look(LPCWSTR path)
{
    static DWORD(WINAPI * real)(LPCWSTR);
    const size_t n = wcslen(path);

    if (!real)
        find_real("GetFileAttributesW", &real, sizeof(real));
    const DWORD is = real(path) | (is_tagged(path) ? FILE_ATTRIBUTE_REPARSE_POINT : 0);
    if (looks_left > 0 && n > 4 && !wcscmp(path + n - 4, L"\\dir") && --looks_left == 0) {
        CHECK_EQ(rename(swap_dir, swap_was), 0);
        CHECK(make_dir_link(swap_dir, swap_to));
    }
    return is;
}
/* This is what the program calls: the linker takes it in the place of the library's pointer. */
DWORD(WINAPI *const __imp_GetFileAttributesW)(LPCWSTR) = look;

static HANDLE WINAPI find_first(LPCWSTR path, WIN32_FIND_DATAW *found)
{
    static HANDLE(WINAPI * real)(LPCWSTR, WIN32_FIND_DATAW *);

    if (!real)
        find_real("FindFirstFileW", &real, sizeof(real));
    const HANDLE h = real(path, found);
    if (is_tagged(path)) {
        found->dwFileAttributes |= FILE_ATTRIBUTE_REPARSE_POINT;
        found->dwReserved0 = tag;
    }
    return h;
}
HANDLE(WINAPI *const __imp_FindFirstFileW)(LPCWSTR, WIN32_FIND_DATAW *) = find_first;

#define NOBODYS UINT32_C(0x80000023) /* the tag of a socket: nobody answers an open as usual */

static HANDLE WINAPI open_file(LPCWSTR path, DWORD access, DWORD share, SECURITY_ATTRIBUTES *who,
                               DWORD how, DWORD flags, HANDLE like)
{
    static HANDLE(WINAPI * real)(LPCWSTR, DWORD, DWORD, SECURITY_ATTRIBUTES *, DWORD, DWORD,
                                 HANDLE);
    const bool raw = (flags & FILE_FLAG_OPEN_REPARSE_POINT) != 0;

    if (!real)
        find_real("CreateFileW", &real, sizeof(real));
    if (is_tagged(path) && !raw && tag == NOBODYS) {
        SetLastError(ERROR_CANT_ACCESS_FILE);
        return INVALID_HANDLE_VALUE;
    }
    const HANDLE h = real(path, access, share, who, how, flags, like);
    opened_raw += h != INVALID_HANDLE_VALUE && is_tagged(path) && raw;
    opened_as_usual += h != INVALID_HANDLE_VALUE && is_tagged(path) && !raw;
    return h;
}
HANDLE(WINAPI *const __imp_CreateFileW)
(LPCWSTR, DWORD, DWORD, SECURITY_ATTRIBUTES *, DWORD, DWORD, HANDLE) = open_file;

static BOOL WINAPI look_at(HANDLE h, FILE_INFO_BY_HANDLE_CLASS what, void *info, DWORD size)
{
    static BOOL(WINAPI * real)(HANDLE, FILE_INFO_BY_HANDLE_CLASS, void *, DWORD);
    wchar_t path[2000];

    if (!real)
        find_real("GetFileInformationByHandleEx", &real, sizeof(real));
    if (!real(h, what, info, size))
        return FALSE;
    if (what == FileAttributeTagInfo && GetFinalPathNameByHandleW(h, path, 2000, 0) < 2000 &&
        is_tagged(path)) {
        ((FILE_ATTRIBUTE_TAG_INFO *)info)->FileAttributes |= FILE_ATTRIBUTE_REPARSE_POINT;
        ((FILE_ATTRIBUTE_TAG_INFO *)info)->ReparseTag = tag;
    }
    return TRUE;
}
BOOL(WINAPI *const __imp_GetFileInformationByHandleEx)
(HANDLE, FILE_INFO_BY_HANDLE_CLASS, void *, DWORD) = look_at;

static const api_timespec newer[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
static bool is_touched; /* "/timed", before something is set of it */
static unsigned sets;   /* attributes and times */

static BOOL WINAPI set_it(HANDLE h, FILE_INFO_BY_HANDLE_CLASS what, void *info, DWORD size)
{
    static BOOL(WINAPI * real)(HANDLE, FILE_INFO_BY_HANDLE_CLASS, void *, DWORD);

    if (!real)
        find_real("SetFileInformationByHandle", &real, sizeof(real));
    sets += what == FileBasicInfo;
    if (what == FileBasicInfo && is_touched) {
        is_touched = false;
        CHECK_EQ(ops.utimens("/timed", newer, NULL), 0);
    }
    return real(h, what, info, size);
}
BOOL(WINAPI *const __imp_SetFileInformationByHandle)
(HANDLE, FILE_INFO_BY_HANDLE_CLASS, void *, DWORD) = set_it;

static int none(void *buf, const char *name, const api_stat *st, api_off off,
                enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)name, (void)off, (void)flags, (void)st;
    return 0;
}

static void set_tag(DWORD to)
{
    tag = to;
    opened_raw = opened_as_usual = 0;
}

/* A deduplicated file is a file: those who have its data are asked. */
static void is_file_elsewhere(DWORD of)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
    api_stat st;
    uint64_t fh;

    CALL(make_it("/tagged", 5000));
    set_tag(of);
    CHECK(ops.getattr("/tagged", &st, NULL) == 0 && st.st_size == 5000);
    CHECK(opened_as_usual > 0);
    fh = open_it("/tagged", O_RDWR);
    if (fh != 0) {
        CALL(is_right(fh, 5000));
        write_at(fh, 0, 100);
        close_it(fh);
    }
    CHECK_EQ(ops.truncate("/tagged", 4000, NULL), 0);
    CHECK_EQ(ops.chmod("/tagged", 0644, NULL), 0);
    CHECK_EQ(ops.utimens("/tagged", tv, NULL), 0);
    CHECK_EQ(ops.rename("/tagged", "/other", 0), 0);
    CHECK_EQ(ops.rename("/other", "/tagged", 0), 0);
    CHECK_EQ(ops.unlink("/tagged"), 0);
    CHECK_EQ(opened_raw, opened_as_usual); /* first of all it is looked at */
    set_tag(0);
}

static void is_dir_elsewhere(DWORD of)
{
    CHECK_EQ(ops.mkdir("/tagged", 0755), 0);
    CHECK_EQ(ops.mkdir("/tagged/link", 0755), 0);
    set_tag(of);
    listed = 0;
    CHECK_EQ(ops.readdir("/tagged", NULL, count, 0, NULL, (enum fuse_readdir_flags)0), 0);
    CHECK_EQ(listed, 1);
    CALL(make_it("/tagged/in", 100));
    CHECK_EQ(ops.unlink("/tagged/in"), 0);
    CHECK_EQ(ops.rmdir("/tagged/link"), 0);
    CHECK_EQ(ops.rmdir("/tagged"), 0);
    CHECK(opened_as_usual > 0);
    CHECK_EQ(opened_raw, opened_as_usual);
    set_tag(0);
}

static void is_link_away(DWORD of)
{
    struct fuse_file_info fi = { .flags = O_RDONLY };
    api_stat st;

    CALL(make_it("/tagged", 5000));
    set_tag(of);
    CHECK_EQ(ops.getattr("/tagged", &st, NULL), 0);
    CHECK_EQ(ops.open("/tagged", &fi), -ELOOP);
    CHECK_EQ(ops.unlink("/tagged"), 0);
    set_tag(0);
    CHECK_EQ(ops.mkdir("/tagged", 0755), 0);
    set_tag(of);
    CHECK_EQ(ops.getattr("/tagged/in", &st, NULL), -EACCES);
    CHECK_EQ(ops.mkdir("/tagged/in", 0755), -EACCES);
    CHECK_EQ(ops.readdir("/tagged", NULL, none, 0, NULL, (enum fuse_readdir_flags)0), -EACCES);
    CHECK_EQ(ops.rmdir("/tagged"), 0);
    CHECK_EQ(opened_as_usual, 0);
    set_tag(0);
}

static void test_reparse_points(void)
{
    const DWORD elsewhere[] = { IO_REPARSE_TAG_DEDUP, IO_REPARSE_TAG_HSM, UINT32_C(0x9000001a) };
    api_stat st;

    CALL(begin_test());
    for (unsigned k = 0; k < 3; k++) {
        CASE("tag %lx", (unsigned long)elsewhere[k]);
        CALL(is_file_elsewhere(elsewhere[k]));
        CALL(is_dir_elsewhere(elsewhere[k]));
    }
    CALL(is_link_away(IO_REPARSE_TAG_SYMLINK));
    CALL(is_link_away(IO_REPARSE_TAG_MOUNT_POINT));
    CALL(make_it("/tagged", 5000));
    set_tag(NOBODYS);
    CHECK_EQ(ops.getattr("/tagged", &st, NULL), 0); /* else it were not in lists */
    set_tag(0);
    CHECK_EQ(ops.unlink("/tagged"), 0);
    CALL(end_test());
}

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

/* A program writes to the file while its rights are changed: its times stay. */
static void test_times_and_rights(void)
{
    api_stat st;

    CALL(begin_test());
    CALL(make_it("/timed", 100));
    is_touched = true;
    CHECK_EQ(ops.chmod("/timed", 0444, NULL), 0);
    CHECK(!is_touched);
    CHECK_EQ(ops.getattr("/timed", &st, NULL), 0);
    CHECK_EQ(st.st_mtim.tv_sec, newer[1].tv_sec);
    CHECK_EQ(st.st_mode & 0222, 0);
    CHECK_EQ(ops.chmod("/timed", 0644, NULL), 0);
    CHECK_EQ(ops.unlink("/timed"), 0);
    CALL(end_test());
}

/* "Read only" is another thing there: Explorer looks for a desktop.ini then. Wine does not keep it,
 * so nothing may be set. */
static void test_rights_of_directory(void)
{
    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    CALL(make_it("/file", 100));
    sets = 0;
    CHECK_EQ(ops.chmod("/dir", 0755, NULL), 0);
    CHECK_EQ(ops.chmod("/dir", 0555, NULL), 0);
    CHECK_EQ(ops.chmod("/", 0755, NULL), 0);
    CHECK_EQ(sets, 0);
    CHECK_EQ(ops.chmod("/none", 0755, NULL), -ENOENT);
    CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
    CHECK_EQ(sets, 1);
    CHECK(ops.unlink("/file") == 0 && ops.rmdir("/dir") == 0);
    CALL(end_test());
}

static const struct harness_test tests[] = { TEST(links_out), TEST(links_between),
                                             TEST(reparse_points), TEST(times_and_rights),
                                             TEST(rights_of_directory) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
