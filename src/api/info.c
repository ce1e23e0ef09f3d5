/* SPDX-License-Identifier: BSD-2-Clause
 *
 * info.c - what the library says about itself and about a pool: errors, version, info, statistics.
 *
 * Owns: no state. A pool that another process has open is mapped, read and unmapped again.
 *
 * Who: users, through cachemax.h; api/, objects/.
 */
#include <stdio.h>
#include <string.h>

#include "api/cache.h"
#include "state/copy_choice.h"
#include "state/fill_choice.h"
#include "state/keep.h"
#include "state/policy_sample.h"
#include "media/file_table.h"

#ifdef CM_CHECKS_FULL
#define CM_DEFINE_UNCHECKED
#include "api/checked_calls.h"
#endif

/* ---- Names ----------------------------------------------------------------------------------- */

const char *cm_strerror(int code)
{
    switch (code) {
#define CM_X(name, value, text)                                                                    \
    case value:                                                                                    \
        return text;
        CM_ERROR_MAP(CM_X)
        CM_RESULT_MAP(CM_X)
#undef CM_X
    default:
        return "unknown error";
    }
}

const char *cm_errname(int code)
{
    switch (code) {
#define CM_X(name, value, text)                                                                    \
    case value:                                                                                    \
        return #name;
        CM_ERROR_MAP(CM_X)
        CM_RESULT_MAP(CM_X)
#undef CM_X
    default:
        return "CM_?";
    }
}

#define TEXT_OF(n) #n
#define TEXT(n) TEXT_OF(n)

const char *cm_version(void)
{
    return TEXT(CM_VERSION_MAJOR) "." TEXT(CM_VERSION_MINOR) "." TEXT(CM_VERSION_PATCH);
}

int cm_version_number(void)
{
    return CM_VERSION;
}

/* ---- Counters by number ---------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} stat_names[] = {
#define CM_X(name, text) { #name, text },
    CM_STAT_MAP(CM_X)
#undef CM_X
};

const char *cm_stat_name(unsigned i)
{
    return i < CM_STAT_COUNT ? stat_names[i].name : NULL;
}

const char *cm_stat_text(unsigned i)
{
    return i < CM_STAT_COUNT ? stat_names[i].text : NULL;
}

uint64_t cm_stat_value(const cm_stats_data *stats, unsigned i)
{
    const size_t at = offsetof(cm_stats_data, hit_blocks) + i * sizeof(uint64_t);
    uint64_t value = 0;
    if (stats && i < CM_STAT_COUNT && at + sizeof(value) <= stats->struct_size)
        memcpy(&value, (const uint8_t *)stats + at, sizeof(value));
    return value;
}

static void describe(const struct cm_super *sb, const struct cm_geometry *g, cm_info *info)
{
    const struct cm_persist_ops *ops =
        cm_persist_choose(sb->durability == CM_DURABILITY_DAX ? CM_FLUSH_LINES : CM_FLUSH_NONE);
    memset(info, 0, sizeof(*info));
    info->version = sb->version;
    memcpy(info->uuid, sb->uuid, 16);
    info->size = g->pool_size;
    info->slots = g->slots;
    info->max_files = cm_format_max_files(g);
    info->metadata_bytes = g->pool_size - g->slots * CM_BLOCK_SIZE;
    info->memo_bytes = g->memo_pages * CM_BLOCK_SIZE;
    if (g->name_offset != 0)
        info->names_bytes = g->index_offset - g->name_offset;
    info->created_at_ns = sb->created_ns;
    info->dram_bytes = cm_cache_dram_bytes(g);
    info->epoch = sb->epoch;
    info->used_slots = sb->frontier;
    info->durability = sb->durability;
    info->sealed = sb->incompat & CM_INCOMPAT_ENCRYPTED ? CM_SEALED_ENCRYPTED
                   : sb->incompat & CM_INCOMPAT_SEALED  ? CM_SEALED_MAC
                                                        : CM_SEALED_NO;
    info->clean = sb->state == CM_SUPER_CLEAN;
    info->owner_pid = sb->owner_pid;
    (void)snprintf(info->flush, sizeof(info->flush), "%s", ops->flush_name);
    (void)snprintf(info->copy, sizeof(info->copy), "%s", ops->copy_name);
}

int cm_get_info(cm_cache *c, cm_info *out)
{
    cm_info info;
    int e = cm_enter_cache(c);
    if (e || !out)
        return e ? e : CM_EINVAL;
    cm_say_guard(c);
    if (!c->readonly) {
        (void)cm_cache_whole(c); /* logs that the file was truncated; the call goes on */
        cm_report_trouble(c);
    }
    cm_lock_acquire(&c->super.lock);
    struct cm_super sb = c->super.now;
    cm_lock_release(&c->super.lock);
    struct cm_geometry g; /* that of the cache changes when it grows */
    e = cm_format_geometry(&sb, &g);
    if (e)
        return e;
    describe(&sb, &g, &info);
    info.used_files = cm_record_estimate(&c->media);
    if (c->shared) {
        info.owned = c->file.handle != -1 && cm_plat_file_is_locked(&c->file) == 1;
    } else if (!c->readonly) {
        info.used_slots = at_load_relaxed(&c->policy.ring.frontier);
        info.owned = 1;
        const struct cm_keep_sum kept = cm_keep_sum(c);
        info.kept_files = kept.files;
        info.kept_bytes = kept.blocks * CM_BLOCK_SIZE;
        info.kept_max = cm_keep_most(c) * CM_BLOCK_SIZE;
    }
    bool measured;
    (void)snprintf(info.hit_copy, sizeof(info.hit_copy), "%s",
                   cm_copy_choice_name(c, &info.hit_lines, &measured));
    info.hit_copy_measured = measured;
    (void)snprintf(info.copy, sizeof(info.copy), "%s", cm_fill_choice_name(c, &measured));
    info.copy_measured = measured;
    info.emptied = c->emptied;
    info.mode = cm_cache_mode(c);
    info.superblocks_damaged = c->super.damaged;
    return cm_give_result(out, &info, sizeof(info));
}

