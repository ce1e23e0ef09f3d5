/* SPDX-License-Identifier: BSD-2-Clause
 *
 * create.c - makes a pool.
 *
 * Owns: the order in which a new pool gets its bytes. First everything is made empty; the
 * superblocks come last. So a crash in between leaves no pool.
 *
 * Who: users, through cachemax.h.
 */
#include <string.h>

#include "api/cache.h"

uint64_t cm_pool_size_min(void)
{
    return cm_format_size_min(0);
}

uint64_t cm_pool_size_max(void)
{
    return CM_POOL_SIZE_MAX;
}

static int take_options(cm_create_options *o, const cm_create_options *from,
                        struct cm_sealing *seal)
{
    if (cm_take_options(o, sizeof(*o), from) == 0)
        return cm_take_seal(&seal->hooks, o->seal, o->log, o->log_ctx);
    return cm_refuse(
        o->log, o->log_ctx, CM_EINVAL,
        "cm_create_options: an option is set that this library (version %s) does not know",
        cm_version());
}

/* `what`: the pool, in the log. */
static int plan(const cm_create_options *o, const char *what, uint64_t size, const cm_seal *seal,
                struct cm_geometry *g)
{
    const uint32_t unknown = o->flags & ~(uint32_t)(CM_CREATE_SPARSE | CM_CREATE_NAMES);
    const uint64_t incompat =
        (o->flags & CM_CREATE_NAMES ? CM_INCOMPAT_NAMES : 0) | cm_seal_incompat(seal);
    if (unknown)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_create_options.flags: 0x%x is unknown to this library (version %s)",
                         unknown, cm_version());
    if (!cm_all_zero(o->reserved, 3))
        return cm_refuse(
            o->log, o->log_ctx, CM_EINVAL,
            "cm_create_options.reserved is not zero: begin with CM_CREATE_OPTIONS_INIT");
    int e = cm_format_plan(size, o->max_files, incompat, g);
    if (e == CM_EPOOLSIZE)
        return cm_refuse(o->log, o->log_ctx, e,
                         "%s: pool size %llu: must be a multiple of %u between %llu and %llu", what,
                         (unsigned long long)size, CM_BLOCK_SIZE,
                         (unsigned long long)cm_format_size_min(incompat),
                         (unsigned long long)CM_POOL_SIZE_MAX);
    if (e)
        return cm_refuse(o->log, o->log_ctx, e,
                         "%s: no room for %llu files in a pool of %llu bytes", what,
                         (unsigned long long)o->max_files, (unsigned long long)size);
    return 0;
}

/* Writes the superblocks of a new pool at `base`; everything else is zero. */
static int format_at(uint8_t *base, const struct cm_geometry *g, const struct cm_sealing *seal,
                     struct cm_plat_file *file, enum cm_durability durability)
{
    struct cm_media m = { .base = base, .geo = *g, .seal = seal->hooks.mac ? seal : NULL };
    struct cm_superblocks s = { .media = &m, .file = file };
    uint8_t uuid[16];
    uint64_t seed;
    int e = cm_plat_random(uuid, sizeof(uuid));
    if (e == 0)
        e = cm_plat_random(&seed, sizeof(seed));
    if (e)
        return e;
    m.ops = cm_persist_choose(durability == CM_DURABILITY_DAX ? CM_FLUSH_LINES : CM_FLUSH_NONE);
    s.sync = durability == CM_DURABILITY_PAGECACHE;
    cm_super_init(&s.now, g, uuid, seed, (uint64_t)cm_plat_wall_ns());
    s.now.durability = durability;
    /* Guarded: a sparse file on a full volume faults at its first store. */
    e = cm_guard_add(base, (size_t)g->pool_size);
    if (e)
        return e;
    e = cm_super_format(&s);
    cm_guard_remove(base);
    return e;
}

/* A pool that is there already may be what the caller wants, and who cancels knows it. */
static int say_not_made(const cm_create_options *o, const char *path, int e)
{
    char why[PLAT_WHY];
    if (e == CM_EEXIST || e == CM_ECANCELED || !o->log)
        return e;
    if (e == CM_EINVAL)
        return cm_refuse(o->log, o->log_ctx, e, CM_WRONG_PATH, path);
    cm_plat_file_not_made(path, o->size, !(o->flags & CM_CREATE_SPARSE), e, why);
    const char *said = why[0] ? why : cm_strerror(e);
    char refuses[PLAT_WHY] = "";
    if (e == CM_EIO)
        cm_plat_refuses(refuses);
    return cm_refuse(o->log, o->log_ctx, e, "%s: a pool of %llu bytes cannot be made: %s%s", path,
                     (unsigned long long)o->size, said, refuses);
}

int cm_create(const char *path, const cm_create_options *opts)
{
    cm_create_options o;
    struct cm_geometry g = { 0 };
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct cm_sealing seal = { .cache = NULL };
    enum cm_durability d;
    int e = path && opts ? take_options(&o, opts, &seal) : CM_EINVAL;
    if (e == 0)
        e = plan(&o, path, o.size, &seal.hooks, &g);
    if (e)
        return e;
    e = cm_plat_file_create(&f, path, o.size, !(o.flags & CM_CREATE_SPARSE), o.progress,
                            o.progress_ctx);
    if (e)
        return say_not_made(&o, path, e);
    e = cm_plat_file_map(&f, g.data_align, &d);
    if (e == 0)
        e = format_at(f.base, &g, &seal, &f, d);
    if (e == CM_EIO && (o.flags & CM_CREATE_SPARSE))
        e = CM_ENOSPC; /* a hole of the file could not be filled */
    if (e == 0)
        e = cm_plat_file_sync(&f, 0, g.index_offset);
    if (e == 0)
        e = cm_plat_file_link(&f, path); /* last: a process killed before that leaves no pool */
    if (e)
        cm_plat_file_abandon(&f, path);
    else
        cm_plat_file_close(&f);
    return e ? say_not_made(&o, path, e) : 0;
}

int cm_format_memory(void *base, uint64_t bytes, const cm_create_options *opts)
{
    cm_create_options o;
    struct cm_geometry g = { 0 };
    struct cm_sealing seal = { .cache = NULL };
    int e =
        base && (uintptr_t)base % CM_BLOCK_SIZE == 0 ? take_options(&o, opts, &seal) : CM_EINVAL;
    if (e == 0 && o.size != 0 && o.size != bytes)
        e = cm_refuse(o.log, o.log_ctx, CM_EINVAL,
                      "cm_create_options.size: %llu: the memory has %llu bytes",
                      (unsigned long long)o.size, (unsigned long long)bytes);
    if (e == 0)
        e = plan(&o, "pool in memory", bytes, &seal.hooks, &g);
    if (e)
        return e;
    /* The old superblocks go first, durably, and the new ones come last: a crash in between leaves
     * no pool. */
    struct cm_media m = { .base = base, .geo = g, .ops = cm_persist_choose(CM_FLUSH_LINES) };
    struct cm_superblocks s = { .media = &m };
    e = cm_super_kill(&s);
    static const uint8_t zero[CM_BLOCK_SIZE];
    for (uint64_t at = CM_STATS_OFFSET; at < g.slot_offset && e == 0; at += CM_BLOCK_SIZE)
        e = cm_media_copy(&m, (uint8_t *)base + at, zero, CM_BLOCK_SIZE);
    cm_media_fence(&m); /* the new pool's emptiness is durable before it is a pool */
    return e ? e : format_at(base, &g, &seal, NULL, CM_DURABILITY_DAX);
}
