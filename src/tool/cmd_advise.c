/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cmd_advise.c - "cachemax advise": what a smaller or a larger pool would serve.
 *
 * The estimates are the library's own. While the pool works, the library simulates other sizes on a
 * sample of the blocks, and puts the results on the statistics page (docs/policy.md). So this
 * command measures nothing and disturbs no program. It makes the table, the plot and the text.
 *
 * Who: main.c, by its table of commands; cmd_replay.c.
 */
#include "tool/seen.h"

#include <inttypes.h>
#include <string.h>

enum { ADVISE_JSON, ADVISE_OPTIONS };

static const struct tool_option advise_options[ADVISE_OPTIONS] = {
    [ADVISE_JSON] = { "json", 'j', TOOL_NO_ARG, NULL, "print one JSON object" },
};

#define OWN (CM_CURVE_POINTS / 2)
#define PLOT_WIDTH 40

/* Sampled reads. On real traces, estimates from READS_GOOD of them were right within a point, from
 * READS_FAIR within a few. */
#define READS_GOOD 20000u
#define READS_FAIR 4000u

static const char *const names[CM_CURVE_POINTS] = {
    "an eighth of the pool", "a quarter of the pool", "half the pool",        "this pool",
    "twice the pool",        "four times the pool",   "eight times the pool",
};
static const char *const factors[CM_CURVE_POINTS] = { "1/8", "1/4", "1/2", "1", "2", "4", "8" };

static double percent(uint64_t hits)
{
    return (double)hits / 1e4;
}

void tool_print_curve(const uint64_t hits[CM_CURVE_POINTS], uint64_t bytes)
{
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++) {
        char size[TOOL_NUMBER_MAX], bar[PLOT_WIDTH + 1];
        uint64_t n;

        (void)printf("%4s x %11s ", factors[i], tool_bytes(size, (bytes << i) >> OWN));
        if (hits[i] == CM_CURVE_UNKNOWN) {
            (void)puts("      ?");
            continue;
        }
        n = (hits[i] * PLOT_WIDTH + 500000) / 1000000;
        memset(bar, '#', sizeof(bar));
        bar[n < PLOT_WIDTH ? n : PLOT_WIDTH] = '\0';
        (void)printf("%6.1f %% |%-*s|\n", percent(hits[i]), PLOT_WIDTH, bar);
    }
}

/* Prints what another size would change. */
static void print_change(const struct seen *seen, unsigned i)
{
    const cm_stats_data *s = &seen->stats;
    char observed[SEEN_TEXT];
    const uint64_t own = s->curve_hits[OWN], other = s->curve_hits[i];
    const uint64_t missed = 1000000 - own;

    if (other == CM_CURVE_UNKNOWN) {
        seen_curve_text(seen, i, observed);
        (void)printf("%s: %s\n", names[i], observed);
        return;
    }
    (void)printf("%s: %.1f %% -> %.1f %%", names[i], percent(own), percent(other));
    if (missed == 0 || other == own)
        (void)puts(", no change");
    else if (other > own)
        (void)printf(", %.0f %% fewer reads of the origin\n", tool_percent(other - own, missed));
    else
        (void)printf(", %.0f %% more reads of the origin\n", tool_percent(own - other, missed));
}

static void print_certainty(const cm_stats_data *s)
{
    const uint64_t all = s->curve_reads + s->curve_skipped;
    char text[TOOL_NUMBER_MAX];

    (void)printf(
        "\nEstimated from %s reads of a sample of the blocks, for larger sizes from fewer: ",
        tool_count(text, s->curve_reads));
    if (s->curve_reads >= READS_GOOD)
        (void)puts("good to\nabout a point.");
    else if (s->curve_reads >= READS_FAIR)
        (void)puts("good to\na few points.");
    else
        (void)puts("a first\nguess.");
    if (s->curve_skipped * 10 > all)
        (void)printf("%.0f %% of them were left out, because many threads read at the same time.\n",
                     tool_percent(s->curve_skipped, all));
}

static void print_text(const char *pool, const struct seen *seen)
{
    const cm_stats_data *s = &seen->stats;
    const cm_info *info = &seen->info;
    char size[TOOL_NUMBER_MAX];

    tool_print(stdout, pool);
    (void)printf(": %s, serves %.1f %% of the blocks that are read%s\n\n",
                 tool_bytes(size, info->size), percent(s->curve_hits[OWN]),
                 info->owned ? "" : " (when it was open last)");
    tool_print_curve(s->curve_hits, info->size);
    (void)puts("");
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        if (i != OWN)
            print_change(seen, i);
    print_certainty(s);
}

static void print_json(const char *pool, const struct seen *seen)
{
    const cm_stats_data *s = &seen->stats;
    const cm_info *info = &seen->info;
    struct seen_need need;
    struct tool_json j;

    seen_curve_needs(info, OWN, &need);

    json_begin(&j, stdout, false);
    json_string(&j, "pool", pool);
    json_number(&j, "size", info->size);
    json_bool(&j, "owned", info->owned);
    json_bool(&j, "known", s->curve_hits[OWN] != CM_CURVE_UNKNOWN);
    json_curve(&j, s->curve_hits);
    json_number(&j, "curve_reads", s->curve_reads);
    json_number(&j, "curve_reads_needed", need.sampled);
    json_number(&j, "curve_skipped", s->curve_skipped);
    json_number(&j, "block_reads", seen_lookups(s));
    json_number(&j, "block_reads_needed", need.blocks);
    json_end(&j);
}

static int run_advise(const struct tool_args *args)
{
    const char *pool = args->operand;
    char observed[SEEN_TEXT];
    struct seen_need need;
    struct seen seen;
    int rc = seen_read(pool, &seen);

    if (rc != 0)
        return tool_pool_error(pool, rc, TOOL_OPENING);
    if (args->value[ADVISE_JSON])
        print_json(pool, &seen);
    if (seen.stats.curve_hits[OWN] == CM_CURVE_UNKNOWN) {
        seen_curve_text(&seen, OWN, observed);
        seen_curve_needs(&seen.info, OWN, &need);
        tool_message(pool,
                     "not enough reads yet: %s; the sample has %" PRIu64
                     " since the pool was opened or grew, and needs %" PRIu64
                     "; read through the pool and ask again",
                     observed, seen.stats.curve_reads, need.sampled);
        return tool_end_output(TOOL_UNKNOWN);
    }
    if (!args->value[ADVISE_JSON])
        print_text(pool, &seen);
    return tool_end_output(TOOL_OK);
}

const struct tool_command tool_advise = {
    .name = "advise",
    .operand = "POOL",
    .summary = "Say what the pool would serve if it were smaller or larger",
    .help =
        "While a pool is open, the library simulates seven sizes on a sample of the blocks that\n"
        "are read: from an eighth of the pool to eight times it. This prints what came of it, for\n"
        "a pool that a process has open or for its last session; exit status 6 while too little\n"
        "was read to say anything. Then it says how much was read, and about how much it needs:\n"
        "for the pool's own size about as many blocks as the pool has, twice. A point is one\n"
        "percent of the blocks that are read.\n"
        "\n"
        "Examples:\n"
        "  cachemax advise /pmem/cache.pool\n"
        "  cachemax advise /pmem/cache.pool --json | jq '.curve[] | select(.factor == 2)'\n",
    .options = advise_options,
    .noptions = ADVISE_OPTIONS,
    .run = run_advise,
};
