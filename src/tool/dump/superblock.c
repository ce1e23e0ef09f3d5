/* SPDX-License-Identifier: BSD-2-Clause
 *
 * superblock.c - both copies of the superblock, which one counts, and where everything is.
 *
 * Owns the words about them. Fields are in the order of docs/format.md.
 *
 * Who: cmd_dump.c, find.c.
 */
#include "tool/dump/dump.h"

#include <inttypes.h>
#include <string.h>

/* The verdict of a copy, a word or a few. */
static const char *copy_verdict(const struct dump_pool *p, unsigned i)
{
    const struct cm_super *sb = &p->copy[i];

    switch (p->judged[i]) {
    case 0:
        return "good";
    case CM_EIO:
        return "unreadable";
    case CM_ETRUNCATED:
        return "not there";
    case CM_ENOTPOOL:
        return "no magic";
    case CM_EBYTEORDER:
        return "other byte order";
    case CM_EVERSION:
        return "other version";
    case CM_EINCOMPAT:
        return "unknown feature";
    default:
        return sb->byte_order != CM_BYTE_ORDER_MARK                        ? "wrong byte order mark"
               : sb->xxh3 != cm_format_super_sum(sb)                       ? "wrong checksum"
               : sb->state != CM_SUPER_CLEAN && sb->state != CM_SUPER_OPEN ? "no state"
                                                                           : "damaged";
    }
}

static void put_why(const struct dump_pool *p, unsigned i, struct dump_out *o)
{
    const bool other = p->judged[1 - i] == 0;

    if (p->counts == (int)i)
        dump_text(o, "why", "%s",
                  other ? "of two good copies it has the higher seq" : "the only good copy");
    else if (p->judged[i] == 0)
        dump_text(o, "why", "the other copy is good and has a higher seq, or the same");
    else if (p->judged[i] == CM_EDAMAGED)
        dump_text(o, "why", "its write was cut short, or it is damaged");
    else if (p->judged[i] == CM_ETRUNCATED)
        dump_text(o, "why", "the file ends before it does");
    else
        dump_text(o, "why", "%s", cm_strerror(p->judged[i]));
}

static void put_magic(const struct cm_super *sb, struct dump_out *o)
{
    bool text = true;

    for (int i = 0; i < 8; i++)
        text = text && sb->magic[i] >= 0x20 && sb->magic[i] < 0x7f;
    if (text)
        dump_text(o, "magic", "%.8s", (const char *)sb->magic);
    else
        dump_bytes(o, "magic", sb->magic, 8);
}

static const char *state_name(uint32_t state)
{
    return state == CM_SUPER_CLEAN ? "clean" : state == CM_SUPER_OPEN ? "open" : "none known";
}

static const char *durability_name(uint32_t d)
{
    return d == CM_DURABILITY_VOLATILE     ? "volatile"
           : d == CM_DURABILITY_PAGECACHE  ? "page cache"
           : d == CM_DURABILITY_DAX        ? "dax"
           : d == CM_DURABILITY_CHECKPOINT ? "checkpoints"
                                           : "none known";
}

