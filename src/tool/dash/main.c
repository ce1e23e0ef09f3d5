/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - the program cachemax-dash, where the command does not serve itself.
 *
 * Owns: nothing. It says its version, or reads the options that run_dash.c has made and
 * serves.
 *
 * Who: users, and run_dash.c.
 */
#include "tool/dash/dash.h"
#include "tool/os.h"

#include <string.h>

int main(int argc, char **argv)
{
    struct tool_args args;
    bool help;
    int rc;

    os_start(&argc, &argv);
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
        (void)printf("cachemax-dash %s\n", cm_version());
        return tool_end_output(TOOL_OK);
    }
    rc = tool_read_args(&tool_dash, argc - 1, argv + 1, &args, &help);
    if (rc != TOOL_OK)
        return rc;
    if (help) {
        (void)puts("cachemax-dash is run by 'cachemax dash'; see 'cachemax dash --help'.");
        return tool_end_output(TOOL_OK);
    }
    return dash_run(&args);
}
