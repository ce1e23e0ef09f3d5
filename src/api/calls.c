/* SPDX-License-Identifier: BSD-2-Clause
 *
 * calls.c - the public calls that read, fill, bracket, pin and forget, requests, and the settings
 * of a cache: argument checks, then the module that does the work. file_calls.c has those that open
 * and close files.
 *
 * Owns: the rule of what is refused and how. Every call checks, in this order: handle, fork,
 * callback, pointers, ranges. No function below this file gets a bad argument, with one exception:
 * cm_fast_begin() is called after the second of these checks, but it only prefetches.
 *
 * Who: users, through cachemax.h; objects/.
 */
#include <string.h>

#include "api/cache.h"
#include "api/read_fast.h"
#include "api/read_range.h"
#include "api/read_through.h"
#include "api/request.h"
#include "protocol/bracket.h"
#include "protocol/checkpoint.h"
#include "protocol/fill.h"
#include "protocol/fill_buffered.h"
#include "state/attach.h"
#include "state/copy_choice.h"
#include "state/region.h"
#include "state/shared.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define SAMPLE 64u /* one in so many reads is timed, and counts for all of them */

/* ---- Cache ----------------------------------------------------------------------------------- */

int cm_set_mode(cm_cache *c, int mode)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    if (mode < CM_NORMAL || mode > CM_BYPASS)
        return CM_EINVAL;
    /* One step: of two calls at once the same one counts for this process and for readers of
     * others. */
    cm_lock_acquire(&c->super.lock);
    at_store_seq_cst(&c->mode, (uint32_t)mode);
    e = cm_super_silence(&c->super, mode == CM_BYPASS);
    cm_lock_release(&c->super.lock);
    return e;
}

int cm_set_fill_rate_limit(cm_cache *c, uint64_t bytes_per_second)
{
    int e = cm_enter_owner(c);
    if (e == 0)
        cm_rate_set(&c->rate, bytes_per_second);
    return e;
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
    cm_validator v;
    int e = cm_take_options(&o, sizeof(o), opts);
    if (e || !id || !cm_can_give_result(validator) ||
        (o.flags & ~(uint32_t)CM_IDENTIFY_SOLE_WRITER) || (o.reserved[0] | o.reserved[1]) ||
        (o.volume_id && !*o.volume_id))
        return CM_EINVAL;
    e = cm_plat_identify(os_file, &o, id, &v);
    return e ? e : cm_give_result(validator, &v, sizeof(v));
}

static int forget(cm_cache *c, const char *call, const cm_file_id *id, bool gone)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    if (!cm_take_id(c, call, id))
        return CM_EINVAL;
    return cm_report_error(c, cm_files_forget(c, id, gone));
}

int cm_forget(cm_cache *c, const cm_file_id *id)
{
    return forget(c, "cm_forget", id, false);
}

int cm_forget_gone(cm_cache *c, const cm_file_id *id)
{
    return forget(c, "cm_forget_gone", id, true);
}

/* Says once why there can be no checkpoint. Of a pool in memory cm_info says so. */
static void say_no_checkpoint(cm_cache *c)
{
    char what[PLAT_VOLUME];
    uint32_t unsaid = 0;
    if (!c->super.sync || !at_cas_acq_rel(&c->no_checkpoint, &unsaid, 1))
        return;
    (void)cm_plat_file_sync_lasts(&c->file, what);
    cm_log(c, CM_LOG_INFO,
           "cm_checkpoint: %s: it is not known that what is synced on its volume (%s) survives a "
           "crash of the system: a power cut will empty it",
           c->name, what);
}