static void put_fields(const struct cm_super *sb, struct dump_out *o)
{
    uint64_t ends[CM_PARTS], tables[CM_PARTS];

    put_magic(sb, o);
    dump_hex(o, "byte_order", sb->byte_order, 8);
    dump_number(o, "version", sb->version);
    dump_hex(o, "compat", sb->compat, 16);
    dump_hex(o, "incompat", sb->incompat, 16);
    dump_bytes(o, "uuid", sb->uuid, 16);
    dump_number(o, "pool_size", sb->pool_size);
    dump_number(o, "slots", sb->slots);
    dump_number(o, "record_buckets", sb->record_buckets);
    dump_number(o, "stripes", sb->stripes);
    dump_number(o, "stripe_buckets", sb->stripe_buckets);
    dump_number(o, "data_align", sb->data_align);
    dump_hex(o, "hash_seed", sb->hash_seed, 16);
    dump_number(o, "created_ns", sb->created_ns);
    dump_number(o, "seq", sb->seq);
    dump_number(o, "epoch", sb->epoch);
    dump_number(o, "inc_mark", sb->inc_mark);
    dump_number(o, "frontier", sb->frontier);
    dump_number(o, "state", sb->state);
    dump_text(o, "state_name", "%s", state_name(sb->state));
    dump_number(o, "durability", sb->durability);
    dump_text(o, "durability_name", "%s", durability_name(sb->durability));
    dump_number(o, "boot_number", sb->boot_number);
    dump_number(o, "owner_pid", sb->owner_pid);
    dump_bytes(o, "boot_id", sb->boot_id, 16);
    dump_bytes(o, "mount_id", sb->mount_id, 16);
    dump_number(o, "memo_generation", sb->memo.generation);
    dump_number(o, "memo_hand", sb->memo.hand);
    dump_number(o, "memo_departures", sb->memo.departures);
    dump_number(o, "failed_boot", sb->failed_boot);
    dump_number(o, "unnamed_boot", sb->unnamed_boot);
    dump_bytes(o, "failed_boot_id", sb->failed_boot_id, 16);
    dump_number(o, "torn_epoch", sb->torn_epoch);
    dump_number(o, "boot_first", sb->boot_first);
    dump_hex(o, "boot_before", sb->boot_before[0], 4);
    dump_hex(o, "boot_before_that", sb->boot_before[1], 4);
    dump_text(o, "sealed", "%s",
              sb->incompat & CM_INCOMPAT_ENCRYPTED ? "encrypted"
              : sb->incompat & CM_INCOMPAT_SEALED  ? "yes"
                                                   : "no");
    dump_hex(o, "key_check", sb->key_check, 16);
    dump_hex(o, "tag", sb->tag, 16);
    dump_number(o, "growing", sb->growing);
    for (unsigned i = 0; i < CM_PARTS; i++) {
        ends[i] = cm_part_end(sb->part[i]);
        tables[i] = cm_part_tables(sb->part[i]);
    }
    dump_numbers(o, "part_ends", ends, CM_PARTS); /* in bytes */
    dump_numbers(o, "part_tables", tables, CM_PARTS);
    dump_hex(o, "xxh3", sb->xxh3, 16);
    dump_hex(o, "xxh3_computed", cm_format_super_sum(sb), 16);
}

static void put_copy(const struct dump_pool *p, unsigned i, struct dump_out *o)
{
    dump_open(o, NULL, "copy %u", i);
    dump_name(o, "copy", i);
    dump_where(o, i * CM_SUPER_STRIDE, sizeof(struct cm_super));
    dump_text(o, "verdict", "%s", copy_verdict(p, i));
    dump_bool(o, "counts", p->counts == (int)i);
    put_why(p, i, o);
    if (p->judged[i] != CM_EIO && p->judged[i] != CM_ETRUNCATED)
        put_fields(&p->copy[i], o);
    dump_close(o);
}

/* What the next open makes of it. */
static void put_next_open(const struct dump_pool *p, struct dump_out *o)
{
    struct cm_super_owner owner = { .durability = CM_DURABILITY_VOLATILE };
    struct cm_super next = p->super;
    struct cm_plat_file file = p->file;
    char volume[PLAT_VOLUME];

    if (p->error) {
        dump_text(o, "next_open", "refuses it: %s", cm_strerror(p->error));
    } else if (p->owned) {
        dump_text(o, "next_open", "is refused while process %" PRIu32 " has it open",
                  p->super.owner_pid);
    } else if (p->file.handle < 0) {
        dump_text(o, "next_open", "%s",
                  p->super.state == CM_SUPER_CLEAN || p->super.durability == CM_DURABILITY_DAX
                      ? "keeps what is cached"
                  : p->super.durability == CM_DURABILITY_CHECKPOINT
                      ? "keeps what is cached in this boot and mount, else what was checkpointed"
                      : "keeps what is cached in this boot and mount, else empties it");
    } else {
        cm_plat_boot_id(owner.boot_id);
        cm_plat_mount_id(&file, owner.mount_id);
        owner.syncs = cm_plat_file_sync_lasts(&file, volume);
        cm_super_count_boot(&next, &owner);
        dump_text(o, "next_open", "%s",
                  cm_super_must_empty(&p->super, &owner)
                      ? "empties it: not closed cleanly, in another boot or mount, without DAX"
                  : p->super.state != CM_SUPER_CLEAN && next.boot_number != p->super.boot_number &&
                          p->super.durability == CM_DURABILITY_CHECKPOINT
                      ? "keeps what was checkpointed and not written since"
                      : "keeps what is cached");
    }
}

