/* SPDX-License-Identifier: BSD-2-Clause
 *
 * schedules_pool.c - the memory of the pools that schedules.c and histories.c open, one at a time.
 *
 * Each run begins with the same image, so it is the same each time.
 */
#define TURNS_ITSELF
#include <stdlib.h>
#include <string.h>

#include "../os.h"
#include "arena.h"
#include "schedules_pool.h"
#include "schedules_run.h"

#define USED 512u /* slots of the wide pool */

static struct {
    uint8_t *pool;
    uint8_t *image[2];           /* formatted pools without their slots */
    uint64_t bytes[2], front[2]; /* front: the bytes before the slots */
    bool wide;                   /* which of them */
} p;

/* In the wide pool most incarnations of a block have different stripes. So what a bracket did to
 * the stripe of one does not protect the next one. */
static void make_image(bool wide)
{
    p.bytes[wide] = wide ? SCHEDULE_POOL_MAX : cm_pool_size_min();
    must(cm_format_memory(p.pool, p.bytes[wide], NULL), "cm_format_memory");
    struct cm_super *sb = (void *)p.pool;
    memset(sb->uuid, 7, sizeof(sb->uuid));
    sb->inc_mark = CM_GAP_END; /* no random gap before a session's first incarnation */
    sb->hash_seed = 1;
    sb->xxh3 = cm_format_super_sum(sb);
    memcpy(p.pool + CM_SUPER_STRIDE, sb, sizeof(*sb));
    struct cm_geometry g;
    must(cm_format_geometry(sb, &g), "cm_format_geometry");
    p.front[wide] = g.slot_offset;
    p.image[wide] = malloc((size_t)p.front[wide]);
    if (!p.image[wide])
        exit(1);
    memcpy(p.image[wide], p.pool, (size_t)p.front[wide]);
}

void schedule_pool_prepare(void)
{
    p.pool = os_aligned(CM_BLOCK_SIZE, SCHEDULE_POOL_MAX);
    if (!p.pool)
        exit(1);
    make_image(false);
    make_image(true);
}

void schedule_pool_begin(bool wide)
{
    p.wide = wide;
    memcpy(p.pool, p.image[wide], (size_t)p.front[wide]);
}

uint8_t *schedule_pool(void)
{
    return p.pool;
}

uint64_t schedule_pool_used(void)
{
    return p.wide ? p.front[1] + USED * CM_BLOCK_SIZE : p.bytes[0];
}

cm_cache *schedule_pool_open(uint64_t probation_bytes)
{
    cm_cache *c;
    cm_options o = CM_OPTIONS_INIT;
    o.flags = CM_OPEN_NO_TUNING;
    o.probation_bytes = probation_bytes;
    o.memory_durability = CM_DURABILITY_DAX;
    arena_give(&o);
    must(cm_open_memory(p.pool, p.bytes[p.wide], &o, &c), "cm_open_memory");
    return c;
}

void schedule_pool_judge(const cm_cache *c)
{
    if (p.wide && c->policy.ring.frontier > USED)
        fail("more slots are used than a run keeps", c->policy.ring.frontier, USED);
}
