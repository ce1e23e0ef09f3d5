/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turns.c - two threads take turns, so that one runs between any two steps of the other.
 *
 *   turns [--only TEXT] [--every N [--first K]] [--verbose]
 *
 * A run has a pair of operations and a situation of one block. The first operation runs up to its
 * n-th step (an atomic access, a guarded load, half a copy, a store to the pool: turns.h). Then the
 * second one runs, to its end or up to a lock that the first one holds. Then the first one runs to
 * its end. This is done for all pairs, several situations, and every n. So if an operation makes a
 * check too early or not at all, the test finds it at that step, and needs no luck. --every takes
 * the first step, step K (1 to N) and each N-th behind it.
 *
 * The rules are those of race.c: a read gives a whole block, of a version not older than the
 * origin's when the read began; pinned bytes stay. When both operations and the last bracket have
 * ended, the cached blocks have the origin's present content, no slot is lost and every block can
 * be stored again.
 */
#define TURNS_ITSELF
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "protocol/lookup.h"
#include "turns_run.h"

#include "../later.h"
#include "../os.h"

#define BLOCK CM_BLOCK_SIZE
#define WORDS (BLOCK / 8)
#define BLOCKS 4u        /* of the file; the operations are about the first one */
#define HELD 4u          /* entries of the probation buffer */
#define WIDE (40u << 20) /* a pool of several stripes */
#define AHEAD 1000u      /* blocks of the other file from here on evict others */

/* ---- The world ------------------------------------------------------------------------------- */

static struct {
    uint8_t *pool;
    /* Formatted pools without their slots: the smallest one, and one of several stripes. */
    uint8_t *image[2];
    uint64_t bytes[2], front[2]; /* front: the bytes before the slots */
    cm_cache *cache;
    cm_file *file, *other;
    cm_file *third[3]; /* the files that each thread opened, and the one open before; NULL: none */
    cm_file_id id;
    uint64_t version[BLOCKS]; /* what the origin holds */
    uint64_t floor[BLOCKS];   /* the oldest version that a read may give if it begins now */
    uint64_t stamp;
    uint32_t flags;  /* of the file: they say whether it has other writers */
    cm_bracket open; /* the open bracket, if `opened` */
    bool opened;
    uint64_t open_block; /* the block that it covers */
    /* The owner of a bracket that began before an abort is dead and writes no more. */
    unsigned aborts;
    cm_pins pins[2];
    cm_iovec iov[2];
    uint64_t pinned[2]; /* bytes */
    uint8_t seen[2][BLOCK];
    uint64_t next_other; /* block of the other file */
} w;
static uint64_t verified; /* bytes, in all runs */

static uint64_t word_of(uint64_t block, uint64_t version)
{
    return (block + 1) << 32 | version;
}

static void content(uint64_t block, uint64_t version, void *to)
{
    for (unsigned i = 0; i < WORDS; i++)
        ((uint64_t *)to)[i] = word_of(block, version);
}

static void check(const char *what, uint64_t block, const void *data, uint64_t low)
{
    const uint64_t *word = data;
    for (unsigned i = 0; i < WORDS; i++)
        if (word[i] != word[0])
            fail("torn block", word[0], word[i]);
    if (word[0] < word_of(block, low) || word[0] > word_of(block, w.version[block]))
        fail(what, word[0], word_of(block, low));
}

static cm_validator validator(void)
{
    return validator_of_version(BLOCKS * BLOCK, ++w.stamp);
}

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    turns_step();
    uint64_t n = 0;
    for (uint64_t b = offset / BLOCK; n + BLOCK <= len && b < BLOCKS; b++, n += BLOCK)
        content(b, w.version[b], (uint8_t *)buf + n);
    turns_step();
    return (int64_t)n;
}

/* A miss, an origin read, a fill. Returns what cm_fill returned. */
static int store(cm_file *f, uint64_t block)
{
    static _Thread_local uint8_t buf[BLOCK] __attribute__((aligned(4096)));
    cm_miss miss;
    int64_t n = cm_read(f, block * BLOCK, buf, BLOCK, &miss);
    must(n, "cm_read");
    if (n > 0)
        return CM_NOT_STORED_PRESENT;
    if (f == w.file)
        (void)origin_read(NULL, block * BLOCK, buf, BLOCK);
    else
        content(block, 1, buf);
    return cm_fill(f, &miss, buf, BLOCK, 0);
}