static void put_place(struct dump_out *o, const char *key, uint64_t offset, uint64_t bytes)
{
    if (!o->as_json) {
        dump_text(o, key, "at %" PRIu64 ", %" PRIu64 " bytes", offset, bytes);
        return;
    }
    dump_open(o, key, "%s", key);
    dump_where(o, offset, bytes);
    dump_close(o);
}

/* What the pool got when it grew. Its tables hold the index and the memo of the larger pool, too,
 * and only those of the last part are in use. */
static void put_part(const struct cm_geometry *g, unsigned i, struct dump_out *o)
{
    const struct cm_pool_part *const p = &g->part[i];
    const uint64_t end = i + 1 < g->parts ? p[1].first : g->slots, slots = end - p->first;

    dump_open(o, NULL, "part %u", i + 1);
    dump_number(o, "first_slot", p->first);
    put_place(o, "headers", p->header_offset + p->first * sizeof(struct cm_header),
              slots * sizeof(struct cm_header));
    put_place(o, "slots", p->slot_offset + p->first * CM_BLOCK_SIZE, slots * CM_BLOCK_SIZE);
    dump_close(o);
}

static void put_layout(const struct cm_geometry *g, struct dump_out *o)
{
    const uint64_t bucket = sizeof(struct cm_bucket),
                   plain = g->parts ? g->part[0].first : g->slots;
    const struct {
        const char *key;
        uint64_t offset, bytes;
    } part[] = {
        { "stats_page", CM_STATS_OFFSET, CM_STATS_BYTES },
        { "file_table", g->record_offset,
          g->record_buckets * CM_RECORD_WAYS * sizeof(struct cm_record) },
        { "names", g->name_offset, g->name_offset ? g->index_offset - g->name_offset : 0 },
        { "index", g->index_offset + g->index_first * bucket,
          g->stripes * g->stripe_buckets * bucket },
        { "headers", g->header_offset, plain * sizeof(struct cm_header) },
        { "memo", g->memo_offset, g->memo_pages * CM_BLOCK_SIZE },
        { "slots", g->slot_offset, plain * CM_BLOCK_SIZE },
    };

    dump_open(o, "layout", "layout");
    for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
        if (part[i].bytes > 0) /* else the pool has no such table */
            put_place(o, part[i].key, part[i].offset, part[i].bytes);
    if (g->parts > 0) {
        dump_open_array(o, "parts");
        for (unsigned i = 0; i < g->parts; i++)
            put_part(g, i, o);
        dump_close_array(o);
    }
    dump_close(o);
}

void dump_superblock(const struct dump_pool *p, struct dump_out *o)
{
    dump_open(o, "superblock", "superblock");
    if (p->counts >= 0)
        dump_text(o, "verdict", "copy %d counts%s", p->counts,
                  p->laid_out ? "" : ", but contradicts itself");
    else
        dump_text(o, "verdict", "no copy counts: %s", cm_strerror(p->error));
    put_next_open(p, o);
    if (p->laid_out) {
        dump_hex(o, "check_key", p->media.check_key, 16);
        put_layout(&p->media.geo, o);
    }
    dump_open_array(o, "copies");
    for (unsigned i = 0; i < CM_SUPER_COPIES; i++)
        put_copy(p, i, o);
    dump_close_array(o);
    dump_close(o);
}
