/* SPDX-License-Identifier: BSD-2-Clause
 *
 * work.c - the threads of a store: eight that read, of which every tenth step is a change, and one
 * that makes and deletes small files.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 8u
#define ROOM (256u * 1024u)

atomic_ulong writes, syncs;
static atomic_bool stop;
static struct work how;
static pthread_t threads[THREADS + 1];
static uint64_t seeds[THREADS + 1];

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    const ssize_t n = pread(*(int *)ctx, buf, len, (off_t)offset);

    return n < 0 ? -errno : n;
}

static void *room(void)
{
    void *p = aligned_alloc(BLOCK, ROOM);

    if (!p)
        die("memory");
    return p;
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void make_file(struct file *f, uint64_t *rng, uint64_t *buf)
{
    for (unsigned at = 0; at < SIZE; at += ROOM) {
        for (unsigned w = 0; w < ROOM / 8; w++)
            buf[w] = next_random(rng);
        if (pwrite(f->fd, buf, ROOM, at) != ROOM)
            die("pwrite");
    }
    if (fsync(f->fd) != 0)
        die("fsync");
}

static void open_all(int flags, uint64_t *rng)
{
    uint64_t *buf = room();

    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            char path[600];
            struct file *f = &files[k][i];

            path_of(path, sizeof(path), (enum kind)k, i);
            *f = (struct file){ .kind = (enum kind)k, .number = i };
            f->fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
            f->direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
            pthread_mutex_init(&f->lock, NULL);
            if (f->fd < 0 || f->direct < 0)
                die(path);
            if (rng)
                make_file(f, rng, buf);
            if (k == STILL) { /* while it is open for writing its times prove nothing */
                close(f->fd);
                close(f->direct);
                f->fd = open(path, O_RDONLY | O_CLOEXEC);
            }
        }
    free(buf);
}

void make_files(uint64_t *rng)
{
    open_all(O_CREAT, rng);
}

void open_files(void)
{
    open_all(0, NULL);
}

void attach_files(void)
{
    uint8_t *buf = room();

    for (unsigned k = 0; k < KINDS; k++)
        for (unsigned i = 0; i < FILES; i++) {
            struct file *f = &files[k][i];
            attach(f);
            sync_file(f);
            for (uint64_t at = 0; at < MOST; at += ROOM)
                must(cm_read_through(f->cf, at, buf, ROOM, read_origin, &f->fd), "cm_read_through");
        }
    free(buf);
}

/* ---- Changes --------------------------------------------------------------------------------- */

static void end_bracket(struct file *f, const cm_bracket *w)
{
    const cm_validator v = identify(f);

    must(cm_write_end(f->cf, w, &v), "cm_write_end");
}

/* Before blocks change. `end` is UINT64_MAX where the size changes. */
static void tell(struct file *f, uint64_t from, uint64_t to)
{
    const uint64_t first = from / BLOCK, end = to == UINT64_MAX ? BLOCKS : (to - 1) / BLOCK + 1;

    f->changes++;
    for (uint64_t b = first; b < end && b < BLOCKS; b++)
        f->changed[b / REGION_BLOCKS] = f->changes;
    how.before(f, first, end);
}

static void truncate_file(struct file *f, uint64_t *rng)
{
    const uint64_t size = SIZE - MIB + next_random(rng) % (2 * MIB);
    const uint64_t old = (uint64_t)lseek(f->fd, 0, SEEK_END), low = old < size ? old : size;
    cm_bracket w;

    tell(f, low - 2 * BLOCK, UINT64_MAX);
    must(cm_truncate_begin(f->cf, size, &w), "cm_truncate_begin");
    if (ftruncate(f->fd, (off_t)size) != 0)
        die("ftruncate");
    end_bracket(f, &w);
}

