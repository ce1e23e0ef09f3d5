/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen_history.h - the last minutes of a pool: what happened in each interval.
 *
 * For the live views: top and dash.
 */
#ifndef CM_TOOL_SEEN_HISTORY_H
#define CM_TOOL_SEEN_HISTORY_H

#include "tool/seen.h"

#define SEEN_POINTS 600u
#define SEEN_SECONDS 300.0 /* of the past that are shown, if the points are enough for them */

/* X(name, counters): the series that are kept. */
#define SEEN_SERIES_MAP(X)                                                                         \
    X(hits, d->hit_blocks)                                                                         \
    X(misses, d->miss_blocks)                                                                      \
    X(hit_bytes, d->hit_bytes)                                                                     \
    X(origin_reads, d->origin_reads)                                                               \
    X(origin_bytes, d->origin_bytes)                                                               \
    X(fills, d->fill_blocks)                                                                       \
    X(pool_bytes, d->pool_bytes)                                                                   \
    X(evictions, d->evicted + d->displaced)

enum seen_series {
#define SEEN_X(name, counters) SEEN_##name,
    SEEN_SERIES_MAP(SEEN_X)
#undef SEEN_X
        SEEN_SERIES
};

/* An interval: how long it took, and the sum of each series in it. */
struct seen_point {
    double seconds; /* 0: nothing is known */
    uint64_t sum[SEEN_SERIES];
};
/* The values of a session or of a difference, as series. */
void seen_point_of(struct seen_point *p, const cm_stats_data *d, double seconds);

struct seen_history {
    struct seen now, before;  /* `before`: one interval ago */
    cm_stats_data difference; /* between them; zero if there is no `before` */
    double seconds;           /* between them; 0: there is no `before` */
    size_t n, last;           /* points that are kept; the newest one */
    uint64_t all;             /* points that ever were */
    struct seen_point point[SEEN_POINTS];
};
/* `h` is zeroed. Reads the pool: 0, or an error of the library; then the history has a gap. */
int seen_history_add(struct seen_history *h, const char *pool);
/* The newest points but `skip`, `n` of them, as one: their sums and seconds. */
void seen_history_group(const struct seen_history *h, size_t skip, size_t n, struct seen_point *p);
/* Of a point: a series by the second, and the share of hits. Negative: not known. */
double seen_rate(const struct seen_point *p, enum seen_series which);
double seen_hit_share(const struct seen_point *p);

#endif
