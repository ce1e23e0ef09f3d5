/* SPDX-License-Identifier: BSD-2-Clause
 *
 * read_many.c - reads of many places of a file with one call (cm_read_many).
 *
 * Owns: no state. Places within one block are looked up in groups: first the index lines of all,
 * then their headers, so that their cache misses run side by side. What the short way does not
 * serve is read one after the other by read_range.c. All that is copied is of one version of the
 * file: if the version has changed meanwhile, the call begins anew.
 *
 * Who: api/.
 */
#include "api/read_range.h"

#include <string.h>

#define GROUP 16u /* vectors whose index lines are under way before the first copy */

/* Where the block of a vector is. */
struct place {
    struct cm_fast g;  /* its slot, or what stands for its entry in the probation buffer */
    struct cm_spot at; /* of either, if it is known */
    uint64_t version;  /* of the entry */
};

/* Reads one vector by the long way, and sets its result. Returns whether it was read whole. */
static bool read_vec(struct cm_object *f, enum cm_found seen, cm_read_vec *v)
{
    uint64_t counted = 0;
    cm_miss scratch, *miss = v->miss ? v->miss : &scratch;
    v->result = cm_range_read(f, seen, v->offset, v->buf, v->len, 0, &counted, miss);
    v->incarnation = miss->incarnation;
    return v->result == (int64_t)v->len;
}

/* Prefetches the header and the first lines of what is wanted of a vector's block. */
static inline __attribute__((always_inline)) void
prefetch_vec(const cm_read_vec *v, const struct place *p, unsigned lines)
{
    cm_slot_prefetch_payload(&p->at, (uint32_t)(v->offset % CM_BLOCK_SIZE), v->len, lines);
}

/* Looks for blocks where their first bucket does not lead. `missing`: a bit for each of them. Those
 * that are nowhere keep their bits. */
static __attribute__((noinline)) uint32_t find_elsewhere(const struct cm_cache *c,
                                                         cm_read_vec *const *v, uint32_t missing,
                                                         struct place *place)
{
    uint32_t absent = 0;
    for (uint32_t left = missing; left; left &= left - 1) {
        const struct cm_fast *g = &place[at_lowest_bit(left)].g;
        cm_lookup_prefetch_elsewhere(c, g->hash, cm_fast_second(g));
    }
    for (uint32_t left = missing; left; left &= left - 1) {
        const unsigned i = at_lowest_bit(left);
        struct cm_fast *const g = &place[i].g;
        switch (cm_lookup_elsewhere(c, g->incarnation, g->block, g->hash, cm_fast_second(g),
                                    &g->slot, &place[i].version)) {
        case CM_FOUND_HIT:
            place[i].at = cm_spot_of(&c->media, g->slot);
            break;
        case CM_FOUND_BUFFERED:
            place[i].at = cm_probation_spot(&c->probation, g->slot - CM_ENTRY_FIRST);
            break;
        case CM_FOUND_ABSENT:
            absent |= 1u << i;
            continue;
        default:
            continue;
        }
        prefetch_vec(v[i], &place[i], CM_LINES_FEW);
    }
    return absent;
}

/* Copies a part of a block out of the probation buffer. */
static __attribute__((noinline)) bool copy_entry(struct cm_object *f, const struct place *p,
                                                 const cm_read_vec *v)
{
    const struct cm_part part = { (uint32_t)(v->offset % CM_BLOCK_SIZE), (uint32_t)v->len, v->buf };
    const struct cm_fast *g = &p->g;
    return cm_lookup_copy_entry(f->cache, g->incarnation, g->block, g->hash, g->slot, p->version,
                                &part);
}

/* Copies a vector from where its block is. false: nothing was left in its buffer. */
static inline __attribute__((always_inline)) bool
copy_vec(struct cm_object *f, const struct place *p, const cm_read_vec *v)
{
    if (p->g.slot == CM_NO_SLOT || !cm_fast_fits(f, v->offset, v->len))
        return false;
    if (__builtin_expect(p->g.slot >= CM_ENTRY_FIRST, 0))
        return copy_entry(f, p, v);
    return cm_fast_copy(f->cache, &p->g, &p->at, v->offset, v->buf, v->len);
}

static void count(struct cm_cache *c, uint64_t hits, uint64_t bytes, uint64_t buffered)
{
    if (hits > 0)
        cm_stats_add2(&c->media, CM_STAT_hit_blocks, hits, CM_STAT_hit_bytes, bytes);
    if (buffered > 0)
        cm_count(c, CM_STAT_probation_hits, buffered);
}

/* Reads at most GROUP vectors. Vectors within one block are looked up side by side, the
 * others one after the other. Returns how many were read whole. */
