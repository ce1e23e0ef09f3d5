/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_missing.h - why no file is where a pool should be, for programs on POSIX that open one.
 *
 * CM_ENOENT also stands for links in a circle, a link to nothing and a missing directory. There
 * 'cachemax create' makes no pool, so that is the wrong advice. Look before cm_open(): what the
 * library would log is said here, once.
 */
#ifndef POOL_MISSING_H
#define POOL_MISSING_H

enum pool_missing {
    POOL_NOT_MISSING, /* there is something, or nobody knows: let cm_open() look */
    POOL_MAKEABLE,    /* nothing is in the way of a pool there */
    POOL_UNREACHABLE  /* neither cm_open() nor cm_create() gets there */
};

#define POOL_MISSING_TEXT 4608

/* Looks at `path`. `text`: what is wrong, and what to do, without the path; "" if nothing is. Any
 * thread. */
enum pool_missing pool_missing(const char *path, char text[POOL_MISSING_TEXT]);

#endif
