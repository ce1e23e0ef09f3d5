/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stats.c - counters that any process may watch.
 *
 * Owns: the stats page. Each thread adds to one of CM_STATS_SHARDS shards, chosen by its number,
 * so that counting shares no cache line in the usual case, and takes no locked instruction. The
 * page is neither flushed nor trusted: a reader may see half of a session, an unreadable page
 * counts nothing. Its stores are the one exception to the rule that pool stores go through the
 * persist table: no crash state depends on them.
 *
 * Who: api/, protocol/, state/. What protocol/ calls is cm_count() (state/cache_state.h).
 */
#include "media/stats.h"

#include <string.h>

static_assert(sizeof(cm_stats_data) ==
                  offsetof(cm_stats_data, hit_blocks) + CM_STAT_COUNT * sizeof(uint64_t),
              "counters come last in cm_stats_data, as CM_STAT_MAP lists them");
static_assert(offsetof(cm_stats_data, hit_blocks) == 744, "part of the ABI");

#define WHOLE 1000000u /* parts per million; this library never writes more */

static struct cm_stats_head *head_at(const uint8_t *base)
{
    return (struct cm_stats_head *)(uintptr_t)(base + CM_STATS_OFFSET);
}

void cm_stats_add(const struct cm_media *m, enum cm_stat which, uint64_t n)
{
    cm_media_count(m, cm_plat_thread(), which, n);
}

void cm_stats_add2(const struct cm_media *m, enum cm_stat one, uint64_t n, enum cm_stat other,
                   uint64_t n2)
{
    const struct cm_plat_thread *t = cm_plat_thread();
    cm_media_count(m, t, one, n);
    cm_media_count(m, t, other, n2);
}

void cm_stats_latency(const struct cm_media *m, enum cm_histogram which, uint64_t ns)
{
    unsigned bucket = 0;
    while (ns > 1 && bucket < CM_LATENCY_BUCKETS - 1) {
        ns >>= 1;
        bucket++;
    }
    cm_media_add(m, cm_plat_thread(), which + bucket, 1);
}

/* Stores v through the guard, as *p += v - *p. Only one process writes the page. */
static void put(uint64_t *p, uint64_t v)
{
    uint64_t old;
    if (cm_guard_load64(p, &old) == 0)
        (void)cm_guard_add64(p, v - old);
}

uint64_t cm_stats_total(const struct cm_media *m, enum cm_stat which)
{
    uint64_t sum = 0, n;
    for (unsigned s = 0; s < CM_STATS_SHARDS; s++)
        if (cm_guard_load64(&cm_media_shard(m->stats, s)[CM_STATS_COUNTERS + which], &n) == 0)
            sum += n;
    return sum;
}

void cm_stats_curve(const struct cm_media *m, const uint64_t hits[CM_CURVE_POINTS], uint64_t reads,
                    uint64_t skipped)
{
    struct cm_stats_head *h = head_at(m->stats);
    put(&h->curve_reads, reads);
    put(&h->curve_skipped, skipped);
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        put(&h->curve_hits[i], hits[i] + 1); /* CM_CURVE_UNKNOWN becomes 0, as in a new page */
}

/* Layout and count are two halves of the page's first word. */
static uint64_t form_of(uint32_t layout, uint32_t counters)
{
    return (uint64_t)counters << 32 | layout;
}

/* Adds the last session's wear to that of all sessions, and begins at zero. Killed in between, the
 * next open finds `folding` set: the shards, or some of them, are counted in it already. What that
 * open itself wrote so far, a superblock or two, is not counted then. */
static void fold(const struct cm_media *m, struct cm_stats_head *h)
{
    cm_stats_data last;
    /* If the page cannot be summed, its lifetime count stays: it has the same place in every
     * layout. */
    if (cm_stats_sum(m->stats, &last) == 0) {
        put(&h->folding, last.lifetime_pool_bytes);
        put(&h->lifetime_pool_bytes, last.lifetime_pool_bytes);
    }
    for (unsigned s = 0; s < CM_STATS_SHARDS; s++)
        for (unsigned i = 0; i < CM_STATS_SHARD_WORDS; i++)
            put(&cm_media_shard(m->stats, s)[i], 0);
    put(&h->folding, 0);
}

