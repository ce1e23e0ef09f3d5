/* SPDX-License-Identifier: BSD-2-Clause
 *
 * records.c - one place of the file table, and what an attach of its file would conclude.
 *
 * Owns the verdicts of records. They follow state/attach.c, which judges the same with a session
 * around it: what only a session knows (is the file open, what is its validator now) is said as a
 * condition.
 *
 * Who: cmd_dump.c, find.c.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>
#include <string.h>

#include "media/name_table.h"

static uint64_t record_offset(const struct dump_pool *p, uint64_t place)
{
    return p->media.geo.record_offset + place * sizeof(struct cm_record);
}

static void not_whole(const struct dump_pool *p, struct dump_record *d)
{
    uint64_t epoch;

    if ((d->r.id.hi | d->r.id.lo) == 0)
        dump_conclude(&d->found, "free", "its id is zero");
    else if (d->r.xxh3 == 0)
        dump_conclude(&d->found, "dropped",
                      "its checksum was cleared: the file was forgotten, or its record "
                      "is being replaced");
    else if ((epoch = dump_record_epoch(p, d->place, &d->r)) != 0)
        dump_conclude(&d->found, "of another epoch",
                      "right in epoch %" PRIu64 ", and this is %" PRIu64, epoch, p->super.epoch);
    else
        dump_conclude(&d->found, "wrong checksum",
                      "torn, damaged, or of a pool or epoch long gone: it is no record");
}

/* Is the place one of the two buckets of its id, and how many whole records has the id? */
static unsigned count_of_id(const struct dump_pool *p, const struct dump_record *d, bool *at_home)
{
    uint64_t bucket[CM_RECORD_CHOICES];
    struct cm_record r;
    unsigned n = 0;
    bool whole;

    cm_format_record_buckets(&p->media.geo, p->media.hash_seed, &d->r.id, bucket);
    *at_home = bucket[0] == d->place / CM_RECORD_WAYS || bucket[1] == d->place / CM_RECORD_WAYS;
    for (unsigned b = 0; b < CM_RECORD_CHOICES && (b == 0 || bucket[1] != bucket[0]); b++)
        for (uint64_t i = 0; i < CM_RECORD_WAYS; i++) {
            const uint64_t place = bucket[b] * CM_RECORD_WAYS + i;

            if (dump_inside(p, record_offset(p, place), sizeof(r)) &&
                cm_record_at(&p->media, place, &r, &whole) == 0 && whole && r.id.hi == d->r.id.hi &&
                r.id.lo == d->r.id.lo)
                n++;
        }
    return n;
}

/* An fsync of the file failed in this boot, as cm_file_record_failed() sees it. */
static bool sync_failed(const struct dump_pool *p, const struct dump_record *d)
{
    const struct cm_super *sb = &p->super;
    uint32_t boot;
    bool dirty;

    if (!(d->r.flags & CM_RECORD_SYNC_FAILED))
        return false;
    if (!cm_format_state_read(p->media.check_key, d->place, &d->r, &dirty, &boot))
        return sb->failed_boot == sb->boot_number;
    return boot == sb->boot_number || sb->unnamed_boot == sb->boot_number;
}

static void judge_whole(const struct dump_pool *p, struct dump_record *d)
{
    const char *anew = NULL;
    struct cm_record_regions g;
    bool at_home;

    cm_record_regions(&p->media, d->place, &d->r, &g);
    dump_conclude(&d->found, "whole", "its id is not zero and its checksum is right");
    if (count_of_id(p, d, &at_home) > 1)
        dump_conclude(&d->found, "twice", "another record has the same id: an attach drops both");
    if (!at_home)
        dump_conclude(&d->found, "misplaced",
                      "neither bucket of its id is this one, so nobody looks here");
    if (d->r.incarnation >= p->super.inc_mark)
        dump_conclude(&d->found, "newer than superblock",
                      "no incarnation from %" PRIu64 " on was given yet: an open empties the pool",
                      p->super.inc_mark);
    if (strcmp(d->found.verdict, "whole") != 0)
        anew = d->found.verdict;
    else if (sync_failed(p, d))
        anew = "past the cache: an fsync of the file failed in this boot";
    else if (d->r.incarnation == 0)
        anew = "its incarnation is zero";
    else if (d->r.flags & CM_RECORD_RACY)
        anew = "its validator is racy";
    else if (d->r.flags & CM_RECORD_SYNC_FAILED)
        anew = "an fsync of the file failed in another boot";
    else if (cm_super_failed_in(&p->super).all && !cm_record_is_of_objects(&d->r))
        anew = "an fsync failed in this boot, and others had the pool since";
    else if (((p->super.boot_number - d->r.birth) & 0x7fffffff) >= CM_BOOTS)
        anew = "it was born too many boots ago";
    d->keeps = !anew;
    if (anew)
        (void)snprintf(d->attach, sizeof(d->attach), "begins anew: %s", anew);
    else
        (void)snprintf(d->attach, sizeof(d->attach), "keeps what is cached%s, %s",
                       g.intents == 0 ? ""
                       : g.boot == p->super.boot_number
                           ? " (after a crash of the system: but for regions with an intent)"
                           : " but for regions with an intent",
                       "if the file has this validator");
}

