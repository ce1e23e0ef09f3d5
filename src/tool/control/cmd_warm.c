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

#define NAP_SECONDS 0.1
#define VOLUME_FULL (UINT64_C(1) << 20) /* bytes that may be left on one that is full */

struct some {                /* files that are not cached as a whole */
    uint64_t files, limited; /* limited: those of them that a quota keeps out */
};

struct comparison {                         /* what was compared */
    uint64_t verified, differed, undecided; /* bytes */
    uint64_t files;                         /* that differed */
    uint64_t unable;                        /* that the mount could not compare */
};

struct warm {
    struct tool_progress progress;
    bool pin, verify;
    struct comparison compared;
    struct first_files first;
    const char *pool; /* of the first file; NULL: there is none */
    uint64_t began, rate;
    uint64_t total, passed; /* bytes of all files; of those that are done */
    uint64_t cached, stored, read;
    uint64_t files, failed;
    uint64_t left_out; /* by the rules of the mount */
    struct some partly;
    struct some evicted;        /* they were whole, and had to make room for later ones */
    struct some nearly;         /* the same, and they miss a small share */
    uint64_t nearly_bytes;      /* what they miss */
    struct control_limit limit; /* the first quota of `limited` */
    bool limits;                /* it is not the only one */
    bool met_limit;             /* a quota is full, so that a file may push out its own begin */
    uint64_t refused, refused_bytes; /* to be pinned; counted as partly, too */
    uint64_t room, most;             /* that may still be pinned; at all */
    uint64_t unrecorded; /* not pinned, because the pool does not know them; partly, too */
    int why;             /* the first reason of others that are cached in part */
    int full;            /* why it ended early: a CM_NOT_STORED_* code, or CM_ECANCELED */
};

static int on_at(struct sweep *s, uint64_t done, uint64_t total)
{
    struct warm *w = s->ctx;

    (void)total;
    return progress_step(&w->progress, w->passed + done, w->total);
}

/* Waits until what was read fits the rate. */
static void keep_to_rate(struct warm *w)
{
    while (w->rate && !os_interrupted()) {
        const double due = (double)w->read / (double)w->rate - (double)(cm_now() - w->began) / 1e9;
        if (due <= 0)
            return;
        os_sleep(due < NAP_SECONDS ? due : NAP_SECONDS);
        (void)progress_step(&w->progress, w->passed, w->total);
    }
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
    char *path = malloc(TOOL_PRINTABLE_MAX(strlen(file->path)));
    char *quota = malloc(TOOL_PRINTABLE_MAX(strlen(s->limit.path)));
    char bytes[TOOL_NUMBER_MAX];

    progress_end(&w->progress);
    if (path && quota)
        tool_message(tool_printable(path, file->path),
                     "is larger than its quota, %s for %s, and cached in part",
                     tool_bytes(bytes, s->limit.most), tool_printable(quota, s->limit.path));
    free(path);
    free(quota);
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
    char *path = malloc(TOOL_PRINTABLE_MAX(strlen(file->path)));
    char bytes[TOOL_NUMBER_MAX];

    w->compared.verified += s->verified;
    w->compared.differed += s->differed;
    w->compared.undecided += s->undecided;
    if (s->differed || s->undecided)
        os_drop_pages(file->path);
    w->compared.files += s->differed > 0;
    if (s->differed)
        progress_end(&w->progress);
    if (s->differed && path)
        tool_message(tool_printable(path, file->path),
                     "%s of it in the pool were not what the file has; they are forgotten, and the "
                     "next read gives the file's",
                     tool_bytes(bytes, s->differed));
    free(path);
}

static int on_done(struct sweep *s, struct control_file *file)
{
    static const struct control_limit none = { .most = 0 };
    struct warm *w = s->ctx;
    const int code = s->end.code;
    const bool limited = is_limited(s);

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
    if (code == CM_EKEEP) { /* a smaller one may fit */
        w->refused++;
        w->refused_bytes += file->size;
        w->room = s->room;
        w->most = s->pinned_max;
    }
    if (w->pin && code == CM_NOT_RECORDED)
        w->unrecorded++;
    else if (code > 0 && !limited && !w->why)
        w->why = code;
    if (w->verify && code == CM_ENOTSUP && !s->left_out) { /* it has a service, or is older */
        w->compared.unable++;
        w->failed++;
    } else if (limited) {
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
        files_first_leave(&w->first, file, s->limit.most ? 0 : s->stored)) {
        w->full = CM_NOT_STORED_ROOM;
        return 1;
    }
    keep_to_rate(w);
    return progress_step(&w->progress, w->passed, w->total);
}

static uint64_t whole(const struct warm *w)
{
    return w->files - w->partly.files - w->failed - w->left_out - w->evicted.files;
}

/* Also those that are cached in part: the rest comes as it is read. */
static uint64_t pinned(const struct warm *w)
{
    return w->files - w->failed - w->left_out - w->refused - w->unrecorded;
}

