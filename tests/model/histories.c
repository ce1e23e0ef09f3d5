/* SPDX-License-Identifier: BSD-2-Clause
 *
 * histories.c - histories of reads, fills, pins, brackets, truncations, appends and forgettings of
 * one file, checked against the sequential specification in docs/concurrency.md.
 *
 *   histories [--seed N] [--count N] [--seconds N] [--weak] [--verbose]
 *
 * Two to four threads do up to five operations each. Each read of the origin has a number, which
 * stands in all bytes that it gives, beside the block and its version. So a hit says which read it
 * came from, and histories_check.c searches for an order of the operations that explains all hits.
 * It finds what the versions of schedules.c do not show: bytes that a bracket has forgotten come
 * back although the origin's content is the same; two copies of a block that take turns; a fill
 * that says "stored" and must have been refused; ends of the file and versions that come back.
 *
 * The program is linked twice. With schedules_run.c it is "histories": the seed decides the order,
 * and "--seed N --count 1" is history N again. With histories_free.c it is "histories-free": the
 * threads run as the system lets them, on the library as it is built for users.
 *
 * --weak: "histories" with a memory in which loads give older values wherever the orders of the
 * library's atomic accesses allow it (weak.h).
 */
#define TURNS_ITSELF
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "histories_check.h"
#include "schedules_pool.h"
#include "schedules_run.h"
#include "weak.h"

#include "../later.h"
#include "../os.h"

#define BLOCK CM_BLOCK_SIZE
#define WORDS (BLOCK / 8)
#define BLOCKS HISTORY_BLOCKS
#define HELD 4u
#define AHEAD 1000u
#define OPERATIONS 5u /* of a thread, at most */
#define READS 16u     /* of the origin by one call */
#define NOBODY THREADS

static struct {
    bool wide;
    cm_cache *cache;
    cm_file *file, *other;
    cm_file_id id;
    uint32_t flags; /* of the file: they say whether it has other writers */
    pthread_mutex_t lock;
    /* What the origin holds. */
    uint64_t version[BLOCKS]; /* atomic; written under the lock */
    uint64_t floor[BLOCKS];   /* the oldest version that a read may give if it begins now; atomic */
    uint64_t size, stamp;     /* under the lock */
    uint32_t reads;           /* atomic: numbers of the origin's reads */
    uint64_t next_other;      /* atomic */
    unsigned wanted[THREADS][OPERATIONS], count[THREADS];
    uint64_t runs, steps, hits; /* hits: atomic */
} w = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Of each thread. */
static _Thread_local uint8_t buffer[BLOCKS * BLOCK] __attribute__((aligned(4096)));
static _Thread_local uint64_t coins;

/* One of n. */
static unsigned pick(unsigned n)
{
    coins = coins * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(coins >> 33) % n;
}

/* The time at the border of a call. Who calls the library knows what came before, from locks or
 * messages of its own: so what is done in this thread is known to all calls that begin later. */
static uint32_t now(void)
{
    weak_synchronize();
    return history_now();
}

/* ---- The origin ------------------------------------------------------------------------------ */

/* The reads of the origin by one call. */
struct source {
    unsigned n;
    struct {
        uint32_t stamp, began, ended;
        uint64_t first, blocks;
    } read[READS];
};

/* Who takes the file's attributes knows what was done before the last change. Who reads its content
 * knows nothing more: it is plain memory, as that of a mapped file. */
static void lock_origin(void)
{
    pthread_mutex_lock(&w.lock);
    weak_locked(&w.lock);
}

static void unlock_origin(bool wrote)
{
    if (wrote)
        weak_unlocked(&w.lock);
    pthread_mutex_unlock(&w.lock);
}

