/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cache.c - opens a pool, and releases what an open one holds (close.c closes it).
 *
 * Owns: struct cm_cache, and the order in which its parts come up and go down. Opening reads and
 * writes the superblocks and the stats page, and allocates lazily zeroed memory. It looks at no
 * block and at no table of the pool, so it takes the same time for any size; but for
 * CM_OPEN_PREFAULT and CM_OPEN_LOCK, which read all tables. With CM_OPEN_READONLY nothing is
 * written, and a reader of a shared pool has a stats page of its own.
 *
 * Who: users, through cachemax.h; api/, objects/. create.c makes pools, memory.c has the memory of
 * an open one, info.c tells about them, calls.c and file_calls.c have the calls on files.
 */
#include "api/cache.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/flight.h"
#include "protocol/checkpoint.h"
#include "protocol/evict.h"
#include "state/copy_choice.h"
#include "state/file_record.h"
#include "state/fill_choice.h"
#include "state/keep.h"
#include "state/policy_sample.h"
#include "state/quota.h"
#include "state/settle.h"
#include "state/shared.h"

/* ---- Options and messages -------------------------------------------------------------------- */

#define IN_MEMORY "pool in memory" /* its name in the log */
#define ANEW "delete it and make it anew"
#define WEAR_MAX 1000u
#define READ_SIZE_DEFAULT (UINT64_C(1) << 20)
#define READ_SIZE_MAX (UINT64_C(16) << 20)
#define JOIN_TIMEOUT_DEFAULT (UINT64_C(30) * 1000000000)

/* Writes a line to a log, which may be NULL. */
static void say(cm_log_fn log, void *ctx, int level, const char *format, va_list ap)
    __attribute__((format(printf, 4, 0)));
static void say(cm_log_fn log, void *ctx, int level, const char *format, va_list ap)
{
    char text[512];
    if (!log)
        return;
    (void)vsnprintf(text, sizeof(text), format, ap);
    int cancel = cm_plat_cancel_off();
    log(ctx, level, text);
    cm_plat_cancel_back(cancel);
}

int cm_refuse(cm_log_fn log, void *ctx, int code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    say(log, ctx, CM_LOG_ERROR, format, ap);
    va_end(ap);
    return code;
}

void cm_log(const struct cm_cache *c, int level, const char *format, ...)
{
    va_list ap;
    struct cm_callback frame;
    cm_callback_begin(c, &frame);
    va_start(ap, format);
    say(c->opts.log, c->opts.log_ctx, level, format, ap);
    va_end(ap);
    cm_callback_end(&frame);
}

static void *default_alloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return cm_plat_alloc(bytes);
}

static void default_free(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    cm_plat_free(p, bytes);
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Returns CM_EINVAL and logs what is wrong, or returns 0. */
static int check_options(const cm_options *o)
{
    const uint32_t known = CM_OPEN_READONLY | CM_OPEN_REQUIRE_DAX | CM_OPEN_NO_GUARD |
                           CM_OPEN_ANY_OWNER | CM_OPEN_PREFAULT | CM_OPEN_LOCK | CM_OPEN_SHARED |
                           CM_OPEN_NO_TUNING;
    if (o->flags & ~known)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.flags: 0x%x is unknown to this library (version %s)",
                         o->flags & ~known, cm_version());
    if (o->verify > CM_VERIFY_NEVER)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.verify: %u is no enum cm_verify", o->verify);
    if (!cm_policy_kind_of(o->policy))
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.policy: %u is unknown to this library (version %s)", o->policy,
                         cm_version());
    if (o->memory_durability > CM_DURABILITY_DAX)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.memory_durability: %u is not CM_DURABILITY_VOLATILE, "
                         "_PAGECACHE or _DAX",
                         o->memory_durability);
    if (o->grow_max > CM_POOL_SIZE_MAX)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.grow_max: %llu is more than a pool may have (%llu)",
                         (unsigned long long)o->grow_max, (unsigned long long)CM_POOL_SIZE_MAX);
    if ((o->flags & CM_OPEN_SHARED) && (o->flags & CM_OPEN_READONLY))
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.flags: CM_OPEN_SHARED serves blocks and CM_OPEN_READONLY does "
                         "not: take one of them");
    if (!o->alloc != !o->free)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options: alloc and free must be set together");
    if (o->wear_weight > WEAR_MAX)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.wear_weight: %u is more than %u", o->wear_weight, WEAR_MAX);
    if (o->read_size_max % CM_BLOCK_SIZE || o->read_size_max > READ_SIZE_MAX)
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.read_size_max: %llu is no multiple of 4096 up to %llu",
                         (unsigned long long)o->read_size_max, (unsigned long long)READ_SIZE_MAX);
    if (!cm_all_zero(o->reserved, 4))
        return cm_refuse(o->log, o->log_ctx, CM_EINVAL,
                         "cm_options.reserved is not zero: begin with CM_OPTIONS_INIT");
    return 0;
}

