/* SPDX-License-Identifier: BSD-2-Clause
 *
 * config.c - fuzz target: the configuration file of the service, and the patterns in it.
 *
 * A file that is accepted must say only what the service may believe, and patterns must be compared
 * in a short time. (cachemax-mount has no configuration file.)
 */
#include "fuzz.h"

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config c;
    static const char *const paths[] = { "/", "/a", "/a/b.tmp",
                                         "/home/x/build/out/aaaaaaaaaaaaab" };
    char why[CONFIG_WHY_ROOM];
    const char *by;

    if (!config_read(&c, fuzz_file(data, size), why)) {
        FUZZ_CHECK(memchr(why, 0, sizeof(why)) != NULL);
        return 0;
    }
    FUZZ_CHECK(c.pool[0] == '/' && c.socket[0] == '/' && memchr(c.pool, 0, sizeof(c.pool)));
    FUZZ_CHECK(memchr(c.socket, 0, sizeof(c.socket)) != NULL);
    FUZZ_CHECK(c.clients >= 1 && c.clients <= 1000 && c.files >= 1 && c.files <= 10000000);
    FUZZ_CHECK(c.folders.count <= FOLDERS_MAX && c.folders.excludes <= FOLDERS_EXCLUDES_MAX);
    for (unsigned i = 0; i < c.folders.count; i++) {
        FUZZ_CHECK(c.folders.folder[i][0] == '/');
        FUZZ_CHECK(config_has_folder(&c, c.folders.folder[i]));
        (void)folders_judge(&c.folders, c.folders.folder[i], &by);
    }
    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        if (folders_judge(&c.folders, paths[i], &by) == FOLDERS_CACHED)
            FUZZ_CHECK(c.folders.count > 0);
    return 0;
}
