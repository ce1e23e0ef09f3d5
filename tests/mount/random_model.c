/* SPDX-License-Identifier: BSD-2-Clause
 *
 * random_model.c - knows what the files of random.c must contain, and judges each result by that.
 *
 * A file is an array of bytes and a size. The model follows an operation only when its result is
 * right. Called by the master of random.c only.
 */
#include "random_model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct model model;

static struct {
    char *text;
    size_t room;
    int64_t *at;
} verdict;

static bool wrong(const char *format, ...)
{
    va_list v;

    va_start(v, format);
    vsnprintf(verdict.text, verdict.room, format, v);
    va_end(v);
    return false;
}

/* ---- What an operation touches --------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Whole pages: of a page that is written directly, and in a mapping at the same time, the kernel
 * keeps one or the other. */
static void touch(struct touch *t, int n, int file, int64_t from, int64_t to, bool changes)
{
    t->data[n].file = file;
    t->data[n].from = from & ~(int64_t)(PAGE - 1);
    t->data[n].to = to < INT64_MAX - PAGE ? (to + PAGE - 1) & ~(int64_t)(PAGE - 1) : INT64_MAX;
    t->data[n].changes = changes;
}

/* A change that may move the end of the file: then everything from the end on is touched. */
static void touch_grow(struct touch *t, const struct op *o)
{
    const int64_t size = model.file[o->file].size, end = o->off + o->len;

    touch(t, 0, o->file, end > size ? least(o->off, size) : o->off, end > size ? INT64_MAX : end,
          true);
}

static unsigned names_of(int file)
{
    unsigned set = 0;

    for (int n = 0; n < NAMES; n++)
        if (model.name[n] == file)
            set |= 1u << n;
    return set;
}

static void touch_data(struct touch *t, const struct op *o)
{
    const struct file *f = &model.file[o->file];
    const bool appends = model.side[o->worker][o->file][o->side].appends;

    if (o->kind == OP_APPEND || (o->kind == OP_WRITE && appends))
        touch(t, 0, o->file, f->size, INT64_MAX, true);
    else if (o->kind == OP_READ || o->kind == OP_LOAD)
        touch(t, 0, o->file, o->off, o->off + o->len, false);
    else if (o->kind == OP_STORE || (o->kind == OP_FALLOCATE && (o->arg & FALLOC_FL_KEEP_SIZE)))
        touch(t, 0, o->file, o->off, o->off + o->len, true);
    else if (o->kind == OP_WRITE || o->kind == OP_FALLOCATE || o->kind == OP_COPY)
        touch_grow(t, o);
    else if (o->kind == OP_TRUNCATE)
        touch(t, 0, o->file, least(o->off, f->size), INT64_MAX, true);
    else if (o->kind == OP_SEEK || o->kind == OP_STAT || o->kind == OP_WHOLE)
        touch(t, 0, o->file, 0, INT64_MAX, false);
    else if (o->kind == OP_OPEN && (o->arg & (O_TRUNC | O_CREAT)))
        touch(t, 0, o->file, 0, INT64_MAX, true);
    if (o->kind == OP_COPY)
        touch(t, 1, o->from, o->off_from, o->off_from + o->len, false);
}

struct touch touch_of(const struct op *o)
{
    struct touch t = { .names = 0, .data = { { .file = -1 }, { .file = -1 } } };

    if (o->name >= 0)
        t.names |= 1u << o->name;
    if (o->name_to >= 0)
        t.names |= 1u << o->name_to;
    t.names_change = o->kind == OP_RENAME || o->kind == OP_UNLINK || o->kind == OP_LINK ||
                     (o->kind == OP_OPEN && (o->arg & O_CREAT));
    /* The number of links is that of the file. */
    if (o->kind == OP_STAT)
        t.names |= names_of(o->file);
    if (t.names_change)
        for (int n = 0; n < NAMES; n++)
            if (model.name[n] >= 0 && (t.names & 1u << n))
                t.names |= names_of(model.name[n]);
    if (o->file >= 0)
        touch_data(&t, o);
    return t;
}

