/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_use.c - how much a file is used, and when it was used last.
 *
 * Owns: two words of a record. They are written when a file is closed, without a flush and outside
 * of the sum of the record: a crash may lose or tear them, and then nothing is known. No promise
 * depends on them.
 *
 * Locks: files_lock.
 * Who: api/, state/.
 */
#include "state/file_use.h"

#define SECOND INT64_C(1000000000)

/* A time of cm_now() by the wall clock. */
static int64_t wall_of(uint64_t now_ns)
{
    return cm_plat_wall_ns() - (int64_t)(cm_plat_now_ns() - now_ns);
}

void cm_file_use_begin(struct cm_object *f)
{
    struct cm_record r;
    uint32_t seconds;
    uint64_t hits = 0;
    bool whole;
    if (f->place != CM_NO_PLACE && cm_record_at(&f->cache->media, f->place, &r, &whole) == 0 &&
        whole && r.id.hi == f->id.hi && r.id.lo == f->id.lo)
        (void)cm_record_use(&f->cache->media, f->place, &r, &seconds, &hits);
    at_store_relaxed(&f->hits, hits);
    at_store_relaxed(&f->used_ns, cm_plat_now_ns());
}

void cm_file_use_note(const struct cm_object *f, uint64_t used_ns)
{
    const int64_t seconds = wall_of(used_ns) / SECOND;
    if (f->place != CM_NO_PLACE && seconds > 0 && seconds <= UINT32_MAX)
        cm_record_write_use(&f->cache->media, f->place, &f->id, (uint32_t)seconds,
                            at_load_relaxed(&f->hits));
}

void cm_file_use_note_all(struct cm_cache *c)
{
    cm_lock_acquire(&c->files_lock);
    for (uint32_t i = 0; i < c->file_chains; i++)
        for (const struct cm_object *f = c->file_hash[i]; f; f = f->next)
            cm_file_use_note(f, at_load_relaxed(&f->used_ns));
    cm_lock_release(&c->files_lock);
}

void cm_file_use_describe(const struct cm_object *f, cm_file_info *info)
{
    info->hits = at_load_relaxed(&f->hits);
    info->misses = at_load_relaxed(&f->misses);
    info->fills = at_load_relaxed(&f->fills);
    info->last_used_ns = wall_of(at_load_relaxed(&f->used_ns));
}

void cm_file_use_recorded(const struct cm_cache *c, uint64_t place, const struct cm_record *r,
                          cm_file_info *info)
{
    uint32_t seconds;
    (void)cm_record_use(&c->media, place, r, &seconds, &info->hits);
    info->last_used_ns = seconds * SECOND;
}
