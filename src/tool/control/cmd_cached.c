/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_cached.c - "cachemax cached": how much of each file on a mount is cached, and why not all.
 *
 * Asking changes nothing: a file that the pool does not know stays unknown. The files are sorted by
 * path, so those of a directory lie together, and its sum is one pass over them.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CACHED_TREE, CACHED_JSON, CACHED_OPTIONS };

static const struct tool_option cached_options[CACHED_OPTIONS] = {
    [CACHED_TREE] = { "tree", 't', TOOL_NO_ARG, NULL, "print the sum of each directory instead" },
    [CACHED_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

struct sum {
    uint64_t files, size, cached;     /* a file with several names counts once */
    uint64_t pinned;                  /* files */
    uint64_t partly;                  /* of them, not cached whole */
    const struct control_reason *why; /* of the last one */
};

struct counting {
    struct tool_progress progress;
    uint64_t all, done, failed;
};

/* ---- Why it is not cached -------------------------------------------------------------------- */

struct control_reason {
    const char *word, *text;
};

/* The words of the mount (docs/mount.md), and what is printed for each. */
static const struct control_reason reasons[] = {
    { "size", "larger than --max-file-size" },
    { "include", "no --include names it" },
    { "exclude", "left out by --exclude" },
    { "owner", "left out by --exclude-owner" },
    { "names", "has several names on FUSE or overlayfs" },
    { "volume", "its volume cannot tell its files apart" },
    { "freeze", "the mode of the pool is freeze" },
    { "bypass", "the mode of the pool is bypass" },
    { "sync", "a sync of it has failed" },
    { "written", "open for writing, or nobody can tell" },
    { "changed", "changed since it was cached" },
    { "quota_size", "larger than the quota of its directory" },
    { "quota", "the quota of its directory is full: its files push each other out" },
    { "noreuse", "--advise says noreuse" },
    { "unknown",
      "not read through the mount, not stored, or forgotten, changed or pushed out since" },
};

/* NULL: the mount did not say, or is newer and has other words. */
static const struct control_reason *reason_of(const struct sweep *s)
{
    for (size_t k = 0; k < sizeof(reasons) / sizeof(reasons[0]); k++)
        if (!strcmp(s->why, reasons[k].word))
            return &reasons[k];
    return NULL;
}

static int on_done(struct sweep *s, struct control_file *file)
{
    struct counting *c = s->ctx;

    if (s->end.code == 0) {
        file->size = s->size; /* as the mount sees it */
        /* The last block is cached as a whole. */
        file->cached = s->cached < s->size ? s->cached : s->size;
        file->why = file->cached < file->size ? reason_of(s) : NULL;
    } else {
        c->failed++;
        progress_end(&c->progress);
        files_complain(file, &s->end);
    }
    return progress_step(&c->progress, ++c->done, c->all);
}

/* ---- Output ---------------------------------------------------------------------------------- */

/* One line, or one element of the array that is open. */
struct printer {
    struct tool_json *json; /* NULL: lines */
    bool tree;
};

/* What is behind a path: "", or why, in parentheses. */
static void print_remarks(const struct sum *s)
{
    const char *const pinned = !s->pinned ? "" : s->partly ? "pinned in part" : "pinned";
    const char *const why = s->why ? s->why->text : "";

    if (*pinned || *why)
        (void)printf(" (%s%s%s)", pinned, *pinned && *why ? "; " : "", why);
}

static void print_one(const struct printer *p, const char *path, const struct sum *s)
{
    char cached[TOOL_NUMBER_MAX], size[TOOL_NUMBER_MAX];
    char *shown;

    if (p->json) {
        json_open(p->json, NULL);
        json_string(p->json, "path", path);
        if (p->tree)
            json_number(p->json, "files", s->files);
        json_number(p->json, "size", s->size);
        json_number(p->json, "cached_bytes", s->cached);
        json_decimal(p->json, "cached_percent", tool_share(s->cached, s->size), 2);
        if (p->tree)
            json_number(p->json, "pinned_files", s->pinned);
        else
            json_bool(p->json, "pinned", s->pinned > 0);
        if (!p->tree && s->why)
            json_string(p->json, "why", s->why->word);
        else if (!p->tree)
            json_null(p->json, "why");
        json_close(p->json);
        return;
    }
    shown = malloc(TOOL_PRINTABLE_MAX(strlen(path)));
    (void)printf("%12s %7.2f %12s %s", tool_bytes(cached, s->cached),
                 tool_share(s->cached, s->size), tool_bytes(size, s->size),
                 shown ? tool_printable(shown, path) : "-");
    if (!p->tree)
        print_remarks(s);
    (void)putchar('\n');
    free(shown);
}

static void add(struct sum *to, const struct control_file *f)
{
    to->files++;
    to->size += f->size;
    to->cached += f->cached;
    to->pinned += f->pinned;
    to->partly += f->pinned && f->cached < f->size;
    to->why = f->why;
}

/* The directory whose path is the first n bytes of file i's path: all files in it follow. A file
 * counts once in each directory that has a name of it. */
static void print_directory(const struct printer *p, const struct control_files *f, size_t i,
                            size_t n)
{
    struct sum sum = { .files = 0 };
    char *path = malloc(n + 1);

    for (size_t k = i; k < f->n && !strncmp(f->v[k].path, f->v[i].path, n + 1); k++)
        if (f->v[k].known && files_counts(f, k, i))
            add(&sum, &f->v[k]);
    if (path) {
        memcpy(path, f->v[i].path, n);
        path[n] = '\0';
        print_one(p, n ? path : "/", &sum);
    }
    free(path);
}

/* The directories that file i is the first one of, from the operand downward. */
static void print_directories(const struct printer *p, const struct control_files *f, size_t i)
{
    const char *path = f->v[i].path;

    for (size_t n = f->v[i].base; path[n] != '\0'; n++)
        if (path[n] == '/' &&
            (i == 0 || strncmp(f->v[i - 1].path, path, n + 1) != 0 || f->v[i - 1].base > n))
            print_directory(p, f, i, n);
}

static void print_list(const struct printer *p, const struct control_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct sum one = { .files = 0 };

        add(&one, &f->v[i]);
        if (p->tree)
            print_directories(p, f, i);
        else if (f->v[i].known)
            print_one(p, f->v[i].path, &one);
    }
}

static void print_all(const struct control_files *f, bool tree, bool json)
{
    struct tool_json j;
    const struct printer p = { .json = json ? &j : NULL, .tree = tree };
    struct sum sum = { .files = 0 };
    char cached[TOOL_NUMBER_MAX], size[TOOL_NUMBER_MAX];

    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].known && files_counts(f, i, 0))
            add(&sum, &f->v[i]);
    if (json) {
        json_begin(&j, stdout, false);
        json_open_array(&j, tree ? "directories" : "files");
    } else {
        (void)printf("%12s %7s %12s path\n", "cached", "%", "size");
    }
    print_list(&p, f);
    if (!json) {
        (void)printf("%" PRIu64 " %s: %s of %s cached, %.2f %%", sum.files,
                     sum.files == 1 ? "file" : "files", tool_bytes(cached, sum.cached),
                     tool_bytes(size, sum.size), tool_share(sum.cached, sum.size));
        if (sum.pinned)
            (void)printf("; %" PRIu64 " pinned", sum.pinned);
        if (sum.partly)
            (void)printf(" (%" PRIu64 " in part)", sum.partly);
        (void)putchar('\n');
        return;
    }
    json_close_array(&j);
    json_number(&j, "all_files", sum.files);
    json_number(&j, "all_size", sum.size);
    json_number(&j, "all_cached_bytes", sum.cached);
    json_number(&j, "all_pinned_files", sum.pinned);
    json_end(&j);
}

