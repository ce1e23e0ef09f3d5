/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize.c - another size for the pool of a running mount ("cachemax resize").
 *
 * A pool becomes larger in its place, while it is used, if the library can do that (cm_grow). It
 * cannot if the pool has grown four times, or is to have more than it was opened with room for
 * (backing_pool.c), or hardly more than now. For these sizes, and for smaller ones, the library
 * resizes a pool that nobody has open (cm_resize). So the mount does without its pool for that
 * time, and programs read and write the origin:
 *
 *   1. The control socket turns away requests that use the pool, and waits for those that do
 *      already. The gate closes for a moment, and all files are detached, also those in use.
 *   2. The pool is closed, resized and opened, while everything passes through.
 *   3. Files in use are attached again; others at their next use.
 *
 * Without room, and for a size that no pool may have, nothing of this begins. A volume that has
 * none for the new part of a pool has none for a second file either.
 *
 * What programs write in step 2 is as what others write while the mount is away: the validators
 * show it at the next attachment, and a validator that cannot show it is racy, and matches nothing.
 * cache.c makes a new ctime durable before the first change of a file, so that a power cut cannot
 * take the times back and leave the content.
 *
 * What they remove in step 2 is noted, and forgotten once the pool is back: else a pin of it would
 * count for ever.
 *
 * Whatever fails, the pool is opened again as it is. If that fails, too, everything passes through,
 * and it is tried again every RETRY_S seconds. If the mount ends meanwhile, the pool stays closed:
 * it is clean, and its next user may have it already.
 *
 * Callers: control_ops.c, main.c; backing_pool.c, cache.c, ops_name.c and ops_open.c ask whether
 * the pool is away.
 */
#include "control.h"
#include "mount.h"

#include <stdio.h>
#include <sys/statvfs.h>
#include <timed_wait.h> /* examples/wait */

#define PATIENCE_NS UINT64_C(2000000000)
#define RETRY_S 5
#define NAMES_ROOM 8192u /* cm_pool_size_min(): the smallest pool with names is larger */
#define MIB(bytes) ((double)(bytes) / (1 << 20))

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* held by the only resize */
/* Shared by requests of the control socket that use the pool. */
static pthread_rwlock_t using_pool = PTHREAD_RWLOCK_INITIALIZER;
static _Atomic bool away;       /* set with gone.lock */
static _Atomic bool leaving;    /* a resize waits until nobody uses the pool */
static _Atomic bool lost;       /* it could not be opened again yet */
static _Atomic bool grows;      /* in its place */
static _Atomic unsigned number; /* of the resize, from 1 on */
/* Files that were removed while it is away. */
static struct {
    pthread_mutex_t lock;
    struct gone {
        struct device *device; /* devices stay */
        cm_file_id id;
    } * v;
    size_t n, room;
} gone = { .lock = PTHREAD_MUTEX_INITIALIZER };

unsigned resize_number(void)
{
    return atomic_load(&number);
}

bool resize_runs(void)
{
    /* Acquire: who sees the pool back sees mnt.cache. */
    return atomic_load_explicit(&away, memory_order_acquire);
}

bool resize_lost_pool(void)
{
    return atomic_load(&lost);
}

bool resize_grows(void)
{
    return atomic_load(&grows);
}

/* If there is no memory, nobody forgets the file: it takes room until others need that. */
bool resize_forgets(struct device *d, const cm_file_id *id)
{
    bool taken;

    pthread_mutex_lock(&gone.lock);
    taken = resize_runs();
    if (taken && gone.n == gone.room) {
        const size_t room = gone.room ? 2 * gone.room : 64;
        struct gone *more = realloc(gone.v, room * sizeof(*more));

        if (more) {
            gone.v = more;
            gone.room = room;
        }
    }
    if (taken && gone.n < gone.room)
        gone.v[gone.n++] = (struct gone){ d, *id };
    pthread_mutex_unlock(&gone.lock);
    return taken;
}

/* Release: as in resize_runs(). */
static void set_away(bool to)
{
    pthread_mutex_lock(&gone.lock);
    atomic_store_explicit(&away, to, memory_order_release);
    pthread_mutex_unlock(&gone.lock);
}

/* Nobody adds to the list any more. */
static void forget_gone(void)
{
    for (size_t k = 0; k < gone.n && cache_on() && !control_ending(); k++)
        number_forget(gone.v[k].device, &gone.v[k].id);
    free(gone.v);
    gone.v = NULL;
    gone.n = gone.room = 0;
}

