/* SPDX-License-Identifier: BSD-2-Clause
 *
 * args.c - fuzz target: the command line of "cachemax", and its numbers.
 *
 * The input has a byte that says what is done, and then words, each up to a zero byte. Every
 * command's line is read, and its --help printed. Commands that only look at a pool also run, with
 * a pool of this process and no other file; the others could write files or wait.
 */
#include "fuzz.h"

#include <unistd.h>

#include "tool/tool.h"

#define WORDS 12u
#define TEXT 64u

int tool_main(int argc, char **argv); /* main() of main.c */

static char pool[64];

static void remove_pool(void)
{
    (void)unlink(pool);
}

static void make_pool(void)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;

    if (pool[0])
        return;
    (void)snprintf(pool, sizeof(pool), "/tmp/cachemax-fuzz-%ld", (long)getpid());
    o.size = cm_pool_size_min();
    FUZZ_CHECK(cm_create(pool, &o) == 0 && atexit(remove_pool) == 0);
}

static unsigned take_words(struct fuzz_input *in, char words[WORDS][TEXT])
{
    unsigned n = 0;

    while (in->left > 0 && n < WORDS) {
        size_t k = 0;
        uint8_t c;

        while (in->left > 0 && (c = take_byte(in)) != 0)
            if (k < TEXT - 1)
                words[n][k++] = (char)c;
        words[n++][k] = '\0';
    }
    return n;
}

static void numbers(const char *text)
{
    uint64_t bytes, count, again;
    char shown[TOOL_NUMBER_MAX];
    bool rough;

    if (tool_parse_size(text, &bytes, &rough) == TOOL_SIZE_OK) {
        FUZZ_CHECK(strlen(tool_bytes_exact(shown, bytes)) < sizeof(shown));
        (void)snprintf(shown, sizeof(shown), "%llu", (unsigned long long)bytes);
        FUZZ_CHECK(tool_parse_size(shown, &again, &rough) == TOOL_SIZE_OK && again == bytes);
        (void)tool_duration(shown, bytes);
    }
    if (tool_parse_count(text, &count) == TOOL_SIZE_OK) {
        (void)snprintf(shown, sizeof(shown), "%llu", (unsigned long long)count);
        FUZZ_CHECK(tool_parse_count(shown, &again) == TOOL_SIZE_OK && again == count);
        (void)tool_count(shown, count);
    }
}

static void printable(const char *text)
{
    char *const shown = malloc(TOOL_PRINTABLE_MAX(strlen(text)));

    FUZZ_CHECK(shown != NULL);
    (void)tool_printable(shown, text);
    FUZZ_CHECK(strlen(shown) < TOOL_PRINTABLE_MAX(strlen(text)));
    for (const char *p = shown; *p; p++)
        FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
    free(shown);
}

/* A command that only looks. */
static void look(unsigned which, unsigned n, char words[WORDS][TEXT])
{
    static const char *const commands[] = { "info", "check", "files", "dump", "advise" };
    char *argv[WORDS + 4] = { (char *)(uintptr_t) "cachemax",
                              (char *)(uintptr_t)commands[which % 5], pool };
    int argc = 3;

    make_pool();
    for (unsigned i = 0; i < n; i++)
        if (!strchr(words[i], '/')) /* no other file */
            argv[argc++] = words[i];
    (void)tool_main(argc, argv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = { data, size };
    const uint8_t what = take_byte(&in);
    char words[WORDS][TEXT], *argv[WORDS + 1] = { NULL };
    const struct tool_command *command;
    const unsigned n = take_words(&in, words);
    size_t commands = 0;
    struct tool_args args;
    bool help;

    fuzz_quiet();
    for (unsigned i = 0; i < n; i++) {
        numbers(words[i]);
        printable(words[i]);
        argv[i] = words[i];
    }
    if (what & 0x80) {
        look(what & 0x7f, n, words);
        return 0;
    }
    while (tool_command_at(commands))
        commands++;
    command = tool_command_at(what % commands);
    (void)tool_read_args(command, (int)n, argv, &args, &help);
    return 0;
}
