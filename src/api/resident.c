/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resident.c - the metadata of a pool, kept in memory: CM_OPEN_PREFAULT and CM_OPEN_LOCK.
 *
 * Owns: no state. The metadata are what lies before the slots, and the tables of each part of a
 * pool that grew.
 *
 * Who: api/.
 */
#include "api/cache.h"

/* Does for a part of the metadata what CM_OPEN_PREFAULT and CM_OPEN_LOCK say. `what`: the pool. */
static int make_resident(cm_cache *c, const char *what, uint64_t from, uint64_t to)
{
    uint8_t *const base = c->media.base + from;
    const size_t bytes = (size_t)(to - from);
    uint64_t word;
    if ((c->opts.flags & CM_OPEN_LOCK) && cm_plat_lock_pages(base, bytes))
        return cm_refuse(
            c->opts.log, c->opts.log_ctx, CM_ENOMEM,
            "%s: its metadata (%llu bytes) cannot be locked in memory: raise the limit "
            "of the process (RLIMIT_MEMLOCK, ulimit -l; on Windows the working set)",
            what, (unsigned long long)bytes);
    cm_plat_will_need(base, bytes);
    for (size_t at = 0; at < bytes; at += CM_BLOCK_SIZE)
        /* A page that cannot be read will be a miss later. */
        (void)cm_guard_load64((const uint64_t *)(const void *)(base + at), &word);
    return 0;
}

int cm_cache_make_resident(cm_cache *c, const struct cm_geometry *g, unsigned part)
{
    uint64_t end;
    if (!(c->opts.flags & (CM_OPEN_PREFAULT | CM_OPEN_LOCK)))
        return 0;
    const uint64_t start = cm_format_tables(g, part, &end);
    return make_resident(c, c->name, start, end);
}

int cm_cache_all_resident(cm_cache *c, const char *what)
{
    const struct cm_geometry *g = &c->media.geo;
    if (!(c->opts.flags & (CM_OPEN_PREFAULT | CM_OPEN_LOCK)))
        return 0;
    int e = make_resident(c, what, 0, g->slot_offset);
    c->locked = e == 0 && (c->opts.flags & CM_OPEN_LOCK);
    for (unsigned i = 0; i < g->parts && e == 0; i++)
        e = cm_cache_make_resident(c, g, i);
    return e;
}

void cm_cache_unlock(cm_cache *c)
{
    const struct cm_geometry *g = &c->media.geo;
    uint64_t end;
    cm_plat_unlock_pages(c->media.base, (size_t)g->slot_offset);
    for (unsigned i = 0; i < g->parts; i++) {
        const uint64_t start = cm_format_tables(g, i, &end);
        cm_plat_unlock_pages(c->media.base + start, (size_t)(end - start));
    }
}
