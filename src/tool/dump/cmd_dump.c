/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_dump.c - "cachemax dump": one structure of a pool, decoded.
 *
 * Reads the command line, opens the pool to look at it and says what is wrong with it as a whole.
 * The rest is dump.h. A pool that an open would refuse is shown as far as it is there.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/dump/dump.h"
#include "tool/os.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DUMP_JSON, DUMP_VOLUME_ID, DUMP_OPTIONS };

static const struct tool_option dump_options[DUMP_OPTIONS] = {
    [DUMP_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
    [DUMP_VOLUME_ID] = { "volume-id", 0, TOOL_NEEDS_ARG, "NAME",
                         "name of the volume FILE is on, as given to cachemax-mount" },
};

enum kind { KIND_SUPERBLOCK, KIND_SLOT, KIND_CELL, KIND_RECORD, KIND_FILE, KIND_FIND, KINDS };

static const struct {
    const char *name; /* first member, for tool_nearest() */
    unsigned operands;
    const char *usage;
} kinds[KINDS] = {
    [KIND_SUPERBLOCK] = { "superblock", 0, "superblock" },
    [KIND_SLOT] = { "slot", 1, "slot N" },
    [KIND_CELL] = { "cell", 1, "cell BUCKET" },
    [KIND_RECORD] = { "record", 1, "record N" },
    [KIND_FILE] = { "file", 1, "file FILE" },
    [KIND_FIND] = { "find", 2, "find FILE BLOCK" },
};

#define WORDS "superblock, slot N, cell BUCKET, record N, file FILE or find FILE BLOCK"
#define ID_DIGITS 32

struct request {
    const char *pool;
    enum kind kind;
    uint64_t number; /* of a slot, bucket, record or block */
    struct dump_file file;
    cm_validator validator;
};

static int usage_hint(void)
{
    (void)fputs("Try 'cachemax dump --help'.\n", stderr);
    return TOOL_USAGE;
}

static int read_kind(const struct tool_args *args, struct request *r)
{
    const char *word = args->more[0], *near;
    unsigned given = 0;

    if (!word) {
        tool_message(NULL, "'dump' needs to know what: " WORDS);
        return usage_hint();
    }
    for (r->kind = 0; r->kind < KINDS && strcmp(kinds[r->kind].name, word) != 0;)
        r->kind++;
    if (r->kind == KINDS) {
        near = tool_nearest(word, kinds, sizeof(kinds[0]), KINDS);
        if (near)
            tool_message(NULL, "'dump' knows no '%s'; did you mean '%s'?", word, near);
        else
            tool_message(NULL, "'dump' knows no '%s'; it takes " WORDS, word);
        return usage_hint();
    }
    while (given + 1 < TOOL_MORE_MAX && args->more[given + 1])
        given++;
    if (given != kinds[r->kind].operands) {
        tool_message(NULL, "wrong number of arguments; it is: cachemax dump POOL %s",
                     kinds[r->kind].usage);
        return usage_hint();
    }
    return TOOL_OK;
}

static int read_number(const char *what, const char *text, uint64_t *number)
{
    switch (tool_parse_count(text, number)) {
    case TOOL_SIZE_OK:
        return TOOL_OK;
    case TOOL_SIZE_NEGATIVE:
        tool_message(NULL, "%s '%s' is negative", what, text);
        break;
    case TOOL_SIZE_OVERFLOW:
        tool_message(NULL, "%s '%s' is too large", what, text);
        break;
    default:
        tool_message(NULL, "%s '%s' is not a number", what, text);
    }
    return usage_hint();
}

/* 32 hexadecimal digits, as ids are printed. */
static bool read_id(const char *text, cm_file_id *id)
{
    uint64_t half[2] = { 0, 0 };

    if (strlen(text) != ID_DIGITS || strspn(text, "0123456789abcdefABCDEF") != ID_DIGITS)
        return false;
    for (unsigned i = 0; i < ID_DIGITS; i++) {
        const unsigned c = (unsigned char)text[i];

        half[i / 16] = half[i / 16] << 4 | (c <= '9' ? c - '0' : (c & 0xdfu) - 'A' + 10);
    }
    *id = (cm_file_id){ half[0], half[1] };
    return true;
}

/* A file on a mount has another id there than in the pool, which the mount was asked for. */
static int end_mounted(const char *text, const char *pool, int rc, const char *why)
{
    if (rc == 0)
        return TOOL_OK;
    tool_message(text,
                 "%s: %s; give the id as 'cachemax files %s' prints it, or the file's own place",
                 rc == CM_EIO ? "may lie on a mount, and the mounts cannot be listed"
                              : "lies on a mount that does not tell its id in this pool",
                 why, pool);
    return TOOL_FAILED;
}

/* Opens a file or a directory. False: it was said why not. */
static bool open_named(const char *text, intptr_t *fd)
{
    uint64_t size;
    int rc = os_find(text);

    if (rc == 0 && !os_file_size(text, &size) && !os_is_directory(text))
        rc = -1; /* to open it could wait */
    if (rc == 0)
        rc = os_open_file(text, fd);
    if (rc != 0)
        tool_message(text, "%s; FILE is the name of a file, or an id of 32 hexadecimal digits",
                     rc > 0 ? os_error_text(rc) : "not a regular file");
    return rc == 0;
}

/* An id, or the name of a file whose id it finds out. Other writers do not matter here, and are not
 * disturbed. */
static int read_file(const char *text, const char *volume_id, struct request *r)
{
    cm_identify_options options = CM_IDENTIFY_OPTIONS_INIT;
    char why[OWNER_WHY];
    intptr_t fd;
    int rc;

    if (read_id(text, &r->file.id)) {
        if ((r->file.id.hi | r->file.id.lo) != 0)
            return TOOL_OK;
        tool_message(NULL, "the id zero is no file's");
        return TOOL_USAGE;
    }
    if (volume_id && !*volume_id) {
        tool_message(NULL, "'--volume-id' needs a name");
        return usage_hint();
    }
    if (!open_named(text, &fd))
        return TOOL_FAILED;
    rc = owner_file_id(r->pool, text, &r->file.id, why);
    if (rc != CM_EABSENT) {
        os_close_file(fd);
        return end_mounted(text, r->pool, rc, why);
    }
    options.flags = CM_IDENTIFY_SOLE_WRITER;
    options.volume_id = volume_id;
    r->validator = (cm_validator)CM_VALIDATOR_INIT;
    rc = cm_identify_with(fd, &options, &r->file.id, &r->validator);
    os_close_file(fd);
    r->file.now = &r->validator;
    if (rc == 0)
        return TOOL_OK;
    tool_message(text, "not a file that can be cached (%s)", cm_strerror(rc));
    return TOOL_FAILED;
}

static int read_request(const struct tool_args *args, struct request *r)
{
    int rc;

    memset(r, 0, sizeof(*r));
    r->pool = args->operand;
    rc = read_kind(args, r);
    if (rc == TOOL_OK && (r->kind == KIND_SLOT || r->kind == KIND_CELL || r->kind == KIND_RECORD))
        rc = read_number(r->kind == KIND_CELL ? "bucket" : kinds[r->kind].name, args->more[1],
                         &r->number);
    if (rc == TOOL_OK && r->kind == KIND_FIND)
        rc = read_number("block", args->more[2], &r->number);
    if (rc == TOOL_OK && (r->kind == KIND_FILE || r->kind == KIND_FIND))
        rc = read_file(args->more[1], args->value[DUMP_VOLUME_ID], r);
    return rc;
}

/* Is the number one of the pool's? */
static int check_range(const struct dump_pool *p, const struct request *r)
{
    const struct cm_geometry *g = &p->media.geo;
    uint64_t first = 0, last = UINT64_MAX;
    const char *what = "slots";

    if (r->kind == KIND_SLOT) {
        last = g->slots - 1;
    } else if (r->kind == KIND_CELL) {
        what = "buckets of the index";
        first = g->index_first; /* a pool that grew has another index */
        last = first + g->stripes * g->stripe_buckets - 1;
    } else if (r->kind == KIND_RECORD) {
        what = "records";
        last = g->record_buckets * CM_RECORD_WAYS - 1;
    } else if (r->kind == KIND_FIND) {
        what = "blocks that a file may have";
        last = CM_BLOCK_MAX;
    }
    if (r->number >= first && r->number <= last)
        return TOOL_OK;
    tool_message(r->pool, "there is no %s %" PRIu64 "; the %s are %" PRIu64 " to %" PRIu64,
                 r->kind == KIND_CELL   ? "bucket"
                 : r->kind == KIND_FIND ? "block"
                                        : kinds[r->kind].name,
                 r->number, what, first, last);
    return TOOL_USAGE;
}

static void print_pool(const struct dump_pool *p, const char *name, struct dump_out *o)
{
    char *shown = malloc(TOOL_PRINTABLE_MAX(strlen(name)));

    dump_text(o, "pool", "%s", o->as_json ? name : shown ? tool_printable(shown, name) : "-");
    free(shown);
    dump_number(o, "file_bytes", p->bytes);
    dump_bool(o, "open", p->owned);
    if (p->owned && !o->as_json)
        dump_text(o, "note",
                  "process %" PRIu32 " has the pool open: fields may change while they "
                  "are read",
                  p->super.owner_pid);
    if (p->owned && o->as_json)
        dump_number(o, "owner_pid", p->super.owner_pid);
}

static void print(const struct dump_pool *p, const struct request *r, bool as_json)
{
    struct dump_out o;

    dump_begin(&o, stdout, as_json);
    print_pool(p, r->pool, &o);
    if (r->kind == KIND_SUPERBLOCK)
        dump_superblock(p, &o);
    else if (r->kind == KIND_SLOT)
        dump_slot(p, r->number, &o);
    else if (r->kind == KIND_CELL)
        dump_bucket(p, r->number, &o);
    else if (r->kind == KIND_RECORD)
        dump_record(p, r->number, &o);
    else if (r->kind == KIND_FILE)
        dump_file(p, &r->file, &o);
    else
        dump_find(p, &r->file, r->number, &o);
    dump_end(&o);
}

static int run_dump(const struct tool_args *args)
{
    struct dump_pool pool;
    struct request r;
    int rc = read_request(args, &r);

    if (rc != TOOL_OK)
        return rc;
    rc = dump_pool_open(&pool, r.pool);
    if (rc != 0)
        return tool_pool_error(r.pool, rc, TOOL_OPENING);
    rc = pool.laid_out ? check_range(&pool, &r) : TOOL_OK;
    if (rc == TOOL_OK && (pool.laid_out || r.kind == KIND_SUPERBLOCK))
        print(&pool, &r, args->value[DUMP_JSON] != NULL);
    if (rc == TOOL_OK && pool.error)
        rc = tool_pool_error(r.pool, pool.error, TOOL_OPENING);
    dump_pool_close(&pool);
    return tool_end_output(rc);
}

const struct tool_command tool_dump = {
    .name = "dump",
    .operand = "POOL",
    .more = "superblock|slot N|cell BUCKET|record N|file FILE|find FILE BLOCK",
    .summary = "Show one structure of a pool, and what it means",
    .help =
        "Every field of it, where it lies in the pool, and what the library would conclude.\n"
        "\n"
        "  superblock       both copies, which of them counts, and where everything is\n"
        "  slot N           a header, its payload, the cells that lead to it, whose block it has\n"
        "  cell BUCKET      the cells of a bucket of the index, and the slots they lead to\n"
        "  record N         a place of the file table, and what an attach of its file does\n"
        "  file FILE        the record of a file\n"
        "  find FILE BLOCK  the way of a lookup, from the file to the slot, and where it ends\n"
        "\n"
        "FILE is the name of a file, or an id as it is printed: 32 hexadecimal digits (./NAME for\n"
        "a file that is called so). A file on a running mount of the pool is found, too. BLOCK\n"
        "counts from 0, 4096 bytes each.\n"
        "\n"
        "Changes nothing and takes no lock: the pool may be open in another process, and then\n"
        "fields may change while they are read. A pool that cannot be used is shown as far as it\n"
        "is there, with exit status 3. What the fields mean is in docs/format.md.\n"
        "\n"
        "Examples:\n"
        "  cachemax dump /pmem/cache.pool superblock\n"
        "  cachemax dump /pmem/cache.pool find /srv/data/file 17\n"
        "  cachemax dump /pmem/cache.pool slot 5 --json | jq .slot.verdict\n",
    .options = dump_options,
    .noptions = DUMP_OPTIONS,
    .run = run_dump,
};
