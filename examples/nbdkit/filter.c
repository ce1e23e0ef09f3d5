/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter.c - a filter for nbdkit: a persistent block cache under images and every nbdkit plugin.
 *
 *     nbdkit --filter=./nbdkit-cachemax-filter.so file disk.img cachemax-pool=/mnt/pmem/pool
 *
 * It owns the parameters and the requests of clients. docs/nbdkit.md says how to use it. What it
 * shows of the library:
 * - reads go through cm_read_through(), whose callback reads the next layer;
 * - writes, trims and zeroes go to the next layer inside brackets;
 * - a flush goes there inside a sync bracket. A write with FUA is a write and a flush;
 * - a cache request is cm_warm().
 * Trouble with the cache fails no read. A write fails if the pool cannot forget the old bytes.
 *
 * Read next: export.c, what an id and a validator are here; docs/embedding.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dlinfo */
#endif
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>
/* Behind it: */
#include "filter.h"
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#define FUA ((uint32_t)NBDKIT_FLAG_FUA)
#define ORIGIN_FAILED INT64_C(-1001) /* the library's own errors are never below -1000 */

struct settings settings;
static unsigned plugins; /* that are loaded */

/* ---- Parameters ---------------------------------------------------------------------------- */

static int set_text(char **to, const char *key, const char *value)
{
    if (*value == '\0' || *to) {
        nbdkit_error("cachemax: %s is %s", key, *value ? "given twice" : "empty");
        return -1;
    }
    *to = strdup(value);
    if (!*to)
        nbdkit_error("cachemax: out of memory");
    return *to ? 0 : -1;
}

static int set_path(char **to, const char *value)
{
    free(*to);
    *to = nbdkit_absolute_path(value);
    return *to ? 0 : -1;
}

static int set_origin(char **to, const char *value)
{
    free(*to);
    *to = strdup(value);
    if (!*to)
        nbdkit_error("cachemax: out of memory");
    return *to ? 0 : -1;
}

/* Follows symbolic links before the server begins, as the plugin does: they may lead elsewhere
 * later. With an id the plugin may be any, and what has no file here is not its name: NULL. */
static int resolve_origin(char **origin)
{
    char *const value = *origin;
    if (!value)
        return 0;
    *origin = settings.id ? realpath(value, NULL) : nbdkit_realpath(value);
    free(value);
    return *origin || settings.id ? 0 : -1;
}

static int refuse_second(const char *key)
{
    nbdkit_error("cachemax: %s is given twice", key);
    return -1;
}

static int set_names(const char *value)
{
    if (settings.names != NAMES_NONE)
        return refuse_second("cachemax-exports");
    settings.names = strcmp(value, "same") == 0   ? NAMES_SAME
                     : strcmp(value, "each") == 0 ? NAMES_EACH
                                                  : NAMES_NONE;
    if (settings.names == NAMES_NONE)
        nbdkit_error("cachemax: cachemax-exports is same or each, not: %s", value);
    return settings.names == NAMES_NONE ? -1 : 0;
}

static int set_size(const char *value)
{
    if (settings.size > 0)
        return refuse_second("cachemax-size");
    settings.size = nbdkit_parse_size(value);
    if (settings.size < 0)
        nbdkit_error("cachemax: cachemax-size=%s is no size; write a number of bytes, or one with "
                     "K, M, G or T, such as 64G",
                     value);
    if (settings.size >= 0 && (settings.size == 0 || settings.size % CM_BLOCK_SIZE)) {
        nbdkit_error("cachemax: cachemax-size is no multiple of 4096: %s", value);
        return -1;
    }
    return settings.size < 0 ? -1 : 0;
}

static int filter_config(nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
                         const char *value)
{
    if (strcmp(key, "cachemax-pool") == 0)
        return settings.pool ? set_text(&settings.pool, key, value)
                             : set_path(&settings.pool, value);
    if (strcmp(key, "cachemax-size") == 0)
        return set_size(value);
    if (strcmp(key, "cachemax-key-file") == 0)
        return settings.key_file ? set_text(&settings.key_file, key, value)
                                 : set_path(&settings.key_file, value);
    if (strcmp(key, "cachemax-id") == 0)
        return set_text(&settings.id, key, value);
    if (strcmp(key, "cachemax-version") == 0)
        return set_text(&settings.version, key, value);
    if (strcmp(key, "cachemax-exports") == 0)
        return set_names(value);
    if (strncmp(key, "cachemax-", 9) == 0) {
        nbdkit_error("cachemax: there is no parameter %s", key);
        return -1;
    }
    if (strcmp(key, "file") == 0 && set_origin(&settings.file, value) < 0)
        return -1;
    /* The plugin `file` knows both names. */
    if ((strcmp(key, "dir") == 0 || strcmp(key, "directory") == 0) &&
        set_origin(&settings.dir, value) < 0)
        return -1;
    return next(nxdata, key, value);
}