static int take_options(cm_options *o, const cm_options *opts)
{
    if (cm_take_options(o, sizeof(*o), opts))
        return cm_refuse(
            o->log, o->log_ctx, CM_EINVAL,
            "cm_options: an option is set that this library (version %s) does not know",
            cm_version());
    return check_options(o);
}

static int new_cache(const cm_options *opts, cm_cache **cache)
{
    cm_options o;
    int e = take_options(&o, opts);
    if (e)
        return e;
    if (!cm_policy_kind_of(o.policy)->buffer)
        o.probation_bytes = CM_PROBATION_NONE;
    if (!o.alloc) {
        o.alloc = default_alloc;
        o.free = default_free;
    }
    if (o.read_size_max == 0)
        o.read_size_max = READ_SIZE_DEFAULT;
    if (o.join_timeout_ns == 0)
        o.join_timeout_ns = JOIN_TIMEOUT_DEFAULT;
    if (o.flags & (CM_OPEN_READONLY | CM_OPEN_SHARED))
        o.grow_max = 0; /* they map what is there */
    cm_cache *c = o.alloc(o.alloc_ctx, sizeof(*c));
    if (!c) {
        (void)cm_refuse(o.log, o.log_ctx, CM_ENOMEM, "a pool cannot be opened: no memory");
        return CM_ENOMEM;
    }
    c->opts = o;
    c->rate.limit = o.fill_rate_limit;
    c->file = (struct cm_plat_file)PLAT_FILE_INIT;
    c->sealing.cache = c;
    c->sealing.failures = &c->seal_failures;
    e = cm_take_seal(&c->sealing.hooks, o.seal, o.log, o.log_ctx);
    if (e) {
        o.free(o.alloc_ctx, c, sizeof(*c));
        return e;
    }
    if (o.seal) /* the short ways to a hit trust what this session has judged before */
        c->opts.verify = CM_VERIFY_ALWAYS;
    c->readonly = (o.flags & CM_OPEN_READONLY) != 0;
    c->shared = (o.flags & CM_OPEN_SHARED) != 0;
    cm_plat_fork_look();
    c->fork_count = cm_plat_fork_count();
    c->boot_wall_ns = INT64_MAX;
    (void)cm_file_boot_wall(c);
    *cache = c;
    return 0;
}

void cm_cache_destroy(cm_cache *c)
{
    at_store_relaxed(&c->magic, 0u);
    if (c->flights)
        cm_buffers_free(c);
    cm_files_free(c);
    cm_keep_free(c);
    cm_quota_free(c);
    cm_cache_free_parts(c);
    if (c->guarded)
        cm_guard_remove(c->media.base);
    if (c->locked)
        cm_cache_unlock(c);
    cm_plat_file_close(&c->file);
    cm_options o = c->opts;
    o.free(o.alloc_ctx, c, sizeof(*c));
}

static int guard(cm_cache *c, uint64_t bytes, const char *what)
{
    if (c->opts.flags & CM_OPEN_NO_GUARD)
        return 0;
    int e = cm_guard_add(c->media.base, (size_t)bytes);
    c->guarded = e == 0;
    return cm_say_refused(c, what, "cannot be guarded against damaged pages", e);
}

