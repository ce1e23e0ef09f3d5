/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cells.c - a bucket of the index: its cells, and what each leads to.
 *
 * Owns the verdicts of cells: a cell is right iff the block in its slot has this bucket and this
 * tag, as "cachemax check" has it.
 *
 * Who: cmd_dump.c.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>

struct look {
    uint64_t raw;
    bool exists; /* the slot that it names */
    struct dump_verdict found;
    struct dump_slot slot;
    struct dump_owner owner;
};

static void judge(const struct dump_pool *p, uint64_t bucket, struct look *c)
{
    const uint64_t slot = cm_cell_slot(c->raw);
    struct cm_key key;

    if (c->raw == 0) {
        dump_conclude(&c->found, "empty", "zero");
        return;
    }
    if (slot >= p->media.geo.slots) {
        dump_conclude(&c->found, "no such slot", "the pool has %" PRIu64 " slots",
                      p->media.geo.slots);
        return;
    }
    c->exists = true;
    dump_slot_look(p, slot, &c->slot);
    if (!c->slot.valid) {
        dump_conclude(&c->found, "stale", "its slot has no block: %s", c->slot.found.verdict);
        return;
    }
    c->owner.incarnation = cm_incarnation_number(c->slot.h.incarnation);
    key = cm_key_stored(&p->media, c->slot.h.incarnation, cm_header_block(&c->slot.h));
    if (key.place.bucket[0] != bucket && key.place.bucket[1] != bucket)
        dump_conclude(&c->found, "stale", "the block in its slot belongs to other buckets");
    else if (key.place.tag != cm_cell_tag(c->raw))
        dump_conclude(&c->found, "stale", "the block in its slot has another tag");
    else if (cm_header_boot(&c->slot.h) != cm_cell_boot(c->raw))
        dump_conclude(&c->found, "stale", "the block in its slot was stored in another boot");
    else
        dump_conclude(&c->found, "right", "it leads to the block in its slot");
}

static void put_cell(const struct dump_pool *p, uint64_t offset, unsigned i, const struct look *c,
                     struct dump_out *o)
{
    dump_open(o, NULL, "cell %u", i);
    dump_name(o, "cell", i);
    dump_where(o, offset, sizeof(c->raw));
    dump_put_verdict(o, &c->found);
    dump_hex(o, "word", c->raw, 16);
    if (c->raw != 0) {
        dump_hex(o, "tag", c->raw >> CM_CELL_TAG_SHIFT, 6);
        dump_number(o, "boot", cm_cell_boot(c->raw));
        dump_number(o, "slot_plus_1", cm_cell_slot(c->raw) + 1);
    }
    if (c->exists) {
        dump_open(o, "slot", "leads to slot %" PRIu64, c->slot.slot);
        dump_slot_print(p, &c->slot, c->slot.valid ? &c->owner : NULL, o);
        dump_close(o);
    }
    dump_close(o);
}

void dump_bucket(const struct dump_pool *p, uint64_t bucket, struct dump_out *o)
{
    const uint64_t offset = p->media.geo.index_offset + bucket * sizeof(struct cm_bucket);
    struct look look[CM_BUCKET_CELLS] = { 0 };
    struct dump_owner owner[CM_BUCKET_CELLS] = { 0 };
    uint64_t cell[CM_BUCKET_CELLS];
    const bool there = dump_inside(p, offset, sizeof(cell));
    const bool read = there && cm_index_load_bucket(&p->media, bucket, cell) == 0;

    dump_open(o, "bucket", "bucket %" PRIu64, bucket);
    dump_name(o, "bucket", bucket);
    dump_where(o, offset, sizeof(cell));
    dump_number(o, "stripe", (bucket - p->media.geo.index_first) / p->media.geo.stripe_buckets);
    dump_text(o, "verdict", "%s",
              read     ? "readable"
              : !there ? "not there: beyond the end of the file"
              : cm_index_is_hole(&p->media, bucket)
                  ? "empty: a hole of the file, and its full volume has no page for it"
                  : "unreadable");
    for (unsigned i = 0; i < CM_BUCKET_CELLS && read; i++) {
        look[i].raw = cell[i];
        judge(p, bucket, &look[i]);
        if (look[i].exists && look[i].slot.valid)
            owner[i].incarnation = look[i].owner.incarnation;
    }
    if (read)
        dump_owners(p, owner, CM_BUCKET_CELLS);
    dump_open_array(o, "cells");
    for (unsigned i = 0; i < CM_BUCKET_CELLS && read; i++) {
        look[i].owner = owner[i];
        if (look[i].exists && look[i].slot.valid)
            dump_slot_settle(&look[i].slot, &look[i].owner);
        put_cell(p, offset + i * sizeof(cell[0]), i, &look[i], o);
    }
    dump_close_array(o);
    dump_close(o);
}
