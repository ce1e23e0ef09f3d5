/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resize_carry.c - cm_resize(): what of a pool is carried over to another one, and the copy.
 *
 * Owns: the choice of the blocks, and how a record and a block get into a pool that nobody uses
 * yet. The engine's own functions judge what is cached (survey.c, file_list.c) and read it; each
 * block's checksum is tested on the way. A record and a header are carried over with all that a
 * later open judges: incarnation, "since", boots, intents, state. Only their places differ, and the
 * checks that depend on the place and on the pool. So the rules of docs/format.md give the same
 * answer for the new pool as for the old one.
 *
 * CHOICE  Blocks have a rank: of kept files, or else by the count of their slot. Within a rank
 * those stay that the hand of the ring would have reached last. In the new pool blocks of kept
 * files come first, because the last blocks may find their buckets full. Then the others lie in the
 * order in which the hand would have come to them.
 *
 * Who: api/.
 */
#include "api/resize.h"

#include "media/name_table.h"
#include "protocol/survey.h"

#define RANK_KEPT 5u /* 1 to 4: a count of 0 to 3 */

/* Of a file: */
#define CARRY_KEPT 1u   /* its blocks are kept */
#define CARRY_FAILED 2u /* the record names a failed fsync */
#define CARRY_TWICE 4u  /* there are two records, so neither counts */
#define CARRY_PLACED 8u /* the new pool has its record */

/* ---- What is there --------------------------------------------------------------------------- */

static int judge_file(struct cm_resizing *z, uint64_t i, struct cm_record_set *set)
{
    const struct cm_listed *f = &z->list.file[i];
    unsigned records = 0;
    cm_record_load(&z->old->media, &f->id, set);
    for (unsigned n = 0; n < set->n; n++) {
        if (!cm_record_names(set, n, &f->id))
            continue;
        records++;
        const struct cm_record *r = &set->record[n];
        const bool keep = cm_record_attr(&z->old->media, cm_record_place(set, n), r).keep;
        z->file[i] |= keep ? CARRY_KEPT : 0;
        z->file[i] |= r->flags & CM_RECORD_SYNC_FAILED ? CARRY_FAILED : 0;
    }
    if (records != 1)
        z->file[i] |= CARRY_TWICE;
    if (cm_super_is_older(&z->old->super, f->incarnation))
        z->older = true;
    return records != 1 && z->file[i] & CARRY_FAILED;
}

/* A record that is not whole, or cannot be read, may have named a failed fsync. */
static bool lost_record(const struct cm_media *m)
{
    struct cm_record r;
    bool whole;
    for (uint64_t p = 0; p < m->geo.record_buckets * CM_RECORD_WAYS; p++)
        if ((cm_record_at(m, p, &r, &whole) && !cm_record_is_hole(m, p)) ||
            (!whole && r.xxh3 != 0 && (r.flags & CM_RECORD_SYNC_FAILED)))
            return true;
    return false;
}

static int look_at_files(struct cm_resizing *z)
{
    struct cm_record_set *set;
    z->list.cache = z->old;
    int e = cm_file_list_collect(&z->list, UINT64_MAX);
    if (e)
        return e;
    z->files = z->report->files = z->list.n;
    z->unnamed = lost_record(&z->old->media);
    z->top = cm_cache_alloc(z->old, (size_t)z->files + 1);
    z->file = cm_cache_alloc(z->old, (size_t)z->files + 1);
    set = cm_cache_alloc(z->old, sizeof(*set));
    if (!z->top || !z->file || !set)
        e = CM_ENOMEM;
    for (uint64_t i = 0; i < z->files && e == 0; i++)
        z->unnamed |= judge_file(z, i, set) != 0;
    cm_cache_free(z->old, set, sizeof(*set));
    return e;
}

/* What the last clean close kept of slots, which come in order. */
struct counts {
    struct cm_memo_page page;
    uint64_t known; /* number of the page, plus one */
};

