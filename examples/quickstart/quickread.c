/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quickread.c - the tool that quickstart.sh measures with: it chooses files, reads them, and sums
 * them.
 *
 *   quickread sample DIR NAMES NUMBERS RATE DELAY SECONDS [MIN MAX]
 *       chooses readable files of MIN to MAX bytes below DIR: as many as can be read in SECONDS
 *       from a storage with RATE MB/s and DELAY ms per read. Writes the names to NAMES, and "FILES
 *       BYTES" to NUMBERS.
 *   quickread drop DIR NAMES
 *       makes the kernel drop the pages that it has of these files. This does not need root.
 *   quickread read LABEL DIR NAMES SUMS NUMBERS BYTES [SECONDS READ]
 *       reads all of them. Writes a sum for each to SUMS, and "MS FILES BYTES" to NUMBERS. BYTES is
 *       the expected amount, for the progress. With SECONDS it stops after that time, leaves out
 *       files that cannot be read, and writes the names of the files that it has read to READ.
 *
 * If something takes longer than a few seconds, progress goes to stderr. Exit status: 0, 1 it
 * failed, 2 wrong usage.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* clock_gettime */
#endif
#include "quickread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- What the user sees ---------------------------------------------------------------------- */

void progress(const char *label, uint64_t done, uint64_t total, const char *unit, uint64_t began_ms)
{
    static uint64_t next; /* when the next line is due, ms after the start */
    static int shown, tty = -1;
    uint64_t t = now_ms() - began_ms;

    if (tty < 0)
        tty = isatty(STDERR_FILENO);
    if (total && done >= total) {
        if (shown && tty)
            fputs("\r\033[K", stderr);
        shown = 0;
        next = 0;
        return;
    }
    if (next == 0)
        next = 3000;
    if (t < next)
        return;
    next = t + (tty ? 500 : 10000);
    shown = 1;
    fprintf(stderr, "%s%s: %llu ", tty ? "\r" : "", label, (unsigned long long)done);
    if (total)
        fprintf(stderr, "of %llu %s, %llu s left", (unsigned long long)total, unit,
                (unsigned long long)(done ? t * (total - done) / done / 1000 + 1 : 0));
    else
        fprintf(stderr, "%s, %llu s", unit, (unsigned long long)t / 1000);
    fputs(tty ? "\033[K" : "\n", stderr);
}

void skipped_add(struct skipped *s, unsigned long *count, const char *name, int err)
{
    if (s->files + s->dirs == 0)
        snprintf(s->first, sizeof(s->first), "%.400s: %s", name, strerror(err));
    ++*count;
}

void skipped_say(const struct skipped *s)
{
    if (s->files + s->dirs == 0)
        return;
    printf("skipped %lu file%s", s->files, s->files == 1 ? "" : "s");
    if (s->dirs)
        printf(" and %lu director%s", s->dirs, s->dirs == 1 ? "y" : "ies");
    printf(" that cannot be read (%s%s)\n", s->files + s->dirs > 1 ? "the first: " : "", s->first);
}

/* ---- Lists of names -------------------------------------------------------------------------- */

static FILE *open_or_say(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);

    if (!f)
        fprintf(stderr, "quickread: %s: %s\n", path, strerror(errno));
    return f;
}

/* 0, or -1 with a message. */
static int close_or_say(FILE *f, const char *path)
{
    int bad = f ? ferror(f) : 0;

    if (f && fclose(f))
        bad = 1;
    if (bad)
        fprintf(stderr, "quickread: %s: cannot be written\n", path);
    return bad ? -1 : 0;
}