bool touches_meet(const struct touch *a, const struct touch *b)
{
    if ((a->names & b->names) && (a->names_change || b->names_change))
        return true;
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++)
            if (a->data[i].file >= 0 && a->data[i].file == b->data[k].file &&
                (a->data[i].changes || b->data[k].changes) && a->data[i].from < b->data[k].to &&
                b->data[k].from < a->data[i].to)
                return true;
    return false;
}

/* ---- Judging --------------------------------------------------------------------------------- */

static bool equal(const uint8_t *is, const uint8_t *should, int64_t off, int64_t len)
{
    if (memcmp(is, should, (size_t)len) == 0)
        return true;
    for (int64_t i = 0; i < len; i++)
        if (is[i] != should[i]) {
            *verdict.at = off + i;
            return wrong("the byte is 0x%02x, not 0x%02x", is[i], should[i]);
        }
    return true;
}

static bool gave(const struct op *o, int64_t should)
{
    if (o->rc == should)
        return true;
    if (o->rc < 0)
        return wrong("it failed: %s", strerror(o->error));
    return wrong("it gave %lld, not %lld", (long long)o->rc, (long long)should);
}

static void set_size(struct file *f, int64_t size)
{
    if (size < f->size)
        memset(f->data + size, 0, (size_t)(f->size - size));
    f->size = size;
}

static void grow(struct file *f, int64_t size)
{
    f->size = most(f->size, size);
}

static bool judge_read(const struct op *o, const uint8_t *buf)
{
    const struct file *f = &model.file[o->file];
    const int64_t n = most(0, least(o->len, f->size - o->off));

    return gave(o, n) && equal(buf, f->data + o->off, o->off, n);
}

static bool judge_write(const struct op *o, const uint8_t *buf)
{
    struct file *f = &model.file[o->file];
    const bool at_end = o->kind == OP_APPEND ||
                        (o->kind == OP_WRITE && model.side[o->worker][o->file][o->side].appends);
    const int64_t off = at_end ? f->size : o->off;

    if (!gave(o, o->len))
        return false;
    memcpy(f->data + off, buf, (size_t)o->len);
    grow(f, off + o->len);
    f->stored |= o->kind == OP_STORE;
    return true;
}

