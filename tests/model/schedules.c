/* SPDX-License-Identifier: BSD-2-Clause
 *
 * schedules.c - whole lives of files, in threads whose order a seed decides, and crashes among
 * them.
 *
 *   schedules [--seed N] [--count N] [--seconds N] [--verbose]
 *
 * A run has two or three threads. Each does some operations, chosen at random, on a file that all
 * of them share: it asks for the file's attributes, opens it with them, reads, fills, pins, changes
 * it in brackets, syncs it, forgets it, pushes it out of the pool. The production code runs, with a
 * step before every access to what threads share (turns.h); schedules_run.c decides at each step
 * which thread goes on. So a run is the same each time: "--seed N --count 1" is run N again.
 *
 * In many runs the process or the machine crashes at a step. What is left of the pool is
 * kept, and the run goes on to its end. Then the pool is opened as the crash left it.
 *
 * The rules are those of race.c and turns.c: a read gives a whole block, of a version not older
 * than the origin's when the read began; pinned bytes stay; at the end what is cached has the
 * origin's content, no slot is lost, and every block can be stored. After a crash what is cached
 * has the content that the origin had at that moment.
 */
#define TURNS_ITSELF
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "schedules_pool.h"
#include "schedules_run.h"
#include "state/object.h"

#include "../later.h"
#include "../os.h"

#define BLOCK CM_BLOCK_SIZE
#define WORDS (BLOCK / 8)
#define BLOCKS 4u
#define HELD 4u
#define AHEAD 1000u
#define LIVES 3u
#define OPERATIONS 4u /* of a thread, at most */

/* What the origin holds. */
struct origin {
    uint64_t version[BLOCKS];
    uint64_t stamp; /* of the file's last change */
};

static struct {
    uint8_t *left; /* of the pool, by a crash */
    bool wide;     /* the pool has several stripes */
    bool brief;    /* each thread does one operation */
    cm_cache *cache;
    cm_file *file, *other;
    cm_file_id id;
    uint32_t flags;         /* of the file: they say whether it has other writers */
    struct origin now;      /* the origin's content */
    uint64_t floor[BLOCKS]; /* the oldest version that a read may give if it begins now */
    uint64_t next_other;
    uint32_t boot; /* number of the present boot */
    unsigned wanted[THREADS][OPERATIONS], count[THREADS];
    /* The crash. */
    bool crashed, power_cut;
    struct origin then;
    /* What was done, for --verbose. */
    uint64_t runs, lives, crashes, cuts, steps, hits, left_hits;
} w;

void __wrap_cm_plat_boot_id(uint8_t id[16]);
void __wrap_cm_plat_boot_id(uint8_t id[16])
{
    memset(id, 0, 16);
    memcpy(id, "boot", 4);
    memcpy(id + 4, &w.boot, sizeof(w.boot));
}

static uint64_t word_of(uint64_t block, uint64_t version)
{
    return (block + 1) << 32 | version;
}

static void content(uint64_t block, uint64_t version, void *to)
{
    for (unsigned i = 0; i < WORDS; i++)
        ((uint64_t *)to)[i] = word_of(block, version);
}

static void check(const char *what, uint64_t block, const void *data, uint64_t low, uint64_t high)
{
    const uint64_t *word = data;
    for (unsigned i = 0; i < WORDS; i++)
        if (word[i] != word[0])
            fail("torn block", word[0], word[i]);
    if (word[0] < word_of(block, low) || word[0] > word_of(block, high))
        fail(what, word[0], word_of(block, low));
}

static cm_validator validator(const struct origin *o)
{
    return validator_of_version(BLOCKS * BLOCK, o->stamp);
}

static int64_t origin_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
    (void)ctx;
    turns_step();
    uint64_t n = 0;
    for (uint64_t b = offset / BLOCK; n + BLOCK <= len && b < BLOCKS; b++, n += BLOCK) {
        content(b, w.now.version[b], (uint8_t *)buf + n);
        turns_step();
    }
    return (int64_t)n;
}

