/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_resize.c - "cachemax resize": gives a pool another size, and keeps what is cached.
 *
 * The library does it (cm_resize), or the mount that has the pool open. This file reads the size,
 * and says what stayed and what did not.
 */
#include "tool/control/control.h"
#include "tool/os.h"
#include "tool/seen.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RESIZE_KEY, RESIZE_OPTIONS };

static const struct tool_option resize_options[RESIZE_OPTIONS] = {
    [RESIZE_KEY] = { "key-file", 0, TOOL_NEEDS_ARG, "FILE", "the key of a sealed pool" },
};

/* Adds the room that a pinned file may need. */
static bool add_pinned(void *ctx, const cm_file_info *f)
{
    uint64_t *const bytes = ctx;

    if (f->keep && f->size != CM_SIZE_UNKNOWN)
        *bytes += (f->size + CM_BLOCK_SIZE - 1) / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    return true;
}

static int add_files(const char *pool, const cm_seal *seal, uint64_t *bytes)
{
    cm_file_info f = { .struct_size = sizeof(f) };
    cm_options options = CM_OPTIONS_INIT;
    cm_file_iter *it;
    cm_cache *cache;
    int rc;

    options.flags = CM_OPEN_READONLY;
    options.seal = seal;
    rc = cm_open(pool, &options, &cache);
    if (rc != 0)
        return rc;
    rc = cm_files_begin(cache, 0, &it);
    if (rc == 0) {
        while (cm_files_next(it, NULL, &f) == 0)
            (void)add_pinned(bytes, &f);
        cm_files_end(it);
    }
    (void)cm_close(cache);
    return rc;
}

/* Pins stay, also if they are more than can be pinned. */
static void print_pins(const char *pool, const cm_seal *seal)
{
    char all[TOOL_NUMBER_MAX], half[TOOL_NUMBER_MAX];
    cm_info info = CM_INFO_INIT;
    uint64_t bytes = 0, most;

    if (add_files(pool, seal, &bytes) == CM_EOWNED)
        (void)owner_files(pool, 0, add_pinned, &bytes);
    if (cm_pool_info(pool, &info) != 0)
        return;
    most = info.slots / 2 * CM_BLOCK_SIZE;
    if (bytes > most)
        (void)printf("  pinned files have %s, and half of the pool is %s: a part of them may be "
                     "dropped, and no more can be pinned; see 'cachemax unpin'\n",
                     tool_bytes(all, bytes), tool_bytes(half, most));
}

/* `seen` is from before: the new pool begins to count. */
static void print_hit_ratio(const struct seen *seen, uint64_t size)
{
    char observed[SEEN_TEXT] = "that is more than the estimates reach";
    unsigned own, other;
    const int64_t was = seen_curve_at(seen, seen->info.size, &own);
    const int64_t will_be = seen_curve_at(seen, size, &other);

    if (seen->info.size == 0)
        return;
    if (was < 0 || other < CM_CURVE_POINTS)
        seen_curve_text(seen, was < 0 ? own : other, observed);
    else if (size < seen->info.size)
        (void)snprintf(observed, sizeof(observed), "that is less than the estimates reach");
    if (was < 0)
        (void)printf("  hit ratio: unknown; %s\n", observed);
    else if (will_be < 0)
        (void)printf("  hit ratio: was %.1f %%, with the new size unknown; %s\n", (double)was / 1e4,
                     observed);
    else
        (void)printf("  hit ratio: was %.1f %%, about %.1f %% with the new size%s\n",
                     (double)was / 1e4, (double)will_be / 1e4,
                     size > seen->info.size ? ", once it is full" : "");
}

