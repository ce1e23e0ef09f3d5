/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slots.c - one slot: its header, whether its payload is right, and which cells lead to it.
 *
 * Owns the verdicts of slots. The judgements are those that serve reads (media/slot.h).
 *
 * Who: cells.c, cmd_dump.c, find.c.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>
#include <string.h>

static uint64_t header_offset(const struct dump_pool *p, uint64_t slot)
{
    return cm_format_header_at(&p->media.geo, slot);
}

static uint64_t payload_offset(const struct dump_pool *p, uint64_t slot)
{
    return cm_format_payload_at(&p->media.geo, slot);
}

/* The header was read, and a reader would not believe it. */
static void not_valid(const struct dump_pool *p, struct dump_slot *s)
{
    static const struct cm_header zero;
    const uint64_t sequence = s->h.w0 & CM_W0_SEQ_MASK;
    const uint32_t length = cm_header_valid(&s->h);
    uint64_t epoch;

    if (memcmp(&s->h, &zero, sizeof(zero)) == 0)
        dump_conclude(&s->found, "never used", "all its words are zero");
    else if (!(s->h.w0 & CM_W0_VALID) && sequence == s->h.w0)
        dump_conclude(&s->found, "free",
                      "VALID is not set: evicted, forgotten, or being filled; it had %" PRIu64
                      " blocks before",
                      sequence);
    else if (!(s->h.w0 & CM_W0_VALID))
        dump_conclude(&s->found, "free",
                      "VALID is not set, and the check is not zero: no writer leaves that");
    else if ((epoch = dump_header_epoch(p, s->slot, &s->h)) != 0)
        dump_conclude(&s->found, "of another epoch",
                      "right in epoch %" PRIu64 ", and this is %" PRIu64, epoch, p->super.epoch);
    else if (length == 0 || length > CM_BLOCK_SIZE)
        dump_conclude(&s->found, "wrong length", "%" PRIu32 " valid bytes are not within 1 to %u",
                      length, CM_BLOCK_SIZE);
    else
        dump_conclude(&s->found, "wrong check",
                      "its words do not belong together: torn, damaged, or of a "
                      "pool or epoch long gone");
}

/* Which cells lead here, as a lookup goes. */
static void find_cells(const struct dump_pool *p, const struct cm_key *key, struct dump_slot *s)
{
    const uint64_t bytes = sizeof(struct cm_bucket);
    struct cm_cells cells;

    for (unsigned b = 0; b < 2; b++) {
        if (!dump_inside(p, p->media.geo.index_offset + key->place.bucket[b] * bytes, bytes) ||
            cm_index_load(&p->media, key, b, &cells))
            continue;
        for (unsigned i = b * CM_BUCKET_CELLS; i < (b + 1) * CM_BUCKET_CELLS; i++) {
            if (!cm_index_match(&p->media, key, cells.cell[i]) ||
                cm_cell_slot(cells.cell[i]) != s->slot || !cm_slot_leads(cells.cell[i], &s->h, key))
                continue;
            s->bucket[s->led] = key->place.bucket[b];
            s->cell[s->led++] = i % CM_BUCKET_CELLS;
        }
    }
}

/* The header is valid: is the payload, and would a lookup come here? */
static void judge_block(const struct dump_pool *p, struct dump_slot *s)
{
    const struct cm_key key = cm_key_stored(&p->media, s->h.incarnation, cm_header_block(&s->h));
    uint8_t data[CM_BLOCK_SIZE];
    const struct cm_part whole = { 0, CM_BLOCK_SIZE, data };
    enum cm_slot_verdict v = CM_SLOT_UNREADABLE;
    uint32_t got;
    uint64_t w0;

    if (dump_inside(p, payload_offset(p, s->slot), CM_BLOCK_SIZE))
        v = p->media.seal ? CM_SLOT_HIT
                          : cm_slot_read(&p->media, s->slot, &key, cm_header_boot(&s->h), &whole,
                                         true, &got, &w0);
    find_cells(p, &key, s);
    s->payload = v == CM_SLOT_HIT          ? p->media.seal ? "sealed: not tested" : "right"
                 : v == CM_SLOT_BAD_SUM    ? "wrong checksum"
                 : v == CM_SLOT_UNREADABLE ? "unreadable"
                                           : "changing";
    if (v == CM_SLOT_BAD_SUM)
        dump_conclude(&s->found, "wrong payload",
                      "its bytes do not have the checksum of the header: a lookup "
                      "that verifies drops the block");
    else if (v == CM_SLOT_UNREADABLE)
        dump_conclude(&s->found, "unreadable payload", "a lookup puts the slot out of use");
    else if (v != CM_SLOT_HIT)
        dump_conclude(&s->found, "changing", "another process wrote it while it was looked at");
    else if (cm_incarnation_number(s->h.incarnation) >= p->super.inc_mark)
        dump_conclude(&s->found, "newer than superblock",
                      "no incarnation from %" PRIu64 " on was given yet: an open empties the pool",
                      p->super.inc_mark);
    else if (s->led == 0)
        dump_conclude(&s->found, "orphan", "no cell leads here, so no lookup finds it");
    else
        dump_conclude(&s->found, "valid", "a lookup of its block ends here");
}