static int drop(const char *dir, const char *path)
{
    FILE *names = open_or_say(path, "r");
    char *name = NULL;
    size_t room = 0;

    if (!names)
        return 1;
    if (chdir(dir) < 0) {
        fprintf(stderr, "quickread: %s: %s\n", dir, strerror(errno));
        fclose(names);
        return 1;
    }
    while (getdelim(&name, &room, '\0', names) > 0) {
        int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;  /* the read will report the error */
        fdatasync(fd); /* dirty pages would stay */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    free(name);
    fclose(names);
    return 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

struct reading {
    const char *label;
    uint64_t began, bytes, total, files;
    FILE *names, *sums, *read; /* read: NULL, or names of what was read */
    uint64_t limit_ms;         /* 0: none */
};

static bool late(const struct reading *r)
{
    return r->limit_ms && r->files && now_ms() - r->began > r->limit_ms;
}

/* The file's sum; 0 or errno; -1: the time is over. */
static int read_file(struct reading *r, const char *name, XXH128_hash_t *sum)
{
    static char buf[128 * 1024];
    static XXH3_state_t state;
    int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), err;
    uint64_t left = EACH;
    bool over = false;
    ssize_t n = 0;

    if (fd < 0)
        return errno;
    XXH3_128bits_reset(&state);
    while (left && !(over = late(r)) && (n = read(fd, buf, sizeof(buf))) > 0) {
        XXH3_128bits_update(&state, buf, (size_t)n);
        r->bytes += (uint64_t)n;
        left -= (uint64_t)n; /* EACH is a multiple of the buffer */
        if (r->bytes < r->total)
            progress(r->label, r->bytes >> 20, (r->total >> 20) + 1, "MiB", r->began);
    }
    err = over ? -1 : n < 0 ? errno : 0;
    close(fd);
    *sum = XXH3_128bits_digest(&state);
    return err;
}

static void read_all(struct reading *r)
{
    struct skipped skipped = { 0 };
    char *name = NULL;
    size_t room = 0;
    bool more;

    r->began = now_ms();
    while ((more = getdelim(&name, &room, '\0', r->names) > 0)) {
        XXH128_hash_t sum = { 0 };
        uint64_t before = r->bytes;
        int err;
        err = late(r) ? -1 : read_file(r, name, &sum);
        if (err < 0) {
            r->bytes = before;
            break;
        }
        if (err && r->read) {
            skipped_add(&skipped, &skipped.files, name, err);
            r->bytes = before;
            continue;
        }
        r->files++;
        if (err)
            fprintf(r->sums, "%-32s %s\n", strerror(err), name);
        else
            fprintf(r->sums, "%016llx%016llx %s\n", (unsigned long long)sum.high64,
                    (unsigned long long)sum.low64, name);
        if (r->read)
            fwrite(name, 1, strlen(name) + 1, r->read);
    }
    free(name);
    progress(r->label, 1, 1, "", r->began);
    skipped_say(&skipped);
    if (more)
        printf("reading was stopped after %llu s, with %llu files read: this storage is slow\n",
               (unsigned long long)r->limit_ms / 1000, (unsigned long long)r->files);
}

static int read_command(int argc, char **argv)
{
    struct reading r = { .label = argv[2], .total = strtoull(argv[7], NULL, 10) };
    FILE *numbers;
    int rc = 0;

    r.names = open_or_say(argv[4], "r");
    r.sums = open_or_say(argv[5], "w");
    numbers = open_or_say(argv[6], "w");
    if (argc == 10) {
        r.limit_ms = strtoull(argv[8], NULL, 10) * 1000;
        r.read = open_or_say(argv[9], "w");
        rc = r.read ? 0 : 1;
    }
    if (rc || !r.names || !r.sums || !numbers)
        return 1;
    if (chdir(argv[3]) < 0) {
        fprintf(stderr, "quickread: %s: %s\n", argv[3], strerror(errno));
        return 1;
    }
    read_all(&r);
    fprintf(numbers, "%llu %llu %llu\n", (unsigned long long)(now_ms() - r.began),
            (unsigned long long)r.files, (unsigned long long)r.bytes);
    fclose(r.names);
    rc |= close_or_say(r.sums, argv[5]) | close_or_say(numbers, argv[6]);
    rc |= argc == 10 ? close_or_say(r.read, argv[9]) : 0;
    return rc || fflush(stdout) ? 1 : 0;
}

static int sample_command(int argc, char **argv)
{
    struct sample_options o = { .min = argc == 10 ? strtoull(argv[8], NULL, 10) : 0,
                                .max = argc == 10 ? strtoull(argv[9], NULL, 10) : UINT64_MAX,
                                .rate = atof(argv[5]),
                                .delay = atof(argv[6]),
                                .seconds = atof(argv[7]),
                                .walk_seconds = 10 };
    FILE *names = open_or_say(argv[3], "w"), *numbers = names ? open_or_say(argv[4], "w") : NULL;
    int rc = numbers ? sample(argv[2], &o, names, numbers) : 1;

    rc |= close_or_say(names, argv[3]) | close_or_say(numbers, argv[4]);
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    if ((argc == 8 || argc == 10) && !strcmp(argv[1], "sample"))
        return sample_command(argc, argv);
    if (argc == 4 && !strcmp(argv[1], "drop"))
        return drop(argv[2], argv[3]);
    if ((argc == 8 || argc == 10) && !strcmp(argv[1], "read"))
        return read_command(argc, argv);
    fprintf(stderr, "quickread: wrong usage; the head of quickread.c lists the commands\n");
    return 2;
}