/* The origin changes. All of it at once, as far as a crash can see. */
static void change(uint64_t first, uint64_t n)
{
    for (uint64_t b = first; b < first + n; b++)
        w.now.version[b]++;
    w.now.stamp++;
}

/* ---- Operations ------------------------------------------------------------------------------ */

static _Thread_local uint8_t buffer[BLOCKS * BLOCK] __attribute__((aligned(4096)));

/* Nothing older may be served from now on. */
static void raise_floor(uint64_t first, uint64_t n)
{
    for (uint64_t b = first; b < first + n; b++)
        w.floor[b] = w.now.version[b];
}

static void read_blocks(cm_file *f, uint64_t first, uint64_t n)
{
    uint64_t low[BLOCKS];
    memcpy(low, w.floor, sizeof(low));
    int64_t got = cm_read(f, first * BLOCK, buffer, n * BLOCK, NULL);
    must(got, "cm_read");
    for (uint64_t b = 0; b < (uint64_t)got / BLOCK; b++)
        check("cm_read", first + b, buffer + b * BLOCK, low[first + b], w.now.version[first + b]);
    w.hits += (uint64_t)got / BLOCK;
}

static int store(cm_file *f, uint64_t block)
{
    cm_miss miss;
    int64_t n = cm_read(f, block * BLOCK, buffer, BLOCK, &miss);
    must(n, "cm_read");
    if (n > 0 || miss.len == 0)
        return CM_NOT_STORED_PRESENT;
    if (f != w.other)
        (void)origin_read(NULL, block * BLOCK, buffer, BLOCK);
    else
        content(block, 1, buffer);
    return cm_fill(f, &miss, buffer, BLOCK, 0);
}

static void op_read(void)
{
    read_blocks(w.file, 0, 1);
}

static void op_run(void)
{
    read_blocks(w.file, 0, 2);
}

static void op_fill(void)
{
    must(store(w.file, 0), "cm_fill");
}

static void op_fill_next(void)
{
    must(store(w.file, 1), "cm_fill");
}

static void op_through(void)
{
    uint64_t low[2] = { w.floor[0], w.floor[1] };
    int64_t n = cm_read_through(w.file, 0, buffer, 2 * BLOCK, origin_read, NULL);
    if (n != 2 * BLOCK)
        fail("cm_read_through", (uint64_t)n, 2 * BLOCK);
    for (unsigned b = 0; b < 2; b++)
        check("cm_read_through", b, buffer + b * BLOCK, low[b], w.now.version[b]);
}

static void op_pin(void)
{
    cm_iovec iov;
    cm_pins pins;
    int used;
    const uint64_t low = w.floor[0];
    int64_t n = cm_pin_range(w.file, 0, BLOCK, &iov, 1, &used, &pins, NULL);
    if (n == CM_EBUSY || n == 0)
        return;
    must(n, "cm_pin_range");
    memcpy(buffer, iov.base, BLOCK);
    check("cm_pin_range", 0, buffer, low, w.now.version[0]);
    for (unsigned i = 0; i < 20; i++) { /* others go on */
        turns_step();
        if (memcmp(iov.base, buffer, BLOCK) != 0)
            fail("pinned bytes changed", *(const uint64_t *)iov.base, *(uint64_t *)(void *)buffer);
    }
    must(cm_unpin(&pins), "cm_unpin");
}

/* The validator that a bracket ends with: of now, or of no moment in which the file was at rest. */
static void end(cm_bracket *b)
{
    cm_validator v = validator(&w.now);
    turns_step();
    int e = cm_write_end(w.file, b, w.flags & CM_SOLE_WRITER ? &v : NULL);
    if (e != CM_EBRACKET)
        must(e, "cm_write_end");
}

static void op_write(void)
{
    cm_bracket b;
    int e = cm_write_begin(w.file, 0, 2 * BLOCK, &b);
    if (e == CM_EBRACKET)
        return;
    must(e, "cm_write_begin");
    turns_step();
    change(0, 2);
    raise_floor(0, 2);
    turns_step();
    end(&b);
}

