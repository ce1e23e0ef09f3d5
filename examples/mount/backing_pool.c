/* SPDX-License-Identifier: BSD-2-Clause
 *
 * backing_pool.c - the cached blocks are in a pool that this process opens.
 *
 * Owns: mnt.cache, and the pool file as long as it may have to be removed. If the library cannot
 * promise that old bytes are forgotten, everything passes through from then on, and the file is
 * removed: a pool that does not exist cannot come back with old data. Where it cannot be removed
 * because its volume fails, that is tried once a second. docs/decisions/giving-up.md says why the
 * origin may be changed meanwhile.
 *
 * Who: the rest of the mount, as backing_pool (backing.h).
 */
#include "mount.h"

#include "../service/pool_use.h"
#include "tool/os_process.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

#define ROOM_FACTOR 8

static bool has_names;   /* the pool has room for names */
static int pool_fd = -1; /* O_PATH: knows whether the pool file still has a name */
static pthread_mutex_t pool_fd_lock = PTHREAD_MUTEX_INITIALIZER;
static int mode = CM_NORMAL; /* while it is away */
static uint64_t room;        /* pool_room() */
static _Atomic bool remains; /* it was given up, and could not be removed yet */

/* ---- Its life ------------------------------------------------------------------------------ */

/* While the pool is opened, the last error waits here: pool_refused() says more. */
static struct {
    bool on;
    char text[POOL_LINE];
} late;

static void say_late(void)
{
    if (late.text[0])
        say(CM_LOG_ERROR, "%s", late.text);
    late.text[0] = '\0';
}

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    /* say_unknown() in cache.c and docs/mount.md tell what it means here. */
    if (pool_use_is_hint(level, text))
        return;
    if (late.on && level == CM_LOG_ERROR) {
        say_late();
        snprintf(late.text, sizeof(late.text), "%s", text);
    } else {
        say(level, "%s", text);
    }
}

/* What may be stored in a second, in bytes; 0: no limit. Of -o fill_rate and -o drive_writes the
 * lower one counts; the latter says how many times the pool's size a day. */
static uint64_t fill_rate(uint64_t pool_size)
{
    const double daily = mnt.opt.drive_writes * (double)pool_size / 86400;
    uint64_t rate = mnt.opt.fill_rate;

    if (daily > 0 && (rate == 0 || daily < (double)rate))
        rate = daily < 1 ? 1 : (uint64_t)daily;
    return rate;
}

/* What is allowed by its size. */
void pool_grown(void)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (mnt.opt.drive_writes > 0 && cm_get_info(mnt.cache, &info) == 0)
        (void)cm_set_fill_rate_limit(mnt.cache, fill_rate(info.size));
}

/* How large it may become while it is open. A larger pool is made beside it. */
static uint64_t room_to_grow(uint64_t pool_size)
{
    const uint64_t most = cm_pool_size_max();

    return pool_size < most / ROOM_FACTOR ? pool_size * ROOM_FACTOR : most;
}

/* Like mnt.cache, another thread changes it only while the pool is away. */
uint64_t pool_room(void)
{
    return room;
}

static int open_pool(void)
{
    cm_options o = CM_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    char program[POOL_PROGRAM];
    cm_cache *cache = NULL;
    int rc;

    o.verify = mnt.opt.verify;
    o.policy = mnt.opt.policy;
    o.probation_bytes = mnt.opt.probation_bytes;
    /* A process that has just lost its mount may still be syncing files and closing the pool. */
    for (int patience = 150;
         patience && !control_ending() && cm_pool_info(mnt.opt.pool, &info) == 0 && info.owned;
         patience--) {
        if (patience == 140 && os_whereabouts(info.owner_pid, mnt.opt.pool) != OS_HIDDEN)
            say(CM_LOG_INFO, "pool %s: waiting for process %u%s, which has it open", mnt.opt.pool,
                info.owner_pid, pool_program(info.owner_pid, program));
        else if (patience == 140)
            say(CM_LOG_INFO, "pool %s: waiting for a process elsewhere, which has it open",
                mnt.opt.pool);
        usleep(100000);
    }
    o.fill_rate_limit = fill_rate(info.size);
    o.grow_max = room_to_grow(info.size);
    o.log = log_line;
    rc = key_read();
    if (rc)
        return rc;
    o.seal = key_seal();
    o.flags = mnt.opt.any_owner ? CM_OPEN_ANY_OWNER : 0;
    late.text[0] = '\0';
    late.on = true;
    rc = cm_open(mnt.opt.pool, &o, &cache);
    if (rc == CM_ENOMEM) { /* of the address space, perhaps */
        late.text[0] = '\0';
        o.grow_max = 0;
        rc = cm_open(mnt.opt.pool, &o, &cache);
    }
    late.on = false;
    if (rc < 0)
        return pool_refused(rc, late.text);
    say_late();
    room = o.grow_max;
    mnt.cache = cache;
    return 0;
}

