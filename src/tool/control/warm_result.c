/* SPDX-License-Identifier: BSD-2-Clause
 *
 * warm_result.c - what "cachemax warm" and "cachemax pin" print and say at the end.
 *
 * Whether a pool was too small, the mount tells: one that has room evicts nothing.
 *
 * Who: cmd_warm.c.
 */
#include "tool/control/warm_result.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME_FULL (UINT64_C(1) << 20) /* bytes that may be left on one that is full */

/* ---- The result ------------------------------------------------------------------------------ */

static uint64_t whole(const struct warm *w)
{
    return w->files - w->partly.files - w->failed - w->left_out - w->evicted.files.files -
           w->changed.files.files;
}

/* Also those that are cached in part: the rest comes as it is read. */
static uint64_t pinned(const struct warm *w)
{
    return w->files - w->failed - w->left_out - w->refused - w->crowded - w->unrecorded;
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

void warm_print(const struct warm *w, uint64_t all)
{
    print_lines(w, all);
    if (w->verify)
        print_comparison(w);
}

void warm_print_json(const struct warm *w, uint64_t all)
{
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_number(&j, "files", all);
    json_number(&j, "bytes", w->total);
    json_number(&j, "cached_bytes", w->cached);
    json_number(&j, "stored_bytes", w->stored);
    json_number(&j, "read_bytes", w->read);
    json_number(&j, "whole_files", whole(w));
    json_number(&j, "partial_files",
                w->partly.files + w->evicted.files.files + w->changed.files.files);
    json_number(&j, "failed_files", w->failed);
    json_number(&j, "left_out_files", w->left_out);
    if (w->pin)
        json_number(&j, "refused_files", w->refused + w->crowded + w->unrecorded);
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

/* ---- What is not as it was wanted ------------------------------------------------------------ */

#define WAY_OUT (TOOL_VOLUME + 160)
#define ASK_SECONDS 10

struct places {
    uint64_t slots, used;
    uint64_t pinned_max; /* bytes: half of what the pool uses at most */
};

static void on_is(void *ctx, const char *name, const char *value)
{
    struct places *p = ctx;
    uint64_t *const at = !strcmp(name, "slots")        ? &p->slots
                         : !strcmp(name, "used")       ? &p->used
                         : !strcmp(name, "pinned_max") ? &p->pinned_max
                                                       : NULL;

    if (at && !control_number(value, at))
        *at = 0;
}

/* A sparse pool grows no more then: it uses the places again that it has. */
static bool fills_its_volume(const char *pool, struct os_volume *volume)
{
    uint64_t takes;

    return os_is_sparse(pool, &takes) && os_volume(pool, volume) && volume->free < VOLUME_FULL;
}

static bool ask_places(const struct os_mount *m, struct places *p)
{
    const struct control_listener listener = { .is = on_is, .ctx = p };
    struct control *c = calloc(1, sizeof(*c));
    struct control_end end;
    bool told;

    *p = (struct places){ .pinned_max = UINT64_MAX }; /* an older mount does not tell it */
    if (!c)
        return false;
    told = control_open_mount(c, m, ASK_SECONDS) == 0 &&
           control_ask(c, "status", 0, "", ASK_SECONDS, &listener, &end) == 0 && end.code == 0;
    control_close(c);
    free(c);
    return told;
}

/* Its volume was full: it uses the places that it had then, until it is opened again. */
static bool grows_no_more(const struct places *p)
{
    return p->pinned_max / CM_BLOCK_SIZE < p->slots / 2;
}

bool warm_has_room(const struct os_mount *m)
{
    struct places p;
    struct os_volume volume;

    return ask_places(m, &p) && p.used < p.slots && !grows_no_more(&p) &&
           !fills_its_volume(m->source, &volume);
}

/* Was the volume full, so that the pool of the first file does not use its holes any more? */
static bool was_full(const struct warm *w)
{
    const struct control_files *const f = w->first.all;
    struct places p;
    uint64_t takes;

    return os_is_sparse(w->pool, &takes) && ask_places(&f->mounts[f->v[0].mount], &p) &&
           grows_no_more(&p);
}

/* What to do: `other`, or what helps a sparse pool whose volume is full, or was. A pool that has
 * all its room may fill its volume, too. So may a sparse one that has all its slots: then its holes
 * are elsewhere, say in the records of files. */
static const char *way_out(const struct warm *w, char text[WAY_OUT], const char *fewer,
                           const char *other)
{
    cm_info info = { .struct_size = sizeof(info) };
    struct os_volume volume;
    char at[TOOL_VOLUME];

    if (!w->pool)
        return other;
    if (fills_its_volume(w->pool, &volume) &&
        !(cm_pool_info(w->pool, &info) == 0 && info.used_slots >= info.slots))
        (void)snprintf(text, WAY_OUT,
                       "the volume of the pool%s is full, and a sparse pool grows no more; make "
                       "room there and mount again, or %s",
                       tool_volume_at(at, w->pool), fewer);
    else if (was_full(w))
        (void)snprintf(text, WAY_OUT,
                       "the volume of the pool%s was full, and a sparse pool grows no more until "
                       "it is mounted again; do so, now that there is room, or %s",
                       tool_volume_at(at, w->pool), fewer);
    else
        return other;
    return text;
}

static void say_refused(const struct warm *w)
{
    char bytes[TOOL_NUMBER_MAX], room[TOOL_NUMBER_MAX], most[TOOL_NUMBER_MAX], text[WAY_OUT];

    tool_message(NULL,
                 "%" PRIu64 " %s of %s not pinned: pinned files may have half of the pool, "
                 "%s, and there is room for %s more; %s",
                 w->refused, w->refused == 1 ? "file" : "files",
                 tool_bytes(bytes, w->refused_bytes), tool_bytes(most, w->most),
                 tool_bytes(room, w->room),
                 way_out(w, text, "unpin others", "unpin others, or use a larger pool"));
}

static const char *files_are(uint64_t n)
{
    return n == 1 ? "file is" : "files are";
}

static void say_crowded(const struct warm *w)
{
    tool_message(NULL,
                 "%" PRIu64 " %s not pinned: pinned files may be half of the files that the pool "
                 "can know (--max-files); unpin others, or make a pool with a larger --max-files",
                 w->crowded, files_are(w->crowded));
}

static void say_limited(const struct warm *w, uint64_t n)
{
    char most[TOOL_NUMBER_MAX];

    tool_message(NULL,
                 "%" PRIu64 " %s cached in part, or not any more: the quota of %s is %s%s; name "
                 "fewer files, or mount with a larger --quota",
                 n, files_are(n), w->limit.path, tool_bytes(most, w->limit.most),
                 w->limits ? ", and others have a quota of their own" : "");
}

static void say_evicted(const struct warm *w, uint64_t n)
{
    char text[WAY_OUT];

    tool_message(NULL, "%" PRIu64 " %s had to make room for those after: %s", n,
                 n == 1 ? "file" : "files",
                 way_out(w, text, "name fewer",
                         "the pool has no room for all, or knows too few files (--max-files); "
                         "name fewer, or use a larger pool"));
}

/* *most: how many files the pool can know, if these are fewer than `all`. */
static bool knows_too_few(const struct warm *w, uint64_t all, uint64_t *most)
{
    cm_info info = { .struct_size = sizeof(info) };

    if (!w->pool || cm_pool_info(w->pool, &info) < 0)
        return false;
    *most = info.max_files;
    return info.max_files < all;
}

static void say_changed(const struct warm *w, uint64_t n, uint64_t all)
{
    uint64_t most;

    if (knows_too_few(w, all, &most)) {
        tool_message(NULL,
                     "%" PRIu64 " %s had to make room for those after: the pool knows %" PRIu64
                     " files at most; name fewer, or make a pool with a larger --max-files",
                     n, n == 1 ? "file" : "files", most);
        return;
    }
    tool_message(NULL,
                 "%" PRIu64 " %s written, or forgotten, or expired, meanwhile, or the pool knows "
                 "too few files (--max-files); %s again",
                 n, n == 1 ? "file was" : "files were", w->pin ? "pin" : "warm");
}

static void say_full(const struct warm *w, uint64_t all)
{
    const uint64_t part = all - w->files + w->partly.files;
    char text[WAY_OUT];

    tool_message(NULL,
                 "the pool is full of what was %s; %" PRIu64 " of %" PRIu64
                 " files %s not cached as a whole: %s",
                 w->pin ? "pinned" : "warmed", part, all, part == 1 ? "is" : "are",
                 way_out(w, text, "name fewer", "name fewer, or use a larger pool"));
}

static void say_unrecorded(const struct warm *w)
{
    char text[WAY_OUT];
    const char *const way = way_out(w, text, "unpin others", NULL);

    if (way)
        tool_message(NULL, "%" PRIu64 " %s not pinned: %s could not be written; %s", w->unrecorded,
                     files_are(w->unrecorded), w->unrecorded == 1 ? "its record" : "their records",
                     way);
    else
        tool_message(NULL,
                     "%" PRIu64 " %s not pinned: the pool knows too few files at a time, and "
                     "pinned ones stay; unpin others, or make a pool with a larger --max-files",
                     w->unrecorded, files_are(w->unrecorded));
}

static void say_disturbed(const struct warm *w, uint64_t n)
{
    const char *const again = w->pin ? "pin" : "warm";
    const bool full = w->why == CM_NOT_STORED_FULL || w->why == CM_NOT_STORED_BUSY;
    const char *way = NULL;
    char text[WAY_OUT];

    if (full || w->why == CM_NOT_STORED_MEDIA)
        way = way_out(w, text, w->pin ? "unpin others" : "name fewer",
                      full ? "the places for some blocks are all taken by what is pinned or in "
                             "use; try again, or use a larger pool"
                           : NULL);
    if (way)
        tool_message(NULL, "%" PRIu64 " %s cached in part: %s", n, files_are(n), way);
    else if (w->why && w->why != CM_NOT_STORED_STALE && w->why != CM_NOT_STORED_QUOTA)
        tool_message(NULL, "%" PRIu64 " %s cached in part: %s; %s again", n, files_are(n),
                     cm_strerror(w->why), again);
    else
        tool_message(NULL,
                     "%" PRIu64 " %s cached in part: written, or expired, meanwhile, or the pool "
                     "still counts for a quota; %s again",
                     n, files_are(n), again);
}

void warm_say_why(const struct warm *w, uint64_t all)
{
    const struct some *const evicted = &w->evicted.files;
    const uint64_t limited = w->partly.limited + evicted->limited;
    const uint64_t disturbed =
        w->partly.files - w->partly.limited - w->refused - w->crowded - w->unrecorded;

    if (w->compared.unable)
        tool_message(NULL,
                     "%" PRIu64 " %s not compared: the mount is older than this command, or cannot "
                     "tell them from other files",
                     w->compared.unable, files_are(w->compared.unable));
    if (w->compared.shared)
        tool_message(NULL,
                     "%" PRIu64 " %s not compared: the pool of the mount is a service's, and "
                     "belongs to another process ('cachemax cached' counts what is in it)",
                     w->compared.shared, files_are(w->compared.shared));
    if (w->refused)
        say_refused(w);
    if (w->crowded)
        say_crowded(w);
    if (w->unrecorded)
        say_unrecorded(w);
    if (w->left_out)
        tool_message(NULL,
                     "%" PRIu64 " %s left out by the rules of the mount (--exclude and the like)",
                     w->left_out, files_are(w->left_out));
    if (limited)
        say_limited(w, limited);
    if (evicted->files > evicted->limited)
        say_evicted(w, evicted->files - evicted->limited);
    if (w->changed.files.files)
        say_changed(w, w->changed.files.files, all);
    if (w->full == CM_NOT_STORED_ROOM)
        say_full(w, all);
    else if (w->full == CM_NOT_STORED_MODE)
        tool_message(NULL, "the pool takes no blocks: its mode is not normal ('cachemax mode'), or "
                           "a sync of the file has failed");
    else if (w->full)
        tool_message(NULL, "the mount is ending");
    else if (disturbed)
        say_disturbed(w, disturbed);
}