static uint64_t word_of(uint64_t block, uint64_t version, uint64_t stamp)
{
    return (block + 1) << 40 | version << 16 | stamp;
}

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    struct source *s = ctx;
    const uint64_t stamp = at_add_relaxed(&w.reads, 1u) + 1;
    if (s->n == READS)
        fail("one call reads the origin too often", s->n, 0);
    s->read[s->n].stamp = (uint32_t)stamp;
    s->read[s->n].began = history_now();
    s->read[s->n].first = offset / BLOCK;
    uint64_t n = 0;
    turns_step();
    pthread_mutex_lock(&w.lock);
    const uint64_t size = w.size; /* as a system: the size once, then page after page */
    pthread_mutex_unlock(&w.lock);
    for (uint64_t b = offset / BLOCK; n + BLOCK <= len && b * BLOCK < size; b++, n += BLOCK) {
        turns_step();
        uint64_t version = at_load_relaxed(&w.version[b]); /* as of memory that others write */
        weak_loaded(&w.version[b], &version, sizeof(version), WEAK_RELAXED);
        const uint64_t word = word_of(b, version, stamp);
        for (unsigned i = 0; i < WORDS; i++)
            memcpy((uint8_t *)buf + n + i * 8, &word, 8);
    }
    turns_step();
    s->read[s->n].blocks = n / BLOCK;
    s->read[s->n].ended = history_now();
    s->n++;
    return (int64_t)n;
}

static cm_validator validator(void)
{
    lock_origin();
    cm_validator v = validator_of_version(w.size, w.stamp);
    unlock_origin(false);
    return v;
}

static void floors(uint64_t *low)
{
    for (unsigned b = 0; b < BLOCKS; b++)
        low[b] = at_load_seq_cst(&w.floor[b]);
}

/* The lock is held. */
static void new_version(uint64_t block, bool known)
{
    uint64_t *v = &w.version[block];
    weak_storing(v, sizeof(*v));
    at_store_seq_cst(v, *v + 1);
    weak_stored(v, sizeof(*v), WEAK_RELAXED);
    weak_synchronize(); /* the write is over: calls that begin from now on know it */
    if (known)
        at_store_seq_cst(&w.floor[block], *v);
}

/* The origin changes, in one moment. known: nothing older may be served from now on. */
static void change(uint64_t first, uint64_t n, bool known)
{
    lock_origin();
    for (uint64_t b = first; b < first + n; b++) {
        new_version(b, known);
    }
    w.stamp++;
    unlock_origin(true);
}

static void set_size(uint64_t size) /* the lock is held */
{
    w.size = size;
    history_size(history_now(), size);
}

/* ---- Reading --------------------------------------------------------------------------------- */

struct span {
    uint32_t call, ret;
    uint64_t low[BLOCKS];
};

static void begin_span(struct span *s)
{
    floors(s->low);
    s->call = now();
}

/* Returns which read of the origin a block came from. */
static unsigned stamp_of(const char *what, uint64_t block, const void *data, const struct span *s)
{
    uint64_t word, other;
    memcpy(&word, data, 8);
    for (unsigned i = 1; i < WORDS; i++) {
        memcpy(&other, (const uint8_t *)data + i * 8, 8);
        if (other != word)
            fail("torn block", word, other);
    }
    const uint64_t version = word >> 16 & 0xffffff;
    if (word >> 40 != block + 1 || version < s->low[block] ||
        version > at_load_seq_cst(&w.version[block]))
        fail(what, word, word_of(block, s->low[block], 0));
    return (unsigned)(word & 0xffff);
}

static unsigned served(const char *what, uint64_t block, const void *data, const struct span *s)
{
    const unsigned stamp = stamp_of(what, block, data, s);
    history_add(HISTORY_HIT, (unsigned)block, stamp, s->call, s->ret);
    at_add_relaxed(&w.hits, 1);
    return stamp;
}

/* cm_read, with all that it tells. */
static int64_t read_some(cm_file *f, uint64_t first, uint64_t n, cm_miss *miss)
{
    struct span s;
    const uint64_t end = (first + n) * BLOCK;
    *miss = (cm_miss)CM_MISS_INIT;
    begin_span(&s);
    const int64_t got = cm_read(f, first * BLOCK, buffer, n * BLOCK, miss);
    s.ret = now();
    must(got, "cm_read");
    for (uint64_t b = first; b < first + (uint64_t)got / BLOCK; b++) {
        const unsigned stamp = served("cm_read", b, buffer + (b - first) * BLOCK, &s);
        history_version_of(stamp, miss->incarnation, false);
    }
    if (miss->incarnation != 0)
        history_version(miss->incarnation, s.call, s.ret);
    if (got < (int64_t)(n * BLOCK) && miss->len == 0 && !(miss->flags & CM_MISS_EOF))
        fail("neither read nor missed", (uint64_t)got, n);
    if ((miss->flags & CM_MISS_EOF) && got > 0 && miss->len == 0)
        history_end_told(first * BLOCK + (uint64_t)got, false, s.call, s.ret);
    if ((miss->flags & CM_MISS_EOF) && miss->len > 0 && miss->offset + miss->len < end)
        history_end_told(miss->offset + miss->len, false, s.call, s.ret);
    return got;
}