bool resize_hold(void)
{
    if (atomic_load(&leaving))
        return false;
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

/* using_pool is held for writing. False: the gate stays open. */
static bool detach_alone(void)
{
    bool closed = gate_close();

    if (closed && (!cache_detach_used(false) || !cache_detach_used(true))) {
        gate_open();
        cache_attach_used(false);
        cache_attach_used(true);
        closed = false;
    }
    if (closed) {
        atomic_fetch_add(&number, 1);
        set_away(true);
        gate_open();
    }
    return closed;
}

/* False: a request that uses the pool takes long, as warming does; or the gate stays open. */
static bool detach_all(void)
{
    const struct timespec until = wait_until(PATIENCE_NS);
    bool alone, closed = false;

    atomic_store(&leaving, true); /* new requests do not prolong the wait: resize_hold() */
    do
        alone = pthread_rwlock_trywrlock(&using_pool) == 0;
    while (!alone && wait_a_little(&until));
    if (alone) {
        closed = detach_alone();
        pthread_rwlock_unlock(&using_pool);
    }
    atomic_store(&leaving, false); /* if it is closed, `away` is true */
    return closed;
}

static void attach_all(void)
{
    set_away(false);
    forget_gone();
    cache_attach_used(false);
    cache_attach_used(true); /* the last, because a server may not answer */
}

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
    return !control_at(ctx, done, total) || atomic_load(&mnt.gave_up);
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
    o.seal = key_seal();
    if (rc == 0)
        rc = cm_resize(mnt.opt.pool, &o, &report);
    if (rc == 0)
        tell(c, &report);
    return rc;
}

/* False: there is no pool: the mount ends, or it was given up. */
static bool come_back(void)
{
    while (!control_ending() && !atomic_load(&mnt.gave_up)) {
        if (pool_return() == 0)
            return !atomic_load(&mnt.gave_up);
        if (control_ending())
            break;
        atomic_store(&lost, true);
        say(CM_LOG_ERROR,
            "pool %s: cannot be opened again: everything passes through uncached; the next try is "
            "in %d s",
            mnt.opt.pool, RETRY_S);
        for (int k = 0; k < RETRY_S * 10 && !control_ending(); k++)
            usleep(100000);
    }
    return false;
}

/* Pins that are more than may be pinned stay, but nothing can be added. */
static void say_pins(void)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (cm_get_info(mnt.cache, &info) || info.kept_bytes <= info.kept_max)
        return;
    say(CM_LOG_WARNING,
        "pool %s: pinned files take %.1f MiB, and half of the pool is %.1f MiB: no more can be "
        "pinned, and a part of them may be dropped",
        mnt.opt.pool, MIB(info.kept_bytes), MIB(info.kept_max));
}

static void say_end(int rc, uint64_t begun)
{
    const double seconds = (double)(cm_now() - begun) / 1e9;

    if (rc == 0)
        say(CM_LOG_INFO, "pool %s: has its new size after %.1f s; files are cached again",
            mnt.opt.pool, seconds);
    else
        say(CM_LOG_WARNING, "pool %s: keeps its size (%s, after %.1f s); files are cached again",
            mnt.opt.pool, rc <= CONTROL_ERRNO ? strerror(CONTROL_ERRNO - rc) : cm_strerror(rc),
            seconds);
}

/* ---- In its place ---------------------------------------------------------------------------- */

/* What cm_resize() would report. */
static void tell_grown(struct control_client *c, const cm_grow_report *g)
{
    cm_resize_report r = CM_RESIZE_REPORT_INIT;
    cm_file_info f = { .struct_size = sizeof(f) };
    cm_file_iter *it;

    r.old_size = g->old_size;
    r.blocks = g->blocks + g->dropped;
    r.no_room = g->dropped;
    if (cm_files_begin(mnt.cache, CM_FILES_STEPS, &it) == 0) {
        for (; control_next_file(c, it, &f) == 0; r.files++)
            r.kept_files += f.keep != 0;
        cm_files_end(it);
    }
    tell(c, &r);
}

/* The pool was opened with room for less. */
static void say_no_room(uint64_t from, uint64_t to)
{
    char why[80] = "there was no address space for that when it was opened";

    if (pool_room() > 0)
        snprintf(why, sizeof(why), "it was opened with room for %.1f MiB at most",
                 MIB(pool_room()));
    say(CM_LOG_INFO, "pool %s: cannot grow in its place from %.1f MiB to %.1f MiB: %s",
        mnt.opt.pool, MIB(from), MIB(to), why);
}

/* While it runs, requests use the pool, and so do other clients. Other errors than CM_ENOSPC: it
 * cannot in its place. */