/* A filter that changes neither the content nor what a flush means. */
static bool harmless(const char *name)
{
    static const char *const names[] = { "blocksize",  "cachemax", "delay", "error", "exitlast",
                                         "exitwhen",   "ip",       "limit", "log",   "noextents",
                                         "noparallel", "nozero",   "pause", "rate",  "stats" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const size_t n = strlen(names[i]);
        if (strncmp(name, names[i], n) == 0 && strcmp(name + n, "-filter.so") == 0)
            return true;
    }
    return false;
}

/* A loaded object: is it a filter or a plugin, and which? Its file may have any name. */
static void look_at_object(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    void *object = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    const bool own = strncmp(base, "nbdkit-", 7) == 0;
    if (!object) {
        settings.plain &= !slash; /* only the kernel's own has no file */
        return;
    }
    if (dlsym(object, "filter_init"))
        settings.plain &= own && harmless(base + 7);
    if (dlsym(object, "plugin_init")) {
        plugins++;
        settings.plain &= own && strcmp(base + 7, "file-plugin.so") == 0;
    }
    dlclose(object);
}

/* nbdkit does not tell a filter what lies below it. But it has loaded all of it. */
static void look_at_objects(void)
{
    void *program = dlopen(NULL, RTLD_LAZY);
    struct link_map *object = NULL;
    settings.plain = program && dlinfo(program, RTLD_DI_LINKMAP, &object) == 0;
    for (; object; object = object->l_next)
        if (object->l_name[0] != '\0')
            look_at_object(object->l_name);
    if (program)
        dlclose(program);
    settings.plain &= plugins == 1;
}

static int filter_config_complete(nbdkit_next_config_complete *next, nbdkit_backend *nxdata)
{
    if (settings.complete) {
        nbdkit_error("cachemax: nbdkit has this filter twice; give it once");
        return -1;
    }
    settings.complete = true;
    if (!settings.pool) {
        nbdkit_error("cachemax: give the pool: cachemax-pool=FILE");
        return -1;
    }
    look_at_objects();
    if (!settings.id && (settings.version || settings.names != NAMES_NONE)) {
        nbdkit_error("cachemax: cachemax-version and cachemax-exports need cachemax-id");
        return -1;
    }
    if (!settings.id && (!settings.plain || !(settings.file || settings.dir))) {
        nbdkit_error("cachemax: give the content a name, cachemax-id=NAME: only the plugin file, "
                     "without filters that change what it serves, tells what it is");
        return -1;
    }
    if (resolve_origin(&settings.file) < 0 || resolve_origin(&settings.dir) < 0)
        return -1;
    if (!settings.version && !(settings.version = strdup("1")))
        return -1;
    return next(nxdata);
}

static int filter_thread_model(void)
{
    return NBDKIT_THREAD_MODEL_PARALLEL;
}

static int filter_get_ready(int thread_model)
{
    (void)thread_model;
    return pool_ready();
}

static int filter_after_fork(nbdkit_backend *backend)
{
    (void)backend;
    return pool_open();
}

static void filter_cleanup(nbdkit_backend *backend)
{
    (void)backend;
    pool_close();
}

static void filter_unload(void)
{
    pool_close(); /* if nbdkit failed to start */
    free(settings.pool);
    free(settings.key_file);
    free(settings.id);
    free(settings.version);
    free(settings.file);
    free(settings.dir);
}

/* ---- Connections --------------------------------------------------------------------------- */

static void *filter_open(nbdkit_next_open *next, nbdkit_context *context, int readonly,
                         const char *name, int is_tls)
{
    (void)is_tls;
    struct connection *c = calloc(1, sizeof(*c));
    if (c && !(c->name = strdup(name))) {
        free(c);
        c = NULL;
    }
    if (!c) {
        nbdkit_error("cachemax: out of memory");
        return NULL;
    }
    c->readonly = readonly;
    if (export_find(c) == 0 && next(context, readonly, name) == 0)
        return c;
    export_detach(c);
    free(c);
    return NULL;
}

