/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_cat.c - "cachemax cat": prints a file through a pool, and so warms it.
 *
 * The smallest complete front end: identify the file, attach it, read through the cache, and prove
 * at the end that the file is still the one that was identified. If something goes wrong with the
 * pool, this command says so on standard error and reads the file directly. Only trouble with the
 * file or with standard output is an error. A signal, or a reader that went away, ends the loop, so
 * the pool is always closed.
 *
 * If a running mount has the pool, and the file lies on it, the mount reads through the pool.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/tool.h"
#include "tool/os.h"

#include <inttypes.h>
#include <string.h>

enum { CAT_POOL, CAT_VOLUME_ID, CAT_KEY, CAT_VERBOSE, CAT_OPTIONS };

static const struct tool_option cat_options[CAT_OPTIONS] = {
    [CAT_POOL] = { "pool", 'p', TOOL_NEEDS_ARG, "POOL", "pool to read through (required)" },
    [CAT_VOLUME_ID] = { "volume-id", 0, TOOL_NEEDS_ARG, "NAME",
                        "name of the volume FILE is on, as given to cachemax-mount" },
    [CAT_KEY] = { "key-file", 0, TOOL_NEEDS_ARG, "KEY", "the file with the key of a sealed pool" },
    [CAT_VERBOSE] = { "verbose", 'v', TOOL_NO_ARG, NULL,
                      "print a summary of hits, and why FILE stays cold, on standard error" },
};

#define CHUNK ((size_t)1 << 20)
/* Times that are too fresh prove nothing, because a second change could hide behind them: blocks
 * cached under such times would be cold next time. A moment later the times prove enough. */
#define RACY_WAIT_SECONDS 0.02
#define RACY_WAITS 5

struct cat {
    const char *path, *pool, *volume_id;
    const cm_seal *seal;
    bool keyless; /* the key that was named cannot be had */
    struct tool_log log;
    intptr_t fd;
    cm_cache *cache; /* NULL: read directly */
    bool mounted;    /* the file lies on the mount that has the pool */
    cm_file *file;
    cm_validator seen; /* the validator that the cache was given last */
    int origin_error;  /* an error number of the system, from the callback of the library */
    uint64_t bytes;
};

/* Ends the use of the pool; the file is then read without it. */
static void detach(struct cat *c)
{
    int rc;

    if (c->file)
        (void)cm_file_close(c->file);
    c->file = NULL;
    if (!c->cache)
        return;
    rc = cm_close(c->cache);
    c->cache = NULL;
    if (rc == CM_EIO)
        tool_message(c->pool, "could not be made durable; it will be empty when opened next");
    else if (rc != 0)
        (void)tool_pool_error(c->pool, rc, TOOL_OPENING);
}

static void go_direct(struct cat *c)
{
    detach(c);
    tool_message(c->path, "is read without the cache");
}

static int identify_once(const struct cat *c, cm_file_id *id, cm_validator *v)
{
    cm_identify_options options = CM_IDENTIFY_OPTIONS_INIT;

    options.volume_id = c->volume_id;
    *v = (cm_validator)CM_VALIDATOR_INIT;
    return cm_identify_with(c->fd, &options, id, v);
}

static int identify(struct cat *c, cm_file_id *id)
{
    int rc = identify_once(c, id, &c->seen);

    for (int i = 0; rc == 0 && c->seen.racy && i < RACY_WAITS && !os_interrupted(); i++) {
        os_sleep(RACY_WAIT_SECONDS);
        rc = identify_once(c, id, &c->seen);
    }
    return rc;
}

/* Tells the pool what the file is called, if the pool has room for that. Of a long path the end
 * says more. */
static void give_name(struct cat *c)
{
    const size_t n = strlen(c->path);
    char name[CM_FILE_NAME_MAX + 1];

    (void)snprintf(name, sizeof(name), "%s%s", n > CM_FILE_NAME_MAX ? "..." : "",
                   n > CM_FILE_NAME_MAX ? c->path + n - (CM_FILE_NAME_MAX - 3) : c->path);
    (void)cm_file_set_name(c->file, name);
}

static void attach(struct cat *c)
{
    cm_options options = CM_OPTIONS_INIT;
    cm_file_id id;
    int rc;

    if (c->keyless) {
        go_direct(c);
        return;
    }
    options.seal = c->seal;
    rc = tool_open(&c->log, &options, &c->cache);
    /* What the library says from here on is for programmers; print_coldness() is for people. */
    c->log.max_level = CM_LOG_WARNING;
    if (rc == 0) { /* open the pool first: an older validator proves nothing */
        rc = identify(c, &id);
        if (rc != 0) {
            tool_message(c->path, "not a file that can be cached (%s)", cm_strerror(rc));
            go_direct(c);
            return;
        }
        rc = cm_file_open(c->cache, &id, &c->seen, 0, &c->file);
    }
    if (rc >= 0) {
        give_name(c);
        rc = cm_file_advise(c->file, CM_ADVISE_SEQUENTIAL);
    }
    c->mounted = rc == CM_EOWNED && owner_serves(c->pool, c->path);
    if (rc != 0 && !c->mounted) {
        (void)tool_pool_error(c->pool, rc, TOOL_OPENING);
        go_direct(c);
    }
}

