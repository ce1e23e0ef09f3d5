/* SPDX-License-Identifier: BSD-2-Clause
 *
 * view.c - what "cachemax top" shows, as a frame.
 *
 * Owns the layout. A table of rates takes the whole width; what is left of its columns has a line
 * of marks for the last minutes. Below it, the reasons of misses and the latencies stand side by
 * side if there is room (WIDE), or one below the other. The files take the rows that are left.
 *
 * Who: cmd_top.c.
 */
#include "tool/top/view.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define WIDE 110
#define AT_NOW 22   /* columns where the figures of the table end: */
#define AT_SINCE 33 /* ... */
#define AT_MARKS 49
#define PEAK 9 /* behind the marks */
#define MARKS_MIN 8
#define AT_SECOND 66  /* the second of two tables side by side */
#define FILES_ROWS 11 /* with their title, where there is no window */
#define FILES_FEW 4
#define REST_ROWS 6 /* blank lines around the files, sizes, wear */

#define OWN (CM_CURVE_POINTS / 2)

/* ---- Figures ------------------------------------------------------------------------------- */

/* "-" if it is not known. */
static const char *figure(char text[TOOL_NUMBER_MAX], double value, const char *unit)
{
    if (value < 0)
        (void)snprintf(text, TOOL_NUMBER_MAX, "-");
    else
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.*f%s", value < 1000 ? 1 : 0, value, unit);
    return text;
}

static const char *duration(char text[TOOL_NUMBER_MAX], uint64_t ns)
{
    if (ns == 0)
        (void)snprintf(text, TOOL_NUMBER_MAX, "-");
    else
        (void)tool_duration(text, ns);
    return text;
}

/* ---- The table of rates -------------------------------------------------------------------- */

static const struct row {
    const char *what, *unit;
    enum seen_series series;
    double scale; /* of the sum; 0: the share of hits */
} table[] = {
    { "hit rate", "", SEEN_hits, 0 },
    { "from the pool", "blocks/s", SEEN_hits, 1 },
    { "", "MB/s", SEEN_hit_bytes, 1e-6 },
    { "from the origin", "reads/s", SEEN_origin_reads, 1 },
    { "", "MB/s", SEEN_origin_bytes, 1e-6 },
    { "fills", "blocks/s", SEEN_fills, 1 },
    { "evictions", "blocks/s", SEEN_evictions, 1 },
    { "pool writes", "MB/s", SEEN_pool_bytes, 1e-6 },
};
#define ROWS (sizeof(table) / sizeof(table[0]))

static double value_of(const struct row *r, const struct seen_point *p)
{
    double v;

    if (r->scale == 0) {
        v = seen_hit_share(p);
        /* Not shown as 100.00 if it is less. */
        return v < 0 ? v : tool_share(p->sum[SEEN_hits], p->sum[SEEN_hits] + p->sum[SEEN_misses]);
    }
    v = seen_rate(p, r->series);
    return v < 0 ? v : v * r->scale;
}

static void sum_of(const struct row *r, const struct seen_point *p, char text[TOOL_NUMBER_MAX])
{
    if (r->scale == 0 && seen_hit_share(p) < 0)
        (void)snprintf(text, TOOL_NUMBER_MAX, "-");
    else if (r->scale == 0)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.2f %%", value_of(r, p));
    else if (r->scale < 1)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%.1f MB", (double)p->sum[r->series] * r->scale);
    else
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64, p->sum[r->series]);
}

/* How many marks there is room for, and how many intervals each of them is about: as many as it
 * takes to show all of the last minutes that is known. */
static size_t marks(const struct view *v, const struct frame *f, size_t *each)
{
    const int room = f->columns - AT_MARKS - PEAK - 1;
    const double most = SEEN_SECONDS / v->interval;
    const size_t points = (double)v->history.n < most ? v->history.n : (size_t)most;
    const size_t n = room < MARKS_MIN ? 0 : (size_t)room < SEEN_POINTS ? (size_t)room : SEEN_POINTS;

    *each = n == 0 || points <= n ? 1 : (points + n - 1) / n;
    return n;
}

/* Mark i of n, from the oldest one. A mark keeps its intervals when it moves to the left: they are
 * counted from the first one that ever was. */
static void mark_point(const struct view *v, size_t i, size_t n, size_t each, struct seen_point *p)
{
    const size_t newest = v->history.all > 0 ? (size_t)((v->history.all - 1) % each) + 1 : 0;

    if (i + 1 == n)
        seen_history_group(&v->history, 0, newest, p);
    else
        seen_history_group(&v->history, newest + (n - 2 - i) * each, each, p);
}

