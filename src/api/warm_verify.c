/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_verify.c - CM_WARM_VERIFY: what is cached of a range, compared with the origin.
 *
 * Owns: the decision that a cached block is wrong.
 *
 * How: for each run of cached blocks, tickets are taken, as for a miss. Then the origin is read.
 * Then each block is read as a lookup reads it, but without counting a hit, and compared. Equal
 * bytes need no proof. A difference counts if the block's tickets still hold, which is looked at
 * under the lock of its stripe. Then no bracket was open on the block from before the origin was
 * read until after the block was: both reads are of one content, and the cached one is wrong.
 *
 * If they do not hold, a writer was near. The block is looked at again, alone: it is gone then if
 * it was the writer's, or equal, or its tickets hold. After some tries it is forgotten, which is
 * always allowed, and counts as undecided.
 *
 * What differs is forgotten as by a bracket of its range. So it cannot come back after a crash. If
 * the origin ends before a cached byte, the file is shorter than was believed: all from there on is
 * forgotten, and its size.
 *
 * No lock is held while the origin is read, or while blocks are compared. A comparison belongs to
 * one thread.
 *
 * Who: api/.
 */
#include "api/warm_verify.h"

#include <inttypes.h>
#include <string.h>

#include "api/cache.h"
#include "protocol/bracket.h"
#include "protocol/lookup.h"
#include "state/region.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

#define TRIES 8u
#define NAP_NS UINT64_C(500000) /* before the third look; then twice as long each time */

enum verdict { EQUAL, GONE, DIFFERS, SHORT };