/* A file too small for two superblocks: cut off, or never a pool? */
int cm_judge_small_file(struct cm_plat_file *f)
{
    uint8_t magic[8];
    bool pool = cm_plat_file_pread(f, magic, 8, 0) == 0 && memcmp(magic, "CACHEMAX", 8) == 0;
    return pool ? CM_ETRUNCATED : CM_ENOTPOOL;
}

bool cm_file_too_small(const struct cm_plat_file *f)
{
    return f->size < CM_STATS_OFFSET + CM_STATS_BYTES;
}

bool cm_file_length_changed(struct cm_plat_file *f)
{
    uint64_t size;
    bool named;
    return f->handle != -1 && cm_plat_file_state(f, &size, &named) == 0 && size != f->size;
}

bool cm_file_replaced(const struct cm_plat_file *f, const char *path)
{
    return f->handle != -1 && !cm_plat_file_is_at(f, path);
}

static void unpeek(struct cm_plat_file *f)
{
    if (f->base)
        cm_guard_remove(f->base);
    cm_plat_file_close(f);
}

static int peek_once(const char *path, struct cm_plat_file *f, struct cm_super *sb,
                     struct cm_geometry *g, uint32_t *damaged)
{
    enum cm_durability d;
    int e = path ? cm_plat_file_open(f, path, true) : CM_EINVAL;
    if (e == 0 && cm_file_too_small(f))
        e = cm_judge_small_file(f);
    if (e == 0)
        e = cm_plat_file_map(f, CM_BLOCK_SIZE, &d);
    if (e == 0) {
        e = cm_guard_add(f->base, (size_t)f->size);
        if (e)
            cm_plat_file_close(f); /* unpeek() has nothing to do */
    }
    if (e)
        return e;
    for (int i = 0; i < 3; i++) /* the owner may be writing one copy, then the other */
        if ((e = cm_super_read(f->base, sb, damaged)) >= 0)
            break;
    if (e >= 0)
        e = cm_format_geometry(sb, g);
    return e ? e : cm_format_size_is(sb, g->pool_size, f->size);
}

