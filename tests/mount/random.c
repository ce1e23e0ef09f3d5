/* SPDX-License-Identifier: BSD-2-Clause
 *
 * random.c - random operations on files that two processes have open, compared with a model.
 *
 *   random DIRECTORY [--seed S] [--ops N] [--seconds N] [--below DIRECTORY]
 *          [--until-gone] [--no-links] [--trace]
 *
 * Each process has two descriptors of each file, a buffered and a direct one, and may map it. A
 * step is one operation, or two at the same time, one in each process, if both give the same in any
 * order. So the result of every step is known, and every byte that is read is compared. The same
 * seed makes the same operations. DIRECTORY is the mount, and may be any other file system; --below
 * is its origin. With it files that were just synced are compared there as well.
 *
 * Files that are there when it begins are compared with those in --below, and are used on. It ends
 * after N operations (100000), or at SIGTERM, and compares everything for the last time. The last
 * line is "random: seed S: N operations, D differences". At the first difference it says the step,
 * the file, the offset, both bytes and the last operations on that file, and exits with 1.
 *
 * With --no-links there are neither links nor exchanges of names, and nobody counts names or asks
 * for the attributes or the holes of a deleted file.
 * With --until-gone the file system may go away at any time (a kill of the mount). Then the origin
 * must have everything whose end was told, but for stores into mappings, and it exits with 3.
 */
#include "random_model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define PAST 4096 /* operations that are remembered */
#define SHOWN 40  /* of them, those on the file that differs */
#define EXIT_GONE 3

static struct {
    uint64_t seed, state, ops, done, step, kinds[KINDS];
    time_t end;
    const char *directory;
    int dir, below;                  /* below: -1 if it is not known */
    bool until_gone, trace, aligned; /* aligned: direct operations have to be */
    struct channel *channel[WORKERS];
    struct op past[PAST];
} run = { .seed = 1, .ops = 100000, .below = -1 };
static volatile sig_atomic_t stopped;

static uint64_t any(void)
{
    run.state ^= run.state << 13;
    run.state ^= run.state >> 7;
    run.state ^= run.state << 17;
    return run.state * UINT64_C(0x2545F4914F6CDD1D) >> 11;
}

static int64_t below(int64_t n)
{
    return (int64_t)(any() % (uint64_t)n);
}

static bool one_in(int n)
{
    return below(n) == 0;
}

/* ---- Choosing -------------------------------------------------------------------------------- */

static void open_it(struct op *o, int flags)
{
    o->kind = OP_OPEN;
    o->name = model_name(o->file);
    o->arg = flags | (o->side ? O_DIRECT : 0);
}

/* The operation needs this descriptor. If there is none, it becomes the open of one. False: the
 * file cannot be opened any more. */
static bool needs(struct op *o, bool reads, bool writes)
{
    const struct side *s = &model.side[o->worker][o->file][o->side];
    int mode = O_RDWR;

    if (s->open && s->reads >= reads && s->writes >= writes)
        return true;
    if (!writes && one_in(2))
        mode = O_RDONLY;
    else if (!reads && one_in(2))
        mode = O_WRONLY;
    open_it(o, mode | (writes && one_in(8) ? O_APPEND : 0) |
                   (mode != O_RDONLY && one_in(30) ? O_TRUNC : 0));
    return o->name >= 0;
}

static bool is_direct(const struct op *o)
{
    return run.aligned && o->side;
}

static int64_t any_length(int64_t limit)
{
    static const int64_t sizes[] = { 512, 4096, 16384, CALL_MAX };
    int64_t n = 1 + below(sizes[below(4)]);

    return n < limit ? n : limit;
}

/* A range of the file, or beyond its end, up to `limit`. */
static bool choose_range(struct op *o, int64_t limit)
{
    const int64_t size = model.file[o->file].size;

    o->len = any_length(CALL_MAX);
    o->off = one_in(4) ? size - o->len / 2 : below(one_in(4) || !size ? FILE_MAX : size);
    if (one_in(2) || is_direct(o)) {
        o->off &= ~(int64_t)(PAGE - 1);
        o->len = (o->len + PAGE - 1) & ~(int64_t)(PAGE - 1);
    }
    if (o->off < 0)
        o->off = 0;
    if (o->off + o->len > limit)
        o->len = limit - o->off;
    return o->len > 0 && !(is_direct(o) && (o->len & (PAGE - 1)));
}

