/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool.c - owns the pool of an nbdkit server: looks at it before nbdkit forks, opens it after that,
 * makes checkpoints, and closes it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strdup */
#endif
#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>
/* Behind it: */
#include "filter.h"
#include <pool_missing.h> /* examples/missing */
#include <pthread.h>
#include <seal_file.h> /* examples/seal */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <timed_wait.h> /* examples/wait */

#define CHECKPOINT_NS UINT64_C(5000000000)

cm_cache *pool;
static struct seal_openssl *seal; /* from pool_ready() on */
static pthread_t checkpoints;
static bool checkpoints_run;
static bool ending;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake; /* from pool_open() on, while checkpoints_run */

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    if (level == CM_LOG_INFO)
        nbdkit_debug("cachemax: %s", text);
    else
        nbdkit_error("cachemax: %s", text);
}

static int pool_make(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    o.size = (uint64_t)settings.size;
    o.log = log_line;
    o.seal = seal_file_of(seal);
    int e = cm_create(settings.pool, &o);
    if (e < 0 && e != CM_EEXIST) { /* somebody may have made it meanwhile */
        nbdkit_error("cachemax: cannot make the pool %s: %s", settings.pool, cm_strerror(e));
        return -1;
    }
    return 0;
}

/* Before nbdkit changes its user: the file may be root's. */
static int read_key(void)
{
    const char *why = NULL;
    if (!settings.key_file)
        return 0;
    seal = seal_file_read(settings.key_file, seal_file_encrypts(settings.pool), &why);
    if (!seal)
        nbdkit_error("cachemax: cachemax-key-file=%s: %s", settings.key_file, why);
    return seal ? 0 : -1;
}

/* Does the key fit the pool? */
static int try_key(void)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *look = NULL;
    o.flags = CM_OPEN_READONLY;
    o.log = log_line;
    o.seal = seal_file_of(seal);
    int e = cm_open(settings.pool, &o, &look);
    if (look)
        cm_close(look);
    if (e != CM_EKEY)
        return 0; /* pool_open() says what else is wrong */
    nbdkit_error("cachemax: cannot use the pool %s: %s; give the key that "
                 "it was made with (cachemax-key-file=FILE); a pool that is not sealed takes none",
                 settings.pool, cm_strerror(e));
    return -1;
}

/* Is the folder with this file the one with the exports? */
static bool lies_in_folder(const char *path, const struct stat *folder)
{
    struct stat st;
    char *parent = strdup(path);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash)
        slash[slash == parent] = '\0';
    const bool in = !slash || (stat(parent, &st) == 0 && st.st_dev == folder->st_dev &&
                               st.st_ino == folder->st_ino);
    free(parent);
    return in;
}

/* Clients can open each file of the folder, by its name. `path`: absolute, or NULL. 0 or -1. */
static int look_at_place(const char *path)
{
    struct stat folder;
    if (!path || !settings.dir || stat(settings.dir, &folder) < 0)
        return 0;
    char *real = realpath(path, NULL);
    const bool in = lies_in_folder(path, &folder) || (real && lies_in_folder(real, &folder));
    free(real);
    if (in)
        nbdkit_error("cachemax: %s lies in the folder %s, so clients could read and change it; "
                     "move it to another folder",
                     path, settings.dir);
    return in ? -1 : 0;
}

/* No file is there. Makes the pool if that is wanted. 0 or -1. */
static int pool_absent(void)
{
    char why[POOL_MISSING_TEXT];
    const enum pool_missing missing = pool_missing(settings.pool, why);
    const bool in_the_way = missing == POOL_NO_PLACE || missing == POOL_LINKED;
    if (settings.size > 0 && !in_the_way)
        return pool_make();
    if (in_the_way)
        nbdkit_error("cachemax: there is no pool %s: %s", settings.pool, why);
    else
        nbdkit_error("cachemax: there is no pool %s; make it with: cachemax create %s --size SIZE, "
                     "or give cachemax-size=SIZE",
                     settings.pool, settings.pool);
    return -1;
}

int pool_ready(void)
{
    cm_info info = CM_INFO_INIT;
    if (look_at_place(settings.pool) < 0 || look_at_place(settings.key_file) < 0 || read_key() < 0)
        return -1;
    int e = cm_pool_info(settings.pool, &info);
    if (e == CM_ENOENT)
        return pool_absent();
    if (e < 0)
        nbdkit_error("cachemax: cannot use the pool %s: %s", settings.pool, cm_strerror(e));
    else if (info.owned)
        nbdkit_error("cachemax: the pool %s is in use by process %u; end it, or give another pool",
                     settings.pool, info.owner_pid);
    else if (info.sealed || seal)
        return try_key();
    return e < 0 || info.owned ? -1 : 0;
}

/* Without DAX only what a checkpoint found survives a power cut. With any volume it stores what
 * waits in the probation buffer and may go to the pool. */
static void *make_checkpoints(void *arg)
{
    pthread_mutex_lock(&lock);
    while (!ending) {
        const struct timespec until = wait_until(CHECKPOINT_NS);
        if (wait_on(&wake, &lock, &until))
            continue;
        pthread_mutex_unlock(&lock);
        (void)cm_checkpoint(pool); /* the library logs what is wrong */
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return arg;
}

int pool_open(void)
{
    cm_options o = CM_OPTIONS_INIT;
    o.log = log_line;
    o.seal = seal_file_of(seal);
    int e = cm_open(settings.pool, &o, &pool);
    if (e < 0) {
        nbdkit_error("cachemax: cannot open the pool %s: %s", settings.pool, cm_strerror(e));
        return -1;
    }
    e = wait_init(&wake);
    if (!e && (e = pthread_create(&checkpoints, NULL, make_checkpoints, NULL)) != 0)
        pthread_cond_destroy(&wake);
    checkpoints_run = e == 0;
    if (e)
        nbdkit_error("cachemax: no thread for checkpoints, so after a crash the pool is cold: %s",
                     strerror(e));
    return 0;
}

static void end_pool(void)
{
    if (checkpoints_run) {
        pthread_mutex_lock(&lock);
        ending = true;
        pthread_cond_signal(&wake);
        pthread_mutex_unlock(&lock);
        pthread_join(checkpoints, NULL);
        pthread_cond_destroy(&wake);
    }
    exports_end();
    int e = cm_close(pool);
    if (e < 0)
        nbdkit_error("cachemax: cannot close the pool %s: %s", settings.pool, cm_strerror(e));
    pool = NULL;
}

void pool_close(void)
{
    if (pool)
        end_pool();
    seal_file_free(seal);
    seal = NULL;
}
