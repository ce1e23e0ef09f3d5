/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_blocks.c - reads of consecutive blocks, as far as they are cached.
 *
 * Owns: no state. A run is read in windows of some blocks. While one window is copied, the index
 * lines of the next one are loaded, then its headers. The blocks of a window are of one group, so
 * their lines in the index are mostly neighbours, and are searched together. Blocks whose slots are
 * neighbours are copied together. Each block is judged by its own header, before and after the
 * copy. What this short way cannot answer goes through all steps of a lookup (protocol/lookup.c),
 * block by block.
 *
 * Who: api/.
 */
#include "api/read_blocks.h"

#include "api/read_fast.h"
#include "state/region.h"

#include <string.h>

#define WINDOW 16u /* blocks whose index lines are under way at a time */
#define LINES 16u  /* of the next block: enough for it (docs/performance.md) */
#define AHEAD 4u   /* of the next copy, while the window behind it is looked up */

/* Blocks of one group and of one region. Only the first and the last of a run may be wanted in
 * part. */
struct window {
    uint64_t pos;         /* the first wanted byte */
    uint64_t block;       /* its block, the first one */
    uint64_t incarnation; /* of the region */
    unsigned n;
    struct cm_home home;
    uint64_t hash[WINDOW];
    uint64_t slot[WINDOW]; /* that probably holds it, or CM_NO_SLOT */
};

/* The wanted part of one block. */
struct piece {
    uint64_t pos;
    uint32_t from, want;
};

static inline struct piece piece_at(const struct cm_blocks *r, uint64_t pos)
{
    struct piece p = { .pos = pos, .from = (uint32_t)(pos % CM_BLOCK_SIZE) };
    p.want = CM_BLOCK_SIZE - p.from;
    if (p.want > r->end - pos)
        p.want = (uint32_t)(r->end - pos);
    return p;
}
/* Of the i-th block of a window. */
static inline struct piece piece_of(const struct cm_blocks *r, const struct window *w, unsigned i)
{
    return piece_at(r, i == 0 ? w->pos : (w->block + i) * CM_BLOCK_SIZE);
}

/* Adds what was read of a piece. HIT: all of it. */
static enum cm_found add_read(struct cm_blocks *r, const struct piece *p, enum cm_found found,
                              uint32_t got)
{
    if (found != CM_FOUND_HIT && found != CM_FOUND_BUFFERED)
        return found;
    r->pos += got;
    r->hits += got > 0;
    r->buffered += got > 0 && found == CM_FOUND_BUFFERED;
    return got == p->want ? CM_FOUND_HIT : CM_FOUND_BUFFERED;
}

/* Reads a piece with all steps of a lookup. HIT: all of it was cached. */
static __attribute__((noinline)) enum cm_found read_piece(struct cm_blocks *r,
                                                          const struct piece *p, uint8_t *buf)
{
    struct cm_cache *c = r->f->cache;
    uint32_t got = 0;
    const struct cm_part part = { p->from, p->want, buf + (p->pos - r->offset) };
    struct cm_probe probe;
    probe.key = cm_region_key_next(r->f, &r->home, r->incarnation, p->pos / CM_BLOCK_SIZE);
    cm_lookup_probe(c, &probe);
    const enum cm_found found = cm_lookup_read(c, &probe, &part, &got);
    return add_read(r, p, found, got);
}

/* Are all pages in memory that a copy out of the pool would touch? The first one of a run is
 * followed by a load of the file's last page (cm_media_uncut). Blocks of the probation buffer do
 * without that page: they would not bring it back. */
static bool copy_is_resident(const struct cm_blocks *r, const struct cm_key *k)
{
    const struct cm_media *m = &r->f->cache->media;
    if (!cm_lookup_is_resident(r->f->cache, k))
        return false;
    return r->f->cache->directly || r->hits > r->buffered ||
           cm_media_is_resident(m, at_load_relaxed(&m->end), 1);
}

