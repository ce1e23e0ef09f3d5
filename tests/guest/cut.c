/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cut.c - an embedding program whose power is cut, and that judges what the cut left.
 *
 * usage: cut [--seed S] [--ops N] [--cut-at N] [--pool-size BYTES] [--tool PATH] [--close]
 * Started in a directory on DAX, again after each cut. Each start judges first: the origin loses
 * what a power cut may take from it, `cachemax check` and cm_check must find no damage, every hit
 * must be right, and every block that was reported stored, of a file that was clean, must hit (but
 * for those that an eviction may just have been taking). Then it works, N operations at random,
 * and cuts its own power: at the N-th operation on the pool counted from the start (--cut-at; so
 * opening and judging are cut as well), else after the last one; or somebody does it before.
 * --close: no work; closes cleanly and checks once more. Exit status 1: something was wrong.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cutter.h"
#include "origin.h"

#define PENDING 2u   /* brackets that stay open across operations */
#define READ_MAX 16u /* blocks of one read */

enum kind { WRITE, APPEND, TRUNCATE, ATTRIBUTES };

struct pending {
    cm_bracket w;
    enum kind kind;
    unsigned file;
    uint64_t first, blocks, size;
    bool used, done; /* done: the origin was changed */
};

static struct {
    struct origin *o;
    struct rng rng;
    cm_cache *cache;
    cm_file *file[FILES];
    uint64_t incarnation[FILES];
    struct pending pending[PENDING];
    uint64_t gone;  /* evicted and displaced when last looked at */
    uint64_t ahead; /* blocks that reading through may fill past the request */
    const char *tool;
    uint64_t ops, pool_size;
    bool close;
} t = { .ops = 1000, .pool_size = 2 << 20 };

static void fail(const char *what, unsigned f, uint64_t block, int64_t code)
{
    dprintf(1, "FAIL %s: file %u block %llu code %lld, operation %llu of boot %llu\n", what, f,
            (unsigned long long)block, (long long)code, (unsigned long long)cutter_count(),
            t.o ? (unsigned long long)t.o->boot : 0);
    tcdrain(1);
    exit(1);
}

static void must(int64_t code, const char *what, unsigned f)
{
    if (code < 0)
        fail(what, f, 0, code);
}

static void set(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST); /* durable, and in order, in this guest */
}

static void doing(enum doing what)
{
    set(&t.o->doing, what);
}

/* ---- Promises -------------------------------------------------------------------------------- */

static uint64_t valid_bytes(unsigned f, uint64_t block)
{
    uint64_t size = t.o->file[f].size;
    return size <= block * BLOCK ? 0 : size - block * BLOCK < BLOCK ? size - block * BLOCK : BLOCK;
}

/* Does the block hit whole? A hit must be right. */
static bool hits(unsigned f, uint64_t block)
{
    uint8_t buf[CM_BLOCK_SIZE];
    int64_t n = cm_read(t.file[f], block * BLOCK, buf, BLOCK, NULL);
    must(n, "cm_read", f);
    if (n > 0 && !origin_is(t.o, f, block * BLOCK, buf, (uint64_t)n))
        fail("wrong hit", f, block, n);
    return n > 0 && (uint64_t)n == valid_bytes(f, block);
}

static uint64_t gone(void)
{
    cm_stats_data s = { .struct_size = sizeof(s) };
    must(cm_stats(t.cache, &s), "cm_stats", 0);
    return s.evicted + s.displaced;
}

/* Before blocks are filled: as many of the stored ones may be evicted. */
static void may_evict(uint64_t blocks)
{
    set(&t.o->slack, 2 * blocks + 16);
}

/* After it: [first, end) of file f may be stored now, and others may be gone. */
static void note_stored(unsigned f, uint64_t first, uint64_t end)
{
    for (uint64_t b = first; b < end && b < BLOCKS; b++)
        if (hits(f, b))
            set(&t.o->file[f].stored[b], 1);
    if (gone() != t.gone) {
        for (unsigned i = 0; i < FILES; i++)
            for (uint64_t b = 0; b < BLOCKS; b++)
                if (t.o->file[i].stored[b] && !hits(i, b))
                    set(&t.o->file[i].stored[b], 0);
        t.gone = gone();
    }
    set(&t.o->slack, 0);
}

