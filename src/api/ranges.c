/* SPDX-License-Identifier: BSD-2-Clause
 *
 * ranges.c - the public calls on ranges of a file that read no data: which of its bytes are cached,
 * and dropping them to make room.
 *
 * Owns: the choice between two ways to find the blocks of a range: one lookup for each block, or
 * one pass over the headers of the pool, whichever is less work. Nothing here takes memory.
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

/* A lookup costs at most what so many headers cost in a pass over all of them. */
#define HEADERS_PER_LOOKUP 8u
#define GAP_LOOKUPS 8u /* behind each run */
#define PASSES_MOST 4u /* over the headers, while blocks go that were found */

/* A range of a file, in blocks. */
struct span {
    struct cm_object *f;
    uint64_t incarnation; /* 0: nothing is cached */
    uint64_t first, end;
    uint64_t size; /* of the file; what is cached behind it is not served */
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
    const uint64_t limit = at_load_acquire(&f->limit);
    s.size = shared ? cm_told_size(f, s.incarnation) : at_load_acquire(&f->size);
    end = end < limit ? end : limit;
    end = end < s.size ? end : s.size;
    end = end < CM_OFFSET_MAX ? end : CM_OFFSET_MAX;
    s.first = offset / CM_BLOCK_SIZE;
    s.end = cm_blocks_of(end);
    if (s.end < s.first || s.incarnation == 0 || (shared && !cm_told_holds(f, s.incarnation)))
        s.end = s.first;
    return s;
}

/* How many of the `valid` cached bytes of a block are served? An older end of the file may have
 * been further on, or not known. */
static uint32_t served_of(const struct span *s, uint64_t block, uint32_t valid)
{
    const uint64_t at = block * CM_BLOCK_SIZE, left = s->size > at ? s->size - at : 0;
    return left < valid ? (uint32_t)left : valid;
}

/* Is a pass over the headers less work than a lookup for each block? */
static bool is_wide(const struct span *s)
{
    return s->end - s->first > cm_media_slots(&s->f->cache->media);
}

static bool in_span(void *ctx, uint64_t incarnation, uint64_t block)
{
    const struct span *s = ctx;
    return block >= s->first && block < s->end &&
           incarnation == cm_region_incarnation(s->f, s->incarnation, block);
}

/* ---- Cached ranges --------------------------------------------------------------------------- */

struct runs {
    cm_range *range;
    size_t n, room;
    uint64_t offset; /* nothing before it counts */
};

/* Adds the first `valid` bytes of a block behind those that were added before. There is room. */
static void add_run(struct runs *r, uint64_t block, uint32_t valid)
{
    uint64_t from = block * CM_BLOCK_SIZE;
    const uint64_t end = from + valid;
    from = from < r->offset ? r->offset : from;
    if (end <= from)
        return;
    cm_range *last = r->n > 0 ? &r->range[r->n - 1] : NULL;
    if (last && last->offset + last->len == from) {
        last->len += end - from;
        return;
    }
    assert(r->n < r->room);
    r->range[r->n++] = (cm_range){ from, end - from };
}

/* Looks for every block of a narrow span. Of a wide one for so many as cost what a pass over the
 * headers does. Ends behind the run that takes the last room. Returns the first block that it has
 * not looked for; no run goes on there. */
static uint64_t look_for_each(const struct span *s, struct runs *r)
{
    struct cm_cache *c = s->f->cache;
    const uint64_t few = cm_media_slots(&c->media) / HEADERS_PER_LOOKUP;
    const uint64_t enough = is_wide(s) ? s->first + few : s->end;
    struct cm_last_home last = { 0 };
    struct cm_key_row row;
    uint32_t valid = 0;
    uint64_t b = s->first;
    cm_key_row_begin(&row, s->f, &last, s->incarnation, s->first, s->end);
    for (; b < s->end; b++) {
        if (valid != CM_BLOCK_SIZE && (b >= enough || r->n == r->room))
            break;
        valid = cm_lookup_cached(c, cm_key_row_next(&row, b));
        add_run(r, b, served_of(s, b, valid));
    }
    return b;
}

/* ---- Where runs begin ------------------------------------------------------------------------ */

/* The first blocks of the runs of a span, as many of the lowest as there is room for. They stand in
 * the caller's ranges: .offset is the block. */
struct starts {
    struct span span; /* the first member: in_span() takes its address */
    cm_range *at;     /* if it is full, a heap: the highest one is the first */
    size_t n, room;
    uint64_t lowest; /* of all blocks that the pass has found */
    struct cm_last_home last;
};

/* Lets the element at `at` sink to its place in a heap of n. */
static void sink(cm_range *v, size_t at, size_t n)
{
    const cm_range x = v[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && v[child + 1].offset > v[child].offset;
        if (v[child].offset <= x.offset)
            break;
        v[at] = v[child];
    }
    v[at] = x;
}

static void make_heap(cm_range *v, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sink(v, i, n);
}

/* Sorts without memory, in n log n steps at worst (heapsort: Williams, Floyd 1964). */
static void sort(cm_range *v, size_t n)
{
    make_heap(v, n);
    while (n > 1) {
        const cm_range top = v[0];
        v[0] = v[--n];
        v[n] = top;
        sink(v, 0, n);
    }
}

static bool is_low(const struct starts *z, uint64_t block)
{
    return z->n < z->room || block < z->at[0].offset;
}

