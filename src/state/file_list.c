/* SPDX-License-Identifier: BSD-2-Clause
 *
 * file_list.c - which files the pool knows, at one moment.
 *
 * Owns: lists of files, in memory from the caller's hook. A list has each file once, although a
 * file that comes or goes meanwhile may change the place of its record: a hash table of the ids
 * says which files are there already. Later the same table leads from incarnations to files, so
 * that one pass over the headers can count what is cached of each.
 *
 * Locks: files_lock, never while memory is allocated.
 * Who: api/.
 */
#include "state/file_list.h"

#include <string.h>

#include "state/object.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROOM_MIN 32u

static uint64_t hash_of(const struct cm_file_list *l, const struct cm_listed *f)
{
    return l->by_incarnation ? XXH3_64bits(&f->incarnation, sizeof(f->incarnation))
                             : XXH3_64bits(&f->id, sizeof(f->id));
}

static bool same(const struct cm_file_list *l, const struct cm_listed *a, const struct cm_listed *b)
{
    return l->by_incarnation ? a->incarnation == b->incarnation
                             : a->id.hi == b->id.hi && a->id.lo == b->id.lo;
}

/* The cell of a file like f, or the empty one where it belongs. */
static uint32_t *cell_of(const struct cm_file_list *l, const struct cm_listed *f)
{
    uint64_t at = hash_of(l, f);
    assert(l->cells > l->n && (l->cells & (l->cells - 1)) == 0);
    for (;; at++) {
        uint32_t *cell = &l->cell[at & (l->cells - 1)];
        if (*cell == 0 || same(l, &l->file[*cell - 1], f))
            return cell;
    }
}

static void enter_all(struct cm_file_list *l)
{
    for (uint64_t i = 0; i < l->n; i++)
        *cell_of(l, &l->file[i]) = (uint32_t)i + 1;
}

/* Ensures that there is room for `more` files. No lock is held. */
static int reserve(struct cm_file_list *l, uint64_t more)
{
    struct cm_file_list wide = {
        .cache = l->cache, .room = ROOM_MIN, .n = l->n, .looked = l->looked
    };
    if (l->room - l->n >= more)
        return 0;
    while (wide.room < l->n + more)
        wide.room *= 2;
    wide.cells = 2 * wide.room;
    if (wide.room >= UINT32_MAX)
        return CM_ENOMEM;
    wide.file = cm_cache_alloc(l->cache, (size_t)wide.room * sizeof(*wide.file));
    wide.cell = cm_cache_alloc(l->cache, (size_t)wide.cells * sizeof(*wide.cell));
    if (!wide.file || !wide.cell) {
        cm_file_list_free(&wide);
        return CM_ENOMEM;
    }
    if (l->n > 0)
        memcpy(wide.file, l->file, (size_t)l->n * sizeof(*wide.file));
    enter_all(&wide);
    cm_file_list_free(l);
    *l = wide;
    return 0;
}

/* There is room for the file. If it is there already, this incarnation counts. */
static void add(struct cm_file_list *l, const struct cm_listed *new)
{
    const struct cm_listed f = *new;
    uint32_t *cell = cell_of(l, &f);
    assert(!l->by_incarnation && l->n < l->room);
    if (*cell == 0) {
        l->file[l->n] = f;
        *cell = (uint32_t)++l->n;
    } else {
        l->file[*cell - 1] = f;
    }
}

static bool is_raised(const struct cm_record *r)
{
    uint64_t raised = 0;
    for (unsigned i = 0; i < CM_SINCE_WORDS; i++)
        raised |= r->since[i] & ((UINT64_C(1) << 8 * CM_SINCES) - 1);
    return raised != 0;
}

/* Files lock held, and there is room. The object knows the incarnation; the record may be in the
 * middle of a change. */
static void add_object(struct cm_file_list *l, const struct cm_object *f)
{
    add(l, &(struct cm_listed){ f->id, at_load_relaxed(&f->incarnation), /* at some moment */
                                at_load_relaxed(&f->place), f->raised != 0, 0 });
}

/* Adds the file of a record that was not whole. It may have been in the middle of a change, and the
 * file may be closed before add_attached() comes to it. With the lock only records of attached
 * files change, and in none of these the id does. */
static int add_changing(struct cm_file_list *l, uint64_t place)
{
    struct cm_cache *c = l->cache;
    struct cm_record r;
    bool whole;
    int e = reserve(l, 1);
    if (e)
        return e;
    cm_lock_acquire(&c->files_lock);
    e = cm_record_at(&c->media, place, &r, &whole);
    const struct cm_object *f = whole ? NULL : cm_object_find(c, &r.id);
    if (whole)
        add(l, &(struct cm_listed){ r.id, r.incarnation, place, is_raised(&r), 0 });
    else if (f)
        add_object(l, f);
    cm_lock_release(&c->files_lock);
    return e == CM_ESEAL ? e : 0;
}

