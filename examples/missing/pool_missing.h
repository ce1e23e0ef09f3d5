/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_missing.h - why no file is where a pool should be, for the front ends.
 *
 * CM_ENOENT also stands for links in a circle, a link to nothing and a missing directory. There
 * 'cachemax create' makes no pool, so that is the wrong advice. What the library logs of such a
 * pool is said here, too: say one of them.
 */
#ifndef POOL_MISSING_H
#define POOL_MISSING_H

enum pool_missing {
    POOL_NOT_MISSING, /* there is something, or nobody knows (Windows): cm_open() tells */
    POOL_MAKEABLE,    /* nothing is in the way of a pool there */
    POOL_NO_PLACE,    /* its directory is missing: cm_create() does not get there either */
    POOL_LINKED       /* symbolic links lead in a circle, or to nothing: the same */
};

#define POOL_MISSING_TEXT 4608

/* Looks at `path`. `text`: what is wrong, and what to do, without the path; "" if nothing is. Any
 * thread. */
enum pool_missing pool_missing(const char *path, char text[POOL_MISSING_TEXT]);

#endif
