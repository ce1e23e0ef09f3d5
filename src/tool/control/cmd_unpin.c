/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_unpin.c - "cachemax unpin": pinned files of a running mount are as other files again.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { UNPIN_ALL, UNPIN_QUIET, UNPIN_JSON, UNPIN_OPTIONS };

static const struct tool_option unpin_options[UNPIN_OPTIONS] = {
    [UNPIN_ALL] = { "all", 'a', TOOL_NO_ARG, NULL,
                    "all pinned files of the mount on which PATH lies" },
    [UNPIN_QUIET] = { "quiet", 'q', TOOL_NO_ARG, NULL,
                      "no progress, and nothing if all went well" },
    [UNPIN_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

struct unpin {
    struct tool_progress progress;
    uint64_t all, files, failed;
    uint64_t unpinned; /* of them: those that had a pin */
};

static int on_done(struct sweep *s, struct control_file *file)
{
    struct unpin *u = s->ctx;

    u->files++;
    if (s->end.code == 0) {
        u->unpinned += s->pinned != 0;
    } else {
        u->failed++;
        progress_end(&u->progress);
        files_complain(file, &s->end);
    }
    return progress_step(&u->progress, u->files, u->all);
}

static int print(const struct tool_args *args, const struct unpin *u, int rc)
{
    struct tool_json j;

    if (args->value[UNPIN_JSON]) {
        json_begin(&j, stdout, false);
        json_number(&j, "files", u->all);
        json_number(&j, "unpinned_files", u->unpinned);
        json_number(&j, "failed_files", u->failed);
        json_end(&j);
    } else if (!args->value[UNPIN_QUIET]) {
        (void)printf("%" PRIu64 " %s unpinned\n", u->unpinned, u->unpinned == 1 ? "file" : "files");
    }
    return tool_end_output(rc);
}

static int unpin_files(const struct tool_args *args)
{
    struct control_files files;
    struct unpin u = { .all = 0 };
    struct sweep s = { .verb = "unpin", .done = on_done, .ctx = &u, .progress = &u.progress };
    int rc;

    rc = files_collect(&files, args, NULL);
    if (rc == TOOL_OK) {
        u.all = files.n;
        progress_begin(&u.progress, "unpin", 0, args->value[UNPIN_QUIET] != NULL);
        rc = files_sweep(&files, &s);
        u.all -= s.gone;
        progress_end(&u.progress);
    }
    if (rc == TOOL_OK)
        rc = print(args, &u, u.failed ? TOOL_FAILED : files.failed ? TOOL_PARTLY : TOOL_OK);
    files_free(&files);
    if (os_interrupted())
        os_end_interrupted();
    return rc;
}

/* ---- All ------------------------------------------------------------------------------------- */

static void on_is(void *ctx, const char *name, const char *value)
{
    uint64_t *files = ctx;

    if (!strcmp(name, "files") && !control_number(value, files))
        *files = 0;
}

static int unpin_mount(const char *path, const struct os_mount *m, struct unpin *u)
{
    const struct control_listener listener = { .is = on_is, .ctx = &u->all };
    struct control *c = calloc(1, sizeof(*c));
    struct control_end end = { .code = 0 };
    int error = c ? control_open_mount(c, m, OS_FOREVER) : CONTROL_ENDED;

    if (error == 0)
        error = control_ask(c, "unpinall", 0, "", OS_FOREVER, &listener, &end);
    if (error)
        control_complain(path, m, error);
    else if (end.code)
        tool_message(path, "%s", end.text);
    if (c)
        control_close(c);
    free(c);
    u->unpinned = u->all;
    return error ? TOOL_NO_MOUNT : end.code ? TOOL_FAILED : TOOL_OK;
}

static int unpin_all(const struct tool_args *args)
{
    struct control_files f = { .v = NULL };
    struct unpin u = { .all = 0 };
    char *real = NULL;
    size_t mount;
    int rc;

    if (args->noperands != 1) {
        tool_message(NULL,
                     "'unpin --all' needs one PATH on the mount whose pinned files are meant, "
                     "such as 'cachemax unpin --all /srv/data'");
        return TOOL_USAGE;
    }
    rc = files_mount_of(&f, args->operands[0], &real, &mount);
    if (rc == TOOL_OK)
        rc = unpin_mount(args->operands[0], &f.mounts[mount], &u);
    free(real);
    files_free(&f);
    return rc == TOOL_OK ? print(args, &u, rc) : rc;
}

static int run_unpin(const struct tool_args *args)
{
    if (args->value[UNPIN_ALL])
        return unpin_all(args);
    return unpin_files(args);
}

const struct tool_command tool_unpin = {
    .name = "unpin",
    .on_mounts = true,
    .operand = "PATH...",
    .many = true,
    .summary = "Files on a mount that were pinned are as others again",
    .help = "PATH is a file or a directory on a running mount of cachemax-mount; directories\n"
            "with all that is in them, but not what was mounted inside the mount. What is cached\n"
            "of the files stays until something else needs the room. With --all every pinned\n"
            "file of the pool is unpinned, also one that was deleted where the mount could not\n"
            "see it; what nobody has open of these is forgotten, too. Needs the user of the\n"
            "mount, or root.\n"
            "\n"
            "Examples:\n"
            "  cachemax unpin /srv/data/images/base.qcow2\n"
            "  cachemax unpin --all /srv/data\n",
    .options = unpin_options,
    .noptions = UNPIN_OPTIONS,
    .run = run_unpin,
};
