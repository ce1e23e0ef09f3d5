/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_trace.c - "cachemax warm --trace": a mount reads into its pool what a trace reads.
 *
 * profile.c says what that is, in parts, the best ones first. The mount gets one part at a time, up
 * to 15/16 of the blocks that its pool has: it evicts not quite in the order in which blocks came.
 * If the pool is full of used blocks, there is less room. The mount does not remember the parts
 * before, so this file looks whether the pool is full: now and then it asks again for blocks that
 * were warmed before. If most of them had to be read once more, going on would only push out what
 * was warmed. A quota of the mount is as a pool for the files below its directory.
 *
 * All that is printed counts whole blocks, as the parts do.
 *
 * A file that is missing, or shorter than it was, is told once and skipped.
 *
 * Who: cmd_warm.c.
 */
#include "tool/control/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TOLD_MAX 8u /* files that have a message of their own */
#define SAMPLES 8u
#define ENOUGH_SAMPLES 4u

/* A file is FINE, or SHORTER than it was, or OUT: it is not asked for any more. */
enum { FINE, SHORTER, OUT };

struct quota {
    char *path; /* below a directory of the mount */
    uint64_t most, left;
};

struct sweep_trace {
    const struct warm_trace *w;
    struct profile profile;
    struct control *c;
    const struct os_mount *mount;
    struct tool_progress progress;
    /* Of what was asked for last. */
    struct control_end end;
    uint64_t size, cached, stored, read, slots, left_out;
    struct control_limit limit; /* why it is not cached as a whole */
    struct quota quota[CM_GROUPS_MAX];
    size_t quotas;
    unsigned directories; /* of the mount */
    bool counting;        /* the line before told one of them */
    bool sampling;        /* it is not part of the work */

    uint8_t *state;         /* for each file */
    uint64_t total, passed; /* bytes of the parts: all that may be done; what is done */
    uint64_t sum_cached, sum_stored, sum_read; /* in whole blocks */
    uint64_t origin_read;                      /* to the byte: for the rate */
    uint64_t missing, shorter, failed;         /* files */
    uint64_t outside;                          /* the same, by the rules of the mount */
    uint64_t limited;                          /* the same, by a quota */
    uint64_t partly;                           /* parts */
    int full;               /* why it ended early: a CM_NOT_STORED_* code, or CM_ECANCELED */
    size_t sample[SAMPLES]; /* parts that were stored */
    unsigned samples;
};

/* ---- Asking ---------------------------------------------------------------------------------- */

/* It evicts not quite in the order in which blocks came. */
static uint64_t most_of(uint64_t blocks)
{
    return (blocks - blocks / 16) * CM_BLOCK_SIZE;
}

/* Of the answer of `status`. */
static void add_quota(struct sweep_trace *s, const char *value)
{
    struct control_quota q;
    char *path;

    if (s->quotas == CM_GROUPS_MAX || !control_quota(value, &q))
        return;
    path = malloc(strlen(q.path) + 1);
    if (!path)
        return;
    memcpy(path, q.path, strlen(q.path) + 1);
    s->quota[s->quotas++] = (struct quota){ path, q.most, most_of(q.most / CM_BLOCK_SIZE) };
}

/* The longest path counts. NULL: none. */
static struct quota *quota_of(struct sweep_trace *s, uint32_t file)
{
    const char *path = s->profile.path[file];
    struct quota *found = NULL;
    size_t longest = 0;

    if (s->directories > 1) /* it begins with the number of one */
        path += strcspn(path, "/") + (strchr(path, '/') != NULL);
    for (size_t i = 0; i < s->quotas; i++) {
        const size_t n = strlen(s->quota[i].path);

        if (n > longest && !strncmp(path, s->quota[i].path, n) && path[n] == '/') {
            longest = n;
            found = &s->quota[i];
        }
    }
    return found;
}

static void on_is(void *ctx, const char *name, const char *value)
{
    struct sweep_trace *s = ctx;
    uint64_t *const at = !strcmp(name, "size")       ? &s->size
                         : !strcmp(name, "cached")   ? &s->cached
                         : !strcmp(name, "stored")   ? &s->stored
                         : !strcmp(name, "read")     ? &s->read
                         : !strcmp(name, "slots")    ? &s->slots
                         : !strcmp(name, "left_out") ? &s->left_out
                                                     : NULL;

    if (!s->progress.began) { /* `status` may be asked for several times */
        const bool is = !strcmp(name, "directory");

        s->directories = is ? (s->counting ? s->directories : 0) + 1 : s->directories;
        s->counting = is;
    }
    if (!strcmp(name, "quota") && !s->progress.began)
        add_quota(s, value);
    else if (!strcmp(name, "quota"))
        control_limit_take(&s->limit, value);
    else if (at && !control_number(value, at))
        *at = 0;
}

