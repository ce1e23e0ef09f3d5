/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_forget.c - "cachemax forget": the blocks of files leave the pool of a running mount.
 *
 * The mount forgets what it has of a file, durably. What the kernel has of it is dropped by this
 * process, because the mount must not wait for the kernel's pages.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"

#include <inttypes.h>

enum { FORGET_QUIET, FORGET_JSON, FORGET_OPTIONS };

static const struct tool_option forget_options[FORGET_OPTIONS] = {
    [FORGET_QUIET] = { "quiet", 'q', TOOL_NO_ARG, NULL,
                       "no progress, and nothing if all went well" },
    [FORGET_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

struct forget {
    struct tool_progress progress;
    const struct control_files *list;
    uint64_t all, names;    /* paths; and those that are done */
    uint64_t again;         /* of these, other names (hard links) of files that count already */
    uint64_t files, pinned; /* forgotten */
    uint64_t failed;
};

static int on_done(struct sweep *s, struct control_file *file)
{
    struct forget *g = s->ctx;
    const bool again = !files_counts(g->list, (size_t)(file - g->list->v), 0);

    g->names++;
    g->again += again;
    if (s->end.code == 0) {
        g->files += !again;
        g->pinned += !again && s->pinned;
        os_drop_pages(file->path);
    } else {
        g->failed++;
        progress_end(&g->progress);
        files_complain(file, &s->end);
    }
    return progress_step(&g->progress, g->names, g->all);
}

static int forget_files(struct control_files *f, const struct tool_args *args)
{
    struct forget g = { .list = f, .all = f->n };
    struct sweep s = { .verb = "forget", .done = on_done, .ctx = &g, .progress = &g.progress };
    struct tool_json j;
    int rc;

    progress_begin(&g.progress, "forget", 0, args->value[FORGET_QUIET] != NULL);
    rc = files_sweep(f, &s);
    g.all -= s.gone;
    progress_end(&g.progress);
    if (rc != TOOL_OK)
        return rc;
    if (args->value[FORGET_JSON]) {
        json_begin(&j, stdout, false);
        json_number(&j, "files", g.all - g.again);
        json_number(&j, "forgotten_files", g.files);
        json_number(&j, "failed_files", g.failed);
        json_number(&j, "pinned_files", g.pinned);
        json_end(&j);
    } else if (!args->value[FORGET_QUIET]) {
        (void)printf("%" PRIu64 " %s forgotten", g.files, g.files == 1 ? "file" : "files");
        if (g.pinned)
            (void)printf("; %" PRIu64 " pinned: what is read again of %s stays ('cachemax unpin')",
                         g.pinned, g.pinned == 1 ? "it" : "them");
        (void)putchar('\n');
    }
    return tool_end_output(g.failed ? TOOL_FAILED : f->failed ? TOOL_PARTLY : TOOL_OK);
}

static int run_forget(const struct tool_args *args)
{
    struct control_files files;
    int rc;

    rc = files_collect(&files, args, NULL);
    if (rc == TOOL_OK)
        rc = forget_files(&files, args);
    files_free(&files);
    if (os_interrupted())
        os_end_interrupted();
    return rc;
}

const struct tool_command tool_forget = {
    .name = "forget",
    .on_mounts = true,
    .operand = "PATH...",
    .many = true,
    .summary = "Forget what the pool of a mount has of files",
    .help = "PATH is a file or a directory on a running mount of cachemax-mount; directories\n"
            "with all that is in them, but not what was mounted inside the mount. The next read\n"
            "of such a file comes from its own place. Use it to make room, or after a file was\n"
            "changed without the mount; its name and size may then be old for some seconds\n"
            "(entry_timeout, attr_timeout). A pinned file stays pinned. Needs the user of the "
            "mount, or root.\n"
            "\n"
            "Examples:\n"
            "  cachemax forget /srv/data/old\n"
            "  cachemax forget /srv/data/a.img /srv/data/b.img\n",
    .options = forget_options,
    .noptions = FORGET_OPTIONS,
    .run = run_forget,
};