static void print_result(const char *pool, const cm_resize_options *o, const cm_resize_report *r,
                         const struct seen *seen)
{
    char now[TOOL_NUMBER_MAX], was[TOOL_NUMBER_MAX], kept[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX];
    const uint64_t stayed = r->blocks - r->no_room - r->damaged;

    (void)printf("%s: %s now, was %s\n", pool, tool_bytes(now, o->size),
                 tool_bytes(was, r->old_size));
    if (r->emptied) {
        (void)puts("  empty: its next use would have emptied it, because it was not closed before "
                   "the system stopped, or its superblock is older than the rest");
        return;
    }
    (void)printf("  kept %s of %s that were cached (%.2f %%)\n",
                 tool_bytes(kept, stayed * CM_BLOCK_SIZE),
                 tool_bytes(all, r->blocks * CM_BLOCK_SIZE),
                 r->blocks ? tool_share(stayed, r->blocks) : 100.0);
    if (r->no_room)
        (void)printf("  dropped %s that have no room; what was used most often stayed\n",
                     tool_bytes(kept, r->no_room * CM_BLOCK_SIZE));
    if (r->damaged)
        (void)printf("  dropped %" PRIu64 " blocks that were damaged\n", r->damaged);
    (void)printf("  knows %" PRIu64 " of %" PRIu64 " %s", r->files - r->files_lost, r->files,
                 r->files == 1 ? "file" : "files");
    if (r->kept_files)
        (void)printf(", %" PRIu64 " of them pinned", r->kept_files);
    (void)puts("");
    print_hit_ratio(seen, o->size);
    if (r->kept_files)
        print_pins(pool, o->seal);
}

static int no_space(const char *pool, uint64_t size, bool asked)
{
    char parent[1024], need[TOOL_NUMBER_MAX], space[TOOL_NUMBER_MAX], left[96] = "";
    struct os_volume volume;

    os_parent(pool, parent, sizeof(parent));
    if (os_volume(parent, &volume))
        (void)snprintf(left, sizeof(left), ", the volume has %s", tool_bytes(space, volume.free));
    tool_message(pool,
                 "not enough space: the new pool is made beside the old one and needs %s%s; "
                 "nothing was changed%s. Make room. Or, if the pool may be empty then, %sdelete it "
                 "and make it anew with 'cachemax create'%s",
                 tool_bytes(need, size), left,
                 asked ? ", and the mount goes on with the pool as it was" : "",
                 asked ? "unmount, " : "", asked ? ", and mount again" : "");
    return TOOL_FAILED;
}

/* A pool that is in use cannot get another size: says who uses it, and what to do. */
static int in_use(const char *pool, const char *size)
{
    cm_info info = CM_INFO_INIT;
    char *point = owner_mounted_at(pool), *where, *name;

    if (!point)
        return tool_pool_error(pool, CM_EOWNED, TOOL_OPENING);
    if (cm_pool_info(pool, &info) != 0)
        info.owner_pid = 0;
    where = malloc(TOOL_PRINTABLE_MAX(strlen(point)));
    name = malloc(TOOL_PRINTABLE_MAX(strlen(pool)));
    if (where && name)
        tool_message(tool_printable(name, pool),
                     "is in use by cachemax-mount (process %" PRIu32
                     ") at %s. Unmount it, resize, and mount it again with its options:\n"
                     "  fusermount3 -u '%s'\n"
                     "  cachemax resize '%s' %s\n"
                     "If a unit of systemd mounts it, 'systemctl stop' and 'systemctl start' that "
                     "unit instead. What is cached stays",
                     info.owner_pid, tool_printable(where, point), where, name, size);
    free(where);
    free(name);
    free(point);
    return TOOL_OWNED;
}

/* The mount's log names it, but this user may not read that. */
static int in_the_way(const char *pool)
{
    char *const real = os_real_path(pool);
    char *const name = real ? malloc(TOOL_PRINTABLE_MAX(strlen(real))) : NULL;

    tool_message(pool,
                 "%s.cachemax-resize is in the way: no left-over of a resize, or in use; move it "
                 "away",
                 name ? tool_printable(name, real) : pool);
    free(name);
    free(real);
    return TOOL_FAILED;
}

