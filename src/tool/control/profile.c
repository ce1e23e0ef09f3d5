/* SPDX-License-Identifier: BSD-2-Clause
 *
 * profile.c - what a trace of "cachemax record" reads, and what of it is worth most.
 *
 * How often each block was read says how much it is worth: a block that was read often will be read
 * again, also on another machine and next week, and it is a hit in a pool of any size. When it was
 * read last says little once the recording is over. So the parts are sorted by how often they were
 * read, in classes that double: 1, 2 to 3, 4 to 7 and so on. In a class they are in the order of
 * their paths and offsets, as the origin likes to be read. Classes also make long parts: blocks
 * beside each other were seldom read equally often.
 *
 * A file is its path: two files that had the same name one after the other count together.
 *
 * Who: warm_trace.c.
 */
#include "tool/control/control.h"
#include "tool/replay/recording.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Where the blocks begin or end that a read touches. */
struct edge {
    uint64_t block;
    uint32_t file;
    int32_t step; /* so many readers more */
};

struct named {
    char *path;
    uint32_t file, sorted; /* its number in the trace; its place in the order of the paths */
};

struct loading {
    struct profile *p;
    struct edge *edge;
    size_t edges, edge_room;
    struct named *file; /* by number - 1 */
    size_t files, file_room, part_room;
};

/* Makes room for n items. False: no memory. */
static bool widen(void *array, size_t *room, size_t n, size_t item)
{
    void *old, *wide;

    if (n <= *room)
        return true;
    memcpy(&old, array, sizeof(old));
    wide = realloc(old, 2 * n * item);
    if (!wide)
        return false;
    memcpy(array, &wide, sizeof(wide));
    *room = 2 * n;
    return true;
}

static int no_memory(void)
{
    tool_message(NULL, "out of memory");
    return TOOL_FAILED;
}

static int take_file(void *ctx, uint32_t file, const char *path)
{
    struct loading *l = ctx;
    const size_t n = strlen(path) + 1;
    char *copy = malloc(n);

    if (!copy || !widen(&l->file, &l->file_room, file, sizeof(*l->file))) {
        free(copy);
        return no_memory();
    }
    memcpy(copy, path, n);
    if (file > l->files) /* the next one */
        l->file[l->files++] = (struct named){ .path = NULL };
    free(l->file[file - 1].path);
    l->file[file - 1].path = copy;
    return TOOL_OK;
}

static int take_io(void *ctx, uint32_t file, bool write, uint64_t off, uint64_t len)
{
    struct loading *l = ctx;

    if (write)
        return TOOL_OK;
    if (!widen(&l->edge, &l->edge_room, l->edges + 2, sizeof(*l->edge)))
        return no_memory();
    l->edge[l->edges++] =
        (struct edge){ .block = off / CM_BLOCK_SIZE, .file = file - 1, .step = 1 };
    l->edge[l->edges++] =
        (struct edge){ .block = (off + len - 1) / CM_BLOCK_SIZE + 1, .file = file - 1, .step = -1 };
    return TOOL_OK;
}