static void draw_marks(const struct view *v, struct frame *f, const struct row *r)
{
    double value[SEEN_POINTS], most = r->scale == 0 ? 100 : 0;
    char text[TOOL_NUMBER_MAX];
    struct seen_point p;
    size_t each = 1, n = marks(v, f, &each);

    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        mark_point(v, i, n, each, &p);
        value[i] = value_of(r, &p);
        if (r->scale != 0 && value[i] > most)
            most = value[i];
    }
    frame_to(f, AT_MARKS);
    frame_spark(f, value, n, most);
    frame_text(f, " %*s", PEAK, figure(text, most, r->scale == 0 ? " %" : ""));
}

/* What stands above `n` marks: how long ago the graph begins. It has no more than was looked at. */
static void graph_title(const struct view *v, size_t n, size_t each, char text[32])
{
    const size_t shown = n * each < v->history.n ? n * each : v->history.n;
    const double seconds = (double)shown * v->interval;
    const char *const what = n < sizeof("graph: last 59 s") ? "" : "graph: ";
    char span[TOOL_NUMBER_MAX];

    if (shown == 0)
        (void)snprintf(text, 32, "graph");
    else
        (void)snprintf(text, 32, "%slast %s", what, seen_span(span, seconds < 1 ? 1 : seconds));
}

static void draw_rates(const struct view *v, struct frame *f)
{
    char now[32] = "now", last[32], text[TOOL_NUMBER_MAX];
    struct seen_point p, since;
    size_t each = 1, n = marks(v, f, &each);

    graph_title(v, n, each, last);
    if (v->history.seconds > 0)
        (void)snprintf(now, sizeof(now), "in %.2f s", v->history.seconds);
    frame_bold(f, true);
    frame_text(f, "%*s %*s", AT_SINCE, now, AT_MARKS - AT_SINCE - 3, "since open");
    if (n > 0) {
        frame_to(f, AT_MARKS);
        frame_text(f, "%-*s %*s", (int)n, last, PEAK, "graph top");
    }
    frame_bold(f, false);
    frame_line_end(f);
    seen_point_of(&p, &v->history.difference, v->history.seconds);
    seen_point_of(&since, &v->history.now.stats, 1);
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &table[i];

        frame_text(f, "%-15s %-8s", r->what, r->unit);
        if (r->scale == 0 && value_of(r, &p) >= 0)
            frame_text(f, " %*.2f %%", AT_SINCE - AT_NOW - 5, value_of(r, &p));
        else
            frame_text(f, " %*s", AT_SINCE - AT_NOW - 3, figure(text, value_of(r, &p), ""));
        sum_of(r, &since, text);
        frame_text(f, " %*s", AT_MARKS - AT_SINCE - 3, text);
        draw_marks(v, f, r);
        frame_line_end(f);
    }
}

/* ---- Misses, latencies --------------------------------------------------------------------- */

#define LATENCIES 4u

/* A line of latencies. */
struct latency {
    const char *what;
    const uint64_t *buckets;
};

/* Those that there are: calls of some kinds are not timed, and then nothing is said of them. */
static unsigned latencies(const struct view *v, struct latency l[LATENCIES])
{
    const cm_stats_data *now = &v->history.difference, *all = &v->history.now.stats;
    unsigned n = 0;

    if (seen_percentile(all->hit_latency, 1)) {
        l[n++] = (struct latency){ "hits, now", now->hit_latency };
        l[n++] = (struct latency){ "hits, since it opened", all->hit_latency };
    }
    if (seen_percentile(all->origin_latency, 1)) {
        l[n++] = (struct latency){ "origin reads, now", now->origin_latency };
        l[n++] = (struct latency){ "origin reads, since it opened", all->origin_latency };
    }
    return n;
}

/* Line 0 is the title. */
static void draw_latency(struct frame *f, const struct latency *l, unsigned line)
{
    char half[TOOL_NUMBER_MAX], most[TOOL_NUMBER_MAX];

    if (line == 0) {
        frame_bold(f, true);
        frame_text(f, "%-30s %9s %9s", "latency below", "half", "99 %");
        frame_bold(f, false);
        return;
    }
    l += line - 1;
    frame_text(f, "%-30s %9s %9s", l->what, duration(half, seen_percentile(l->buckets, 0.5)),
               duration(most, seen_percentile(l->buckets, 0.99)));
}

#define REASONS_MAX 16u
#define REASON "misses: " /* begins the text of such a counter */

