/* SPDX-License-Identifier: BSD-2-Clause
 *
 * policy_invariants.c - checks that the policy's data is consistent.
 *
 * Owns: no data. Each function looks at one structure from its first entry to its last and compares
 * it with the counts that are kept beside it. Only builds with -Dchecks=full contain this file.
 *
 * Who: state/.
 */
#include "policy/policy_invariants.h"

#include <string.h>

typedef unsigned long long llu; /* for messages */

static bool bounds_in_order(const struct cm_ring *r, char *text)
{
    CM_MUST(r->end <= r->slots, "ring: end %llu of %llu slots", (llu)r->end, (llu)r->slots);
    CM_MUST(r->frontier <= r->slots, "ring: frontier %llu of %llu slots", (llu)r->frontier,
            (llu)r->slots);
    CM_MUST(r->probation <= r->end / 2, "ring: probation %llu, end %llu", (llu)r->probation,
            (llu)r->end);
    CM_MUST(r->free_count <= r->free_max, "ring: %u free slots, room for %u", r->free_count,
            r->free_max);
    uint64_t empties = 0;
    for (uint64_t s = 0; s < r->slots; s++)
        empties += (r->ref[s] & CM_REF_EMPTY) != 0;
    CM_MUST(empties == r->empties, "ring: %llu empty slots, %llu counted", (llu)empties,
            (llu)r->empties);
    CM_MUST(r->hint_count <= CM_HINTS, "ring: %u hints", r->hint_count);
    CM_MUST(r->line_count <= r->line_max && r->line_first < r->line_max,
            "line: first %llu, %llu entries, room for %llu", (llu)r->line_first, (llu)r->line_count,
            (llu)r->line_max);
    for (uint32_t i = 0; i < r->hint_count; i++)
        CM_MUST(r->hint[i] < r->slots, "ring: hint %u names slot %llu", i, (llu)r->hint[i]);
    CM_MUST(!cm_lock_is_held(&r->lock), "ring: the lock is held");
    return true;
}

/* Every slot on probation is counted and has an entry in the line. */
static bool line_in_order(const struct cm_ring *r, char *text)
{
    uint64_t on_probation = 0, standing = 0;
    for (uint64_t s = 0; s < r->slots; s++)
        on_probation += (r->ref[s] & CM_REF_PROBATION) != 0;
    for (uint64_t i = 0; i < r->line_count; i++) {
        uint64_t entry = 0, at = (r->line_first + i) % r->line_max;
        memcpy(&entry, r->line + at * CM_LINE_ENTRY, CM_LINE_ENTRY);
        CM_MUST(entry >> 2 < r->slots, "line: entry %llu names slot %llu", (llu)i,
                (llu)(entry >> 2));
        const uint8_t ref = r->ref[entry >> 2];
        standing += (ref & CM_REF_PROBATION) && (ref & CM_REF_GENERATION) >> 4 == (entry & 3);
    }
    CM_MUST(on_probation == r->on_probation, "line: %llu slots on probation, %llu counted",
            (llu)on_probation, (llu)r->on_probation);
    /* The line may have more: an entry of four lives ago looks like one of this life, because the
     * generation has two bits. */
    CM_MUST(standing >= on_probation, "line: %llu slots on probation, %llu of them in line",
            (llu)on_probation, (llu)standing);
    return true;
}

/* Every owned slot is in the stack, or its last pin will free it. Together with the next function
 * this shows that the stack holds no slot twice. */
static bool owned_in_order(const struct cm_ring *r, const uint8_t *pins, bool lost, char *text)
{
    uint64_t owned = 0;
    for (uint64_t s = 0; s < r->slots; s++)
        owned += cm_ring_is_owned(r, s) && pins[s] == 0;
    CM_MUST(owned >= r->free_count && (lost || owned == r->free_count),
            "ring: %llu slots are owned, %u are in the free stack", (llu)owned, r->free_count);
    return true;
}

static bool free_in_order(const struct cm_ring *r, const uint8_t *pins, char *text)
{
    for (uint32_t i = 0; i < r->free_count; i++) {
        const uint64_t s = r->free[i];
        CM_MUST(s < r->slots, "ring: free slot %llu of %llu", (llu)s, (llu)r->slots);
        CM_MUST(cm_ring_is_owned(r, s), "ring: free slot %llu is not owned", (llu)s);
        CM_MUST(pins[s] == 0, "ring: free slot %llu is pinned", (llu)s);
        /* A count or KNOWN may come late from what the last session kept (cm_ring_load). */
        CM_MUST((r->ref[s] & (CM_REF_PROBATION | CM_REF_EMPTY)) == 0,
                "ring: free slot %llu has state 0x%x", (llu)s, r->ref[s]);
    }
    return true;
}

/* The slots of each share are counted, and a search finds them. */
static bool shares_in_order(const struct cm_ring *r, char *text)
{
    for (uint32_t i = 0; i < r->shares.count; i++) {
        const struct cm_share *h = &r->shares.share[i];
        const struct cm_share_bits *b = h->bits;
        uint64_t used = 0;
        for (uint64_t s = 0; s < r->slots; s++)
            used += cm_share_has(h, s);
        CM_MUST(used == h->used, "share %u: %llu slots, %llu counted", i, (llu)used, (llu)h->used);
        for (unsigned k = 0; k + 1 < b->levels; k++)
            for (uint64_t at = 0; at < (uint64_t)(b->level[k + 1] - b->level[k]); at++)
                CM_MUST(b->level[k][at] == 0 || b->level[k + 1][at / 64] >> at % 64 & 1,
                        "share %u: word %llu of level %u is not to be found", i, (llu)at, k);
    }
    return true;
}

static bool ghost_in_order(const struct cm_ghost *g, char *text)
{
    CM_MUST(g->buckets == cm_ghost_buckets(g->window), "ghost: %llu buckets for a window of %llu",
            (llu)g->buckets, (llu)g->window);
    for (uint64_t i = 0; i < g->buckets * CM_GHOST_WAYS; i++)
        CM_MUST(g->cell[i] == 0 || g->cell[i] >> 16 != 0,
                "ghost: bucket %llu has a cell of nothing", (llu)(i / CM_GHOST_WAYS));
    return true;
}

bool cm_policy_in_order(const struct cm_policy_state *p, const uint8_t *pins, bool lost,
                        char text[CM_INVARIANTS_TEXT])
{
    return bounds_in_order(&p->ring, text) && line_in_order(&p->ring, text) &&
           free_in_order(&p->ring, pins, text) && shares_in_order(&p->ring, text) &&
           owned_in_order(&p->ring, pins, lost, text) && ghost_in_order(&p->ghost, text);
}
