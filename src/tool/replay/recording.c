/* SPDX-License-Identifier: BSD-2-Clause
 *
 * recording.c - reads the trace that "cachemax record" has made: one line for each thing.
 *
 * Nothing of it is believed. A line has a bounded length, numbers are checked, and a path cannot
 * lead out of the mount. A trace without its last line was cut off.
 *
 * Who: trace.c for replay, profile.c for warm.
 */
#include "tool/replay/recording.h"

#include <inttypes.h>
#include <string.h>

#define LINE_LEN (3 * RECORDING_PATH_MAX + 64) /* every byte of a path may be escaped */

struct reader {
    struct trace_input *in;
    const char *trace;
    const struct recording_listener *l;
    uint64_t line; /* its number */
    uint32_t files;
    size_t have, used; /* of text */
    bool all;          /* there are no more bytes */
    char text[4 * LINE_LEN];
};

static int damaged(const struct reader *r, const char *what)
{
    tool_message(r->trace, "is damaged: line %" PRIu64 " %s", r->line, what);
    return TOOL_REFUSED;
}

/* *line: the next one, cut off at its end; NULL: there is none. */
static int next_line(struct reader *r, char **line)
{
    char *end;
    int status = TOOL_OK;

    *line = NULL;
    end = memchr(r->text + r->used, '\n', r->have - r->used);
    if (!end && !r->all) {
        size_t got;

        memmove(r->text, r->text + r->used, r->have - r->used);
        r->have -= r->used;
        r->used = 0;
        status = trace_input_read(r->in, r->text + r->have, sizeof(r->text) - r->have, &got);
        if (status != TOOL_OK)
            return status;
        r->all = got < sizeof(r->text) - r->have;
        r->have += got;
        end = memchr(r->text, '\n', r->have);
    }
    r->line++;
    if (!end)
        return r->have - r->used > LINE_LEN ? damaged(r, "is too long") : TOOL_OK;
    *end = '\0';
    *line = r->text + r->used;
    r->used = (size_t)(end - r->text) + 1;
    if (strlen(*line) != (size_t)(end - *line))
        return damaged(r, "has a byte 0 in it");
    return end - *line > LINE_LEN ? damaged(r, "is too long") : TOOL_OK;
}

/* " NUMBER" at *text, which is moved behind it. */
static bool take(const char **text, uint64_t most, uint64_t *value)
{
    const char *p = *text;

    *value = 0;
    if (*p++ != ' ' || *p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');

        if (*value > (most - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    *text = p;
    return true;
}

/* Undoes %xx. False: it is no path. */
static bool take_path(const char *text, char path[RECORDING_PATH_MAX])
{
    size_t n = 0;

    for (; *text; n++) {
        const int high = *text == '%' ? tool_hex(text[1]) : -1,
                  low = high < 0 ? -1 : tool_hex(text[2]);

        if (n + 1 >= RECORDING_PATH_MAX || (*text == '%' && (low < 0 || high + low == 0)))
            return false;
        path[n] = *text;
        if (*text == '%')
            path[n] = (char)(high * 16 + low);
        text += *text == '%' ? 3 : 1;
    }
    path[n] = '\0';
    for (const char *p = path; n > 0; p++) {
        const size_t name = strcspn(p, "/");

        if (name == 0 || (name <= 2 && !strncmp(p, "..", name)))
            return false;
        p += name;
        if (!*p)
            break;
    }
    return true;
}

/* "f FILE PATH" */
static int take_file(struct reader *r, const char *text)
{
    char path[RECORDING_PATH_MAX];
    uint64_t file;

    if (!take(&text, UINT32_MAX - 1, &file) || *text != ' ' || file == 0)
        return damaged(r, "names no file");
    if (file > (uint64_t)r->files + 1)
        return damaged(r, "leaves out a file");
    if (!take_path(text + 1, path))
        return damaged(r, "has no path below the mount");
    if (file > r->files)
        r->files = (uint32_t)file;
    return r->l->file ? r->l->file(r->l->ctx, (uint32_t)file, path) : TOOL_OK;
}

/* "r FILE OFFSET LENGTH MICROSECONDS", or w */
static int take_io(struct reader *r, bool write, const char *text)
{
    uint64_t file, off, len, at;

    if (!take(&text, UINT32_MAX, &file) || !take(&text, INT64_MAX, &off) ||
        !take(&text, INT64_MAX, &len) || !take(&text, UINT64_MAX, &at) || *text)
        return damaged(r, "is neither a read nor a write");
    if (file == 0 || file > r->files)
        return damaged(r, "is about a file that has no line before");
    if (len == 0 || len > RECORDING_LEN_MAX)
        return damaged(r, len ? "touches more than 1 GiB" : "touches no byte");
    if (off > INT64_MAX - RECORDING_LEN_MAX)
        return damaged(r, "touches bytes beyond the end of the largest file");
    return r->l->io(r->l->ctx, (uint32_t)file, write, off, len);
}

/* Behind "end DROPPED", which was the last line. */
static int take_end(struct reader *r, const char *text)
{
    uint64_t dropped;
    char *more;
    int status;

    if (!take(&text, UINT64_MAX, &dropped) || *text)
        return damaged(r, "is not known");
    status = next_line(r, &more);
    if (status == TOOL_OK && (more || r->have > r->used))
        return damaged(r, "follows the end");
    return status;
}

static int take_lines(struct reader *r)
{
    char *line;
    int status;

    for (;;) {
        status = next_line(r, &line);
        if (status != TOOL_OK)
            return status;
        if (!line) {
            tool_message(r->trace,
                         "is cut off: it ends in line %" PRIu64 ", which is not 'end'; "
                         "cachemax(1) says how to use what is there",
                         r->line);
            return TOOL_REFUSED;
        }
        if (!strncmp(line, "end", 3))
            return take_end(r, line + 3);
        if (*line == 'f')
            status = take_file(r, line + 1);
        else if (*line == 'r' || *line == 'w')
            status = take_io(r, *line == 'w', line + 1);
        else
            status = damaged(r, "is not known");
        if (status != TOOL_OK)
            return status;
    }
}

int recording_read(struct trace_input *in, const char *trace, const struct recording_listener *l)
{
    static struct reader r; /* too large for a stack */
    char *line;
    int status;

    memset(&r, 0, sizeof(r));
    r.in = in;
    r.trace = trace;
    r.l = l;
    status = next_line(&r, &line);
    if (status != TOOL_OK)
        return status;
    if (!line || strcmp(line, &RECORDING_FIRST[strlen(RECORDING_BEGIN)]) != 0) {
        tool_message(trace, "is no trace that this version knows: its first line is not '%s'",
                     RECORDING_FIRST);
        return TOOL_REFUSED;
    }
    return take_lines(&r);
}