static int on_at(void *ctx, uint64_t done, uint64_t total)
{
    struct sweep_trace *s = ctx;

    (void)total;
    return progress_step(&s->progress, s->passed + (s->sampling ? 0 : done), s->total);
}

/* 0, or an error after a message. */
static int ask(struct sweep_trace *s, const char *verb, const char *text)
{
    const struct control_listener listener = { .is = on_is, .at = on_at, .ctx = s };
    int error;

    s->size = s->cached = s->stored = s->read = s->left_out = s->limit.most = 0;
    error = control_ask_again(s->c, s->mount, verb, *text ? s->w->rate : 0, text, &listener,
                              &s->progress, &s->end);
    if (error == 0 && control_is_away(s->end.code))
        error = s->end.code; /* the other parts would get the same answer */
    if (error && error != CONTROL_STOPPED && !os_interrupted()) {
        progress_end(&s->progress);
        tool_message(s->mount->point, "%s", control_error_text(error));
    }
    return error;
}

static int ask_for(struct sweep_trace *s, uint32_t file, uint64_t off, uint64_t len)
{
    char text[CONTROL_PATH_MAX];
    const int n =
        snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %s", off, len, s->profile.path[file]);

    if (n > 0 && (size_t)n < sizeof(text))
        return ask(s, "warmpart", text);
    s->end.code = CM_EINVAL;
    (void)snprintf(s->end.text, sizeof(s->end.text), "its path is too long");
    return 0;
}

/* ---- What came of it ------------------------------------------------------------------------- */

static uint64_t told(const struct sweep_trace *s)
{
    return s->missing + s->shorter + s->failed + s->outside + s->limited;
}

/* The first ones have a line each. */
static void tell(struct sweep_trace *s, uint32_t file, uint8_t state, const char *text)
{
    const char *path = s->profile.path[file];

    s->state[file] = state;
    if (told(s) > TOLD_MAX)
        return;
    progress_end(&s->progress);
    tool_message(path, "%s", text);
}

/* Its other parts would push out what is there. */
static void tell_limit(struct sweep_trace *s, uint32_t file, const char *quota, uint64_t bytes)
{
    char most[TOOL_NUMBER_MAX], text[CONTROL_PATH_MAX + 80];

    (void)snprintf(text, sizeof(text), "is cached in part: the quota of %s is %s", quota,
                   tool_bytes(most, bytes));
    s->limited++;
    tell(s, file, OUT, text);
}

static void note_read(struct sweep_trace *s)
{
    s->sum_read += in_blocks(s->read);
    s->origin_read += s->read;
}

static void note(struct sweep_trace *s, const struct profile_part *part)
{
    const int code = s->end.code;

    const bool limited =
        s->limit.most && (code == CM_NOT_STORED_ROOM || code == CM_NOT_STORED_QUOTA);

    if (!limited &&
        (code == CM_NOT_STORED_ROOM || code == CM_NOT_STORED_MODE || code == CM_ECANCELED))
        s->full = code;
    const bool disturbed = code == CM_ECANCELED || code == CM_EMOVED; /* is written */

    s->partly += (code > 0 && !limited) || disturbed;
    if (code == CONTROL_NO_FILE || code == CONTROL_NO_DIRECTORY) {
        s->missing++;
        tell(s, part->file, OUT, "is missing");
    } else if (s->left_out) {
        s->outside++;
        tell(s, part->file, OUT, "is left out by the rules of the mount");
    } else if (limited) {
        tell_limit(s, part->file, s->limit.path, s->limit.most);
    } else if (code < 0 && !disturbed) {
        s->failed++;
        tell(s, part->file, OUT,
             code == CM_ENOTSUP ? "is not cached there: the mount cannot tell it from other files"
                                : s->end.text);
    } else if (s->size + CM_BLOCK_SIZE <= part->off + part->len && s->state[part->file] == FINE) {
        s->shorter++; /* whole blocks are missing at its end */
        tell(s, part->file, SHORTER, "is shorter than it was");
    }
    s->sum_cached += in_blocks(s->cached);
    s->sum_stored += in_blocks(s->stored);
    note_read(s);
    s->passed += part->len;
}