/* The same, but ABSENT also if it would have to wait for a page of the pool. */
static enum cm_found read_resident_piece(struct cm_blocks *r, const struct piece *p, uint8_t *buf)
{
    struct cm_cache *c = r->f->cache;
    uint32_t got = 0;
    const struct cm_part part = { p->from, p->want, buf + (p->pos - r->offset) };
    const struct cm_key k =
        cm_region_key_next(r->f, &r->home, r->incarnation, p->pos / CM_BLOCK_SIZE);
    if (cm_lookup_buffered(c, &k, &part, &got) == CM_FOUND_BUFFERED)
        return add_read(r, p, CM_FOUND_BUFFERED, got);
    return copy_is_resident(r, &k) ? read_piece(r, p, buf) : CM_FOUND_ABSENT;
}

/* The buckets of a window's blocks from the i-th on that are neighbours: the first of them; *n: how
 * many. */
static inline uint64_t buckets_of(const struct window *w, unsigned i, unsigned *n)
{
    const uint32_t first = (uint32_t)cm_place_first(w->hash[i], w->block + i, &w->home);
    *n = cm_place_in_a_row(&w->home, first, w->n - i);
    return w->home.base + first;
}

/* Plans the window of the blocks from byte *next on, and prefetches their index lines. It has no
 * block if there is none. */
static void plan(struct cm_blocks *r, uint64_t *next, struct window *w)
{
    const struct cm_media *m = &r->f->cache->media;
    w->n = 0;
    if (*next >= r->end)
        return;
    w->pos = *next;
    w->block = w->pos / CM_BLOCK_SIZE;
    const uint64_t wanted = (r->end - 1) / CM_BLOCK_SIZE - w->block + 1;
    const unsigned group = CM_GROUP_BLOCKS - (unsigned)(w->block % CM_GROUP_BLOCKS);
    w->n = group < WINDOW ? group : WINDOW;
    if (w->n > wanted)
        w->n = (unsigned)wanted;
    const uint64_t region = cm_region_left(r->f, w->block);
    if (w->n > region)
        w->n = (unsigned)region;
    *next = (w->block + w->n) * CM_BLOCK_SIZE;
    cm_key_home_next(m, &r->home, r->incarnation, w->block >> CM_GROUP_SHIFT);
    w->home = r->home.home;
    w->incarnation = cm_region_incarnation(r->f, r->incarnation, w->block);
    for (unsigned i = 0; i < w->n; i++)
        w->hash[i] = cm_place_hash(&w->home, w->block + i);
    for (unsigned i = 0, some; i < w->n; i += some) {
        const uint64_t *line = cm_index_bucket(m, buckets_of(w, i, &some));
        for (unsigned k = 0; k < some; k++)
            at_prefetch(line + k * CM_BUCKET_CELLS);
    }
}

/* The other bucket of the i-th block. */
static inline uint64_t second_of(const struct window *w, unsigned i)
{
    const uint64_t first = cm_place_first(w->hash[i], w->block + i, &w->home);
    return w->home.base + cm_place_second(w->hash[i], first, w->home.buckets);
}

/* Looks for the slots of a window's blocks, and prefetches what is needed first. */
static void find_slots(const struct cm_blocks *r, struct window *w)
{
    const struct cm_cache *c = r->f->cache;
    const uint64_t slots = cm_media_slots(&c->media);
    for (unsigned i = 0, some; i < w->n; i += some) {
        const uint64_t bucket = buckets_of(w, i, &some);
        if (cm_index_find_each(&c->media, bucket, w->hash + i, w->slot + i, some))
            memset(w->slot + i, 0, some * sizeof(w->slot[0])); /* no cell, so no slot */
    }
    for (unsigned i = 0; i < w->n; i++) {
        /* An empty cell has no slot. If another thread changed the cell after its tag was compared,
         * the header tells. */
        const uint64_t slot = cm_cell_slot(w->slot[i]);
        w->slot[i] = slot < slots ? slot : CM_NO_SLOT;
        if (slot >= slots) {
            cm_lookup_prefetch_elsewhere(c, w->hash[i], second_of(w, i));
            continue;
        }
        at_prefetch(cm_slot_at(&c->media, slot));
        cm_ring_prefetch(&c->policy.ring, slot);
    }
}