static bool is_to_look_again(struct cm_plat_file *f, const char *path, int e)
{
    if (cm_file_replaced(f, path)) /* one superblock may be removed, or a part of one */
        return true;
    return (e == CM_ETRUNCATED || e == CM_EOVERSIZE) && cm_file_length_changed(f);
}

/* Maps a pool file for reading. Another process may own it at the same time. */
static int peek(const char *path, struct cm_plat_file *f, struct cm_super *sb,
                struct cm_geometry *g, uint32_t *damaged)
{
    int e = peek_once(path, f, sb, g, damaged);
    for (unsigned i = 1; i < CM_LOOKS && is_to_look_again(f, path, e); i++) {
        unpeek(f);
        e = peek_once(path, f, sb, g, damaged);
    }
    return e;
}

int cm_pool_info(const char *path, cm_info *out)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct cm_super sb;
    struct cm_geometry g;
    cm_info info;
    uint32_t damaged;
    int e = out ? peek(path, &f, &sb, &g, &damaged) : CM_EINVAL;
    if (e == 0) {
        struct cm_media m = { .base = f.base, .geo = g };
        cm_media_lay_out(&m);
        m.check_key = cm_format_check_key(sb.uuid, sb.epoch);
        m.seal = sb.incompat & CM_INCOMPAT_SEALED ? &cm_seal_unknown : NULL;
        describe(&sb, &g, &info);
        info.used_files = cm_record_estimate(&m);
        info.superblocks_damaged = damaged;
        info.owned = cm_plat_file_is_locked(&f) == 1;
        e = cm_give_result(out, &info, sizeof(info));
    } else if ((e == CM_EVERSION || e == CM_EINCOMPAT) && f.base) {
        memset(&info, 0, sizeof(info));
        info.version = e == CM_EVERSION ? cm_other_version(f.base) : CM_FORMAT_VERSION;
        info.owned = cm_plat_file_is_locked(&f) == 1; /* the lock is the same in all versions */
        info.owner_pid = info.owned ? cm_plat_file_holder(&f, 0) : 0;
        const int given = cm_give_result(out, &info, sizeof(info));
        e = given ? given : e;
    } else if (e == CM_EOVERSIZE) {
        memset(&info, 0, sizeof(info));
        info.size = g.pool_size;
        const int given = cm_give_result(out, &info, sizeof(info));
        e = given ? given : e;
    }
    unpeek(&f);
    return e;
}

int cm_stats(cm_cache *c, cm_stats_data *out)
{
    cm_stats_data s;
    int e = cm_enter_cache(c);
    if (e || !out)
        return e ? e : CM_EINVAL;
    if (!c->readonly && !c->shared)
        cm_sample_report(c);
    e = cm_stats_sum(c->media.stats, &s);
    return e ? e : cm_give_result(out, &s, sizeof(s));
}

/* The counters of a mapped pool. If they are a hole of a sparse pool, it was never used. On a full
 * tmpfs a mapping of that cannot be read. */
static int sum_of(struct cm_plat_file *f, cm_stats_data *s)
{
    const struct cm_media m = { .base = f->base, .file = f };
    const int e = cm_stats_sum(f->base, s);
    bool unused = e == CM_EIO;
    for (uint32_t at = 0; at < CM_STATS_BYTES && unused; at += CM_BLOCK_SIZE)
        unused = cm_media_is_hole(&m, f->base + CM_STATS_OFFSET + at, CM_BLOCK_SIZE);
    if (!unused)
        return e;
    cm_stats_none(s);
    return 0;
}

int cm_pool_stats(const char *path, cm_stats_data *out)
{
    struct cm_plat_file f = PLAT_FILE_INIT;
    struct cm_super sb;
    struct cm_geometry g;
    cm_stats_data s;
    uint32_t damaged;
    int e = out ? peek(path, &f, &sb, &g, &damaged) : CM_EINVAL;
    if (e == 0)
        e = sum_of(&f, &s);
    if (e == 0)
        e = cm_give_result(out, &s, sizeof(s));
    unpeek(&f);
    return e;
}