/* The next layer may want longer pieces than a block, or only shorter ones than the library's. */
static int look_at_sizes(nbdkit_next *next, struct connection *c)
{
    uint32_t least, preferred, most;
    if (next->block_size(next, &least, &preferred, &most) < 0)
        return -1;
    c->most = most >= CM_BLOCK_SIZE ? most & ~(CM_BLOCK_SIZE - 1) : UINT32_C(64) << 20;
    c->fits = least <= CM_BLOCK_SIZE && (most == 0 || most >= CM_BLOCK_SIZE);
    return 0;
}

static int flush_all(nbdkit_next *next, struct connection *c, int *err)
{
    cm_sync s;
    uint64_t writes = 0;
    const bool begun = c->file && cm_sync_begin(c->file, &s) == 0;
    /* Behind the begin: who writes from here on is not proved synced anyway. */
    const bool whole = begun && export_flush_begin(c, &writes);
    const int r = next->flush(next, 0, err);
    if (whole && r == 0) {
        cm_validator v = CM_VALIDATOR_INIT;
        cm_sync_end(c->file, &s, 1, export_validator(c, &v) ? &v : NULL);
        export_flush_end(c, writes);
    } else if (begun && r < 0 && *err != EINVAL && *err != EROFS) /* these two say nothing */
        cm_sync_end(c->file, &s, 0, NULL);
    return r;
}

static int filter_prepare(nbdkit_next *next, void *handle, int readonly)
{
    struct connection *c = handle;
    int err = 0;
    const int64_t size = next->get_size(next);
    const int can_write = readonly ? 0 : next->can_write(next);
    const int can_flush = next->can_flush(next);
    const int multi = next->can_multi_conn(next);
    if (size < 0 || can_write < 0 || can_flush < 0 || multi < 0 || look_at_sizes(next, c) < 0)
        return -1;
    c->size = (uint64_t)size;
    c->readonly = !can_write;
    c->flushes = can_flush;
    c->multi = multi;
    export_attach(c);
    if (c->flushes && export_unproved(c))
        (void)flush_all(next, c, &err); /* the plugin has said what is wrong */
    return 0;
}

static int filter_can_write(nbdkit_next *next, void *handle)
{
    (void)next;
    const struct connection *c = handle;
    return !c->readonly;
}

static void filter_close(void *handle)
{
    export_detach(handle);
    free(handle);
}

/* ---- Requests ------------------------------------------------------------------------------ */

struct origin {
    nbdkit_next *next;
    const struct connection *c;
    int error; /* of the next layer: it goes to the client unchanged */
};

/* Reads the next layer for the library, which asks for whole blocks. */
static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct origin *o = ctx;
    const uint64_t size = o->c->size;
    const size_t all = offset >= size ? 0 : len < size - offset ? len : (size_t)(size - offset);
    for (size_t done = 0; done < all;) {
        const size_t n = all - done < o->c->most ? all - done : o->c->most;
        if (o->next->pread(o->next, (char *)buf + done, (uint32_t)n, offset + done, 0, &o->error) <
            0)
            return ORIGIN_FAILED;
        done += n;
    }
    return (int64_t)all;
}

static int filter_pread(nbdkit_next *next, void *handle, void *buf, uint32_t count, uint64_t offset,
                        uint32_t flags, int *err)
{
    struct connection *c = handle;
    struct origin o = { .next = next, .c = c, .error = EIO };
    if (export_read_begin(c)) {
        const int64_t n = cm_read_through(c->file, offset, buf, count, origin_read, &o);
        export_read_end(c);
        if (n == count)
            return 0;
    }
    /* No cache, or trouble with it; or the origin's, which may lie beside what is wanted. */
    return next->pread(next, buf, count, offset, flags, err);
}

/* Before a change below. 0 or -1: it must not be made. */
static int change_begin(struct connection *c, uint64_t offset, uint32_t count, cm_bracket *w,
                        int *err)
{
    const int e = cm_write_begin(c->file, offset, count, w);
    if (e == 0) {
        export_write_begin(c);
        return 0;
    }
    nbdkit_error("cachemax: nothing is written, because the pool %s cannot forget the old bytes: "
                 "%s; end nbdkit and delete the pool",
                 settings.pool, cm_strerror(e));
    *err = EIO;
    return -1;
}

