/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_files.c - "cachemax files": which files a pool knows, and what is cached of each.
 *
 * Opens the pool read-only, so it changes nothing. If a running mount has the pool open, that is
 * asked.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILES_JSON, FILES_SORT, FILES_NO_COUNT, FILES_KEY, FILES_OPTIONS };

static const struct tool_option files_options[FILES_OPTIONS] = {
    [FILES_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
    [FILES_SORT] = { "sort", 's', TOOL_NEEDS_ARG, "bytes|hits|used|size|name",
                     "order; used: latest first; default: most cached first" },
    [FILES_NO_COUNT] = { "no-count", 0, TOOL_NO_ARG, NULL,
                         "do not count what is cached: reads the file table alone" },
    [FILES_KEY] = { "key-file", 0, TOOL_NEEDS_ARG, "FILE", "the key of a sealed pool" },
};

/* What is shown of a file. A pool may know millions of them. */
struct file {
    cm_file_id id;
    uint64_t size, cached, hits; /* the first two: or CM_SIZE_UNKNOWN */
    uint64_t used_ns;            /* 0: not known */
    char *name;                  /* NULL: none */
    bool dirty, racy, bypassed, pinned;
};

struct list {
    struct file *file;
    size_t n, room;
};

/* false: out of memory. */
static bool add(void *ctx, const cm_file_info *info)
{
    struct list *l = ctx;
    struct file f = { .id = info->id,
                      .size = info->size,
                      .cached = info->cached_bytes,
                      .hits = info->hits,
                      .used_ns = (uint64_t)info->last_used_ns,
                      .dirty = info->dirty,
                      .racy = info->racy,
                      .bypassed = info->bypassed,
                      .pinned = info->keep };

    if (l->n == l->room) {
        const size_t room = l->room ? 2 * l->room : 64;
        struct file *wide = realloc(l->file, room * sizeof(*wide));

        if (!wide)
            return false;
        l->file = wide;
        l->room = room;
    }
    if (info->name[0]) {
        const size_t n = strlen(info->name) + 1;

        f.name = malloc(n);
        if (!f.name)
            return false;
        memcpy(f.name, info->name, n);
    }
    l->file[l->n++] = f;
    return true;
}

static void free_list(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->file[i].name);
    free(l->file);
}

static int read_files(cm_cache *cache, uint32_t flags, struct list *l)
{
    cm_file_info info = { .struct_size = sizeof(info) };
    cm_file_iter *it;
    int rc = cm_files_begin(cache, flags, &it);

    if (rc != 0)
        return rc;
    while ((rc = cm_files_next(it, NULL, &info)) == 0)
        if (!add(l, &info)) {
            rc = CM_ENOMEM;
            break;
        }
    cm_files_end(it);
    return rc == CM_EABSENT ? 0 : rc;
}

/* ---- Order --------------------------------------------------------------------------------- */

typedef uint64_t (*key_fn)(const struct file *f);

static uint64_t key_bytes(const struct file *f)
{
    return f->cached;
}
static uint64_t key_hits(const struct file *f)
{
    return f->hits;
}
static uint64_t key_used(const struct file *f)
{
    return f->used_ns;
}
static uint64_t key_size(const struct file *f)
{
    return f->size == CM_SIZE_UNKNOWN ? 0 : f->size;
}

static const struct {
    const char *name; /* the first member, as tool_nearest() needs it */
    key_fn key;       /* NULL: the name of the file */
} keys[] = { { "bytes", key_bytes },
             { "hits", key_hits },
             { "used", key_used },
             { "size", key_size },
             { "name", NULL } };
#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static key_fn sort_key; /* for compare(), which gets no context */

/* By name, those without one last. */
static int compare_names(const struct file *a, const struct file *b)
{
    if (!a->name || !b->name)
        return (a->name == NULL) - (b->name == NULL);
    return strcmp(a->name, b->name);
}

/* Largest first; files with the same key by their id. */
static int compare(const void *left, const void *right)
{
    const struct file *a = left, *b = right;
    const uint64_t ka = sort_key ? sort_key(a) : 0, kb = sort_key ? sort_key(b) : 0;
    const int by_name = sort_key ? 0 : compare_names(a, b);

    if (by_name != 0)
        return by_name;
    if (ka != kb)
        return ka < kb ? 1 : -1;
    if (a->id.hi != b->id.hi)
        return a->id.hi < b->id.hi ? -1 : 1;
    return a->id.lo < b->id.lo ? -1 : a->id.lo > b->id.lo;
}