void dump_slot_look(const struct dump_pool *p, uint64_t slot, struct dump_slot *s)
{
    enum cm_slot_verdict v;

    memset(s, 0, sizeof(*s));
    s->slot = slot;
    if (!dump_inside(p, header_offset(p, slot), sizeof(s->h))) {
        dump_conclude(&s->found, "not there", "its header lies beyond the end of the file");
        return;
    }
    v = cm_slot_header(&p->media, slot, &s->h);
    s->read = v != CM_SLOT_UNREADABLE;
    s->valid = v == CM_SLOT_HIT;
    if (s->valid)
        judge_block(p, s);
    else if (s->read)
        not_valid(p, s);
    else if (cm_slot_is_hole(&p->media, slot))
        dump_conclude(&s->found, "never used",
                      "a hole of the file, and its full volume has no page for it");
    else
        dump_conclude(&s->found, "unreadable", "a lookup puts the slot out of use");
}

void dump_slot_settle(struct dump_slot *s, const struct dump_owner *owner)
{
    if (strcmp(s->found.verdict, "valid") == 0 && owner->place == CM_NO_PLACE && owner->all)
        dump_conclude(&s->found, "dead incarnation",
                      "no record has its incarnation, so nobody asks for it "
                      "(but for a file that is open without a record)");
}

static void put_header(const struct dump_pool *p, const struct dump_slot *s, struct dump_out *o)
{
    const struct cm_header *h = &s->h;
    const uint64_t sequence = h->w0 & CM_W0_SEQ_MASK;
    const uint32_t life = (uint32_t)(h->w0 & CM_W0_LIFE_MASK);
    const uint64_t right = cm_format_w0(p->media.check_key, s->slot, h, life);

    dump_hex(o, "w0", h->w0, 16);
    dump_number(o, "sequence", sequence);
    dump_number(o, "boot", cm_header_boot(h));
    dump_bool(o, "valid_bit", (h->w0 & CM_W0_VALID) != 0);
    dump_hex(o, "check", h->w0 >> 32, 8);
    if (h->w0 & CM_W0_VALID)
        dump_hex(o, "check_computed", right >> 32, 8);
    dump_number(o, "incarnation", cm_incarnation_number(h->incarnation));
    dump_number(o, "since", h->incarnation >> CM_SINCE_SHIFT);
    dump_number(o, "block", cm_header_block(h));
    dump_number(o, "valid_bytes", cm_header_valid(h));
    dump_hex(o, "xxh3", h->xxh3, 16);
}

void dump_slot_print(const struct dump_pool *p, const struct dump_slot *s,
                     const struct dump_owner *owner, struct dump_out *o)
{
    dump_name(o, "slot", s->slot);
    dump_put_verdict(o, &s->found);
    dump_where(o, header_offset(p, s->slot), sizeof(s->h));
    if (s->read)
        put_header(p, s, o);
    dump_number(o, "payload_offset", payload_offset(p, s->slot));
    if (!s->valid)
        return;
    dump_text(o, "payload", "%s", s->payload);
    if (owner && owner->place != CM_NO_PLACE) {
        dump_number(o, "record", owner->place);
        dump_id(o, "file_id", &owner->id);
    }
    dump_open_array(o, "led_by");
    for (unsigned i = 0; i < s->led; i++) {
        dump_open(o, NULL, "led by");
        dump_number(o, "bucket", s->bucket[i]);
        dump_number(o, "cell", s->cell[i]);
        dump_close(o);
    }
    dump_close_array(o);
}

void dump_slot(const struct dump_pool *p, uint64_t slot, struct dump_out *o)
{
    struct dump_owner owner;
    struct dump_slot s;

    dump_slot_look(p, slot, &s);
    owner.incarnation = cm_incarnation_number(s.h.incarnation);
    dump_owners(p, &owner, s.valid);
    if (s.valid)
        dump_slot_settle(&s, &owner);
    dump_open(o, "slot", "slot %" PRIu64, slot);
    dump_slot_print(p, &s, s.valid ? &owner : NULL, o);
    dump_close(o);
}