/* How many blocks of [i, end) of a window are wanted whole, and have neighbours as slots that were
 * judged before. *noted: may the policy want to know of a hit of one of them? */
static inline unsigned neighbours(const struct cm_blocks *r, const struct window *w, unsigned i,
                                  unsigned end, bool *noted)
{
    const struct cm_cache *c = r->f->cache;
    const uint64_t slot = w->slot[i], below = at_load_relaxed(&c->sample_below);
    unsigned most = end - i, n = 0;
    if (most > CM_SLOT_NEIGHBOURS)
        most = CM_SLOT_NEIGHBOURS;
    if ((w->block + i + most) * CM_BLOCK_SIZE > r->end)
        most--; /* the last one is wanted in part */
    if (slot == CM_NO_SLOT || most < 2 || (i == 0 && w->pos % CM_BLOCK_SIZE != 0) ||
        !cm_lookup_may_know(c))
        return 0;
    uint32_t place = cm_sample_place(w->incarnation, w->block + i);
    uint8_t all = UINT8_MAX;
    bool sampled = false;
    for (; n < most && w->slot[i + n] == slot + n; n++, place += CM_SAMPLE_STEP) {
        const uint8_t ref = cm_ring_byte(&c->policy.ring, slot + n);
        if (!cm_ring_byte_is_verified(ref))
            break;
        all &= ref;
        sampled |= place < below;
    }
    *noted = sampled || cm_ring_bytes_may_count(all);
    return n;
}

/* Tells the policy of n hits. */
static void note(struct cm_blocks *r, const struct window *w, unsigned i, unsigned n)
{
    for (const unsigned end = i + n; i < end; i++)
        cm_lookup_note(r->f->cache, w->incarnation, w->block + i, w->hash[i], w->slot[i]);
}

/* Reads n such blocks in one copy. Returns how many of the first ones were read. */
static inline unsigned read_neighbours(struct cm_blocks *r, const struct window *w, unsigned i,
                                       unsigned n, uint8_t *buf)
{
    uint8_t *to = buf + (r->pos - r->offset);
    const unsigned right = cm_slot_read_neighbours(&r->f->cache->media, w->slot[i], n,
                                                   w->incarnation, w->block + i, to);
    if (right < n) /* may be another file's */
        memset(to + right * (size_t)CM_BLOCK_SIZE, 0, (n - right) * (size_t)CM_BLOCK_SIZE);
    r->pos += right * (uint64_t)CM_BLOCK_SIZE;
    r->hits += right;
    return right;
}

/* Reads a part of the i-th block of a window from a slot. */
static inline bool copy_from(const struct cm_blocks *r, const struct window *w, unsigned i,
                             uint64_t slot, const struct cm_part *part)
{
    struct cm_cache *c = r->f->cache;
    const struct cm_spot at = cm_spot_of(&c->media, slot);
    return cm_lookup_copy(c, w->incarnation, w->block + i, w->hash[i], slot, &at, part, false);
}

/* The same for a block that its first bucket does not know: from where its second one leads, or
 * from the probation buffer. CONFLICT: nothing is known, and nothing was left in `part`. */
static enum cm_found copy_elsewhere(const struct cm_blocks *r, const struct window *w, unsigned i,
                                    const struct cm_part *part)
{
    struct cm_cache *c = r->f->cache;
    uint64_t at, version;
    switch (cm_lookup_elsewhere(c, w->incarnation, w->block + i, w->hash[i], second_of(w, i), &at,
                                &version)) {
    case CM_FOUND_HIT:
        return copy_from(r, w, i, at, part) ? CM_FOUND_HIT : CM_FOUND_CONFLICT;
    case CM_FOUND_BUFFERED:
        return cm_lookup_copy_entry(c, w->incarnation, w->block + i, w->hash[i], at, version, part)
                   ? CM_FOUND_BUFFERED
                   : CM_FOUND_CONFLICT;
    default:
        return CM_FOUND_CONFLICT;
    }
}

