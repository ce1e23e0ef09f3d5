/* SPDX-License-Identifier: BSD-2-Clause
 *
 * find.c - the way of a lookup: from a file's id to its record, from there to the cells of a block,
 * its slot and its bytes; and where that way ends.
 *
 * Owns the walk and its ends. Each step is told even when an earlier one has already ended the
 * lookup, as long as there is something to look at: what lies behind is what one wants to see.
 *
 * Who: cmd_dump.c.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* So many headers are searched for a block that no cell leads to. */
#define SEARCH_SLOTS (UINT64_C(1) << 20)

struct walk {
    const struct dump_pool *p;
    const struct dump_file *file;
    struct dump_out *o;
    struct dump_record record;
    unsigned records;       /* whole ones of the id */
    const char *ends_at;    /* the step; NULL: it goes on */
    char end[2 * DUMP_WHY]; /* why */
};

static void end_at(struct walk *w, const char *step, const char *why, ...) TOOL_PRINTF(3, 4);

/* The first end counts. */
static void end_at(struct walk *w, const char *step, const char *why, ...)
{
    va_list ap;

    if (w->ends_at)
        return;
    w->ends_at = step;
    va_start(ap, why);
    (void)vsnprintf(w->end, sizeof(w->end), why, ap);
    va_end(ap);
}

/* ---- The record ---------------------------------------------------------------------------- */

static bool is_of(const struct dump_record *d, const cm_file_id *id)
{
    return d->read && d->r.id.hi == id->hi && d->r.id.lo == id->lo;
}

/* Did the program that cached the file give a proof of its own? Then the file's times say nothing.
 */
static bool is_own_proof(const struct cm_record *r)
{
    cm_validator v = CM_VALIDATOR_INIT;
    size_t length;

    memcpy(v.proof, r->proof, sizeof(v.proof));
    return cm_validator_get_proof(&v, &length) != NULL ||
           r->proof[CM_PROOF_BYTES - 1] == CM_PROOF_BYTES; /* a long one: it has only its hash */
}

/* What differs between a validator and the record's; NULL: nothing. */
static const char *difference(const cm_validator *v, const struct cm_record *r)
{
    static const char *const name[] = { "size", "mtime", "ctime", "change counter" };

    /* The proof of a file of the system consists of these words (cm_plat_validator). */
    for (unsigned i = 0; i < 4; i++)
        if (memcmp(v->proof + i * 8, r->proof + i * 8, 8) != 0)
            return name[i];
    return NULL;
}

static void judge_record(struct walk *w)
{
    const struct dump_record *d = &w->record;
    const bool own = d->whole && is_own_proof(&d->r);
    const char *differs = w->file->now && d->whole && !own ? difference(w->file->now, &d->r) : NULL;

    if (w->records == 0)
        end_at(w, "record", "no record names the file, so it is cold when it is attached");
    else if (w->records > 1)
        end_at(w, "record", "%u records name the file: an attach drops them all", w->records);
    else if (!d->keeps && !w->p->owned) /* else a session goes on with what it attached */
        end_at(w, "record", "an attach %s", d->attach);
    else if (differs && !w->p->owned)
        end_at(w, "record", "the file changed: its %s differs from the record's", differs);
    if (differs)
        dump_text(w->o, "validator", "the file's %s differs from the record's", differs);
    else if (own)
        dump_text(w->o, "validator",
                  "a proof that the program gave: the file's times do not count");
    else if (w->file->now && d->whole)
        dump_text(w->o, "validator", "the file's is the record's");
}

/* All places of the id's buckets that name it, whole or not. */
static void walk_records(struct walk *w)
{
    const struct dump_pool *p = w->p;
    uint64_t bucket[CM_RECORD_CHOICES];
    struct dump_record d;

    cm_format_record_buckets(&p->media.geo, p->media.hash_seed, &w->file->id, bucket);
    dump_numbers(w->o, "record_buckets", bucket, bucket[0] == bucket[1] ? 1 : 2);
    dump_open_array(w->o, "records");
    for (unsigned b = 0; b < CM_RECORD_CHOICES && (b == 0 || bucket[1] != bucket[0]); b++)
        for (uint64_t i = 0; i < CM_RECORD_WAYS; i++) {
            dump_record_look(p, bucket[b] * CM_RECORD_WAYS + i, &d);
            if (d.read && !is_of(&d, &w->file->id))
                continue;
            if (!d.read && strcmp(d.found.verdict, "free") == 0)
                continue;
            dump_open(w->o, NULL, "record %" PRIu64, d.place);
            dump_record_print(p, &d, w->o);
            dump_close(w->o);
            if (d.whole && (w->records++ == 0))
                w->record = d;
        }
    dump_close_array(w->o);
    judge_record(w);
}

