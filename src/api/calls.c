/* SPDX-License-Identifier: BSD-2-Clause
 *
 * calls.c - the public calls on files: argument checks, then the module that does the work.
 *
 * Owns: the rule of what is refused and how. Every call checks, in this order: handle, fork,
 * callback, pointers, ranges. No function below this file gets a bad argument, with one exception:
 * cm_fast_begin() is called after the second of these checks, but it only prefetches.
 *
 * Who: users, through cachemax.h.
 */
#include <string.h>

#include "api/cache.h"
#include "api/check.h"
#include "api/read_fast.h"
#include "api/read_range.h"
#include "api/read_through.h"
#include "protocol/bracket.h"
#include "protocol/fill.h"
#include "state/attach.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define OFFSET_MAX ((CM_BLOCK_MAX + 1) * CM_BLOCK_SIZE - 1)
#define SAMPLE 64u /* one in so many hits is timed */

static int enter(const cm_file *file, struct cm_object **f)
{
    *f = cm_object_of(file);
    return cm_object_attached(*f, file) ? cm_enter_cache((*f)->cache) : CM_EHANDLE;
}

static int enter_owner(const cm_cache *c)
{
    int e = cm_enter_cache(c);
    return e == 0 && c->readonly ? CM_EREADONLY : e;
}

static int check_range(uint64_t offset, uint64_t len)
{
    return offset > OFFSET_MAX || len > OFFSET_MAX - offset ? CM_ERANGE : 0;
}

/* Logs each trouble with the pool once. It is logged here, because no lock is held here. */
static void say_trouble(cm_cache *c)
{
    uint32_t unsaid = 1;
    if (at_load_relaxed(&c->suspect) == 1)
        (void)cm_cache_whole(c);
    if (at_load_relaxed(&c->broken) == 1 && at_cas_acq_rel(&c->broken, &unsaid, 2))
        cm_log(c, CM_LOG_ERROR, "old data could not be forgotten durably; the cache is bypassed");
    unsaid = 1;
    if (at_load_relaxed(&c->failing) == 1 && at_cas_acq_rel(&c->failing, &unsaid, 2))
        cm_log(c, CM_LOG_ERROR,
               "too many errors writing or reading the pool (volume full, file lost or media "
               "failing); nothing more is stored until it is opened again");
    unsaid = 1;
    if (at_load_relaxed(&c->older) == 1 && at_cas_acq_rel(&c->older, &unsaid, 2))
        cm_log(c, CM_LOG_WARNING,
               "the pool holds blocks that are newer than its superblock (was a part of an older "
               "copy put back?): emptied");
}

static inline void report_trouble(cm_cache *c)
{
    if ((at_load_relaxed(&c->broken) | at_load_relaxed(&c->failing) | at_load_relaxed(&c->suspect) |
         at_load_relaxed(&c->older)) &
        1) /* 1: not logged yet */
        say_trouble(c);
}

/* ---- Cache ----------------------------------------------------------------------------------- */

int cm_set_mode(cm_cache *c, int mode)
{
    int e = enter_owner(c);
    if (e)
        return e;
    if (mode < CM_NORMAL || mode > CM_BYPASS)
        return CM_EINVAL;
    at_store_seq_cst(&c->mode, (uint32_t)mode);
    return 0;
}

uint64_t cm_now(void)
{
    return cm_plat_now_ns();
}

int cm_identify(intptr_t os_file, cm_file_id *id, cm_validator *validator)
{
    return cm_identify_with(os_file, NULL, id, validator);
}

int cm_identify_with(intptr_t os_file, const cm_identify_options *opts, cm_file_id *id,
                     cm_validator *validator)
{
    cm_identify_options o;
    int e = cm_take_options(&o, sizeof(o), opts);
    if (e || !id || !validator || (o.flags & ~(uint32_t)CM_IDENTIFY_SOLE_WRITER) ||
        (o.reserved[0] | o.reserved[1]) || (o.volume_id && !*o.volume_id))
        return CM_EINVAL;
    return cm_plat_identify(os_file, &o, id, validator);
}