static void forget_stored(unsigned f, uint64_t first, uint64_t end)
{
    for (uint64_t b = first; b < end && b < BLOCKS; b++)
        set(&t.o->file[f].stored[b], 0);
}

/* The file is about to change, or the cache's opinion of it. */
static void unclean(unsigned f)
{
    set(&t.o->file[f].clean, 0);
}

/* What the cache promises of the file from here on. */
static void judge_clean(unsigned f)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    must(cm_file_get_info(t.file[f], &i), "cm_file_get_info", f);
    if (i.incarnation != t.incarnation[f])
        forget_stored(f, 0, BLOCKS);
    t.incarnation[f] = i.incarnation;
    bool clean = !i.dirty && !i.racy && !i.want_validator && !i.bypassed && i.brackets == 0;
    set(&t.o->file[f].clean, clean && !t.o->file[f].unsynced);
}

/* ---- Judging --------------------------------------------------------------------------------- */

static void open_pool(uint32_t flags)
{
    cm_options opts = CM_OPTIONS_INIT;
    opts.probation_bytes = CM_PROBATION_NONE;
    opts.flags = flags;
    doing(OPENING);
    int e = cm_open("pool", &opts, &t.cache);
    if (e)
        fail("cm_open", 0, 0, e);
    cm_info i = { .struct_size = sizeof(i) };
    must(cm_get_info(t.cache, &i), "cm_get_info", 0);
    if (i.durability != CM_DURABILITY_DAX || i.emptied)
        fail("not DAX, or emptied", 0, i.emptied, i.durability);
    t.ahead = i.slots / 32 < 64 ? i.slots / 32 : 64;
    t.gone = 0;
}

static void attach(unsigned f)
{
    cm_file_id id = origin_id(f);
    cm_validator v = origin_validator(t.o, f, false);
    must(cm_file_open(t.cache, &id, &v, f + 1 < FILES ? CM_SOLE_WRITER : 0, &t.file[f]),
         "cm_file_open", f);
    cm_file_info i = { .struct_size = sizeof(i) };
    must(cm_file_get_info(t.file[f], &i), "cm_file_get_info", f);
    if (t.o->file[f].clean && !i.kept)
        fail("a clean file was attached cold", f, 0, 0);
    if (!i.kept)
        forget_stored(f, 0, BLOCKS);
    t.incarnation[f] = i.incarnation;
}

/* Finds no damage. Returns how many writes of superblock copies and records were cut short: one at
 * most was under way. */
static uint64_t check_pool(void)
{
    cm_check_report r = { .struct_size = sizeof(r) };
    int e = cm_check(t.cache, 0, NULL, NULL, &r);
    must(e, "cm_check", 0);
    if (r.bad_headers + r.bad_payload + r.unreadable + r.bad_cells + r.duplicates || r.would_empty)
        fail("cm_check found damage: bad headers and payload, code: the rest", 0,
             r.bad_headers * 1000 + r.bad_payload,
             (int64_t)(r.unreadable * 1000000 + r.bad_cells * 1000 + r.duplicates));
    if (r.torn_records + r.superblocks_damaged > 1)
        fail("cm_check found more than one torn write", 0, r.torn_records, r.superblocks_damaged);
    return r.torn_records + r.superblocks_damaged;
}

/* Runs "cachemax check"; its exit status. */
static int tool_check(void)
{
    char *argv[] = { (char *)(uintptr_t)t.tool, (char *)(uintptr_t) "check",
                     (char *)(uintptr_t) "pool", NULL };
    char *envp[] = { NULL };
    posix_spawn_file_actions_t quiet;
    pid_t pid;
    int status = -1;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 1, "check.out", O_CREAT | O_WRONLY | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&quiet, 1, 2);
    if (posix_spawn(&pid, t.tool, &quiet, NULL, argv, envp) != 0 || waitpid(pid, &status, 0) < 0)
        fail("cannot run the tool", 0, 0, 0);
    posix_spawn_file_actions_destroy(&quiet);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Somebody changes a file while no cache runs. */
