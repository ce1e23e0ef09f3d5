/* SPDX-License-Identifier: BSD-2-Clause
 *
 * keep.c - files whose blocks are not evicted.
 *
 * Owns: the table of kept incarnations, which leads from a header to "this one stays", and the sum
 * of what is promised. What lasts is in the record of the file (CM_RECORD_ATTR).
 *
 * How: an open reads nothing. If there are kept files, the file table is looked at as evictions go
 * on, and whenever somebody wants to know; until then no block of an earlier session is evicted.
 *
 * Nothing is done when a block is stored or read. (One that waits in the probation buffer when its
 * file is kept goes to the pool when it leaves that: fill_buffered.c.) The policy chooses a victim,
 * and who evicts it reads its header anyway: if its incarnation is in the table, the slot is marked
 * in the ring and passed by from then on. So marks need not be found at open, and a mark that is
 * missing costs one look. When a file leaves the table, all marks go, and come back in the same
 * way. At most half of the slots are marked, whatever records and headers say: beyond that kept
 * blocks are evicted as others are. Records are not given up so: a file that is one too many is
 * refused.
 *
 * Locks: keeping.lock, a leaf. Memory is allocated while no lock is held.
 * Who: api/, protocol/, state/.
 */
#include "state/keep.h"

#include "media/file_table.h"
#include "media/slot.h"
#include "state/incarnations.h"

#define ROOM_AHEAD 32u     /* files; for several threads */
#define LOADED_AT_ONCE 64u /* buckets of records, 256 KiB; a fill waits for them */

/* ---- The table ------------------------------------------------------------------------------- */

static void count(struct cm_keeping *k)
{
    at_store_relaxed(&k->files, k->table.used);
}

/* Lock held. Without room the file is kept again after the next open. */
static void add(struct cm_keeping *k, uint64_t incarnation, uint64_t blocks)
{
    struct cm_incarnation *at = cm_incarnations_find(&k->table, incarnation);
    if (!at && !(at = cm_incarnations_add(&k->table, incarnation)))
        return;
    k->blocks += blocks - at->value;
    at->value = blocks;
    count(k);
}

/* Lock held. */
static void drop(struct cm_keeping *k, struct cm_incarnation *at)
{
    k->blocks -= at->value;
    cm_incarnations_drop(&k->table, at);
    /* Release: pairs with the acquire in tidy(), which takes the lock, too. */
    at_store_release(&k->stale, 1u);
    count(k);
}

/* Most pools have no kept file, so the marks are allocated for the first one. No lock is held. */
static int make_marks(struct cm_cache *c)
{
    struct cm_keeping *k = &c->keeping;
    cm_lock_acquire(&k->lock);
    const bool has = c->policy.ring.kept != NULL;
    cm_lock_release(&k->lock);
    if (has)
        return 0;
    uint64_t *marks = cm_cache_alloc(c, cm_cache_marks_bytes(c));
    if (!marks)
        return CM_ENOMEM;
    cm_lock_acquire(&k->lock);
    if (!c->policy.ring.kept) {
        c->policy.ring.kept = marks;
        marks = NULL;
    }
    cm_lock_release(&k->lock);
    cm_cache_free(c, marks, cm_cache_marks_bytes(c)); /* another thread was faster */
    return 0;
}

/* Ensures that there is memory for `more` files. No lock is held. */
static int make_room(struct cm_cache *c, uint64_t more)
{
    int e = make_marks(c);
    return e ? e : cm_incarnations_room(c, &c->keeping.lock, &c->keeping.table, more);
}

int cm_keep_room(struct cm_cache *c)
{
    return make_room(c, ROOM_AHEAD);
}

void cm_keep_free(struct cm_cache *c)
{
    struct cm_keeping *k = &c->keeping;
    cm_incarnations_free(c, &k->table);
    cm_cache_free(c, c->policy.ring.kept, cm_cache_marks_bytes(c));
    c->policy.ring.kept = NULL;
    *k = (struct cm_keeping){ .blocks = 0 };
}

/* ---- Which files ----------------------------------------------------------------------------- */

/* A file whose size was never known counts nothing. No file counts more than the pool. */
static uint64_t blocks_of(const struct cm_cache *c, uint64_t size)
{
    const uint64_t most = cm_media_slots(&c->media);
    if (size == CM_SIZE_UNKNOWN)
        return 0;
    const uint64_t blocks = cm_blocks_of(size);
    return blocks < most ? blocks : most;
}

uint64_t cm_keep_most(const struct cm_cache *c)
{
    return at_load_relaxed(&c->policy.ring.end) / 2; /* relaxed: as it is now */
}

struct cm_keep_sum cm_keep_sum(struct cm_cache *c)
{
    cm_keep_complete(c);
    cm_lock_acquire(&c->keeping.lock);
    const struct cm_keep_sum sum = { c->keeping.table.used, c->keeping.blocks };
    cm_lock_release(&c->keeping.lock);
    return sum;
}

void cm_keep_move(struct cm_cache *c, uint64_t was, uint64_t now, uint64_t size)
{
    struct cm_keeping *k = &c->keeping;
    cm_lock_acquire(&k->lock);
    struct cm_incarnation *at = cm_incarnations_find(&k->table, was);
    const uint64_t blocks = size == CM_SIZE_UNKNOWN && at ? at->value : blocks_of(c, size);
    if (at && was != now)
        drop(k, at);
    add(k, now, blocks);
    cm_lock_release(&k->lock);
}

uint64_t cm_keep_most_files(const struct cm_cache *c)
{
    return cm_format_max_files(&c->media.geo) / 2;
}