/* After the change. */
static int change_end(nbdkit_next *next, struct connection *c, const cm_bracket *w, int r,
                      uint32_t flags, int *err)
{
    export_write_end(c);
    cm_write_end(c->file, w, NULL);
    return r == 0 && (flags & FUA) ? flush_all(next, c, err) : r;
}

static int filter_pwrite(nbdkit_next *next, void *handle, const void *buf, uint32_t count,
                         uint64_t offset, uint32_t flags, int *err)
{
    cm_bracket w;
    if (change_begin(handle, offset, count, &w, err) < 0)
        return -1;
    const int r = next->pwrite(next, buf, count, offset, flags & ~FUA, err);
    return change_end(next, handle, &w, r, flags, err);
}

static int filter_trim(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags, int *err)
{
    cm_bracket w;
    if (change_begin(handle, offset, count, &w, err) < 0)
        return -1;
    const int r = next->trim(next, count, offset, flags & ~FUA, err);
    return change_end(next, handle, &w, r, flags, err);
}

static int filter_zero(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
                       uint32_t flags, int *err)
{
    cm_bracket w;
    if (change_begin(handle, offset, count, &w, err) < 0)
        return -1;
    const int r = next->zero(next, count, offset, flags & ~FUA, err);
    return change_end(next, handle, &w, r, flags, err);
}

static int filter_flush(nbdkit_next *next, void *handle, uint32_t flags, int *err)
{
    (void)flags;
    return flush_all(next, handle, err);
}

/* FUA is a flush here: the library wants to know what is synced, and a write that is durable by
 * itself says nothing about others. */
static int filter_can_fua(nbdkit_next *next, void *handle)
{
    (void)handle;
    const int flush = next->can_flush(next);
    return flush < 0 ? -1 : flush ? NBDKIT_FUA_NATIVE : NBDKIT_FUA_NONE;
}

static int filter_can_cache(nbdkit_next *next, void *handle)
{
    const struct connection *c = handle;
    return c->cached ? NBDKIT_CACHE_NATIVE : next->can_cache(next);
}

static int filter_cache(nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
                        uint32_t flags, int *err)
{
    struct connection *c = handle;
    struct origin o = { .next = next, .c = c, .error = EIO };
    if (!export_read_begin(c)) /* perhaps it ended reading through the pool meanwhile */
        return next->can_cache(next) > NBDKIT_CACHE_NONE
                   ? next->cache(next, count, offset, flags, err)
                   : 0;
    const int r = cm_warm(c->file, offset, count, NULL, origin_read, &o, NULL);
    export_read_end(c);
    if (r != ORIGIN_FAILED)
        return 0; /* no room is no error: the client asked for speed only */
    *err = o.error;
    return -1;
}

/* A client leaves. What it did not flush would be cold after a power cut, and if others changed the
 * file before the next client comes, that would be taken for this one's writes. */
static int filter_finalize(nbdkit_next *next, void *handle)
{
    struct connection *c = handle;
    int err;
    if (c->flushes && export_unflushed(c))
        (void)flush_all(next, c, &err); /* the plugin has said what is wrong */
    return 0;
}

static struct nbdkit_filter filter = {
    .name = "cachemax",
    .longname = "nbdkit persistent block cache",
    .description = "caches reads in a pool that survives restarts and crashes",
    .unload = filter_unload,
    .config = filter_config,
    .config_complete = filter_config_complete,
    .config_help =
        "cachemax-pool=<FILE>          (required) The pool.\n"
        "cachemax-size=<SIZE>          Make the pool with this size if it is not there.\n"
        "cachemax-key-file=<FILE>      The key of a sealed pool.\n"
        "cachemax-id=<NAME>            Name of the content; nobody else may write it.\n"
        "cachemax-version=<TEXT>       Its version; a new one makes it cold.\n"
        "cachemax-exports=same|each    With cachemax-id: what export names mean.",
    .thread_model = filter_thread_model,
    .get_ready = filter_get_ready,
    .after_fork = filter_after_fork,
    .cleanup = filter_cleanup,
    .open = filter_open,
    .close = filter_close,
    .prepare = filter_prepare,
    .finalize = filter_finalize,
    .can_write = filter_can_write,
    .can_fua = filter_can_fua,
    .can_cache = filter_can_cache,
    .pread = filter_pread,
    .pwrite = filter_pwrite,
    .flush = filter_flush,
    .trim = filter_trim,
    .zero = filter_zero,
    .cache = filter_cache,
};

struct nbdkit_filter *filter_init(void); /* that nbdkit calls */
NBDKIT_REGISTER_FILTER(filter)