static int load_super(cm_cache *c, const char *what, uint64_t bytes)
{
    struct cm_super sb;
    int e = cm_super_read_sealed(c->media.base, &c->sealing, &sb, &c->super.damaged);
    /* Behind the lock: else this would be the owner of a file that nobody else finds, beside the
     * owner of the path. */
    if (cm_file_replaced(&c->file, what))
        return CM_EMOVED; /* cm_open() looks again */
    if (e < 0) {
        cm_say_unusable(c, what, e);
        return e;
    }
    if (sb.incompat & CM_INCOMPAT_SEALED) {
        memcpy(c->sealing.uuid, sb.uuid, sizeof(c->sealing.uuid));
        c->media.seal = &c->sealing;
    }
    c->super.first = 1 - (unsigned)e;
    const uint64_t size = cm_format_size(&sb);
    /* Memory may be longer than a pool that may grow there. */
    if (c->file.handle != -1 || c->opts.grow_max == 0 || size > bytes)
        e = cm_format_size_is(&sb, size, bytes);
    if (e < 0 && c->shared && cm_file_length_changed(&c->file))
        return e; /* cm_open() looks again */
    if (e < 0) {
        cm_log(c, CM_LOG_ERROR, "%s: has %llu bytes, its superblock says %llu: %s", what,
               (unsigned long long)bytes, (unsigned long long)size,
               e == CM_EOVERSIZE ? "something was appended: cut it to that length, or " ANEW
                                 : "it was cut off, or copied in part: put the whole file back, "
                                   "or " ANEW);
        return e;
    }
    e = cm_format_geometry(&sb, &c->media.geo);
    if (e == 0 && !c->readonly && !c->shared && !cm_super_has_numbers(&sb))
        e = CM_EDAMAGED;
    if (e) {
        cm_log(c, CM_LOG_ERROR, "%s: its superblock contradicts itself: " ANEW, what);
        return e;
    }
    cm_media_lay_out(&c->media);
    if (c->super.damaged)
        cm_log(c, CM_LOG_WARNING, "%s: one superblock is torn or damaged, the other one serves",
               what);
    c->super.now = sb;
    c->super.open_mark = c->super.first_incarnation = c->super.next_incarnation = sb.inc_mark;
    c->super.media = &c->media;
    c->media.hash_seed = sb.hash_seed;
    c->media.check_key = cm_format_check_key(sb.uuid, sb.epoch);
    c->media.counted = !c->readonly && !c->shared;
    return 0;
}

/* What a checkpointed pool needs more: `last` is what the last owner left. */
static void begin_checkpointed(cm_cache *c, const struct cm_super *last)
{
    if (c->super.now.durability == CM_DURABILITY_CHECKPOINT)
        c->settling.on = CM_SETTLING_ON;
    if (last->state != CM_SUPER_CLEAN)
        cm_settle_found_killed(c);
    if (last->state != CM_SUPER_CLEAN && last->durability == CM_DURABILITY_CHECKPOINT &&
        last->boot_number != c->super.now.boot_number && !c->emptied)
        cm_log(c, CM_LOG_INFO,
               "%s: was not closed before the system or its volume went down: keeps what was "
               "checkpointed and not written since",
               c->name);
    c->torn = c->super.now.torn_epoch == c->super.now.epoch;
    if (c->torn && c->opts.verify == CM_VERIFY_NEVER) {
        c->opts.verify = CM_VERIFY_FIRST_HIT;
        cm_log(c, CM_LOG_INFO,
               "%s: a crash of the system may have torn blocks: each is verified at its first hit, "
               "also with CM_VERIFY_NEVER",
               c->name);
    }
}

#define NO_RANDOM "the system gives no random numbers"

static int say_not_taken(const cm_cache *c, const char *what, int e)
{
    char refuses[PLAT_WHY] = "";
    if (e == CM_EIO)
        cm_plat_refuses(refuses);
    cm_log(
        c, CM_LOG_ERROR,
        e == CM_ESEAL ? "%s: a callback of the seal failed; the pool was not changed: try again%s"
        : e == CM_ENOSPC ? "%s: cannot be opened: its volume is full (" CM_COPIES "). What is "
                           "cached stays: make room there and open it again%s"
        : c->super.sync && c->super.failed
            ? "%s: its volume cannot be written; the pool is void: delete it and create it anew%s"
            : "%s: superblock cannot be written. What is cached stays: try again, or replace the "
              "volume%s",
        what, refuses);
    return e;
}

