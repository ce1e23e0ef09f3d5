/* SPDX-License-Identifier: BSD-2-Clause
 *
 * metrics.c - the counters of pools in the text formats of Prometheus and of OpenMetrics.
 *
 * Owns the names of the metrics. A counter of the library keeps its name and its text; its name
 * ends in _total, times are in seconds. The formats differ in the name that a counter's TYPE line
 * has, in UNIT lines and in the end. A histogram has no _sum: the library counts calls by their
 * duration and does not add the durations up.
 *
 * Who: answer.c.
 */
#include "tool/dash/dash.h"

#include <inttypes.h>
#include <string.h>

#define PREFIX "cachemax_"

struct writer {
    const struct dash *d;
    FILE *out;
    bool open; /* OpenMetrics */
};

bool dash_wants_open_metrics(const char *accept)
{
    static const char name[] = "application/openmetrics-text";
    const char *found = accept ? strstr(accept, name) : NULL;
    size_t n;

    if (!found)
        return false;
    found += sizeof(name) - 1;
    n = strcspn(found, ",");
    for (const char *q = found; q < found + n; q++)
        if (!strncmp(q, "q=0", 3) && strspn(q + 3, ".0") == strcspn(q + 3, ";,"))
            return false; /* it is named to be refused */
    return true;
}

/* A label's value; what is not UTF-8 becomes U+FFFD. */
static void put_value(FILE *out, const char *text)
{
    while (*text) {
        uint32_t code;
        const size_t n = tool_utf8(text, &code);

        if (n == 0)
            (void)fputs("\xef\xbf\xbd", out);
        else if (*text == '\\' || *text == '"')
            (void)fprintf(out, "\\%c", *text);
        else if (*text == '\n')
            (void)fputs("\\n", out);
        else
            (void)fwrite(text, 1, n, out);
        text += n ? n : 1;
    }
}

/* `help` is a text of the library or of this file: no escapes are needed. */
static void family(const struct writer *w, const char *name, const char *type, const char *unit,
                   const char *help)
{
    const bool total = !w->open && !strcmp(type, "counter");

    (void)fprintf(w->out, "# HELP " PREFIX "%s%s %s\n", name, total ? "_total" : "", help);
    (void)fprintf(w->out, "# TYPE " PREFIX "%s%s %s\n", name, total ? "_total" : "", type);
    if (w->open && unit)
        (void)fprintf(w->out, "# UNIT " PREFIX "%s %s\n", name, unit);
}

/* Up to the value. `label` may be NULL. */
static void sample(const struct writer *w, const struct dash_pool *p, const char *name,
                   const char *suffix, const char *label, const char *value)
{
    (void)fprintf(w->out, PREFIX "%s%s{pool=\"", name, suffix);
    put_value(w->out, p->path);
    (void)fputc('"', w->out);
    if (label) {
        (void)fprintf(w->out, ",%s=\"", label);
        put_value(w->out, value);
        (void)fputc('"', w->out);
    }
    (void)fputs("} ", w->out);
}

static const struct dash_pool *next_pool(const struct writer *w, size_t *i)
{
    while (*i < w->d->n && w->d->pool[*i].error)
        ++*i;
    return *i < w->d->n ? &w->d->pool[(*i)++] : NULL;
}
#define FOR_POOLS(w, p) for (size_t at = 0; ((p) = next_pool(w, &at)) != NULL;)

static const char *unit_of(const char *name)
{
    const size_t n = strlen(name);

    return n > 6 && !strcmp(name + n - 6, "_bytes")     ? "bytes"
           : n > 8 && !strcmp(name + n - 8, "_seconds") ? "seconds"
                                                        : NULL;
}

static void counters(const struct writer *w)
{
    const struct dash_pool *p;
    char name[64];

    for (unsigned i = 0; cm_stat_name(i); i++) {
        const size_t n = strlen(cm_stat_name(i));
        const bool us = n > 3 && !strcmp(cm_stat_name(i) + n - 3, "_us");
        static const char micro[] = "micro"; /* "microseconds that ...", in seconds */
        const char *help = cm_stat_text(i);

        (void)snprintf(name, sizeof(name), "%.*s%s", (int)(us ? n - 3 : n), cm_stat_name(i),
                       us ? "_seconds" : "");
        if (us && !strncmp(help, micro, sizeof(micro) - 1))
            help += sizeof(micro) - 1;
        family(w, name, "counter", unit_of(name), help);
        FOR_POOLS(w, p)
        {
            const uint64_t value = cm_stat_value(&p->history.now.stats, i);

            sample(w, p, name, "_total", NULL, NULL);
            if (us)
                (void)fprintf(w->out, "%.6f\n", (double)value / 1e6);
            else
                (void)fprintf(w->out, "%" PRIu64 "\n", value);
        }
    }
}

