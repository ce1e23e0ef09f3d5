/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_room.c - is there room for what a warming stores, or does it push out its own blocks?
 *
 * Owns: the sample of the blocks that a warming has passed. They are looked up now and then: to
 * look up all of them after each chunk would take too long.
 *
 * Who: api/.
 */
#include "api/warm_room.h"

#include "protocol/lookup.h"
#include "state/quota.h"
#include "state/region.h"

#define WATCHED 64u

void cm_passed_begin(struct cm_passed *a, uint64_t first)
{
    *a = (struct cm_passed){ .first = first, .every = 1 };
}

void cm_passed_note(struct cm_passed *a, uint64_t from, uint64_t to)
{
    const uint64_t start = from - a->first, end = to - a->first;
    for (; end > WATCHED * a->every; a->every *= 2) { /* no room: every second one goes */
        uint64_t half = 0;
        for (unsigned i = 0; i < WATCHED / 2; i++)
            half |= (a->cached >> 2 * i & 1) << i;
        a->cached = half;
    }
    for (uint64_t i = (start + a->every - 1) / a->every; i * a->every < end; i++)
        a->cached |= UINT64_C(1) << i;
}

uint64_t cm_passed_gone(const struct cm_passed *a, struct cm_object *f, uint64_t version)
{
    uint64_t gone = 0;
    for (uint64_t bits = a->cached; bits; bits &= bits - 1) {
        const uint64_t block = a->first + at_lowest_bit64(bits) * a->every;
        const struct cm_key k = cm_region_key(f, version, block);
        gone += cm_lookup_cached(f->cache, &k) == 0 ? a->every : 0;
    }
    return gone;
}

uint64_t cm_room_all(const struct cm_object *f)
{
    /* Relaxed: the end of the slots moves if the volume is full, and when the pool grows. The
     * others are hints. */
    const uint64_t pool = at_load_relaxed(&f->cache->policy.ring.end);
    const uint32_t share = at_load_relaxed(&f->share);
    const uint64_t most =
        share > 0 ? at_load_relaxed(&cm_quota_of(f->cache, share)->most) : CM_SHARE_ALL;
    return most < pool ? most : pool;
}

bool cm_room_is_short(const struct cm_object *f)
{
    const uint32_t share = at_load_relaxed(&f->share); /* a hint, as all of this */
    const struct cm_ring *const r = &f->cache->policy.ring;
    return (cm_ring_unused(r) == 0 && cm_ring_empties(r) == 0) ||
           (share > 0 && cm_share_room(cm_quota_of(f->cache, share)) == 0);
}