static int add_record(struct cm_file_list *l, uint64_t place)
{
    struct cm_record r;
    bool whole;
    int e = cm_record_at(&l->cache->media, place, &r, &whole);
    if (e == CM_ESEAL)
        return e; /* who asks must not miss a file */
    /* Without a sum it is unreadable, or there is none, or it was dropped. */
    if (!whole)
        return r.xxh3 != 0 && !l->cache->readonly ? add_changing(l, place) : 0;
    e = reserve(l, 1);
    if (e == 0)
        add(l, &(struct cm_listed){ r.id, r.incarnation, place, is_raised(&r), 0 });
    return e;
}

/* Adds the attached files of one chain. */
static int add_attached(struct cm_file_list *l, uint32_t chain)
{
    struct cm_cache *c = l->cache;
    for (;;) {
        uint64_t n = 0;
        cm_lock_acquire(&c->files_lock);
        for (const struct cm_object *f = c->file_hash[chain]; f; f = f->next)
            n++;
        const bool room = l->room - l->n >= n;
        for (const struct cm_object *f = c->file_hash[chain]; room && f; f = f->next)
            add_object(l, f);
        cm_lock_release(&c->files_lock);
        if (room)
            return 0;
        int e = reserve(l, n);
        if (e)
            return e;
    }
}

/* First the records, then the chains of attached files. The numbers of both stay the same. */
int cm_file_list_collect(struct cm_file_list *l, uint64_t most)
{
    const struct cm_cache *c = l->cache;
    const uint64_t records = c->must_empty ? 0 : c->media.geo.record_buckets * CM_RECORD_WAYS;
    const uint64_t all = records + (c->readonly ? 0 : c->file_chains);
    int e = 0;
    for (; l->looked < all && most > 0 && e == 0; most--) {
        e = l->looked < records ? add_record(l, l->looked)
                                : add_attached(l, (uint32_t)(l->looked - records));
        l->looked += e == 0;
    }
    return e == 0 && l->looked < all ? CM_EBUSY : e;
}

/* Do blocks of a region count that were stored under the file's incarnation with this "since"? The
 * record knows: it does not change while the file is attached. */
static bool counts(struct cm_file_list *l, const struct cm_listed *f, uint64_t incarnation,
                   uint64_t block)
{
    uint8_t since[CM_REGIONS];
    struct cm_record r;
    bool whole;
    if (f->place == CM_NO_PLACE)
        return true; /* it was attached, and nothing says it now: some of these may be gone */
    if (!f->raised)
        return incarnation >> CM_SINCE_SHIFT == 0;
    if (cm_record_at(&l->cache->media, f->place, &r, &whole) == CM_ESEAL)
        l->error = CM_ESEAL;
    if (!whole)
        return false;
    (void)cm_format_since(cm_media_key(&l->cache->media), f->place, &r, since);
    return since[cm_format_region(r.region_shift, block)] == incarnation >> CM_SINCE_SHIFT;
}

struct cm_listed *cm_file_list_find_block(struct cm_file_list *l, uint64_t incarnation,
                                          uint64_t block)
{
    struct cm_listed *f = cm_file_list_find(l, cm_incarnation_number(incarnation));
    return f && counts(l, f, incarnation, block) ? f : NULL;
}

struct cm_listed *cm_file_list_find(struct cm_file_list *l, uint64_t incarnation)
{
    const struct cm_listed f = { .incarnation = incarnation };
    if (l->n == 0 || incarnation == 0)
        return NULL;
    if (!l->by_incarnation) {
        l->by_incarnation = true;
        memset(l->cell, 0, (size_t)l->cells * sizeof(*l->cell));
        enter_all(l);
    }
    uint32_t *cell = cell_of(l, &f);
    return *cell == 0 ? NULL : &l->file[*cell - 1];
}

void cm_file_list_uncount(struct cm_file_list *l)
{
    for (uint64_t i = 0; i < l->n; i++)
        l->file[i].bytes = 0;
    l->error = 0;
}

void cm_file_list_free(struct cm_file_list *l)
{
    cm_cache_free(l->cache, l->file, (size_t)l->room * sizeof(*l->file));
    cm_cache_free(l->cache, l->cell, (size_t)l->cells * sizeof(*l->cell));
    l->file = NULL;
    l->cell = NULL;
    l->n = l->room = l->cells = 0;
}