static uint8_t count_of(const struct cm_resizing *z, struct counts *c, uint64_t slot)
{
    const uint64_t number = slot / CM_MEMO_SLOTS, at = slot % CM_MEMO_SLOTS;
    if (z->was.state != CM_SUPER_CLEAN || number >= z->old->media.geo.memo_ring_pages)
        return 0;
    if (c->known != number + 1 && !cm_memo_read(&z->old->media, &z->was.memo, number, &c->page))
        memset(&c->page, 0, sizeof(c->page));
    c->known = number + 1;
    const unsigned byte = c->page.body[at / 2]; /* of two slots */
    return (uint8_t)(byte >> at % 2 * 4 & CM_RING_KEPT);
}

struct looking {
    struct cm_resizing *z;
    struct counts counts;
};

/* Would the block's file be served it? */
static bool wants(void *ctx, uint64_t incarnation, uint64_t block)
{
    struct cm_resizing *z = ((struct looking *)ctx)->z;
    if (cm_super_is_older(&z->old->super, cm_incarnation_number(incarnation)))
        z->older = true;
    const struct cm_listed *f = cm_file_list_find_block(&z->list, incarnation, block);
    return f && !(z->file[f - z->list.file] & CARRY_TWICE);
}

static int found(void *ctx, const struct cm_surveyed *b)
{
    struct looking *l = ctx;
    struct cm_resizing *z = l->z;
    const uint64_t number = cm_incarnation_number(b->key.incarnation);
    const struct cm_listed *f = cm_file_list_find(&z->list, number);
    const ptrdiff_t i = f - z->list.file;
    const uint8_t count = count_of(z, &l->counts, b->slot) & CM_REF_MAX;
    const uint8_t rank = z->file[i] & CARRY_KEPT ? RANK_KEPT : (uint8_t)(count + 1);
    z->rank[b->slot] = rank;
    z->found[rank]++;
    z->report->blocks++;
    if (z->top[i] < rank)
        z->top[i] = rank;
    return cm_resize_step(z, 0);
}

int cm_carry_look(struct cm_resizing *z)
{
    struct looking l = { .z = z };
    const struct cm_survey survey = { wants, found, &l };
    z->rank = cm_cache_alloc(z->old, (size_t)cm_media_slots(&z->old->media));
    int e = z->rank ? look_at_files(z) : CM_ENOMEM;
    if (e == 0 && !z->old->must_empty)
        e = cm_survey_blocks(z->old, &survey);
    e = e ? e : z->list.error;
    if (z->was.state == CM_SUPER_CLEAN && z->was.memo.generation != 0)
        z->hand = z->was.memo.hand % cm_media_slots(&z->old->media);
    return e;
}

void cm_carry_free(struct cm_resizing *z)
{
    cm_cache_free(z->old, z->rank, (size_t)cm_media_slots(&z->old->media));
    cm_cache_free(z->old, z->top, (size_t)z->files + 1);
    cm_cache_free(z->old, z->file, (size_t)z->files + 1);
    cm_file_list_free(&z->list);
}

/* ---- The choice ------------------------------------------------------------------------------ */

void cm_carry_choose(struct cm_resizing *z, uint64_t slots)
{
    uint64_t room = slots;
    z->chosen = z->skip = 0;
    for (z->lowest = RANK_KEPT; z->lowest > 1 && z->found[z->lowest] <= room; z->lowest--)
        room -= z->found[z->lowest];
    if (z->found[z->lowest] > room)
        z->skip = z->found[z->lowest] - room;
    for (unsigned i = z->lowest; i <= RANK_KEPT; i++)
        z->chosen += z->found[i];
    z->chosen -= z->skip;
}

static bool must_stay(const struct cm_resizing *z, uint64_t i)
{
    return (z->file[i] & (CARRY_KEPT | CARRY_FAILED)) || (z->top[i] && z->top[i] >= z->lowest);
}

struct cm_carry_files cm_carry_files(const struct cm_resizing *z)
{
    struct cm_carry_files n = { 0 };
    for (uint64_t i = 0; i < z->files; i++) {
        n.all += must_stay(z, i);
        n.kept += (z->file[i] & CARRY_KEPT) != 0;
    }
    return n;
}

/* ---- Records --------------------------------------------------------------------------------- */

