/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_folders.c - which files the service's configuration wants to be cached.
 */
#include "harness.h"

#include "../../examples/service/folders.h"

#ifdef _WIN32
#define ROOT "C:"
#else
#define ROOT ""
#endif

static enum folders_verdict judge(const char *folder, const char *exclude, const char *path)
{
    const struct folders f = { .folder = { ROOT "/other", folder },
                               .count = 2,
                               .exclude = { "never", exclude },
                               .excludes = 2 };
    const char *by;
    const enum folders_verdict v = folders_judge(&f, path, &by);
    CHECK(v == FOLDERS_ELSEWHERE ? by == NULL : v == FOLDERS_CACHED ? by == folder : by == exclude);
    return v;
}

static void test_folder(void)
{
    static const struct {
        const char *folder, *path;
        bool below;
    } cases[] = {
        { ROOT "/data", ROOT "/data/a", true },
        { ROOT "/data", ROOT "/data/a/b", true },
        { ROOT "/data", ROOT "/data", true },
        { ROOT "/data", ROOT "/database/a", false },
        { ROOT "/data", ROOT "/dat", false },
        { ROOT "/data", ROOT "/x/data/a", false },
        { ROOT "/", ROOT "/a", true },
        { ROOT "/", ROOT "/", true },
        { ROOT "/data", "", false },
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_EQ(judge(cases[i].folder, "*.tmp", cases[i].path),
                 cases[i].below ? FOLDERS_CACHED : FOLDERS_ELSEWHERE);
}

static void test_exclude(void)
{
    static const struct {
        const char *pattern, *path;
        bool out;
    } cases[] = {
        { "*.tmp", "a.tmp", true },
        { "*.tmp", "d/a.tmp", true },
        { "*.tmp", "a.tmp/b", true },
        { "*.tmp", "a.tmpx", false },
        { "*.tmp", ".tmp", true },
        { "node_modules", "a/node_modules/b/c", true },
        { "node_modules", "a/node_module/b/c", false },
        { "build/out", "build/out", true },
        { "build/out", "build/out/a", true },
        { "build/out", "a/build/out", false },
        { "build/out", "build/outer", false },
        { "build/*", "build/a/b", true },
        { "build/*/c", "build/a/c", true },
        { "build/*/c", "build/a/b/c", false },
        { "?.c", "a.c", true },
        { "?.c", "ab.c", false },
        { "a?b/c", "a/b/c", false },
        { "*", "a", true },
        { "a*b*c", "aXbYbZc", true },
        { "a*b*c", "aXbYbZ", false },
        { "**", "a", true },
        { "", "a", false },
#ifdef _WIN32
        { "*.TMP", "a.tmp", true },
        { "build\\OUT", "build/out/a", true },
        { "build/out", "build\\out\\a", true },
#else
        { "*.TMP", "a.tmp", false },
        { "a\\b", "a\\b", true },
#endif
    };
    char path[64];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(path, sizeof(path), "%s/data/%s", ROOT, cases[i].path);
        if (judge(ROOT "/data", cases[i].pattern, path) !=
            (cases[i].out ? FOLDERS_EXCLUDED : FOLDERS_CACHED))
            harness_fail(__FILE__, __LINE__, cases[i].pattern);
        snprintf(path, sizeof(path), "%s/%s", ROOT, cases[i].path);
        CHECK_EQ(judge(ROOT "/", cases[i].pattern, path),
                 cases[i].out ? FOLDERS_EXCLUDED : FOLDERS_CACHED);
    }
}

static const struct harness_test tests[] = {
    TEST(folder),
    TEST(exclude),
};

int main(int argc, char **argv)
{
    return HARNESS_MAIN(tests, argc, argv);
}
