/* SPDX-License-Identifier: BSD-2-Clause
 *
 * begins.c - what checkpoints cost those who write: how long cm_write_begin() takes.
 *
 *   begins DIR [SECONDS]
 *
 * Pool and files lie in DIR, which should be on a disk. Each workload runs three times: without a
 * checkpoint, with one every 5 seconds, and with one every second. For each it prints brackets a
 * second, the mean, the median and the 99th percentile of the time of cm_write_begin(), the mean of
 * those that waited for no sync (faster than 20 us), and the pages synced a second.
 *   random    writes of 4 KiB anywhere in a file of 4 GiB
 *   database  1000 commits a second: a page at the end of a log, two in a table of 1 GiB, fsync of
 *             the log
 *   files     new files of 16 KiB; every other one is deleted
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
#include <unistd.h>

#include "cachemax.h"

#define BLOCK 4096u
#define MOST (8u << 20)

static cm_cache *cache;
static const char *dir;
static uint64_t rng = 1, *times, taken;
static unsigned period; /* seconds between checkpoints; 0: none */
static atomic_bool stop;
static uint8_t block[BLOCK];

static void must(int64_t e, const char *what)
{
    if (e < 0) {
        fprintf(stderr, "begins: %s: %s\n", what, e > -1000 ? strerror(errno) : cm_errname((int)e));
        exit(1);
    }
}

static uint64_t random_below(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

struct file {
    int fd;
    cm_file_id id;
    cm_file *cf;
};

static void open_file(struct file *f, const char *name, uint64_t size)
{
    cm_validator v = CM_VALIDATOR_INIT;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(f->fd, path);
    if (size > 0)
        must(ftruncate(f->fd, (off_t)size), "ftruncate");
    must(cm_identify(f->fd, &f->id, &v), "cm_identify");
    must(cm_file_open(cache, &f->id, &v, CM_SOLE_WRITER, &f->cf), "cm_file_open");
}

static void close_file(struct file *f)
{
    must(cm_file_close(f->cf), "cm_file_close");
    close(f->fd);
}

static void write_block(struct file *f, uint64_t at)
{
    const uint64_t began = cm_now();
    cm_bracket w;

    must(cm_write_begin(f->cf, at, BLOCK, &w), "cm_write_begin");
    if (taken < MOST)
        times[taken++] = cm_now() - began;
    must(pwrite(f->fd, block, BLOCK, (off_t)at), "pwrite");
    must(cm_write_end(f->cf, &w, NULL), "cm_write_end");
}

static void sync_file(struct file *f)
{
    cm_sync s;

    must(cm_sync_begin(f->cf, &s), "cm_sync_begin");
    must(fdatasync(f->fd), "fdatasync");
    must(cm_sync_end(f->cf, &s, 1, NULL), "cm_sync_end");
}

static void random_writes(uint64_t until)
{
    struct file f;

    open_file(&f, "big", UINT64_C(4) << 30);
    sync_file(&f);
    while (cm_now() < until)
        write_block(&f, random_below((UINT64_C(4) << 30) / BLOCK) * BLOCK);
    close_file(&f);
}

static void database(uint64_t until)
{
    struct file log, table;
    uint64_t next = cm_now(), end = 0;

    open_file(&log, "log", 64 << 20);
    open_file(&table, "table", UINT64_C(1) << 30);
    sync_file(&table);
    while (cm_now() < until) {
        write_block(&log, end);
        end = (end + BLOCK) % (64 << 20);
        for (unsigned i = 0; i < 2; i++)
            write_block(&table, random_below((UINT64_C(1) << 30) / BLOCK) * BLOCK);
        sync_file(&log);
        next += 1000000;
        while (cm_now() < next)
            usleep(100);
    }
    close_file(&log);
    close_file(&table);
}

static void new_files(uint64_t until)
{
    char name[32], path[600];
    struct file f;

    for (unsigned n = 0; cm_now() < until; n++) {
        (void)snprintf(name, sizeof(name), "f%u", n % 20000);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        (void)unlink(path);
        open_file(&f, name, 0);
        for (unsigned i = 0; i < 4; i++)
            write_block(&f, i * BLOCK);
        close_file(&f);
        if (n % 2) {
            must(unlink(path), path);
            must(cm_forget_gone(cache, &f.id), "cm_forget_gone");
        }
    }
}

static void *checkpoints(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        must(cm_checkpoint(cache), "cm_checkpoint");
        for (unsigned i = 0; i < period * 20 && !atomic_load(&stop); i++)
            usleep(50000);
    }
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *name, unsigned seconds)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    double sum = 0, quick = 0;
    uint64_t quicks = 0;
    char every[16];

    must(cm_stats(cache, &s), "cm_stats");
    for (uint64_t i = 0; i < taken; i++) {
        sum += (double)times[i];
        if (times[i] < 20000) {
            quick += (double)times[i];
            quicks++;
        }
    }
    qsort(times, taken, sizeof(*times), by_time);
    (void)snprintf(every, sizeof(every), period ? "%u s" : "none", period);
    printf("%-9s %-10s %10.0f %9.2f %9.2f %9.2f %9.2f %10.1f\n", name, every,
           (double)taken / seconds, sum / (double)taken / 1000, (double)times[taken / 2] / 1000,
           (double)times[taken * 99 / 100] / 1000, quick / (double)(quicks ? quicks : 1) / 1000,
           (double)s.page_syncs / seconds);
}

static void one(const char *name, void (*work)(uint64_t until), unsigned seconds)
{
    cm_create_options c = CM_CREATE_OPTIONS_INIT;
    cm_options o = CM_OPTIONS_INIT;
    pthread_t thread;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/pool", dir);
    (void)unlink(path);
    c.size = 1 << 30;
    c.max_files = 40000;
    must(cm_create(path, &c), "cm_create");
    o.flags = CM_OPEN_ANY_OWNER;
    must(cm_open(path, &o, &cache), "cm_open");
    atomic_store(&stop, false);
    taken = 0;
    if (period && pthread_create(&thread, NULL, checkpoints, NULL) != 0)
        exit(1);
    if (period)
        usleep(200000); /* the first one */
    work(cm_now() + seconds * UINT64_C(1000000000));
    atomic_store(&stop, true);
    if (period)
        pthread_join(thread, NULL);
    report(name, seconds);
    must(cm_close(cache), "cm_close");
}

int main(int argc, char **argv)
{
    static const unsigned periods[] = { 0, 5, 1 };
    const unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10;

    if (argc < 2 || argc > 3 || seconds == 0) {
        fprintf(stderr, "usage: begins DIR [SECONDS]\n");
        return 1;
    }
    dir = argv[1];
    times = malloc(MOST * sizeof(*times));
    if (!times)
        return 1;
    printf("%-9s %-10s %10s %9s %9s %9s %9s %10s\n", "workload", "checkpoint", "begins/s",
           "mean us", "p50 us", "p99 us", "no sync", "syncs/s");
    for (unsigned w = 0; w < 3; w++)
        for (unsigned p = 0; p < 3; p++) {
            period = periods[p];
            one(w == 0   ? "random"
                : w == 1 ? "database"
                         : "files",
                w == 0   ? random_writes
                : w == 1 ? database
                         : new_files,
                seconds);
        }
    free(times);
    return 0;
}