static void change_offline(void)
{
    unsigned f = (unsigned)rng_below(&t.rng, FILES * 4);
    if (f >= FILES || t.o->file[f].size == 0)
        return;
    unclean(f);
    origin_write(t.o, f, 0, 1 + rng_below(&t.rng, (t.o->file[f].size - 1) / BLOCK + 1),
                 t.o->file[f].size);
    origin_sync(t.o, f);
}

/* Compares every hit, and the stored blocks that do not hit, with the promises. */
static void judge(void)
{
    static const char *const doings[] = { "none", "open", "fill",  "begin",
                                          "end",  "sync", "close", "other" };
    uint64_t hit = 0, stored = 0, floor = 0, missing = 0, cold = 0, torn = 0;
    const char *cut_in = doings[t.o->doing];
    uint64_t brackets = t.o->brackets;
    doing(OPENING);
    set(&t.o->brackets, 0);
    for (unsigned f = 0; f < FILES; f++) {
        origin_power_cut(t.o, f, &t.rng);
        for (uint64_t b = 0; b < BLOCKS; b++)
            stored += t.o->file[f].stored[b];
    }
    change_offline();
    open_pool(CM_OPEN_READONLY);
    torn = check_pool();
    must(cm_close(t.cache), "cm_close", 0);
    int status = t.tool ? tool_check() : 0;
    if (status != 0)
        fail("cachemax check finds damage that cm_check does not", 0, torn, status);
    open_pool(CM_OPEN_REQUIRE_DAX);
    for (unsigned f = 0; f < FILES; f++) {
        struct origin_file *x = &t.o->file[f];
        attach(f);
        cold += !x->clean;
        for (uint64_t b = 0; b < BLOCKS; b++) {
            bool is = hits(f, b);
            hit += is;
            floor += x->clean && x->stored[b];
            missing += x->clean && x->stored[b] && !is;
        }
    }
    if (missing > t.o->slack)
        fail("stored blocks of clean files do not hit: block: missing, code: allowed", 0, missing,
             (int64_t)t.o->slack);
    check_pool();
    for (unsigned f = 0; f < FILES; f++) {
        for (uint64_t b = 0; b < BLOCKS; b++)
            set(&t.o->file[f].stored[b], hits(f, b));
        judge_clean(f);
    }
    dprintf(
        1,
        "judged boot=%llu cut-in=%s brackets=%llu hits=%llu stored=%llu floor=%llu share=%llu%% "
        "missing=%llu slack=%llu cold=%llu torn=%llu operations=%llu\n",
        (unsigned long long)t.o->boot, cut_in, (unsigned long long)brackets,
        (unsigned long long)hit, (unsigned long long)stored, (unsigned long long)floor,
        (unsigned long long)(stored ? 100 * floor / stored : 0), (unsigned long long)missing,
        (unsigned long long)t.o->slack, (unsigned long long)cold, (unsigned long long)torn,
        (unsigned long long)cutter_count());
    tcdrain(1);
    set(&t.o->slack, 0);
    doing(OTHER);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int64_t read_origin(void *ctx, uint64_t offset, void *buf, size_t len)
{
    unsigned f = *(unsigned *)ctx;
    uint64_t size = t.o->file[f].size, n = 0;
    uint8_t block[CM_BLOCK_SIZE];
    while (n < len && offset + n < size) {
        origin_block(t.o, f, (offset + n) / BLOCK, block);
        uint64_t m = size - offset - n < BLOCK ? size - offset - n : BLOCK;
        memcpy((uint8_t *)buf + n, block, m);
        n += m;
    }
    return (int64_t)n;
}

/* By hand: the cached prefix, then the miss filled. */
static void do_read(unsigned f)
{
    static uint8_t buf[READ_MAX * CM_BLOCK_SIZE];
    uint64_t offset = rng_below(&t.rng, BLOCKS) * BLOCK + (rng_below(&t.rng, 2) ? 0 : 777);
    cm_miss miss;
    int64_t n = cm_read(t.file[f], offset, buf, 1 + rng_below(&t.rng, sizeof(buf)), &miss);
    must(n, "cm_read", f);
    if (!origin_is(t.o, f, offset, buf, (uint64_t)n))
        fail("wrong hit", f, offset / BLOCK, n);
    if (miss.len == 0)
        return;
    if (miss.len > sizeof(buf)) /* answering less than was missing is allowed */
        miss.len = sizeof(buf);
    int64_t got = read_origin(&f, miss.offset, buf, miss.len);
    if (got == 0)
        return;
    may_evict(miss.len / BLOCK + 1);
    doing(FILLING);
    must(cm_fill(t.file[f], &miss, buf, (size_t)got,
                 miss.offset + (uint64_t)got == t.o->file[f].size ? CM_FILL_EOF : 0),
         "cm_fill", f);
    doing(OTHER);
    note_stored(f, miss.offset / BLOCK, (miss.offset + miss.len) / BLOCK + 1);
}

static void do_read_through(unsigned f)
{
    static uint8_t buf[READ_MAX * CM_BLOCK_SIZE] __attribute__((aligned(CM_BLOCK_SIZE)));
    uint64_t offset = rng_below(&t.rng, BLOCKS * BLOCK);
    size_t len = 1 + rng_below(&t.rng, sizeof(buf));
    may_evict(READ_MAX + 2 + t.ahead);
    doing(FILLING);
    int64_t n = cm_read_through(t.file[f], offset, buf, len, read_origin, &f);
    doing(OTHER);
    must(n, "cm_read_through", f);
    uint64_t size = t.o->file[f].size, want = size <= offset ? 0 : size - offset;
    if (want > len)
        want = len;
    if ((uint64_t)n != want || !origin_is(t.o, f, offset, buf, (uint64_t)n))
        fail("wrong bytes read through", f, offset / BLOCK, n);
    note_stored(f, 0, BLOCKS);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void change_origin(struct pending *p)
{
    if (p->kind == ATTRIBUTES)
        origin_stamp(t.o, p->file, 0);
    else
        origin_write(t.o, p->file, p->first, p->blocks, p->size);
    p->done = true;
}

/* What to change: a range inside or past the end, the tail, the size. */
static void plan(struct pending *p)
{
    uint64_t size = t.o->file[p->file].size, end = (size + BLOCK - 1) / BLOCK;
    p->size = size;
    switch (p->kind) {
    case WRITE:
        p->first = rng_below(&t.rng, end < BLOCKS ? end + 1 : end);
        p->blocks = 1 + rng_below(&t.rng, BLOCKS - p->first < 20 ? BLOCKS - p->first : 20);
        if ((p->first + p->blocks) * BLOCK > size)
            p->size = (p->first + p->blocks) * BLOCK - rng_below(&t.rng, BLOCK);
        if (p->size < size)
            p->size = size;
        break;
    case APPEND: /* the bytes that the last block has get no new version */
        p->size = size + rng_below(&t.rng, BLOCKS * BLOCK - size + 1);
        p->first = end;
        p->blocks = (p->size + BLOCK - 1) / BLOCK - end;
        break;
    case TRUNCATE:
        p->size = rng_below(&t.rng, size + 1);
        p->first = p->size / BLOCK;
        p->blocks = p->size % BLOCK != 0;
        break;
    case ATTRIBUTES:
        break;
    }
}

static void begin_bracket(unsigned f, struct pending *p)
{
    static const enum kind kinds[] = { WRITE, WRITE, WRITE, WRITE, APPEND, TRUNCATE, ATTRIBUTES };
    cm_file *x = t.file[f];
    *p = (struct pending){ .file = f, .used = true };
    p->kind = kinds[rng_below(&t.rng, sizeof(kinds) / sizeof(*kinds))];
    bool alone = true, sized = false;
    for (unsigned i = 0; i < PENDING; i++) {
        const struct pending *other = &t.pending[i];
        if (other != p && other->used && other->file == f) {
            alone = false;
            sized |= other->kind != ATTRIBUTES && other->size != t.o->file[f].size;
        }
    }
    if (!alone) /* one that changes the size is the only one that changes bytes */
        p->kind = sized || t.o->file[f].size < BLOCK ? ATTRIBUTES : WRITE;
    plan(p);
    if (!alone && p->size != t.o->file[f].size)
        *p = (struct pending){
            .file = f, .used = true, .kind = WRITE, .blocks = 1, .size = t.o->file[f].size
        };
    unclean(f);
    if (p->kind == TRUNCATE)
        forget_stored(f, p->first, BLOCKS);
    else if (p->kind == APPEND)
        forget_stored(f, p->first > 0 ? p->first - 1 : 0, BLOCKS);
    else if (p->kind == WRITE)
        forget_stored(f, p->first, p->size > t.o->file[f].size ? BLOCKS : p->first + p->blocks);
    if (p->kind == WRITE && p->size > t.o->file[f].size && p->first > 0)
        forget_stored(f, p->first - 1, p->first); /* was the tail perhaps, and counts as longer */
    set(&t.o->brackets, t.o->brackets + 1);
    doing(BEGINNING);
    must(p->kind == TRUNCATE     ? cm_truncate_begin(x, p->size, &p->w)
         : p->kind == ATTRIBUTES ? cm_write_begin(x, 0, 0, &p->w)
         : p->kind == APPEND ? cm_write_begin(x, CM_APPEND, p->size - t.o->file[f].size + 1, &p->w)
                             : cm_write_begin(x, p->first * BLOCK, p->blocks * BLOCK, &p->w),
         "begin", f);
    doing(OTHER);
    if (rng_below(&t.rng, 2))
        change_origin(p); /* else just before the end */
}

static void end_bracket(struct pending *p)
{
    unsigned f = p->file;
    if (!p->done)
        change_origin(p);
    cm_validator v = origin_validator(t.o, f, rng_below(&t.rng, 8) == 0);
    doing(ENDING);
    must(cm_write_end(t.file[f], &p->w, rng_below(&t.rng, 4) ? &v : NULL), "cm_write_end", f);
    doing(OTHER);
    set(&t.o->brackets, t.o->brackets - 1);
    p->used = false;
    judge_clean(f);
}

static void end_brackets(unsigned f) /* FILES: of all files */
{
    for (unsigned i = 0; i < PENDING; i++)
        if (t.pending[i].used && (f == FILES || t.pending[i].file == f))
            end_bracket(&t.pending[i]);
}

static void do_bracket(unsigned f)
{
    struct pending *p = &t.pending[rng_below(&t.rng, PENDING)];
    if (p->used) {
        end_bracket(p);
        return;
    }
    begin_bracket(f, p);
    if (rng_below(&t.rng, 3))
        end_bracket(p);
}

static void do_sync(unsigned f)
{
    cm_sync s;
    bool ok = rng_below(&t.rng, 16) != 0;
    unclean(f);
    doing(SYNCING);
    must(cm_sync_begin(t.file[f], &s), "cm_sync_begin", f);
    if (ok)
        origin_sync(t.o, f);
    cm_validator v = origin_validator(t.o, f, rng_below(&t.rng, 16) == 0);
    must(cm_sync_end(t.file[f], &s, ok, rng_below(&t.rng, 8) ? &v : NULL), "cm_sync_end", f);
    doing(OTHER);
    judge_clean(f);
}

/* ---- What others do, and the rest ------------------------------------------------------------ */

static void do_revalidate(unsigned f)
{
    cm_validator v = origin_validator(t.o, f, false);
    unclean(f);
    must(cm_file_revalidate(t.file[f], &v), "cm_file_revalidate", f);
    judge_clean(f);
}

/* Somebody else changes the file just now, unsynced, and we are told. */
static void do_foreign_write(unsigned f)
{
    struct timespec now;
    uint64_t size = t.o->file[f].size;
    end_brackets(f);
    if (size == 0)
        return;
    unclean(f);
    uint64_t first = rng_below(&t.rng, (size + BLOCK - 1) / BLOCK);
    forget_stored(f, 0, BLOCKS); /* by another validator everything goes */
    clock_gettime(CLOCK_REALTIME, &now);
    origin_write(t.o, f, first, 1, size);
    origin_stamp(t.o, f, now.tv_sec * INT64_C(1000000000) + now.tv_nsec);
    if (rng_below(&t.rng, 2))
        must(cm_invalidate(t.file[f], first * BLOCK, BLOCK), "cm_invalidate", f);
    else
        must(cm_forget(t.cache, &(cm_file_id){ origin_id(f).hi, origin_id(f).lo }), "cm_forget", f);
    do_revalidate(f);
}

static void do_forget(unsigned f)
{
    cm_file_id id = origin_id(f);
    unclean(f);
    forget_stored(f, 0, BLOCKS);
    must(cm_forget(t.cache, &id), "cm_forget", f);
    judge_clean(f);
}

/* Closes and opens the file; a change behind a racy validator's back comes in between. */
static void do_reopen(unsigned f)
{
    cm_file_info i = { .struct_size = sizeof(i) };
    end_brackets(f);
    must(cm_file_get_info(t.file[f], &i), "cm_file_get_info", f);
    must(cm_file_close(t.file[f]), "cm_file_close", f);
    if (i.racy && !t.o->file[f].clean && t.o->file[f].size > 0) {
        int64_t stamp = t.o->file[f].stamp;
        origin_write(t.o, f, 0, 1, t.o->file[f].size);
        origin_stamp(t.o, f, stamp);
        origin_sync(t.o, f);
    }
    attach(f);
    judge_clean(f);
}

static void do_reopen_pool(void)
{
    end_brackets(FILES);
    doing(CLOSING);
    must(cm_close(t.cache), "cm_close", 0);
    open_pool(CM_OPEN_REQUIRE_DAX);
    for (unsigned f = 0; f < FILES; f++) {
        attach(f);
        judge_clean(f);
    }
    doing(OTHER);
}

static void work(void)
{
    for (uint64_t i = 0; i < t.ops; i++) {
        unsigned f = (unsigned)rng_below(&t.rng, FILES);
        uint64_t what = rng_below(&t.rng, f < FILES / 2 ? 200 : 111); /* half are read only */
        if (what < 80)
            do_read(f);
        else if (what < 110)
            do_read_through(f);
        else if (what < 111)
            do_reopen_pool();
        else if (what < 140)
            do_bracket(f);
        else if (what < 175)
            do_sync(f);
        else if (what < 186)
            do_revalidate(f);
        else if (what < 190)
            do_foreign_write(f);
        else if (what < 192)
            do_forget(f);
        else
            do_reopen(f);
    }
    cutter_cut("the end of the work");
}

/* ---- Main ------------------------------------------------------------------------------------ */

static uint64_t options(int argc, char **argv)
{
    uint64_t cut_at = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--close") == 0) {
            t.close = true;
            continue;
        }
        if (i + 1 == argc)
            exit(2);
        uint64_t n = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--seed") == 0)
            t.rng.s = n << 20;
        else if (strcmp(argv[i], "--ops") == 0)
            t.ops = n;
        else if (strcmp(argv[i], "--cut-at") == 0)
            cut_at = n;
        else if (strcmp(argv[i], "--pool-size") == 0)
            t.pool_size = n;
        else if (strcmp(argv[i], "--tool") == 0)
            t.tool = argv[i + 1];
        else
            exit(2);
        i++;
    }
    return cut_at;
}

int main(int argc, char **argv)
{
    uint64_t cut_at = options(argc, argv);
    t.o = origin_open("origin");
    t.rng.s += t.o->boot; /* another boot, other choices */
    if (!origin_ready(t.o)) {
        cm_create_options c = CM_CREATE_OPTIONS_INIT;
        c.size = t.pool_size;
        unlink("pool");
        must(cm_create("pool", &c), "cm_create", 0);
        origin_init(t.o, &t.rng);
    }
    set(&t.o->boot, t.o->boot + 1);
    cutter_arm(cut_at, rng_next(&t.rng));
    judge();
    if (!t.close)
        work();
    must(cm_close(t.cache), "cm_close", 0);
    int status = t.tool ? tool_check() : 0;
    dprintf(1, "closed cachemax-check=%d\n", status);
    return status != 0;
}
