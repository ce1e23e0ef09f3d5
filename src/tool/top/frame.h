/* SPDX-License-Identifier: BSD-2-Clause
 *
 * frame.h - lines of text that fit a terminal.
 */
#ifndef CM_TOOL_FRAME_H
#define CM_TOOL_FRAME_H

#include "tool/tool.h"

struct frame {
    int columns, rows; /* what there is room for; set by the caller */
    int kept;          /* rows at the end that are not for now; text for them is left out */
    bool unicode;      /* else ASCII alone */
    bool styled;       /* for a terminal: escape sequences */
    /* frame.c: */
    char *text;
    size_t len, room;
    int column, row; /* where the next text comes */
    bool lost;       /* out of memory: the frame is not whole */
};
void frame_begin(struct frame *f);
/* Adds text; what is beyond the last column is left out. Text of unknown origin must have been
 * through tool_printable(). */
void frame_text(struct frame *f, const char *format, ...) TOOL_PRINTF(2, 3);
/* Blanks up to a column, at least one unless it is there already. */
void frame_to(struct frame *f, int column);
void frame_bold(struct frame *f, bool bold);
/* One mark for each value from 0 to `most`. Negative: not known, a blank. */
void frame_spark(struct frame *f, const double *value, size_t n, double most);
void frame_line_end(struct frame *f);
/* Rows that are left. */
int frame_left(const struct frame *f);
/* Completes the text: f->text, f->len. */
void frame_end(struct frame *f);
void frame_free(struct frame *f);

#endif