static void hit(uint64_t block)
{
    uint8_t buf[BLOCK];
    memset(cm_plat_thread()->recent, 0, sizeof(cm_plat_thread()->recent)); /* no recent touch */
    if (cm_read(w.file, block * BLOCK, buf, BLOCK, NULL) != BLOCK)
        fail("not cached in the beginning", block, 0);
}

/* ---- Operations ------------------------------------------------------------------------------ */

struct op {
    const char *name;
    void (*run)(void);
    bool changes; /* it changes what others may see */
};

static void op_read(void)
{
    static _Thread_local uint8_t buf[BLOCK];
    uint64_t low = w.floor[0];
    int64_t n = cm_read(w.file, 0, buf, BLOCK, NULL);
    must(n, "cm_read");
    if (n > 0)
        check("cm_read", 0, buf, low);
}

/* Two blocks, in one copy if their slots are neighbours. Each is read at its own moment. */
static void op_run(void)
{
    static _Thread_local uint8_t buf[2 * BLOCK];
    const uint64_t low[] = { w.floor[0], w.floor[1] };
    int64_t n = cm_read(w.file, 0, buf, 2 * BLOCK, NULL);
    must(n, "cm_read");
    for (unsigned b = 0; b < (uint64_t)n / BLOCK; b++)
        check("cm_read of a run", b, buf + b * BLOCK, low[b]);
}

static void op_fill(void)
{
    must(store(w.file, 0), "cm_fill");
}

static void op_through(void)
{
    static _Thread_local uint8_t buf[2 * BLOCK] __attribute__((aligned(4096)));
    uint64_t low = w.floor[0], low1 = w.floor[1];
    int64_t n = cm_read_through(w.file, 0, buf, 2 * BLOCK, origin_read, NULL);
    if (n != 2 * BLOCK)
        fail("cm_read_through", (uint64_t)n, 2 * BLOCK);
    check("cm_read_through", 0, buf, low);
    check("cm_read_through", 1, buf + BLOCK, low1);
}

static void op_pin(void)
{
    int used;
    uint64_t low = w.floor[0];
    int64_t n = cm_pin_range(w.file, 0, BLOCK, &w.iov[me], 1, &used, &w.pins[me], NULL);
    if (n == CM_EBUSY)
        return;
    must(n, "cm_pin_range");
    w.pinned[me] = (uint64_t)n;
    if (n == 0)
        return;
    memcpy(w.seen[me], w.iov[me].base, BLOCK);
    check("cm_pin_range", 0, w.seen[me], low);
}

static void write_blocks(uint64_t first, uint64_t n)
{
    for (uint64_t b = first; b < first + n; b++)
        w.floor[b] = ++w.version[b];
}

/* Is the result an expected one? An abort may have ended a bracket; this may be the first call to
 * see that. */
static bool good(int e, const char *what)
{
    if (e != CM_EBRACKET)
        must(e, what);
    return e != CM_EBRACKET;
}

static void op_write(void)
{
    cm_bracket b;
    unsigned aborts = w.aborts;
    if (!good(cm_write_begin(w.file, 0, 2 * BLOCK, &b), "cm_write_begin"))
        return;
    turns_step();
    if (w.aborts == aborts)
        write_blocks(0, 2);
    turns_step();
    cm_validator v = validator();
    (void)good(cm_write_end(w.file, &b, &v), "cm_write_end");
}

/* The same, and somebody reads what was written. */
static void op_rewrite(void)
{
    op_write();
    op_fill();
}

/* The owner of the open bracket ends it. */
static void op_end(void)
{
    turns_step();
    if (w.aborts == 0)
        write_blocks(w.open_block, 1);
    turns_step();
    (void)good(cm_write_end(w.file, &w.open, NULL), "cm_write_end");
    w.opened = false;
}

/* A bracket that stays open until both operations are done. */
static void op_begin(void)
{
    w.open_block = 0;
    w.opened = good(cm_write_begin(w.file, 0, BLOCK, &w.open), "cm_write_begin");
}

