/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_range.c - reads that span blocks: the cached prefix, the end of the file, the first absent
 * run.
 *
 * Owns: no state. Each block is looked up at its own moment inside the call. So a range is not a
 * snapshot, as with any read() beside a write(). The end of the file comes only from an adopted
 * size, never from a short block.
 *
 * Who: api/.
 */
#include "api/read_range.h"

#include "api/read_blocks.h"
#include "protocol/fill_ticket.h"
#include "state/file.h"

#include <string.h>

/* What the call works on. */
struct walk {
    struct cm_object *f;
    struct cm_cache *c;
    uint64_t offset, end; /* bytes wanted, cut to the adopted size */
    uint64_t size;        /* CM_SIZE_UNKNOWN or the adopted one */
    bool eof;             /* the range was cut at the size */
    uint64_t incarnation;
    struct cm_last_home home;
    uint64_t counted; /* misses of blocks before this one were counted by an earlier look */
};

/* Returns whether blocks of the file may be served, and stored. */
static bool walk_begin(struct walk *w, struct cm_object *f, uint64_t offset, size_t len)
{
    const bool shared = cm_object_is_shared(f);
    if (shared)
        cm_shared_look(f);
    w->f = f;
    w->c = f->cache;
    w->offset = offset;
    w->end = offset + len;
    /* The end must be that of the version that is read. A file that is found changed first loses
     * its size, then gets a new incarnation, then the new size (begin_version). So a size that is
     * loaded between two loads of the same incarnation belongs to it. The first two loads are
     * acquire: they stay in this order, and a thread that sees the new size also sees the new
     * incarnation. */
    w->incarnation = at_load_acquire(&f->incarnation);
    w->size = at_load_acquire(&f->size);
    if (at_load_acquire(&f->incarnation) != w->incarnation)
        w->size = CM_SIZE_UNKNOWN;
    w->eof = false;
    const bool serves = w->incarnation != 0 && !cm_cache_bypassed(w->c) && cm_file_serves(f);
    if (!serves)
        w->size = CM_SIZE_UNKNOWN; /* the origin decides where the file ends */
    else if (shared)
        w->size = cm_told_size(f, w->incarnation);
    if (w->size != CM_SIZE_UNKNOWN && w->end > w->size) {
        w->end = w->size > offset ? w->size : offset;
        w->eof = true;
    }
    w->home = (struct cm_last_home){ 0 };
    w->counted = 0;
    return serves;
}

/* The block before `first` is absent. Returns how many blocks from `first` on are absent, too. */
static uint64_t absent_run(struct walk *w, uint64_t first, uint64_t end)
{
    struct cm_key_row row;
    uint64_t b = first;
    cm_key_row_begin(&row, w->f, &w->home, w->incarnation, first, end);
    while (b < end && cm_lookup_cached(w->c, cm_key_row_next(&row, b)) == 0)
        b++;
    return b - first;
}

/* Returns how many blocks from `first` on are cached, as far as they are wanted. *waits is set if
 * one of them waits in the probation buffer. */
static uint64_t cached_run(struct walk *w, uint64_t first, uint64_t end, bool *waits)
{
    struct cm_key_row row;
    uint64_t b = first;
    cm_key_row_begin(&row, w->f, &w->home, w->incarnation, first, end);
    for (; b < end; b++) {
        const uint64_t want = w->end - b * CM_BLOCK_SIZE;
        if (cm_lookup_keep(w->c, cm_key_row_next(&row, b), waits) <
            (want < CM_BLOCK_SIZE ? want : CM_BLOCK_SIZE))
            break;
    }
    return b - first;
}

