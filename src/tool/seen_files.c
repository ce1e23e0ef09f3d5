/* SPDX-License-Identifier: BSD-2-Clause
 *
 * seen_files.c - the files that have the most in a pool.
 *
 * Owns: one pass over the headers, which say of each block whose it is, and one over the file
 * table, which has what is known of the files that were found. So it works beside the process that
 * owns the pool. What that process knows alone (hits of files that are open, blocks that wait in
 * memory) is not seen. In a pool with many slots only every n-th page of headers is read, and the
 * counts are multiplied. In one with many records a look reads a part of the table, and the next
 * one goes on behind it, round and round, as long as a record is missing.
 *
 * Who: serve.c, cmd_top.c.
 */
#include "tool/seen_files.h"

#include <stdlib.h>
#include <string.h>

#include "media/name_table.h"
#include "tool/dump/dump.h"

#define HEADERS_MAX (UINT64_C(1) << 20) /* that a look reads */
#define PAGE_HEADERS (CM_BLOCK_SIZE / sizeof(struct cm_header))
#define CELLS (UINT64_C(1) << 16) /* files that are counted; later ones are left out */

/* Bytes by incarnation; a cell with the incarnation 0 is empty. */
struct cell {
    uint64_t incarnation, bytes;
};
struct counts {
    struct cell *cell;
    uint64_t used;
    uint64_t blocks; /* of all */
};

static void count(struct counts *c, uint64_t incarnation, uint64_t bytes)
{
    uint64_t at = incarnation * UINT64_C(0x9e3779b97f4a7c15) >> 48;

    while (c->cell[at].incarnation != incarnation && c->cell[at].incarnation != 0)
        at = (at + 1) % CELLS;
    if (c->cell[at].incarnation == 0) {
        if (c->used >= CELLS / 4 * 3)
            return;
        c->used++;
        c->cell[at].incarnation = incarnation;
    }
    c->cell[at].bytes += bytes;
}

/* Every `one_in`th page of headers. */
static void count_headers(const struct dump_pool *p, struct counts *c, uint64_t one_in)
{
    const struct cm_geometry *g = &p->media.geo;
    struct cm_header h;

    for (uint64_t first = 0; first < g->slots; first += PAGE_HEADERS * one_in)
        for (uint64_t slot = first; slot < g->slots && slot < first + PAGE_HEADERS; slot++) {
            uint64_t incarnation;

            if (!dump_inside(p, cm_format_header_at(g, slot), sizeof(h)) ||
                cm_slot_header(&p->media, slot, &h) != CM_SLOT_HIT)
                continue;
            incarnation = cm_incarnation_number(h.incarnation);
            c->blocks += one_in;
            if (incarnation != 0)
                count(c, incarnation, cm_header_valid(&h) * one_in);
        }
}

/* The largest counts, in order. */
static void take_largest(const struct counts *c, struct seen_files *l)
{
    l->n = 0;
    for (uint64_t i = 0; i < CELLS; i++) {
        const struct cell *cell = &c->cell[i];
        size_t at = l->n;

        if (cell->incarnation == 0)
            continue;
        while (at > 0 && (l->file[at - 1].cached < cell->bytes ||
                          (l->file[at - 1].cached == cell->bytes &&
                           l->file[at - 1].incarnation > cell->incarnation)))
            at--;
        if (at == SEEN_FILES)
            continue;
        if (l->n < SEEN_FILES)
            l->n++;
        for (size_t k = l->n - 1; k > at; k--)
            l->file[k] = l->file[k - 1];
        memset(&l->file[at], 0, sizeof(l->file[at]));
        l->file[at].incarnation = cell->incarnation;
        l->file[at].cached = cell->bytes;
        l->file[at].place = CM_NO_PLACE;
    }
}

static bool has_place(const struct dump_pool *p, uint64_t place)
{
    return place < p->media.geo.record_buckets * CM_RECORD_WAYS &&
           dump_inside(p, p->media.geo.record_offset + place * sizeof(struct cm_record),
                       sizeof(struct cm_record));
}

