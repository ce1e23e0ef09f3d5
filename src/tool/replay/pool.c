/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool.c - the pool of a replay: its size, and how it is closed and opened again.
 *
 * Owns the pool's memory or its file. A pool in memory is opened with cm_open_memory, one in a
 * directory like any other pool. A crash leaves what a process leaves that is killed between two
 * calls: the bytes of the open pool, which another process opens. Here those bytes are copied, the
 * copy is opened, and only then is the old pool closed and dropped.
 *
 *
 * Who: cmd_replay.c, run.c.
 */
#include "tool/replay/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((uint64_t)CM_BLOCK_SIZE)
#define RECORDS_PER_FILE 8u
#define PLAN_TRIES 64 /* more than the halvings of any range */

static const char *name_of(const struct replay_pool *p)
{
    return p->path[0] ? p->path : "pool in memory";
}

static int no_memory(uint64_t bytes)
{
    char text[TOOL_NUMBER_MAX];

    tool_message(NULL,
                 "not enough memory for a pool of %s; choose a smaller --size, or a directory on a "
                 "volume with room: --dir DIR",
                 tool_bytes(text, bytes));
    return TOOL_FAILED;
}

/* ---- How large ----------------------------------------------------------------------------- */

/* Slots of a pool of p->bytes; 0: there is no such pool, or it has no room for so many files. */
static int count_slots(struct replay_pool *p, uint64_t *slots)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    cm_info info = { .struct_size = sizeof(info) };
    cm_cache *cache;
    void *base = p->bytes <= SIZE_MAX ? os_alloc_pages((size_t)p->bytes) : NULL;
    int rc;

    if (!base)
        return no_memory(p->bytes);
    *slots = 0;
    o.max_files = p->max_files;
    rc = cm_format_memory(base, p->bytes, &o);
    if (rc == 0)
        rc = cm_open_memory(base, p->bytes, NULL, &cache);
    if (rc == 0) {
        rc = cm_get_info(cache, &info);
        (void)cm_close(cache);
        *slots = info.slots;
    } else if (rc == CM_EINVAL || rc == CM_EPOOLSIZE) {
        rc = 0;
    }
    os_free_pages(base);
    return rc == 0 ? TOOL_OK : tool_pool_error(name_of(p), rc, TOOL_CREATING);
}

/* The pool has a quarter of its size at first. */
static void begin_small(struct replay_pool *p)
{
    p->grown = p->bytes;
    p->bytes = p->grown / 4 / BLOCK * BLOCK;
    if (p->bytes < cm_pool_size_min())
        p->bytes = cm_pool_size_min();
    if (p->max_files > p->bytes / BLOCK / 2)
        p->max_files = p->bytes / BLOCK / 2;
}

int replay_pool_plan(struct replay_pool *p, const struct replay *r, uint64_t wanted)
{
    uint64_t low, high = 0, slots, good = 0; /* low: too small; high, 0 for unknown: large enough */
    const uint64_t files = r->trace->files;
    struct os_machine machine;

    memset(p, 0, sizeof(*p));
    p->replay = r;
    p->log = (struct tool_log){ .max_level = CM_LOG_WARNING };
    if (wanted > cm_pool_size_max() / BLOCK / 2) {
        tool_message(NULL, "--size: %" PRIu64 " blocks are more than a pool can hold", wanted);
        return TOOL_USAGE;
    }
    os_describe_machine(&machine);
    if (wanted * BLOCK / 32 > machine.available) /* all other parts are smaller */
        return no_memory(wanted * BLOCK);
    /* By default there is one file record for 16 slots. After a restart every file of the trace
     * shall have a record. So there are enough records that no bucket of the table overflows. */
    if (files * RECORDS_PER_FILE > wanted / 16)
        p->max_files = files * RECORDS_PER_FILE < wanted ? files * RECORDS_PER_FILE : wanted;
    low = wanted * BLOCK < cm_pool_size_min() ? cm_pool_size_min() - BLOCK : wanted * BLOCK - BLOCK;
    p->bytes = low + BLOCK;
    for (int i = 0; i < PLAN_TRIES && (high == 0 || high - low > BLOCK); i++) {
        int status = count_slots(p, &slots);
        if (status != TOOL_OK)
            return status;
        if (slots >= wanted && slots > 0) {
            high = p->bytes;
            good = slots;
            p->bytes -= BLOCK; /* mostly this size is the first with so many slots */
        } else {
            low = p->bytes;
            p->bytes += (wanted > slots ? wanted - slots : 1) * BLOCK;
        }
        if (high != 0 && (p->bytes <= low || p->bytes >= high))
            p->bytes = low + (high - low) / 2 / BLOCK * BLOCK;
    }
    p->bytes = high;
    p->slots = good;
    if (r->restart == REPLAY_GROW)
        begin_small(p);
    return TOOL_OK;
}

/* The pool is filled page by page, at most with every block of the trace. The slots are those that
 * it has in the end. */
static int check_memory(const struct replay_pool *p)
{
    const uint64_t blocks = p->replay->trace->numbers, bytes = p->grown ? p->grown : p->bytes;
    uint64_t need = bytes - p->slots * BLOCK + (blocks < p->slots ? blocks : p->slots) * BLOCK;
    struct os_machine machine;

    os_describe_machine(&machine);
    if (p->replay->restart == REPLAY_CRASH)
        need += p->bytes;
    return p->replay->dir || need < machine.available ? TOOL_OK : no_memory(need);
}

