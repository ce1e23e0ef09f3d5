/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner.c - the process that owns the pool: fills it, writes the origin in brackets, and uses every
 * other way in which what is cached becomes old.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "share.h"

static struct {
    cm_cache *c;
    cm_file *f[FILES];
    struct rng rng;
} o;

/* A call must not fail. */
static void must(int e, const char *what)
{
    if (e >= 0)
        return;
    fprintf(stderr, "owner: %s: %s\n", what, cm_strerror(e));
    _exit(3);
}

static void attach(unsigned i)
{
    const cm_file_id id = id_of(i);
    /* What changed before this validator was taken, and was told to nobody, is told with it. */
    uint64_t version[BLOCKS], size;
    for (unsigned b = 0; b < BLOCKS; b++)
        version[b] = get(&shared->file[i].version[b]);
    size = get(&shared->file[i].size);
    const cm_validator v = validator_of(i, true);
    must(cm_file_open(o.c, &id, &v, CM_SOLE_WRITER, &o.f[i]), "cm_file_open");
    for (unsigned b = 0; b < BLOCKS; b++)
        set(&shared->file[i].told[b], version[b]);
    set(&shared->file[i].size_told, size);
}

/* The last owner was killed in the middle of a write of which the pool had been told. The write is
 * carried out. */
static void finish_writes(unsigned i)
{
    struct file *f = &shared->file[i];
    for (unsigned b = 0; b < BLOCKS; b++)
        if (get(&f->version[b]) < get(&f->told[b])) {
            add(&f->change, 1);
            set(&f->version[b], get(&f->told[b]));
        }
    set(&f->shrinks, get(&f->shrinks) + get(&f->shrinks) % 2);
}

static void start(void)
{
    cm_options opts = CM_OPTIONS_INIT;
    opts.probation_bytes = CM_PROBATION_NONE;
    int e;
    while ((e = cm_open(pool_path, &opts, &o.c)) == CM_EOWNED) /* the killed one is being buried */
        usleep(1000);
    must(e, "cm_open");
    for (unsigned i = 0; i < FILES; i++) {
        finish_writes(i);
        attach(i);
    }
    add(&shared->sessions, 1);
}

/* The origin changes in [first, end). */
static void change(unsigned i, unsigned first, unsigned end)
{
    add(&shared->file[i].change, 1); /* first: a change that is cut short has another validator */
    for (unsigned b = first; b < end; b++)
        set(&shared->file[i].version[b], get(&shared->next));
}

static void tell(unsigned i, unsigned first, unsigned end)
{
    for (unsigned b = first; b < end; b++)
        set(&shared->file[i].told[b], get(&shared->next));
}

static void fill(unsigned i)
{
    static uint8_t data[8 * CM_BLOCK_SIZE];
    const unsigned first = (unsigned)rng_below(&o.rng, BLOCKS - 8);
    cm_miss m;
    const int64_t n = cm_read(o.f[i], first * BLOCK, data, sizeof(data), &m);
    must((int)(n < 0 ? n : 0), "cm_read");
    if (m.len == 0 || m.offset + m.len > (first + 8) * BLOCK)
        return;
    /* The origin gives what it has, and says where it ends. */
    const uint64_t size = get(&shared->file[i].size), end = m.offset + m.len;
    const uint64_t whole = (end + BLOCK - 1) / BLOCK * BLOCK;
    const uint64_t to = whole < size ? whole : size > m.offset ? size : m.offset;
    for (uint64_t at = m.offset; at < to; at += BLOCK)
        make_block(i, (unsigned)(at / BLOCK), get(&shared->file[i].version[at / BLOCK]),
                   data + (at - m.offset));
    must(cm_fill(o.f[i], &m, data, to - m.offset, to == size || to == m.offset ? CM_FILL_EOF : 0),
         "cm_fill");
}

/* A bracket around a write. From its begin on nobody may serve what was there before: so readers
 * are held to the new version before it is written. */
static void write_blocks(unsigned i, bool large)
{
    const unsigned first = large ? 0 : (unsigned)rng_below(&o.rng, BLOCKS);
    const unsigned left = BLOCKS - first, some = 1 + (unsigned)rng_below(&o.rng, 3);
    const unsigned end = large || some > left ? BLOCKS : first + some;
    cm_bracket w;
    add(&shared->next, 1);
    must(cm_write_begin(o.f[i], first * BLOCK, large ? UINT64_C(65) << 20 : (end - first) * BLOCK,
                        &w),
         "cm_write_begin");
    tell(i, first, end);
    change(i, first, end);
    const cm_validator v = validator_of(i, true);
    must(cm_write_end(o.f[i], &w, rng_below(&o.rng, 4) ? &v : NULL), "cm_write_end");
}

/* Changes that nobody announced, and then this call tells of them. */
static void invalidate(unsigned i)
{
    add(&shared->next, 1);
    change(i, 0, BLOCKS);
    must(cm_invalidate(o.f[i], 0, CM_ALL), "cm_invalidate");
    tell(i, 0, BLOCKS);
}