/* Describes the absent run that begins with the block of byte `pos`. */
static uint64_t describe_miss(struct walk *w, uint64_t pos, bool fillable, uint64_t ahead,
                              cm_miss *miss)
{
    uint64_t first = pos / CM_BLOCK_SIZE;
    uint64_t end = (w->end - 1) / CM_BLOCK_SIZE + 1;
    const uint64_t wanted = end - first;
    cm_miss scratch;
    if (!miss)
        miss = &scratch;
    memset(miss, 0, sizeof(*miss));
    miss->struct_size = sizeof(*miss);
    if (fillable && ahead) {
        end += ahead;
        if (w->size != CM_SIZE_UNKNOWN && end > (w->size - 1) / CM_BLOCK_SIZE + 1)
            end = (w->size - 1) / CM_BLOCK_SIZE + 1;
    }
    /* No further than tickets reach: the work is bounded, whatever was asked for. */
    uint64_t reach = ((first >> CM_GROUP_SHIFT) + CM_MISS_STRIPES) << CM_GROUP_SHIFT;
    if (end > reach)
        end = reach;
    if (end > CM_BLOCK_MAX + 1)
        end = CM_BLOCK_MAX + 1;
    uint64_t n = fillable ? 1 + absent_run(w, first + 1, end) : end - first;
    miss->offset = first * CM_BLOCK_SIZE;
    n = cm_ticket_take(w->f, w->incarnation, first, n, miss);
    if (!fillable || cm_cache_mode(w->c) != CM_NORMAL)
        miss->flags |= CM_MISS_NOFILL;
    if ((miss->flags & CM_MISS_NOFILL) && n > wanted) /* what is read ahead would be lost */
        n = wanted;
    miss->len = n * CM_BLOCK_SIZE;
    if (w->size != CM_SIZE_UNKNOWN && miss->offset + miss->len > w->size)
        miss->len = w->size - miss->offset;
    if (w->eof && miss->offset + miss->len >= w->end)
        miss->flags |= CM_MISS_EOF;
    return n;
}

static void count_miss(struct cm_cache *c, enum cm_stat cause, uint64_t blocks)
{
    cm_stats_add2(&c->media, CM_STAT_miss_blocks, blocks, cause, 1);
    if (blocks > 1)
        cm_count(c, cause == CM_STAT_miss_mode ? cause : CM_STAT_miss_absent, blocks - 1);
}

static enum cm_stat cause_of(enum cm_found r)
{
    switch (r) {
    case CM_FOUND_HIT:
    case CM_FOUND_BUFFERED:
        return CM_STAT_miss_short; /* cached, but not all that was wanted */
    case CM_FOUND_CONFLICT:
        return CM_STAT_miss_conflict;
    case CM_FOUND_CHECKSUM:
        return CM_STAT_miss_checksum;
    case CM_FOUND_MEDIA:
        return CM_STAT_miss_media;
    default:
        return CM_STAT_miss_absent;
    }
}

/* `buffered`: how many of the blocks came from the probation buffer. */
static void count_hits(struct cm_cache *c, uint64_t blocks, uint64_t bytes, uint64_t buffered)
{
    if (blocks > 0)
        cm_stats_add2(&c->media, CM_STAT_hit_blocks, blocks, CM_STAT_hit_bytes, bytes);
    if (buffered > 0)
        cm_count(c, CM_STAT_probation_hits, buffered);
}

/* Blocks [first, end) are missing; each of them counts once, however often it is looked up. */
static void count_missing(struct walk *w, uint64_t first, uint64_t end, bool fillable,
                          enum cm_stat cause)
{
    if (first < w->counted)
        first = w->counted;
    if (first >= end)
        return;
    w->counted = end;
    count_miss(w->c, cause, end - first);
    cm_object_missed(w->f, end - first, cm_plat_now_ns());
    if (fillable)
        cm_ticket_sample_miss(w->c, w->incarnation, first, end - first);
}