/* Holds the file that has the pool's name now, and no other one: what was held may be an older
 * pool, whose name a resize took. False: none; errno says why. */
static bool hold_named(void)
{
    const int fd = open(mnt.opt.pool, O_PATH | O_CLOEXEC), err = errno;

    pthread_mutex_lock(&pool_fd_lock);
    if (pool_fd >= 0)
        close(pool_fd);
    pool_fd = fd;
    pthread_mutex_unlock(&pool_fd_lock);
    errno = err;
    return fd >= 0;
}

bool pool_has_name(void)
{
    struct stat held, named;
    bool has;

    pthread_mutex_lock(&pool_fd_lock);
    has = pool_fd < 0 || fstat(pool_fd, &held) < 0 ||
          (stat(mnt.opt.pool, &named) == 0 && named.st_dev == held.st_dev &&
           named.st_ino == held.st_ino);
    pthread_mutex_unlock(&pool_fd_lock);
    return has;
}

static bool holds_any(void)
{
    bool does;

    pthread_mutex_lock(&pool_fd_lock);
    does = pool_fd >= 0;
    pthread_mutex_unlock(&pool_fd_lock);
    return does;
}

/* The links that led to the pool may go, or lead elsewhere. Not before the pool was opened: the
 * open judges who made them. */
static void follow_links(void)
{
    char *const real = realpath(mnt.opt.pool, NULL);

    if (!real)
        return;
    free(mnt.opt.pool);
    mnt.opt.pool = real;
}

/* The pool is open now. */
static int take_pool(void)
{
    cm_info info = { .struct_size = sizeof(info) };
    int rc = quota_begin();

    if (rc) {
        (void)cm_close(mnt.cache);
        mnt.cache = NULL;
        return rc;
    }
    /* An attached file takes a record of the pool. At most half of the records are used. */
    cache_limit(cm_get_info(mnt.cache, &info) >= 0 ? info.max_files / 2 : UINT64_MAX);
    (void)hold_named();
    has_names = info.names_bytes > 0;
    manager_status("%s: cached in %s", mnt.opt.dir, mnt.opt.pool);
    return 0;
}

static int open_again(void)
{
    const int rc = open_pool();

    return rc ? rc : take_pool();
}

/* The mount begins: no other thread has the path of the pool yet. */
static int pool_begin(void)
{
    const int rc = open_pool();

    if (rc)
        return rc;
    follow_links();
    return take_pool();
}

static int pool_close(void)
{
    int rc = 0;

    checkpoint_stop();
    if (mnt.cache)
        rc = cm_close(mnt.cache);

    if (rc < 0 && !atomic_load(&mnt.gave_up))
        say(CM_LOG_ERROR, "pool %s: not closed cleanly: %s", mnt.opt.pool, cm_strerror(rc));
    return rc < 0 || atomic_load(&mnt.gave_up) ? EXIT_POOL : 0; /* given up: the log said so then */
}

int pool_leave(void)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_cache *const cache = mnt.cache;
    int rc;

    mode = cm_get_info(cache, &info) == 0 ? (int)info.mode : CM_NORMAL;
    mnt.cache = NULL;
    rc = cm_close(cache);
    if (rc == CM_EBUSY)
        mnt.cache = cache;
    else
        manager_status("%s: uncached, its pool gets another size", mnt.opt.dir);
    return rc;
}

int pool_return(void)
{
    const int rc = mnt.cache ? 0 : open_again();
    const int e = rc == 0 ? cm_set_mode(mnt.cache, mode) : 0;

    if (e < 0 && e != CM_EIO) /* which says only that other processes were not told */
        say(CM_LOG_WARNING, "pool %s: its mode is normal again", mnt.opt.pool);
    if (rc == 0)
        checkpoint_again();
    return rc;
}

/* ---- Giving it up -------------------------------------------------------------------------- */

