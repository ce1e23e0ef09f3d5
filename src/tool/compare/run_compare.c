/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run_compare.c - how the command becomes the program cachemax-compare.
 *
 * Owns: the command line of that program. The program is called by this file alone: it takes the
 * values as made here.
 *
 * Who: cmd_compare.c.
 */
#include "tool/compare/compare.h"
#include "tool/os.h"

#define PROGRAM "cachemax-compare"

int compare_run(const struct tool_args *args, uint64_t size)
{
    static char program[] = PROGRAM, names[COMPARE_OPTIONS][24], bytes[TOOL_NUMBER_MAX];
    char *argv[2 * COMPARE_OPTIONS + 2];
    size_t n = 0;

    (void)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)size);
    argv[n++] = program;
    for (unsigned i = 0; i < COMPARE_OPTIONS; i++) {
        if (!args->value[i] && i != COMPARE_SIZE)
            continue;
        (void)snprintf(names[i], sizeof(names[i]), "--%s", tool_compare.options[i].name);
        argv[n++] = names[i];
        argv[n++] = i == COMPARE_SIZE ? bytes : (char *)(uintptr_t)args->value[i];
    }
    argv[n] = NULL;
    tool_message(NULL, "cannot run " PROGRAM ": %s; it is installed beside this command, on Linux",
                 os_error_text(os_become(PROGRAM, argv)));
    return TOOL_FAILED;
}
