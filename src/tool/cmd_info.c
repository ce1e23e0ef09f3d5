/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_info.c - "cachemax info": what a pool is, what it costs and what it survives.
 *
 * Reads the pool file without opening it as a pool, so it works beside the owner. Its text about
 * durability promises no more than the volume holds: a pool on a file system in memory is called
 * volatile, whatever the library recorded.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/tool.h"
#include "tool/dump/dump.h"
#include "tool/os.h"

#include <inttypes.h>
#include <string.h>

enum { INFO_JSON, INFO_OPTIONS };

static const struct tool_option info_options[INFO_OPTIONS] = {
    [INFO_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

#define UUID_TEXT 37
#define INFO_COUNTED 7280 /* files; beyond 8192 records the library estimates their number */

static const char *uuid_text(const uint8_t uuid[16], char text[UUID_TEXT])
{
    char *p = text;

    for (int i = 0; i < 16; i++)
        p += snprintf(p, 4, "%02x%s", uuid[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    return text;
}

struct durability {
    const char *word; /* for JSON; stable */
    char text[240];
};

static void judge_durability(const char *pool, uint32_t durability, struct durability *d)
{
    struct os_volume v;
    const char *type;

    if (!os_volume(pool, &v))
        memset(&v, 0, sizeof(v));
    type = v.type[0] ? v.type : "this volume";
    if (v.in_memory || durability == CM_DURABILITY_VOLATILE) {
        d->word = "volatile";
        (void)snprintf(d->text, sizeof(d->text), "volatile: %s, lost at reboot",
                       v.in_memory ? type : "memory");
    } else if (durability == CM_DURABILITY_DAX) {
        d->word = "dax";
        (void)snprintf(d->text, sizeof(d->text),
                       "DAX on %s: warm after a process crash, an OS crash and a power cut", type);
    } else if (durability == CM_DURABILITY_PAGECACHE) {
        d->word = "pagecache";
        (void)snprintf(d->text, sizeof(d->text),
                       "page cache of %s: warm after a process crash or a clean close; empties "
                       "itself after an OS crash or power cut%s",
                       type,
                       dump_volume_keeps_syncs(pool)
                           ? ", until a program makes checkpoints (cachemax-mount, "
                             "cachemax-service and the filter of nbdkit do)"
                           : "");
    } else if (durability == CM_DURABILITY_CHECKPOINT) {
        d->word = "checkpoints";
        (void)snprintf(d->text, sizeof(d->text),
                       "checkpoints on %s: warm after a process crash or a clean close; after an "
                       "OS crash or power cut %s",
                       type,
                       dump_volume_keeps_syncs(pool)
                           ? "as of the last checkpoint"
                           : "it empties itself, because the volume may not keep what it syncs");
    } else {
        d->word = "unknown";
        (void)snprintf(d->text, sizeof(d->text), "not known before the pool is opened once");
    }
}

static const char *state_word(const cm_info *info)
{
    return info->owned ? "open" : info->clean ? "clean" : "unclean";
}

static const char *sealed_word(uint32_t sealed)
{
    return sealed == CM_SEALED_NO ? "no" : sealed == CM_SEALED_MAC ? "sealed" : "encrypted";
}

static void print_json(const char *pool, const cm_info *info, const struct durability *d)
{
    struct tool_json j;
    char uuid[UUID_TEXT];
    double per_slot = info->slots ? (double)info->dram_bytes / (double)info->slots : 0;

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_string(&j, "state", state_word(info));
    if (info->owned && info->owner_pid)
        json_number(&j, "owner_pid", info->owner_pid);
    else
        json_null(&j, "owner_pid");
    json_number(&j, "size", info->size);
    json_number(&j, "slots", info->slots);
    json_number(&j, "used_slots", info->used_slots);
    json_number(&j, "max_files", info->max_files);
    json_number(&j, "used_files", info->used_files);
    json_number(&j, "metadata_bytes", info->metadata_bytes);
    json_decimal(&j, "overhead_percent", tool_percent(info->metadata_bytes, info->size), 4);
    json_number(&j, "memo_bytes", info->memo_bytes);
    json_number(&j, "names_bytes", info->names_bytes);
    json_number(&j, "dram_bytes", info->dram_bytes);
    json_decimal(&j, "dram_bytes_per_slot", per_slot, 4);
    json_string(&j, "durability", d->word);
    json_string(&j, "durability_text", d->text);
    json_string(&j, "flush", info->flush);
    json_string(&j, "copy", info->copy);
    json_string(&j, "sealed", sealed_word(info->sealed));
    json_bool(&j, "owned", info->owned);
    json_bool(&j, "clean", info->clean);
    json_number(&j, "superblocks_damaged", info->superblocks_damaged);
    json_number(&j, "format_version", info->version);
    json_number(&j, "epoch", info->epoch);
    json_string(&j, "uuid", uuid_text(info->uuid, uuid));
    json_end(&j);
}

static void print_state(const cm_info *info)
{
    if (info->owned && info->owner_pid)
        (void)printf("state:       open (process %" PRIu32 ")\n", info->owner_pid);
    else if (info->owned)
        (void)puts("state:       open");
    else
        (void)printf("state:       %s\n", info->clean ? "clean" : "not closed cleanly");
    if (info->superblocks_damaged)
        (void)puts(
            "note:        one of the two superblocks is not whole (a crash cut its write short, "
            "or damage); the other one serves, and the next use of the pool writes both anew");
}

static void print_lines(const char *pool, const cm_info *info, const struct durability *d)
{
    char a[TOOL_NUMBER_MAX], b[TOOL_NUMBER_MAX], uuid[UUID_TEXT];

    (void)fputs("pool:        ", stdout);
    tool_print(stdout, pool);
    (void)putchar('\n');
    print_state(info);
    (void)printf("size:        %s\n", tool_bytes_exact(a, info->size));
    (void)printf("slots:       %s, of %u bytes each\n", tool_count(a, info->slots), CM_BLOCK_SIZE);
    (void)printf("used ever:   %s slots, %.1f %%\n", tool_count(a, info->used_slots),
                 tool_percent(info->used_slots, info->slots));
    (void)printf("max files:   %s, or some more; known now: %s%s\n", tool_count(a, info->max_files),
                 info->max_files > INFO_COUNTED ? "about " : "", tool_count(b, info->used_files));
    (void)printf("metadata:    %s, %.2f %% of the pool\n",
                 tool_bytes_exact(a, info->metadata_bytes),
                 tool_percent(info->metadata_bytes, info->size));
    (void)printf("policy:      %s of that, for what a clean close keeps of it\n",
                 tool_bytes_exact(a, info->memo_bytes));
    if (info->names_bytes)
        (void)printf("names:       %s of that, for names of files\n",
                     tool_bytes_exact(a, info->names_bytes));
    (void)printf("memory:      %s while open, %.2f bytes a slot; and the probation buffer\n",
                 tool_bytes_exact(a, info->dram_bytes),
                 info->slots ? (double)info->dram_bytes / (double)info->slots : 0.0);
    (void)printf("durability:  %s\n", d->text);
    (void)printf("flush:       %s\n", info->flush[0] ? info->flush : "not known yet");
    if (info->copy[0])
        (void)printf("fills:       copied with %s, as a table of CPUs says\n", info->copy);
    if (info->sealed != CM_SEALED_NO)
        (void)printf("sealed:      %s: reading through it, check, files and resize need its key "
                     "(--key-file)\n",
                     info->sealed == CM_SEALED_ENCRYPTED ? "yes, and encrypted" : "yes");
    (void)printf("format:      version %" PRIu32 "\n", info->version);
    (void)printf("epoch:       %" PRIu64 "\n", info->epoch);
    (void)printf("uuid:        %s\n", uuid_text(info->uuid, uuid));
}

static int run_info(const struct tool_args *args)
{
    cm_info info = { .struct_size = sizeof(info) };
    struct durability d;
    int rc = cm_pool_info(args->operand, &info);

    if (rc != 0)
        return tool_pool_error(args->operand, rc, TOOL_OPENING);
    judge_durability(args->operand, info.durability, &d);
    if (args->value[INFO_JSON])
        print_json(args->operand, &info, &d);
    else
        print_lines(args->operand, &info, &d);
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_info = {
    .name = "info",
    .operand = "POOL",
    .summary = "Show what a pool is, what it costs and what it survives",
    .help = "Changes nothing and works while another process has the pool open.\n"
            "\n"
            "Examples:\n"
            "  cachemax info /pmem/cache.pool\n"
            "  cachemax info /pmem/cache.pool --json | jq .durability\n",
    .options = info_options,
    .noptions = INFO_OPTIONS,
    .run = run_info,
};
