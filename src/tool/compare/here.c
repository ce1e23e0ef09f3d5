/* SPDX-License-Identifier: BSD-2-Clause
 *
 * here.c - "cachemax compare" where there is no mount: the command reads through the library
 * itself.
 *
 * Owns the two places and the pool. A file of random bytes is on each volume. It is read without
 * the system's cache: from the slow volume, from the fast one, and from the slow one through a new
 * pool on the fast one (cold), then warmed and read again (warm). They take turns. What was made is
 * removed at the end, also after Ctrl-C or an error.
 *
 * Who: cmd_compare.c, on Windows.
 */
#include "tool/compare/compare.h"
#include "tool/os.h"

#include <stdlib.h>
#include <string.h>

#define JOBS 4u
#define LARGE ((size_t)128 << 10)
#define PAGE 4096u
#define POOL_MORE (UINT64_C(16) << 20)

struct run {
    struct compare_place slow, fast;
    struct compare_result result;
    intptr_t slow_file, fast_file; /* -1: not open */
    cm_cache *cache;
    cm_file *file;
    struct tool_log log;
};

/* ---- Reads --------------------------------------------------------------------------------- */

static int read_file(void *ctx, uint64_t off, void *buf, size_t len)
{
    const intptr_t *file = ctx;
    int error;

    return os_read_at(*file, off, buf, len, &error) == (int64_t)len ? 0 : CM_EIO;
}

/* The library's own memory may begin anywhere, and the system reads to pages only. */
static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct run *r = ctx;
    const bool fits = (uintptr_t)buf % PAGE == 0 && len % PAGE == 0;
    const size_t room = (len + PAGE - 1) / PAGE * PAGE;
    void *pages = fits ? buf : os_alloc_pages(room);
    int64_t n = CM_ENOMEM;
    int error;

    if (pages) {
        n = os_read_at(r->slow_file, off, pages, room, &error);
        n = n < 0 ? CM_EIO : n < (int64_t)len ? n : (int64_t)len;
        if (!fits && n > 0)
            memcpy(buf, pages, (size_t)n);
    }
    if (!fits)
        os_free_pages(pages);
    return n;
}

static int read_cached(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct run *r = ctx;
    const int64_t n = cm_read_through(r->file, off, buf, len, read_origin, r);

    return n == (int64_t)len ? 0 : n < 0 ? (int)n : CM_EIO;
}

/* ---- The pool ------------------------------------------------------------------------------ */

static int close_pool(struct run *r)
{
    int rc = 0;

    if (r->file)
        (void)cm_file_close(r->file);
    if (r->cache)
        rc = cm_close(r->cache);
    r->file = NULL;
    r->cache = NULL;
    return rc;
}

/* A new pool, with nothing in it. */
static int new_pool(struct run *r)
{
    cm_create_options create = CM_CREATE_OPTIONS_INIT;
    cm_options options = CM_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    cm_file_id id = { 1, 1 };
    cm_validator v = CM_VALIDATOR_INIT;
    int rc;

    (void)close_pool(r);
    (void)os_remove_file(r->fast.pool);
    create.size = r->result.pool_bytes;
    rc = cm_create(r->fast.pool, &create);
    if (rc != 0)
        return tool_pool_error(r->fast.pool, rc, TOOL_CREATING);
    cm_validator_set_proof(&v, "1", 1);
    v.size = r->result.bytes;
    v.changed_ns = CM_CHANGED_LONG_AGO;
    v.taken_at = cm_now();
    rc = tool_open(&r->log, &options, &r->cache);
    if (rc == 0)
        rc = cm_file_open(r->cache, &id, &v, CM_SOLE_WRITER, &r->file);
    if (rc < 0)
        return tool_pool_error(r->fast.pool, rc, TOOL_OPENING);
    r->result.mapped = cm_get_info(r->cache, &info) != 0 || info.durability != CM_DURABILITY_DAX;
    return TOOL_OK;
}

/* ---- Measuring ----------------------------------------------------------------------------- */