static void store_some(cm_file *f, uint64_t first, uint64_t n)
{
    struct source src = { 0 };
    cm_miss miss;
    const uint32_t call = now();
    (void)read_some(f, first, n, &miss);
    const uint32_t missed = now();
    if (miss.len == 0 || miss.offset / BLOCK >= BLOCKS)
        return;
    const int64_t got = origin_read(&src, miss.offset, buffer, miss.len);
    if (got == 0)
        return;
    const uint32_t fill = now();
    const int e = cm_fill(f, &miss, buffer, (size_t)got, got < (int64_t)miss.len ? CM_FILL_EOF : 0);
    const uint32_t ret = now();
    must(e, "cm_fill");
    history_version_of(src.read[0].stamp, miss.incarnation, true);
    for (uint64_t b = miss.offset / BLOCK; b < miss.offset / BLOCK + (uint64_t)got / BLOCK; b++) {
        history_add(HISTORY_MISS, (unsigned)b, src.read[0].stamp, call, missed);
        history_add(e == 0 ? HISTORY_STORED : HISTORY_FILLED, (unsigned)b, src.read[0].stamp, fill,
                    ret);
    }
}

static void read_through(uint64_t first, uint64_t n)
{
    struct source src = { 0 };
    struct span s;
    begin_span(&s);
    const int64_t got =
        cm_read_through(w.file, first * BLOCK, buffer, n * BLOCK, origin_read, &src);
    s.ret = now();
    must(got, "cm_read_through");
    for (unsigned i = 0; i < src.n; i++)
        for (uint64_t b = src.read[i].first; b < src.read[i].first + src.read[i].blocks; b++) {
            history_add(HISTORY_MISS, (unsigned)b, src.read[i].stamp, s.call, src.read[i].began);
            history_add(HISTORY_FILLED, (unsigned)b, src.read[i].stamp, src.read[i].ended, s.ret);
        }
    for (uint64_t b = first; b < first + (uint64_t)got / BLOCK; b++) {
        const unsigned stamp = stamp_of("cm_read_through", b, buffer + (b - first) * BLOCK, &s);
        bool own = false;
        for (unsigned i = 0; i < src.n; i++)
            own |= src.read[i].stamp == stamp;
        if (!own)
            history_add(HISTORY_HIT, (unsigned)b, stamp, s.call, s.ret);
    }
    if (got > 0 && got < (int64_t)(n * BLOCK)) /* beside a truncation some may be of before it */
        history_end_told(first * BLOCK + (uint64_t)got, true, s.call, s.ret);
}

static void read_whole(uint64_t first, uint64_t n)
{
    struct span s;
    begin_span(&s);
    const int64_t got = cm_read_whole(w.file, first * BLOCK, buffer, n * BLOCK, 0);
    s.ret = now();
    if (got == CM_EABSENT)
        return;
    must(got, "cm_read_whole");
    for (uint64_t b = first; b < first + (uint64_t)got / BLOCK; b++)
        (void)served("cm_read_whole", b, buffer + (b - first) * BLOCK, &s);
    if (got > 0 && got < (int64_t)(n * BLOCK))
        history_end_told(first * BLOCK + (uint64_t)got, false, s.call, s.ret);
}

#define UNTOUCHED 0xee

/* What lies behind the bytes that were served is zeros, or what was there before. */
static void rest_of(const cm_read_vec *v)
{
    const uint8_t *p = v->buf;
    for (size_t k = (size_t)v->result; k < v->len; k++)
        if (p[k] != 0 && p[k] != UNTOUCHED)
            fail("bytes behind the result of cm_read_many", v->offset + k, p[k]);
}

