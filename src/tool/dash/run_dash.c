/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run_dash.c - how the command becomes the program cachemax-dash.
 *
 * Owns: the command line of that program, made anew from what was read.
 *
 * Who: cmd_dash.c.
 */
#include "tool/dash/dash.h"
#include "tool/os.h"

#define PROGRAM "cachemax-dash"

int dash_run(const struct tool_args *args)
{
    static char program[] = PROGRAM, end[] = "--";
    static char names[DASH_OPTIONS][24];
    char *argv[2 * DASH_OPTIONS + DASH_POOLS + 3];
    size_t n = 0;
    int error;

    argv[n++] = program;
    for (unsigned i = 0; i < DASH_OPTIONS; i++) {
        if (!args->value[i])
            continue;
        (void)snprintf(names[i], sizeof(names[i]), "--%s", tool_dash.options[i].name);
        argv[n++] = names[i];
        argv[n++] = (char *)(uintptr_t)args->value[i];
    }
    argv[n++] = end;
    argv[n++] = (char *)(uintptr_t)args->operand;
    for (unsigned i = 0; i < DASH_POOLS - 1 && args->more[i]; i++)
        argv[n++] = (char *)(uintptr_t)args->more[i];
    argv[n] = NULL;
    error = os_become(PROGRAM, argv);
    tool_message(NULL,
                 "cannot run " PROGRAM ": %s; it is built beside this command if libmicrohttpd is "
                 "installed (see -Ddash in meson_options.txt)",
                 os_error_text(error));
    return TOOL_FAILED;
}
