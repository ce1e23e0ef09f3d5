/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ranges.c - the public calls on ranges of a file that read no data: which of its bytes are cached,
 * and dropping them to make room.
 *
 * Owns: the choice between two ways to find the blocks of a range: one lookup for each block, or
 * one pass over the headers of the pool, whichever is less work.
 *
 * Who: users, through cachemax.h; api/, objects/.
 */

#include "api/cache.h"
#include "protocol/evict.h"
#include "protocol/lookup.h"
#include "protocol/survey.h"
#include "state/region.h"
#include "state/shared.h"
#include "state/told.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define ROOM_MIN 64u /* blocks */

/* A range of a file, in blocks. */
struct span {
    struct cm_object *f;
    uint64_t incarnation; /* 0: nothing is cached */
    uint64_t first, end;
};

/* The blocks of [offset, end) that may be cached. */
static struct span span_of(struct cm_object *f, uint64_t offset, uint64_t end)
{
    const bool shared = cm_object_is_shared(f);
    if (shared)
        cm_shared_look(f); /* as a read does: what that would serve counts */
    /* Acquire: a thread that sees the incarnation sees that its limit began at 0. If the
     * incarnation changes next, the limit is that of another one, and nothing is found. */
    struct span s = { .f = f, .incarnation = at_load_acquire(&f->incarnation) };
    const uint64_t limit = at_load_acquire(&f->limit), size = at_load_acquire(&f->size);
    end = end < limit ? end : limit;
    end = end < size ? end : size;
    end = end < CM_OFFSET_MAX ? end : CM_OFFSET_MAX;
    s.first = offset / CM_BLOCK_SIZE;
    s.end = cm_blocks_of(end);
    if (s.end < s.first || s.incarnation == 0 || (shared && !cm_told_holds(f, s.incarnation)))
        s.end = s.first;
    return s;
}

/* Is a pass over the headers less work than a lookup for each block? */
static bool is_wide(const struct span *s)
{
    return s->end - s->first > cm_media_slots(&s->f->cache->media);
}

/* ---- A set of blocks ------------------------------------------------------------------------- */

struct blocks {
    struct span span; /* the first member: in_span() takes its address */
    uint64_t *block;
    uint64_t n, room;
};

static void blocks_free(struct blocks *b)
{
    cm_cache_free(b->span.f->cache, b->block, (size_t)b->room * sizeof(*b->block));
}

static bool in_span(void *ctx, uint64_t incarnation, uint64_t block)
{
    const struct span *s = ctx;
    return block >= s->first && block < s->end &&
           incarnation == cm_region_incarnation(s->f, s->incarnation, block);
}

static int add_block(void *ctx, const struct cm_surveyed *found)
{
    struct blocks *b = ctx;
    struct cm_cache *c = b->span.f->cache;
    if (b->n == b->room) {
        struct blocks wide = { b->span, NULL, b->n, b->room ? 2 * b->room : ROOM_MIN };
        wide.block = cm_cache_alloc(c, (size_t)wide.room * sizeof(*b->block));
        if (!wide.block)
            return CM_ENOMEM;
        if (b->n > 0)
            memcpy(wide.block, b->block, (size_t)b->n * sizeof(*b->block));
        blocks_free(b);
        *b = wide;
    }
    b->block[b->n++] = found->key.block;
    return 0;
}

/* Lets the element at `at` sink to its place in a heap of n. */
static void sink(uint64_t *v, uint64_t at, uint64_t n)
{
    const uint64_t x = v[at];
    for (uint64_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && v[child + 1] > v[child];
        if (v[child] <= x)
            break;
        v[at] = v[child];
    }
    v[at] = x;
}

/* Sorts without memory, in n log n steps at worst (heapsort: Williams, Floyd 1964). */
static void sort(uint64_t *v, uint64_t n)
{
    for (uint64_t i = n / 2; i-- > 0;)
        sink(v, i, n);
    while (n > 1) {
        const uint64_t top = v[0];
        v[0] = v[--n];
        v[n] = top;
        sink(v, 0, n);
    }
}

/* ---- Cached ranges --------------------------------------------------------------------------- */

struct runs {
    cm_range *range;
    size_t n, room;
    uint64_t offset; /* nothing before it counts */
};

/* Adds the first `valid` bytes of a block behind those that were added before. false: no room. */
static bool add_run(struct runs *r, uint64_t block, uint32_t valid)
{
    uint64_t from = block * CM_BLOCK_SIZE;
    const uint64_t end = from + valid;
    from = from < r->offset ? r->offset : from;
    if (end <= from)
        return true;
    cm_range *last = r->n > 0 ? &r->range[r->n - 1] : NULL;
    if (last && last->offset + last->len == from) {
        last->len += end - from;
        return true;
    }
    if (r->n == r->room)
        return false;
    r->range[r->n++] = (cm_range){ from, end - from };
    return true;
}

/* Looks for every block of the span. */
static void look_for_each(const struct span *s, struct runs *r)
{
    struct cm_cache *c = s->f->cache;
    struct cm_last_home last = { 0 };
    struct cm_key_row row;
    bool more = true;
    cm_key_row_begin(&row, s->f, &last, s->incarnation, s->first, s->end);
    for (uint64_t b = s->first; b < s->end && more; b++)
        more = add_run(r, b, cm_lookup_cached(c, cm_key_row_next(&row, b)));
}

