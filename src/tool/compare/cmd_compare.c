/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_compare.c - "cachemax compare": slow volume, fast volume, and the one through the other.
 *
 * Owns the options and checks their values. On Linux the work is done by a program of its own,
 * cachemax-compare, written in Python, because fio is what measures and prints JSON. The command
 * becomes that program (run_compare.c). On Windows there is no mount to measure: the command reads
 * through the library itself (here.c).
 *
 * Who: main.c, by its table of commands; run_compare.c.
 */
#include "tool/compare/compare.h"

#define SIZE_LEAST (UINT64_C(8) << 20)
#define SIZE_MOST (UINT64_C(1) << 40)

static const struct tool_option compare_options[COMPARE_OPTIONS] = {
    [COMPARE_ORIGIN] = { "origin", 'o', TOOL_NEEDS_ARG, "DIR", "a directory on the slow volume" },
    [COMPARE_POOL_VOLUME] = { "pool-volume", 'p', TOOL_NEEDS_ARG, "DIR",
                              "a directory on the fast volume" },
    [COMPARE_MOUNT] = { "mount", 'm', TOOL_NEEDS_ARG, "DIR",
                        "work in this directory of the slow volume, and not in that of --origin" },
    [COMPARE_SIZE] = { "size", 's', TOOL_NEEDS_ARG, "SIZE",
                       "of all test files on one volume (default 1G)" },
    [COMPARE_SECONDS] = { "seconds", 't', TOOL_NEEDS_ARG, "N", "of each measurement (default 5)" },
    [COMPARE_ROUNDS] = { "rounds", 'r', TOOL_NEEDS_ARG, "N", "medians are of so many (default 3)" },
    [COMPARE_JSON] = { "json", 'j', TOOL_NEEDS_ARG, "FILE", "write the results there as JSON" },
    [COMPARE_SVG] = { "svg", 0, TOOL_NEEDS_ARG, "FILE", "write a chart there" },
    [COMPARE_CLEAN] = { "clean", 0, TOOL_NEEDS_ARG, "DIR",
                        "only remove what a killed run left in this directory" },
};

static int usage(const char *text)
{
    tool_message(NULL, "%s", text);
    (void)fputs("Try 'cachemax compare --help'.\n", stderr);
    return TOOL_USAGE;
}

static bool count_is_well(const char *text)
{
    uint64_t count;

    return !text || (tool_parse_count(text, &count) == TOOL_SIZE_OK && count >= 1 &&
                     count <= COMPARE_COUNT_MOST);
}

static int check_values(const struct tool_args *args, uint64_t *size)
{
    bool rough;

    for (unsigned i = 0; i < COMPARE_OPTIONS; i++)
        if (args->value[i] && !*args->value[i])
            return usage("an option of 'compare' has an empty value");
    if (args->value[COMPARE_CLEAN]) {
        for (unsigned i = 0; i < COMPARE_CLEAN; i++)
            if (args->value[i])
                return usage("--clean stands alone");
    } else if (!args->value[COMPARE_ORIGIN] || !args->value[COMPARE_POOL_VOLUME]) {
        return usage("'compare' needs --origin DIR and --pool-volume DIR");
    }
    if (args->value[COMPARE_SIZE] &&
        (tool_parse_size(args->value[COMPARE_SIZE], size, &rough) != TOOL_SIZE_OK ||
         *size < SIZE_LEAST || *size > SIZE_MOST))
        return usage("--size needs a size from 8M to 1T, such as 2G");
    if (!count_is_well(args->value[COMPARE_SECONDS]))
        return usage("--seconds needs a number from 1 to 9999");
    if (!count_is_well(args->value[COMPARE_ROUNDS]))
        return usage("--rounds needs a number from 1 to 9999");
    return TOOL_OK;
}

static int run_compare(const struct tool_args *args)
{
    uint64_t size = UINT64_C(1) << 30;
    const int rc = check_values(args, &size);

    return rc == TOOL_OK ? compare_run(args, size) : rc;
}

const struct tool_command tool_compare = {
    .name = "compare",
    .summary = "Measure slow volume, fast volume and the cache between them",
    .help =
        "Measures with fio: the slow volume alone, the fast volume alone, and the slow volume\n"
        "through cachemax-mount with a pool on the fast one, cold and warm. They take turns.\n"
        "\n"
        "All test files, the pool and the mount are in a directory 'cachemax-compare.d' that the\n"
        "command makes in each of the two, and removes at the end, also after Ctrl-C or an error.\n"
        "Nothing else is covered or changed. What a killed run left is removed by the next one.\n"
        "Needs fio, Python 3 and the right to mount. cachemax(1) describes output and JSON.\n"
        "On Windows it needs none of them: it reads one file itself, without a mount.\n"
        "\n"
        "Examples:\n"
        "  cachemax compare --origin /srv/data --pool-volume /mnt/pmem --svg chart.svg\n"
        "  cachemax compare -o /srv/data -p /mnt/pmem --size 20G --seconds 30 --json result.json\n"
        "  cachemax compare --clean /srv/data\n",
    .options = compare_options,
    .noptions = COMPARE_OPTIONS,
    .run = run_compare,
};
