/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_stats.c - "cachemax stats": the counters of a pool, once or repeatedly.
 *
 * Reads the statistics page of the pool file, so it works while another process owns the pool, and
 * disturbs no process. --watch prints what happened between two reads of the page (seen.c).
 *
 * Who: main.c, by its table of commands.
 */
#include "tool/seen.h"
#include "tool/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STATS_JSON, STATS_WATCH, STATS_OPTIONS };

static const struct tool_option stats_options[STATS_OPTIONS] = {
    [STATS_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print JSON; with --watch one object a line" },
    [STATS_WATCH] = { "watch", 'w', TOOL_MAY_ARG, "SECONDS",
                      "print a line every so many seconds: 0.05 to 86400 (default 1)" },
};

#define WATCH_MIN 0.05
#define WATCH_MAX 86400.0
#define HEADER_EVERY 20

static void json_hit_rate(struct tool_json *j, const cm_stats_data *s)
{
    if (seen_lookups(s))
        json_decimal(j, "hit_rate_percent", tool_share(s->hit_blocks, seen_lookups(s)), 2);
    else
        json_null(j, "hit_rate_percent");
}

static void json_owner(struct tool_json *j, const cm_info *info)
{
    json_bool(j, "owned", info->owned);
    if (info->owned && info->owner_pid)
        json_number(j, "owner_pid", info->owner_pid);
    else
        json_null(j, "owner_pid");
}

static void json_daily(struct tool_json *j, const char *name, double figure)
{
    if (figure >= 0)
        json_decimal(j, name, figure, 6);
    else
        json_null(j, name);
}

static void json_wear(struct tool_json *j, const struct seen *s)
{
    struct seen_wear w;

    seen_wear(s, &w);
    if (w.session > 0)
        json_decimal(j, "session_seconds", w.session, 3);
    else
        json_null(j, "session_seconds");
    json_daily(j, "drive_writes_per_day", w.session_daily);
    json_decimal(j, "drive_writes_per_day_needs_seconds", SEEN_SESSION_NEEDS, 0);
    json_decimal(j, "lifetime_seconds", w.life, 3);
    json_decimal(j, "lifetime_drive_writes", w.writes, 6);
    json_daily(j, "lifetime_drive_writes_per_day", w.life_daily);
    json_decimal(j, "lifetime_drive_writes_per_day_needs_seconds", SEEN_LIFE_NEEDS, 0);
}

static void print_wear(const struct seen *s)
{
    char life[SEEN_TEXT], session[SEEN_TEXT];
    struct seen_wear w;

    seen_wear(s, &w);
    seen_wear_texts(&w, life, session);
    (void)printf("wear: %s\n", life);
    if (session[0])
        (void)printf("wear of this session: %s\n", session);
}

static void print_json(const char *pool, const struct seen *seen)
{
    const cm_stats_data *s = &seen->stats;
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_owner(&j, &seen->info);
    json_hit_rate(&j, s);
    for (unsigned i = 0; cm_stat_name(i); i++)
        json_number(&j, cm_stat_name(i), cm_stat_value(s, i));
    json_number(&j, "lifetime_pool_bytes", s->lifetime_pool_bytes);
    json_number(&j, "opened_at_ns", s->opened_at_ns);
    json_number(&j, "closed_at_ns", s->closed_at_ns);
    json_wear(&j, seen);
    json_numbers(&j, "hit_latency", s->hit_latency, CM_LATENCY_BUCKETS);
    json_numbers(&j, "origin_latency", s->origin_latency, CM_LATENCY_BUCKETS);
    json_curve(&j, s->curve_hits);
    json_number(&j, "curve_reads", s->curve_reads);
    json_number(&j, "curve_skipped", s->curve_skipped);
    json_end(&j);
}

static void print_latency(const char *what, const uint64_t *buckets)
{
    char a[TOOL_NUMBER_MAX], b[TOOL_NUMBER_MAX], c[TOOL_NUMBER_MAX];

    if (seen_percentile(buckets, 1))
        (void)printf("%s: half below %s, 99 %% below %s, all below %s\n", what,
                     tool_duration(a, seen_percentile(buckets, 0.5)),
                     tool_duration(b, seen_percentile(buckets, 0.99)),
                     tool_duration(c, seen_percentile(buckets, 1)));
}

/* Most counters are 0 in a healthy pool. They are left out (JSON has them all). */
static void print_counter(const char *name, uint64_t value, const char *explain)
{
    char text[TOOL_NUMBER_MAX];
    bool bytes = strstr(name, "_bytes") != NULL;

    if (value)
        (void)printf("  %-52s %s\n", explain,
                     bytes ? tool_bytes_exact(text, value) : tool_count(text, value));
}

/* How many files the pool should have room for, so that each finds a record: those that it knows
 * and those that found none, rounded up generously. */
static uint64_t files_wanted(const cm_stats_data *s, const cm_info *info)
{
    const uint64_t files = info->max_files + s->unrecorded;
    uint64_t step = 1000;

    while (files / step >= 100)
        step *= 10;
    return (files / step + 1) * step;
}

/* Where the table has room, a larger one would not help. */
static void print_unrecorded(const cm_stats_data *s, const cm_info *info)
{
    if (info->used_files < info->max_files / 2)
        (void)printf("files without a record: %" PRIu64
                     "; the file table has room, so it could not be written: if the pool is "
                     "sparse, make room on its volume\n",
                     s->unrecorded);
    else
        (void)printf("files without a record: %" PRIu64
                     "; create the pool with --max-files %" PRIu64 " to keep them\n",
                     s->unrecorded, files_wanted(s, info));
}

static void print_lines(const char *pool, const struct seen *seen)
{
    const cm_stats_data *s = &seen->stats;
    const cm_info *info = &seen->info;
    char opened[32] = "";
    time_t at = (time_t)(s->opened_at_ns / 1000000000);
    struct tm *local = s->opened_at_ns ? localtime(&at) : NULL;

    if (local)
        (void)strftime(opened, sizeof(opened), " since %Y-%m-%d %H:%M:%S", local);
    tool_print(stdout, pool);
    if (info->owned && info->owner_pid == 0)
        (void)printf(": open%s\n", opened);
    else if (info->owned)
        (void)printf(": open in process %" PRIu32 "%s\n", info->owner_pid, opened);
    else
        (void)printf(": not open; counters of the last session%s\n",
                     opened[0] ? opened : ": none yet");
    if (seen_lookups(s))
        (void)printf("hit rate: %.2f %%\n", tool_share(s->hit_blocks, seen_lookups(s)));
    else
        (void)puts("hit rate: nothing read yet");
    print_latency("hits", s->hit_latency);
    print_latency("origin reads", s->origin_latency);
    for (unsigned i = 0; cm_stat_name(i); i++)
        print_counter(cm_stat_name(i), cm_stat_value(s, i), cm_stat_text(i));
    unsigned known = 0;
    while (cm_stat_name(known))
        known++;
    if (s->counters > known)
        (void)printf("  (%u more, of a newer version than this one)\n", s->counters - known);
    print_counter("lifetime_pool_bytes", s->lifetime_pool_bytes,
                  "bytes written to the pool since it was made");
    print_wear(seen);
    if (s->unrecorded)
        print_unrecorded(s, info);
}

struct watch {
    const char *pool;
    bool json;
    double interval;
    uint64_t lines;
    bool was_owned;
};

static void print_watch_json(const cm_stats_data *d, const cm_info *info, double seconds)
{
    struct tool_json j;

    json_begin(&j, stdout, true);
    json_decimal(&j, "seconds", seconds, 3);
    json_owner(&j, info);
    json_hit_rate(&j, d);
    json_decimal(&j, "hits_per_second", (double)d->hit_blocks / seconds, 1);
    json_decimal(&j, "hit_bytes_per_second", (double)d->hit_bytes / seconds, 1);
    json_decimal(&j, "fills_per_second", (double)d->fill_blocks / seconds, 1);
    json_decimal(&j, "pool_bytes_per_second", (double)d->pool_bytes / seconds, 1);
    json_end(&j);
}

static void print_watch_line(struct watch *w, const cm_stats_data *d, const cm_info *info,
                             double seconds)
{
    char rate[16] = "-";

    if (w->lines++ % HEADER_EVERY == 0)
        (void)printf("%8s %12s %12s %12s %14s\n", "hit %", "hits/s", "hit MB/s", "fills/s",
                     "pool write MB/s");
    if (seen_lookups(d))
        (void)snprintf(rate, sizeof(rate), "%.2f", tool_share(d->hit_blocks, seen_lookups(d)));
    (void)printf("%8s %12.0f %12.1f %12.0f %14.2f\n", rate, (double)d->hit_blocks / seconds,
                 (double)d->hit_bytes / 1e6 / seconds, (double)d->fill_blocks / seconds,
                 (double)d->pool_bytes / 1e6 / seconds);
    if (w->was_owned && !info->owned)
        tool_message(w->pool, "was closed; waiting for it to be opened again");
    w->was_owned = info->owned;
}

/* Runs until the pool is gone, output fails or a signal ends the process. */
static int watch(struct watch *w)
{
    struct seen now, before;
    cm_stats_data difference;
    int rc = seen_read(w->pool, &before);

    w->was_owned = before.info.owned;
    if (rc == 0 && !before.info.owned)
        tool_message(w->pool, "is not open; waiting for a process to open it");
    while (rc == 0) {
        double seconds;

        os_sleep(w->interval);
        rc = seen_read(w->pool, &now);
        if (rc != 0)
            break;
        seconds = now.at > before.at ? (double)(now.at - before.at) / 1e9 : w->interval;
        seen_subtract(&difference, &now.stats, &before.stats);
        if (w->json)
            print_watch_json(&difference, &now.info, seconds);
        else
            print_watch_line(w, &difference, &now.info, seconds);
        if (tool_end_output(TOOL_OK) != TOOL_OK)
            return TOOL_FAILED;
        before = now;
    }
    return tool_pool_error(w->pool, rc, TOOL_OPENING);
}

static int read_interval(const char *text, double *interval)
{
    char *end;

    *interval = 1;
    if (!*text)
        return TOOL_OK;
    errno = 0;
    *interval = strtod(text, &end);
    if (*end == '\0' && errno == 0 && *interval >= WATCH_MIN && *interval <= WATCH_MAX)
        return TOOL_OK;
    tool_message(NULL, "--watch '%s' is not a number of seconds from %.2f to %.0f; write --watch=5",
                 text, WATCH_MIN, WATCH_MAX);
    return TOOL_USAGE;
}

static int run_stats(const struct tool_args *args)
{
    struct seen seen;
    int rc;

    if (args->value[STATS_WATCH]) {
        struct watch w = { .pool = args->operand, .json = args->value[STATS_JSON] != NULL };

        rc = read_interval(args->value[STATS_WATCH], &w.interval);
        return rc == TOOL_OK ? watch(&w) : rc;
    }
    rc = seen_read(args->operand, &seen);
    if (rc != 0)
        return tool_pool_error(args->operand, rc, TOOL_OPENING);
    if (args->value[STATS_JSON])
        print_json(args->operand, &seen);
    else
        print_lines(args->operand, &seen);
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_stats = {
    .name = "stats",
    .operand = "POOL",
    .summary = "Show what a pool does, also while another process has it open",
    .help = "Counters begin anew whenever the pool is opened. With --watch every line is about\n"
            "one interval: hit rate, hits, bytes served, blocks stored and bytes written to\n"
            "the pool, each per second; MB are 1000000 bytes. Ctrl-C ends it.\n"
            "\n"
            "A drive write is as many bytes as the pool has now. So after 'cachemax resize' what\n"
            "was written before counts by the new size: by a smaller one as more drive writes. A\n"
            "figure a day needs an hour of the session, and a day since the pool was made; before\n"
            "that the output says how long it has observed. A shorter time would mostly show how\n"
            "the pool was filled first.\n"
            "\n"
            "Examples:\n"
            "  cachemax stats /pmem/cache.pool\n"
            "  cachemax stats /pmem/cache.pool --watch=5\n"
            "  cachemax stats /pmem/cache.pool --json | jq .hit_rate_percent\n",
    .options = stats_options,
    .noptions = STATS_OPTIONS,
    .run = run_stats,
};
