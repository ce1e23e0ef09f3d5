/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen.c - what the counters of a pool say: rates, wear, how sure an estimate is.
 *
 * Owns the thresholds below which nothing is claimed: how long a pool must have been observed
 * before a figure per day, and how many reads the curve needs. A claim that is not made is replaced
 * by what was observed and what is needed.
 *
 * Who: cmd_advise.c, cmd_resize.c, cmd_stats.c, seen_history.c, dash/, top/.
 */
#include "tool/seen.h"
#include "tool/os.h"

#include <inttypes.h>
#include <string.h>

#include "policy/size_curve.h"

int seen_read(const char *pool, struct seen *s)
{
    int rc;

    memset(s, 0, sizeof(*s));
    s->info.struct_size = sizeof(s->info);
    s->stats.struct_size = sizeof(s->stats);
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        s->stats.curve_hits[i] = CM_CURVE_UNKNOWN; /* if nothing can be read */
    rc = cm_pool_info(pool, &s->info);
    if (rc == 0)
        rc = cm_pool_stats(pool, &s->stats);
    s->at = cm_now();
    return rc;
}

void seen_subtract(cm_stats_data *d, const cm_stats_data *now, const cm_stats_data *before)
{
    const bool anew = now->opened_at_ns != before->opened_at_ns;

    memset(d, 0, sizeof(*d));
#define SEEN_DIFFERENCE(x) (d->x = anew || now->x < before->x ? now->x : now->x - before->x)
#define SEEN_X(name, text) SEEN_DIFFERENCE(name);
    CM_STAT_MAP(SEEN_X)
#undef SEEN_X
    for (unsigned i = 0; i < CM_LATENCY_BUCKETS; i++) {
        SEEN_DIFFERENCE(hit_latency[i]);
        SEEN_DIFFERENCE(origin_latency[i]);
    }
#undef SEEN_DIFFERENCE
}

uint64_t seen_lookups(const cm_stats_data *s)
{
    return s->hit_blocks + s->miss_blocks;
}

uint64_t seen_percentile(const uint64_t buckets[CM_LATENCY_BUCKETS], double share)
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

char *seen_span(char text[TOOL_NUMBER_MAX], double seconds)
{
    const uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;

    if (s < 60)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " s", s);
    else if (s < 3600)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " min", s / 60);
    else if (s < 2 * 86400 && s % 3600 < 60)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " h", s / 3600);
    else if (s < 2 * 86400)
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " h %" PRIu64 " min", s / 3600,
                       s / 60 % 60);
    else
        (void)snprintf(text, TOOL_NUMBER_MAX, "%" PRIu64 " days", s / 86400);
    return text;
}

/* ---- Wear ---------------------------------------------------------------------------------- */

static double daily(uint64_t bytes, const cm_info *info, double seconds, double needs)
{
    return seconds < needs || !info->size ? -1
                                          : (double)bytes / (double)info->size / (seconds / 86400);
}

void seen_wear(const struct seen *s, struct seen_wear *w)
{
    const uint64_t now = os_wall_time(), end = s->info.owned ? now : s->stats.closed_at_ns;

    memset(w, 0, sizeof(*w));
    if (s->stats.opened_at_ns && end > s->stats.opened_at_ns)
        w->session = (double)(end - s->stats.opened_at_ns) / 1e9;
    if (now > s->info.created_at_ns)
        w->life = (double)(now - s->info.created_at_ns) / 1e9;
    if (s->info.size)
        w->writes = (double)s->stats.lifetime_pool_bytes / (double)s->info.size;
    w->session_daily = daily(s->stats.pool_bytes, &s->info, w->session, SEEN_SESSION_NEEDS);
    w->life_daily = daily(s->stats.lifetime_pool_bytes, &s->info, w->life, SEEN_LIFE_NEEDS);
}

void seen_wear_texts(const struct seen_wear *w, char life[SEEN_TEXT], char session[SEEN_TEXT])
{
    char seen[TOOL_NUMBER_MAX], needed[TOOL_NUMBER_MAX];

    if (w->life_daily >= 0)
        (void)snprintf(life, SEEN_TEXT,
                       "%.2f drive writes (of its size now) since it was made, %.2f a day",
                       w->writes, w->life_daily);
    else
        (void)snprintf(life, SEEN_TEXT,
                       "%.2f drive writes (of its size now) since it was made; observed %s, "
                       "needs %s before it says how many a day",
                       w->writes, seen_span(seen, w->life), seen_span(needed, SEEN_LIFE_NEEDS));
    if (w->session_daily >= 0)
        (void)snprintf(session, SEEN_TEXT, "%.2f drive writes a day", w->session_daily);
    else if (w->session > 0)
        (void)snprintf(session, SEEN_TEXT,
                       "observed %s; needs %s before it says drive writes a day",
                       seen_span(seen, w->session), seen_span(needed, SEEN_SESSION_NEEDS));
    else
        session[0] = '\0';
}

/* ---- The curve ----------------------------------------------------------------------------- */

void seen_curve_needs(const cm_info *info, unsigned size, struct seen_need *need)
{
    const uint64_t slots = cm_curve_slots(info->slots, size);
    const uint64_t mini = slots < CM_SIM_SLOTS ? slots : CM_SIM_SLOTS;

    need->sampled = cm_curve_reads_needed((uint32_t)mini);
    need->blocks = (uint64_t)((double)need->sampled * (double)slots / (double)mini);
}

void seen_curve_text(const struct seen *s, unsigned size, char text[SEEN_TEXT])
{
    char some[TOOL_NUMBER_MAX], all[TOOL_NUMBER_MAX];
    struct seen_need need;

    seen_curve_needs(&s->info, size, &need);
    tool_bytes(some, seen_lookups(&s->stats) * CM_BLOCK_SIZE);
    if (seen_lookups(&s->stats) >= need.blocks) {
        (void)snprintf(text, SEEN_TEXT,
                       "observed %" PRIu64 " block reads (%s), too few of them in the sample",
                       seen_lookups(&s->stats), some);
        return;
    }
    (void)snprintf(
        text, SEEN_TEXT, "observed %" PRIu64 " of about %" PRIu64 " block reads (%s of %s)",
        seen_lookups(&s->stats), need.blocks, some, tool_bytes(all, need.blocks * CM_BLOCK_SIZE));
}

int64_t seen_curve_at(const struct seen *s, uint64_t bytes, unsigned *needs)
{
    const uint64_t *const hits = s->stats.curve_hits;
    const double eighths = s->info.size ? (double)bytes / (double)s->info.size * 8 : 0;
    double part;
    unsigned i = 0;

    *needs = CM_CURVE_POINTS;
    if (eighths < 1 || eighths > 1u << (CM_CURVE_POINTS - 1))
        return -1;
    while (eighths > (double)(1u << i))
        i++;
    *needs = i;
    if (hits[i] == CM_CURVE_UNKNOWN || (i > 0 && hits[i - 1] == CM_CURVE_UNKNOWN))
        return -1;
    if (i == 0)
        return (int64_t)hits[0];
    part = eighths / (double)(1u << (i - 1)) - 1; /* of the way from the smaller size */
    return (int64_t)((double)hits[i - 1] + part * ((double)hits[i] - (double)hits[i - 1]));
}