/* Takes ownership: from here on the pool says that it is open. */
static int take_pool(cm_cache *c, enum cm_durability d, const char *what)
{
    struct cm_super_owner o = { .durability = d, .pid = cm_plat_pid() };
    cm_plat_boot_id(o.boot_id);
    if (c->file.handle != -1) {
        char volume[PLAT_VOLUME];
        cm_plat_mount_id(&c->file, o.mount_id);
        c->super.file = &c->file;
        o.syncs = c->sync_lasts = cm_plat_file_sync_lasts(&c->file, volume);
    } else {
        memset(o.mount_id, 0xff, sizeof(o.mount_id)); /* memory: always the same "volume" */
    }
    c->super.sync = d == CM_DURABILITY_PAGECACHE && c->super.file;
    c->must_empty = cm_super_must_empty(&c->super.now, &o);
    const struct cm_super last = c->super.now;
    if (c->readonly) {
        cm_super_count_boot(&c->super.now, &o);
        return 0;
    }
    uint8_t gap[CM_GAP_BYTES];
    int e = cm_say_refused(c, what, NO_RANDOM, cm_plat_random(gap, sizeof(gap)));
    if (e)
        return e;
    for (unsigned i = 0; i < sizeof(gap); i++)
        o.gap = o.gap << 8 | gap[i];
    e = cm_super_open(&c->super, &o, &c->emptied);
    if (e)
        return say_not_taken(c, what, e);
    if (c->file.handle != -1)
        cm_plat_file_say_taken(&c->file);
    if (c->emptied && !c->must_empty)
        cm_log(c, CM_LOG_WARNING, CM_LOST_PAGES, what);
    else if (c->emptied)
        cm_log(c, CM_LOG_WARNING,
               "%s: was not closed before the system or its volume went down, and the volume has "
               "no DAX: emptied",
               what);
    c->must_empty = false;
    begin_checkpointed(c, &last);
    cm_evict_begin(c, c->super.now.frontier);
    c->judged_key = cm_media_key(&c->media);
    cm_ghost_begin(&c->policy.ghost, c->media.geo.slots, c->policy.ghost.cell);
    cm_memo_begin(&c->memo, &c->media, &c->policy,
                  last.state == CM_SUPER_CLEAN ? &last.memo : NULL);
    cm_sample_begin(c, cm_policy_kind_of(c->opts.policy));
    cm_stats_begin(&c->media, o.pid, cm_plat_wall_ns());
    cm_keep_begin(c);
    cm_grow_take_back(c);
    return cm_say_refused(c, what, NO_RANDOM, cm_plat_random(&c->serial, sizeof(c->serial)));
}

/* Another process has the pool, or nobody: it is only read. */
static int share_pool(cm_cache *c)
{
    const struct cm_policy_kind *kind = cm_policy_kind_of(c->opts.policy);
    c->media.stats = c->stats;
    c->policy.ring.frontier = c->media.geo.slots;
    cm_policy_set_rule(&c->policy, &kind->rule[0]); /* nobody asks it; its counts are of no use */
    cm_stats_begin(&c->media, cm_plat_pid(), cm_plat_wall_ns());
    return cm_shared_begin(c);
}

/* The pool is mapped at media.base. */
static int open_mapped(cm_cache *c, uint64_t bytes, enum cm_durability d, const char *what)
{
    c->directly = d == CM_DURABILITY_DAX; /* also if the CPU's stores are not durable */
    c->media.ops = cm_persist_choose(d == CM_DURABILITY_DAX ? CM_FLUSH_LINES : CM_FLUSH_NONE);
    if (d == CM_DURABILITY_DAX && !c->media.ops->flushes)
        d = CM_DURABILITY_PAGECACHE; /* the CPU cannot write lines back: do not claim DAX */
    c->media.end = c->media.stats = c->media.base;
    if (c->shared)
        c->media.ops = cm_persist_readonly();
    int e = guard(c, bytes > c->opts.grow_max ? bytes : c->opts.grow_max, what);
    if (e == 0)
        e = load_super(c, what, bytes);
    if (e == 0 && (c->opts.flags & CM_OPEN_REQUIRE_DAX) && d != CM_DURABILITY_DAX) {
        cm_log(c, CM_LOG_ERROR,
               c->directly ? "%s: its volume has DAX, but this CPU cannot write cache lines back"
                           : "%s: its volume offers no DAX",
               what);
        e = CM_ENOTDAX;
    }
    if (e == 0 && !c->readonly)
        e = cm_say_refused(c, what, "no memory for the tables of an open pool",
                           cm_cache_alloc_parts(c));
    if (e == 0) {
        cm_end_begin(c);
        cm_copy_choice_begin(c, !(c->opts.flags & CM_OPEN_NO_TUNING));
        cm_fill_choice_begin(c, !(c->opts.flags & CM_OPEN_NO_TUNING));
    }
    if (e == 0)
        e = cm_cache_all_resident(c, what); /* before it is ours: if it fails, nothing changed */
    if (e == 0 && c->shared)
        e = share_pool(c);
    else if (e == 0)
        e = take_pool(c, d, what);
    if (e == 0)
        cm_say_guard(c);
    if (e == 0)
        c->magic = c->shared ? CM_CACHE_SHARED_MAGIC : CM_CACHE_MAGIC;
    return e;
}

