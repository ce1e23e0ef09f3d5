/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize.c - gives a pool another size.
 *
 * Owns: the order of the steps. The old pool is locked as by an owner. Up to the exchange it is not
 * changed, but what a growth that did not end has taken is cut off, and it is emptied if the system
 * has lost what a killed owner wrote. A new file is made beside it
 * and filled (resize_carry.c). Its superblocks come when all else is synced: up to then it is no
 * pool. They say what the old ones said of epoch, boots, incarnations and failed fsyncs, and
 * whether the pool was closed cleanly, so the next open judges as it would have judged the old
 * pool. Then readers of the old pool are told to serve nothing, and the new file takes the name of
 * the old one, in one step. If that fails, the old pool is as it was, and its readers may go on. If
 * the process dies in between, they serve nothing until the next owner. The old file has no name
 * any more; its superblocks are removed, so that a process that has just opened it, and waits for
 * the lock, or another link to it, finds no pool. docs/decisions/resize.md says why the pool is
 * copied and not changed in place.
 *
 * Who: users, through cachemax.h; api/.
 */
#include "api/resize.h"

#define BESIDE ".cachemax-resize"
#define MOUNT_POINT                                                                                \
    "its path is a mount point (a file that a container was given, say), so no other file can "    \
    "take its place: resize it under its own path"
#define STEP_CALLS 256u
#define FLUSH_BYTES ((size_t)1 << 20)
#define SYNC_BYTES ((uint64_t)16 << 20)

/* ---- Small things ---------------------------------------------------------------------------- */

int cm_resize_step(struct cm_resizing *z, uint64_t bytes)
{
    z->done += bytes;
    if (!z->opts.progress || z->calls++ % STEP_CALLS != 0)
        return 0;
    return z->opts.progress(z->opts.progress_ctx, z->done, z->all) ? CM_ECANCELED : 0;
}

/* Between steps that copy nothing: how far the copy is, to be cancelled. */
static bool cancelled(const struct cm_resizing *z)
{
    return z->opts.progress && z->opts.progress(z->opts.progress_ctx, z->done, z->all);
}

/* Of cm_plat_file_create. */
static int making(void *ctx, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    return cancelled(ctx);
}

static int refuse(struct cm_resizing *z, int code, const char *path, const char *why)
{
    z->said = true;
    return cm_refuse(z->opts.log, z->opts.log_ctx, code, "%s: %s", path, why);
}

static int take_options(struct cm_resizing *z, const cm_resize_options *opts)
{
    cm_resize_options *o = &z->opts;
    z->said = cm_take_options(o, sizeof(*o), opts) || o->flags != 0 || !cm_all_zero(o->reserved, 3);
    if (z->said)
        return cm_refuse(
            o->log, o->log_ctx, CM_EINVAL,
            "cm_resize_options: an option is set that this library (version %s) does not know",
            cm_version());
    return 0;
}

/* A killed owner may have left pages that the system could not write, and has dropped. It tells
 * that to one sync, as to that of an open. So all is synced before it is copied. If that fails, the
 * old pool is emptied, durably: whoever opens it, should it stay, is not told. */
static int sync_old(struct cm_resizing *z, const char *path)
{
    struct cm_superblocks *const s = &z->old->super;
    uint32_t failed;
    if (!s->sync || z->was.state == CM_SUPER_CLEAN || cm_plat_file_sync(&z->old->file, 0, 0) == 0)
        return 0;
    s->now = z->was;
    const int e = cm_super_bump_epoch(s, &failed);
    z->was = s->now;
    z->old->must_empty = true;
    if (e == 0) {
        cm_log(z->old, CM_LOG_WARNING, CM_LOST_PAGES, path);
        return 0;
    }
    cm_super_void(s);
    return refuse(z, e, path,
                  e == CM_ESEAL
                      ? "its volume lost what the last owner wrote, and a callback of the "
                        "seal failed; the pool is void: delete it and create it anew"
                      : "its volume cannot be written; the pool is void: delete it and "
                        "create it anew");
}

static int open_old(struct cm_resizing *z, const char *path)
{
    cm_options o = CM_OPTIONS_INIT;
    o.log = z->opts.log;
    o.log_ctx = z->opts.log_ctx;
    o.seal = z->opts.seal;
    int e = cm_open_unchanged(path, &o, &z->old);
    z->said = e != 0; /* by the open */
    if (e)
        return e;
    /* As it is in the file: the open has judged its copy. */
    e = cm_super_read_sealed(z->old->media.base, &z->old->sealing, &z->was, &z->old->super.damaged);
    z->report->old_size = z->old->media.geo.pool_size;
    z->all = cm_media_slots(&z->old->media) * CM_BLOCK_SIZE; /* until plan() knows more; never 0 */
    return e < 0 ? e : sync_old(z, path);
}