static bool wants_start(void *ctx, uint64_t incarnation, uint64_t block)
{
    return is_low(ctx, block) && in_span(ctx, incarnation, block);
}

static int add_start(void *ctx, const struct cm_surveyed *found)
{
    struct starts *z = ctx;
    const struct span *s = &z->span;
    const uint64_t b = found->key.block;
    if (!is_low(z, b))
        return 0;
    z->lowest = b < z->lowest ? b : z->lowest;
    if (b > s->first) { /* else no run goes on there */
        const struct cm_key k = cm_region_key_next(s->f, &z->last, s->incarnation, b - 1);
        if (cm_lookup_cached(s->f->cache, &k) == CM_BLOCK_SIZE)
            return 0;
    }
    if (z->n == z->room) {
        z->at[0].offset = b;
        sink(z->at, 0, z->n);
        return 0;
    }
    z->at[z->n++].offset = b;
    if (z->n == z->room)
        make_heap(z->at, z->n);
    return 0;
}

/* Adds the run that begins at a block. Returns the first block behind it that it has not looked
 * for. *gone: the block itself is not cached any more. */
static uint64_t follow(const struct span *s, struct runs *r, uint64_t block, bool *gone)
{
    struct cm_last_home last = { 0 };
    uint32_t valid = CM_BLOCK_SIZE;
    uint64_t b = block;
    for (; b < s->end && valid == CM_BLOCK_SIZE; b++) {
        const struct cm_key k = cm_region_key_next(s->f, &last, s->incarnation, b);
        valid = cm_lookup_cached(s->f->cache, &k);
        add_run(r, b, served_of(s, b, valid));
    }
    *gone = b == block + 1 && valid == 0;
    return b;
}

/* Is one of the blocks [first, end) cached? Looks for a few. If so between two runs, a block in the
 * middle of a run has gone, and the rest of the run begins there. */
static bool goes_on(const struct span *s, uint64_t first, uint64_t end)
{
    struct cm_last_home last = { 0 };
    end = end < first + GAP_LOOKUPS ? end : first + GAP_LOOKUPS;
    for (uint64_t b = first; b < end; b++) {
        const struct cm_key k = cm_region_key_next(s->f, &last, s->incarnation, b);
        if (cm_lookup_cached(s->f->cache, &k) > 0)
            return true;
    }
    return false;
}

/* Finds the next runs by one pass over the headers, and follows each to its end. A run needs no
 * more room than its start did, and that has been read before.
 *
 * Where a run began may be gone before it is followed. The rest of it begins elsewhere then, and
 * only another pass finds that. True: this is so. The span begins at the first block then that has
 * to be looked for. It has become smaller. */
static bool look_for_starts(struct span *s, struct runs *r)
{
    struct starts z = {
        .span = *s, .at = r->range + r->n, .room = r->room - r->n, .lowest = UINT64_MAX
    };
    const struct cm_survey survey = { wants_start, add_start, &z };
    uint64_t next = s->first;
    bool gone = false;
    (void)cm_survey_blocks(s->f->cache, &survey);
    if (z.lowest == UINT64_MAX)
        return false;
    sort(z.at, z.n);
    if (z.n == 0 || z.at[0].offset > z.lowest) { /* the pass itself came too late */
        s->first = follow(s, r, z.lowest, &gone);
        return true;
    }
    for (size_t i = 0; i < z.n && !gone; i++) {
        if (z.at[i].offset < next)
            continue; /* it moved meanwhile, or the run before it became longer */
        next = follow(s, r, z.at[i].offset, &gone);
        gone = gone || (i + 1 < z.n && goes_on(s, next, z.at[i + 1].offset));
    }
    s->first = next;
    return gone;
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
    struct span s = span_of(f, offset, CM_OFFSET_MAX);
    s.first = look_for_each(&s, &r);
    /* Fewer runs than there is room for are no error, but none says that there is none. So it goes
     * on until it has one. Each pass that found a block leaves that behind, so it ends. */
    for (unsigned passes = 0; s.first < s.end && r.n < n && (r.n == 0 || passes < PASSES_MOST);
         passes++)
        if (!look_for_starts(&s, &r))
            break;
    cm_report_trouble(f->cache);
    return (int64_t)r.n;
}

/* ---- Counting -------------------------------------------------------------------------------- */

struct tally {
    struct span span; /* the first member: in_span() takes its address */
    uint64_t offset, end, bytes;
};

static int tally(void *ctx, const struct cm_surveyed *b)
{
    struct tally *t = ctx;
    uint64_t from = b->key.block * CM_BLOCK_SIZE;
    uint64_t end = from + served_of(&t->span, b->key.block, b->valid);
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
    d->bytes += served_of(&d->span, k->block, valid);
    cm_count(c, CM_STAT_dropped, valid > 0);
}

static int drop_found(void *ctx, const struct cm_surveyed *b)
{
    struct drop *d = ctx;
    if (b->slot == CM_NO_SLOT) {
        drop_buffered(d, &b->key);
        return 0;
    }
    d->some[d->n] = *b;
    d->some[d->n++].valid = served_of(&d->span, b->key.block, b->valid);
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
        if (cm_step_find(c, &found.key, &found.slot, &h) != CM_FOUND_HIT)
            continue;
        found.valid = cm_header_valid(&h);
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