/* Ends a read or pin at byte `pos`: describes and counts what is missing, if anything. */
static int64_t walk_end(struct walk *w, uint64_t pos, bool fillable, enum cm_stat cause,
                        uint64_t ahead, cm_miss *miss)
{
    if (pos >= w->end) {
        cm_fast_end(w->incarnation, pos, w->eof, miss);
    } else {
        uint64_t first = pos / CM_BLOCK_SIZE;
        uint64_t end = first + describe_miss(w, pos, fillable, ahead, miss);
        uint64_t wanted = (w->end - 1) / CM_BLOCK_SIZE + 1; /* not what is only read ahead */
        count_missing(w, first, end < wanted ? end : wanted, fillable, cause);
    }
    return (int64_t)(pos - w->offset);
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* A run of lookups over what a walk wants. */
static struct cm_blocks run_of(const struct walk *w)
{
    return (struct cm_blocks){ .f = w->f,
                               .incarnation = w->incarnation,
                               .offset = w->offset,
                               .end = w->end,
                               .pos = w->offset };
}

/* Nothing counts of what was copied. */
static void take_back(const struct walk *w, struct cm_blocks *run, uint8_t *buf)
{
    if (run->pos > w->offset) /* else buf may be NULL */
        memset(buf, 0, (size_t)(run->pos - w->offset));
    run->pos = w->offset;
    run->hits = run->buffered = 0;
}

/* Reads what is cached of a run of `len` bytes. *serves: does that count? If the file was cut
 * meanwhile, it does not. Where another process owns the pool, it may not count any more when it
 * was copied. Then it is taken back. */
static enum cm_found read_run(struct walk *w, struct cm_blocks *run, uint8_t *buf, size_t len,
                              bool resident, bool *serves)
{
    const enum cm_found found =
        resident ? cm_blocks_read_resident(run, buf) : cm_blocks_read(run, buf);
    if (run->hits > run->buffered && !cm_media_uncut(&w->c->media)) {
        cm_suspect(w->c); /* the call will look at the file when it ends */
        take_back(w, run, buf);
        *serves = false;
        return CM_FOUND_MEDIA;
    }
    if (!cm_object_is_shared(w->f) || cm_told_holds(w->f, w->incarnation))
        return found;
    take_back(w, run, buf);
    *serves = false;
    w->end = w->offset + len; /* nobody knows where the file ends now */
    w->eof = false;
    w->size = CM_SIZE_UNKNOWN;
    return CM_FOUND_CONFLICT;
}

int64_t cm_range_read(struct cm_object *f, enum cm_found seen, uint64_t offset, void *buf,
                      size_t len, uint64_t ahead, uint64_t *counted, cm_miss *miss)
{
    struct walk w;
    enum cm_stat cause = CM_STAT_miss_mode;
    bool fillable = walk_begin(&w, f, offset, len);
    struct cm_blocks run = run_of(&w);
    w.counted = *counted;
    if (fillable && seen == CM_FOUND_ABSENT)
        cause = CM_STAT_miss_absent;
    else if (fillable)
        cause = cause_of(read_run(&w, &run, buf, len, false, &fillable));
    count_hits(w.c, run.hits, run.pos - offset, run.buffered);
    int64_t n = walk_end(&w, run.pos, fillable, cause, ahead, miss);
    *counted = w.counted;
    return n;
}

int64_t cm_range_skip(struct cm_object *f, uint64_t offset, size_t len, cm_miss *miss, bool *waits)
{
    struct walk w;
    const bool fillable = walk_begin(&w, f, offset, len);
    const uint64_t first = offset / CM_BLOCK_SIZE;
    uint64_t pos = offset;
    assert(offset % CM_BLOCK_SIZE == 0);
    if (fillable && w.end > offset)
        pos += CM_BLOCK_SIZE * cached_run(&w, first, (w.end - 1) / CM_BLOCK_SIZE + 1, waits);
    if (pos >= w.end)
        cm_fast_end(w.incarnation, pos = w.end, w.eof, miss);
    else
        (void)describe_miss(&w, pos, fillable, 0, miss);
    /* A bracket on one group must not keep the others out. */
    const uint64_t group = CM_GROUP_BLOCKS * CM_BLOCK_SIZE, next = pos - pos % group + group;
    if (pos < w.end && (miss->flags & CM_MISS_NOFILL) && next < w.end) {
        w.end = next;
        w.eof = false;
        (void)describe_miss(&w, pos, fillable, 0, miss);
    }
    return (int64_t)(pos - offset);
}

/* Ends a read of all or nothing. */
static int64_t end_whole(struct walk *w, const struct cm_blocks *run, enum cm_stat cause)
{
    /* Misses are counted by the read that follows. But damage is counted now: its block was
     * dropped, so the next read finds it absent. */
    if (run->pos < w->end && (cause == CM_STAT_miss_checksum || cause == CM_STAT_miss_media))
        cm_count(w->c, cause, 1);
    if (run->pos < w->end)
        return CM_EABSENT;
    count_hits(w->c, run->hits, run->pos - w->offset, run->buffered);
    return (int64_t)(run->pos - w->offset);
}

int64_t cm_range_read_whole(struct cm_object *f, const struct cm_plat_thread *t,
                            const struct cm_fast *g, uint64_t offset, void *buf, size_t len)
{
    struct walk w;
    enum cm_stat cause = CM_STAT_miss_mode;
    const enum cm_found seen = cm_range_elsewhere(f, t, g, offset, buf, len);
    if (seen == CM_FOUND_HIT)
        return (int64_t)len;
    if (seen == CM_FOUND_ABSENT)
        return CM_EABSENT;
    bool serves = walk_begin(&w, f, offset, len);
    struct cm_blocks run = run_of(&w);
    if (serves)
        cause = cause_of(read_run(&w, &run, buf, len, false, &serves));
    return end_whole(&w, &run, cause);
}

int64_t cm_range_read_resident(struct cm_object *f, uint64_t offset, void *buf, size_t len)
{
    struct walk w;
    enum cm_stat cause = CM_STAT_miss_mode;
    bool serves = walk_begin(&w, f, offset, len);
    struct cm_blocks run = run_of(&w);
    /* The counters lie in the pool, too. Their page is tested once: the first hit uses it. */
    if (serves && (w.c->directly || cm_media_counters_resident(&w.c->media)))
        cause = cause_of(read_run(&w, &run, buf, len, true, &serves));
    return end_whole(&w, &run, cause);
}

int64_t cm_range_conflict(struct cm_object *f, uint64_t offset, size_t len, cm_miss *miss,
                          uint64_t *incarnation)
{
    struct walk w;
    (void)walk_begin(&w, f, offset, len);
    *incarnation = w.incarnation;
    return walk_end(&w, offset, false, CM_STAT_miss_conflict, 0, miss);
}

/* ---- Pins ------------------------------------------------------------------------------------ */

/* Adds a piece of the pool to the list. If it follows the last one directly, the two are merged. */
static bool add_piece(cm_iovec *iov, int n, int *count, const uint8_t *p, size_t len)
{
    if (*count > 0 && (const uint8_t *)iov[*count - 1].base + iov[*count - 1].len == p) {
        iov[*count - 1].len += len;
        return true;
    }
    if (*count == n)
        return false;
    iov[(*count)++] = (cm_iovec){ p, len };
    return true;
}

enum { PINS_CACHE, PINS_CHECK, PINS_SLOTS };

/* The upper half of PINS_CHECK. It shows a struct that was never filled in, so that its pointer is
 * not followed. The lower half is the set's life. */
static uint64_t check_of(const cm_pins *pins)
{
    return pins->opaque[PINS_CACHE] * UINT64_C(0x9e3779b97f4a7c15) >> 32 << 32;
}

static void release(struct cm_cache *c, cm_pins *pins)
{
    for (uint32_t i = 0; i < pins->n; i++)
        cm_lookup_unpin(c, pins->opaque[PINS_SLOTS + i]);
    pins->n = 0;
}

/* false: the file was cut while they were looked for; the pins are released. */
static bool pins_count(struct cm_cache *c, cm_pins *pins)
{
    if (pins->n == 0 || cm_media_uncut(&c->media))
        return true;
    cm_suspect(c); /* the call will look at the file when it ends */
    release(c, pins);
    return false;
}

/* false: no more sets can be held; the pins are released. */
static inline __attribute__((always_inline)) bool
register_set(struct cm_cache *c, const struct cm_plat_thread *t, cm_pins *pins)
{
    uint32_t life;
    if (pins->n == 0)
        return true;
    pins->reserved = cm_pin_set_take(c->pin_sets, t->number * 64, pins->opaque[PINS_SLOTS], &life);
    if (pins->reserved == CM_PIN_SETS) {
        release(c, pins);
        return false;
    }
    pins->opaque[PINS_CHECK] = check_of(pins) | life;
    return true;
}

/* Enters a set of one pin, and counts it. false: no more sets can be held, or the file was cut, and
 * nothing is pinned. */
static inline __attribute__((always_inline)) bool end_pin_one(struct cm_object *f,
                                                              const struct cm_fast *g,
                                                              uint64_t offset, size_t len,
                                                              cm_pins *pins, cm_miss *miss)
{
    if (!cm_media_uncut(&f->cache->media)) {
        cm_lookup_unpin(f->cache, g->slot); /* the long way notes it */
        return false;
    }
    const struct cm_plat_thread *const t = cm_plat_thread();
    pins->opaque[PINS_SLOTS] = g->slot;
    pins->n = 1;
    if (!register_set(f->cache, t, pins))
        return false;
    cm_media_count2(&f->cache->media, t, CM_STAT_hit_blocks, 1, len);
    cm_fast_end(cm_incarnation_number(g->incarnation), offset + len, false, miss);
    return true;
}

/* As pin_one(), for a block that its first bucket does not know. */
static __attribute__((noinline)) bool pin_elsewhere(struct cm_object *f, struct cm_fast *g,
                                                    uint64_t offset, size_t len, cm_iovec *iov,
                                                    cm_pins *pins, cm_miss *miss)
{
    struct cm_cache *c = f->cache;
    const struct cm_key k = cm_key_named(g->incarnation, g->block, g->hash);
    const uint32_t from = (uint32_t)(offset % CM_BLOCK_SIZE);
    if (g->found != 0 || c->media.seal) /* with a seal nothing can be pinned */
        return false;
    const enum cm_found found =
        cm_lookup_pin_elsewhere(c, &k, cm_fast_second(g), from + (uint32_t)len, &g->slot);
    if (found != CM_FOUND_HIT && found != CM_FOUND_BUFFERED)
        return false;
    iov->base = cm_lookup_data(c, g->slot) + from;
    iov->len = len;
    if (!end_pin_one(f, g, offset, len, pins, miss))
        return false;
    if (found == CM_FOUND_BUFFERED)
        cm_count(c, CM_STAT_probation_hits, 1);
    return true;
}

/* Pins a part of one block by the short way. false: nothing is known, and nothing is pinned. */
static inline __attribute__((always_inline)) bool pin_one(struct cm_object *f, uint64_t offset,
                                                          size_t len, cm_iovec *iov, cm_pins *pins,
                                                          cm_miss *miss)
{
    struct cm_cache *c = f->cache;
    const struct cm_media *m = &c->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation), block = offset / CM_BLOCK_SIZE;
    struct cm_fast g;
    if (!cm_fast_fits(f, offset, len) || !cm_fast_may(f, incarnation, UINT32_MAX))
        return false;
    const struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
    cm_fast_place(f, incarnation, block, &home, &g);
    cm_fast_find(m, &g, false);
    if (g.slot == CM_NO_SLOT)
        return pin_elsewhere(f, &g, offset, len, iov, pins, miss);
    const struct cm_key k = cm_key_named(g.incarnation, block, g.hash);
    if (!cm_lookup_pin_known(c, &k, g.slot))
        return false;
    iov->base = cm_slot_payload(m, g.slot) + offset % CM_BLOCK_SIZE;
    iov->len = len;
    return end_pin_one(f, &g, offset, len, pins, miss);
}