/* After a part that was stored: keeps it in mind, one of each eighth of the work, and looks whether
 * those before are still there. */
static int look_back(struct sweep_trace *s, size_t part)
{
    unsigned gone = 0;
    int error = 0;

    if (s->samples == SAMPLES || s->passed < s->total / SAMPLES * s->samples || s->stored == 0)
        return 0;
    s->sampling = true;
    for (unsigned i = 0; i < s->samples && error == 0; i++) {
        const struct profile_part *p = &s->profile.part[s->sample[i]];

        error = ask_for(s, p->file, p->off, CM_BLOCK_SIZE);
        note_read(s);
        gone += s->read > 0;
    }
    s->sampling = false;
    if (s->samples >= ENOUGH_SAMPLES && gone > s->samples / 2)
        s->full = CM_NOT_STORED_ROOM;
    s->sample[s->samples++] = part;
    return error;
}

/* Asks for a part, as far as there is room. */
static int do_part(struct sweep_trace *s, size_t i, uint64_t *room)
{
    const struct profile_part *whole = &s->profile.part[i];
    struct quota *const q = quota_of(s, whole->file);
    struct profile_part part = *whole;
    uint64_t cached;
    int error;

    part.len = part.len < *room ? part.len : *room;
    if (q && part.len > q->left)
        part.len = q->left;
    error = part.len ? ask_for(s, part.file, part.off, part.len) : 0;
    if (error)
        return error;
    if (part.len)
        note(s, &part);
    cached = !part.len ? 0 : in_blocks(s->cached < part.len ? s->cached : part.len);
    s->passed += whole->len - part.len;
    *room -= cached;
    if (q)
        q->left -= cached;
    if (*room == 0 && part.len < whole->len)
        s->full = CM_NOT_STORED_ROOM;
    else if (q && q->left == 0 && part.len < whole->len && s->state[part.file] != OUT)
        tell_limit(s, part.file, q->path, q->most);
    if (!part.len)
        return 0;
    progress_keep_to_rate(&s->progress, s->w->rate, s->origin_read, s->passed, s->total);
    return look_back(s, i);
}

static int do_parts(struct sweep_trace *s)
{
    /* What is missing, or was not stored, takes no room. */
    uint64_t room = most_of(s->slots);
    int error = 0;

    s->total = s->profile.bytes;
    progress_begin(&s->progress, "warm", s->total, s->w->quiet);
    for (size_t i = 0; i < s->profile.parts && !s->full && error == 0; i++) {
        if (s->state[s->profile.part[i].file] == OUT) {
            s->passed += s->profile.part[i].len;
            continue;
        }
        if (room == 0) {
            s->full = CM_NOT_STORED_ROOM;
            break;
        }
        error = do_part(s, i, &room);
        if (os_interrupted())
            break;
    }
    progress_end(&s->progress);
    return error && error != CONTROL_STOPPED && !os_interrupted() ? TOOL_NO_MOUNT : TOOL_OK;
}

/* ---- Output ---------------------------------------------------------------------------------- */

static void print_lines(const struct sweep_trace *s)
{
    char cached[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX], read[TOOL_NUMBER_MAX];

    (void)printf(
        "%zu %s, of which the trace reads %s in whole blocks: %s cached, %s of it read now\n",
        s->profile.read, s->profile.read == 1 ? "file" : "files", tool_bytes(all, s->profile.bytes),
        tool_bytes(cached, s->sum_cached), tool_bytes(read, s->sum_stored));
}

static void print_json(const struct sweep_trace *s)
{
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_number(&j, "files", s->profile.read);
    json_number(&j, "bytes", s->profile.bytes);
    json_number(&j, "cached_bytes", s->sum_cached);
    json_number(&j, "stored_bytes", s->sum_stored);
    json_number(&j, "read_bytes", s->sum_read);
    json_number(&j, "missing_files", s->missing);
    json_number(&j, "shorter_files", s->shorter);
    json_number(&j, "failed_files", s->failed);
    json_number(&j, "left_out_files", s->outside);
    if (s->full)
        json_string(&j, "ended", cm_errname(s->full));
    else
        json_null(&j, "ended");
    json_end(&j);
}