int cm_checkpoint(cm_cache *c)
{
    int e = cm_enter_owner(c);
    if (e)
        return e;
    at_add_acq_rel(&c->live, 1); /* cm_close looks at it */
    cm_say_guard(c);
    cm_fill_buffered_promote(c);
    cm_checkpoint_note_ends(c);
    if (cm_checkpoint_possible(c))
        e = cm_checkpoint_run(c);
    else if (c->super.now.durability != CM_DURABILITY_DAX) {
        say_no_checkpoint(c);
        e = CM_ENOTSUP;
    } else if (cm_super_is_void(&c->super))
        e = CM_EIO;
    cm_report_trouble(c);
    at_sub_acq_rel(&c->live, 1); /* the last: from here on cm_close() may free the cache */
    return e;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* A sampled read begins. Returns the time. Chooses at random how many reads are not sampled before
 * the next one, SAMPLE - 1 on the average: with a fixed distance, of two files that are read in
 * turns only one would ever be seen. */
static __attribute__((noinline)) uint64_t begin_sample(struct cm_plat_thread *t)
{
    const bool first = t->random == 0; /* the thread's first read is one like any other */
    uint32_t x = first ? t->number * UINT32_C(0x9e3779b1) | 1 : t->random;
    x ^= x << 13; /* xorshift: Marsaglia 2003 */
    x ^= x >> 17;
    x ^= x << 5;
    t->random = x;
    t->sample = (uint32_t)cm_format_reduce(x, 2 * SAMPLE - 1);
    return first ? 0 : cm_plat_now_ns();
}

/* Is the present call sampled? Then returns the time, else 0. A call that is not counts down. */
static inline __attribute__((always_inline)) uint64_t sample(struct cm_plat_thread *t)
{
    return t->sample-- == 0 ? begin_sample(t) : 0;
}

/* `bytes` from `offset` on were served by a call that was sampled. */
static void count_served(struct cm_object *f, uint64_t offset, uint64_t bytes, uint64_t now)
{
    if (bytes > 0)
        cm_object_served(f, SAMPLE * cm_blocks_of(offset % CM_BLOCK_SIZE + bytes), now);
}

/* The same for a call whose time says nothing about hits. */
static inline void sample_served(struct cm_object *f, uint64_t offset, int64_t served)
{
    const uint64_t now = sample(cm_plat_thread());
    if (now != 0 && served > 0)
        count_served(f, offset, (uint64_t)served, now);
}

/* `g`: the place of the first block that was read. */
static __attribute__((noinline)) void end_sample(struct cm_object *f, const struct cm_fast *g,
                                                 uint64_t start, uint64_t offset, int64_t served,
                                                 bool whole)
{
    uint64_t slot = g->slot, version;
    if (whole && slot == CM_NO_SLOT && f->cache->probation.entries > 0)
        slot = cm_lookup_entry(f->cache, g->incarnation, g->block, g->hash, &version);
    if (whole && slot != CM_NO_SLOT)
        cm_object_learn(f, g->block, slot);
    if (whole)
        cm_stats_latency(&f->cache->media, CM_HISTOGRAM_HIT, cm_plat_now_ns() - start);
    count_served(f, offset, served > 0 ? (uint64_t)served : 0, start);
    if (served == CM_BLOCK_SIZE && !cm_copy_choice_is_over(f->cache))
        cm_copy_choice_measure(f->cache);
}

/* What begin_read() gives to the calls below. */
struct reading {
    struct cm_fast fast;
    struct cm_spot at;
    const struct cm_plat_thread *thread; /* the calling one */
    uint64_t start;                      /* 0: not timed */
};

static inline int check_read(uint64_t offset, const void *buf, size_t len)
{
    return !buf && len ? CM_EINVAL : cm_check_range(offset, len);
}

static inline __attribute__((always_inline)) int
begin_read(const cm_file *file, uint64_t offset, const void *buf, size_t len, struct reading *r)
{
    const struct cm_object *f = cm_object_of(file);
    /* These two checks come before any access to the pool's memory: a child of fork() has none. */
    int e = cm_object_attached(f, file) ? cm_cache_here(f->cache) : CM_EHANDLE;
    if (e)
        return e;
    struct cm_plat_thread *t = cm_plat_thread(); /* first: a thread's first call makes it ready */
    cm_fast_begin(f, offset, len, &r->fast, &r->at);
    r->thread = t;
    e = cm_enter_thread(f->cache, t);
    if (e == 0)
        e = check_read(offset, buf, len);
    r->start = e == 0 ? sample(t) : 0;
    return e;
}

/* `served`: the call's result. Of plain hits only those that are timed look for trouble to log: so
 * a line waits for some hundred of them at most, and none of them for the flags. */
static inline void end_read(struct cm_object *f, const struct reading *r, uint64_t offset,
                            int64_t served, size_t len)
{
    if (r->start == 0)
        return;
    end_sample(f, &r->fast, r->start, offset, served, served == (int64_t)len);
    cm_report_trouble(f->cache);
}

int64_t cm_read(cm_file *file, uint64_t offset, void *buf, size_t len, cm_miss *miss)
{
    struct reading r;
    int64_t n = begin_read(file, offset, buf, len, &r);
    if (n)
        return n;
    struct cm_object *f = cm_object_of(file);
    if (cm_fast_read(f, r.thread, &r.fast, &r.at, offset, buf, len)) {
        n = (int64_t)len;
        cm_fast_end(cm_incarnation_number(r.fast.incarnation), offset + len, false, miss);
    } else {
        n = cm_range_read_slow(f, r.thread, &r.fast, offset, buf, len, miss);
        cm_report_trouble(f->cache);
    }
    end_read(f, &r, offset, n, len);
    return n;
}

/* cm_read_whole() with flags. begin_read() would touch the index. */
static __attribute__((noinline)) int64_t read_resident(const cm_file *file, uint64_t offset,
                                                       void *buf, size_t len, uint32_t flags)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e == 0)
        e = flags != CM_READ_RESIDENT ? CM_EINVAL : check_read(offset, buf, len);
    if (e)
        return e;
    int64_t n = cm_range_read_resident(f, offset, buf, len);
    sample_served(f, offset, n);
    cm_report_trouble(f->cache);
    return n;
}

