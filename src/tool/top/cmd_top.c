/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_top.c - "cachemax top": a live view of a pool in the terminal.
 *
 * Reads the statistics page as "stats" does, and the headers and the file table as "dump" does, so
 * it works on any pool, whoever has it open, and disturbs no process. The terminal is restored
 * however the view ends. There is no library for it: a few escape sequences, which every terminal
 * of today knows, do what is needed.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/os.h"
#include "tool/top/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_INTERVAL, TOP_ONCE, TOP_ASCII, TOP_OPTIONS };

static const struct tool_option top_options[TOP_OPTIONS] = {
    [TOP_INTERVAL] = { "interval", 'i', TOOL_NEEDS_ARG, "SECONDS",
                       "look every so many seconds (default 1)" },
    [TOP_ONCE] = { "once", 0, TOOL_NO_ARG, NULL,
                   "look twice, an interval apart, print plain text and end" },
    [TOP_ASCII] = { "ascii", 'a', TOOL_NO_ARG, NULL,
                    "ASCII alone; so is it where the locale is not UTF-8" },
};

#define INTERVAL_MIN 0.1
#define INTERVAL_MAX 3600.0
#define FILES_EVERY_NS UINT64_C(10000000000) /* a look at the files reads many pages */
#define NO_WINDOW 1000                       /* rows */
#define ONCE_LOOKS 4u                        /* at records: each takes up to some seconds */

static int read_interval(const char *text, double *interval)
{
    char *end;

    *interval = 1;
    if (!text)
        return TOOL_OK;
    errno = 0;
    *interval = strtod(text, &end);
    if (*text && *end == '\0' && errno == 0 && *interval >= INTERVAL_MIN &&
        *interval <= INTERVAL_MAX)
        return TOOL_OK;
    tool_message(NULL, "--interval '%s' is not a number of seconds from %.1f to %.0f", text,
                 INTERVAL_MIN, INTERVAL_MAX);
    return TOOL_USAGE;
}

/* Looks at the pool again. 0 or an error of the library. */
static int look(struct view *v, uint64_t *files_at)
{
    const int rc = seen_history_add(&v->history, v->pool);

    if (rc == 0 && (*files_at == 0 || cm_now() - *files_at >= FILES_EVERY_NS)) {
        v->files_error = seen_files_look(v->pool, &v->files);
        *files_at = cm_now();
    }
    return rc;
}

static int write_frame(const struct frame *f)
{
    return f->lost ? CM_ENOMEM : os_write_stdout(f->text, f->len);
}

static int once(struct view *v, struct frame *f)
{
    uint64_t files_at = 0;
    int rc = look(v, &files_at);

    for (unsigned n = 1; rc == 0 && v->files.more && n < ONCE_LOOKS; n++)
        v->files_error = seen_files_look(v->pool, &v->files);
    if (rc == 0) {
        os_sleep(v->interval);
        rc = look(v, &files_at);
    }
    if (rc != 0)
        return tool_pool_error(v->pool, rc, TOOL_OPENING);
    os_screen_size(&f->columns, &f->rows);
    f->rows = NO_WINDOW;
    view_draw(v, f);
    if (!f->lost)
        (void)fwrite(f->text, 1, f->len, stdout);
    return tool_end_output(f->lost ? TOOL_FAILED : TOOL_OK);
}

static int draw(const struct view *v, struct frame *f)
{
    os_screen_size(&f->columns, &f->rows);
    view_draw(v, f);
    return write_frame(f);
}

/* Shows the last look until the next one is due. True: the user wants to end. */
static bool show(const struct view *v, struct frame *f, uint64_t until, int *lost)
{
    *lost = draw(v, f);
    for (uint64_t now = cm_now(); !*lost && !os_interrupted() && now < until; now = cm_now()) {
        const int key = os_wait_key((double)(until - now) / 1e9);

        if (key == 'q' || key == 'Q')
            return true;
        if (key == OS_KEY_REDRAW)
            *lost = draw(v, f);
    }
    return *lost || os_interrupted();
}

static int live(struct view *v, struct frame *f)
{
    const uint64_t every = (uint64_t)(v->interval * 1e9);
    uint64_t files_at = 0, next = cm_now();
    int lost = 0, rc = look(v, &files_at);

    if (rc != 0)
        return tool_pool_error(v->pool, rc, TOOL_OPENING);
    f->styled = true;
    os_catch_interrupts();
    if (!os_screen_begin()) {
        tool_message(NULL, "this terminal does not know escape sequences (TERM is 'dumb' or not "
                           "set; on Windows, its properties say 'use legacy console'); with --once "
                           "one view is printed");
        return TOOL_FAILED;
    }
    do {
        next = cm_now() < next + every ? next + every : cm_now() + every;
        if (show(v, f, next, &lost))
            break;
        rc = look(v, &files_at);
    } while (rc == 0);
    os_screen_end();
    if (rc != 0)
        return tool_pool_error(v->pool, rc, TOOL_OPENING);
    if (os_interrupted())
        os_end_interrupted();
    return lost ? TOOL_FAILED : TOOL_OK;
}

static int run_top(const struct tool_args *args)
{
    struct frame f = { .unicode = !args->value[TOP_ASCII] && os_shows_unicode() };
    struct view *v = calloc(1, sizeof(*v));
    int rc;

    if (!v) {
        tool_message(args->operand, "out of memory");
        return TOOL_FAILED;
    }
    v->pool = args->operand;
    v->live = !args->value[TOP_ONCE];
    rc = read_interval(args->value[TOP_INTERVAL], &v->interval);
    if (rc == TOOL_OK && v->live && !os_is_terminal(1)) {
        tool_message(NULL, "standard output is not a terminal; with --once one view is printed");
        rc = TOOL_USAGE;
    } else if (rc == TOOL_OK) {
        rc = v->live ? live(v, &f) : once(v, &f);
    }
    frame_free(&f);
    free(v);
    return rc;
}

const struct tool_command tool_top = {
    .name = "top",
    .operand = "POOL",
    .summary = "Show what a pool does, as a live view in the terminal",
    .help =
        "Works on any pool, also while another process has it open. q or Ctrl-C ends it.\n"
        "\n"
        "Each row of the first table has the rate of the last interval, the sum since the pool "
        "was\n"
        "opened, and a graph of the last minutes with the value that its top stands for. MB\n"
        "are 1000000 bytes. Hits are timed for 1 in 64 calls, origin reads all of them.\n"
        "\n"
        "The files are those with the most in the pool, counted every ten seconds (in a pool with\n"
        "more than a million blocks a sample is counted). Their hits are those that were noted\n"
        "when they were closed last. What waits in the memory of the pool's process is not seen.\n"
        "\n"
        "Examples:\n"
        "  cachemax top /pmem/cache.pool\n"
        "  cachemax top /pmem/cache.pool --interval 5\n"
        "  cachemax top /pmem/cache.pool --once > report.txt\n",
    .options = top_options,
    .noptions = TOP_OPTIONS,
    .run = run_top,
};