static bool choose_append(struct op *o)
{
    const int64_t room = FILE_MAX - model.file[o->file].size;

    o->off = 0;
    o->len = any_length(CALL_MAX);
    if (is_direct(o))
        o->len = (o->len + PAGE - 1) & ~(int64_t)(PAGE - 1);
    return o->len <= room && !(is_direct(o) && (model.file[o->file].size & (PAGE - 1)));
}

/* FUSE of Linux 6.18 loses bytes of a buffered write through the end of the file, if the last page
 * was stored into by a mapping and is being written at the same time (docs/mount-features.md). */
static bool may_be_lost(const struct op *o, bool at_end)
{
    const struct file *f = &model.file[o->file];

    return f->stored && !o->side && (f->size & (PAGE - 1)) && (at_end || o->off + o->len > f->size);
}

static bool choose_write(struct op *o)
{
    bool at_end, found;

    if (!needs(o, false, true) || o->kind == OP_OPEN)
        return o->kind == OP_OPEN && o->name >= 0;
    at_end = o->kind == OP_APPEND || model.side[o->worker][o->file][o->side].appends;
    found = at_end ? choose_append(o) : choose_range(o, FILE_MAX);
    if (found && may_be_lost(o, at_end))
        o->kind = OP_SYNC;
    return found;
}

static bool choose_memory(struct op *o)
{
    const int prot = model.mapped[o->worker][o->file];
    const struct side *s = &model.side[o->worker][o->file][o->side];

    if (prot & (o->kind == OP_STORE ? PROT_WRITE : PROT_READ))
        return choose_range(o, model.file[o->file].size);
    if (prot)
        o->kind = OP_UNMAP;
    else if (!needs(o, true, o->kind == OP_STORE))
        return false;
    else if (o->kind != OP_OPEN) {
        o->kind = OP_MAP;
        o->arg = PROT_READ | (s->writes ? PROT_WRITE : 0);
    }
    return true;
}

static bool choose_truncate(struct op *o)
{
    const int64_t size = model.file[o->file].size;

    if (one_in(4))
        o->name = model_name(o->file);
    if (o->name < 0 && (!needs(o, false, true) || o->kind == OP_OPEN))
        return o->kind == OP_OPEN && o->name >= 0;
    o->off = one_in(2) && size ? below(size) : below(FILE_MAX + 1);
    if (one_in(2))
        o->off &= ~(int64_t)(PAGE - 1);
    return true;
}

static bool choose_fallocate(struct op *o)
{
    static const int modes[] = { 0,
                                 FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                 FALLOC_FL_ZERO_RANGE,
                                 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };

    if (!needs(o, false, true) || o->kind == OP_OPEN)
        return o->kind == OP_OPEN && o->name >= 0;
    o->arg = modes[below(sizeof(modes) / sizeof(modes[0]))];
    return choose_range(o, FILE_MAX);
}

static bool choose_copy(struct op *o)
{
    const int file = o->file, side = run.aligned ? 0 : o->side;

    o->from = (int)below(FILES);
    o->from_side = run.aligned ? 0 : (int)below(SIDES);
    if (!model.file[o->from].used)
        return false;
    o->file = o->from, o->side = o->from_side;
    if (!needs(o, true, false) || o->kind == OP_OPEN)
        return o->kind == OP_OPEN && o->name >= 0;
    choose_range(o, FILE_MAX);
    o->off_from = o->off;
    o->file = file, o->side = side;
    if (!needs(o, false, true) || o->kind == OP_OPEN)
        return o->kind == OP_OPEN && o->name >= 0;
    if (model.side[o->worker][file][side].appends || !choose_range(o, FILE_MAX))
        return false;
    if (o->off_from + o->len > FILE_MAX)
        o->len = FILE_MAX - o->off_from;
    return o->len > 0 &&
           (o->from != file || o->off + o->len <= o->off_from || o->off_from + o->len <= o->off);
}

