/* SPDX-License-Identifier: BSD-2-Clause
 *
 * args.c - reads the options of a command from its table.
 *
 * The usual conventions hold: --name value, --name=value, -n value, -nvalue. Letters may be joined.
 * Options and operand may come in any order. "--" ends the options. An option with a value is there
 * once at most; one without a value may be repeated. The code does not use getopt_long(), so that a
 * mistyped option is answered with the nearest one, in the same way on every system.
 *
 * Who: main.c, and the commands whose options depend on more than their table.
 */
#include "tool/tool.h"

#include <string.h>

#define WORD_MAX 32

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

/* Number of edits (insert, delete, replace, swap neighbours) from a to b; both at most WORD_MAX
 * long. */
static size_t distance(const char *a, const char *b)
{
    size_t row[3][WORD_MAX + 1], la = strlen(a), lb = strlen(b);

    for (size_t j = 0; j <= lb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *older = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                older[j - 2] + 1 < now[j])
                now[j] = older[j - 2] + 1;
        }
    }
    return row[la % 3][lb];
}

int tool_bad_option(const char *name, const char *value, const char *want)
{
    tool_message(NULL, "--%s '%s': expected %s", name, value, want);
    return TOOL_USAGE;
}

const char *tool_nearest(const char *word, const void *names, size_t stride, size_t n)
{
    const char *best = NULL;
    size_t best_distance = 0, length = strlen(word);

    if (length == 0 || length > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const char *name = *(const char *const *)((const char *)names + i * stride);
        /* If the word is a beginning of the name, that counts as one edit. */
        size_t d = length >= 2 && !strncmp(word, name, length) ? 1 : distance(word, name);

        if (!best || d < best_distance) {
            best = name;
            best_distance = d;
        }
    }
    return best_distance <= (length + 1) / 3 ? best : NULL; /* of 4 letters 3 must be right */
}

static int usage_hint(const struct tool_command *command)
{
    (void)fprintf(stderr, "Try 'cachemax %s --help'.\n", command->name);
    return TOOL_USAGE;
}

/* Is the option "--NAME" meant to be the operand NAME? */
static bool is_operand(const struct tool_command *command, const char *name, size_t length)
{
    const char *const more = command->more;

    if (!more || strlen(more) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] != (more[i] >= 'A' && more[i] <= 'Z' ? more[i] - 'A' + 'a' : more[i]))
            return false;
    return true;
}

static int unknown_option(const struct tool_command *command, const char *arg, size_t length)
{
    static const char *const help_option = "help";
    const char *near = NULL;
    char word[WORD_MAX + 1];

    if (length > 2 && length - 2 <= WORD_MAX) {
        (void)snprintf(word, sizeof(word), "%.*s", (int)(length - 2), arg + 2);
        near = tool_nearest(word, command->options, sizeof(*command->options), command->noptions);
        if (!near)
            near = tool_nearest(word, &help_option, sizeof(char *), 1);
    }
    if (length > 2 && is_operand(command, arg + 2, length - 2))
        tool_message(NULL, "unknown option '%.*s' of '%s'; write 'cachemax %s %s %s'", (int)length,
                     arg, command->name, command->name, command->operand, command->more);
    else if (near)
        tool_message(NULL, "unknown option '%.*s' of '%s'; did you mean '--%s'?", (int)length, arg,
                     command->name, near);
    else
        tool_message(NULL, "unknown option '%.*s' of '%s'", (int)length, arg, command->name);
    return usage_hint(command);
}

struct reader {
    const struct tool_command *command;
    int argc, at; /* argv[at] is being read */
    char **argv;
    struct tool_args *args;
    bool *help;
};

/* Stores option i. `inline_value` is the value attached to it, or NULL. */
static int take_option(struct reader *r, size_t i, const char *inline_value)
{
    const struct tool_option *o = &r->command->options[i];

    if (o->argument == TOOL_NO_ARG && inline_value) {
        tool_message(NULL, "option '--%s' takes no value", o->name);
        return usage_hint(r->command);
    }
    if ((o->argument == TOOL_NEEDS_ARG || o->argument == TOOL_NEEDS_TWO) && !inline_value) {
        if (r->at + 1 >= r->argc) {
            tool_message(NULL, "option '--%s' needs a value: --%s %s", o->name, o->name,
                         o->argument_name);
            return usage_hint(r->command);
        }
        inline_value = r->argv[++r->at];
    }
    if (o->argument == TOOL_NEEDS_TWO) {
        if (r->at + 1 >= r->argc) {
            tool_message(NULL, "option '--%s' needs two values: --%s %s", o->name, o->name,
                         o->argument_name);
            return usage_hint(r->command);
        }
        r->args->second[i] = r->argv[++r->at];
    }
    if (o->argument != TOOL_NO_ARG && r->args->value[i]) {
        tool_message(NULL, "option '--%s' is there twice, and takes one value", o->name);
        return usage_hint(r->command);
    }
    r->args->value[i] = inline_value ? inline_value : "";
    return TOOL_OK;
}