/* Looks for the blocks that a pass over the headers finds. */
static int look_for_found(const struct span *s, struct runs *r)
{
    struct cm_cache *c = s->f->cache;
    struct blocks found = { .span = *s };
    const struct cm_survey survey = { in_span, add_block, &found };
    struct cm_last_home last = { 0 };
    int e = cm_survey_blocks(c, &survey);
    bool more = e == 0;
    sort(found.block, found.n);
    for (uint64_t i = 0; i < found.n && more; i++) {
        if (i > 0 && found.block[i] == found.block[i - 1])
            continue; /* it moved meanwhile */
        const struct cm_key k = cm_region_key_next(s->f, &last, s->incarnation, found.block[i]);
        more = add_run(r, k.block, cm_lookup_cached(c, &k));
    }
    blocks_free(&found);
    return e;
}

int64_t cm_file_ranges(cm_file *file, uint64_t offset, cm_range *ranges, size_t n)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e == 0)
        e = !ranges && n ? CM_EINVAL : cm_check_range(offset, 0);
    if (e)
        return e;
    struct runs r = { .range = ranges, .room = n, .offset = offset };
    const struct span s = span_of(f, offset, CM_OFFSET_MAX);
    if (!is_wide(&s))
        look_for_each(&s, &r);
    else
        e = look_for_found(&s, &r);
    cm_report_trouble(f->cache);
    return e ? e : (int64_t)r.n;
}

/* ---- Counting -------------------------------------------------------------------------------- */

struct tally {
    struct span span; /* the first member: in_span() takes its address */
    uint64_t offset, end, bytes;
};

static int tally(void *ctx, const struct cm_surveyed *b)
{
    struct tally *t = ctx;
    uint64_t from = b->key.block * CM_BLOCK_SIZE, end = from + b->valid;
    from = from < t->offset ? t->offset : from;
    end = end < t->end ? end : t->end;
    t->bytes += end > from ? end - from : 0;
    return 0;
}

int64_t cm_file_cached(cm_file *file, uint64_t offset, uint64_t len)
{
    struct cm_object *f;
    int e = cm_enter_file(file, &f);
    if (e == 0)
        e = cm_check_range(offset, len == CM_ALL ? 0 : len);
    if (e)
        return e;
    const uint64_t end = len == CM_ALL ? CM_OFFSET_MAX : offset + len;
    struct tally t = { .span = span_of(f, offset, end), .offset = offset, .end = end };
    const struct cm_survey survey = { in_span, tally, &t };
    struct cm_last_home last = { 0 };
    if (is_wide(&t.span)) {
        (void)cm_survey_blocks(f->cache, &survey);
    } else {
        for (uint64_t b = t.span.first; b < t.span.end; b++) {
            const struct cm_key k = cm_region_key_next(f, &last, t.span.incarnation, b);
            const struct cm_surveyed found = { .key = k, .valid = cm_lookup_cached(f->cache, &k) };
            (void)tally(&t, &found);
        }
    }
    cm_report_trouble(f->cache);
    return (int64_t)t.bytes;
}

/* ---- Dropping -------------------------------------------------------------------------------- */

/* Blocks that are evicted together. */
struct drop {
    struct span span; /* the first member: in_span() takes its address */
    struct cm_surveyed some[CM_BATCH_MAX];
    unsigned n;
    uint64_t bytes;
};

static void evict_some(struct drop *d)
{
    if (d->n > 0)
        d->bytes += cm_evict_blocks(d->span.f->cache, d->some, d->n);
    d->n = 0;
}

/* Takes the block out of the probation buffer. A bracket does the same, in the same way. */
static void drop_buffered(struct drop *d, const struct cm_key *k)
{
    struct cm_cache *c = d->span.f->cache;
    struct cm_stripe *s = cm_stripe_at(c, k->stripe);
    if (cm_step_buffered(c, k) == 0)
        return;
    cm_lock_acquire(&s->lock);
    const uint32_t valid = cm_step_buffered(c, k);
    cm_probation_kill(&c->probation, k);
    cm_lock_release(&s->lock);
    d->bytes += valid;
    cm_count(c, CM_STAT_dropped, valid > 0);
}

static int drop_found(void *ctx, const struct cm_surveyed *b)
{
    struct drop *d = ctx;
    if (b->slot == CM_NO_SLOT) {
        drop_buffered(d, &b->key);
        return 0;
    }
    d->some[d->n++] = *b;
    if (d->n == cm_evict_batch(d->span.f->cache))
        evict_some(d);
    return 0;
}

static void drop_each(struct drop *d)
{
    const struct span *s = &d->span;
    struct cm_cache *c = s->f->cache;
    struct cm_last_home last = { 0 };
    struct cm_surveyed found = { .valid = 0 };
    struct cm_key_row row;
    struct cm_header h;
    cm_key_row_begin(&row, s->f, &last, s->incarnation, s->first, s->end);
    for (uint64_t b = s->first; b < s->end; b++) {
        found.key = *cm_key_row_next(&row, b);
        drop_buffered(d, &found.key);
        if (cm_step_find(c, &found.key, &found.slot, &h) == CM_FOUND_HIT)
            (void)drop_found(d, &found);
    }
}

int64_t cm_drop(cm_file *file, uint64_t offset, uint64_t len)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e == 0)
        e = cm_check_range(offset, len == CM_ALL ? 0 : len);
    if (e || len == 0)
        return e;
    struct drop d = { .n = 0 };
    d.span = span_of(f, offset, len == CM_ALL ? CM_OFFSET_MAX : offset + len);
    const struct cm_survey survey = { in_span, drop_found, &d };
    if (!is_wide(&d.span))
        drop_each(&d);
    else
        (void)cm_survey_blocks(f->cache, &survey);
    evict_some(&d);
    cm_report_trouble(f->cache);
    return (int64_t)d.bytes;
}
