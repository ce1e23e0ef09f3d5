/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter.h - what the parts of the nbdkit filter share: settings, the pool, exports.
 */
#ifndef CACHEMAX_NBDKIT_FILTER_H
#define CACHEMAX_NBDKIT_FILTER_H

#include <cachemax.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What an export name means, with cachemax-id. */
enum names { NAMES_NONE, NAMES_SAME, NAMES_EACH };

struct settings {
    char *pool;    /* absolute path */
    int64_t size;  /* of a pool that is made; 0: it must be there */
    char *id;      /* NULL: the file itself */
    char *version; /* with an id */
    enum names names;
    char *file, *dir; /* of the plugin `file`, absolute; NULL: not given */
    bool plain;       /* the plugin is `file`, and no filter changes what it serves */
};
extern struct settings settings;

/* ---- pool.c: the pool of this server ------------------------------------------------------- */

extern cm_cache *pool;
/* Before nbdkit forks: is the pool there, and free? Makes it if that is wanted. 0 or -1. */
int pool_ready(void);
/* After the fork: opens it, and begins checkpoints. 0 or -1. */
int pool_open(void);
void pool_close(void);

/* ---- export.c: which content a connection reads, and what proves it ------------------------- */

struct export; /* one content; lives until the pool is closed */

struct connection {
    bool readonly; /* it cannot write */
    char *name;    /* export name */
    char *path;    /* of the file, without cachemax-id; else NULL */
    int fd;        /* own descriptor of it, or -1 */
    uint64_t number;
    uint64_t size;
    uint32_t most; /* bytes of a read that the next layer takes */
    bool cached;   /* it reads through the pool */
    bool multi;    /* a flush here is also for the writes of other connections */
    struct export *export;
    cm_file *file; /* of export */
};

/* Before the plugin opens: which file will it be? 0 or -1. */
int export_find(struct connection *c);
/* After it: attaches. Without `flushes` nothing ever proves a write synced. 0 or -1: the connection
 * must end. */
int export_attach(struct connection *c, bool flushes);
void export_detach(struct connection *c);
/* This connection writes. */
void export_writes(struct connection *c);
/* A flush of this connection is for all writes that the export knows. */
bool export_flush_is_whole(const struct connection *c);
/* The validator now, for a file without cachemax-id that can be written. false: none is wanted. */
bool export_validator(const struct connection *c, cm_validator *v);
/* Before the pool closes: presents the last validators, so that the files are warm next time. */
void exports_end(void);

#endif