static bool choose_names(struct op *o)
{
    o->file = -1;
    o->name = (int)below(NAMES);
    if (o->kind != OP_UNLINK)
        o->name_to = (int)below(NAMES);
    if (model.name[o->name] < 0 || o->name == o->name_to || (model.no_links && o->kind == OP_LINK))
        return false;
    if (o->kind == OP_RENAME && !model.no_links && one_in(3) && model.name[o->name_to] >= 0)
        o->arg = 2; /* RENAME_EXCHANGE */
    return o->kind != OP_LINK || model.name[o->name_to] < 0;
}

/* A new file takes a free place. */
static bool choose_open(struct op *o)
{
    if (model.file[o->file].used) {
        const int mode = one_in(3) ? O_RDONLY : one_in(4) ? O_WRONLY : O_RDWR;
        open_it(o, mode | (mode != O_RDONLY && one_in(8) ? O_APPEND : 0));
        return o->name >= 0;
    }
    o->name = (int)below(NAMES);
    o->arg = O_RDWR | O_CREAT | O_EXCL | (o->side ? O_DIRECT : 0);
    return model.name[o->name] < 0;
}

static bool choose_any(struct op *o)
{
    const struct side *s = &model.side[o->worker][o->file][o->side];
    const bool mapped = model.mapped[o->worker][o->file] != 0;
    const bool has_name = !model.no_links || model_name(o->file) >= 0;

    switch (o->kind) {
    case OP_READ:
        if (!needs(o, true, false))
            return false;
        return o->kind == OP_OPEN || choose_range(o, FILE_MAX);
    case OP_STAT:
        return s->open && has_name;
    case OP_CLOSE:
    case OP_DROP:
        return s->open;
    case OP_SYNC:
        o->arg = one_in(2);
        return s->open;
    case OP_SEEK:
        o->off = below(model.file[o->file].size + 10);
        o->arg = one_in(2) ? SEEK_DATA : SEEK_HOLE;
        return s->open && has_name;
    case OP_UNMAP:
        return mapped;
    case OP_MSYNC:
        o->arg = one_in(4) ? MS_ASYNC : MS_SYNC;
        return mapped;
    case OP_WHOLE:
        o->name = model_name(o->file);
        o->arg = one_in(2) && !run.aligned ? O_DIRECT : 0;
        return o->name >= 0;
    default:
        return false;
    }
}

/* How often each kind is chosen, of their sum. */
static const unsigned shares[KINDS] = {
    [OP_OPEN] = 20,  [OP_CLOSE] = 12, [OP_READ] = 200,     [OP_WRITE] = 120,   [OP_APPEND] = 20,
    [OP_LOAD] = 40,  [OP_STORE] = 50, [OP_MSYNC] = 12,     [OP_TRUNCATE] = 25, [OP_UNMAP] = 8,
    [OP_COPY] = 35,  [OP_SEEK] = 15,  [OP_FALLOCATE] = 40, [OP_SYNC] = 12,     [OP_DROP] = 30,
    [OP_RENAME] = 8, [OP_UNLINK] = 5, [OP_LINK] = 5,       [OP_STAT] = 15,     [OP_WHOLE] = 20,
};

static enum kind any_kind(void)
{
    unsigned sum = 0, n;
    int k = 0;

    for (int i = 0; i < KINDS; i++)
        sum += shares[i];
    n = (unsigned)below(sum);
    while (n >= shares[k])
        n -= shares[k++];
    return (enum kind)k;
}