static void append_file(struct file *f, const uint64_t *buf)
{
    const off_t end = lseek(f->fd, 0, SEEK_END);
    cm_bracket w;

    if (end >= (off_t)MOST - 5000)
        return;
    tell(f, (uint64_t)end - 2 * BLOCK, UINT64_MAX);
    must(cm_write_begin(f->cf, CM_APPEND, 5000, &w), "cm_write_begin");
    if (pwrite(f->fd, buf, 5000, end) != 5000)
        die("pwrite");
    end_bracket(f, &w);
}

static void write_file(struct file *f, uint64_t *rng, const uint64_t *buf)
{
    /* Below the place where the file may end. */
    const uint64_t most = SIZE - MIB - 8192;
    const uint64_t span = how.hot && next_random(rng) % 10 != 0 ? SIZE / 8 : most;
    const bool direct = next_random(rng) % 3 == 0; /* the data is on the disk before the time is */
    const uint64_t unit = direct ? BLOCK : 1;
    const uint64_t len = direct ? BLOCK : 1 + next_random(rng) % 8192;
    const uint64_t at = next_random(rng) % span / unit * unit;
    cm_bracket w;

    tell(f, at, at + len);
    must(cm_write_begin(f->cf, at, len, &w), "cm_write_begin");
    if (pwrite(direct ? f->direct : f->fd, buf, len, (off_t)at) != (ssize_t)len)
        die("pwrite");
    end_bracket(f, &w);
}

static void change(struct file *f, uint64_t *rng, uint64_t *buf)
{
    const unsigned what = (unsigned)(next_random(rng) % 32);

    for (unsigned i = 0; i < 8192 / 8; i++)
        buf[i] = next_random(rng);
    pthread_mutex_lock(&f->lock);
    if (what == 0)
        truncate_file(f, rng);
    else if (what == 1)
        append_file(f, buf);
    else
        write_file(f, rng, buf);
    pthread_mutex_unlock(&f->lock);
    atomic_fetch_add(&writes, 1);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void *user(void *arg)
{
    uint64_t rng = *(uint64_t *)arg;
    uint64_t *buf = room();

    while (!atomic_load(&stop)) {
        struct file *f = &files[1 + next_random(&rng) % (KINDS - 1)][next_random(&rng) % FILES];
        const unsigned what = (unsigned)(next_random(&rng) % 40);
        if (what < 4) {
            change(f, &rng, buf);
            usleep(2000);
        } else if (what == 4) {
            sync_file(f);
        } else {
            must(cm_read_through(f->cf, next_random(&rng) % SIZE, buf, 65536, read_origin, &f->fd),
                 "cm_read_through");
        }
    }
    free(buf);
    return NULL;
}

/* Files come and go. */
static void *maker(void *arg)
{
    uint64_t rng = *(uint64_t *)arg;
    uint64_t *buf = room();

    for (unsigned n = 0; !atomic_load(&stop); n++) {
        char path[600];
        struct file f = { .kind = SOLE, .lock = PTHREAD_MUTEX_INITIALIZER };
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
                buf[k] = next_random(&rng);
            must(cm_write_begin(f.cf, 0, 20000, &w), "cm_write_begin");
            if (pwrite(f.fd, buf, 20000, 0) != 20000)
                die("pwrite");
            end_bracket(&f, &w);
            must(cm_read_through(f.cf, 0, buf, 20000, read_origin, &f.fd), "cm_read_through");
        }
        if (next_random(&rng) % 2)
            sync_file(&f);
        must(cm_file_close(f.cf), "cm_file_close");
        if (next_random(&rng) % 3 == 0) {
            if (unlink(path) != 0)
                die(path);
            must(cm_forget_gone(cache, &f.id), "cm_forget_gone");
        }
        close(f.fd);
        usleep(20000);
    }
    free(buf);
    return NULL;
}

void work_begin(const struct work *w)
{
    how = *w;
    for (unsigned i = 0; i <= THREADS; i++) {
        seeds[i] = next_random(&how.seed);
        if (pthread_create(&threads[i], NULL, i < THREADS ? user : maker, &seeds[i]) != 0)
            die("thread");
    }
}

void work_end(void)
{
    atomic_store(&stop, true);
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(threads[i], NULL);
}
