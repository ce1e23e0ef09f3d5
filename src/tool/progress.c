/* SPDX-License-Identifier: BSD-2-Clause
 *
 * progress.c - a progress bar on standard error, if that is a terminal.
 *
 * The bar is drawn at most ten times a second, in one line, and erased at the end, so that no part
 * of it stays beside the messages. The rate is the average since the start. The time left follows
 * from the rate. The same callback passes on a wish to stop: it cancels after a signal was caught.
 *
 * Who: the commands that show how far they are.
 */
#include "tool/tool.h"
#include "tool/os.h"

#include <inttypes.h>
#include <string.h>

#define DRAW_EVERY_NS UINT64_C(100000000)
#define NAP_SECONDS 0.1
#define BAR_WIDTH 24
#define BAR_WIDTH_MIN 5

void progress_begin(struct tool_progress *p, const char *label, uint64_t bytes, bool quiet)
{
    memset(p, 0, sizeof(*p));
    p->label = label;
    p->bytes = bytes;
    p->began = cm_now();
    p->quiet = quiet;
    p->shown = !quiet && os_is_terminal(2);
}

static void format_left(char *text, size_t n, double seconds)
{
    uint64_t s = seconds < 359999 ? (uint64_t)(seconds + 0.5) : 359999;

    if (s >= 3600)
        (void)snprintf(text, n, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60,
                       s % 60);
    else
        (void)snprintf(text, n, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
}

/* "[####....] " in at most `room` columns; nothing if that is too little to read. */
static void format_bar(char *bar, int room, double share)
{
    int width = room - 3 < BAR_WIDTH ? room - 3 : BAR_WIDTH;

    bar[0] = '\0';
    if (width < BAR_WIDTH_MIN)
        return;
    bar[0] = '[';
    memset(bar + 1, '.', (size_t)width);
    memset(bar + 1, '#', (size_t)(share * width));
    memcpy(bar + 1 + width, "] ", 3);
}

static void draw(struct tool_progress *p, double share, double seconds)
{
    char bar[BAR_WIDTH + 4], tail[160], rate[TOOL_NUMBER_MAX], left[32] = "?";
    char of[3 * TOOL_NUMBER_MAX] = "", done[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX];
    /* The room in the line, without the last column, where some terminals would wrap. */
    int room = os_terminal_width() - 1 - (int)strlen(p->label) - 1;

    if (share > 0)
        format_left(left, sizeof(left), seconds * (1 - share) / share);
    if (p->bytes) {
        double work = share * (double)p->bytes;

        (void)snprintf(of, sizeof(of), "  %s of %s  %s/s", tool_bytes(done, (uint64_t)work),
                       tool_bytes(all, p->bytes),
                       tool_bytes(rate, seconds > 0 ? (uint64_t)(work / seconds) : 0));
    }
    (void)snprintf(tail, sizeof(tail), "%3d %%%s  ETA %s", (int)(share * 100), of, left);
    format_bar(bar, room - (int)strlen(tail), share);
    (void)fprintf(stderr, "\r%s %s%.*s\033[K", p->label, bar, room > 0 ? room : 0, tail);
    (void)fflush(stderr);
    p->on_screen = true;
}

int progress_step(void *ctx, uint64_t done, uint64_t total)
{
    struct tool_progress *p = ctx;
    uint64_t now = cm_now();

    if (p->shown && total > 0 && (!p->drawn || now - p->drawn >= DRAW_EVERY_NS)) {
        double share = done < total ? (double)done / (double)total : 1.0;

        draw(p, share, (double)(now - p->began) / 1e9);
        p->drawn = now;
    }
    return os_interrupted();
}

void progress_keep_to_rate(struct tool_progress *p, uint64_t rate, uint64_t read, uint64_t done,
                           uint64_t total)
{
    while (rate && !os_interrupted()) {
        const double due = (double)read / (double)rate - (double)(cm_now() - p->began) / 1e9;

        if (due <= 0)
            return;
        os_sleep(due < NAP_SECONDS ? due : NAP_SECONDS);
        (void)progress_step(p, done, total);
    }
}

void progress_end(struct tool_progress *p)
{
    if (p->on_screen)
        (void)fputs("\r\033[K", stderr);
    p->on_screen = false;
    (void)fflush(stderr);
}
