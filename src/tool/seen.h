/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen.h - what was seen of a pool: its counters at a moment, and what they say.
 *
 * For the commands that watch a pool: stats, advise, top and dash.
 */
#ifndef CM_TOOL_SEEN_H
#define CM_TOOL_SEEN_H

#include "tool/tool.h"

/* A pool at a moment. */
struct seen {
    uint64_t at; /* cm_now() */
    cm_info info;
    cm_stats_data stats;
};
/* Reads the pool file, whoever has it open. 0 or an error of the library. */
int seen_read(const char *pool, struct seen *s);
/* now - before, counters and latencies. A new session, or a counter that fell, counts from 0. */
void seen_subtract(cm_stats_data *d, const cm_stats_data *now, const cm_stats_data *before);

/* The number of blocks looked up. */
uint64_t seen_lookups(const cm_stats_data *s);
/* Upper bound of the bucket at which `share` of all samples is reached; 0 without samples. */
uint64_t seen_percentile(const uint64_t buckets[CM_LATENCY_BUCKETS], double share);

/* Wear, in the unit of drive makers: how often the whole pool was written, in all and per day.
 * A figure per day is negative while too little was observed. */
struct seen_wear {
    double session; /* seconds; 0: the end of the session is not known */
    double life;    /* seconds since the pool was made */
    double writes;  /* drive writes since then */
    double session_daily, life_daily;
};
/* An hour: shorter bursts, such as the first fill of a pool, say little about a day. */
#define SEEN_SESSION_NEEDS 3600.0
/* A day: the first fill of a pool is a whole drive write, which a shorter time would multiply. */
#define SEEN_LIFE_NEEDS 86400.0
void seen_wear(const struct seen *s, struct seen_wear *w);
#define SEEN_TEXT 200
/* A line each, without a newline: since the pool was made; of this session, "" if it is not known.
 */
void seen_wear_texts(const struct seen_wear *w, char life[SEEN_TEXT], char session[SEEN_TEXT]);

/* What the estimate for a size of the pool (0 to CM_CURVE_POINTS - 1) needs. */
struct seen_need {
    uint64_t sampled; /* reads of blocks in the sample */
    uint64_t blocks;  /* about so many reads of blocks have so many in the sample */
};
void seen_curve_needs(const cm_info *info, unsigned size, struct seen_need *need);
/* "observed 10 of about 2048 block reads (40.00 KiB of 8.00 MiB)". If there were so many, and there
 * is no estimate all the same: "observed 3000 block reads (11.72 MiB), too few of them in the
 * sample". The pool has grown since, which begins the sample anew, or few blocks are read. */
void seen_curve_text(const struct seen *s, unsigned size, char text[SEEN_TEXT]);
/* What a pool of so many bytes would serve, in millionths of the blocks that are read. Between two
 * sizes of the curve it is on the line that joins them. Negative: not known. `needs` is the size of
 * the curve that it depends on, and CM_CURVE_POINTS if the curve does not reach so far. */
int64_t seen_curve_at(const struct seen *s, uint64_t bytes, unsigned *needs);

/* "12 s", "5 min", "3 h 20 min", "2 days". */
char *seen_span(char text[TOOL_NUMBER_MAX], double seconds);

#endif
