/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp.c - the operations of cachemax-winfsp with a pool and files, called without FUSE: so
 * they run on Windows (Wine), too, where WinFsp may not be.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef _WIN32
#include <windows.h>

#include <sddl.h>
#endif

#include "../os.h"
#include "../../examples/winfsp/announce.h"
#include "../../examples/winfsp/cache.h"
#include "../../examples/winfsp/ops.h"

#define SIZE 20000

static char base[512], folder[600], pool[600];
static bool everyone;
static char wrote[SIZE], got[SIZE + 1];

static void begin_test(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    char dir[512];

    o.size = UINT64_C(8) << 20;
    REQUIRE(os_make_dir(base, sizeof(base), NULL, "winfsp"));
    (void)snprintf(folder, sizeof(folder), "%s/folder", base);
    (void)snprintf(pool, sizeof(pool), "%s/pool", base);
    REQUIRE(os_make_dir(dir, sizeof(dir), base, "new"));
    CHECK_EQ(rename(dir, folder), 0);
    CHECK_EQ(cm_create(pool, &o), 0);
    REQUIRE(cache_begin(pool) == 0);
    REQUIRE(origin_begin(folder, everyone) == 0);
    for (int i = 0; i < SIZE; i++)
        wrote[i] = (char)(1 + i % 251);
}

static void end_test(void)
{
    CHECK_EQ(ops_end(), 0);
    origin_end();
    CHECK_EQ(cache_end(), 0);
    CHECK_EQ(remove(pool), 0);
    CHECK(os_remove_dir(folder) && os_remove_dir(base));
}

static uint64_t open_it(const char *path, int flags)
{
    struct fuse_file_info fi = { .flags = flags };
    const int e = flags & O_CREAT ? ops.create(path, 0644, &fi) : ops.open(path, &fi);

    CHECK_EQ(e, 0);
    return fi.fh;
}

static void close_it(uint64_t fh)
{
    struct fuse_file_info fi = { .fh = fh };

    CHECK_EQ(ops.release(NULL, &fi), 0);
}

static void write_at(uint64_t fh, int off, int len)
{
    struct fuse_file_info fi = { .fh = fh };

    CHECK_EQ(ops.write(NULL, wrote + off, (size_t)len, off, &fi), len);
}

/* All of the file is what was written. */
static void is_right(uint64_t fh, int size)
{
    struct fuse_file_info fi = { .fh = fh };
    api_stat st;

    CHECK_EQ(ops.read(NULL, got, sizeof(got), 0, &fi), size);
    CHECK_EQ(memcmp(got, wrote, (size_t)size), 0);
    CHECK_EQ(ops.read(NULL, got, 100, size, &fi), 0);
    CHECK_EQ(ops.getattr(NULL, &st, &fi), 0);
    CHECK_EQ(st.st_size, size);
}

static void make_it(const char *path, int size)
{
    const uint64_t fh = open_it(path, O_CREAT | O_RDWR);

    REQUIRE(fh != 0);
    write_at(fh, 0, size);
    close_it(fh);
}

static uint64_t hits(void)
{
    cm_stats_data s = CM_STATS_INIT;

    CHECK_EQ(cm_pool_stats(pool, &s), 0);
    return s.hit_blocks;
}

static void test_reads_and_writes(void)
{
    struct fuse_file_info fi = { 0 };
    uint64_t fh, other;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDWR);
    for (int i = 0; i < 4; i++)
        CALL(is_right(fh, SIZE));
    CHECK(hits() > 0);
    wrote[5000]++;
    write_at(other, 5000, 1); /* also what the first handle has cached */
    CALL(is_right(fh, SIZE));
    fi.fh = other;
    CHECK_EQ(ops.fsync(NULL, 0, &fi), 0);
    CHECK_EQ(ops.truncate(NULL, 9000, &fi), 0);
    CALL(is_right(fh, 9000));
    CHECK_EQ(ops.truncate("/file", 9500, NULL), 0);
    memset(wrote + 9000, 0, 500);
    CALL(is_right(fh, 9500));
    close_it(fh);
    close_it(other);
    fh = open_it("/file", O_RDWR | O_TRUNC);
    CALL(is_right(fh, 0));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static bool make_hard_link(const char *path, const char *to)
{
#ifdef _WIN32
    return CreateHardLinkA(to, path, NULL);
#else
    return link(path, to) == 0;
#endif
}