static int64_t read_group(struct cm_object *f, cm_read_vec *const *v, size_t n)
{
    struct cm_cache *c = f->cache;
    const struct cm_media *m = &c->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation);
    const bool serves = cm_fast_may(f, incarnation, ~(uint32_t)CM_GATE_SHARED);
    struct place p[GROUP];
    uint64_t hits = 0, bytes = 0, buffered = 0;
    uint32_t missing = 0; /* a bit for each block that its first bucket does not know */
    int64_t whole = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t block = v[i]->offset / CM_BLOCK_SIZE;
        const struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
        cm_fast_place(f, incarnation, block, &home, &p[i].g);
        at_prefetch(cm_index_bucket(m, p[i].g.bucket));
    }
    for (size_t i = 0; i < n; i++) {
        cm_fast_find(m, &p[i].g, false);
        if (p[i].g.slot != CM_NO_SLOT) {
            p[i].at = cm_spot_of(m, p[i].g.slot);
            prefetch_vec(v[i], &p[i], i == 0 ? CM_PREFETCH_LINES : CM_LINES_FEW);
            cm_ring_prefetch(&c->policy.ring, p[i].g.slot);
        } else {
            missing |= (uint32_t)(p[i].g.found == 0) << i;
        }
    }
    if (missing)
        missing = find_elsewhere(c, v, missing, p);
    for (size_t i = 0; i < n; i++) {
        cm_read_vec *const r = v[i];
        if (i + 1 < n && p[i + 1].g.slot != CM_NO_SLOT)
            prefetch_vec(v[i + 1], &p[i + 1], CM_PREFETCH_LINES);
        if (serves && copy_vec(f, &p[i], r)) {
            hits++;
            bytes += r->len;
            buffered += p[i].g.slot >= CM_ENTRY_FIRST;
            r->result = (int64_t)r->len;
            r->incarnation = incarnation;
            cm_fast_end(incarnation, r->offset + r->len, false, r->miss);
            whole++;
        } else {
            whole += read_vec(f, missing >> i & 1 ? CM_FOUND_ABSENT : CM_FOUND_CONFLICT, r);
        }
    }
    count(c, hits, bytes, buffered);
    return whole;
}

/* The vectors of a cm_read_many(). The caller's elements may be longer than ours. */
static inline cm_read_vec *vec_at(cm_read_vec *v, size_t size, size_t i)
{
    return (cm_read_vec *)(void *)((uint8_t *)v + i * size);
}

/* Reads all vectors that were not refused. */
static int64_t read_vecs(struct cm_object *f, cm_read_vec *v, size_t size, size_t n)
{
    int64_t whole = 0;
    for (size_t i = 0; i < n;) {
        cm_read_vec *group[GROUP];
        size_t count = 0;
        for (; i < n && count < GROUP; i++) {
            group[count] = vec_at(v, size, i);
            count += group[count]->result >= 0;
        }
        whole += read_group(f, group, count);
    }
    return whole;
}

/* Leaves nothing of what was copied for a piece. */
static void take_back(const cm_read_vec *v)
{
    if (v->result > 0) /* else buf may be NULL */
        memset(v->buf, 0, (size_t)v->result);
}

/* What was copied is not of the version of the other pieces. */
static bool make_miss(struct cm_object *f, cm_read_vec *v)
{
    take_back(v);
    v->result = cm_range_conflict(f, v->offset, v->len, v->miss, &v->incarnation);
    return v->len == 0;
}

/* The file was cut while blocks were copied. */
static __attribute__((noinline)) int64_t miss_all(struct cm_object *f, cm_read_vec *v, size_t size,
                                                  size_t n)
{
    int64_t whole = 0;
    cm_suspect(f->cache); /* the call will look at the file when it ends */
    for (size_t i = 0; i < n; i++)
        if (vec_at(v, size, i)->result >= 0)
            whole += make_miss(f, vec_at(v, size, i));
    return whole;
}

/* The version that what was copied before is of. 0 also if another process owns the pool, and what
 * was copied does not count. */
static uint64_t version_of(struct cm_object *f)
{
    const uint64_t incarnation = at_load_acquire(&f->incarnation);
    if (!cm_object_is_shared(f) || cm_told_holds(f, incarnation))
        return incarnation;
    cm_shared_look(f);
    return 0;
}

int64_t cm_range_read_many(struct cm_object *f, cm_read_vec *v, size_t size, size_t n)
{
    uint64_t now = version_of(f), before;
    int64_t whole = 0;
    for (unsigned tries = 0; tries < CM_VERSION_TRIES; tries++) {
        before = now;
        for (size_t i = 0; tries > 0 && i < n; i++)
            take_back(vec_at(v, size, i)); /* the next try may find less */
        whole = read_vecs(f, v, size, n);
        if (whole > 0 && !cm_media_uncut(&f->cache->media))
            return miss_all(f, v, size, n);
        now = version_of(f); /* after the copies: each ended with an acquire */
        if (now == before && (now != 0 || !cm_object_is_shared(f)))
            return whole; /* versions do not come back: all of it is of this one */
    }
    whole = 0;
    for (size_t i = 0; i < n; i++) {
        cm_read_vec *r = vec_at(v, size, i);
        if (r->result < 0)
            continue;
        whole += r->incarnation == now ? r->result == (int64_t)r->len : make_miss(f, r);
    }
    return whole;
}
