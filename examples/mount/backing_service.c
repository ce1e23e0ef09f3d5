/* SPDX-License-Identifier: BSD-2-Clause
 *
 * backing_service.c - the cached blocks are in the pool of a service (docs/service.md).
 *
 * Owns: the connection, and mnt.cache: a small pool in memory that never has a block. It judges
 * validators and syncs for this mount alone, whether the service is there or not. So the mount
 * knows of a file what it would know with a pool of its own: is it racy, are there writes that no
 * sync has proved, did somebody else change it. Everything is told to both, to this pool first.
 *
 * The service may be away, or come back, at any moment. Reads pass then, and the client notes the
 * writes that the service does not see. One thing is not in such a note: that a sync has failed.
 * That is told later, and anew to each other service. The file is read at the origin until it is
 * attached anew after that. If this mount is killed before, the client's list tells it (failed.h).
 * If something that must be forgotten cannot be told, the mount reads everything at the origin from
 * then on, and its log says what to do.
 *
 * Who: the rest of the mount, as backing_service (backing.h).
 */
#include "mount.h"

#define BOOK_BYTES (8u << 20)
#define BOOK_FILES 1024u
#define FILES_MAX 32768u               /* attached; half of what a service takes by default */
#define CROWD_NS UINT64_C(60000000000) /* the log tells so often that it has no room for files */
#define UNTOLD_MAX 1024u               /* files whose failed sync the service does not know of */

/* An attached file. */
struct remote {
    cmc_file *file;
    struct inode *inode;
    int fd;
    cm_file *own;      /* in mnt.cache; identify() needs it before the inode has it */
    _Atomic bool lost; /* a sync failed, and the service may not know */
    /* Held by a validation until the service knows of it: who sees its result in `own` must not
     * read from the service before that. */
    pthread_mutex_t validating;
};

static cmc_client *client;
static _Alignas(4096) uint8_t book[BOOK_BYTES];
static _Atomic bool blind;           /* everything is read at the origin */
static int state;                    /* cmc_state(), as the log knows; keeper's thread */
static _Atomic unsigned turned_away; /* files that the service had no room for, and not told yet */
static struct {
    pthread_mutex_t lock;
    cm_file_id v[UNTOLD_MAX]; /* whose sync failed */
    unsigned n;
} untold = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- Its life ------------------------------------------------------------------------------ */

static int open_book(void)
{
    cm_create_options make = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    cm_cache *cache = NULL;
    int rc;

    make.max_files = BOOK_FILES;
    o.flags = CM_OPEN_NO_GUARD; /* it is our own memory */
    o.probation_bytes = CM_PROBATION_NONE;
    rc = cm_format_memory(book, sizeof(book), &make);
    if (rc == 0)
        rc = cm_open_memory(book, sizeof(book), &o, &cache);
    if (rc == 0)
        mnt.cache = cache;
    return rc;
}

static void say_state(int now)
{
    state = now;
    manager_status(now == 0             ? "%s: cached by the service at %s"
                   : now == CMC_CROWDED ? "%s: uncached, too many clients at %s"
                                        : "%s: uncached, there is no service at %s",
                   mnt.opt.dir, mnt.opt.service);
    if (now == 0)
        say(CM_LOG_INFO, "the service at %s is there", mnt.opt.service);
    else if (now == CMC_CROWDED)
        say(CM_LOG_WARNING,
            "the service at %s has too many clients: %s passes through uncached until one of them "
            "leaves; raise \"clients\" in its configuration",
            mnt.opt.service, mnt.opt.dir);
    else
        say(CM_LOG_WARNING, "there is no service at %s: %s passes through uncached until it comes",
            mnt.opt.service, mnt.opt.dir);
}

static int service_open(void)
{
    const struct cmc_options o = { .where = mnt.opt.service };
    char why[256] = "";
    int rc = open_book();

    if (rc == 0)
        rc = cmc_connect(&o, &client, why);
    if (rc < 0) {
        say(CM_LOG_ERROR, "service %s: %s", mnt.opt.service, *why ? why : cm_strerror(rc));
        return EXIT_POOL;
    }
    cache_limit(FILES_MAX);
    say_state(cmc_state(client));
    return 0;
}

static int service_start(void)
{
    return 0;
}

static bool service_pays_to_sync(void)
{
    return true; /* the service makes checkpoints if its volume keeps them */
}

/* ---- Failed syncs -------------------------------------------------------------------------- */

static void service_give_up(int why)
{
    if (!atomic_exchange(&blind, true))
        say(CM_LOG_ERROR,
            "the service at %s cannot be told what it must forget (%s): %s is read uncached from "
            "now on. Stop the service and make its pool anew",
            mnt.opt.service, cm_strerror(why), mnt.opt.dir);
}

