/* SPDX-License-Identifier: BSD-2-Clause
 *
 * report.c - /stats.json: what the page draws.
 *
 * Owns the keys of that document. Series are arrays of one value for each interval, the oldest
 * first; "seconds" says how long each interval was, 0 where nothing is known.
 *
 * Who: answer.c.
 */
#include "tool/dash/dash.h"

#include <inttypes.h>

#define ID_TEXT 33

static void put_counters(struct tool_json *j, const struct seen *s)
{
    json_open(j, "counters");
    for (unsigned i = 0; cm_stat_name(i); i++)
        json_number(j, cm_stat_name(i), cm_stat_value(&s->stats, i));
    json_close(j);
}

static void put_wear(struct tool_json *j, const struct seen *s)
{
    char life[SEEN_TEXT], session[SEEN_TEXT];
    struct seen_wear w;

    seen_wear(s, &w);
    seen_wear_texts(&w, life, session);
    json_open(j, "wear");
    json_decimal(j, "drive_writes", w.writes, 6);
    json_decimal(j, "seconds", w.life, 0);
    json_decimal(j, "session_seconds", w.session, 0);
    json_string(j, "text", life);
    json_string(j, "session_text", session);
    json_close(j);
}

static void put_curve(struct tool_json *j, const struct seen *s)
{
    char observed[SEEN_TEXT];

    json_curve(j, s->stats.curve_hits);
    seen_curve_text(s, CM_CURVE_POINTS / 2, observed);
    json_string(j, "curve_observed", observed);
}

static void put_history(struct tool_json *j, const struct seen_history *h)
{
    static const char *const names[SEEN_SERIES] = {
#define SEEN_X(name, counters) #name,
        SEEN_SERIES_MAP(SEEN_X)
#undef SEEN_X
    };
    const size_t most = (size_t)(SEEN_SECONDS / DASH_SECONDS), n = h->n < most ? h->n : most;
    uint64_t value[SEEN_POINTS];
    struct seen_point p;

    json_open(j, "history");
    json_open_array(j, "seconds");
    for (size_t i = n; i > 0; i--) {
        seen_history_group(h, i - 1, 1, &p);
        json_decimal(j, NULL, p.seconds, 3);
    }
    json_close_array(j);
    for (unsigned k = 0; k < SEEN_SERIES; k++) {
        for (size_t i = 0; i < n; i++) {
            seen_history_group(h, n - 1 - i, 1, &p);
            value[i] = p.sum[k];
        }
        json_numbers(j, names[k], value, n);
    }
    json_close(j);
}

static void put_files(struct tool_json *j, const struct dash_pool *p)
{
    char id[ID_TEXT];

    json_bool(j, "files_known", p->files_at != 0 && p->files_error == 0);
    json_bool(j, "files_estimated", p->files.one_in > 1);
    json_number(j, "blocks_in_use", p->files.blocks);
    json_open_array(j, "files");
    for (size_t i = 0; i < p->files.n; i++) {
        const struct seen_file *f = &p->files.file[i];

        json_open(j, NULL);
        if (f->name[0])
            json_string(j, "name", f->name);
        else
            json_null(j, "name");
        (void)snprintf(id, sizeof(id), "%016" PRIx64 "%016" PRIx64, f->id.hi, f->id.lo);
        if (f->recorded)
            json_string(j, "id", id);
        else
            json_null(j, "id");
        json_bool(j, "searched", f->recorded || f->searched);
        json_number(j, "cached_bytes", f->cached);
        if (f->recorded && f->size != CM_SIZE_UNKNOWN)
            json_number(j, "size", f->size);
        else
            json_null(j, "size");
        json_number(j, "hits_noted", f->hits);
        json_close(j);
    }
    json_close_array(j);
}

static void put_pool(struct tool_json *j, const struct dash_pool *p)
{
    const struct seen *s = &p->history.now;

    json_open(j, NULL);
    json_string(j, "pool", p->path);
    if (p->error) {
        json_string(j, "error", cm_strerror(p->error));
        json_close(j);
        return;
    }
    json_null(j, "error");
    json_bool(j, "owned", s->info.owned);
    json_number(j, "owner_pid", s->info.owned ? s->info.owner_pid : 0);
    json_number(j, "opened_at_ns", s->stats.opened_at_ns);
    json_number(j, "size", s->info.size);
    json_number(j, "slots", s->info.slots);
    json_number(j, "used_files", s->info.used_files);
    json_number(j, "max_files", s->info.max_files);
    put_counters(j, s);
    json_numbers(j, "hit_latency", s->stats.hit_latency, CM_LATENCY_BUCKETS);
    json_numbers(j, "origin_latency", s->stats.origin_latency, CM_LATENCY_BUCKETS);
    put_wear(j, s);
    put_curve(j, s);
    put_history(j, &p->history);
    put_files(j, p);
    json_close(j);
}

void dash_report(const struct dash *d, FILE *out)
{
    struct tool_json j;

    json_begin(&j, out, true);
    json_string(&j, "version", cm_version());
    json_decimal(&j, "interval_seconds", DASH_SECONDS, 3);
    json_open(&j, "texts");
    for (unsigned i = 0; cm_stat_name(i); i++)
        json_string(&j, cm_stat_name(i), cm_stat_text(i));
    json_close(&j);
    json_open_array(&j, "pools");
    for (size_t i = 0; i < d->n; i++)
        put_pool(&j, &d->pool[i]);
    json_close_array(&j);
    json_end(&j);
}
