/* SPDX-License-Identifier: BSD-2-Clause
 *
 * first_files.c - has a pool begun to push out what "cachemax warm" has warmed first?
 *
 * The mount warms one file at a time, and each of them may fit. What was warmed leaves the pool in
 * the order in which it came. So now and then the first files are asked for again.
 *
 * Who: cmd_warm.c.
 */
#include "tool/control/control.h"

/* Bytes of the first files. The pool may displace a few blocks at any time. */
#define ENOUGH (UINT64_C(256) << 10)
#define STEP (UINT64_C(4) << 20) /* bytes that are stored between two questions */
#define FILES_MAX 256u           /* that are asked for, with those between them */

void files_first_anew(struct first_files *w)
{
    w->file = NULL;
    w->bytes = 0;
}

static void add(struct first_files *w, struct control_file *file, uint64_t stored)
{
    w->stored += stored;
    if (!file->whole || stored == 0 || w->bytes >= ENOUGH)
        return;
    if (w->file && file - w->file >= FILES_MAX) /* most were cached already */
        files_first_anew(w);
    if (!w->file)
        w->file = file;
    file->first = true;
    w->n = (size_t)(file - w->file) + 1;
    w->bytes += file->size;
}

static int add_missing(struct sweep *s, struct control_file *file)
{
    uint64_t *missing = s->ctx;

    if (file->first && s->end.code == 0 && s->cached < s->size)
        *missing += s->size - s->cached;
    return 0;
}

bool files_first_leave(struct first_files *w, struct control_file *file, uint64_t stored)
{
    uint64_t missing = 0;
    struct sweep s = {
        .verb = "cached", .done = add_missing, .ctx = &missing, .progress = w->progress
    };
    struct control_files some = *w->all;

    add(w, file, stored);
    if (w->bytes < ENOUGH || w->stored - w->asked < STEP)
        return false;
    w->asked = w->stored;
    some.v = w->file;
    some.n = w->n;
    return files_sweep(&some, &s) == TOOL_OK && missing > w->bytes / 8;
}