/* All that is copied is of one version. */
static void read_many(void)
{
    struct span s;
    cm_read_vec v[BLOCKS / 2] = { { 0 } };
    uint64_t version = 0;
    for (unsigned i = 0; i < BLOCKS / 2; i++) {
        v[i] = (cm_read_vec)CM_READ_VEC_INIT;
        v[i].offset = (uint64_t)((i + 1) % (BLOCKS / 2)) * 2 * BLOCK;
        v[i].buf = buffer + v[i].offset;
        v[i].len = (size_t)2 * BLOCK;
    }
    memset(buffer, UNTOUCHED, sizeof(buffer));
    begin_span(&s);
    must(cm_read_many(w.file, v, BLOCKS / 2), "cm_read_many");
    s.ret = now();
    for (unsigned i = 0; i < BLOCKS / 2; i++) {
        must(v[i].result, "a piece of cm_read_many");
        rest_of(&v[i]);
        if (v[i].result == 0)
            continue;
        if (version != 0 && v[i].incarnation != version)
            fail("two versions in one cm_read_many", version, v[i].incarnation);
        version = v[i].incarnation;
        history_version(version, s.call, s.ret);
        for (uint64_t k = 0; k < (uint64_t)v[i].result / BLOCK; k++) {
            const uint64_t b = v[i].offset / BLOCK + k;
            history_version_of(served("cm_read_many", b, buffer + b * BLOCK, &s), version, false);
        }
    }
}

static void pin_some(uint64_t first, uint64_t n)
{
    struct span s;
    cm_iovec iov[BLOCKS];
    cm_pins pins;
    int used;
    begin_span(&s);
    const int64_t got =
        cm_pin_range(w.file, first * BLOCK, n * BLOCK, iov, (int)BLOCKS, &used, &pins, NULL);
    s.ret = now();
    if (got == CM_EBUSY || got == 0)
        return;
    must(got, "cm_pin_range");
    for (unsigned round = 0; round < 6; round++) {
        uint64_t done = 0;
        for (int i = 0; i < used; i++) {
            if (round > 0 && memcmp(iov[i].base, buffer + done, iov[i].len) != 0)
                fail("pinned bytes changed", done, iov[i].len);
            memcpy(buffer + done, iov[i].base, iov[i].len);
            done += iov[i].len;
        }
        turns_step();
    }
    for (uint64_t k = 0; k < (uint64_t)got / BLOCK; k++)
        (void)served("cm_pin_range", first + k, buffer + k * BLOCK, &s);
    must(cm_unpin(&pins), "cm_unpin");
}

/* ---- Changing -------------------------------------------------------------------------------- */

static void add_all(enum history_kind kind, uint64_t first, uint64_t n, uint32_t call)
{
    const uint32_t ret = now();
    for (uint64_t b = first; b < first + n; b++)
        history_add(kind, (unsigned)b, 0, call, ret);
}

static void end_bracket(cm_bracket *b, uint64_t first, uint64_t n)
{
    const bool tell = (w.flags & CM_SOLE_WRITER) && pick(4) > 0;
    cm_validator v = validator();
    turns_step();
    const uint32_t call = now();
    must(cm_write_end(w.file, b, tell ? &v : NULL), "cm_write_end");
    add_all(HISTORY_END, first, n, call);
}

static void write_some(uint64_t first, uint64_t n, bool changes, bool forgets)
{
    cm_bracket b;
    const uint32_t call = now();
    must(cm_write_begin(w.file, first * BLOCK, n * BLOCK, &b), "cm_write_begin");
    add_all(HISTORY_BEGIN, first, n, call);
    turns_step();
    if (forgets) {
        const uint32_t forget = now();
        must(cm_forget(w.cache, &w.id), "cm_forget");
        add_all(HISTORY_CLEAR, 0, BLOCKS, forget);
    }
    change(first, changes ? n : 0, true);
    turns_step();
    end_bracket(&b, first, n);
}

