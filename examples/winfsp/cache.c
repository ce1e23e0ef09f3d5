/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.c - reads through the pool; every change of the origin in a bracket.
 *
 * Owns: the open pool, and when it is made safe. Who: ops.c, main.c. Every thread.
 *
 * The mount is the sole writer: whoever changes the origin by its other name breaks that. Each open
 * file is attached, so the library knows all that are in use, and an open that comes later presents
 * the validator anew. A file that was changed gets a new validator when one of its handles is
 * closed.
 *
 * A file with several names may have one outside of the folder, and be written there. Nothing of it
 * is served, and no validator vouches for it: its reads pass, and it is cold when it is opened. Its
 * writes still have brackets: other handles may have it attached from before. Names are looked for
 * whenever the origin is asked anyway, not by a hit: no name can be made through the mount, and who
 * makes one at the origin does what breaks it.
 *
 * Trouble: if a change cannot be announced, the pool is given up before the change is made. From
 * then on there is no hit, no bracket and no validator, and all goes to the origin. The pool is
 * then as that of a mount that was killed (docs/decisions/giving-up.md).
 */
#include "cache.h"
#include "handles.h"
#include "ticker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CHECKPOINT_MS 5000u
/* What waits in DRAM is stored by the second checkpoint that finds it there. */
#define ROUNDS 2
#define ORIGIN_ERROR 1000 /* the library's own errors are above its negative */

static struct {
    cm_cache *pool;
    const char *path;
    atomic_bool off; /* given up */
    uint64_t seen;   /* changes() at the last look */
    unsigned rounds; /* checkpoints to come */
} cache;

static void say(void *ctx, int level, const char *text)
{
    (void)ctx, (void)level;
    fprintf(stderr, "cachemax-winfsp: %s\n", text);
}

static void give_up(int why)
{
    if (!atomic_exchange(&cache.off, true))
        fprintf(stderr,
                "cachemax-winfsp: %s: %s: the pool is given up, all goes to the origin. Delete the "
                "pool after the unmount\n",
                cache.path, cm_strerror(why));
}

static bool is_on(const struct handle *h)
{
    return h->file && !atomic_load(&cache.off);
}

/* A number that differs if anything has changed that a checkpoint stores or makes safe. Hits alone
 * are not worth a sync of the volume. */
static uint64_t changes(void)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    cm_info i = { .struct_size = sizeof(i) };

    if (cm_stats(cache.pool, &s) < 0 || cm_get_info(cache.pool, &i) < 0)
        return 0;
    return s.pool_bytes + s.buffered + s.brackets +
           (i.durability == CM_DURABILITY_PAGECACHE || i.durability == CM_DURABILITY_CHECKPOINT
                ? 0
                : s.probation_hits);
}

/* Stores what waits in DRAM and may go to the pool. On Linux it also syncs the pool. Not in a
 * thread that reads: it waits for the pool's volume. */
static void checkpoint(void)
{
    const uint64_t now = atomic_load(&cache.off) ? cache.seen : changes();

    if (now != cache.seen)
        cache.rounds = ROUNDS;
    cache.seen = now;
    if (cache.rounds == 0 || atomic_load(&cache.off))
        return;
    cache.rounds--;
    (void)cm_checkpoint(cache.pool); /* the library logs what is wrong */
}

int cache_begin(const char *pool)
{
    cm_options o = CM_OPTIONS_INIT;
    int e;

    handles_begin();
    o.log = say;
    cache.path = pool;
    cache.rounds = 1; /* what others have left in the pool may not be on its volume yet */
    e = cm_open(pool, &o, &cache.pool);
    if (e < 0)
        fprintf(stderr, "cachemax-winfsp: %s: %s%s\n", pool, cm_strerror(e),
                e == CM_ENOENT ? "; make it with \"cachemax create\"" : "");
    if (e == 0 && !ticker_begin(CHECKPOINT_MS, checkpoint)) {
        fprintf(stderr, "cachemax-winfsp: no thread for checkpoints; let it have one more\n");
        (void)cm_close(cache.pool);
        e = CM_ENOMEM;
    }
    return e;
}