static int64_t read_origin(void *ctx, uint64_t off, void *buf, size_t len)
{
    struct cat *c = ctx;

    return os_read_at(c->fd, off, buf, len, &c->origin_error);
}

static bool same_validator(const cm_validator *a, const cm_validator *b)
{
    return memcmp(a->proof, b->proof, sizeof(a->proof)) == 0 && a->racy == b->racy;
}

/* The file may change under a long read. Each chunk checks that, because a plain read would see the
 * change, too. */
static bool still_attached(struct cat *c)
{
    cm_validator now = CM_VALIDATOR_INIT;
    cm_file_id id;
    int rc;

    if (!c->file)
        return false;
    rc = identify_once(c, &id, &now);
    if (rc == 0) {
        if (same_validator(&now, &c->seen))
            return true;
        c->seen = now;
        rc = cm_file_revalidate(c->file, &now);
    }
    if (rc >= 0)
        return true;
    (void)tool_pool_error(c->pool, rc, TOOL_OPENING);
    go_direct(c);
    return false;
}

/* Reads the next bytes. 0 at the end, -1 with c->origin_error set. */
static int64_t next_chunk(struct cat *c, void *buf)
{
    if (still_attached(c)) {
        int64_t n = cm_read_through(c->file, c->bytes, buf, CHUNK, read_origin, c);

        if (n >= 0 || c->origin_error)
            return n;
        (void)tool_pool_error(c->pool, (int)n, TOOL_OPENING);
        go_direct(c);
    }
    return os_read_at(c->fd, c->bytes, buf, CHUNK, &c->origin_error);
}

/* 0, OS_BROKEN_PIPE, OS_INTERRUPTED, or TOOL_FAILED after a message. */
static int copy(struct cat *c, void *buf)
{
    while (!os_interrupted()) {
        int64_t n = next_chunk(c, buf);
        int rc;

        if (n < 0 && os_interrupted())
            break;
        if (n < 0) {
            tool_message(c->path, "cannot be read at byte %" PRIu64 ": %s", c->bytes,
                         os_error_text(c->origin_error));
            return TOOL_FAILED;
        }
        if (n == 0)
            break;
        rc = os_write_stdout(buf, (size_t)n);
        if (rc > 0) {
            tool_message(NULL, "standard output: %s", os_error_text(rc));
            return TOOL_FAILED;
        }
        if (rc < 0)
            return rc;
        c->bytes += (uint64_t)n;
    }
    return os_interrupted() ? OS_INTERRUPTED : 0;
}

/* Proves to the cache that the origin holds what was read, so that the blocks outlive a crash of
 * the system. The proof is a sync: a file written since the last start may still be in memory only.
 * If it is not, the sync costs nothing. */
static void prove_synced(struct cat *c)
{
    cm_info info = { .struct_size = sizeof(info) };
    cm_file_info file = { .struct_size = sizeof(file) };
    cm_validator validator = CM_VALIDATOR_INIT;
    cm_file_id id;
    cm_sync sync;

    if (cm_get_info(c->cache, &info) != 0 || info.durability == CM_DURABILITY_VOLATILE ||
        cm_file_get_info(c->file, &file) != 0 || !file.dirty)
        return;
    if (cm_sync_begin(c->file, &sync) != 0)
        return;
    /* If the sync of a file that was only read fails, the reader has no trouble: the file only
     * stays out of the cache. */
    if (os_sync_file(c->fd) == 0 && identify_once(c, &id, &validator) == 0)
        (void)cm_sync_end(c->file, &sync, 1, &validator);
    else
        (void)cm_sync_end(c->file, &sync, 0, NULL);
}

struct summary {
    cm_stats_data stats;
    double seconds; /* without the time of the close */
    bool cached;    /* the pool was used to the end */
};

static void begin_summary(const struct cat *c, struct summary *s, uint64_t began)
{
    s->stats.struct_size = sizeof(s->stats);
    s->seconds = (double)(cm_now() - began) / 1e9;
    s->cached = c->cache && cm_stats(c->cache, &s->stats) == 0;
}

/* Says why nothing of the file will be cached the next time, if that is so. */
static void print_coldness(const struct cat *c)
{
    if (c->seen.racy & CM_RACY_VOLUME)
        tool_message(c->path, "its file system does not tell files apart after a restart: cold "
                              "next time");
    else if (c->seen.racy & CM_RACY_WRITER)
        tool_message(c->path, "nobody could be ruled out as a writer: cold next time (that takes "
                              "the file's owner or root, a local file system, and no program that "
                              "has it open for writing; a cachemax-mount over its directory keeps "
                              "it warm)");
    else if (c->seen.racy)
        tool_message(c->path, "was changed a moment ago: cold next time");
}

/* The pool is closed by now, and the close stored the blocks that waited in memory. The file knows
 * how many these were, unless another process has opened it already. */