/* Locks the pool, or logs who holds the lock. */
static int lock_pool(cm_cache *c, const char *path)
{
    int e = cm_plat_file_lock(&c->file);
    if (e == CM_EOWNED)
        cm_say_owner(c, path);
    else if (e == 0)
        cm_owner_has_gone(path);
    else
        (void)cm_say_refused(c, path, "cannot be locked", e);
    return e;
}

static void keep_name(cm_cache *c, const char *path)
{
    size_t length = 0, cut = 0;
    while (path[length])
        length++;
    if (length >= CM_NAME_MAX)
        for (cut = length - CM_NAME_MAX + 1; (path[cut] & 0xc0) == 0x80; cut++)
            ; /* not into the middle of a character */
    memcpy(c->name, path + cut, length - cut + 1);
}

/* Where the lock may hold on this host only, or in this view of the volume. */
static void say_elsewhere(const cm_cache *c, const char *path)
{
    char what[PLAT_VOLUME];
    if (!c->readonly && cm_plat_file_is_elsewhere(&c->file, what))
        cm_log(c, CM_LOG_WARNING,
               "%s: is on %s: whoever reaches it in another way (another host, a guest, the "
               "directory behind it) may see neither its lock nor what is stored, and serve wrong "
               "bytes. Open it through this mount only",
               path, what);
}

static int open_handle(cm_cache *c, const char *path, bool reads, char why[PLAT_WHY])
{
    const bool any = (c->opts.flags & (CM_OPEN_READONLY | CM_OPEN_ANY_OWNER)) != 0;
    return any ? cm_plat_file_open(&c->file, path, reads)
               : cm_plat_file_open_trusted(&c->file, path, reads, why);
}

/* A reader of a pool in layers must not map the file of which an owner will get a copy: it would
 * not see what the owner forgets. An open for writing makes the copy now. The lock of an owner says
 * that it is made. With CM_OPEN_READONLY no owner comes meanwhile. */
static int open_copied(cm_cache *c, const char *path, char why[PLAT_WHY])
{
    int e = open_handle(c, path, true, why);
    if (e || !c->shared || !cm_plat_file_is_layered(&c->file))
        return e;
    const bool owned = cm_plat_file_is_locked(&c->file) == 1;
    cm_plat_file_close(&c->file);
    if (!owned)
        e = open_handle(c, path, false, why);
    cm_plat_file_close(&c->file);
    if (e == CM_EACCES) {
        (void)snprintf(
            why, PLAT_WHY,
            "is in a layer of an overlay, and cannot be opened for writing here (no right "
            "to it, or a mount for reading): a reader would go on with the old file when "
            "an owner opens it, which makes a copy. Open it after its owner, or put the "
            "pool on a volume without layers");
        return CM_ENOTSUP;
    }
    return e ? e : open_handle(c, path, true, why);
}