static void op_truncate(void)
{
    cm_bracket b;
    must(cm_truncate_begin(w.file, BLOCK, &b), "cm_truncate_begin");
    turns_step();
    change(1, BLOCKS - 1); /* cut off, and written anew */
    raise_floor(1, BLOCKS - 1);
    turns_step();
    end(&b);
}

static void op_append(void)
{
    cm_bracket b;
    must(cm_write_begin(w.file, CM_APPEND, BLOCK, &b), "cm_write_begin");
    turns_step();
    change(0, 0);
    turns_step();
    end(&b);
}

static void op_invalidate(void)
{
    must(cm_invalidate(w.file, 0, BLOCK), "cm_invalidate");
}

/* Another program wrote, if the file may have other writers, and the front end finds out. */
static void op_revalidate(void)
{
    const bool foreign = !(w.flags & CM_SOLE_WRITER);
    if (foreign)
        change(0, BLOCKS);
    struct origin seen = w.now;
    cm_validator v = validator(&seen);
    turns_step();
    int e = cm_file_revalidate(w.file, &v);
    must(e, "cm_file_revalidate");
    if (e == CM_IGNORED && foreign) /* a bracket was open, so the next validator decides */
        must(cm_invalidate(w.file, 0, CM_ALL), "cm_invalidate");
    for (unsigned b = 0; b < BLOCKS && foreign; b++)
        if (w.floor[b] < seen.version[b])
            w.floor[b] = seen.version[b];
}

static void op_forget(void)
{
    must(cm_forget(w.cache, &w.id), "cm_forget");
}

static void op_sync(void)
{
    cm_sync sync;
    must(cm_sync_begin(w.file, &sync), "cm_sync_begin");
    turns_step();
    must(cm_sync_end(w.file, &sync, 1, NULL), "cm_sync_end");
}

/* The file gets another version while the bracket is open: what is filled then is of that one, and
 * the bracket has raised the stripes of the old one. */
static void op_write_forget(void)
{
    cm_bracket b;
    must(cm_write_begin(w.file, 0, 2 * BLOCK, &b), "cm_write_begin");
    turns_step();
    must(cm_forget(w.cache, &w.id), "cm_forget");
    turns_step();
    change(0, 2);
    raise_floor(0, 2);
    turns_step();
    end(&b);
}

/* After a power cut only what was synced can hit. */
static void op_write_sync(void)
{
    op_write();
    op_sync();
    op_fill();
}

static void op_push(void)
{
    for (unsigned i = 0; i < 2; i++)
        must(store(w.other, w.next_other++), "cm_fill");
}

static void op_drop(void)
{
    must(cm_drop(w.file, 0, 2 * BLOCK), "cm_drop");
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
    cm_validator v = validator(&w.now);
    turns_step();
    must(cm_file_open(w.cache, &w.id, &v, w.flags, &f), "cm_file_open");
    turns_step();
    read_blocks(f, 0, 1);
    must(store(f, 2), "cm_fill");
    must(cm_file_close(f), "cm_file_close");
}

