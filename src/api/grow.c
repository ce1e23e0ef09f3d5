/* SPDX-License-Identifier: BSD-2-Clause
 *
 * grow.c - an open pool becomes larger, in its own file, while it is used.
 *
 * Owns: the order of the steps. What the pool has stays where it is. The file becomes longer, and
 * what is new becomes a part (format.h): a larger index, more headers, the memo, more slots. The
 * new index is filled from the old one (reindex.c). It counts when both superblocks say so,
 * durably, and this session uses it after that only. So until then a crash leaves the pool of the
 * old size, and from then on that of the new size. The superblocks first say how long the file may
 * become: a file that is longer than its pool is no pool otherwise.
 *
 * Reads hit and brackets begin all the time. Nothing is stored while the index is copied.
 *
 * Who: users, through cachemax.h; api/.
 */
#include "api/cache.h"

#include <stdio.h>

#include "protocol/reindex.h"
#include "state/file_record.h"
#include "state/policy_sample.h"
#include "state/settle.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

/* A growth that runs. */
struct grow {
    struct cm_cache *c;
    struct cm_geometry to;
    uint64_t word; /* of the new part */
    cm_grow_report *report;
    bool unknown; /* the superblocks may say either */
};

void cm_grow_take_back(cm_cache *c)
{
    const uint64_t size = c->media.geo.pool_size;
    if (!cm_super_is_growing(&c->super))
        return;
    /* The file has the right length, durably, before the superblocks say that it must. */
    if (c->file.handle != -1 && ((c->file.size != size && cm_plat_file_cut(&c->file, size)) ||
                                 cm_settle_part(c, 0, CM_SUPER_STRIDE)))
        return;
    (void)cm_super_growing(&c->super, 0);
}

/* The pool goes on as it was, so this is no error of the pool. If there is another way to that
 * size, its caller may take it: then it is not even a warning. */
static int refuse(cm_cache *c, int code, uint64_t size, const char *why)
{
    const bool other_way = code == CM_ENOTSUP || code == CM_EPOOLSIZE;
    cm_log(c, other_way ? CM_LOG_INFO : CM_LOG_WARNING,
           "%s: cannot grow in its place from %llu to %llu bytes: %s", c->name,
           (unsigned long long)c->media.geo.pool_size, (unsigned long long)size, why);
    return code;
}

/* A larger pool cannot have this size. */
static int wrong_size(cm_cache *c, uint64_t size)
{
    const uint64_t least = cm_format_grow_least(&c->media.geo);
    char why[128] = "that is more than it can become in its place";
    if (size % CM_BLOCK_SIZE != 0)
        return refuse(c, CM_EPOOLSIZE, size, "the new size is no multiple of 4096");
    if (size <= c->media.geo.pool_size)
        return refuse(c, CM_EPOOLSIZE, size,
                      "that is not larger; cm_resize() also makes a pool smaller");
    if (size < least)
        (void)snprintf(why, sizeof(why),
                       "it needs a new index for all, and 64 slots more: %llu bytes at least",
                       (unsigned long long)least);
    return refuse(c, CM_EPOOLSIZE, size, why);
}

/* May the pool have this size? */
static int plan(struct grow *z, uint64_t size)
{
    struct cm_cache *const c = z->c;
    if (c->opts.grow_max == 0)
        return refuse(c, CM_ENOTSUP, size,
                      "it was opened without room for that: set cm_options.grow_max");
    if (size > c->opts.grow_max)
        return refuse(c, CM_ENOTSUP, size,
                      "that is more than it was opened with room for (cm_options.grow_max): close "
                      "it and use cm_resize()");
    int e = cm_format_grow(&c->media.geo, size, &z->to, &z->word);
    if (e == CM_ENOTSUP)
        return refuse(
            c, e, size,
            "it has grown as often as it may; after a resize of the closed pool it may grow again");
    if (e)
        return wrong_size(c, size);
    e = cm_file_can_forget(c);
    if (e == 0 && (at_load_relaxed(&c->failing) || cm_cache_whole(c)))
        e = CM_EIO;
    return e ? refuse(c, e, size, "its volume fails") : 0;
}

/* Is there room? It is asked before anything is written. */
static int look_for_room(const struct grow *z)
{
    struct cm_cache *const c = z->c;
    const uint64_t size = z->to.pool_size;
    uint64_t missing = 0;
    const int e = c->file.handle == -1 ? 0 : cm_plat_file_room(&c->file, size, &missing);
    if (e == CM_ENOSPC && missing == 0)
        return refuse(c, e, size, "this process may not make a file of that size (ulimit -f)");
    if (e && e != CM_ENOSPC)
        return refuse(c, e, size, cm_strerror(e));
    if (e)
        cm_log(c, CM_LOG_WARNING,
               "%s: cannot grow in its place to %llu bytes: its volume lacks %llu bytes", c->name,
               (unsigned long long)size, (unsigned long long)missing);
    return e;
}