static void op_truncate(void)
{
    cm_bracket b;
    unsigned aborts = w.aborts;
    if (!good(cm_truncate_begin(w.file, 0, &b), "cm_truncate_begin"))
        return;
    turns_step();
    if (w.aborts == aborts)
        write_blocks(0, BLOCKS); /* cut off, or zeros: new content in both cases */
    turns_step();
    (void)good(cm_write_end(w.file, &b, NULL), "cm_write_end");
}

static void op_append(void)
{
    cm_bracket b;
    if (!good(cm_write_begin(w.file, CM_APPEND, BLOCK, &b), "cm_write_begin"))
        return;
    turns_step();
    (void)good(cm_write_end(w.file, &b, NULL), "cm_write_end");
}

static void op_invalidate(void)
{
    must(cm_invalidate(w.file, 0, BLOCK), "cm_invalidate");
}

/* Another program wrote, and the front end finds out. */
static void op_revalidate(void)
{
    uint64_t now[BLOCKS];
    for (unsigned b = 0; b < BLOCKS; b++)
        now[b] = ++w.version[b];
    cm_validator v = validator();
    turns_step();
    int e = cm_file_revalidate(w.file, &v);
    must(e, "cm_file_revalidate");
    if (e == CM_IGNORED) /* a bracket was open, so the next validator decides */
        must(cm_invalidate(w.file, 0, CM_ALL), "cm_invalidate");
    for (unsigned b = 0; b < BLOCKS; b++)
        if (w.floor[b] < now[b])
            w.floor[b] = now[b];
}

static void op_forget(void)
{
    must(cm_forget(w.cache, &w.id), "cm_forget");
}

static void op_abort(void)
{
    if (w.aborts++ == 0 && w.opened) /* the owner wrote before it died */
        write_blocks(w.open_block, 1);
    must(cm_file_abort(w.file), "cm_file_abort");
}

static void op_sync(void)
{
    cm_sync s;
    must(cm_sync_begin(w.file, &s), "cm_sync_begin");
    turns_step();
    must(cm_sync_end(w.file, &s, 1, NULL), "cm_sync_end");
}

/* Two blocks come in. The situation decides what they evict. */
static void op_push(void)
{
    for (unsigned i = 0; i < 2; i++)
        must(store(w.other, w.next_other++), "cm_fill");
}

static void op_drop(void)
{
    must(cm_drop(w.file, 0, 2 * BLOCK), "cm_drop");
}

/* The block that has earned its place goes to the pool. */
static void op_checkpoint(void)
{
    (void)cm_checkpoint(w.cache); /* it promotes; more is not possible in memory */
}

static void op_empty(void)
{
    must(in_a_call(w.cache, cm_settle_failed), "cm_settle_failed");
}

static void op_reopen(void)
{
    cm_file *again;
    must(cm_file_open(w.cache, &w.id, NULL, w.flags, &again), "cm_file_open");
    must(cm_file_close(again), "cm_file_close");
}

/* Opens a file that is not open, or that is being closed: all opens get one object. */
static void op_attach(void)
{
    const cm_file_id id = { 7, 3 };
    cm_validator v = validator_of_version(BLOCKS * BLOCK, 1);
    must(cm_file_open(w.cache, &id, &v, 0, &w.third[me]), "cm_file_open");
}

static void op_detach(void)
{
    must(cm_file_close(w.third[2]), "cm_file_close");
    w.third[2] = NULL;
}

/* A file of one short block that gets shorter: each version has one byte value and one size. */
static const struct {
    uint8_t value;
    uint64_t size;
} tail_version[] = { { 'A', 3000 }, { 'B', 1000 } };

static void tail_validator(unsigned version, cm_validator *v)
{
    *v = validator();
    v->size = tail_version[version].size;
}

static void op_tail(void)
{
    static _Thread_local uint8_t buf[BLOCK];
    int64_t n = cm_read(w.third[2], 0, buf, BLOCK, NULL);
    must(n, "cm_read");
    const unsigned version = buf[0] == tail_version[1].value;
    for (int64_t i = 0; i < n; i++)
        if (buf[i] != tail_version[version].value)
            fail("content of one version, size of another", (uint64_t)n, (uint64_t)i);
    if (n > 0 && n != (int64_t)tail_version[version].size)
        fail("size of another version", (uint64_t)n, tail_version[version].size);
}