/* Gives back what a growth that did not end has taken: the superblocks say that it does not count,
 * and allow either length. If it stays, the copy needs more room. */
static void cut_left(const struct cm_resizing *z)
{
    struct cm_plat_file *const f = &z->old->file;
    const uint64_t size = z->old->media.geo.pool_size;
    if (f->handle != -1 && f->size > size)
        (void)cm_plat_file_cut(f, size);
}

/* ---- The plan -------------------------------------------------------------------------------- */

/* A pool that grew becomes one without parts. */
static uint64_t tables_of(const struct cm_geometry *was)
{
    return was->incompat & ~CM_INCOMPAT_GROWN;
}

/* The number of files that the pool was made for; 0: that follows from its size. */
static uint64_t wanted_files(const struct cm_resizing *z, const struct cm_geometry *was)
{
    const uint64_t tables = tables_of(was), buckets = was->record_buckets;
    struct cm_geometry of_old, of_new;
    if (cm_format_plan(z->was.pool_size, 0, tables, &of_old) == 0 &&
        cm_format_plan(z->opts.size, 0, tables, &of_new) == 0 &&
        (buckets == of_old.record_buckets ||
         /* more: asked for, or made for the files of a pool that became smaller */
         (buckets > of_old.record_buckets && of_new.record_buckets >= buckets)))
        return 0;
    return cm_format_max_files(was);
}

/* Plans the new pool, and chooses what goes there. Files of chosen blocks need records, too, and
 * kept files half of the records at most: else others would find none. */
static int plan(struct cm_resizing *z, struct cm_geometry *g)
{
    const struct cm_geometry *was = &z->old->media.geo;
    struct cm_geometry more;
    int e = cm_format_plan(z->opts.size, wanted_files(z, was), tables_of(was), g);
    if (e == CM_EINVAL) /* no room for so many files */
        e = cm_format_plan(z->opts.size, 0, tables_of(was), g);
    z->said = e != 0;
    if (e)
        return cm_refuse(z->opts.log, z->opts.log_ctx, e,
                         "pool size %llu: must be a multiple of %u between %llu and %llu",
                         (unsigned long long)z->opts.size, CM_BLOCK_SIZE,
                         (unsigned long long)cm_format_size_min(tables_of(was)),
                         (unsigned long long)CM_POOL_SIZE_MAX);
    cm_carry_choose(z, g->slots);
    const struct cm_carry_files files = cm_carry_files(z);
    const uint64_t wanted[2] = { 2 * files.kept, files.all };
    for (unsigned i = 0; i < 2; i++)
        if (wanted[i] > cm_format_max_files(g) &&
            cm_format_plan(z->opts.size, wanted[i], tables_of(was), &more) == 0) {
            *g = more;
            cm_carry_choose(z, g->slots);
        }
    if (z->chosen > 0)
        z->all = z->chosen * CM_BLOCK_SIZE;
    return 0;
}

/* ---- The new pool ---------------------------------------------------------------------------- */

/* What the superblock says of the pool's life is true of the copy, too. */
static int begin_super(struct cm_resizing *z)
{
    const struct cm_super *was = &z->was;
    struct cm_super *sb = &z->super;
    uint8_t uuid[16];
    uint64_t seed;
    int e = cm_plat_random(uuid, sizeof(uuid));
    if (e == 0)
        e = cm_plat_random(&seed, sizeof(seed));
    if (e)
        return e;
    cm_super_init(sb, &z->to.geo, uuid, seed, was->created_ns);
    sb->compat = was->compat;
    sb->epoch = was->epoch;
    sb->inc_mark = was->inc_mark;
    sb->state = was->state;
    sb->durability = was->durability;
    sb->boot_number = was->boot_number;
    sb->owner_pid = was->owner_pid;
    memcpy(sb->boot_id, was->boot_id, sizeof(sb->boot_id));
    memcpy(sb->mount_id, was->mount_id, sizeof(sb->mount_id));
    sb->failed_boot = was->failed_boot;
    sb->unnamed_boot = was->unnamed_boot;
    memcpy(sb->failed_boot_id, was->failed_boot_id, sizeof(sb->failed_boot_id));
    sb->torn_epoch = was->torn_epoch;
    sb->boot_first = was->boot_first;
    memcpy(sb->boot_before, was->boot_before, sizeof(sb->boot_before));
    z->sealing = z->old->sealing;
    memcpy(z->sealing.uuid, uuid, sizeof(uuid));
    z->to.seal = z->old->media.seal ? &z->sealing : NULL;
    z->to.hash_seed = seed;
    z->to.check_key = cm_format_check_key(uuid, sb->epoch);
    return 0;
}