/* The counters that say why, those that are not 0; the first of them always. */
static unsigned reasons(const struct view *v, unsigned which[REASONS_MAX])
{
    unsigned n = 0;

    for (unsigned i = 0; cm_stat_name(i) && n < REASONS_MAX; i++)
        if (!strncmp(cm_stat_name(i), "miss_", 5) &&
            !strncmp(cm_stat_text(i), REASON, sizeof(REASON) - 1) &&
            (n == 0 || cm_stat_value(&v->history.now.stats, i) > 0))
            which[n++] = i;
    return n;
}

static void draw_reason(const struct view *v, struct frame *f, unsigned counter)
{
    const struct seen_history *h = &v->history;
    char now[TOOL_NUMBER_MAX];
    cm_stats_data d = h->difference;

    d.struct_size = sizeof(d);
    frame_text(f, "%-41.41s", cm_stat_text(counter) + sizeof(REASON) - 1);
    frame_text(
        f, " %8s",
        figure(now, h->seconds > 0 ? (double)cm_stat_value(&d, counter) / h->seconds : -1, ""));
    frame_text(f, " %12" PRIu64, cm_stat_value(&h->now.stats, counter));
}

static void draw_misses(const struct view *v, struct frame *f)
{
    struct latency l[LATENCIES];
    unsigned which[REASONS_MAX], n = reasons(v, which), timed = latencies(v, l);
    const bool wide = f->columns >= WIDE && timed > 0;

    for (unsigned i = 0; i <= n || (wide && i <= timed); i++) {
        if (i == 0) {
            frame_bold(f, true);
            frame_text(f, "%-41s %8s %12s", "why blocks were not served", "blocks/s", "in all");
            frame_bold(f, false);
        } else if (i <= n) {
            draw_reason(v, f, which[i - 1]);
        }
        if (wide && i <= timed) {
            frame_to(f, AT_SECOND);
            draw_latency(f, l, i);
        }
        frame_line_end(f);
    }
    if (wide || timed == 0)
        return;
    frame_line_end(f);
    for (unsigned i = 0; i <= timed; i++) {
        draw_latency(f, l, i);
        frame_line_end(f);
    }
}

/* ---- Files --------------------------------------------------------------------------------- */

static void draw_file(struct frame *f, const struct seen_file *file)
{
    char cached[TOOL_NUMBER_MAX], share[16] = "-", hits[24] = "-";
    char name[TOOL_PRINTABLE_MAX(CM_FILE_NAME_MAX)];

    if (file->recorded && file->size != CM_SIZE_UNKNOWN)
        (void)snprintf(share, sizeof(share), "%.1f %%",
                       file->cached < file->size ? tool_share(file->cached, file->size) : 100);
    if (file->hits)
        (void)snprintf(hits, sizeof(hits), "%" PRIu64, file->hits);
    frame_text(f, "%12s %8s %12s  ", tool_bytes(cached, file->cached), share, hits);
    if (!file->recorded)
        frame_text(f, file->searched ? "(no record yet)" : "(its record is not found yet)");
    else if (file->name[0])
        frame_text(f, "%s", tool_printable(name, file->name));
    else
        frame_text(f, "%016" PRIx64 "%016" PRIx64, file->id.hi, file->id.lo);
    frame_line_end(f);
}

/* `rows`: at most so many, with the title. */
static void draw_files(const struct view *v, struct frame *f, int rows)
{
    const struct seen_files *l = &v->files;

    if (rows < 2)
        return;
    frame_bold(f, true);
    frame_text(f, "%12s %8s %12s  %s", "cached", "of it", "hits noted",
               l->one_in > 1 ? "file (cached: estimated)" : "file");
    frame_bold(f, false);
    frame_line_end(f);
    if (v->files_error)
        frame_text(f, "%s", cm_strerror(v->files_error));
    else if (l->n == 0)
        frame_text(f, "nothing is in the pool yet; new blocks wait in memory at first");
    if (v->files_error || l->n == 0)
        frame_line_end(f);
    for (size_t i = 0; i < l->n && (int)i + 1 < rows; i++)
        draw_file(f, &l->file[i]);
}

/* ---- All of it ----------------------------------------------------------------------------- */

static const char *durability(const cm_info *info)
{
    switch (info->durability) {
    case CM_DURABILITY_DAX:
        return "DAX";
    case CM_DURABILITY_PAGECACHE:
        return "page cache";
    case CM_DURABILITY_CHECKPOINT:
        return "checkpoints";
    default:
        return "volatile";
    }
}

