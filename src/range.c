/* SPDX-License-Identifier: BSD-2-Clause
 *
 * range.c - reads that span blocks: the cached prefix, the end of the file, the first absent run.
 *
 * Owns: no state. A block counts for what its lookup said at one moment inside the call; a range is
 * not a snapshot, as with any read() beside a write(). The end of the file comes only from an
 * adopted size, never from a short block.
 *
 * Who: cache.c and flight.c.
 */
#include "range.h"

#include "block.h"

#include <string.h>

/* What the call works on. */
struct walk {
    cm_file *f;
    struct cm_cache *c;
    uint64_t offset, end; /* bytes wanted, cut to the adopted size */
    uint64_t size;        /* CM_SIZE_UNKNOWN or the adopted one */
    bool eof;             /* the size cut it */
    uint64_t incarnation;
    uint64_t group, stripe; /* of the last key: neighbours share it */
};

static bool walk_begin(struct walk *w, cm_file *f, uint64_t offset, size_t len)
{
    memset(w, 0, sizeof(*w));
    w->f = f;
    w->c = f->cache;
    w->offset = offset;
    w->end = offset + len;
    w->size = at_load_acquire(&f->size);
    if (w->size != CM_SIZE_UNKNOWN && w->end > w->size) {
        w->end = w->size > offset ? w->size : offset;
        w->eof = true;
    }
    w->incarnation = at_load_acquire(&f->incarnation);
    w->group = UINT64_MAX;
    return cm_cache_mode(w->c) != CM_BYPASS && !at_load_relaxed(&f->bypassed) &&
           w->incarnation != 0;
}

static struct cm_key walk_key(struct walk *w, uint64_t block)
{
    if (block >> CM_GROUP_SHIFT != w->group) {
        w->group = block >> CM_GROUP_SHIFT;
        w->stripe = cm_key_stripe(&w->c->media, w->incarnation, block);
    }
    return cm_key_make(&w->c->media, w->incarnation, block, w->stripe);
}

/* Blocks [first, end) that follow an absent one and are absent too. */
static uint64_t absent_run(struct walk *w, uint64_t first, uint64_t end)
{
    uint64_t b = first;
    while (b < end) {
        struct cm_key k = walk_key(w, b);
        if (cm_block_cached(w->c, &k) != 0)
            break;
        b++;
    }
    return b - first;
}

static void nothing_missing(const struct walk *w, uint64_t pos, cm_miss *miss)
{
    if (!miss)
        return;
    memset(miss, 0, sizeof(*miss));
    miss->offset = pos;
    miss->flags = w->eof ? CM_MISS_EOF : 0;
}

/* Describes the absent run that begins with the block of byte `pos`. */
static uint64_t describe_miss(struct walk *w, uint64_t pos, bool fillable, uint64_t ahead,
                              cm_miss *miss)
{
    uint64_t first = pos / CM_BLOCK_SIZE;
    uint64_t end = (w->end - 1) / CM_BLOCK_SIZE + 1;
    cm_miss scratch;
    if (!miss)
        miss = &scratch;
    memset(miss, 0, sizeof(*miss));
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
    n = cm_block_miss(w->f, first, n, miss);
    miss->len = n * CM_BLOCK_SIZE;
    if (w->size != CM_SIZE_UNKNOWN && miss->offset + miss->len > w->size)
        miss->len = w->size - miss->offset;
    if (!fillable || cm_cache_mode(w->c) != CM_NORMAL)
        miss->flags |= CM_MISS_NOFILL;
    if (w->eof && miss->offset + miss->len >= w->end)
        miss->flags |= CM_MISS_EOF;
    return n;
}

static void count_miss(struct cm_cache *c, enum cm_stat cause, uint64_t blocks)
{
    cm_count(c, CM_STAT_miss_blocks, blocks);
    cm_count(c, cause, 1);
    if (blocks > 1)
        cm_count(c, cause == CM_STAT_miss_mode ? cause : CM_STAT_miss_absent, blocks - 1);
}

