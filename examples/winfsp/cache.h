/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.h - open files of the origin, read through the pool and changed in brackets.
 */
#ifndef CACHEMAX_WINFSP_CACHE_H
#define CACHEMAX_WINFSP_CACHE_H

#include "origin.h"

#include <cachemax.h>
#include <stdatomic.h>

/* An open file. Several of one file share its attachment, which the library finds by its id. */
struct handle {
    origin_file f;
    cm_file *file; /* NULL: there is no cache for it */
    cm_file_id id;
    bool writes;                 /* f may be written */
    bool proves;                 /* a sync of f proves all that was written and not proved */
    atomic_bool changed;         /* its validator is to be taken at the end */
    atomic_bool linked;          /* it has several names, or had them, or may: reads pass */
    atomic_bool told;            /* it was seen with several names, and all its handles know */
    struct handle *next, **link; /* of handles.c */
};

/* Opens the pool. 0, or an error of the library, after a message. */
int cache_begin(const char *pool);
/* All handles are closed. 0, or an error of the library, after a message. */
int cache_end(void);

/* h->f is open. */
void cache_attach(struct handle *h);
/* Closes h->f, too. `path`: the file's name now, or NULL: none is known. */
int cache_detach(struct handle *h, const char *path);

/* What the file is. */
int cache_stat(struct handle *h, api_stat *st);
/* Bytes read or -errno; never fails because of the cache. */
int64_t cache_read(struct handle *h, uint64_t off, void *buf, size_t len);
/* Bytes written or -errno. */
int64_t cache_write(struct handle *h, uint64_t off, const void *buf, size_t len);
int cache_set_size(struct handle *h, uint64_t size);
int cache_sync(struct handle *h, bool datasync);

/* Around a change of a file's name, rights or times, which makes its validator another one. `path`
 * may be anything. */
struct cache_change {
    struct handle h;
    cm_bracket bracket;
    bool open;
};
void cache_change_begin(struct cache_change *c, const char *path);
/* `path`: its name now. */
void cache_change_end(struct cache_change *c, const char *path);

/* A file that is about to lose this name. It is not open meanwhile: Windows would not replace it.
 */
struct cache_victim {
    cm_file_id id;
    bool last_name;
};
void cache_victim(struct cache_victim *v, const char *path);
/* Is it the file that is changed? */
bool cache_victim_is(const struct cache_victim *v, const struct cache_change *c);
/* It has lost it. */
void cache_victim_gone(const struct cache_victim *v);

#endif