static void sync_dir_of(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

/* The pool file has no name any more, so nobody can open it again. */
static bool remove_pool(void)
{
    struct stat held, named;
    bool removed = false;

    if (!holds_any()) /* there was no descriptor for it */
        (void)hold_named();
    pthread_mutex_lock(&pool_fd_lock);
    if (pool_fd >= 0 && fstat(pool_fd, &held) == 0) {
        if (held.st_nlink > 0 && lstat(mnt.opt.pool, &named) == 0 && named.st_dev == held.st_dev &&
            named.st_ino == held.st_ino && unlink(mnt.opt.pool) == 0)
            sync_dir_of(mnt.opt.pool);
        removed = fstat(pool_fd, &held) == 0 && held.st_nlink == 0;
    }
    pthread_mutex_unlock(&pool_fd_lock);
    return removed;
}

static void try_to_remove(void)
{
    if (!remove_pool())
        return;
    atomic_store(&remains, false);
    say(CM_LOG_WARNING, "%s: the pool was removed", mnt.opt.pool);
    manager_status("%s: uncached, the pool was removed", mnt.opt.dir);
}

/* For the pool it is as if this process had been killed. Only the first call tries to remove it: it
 * may wait for a volume that fails, and the others need not. */
static void pool_give_up(int why)
{
    if (atomic_exchange(&mnt.gave_up, true)) /* before any change of the origin: file_identify() */
        return;
    if (resize_runs())
        (void)hold_named();
    else if (mnt.cache)
        cm_set_mode(mnt.cache, CM_BYPASS);
    say(CM_LOG_ERROR, "%s: %s: %s passes through uncached from now on", mnt.opt.pool,
        cm_strerror(why), mnt.opt.dir);
    atomic_store(&remains, true);
    try_to_remove();
    if (!atomic_load(&remains))
        return;
    say(CM_LOG_ERROR,
        "%s: the pool file cannot be removed (its volume fails, or it was moved or linked "
        "elsewhere?): delete it before it is used again",
        mnt.opt.pool);
    manager_status("%s: uncached, delete the pool", mnt.opt.dir);
}

/* Whatever a resize has given the name to since must not come back. */
void pool_abandon(void)
{
    if (mnt.cache)
        (void)cm_set_mode(mnt.cache, CM_BYPASS);
    if (hold_named()) {
        atomic_store(&remains, true);
        try_to_remove();
    } else if (errno != ENOENT) { /* no descriptor is left */
        (void)unlink(mnt.opt.pool);
    }
}

/* The library notices that its file was truncated when it meets a hole, or when it is asked. */
static void ask_pool(void)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (!resize_runs() && mnt.cache) /* else another thread may be closing it */
        cm_get_info(mnt.cache, &info);
}

static void pool_look(void)
{
    ask_pool();
    if (atomic_load(&remains))
        try_to_remove();
}

/* ---- Files --------------------------------------------------------------------------------- */

/* Tells the pool what the file is called below DIR, for `cachemax files`; of several DIRs the whole
 * path tells which. Of a long path the end says more. */
static void give_name(const struct inode *i)
{
    const size_t most = CM_FILE_NAME_MAX;
    char path[PATH_MAX], name[CM_FILE_NAME_MAX + 1] = "";
    const char *p;
    size_t n;

    if (!has_names || !path_of_fd(i->fd, path, sizeof(path)))
        return;
    p = mnt.opt.places == 1 ? place_below(path) : NULL;
    if (!p) /* or it was moved meanwhile */
        p = path;
    n = strlen(p);
    memcpy(name, n > most ? p + n - most : p, n > most ? most : n);
    if (n > most)
        memcpy(name, "...", 3);
    cm_file_set_name(i->cf, name);
}

static int pool_attach(struct inode *i, int fd, const cm_validator *v, uint32_t flags)
{
    cm_file *cf;
    int rc = cm_file_open(mnt.cache, &i->id, v, flags, &cf);

    (void)fd;
    if (rc < 0)
        return rc;
    i->cf = cf;
    i->advice = rules_advice(i->fd);
    if (mnt.opt.rules.advised)
        cm_file_advise(cf, i->advice);
    quota_join(cf, i->fd);
    give_name(i);
    return rc;
}

static void pool_detach(struct inode *i)
{
    if (cm_file_close(i->cf) == CM_EBUSY) {
        /* Only at an aborted unmount: operations died inside their brackets. */
        cm_file_abort(i->cf);
        cm_file_close(i->cf);
    }
}

static int pool_forget(const cm_file_id *id, bool gone)
{
    return gone ? cm_forget_gone(mnt.cache, id) : cm_forget(mnt.cache, id);
}