int64_t cm_read_whole(cm_file *file, uint64_t offset, void *buf, size_t len, uint32_t flags)
{
    struct reading r;
    if (flags)
        return read_resident(file, offset, buf, len, flags);
    int64_t n = begin_read(file, offset, buf, len, &r);
    if (n)
        return n;
    struct cm_object *f = cm_object_of(file);
    if (cm_fast_read(f, r.thread, &r.fast, &r.at, offset, buf, len)) {
        n = (int64_t)len;
    } else {
        n = cm_range_read_whole(f, r.thread, &r.fast, offset, buf, len);
        cm_report_trouble(f->cache);
    }
    end_read(f, &r, offset, n, len);
    return n;
}

static int check_vec(const cm_read_vec *v)
{
    return !v->buf && v->len ? CM_EINVAL : cm_check_range(v->offset, v->len);
}

int64_t cm_read_many(cm_file *file, cm_read_vec *v, size_t n)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    if (!v || n == 0)
        return n ? CM_EINVAL : 0;
    const size_t size = v->struct_size ? v->struct_size : sizeof(*v);
    if (size < sizeof(*v) || size > CM_STRUCT_MAX || size % sizeof(uint64_t))
        return CM_EINVAL;
    for (size_t i = 0; i < n; i++) {
        cm_read_vec *r = (cm_read_vec *)(void *)((uint8_t *)v + i * size);
        r->result = check_vec(r);
    }
    const int64_t whole = cm_range_read_many(f, v, size, n);
    const uint64_t now = sample(cm_plat_thread());
    for (size_t i = 0; i < n && now != 0; i++) {
        const cm_read_vec *r = (const cm_read_vec *)(const void *)((uint8_t *)v + i * size);
        if (r->result > 0)
            count_served(f, r->offset, (uint64_t)r->result, now);
    }
    cm_report_trouble(f->cache);
    return whole;
}

int cm_fill(cm_file *file, const cm_miss *miss, const void *data, size_t len, uint32_t flags)
{
    struct cm_object *f;
    struct cm_warmed done;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    if (!miss || (!data && len) || (flags & ~(CM_FILL_EOF | CM_FILL_WARM)))
        return CM_EINVAL;
    if (miss->opaque[CM_MISS_SERIAL] != f->serial)
        return CM_EFOREIGN;
    /* The last block of the largest file ends one byte behind the largest end of a range. */
    if (miss->offset % CM_BLOCK_SIZE ||
        cm_check_range(miss->offset, miss->len > 0 ? miss->len - 1 : 0) ||
        len > cm_whole_blocks(miss->len) ||
        (miss->len && (miss->offset % (CM_GROUP_BLOCKS * CM_BLOCK_SIZE) + miss->len - 1) /
                              (CM_GROUP_BLOCKS * CM_BLOCK_SIZE) >=
                          CM_MISS_STRIPES))
        return CM_ETICKET;
    /* A miss ends inside a block only where the file ends. */
    if (len % CM_BLOCK_SIZE && len != miss->len && !(flags & CM_FILL_EOF))
        return CM_EINVAL;
    e = flags & CM_FILL_WARM ? cm_fill_warm(f, miss, data, len, &done)
                             : cm_fill_offer(f, miss, data, len, len);
    if (flags & CM_FILL_EOF)
        cm_fill_ends(f, miss, len);
    cm_report_trouble(f->cache);
    return e;
}

int64_t cm_read_through_version(cm_file *file, uint64_t offset, void *buf, size_t len,
                                uint64_t *incarnation, cm_origin_read_fn origin_read, void *ctx)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e == 0)
        e = (!buf && len) || !origin_read || !incarnation ? CM_EINVAL : cm_check_range(offset, len);
    if (e)
        return e;
    uint64_t served = 0;
    int64_t n = cm_read_through_run(file, offset, buf, len, incarnation, origin_read, ctx, &served);
    sample_served(f, offset, (int64_t)served);
    cm_report_trouble(f->cache);
    return n;
}

int64_t cm_read_through(cm_file *file, uint64_t offset, void *buf, size_t len,
                        cm_origin_read_fn origin_read, void *ctx)
{
    uint64_t incarnation = 0;
    return cm_read_through_version(file, offset, buf, len, &incarnation, origin_read, ctx);
}

/* ---- Requests -------------------------------------------------------------------------------- */

