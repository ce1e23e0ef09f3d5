/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_resize.c - "cachemax resize": gives a pool another size, and keeps what is cached.
 *
 * The library does it (cm_resize), or the mount that has the pool open. If that mount ends in the
 * middle, the pool tells whether it has grown; if it has not, the library does it then. This file
 * reads the size, and says what stayed and what did not.
 *
 * Who: main.c, by its table of commands.
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

/* Of all pinned files. */
struct pins {
    uint64_t bytes;  /* the room that they may need */
    uint64_t cached; /* if it was counted */
};

static bool add_pinned(void *ctx, const cm_file_info *f)
{
    struct pins *const p = ctx;

    if (f->keep && f->size != CM_SIZE_UNKNOWN)
        p->bytes += in_blocks(f->size);
    if (f->keep && f->cached_bytes != CM_SIZE_UNKNOWN)
        p->cached += f->cached_bytes;
    return true;
}

/* In steps: until it is interrupted, which a large file table would hold up. */
static int add_files(const char *pool, const cm_seal *seal, uint32_t flags, struct pins *p)
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
    rc = cm_files_begin(cache, flags | CM_FILES_STEPS, &it);
    if (rc == 0) {
        for (int e = CM_EBUSY; (e == 0 || e == CM_EBUSY) && !os_interrupted();)
            if ((e = cm_files_next(it, NULL, &f)) == 0)
                (void)add_pinned(p, &f);
        cm_files_end(it);
    }
    (void)cm_close(cache);
    return rc;
}

static struct pins look_at_pins(const char *pool, const cm_seal *seal, uint32_t flags)
{
    struct pins p = { 0, 0 };

    if (add_files(pool, seal, flags, &p) == CM_EOWNED)
        (void)owner_files(pool, flags, add_pinned, &p);
    if (os_interrupted()) /* the pool has its new size, which was said */
        os_end_interrupted();
    return p;
}

