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

/* Reads one vector and sets its result. Returns whether it was read whole. */
static bool read_vec(struct cm_object *f, cm_read_vec *v)
{
    uint64_t counted = 0;
    cm_miss scratch, *miss = v->miss ? v->miss : &scratch;
    v->result = cm_range_read(f, CM_FOUND_CONFLICT, v->offset, v->buf, v->len, 0, &counted, miss);
    v->incarnation = miss->incarnation;
    return v->result == (int64_t)v->len;
}

/* Prefetches the header and the first lines of what is wanted of a vector's block. */
static inline __attribute__((always_inline)) void
prefetch_vec(const cm_read_vec *v, const struct cm_spot *at, unsigned lines)
{
    cm_slot_prefetch_payload(at, (uint32_t)(v->offset % CM_BLOCK_SIZE), v->len, lines);
}

/* Reads at most GROUP vectors. Vectors within one block are looked up side by side, the
 * others one after the other. Returns how many were read whole. */
static int64_t read_group(struct cm_object *f, cm_read_vec *const *v, size_t n)
{
    struct cm_cache *c = f->cache;
    const struct cm_media *m = &c->media;
    const uint64_t incarnation = at_load_acquire(&f->incarnation);
    const bool serves = cm_fast_may(f, incarnation, ~(uint32_t)CM_GATE_SHARED);
    struct cm_fast p[GROUP];
    struct cm_spot at[GROUP];
    uint64_t hits = 0, bytes = 0;
    int64_t whole = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t block = v[i]->offset / CM_BLOCK_SIZE;
        const struct cm_home home = cm_key_home(m, incarnation, block >> CM_GROUP_SHIFT);
        cm_fast_place(f, incarnation, block, &home, &p[i]);
        at_prefetch(cm_index_bucket(m, p[i].bucket));
    }
    for (size_t i = 0; i < n; i++) {
        cm_fast_find(m, &p[i], false);
        if (p[i].slot != CM_NO_SLOT) {
            at[i] = cm_spot_of(m, p[i].slot);
            prefetch_vec(v[i], &at[i], i == 0 ? CM_PREFETCH_LINES : CM_LINES_FEW);
            cm_ring_prefetch(&c->policy.ring, p[i].slot);
        }
    }
    for (size_t i = 0; i < n; i++) {
        cm_read_vec *const r = v[i];
        if (i + 1 < n && p[i + 1].slot != CM_NO_SLOT)
            prefetch_vec(v[i + 1], &at[i + 1], CM_PREFETCH_LINES);
        if (serves && cm_fast_fits(f, r->offset, r->len) &&
            cm_fast_copy(c, &p[i], &at[i], r->offset, r->buf, r->len)) {
            hits++;
            bytes += r->len;
            r->result = (int64_t)r->len;
            r->incarnation = incarnation;
            cm_fast_end(incarnation, r->offset + r->len, false, r->miss);
            whole++;
        } else {
            whole += read_vec(f, r);
        }
    }
    if (hits > 0)
        cm_stats_add2(&c->media, CM_STAT_hit_blocks, hits, CM_STAT_hit_bytes, bytes);
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