static int measure(struct run *r, unsigned work, unsigned where, unsigned round)
{
    struct compare_job job = { .bytes = r->result.bytes, .seconds = r->result.seconds };
    int rc;

    job.read = where == WHERE_ORIGIN || where == WHERE_FAST ? read_file : read_cached;
    job.ctx = where == WHERE_ORIGIN ? (void *)&r->slow_file
              : where == WHERE_FAST ? (void *)&r->fast_file
                                    : (void *)r;
    job.random = work == WORK_RANDOM;
    job.block = job.random ? PAGE : LARGE;
    job.threads = job.random ? JOBS : 1;
    job.once = where == WHERE_COLD;
    rc = compare_measure(&job, &r->result.figures[work][where][round]);
    if (rc != 0 && !os_interrupted()) {
        tool_message(where == WHERE_FAST ? r->fast.data : r->slow.data, "cannot be read: %s",
                     cm_strerror(rc));
        return TOOL_FAILED;
    }
    return os_interrupted() ? TOOL_FAILED : TOOL_OK;
}

static int measure_cache(struct run *r, unsigned work, unsigned round)
{
    const cm_warm_options options = CM_WARM_OPTIONS_INIT;
    cm_stats_data before = { .struct_size = sizeof(before) }, after = before;
    uint64_t hits, all;
    int rc = new_pool(r);

    if (rc == TOOL_OK)
        rc = measure(r, work, WHERE_COLD, round);
    if (rc != TOOL_OK)
        return rc;
    rc = cm_warm(r->file, 0, r->result.bytes, &options, read_origin, r, NULL);
    if (rc < 0) {
        tool_message(r->slow.data, "cannot be brought into the pool: %s", cm_strerror(rc));
        return TOOL_FAILED;
    }
    (void)cm_stats(r->cache, &before);
    rc = measure(r, work, WHERE_WARM, round);
    (void)cm_stats(r->cache, &after);
    hits = after.hit_blocks - before.hit_blocks;
    all = hits + after.miss_blocks - before.miss_blocks;
    if (all > 0 && 100.0 * (double)hits / (double)all < r->result.hit_percent)
        r->result.hit_percent = 100.0 * (double)hits / (double)all;
    return rc;
}

static int measure_all(struct run *r)
{
    int rc = TOOL_OK;

    for (unsigned i = 0; i < r->result.rounds; i++) {
        for (unsigned w = 0; w < WORKS; w++) {
            if (os_is_terminal(2))
                tool_message(NULL, "round %u of %u: %s", i + 1, r->result.rounds,
                             compare_titles[w]);
            for (unsigned turn = 0; rc == TOOL_OK && turn < 3; turn++) {
                const unsigned what = (turn + w + i) % 3;

                rc = what == 2 ? measure_cache(r, w, i)
                               : measure(r, w, what ? WHERE_FAST : WHERE_ORIGIN, i);
            }
        }
    }
    return rc;
}

/* ---- Begin and end ------------------------------------------------------------------------- */

static int check_space(const char *parent, uint64_t needed, char type[24])
{
    struct os_volume v;
    char text[TOOL_NUMBER_MAX];

    if (!os_volume(parent, &v))
        return TOOL_OK; /* then the writes will tell */
    (void)snprintf(type, 24, "%s", v.type);
    if (v.free >= needed)
        return TOOL_OK;
    tool_message(parent, "there is less room than this needs: %s; a smaller --size needs less",
                 tool_bytes(text, needed));
    return TOOL_FAILED;
}

static int open_direct(const char *path, intptr_t *file)
{
    const int error = os_open_direct(path, file);

    if (error == 0)
        return TOOL_OK;
    *file = -1;
    tool_message(path, "cannot be opened: %s", os_error_text(error));
    return TOOL_FAILED;
}

