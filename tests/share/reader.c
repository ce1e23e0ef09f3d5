/* SPDX-License-Identifier: BSD-2-Clause
 *
 * reader.c - a process that reads the pool of another one, and judges every byte that it gets.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "share.h"

#define MOST 6u /* blocks of a read */

static struct {
    cm_cache *c;
    cm_file *f[FILES];
    struct rng rng;
    struct counts *counts;
} r;

static void wrong(unsigned file, unsigned block, const char *what, uint64_t is, uint64_t from,
                  uint64_t to)
{
    if (add(&shared->wrong, 1) == 1)
        (void)snprintf(shared->said, sizeof(shared->said),
                       "process %d, file %u, block %u: %s (%llu; %llu to %llu are right)",
                       (int)getpid(), file, block, what, (unsigned long long)is,
                       (unsigned long long)from, (unsigned long long)to);
}

static void look_again(unsigned i)
{
    const cm_validator v = validator_of(i, rng_below(&r.rng, 2) != 0);
    const int e = cm_file_revalidate(r.f[i], &v);
    if (e < 0) {
        fprintf(stderr, "reader: cm_file_revalidate: %s\n", cm_strerror(e));
        _exit(3);
    }
}

static void start(void)
{
    cm_options opts = CM_OPTIONS_INIT;
    opts.flags = CM_OPEN_SHARED;
    const int e = cm_open(pool_path, &opts, &r.c);
    if (e) {
        fprintf(stderr, "reader: cm_open: %s\n", cm_strerror(e));
        _exit(3);
    }
    for (unsigned i = 0; i < FILES; i++) {
        const cm_file_id id = id_of(i);
        const cm_validator v = validator_of(i, true);
        if (cm_file_open(r.c, &id, &v, 0, &r.f[i]) < 0)
            _exit(3);
    }
}

/* Judges `len` bytes from `offset` on. `low`: what each block must not be older than. */
static void judge(unsigned i, uint64_t offset, const uint8_t *buf, uint64_t len,
                  const uint64_t *low)
{
    static uint8_t whole[CM_BLOCK_SIZE];
    const unsigned first = (unsigned)(offset / BLOCK);
    for (uint64_t at = offset, n; at < offset + len; at += n) {
        const unsigned b = (unsigned)(at / BLOCK);
        const uint64_t from = at % BLOCK;
        uint64_t word;
        n = BLOCK - from < offset + len - at ? BLOCK - from : offset + len - at;
        /* The first whole word says which version it is. */
        const uint64_t skip = (8 - from % 8) % 8;
        if (skip + 8 > n)
            continue;
        memcpy(&word, buf + (at - offset) + skip, 8);
        const uint64_t version = word >> 24;
        make_block(i, b, version, whole);
        const uint64_t high = get(&shared->next);
        if (memcmp(whole + from, buf + (at - offset), n) != 0)
            wrong(i, b, "torn, or of another block", version, low[b - first], high);
        else if (version < low[b - first] || version > high)
            wrong(i, b, "old", version, low[b - first], high);
        add(&r.counts->hits, 1);
    }
}

static void read_once(void)
{
    static uint8_t buf[MOST * CM_BLOCK_SIZE];
    const unsigned i = (unsigned)rng_below(&r.rng, FILES), how = (unsigned)rng_below(&r.rng, 16);
    struct file *f = &shared->file[i];
    uint64_t offset = rng_below(&r.rng, BLOCKS) * BLOCK, len = BLOCK, low[MOST + 1];
    if (how >= 8 && how < 12)
        len = (1 + rng_below(&r.rng, MOST)) * BLOCK;
    if (how == 12) {
        offset += 1 + rng_below(&r.rng, 4000);
        len = 1 + rng_below(&r.rng, 3 * BLOCK);
    }
    const unsigned first = (unsigned)(offset / BLOCK);
    const uint64_t shrinks = get(&f->shrinks), least = get(&f->size_told);
    for (unsigned b = 0; b <= MOST; b++)
        low[b] = first + b < BLOCKS ? get(&f->told[first + b]) : 0;
    cm_miss m = { 0 };
    int64_t n;
    if (how == 13) {
        cm_read_vec v = { .offset = offset, .buf = buf, .len = len, .miss = &m };
        (void)cm_read_many(r.f[i], &v, 1);
        n = v.result;
    } else if (how == 14) {
        n = cm_read_whole(r.f[i], offset, buf, len, 0);
        m.flags = 0;
        n = n == CM_EABSENT ? 0 : n;
    } else {
        n = cm_read(r.f[i], offset, buf, len, &m);
    }
    if (n < 0) {
        fprintf(stderr, "reader: %s\n", cm_strerror((int)n));
        _exit(3);
    }
    judge(i, offset, buf, (uint64_t)n, low);
    if (n == 0)
        add(&r.counts->misses, 1);
    if (m.flags & CM_MISS_EOF) {
        const uint64_t end = m.len ? m.offset + m.len : offset + (uint64_t)n;
        const uint64_t most = get(&f->size);
        add(&r.counts->ends, 1);
        /* A read behind the end says only that it is behind. */
        if (get(&f->shrinks) == shrinks && shrinks % 2 == 0 && end > offset &&
            (end < least || end > most))
            wrong(i, first, "another end of the file", end, least, most);
        if (get(&f->shrinks) == shrinks && shrinks % 2 == 0 && end == offset && least > offset)
            wrong(i, first, "an end of the file before its end", end, least, most);
    }
}

void be_reader(unsigned number, uint64_t seed)
{
    r.rng.s = seed;
    r.counts = &shared->counts[number];
    start();
    for (uint64_t n = 1; !get(&shared->stop); n++) {
        read_once();
        add(&r.counts->operations, 1);
        if (n % 64 == 0)
            sched_yield(); /* the owner has work, too */
        if (n % 64 == 0)
            look_again((unsigned)(n / 64 % FILES));
    }
    if (cm_close(r.c))
        _exit(3);
    _exit(0);
}
