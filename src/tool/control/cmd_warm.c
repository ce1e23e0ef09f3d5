/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_warm.c - "cachemax warm": a running mount reads files into its pool ahead of use. "cachemax
 * pin": the same, and they stay there.
 *
 * The mount reads the origin, one file at a time, and says how far it is. If this process ends, the
 * mount stops. The mount keeps to the rate within a file, this process from file to file.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/control/warm_result.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The last two are warm's alone. */
enum {
    WARM_RATE,
    WARM_LIST,
    WARM_QUIET,
    WARM_JSON,
    PIN_OPTIONS,
    WARM_TRACE = PIN_OPTIONS,
    WARM_VERIFY,
    WARM_OPTIONS
};

static const struct tool_option warm_options[WARM_OPTIONS] = {
    [WARM_RATE] = { "rate", 'r', TOOL_NEEDS_ARG, "BYTES",
                    "read at most so much in a second, such as 20M (default: no limit)" },
    [WARM_LIST] = { "list", 'l', TOOL_NEEDS_ARG, "FILE",
                    "also the paths in FILE, one in a line; -: standard input" },
    [WARM_QUIET] = { "quiet", 'q', TOOL_NO_ARG, NULL, "no progress, and nothing if all went well" },
    [WARM_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
    [WARM_TRACE] = { "trace", 't', TOOL_NEEDS_ARG, "TRACE",
                     "what TRACE reads, which 'cachemax record' has made" },
    [WARM_VERIFY] = { "verify", 'v', TOOL_NO_ARG, NULL,
                      "also compare what is cached with the files; what is wrong is read anew" },
};

static int on_at(struct sweep *s, uint64_t done, uint64_t total)
{
    struct warm *w = s->ctx;

    (void)total;
    return progress_step(&w->progress, w->passed + done, w->total);
}

static void add(struct warm *w, struct some *to, const struct control_limit *limit)
{
    to->files++;
    if (!limit->most)
        return;
    to->limited++;
    if (!w->limit.most)
        w->limit = *limit;
    w->limits |= strcmp(w->limit.path, limit->path) != 0;
}

/* The others may lie elsewhere: the pool is not full. */
static bool is_limited(const struct sweep *s)
{
    return s->limit.most &&
           (s->end.code == CM_NOT_STORED_ROOM || s->end.code == CM_NOT_STORED_QUOTA);
}

static void complain_of_size(struct warm *w, const struct sweep *s, const struct control_file *file)
{
    char bytes[TOOL_NUMBER_MAX];

    progress_end(&w->progress);
    tool_message(file->path, "is larger than its quota, %s for %s, and cached in part",
                 tool_bytes(bytes, s->limit.most), s->limit.path);
}

/* `file` is cached in part. */
static void add_file(struct warm *w, struct some *to, const struct sweep *s,
                     const struct control_file *file)
{
    add(w, to, &s->limit);
    if (s->limit.most && file->size > s->limit.most)
        complain_of_size(w, s, file);
}

/* A file was compared. Pages that the kernel has of it may be as wrong as the pool was. */
static void add_comparison(struct warm *w, const struct sweep *s, const struct control_file *file)
{
    char bytes[TOOL_NUMBER_MAX];

    w->compared.verified += s->verified;
    w->compared.differed += s->differed;
    w->compared.undecided += s->undecided;
    if (s->differed || s->undecided)
        os_drop_pages(file->path);
    w->compared.files += s->differed > 0;
    if (s->differed)
        progress_end(&w->progress);
    if (s->differed)
        tool_message(file->path,
                     "%s of it in the pool were not what the file has; they are forgotten, and the "
                     "next read gives the file's",
                     tool_bytes(bytes, s->differed));
}

/* A file that was not compared, and so not warmed: what is cached of it is not known. */
static bool add_uncompared(struct warm *w, const struct sweep *s, struct control_file *file)
{
    const bool shared = s->end.code == CONTROL_NOT_OURS;

    if (!shared && (s->end.code != CM_ENOTSUP || s->left_out))
        return false;
    file->apart = true;
    w->compared.shared += shared;
    w->compared.unable += !shared; /* or the mount is older */
    w->compared.bytes += file->size;
    w->passed += file->size;
    return true;
}

/* Does the pool push out what was warmed first? A pool that has room does not, and after the last
 * file nothing more can be left out. */
static bool first_leave(struct warm *w, struct control_file *file, uint64_t stored)
{
    if (w->files == w->first.all->n || !files_first_leave(&w->first, file, stored))
        return false;
    if (!warm_has_room(&w->first.all->mounts[file->mount]))
        return true;
    files_first_anew(&w->first);
    return false;
}

static int on_done(struct sweep *s, struct control_file *file)
{
    static const struct control_limit none = { .most = 0 };
    struct warm *w = s->ctx;
    const int code = s->end.code;
    const bool limited = is_limited(s);

    if (w->verify && add_uncompared(w, s, file))
        return progress_step(&w->progress, w->passed, w->total);
    if (w->verify)
        add_comparison(w, s, file);
    w->met_limit |= s->limit.most > 0;
    file->whole = code == 0;
    w->files++;
    w->passed += file->size;
    w->cached += s->cached;
    w->stored += s->stored;
    w->read += s->read;
    if (!limited &&
        (code == CM_NOT_STORED_ROOM || code == CM_NOT_STORED_MODE || code == CM_ECANCELED)) {
        w->full = code;
        add(w, &w->partly, &none);
        return 1;
    }
    if (code == CM_EKEEP && s->room > 0 && file->size <= s->room) {
        w->crowded++;              /* it has the room: others have the records */
    } else if (code == CM_EKEEP) { /* a smaller one may fit */
        w->refused++;
        w->refused_bytes += file->size;
        w->room = s->room;
        w->most = s->pinned_max;
    }
    if (w->pin && code == CM_NOT_RECORDED)
        w->unrecorded++;
    else if (code > 0 && !limited && !w->why)
        w->why = code;
    if (limited) {
        add_file(w, &w->partly, s, file);
    } else if (code > 0 || code == CM_EKEEP || code == CM_EMOVED) { /* it is written all the time */
        add(w, &w->partly, &none);
    } else if (s->left_out) {
        w->left_out++;
    } else if (code < 0) {
        w->failed++;
        progress_end(&w->progress);
        files_complain(file, &s->end);
    }
    if (!w->pin && !w->verify && /* pinned files stay, and a comparison goes on */
        first_leave(w, file, s->limit.most ? 0 : s->stored)) {
        w->full = CM_NOT_STORED_ROOM;
        return 1;
    }
    progress_keep_to_rate(&w->progress, w->rate, w->read, w->passed, w->total);
    return progress_step(&w->progress, w->passed, w->total);
}

static int outcome(const struct warm *w, const struct control_files *f)
{
    if (w->compared.differed)
        return TOOL_DAMAGE;
    if (w->failed || w->compared.unable || w->compared.shared)
        return TOOL_FAILED;
    return f->failed || w->full || w->partly.files || w->left_out || w->evicted.files.files ||
                   w->changed.files.files
               ? TOOL_PARTLY
               : TOOL_OK;
}

/* ---- What is left at the end ----------------------------------------------------------------- */

/* The pool may displace one block in 200, also where there is room: two others are in its places.
 * At least one block, because files may be small. */
static uint64_t small_share(uint64_t bytes)
{
    return bytes / 200 > CM_BLOCK_SIZE ? bytes / 200 : CM_BLOCK_SIZE;
}

/* Where a file belongs that misses some: its pool has room, or has none. */
static struct gone *gone_why(struct warm *w, const struct sweep *s, const struct control_file *file)
{
    if (s->limit.most)
        return &w->evicted;
    if (!w->asked || w->asked_mount != file->mount) {
        w->asked = true;
        w->asked_mount = file->mount;
        w->has_room = warm_has_room(&w->first.all->mounts[file->mount]);
    }
    return w->has_room ? &w->changed : &w->evicted;
}

static int on_counted(struct sweep *s, struct control_file *file)
{
    struct warm *w = s->ctx;
    const uint64_t n = s->cached < s->size ? s->cached : s->size, missing = s->size - n;

    if (s->end.code == 0 && !file->apart) {
        w->cached += n;
        w->blocks += in_blocks(s->size);
    }
    if (s->end.code == 0 && missing > 0 && file->whole) {
        struct gone *const to = gone_why(w, s, file);

        if (missing > small_share(s->size)) {
            add_file(w, &to->files, s, file);
        } else {
            add(w, &to->nearly, &s->limit);
            to->nearly_bytes += in_blocks(missing);
        }
    }
    return progress_step(&w->progress, w->passed, w->total);
}

/* Many small files may miss their only block, say. */
static void add_nearly(const struct warm *w, struct gone *g)
{
    if (g->nearly_bytes <= small_share(w->blocks))
        return;
    g->files.files += g->nearly.files;
    g->files.limited += g->nearly.limited;
}

/* A full pool, or a quota, may have evicted files that were warmed first. So those that stored
 * something count what is there. */
static int count_again(struct control_files *f, struct warm *w)
{
    struct sweep s = { .verb = "cached", .done = on_counted, .ctx = w, .progress = &w->progress };
    int rc;

    if ((f->n < 2 && !w->met_limit) || !w->stored || w->full == CM_ECANCELED)
        return TOOL_OK;
    w->cached = 0;
    rc = files_sweep(f, &s);
    add_nearly(w, &w->evicted);
    add_nearly(w, &w->changed);
    return rc;
}

static int warm_files(struct control_files *f, struct warm *w, const struct tool_args *args)
{
    const char *verb = w->pin ? "pin" : w->verify ? "verify" : "warm";
    struct sweep s = { .verb = verb,
                       .number = w->rate,
                       .at = on_at,
                       .done = on_done,
                       .ctx = w,
                       .progress = &w->progress };
    uint64_t all;
    int rc;

    w->total = f->bytes;
    w->first = (struct first_files){ .all = f, .progress = &w->progress };
    progress_begin(&w->progress, verb, w->total, args->value[WARM_QUIET] != NULL);
    rc = files_sweep(f, &s);
    w->total -= s.gone_bytes + w->compared.bytes;
    all = f->n - s.gone - w->compared.unable - w->compared.shared;
    if (rc == TOOL_OK && !os_interrupted())
        rc = count_again(f, w);
    progress_end(&w->progress);
    if (rc != TOOL_OK)
        return rc;
    w->pool = f->n > 0 ? f->mounts[f->v[0].mount].source : NULL;
    if (!os_interrupted())
        warm_say_why(w, all);
    rc = outcome(w, f);
    if (files_say_lost(f) && rc == TOOL_OK)
        rc = TOOL_PARTLY;
    if (!all && w->compared.unable + w->compared.shared)
        return rc; /* there is nothing that sums could tell */
    if (args->value[WARM_JSON])
        warm_print_json(w, all);
    else if (!args->value[WARM_QUIET] || rc != TOOL_OK)
        warm_print(w, all);
    return tool_end_output(rc);
}

static int run_trace(const struct tool_args *args, uint64_t rate)
{
    const struct warm_trace w = { .trace = args->value[WARM_TRACE],
                                  .rate = rate,
                                  .quiet = args->value[WARM_QUIET] != NULL,
                                  .json = args->value[WARM_JSON] != NULL };
    int rc;

    if (args->value[WARM_LIST] || args->value[WARM_VERIFY]) {
        tool_message(NULL, "--trace and --%s exclude each other",
                     args->value[WARM_LIST] ? "list" : "verify");
        return TOOL_USAGE;
    }
    rc = profile_warm(args, &w);
    if (os_interrupted())
        os_end_interrupted();
    return rc;
}

static int run(const struct tool_args *args, bool pin)
{
    struct control_files files;
    struct warm w = { .pin = pin, .verify = !pin && args->value[WARM_VERIFY] };
    bool rough;
    int rc;

    if (args->value[WARM_RATE] &&
        (tool_parse_size(args->value[WARM_RATE], &w.rate, &rough) != TOOL_SIZE_OK || !w.rate)) {
        tool_message(NULL, "'%s' is not a rate; write bytes in a second, such as 20M",
                     args->value[WARM_RATE]);
        return TOOL_USAGE;
    }
    if (args->value[WARM_TRACE])
        return run_trace(args, w.rate);
    if (!args->operand && !args->value[WARM_LIST]) {
        tool_message(NULL, "'%s' needs the path of a file or directory, or --list FILE%s",
                     pin ? "pin" : "warm", pin ? "" : ", or --trace TRACE");
        return TOOL_USAGE;
    }
    rc = files_collect(&files, args, args->value[WARM_LIST]);
    if (rc == TOOL_OK)
        rc = warm_files(&files, &w, args);
    files_free(&files);
    if (os_interrupted())
        os_end_interrupted();
    return rc;
}

static int run_warm(const struct tool_args *args)
{
    return run(args, false);
}

static int run_pin(const struct tool_args *args)
{
    return run(args, true);
}

const struct tool_command tool_pin = {
    .name = "pin",
    .on_mounts = true,
    .operand = "[PATH]...",
    .many = true,
    .summary = "Read files on a mount into its pool, and keep them there",
    .help =
        "PATH is a file or a directory on a running mount of cachemax-mount; directories\n"
        "with all files that are in them now, but not what was mounted inside the mount.\n"
        "Their blocks are not evicted, whatever else is read, until 'cachemax unpin': also\n"
        "by later mounts of the pool, and after a crash of the mount. A file that is written\n"
        "stays pinned; what was written comes back with the next read. The pin belongs to the\n"
        "file, whatever its names, and ends when the file is deleted.\n"
        "Pinned files may have half of the pool, by their sizes. A file that does not fit is\n"
        "not pinned, and a line says how much fits (exit status 7). What is not cached is\n"
        "read as by 'cachemax warm'; if the command ends, the file that it was reading is\n"
        "pinned, and the rest of it comes as it is read. Needs the user of the mount, or root.\n"
        "\n"
        "Examples:\n"
        "  cachemax pin /srv/data/images/base.qcow2\n"
        "  cachemax pin /srv/data/models --rate 50M\n",
    .options = warm_options,
    .noptions = PIN_OPTIONS,
    .run = run_pin,
};

const struct tool_command tool_warm = {
    .name = "warm",
    .on_mounts = true,
    .operand = "[PATH]...",
    .many = true,
    .summary = "Read files on a mount into its pool, ahead of use",
    .help = "PATH is a file or a directory on a running mount of cachemax-mount; directories\n"
            "with all that is in them, but not what was mounted inside the mount. The mount\n"
            "reads what is not cached from the files' own place, and stops if this command\n"
            "ends, or if the pool is full of what was warmed. Needs the user of the mount, or\n"
            "root.\n"
            "With --trace the mount reads what programs have read while 'cachemax record' ran,\n"
            "there or on another machine with the same files. What was read most often comes\n"
            "first, and up to as much as the pool holds. PATH says which part of the mount is\n"
            "meant; without one it is all of the only mount. Files that are missing, or\n"
            "shorter now, are told and skipped (exit status 7).\n"
            "With --verify the mount also compares what is cached with the files, while they are\n"
            "in use. What is wrong is told (exit status 5) and read anew. Not with --trace.\n"
            "\n"
            "Examples:\n"
            "  cachemax warm /srv/data/images\n"
            "  cachemax warm --trace monday.trace /srv/data --rate 50M\n"
            "  cachemax warm --verify /srv/data --rate 50M\n"
            "  find /srv/data -newer yesterday -type f | cachemax warm --list -\n",
    .options = warm_options,
    .noptions = WARM_OPTIONS,
    .run = run_warm,
};