static void op_shorten(void)
{
    cm_validator v = CM_VALIDATOR_INIT;
    tail_validator(1, &v);
    must(cm_file_revalidate(w.third[2], &v), "cm_file_revalidate");
}

/* Opens the file of both operations. Its first version is cached. */
static void open_tail(void)
{
    static uint8_t buf[BLOCK];
    const cm_file_id id = { 7, 4 };
    cm_validator v = CM_VALIDATOR_INIT;
    cm_miss miss;
    tail_validator(0, &v);
    must(cm_file_open(w.cache, &id, &v, 0, &w.third[2]), "cm_file_open");
    memset(buf, tail_version[0].value, (size_t)tail_version[0].size);
    must(cm_read(w.third[2], 0, buf, BLOCK, &miss), "cm_read");
    memset(buf, tail_version[0].value, (size_t)tail_version[0].size);
    int e = cm_fill(w.third[2], &miss, buf, (size_t)tail_version[0].size, CM_FILL_EOF);
    if (e != 0)
        fail("not stored in the beginning", (uint64_t)e, miss.len);
}

/* A read of the last block, which is not cached, of a file that loses it: what is missing ends
 * where the file of one of the two versions does. */
static void op_last(void)
{
    static _Thread_local uint8_t buf[BLOCK];
    cm_miss miss;
    int64_t n = cm_read(w.third[2], BLOCK, buf, BLOCK, &miss);
    must(n, "cm_read");
    if (n != 0 || (miss.len == 0 && !(miss.flags & CM_MISS_EOF)))
        fail("neither missing nor the end", (uint64_t)n, miss.flags);
}

static void op_cut(void)
{
    cm_validator v = validator_of_version(BLOCK, 2);
    must(cm_file_revalidate(w.third[2], &v), "cm_file_revalidate");
}

static void open_last(void)
{
    const cm_file_id id = { 7, 5 };
    cm_validator v = validator_of_version(2 * BLOCK, 1);
    must(cm_file_open(w.cache, &id, &v, 0, &w.third[2]), "cm_file_open");
}

static const struct op *second_op;

/* Compares what is cached with the origin, and warms it. It must not call wrong what the other
 * operation changes; only a change without a bracket may be seen before it is told. */
static void op_verify(void)
{
    cm_warm_options o = CM_WARM_OPTIONS_INIT;
    cm_warm_report r = CM_WARM_REPORT_INIT;
    o.flags = CM_WARM_VERIFY;
    must(cm_warm(w.file, 0, 2 * BLOCK, &o, origin_read, NULL, &r), "cm_warm");
    if (r.differed && second_op->run != op_revalidate)
        fail("cm_warm: differs", r.differed, r.verified);
    verified += r.verified;
}

static void op_mode(void)
{
    must(cm_set_mode(w.cache, CM_BYPASS), "cm_set_mode");
    must(cm_set_mode(w.cache, CM_NORMAL), "cm_set_mode");
}

