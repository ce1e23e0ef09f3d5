/* SPDX-License-Identifier: BSD-2-Clause
 *
 * run.c - takes the records of a trace through the library, like a front end.
 *
 * A read record is looked up with cm_read. For each absent run the content is generated and offered
 * with cm_fill. So each block is looked up once, in the order of the trace, and counted once. A
 * write record is a bracket. The threads take records in order: each takes the next record that no
 * thread has.
 *
 * The content follows from the file, the block and how often the block was written. Every byte of a
 * hit is compared with it. Beside writers a hit may have the version from before or after the
 * write: the count is read before the lookup and after it, and the hit's version must be between
 * these. The library promises the same. The count is raised inside the bracket, so a reader that
 * reads the new count before its lookup cannot get the old content any more.
 *
 *
 * Who: cmd_replay.c.
 */
#include "tool/replay/replay.h"

#include "platform/atomic.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)CM_BLOCK_SIZE)
#define WORDS (BLOCK / sizeof(uint64_t))
#define PIECE 256u     /* blocks of one lookup */
#define BATCH 1024u    /* records between two checks for a request to end */
#define VOLUME 0x4c43u /* volume in the ids: any number except 0 */

struct run {
    struct replay_pool *pool;
    const struct trace *trace;
    cm_file **file;
    uint64_t *change;  /* of each file's validator; atomic */
    uint32_t *version; /* of each block: how often it was written; atomic */
    uint8_t *buffer;   /* PIECE blocks for each thread */
    uint64_t next;     /* record; atomic */
    uint64_t end;
    uint64_t reads, hits; /* atomic */
    uint32_t status;      /* atomic; status of the first error */
    struct tool_progress progress;
};

static int failed(const struct run *u, const struct trace_record *r, int64_t code, const char *what)
{
    tool_message(NULL, "%s of file %" PRIu32 " at block %" PRIu64 ": %s (%s)", what,
                 u->trace->file_id[r->file], r->first, cm_strerror((int)code),
                 cm_errname((int)code));
    return TOOL_FAILED;
}

/* ---- Content ------------------------------------------------------------------------------- */

static uint64_t content(uint32_t file, uint64_t block, uint32_t version)
{
    uint64_t x = block ^ (uint64_t)file << 32 ^ (uint64_t)version << 52 ^ version;

    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

static void make_block(uint8_t *data, uint64_t first)
{
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t word = first + i;
        memcpy(data + i * sizeof(word), &word, sizeof(word));
    }
}

static bool is_block(const uint8_t *data, uint64_t first)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < WORDS; i++) {
        uint64_t word;
        memcpy(&word, data + i * sizeof(word), sizeof(word));
        wrong |= word ^ (first + i);
    }
    return wrong == 0;
}

/* Is a hit of a version from `before` to the present one? */
static bool is_right(const struct run *u, const struct trace_record *r, uint32_t k,
                     const uint8_t *data, uint32_t before)
{
    uint32_t version = at_load_acquire(&u->version[u->trace->touch[r->touch + k]]);

    for (;; version--) {
        if (is_block(data, content(r->file, r->first + k, version)))
            return true;
        if (version == before)
            return false;
    }
}

/* ---- A record ------------------------------------------------------------------------------ */

/* Fills the absent run: blocks from + 0 .. of the record. */
static int fill(struct run *u, const struct trace_record *r, uint32_t from, const cm_miss *miss,
                uint8_t *buffer)
{
    const uint32_t n = (uint32_t)(miss->len / BLOCK);
    int rc;

    if (miss->flags & CM_MISS_NOFILL)
        return TOOL_OK;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t number = u->trace->touch[r->touch + from + k];
        make_block(buffer + k * BLOCK,
                   content(r->file, r->first + from + k, at_load_acquire(&u->version[number])));
    }
    rc = cm_fill(u->file[r->file], miss, buffer, n * BLOCK, 0);
    return rc >= 0 ? TOOL_OK : failed(u, r, rc, "cm_fill");
}

