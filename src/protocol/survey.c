/* SPDX-License-Identifier: BSD-2-Clause
 *
 * survey.c - one pass over all headers: which blocks are cached.
 *
 * Owns: no state. A block counts by the rule of a lookup: the check of its header is right for the
 * present epoch, and a cell of its key leads to its slot. Blocks that wait in the probation buffer
 * count, too. Nothing is locked, so the result is true of each block at a moment of its own.
 *
 * Who: api/.
 */
#include "protocol/survey.h"

#include "protocol/steps.h"

#define AHEAD 16u /* index lines under way */

/* Does a cell lead from the key to the slot? */
static bool reachable(const struct cm_cache *c, const struct cm_surveyed *b)
{
    struct cm_cells cells;
    for (unsigned which = 0; which < 2; which++) {
        if (cm_index_load(&c->media, &b->key, which, &cells))
            continue;
        for (unsigned i = which * CM_BUCKET_CELLS; i < (which + 1) * CM_BUCKET_CELLS; i++)
            if (cm_index_match(&c->media, &b->key, cells.cell[i]) &&
                cm_cell_slot(cells.cell[i]) == b->slot && cm_cell_boot(cells.cell[i]) == b->boot)
                return true;
    }
    return false;
}

static int report(struct cm_cache *c, const struct cm_survey *s, const struct cm_surveyed *b,
                  unsigned n)
{
    int r = 0;
    for (unsigned i = 0; i < n && r == 0; i++)
        if (reachable(c, &b[i]))
            r = s->found(s->ctx, &b[i]);
    return r;
}

int cm_survey_slots(struct cm_cache *c, const struct cm_survey *s, uint64_t first, uint64_t end)
{
    struct cm_surveyed some[AHEAD];
    struct cm_last_home last = { 0 };
    struct cm_header h;
    unsigned n = 0;
    int r = 0;
    for (uint64_t slot = first; slot < end && r == 0; slot++) {
        if (cm_slot_header(&c->media, slot, &h) != CM_SLOT_HIT ||
            !s->wants(s->ctx, h.incarnation, cm_header_block(&h)))
            continue;
        some[n].slot = slot;
        some[n].valid = cm_header_valid(&h);
        some[n].boot = cm_header_boot(&h);
        some[n].key = cm_key_stored_next(&c->media, &last, h.incarnation, cm_header_block(&h));
        cm_step_prefetch(c, &some[n].key);
        if (++n < AHEAD)
            continue;
        r = report(c, s, some, n);
        n = 0;
    }
    return r ? r : report(c, s, some, n);
}

int cm_survey_buffer(struct cm_cache *c, const struct cm_survey *s)
{
    struct cm_last_home last = { 0 };
    struct cm_buffered e;
    struct cm_header h;
    uint64_t slot;
    int r = 0;
    for (uint64_t i = 0; i < c->probation.entries && r == 0; i++) {
        if (!cm_probation_snapshot(&c->probation, (uint32_t)i, &e) ||
            !s->wants(s->ctx, e.incarnation, e.block_valid >> CM_VALID_BITS))
            continue;
        const struct cm_surveyed b = {
            .key =
                cm_key_stored_next(&c->media, &last, e.incarnation, e.block_valid >> CM_VALID_BITS),
            .slot = CM_NO_SLOT,
            .valid = (uint32_t)(e.block_valid & ((1u << CM_VALID_BITS) - 1)),
        };
        /* On its way to the pool a block is in both places for a moment. */
        if (cm_step_find(c, &b.key, &slot, &h) != CM_FOUND_HIT)
            r = s->found(s->ctx, &b);
    }
    return r;
}

int cm_survey_blocks(struct cm_cache *c, const struct cm_survey *s)
{
    int r = cm_survey_slots(c, s, 0, cm_media_slots(&c->media));
    return r ? r : cm_survey_buffer(c, s);
}