static const struct op ops[] = {
    { "read", op_read, false },
    { "run", op_run, false },
    { "fill", op_fill, true },
    { "through", op_through, true },
    { "pin", op_pin, true },
    { "write", op_write, true },
    { "end", op_end, true },
    { "begin", op_begin, true },
    { "truncate", op_truncate, true },
    { "append", op_append, true },
    { "invalidate", op_invalidate, true },
    { "revalidate", op_revalidate, true },
    { "forget", op_forget, true },
    { "abort", op_abort, true },
    { "sync", op_sync, true },
    { "push", op_push, true },
    { "drop", op_drop, true },
    { "checkpoint", op_checkpoint, true },
    { "empty", op_empty, true },
    { "reopen", op_reopen, false },
    { "mode", op_mode, true },
    { "attach", op_attach, true },
    { "detach", op_detach, true },
    { "tail", op_tail, false },
    { "shorten", op_shorten, true },
    { "last", op_last, false },
    { "cut", op_cut, true },
    { "verify", op_verify, false },  /* it stores, too, but never runs as the second */
    { "rewrite", op_rewrite, true }, /* for it */
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

/* ---- Situations ------------------------------------------------------------------------------ */

/* The block is: not cached; in the pool, as the next victim; in the probation buffer, has earned a
 * place, and is the next to leave; in the pool, as the next victim, and so is the block behind it,
 * both were read before, and their slots are neighbours. `open`: a bracket over it is open. */
enum place { ABSENT, VICTIM, LEAVING, PAIR };
static const char *const place_name[] = { "absent", "victim", "leaving", "pair" };

static void fill_pool(void)
{
    while (w.cache->policy.ring.frontier < w.cache->policy.ring.slots)
        must(store(w.other, w.next_other++), "cm_fill");
}

static void to_leave(void)
{
    struct cm_probation *p = &w.cache->probation;
    uint64_t version;
    for (unsigned i = 0; i < 3; i++)
        hit(0);
    struct cm_key k = cm_key_of(&w.cache->media, cm_object_of(w.file)->incarnation, 0);
    p->next = cm_probation_find(p, &k, &version);
    if (p->next >= p->entries)
        fail("not in the buffer", p->next, 0);
    p->entry[p->next].seen = 1; /* by an earlier checkpoint */
}

static uint64_t slot_of(uint64_t block)
{
    struct cm_key k = cm_key_of(&w.cache->media, cm_object_of(w.file)->incarnation, block);
    struct cm_header h;
    uint64_t slot;
    if (cm_step_find(w.cache, &k, &slot, &h) != CM_FOUND_HIT)
        fail("not in the pool", block, 0);
    return slot;
}

/* The first n blocks, whose slots are neighbours. */
static void to_be_victims(unsigned n)
{
    struct cm_ring *r = &w.cache->policy.ring;
    const uint64_t slot = slot_of(0);
    while (r->free_count > 0) /* uses up the slots that were evicted ahead, and evicts nothing */
        must(store(w.other, w.next_other++), "cm_fill");
    for (uint64_t s = 0; s < r->slots; s++)
        if (!cm_ring_is_owned(r, s))
            cm_ring_set(r, s, CM_REF_MAX | CM_REF_KNOWN);
    for (unsigned b = 0; b < n; b++) {
        if (slot_of(b) != slot + b)
            fail("no neighbours", slot_of(b), slot);
        cm_ring_set(r, slot + b, CM_REF_KNOWN);
    }
    r->hand = slot;
}

/* The second block is stored, too, and both are judged. */
static void pair_up(void)
{
    if (store(w.file, 1) != 0)
        fail("not stored in the beginning", 1, 0);
    hit(0);
    hit(1);
    to_be_victims(2);
}

static void open_pool(bool wide, cm_options *o)
{
    arena_give(o);
    memcpy(w.pool, w.image[wide], (size_t)w.front[wide]);
    must(cm_open_memory(w.pool, w.bytes[wide], o, &w.cache), "cm_open_memory");
}

/* Every run begins with the same image. In the wide one the first incarnations of a block have
 * different stripes. So what a bracket did to the stripe of one incarnation does not protect the
 * next one. */
static void make_image(bool wide)
{
    cm_options o = CM_OPTIONS_INIT;
    w.bytes[wide] = wide ? WIDE : cm_pool_size_min();
    must(cm_format_memory(w.pool, w.bytes[wide], NULL), "cm_format_memory");
    must(cm_open_memory(w.pool, w.bytes[wide], &o, &w.cache), "cm_open_memory");
    w.front[wide] = w.cache->media.geo.slot_offset;
    must(cm_close(w.cache), "cm_close");
    must(cm_format_memory(w.pool, w.bytes[wide], NULL), "cm_format_memory");
    w.image[wide] = malloc((size_t)w.front[wide]);
    if (!w.image[wide])
        exit(1);
    memcpy(w.image[wide], w.pool, (size_t)w.front[wide]);
    struct cm_super *sb = (void *)w.image[wide];
    memset(sb->uuid, 7, sizeof(sb->uuid));
    sb->inc_mark = CM_GAP_END; /* no random gap before a session's first incarnation */
    sb->hash_seed = 2;         /* both blocks of a pair find room in their first buckets */
    for (uint64_t seen = 0; __builtin_popcountll(seen) != 4; sb->hash_seed++) {
        if (sb->hash_seed > 1000)
            fail("no such image", sb->hash_seed, 0);
        sb->xxh3 = cm_format_super_sum(sb);
        memcpy(w.image[wide] + CM_SUPER_STRIDE, sb, sizeof(*sb)); /* the second copy */
        open_pool(wide, &o);
        seen = wide ? 0 : 15;
        for (uint64_t i = 0; i < 4; i++)
            seen |= UINT64_C(1) << cm_key_stripe(&w.cache->media, sb->inc_mark + i, 0);
        must(cm_close(w.cache), "cm_close");
    }
    sb->hash_seed--;
}

static void set_up(enum place place, bool open)
{
    cm_options o = CM_OPTIONS_INIT;
    o.probation_bytes = place == LEAVING ? HELD * BLOCK : CM_PROBATION_NONE;
    open_pool(place == ABSENT, &o);
    w.cache->media.take = NULL; /* it is assembler code, which has no steps */
    w.stamp = 1;
    w.id = (cm_file_id){ 7, 1 };
    cm_file_id other = { 7, 2 };
    cm_validator v = validator(), far = v;
    far.size = CM_BLOCK_MAX / 2 * BLOCK;
    must(cm_file_open(w.cache, &w.id, &v, w.flags, &w.file), "cm_file_open");
    must(cm_file_open(w.cache, &other, &far, CM_SOLE_WRITER, &w.other), "cm_file_open");
    for (unsigned b = 0; b < BLOCKS; b++)
        w.version[b] = w.floor[b] = 1;
    w.next_other = AHEAD;
    if (place != ABSENT) {
        fill_pool();
        if (place == PAIR) /* takes the last slot, which has no neighbour */
            must(store(w.other, w.next_other++), "cm_fill");
        if (store(w.file, 0) != 0)
            fail("not stored in the beginning", 0, 0);
        if (place == LEAVING)
            to_leave();
        else if (place == PAIR)
            pair_up();
        else
            to_be_victims(1);
    }
    w.aborts = 0;
    w.opened = open;
    /* Of the same stripe; what is cached must stay. */
    w.open_block = place == ABSENT ? 0 : place == PAIR ? 2 : 1;
    if (open)
        must(cm_write_begin(w.file, w.open_block * BLOCK, BLOCK, &w.open), "cm_write_begin");
    memset(w.pinned, 0, sizeof(w.pinned));
    turns_begin_steps(w.cache);
    t.cache = w.cache;
}

static void tear_down(void)
{
    turns_end_steps(w.cache);
    t.cache = NULL;
    must(cm_file_close(w.file), "cm_file_close");
    must(cm_file_close(w.other), "cm_file_close");
    must(cm_close(w.cache), "cm_close");
}

/* Judges the state when both operations are done. */
static void judge(void)
{
    uint8_t buf[BLOCK];
    turns_judge_slots(w.cache);
    for (int i = 0; i < 2; i++)
        if (w.pinned[i] > 0) {
            for (unsigned n = 0; n < 4; n++)
                must(store(w.other, w.next_other++), "cm_fill");
            if (memcmp(w.iov[i].base, w.seen[i], BLOCK))
                fail("pinned bytes changed", *(uint64_t *)(void *)w.iov[i].base,
                     *(uint64_t *)(void *)w.seen[i]);
            must(cm_unpin(&w.pins[i]), "cm_unpin");
        }
    if (w.third[0] && w.third[1] && w.third[0] != w.third[1])
        fail("two objects of one file", 0, 0);
    for (int i = 0; i < 2; i++)
        if (w.third[i]) {
            must(store(w.third[i], 0), "cm_fill");
            must(cm_file_close(w.third[i]), "cm_file_close");
            w.third[i] = NULL;
        }
    if (w.opened) { /* a fill with the present content comes; then the owner writes */
        if (store(w.file, w.open_block) == 0 && w.aborts == 0)
            fail("stored under an open bracket", w.open_block, 0);
        if (w.aborts == 0)
            write_blocks(w.open_block, 1);
        (void)good(cm_write_end(w.file, &w.open, NULL), "cm_write_end");
    }
    must(cm_invalidate(w.file, 3 * BLOCK, BLOCK), "cm_invalidate");
    for (unsigned b = 0; b < BLOCKS; b++) {
        int64_t n = cm_read(w.file, b * BLOCK, buf, BLOCK, NULL);
        must(n, "cm_read");
        if (n > 0)
            check("cached at the end", b, buf, w.version[b]);
        int e = store(w.file, b);
        if (e != 0 && e != CM_NOT_STORED_PRESENT && e != CM_NOT_STORED_POLICY)
            fail("not storable at the end", b, (uint64_t)e);
    }
    turns_judge_owned(&w.cache->policy.ring);
}

/* ---- The run --------------------------------------------------------------------------------- */

static void *second(void *arg)
{
    (void)arg;
    me = SECOND;
    pthread_mutex_lock(&t.lock);
    while (t.turn != SECOND)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    while (!t.over) {
        second_op->run();
        t.done = true;
        give_turn();
    }
    return NULL;
}

/* Returns the number of steps of the first operation. */
static uint64_t run_once(enum place place, bool open, const struct op *a, const struct op *b,
                         uint64_t at)
{
    w.flags = a->run == op_revalidate || b->run == op_revalidate ? 0 : CM_SOLE_WRITER;
    set_up(place, open);
    if (a->run == op_detach || b->run == op_detach) {
        op_attach();
        w.third[2] = w.third[me];
        w.third[me] = NULL;
    }
    if (a->run == op_tail || a->run == op_shorten)
        open_tail();
    if (a->run == op_last || a->run == op_cut)
        open_last();
    t.step = 0;
    t.switch_at = at;
    t.begun = t.done = false;
    second_op = b;
    t.armed = true;
    a->run();
    if (t.begun)
        while (!t.done)
            give_turn();
    t.armed = false;
    if (a->run == op_tail || a->run == op_shorten || a->run == op_last || a->run == op_cut)
        op_detach();
    judge();
    tear_down();
    return t.step;
}

/* Checks an order that another processor may need and this one may not show. A copy counts only by
 * a later load of the header. A fence keeps that load behind the copy (slot.c, and slot.h for a
 * known slot). */
static void check_order(void)
{
    static const struct {
        const char *what, *order;
        enum place place;
        void (*read)(void);
    } want[] = { { "a slot's first hit", "cfl", VICTIM, op_read },
                 { "a known slot", "cfl", VICTIM, op_read },
                 { "an entry of the buffer", "cf", LEAVING, op_read },
                 { "known slots that are neighbours", "cfl", PAIR, op_run } };
    snprintf(t.where, sizeof(t.where), "order");
    for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        set_up(want[i].place, false);
        if (i == 0)
            /* The slot is not verified, like after an open. */
            cm_ring_set(&w.cache->policy.ring, w.cache->policy.ring.hand, 0);
        else
            want[i].read();
        memset(t.trace, 0, sizeof(t.trace));
        want[i].read();
        const char *c = strchr(t.trace, 'c');
        if (!c || (want[i].read == op_run && strchr(c + 1, 'c')))
            fail(want[i].what, 0, 0);
        for (; c; c = strchr(c + 1, 'c')) {
            while (c[1] == 'c') /* a block that is copied in chunks: the fence is behind the last */
                c++;
            if (strncmp(c, want[i].order, strlen(want[i].order)) != 0)
                fprintf(stderr, "FAILED: %s: no fence between copy and second look: %s\n",
                        want[i].what, t.trace),
                    exit(1);
        }
        tear_down();
    }
}