/* The place of an id in the list, or its end. The lock is held. */
static unsigned place_of(const cm_file_id *id)
{
    unsigned k = 0;

    while (k < untold.n && (untold.v[k].hi != id->hi || untold.v[k].lo != id->lo))
        k++;
    return k;
}

static bool is_untold(const cm_file_id *id)
{
    bool is;

    pthread_mutex_lock(&untold.lock);
    is = place_of(id) < untold.n;
    pthread_mutex_unlock(&untold.lock);
    return is;
}

static void must_tell(struct remote *r)
{
    const cm_file_id id = r->inode->id;
    bool full;
    unsigned k;

    pthread_mutex_lock(&untold.lock);
    k = place_of(&id);
    full = k == UNTOLD_MAX;
    if (k == untold.n && !full)
        untold.v[untold.n++] = id;
    atomic_store(&r->lost, true);
    pthread_mutex_unlock(&untold.lock);
    if (full)
        cache_give_up();
}

/* A validator that proves nothing: what is cached of the file is forgotten anyway. */
static int prove_nothing(void *arg, cm_validator *v)
{
    (void)arg;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    v->taken_at = cm_now();
    return 0;
}

/* True: the service knows that a sync of the file has failed. */
static bool tell_failure(const cm_file_id *id)
{
    cmc_bracket s;
    cmc_file *f;
    bool told;

    if (cmc_file_open(client, id, 0, prove_nothing, NULL, &f) < 0)
        return false;
    cmc_sync_begin(f, &s);
    told = cmc_sync_end(f, &s, 0, NULL) == 0;
    cmc_file_close(f);
    return told;
}

/* Tells what is not told yet. Returns how many are left. One thread at a time. */
static unsigned tell_failures(void)
{
    cm_file_id id;
    unsigned n, k;

    for (;;) {
        pthread_mutex_lock(&untold.lock);
        n = untold.n;
        if (n > 0)
            id = untold.v[n - 1];
        pthread_mutex_unlock(&untold.lock);
        if (n == 0 || !tell_failure(&id))
            return n;
        pthread_mutex_lock(&untold.lock); /* it stays in the list until it is told */
        k = place_of(&id);
        untold.v[k] = untold.v[--untold.n];
        pthread_mutex_unlock(&untold.lock);
    }
}

/* Leaves an eighth of the service's room to the files that its clients open next. */
static void make_room(uint32_t open, uint32_t most)
{
    static uint64_t told_ns;
    unsigned n;

    if (open >= most - most / 8)
        (void)cache_make_room(UINT64_MAX);
    if (atomic_load(&turned_away) == 0 || (told_ns && cm_now() - told_ns < CROWD_NS))
        return;
    n = atomic_exchange(&turned_away, 0);
    told_ns = cm_now();
    say(CM_LOG_WARNING,
        "the service at %s had no room for %u files, which pass through uncached until it has: "
        "its clients have %u open at a time; if this comes often, raise \"files\" in its "
        "configuration",
        mnt.opt.service, n, most);
}

static void service_look(void)
{
    uint64_t any;
    uint32_t open, most;
    /* Asks it: a connection that nobody uses does not tell that the service has ended. Once: a
     * second question might find the next one already. An older service tells no files. */
    int now = cmc_files(client, &open, &most);

    if (now == 0)
        make_room(open, most);
    else if (now != CM_ENOTSUP || cmc_stats(client, &any, 1) == 0)
        now = cmc_state(client) == CMC_CROWDED ? CMC_CROWDED : CMC_AWAY;
    else
        now = 0;
    if (now != state)
        say_state(now);
    if (now == 0)
        (void)tell_failures();
}

static int service_close(void)
{
    const unsigned n = tell_failures();

    if (n > 0)
        say(CM_LOG_WARNING,
            "the service at %s was not told that %u files may have lost data: it reads which ones "
            "in %s.failed when it starts",
            mnt.opt.service, n, mnt.opt.service);
    cmc_disconnect(client);
    (void)cm_close(mnt.cache); /* nothing of it is needed any more */
    return n > 0 || atomic_load(&blind) ? EXIT_POOL : 0;
}

/* ---- Files --------------------------------------------------------------------------------- */

/* Has a sync failed, as this mount knows? */
static bool is_bypassed(cm_file *own)
{
    cm_file_info info = { .struct_size = sizeof(info) };

    return cm_file_get_info(own, &info) >= 0 && info.bypassed;
}