/* Of several directories the paths of a trace begin with numbers, of one they do not. */
static bool is_of_another(const struct sweep_trace *s)
{
    const bool several = s->profile.numbered == s->profile.named;

    return s->profile.named > 0 && several != (s->directories > 1);
}

/* Nothing of the trace is there. */
static void say_nothing_there(const struct sweep_trace *s)
{
    if (is_of_another(s))
        tool_message(s->w->trace,
                     "was recorded on a mount of %s, and this one has %u: the paths in it are "
                     "others; mount as many as there, or record here",
                     s->directories > 1 ? "one directory" : "several directories", s->directories);
    else
        tool_message(s->w->trace, "names %" PRIu64 " %s, and none at the paths that were given",
                     (uint64_t)s->profile.named, s->profile.named == 1 ? "file" : "files");
}

static void say_why(const struct sweep_trace *s)
{
    char passed[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX];

    if (s->profile.named > 0 &&
        (s->profile.files == 0 || (is_of_another(s) && s->missing == s->profile.read)))
        say_nothing_there(s);
    if (told(s) > TOLD_MAX)
        tool_message(NULL,
                     "in all %" PRIu64 " files are missing, %" PRIu64 " shorter, %" PRIu64
                     " not readable, %" PRIu64 " left out, %" PRIu64 " limited by a quota",
                     s->missing, s->shorter, s->failed, s->outside, s->limited);
    if (s->full == CM_NOT_STORED_MODE)
        tool_message(NULL, "the pool takes no blocks: its mode is not normal ('cachemax mode'), or "
                           "a sync of a file has failed");
    else if (s->full == CM_ECANCELED)
        tool_message(NULL, "the mount is ending");
    else if (s->full)
        tool_message(NULL,
                     "the pool is full after %s of %s; what was read least often is not cached",
                     tool_bytes(passed, s->sum_cached), tool_bytes(all, s->profile.bytes));
    else if (s->partly)
        tool_message(NULL,
                     "%" PRIu64 " %s cached in part: a file was written, or expired, "
                     "meanwhile; warm again",
                     s->partly, s->partly == 1 ? "range is" : "ranges are");
}

static int outcome(const struct sweep_trace *s)
{
    if (s->failed)
        return TOOL_FAILED;
    return s->full || s->partly || told(s) || (s->profile.named > 0 && s->profile.files == 0)
               ? TOOL_PARTLY
               : TOOL_OK;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int warm_profile(struct sweep_trace *s)
{
    int rc, error;

    s->state = calloc(s->profile.files + 1, sizeof(*s->state));
    s->c = calloc(1, sizeof(*s->c));
    if (!s->state || !s->c) {
        tool_message(NULL, "out of memory");
        return TOOL_FAILED;
    }
    error = control_open_mount(s->c, s->mount, OS_FOREVER);
    if (error) {
        control_complain(s->mount->point, s->mount, error);
        return TOOL_NO_MOUNT;
    }
    rc = ask(s, "status", "") ? TOOL_NO_MOUNT : TOOL_OK;
    if (rc == TOOL_OK)
        rc = do_parts(s);
    if (rc != TOOL_OK || os_interrupted())
        return rc;
    say_why(s);
    rc = outcome(s);
    if (s->w->json)
        print_json(s);
    else if (!s->w->quiet || rc != TOOL_OK)
        print_lines(s);
    return tool_end_output(rc);
}

int profile_warm(const struct tool_args *args, const struct warm_trace *w)
{
    struct sweep_trace s = { .w = w, .progress = { .quiet = w->quiet } };
    struct control_scope scope;
    int rc = control_scope_find(&scope, args->operands, args->noperands);

    if (rc == TOOL_OK) {
        os_catch_interrupts(); /* not before: control.h, files_collect() */
        s.mount = &scope.files.mounts[scope.mount];
        rc = profile_load(&s.profile, w->trace, &scope);
        if (rc == TOOL_OK && !os_interrupted())
            rc = warm_profile(&s);
        profile_free(&s.profile);
    }
    if (s.c)
        control_close(s.c);
    for (size_t i = 0; i < s.quotas; i++)
        free(s.quota[i].path);
    free(s.c);
    free(s.state);
    control_scope_free(&scope);
    return rc;
}
