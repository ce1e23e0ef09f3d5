/* SPDX-License-Identifier: BSD-2-Clause
 *
 * store.c - a program that uses the library on a disk that loses its power, and the one that looks
 * what is left.
 *
 *   store work DIR LOG NOTES SECONDS SEED POOL_MIB
 *   store judge DIR NOTES POSITION
 *
 * Both the pool and the files that are cached lie in DIR, on one file system. So a power cut takes
 * a part of both, and the truth afterwards is what the file system says. `work` writes, syncs,
 * truncates, makes and deletes files in several threads, and makes a checkpoint five times a
 * second. It ends without a close. LOG is the log of the disk's writes: NOTES gets its length after
 * each checkpoint, with the number of blocks that were cached before of the files nobody writes.
 * `judge` compares all that hits with the files, and prints what hits. POSITION is where the log
 * was cut.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachemax.h"

#define BLOCK 4096u
#define MIB (1u << 20)
#define SIZE (8u * MIB) /* of each file at first; none grows beyond MOST */
#define MOST (12u * MIB)
#define WRITERS 4u

enum kind { STILL, OWN, SOLE, KINDS };
#define FILES 6u /* of each kind */
static const char *const kind_name[KINDS] = { "still", "exclusive", "sole" };
static const uint32_t kind_flags[KINDS] = { 0, CM_EXCLUSIVE, CM_SOLE_WRITER };

struct file {
    enum kind kind;
    int fd, direct;
    cm_file_id id;
    cm_file *cf;
    pthread_mutex_t lock; /* around a change of the size */
};

static cm_cache *cache;
static struct file files[KINDS][FILES];
static char dir[512];
static atomic_bool stop;
static atomic_ulong writes, syncs;