/* Makes the file longer. */
static int lengthen(struct grow *z)
{
    struct cm_cache *const c = z->c;
    static const uint8_t zero[CM_BLOCK_SIZE];
    uint64_t end, at = cm_format_tables(&z->to, z->to.parts - 1, &end);
    int e = 0;
    if (c->file.handle != -1) {
        e = cm_plat_file_grow(&c->file, z->to.pool_size);
        return e ? e : cm_cache_make_resident(c, &z->to, z->to.parts - 1);
    }
    for (; at < end && e == 0; at += CM_BLOCK_SIZE) /* memory: anything may be there */
        e = cm_media_copy(&c->media, c->media.base + at, zero, CM_BLOCK_SIZE);
    cm_media_fence(&c->media);
    return e;
}

/* Makes the tables of the new part durable. */
static int settle(struct grow *z)
{
    struct cm_cache *const c = z->c;
    uint64_t end;
    const uint64_t start = cm_format_tables(&z->to, z->to.parts - 1, &end);
    /* With DAX, too: the file's new length is metadata of the file system. */
    return c->file.handle != -1 ? cm_settle_part(c, start, end - start) : 0;
}

/* The pool has its new size. Nothing can fail from here on. */
static void use(struct grow *z)
{
    struct cm_cache *const c = z->c;
    struct cm_media *const m = &c->media;
    cm_memo_load_all(&c->memo); /* the next memo is elsewhere */
    cm_end_grow(c, &z->to);     /* before blocks are found behind the old end */
    cm_media_add_part(m, &z->to);
    /* Release: who sees it sees its cells. Before the old cells are used no more: nothing is
     * published until c->growing is 0 again. */
    at_store_release(&m->index, cm_place_index(&z->to));
    cm_ghost_grow(&c->policy.ghost, z->to.slots);
    cm_ring_grow(&c->policy.ring, z->to.slots);
    cm_sample_grow(c);
}

/* The superblocks may say that the pool has grown, and the next session would find what it has not
 * stored there. They have to say that it has not; else nothing in the pool counts any more. */
static void deny(struct grow *z)
{
    struct cm_cache *const c = z->c;
    if (cm_super_growing(&c->super, z->to.pool_size) == 0)
        return;
    at_store_seq_cst(&c->broken, CM_SAY_DUE);
    (void)cm_file_can_forget(c);
}

static int copy_and_use(struct grow *z)
{
    struct cm_cache *const c = z->c;
    struct cm_reindexed done = { 0, 0 };
    at_store_seq_cst(&c->growing, 1u); /* publish.c sees it under any stripe's lock: reindex.c */
    int e = cm_reindex(c, &z->to, &done);
    if (e == 0)
        e = settle(z);
    if (e == 0) {
        e = cm_super_add_part(&c->super, z->to.parts - 1, z->word);
        z->unknown = e != 0 && e != CM_ESEAL; /* then nothing was written */
    }
    if (e == 0)
        use(z);
    else if (z->unknown)
        deny(z); /* before anything is stored in the old index */
    /* Release: pairs with the acquire in publish.c, which must see the new index then. */
    at_store_release(&c->growing, 0u);
    z->report->blocks = done.blocks;
    z->report->dropped = done.dropped;
    return e;
}

static int grow(struct grow *z, uint64_t size)
{
    struct cm_cache *const c = z->c;
    int e = plan(z, size);
    if (e)
        return e;
    z->report->old_size = c->media.geo.pool_size;
    z->report->old_slots = c->media.geo.slots;
    /* What an earlier growth has left: its length must not be more than the superblocks allow. */
    cm_grow_take_back(c);
    if (c->file.handle != -1 && c->file.size != c->media.geo.pool_size)
        return refuse(c, CM_EIO, size, "the file is longer than the pool, and cannot be cut back");
    e = look_for_room(z);
    if (e)
        return e;
    e = cm_super_growing(&c->super, size);
    if (e == 0)
        e = lengthen(z);
    if (e == 0)
        e = copy_and_use(z);
    if (e) {
        cm_grow_take_back(c);
        (void)cm_cache_whole(c); /* somebody may have cut the file, which stays as it is then */
        return refuse(c, e, size, cm_strerror(e));
    }
    z->report->new_size = z->to.pool_size;
    z->report->new_slots = z->to.slots;
    cm_log(c, CM_LOG_INFO, "%s: grew from %llu to %llu bytes", c->name,
           (unsigned long long)z->report->old_size, (unsigned long long)size);
    return 0;
}

int cm_grow(cm_cache *c, uint64_t size, cm_grow_report *report)
{
    cm_grow_report r = { 0 };
    struct grow z = { .c = c, .report = &r };
    int e = cm_enter_owner(c);
    if (e)
        return e;
    if (report && !cm_can_give_result(report))
        return CM_EINVAL;
    const int cancel = cm_plat_cancel_off();
    const uint64_t began = cm_plat_now_ns();
    at_add_acq_rel(&c->live, 1); /* cm_close looks at it */
    uint32_t none = 0;
    /* Acquire, and release below: the next growth goes on from what this one has changed. */
    const bool mine = at_cas_acq_rel(&c->grows, &none, 1);
    e = mine ? grow(&z, size) : CM_EBUSY;
    if (mine)
        at_store_release(&c->grows, 0u);
    r.elapsed_ns = cm_plat_now_ns() - began;
    cm_plat_cancel_back(cancel);
    cm_report_trouble(c);
    at_sub_acq_rel(&c->live, 1); /* the last: from here on cm_close() may free the cache */
    if (e == 0 && report)
        e = cm_give_result(report, &r, sizeof(r));
    return e;
}
