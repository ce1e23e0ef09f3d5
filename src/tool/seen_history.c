/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen_history.c - the last minutes of a pool.
 *
 * Owns: a ring of intervals. An interval in which the pool could not be read is a point without
 * seconds, so a gap stays a gap. Rates come from sums and times, so several intervals together have
 * the rate of all of them.
 *
 * Who: dash/, top/.
 */
#include "tool/seen_history.h"

#include <string.h>

void seen_point_of(struct seen_point *p, const cm_stats_data *d, double seconds)
{
    p->seconds = seconds;
#define SEEN_X(name, counters) p->sum[SEEN_##name] = counters;
    SEEN_SERIES_MAP(SEEN_X)
#undef SEEN_X
}

static void put(struct seen_history *h, const struct seen_point *p)
{
    h->last = h->n == 0 ? 0 : (h->last + 1) % SEEN_POINTS;
    h->point[h->last] = *p;
    h->all++;
    if (h->n < SEEN_POINTS)
        h->n++;
}

int seen_history_add(struct seen_history *h, const char *pool)
{
    struct seen_point p = { 0 };
    struct seen now;
    const int rc = seen_read(pool, &now);

    if (rc != 0) {
        h->seconds = 0;
        memset(&h->now, 0, sizeof(h->now));
        put(h, &p);
        return rc;
    }
    h->before = h->now;
    h->now = now;
    h->seconds = 0;
    memset(&h->difference, 0, sizeof(h->difference));
    if (h->before.at == 0 || now.at <= h->before.at)
        return 0;
    h->seconds = (double)(now.at - h->before.at) / 1e9;
    seen_subtract(&h->difference, &now.stats, &h->before.stats);
    seen_point_of(&p, &h->difference, h->seconds);
    put(h, &p);
    return 0;
}

void seen_history_group(const struct seen_history *h, size_t skip, size_t n, struct seen_point *p)
{
    memset(p, 0, sizeof(*p));
    for (size_t i = skip; i < skip + n && i < h->n; i++) {
        const struct seen_point *q = &h->point[(h->last + SEEN_POINTS - i) % SEEN_POINTS];

        p->seconds += q->seconds;
        for (unsigned k = 0; k < SEEN_SERIES; k++)
            p->sum[k] += q->sum[k];
    }
}

double seen_rate(const struct seen_point *p, enum seen_series which)
{
    return p->seconds > 0 ? (double)p->sum[which] / p->seconds : -1;
}

double seen_hit_share(const struct seen_point *p)
{
    const uint64_t all = p->sum[SEEN_hits] + p->sum[SEEN_misses];

    return all > 0 ? (double)p->sum[SEEN_hits] / (double)all : -1;
}
