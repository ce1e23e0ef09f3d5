/* SPDX-License-Identifier: BSD-2-Clause
 *
 * race_shares.c - a thread that changes what files may have, and for how long, while they are used.
 */
#include "race.h"

/* Moves files between groups, and changes quotas, times to live and the rate of fills. Keeps files,
 * and ends that. */
void *race_sharer(void *arg)
{
    struct worker *w = arg;
    while (!at_load_relaxed(&t.stop)) {
        cm_file *f = t.file[rng_below(&w->rng, FILES)];
        const uint32_t group = 1 + (uint32_t)rng_below(&w->rng, GROUPS);
        uint64_t used, most;
        int64_t e;
        switch (rng_below(&w->rng, 7)) {
        case 0:
            must(cm_file_set_group(f, group - 1), "cm_file_set_group");
            break;
        case 1:
            most = rng_below(&w->rng, 40) * BLOCK;
            must(cm_group_set_quota(t.cache, group, most), "cm_group_set_quota");
            break;
        case 2:
            must(cm_group_usage(t.cache, group, &used, &most), "cm_group_usage");
            if (used > t.room || used % BLOCK)
                die("usage of a group", (int)group, 0, used, 0, t.room);
            break;
        case 3:
            e = cm_file_set_keep(f, (int)rng_below(&w->rng, 2));
            must(e == CM_EKEEP ? 0 : e, "cm_file_set_keep");
            break;
        case 4:
            must(cm_file_set_ttl(f, rng_below(&w->rng, 2) * 100000), "cm_file_set_ttl");
            break;
        case 5:
            must(cm_set_fill_rate_limit(t.cache, rng_below(&w->rng, 2) << 20), "rate");
            break;
        default:
            e = cm_file_cached(f, rng_below(&w->rng, BLOCKS) * BLOCK, CM_ALL);
            must(e, "cm_file_cached");
            if (e > BLOCKS * BLOCK)
                die("cached", 0, 0, (uint64_t)e, 0, BLOCKS * BLOCK);
        }
        at_add_relaxed(&t.shares, 1);
        for (uint64_t i = rng_below(&w->rng, 8000); i > 0; i--)
            at_pause();
    }
    return NULL;
}

void race_end_shares(bool buffered)
{
    uint64_t had[GROUPS + 1] = { 0 }, used, most;
    must(cm_set_fill_rate_limit(t.cache, 0), "cm_set_fill_rate_limit");
    for (int f = 0; f < FILES; f++) {
        cm_file_info info = { .struct_size = sizeof(info) };
        must(cm_file_set_ttl(t.file[f], 0), "cm_file_set_ttl");
        must(cm_file_get_info(t.file[f], &info), "cm_file_get_info");
        int64_t n = cm_file_cached(t.file[f], 0, CM_ALL);
        must(n, "cm_file_cached");
        had[info.group] += (uint64_t)n;
    }
    for (uint32_t group = 1; group <= GROUPS; group++) {
        must(cm_group_usage(t.cache, group, &used, &most), "cm_group_usage");
        if (!buffered && used < had[group])
            die("a group has more than it has counted", (int)group, 0, had[group], 0, used);
        must(cm_group_set_quota(t.cache, group, 0), "cm_group_set_quota");
    }
    for (int f = 0; f < FILES; f++) {
        must(cm_file_set_keep(t.file[f], 0), "cm_file_set_keep");
        must(cm_file_set_group(t.file[f], 0), "cm_file_set_group");
    }
}