static void truncate_to(uint64_t blocks)
{
    cm_bracket b;
    const uint32_t call = now();
    must(cm_truncate_begin(w.file, blocks * BLOCK, &b), "cm_truncate_begin");
    add_all(HISTORY_BEGIN, blocks, BLOCKS - blocks, call);
    turns_step();
    lock_origin();
    if (w.size > blocks * BLOCK)
        set_size(blocks * BLOCK);
    unlock_origin(true);
    change(blocks, BLOCKS - blocks, true); /* whoever writes them anew */
    turns_step();
    end_bracket(&b, blocks, BLOCKS - blocks);
}

static void append(void)
{
    cm_bracket b;
    const uint32_t call = now();
    must(cm_write_begin(w.file, CM_APPEND, BLOCK, &b), "cm_write_begin");
    lock_origin();
    const uint64_t from = w.size / BLOCK;
    unlock_origin(false);
    add_all(HISTORY_BEGIN, from, BLOCKS - from, call);
    turns_step();
    lock_origin();
    const uint64_t at = w.size / BLOCK;
    if (at < BLOCKS) {
        new_version(at, true);
        set_size(w.size + BLOCK);
    }
    w.stamp++;
    unlock_origin(true);
    turns_step();
    end_bracket(&b, from, BLOCKS - from);
}

static void invalidate(uint64_t first, uint64_t len)
{
    const uint32_t call = now();
    must(cm_invalidate(w.file, first * BLOCK, len), "cm_invalidate");
    add_all(HISTORY_CLEAR, first, len == CM_ALL ? BLOCKS - first : len / BLOCK, call);
}

/* Another program wrote, if the file may have other writers, and the front end finds out. */
static void op_revalidate(void)
{
    const bool foreign = !(w.flags & CM_SOLE_WRITER);
    uint64_t seen[BLOCKS];
    if (foreign)
        change(0, BLOCKS, false);
    lock_origin();
    memcpy(seen, w.version, sizeof(seen));
    cm_validator v = validator_of_version(w.size, w.stamp);
    unlock_origin(false);
    turns_step();
    const int e = cm_file_revalidate(w.file, &v);
    must(e, "cm_file_revalidate");
    if (e == CM_IGNORED && foreign) /* a bracket was open, so the next validator decides */
        invalidate(0, CM_ALL);
    (void)now();
    lock_origin();
    for (unsigned b = 0; b < BLOCKS && foreign; b++)
        if (w.floor[b] < seen[b])
            at_store_seq_cst(&w.floor[b], seen[b]);
    unlock_origin(false);
}

/* ---- Operations ------------------------------------------------------------------------------ */

static void op_read(void)
{
    cm_miss miss;
    (void)read_some(w.file, pick(2), 1, &miss);
}

static void op_run(void)
{
    cm_miss miss;
    const unsigned first = pick(2);
    (void)read_some(w.file, first, 1 + pick(BLOCKS - first), &miss);
}

static void op_whole(void)
{
    read_whole(pick(2), 1 + pick(3));
}

static void op_pin(void)
{
    pin_some(pick(2), 1 + pick(3));
}

static void op_fill(void)
{
    store_some(w.file, pick(2), 1);
}

static void op_fill_run(void)
{
    const unsigned first = pick(3);
    store_some(w.file, first, BLOCKS - first);
}

static void op_through(void)
{
    read_through(pick(2), 1 + pick(3));
}

static void op_through_all(void)
{
    read_through(0, BLOCKS);
}

static void op_write(void)
{
    write_some(0, 1 + pick(2), true, false);
}

static void op_touch(void)
{
    write_some(0, 1 + pick(2), false, false);
}

static void op_write_forget(void)
{
    write_some(0, 1 + pick(2), true, true);
}

static void op_truncate(void)
{
    truncate_to(1 + pick(3));
}

static void op_invalidate(void)
{
    invalidate(pick(2), BLOCK);
}

static void op_invalidate_all(void)
{
    invalidate(pick(2), CM_ALL);
}

static void op_forget(void)
{
    const uint32_t call = now();
    must(cm_forget(w.cache, &w.id), "cm_forget");
    add_all(HISTORY_CLEAR, 0, BLOCKS, call);
}

