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
    char *pool;     /* absolute path */
    int64_t size;   /* of a pool that is made; 0: it must be there */
    char *key_file; /* of a sealed pool, absolute; or NULL */
    char *id;       /* NULL: the file itself */
    char *version;  /* with an id */
    enum names names;
    char *file, *dir; /* of the plugin `file`, absolute; NULL: not given */
    bool complete;    /* all parameters were given */
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

struct export; /* one content; lives while a connection has it, and mostly longer */

struct connection {
    bool readonly; /* it cannot write */
    char *name;    /* export name */
    char *path;    /* of the file; or NULL */
    char *shown;   /* for messages: what is said of the path, or else of the name */
    int fd;        /* own descriptor of it, or -1 */
    uint64_t size;
    uint32_t most; /* bytes of a read that the next layer takes */
    bool fits;     /* the next layer takes the library's reads */
    bool multi;    /* all connections see a write at once, and a flush is for all of them */
    bool flushes;  /* it can flush: without that nothing ever proves a write synced */
    /* Of export.c: */
    struct export *export;
    cm_file *file; /* of export; NULL: not cached, and it cannot write */
    struct connection *next;
    uint64_t number;
    atomic_bool cached; /* it reads through the pool */
    atomic_bool wrote;
};

/* Before the plugin opens: which file will it be? 0 or -1. */
int export_find(struct connection *c);
/* After it: attaches. If that fails, the connection is not cached, and cannot write. */
void export_attach(struct connection *c);
void export_detach(struct connection *c);

/* Around reads through the pool. false: this one must not; call no end then. */
bool export_read_begin(struct connection *c);
void export_read_end(struct connection *c);
/* Around changes, inside their brackets. */
void export_write_begin(struct connection *c);
void export_write_end(struct connection *c);
/* Around a flush. Returns whether it is for all writes that the export knows. *writes is for the
 * end of one that was, and that succeeded. */
bool export_flush_begin(const struct connection *c, uint64_t *writes);
void export_flush_end(const struct connection *c, uint64_t writes);
/* Of what this connection wrote, something may not be flushed. */
bool export_unflushed(const struct connection *c);
/* Nobody has written here, but no flush has ever proved that what is there is synced. */
bool export_unproved(const struct connection *c);

/* The validator now, for a file without cachemax-id that can be written. false: none is wanted. */
bool export_validator(const struct connection *c, cm_validator *v);
/* Before the pool closes: presents the last validators, so that the files are warm next time. */
void exports_end(void);

#endif