static bool bit(const uint64_t *words, uint64_t i)
{
    return words[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *words, uint64_t i, bool to)
{
    const uint64_t mask = UINT64_C(1) << (i % 64);
    words[i / 64] = to ? words[i / 64] | mask : words[i / 64] & ~mask;
}

/* The first block that has to be looked at again. false: there is none. */
static bool first_again(const struct cm_comparison *v, uint64_t *block)
{
    for (unsigned i = 0; i < CM_VERIFY_WORDS; i++) {
        if (v->again[i] == 0)
            continue;
        *block = v->base + i * 64 + at_lowest_bit64(v->again[i]);
        return true;
    }
    return false;
}

void cm_compare_begin(struct cm_comparison *v, uint64_t first, uint64_t end)
{
    assert(v->n == 0 && first <= end);
    v->pos = first;
    v->end = end;
}

static void free_ahead(struct cm_comparison *v, const cm_cache *c)
{
    if (v->ahead != v->few)
        cm_cache_free(c, v->ahead, v->room * sizeof(*v->ahead));
}

/* There are more runs than there is room for. Each look for some may read all headers. So there is
 * room for a part of the slots now, or the looks would cost the square of them. Without memory it
 * goes on as it is. */
static void widen(struct cm_comparison *v)
{
    const struct cm_cache *c = v->f->cache;
    const size_t room = (size_t)(cm_media_slots(&c->media) / CM_VERIFY_PART);
    cm_range *ahead = room > v->room ? cm_cache_alloc(c, room * sizeof(*ahead)) : NULL;
    if (!ahead)
        return;
    free_ahead(v, c);
    v->ahead = ahead;
    v->room = room;
}

uint64_t cm_compare_seek(struct cm_comparison *v, uint64_t pos, uint64_t *run)
{
    while (v->run < v->runs && v->ahead[v->run].offset + v->ahead[v->run].len <= pos)
        v->run++;
    if (v->run == v->runs) {
        if (v->runs == v->room)
            widen(v);
        const int64_t n = cm_file_ranges(v->file, pos, v->ahead, v->room);
        v->run = 0;
        v->runs = n > 0 ? (size_t)n : 0;
        if (n <= 0)
            return CM_OFFSET_MAX;
    }
    const cm_range *r = &v->ahead[v->run];
    const uint64_t at = r->offset > pos ? r->offset : pos;
    *run = r->offset + r->len - at;
    return at;
}

/* ---- Choosing what to read ------------------------------------------------------------------- */

/* What names the blocks that are served now; 0: none are. */
static uint64_t served(const struct cm_comparison *v)
{
    /* Acquire: what is looked up next is of this incarnation or a later one. */
    const uint64_t incarnation = at_load_acquire(&v->f->incarnation);
    return cm_cache_bypassed(v->f->cache) || !cm_file_serves(v->f) ? 0 : incarnation;
}

static bool is_cached(const struct cm_comparison *v, uint64_t incarnation, uint64_t block)
{
    const struct cm_key k = cm_region_key(v->f, incarnation, block);
    return cm_lookup_cached(v->f->cache, &k) > 0;
}

bool cm_compare_more(struct cm_comparison *v)
{
    const uint64_t incarnation = served(v);
    uint64_t block;
    if (incarnation == 0) { /* what is not served is not wrong */
        memset(v->again, 0, sizeof(v->again));
        v->tries = 0;
        v->pos = v->end;
    }
    if (first_again(v, &block))
        return true;
    while (v->pos < v->end && !is_cached(v, incarnation, v->pos))
        v->pos++;
    return v->pos < v->end;
}

/* Sets the run of cached blocks that begins at the position. */
static void take_run(struct cm_comparison *v, uint64_t incarnation)
{
    const uint64_t reach = ((v->pos >> CM_GROUP_SHIFT) + CM_MISS_STRIPES) << CM_GROUP_SHIFT;
    uint64_t end = v->pos + 1; /* if it is gone again, the comparison will see that */
    while (end < v->end && end < reach && is_cached(v, incarnation, end))
        end++;
    v->first = v->pos;
    v->n = end - v->first;
}

int cm_compare_next(struct cm_comparison *v, cm_piece *piece)
{
    struct cm_object *f = v->f;
    const uint64_t incarnation = served(v);
    assert(v->n == 0);
    if (!cm_object_attached(f, v->file))
        return CM_EHANDLE;
    const bool again = first_again(v, &v->first);
    v->n = 1;
    if (!again)
        take_run(v, incarnation);
    if (!cm_buffer_get(f->cache, (size_t)(v->n * CM_BLOCK_SIZE), NULL, &v->buffer)) {
        v->n = 0;
        return CM_ENOMEM;
    }
    if (v->n > v->buffer.room / CM_BLOCK_SIZE)
        v->n = v->buffer.room / CM_BLOCK_SIZE;
    if (!again) {
        v->base = v->first;
        v->pos = v->first + v->n;
    }
    v->miss = (cm_miss){ .offset = v->first * CM_BLOCK_SIZE };
    (void)cm_ticket_take(f, incarnation, v->first, v->n, &v->miss); /* before the origin is read */
    *piece = (cm_piece){ .offset = v->miss.offset, .buf = v->buffer.p };
    piece->len = (size_t)(v->n * CM_BLOCK_SIZE);
    return CM_REQUEST_READ;
}

void cm_compare_cancel(struct cm_comparison *v)
{
    cm_buffer_put(v->f->cache, &v->buffer);
    v->n = 0;
}

uint64_t cm_compare_nap_ns(const struct cm_comparison *v)
{
    return v->tries > 0 ? NAP_NS << (v->tries - 1) : 0;
}

/* ---- Comparing ------------------------------------------------------------------------------- */

/* Compares one block with what the origin gave. *bytes: how many of it are cached and served. */
static enum verdict compare(const struct cm_comparison *v, uint64_t block, uint64_t got,
                            uint64_t *bytes)
{
    uint8_t cached[CM_BLOCK_SIZE];
    const uint64_t at = block * CM_BLOCK_SIZE, from = at - v->miss.offset;
    const uint64_t given = got > from ? got - from : 0;
    const uint64_t size = at_load_relaxed(&v->f->size); /* if it changes, the tickets do not hold */
    const struct cm_key k = cm_region_key(v->f, v->miss.incarnation, block);
    const struct cm_sealing *seal = &v->f->cache->sealing;
    const uint32_t failures = cm_seal_failures(seal);
    uint32_t n = 0;
    const enum cm_found found = cm_lookup_peek(v->f->cache, &k, cached, &n);
    *bytes = 0;
    if (found == CM_FOUND_CONFLICT && cm_seal_failures(seal) != failures)
        return GONE; /* nobody can tell now: it is not served either */
    if (found == CM_FOUND_CONFLICT)
        return DIFFERS; /* it changes just now, so its tickets do not hold for long */
    if (found != CM_FOUND_HIT && found != CM_FOUND_BUFFERED)
        return GONE;
    *bytes = size != CM_SIZE_UNKNOWN && size < at + n ? (size > at ? size - at : 0) : n;
    if (*bytes == 0)
        return GONE;
    if (memcmp(cached, v->buffer.p + from, (size_t)(*bytes < given ? *bytes : given)) != 0)
        return DIFFERS;
    return *bytes <= given ? EQUAL : SHORT;
}

/* Do the block's tickets hold? The lock decides: a bracket that began before the origin or the
 * block was read shows here. */
static bool is_certain(const struct cm_comparison *v, uint64_t block)
{
    struct cm_cache *c = v->f->cache;
    struct cm_stripe *s = cm_stripe_at(c, cm_key_stripe(&c->media, v->miss.incarnation, block));
    if (v->miss.flags & CM_MISS_NOFILL)
        return false;
    cm_lock_acquire(&s->lock);
    const bool holds = cm_ticket_holds(v->f, s, &v->miss, block);
    cm_lock_release(&s->lock);
    return holds;
}

/* Forgets the blocks [first, end). Nobody has changed them in the origin. */
static int forget(struct cm_object *f, uint64_t first, uint64_t end)
{
    const uint64_t size = at_load_relaxed(&f->size), at = first * CM_BLOCK_SIZE;
    uint64_t to = end * CM_BLOCK_SIZE;
    cm_bracket w;
    if (size > at && size < to)
        to = size; /* a bracket that goes further moves the end of the file */
    int e = cm_bracket_write(f, at, to - at, &w);
    if (e == 0)
        e = cm_bracket_end(f, &w, NULL);
    if (e >= 0 || e == CM_EBRACKET)
        return 0; /* an abort may have ended it, which is as good */
    cm_lock_acquire(&f->lock);
    (void)cm_file_stop(f, e); /* what is cached is wrong, whatever we return */
    cm_lock_release(&f->lock);
    return e;
}

/* Blocks of a run that are wrong: a bit each, from the first one of the run on. */
struct wrong {
    uint64_t blocks[CM_VERIFY_WORDS];
    uint64_t cut; /* the first one that the origin does not have, or not as far; UINT64_MAX: none */
};

static int forget_wrong(const struct cm_comparison *v, const struct wrong *w)
{
    int e = 0;
    for (uint64_t i = 0, end; i < v->n && e == 0; i = end) {
        for (end = i + 1; bit(w->blocks, i) && end < v->n && bit(w->blocks, end);)
            end++;
        if (bit(w->blocks, i))
            e = forget(v->f, v->first + i, v->first + end);
    }
    if (e == 0 && w->cut < UINT64_MAX)
        e = cm_bracket_invalidate(v->f, w->cut * CM_BLOCK_SIZE, CM_ALL);
    return e;
}

/* Looks at one block of the run. */
static void examine(struct cm_comparison *v, uint64_t block, uint64_t got, struct wrong *w)
{
    uint64_t bytes;
    const enum verdict found = compare(v, block, got, &bytes);
    const bool odd = found == DIFFERS || found == SHORT;
    const bool certain = odd && bytes > 0 && is_certain(v, block);
    set_bit(v->again, block - v->base, odd && !certain);
    v->verified += found == EQUAL ? bytes : 0;
    if (!certain)
        return;
    if (v->blocks++ == 0)
        v->at = block;
    v->differed += bytes;
    if (found == SHORT)
        w->cut = block < w->cut ? block : w->cut;
    else
        set_bit(w->blocks, block - v->first, true);
}

/* The block was looked at again. If it cannot be decided it goes. */
static int end_try(struct cm_comparison *v, uint64_t block)
{
    if (!bit(v->again, block - v->base)) {
        v->tries = 0;
        return 0;
    }
    if (++v->tries < TRIES)
        return 0;
    v->tries = 0;
    set_bit(v->again, block - v->base, false);
    v->undecided += CM_BLOCK_SIZE;
    return forget(v->f, block, block + 1);
}

int cm_compare_complete(struct cm_comparison *v, uint64_t got)
{
    const bool again = bit(v->again, v->first - v->base);
    struct wrong w = { .cut = UINT64_MAX };
    assert(v->n > 0 && (!again || v->n == 1));
    if (!cm_object_attached(v->f, v->file)) {
        cm_compare_cancel(v);
        return CM_EHANDLE;
    }
    for (uint64_t b = v->first; b < v->first + v->n; b++)
        examine(v, b, got, &w);
    cm_buffer_put(v->f->cache, &v->buffer);
    int e = forget_wrong(v, &w); /* after all were judged: it makes their tickets void */
    if (e == 0 && again)
        e = end_try(v, v->first);
    v->stuck |= e != 0;
    v->n = 0;
    return e;
}

/* ---- Its begin and its end ------------------------------------------------------------------- */

struct cm_comparison *cm_compare_new(cm_file *file, struct cm_object *f)
{
    struct cm_comparison *v = cm_cache_alloc(f->cache, sizeof(*v));
    if (v) {
        v->file = file;
        v->f = f;
        v->ahead = v->few;
        v->room = CM_VERIFY_AHEAD;
    }
    return v;
}

void cm_compare_free(struct cm_comparison *v, cm_cache *c)
{
    if (!v)
        return;
    cm_compare_cancel(v);
    free_ahead(v, c);
    cm_cache_free(c, v, sizeof(*v));
}

void cm_compare_say(const struct cm_comparison *v, const cm_cache *c, const cm_file_id *id)
{
    if (v->blocks > 0)
        cm_log(c, CM_LOG_WARNING,
               "file %016" PRIx64 "%016" PRIx64 ": %" PRIu64 " of its blocks in the pool %s not "
               "what the origin has, the first one is block %" PRIu64 "; %s. "
               "Either the origin was changed without the cache, and its times say nothing of it, "
               "or the volume of the pool, or the memory, is damaged",
               id->hi, id->lo, v->blocks, v->blocks == 1 ? "is" : "are", v->at,
               v->stuck ? "not all of them could be forgotten, so nothing that is cached of the "
                          "file is used any more while it is open"
                        : "they are forgotten");
}
