/* SPDX-License-Identifier: BSD-2-Clause
 *
 * main.c - the cachemax command line: finds the command, answers --help and --version.
 *
 * The table of a command (in cmd_*.c) says everything about it. This file only searches the tables,
 * so a new command is one line here.
 *
 * Who: users; cmd_completion.c.
 */
#include "tool/tool.h"
#include "tool/os.h"

#include <string.h>

static const struct {
    const char *name; /* the first member, as tool_nearest() needs it */
    const struct tool_command *command;
} commands[] = {
    { "create", &tool_create },
    { "resize", &tool_resize },
    { "info", &tool_info },
    { "check", &tool_check },
    { "stats", &tool_stats },
    { "cat", &tool_cat },
    { "bench", &tool_bench },
    { "replay", &tool_replay },
    { "advise", &tool_advise },
    { "dump", &tool_dump },
    { "files", &tool_files },
    { "top", &tool_top },
    { "dash", &tool_dash },
    { "compare", &tool_compare },
    { "warm", &tool_warm },
    { "forget", &tool_forget },
    { "pin", &tool_pin },
    { "unpin", &tool_unpin },
    { "cached", &tool_cached },
    { "mode", &tool_mode },
    { "record", &tool_record },
    { "list", &tool_list },
    { "completion", &tool_completion },
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct tool_command *tool_command_at(size_t i)
{
    return i < NCOMMANDS ? commands[i].command : NULL;
}

/* Is it of use on this system? */
static bool works_here(const struct tool_command *c)
{
    return !c->on_mounts || os_has_mounts();
}

static void print_statuses(void)
{
    static const struct {
        int value;
        const char *text;
    } statuses[] = {
#define TOOL_X(name, value, text) { value, text },
        TOOL_STATUS_MAP(TOOL_X)
#undef TOOL_X
    };

    (void)puts("\nExit status:");
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        (void)printf("  %3d  %s\n", statuses[i].value, statuses[i].text);
}

static int print_help(void)
{
    (void)puts("cachemax makes and looks after pools: persistent read caches in one file.\n"
               "\n"
               "Usage: cachemax COMMAND ...\n"
               "       cachemax COMMAND --help\n"
               "       cachemax --help | --version\n"
               "\n"
               "Commands:");
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (works_here(commands[i].command))
            (void)printf("  %-10s %s\n", commands[i].name, commands[i].command->summary);
    (void)puts("\n"
               "A pool only holds copies: it may be deleted whenever no process has it open.");
    print_statuses();
    return tool_end_output(TOOL_OK);
}

#define USAGE_WIDTH 80

static int print_command_help(const struct tool_command *c)
{
    const int n =
        printf("%s.\n\nUsage: cachemax %s%s%s%s%s", c->summary, c->name, c->operand ? " " : "",
               c->operand ? c->operand : "", c->more ? " " : "", c->more ? c->more : "") -
        (int)strlen(c->summary);

    (void)printf("%s[OPTION]...\n\nOptions:\n", n > USAGE_WIDTH ? "\n       " : " ");
    for (size_t i = 0; i <= c->noptions; i++) {
        static const struct tool_option help = { "help", 'h', TOOL_NO_ARG, NULL,
                                                 "print this and exit" };
        const struct tool_option *o = i < c->noptions ? &c->options[i] : &help;
        char letter[8] = "    ", name[48];

        if (o->letter)
            (void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        (void)snprintf(name, sizeof(name), "%s--%s%s%s%s", letter, o->name,
                       o->argument == TOOL_MAY_ARG  ? "[="
                       : o->argument == TOOL_NO_ARG ? ""
                                                    : " ",
                       o->argument == TOOL_NO_ARG ? "" : o->argument_name,
                       o->argument == TOOL_MAY_ARG ? "]" : "");
        (void)printf("  %-24s %s\n", name, o->help);
    }
    (void)printf("\n%s\nExit statuses: see 'cachemax --help'.\n", c->help);
    return tool_end_output(TOOL_OK);
}

static const struct tool_command *find_command(const char *name)
{
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (!strcmp(commands[i].name, name))
            return commands[i].command;
    }
    return NULL;
}

static int no_command(void)
{
    const char *between = "cachemax: a command is needed: ";

    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (!works_here(commands[i].command))
            continue;
        (void)fprintf(stderr, "%s%s", between, commands[i].name);
        between = ", ";
    }
    (void)fputs("\nTry 'cachemax --help'.\n", stderr);
    return TOOL_USAGE;
}

/* Are these the arguments that mount(8) gives its helper: SOURCE DIR -o OPTIONS? */
static bool are_of_mount(int argc, char **argv)
{
    return os_has_mounts() && argc > 3 && os_is_directory(argv[2]) && !strcmp(argv[3], "-o");
}

static bool is_path(const char *name)
{
    uint64_t size;

    return strpbrk(name, "/\\") || os_is_directory(name) || os_file_size(name, &size);
}

/* Without its helper for the type fuse.cachemax, mount(8) calls mount.fuse3, and that a program
 * with the name "cachemax". */
static int unknown_command(const char *name, bool is_mount)
{
    static const char *const options[] = { "--help", "--version" };
    const char *near = NULL, *kind = name[0] == '-' ? "option" : "command";

    if (name[0] == '-')
        near = tool_nearest(name, options, sizeof(options[0]), 2);
    else if (!strpbrk(name, "/\\"))
        near = tool_nearest(name, commands, sizeof(commands[0]), NCOMMANDS);

    if (near)
        tool_message(NULL, "unknown %s '%s'; did you mean '%s'?", kind, name, near);
    else if (is_mount)
        tool_message(NULL, "mount(8) called this program, because there is no "
                           "/sbin/mount.fuse.cachemax. As root: ln -s "
                           "PREFIX/sbin/mount.fuse.cachemax /sbin/ (PREFIX: where cachemax-mount "
                           "is installed, such as /usr/local)");
    else if (is_path(name))
        tool_message(NULL, "'%s' is a path: a command must come first, as in 'cachemax info POOL'",
                     name);
    else
        tool_message(NULL, "unknown %s '%s'", kind, name);
    (void)fputs("Try 'cachemax --help'.\n", stderr);
    return TOOL_USAGE;
}

int main(int argc, char **argv)
{
    const struct tool_command *command;
    struct tool_args args;
    bool help;
    int rc;

    os_start(&argc, &argv);
    if (argc < 2)
        return no_command();
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        (void)printf("cachemax %s\n", cm_version());
        return tool_end_output(TOOL_OK);
    }
    help = !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help");
    if (help && argc < 3)
        return print_help();
    command = find_command(argv[help ? 2 : 1]);
    if (!command)
        return unknown_command(argv[help ? 2 : 1], !help && are_of_mount(argc, argv));
    if (help)
        return print_command_help(command);
    rc = tool_read_args(command, argc - 2, argv + 2, &args, &help);
    if (rc != TOOL_OK)
        return rc;
    if (help)
        return print_command_help(command);
    if (!works_here(command)) {
        tool_message(NULL,
                     "'%s' asks a running cachemax-mount, which this system does not have; files "
                     "get into a pool here when they are read through it ('cachemax cat')",
                     command->name);
        return TOOL_NO_MOUNT;
    }
    return command->run(&args);
}