static int read_sort(const char *text, bool counted)
{
    const char *near;

    sort_key = counted ? key_bytes : key_hits;
    if (!text)
        return TOOL_OK;
    for (size_t i = 0; i < NKEYS; i++)
        if (!strcmp(text, keys[i].name)) {
            sort_key = keys[i].key;
            return TOOL_OK;
        }
    near = tool_nearest(text, keys, sizeof(keys[0]), NKEYS);
    tool_message(NULL, "--sort '%s' is not known; write bytes, hits, used, size or name%s%s%s",
                 text, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return TOOL_USAGE;
}

/* ---- Output -------------------------------------------------------------------------------- */

#define ID_TEXT 33

static const char *id_text(const cm_file_id *id, char text[ID_TEXT])
{
    (void)snprintf(text, ID_TEXT, "%016" PRIx64 "%016" PRIx64, id->hi, id->lo);
    return text;
}

static void json_known(struct tool_json *j, const char *key, uint64_t value)
{
    if (value == CM_SIZE_UNKNOWN)
        json_null(j, key);
    else
        json_number(j, key, value);
}

static void print_json(const char *pool, const struct list *l)
{
    struct tool_json j;
    char id[ID_TEXT];

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_open_array(&j, "files");
    for (size_t i = 0; i < l->n; i++) {
        const struct file *f = &l->file[i];

        json_open(&j, NULL);
        json_string(&j, "id", id_text(&f->id, id));
        json_known(&j, "size", f->size);
        json_known(&j, "cached_bytes", f->cached);
        json_number(&j, "hits", f->hits);
        if (f->used_ns)
            json_number(&j, "last_used_ns", f->used_ns);
        else
            json_null(&j, "last_used_ns");
        json_bool(&j, "dirty", f->dirty);
        json_bool(&j, "racy", f->racy);
        json_bool(&j, "bypassed", f->bypassed);
        json_bool(&j, "pinned", f->pinned);
        if (f->name)
            json_string(&j, "name", f->name);
        else
            json_null(&j, "name");
        json_close(&j);
    }
    json_close_array(&j);
    json_end(&j);
}

#define STATE_TEXT 32

/* A file that a failed fsync keeps out is neither dirty nor racy. */
static const char *state_text(const struct file *f, char text[STATE_TEXT])
{
    (void)snprintf(text, STATE_TEXT, "%s%s%s",
                   f->bypassed ? ",bypassed"
                   : f->dirty  ? ",dirty"
                               : "",
                   f->racy && !f->bypassed ? ",racy" : "", f->pinned ? ",pinned" : "");
    return text[0] ? text + 1 : "-";
}

static void print_file(const struct file *f, bool names)
{
    char size[TOOL_NUMBER_MAX] = "-", cached[TOOL_NUMBER_MAX] = "-", share[16] = "-";
    char used[32] = "-", id[ID_TEXT], state[STATE_TEXT];
    char name[TOOL_PRINTABLE_MAX(CM_FILE_NAME_MAX)];
    const time_t at = (time_t)(f->used_ns / 1000000000);
    struct tm *local = f->used_ns ? localtime(&at) : NULL;

    if (f->size != CM_SIZE_UNKNOWN)
        (void)tool_bytes(size, f->size);
    if (f->cached != CM_SIZE_UNKNOWN)
        (void)tool_bytes(cached, f->cached);
    if (f->cached != CM_SIZE_UNKNOWN && f->size != CM_SIZE_UNKNOWN)
        (void)snprintf(share, sizeof(share), "%.1f", tool_share(f->cached, f->size));
    if (local)
        (void)strftime(used, sizeof(used), "%Y-%m-%d %H:%M:%S", local);
    (void)printf("%12s %7s %12s %12" PRIu64 " %19s %-17s %s%s%s\n", cached, share, size, f->hits,
                 used, state_text(f, state), id_text(&f->id, id), names ? " " : "",
                 names ? tool_printable(name, f->name ? f->name : "-") : "");
}

static void print_lines(const struct list *l, const cm_info *info)
{
    const bool names = info->names_bytes > 0;

    (void)printf("%12s %7s %12s %12s %19s %-17s %s\n", "cached", "%", "size", "hits", "last used",
                 "state", names ? "id                               name" : "id");
    for (size_t i = 0; i < l->n; i++)
        print_file(&l->file[i], names);
    (void)printf("%zu %s; there is room for %" PRIu64 " or more; hits are "
                 "estimated from one call in 64\n",
                 l->n, l->n == 1 ? "file" : "files", info->max_files);
}

/* From the pool, or from the mount that has it open. */
static int look(const char *pool, const cm_seal *seal, uint32_t flags, cm_info *info,
                struct list *list)
{
    struct tool_log log = { .pool = pool, .max_level = CM_LOG_WARNING };
    cm_options options = CM_OPTIONS_INIT;
    cm_cache *cache;
    int rc;

    options.flags = CM_OPEN_READONLY;
    options.seal = seal;
    rc = tool_open(&log, &options, &cache);
    if (rc == CM_EOWNED) {
        rc = cm_pool_info(pool, info);
        rc = rc ? rc : owner_files(pool, flags, add, list);
        if (rc != CM_EOWNED || !owner_leaves(pool, OWNER_LEAVE_SECONDS))
            return rc;
        rc = tool_open(&log, &options, &cache);
    }
    if (rc != 0)
        return rc;
    rc = cm_get_info(cache, info);
    if (rc == 0)
        rc = read_files(cache, flags, list);
    (void)cm_close(cache);
    return rc;
}

static int run_files(const struct tool_args *args)
{
    const uint32_t flags = args->value[FILES_NO_COUNT] ? 0 : CM_FILES_COUNT;
    cm_info info = { .struct_size = sizeof(info) };
    struct list list = { NULL, 0, 0 };
    const cm_seal *seal;
    int rc = read_sort(args->value[FILES_SORT], flags != 0);

    if (rc != TOOL_OK)
        return rc;
    rc = tool_take_key_of(args->value[FILES_KEY], args->operand, &seal);
    if (rc != TOOL_OK)
        return rc;
    rc = look(args->operand, seal, flags, &info, &list);
    tool_drop_key();
    if (rc == 0) {
        if (list.n > 0)
            qsort(list.file, list.n, sizeof(*list.file), compare);
        if (args->value[FILES_JSON])
            print_json(args->operand, &list);
        else
            print_lines(&list, &info);
    }
    free_list(&list);
    if (rc == CM_EOWNED && owner_has_moved(args->operand)) {
        owner_say_moved(args->operand, "and mount the pool where it is now");
        return TOOL_OWNED;
    }
    return rc ? tool_pool_error(args->operand, rc, TOOL_OPENING) : tool_end_output(TOOL_OK);
}

const struct tool_command tool_files = {
    .name = "files",
    .operand = "POOL",
    .summary = "List the files that a pool knows, and what is cached of each",
    .help = "If a process has the pool open, it must be a cachemax-mount of yours, which is\n"
            "asked then; one that is ending is waited for, 10 seconds at most. A file is known\n"
            "by its id, which 'cachemax dump POOL file FILE' shows for a file of the system. Hits\n"
            "are blocks; they are estimated. If the pool was made with --names, the name of each\n"
            "file is shown that its program has given it; bytes that a terminal should not get\n"
            "are shown as \\x1b and the like.\n"
            "\n"
            "  dirty     unsynced writes may exist: a power cut would drop its blocks\n"
            "  racy      cold when it is attached next\n"
            "  bypassed  a failed fsync keeps it out of the cache until the next boot\n"
            "  pinned    its blocks stay ('cachemax pin')\n"
            "\n"
            "Examples:\n"
            "  cachemax files /pmem/cache.pool\n"
            "  cachemax files /pmem/cache.pool --sort used\n"
            "  cachemax files /pmem/cache.pool --sort name\n"
            "  cachemax files /pmem/cache.pool --json | jq '.files[0]'\n",
    .options = files_options,
    .noptions = FILES_OPTIONS,
    .run = run_files,
};
