/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stats.h - counters in the pool's stats page.
 */
#ifndef CM_STATS_H
#define CM_STATS_H

#include "media/media.h"

enum cm_histogram {
    CM_HISTOGRAM_HIT = CM_STATS_HIT_LATENCY,
    CM_HISTOGRAM_ORIGIN = CM_STATS_ORIGIN_LATENCY
};

/* Adds to a counter of the calling thread's shard. */
void cm_stats_add(const struct cm_media *m, enum cm_stat which, uint64_t n);
/* Adds n to one and n2 to the other. */
void cm_stats_add2(const struct cm_media *m, enum cm_stat one, uint64_t n, enum cm_stat other,
                   uint64_t n2);
void cm_stats_latency(const struct cm_media *m, enum cm_histogram which, uint64_t ns);

/* One counter, of all shards; what cannot be read counts nothing. */
uint64_t cm_stats_total(const struct cm_media *m, enum cm_stat which);
/* Puts the curve where every process sees it; one caller at a time. `hits`: as in cm_stats_data. */
void cm_stats_curve(const struct cm_media *m, const uint64_t hits[CM_CURVE_POINTS], uint64_t reads,
                    uint64_t skipped);

/* Begins a session: folds the wear of the last one into the lifetime count, zeroes the rest. */
void cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns);
/* A pool that was never open takes over the wear of the one in whose place it comes. */
void cm_stats_inherit(const struct cm_media *m, uint64_t lifetime);
/* And ends it. */
void cm_stats_end(const struct cm_media *m, int64_t wall_ns);
/* Sums the stats page at `base` (any process's mapping of it). CM_EIO: unreadable; CM_EVERSION:
 * another layout. */
int cm_stats_sum(const uint8_t *base, cm_stats_data *out);
/* What a page of zeros says. */
void cm_stats_none(cm_stats_data *out);

#endif
