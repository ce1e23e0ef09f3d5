/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_completion.c - "cachemax completion": what a shell needs to complete the command line.
 *
 * Made from the tables of the commands alone, so it is never behind them. What an argument is
 * follows from its name there: words with "|" between them are what can be written, a name such as
 * POOL or FILE is that of a file, and anything else is not completed.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/tool.h"

#include <string.h>

/* ---- What the tables say --------------------------------------------------------------------- */

#define WORD_LEN 32

/* The next word of "[normal|freeze]" or "superblock|slot N|..." that is to be written as it stands.
 * Moves *text. False: there is none. */
static bool next_word(const char **text, char word[WORD_LEN])
{
    while (*text && **text) {
        const char *at = *text + strspn(*text, "[|");
        const size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz-");

        *text = at + strcspn(at, "|");
        if (n > 0 && n < WORD_LEN) {
            memcpy(word, at, n);
            word[n] = '\0';
            return true;
        }
    }
    return false;
}

static bool has_words(const char *text)
{
    char word[WORD_LEN];

    return text && next_word(&text, word);
}

static bool names_file(const char *text)
{
    static const char *const kinds[] = { "POOL", "FILE", "DIR", "PATH", "TRACE" };

    for (size_t i = 0; text && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const size_t n = strlen(kinds[i]);

        for (const char *p = text; *p; p++)
            if (!strncmp(p, kinds[i], n))
                return true;
    }
    return false;
}

static bool takes_file(const struct tool_command *c)
{
    return names_file(c->operand) || names_file(c->more);
}

/* ` WORD' for each, with `before` and `after` around it. */
static void print_words(const char *text, const char *before, const char *after)
{
    char word[WORD_LEN];

    while (text && next_word(&text, word))
        (void)printf("%s%s%s", before, word, after);
}

static bool needs_value(const struct tool_option *o)
{
    return o->argument == TOOL_NEEDS_ARG || o->argument == TOOL_NEEDS_TWO;
}

/* Prints text between single quotes; what the shell takes for its own there is escaped. */
static void print_quoted(const char *text, const char *escaped, const char *quote)
{
    for (; *text; text++) {
        if (*text == '\'')
            (void)fputs(quote, stdout);
        else if (strchr(escaped, *text))
            (void)printf("\\%c", *text);
        else
            (void)putchar(*text);
    }
}

/* ---- bash ------------------------------------------------------------------------------------ */

static void bash_value(const struct tool_option *o)
{
    if (!needs_value(o))
        return;
    (void)printf("        --%s", o->name);
    if (o->letter)
        (void)printf(" | -%c", o->letter);
    (void)fputs(") known=yes", stdout);
    if (has_words(o->argument_name)) {
        (void)fputs(" words='", stdout);
        print_words(o->argument_name, " ", "");
        (void)fputs("'", stdout);
    } else if (names_file(o->argument_name)) {
        (void)fputs(" files=yes", stdout);
    }
    (void)fputs(" ;;\n", stdout);
}

static void bash_command(const struct tool_command *c)
{
    (void)printf("    %s)\n        case $prev in\n", c->name);
    for (size_t i = 0; i < c->noptions; i++)
        bash_value(&c->options[i]);
    (void)fputs("        esac\n        options='--help", stdout);
    for (size_t i = 0; i < c->noptions; i++)
        (void)printf(" --%s", c->options[i].name);
    (void)fputs("'\n        operands='", stdout);
    print_words(c->operand, " ", "");
    print_words(c->more, " ", "");
    (void)printf("'\n        operand_files=%s\n        ;;\n", takes_file(c) ? "yes" : "");
}