/* Makes the file and maps it. The files are not told apart by mode or group until it gets its
 * name. */
static int make_file(struct cm_resizing *z, const char *made)
{
    enum cm_durability d;
    int e = cm_plat_file_create(&z->new_file, made, z->opts.size, !z->old->file.sparse, making, z);
    if (e == 0)
        e = cm_plat_file_map(&z->new_file, z->to.geo.data_align, &d);
    if (e)
        return e;
    z->to.base = z->to.stats = z->new_file.base;
    z->to.file = &z->new_file;
    z->to.ops = cm_persist_choose(d == CM_DURABILITY_DAX ? CM_FLUSH_LINES : CM_FLUSH_NONE);
    z->synced = d == CM_DURABILITY_PAGECACHE;
    e = cm_guard_add(z->to.base, (size_t)z->opts.size);
    z->guarded = e == 0;
    return e;
}

/* In pieces, because a slow volume takes long, and nobody can cancel one sync. */
static int sync_all(struct cm_resizing *z)
{
    for (uint64_t at = 0, n; at < z->opts.size; at += n) {
        const uint64_t left = z->opts.size - at;
        n = left < SYNC_BYTES ? left : SYNC_BYTES;
        if (cancelled(z))
            return CM_ECANCELED;
        const int e = cm_plat_file_sync(&z->new_file, at, n);
        if (e)
            return e;
    }
    return cancelled(z) ? CM_ECANCELED : cm_plat_file_sync(&z->new_file, 0, 0);
}

/* With DAX the stores of metadata are flushed here, all at once. Payload is copied past the
 * caches. */
static int settle(struct cm_resizing *z)
{
    const uint8_t *const base = z->to.base;
    int e = 0;
    for (uint64_t at = z->to.geo.record_offset; at < z->to.geo.slot_offset && e == 0;) {
        const uint64_t left = z->to.geo.slot_offset - at;
        const size_t n = left < FLUSH_BYTES ? (size_t)left : FLUSH_BYTES;
        e = cm_media_flush(&z->to, base + at, n);
        at += n;
    }
    cm_media_fence(&z->to); /* before the superblocks say that it is a pool */
    return e ? e : sync_all(z);
}

static int write_super(struct cm_resizing *z)
{
    struct cm_superblocks s = { .media = &z->to, .file = &z->new_file, .sync = z->synced };
    s.now = z->super;
    s.now.frontier = z->slots_used;
    if (z->unnamed || z->report->emptied)
        s.now.unnamed_boot = s.now.failed_boot;
    if (s.now.state == CM_SUPER_CLEAN && z->was.memo.generation != 0)
        s.now.memo.generation = CM_RESIZE_GENERATION; /* its hand begins with the first slot */
    int e = cm_super_format(&s);
    return e ? e : cm_plat_file_sync(&z->new_file, 0, z->to.geo.index_offset);
}

static int fill(struct cm_resizing *z, const char *made)
{
    cm_stats_data stats;
    int e = make_file(z, made);
    if (e == 0)
        e = begin_super(z);
    if (e == 0 && !z->report->emptied)
        e = cm_carry(z);
    if (e == 0 && cm_stats_sum(z->old->media.base, &stats) == 0)
        cm_stats_inherit(&z->to, stats.lifetime_pool_bytes + z->slots_used * CM_BLOCK_SIZE);
    if (e == 0)
        e = settle(z);
    if (e == 0)
        e = write_super(z);
    return e == CM_EIO && z->old->file.sparse ? CM_ENOSPC : e; /* a hole could not be filled */
}

/* ---- The exchange ---------------------------------------------------------------------------- */

/* Removes what a killed call has left. It was complete, so it is a pool. */
static int remove_left(struct cm_resizing *z, const char *made)
{
    cm_info info = CM_INFO_INIT;
    const int e = cm_pool_info(made, &info);
    if (e == CM_ENOENT)
        return 0;
    if (e == 0 && !info.owned) {
        cm_plat_file_remove(made);
        return 0;
    }
    return refuse(z, CM_EEXIST, made,
                  "is in the way: no left-over of a resize, or in use; move it away");
}

/* The old file has no name any more. A process that has opened it before may get its lock next. */
static void kill_old(struct cm_resizing *z)
{
    struct cm_superblocks s = { .media = &z->old->media };
    if (z->old->file.handle == -1)
        return;
    (void)cm_super_kill(&s);
    (void)cm_plat_file_sync(&z->old->file, 0, CM_STATS_OFFSET);
}

/* Readers may go on with the old pool, which nobody has changed: its lock is held. Not where the
 * new one may have its name, and so another owner: the answer of a server may be lost, and the
 * rename done. (Windows has closed the old file.) */