static int read_long(struct reader *r, const char *arg)
{
    size_t length = strcspn(arg, "=");
    const char *value = arg[length] == '=' ? arg + length + 1 : NULL;

    if (!strcmp(arg, "--help")) {
        *r->help = true;
        return TOOL_OK;
    }
    for (size_t i = 0; i < r->command->noptions; i++) {
        const char *name = r->command->options[i].name;

        if (strlen(name) == length - 2 && !strncmp(name, arg + 2, length - 2))
            return take_option(r, i, value);
    }
    return unknown_option(r->command, arg, length);
}

static int read_letters(struct reader *r, const char *arg)
{
    for (const char *p = arg + 1; *p; p++) {
        const struct tool_option *o = r->command->options;
        size_t i = 0;
        int rc;

        if (*p == 'h') {
            *r->help = true;
            continue;
        }
        while (i < r->command->noptions && o[i].letter != *p)
            i++;
        if (i == r->command->noptions) {
            const char shown[] = { '-', *p, '\0' };

            return unknown_option(r->command, (unsigned char)*p < 0x80 ? shown : arg,
                                  (unsigned char)*p < 0x80 ? 2 : strlen(arg));
        }
        if (o[i].argument != TOOL_NO_ARG)
            return take_option(r, i, p[1] ? p + 1 : NULL);
        rc = take_option(r, i, NULL);
        if (rc != TOOL_OK)
            return rc;
    }
    return TOOL_OK;
}

/* Is it meant to be the value of --size? */
static bool is_size(const struct tool_command *c, const char *arg)
{
    uint64_t bytes;
    bool rough;

    for (size_t i = 0; i < c->noptions; i++)
        if (!strcmp(c->options[i].name, "size"))
            return tool_parse_size(arg, &bytes, &rough) == TOOL_SIZE_OK;
    return false;
}

static int take_operand(struct reader *r, const char *arg)
{
    const struct tool_command *c = r->command;
    const size_t most = c->more_max ? c->more_max : TOOL_MORE_DEFAULT;

    if (!c->operand) {
        tool_message(NULL, "'%s' takes no argument, but got '%s'", c->name, arg);
        return usage_hint(c);
    }
    if (c->many) /* where the command line has been read already */
        r->argv[r->args->noperands++] = (char *)(uintptr_t)arg;
    if (!r->args->operand) {
        r->args->operand = arg;
        return TOOL_OK;
    }
    if (c->many)
        return TOOL_OK;
    for (size_t i = 0; c->more && i < most; i++) {
        if (!r->args->more[i]) {
            r->args->more[i] = arg;
            return TOOL_OK;
        }
    }
    if (c->more) {
        tool_message(NULL, "'%s' got too many arguments, beginning with '%s'", c->name, arg);
        return usage_hint(c);
    }
    tool_message(NULL, "'%s' takes one %s, but got '%s' and '%s'", c->name, c->operand,
                 r->args->operand, arg);
    if (is_size(c, arg))
        (void)fprintf(stderr, "A size is an option: --size %s\n", arg);
    for (size_t i = 0; i < c->noptions; i++) {
        if (c->options[i].argument == TOOL_MAY_ARG && r->args->value[i] && !*r->args->value[i])
            (void)fprintf(stderr, "A value of --%s is attached to it: --%s=%s\n",
                          c->options[i].name, c->options[i].name, c->options[i].argument_name);
    }
    return usage_hint(c);
}

int tool_read_args(const struct tool_command *command, int argc, char **argv,
                   struct tool_args *args, bool *help)
{
    struct reader r = { command, argc, 0, argv, args, help };
    bool options = true;

    memset(args, 0, sizeof(*args));
    args->operands = argv;
    *help = false;
    for (; r.at < argc; r.at++) {
        const char *arg = argv[r.at];
        int rc;

        if (options && !strcmp(arg, "--")) {
            options = false;
            continue;
        }
        if (options && arg[0] == '-' && arg[1] == '-')
            rc = read_long(&r, arg);
        else if (options && arg[0] == '-' && arg[1] != '\0')
            rc = read_letters(&r, arg);
        else
            rc = take_operand(&r, arg);
        if (rc != TOOL_OK || *help)
            return rc;
    }
    if (!command->operand || (args->operand ? *args->operand != '\0' : command->operand[0] == '['))
        return TOOL_OK;
    tool_message(
        NULL, args->operand ? "'%s' got an empty name for its %s" : "'%s' needs the name of a %s",
        command->name,
        !strncmp(command->operand, "POOL", 4)    ? "pool"
        : !strncmp(command->operand, "TRACE", 5) ? "trace"
        : !strncmp(command->operand, "PATH", 4)  ? "file or directory"
        : command->operand[0] == '['             ? "directory"
        : command->operand[0] == 'b'             ? "shell"
                                                 : "file");
    return usage_hint(command);
}