static void print_lines(const struct warm *w, uint64_t all)
{
    char cached[TOOL_NUMBER_MAX], total[TOOL_NUMBER_MAX], read[TOOL_NUMBER_MAX];

    (void)printf("%" PRIu64 " of %" PRIu64 " %s%s, %s: %s cached, %s of it read now\n",
                 w->pin ? pinned(w) : whole(w), all, all == 1 ? "file" : "files",
                 w->pin ? " pinned" : "", tool_bytes(total, w->total),
                 tool_bytes(cached, w->cached), tool_bytes(read, w->verify ? w->stored : w->read));
}

static void print_comparison(const struct warm *w)
{
    const struct comparison *c = &w->compared;
    char right[TOOL_NUMBER_MAX], wrong[TOOL_NUMBER_MAX], open[TOOL_NUMBER_MAX];

    (void)printf("compared: %s as the files have it, %s different", tool_bytes(right, c->verified),
                 tool_bytes(wrong, c->differed));
    if (c->files)
        (void)printf(" in %" PRIu64 " %s", c->files, c->files == 1 ? "file" : "files");
    if (c->undecided)
        (void)printf(", %s written meanwhile", tool_bytes(open, c->undecided));
    (void)putchar('\n');
}

static void print_json(const struct warm *w, uint64_t all)
{
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_number(&j, "files", all);
    json_number(&j, "bytes", w->total);
    json_number(&j, "cached_bytes", w->cached);
    json_number(&j, "stored_bytes", w->stored);
    json_number(&j, "read_bytes", w->read);
    json_number(&j, "whole_files", whole(w));
    json_number(&j, "partial_files", w->partly.files + w->evicted.files);
    json_number(&j, "failed_files", w->failed);
    json_number(&j, "left_out_files", w->left_out);
    if (w->pin)
        json_number(&j, "refused_files", w->refused + w->unrecorded);
    if (w->verify) {
        json_number(&j, "verified_bytes", w->compared.verified);
        json_number(&j, "differed_bytes", w->compared.differed);
        json_number(&j, "differed_files", w->compared.files);
        json_number(&j, "undecided_bytes", w->compared.undecided);
    }
    if (w->full)
        json_string(&j, "ended", cm_errname(w->full));
    else
        json_null(&j, "ended");
    json_end(&j);
}

static void say_refused(const struct warm *w)
{
    char bytes[TOOL_NUMBER_MAX], room[TOOL_NUMBER_MAX], most[TOOL_NUMBER_MAX];

    tool_message(NULL,
                 "%" PRIu64 " %s of %s not pinned: pinned files may have half of the pool, "
                 "%s, and there is room for %s more; unpin others, or use a larger pool",
                 w->refused, w->refused == 1 ? "file" : "files",
                 tool_bytes(bytes, w->refused_bytes), tool_bytes(most, w->most),
                 tool_bytes(room, w->room));
}

static const char *files_are(uint64_t n)
{
    return n == 1 ? "file is" : "files are";
}

static void say_limited(const struct warm *w, uint64_t n)
{
    char *path = malloc(TOOL_PRINTABLE_MAX(strlen(w->limit.path)));
    char most[TOOL_NUMBER_MAX];

    if (path)
        tool_message(
            NULL,
            "%" PRIu64 " %s cached in part, or not any more: the quota of %s is %s%s; name "
            "fewer files, or mount with a larger --quota",
            n, files_are(n), tool_printable(path, w->limit.path), tool_bytes(most, w->limit.most),
            w->limits ? ", and others have a quota of their own" : "");
    free(path);
}

static void say_evicted(const struct warm *w, uint64_t n)
{
    struct os_volume volume;
    char at[TOOL_VOLUME];

    if (w->pool && os_volume(w->pool, &volume) && volume.free < VOLUME_FULL)
        tool_message(NULL,
                     "%" PRIu64 " %s had to make room for those after: the volume of the pool%s is "
                     "full, and a sparse pool grows no more; make room there, or name fewer",
                     n, n == 1 ? "file" : "files", tool_volume_at(at, w->pool));
    else
        tool_message(NULL,
                     "%" PRIu64 " %s had to make room for those after: the pool has no room for "
                     "all, or knows too few files (--max-files); name fewer, or use a larger pool",
                     n, n == 1 ? "file" : "files");
}

static void say_unrecorded(const struct warm *w)
{
    tool_message(NULL,
                 "%" PRIu64 " %s not pinned: the pool knows too few files at a time, and pinned "
                 "ones stay; unpin others, or make a pool with a larger --max-files",
                 w->unrecorded, files_are(w->unrecorded));
}