/* `asked`: the mount has said it, and its log says more. */
static int resize_error(const char *pool, int code, uint64_t size, bool asked)
{
    if (code == CM_ENOSPC)
        return no_space(pool, size, asked);
    if (code == CM_EFORGET && asked) {
        tool_message(pool, "its mount gave the pool up (see its log); it serves uncached until it "
                           "is unmounted and mounted again");
        return TOOL_FAILED;
    }
    if (code == CM_ECANCELED) {
        tool_message(pool,
                     asked ? "interrupted; the mount goes on with the pool as it was, unless it "
                             "was just ready: 'cachemax info' tells the size"
                           : "interrupted; the pool is as it was");
        os_end_interrupted();
    }
    if (code == CM_EMOVED) {
        tool_message(pool, "was replaced by another file meanwhile; that one was left untouched");
        return TOOL_FAILED;
    }
    if (code == CM_EEXIST)
        return asked ? in_the_way(pool) : TOOL_FAILED; /* the log's line says which file it is */
    return tool_pool_error(pool, code, TOOL_OPENING);
}

static int run_resize(const struct tool_args *args)
{
    struct tool_log log = { .pool = args->operand, .max_level = CM_LOG_WARNING };
    cm_resize_options options = CM_RESIZE_OPTIONS_INIT;
    cm_resize_report report = CM_RESIZE_REPORT_INIT;
    struct tool_progress progress;
    struct seen seen;
    bool asked;
    int rc;

    if (!args->more[0]) {
        tool_message(NULL, "'resize' needs the pool's new size, such as 8G");
        return TOOL_USAGE;
    }
    rc = tool_read_pool_size("SIZE", args->more[0], cm_pool_size_min(), &options.size);
    if (rc != TOOL_OK)
        return rc;
    rc = seen_read(args->operand, &seen);
    if (rc == 0 && seen.info.size == options.size) {
        (void)printf("%s: has that size already\n", args->operand);
        return tool_end_output(TOOL_OK);
    }
    rc = tool_take_key_of(args->value[RESIZE_KEY], args->operand, &options.seal);
    if (rc != TOOL_OK)
        return rc;
    options.progress = progress_step;
    options.progress_ctx = &progress;
    options.log = tool_log_line;
    options.log_ctx = &log;
    os_catch_interrupts();
    progress_begin(&progress, "resize", options.size, false);
    log.opening = true;
    rc = cm_resize(args->operand, &options, &report);
    asked = rc == CM_EOWNED;
    if (asked)
        rc = owner_resize(args->operand, &options, &report);
    if (rc == CM_EOWNED && owner_leaves(args->operand))
        rc = cm_resize(args->operand, &options, &report);
    if (asked)
        log.held[0] = '\0'; /* that it is in use */
    log.opening = false;
    progress_end(&progress);
    tool_print_held(&log, rc);
    if (rc == CM_EOWNED)
        return in_use(args->operand, args->more[0]);
    if (rc != 0)
        return resize_error(args->operand, rc, options.size, asked);
    print_result(args->operand, &options, &report, &seen);
    tool_drop_key();
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_resize = {
    .name = "resize",
    .operand = "POOL",
    .more = "SIZE",
    .more_max = 1,
    .summary = "Give a pool another size, and keep what is cached",
    .help =
        "SIZE is written as for 'create'. The mount that has the pool (cachemax-mount --pool)\n"
        "does it while it runs. A larger pool grows in its place, up to four times: reads hit\n"
        "meanwhile. For a smaller one programs read the origin until it is done. Stop a service\n"
        "first, and start it again afterwards.\n"
        "It says what stayed, and which hit ratio to expect ('cachemax advise' has all sizes).\n"
        "A smaller pool keeps pinned files first, then what was used most often. Pins, quotas\n"
        "and the names of files stay.\n"
        "A pool that nobody has open, or that becomes smaller, is made anew beside the old one,\n"
        "and takes its place at the end in one step. So the volume must have room for both.\n"
        "Whatever happens meanwhile, also a power cut, the pool is the whole old one or the whole\n"
        "new one.\n"
        "\n"
        "Examples:\n"
        "  cachemax resize /pmem/cache.pool 128G\n",
    .options = resize_options,
    .noptions = RESIZE_OPTIONS,
    .run = run_resize,
};