/* ---- Cells and slots ----------------------------------------------------------------------- */

/* A slot that a cell leads to, as a reader sees it. */
static void walk_slot(struct walk *w, const struct cm_key *key, uint64_t cell)
{
    const uint64_t slot = cm_cell_slot(cell);
    const struct dump_owner owner = { cm_incarnation_number(key->incarnation), w->record.place,
                                      true, w->file->id };
    struct dump_slot s;

    dump_slot_look(w->p, slot, &s);
    dump_open(w->o, "slot", "leads to slot %" PRIu64, slot);
    dump_slot_print(w->p, &s, s.valid && cm_slot_is(&s.h, key) ? &owner : NULL, w->o);
    dump_close(w->o);
    if (!s.valid)
        end_at(w, "header", "slot %" PRIu64 " has no block: %s", slot, s.found.verdict);
    else if (!cm_slot_is(&s.h, key))
        end_at(w, "header",
               "slot %" PRIu64 " has another block: incarnation %" PRIu64 ", since %" PRIu64
               ", block %" PRIu64,
               slot, cm_incarnation_number(s.h.incarnation), s.h.incarnation >> CM_SINCE_SHIFT,
               cm_header_block(&s.h));
    else if (cm_header_boot(&s.h) != cm_cell_boot(cell))
        end_at(w, "header", "slot %" PRIu64 " has the block, but it was stored in another boot",
               slot);
    else if (strcmp(s.payload, "right") != 0)
        end_at(w, "payload", "slot %" PRIu64 " has the block, but its payload: %s", slot,
               s.payload);
    else {
        w->ends_at = NULL; /* a lookup goes on past cells that lead nowhere */
        end_at(w, "hit", "slot %" PRIu64 " has the block, %" PRIu32 " valid bytes", slot,
               cm_header_valid(&s.h));
    }
}

/* One bucket of the key: its cells that carry the tag and name a slot that exists. */
static void walk_bucket(struct walk *w, const struct cm_key *key, unsigned which)
{
    const struct dump_pool *p = w->p;
    const uint64_t bucket = key->place.bucket[which], bytes = sizeof(struct cm_bucket);
    const uint64_t offset = p->media.geo.index_offset + bucket * bytes;
    struct cm_cells cells;
    const bool read =
        dump_inside(p, offset, bytes) && cm_index_load(&p->media, key, which, &cells) == 0;
    bool carried = false;

    dump_open(w->o, NULL, "bucket %" PRIu64, bucket);
    dump_name(w->o, "bucket", bucket);
    dump_where(w->o, offset, bytes);
    if (!read)
        end_at(w, "cells", "bucket %" PRIu64 " is %s", bucket,
               dump_inside(p, offset, bytes) ? "unreadable" : "beyond the end of the file");
    dump_open_array(w->o, "cells");
    for (unsigned i = 0; i < CM_BUCKET_CELLS && read; i++) {
        const uint64_t cell = cells.cell[which * CM_BUCKET_CELLS + i];

        if (!cm_index_match(&p->media, key, cell))
            continue;
        carried = true;
        dump_open(w->o, NULL, "cell %u", i);
        dump_name(w->o, "cell", i);
        dump_where(w->o, offset + i * sizeof(cell), sizeof(cell));
        dump_hex(w->o, "word", cell, 16);
        walk_slot(w, key, cell);
        dump_close(w->o);
    }
    dump_close_array(w->o);
    dump_bool(w->o, "carries_the_tag", carried);
    dump_close(w->o);
}