/* Reads the i-th block of a window by the short ways, and if that is not enough, with all steps. */
static enum cm_found read_one(struct cm_blocks *r, const struct window *w, unsigned i, uint8_t *buf)
{
    const struct piece p = piece_of(r, w, i);
    const struct cm_part part = { p.from, p.want, buf + (p.pos - r->offset) };
    enum cm_found found;
    if (w->slot[i] == CM_NO_SLOT)
        found = copy_elsewhere(r, w, i, &part);
    else
        found = copy_from(r, w, i, w->slot[i], &part) ? CM_FOUND_HIT : CM_FOUND_CONFLICT;
    return found == CM_FOUND_CONFLICT ? read_piece(r, &p, buf) : add_read(r, &p, found, p.want);
}

/* Prefetches the first lines of what is wanted of the i-th block, if there is one. */
static inline __attribute__((always_inline)) void
prefetch(const struct cm_blocks *r, const struct window *w, unsigned i, unsigned lines)
{
    if (i >= w->n || w->slot[i] == CM_NO_SLOT)
        return;
    const struct piece p = piece_of(r, w, i);
    const struct cm_spot at = cm_spot_of(&r->f->cache->media, w->slot[i]);
    cm_slot_prefetch_payload(&at, p.from, p.want, lines);
}

/* Reads the blocks [i, end) of a window, those of neighbours together. HIT: all of it was cached.
 */
static enum cm_found read_some(struct cm_blocks *r, const struct window *w, unsigned i,
                               unsigned end, uint8_t *buf)
{
    enum cm_found found = CM_FOUND_HIT;
    unsigned failed = i; /* up to here a copy failed, and would fail again */
    while (i < end && found == CM_FOUND_HIT) {
        bool noted;
        const unsigned some = i < failed ? 0 : neighbours(r, w, i, end, &noted);
        const unsigned right = some < 2 ? 0 : read_neighbours(r, w, i, some, buf);
        if (right > 0) {
            if (noted)
                note(r, w, i, right);
            i += right;
            continue;
        }
        if (some > 1)
            failed = i + some;
        if (i < failed) {
            const struct piece p = piece_of(r, w, i);
            found = read_piece(r, &p, buf);
        } else {
            if (i + 1 < end)
                prefetch(r, w, i + 1, LINES);
            found = read_one(r, w, i, buf);
        }
        i++;
    }
    return found;
}

/* Reads a run in windows. */
static enum cm_found read_windows(struct cm_blocks *r, uint8_t *buf)
{
    struct window w[2];
    uint64_t next = r->pos;
    unsigned now = 0;
    enum cm_found found = CM_FOUND_HIT;
    plan(r, &next, &w[0]);
    find_slots(r, &w[0]);
    while (w[now].n > 0 && found == CM_FOUND_HIT) {
        prefetch(r, &w[now], 0, AHEAD);
        plan(r, &next, &w[!now]);
        const unsigned n = w[now].n, first = w[!now].n > 0 ? n / 2 : n;
        found = read_some(r, &w[now], 0, first, buf);
        if (found != CM_FOUND_HIT)
            break;
        prefetch(r, &w[now], first, AHEAD);
        find_slots(r, &w[!now]);
        found = read_some(r, &w[now], first, n, buf);
        now = !now;
    }
    return found;
}

enum cm_found cm_blocks_read(struct cm_blocks *r, uint8_t *buf)
{
    const struct piece p = piece_at(r, r->pos);
    if (r->pos + p.want < r->end)
        return read_windows(r, buf);
    /* Of a single block, the caller has tried the short way. */
    return p.want > 0 ? read_piece(r, &p, buf) : CM_FOUND_HIT;
}

enum cm_found cm_blocks_read_resident(struct cm_blocks *r, uint8_t *buf)
{
    enum cm_found found = CM_FOUND_HIT;
    for (uint64_t next = r->pos; next < r->end && found == CM_FOUND_HIT;) {
        const struct piece p = piece_at(r, next);
        found = read_resident_piece(r, &p, buf);
        next += p.want;
    }
    return found;
}
