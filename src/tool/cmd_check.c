/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_check.c - "cachemax check": verifies a pool, and with --repair drops wrong entries.
 *
 * Without --repair the pool is opened read-only, and not a byte of it changes. With --repair the
 * tool owns the pool for that time. It closes the pool before it prints anything, so that neither
 * Ctrl-C nor a closed pipe leaves the pool open. If a running mount has the pool open, that does
 * the work.
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/control/control.h"
#include "tool/tool.h"
#include "tool/os.h"

#include <inttypes.h>

enum { CHECK_REPAIR, CHECK_METADATA, CHECK_KEY, CHECK_JSON, CHECK_OPTIONS };

static const struct tool_option check_options[CHECK_OPTIONS] = {
    [CHECK_REPAIR] = { "repair", 'r', TOOL_NO_ARG, NULL,
                       "drop what is wrong (default: change nothing)" },
    [CHECK_METADATA] = { "metadata", 'm', TOOL_NO_ARG, NULL,
                         "leave the blocks' contents unread: much faster" },
    [CHECK_KEY] = { "key-file", 0, TOOL_NEEDS_ARG, "FILE", "the key of a sealed pool" },
    [CHECK_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

/* Every counter of cm_check_report: X(name, text, is damage). */
#define CHECK_MAP(X)                                                                               \
    X(slots, "slots looked at", 0)                                                                 \
    X(valid, "hold a block that is in the index ('files' tells what of it is served)", 0)          \
    X(orphaned, "hold a block that no read finds (wasted until reused)", 0)                        \
    X(bad_headers, "damaged headers", 1)                                                           \
    X(bad_payload, "blocks with a wrong checksum", 1)                                              \
    X(unreadable, "unreadable slots (media errors)", 1)                                            \
    X(stale_cells, "index cells that lead nowhere (harmless)", 0)                                  \
    X(bad_cells, "index cells that name a slot that does not exist", 1)                            \
    X(duplicates, "blocks cached twice", 1)                                                        \
    X(records, "files known", 0)                                                                   \
    X(torn_records, "file records not whole: cut short by a crash (harmless)", 0)                  \
    X(dropped, "dropped by this repair", 0)

struct outcome {
    const char *word; /* for JSON; stable */
    const char *text;
    int status;
};

static uint64_t damage(const cm_check_report *r)
{
    uint64_t sum = 0;

#define CHECK_X(name, text, is_damage) sum += (is_damage) ? r->name : 0;
    CHECK_MAP(CHECK_X)
#undef CHECK_X
    return sum;
}

static struct outcome judge(const cm_check_report *r, int found, bool repair, bool refused)
{
    static const struct outcome sound = { "sound", "sound", TOOL_OK };
    static const struct outcome empty = { "sound", "sound, but the next open will empty it",
                                          TOOL_OK };
    static const struct outcome no_use = { "sound", "sound, but the next open will refuse it",
                                           TOOL_REFUSED };
    static const struct outcome repaired = { "repaired", "repaired, and sound now", TOOL_OK };
    static const struct outcome damaged = { "damaged",
                                            "damaged; the same with --repair drops what is wrong",
                                            TOOL_DAMAGE };
    static const struct outcome left = {
        "damaged",
        "damaged, and not all of it could be repaired: what is left is never served, but "
        "wasted; delete the pool and make it anew",
        TOOL_DAMAGE
    };

    /* An entry that cannot be read cannot be dropped either. */
    if (repair && (found || damage(r) + r->torn_records > r->dropped))
        return left;
    if (found)
        return damaged;
    if (refused)
        return no_use;
    if (r->would_empty)
        return empty;
    return r->dropped || (repair && r->superblocks_damaged) ? repaired : sound;
}

static void print_json(const char *pool, const cm_check_report *r, const struct outcome *o,
                       const char *why, const struct tool_args *args)
{
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_string(&j, "result", o->word);
    json_bool(&j, "repair", args->value[CHECK_REPAIR] != NULL);
    json_bool(&j, "metadata_only", args->value[CHECK_METADATA] != NULL);
#define CHECK_X(name, text, is_damage) json_number(&j, #name, r->name);
    CHECK_MAP(CHECK_X)
#undef CHECK_X
    json_bool(&j, "would_empty", r->would_empty);
    json_number(&j, "superblocks_damaged", r->superblocks_damaged);
    json_bool(&j, "untrusted", why[0] != '\0');
    json_end(&j);
}

/* Counters of damage and harmless counters are always shown, zero or not. */
static void print_lines(const char *pool, const cm_check_report *r, const struct outcome *o,
                        const char *why)
{
    char count[TOOL_NUMBER_MAX];

    tool_print(stdout, pool);
    (void)printf(": %s\n", o->text);
#define CHECK_X(name, text, is_damage)                                                             \
    (void)printf("  %c %24s  %s\n", (is_damage) && r->name ? '!' : ' ',                            \
                 tool_count(count, r->name), text);
    CHECK_MAP(CHECK_X)
#undef CHECK_X
    if (r->superblocks_damaged)
        (void)puts("  one of the two superblocks is not whole: its write was cut short by a crash, "
                   "or it is damaged; the other one serves, and the next use of the pool writes "
                   "both anew");
    if (r->would_empty)
        (void)puts("  it will be emptied because it was not closed before the system "
                   "stopped, and its volume has no DAX");
    if (why[0])
        (void)printf("  it will be refused: %s\n", why);
}

/* Will the next open refuse it? If a mount has it, that of its user. */
static bool is_refused(const char *pool, bool asked, char why[TOOL_WHY])
{
    const bool acts = asked && os_act_as_owner(pool);
    const bool is = tool_is_untrusted(pool, why);

    if (acts)
        os_act_end();
    return is;
}

/* Opens, checks and closes. *found: the library's verdict. `why`: the reason for which an open will
 * refuse the pool, or "". */
static int check_pool(const struct tool_args *args, cm_check_report *report, int *found,
                      char why[TOOL_WHY])
{
    struct tool_log log = { .pool = args->operand, .max_level = CM_LOG_WARNING };
    cm_info info = { .struct_size = sizeof(info) };
    cm_options options = CM_OPTIONS_INIT;
    const bool asked = owner_is_asked(args->operand);
    struct tool_progress progress;
    cm_cache *cache = NULL;
    uint32_t flags = 0;
    int rc;

    if (args->value[CHECK_REPAIR])
        flags |= CM_CHECK_REPAIR;
    else
        options.flags |= CM_OPEN_READONLY;
    if (args->value[CHECK_METADATA])
        flags |= CM_CHECK_METADATA;
    rc = tool_take_key_of(args->value[CHECK_KEY], args->operand, &options.seal);
    if (rc != TOOL_OK)
        return rc;
    rc = asked ? CM_EOWNED : tool_open(&log, &options, &cache);
    if (rc != 0 && rc != CM_EOWNED)
        return tool_pool_error(args->operand, rc, TOOL_OPENING);
    if ((cache ? cm_get_info(cache, &info) : cm_pool_info(args->operand, &info)) != 0)
        info.size = 0;
    if (!is_refused(args->operand, asked, why))
        why[0] = '\0';
    progress_begin(&progress, "check", flags & CM_CHECK_METADATA ? 0 : info.size, false);
    *found = cache ? cm_check(cache, flags, progress_step, &progress, report)
                   : owner_check(args->operand, flags, progress_step, &progress, report);
    if (*found == CM_EOWNED && owner_leaves(args->operand, OWNER_LEAVE_SECONDS) &&
        tool_open(&log, &options, &cache) == 0)
        *found = cm_check(cache, flags, progress_step, &progress, report);
    progress_end(&progress);
    rc = cache ? cm_close(cache) : 0;
    if (os_interrupted()) {
        tool_message(args->operand, "interrupted; the pool is %s",
                     args->value[CHECK_REPAIR] ? "closed, and partly checked" : "unchanged");
        os_end_interrupted();
    }
    if (*found == CM_EOWNED && owner_has_moved(args->operand)) {
        owner_say_moved(args->operand, "check the pool where it is now, and mount with that path");
        return TOOL_OWNED;
    }
    if (*found < 0)
        return tool_pool_error(args->operand, *found, TOOL_OPENING);
    return rc != 0 ? tool_pool_error(args->operand, rc, TOOL_OPENING) : TOOL_OK;
}

static int run_check(const struct tool_args *args)
{
    cm_check_report report = { .struct_size = sizeof(report) };
    char why[TOOL_WHY] = "";
    struct outcome outcome;
    int found = 0, status;

    os_catch_interrupts();
    status = check_pool(args, &report, &found, why);
    tool_drop_key();
    if (status != TOOL_OK)
        return status;
    outcome = judge(&report, found, args->value[CHECK_REPAIR] != NULL, why[0] != '\0');
    if (args->value[CHECK_JSON])
        print_json(args->operand, &report, &outcome, why, args);
    else
        print_lines(args->operand, &report, &outcome, why);
    return tool_end_output(outcome.status);
}

const struct tool_command tool_check = {
    .name = "check",
    .operand = "POOL",
    .summary = "Verify a pool, and repair it by dropping what is wrong",
    .help =
        "Reads the whole pool, which takes as long as its volume needs. Changes nothing\n"
        "unless --repair is given. If a process has the pool open, it must be a cachemax-mount\n"
        "of yours, which does the work then.\n"
        "Exit status: 0 sound or repaired, 3 the next open will refuse the pool (its owner or\n"
        "mode is wrong), 5 damage is left.\n"
        "A dropped block is read from the origin again when it is wanted; no data is lost.\n"
        "\n"
        "Examples:\n"
        "  cachemax check /pmem/cache.pool\n"
        "  cachemax check /pmem/cache.pool --repair\n",
    .options = check_options,
    .noptions = CHECK_OPTIONS,
    .run = run_check,
};