static void say_disturbed(const struct warm *w, uint64_t n)
{
    const char *const again = w->pin ? "pin" : "warm";

    if (w->why == CM_NOT_STORED_FULL || w->why == CM_NOT_STORED_BUSY)
        tool_message(NULL,
                     "%" PRIu64 " %s cached in part: the places for some blocks are all taken by "
                     "what is pinned or in use; %s again, or use a larger pool",
                     n, files_are(n), again);
    else if (w->why && w->why != CM_NOT_STORED_STALE && w->why != CM_NOT_STORED_QUOTA)
        tool_message(NULL, "%" PRIu64 " %s cached in part: %s; %s again", n, files_are(n),
                     cm_strerror(w->why), again);
    else
        tool_message(NULL,
                     "%" PRIu64 " %s cached in part: written, or expired, meanwhile, or the pool "
                     "still counts for a quota; %s again",
                     n, files_are(n), again);
}

static void say_why(const struct warm *w, uint64_t all)
{
    const uint64_t limited = w->partly.limited + w->evicted.limited;
    const uint64_t disturbed = w->partly.files - w->partly.limited - w->refused - w->unrecorded;

    if (w->compared.unable)
        tool_message(NULL,
                     "%" PRIu64 " %s not compared: the mount uses a service, or is older than this "
                     "command, or cannot tell them from other files",
                     w->compared.unable, files_are(w->compared.unable));
    if (w->refused)
        say_refused(w);
    if (w->unrecorded)
        say_unrecorded(w);
    if (w->left_out)
        tool_message(NULL,
                     "%" PRIu64 " %s left out by the rules of the mount (--exclude and the like)",
                     w->left_out, files_are(w->left_out));
    if (limited)
        say_limited(w, limited);
    if (w->evicted.files > w->evicted.limited)
        say_evicted(w, w->evicted.files - w->evicted.limited);
    if (w->full == CM_NOT_STORED_ROOM)
        tool_message(NULL,
                     "the pool is full of what was %s; %" PRIu64 " of %" PRIu64
                     " files were left out: name fewer, or use a larger pool",
                     w->pin ? "pinned" : "warmed", all - w->files + w->partly.files, all);
    else if (w->full == CM_NOT_STORED_MODE)
        tool_message(NULL, "the pool takes no blocks: its mode is not normal ('cachemax mode'), or "
                           "a sync of the file has failed");
    else if (w->full)
        tool_message(NULL, "the mount is ending");
    else if (disturbed)
        say_disturbed(w, disturbed);
}

static int outcome(const struct warm *w, const struct control_files *f)
{
    if (w->compared.differed)
        return TOOL_DAMAGE;
    if (w->failed)
        return TOOL_FAILED;
    return f->failed || w->full || w->partly.files || w->left_out || w->evicted.files ? TOOL_PARTLY
                                                                                      : TOOL_OK;
}

/* ---- What is left at the end ----------------------------------------------------------------- */

/* The pool may displace one block in 200, also where there is room: two others are in its places.
 * At least one block, because files may be small. */
static uint64_t small_share(uint64_t bytes)
{
    return bytes / 200 > CM_BLOCK_SIZE ? bytes / 200 : CM_BLOCK_SIZE;
}

static int on_counted(struct sweep *s, struct control_file *file)
{
    struct warm *w = s->ctx;
    const uint64_t n = s->cached < s->size ? s->cached : s->size, missing = s->size - n;

    if (s->end.code == 0)
        w->cached += n;
    if (s->end.code == 0 && missing > 0 && file->whole) {
        if (missing > small_share(s->size)) {
            add_file(w, &w->evicted, s, file);
        } else {
            add(w, &w->nearly, &s->limit);
            w->nearly_bytes += missing;
        }
    }
    return progress_step(&w->progress, w->passed, w->total);
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
    if (w->nearly_bytes > small_share(w->total)) { /* many small files miss their only block, say */
        w->evicted.files += w->nearly.files;
        w->evicted.limited += w->nearly.limited;
    }
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
    int rc;

    w->total = f->bytes;
    w->first = (struct first_files){ .all = f, .progress = &w->progress };
    progress_begin(&w->progress, verb, w->total, args->value[WARM_QUIET] != NULL);
    w->began = cm_now();
    rc = files_sweep(f, &s);
    if (rc == TOOL_OK && !os_interrupted())
        rc = count_again(f, w);
    progress_end(&w->progress);
    if (rc != TOOL_OK)
        return rc;
    w->pool = f->n > 0 ? f->mounts[f->v[0].mount].source : NULL;
    if (!os_interrupted())
        say_why(w, f->n);
    rc = outcome(w, f);
    if (files_say_lost(f) && rc == TOOL_OK)
        rc = TOOL_PARTLY;
    if (args->value[WARM_JSON])
        print_json(w, f->n);
    else if (!args->value[WARM_QUIET] || rc != TOOL_OK) {
        print_lines(w, f->n);
        if (w->verify)
            print_comparison(w);
    }
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
    os_catch_interrupts();
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
    os_catch_interrupts();
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
            "in use. What is wrong is told (exit status 5) and read anew.\n"
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