static int begin(struct run *r, const struct tool_args *args)
{
    struct compare_result *q = &r->result;
    int rc = place_begin(&r->slow, args->value[COMPARE_ORIGIN]);

    if (rc == TOOL_OK)
        rc = place_begin(&r->fast, args->value[COMPARE_POOL_VOLUME]);
    if (rc == TOOL_OK)
        rc = check_space(r->slow.parent, q->bytes, q->origin_type);
    if (rc == TOOL_OK)
        rc = check_space(r->fast.parent, q->bytes + q->pool_bytes, q->pool_type);
    if (rc == TOOL_OK && os_is_terminal(2))
        tool_message(NULL, "writing the test files");
    if (rc == TOOL_OK)
        rc = place_write(&r->slow, q->bytes);
    if (rc == TOOL_OK)
        rc = place_write(&r->fast, q->bytes);
    if (rc == TOOL_OK)
        rc = open_direct(r->slow.data, &r->slow_file);
    if (rc == TOOL_OK)
        rc = open_direct(r->fast.data, &r->fast_file);
    return rc;
}

static void end(struct run *r)
{
    (void)close_pool(r);
    if (r->slow_file != -1)
        os_close_file(r->slow_file);
    if (r->fast_file != -1)
        os_close_file(r->fast_file);
    place_end(&r->fast);
    place_end(&r->slow);
}

static int print(const struct compare_result *q, const char *json)
{
    FILE *out;
    int error = 0;

    if (json) {
        (void)os_remove_file(json);
        error = os_make_file(json, &out);
        if (error != 0) {
            tool_message(json, "cannot be made: %s", os_error_text(error));
        } else {
            compare_json(q, out);
            error = ferror(out) != 0;
            error |= fclose(out) != 0;
            if (error)
                tool_message(json, "cannot be written");
        }
    }
    compare_table(q, stdout);
    return tool_end_output(error ? TOOL_FAILED : TOOL_OK);
}

static unsigned count(const char *text, unsigned otherwise)
{
    uint64_t n;

    return text && tool_parse_count(text, &n) == TOOL_SIZE_OK ? (unsigned)n : otherwise;
}

static int run(struct run *r, const struct tool_args *args)
{
    struct compare_result *q = &r->result;
    struct compare_figures *all = calloc((size_t)WORKS * WHERES * q->rounds, sizeof(*all));
    int rc = TOOL_FAILED;

    if (!all) {
        tool_message(NULL, "out of memory");
        return rc;
    }
    for (unsigned i = 0; i < WORKS * WHERES; i++)
        q->figures[i / WHERES][i % WHERES] = all + (size_t)i * q->rounds;
    os_catch_interrupts();
    rc = begin(r, args);
    if (rc == TOOL_OK)
        rc = measure_all(r);
    end(r);
    if (os_interrupted())
        os_end_interrupted();
    if (rc == TOOL_OK)
        rc = print(q, args->value[COMPARE_JSON]);
    free(all);
    return rc;
}

int compare_run(const struct tool_args *args, uint64_t size)
{
    struct run r = { .slow_file = -1, .fast_file = -1 };

    r.slow.held = r.fast.held = -1;
    if (args->value[COMPARE_CLEAN])
        return place_clean(&r.slow, args->value[COMPARE_CLEAN]);
    if (args->value[COMPARE_MOUNT] || args->value[COMPARE_SVG]) {
        tool_message(NULL, "there is no --%s on this system",
                     args->value[COMPARE_MOUNT] ? "mount" : "svg");
        return TOOL_USAGE;
    }
    r.result = (struct compare_result){ .origin = args->value[COMPARE_ORIGIN],
                                        .pool_volume = args->value[COMPARE_POOL_VOLUME],
                                        .bytes = size >> 20 << 20,
                                        .seconds = count(args->value[COMPARE_SECONDS], 5),
                                        .rounds = count(args->value[COMPARE_ROUNDS], 3),
                                        .hit_percent = 100 };
    r.result.pool_bytes = (r.result.bytes / 4 * 5 + POOL_MORE) >> 20 << 20;
    r.log.pool = r.fast.pool;
    r.log.max_level = CM_LOG_WARNING;
    return run(&r, args);
}