struct check_call {
    cm_cache *c;
    uint32_t flags;
    int (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    cm_check_report *report;
    struct cm_callback frame;
    int result;
};

static void run_check(void *arg)
{
    struct check_call *k = arg;
    k->result = cm_check_pool(k->c, k->flags, k->progress, k->ctx, k->report);
}

static void end_check(void *arg)
{
    cm_callback_end(&((struct check_call *)arg)->frame);
}

int cm_check(cm_cache *c, uint32_t flags, int (*progress)(void *ctx, uint64_t done, uint64_t total),
             void *ctx, cm_check_report *report)
{
    int e = cm_enter_cache(c);
    if (e)
        return e;
    if (!report || report->struct_size < 8 || report->struct_size > CM_STRUCT_MAX ||
        (flags & ~(uint32_t)(CM_CHECK_REPAIR | CM_CHECK_METADATA)))
        return CM_EINVAL;
    if (c->readonly && (flags & CM_CHECK_REPAIR))
        return CM_EREADONLY;
    cm_check_report r = { 0 };
    struct check_call k = {
        .c = c, .flags = flags, .progress = progress, .ctx = ctx, .report = &r
    };
    cm_callback_begin(c, &k.frame);
    cm_plat_call(run_check, &k, end_check, &k); /* progress may end the thread: no lock is held */
    end_check(&k);
    (void)cm_give_result(report, &r, sizeof(r)); /* struct_size was checked above */
    return k.result;
}

int cm_forget(cm_cache *c, const cm_file_id *id)
{
    int e = enter_owner(c);
    if (e)
        return e;
    return id && (id->hi | id->lo) ? cm_files_forget(c, id) : CM_EINVAL;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static bool validator_ok(const cm_validator *v)
{
    return v->reserved == 0 && v->size <= OFFSET_MAX && v->taken_at != 0 &&
           v->taken_at <= cm_plat_now_ns(); /* a later time comes from another clock */
}

/* The same for a validator that may lack a size. */
static bool version_ok(const cm_validator *v)
{
    cm_validator sized = *v;
    if (v->size == CM_SIZE_UNKNOWN)
        sized.size = 0;
    return validator_ok(&sized);
}

/* A validator of unknown size and nothing else says "I have none". */
static bool says_nothing(const cm_validator *v)
{
    return v->size == CM_SIZE_UNKNOWN && v->mtime_ns == 0 && v->ctime_ns == 0 && v->change == 0;
}

int cm_file_open(cm_cache *c, const cm_file_id *id, const cm_validator *validator, uint32_t flags,
                 cm_file **file)
{
    int e = enter_owner(c);
    if (e)
        return e;
    if (validator && says_nothing(validator))
        validator = NULL;
    if (!id || !file || (id->hi | id->lo) == 0 ||
        (flags & ~(uint32_t)(CM_SOLE_WRITER | CM_ORIGIN_VOLATILE)) ||
        (validator && !version_ok(validator)))
        return CM_EINVAL;
    return cm_files_attach(c, id, validator, flags, file);
}

int cm_file_revalidate(cm_file *file, const cm_validator *validator)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!validator || !validator_ok(validator))
        return CM_EINVAL;
    cm_lock_acquire(&f->lock);
    e = cm_file_judge(f, validator);
    cm_lock_release(&f->lock);
    return e;
}

int cm_file_advise(cm_file *file, int advice)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (advice < CM_ADVISE_NORMAL || advice > CM_ADVISE_KEEP)
        return CM_EINVAL;
    at_store_relaxed(&f->advice, (uint32_t)advice);
    return 0;
}