/* Looks up n blocks of a record and fills the first absent run. *done: blocks that are finished. */
static int read_piece(struct run *u, const struct trace_record *r, uint32_t from, uint32_t n,
                      uint8_t *buffer, uint32_t *done, uint64_t *hits)
{
    uint32_t before[PIECE], here;
    cm_miss miss;
    int64_t got;

    for (uint32_t k = 0; k < n; k++)
        before[k] = at_load_acquire(&u->version[u->trace->touch[r->touch + from + k]]);
    got = cm_read(u->file[r->file], (r->first + from) * BLOCK, buffer, n * BLOCK, &miss);
    if (got < 0)
        return failed(u, r, got, "cm_read");
    here = (uint32_t)((size_t)got / BLOCK);
    assert(here <= n);
    for (uint32_t k = 0; k < here; k++) {
        if (is_right(u, r, from + k, buffer + k * BLOCK, before[k]))
            continue;
        tool_message(NULL, "WRONG CONTENT in a hit: block %" PRIu64 " of file %" PRIu32,
                     r->first + from + k, u->trace->file_id[r->file]);
        return TOOL_DAMAGE;
    }
    *hits += here;
    *done = here;
    if (here == n)
        return TOOL_OK;
    if (miss.offset != (r->first + from + here) * BLOCK || miss.len < BLOCK ||
        miss.len > (n - here) * BLOCK)
        return failed(u, r, CM_EINVAL, "the miss");
    *done += (uint32_t)(miss.len / BLOCK);
    return fill(u, r, from + here, &miss, buffer);
}

static int read_record(struct run *u, const struct trace_record *r, uint8_t *buffer, uint64_t *hits)
{
    int status = TOOL_OK;

    for (uint32_t at = 0, done; at < r->blocks && status == TOOL_OK; at += done) {
        uint32_t n = r->blocks - at < PIECE ? r->blocks - at : PIECE;
        done = 0;
        status = read_piece(u, r, at, n, buffer, &done, hits);
    }
    return status;
}

static cm_validator validator_of(const struct run *u, uint32_t file)
{
    const uint64_t change = at_load_acquire(&u->change[file]);
    cm_validator v = CM_VALIDATOR_INIT;

    cm_validator_set_proof(&v, &change, sizeof(change));
    v.size = u->trace->file_end[file] * BLOCK;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    return v;
}

static int write_record(struct run *u, const struct trace_record *r)
{
    cm_file *f = u->file[r->file];
    cm_validator after;
    cm_bracket w;
    int rc = cm_write_begin(f, r->first * BLOCK, r->blocks * BLOCK, &w);

    if (rc)
        return failed(u, r, rc, "cm_write_begin");
    for (uint32_t k = 0; k < r->blocks; k++)
        (void)at_add_acq_rel(&u->version[u->trace->touch[r->touch + k]], 1u);
    (void)at_add_acq_rel(&u->change[r->file], 1u);
    after = validator_of(u, r->file);
    rc = cm_write_end(f, &w, &after);
    if (rc == CM_WANT_VALIDATOR) {
        after = validator_of(u, r->file);
        rc = cm_file_revalidate(f, &after);
    }
    return rc >= 0 ? TOOL_OK : failed(u, r, rc, "cm_write_end");
}

/* ---- All records --------------------------------------------------------------------------- */

static void work(void *ctx, unsigned i)
{
    struct run *u = ctx;
    uint8_t *buffer = u->buffer + i * PIECE * BLOCK;
    uint64_t reads = 0, hits = 0, n;
    int status = TOOL_OK;

    while (status == TOOL_OK && (n = at_add_relaxed(&u->next, 1u)) < u->end) {
        const struct trace_record *r = &u->trace->record[n];
        if (n % BATCH == 0) {
            if (progress_step(&u->progress, n, u->trace->records) ||
                at_load_relaxed(&u->status) != TOOL_OK)
                break;
        }
        if (r->write) {
            status = write_record(u, r);
        } else {
            reads += r->blocks;
            status = read_record(u, r, buffer, &hits);
        }
    }
    if (status != TOOL_OK)
        at_store_relaxed(&u->status, (uint32_t)status);
    (void)at_add_relaxed(&u->reads, reads);
    (void)at_add_relaxed(&u->hits, hits);
}

