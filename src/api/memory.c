/* SPDX-License-Identifier: BSD-2-Clause
 *
 * memory.c - the memory of an open cache.
 *
 * Owns: the table of all its tables, by which they are allocated, counted and freed. The memory is
 * zeroed lazily, so an open takes the same time for any size.
 *
 * Who: api/.
 */
#include "api/cache.h"

#include <string.h>

#include "api/flight.h"
#include "state/copy_choice.h"
#include "state/object.h"
#include "state/policy_sample.h"
#include "media/file_table.h"

struct part {
    void **at;
    uint64_t bytes;
};

#define PARTS 29
#define CHAINS_MIN 4096u /* of open files */
#define CHAINS_MAX 262144u

/* What the sizes below follow from: they stay the same until the pool is closed. */
static void plan_dram(struct cm_cache *c)
{
    const uint64_t most = c->opts.grow_max < CM_POOL_SIZE_MAX ? c->opts.grow_max : CM_POOL_SIZE_MAX;
    c->slots_opened = c->slots_max = c->media.geo.slots;
    if (most / CM_BLOCK_SIZE > c->slots_max)
        c->slots_max = most / CM_BLOCK_SIZE;
    c->memo_bytes = cm_memo_bytes(&c->media.geo);
    /* Some four to eight files to a chain, if all that the pool knows are open. */
    const uint64_t records = c->media.geo.record_buckets * CM_RECORD_WAYS;
    c->file_chains = CHAINS_MIN;
    while (c->file_chains < CHAINS_MAX && c->file_chains * UINT64_C(8) <= records)
        c->file_chains *= 2;
}

/* All memory of an open cache, in one table. It is allocated, freed and counted by this table. */
static void list_parts(struct cm_cache *c, struct part p[PARTS])
{
    const struct cm_geometry *g = &c->media.geo;
    /* As many as the pool may grow to. Nothing touches the memory of those that it lacks, so they
     * take no DRAM. */
    const uint64_t slots = c->slots_max;
    uint64_t words = (slots + 63) / 64;
    uint64_t records = g->record_buckets * CM_RECORD_WAYS;
    c->policy.ring.line_max = cm_ring_line(slots);
    cm_probation_size(&c->probation,
                      c->opts.flags & (CM_OPEN_READONLY | CM_OPEN_SHARED)
                          ? 0
                          : cm_probation_entries(c->opts.probation_bytes, c->slots_opened));
    const uint64_t own = c->shared ? 0 : 1; /* what only an owner needs */
    const struct part list[] = {
        { (void **)&c->stripes, g->stripes * sizeof(struct cm_stripe) },
        { (void **)&c->policy.ring.ref, slots },
        { (void **)&c->policy.ring.owned, words * 8 },
        { (void **)&c->policy.ring.free, (uint64_t)cm_ring_free_max(slots) * 8 },
        { (void **)&c->policy.ring.hint, CM_HINTS * 8 },
        { (void **)&c->policy.ring.line, c->policy.ring.line_max * CM_LINE_ENTRY },
        { (void **)&c->policy.ghost.cell, own * cm_ghost_bytes(slots) },
        { (void **)&c->probation.data, c->probation.entries * CM_BLOCK_SIZE },
        { (void **)&c->probation.entry, c->probation.entries * sizeof(struct cm_buffered) },
        { (void **)&c->probation.cell,
          c->probation.buckets * CM_PROBATION_WAYS * sizeof(uint32_t) },
        { (void **)&c->probation.kept, (c->probation.entries + 63) / 64 * 8 },
        { (void **)&c->memo.reached, own * c->memo_bytes },
        { (void **)&c->memo.page, sizeof(struct cm_memo_page) },
        { (void **)&c->pins, own * slots },
        { (void **)&c->pin_sets, CM_PIN_SETS * sizeof(uint32_t) },
        { (void **)&c->open_places, own * ((records + 63) / 64 * 8) },
        { (void **)&c->records, sizeof(struct cm_record_set) },
        { (void **)&c->file_hash, c->file_chains * sizeof(struct cm_object *) },
        { (void **)&c->left, cm_object_left_bytes() },
        { (void **)&c->flights, sizeof(struct cm_flight_table) },
        { (void **)&c->sample, cm_sample_bytes() },
        { (void **)&c->copy, cm_copy_choice_bytes() },
        { (void **)&c->settling.losses, own * g->record_buckets * sizeof(uint32_t) },
        { (void **)&c->settling.lost, own * g->record_buckets * sizeof(uint64_t) },
        { (void **)&c->settling.open, own * g->record_buckets },
        { (void **)&c->settling.since, own * g->record_buckets },
        { (void **)&c->settling.quiet, own * ((records + 63) / 64 * 8) },
        { (void **)&c->settling.ready, own * ((records + 63) / 64 * 8) },
        { (void **)&c->stats, c->shared ? CM_STATS_OFFSET + CM_STATS_BYTES : 0 },
    };
    static_assert(sizeof(list) == PARTS * sizeof(list[0]), "the table is full");
    memcpy(p, list, sizeof(list));
}

uint64_t cm_cache_dram_bytes(const struct cm_geometry *g)
{
    struct cm_cache c = { .media.geo = *g, .opts.probation_bytes = CM_PROBATION_NONE };
    struct part p[PARTS];
    plan_dram(&c);
    uint64_t sum = sizeof(c);
    list_parts(&c, p);
    for (unsigned i = 0; i < PARTS; i++)
        sum += p[i].bytes;
    return sum;
}

void cm_cache_free_parts(struct cm_cache *c)
{
    struct part p[PARTS];
    list_parts(c, p);
    for (unsigned i = 0; i < PARTS; i++) {
        cm_cache_free(c, *p[i].at, (size_t)p[i].bytes);
        *p[i].at = NULL;
    }
}

int cm_cache_alloc_parts(struct cm_cache *c)
{
    struct cm_ring *const r = &c->policy.ring;
    struct part p[PARTS];
    plan_dram(c);
    r->slots = r->end = c->media.geo.slots;
    r->free_max = cm_ring_free_max(r->slots);
    list_parts(c, p);
    for (unsigned i = 0; i < PARTS; i++) {
        *p[i].at = p[i].bytes > 0 ? cm_cache_alloc(c, (size_t)p[i].bytes) : NULL;
        if (p[i].bytes > 0 && !*p[i].at)
            return CM_ENOMEM;
    }
    c->free_tail = &c->free_files;
    c->opened_ns = cm_plat_now_ns(); /* the pool is locked: the last owner writes no more */
    return 0;
}