static int identify(void *arg, cm_validator *v)
{
    struct remote *r = arg;
    cm_file_id id;
    int rc = file_identify(r->inode, r->fd, &id, v);

    /* Perhaps it is another service, with another pool. */
    if (is_bypassed(r->own))
        must_tell(r);
    if (rc == 0 && (id.hi != r->inode->id.hi || id.lo != r->inode->id.lo))
        rc = CM_EIO;
    return rc;
}

static int service_attach(struct inode *i, int fd, const cm_validator *v, uint32_t flags)
{
    struct remote *r = malloc(sizeof(*r));
    cm_file *cf;
    int e, rc = r ? cm_file_open(mnt.cache, &i->id, v, flags, &cf) : CM_ENOMEM;

    if (rc < 0) {
        free(r);
        return rc;
    }
    *r = (struct remote){ .inode = i, .fd = fd, .own = cf, .lost = is_untold(&i->id) };
    pthread_mutex_init(&r->validating, NULL);
    e = cmc_file_open(client, &i->id, flags, identify, r, &r->file);
    if (e < 0) {
        cm_file_close(cf);
        pthread_mutex_destroy(&r->validating);
        free(r);
        return e;
    }
    i->remote = r;
    i->cf = cf;
    return rc;
}

static bool service_no_room(struct inode *i, bool again)
{
    bool full;

    if (again)
        (void)cmc_file_revalidate(i->remote->file);
    full = cmc_file_refused(i->remote->file) == CMC_FULL;
    atomic_fetch_add(&turned_away, full && again);
    return full;
}

static void service_detach(struct inode *i)
{
    struct remote *r = i->remote;

    if (cm_file_close(i->cf) == CM_EBUSY) {
        cm_file_abort(i->cf); /* at an aborted unmount: operations died inside their brackets */
        cm_file_close(i->cf);
    }
    cmc_file_close(r->file);
    pthread_mutex_destroy(&r->validating);
    free(r);
    i->remote = NULL;
}

static int service_forget(const cm_file_id *id, bool gone)
{
    (void)(gone ? cm_forget_gone(mnt.cache, id) : cm_forget(mnt.cache, id));
    return cmc_forget(client, id, gone) == 0 ? 0 : CM_EFORGET;
}

/* The service has to know if it has to do something: if somebody else changed the file, or if own
 * writes wait for their validator. Else it knows as much. */
static int service_revalidate(struct inode *i, const cm_validator *v)
{
    cm_file_info was = { .struct_size = sizeof(was) }, is = { .struct_size = sizeof(is) };
    struct remote *r = i->remote;
    int rc;

    pthread_mutex_lock(&r->validating);
    cm_file_get_info(i->cf, &was);
    rc = cm_file_revalidate(i->cf, v);
    cm_file_get_info(i->cf, &is);
    if ((rc != 0 || was.racy || was.want_validator || was.incarnation != is.incarnation) &&
        cmc_file_revalidate(r->file) < 0)
        (void)cmc_invalidate(r->file, 0, CM_ALL);
    pthread_mutex_unlock(&r->validating);
    return rc;
}

/* ---- Reads --------------------------------------------------------------------------------- */

/* False: the file is read at the origin. */
static bool may_ask(const struct remote *r)
{
    return !atomic_load(&r->lost) && !atomic_load(&blind);
}

static int64_t service_read_whole(struct inode *i, uint64_t off, void *buf, size_t len)
{
    int64_t n;

    if (!may_ask(i->remote))
        return CM_EABSENT;
    n = cmc_read_whole(i->remote->file, off, buf, (uint32_t)len);
    return may_ask(i->remote) ? n : CM_EABSENT;
}