/* A free place for the record of a file, as a new record gets it. CM_NO_PLACE: there is none. */
static uint64_t free_place(const struct cm_media *m, const cm_file_id *id,
                           struct cm_record_set *set)
{
    unsigned unused[CM_RECORD_CHOICES] = { 0 }, first[CM_RECORD_CHOICES] = { 0 };
    cm_record_load(m, id, set);
    for (unsigned i = set->n; i-- > 0;)
        if (cm_record_is_unused(set, i)) {
            unused[i / CM_RECORD_WAYS]++;
            first[i / CM_RECORD_WAYS] = i;
        }
    const unsigned b = unused[1] > unused[0];
    return unused[b] > 0 ? cm_record_place(set, first[b]) : CM_NO_PLACE;
}

/* The words that tell of regions and of the state have checks of their own. If one is wrong, the
 * file is cold, instead of a part of it: the copy says nothing that the old record did not say. */
static int carry_record(struct cm_resizing *z, uint64_t i, uint64_t to)
{
    const struct cm_media *m = &z->old->media;
    const uint64_t from = z->list.file[i].place;
    struct cm_record_regions g;
    struct cm_record r;
    struct cm_name name;
    uint32_t seconds;
    uint64_t hits;
    bool whole;
    if (cm_record_at(m, from, &r, &whole) || !whole)
        return 0; /* it was whole a moment ago */
    cm_record_regions(m, from, &r, &g);
    const int64_t expires = cm_record_expiry(m, from, &r);
    r.size = cm_record_size(m, from, &r);
    if (!g.known || g.unknown) {
        r.incarnation = 0;
        z->unnamed |= (z->file[i] & CARRY_FAILED) != 0;
    }
    int e = cm_record_write(&z->to, to, &r, cm_record_attr(m, from, &r), &g);
    if (e == 0 && expires != 0)
        e = cm_record_write_expiry(&z->to, to, &r, expires);
    if (e == 0 && cm_record_use(m, from, &r, &seconds, &hits))
        cm_record_write_use(&z->to, to, &r.id, seconds, hits);
    cm_name_read(m, from, &r.id, &name);
    if (e == 0 && cm_names_exist(&z->to) && name.text[0])
        e = cm_name_write(&z->to, to, &r.id, &name);
    if (e == 0 && r.incarnation != 0)
        z->file[i] |= CARRY_PLACED;
    if (e == 0)
        z->report->files_lost--;
    if (e == 0 && (z->file[i] & CARRY_KEPT))
        z->report->kept_files++;
    return e;
}

/* Those that must stay come first: they find a place. */
static int carry_records(struct cm_resizing *z)
{
    struct cm_record_set *set = cm_cache_alloc(z->old, sizeof(*set));
    int e = set ? 0 : CM_ENOMEM;
    z->report->files_lost = z->files;
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t i = 0; i < z->files && e == 0; i++) {
            if ((z->file[i] & CARRY_TWICE) || must_stay(z, i) != (round == 0))
                continue;
            const uint64_t to = free_place(&z->to, &z->list.file[i].id, set);
            if (to != CM_NO_PLACE)
                e = carry_record(z, i, to);
            else
                z->unnamed |= (z->file[i] & CARRY_FAILED) != 0;
        }
    cm_cache_free(z->old, set, sizeof(*set));
    return e;
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

/* The number of an empty cell of the key, or -1. -2: the block is there already. */
static int free_cell(const struct cm_media *m, const struct cm_key *k)
{
    struct cm_cells cells;
    struct cm_header h;
    int cell = -1;
    for (unsigned which = 0; which < 2; which++)
        if (cm_index_load(m, k, which, &cells))
            return -1;
    for (unsigned i = CM_PLACE_CELLS; i-- > 0;) {
        if (cells.cell[i] == 0)
            cell = (int)i;
        else if (cm_index_match(m, k, cells.cell[i]) &&
                 cm_slot_header(m, cm_cell_slot(cells.cell[i]), &h) == CM_SLOT_HIT &&
                 cm_slot_is(&h, k))
            return -2;
    }
    return cell;
}

/* Puts a block into the next slot of the new pool, as of the boot in which it was stored. */
static int put_block(struct cm_resizing *z, const struct cm_key *k, uint8_t boot, uint32_t valid,
                     const void *data)
{
    struct cm_media *m = &z->to;
    const uint64_t slot = z->slots_used;
    struct cm_header h;
    const int cell = free_cell(m, k);
    if (cell < 0) {
        z->report->no_room += cell == -1;
        z->report->blocks -= cell == -2; /* a crash of the system left it twice */
        return 0;
    }
    m->boot = boot;
    int e = cm_slot_fill(m, slot, k, data, valid, &h);
    if (e == 0)
        e = cm_slot_publish(m, slot, &h);
    if (e == 0)
        e = cm_index_store(m, k, (unsigned)cell, cm_cell_make(k->place.tag, boot, slot));
    z->slots_used += e == 0;
    return e;
}