static void histogram(const struct writer *w, const char *name, const char *help, size_t offset)
{
    const struct dash_pool *p;

    family(w, name, "histogram", "seconds", help);
    FOR_POOLS(w, p)
    {
        const uint64_t *b =
            (const uint64_t *)(const void *)((const char *)&p->history.now.stats + offset);
        uint64_t sum = 0;

        for (unsigned i = 0; i < CM_LATENCY_BUCKETS; i++) {
            char bound[32] = "+Inf";

            sum += b[i];
            if (i + 1 < CM_LATENCY_BUCKETS)
                (void)snprintf(bound, sizeof(bound), "%.10g", (double)(UINT64_C(2) << i) / 1e9);
            sample(w, p, name, "_bucket", "le", bound);
            (void)fprintf(w->out, "%" PRIu64 "\n", sum);
        }
        if (!w->open) { /* there a count needs a sum */
            sample(w, p, name, "_count", NULL, NULL);
            (void)fprintf(w->out, "%" PRIu64 "\n", sum);
        }
    }
}

/* Values of a pool that are no counters of the map. */
#define GAUGES(X)                                                                                  \
    X("open", "gauge", NULL, "1: a process has the pool open", s->info.owned)                      \
    X("size_bytes", "gauge", "bytes", "size of the pool file", s->info.size)                       \
    X("slots", "gauge", NULL, "blocks that there is room for", s->info.slots)                      \
    X("files", "gauge", NULL, "files that the pool knows (estimated in a large table)",            \
      s->info.used_files)                                                                          \
    X("files_limit", "gauge", NULL, "files that find a record", s->info.max_files)                 \
    X("lifetime_pool_bytes", "counter", "bytes",                                                   \
      "bytes written to the pool since it was made: its wear", s->stats.lifetime_pool_bytes)       \
    X("curve_reads", "gauge", NULL, "reads of the sample behind the estimated hit ratios",         \
      s->stats.curve_reads)                                                                        \
    X("curve_reads_needed", "gauge", NULL,                                                         \
      "reads of the sample that an estimate for the pool's own size needs", need.sampled)

static void gauges(const struct writer *w)
{
    const struct dash_pool *p;

#define X(name, type, unit, help, value)                                                           \
    family(w, name, type, unit, help);                                                             \
    FOR_POOLS(w, p)                                                                                \
    {                                                                                              \
        const struct seen *s = &p->history.now;                                                    \
        struct seen_need need;                                                                     \
        seen_curve_needs(&s->info, CM_CURVE_POINTS / 2, &need);                                    \
        sample(w, p, name, !strcmp(type, "counter") ? "_total" : "", NULL, NULL);                  \
        (void)fprintf(w->out, "%" PRIu64 "\n", (uint64_t)(value));                                 \
    }
    GAUGES(X)
#undef X
}

static void times_and_curve(const struct writer *w)
{
    static const char *const factors[CM_CURVE_POINTS] = {
        "0.125", "0.25", "0.5", "1", "2", "4", "8"
    };
    const struct dash_pool *p;

    family(w, "opened_time_seconds", "gauge", "seconds",
           "when the pool was opened, from which its counters count, since 1970");
    FOR_POOLS(w, p)
    {
        sample(w, p, "opened_time_seconds", "", NULL, NULL);
        (void)fprintf(w->out, "%.3f\n", (double)p->history.now.stats.opened_at_ns / 1e9);
    }
    family(w, "estimated_hit_ratio", "gauge", NULL,
           "estimated share of hits if the pool had so many times its size; absent until known");
    FOR_POOLS(w, p)
    {
        for (unsigned i = 0; i < CM_CURVE_POINTS; i++) {
            const uint64_t hits = p->history.now.stats.curve_hits[i];

            if (hits == CM_CURVE_UNKNOWN)
                continue;
            sample(w, p, "estimated_hit_ratio", "", "factor", factors[i]);
            (void)fprintf(w->out, "%.6f\n", (double)hits / 1e6);
        }
    }
}

void dash_metrics(const struct dash *d, FILE *out, bool open_metrics)
{
    const struct writer w = { d, out, open_metrics };

    family(&w, "up", "gauge", NULL, "1: the pool could be read");
    for (size_t i = 0; i < d->n; i++) {
        sample(&w, &d->pool[i], "up", "", NULL, NULL);
        (void)fprintf(out, "%d\n", d->pool[i].error == 0);
    }
    gauges(&w);
    times_and_curve(&w);
    counters(&w);
    histogram(&w, "hit_latency_seconds",
              "duration of cm_read calls that were served whole, for 1 in 64 of them",
              offsetof(cm_stats_data, hit_latency));
    histogram(&w, "origin_latency_seconds", "duration of origin reads made by cm_read_through",
              offsetof(cm_stats_data, origin_latency));
    if (open_metrics)
        (void)fputs("# EOF\n", out);
}