void cm_stats_begin(const struct cm_media *m, uint32_t pid, int64_t wall_ns)
{
    struct cm_stats_head *h = head_at(m->stats);
    uint64_t unknown[CM_CURVE_POINTS];
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        unknown[i] = CM_CURVE_UNKNOWN;
    fold(m, h);
    cm_stats_curve(m, unknown, 0, 0);
    put(&h->opened_at_ns, (uint64_t)wall_ns);
    put(&h->closed_at_ns, 0);
    put(&h->owner_pid, pid);
    put(&h->form, form_of(CM_STATS_LAYOUT, CM_STAT_COUNT));
}

void cm_stats_inherit(const struct cm_media *m, uint64_t lifetime)
{
    put(&head_at(m->stats)->lifetime_pool_bytes, lifetime);
}

void cm_stats_end(const struct cm_media *m, int64_t wall_ns)
{
    put(&head_at(m->stats)->closed_at_ns, (uint64_t)wall_ns);
}

/* The head, as far as it is used. *folded: the shards are part of the lifetime count. CM_EIO,
 * CM_EVERSION. */
static int sum_head(const uint8_t *base, cm_stats_data *out, bool *folded)
{
    struct cm_stats_head h;
    memset(&h, 0, sizeof(h));
    if (cm_guard_load_words(&head_at(base)->form, &h.form, 8 + CM_CURVE_POINTS))
        return CM_EIO;
    if ((uint32_t)h.form != CM_STATS_LAYOUT && h.form != 0)
        return CM_EVERSION;
    out->counters = (uint32_t)(h.form >> 32);
    if (out->counters > CM_STATS_COUNTERS_MAX)
        out->counters = CM_STATS_COUNTERS_MAX; /* damaged */
    out->opened_at_ns = h.opened_at_ns;
    out->closed_at_ns = h.closed_at_ns;
    *folded = h.folding != 0;
    out->lifetime_pool_bytes = *folded ? h.folding : h.lifetime_pool_bytes;
    out->curve_reads = h.curve_reads;
    out->curve_skipped = h.curve_skipped;
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        out->curve_hits[i] = h.curve_hits[i] <= WHOLE + 1 ? h.curve_hits[i] - 1 : CM_CURVE_UNKNOWN;
    return 0;
}

void cm_stats_none(cm_stats_data *out)
{
    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    for (unsigned i = 0; i < CM_CURVE_POINTS; i++)
        out->curve_hits[i] = CM_CURVE_UNKNOWN;
}

int cm_stats_sum(const uint8_t *base, cm_stats_data *out)
{
    uint64_t sum[CM_STATS_SHARD_WORDS] = { 0 }, word[CM_STATS_SHARD_WORDS];
    memset(out, 0, sizeof(*out));
    out->struct_size = sizeof(*out);
    bool folded;
    int e = sum_head(base, out, &folded);
    if (e)
        return e;
    for (unsigned s = 0; s < CM_STATS_SHARDS; s++) {
        if (cm_guard_load_words(cm_media_shard(base, s), word, CM_STATS_SHARD_WORDS))
            return CM_EIO;
        for (unsigned i = 0; i < CM_STATS_SHARD_WORDS; i++)
            sum[i] += word[i];
    }
    memcpy(out->hit_latency, &sum[CM_STATS_HIT_LATENCY], sizeof(out->hit_latency));
    memcpy(out->origin_latency, &sum[CM_STATS_ORIGIN_LATENCY], sizeof(out->origin_latency));
    memcpy(&out->hit_blocks, &sum[CM_STATS_COUNTERS], CM_STAT_COUNT * sizeof(uint64_t));
    if (!folded)
        out->lifetime_pool_bytes += out->pool_bytes;
    return 0;
}