/* If nothing is cached, the cost of a long read does not grow with its length: it looks for no more
 * blocks than the tickets of one miss cover. */
static void check_bounded(void)
{
    uint64_t steps[2];
    uint8_t *buf = malloc(64 << 20);
    cm_miss miss;
    snprintf(t.where, sizeof(t.where), "bounded");
    if (!buf)
        exit(1);
    set_up(ABSENT, false);
    t.switch_at = UINT64_MAX;
    for (unsigned i = 0; i < 2; i++) {
        t.step = 0;
        t.armed = true;
        must(cm_read(w.other, AHEAD * BLOCK, buf, i ? 64 << 20 : 4 << 20, &miss), "cm_read");
        t.armed = false;
        steps[i] = t.step;
    }
    if (steps[0] == 0 || steps[0] != steps[1])
        fail("steps of reads of 4 and 64 MiB", steps[0], steps[1]);
    tear_down();
    free(buf);
}

static bool makes_sense(enum place place, bool open, const struct op *a, const struct op *b)
{
    if ((!a->changes && !b->changes) || b->run == op_verify || a->run == op_rewrite ||
        (b->run == op_rewrite && a->run != op_verify))
        return false;
    if ((a->run == op_end || b->run == op_end) && (!open || a == b))
        return false;
    bool third_a = a->run == op_attach || a->run == op_detach;
    bool third_b = b->run == op_attach || b->run == op_detach;
    if (third_a || third_b) /* these operations use another file */
        return place == ABSENT && !open && third_a && third_b && (a != b || a->run == op_attach);
    bool tail_a = a->run == op_tail || a->run == op_shorten;
    bool tail_b = b->run == op_tail || b->run == op_shorten;
    if (tail_a || tail_b)
        return place == ABSENT && !open && tail_a && tail_b;
    bool last_a = a->run == op_last || a->run == op_cut;
    bool last_b = b->run == op_last || b->run == op_cut;
    if (last_a || last_b)
        return place == ABSENT && !open && last_a && last_b && a != b;
    if ((a->run == op_checkpoint || b->run == op_checkpoint) && place != LEAVING)
        return false;
    if ((a->run == op_begin || b->run == op_begin) && (open || a == b))
        return false;
    /* In a pair it is about those who take short ways because the blocks are known. */
    if (a->run == op_run || b->run == op_run)
        return place == PAIR;
    if (place == PAIR)
        return !open && (a->run == op_read || a->run == op_pin);
    return place != ABSENT || (a->run != op_push && b->run != op_push);
}

