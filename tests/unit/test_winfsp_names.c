/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_winfsp_names.c - names that WinFsp does not pass as they are, on Windows (Wine).
 *
 * No name of Windows may have one of `"*:<>?\|` or a control character. Programs that need one
 * (Cygwin, WSL, Macs over SMB) take the character U+F000 + c in its place. WinFsp undoes that in
 * the paths that it passes, but not in the names that it has been given in a list. Of half a pair
 * of surrogates it makes U+FFFD.
 */
#include "winfsp_case.h"

#define PRIVATE 0xf000

static const char replaced[] = "\"*:<>?\\|\x01\x09\x1f";

/* A name in the folder, as Windows has it. */
static const wchar_t *at_origin(const wchar_t *name)
{
    static wchar_t path[2][1500];
    static unsigned turn;
    wchar_t *const p = path[turn++ % 2];

    p[0] = L'\0';
    MultiByteToWideChar(CP_ACP, 0, folder, -1, p, 700);
    wcscat(p, L"/");
    wcscat(p, name);
    return p;
}

static bool is_there(const wchar_t *name)
{
    return GetFileAttributesW(at_origin(name)) != INVALID_FILE_ATTRIBUTES;
}

static char list[1000];

static int list_it(void *buf, const char *name, const api_stat *st, api_off off,
                   enum fuse_fill_dir_flags flags)
{
    (void)buf, (void)st, (void)off, (void)flags;
    if (strcmp(name, ".") && strcmp(name, "..")) {
        strcat(list, "/");
        strcat(list, name);
    }
    return 0;
}

static bool lists(const char *path, const char *names)
{
    list[0] = '\0';
    return ops.readdir(path, NULL, list_it, 0, NULL, (enum fuse_readdir_flags)0) == 0 &&
           !strcmp(list, names);
}

/* `passed`: as WinFsp passes it; `listed`: as it is in lists. */
static void is_a_file(const char *passed, const char *listed, const wchar_t *name)
{
    api_stat st;
    uint64_t fh;

    CALL(make_it(passed, SIZE));
    CHECK(is_there(name));
    CHECK(lists("/", listed));
    CHECK(ops.getattr(passed, &st, NULL) == 0 && st.st_size == SIZE);
    CHECK(ops.getattr(listed, &st, NULL) == 0 && st.st_size == SIZE); /* for a list */
    fh = open_it(passed, O_RDWR);
    if (fh != 0) {
        CALL(is_right(fh, SIZE));
        close_it(fh);
    }
    CHECK_EQ(ops.truncate(passed, 100, NULL), 0);
    CHECK_EQ(ops.chmod(passed, 0644, NULL), 0);
    CHECK_EQ(ops.rename(passed, "/other", 0), 0);
    CHECK(!is_there(name) && is_there(L"other"));
    CHECK_EQ(ops.rename("/other", passed, 0), 0);
    CHECK(is_there(name) && !is_there(L"other"));
    CHECK_EQ(ops.unlink(passed), 0);
    CHECK(lists("/", ""));
}

static void is_a_dir(const char *passed, const char *listed, const wchar_t *name)
{
    char in[64];
    api_stat st;

    (void)snprintf(in, sizeof(in), "%s%s", passed, passed);
    CHECK_EQ(ops.mkdir(passed, 0755), 0);
    CHECK(is_there(name) && lists("/", listed));
    CHECK(ops.getattr(passed, &st, NULL) == 0 && (st.st_mode & S_IFMT) == S_IFDIR);
    CALL(make_it(in, 100));
    CHECK(lists(passed, listed));
    CHECK_EQ(ops.unlink(in), 0);
    CHECK_EQ(ops.rmdir(passed), 0);
    CHECK(lists("/", ""));
}

static void test_private_characters(void)
{
    CALL(begin_test());
    for (const char *c = replaced; *c; c++) {
        const wchar_t name[] = { L'a', (wchar_t)(PRIVATE + *c), L'b', L'\0' };
        const char passed[] = { '/', 'a', *c, 'b', '\0' };
        const char listed[] = {
            '/', 'a', '\xef', (char)(0x80 | *c >> 6), (char)(0x80 | (*c & 0x3f)), 'b', '\0'
        };
        CASE("character %u", (unsigned)*c);
        CALL(is_a_file(passed, listed, name));
        CALL(is_a_dir(passed, listed, name));
    }
    CALL(end_test());
}

/* Only "/" parts the names of a path. */
static void test_other_file(void)
{
    api_stat st;
    uint64_t fh;

    CALL(begin_test());
    CHECK_EQ(ops.mkdir("/a", 0755), 0);
    CALL(make_it("/a/b", 100));
    CHECK_EQ(ops.getattr("/a\\b", &st, NULL), -ENOENT);
    CHECK_EQ(ops.unlink("/a\\b"), -ENOENT);
    CHECK_EQ(ops.truncate("/a\\b", 0, NULL), -ENOENT);
    CALL(make_it("/a\\b", SIZE));
    fh = open_it("/a\\b", O_RDONLY);
    if (fh != 0) {
        CALL(is_right(fh, SIZE));
        close_it(fh);
    }
    CHECK(ops.getattr("/a/b", &st, NULL) == 0 && st.st_size == 100);
    CHECK_EQ(ops.rename("/a\\b", "/a\\c", 0), 0);
    CHECK(is_there(L"a\xf05c"
                   L"c") &&
          !is_there(L"a/c"));
    CHECK_EQ(ops.unlink("/a\\c"), 0);
    CHECK(lists("/a", "/b"));
    CHECK_EQ(ops.getattr("/a/b::$DATA", &st, NULL), -ENOENT); /* no stream */
    CHECK(ops.unlink("/a/b") == 0 && ops.rmdir("/a") == 0);
    CALL(end_test());
}

/* Two names with other halves would become one. A name that has U+FFFD at the origin is used. */
static void test_half_pairs(void)
{
    static const char name[] = "/x\xef\xbf\xbd", in[] = "/x\xef\xbf\xbd/in";
    struct fuse_file_info fi = { .flags = O_RDWR | O_CREAT | O_EXCL };
    uint64_t fh;

    CALL(begin_test());
    CHECK_EQ(ops.create(name, 0644, &fi), -EINVAL);
    CHECK_EQ(ops.mkdir(name, 0755), -EINVAL);
    CALL(make_it("/plain", SIZE));
    CHECK_EQ(ops.rename("/plain", name, 0), -EINVAL);
    CHECK(lists("/", "/plain"));
    CHECK(MoveFileW(at_origin(L"plain"), at_origin(L"x\xfffd")));
    CHECK(lists("/", name));
    fh = open_it(name, O_RDWR);
    if (fh != 0) {
        CALL(is_right(fh, SIZE));
        close_it(fh);
    }
    CHECK_EQ(ops.rename(name, "/plain", 0), 0);
    CHECK_EQ(ops.unlink("/plain"), 0);
    CHECK(CreateDirectoryW(at_origin(L"x\xfffd"), NULL));
    CALL(make_it(in, 100));
    CHECK_EQ(ops.unlink(in), 0);
    CHECK_EQ(ops.rmdir(name), 0);
    CALL(end_test());
}

static const struct harness_test tests[] = { TEST(private_characters), TEST(other_file),
                                             TEST(half_pairs) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