static void write_outside(const char *path, int off)
{
    FILE *f = fopen(path, "r+b");

    REQUIRE(f != NULL);
    CHECK(fseek(f, off, SEEK_SET) == 0 && fputc(wrote[off], f) >= 0 && fclose(f) == 0);
}

/* A file with a name outside of the folder may be written there at any time. What is open, and what
 * was cached when it had one name, is not served. */
static void test_name_outside(void)
{
    char path[700], outside[700];
    uint64_t fh, other, before;

    CALL(begin_test());
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    (void)snprintf(outside, sizeof(outside), "%s/outside", base);
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    for (int i = 0; i < 4; i++)
        CALL(is_right(fh, SIZE));
    close_it(fh);
    REQUIRE(make_hard_link(path, outside));
    fh = open_it("/file", O_RDONLY);
    other = open_it("/file", O_RDWR);
    before = hits();
    for (int i = 0; i < 3; i++) {
        wrote[5000 + i]++;
        CALL(write_outside(outside, 5000 + i));
        CALL(is_right(fh, SIZE));
        wrote[9000 + i]++;
        write_at(other, 9000 + i, 1);
        CALL(is_right(fh, SIZE));
    }
    CHECK_EQ(hits(), before);
    close_it(other);
    CHECK_EQ(remove(outside), 0);
    CALL(is_right(fh, SIZE));
    close_it(fh);
    fh = open_it("/file", O_RDONLY);
    CALL(is_right(fh, SIZE));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static unsigned seen;

static int see(void *buf, const char *name, const api_stat *st, api_off off,
               enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)off, (void)flags;
    if (!strcmp(name, "\xc3\xa4 b"))
        seen += (st->st_mode & S_IFMT) == S_IFREG ? 2 : 1;
    return 0;
}

#ifdef _WIN32
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
#endif

static unsigned forgotten;

int __real_cm_forget(cm_cache *cache, const cm_file_id *id);
int __wrap_cm_forget(cm_cache *cache, const cm_file_id *id);
int __wrap_cm_forget(cm_cache *cache, const cm_file_id *id)
{
    forgotten++;
    return __real_cm_forget(cache, id);
}

static void test_names(void)
{
    struct fuse_file_info fi = { .flags = O_RDONLY };
    api_statvfs s;
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    CHECK_EQ(ops.mkdir("/dir", 0755), -EEXIST);
    CALL(make_it("/a", 5000));
    CALL(make_it("/dir/over", 100));
    fh = open_it("/dir/over", O_RDONLY);
    CALL(is_right(fh, 100));
    close_it(fh);
    CHECK_EQ(ops.rename("/a", "/dir/over", 0), 0); /* what was there is forgotten */
    fh = open_it("/dir/over", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.rename("/dir/over", "/dir/\xc3\xa4 b", 0), 0);
    CHECK_EQ(ops.readdir("/dir", NULL, see, 0, NULL, (enum fuse_readdir_flags)0), 0);
    CHECK_EQ(seen, 2);
    CHECK_EQ(ops.getattr("/dir", &st, NULL), 0);
    CHECK_EQ(st.st_mode & S_IFMT, S_IFDIR);
    CHECK_EQ(ops.getattr("/a", &st, NULL), -ENOENT);
    CHECK_EQ(ops.open("/a", &fi), -ENOENT);
    fi.flags = O_RDWR | O_CREAT | O_EXCL;
    CHECK_EQ(ops.create("/dir/\xc3\xa4 b", 0644, &fi), -EEXIST);
    CHECK_EQ(ops.rmdir("/dir"), -ENOTEMPTY);
    CHECK(ops.statfs("/", &s) == 0 && s.f_blocks > 0);
    CHECK_EQ(ops.unlink("/dir/\xc3\xa4 b"), 0);
    CHECK_EQ(ops.unlink("/dir/\xc3\xa4 b"), -ENOENT);
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
}

