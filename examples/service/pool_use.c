/* SPDX-License-Identifier: BSD-2-Clause
 *
 * pool_use.c - what every program that owns a pool does with it: the service, and a mount.
 *
 * No state. Who: run.c; ../mount: backing_pool.c, checkpoint.c.
 */
#include "pool_use.h"

#include <string.h>

bool pool_use_is_hint(int level, const char *text)
{
    static const char open_call[] = "cm_file_open: ";

    return level == CM_LOG_INFO && strncmp(text, open_call, sizeof(open_call) - 1) == 0;
}

bool pool_use_syncs(uint32_t durability)
{
    return durability == CM_DURABILITY_PAGECACHE || durability == CM_DURABILITY_CHECKPOINT;
}

bool pool_use_changes(cm_cache *cache, bool syncs, uint64_t *number)
{
    cm_stats_data s = { .struct_size = sizeof(s) };

    if (cm_stats(cache, &s) < 0)
        return false;
    *number = s.pool_bytes + s.buffered + s.brackets + (syncs ? 0 : s.probation_hits);
    return true;
}