/* Other blocks come into the pool, so some of these leave. */
static void op_push(void)
{
    for (unsigned i = 0; i < 2; i++) {
        cm_miss miss;
        const uint64_t b = at_add_relaxed(&w.next_other, 1);
        if (cm_read(w.other, b * BLOCK, buffer, BLOCK, &miss) == 0 && miss.len > 0)
            must(cm_fill(w.other, &miss, buffer, BLOCK, 0), "cm_fill");
    }
}

static void op_drop(void)
{
    const uint64_t n = 1 + pick(BLOCKS);
    const uint32_t call = now();
    must(cm_drop(w.file, 0, n * BLOCK), "cm_drop");
    add_all(HISTORY_DROP, 0, n, call);
}

/* Blocks that wait in the probation buffer and are wanted all the time go to the pool: here all
 * that wait. */
static void op_checkpoint(void)
{
    for (uint32_t e = 0; e < w.cache->probation.entries; e++) {
        cm_probation_keep(&w.cache->probation, e);
        at_store_relaxed(&w.cache->probation.entry[e].seen, (uint8_t)1); /* by an earlier one */
    }
    (void)cm_checkpoint(w.cache); /* it promotes; more is not possible in memory */
}

static void op_mode(void)
{
    must(cm_set_mode(w.cache, CM_BYPASS), "cm_set_mode");
    must(cm_set_mode(w.cache, CM_NORMAL), "cm_set_mode");
}

/* Asks for the attributes, opens the file with them, uses it and closes it. */
static void op_visit(void)
{
    cm_file *f;
    cm_miss miss;
    cm_validator v = validator();
    turns_step();
    must(cm_file_open(w.cache, &w.id, &v, w.flags, &f), "cm_file_open");
    turns_step();
    (void)read_some(f, 0, 1, &miss);
    store_some(f, 2, 1);
    must(cm_file_close(f), "cm_file_close");
}

static const struct operation {
    const char *name;
    void (*run)(void);
} ops[] = {
    { "read", op_read },
    { "run", op_run },
    { "whole", op_whole },
    { "many", read_many },
    { "pin", op_pin },
    { "fill", op_fill },
    { "fill-run", op_fill_run },
    { "through", op_through },
    { "through-all", op_through_all },
    { "write", op_write },
    { "touch", op_touch },
    { "write-forget", op_write_forget },
    { "truncate", op_truncate },
    { "append", append },
    { "invalidate", op_invalidate },
    { "invalidate-all", op_invalidate_all },
    { "revalidate", op_revalidate },
    { "forget", op_forget },
    { "push", op_push },
    { "drop", op_drop },
    { "checkpoint", op_checkpoint },
    { "mode", op_mode },
    { "visit", op_visit },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))
#define READERS 9u /* so many of them, the first ones, read or fill */

/* ---- One history ----------------------------------------------------------------------------- */

/* From now on slots have to be evicted. */
static void fill_up(void)
{
    while (w.cache->policy.ring.frontier < w.cache->policy.ring.slots)
        op_push();
}

static void set_up(uint64_t seed)
{
    cm_file_id other = { 7, 2 };
    coins = seed;
    w.wide = schedule_random(3) == 0;
    schedule_pool_begin(w.wide);
    w.cache = schedule_pool_open(schedule_random(3) == 0 ? HELD * BLOCK : CM_PROBATION_NONE);
    if (schedule_has_steps)
        w.cache->media.take = NULL; /* it is assembler code, which has no steps */
    w.flags = schedule_random(4) ? CM_SOLE_WRITER : 0;
    w.id = (cm_file_id){ 7, 1 };
    w.stamp = 1;
    w.reads = 0;
    set_size((1 + schedule_random(BLOCKS)) * BLOCK);
    for (unsigned b = 0; b < BLOCKS; b++)
        w.version[b] = w.floor[b] = 1;
    w.next_other = AHEAD;
    cm_validator v = validator(), far = validator_of_version(CM_BLOCK_MAX / 2 * BLOCK, 1);
    must(cm_file_open(w.cache, &w.id, &v, w.flags, &w.file), "cm_file_open");
    must(cm_file_open(w.cache, &other, &far, CM_SOLE_WRITER, &w.other), "cm_file_open");
    const bool full = !w.wide && schedule_random(3) > 0, before = schedule_random(2) == 0;
    if (full && before)
        fill_up();
    for (uint64_t b = schedule_random(4); b > 0; b--)
        store_some(w.file, b - 1, 1);
    if (full && !before) /* then the blocks of the file are among the first that leave */
        fill_up();
}

