/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_create.c - "cachemax create": makes a pool file.
 *
 * This command judges the size before the library sees it: only here it is known how the size was
 * written, and which good size is near. Ctrl-C cancels through the progress callback; the library
 * then removes what it made.
 *
 * Who: main.c, by its table of commands; cmd_resize.c.
 */
#include "tool/tool.h"
#include "tool/os.h"

#include <inttypes.h>
#include <string.h>

enum {
    CREATE_SIZE,
    CREATE_MAX_FILES,
    CREATE_NAMES,
    CREATE_SPARSE,
    CREATE_KEY,
    CREATE_ENCRYPT,
    CREATE_QUIET,
    CREATE_OPTIONS
};

static const struct tool_option create_options[CREATE_OPTIONS] = {
    [CREATE_SIZE] = { "size", 's', TOOL_NEEDS_ARG, "SIZE", "size of the pool file (required)" },
    [CREATE_MAX_FILES] = { "max-files", 0, TOOL_NEEDS_ARG, "N",
                           "files it can know; default: one for 16 blocks" },
    [CREATE_NAMES] = { "names", 0, TOOL_NO_ARG, NULL,
                       "room for a name of each file: 256 bytes for each" },
    [CREATE_SPARSE] = { "sparse", 0, TOOL_NO_ARG, NULL,
                        "take space on the volume only when it is used" },
    [CREATE_KEY] = { "key-file", 0, TOOL_NEEDS_ARG, "FILE",
                     "seal it with the key in FILE: others who write it are noticed" },
    [CREATE_ENCRYPT] = { "encrypt", 0, TOOL_NO_ARG, NULL, "encrypt what is cached, with that key" },
    [CREATE_QUIET] = { "quiet", 'q', TOOL_NO_ARG, NULL, "print nothing but errors" },
};

#define NAMES_ROOM 8192u /* cm_pool_size_min(): the smallest pool with names is larger */

/* The size of a possible pool that is nearest to `size`. It is a multiple of a block. */
static uint64_t nearest_good_size(uint64_t size, uint64_t least)
{
    uint64_t low = size / CM_BLOCK_SIZE * CM_BLOCK_SIZE;
    uint64_t good = size - low > CM_BLOCK_SIZE / 2 ? low + CM_BLOCK_SIZE : low;

    if (good > cm_pool_size_max())
        good = cm_pool_size_max();
    return good < least ? least : good;
}

static int judge_bounds(const char *what, const char *text, uint64_t size, uint64_t least)
{
    char limit[TOOL_NUMBER_MAX], is[TOOL_NUMBER_MAX];

    if (size < least) {
        tool_message(NULL, "%s '%s' is too small; the smallest pool has %s", what, text,
                     tool_bytes_exact(limit, least));
        return TOOL_USAGE;
    }
    if (size > cm_pool_size_max()) {
        tool_message(NULL, "%s '%s' is too large; the largest pool has %s", what, text,
                     tool_bytes_exact(limit, cm_pool_size_max()));
        return TOOL_USAGE;
    }
    if (size % CM_BLOCK_SIZE) {
        tool_message(NULL, "%s '%s' is %s, which is not a multiple of %u; use %s%" PRIu64, what,
                     text, tool_bytes_exact(is, size), CM_BLOCK_SIZE,
                     what[0] == '-' ? "--size " : "", nearest_good_size(size, least));
        return TOOL_USAGE;
    }
    return TOOL_OK;
}

