/* SPDX-License-Identifier: BSD-2-Clause
 *
 * sample.c - chooses the files that the quick start reads.
 *
 * Walks the directory: one file system, no symbolic links, for a limited time. It orders the files
 * by a hash of their names, takes them in that order while the budget lasts, and writes them in the
 * order of their names. So a sample is spread over the whole directory, and it is the same every
 * time. A file that cannot be opened is left out and counted. Used by quickread.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strdup */
#endif
#include "quickread.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define REQUEST (128 * 1024) /* what the kernel reads ahead at once */

struct entry {
    char *name;
    uint64_t size, hash;
};

struct list {
    struct entry *e;
    size_t n, room;
    size_t large; /* files of which only the first part is read */
    bool cut;     /* the walk did not reach the end */
};

static int by_hash(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int add(struct list *l, const char *name, uint64_t size)
{
    if (size > EACH) {
        size = EACH;
        l->large++;
    }
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 1024;
        struct entry *e = realloc(l->e, room * sizeof(*e));
        if (!e)
            return -1;
        l->e = e;
        l->room = room;
    }
    l->e[l->n] = (struct entry){ strdup(name), size, XXH64(name, strlen(name), 0) };
    return l->e[l->n].name && ++l->n ? 0 : -1;
}

/* In the directory itself. 0, or -1: no memory. */
static int walk(const struct sample_options *o, struct list *l, struct skipped *s)
{
    char here[] = ".", *const roots[] = { here, NULL };
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
    uint64_t began = now_ms();
    unsigned long seen = 0;
    FTSENT *f;
    int rc = fts ? 0 : -1;

    while (rc == 0 && (f = fts_read(fts))) {
        if (f->fts_info == FTS_DNR)
            skipped_add(s, &s->dirs, f->fts_path, f->fts_errno);
        if (f->fts_info == FTS_F && S_ISREG(f->fts_statp->st_mode) &&
            (uint64_t)f->fts_statp->st_size >= o->min && (uint64_t)f->fts_statp->st_size <= o->max)
            rc = add(l, f->fts_path + 2, (uint64_t)f->fts_statp->st_size);
        if (++seen % 1024 == 0)
            progress("looking for files", seen, 0, "found", began);
        l->cut = seen % 64 == 0 && now_ms() - began > 1000 * o->walk_seconds;
        if (l->cut)
            break;
    }
    progress("looking for files", 1, 1, "found", began);
    if (fts)
        fts_close(fts);
    return rc;
}

/* Seconds through the throttle. */
static double cost(const struct sample_options *o, uint64_t size)
{
    uint64_t requests = (size + REQUEST - 1) / REQUEST;

    return (double)requests * o->delay / 1e3 + (double)size / (o->rate * 1e6);
}

/* Puts the files that are taken first. */
static size_t take(const struct sample_options *o, struct list *l, struct skipped *s)
{
    double left = o->seconds;
    size_t n = 0;

    for (size_t i = 0; i < l->n && left > 0; i++) {
        struct entry e = l->e[i];
        int fd;
        if (cost(o, e.size) > left)
            continue;
        fd = open(e.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
            skipped_add(s, &s->files, e.name, errno);
            continue;
        }
        close(fd);
        left -= cost(o, e.size);
        l->e[i] = l->e[n];
        l->e[n++] = e;
    }
    return n;
}

static uint64_t bytes_of(const struct entry *e, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += e[i].size;
    return sum;
}

int sample(const char *dir, const struct sample_options *o, FILE *names, FILE *numbers)
{
    struct list l = { 0 };
    struct skipped s = { 0 };
    size_t n;

    if (chdir(dir) < 0 || walk(o, &l, &s) < 0) {
        fprintf(stderr, "quickread: %s: %s\n", dir, strerror(errno));
        return 1;
    }
    if (l.n)
        qsort(l.e, l.n, sizeof(*l.e), by_hash);
    n = take(o, &l, &s);
    if (n)
        qsort(l.e, n, sizeof(*l.e), by_name);
    for (size_t i = 0; i < n; i++)
        fwrite(l.e[i].name, 1, strlen(l.e[i].name) + 1, names);
    fprintf(numbers, "%zu %llu\n", n, (unsigned long long)bytes_of(l.e, n));
    skipped_say(&s);
    if (n + s.files < l.n || l.cut)
        printf(
            "this is a sample, so that it takes no longer than a minute or so: %zu of %s%zu files, "
            "%llu of %llu MiB\n",
            n, l.cut ? "more than " : "", l.n, (unsigned long long)bytes_of(l.e, n) >> 20,
            (unsigned long long)bytes_of(l.e, l.n) >> 20);
    if (l.large)
        printf("of files larger than %llu MiB only so much is read, from the beginning\n",
               (unsigned long long)EACH >> 20);
    for (size_t i = 0; i < l.n; i++)
        free(l.e[i].name);
    free(l.e);
    return fflush(names) || fflush(numbers) || fflush(stdout) ? 1 : 0;
}
