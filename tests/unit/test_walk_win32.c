/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_walk_win32.c - all files below a folder, on Windows: trees that are deep, links, files whose
 * data lie elsewhere, and folders that cannot be read to their end.
 *
 * The calls of the system are replaced: this program defines the addresses that the linker would
 * take from the system's libraries.
 */
#include "harness.h"

#include <stdbool.h>
#include <stdlib.h>
#include <wchar.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../../examples/service/walk.h"

#define REPLACE(name, fake) __typeof__(name) *__imp_##name = fake

/* ---- A volume -------------------------------------------------------------------------------- */

#define DIRECTORY FILE_ATTRIBUTE_DIRECTORY
#define REPARSE FILE_ATTRIBUTE_REPARSE_POINT

struct entry {
    const wchar_t *name;
    DWORD attributes, tag;
};

/* Each folder of the volume has the same entries, to a depth. */
static struct {
    const struct entry *entry; /* the last one has no name */
    unsigned deep;             /* folders below one another */
    DWORD first_error, error;  /* of the first entry, and after the last one */
    unsigned searches;         /* that are open */
} volume;

struct search {
    unsigned depth, next;
};

static unsigned depth_of(const wchar_t *path)
{
    unsigned n = 0;

    for (; *path; path++)
        n += *path == L'\\';
    return n - 4; /* \\?\C:\* is the top */
}

static BOOL WINAPI find_next(HANDLE h, WIN32_FIND_DATAW *to)
{
    struct search *const s = h;
    const struct entry *e = &volume.entry[s->next];

    if (e->name && (e->attributes & DIRECTORY) && e->name[0] != L'.' && s->depth == volume.deep)
        e = &volume.entry[++s->next]; /* no folder at the bottom */
    if (!e->name) {
        SetLastError(volume.error);
        return FALSE;
    }
    s->next++;
    memset(to, 0xee, sizeof(*to));
    wcscpy(to->cFileName, e->name);
    to->dwFileAttributes = e->attributes;
    to->dwReserved0 = e->tag;
    return TRUE;
}
REPLACE(FindNextFileW, find_next);

static HANDLE WINAPI find_first(const wchar_t *path, WIN32_FIND_DATAW *to)
{
    struct search *s = calloc(1, sizeof(*s));

    SetLastError(volume.first_error);
    if (!s || volume.first_error) {
        free(s);
        return INVALID_HANDLE_VALUE;
    }
    volume.searches++;
    s->depth = depth_of(path);
    CHECK(find_next(s, to)); /* a folder of this test has an entry */
    return s;
}
REPLACE(FindFirstFileW, find_first);

static BOOL WINAPI find_close(HANDLE h)
{
    volume.searches--;
    free(h);
    return TRUE;
}
REPLACE(FindClose, find_close);

static DWORD WINAPI attributes_of(const wchar_t *path)
{
    (void)path;
    return DIRECTORY;
}
REPLACE(GetFileAttributesW, attributes_of);

static HANDLE WINAPI open_file(const wchar_t *path, DWORD access, DWORD share,
                               SECURITY_ATTRIBUTES *a, DWORD how, DWORD flags, HANDLE like)
{
    (void)path, (void)access, (void)share, (void)a, (void)how, (void)like;
    CHECK(flags & FILE_FLAG_OPEN_REPARSE_POINT);
    return (HANDLE)1;
}
REPLACE(CreateFileW, open_file);

static BOOL WINAPI close_file(HANDLE h)
{
    CHECK_EQ((intptr_t)h, 1);
    return TRUE;
}
REPLACE(CloseHandle, close_file);

/* ---- A walk ---------------------------------------------------------------------------------- */

static unsigned files;
static char seen[200]; /* the first names, without "C:" */

static void each(void *arg, const char *path, intptr_t file)
{
    CHECK(arg == &files);
    CHECK_EQ(file, 1);
    files++;
    if (strlen(seen) + strlen(path) < sizeof(seen))
        strcat(strcat(seen, path + 2), " ");
}

/* Returns how much could not be seen. */
static uint64_t walk_over(const struct entry *e, unsigned deep)
{
    volume.entry = e;
    volume.deep = deep;
    if (!volume.error)
        volume.error = ERROR_NO_MORE_FILES;
    files = 0;
    seen[0] = 0;
    return walk("C:", each, &files);
}

static const struct entry tree[] = {
    { L".", DIRECTORY, 0 }, { L"..", DIRECTORY, 0 },       { L"a", 0, 0 },
    { L"d", DIRECTORY, 0 }, { L"z", REPARSE, 0x80000013 }, { NULL, 0, 0 },
};

static void test_tree(void)
{
    memset(&volume, 0, sizeof(volume));
    CHECK_EQ(walk_over(tree, 2), 0);
    CHECK_EQ(volume.searches, 0);
    CHECK(strcmp(seen, "\\a \\d\\a \\d\\d\\a \\d\\d\\z \\d\\z \\z ") == 0);
}

/* Deeper than any stack, and than any path. */
static void test_deep(void)
{
    memset(&volume, 0, sizeof(volume));
    CHECK_EQ(walk_over(tree, 15000), 0);
    CHECK_EQ(files, 2 * 15001);
    CHECK(walk_over(tree, 100000) >= 1);
    CHECK(files > 2 * 16000 && files < 2 * 16400);
    CHECK_EQ(volume.searches, 0);
}

/* What only names something else is not followed; data that lie elsewhere are a file's own. */
static void test_reparse_points(void)
{
    static const struct entry e[] = {
        { L"file", 0, 0 },
        { L"deduplicated", REPARSE, 0x80000013 },
        { L"compressed", REPARSE, 0x80000017 },
        { L"cloud", REPARSE, 0x9000001a },
        { L"symlink", REPARSE, 0xa000000c },
        { L"junction", REPARSE | DIRECTORY, 0xa0000003 },
        { L"symlink-to-folder", REPARSE | DIRECTORY, 0xa000000c },
        { L"clouds", REPARSE | DIRECTORY, 0x9000001a },
        { NULL, 0, 0 },
    };

    memset(&volume, 0, sizeof(volume));
    CHECK_EQ(walk_over(e, 1), 0);
    CHECK(strcmp(seen, "\\file \\deduplicated \\compressed \\cloud \\clouds\\file "
                       "\\clouds\\deduplicated \\clouds\\compressed \\clouds\\cloud ") == 0);
    CHECK_EQ(volume.searches, 0);
}

/* What was not seen is told. */
static void test_errors(void)
{
    memset(&volume, 0, sizeof(volume));
    volume.error = ERROR_NETNAME_DELETED; /* instead of an end: of three folders */
    CHECK_EQ(walk_over(tree, 2), 3);
    CHECK_EQ(files, 6);
    CHECK_EQ(volume.searches, 0);
    memset(&volume, 0, sizeof(volume));
    volume.first_error = ERROR_ACCESS_DENIED;
    CHECK_EQ(walk_over(tree, 2), 1);
    CASE("%s", "an empty volume");
    volume.first_error = ERROR_FILE_NOT_FOUND;
    CHECK_EQ(walk_over(tree, 2), 0);
}

static const struct harness_test tests[] = { TEST(tree), TEST(reparse_points), TEST(errors),
                                             TEST(deep) };

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