int cache_end(void)
{
    int e;

    ticker_end();
    e = cm_close(cache.pool);
    if (e < 0)
        fprintf(stderr, "cachemax-winfsp: %s: at the end: %s\n", cache.path, cm_strerror(e));
    return e;
}

int cache_stat(struct handle *h, api_stat *st)
{
    const int e = origin_stat_file(h->f, st);

    if (e == 0 && st->st_nlink > 1) {
        atomic_store(&h->linked, true);
        if (!atomic_exchange(&h->told, true))
            handles_have_names(&h->id);
    }
    return e;
}

/* Asks the origin; if it does not say, there may be several. Once true it stays true, also for all
 * handles to come: who has opened the file by another name may still write it. */
static bool has_names(struct handle *h)
{
    api_stat st;

    if (!atomic_load(&h->linked) && cache_stat(h, &st) < 0)
        atomic_store(&h->linked, true);
    return atomic_load(&h->linked);
}

/* The validator is taken first: if the pool is still in use after that, no change without a bracket
 * had begun. */
static bool identify(struct handle *h, cm_validator *v)
{
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;

    o.flags = CM_IDENTIFY_SOLE_WRITER;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    return cm_identify_with(h->f, &o, &h->id, v) == 0 && !atomic_load(&cache.off);
}

void cache_attach(struct handle *h)
{
    cm_file_info info = { .struct_size = sizeof(info), .dirty = 1 };
    cm_validator v;
    int e;

    h->file = NULL;
    h->proves = false;
    atomic_init(&h->changed, false);
    atomic_init(&h->linked, false);
    atomic_init(&h->told, false);
    if (!identify(h, &v))
        return;
    e = cm_file_open(cache.pool, &h->id, has_names(h) ? NULL : &v, CM_SOLE_WRITER, &h->file);
    if (e == CM_EFORGET)
        give_up(e);
    if (e < 0)
        h->file = NULL;
    else
        h->proves = cm_file_get_info(h->file, &info) == 0 && !info.dirty;
}

/* False: its content is not cached here, or will be cold when it is opened next. */
static bool open_plain(const char *path, origin_file *f, api_stat *st)
{
    const struct origin_how how = { .reads = true };

    return origin_stat(path, st) == 0 && (st->st_mode & S_IFMT) == S_IFREG &&
           origin_open(path, &how, f) == 0;
}

/* The validator of a file that was changed. h->f is closed: only then Windows moves the times, and
 * the number of the file's last record in the journal. `path`: its name; false: it is another
 * file's, or nobody's, so the file will be cold when it is opened next. */
static bool identify_closed(const struct handle *h, const char *path, cm_validator *v)
{
    struct handle now = { 0 };
    api_stat st;
    bool same;

    if (!path || !open_plain(path, &now.f, &st))
        return false;
    same = identify(&now, v) && !has_names(&now) && now.id.hi == h->id.hi && now.id.lo == h->id.lo;
    (void)origin_close(now.f);
    return same;
}

int cache_detach(struct handle *h, const char *path)
{
    const int rc = origin_close(h->f);
    cm_validator v;

    if (is_on(h) && atomic_load(&h->changed) && !atomic_load(&h->linked) &&
        identify_closed(h, path, &v) && cm_file_revalidate(h->file, &v) == CM_EFORGET)
        give_up(CM_EFORGET);
    if (h->file)
        (void)cm_file_close(h->file);
    return rc;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct handle *h = ctx;
    int64_t n;

    if (has_names(h))
        return CM_ENOTSUP; /* nothing is stored */
    n = origin_read(h->f, off, buf, len);
    return n < 0 ? n - ORIGIN_ERROR : n;
}

/* A hit asks the origin nothing: Windows might let it wait there for what others write or flush. */
int64_t cache_read(struct handle *h, uint64_t off, void *buf, size_t len)
{
    int64_t n = CM_EIO;

    if (is_on(h) && !atomic_load(&h->linked))
        n = cm_read_through(h->file, off, buf, len, read_origin, h);
    if (n >= 0)
        return n;
    return n <= -ORIGIN_ERROR ? n + ORIGIN_ERROR : origin_read(h->f, off, buf, len);
}