static bool judge_fallocate(const struct op *o)
{
    struct file *f = &model.file[o->file];

    if (o->rc < 0 && o->error == EOPNOTSUPP) {
        model.refused++;
        return true;
    }
    if (!gave(o, 0))
        return false;
    if (o->arg & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        memset(f->data + o->off, 0, (size_t)o->len);
    if (!(o->arg & FALLOC_FL_KEEP_SIZE))
        grow(f, o->off + o->len);
    return true;
}

static bool judge_copy(const struct op *o)
{
    struct file *f = &model.file[o->file], *from = &model.file[o->from];
    const int64_t room = most(0, least(o->len, from->size - o->off_from));

    /* It may copy less, but not nothing. */
    if (o->rc < 0 || o->rc > room || (o->rc == 0 && room > 0))
        return gave(o, room);
    memmove(f->data + o->off, from->data + o->off_from, (size_t)o->rc);
    if (o->rc > 0)
        grow(f, o->off + o->rc);
    return true;
}

/* What is told to be a hole has zeros. The end of the file is a hole, too. */
static bool judge_seek(const struct op *o)
{
    static const uint8_t zeros[FILE_MAX];
    const struct file *f = &model.file[o->file];
    int64_t hole = o->off, end = o->rc;

    if (o->off >= f->size || (o->rc < 0 && o->error == ENXIO && o->arg == SEEK_DATA)) {
        if (o->rc >= 0 || o->error != ENXIO)
            return gave(o, -1);
        return o->off >= f->size || equal(zeros, f->data + o->off, o->off, f->size - o->off);
    }
    if (o->rc < o->off || o->rc > f->size - (o->arg == SEEK_DATA))
        return gave(o, o->off);
    if (o->arg == SEEK_HOLE) {
        hole = o->rc;
        end = least(f->size, hole + 1);
    }
    return equal(zeros, f->data + hole, hole, end - hole);
}

static void free_if_gone(int file)
{
    if (file < 0 || model.file[file].links > 0)
        return;
    for (int w = 0; w < WORKERS; w++)
        if (model.mapped[w][file] || model.side[w][file][0].open || model.side[w][file][1].open)
            return;
    memset(&model.file[file], 0, sizeof(model.file[file]));
}

static void lose_name(int name)
{
    if (model.name[name] >= 0)
        model.file[model.name[name]].links--;
    model.name[name] = -1;
}

static bool judge_names(const struct op *o)
{
    const int from = model.name[o->name], to = o->name_to < 0 ? -1 : model.name[o->name_to];

    if (!gave(o, 0))
        return false;
    if (o->kind == OP_UNLINK) {
        lose_name(o->name);
        free_if_gone(from);
    } else if (o->kind == OP_LINK) {
        model.name[o->name_to] = from;
        model.file[from].links++;
    } else if (o->arg) { /* RENAME_EXCHANGE */
        model.name[o->name] = to;
        model.name[o->name_to] = from;
    } else if (from != to) { /* two names of one file stay */
        lose_name(o->name_to);
        model.name[o->name_to] = from;
        model.name[o->name] = -1;
        free_if_gone(to);
    }
    return true;
}

static bool judge_open(const struct op *o)
{
    struct side *s = &model.side[o->worker][o->file][o->side];
    struct file *f = &model.file[o->file];
    const int mode = o->arg & O_ACCMODE;

    if (!gave(o, 0))
        return false;
    if (o->arg & O_CREAT) {
        memset(f, 0, sizeof(*f));
        f->used = true;
        f->links = 1;
        model.name[o->name] = o->file;
    }
    if (o->arg & O_TRUNC)
        set_size(f, 0);
    *s = (struct side){ true, mode != O_WRONLY, mode != O_RDONLY, (o->arg & O_APPEND) != 0 };
    return true;
}

static bool judge_stat(const struct op *o)
{
    const struct file *f = &model.file[o->file];

    if (!gave(o, f->size))
        return false;
    return model.no_links || o->links == f->links ||
           wrong("it has %llu names, not %u", (unsigned long long)o->links, f->links);
}

static bool judge_whole(const struct op *o, const uint8_t *buf)
{
    const struct file *f = &model.file[o->file];

    return gave(o, f->size) && equal(buf, f->data, 0, f->size);
}

/* Nothing of the file's content changes. */
static bool judge_simple(const struct op *o, bool alone)
{
    struct file *f = &model.file[o->file];

    if (!gave(o, 0))
        return false;
    if (alone && (o->kind == OP_SYNC || (o->kind == OP_MSYNC && o->arg == MS_SYNC)))
        f->stored = false;
    if (o->kind == OP_CLOSE)
        model.side[o->worker][o->file][o->side].open = false;
    if (o->kind == OP_MAP)
        model.mapped[o->worker][o->file] = o->arg;
    if (o->kind == OP_UNMAP)
        model.mapped[o->worker][o->file] = 0;
    if (o->kind == OP_TRUNCATE)
        set_size(f, o->off);
    free_if_gone(o->file);
    return true;
}

bool model_judge(const struct op *o, const uint8_t *buf, bool alone, char *text, size_t room,
                 int64_t *at)
{
    verdict.text = text;
    verdict.room = room;
    verdict.at = at;
    *at = -1;
    switch (o->kind) {
    case OP_OPEN:
        return judge_open(o);
    case OP_READ:
    case OP_LOAD:
        return judge_read(o, buf);
    case OP_WRITE:
    case OP_APPEND:
    case OP_STORE:
        return judge_write(o, buf);
    case OP_FALLOCATE:
        return judge_fallocate(o);
    case OP_COPY:
        return judge_copy(o);
    case OP_SEEK:
        return judge_seek(o);
    case OP_STAT:
        return judge_stat(o);
    case OP_WHOLE:
        return judge_whole(o, buf);
    case OP_RENAME:
    case OP_UNLINK:
    case OP_LINK:
        return judge_names(o);
    default:
        return judge_simple(o, alone);
    }
}

int64_t model_compare(int file, const uint8_t *buf, int64_t size)
{
    const struct file *f = &model.file[file];

    for (int64_t i = 0; i < least(size, f->size); i++)
        if (buf[i] != f->data[i])
            return i;
    return size == f->size ? -1 : least(size, f->size);
}

int model_name(int file)
{
    for (int n = 0; n < NAMES; n++)
        if (model.name[n] == file)
            return n;
    return -1;
}
