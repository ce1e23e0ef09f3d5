/* SPDX-License-Identifier: BSD-2-Clause
 *
 * world.c - the things that the operations of bench use: the pool, the file of the rivals, and the
 * clean-up.
 *
 * Owns the list of the files that were made. A file is mapped or opened, and its name is removed at
 * once if the system allows that (POSIX), so that not even kill -9 leaves gigabytes. A file whose
 * name could not be removed is removed when the program ends.
 *
 * The pool is a file that cm_create made. It is mapped like cm_open does it (shared, no huge pages
 * unless the system gives them to every file there), and opened as persistent memory. So every
 * flush and every fence is executed; cm_open would leave them out on tmpfs. The rivals' memory is a
 * file of the same directory, mapped in the same way.
 *
 * Who: bench/.
 */
#include "tool/bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MOST 20u /* passes */
#define HITS_COUNTED 3u /* after so many hits on a block, a hit changes nothing any more */
#define FILES_MAX 16u
static struct {
    char path[1024];
    bool used, named; /* named: it still has its name */
    void *base;       /* NULL: not mapped */
    uint64_t bytes;
} files[FILES_MAX];

const char *bench_path(struct bench *b, const char *name)
{
    static unsigned serial;

    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (files[i].used)
            continue;
        (void)snprintf(files[i].path, sizeof(files[i].path), "%s/cachemax-bench-%" PRIx64 "-%u-%s",
                       b->dir, cm_now(), serial++, name);
        files[i].used = files[i].named = true;
        return files[i].path;
    }
    bench_fail(b->dir, "too many files");
}

static void remove_name(unsigned i)
{
    if (files[i].named && os_remove_file(files[i].path) == 0)
        files[i].named = false;
}

void bench_remove(const char *path)
{
    for (unsigned i = 0; i < FILES_MAX; i++)
        if (path == files[i].path)
            remove_name(i);
}

void *bench_map(const char *path, uint64_t bytes, bool make)
{
    void *base;
    int error = os_map_file(path, bytes, make, &base);

    if (error)
        bench_fail(path, os_error_text(error));
    for (unsigned i = 0; i < FILES_MAX; i++)
        if (path == files[i].path) {
            files[i].base = base;
            files[i].bytes = bytes;
        }
    return base;
}

void bench_remove_all(void)
{
    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (files[i].base)
            os_unmap(files[i].base, files[i].bytes);
        files[i].base = NULL;
        remove_name(i);
        files[i].used = files[i].named = false;
    }
}