/* What a file's name becomes may be a name of the same file: on Windows with other letters. Then
 * nothing is lost, and nothing is forgotten. */
static void test_other_letters(void)
{
    unsigned before;
    api_stat st;

    CALL(begin_test());
    CALL(make_it("/name.txt", 5000));
    CALL(make_it("/other", 100));
    before = forgotten;
    CHECK_EQ(ops.rename("/name.txt", "/Name.TXT", 0), 0);
    CHECK_EQ(forgotten, before);
    CHECK_EQ(ops.getattr("/Name.TXT", &st, NULL), 0);
    CHECK_EQ(ops.rename("/other", "/Name.TXT", 0), 0);
    CHECK_EQ(forgotten, before + 1);
    CHECK_EQ(ops.unlink("/Name.TXT"), 0);
    CHECK_EQ(forgotten, before + 2);
    CALL(end_test());
}

/* WinFsp makes the rights of users of the mode, and all is done with those of who started the
 * mount. So others get none, unless that is asked for. Names differ only if they do so for Windows.
 */
static void test_others(void)
{
    const unsigned insensitive = 1u << 29; /* FSP_FUSE_CAP_CASE_INSENSITIVE */
    struct fuse_config config = { .use_ino = 0 };
    struct fuse_conn_info conn = { .capable = ~0u };
    api_stat st;

    for (unsigned k = 0; k < 2; k++) {
        CASE("everyone %u", k);
        everyone = k != 0;
        CALL(begin_test());
        CALL(make_it("/file", 100));
        CHECK_EQ(ops.mkdir("/dir", 0755), 0);
#ifdef _WIN32
        CHECK(ops.getattr("/file", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0777 : 0700);
        CHECK(ops.getattr("/dir", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0777 : 0700);
        CHECK_EQ(ops.chmod("/file", 0444, NULL), 0);
        CHECK(ops.getattr("/file", &st, NULL) == 0);
        CHECK_EQ(st.st_mode & 0777, everyone ? 0555 : 0500);
        CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
#endif
        CHECK_EQ(ops.unlink("/file"), 0);
        CHECK_EQ(ops.rmdir("/dir"), 0);
        CALL(end_test());
    }
    everyone = false;
    (void)st;
    (void)ops.init(&conn, &config);
#ifdef _WIN32
    CHECK((conn.want & insensitive) != 0);
#else
    CHECK((conn.want & insensitive) == 0);
#endif
}

/* With --everyone all users have all rights that CreateFile asks for, also FILE_WRITE_EA, which
 * WinFsp makes of no mode. Else no rights are given but by the modes. */
static void test_rights_of_everyone(void)
{
#ifdef _WIN32
    const DWORD asks = FILE_GENERIC_READ | FILE_GENERIC_WRITE | FILE_GENERIC_EXECUTE | DELETE;
    const char *const given = strstr(ops_options(true), ",FileSecurity=");
    PSECURITY_DESCRIPTOR d;
    BYTE all[SECURITY_MAX_SID_SIZE];
    DWORD room = sizeof(all);
    ACCESS_ALLOWED_ACE *ace;
    BOOL there, unused;
    ACL *acl;

    CHECK(!strstr(ops_options(false), "FileSecurity"));
    REQUIRE(given && !strchr(given + 1, ','));
    REQUIRE(ConvertStringSecurityDescriptorToSecurityDescriptorA(given + strlen(",FileSecurity="),
                                                                 SDDL_REVISION_1, &d, NULL));
    CHECK(GetSecurityDescriptorDacl(d, &there, &acl, &unused) && there);
    CHECK_EQ(acl->AceCount, 1);
    CHECK(GetAce(acl, 0, (void **)&ace) && CreateWellKnownSid(WinWorldSid, NULL, all, &room));
    CHECK_EQ(ace->Header.AceType, ACCESS_ALLOWED_ACE_TYPE);
    CHECK_EQ(ace->Mask & asks, asks);
    CHECK(EqualSid(&ace->SidStart, all));
    LocalFree(d);
#else
    CHECK(strstr(ops_options(true), "allow_other,default_permissions") != NULL);
    CHECK(!strstr(ops_options(false), "allow_other"));
#endif
}

/* "Read only" restricts nothing in a directory of Windows, and Explorer sets it. Wine does not set
 * it, but shows it of a directory that nobody may write. */
static void test_read_only_folder(void)
{
#ifdef _WIN32
    api_stat st;

    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/dir", 0755), 0);
    CHECK_EQ(ops.chmod("/dir", 0555, NULL), 0);
    CHECK_EQ(ops.getattr("/dir", &st, NULL), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    CALL(make_it("/dir/in", 100));
    CHECK_EQ(ops.unlink("/dir/in"), 0);
    CHECK_EQ(ops.chmod("/dir", 0755, NULL), 0);
    CHECK_EQ(ops.rmdir("/dir"), 0);
    CALL(end_test());
    REQUIRE(origin_begin("Z:\\proc", false) == 0);
    if (ops.getattr("/", &st, NULL) == 0)
        CHECK_EQ(st.st_mode & 0777, 0700);
    origin_end();
#endif
}

static atomic_uint said;

static void say(void)
{
    atomic_fetch_add(&said, 1);
}

/* "Is mounted" is said when the mount is there. WinFsp makes it after it has called init. */
static void test_announced(void)
{
    struct fuse_config config = { .use_ino = 0 };
    struct fuse_conn_info conn = { .capable = 0 };
    char place[600], dir[512];

    REQUIRE(os_make_dir(base, sizeof(base), NULL, "winfsp"));
    REQUIRE(os_make_dir(dir, sizeof(dir), base, "new"));
    (void)snprintf(place, sizeof(place), "%s/folder", base);
    atomic_store(&said, 0);
    announce_begin(place, say);
#ifdef _WIN32
    (void)ops.init(&conn, &config);
    usleep(200000);
    CHECK_EQ(atomic_load(&said), 0);
    CHECK_EQ(rename(dir, place), 0);
    for (unsigned i = 0; i < 1000 && atomic_load(&said) == 0; i++)
        usleep(10000);
#else
    CHECK_EQ(rename(dir, place), 0);
    CHECK_EQ(atomic_load(&said), 0);
    (void)ops.init(&conn, &config);
#endif
    CHECK_EQ(atomic_load(&said), 1);
    announce_end();
    announce_end();
    CHECK_EQ(atomic_load(&said), 1);
    CHECK_EQ(rename(place, dir), 0);
    announce_begin(place, say); /* it never comes */
    announce_end();
    CHECK_EQ(atomic_load(&said), 1);
    CHECK(os_remove_dir(dir) && os_remove_dir(base));
}

static void test_attributes(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", 5000));
    CHECK_EQ(ops.chmod("/file", 0444, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && (st.st_mode & 0222) == 0);
    CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && (st.st_mode & 0200) != 0);
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK(ops.getattr("/file", &st, NULL) == 0 && st.st_mtim.tv_sec == 1500000000);
    fh = open_it("/file", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

/* What the last calls were: of cm_identify_with (i) and origin_close (c). */
static char calls[8];

static void note_call(char what)
{
    memmove(calls, calls + 1, sizeof(calls) - 2);
    calls[sizeof(calls) - 2] = what;
}

int __real_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v);
int __wrap_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v);
int __wrap_cm_identify_with(intptr_t file, const cm_identify_options *o, cm_file_id *id,
                            cm_validator *v)
{
    note_call('i');
    return __real_cm_identify_with(file, o, id, v);
}

/* What NTFS does: a handle that has written sets the time of the last write anew when it is closed,
 * but not if the time was set by that handle, whose writes leave it. */
static struct {
    origin_file f;
    bool written, timed;
    api_timespec times[2];
} ntfs[16];
static bool is_ntfs;

static void note(origin_file f, bool written, const api_timespec *times)
{
    unsigned i = 0;

    while (i < 16 && ntfs[i].f != f)
        i++;
    for (i = i < 16 ? i : 0; i < 15 && ntfs[i].f != f && ntfs[i].f != 0;)
        i++;
    ntfs[i].f = f;
    ntfs[i].written |= written;
    if (times)
        memcpy(ntfs[i].times, times, sizeof(ntfs[i].times));
    ntfs[i].timed |= times != NULL;
}

int64_t __real_origin_write(origin_file f, uint64_t off, const void *buf, size_t len);
int64_t __wrap_origin_write(origin_file f, uint64_t off, const void *buf, size_t len);
int64_t __wrap_origin_write(origin_file f, uint64_t off, const void *buf, size_t len)
{
    note(f, true, NULL);
    return __real_origin_write(f, off, buf, len);
}

int __real_origin_set_times_of(origin_file f, const api_timespec tv[2]);
int __wrap_origin_set_times_of(origin_file f, const api_timespec tv[2]);
int __wrap_origin_set_times_of(origin_file f, const api_timespec tv[2])
{
    note(f, false, tv);
    return __real_origin_set_times_of(f, tv);
}

static void note_end(origin_file f)
{
    const api_timespec now[2] = { { .tv_sec = time(NULL) }, { .tv_sec = time(NULL) } };

    for (unsigned i = 0; i < 16; i++)
        if (ntfs[i].f == f) {
            if (is_ntfs && ntfs[i].written)
                CHECK_EQ(__real_origin_set_times_of(f, ntfs[i].timed ? ntfs[i].times : now), 0);
            memset(&ntfs[i], 0, sizeof(ntfs[i]));
        }
}

static unsigned closed;

int __real_origin_close(origin_file f);
int __wrap_origin_close(origin_file f);
int __wrap_origin_close(origin_file f)
{
    note_call('c');
    note_end(f);
    closed++;
    return __real_origin_close(f);
}

/* Windows moves the times and the number of the journal when what has changed a file is closed. So
 * the validator is taken after that. */
static void test_validator_after_close(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = 1500000000 } };
    struct fuse_file_info fi = { 0 };
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", 5000));
    memset(calls, '.', sizeof(calls) - 1);
    fh = open_it("/file", O_RDWR);
    CALL(write_at(fh, 0, 100));
    fi.fh = fh;
    CHECK_EQ(ops.release("/file", &fi), 0);
    CHECK(!strcmp(calls, "...icic"));
    memset(calls, '.', sizeof(calls) - 1);
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK(!strcmp(calls, "...icic"));
    CHECK_EQ(ops.rename("/file", "/other", 0), 0);
    memset(calls, '.', sizeof(calls) - 1);
    fh = open_it("/other", O_RDONLY);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK(!strcmp(calls, ".....ic")); /* nothing has changed */
    CHECK_EQ(ops.unlink("/other"), 0);
    CALL(end_test());
}

/* WinFsp closes no file that is open when it ends. Windows does not rename the folder back then. */
static void test_ends_while_open(void)
{
    uint64_t first, middle;
    unsigned before;

    CALL(begin_test());
    first = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(first, 0, 5000));
    middle = open_it("/file", O_RDONLY);
    CALL(is_right(middle, 5000));
    (void)open_it("/other", O_CREAT | O_RDWR);
    close_it(middle);
    before = closed;
    CHECK_EQ(ops_end(), 2);
    CHECK_EQ(closed, before + 2);
    CHECK_EQ(ops_end(), 0);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/other") == 0);
    CALL(end_test()); /* the pool is in use no more */
}