int tool_read_pool_size(const char *what, const char *text, uint64_t least, uint64_t *size)
{
    char limit[TOOL_NUMBER_MAX];
    bool rough;

    switch (tool_parse_size(text, size, &rough)) {
    case TOOL_SIZE_OK:
        break;
    case TOOL_SIZE_NEGATIVE:
        tool_message(NULL, "%s '%s' is negative; write it as 8G, 512M, 1.5T or 10GB", what, text);
        return TOOL_USAGE;
    case TOOL_SIZE_OVERFLOW:
        tool_message(NULL, "%s '%s' is too large; the largest pool has %s", what, text,
                     tool_bytes_exact(limit, cm_pool_size_max()));
        return TOOL_USAGE;
    case TOOL_SIZE_JUNK:
    default:
        tool_message(NULL,
                     "%s '%s' is not a size; write it as 8G, 512M, 1.5T, 10GB or a number of "
                     "bytes",
                     what, text);
        return TOOL_USAGE;
    }
    if (rough && *size > least)
        *size -= *size % CM_BLOCK_SIZE;
    return judge_bounds(what, text, *size, least);
}

static int read_max_files(const char *text, uint64_t *max_files)
{
    enum tool_size_result rc;

    *max_files = 0;
    if (!text)
        return TOOL_OK;
    rc = tool_parse_count(text, max_files);
    if (rc == TOOL_SIZE_OK && *max_files > 0)
        return TOOL_OK;
    tool_message(NULL, "--max-files '%s' %s; give a number from 1 up, or leave the option out",
                 text,
                 rc == TOOL_SIZE_OVERFLOW   ? "is too large"
                 : rc == TOOL_SIZE_NEGATIVE ? "is negative"
                 : rc == TOOL_SIZE_OK       ? "leaves no room for any file"
                                            : "is not a number");
    return TOOL_USAGE;
}

static void print_result(const char *pool, bool sparse)
{
    char size[TOOL_NUMBER_MAX], slots[TOOL_NUMBER_MAX], dram[TOOL_NUMBER_MAX];
    cm_info info = { .struct_size = sizeof(info) };

    tool_print(stdout, pool);
    if (cm_pool_info(pool, &info) != 0) {
        (void)puts(": made");
        return;
    }
    (void)printf(": made, %s%s: room for %s blocks and %" PRIu64 " files; %.2f %% overhead, "
                 "%s of memory while open, and the probation buffer\n",
                 tool_bytes(size, info.size), sparse ? " sparse" : "",
                 tool_count(slots, info.slots), info.max_files,
                 tool_percent(info.metadata_bytes, info.size), tool_bytes(dram, info.dram_bytes));
    tool_print(stdout, pool);
    (void)printf(": knows up to %" PRIu64 " files at a time (--max-files); if more are read, new "
                 "ones take the places of some that are not in use, which are then cold\n",
                 info.max_files);
}

/* In a directory that others may write, a pool can be made, but no open will take it. */
static void warn_if_untrusted(const char *pool, const cm_seal *seal)
{
    cm_options options = CM_OPTIONS_INIT;
    char why[TOOL_WHY];
    cm_cache *cache;

    options.flags = CM_OPEN_READONLY;
    options.seal = seal;
    if (cm_open(pool, &options, &cache) != 0)
        return;
    if (tool_is_untrusted(pool, why))
        tool_message(pool, "warning: was made, but will be refused when it is used: %s", why);
    (void)cm_close(cache);
}

static int take_key(const struct tool_args *args, const cm_seal **seal)
{
    const bool encrypts = args->value[CREATE_ENCRYPT] != NULL;

    if (!encrypts || args->value[CREATE_KEY])
        return tool_take_key(args->value[CREATE_KEY], encrypts, seal);
    tool_message(NULL, "--encrypt needs a key: --key-file FILE");
    return TOOL_USAGE;
}

static int create_error(const char *pool, int code, const cm_create_options *options,
                        const struct tool_log *log)
{
    if (code == CM_EINVAL && strstr(log->held, "takes no such name") && !tool_is_too_long(pool)) {
        tool_message(pool, "its file system takes no such name; choose another one");
        return TOOL_FAILED;
    }
    if (code == CM_EINVAL && options->max_files && !tool_is_too_long(pool)) {
        tool_message(pool,
                     "--max-files %" PRIu64 " does not fit a pool of this size; choose a smaller "
                     "number or a larger --size",
                     options->max_files);
        return TOOL_USAGE;
    }
    if (code == CM_ENOSPC && strstr(log->held, "(ulimit -f)")) { /* the library has looked */
        tool_message(pool,
                     "this process may not make a file of that size ('ulimit -f'); nothing was "
                     "left behind: allow it more, or choose a smaller --size");
        return TOOL_FAILED;
    }
    return tool_pool_error(pool, code, TOOL_CREATING);
}