/* What is cached when all is quiet, and when some of it has been pushed out. */
static void look_again(void)
{
    cm_miss miss;
    if (!(w.flags & CM_SOLE_WRITER)) { /* what others wrote last was not told to the cache yet */
        cm_validator v = validator();
        must(cm_file_revalidate(w.file, &v), "cm_file_revalidate");
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned b = 0; b < BLOCKS; b++)
            (void)read_some(w.file, b, 1, &miss);
        op_push();
    }
}

static void body(unsigned thread)
{
    for (unsigned i = 0; i < w.count[thread]; i++) {
        coins = (uint64_t)w.wanted[thread][i] << 32 | (thread * 77 + i + w.runs * 1009);
        ops[w.wanted[thread][i]].run();
    }
}

/* What each of n threads does: of few kinds, so that these meet more often; some of them read. */
static void choose(unsigned n)
{
    unsigned few[OPS / 3];
    const unsigned kinds = 3 + (unsigned)schedule_random(OPS / 3 - 2);
    for (unsigned i = 0; i < kinds; i++)
        few[i] = (unsigned)schedule_random(i < 2 ? READERS : OPS);
    for (unsigned i = 0; i < n; i++) {
        w.count[i] = 1 + (unsigned)schedule_random(OPERATIONS);
        for (unsigned k = 0; k < w.count[i]; k++)
            w.wanted[i][k] = few[schedule_random(kinds)];
    }
}

static void say(uint64_t seed, unsigned n, uint64_t took)
{
    fprintf(stderr, "%llu: %llu steps%s%s", (unsigned long long)seed, (unsigned long long)took,
            w.wide ? ", wide" : "", w.flags & CM_SOLE_WRITER ? "" : ", other writers");
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < w.count[i]; k++)
            fprintf(stderr, "%s%s", k ? "," : " | ", ops[w.wanted[i][k]].name);
    fprintf(stderr, "\n");
}

static void run(uint64_t seed, bool verbose)
{
    schedule_seed(seed);
    history_reset();
    w.runs = seed; /* the same operations for the same seed */
    set_up(seed);
    const unsigned n = 2 + (unsigned)schedule_random(THREADS - 1);
    choose(n);
    schedule_walk(schedule_random(3) ? 0 : UINT64_C(2) << schedule_random(5));
    turns_begin_steps(w.cache);
    const uint64_t took = schedule_run(n, body, 250 * (uint64_t)n, (unsigned)schedule_random(5));
    turns_end_steps(w.cache);
    coins = seed;
    look_again();
    if (verbose)
        say(seed, n, took);
    const char *wrong = history_check();
    if (wrong) {
        say(seed, n, took);
        fail(wrong, 0, 0);
    }
    schedule_pool_judge(w.cache);
    must(cm_file_close(w.file), "cm_file_close");
    must(cm_file_close(w.other), "cm_file_close");
    must(cm_close(w.cache), "cm_close");
    w.steps += took;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, count = 10000, seconds = 0, done = 0;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--weak") == 0)
            schedule_weak(true);
        else
            return fprintf(stderr, "usage: histories [--seed N] [--count N] [--seconds N]"
                                   " [--weak] [--verbose]\n"),
                   2;
    }
    const time_t end = time(NULL) + (time_t)seconds;
    schedule_pool_prepare();
    for (; seconds ? time(NULL) < end : done < count; done++)
        run(seed + done, verbose);
    printf("histories: %llu, from seed %llu on; %llu steps; %llu hits; %llu states searched; "
           "%llu loads of older values\n",
           (unsigned long long)done, (unsigned long long)seed, (unsigned long long)w.steps,
           (unsigned long long)w.hits, (unsigned long long)history_states(),
           (unsigned long long)weak_older());
    return w.hits == 0 && done > 20;
}