/* ---- In memory ----------------------------------------------------------------------------- */

static cm_options options_of(struct replay_pool *p)
{
    cm_options o = p->replay->options;

    p->log.pool = name_of(p);
    o.log = tool_log_line;
    o.log_ctx = &p->log;
    o.grow_max = p->grown;
    return o;
}

static int open_memory(struct replay_pool *p, void *base)
{
    cm_options o = options_of(p);
    int rc = cm_open_memory(base, p->bytes, &o, &p->cache);

    return rc == 0 ? TOOL_OK : tool_pool_error(name_of(p), rc, TOOL_OPENING);
}

static int make_memory(struct replay_pool *p)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    int rc;

    o.max_files = p->max_files;
    p->base = os_alloc_pages((size_t)(p->grown ? p->grown : p->bytes));
    if (!p->base)
        return no_memory(p->grown ? p->grown : p->bytes);
    rc = cm_format_memory(p->base, p->bytes, &o);
    if (rc)
        return tool_pool_error(name_of(p), rc, TOOL_CREATING);
    return open_memory(p, p->base);
}

static int crash_memory(struct replay_pool *p)
{
    void *copy = os_alloc_pages((size_t)p->bytes), *old = p->base;
    cm_cache *dead = p->cache;
    int status;

    if (!copy)
        return no_memory(2 * p->bytes);
    memcpy(copy, old, (size_t)p->bytes);
    p->base = copy;
    p->cache = NULL;
    status = open_memory(p, copy);
    (void)cm_close(dead);
    os_free_pages(old);
    return status;
}

/* ---- In a directory ------------------------------------------------------------------------ */

static void name_file(struct replay_pool *p)
{
    static unsigned serial;

    (void)snprintf(p->path, sizeof(p->path), "%s/cachemax-replay-%" PRIx64 "-%u", p->replay->dir,
                   cm_now(), serial++);
}

static int open_file(struct replay_pool *p)
{
    cm_options o = options_of(p);
    int rc = cm_open(p->path, &o, &p->cache);

    return rc == 0 ? TOOL_OK : tool_pool_error(p->path, rc, TOOL_OPENING);
}

static int make_file(struct replay_pool *p)
{
    cm_create_options o = CM_CREATE_OPTIONS_INIT;
    int rc;

    name_file(p);
    o.size = p->bytes;
    o.max_files = p->max_files;
    rc = cm_create(p->path, &o);
    if (rc) {
        int status = tool_pool_error(p->path, rc, TOOL_CREATING);
        p->path[0] = '\0';
        return status;
    }
    return open_file(p);
}

/* Makes a file with the same bytes; `to` must not exist. */
static int copy_file(const char *from, const char *to, uint64_t bytes)
{
    void *base = NULL;
    intptr_t file;
    int error = os_open_file(from, &file);

    if (error) {
        tool_message(from, "%s", os_error_text(error));
        return TOOL_FAILED;
    }
    error = os_map_file(to, bytes, true, &base);
    if (error) {
        tool_message(to, "%s", os_error_text(error));
    } else if (os_read_at(file, 0, base, (size_t)bytes, &error) != (int64_t)bytes) {
        tool_message(from, "cannot be copied: %s",
                     error ? os_error_text(error) : "it is too short");
        error = -1;
    }
    if (base)
        os_unmap(base, bytes);
    os_close_file(file);
    return error ? TOOL_FAILED : TOOL_OK;
}

static int crash_file(struct replay_pool *p)
{
    char old[sizeof(p->path)];
    cm_cache *dead = p->cache;
    int status;

    memcpy(old, p->path, sizeof(old));
    name_file(p);
    p->cache = NULL;
    status = copy_file(old, p->path, p->bytes);
    if (status == TOOL_OK)
        status = open_file(p);
    (void)cm_close(dead);
    (void)os_remove_file(old);
    return status;
}

/* ---- Both ---------------------------------------------------------------------------------- */

int replay_pool_make(struct replay_pool *p)
{
    int status = check_memory(p);

    if (status != TOOL_OK)
        return status;
    return p->replay->dir ? make_file(p) : make_memory(p);
}

void replay_pool_drop(struct replay_pool *p)
{
    if (p->cache)
        (void)cm_close(p->cache);
    p->cache = NULL;
    os_free_pages(p->base);
    p->base = NULL;
    if (p->path[0])
        (void)os_remove_file(p->path);
    p->path[0] = '\0';
}

static int close_and_open(struct replay_pool *p)
{
    int rc = cm_close(p->cache);

    p->cache = NULL;
    if (rc)
        return tool_pool_error(name_of(p), rc, TOOL_OPENING);
    return p->replay->dir ? open_file(p) : open_memory(p, p->base);
}

int replay_pool_restart(struct replay_pool *p)
{
    int rc;

    switch (p->replay->restart) {
    case REPLAY_CLEAN:
        return close_and_open(p);
    case REPLAY_CRASH:
        return p->replay->dir ? crash_file(p) : crash_memory(p);
    case REPLAY_COLD:
        replay_pool_drop(p);
        return replay_pool_make(p);
    case REPLAY_GROW:
        rc = cm_grow(p->cache, p->grown, NULL);
        return rc == 0 ? TOOL_OK : tool_pool_error(name_of(p), rc, TOOL_CREATING);
    case REPLAY_WHOLE:
    case REPLAY_GO_ON:
    default:
        return TOOL_OK;
    }
}