static enum cm_stat cause_of(enum cm_found r)
{
    switch (r) {
    case CM_FOUND_HIT:
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

/* Ends a read or pin at byte `pos`: counts and describes what is missing, if anything. */
static int64_t walk_end(struct walk *w, uint64_t pos, uint64_t hits, bool fillable,
                        enum cm_stat cause, uint64_t ahead, cm_miss *miss)
{
    if (pos > w->offset) {
        cm_count(w->c, CM_STAT_hit_blocks, hits);
        cm_count(w->c, CM_STAT_hit_bytes, pos - w->offset);
    }
    if (pos >= w->end) {
        nothing_missing(w, pos, miss);
    } else {
        uint64_t n = describe_miss(w, pos, fillable, ahead, miss);
        uint64_t wanted = (w->end - 1) / CM_BLOCK_SIZE + 1 - pos / CM_BLOCK_SIZE;
        count_miss(w->c, cause, n < wanted ? n : wanted); /* not what is only read ahead */
    }
    return (int64_t)(pos - w->offset);
}

int64_t cm_range_read(cm_file *f, uint64_t offset, void *buf, size_t len, uint64_t ahead,
                      cm_miss *miss)
{
    struct walk w;
    bool fillable = walk_begin(&w, f, offset, len);
    enum cm_stat cause = CM_STAT_miss_mode;
    uint64_t pos = offset, hits = 0;
    while (fillable && pos < w.end) {
        struct cm_key k = walk_key(&w, pos / CM_BLOCK_SIZE);
        uint32_t from = (uint32_t)(pos % CM_BLOCK_SIZE), got = 0;
        uint32_t want = CM_BLOCK_SIZE - from;
        if (want > w.end - pos)
            want = (uint32_t)(w.end - pos);
        enum cm_found r = cm_block_read(w.c, &k, from, want, (uint8_t *)buf + (pos - offset), &got);
        if (r == CM_FOUND_HIT) {
            pos += got;
            hits += got > 0;
        }
        if (r != CM_FOUND_HIT || got < want) {
            cause = cause_of(r);
            break;
        }
    }
    return walk_end(&w, pos, hits, fillable, cause, ahead, miss);
}

/* ---- Pins ------------------------------------------------------------------------------------ */

/* Adds a piece of the pool to the list, merged with the last one where they touch. */
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

int64_t cm_range_pin(cm_file *f, uint64_t offset, size_t len, cm_iovec *iov, int n, int *iovcnt,
                     cm_pins *pins, cm_miss *miss)
{
    struct walk w;
    bool fillable = walk_begin(&w, f, offset, len), busy = false, full = false;
    enum cm_stat cause = CM_STAT_miss_mode;
    uint64_t pos = offset;
    int pieces = 0;
    memset(pins, 0, sizeof(*pins));
    pins->opaque[PINS_CACHE] = (uint64_t)(uintptr_t)w.c;
    pins->opaque[PINS_CHECK] = ~pins->opaque[PINS_CACHE];
    while (fillable && pos < w.end && pins->n < CM_PINS_MAX) {
        struct cm_key k = walk_key(&w, pos / CM_BLOCK_SIZE);
        uint32_t from = (uint32_t)(pos % CM_BLOCK_SIZE), valid = 0;
        uint32_t want = CM_BLOCK_SIZE - from;
        uint64_t slot;
        if (want > w.end - pos)
            want = (uint32_t)(w.end - pos);
        enum cm_found r = cm_block_pin(w.c, &k, &slot, &valid, &busy);
        if (r != CM_FOUND_HIT) {
            cause = cause_of(r);
            break;
        }
        uint32_t got = valid <= from ? 0 : valid - from < want ? valid - from : want;
        full = got > 0 && !add_piece(iov, n, &pieces, cm_slot_data(&w.c->media, slot) + from, got);
        if (got == 0 || full) {
            cm_block_unpin(w.c, slot);
            cause = CM_STAT_miss_short;
            break;
        }
        pins->opaque[PINS_SLOTS + pins->n++] = slot;
        pos += got;
        if (got < want) {
            cause = CM_STAT_miss_short;
            break;
        }
    }
    *iovcnt = pieces;
    if (busy && pins->n == 0)
        return CM_EBUSY;
    if (full || (pins->n == CM_PINS_MAX && pos < w.end)) {
        w.end = pos; /* not a miss: the caller's arrays are full */
        w.eof = false;
    }
    return walk_end(&w, pos, pins->n, fillable, cause, 0, miss);
}

int cm_range_unpin(cm_pins *pins)
{
    struct cm_cache *c = (struct cm_cache *)(uintptr_t)pins->opaque[PINS_CACHE];
    if (pins->n == 0 || pins->n > CM_PINS_MAX ||
        pins->opaque[PINS_CHECK] != ~pins->opaque[PINS_CACHE])
        return CM_EINVAL;
    for (uint32_t i = 0; i < pins->n; i++)
        cm_block_unpin(c, pins->opaque[PINS_SLOTS + i]);
    pins->n = 0;
    return 0;
}