/* A slot that has the block although no lookup comes to it. */
static void search_orphan(const struct walk *w, const struct cm_key *key)
{
    const struct cm_geometry *g = &w->p->media.geo;
    struct cm_header h;

    if (g->slots > SEARCH_SLOTS)
        return;
    for (uint64_t s = 0; s < g->slots; s++) {
        if (!dump_inside(w->p, cm_format_header_at(g, s), sizeof(h)))
            break;
        if (cm_slot_header(&w->p->media, s, &h) == CM_SLOT_HIT && cm_slot_is(&h, key)) {
            dump_number(w->o, "orphan_slot", s);
            return;
        }
    }
}

/* The key of a block, with the "since" of its region. */
static struct cm_key region_key(struct walk *w, uint64_t block)
{
    const struct dump_record *d = &w->record;
    struct cm_key key = cm_key_of(&w->p->media, d->r.incarnation, block);
    struct cm_record_regions g;
    const unsigned region = cm_format_region(d->r.region_shift, block);

    cm_record_regions(&w->p->media, d->place, &d->r, &g);
    key.incarnation |= (uint64_t)g.since[region] << CM_SINCE_SHIFT;
    dump_number(w->o, "region", region);
    dump_number(w->o, "since", g.since[region]);
    if (g.unknown >> region & 1)
        end_at(w, "region", "region %u begins anew: the check of its since word is wrong", region);
    else if (!w->p->owned && g.boot != w->p->super.boot_number && g.intents >> region & 1)
        end_at(w, "region",
               "region %u begins anew: it has an intent, and the system was started since", region);
    return key;
}

/* From the incarnation of the record to the end. */
static void walk_cells(struct walk *w, uint64_t block)
{
    const struct cm_key key = region_key(w, block);
    struct walk cells = { .p = w->p, .file = w->file, .o = w->o, .record = w->record };

    dump_open(w->o, "key", "key");
    dump_number(w->o, "incarnation", cm_incarnation_number(key.incarnation));
    dump_number(w->o, "block", block);
    dump_number(w->o, "stripe", key.stripe);
    dump_hex(w->o, "tag", key.place.tag >> CM_CELL_TAG_SHIFT, 6);
    dump_close(w->o);
    dump_open_array(w->o, "buckets");
    walk_bucket(&cells, &key, 0);
    walk_bucket(&cells, &key, 1);
    dump_close_array(w->o);
    if (!cells.ends_at)
        end_at(&cells, "cells", "no cell of bucket %" PRIu64 " or %" PRIu64 " carries the tag%s",
               key.place.bucket[0], key.place.bucket[1],
               w->p->owned ? "; it may wait in the memory of the process that has the pool open: "
                             "'cachemax cached FILE' tells, if that is a mount"
                           : "");
    if (strcmp(cells.ends_at, "hit") != 0)
        search_orphan(w, &key);
    end_at(w, cells.ends_at, "%s", cells.end);
}

/* ---- Both ---------------------------------------------------------------------------------- */

void dump_file(const struct dump_pool *p, const struct dump_file *f, struct dump_out *o)
{
    struct walk w = { .p = p, .file = f, .o = o };

    dump_open(o, "file", "file");
    dump_id(o, "file_id", &f->id);
    walk_records(&w);
    dump_bool(o, "found", w.records > 0);
    if (w.ends_at)
        dump_text(o, "why", "%s", w.end);
    dump_close(o);
}

void dump_find(const struct dump_pool *p, const struct dump_file *f, uint64_t block,
               struct dump_out *o)
{
    struct walk w = { .p = p, .file = f, .o = o };

    dump_open(o, "find", "find");
    dump_id(o, "file_id", &f->id);
    dump_number(o, "block", block);
    walk_records(&w);
    if (w.records > 0)
        walk_cells(&w, block);
    dump_text(o, "ends_at", "%s", w.ends_at);
    dump_text(o, "why", "%s", w.end);
    dump_close(o);
}

void dump_wrong_block(const struct dump_pool *p, const cm_file_id *id, uint64_t block, FILE *file)
{
    struct dump_file f = { .now = NULL };
    struct dump_out o;

    (void)fputs("  what the pool has of it:\n", file);
    dump_begin(&o, file, false);
    o.depth = 2;
    if (id)
        f.id = *id;
    if (p->laid_out && (f.id.hi | f.id.lo) != 0)
        dump_find(p, &f, block, &o);
    else
        dump_superblock(p, &o);
    dump_end(&o);
    (void)fflush(file);
}
