/* SPDX-License-Identifier: BSD-2-Clause
 *
 * export.c - owns the exports: which content a connection reads, under which id and validator the
 * pool knows it, and how long it stays attached.
 *
 * A content stays attached until the server ends, also while no client is connected: its own writes
 * have changed its times, and at a new attach they would look like those of somebody else.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>
/* Behind it: */
#include "filter.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { LAST_TRIES = 100 }; /* of 20 ms: until the times of a file that was written count */
#define SEVERAL UINT64_MAX

struct export
{
    struct export *next;
    cm_file_id id;
    cm_file *file;
    int fd; /* own descriptor of the file that can be written, without cachemax-id; or -1 */
    /* Without multi-conn the next layer may show a write to other connections late. So only one
     * connection reads through the pool then. */
    const struct connection *reader;
    uint64_t writer; /* the connection that wrote; 0: none; SEVERAL */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct export *exports;
static atomic_uint_fast64_t connections;

/* ---- Id and validator ---------------------------------------------------------------------- */

static int find_named(const struct connection *c)
{
    if (c->name[0] == '\0' || settings.names != NAMES_NONE)
        return 0;
    nbdkit_error("cachemax: a client asks for the export \"%s\": give cachemax-exports=each if the "
                 "plugin has another content under each name, or cachemax-exports=same if it "
                 "ignores names",
                 c->name);
    return -1;
}

int export_find(struct connection *c)
{
    c->fd = -1;
    c->number = atomic_fetch_add(&connections, 1) + 1;
    if (settings.id)
        return find_named(c);
    if (settings.file)
        c->path = strdup(settings.file);
    else if (asprintf(&c->path, "%s/%s", settings.dir, c->name) < 0)
        c->path = NULL;
    if (!c->path) {
        nbdkit_error("cachemax: out of memory");
        return -1;
    }
    if (settings.file || !strchr(c->name, '/')) /* a client must not make it open other files */
        c->fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return 0; /* if it is not open, the plugin's error is the one to report */
}

/* The plugin has opened the file by its name: is it the one that this filter has opened? */
static int same_file(const struct connection *c)
{
    struct stat own, now;
    if (c->fd >= 0 && fstat(c->fd, &own) == 0 && stat(c->path, &now) == 0 &&
        own.st_dev == now.st_dev && own.st_ino == now.st_ino)
        return 0;
    nbdkit_error("cachemax: %s cannot be opened for reading, or was replaced just now; connect "
                 "again",
                 c->path);
    return -1;
}

static int identify_file(int fd, bool readonly, cm_file_id *id, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    o.flags = readonly ? 0 : CM_IDENTIFY_SOLE_WRITER;
    return cm_identify_with(fd, &o, id, v);
}

static int identify_path(const struct connection *c, cm_file_id *id, cm_validator *v)
{
    if (same_file(c) < 0)
        return -1;
    int e = identify_file(c->fd, c->readonly, id, v);
    if (e < 0)
        nbdkit_error("cachemax: %s: %s; give it a name with cachemax-id=NAME", c->path,
                     cm_strerror(e));
    else if (v->size != c->size)
        nbdkit_error("cachemax: %s: its size is %llu, but the export's is %llu; connect again",
                     c->path, (unsigned long long)v->size, (unsigned long long)c->size);
    return e < 0 || v->size != c->size ? -1 : 0;
}

/* The id is the name that the user gave, and the export's. */
static void identify_name(const struct connection *c, bool flushes, cm_file_id *id, cm_validator *v)
{
    const char *name = settings.names == NAMES_EACH ? c->name : "";
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, settings.id, strlen(settings.id) + 1); /* with the NUL */
    XXH3_128bits_update(&state, name, strlen(name));
    XXH128_hash_t h = XXH3_128bits_digest(&state);
    id->hi = h.high64;
    id->lo = h.low64 ? h.low64 : 1; /* zero is no id */
    cm_validator_set_proof(v, settings.version, strlen(settings.version));
    v->taken_at = cm_now();
    v->size = c->size;
    v->changed_ns = c->readonly && !flushes ? CM_CHANGED_LONG_AGO : 0;
}