static void draw_title(const struct view *v, struct frame *f)
{
    const struct seen *s = &v->history.now;
    char state[96], size[TOOL_NUMBER_MAX], span[TOOL_NUMBER_MAX];
    char pool[TOOL_PRINTABLE_MAX(1024)], path[1025];
    struct seen_wear w;

    seen_wear(s, &w);
    if (s->info.owned && s->info.owner_pid)
        (void)snprintf(state, sizeof(state), "open in process %" PRIu32 " for %s",
                       s->info.owner_pid, seen_span(span, w.session));
    else if (s->info.owned)
        (void)snprintf(state, sizeof(state), "open for %s", seen_span(span, w.session));
    else
        (void)snprintf(state, sizeof(state), "not open; counters of the last session");
    (void)snprintf(path, sizeof(path), "%s", v->pool);
    frame_bold(f, true);
    frame_text(f, "%s", tool_printable(pool, path));
    frame_bold(f, false);
    frame_text(f, ": %s", state);
    frame_line_end(f);
    frame_text(f, "%s", tool_bytes(size, s->info.size));
    if (!v->files_error)
        frame_text(f, ", %.1f %% in use", tool_share(v->files.blocks, s->info.slots));
    frame_text(f, "; %" PRIu64 " file%s of %" PRIu64 " or more; durability: %s", s->info.used_files,
               s->info.used_files == 1 ? "" : "s", s->info.max_files, durability(&s->info));
    frame_line_end(f);
}

static void draw_wear(const struct view *v, struct frame *f)
{
    char life[SEEN_TEXT], session[SEEN_TEXT];
    const char *rest;
    struct seen_wear w;

    seen_wear(&v->history.now, &w);
    seen_wear_texts(&w, life, session);
    frame_text(f, "wear: ");
    rest = strstr(life, "; ");
    if (rest && f->columns < f->column + (int)strlen(life)) {
        frame_text(f, "%.*s", (int)(rest - life) + 1, life);
        frame_line_end(f);
        frame_text(f, "      %s", rest + 2);
    } else {
        frame_text(f, "%s", life);
    }
    frame_line_end(f);
    if (session[0])
        frame_text(f, "      this session: %s", session);
    frame_line_end(f);
}

/* With its figures 80 columns at most. */
static void draw_curve(const struct view *v, struct frame *f)
{
    static const char *const factors[CM_CURVE_POINTS] = { "1/8", "1/4", "1/2", "1", "2", "4", "8" };
    const struct seen *s = &v->history.now;
    const bool known = s->stats.curve_hits[OWN] != CM_CURVE_UNKNOWN;
    char some[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX];
    struct seen_need need;

    frame_text(f, "hits %% by size: ");
    if (!known) {
        seen_curve_needs(&s->info, OWN, &need);
        frame_text(f, "observed %s of the reads, ",
                   tool_bytes(some, seen_lookups(&s->stats) * CM_BLOCK_SIZE));
        if (seen_lookups(&s->stats) < need.blocks)
            frame_text(f, "needs about %s", tool_bytes(all, need.blocks * CM_BLOCK_SIZE));
        else
            frame_text(f, "too few in the sample");
    }
    for (unsigned i = 0; known && i < CM_CURVE_POINTS; i++)
        if (s->stats.curve_hits[i] != CM_CURVE_UNKNOWN)
            frame_text(f, "%sx%s %.0f", i ? ", " : "", factors[i],
                       (double)s->stats.curve_hits[i] / 1e4);
    frame_line_end(f);
}

/* The files take the rows that the rest leaves; where that is nothing, the end of the rest gives
 * way.
 */
static void draw_body(const struct view *v, struct frame *f)
{
    int rows;

    draw_title(v, f);
    frame_line_end(f);
    draw_rates(v, f);
    frame_line_end(f);
    draw_misses(v, f);
    rows = v->live ? frame_left(f) : FILES_ROWS + REST_ROWS;
    if (rows >= FILES_FEW + REST_ROWS) {
        frame_line_end(f);
        draw_files(v, f, rows - REST_ROWS);
        frame_line_end(f);
    } else {
        draw_files(v, f, rows);
    }
    draw_curve(v, f);
    draw_wear(v, f);
}

void view_draw(const struct view *v, struct frame *f)
{
    frame_begin(f);
    f->kept = v->live && f->rows > 1;
    draw_body(v, f);
    while (v->live && frame_left(f) > 0)
        frame_line_end(f);
    f->kept = 0;
    if (v->live) {
        frame_text(f, "q: end; every %.10g s", v->interval);
        frame_line_end(f);
    }
    frame_end(f);
}