static void stay(const struct cm_resizing *z, int e, const char *path)
{
    if (z->old->file.handle != -1 && e != CM_EIO && cm_plat_file_is_at(&z->old->file, path))
        (void)cm_super_unshut(&z->old->super);
}

static int exchange(struct cm_resizing *z, const char *made, const char *path)
{
    bool replaced = false;
    cm_guard_remove(z->to.base);
    z->guarded = false;
    int e = cm_plat_file_link(&z->new_file, made);
    if (e) {
        cm_plat_file_abandon(&z->new_file, made);
        return e;
    }
    /* Before another owner may use the new one: readers that have the old one open serve nothing.
     */
    e = z->old->file.handle == -1 ? 0 : cm_super_shut(&z->old->super);
    if (e == 0)
        e = cm_plat_file_replace(&z->new_file, made, &z->old->file, path, &replaced);
    if (replaced)
        kill_old(z);
    cm_plat_file_close(&z->new_file);
    if (!replaced) {
        cm_plat_file_remove(made);
        stay(z, e, path);
    }
    return e;
}

/* The name of the new file. False: it is too long. (The engine has no strlen, because it also runs
 * without a C library.) */
static bool put_beside(char made[PLAT_PATH], const char *real)
{
    size_t n = 0;
    while (real[n])
        n++;
    if (n + sizeof(BESIDE) > PLAT_PATH)
        return false;
    memcpy(made, real, n);
    memcpy(made + n, BESIDE, sizeof(BESIDE));
    return true;
}

static int resize(struct cm_resizing *z, const char *path, char real[2 * PLAT_PATH])
{
    char *const made = real + PLAT_PATH;
    int e = cm_plat_real_path(path, real);
    if (e == 0 && !put_beside(made, real))
        e = CM_EINVAL;
    if (e)
        return refuse(z, e, path, cm_strerror(e));
    e = remove_left(z, made);
    if (e == 0 && cm_plat_is_mount_point(real)) /* before all is copied for nothing */
        e = CM_ENOTSUP;
    if (e == 0)
        e = cm_carry_look(z);
    if (e == 0)
        e = plan(z, &z->to.geo);
    if (e == 0) {
        cut_left(z);
        cm_media_lay_out(&z->to);
    }
    z->report->emptied = z->old->must_empty || z->older;
    if (e == 0)
        e = fill(z, made);
    /* What a seal could not judge is missing in the copy. */
    if ((e == 0 && cm_seal_failures(&z->old->sealing) != 0) || e == CM_ESEAL)
        e = refuse(z, CM_ESEAL, path, cm_strerror(CM_ESEAL));
    if (z->guarded && e)
        cm_guard_remove(z->to.base);
    if (e)
        cm_plat_file_abandon(&z->new_file, made);
    return e ? e : exchange(z, made, real);
}

/* Says why it fails, unless that was said, or the caller wanted it. `made`: the name of the new
 * file, which is gone again; NULL: it had none. */
static void say_end(const struct cm_resizing *z, int e, const char *path, const char *made)
{
    char why[PLAT_WHY] = "";
    if (e == 0 || e == CM_ECANCELED || z->said || !z->opts.log)
        return;
    if (made)
        cm_plat_file_not_made(made, z->opts.size, !z->old->file.sparse, e, why);
    (void)cm_refuse(z->opts.log, z->opts.log_ctx, e,
                    "%s: cannot be resized from %llu to %llu bytes: %s", path,
                    (unsigned long long)z->report->old_size, (unsigned long long)z->opts.size,
                    why[0]            ? why
                    : e == CM_EMOVED  ? "its path leads to another file by now"
                    : e == CM_ENOTSUP ? MOUNT_POINT
                                      : cm_strerror(e));
}

int cm_resize(const char *path, const cm_resize_options *opts, cm_resize_report *report)
{
    cm_resize_report r = { 0 };
    struct cm_resizing z = { .report = &r, .new_file = PLAT_FILE_INIT };
    if (!path || !opts || (report && !cm_can_give_result(report)))
        return CM_EINVAL;
    const int cancel = cm_plat_cancel_off();
    int e = take_options(&z, opts);
    if (e == 0)
        e = open_old(&z, path);
    if (z.old) {
        char *names = cm_cache_alloc(z.old, 2 * PLAT_PATH);
        if (e == 0)
            e = names ? resize(&z, path, names) : CM_ENOMEM;
        say_end(&z, e, path, names ? names + PLAT_PATH : NULL);
        cm_cache_free(z.old, names, 2 * PLAT_PATH);
        cm_carry_free(&z);
        cm_cache_destroy(z.old);
    }
    cm_plat_cancel_back(cancel);
    if (report)
        (void)cm_give_result(report, &r, sizeof(r));
    return e;
}