static uint32_t flags_of(const struct connection *c, bool flushes)
{
    if (!settings.id)
        return c->readonly ? 0 : CM_SOLE_WRITER;
    if (c->readonly && !flushes) /* nobody could prove that it is synced: it counts as such */
        return 0;
    /* What is below may lose unsynced writes by itself: a server, a filter with a memory. */
    return CM_EXCLUSIVE | (settings.plain ? 0u : CM_ORIGIN_VOLATILE);
}

/* ---- Attach -------------------------------------------------------------------------------- */

/* With the lock. The export has a reference of its own to the file of c. */
static int remember(struct connection *c, const cm_file_id *id, uint32_t flags)
{
    struct export *e = exports;
    while (e && (e->id.hi != id->hi || e->id.lo != id->lo))
        e = e->next;
    if (!e) {
        e = calloc(1, sizeof(*e));
        if (!e)
            return CM_ENOMEM;
        e->fd = settings.id || c->readonly ? -1 : fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
        e->id = *id;
        int r = cm_file_open(pool, id, NULL, flags, &e->file);
        if (r < 0) {
            if (e->fd >= 0)
                close(e->fd);
            free(e);
            return r;
        }
        e->next = exports;
        exports = e;
    }
    c->export = e;
    c->cached = c->readonly || c->multi || !e->reader;
    if (c->cached && !e->reader)
        e->reader = c;
    return 0;
}

static int attach(struct connection *c, bool flushes, const cm_file_id *id, const cm_validator *v)
{
    const uint32_t flags = flags_of(c, flushes);
    pthread_mutex_lock(&lock);
    int e = cm_file_open(pool, id, v, flags, &c->file);
    if (e >= 0) {
        int r = remember(c, id, flags);
        if (r < 0) {
            cm_file_close(c->file);
            c->file = NULL;
            e = r;
        }
    }
    pthread_mutex_unlock(&lock);
    return e;
}

int export_attach(struct connection *c, bool flushes)
{
    cm_file_id id;
    cm_validator v = CM_VALIDATOR_INIT;
    if (settings.id)
        identify_name(c, flushes, &id, &v);
    else if (identify_path(c, &id, &v) < 0)
        return -1;
    int e = attach(c, flushes, &id, &v);
    if (e >= 0)
        return 0;
    nbdkit_error("cachemax: the export is not cached: %s", cm_strerror(e));
    return c->readonly ? 0 : -1; /* its writes would be in no bracket */
}

void export_detach(struct connection *c)
{
    if (c->export) {
        pthread_mutex_lock(&lock);
        if (c->export->reader == c)
            c->export->reader = NULL;
        pthread_mutex_unlock(&lock);
        cm_file_close(c->file);
    }
    if (c->fd >= 0)
        close(c->fd);
    free(c->name);
    free(c->path);
}

/* ---- Writes and syncs ---------------------------------------------------------------------- */

void export_writes(struct connection *c)
{
    pthread_mutex_lock(&lock);
    struct export *e = c->export;
    e->writer = e->writer == 0 || e->writer == c->number ? c->number : SEVERAL;
    pthread_mutex_unlock(&lock);
}

bool export_flush_is_whole(const struct connection *c)
{
    pthread_mutex_lock(&lock);
    bool whole = c->multi || c->export->writer == 0 || c->export->writer == c->number;
    pthread_mutex_unlock(&lock);
    return whole;
}

bool export_validator(const struct connection *c, cm_validator *v)
{
    cm_file_id id;
    return !settings.id && !c->readonly && identify_file(c->fd, false, &id, v) == 0;
}

/* Times that are as fresh as the last write prove nothing in the next session: waits until they are
 * old enough. */
static void last_validator(const struct export *e)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    for (int i = 0; i < LAST_TRIES; i++) {
        cm_file_id id;
        cm_validator v = CM_VALIDATOR_INIT;
        if (cm_file_get_info(e->file, &info) < 0 || (!info.racy && !info.want_validator))
            return;
        if (identify_file(e->fd, false, &id, &v) < 0)
            return;
        if (!(v.racy & CM_RACY_TIMES) && cm_file_revalidate(e->file, &v) == 0)
            return;
        nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    }
}

void exports_end(void)
{
    while (exports) {
        struct export *e = exports;
        exports = e->next;
        if (e->fd >= 0) {
            last_validator(e);
            close(e->fd);
        }
        cm_file_close(e->file);
        free(e);
    }
}