static int64_t service_read_through(struct inode *i, uint64_t off, void *buf, size_t len,
                                    cm_origin_read_fn origin_read, void *ctx)
{
    const uint64_t skip = off % CM_BLOCK_SIZE, from = off - skip;
    const size_t want = (size_t)((skip + len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE);
    int64_t n = -1;

    if (may_ask(i->remote))
        n = cmc_read_through(i->remote->file, from, buf, want, origin_read, ctx);
    if (!may_ask(i->remote))
        n = origin_read(ctx, from, buf, want);
    if (n < 0)
        return n;
    if ((uint64_t)n <= skip)
        return 0;
    if (skip > 0)
        memmove(buf, (uint8_t *)buf + skip, len);
    return (uint64_t)n - skip < len ? n - (int64_t)skip : (int64_t)len;
}

/* ---- Changes ------------------------------------------------------------------------------- */

/* The end of a begin: `rc` and `e` are what the two have answered. */
static int begun(struct inode *i, struct bracket *b, int rc, int e)
{
    b->judged = rc >= 0; /* if not, it takes the change for somebody else's */
    if (e == 0)
        return 0;
    if (b->judged)
        cm_write_end(i->cf, &b->own, NULL);
    return CM_ERANGE;
}

static int service_write_begin(struct inode *i, uint64_t off, uint64_t len, struct bracket *b)
{
    int rc = cm_write_begin(i->cf, off, len, &b->own);

    return rc == CM_ERANGE ? rc
                           : begun(i, b, rc, cmc_write_begin(i->remote->file, off, len, &b->told));
}

static int service_truncate_begin(struct inode *i, uint64_t size, struct bracket *b)
{
    int rc = cm_truncate_begin(i->cf, size, &b->own);

    return rc == CM_ERANGE ? rc
                           : begun(i, b, rc, cmc_truncate_begin(i->remote->file, size, &b->told));
}

static void service_write_end(struct inode *i, struct bracket *b, const cm_validator *after)
{
    (void)cmc_write_end(i->remote->file, &b->told, after);
    if (b->judged)
        cm_write_end(i->cf, &b->own, after);
}

static int service_sync_begin(struct inode *i, struct sync *s)
{
    cmc_sync_begin(i->remote->file, &s->told);
    return cm_sync_begin(i->cf, &s->own);
}

static void service_sync_end(struct inode *i, struct sync *s, bool ok, const cm_validator *after)
{
    cm_sync_end(i->cf, &s->own, ok, after);
    ok = ok && !is_bypassed(i->cf); /* a service that knows nothing of the loss would believe it */
    if (cmc_sync_end(i->remote->file, &s->told, ok, after) != 0 && !ok)
        must_tell(i->remote);
}

/* ---- Steering ------------------------------------------------------------------------------ */

static int service_look_up(const cm_file_id *id)
{
    return cmc_look_up(client, id);
}

static int service_unpin(const cm_file_id *id, int *kept)
{
    (void)cm_forget(mnt.cache, id);
    return cmc_forget_kept(client, id, 0, kept) == 0 ? 0 : CM_EFORGET;
}

static int service_warm(struct inode *i, uint64_t off, uint64_t len, const cm_warm_options *o,
                        cm_origin_read_fn origin_read, void *ctx, cm_warm_report *report)
{
    struct stat st;

    if (fstat(i->rfd, &st) < 0)
        return -ORIGIN_ERROR - errno;
    if (!may_ask(i->remote))
        return CM_NOT_STORED_MODE;
    if (off >= (uint64_t)st.st_size)
        return 0;
    if (len > (uint64_t)st.st_size - off)
        len = (uint64_t)st.st_size - off;
    return cmc_warm(i->remote->file, off, len, o, origin_read, ctx, report);
}

static int service_cached(struct inode *i, uint64_t offset, uint64_t len, uint64_t *bytes,
                          int *kept)
{
    return cmc_file_cached(i->remote->file, offset, len, bytes, kept);
}

static int service_keep(struct inode *i, int keep)
{
    return cmc_file_set_keep(i->remote->file, keep);
}

static int service_drop(struct inode *i)
{
    return cmc_invalidate(i->remote->file, 0, CM_ALL);
}

/* The counters are those of all clients. */
static int service_info(cm_info *info, uint64_t *hits, uint64_t *misses)
{
    uint64_t v[64] = { 0 };
    const unsigned n = cmc_stats(client, v, 64);

    *hits = *misses = 0;
    for (unsigned k = 0; k < n && cm_stat_name(k); k++) {
        if (!strcmp(cm_stat_name(k), "hit_blocks"))
            *hits = v[k];
        if (!strcmp(cm_stat_name(k), "miss_blocks"))
            *misses = v[k];
    }
    return cmc_pool(client, info);
}

const struct backing backing_service = { .open = service_open,
                                         .start = service_start,
                                         .close = service_close,
                                         .look = service_look,
                                         .pays_to_sync = service_pays_to_sync,
                                         .attach = service_attach,
                                         .no_room = service_no_room,
                                         .detach = service_detach,
                                         .forget = service_forget,
                                         .give_up = service_give_up,
                                         .revalidate = service_revalidate,
                                         .read_whole = service_read_whole,
                                         .read_through = service_read_through,
                                         .write_begin = service_write_begin,
                                         .truncate_begin = service_truncate_begin,
                                         .write_end = service_write_end,
                                         .sync_begin = service_sync_begin,
                                         .sync_end = service_sync_end,
                                         .look_up = service_look_up,
                                         .unpin = service_unpin,
                                         .warm = service_warm,
                                         .count_max = CMC_COUNT_MAX,
                                         .cached = service_cached,
                                         .keep = service_keep,
                                         .drop = service_drop,
                                         .info = service_info };