/* Runs all switch points of all pairs of operations in one situation. */
static void run_situation(enum place place, bool open, const char *only, uint64_t every,
                          uint64_t first, bool verbose)
{
    for (unsigned i = 0; i < OPS * OPS; i++) {
        const struct op *a = &ops[i / OPS], *b = &ops[i % OPS];
        uint64_t runs = 0, steps = 1;
        snprintf(t.where, sizeof(t.where), "%s%s: %s, %s", place_name[place], open ? " open" : "",
                 a->name, b->name);
        if (!makes_sense(place, open, a, b) || !strstr(t.where, only))
            continue;
        for (uint64_t at = 0; at < steps; at += at == 0 ? first : every, runs++)
            steps = run_once(place, open, a, b, at);
        if (verbose)
            printf("%s: %llu\n", t.where, (unsigned long long)runs);
        t.pairs++;
        t.runs += runs;
    }
}

static void run_all(const char *only, uint64_t every, uint64_t first, bool verbose)
{
    pthread_t thread;
    if (strstr("order", only)) {
        check_order();
        t.pairs++;
    }
    if (strstr("bounded", only)) {
        check_bounded();
        t.pairs++;
    }
    pthread_create(&thread, NULL, second, NULL);
    for (unsigned s = 0; s < 8; s++)
        run_situation(s / 2, s % 2, only, every, first, verbose);
    t.over = true;
    pthread_mutex_lock(&t.lock);
    t.turn = SECOND;
    pthread_cond_broadcast(&t.changed);
    pthread_mutex_unlock(&t.lock);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    const char *only = "";
    uint64_t every = 1, first = 0;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--every") == 0 && i + 1 < argc)
            every = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else {
            fprintf(stderr, "usage: turns [--only TEXT] [--every N [--first K]] [--verbose]\n");
            return 2;
        }
    }
    first = first ? first : every;
    w.pool = os_aligned(BLOCK, WIDE);
    if (!w.pool || every == 0)
        return 1;
    make_image(false);
    make_image(true);
    pthread_mutex_init(&t.lock, NULL);
    pthread_cond_init(&t.changed, NULL);
    run_all(only, every, first, verbose);
    os_aligned_free(w.pool);
    free(w.image[0]);
    free(w.image[1]);
    printf("turns: %llu pairs of operations, %llu runs\n", (unsigned long long)t.pairs,
           (unsigned long long)t.runs);
    return t.pairs == 0; /* no pair has this name */
}
