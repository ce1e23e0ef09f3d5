/* SPDX-License-Identifier: BSD-2-Clause
 *
 * view.h - what "cachemax top" shows.
 */
#ifndef CM_TOOL_VIEW_H
#define CM_TOOL_VIEW_H

#include "tool/seen_files.h"
#include "tool/seen_history.h"
#include "tool/top/frame.h"

struct view {
    const char *pool;
    double interval; /* seconds */
    bool live;       /* with a line of keys at the end */
    struct seen_history history;
    struct seen_files files;
    int files_error; /* of the last look */
};
void view_draw(const struct view *v, struct frame *f);

#endif
