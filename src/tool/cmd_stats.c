/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_stats.c - "cachemax stats": the counters of a pool, once or repeatedly.
 *
 * Reads the statistics page of the pool file, so it works while another process owns the pool, and
 * disturbs no process. --watch prints what happened between two reads of the page. If a counter
 * fell, a new session has begun, and the difference is its own value.
 */
#include "tool/tool.h"
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
                      "print a line every so many seconds (default 1)" },
};

#define WATCH_MIN 0.05
#define WATCH_MAX 86400.0
#define HEADER_EVERY 20

static int read_pool(const char *pool, cm_stats_data *stats, cm_info *info)
{
    int rc;

    memset(stats, 0, sizeof(*stats));
    memset(info, 0, sizeof(*info));
    stats->struct_size = sizeof(*stats);
    info->struct_size = sizeof(*info);
    rc = cm_pool_info(pool, info);
    if (rc == 0)
        rc = cm_pool_stats(pool, stats);
    return rc;
}

/* The number of blocks looked up. */
static uint64_t lookups(const cm_stats_data *s)
{
    return s->hit_blocks + s->miss_blocks;
}

static void json_hit_rate(struct tool_json *j, const cm_stats_data *s)
{
    if (lookups(s))
        json_decimal(j, "hit_rate_percent", tool_share(s->hit_blocks, lookups(s)), 2);
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

/* Wear, in the unit of drive makers: how often the whole pool was written, in total and per day. */
struct wear {
    double session; /* seconds; 0: the end of the session is not known */
    double life;
    double session_daily, life_daily; /* negative: too early to say */
};

#define DAILY_FROM 600 /* seconds: a shorter time says little about a day */

static double daily(uint64_t bytes, const cm_info *info, double seconds)
{
    return seconds < DAILY_FROM || !info->size
               ? -1
               : (double)bytes / (double)info->size / (seconds / 86400);
}

static struct wear wear_of(const cm_stats_data *s, const cm_info *info)
{
    const uint64_t now = os_wall_time(), end = info->owned ? now : s->closed_at_ns;
    struct wear w = { .life_daily = -1 };

    if (s->opened_at_ns && end > s->opened_at_ns)
        w.session = (double)(end - s->opened_at_ns) / 1e9;
    w.session_daily = daily(s->pool_bytes, info, w.session);
    w.life = info->size ? (double)s->lifetime_pool_bytes / (double)info->size : 0;
    if (now > info->created_at_ns)
        w.life_daily =
            daily(s->lifetime_pool_bytes, info, (double)(now - info->created_at_ns) / 1e9);
    return w;
}

static void json_daily(struct tool_json *j, const char *name, double figure)
{
    if (figure >= 0)
        json_decimal(j, name, figure, 6);
    else
        json_null(j, name);
}

static void json_wear(struct tool_json *j, const struct wear *w)
{
    if (w->session > 0)
        json_decimal(j, "session_seconds", w->session, 3);
    else
        json_null(j, "session_seconds");
    json_daily(j, "drive_writes_per_day", w->session_daily);
    json_decimal(j, "lifetime_drive_writes", w->life, 6);
    json_daily(j, "lifetime_drive_writes_per_day", w->life_daily);
}

static void print_wear(const struct wear *w)
{
    (void)fputs("wear: ", stdout);
    if (w->session_daily >= 0)
        (void)printf("%.2f drive writes a day at the rate of this session; ", w->session_daily);
    else if (w->session > 0)
        (void)fputs("too early for the rate of this session; ", stdout);
    if (w->life_daily >= 0)
        (void)printf("%.2f a day, %.2f in all, since the pool was made\n", w->life_daily, w->life);
    else
        (void)printf(
            "%.2f drive writes in all since the pool was made, too early for a daily rate\n",
            w->life);
}

static void print_json(const char *pool, const cm_stats_data *s, const cm_info *info)
{
    const struct wear wear = wear_of(s, info);
    struct tool_json j;

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_owner(&j, info);
    json_hit_rate(&j, s);
    for (unsigned i = 0; cm_stat_name(i); i++)
        json_number(&j, cm_stat_name(i), cm_stat_value(s, i));
    json_number(&j, "lifetime_pool_bytes", s->lifetime_pool_bytes);
    json_number(&j, "opened_at_ns", s->opened_at_ns);
    json_number(&j, "closed_at_ns", s->closed_at_ns);
    json_wear(&j, &wear);
    json_numbers(&j, "hit_latency", s->hit_latency, CM_LATENCY_BUCKETS);
    json_numbers(&j, "origin_latency", s->origin_latency, CM_LATENCY_BUCKETS);
    json_curve(&j, s->curve_hits);
    json_number(&j, "curve_reads", s->curve_reads);
    json_number(&j, "curve_skipped", s->curve_skipped);
    json_end(&j);
}

/* Upper bound of the bucket at which `share` of all samples is reached; 0 without samples. */
static uint64_t percentile(const uint64_t *buckets, double share)
{
    uint64_t all = 0, sum = 0;

    for (int i = 0; i < CM_LATENCY_BUCKETS; i++)
        all += buckets[i];
    for (int i = 0; i < CM_LATENCY_BUCKETS; i++) {
        sum += buckets[i];
        if (all && (double)sum >= share * (double)all)
            return UINT64_C(2) << i;
    }
    return 0;
}

static void print_latency(const char *what, const uint64_t *buckets)
{
    char a[TOOL_NUMBER_MAX], b[TOOL_NUMBER_MAX], c[TOOL_NUMBER_MAX];

    if (percentile(buckets, 1))
        (void)printf("%s: half below %s, 99 %% below %s, all below %s\n", what,
                     tool_duration(a, percentile(buckets, 0.5)),
                     tool_duration(b, percentile(buckets, 0.99)),
                     tool_duration(c, percentile(buckets, 1)));
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

static void print_lines(const char *pool, const cm_stats_data *s, const cm_info *info)
{
    char opened[32] = "";
    const struct wear wear = wear_of(s, info);
    time_t at = (time_t)(s->opened_at_ns / 1000000000);
    struct tm *local = s->opened_at_ns ? localtime(&at) : NULL;

    if (local)
        (void)strftime(opened, sizeof(opened), " since %Y-%m-%d %H:%M:%S", local);
    if (info->owned && info->owner_pid == 0)
        (void)printf("%s: open%s\n", pool, opened);
    else if (info->owned)
        (void)printf("%s: open in process %" PRIu32 "%s\n", pool, info->owner_pid, opened);
    else
        (void)printf("%s: not open; counters of the last session%s\n", pool,
                     opened[0] ? opened : ": none yet");
    if (lookups(s))
        (void)printf("hit rate: %.2f %%\n", tool_share(s->hit_blocks, lookups(s)));
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
    print_wear(&wear);
    if (s->unrecorded)
        (void)printf("files without a record: %" PRIu64
                     "; create the pool with --max-files %" PRIu64 " to keep them\n",
                     s->unrecorded, files_wanted(s, info));
}

/* now - before, for each counter. A counter that is smaller in `now` began a new session. */
static void subtract(cm_stats_data *d, const cm_stats_data *now, const cm_stats_data *before)
{
    bool anew = now->opened_at_ns != before->opened_at_ns;

    memset(d, 0, sizeof(*d));
#define STATS_X(name, text)                                                                        \
    d->name = anew || now->name < before->name ? now->name : now->name - before->name;
    CM_STAT_MAP(STATS_X)
#undef STATS_X
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
    if (lookups(d))
        (void)snprintf(rate, sizeof(rate), "%.2f", tool_share(d->hit_blocks, lookups(d)));
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
    cm_stats_data now, before, difference;
    cm_info info;
    uint64_t then = cm_now();
    int rc = read_pool(w->pool, &before, &info);

    w->was_owned = info.owned;
    if (rc == 0 && !info.owned)
        tool_message(w->pool, "is not open; waiting for a process to open it");
    while (rc == 0) {
        uint64_t at;
        double seconds;

        os_sleep(w->interval);
        rc = read_pool(w->pool, &now, &info);
        if (rc != 0)
            break;
        at = cm_now();
        seconds = at > then ? (double)(at - then) / 1e9 : w->interval;
        subtract(&difference, &now, &before);
        if (w->json)
            print_watch_json(&difference, &info, seconds);
        else
            print_watch_line(w, &difference, &info, seconds);
        if (tool_end_output(TOOL_OK) != TOOL_OK)
            return TOOL_FAILED;
        before = now;
        then = at;
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
    cm_stats_data stats;
    cm_info info;
    int rc;

    if (args->value[STATS_WATCH]) {
        struct watch w = { .pool = args->operand, .json = args->value[STATS_JSON] != NULL };

        rc = read_interval(args->value[STATS_WATCH], &w.interval);
        return rc == TOOL_OK ? watch(&w) : rc;
    }
    rc = read_pool(args->operand, &stats, &info);
    if (rc != 0)
        return tool_pool_error(args->operand, rc, TOOL_OPENING);
    if (args->value[STATS_JSON])
        print_json(args->operand, &stats, &info);
    else
        print_lines(args->operand, &stats, &info);
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
            "A drive write is as many bytes as the pool has.\n"
            "\n"
            "Examples:\n"
            "  cachemax stats /pmem/cache.pool\n"
            "  cachemax stats /pmem/cache.pool --watch=5\n"
            "  cachemax stats /pmem/cache.pool --json | jq .hit_rate_percent\n",
    .options = stats_options,
    .noptions = STATS_OPTIONS,
    .run = run_stats,
};