int cm_file_get_info(cm_file *file, cm_file_info *info)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!info)
        return CM_EINVAL;
    memset(info, 0, sizeof(*info));
    cm_lock_acquire(&f->lock);
    info->id = f->id;
    info->incarnation = f->incarnation;
    info->size = f->size;
    info->dirty = f->dirty;
    info->racy = !f->has_validator || f->validator.racy != 0;
    info->kept = f->kept;
    info->brackets = f->open_brackets;
    info->bypassed = f->bypassed;
    info->want_validator = f->want;
    cm_lock_release(&f->lock);
    return 0;
}

int cm_file_abort(cm_file *file)
{
    struct cm_object *f;
    int e = enter(file, &f);
    return e ? e : cm_bracket_abort(f);
}

int cm_file_close(cm_file *file)
{
    struct cm_object *f;
    int e = enter(file, &f);
    return e ? e : cm_files_detach(f);
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* What begin_read() gives to the calls below. */
struct reading {
    struct cm_fast fast;
    const struct cm_plat_thread *thread;
    uint64_t start; /* 0: not timed */
};

static inline __attribute__((always_inline)) int
begin_read(const cm_file *file, uint64_t offset, const void *buf, size_t len, struct reading *r)
{
    const struct cm_object *f = cm_object_of(file);
    /* These two checks come before any access to the pool's memory: a child of fork() has none. */
    int e = cm_object_attached(f, file) ? cm_cache_state(f->cache) : CM_EHANDLE;
    if (e)
        return e;
    struct cm_plat_thread *t = cm_plat_thread(); /* first: a thread's first call makes it ready */
    r->fast = cm_fast_begin(f, offset, len);
    r->thread = t;
    e = cm_enter_thread(f->cache, t);
    if (e == 0)
        e = !buf && len ? CM_EINVAL : check_range(offset, len);
    r->start = e == 0 && t->sample++ % SAMPLE == 0 ? cm_plat_now_ns() : 0;
    return e;
}

static inline void end_read(struct cm_object *f, uint64_t start, bool whole)
{
    if (start != 0 && whole)
        cm_stats_latency(&f->cache->media, CM_HISTOGRAM_HIT, cm_plat_now_ns() - start);
    report_trouble(f->cache);
}

int64_t cm_read(cm_file *file, uint64_t offset, void *buf, size_t len, cm_miss *miss)
{
    struct reading r;
    uint64_t counted = 0;
    int64_t n = begin_read(file, offset, buf, len, &r);
    if (n)
        return n;
    struct cm_object *f = cm_object_of(file);
    enum cm_found seen = cm_fast_read(f, r.thread, &r.fast, offset, buf, len);
    if (seen != CM_FOUND_HIT) {
        n = cm_range_read(f, seen, offset, buf, len, 0, &counted, miss);
    } else {
        n = (int64_t)len;
        cm_fast_end(offset + len, false, miss);
    }
    end_read(f, r.start, n == (int64_t)len);
    return n;
}

int64_t cm_read_whole(cm_file *file, uint64_t offset, void *buf, size_t len)
{
    struct reading r;
    int64_t n = begin_read(file, offset, buf, len, &r);
    if (n)
        return n;
    struct cm_object *f = cm_object_of(file);
    enum cm_found seen = cm_fast_read(f, r.thread, &r.fast, offset, buf, len);
    n = seen == CM_FOUND_HIT ? (int64_t)len : cm_range_read_whole(f, seen, offset, buf, len);
    end_read(f, r.start, n == (int64_t)len);
    return n;
}

static int check_vec(const cm_read_vec *v)
{
    return !v->buf && v->len ? CM_EINVAL : check_range(v->offset, v->len);
}

int64_t cm_read_many(cm_file *file, cm_read_vec *v, size_t n)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!v && n)
        return CM_EINVAL;
    int64_t whole = 0;
    for (size_t i = 0, good; i < n; i += good) {
        for (good = 0; i + good < n && check_vec(&v[i + good]) == 0; good++)
            ;
        whole += cm_range_read_many(f, v + i, good);
        if (i + good < n) {
            v[i + good].result = check_vec(&v[i + good]);
            good++;
        }
    }
    report_trouble(f->cache);
    return whole;
}