static void revalidate(unsigned i)
{
    const cm_validator v = validator_of(i, true);
    must(cm_file_revalidate(o.f[i], &v), "cm_file_revalidate");
}

static void grow(unsigned i)
{
    struct file *f = &shared->file[i];
    cm_bracket w;
    const uint64_t size = get(&f->size), by = 1 + rng_below(&o.rng, 3 * BLOCK);
    if (size + by > BLOCKS * BLOCK)
        return;
    /* The last block changes with it: it is all of one version. */
    const unsigned first = (unsigned)(size / BLOCK), end = (unsigned)((size + by - 1) / BLOCK) + 1;
    add(&shared->next, 1);
    must(cm_write_begin(o.f[i], first * BLOCK, size + by - first * BLOCK, &w), "cm_write_begin");
    tell(i, first, end);
    change(i, first, end);
    set(&f->size, size + by);
    set(&f->size_told, size + by);
    const cm_validator v = validator_of(i, true);
    must(cm_write_end(o.f[i], &w, &v), "cm_write_end");
}

static void shrink(unsigned i)
{
    struct file *f = &shared->file[i];
    cm_bracket w;
    const uint64_t size = BLOCK * (8 + rng_below(&o.rng, BLOCKS - 8));
    if (size >= get(&f->size))
        return;
    const unsigned first = (unsigned)(size / BLOCK);
    add(&shared->next, 1);
    set(&f->shrinks, get(&f->shrinks) | 1);
    must(cm_truncate_begin(o.f[i], size, &w), "cm_truncate_begin");
    tell(i, first, BLOCKS);
    change(i, first, BLOCKS);
    set(&f->size_told, size);
    set(&f->size, size);
    const cm_validator v = validator_of(i, true);
    must(cm_write_end(o.f[i], &w, &v), "cm_write_end");
    add(&f->shrinks, 1);
}

static void forget(unsigned i)
{
    const cm_file_id id = id_of(i);
    const bool closed = rng_below(&o.rng, 2) == 0;
    if (closed)
        must(cm_file_close(o.f[i]), "cm_file_close");
    add(&shared->next, 1);
    must(cm_forget(o.c, &id), "cm_forget");
    tell(i, 0, BLOCKS); /* another file has the id now */
    change(i, 0, BLOCKS);
    if (closed)
        attach(i);
}

static void abort_file(unsigned i)
{
    cm_bracket w;
    add(&shared->next, 1);
    must(cm_write_begin(o.f[i], 0, BLOCK, &w), "cm_write_begin");
    change(i, 0, BLOCKS); /* a lost owner of a bracket writes anywhere */
    must(cm_file_abort(o.f[i]), "cm_file_abort");
    tell(i, 0, BLOCKS);
}

/* The file is closed, others take its record, and somebody changes it, or not. */
static void replace_record(unsigned i)
{
    must(cm_file_close(o.f[i]), "cm_file_close");
    for (unsigned k = (unsigned)rng_below(&o.rng, 40); k > 0; k--) {
        const cm_file_id id = { .hi = 0x07e4, .lo = 1 + rng_below(&o.rng, 1000) };
        cm_file *other;
        must(cm_file_open(o.c, &id, NULL, 0, &other), "cm_file_open");
        must(cm_file_close(other), "cm_file_close");
    }
    if (rng_below(&o.rng, 2)) {
        add(&shared->next, 1);
        change(i, 0, BLOCKS);
    }
    attach(i);
}

static void sync_file(unsigned i)
{
    cm_sync s;
    must(cm_sync_begin(o.f[i], &s), "cm_sync_begin");
    must(cm_sync_end(o.f[i], &s, 1, NULL), "cm_sync_end");
}

static void bypass(void)
{
    must(cm_set_mode(o.c, CM_BYPASS), "cm_set_mode");
    must(cm_set_mode(o.c, CM_NORMAL), "cm_set_mode");
}

static void open_again(void)
{
    for (unsigned i = 0; i < FILES; i++)
        must(cm_file_close(o.f[i]), "cm_file_close");
    must(cm_close(o.c), "cm_close");
    start();
}

static void operate(void)
{
    const unsigned i = (unsigned)rng_below(&o.rng, FILES), what = (unsigned)rng_below(&o.rng, 1000);
    if (what < 860)
        fill(i);
    else if (what < 950)
        write_blocks(i, false);
    else if (what < 956)
        write_blocks(i, true);
    else if (what < 960)
        invalidate(i);
    else if (what < 966)
        revalidate(i);
    else if (what < 975)
        grow(i);
    else if (what < 977)
        shrink(i);
    else if (what < 980)
        forget(i);
    else if (what < 983)
        abort_file(i);
    else if (what < 990)
        replace_record(i);
    else if (what < 996)
        sync_file(i);
    else if (what < 998)
        bypass();
    else
        open_again();
}

void be_owner(uint64_t seed)
{
    o.rng.s = seed;
    start();
    while (!get(&shared->stop)) {
        operate();
        add(&shared->owner_operations, 1);
    }
    for (unsigned i = 0; i < FILES; i++)
        must(cm_file_close(o.f[i]), "cm_file_close");
    must(cm_close(o.c), "cm_close");
    _exit(0);
}