static _Noreturn void die(const char *what)
{
    printf("FAILED: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(int64_t e, const char *what)
{
    if (e < 0) {
        printf("FAILED: %s: %s\n", what, cm_errname((int)e));
        exit(1);
    }
}

static void say(void *ctx, int level, const char *line)
{
    (void)ctx;
    if (level <= CM_LOG_WARNING)
        printf("# %s\n", line);
}

static uint64_t next(uint64_t *s)
{
    uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void path_of(char *path, size_t n, enum kind kind, unsigned number)
{
    (void)snprintf(path, n, "%s/%s%u", dir, kind_name[kind], number);
}

static void open_pool(void)
{
    cm_options o = CM_OPTIONS_INIT;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    o.flags = CM_OPEN_ANY_OWNER;
    o.probation_bytes = CM_PROBATION_NONE;
    o.log = say;
    must(cm_open(path, &o, &cache), "cm_open");
}

/* The file as it is now. Of an exclusive file only the size matters. */
static cm_validator identify(struct file *f)
{
    static const uint64_t version = 1;
    cm_identify_options o = CM_IDENTIFY_OPTIONS_INIT;
    cm_validator v = CM_VALIDATOR_INIT;

    o.volume_id = "the disk"; /* its copies are on other loop devices */
    must(cm_identify_with(f->fd, &o, &f->id, &v), "cm_identify_with");
    if (f->kind == OWN)
        cm_validator_set_proof(&v, &version, sizeof(version));
    return v;
}

static void attach(struct file *f)
{
    const cm_validator v = identify(f);

    must(cm_file_open(cache, &f->id, &v, kind_flags[f->kind], &f->cf), "cm_file_open");
}

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    const ssize_t n = pread(*(int *)ctx, buf, len, (off_t)offset);

    return n < 0 ? -errno : n;
}

static void sync_file(struct file *f)
{
    cm_sync s;

    must(cm_sync_begin(f->cf, &s), "cm_sync_begin");
    if (fsync(f->fd) != 0)
        die("fsync");
    must(cm_sync_end(f->cf, &s, 1, NULL), "cm_sync_end");
    atomic_fetch_add(&syncs, 1);
}

/* ---- Work ------------------------------------------------------------------------------------ */

static void *room(void)
{
    void *p = aligned_alloc(BLOCK, 256 * 1024);

    if (!p)
        die("memory");
    return p;
}

static void make_files(uint64_t *rng)
{
    uint64_t *buf = room();

    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            char path[600];
            struct file *f = &files[k][i];

            path_of(path, sizeof(path), (enum kind)k, i);
            f->kind = (enum kind)k;
            f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
            f->direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
            pthread_mutex_init(&f->lock, NULL);
            if (f->fd < 0 || f->direct < 0)
                die(path);
            for (unsigned at = 0; at < SIZE; at += 256 * 1024) {
                for (unsigned w = 0; w < 256 * 1024 / 8; w++)
                    buf[w] = next(rng);
                if (pwrite(f->fd, buf, 256 * 1024, at) != 256 * 1024)
                    die("pwrite");
            }
            if (fsync(f->fd) != 0)
                die("fsync");
            if (k == STILL) { /* while it is open for writing its times prove nothing */
                close(f->fd);
                close(f->direct);
                f->fd = open(path, O_RDONLY | O_CLOEXEC);
            }
        }
    free(buf);
}

static void end_bracket(struct file *f, const cm_bracket *w)
{
    const cm_validator v = identify(f);

    must(cm_write_end(f->cf, w, &v), "cm_write_end");
}

/* One file changes. */
static void change(struct file *f, uint64_t *rng, uint64_t *buf)
{
    const unsigned how = (unsigned)(next(rng) % 16);
    cm_bracket w;

    for (unsigned i = 0; i < 8192 / 8; i++)
        buf[i] = next(rng);
    pthread_mutex_lock(&f->lock);
    if (how == 0) {
        const uint64_t size = SIZE - MIB + next(rng) % (2 * MIB);
        must(cm_truncate_begin(f->cf, size, &w), "cm_truncate_begin");
        if (ftruncate(f->fd, (off_t)size) != 0)
            die("ftruncate");
        end_bracket(f, &w);
    } else if (how == 1) {
        const off_t end = lseek(f->fd, 0, SEEK_END);
        if (end < (off_t)MOST) {
            must(cm_write_begin(f->cf, CM_APPEND, 5000, &w), "cm_write_begin");
            if (pwrite(f->fd, buf, 5000, end) != 5000)
                die("pwrite");
            end_bracket(f, &w);
        }
    } else {
        /* Mostly the first eighth of a file is written; every tenth write is anywhere. */
        const uint64_t span = next(rng) % 10 == 0 ? SIZE : SIZE / 8;
        const bool direct = how < 6; /* the data is on the disk before the time of the change */
        const uint64_t len = direct ? BLOCK : 1 + next(rng) % 8192;
        const uint64_t at = next(rng) % (span - 8192) / (direct ? BLOCK : 1) * (direct ? BLOCK : 1);
        must(cm_write_begin(f->cf, at, len, &w), "cm_write_begin");
        if (pwrite(direct ? f->direct : f->fd, buf, len, (off_t)at) != (ssize_t)len)
            die("pwrite");
        end_bracket(f, &w);
    }
    pthread_mutex_unlock(&f->lock);
    atomic_fetch_add(&writes, 1);
}

static void *writer(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    uint64_t *buf = room();

    while (!atomic_load(&stop)) {
        struct file *f = &files[1 + next(&rng) % (KINDS - 1)][next(&rng) % FILES];
        const unsigned what = (unsigned)(next(&rng) % 20);
        if (what < 6)
            change(f, &rng, buf);
        else if (what == 6)
            sync_file(f);
        else
            must(cm_read_through(f->cf, next(&rng) % SIZE, buf, 65536, read_origin, &f->fd),
                 "cm_read_through");
        if (what < 6)
            usleep(2000);
    }
    return NULL;
}

/* Files come and go. */
static void *maker(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg;
    uint64_t *buf = room();

    for (unsigned n = 0; !atomic_load(&stop); n++) {
        char path[600];
        struct file f = { .kind = SOLE };
        cm_bracket w;

        (void)snprintf(path, sizeof(path), "%s/small%u", dir, n % 50);
        if (unlink(path) != 0 && errno != ENOENT)
            die(path);
        f.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (f.fd < 0)
            die(path);
        attach(&f);
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned k = 0; k < 20000 / 8; k++)
                buf[k] = next(&rng);
            must(cm_write_begin(f.cf, 0, 20000, &w), "cm_write_begin");
            if (pwrite(f.fd, buf, 20000, 0) != 20000)
                die("pwrite");
            end_bracket(&f, &w);
            must(cm_read_through(f.cf, 0, buf, 20000, read_origin, &f.fd), "cm_read_through");
        }
        if (next(&rng) % 2)
            sync_file(&f);
        must(cm_file_close(f.cf), "cm_file_close");
        if (next(&rng) % 3 == 0) {
            if (unlink(path) != 0)
                die(path);
            must(cm_forget_gone(cache, &f.id), "cm_forget_gone");
        }
        close(f.fd);
        usleep(20000);
    }
    return NULL;
}

static unsigned cached_still(void)
{
    static uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    unsigned n = 0;

    for (unsigned i = 0; i < FILES; i++)
        for (uint64_t at = 0; at < SIZE; at += BLOCK)
            n += cm_read(files[STILL][i].cf, at, buf, BLOCK, NULL) == BLOCK;
    return n;
}

static void *checkpointer(void *arg)
{
    char *const *names = arg; /* log, notes */
    FILE *notes = fopen(names[1], "w");
    struct stat st;

    if (!notes)
        die(names[1]);
    while (!atomic_load(&stop)) {
        const unsigned cached = cached_still();
        must(cm_checkpoint(cache), "cm_checkpoint");
        if (stat(names[0], &st) != 0)
            die(names[0]);
        fprintf(notes, "%lld %u\n", (long long)st.st_size, cached);
        fflush(notes);
        usleep(200000);
    }
    fclose(notes);
    return NULL;
}

