/* SPDX-License-Identifier: BSD-2-Clause
 *
 * inner.c - what objects/ asks of a block, and a program cannot.
 *
 * Owns: no state. A put and a get of an object know early which lines of the pool they will wait
 * for: the index lines, the stripe, and the slot if the container remembers it. Asked for at once,
 * these cache misses run side by side.
 *
 * Who: objects/.
 */
#include "api/inner.h"

#include "api/cache.h"
#include "api/read_fast.h"
#include "media/seal.h"
#include "protocol/bracket.h"
#include "protocol/fill_ticket.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

/* The home of a block. Relaxed: who prefetches may be wrong, and a ticket compares it. */
static struct cm_home home_of(const struct cm_object *f, uint64_t block, uint64_t *incarnation)
{
    *incarnation = at_load_relaxed(&f->incarnation);
    return cm_key_home(&f->cache->media, *incarnation, block >> CM_GROUP_SHIFT);
}

int cm_inner_no_origin(const cm_file *file, bool tested)
{
    struct cm_object *f;
    const int e = cm_enter_change(file, &f);
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    f->no_origin = true;
    f->tested = tested;
    cm_lock_release(&f->lock);
    return 0;
}

int cm_inner_synced(const cm_file *file)
{
    struct cm_object *f;
    const int e = cm_enter_change(file, &f);
    if (e == 0)
        cm_bracket_synced(f);
    return e;
}

int cm_inner_claim(const cm_file *file, bool claims)
{
    struct cm_object *f;
    int e = cm_enter_change(file, &f);
    if (e)
        return e;
    cm_lock_acquire(&f->lock);
    e = claims && f->claimed ? CM_EBUSY : 0;
    f->claimed = claims;
    cm_lock_release(&f->lock);
    return e;
}

bool cm_inner_recorded(const cm_file *file)
{
    return at_load_relaxed(&cm_object_of(file)->place) != CM_NO_PLACE; /* as it is now */
}

uint32_t cm_inner_seal_failures(const cm_file *file)
{
    return cm_seal_failures(&cm_object_of(file)->cache->sealing);
}

uint64_t cm_inner_slots(const cm_file *file)
{
    return cm_media_slots(&cm_object_of(file)->cache->media);
}

bool cm_inner_grows(const cm_file *file)
{
    /* A hint: publish.c decides. */
    return at_load_relaxed(&cm_object_of(file)->cache->growing) != 0;
}

bool cm_inner_takes(const cm_file *file)
{
    const struct cm_object *f = cm_object_of(file);
    return cm_cache_mode(f->cache) == CM_NORMAL && !at_load_relaxed(&f->bypassed);
}

void cm_inner_prefetch(const cm_file *file, uint64_t offset)
{
    const struct cm_object *f = cm_object_of(file);
    const struct cm_media *m = &f->cache->media;
    const uint64_t block = offset / CM_BLOCK_SIZE;
    uint64_t incarnation;
    const struct cm_home home = home_of(f, block, &incarnation);
    const uint64_t hash = cm_place_hash(&home, block), first = cm_place_first(hash, block, &home);
    at_prefetch(cm_index_bucket(m, home.base + first));
    at_prefetch(cm_index_bucket(m, home.base + cm_place_second(hash, first, home.buckets)));
    at_prefetch(cm_stripe_at(f->cache, home.stripe));
    cm_probation_prefetch(&f->cache->probation, hash);
}

cm_where cm_inner_where(const cm_file *file, uint64_t offset)
{
    const struct cm_object *f = cm_object_of(file);
    const uint64_t block = offset / CM_BLOCK_SIZE;
    uint64_t incarnation;
    const struct cm_home home = home_of(f, block, &incarnation);
    struct cm_fast g;
    cm_fast_place(f, incarnation, block, &home, &g);
    cm_fast_find(&f->cache->media, &g, true);
    return g.slot < UINT32_MAX ? (cm_where)g.slot + 1 : 0;
}

void cm_inner_prefetch_slot(const cm_file *file, cm_where where, uint32_t len)
{
    const struct cm_media *m = &cm_object_of(file)->cache->media;
    if (where == 0 || where - 1 >= m->geo.plain)
        return;
    const struct cm_spot at = cm_spot_plain(m, where - 1);
    const uint32_t most = len < CM_TAKE_MIN ? len : CM_TAKE_MIN;
    cm_ring_prefetch(&cm_object_of(file)->cache->policy.ring, where - 1);
    at_prefetch(at.header);
    for (uint32_t i = 0; i < most; i += CM_CACHE_LINE)
        at_prefetch(at.payload + i);
}

int cm_inner_ticket(const cm_file *file, uint64_t offset, cm_miss *miss)
{
    struct cm_object *f;
    const int e = cm_enter_change(file, &f);
    if (e)
        return e;
    uint64_t incarnation;
    const struct cm_home home = home_of(f, offset / CM_BLOCK_SIZE, &incarnation);
    *miss = (cm_miss){ .struct_size = sizeof(*miss), .offset = offset, .len = CM_BLOCK_SIZE };
    cm_ticket_take_block(f, incarnation, home.stripe, miss);
    return 0;
}
