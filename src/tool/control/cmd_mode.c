/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_mode.c - "cachemax mode": shows or sets the mode of the pool of a running mount.
 *
 * The mount is named by a directory on it or by its pool. The mode is one of the library's
 * (cm_set_mode), and lasts until the mount ends.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"

#include <stdlib.h>
#include <string.h>

enum { MODE_JSON, MODE_OPTIONS };

static const struct tool_option mode_options[MODE_OPTIONS] = {
    [MODE_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

static const char *const names[] = {
    [CM_NORMAL] = "normal", [CM_FREEZE] = "freeze", [CM_BYPASS] = "bypass"
};
#define NMODES (sizeof(names) / sizeof(names[0]))
#define ANSWER_SECONDS 10

static void on_is(void *ctx, const char *name, const char *value)
{
    uint64_t *mode = ctx;

    if (!strcmp(name, "mode") && !control_number(value, mode))
        *mode = NMODES;
}

/* The mount that `path` names: *m gets what it takes to ask it. A pool has no device. */
static int find_mount(const char *path, struct os_mount *m)
{
    struct control_files f = { .v = NULL };
    size_t mount;
    char *real = NULL;
    int rc;

    *m = (struct os_mount){ .id = 0 };
    if (files_on_dead(&f, path)) {
        files_free(&f);
        return TOOL_NO_MOUNT;
    }
    if (!os_is_directory(path)) {
        cm_info info = { .struct_size = sizeof(info) };

        rc = cm_pool_info(path, &info);
        if (rc != 0)
            return tool_pool_error(path, rc, TOOL_OPENING);
        if (!info.owned || !os_owner(path, &m->user)) {
            tool_message(path, "no process has this pool open; the mode is that of a running "
                               "cachemax-mount, and ends with it");
            return TOOL_NO_MOUNT;
        }
        m->source = os_real_path(path);
    } else {
        rc = files_mount_of(&f, path, &real, &mount);
        if (rc == TOOL_OK) { /* take it out of the list */
            *m = f.mounts[mount];
            f.mounts[mount].source = f.mounts[mount].point = NULL;
        }
        free(real);
        files_free(&f);
        if (rc != TOOL_OK)
            return rc;
    }
    return m->source ? TOOL_OK : TOOL_FAILED;
}

/* A service has its pool open, too, and no socket of this kind: it has other users. */
static void complain(const char *where, const struct os_mount *m, int error)
{
    cm_info info = { .struct_size = sizeof(info) };
    char program[OS_PROGRAM] = "";

    if ((error > 0 || error == CONTROL_OTHER) && !m->point && cm_pool_info(m->source, &info) == 0 &&
        info.owner_pid && os_whereabouts(info.owner_pid, m->source) != OS_HIDDEN)
        os_program(info.owner_pid, program);
    if (program[0] && strcmp(program, "cachemax-mount") != 0)
        tool_message(where,
                     "is open in process %u (%s), and only a cachemax-mount with a pool of its own "
                     "lets its mode be set; of a service, name the directory of one of its mounts "
                     "to see the mode",
                     (unsigned)info.owner_pid, program);
    else if (!m->point && owner_has_moved(where))
        owner_say_moved(where, "and mount the pool where it is now");
    else
        control_complain(where, m, error);
}

/* mode < 0: asks only. *now: the mode after that. */
static int ask(const char *where, const struct os_mount *m, int mode, uint64_t *now)
{
    const struct control_listener listener = { .is = on_is, .ctx = now };
    struct control *c = calloc(1, sizeof(*c));
    struct control_end end = { .code = 0 };
    int error = c ? control_open_mount(c, m, ANSWER_SECONDS) : CONTROL_ENDED;

    if (error == 0 && !m->point)
        error = control_has_pool(c, m->source, ANSWER_SECONDS);
    if (error == 0 && mode >= 0)
        error = control_ask(c, "mode", (uint64_t)mode, "", ANSWER_SECONDS, NULL, &end);
    if (error == 0 && end.code == 0)
        error = control_ask(c, "status", 0, "", ANSWER_SECONDS, &listener, &end);
    if (error)
        complain(where, m, error);
    else if (end.code)
        tool_message(where, "%s", end.text);
    if (c)
        control_close(c);
    free(c);
    if (error || control_is_away(end.code))
        return TOOL_NO_MOUNT;
    return end.code ? TOOL_FAILED : TOOL_OK;
}

/* -1: none was given; -2: an unknown one, after a message. */
static int read_mode(const char *text)
{
    const char *near;

    if (!text)
        return -1;
    for (size_t i = 0; i < NMODES; i++)
        if (!strcmp(text, names[i]))
            return (int)i;
    near = tool_nearest(text, names, sizeof(names[0]), NMODES);
    tool_message(NULL, "unknown mode '%s'; write normal, freeze or bypass%s%s%s", text,
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return -2;
}

static int run_mode(const struct tool_args *args)
{
    const int mode = read_mode(args->more[0]);
    uint64_t now = NMODES;
    struct tool_json j;
    struct os_mount m;
    int rc;

    if (mode < -1)
        return TOOL_USAGE;
    if (args->more[1]) {
        tool_message(NULL, "'mode' takes one mode, but got '%s' and '%s'", args->more[0],
                     args->more[1]);
        return TOOL_USAGE;
    }
    rc = find_mount(args->operand, &m);
    if (rc == TOOL_OK)
        rc = ask(args->operand, &m, mode, &now);
    if (rc == TOOL_OK && args->value[MODE_JSON]) {
        json_begin(&j, stdout, false);
        json_string(&j, "pool", m.source);
        json_string(&j, "mode", now < NMODES ? names[now] : "unknown");
        json_end(&j);
    } else if (rc == TOOL_OK) {
        (void)printf("%s\n", now < NMODES ? names[now] : "unknown");
    }
    free(m.source);
    free(m.point);
    return rc == TOOL_OK ? tool_end_output(rc) : rc;
}

const struct tool_command tool_mode = {
    .name = "mode",
    .on_mounts = true,
    .operand = "POOL|DIR",
    .more = "[normal|freeze|bypass]",
    .summary = "Show or set the mode of the pool of a running mount",
    .help = "DIR is a directory on a running mount of cachemax-mount, POOL the pool of one. The\n"
            "mode that the mount has then is printed. It lasts until the mount ends; the next one\n"
            "begins as normal. Needs the user of the mount, or root.\n"
            "\n"
            "  normal  serve what is cached, and store what is read\n"
            "  freeze  serve what is cached, and store nothing: a backup pushes nothing out\n"
            "  bypass  serve nothing and store nothing: reads come from the files' own place\n"
            "\n"
            "Examples:\n"
            "  cachemax mode /srv/data\n"
            "  cachemax mode /pmem/cache.pool freeze\n",
    .options = mode_options,
    .noptions = MODE_OPTIONS,
    .run = run_mode,
};