static void print_summary(const struct cat *c, struct summary *s)
{
    cm_stats_data closed = { .struct_size = sizeof(closed) };
    char size[TOOL_NUMBER_MAX], rate[TOOL_NUMBER_MAX], origin[TOOL_NUMBER_MAX];
    cm_stats_data *d = &s->stats;

    (void)tool_bytes(size, c->bytes);
    (void)tool_bytes(rate, s->seconds > 0 ? (uint64_t)((double)c->bytes / s->seconds) : 0);
    if (!s->cached) {
        tool_message(c->path, "%s in %.2f s, %s/s; %s", size, s->seconds, rate,
                     c->mounted ? "through the mount that has the pool" : "no cache");
        return;
    }
    if (cm_pool_stats(c->pool, &closed) == 0 && closed.opened_at_ns == d->opened_at_ns)
        d->fill_blocks = closed.fill_blocks;
    tool_message(c->path,
                 "%s in %.2f s, %s/s; %" PRIu64 " %s, %" PRIu64 " %s (%.2f %% hits); %" PRIu64
                 " %s stored; %s read from the origin",
                 size, s->seconds, rate, d->hit_blocks, d->hit_blocks == 1 ? "hit" : "hits",
                 d->miss_blocks, d->miss_blocks == 1 ? "miss" : "misses",
                 tool_share(d->hit_blocks, d->hit_blocks + d->miss_blocks), d->fill_blocks,
                 d->fill_blocks == 1 ? "block" : "blocks", tool_bytes(origin, d->origin_bytes));
    print_coldness(c);
}

static int cat_file(struct cat *c, bool verbose)
{
    uint64_t began = cm_now();
    void *buf = os_alloc_pages(CHUNK);
    struct summary summary;
    int rc;

    if (!buf) {
        tool_message(c->path, "out of memory");
        return TOOL_FAILED;
    }
    attach(c);
    rc = copy(c, buf);
    begin_summary(c, &summary, began);
    if (rc == 0 && still_attached(c))
        prove_synced(c);
    detach(c);
    if (verbose)
        print_summary(c, &summary);
    os_free_pages(buf);
    return rc;
}

static int run_cat(const struct tool_args *args)
{
    bool verbose = args->value[CAT_VERBOSE] != NULL;
    struct cat c = { .path = args->operand, .pool = args->value[CAT_POOL] };
    int rc;

    c.volume_id = args->value[CAT_VOLUME_ID];
    if (c.volume_id && !*c.volume_id) {
        tool_message(NULL, "'--volume-id' needs a name");
        return TOOL_USAGE;
    }
    if (!c.pool) {
        tool_message(NULL, "'cat' needs a pool to read through: --pool POOL");
        return TOOL_USAGE;
    }
    rc = tool_take_key_of(args->value[CAT_KEY], c.pool, &c.seal);
    if (rc == TOOL_USAGE)
        return rc;
    c.keyless = rc != TOOL_OK;
    c.log.pool = c.pool;
    c.log.max_level = verbose ? CM_LOG_INFO : CM_LOG_WARNING;
    os_catch_interrupts();
    os_ignore_broken_pipe();
    rc = os_open_file(c.path, &c.fd);
    if (rc != 0) {
        tool_message(c.path, "%s", os_error_text(rc));
        return TOOL_FAILED;
    }
    if (os_is_output(c.fd)) { /* it would be read what was just written, until the volume is full */
        tool_message(c.path, "is also the standard output; write to another file");
        rc = TOOL_FAILED;
    } else if (os_is_named(c.fd, c.pool)) { /* the pool would store blocks of itself */
        tool_message(c.path, "this is the pool; name the file to read through it");
        rc = TOOL_USAGE;
    } else {
        rc = cat_file(&c, verbose);
    }
    os_close_file(c.fd);
    tool_drop_key();
    if (rc == OS_INTERRUPTED)
        os_end_interrupted();
    if (rc == OS_BROKEN_PIPE)
        os_end_broken_pipe();
    return rc;
}

const struct tool_command tool_cat = {
    .name = "cat",
    .operand = "FILE",
    .summary = "Print a file through a pool, and so warm the pool",
    .help = "Blocks of FILE that the pool has come from there, the others from the file, and\n"
            "the pool keeps them. Trouble with the pool is reported on standard error and the\n"
            "file is read directly: it does not change the exit status.\n"
            "\n"
            "FILE is warm the next time only if nobody could be writing it. To find that out\n"
            "takes its owner or root, a local file system (not FUSE, NFS or SMB), and a file\n"
            "that nobody has open for writing. Else it is read right, but cold each time.\n"
            "\n"
            "If a cachemax-mount has the pool, FILE must lie on that mount, which reads it.\n"
            "\n"
            "Examples:\n"
            "  cachemax cat /slow/big.iso --pool /pmem/cache.pool -v > /dev/null\n"
            "  cachemax cat /slow/log.gz -p /pmem/cache.pool | zcat | grep ERROR\n",
    .options = cat_options,
    .noptions = CAT_OPTIONS,
    .run = run_cat,
};