#define PAST 1500000000

static int64_t last_write(const char *path)
{
    api_stat st;

    CHECK_EQ(ops.getattr(path, &st, NULL), 0);
    return st.st_mtim.tv_sec;
}

/* WinFsp never says which handle sets a time. It stays when those are closed that have written. */
static void test_times_stay(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = PAST } };
    uint64_t fh, other, later, not_it;

    is_ntfs = true;
    CALL(begin_test());
    fh = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(fh, 0, 5000));
    other = open_it("/file", O_RDWR);
    CALL(write_at(other, 0, 5000));
    later = open_it("/file", O_RDWR);
    not_it = open_it("/other", O_CREAT | O_RDWR);
    CALL(write_at(not_it, 0, 5000));
    CHECK_EQ(ops.utimens("/file", tv, NULL), 0);
    CHECK_EQ(last_write("/file"), PAST);
    close_it(fh);
    close_it(other);
    close_it(not_it);
    CHECK_EQ(last_write("/file"), PAST);
    CHECK(last_write("/other") > PAST);
    CALL(write_at(later, 0, 100)); /* it had not written: its writes set the time */
    close_it(later);
    CHECK(last_write("/file") > PAST);
    CHECK(ops.unlink("/file") == 0 && ops.unlink("/other") == 0);
    CALL(end_test());
    is_ntfs = false;
}