int cm_keep_enter(struct cm_cache *c, uint64_t incarnation, uint64_t size)
{
    struct cm_keeping *k = &c->keeping;
    const uint64_t blocks = blocks_of(c, size);
    int e = 0;
    cm_lock_acquire(&k->lock);
    if (cm_incarnations_find(&k->table, incarnation))
        e = 0; /* it is kept already, and counts */
    else if (k->blocks + blocks > cm_keep_most(c) ||
             k->table.used >= cm_keep_most_files(c)) /* the other half is for others */
        e = CM_EKEEP;
    else if (2 * (k->table.used + 1) > k->table.cells)
        e = CM_ENOMEM; /* other files took the room that was made */
    else
        add(k, incarnation, blocks);
    cm_lock_release(&k->lock);
    return e;
}

/* ---- Which files were kept by earlier sessions ----------------------------------------------- */

/* An attached file has entered its incarnation itself, and changes it without the files lock. The
 * others do not change while it is held. */
static void load_bucket(struct cm_cache *c, uint64_t bucket)
{
    const struct cm_media *m = &c->media;
    struct cm_record r;
    bool whole;
    assert(cm_lock_is_held(&c->files_lock));
    for (uint64_t p = bucket * CM_RECORD_WAYS; p < (bucket + 1) * CM_RECORD_WAYS; p++) {
        (void)cm_record_at(m, p, &r, &whole); /* unreadable: not whole */
        if (whole && cm_record_attr(m, p, &r).keep && !cm_file_place_is_open(c, p))
            cm_keep_move(c, r.incarnation, r.incarnation, cm_record_size(m, p, &r));
    }
}

/* Looks at the next buckets. Without memory some files are not kept in this session. */
static void load_some(struct cm_cache *c, bool wait)
{
    struct cm_keeping *k = &c->keeping;
    (void)make_room(c, LOADED_AT_ONCE * CM_RECORD_WAYS);
    if (wait)
        cm_lock_acquire(&c->files_lock);
    else if (!cm_lock_try(&c->files_lock))
        return; /* the next fill will do it */
    for (unsigned i = 0; i < LOADED_AT_ONCE && k->left > 0; i++) {
        load_bucket(c, k->left - 1);
        at_store_release(&k->left, k->left - 1); /* pairs with the acquire in is_unknown() */
    }
    cm_lock_release(&c->files_lock);
}

void cm_keep_begin(struct cm_cache *c)
{
    if (c->super.now.compat & CM_COMPAT_KEEP)
        c->keeping.left = c->media.geo.record_buckets;
}

void cm_keep_complete(struct cm_cache *c)
{
    while (at_load_acquire(&c->keeping.left) > 0) /* pairs with the release in load_some() */
        load_some(c, true);
}

void cm_keep_end(struct cm_cache *c)
{
    if (!cm_keep_any(c))
        (void)cm_super_compat(&c->super, CM_COMPAT_KEEP,
                              false); /* the next session need not look */
}

/* ---- Which blocks ---------------------------------------------------------------------------- */

/* A block of an earlier session, while not all records were looked at. */
static bool is_unknown(const struct cm_cache *c, uint64_t incarnation)
{
    /* Acquire: pairs with the release in load_some(). Asked before the table is. */
    return at_load_acquire(&c->keeping.left) > 0 && incarnation < c->super.first_incarnation;
}

bool cm_keep_is_listed(struct cm_cache *c, uint64_t incarnation)
{
    const uint64_t number = cm_incarnation_number(incarnation);
    cm_lock_acquire(&c->keeping.lock);
    const bool is = cm_incarnations_find(&c->keeping.table, number) != NULL;
    cm_lock_release(&c->keeping.lock);
    return is;
}

bool cm_keep_has(struct cm_cache *c, uint64_t incarnation)
{
    return cm_keep_any(c) &&
           (is_unknown(c, cm_incarnation_number(incarnation)) || cm_keep_is_listed(c, incarnation));
}

bool cm_keep_stays(struct cm_cache *c, uint64_t slot, uint64_t incarnation, uint64_t w0)
{
    struct cm_ring *r = &c->policy.ring;
    struct cm_header h;
    const uint64_t number = cm_incarnation_number(incarnation);
    const bool unknown = is_unknown(c, number);
    /* Looked up and marked under the lock: if the file leaves the table, tidy() comes after this
     * mark. */
    cm_lock_acquire(&c->keeping.lock);
    const bool has = cm_incarnations_find(&c->keeping.table, number) != NULL;
    const bool spares = has && cm_ring_keep(r, slot, cm_keep_most(c));
    cm_lock_release(&c->keeping.lock);
    if (!spares)
        return unknown && !has;
    /* A bracket may make the block invalid meanwhile, and does not own the slot. It clears the mark
     * after that (cm_policy_forgotten): it sees ours, or we see the header that it left. */
    at_fence_seq_cst();
    if (cm_slot_header(&c->media, slot, &h) == CM_SLOT_HIT && h.w0 == w0)
        return true;
    cm_ring_unkeep(r, slot);
    return true; /* it is empty, and found as such */
}

static void tidy(struct cm_cache *c)
{
    struct cm_keeping *k = &c->keeping;
    if (!at_load_acquire(&k->stale)) /* pairs with the release in drop() */
        return;
    cm_lock_acquire(&k->lock);
    at_store_relaxed(&k->stale, 0u);
    cm_ring_unkeep_all(&c->policy.ring);
    cm_lock_release(&k->lock);
}

void cm_keep_prepare(struct cm_cache *c)
{
    if (at_load_relaxed(&c->keeping.left) > 0) /* load_some() decides */
        load_some(c, false);
    tidy(c);
}