int64_t cm_range_pin(struct cm_object *f, uint64_t offset, size_t len, cm_iovec *iov, int n,
                     int *iovcnt, cm_pins *pins, cm_miss *miss)
{
    pins->opaque[PINS_CACHE] = (uint64_t)(uintptr_t)f->cache;
    *iovcnt = 1;
    if (pin_one(f, offset, len, iov, pins, miss))
        return (int64_t)len;
    pins->n = pins->reserved = 0; /* the slots are set one by one */
    pins->opaque[PINS_CHECK] = 0;
    if (f->cache->media.seal)
        return CM_ENOTSUP; /* what was verified could change, or is no plain content */
    struct walk w;
    bool fillable = walk_begin(&w, f, offset, len), busy = false, full = false;
    enum cm_stat cause = CM_STAT_miss_mode;
    uint64_t pos = offset, buffered = 0;
    int pieces = 0;
    while (fillable && pos < w.end && pins->n < CM_PINS_MAX) {
        struct cm_key k;
        k = cm_region_key_next(f, &w.home, w.incarnation, pos / CM_BLOCK_SIZE);
        uint32_t from = (uint32_t)(pos % CM_BLOCK_SIZE), valid = 0;
        uint32_t want = CM_BLOCK_SIZE - from;
        uint64_t slot;
        if (want > w.end - pos)
            want = (uint32_t)(w.end - pos);
        enum cm_found r = cm_lookup_pin(w.c, &k, &slot, &valid, &busy);
        if (r != CM_FOUND_HIT && r != CM_FOUND_BUFFERED) {
            cause = cause_of(r);
            break;
        }
        uint32_t got = valid <= from ? 0 : valid - from < want ? valid - from : want;
        full = got > 0 && !add_piece(iov, n, &pieces, cm_lookup_data(w.c, slot) + from, got);
        if (got == 0 || full) {
            cm_lookup_unpin(w.c, slot);
            cause = CM_STAT_miss_short;
            break;
        }
        pins->opaque[PINS_SLOTS + pins->n++] = slot;
        buffered += r == CM_FOUND_BUFFERED;
        pos += got;
        if (got < want) {
            cause = CM_STAT_miss_short;
            break;
        }
    }
    if (!pins_count(w.c, pins)) {
        pos = offset;
        pieces = 0;
        buffered = 0;
        fillable = full = busy = false;
        cause = CM_STAT_miss_media;
    }
    *iovcnt = pieces;
    if ((busy && pins->n == 0) || !register_set(w.c, cm_plat_thread(), pins))
        return CM_EBUSY;
    if (full || (pins->n == CM_PINS_MAX && pos < w.end)) {
        w.end = pos; /* not a miss: the caller's arrays are full */
        w.eof = false;
    }
    count_hits(w.c, pins->n, pos - offset, buffered);
    return walk_end(&w, pos, fillable, cause, 0, miss);
}

/* The life of its entry in which a set was taken. More than 32 bits: it was never a set. */
static uint64_t life_of(const cm_pins *pins)
{
    return pins->opaque[PINS_CHECK] ^ check_of(pins);
}

struct cm_cache *cm_range_pins_cache(const cm_pins *pins)
{
    const bool plausible = pins->n > 0 && pins->n <= CM_PINS_MAX && life_of(pins) <= UINT32_MAX;
    return plausible ? (struct cm_cache *)(uintptr_t)pins->opaque[PINS_CACHE] : NULL;
}

int cm_range_unpin(cm_pins *pins)
{
    struct cm_cache *c = cm_range_pins_cache(pins);
    if (!c || !cm_pin_set_drop(c->pin_sets, pins->reserved, (uint32_t)life_of(pins)))
        return CM_EINVAL;
    release(c, pins);
    return 0;
}