static int run_cached(const struct tool_args *args)
{
    struct control_files files;
    struct counting c = { .done = 0 };
    struct sweep s = { .verb = "cached", .done = on_done, .ctx = &c, .progress = &c.progress };
    int rc;

    rc = files_collect(&files, args, NULL);
    if (rc == TOOL_OK) {
        c.all = files.n;
        progress_begin(&c.progress, "cached", 0, false);
        rc = files_sweep(&files, &s);
        progress_end(&c.progress);
    }
    if (os_interrupted())
        os_end_interrupted();
    if (rc == TOOL_OK) {
        print_all(&files, args->value[CACHED_TREE], args->value[CACHED_JSON]);
        rc = tool_end_output(c.failed || files.failed ? TOOL_PARTLY : TOOL_OK);
    }
    files_free(&files);
    return rc;
}

const struct tool_command tool_cached = {
    .name = "cached",
    .on_mounts = true,
    .operand = "PATH...",
    .many = true,
    .summary = "Show how much of files on a mount is cached",
    .help = "PATH is a file or a directory on a running mount of cachemax-mount; directories\n"
            "with all that is in them, but not what was mounted inside the mount. Counts what\n"
            "waits in the probation buffer, too, and not what the kernel has. Behind a file that\n"
            "is not cached as a whole it says why, if the mount can tell. With --tree each\n"
            "directory has a line with the sum of all that is below it. Each sum counts a file\n"
            "with several names (hard links) once. Pinned files are marked ('cachemax pin').\n"
            "Asking reads no file, and makes nothing stay. Needs the user of the mount, or root.\n"
            "\n"
            "Examples:\n"
            "  cachemax cached /srv/data/images\n"
            "  cachemax cached --tree /srv/data\n"
            "  cachemax cached /srv/data --json | jq '.all_cached_bytes'\n",
    .options = cached_options,
    .noptions = CACHED_OPTIONS,
    .run = run_cached,
};