static int pool_revalidate(struct inode *i, const cm_validator *v)
{
    return cm_file_revalidate(i->cf, v);
}

static int64_t pool_read_whole(struct inode *i, uint64_t off, void *buf, size_t len)
{
    return cm_read_whole(i->cf, off, buf, len, 0);
}

static int64_t pool_read_through(struct inode *i, uint64_t off, void *buf, size_t len,
                                 cm_origin_read_fn origin_read, void *ctx)
{
    return cm_read_through(i->cf, off, buf, len, origin_read, ctx);
}

/* ---- Changes ------------------------------------------------------------------------------- */

/* Is it no lack of memory, or one that lasts? A full pool is not removed because of a short one. */
static bool lasts(int rc, int *patience)
{
    if (rc != CM_ENOMEM || --*patience < 0)
        return true;
    usleep(10000);
    return false;
}

static int pool_write_begin(struct inode *i, uint64_t off, uint64_t len, struct bracket *b)
{
    int rc, patience = 50;

    do
        rc = cm_write_begin(i->cf, off, len, &b->own);
    while (!lasts(rc, &patience));
    return rc;
}

static int pool_truncate_begin(struct inode *i, uint64_t size, struct bracket *b)
{
    int rc, patience = 50;

    do
        rc = cm_truncate_begin(i->cf, size, &b->own);
    while (!lasts(rc, &patience));
    return rc;
}

static void pool_write_end(struct inode *i, struct bracket *b, const cm_validator *after)
{
    cm_write_end(i->cf, &b->own, after);
}

static int pool_sync_begin(struct inode *i, struct sync *s)
{
    return cm_sync_begin(i->cf, &s->own);
}

static void pool_sync_end(struct inode *i, struct sync *s, bool ok, const cm_validator *after)
{
    cm_sync_end(i->cf, &s->own, ok, after);
}

/* ---- Steering ------------------------------------------------------------------------------ */

static int pool_look_up(const cm_file_id *id)
{
    return cm_file_lookup(mnt.cache, id, NULL, NULL);
}

static int pool_unpin(const cm_file_id *id, int *kept)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    int rc;

    *kept = cm_file_lookup(mnt.cache, id, NULL, &info) == 0 && info.keep;
    rc = cm_forget(mnt.cache, id);
    *kept = *kept && rc >= 0;
    return rc;
}

static int pool_warm(struct inode *i, uint64_t off, uint64_t len, const cm_warm_options *o,
                     cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report)
{
    return cm_warm(i->cf, off, len, o, origin_read, ctx, report);
}

static int pool_cached(struct inode *i, uint64_t offset, uint64_t len, uint64_t *bytes, int *kept)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    const int64_t n = cm_file_cached(i->cf, offset, len);

    *bytes = n < 0 ? 0 : (uint64_t)n;
    *kept = cm_file_get_info(i->cf, &info) == 0 && info.keep;
    return n < 0 ? (int)n : 0;
}

static int pool_keep(struct inode *i, int keep)
{
    return cm_file_set_keep(i->cf, keep);
}

static int pool_drop(struct inode *i)
{
    return cm_invalidate(i->cf, 0, CM_ALL);
}

static int pool_info(cm_info *info, uint64_t *hits, uint64_t *misses)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    int rc = cm_get_info(mnt.cache, info);

    if (rc == 0)
        rc = cm_stats(mnt.cache, &s);
    *hits = s.hit_blocks;
    *misses = s.miss_blocks;
    return rc;
}

const struct backing backing_pool = { .open = pool_begin,
                                      .start = checkpoint_start,
                                      .close = pool_close,
                                      .look = pool_look,
                                      .pays_to_sync = checkpoint_helps,
                                      .attach = pool_attach,
                                      .detach = pool_detach,
                                      .forget = pool_forget,
                                      .give_up = pool_give_up,
                                      .revalidate = pool_revalidate,
                                      .read_whole = pool_read_whole,
                                      .read_through = pool_read_through,
                                      .write_begin = pool_write_begin,
                                      .truncate_begin = pool_truncate_begin,
                                      .write_end = pool_write_end,
                                      .sync_begin = pool_sync_begin,
                                      .sync_end = pool_sync_end,
                                      .look_up = pool_look_up,
                                      .unpin = pool_unpin,
                                      .warm = pool_warm,
                                      /* As long as it takes to read all headers. */
                                      .count_max = CM_ALL,
                                      .cached = pool_cached,
                                      .keep = pool_keep,
                                      .drop = pool_drop,
                                      .info = pool_info };