int cm_request_begin(cm_file *file, cm_request *r)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e)
        return e;
    const size_t size = r && r->struct_size ? r->struct_size : sizeof(*r);
    if (!r || size < sizeof(*r) || size > CM_STRUCT_MAX || cm_run_begun(r) || r->flags != 0 ||
        (!r->buf && r->len))
        return CM_EINVAL;
    for (size_t i = sizeof(*r); i < size; i++)
        if (((const uint8_t *)r)[i])
            return CM_EINVAL; /* of a newer header, and set */
    e = cm_check_range(r->offset, r->len);
    if (e == 0)
        cm_run_begin(file, r);
    return e;
}

/* The request's file may be closed; its cache is open as long as the request lives. */
static int enter_request(const cm_request *r)
{
    return r && cm_run_begun(r) ? cm_enter_cache(cm_run_cache(r)) : CM_EINVAL;
}

int cm_request_step(cm_request *r, cm_piece *piece)
{
    int e = enter_request(r);
    if (e == 0 && !piece)
        e = CM_EINVAL;
    if (e)
        return e;
    struct cm_cache *c = cm_run_cache(r);
    struct cm_run *q = cm_run_of(r);
    e = cm_run_step(q, piece);
    if (e == 0 && q->served > 0) {
        if (cm_object_attached(q->f, q->file))
            sample_served(q->f, r->offset, (int64_t)q->served);
        q->served = 0; /* the next step finds the request done, too */
    }
    cm_report_trouble(c);
    return e;
}

int cm_request_complete(cm_request *r, const cm_piece *piece, int64_t result)
{
    int e = enter_request(r);
    if (e == 0 && !piece)
        e = CM_EINVAL;
    if (e)
        return e;
    struct cm_cache *c = cm_run_cache(r);
    e = cm_run_complete(cm_run_of(r), piece, result);
    cm_report_trouble(c);
    return e;
}

int64_t cm_request_end(cm_request *r)
{
    int e = enter_request(r);
    return e ? e : cm_run_end(cm_run_of(r));
}

/* ---- Pins ------------------------------------------------------------------------------------ */

int64_t cm_pin_range(cm_file *file, uint64_t offset, size_t len, cm_iovec *iov, int n, int *iovcnt,
                     cm_pins *pins, cm_miss *miss)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e == 0)
        e = !iov || n < 1 || !iovcnt || !pins ? CM_EINVAL : cm_check_range(offset, len);
    if (e == 0 && cm_object_is_shared(f))
        e = CM_ENOTSUP; /* its owner knows of no pins but its own */
    if (e)
        return e;
    const int64_t got = cm_range_pin(f, offset, len, iov, n, iovcnt, pins, miss);
    sample_served(f, offset, got);
    cm_report_trouble(f->cache);
    return got;
}

int cm_unpin(cm_pins *pins)
{
    return pins ? cm_range_unpin(pins) : CM_EINVAL;
}

/* ---- Brackets -------------------------------------------------------------------------------- */

int cm_write_begin(cm_file *file, uint64_t offset, uint64_t len, cm_bracket *w)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e == 0)
        e = !w                    ? CM_EINVAL
            : offset == CM_APPEND ? 0
                                  : cm_check_range(offset, len == CM_ALL ? 0 : len);
    return e ? e : cm_report_error(f->cache, cm_bracket_write(f, offset, len, w));
}

int cm_truncate_begin(cm_file *file, uint64_t new_size, cm_bracket *w)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e == 0)
        e = !w ? CM_EINVAL : cm_check_range(new_size, 0);
    return e ? e : cm_report_error(f->cache, cm_bracket_truncate(f, new_size, w));
}

int cm_write_end(cm_file *file, const cm_bracket *w, const cm_validator *after)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e)
        return e;
    cm_validator v;
    if (!w || (after && !cm_take_validator(f->cache, "cm_write_end", &v, after, true)))
        return CM_EINVAL;
    return cm_bracket_end(f, w, after ? &v : NULL);
}

int cm_sync_begin(cm_file *file, cm_sync *s)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
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
    int e = cm_enter_change(file, &f);
    if (e)
        return e;
    cm_validator v;
    const bool sound = s && (!after || cm_take_validator(f->cache, "cm_sync_end", &v, after, true));
    if (!sound && ok)
        return CM_EINVAL;
    /* Only this call reports that the fsync failed: it counts even if another argument is wrong. */
    e = cm_bracket_sync_end(f, s, ok, sound && after ? &v : NULL);
    return cm_report_error(f->cache, sound || e == CM_EFORGET ? e : CM_EINVAL);
}

int cm_invalidate(cm_file *file, uint64_t offset, uint64_t len)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e == 0)
        e = cm_check_range(offset, len == CM_ALL ? 0 : len);
    if (e || len == 0)
        return e;
    return cm_report_error(f->cache, cm_bracket_invalidate(f, offset, len));
}