static int read_trace(struct loading *l, const char *trace)
{
    const struct recording_listener listener = { .file = take_file, .io = take_io, .ctx = l };
    struct trace_input *in;
    char magic[sizeof(RECORDING_BEGIN) - 1];
    size_t got = 0;
    int status = trace_input_open(trace, &in);

    if (status == TOOL_OK)
        status = trace_input_read(in, magic, sizeof(magic), &got);
    if (status == TOOL_OK &&
        (got < sizeof(magic) || memcmp(magic, RECORDING_BEGIN, sizeof(magic)) != 0)) {
        tool_message(trace, "names no files: it was not made by 'cachemax record'");
        status = TOOL_REFUSED;
    }
    if (status == TOOL_OK)
        status = recording_read(in, trace, &listener);
    trace_input_close(in);
    return status;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static int by_path(const void *left, const void *right)
{
    const struct named *a = left, *b = right;

    return strcmp(a->path, b->path);
}

static int by_file(const void *left, const void *right)
{
    const struct named *a = left, *b = right;

    return a->file < b->file ? -1 : a->file > b->file;
}

#define LEFT_OUT UINT32_MAX

/* So it is if the mount has several directories. */
static bool is_numbered(const char *path)
{
    const size_t digits = strspn(path, "0123456789");

    return digits > 0 && path[digits] == '/';
}

/* Moves the paths to the profile, sorted and each once. The edges get their new numbers. */
static int sort_files(struct loading *l, const struct control_scope *scope)
{
    struct profile *p = l->p;

    p->path = calloc(l->files + 1, sizeof(*p->path));
    if (!p->path)
        return no_memory();
    for (size_t i = 0; i < l->files; i++)
        l->file[i].file = (uint32_t)i;
    if (l->files > 0)
        qsort(l->file, l->files, sizeof(*l->file), by_path);
    for (size_t i = 0; i < l->files; i++) {
        struct named *f = &l->file[i];

        f->sorted = LEFT_OUT;
        p->named += *f->path != '\0';
        p->numbered += is_numbered(f->path);
        if (!*f->path || !control_in_scope(scope, f->path))
            continue;
        if (p->files == 0 || strcmp(p->path[p->files - 1], f->path) != 0) {
            p->path[p->files++] = f->path;
            f->path = NULL;
        }
        f->sorted = (uint32_t)p->files - 1;
    }
    if (l->files > 0)
        qsort(l->file, l->files, sizeof(*l->file), by_file);
    for (size_t i = 0; i < l->edges; i++)
        l->edge[i].file = l->file[l->edge[i].file].sorted;
    return TOOL_OK;
}

/* ---- Parts ----------------------------------------------------------------------------------- */

static int by_place(const void *left, const void *right)
{
    const struct edge *a = left, *b = right;

    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

static int by_worth(const void *left, const void *right)
{
    const struct profile_part *a = left, *b = right;

    if (a->often != b->often)
        return a->often > b->often ? -1 : 1;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return a->off < b->off ? -1 : a->off > b->off;
}

static unsigned class_of(uint64_t times)
{
    unsigned k = 0;

    while (times >>= 1)
        k++;
    return k;
}

/* Adds blocks, or makes the last part longer. */
static bool add_blocks(struct loading *l, uint32_t file, uint64_t from, uint64_t to, uint64_t times)
{
    struct profile *p = l->p;
    const unsigned often = class_of(times);
    struct profile_part *last = p->parts ? &p->part[p->parts - 1] : NULL;

    p->bytes += (to - from) * CM_BLOCK_SIZE;
    if (last && last->file == file && last->often == often &&
        last->off + last->len == from * CM_BLOCK_SIZE) {
        last->len += (to - from) * CM_BLOCK_SIZE;
        return true;
    }
    if (!widen(&p->part, &l->part_room, p->parts + 1, sizeof(*p->part)) || !p->part)
        return false;
    assert(p->part);
    p->part[p->parts++] = (struct profile_part){ .file = file,
                                                 .often = often,
                                                 .off = from * CM_BLOCK_SIZE,
                                                 .len = (to - from) * CM_BLOCK_SIZE };
    return true;
}

static int make_parts(struct loading *l)
{
    uint64_t readers = 0;

    if (l->edges > 0)
        qsort(l->edge, l->edges, sizeof(*l->edge), by_place);
    for (size_t i = 0; i < l->edges && l->edge[i].file != LEFT_OUT; i++) {
        const struct edge *e = &l->edge[i], *next = e + 1;

        readers = e->step > 0 ? readers + 1 : readers - 1;
        /* While there are readers of this file, another edge of it follows. */
        if (readers > 0 && next->block > e->block &&
            !add_blocks(l, e->file, e->block, next->block, readers))
            return no_memory();
    }
    for (size_t i = 0; i < l->p->parts; i++)
        l->p->read += i == 0 || l->p->part[i].file != l->p->part[i - 1].file;
    if (l->p->parts > 0)
        qsort(l->p->part, l->p->parts, sizeof(*l->p->part), by_worth);
    return TOOL_OK;
}

int profile_load(struct profile *p, const char *trace, const struct control_scope *scope)
{
    struct loading l = { .p = p };
    int status;

    *p = (struct profile){ .path = NULL };
    status = read_trace(&l, trace);
    if (status == TOOL_OK)
        status = sort_files(&l, scope);
    if (status == TOOL_OK)
        status = make_parts(&l);
    for (size_t i = 0; i < l.files; i++)
        free(l.file[i].path);
    free(l.file);
    free(l.edge);
    return status;
}

void profile_free(struct profile *p)
{
    for (size_t i = 0; i < p->files; i++)
        free(p->path[i]);
    free(p->path);
    free(p->part);
}