void dump_record_look(const struct dump_pool *p, uint64_t place, struct dump_record *d)
{
    memset(d, 0, sizeof(*d));
    d->place = place;
    (void)snprintf(d->attach, sizeof(d->attach), "begins anew: no record");
    if (!dump_inside(p, record_offset(p, place), sizeof(d->r))) {
        dump_conclude(&d->found, "not there", "it lies beyond the end of the file");
        return;
    }
    d->read = cm_record_at(&p->media, place, &d->r, &d->whole) == 0;
    if (d->whole)
        judge_whole(p, d);
    else if (d->read)
        not_whole(p, d);
    else if (cm_record_is_hole(&p->media, place))
        dump_conclude(&d->found, "free",
                      "a hole of the file, and its full volume has no page for it");
    else
        dump_conclude(&d->found, "unreadable", "it is no record");
}

/* A proof in the words that cm_identify() makes it of. Other programs may have stored anything. */
static void dump_proof(struct dump_out *o, const uint8_t proof[CM_PROOF_BYTES])
{
    uint64_t word[4];

    memcpy(word, proof, sizeof(word));
    dump_text(o, "proof", "%016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64, word[0],
              word[1], word[2], word[3]);
}

/* The name that the record has, if the pool has names. */
static void put_name(const struct dump_pool *p, const struct dump_record *d, struct dump_out *o)
{
    const uint64_t sum = d->r.words[CM_RECORD_NAME];
    const uint64_t at = p->media.geo.name_offset + d->place * sizeof(struct cm_name);
    char text[TOOL_PRINTABLE_MAX(CM_FILE_NAME_MAX)];
    struct cm_name name = { { 0 } };

    if (!cm_names_exist(&p->media))
        return;
    dump_number(o, "name_offset", at);
    dump_hex(o, "name_xxh3", sum, 16);
    if (d->whole && dump_inside(p, at, sizeof(name)))
        cm_name_read(&p->media, d->place, &d->r.id, &name);
    dump_text(o, "name", "%s", o->as_json ? name.text : tool_printable(text, name.text));
    dump_text(o, "name_check", "%s",
              sum == 0       ? "there is no name"
              : !d->whole    ? "a record that does not count has no name"
              : name.text[0] ? "right"
                             : "wrong: torn, of another file or epoch, or damaged: it is no name");
}

/* Regions with a "since" that is not 0, as REGION:SINCE. */
static void put_regions(const struct cm_record *r, const struct cm_record_regions *g,
                        struct dump_out *o)
{
    char text[CM_REGIONS * sizeof("63:255")] = "";
    size_t at = 0;

    dump_number(o, "birth", r->birth);
    dump_number(o, "region_blocks", r->region_shift < 64 ? UINT64_C(1) << r->region_shift : 0);
    dump_hex(o, "intents", g->intents, 16);
    for (unsigned i = 0; i < CM_REGIONS; i++)
        if (g->since[i] != 0)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u:%u", at ? " " : "", i,
                                   g->since[i]);
    dump_text(o, "since", "%s", at ? text : "0");
}

void dump_record_print(const struct dump_pool *p, const struct dump_record *d, struct dump_out *o)
{
    const struct cm_record *r = &d->r;
    const struct cm_record_attr attr = cm_record_attr(&p->media, d->place, r);
    struct cm_record_regions g;

    dump_name(o, "record", d->place);
    dump_put_verdict(o, &d->found);
    dump_text(o, "attach", "%s", d->attach);
    dump_where(o, record_offset(p, d->place), sizeof(*r));
    dump_number(o, "record_bucket", d->place / CM_RECORD_WAYS);
    if (!d->read)
        return;
    dump_id(o, "file_id", &r->id);
    dump_number(o, "incarnation", r->incarnation);
    dump_proof(o, r->proof);
    dump_hex(o, "flags", r->flags, 16);
    dump_bool(o, "racy", (r->flags & CM_RECORD_RACY) != 0);
    dump_bool(o, "sync_failed", (r->flags & CM_RECORD_SYNC_FAILED) != 0);
    dump_hex(o, "xxh3", r->xxh3, 16);
    if (p->media.seal)
        dump_text(o, "xxh3_computed", "sealed: not known without the key");
    else
        dump_hex(o, "xxh3_computed", cm_format_record_sum(p->media.check_key, d->place, r), 16);
    if (cm_record_size(&p->media, d->place, r) != CM_SIZE_UNKNOWN)
        dump_number(o, "size", r->size);
    else
        dump_text(o, "size", "not known");
    dump_hex(o, "size_xxh3", r->size_sum, 16);
    dump_hex(o, "end_of_life", r->expires, 16);
    dump_hex(o, "used", r->words[CM_RECORD_USED], 16);
    dump_number(o, "hits", r->words[CM_RECORD_HITS]);
    dump_hex(o, "attributes", r->words[CM_RECORD_ATTR], 16);
    dump_bool(o, "keep", attr.keep);
    dump_number(o, "group", attr.group);
    dump_number(o, "region_shift", r->region_shift);
    cm_record_regions(&p->media, d->place, r, &g);
    dump_hex(o, "state_word", r->state, 16);
    dump_bool(o, "dirty", g.dirty);
    dump_number(o, "boot", g.boot);
    dump_number(o, "pool_boot", p->super.boot_number);
    dump_text(o, "state_check", "%s",
              g.known                            ? "right"
              : (r->state | r->incarnation) == 0 ? "never written"
                                                 : "wrong: counts as DIRTY of another boot");
    put_regions(r, &g, o);
    put_name(p, d, o);
}

void dump_record(const struct dump_pool *p, uint64_t place, struct dump_out *o)
{
    struct dump_record d;

    dump_record_look(p, place, &d);
    dump_open(o, "record", "record %" PRIu64, place);
    dump_record_print(p, &d, o);
    dump_close(o);
}