static bool choose_once(struct op *o, int worker)
{
    *o = (struct op){ .kind = any_kind(), .worker = worker, .name = -1, .name_to = -1 };
    o->file = (int)below(FILES);
    o->side = (int)below(SIDES);
    if (!model.file[o->file].used)
        o->kind = OP_OPEN;
    switch (o->kind) {
    case OP_OPEN:
        return choose_open(o);
    case OP_WRITE:
    case OP_APPEND:
        return choose_write(o);
    case OP_LOAD:
    case OP_STORE:
        return choose_memory(o);
    case OP_TRUNCATE:
        return choose_truncate(o);
    case OP_FALLOCATE:
        return choose_fallocate(o);
    case OP_COPY:
        return choose_copy(o);
    case OP_RENAME:
    case OP_UNLINK:
    case OP_LINK:
        return choose_names(o);
    default:
        return choose_any(o);
    }
}

/* False: nothing was found. It may have no file open, and none may have a name. */
static bool choose(struct op *o, int worker)
{
    for (int n = 0; n < 1000; n++)
        if (choose_once(o, worker))
            return true;
    return false;
}

/* ---- What is wrong --------------------------------------------------------------------------- */

/* The file by one of its names in --below: what is read, or -1. */
static int64_t read_below(int name, uint8_t *buf)
{
    char text[NAME_MAX_LEN];
    int64_t done = 0;
    ssize_t n = 0;
    int fd;

    name_of(name, text);
    fd = openat(run.below, text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while ((n = pread(fd, buf + done, FILE_MAX + PAGE - (size_t)done, done)) > 0)
        done += n;
    close(fd);
    return n < 0 ? -1 : done;
}

static void say_file(int file, int64_t at)
{
    static uint8_t buf[FILE_MAX + PAGE];
    const int name = model_name(file);
    int64_t n;

    fprintf(stderr, "random: file %d has %lld bytes and the names", file,
            (long long)model.file[file].size);
    for (int k = 0; k < NAMES; k++)
        if (model.name[k] == file)
            fprintf(stderr, " r%d", k);
    if (run.below >= 0 && name >= 0) {
        n = read_below(name, buf);
        fprintf(stderr, "; the origin has %lld bytes", (long long)n);
        if (at >= 0 && at < n)
            fprintf(stderr, ", and 0x%02x there", buf[at]);
    }
    fputc('\n', stderr);
}

static bool concerns(const struct op *o, int file)
{
    return file < 0 || o->file == file || (o->kind == OP_COPY && o->from == file) || o->file < 0;
}

static _Noreturn void differs(const struct op *o, const char *text, int64_t at)
{
    char offset[64] = "";
    uint64_t k = run.done;

    if (at >= 0)
        snprintf(offset, sizeof(offset), ", offset %lld", (long long)at);
    fprintf(stderr, "random: seed %llu, step %llu, file %d%s: %s\n", (unsigned long long)run.seed,
            (unsigned long long)o->step, o->file, offset, text);
    if (o->file >= 0)
        say_file(o->file, at);
    fprintf(stderr, "random: the last operations on that file:\n");
    for (int shown = 0; k > 0 && run.done - k < PAST && shown < SHOWN; k--)
        shown += concerns(&run.past[(k - 1) % PAST], o->file);
    for (; k < run.done; k++)
        if (concerns(&run.past[k % PAST], o->file))
            op_print(&run.past[k % PAST], stderr);
    printf("random: seed %llu: %llu operations, 1 differences\n", (unsigned long long)run.seed,
           (unsigned long long)run.done);
    exit(1);
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* Bytes that are never zero, so that a hole differs. */
static void fill(uint8_t *buf, int64_t len)
{
    uint64_t word = any() | 1;

    for (int64_t i = 0; i < len; i += 8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        const uint64_t bytes = word | UINT64_C(0x0101010101010101);
        memcpy(buf + i, &bytes, 8);
    }
}

/* The file system has gone. What it had confirmed must be at the origin. */
static _Noreturn void gone(const struct touch *touches, int n)
{
    static uint8_t buf[FILE_MAX + PAGE];
    unsigned names = 0;
    bool unknown[FILES] = { false };
    uint64_t compared = 0;

    for (int i = 0; i < n; i++) {
        names |= touches[i].names_change ? touches[i].names : 0;
        for (int k = 0; k < 2; k++)
            if (touches[i].data[k].file >= 0 && touches[i].data[k].changes)
                unknown[touches[i].data[k].file] = true;
    }
    for (int k = 0; run.below >= 0 && k < NAMES; k++) {
        const int file = model.name[k];
        struct op o = {
            .kind = OP_WHOLE, .file = file, .name = k, .name_to = -1, .step = run.step
        };
        int64_t size, at;
        if (file < 0 || model.file[file].stored || unknown[file] || (names & 1u << k))
            continue;
        size = read_below(k, buf);
        at = model_compare(file, buf, size);
        if (at >= 0)
            differs(&o, "the file system is gone, and the origin lacks what was confirmed", at);
        compared++;
    }
    printf("random: seed %llu: %llu operations, 0 differences; then the file system was gone, "
           "%llu names compared with the origin\n",
           (unsigned long long)run.seed, (unsigned long long)run.done,
           (unsigned long long)compared);
    exit(EXIT_GONE);
}

static bool is_gone(void)
{
    struct statfs s;

    return run.until_gone && fstatfs(run.dir, &s) < 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED);
}

/* Makes one operation, or two at once, and judges what came of them. */
static void perform(struct op *o, int n)
{
    struct touch touches[2];
    char text[200];
    int64_t at;

    run.step++;
    for (int i = 0; i < n; i++) {
        struct channel *c = run.channel[o[i].worker];
        o[i].step = run.step;
        touches[i] = touch_of(&o[i]);
        c->op = o[i];
        if (o[i].kind == OP_WRITE || o[i].kind == OP_APPEND || o[i].kind == OP_STORE)
            fill(c->buf, o[i].len);
    }
    for (int i = 0; i < n; i++)
        if (!worker_begin(o[i].worker))
            differs(&o[i], "the process has ended", -1);
    for (int i = 0; i < n; i++) {
        if (!worker_wait(o[i].worker))
            differs(&o[i], "the process has ended", -1);
        o[i] = run.channel[o[i].worker]->op;
        run.past[run.done++ % PAST] = o[i];
        run.kinds[o[i].kind]++;
        if (run.trace)
            op_print(&o[i], stdout);
    }
    for (int i = 0; i < n; i++)
        if (!model_judge(&o[i], run.channel[o[i].worker]->buf, n == 1, text, sizeof(text), &at)) {
            if (is_gone())
                gone(touches, n);
            differs(&o[i], text, at);
        }
}

/* The origin must have what was synced. */
static void compare_below(const struct op *o)
{
    static uint8_t buf[FILE_MAX + PAGE];
    const int name = model_name(o->file);
    int64_t at;

    if (run.below < 0 || name < 0 || model.file[o->file].stored)
        return;
    at = model_compare(o->file, buf, read_below(name, buf));
    if (at >= 0)
        differs(o, "the origin differs from what was written", at);
}

static void step(void)
{
    struct op o[2];
    struct touch a, b;
    int n = 1;

    if (!choose(&o[0], (int)below(WORKERS)))
        return;
    if (one_in(2) && choose(&o[1], !o[0].worker)) {
        a = touch_of(&o[0]);
        b = touch_of(&o[1]);
        n += !touches_meet(&a, &b);
    }
    perform(o, n);
    if (n == 1 && o[0].kind == OP_SYNC && one_in(4))
        compare_below(&o[0]);
}

/* ---- The whole run --------------------------------------------------------------------------- */

/* What was stored into mappings reaches the origin. */
static void settle(int file)
{
    struct op o = { .kind = OP_SYNC, .file = file, .name = -1, .name_to = -1 };

    if (!model.side[0][file][0].open) {
        struct op opening = o;
        opening.kind = OP_OPEN;
        opening.arg = O_RDWR;
        opening.name = model_name(file);
        perform(&opening, 1);
    }
    perform(&o, 1);
    compare_below(&o);
}

static void compare_all(void)
{
    for (int f = 0; f < FILES; f++)
        for (int k = 0; k < WORKERS * SIDES && model_name(f) >= 0; k++) {
            struct op o = { .kind = OP_WHOLE,
                            .file = f,
                            .name = model_name(f),
                            .name_to = -1,
                            .worker = k / SIDES,
                            .arg = k % SIDES && !run.aligned ? O_DIRECT : 0 };
            perform(&o, 1);
        }
    for (int f = 0; f < FILES; f++)
        if (model_name(f) >= 0)
            settle(f);
}

/* Takes a file that is there into the model. */
static void adopt(int name)
{
    static uint64_t inode[FILES];
    static uint8_t buf[FILE_MAX + PAGE];
    const int from = run.below >= 0 ? run.below : run.dir;
    char text[NAME_MAX_LEN];
    struct stat st;
    int f = 0, fd;
    ssize_t n;

    name_of(name, text);
    model.name[name] = -1;
    fd = openat(from, text, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    while (f < FILES && model.file[f].used && inode[f] != st.st_ino)
        f++;
    if (f == FILES || st.st_size > (off_t)FILE_MAX || (n = pread(fd, buf, sizeof(buf), 0)) < 0) {
        fprintf(stderr, "random: %s/%s is in the way\n", run.directory, text);
        exit(2);
    }
    close(fd);
    if (!model.file[f].used) {
        model.file[f].used = true;
        model.file[f].size = n;
        memcpy(model.file[f].data, buf, (size_t)n);
        inode[f] = st.st_ino;
    }
    model.name[name] = f;
    model.file[f].links++;
}

static void begin(void)
{
    char probe[] = "probe", byte;
    int fd;

    run.dir = open(run.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run.dir < 0) {
        perror(run.directory);
        exit(2);
    }
    /* Does the file system want aligned requests? */
    fd = openat(run.dir, probe, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    run.aligned = fd < 0 || pwrite(fd, &byte, 1, 0) != 1;
    if (fd >= 0)
        close(fd);
    unlinkat(run.dir, probe, 0);
    run.state = run.seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
    for (int i = 0; i < NAMES; i++)
        adopt(i);
    for (int w = 0; w < WORKERS; w++) {
        run.channel[w] = mmap(NULL, sizeof(struct channel), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (run.channel[w] == MAP_FAILED) {
            perror("random: memory");
            exit(2);
        }
        worker_start(w, run.channel[w], run.dir);
    }
}

static void on_term(int sig)
{
    (void)sig;
    stopped = 1;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: random DIRECTORY [--seed S] [--ops N] [--seconds N] "
                    "[--below DIRECTORY] [--until-gone] [--no-links] [--trace]\n");
    exit(2);
}

static void options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--until-gone"))
            run.until_gone = true;
        else if (!strcmp(a, "--no-links"))
            model.no_links = true;
        else if (!strcmp(a, "--trace"))
            run.trace = true;
        else if (a[0] != '-' && !run.directory)
            run.directory = a;
        else if (!v)
            usage();
        else if (!strcmp(a, "--seed"))
            run.seed = strtoull(v, NULL, 10), i++;
        else if (!strcmp(a, "--ops"))
            run.ops = strtoull(v, NULL, 10), i++;
        else if (!strcmp(a, "--seconds"))
            run.end = time(NULL) + atoi(v), i++;
        else if (!strcmp(a, "--below") && (run.below = open(v, O_RDONLY | O_DIRECTORY)) >= 0)
            i++;
        else
            usage();
    }
    if (!run.directory)
        usage();
}

int main(int argc, char **argv)
{
    struct sigaction term = { .sa_handler = on_term };

    options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("random: seed %llu\n", (unsigned long long)run.seed);
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    begin();
    compare_all();
    puts("random: at work");
    while (!stopped && run.done < run.ops && (!run.end || time(NULL) < run.end))
        step();
    compare_all();
    for (int w = WORKERS - 1; w >= 0; w--)
        worker_stop(w);
    for (int k = 0; k < KINDS; k++)
        printf("%s%s %llu", k ? ", " : "", kind_names[k], (unsigned long long)run.kinds[k]);
    printf("; %u not supported\n", model.refused);
    printf("random: seed %llu: %llu operations, 0 differences\n", (unsigned long long)run.seed,
           (unsigned long long)run.done);
    return 0;
}