static int grow(struct control_client *c, uint64_t size)
{
    cm_grow_report report = CM_GROW_REPORT_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    int rc = CM_ENOTSUP;
    bool larger;

    if (!resize_hold())
        return rc;
    larger = cm_get_info(mnt.cache, &info) == 0 && size > info.size;
    if (larger && size > pool_room()) {
        say_no_room(info.size, size);
    } else if (larger) {
        say(CM_LOG_INFO, "pool %s: shall grow in its place: %.1f MiB -> %.1f MiB", mnt.opt.pool,
            MIB(info.size), MIB(size));
        (void)control_is(c, "in_place", 1);
        atomic_store(&grows, true);
        rc = cm_grow(mnt.cache, size, &report);
        atomic_store(&grows, false);
    }
    if (rc == 0) {
        pool_grown();
        quota_grown();
        tell_grown(c, &report);
    }
    resize_release();
    return rc;
}

/* ---- Without the pool for a while ------------------------------------------------------------ */

/* After detach_all(). */
static int serve_away(struct control_client *c, uint64_t size)
{
    const uint64_t begun = cm_now();
    int rc = resize_pool(c, size);
    const bool back = come_back();

    atomic_store(&lost, false);
    if (back) {
        attach_all();
        say_end(rc, begun);
        if (rc == 0)
            say_pins();
    } else if (atomic_load(&mnt.gave_up)) {
        pool_abandon();
        set_away(false);
        forget_gone();
        rc = CM_EFORGET;
    }
    return rc;
}

/* Bytes of what a killed resize has left: it is removed before there must be room. */
static uint64_t bytes_left(const char *pool, const char *suffix)
{
    char path[PATH_MAX];
    struct stat st;
    const int n = snprintf(path, sizeof(path), "%s%s", pool, suffix);

    return n > 0 && n < PATH_MAX && stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Has the volume room for a second file? Of a sparse pool nobody knows how much it needs. */
static bool has_room(uint64_t size)
{
    const char *const pool = mnt.opt.pool;
    struct statvfs fs;
    struct stat st;
    bool has = true;

    if (stat(pool, &st) == 0 && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size &&
        statvfs(pool, &fs) == 0 && fs.f_blocks > 0)
        has = size <= (uint64_t)fs.f_bfree * fs.f_frsize + bytes_left(pool, ".cachemax-resize") +
                          bytes_left(pool, ".cachemax-resize.cachemax-new");
    return has;
}

static int resize_away(struct control_client *c, uint64_t size)
{
    cm_info info = { .struct_size = sizeof(info) };

    (void)cm_get_info(mnt.cache, &info);
    (void)control_is(c, "in_place", 0);
    if (!has_room(size)) {
        say(CM_LOG_WARNING,
            "pool %s: keeps its size: it can get another one by a copy only, and its volume has no "
            "room for one of %.1f MiB",
            mnt.opt.pool, MIB(size));
        return CM_ENOSPC;
    }
    checkpoint_stop(); /* before programs wait */
    if (!detach_all()) {
        checkpoint_again();
        return CONTROL_ERRNO - EBUSY;
    }
    say(CM_LOG_INFO,
        "pool %s: gets another size: %.1f MiB -> %.1f MiB; everything passes through uncached "
        "meanwhile",
        mnt.opt.pool, MIB(info.size), MIB(size));
    return serve_away(c, size);
}

/* May the pool have that size? If not, programs need not do without it to find out. */
static bool is_size(uint64_t size)
{
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t least = cm_pool_size_min();

    if (cm_get_info(mnt.cache, &info) == 0 && info.names_bytes > 0)
        least += NAMES_ROOM;
    return size % CM_BLOCK_SIZE == 0 && size >= least && size <= cm_pool_size_max();
}

/* Somebody has truncated its file. Such a pool cannot be opened any more, so the mount would not
 * get it back. */
static bool is_cut_off(void)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (cm_pool_info(mnt.opt.pool, &info) != CM_ETRUNCATED)
        return false;
    say(CM_LOG_WARNING,
        "pool %s: its file was truncated, so it can have no other size: unmount, delete the "
        "file, and make a new pool",
        mnt.opt.pool);
    return true;
}

static int resize_to(struct control_client *c, uint64_t size)
{
    const int rc = grow(c, size);

    if (rc == 0 || rc == CM_ENOSPC)
        return rc;
    /* After a growth that failed, whoever asked may be gone. */
    return control_cancelled(c) ? CM_ECANCELED : resize_away(c, size);
}

int resize_serve(struct control_client *c, const struct control_request *r)
{
    int rc = CONTROL_ERRNO - EBUSY;

    if (!cache_on())
        return resize_runs() ? rc : CM_EFORGET;
    if (!pool_has_name())
        return CONTROL_ERRNO - ESTALE;
    if (is_cut_off())
        return CM_ETRUNCATED;
    if (pthread_mutex_trylock(&one))
        return rc;
    rc = is_size(r->number) ? resize_to(c, r->number) : CM_EPOOLSIZE;
    pthread_mutex_unlock(&one);
    return rc;
}
