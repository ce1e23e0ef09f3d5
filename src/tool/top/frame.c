/* SPDX-License-Identifier: BSD-2-Clause
 *
 * frame.c - lines of text that fit a terminal.
 *
 * Owns: the buffer of a frame, and where it is cut. For a terminal a frame begins at the upper left
 * corner, each line erases what stood behind it, and the end erases what stood below, so nothing
 * flickers. Otherwise it is plain lines without blanks at their ends.
 *
 * Who: cmd_top.c, view.c.
 */
#include "tool/top/frame.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void add(struct frame *f, const char *bytes, size_t n)
{
    if (f->len + n > f->room) {
        const size_t room = 2 * (f->len + n);
        char *wide = realloc(f->text, room);

        if (!wide) {
            f->lost = true;
            return;
        }
        f->text = wide;
        f->room = room;
    }
    memcpy(f->text + f->len, bytes, n);
    f->len += n;
}

static void add_text(struct frame *f, const char *text)
{
    add(f, text, strlen(text));
}

void frame_begin(struct frame *f)
{
    f->len = 0;
    f->column = f->row = 0;
    f->lost = false;
    if (f->styled)
        add_text(f, "\033[H");
}

/* Columns that a character takes: none if it belongs to the one before, two in East Asian texts. */
static int width(uint32_t c)
{
    static const struct {
        uint32_t first, last;
        int columns;
    } other[] = {
        { 0x300, 0x36f, 0 },   { 0x1100, 0x115f, 2 },   { 0x200b, 0x200d, 0 },
        { 0x2e80, 0xa4cf, 2 }, { 0xac00, 0xd7a3, 2 },   { 0xf900, 0xfaff, 2 },
        { 0xfe00, 0xfe0f, 0 }, { 0xfe30, 0xfe6f, 2 },   { 0xff00, 0xff60, 2 },
        { 0xffe0, 0xffe6, 2 }, { 0x1f300, 0x1faff, 2 }, { 0x20000, 0x3fffd, 2 },
    };

    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        if (c >= other[i].first && c <= other[i].last)
            return other[i].columns;
    return 1;
}

void frame_text(struct frame *f, const char *format, ...)
{
    char text[2048];
    va_list ap;

    if (frame_left(f) <= 0)
        return;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    for (const char *p = text; *p;) {
        uint32_t code;
        const size_t n = tool_utf8(p, &code);
        const bool shown = n == 1 || (n > 1 && f->unicode);
        const int columns = shown ? width(code) : 1;

        if (f->column + columns > f->columns)
            return;
        if (shown)
            add(f, p, n);
        else
            add_text(f, "?");
        f->column += columns;
        p += n ? n : 1;
    }
}

void frame_to(struct frame *f, int column)
{
    if (f->column > column)
        frame_text(f, " ");
    while (f->column < column && f->column < f->columns && frame_left(f) > 0)
        frame_text(f, " ");
}

void frame_bold(struct frame *f, bool bold)
{
    if (f->styled)
        add_text(f, bold ? "\033[1m" : "\033[0m");
}

void frame_spark(struct frame *f, const double *value, size_t n, double most)
{
    static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    static const char *const ascii[] = { "_", ".", ",", "-", "=", "+", "*", "#" };
    const int marks = sizeof(blocks) / sizeof(blocks[0]);

    for (size_t i = 0; i < n; i++) {
        const double share = most > 0 ? value[i] / most : 0;
        /* Only what is zero has the lowest mark, only what is the most the highest. */
        int mark = value[i] > 0 ? 1 + (int)(share * (marks - 2)) : 0;

        if (mark >= marks)
            mark = marks - 1;
        if (value[i] < 0)
            frame_text(f, " ");
        else
            frame_text(f, "%s", (f->unicode ? blocks : ascii)[mark]);
    }
}

void frame_line_end(struct frame *f)
{
    if (frame_left(f) <= 0)
        return;
    /* After a full line the cursor is still in its last column, which erasing would clear. */
    if (f->styled && f->column < f->columns)
        add_text(f, "\033[K");
    if (f->styled && f->row + 1 < f->rows)
        add_text(f, "\n");
    while (!f->styled && f->len > 0 && f->text[f->len - 1] == ' ')
        f->len--;
    if (!f->styled)
        add_text(f, "\n");
    f->row++;
    f->column = 0;
}

int frame_left(const struct frame *f)
{
    return f->rows - f->kept - f->row;
}

void frame_end(struct frame *f)
{
    if (f->styled)
        add_text(f, "\033[J");
}

void frame_free(struct frame *f)
{
    free(f->text);
    f->text = NULL;
    f->room = 0;
}
