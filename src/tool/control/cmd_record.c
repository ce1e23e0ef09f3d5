/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_record.c - "cachemax record": what programs read and write on a mount goes into a trace.
 *
 * The mount sends notes as long as this process wants them. Each becomes a line of the trace
 * (replay/recording.h reads it, cachemax(1) describes it). Only whole lines are written, so a
 * recording that is killed leaves a trace that lacks nothing but its last line.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/replay/recording.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_SECONDS, RECORD_SIZE, RECORD_QUIET, RECORD_JSON, RECORD_OPTIONS };

static const struct tool_option record_options[RECORD_OPTIONS] = {
    [RECORD_SECONDS] = { "seconds", 's', TOOL_NEEDS_ARG, "N", "end after so many seconds" },
    [RECORD_SIZE] = { "size", 0, TOOL_NEEDS_ARG, "MAX",
                      "end before TRACE is larger: 4K or more, such as 100M" },
    [RECORD_QUIET] = { "quiet", 'q', TOOL_NO_ARG, NULL, "print nothing if all went well" },
    [RECORD_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

#define LINE_LEN (3 * CONTROL_PATH_MAX + 128)
#define END_LEN 32u /* of the last line */
#define SIZE_MIN 4096u
#define SECONDS_MAX 1000000000u
#define FILES_MAX 0x7fffffffu
#define RECORD_WAIT 60 /* seconds; the mount says something ten times a second */

struct file {
    uint32_t number; /* in the trace; 0: it is not there */
    bool wanted;     /* by its name of now */
};

struct recording {
    const char *trace;
    const struct control_scope *scope;
    struct control *c;
    bool quiet;
    intptr_t out;
    bool made;               /* `out` is a file */
    uint64_t began, seconds; /* 0: no end */
    uint64_t size, size_max; /* 0: no limit */
    bool begun;              /* the mount has said something */
    bool enough;             /* the mount was asked to end */
    bool full;               /* because of size_max: what still comes is left out */
    bool junk;               /* the mount says something else */
    int error;               /* of writing: an error number */
    bool said;               /* that it is so */
    uint64_t reads, writes, read_bytes, written_bytes, dropped;
    uint32_t files;    /* in the trace */
    struct file *file; /* by the mount's number */
    size_t room;
    size_t have;
    char text[1 << 16]; /* whole lines that are not written yet */
};

/* ---- Writing --------------------------------------------------------------------------------- */

/* The mount says the rest, and ends. */
static void stop(struct recording *r)
{
    if (!r->enough)
        control_enough(r->c);
    r->enough = true;
}

static void complain(struct recording *r)
{
    r->said = true;
    tool_message(r->trace, "cannot be written; is the volume full?");
    stop(r);
}

static void flush(struct recording *r)
{
    if (!r->error && r->have > 0)
        r->error = os_write_lines(r->out, r->text, r->have);
    if (r->error && !r->said)
        complain(r);
    r->have = 0;
}

static bool add(struct recording *r, const char *line, size_t n, bool last)
{
    if (r->size_max && !last && r->size + n + END_LEN > r->size_max)
        r->full = true;
    if (r->full && !last) {
        stop(r);
        return false;
    }
    if (r->have + n > sizeof(r->text))
        flush(r);
    memcpy(r->text + r->have, line, n);
    r->have += n;
    r->size += n;
    return true;
}

/* ---- What the mount says --------------------------------------------------------------------- */

/* Moves *text behind a number, and what must follow it. */
static bool take(const char **text, char next, uint64_t *value)
{
    const char *p = *text;

    *value = 0;
    for (; *p >= '0' && *p <= '9' && *value < UINT64_MAX / 16; p++)
        *value = *value * 10 + (uint64_t)(*p - '0');
    if (p == *text || *p != next)
        return false;
    *text = p + (next != '\0');
    return true;
}

/* "NUMBER PATH" */
static void take_file(struct recording *r, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    char line[LINE_LEN];
    size_t n;
    uint64_t number;
    struct file *f;

    if (!take(&text, ' ', &number) || number >= FILES_MAX || strlen(text) >= CONTROL_PATH_MAX) {
        r->junk = true;
        return;
    }
    if (number >= r->room) {
        const size_t room = 2 * (size_t)number + 64;

        f = realloc(r->file, room * sizeof(*f));
        if (!f) {
            r->junk = true; /* there is no memory for it */
            return;
        }
        memset(f + r->room, 0, (room - r->room) * sizeof(*f));
        r->file = f;
        r->room = room;
    }
    f = &r->file[number];
    f->wanted = control_in_scope(r->scope, text);
    if (!f->wanted)
        return;
    n = (size_t)snprintf(line, sizeof(line), "f %" PRIu32 " ",
                         f->number ? f->number : r->files + 1);
    for (; *text; text++) {
        const unsigned char b = (unsigned char)*text;

        if (b > 0x20 && b != '%' && b != 0x7f) {
            line[n++] = (char)b;
            continue;
        }
        line[n++] = '%';
        line[n++] = digits[b >> 4];
        line[n++] = digits[b & 15];
    }
    line[n++] = '\n';
    if (add(r, line, n, false) && !f->number)
        f->number = ++r->files;
}

/* One of "rFILE:OFFSET:LENGTH:MICROSECONDS,w..." */
static bool take_io(struct recording *r, const char **text)
{
    const bool write = **text == 'w';
    const struct file *f;
    uint64_t number, off, len, at;
    char line[128];

    if (**text != 'r' && !write)
        return false;
    (*text)++;
    if (!take(text, ':', &number) || !take(text, ':', &off) || !take(text, ':', &len) ||
        !take(text, strchr(*text, ',') ? ',' : '\0', &at) || number >= r->room)
        return false;
    f = &r->file[number];
    if (!f->wanted || !f->number ||
        !add(r, line,
             (size_t)snprintf(line, sizeof(line),
                              "%c %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                              write ? 'w' : 'r', f->number, off, len, at),
             false))
        return true;
    *(write ? &r->writes : &r->reads) += 1;
    *(write ? &r->written_bytes : &r->read_bytes) += len;
    return true;
}

static void on_is(void *ctx, const char *name, const char *value)
{
    struct recording *r = ctx;

    if (!strcmp(name, "file")) {
        take_file(r, value);
    } else if (!strcmp(name, "io")) {
        while (*value && !r->junk)
            r->junk = !take_io(r, &value);
    } else if (!strcmp(name, "dropped")) { /* some ten times a second, also if nothing happens */
        if (!control_number(value, &r->dropped))
            r->junk = true;
        if (!r->begun && !r->quiet)
            (void)fprintf(stderr, "recording; Ctrl-C ends it\n");
        r->begun = true;
        flush(r);
        if (r->seconds && cm_now() - r->began >= r->seconds * UINT64_C(1000000000))
            stop(r);
    }
    if (r->junk)
        stop(r);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void print(const struct recording *r, bool json)
{
    char read[TOOL_NUMBER_MAX], written[TOOL_NUMBER_MAX], size[TOOL_NUMBER_MAX];
    struct tool_json j;

    if (!json) {
        (void)printf("%" PRIu64 " %s (%s) and %" PRIu64 " %s (%s) of %" PRIu32 " %s; the trace "
                     "has %s\n",
                     r->reads, r->reads == 1 ? "read" : "reads", tool_bytes(read, r->read_bytes),
                     r->writes, r->writes == 1 ? "write" : "writes",
                     tool_bytes(written, r->written_bytes), r->files,
                     r->files == 1 ? "file" : "files", tool_bytes(size, r->size));
        return;
    }
    json_begin(&j, stdout, false);
    json_number(&j, "reads", r->reads);
    json_number(&j, "read_bytes", r->read_bytes);
    json_number(&j, "writes", r->writes);
    json_number(&j, "written_bytes", r->written_bytes);
    json_number(&j, "files", r->files);
    json_number(&j, "dropped", r->dropped);
    json_number(&j, "trace_bytes", r->size);
    json_bool(&j, "size_reached", r->full);
    json_end(&j);
}

/* Ends the trace, whatever ended the recording. */
static int finish(struct recording *r, int rc)
{
    char line[END_LEN];

    (void)add(r, line, (size_t)snprintf(line, sizeof(line), "end %" PRIu64 "\n", r->dropped), true);
    flush(r);
    const int error = os_end_lines(r->out);
    if (error && !r->error) {
        r->error = error;
        complain(r);
    }
    if (r->error)
        return TOOL_FAILED;
    if (r->dropped)
        tool_message(NULL,
                     "%" PRIu64 " reads and writes are not in the trace: there were too many at a "
                     "time",
                     r->dropped);
    return rc == TOOL_OK && r->dropped ? TOOL_PARTLY : rc;
}

/* Asks the mount, until something ends it. */
static int record(struct recording *r, const struct os_mount *m)
{
    const struct control_listener listener = { .is = on_is, .to_the_end = true, .ctx = r };
    struct control_end end = { .code = 0 };
    int error;

    r->began = cm_now();
    error = control_ask(r->c, "record", 0, "", RECORD_WAIT, &listener, &end);
    if (r->junk)
        error = CONTROL_JUNK;
    if (error && !os_interrupted())
        tool_message(m->point, "%s", control_error_text(error));
    else if (end.code == CONTROL_BUSY)
        tool_message(m->point, "somebody records there already; one recording at a time");
    else if (end.code == CM_ENOTSUP)
        tool_message(m->point, "its cachemax-mount is older, and cannot record");
    else if (end.code)
        tool_message(m->point, "%s", end.text);
    return error ? TOOL_NO_MOUNT : end.code ? TOOL_FAILED : TOOL_OK;
}

/* The trace must not be on the mount: what is written of it would be recorded. */
static bool is_on(const struct control_scope *s, const char *trace)
{
    char parent[CONTROL_PATH_MAX], *real = NULL;
    uint64_t id = 0;
    bool is = false;

    os_parent(trace, parent, sizeof(parent));
    if (os_locate(parent, &id, &real) == 0)
        for (size_t i = 0; i < s->files.nmounts && !is; i++)
            is = s->files.mounts[i].id == id &&
                 !strcmp(s->files.mounts[i].device, s->files.mounts[s->mount].device);
    free(real);
    return is;
}

static int no_trace(const char *trace, int error)
{
    char parent[CONTROL_PATH_MAX], *real = NULL;
    struct os_volume volume;
    uint64_t id;

    os_parent(trace, parent, sizeof(parent));
    if (os_locate(trace, &id, &real) == 0)
        tool_message(trace, "exists already, and nothing is ever overwritten; choose another name, "
                            "or delete it first");
    else if (!os_is_directory(parent))
        tool_message(trace, "there is no directory '%s'; make it first, or choose another place",
                     parent);
    else if (os_volume(parent, &volume) && volume.read_only)
        tool_message(trace, "the volume of '%s' is mounted read-only; choose another place",
                     parent);
    else
        tool_message(trace, "cannot be made: %s; choose another place", os_error_text(error));
    free(real);
    return TOOL_FAILED;
}

static int record_to(struct recording *r)
{
    const struct os_mount *m = &r->scope->files.mounts[r->scope->mount];
    const char first[] = RECORDING_FIRST "\n";
    int rc, error = control_open_mount(r->c, m, OS_FOREVER);

    if (error) {
        control_complain(m->point, m, error);
        return TOOL_NO_MOUNT;
    }
    error = os_begin_lines(r->trace, &r->out);
    if (error)
        return no_trace(r->trace, error);
    r->made = true;
    (void)add(r, first, sizeof(first) - 1, true);
    flush(r);
    rc = r->error ? TOOL_FAILED : record(r, m);
    if (!r->begun) {
        (void)os_end_lines(r->out);
        (void)os_remove_file(r->trace);
        return rc;
    }
    return finish(r, rc);
}

static int read_limits(const struct tool_args *args, struct recording *r)
{
    const char *seconds = args->value[RECORD_SECONDS], *size = args->value[RECORD_SIZE];
    bool rough;

    if (seconds && (tool_parse_count(seconds, &r->seconds) != TOOL_SIZE_OK || !r->seconds ||
                    r->seconds > SECONDS_MAX)) {
        tool_message(NULL, "'%s' is not a number of seconds", seconds);
        return TOOL_USAGE;
    }
    if (size &&
        (tool_parse_size(size, &r->size_max, &rough) != TOOL_SIZE_OK || r->size_max < SIZE_MIN)) {
        tool_message(NULL, "'%s' is not a size of a trace; write 4K or more, such as 100M", size);
        return TOOL_USAGE;
    }
    return TOOL_OK;
}

static int run_record(const struct tool_args *args)
{
    struct recording *r = calloc(1, sizeof(*r));
    struct control_scope scope = { .n = 0 };
    int rc = TOOL_FAILED;

    if (r)
        r->c = calloc(1, sizeof(*r->c));
    if (!r || !r->c) {
        tool_message(NULL, "out of memory");
        free(r);
        return rc;
    }
    r->trace = args->operand;
    r->scope = &scope;
    r->quiet = args->value[RECORD_QUIET] != NULL;
    rc = read_limits(args, r);
    if (rc == TOOL_OK && os_is_directory(r->trace)) {
        tool_message(r->trace, "is a directory; the first name is that of the file TRACE, such as "
                               "'cachemax record monday.trace /srv/data'");
        rc = TOOL_USAGE;
    }
    if (rc == TOOL_OK)
        rc = control_scope_find(&scope, args->operands + 1, args->noperands - 1);
    if (rc == TOOL_OK && is_on(&scope, r->trace)) {
        tool_message(r->trace, "is on the mount that is recorded; write the trace elsewhere");
        rc = TOOL_USAGE;
    } else if (rc == TOOL_OK) {
        os_catch_interrupts(); /* not before: control.h, files_collect() */
        rc = record_to(r);
        if (r->made && (rc == TOOL_OK || rc == TOOL_PARTLY) &&
            (!r->quiet || args->value[RECORD_JSON]))
            print(r, args->value[RECORD_JSON] != NULL);
        rc = tool_end_output(rc);
    }
    control_close(r->c);
    free(r->c);
    free(r->file);
    free(r);
    control_scope_free(&scope);
    if (os_interrupted())
        os_end_interrupted();
    return rc;
}

const struct tool_command tool_record = {
    .name = "record",
    .on_mounts = true,
    .operand = "TRACE [PATH]...",
    .many = true,
    .summary = "Record what programs read and write on a mount",
    .help = "Writes to the new file TRACE which blocks of which files programs read and write\n"
            "on a running mount of cachemax-mount, until Ctrl-C or one of the limits. PATH is a\n"
            "file or directory on the mount: only what is there is recorded. Without PATH it is\n"
            "all of the only mount. What the kernel has in its own page cache does not reach\n"
            "the mount, and is not in the trace. The mount never waits for this command; what\n"
            "it could not tell is counted (exit status 7). Needs the user of the mount, or root.\n"
            "'cachemax warm --trace' warms a pool with what was read, there or on another\n"
            "machine with the same files. 'cachemax replay' tells how well a pool of another\n"
            "size would do.\n"
            "\n"
            "Examples:\n"
            "  cachemax record monday.trace /srv/data --seconds 3600\n"
            "  cachemax replay monday.trace --sizes 0.01,0.1,0.3\n"
            "  cachemax warm --trace monday.trace /srv/data\n",
    .options = record_options,
    .noptions = RECORD_OPTIONS,
    .run = run_record,
};