/* Pins stay, also if they are more than can be pinned. */
static void print_pins(const char *pool, const cm_seal *seal)
{
    char all[TOOL_NUMBER_MAX], half[TOOL_NUMBER_MAX], cached[TOOL_NUMBER_MAX];
    cm_info info = CM_INFO_INIT;
    struct pins p = look_at_pins(pool, seal, 0);
    uint64_t most;

    if (cm_pool_info(pool, &info) != 0)
        return;
    most = info.slots / 2 * CM_BLOCK_SIZE;
    if (p.bytes <= most)
        return;
    p = look_at_pins(pool, seal, CM_FILES_COUNT); /* reads more, so only now */
    (void)printf("  pinned files have %s, of which %s are cached, and half of the pool is %s: a "
                 "part of them may be dropped, and no more can be pinned; see 'cachemax unpin'\n",
                 tool_bytes(all, p.bytes), tool_bytes(cached, p.cached), tool_bytes(half, most));
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
        (void)printf("  hit ratio: unknown; %s; an estimate needs more\n", observed);
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

    tool_print(stdout, pool);
    (void)printf(": %s now, was %s\n", tool_bytes(now, o->size), tool_bytes(was, r->old_size));
    if (r->emptied) {
        (void)puts("  empty: what it held did not count any more, because it was not closed before "
                   "the system stopped, its volume lost what was written, or its superblock is "
                   "older than the rest");
        return;
    }
    if (r->blocks)
        (void)printf("  kept %s of %s that were cached (%.2f %%)\n",
                     tool_bytes(kept, stayed * CM_BLOCK_SIZE),
                     tool_bytes(all, r->blocks * CM_BLOCK_SIZE), tool_share(stayed, r->blocks));
    else
        (void)puts("  nothing was cached");
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

/* ", the volume has 1 GiB: 2 GiB are missing"; "" if the volume does not say. *has: what it has. */
static void say_volume(char *text, size_t n, const char *pool, uint64_t needs, uint64_t *has)
{
    char parent[1024], space[TOOL_NUMBER_MAX], less[TOOL_NUMBER_MAX];
    char *const real = os_real_path(pool);
    struct os_volume volume;

    text[0] = '\0';
    *has = UINT64_MAX;
    os_parent(real ? real : pool, parent, sizeof(parent));
    free(real);
    if (!os_volume(parent, &volume))
        return;
    *has = volume.free;
    if (volume.free < needs)
        (void)snprintf(text, n, ", the volume has %s: %s are missing",
                       tool_bytes(space, volume.free), tool_bytes(less, needs - volume.free));
    else
        (void)snprintf(text, n, ", the volume has %s (a quota or 'ulimit -f' may allow less)",
                       tool_bytes(space, volume.free));
}

/* How the command went. */
struct course {
    struct owner_resizing owner;
    struct seen seen; /* the pool as it was */
    uint64_t size;    /* wanted */
    bool asked;       /* the mount has said how it ended */
    bool ended;       /* or it has not, and does not have the pool any more */
};

/* What can be done but make room. `less`: another size may do. */
static const char *or_else(const struct course *w, bool less)
{
    return less ? ", or choose a smaller size"
           : w->asked
               ? ". Or, if the pool may be empty then, unmount, delete it and make it anew with "
                 "'cachemax create', and mount again"
               : ". Or, if the pool may be empty then, delete it and make it anew with 'cachemax "
                 "create'";
}

static const char *begun(const struct course *w)
{
    return w->ended ? "its mount has ended before it was done, and now " : "";
}

static const char *goes_on(const struct course *w)
{
    return w->asked ? ", and the mount goes on with the pool as it was" : "";
}

static int no_space_in_place(const char *pool, const struct course *w)
{
    char need[TOOL_NUMBER_MAX], left[128];
    const uint64_t needs = w->size - w->seen.info.size;
    uint64_t has;

    say_volume(left, sizeof(left), pool, needs, &has);
    tool_message(pool,
                 "not enough space: the pool grows in its place and needs %s more%s; nothing was "
                 "changed%s. Make room%s",
                 tool_bytes(need, needs), left, goes_on(w), or_else(w, true));
    return TOOL_FAILED;
}

/* A sparse pool needs room only for what is stored, and nobody knows exactly how much that will be.
 * It is no more than the new size. */
static int no_space_sparse(const char *pool, const struct course *w, uint64_t takes)
{
    char need[TOOL_NUMBER_MAX], left[128];
    const bool all = w->size < takes; /* of the new pool */
    const bool in_place = w->asked && w->owner.in_place;
    const uint64_t index = w->size / 256; /* 0.4 %, as docs/control.md says */
    uint64_t has;

    say_volume(left, sizeof(left), pool, in_place ? index : 0, &has);
    if (in_place)
        tool_message(pool,
                     "not enough space: the pool grows in its place and needs room for its new "
                     "index, about %s (the pool is sparse)%s; nothing was changed%s. Make room",
                     tool_bytes(need, index), left, goes_on(w));
    else
        tool_message(pool,
                     "not enough space: %sthe new pool is made beside the old one and needs room "
                     "for what is stored, about %s (the pool is sparse)%s; nothing was changed%s. "
                     "Make room%s",
                     begun(w), tool_bytes(need, all ? w->size : takes), left, goes_on(w),
                     or_else(w, all));
    return TOOL_FAILED;
}

static int no_space(const char *pool, const struct course *w)
{
    char need[TOOL_NUMBER_MAX], left[128];
    const uint64_t was = w->seen.info.size;
    uint64_t has, takes;

    if (os_is_sparse(pool, &takes))
        return no_space_sparse(pool, w, takes);
    if (w->asked && w->owner.in_place)
        return no_space_in_place(pool, w);
    say_volume(left, sizeof(left), pool, w->size, &has);
    tool_message(pool,
                 "not enough space: %sthe new pool is made beside the old one and needs %s%s; "
                 "nothing was changed%s. Make room%s",
                 begun(w), tool_bytes(need, w->size), left, goes_on(w),
                 or_else(w, was < w->size && has < w->size - was));
    return TOOL_FAILED;
}

static int was_moved(const char *pool)
{
    owner_say_moved(pool, "resize the pool where it is now, and mount with that path");
    return TOOL_FAILED;
}

/* A pool that is in use cannot get another size: says who uses it, and what to do. */
static int in_use(const char *pool, const char *size)
{
    cm_info info = CM_INFO_INIT;
    char *point = owner_mounted_at(pool), program[OS_PROGRAM] = "";

    if (cm_pool_info(pool, &info) != 0)
        info.owner_pid = 0;
    os_program(info.owner_pid, program);
    if (!point && owner_moved(info.owner_pid))
        return was_moved(pool);
    /* A mount whose pool was moved away still has its path. */
    if (!point || (program[0] && strcmp(program, "cachemax-mount") != 0)) {
        free(point);
        return tool_pool_error(pool, CM_EOWNED, TOOL_OPENING);
    }
    tool_message(pool,
                 "is in use by cachemax-mount (process %" PRIu32
                 ") at %s. Unmount it, resize, and mount it again with its options:",
                 info.owner_pid, point);
    (void)fputs("  fusermount3 -u '", stderr);
    tool_print(stderr, point);
    (void)fputs("'\n  cachemax resize '", stderr);
    tool_print(stderr, pool);
    (void)fputs("' ", stderr);
    tool_print(stderr, size);
    (void)fputs(
        "\nIf a unit of systemd mounts it, 'systemctl stop' and 'systemctl start' that unit "
        "instead. What is cached stays\n",
        stderr);
    free(point);
    return TOOL_OWNED;
}

/* The mount's log names it, but this user may not read that. */
static int in_the_way(const char *pool)
{
    char *const real = os_real_path(pool);

    tool_message(pool,
                 "%s.cachemax-resize is in the way: no left-over of a resize, or in use; move it "
                 "away",
                 real ? real : "POOL");
    free(real);
    return TOOL_FAILED;
}

/* The mount did not say how it ended, and it still has the pool. */
static int not_known(const char *pool)
{
    tool_message(pool,
                 "its mount has ended the connection, and still has the pool: it may be at work. "
                 "'cachemax info' tells the size; run this command again if it is the old one");
    return TOOL_FAILED;
}

static void interrupted(const char *pool, const struct course *w)
{
    tool_message(pool, !w->asked ? "interrupted; the pool is as it was"
                       : w->owner.in_place
                           ? "interrupted; if the mount has begun to let the pool grow, "
                             "it goes on: 'cachemax info' tells the size"
                           : "interrupted; the mount goes on with the pool as it was, "
                             "unless it was just ready: 'cachemax info' tells the size");
    os_end_interrupted();
}

/* The pool may be its user's, and its directory another one's. */
static bool directory_refuses(const char *pool)
{
    char *const real = os_real_path(pool);
    char parent[CONTROL_PATH_MAX];
    bool refuses = false;

    if (real) {
        os_parent(real, parent, sizeof(parent));
        refuses = os_may_write(real) && os_is_directory(parent) && !os_may_write(parent);
    }
    if (refuses)
        tool_message(pool,
                     "%s may not be written by this user, and the new pool is made there, beside "
                     "the old one; have the owner of that directory allow it",
                     parent);
    free(real);
    return refuses;
}

/* If the mount was asked, its log says more. */
static int resize_error(const char *pool, int code, const struct course *w)
{
    if (code == CM_ENOSPC)
        return no_space(pool, w);
    if (code == CM_EACCES && directory_refuses(pool))
        return TOOL_FAILED;
    if (code == CM_EFORGET && w->asked) {
        tool_message(pool, "its mount gave the pool up (see its log); it serves uncached until it "
                           "is unmounted and mounted again");
        return TOOL_FAILED;
    }
    if (code == CM_ECANCELED)
        interrupted(pool, w);
    if (code == CM_EMOVED && w->owner.moved)
        return was_moved(pool);
    if (code == CM_EMOVED) {
        tool_message(pool, "was replaced by another file meanwhile; that one was left untouched");
        return TOOL_FAILED;
    }
    if (code == CM_ENOTSUP) {
        if (w->asked)
            tool_message(pool, "for its mount the pool's path is a mount point (a file that a "
                               "container was given, say), so no other file can take its place; "
                               "end the mount, and resize the pool under its own path");
        return TOOL_FAILED; /* without a mount the log's line says it */
    }
    if (code == CM_EEXIST) /* without a mount the log's line says which file it is */
        return w->asked ? in_the_way(pool) : TOOL_FAILED;
    return tool_pool_error(pool, code, TOOL_OPENING);
}

/* Shows that the mount works. */
static void say_course(const struct owner_resizing *o)
{
    tool_print(stdout, o->pool);
    (void)printf(": %s\n",
                 o->in_place
                     ? "its mount lets it grow in its place, if it can; it stays in use"
                     : "its mount makes it anew; programs read the origin until it is done");
    (void)fflush(stdout);
}

static bool has_size(const char *pool, uint64_t size)
{
    cm_info info = CM_INFO_INIT;

    return cm_pool_info(pool, &info) == 0 && info.size == size;
}

/* The mount has ended. Root does it as the user of the pool, who trusts it. */
static int without_owner(const char *pool, const cm_resize_options *options,
                         cm_resize_report *report)
{
    const bool acts = os_act_as_owner(pool);
    const int rc = cm_resize(pool, options, report);

    if (acts)
        os_act_end();
    return rc;
}

/* The mount that has the pool does it. If it ends before it says how that went, the pool tells
 * whether it has grown. If it has not, it is as it was, and nobody has it open. */
static int by_owner(const char *pool, const cm_resize_options *options, cm_resize_report *report,
                    struct course *w)
{
    int rc;

    w->owner.pool = pool;
    w->owner.on_course = say_course;
    w->asked = true;
    rc = owner_resize(pool, options, report, &w->owner);
    if (rc != CM_EOWNED)
        return rc;
    if (w->owner.lost) {
        tool_print(stdout, pool);
        (void)puts(": its mount has ended the connection; this waits for its end");
        (void)fflush(stdout);
    }
    w->ended = owner_leaves(pool, w->owner.lost ? OWNER_WORK_SECONDS : OWNER_LEAVE_SECONDS);
    if (has_size(pool, options->size)) {
        w->ended = true;
        return 0;
    }
    if (os_interrupted())
        return CM_ECANCELED;
    w->asked = !w->ended;
    return w->ended ? without_owner(pool, options, report) : CM_EOWNED;
}

/* All that is known if the mount has ended before it said more. */
static void print_short(const char *pool, const struct course *w)
{
    char now[TOOL_NUMBER_MAX], was[TOOL_NUMBER_MAX];

    tool_print(stdout, pool);
    (void)printf(": %s now, was %s\n", tool_bytes(now, w->size),
                 tool_bytes(was, w->seen.info.size));
    (void)puts("  kept what was cached: its mount gave it this size, and has ended since");
    print_hit_ratio(&w->seen, w->size);
}

static int resize(const struct tool_args *args, const cm_resize_options *asked, struct course *w)
{
    cm_resize_options options = *asked;
    struct tool_log log = { .pool = args->operand, .max_level = CM_LOG_WARNING };
    cm_resize_report report = CM_RESIZE_REPORT_INIT;
    struct tool_progress progress;
    int rc;

    options.progress = progress_step;
    options.progress_ctx = &progress;
    options.log = tool_log_line;
    options.log_ctx = &log;
    progress_begin(&progress, "resize", options.size, false);
    log.opening = true;
    rc = owner_is_asked(args->operand) ? CM_EOWNED : cm_resize(args->operand, &options, &report);
    if (rc == CM_EOWNED) {
        log.held[0] = '\0'; /* that it is in use */
        rc = by_owner(args->operand, &options, &report, w);
    }
    log.opening = false;
    progress_end(&progress);
    if (rc == CM_EMOVED)
        log.held[0] = '\0'; /* resize_error() says it */
    tool_print_held(&log, rc);
    if (rc == CM_EOWNED)
        return w->owner.lost ? not_known(args->operand) : in_use(args->operand, args->more[0]);
    if (rc != 0)
        return resize_error(args->operand, rc, w);
    if (w->ended && w->asked)
        print_short(args->operand, w);
    else
        print_result(args->operand, &options, &report, &w->seen);
    if (w->ended && !w->asked)
        (void)puts("  its mount has ended before it was done, so it was done without it");
    return TOOL_OK;
}

static int run_resize(const struct tool_args *args)
{
    cm_resize_options options = CM_RESIZE_OPTIONS_INIT;
    struct course w = { .asked = false };
    int rc;

    if (!args->more[0]) {
        tool_message(NULL, "'resize' needs the pool's new size, such as 8G");
        return TOOL_USAGE;
    }
    rc = tool_read_pool_size("SIZE", args->more[0], cm_pool_size_min(), &options.size);
    if (rc != TOOL_OK)
        return rc;
    w.size = options.size;
    rc = seen_read(args->operand, &w.seen);
    if (rc == 0 && w.seen.info.size == options.size) {
        tool_print(stdout, args->operand);
        (void)puts(": has that size already");
        return tool_end_output(TOOL_OK);
    }
    rc = tool_take_key_of(args->value[RESIZE_KEY], args->operand, &options.seal);
    if (rc != TOOL_OK)
        return rc;
    os_catch_interrupts();
    rc = resize(args, &options, &w);
    tool_drop_key();
    if (rc != TOOL_OK || (fflush(stdout) == 0 && !ferror(stdout)))
        return rc;
    tool_message(args->operand, "the pool was resized, but standard output cannot be written");
    return TOOL_FAILED;
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
        "first, and start it again afterwards. If the mount ends meanwhile, the pool has grown, "
        "or\n"
        "this command goes on with it.\n"
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