static const struct op {
    const char *name;
    void (*run)(void);
} ops[] = {
    { "read", op_read },
    { "run", op_run },
    { "fill", op_fill },
    { "fill-next", op_fill_next },
    { "through", op_through },
    { "pin", op_pin },
    { "write", op_write },
    { "write-sync", op_write_sync },
    { "write-forget", op_write_forget },
    { "truncate", op_truncate },
    { "append", op_append },
    { "invalidate", op_invalidate },
    { "revalidate", op_revalidate },
    { "forget", op_forget },
    { "sync", op_sync },
    { "push", op_push },
    { "drop", op_drop },
    { "checkpoint", op_checkpoint },
    { "mode", op_mode },
    { "visit", op_visit },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

/* ---- One run --------------------------------------------------------------------------------- */

static void open_pool(bool buffer_too)
{
    w.cache = schedule_pool_open(buffer_too ? HELD * BLOCK : CM_PROBATION_NONE);
    w.cache->media.take = NULL; /* it is assembler code, which has no steps */
}

static void open_files(void)
{
    cm_file_id other = { 7, 2 };
    const struct origin first = { .stamp = 1 };
    cm_validator v = validator(&w.now), far = validator(&first);
    far.size = CM_BLOCK_MAX / 2 * BLOCK;
    must(cm_file_open(w.cache, &w.id, &v, w.flags, &w.file), "cm_file_open");
    must(cm_file_open(w.cache, &other, &far, CM_SOLE_WRITER, &w.other), "cm_file_open");
}

/* The first life: the pool is new. */
static void set_up(void)
{
    w.boot = 1;
    w.brief = schedule_random(2) == 0;
    w.wide = schedule_random(w.brief ? 2 : 3) == 0;
    schedule_pool_begin(w.wide);
    open_pool(schedule_random(3) == 0);
    w.flags = schedule_random(4) ? CM_SOLE_WRITER : 0;
    w.id = (cm_file_id){ 7, 1 };
    w.now.stamp = 1;
    for (unsigned b = 0; b < BLOCKS; b++)
        w.now.version[b] = w.floor[b] = 1;
    w.next_other = AHEAD;
    open_files();
    if (!w.wide && schedule_random(2)) /* then slots have to be evicted */
        while (w.cache->policy.ring.frontier < w.cache->policy.ring.slots)
            must(store(w.other, w.next_other++), "cm_fill");
    for (uint64_t b = schedule_random(3); b > 0; b--) {
        (void)store(w.file, b - 1);
        read_blocks(w.file, b - 1, 1);
    }
}

static void tear_down(void)
{
    must(cm_file_close(w.file), "cm_file_close");
    must(cm_file_close(w.other), "cm_file_close");
    must(cm_close(w.cache), "cm_close");
}

static void crash(void)
{
    w.crashed = true;
    w.then = w.now;
    schedule_leave(w.left, w.power_cut);
}

/* Reads all blocks: what is cached is the origin's content. */
static uint64_t all_is_well(const char *what, const struct origin *o)
{
    uint64_t hits = 0;
    for (unsigned b = 0; b < BLOCKS; b++) {
        int64_t n = cm_read(w.file, b * BLOCK, buffer, BLOCK, NULL);
        must(n, "cm_read");
        if (n > 0)
            check(what, b, buffer, o->version[b], o->version[b]);
        hits += n > 0;
    }
    return hits;
}

static void judge(void)
{
    struct cm_ring *r = &w.cache->policy.ring;
    if (!(w.flags & CM_SOLE_WRITER)) { /* what others wrote last was not told to the cache yet */
        cm_validator v = validator(&w.now);
        must(cm_file_revalidate(w.file, &v), "cm_file_revalidate");
    }
    (void)all_is_well("cached at the end", &w.now);
    for (unsigned b = 0; b < BLOCKS; b++) {
        int e = store(w.file, b);
        if (e != 0 && e != CM_NOT_STORED_PRESENT && e != CM_NOT_STORED_POLICY)
            fail("not storable at the end", b, (uint64_t)e);
    }
    int64_t astray = -(int64_t)r->free_count;
    for (uint64_t slot = 0; slot < r->slots; slot++)
        astray += cm_ring_is_owned(r, slot);
    if (astray != 0)
        fail("slots are lost", (uint64_t)astray, r->free_count);
    if (w.cache->probation.entries > 0)
        for (uint64_t e = 0; e < w.cache->probation.entries; e++)
            if (w.cache->probation.entry[e].busy || w.cache->probation.entry[e].pins)
                fail("an entry of the buffer is lost", e, 0);
}

/* A later life: the pool is as the crash left it, or as it was closed. */
static void live_on(void)
{
    if (w.crashed) {
        memcpy(schedule_pool(), w.left, (size_t)schedule_pool_used());
        w.now = w.then;
        w.boot += w.power_cut;
    }
    open_pool(schedule_random(3) == 0);
    open_files(); /* their validators are taken after the open: older ones prove nothing */
    for (unsigned b = 0; b < BLOCKS; b++)
        w.floor[b] = w.now.version[b];
    w.left_hits += all_is_well("cached after a crash or a close", &w.now);
}

static void body(unsigned thread)
{
    for (unsigned i = 0; i < w.count[thread]; i++)
        ops[w.wanted[thread][i]].run();
}

/* What each of n threads does. In brief runs it is one operation: so a switch of threads falls on a
 * given step of it more often, as a window of one step needs. Else all choose from the same few
 * operations: so these meet more often than if each run had a little of everything (Groce et al.,
 * "Swarm Testing", ISSTA 2012). */
static void choose(unsigned n)
{
    unsigned few[OPS / 3];
    const unsigned kinds = w.brief ? n : 2 + (unsigned)schedule_random(OPS / 3 - 1);
    for (unsigned i = 0; i < kinds; i++)
        few[i] = (unsigned)schedule_random(OPS);
    for (unsigned i = 0; i < n; i++) {
        w.count[i] = w.brief ? 1 : 1 + (unsigned)schedule_random(OPERATIONS);
        for (unsigned k = 0; k < w.count[i]; k++)
            w.wanted[i][k] = few[schedule_random(kinds)];
    }
}

static void say(uint64_t seed, unsigned life, unsigned n, uint64_t took)
{
    printf("%llu, life %u: %llu steps%s", (unsigned long long)seed, life, (unsigned long long)took,
           !w.crashed    ? ""
           : w.power_cut ? ", power cut"
                         : ", crash");
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < w.count[i]; k++)
            printf("%s%s", k ? "," : " | ", ops[w.wanted[i][k]].name);
    printf("\n");
}