/* Linux does say so, and no name leads to what was deleted. */
static void test_times_of_handle(void)
{
    const api_timespec tv[2] = { { .tv_sec = 1600000000 }, { .tv_sec = PAST } };
    struct fuse_file_info fi = { 0 };
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    fh = open_it("/file", O_CREAT | O_RDWR);
    CALL(write_at(fh, 0, 5000));
    fi.fh = fh;
    CHECK_EQ(ops.utimens(NULL, tv, &fi), 0);
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_mtim.tv_sec == PAST);
    CALL(write_at(fh, 0, 5000));
    CHECK_EQ(ops.utimens("/file", tv, &fi), 0);
    CHECK_EQ(ops.release("/file", &fi), 0);
    CHECK_EQ(last_write("/file"), PAST);
    CHECK_EQ(ops.chmod("/file", 0644, NULL), 0);
    fh = open_it("/file", O_RDONLY);
    fi.fh = fh;
    CHECK_EQ(ops.utimens("/file", (api_timespec[2]){ tv[1], tv[0] }, &fi), 0);
    CHECK(ops.getattr("/file", &st, &fi) == 0 && st.st_mtim.tv_sec == 1600000000);
    CALL(is_right(fh, 5000));
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static atomic_uint checkpoints, by_reader;
static _Thread_local bool reads; /* this thread */