static int open_file(cm_cache *c, const char *path)
{
    enum cm_durability d;
    char why[PLAT_WHY] = "";
    const bool reads = (c->opts.flags & (CM_OPEN_READONLY | CM_OPEN_SHARED)) != 0;
    keep_name(c, path);
    int e = reads ? open_copied(c, path, why) : open_handle(c, path, false, why);
    if (e == CM_EMOVED)
        return e; /* cm_open() looks again */
    if (e == CM_EINVAL && !why[0])
        cm_log(c, CM_LOG_ERROR, CM_WRONG_PATH, path);
    else if (e)
        cm_log(c, CM_LOG_ERROR, "%s: %s", path, why[0] ? why : cm_strerror(e));
    if (e == 0 && cm_file_too_small(&c->file)) {
        e = cm_judge_small_file(&c->file);
        cm_log(c, CM_LOG_ERROR,
               c->file.size > 0 ? "%s: %s"
                                : "%s: %s: the file is empty (0 bytes). A pool is cut to that when "
                                  "its volume fails; delete it and make it anew",
               path, cm_strerror(e));
    }
    if (e == 0 && !c->shared) /* a reader keeps no owner out */
        e = lock_pool(c, path);
    c->file.room = c->opts.grow_max;
    if (e == 0)
        say_elsewhere(c, path);
    if (e == 0)
        e = cm_say_refused(
            c, path, "cannot be mapped",
            cm_plat_file_map(&c->file, c->file.size >= UINT64_C(1) << 30 ? UINT64_C(2) << 20 : 4096,
                             &d));
    if (e)
        return e;
    c->media.base = c->file.base;
    c->media.file = &c->file;
    return open_mapped(c, c->file.size, d, path);
}

static int open_once(const char *path, const cm_options *opts, bool unchanged, cm_cache **cache,
                     bool *again)
{
    cm_cache *c;
    int e = new_cache(opts, &c);
    *again = false;
    if (e)
        return e;
    c->readonly = c->readonly || unchanged;
    e = open_file(c, path);
    if (e == 0) {
        *cache = c;
        return 0;
    }
    /* Beside a growth it may only seem to be cut off: the file became longer, or the new part began
     * to count after the superblock was loaded. */
    *again = e == CM_EMOVED || (e == CM_ENOTPOOL && cm_file_replaced(&c->file, path)) ||
             (c->shared &&
              (cm_file_length_changed(&c->file) || (e == CM_ETRUNCATED && c->super.media != NULL)));
    cm_cache_destroy(c);
    return e;
}

/* The last look. Such a look writes no line, because mostly the next one finds a pool. */
static int say_changing(const char *path, const cm_options *opts, int e)
{
    cm_options o;
    if (take_options(&o, opts)) /* they were taken at each look */
        return e;
    return cm_refuse(o.log, o.log_ctx, e,
                     "%s: at each of %u looks it was another file, or had another length. If it is "
                     "a pool that is resized, grows or is made anew, try again",
                     path, (unsigned)CM_LOOKS);
}

static int open_path(const char *path, const cm_options *opts, bool unchanged, cm_cache **cache)
{
    bool again = true;
    int e = 0;
    for (unsigned i = 0; again && i < CM_LOOKS; i++)
        e = open_once(path, opts, unchanged, cache, &again);
    return again ? say_changing(path, opts, e) : e;
}

int cm_open(const char *path, const cm_options *opts, cm_cache **cache)
{
    return path && cache ? open_path(path, opts, false, cache) : CM_EINVAL;
}

int cm_open_unchanged(const char *path, const cm_options *opts, cm_cache **cache)
{
    return open_path(path, opts, true, cache);
}

int cm_open_memory(void *base, uint64_t bytes, const cm_options *opts, cm_cache **cache)
{
    cm_cache *c;
    if (!base || !cache || (uintptr_t)base % CM_BLOCK_SIZE ||
        bytes < CM_STATS_OFFSET + CM_STATS_BYTES)
        return CM_EINVAL;
    int e = new_cache(opts, &c);
    if (e)
        return e;
    enum cm_durability d = c->opts.memory_durability ? (enum cm_durability)c->opts.memory_durability
                                                     : CM_DURABILITY_VOLATILE;
    c->media.base = base;
    memcpy(c->name, IN_MEMORY, sizeof(IN_MEMORY));
    if (c->opts.grow_max > bytes)
        bytes = c->opts.grow_max;
    e = open_mapped(c, bytes, d, IN_MEMORY);
    if (e)
        cm_cache_destroy(c);
    else
        *cache = c;
    return e;
}