static void run(uint64_t seed, bool verbose)
{
    schedule_seed(seed);
    set_up();
    const unsigned lives = 1 + (unsigned)schedule_random(LIVES);
    for (unsigned life = 0; life < lives; life++) {
        if (life > 0)
            live_on();
        const unsigned n = 2 + (unsigned)schedule_random(2);
        choose(n);
        w.crashed = false;
        w.power_cut = schedule_random(2) == 0;
        const uint64_t length = (w.brief ? 100 : 150) * (uint64_t)n; /* about */
        if (schedule_random(4) > 0)
            schedule_crash(schedule_random(length), crash, schedule_pool(), schedule_pool_used());
        turns_begin_steps(w.cache);
        const uint64_t took = schedule_run(n, body, length, (unsigned)schedule_random(5));
        turns_end_steps(w.cache);
        judge();
        schedule_pool_judge(w.cache);
        tear_down();
        w.lives++;
        w.crashes += w.crashed;
        w.cuts += w.crashed && w.power_cut;
        w.steps += took;
        if (verbose)
            say(seed, life, n, took);
    }
    if (w.crashed) {
        live_on();
        tear_down();
    }
    w.runs++;
}

/* False: `text` is no number. */
static bool take_number(const char *text, uint64_t *n)
{
    char *end;
    *n = strtoull(text, &end, 10);
    return end != text && *end == '\0';
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, count = 20000, seconds = 0;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc && take_number(argv[i + 1], &seed))
            i++;
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc &&
                 take_number(argv[i + 1], &count))
            i++;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc &&
                 take_number(argv[i + 1], &seconds))
            i++;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            return fprintf(stderr, "usage: schedules [--seed N] [--count N] [--seconds N]"
                                   " [--verbose]\n"),
                   2;
    }
    const time_t end = time(NULL) + (time_t)seconds;
    w.left = os_aligned(BLOCK, SCHEDULE_POOL_MAX);
    if (!w.left)
        return 1;
    schedule_pool_prepare();
    for (uint64_t i = 0; seconds ? time(NULL) < end : i < count; i++)
        run(seed + i, verbose);
    printf("schedules: %llu, from seed %llu on; %llu lives, %llu steps; %llu hits; %llu crashes, "
           "%llu of them power cuts; %llu hits after crashes and closes\n",
           (unsigned long long)w.runs, (unsigned long long)seed, (unsigned long long)w.lives,
           (unsigned long long)w.steps, (unsigned long long)w.hits, (unsigned long long)w.crashes,
           (unsigned long long)w.cuts, (unsigned long long)w.left_hits);
    return 0;
}
