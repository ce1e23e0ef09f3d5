/* SPDX-License-Identifier: BSD-2-Clause
 *
 * report.c - the table and the JSON of a comparison without a mount.
 *
 * Owns: nothing. The keys are those that report.py writes, as far as there is something to say.
 * Figures are medians over the rounds.
 *
 * Who: here.c.
 */
#include "tool/compare/compare.h"

#include <stdlib.h>
#include <string.h>

const char *const compare_titles[WORKS] = { "4 KiB random reads, 4 jobs",
                                            "128 KiB sequential reads" };
static const char *const keys[WORKS] = { "random-read", "sequential-read" };
static const char *const places[WHERES] = { "origin", "fast", "cold", "warm" };
static const char *const place_titles[WHERES] = { "origin alone", "fast volume alone",
                                                  "cache, cold", "cache, warm" };
static const char note[] = "the cache is read through the library, in this process: without the "
                           "calls that a mount adds";
static const char mapped[] =
    "the pool is mapped: hits may come from memory, where the system keeps "
    "pages of the pool, and not from the fast volume";

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of one figure, that lies `at` bytes into the figures of each round. */
static double median(const struct compare_result *r, unsigned work, unsigned where, size_t at)
{
    double v[COMPARE_COUNT_MOST];

    for (unsigned i = 0; i < r->rounds; i++)
        memcpy(&v[i], (const char *)&r->figures[work][where][i] + at, sizeof(v[i]));
    qsort(v, r->rounds, sizeof(v[0]), by_size);
    return (v[r->rounds / 2] + v[(r->rounds - 1) / 2]) / 2;
}
#define MEDIAN(r, work, where, figure)                                                             \
    median(r, work, where, offsetof(struct compare_figures, figure))

static double ratio(const struct compare_result *r, unsigned work, unsigned a, unsigned b)
{
    const double base = MEDIAN(r, work, b, iops);

    return base > 0 ? MEDIAN(r, work, a, iops) / base : 0;
}

static const char *number(char text[TOOL_NUMBER_MAX], double value)
{
    if (value <= 0)
        return "-";
    (void)snprintf(text, TOOL_NUMBER_MAX, value >= 100 ? "%.0f" : "%.3g", value);
    return text;
}

void compare_table(const struct compare_result *r, FILE *out)
{
    for (unsigned w = 0; w < WORKS; w++) {
        char a[TOOL_NUMBER_MAX], b[TOOL_NUMBER_MAX], c[TOOL_NUMBER_MAX], d[TOOL_NUMBER_MAX];
        char e[TOOL_NUMBER_MAX];

        (void)fprintf(out, "%-30s %10s %10s %12s %12s %12s\n", compare_titles[w], "IOPS", "MB/s",
                      "mean us", "p99 us", "to origin");
        for (unsigned p = 0; p < WHERES; p++)
            (void)fprintf(out, "  %-28s %10s %10s %12s %12s %10s x\n", place_titles[p],
                          number(a, MEDIAN(r, w, p, iops)),
                          number(b, MEDIAN(r, w, p, bytes_per_second) / 1e6),
                          number(c, MEDIAN(r, w, p, mean_us)), number(d, MEDIAN(r, w, p, p99_us)),
                          number(e, ratio(r, w, p, WHERE_ORIGIN)));
        (void)fprintf(out,
                      "  the warm cache has %s times the IOPS of the origin, %s times those of the "
                      "fast volume\n\n",
                      number(a, ratio(r, w, WHERE_WARM, WHERE_ORIGIN)),
                      number(b, ratio(r, w, WHERE_WARM, WHERE_FAST)));
    }
    (void)fprintf(out, "note: %s\n", note);
    if (r->mapped)
        (void)fprintf(out, "note: %s\n", mapped);
    if (r->hit_percent < 99)
        (void)fprintf(out, "note: only %.0f %% of the blocks of a warm run came from the pool\n",
                      r->hit_percent);
}

static void put_work(struct tool_json *j, const struct compare_result *r, unsigned w)
{
    json_open(j, NULL);
    json_string(j, "name", keys[w]);
    json_string(j, "title", compare_titles[w]);
    json_open(j, "places");
    for (unsigned p = 0; p < WHERES; p++) {
        json_open(j, places[p]);
        json_decimal(j, "iops", MEDIAN(r, w, p, iops), 3);
        json_decimal(j, "bytes_per_second", MEDIAN(r, w, p, bytes_per_second), 3);
        json_decimal(j, "mean_us", MEDIAN(r, w, p, mean_us), 3);
        json_decimal(j, "p99_us", MEDIAN(r, w, p, p99_us), 3);
        json_open_array(j, "rounds_iops");
        for (unsigned i = 0; i < r->rounds; i++)
            json_decimal(j, NULL, r->figures[w][p][i].iops, 3);
        json_close_array(j);
        json_close(j);
    }
    json_close(j);
    json_open(j, "ratios");
    json_decimal(j, "cold_to_origin", ratio(r, w, WHERE_COLD, WHERE_ORIGIN), 3);
    json_decimal(j, "warm_to_origin", ratio(r, w, WHERE_WARM, WHERE_ORIGIN), 3);
    json_decimal(j, "warm_to_fast", ratio(r, w, WHERE_WARM, WHERE_FAST), 3);
    json_close(j);
    json_close(j);
}

static void put_place(struct tool_json *j, const char *key, const char *directory, const char *type)
{
    json_open(j, key);
    json_string(j, "directory", directory);
    json_string(j, "file_system", type);
    json_bool(j, "direct", true);
    json_close(j);
}

void compare_json(const struct compare_result *r, FILE *out)
{
    struct tool_json j;

    json_begin(&j, out, false);
    json_number(&j, "version", 1);
    json_string(&j, "cachemax", cm_version());
    put_place(&j, "origin", r->origin, r->origin_type);
    put_place(&j, "pool_volume", r->pool_volume, r->pool_type);
    json_number(&j, "pool_bytes", r->pool_bytes);
    json_decimal(&j, "hit_percent", r->hit_percent, 2);
    json_number(&j, "size_bytes", r->bytes);
    json_number(&j, "seconds", r->seconds);
    json_number(&j, "rounds", r->rounds);
    json_open_array(&j, "notes");
    json_string(&j, NULL, note);
    if (r->mapped)
        json_string(&j, NULL, mapped);
    json_close_array(&j);
    json_open_array(&j, "workloads");
    for (unsigned w = 0; w < WORKS; w++)
        put_work(&j, r, w);
    json_close_array(&j);
    json_end(&j);
}
