/* SPDX-License-Identifier: BSD-2-Clause
 *
 * folders.h - which files the configuration wants to be cached: folders, and what to leave out.
 *
 * For front ends that have no path of their own to serve, such as a driver, and for the command
 * that removes a folder. The mount uses its patterns. It needs no memory and no call of the system.
 */
#ifndef CACHEMAX_FOLDERS_H
#define CACHEMAX_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>

#define FOLDERS_MAX 64u
#define FOLDERS_EXCLUDES_MAX 256u

/* Texts in UTF-8, of whoever made it. A folder is an absolute path for which
 * folders_path_fault() finds no fault. */
struct folders {
    const char *folder[FOLDERS_MAX];
    unsigned count;
    const char *exclude[FOLDERS_EXCLUDES_MAX];
    unsigned excludes;
};

enum folders_verdict {
    FOLDERS_CACHED,
    FOLDERS_ELSEWHERE, /* below none of the folders */
    FOLDERS_EXCLUDED
};

/* Should the file at `path` be cached? The path is absolute and without "." and "..". *by: the
 * folder or the pattern that decided, or NULL.
 *
 * A pattern without a separator is compared with each name on the way from the folder to the file:
 * "*.tmp", "node_modules". One with a separator is compared with the path from the folder on:
 * "build/out" is all that is below that directory. In a pattern "?" is one byte and "*" is any
 * number of bytes, but no separator. On Windows both "\" and "/" separate, and small and capital
 * letters of ASCII are the same. */
enum folders_verdict folders_judge(const struct folders *f, const char *path, const char **by);
/* The same for one pattern: does it mean the file at `path`, which begins behind the folder? */
bool folders_pattern_matches(const char *pattern, const char *path);
/* What is wrong with the name of a folder, if it is absolute; or NULL. */
const char *folders_path_fault(const char *path);
/* What is wrong with a pattern; or NULL. */
const char *folders_pattern_fault(const char *pattern);
/* Is `path` the folder, or below it? */
bool folders_is_below(const char *folder, const char *path);

#endif