static int work(char **arg)
{
    uint64_t rng = strtoull(arg[4], NULL, 10);
    pthread_t thread[WRITERS + 2];
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_stats_data s = { .struct_size = sizeof(s) };
    char path[600];
    uint8_t *buf = room();

    (void)snprintf(dir, sizeof(dir), "%s", arg[0]);
    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    make_files(&rng);
    o.size = strtoull(arg[5], NULL, 10) << 20;
    must(cm_create(path, &o), "cm_create");
    open_pool();
    sleep(3); /* until no time is racy */
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            struct file *f = &files[k][i];
            attach(f);
            sync_file(f);
            for (uint64_t at = 0; at < SIZE; at += 65536)
                must(cm_read_through(f->cf, at, buf, 65536, read_origin, &f->fd),
                     "cm_read_through");
        }
    for (unsigned i = 0; i < WRITERS + 2; i++)
        if (pthread_create(&thread[i], NULL,
                           i < WRITERS    ? writer
                           : i == WRITERS ? maker
                                          : checkpointer,
                           i <= WRITERS ? (void *)(uintptr_t)(next(&rng) | 1) : &arg[1]))
            die("thread");
    sleep((unsigned)strtoul(arg[3], NULL, 10));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WRITERS + 2; i++)
        pthread_join(thread[i], NULL);
    must(cm_stats(cache, &s), "cm_stats");
    printf("writes %lu syncs %lu checkpoints %llu page_syncs %llu brackets %llu\n",
           atomic_load(&writes), atomic_load(&syncs), (unsigned long long)s.checkpoints,
           (unsigned long long)s.page_syncs, (unsigned long long)s.brackets);
    fflush(stdout);
    _exit(0); /* as after a kill */
}

/* ---- Judging --------------------------------------------------------------------------------- */

struct result {
    unsigned blocks, hits, wrong;
};

static void compare(const char *path, enum kind kind, struct result *r)
{
    static uint8_t got[BLOCK] __attribute__((aligned(4096))), want[BLOCK];
    struct file f = { .kind = kind };
    struct stat st;

    f.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f.fd < 0 || fstat(f.fd, &st) != 0)
        return; /* it was not there yet, or not any more */
    attach(&f);
    for (uint64_t at = 0; at < (uint64_t)st.st_size + BLOCK; at += BLOCK) {
        const int64_t n = cm_read(f.cf, at, got, BLOCK, NULL);
        const ssize_t have = pread(f.fd, want, BLOCK, (off_t)at);
        r->blocks += at < (uint64_t)st.st_size;
        r->hits += n > 0;
        if (n < 0 || n > have || memcmp(got, want, (size_t)n) != 0) {
            printf("WRONG: %s: block %llu: %lld of %zd bytes\n", path,
                   (unsigned long long)(at / BLOCK), (long long)n, have);
            r->wrong++;
        }
    }
    must(cm_file_close(f.cf), "cm_file_close");
    close(f.fd);
}

/* The blocks of still files that were cached before the last checkpoint that ended before. */
static unsigned noted(const char *name, long long position)
{
    FILE *notes = fopen(name, "r");
    long long at;
    unsigned cached, last = 0;

    if (!notes)
        die(name);
    while (fscanf(notes, "%lld %u", &at, &cached) == 2)
        if (at <= position)
            last = cached;
    fclose(notes);
    return last;
}

static int judge(char **arg)
{
    struct result r[KINDS + 1] = { { 0, 0, 0 } };
    const unsigned floor = noted(arg[1], strtoll(arg[2], NULL, 10));
    cm_info info = CM_INFO_INIT;
    unsigned wrong = 0;
    char path[600];

    (void)snprintf(dir, sizeof(dir), "%s", arg[0]);
    open_pool();
    must(cm_get_info(cache, &info), "cm_get_info");
    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            path_of(path, sizeof(path), (enum kind)k, i);
            compare(path, (enum kind)k, &r[k]);
        }
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(path, sizeof(path), "%s/small%u", dir, i);
        compare(path, SOLE, &r[KINDS]);
    }
    for (unsigned k = 0; k <= KINDS; k++) {
        printf("%s %u of %u, ", k < KINDS ? kind_name[k] : "small", r[k].hits, r[k].blocks);
        wrong += r[k].wrong;
    }
    printf("floor %u, emptied %u, wrong %u\n", floor, info.emptied, wrong);
    must(cm_close(cache), "cm_close");
    if (r[STILL].hits * 100ull < floor * 99ull)
        printf("LOST: %u of %u blocks of files that nobody wrote\n", floor - r[STILL].hits, floor);
    return wrong > 0 ? 2 : r[STILL].hits * 100ull < floor * 99ull ? 3 : 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 8 && strcmp(argv[1], "work") == 0)
        return work(argv + 2);
    if (argc == 5 && strcmp(argv[1], "judge") == 0)
        return judge(argv + 2);
    fprintf(stderr, "usage: store work DIR LOG NOTES SECONDS SEED POOL_MIB | store judge DIR NOTES "
                    "POSITION\n");
    return 1;
}