static int attach(struct run *u)
{
    for (uint32_t i = 0; i < u->trace->files; i++) {
        cm_file_id id = { VOLUME, (uint64_t)u->trace->file_id[i] + 1 };
        cm_validator v = validator_of(u, i);
        int rc = cm_file_open(u->pool->cache, &id, &v, CM_SOLE_WRITER, &u->file[i]);
        if (rc)
            return tool_pool_error("attaching a file", rc, TOOL_OPENING);
    }
    return TOOL_OK;
}

/* Goes through the records up to `end` and adds the stored blocks to the result. */
static int run_until(struct run *u, uint64_t end, struct replay_result *result)
{
    cm_stats_data stats = { .struct_size = sizeof(stats) };
    cm_info info = { .struct_size = sizeof(info) };
    uint64_t began = cm_now();
    int status, rc = 0;

    u->end = end;
    if (u->pool->replay->threads == 1)
        work(u, 0);
    else
        rc = os_run_threads(u->pool->replay->threads, work, u);
    u->next = end; /* every thread took one too many */
    result->seconds += (double)(cm_now() - began) / 1e9;
    if (rc) {
        tool_message(NULL, "cannot start a thread: %s", os_error_text(rc));
        return TOOL_FAILED;
    }
    status = (int)u->status;
    if (status != TOOL_OK || os_interrupted())
        return status;
    rc = cm_stats(u->pool->cache, &stats);
    if (rc)
        return tool_pool_error("statistics", rc, TOOL_OPENING);
    result->fills += stats.fill_blocks;
    result->missed_twice += stats.refused_present;
    memcpy(result->curve, stats.curve_hits, sizeof(result->curve));
    result->probation_hits += stats.probation_hits;
    rc = cm_get_info(u->pool->cache, &info);
    if (rc)
        return tool_pool_error("information", rc, TOOL_OPENING);
    result->first_fills = info.used_slots < result->fills ? info.used_slots : result->fills;
    return TOOL_OK;
}

/* Does the restart at the split. */
static int restart(struct run *u, struct replay_result *result)
{
    int status;

    if (u->pool->replay->restart == REPLAY_GO_ON) {
        result->fills = 0; /* the same session goes on and counts them again */
        return TOOL_OK;
    }
    status = replay_pool_restart(u->pool);
    if (u->pool->replay->restart == REPLAY_GROW) {
        result->fills = 0; /* as above */
        return status;
    }
    return status == TOOL_OK ? attach(u) : status;
}

static int run_all(struct run *u, struct replay_result *result)
{
    const struct replay *r = u->pool->replay;
    int status = replay_pool_make(u->pool);

    if (status == TOOL_OK)
        status = attach(u);
    if (status == TOOL_OK)
        status = run_until(u, r->split, result);
    if (status == TOOL_OK && r->restart != REPLAY_WHOLE && !os_interrupted()) {
        result->counts.reads_after = u->reads;
        result->counts.hits_after = u->hits;
        status = restart(u, result);
        if (status == TOOL_OK)
            status = run_until(u, r->trace->records, result);
        result->counts.reads_after = u->reads - result->counts.reads_after;
        result->counts.hits_after = u->hits - result->counts.hits_after;
    }
    result->counts.reads = u->reads;
    result->counts.hits = u->hits;
    return status;
}

int replay_library(struct replay_pool *p, struct replay_result *result)
{
    const struct trace *t = p->replay->trace;
    struct run u = { .pool = p, .trace = t };
    int status = TOOL_FAILED;

    memset(result, 0, sizeof(*result));
    u.file = calloc(t->files, sizeof(cm_file *));
    u.change = calloc(t->files, sizeof(*u.change));
    u.version = calloc(t->numbers, sizeof(*u.version));
    u.buffer = os_alloc_pages((size_t)p->replay->threads * PIECE * BLOCK);
    if (u.file && u.change && u.version && u.buffer) {
        progress_begin(&u.progress, "replay", 0, p->replay->quiet || p->replay->threads > 1);
        status = run_all(&u, result);
        progress_end(&u.progress);
    } else {
        tool_message(NULL, "out of memory");
    }
    replay_pool_drop(p);
    free(u.file);
    free(u.change);
    free(u.version);
    os_free_pages(u.buffer);
    return status;
}