int __real_cm_checkpoint(cm_cache *cache);
int __wrap_cm_checkpoint(cm_cache *cache);
int __wrap_cm_checkpoint(cm_cache *cache)
{
    const int e = __real_cm_checkpoint(cache);

    atomic_fetch_add(reads ? &by_reader : &checkpoints, 1);
    return e;
}

/* They come as long as something changes, and no reader waits for one. */
static void test_checkpoints(void)
{
    const uint64_t end = cm_now() + UINT64_C(120000000000);
    uint64_t fh;

    CALL(begin_test());
    CALL(make_it("/file", SIZE));
    fh = open_it("/file", O_RDONLY);
    reads = true;
    do {
        CALL(is_right(fh, SIZE));
        usleep(20000);
    } while (atomic_load(&checkpoints) + atomic_load(&by_reader) == 0 && cm_now() < end);
    reads = false;
    CHECK_EQ(atomic_load(&by_reader), 0);
    CHECK(atomic_load(&checkpoints) > 0);
    close_it(fh);
    CHECK_EQ(ops.unlink("/file"), 0);
    CALL(end_test());
}

static const struct harness_test tests[] = { TEST(reads_and_writes),
                                             TEST(name_outside),
#ifdef _WIN32
                                             TEST(links_out),
                                             TEST(links_between),
#endif
                                             TEST(names),
                                             TEST(other_letters),
                                             TEST(attributes),
                                             TEST(validator_after_close),
                                             TEST(ends_while_open),
                                             TEST(times_stay),
                                             TEST(times_of_handle),
                                             TEST(read_only_folder),
                                             TEST(others),
                                             TEST(rights_of_everyone),
                                             TEST(announced),
                                             TEST(checkpoints) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