static int run_create(const struct tool_args *args)
{
    struct tool_progress progress;
    struct tool_log log = { .pool = args->operand, .max_level = CM_LOG_WARNING };
    cm_create_options options = CM_CREATE_OPTIONS_INIT;
    bool quiet = args->value[CREATE_QUIET] != NULL;
    int rc;

    if (!args->value[CREATE_SIZE]) {
        tool_message(NULL, "'create' needs the pool's size, such as --size 8G");
        return TOOL_USAGE;
    }
    rc = tool_read_pool_size("--size", args->value[CREATE_SIZE],
                             cm_pool_size_min() + (args->value[CREATE_NAMES] ? NAMES_ROOM : 0),
                             &options.size);
    if (rc == TOOL_OK)
        rc = read_max_files(args->value[CREATE_MAX_FILES], &options.max_files);
    if (rc != TOOL_OK)
        return rc;
    rc = take_key(args, &options.seal);
    if (rc != TOOL_OK)
        return rc;
    if (args->value[CREATE_SPARSE])
        options.flags |= CM_CREATE_SPARSE;
    if (args->value[CREATE_NAMES])
        options.flags |= CM_CREATE_NAMES;
    options.progress = progress_step;
    options.progress_ctx = &progress;
    options.log = tool_log_line;
    options.log_ctx = &log;

    os_catch_interrupts();
    progress_begin(&progress, "create", options.size, quiet);
    log.opening = true; /* the messages below say all that is in the log's line */
    rc = cm_create(args->operand, &options);
    progress_end(&progress);
    if (os_interrupted()) {
        if (rc == 0)
            (void)os_remove_file(args->operand);
        tool_message(args->operand, "interrupted; nothing was left behind");
        os_end_interrupted();
    }
    if (rc != 0)
        return create_error(args->operand, rc, &options, &log);
    warn_if_untrusted(args->operand, options.seal);
    if (quiet)
        return TOOL_OK;
    print_result(args->operand, options.flags & CM_CREATE_SPARSE);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return TOOL_OK;
    tool_message(args->operand, "the pool was made, but standard output cannot be written");
    return TOOL_FAILED;
}

const struct tool_command tool_create = {
    .name = "create",
    .operand = "POOL",
    .summary = "Make a pool file",
    .help = "SIZE is a number of bytes, or a number with a unit: K, M, G, T and KiB, MiB, GiB,\n"
            "TiB are powers of 1024; KB, MB, GB, TB are powers of 1000. 1.5T is fine too.\n"
            "A pool is a multiple of 4096 bytes; fractions and powers of 1000 are rounded down\n"
            "to one, other sizes must be one. The space is taken at once unless --sparse is\n"
            "given; a volume that fills up later then only means fewer blocks are cached.\n"
            "With --names the mount and other programs can say what each file is called, and\n"
            "'cachemax files' shows it. Versions that do not know names refuse such a pool.\n"
            "With --key-file the pool is sealed: whoever writes it without the key can make\n"
            "it cold, and cannot change what is read. FILE has 32 random bytes or more, and\n"
            "only its owner may read it. Every use of the pool then needs it. --encrypt also\n"
            "hides what is cached, but not names, sizes and times of files.\n"
            "The file must not exist; only its owner may read and write it (mode 0600; on\n"
            "Windows administrators and the system may, too).\n"
            "\n"
            "Examples:\n"
            "  cachemax create /pmem/cache.pool --size 64G\n"
            "  cachemax create cache.pool --size 500GB --max-files 2000000 --names --sparse\n",
    .options = create_options,
    .noptions = CREATE_OPTIONS,
    .run = run_create,
};