static void print_bash(void)
{
    const struct tool_command *c;

    (void)puts("# bash completion for cachemax; made by 'cachemax completion bash'\n"
               "_cachemax()\n"
               "{\n"
               "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
               "    local words='' files='' known='' options='' operands='' operand_files=''\n"
               "    # bash takes '--name=value' for three words.\n"
               "    if [[ $prev == = && COMP_CWORD -ge 2 ]]; then\n"
               "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
               "    elif [[ $cur == = ]]; then\n"
               "        cur=''\n"
               "    fi\n"
               "    COMPREPLY=()");
    (void)fputs("    if ((COMP_CWORD == 1)) || [[ ${COMP_WORDS[1]} == help ]]; then\n"
                "        known=yes words='help --help --version",
                stdout);
    for (size_t i = 0; (c = tool_command_at(i)) != NULL; i++)
        (void)printf(" %s", c->name);
    (void)puts("'\n    fi\n    case ${COMP_WORDS[1]} in");
    for (size_t i = 0; (c = tool_command_at(i)) != NULL; i++)
        bash_command(c);
    (void)puts("    esac\n"
               "    if [[ ! $known && $cur == -* ]]; then\n"
               "        words=$options\n"
               "    elif [[ ! $known ]]; then\n"
               "        words=$operands files=$operand_files\n"
               "    fi\n"
               "    mapfile -t COMPREPLY < <(\n"
               "        compgen -W \"$words\" -- \"$cur\"\n"
               "        [[ ! $files ]] || compgen -f -- \"$cur\"\n"
               "    )\n"
               "    [[ ! $files ]] || compopt -o filenames 2>/dev/null\n"
               "}\n"
               "complete -F _cachemax cachemax");
}

/* ---- zsh ------------------------------------------------------------------------------------- */

#define ZSH_ESCAPED "[]:\\"
#define ZSH_QUOTE "'\\''"

/* ":NAME:ACTION", what completes an argument. */
static void zsh_action(const char *name)
{
    (void)fputs(":", stdout);
    print_quoted(name, ZSH_ESCAPED, ZSH_QUOTE);
    (void)fputs(":", stdout);
    if (has_words(name)) {
        (void)fputs("(", stdout);
        print_words(name, " ", "");
        (void)fputs(" )", stdout);
    } else if (names_file(name)) {
        (void)fputs("_files", stdout);
    }
}

static void zsh_option(const struct tool_option *o, const char *dashes, const char *name,
                       const char *joined)
{
    (void)printf(" \\\n            '%s%s%s[", dashes, name, joined);
    print_quoted(o->help, ZSH_ESCAPED, ZSH_QUOTE);
    (void)fputs("]", stdout);
    if (o->argument == TOOL_MAY_ARG)
        (void)fputs(":", stdout);
    if (o->argument != TOOL_NO_ARG)
        zsh_action(o->argument_name);
    if (o->argument == TOOL_NEEDS_TWO)
        (void)fputs(":second:", stdout);
    (void)fputs("'", stdout);
}

static void zsh_command(const struct tool_command *c)
{
    (void)printf("    %s)\n        _arguments -s -S \\\n            '--help[print help]'", c->name);
    for (size_t i = 0; i < c->noptions; i++) {
        const struct tool_option *o = &c->options[i];
        const char letter[] = { o->letter, '\0' };

        zsh_option(o, "--", o->name,
                   o->argument == TOOL_MAY_ARG     ? "=-"
                   : o->argument == TOOL_NEEDS_ARG ? "="
                                                   : "");
        if (o->letter)
            zsh_option(o, "-", letter, o->argument == TOOL_MAY_ARG ? "-" : "");
    }
    if (has_words(c->more)) {
        (void)printf(" \\\n            '1:%s:_files' \\\n            '2:what:(", "POOL");
        print_words(c->more, " ", "");
        (void)fputs(" )' \\\n            '*:argument:_files'", stdout);
    } else if (has_words(c->operand)) {
        (void)fputs(" \\\n            '1", stdout);
        zsh_action(c->operand);
        (void)fputs("'", stdout);
    } else if (takes_file(c)) {
        (void)fputs(" \\\n            '*:path:_files'", stdout);
    }
    (void)puts("\n        ;;");
}