/* Is the record at `place` the one of the file? Then what it says. */
static bool read_record(const struct dump_pool *p, uint64_t place, struct seen_file *f)
{
    struct cm_record r;
    struct cm_name name;
    uint32_t seconds;
    bool whole;

    if (!has_place(p, place) || cm_record_at(&p->media, place, &r, &whole) || !whole ||
        r.incarnation != f->incarnation)
        return false;
    f->place = place;
    f->recorded = true;
    f->id = r.id;
    f->size = cm_record_size(&p->media, place, &r);
    (void)cm_record_use(&p->media, place, &r, &seconds, &f->hits);
    if (cm_names_exist(&p->media)) {
        cm_name_read(&p->media, place, &r.id, &name);
        memcpy(f->name, name.text, sizeof(f->name));
        f->name[sizeof(f->name) - 1] = '\0';
    }
    return true;
}

/* Is it the record of a file that has none yet? Returns of how many. */
static size_t take_record(const struct dump_pool *p, uint64_t place, struct seen_files *l)
{
    const uint64_t at = p->media.geo.record_offset + place * sizeof(struct cm_record);
    uint64_t incarnation;
    size_t found = 0;

    if (!has_place(p, place) ||
        cm_guard_load64((const uint64_t *)(const void *)(p->media.base + at +
                                                         offsetof(struct cm_record, incarnation)),
                        &incarnation) ||
        incarnation == 0)
        return 0;
    for (size_t i = 0; i < l->n; i++)
        found += !l->file[i].recorded && l->file[i].incarnation == incarnation &&
                 read_record(p, place, &l->file[i]);
    return found;
}

static void find_records(const struct dump_pool *p, struct seen_files *l, size_t wanted)
{
    const uint64_t all = p->media.geo.record_buckets * CM_RECORD_WAYS;
    const uint64_t most = all < SEEN_RECORDS ? all : SEEN_RECORDS;
    uint64_t looked = 0;

    for (; looked < most && wanted > 0; looked++) {
        const uint64_t place = l->next < all ? l->next : 0; /* it may be smaller now */

        wanted -= take_record(p, place, l);
        l->next = place + 1;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct seen_file *f = &l->file[i];

        f->looked += f->recorded ? 0 : looked;
        f->searched = f->looked >= all;
        l->more |= !f->recorded && !f->searched;
    }
}

/* Mostly the files are those of the last look, whose places are known. */
static void describe(const struct dump_pool *p, struct seen_files *l, const struct seen_files *last)
{
    size_t wanted = 0;

    for (size_t i = 0; i < l->n; i++) {
        for (size_t k = 0; k < last->n; k++)
            if (last->file[k].incarnation == l->file[i].incarnation) {
                if (!last->file[k].recorded)
                    l->file[i].looked = last->file[k].looked;
                else /* its record may be somewhere else now */
                    (void)read_record(p, last->file[k].place, &l->file[i]);
            }
        wanted += !l->file[i].recorded;
    }
    find_records(p, l, wanted);
}

int seen_files_look(const char *pool, struct seen_files *l)
{
    const struct seen_files last = *l;
    struct counts c = { .cell = calloc(CELLS, sizeof(*c.cell)) };
    struct dump_pool p;
    int rc = c.cell ? dump_pool_open(&p, pool) : CM_ENOMEM;

    memset(l, 0, sizeof(*l));
    l->next = last.next;
    if (rc == 0) {
        rc = p.error;
        if (rc == 0 && p.laid_out) {
            l->one_in = (p.media.geo.slots + HEADERS_MAX - 1) / HEADERS_MAX;
            count_headers(&p, &c, l->one_in);
            l->blocks = c.blocks < p.media.geo.slots ? c.blocks : p.media.geo.slots;
            take_largest(&c, l);
            describe(&p, l, &last);
        }
        dump_pool_close(&p);
    }
    free(c.cell);
    return rc;
}