/* ---- Changing -------------------------------------------------------------------------------- */

/* `e`: of the begin of a bracket. Is there one? Without one the pool is given up. */
static bool has_begun(int e)
{
    if (e < 0)
        give_up(e);
    return e == 0;
}

int64_t cache_write(struct handle *h, uint64_t off, const void *buf, size_t len)
{
    cm_bracket w;
    bool begun = false;
    int64_t n;

    if (len > INT64_MAX - off)
        return -EFBIG;
    atomic_store(&h->changed, true);
    /* Another handle may have the file attached. */
    if (!h->file)
        give_up(CM_ENOTSUP);
    if (is_on(h))
        begun = has_begun(cm_write_begin(h->file, off, len, &w));
    n = origin_write(h->f, off, buf, len);
    if (begun)
        (void)cm_write_end(h->file, &w, NULL);
    return n;
}

int cache_set_size(struct handle *h, uint64_t size)
{
    cm_bracket w;
    bool begun = false;
    int e;

    atomic_store(&h->changed, true);
    if (!h->file)
        give_up(CM_ENOTSUP);
    if (is_on(h))
        begun = has_begun(cm_truncate_begin(h->file, size, &w));
    e = origin_set_size(h->f, size);
    if (begun)
        (void)cm_write_end(h->file, &w, NULL);
    return e;
}

int cache_sync(struct handle *h, bool datasync)
{
    cm_sync s;
    cm_validator v;
    const bool begun = is_on(h) && cm_sync_begin(h->file, &s) == 0;
    const int e = origin_sync(h->f, datasync);
    const bool known = e != -EINVAL && e != -EROFS && e != -EBADF && e != -EACCES;

    /* A failed sync counts, also if the pool has been given up meanwhile. One that succeeds is a
     * proof only on a descriptor that was there before the writes: the system may have told their
     * errors to somebody else. */
    if (begun && known && (e < 0 || h->proves)) {
        const bool fresh = e == 0 && !has_names(h) && identify(h, &v);
        if ((e < 0 || !atomic_load(&cache.off)) &&
            cm_sync_end(h->file, &s, e == 0, fresh ? &v : NULL) == CM_EFORGET)
            give_up(CM_EFORGET);
    }
    return e;
}

/* ---- Names and attributes -------------------------------------------------------------------- */

void cache_change_begin(struct cache_change *c, const char *path)
{
    api_stat st;

    memset(c, 0, sizeof(*c));
    if (!open_plain(path, &c->h.f, &st))
        return;
    c->open = true;
    cache_attach(&c->h);
    if (is_on(&c->h) && cm_write_begin(c->h.file, 0, 0, &c->bracket) < 0) {
        (void)cm_file_close(c->h.file);
        c->h.file = NULL;
    }
}

void cache_change_end(struct cache_change *c, const char *path)
{
    cm_validator v;
    bool told;

    if (!c->open)
        return;
    (void)origin_close(c->h.f);
    if (!c->h.file)
        return;
    told = !atomic_load(&c->h.linked) && identify_closed(&c->h, path, &v);
    (void)cm_write_end(c->h.file, &c->bracket, told ? &v : NULL);
    (void)cm_file_close(c->h.file);
}

void cache_victim(struct cache_victim *v, const char *path)
{
    cm_validator unused;
    struct handle h = { 0 };
    api_stat st;

    memset(v, 0, sizeof(*v));
    if (!open_plain(path, &h.f, &st))
        return;
    if (identify(&h, &unused)) {
        v->id = h.id;
        v->last_name = st.st_nlink <= 1;
    }
    (void)origin_close(h.f);
}

bool cache_victim_is(const struct cache_victim *v, const struct cache_change *c)
{
    return v->id.hi == c->h.id.hi && v->id.lo == c->h.id.lo;
}

void cache_victim_gone(const struct cache_victim *v)
{
    int e = 0;

    if (v->last_name && !atomic_load(&cache.off))
        e = cm_forget(cache.pool, &v->id);
    if (e < 0)
        give_up(e);
}