static void print_zsh(void)
{
    const struct tool_command *c;

    (void)puts("#compdef cachemax\n"
               "# zsh completion for cachemax; made by 'cachemax completion zsh'\n"
               "_cachemax()\n"
               "{\n"
               "    local -a commands\n"
               "    commands=(");
    for (size_t i = 0; (c = tool_command_at(i)) != NULL; i++) {
        (void)printf("        '%s:", c->name);
        print_quoted(c->summary, ":\\", ZSH_QUOTE);
        (void)puts("'");
    }
    (void)puts("    )\n"
               "    if ((CURRENT == 2)) || [[ $words[2] == help ]]; then\n"
               "        _describe command commands\n"
               "        return\n"
               "    fi\n"
               "    shift words\n"
               "    ((CURRENT--))\n"
               "    case $words[1] in");
    for (size_t i = 0; (c = tool_command_at(i)) != NULL; i++)
        zsh_command(c);
    (void)puts("    esac\n"
               "}\n"
               "if [[ $funcstack[1] == _cachemax ]]; then\n"
               "    _cachemax \"$@\"\n"
               "else\n"
               "    compdef _cachemax cachemax\n"
               "fi");
}

/* ---- fish ------------------------------------------------------------------------------------ */

static void fish_option(const struct tool_command *c, const struct tool_option *o)
{
    (void)printf("complete -c cachemax -n '__fish_seen_subcommand_from %s' -l %s", c->name,
                 o->name);
    if (o->letter)
        (void)printf(" -s %c", o->letter);
    if (needs_value(o))
        (void)fputs(names_file(o->argument_name) ? " -r -F" : " -x", stdout);
    if (needs_value(o) && has_words(o->argument_name)) {
        (void)fputs(" -a '", stdout);
        print_words(o->argument_name, " ", "");
        (void)fputs("'", stdout);
    }
    (void)fputs(" -d '", stdout);
    print_quoted(o->help, "\\", "\\'");
    (void)puts("'");
}

static void fish_command(const struct tool_command *c)
{
    (void)printf("complete -c cachemax -n __fish_use_subcommand -a %s -d '", c->name);
    print_quoted(c->summary, "\\", "\\'");
    (void)printf("'\ncomplete -c cachemax -n '__fish_seen_subcommand_from %s' -l help\n", c->name);
    for (size_t i = 0; i < c->noptions; i++)
        fish_option(c, &c->options[i]);
    if (takes_file(c))
        (void)printf("complete -c cachemax -n '__fish_seen_subcommand_from %s' -F\n", c->name);
    if (has_words(c->operand) || has_words(c->more)) {
        (void)printf("complete -c cachemax -n '__fish_seen_subcommand_from %s' -a '", c->name);
        print_words(c->operand, " ", "");
        print_words(c->more, " ", "");
        (void)puts("'");
    }
}

static void print_fish(void)
{
    const struct tool_command *c;

    (void)puts("# fish completion for cachemax; made by 'cachemax completion fish'\n"
               "complete -c cachemax -f\n"
               "complete -c cachemax -n __fish_use_subcommand -l help\n"
               "complete -c cachemax -n __fish_use_subcommand -l version");
    for (size_t i = 0; (c = tool_command_at(i)) != NULL; i++)
        fish_command(c);
}

/* ---------------------------------------------------------------------------------------------- */

static int run_completion(const struct tool_args *args)
{
    static const struct {
        const char *name; /* the first member, as tool_nearest() needs it */
        void (*print)(void);
    } shells[] = { { "bash", print_bash }, { "zsh", print_zsh }, { "fish", print_fish } };
    const size_t n = sizeof(shells) / sizeof(shells[0]);
    const char *near;

    for (size_t i = 0; i < n; i++)
        if (!strcmp(args->operand, shells[i].name)) {
            shells[i].print();
            return tool_end_output(TOOL_OK);
        }
    near = tool_nearest(args->operand, shells, sizeof(shells[0]), n);
    tool_message(NULL, "unknown shell '%s'; write bash, zsh or fish%s%s%s", args->operand,
                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return TOOL_USAGE;
}

const struct tool_command tool_completion = {
    .name = "completion",
    .operand = "bash|zsh|fish",
    .summary = "Print what a shell needs to complete this command",
    .help = "An installed cachemax has these files where the shells look for them.\n"
            "\n"
            "Examples:\n"
            "  source <(cachemax completion bash)\n"
            "  cachemax completion zsh > ~/.zfunc/_cachemax\n"
            "  cachemax completion fish > ~/.config/fish/completions/cachemax.fish\n",
    .run = run_completion,
};