uint64_t bench_random(void)
{
    static uint64_t x = 88172645463325252u; /* xorshift64, Marsaglia 2003 */

    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

void bench_shuffle(uint32_t *v, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(bench_random() % i), t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

/* ---- Room ---------------------------------------------------------------------------------- */

static uint64_t room_for(const struct bench *b, unsigned needs)
{
    uint64_t at_once = 0, alone = needs & BENCH_NEEDS_ROOM ? 2 * b->bytes : 0;

    if (needs & (BENCH_NEEDS_FRESH | BENCH_NEEDS_CHURNED))
        at_once += b->bytes;
    if (needs & BENCH_NEEDS_SCRATCH)
        at_once += b->bytes;
    if (needs & (BENCH_NEEDS_LMDB | BENCH_NEEDS_SQLITE)) /* only one of them exists at a time */
        at_once += b->bytes + b->bytes / 8;
    return at_once > alone ? at_once : alone;
}

void bench_check_room(const struct bench *b, unsigned needs)
{
    uint64_t want = room_for(b, needs), have, fits; /* fits: MiB */
    char wanted[TOOL_NUMBER_MAX], free_[TOOL_NUMBER_MAX];
    struct os_volume volume;
    struct os_machine machine;

    if (!os_volume(b->dir, &volume)) {
        tool_message(b->dir, "not a directory that files can be made in; choose another DIR");
        exit(TOOL_FAILED);
    }
    os_describe_machine(&machine);
    have = volume.free;
    if (volume.in_memory && machine.available < have)
        have = machine.available;
    if (want <= have - have / 16) /* keep room for the library's own memory and other programs */
        return;
    fits = (uint64_t)((double)have / 1.1 / (double)want * (double)b->bytes) >> 20;
    tool_message(b->dir, "not enough room: this takes %s there, and %s is free; %s",
                 tool_bytes(wanted, want), tool_bytes(free_, have),
                 fits < 64 ? "choose another DIR" : "choose another DIR or a smaller pool:");
    if (fits >= 64)
        (void)fprintf(stderr, "--size %" PRIu64 "M would do\n", fits);
    exit(TOOL_FAILED);
}

/* ---- The pool ------------------------------------------------------------------------------ */

cm_file *bench_open_file(cm_cache *cache, uint64_t id)
{
    cm_file_id name = { 1, id };
    cm_validator v = CM_VALIDATOR_INIT;
    cm_file *f;

    cm_validator_set_proof(&v, "1", 1);
    v.size = UINT64_C(1) << 50;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();

    bench_must(cm_file_open(cache, &name, &v, CM_SOLE_WRITER, &f), "cm_file_open");
    return f;
}

void bench_fill_range(struct bench *b, cm_file *f, uint64_t from, uint64_t to, const char *label)
{
    struct tool_progress progress;
    cm_miss miss;

    progress_begin(&progress, label, (to - from) * BENCH_BLOCK, b->quiet);
    for (uint64_t at = from; at < to;) {
        uint64_t n = to - at < BENCH_GROUP ? to - at : BENCH_GROUP;
        int64_t got = cm_read(f, at * BENCH_BLOCK, b->buffer, n * BENCH_BLOCK, &miss);
        bench_must(got, "cm_read");
        if ((size_t)got < n * BENCH_BLOCK)
            bench_must(cm_fill(f, &miss, b->data, miss.len, 0), "cm_fill");
        at += ((uint64_t)got + miss.len) / BENCH_BLOCK;
        if (at % 8192 < BENCH_GROUP) {
            (void)progress_step(&progress, at - from, to - from);
            bench_stop_if_asked();
        }
    }
    progress_end(&progress);
}

void bench_fill_block(struct bench *b, cm_file *f, uint64_t block)
{
    cm_miss miss;
    int64_t got = cm_read(f, block * BENCH_BLOCK, b->buffer, BENCH_BLOCK, &miss);

    bench_must(got, "cm_read");
    if (got == 0)
        bench_must(cm_fill(f, &miss, b->data, miss.len, 0), "cm_fill");
}

static bool is_hit(struct bench *b, uint32_t block)
{
    return cm_read(b->file, block * (uint64_t)BENCH_BLOCK, b->buffer, BENCH_BLOCK, NULL) > 0;
}

/* Learns only blocks that hit: a few blocks found both of their buckets full. */
static void learn_order(struct bench *b, uint32_t wanted)
{
    b->blocks = 0;
    for (uint32_t i = 0; i < wanted; i++)
        if (is_hit(b, i))
            b->order[b->blocks++] = i;
    for (unsigned times = 0; times < HITS_COUNTED; times++)
        for (uint32_t i = 0; i < b->blocks; i++)
            (void)is_hit(b, b->order[i]);
    if (b->blocks < wanted / 2)
        bench_fail("pool", "most of what was stored is not there");
    bench_shuffle(b->order, b->blocks);
    for (uint32_t i = 0; i < b->blocks; i++) {
        cm_iovec iov;
        cm_pins pins;
        int count;
        bench_must(cm_pin_range(b->file, b->order[i] * (uint64_t)BENCH_BLOCK, BENCH_BLOCK, &iov, 1,
                                &count, &pins, NULL),
                   "cm_pin_range");
        b->where[i] = iov.base;
        bench_must(cm_unpin(&pins), "cm_unpin");
    }
}

static void close_pool(struct bench *b)
{
    if (b->cache)
        bench_must(cm_close(b->cache), "cm_close");
    b->cache = NULL;
    b->state = BENCH_NOTHING;
}

static void make_buffers(struct bench *b)
{
    b->buffer = os_alloc_pages(BENCH_BUFFER);
    b->data = os_alloc_pages(BENCH_BUFFER);
    if (!b->buffer || !b->data)
        bench_fail("memory", "there is not enough");
    memset(b->buffer, 0, BENCH_BUFFER);
    for (size_t i = 0; i < BENCH_BUFFER; i += 8) {
        uint64_t w = bench_random();
        memcpy(b->data + i, &w, 8);
    }
}

static void make_pool_file(struct bench *b)
{
    const char *path = bench_path(b, "pool");
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    int error;

    o.size = b->bytes;
    error = cm_create(path, &o);
    if (error) {
        bench_stop_if_asked();
        (void)tool_pool_error(path, error, TOOL_CREATING);
        bench_remove_all();
        exit(TOOL_FAILED);
    }
    b->base = bench_map(path, b->bytes, false);
    bench_remove(path);
}

static void make_fresh(struct bench *b)
{
    cm_options o = CM_OPTIONS_INIT;
    /* Only the pool is measured. So no buffer holds blocks, and no rule refuses blocks that come in
     * random order and are never wanted again. */
    o.probation_bytes = CM_PROBATION_NONE;
    o.policy = CM_POLICY_S3R;
    uint32_t wanted;

    if (!b->buffer)
        make_buffers(b);
    close_pool(b);
    if (b->base)
        bench_must(cm_format_memory(b->base, b->bytes, NULL), "cm_format_memory");
    else
        make_pool_file(b);
    o.memory_durability = CM_DURABILITY_DAX;
    bench_must(cm_open_memory(b->base, b->bytes, &o, &b->cache), "cm_open_memory");
    b->info = (cm_info){ .struct_size = sizeof(b->info) };
    bench_must(cm_get_info(b->cache, &b->info), "cm_get_info");
    if (!bench_chain_make(b))
        bench_fail("pool", "its superblock cannot be read");
    b->file = bench_open_file(b->cache, 1);
    b->endless = bench_open_file(b->cache, 2);
    wanted = (uint32_t)(b->info.slots / BENCH_GROUP * BENCH_GROUP);
    if (!b->order) {
        b->order = bench_alloc(wanted * sizeof(*b->order));
        b->where = bench_alloc(wanted * sizeof(*b->where));
    }
    bench_fill_range(b, b->file, 0, wanted, "filling the pool");
    learn_order(b, wanted);
    b->at = 0;
    b->span = b->blocks;
    b->state = BENCH_FRESH;
}

/* Goes around until every count of use is that of a block that was stored and not read. */
static void churn(struct bench *b)
{
    const uint64_t fills = b->info.slots * (HITS_COUNTED + 2);
    bench_fill_range(b, b->endless, b->next_block, b->next_block + fills, "filling it anew");
    b->next_block += fills;
    b->state = BENCH_CHURNED;
}

/* ---- The rivals' file ---------------------------------------------------------------------- */

static void make_scratch(struct bench *b)
{
    const char *path = bench_path(b, "scratch");
    int error;

    b->scratch = bench_map(path, b->bytes, true);
    error = os_open_file(path, &b->scratch_file);
    if (error)
        bench_fail(path, os_error_text(error));
    bench_remove(path);
    for (uint64_t at = 0; at < b->bytes; at += BENCH_BUFFER) {
        memcpy(b->scratch + at, b->data,
               b->bytes - at < BENCH_BUFFER ? b->bytes - at : BENCH_BUFFER);
        bench_stop_if_asked();
    }
}

/* Reads a byte of every page of the pool and of the rivals' file. */
static void touch_pages(struct bench *b)
{
    for (uint64_t at = 0; at < b->bytes; at += BENCH_BLOCK) {
        (void)*(volatile const uint8_t *)(b->base + at);
        if (b->scratch)
            (void)*(volatile const uint8_t *)(b->scratch + at);
    }
}

void bench_settle(struct bench *b, bench_op op, unsigned n)
{
    uint64_t before = UINT64_MAX, took = UINT64_MAX;

    for (unsigned pass = 0; pass < SETTLE_MOST && (pass < 2 || took < before - before / 8);
         pass++) {
        const uint64_t began = os_thread_time();
        before = took;
        if (b->base)
            touch_pages(b);
        if (op)
            op(b, n);
        took = os_thread_time() - began;
        bench_stop_if_asked();
    }
}

bool bench_prepare(struct bench *b, unsigned needs, char why_not[96])
{
    why_not[0] = '\0';
    if (needs & BENCH_NEEDS_THREADS && (b->threads < 2 || b->processors < 2)) {
        (void)snprintf(why_not, 96, "there is one processor, or --threads 1");
        return false;
    }
    if (needs & BENCH_NEEDS_ROOM)
        bench_release(b);
    if (!b->buffer)
        make_buffers(b);
    if (needs & BENCH_NEEDS_LMDB && !bench_lmdb_version()) {
        (void)snprintf(why_not, 96, "built without LMDB");
        return false;
    }
    if (needs & BENCH_NEEDS_SQLITE && !bench_sqlite_version()) {
        (void)snprintf(why_not, 96, "built without SQLite");
        return false;
    }
    if (needs & BENCH_NEEDS_SQLITE)
        bench_lmdb_drop(b);
    if (needs & BENCH_NEEDS_FRESH && b->state != BENCH_FRESH)
        make_fresh(b);
    if (needs & BENCH_NEEDS_CHURNED && b->state == BENCH_NOTHING)
        make_fresh(b);
    if (needs & BENCH_NEEDS_CHURNED && b->state != BENCH_CHURNED)
        churn(b);
    if (needs & BENCH_NEEDS_FLUSH && !b->plain->flushes) {
        (void)snprintf(why_not, 96, "this build has no instruction that writes a line back");
        return false;
    }
    if (needs & BENCH_NEEDS_SCRATCH && !b->scratch) {
        make_scratch(b);
        bench_settle(b, NULL, 0);
    }
    return !(needs & BENCH_NEEDS_LMDB) || b->lmdb || bench_lmdb_make(b, why_not);
}

void bench_release(struct bench *b)
{
    close_pool(b);
    bench_lmdb_drop(b);
    if (b->scratch)
        os_close_file(b->scratch_file);
    bench_remove_all();
    b->base = b->scratch = NULL;
    free(b->order);
    free(b->where);
    b->order = NULL;
    b->where = NULL;
    os_free_pages(b->buffer);
    os_free_pages(b->data);
    b->buffer = b->data = NULL;
}