/* Reads a block that was found, tests it, and puts it into the new pool. */
static int carry_block(struct cm_resizing *z, uint64_t slot, struct cm_last_home last[2],
                       uint8_t data[CM_BLOCK_SIZE])
{
    const struct cm_media *m = &z->old->media;
    const struct cm_part part = { 0, CM_BLOCK_SIZE, data };
    struct cm_header h;
    uint32_t got;
    uint64_t w0;
    if (cm_slot_header(m, slot, &h) == CM_SLOT_HIT) {
        const uint64_t number = cm_incarnation_number(h.incarnation), block = cm_header_block(&h);
        const struct cm_listed *f = cm_file_list_find(&z->list, number);
        if (!f || !(z->file[f - z->list.file] & CARRY_PLACED)) {
            z->report->no_room++;
            return 0;
        }
        const struct cm_key k = cm_key_stored_next(m, &last[0], h.incarnation, block);
        if (cm_slot_read(m, slot, &k, cm_header_boot(&h), &part, true, &got, &w0) == CM_SLOT_HIT) {
            const struct cm_key to = cm_key_stored_next(&z->to, &last[1], h.incarnation, block);
            return put_block(z, &to, cm_header_boot(&h), got, data);
        }
    }
    z->report->damaged++;
    return 0;
}

/* Collects what is kept of slots that are used one after the other, and writes full pages. */
static int keep_count(struct cm_resizing *z, struct cm_memo_page *page, uint64_t slot,
                      uint8_t count, bool last)
{
    const uint64_t number = slot / CM_MEMO_SLOTS, at = slot % CM_MEMO_SLOTS;
    int e = 0;
    if (!last)
        page->body[at / 2] |= (uint8_t)(count << at % 2 * 4);
    if (number < z->to.geo.memo_ring_pages && (last || at == CM_MEMO_SLOTS - 1)) {
        e = cm_memo_store(&z->to, CM_RESIZE_GENERATION, number, page);
        memset(page, 0, sizeof(*page));
    }
    return e;
}

struct carrying {
    struct counts counts;
    struct cm_memo_page page;
    struct cm_last_home home[2];
    uint8_t data[CM_BLOCK_SIZE];
};

/* Those of kept files, or all others. */
static int carry_blocks(struct cm_resizing *z, struct carrying *c, bool kept)
{
    const uint64_t slots = cm_media_slots(&z->old->media);
    uint64_t skip = z->skip, slot = z->hand;
    int e = 0;
    for (uint64_t i = 0; i < slots && e == 0; i++, slot = slot + 1 < slots ? slot + 1 : 0) {
        const uint64_t used = z->slots_used;
        if (z->rank[slot] == 0 || z->rank[slot] < z->lowest || (z->rank[slot] == RANK_KEPT) != kept)
            continue;
        if (z->rank[slot] == z->lowest && skip > 0) {
            skip--;
            continue;
        }
        e = carry_block(z, slot, c->home, c->data);
        if (e == 0 && z->slots_used > used)
            e = keep_count(z, &c->page, used, count_of(z, &c->counts, slot), false);
        if (e == 0)
            e = cm_resize_step(z, CM_BLOCK_SIZE);
    }
    return e;
}

int cm_carry(struct cm_resizing *z)
{
    struct carrying *c = cm_cache_alloc(z->old, sizeof(*c));
    int e = c ? carry_records(z) : CM_ENOMEM;
    z->report->no_room += z->report->blocks - z->chosen;
    if (e == 0)
        e = carry_blocks(z, c, true); /* first: none of them finds its buckets full */
    if (e == 0)
        e = carry_blocks(z, c, false);
    if (e == 0)
        e = keep_count(z, &c->page, z->slots_used, 0, true);
    cm_cache_free(z->old, c, sizeof(*c));
    return e;
}
