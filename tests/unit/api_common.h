/* SPDX-License-Identifier: BSD-2-Clause
 *
 * api_common.h - shared by the tests of the public interface: pools in files.
 */
#ifndef CM_API_COMMON_H
#define CM_API_COMMON_H

#include "fixture.h"

#include <unistd.h>

/* The tests of the other files. */
extern const struct harness_test api_cut_tests[], api_fork_tests[], api_lost_tests[],
    api_many_tests[], api_owner_tests[], api_pool_tests[], api_stats_tests[], api_structs_tests[],
    api_versions_tests[];

/* ---- Files and children ---------------------------------------------------------------------- */

extern char dir[256]; /* of this run */

#define OFFSET_LIMIT ((CM_BLOCK_MAX + 1) * BLK) /* one past the last byte a file may have */

static inline const char *path_of(const char *name)
{
    static char path[4][512];
    static unsigned next;
    char *p = path[next++ % 4];
    (void)snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static inline const char *make_pool(const char *name, uint64_t size, uint32_t flags)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    const char *path = path_of(name);
    (void)unlink(path);
    o.size = size;
    o.flags = flags;
    CHECK_EQ(cm_create(path, &o), 0);
    return path;
}

static inline cm_cache *open_pool(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    cm_cache *c = NULL;
    o.flags = flags;
    CHECK_EQ(cm_open(path, &o, &c), 0);
    return c;
}

static inline int try_open(const char *path, uint32_t flags)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = CM_PROBATION_NONE;
    cm_cache *c = NULL;
    o.flags = flags;
    int e = cm_open(path, &o, &c);
    CHECK((e == 0) == (c != NULL));
    if (c)
        CHECK_EQ(cm_close(c), 0);
    return e;
}

/* Runs body in a child; the CHECKs of the child count. Without fork() it runs only the bodies that
 * the table of children names, and `arg` is a string. */
void in_child(void (*body)(void *), void *arg);
void owner_body(void *arg);
void dying_owner_body(void *arg);
void stats_body(void *arg);

/* Makes every call that takes a file, or a cache. All must return `code`. */
void check_file_calls(cm_file *f, int code);
void check_cache_calls(cm_cache *c, int code);

#endif