int cm_fill(cm_file *file, const cm_miss *miss, const void *data, size_t len, uint32_t flags)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!miss || (!data && len) || (flags & ~CM_FILL_EOF))
        return CM_EINVAL;
    if (miss->opaque[0] != f->serial)
        return CM_EFOREIGN;
    if (miss->offset % CM_BLOCK_SIZE || check_range(miss->offset, miss->len) ||
        len > (miss->len + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE ||
        (miss->len && (miss->offset % (CM_GROUP_BLOCKS * CM_BLOCK_SIZE) + miss->len - 1) /
                              (CM_GROUP_BLOCKS * CM_BLOCK_SIZE) >=
                          CM_MISS_STRIPES))
        return CM_ETICKET;
    if (len % CM_BLOCK_SIZE && !(flags & CM_FILL_EOF))
        return CM_EINVAL;
    e = cm_fill_offer(f, miss, data, len, len);
    report_trouble(f->cache);
    return e;
}

int64_t cm_read_through(cm_file *file, uint64_t offset, void *buf, size_t len,
                        cm_origin_read_fn origin_read, void *ctx)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e == 0)
        e = (!buf && len) || !origin_read ? CM_EINVAL : check_range(offset, len);
    if (e)
        return e;
    int64_t n = cm_flight_read(f, offset, buf, len, origin_read, ctx);
    report_trouble(f->cache);
    return n;
}

/* ---- Pins ------------------------------------------------------------------------------------ */

int64_t cm_pin_range(cm_file *file, uint64_t offset, size_t len, cm_iovec *iov, int n, int *iovcnt,
                     cm_pins *pins, cm_miss *miss)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e == 0)
        e = !iov || n < 1 || !iovcnt || !pins ? CM_EINVAL : check_range(offset, len);
    return e ? e : cm_range_pin(f, offset, len, iov, n, iovcnt, pins, miss);
}

int cm_unpin(cm_pins *pins)
{
    return pins ? cm_range_unpin(pins) : CM_EINVAL;
}

/* ---- Brackets -------------------------------------------------------------------------------- */

int cm_write_begin(cm_file *file, uint64_t offset, uint64_t len, cm_bracket *w)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e == 0)
        e = !w ? CM_EINVAL : offset == CM_APPEND ? 0 : check_range(offset, len);
    return e ? e : cm_bracket_write(f, offset, len, w);
}

int cm_truncate_begin(cm_file *file, uint64_t new_size, cm_bracket *w)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e == 0)
        e = !w ? CM_EINVAL : check_range(new_size, 0);
    return e ? e : cm_bracket_truncate(f, new_size, w);
}

int cm_write_end(cm_file *file, const cm_bracket *w, const cm_validator *after)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!w || (after && !validator_ok(after)))
        return CM_EINVAL;
    return cm_bracket_end(f, w, after);
}

int cm_sync_begin(cm_file *file, cm_sync *s)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    if (!s)
        return CM_EINVAL;
    cm_bracket_sync_begin(f, s);
    return 0;
}

int cm_sync_end(cm_file *file, const cm_sync *s, int ok, const cm_validator *after)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e)
        return e;
    const bool sound = s && (!after || validator_ok(after));
    if (!sound && ok)
        return CM_EINVAL;
    /* Only this call reports that the fsync failed: it counts even if another argument is wrong. */
    e = cm_bracket_sync_end(f, s, ok, sound ? after : NULL);
    return sound ? e : CM_EINVAL;
}

int cm_invalidate(cm_file *file, uint64_t offset, uint64_t len)
{
    struct cm_object *f;
    int e = enter(file, &f);
    if (e == 0)
        e = check_range(offset, len == CM_ALL ? 0 : len);
    if (e || len == 0)
        return e;
    return cm_bracket_invalidate(f, offset, len);
}
