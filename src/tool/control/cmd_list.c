/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_list.c - "cachemax list": the mounts of cachemax-mount on this machine, and their pools.
 *
 * The system lists the mounts; each is asked through its control socket for the rest. A mount of
 * another user, or one that does not answer, is shown with what the system says.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIST_JSON, LIST_OPTIONS };

static const struct tool_option list_options[LIST_OPTIONS] = {
    [LIST_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

#define ANSWER_SECONDS 2
#define USER_MAX 64

struct quota {
    uint64_t used, most;
    char *path; /* below the directory */
};

struct row {
    const struct os_mount *mount;
    char user[USER_MAX];
    bool service;            /* the pool is that of a service, and the source its socket */
    int error;               /* of the attempt to open it */
    bool dead;               /* its process is gone */
    bool pool_gone;          /* its pool file is */
    bool answers;            /* the rest is known */
    const char *why;         /* else */
    bool io_uring;           /* requests come by it */
    char uuid[CONTROL_UUID]; /* of its pool */
    uint64_t process, since, mode, hits, misses, size, slots, used;
    uint64_t pinned_files, pinned, pinned_max;
    struct quota quota[CM_GROUPS_MAX];
    size_t quotas;
};

static void add_quota(struct row *r, const char *value)
{
    struct control_quota q;
    char *path;

    if (r->quotas == CM_GROUPS_MAX || !control_quota(value, &q))
        return;
    path = malloc(strlen(q.path) + 1);
    if (!path)
        return;
    memcpy(path, q.path, strlen(q.path) + 1);
    r->quota[r->quotas++] = (struct quota){ q.used, q.most, path };
}

static void on_is(void *ctx, const char *name, const char *value)
{
    struct row *r = ctx;
    const bool io_uring = !strcmp(name, "requests") && !strcmp(value, "io_uring");
    uint64_t *const at = !strcmp(name, "since")          ? &r->since
                         : !strcmp(name, "mode")         ? &r->mode
                         : !strcmp(name, "hits")         ? &r->hits
                         : !strcmp(name, "misses")       ? &r->misses
                         : !strcmp(name, "size")         ? &r->size
                         : !strcmp(name, "slots")        ? &r->slots
                         : !strcmp(name, "used")         ? &r->used
                         : !strcmp(name, "pinned_files") ? &r->pinned_files
                         : !strcmp(name, "pinned")       ? &r->pinned
                         : !strcmp(name, "pinned_max")   ? &r->pinned_max
                                                         : NULL;

    r->io_uring |= io_uring;
    if (!strcmp(name, "service"))
        r->service = true;
    else if (!strcmp(name, "uuid"))
        (void)snprintf(r->uuid, sizeof(r->uuid), "%s", value);
    else if (!strcmp(name, "quota"))
        add_quota(r, value);
    else if (at && !control_number(value, at))
        *at = 0;
}

static void look(struct row *r, struct control *c)
{
    const struct control_listener listener = { .is = on_is, .ctx = r };
    struct control_end end = { .code = 0 };
    int error;

    os_user_name(r->mount->user, r->user, sizeof(r->user));
    r->service = os_is_socket(r->mount->source);
    if (r->mount->source[0] != '/') {
        r->why = CONTROL_UNTOLD;
        return;
    }
    error = control_open_mount(c, r->mount, ANSWER_SECONDS);
    if (error == 0) {
        r->process = c->process;
        error = control_ask(c, "status", 0, "", ANSWER_SECONDS, &listener, &end);
        control_close(c);
    }
    r->answers = error == 0 && end.code == 0;
    r->error = error;
    r->dead = control_is_dead(error);
    r->pool_gone = !r->service && (control_pool_is_gone(r->mount) ||
                                   (r->answers && !control_is_pool(r->mount->source, r->uuid)));
    r->why = error                          ? control_why(r->mount, error)
             : control_is_away(end.code)    ? control_error_text(end.code)
             : end.code == CONTROL_CROWD    ? "too many clients"
             : end.code == CONTROL_RESIZING ? "its pool gets another size at this moment"
             : end.code == CONTROL_NO_POOL
                 ? "its pool cannot be opened again (see its log); it is tried every few seconds"
             : end.code == CM_EFORGET ? "it gave its pool up (see its log): nothing is cached"
                                      : cm_strerror(end.code);
}

static const char *mode_name(uint64_t mode)
{
    return mode == CM_NORMAL   ? "normal"
           : mode == CM_FREEZE ? "freeze"
           : mode == CM_BYPASS ? "bypass"
                               : "unknown";
}

static void json_row(struct tool_json *j, const struct row *r)
{
    json_open(j, NULL);
    json_string(j, "directory", r->mount->point);
    json_string(j, r->service ? "service" : "pool", r->mount->source);
    json_string(j, "user", r->user);
    json_number(j, "uid", r->mount->user);
    json_bool(j, "answers", r->answers);
    json_bool(j, "dead", r->dead);
    if (r->answers) {
        json_number(j, "process", r->process);
        json_number(j, "since_ns", r->since);
        json_string(j, "mode", mode_name(r->mode));
        json_string(j, "requests", r->io_uring ? "io_uring" : "/dev/fuse");
        json_number(j, "hits", r->hits);
        json_number(j, "misses", r->misses);
        if (r->hits + r->misses)
            json_decimal(j, "hit_rate_percent", tool_share(r->hits, r->hits + r->misses), 2);
        else
            json_null(j, "hit_rate_percent");
        json_number(j, "size", r->size);
        json_decimal(j, "used_percent", tool_share(r->used, r->slots), 2);
        json_number(j, "pinned_files", r->pinned_files);
        json_number(j, "pinned_bytes", r->pinned);
        json_number(j, "pinned_max_bytes", r->pinned_max);
        json_open_array(j, "quotas");
        for (size_t i = 0; i < r->quotas; i++) {
            json_open(j, NULL);
            json_string(j, "path", r->quota[i].path);
            json_number(j, "used_bytes", r->quota[i].used);
            json_number(j, "max_bytes", r->quota[i].most);
            json_close(j);
        }
        json_close_array(j);
    } else {
        json_string(j, "why", r->why);
    }
    json_close(j);
}

static void print_text(const char *before, const char *text)
{
    char *shown = malloc(TOOL_PRINTABLE_MAX(strlen(text)));

    (void)printf("%s%s", before, shown ? tool_printable(shown, text) : "-");
    free(shown);
}

/* `quotas`: with them. */
static void print_row(const struct row *r, bool quotas)
{
    const time_t at = (time_t)(r->since / 1000000000);
    struct tm *local = r->answers ? localtime(&at) : NULL;
    char since[32] = "-", rate[16] = "-", process[24] = "-";

    if (local)
        (void)strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S", local);
    if (r->answers && r->hits + r->misses)
        (void)snprintf(rate, sizeof(rate), "%.2f", tool_share(r->hits, r->hits + r->misses));
    if (r->answers)
        (void)snprintf(process, sizeof(process), "%" PRIu64, r->process);
    (void)printf("%-12s %8s %-19s %7s %-8s", r->user, process, since, rate,
                 r->dead      ? "dead"
                 : r->answers ? mode_name(r->mode)
                              : "-");
    print_text(" ", r->mount->point);
    print_text(" ", r->mount->source);
    if (!r->answers)
        print_text(" - ", r->why);
    else if (r->pool_gone)
        (void)printf(" - " CONTROL_POOL_LOST);
    if (r->dead)
        (void)printf("; 'fusermount3 -u' it%s", control_after_dead(r->mount, r->error));
    (void)putchar('\n');
    for (size_t i = 0; i < r->quotas && quotas; i++) {
        char used[TOOL_NUMBER_MAX], most[TOOL_NUMBER_MAX];

        (void)printf("  quota %s of %s", tool_bytes(used, r->quota[i].used),
                     tool_bytes(most, r->quota[i].most));
        print_text(" ", r->quota[i].path);
        (void)putchar('\n');
    }
}

/* Of the places of one mount: its quotas count for all of them together. */
static bool is_last_of(const struct os_mount *mounts, size_t n, size_t i)
{
    for (size_t k = i + 1; k < n; k++)
        if (control_same_mount(&mounts[i], &mounts[k]))
            return false;
    return true;
}

/* Processes of mounts that none of the rows is of. */
struct unseen {
    uint64_t process[64];
    size_t n;
    bool unsure; /* a row has a process that is not known */
};

static void take_away(struct unseen *u, const struct row *r)
{
    u->unsure |= r->process == 0 && !r->dead;
    for (size_t i = 0; i < u->n; i++)
        if (u->process[i] == r->process)
            u->process[i--] = u->process[--u->n];
}

/* One that was unmounted here serves on as long as another mount namespace has it. */
static void say_unseen(const struct unseen *u)
{
    for (size_t i = 0; i < u->n && !u->unsure; i++)
        tool_message(NULL,
                     "process %" PRIu64
                     " (cachemax-mount) has a mount that is not seen here: it begins or ends at "
                     "this moment, or another mount namespace (a container, say) still has it, "
                     "maybe one that was unmounted here. 'grep -l fuse.cachemax "
                     "/proc/[0-9]*/mountinfo' names who sees it: unmount it there, or kill the "
                     "process",
                     u->process[i]);
}

/* A mount may be at several places (directories, bind mounts): each is shown. */
static int run_list(const struct tool_args *args)
{
    struct control *c = calloc(1, sizeof(*c));
    struct os_mount *mounts = NULL;
    struct unseen unseen = { .n = 0 };
    struct tool_json j;
    size_t n = 0;
    int error = c ? os_read_mounts(&mounts, &n) : 0;

    if (!c || error) {
        tool_message(NULL, "the mounts cannot be listed: %s",
                     c ? os_error_text(error) : "out of memory");
        free(c);
        return TOOL_FAILED;
    }
    unseen.n = os_processes("cachemax-mount", unseen.process,
                            sizeof(unseen.process) / sizeof(unseen.process[0]));
    if (args->value[LIST_JSON]) {
        json_begin(&j, stdout, false);
        json_open_array(&j, "mounts");
    } else if (n > 0) {
        (void)printf("%-12s %8s %-19s %7s %-8s directory pool\n", "user", "process", "since",
                     "hits %", "mode");
    }
    for (size_t i = 0; i < n; i++) {
        struct row r = { .mount = &mounts[i] };

        look(&r, c);
        take_away(&unseen, &r);
        if (args->value[LIST_JSON])
            json_row(&j, &r);
        else
            print_row(&r, is_last_of(mounts, n, i));
        for (size_t k = 0; k < r.quotas; k++)
            free(r.quota[k].path);
    }
    if (args->value[LIST_JSON]) {
        json_close_array(&j);
        json_end(&j);
    } else {
        say_unseen(&unseen);
    }
    os_free_mounts(mounts, n);
    free(c);
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_list = {
    .name = "list",
    .on_mounts = true,
    .operand = NULL,
    .summary = "List the mounts of cachemax-mount, and their pools",
    .help = "Lists the mounts that this process can see. What a mount says of itself (process,\n"
            "since when, hit rate, mode) is known to its user and root. Hits count since the\n"
            "mount began; what the kernel serves from its own pages is not among them. Pools that\n"
            "no mount has are not listed. A dead mount is one whose process is gone: unmount it\n"
            "(fusermount3 -u), and mount it again. Below a mount, or the last of its\n"
            "directories, are its quotas (cachemax-mount --quota): how much of the pool the files\n"
            "of a directory take, and may take.\n"
            "\n"
            "Examples:\n"
            "  cachemax list\n"
            "  cachemax list --json | jq -r '.mounts[].directory'\n",
    .options = list_options,
    .noptions = LIST_OPTIONS,
    .run = run_list,
};
