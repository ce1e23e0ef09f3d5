/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize.c - another size for the pool of a running mount ("cachemax resize").
 *
 * The library resizes a pool that nobody has open (cm_resize). So the mount does without its pool
 * for that time, and programs read and write the origin:
 *
 *   1. No request of the control socket uses the pool. The gate closes for a moment, and all files
 *      are detached, also those in use.
 *   2. The pool is closed, resized and opened, while everything passes through.
 *   3. Files in use are attached again; others at their next use.
 *
 * What programs write in step 2 is as what others write while the mount is away: the validators
 * show it at the next attachment, and a validator that cannot show it is racy, and matches nothing.
 * cache.c makes a new ctime durable before the first change of a file, so that a power cut cannot
 * take the times back and leave the content.
 *
 * Whatever fails, the pool is opened again as it is. If that fails, too, everything passes through,
 * and it is tried again every RETRY_S seconds.
 *
 * Callers: control_ops.c; cache.c asks whether the pool is away.
 */
#include "control.h"
#include "mount.h"

#include <time.h>

#define PATIENCE_S 2
#define RETRY_S 5

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* held by the only resize */
/* Shared by requests of the control socket that use the pool. */
static pthread_rwlock_t using_pool = PTHREAD_RWLOCK_INITIALIZER;
static _Atomic bool away;
static _Atomic unsigned number; /* of the resize, from 1 on */

unsigned resize_number(void)
{
    return atomic_load(&number);
}

bool resize_runs(void)
{
    /* Acquire: who sees the pool back sees mnt.cache. */
    return atomic_load_explicit(&away, memory_order_acquire);
}

bool resize_hold(void)
{
    pthread_rwlock_rdlock(&using_pool);
    if (!resize_runs())
        return true;
    pthread_rwlock_unlock(&using_pool);
    return false;
}

void resize_release(void)
{
    pthread_rwlock_unlock(&using_pool);
}

/* False: a request that uses the pool takes long, as warming does; or the gate stays open. */
static bool detach_all(void)
{
    struct timespec until;
    bool closed;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    if (pthread_rwlock_timedwrlock(&using_pool, &until))
        return false;
    closed = gate_close();
    if (closed && (!cache_detach_used(false) || !cache_detach_used(true))) {
        gate_open();
        cache_attach_used(false);
        cache_attach_used(true);
        closed = false;
    }
    if (closed) {
        atomic_fetch_add(&number, 1);
        /* Release: with the gate, which opens after it. */
        atomic_store_explicit(&away, true, memory_order_release);
        gate_open();
    }
    pthread_rwlock_unlock(&using_pool);
    return closed;
}

static void attach_all(void)
{
    /* Release: as in resize_runs(). */
    atomic_store_explicit(&away, false, memory_order_release);
    cache_attach_used(false);
    cache_attach_used(true); /* the last, because a server may not answer */
}

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
    return !control_at(ctx, done, total);
}

static void log_line(void *ctx, int level, const char *text)
{
    (void)ctx;
    say(level, "%s", text);
}

static void tell(struct control_client *c, const cm_resize_report *r)
{
    (void)control_is(c, "emptied", r->emptied);
    (void)control_is(c, "old_size", r->old_size);
    (void)control_is(c, "blocks", r->blocks);
    (void)control_is(c, "no_room", r->no_room);
    (void)control_is(c, "damaged", r->damaged);
    (void)control_is(c, "files", r->files);
    (void)control_is(c, "files_lost", r->files_lost);
    (void)control_is(c, "kept_files", r->kept_files);
}

/* Between detach_all() and attach_all(). */
static int resize_pool(struct control_client *c, uint64_t size)
{
    cm_resize_options o = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report report = CM_RESIZE_REPORT_INIT;
    int rc = pool_leave();

    if (rc == CM_EBUSY) { /* a bracket that the gate has not seen: what it forgets is not known */
        cache_give_up();
        return CONTROL_ERRNO - EBUSY;
    }
    o.size = size;
    o.progress = on_progress;
    o.progress_ctx = c;
    o.log = log_line;
    if (rc == 0)
        rc = cm_resize(mnt.opt.pool, &o, &report);
    if (rc == 0)
        tell(c, &report);
    return rc;
}

/* False: there is no pool: the mount ends, or it was given up. */
static bool come_back(void)
{
    int rc;

    while ((rc = pool_return()) != 0 && !control_ending() && !atomic_load(&mnt.gave_up)) {
        say(CM_LOG_ERROR, "%s passes through uncached; the pool is tried again soon", mnt.opt.dir);
        for (int k = 0; k < RETRY_S * 10 && !control_ending(); k++)
            usleep(100000);
    }
    return rc == 0;
}

int resize_serve(struct control_client *c, const struct control_request *r)
{
    int rc = CONTROL_ERRNO - EBUSY;

    if (!cache_on())
        return resize_runs() ? rc : CM_EFORGET;
    if (pthread_mutex_trylock(&one))
        return rc;
    checkpoint_stop(); /* before programs wait */
    if (!detach_all()) {
        (void)checkpoint_start();
        pthread_mutex_unlock(&one);
        return rc;
    }
    say(CM_LOG_INFO, "pool %s: gets another size; %s passes through uncached meanwhile",
        mnt.opt.pool, mnt.opt.dir);
    rc = resize_pool(c, r->number);
    if (come_back()) {
        attach_all();
        say(rc ? CM_LOG_WARNING : CM_LOG_INFO, "pool %s: %s; %s is cached again", mnt.opt.pool,
            rc == 0               ? "has its new size"
            : rc <= CONTROL_ERRNO ? "is in use, so it keeps its size"
                                  : cm_strerror(rc),
            mnt.opt.dir);
    }
    pthread_mutex_unlock(&one);
    return rc;
}
